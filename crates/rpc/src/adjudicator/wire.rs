//! The bytes of this port: flat, little-endian, each request and each channel headed by a version.

use assize_adjudicator::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{
    CatalogVersion, Epoch, FrontendEpoch, FrontendId, KeyHash, NodeId, Outcome, Placement, TableId,
    Timestamp, TxnId, Winner,
};
use assize_ports::{
    AdjudicatorError, Begun, CatalogObjects, DecisionRun, Footprints, FrameDecisions, IdRange, LockStrength,
    LockWait, NodeRecord, Obstacle, Registered, Reserved, TxnRun,
};
use bytes::Bytes;
use std::time::Duration;

type Read<T> = Result<T, DecodeError>;

/// The version of everything here.
pub const VERSION: u8 = 1;
/// What the text of a refusal begins with that is final. It has no tag of its own: programs from before there was such a refusal
/// would give up the whole channel for one that they do not know, and with it what others wait for.
const TOO_LARGE: &str = "too large: ";

/// What a call asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Register {
        name: String,
        nonce: u64,
    },
    Begin,
    Outcome {
        txn: TxnId,
        resolve: bool,
    },
    Placement,
    Nodes,
    Catalog {
        since: CatalogVersion,
        at_least: CatalogVersion,
    },
    AllocateIds {
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    },
    NextId {
        table: TableId,
    },
    TrackRanges {
        table: TableId,
    },
    FrontendEpoch {
        frontend: FrontendId,
    },
    /// Programs from before there was such a question refuse it: nothing is explained then.
    Who(Obstacle),
}

impl Request {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Request::Register { name, nonce } => {
                out.put_u8(1);
                out.put_str(name);
                out.put_u64(*nonce);
            }
            Request::Begin => out.put_u8(2),
            Request::Outcome { txn, resolve } => {
                out.put_u8(3);
                flat::put_txn(&mut out, *txn);
                out.put_bool(*resolve);
            }
            Request::Placement => out.put_u8(4),
            Request::Nodes => out.put_u8(5),
            Request::Catalog { since, at_least } => {
                out.put_u8(6);
                out.put_u64(since.0);
                out.put_u64(at_least.0);
            }
            Request::AllocateIds { table, count, at_least, increment, offset } => {
                out.put_u8(7);
                out.put_u32(table.0);
                for number in [count, at_least, increment, offset] {
                    out.put_u64(*number);
                }
            }
            Request::NextId { table } => {
                out.put_u8(8);
                out.put_u32(table.0);
            }
            Request::TrackRanges { table } => {
                out.put_u8(9);
                out.put_u32(table.0);
            }
            Request::FrontendEpoch { frontend } => {
                out.put_u8(10);
                out.put_u32(frontend.0);
            }
            Request::Who(obstacle) => {
                out.put_u8(11);
                put_obstacle(&mut out, obstacle);
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<Request> {
        let mut reader = read_version(bytes)?;
        let request = match reader.u8()? {
            1 => Request::Register { name: reader.str()?.into(), nonce: reader.u64()? },
            2 => Request::Begin,
            3 => Request::Outcome { txn: flat::read_txn(&mut reader)?, resolve: reader.bool()? },
            4 => Request::Placement,
            5 => Request::Nodes,
            6 => Request::Catalog {
                since: CatalogVersion(reader.u64()?),
                at_least: CatalogVersion(reader.u64()?),
            },
            7 => Request::AllocateIds {
                table: TableId(reader.u32()?),
                count: reader.u64()?,
                at_least: reader.u64()?,
                increment: reader.u64()?,
                offset: reader.u64()?,
            },
            8 => Request::NextId { table: TableId(reader.u32()?) },
            9 => Request::TrackRanges { table: TableId(reader.u32()?) },
            10 => Request::FrontendEpoch { frontend: FrontendId(reader.u32()?) },
            11 => Request::Who(read_obstacle(&mut reader)?),
            other => return Err(reader.bad("request to the adjudicator", other.into())),
        };
        reader.finish()?;
        Ok(request)
    }
}

fn put_obstacle(out: &mut Vec<u8>, obstacle: &Obstacle) {
    match obstacle {
        Obstacle::Held { owner, keys, strength } => {
            out.put_u8(1);
            flat::put_txn(out, *owner);
            out.put_bool(*strength == LockStrength::Exclusive);
            put_keys(out, keys);
        }
        Obstacle::CommittedAt(commit_ts) => {
            out.put_u8(2);
            out.put_u64(commit_ts.0);
        }
        Obstacle::Fence(table) => {
            out.put_u8(3);
            out.put_u32(table.0);
        }
        // A release that does not know it refuses the question, and nobody is named.
        Obstacle::Object(object) => {
            out.put_u8(4);
            out.put_bytes(object);
        }
    }
}

fn read_obstacle(reader: &mut Reader<'_>) -> Read<Obstacle> {
    Ok(match reader.u8()? {
        1 => Obstacle::Held {
            owner: flat::read_txn(reader)?,
            strength: if reader.bool()? { LockStrength::Exclusive } else { LockStrength::Shared },
            keys: read_keys(reader)?,
        },
        2 => Obstacle::CommittedAt(Timestamp(reader.u64()?)),
        3 => Obstacle::Fence(TableId(reader.u32()?)),
        4 => Obstacle::Object(reader.shared_bytes()?),
        other => return Err(reader.bad("obstacle", other.into())),
    })
}

/// Writes whose an obstacle is.
pub fn put_winner(out: &mut Vec<u8>, winner: &Option<Winner>) {
    out.put_bool(winner.is_some());
    if let Some(winner) = winner {
        flat::put_txn(out, winner.txn);
        out.put_u64(winner.commit_ts.0);
    }
}

/// Reads whose an obstacle is.
pub fn read_winner(reader: &mut Reader<'_>) -> Read<Option<Winner>> {
    Ok(match reader.bool()? {
        true => Some(Winner { txn: flat::read_txn(reader)?, commit_ts: Timestamp(reader.u64()?) }),
        false => None,
    })
}

/// What a channel is for: its first message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Commits,
    Reservations,
}

