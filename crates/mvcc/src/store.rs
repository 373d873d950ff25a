//! The writing half: prepares, the decision stream, and what may be forgotten when.

use crate::gain::Gaining;
use crate::reader::{Progress, skip_versions};
use crate::record::{self, IntentHeader, State};
use crate::staging::Staging;
use crate::{
    Batch, ChangedAt, ContentHash, Cursor, Direction, Durability, Engine, EngineError, Family, Gain, Options,
    Ownership, Page, ReadError, Reader, Rule, ScanBatch, Slots, Step, key,
};
use assize_codec::DecodeError;
use assize_model::{
    Epoch, Key, KeyRange, LogIndex, Mutation, MutationOp, Position, ShardWrites, Slot, StreamEntry,
    Timestamp, TxnId, Vote, VoteRefusal, WriteDigest,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

/// The store cannot go on. None of these is tried again: the replica stops, and is rebuilt if need be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Stored bytes are not a record of ours.
    #[error("stored record cannot be read: {0}")]
    Undecodable(#[from] DecodeError),
    /// An intent's parts do not add up to what its header says.
    #[error("intent of {txn} is incomplete: {found} of {expected} parts")]
    IntentIncomplete {
        /// Whose intent.
        txn: TxnId,
        /// How many parts its header names.
        expected: u32,
        /// How many there are.
        found: u32,
    },
}

/// What a participant is asked to promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepare {
    /// The transaction.
    pub txn: TxnId,
    /// The shard's placement epoch by which its writes were routed.
    pub epoch: Epoch,
    /// Its writes on this shard.
    pub mutations: Vec<Mutation>,
}

/// An intent as one replica keeps it and another may fetch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// The epoch at which it was prepared.
    pub epoch: Epoch,
    /// Its mutations.
    pub mutations: Vec<Mutation>,
}

/// An intent that a decision names and this replica lacks, or has with other contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingIntent {
    /// The transaction.
    pub txn: TxnId,
    /// The epoch at which it was prepared.
    pub epoch: Epoch,
    /// What its mutations must add up to.
    pub digest: WriteDigest,
}

/// What became of a stream entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Its versions are visible, and this is the replica's position now.
    Done(Position),
    /// It had been applied before; nothing changed.
    Already(Position),
    /// Entries are missing before it; nothing changed. Resume the stream after this position.
    Gap {
        /// The last entry that was applied.
        position: Position,
    },
    /// It cannot be applied before these intents have been fetched; nothing changed.
    NeedFetch(Vec<MissingIntent>),
    /// It gives this shard slots whose versions are with another one; nothing changed. See `gain.rs`.
    NeedSlots(Gain),
}

/// How far one call of [`MvccStore::collect_versions`] came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// How many versions were looked at.
    pub examined: usize,
    /// How many were dropped.
    pub dropped: usize,
    /// Where to go on; `None`: everything has been looked at.
    pub next: Option<Key>,
}

/// What the table of intents remembers of one.
#[derive(Clone, Copy, Debug)]
struct Held {
    header: IntentHeader,
    /// Whether a crash certainly leaves it.
    is_synced: bool,
    /// The log entry that decided it, once it was applied.
    decided: Option<LogIndex>,
}

/// Versions and intents of one shard replica. Reads go through a [`Reader`], which can be cloned away; everything
/// that changes the store goes through `&mut self`.
pub struct MvccStore<E> {
    reader: Reader<E>,
    state: State,
    intents: BTreeMap<TxnId, Held>,
    /// Undecided intents by deadline, for R2.
    undecided: BTreeSet<(Timestamp, TxnId)>,
    /// Decided intents by deciding entry, for lazy deletion.
    decided: BTreeSet<(LogIndex, TxnId)>,
    /// A gain that has begun and whose entry is not applied.
    gaining: Option<Gaining>,
    /// Slots that another shard still holds and that are being copied. In memory only.
    pub(crate) staging: Option<Staging>,
    options: Options,
}

