//! The memory twin of an engine: an ordered map with a crash button.

use crate::{Batch, BatchOp, Cursor, Durability, Engine, EngineError, Family, key, record};
use assize_model::{Key, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Map = BTreeMap<Bytes, Bytes>;

/// An engine in memory that behaves at a crash as the real one does: versions go back to the last flush,
/// intents to the last synced write. Tests and the simulator stand on it.
///
/// Clones share one store, as two handles of one disk would.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    shared: Arc<RwLock<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    versions: Arc<Map>,
    intents: Arc<Map>,
    /// What a crash leaves of the versions.
    flushed: Arc<Map>,
    /// What a crash certainly leaves of the intents.
    synced: Arc<Map>,
    /// Batches in the write-ahead log but not on disk, in order.
    unsynced: Vec<Batch>,
    /// Set to make writes fail, as a full or broken disk does.
    failure: Option<EngineError>,
}

/// What a defect does to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// One bit of its value, counted from the first and round again, is another.
    FlipBit(usize),
    /// Its version is gone; an older one may show.
    Vanish,
}

/// An image of a [`MemoryEngine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCheckpoint {
    versions: Arc<Map>,
    intents: Arc<Map>,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        MemoryEngine::default()
    }

    /// An engine that begins with the contents of a checkpoint, all of it durable: it was copied and synced.
    pub fn from_checkpoint(checkpoint: &MemoryCheckpoint) -> Self {
        let MemoryCheckpoint { versions, intents } = checkpoint.clone();
        MemoryEngine {
            shared: Arc::new(RwLock::new(State {
                flushed: versions.clone(),
                versions,
                synced: intents.clone(),
                intents,
                ..State::default()
            })),
        }
    }

    /// What the disk holds after the power went: every unflushed version and every unsynced intent write is gone.
    #[must_use]
    pub fn crashed(&self) -> MemoryEngine {
        self.crashed_keeping(0)
    }

    /// As [`MemoryEngine::crashed`], but the first `logged` unsynced intent writes happened to reach the disk.
    #[must_use]
    pub fn crashed_keeping(&self, logged: usize) -> MemoryEngine {
        let state = self.read();
        let mut synced = state.synced.clone();
        for batch in state.unsynced.iter().take(logged) {
            apply(Arc::make_mut(&mut synced), batch);
        }
        MemoryEngine::from_checkpoint(&MemoryCheckpoint { versions: state.flushed.clone(), intents: synced })
    }

    /// How many intent writes a crash may or may not keep.
    pub fn unsynced_writes(&self) -> usize {
        self.read().unsynced.len()
    }

    /// Makes every write from now on fail as on a full disk, or lets them succeed again.
    pub fn set_full(&self, full: bool) {
        let failure = || EngineError::Full { reason: "told to be full".to_owned() };
        self.set_failure(full.then(failure));
    }

    /// Makes every write from now on fail with this, or lets them succeed again.
    pub fn set_failure(&self, failure: Option<EngineError>) {
        self.write_state().failure = failure;
    }

    /// Damages the row that a snapshot shows for this key, behind everybody's back and for good, as a defect of ours might;
    /// what rots on a disk an engine's checksums find. False if there is no such row.
    pub fn damage(&self, key: &Key, snapshot_ts: Timestamp, damage: Damage) -> bool {
        let mut state = self.write_state();
        let mut lower = key::version_prefix(key);
        let mut upper = lower.clone();
        key::end_of_prefix(&mut upper);
        key::push_ts(&mut lower, snapshot_ts);
        let is_shown = |(_, value): &(&Bytes, &Bytes)| {
            record::version_header(value).is_ok_and(|(kind, _)| kind != record::Kind::Lock)
        };
        let shown = range(&state.versions, &lower, &upper).find(is_shown);
        let Some((version, value)) = shown.map(|(version, value)| (version.clone(), value.clone())) else {
            return false;
        };
        let value = match damage {
            Damage::Vanish => None,
            Damage::FlipBit(_) if value.len() == record::VERSION_HEADER => return false,
            Damage::FlipBit(bit) => {
                let mut bytes = value.to_vec();
                let at = record::VERSION_HEADER + bit / 8 % (bytes.len() - record::VERSION_HEADER);
                bytes[at] ^= 1 << (bit % 8);
                Some(Bytes::from(bytes))
            }
        };
        let State { versions, flushed, .. } = &mut *state;
        for map in [versions, flushed].into_iter().filter(|map| map.contains_key(&version)) {
            match &value {
                Some(value) => drop(Arc::make_mut(map).insert(version.clone(), value.clone())),
                None => drop(Arc::make_mut(map).remove(&version)),
            }
        }
        true
    }

    /// How many entries a family holds.
    pub fn len(&self, family: Family) -> usize {
        self.read().map(family).len()
    }

    /// Whether a family holds nothing.
    pub fn is_empty(&self, family: Family) -> bool {
        self.len(family) == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared.read().expect("no writer panics while it holds the lock")
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.write().expect("no writer panics while it holds the lock")
    }
}

