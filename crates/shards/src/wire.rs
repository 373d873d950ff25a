//! What nodes say to each other about their replicas, and how it looks on the wire.
//!
//! Every message begins with the version of this language; a node that reads a newer one than it knows refuses. A request
//! and its answer are one message each. What may be large (an intent, a checkpoint) travels as pieces over a channel.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use assize_mvcc::{ContentHash, Gain, Intent, Page, Slots};
use assize_ports::{AdjudicatorError, PlacementError};
use assize_replica::{ContentPage, IntentAnswer, Staging};
use assize_rocks::Chunk;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The newest version of this language.
const VERSION: u8 = 1;

/// A call to another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Begin a learner of this shard, if there is none; answers its number.
    Learn {
        /// Which shard.
        shard: ShardId,
        /// The number it gets, if there is none.
        replica: ReplicaId,
    },
    /// Begin a replica of a shard that does not exist yet: it follows the parent as a learner until the log splits the
    /// parent.
    Fledge {
        /// The shard that will be.
        shard: ShardId,
        /// Which of its replicas.
        replica: ReplicaId,
        /// The shard whose slots it will take.
        parent: ShardId,
        /// As which learner it follows the parent.
        learner: ReplicaId,
    },
    /// Drop this replica, if it is a learner or fledgling.
    Discard {
        /// Which shard.
        shard: ShardId,
    },
    /// How is your replica of this shard?
    Status {
        /// Which shard.
        shard: ShardId,
    },
    /// Begin to make durable what your replica has applied.
    Flush {
        /// Which shard.
        shard: ShardId,
    },
    /// What does a snapshot show in these slots?
    Hash {
        /// Which shard.
        shard: ShardId,
        /// The snapshot.
        snapshot_ts: Timestamp,
        /// The slots.
        slots: Slots,
    },
    /// The content of your replica differs from the others': rebuild it.
    Rebuild {
        /// Which shard.
        shard: ShardId,
    },
    /// What is your hash of this page?
    Content {
        /// Which shard.
        shard: ShardId,
        /// Who is asked.
        to: ReplicaId,
        /// Who asks.
        from: ReplicaId,
        /// The page.
        page: ContentPage,
    },
    /// Most of your siblings agreed in this epoch, and not with you.
    Differs {
        /// Which shard.
        shard: ShardId,
        /// Who is told.
        to: ReplicaId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Put this into the log: you lead the adjudicator's group.
    Administer(PlacementCommand),
    /// Have you an intent that `from` lacks? Whoever does not know this question is asked over a channel.
    Intent {
        /// Which shard.
        shard: ShardId,
        /// Who is asked.
        to: ReplicaId,
        /// Who lacks it.
        from: ReplicaId,
        /// Whose intent.
        txn: TxnId,
    },
    /// Stage these slots, or go on with it: they are about to be moved to your replica. Whoever does not know this question
    /// copies them when they come.
    Stage {
        /// The shard that gains them.
        shard: ShardId,
        /// The shard that holds them.
        giver: ShardId,
        /// Which slots.
        slots: Slots,
    },
    /// Which learners have you? Asked by who looks for those that are nowhere; unlike a question for its status it does not
    /// say that anybody wants one.
    Learners,
}

/// The answer to a [`Request`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// It is done, or on its way.
    Done,
    /// To [`Request::Learn`].
    Learning(ReplicaId),
    /// To [`Request::Status`]; `None`: there is no replica of that shard.
    Status(Option<ReplicaStatus>),
    /// To [`Request::Hash`].
    Hash(ContentHash),
    /// To [`Request::Administer`].
    Administered(LogIndex),
    /// To [`Request::Administer`] too.
    NotAdministered(PlacementError),
    /// To [`Request::Content`]; `None`: it cannot be compared.
    Content(Option<ContentHash>),
    /// To [`Request::Intent`]; of an intent that is too large for one message, [`Response::Failed`].
    Intent(IntentAnswer),
    /// To [`Request::Stage`]; `None`: they cannot be staged now.
    Staging(Option<Staging>),
    /// To [`Request::Learners`].
    Learners(BTreeSet<(ShardId, ReplicaId)>),
    /// It could not be done.
    Failed(String),
}

/// Why a channel is opened to a sibling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// Send an intent that `from` lacks.
    Intent {
        /// Which shard.
        shard: ShardId,
        /// Who is asked.
        to: ReplicaId,
        /// Who asks.
        from: ReplicaId,
        /// Whose intent.
        txn: TxnId,
    },
    /// Send a checkpoint taken at or after an entry.
    Checkpoint {
        /// Which shard.
        shard: ShardId,
        /// Who is asked.
        to: ReplicaId,
        /// Who asks.
        from: ReplicaId,
        /// The entry.
        at_least: LogIndex,
    },
    /// Send a checkpoint taken at or after an entry, and keep it for a while should the channel break; or go on with the one
    /// that was kept.
    Copy {
        /// Which shard.
        shard: ShardId,
        /// Who is asked.
        to: ReplicaId,
        /// Who asks.
        from: ReplicaId,
        /// The entry.
        at_least: LogIndex,
        /// What the asker calls this copy.
        copy: u64,
        /// What has arrived of it; `None`: nothing.
        arrived: Option<Arrived>,
    },
    /// Send a checkpoint of whichever shard holds slots that another one gains.
    Slots {
        /// Which slots, and when.
        gain: Gain,
    },
}

