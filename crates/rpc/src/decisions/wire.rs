//! The bytes of this port.

use assize_adjudicator::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{LogIndex, Position, ReplicaId, ShardId, StreamEntry, Timestamp};
use assize_ports::{ReplicaStanding, ShardStandings, StreamError};
use bytes::Bytes;
use std::sync::Arc;

type Read<T> = Result<T, DecodeError>;

const VERSION: u8 = 1;
/// Bytes of entries in a message, unless a single one is longer.
const MESSAGE_BYTES: usize = 1 << 20;

/// What a call asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    Standings { shard: ShardId },
    ReportDurable { shard: ShardId, replica: ReplicaId, durable: Position },
}

impl Request {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Request::Standings { shard } => {
                out.put_u8(1);
                out.put_u32(shard.0);
            }
            Request::ReportDurable { shard, replica, durable } => {
                out.put_u8(2);
                out.put_u32(shard.0);
                out.put_u8(replica.0);
                put_position(&mut out, *durable);
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<Request> {
        let mut reader = read_version(bytes)?;
        let request = match reader.u8()? {
            1 => Request::Standings { shard: ShardId(reader.u32()?) },
            2 => Request::ReportDurable {
                shard: ShardId(reader.u32()?),
                replica: ReplicaId(reader.u8()?),
                durable: read_position(&mut reader)?,
            },
            other => return Err(reader.bad("request about decisions", other.into())),
        };
        reader.finish()?;
        Ok(request)
    }
}

/// The first message of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe {
    pub shard: ShardId,
    pub from: Position,
}

impl Subscribe {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u32(self.shard.0);
        put_position(&mut out, self.from);
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<Subscribe> {
        let mut reader = read_version(bytes)?;
        let subscribe = Subscribe { shard: ShardId(reader.u32()?), from: read_position(&mut reader)? };
        reader.finish()?;
        Ok(subscribe)
    }
}

/// What a subscriber hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The subscription stands.
    Subscribed,
    /// The next entries.
    Entries(Vec<Arc<StreamEntry>>),
    /// It does not, or does no longer.
    Failed(StreamError),
}

impl Heard {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Heard::Subscribed => out.put_u8(1),
            Heard::Entries(entries) => {
                out.put_u8(2);
                entries.iter().for_each(|entry| flat::put_stream_entry(&mut out, entry));
            }
            Heard::Failed(error) => {
                out.put_u8(3);
                put_error(&mut out, error);
            }
        }
        out.into()
    }

    pub fn decode(bytes: &Bytes) -> Read<Heard> {
        let mut reader = Reader::over(bytes);
        let heard = match reader.u8()? {
            1 => Heard::Subscribed,
            2 => {
                let mut entries = vec![Arc::new(flat::read_stream_entry(&mut reader)?)];
                while !reader.is_done() {
                    entries.push(Arc::new(flat::read_stream_entry(&mut reader)?));
                }
                Heard::Entries(entries)
            }
            3 => Heard::Failed(read_error(&mut reader)?),
            other => return Err(reader.bad("message of a decision stream", other.into())),
        };
        reader.finish()?;
        Ok(heard)
    }
}

/// Entries as messages of bounded length.
pub fn encode_entries(entries: &[Arc<StreamEntry>]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut out = Vec::new();
    for entry in entries {
        if out.is_empty() {
            out.put_u8(2);
        }
        flat::put_stream_entry(&mut out, entry);
        if out.len() >= MESSAGE_BYTES {
            messages.push(std::mem::take(&mut out).into());
        }
    }
    if !out.is_empty() {
        messages.push(out.into());
    }
    messages
}

pub fn answer_standings(standings: &Result<ShardStandings, StreamError>) -> Bytes {
    let mut out = vec![VERSION];
    match standings {
        Ok(standings) => {
            out.put_u8(0);
            out.put_u64(standings.as_of.0);
            out.put_varint(standings.replicas.len() as u64);
            for standing in &standings.replicas {
                out.put_u8(standing.replica.0);
                out.put_u64(standing.durable.0);
                out.put_bool(standing.counts);
            }
            // Only where it has happened: before cluster version 2, whose programs read on, it cannot have.
            if standings.recovered_at.0 > 0 {
                out.put_u64(standings.recovered_at.0);
            }
        }
        Err(error) => put_error(&mut out, error),
    }
    out.into()
}

pub fn read_standings(bytes: &Bytes) -> Read<Result<ShardStandings, StreamError>> {
    let mut reader = read_version(bytes)?;
    let standings = match reader.rest().first() {
        Some(0) => {
            reader.u8()?;
            let as_of = LogIndex(reader.u64()?);
            let replicas = (0..reader.count(10)?)
                .map(|_| {
                    Ok(ReplicaStanding {
                        replica: ReplicaId(reader.u8()?),
                        durable: LogIndex(reader.u64()?),
                        counts: reader.bool()?,
                        is_whole: false,
                    })
                })
                .collect::<Read<_>>()?;
            let recovered_at = if reader.is_done() { LogIndex(0) } else { LogIndex(reader.u64()?) };
            Ok(ShardStandings { as_of, replicas, recovered_at })
        }
        _ => Err(read_error(&mut reader)?),
    };
    reader.finish()?;
    Ok(standings)
}

/// A report is answered with nothing.
pub fn answer_report() -> Bytes {
    Bytes::from_static(&[VERSION])
}

