//! Slots that another shard still holds, copied and followed before an entry gives them to this one.
//!
//! Copying at the entry (`gain.rs`) holds readers up for as long as it takes. So whoever moves slots has the gaining replicas
//! *stage* them first: everything that is in them is copied while nobody waits, and what the giver commits meanwhile is applied
//! to the copy. When the entry comes, nothing is missing.
//!
//! ```text
//!   giver's stream   ──#6──#7──#8──#9──#10──#11──┬ #12: slots go
//!                      ▲     └ checkpoint, at or after #6: the bulk ─┐
//!   this shard         └ begins: #7 … #11 are applied to the slots ──┴──▶ #12: slots come, and nothing waits
//! ```
//!
//! In order:
//!
//! 1. **Leftovers go** ([`MvccStore::drop_versions_in`]), as before every gain.
//! 2. **The giver is followed** from this store's own position on ([`MvccStore::begin_staging`], [`MvccStore::stage`]): all
//!    streams carry the same entries, so a position of one means something in the other.
//! 3. **The bulk comes** ([`MvccStore::take_in`], [`MvccStore::complete_staging`]) from a checkpoint at or after that position.
//!    What both have is the same version twice. Nothing in these slots is collected before that: a delete that has come
//!    through the stream must still be there when the row that it deletes arrives with the bulk.
//! 4. **The entry** is applied at once if the slots are staged up to the entry before it.
//!
//! What is staged is in memory what it is: no record says so. After a crash, in a checkpoint that a sibling copies, or when
//! staging is given up, its versions are leftovers like any others, which nobody sees, which are collected, and
//! which go before the slots are gained in any other way. So nothing that is on a disk can claim to be complete and not be.

use crate::gain::{Rest, Step, walk};
use crate::store::put_versions;
use crate::{Batch, Engine, Gain, MissingIntent, MvccStore, Rule, Slots, StoreError};
use assize_model::{
    Key, LogIndex, Mutation, Position, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, WriteDigest,
};
use std::collections::BTreeMap;

/// Writes of the giver's commits that were prepared there, as its replicas gave them.
pub type GiverWrites = BTreeMap<TxnId, Vec<Mutation>>;

/// What a store remembers of slots that are being staged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Staging {
    slots: Slots,
    /// Everything that the giver committed in the slots after this is applied from its stream.
    since: LogIndex,
    /// And up to this.
    position: Position,
    /// Versions that only snapshots below this could see may be missing.
    low_water: Timestamp,
    /// Whether everything that the giver had before is here, too.
    is_copied: bool,
    /// The entry that takes the slots from the giver, once it has come.
    left_at: Option<LogIndex>,
}

impl Staging {
    /// Whether an entry that gives these slots finds all of them here.
    pub fn serves(&self, gain: &Gain, is_exact: bool) -> bool {
        let is_there = self.position.index >= gain.after && self.position.index < gain.at;
        self.may_serve(gain) && (is_there || !is_exact)
    }

    fn may_serve(&self, gain: &Gain) -> bool {
        let is_this_move = self.left_at.is_none_or(|left_at| left_at == gain.at);
        self.is_copied && is_this_move && gain.slots.minus(&self.slots).is_empty()
    }

    /// The mark that goes with the slots.
    pub fn low_water(&self) -> Timestamp {
        self.low_water
    }

    /// Whether the giver has lost the slots with an entry at or before this one.
    pub fn is_over(&self, at: LogIndex) -> bool {
        self.left_at.is_some_and(|left_at| left_at <= at)
    }

    /// What may be collected of these slots; `None`: they are others.
    pub fn collects(&self, slot: Slot) -> Option<bool> {
        self.slots.contains(slot).then_some(self.is_copied)
    }

    /// Which slots.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

/// What became of an entry of the giver's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Staged {
    /// What it commits in the slots is here, or it had been before, or nothing is staged.
    Done,
    /// Entries are missing before it. Resume the giver's stream after this position.
    Gap {
        /// The last entry that was applied.
        position: Position,
    },
    /// It cannot be applied before these writes are here.
    NeedFetch(Vec<MissingIntent>),
    /// It takes the slots from the giver; nothing more is to be expected of that stream.
    Left,
}

impl<E: Engine> MvccStore<E> {
    /// Whether slots can be staged: this shard has nothing in them that anybody may still read.
    pub fn can_stage(&self, slots: &Slots) -> bool {
        let mut ownership = self.ownership().clone();
        ownership.forget_below(self.low_water());
        let lost = ownership.lost.iter().map(|lost| &lost.slots);
        std::iter::once(&ownership.held).chain(lost).all(|kept| !kept.overlaps(slots))
    }