impl Purpose {
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&[
            VERSION,
            match self {
                Purpose::Commits => 1,
                Purpose::Reservations => 2,
            },
        ])
    }

    pub fn decode(bytes: &Bytes) -> Read<Purpose> {
        let mut reader = read_version(bytes)?;
        let purpose = match reader.u8()? {
            1 => Purpose::Commits,
            2 => Purpose::Reservations,
            other => return Err(reader.bad("channel to the adjudicator", other.into())),
        };
        reader.finish()?;
        Ok(purpose)
    }
}

/// A message of the commit channel, to the adjudicator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToCommits {
    /// Footprints to decide; the answer carries the frame's number.
    Commit {
        frame: u64,
        footprints: Footprints,
    },
    Acknowledge(Vec<TxnRun>),
    ReportOldest {
        frontend: FrontendId,
        epoch: FrontendEpoch,
        oldest: Option<Timestamp>,
    },
}

impl ToCommits {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            ToCommits::Commit { frame, footprints } => {
                out.reserve(COMMIT_HEAD + footprints.bytes.len());
                put_commit_head(&mut out, *frame, footprints.count, footprints.bytes.len());
                out.put_slice(&footprints.bytes);
            }
            ToCommits::Acknowledge(runs) => {
                out.put_u8(2);
                out.put_varint(runs.len() as u64);
                for run in runs {
                    out.put_u32(run.frontend.0);
                    out.put_u32(run.epoch.0);
                    out.put_u64(run.first);
                    out.put_varint(run.count);
                }
            }
            ToCommits::ReportOldest { frontend, epoch, oldest } => {
                out.put_u8(3);
                out.put_u32(frontend.0);
                out.put_u32(epoch.0);
                out.put_bool(oldest.is_some());
                if let Some(oldest) = oldest {
                    out.put_u64(oldest.0);
                }
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<ToCommits> {
        let mut reader = Reader::over(bytes);
        let message = match reader.u8()? {
            1 => {
                let (frame, count) = (reader.u64()?, reader.u32()?);
                // How many there really are shows when they are looked at; there are no more than bytes.
                if count as usize > reader.left() {
                    return Err(reader.bad("number of footprints", count.into()));
                }
                let length = reader.u32()?;
                let bytes = reader.shared(length as usize)?;
                ToCommits::Commit { frame, footprints: Footprints { bytes, count } }
            }
            2 => ToCommits::Acknowledge(read_many(&mut reader, 17, |reader| {
                Ok(TxnRun {
                    frontend: FrontendId(reader.u32()?),
                    epoch: FrontendEpoch(reader.u32()?),
                    first: reader.u64()?,
                    count: reader.varint()?,
                })
            })?),
            3 => ToCommits::ReportOldest {
                frontend: FrontendId(reader.u32()?),
                epoch: FrontendEpoch(reader.u32()?),
                oldest: if reader.bool()? { Some(Timestamp(reader.u64()?)) } else { None },
            },
            other => return Err(reader.bad("message about commits", other.into())),
        };
        reader.finish()?;
        Ok(message)
    }
}

/// What stands before the footprints of a [`ToCommits::Commit`].
pub fn put_commit_head(out: &mut Vec<u8>, frame: u64, count: u32, bytes: usize) {
    out.put_u8(1);
    out.put_u64(frame);
    out.put_u32(count);
    out.put_u32(u32::try_from(bytes).expect("no message is longer than 4 GiB"));
}

/// Bytes of [`put_commit_head`].
pub const COMMIT_HEAD: usize = 17;

/// A message of the commit channel, from the adjudicator: the decisions about the footprints of a frame, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decisions {
    pub frame: u64,
    pub decisions: FrameDecisions,
}

