//! Reading versions at a snapshot.
//!
//! ```text
//!            versions, newest first                     read at 25
//!    k  │  30 put c │ 20 lock │ 10 put a │      seek k!25 ─▶ 20 lock, skipped ─▶ 10 put a
//!    l  │  25 del   │ 10 put b │                seek l!25 ─▶ 25 del: no row
//! ```

use crate::record::{self, Kind, VERSION_HEADER};
use crate::{Cursor, Engine, Family, Options, Ownership, Rule, StoreError, key};
use assize_model::{Epoch, Key, KeyRange, Slot, Timestamp};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// Which way a scan runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Ascending keys.
    #[default]
    Forward,
    /// Descending keys.
    Reverse,
}

/// Some rows of a scan, and what is left of its range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScanBatch {
    /// Keys and values in scan order.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left of the range, to be scanned the same way at the same snapshot; `None` if nothing is. A batch may
    /// be short or even empty and still leave a rest: one call looks at a bounded number of keys and bytes.
    pub rest: Option<KeyRange>,
}

/// Why a read was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Versions that this snapshot needs may be gone.
    #[error("snapshot {snapshot_ts} is below the low-water mark {low_water}")]
    SnapshotTooOld {
        /// What was asked for.
        snapshot_ts: Timestamp,
        /// The oldest snapshot that can be served.
        low_water: Timestamp,
    },
    /// The replica has not come so far yet: wait and ask again.
    #[error("snapshot {snapshot_ts} is above the closed timestamp {closed_ts}")]
    NotReached {
        /// What was asked for.
        snapshot_ts: Timestamp,
        /// How far the replica has come.
        closed_ts: Timestamp,
    },
    /// The engine failed or its bytes make no sense: the replica stops.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// At most this many bytes of keys and values are collected for one batch of a scan.
const SCAN_BYTES_MAX: usize = 4 << 20;
/// At most this many versions are examined for one batch of a scan.
const SCAN_VERSIONS_MAX: usize = 64 << 10;
/// How many neighbours are stepped over before a seek is thought cheaper.
const STEPS_BEFORE_SEEK: usize = 4;

/// What readers need to know of the writer's progress.
#[derive(Debug)]
pub(crate) struct Progress {
    pub closed_ts: AtomicU64,
    pub low_water: AtomicU64,
    pub epoch: AtomicU64,
    pub ownership: RwLock<Arc<Ownership>>,
}

/// The reading half of a store. Clones are cheap, and reads need no more than `&self`, so that any number of threads
/// can read while one applies the stream.
pub struct Reader<E> {
    engine: Arc<E>,
    progress: Arc<Progress>,
    options: Arc<Options>,
    routed_by: Option<Epoch>,
}

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Reader {
            engine: self.engine.clone(),
            progress: self.progress.clone(),
            options: self.options.clone(),
            routed_by: self.routed_by,
        }
    }
}

/// A version that a snapshot shows, beside its value.
pub(crate) struct Shown {
    pub commit_ts: Timestamp,
    pub kind: Kind,
    pub slot: Slot,
}

impl<E: Engine> Reader<E> {
    pub(crate) fn new(engine: Arc<E>, progress: Progress, options: Options) -> Self {
        Reader { engine, progress: Arc::new(progress), options: Arc::new(options), routed_by: None }
    }

    /// This reader for reads that were routed by this epoch of the shard. After a split both sides hold the versions from
    /// before it; a scan that goes to both must find each row once, and one that was begun before the split must find
    /// them all on the side that it knows. Without an epoch a reader shows whatever the replica held at the snapshot.
    #[must_use]
    pub fn routed_by(&self, epoch: Epoch) -> Self {
        Reader { routed_by: Some(epoch), ..self.clone() }
    }

    pub(crate) fn engine(&self) -> &E {
        &self.engine
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Snapshots up to here can be read.
    pub fn closed_ts(&self) -> Timestamp {
        Timestamp(self.progress.closed_ts.load(Ordering::Acquire))
    }

    /// Snapshots from here on can be read.
    pub fn low_water(&self) -> Timestamp {
        Timestamp(self.progress.low_water.load(Ordering::Acquire))
    }

    /// The shard's placement epoch. Published before the closed timestamp of the entry that changed it: whoever has seen
    /// a closed timestamp and then an epoch knows that the epoch held up to it, or a later one does.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.progress.epoch.load(Ordering::Acquire))
    }

