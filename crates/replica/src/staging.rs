//! Copying and following slots that another shard still holds, so that the entry which gives them finds them here.
//!
//! See `assize_mvcc`'s `staging.rs` for why the order is what it is. Here it is cut into steps of bounded size, one a tick.
//! Nothing depends on it: what cannot be staged is copied when the entry comes. So whatever goes wrong (a stream that does not
//! go back far enough, writes that nobody gives, a giver that loses the slots to somebody else) ends the attempt, and whoever
//! wants the slots staged asks again.

use crate::following::{Effects, Following, has_passed, unless_full};
use crate::gaining::Gaining;
use crate::{Effect, IntentAnswer, Options, Standings};
use assize_model::{Key, Position, ShardId, ShardWrites, StreamEntry, Timestamp, TxnId, WriteDigest};
use assize_mvcc::{Engine, Gain, GiverWrites, MissingIntent, MvccStore, Slots, Staged, StoreError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Writes of the giver's commits that are asked for at a time.
const FETCHES_MAX: usize = 64;

/// How far slots are staged, for whoever wants to move them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Staging {
    /// How far the giver's stream has been applied to them; `None` while their bulk is on its way.
    pub position: Option<Position>,
    /// Rises with every step that gets anywhere.
    pub progress: u64,
}

/// Slots that are being staged.
pub(crate) struct Stager<E> {
    giver: ShardId,
    slots: Slots,
    stage: Stage<E>,
    progress: u64,
    /// When somebody last wanted them.
    wanted_at: Timestamp,
    /// Entries of the giver's stream that are not applied: the first lacks writes.
    entries: VecDeque<Arc<StreamEntry>>,
    /// Whether entries came that could not be kept.
    has_turned_away: bool,
    /// Set while the giver's stream is to go on after the staged position, and has not yet.
    resuming_since: Option<Timestamp>,
    /// Writes that were asked for.
    fetches: BTreeMap<TxnId, Fetch>,
    /// Writes that are here.
    writes: GiverWrites,
}

struct Fetch {
    digest: WriteDigest,
    asked_at: Timestamp,
    /// When they were missed first.
    since: Timestamp,
}

enum Stage<E> {
    /// What is left of an earlier ownership goes.
    Dropping { from: Option<Key> },
    /// A checkpoint of the giver was asked for.
    Asking { since: Timestamp },
    /// It is here and is being copied from.
    Copying { source: Box<MvccStore<E>>, from: Option<Key> },
    /// Everything is here and follows.
    Following,
}

/// Whether staging goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goes {
    On,
    /// It has come to nothing.
    Wrong,
}

impl<E: Engine> Stager<E> {
    pub fn new(now: Timestamp, giver: ShardId, slots: Slots) -> Self {
        Stager {
            giver,
            slots,
            stage: Stage::Dropping { from: None },
            progress: 0,
            wanted_at: now,
            entries: VecDeque::new(),
            has_turned_away: false,
            resuming_since: None,
            fetches: BTreeMap::new(),
            writes: GiverWrites::new(),
        }
    }

    /// Whether it stages just these; that somebody wants them is noted.
    pub fn is_for(&mut self, now: Timestamp, giver: ShardId, slots: &Slots) -> bool {
        let is_it = (self.giver, &self.slots) == (giver, slots);
        if is_it {
            self.wanted_at = now;
        }
        is_it
    }

    /// How far it is.
    pub fn status(&self, store: &MvccStore<E>) -> Staging {
        let is_whole = matches!(self.stage, Stage::Following);
        Staging { position: store.staged_position().filter(|_| is_whole), progress: self.progress }
    }

