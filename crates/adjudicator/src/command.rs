//! What can be in the log, and how it looks there.
//!
//! Every entry is a byte of version, a byte of kind and a flat little-endian body. An entry that this program cannot read
//! was written by a newer one: whoever decodes a *committed* entry and fails must stop, not skip it.

use crate::CLUSTER_VERSION_MAX;
use crate::flat;
use crate::footprint_view::{EncodedFootprint, FootprintView, encode_footprint, prefetch_ahead};
use crate::nodes::NodeEntry;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use bytes::Bytes;

const ENTRY_VERSION: u8 = 1;

/// No leader's clock shows a year beyond 2500; an entry that says so is damage.
const TIMESTAMP_MAX: Timestamp = Timestamp::from_millis(16_725_225_600_000);

/// A log entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The first entry of a cluster. Later ones change nothing.
    Bootstrap(Bootstrap),
    /// Footprints to decide.
    Batch(Batch),
    /// Allows the leader to close timestamps up to `ceiling` without an entry for each, and closes `close` here and
    /// now (zero: nothing), so that timestamps move while nobody commits.
    RaiseCeiling {
        /// A new leader starts above this.
        ceiling: Timestamp,
        /// Closed by this entry itself.
        close: Timestamp,
    },
    /// A frontend begins a life. Ends its life before.
    GrantFrontend {
        /// Which frontend.
        frontend: FrontendId,
        /// Drawn by the frontend at its start; the same nonce gets the same life, so that a repeated request is harmless.
        nonce: u64,
    },
    /// A frontend has been silent for longer than its lease: this life of it commits nothing more.
    FenceFrontend {
        /// Which frontend.
        frontend: FrontendId,
        /// Which life.
        epoch: FrontendEpoch,
    },
    /// Frontends say which of their snapshots is the oldest; the low-water mark follows the oldest of all.
    RaiseLowWater {
        /// Reports, pending begins included.
        reports: Vec<SnapshotReport>,
    },
    /// Somebody needs to know: an undecided transaction is aborted.
    Resolve(TxnId),
    /// A frontend wants AUTO_INCREMENT values.
    AllocateIds(AllocateIds),
    /// Slots, shards, replicas.
    ChangePlacement(PlacementChange),
    /// A replica is about to take a checkpoint: from here on the log and the intents that it will need are kept.
    RegisterReplica {
        /// Its shard.
        shard: ShardId,
        /// Which replica.
        replica: ReplicaId,
    },
    /// Replicas say how far they have durably come.
    ReportDurable {
        /// Reports.
        reports: Vec<DurableReport>,
    },
    /// A replica is too far behind to wait for. Refused unless a majority of its shard still counts without it.
    Uncount {
        /// Its shard.
        shard: ShardId,
        /// Which replica.
        replica: ReplicaId,
    },
    /// Ranges of this table are tracked from here on.
    TrackRanges(TableId),
    /// All nodes run programs that know this behaviour: use it from here on.
    RaiseClusterVersion(u32),
    /// Frontends have told their clients.
    AcknowledgeOutcomes {
        /// By frontend.
        acknowledged: Vec<Acknowledgement>,
    },
    /// A node has come, has changed, or (`None`) is gone for good.
    SetNode {
        /// Which node.
        node: NodeId,
        /// What it is.
        entry: Option<NodeEntry>,
    },
    /// Every node notes the hash of its state after this entry, to compare it with the others'.
    NoteHash,
    /// A node is to give up its shard replicas, or is to have some again. Only from cluster version
    /// [`crate::DRAINS_SINCE`] on: older programs cannot read it.
    DrainNode {
        /// Which node.
        node: NodeId,
        /// Whether it is to give them up.
        drains: bool,
    },
    /// The group has lost its majority for good, and an operator has made what one voter has left into the cluster. Written
    /// by no leader, but by hand, to the end of that voter's log.
    Recover(Recovery),
    /// A shard has lost most of its replicas for good, and an operator has decided that what the others have is the shard. Only
    /// from cluster version [`crate::DRAINS_SINCE`] on.
    RecoverShard {
        /// Which shard.
        shard: ShardId,
        /// The placement's epoch that the author saw; refused if it is another by now.
        expected: Epoch,
        /// The nodes whose replicas of it are gone; refused if that is all of them.
        lost: Vec<NodeId>,
    },
}

