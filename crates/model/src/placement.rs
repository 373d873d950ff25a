//! Which shard holds which slots.

use crate::{Epoch, NodeId, ReplicaId, ShardId, Slot};
use std::collections::BTreeMap;

/// Slots → shards → replicas, at one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// Rises with every change of any part.
    pub epoch: Epoch,
    /// The shard of each run of slots, keyed by the run's first slot. Covers all slots: the first key is 0.
    pub ranges: BTreeMap<Slot, ShardId>,
    /// Every shard.
    pub shards: BTreeMap<ShardId, ShardPlacement>,
}

/// One shard's part of a placement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardPlacement {
    /// Rises when this shard's slots or replicas change, and only then: a split refuses nobody else.
    pub epoch: Epoch,
    /// Its configured replicas and the nodes that hold them.
    pub replicas: BTreeMap<ReplicaId, NodeId>,
}

/// A change of the placement. All of it happens, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlacementChange {
    /// The placement's epoch that the author saw; the change is refused if it is another by now.
    pub expected: Epoch,
    /// Shards to add, to give other replicas, or (`None`) to remove.
    pub shards: Vec<(ShardId, Option<BTreeMap<ReplicaId, NodeId>>)>,
    /// Slots from the first to the last (included) that go to a shard.
    pub slots: Vec<(Slot, Slot, ShardId)>,
    /// Shards whose epoch rises although nothing of theirs changes: because a replica is about to forget
    /// intents, and what was prepared before must be prepared again.
    pub raise: Vec<ShardId>,
}

/// Why a change of the placement, or of a replica's standing, was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlacementRefusal {
    /// Somebody else changed it first.
    #[error("the placement is at epoch {current} by now")]
    EpochMoved {
        /// Its epoch.
        current: Epoch,
    },
    /// The change names a shard that would not exist after it.
    #[error("there is no shard {0}")]
    NoSuchShard(ShardId),
    /// A shard without replicas.
    #[error("shard {0} would have no replicas")]
    NoReplicas(ShardId),
    /// A run of slots whose last comes before its first.
    #[error("slots {0:?} to {1:?} are no run")]
    EmptyRun(Slot, Slot),
    /// A replica that nobody registered.
    #[error("shard {0} has no replica {1}")]
    NoSuchReplica(ShardId, ReplicaId),
    /// Without this replica less than a majority would count. The log stays, and commits to the shard are
    /// refused until the replica has caught up.
    #[error("without replica {1} less than a majority of shard {0} would count")]
    MajorityLost(ShardId, ReplicaId),
    /// Slots have moved away from this shard and have not arrived yet, or are still read there by scans of before the move: it
    /// cannot be removed, and they cannot come back. Ask again when the low-water mark has passed the move.
    #[error("shard {0} is still needed for slots that have moved away from it")]
    StillNeeded(ShardId),
}

/// An entry of the log that changes who holds what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlacementCommand {
    /// Raises a shard's epoch and changes nothing else: one of its replicas is about to forget intents.
    Raise(ShardId),
    /// A replica is about to copy a checkpoint: from here on the log and its siblings' intents are kept for it.
    Register(ShardId, ReplicaId),
    /// The log and intents wait for this replica no longer. A learner is forgotten.
    Uncount(ShardId, ReplicaId),
    /// Changes the placement, if it is still at the epoch that the change expects.
    Change(PlacementChange),
}

impl Placement {
    /// An even placement of all slots over `shards` shards with one replica each on `node`.
    ///
    /// # Panics
    /// If `shards` is zero or more than there are slots.
    pub fn even(shards: u32, node: NodeId) -> Self {
        Self::even_replicated(shards, &[node])
    }

    /// An even placement of all slots over `shards` shards with one replica on each of `nodes`.
    ///
    /// # Panics
    /// If `shards` is zero or more than there are slots, or `nodes` is empty.
    pub fn even_replicated(shards: u32, nodes: &[NodeId]) -> Self {
        assert!((1..=Slot::COUNT).contains(&shards), "{shards} shards");
        assert!(!nodes.is_empty());
        let mut placement = Placement { epoch: Epoch(1), ..Placement::default() };
        for n in 0..shards {
            let first = u64::from(n) * u64::from(Slot::COUNT) / u64::from(shards);
            placement.ranges.insert(Slot(first as u16), ShardId(n + 1));
            let replicas =
                nodes.iter().enumerate().map(|(i, node)| (ReplicaId(i as u8 + 1), *node)).collect();
            placement.shards.insert(ShardId(n + 1), ShardPlacement { epoch: Epoch(1), replicas });
        }
        placement
    }

    /// The shard that holds this slot.
    ///
    /// # Panics
    /// If the placement is empty, which only `Placement::default()` is.
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        *self.ranges.range(..=slot).next_back().expect("a placement covers all slots").1
    }

    /// The epoch of one shard; `None` if there is no such shard.
    pub fn shard_epoch(&self, shard: ShardId) -> Option<Epoch> {
        self.shards.get(&shard).map(|s| s.epoch)
    }

    /// The slots of one shard as inclusive runs.
    pub fn slots_of(&self, shard: ShardId) -> Vec<(Slot, Slot)> {
        let starts: Vec<(Slot, ShardId)> = self.ranges.iter().map(|(slot, shard)| (*slot, *shard)).collect();
        let mut runs = Vec::new();
        for (i, (first, owner)) in starts.iter().enumerate() {
            if *owner == shard {
                let last = starts.get(i + 1).map_or(Slot(u16::MAX), |(next, _)| Slot(next.0 - 1));
                runs.push((*first, last));
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_placement_covers_every_slot_once() {
        let placement = Placement::even(3, NodeId(1));
        let total: u32 = (1..=3)
            .flat_map(|s| placement.slots_of(ShardId(s)))
            .map(|(first, last)| u32::from(last.0) - u32::from(first.0) + 1)
            .sum();
        assert_eq!(total, Slot::COUNT);
        assert_eq!(placement.shard_of(Slot(0)), ShardId(1));
        assert_eq!(placement.shard_of(Slot(u16::MAX)), ShardId(3));
    }
}