    /// Whether the giver is being followed.
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Dropping { .. })
    }

    /// Whether it is quicker the oftener it is ticked.
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Dropping { .. } | Stage::Copying { .. })
    }

    /// One step.
    pub fn tick(
        &mut self,
        now: Timestamp,
        store: &mut MvccStore<E>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<Goes, StoreError> {
        let is_late = |fetch: &Fetch| has_passed(now, fetch.since, options.stage_patience);
        if has_passed(now, self.wanted_at, options.stage_kept) || self.fetches.values().any(is_late) {
            return Ok(Goes::Wrong);
        }
        match &mut self.stage {
            Stage::Dropping { from } => {
                self.progress += 1;
                match store.drop_versions_in(&self.slots, from.as_ref(), options.collect_step)? {
                    Some(rest) => *from = Some(rest),
                    None => {
                        store.begin_staging(&self.slots);
                        self.follow(now, store, effects);
                        self.ask(now, store, effects);
                    }
                }
            }
            Stage::Asking { since } => {
                if has_passed(now, *since, options.copy_retry_after) {
                    self.ask(now, store, effects);
                }
            }
            Stage::Copying { source, from } => {
                self.progress += 1;
                let rest = store.take_in(source, &self.slots, from.as_ref(), options.stage_step)?;
                match rest {
                    Some(rest) => *from = Some(rest),
                    None => {
                        store.complete_staging(source.low_water());
                        self.stage = Stage::Following;
                    }
                }
            }
            Stage::Following => {}
        }
        if let Some(since) = self.resuming_since
            && has_passed(now, since, options.retry_after)
            && self.fetches.is_empty()
        {
            self.follow(now, store, effects);
        }
        self.fetch_again(now, options, effects);
        Ok(Goes::On)
    }

    /// Asks for the giver's stream from where it has been applied.
    pub fn follow(&mut self, now: Timestamp, store: &MvccStore<E>, effects: &mut Effects<E>) {
        // All of them will come again.
        self.entries.clear();
        self.has_turned_away = false;
        if let Some(after) = store.staged_position() {
            self.resuming_since = Some(now);
            effects.push(Effect::FollowGiver { giver: self.giver, after });
        }
    }

    fn ask(&mut self, now: Timestamp, store: &MvccStore<E>, effects: &mut Effects<E>) {
        self.stage = Stage::Asking { since: now };
        if let Some(gain) = store.staged_gain() {
            effects.push(Effect::AskGiver { giver: self.giver, gain });
        }
    }

    /// A checkpoint of the giver is here.
    pub fn arrived(
        &mut self,
        now: Timestamp,
        store: &MvccStore<E>,
        engine: E,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let (Stage::Asking { .. }, Some(gain)) = (&self.stage, store.staged_gain()) else {
            // One that was asked for again came twice.
            return Ok(());
        };
        let source = Box::new(MvccStore::open(engine, options.store.clone())?);
        if gives_all(&source, &gain) {
            self.stage = Stage::Copying { source, from: None };
        } else {
            self.ask(now, store, effects);
        }
        Ok(())
    }

    // The giver's stream.

    /// An entry of it.
    pub fn take_in(
        &mut self,
        now: Timestamp,
        entry: Arc<StreamEntry>,
        store: &mut MvccStore<E>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if self.entries.len() >= options.entries_max {
            // It will come again from the staged position once the writes are here.
            self.has_turned_away = true;
            return Ok(());
        }
        self.entries.push_back(entry);
        self.fetch_ahead(now, effects);
        self.apply(now, store, effects)
    }

    /// Applies what has come, as far as all its writes are here.
    pub fn apply(
        &mut self,
        now: Timestamp,
        store: &mut MvccStore<E>,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        while let Some(entry) = self.entries.front().cloned() {
            match store.stage(&entry, &self.writes)? {
                Staged::Done | Staged::Left => {
                    self.entries.pop_front();
                    self.resuming_since = None;
                    self.progress += 1;
                    for commit in &entry.commits {
                        self.writes.remove(&commit.txn);
                        self.fetches.remove(&commit.txn);
                    }
                }
                Staged::Gap { .. } => {
                    // Unless it has been asked for and is on its way.
                    self.entries.clear();
                    if self.resuming_since.is_none() {
                        self.follow(now, store, effects);
                    }
                }
                Staged::NeedFetch(missing) => {
                    missing.iter().for_each(|missing| self.fetch(now, missing, effects));
                    return Ok(());
                }
            }
        }
        if std::mem::take(&mut self.has_turned_away) {
            self.follow(now, store, effects);
        }
        Ok(())
    }

    /// Asks for the writes of what waits behind the first entry, so that they come together.
    fn fetch_ahead(&mut self, now: Timestamp, effects: &mut Effects<E>) {
        let Some(entry) = self.entries.back().cloned() else { return };
        for commit in &entry.commits {
            if let ShardWrites::Prepared { epoch, digest } = commit.writes
                && !self.writes.contains_key(&commit.txn)
                && self.fetches.len() < FETCHES_MAX
            {
                self.fetch(now, &MissingIntent { txn: commit.txn, epoch, digest }, effects);
            }
        }
    }

    fn fetch(&mut self, now: Timestamp, missing: &MissingIntent, effects: &mut Effects<E>) {
        let MissingIntent { txn, digest, .. } = *missing;
        if let Entry::Vacant(place) = self.fetches.entry(txn) {
            place.insert(Fetch { digest, asked_at: now, since: now });
            effects.push(Effect::FetchFromGiver { giver: self.giver, txn });
        }
    }

    fn fetch_again(&mut self, now: Timestamp, options: &Options, effects: &mut Effects<E>) {
        for (txn, fetch) in &mut self.fetches {
            if has_passed(now, fetch.asked_at, options.retry_after) {
                fetch.asked_at = now;
                effects.push(Effect::FetchFromGiver { giver: self.giver, txn: *txn });
            }
        }
    }

    /// What a replica of the giver says.
    pub fn answered(
        &mut self,
        now: Timestamp,
        txn: TxnId,
        answer: IntentAnswer,
        store: &mut MvccStore<E>,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        // Who has none has deleted it, or not got it yet; another one is asked later.
        let IntentAnswer::Has(intent) = answer else { return Ok(()) };
        let is_it = |fetch: &Fetch| WriteDigest::of(&intent.mutations) == fetch.digest;
        if self.fetches.get(&txn).is_some_and(is_it) {
            self.fetches.remove(&txn);
            self.writes.insert(txn, intent.mutations);
        }
        self.apply(now, store, effects)
    }
}