impl<E: Engine> MvccStore<E> {
    /// Opens what an engine holds; an empty engine becomes a replica at position zero with the epoch and slots of
    /// the options.
    pub fn open(engine: E, options: Options) -> Result<Self, StoreError> {
        let state = match engine.get(Family::Versions, key::STATE)? {
            Some(bytes) => record::decode_state(&bytes)?,
            None => State {
                position: Position::default(),
                epoch: options.epoch,
                low_water: Timestamp::ZERO,
                ownership: Ownership::new(options.slots.clone()),
            },
        };
        let gaining = engine.get(Family::Versions, key::GAINING)?;
        let gaining = gaining.map(|bytes| record::decode_gaining(&bytes)).transpose()?;
        let progress = Progress {
            closed_ts: state.position.closed_ts.0.into(),
            low_water: state.low_water.0.into(),
            epoch: state.epoch.0.into(),
            ownership: RwLock::new(Arc::new(state.ownership.clone())),
        };
        let mut store = MvccStore {
            reader: Reader::new(Arc::new(engine), progress, options.clone()),
            state,
            intents: BTreeMap::new(),
            undecided: BTreeSet::new(),
            decided: BTreeSet::new(),
            gaining,
            staging: None,
            options,
        };
        store.load_intents()?;
        Ok(store)
    }

    fn load_intents(&mut self) -> Result<(), StoreError> {
        let mut marks = read_marks(self.engine())?;
        for (txn, header) in read_headers(self.engine())? {
            let decided = marks.remove(&txn);
            self.hold(txn, Held { header, is_synced: true, decided });
        }
        // A mark without its intent is left over from a crash between the two deletions.
        let mut batch = Batch::new();
        for txn in marks.into_keys() {
            batch.delete(key::decided(txn));
        }
        self.write_versions(batch)
    }

    /// The reading half, for other threads.
    pub fn reader(&self) -> Reader<E> {
        self.reader.clone()
    }

    /// The engine, for the hands that opened it.
    pub fn engine(&self) -> &E {
        self.reader.engine()
    }

    /// How far the stream has been applied.
    pub fn position(&self) -> Position {
        self.state.position
    }

    /// How far the stream would have been applied after a crash now.
    pub fn durable_position(&self) -> Result<Position, StoreError> {
        match self.engine().persisted(key::STATE)? {
            Some(bytes) => Ok(record::decode_state(&bytes)?.position),
            None => Ok(Position::default()),
        }
    }

    /// Makes the position durable, and all versions with it; returns it.
    pub fn flush(&mut self) -> Result<Position, StoreError> {
        self.engine().flush()?;
        Ok(self.state.position)
    }

    /// Begins to make the position durable; [`MvccStore::durable_position`] tells when it is.
    pub fn begin_flush(&mut self) -> Result<(), StoreError> {
        Ok(self.engine().begin_flush()?)
    }

    /// The shard's placement epoch at the position.
    pub fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    /// The slots that are held at the position.
    pub fn slots(&self) -> &Slots {
        &self.state.ownership.held
    }

    /// Snapshots below this are refused.
    pub fn low_water(&self) -> Timestamp {
        self.state.low_water
    }

    /// As [`Reader::get`].
    pub fn get(&self, key: &Key, snapshot_ts: Timestamp) -> Result<Option<Bytes>, ReadError> {
        self.reader.get(key, snapshot_ts)
    }

    /// As [`Reader::scan`].
    pub fn scan(
        &self,
        range: &KeyRange,
        snapshot_ts: Timestamp,
        direction: Direction,
        limit: usize,
    ) -> Result<ScanBatch, ReadError> {
        self.reader.scan(range, snapshot_ts, direction, limit)
    }

    /// As [`Reader::newest_commit`].
    pub fn newest_commit(&self, key: &Key) -> Result<Option<Timestamp>, StoreError> {
        self.reader.newest_commit(key)
    }

    /// As [`Reader::newest_commit_in`].
    pub fn newest_commit_in(&self, range: &KeyRange) -> Result<Option<Timestamp>, StoreError> {
        self.reader.newest_commit_in(range)
    }

    /// As [`Reader::hash_content`], over all keys at once.
    pub fn hash_content(&self, slots: &Slots, snapshot_ts: Timestamp) -> Result<ContentHash, ReadError> {
        Ok(self.reader.hash_content(slots, snapshot_ts, &Page::all(), Step::ALL)?.0)
    }

    // Prepares.

