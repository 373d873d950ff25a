//! The conflict window for ranges: keys committed lately, in order, for tables whose ranges are tracked.
//!
//! Every batch that writes a tracked table leaves one sorted *run* of its keys. A range check looks, newest
//! first, at the runs that hold something later than the reader's snapshot: short-lived transactions look at
//! few. Sixteen runs of a level merge into one of the next, in which each key keeps its latest batch, so
//! merging loses nothing. When a table holds too many keys its oldest run goes as a whole and the table's mark
//! rises to it; below the mark the answer is "forgotten".
//!
//! ```text
//!   table 7, mark b40    [b41..b56 · 16 runs merged] [b57] [b58] [b59]
//!                         └─ oldest, dropped first           └─ newest, looked at first
//! ```

use crate::window::LastCommit;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{BatchNumber, Key, KeyRange, TableId};
use std::collections::{BTreeMap, VecDeque};

/// How many runs of a level merge into one of the next.
const FAN_IN: usize = 16;

/// Keys of one table, in order, each with the last batch that committed it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Run {
    level: u8,
    last: BatchNumber,
    /// All keys, one after the other.
    bytes: Vec<u8>,
    /// Where each key ends, and its batch.
    ends: Vec<(u32, BatchNumber)>,
}

impl Run {
    fn new(level: u8) -> Self {
        Run { level, last: BatchNumber(0), bytes: Vec::new(), ends: Vec::new() }
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1].0 as usize };
        &self.bytes[start..self.ends[i].0 as usize]
    }

    /// Appends a key that is above all present, or equal to the last.
    fn push(&mut self, key: &[u8], batch: BatchNumber) {
        self.last = self.last.max(batch);
        if let Some(i) = self.ends.len().checked_sub(1)
            && self.key(i) == key
        {
            self.ends[i].1 = self.ends[i].1.max(batch);
            return;
        }
        self.bytes.extend_from_slice(key);
        self.ends.push((self.bytes.len() as u32, batch));
    }

    /// The index of the first key at or above this one.
    fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn latest_in(&self, range: &KeyRange) -> Option<BatchNumber> {
        let first = self.lower_bound(&range.start.0);
        let after = self.lower_bound(&range.end.0);
        self.ends.get(first..after)?.iter().map(|(_, batch)| *batch).max()
    }
}

/// One tracked table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Tracked {
    /// What was committed in this batch or before may be missing.
    mark: BatchNumber,
    /// Oldest first.
    runs: VecDeque<Run>,
    keys: usize,
}

/// All tracked tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranges {
    tables: BTreeMap<TableId, Tracked>,
    keys_max: usize,
    /// Keys of the batch at hand.
    open: BTreeMap<TableId, Vec<Key>>,
}

impl Ranges {
    /// Tracks nothing yet; will hold at most about `keys_max` keys a table.
    pub fn new(keys_max: usize) -> Self {
        Ranges { tables: BTreeMap::new(), keys_max, open: BTreeMap::new() }
    }

    /// Whether nothing is tracked at all.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether this table is tracked.
    pub fn tracks(&self, table: TableId) -> bool {
        self.tables.contains_key(&table)
    }

