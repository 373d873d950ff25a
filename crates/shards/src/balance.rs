//! Evening out: nodes hold equally much, and small shards hold equally many slots.
//!
//! [`next_move`] is a function of what is known. It names one move at a time, and comes to rest: each move lowers one
//! number, which nothing else here raises.
//!
//! ```text
//!   replicas   the sum over nodes of (weight of its replicas)²     a move needs a difference well above what it moves
//!   slots      the sum over shards of (number of its slots)²       a move stops at the mean
//! ```
//!
//! A replica travels without holding anybody up, whatever its size, and so do slots: both are copied before the placement
//! changes. What copies cost is disk and time, so beyond some size a shard gives and takes no slots by itself, and is split.

use crate::care::NodeCondition;
use crate::mover::Task;
use assize_model::{NodeId, Placement, ShardId, Slot};
use assize_ports::ROOM_MIN_BYTES;
use std::collections::BTreeMap;

/// What a replica weighs besides its bytes, so that small ones are counted and large ones are weighed.
const REPLICA_WEIGHT: u64 = 1 << 30;
/// Shards whose slots differ by no more than this part of their mean are even.
const SLOTS_TOLERANCE_DIVISOR: u32 = 10;
/// Nor are fewer slots than this worth a move.
const SLOTS_MOVED_MIN: u32 = 64;

/// What should be moved next so that nodes and shards are even, if anything. `bytes` is the size of each shard as far as it
/// is known; of those that have more than `slots_below` no slots are moved.
pub fn next_move(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    bytes: &BTreeMap<ShardId, u64>,
    slots_below: u64,
) -> Option<Task> {
    next_replica(placement, nodes, bytes).or_else(|| next_slots(placement, nodes, bytes, slots_below))
}

/// The replica whose move evens nodes out the most.
fn next_replica(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    bytes: &BTreeMap<ShardId, u64>,
) -> Option<Task> {
    let weight = |shard: ShardId| bytes.get(&shard).copied().unwrap_or(0).saturating_add(REPLICA_WEIGHT);
    let mut loads: Vec<(u64, NodeId)> = Vec::new();
    for (node, _) in nodes.iter().filter(|(_, condition)| condition.takes()) {
        let held = placement.shards.iter().filter(|(_, part)| part.replicas.values().any(|on| on == node));
        loads.push((held.map(|(shard, _)| weight(*shard)).sum(), *node));
    }
    loads.sort_unstable();
    let mean = loads.iter().map(|(load, _)| load).sum::<u64>() / (loads.len() as u64).max(1);
    // Sizes swing as RocksDB compacts: what is gained must be more than that, or it would go to and fro.
    let margin = (mean / 10).max(REPLICA_WEIGHT / 2);
    for (heavy, from) in loads.iter().rev() {
        for (light, to) in &loads {
            let difference = heavy.saturating_sub(*light);
            let useful = placement.shards.keys().copied().filter(|shard| {
                difference >= weight(*shard).saturating_add(margin)
                    && may_move(placement, nodes, *shard, *from, *to, bytes)
            });
            // What it lowers the sum of squares by; of equals the first.
            let gain = |shard: &ShardId| u128::from(weight(*shard)) * u128::from(difference - weight(*shard));
            if let Some(shard) = useful.max_by_key(|shard| (gain(shard), std::cmp::Reverse(*shard))) {
                return Some(Task::MoveReplica { shard, from: *from, to: *to });
            }
        }
    }
    None
}

/// Whether a shard's replica can go from one node to the other: there is room, and afterwards no two are on one node or,
/// because of this move, in one zone.
fn may_move(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    shard: ShardId,
    from: NodeId,
    to: NodeId,
    bytes: &BTreeMap<ShardId, u64>,
) -> bool {
    let replicas = &placement.shards[&shard].replicas;
    let zone = |node: NodeId| nodes.get(&node).map(|c| c.zone.as_str()).filter(|zone| !zone.is_empty());
    let is_apart = |other: NodeId| other != to && (zone(other).is_none() || zone(other) != zone(to));
    let needed = bytes.get(&shard).copied().unwrap_or(0).saturating_add(ROOM_MIN_BYTES);
    replicas.values().any(|on| *on == from)
        && replicas.values().filter(|on| **on != from).all(|other| is_apart(*other))
        && nodes.get(&to).is_some_and(|c| c.free_bytes.is_none_or(|free| free >= needed))
}

/// The slots that go from the small shard that has most to the one that has fewest.
fn next_slots(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    bytes: &BTreeMap<ShardId, u64>,
    slots_below: u64,
) -> Option<Task> {
    let is_small = |shard: &ShardId| bytes.get(shard).is_some_and(|bytes| *bytes <= slots_below);
    let small = placement.shards.keys().copied().filter(is_small);
    // One without slots is being merged into another, and about to cease.
    let counted = small.map(|shard| (slots(placement, shard), shard)).filter(|(slots, _)| *slots > 0);
    let counted: Vec<(u32, ShardId)> = counted.collect();
    let (most, from) = counted.iter().copied().max_by_key(|(n, shard)| (*n, std::cmp::Reverse(*shard)))?;
    let (fewest, into) = counted.iter().copied().min()?;
    let (total, shards) = (counted.iter().map(|(n, _)| n).sum::<u32>(), counted.len() as u32);
    let mean = total / shards;
    let tolerance = (mean / SLOTS_TOLERANCE_DIVISOR).max(SLOTS_MOVED_MIN);
    if most - fewest <= tolerance {
        return None;
    }
    // Neither side goes beyond the mean, so that nothing comes back.
    let wanted = (most - mean).min(mean - fewest);
    let (first, last) = run_to_move(placement, from, into, wanted)?;
    // Each replica makes a copy of them, and takes them in from it.
    let part = u128::from(bytes[&from]) * u128::from(length(&(first, last))) / u128::from(most.max(1));
    let needed = ROOM_MIN_BYTES.saturating_add(2 * part as u64);
    let has_room =
        |node: &NodeId| nodes.get(node).is_none_or(|c| c.free_bytes.is_none_or(|free| free >= needed));
    if !placement.shards[&into].replicas.values().all(has_room) {
        return None;
    }
    Some(Task::MoveSlots { from, into, first, last })
}

fn slots(placement: &Placement, shard: ShardId) -> u32 {
    placement.slots_of(shard).iter().map(length).sum()
}

fn length((first, last): &(Slot, Slot)) -> u32 {
    u32::from(last.0) - u32::from(first.0) + 1
}

/// A run of at most so many slots of one shard for another: beside what that has already, if there is such a run, so that
/// the placement does not fall to pieces.
fn run_to_move(placement: &Placement, from: ShardId, into: ShardId, wanted: u32) -> Option<(Slot, Slot)> {
    if wanted == 0 {
        return None;
    }
    let is_into = |slot: Option<u16>| slot.is_some_and(|slot| placement.shard_of(Slot(slot)) == into);
    let pieces = placement.slots_of(from).into_iter().map(|run @ (first, last)| {
        let reach = (wanted.min(length(&run)) - 1) as u16;
        if is_into(first.0.checked_sub(1)) {
            (true, (first, Slot(first.0 + reach)))
        } else {
            (is_into(last.0.checked_add(1)), (Slot(last.0 - reach), last))
        }
    });
    pieces.max_by_key(|(is_beside, run)| (*is_beside, length(run), run.0)).map(|(_, run)| run)
}

#[cfg(test)]
mod tests;