    /// Votes on some prepares; the intents of all that get a Yes are on disk, by one synced write, when this returns.
    ///
    /// Repeating a prepare repeats its vote: a lost reply costs nothing.
    pub fn prepare(&mut self, prepares: &[Prepare]) -> Result<Vec<Vote>, StoreError> {
        let mut batch = Batch::new();
        let mut fresh: BTreeMap<TxnId, IntentHeader> = BTreeMap::new();
        let mut votes = Vec::with_capacity(prepares.len());
        for prepare in prepares {
            let digest = WriteDigest::of(&prepare.mutations);
            let vote = self.vote(prepare, digest, &fresh);
            let is_on_disk = self.intents.get(&prepare.txn).is_some_and(|held| held.is_synced)
                || fresh.contains_key(&prepare.txn);
            if vote.is_yes() && !is_on_disk {
                let header = put_intent(&mut batch, prepare.txn, prepare.epoch, digest, &prepare.mutations);
                fresh.insert(prepare.txn, header);
            }
            votes.push(vote);
        }
        if !batch.is_empty() {
            self.engine().write(Family::Intents, batch, Durability::Synced)?;
        }
        for (txn, header) in fresh {
            let decided = self.intents.get(&txn).and_then(|held| held.decided);
            self.hold(txn, Held { header, is_synced: true, decided });
        }
        Ok(votes)
    }

    fn vote(&self, prepare: &Prepare, digest: WriteDigest, fresh: &BTreeMap<TxnId, IntentHeader>) -> Vote {
        if prepare.epoch != self.state.epoch && self.options.keeps(Rule::EpochCheck) {
            return Vote::No(VoteRefusal::StaleEpoch { current: self.state.epoch });
        }
        let held = self.intents.get(&prepare.txn);
        let header = held.map(|held| &held.header).or_else(|| fresh.get(&prepare.txn));
        if let Some(header) = header
            && (header.digest, header.epoch) != (digest, prepare.epoch)
        {
            return Vote::No(VoteRefusal::DifferentWrites);
        }
        let is_decided = held.is_some_and(|held| held.decided.is_some());
        let closed_ts = self.state.position.closed_ts;
        if !is_decided && closed_ts > prepare.txn.deadline() && self.options.keeps(Rule::R2) {
            return Vote::No(VoteRefusal::DeadlinePassed { closed_ts });
        }
        Vote::Yes
    }

    /// Takes in an intent that a sibling had. It need not survive a crash: the sibling keeps it until this replica is
    /// durable past its decision.
    pub fn install_intent(&mut self, txn: TxnId, intent: &Intent) -> Result<(), StoreError> {
        let digest = WriteDigest::of(&intent.mutations);
        let mut batch = Batch::new();
        self.delete_parts(&mut batch, txn);
        let header = put_intent(&mut batch, txn, intent.epoch, digest, &intent.mutations);
        self.engine().write(Family::Intents, batch, Durability::Logged)?;
        let decided = self.intents.get(&txn).and_then(|held| held.decided);
        self.hold(txn, Held { header, is_synced: false, decided });
        Ok(())
    }

    /// Takes over the intents of a store that this one replaces, as if the entry `decided` had decided all of them: siblings
    /// may still need those that were, until they are durable past it; the others nobody can commit any more, because the
    /// shard's epoch has risen since.
    pub fn inherit_intents(&mut self, former: &MvccStore<E>, decided: LogIndex) -> Result<(), StoreError> {
        for (txn, held) in &former.intents {
            if self.intents.contains_key(txn) {
                continue;
            }
            let mutations = match former.mutations_of(*txn, &held.header) {
                Ok(mutations) => mutations,
                // What is damaged is nothing to inherit; it may be why the former store goes.
                Err(StoreError::Undecodable(_) | StoreError::IntentIncomplete { .. }) => continue,
                Err(error) => return Err(error),
            };
            // The mark first: an intent without its mark would look undecided.
            let mut mark = Batch::new();
            mark.put(key::decided(*txn), record::encode_decided(decided));
            self.write_versions(mark)?;
            let mut batch = Batch::new();
            let Held { header, .. } = held;
            let header = put_intent(&mut batch, *txn, header.epoch, header.digest, &mutations);
            self.engine().write(Family::Intents, batch, Durability::Logged)?;
            self.hold(*txn, Held { header, is_synced: false, decided: Some(decided) });
        }
        Ok(())
    }

    /// An intent, for a sibling that missed it.
    pub fn intent(&self, txn: TxnId) -> Result<Option<Intent>, StoreError> {
        let Some(held) = self.intents.get(&txn) else { return Ok(None) };
        Ok(Some(Intent { epoch: held.header.epoch, mutations: self.mutations_of(txn, &held.header)? }))
    }