/// What becomes of a cluster whose majority is lost for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// The cluster's number so far; if it is another, nothing happens.
    pub former: u128,
    /// Its number from here on, drawn at random: nodes that still have the former one are refused by those that know better.
    pub cluster: u128,
    /// The nodes that are gone. They are forgotten, and so are their replicas, except those of shards that have no other.
    pub lost: Vec<NodeId>,
}

/// What a cluster starts with and never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrap {
    /// Drawn at random; nodes with different ones refuse each other.
    pub cluster: u128,
    /// Drawn at random: the seed of key hashes, so that nobody outside can construct collisions.
    pub hash_seed: u64,
    /// The conflict window has `1 << window_log2` buckets of 64 bytes.
    pub window_log2: u8,
    /// At most so many outcomes are held in memory.
    pub outcomes_max: u64,
    /// At most so many keys of a tracked table.
    pub range_keys_max: u64,
    /// Where the timestamps begin.
    pub now: Timestamp,
    /// Where everything lies.
    pub placement: Placement,
}

impl Bootstrap {
    /// A cluster of ordinary size: a window of 16 MiB (1.8 million keys), sixty-four million outcomes, which take
    /// memory (16 bytes each) only while they are held.
    pub fn new(cluster: u128, hash_seed: u64, now: Timestamp, placement: Placement) -> Self {
        Bootstrap {
            cluster,
            hash_seed,
            window_log2: 18,
            outcomes_max: 64 << 20,
            range_keys_max: 1 << 20,
            now,
            placement,
        }
    }
}

/// A frontend's oldest snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotReport {
    /// The frontend.
    pub frontend: FrontendId,
    /// The life that says so.
    pub epoch: FrontendEpoch,
    /// It holds nothing older and will ask for nothing older.
    pub oldest: Timestamp,
}

/// A frontend's acknowledgement of outcomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledgement {
    /// The frontend.
    pub frontend: FrontendId,
    /// The life that says so.
    pub epoch: FrontendEpoch,
    /// It will never again ask for a transaction with a lower sequence number.
    pub below: u64,
}

/// A request for AUTO_INCREMENT values: `count` of them, `increment` apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocateIds {
    /// The table.
    pub table: TableId,
    /// How many.
    pub count: u64,
    /// None below this.
    pub at_least: u64,
    /// `auto_increment_increment`.
    pub increment: u64,
    /// `auto_increment_offset`.
    pub offset: u64,
}

/// A replica's durable position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurableReport {
    /// Its shard.
    pub shard: ShardId,
    /// Which replica.
    pub replica: ReplicaId,
    /// It will never again ask for entries at or before this.
    pub durable: Position,
}

/// The footprints of a batch.
#[derive(Clone, Debug)]
pub struct Views<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Views<'a> {
    type Item = FootprintView<'a>;

    // A view that is handed over in memory costs more than making it.
    #[inline(always)]
    fn next(&mut self) -> Option<FootprintView<'a>> {
        self.left = self.left.checked_sub(1)?;
        prefetch_ahead(self.rest);
        let (view, rest) = FootprintView::parsed(self.rest);
        self.rest = rest;
        Some(view)
    }
}

/// Footprints that are decided together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Where the timestamps of its commits begin; apply moves it up if it is not above everything closed.
    pub base_ts: Timestamp,
    /// Also raises the ceiling, if not zero.
    pub ceiling: Timestamp,
    count: u32,
    footprints: Bytes,
}