impl Decisions {
    pub fn encode(&self) -> Bytes {
        let runs = self.decisions.runs();
        let mut out = Vec::with_capacity(16 + 16 * runs.len());
        out.put_u64(self.frame);
        out.put_varint(runs.len() as u64);
        for run in runs {
            match run {
                DecisionRun::Commits { count, first } => {
                    out.put_u8(0);
                    out.put_u32(*count);
                    out.put_u64(first.0);
                }
                DecisionRun::Same(count, decided) => {
                    out.put_u8(1);
                    out.put_u32(*count);
                    put_result(&mut out, decided, flat::put_decision);
                }
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<Decisions> {
        let mut reader = Reader::over(bytes);
        let frame = reader.u64()?;
        let runs = read_many(&mut reader, 6, |reader| {
            let is_commits = reader.u8()? == 0;
            let count = reader.u32()?;
            Ok(match is_commits {
                true => DecisionRun::Commits { count, first: Timestamp(reader.u64()?) },
                false => DecisionRun::Same(count, read_result(reader, flat::read_decision)?),
            })
        })?;
        let mut decisions = FrameDecisions::default();
        for run in runs {
            // More than a frame can ask for are no answer to one.
            if u64::from(decisions.len()) + u64::from(run.count()) > u64::from(u32::MAX) {
                return Err(reader.bad("number of decisions", run.count().into()));
            }
            decisions.push_run(run);
        }
        reader.finish()?;
        Ok(Decisions { frame, decisions })
    }
}

/// A message of the channel of reservations, to the adjudicator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToReservations {
    Reserve {
        id: u64,
        owner: TxnId,
        strength: LockStrength,
        wait: LockWait,
        keys: Vec<KeyHash>,
    },
    /// Nobody waits for this one any more.
    Cancel {
        id: u64,
    },
    Release {
        owner: TxnId,
    },
}

impl ToReservations {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            ToReservations::Reserve { id, owner, strength, wait, keys } => {
                out.put_u8(1);
                out.put_u64(*id);
                flat::put_txn(&mut out, *owner);
                out.put_bool(*strength == LockStrength::Exclusive);
                match wait {
                    LockWait::Timeout(limit) => {
                        out.put_u8(1);
                        out.put_u64(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
                    }
                    LockWait::NoWait => out.put_u8(2),
                    LockWait::SkipLocked => out.put_u8(3),
                }
                put_keys(&mut out, keys);
            }
            ToReservations::Cancel { id } => {
                out.put_u8(2);
                out.put_u64(*id);
            }
            ToReservations::Release { owner } => {
                out.put_u8(3);
                flat::put_txn(&mut out, *owner);
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<ToReservations> {
        let mut reader = Reader::over(bytes);
        let message = match reader.u8()? {
            1 => ToReservations::Reserve {
                id: reader.u64()?,
                owner: flat::read_txn(&mut reader)?,
                strength: if reader.bool()? { LockStrength::Exclusive } else { LockStrength::Shared },
                wait: match reader.u8()? {
                    1 => LockWait::Timeout(Duration::from_micros(reader.u64()?)),
                    2 => LockWait::NoWait,
                    3 => LockWait::SkipLocked,
                    other => return Err(reader.bad("way of waiting", other.into())),
                },
                keys: read_keys(&mut reader)?,
            },
            2 => ToReservations::Cancel { id: reader.u64()? },
            3 => ToReservations::Release { owner: flat::read_txn(&mut reader)? },
            other => return Err(reader.bad("message about reservations", other.into())),
        };
        reader.finish()?;
        Ok(message)
    }
}

/// A message of the channel of reservations, from the adjudicator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FromReservations {
    pub id: u64,
    pub reserved: Result<Reserved, AdjudicatorError>,
}

impl FromReservations {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64(self.id);
        put_result(&mut out, &self.reserved, |out, reserved| match reserved {
            Reserved::Granted { keys, begun } => {
                out.put_u8(1);
                put_keys(out, keys);
                put_begun(out, begun);
            }
            Reserved::Busy => out.put_u8(2),
            Reserved::TimedOut => out.put_u8(3),
            Reserved::Deadlock => out.put_u8(4),
        });
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<FromReservations> {
        let mut reader = Reader::over(bytes);
        let id = reader.u64()?;
        let reserved = read_result(&mut reader, |reader| {
            Ok(match reader.u8()? {
                1 => Reserved::Granted { keys: read_keys(reader)?, begun: read_begun(reader)? },
                2 => Reserved::Busy,
                3 => Reserved::TimedOut,
                4 => Reserved::Deadlock,
                other => return Err(reader.bad("fate of a reservation", other.into())),
            })
        })?;
        reader.finish()?;
        Ok(FromReservations { id, reserved })
    }
}

/// The answer to a call.
pub fn answer<T>(result: &Result<T, AdjudicatorError>, put: impl Fn(&mut Vec<u8>, &T)) -> Bytes {
    let mut out = vec![VERSION];
    put_result(&mut out, result, put);
    out.into()
}

/// Reads the answer to a call.
pub fn read_answer<T>(
    bytes: &Bytes,
    read: impl Fn(&mut Reader<'_>) -> Read<T>,
) -> Read<Result<T, AdjudicatorError>> {
    let mut reader = read_version(bytes)?;
    let result = read_result(&mut reader, read)?;
    reader.finish()?;
    Ok(result)
}

pub fn put_registered(out: &mut Vec<u8>, registered: &Registered) {
    out.put_u32(registered.frontend.0);
    out.put_u32(registered.epoch.0);
    out.put_u64(registered.hash_seed);
}

pub fn read_registered(reader: &mut Reader<'_>) -> Read<Registered> {
    Ok(Registered {
        frontend: FrontendId(reader.u32()?),
        epoch: FrontendEpoch(reader.u32()?),
        hash_seed: reader.u64()?,
    })
}

pub fn put_begun(out: &mut Vec<u8>, begun: &Begun) {
    out.put_u64(begun.snapshot_ts.0);
    out.put_u64(begun.catalog_version.0);
    out.put_u64(begun.placement_epoch.0);
}

pub fn read_begun(reader: &mut Reader<'_>) -> Read<Begun> {
    Ok(Begun {
        snapshot_ts: Timestamp(reader.u64()?),
        catalog_version: CatalogVersion(reader.u64()?),
        placement_epoch: Epoch(reader.u64()?),
    })
}

pub fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Committed(commit_ts) => {
            out.put_u8(1);
            out.put_u64(commit_ts.0);
        }
        Outcome::Aborted(reason) => {
            out.put_u8(2);
            flat::put_reason(out, reason);
        }
        Outcome::Undecided => out.put_u8(3),
        Outcome::Unknown => out.put_u8(4),
    }
}

pub fn read_outcome(reader: &mut Reader<'_>) -> Read<Outcome> {
    Ok(match reader.u8()? {
        1 => Outcome::Committed(Timestamp(reader.u64()?)),
        2 => Outcome::Aborted(flat::read_reason(reader)?),
        3 => Outcome::Undecided,
        4 => Outcome::Unknown,
        other => return Err(reader.bad("outcome", other.into())),
    })
}

pub fn put_placement(out: &mut Vec<u8>, placement: &Placement) {
    flat::put_placement(out, placement);
}

pub fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeRecord]) {
    out.put_varint(nodes.len() as u64);
    for node in nodes {
        out.put_u64(node.node.0);
        for text in [&node.peer_address, &node.admin_address, &node.mysql_address, &node.zone, &node.version]
        {
            out.put_str(text);
        }
        out.put_varint(node.roles.len() as u64);
        node.roles.iter().for_each(|role| out.put_str(role));
        out.put_u32(node.cluster_version);
    }
}

