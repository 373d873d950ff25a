//! Slots that went from one shard to another, until nobody needs them where they were.
//!
//! The shard that gains slots copies their versions from the one that loses them, and that takes its time; and scans that were
//! routed before the move may still read them there. So two things wait for each other:
//!
//! ```text
//!   move at #9 ─▶ replicas of the new owner are durable past #9 ─▶ the low-water mark may pass #9 ─▶ the former owner
//!                 (those that count)                                                                 may drop them, or go
//! ```
//!
//! Until then what the former owner still has of them is no leftover: it may be all that there is. So slots do not come back to
//! a shard while a move away from it is remembered.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use std::collections::BTreeSet;

/// Slots went from one shard to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SlotMove {
    /// The entry, and its closed timestamp.
    pub at: Position,
    /// Who held them.
    pub from: ShardId,
    /// Who holds them now.
    pub to: ShardId,
    /// The first of them.
    pub first: Slot,
    /// The last.
    pub last: Slot,
}

impl SlotMove {
    /// Whether the two moves share a slot.
    pub fn overlaps(&self, other: &SlotMove) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The moves between two placements.
pub(crate) fn between(before: &Placement, after: &Placement, at: Position) -> BTreeSet<SlotMove> {
    if before.ranges.is_empty() {
        return BTreeSet::new();
    }
    // Between two neighbouring beginnings of runs nothing changes.
    let edges: BTreeSet<Slot> = before.ranges.keys().chain(after.ranges.keys()).copied().collect();
    let ends = edges.iter().skip(1).map(|slot| Slot(slot.0 - 1)).chain([Slot(u16::MAX)]);
    let runs = edges.iter().copied().zip(ends);
    let moves = runs.map(|(first, last)| {
        let (from, to) = (before.shard_of(first), after.shard_of(first));
        SlotMove { at, from, to, first, last }
    });
    moves.filter(|moved| moved.from != moved.to).collect()
}

pub(crate) fn encode(moves: &BTreeSet<SlotMove>, out: &mut Vec<u8>) {
    out.put_varint(moves.len() as u64);
    for SlotMove { at, from, to, first, last } in moves {
        out.put_u64(at.index.0);
        out.put_u64(at.closed_ts.0);
        out.put_u32(from.0);
        out.put_u32(to.0);
        out.put_u16(first.0);
        out.put_u16(last.0);
    }
}

pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<BTreeSet<SlotMove>, DecodeError> {
    let mut moves = BTreeSet::new();
    for _ in 0..reader.count(28)? {
        let at = Position { index: LogIndex(reader.u64()?), closed_ts: Timestamp(reader.u64()?) };
        let (from, to) = (ShardId(reader.u32()?), ShardId(reader.u32()?));
        moves.insert(SlotMove { at, from, to, first: Slot(reader.u16()?), last: Slot(reader.u16()?) });
    }
    Ok(moves)
}
