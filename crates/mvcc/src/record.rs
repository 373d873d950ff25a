//! Every value that this crate writes, in one place, with its format's version.

use crate::gain::Gaining;
use crate::{Gained, Lost, Ownership, Slots};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{Epoch, Key, LogIndex, Mutation, MutationOp, Position, Slot, Timestamp, WriteDigest};
use bytes::Bytes;

const STATE_TAG: [u8; 4] = *b"mvst";
/// 2: losses name their entry, and gains are kept.
const STATE_VERSION: u16 = 2;
const GAINING_TAG: [u8; 4] = *b"mvga";
const GAINING_VERSION: u16 = 1;
const INTENT_TAG: [u8; 4] = *b"mvin";
const INTENT_VERSION: u16 = 1;
const PART_TAG: [u8; 4] = *b"mvip";
const PART_VERSION: u16 = 1;

/// What a version does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It has a value.
    Put,
    /// It has no value from here on.
    Delete,
    /// Its value is that of the version before; somebody locked it.
    Lock,
}

/// Bytes in front of a version's value: format and kind in one byte, slot in two. A version has no envelope:
/// engines checksum their blocks, and every row pays for what is here.
pub const VERSION_HEADER: usize = 3;
const VERSION_FORMAT: u8 = 0x10;

/// A version's record.
pub fn encode_version(op: &MutationOp, slot: Slot) -> Bytes {
    let (kind, value): (u8, &[u8]) = match op {
        MutationOp::Put(value) => (0, value),
        MutationOp::Delete => (1, &[]),
        MutationOp::Lock => (2, &[]),
    };
    let mut out = Vec::with_capacity(VERSION_HEADER + value.len());
    out.put_u8(VERSION_FORMAT | kind);
    out.put_u16(slot.0);
    out.put_slice(value);
    out.into()
}

/// The kind and slot of a version's record; its value is what lies behind [`VERSION_HEADER`].
#[inline]
pub fn version_header(bytes: &[u8]) -> Result<(Kind, Slot), DecodeError> {
    let Some((&[tag, low, high], _)) = bytes.split_first_chunk::<VERSION_HEADER>() else {
        return Err(DecodeError::Truncated { at: 0, needed: VERSION_HEADER, left: bytes.len() });
    };
    let kind = match tag ^ VERSION_FORMAT {
        0 => Kind::Put,
        1 => Kind::Delete,
        2 => Kind::Lock,
        _ => return Err(DecodeError::BadValue { what: "kind of version", value: u64::from(tag), at: 0 }),
    };
    Ok((kind, Slot(u16::from_le_bytes([low, high]))))
}

/// What a replica knows about itself, written in the same batch as the versions it goes with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// How far the stream has been applied.
    pub position: Position,
    /// The shard's placement epoch there.
    pub epoch: Epoch,
    /// Below this no snapshot is served, and versions that only such snapshots could see may be gone.
    pub low_water: Timestamp,
    /// The slots that are held, and until when lost ones could be read.
    pub ownership: Ownership,
}

/// The state record.
pub fn encode_state(state: &State) -> Bytes {
    let mut body = Vec::with_capacity(64);
    body.put_u64(state.position.index.0);
    body.put_u64(state.position.closed_ts.0);
    body.put_u64(state.epoch.0);
    body.put_u64(state.low_water.0);
    put_slots(&mut body, &state.ownership.held);
    body.put_varint(state.ownership.lost.len() as u64);
    for lost in &state.ownership.lost {
        body.put_u64(lost.until.0);
        body.put_u64(lost.epoch.0);
        body.put_u64(lost.at.0);
        put_slots(&mut body, &lost.slots);
    }
    body.put_varint(state.ownership.gained.len() as u64);
    for gained in &state.ownership.gained {
        body.put_u64(gained.from.0);
        body.put_u64(gained.epoch.0);
        put_slots(&mut body, &gained.slots);
    }
    envelope::seal(STATE_TAG, STATE_VERSION, &body).into()
}