/// How far a copy has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// The family of the last entry.
    pub family: usize,
    /// Its key.
    pub key: Bytes,
    /// What all entries up to it add up to.
    pub digest: Digest,
}

/// A piece of what is sent over a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Mutations of an intent.
    Mutations(Vec<Mutation>),
    /// The end of an intent: with the epoch at which it was prepared, or without the intent.
    IntentEnd(IntentEnd),
    /// Entries of a checkpoint.
    Entries(Chunk),
    /// The end of a checkpoint.
    CheckpointEnd(Digest),
    /// The checkpoint that was to be gone on with is not kept any more.
    Gone,
}

/// How the sending of an intent ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntentEnd {
    /// All of it has been sent.
    Has(Epoch),
    /// It is not there, as of that entry.
    HasNot(LogIndex),
    /// The sibling cannot say.
    CannotSay,
}

/// What all entries of a checkpoint add up to, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    /// How many.
    pub entries: u64,
    /// A chain of their hashes.
    pub chain: u64,
}

impl Digest {
    /// Takes a chunk in.
    pub fn add(&mut self, chunk: &Chunk) {
        use xxhash_rust::xxh3::xxh3_64_with_seed as hash;
        for (key, value) in &chunk.entries {
            self.entries += 1;
            self.chain = hash(value, hash(key, self.chain.wrapping_add(chunk.family as u64)));
        }
    }
}

/// What a replica is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It follows its stream.
    Following,
    /// It waits for, or copies, a sibling's checkpoint: so many bytes have arrived.
    Copying {
        /// Bytes.
        bytes: u64,
    },
    /// It follows the parent of its shard, which has not been split yet.
    Fledgling,
    /// It has stopped for good.
    Halted(String),
}

impl Phase {
    /// The names of all phases.
    pub const LABELS: [&str; 4] = ["following", "copying", "fledgling", "halted"];

    /// Its name as a label of metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Phase::Following => "following",
            Phase::Copying { .. } => "copying",
            Phase::Fledgling => "fledgling",
            Phase::Halted(_) => "halted",
        }
    }

    /// Bytes that have arrived, while it copies.
    pub(crate) const fn copied(&self) -> u64 {
        match self {
            Phase::Copying { bytes } => *bytes,
            Phase::Following | Phase::Fledgling | Phase::Halted(_) => 0,
        }
    }
}

/// How a replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaStatus {
    /// Which replica.
    pub replica: ReplicaId,
    /// What it does.
    pub phase: Phase,
    /// How far it has applied its stream.
    pub position: Position,
    /// How far it has made that durable.
    pub durable: LogIndex,
    /// The shard's epoch there.
    pub epoch: Epoch,
    /// Roughly, its bytes on disk.
    pub bytes: u64,
}

fn message(kind: u8) -> Vec<u8> {
    vec![VERSION, kind]
}

/// The kind of a message, and a reader of the rest.
fn open(bytes: &Bytes) -> Result<(u8, Reader<'_>), DecodeError> {
    let mut reader = Reader::over(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { found: version.into(), newest: VERSION.into() });
    }
    let kind = reader.u8()?;
    Ok((kind, reader))
}

fn put_txn(out: &mut Vec<u8>, txn: TxnId) {
    out.put_u128(txn.0);
}

fn txn(reader: &mut Reader<'_>) -> Result<TxnId, DecodeError> {
    let bits = reader.u128()?;
    TxnId::from_bits(bits).ok_or_else(|| reader.bad("transaction id", bits as u64))
}

fn shard(reader: &mut Reader<'_>) -> Result<ShardId, DecodeError> {
    Ok(ShardId(reader.u32()?))
}

fn replica(reader: &mut Reader<'_>) -> Result<ReplicaId, DecodeError> {
    Ok(ReplicaId(reader.u8()?))
}