    pub(crate) fn ownership(&self) -> Arc<Ownership> {
        self.progress.ownership.read().expect("no writer panics while it holds the lock").clone()
    }

    fn shows(&self, slot: Slot, snapshot_ts: Timestamp) -> bool {
        self.progress.ownership.read().expect("no writer panics while it holds the lock").shows(
            slot,
            snapshot_ts,
            self.routed_by,
        )
    }

    /// Asked before an image of the engine is taken: everything at or below the snapshot must be in it.
    pub(crate) fn check_reached(&self, snapshot_ts: Timestamp) -> Result<(), ReadError> {
        let closed_ts = self.closed_ts();
        if snapshot_ts > closed_ts && self.options.keeps(Rule::ClosedTimestamp) {
            return Err(ReadError::NotReached { snapshot_ts, closed_ts });
        }
        Ok(())
    }

    /// Asked after an image of the engine was taken, and after it was looked which slots are shown: the mark rises before
    /// anything is dropped or forgotten, so what was taken under a mark at or below the snapshot still has all that the
    /// snapshot shows.
    pub(crate) fn check_kept(&self, snapshot_ts: Timestamp) -> Result<(), ReadError> {
        let low_water = self.low_water();
        if snapshot_ts < low_water && self.options.keeps(Rule::LowWater) {
            return Err(ReadError::SnapshotTooOld { snapshot_ts, low_water });
        }
        Ok(())
    }

    /// The value of a key at a snapshot: one seek, unless lock markers are in the way.
    pub fn get(&self, key: &Key, snapshot_ts: Timestamp) -> Result<Option<Bytes>, ReadError> {
        self.check_reached(snapshot_ts)?;
        let found = self.find(key, snapshot_ts)?;
        self.check_kept(snapshot_ts)?;
        Ok(found)
    }

    /// As [`Reader::get`], by what is there now. What it says counts only if the snapshot is still kept afterwards.
    fn find(&self, key: &Key, snapshot_ts: Timestamp) -> Result<Option<Bytes>, StoreError> {
        let mut lower = key::version_prefix(key);
        let mut upper = lower.clone();
        key::end_of_prefix(&mut upper);
        key::push_ts(&mut lower, snapshot_ts);
        let Some((_, mut record)) = self.engine.first(Family::Versions, &lower, &upper)? else {
            return Ok(None);
        };
        let (mut kind, mut slot) = record::version_header(&record)?;
        if kind == Kind::Lock {
            let cursor = self.engine.cursor(Family::Versions, &lower, &upper)?;
            let mut walk = Forward::new(cursor, snapshot_ts, &lower)?;
            let Some(shown) = walk.next()? else { return Ok(None) };
            (kind, slot) = (shown.kind, shown.slot);
            record = walk.cursor.value();
        }
        if kind == Kind::Delete || !self.shows(slot, snapshot_ts) {
            return Ok(None);
        }
        Ok(Some(record.slice(VERSION_HEADER..)))
    }

    /// Up to `limit` rows of a range at a snapshot.
    pub fn scan(
        &self,
        range: &KeyRange,
        snapshot_ts: Timestamp,
        direction: Direction,
        limit: usize,
    ) -> Result<ScanBatch, ReadError> {
        self.check_reached(snapshot_ts)?;
        if range.is_empty() {
            return Ok(ScanBatch::default());
        }
        if limit == 0 {
            return Ok(ScanBatch { rows: Vec::new(), rest: Some(range.clone()) });
        }
        let (lower, upper) = key::version_bounds(range);
        let cursor = self.engine.cursor(Family::Versions, &lower, &upper).map_err(StoreError::from)?;
        let owned = Owned { ownership: &self.ownership(), routed_by: self.routed_by };
        self.check_kept(snapshot_ts)?;
        let budget = Budget { rows: limit, bytes: SCAN_BYTES_MAX, versions: SCAN_VERSIONS_MAX };
        let batch = match direction {
            Direction::Forward => scan_forward(cursor, range, &lower, snapshot_ts, &owned, budget),
            Direction::Reverse => scan_reverse(cursor, range, &upper, snapshot_ts, &owned, budget),
        }?;
        Ok(batch)
    }

