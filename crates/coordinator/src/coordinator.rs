//! One commit in flight.

use crate::request::Participant;
use crate::{Answer, Effect, Event, Newest, NotProposed, Options, Request, Rule, Timer, Voter};
use assize_model::{
    AbortReason, AccessGroup, BatchNumber, Conflict, Decision, KeyHash, Outcome, Placement, Receipt, ShardId,
    TableRange, Timestamp, TxnId, Vote, VoteRefusal,
};
use std::collections::{BTreeMap, BTreeSet};

/// One commit in flight. See the crate's page.
#[derive(Debug)]
pub struct Coordinator {
    options: Options,
    request: Request,
    mode: Mode,
    txn: TxnId,
    stage: Stage,
    /// The timer that counts; earlier ones are ignored when they fire.
    timer: Timer,
    /// When a footprint with this id was first sent.
    sent_at: Option<Timestamp>,
    /// How many copies of it have been sent.
    sent: u32,
    /// How many of those were certainly not proposed.
    turned_away: u32,
    /// What it seems to have lost to, while the log is asked whether it has.
    doubt: Option<AbortReason>,
    recommits: u32,
    refreshes: u32,
}

#[derive(Debug)]
enum Mode {
    Inline,
    Prepared(BTreeMap<ShardId, Participant>),
}

#[derive(Debug)]
enum Stage {
    /// Waits for votes.
    Preparing { since: Timestamp, yes: BTreeSet<Voter> },
    /// The footprint is with the adjudicator, or on its way, or waits to be sent again.
    Deciding,
    /// The deadline has passed without a reply: asks what became of it.
    Asking,
    /// The conflict window has forgotten something: asks the shards.
    Refreshing { keys: Vec<KeyHash>, ranges: Vec<(u32, u32)> },
    /// The writes have to be routed again; then another id is drawn.
    Rerouting { since: Timestamp },
    /// Waits for another id.
    Drawing { since: Timestamp },
    /// There is an answer.
    Done(Answer),
}

impl Coordinator {
    /// Commits with the writes inside the footprint.
    pub fn commit_inline(
        now: Timestamp,
        txn: TxnId,
        request: Request,
        options: Options,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut coordinator = Coordinator::new(now, txn, request, Mode::Inline, options);
        coordinator.send(now, effects);
        coordinator
    }

    /// Commits in two phases: first the promises of all participants, then the footprint.
    pub fn commit_prepared(
        now: Timestamp,
        txn: TxnId,
        request: Request,
        placement: &Placement,
        options: Options,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mode = Mode::Prepared(BTreeMap::new());
        let mut coordinator = Coordinator::new(now, txn, request, mode, options);
        if coordinator.route(placement, effects) {
            coordinator.prepare(now, effects);
        }
        coordinator
    }

    fn new(now: Timestamp, txn: TxnId, request: Request, mode: Mode, options: Options) -> Self {
        Coordinator {
            options,
            request,
            mode,
            txn,
            stage: Stage::Drawing { since: now },
            timer: Timer(0),
            sent_at: None,
            sent: 0,
            turned_away: 0,
            doubt: None,
            recommits: 0,
            refreshes: 0,
        }
    }

    /// The id under which it is being committed now.
    pub fn txn(&self) -> TxnId {
        self.txn
    }