impl Request {
    /// As it travels.
    pub fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Request::Learn { shard, replica } => {
                out = message(1);
                out.put_u32(shard.0);
                out.put_u8(replica.0);
            }
            Request::Fledge { shard, replica, parent, learner } => {
                out = message(2);
                out.put_u32(shard.0);
                out.put_u8(replica.0);
                out.put_u32(parent.0);
                out.put_u8(learner.0);
            }
            Request::Discard { shard } => {
                out = message(3);
                out.put_u32(shard.0);
            }
            Request::Status { shard } => {
                out = message(4);
                out.put_u32(shard.0);
            }
            Request::Flush { shard } => {
                out = message(5);
                out.put_u32(shard.0);
            }
            Request::Hash { shard, snapshot_ts, slots } => {
                out = message(6);
                out.put_u32(shard.0);
                out.put_u64(snapshot_ts.0);
                put_slots(&mut out, slots);
            }
            Request::Rebuild { shard } => {
                out = message(7);
                out.put_u32(shard.0);
            }
            Request::Administer(command) => {
                out = message(8);
                put_command(&mut out, command);
            }
            Request::Content { shard, to, from, page } => {
                out = message(9);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u8(from.0);
                out.put_bytes(&page.keys.from.0);
                out.put_bool(page.keys.to.is_some());
                out.put_bytes(page.keys.to.as_ref().map_or(&[][..], |key| &key.0[..]));
                out.put_u64(page.snapshot_ts.0);
                out.put_u64(page.epoch.0);
            }
            Request::Differs { shard, to, epoch } => {
                out = message(10);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u64(epoch.0);
            }
            Request::Intent { shard, to, from, txn } => {
                out = message(11);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u8(from.0);
                put_txn(&mut out, *txn);
            }
            Request::Stage { shard, giver, slots } => {
                out = message(12);
                out.put_u32(shard.0);
                out.put_u32(giver.0);
                put_slots(&mut out, slots);
            }
            Request::Learners => out = message(13),
        }
        out.into()
    }

    /// Reads one that arrived.
    pub fn decode(bytes: &Bytes) -> Result<Request, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let r = &mut reader;
        let request = match kind {
            1 => Request::Learn { shard: shard(r)?, replica: replica(r)? },
            2 => Request::Fledge {
                shard: shard(r)?,
                replica: replica(r)?,
                parent: shard(r)?,
                learner: replica(r)?,
            },
            3 => Request::Discard { shard: shard(r)? },
            4 => Request::Status { shard: shard(r)? },
            5 => Request::Flush { shard: shard(r)? },
            6 => {
                let (shard, snapshot_ts) = (shard(r)?, Timestamp(r.u64()?));
                Request::Hash { shard, snapshot_ts, slots: slots(r)? }
            }
            7 => Request::Rebuild { shard: shard(r)? },
            8 => Request::Administer(command(r)?),
            9 => {
                let (shard, to, from) = (shard(r)?, replica(r)?, replica(r)?);
                let (first, has_end, end) = (r.shared_bytes()?, r.bool()?, r.shared_bytes()?);
                let keys = Page { from: Key(first), to: has_end.then_some(Key(end)) };
                let (snapshot_ts, epoch) = (Timestamp(r.u64()?), Epoch(r.u64()?));
                Request::Content { shard, to, from, page: ContentPage { keys, snapshot_ts, epoch } }
            }
            10 => Request::Differs { shard: shard(r)?, to: replica(r)?, epoch: Epoch(r.u64()?) },
            11 => Request::Intent { shard: shard(r)?, to: replica(r)?, from: replica(r)?, txn: txn(r)? },
            12 => Request::Stage { shard: shard(r)?, giver: shard(r)?, slots: slots(r)? },
            13 => Request::Learners,
            other => return Err(r.bad("kind of request", other.into())),
        };
        reader.finish()?;
        Ok(request)
    }
}

fn put_slots(out: &mut Vec<u8>, slots: &Slots) {
    out.put_varint(slots.runs().len() as u64);
    for (first, last) in slots.runs() {
        out.put_u16(first.0);
        out.put_u16(last.0);
    }
}

fn slots(r: &mut Reader<'_>) -> Result<Slots, DecodeError> {
    let runs = (0..r.count(4)?).map(|_| Ok((Slot(r.u16()?), Slot(r.u16()?))));
    Ok(Slots::new(runs.collect::<Result<Vec<_>, DecodeError>>()?))
}

fn put_command(out: &mut Vec<u8>, command: &PlacementCommand) {
    match command {
        PlacementCommand::Raise(shard) => {
            out.put_u8(1);
            out.put_u32(shard.0);
        }
        PlacementCommand::Register(shard, replica) => {
            out.put_u8(2);
            out.put_u32(shard.0);
            out.put_u8(replica.0);
        }
        PlacementCommand::Uncount(shard, replica) => {
            out.put_u8(3);
            out.put_u32(shard.0);
            out.put_u8(replica.0);
        }
        PlacementCommand::Change(change) => {
            out.put_u8(4);
            out.put_u64(change.expected.0);
            out.put_varint(change.shards.len() as u64);
            for (shard, replicas) in &change.shards {
                out.put_u32(shard.0);
                out.put_bool(replicas.is_some());
                let replicas = replicas.iter().flatten();
                out.put_varint(replicas.clone().count() as u64);
                for (replica, node) in replicas {
                    out.put_u8(replica.0);
                    out.put_u64(node.0);
                }
            }
            out.put_varint(change.slots.len() as u64);
            for (first, last, shard) in &change.slots {
                out.put_u16(first.0);
                out.put_u16(last.0);
                out.put_u32(shard.0);
            }
            out.put_varint(change.raise.len() as u64);
            change.raise.iter().for_each(|shard| out.put_u32(shard.0));
        }
    }
}