    /// When a key was last written, lock markers and deletes counted. Commits at or below the low-water mark may be
    /// forgotten; no live snapshot asks about those.
    pub fn newest_commit(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        let lower = key::version_prefix(key);
        let mut upper = lower.clone();
        key::end_of_prefix(&mut upper);
        match self.engine.first(Family::Versions, &lower, &upper)? {
            Some((version, _)) => Ok(Some(key::split_version(&version)?.1)),
            None => Ok(None),
        }
    }

    /// When any key of a range was last written, likewise.
    pub fn newest_commit_in(&self, range: &KeyRange) -> Result<Option<Timestamp>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        let (lower, upper) = key::version_bounds(range);
        let mut cursor = self.engine.cursor(Family::Versions, &lower, &upper)?;
        let mut newest = None;
        let mut prefix = Vec::new();
        cursor.seek(&lower)?;
        while let Some((version, _)) = cursor.entry() {
            let (found, commit_ts) = key::split_version(version)?;
            newest = newest.max(Some(commit_ts));
            replace(&mut prefix, found);
            skip_versions(&mut cursor, &mut prefix)?;
        }
        Ok(newest)
    }
}

/// Which slots a scan shows.
struct Owned<'a> {
    ownership: &'a Ownership,
    routed_by: Option<Epoch>,
}

impl Owned<'_> {
    fn shows(&self, slot: Slot, snapshot_ts: Timestamp) -> bool {
        self.ownership.shows(slot, snapshot_ts, self.routed_by)
    }
}

/// What one batch of a scan may cost.
struct Budget {
    rows: usize,
    bytes: usize,
    versions: usize,
}

impl Budget {
    /// Asked after each key, not before it: a batch that begins with a long history still gets past it.
    fn is_spent(&self, rows: usize, bytes: usize, versions: usize) -> bool {
        rows >= self.rows || bytes >= self.bytes || versions >= self.versions
    }
}

fn scan_forward<C: Cursor>(
    cursor: C,
    range: &KeyRange,
    lower: &[u8],
    snapshot_ts: Timestamp,
    owned: &Owned<'_>,
    budget: Budget,
) -> Result<ScanBatch, StoreError> {
    let mut walk = Forward::new(cursor, snapshot_ts, lower)?;
    let mut batch = ScanBatch::default();
    let mut bytes = 0;
    let mut is_spent = false;
    while let Some(shown) = walk.next()? {
        if is_spent {
            let next = key::parse_prefix(&walk.prefix)?;
            batch.rest = Some(KeyRange::new(next, range.end.clone()));
            break;
        }
        if shown.kind == Kind::Put && owned.shows(shown.slot, snapshot_ts) {
            let key = key::parse_prefix(&walk.prefix)?;
            let value = walk.cursor.value().slice(VERSION_HEADER..);
            bytes += key.0.len() + value.len();
            batch.rows.push((key, value));
        }
        is_spent = budget.is_spent(batch.rows.len(), bytes, walk.examined);
    }
    Ok(batch)
}

fn scan_reverse<C: Cursor>(
    cursor: C,
    range: &KeyRange,
    upper: &[u8],
    snapshot_ts: Timestamp,
    owned: &Owned<'_>,
    budget: Budget,
) -> Result<ScanBatch, StoreError> {
    let mut walk = Reverse::new(cursor, snapshot_ts, upper)?;
    let mut batch = ScanBatch::default();
    let mut bytes = 0;
    let mut is_spent = false;
    while let Some((shown, record)) = walk.next()? {
        let key = key::parse_prefix(&walk.prefix)?;
        if is_spent {
            batch.rest = Some(KeyRange::new(range.start.clone(), key.successor()));
            break;
        }
        if shown.kind == Kind::Put && owned.shows(shown.slot, snapshot_ts) {
            let value = record.slice(VERSION_HEADER..);
            bytes += key.0.len() + value.len();
            batch.rows.push((key, value));
        }
        is_spent = budget.is_spent(batch.rows.len(), bytes, walk.examined);
    }
    Ok(batch)
}

fn replace(buffer: &mut Vec<u8>, with: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(with);
}