pub fn read_nodes(reader: &mut Reader<'_>) -> Read<Vec<NodeRecord>> {
    read_many(reader, 18, |reader| {
        let node = NodeId(reader.u64()?);
        let mut text = || reader.str().map(str::to_owned);
        let (peer_address, admin_address, mysql_address) = (text()?, text()?, text()?);
        let (zone, version) = (text()?, text()?);
        let roles = read_many(reader, 1, |reader| reader.str().map(str::to_owned))?;
        let cluster_version = reader.u32()?;
        Ok(NodeRecord {
            node,
            peer_address,
            admin_address,
            mysql_address,
            roles,
            zone,
            version,
            cluster_version,
        })
    })
}

pub fn put_catalog(out: &mut Vec<u8>, catalog: &CatalogObjects) {
    out.put_u64(catalog.version.0);
    out.put_bool(catalog.complete);
    out.put_varint(catalog.objects.len() as u64);
    for (key, version, object) in &catalog.objects {
        out.put_bytes(key);
        out.put_u64(*version);
        out.put_bool(object.is_some());
        if let Some(object) = object {
            out.put_bytes(object);
        }
    }
}

pub fn read_catalog(reader: &mut Reader<'_>) -> Read<CatalogObjects> {
    Ok(CatalogObjects {
        version: CatalogVersion(reader.u64()?),
        complete: reader.bool()?,
        objects: read_many(reader, 10, |reader| {
            let key = reader.shared_bytes()?;
            let version = reader.u64()?;
            let object = if reader.bool()? { Some(reader.shared_bytes()?) } else { None };
            Ok((key, version, object))
        })?,
    })
}

