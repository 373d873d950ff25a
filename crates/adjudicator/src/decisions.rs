//! What was decided about the footprints of a batch.

use assize_model::{Decision, Timestamp};
use std::sync::Arc;

/// The decisions of one batch, in the order of its footprints. Nearly all footprints of nearly all batches commit,
/// each at the batch's base plus its place, so only the others are written down. Clones share memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decisions {
    base_ts: Timestamp,
    len: u32,
    /// Refusals, and answers to commits that had been decided before, by place.
    others: Arc<[(u32, Decision)]>,
}

impl Decisions {
    /// Of `len` footprints all but `others`, which are in order, committed.
    pub(crate) fn new(base_ts: Timestamp, len: usize, others: Vec<(u32, Decision)>) -> Self {
        debug_assert!(others.is_sorted_by_key(|(place, _)| *place));
        let len = u32::try_from(len).expect("a batch counts in 32 bits");
        Decisions { base_ts, len, others: if others.is_empty() { Arc::default() } else { others.into() } }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The decision about the footprint at this place.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, place: usize) -> Decision {
        assert!(place < self.len());
        match self.others.binary_search_by_key(&place, |(other, _)| *other as usize) {
            Ok(i) => self.others[i].1.clone(),
            Err(_) => Decision::Commit { commit_ts: self.base_ts.plus(place as u64) },
        }
    }

    /// Those between these places that are not commits of this batch, with their places.
    pub fn others_in(&self, places: std::ops::Range<u32>) -> &[(u32, Decision)] {
        let from = self.others.partition_point(|(place, _)| *place < places.start);
        let to = self.others.partition_point(|(place, _)| *place < places.end);
        &self.others[from..to]
    }

    /// When the footprint at this place committed, if it committed in this batch.
    pub fn commit_ts(&self, place: u32) -> Timestamp {
        self.base_ts.plus(u64::from(place))
    }

    /// All decisions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Decision> + '_ {
        let mut others = self.others.iter().peekable();
        (0..self.len).map(move |place| match others.next_if(|(other, _)| *other == place) {
            Some((_, decision)) => decision.clone(),
            None => Decision::Commit { commit_ts: self.base_ts.plus(u64::from(place)) },
        })
    }

    /// For each footprint: when it committed, if this batch is where it did. A repeated answer names an earlier
    /// timestamp: that commit is not of this batch.
    pub fn committed_here(&self) -> impl Iterator<Item = Option<Timestamp>> + '_ {
        let mut others = self.others.iter().peekable();
        (0..self.len).map(move |place| {
            let committed = others.next_if(|(other, _)| *other == place).is_none();
            committed.then(|| self.base_ts.plus(u64::from(place)))
        })
    }

    /// How many committed here.
    pub fn commits(&self) -> usize {
        self.len() - self.others.len()
    }
}

impl IntoIterator for Decisions {
    type Item = Decision;
    type IntoIter = std::vec::IntoIter<Decision>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}