    /// Whether the intent of a transaction is held.
    pub fn has_intent(&self, txn: TxnId) -> bool {
        self.intents.contains_key(&txn)
    }

    /// How many intents are held that are not decided.
    pub fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// Transactions whose intents are held, with whether each is decided.
    pub fn intents(&self) -> impl Iterator<Item = (TxnId, bool)> + '_ {
        self.intents.iter().map(|(txn, held)| (*txn, held.decided.is_some()))
    }

    /// Drops the intent of a transaction that its coordinator will never commit. Only a hint: without it the
    /// deadline does the same, later. Does nothing if the transaction is decided here.
    pub fn forget(&mut self, txn: TxnId) -> Result<(), StoreError> {
        match self.intents.get(&txn) {
            Some(held) if held.decided.is_none() => self.delete_intents(&[txn]),
            _ => Ok(()),
        }
    }

    // The decision stream.

    /// Applies one entry: its versions, the position and everything else it says become visible together.
    pub fn apply(&mut self, entry: &StreamEntry) -> Result<Applied, StoreError> {
        let position = self.state.position;
        // An entry that only closes timestamps, without one in the log, bears the index of the entry it follows.
        let is_closing = entry.after == entry.position.index && entry.commits.is_empty();
        let is_new = entry.position.index > position.index
            || is_closing && entry.position > position && entry.after == position.index;
        if !is_new {
            return Ok(Applied::Already(position));
        }
        if entry.after != position.index {
            return Ok(Applied::Gap { position });
        }
        let missing = self.missing_intents(entry);
        if !missing.is_empty() {
            return Ok(Applied::NeedFetch(missing));
        }
        if let Some(gain) = self.missing_slots(entry) {
            return Ok(Applied::NeedSlots(gain));
        }
        let mut batch = Batch::new();
        let mut newly_decided = Vec::new();
        for commit in &entry.commits {
            match &commit.writes {
                ShardWrites::Inline(mutations) => put_versions(&mut batch, commit.commit_ts, mutations),
                ShardWrites::Prepared { .. } => {
                    let header = self.intents[&commit.txn].header;
                    let mutations = self.mutations_of(commit.txn, &header)?;
                    put_versions(&mut batch, commit.commit_ts, &mutations);
                    batch.put(key::decided(commit.txn), record::encode_decided(entry.position.index));
                    newly_decided.push(commit.txn);
                }
            }
        }
        let state = self.state_after(entry);
        batch.put(key::STATE.to_vec(), record::encode_state(&state));
        let ends_gain = self.gaining.as_ref().is_some_and(|gaining| gaining.at <= entry.position.index);
        if ends_gain {
            batch.delete(key::GAINING.to_vec());
        }
        self.write_versions(batch)?;
        self.publish(state);
        if ends_gain {
            self.gaining = None;
        }
        let at = entry.position.index;
        let gives_slots =
            entry.slots.is_some() && self.staged_slots().is_some_and(|slots| slots.overlaps(self.slots()));
        if gives_slots || self.staging.as_ref().is_some_and(|staging| staging.is_over(at)) {
            // They have come, or they have gone elsewhere.
            self.staging = None;
        }
        for txn in &newly_decided {
            let held = self.intents.get_mut(txn).expect("looked up above");
            held.decided = Some(entry.position.index);
            self.undecided.remove(&(txn.deadline(), *txn));
            self.decided.insert((entry.position.index, *txn));
        }
        if !self.options.keeps(Rule::LazyIntentDeletion) {
            self.delete_intents(&newly_decided)?;
        }
        Ok(Applied::Done(self.state.position))
    }

    fn missing_intents(&self, entry: &StreamEntry) -> Vec<MissingIntent> {
        let mut missing = Vec::new();
        for commit in &entry.commits {
            if let ShardWrites::Prepared { epoch, digest } = commit.writes {
                let is_here = self.intents.get(&commit.txn).is_some_and(|held| held.header.digest == digest);
                if !is_here {
                    missing.push(MissingIntent { txn: commit.txn, epoch, digest });
                }
            }
        }
        missing
    }

    /// What an entry gives to this shard and is not here. At its very beginning a shard has what it is given: nothing.
    fn missing_slots(&self, entry: &StreamEntry) -> Option<Gain> {
        let gained = Slots::new(entry.slots.clone()?).minus(&self.state.ownership.held);
        let is_beginning = self.state.position.index == LogIndex(0);
        let at = entry.position.index;
        let is_complete =
            self.gaining.as_ref().is_some_and(|gaining| gaining.is_complete && gaining.at == at);
        if gained.is_empty() || is_beginning || is_complete {
            return None;
        }
        let gain = Gain { at, after: entry.after, slots: gained };
        self.staging_for(&gain).is_none().then_some(gain)
    }

    /// What is staged, if it is all that an entry gives.
    fn staging_for(&self, gain: &Gain) -> Option<&Staging> {
        let is_exact = self.options.keeps(Rule::StagedUpToTheEntry);
        self.staging.as_ref().filter(|staging| staging.serves(gain, is_exact))
    }

    fn state_after(&self, entry: &StreamEntry) -> State {
        let mut state = self.state.clone();
        state.position = Position {
            index: entry.position.index,
            // Both rise together; an entry can never take a snapshot back that was readable.
            closed_ts: entry.position.closed_ts.max(state.position.closed_ts),
        };
        let before = state.epoch;
        state.epoch = entry.epoch.unwrap_or(before);
        if let Some(slots) = &entry.slots {
            let at = entry.position.index;
            let closed_ts = state.position.closed_ts;
            let changed = ChangedAt { at, closed_ts, before, after: state.epoch };
            match self.state.position.index == LogIndex(0) {
                true => state.ownership = Ownership::new(Slots::new(slots.clone())),
                false => state.ownership.change(Slots::new(slots.clone()), changed),
            }
        }
        if let Some(gaining) = self.gaining.as_ref().filter(|gaining| gaining.at == entry.position.index) {
            // The mark may be ahead of the position for a moment: of the slots that came, nothing older is here.
            state.low_water = state.low_water.max(gaining.low_water);
        }
        let gained = state.ownership.held.minus(&self.state.ownership.held);
        if let Some(staging) = self.staging.as_ref().filter(|staging| staging.slots().overlaps(&gained)) {
            state.low_water = state.low_water.max(staging.low_water());
        }
        if let Some(low_water) = entry.low_water {
            state.low_water = state.low_water.max(low_water.min(state.position.closed_ts));
        }
        state
    }

    /// Shows a state that the engine already holds to readers.
    fn publish(&mut self, state: State) {
        let progress = self.reader.progress();
        if state.ownership != self.state.ownership {
            *progress.ownership.write().expect("no reader panics while it holds the lock") =
                Arc::new(state.ownership.clone());
        }
        progress.low_water.store(state.low_water.0, Ordering::Release);
        progress.epoch.store(state.epoch.0, Ordering::Release);
        // Last: from here on reads at the new snapshots are admitted.
        progress.closed_ts.store(state.position.closed_ts.0, Ordering::Release);
        self.state = state;
    }

    // What may be forgotten.

    /// Deletes intents that nobody can need any more:
    ///
    /// * undecided ones whose deadline the closed timestamp has passed (R2);
    /// * decided ones, once this replica **and** every sibling that counts is durable past the decision. `siblings` is
    ///   the least durable position among those siblings, learners included; `None` if there are none.
    ///
    /// Returns how many went.
    pub fn collect_intents(&mut self, siblings: Option<LogIndex>) -> Result<usize, StoreError> {
        let mut gone = Vec::new();
        if self.options.keeps(Rule::R2) {
            let closed_ts = self.state.position.closed_ts;
            gone.extend(self.undecided.iter().take_while(|(at, _)| closed_ts > *at).map(|(_, txn)| *txn));
        }
        if !self.decided.is_empty() {
            let mine = self.durable_position()?.index;
            let passed = siblings.map_or(mine, |theirs| theirs.min(mine));
            gone.extend(self.decided.iter().take_while(|(at, _)| *at <= passed).map(|(_, txn)| *txn));
        }
        self.delete_intents(&gone)?;
        Ok(gone.len())
    }

    fn delete_intents(&mut self, txns: &[TxnId]) -> Result<(), StoreError> {
        if txns.is_empty() {
            return Ok(());
        }
        let mut intents = Batch::new();
        let mut marks = Batch::new();
        for txn in txns {
            self.delete_parts(&mut intents, *txn);
            if self.intents.get(txn).is_some_and(|held| held.decided.is_some()) {
                marks.delete(key::decided(*txn));
            }
        }
        // The intent first: should a crash come between, a mark without an intent is harmless, while an intent
        // without its mark would look undecided.
        self.engine().write(Family::Intents, intents, Durability::Logged)?;
        self.write_versions(marks)?;
        for txn in txns {
            self.release(*txn);
        }
        Ok(())
    }

    /// Part by part: engines pay for a range deletion on every later read near it, and intents come and go all day.
    fn delete_parts(&self, batch: &mut Batch, txn: TxnId) {
        if let Some(held) = self.intents.get(&txn) {
            (0..=held.header.parts).for_each(|part| batch.delete(key::intent(txn, part)));
        }
    }

    /// Drops versions that no snapshot at or above the low-water mark can see, lock markers at or below it, and
    /// versions in slots that were lost below it. Looks at about as much as a step has from `from` on (`None`: from
    /// the start); call again with [`Collected::next`].
    pub fn collect_versions(&mut self, from: Option<&Key>, step: Step) -> Result<Collected, StoreError> {
        let (mut lower, upper) = key::all_versions();
        if let Some(from) = from {
            lower = key::version_prefix(from);
        }
        if from.is_none() {
            let mut state = self.state.clone();
            state.ownership.forget_below(state.low_water);
            if state != self.state {
                let mut batch = Batch::new();
                batch.put(key::STATE.to_vec(), record::encode_state(&state));
                self.write_versions(batch)?;
                self.publish(state);
            }
        }
        let mut collected = Collected::default();
        let mut batch = Batch::new();
        let engine = self.reader.engine();
        let mut cursor = engine.cursor(Family::Versions, &lower, &upper)?;
        cursor.seek(&lower)?;
        let (mut prefix, mut bytes) = (Vec::new(), 0);
        // Whether the version that the low-water mark itself shows has been met for this key.
        let mut is_covered = false;
        while let Some((version, value)) = cursor.entry() {
            let (found, commit_ts) = key::split_version(version)?;
            if found != prefix {
                if step.is_spent(collected.examined, bytes) {
                    collected.next = Some(key::parse_prefix(found)?);
                    break;
                }
                prefix.clear();
                prefix.extend_from_slice(found);
                is_covered = false;
            }
            collected.examined += 1;
            bytes += version.len() + value.len();
            let (kind, slot) = record::version_header(value)?;
            let staged = self.staging.as_ref().and_then(|staging| staging.collects(slot));
            let is_wanted = self.state.ownership.keeps(slot) || self.is_gaining(slot) || staged.is_some();
            let is_kept = is_wanted
                && (commit_ts > self.state.low_water || kind == record::Kind::Put && !is_covered)
                // What it covers may still be on its way.
                || staged == Some(false) && self.options.keeps(Rule::StagedIsKept);
            // A lock marker shows nothing, so it does not cover what lies beneath it.
            is_covered |= commit_ts <= self.state.low_water && kind != record::Kind::Lock;
            if !is_kept {
                batch.delete(version.to_vec());
                collected.dropped += 1;
            }
            cursor.next()?;
        }
        drop(cursor);
        self.write_versions(batch)?;
        Ok(collected)
    }

    /// Whether any version lies in these slots: a shard may gain a slot only once nothing is left of an earlier
    /// ownership of it. Looks at everything; for the rare moment before a move.
    pub fn has_versions_in(&self, slots: &Slots) -> Result<bool, StoreError> {
        let (lower, upper) = key::all_versions();
        let mut cursor = self.engine().cursor(Family::Versions, &lower, &upper)?;
        let mut prefix = Vec::new();
        cursor.seek(&lower)?;
        while let Some((version, value)) = cursor.entry() {
            if slots.contains(record::version_header(value)?.1) {
                return Ok(true);
            }
            prefix.clear();
            prefix.extend_from_slice(key::split_version(version)?.0);
            skip_versions(&mut cursor, &mut prefix)?;
        }
        Ok(false)
    }

    // Helpers.

    /// A gain that has begun and is not complete.
    pub(crate) fn gaining(&self) -> Option<&Gaining> {
        self.gaining.as_ref().filter(|gaining| !gaining.is_complete)
    }

    pub(crate) fn ownership(&self) -> &Ownership {
        &self.state.ownership
    }

    pub(crate) fn keeps_rule(&self, rule: Rule) -> bool {
        self.options.keeps(rule)
    }

    pub(crate) fn staged_slots(&self) -> Option<&Slots> {
        self.staging.as_ref().map(Staging::slots)
    }

    fn is_gaining(&self, slot: Slot) -> bool {
        self.gaining.as_ref().is_some_and(|gaining| gaining.slots.contains(slot))
    }

    pub(crate) fn note_gaining(&mut self, gaining: Gaining) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(key::GAINING.to_vec(), record::encode_gaining(&gaining));
        self.write_versions(batch)?;
        self.gaining = Some(gaining);
        Ok(())
    }

    fn hold(&mut self, txn: TxnId, held: Held) {
        match held.decided {
            Some(index) => self.decided.insert((index, txn)),
            None => self.undecided.insert((txn.deadline(), txn)),
        };
        self.intents.insert(txn, held);
    }

    fn release(&mut self, txn: TxnId) {
        if let Some(held) = self.intents.remove(&txn) {
            match held.decided {
                Some(index) => self.decided.remove(&(index, txn)),
                None => self.undecided.remove(&(txn.deadline(), txn)),
            };
        }
    }

    fn mutations_of(&self, txn: TxnId, header: &IntentHeader) -> Result<Vec<Mutation>, StoreError> {
        // The count is believed only as far as it costs nothing.
        let mut mutations = Vec::with_capacity(header.digest.count.min(1 << 12) as usize);
        let mut found = 0;
        let (_, upper) = key::intent_bounds(txn);
        let lower = key::intent(txn, 1);
        let mut cursor = self.engine().cursor(Family::Intents, &lower, &upper)?;
        cursor.seek(&lower)?;
        while cursor.entry().is_some() {
            record::decode_part(&cursor.value(), &mut mutations)?;
            found += 1;
            cursor.next()?;
        }
        if found != header.parts || mutations.len() != header.digest.count as usize {
            return Err(StoreError::IntentIncomplete { txn, expected: header.parts, found });
        }
        Ok(mutations)
    }

    pub(crate) fn write_versions(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.engine().write(Family::Versions, batch, Durability::Buffered)?)
    }
}

