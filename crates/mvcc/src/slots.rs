//! Which slots a replica holds, and until when those it lost can still be read.

use assize_model::{Epoch, Slot, Timestamp};

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
/// ```
///
/// A scan that was routed by an old placement may finish at its old snapshot, so a lost slot stays readable up to the move
/// until the low-water mark has passed it. The move's own timestamp is included: what was committed up to it was committed
/// here, and a read that was admitted at it may find that the move has come in between. A scan that was routed by the new placement asks the new owner for it, and must
/// not find it here as well.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ownership {
    /// Held now.
    pub held: Slots,
    /// Lost, in the order in which they were.
    pub lost: Vec<Lost>,
}

/// Slots that moved away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The closed timestamp of the entry that moved them: every commit of theirs up to it is here, and none above it.
    pub until: Timestamp,
    /// The shard's last epoch in which they were held.
    pub epoch: Epoch,
    /// Which.
    pub slots: Slots,
}

impl Ownership {
    /// Holds these and never held others.
    pub fn new(held: Slots) -> Self {
        Ownership { held, lost: Vec::new() }
    }

    /// Whether a version in this slot may be seen at this snapshot by a read that was routed by this epoch of the shard
    /// (`None`: by whatever epoch held it).
    #[inline]
    pub fn shows(&self, slot: Slot, snapshot_ts: Timestamp, routed_by: Option<Epoch>) -> bool {
        self.held.contains(slot)
            || self.lost.iter().any(|lost| {
                snapshot_ts <= lost.until
                    && routed_by.is_none_or(|epoch| epoch <= lost.epoch)
                    && lost.slots.contains(slot)
            })
    }

    /// Whether a version in this slot must be kept.
    pub fn keeps(&self, slot: Slot) -> bool {
        self.held.contains(slot) || self.lost.iter().any(|lost| lost.slots.contains(slot))
    }

    /// Takes in that from `at` on the replica holds exactly these; `epoch` was the last before.
    pub fn change(&mut self, held: Slots, at: Timestamp, epoch: Epoch) {
        let slots = self.held.minus(&held);
        if !slots.is_empty() {
            self.lost.push(Lost { until: at, epoch, slots });
        }
        self.held = held;
    }

    /// Forgets losses that no snapshot at or above the low-water mark can see.
    pub fn forget_below(&mut self, low_water: Timestamp) {
        self.lost.retain(|lost| low_water <= lost.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lost_slot_is_readable_up_to_the_move_only() {
        let mut ownership = Ownership::new(Slots::all());
        ownership.change(Slots::new(vec![(Slot(0), Slot(9))]), Timestamp(50), Epoch(1));
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
        }
    }
}
