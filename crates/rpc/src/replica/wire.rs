//! The bytes of this port.

use assize_adjudicator::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{
    Epoch, Key, KeyRange, Mutation, ReplicaId, ShardId, Timestamp, TxnId, Volume, Vote, VoteRefusal,
};
use assize_ports::{Direction, NewestCommits, ReadView, ScanPage, ShardError};
use bytes::Bytes;

type Read<T> = Result<T, DecodeError>;

const VERSION: u8 = 1;

/// Which replica is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    pub shard: ShardId,
    pub replica: ReplicaId,
}

/// What is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Get {
        view: ReadView,
        key: Key,
    },
    GetMany {
        view: ReadView,
        keys: Vec<Key>,
    },
    Scan {
        view: ReadView,
        range: KeyRange,
        direction: Direction,
        limit: usize,
    },
    NewestCommits {
        keys: Vec<Key>,
        at_least: Timestamp,
    },
    NewestCommitIn {
        range: KeyRange,
        at_least: Timestamp,
    },
    Prepare {
        txn: TxnId,
        epoch: Epoch,
        mutations: Vec<Mutation>,
    },
    Forget {
        txn: TxnId,
    },
    /// Whoever does not know this question refuses it, and the asker does without.
    Volumes {
        ranges: Vec<KeyRange>,
    },
}

