//! Which slots a replica holds, until when those it lost can still be read, and from when those it gained.

use assize_model::{Epoch, LogIndex, Slot, Timestamp};

/// A set of slots.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slots {
    /// Inclusive runs, ascending, neither touching nor overlapping.
    runs: Vec<(Slot, Slot)>,
}

impl Slots {
    /// The slots of these inclusive runs, in any order; a run that ends before it begins holds none.
    pub fn new(mut runs: Vec<(Slot, Slot)>) -> Self {
        runs.retain(|(first, last)| first <= last);
        runs.sort_unstable();
        let mut merged: Vec<(Slot, Slot)> = Vec::with_capacity(runs.len());
        for (first, last) in runs {
            match merged.last_mut() {
                Some((_, end)) if u32::from(first.0) <= u32::from(end.0) + 1 => *end = (*end).max(last),
                _ => merged.push((first, last)),
            }
        }
        Slots { runs: merged }
    }

    /// Every slot.
    pub fn all() -> Self {
        Slots { runs: vec![(Slot(0), Slot(u16::MAX))] }
    }

    /// The inclusive runs, ascending.
    pub fn runs(&self) -> &[(Slot, Slot)] {
        &self.runs
    }

    /// Whether it holds this slot.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        let after = self.runs.partition_point(|(first, _)| *first <= slot);
        after > 0 && slot <= self.runs[after - 1].1
    }

    /// Whether it holds no slot.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The slots of this set that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Slots) -> Slots {
        let mut left = Vec::new();
        for &(first, last) in &self.runs {
            let mut from = u32::from(first.0);
            for &(gone_first, gone_last) in &other.runs {
                if gone_last.0 < first.0 || gone_first.0 > last.0 {
                    continue;
                }
                if u32::from(gone_first.0) > from {
                    left.push((Slot(from as u16), Slot(gone_first.0 - 1)));
                }
                from = from.max(u32::from(gone_last.0) + 1);
            }
            if from <= u32::from(last.0) {
                left.push((Slot(from as u16), last));
            }
        }
        Slots::new(left)
    }

    /// The slots that are in both.
    #[must_use]
    pub fn and(&self, other: &Slots) -> Slots {
        self.minus(&self.minus(other))
    }

    /// Whether the two share a slot.
    pub fn overlaps(&self, other: &Slots) -> bool {
        self.runs.iter().any(|(first, last)| other.runs.iter().any(|(f, l)| first <= l && f <= last))
    }
}

/// The slots that a replica holds now, and those that it held before a split or move.
///
/// ```text
///   snapshot_ts ──────────── until (included) ─────────────▶
///   lost slot   │ readable, if routed by an epoch in which it was held │ belongs to another shard
///   held slot   │ readable                                             │ readable
///
///   snapshot_ts ──────────── from (included) ──────────────▶
///   gained slot │ readable, if routed by an epoch in which it is held  │ readable
/// ```
///
/// A scan that was routed by an old placement may finish at its old snapshot, so a lost slot stays readable up to the move
/// until the low-water mark has passed it. The move's own timestamp is included: what was committed up to it was committed
/// here, and a read that was admitted at it may find that the move has come in between. A scan that was routed by the new
/// placement asks the new owner for it, and must not find it here as well. With a gained slot it is the other way round: its
/// history was copied, but who was routed by an old placement asks its former owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ownership {
    /// Held now.
    pub held: Slots,
    /// Lost, in the order in which they were.
    pub lost: Vec<Lost>,
    /// Gained, in the order in which they were.
    pub gained: Vec<Gained>,
}

/// Slots that moved away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The closed timestamp of the entry that moved them: every commit of theirs up to it is here, and none above it.
    pub until: Timestamp,
    /// The shard's last epoch in which they were held.
    pub epoch: Epoch,
    /// That entry; zero if it is not known.
    pub at: LogIndex,
    /// Which.
    pub slots: Slots,
}

/// Slots that came from another shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gained {
    /// The closed timestamp of the entry that brought them.
    pub from: Timestamp,
    /// The shard's first epoch in which they are held.
    pub epoch: Epoch,
    /// Which.
    pub slots: Slots,
}

/// A change of what a replica holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangedAt {
    /// The entry that makes it.
    pub at: LogIndex,
    /// That entry's closed timestamp.
    pub closed_ts: Timestamp,
    /// The shard's epoch before it.
    pub before: Epoch,
    /// The shard's epoch from it on.
    pub after: Epoch,
}

impl Ownership {
    /// Holds these and never held others.
    pub fn new(held: Slots) -> Self {
        Ownership { held, lost: Vec::new(), gained: Vec::new() }
    }

    /// Whether a version in this slot may be seen at this snapshot by a read that was routed by this epoch of the shard
    /// (`None`: by whatever epoch held it).
    #[inline]
    pub fn shows(&self, slot: Slot, snapshot_ts: Timestamp, routed_by: Option<Epoch>) -> bool {
        let is_from_before = |gained: &Gained| {
            snapshot_ts <= gained.from
                && routed_by.is_none_or(|epoch| epoch < gained.epoch)
                && gained.slots.contains(slot)
        };
        self.held.contains(slot) && !self.gained.iter().any(is_from_before)
            || self.lost.iter().any(|lost| {
                snapshot_ts <= lost.until
                    && routed_by.is_none_or(|epoch| epoch <= lost.epoch)
                    && lost.slots.contains(slot)
                    // What was gained before it was lost again had yet another owner before that.
                    && !self.gained.iter().any(|gained| gained.epoch <= lost.epoch && is_from_before(gained))
            })
    }

    /// Whether a version in this slot must be kept.
    pub fn keeps(&self, slot: Slot) -> bool {
        self.held.contains(slot) || self.lost.iter().any(|lost| lost.slots.contains(slot))
    }