fn put_error(out: &mut Vec<u8>, error: &StreamError) {
    match error {
        StreamError::Forgotten { shard, from, oldest } => {
            out.put_u8(1);
            out.put_u32(shard.0);
            out.put_u64(from.0);
            out.put_u64(oldest.0);
        }
        StreamError::NoSuchShard(shard) => {
            out.put_u8(2);
            out.put_u32(shard.0);
        }
        StreamError::Unreachable(text) => {
            out.put_u8(3);
            out.put_str(text);
        }
        StreamError::Ended(text) => {
            out.put_u8(4);
            out.put_str(text);
        }
    }
}

fn read_error(reader: &mut Reader<'_>) -> Read<StreamError> {
    Ok(match reader.u8()? {
        1 => StreamError::Forgotten {
            shard: ShardId(reader.u32()?),
            from: LogIndex(reader.u64()?),
            oldest: LogIndex(reader.u64()?),
        },
        2 => StreamError::NoSuchShard(ShardId(reader.u32()?)),
        3 => StreamError::Unreachable(reader.str()?.into()),
        4 => StreamError::Ended(reader.str()?.into()),
        other => return Err(reader.bad("error of a decision stream", other.into())),
    })
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.put_u64(position.index.0);
    out.put_u64(position.closed_ts.0);
}

fn read_position(reader: &mut Reader<'_>) -> Read<Position> {
    Ok(Position { index: LogIndex(reader.u64()?), closed_ts: Timestamp(reader.u64()?) })
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
    use assize_model::{
        DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, Mutation, ShardCommit, ShardWrites, Slot,
        TxnId, WriteDigest,
    };

    fn position(index: u64) -> Position {
        Position { index: LogIndex(index), closed_ts: Timestamp(index * 10) }
    }

    fn errors() -> Vec<StreamError> {
        let (from, oldest) = (LogIndex(3), LogIndex(9));
        vec![
            StreamError::Forgotten { shard: ShardId(1), from, oldest },
            StreamError::NoSuchShard(ShardId(7)),
            StreamError::Unreachable("far".into()),
            StreamError::Ended("why".into()),
        ]
    }

    fn entry(index: u64, bytes: usize) -> Arc<StreamEntry> {
        let begun = Timestamp::from_millis(1_800_000_000_000);
        let txn = |n| TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n);
        let put = Mutation::put(Key::new(&b"key"[..]), Slot(9), vec![1; bytes]);
        let commits = vec![
            ShardCommit { txn: txn(1), commit_ts: Timestamp(5), writes: ShardWrites::Inline(vec![put]) },
            ShardCommit {
                txn: txn(2),
                commit_ts: Timestamp(6),
                writes: ShardWrites::Prepared { epoch: Epoch(2), digest: WriteDigest { count: 1, sum: 2 } },
            },
        ];
        Arc::new(StreamEntry {
            after: LogIndex(index - 1),
            position: position(index),
            commits,
            epoch: Some(Epoch(3)),
            slots: Some(vec![(Slot(0), Slot(9))]),
            low_water: Some(Timestamp(1)),
        })
    }

    #[test]
    fn requests_and_answers_come_back() {
        let mut samples = Samples::default();
        let (shard, replica) = (ShardId(4), ReplicaId(2));
        for request in
            [Request::Standings { shard }, Request::ReportDurable { shard, replica, durable: position(4) }]
        {
            comes_back(&mut samples, &request, Request::encode, Request::decode);
        }
        comes_back(
            &mut samples,
            &Subscribe { shard, from: position(6) },
            Subscribe::encode,
            Subscribe::decode,
        );
        let standing = ReplicaStanding { replica, durable: LogIndex(4), counts: true, is_whole: false };
        let standings = ShardStandings {
            as_of: LogIndex(5),
            replicas: vec![standing, standing],
            recovered_at: LogIndex(0),
        };
        let recovered = ShardStandings { recovered_at: LogIndex(4), ..standings.clone() };
        assert_eq!(read_standings(&answer_standings(&Ok(recovered.clone()))).unwrap(), Ok(recovered));
        comes_back(&mut samples, &Ok(standings), answer_standings, read_standings);
        for error in errors() {
            comes_back(&mut samples, &Err(error.clone()), answer_standings, read_standings);
            comes_back(&mut samples, &Heard::Failed(error), Heard::encode, Heard::decode);
        }
        comes_back(&mut samples, &Heard::Subscribed, Heard::encode, Heard::decode);
        comes_back(&mut samples, &Heard::Entries(vec![entry(8, 3)]), Heard::encode, Heard::decode);
        samples.are(include_str!("../samples/decisions_messages_v1.hex"));
    }

    #[test]
    fn entries_travel_in_messages_of_bounded_length_and_none_is_lost() {
        let entries: Vec<_> = (1..=40).map(|index| entry(index, 100_000)).collect();
        let messages = encode_entries(&entries);
        assert!(messages.len() > 1);
        let mut found = Vec::new();
        for message in &messages {
            assert!(message.len() < MESSAGE_BYTES + 110_000);
            match Heard::decode(message).unwrap() {
                Heard::Entries(entries) => found.extend(entries),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found, entries);
        assert_eq!(encode_entries(&entries[..1])[0], Heard::Entries(entries[..1].to_vec()).encode());
        assert!(encode_entries(&[]).is_empty());
    }
}
