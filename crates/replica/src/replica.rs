//! The phases of a replica's life, and the one door.

use crate::following::{Following, Next, siblings, unless_full};
use crate::{Alarm, Effect, Event, IntentAnswer, Options, ReadRefusal, Rule, Staging, Standings};
use assize_model::{Epoch, LogIndex, Position, ReplicaId, Timestamp};
use assize_mvcc::{Engine, MvccStore, Reader, StoreError};

/// The mind of one shard replica. See the crate's page.
pub struct Replica<E> {
    options: Options,
    standings: Standings,
    phase: Phase<E>,
}

enum Phase<E> {
    Following(Box<Following<E>>),
    Rebuilding(Box<Rebuilding<E>>),
    Halted(Alarm),
}

/// On the way to another replica's checkpoint.
struct Rebuilding<E> {
    /// What it held before. Siblings may still fetch intents from it, and later from the store that inherits them.
    old: Option<MvccStore<E>>,
    stage: Stage,
    /// Whether the epoch is raised before it registers.
    raises: bool,
    /// When the stage's effect was last asked.
    asked_at: Timestamp,
    /// How many siblings have been asked for a checkpoint.
    attempts: usize,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Intents are about to be forgotten: no receipt of theirs may be accepted from now on.
    RaisingEpoch,
    /// From the registration on, the log and the siblings' intents are kept for this replica.
    Registering,
    /// An earlier life has registered. Only the standings know whether that still holds.
    Recalling { registered: LogIndex },
    /// A checkpoint taken at or after the registration.
    Copying { registered: LogIndex, from: Option<ReplicaId> },
}