    /// Takes in that from an entry on the replica holds exactly these.
    pub fn change(&mut self, held: Slots, changed: ChangedAt) {
        let ChangedAt { at, closed_ts, before, after } = changed;
        let lost = self.held.minus(&held);
        if !lost.is_empty() {
            self.lost.push(Lost { until: closed_ts, epoch: before, at, slots: lost });
        }
        let gained = held.minus(&self.held);
        if !gained.is_empty() {
            self.gained.push(Gained { from: closed_ts, epoch: after, slots: gained });
        }
        self.held = held;
    }

    /// Forgets losses and gains that make no difference to a snapshot at or above the low-water mark.
    pub fn forget_below(&mut self, low_water: Timestamp) {
        self.lost.retain(|lost| low_water <= lost.until);
        self.gained.retain(|gained| low_water <= gained.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lost_slot_is_readable_up_to_the_move_only() {
        let mut ownership = Ownership::new(Slots::all());
        ownership.change(Slots::new(vec![(Slot(0), Slot(9))]), changed(50, 1));
        assert!(ownership.shows(Slot(3), Timestamp(99), Some(Epoch(2))));
        assert!(ownership.shows(Slot(10), Timestamp(49), Some(Epoch(1))));
        assert!(ownership.shows(Slot(10), Timestamp(49), None));
        assert!(!ownership.shows(Slot(10), Timestamp(49), Some(Epoch(2))), "its new owner is asked");
        assert!(ownership.shows(Slot(10), Timestamp(50), Some(Epoch(1))));
        assert!(!ownership.shows(Slot(10), Timestamp(51), Some(Epoch(1))));
        assert!(ownership.keeps(Slot(10)));
        ownership.forget_below(Timestamp(50));
        assert!(ownership.keeps(Slot(10)));
        ownership.forget_below(Timestamp(51));
        assert!(!ownership.keeps(Slot(10)));
    }

    fn changed(closed_ts: u64, before: u64) -> ChangedAt {
        let (before, after) = (Epoch(before), Epoch(before + 1));
        ChangedAt { at: LogIndex(closed_ts), closed_ts: Timestamp(closed_ts), before, after }
    }

    #[test]
    fn a_gained_slot_is_read_here_by_who_knows_of_it() {
        let mut ownership = Ownership::new(Slots::new(vec![(Slot(0), Slot(9))]));
        ownership.change(Slots::all(), changed(50, 1));
        assert!(ownership.shows(Slot(10), Timestamp(50), Some(Epoch(2))));
        assert!(ownership.shows(Slot(10), Timestamp(49), Some(Epoch(2))), "its history came along");
        assert!(!ownership.shows(Slot(10), Timestamp(49), Some(Epoch(1))), "its former owner is asked");
        assert!(!ownership.shows(Slot(10), Timestamp(49), None));
        assert!(ownership.shows(Slot(3), Timestamp(49), Some(Epoch(1))));
    }

    #[test]
    fn a_slot_that_comes_back_is_read_here_by_each_epoch_that_held_it() {
        let mut ownership = Ownership::new(Slots::all());
        ownership.change(Slots::new(vec![(Slot(0), Slot(9))]), changed(50, 1));
        ownership.change(Slots::all(), changed(70, 2));
        let shows = |ts, epoch| ownership.shows(Slot(10), Timestamp(ts), Some(Epoch(epoch)));
        assert!(shows(49, 1), "as it was before it went");
        assert!(!shows(49, 2) && !shows(69, 2), "the other shard had it then");
        assert!(shows(49, 3) && shows(69, 3) && shows(70, 3));
    }

    #[test]
    fn a_slot_that_only_passed_through_is_not_read_here_by_who_knows_its_first_owner() {
        let mut ownership = Ownership::new(Slots::new(vec![(Slot(0), Slot(9))]));
        ownership.change(Slots::all(), changed(50, 1));
        ownership.change(Slots::new(vec![(Slot(0), Slot(9))]), changed(70, 2));
        let shows = |ts, epoch| ownership.shows(Slot(10), Timestamp(ts), Some(Epoch(epoch)));
        assert!(!shows(49, 1), "its first owner is asked");
        assert!(shows(49, 2) && shows(69, 2), "it was held here");
        assert!(!shows(49, 3) && !shows(69, 3), "its last owner is asked");
    }

    fn runs() -> impl Strategy<Value = Vec<(u16, u16)>> {
        let edge = prop_oneof![0u16..12, (u16::MAX - 4)..=u16::MAX];
        prop::collection::vec((edge.clone(), edge), 0..5)
    }

    fn slots(runs: &[(u16, u16)]) -> Slots {
        Slots::new(runs.iter().map(|(a, b)| (Slot(*a), Slot(*b))).collect())
    }

    proptest! {
        #[test]
        fn sets_of_runs_are_sets(a in runs(), b in runs(), probe in prop_oneof![0u16..14, (u16::MAX - 6)..=u16::MAX]) {
            let is_in = |runs: &[(u16, u16)]| runs.iter().any(|(f, l)| (*f..=*l).contains(&probe));
            let (sa, sb) = (slots(&a), slots(&b));
            prop_assert_eq!(sa.contains(Slot(probe)), is_in(&a));
            prop_assert_eq!(sa.minus(&sb).contains(Slot(probe)), is_in(&a) && !is_in(&b));
            if is_in(&a) && is_in(&b) {
                prop_assert!(sa.overlaps(&sb));
            }
            prop_assert!(!sa.minus(&sb).overlaps(&sb));
            prop_assert_eq!(sa.and(&sb).contains(Slot(probe)), is_in(&a) && is_in(&b));
        }
    }
}
