//! Which shard holds which slots, which replicas count, and how far those have come.

use crate::flat;
use crate::moves::{self, SlotMove};
use crate::{LEARNERS_WAITED_FOR_SINCE, REFUSALS_CHANGE_NOTHING_SINCE};
use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Writes a change of the placement.
pub(crate) fn encode_change(change: &PlacementChange, out: &mut Vec<u8>) {
    out.put_u64(change.expected.0);
    out.put_varint(change.shards.len() as u64);
    for (shard, replicas) in &change.shards {
        out.put_u32(shard.0);
        out.put_bool(replicas.is_some());
        if let Some(replicas) = replicas {
            flat::put_replicas(out, replicas);
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

/// Reads a change of the placement.
pub(crate) fn decode_change(reader: &mut Reader<'_>) -> Result<PlacementChange, DecodeError> {
    let mut change = PlacementChange { expected: Epoch(reader.u64()?), ..PlacementChange::default() };
    for _ in 0..reader.count(5)? {
        let shard = ShardId(reader.u32()?);
        let replicas = if reader.bool()? { Some(flat::read_replicas(reader)?) } else { None };
        change.shards.push((shard, replicas));
    }
    for _ in 0..reader.count(8)? {
        change.slots.push((Slot(reader.u16()?), Slot(reader.u16()?), ShardId(reader.u32()?)));
    }
    for _ in 0..reader.count(4)? {
        change.raise.push(ShardId(reader.u32()?));
    }
    Ok(change)
}

/// The change that takes lost nodes out of a placement: all their replicas, except those of shards that have no other, because
/// a shard is never without one.
pub(crate) fn without(placement: &Placement, lost: &[NodeId]) -> PlacementChange {
    let shards = placement.shards.iter().filter_map(|(shard, part)| {
        let mut left = part.replicas.clone();
        left.retain(|_, node| !lost.contains(node));
        let is_changed = !left.is_empty() && left.len() < part.replicas.len();
        is_changed.then_some((*shard, Some(left)))
    });
    PlacementChange { expected: placement.epoch, shards: shards.collect(), ..PlacementChange::default() }
}

/// How a replica stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaState {
    /// It never asks for entries at or before this.
    pub durable: Position,
    /// Whether the log, and intents, wait for it.
    pub counts: bool,
    /// The entry that registered it, until it is durable past that: so long it is on its way to a copy, and is nobody to
    /// rely on.
    pub learning_since: Option<LogIndex>,
}

impl ReplicaState {
    /// Whether it is somebody to rely on.
    pub fn is_whole(&self) -> bool {
        self.counts && self.learning_since.is_none()
    }
}

/// The placement, the replicas' standing, and a table that routes slots at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shards {
    placement: Placement,
    replicas: BTreeMap<(ShardId, ReplicaId), ReplicaState>,
    /// Shards whose commits are refused; only until [`REFUSALS_CHANGE_NOTHING_SINCE`] there are any.
    suspended: BTreeSet<ShardId>,
    /// Slots that are, or may still be read, in two places.
    moves: BTreeSet<SlotMove>,
    /// Shards that have lost most of their replicas and were recovered from the rest, and the last entry that did so.
    recovered: BTreeMap<ShardId, LogIndex>,
    /// A consequence of `placement`.
    routing: Arc<Routing>,
}

/// A placement made for looking things up in every transaction's way. Shards are named by their place among all
/// shards in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Routing {
    shards: Vec<(ShardId, Epoch)>,
    /// For every slot the place of its shard.
    slots: Vec<u16>,
}

impl Routing {
    /// The place of a slot's shard.
    #[inline]
    pub(crate) fn route(&self, slot: Slot) -> usize {
        usize::from(self.slots[usize::from(slot.0)])
    }

