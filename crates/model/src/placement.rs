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
