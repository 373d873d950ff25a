//! What sessions remember of statements: parsed trees by lifted text, and statistics by digest.

use assize_sql::Parsed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Statements that each half of the cache holds.
const HALF_MAX: usize = 2048;
/// Longer texts are not kept: bulk inserts do not come twice.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;

/// Parsed statements by text. Two halves: what is used moves to the young one, and when that is full the old one is
/// forgotten, so that what is used stays.
#[derive(Default)]
pub struct StatementCache {
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    young: BTreeMap<u64, Arc<CachedStatement>>,
    old: BTreeMap<u64, Arc<CachedStatement>>,
}

/// A parsed statement and the text that it is of.
#[derive(Debug)]
pub struct CachedStatement {
    /// The text, with `?` for lifted literals.
    pub text: Vec<u8>,
    /// Its tree.
    pub parsed: Parsed,
    /// Its digest, if it may run again.
    pub digest: Option<assize_sql::Digest>,
}

impl StatementCache {
    /// The statement of this text under this hash. Hashes may collide, texts do not.
    pub fn get(&self, hash: u64, text: &[u8]) -> Option<Arc<CachedStatement>> {
        let mut halves = lock(&self.halves);
        if let Some(found) = halves.young.get(&hash) {
            return (found.text == text).then(|| found.clone());
        }
        let found = halves.old.remove(&hash)?;
        halves.insert(hash, found.clone());
        (found.text == text).then_some(found)
    }

    /// Keeps a statement.
    pub fn put(
        &self,
        hash: u64,
        text: Vec<u8>,
        parsed: Parsed,
        digest: assize_sql::Digest,
    ) -> Arc<CachedStatement> {
        let keep = text.len() <= TEXT_BYTES_MAX;
        let cached = Arc::new(CachedStatement { text, parsed, digest: Some(digest) });
        if keep {
            lock(&self.halves).insert(hash, cached.clone());
        }
        cached
    }

    /// How many statements are held.
    pub fn len(&self) -> usize {
        let halves = lock(&self.halves);
        halves.young.len() + halves.old.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Halves {
    fn insert(&mut self, hash: u64, cached: Arc<CachedStatement>) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, cached);
    }
}

/// Digests that are told apart; what comes later is counted together.
const DIGESTS_MAX: usize = 5000;
/// The text under which the rest is counted.
const OTHERS: &str = "(other statements)";

/// What statements of one digest have cost.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DigestStatistics {
    /// The normalised text.
    pub text: String,
    /// How many ran.
    pub count: u64,
    /// Their time.
    pub total_micros: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// How many failed.
    pub errors: u64,
}

/// Statistics of all statements of a process.
#[derive(Default)]
pub struct Digests {
    by_hash: Mutex<BTreeMap<u64, DigestStatistics>>,
}

impl Digests {
    /// Counts a statement.
    pub fn record(&self, digest: &assize_sql::Digest, micros: u64, rows: u64, failed: bool) {
        let mut by_hash = lock(&self.by_hash);
        let full = by_hash.len() >= DIGESTS_MAX && !by_hash.contains_key(&digest.hash);
        let (hash, text) = if full { (0, OTHERS) } else { (digest.hash, &*digest.text) };
        let known = by_hash.entry(hash).or_default();
        if known.count == 0 {
            known.text = text.to_owned();
        }
        known.count += 1;
        known.total_micros += micros;
        known.rows += rows;
        known.errors += u64::from(failed);
    }

    /// All of them, most time first.
    pub fn list(&self) -> Vec<DigestStatistics> {
        let mut all: Vec<DigestStatistics> = lock(&self.by_hash).values().cloned().collect();
        all.sort_by(|a, b| b.total_micros.cmp(&a.total_micros).then_with(|| a.text.cmp(&b.text)));
        all
    }
}

/// Mixes a number into a hash.
pub(crate) fn mix(hash: u64, number: u64) -> u64 {
    // One round of a multiply-and-fold hash: enough to keep the parts of a cache key apart.
    let product = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(number ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ (product >> 64) as u64 ^ hash.rotate_left(23)
}

/// Mixes bytes into a hash.
pub(crate) fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    mix(hash, bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_sql::{ParseOptions, normalise, parse_one};

    #[test]
    fn a_used_statement_outlives_many_unused_ones() {
        let cache = StatementCache::default();
        let parsed = parse_one("SELECT 1", &ParseOptions::default()).unwrap();
        let digest = || normalise("SELECT 1", &ParseOptions::default());
        cache.put(7, b"SELECT ?".to_vec(), parsed.clone(), digest());
        for n in 0..3 * HALF_MAX as u64 {
            cache.put(100 + n, n.to_string().into_bytes(), parsed.clone(), digest());
            assert!(cache.get(7, b"SELECT ?").is_some());
        }
        assert!(cache.len() <= 2 * HALF_MAX + 1);
        assert!(cache.get(100, b"0").is_none());
        assert!(cache.get(7, b"another text").is_none());
    }

    #[test]
    fn digests_are_counted_and_bounded() {
        let digests = Digests::default();
        let options = ParseOptions::default();
        for n in 0..DIGESTS_MAX + 10 {
            digests.record(&normalise(&format!("SELECT c{n} FROM t"), &options), 1, 1, false);
        }
        digests.record(&normalise("SELECT c0 FROM t", &options), 100, 2, true);
        let list = digests.list();
        assert!(list.len() <= DIGESTS_MAX + 1);
        assert_eq!((list[0].text.as_str(), list[0].count, list[0].errors), ("SELECT c0 FROM t", 2, 1));
        assert!(list.iter().any(|d| d.text == OTHERS));
    }
}