/// Moves a cursor that stands on a version of `prefix` to the first version of the next key. Leaves `prefix` as
/// it was.
pub(crate) fn skip_versions<C: Cursor>(cursor: &mut C, prefix: &mut [u8]) -> Result<(), StoreError> {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.next()?;
        match cursor.entry() {
            Some((version, _)) if key::split_version(version)?.0 == &*prefix => {}
            _ => return Ok(()),
        }
    }
    key::end_of_prefix(prefix);
    cursor.seek(prefix)?;
    let last = prefix.last_mut().expect("a prefix has a tag and a terminator");
    *last -= 1;
    Ok(())
}

/// Walks the keys upwards, stopping at the version of each that a snapshot shows (deletes included, lock markers
/// never). The cursor stands on that version.
pub(crate) struct Forward<C> {
    cursor: C,
    snapshot_ts: Timestamp,
    /// The prefix of the key that was found last.
    pub prefix: Vec<u8>,
    is_on_found: bool,
    /// How many versions have been looked at.
    pub examined: usize,
    /// And how many bytes of keys and records.
    pub bytes: usize,
}

impl<C: Cursor> Forward<C> {
    pub fn new(mut cursor: C, snapshot_ts: Timestamp, lower: &[u8]) -> Result<Self, StoreError> {
        cursor.seek(lower)?;
        let prefix = Vec::new();
        Ok(Forward { cursor, snapshot_ts, prefix, is_on_found: false, examined: 0, bytes: 0 })
    }

    /// Bytes of the value that was found last.
    pub fn value_len(&self) -> usize {
        self.cursor.entry().map_or(0, |(_, record)| record.len().saturating_sub(VERSION_HEADER))
    }

    /// The record of the version that was found last, header included.
    pub fn value(&self) -> Bytes {
        self.cursor.value()
    }

    pub fn next(&mut self) -> Result<Option<Shown>, StoreError> {
        if self.is_on_found {
            self.is_on_found = false;
            skip_versions(&mut self.cursor, &mut self.prefix)?;
        }
        let mut newer = 0;
        loop {
            let Some((version, record)) = self.cursor.entry() else { return Ok(None) };
            let (prefix, commit_ts) = key::split_version(version)?;
            self.examined += 1;
            self.bytes += version.len() + record.len();
            if commit_ts > self.snapshot_ts {
                newer += 1;
                if newer <= STEPS_BEFORE_SEEK {
                    self.cursor.next()?;
                } else {
                    replace(&mut self.prefix, prefix);
                    key::push_ts(&mut self.prefix, self.snapshot_ts);
                    self.cursor.seek(&self.prefix)?;
                    newer = 0;
                }
                continue;
            }
            let (kind, slot) = record::version_header(record)?;
            if kind == Kind::Lock {
                self.cursor.next()?;
                continue;
            }
            replace(&mut self.prefix, prefix);
            self.is_on_found = true;
            return Ok(Some(Shown { commit_ts, kind, slot }));
        }
    }
}

/// Walks the keys downwards. Going back, the versions of a key come oldest first, so the one that a snapshot shows
/// is the last that is not too new.
struct Reverse<C> {
    cursor: C,
    snapshot_ts: Timestamp,
    prefix: Vec<u8>,
    examined: usize,
}

impl<C: Cursor> Reverse<C> {
    fn new(mut cursor: C, snapshot_ts: Timestamp, upper: &[u8]) -> Result<Self, StoreError> {
        cursor.seek_back(upper)?;
        Ok(Reverse { cursor, snapshot_ts, prefix: Vec::new(), examined: 0 })
    }

    fn next(&mut self) -> Result<Option<(Shown, Bytes)>, StoreError> {
        loop {
            let Some((version, _)) = self.cursor.entry() else { return Ok(None) };
            let prefix = key::split_version(version)?.0;
            replace(&mut self.prefix, prefix);
            if let Some(found) = self.newest_of_key()? {
                return Ok(Some(found));
            }
        }
    }