pub fn put_id_range(out: &mut Vec<u8>, range: &IdRange) {
    for number in [range.first, range.count, range.increment] {
        out.put_u64(number);
    }
}

pub fn read_id_range(reader: &mut Reader<'_>) -> Read<IdRange> {
    Ok(IdRange { first: reader.u64()?, count: reader.u64()?, increment: reader.u64()? })
}

fn put_result<T>(out: &mut Vec<u8>, result: &Result<T, AdjudicatorError>, put: impl Fn(&mut Vec<u8>, &T)) {
    match result {
        Ok(value) => {
            out.put_u8(0);
            put(out, value);
        }
        Err(error) => put_error(out, error),
    }
}

fn read_result<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Read<T>,
) -> Read<Result<T, AdjudicatorError>> {
    Ok(match reader.u8()? {
        0 => Ok(read(reader)?),
        tag => Err(read_error(reader, tag)?),
    })
}

fn put_error(out: &mut Vec<u8>, error: &AdjudicatorError) {
    let (tag, text) = match error {
        AdjudicatorError::Unreachable(text) => (1, text),
        AdjudicatorError::NotLeader { leader } => {
            out.put_u8(2);
            out.put_bool(leader.is_some());
            return leader.iter().for_each(|leader| out.put_u64(leader.0));
        }
        AdjudicatorError::ReplyLost => return out.put_u8(3),
        AdjudicatorError::Overloaded(text) => (4, text),
        AdjudicatorError::TooLarge(text) => {
            out.put_u8(4);
            return out.put_str(&format!("{TOO_LARGE}{text}"));
        }
        AdjudicatorError::DiskFull(text) => (5, text),
        AdjudicatorError::Stopped(text) => (6, text),
    };
    out.put_u8(tag);
    out.put_str(text);
}