/// The entries that decided the intents that are still here.
pub(crate) fn read_marks<E: Engine>(engine: &E) -> Result<BTreeMap<TxnId, LogIndex>, StoreError> {
    let mut marks = BTreeMap::new();
    let (lower, upper) = key::all_decided();
    let mut cursor = engine.cursor(Family::Versions, &lower, &upper)?;
    cursor.seek(&lower)?;
    while let Some((at, value)) = cursor.entry() {
        marks.insert(key::parse_decided(at)?, record::decode_decided(value)?);
        cursor.next()?;
    }
    Ok(marks)
}

fn read_headers<E: Engine>(engine: &E) -> Result<Vec<(TxnId, IntentHeader)>, StoreError> {
    let mut headers = Vec::new();
    let (lower, upper) = key::all_intents();
    let mut cursor = engine.cursor(Family::Intents, &lower, &upper)?;
    cursor.seek(&lower)?;
    while let Some((at, value)) = cursor.entry() {
        let (txn, part) = key::parse_intent(at)?;
        if part == 0 {
            headers.push((txn, record::decode_intent(value)?));
        }
        // Parts can be large: go from header to header.
        cursor.seek(&key::intent_bounds(txn).1)?;
    }
    Ok(headers)
}

fn put_intent(
    batch: &mut Batch,
    txn: TxnId,
    epoch: Epoch,
    digest: WriteDigest,
    mutations: &[Mutation],
) -> IntentHeader {
    let parts = record::encode_parts(mutations);
    let header = IntentHeader { epoch, digest, parts: parts.len() as u32 };
    batch.put(key::intent(txn, 0), record::encode_intent(&header));
    for (n, part) in (1..).zip(parts) {
        batch.put(key::intent(txn, n), part);
    }
    header
}

pub(crate) fn put_versions(batch: &mut Batch, commit_ts: Timestamp, mutations: &[Mutation]) {
    // Lock markers first: should one transaction both lock and write a key, the write must be what stays.
    let is_lock = |mutation: &&Mutation| matches!(mutation.op, MutationOp::Lock);
    let locks = mutations.iter().filter(is_lock);
    let writes = mutations.iter().filter(|mutation| !is_lock(mutation));
    for mutation in locks.chain(writes) {
        let record = record::encode_version(&mutation.op, mutation.slot);
        batch.put(key::version(&mutation.key, commit_ts), record);
    }
}