    /// The answer, once there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.stage {
            Stage::Done(answer) => Some(answer),
            _ => None,
        }
    }

    /// Takes an event in and names what is to be done. Events of earlier ids and stages change nothing.
    pub fn step(&mut self, now: Timestamp, event: Event, effects: &mut Vec<Effect>) {
        match (event, &mut self.stage) {
            (_, Stage::Done(_)) => {}

            (Event::Voted { voter, txn, vote }, Stage::Preparing { yes, .. }) if txn == self.txn => {
                match vote {
                    Vote::Yes => {
                        yes.insert(voter);
                        self.send_if_prepared(now, effects);
                    }
                    Vote::No(refusal) => self.refused(now, voter, refusal, effects),
                }
            }

            // While the log is asked whether that is so, it says nothing new.
            (Event::Decided { decision: Decision::Abort { reason }, .. }, Stage::Asking)
                if is_unrecorded(&reason) => {}
            (
                Event::Decided { txn, decision: Decision::Abort { reason } },
                Stage::Deciding | Stage::Refreshing { .. },
            ) if txn == self.txn && is_unrecorded(&reason) => self.doubted(reason, effects),
            (Event::Decided { txn, decision }, Stage::Deciding | Stage::Asking) if txn == self.txn => {
                self.decided(now, decision, effects);
            }
            // A late answer to an earlier copy may be the decision itself. NeedRefresh is what is being seen to.
            (Event::Decided { txn, decision }, Stage::Refreshing { .. })
                if txn == self.txn && !is_need_refresh(&decision) =>
            {
                self.decided(now, decision, effects);
            }
            (Event::ReplyLost { txn }, Stage::Deciding) if txn == self.txn => {
                if !self.options.keeps(Rule::SameIdAfterLostReply) {
                    self.recommit(now, false, effects);
                } else if self.sent == 1 {
                    // Once at once; what is lost again waits for the timer.
                    self.send_again(now, effects);
                }
            }
            // It is sent again when the timer fires: at once would be a loop with a node that is down.
            (Event::NotProposed { txn }, Stage::Deciding | Stage::Asking) if txn == self.txn => {
                self.turned_away += 1;
            }
            (Event::LeaderChanged, Stage::Deciding) => self.send_again(now, effects),
            (Event::OutcomeAnswered { txn, outcome }, Stage::Asking | Stage::Deciding) if txn == self.txn => {
                self.learned(now, outcome, effects);
            }

            (Event::NewestAnswered { txn, keys, ranges }, Stage::Refreshing { .. }) if txn == self.txn => {
                self.refreshed(now, &keys, &ranges, effects);
            }
            (Event::PlacementArrived(placement), Stage::Rerouting { since }) => {
                let since = *since;
                if self.route(&placement, effects) {
                    self.stage = Stage::Drawing { since };
                    effects.push(Effect::DrawTxn);
                    self.set_timer(effects);
                }
            }
            (Event::TxnDrawn(txn), Stage::Drawing { .. }) if txn != self.txn => {
                self.txn = txn;
                match self.mode {
                    Mode::Inline => self.send(now, effects),
                    Mode::Prepared(_) => self.prepare(now, effects),
                }
            }

            (Event::Cancelled, Stage::Preparing { .. } | Stage::Rerouting { .. } | Stage::Drawing { .. }) => {
                // Nothing is with the adjudicator: an earlier id, if there was one, is known to be aborted.
                self.hint_abort(effects);
                self.end(Answer::NotProposed(NotProposed::Cancelled), effects);
            }
            (Event::Cancelled, Stage::Deciding | Stage::Asking) if self.turned_away >= self.sent => {
                // Every copy was turned away at the door, and no other will be sent.
                self.hint_abort(effects);
                self.end(Answer::NotProposed(NotProposed::Cancelled), effects);
            }
            (Event::TimerFired(timer), _) if timer == self.timer => self.timer_fired(now, effects),

            // Late, of another id, or of no consequence here. Somebody who is cancelled while the footprint is with
            // the adjudicator still needs the answer: whoever asks later asks the log.
            _ => {}
        }
    }

    // First phase.

    /// Finds the participants under a placement. False if that ended the commit.
    fn route(&mut self, placement: &Placement, effects: &mut Vec<Effect>) -> bool {
        let Mode::Prepared(participants) = &mut self.mode else { return true };
        match self.request.route(placement) {
            Ok(routed) => {
                *participants = routed;
                true
            }
            Err(shard) => {
                self.end(Answer::Aborted(AbortReason::ShardUnavailable { shard }), effects);
                false
            }
        }
    }

    fn prepare(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.stage = Stage::Preparing { since: now, yes: BTreeSet::new() };
        self.ask_voters(effects);
        self.set_timer(effects);
        // A transaction without writes has nobody to ask.
        self.send_if_prepared(now, effects);
    }

    fn participants(&self) -> impl Iterator<Item = (ShardId, &Participant)> {
        let participants = match &self.mode {
            Mode::Prepared(participants) => Some(participants),
            Mode::Inline => None,
        };
        participants.into_iter().flatten().map(|(shard, participant)| (*shard, participant))
    }

    fn voters(&self) -> impl Iterator<Item = (Voter, &Participant)> {
        self.participants().flat_map(|(shard, participant)| {
            let replicas: Vec<_> = match self.options.counts_replicas {
                true => participant.replicas.iter().copied().map(Some).collect(),
                false => vec![None],
            };
            replicas.into_iter().map(move |replica| (Voter { shard, replica }, participant))
        })
    }

    /// Asks everybody who has not voted yet.
    fn ask_voters(&self, effects: &mut Vec<Effect>) {
        let Stage::Preparing { yes, .. } = &self.stage else { return };
        for (to, participant) in self.voters().filter(|(voter, _)| !yes.contains(voter)) {
            effects.push(Effect::SendPrepare {
                to,
                txn: self.txn,
                epoch: participant.epoch,
                mutations: participant.mutations.clone(),
            });
        }
    }

    /// The first participant that has not promised yet.
    fn unprepared(&self) -> Option<ShardId> {
        let Stage::Preparing { yes, .. } = &self.stage else { return None };
        let is_prepared = |shard: ShardId, participant: &Participant| {
            let voted = yes.iter().filter(|voter| voter.shard == shard).count();
            let voices = if self.options.counts_replicas { participant.replicas.len() } else { 1 };
            let needed = if self.options.keeps(Rule::Majority) { voices / 2 + 1 } else { 1 };
            voted >= needed
        };
        self.participants().find(|(shard, part)| !is_prepared(*shard, part)).map(|(shard, _)| shard)
    }

    fn send_if_prepared(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if matches!(self.stage, Stage::Preparing { .. }) && self.unprepared().is_none() {
            self.send(now, effects);
        }
    }

    fn refused(&mut self, now: Timestamp, voter: Voter, refusal: VoteRefusal, effects: &mut Vec<Effect>) {
        if let VoteRefusal::StaleEpoch { current } = refusal {
            let asked = self.participants().find(|(shard, _)| *shard == voter.shard);
            let Some((_, participant)) = asked else { return };
            if current < participant.epoch {
                // The replica is behind, and the others may carry the majority without it.
                return;
            }
            // This id was never sent to the adjudicator, so it can be left behind.
            self.hint_abort(effects);
            if self.recommits < self.options.recommits_max {
                return self.recommit(now, true, effects);
            }
            return self
                .end(Answer::NotProposed(NotProposed::Refused { shard: voter.shard, refusal }), effects);
        }
        self.hint_abort(effects);
        self.end(Answer::NotProposed(NotProposed::Refused { shard: voter.shard, refusal }), effects);
    }

    fn hint_abort(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.voters().map(|(to, _)| Effect::HintAbort { to, txn: self.txn }));
    }

    // Second phase.

    fn send(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.sent_at.get_or_insert(now);
        self.stage = Stage::Deciding;
        self.push_commit(effects);
        self.set_timer(effects);
    }

    fn push_commit(&mut self, effects: &mut Vec<Effect>) {
        let footprint = match &self.mode {
            Mode::Inline => self.request.inline(self.txn),
            Mode::Prepared(_) => {
                let receipts = self.participants().map(|(shard, participant)| Receipt {
                    shard,
                    epoch: participant.epoch,
                    digest: participant.digest,
                });
                self.request.prepared(self.txn, receipts.collect())
            }
        };
        self.sent += 1;
        effects.push(Effect::SendCommit { footprint: Box::new(footprint) });
    }

    /// The same id again. While it may still be decided that is also the quickest way to learn that it was.
    fn send_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if now <= self.txn.deadline() {
            self.push_commit(effects);
        } else {
            self.stage = Stage::Asking;
            effects.push(Effect::AskOutcome { txn: self.txn, resolve: true });
        }
        self.set_timer(effects);
    }

    fn decided(&mut self, now: Timestamp, decision: Decision, effects: &mut Vec<Effect>) {
        match decision {
            Decision::Commit { commit_ts } => {
                effects.push(Effect::Acknowledge { txn: self.txn });
                self.end(Answer::Committed { txn: self.txn, commit_ts }, effects);
            }
            Decision::Abort { reason } => self.aborted(now, reason, effects),
        }
    }

    fn aborted(&mut self, now: Timestamp, reason: AbortReason, effects: &mut Vec<Effect>) {
        match reason {
            // Not recorded: the id is still open, and the same id is sent again.
            AbortReason::NeedRefresh { keys, ranges } if self.refreshes < self.options.refreshes_max => {
                self.refreshes += 1;
                self.stage = Stage::Refreshing { keys, ranges };
                self.ask_newest(effects);
                return self.set_timer(effects);
            }
            reason @ AbortReason::NeedRefresh { .. } => return self.lost(reason, effects),
            // Not recorded either. Under another id a straggling copy of this one could commit as well, so it stays
            // this one until the timer fires.
            AbortReason::OutcomesFull => return self.stage = Stage::Deciding,
            _ => {}
        }
        effects.push(Effect::Acknowledge { txn: self.txn });
        self.hint_abort(effects);
        let may_try_again = self.recommits < self.options.recommits_max;
        match reason {
            AbortReason::StaleEpoch { .. } if may_try_again => self.recommit(now, true, effects),
            AbortReason::RangeKeysMissing { table } if may_try_again => {
                self.request.ordered_tables.insert(table);
                self.recommit(now, false, effects);
            }
            reason => {
                // Resolved on our own request, because of this.
                let reason = self.doubt.take().unwrap_or(reason);
                self.end(Answer::Aborted(reason), effects);
            }
        }
    }

    /// It comes too late, of a life that is over or past its deadline. But so may have come a copy of what was decided in time
    /// and has left the adjudicator's memory since; whether another copy was sent, by us or below us, is not known here. The
    /// history knows.
    fn doubted(&mut self, reason: AbortReason, effects: &mut Vec<Effect>) {
        self.doubt = Some(reason);
        self.stage = Stage::Asking;
        effects.push(Effect::AskOutcome { txn: self.txn, resolve: true });
        self.set_timer(effects);
    }

    /// The same writes and snapshots under another id.
    fn recommit(&mut self, now: Timestamp, reroutes: bool, effects: &mut Vec<Effect>) {
        self.recommits += 1;
        self.sent_at = None;
        self.sent = 0;
        self.turned_away = 0;
        self.doubt = None;
        if reroutes && matches!(self.mode, Mode::Prepared(_)) {
            self.stage = Stage::Rerouting { since: now };
            effects.push(Effect::AskPlacement);
        } else {
            self.stage = Stage::Drawing { since: now };
            effects.push(Effect::DrawTxn);
        }
        self.set_timer(effects);
    }

    fn learned(&mut self, now: Timestamp, outcome: Outcome, effects: &mut Vec<Effect>) {
        match outcome {
            Outcome::Committed(commit_ts) => self.decided(now, Decision::Commit { commit_ts }, effects),
            Outcome::Aborted(reason) => self.decided(now, Decision::Abort { reason }, effects),
            // Nothing new; the timer asks again.
            Outcome::Undecided | Outcome::Unknown => {}
        }
    }

    // Refresh.

    fn ask_newest(&self, effects: &mut Vec<Effect>) {
        let Stage::Refreshing { keys, ranges } = &self.stage else { return };
        let newest = self.request.groups.iter().map(|group| group.snapshot_ts).max();
        effects.push(Effect::AskNewest {
            txn: self.txn,
            keys: keys.clone(),
            ranges: ranges.clone(),
            at_least: newest.unwrap_or_default(),
        });
    }

    /// The shards have spoken: either somebody committed first, or everything they vouch for gets the position as of which
    /// they do as its baseline.
    fn refreshed(
        &mut self,
        now: Timestamp,
        keys: &[(KeyHash, Newest)],
        ranges: &[((u32, u32), Newest)],
        effects: &mut Vec<Effect>,
    ) {
        let Stage::Refreshing { keys: asked_keys, ranges: asked_ranges } = &self.stage else { return };
        let has_all = asked_keys.iter().all(|key| keys.iter().any(|(known, _)| known == key))
            && asked_ranges.iter().all(|range| ranges.iter().any(|(known, _)| known == range));
        if !has_all {
            // Half an answer vouches for nothing; the timer asks again.
            return;
        }
        let lost_key = keys.iter().find(|(key, newest)| newest.newest > self.baseline_of(*key));
        let lost_range = ranges.iter().find(|(at, newest)| newest.newest > self.baseline_at(*at));
        if lost_key.is_some() || lost_range.is_some() {
            let conflict = Conflict {
                key: lost_key.map(|(key, _)| *key),
                range: if lost_key.is_some() { None } else { lost_range.map(|(at, _)| *at) },
                batch: BatchNumber(0),
                winner: None,
            };
            return self.lost(AbortReason::Conflict(conflict), effects);
        }
        self.rebase(keys, ranges);
        self.send(now, effects);
    }

    /// It seems to have lost, but no decision says so.
    fn lost(&mut self, reason: AbortReason, effects: &mut Vec<Effect>) {
        if self.sent > 1 {
            // A copy that was sent earlier, or with other baselines, may have committed in the meantime: the newer
            // commit that a shard knows of may be our own. The log has the last word.
            return self.doubted(reason, effects);
        }
        // The only copy was answered with NeedRefresh, and what the window has forgotten it never knows again.
        self.hint_abort(effects);
        self.end(Answer::Aborted(reason), effects);
    }

    /// The oldest snapshot at which a key was checked; `Some` so that it compares with "never written".
    fn baseline_of(&self, key: KeyHash) -> Option<Timestamp> {
        let groups = self.request.groups.iter().filter(|group| group.checked.contains(&key));
        Some(groups.map(|group| group.snapshot_ts).min().unwrap_or(Timestamp::MAX))
    }

    fn baseline_at(&self, (group, _): (u32, u32)) -> Option<Timestamp> {
        Some(self.request.groups.get(group as usize).map_or(Timestamp::MAX, |group| group.snapshot_ts))
    }

    /// Moves keys and ranges into groups of their own baselines.
    fn rebase(&mut self, keys: &[(KeyHash, Newest)], ranges: &[((u32, u32), Newest)]) {
        let mut fresh: BTreeMap<Timestamp, AccessGroup> = BTreeMap::new();
        let moved: BTreeSet<KeyHash> = keys.iter().map(|(key, _)| *key).collect();
        for (key, newest) in keys {
            group_at(&mut fresh, newest.as_of).checked.push(*key);
        }
        let mut gone: BTreeSet<(u32, u32)> = BTreeSet::new();
        for (at, newest) in ranges {
            let group = self.request.groups.get(at.0 as usize);
            if let Some(range) = group.and_then(|group| group.ranges.get(at.1 as usize)) {
                group_at(&mut fresh, newest.as_of).ranges.push(range.clone());
                gone.insert(*at);
            }
        }
        for (g, group) in self.request.groups.iter_mut().enumerate() {
            group.checked.retain(|key| !moved.contains(key));
            let kept = |r: usize| !gone.contains(&(g as u32, r as u32));
            let ranges: Vec<TableRange> = std::mem::take(&mut group.ranges);
            group.ranges =
                ranges.into_iter().enumerate().filter(|(r, _)| kept(*r)).map(|(_, range)| range).collect();
        }
        self.request.groups.retain(|group| !group.checked.is_empty() || !group.ranges.is_empty());
        self.request.groups.extend(fresh.into_values());
    }

    // Time.

    fn set_timer(&mut self, effects: &mut Vec<Effect>) {
        self.timer = Timer(self.timer.0 + 1);
        effects.push(Effect::SetTimer { timer: self.timer, after: self.options.retry_after });
    }

    fn timer_fired(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let gives_up = self.sent_at.is_some_and(|at| now >= at.later(self.options.unknown_after));
        match &mut self.stage {
            Stage::Preparing { since, .. } if now < since.later(self.options.prepare_within) => {
                self.ask_voters(effects);
                self.set_timer(effects);
            }
            Stage::Preparing { .. } => {
                let shard = self.unprepared().expect("a prepared transaction has been sent");
                self.hint_abort(effects);
                self.end(Answer::NotProposed(NotProposed::NoMajority { shard }), effects);
            }
            Stage::Rerouting { since } | Stage::Drawing { since }
                if now >= since.later(self.options.prepare_within) =>
            {
                // The id before is known to be aborted, and no other has been sent.
                self.end(Answer::NotProposed(NotProposed::Unreachable), effects);
            }
            Stage::Rerouting { .. } => {
                effects.push(Effect::AskPlacement);
                self.set_timer(effects);
            }
            Stage::Drawing { .. } => {
                effects.push(Effect::DrawTxn);
                self.set_timer(effects);
            }
            Stage::Deciding | Stage::Asking | Stage::Refreshing { .. } if gives_up => {
                self.give_up(effects);
            }
            Stage::Deciding => self.send_again(now, effects),
            Stage::Asking => {
                effects.push(Effect::AskOutcome { txn: self.txn, resolve: true });
                self.set_timer(effects);
            }
            Stage::Refreshing { .. } => {
                self.ask_newest(effects);
                self.set_timer(effects);
            }
            Stage::Done(_) => {}
        }
    }

    /// The bounded wait is over.
    fn give_up(&mut self, effects: &mut Vec<Effect>) {
        if self.turned_away >= self.sent {
            // Every copy was turned away: no guess is needed.
            self.hint_abort(effects);
            return self.end(Answer::NotProposed(NotProposed::Unreachable), effects);
        }
        if let (Stage::Refreshing { keys, ranges }, 1) = (&self.stage, self.sent) {
            // The only copy was answered, and does not commit; the shards could not be asked.
            let reason = AbortReason::NeedRefresh { keys: keys.clone(), ranges: ranges.clone() };
            self.hint_abort(effects);
            return self.end(Answer::Aborted(reason), effects);
        }
        let answer = match self.options.keeps(Rule::UnknownIsNotAbort) {
            true => Answer::Unknown { txn: self.txn },
            false => Answer::Aborted(AbortReason::DeadlinePassed),
        };
        self.end(answer, effects);
    }

    fn end(&mut self, answer: Answer, effects: &mut Vec<Effect>) {
        effects.push(Effect::Answer(answer.clone()));
        self.stage = Stage::Done(answer);
    }
}

fn group_at(groups: &mut BTreeMap<Timestamp, AccessGroup>, snapshot_ts: Timestamp) -> &mut AccessGroup {
    groups.entry(snapshot_ts).or_insert_with(|| AccessGroup { snapshot_ts, ..AccessGroup::default() })
}

/// An answer that the adjudicator gives without a record, and gives to whatever comes too late.
fn is_unrecorded(reason: &AbortReason) -> bool {
    matches!(reason, AbortReason::DeadlinePassed | AbortReason::FrontendFenced { .. })
}

fn is_need_refresh(decision: &Decision) -> bool {
    matches!(decision, Decision::Abort { reason: AbortReason::NeedRefresh { .. } })
}