impl<E: Engine> Replica<E> {
    /// Goes on with what an engine holds; an empty engine is a shard's beginning.
    pub fn resume(
        now: Timestamp,
        engine: E,
        options: Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Self {
        let opened = MvccStore::open(engine, options.store.clone());
        let following = opened.and_then(|store| Following::new(now, store, effects));
        let phase = match following {
            Ok(following) => Phase::Following(Box::new(following)),
            Err(error) => Phase::Halted(halt(error.into(), effects)),
        };
        Replica { options, standings: Standings::default(), phase }
    }

    /// Begins with nothing and copies a sibling: a learner, or a replica whose disk was replaced. `had_intents` says
    /// whether a replica of this number may have promised anything before.
    pub fn copy(
        now: Timestamp,
        had_intents: bool,
        options: Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Self {
        let phase = Phase::Rebuilding(Box::new(Rebuilding::begin(now, None, had_intents, &options, effects)));
        Replica { options, standings: Standings::default(), phase }
    }

    /// Goes on with a copy for which an earlier life had registered at this entry, and that has promised nothing since. If the
    /// replica does not count any more, everything begins anew. The hands must have forgotten an entry durably before they
    /// carry out [`Effect::Register`] or [`Effect::RaiseEpoch`]: a replica that registers twice may not have counted between.
    pub fn copy_on(
        now: Timestamp,
        registered: LogIndex,
        had_intents: bool,
        options: Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Self {
        let rebuilding = Rebuilding::recall(now, registered, had_intents, &options, effects);
        let phase = Phase::Rebuilding(Box::new(rebuilding));
        Replica { options, standings: Standings::default(), phase }
    }

    /// Takes an event in, changes the store, and names what is to be done.
    pub fn step(&mut self, now: Timestamp, event: Event<E>, effects: &mut Vec<Effect<E::Checkpoint>>) {
        if let Event::StandingsReported(standings) = &event {
            // Looks can overtake each other; an older one knows less.
            if standings.as_of < self.standings.as_of {
                return;
            }
            self.standings = standings.clone();
        }
        let next = match &mut self.phase {
            Phase::Following(following) => {
                step_following(now, following, event, &self.standings, &self.options, effects)
            }
            Phase::Rebuilding(rebuilding) => {
                return match rebuilding.step(now, event, &self.standings, &self.options, effects) {
                    Ok(None) => {}
                    Ok(Some(following)) => self.phase = Phase::Following(Box::new(following)),
                    Err(error) => self.phase = Phase::Halted(halt(error.into(), effects)),
                };
            }
            Phase::Halted(_) => return turn_away(event, effects),
        };
        match next {
            Ok(Next::Stay) => {}
            Ok(Next::Rebuild) => self.rebuild(now, effects),
            Ok(Next::Halt(alarm)) => self.phase = Phase::Halted(halt(alarm, effects)),
            Err(error) => self.phase = Phase::Halted(halt(error.into(), effects)),
        }
    }

    fn rebuild(&mut self, now: Timestamp, effects: &mut Vec<Effect<E::Checkpoint>>) {
        // A phase that is left behind at once, so that the store can move from one to the other.
        let stage = Stage::RaisingEpoch;
        let between = Rebuilding { old: None, stage, raises: true, asked_at: now, attempts: 0 };
        let between = Phase::Rebuilding(Box::new(between));
        let Phase::Following(following) = std::mem::replace(&mut self.phase, between) else {
            return;
        };
        for request in following.waiting_reads() {
            effects.push(Effect::RefuseRead { request, refusal: ReadRefusal::Unavailable });
        }
        if following.is_staging() {
            effects.push(Effect::LeaveGiver);
        }
        let old = Some(following.store);
        self.phase = Phase::Rebuilding(Box::new(Rebuilding::begin(now, old, true, &self.options, effects)));
    }

    /// How far the stream has been applied; `None` while there is no store that follows it.
    pub fn position(&self) -> Option<Position> {
        self.store().map(MvccStore::position)
    }

    /// The store, while it follows the stream.
    pub fn store(&self) -> Option<&MvccStore<E>> {
        match &self.phase {
            Phase::Following(following) => Some(&following.store),
            Phase::Rebuilding(_) | Phase::Halted(_) => None,
        }
    }

    /// The reading half of the store, for other threads. It is to be asked for again after a rebuild, and to be dropped
    /// with a halt.
    pub fn reader(&self) -> Option<Reader<E>> {
        self.store().map(MvccStore::reader)
    }

    /// Whether a read at this snapshot may go ahead now (`false`: not yet), without waiting in line as
    /// [`Event::ReadAsked`] does.
    pub fn admits(&self, snapshot_ts: Timestamp, epoch: Option<Epoch>) -> Result<bool, ReadRefusal> {
        match &self.phase {
            Phase::Following(following) => following.admits(snapshot_ts, epoch, &self.options),
            Phase::Rebuilding(_) | Phase::Halted(_) => Err(ReadRefusal::Unavailable),
        }
    }

    /// Whether a full disk holds the stream up. The replica goes on by itself once there is room.
    pub fn is_full(&self) -> bool {
        matches!(&self.phase, Phase::Following(following) if following.is_full())
    }

    /// How far slots are staged, if some are.
    pub fn staging(&self) -> Option<Staging> {
        match &self.phase {
            Phase::Following(following) => following.staging(),
            Phase::Rebuilding(_) | Phase::Halted(_) => None,
        }
    }

    /// Whether it takes slots in, a step a tick: it is done the sooner the oftener it is ticked.
    pub fn is_taking_in(&self) -> bool {
        matches!(&self.phase, Phase::Following(following) if following.is_taking_in())
    }

    /// Whether it walks over all versions for what can be dropped, a step a tick; nobody waits for that.
    pub fn is_collecting(&self) -> bool {
        matches!(&self.phase, Phase::Following(following) if following.is_collecting())
    }

    /// Whether it is on its way to another replica's checkpoint.
    pub fn is_rebuilding(&self) -> bool {
        matches!(self.phase, Phase::Rebuilding(_))
    }

    /// Why it has stopped for good, if it has.
    pub fn alarm(&self) -> Option<&Alarm> {
        match &self.phase {
            Phase::Halted(alarm) => Some(alarm),
            Phase::Following(_) | Phase::Rebuilding(_) => None,
        }
    }
}

fn halt<C>(alarm: Alarm, effects: &mut Vec<Effect<C>>) -> Alarm {
    effects.push(Effect::Halt(alarm.clone()));
    alarm
}

fn step_following<E: Engine>(
    now: Timestamp,
    following: &mut Following<E>,
    event: Event<E>,
    standings: &Standings,
    options: &Options,
    effects: &mut Vec<Effect<E::Checkpoint>>,
) -> Result<Next, StoreError> {
    match event {
        Event::Streamed(entry) => following.take_in(now, entry, standings, options, effects)?,
        Event::StreamLost => following.stream_lost(now, effects),
        Event::PreparesAsked(asked) => following.prepare(asked, options, effects)?,
        Event::ForgetAsked(txn) => following.forget(txn)?,
        Event::ReadAsked { request, snapshot_ts, epoch } => {
            following.read(request, snapshot_ts, epoch, options, effects);
        }
        Event::Cancelled(request) => following.cancel(request),
        Event::IntentAsked { from, txn } => {
            let answer = following.answer_intent(txn, standings)?;
            effects.push(Effect::AnswerIntent { to: from, txn, answer });
        }
        Event::IntentAnswered { from, txn, answer } => {
            following.intent_answered(now, from, txn, answer, standings, options, effects)?;
        }
        Event::CheckpointAsked { from, at_least } => {
            following.checkpoint_asked(from, at_least, effects)?;
        }
        Event::StandingsReported(_) => {
            return Ok(following.standings_reported(standings, options, effects));
        }
        Event::SlotsArrived(engine) => following.slots_arrived(now, engine, options, effects)?,
        Event::StageAsked { giver, slots } => following.stage_asked(now, giver, slots, effects),
        Event::GiverStreamed(entry) => {
            following.giver_streamed(now, entry, standings, options, effects)?;
        }
        Event::GiverStreamLost => following.giver_stream_lost(now, effects),
        Event::GiverStreamForgotten => following.give_staging_up(effects),
        Event::GiverArrived(engine) => following.giver_arrived(now, engine, options, effects)?,
        Event::GiverAnswered { txn, answer } => {
            following.giver_answered(now, txn, answer, standings, options, effects)?;
        }
        Event::ContentAsked { from, page } => {
            following.comparing.asked(from, page, &following.store, options, effects)?;
        }
        Event::ContentAnswered { from, page, answer } => {
            return Ok(following.comparing.answered(from, &page, answer, standings, options, effects));
        }
        Event::ContentDiffers { epoch } if epoch == following.store.epoch() => return Ok(Next::Rebuild),
        // Said before a rebuild, or about what is not here yet.
        Event::ContentDiffers { .. } => {}
        Event::StreamForgotten => return Ok(Next::Rebuild),
        Event::Tick => following.tick(now, standings, options, effects)?,
        // Answers to questions of an earlier phase.
        Event::EpochRaised
        | Event::Registered { .. }
        | Event::CheckpointArrived(_)
        | Event::CheckpointFailed { .. } => {}
    }
    Ok(Next::Stay)
}

/// What a replica without a store that follows the stream answers. Prepares get silence: a No would abort transactions that
/// the other replicas can carry.
fn turn_away<E, C>(event: Event<E>, effects: &mut Vec<Effect<C>>) {
    match event {
        Event::ReadAsked { request, .. } => {
            effects.push(Effect::RefuseRead { request, refusal: ReadRefusal::Unavailable });
        }
        Event::IntentAsked { from, txn } => {
            effects.push(Effect::AnswerIntent { to: from, txn, answer: IntentAnswer::CannotSay });
        }
        _ => {}
    }
}

impl Stage {
    /// With what a rebuild begins.
    fn first(raises: bool) -> Stage {
        if raises { Stage::RaisingEpoch } else { Stage::Registering }
    }
}

impl<E: Engine> Rebuilding<E> {
    fn begin(
        now: Timestamp,
        old: Option<MvccStore<E>>,
        had_intents: bool,
        options: &Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Self {
        let raises = had_intents && options.keeps(Rule::EpochBeforeForgetting);
        let mut rebuilding =
            Rebuilding { old, stage: Stage::first(raises), raises, asked_at: now, attempts: 0 };
        rebuilding.ask(now, &Standings::default(), options, effects);
        rebuilding
    }

    fn recall(
        now: Timestamp,
        registered: LogIndex,
        had_intents: bool,
        options: &Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Self {
        let raises = had_intents && options.keeps(Rule::EpochBeforeForgetting);
        let stage = Stage::Recalling { registered };
        let mut rebuilding = Rebuilding { old: None, stage, raises, asked_at: now, attempts: 0 };
        rebuilding.ask(now, &Standings::default(), options, effects);
        rebuilding
    }

    /// Asks for what the stage waits for, again if need be.
    fn ask(
        &mut self,
        now: Timestamp,
        standings: &Standings,
        options: &Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) {
        self.asked_at = now;
        if matches!(self.stage, Stage::Registering) && !options.keeps(Rule::RegisterBeforeCheckpoint) {
            self.stage = Stage::Copying { registered: LogIndex(0), from: None };
        }
        match &mut self.stage {
            Stage::RaisingEpoch => effects.push(Effect::RaiseEpoch),
            Stage::Registering => effects.push(Effect::Register),
            Stage::Recalling { .. } => effects.push(Effect::AskStandings),
            Stage::Copying { registered, from } => {
                *from = source(standings, options.replica, self.attempts);
                self.attempts += 1;
                match *from {
                    Some(from) => effects.push(Effect::AskCheckpoint { from, at_least: *registered }),
                    None => effects.push(Effect::AskStandings),
                }
            }
        }
    }

    /// `Some` when it follows the stream again.
    fn step(
        &mut self,
        now: Timestamp,
        event: Event<E>,
        standings: &Standings,
        options: &Options,
        effects: &mut Vec<Effect<E::Checkpoint>>,
    ) -> Result<Option<Following<E>>, StoreError> {
        match (event, self.stage) {
            (Event::EpochRaised, Stage::RaisingEpoch) => {
                self.stage = Stage::Registering;
                self.ask(now, standings, options, effects);
            }
            (Event::Registered { index }, Stage::Registering) => {
                self.stage = Stage::Copying { registered: index, from: None };
                self.ask(now, standings, options, effects);
            }
            (Event::StandingsReported(_), Stage::Recalling { registered }) => {
                let me = standings.replicas.get(&options.replica);
                self.stage = match me.is_some_and(|standing| standing.counts) {
                    true => Stage::Copying { registered, from: None },
                    // What it needs may have been forgotten meanwhile.
                    false => Stage::first(self.raises),
                };
                self.ask(now, standings, options, effects);
            }
            (Event::CheckpointFailed { from }, Stage::Copying { from: Some(asked), .. }) if from == asked => {
                self.ask(now, standings, options, effects);
            }
            (Event::StandingsReported(_), Stage::Copying { from: None, .. })
                if source(standings, options.replica, self.attempts).is_some() =>
            {
                self.ask(now, standings, options, effects);
            }
            (Event::CheckpointArrived(engine), Stage::Copying { registered, .. }) => {
                let mut store = MvccStore::open(engine, options.store.clone())?;
                if store.position().index < registered {
                    // From before the registration: intents that it needs may be gone.
                    self.ask(now, standings, options, effects);
                    return Ok(None);
                }
                if let Some(former) = &self.old {
                    unless_full(store.inherit_intents(former, registered))?;
                }
                return Ok(Some(Following::new(now, store, effects)?));
            }
            (Event::IntentAsked { from, txn }, _) => {
                // It can give what it still has, but cannot say no: it is about to forget.
                let held = self.old.as_ref().map(|store| store.intent(txn)).transpose()?.flatten();
                let answer = held.map_or(IntentAnswer::CannotSay, IntentAnswer::Has);
                effects.push(Effect::AnswerIntent { to: from, txn, answer });
            }
            (Event::Tick, stage) => {
                let limit = match stage {
                    Stage::Copying { from: Some(_), .. } => options.copy_retry_after,
                    _ => options.retry_after,
                };
                if now >= self.asked_at.later(limit) {
                    self.ask(now, standings, options, effects);
                }
            }
            (event, _) => turn_away(event, effects),
        }
        Ok(None)
    }
}

/// Whose checkpoint to copy: siblings that count first, another one at every attempt.
fn source(standings: &Standings, me: ReplicaId, attempts: usize) -> Option<ReplicaId> {
    let counts = |replica: &ReplicaId| standings.replicas[replica].counts;
    let mut candidates: Vec<ReplicaId> = siblings(standings, me).filter(counts).collect();
    candidates.extend(siblings(standings, me).filter(|replica| !counts(replica)));
    (!candidates.is_empty()).then(|| candidates[attempts % candidates.len()])
}