    /// The version of the current key that the snapshot shows. Leaves the cursor on the key before it.
    fn newest_of_key(&mut self) -> Result<Option<(Shown, Bytes)>, StoreError> {
        let mut best = None;
        for _ in 0..STEPS_BEFORE_SEEK {
            let Some((version, record)) = self.cursor.entry() else { return Ok(best) };
            let (prefix, commit_ts) = key::split_version(version)?;
            if prefix != self.prefix {
                return Ok(best);
            }
            self.examined += 1;
            if commit_ts > self.snapshot_ts {
                self.cursor.seek_back(&self.prefix)?;
                return Ok(best);
            }
            let (kind, slot) = record::version_header(record)?;
            if kind != Kind::Lock {
                best = Some((Shown { commit_ts, kind, slot }, self.cursor.value()));
            }
            self.cursor.prev()?;
        }
        // A long history: come at it from its new end instead.
        let mut from = self.prefix.clone();
        key::push_ts(&mut from, self.snapshot_ts);
        self.cursor.seek(&from)?;
        while let Some((version, record)) = self.cursor.entry() {
            let (prefix, commit_ts) = key::split_version(version)?;
            if prefix != self.prefix {
                break;
            }
            self.examined += 1;
            let (kind, slot) = record::version_header(record)?;
            if kind != Kind::Lock {
                best = Some((Shown { commit_ts, kind, slot }, self.cursor.value()));
                break;
            }
            self.cursor.next()?;
        }
        self.cursor.seek_back(&self.prefix)?;
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryEngine, MvccStore};
    use assize_model::{
        DeadlineClass, FrontendEpoch, FrontendId, LogIndex, Mutation, Position, ShardCommit, ShardWrites,
        StreamEntry, TxnId,
    };
    use std::time::Duration;

    const SLOT: Slot = Slot(7);

    fn entry(index: u64, closed_ts: u64) -> StreamEntry {
        StreamEntry {
            after: LogIndex(index - 1),
            position: Position { index: LogIndex(index), closed_ts: Timestamp(closed_ts) },
            commits: Vec::new(),
            epoch: None,
            slots: None,
            low_water: None,
        }
    }

    /// A replica that had a row in a slot, and has lost the slot since.
    fn store_that_lost(key: &Key) -> MvccStore<MemoryEngine> {
        let mut store = MvccStore::open(MemoryEngine::new(), Options::default()).unwrap();
        let txn = TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
        let writes = ShardWrites::Inline(vec![Mutation::put(key.clone(), SLOT, "row")]);
        let commits = vec![ShardCommit { txn, commit_ts: Timestamp(10), writes }];
        store.apply(&StreamEntry { commits, ..entry(1, 10) }).unwrap();
        let slots = Some(vec![(Slot(0), Slot(6))]);
        store.apply(&StreamEntry { slots, epoch: Some(Epoch(2)), ..entry(2, 20) }).unwrap();
        store
    }

    /// The mark rises and what was lost is forgotten while somebody reads, between his look at the rows and his look at the
    /// slots.
    #[test]
    #[allow(clippy::disallowed_methods)] // It waits for another thread.
    fn a_read_that_the_low_water_mark_overtakes_is_refused_and_misses_nothing() {
        let key = Key::from("k");
        type Read = fn(&Reader<MemoryEngine>, &Key) -> Result<bool, ReadError>;
        let get: Read = |reader, key| Ok(reader.get(key, Timestamp(15))?.is_some());
        let scan: Read = |reader, key| {
            let range = KeyRange::point(key.clone());
            Ok(!reader.scan(&range, Timestamp(15), Direction::Forward, 10)?.rows.is_empty())
        };
        for read in [get, scan] {
            let store = store_that_lost(&key);
            let reader = store.reader();
            assert_eq!(read(&reader, &key), Ok(true), "as it was before the slot went");
            let progress = store.reader().progress.clone();
            let mut held = progress.ownership.write().unwrap();
            let reading = std::thread::scope(|scope| {
                let reading = scope.spawn(|| read(&reader, &key));
                // Long enough for it to come to the slots; if it is not, this test sees nothing.
                std::thread::sleep(Duration::from_millis(100));
                progress.low_water.store(30, Ordering::Release);
                Arc::make_mut(&mut held).forget_below(Timestamp(30));
                drop(held);
                reading.join().unwrap()
            });
            assert!(matches!(reading, Err(ReadError::SnapshotTooOld { .. })), "{reading:?}");
        }
    }
}