impl State {
    fn map(&self, family: Family) -> &Arc<Map> {
        match family {
            Family::Versions => &self.versions,
            Family::Intents => &self.intents,
        }
    }
}

fn apply(map: &mut Map, batch: &Batch) {
    for op in &batch.ops {
        match op {
            BatchOp::Put { key, value } => {
                map.insert(Bytes::copy_from_slice(key), value.clone());
            }
            BatchOp::Delete { key } => {
                map.remove(key.as_slice());
            }
            BatchOp::DeleteRange { start, end } => {
                let gone: Vec<Bytes> = range(map, start, end).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    map.remove(&key);
                }
            }
        }
    }
}

fn range<'a>(
    map: &'a Map,
    lower: &[u8],
    upper: &[u8],
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
    // A map's range panics if its ends are the wrong way round; an empty range is a fair question.
    let upper = upper.max(lower);
    map.range::<[u8], _>((Bound::Included(lower), Bound::Excluded(upper)))
}

impl Engine for MemoryEngine {
    type Cursor<'a> = MemoryCursor;
    type Checkpoint = MemoryCheckpoint;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.read().map(family).get(key).cloned())
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<MemoryCursor, EngineError> {
        Ok(MemoryCursor {
            map: self.read().map(family).clone(),
            lower: lower.to_vec(),
            upper: upper.max(lower).to_vec(),
            at: None,
        })
    }

    fn first(
        &self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        Ok(range(self.read().map(family), lower, upper).next().map(|(k, v)| (k.clone(), v.clone())))
    }

    fn stored_bytes(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<u64, EngineError> {
        let state = self.read();
        Ok(range(state.map(family), lower, upper).map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn write(&self, family: Family, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        let mut state = self.write_state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let state = &mut *state;
        match family {
            Family::Versions => {
                assert_eq!(durability, Durability::Buffered, "versions have no write-ahead log");
                apply(Arc::make_mut(&mut state.versions), &batch);
            }
            Family::Intents => {
                assert_ne!(durability, Durability::Buffered, "intents have a write-ahead log");
                apply(Arc::make_mut(&mut state.intents), &batch);
                state.unsynced.push(batch);
                if durability == Durability::Synced {
                    for batch in std::mem::take(&mut state.unsynced) {
                        apply(Arc::make_mut(&mut state.synced), &batch);
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut state = self.write_state();
        state.flushed = state.versions.clone();
        Ok(())
    }

    fn persisted(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.read().flushed.get(key).cloned())
    }

    fn checkpoint(&self) -> Result<MemoryCheckpoint, EngineError> {
        let state = self.read();
        Ok(MemoryCheckpoint { versions: state.versions.clone(), intents: state.intents.clone() })
    }
}

/// A place in an image of a [`MemoryEngine`].
#[derive(Debug)]
pub struct MemoryCursor {
    map: Arc<Map>,
    lower: Vec<u8>,
    upper: Vec<u8>,
    at: Option<(Bytes, Bytes)>,
}

impl MemoryCursor {
    fn place(&mut self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, back: bool) {
        let mut entries = self.map.range::<[u8], _>((lower, upper));
        let found = if back { entries.next_back() } else { entries.next() };
        let found = found.map(|(key, value)| (key.clone(), value.clone()));
        self.at = found;
    }
}

impl Cursor for MemoryCursor {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        let upper = self.upper.clone();
        let from = key.max(&self.lower).min(&upper).to_vec();
        self.place(Bound::Included(&from), Bound::Excluded(&upper), false);
        Ok(())
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        let lower = self.lower.clone();
        if key < lower.as_slice() {
            self.at = None;
        } else if key < self.upper.as_slice() {
            self.place(Bound::Included(&lower), Bound::Included(key), true);
        } else {
            let upper = self.upper.clone();
            self.place(Bound::Included(&lower), Bound::Excluded(&upper), true);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(), EngineError> {
        let Some((key, _)) = self.at.take() else { return Ok(()) };
        let upper = self.upper.clone();
        self.place(Bound::Excluded(&key), Bound::Excluded(&upper), false);
        Ok(())
    }

    fn prev(&mut self) -> Result<(), EngineError> {
        let Some((key, _)) = self.at.take() else { return Ok(()) };
        let lower = self.lower.clone();
        self.place(Bound::Included(&lower), Bound::Excluded(&key), true);
        Ok(())
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    fn value(&self) -> Bytes {
        self.at.as_ref().map_or_else(Bytes::new, |(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put(key.as_bytes().to_vec(), Bytes::copy_from_slice(value.as_bytes()));
        batch
    }

    #[test]
    fn a_crash_takes_unflushed_versions_and_unsynced_intents() {
        let engine = MemoryEngine::new();
        engine.write(Family::Versions, put("a", "1"), Durability::Buffered).unwrap();
        engine.flush().unwrap();
        engine.write(Family::Versions, put("a", "2"), Durability::Buffered).unwrap();
        engine.write(Family::Intents, put("i", "1"), Durability::Logged).unwrap();
        engine.write(Family::Intents, put("j", "1"), Durability::Synced).unwrap();
        engine.write(Family::Intents, put("k", "1"), Durability::Logged).unwrap();
        assert_eq!(engine.persisted(b"a").unwrap().unwrap(), "1");

        let after = engine.crashed();
        assert_eq!(after.get(Family::Versions, b"a").unwrap().unwrap(), "1");
        assert!(
            after.get(Family::Intents, b"i").unwrap().is_some(),
            "a synced write syncs what was logged before"
        );
        assert!(after.get(Family::Intents, b"j").unwrap().is_some());
        assert!(after.get(Family::Intents, b"k").unwrap().is_none());
        assert!(engine.crashed_keeping(1).get(Family::Intents, b"k").unwrap().is_some());
    }

    #[test]
    fn the_twin_is_an_engine() {
        crate::conformance::check(MemoryEngine::new);
    }

    #[test]
    fn a_cursor_sees_the_moment_it_was_made() {
        let engine = MemoryEngine::new();
        engine.write(Family::Versions, put("b", "1"), Durability::Buffered).unwrap();
        let mut cursor = engine.cursor(Family::Versions, b"a", b"c").unwrap();
        engine.write(Family::Versions, put("a", "1"), Durability::Buffered).unwrap();
        cursor.seek(b"").unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"b");
        cursor.prev().unwrap();
        assert!(cursor.entry().is_none());
    }

    #[test]
    fn a_cursor_stays_between_its_bounds() {
        let engine = MemoryEngine::new();
        for key in ["a", "b", "c", "d"] {
            engine.write(Family::Versions, put(key, "1"), Durability::Buffered).unwrap();
        }
        let mut cursor = engine.cursor(Family::Versions, b"b", b"d").unwrap();
        cursor.seek_back(b"z").unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"c");
        cursor.seek_back(b"b").unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"b");
        cursor.seek_back(b"a").unwrap();
        assert!(cursor.entry().is_none());
        cursor.seek(b"a").unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"b");
        cursor.next().unwrap();
        cursor.next().unwrap();
        assert!(cursor.entry().is_none());
        let mut empty = engine.cursor(Family::Versions, b"d", b"b").unwrap();
        empty.seek(b"a").unwrap();
        assert!(empty.entry().is_none());
    }
}
