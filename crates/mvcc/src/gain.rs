//! Taking in slots that another shard held: a merge, or a move between shards that exist.
//!
//! The entry that gives this shard more slots is the position at which both sides meet: the former owner has everything
//! that was committed in them before the entry, and gets nothing after it. So the new owner holds its stream just before the
//! entry, copies the slots' versions from a checkpoint of the former owner at or after that position, and goes on.
//!
//! ```text
//!   former owner   ──#6──#7──#8──┬ #9: slots go ──────────── keeps them for old scans until the low-water mark is past #9
//!                                └ checkpoint, at or after #8
//!                                      │ versions in the slots
//!   this shard     ──#6──#7──#8 ▮ waits ▼ ──#9: slots come──#10──
//! ```
//!
//! In order, each step durable no later than the next:
//!
//! 1. **Leftovers go.** This shard may have held the slots before. A row that was deleted since, and whose delete the former
//!    owner has collected, would rise again from them.
//! 2. **Versions come**, with their history down to the former owner's low-water mark.
//! 3. **The gain is complete**: a record says so, and [`MvccStore::apply`] accepts the entry.
//!
//! All of that takes its time, and readers wait for it. So whoever moves slots has them *staged* first (`staging.rs`), and then
//! nothing is left to do here; this is how replicas get them that were away meanwhile.
//!
//! After a crash in between everything is done again. Until the entry is applied nobody sees what was copied: the slots are
//! not held, so reads, and hashes of the content, pass it by.

use crate::record::{self, Kind};
use crate::{Batch, Cursor, Engine, Family, MvccStore, Slots, StoreError, key};
use assize_codec::DecodeError;
use assize_model::{Key, LogIndex, Timestamp};

/// Slots that an entry gives to this shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gain {
    /// The entry.
    pub at: LogIndex,
    /// The entry before it, on every shard's stream: a checkpoint of the former owner is taken there or later.
    pub after: LogIndex,
    /// Which slots.
    pub slots: Slots,
}

/// What a store remembers of a gain that has begun and whose entry is not applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gaining {
    /// The entry.
    pub at: LogIndex,
    /// Which slots.
    pub slots: Slots,
    /// Versions that only snapshots below this could see may be missing.
    pub low_water: Timestamp,
    /// Whether everything is here.
    pub is_complete: bool,
}

/// Where to go on with a step that looks at a bounded number of versions; `None`: it is done.
pub type Rest = Option<Key>;

impl<E: Engine> MvccStore<E> {
    /// The slots of a gain for which this store can be the source: it stands at or after the entry before the gain, and held
    /// them until the gain.
    pub fn can_give(&self, gain: &Gain) -> Slots {
        let position = self.position().index;
        if position < gain.after {
            return Slots::default();
        }
        if position < gain.at {
            return gain.slots.and(self.slots());
        }
        let lost = self.ownership().lost.iter().filter(|lost| lost.at == gain.at);
        let lost = lost.flat_map(|lost| lost.slots.runs().iter().copied()).collect();
        // Slots that are on their way back have been emptied.
        let coming = self.gaining().map(|gaining| gaining.slots.clone()).unwrap_or_default();
        let staged = self.staged_slots().cloned().unwrap_or_default();
        gain.slots.and(&Slots::new(lost)).minus(&coming).minus(&staged)
    }

    /// Begins to take slots in, or begins anew: drops whatever is left of an earlier ownership of them, from `from` on, one step.
    pub fn drop_leftovers(
        &mut self,
        gain: &Gain,
        from: Option<&Key>,
        step: Step,
    ) -> Result<Rest, StoreError> {
        if from.is_none() {
            self.note_gaining(Gaining {
                at: gain.at,
                slots: gain.slots.clone(),
                low_water: Timestamp::ZERO,
                is_complete: false,
            })?;
        }
        self.drop_versions_in(&gain.slots, from, step)
    }

    /// Copies the versions in these slots from their former owner, from `from` on, one step. The caller has seen that the source [can give](MvccStore::can_give) them.
    pub fn take_in(
        &mut self,
        source: &MvccStore<E>,
        slots: &Slots,
        from: Option<&Key>,
        step: Step,
    ) -> Result<Rest, StoreError> {
        let mut batch = Batch::new();
        let rest = walk(source.engine(), from, step, |version, slot, value| {
            if slots.contains(slot) {
                batch.put(version.to_vec(), bytes::Bytes::copy_from_slice(value));
            }
        })?;
        self.write_versions(batch)?;
        Ok(rest)
    }

    /// Everything is here: the entry can be applied. `low_water` is the highest mark among the sources.
    pub fn complete_gain(&mut self, gain: &Gain, low_water: Timestamp) -> Result<(), StoreError> {
        let slots = gain.slots.clone();
        self.note_gaining(Gaining { at: gain.at, slots, low_water, is_complete: true })
    }
}

/// Whether an entry of the versions of a checkpoint is needed to give these slots; a copy may leave the others out, and all
/// intents.
pub fn gives(slots: &Slots, key: &[u8], value: &[u8]) -> Result<bool, DecodeError> {
    if key == key::STATE || key == key::GAINING {
        return Ok(true);
    }
    Ok(key::is_version(key) && slots.contains(record::version_header(value)?.1))
}

/// How much one step looks at: it ends behind the key with which it reaches either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Versions.
    pub versions: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

impl Step {
    /// So many versions, and no more bytes than memory bears easily.
    pub const fn of(versions: usize) -> Self {
        Step { versions, bytes: 4 << 20 }
    }

    /// Everything at once.
    pub const ALL: Step = Step { versions: usize::MAX, bytes: usize::MAX };

    /// Whether so much is enough.
    pub(crate) fn is_spent(&self, versions: usize, bytes: usize) -> bool {
        versions >= self.versions || bytes >= self.bytes
    }
}

/// Shows every version from `from` on to `visit`, about as many as a step has, whole keys only.
pub(crate) fn walk<E: Engine>(
    engine: &E,
    from: Option<&Key>,
    step: Step,
    mut visit: impl FnMut(&[u8], assize_model::Slot, &[u8]),
) -> Result<Rest, StoreError> {
    let (mut lower, upper) = key::all_versions();
    if let Some(from) = from {
        lower = key::version_prefix(from);
    }
    let mut cursor = engine.cursor(Family::Versions, &lower, &upper)?;
    cursor.seek(&lower)?;
    let (mut prefix, mut examined, mut bytes) = (Vec::new(), 0, 0);
    while let Some((version, value)) = cursor.entry() {
        let (found, _) = key::split_version(version)?;
        if found != prefix {
            if step.is_spent(examined, bytes) {
                return Ok(Some(key::parse_prefix(found)?));
            }
            prefix.clear();
            prefix.extend_from_slice(found);
        }
        examined += 1;
        bytes += version.len() + value.len();
        let (_, slot): (Kind, _) = record::version_header(value)?;
        visit(version, slot, value);
        cursor.next()?;
    }
    Ok(None)
}