impl Batch {
    /// A batch of these footprints.
    pub fn new<'a>(base_ts: Timestamp, footprints: impl IntoIterator<Item = &'a Footprint>) -> Self {
        let mut bytes = Vec::new();
        let mut count = 0;
        for footprint in footprints {
            encode_footprint(&mut bytes, footprint);
            count += 1;
        }
        Self::of_bytes(base_ts, count, bytes)
    }

    /// A batch of this many footprints, encoded one after the other.
    pub(crate) fn of_bytes(base_ts: Timestamp, count: u32, footprints: Vec<u8>) -> Self {
        Batch { base_ts, ceiling: Timestamp::ZERO, count, footprints: footprints.into() }
    }

    /// A batch of these encoded footprints.
    pub fn of_encoded<'a>(
        base_ts: Timestamp,
        ceiling: Timestamp,
        footprints: impl IntoIterator<Item = &'a EncodedFootprint>,
    ) -> Self {
        let mut bytes = Vec::new();
        let mut count = 0;
        for footprint in footprints {
            bytes.put_slice(footprint.bytes());
            count += 1;
        }
        Batch { base_ts, ceiling, count, footprints: bytes.into() }
    }

    /// The log entry of a batch of so many well-formed footprints, which lie one after the other in these parts, as
    /// [`Command::encode`] would write it.
    pub fn entry_of_parts<'a>(
        base_ts: Timestamp,
        ceiling: Timestamp,
        count: u32,
        parts: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Vec<u8> {
        let len: usize = parts.clone().map(Bytes::len).sum();
        let mut out = Vec::with_capacity(len + 32);
        put_batch_head(&mut out, base_ts, ceiling, count);
        parts.for_each(|part| out.put_slice(part));
        out
    }

    /// How many footprints.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All bytes of all footprints.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.footprints
    }

    /// The footprints, in order.
    #[inline]
    pub fn views(&self) -> Views<'_> {
        Views { rest: &self.footprints, left: self.count }
    }

    /// The footprint that begins at this byte.
    ///
    /// # Panics
    /// If none does.
    pub(crate) fn view_at(&self, at: usize) -> FootprintView<'_> {
        FootprintView::parsed(&self.footprints[at..]).0
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let base_ts = Timestamp(reader.u64()?);
        let ceiling = Timestamp(reader.u64()?);
        if base_ts > TIMESTAMP_MAX || ceiling > TIMESTAMP_MAX {
            return Err(reader.bad("timestamp", base_ts.0.max(ceiling.0)));
        }
        let count = reader.u32()?;
        let footprints = reader.shared(reader.left())?;
        let mut rest: &[u8] = &footprints;
        for _ in 0..count {
            prefetch_ahead(rest);
            let (view, after) = FootprintView::parse(rest)?;
            view.validate()?;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes { at: footprints.len() - rest.len(), left: rest.len() });
        }
        Ok(Batch { base_ts, ceiling, count, footprints })
    }
}

/// What comes before the footprints in the entry of a batch.
fn put_batch_head(out: &mut Vec<u8>, base_ts: Timestamp, ceiling: Timestamp, count: u32) {
    out.put_u8(ENTRY_VERSION);
    out.put_u8(2);
    out.put_u64(base_ts.0);
    out.put_u64(ceiling.0);
    out.put_u32(count);
}