/// What a replica that follows its stream does about slots that are about to come.
impl<E: Engine> Following<E> {
    /// Whether the first entry, which gives these slots, only waits for the last of the giver's commits.
    pub fn tail_is_coming(&mut self, now: Timestamp, gain: &Gain, options: &Options) -> bool {
        let since = *self.waits_for_tail.get_or_insert(now);
        let is_coming = self.store.is_staged_for(gain) && !has_passed(now, since, options.stage_tail_max);
        if !is_coming {
            self.waits_for_tail = None;
        }
        is_coming
    }

    pub fn stage_asked(&mut self, now: Timestamp, giver: ShardId, slots: Slots, effects: &mut Effects<E>) {
        if self.stager.as_mut().is_some_and(|stager| stager.is_for(now, giver, &slots)) {
            return;
        }
        self.give_staging_up(effects);
        // What is about to be gained is dropped and copied by the entry that gives it.
        if self.gaining.is_none() && self.waits_for_tail.is_none() && self.store.can_stage(&slots) {
            self.stager = Some(Stager::new(now, giver, slots));
        }
    }

    pub fn is_staging(&self) -> bool {
        self.stager.is_some()
    }

    pub fn staging(&self) -> Option<Staging> {
        self.stager.as_ref().map(|stager| stager.status(&self.store))
    }

    /// Whether it would be done sooner if it were ticked oftener: slots are being taken in.
    pub fn is_taking_in(&self) -> bool {
        self.gaining.as_ref().is_some_and(Gaining::is_busy)
            || self.stager.as_ref().is_some_and(Stager::is_busy)
    }

    /// Nothing is staged any more; what was is left over, and is collected.
    pub fn give_staging_up(&mut self, effects: &mut Effects<E>) {
        if self.stager.take().is_some() {
            self.store.drop_staging();
            self.has_written = true;
            effects.push(Effect::LeaveGiver);
        }
    }

    /// An entry was applied: it may have been the one that brings the slots, or gives them to somebody else.
    pub fn end_staging(&mut self, effects: &mut Effects<E>) {
        self.waits_for_tail = None;
        let has_begun = self.stager.as_ref().is_some_and(Stager::has_begun);
        if has_begun && self.store.staged_position().is_none() {
            self.give_staging_up(effects);
        }
    }

    pub fn giver_streamed(
        &mut self,
        now: Timestamp,
        entry: Arc<StreamEntry>,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let Some(stager) = &mut self.stager else { return Ok(()) };
        if unless_full(stager.take_in(now, entry, &mut self.store, options, effects))?.is_none() {
            self.give_staging_up(effects);
        }
        self.go_on_if_staged(now, standings, options, effects)
    }

    pub fn giver_answered(
        &mut self,
        now: Timestamp,
        txn: TxnId,
        answer: IntentAnswer,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let Some(stager) = &mut self.stager else { return Ok(()) };
        if unless_full(stager.answered(now, txn, answer, &mut self.store, effects))?.is_none() {
            self.give_staging_up(effects);
        }
        self.go_on_if_staged(now, standings, options, effects)
    }

    fn go_on_if_staged(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        match self.waits_for_tail {
            Some(_) => self.apply_entries(now, standings, options, effects),
            None => Ok(()),
        }
    }

    pub fn giver_stream_lost(&mut self, now: Timestamp, effects: &mut Effects<E>) {
        if let Some(stager) = &mut self.stager {
            stager.follow(now, &self.store, effects);
        }
    }

    /// A checkpoint of the shard whose slots are being staged is here.
    pub fn giver_arrived(
        &mut self,
        now: Timestamp,
        engine: E,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        match &mut self.stager {
            Some(stager) => stager.arrived(now, &self.store, engine, options, effects),
            None => Ok(()),
        }
    }

    pub fn tick_staging(
        &mut self,
        now: Timestamp,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let Some(stager) = &mut self.stager else { return Ok(()) };
        // Without room there is no staging: the commits of this shard come first.
        let goes = unless_full(stager.tick(now, &mut self.store, options, effects))?;
        if goes != Some(Goes::On) {
            self.give_staging_up(effects);
        }
        Ok(())
    }
}

/// Whether a checkpoint has everything in the slots of a gain, or none of it is of use.
fn gives_all<E: Engine>(source: &MvccStore<E>, gain: &Gain) -> bool {
    gain.slots.minus(&source.can_give(gain)).is_empty()
}