fn command(r: &mut Reader<'_>) -> Result<PlacementCommand, DecodeError> {
    Ok(match r.u8()? {
        1 => PlacementCommand::Raise(shard(r)?),
        2 => PlacementCommand::Register(shard(r)?, replica(r)?),
        3 => PlacementCommand::Uncount(shard(r)?, replica(r)?),
        4 => {
            let mut change = PlacementChange { expected: Epoch(r.u64()?), ..PlacementChange::default() };
            for _ in 0..r.count(6)? {
                let (shard, is_there) = (shard(r)?, r.bool()?);
                let mut replicas = BTreeMap::new();
                for _ in 0..r.count(9)? {
                    replicas.insert(replica(r)?, NodeId(r.u64()?));
                }
                change.shards.push((shard, is_there.then_some(replicas)));
            }
            for _ in 0..r.count(8)? {
                change.slots.push((Slot(r.u16()?), Slot(r.u16()?), shard(r)?));
            }
            for _ in 0..r.count(4)? {
                change.raise.push(shard(r)?);
            }
            PlacementCommand::Change(change)
        }
        other => return Err(r.bad("kind of placement command", other.into())),
    })
}

impl Response {
    /// As it travels.
    pub fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Response::Done => out = message(1),
            Response::Learning(replica) => {
                out = message(2);
                out.put_u8(replica.0);
            }
            Response::Status(status) => {
                out = message(3);
                out.put_bool(status.is_some());
                if let Some(status) = status {
                    put_status(&mut out, status);
                }
            }
            Response::Hash(hash) => {
                out = message(4);
                out.put_u64(hash.count);
                out.put_u64(hash.sum);
            }
            Response::Administered(index) => {
                out = message(5);
                out.put_u64(index.0);
            }
            Response::NotAdministered(error) => {
                out = message(6);
                put_placement_error(&mut out, error);
            }
            Response::Content(hash) => {
                out = message(8);
                out.put_bool(hash.is_some());
                let hash = hash.unwrap_or_default();
                out.put_u64(hash.count);
                out.put_u64(hash.sum);
            }
            Response::Intent(answer) => {
                out = message(9);
                let pieces = pieces_of(answer.clone());
                out.put_varint(pieces.len() as u64);
                pieces.iter().for_each(|piece| out.put_bytes(&piece.encode()));
            }
            Response::Staging(staging) => {
                out = message(10);
                out.put_bool(staging.is_some());
                let staging = staging.unwrap_or_default();
                out.put_bool(staging.position.is_some());
                let position = staging.position.unwrap_or_default();
                out.put_u64(position.index.0);
                out.put_u64(position.closed_ts.0);
                out.put_u64(staging.progress);
            }
            Response::Learners(learners) => {
                out = message(11);
                out.put_varint(learners.len() as u64);
                for (shard, replica) in learners {
                    out.put_u32(shard.0);
                    out.put_u8(replica.0);
                }
            }
            Response::Failed(why) => {
                out = message(7);
                out.put_str(why);
            }
        }
        out.into()
    }

    /// Reads one that arrived.
    pub fn decode(bytes: &Bytes) -> Result<Response, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let r = &mut reader;
        let response = match kind {
            1 => Response::Done,
            2 => Response::Learning(replica(r)?),
            3 => Response::Status(if r.bool()? { Some(status(r)?) } else { None }),
            4 => Response::Hash(ContentHash { count: r.u64()?, sum: r.u64()? }),
            5 => Response::Administered(LogIndex(r.u64()?)),
            6 => Response::NotAdministered(placement_error(r)?),
            7 => Response::Failed(r.str()?.to_owned()),
            8 => {
                let (is_there, hash) = (r.bool()?, ContentHash { count: r.u64()?, sum: r.u64()? });
                Response::Content(is_there.then_some(hash))
            }
            10 => {
                let (is_there, is_whole) = (r.bool()?, r.bool()?);
                let position = Position { index: LogIndex(r.u64()?), closed_ts: Timestamp(r.u64()?) };
                let staging = Staging { position: is_whole.then_some(position), progress: r.u64()? };
                Response::Staging(is_there.then_some(staging))
            }
            9 => {
                let mut gathering = Gathering::default();
                let mut gathered = None;
                for _ in 0..r.count(1)? {
                    gathered = gathering.take(Piece::decode(&Bytes::copy_from_slice(r.bytes()?))?);
                }
                match gathered {
                    Some(Some(answer)) => Response::Intent(answer),
                    _ => return Err(r.bad("pieces of an intent", 0)),
                }
            }
            11 => {
                let learners = (0..r.count(5)?).map(|_| Ok((shard(r)?, replica(r)?)));
                Response::Learners(learners.collect::<Result<_, DecodeError>>()?)
            }
            other => return Err(r.bad("kind of response", other.into())),
        };
        reader.finish()?;
        Ok(response)
    }
}

fn put_status(out: &mut Vec<u8>, status: &ReplicaStatus) {
    out.put_u8(status.replica.0);
    match &status.phase {
        Phase::Following => out.put_u8(1),
        Phase::Copying { bytes } => {
            out.put_u8(2);
            out.put_u64(*bytes);
        }
        Phase::Fledgling => out.put_u8(3),
        Phase::Halted(why) => {
            out.put_u8(4);
            out.put_str(why);
        }
    }
    out.put_u64(status.position.index.0);
    out.put_u64(status.position.closed_ts.0);
    out.put_u64(status.durable.0);
    out.put_u64(status.epoch.0);
    out.put_u64(status.bytes);
}