/// Reads a state record back.
pub fn decode_state(bytes: &[u8]) -> Result<State, DecodeError> {
    let (version, body) = envelope::open(bytes, STATE_TAG, STATE_VERSION)?;
    let mut reader = Reader::new(body);
    let index = LogIndex(reader.u64()?);
    let closed_ts = Timestamp(reader.u64()?);
    let epoch = Epoch(reader.u64()?);
    let low_water = Timestamp(reader.u64()?);
    let mut ownership = Ownership::new(slots(&mut reader)?);
    for _ in 0..reader.count(17)? {
        let until = Timestamp(reader.u64()?);
        let epoch = Epoch(reader.u64()?);
        let at = if version == 1 { LogIndex(0) } else { LogIndex(reader.u64()?) };
        ownership.lost.push(Lost { until, epoch, at, slots: slots(&mut reader)? });
    }
    let gains = if version == 1 { 0 } else { reader.count(17)? };
    for _ in 0..gains {
        let from = Timestamp(reader.u64()?);
        let epoch = Epoch(reader.u64()?);
        ownership.gained.push(Gained { from, epoch, slots: slots(&mut reader)? });
    }
    reader.finish()?;
    Ok(State { position: Position { index, closed_ts }, epoch, low_water, ownership })
}

/// The record of a gain.
pub fn encode_gaining(gaining: &Gaining) -> Bytes {
    let mut body = Vec::with_capacity(32);
    body.put_u64(gaining.at.0);
    put_slots(&mut body, &gaining.slots);
    body.put_u64(gaining.low_water.0);
    body.put_bool(gaining.is_complete);
    envelope::seal(GAINING_TAG, GAINING_VERSION, &body).into()
}

/// Reads the record of a gain back.
pub fn decode_gaining(bytes: &[u8]) -> Result<Gaining, DecodeError> {
    let (_, body) = envelope::open(bytes, GAINING_TAG, GAINING_VERSION)?;
    let mut reader = Reader::new(body);
    let at = LogIndex(reader.u64()?);
    let slots = slots(&mut reader)?;
    let low_water = Timestamp(reader.u64()?);
    let is_complete = reader.bool()?;
    reader.finish()?;
    Ok(Gaining { at, slots, low_water, is_complete })
}

fn put_slots(out: &mut Vec<u8>, slots: &Slots) {
    out.put_varint(slots.runs().len() as u64);
    for (first, last) in slots.runs() {
        out.put_u16(first.0);
        out.put_u16(last.0);
    }
}

fn slots(reader: &mut Reader<'_>) -> Result<Slots, DecodeError> {
    let count = reader.count(4)?;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push((Slot(reader.u16()?), Slot(reader.u16()?)));
    }
    Ok(Slots::new(runs))
}

/// The mark of a decided intent: which log entry decided it.
pub fn encode_decided(index: LogIndex) -> Bytes {
    let mut out = Vec::with_capacity(9);
    out.put_u8(1);
    out.put_u64(index.0);
    out.into()
}

/// Reads the mark of a decided intent back.
pub fn decode_decided(bytes: &[u8]) -> Result<LogIndex, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != 1 {
        return Err(reader.bad("version of decided mark", u64::from(version)));
    }
    let index = LogIndex(reader.u64()?);
    reader.finish()?;
    Ok(index)
}

/// The header of an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntentHeader {
    /// The shard's epoch at which it was prepared.
    pub epoch: Epoch,
    /// What its mutations add up to.
    pub digest: WriteDigest,
    /// How many parts follow.
    pub parts: u32,
}

/// The header record of an intent.
pub fn encode_intent(header: &IntentHeader) -> Bytes {
    let mut body = Vec::with_capacity(24);
    body.put_u64(header.epoch.0);
    body.put_u32(header.digest.count);
    body.put_u64(header.digest.sum);
    body.put_u32(header.parts);
    envelope::seal(INTENT_TAG, INTENT_VERSION, &body).into()
}

/// Reads an intent's header back.
pub fn decode_intent(bytes: &[u8]) -> Result<IntentHeader, DecodeError> {
    let (_, body) = envelope::open(bytes, INTENT_TAG, INTENT_VERSION)?;
    let mut reader = Reader::new(body);
    let epoch = Epoch(reader.u64()?);
    let digest = WriteDigest { count: reader.u32()?, sum: reader.u64()? };
    let parts = reader.u32()?;
    reader.finish()?;
    Ok(IntentHeader { epoch, digest, parts })
}