    /// Drops all versions in slots that are not held, from `from` on, one step.
    pub fn drop_versions_in(
        &mut self,
        slots: &Slots,
        from: Option<&Key>,
        step: Step,
    ) -> Result<Rest, StoreError> {
        if !self.keeps_rule(Rule::LeftoversBeforeGain) {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let rest = walk(self.engine(), from, step, |version, slot, _| {
            if slots.contains(slot) {
                batch.delete(version.to_vec());
            }
        })?;
        self.write_versions(batch)?;
        Ok(rest)
    }

    /// Begins to stage slots in which nothing is left; the giver's stream is to be followed after the position.
    pub fn begin_staging(&mut self, slots: &Slots) -> Position {
        let position = self.position();
        self.staging = Some(Staging {
            slots: slots.clone(),
            since: position.index,
            position,
            low_water: Timestamp::ZERO,
            is_copied: false,
            left_at: None,
        });
        position
    }

    /// How far the giver's stream has been applied to what is staged.
    pub fn staged_position(&self) -> Option<Position> {
        self.staging.as_ref().map(|staging| staging.position)
    }

    /// For what a checkpoint of the giver is asked: one that is taken where staging began, or later.
    pub fn staged_gain(&self) -> Option<Gain> {
        let staging = self.staging.as_ref()?;
        let follows_first = self.keeps_rule(Rule::StagingFollowsFirst);
        let after = if follows_first { staging.since } else { LogIndex(0) };
        Some(Gain { at: LogIndex(u64::MAX), after, slots: staging.slots.clone() })
    }

    /// The bulk is here. `low_water` is its source's mark.
    pub fn complete_staging(&mut self, low_water: Timestamp) {
        if let Some(staging) = &mut self.staging {
            staging.is_copied = true;
            staging.low_water = low_water;
        }
    }

    /// Applies an entry of the giver's stream to the slots that are staged. `writes` has those of its commits that were
    /// prepared.
    pub fn stage(&mut self, entry: &StreamEntry, writes: &GiverWrites) -> Result<Staged, StoreError> {
        let Some(staging) = &self.staging else { return Ok(Staged::Done) };
        if staging.left_at.is_some() || entry.position <= staging.position {
            return Ok(Staged::Done);
        }
        if entry.after > staging.position.index {
            return Ok(Staged::Gap { position: staging.position });
        }
        let missing = missing_writes(entry, writes);
        if !missing.is_empty() {
            return Ok(Staged::NeedFetch(missing));
        }
        let left = entry.slots.as_ref().is_some_and(|held| {
            let held = Slots::new(held.clone());
            !staging.slots.minus(&held).is_empty()
        });
        if left {
            self.staging.as_mut().expect("looked at above").left_at = Some(entry.position.index);
            return Ok(Staged::Left);
        }
        let mut batch = Batch::new();
        for commit in &entry.commits {
            let mutations = match &commit.writes {
                ShardWrites::Inline(mutations) => mutations,
                ShardWrites::Prepared { .. } => &writes[&commit.txn],
            };
            let here: Vec<Mutation> =
                mutations.iter().filter(|mutation| staging.slots.contains(mutation.slot)).cloned().collect();
            put_versions(&mut batch, commit.commit_ts, &here);
        }
        self.write_versions(batch)?;
        self.staging.as_mut().expect("looked at above").position = entry.position;
        Ok(Staged::Done)
    }

    /// Gives up what is staged: from here on its versions are leftovers.
    pub fn drop_staging(&mut self) {
        self.staging = None;
    }

    /// Whether what is staged will do for a gain once the giver's stream has come to the entry before it.
    pub fn is_staged_for(&self, gain: &Gain) -> bool {
        self.staging.as_ref().is_some_and(|staging| staging.may_serve(gain))
    }
}

fn missing_writes(entry: &StreamEntry, writes: &GiverWrites) -> Vec<MissingIntent> {
    let prepared = entry.commits.iter().filter_map(|commit| match commit.writes {
        ShardWrites::Prepared { epoch, digest } => Some(MissingIntent { txn: commit.txn, epoch, digest }),
        ShardWrites::Inline(_) => None,
    });
    let is_missing = |missing: &MissingIntent| {
        writes.get(&missing.txn).is_none_or(|writes| WriteDigest::of(writes) != missing.digest)
    };
    prepared.filter(is_missing).collect()
}