fn status(r: &mut Reader<'_>) -> Result<ReplicaStatus, DecodeError> {
    let replica = replica(r)?;
    let phase = match r.u8()? {
        1 => Phase::Following,
        2 => Phase::Copying { bytes: r.u64()? },
        3 => Phase::Fledgling,
        4 => Phase::Halted(r.str()?.to_owned()),
        other => return Err(r.bad("phase of a replica", other.into())),
    };
    let position = Position { index: LogIndex(r.u64()?), closed_ts: Timestamp(r.u64()?) };
    let (durable, epoch, bytes) = (LogIndex(r.u64()?), Epoch(r.u64()?), r.u64()?);
    Ok(ReplicaStatus { replica, phase, position, durable, epoch, bytes })
}

fn put_placement_error(out: &mut Vec<u8>, error: &PlacementError) {
    match error {
        PlacementError::Refused(PlacementRefusal::EpochMoved { current }) => {
            out.put_u8(1);
            out.put_u64(current.0);
        }
        PlacementError::Refused(PlacementRefusal::NoSuchShard(shard)) => {
            out.put_u8(2);
            out.put_u32(shard.0);
        }
        PlacementError::Refused(PlacementRefusal::NoReplicas(shard)) => {
            out.put_u8(3);
            out.put_u32(shard.0);
        }
        PlacementError::Refused(PlacementRefusal::EmptyRun(first, last)) => {
            out.put_u8(4);
            out.put_u16(first.0);
            out.put_u16(last.0);
        }
        PlacementError::Refused(PlacementRefusal::NoSuchReplica(shard, replica)) => {
            out.put_u8(5);
            out.put_u32(shard.0);
            out.put_u8(replica.0);
        }
        PlacementError::Refused(PlacementRefusal::MajorityLost(shard, replica)) => {
            out.put_u8(6);
            out.put_u32(shard.0);
            out.put_u8(replica.0);
        }
        PlacementError::Refused(PlacementRefusal::StillNeeded(shard)) => {
            out.put_u8(7);
            out.put_u32(shard.0);
        }
        PlacementError::Adjudicator(AdjudicatorError::NotLeader { leader }) => {
            out.put_u8(20);
            out.put_bool(leader.is_some());
            out.put_u64(leader.unwrap_or_default().0);
        }
        PlacementError::Adjudicator(AdjudicatorError::ReplyLost) => out.put_u8(21),
        PlacementError::Adjudicator(error) => {
            out.put_u8(22);
            out.put_str(&error.to_string());
        }
    }
}

fn placement_error(r: &mut Reader<'_>) -> Result<PlacementError, DecodeError> {
    Ok(match r.u8()? {
        1 => PlacementRefusal::EpochMoved { current: Epoch(r.u64()?) }.into(),
        2 => PlacementRefusal::NoSuchShard(shard(r)?).into(),
        3 => PlacementRefusal::NoReplicas(shard(r)?).into(),
        4 => PlacementRefusal::EmptyRun(Slot(r.u16()?), Slot(r.u16()?)).into(),
        5 => PlacementRefusal::NoSuchReplica(shard(r)?, replica(r)?).into(),
        6 => PlacementRefusal::MajorityLost(shard(r)?, replica(r)?).into(),
        7 => PlacementRefusal::StillNeeded(shard(r)?).into(),
        20 => {
            let (is_known, leader) = (r.bool()?, NodeId(r.u64()?));
            AdjudicatorError::NotLeader { leader: is_known.then_some(leader) }.into()
        }
        21 => AdjudicatorError::ReplyLost.into(),
        22 => AdjudicatorError::Unreachable(r.str()?.to_owned()).into(),
        other => return Err(r.bad("kind of placement error", other.into())),
    })
}

impl Hello {
    /// As it travels.
    pub fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Hello::Intent { shard, to, from, txn } => {
                out = message(1);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u8(from.0);
                put_txn(&mut out, *txn);
            }
            Hello::Checkpoint { shard, to, from, at_least } => {
                out = message(2);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u8(from.0);
                out.put_u64(at_least.0);
            }
            Hello::Copy { shard, to, from, at_least, copy, arrived } => {
                out = message(4);
                out.put_u32(shard.0);
                out.put_u8(to.0);
                out.put_u8(from.0);
                out.put_u64(at_least.0);
                out.put_u64(*copy);
                out.put_bool(arrived.is_some());
                if let Some(Arrived { family, key, digest }) = arrived {
                    out.put_u8(*family as u8);
                    out.put_bytes(key);
                    out.put_u64(digest.entries);
                    out.put_u64(digest.chain);
                }
            }
            Hello::Slots { gain } => {
                out = message(3);
                out.put_u64(gain.at.0);
                out.put_u64(gain.after.0);
                put_slots(&mut out, &gain.slots);
            }
        }
        out.into()
    }

    /// Reads one that arrived.
    pub fn decode(bytes: &Bytes) -> Result<Hello, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let r = &mut reader;
        let hello = match kind {
            1 => Hello::Intent { shard: shard(r)?, to: replica(r)?, from: replica(r)?, txn: txn(r)? },
            2 => Hello::Checkpoint {
                shard: shard(r)?,
                to: replica(r)?,
                from: replica(r)?,
                at_least: LogIndex(r.u64()?),
            },
            3 => {
                let (at, after) = (LogIndex(r.u64()?), LogIndex(r.u64()?));
                Hello::Slots { gain: Gain { at, after, slots: slots(r)? } }
            }
            4 => {
                let (shard, to, from) = (shard(r)?, replica(r)?, replica(r)?);
                let (at_least, copy) = (LogIndex(r.u64()?), r.u64()?);
                let arrived = if r.bool()? {
                    let (family, key) = (usize::from(r.u8()?), r.shared_bytes()?);
                    Some(Arrived { family, key, digest: Digest { entries: r.u64()?, chain: r.u64()? } })
                } else {
                    None
                };
                Hello::Copy { shard, to, from, at_least, copy, arrived }
            }
            other => return Err(r.bad("kind of channel", other.into())),
        };
        reader.finish()?;
        Ok(hello)
    }
}