fn read_error(reader: &mut Reader<'_>, tag: u8) -> Read<AdjudicatorError> {
    Ok(match tag {
        1 => AdjudicatorError::Unreachable(reader.str()?.into()),
        2 => AdjudicatorError::NotLeader {
            leader: if reader.bool()? { Some(NodeId(reader.u64()?)) } else { None },
        },
        3 => AdjudicatorError::ReplyLost,
        4 => refused(reader.str()?),
        5 => AdjudicatorError::DiskFull(reader.str()?.into()),
        6 => AdjudicatorError::Stopped(reader.str()?.into()),
        other => return Err(reader.bad("error of the adjudicator", other.into())),
    })
}

/// What a refusal says: that there is no room for now, or that there never will be.
fn refused(text: &str) -> AdjudicatorError {
    match text.strip_prefix(TOO_LARGE) {
        Some(text) => AdjudicatorError::TooLarge(text.into()),
        None => AdjudicatorError::Overloaded(text.into()),
    }
}

fn put_keys(out: &mut Vec<u8>, keys: &[KeyHash]) {
    out.put_varint(keys.len() as u64);
    keys.iter().for_each(|key| out.put_u64(key.0));
}

fn read_keys(reader: &mut Reader<'_>) -> Read<Vec<KeyHash>> {
    read_many(reader, 8, |reader| reader.u64().map(KeyHash))
}

