//! Keys, ranges of keys, and mutations of keys.

use crate::Slot;
use bytes::Bytes;
use std::fmt;

/// An order-preserving encoding of (table, index, columns). Comparing keys compares rows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub Bytes);

impl Key {
    /// A key that holds these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Key(bytes.into())
    }

    /// The keyed 64-bit hash by which the adjudicator knows this key. `seed` is drawn once per cluster, so
    /// that nobody outside can construct collisions.
    pub fn hash(&self, seed: u64) -> KeyHash {
        KeyHash(xxhash_rust::xxh3::xxh3_64_with_seed(&self.0, seed))
    }

    /// The least key greater than this one.
    pub fn successor(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Key(bytes.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => f.write_str(text),
            _ => self.0.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

impl From<&'static str> for Key {
    fn from(text: &'static str) -> Self {
        Key(Bytes::from_static(text.as_bytes()))
    }
}

/// What the adjudicator sees of a point key. Two keys may share a hash: a collision costs a needless
/// abort, never a missed conflict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Keys from `start` (included) to `end` (excluded).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Key,
    /// The first key after the range.
    pub end: Key,
}

impl KeyRange {
    /// The range `start..end`.
    pub fn new(start: Key, end: Key) -> Self {
        KeyRange { start, end }
    }

    /// Exactly one key.
    pub fn point(key: Key) -> Self {
        let end = key.successor();
        KeyRange { start: key, end }
    }

    /// All keys that begin with these bytes.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.last_mut() {
            if *last < 0xff {
                *last += 1;
                break;
            }
            end.pop();
        }
        // A prefix of nothing but 0xff has no end that is a prefix successor; no table id produces one.
        KeyRange { start: Key::new(prefix.to_vec()), end: Key::new(end) }
    }

    /// Whether the range holds this key.
    pub fn contains(&self, key: &Key) -> bool {
        self.start <= *key && *key < self.end
    }

    /// Whether the two share a key.
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether no key lies in it.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}, {:?})", self.start, self.end)
    }
}

/// What a commit does to one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutation {
    /// The key.
    pub key: Key,
    /// Where its row lives. Carried beside the key, because keys are ordered by table, not by slot.
    pub slot: Slot,
    /// What happens to it.
    pub op: MutationOp,
}

/// The three things a commit can do to a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MutationOp {
    /// Give it this value.
    Put(Bytes),
    /// Take its value away.
    Delete,
    /// Leave its value alone but count as a write of it: `FOR UPDATE`, and existence keys of parents. It
    /// leaves a lock-marker version, which readers skip and refresh counts.
    Lock,
}

impl Mutation {
    /// A put.
    pub fn put(key: Key, slot: Slot, value: impl Into<Bytes>) -> Self {
        Mutation { key, slot, op: MutationOp::Put(value.into()) }
    }

    /// A delete.
    pub fn delete(key: Key, slot: Slot) -> Self {
        Mutation { key, slot, op: MutationOp::Delete }
    }

    /// A lock marker.
    pub fn lock(key: Key, slot: Slot) -> Self {
        Mutation { key, slot, op: MutationOp::Lock }
    }

    /// Bytes of key and value, the unit in which write buffers and inline commits are limited.
    pub fn size(&self) -> usize {
        self.key.0.len()
            + match &self.op {
                MutationOp::Put(value) => value.len(),
                MutationOp::Delete | MutationOp::Lock => 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_exactly_its_prefix() {
        let range = KeyRange::prefix(&[1, 0xff]);
        assert!(range.contains(&Key::new(vec![1, 0xff])));
        assert!(range.contains(&Key::new(vec![1, 0xff, 0xff, 7])));
        assert!(!range.contains(&Key::new(vec![2])));
        assert!(!range.contains(&Key::new(vec![1, 0xfe, 0xff])));
        assert_eq!(range.end, Key::new(vec![2]));
    }

    #[test]
    fn a_point_range_holds_only_its_key() {
        let range = KeyRange::point(Key::from("k"));
        assert!(range.contains(&Key::from("k")));
        assert!(!range.contains(&Key::from("k\0")));
        assert!(!range.is_empty());
    }
}