    /// The place of a shard.
    #[inline]
    pub(crate) fn place_of(&self, shard: ShardId) -> Option<usize> {
        // Few shards, most of them numbered without gaps.
        let first = self.shards.first()?.0;
        let guess = shard.0.wrapping_sub(first.0) as usize;
        match self.shards.get(guess) {
            Some((found, _)) if *found == shard => Some(guess),
            _ => self.shards.binary_search_by_key(&shard, |(shard, _)| *shard).ok(),
        }
    }

    /// The epoch of a shard.
    #[inline]
    pub(crate) fn epoch_of(&self, shard: ShardId) -> Option<Epoch> {
        self.place_of(shard).map(|place| self.shards[place].1)
    }

    /// All shards, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.iter().map(|(shard, _)| *shard)
    }

    /// Shards without slots.
    pub(crate) fn of_shards(shards: impl IntoIterator<Item = ShardId>) -> Self {
        Routing { shards: shards.into_iter().map(|shard| (shard, Epoch(0))).collect(), slots: Vec::new() }
    }

    fn slots_of(placement: &Placement) -> Vec<u16> {
        let mut slots = vec![0; Slot::COUNT as usize];
        let ends = placement.ranges.keys().skip(1).map(|slot| usize::from(slot.0));
        let ends: Vec<usize> = ends.chain([Slot::COUNT as usize]).collect();
        for ((first, shard), end) in placement.ranges.iter().zip(ends) {
            let place = placement.shards.keys().position(|s| s == shard).expect("ranges name shards");
            slots[usize::from(first.0)..end].fill(place as u16);
        }
        slots
    }
}