/// A part is closed once it holds this many bytes, so that no record grows with the transaction.
const PART_BYTES: usize = 256 * 1024;

/// The mutations of an intent as records of bounded size (a mutation larger than the bound has one to itself).
pub fn encode_parts(mutations: &[Mutation]) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut body = Vec::new();
    for mutation in mutations {
        let (kind, value): (u8, &[u8]) = match &mutation.op {
            MutationOp::Put(value) => (0, value),
            MutationOp::Delete => (1, &[]),
            MutationOp::Lock => (2, &[]),
        };
        body.put_u8(kind);
        body.put_u16(mutation.slot.0);
        body.put_bytes(&mutation.key.0);
        if kind == 0 {
            body.put_bytes(value);
        }
        if body.len() >= PART_BYTES {
            parts.push(envelope::seal(PART_TAG, PART_VERSION, &body).into());
            body.clear();
        }
    }
    if !body.is_empty() {
        parts.push(envelope::seal(PART_TAG, PART_VERSION, &body).into());
    }
    parts
}

/// Reads one part of an intent back, at the end of `out`. Keys and values share the part's bytes.
pub fn decode_part(bytes: &Bytes, out: &mut Vec<Mutation>) -> Result<(), DecodeError> {
    let (_, body) = envelope::open(bytes, PART_TAG, PART_VERSION)?;
    let body = bytes.slice_ref(body);
    let mut reader = Reader::over(&body);
    while !reader.is_done() {
        let kind = reader.u8()?;
        let slot = Slot(reader.u16()?);
        let key = Key(reader.shared_bytes()?);
        let op = match kind {
            0 => MutationOp::Put(reader.shared_bytes()?),
            1 => MutationOp::Delete,
            2 => MutationOp::Lock,
            _ => return Err(reader.bad("kind of mutation", u64::from(kind))),
        };
        out.push(Mutation { key, slot, op });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use assize_codec::samples::Samples;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, TxnId};
    use proptest::prelude::*;

    fn state() -> State {
        State {
            position: Position { index: LogIndex(7), closed_ts: Timestamp(900) },
            epoch: Epoch(3),
            low_water: Timestamp(40),
            ownership: Ownership {
                held: Slots::new(vec![(Slot(0), Slot(99))]),
                lost: vec![Lost {
                    until: Timestamp(800),
                    epoch: Epoch(2),
                    at: LogIndex(0),
                    slots: Slots::new(vec![(Slot(100), Slot(u16::MAX))]),
                }],
                gained: Vec::new(),
            },
        }
    }

    /// Samples of what is on disks out there: if one of these no longer decodes, neither does somebody's data.
    #[test]
    fn the_first_formats_still_decode() {
        assert_eq!(
            version_header(b"\x10\x34\x12value"),
            Ok((Kind::Put, Slot(0x1234))),
            "format 1, put, slot 1234"
        );
        assert_eq!(version_header(b"\x12\x00\x00"), Ok((Kind::Lock, Slot(0))));
        assert_eq!(decode_decided(b"\x01\x09\0\0\0\0\0\0\0"), Ok(LogIndex(9)));
        // Version 1 of the state record knew no entries of losses and no gains.
        let body = b"\x07\0\0\0\0\0\0\0\x84\x03\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x28\0\0\0\0\0\0\0\
            \x01\0\0\x63\0\
            \x01\x20\x03\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x64\0\xff\xff";
        assert_eq!(decode_state(&envelope::seal(STATE_TAG, 1, body)), Ok(state()));
        let mut second = state();
        second.ownership.lost[0].at = LogIndex(6);
        let gained =
            Gained { from: Timestamp(850), epoch: Epoch(3), slots: Slots::new(vec![(Slot(7), Slot(9))]) };
        second.ownership.gained.push(gained);
        let body = b"\x07\0\0\0\0\0\0\0\x84\x03\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x28\0\0\0\0\0\0\0\
            \x01\0\0\x63\0\
            \x01\x20\x03\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x01\x64\0\xff\xff\
            \x01\x52\x03\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\x07\0\x09\0";
        assert_eq!(encode_state(&second), envelope::seal(STATE_TAG, 2, body));
        assert_eq!(decode_state(&encode_state(&second)), Ok(second));
        let gaining = Gaining {
            at: LogIndex(9),
            slots: Slots::new(vec![(Slot(1), Slot(2))]),
            low_water: Timestamp(5),
            is_complete: true,
        };
        let body = b"\x09\0\0\0\0\0\0\0\x01\x01\0\x02\0\x05\0\0\0\0\0\0\0\x01";
        assert_eq!(encode_gaining(&gaining), envelope::seal(GAINING_TAG, 1, body));
        assert_eq!(decode_gaining(&encode_gaining(&gaining)), Ok(gaining));
    }

    /// Everything that a shard's store holds, as it is encoded today.
    #[test]
    fn the_bytes_of_a_store_stay_as_they_are() {
        let mut samples = Samples::default();
        let key = Key::new(&b"k\0y"[..]);
        let begun = Timestamp::from_millis(1_800_000_000_000);
        let txn = TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(2), 3);
        samples.add("version_key", &key::version(&key, Timestamp(900)));
        for op in [MutationOp::Put(Bytes::from_static(b"value")), MutationOp::Delete, MutationOp::Lock] {
            samples.add("version", &encode_version(&op, Slot(0x1234)));
        }
        samples.add("state_key", key::STATE);
        samples.add("state", &encode_state(&state()));
        samples.add("gaining_key", key::GAINING);
        let slots = Slots::new(vec![(Slot(1), Slot(2))]);
        let gaining = Gaining { at: LogIndex(9), slots, low_water: Timestamp(5), is_complete: true };
        samples.add("gaining", &encode_gaining(&gaining));
        samples.add("decided_key", &key::decided(txn));
        samples.add("decided", &encode_decided(LogIndex(9)));
        samples.add("intent_key", &key::intent(txn, 1));
        let header = IntentHeader { epoch: Epoch(3), digest: WriteDigest { count: 3, sum: 4 }, parts: 1 };
        samples.add("intent", &encode_intent(&header));
        let mutations = [
            Mutation::put(key.clone(), Slot(1), &b"value"[..]),
            Mutation::delete(key.clone(), Slot(2)),
            Mutation::lock(key, Slot(3)),
        ];
        let parts = encode_parts(&mutations);
        samples.add("part", &parts[0]);
        samples.are(include_str!("samples/store.hex"));
        assert_eq!(decode_intent(&encode_intent(&header)), Ok(header));
        let mut back = Vec::new();
        decode_part(&parts[0], &mut back).unwrap();
        assert_eq!(back, mutations);
        assert_eq!(key::parse_intent(&key::intent(txn, 1)), Ok((txn, 1)));
        assert_eq!(key::parse_decided(&key::decided(txn)), Ok(txn));
    }

    #[test]
    fn a_large_intent_is_cut_into_parts() {
        let mutations: Vec<Mutation> = (0..10u8)
            .map(|n| Mutation::put(Key::new(vec![n]), Slot(u16::from(n)), vec![n; 100_000]))
            .collect();
        let parts = encode_parts(&mutations);
        assert_eq!(parts.len(), 4);
        let mut back = Vec::new();
        for part in &parts {
            decode_part(part, &mut back).unwrap();
        }
        assert_eq!(back, mutations);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = version_header(&bytes);
            let _ = decode_decided(&bytes);
            let bytes = Bytes::from(bytes);
            for (tag, version) in
                [(STATE_TAG, 1), (STATE_TAG, 2), (GAINING_TAG, 1), (INTENT_TAG, 1), (PART_TAG, 1)]
            {
                let sealed = Bytes::from(envelope::seal(tag, version, &bytes));
                let _ = decode_state(&sealed);
                let _ = decode_gaining(&sealed);
                let _ = decode_intent(&sealed);
                let _ = decode_part(&sealed, &mut Vec::new());
            }
        }
    }
}