impl Request {
    pub fn encode(&self, target: Target) -> Bytes {
        let mut out = put_target(target);
        match self {
            Request::Get { view, key } => {
                out.put_u8(1);
                put_view(&mut out, view);
                out.put_bytes(&key.0);
            }
            Request::GetMany { view, keys } => {
                out.put_u8(2);
                put_view(&mut out, view);
                put_keys(&mut out, keys);
            }
            Request::Scan { view, range, direction, limit } => {
                out.put_u8(3);
                put_view(&mut out, view);
                flat::put_range(&mut out, range);
                out.put_bool(*direction == Direction::Reverse);
                out.put_u64(*limit as u64);
            }
            Request::NewestCommits { keys, at_least } => {
                out.put_u8(4);
                put_keys(&mut out, keys);
                out.put_u64(at_least.0);
            }
            Request::NewestCommitIn { range, at_least } => {
                out.put_u8(5);
                flat::put_range(&mut out, range);
                out.put_u64(at_least.0);
            }
            Request::Prepare { txn, epoch, mutations } => {
                out.put_u8(6);
                flat::put_txn(&mut out, *txn);
                out.put_u64(epoch.0);
                out.put_varint(mutations.len() as u64);
                mutations.iter().for_each(|mutation| flat::put_mutation(&mut out, mutation));
            }
            Request::Forget { txn } => {
                out.put_u8(7);
                flat::put_txn(&mut out, *txn);
            }
            Request::Volumes { ranges } => {
                out.put_u8(8);
                out.put_varint(ranges.len() as u64);
                ranges.iter().for_each(|range| flat::put_range(&mut out, range));
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<(Target, Request)> {
        let (target, mut reader) = read_target(bytes)?;
        let reader = &mut reader;
        let request = match reader.u8()? {
            1 => Request::Get { view: read_view(reader)?, key: Key(reader.shared_bytes()?) },
            2 => Request::GetMany { view: read_view(reader)?, keys: read_keys(reader)? },
            3 => Request::Scan {
                view: read_view(reader)?,
                range: flat::read_range(reader)?,
                direction: if reader.bool()? { Direction::Reverse } else { Direction::Forward },
                limit: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
            },
            4 => Request::NewestCommits { keys: read_keys(reader)?, at_least: Timestamp(reader.u64()?) },
            5 => Request::NewestCommitIn {
                range: flat::read_range(reader)?,
                at_least: Timestamp(reader.u64()?),
            },
            6 => Request::Prepare {
                txn: flat::read_txn(reader)?,
                epoch: Epoch(reader.u64()?),
                mutations: (0..reader.count(4)?).map(|_| flat::read_mutation(reader)).collect::<Read<_>>()?,
            },
            7 => Request::Forget { txn: flat::read_txn(reader)? },
            8 => Request::Volumes {
                ranges: (0..reader.count(2)?).map(|_| flat::read_range(reader)).collect::<Read<_>>()?,
            },
            other => return Err(reader.bad("request to a replica", other.into())),
        };
        reader.clone().finish()?;
        Ok((target, request))
    }
}

/// The first message of a prepare in pieces: each further message is one piece, their end is the channel's, and the vote
/// comes back as the answer to a call would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LargePrepare {
    pub target: Target,
    pub txn: TxnId,
    pub epoch: Epoch,
}

impl LargePrepare {
    pub fn encode(&self) -> Bytes {
        let mut out = put_target(self.target);
        flat::put_txn(&mut out, self.txn);
        out.put_u64(self.epoch.0);
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<LargePrepare> {
        let (target, mut reader) = read_target(bytes)?;
        let prepare = LargePrepare { target, txn: flat::read_txn(&mut reader)?, epoch: Epoch(reader.u64()?) };
        reader.finish()?;
        Ok(prepare)
    }
}

/// A piece of a large prepare: mutations, one after the other.
pub fn read_piece(bytes: &Bytes, mutations: &mut Vec<Mutation>) -> Read<()> {
    let mut reader = Reader::over(bytes);
    while !reader.is_done() {
        mutations.push(flat::read_mutation(&mut reader)?);
    }
    Ok(())
}

/// The answer to a call.
pub fn answer<T>(result: &Result<T, ShardError>, put: impl Fn(&mut Vec<u8>, &T)) -> Bytes {
    let mut out = vec![VERSION];
    match result {
        Ok(value) => {
            out.put_u8(0);
            put(&mut out, value);
        }
        Err(error) => put_error(&mut out, error),
    }
    out.into()
}

/// Reads the answer to a call.
pub fn read_answer<T>(
    bytes: &Bytes,
    read: impl Fn(&mut Reader<'_>) -> Read<T>,
) -> Read<Result<T, ShardError>> {
    let mut reader = read_version(bytes)?;
    let result = match reader.u8()? {
        0 => Ok(read(&mut reader)?),
        tag => Err(read_error(&mut reader, tag)?),
    };
    reader.finish()?;
    Ok(result)
}

pub fn put_value(out: &mut Vec<u8>, value: &Option<Bytes>) {
    out.put_bool(value.is_some());
    if let Some(value) = value {
        out.put_bytes(value);
    }
}

pub fn read_value(reader: &mut Reader<'_>) -> Read<Option<Bytes>> {
    Ok(if reader.bool()? { Some(reader.shared_bytes()?) } else { None })
}

pub fn put_values(out: &mut Vec<u8>, values: &[Option<Bytes>]) {
    out.put_varint(values.len() as u64);
    values.iter().for_each(|value| put_value(out, value));
}

pub fn read_values(reader: &mut Reader<'_>) -> Read<Vec<Option<Bytes>>> {
    (0..reader.count(1)?).map(|_| read_value(reader)).collect()
}

pub fn put_page(out: &mut Vec<u8>, page: &ScanPage) {
    out.put_varint(page.rows.len() as u64);
    for (key, value) in &page.rows {
        out.put_bytes(&key.0);
        out.put_bytes(value);
    }
    out.put_bool(page.rest.is_some());
    if let Some(rest) = &page.rest {
        flat::put_range(out, rest);
    }
}

pub fn read_page(reader: &mut Reader<'_>) -> Read<ScanPage> {
    Ok(ScanPage {
        rows: (0..reader.count(2)?)
            .map(|_| Ok((Key(reader.shared_bytes()?), reader.shared_bytes()?)))
            .collect::<Read<_>>()?,
        rest: if reader.bool()? { Some(flat::read_range(reader)?) } else { None },
    })
}

pub fn put_newest_commits(out: &mut Vec<u8>, (as_of, newest): &NewestCommits) {
    out.put_u64(as_of.0);
    out.put_varint(newest.len() as u64);
    newest.iter().for_each(|newest| put_timestamp(out, *newest));
}

pub fn read_newest_commits(reader: &mut Reader<'_>) -> Read<NewestCommits> {
    let as_of = Timestamp(reader.u64()?);
    Ok((as_of, (0..reader.count(1)?).map(|_| read_timestamp(reader)).collect::<Read<_>>()?))
}

pub fn put_newest_commit(out: &mut Vec<u8>, (as_of, newest): &(Timestamp, Option<Timestamp>)) {
    out.put_u64(as_of.0);
    put_timestamp(out, *newest);
}

pub fn read_newest_commit(reader: &mut Reader<'_>) -> Read<(Timestamp, Option<Timestamp>)> {
    Ok((Timestamp(reader.u64()?), read_timestamp(reader)?))
}

pub fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    match vote {
        Vote::Yes => out.put_u8(1),
        Vote::No(VoteRefusal::DeadlinePassed { closed_ts }) => {
            out.put_u8(2);
            out.put_u64(closed_ts.0);
        }
        Vote::No(VoteRefusal::StaleEpoch { current }) => {
            out.put_u8(3);
            out.put_u64(current.0);
        }
        Vote::No(VoteRefusal::DifferentWrites) => out.put_u8(4),
        Vote::No(VoteRefusal::Overloaded) => out.put_u8(5),
    }
}

pub fn read_vote(reader: &mut Reader<'_>) -> Read<Vote> {
    Ok(match reader.u8()? {
        1 => Vote::Yes,
        2 => Vote::No(VoteRefusal::DeadlinePassed { closed_ts: Timestamp(reader.u64()?) }),
        3 => Vote::No(VoteRefusal::StaleEpoch { current: Epoch(reader.u64()?) }),
        4 => Vote::No(VoteRefusal::DifferentWrites),
        5 => Vote::No(VoteRefusal::Overloaded),
        other => return Err(reader.bad("vote", other.into())),
    })
}

pub fn put_volumes(out: &mut Vec<u8>, volumes: &[Volume]) {
    out.put_varint(volumes.len() as u64);
    for volume in volumes {
        out.put_varint(volume.rows);
        out.put_varint(volume.bytes);
    }
}

pub fn read_volumes(reader: &mut Reader<'_>) -> Read<Vec<Volume>> {
    let volume = |reader: &mut Reader<'_>| Ok(Volume { rows: reader.varint()?, bytes: reader.varint()? });
    (0..reader.count(2)?).map(|_| volume(reader)).collect()
}

fn put_error(out: &mut Vec<u8>, error: &ShardError) {
    match error {
        ShardError::StaleEpoch { shard, asked, current } => {
            out.put_u8(1);
            out.put_u32(shard.0);
            out.put_u64(asked.0);
            out.put_u64(current.0);
        }
        ShardError::SnapshotTooOld(snapshot) => {
            out.put_u8(2);
            out.put_u64(snapshot.0);
        }
        ShardError::Unreachable(shard, text) => {
            out.put_u8(3);
            out.put_u32(shard.0);
            out.put_str(text);
        }
        ShardError::Stopped(shard, text) => {
            out.put_u8(4);
            out.put_u32(shard.0);
            out.put_str(text);
        }
    }
}

fn read_error(reader: &mut Reader<'_>, tag: u8) -> Read<ShardError> {
    Ok(match tag {
        1 => ShardError::StaleEpoch {
            shard: ShardId(reader.u32()?),
            asked: Epoch(reader.u64()?),
            current: Epoch(reader.u64()?),
        },
        2 => ShardError::SnapshotTooOld(Timestamp(reader.u64()?)),
        3 => ShardError::Unreachable(ShardId(reader.u32()?), reader.str()?.into()),
        4 => ShardError::Stopped(ShardId(reader.u32()?), reader.str()?.into()),
        other => return Err(reader.bad("error of a replica", other.into())),
    })
}

fn put_target(target: Target) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_u32(target.shard.0);
    out.put_u8(target.replica.0);
    out
}

fn read_target(bytes: &Bytes) -> Read<(Target, Reader<'_>)> {
    let mut reader = read_version(bytes)?;
    let target = Target { shard: ShardId(reader.u32()?), replica: ReplicaId(reader.u8()?) };
    Ok((target, reader))
}

fn put_view(out: &mut Vec<u8>, view: &ReadView) {
    out.put_u64(view.snapshot_ts.0);
    out.put_u64(view.epoch.0);
}

fn read_view(reader: &mut Reader<'_>) -> Read<ReadView> {
    Ok(ReadView { snapshot_ts: Timestamp(reader.u64()?), epoch: Epoch(reader.u64()?) })
}

fn put_keys(out: &mut Vec<u8>, keys: &[Key]) {
    out.put_varint(keys.len() as u64);
    keys.iter().for_each(|key| out.put_bytes(&key.0));
}

fn read_keys(reader: &mut Reader<'_>) -> Read<Vec<Key>> {
    (0..reader.count(1)?).map(|_| reader.shared_bytes().map(Key)).collect()
}

fn put_timestamp(out: &mut Vec<u8>, timestamp: Option<Timestamp>) {
    out.put_bool(timestamp.is_some());
    if let Some(timestamp) = timestamp {
        out.put_u64(timestamp.0);
    }
}

fn read_timestamp(reader: &mut Reader<'_>) -> Read<Option<Timestamp>> {
    Ok(if reader.bool()? { Some(Timestamp(reader.u64()?)) } else { None })
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
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Slot};
    use std::fmt::Debug;

    fn key(text: &'static str) -> Key {
        Key::new(text.as_bytes())
    }

    fn txn() -> TxnId {
        let begun = Timestamp::from_millis(1_800_000_000_000);
        TxnId::new(begun, DeadlineClass::Bulk, FrontendId(1), FrontendEpoch(1), 5)
    }

    #[test]
    fn requests_come_back() {
        let mut samples = Samples::default();
        let target = Target { shard: ShardId(4), replica: ReplicaId(2) };
        let view = ReadView { snapshot_ts: Timestamp(9), epoch: Epoch(3) };
        let range = KeyRange::new(key("a"), key("b"));
        let at_least = Timestamp(8);
        let mutations =
            vec![Mutation::put(key("a"), Slot(1), &b"one"[..]), Mutation::delete(key("b"), Slot(2))];
        for request in [
            Request::Get { view, key: key("a") },
            Request::GetMany { view, keys: vec![key("a"), key("b")] },
            Request::Scan { view, range: range.clone(), direction: Direction::Forward, limit: 10 },
            Request::Scan { view, range: range.clone(), direction: Direction::Reverse, limit: usize::MAX },
            Request::NewestCommits { keys: vec![key("a")], at_least },
            Request::NewestCommitIn { range, at_least },
            Request::Prepare { txn: txn(), epoch: Epoch(3), mutations },
            Request::Forget { txn: txn() },
        ] {
            let both = (target, request);
            comes_back(&mut samples, &both, |(target, request)| request.encode(*target), Request::decode);
        }
        let prepare = LargePrepare { target, txn: txn(), epoch: Epoch(3) };
        comes_back(&mut samples, &prepare, LargePrepare::encode, LargePrepare::decode);
        let ranges = vec![KeyRange::new(key("a"), key("b")), KeyRange::new(key("b"), key("c"))];
        let volumes = (target, Request::Volumes { ranges });
        comes_back(&mut samples, &volumes, |(target, request)| request.encode(*target), Request::decode);
        samples.are(include_str!("../samples/replica_requests_v1.hex"));
    }

    #[test]
    fn answers_come_back() {
        let mut samples = Samples::default();
        fn check<T: PartialEq + Debug>(
            samples: &mut Samples,
            value: T,
            put: impl Fn(&mut Vec<u8>, &T),
            read: impl Fn(&mut Reader<'_>) -> Read<T>,
        ) {
            comes_back(samples, &Ok(value), |value| answer(value, &put), |bytes| read_answer(bytes, &read));
        }
        let value = || Some(Bytes::from_static(b"value"));
        check(&mut samples, value(), put_value, read_value);
        check(&mut samples, None, put_value, read_value);
        check(&mut samples, vec![value(), None], |out, values| put_values(out, values), read_values);
        for rest in [None, Some(KeyRange::new(key("b"), key("c")))] {
            let rows = vec![(key("a"), Bytes::from_static(b"row")), (key("b"), Bytes::new())];
            check(&mut samples, ScanPage { rows, rest }, put_page, read_page);
        }
        check(
            &mut samples,
            (Timestamp(1), vec![Some(Timestamp(2)), None]),
            put_newest_commits,
            read_newest_commits,
        );
        check(&mut samples, (Timestamp(1), Some(Timestamp(2))), put_newest_commit, read_newest_commit);
        for vote in [
            Vote::Yes,
            Vote::No(VoteRefusal::DeadlinePassed { closed_ts: Timestamp(4) }),
            Vote::No(VoteRefusal::StaleEpoch { current: Epoch(4) }),
            Vote::No(VoteRefusal::DifferentWrites),
            Vote::No(VoteRefusal::Overloaded),
        ] {
            check(&mut samples, vote, put_vote, read_vote);
        }
        for error in [
            ShardError::StaleEpoch { shard: ShardId(1), asked: Epoch(2), current: Epoch(3) },
            ShardError::SnapshotTooOld(Timestamp(5)),
            ShardError::Unreachable(ShardId(1), "far".into()),
            ShardError::Stopped(ShardId(1), "why".into()),
        ] {
            let failed: Result<Vote, _> = Err(error);
            comes_back(
                &mut samples,
                &failed,
                |failed| answer(failed, put_vote),
                |bytes| read_answer(bytes, read_vote),
            );
        }
        let volumes = vec![Volume { rows: 3, bytes: 1_000 }, Volume::default()];
        check(&mut samples, volumes, |out, volumes| put_volumes(out, volumes), read_volumes);
        samples.are(include_str!("../samples/replica_answers_v1.hex"));
    }
}