fn read_many<T>(
    reader: &mut Reader<'_>,
    item_min: usize,
    read: impl Fn(&mut Reader<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    (0..reader.count(item_min)?).map(|_| read(reader)).collect()
}

fn read_version(bytes: &Bytes) -> Read<Reader<'_>> {
    let mut reader = Reader::over(bytes);
    match reader.u8()? {
        VERSION => Ok(reader),
        found => Err(DecodeError::UnknownVersion { found: found.into(), newest: VERSION.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::comes_back;
    use assize_codec::samples::Samples;
    use assize_model::Decision;
    use assize_model::{AbortReason, BatchNumber, Conflict, DeadlineClass};
    use assize_ports::Decided;

    fn txn(sequence: u64) -> TxnId {
        TxnId::new(
            Timestamp::from_millis(1_800_000_000_000),
            DeadlineClass::Normal,
            FrontendId(3),
            FrontendEpoch(2),
            sequence,
        )
    }

    fn begun() -> Begun {
        Begun { snapshot_ts: Timestamp(99), catalog_version: CatalogVersion(4), placement_epoch: Epoch(2) }
    }

    fn errors() -> Vec<AdjudicatorError> {
        vec![
            AdjudicatorError::Unreachable("far".into()),
            AdjudicatorError::NotLeader { leader: None },
            AdjudicatorError::NotLeader { leader: Some(NodeId(3)) },
            AdjudicatorError::ReplyLost,
            AdjudicatorError::Overloaded("busy".into()),
            AdjudicatorError::DiskFull("full".into()),
            AdjudicatorError::Stopped("why".into()),
        ]
    }

    #[test]
    fn requests_come_back() {
        let mut samples = Samples::default();
        let table = TableId(7);
        for request in [
            Request::Register { name: "frontend-1".into(), nonce: 9 },
            Request::Begin,
            Request::Outcome { txn: txn(1), resolve: true },
            Request::Placement,
            Request::Nodes,
            Request::Catalog { since: CatalogVersion(1), at_least: CatalogVersion(2) },
            Request::AllocateIds { table, count: 10, at_least: 1, increment: 2, offset: 3 },
            Request::NextId { table },
            Request::TrackRanges { table },
            Request::FrontendEpoch { frontend: FrontendId(3) },
            Request::Who(Obstacle::Held {
                owner: txn(1),
                keys: vec![KeyHash(4), KeyHash(2)],
                strength: LockStrength::Shared,
            }),
            Request::Who(Obstacle::CommittedAt(Timestamp(5))),
            Request::Who(Obstacle::Fence(table)),
            Request::Who(Obstacle::Object(Bytes::from_static(b"ids"))),
        ] {
            comes_back(&mut samples, &request, Request::encode, Request::decode);
        }
        for purpose in [Purpose::Commits, Purpose::Reservations] {
            comes_back(&mut samples, &purpose, |purpose| purpose.encode(), Purpose::decode);
        }
        samples.are(include_str!("../samples/adjudicator_requests_v1.hex"));
    }

    #[test]
    fn messages_about_commits_come_back() {
        let mut samples = Samples::default();
        let (frontend, epoch) = (FrontendId(1), FrontendEpoch(2));
        for message in [
            ToCommits::Commit { frame: 5, footprints: Footprints::one(Bytes::from_static(b"one")) },
            ToCommits::Acknowledge(vec![TxnRun::one(txn(1)), TxnRun { count: 300, ..TxnRun::one(txn(7)) }]),
            ToCommits::ReportOldest { frontend, epoch, oldest: None },
            ToCommits::ReportOldest { frontend, epoch, oldest: Some(Timestamp(8)) },
        ] {
            comes_back(&mut samples, &message, ToCommits::encode, ToCommits::decode);
        }
        let winner = Some(Winner { txn: txn(3), commit_ts: Timestamp(77) });
        let conflict = Conflict { key: Some(KeyHash(1)), range: None, batch: BatchNumber(4), winner };
        let mut decisions: Vec<Decided> = vec![
            Ok(Decision::Commit { commit_ts: Timestamp(5) }),
            Ok(Decision::Abort { reason: AbortReason::Conflict(conflict) }),
            Ok(Decision::Abort { reason: AbortReason::OutcomesFull }),
        ];
        decisions.extend(errors().into_iter().map(Err));
        let mut decisions: FrameDecisions = decisions.into_iter().collect();
        decisions.extend(FrameDecisions::all(8192, Err(AdjudicatorError::ReplyLost)));
        comes_back(&mut samples, &Decisions { frame: 6, decisions }, Decisions::encode, Decisions::decode);
        let refusals = ["a footprint of 9 bytes", ""].map(|why| Err(AdjudicatorError::TooLarge(why.into())));
        let decisions = Decisions { frame: 7, decisions: refusals.into_iter().collect() };
        comes_back(&mut samples, &decisions, Decisions::encode, Decisions::decode);
        samples.are(include_str!("../samples/adjudicator_commits_v1.hex"));
    }

    #[test]
    fn messages_about_reservations_come_back() {
        let mut samples = Samples::default();
        for wait in [LockWait::Timeout(Duration::from_millis(1500)), LockWait::NoWait, LockWait::SkipLocked] {
            for strength in [LockStrength::Shared, LockStrength::Exclusive] {
                let keys = vec![KeyHash(1), KeyHash(2)];
                let message = ToReservations::Reserve { id: 4, owner: txn(1), strength, wait, keys };
                comes_back(&mut samples, &message, ToReservations::encode, ToReservations::decode);
            }
        }
        for message in [ToReservations::Cancel { id: 4 }, ToReservations::Release { owner: txn(2) }] {
            comes_back(&mut samples, &message, ToReservations::encode, ToReservations::decode);
        }
        let keys = vec![KeyHash(5)];
        let granted = Reserved::Granted { keys, begun: begun() };
        let fates = [Ok(granted), Ok(Reserved::Busy), Ok(Reserved::TimedOut), Ok(Reserved::Deadlock)];
        for reserved in fates.into_iter().chain(errors().into_iter().map(Err)) {
            let message = FromReservations { id: 4, reserved };
            comes_back(&mut samples, &message, FromReservations::encode, FromReservations::decode);
        }
        samples.are(include_str!("../samples/adjudicator_reservations_v1.hex"));
    }

    #[test]
    fn answers_come_back() {
        let mut samples = Samples::default();
        fn check<T: PartialEq + std::fmt::Debug>(
            samples: &mut Samples,
            value: T,
            put: impl Fn(&mut Vec<u8>, &T),
            read: impl Fn(&mut Reader<'_>) -> Read<T>,
        ) {
            comes_back(samples, &Ok(value), |value| answer(value, &put), |bytes| read_answer(bytes, &read));
        }
        let registered = Registered { frontend: FrontendId(1), epoch: FrontendEpoch(2), hash_seed: 3 };
        check(&mut samples, registered, put_registered, read_registered);
        check(&mut samples, begun(), put_begun, read_begun);
        for outcome in [
            Outcome::Committed(Timestamp(4)),
            Outcome::Aborted(AbortReason::Resolved),
            Outcome::Undecided,
            Outcome::Unknown,
        ] {
            check(&mut samples, outcome, put_outcome, read_outcome);
        }
        let placement = Placement::even_replicated(4, &[NodeId(1), NodeId(2)]);
        check(&mut samples, placement, put_placement, flat::read_placement);
        let node = NodeRecord {
            node: NodeId(3),
            peer_address: "10.0.0.3:7407".into(),
            admin_address: "10.0.0.3:7406".into(),
            mysql_address: String::new(),
            roles: vec!["adjudicator".into(), "shard".into()],
            zone: "b".into(),
            version: "0.1.0".into(),
            cluster_version: 2,
        };
        check(&mut samples, vec![node.clone(), node], |out, nodes| put_nodes(out, nodes), read_nodes);
        let objects = vec![
            (Bytes::from_static(b"k"), 3, Some(Bytes::from_static(b"v"))),
            (Bytes::from_static(b"gone"), 4, None),
        ];
        let catalog = CatalogObjects { version: CatalogVersion(4), complete: false, objects };
        check(&mut samples, catalog, put_catalog, read_catalog);
        check(&mut samples, IdRange { first: 1, count: 2, increment: 3 }, put_id_range, read_id_range);
        check(&mut samples, Some(Winner { txn: txn(3), commit_ts: Timestamp(77) }), put_winner, read_winner);
        check(&mut samples, None, put_winner, read_winner);
        for error in errors() {
            let failed: Result<Begun, _> = Err(error);
            comes_back(
                &mut samples,
                &failed,
                |failed| answer(failed, put_begun),
                |bytes| read_answer(bytes, read_begun),
            );
        }
        samples.are(include_str!("../samples/adjudicator_answers_v1.hex"));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Request::Begin.encode().to_vec();
        bytes[0] = VERSION + 1;
        let refused = Request::decode(&bytes.into());
        assert!(matches!(refused, Err(DecodeError::UnknownVersion { .. })));
    }
}