impl Piece {
    /// As it travels.
    pub fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Piece::Mutations(mutations) => {
                out = message(1);
                out.put_varint(mutations.len() as u64);
                for mutation in mutations {
                    out.put_u16(mutation.slot.0);
                    out.put_bytes(&mutation.key.0);
                    match &mutation.op {
                        MutationOp::Put(value) => {
                            out.put_u8(0);
                            out.put_bytes(value);
                        }
                        MutationOp::Delete => out.put_u8(1),
                        MutationOp::Lock => out.put_u8(2),
                    }
                }
            }
            Piece::IntentEnd(IntentEnd::Has(epoch)) => {
                out = message(2);
                out.put_u64(epoch.0);
            }
            Piece::IntentEnd(IntentEnd::HasNot(as_of)) => {
                out = message(3);
                out.put_u64(as_of.0);
            }
            Piece::IntentEnd(IntentEnd::CannotSay) => out = message(4),
            Piece::Entries(chunk) => {
                out = message(5);
                out.put_u8(chunk.family as u8);
                out.put_varint(chunk.entries.len() as u64);
                for (key, value) in &chunk.entries {
                    out.put_bytes(key);
                    out.put_bytes(value);
                }
            }
            Piece::CheckpointEnd(digest) => {
                out = message(6);
                out.put_u64(digest.entries);
                out.put_u64(digest.chain);
            }
            Piece::Gone => out = message(7),
        }
        out.into()
    }

    /// Reads one that arrived. Keys and values share its memory.
    pub fn decode(bytes: &Bytes) -> Result<Piece, DecodeError> {
        let (kind, mut reader) = open(bytes)?;
        let r = &mut reader;
        let piece = match kind {
            1 => {
                let mut mutations = Vec::with_capacity(r.count(4)?);
                for _ in 0..mutations.capacity() {
                    let (slot, key) = (Slot(r.u16()?), Key(r.shared_bytes()?));
                    let op = match r.u8()? {
                        0 => MutationOp::Put(r.shared_bytes()?),
                        1 => MutationOp::Delete,
                        2 => MutationOp::Lock,
                        other => return Err(r.bad("kind of mutation", other.into())),
                    };
                    mutations.push(Mutation { key, slot, op });
                }
                Piece::Mutations(mutations)
            }
            2 => Piece::IntentEnd(IntentEnd::Has(Epoch(r.u64()?))),
            3 => Piece::IntentEnd(IntentEnd::HasNot(LogIndex(r.u64()?))),
            4 => Piece::IntentEnd(IntentEnd::CannotSay),
            5 => {
                let family = usize::from(r.u8()?);
                let count = r.count(2)?;
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    entries.push((r.shared_bytes()?, r.shared_bytes()?));
                }
                Piece::Entries(Chunk { family, entries })
            }
            6 => Piece::CheckpointEnd(Digest { entries: r.u64()?, chain: r.u64()? }),
            7 => Piece::Gone,
            other => return Err(r.bad("kind of piece", other.into())),
        };
        reader.finish()?;
        Ok(piece)
    }
}

/// An intent of which pieces arrive.
#[derive(Default)]
pub struct Gathering(Vec<Mutation>);

impl Gathering {
    /// Takes the next piece. `None`: more must come; `Some(None)`: it is no piece of an intent.
    pub fn take(&mut self, piece: Piece) -> Option<Option<IntentAnswer>> {
        match piece {
            Piece::Mutations(more) => {
                self.0.extend(more);
                None
            }
            Piece::IntentEnd(IntentEnd::Has(epoch)) => {
                let mutations = std::mem::take(&mut self.0);
                Some(Some(IntentAnswer::Has(Intent { epoch, mutations })))
            }
            Piece::IntentEnd(IntentEnd::HasNot(as_of)) => Some(Some(IntentAnswer::HasNot { as_of })),
            Piece::IntentEnd(IntentEnd::CannotSay) => Some(Some(IntentAnswer::CannotSay)),
            Piece::Entries(_) | Piece::CheckpointEnd(_) | Piece::Gone => Some(None),
        }
    }
}

/// Whether an answer about an intent fits into one message.
pub fn fits_one_message(answer: &IntentAnswer) -> bool {
    match answer {
        IntentAnswer::Has(intent) => {
            intent.mutations.iter().map(Mutation::size).sum::<usize>() <= 4 * PIECE_BYTES
        }
        IntentAnswer::HasNot { .. } | IntentAnswer::CannotSay => true,
    }
}

