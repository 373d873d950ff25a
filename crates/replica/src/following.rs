//! The ordinary phase: a store that follows its shard's decision stream.

use crate::comparing::Comparing;
use crate::gaining::Gaining;
use crate::staging::Stager;
use crate::{Alarm, Effect, IntentAnswer, Options, ReadRefusal, RequestId, Rule, Standings};
use assize_model::{
    Epoch, Key, LogIndex, Position, ReplicaId, ShardWrites, StreamEntry, Timestamp, TxnId, Vote, VoteRefusal,
    WriteDigest,
};
use assize_mvcc::{Applied, Engine, EngineError, MissingIntent, MvccStore, Prepare, StoreError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Where a replica goes from here.
pub(crate) enum Next {
    Stay,
    Rebuild,
    Halt(Alarm),
}

/// Intents that are asked for at a time before the entries that need them are the first.
const AHEAD_MAX: usize = 64;

/// An intent that the stream commits and this replica lacks.
struct Fetch {
    missing: MissingIntent,
    decided: LogIndex,
    /// Siblings that do not have it.
    without: BTreeSet<ReplicaId>,
    asked_at: Timestamp,
    /// Set once all siblings have said no: standings as of at least this entry tell whether that breaks a promise.
    confirming: Option<LogIndex>,
    /// The latest entry as of which a sibling that said no knew the standings.
    as_of: LogIndex,
}

/// A store that follows its stream, and everybody who waits for it.
pub(crate) struct Following<E> {
    pub store: MvccStore<E>,
    /// Entries that arrived and are not applied: the first lacks an intent.
    entries: VecDeque<Arc<StreamEntry>>,
    fetches: BTreeMap<TxnId, Fetch>,
    /// What later entries lack, and when it was asked for. Nothing depends on the answers: what does not come is fetched when
    /// its entry is the first.
    ahead: BTreeMap<TxnId, (WriteDigest, Timestamp)>,
    /// Entries up to this have been looked at for what they lack.
    looked_ahead: LogIndex,
    /// Commits whose writes nobody has any more, and whose loss is forgiven.
    lost: BTreeSet<TxnId>,
    /// Slots that the first entry gives to this shard and that are on their way.
    pub gaining: Option<Gaining<E>>,
    /// Slots that another shard holds and that are about to come here.
    pub stager: Option<Stager<E>>,
    /// Since when the first entry waits for the last commits of slots that are staged.
    pub waits_for_tail: Option<Timestamp>,
    /// Whether entries came that could not be kept.
    has_turned_away: bool,
    /// Set while the stream is to go on after the store's position, and has not yet.
    resuming_since: Option<Timestamp>,
    /// Reads of snapshots that the position has not reached.
    reads: BTreeMap<(Timestamp, RequestId), Option<Epoch>>,
    /// Prepares of an epoch that the position has not reached.
    prepares: Vec<(RequestId, Prepare)>,
    /// Learners that wait for the position to pass their registration.
    learners: BTreeMap<ReplicaId, LogIndex>,
    /// Until when each earlier epoch held, as far as this process has seen it end.
    past_epochs: BTreeMap<Epoch, Timestamp>,
    flushed_at: Timestamp,
    /// The position when the last flush began.
    flushed: LogIndex,
    /// Whether commits were applied since.
    has_unflushed: bool,
    reported: LogIndex,
    asked_standings_at: Timestamp,
    collecting: Collecting,
    /// When the last step of that was made.
    collected_at: Timestamp,
    pub comparing: Comparing,
    /// Whether commits were applied since the last walk began.
    pub has_written: bool,
    /// Whether the last entry found no room.
    is_full: bool,
}

/// A walk over all versions for what can be dropped.
enum Collecting {
    /// Done for this low-water mark, at this time.
    Idle { mark: Timestamp, since: Timestamp },
    /// On its way for this mark.
    Running { mark: Timestamp, from: Option<Key> },
}

pub(crate) type Effects<E> = Vec<Effect<<E as Engine>::Checkpoint>>;

pub(crate) fn has_passed(now: Timestamp, since: Timestamp, limit: Duration) -> bool {
    now >= since.later(limit)
}

/// A full disk is no failure of the store: nothing of the write is visible, and it can be tried again once there is room.
/// `None` says that it was full.
pub(crate) fn unless_full<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(StoreError::Engine(EngineError::Full { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everybody but this replica.
pub(crate) fn siblings(standings: &Standings, me: ReplicaId) -> impl Iterator<Item = ReplicaId> + '_ {
    standings.replicas.keys().copied().filter(move |replica| *replica != me)
}

impl<E: Engine> Following<E> {
    pub fn new(now: Timestamp, store: MvccStore<E>, effects: &mut Effects<E>) -> Result<Self, StoreError> {
        let durable = store.durable_position()?;
        effects.push(Effect::Subscribe { after: store.position() });
        Ok(Following {
            entries: VecDeque::new(),
            fetches: BTreeMap::new(),
            ahead: BTreeMap::new(),
            looked_ahead: LogIndex(0),
            lost: BTreeSet::new(),
            gaining: None,
            stager: None,
            waits_for_tail: None,
            has_turned_away: false,
            resuming_since: Some(now),
            reads: BTreeMap::new(),
            prepares: Vec::new(),
            learners: BTreeMap::new(),
            past_epochs: BTreeMap::new(),
            flushed_at: now,
            flushed: durable.index,
            has_unflushed: store.position() != durable,
            reported: LogIndex(0),
            asked_standings_at: Timestamp::ZERO,
            collecting: Collecting::Idle { mark: Timestamp::ZERO, since: now },
            collected_at: Timestamp::ZERO,
            comparing: Comparing::new(now),
            // What an earlier process left may need collecting too.
            has_written: true,
            is_full: false,
            store,
        })
    }

    // The stream.

    pub fn take_in(
        &mut self,
        now: Timestamp,
        entry: Arc<StreamEntry>,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if self.entries.len() >= options.entries_max {
            // The stream will come again from the position once the intent is here.
            self.has_turned_away = true;
            return Ok(());
        }
        self.entries.push_back(entry);
        self.apply_entries(now, standings, options, effects)
    }

    /// Applies what has come, as far as everything that it needs is here.
    pub fn apply_entries(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let before = self.store.position();
        while self.fetches.is_empty()
            && self.gaining.is_none()
            && let Some(entry) = self.entries.front().cloned()
        {
            let entry = self.without_lost(entry);
            let epoch = self.store.epoch();
            let applied = unless_full(self.store.apply(&entry))?;
            self.is_full = applied.is_none();
            let Some(applied) = applied else {
                // The shard falls behind, and reads at newer snapshots wait, until a tick finds room.
                break;
            };
            match applied {
                Applied::Done(position) => {
                    // An answer that comes now would bring back an intent that nobody needs.
                    self.ahead.retain(|txn, _| entry.commits.iter().all(|commit| commit.txn != *txn));
                    self.has_written |= !entry.commits.is_empty();
                    self.has_unflushed |= !entry.commits.is_empty() || entry.epoch.is_some();
                    self.entries.pop_front();
                    self.resuming_since = None;
                    if self.store.epoch() != epoch {
                        self.past_epochs.insert(epoch, position.closed_ts);
                    }
                }
                Applied::Already(_) => drop(self.entries.pop_front()),
                Applied::Gap { position } => {
                    self.entries.clear();
                    self.looked_ahead = LogIndex(0);
                    self.resume(now, position, options, effects);
                }
                Applied::NeedSlots(gain) if self.tail_is_coming(now, &gain, options) => break,
                Applied::NeedSlots(gain) => {
                    self.give_staging_up(effects);
                    self.gaining = Some(Gaining::new(gain));
                }
                Applied::NeedFetch(missing) => {
                    let decided = entry.position.index;
                    self.fetch(now, decided, missing, standings, options, effects);
                }
            }
        }
        self.look_ahead(now, standings, options, effects);
        if self.store.position() != before {
            self.end_staging(effects);
            self.progressed(options, effects)?;
        }
        if self.entries.is_empty() && std::mem::take(&mut self.has_turned_away) {
            self.stream_lost(now, effects);
        }
        Ok(())
    }

    /// Asks for the stream from the position on, unless that was asked a moment ago.
    fn resume(&mut self, now: Timestamp, after: Position, options: &Options, effects: &mut Effects<E>) {
        if self.resuming_since.is_none_or(|since| has_passed(now, since, options.retry_after)) {
            self.resuming_since = Some(now);
            effects.push(Effect::Subscribe { after });
        }
    }

    pub fn stream_lost(&mut self, now: Timestamp, effects: &mut Effects<E>) {
        // All of them will come again. Were they kept, applying them later would look as if the stream had resumed.
        self.entries.clear();
        self.waits_for_tail = None;
        self.looked_ahead = LogIndex(0);
        self.resuming_since = Some(now);
        effects.push(Effect::Subscribe { after: self.store.position() });
    }

    /// The position has moved: some who waited need wait no longer.
    fn progressed(&mut self, options: &Options, effects: &mut Effects<E>) -> Result<(), StoreError> {
        let closed_ts = self.store.position().closed_ts;
        let low_water = self.store.low_water();
        self.past_epochs.retain(|_, until| *until >= low_water);
        let later = self.reads.split_off(&(Timestamp(closed_ts.0.saturating_add(1)), RequestId(0)));
        for ((snapshot_ts, request), epoch) in std::mem::replace(&mut self.reads, later) {
            self.read(request, snapshot_ts, epoch, options, effects);
        }
        let waiting = std::mem::take(&mut self.prepares);
        self.prepare(waiting, options, effects)?;
        let index = self.store.position().index;
        let ready: Vec<ReplicaId> =
            self.learners.iter().filter(|(_, at)| **at <= index).map(|(to, _)| *to).collect();
        for to in ready {
            self.learners.remove(&to);
            self.send_checkpoint(to, effects)?;
        }
        self.comparing.progressed(&self.store, options, effects)
    }

    // Prepares and reads.

    pub fn prepare(
        &mut self,
        asked: Vec<(RequestId, Prepare)>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let checks_epoch = options.store.keeps(assize_mvcc::Rule::EpochCheck);
        let Position { closed_ts, .. } = self.store.position();
        let mut requests = Vec::with_capacity(asked.len());
        let mut prepares = Vec::with_capacity(asked.len());
        for (request, prepare) in asked {
            if prepare.epoch > self.store.epoch() && checks_epoch {
                // This replica is behind. A No would abort the transaction; silence lets the majority be found among
                // the others, and perhaps the stream catches up in time.
                let is_late = closed_ts > prepare.txn.deadline();
                if self.prepares.len() < options.waiting_max && !is_late {
                    self.prepares.push((request, prepare));
                }
            } else {
                requests.push(request);
                prepares.push(prepare);
            }
        }
        if prepares.is_empty() {
            return Ok(());
        }
        // A promise that cannot be written is not given.
        let full = || vec![Vote::No(VoteRefusal::Overloaded); prepares.len()];
        let votes = unless_full(self.store.prepare(&prepares))?.unwrap_or_else(full);
        for ((request, prepare), vote) in requests.into_iter().zip(&prepares).zip(votes) {
            effects.push(Effect::Vote { request, txn: prepare.txn, vote });
        }
        Ok(())
    }

    pub fn read(
        &mut self,
        request: RequestId,
        snapshot_ts: Timestamp,
        epoch: Option<Epoch>,
        options: &Options,
        effects: &mut Effects<E>,
    ) {
        match self.admits(snapshot_ts, epoch, options) {
            Ok(true) => effects.push(Effect::AdmitRead { request }),
            Ok(false) if self.reads.len() < options.waiting_max => {
                self.reads.insert((snapshot_ts, request), epoch);
            }
            Ok(false) => effects.push(Effect::RefuseRead { request, refusal: ReadRefusal::Unavailable }),
            Err(refusal) => effects.push(Effect::RefuseRead { request, refusal }),
        }
    }

    /// Whether a read may go ahead; false: not yet.
    pub fn admits(
        &self,
        snapshot_ts: Timestamp,
        epoch: Option<Epoch>,
        options: &Options,
    ) -> Result<bool, ReadRefusal> {
        let current = self.store.epoch();
        if let Some(asked) = epoch {
            if asked > current {
                return Ok(false);
            }
            // What was begun under an old placement may finish up to the move: this shard still has what it had.
            let may_finish = || self.past_epochs.get(&asked).is_some_and(|until| snapshot_ts <= *until);
            if asked < current && !may_finish() {
                return Err(ReadRefusal::StaleEpoch { current });
            }
        }
        let low_water = self.store.low_water();
        if snapshot_ts < low_water && options.store.keeps(assize_mvcc::Rule::LowWater) {
            return Err(ReadRefusal::SnapshotTooOld { low_water });
        }
        let is_reached = snapshot_ts <= self.store.position().closed_ts;
        Ok(is_reached || !options.store.keeps(assize_mvcc::Rule::ClosedTimestamp))
    }

    pub fn cancel(&mut self, request: RequestId) {
        self.reads.retain(|(_, waiting), _| *waiting != request);
        self.prepares.retain(|(waiting, _)| *waiting != request);
    }

    /// Whether the stream is held up by a full disk.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Everybody who waits for a read.
    pub fn waiting_reads(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.reads.keys().map(|(_, request)| *request)
    }

    // Intents that were missed.

    /// While the first entry waits for intents, asks for what the ones behind it lack: a replica that was away while many
    /// transactions were prepared would come no nearer if it had to ask for one entry's after the other.
    fn look_ahead(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) {
        let siblings: Vec<ReplicaId> = siblings(standings, options.replica).collect();
        if self.fetches.is_empty() || siblings.is_empty() {
            return;
        }
        // Of what is applied already nothing is lacking, whether its intents are here or not.
        let known = self.looked_ahead.max(self.store.position().index);
        let from = self.entries.partition_point(|entry| entry.position.index <= known).max(1);
        for entry in self.entries.range(from.min(self.entries.len())..) {
            if self.ahead.len() >= AHEAD_MAX {
                break;
            }
            for commit in &entry.commits {
                let ShardWrites::Prepared { digest, .. } = commit.writes else { continue };
                let txn = commit.txn;
                let is_known = self.fetches.contains_key(&txn) || self.ahead.contains_key(&txn);
                if is_known || self.lost.contains(&txn) || self.store.has_intent(txn) {
                    continue;
                }
                self.ahead.insert(txn, (digest, now));
                // Not always the same one: it may be the one that lacks them all, too.
                let from = siblings[self.ahead.len() % siblings.len()];
                effects.push(Effect::FetchIntent { from, txn });
            }
            self.looked_ahead = entry.position.index;
        }
    }

    fn fetch(
        &mut self,
        now: Timestamp,
        decided: LogIndex,
        missing: Vec<MissingIntent>,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) {
        for missing in missing {
            let fetch = Fetch {
                missing,
                decided,
                without: BTreeSet::new(),
                asked_at: now,
                confirming: None,
                as_of: LogIndex(0),
            };
            self.fetches.insert(missing.txn, fetch);
            ask_siblings(&self.fetches[&missing.txn], standings, options, effects);
        }
        if siblings(standings, options.replica).next().is_none() {
            // Nobody to ask, or nobody known yet.
            self.confirm_if_all_said_no(standings, options, effects);
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub fn intent_answered(
        &mut self,
        now: Timestamp,
        from: ReplicaId,
        txn: TxnId,
        answer: IntentAnswer,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let ahead = self.ahead.remove(&txn);
        let Some(fetch) = self.fetches.get_mut(&txn) else {
            if let (Some((digest, _)), IntentAnswer::Has(intent)) = (ahead, answer)
                && WriteDigest::of(&intent.mutations) == digest
            {
                // If there is no room for it, it will be fetched again.
                unless_full(self.store.install_intent(txn, &intent))?;
            }
            self.look_ahead(now, standings, options, effects);
            return Ok(());
        };
        match answer {
            IntentAnswer::Has(intent) if WriteDigest::of(&intent.mutations) == fetch.missing.digest => {
                if unless_full(self.store.install_intent(txn, &intent))?.is_some() {
                    self.fetches.remove(&txn);
                }
                return self.apply_entries(now, standings, options, effects);
            }
            // Other writes under the same id are as good as none.
            IntentAnswer::Has(_) => drop(fetch.without.insert(from)),
            IntentAnswer::HasNot { as_of } => {
                fetch.without.insert(from);
                fetch.as_of = fetch.as_of.max(as_of);
            }
            IntentAnswer::CannotSay if options.keeps(Rule::UnreachableIsNotNo) => {}
            IntentAnswer::CannotSay => drop(fetch.without.insert(from)),
        }
        self.confirm_if_all_said_no(standings, options, effects);
        Ok(())
    }

    fn confirm_if_all_said_no(&mut self, standings: &Standings, options: &Options, effects: &mut Effects<E>) {
        let mut asks = false;
        for fetch in self.fetches.values_mut() {
            let has_asked_all =
                siblings(standings, options.replica).all(|sibling| fetch.without.contains(&sibling));
            if has_asked_all && fetch.confirming.is_none() {
                fetch.confirming = Some(fetch.as_of.max(fetch.decided));
                asks = true;
            }
        }
        if asks {
            effects.push(Effect::AskStandings);
        }
    }

    pub fn standings_reported(
        &mut self,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Next {
        let Some(mine) = standings.replicas.get(&options.replica) else { return Next::Stay };
        if !mine.counts || mine.durable > self.store.position().index {
            // The log and the intents that this replica needs may be gone. In the second case it was un-counted and a
            // straggling registration of an earlier rebuild has counted it again, from that entry on.
            return Next::Rebuild;
        }
        // What was reported and did not arrive is reported again. An idle shard's durable position may not rise for long, and
        // the log, intents and slots that moved wait for it.
        self.reported = mine.durable;
        let mut lost = Vec::new();
        for (txn, fetch) in &mut self.fetches {
            let Some(as_of) = fetch.confirming else {
                continue;
            };
            if standings.as_of < as_of {
                // Too old a look to tell; the next tick asks for another.
                continue;
            }
            if siblings(standings, options.replica).all(|sibling| fetch.without.contains(&sibling)) {
                if fetch.decided > standings.recovered_at {
                    return Next::Halt(Alarm::BrokenPromise { txn: *txn, decided: fetch.decided });
                }
                lost.push((*txn, fetch.decided));
            } else {
                fetch.confirming = None;
                ask_siblings(fetch, standings, options, effects);
            }
        }
        for (txn, decided) in lost {
            self.fetches.remove(&txn);
            self.lost.insert(txn);
            effects.push(Effect::ReportLost { txn, decided });
        }
        // Those that could not be asked may be siblings no more.
        self.confirm_if_all_said_no(standings, options, effects);
        Next::Stay
    }

    /// An entry without the commits whose writes are lost.
    fn without_lost(&self, entry: Arc<StreamEntry>) -> Arc<StreamEntry> {
        if !entry.commits.iter().any(|commit| self.lost.contains(&commit.txn)) {
            return entry;
        }
        let mut left = (*entry).clone();
        left.commits.retain(|commit| !self.lost.contains(&commit.txn));
        Arc::new(left)
    }

    pub fn answer_intent(&self, txn: TxnId, standings: &Standings) -> Result<IntentAnswer, StoreError> {
        Ok(match self.store.intent(txn)? {
            Some(intent) => IntentAnswer::Has(intent),
            // Without standings there is no telling whether an intent was deleted because the one who asks no
            // longer counts.
            None if standings.replicas.is_empty() => IntentAnswer::CannotSay,
            None => IntentAnswer::HasNot { as_of: standings.as_of },
        })
    }

    /// A checkpoint of another shard is here, whose slots this one gains.
    pub fn slots_arrived(
        &mut self,
        now: Timestamp,
        engine: E,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        match &mut self.gaining {
            Some(gaining) => gaining.arrived(now, engine, options, effects),
            None => Ok(()),
        }
    }

    // Learners.

    pub fn checkpoint_asked(
        &mut self,
        from: ReplicaId,
        at_least: LogIndex,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if self.store.position().index < at_least {
            self.learners.insert(from, at_least);
            return Ok(());
        }
        self.send_checkpoint(from, effects)
    }

    /// Without room for a checkpoint the learner hears nothing, and asks somebody else.
    fn send_checkpoint(&self, to: ReplicaId, effects: &mut Effects<E>) -> Result<(), StoreError> {
        let checkpoint = self.store.engine().checkpoint().map_err(StoreError::from);
        if let Some(checkpoint) = unless_full(checkpoint)? {
            effects.push(Effect::SendCheckpoint { to, checkpoint });
        }
        Ok(())
    }

    pub fn forget(&mut self, txn: TxnId) -> Result<(), StoreError> {
        unless_full(self.store.forget(txn)).map(drop)
    }

    // Time.

    /// Whether a walk over all versions is on its way, for what can be dropped.
    pub fn is_collecting(&self) -> bool {
        matches!(self.collecting, Collecting::Running { .. })
    }

    pub fn tick(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if let Some(since) = self.resuming_since
            && has_passed(now, since, options.retry_after)
            && self.fetches.is_empty()
            && self.gaining.is_none()
            && self.waits_for_tail.is_none()
        {
            self.stream_lost(now, effects);
        }
        self.ahead.retain(|_, (_, asked_at)| !has_passed(now, *asked_at, options.retry_after));
        for fetch in self.fetches.values_mut() {
            if has_passed(now, fetch.asked_at, options.retry_after) {
                fetch.asked_at = now;
                if fetch.confirming.is_some() {
                    effects.push(Effect::AskStandings);
                } else {
                    ask_siblings(fetch, standings, options, effects);
                }
            }
        }
        if let Some(gaining) = &mut self.gaining
            && unless_full(gaining.tick(now, &mut self.store, options, effects))? == Some(true)
        {
            self.gaining = None;
        }
        self.tick_staging(now, options, effects)?;
        self.apply_entries(now, standings, options, effects)?;
        self.flush_if_due(now, options)?;
        self.report_durable(effects)?;
        self.collect(now, standings, options, effects)?;
        if options.keeps(Rule::CompareContent) {
            self.comparing.tick(now, &self.store, standings, options, effects)?;
        }
        Ok(())
    }

    /// A position that moved without a commit or a change of epoch is not worth a flush of its own: the stream brings it again for nothing.
    fn flush_if_due(&mut self, now: Timestamp, options: &Options) -> Result<(), StoreError> {
        let lag = self.store.position().index.0.saturating_sub(self.flushed.0);
        let is_old = has_passed(now, self.flushed_at, options.flush_after);
        if self.has_unflushed && is_old || lag >= options.flush_after_entries {
            self.flushed_at = now;
            let index = self.store.position().index;
            if unless_full(self.store.begin_flush())?.is_some() {
                self.flushed = index;
                self.has_unflushed = false;
            }
        }
        Ok(())
    }

    fn report_durable(&mut self, effects: &mut Effects<E>) -> Result<(), StoreError> {
        let durable = self.store.durable_position()?;
        if durable.index > self.reported {
            self.reported = durable.index;
            effects.push(Effect::ReportDurable { durable });
        }
        Ok(())
    }

    fn collect(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if (self.store.intents().next().is_some() || !self.fetches.is_empty())
            && has_passed(now, self.asked_standings_at, options.flush_after)
        {
            self.asked_standings_at = now;
            effects.push(Effect::AskStandings);
        }
        unless_full(self.store.collect_intents(Some(passed_everywhere(standings, options))))?;
        let low_water = self.store.low_water();
        if let Collecting::Idle { mark, since } = self.collecting
            && mark < low_water
            && self.has_written
            && has_passed(now, since, options.collect_pause)
        {
            self.has_written = false;
            self.collecting = Collecting::Running { mark: low_water, from: None };
        }
        if let Collecting::Running { mark, from } = &self.collecting
            && has_passed(now, self.collected_at, options.collect_step_pause)
        {
            self.collected_at = now;
            let collected = self.store.collect_versions(from.as_ref(), options.collect_step);
            if let Some(collected) = unless_full(collected)? {
                self.collecting = match collected.next {
                    Some(next) => Collecting::Running { mark: *mark, from: Some(next) },
                    None => Collecting::Idle { mark: *mark, since: now },
                };
            }
        }
        Ok(())
    }
}

/// The entry up to which no sibling that counts, and none that may come, needs an intent.
fn passed_everywhere(standings: &Standings, options: &Options) -> LogIndex {
    let others = standings.replicas.iter().filter(|(replica, _)| **replica != options.replica);
    let slowest = others.filter(|(_, standing)| standing.counts).map(|(_, s)| s.durable).min();
    let slowest = slowest.unwrap_or(LogIndex(u64::MAX));
    if options.keeps(Rule::StandingsAsOf) { slowest.min(standings.as_of) } else { slowest }
}

fn ask_siblings<C>(fetch: &Fetch, standings: &Standings, options: &Options, effects: &mut Vec<Effect<C>>) {
    for from in siblings(standings, options.replica) {
        if !fetch.without.contains(&from) {
            effects.push(Effect::FetchIntent { from, txn: fetch.missing.txn });
        }
    }
}
