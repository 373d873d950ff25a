//! What replicas of a shard compare in the background: a hash over committed rows that does not depend on how they lie.
//!
//! # What it covers, and what not
//!
//! A hash is taken at a snapshot, over the keys of one [`Page`], and counts every row that the snapshot shows in a slot
//! which the replica **holds now**: its key, commit timestamp, slot and value. Two replicas of a shard that stand in the
//! same placement epoch, both at or beyond the snapshot, must agree, because nothing else goes in:
//!
//! ```text
//!   commit_ts   k              l            m (slot was lost)        intents
//!      40       put c          .            .                        not counted
//!      30       .              lock         .
//!      ── snapshot 25 ─────────────────────────────────────────
//!      20       put b ◀ row    .            put x: not held any more
//!      10       put a: older   put d ◀ row  .
//!                 └ may be collected or not
//! ```
//!
//! - Versions above the snapshot, covered versions, deletes and lock markers do not count: each replica collects them when
//!   it likes.
//! - Leftovers in slots that were lost do not count: each replica drops them when it likes.
//! - Intents do not count: not every replica has every intent, and a digest guards each.
//!
//! The snapshot must not be below the low-water mark, and must not be from before the epoch began: slots that were lost in
//! between are not looked at, slots that were gained hold rows which were somebody else's at the snapshot.

use crate::reader::Forward;
use crate::record::Kind;
use crate::{Engine, Family, ReadError, Reader, Slots, Step, StoreError, key};
use assize_model::{Key, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A run of keys that is hashed at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The first key, included.
    pub from: Key,
    /// The first key after it that is not part of it; `None`: it goes to the end.
    pub to: Option<Key>,
}

impl Page {
    /// Every key.
    pub fn all() -> Self {
        Page::default()
    }
}

/// Order-independent checksum of what a snapshot shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ContentHash {
    /// How many rows.
    pub count: u64,
    /// The wrapping sum of a hash of each row: key, commit timestamp, slot and value.
    pub sum: u64,
}

impl ContentHash {
    /// The hash of both together.
    #[must_use]
    pub fn and(self, other: ContentHash) -> ContentHash {
        ContentHash { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }
}

impl<E: Engine> Reader<E> {
    /// The hash of what a snapshot shows in those of these slots that are held now, over the keys of a page. Looks at about
    /// as much as a step has, and names the key at which to go on if the page has more. See the module's page for what is
    /// covered.
    pub fn hash_content(
        &self,
        slots: &Slots,
        snapshot_ts: Timestamp,
        page: &Page,
        step: Step,
    ) -> Result<(ContentHash, Option<Key>), ReadError> {
        self.check_reached(snapshot_ts)?;
        let lower = key::version_prefix(&page.from);
        let upper = page.to.as_ref().map_or_else(|| key::all_versions().1, key::version_prefix);
        let cursor = self.engine().cursor(Family::Versions, &lower, &upper).map_err(StoreError::from)?;
        let ownership = self.ownership();
        self.check_kept(snapshot_ts)?;
        let mut walk = Forward::new(cursor, snapshot_ts, &lower)?;
        let mut hash = ContentHash::default();
        // Asked after each key, not before it: a call that begins with a long history still gets past it.
        let mut is_spent = false;
        while let Some(shown) = walk.next()? {
            if is_spent {
                let rest = key::parse_prefix(&walk.prefix).map_err(StoreError::from)?;
                return Ok((hash, Some(rest)));
            }
            let is_held = slots.contains(shown.slot) && ownership.held.contains(shown.slot);
            if shown.kind == Kind::Put && is_held {
                let value = xxh3_64_with_seed(&walk.value(), shown.commit_ts.0);
                let row = xxh3_64_with_seed(&walk.prefix, value);
                hash = hash.and(ContentHash { count: 1, sum: row });
            }
            is_spent = step.is_spent(walk.examined, walk.bytes);
        }
        Ok((hash, None))
    }
}
