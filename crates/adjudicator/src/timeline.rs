//! Which batch a snapshot timestamp stands for.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::{BatchNumber, LogIndex, Timestamp};
use std::collections::VecDeque;

/// Beyond this many remembered batches the older half is thinned.
const BOUNDARIES_MAX: usize = 1 << 20;

/// The end of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Boundary {
    ts: Timestamp,
    batch: BatchNumber,
    index: LogIndex,
}

/// The ends of recent batches, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    boundaries: VecDeque<Boundary>,
}

impl Timeline {
    /// Records the end of a batch: its last timestamp and the log entry that held it.
    pub fn record(&mut self, ts: Timestamp, batch: BatchNumber, index: LogIndex) {
        assert!(self.boundaries.back().is_none_or(|last| last.ts < ts && last.batch < batch));
        if self.boundaries.len() == BOUNDARIES_MAX {
            self.thin();
        }
        self.boundaries.push_back(Boundary { ts, batch, index });
    }

    /// The last batch that ended at or before this timestamp. Where boundaries have been thinned out it is an
    /// earlier one, which makes a check refuse too often, never too rarely.
    pub fn batch_at(&self, ts: Timestamp) -> BatchNumber {
        let after = self.boundaries.partition_point(|boundary| boundary.ts <= ts);
        match after.checked_sub(1) {
            Some(i) => self.boundaries[i].batch,
            None => BatchNumber(0),
        }
    }

    /// The log entry of a batch, if it is still remembered.
    pub fn index_of(&self, batch: BatchNumber) -> Option<LogIndex> {
        let i = self.boundaries.partition_point(|boundary| boundary.batch < batch);
        self.boundaries.get(i).filter(|boundary| boundary.batch == batch).map(|boundary| boundary.index)
    }

    /// Forgets what no snapshot at or above this timestamp needs.
    pub fn forget(&mut self, low_water: Timestamp) {
        while self.boundaries.get(1).is_some_and(|second| second.ts <= low_water) {
            self.boundaries.pop_front();
        }
    }

    fn thin(&mut self) {
        let half = self.boundaries.len() / 2;
        let mut n = 0;
        self.boundaries.retain(|_| {
            n += 1;
            n > half || n % 2 == 1
        });
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.boundaries.len() as u64);
        for boundary in &self.boundaries {
            out.put_u64(boundary.ts.0);
            out.put_u64(boundary.batch.0);
            out.put_u64(boundary.index.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut timeline = Timeline::default();
        for i in 0..reader.count(24)? {
            let boundary = Boundary {
                ts: Timestamp(reader.u64()?),
                batch: BatchNumber(reader.u64()?),
                index: LogIndex(reader.u64()?),
            };
            if timeline.boundaries.back().is_some_and(|b| b.ts >= boundary.ts || b.batch >= boundary.batch) {
                return Err(reader.bad("batch after the last", i as u64));
            }
            timeline.boundaries.push_back(boundary);
        }
        Ok(timeline)
    }
}

/// Remembers recent answers of [`Timeline::batch_at`]: the transactions of a batch share few snapshots.
pub(crate) struct SnapshotMemo([(Timestamp, BatchNumber); 64]);

impl SnapshotMemo {
    pub(crate) fn new() -> Self {
        SnapshotMemo([(Timestamp::MAX, BatchNumber(0)); 64])
    }

    #[inline]
    pub(crate) fn batch_at(&mut self, timeline: &Timeline, ts: Timestamp) -> BatchNumber {
        let place = &mut self.0[(ts.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize];
        if place.0 != ts {
            *place = (ts, timeline.batch_at(ts));
        }
        place.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_stands_for_the_last_batch_that_ended_at_or_before_it() {
        let mut timeline = Timeline::default();
        for n in 1..=10 {
            timeline.record(Timestamp(n * 10), BatchNumber(n), LogIndex(n + 100));
        }
        assert_eq!(timeline.batch_at(Timestamp(9)), BatchNumber(0));
        assert_eq!(timeline.batch_at(Timestamp(10)), BatchNumber(1));
        assert_eq!(timeline.batch_at(Timestamp(19)), BatchNumber(1));
        assert_eq!(timeline.batch_at(Timestamp(1000)), BatchNumber(10));
        assert_eq!(timeline.index_of(BatchNumber(4)), Some(LogIndex(104)));
        timeline.forget(Timestamp(45));
        assert_eq!(timeline.batch_at(Timestamp(45)), BatchNumber(4));
        assert_eq!(timeline.index_of(BatchNumber(3)), None);
    }

    #[test]
    fn thinning_rounds_down() {
        let mut timeline = Timeline::default();
        for n in 1..=100 {
            timeline.record(Timestamp(n * 10), BatchNumber(n), LogIndex(n));
        }
        timeline.thin();
        for n in 1..=100u64 {
            assert!(timeline.batch_at(Timestamp(n * 10)).0 <= n);
            assert!(n <= 50 || timeline.batch_at(Timestamp(n * 10)).0 == n);
        }
    }
}