impl Shards {
    pub(crate) fn new(placement: Placement) -> Self {
        let mut shards = Shards { placement, ..Shards::default() };
        shards.count_configured(Position::default());
        shards.reroute(true);
        shards
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    pub(crate) fn is_suspended(&self, shard: ShardId) -> bool {
        self.suspended.contains(&shard)
    }

    pub(crate) fn has_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// The placement, made for looking things up.
    pub(crate) fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    pub(crate) fn replicas(&self) -> &BTreeMap<(ShardId, ReplicaId), ReplicaState> {
        &self.replicas
    }

    /// The lowest durable index among all replicas that count: entries above it must be kept.
    pub(crate) fn retained_from(&self) -> Option<LogIndex> {
        self.replicas.values().filter(|replica| replica.counts).map(|replica| replica.durable.index).min()
    }

    /// The lowest durable position among the replicas of a shard that count.
    pub(crate) fn durable_everywhere(&self, shard: ShardId) -> Option<Position> {
        let of_shard = self.replicas.range((shard, ReplicaId(0))..=(shard, ReplicaId(u8::MAX)));
        of_shard.filter(|(_, replica)| replica.counts).map(|(_, replica)| replica.durable).min()
    }

    /// Follows the placement; `slots` is false where a test keeps routes as they were.
    fn reroute(&mut self, slots: bool) {
        let shards = self.placement.shards.iter().map(|(shard, part)| (*shard, part.epoch)).collect();
        let slots = if slots { Routing::slots_of(&self.placement) } else { self.routing.slots.clone() };
        self.routing = Arc::new(Routing { shards, slots });
    }

    /// Configured replicas that are not registered yet count from here on.
    fn count_configured(&mut self, now: Position) {
        for (shard, part) in &self.placement.shards {
            for replica in part.replicas.keys() {
                let state = ReplicaState { durable: now, counts: true, learning_since: None };
                self.replicas.entry((*shard, *replica)).or_insert(state);
            }
        }
    }

    /// Changes the placement by the entry `at`. Replicas that are configured from here on need every entry after `now`.
    /// Returns the shards whose epoch rose.
    pub(crate) fn change(
        &mut self,
        change: &PlacementChange,
        now: Position,
        at: Position,
        reroute: bool,
    ) -> Result<Vec<ShardId>, PlacementRefusal> {
        let before = &self.placement;
        if change.expected != before.epoch {
            return Err(PlacementRefusal::EpochMoved { current: before.epoch });
        }
        let mut after = before.clone();
        after.epoch = Epoch(before.epoch.0 + 1);
        for (shard, replicas) in &change.shards {
            match replicas {
                None if self.moves.iter().any(|moved| moved.from == *shard) => {
                    return Err(PlacementRefusal::StillNeeded(*shard));
                }
                None => drop(after.shards.remove(shard)),
                Some(replicas) if replicas.is_empty() => return Err(PlacementRefusal::NoReplicas(*shard)),
                Some(replicas) => after.shards.entry(*shard).or_default().replicas = replicas.clone(),
            }
        }
        for (first, last, shard) in &change.slots {
            if last < first {
                return Err(PlacementRefusal::EmptyRun(*first, *last));
            }
            assign(&mut after.ranges, *first, *last, *shard);
        }
        let named = after.ranges.values().chain(&change.raise);
        if let Some(missing) = named.copied().find(|shard| !after.shards.contains_key(shard)) {
            return Err(PlacementRefusal::NoSuchShard(missing));
        }
        let moves = moves::between(before, &after, at);
        let comes_back = |moved: &&SlotMove| {
            self.moves.iter().any(|earlier| earlier.from == moved.to && earlier.overlaps(moved))
        };
        if let Some(too_early) = moves.iter().find(comes_back) {
            return Err(PlacementRefusal::StillNeeded(too_early.to));
        }
        let changed: Vec<ShardId> = after
            .shards
            .iter()
            .filter(|(shard, part)| {
                change.raise.contains(shard)
                    || before.shards.get(shard).is_none_or(|old| old.replicas != part.replicas)
                    || before.slots_of(**shard) != after.slots_of(**shard)
            })
            .map(|(shard, _)| *shard)
            .collect();
        for shard in &changed {
            // The whole placement's epoch, so that a shard that was removed and comes back never repeats one.
            after.shards.get_mut(shard).expect("a shard of the placement").epoch = after.epoch;
        }
        // Replicas that were configured and no longer are need nothing any more; learners stay.
        self.replicas.retain(|(shard, replica), _| {
            match (before.shards.get(shard), after.shards.get(shard)) {
                (_, None) => false,
                (Some(old), Some(new)) => {
                    new.replicas.contains_key(replica) || !old.replicas.contains_key(replica)
                }
                (None, Some(_)) => true,
            }
        });
        self.suspended.retain(|shard| after.shards.contains_key(shard));
        self.recovered.retain(|shard, _| after.shards.contains_key(shard));
        self.moves.extend(moves);
        self.moves.retain(|moved| after.shards.contains_key(&moved.to));
        self.placement = after;
        self.count_configured(now);
        self.reroute(reroute);
        Ok(changed)
    }

    /// These shards go on with the replicas that they have, and wait for no other majority.
    pub(crate) fn note_recovered(&mut self, shards: impl Iterator<Item = ShardId>, at: LogIndex) {
        for shard in shards {
            self.suspended.remove(&shard);
            self.recovered.insert(shard, at);
        }
    }

    pub(crate) fn recovered(&self) -> &BTreeMap<ShardId, LogIndex> {
        &self.recovered
    }

    pub(crate) fn restore_recovered(&mut self, recovered: BTreeMap<ShardId, LogIndex>) {
        self.recovered = recovered;
    }

    /// Moves whose slots somebody may still read where they were.
    pub(crate) fn moves(&self) -> &BTreeSet<SlotMove> {
        &self.moves
    }

    /// The low-water mark must stay below this: slots have moved, and have not arrived.
    pub(crate) fn low_water_bound(&self, cluster_version: u32) -> Option<Timestamp> {
        let missing = self.moves.iter().filter(|moved| !self.has_arrived(moved, cluster_version));
        missing.map(|moved| moved.at.closed_ts).min()
    }

    /// The low-water mark with which the next moves are forgotten whose slots have arrived; `None` while there are none.
    pub(crate) fn low_water_awaited(&self, cluster_version: u32) -> Option<Timestamp> {
        let arrived = self.moves.iter().filter(|moved| self.has_arrived(moved, cluster_version));
        let awaited = arrived.map(|moved| moved.at.closed_ts.next()).min()?;
        let bound = self.low_water_bound(cluster_version);
        bound.is_none_or(|bound| awaited < bound).then_some(awaited)
    }

    /// Whether a read at this timestamp may go to where slots were before they moved.
    pub(crate) fn may_read_where_it_was(&self, snapshot_ts: Timestamp) -> bool {
        self.moves.iter().any(|moved| snapshot_ts <= moved.at.closed_ts)
    }

    /// Whether the new owner's replicas that count are durable past the move: learners as well, which come by the move in the
    /// stream and must find the slots where they were.
    fn has_arrived(&self, moved: &SlotMove, cluster_version: u32) -> bool {
        let Some(part) = self.placement.shards.get(&moved.to) else { return true };
        let of_owner = (moved.to, ReplicaId(0))..=(moved.to, ReplicaId(u8::MAX));
        let is_waited_for = |replica: &ReplicaId| {
            cluster_version >= LEARNERS_WAITED_FOR_SINCE || part.replicas.contains_key(replica)
        };
        let replicas = self.replicas.range(of_owner).filter(|((_, replica), _)| is_waited_for(replica));
        let mut counted = replicas.filter(|(_, state)| state.counts);
        counted.all(|(_, state)| state.durable.index >= moved.at.index)
    }

    /// The low-water mark has risen: nobody reads below it any more. A read at the move's own timestamp may be on its way.
    pub(crate) fn forget_moves(&mut self, low_water: Timestamp) {
        self.moves.retain(|moved| low_water <= moved.at.closed_ts);
    }

    pub(crate) fn restore_moves(&mut self, moves: BTreeSet<SlotMove>) {
        self.moves = moves;
    }

    /// A learner, or a replica that comes back: from now on it counts for the log and for intents.
    pub(crate) fn register(
        &mut self,
        shard: ShardId,
        replica: ReplicaId,
        now: Position,
    ) -> Result<(), PlacementRefusal> {
        if !self.placement.shards.contains_key(&shard) {
            return Err(PlacementRefusal::NoSuchShard(shard));
        }
        let learning_since = Some(now.index);
        match self.replicas.get_mut(&(shard, replica)) {
            // It may still need everything after its durable position.
            Some(known) if known.counts => known.learning_since = learning_since,
            _ => {
                let state = ReplicaState { durable: now, counts: true, learning_since };
                self.replicas.insert((shard, replica), state);
            }
        }
        Ok(())
    }

    pub(crate) fn report(&mut self, shard: ShardId, replica: ReplicaId, durable: Position) {
        if let Some(state) = self.replicas.get_mut(&(shard, replica))
            && state.counts
        {
            // A replica that others wait for moves forward: they no longer wait for nothing.
            if durable > state.durable {
                self.suspended.remove(&shard);
            }
            state.durable = state.durable.max(durable);
            if state.learning_since.is_some_and(|since| durable.index >= since) {
                state.learning_since = None;
            }
        }
    }

    /// The log waits for a replica no longer. Refused unless a majority of the configured ones is left: then it goes on waiting.
    pub(crate) fn uncount(
        &mut self,
        shard: ShardId,
        replica: ReplicaId,
        cluster_version: u32,
    ) -> Result<(), PlacementRefusal> {
        let part = self.placement.shards.get(&shard).ok_or(PlacementRefusal::NoSuchShard(shard))?;
        if !self.replicas.contains_key(&(shard, replica)) {
            return Err(PlacementRefusal::NoSuchReplica(shard, replica));
        }
        let others = part
            .replicas
            .keys()
            .filter(|r| {
                **r != replica && self.replicas.get(&(shard, **r)).is_some_and(ReplicaState::is_whole)
            })
            .count();
        // A learner does not count for majorities and may always go.
        if part.replicas.contains_key(&replica) && others <= part.replicas.len() / 2 {
            // Former versions refused the shard's commits as well, until one of its replicas had persisted more. That kept the log
            // from growing; whoever leads sheds transactions for that by now.
            if cluster_version < REFUSALS_CHANGE_NOTHING_SINCE {
                self.suspended.insert(shard);
            }
            return Err(PlacementRefusal::MajorityLost(shard, replica));
        }
        if part.replicas.contains_key(&replica) {
            self.replicas.get_mut(&(shard, replica)).expect("it is there").counts = false;
        } else {
            self.replicas.remove(&(shard, replica));
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        flat::put_placement(out, &self.placement);
        out.put_varint(self.replicas.len() as u64);
        for ((shard, replica), state) in &self.replicas {
            out.put_u32(shard.0);
            out.put_u8(replica.0);
            out.put_u64(state.durable.index.0);
            out.put_u64(state.durable.closed_ts.0);
            out.put_bool(state.counts);
            out.put_u64(state.learning_since.map_or(0, |since| since.0));
        }
        out.put_varint(self.suspended.len() as u64);
        self.suspended.iter().for_each(|shard| out.put_u32(shard.0));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut shards = Shards { placement: flat::read_placement(reader)?, ..Shards::default() };
        for _ in 0..reader.count(30)? {
            let replica = (ShardId(reader.u32()?), ReplicaId(reader.u8()?));
            let durable = Position { index: LogIndex(reader.u64()?), closed_ts: Timestamp(reader.u64()?) };
            let counts = reader.bool()?;
            // No entry has the index 0.
            let learning_since = Some(LogIndex(reader.u64()?)).filter(|since| since.0 > 0);
            shards.replicas.insert(replica, ReplicaState { durable, counts, learning_since });
        }
        for _ in 0..reader.count(4)? {
            shards.suspended.insert(ShardId(reader.u32()?));
        }
        if !shards.placement.ranges.is_empty() {
            shards.reroute(true);
        }
        Ok(shards)
    }
}

/// Gives slots to a shard and joins runs of the same shard.
fn assign(ranges: &mut BTreeMap<Slot, ShardId>, first: Slot, last: Slot, shard: ShardId) {
    if let Some(next) = last.0.checked_add(1)
        && let Some((_, owner)) = ranges.range(..=Slot(next)).next_back()
    {
        let owner = *owner;
        ranges.insert(Slot(next), owner);
    }
    ranges.retain(|slot, _| *slot < first || *slot > last);
    ranges.insert(first, shard);
    let mut previous = None;
    ranges.retain(|_, owner| {
        let is_new = previous != Some(*owner);
        previous = Some(*owner);
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CLUSTER_VERSION_MAX;

    const AT: Position = Position { index: LogIndex(7), closed_ts: Timestamp(70) };

    #[test]
    fn slots_move_and_only_the_shards_concerned_get_a_new_epoch() {
        let mut shards = Shards::new(Placement::even(4, NodeId(1)));
        let change = PlacementChange {
            expected: Epoch(1),
            slots: vec![(Slot(100), Slot(199), ShardId(2))],
            ..PlacementChange::default()
        };
        let changed = shards.change(&change, Position::default(), AT, true).unwrap();
        assert_eq!(changed, [ShardId(1), ShardId(2)]);
        assert_eq!(shards.placement().shard_of(Slot(99)), ShardId(1));
        assert_eq!(shards.placement().shard_of(Slot(100)), ShardId(2));
        assert_eq!(shards.placement().shard_of(Slot(199)), ShardId(2));
        assert_eq!(shards.placement().shard_of(Slot(200)), ShardId(1));
        assert_eq!(shards.placement().shard_epoch(ShardId(3)), Some(Epoch(1)));
        assert_eq!(shards.placement().shard_epoch(ShardId(2)), Some(Epoch(2)));
        for slot in 0..=u16::MAX {
            let place = shards.routing().place_of(shards.placement().shard_of(Slot(slot))).unwrap();
            assert_eq!(shards.routing().route(Slot(slot)), place);
        }
        let back = PlacementChange {
            expected: Epoch(2),
            slots: vec![(Slot(100), Slot(199), ShardId(1))],
            ..PlacementChange::default()
        };
        let too_early = shards.change(&back, Position::default(), AT, true);
        assert_eq!(
            too_early,
            Err(PlacementRefusal::StillNeeded(ShardId(1))),
            "what it has may be all there is"
        );
        shards.forget_moves(AT.closed_ts.next());
        shards.change(&back, Position::default(), AT, true).unwrap();
        assert_eq!(shards.placement().ranges, Placement::even(4, NodeId(1)).ranges);
        assert_eq!(
            shards.change(&back, Position::default(), AT, true),
            Err(PlacementRefusal::EpochMoved { current: Epoch(3) })
        );
    }

    #[test]
    fn a_shard_stays_until_its_slots_have_arrived_and_nobody_reads_them_there() {
        let (s1, s2) = (ShardId(1), ShardId(2));
        let mut shards = Shards::new(Placement::even_replicated(2, &[NodeId(1), NodeId(2), NodeId(3)]));
        let merge = PlacementChange {
            expected: Epoch(1),
            slots: vec![(Slot(0), Slot(u16::MAX), s2)],
            ..PlacementChange::default()
        };
        shards.change(&merge, Position::default(), AT, true).unwrap();
        let remove = |expected| PlacementChange {
            expected: Epoch(expected),
            shards: vec![(s1, None)],
            ..PlacementChange::default()
        };
        assert_eq!(shards.low_water_bound(CLUSTER_VERSION_MAX), Some(Timestamp(70)));
        // A learner that was copying meanwhile finds the slots nowhere else.
        let learner = ReplicaId(4);
        shards.register(s2, learner, Position::default()).unwrap();
        for replica in [1, 2, 3] {
            assert_eq!(
                shards.low_water_bound(CLUSTER_VERSION_MAX),
                Some(Timestamp(70)),
                "before replica {replica}"
            );
            shards.report(s2, ReplicaId(replica), AT);
        }
        assert_eq!(shards.low_water_bound(LEARNERS_WAITED_FOR_SINCE - 1), None);
        assert_eq!(shards.low_water_bound(LEARNERS_WAITED_FOR_SINCE), Some(Timestamp(70)));
        assert_eq!(
            shards.low_water_awaited(CLUSTER_VERSION_MAX),
            None,
            "it could not rise past what is missing"
        );
        shards.report(s2, learner, AT);
        assert_eq!(shards.low_water_bound(CLUSTER_VERSION_MAX), None);
        assert_eq!(shards.low_water_awaited(CLUSTER_VERSION_MAX), Some(Timestamp(71)));
        assert!(shards.may_read_where_it_was(Timestamp(70)) && !shards.may_read_where_it_was(Timestamp(71)));
        let refused = shards.change(&remove(2), Position::default(), AT, true);
        assert_eq!(refused, Err(PlacementRefusal::StillNeeded(s1)), "an old scan may be on its way");
        shards.forget_moves(Timestamp(70));
        assert_eq!(shards.moves().len(), 1);
        shards.forget_moves(Timestamp(71));
        assert_eq!(shards.low_water_awaited(CLUSTER_VERSION_MAX), None);
        shards.change(&remove(2), Position::default(), AT, true).unwrap();
    }

    #[test]
    fn the_last_slot_can_move_too() {
        let mut ranges = Placement::even(2, NodeId(1)).ranges;
        assign(&mut ranges, Slot(u16::MAX), Slot(u16::MAX), ShardId(1));
        assert_eq!(ranges.len(), 3);
        assign(&mut ranges, Slot(0), Slot(u16::MAX), ShardId(2));
        assert_eq!(ranges, BTreeMap::from([(Slot(0), ShardId(2))]));
    }
}