    /// The tracked tables.
    pub fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.keys().copied()
    }

    /// Tracks a table from now on: what was committed up to batch `now` is not known.
    pub fn track(&mut self, table: TableId, now: BatchNumber) {
        self.tables.entry(table).or_insert_with(|| Tracked { mark: now, runs: VecDeque::new(), keys: 0 });
    }

    /// When anything in the range was last committed, seen from a snapshot at the end of batch `snapshot`. A
    /// table that is not tracked is forgotten altogether.
    pub fn last_commit(&self, table: TableId, range: &KeyRange, snapshot: BatchNumber) -> LastCommit {
        let Some(tracked) = self.tables.get(&table) else { return LastCommit::Forgotten };
        // Commits of the batch at hand come after every snapshot; their batch is not written yet.
        if let Some(open) = self.open.get(&table)
            && open.iter().any(|key| range.contains(key))
        {
            return LastCommit::After(BatchNumber(u64::MAX));
        }
        let latest = tracked
            .runs
            .iter()
            .rev()
            .take_while(|run| run.last > snapshot)
            .filter_map(|run| run.latest_in(range))
            .max();
        match latest {
            Some(batch) if batch > snapshot => LastCommit::After(batch),
            _ if tracked.mark > snapshot => LastCommit::Forgotten,
            _ => LastCommit::AtOrBefore,
        }
    }

    /// Records a key that the batch at hand commits; a table that is not tracked is none of our business.
    pub fn record(&mut self, table: TableId, key: Key) {
        if self.tables.contains_key(&table) {
            self.open.entry(table).or_default().push(key);
        }
    }

    /// Ends the batch at hand: its keys become runs.
    pub fn end_batch(&mut self, batch: BatchNumber) {
        for (table, mut keys) in std::mem::take(&mut self.open) {
            let tracked = self.tables.get_mut(&table).expect("only tracked tables are recorded");
            keys.sort_unstable();
            let mut run = Run::new(0);
            keys.iter().for_each(|key| run.push(&key.0, batch));
            tracked.keys += run.ends.len();
            tracked.runs.push_back(run);
            tracked.merge();
            while tracked.keys > self.keys_max
                && let Some(run) = tracked.runs.pop_front()
            {
                tracked.keys -= run.ends.len();
                tracked.mark = tracked.mark.max(run.last);
            }
        }
    }

    /// Drops what no snapshot at or above the end of this batch can ask for.
    pub fn forget(&mut self, low_water: BatchNumber) {
        for tracked in self.tables.values_mut() {
            while tracked.runs.front().is_some_and(|run| run.last <= low_water) {
                let run = tracked.runs.pop_front().expect("there is a first run");
                tracked.keys -= run.ends.len();
                tracked.mark = tracked.mark.max(run.last);
            }
        }
    }

    /// Writes everything.
    ///
    /// # Panics
    /// In the middle of a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.open.is_empty(), "a checkpoint lies between two entries");
        out.put_u64(self.keys_max as u64);
        out.put_varint(self.tables.len() as u64);
        for (table, tracked) in &self.tables {
            out.put_u32(table.0);
            out.put_u64(tracked.mark.0);
            out.put_varint(tracked.runs.len() as u64);
            for run in &tracked.runs {
                out.put_u8(run.level);
                out.put_varint(run.ends.len() as u64);
                for i in 0..run.ends.len() {
                    out.put_bytes(run.key(i));
                    out.put_u64(run.ends[i].1.0);
                }
            }
        }
    }

    /// Reads what [`Ranges::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let keys_max = reader.u64()?;
        let mut ranges =
            Ranges::new(usize::try_from(keys_max).map_err(|_| reader.bad("number of keys", keys_max))?);
        for _ in 0..reader.count(13)? {
            let table = TableId(reader.u32()?);
            let mut tracked = Tracked { mark: BatchNumber(reader.u64()?), runs: VecDeque::new(), keys: 0 };
            for _ in 0..reader.count(2)? {
                let mut run = Run::new(reader.u8()?);
                for i in 0..reader.count(9)? {
                    let key = reader.bytes()?;
                    let batch = BatchNumber(reader.u64()?);
                    if i > 0 && run.key(i - 1) >= key {
                        return Err(reader.bad("key above the last", i as u64));
                    }
                    run.push(key, batch);
                }
                tracked.keys += run.ends.len();
                tracked.runs.push_back(run);
            }
            ranges.tables.insert(table, tracked);
        }
        Ok(ranges)
    }
}

impl Tracked {
    /// Merges the newest runs while there are sixteen of one level.
    fn merge(&mut self) {
        while let Some(level) = self.runs.back().map(|run| run.level) {
            let same = self.runs.iter().rev().take_while(|run| run.level == level).count();
            if same < FAN_IN {
                return;
            }
            let parts: Vec<Run> = self.runs.drain(self.runs.len() - same..).collect();
            let mut all: Vec<(&[u8], BatchNumber)> = parts
                .iter()
                .flat_map(|run| (0..run.ends.len()).map(move |i| (run.key(i), run.ends[i].1)))
                .collect();
            all.sort_unstable();
            let mut merged = Run::new(level + 1);
            let before: usize = parts.iter().map(|run| run.ends.len()).sum();
            all.into_iter().for_each(|(key, batch)| merged.push(key, batch));
            self.keys = self.keys - before + merged.ends.len();
            self.runs.push_back(merged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn ranges_agree_with_a_quadratic_check_or_say_that_they_forgot(
            batches in prop::collection::vec(prop::collection::vec(0u8..60, 0..4), 1..120),
            checks in prop::collection::vec((0u8..60, 0u8..20, any::<prop::sample::Index>()), 1..50),
            keys_max in prop_oneof![Just(1_000_000usize), 5usize..40],
            since in 0usize..20,
        ) {
            const TABLE: TableId = TableId(7);
            let mut ranges = Ranges::new(keys_max);
            let mut commits: Vec<(u8, u64)> = Vec::new();
            for (n, keys) in batches.iter().enumerate() {
                let batch = n as u64 + 1;
                if n == since {
                    ranges.track(TABLE, BatchNumber(n as u64));
                }
                for key in keys {
                    ranges.record(TABLE, Key::new(vec![*key]));
                    commits.push((*key, batch));
                }
                ranges.end_batch(BatchNumber(batch));
            }
            let now = batches.len() as u64;
            for (start, length, back) in checks {
                let snapshot = back.index(now as usize + 1) as u64;
                let range = KeyRange::new(Key::new(vec![start]), Key::new(vec![start.saturating_add(length)]));
                let truth = commits
                    .iter()
                    .filter(|(key, _)| range.contains(&Key::new(vec![*key])))
                    .map(|(_, batch)| *batch)
                    .max()
                    .unwrap_or(0);
                match ranges.last_commit(TABLE, &range, BatchNumber(snapshot)) {
                    LastCommit::AtOrBefore => prop_assert!(truth <= snapshot),
                    LastCommit::After(batch) => prop_assert!(batch.0 == truth && truth > snapshot),
                    LastCommit::Forgotten => prop_assert!(
                        snapshot < since as u64 || !ranges.tracks(TABLE) || keys_max < 1_000_000
                    ),
                }
            }
            let mut bytes = Vec::new();
            ranges.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Ranges::decode(&mut reader).unwrap(), ranges);
            prop_assert!(reader.is_done());
        }
    }
}