/// A piece of an intent is closed once it holds this many bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The pieces in which an answer about an intent travels.
pub fn pieces_of(answer: IntentAnswer) -> Vec<Piece> {
    let Intent { epoch, mutations } = match answer {
        IntentAnswer::Has(intent) => intent,
        IntentAnswer::HasNot { as_of } => return vec![Piece::IntentEnd(IntentEnd::HasNot(as_of))],
        IntentAnswer::CannotSay => return vec![Piece::IntentEnd(IntentEnd::CannotSay)],
    };
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut bytes = 0;
    for mutation in mutations {
        bytes += mutation.size();
        piece.push(mutation);
        if bytes >= PIECE_BYTES {
            pieces.push(Piece::Mutations(std::mem::take(&mut piece)));
            bytes = 0;
        }
    }
    pieces.push(Piece::Mutations(piece));
    pieces.push(Piece::IntentEnd(IntentEnd::Has(epoch)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_codec::samples::Samples;

    /// What a message is called: the words that its variants begin with.
    fn name_of(message: &impl std::fmt::Debug) -> String {
        let text = format!("{message:?}");
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '(').unwrap_or(text.len());
        text[..end].trim_matches('(').replace('(', ".")
    }

    fn txn_id() -> TxnId {
        let begun = Timestamp::from_millis(1_790_000_000_000);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(3), FrontendEpoch(4), 5)
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let mut samples = Samples::default();
        let (shard, replica) = (ShardId(7), ReplicaId(2));
        let change = PlacementChange {
            expected: Epoch(4),
            shards: vec![(shard, Some(BTreeMap::from([(replica, NodeId(9))]))), (ShardId(8), None)],
            slots: vec![(Slot(3), Slot(9), shard)],
            raise: vec![ShardId(1)],
        };
        let commands = [
            PlacementCommand::Raise(shard),
            PlacementCommand::Register(shard, replica),
            PlacementCommand::Uncount(shard, replica),
            PlacementCommand::Change(change),
        ];
        let mut requests: Vec<Request> = commands.into_iter().map(Request::Administer).collect();
        let slots = Slots::new(vec![(Slot(1), Slot(5)), (Slot(9), Slot(9))]);
        requests.extend([
            Request::Learn { shard, replica },
            Request::Fledge { shard, replica, parent: ShardId(1), learner: ReplicaId(200) },
            Request::Discard { shard },
            Request::Status { shard },
            Request::Flush { shard },
            Request::Hash { shard, snapshot_ts: Timestamp(9), slots: slots.clone() },
            Request::Stage { shard, giver: ShardId(8), slots },
            Request::Learners,
            Request::Rebuild { shard },
            Request::Differs { shard, to: replica, epoch: Epoch(3) },
            Request::Intent { shard, to: replica, from: ReplicaId(1), txn: TxnId(7 << 82) },
        ]);
        for to in [None, Some(Key::from("z"))] {
            let keys = Page { from: Key::from("a"), to };
            let page = ContentPage { keys, snapshot_ts: Timestamp(7), epoch: Epoch(3) };
            requests.push(Request::Content { shard, to: replica, from: ReplicaId(1), page });
        }
        for request in requests {
            samples.add(&name_of(&request), &request.encode());
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let status = |phase| ReplicaStatus {
            replica,
            phase,
            position: Position { index: LogIndex(4), closed_ts: Timestamp(5) },
            durable: LogIndex(3),
            epoch: Epoch(2),
            bytes: 99,
        };
        let phases =
            [Phase::Following, Phase::Copying { bytes: 7 }, Phase::Fledgling, Phase::Halted("why".into())];
        let mut responses: Vec<Response> =
            phases.into_iter().map(|phase| Response::Status(Some(status(phase)))).collect();
        let refusals = [
            PlacementRefusal::EpochMoved { current: Epoch(5) },
            PlacementRefusal::NoSuchShard(shard),
            PlacementRefusal::NoReplicas(shard),
            PlacementRefusal::EmptyRun(Slot(2), Slot(1)),
            PlacementRefusal::NoSuchReplica(shard, replica),
            PlacementRefusal::MajorityLost(shard, replica),
            PlacementRefusal::StillNeeded(shard),
        ];
        responses.extend(refusals.into_iter().map(|r| Response::NotAdministered(r.into())));
        let errors = [
            AdjudicatorError::NotLeader { leader: Some(NodeId(3)) },
            AdjudicatorError::NotLeader { leader: None },
            AdjudicatorError::ReplyLost,
            AdjudicatorError::Unreachable("gone".into()),
        ];
        let lossless = &errors[..3];
        responses.extend(lossless.iter().cloned().map(|e| Response::NotAdministered(e.into())));
        responses.extend([
            Response::Done,
            Response::Learning(replica),
            Response::Status(None),
            Response::Staging(None),
            Response::Learners([(shard, replica), (ShardId(8), ReplicaId(4))].into()),
            Response::Staging(Some(Staging { position: None, progress: 7 })),
            Response::Staging(Some(Staging {
                position: Some(Position { index: LogIndex(4), closed_ts: Timestamp(5) }),
                progress: 9,
            })),
            Response::Hash(ContentHash { count: 1, sum: 2 }),
            Response::Administered(LogIndex(8)),
            Response::Content(None),
            Response::Content(Some(ContentHash { count: 1, sum: 2 })),
            Response::Failed("why".into()),
        ]);
        for response in responses {
            samples.add(&name_of(&response), &response.encode());
            assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
        let arrived = |key| Arrived { family: 1, key, digest: Digest { entries: 3, chain: 4 } };
        let copy = |arrived| Hello::Copy {
            shard,
            to: replica,
            from: ReplicaId(1),
            at_least: LogIndex(4),
            copy: 9,
            arrived,
        };
        for hello in [
            copy(None),
            copy(Some(arrived(Bytes::from_static(b"k")))),
            Hello::Intent { shard, to: replica, from: ReplicaId(1), txn: txn_id() },
            Hello::Checkpoint { shard, to: replica, from: ReplicaId(1), at_least: LogIndex(4) },
            Hello::Slots {
                gain: Gain {
                    at: LogIndex(9),
                    after: LogIndex(8),
                    slots: Slots::new(vec![(Slot(1), Slot(2))]),
                },
            },
        ] {
            samples.add(&name_of(&hello), &hello.encode());
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }
        let put = Mutation::put(Key::from("k"), Slot(1), &b"v"[..]);
        let mutations =
            vec![put, Mutation::delete(Key::from("d"), Slot(2)), Mutation::lock(Key::from("l"), Slot(3))];
        let intent = Intent { epoch: Epoch(3), mutations: mutations.clone() };
        let answers =
            [IntentAnswer::Has(intent), IntentAnswer::HasNot { as_of: LogIndex(4) }, IntentAnswer::CannotSay];
        for response in answers.map(Response::Intent) {
            samples.add(&name_of(&response), &response.encode());
            assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
        let chunk =
            Chunk { family: 1, entries: vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value"))] };
        let mut digest = Digest::default();
        digest.add(&chunk);
        for piece in [
            Piece::Mutations(mutations),
            Piece::IntentEnd(IntentEnd::Has(Epoch(3))),
            Piece::IntentEnd(IntentEnd::HasNot(LogIndex(4))),
            Piece::IntentEnd(IntentEnd::CannotSay),
            Piece::Entries(chunk),
            Piece::CheckpointEnd(digest),
            Piece::Gone,
        ] {
            samples.add(&name_of(&piece), &piece.encode());
            assert_eq!(Piece::decode(&piece.encode()), Ok(piece));
        }
        samples.are(include_str!("samples/siblings_v1.hex"));
    }

    #[test]
    fn an_intent_of_ordinary_size_is_an_answer() {
        let put = |n: u8| Mutation::put(Key::new(vec![n]), Slot(n.into()), vec![n; 100_000]);
        let intent = |count| Intent { epoch: Epoch(3), mutations: (0..count).map(put).collect() };
        let answers = [
            IntentAnswer::Has(intent(0)),
            IntentAnswer::Has(intent(7)),
            IntentAnswer::HasNot { as_of: LogIndex(4) },
            IntentAnswer::CannotSay,
        ];
        for answer in answers {
            assert!(fits_one_message(&answer));
            let response = Response::Intent(answer);
            let bytes = response.encode();
            assert_eq!(Response::decode(&bytes), Ok(response));
            assert!(Response::decode(&bytes.slice(..bytes.len() - 1)).is_err());
        }
        assert!(!fits_one_message(&IntentAnswer::Has(intent(11))));
    }

    #[test]
    fn an_intent_travels_in_pieces_of_bounded_size() {
        let put = |n: u8| Mutation::put(Key::new(vec![n]), Slot(n.into()), vec![n; 100_000]);
        let mut mutations: Vec<Mutation> = (0..7).map(put).collect();
        mutations.push(Mutation::delete(Key::from("d"), Slot(1)));
        mutations.push(Mutation::lock(Key::from("l"), Slot(2)));
        let intent = Intent { epoch: Epoch(3), mutations };
        let pieces = pieces_of(IntentAnswer::Has(intent.clone()));
        assert_eq!(pieces.len(), 4);
        let mut back = Vec::new();
        for piece in &pieces {
            assert_eq!(Piece::decode(&piece.encode()).as_ref(), Ok(piece));
            if let Piece::Mutations(mutations) = piece {
                back.extend(mutations.iter().cloned());
            }
        }
        assert_eq!(back, intent.mutations);
        assert_eq!(pieces.last(), Some(&Piece::IntentEnd(IntentEnd::Has(Epoch(3)))));
    }

    #[test]
    fn no_bytes_make_decoding_panic() {
        for kind in 0..40u8 {
            for fill in [0u8, 1, 0x7f, 0xff] {
                for length in [0usize, 1, 5, 40] {
                    let mut bytes = vec![VERSION, kind];
                    bytes.resize(2 + length, fill);
                    let bytes = Bytes::from(bytes);
                    let _ = Request::decode(&bytes);
                    let _ = Response::decode(&bytes);
                    let _ = Hello::decode(&bytes);
                    let _ = Piece::decode(&bytes);
                }
            }
        }
        assert!(Request::decode(&Bytes::from_static(&[9, 1])).is_err(), "another version is refused");
    }
}