impl Command {
    /// The entry's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(match self {
            Command::Batch(batch) => batch.footprints.len() + 32,
            _ => 64,
        });
        out.put_u8(ENTRY_VERSION);
        match self {
            Command::Bootstrap(bootstrap) => {
                out.put_u8(1);
                out.put_u128(bootstrap.cluster);
                out.put_u64(bootstrap.hash_seed);
                out.put_u8(bootstrap.window_log2);
                out.put_u64(bootstrap.outcomes_max);
                out.put_u64(bootstrap.range_keys_max);
                out.put_u64(bootstrap.now.0);
                flat::put_placement(&mut out, &bootstrap.placement);
            }
            Command::Batch(batch) => {
                out.clear();
                put_batch_head(&mut out, batch.base_ts, batch.ceiling, batch.count);
                out.put_slice(&batch.footprints);
            }
            Command::RaiseCeiling { ceiling, close } => {
                out.put_u8(3);
                out.put_u64(ceiling.0);
                out.put_u64(close.0);
            }
            Command::GrantFrontend { frontend, nonce } => {
                out.put_u8(4);
                out.put_u32(frontend.0);
                out.put_u64(*nonce);
            }
            Command::FenceFrontend { frontend, epoch } => {
                out.put_u8(5);
                out.put_u32(frontend.0);
                out.put_u32(epoch.0);
            }
            Command::RaiseLowWater { reports } => {
                out.put_u8(6);
                out.put_varint(reports.len() as u64);
                for report in reports {
                    out.put_u32(report.frontend.0);
                    out.put_u32(report.epoch.0);
                    out.put_u64(report.oldest.0);
                }
            }
            Command::Resolve(txn) => {
                out.put_u8(7);
                flat::put_txn(&mut out, *txn);
            }
            Command::AllocateIds(ids) => {
                out.put_u8(8);
                out.put_u32(ids.table.0);
                for n in [ids.count, ids.at_least, ids.increment, ids.offset] {
                    out.put_u64(n);
                }
            }
            Command::ChangePlacement(change) => {
                out.put_u8(9);
                crate::placement::encode_change(change, &mut out);
            }
            Command::RegisterReplica { shard, replica } => {
                out.put_u8(10);
                out.put_u32(shard.0);
                out.put_u8(replica.0);
            }
            Command::ReportDurable { reports } => {
                out.put_u8(11);
                out.put_varint(reports.len() as u64);
                for report in reports {
                    out.put_u32(report.shard.0);
                    out.put_u8(report.replica.0);
                    out.put_u64(report.durable.index.0);
                    out.put_u64(report.durable.closed_ts.0);
                }
            }
            Command::Uncount { shard, replica } => {
                out.put_u8(12);
                out.put_u32(shard.0);
                out.put_u8(replica.0);
            }
            Command::TrackRanges(table) => {
                out.put_u8(13);
                out.put_u32(table.0);
            }
            Command::RaiseClusterVersion(version) => {
                out.put_u8(14);
                out.put_u32(*version);
            }
            Command::AcknowledgeOutcomes { acknowledged } => {
                out.put_u8(15);
                out.put_varint(acknowledged.len() as u64);
                for part in acknowledged {
                    out.put_u32(part.frontend.0);
                    out.put_u32(part.epoch.0);
                    out.put_u64(part.below);
                }
            }
            Command::SetNode { node, entry } => {
                out.put_u8(16);
                out.put_u64(node.0);
                out.put_bool(entry.is_some());
                if let Some(entry) = entry {
                    entry.encode(&mut out);
                }
            }
            Command::NoteHash => out.put_u8(17),
            Command::DrainNode { node, drains } => {
                out.put_u8(18);
                out.put_u64(node.0);
                out.put_bool(*drains);
            }
            Command::Recover(recovery) => {
                out.put_u8(19);
                out.put_u128(recovery.former);
                out.put_u128(recovery.cluster);
                out.put_varint(recovery.lost.len() as u64);
                recovery.lost.iter().for_each(|node| out.put_u64(node.0));
            }
            Command::RecoverShard { shard, expected, lost } => {
                out.put_u8(20);
                out.put_u32(shard.0);
                out.put_u64(expected.0);
                out.put_varint(lost.len() as u64);
                lost.iter().for_each(|node| out.put_u64(node.0));
            }
        }
        out
    }

    /// Reads an entry. A batch shares the memory of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::over(bytes);
        let r = &mut reader;
        let version = r.u8()?;
        if version != ENTRY_VERSION {
            return Err(DecodeError::UnknownVersion { found: version.into(), newest: ENTRY_VERSION.into() });
        }
        let command = match r.u8()? {
            1 => {
                let bootstrap = Bootstrap {
                    cluster: r.u128()?,
                    hash_seed: r.u64()?,
                    window_log2: r.u8()?,
                    outcomes_max: r.u64()?,
                    range_keys_max: r.u64()?,
                    now: Timestamp(r.u64()?),
                    placement: flat::read_placement(r)?,
                };
                if bootstrap.now > TIMESTAMP_MAX {
                    return Err(r.bad("timestamp", bootstrap.now.0));
                }
                if !crate::window::BUCKETS_LOG2.contains(&bootstrap.window_log2) {
                    return Err(r.bad("window size", bootstrap.window_log2.into()));
                }
                if bootstrap.placement.ranges.is_empty() {
                    return Err(r.bad("placement of all slots", 0));
                }
                Command::Bootstrap(bootstrap)
            }
            2 => Command::Batch(Batch::read(r)?),
            3 => {
                let (ceiling, close) = (Timestamp(r.u64()?), Timestamp(r.u64()?));
                if ceiling > TIMESTAMP_MAX || close > TIMESTAMP_MAX {
                    return Err(r.bad("timestamp", ceiling.0.max(close.0)));
                }
                Command::RaiseCeiling { ceiling, close }
            }
            4 => Command::GrantFrontend { frontend: FrontendId(r.u32()?), nonce: r.u64()? },
            5 => Command::FenceFrontend { frontend: FrontendId(r.u32()?), epoch: FrontendEpoch(r.u32()?) },
            6 => Command::RaiseLowWater {
                reports: (0..r.count(16)?)
                    .map(|_| {
                        Ok(SnapshotReport {
                            frontend: FrontendId(r.u32()?),
                            epoch: FrontendEpoch(r.u32()?),
                            oldest: Timestamp(r.u64()?),
                        })
                    })
                    .collect::<Result<_, DecodeError>>()?,
            },
            7 => Command::Resolve(flat::read_txn(r)?),
            8 => Command::AllocateIds(AllocateIds {
                table: TableId(r.u32()?),
                count: r.u64()?,
                at_least: r.u64()?,
                increment: r.u64()?,
                offset: r.u64()?,
            }),
            9 => Command::ChangePlacement(crate::placement::decode_change(r)?),
            10 => Command::RegisterReplica { shard: ShardId(r.u32()?), replica: ReplicaId(r.u8()?) },
            11 => Command::ReportDurable {
                reports: (0..r.count(21)?)
                    .map(|_| {
                        Ok(DurableReport {
                            shard: ShardId(r.u32()?),
                            replica: ReplicaId(r.u8()?),
                            durable: Position { index: LogIndex(r.u64()?), closed_ts: Timestamp(r.u64()?) },
                        })
                    })
                    .collect::<Result<_, DecodeError>>()?,
            },
            12 => Command::Uncount { shard: ShardId(r.u32()?), replica: ReplicaId(r.u8()?) },
            13 => Command::TrackRanges(TableId(r.u32()?)),
            14 => {
                let version = r.u32()?;
                if version > CLUSTER_VERSION_MAX {
                    // To apply this entry would be to promise behaviour that this program does not have.
                    return Err(DecodeError::UnknownVersion {
                        found: version.try_into().unwrap_or(u16::MAX),
                        newest: CLUSTER_VERSION_MAX as u16,
                    });
                }
                Command::RaiseClusterVersion(version)
            }
            15 => Command::AcknowledgeOutcomes {
                acknowledged: (0..r.count(16)?)
                    .map(|_| {
                        Ok(Acknowledgement {
                            frontend: FrontendId(r.u32()?),
                            epoch: FrontendEpoch(r.u32()?),
                            below: r.u64()?,
                        })
                    })
                    .collect::<Result<_, DecodeError>>()?,
            },
            16 => {
                let node = NodeId(r.u64()?);
                let entry = if r.bool()? { Some(NodeEntry::decode(r)?) } else { None };
                Command::SetNode { node, entry }
            }
            17 => Command::NoteHash,
            18 => Command::DrainNode { node: NodeId(r.u64()?), drains: r.bool()? },
            19 => Command::Recover(Recovery {
                former: r.u128()?,
                cluster: r.u128()?,
                lost: (0..r.count(8)?).map(|_| Ok(NodeId(r.u64()?))).collect::<Result<_, DecodeError>>()?,
            }),
            20 => Command::RecoverShard {
                shard: ShardId(r.u32()?),
                expected: Epoch(r.u64()?),
                lost: (0..r.count(8)?).map(|_| Ok(NodeId(r.u64()?))).collect::<Result<_, DecodeError>>()?,
            },
            other => return Err(r.bad("kind of log entry", other.into())),
        };
        reader.finish()?;
        Ok(command)
    }
}
