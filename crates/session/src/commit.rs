//! The commit of a transaction: what the coordinator asks for is done here, over the ports.

use crate::explain::{self, Explained};
use crate::kill::KillSwitch;
use crate::rules::Rule;
use crate::services::{Services, adjudicator_error, shard_error};
use crate::txn::{CommitMode, Txn};
use assize_coordinator::{Answer, Coordinator, Effect, Event, Newest, NotProposed, Request, Voter};
use assize_model::{
    AbortReason, AccessGroup, CatalogChange, Conflict, DeadlineClass, ErrorCode, Key, KeyHash, KeyRange,
    Mutation, Outcome, Placement, ShardId, SqlError, Timestamp, TxnId, Vote, VoteRefusal,
};
use assize_ports::{AdjudicatorError, BoxFuture, Obstacle, TxnRun};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// What a commit came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Committed {
    /// Nothing was written: there was nothing to decide.
    Nothing,
    /// It committed.
    At(TxnId, Timestamp),
}

/// Why a transaction did not commit, or what is not known about it.
#[derive(Clone, PartialEq, Debug)]
pub struct CommitFailure {
    /// What the client is told.
    pub error: SqlError,
    /// Whether the same statements may succeed if they run again at a new snapshot.
    pub is_retryable: bool,
    /// The id under which the abort is kept, if it was one.
    pub conflict: Option<String>,
    /// The id under which it was tried last; `None` if it did not get so far.
    pub txn: Option<TxnId>,
}

impl From<SqlError> for CommitFailure {
    fn from(error: SqlError) -> Self {
        CommitFailure { error, is_retryable: false, conflict: None, txn: None }
    }
}

/// What the driver hears besides what the coordinator wants to know.
enum Heard {
    Coordinator(Event),
    /// The adjudicator turned a footprint away; nothing was proposed.
    TurnedAway(TxnId, AdjudicatorError),
    /// KILL, or the client has hung up.
    Stopped,
}

impl Txn {
    /// Commits: with a catalog change if there is one. Whatever happens, reservations are given back.
    ///
    /// # Errors
    /// 1213 with who won if it lost; 1412 if a table has changed; 1197 if its footprint is too large; an error that says that
    /// nobody knows if nobody knows; what a foreign server says that cannot prepare its branch.
    pub async fn commit(&mut self, change: Option<CatalogChange>) -> Result<Committed, CommitFailure> {
        self.vote().await?;
        let committed = self.decide(change).await;
        self.follow(&committed).await;
        committed
    }

    async fn decide(&mut self, change: Option<CatalogChange>) -> Result<Committed, CommitFailure> {
        if self.is_read_only() && change.is_none() && !self.saw_two_moments() {
            self.release();
            self.commit_temporary();
            return Ok(Committed::Nothing);
        }
        let services = self.services().clone();
        for table in self.tables_of_ranges().collect::<std::collections::BTreeSet<_>>() {
            services.track_ranges(table).await?;
        }
        let mut request = self.take_request();
        request.catalog_change = change;
        let bytes: usize = request.writes.iter().map(|write| write.mutation.size()).sum();
        let is_bulk = bytes >= services.limits.bulk_bytes_min;
        let by_size = if is_bulk { DeadlineClass::Bulk } else { DeadlineClass::Normal };
        let is_small = bytes <= services.limits.inline_bytes_max && services.limits.inline_bytes_max > 0;
        let (class, inline) = match self.options().commit_mode {
            CommitMode::BySize => (by_size, is_small || request.writes.is_empty()),
            CommitMode::Inline => (by_size, true),
            CommitMode::Prepared(class) => (class, false),
        };
        if let Err(error) = self.check_footprint(request.footprint_bytes_max(inline)) {
            self.release();
            return Err(error.into());
        }
        let asked = services.clock.monotonic_micros();
        let ended = drive(self, &services, request, class, inline).await;
        self.release();
        if let Answer::Aborted(reason) = &ended.answer
            && !reason.is_retryable()
        {
            self.set_runs_again(false);
        }
        let txn = Some(ended.txn);
        let committed = self.conclude(&services, ended, asked).await;
        if committed.is_ok() {
            self.commit_temporary();
        }
        committed.map_err(|failure| CommitFailure { txn, ..failure })
    }

    async fn conclude(
        &self,
        services: &Services,
        ended: Ended,
        asked_micros: u64,
    ) -> Result<Committed, CommitFailure> {
        match ended.answer {
            Answer::Committed { txn, commit_ts } => {
                services.heard(commit_ts, asked_micros);
                Ok(Committed::At(txn, commit_ts))
            }
            Answer::Aborted(mut reason) => {
                match &mut reason {
                    // The shards found it, who know when, not who.
                    AbortReason::Conflict(conflict) if conflict.winner.is_none() => {
                        if let Some(newest) = ended.newest.of(conflict) {
                            conflict.winner = explain::who(self, Obstacle::CommittedAt(newest)).await;
                        }
                    }
                    AbortReason::RangeKeysMissing { table } => services.note_tracked(*table),
                    AbortReason::FrontendFenced { .. } => services.heard_of_fence(ended.txn),
                    _ => {}
                }
                let Explained { error, conflict } =
                    explain::abort(self, services, &ended.groups, ended.txn, &reason).await;
                let is_retryable = reason.is_retryable();
                Err(CommitFailure { is_retryable, conflict: Some(conflict), ..error.into() })
            }
            Answer::NotProposed(why) => Err(match (ended.turned_away, why) {
                (Some(error), _) => adjudicator_error(error).into(),
                (None, why @ NotProposed::Refused { .. }) => {
                    let Explained { error, conflict } =
                        explain::refused(self, services, ended.txn, &not_proposed(&why));
                    CommitFailure { is_retryable: true, conflict: Some(conflict), ..error.into() }
                }
                (None, why) => not_proposed(&why).into(),
            }),
            Answer::Unknown { txn } => Err(SqlError::new(
                ErrorCode::OutcomeUnknown,
                format!(
                    "the outcome of transaction {txn} could not be found out in the time allowed: it may have been \
                     committed; ask again before repeating it"
                ),
            )
            .into()),
        }
    }
}

fn not_proposed(why: &NotProposed) -> SqlError {
    let code = match why {
        NotProposed::Refused { .. } => ErrorCode::Deadlock,
        NotProposed::Cancelled => ErrorCode::QueryInterrupted,
        NotProposed::NoMajority { .. } | NotProposed::Unreachable => ErrorCode::ClusterUnavailable,
    };
    SqlError::new(code, format!("the transaction was rolled back: {why}"))
}

/// How a commit ended, with what it takes to explain it.
struct Ended {
    answer: Answer,
    txn: TxnId,
    /// The groups of the footprint that was sent last: conflicts name places in them.
    groups: Vec<AccessGroup>,
    newest: NewestKnown,
    turned_away: Option<AdjudicatorError>,
}

/// What the shards said last of keys and ranges that the conflict window had forgotten.
#[derive(Default)]
struct NewestKnown {
    keys: NewestKeys,
    ranges: NewestRanges,
}

impl NewestKnown {
    /// When the transaction that won a conflict committed.
    fn of(&self, conflict: &Conflict) -> Option<Timestamp> {
        let (keys, ranges) = (&self.keys, &self.ranges);
        let key = conflict.key.and_then(|key| keys.iter().find(|(known, _)| *known == key));
        let range = || conflict.range.and_then(|range| ranges.iter().find(|(known, _)| *known == range));
        key.map(|(_, newest)| newest).or_else(|| range().map(|(_, newest)| newest))?.newest
    }
}

type Pending<'a> = FuturesUnordered<BoxFuture<'a, Heard>>;

/// Carries out what the coordinator asks for until it has an answer.
async fn drive(
    txn: &Txn,
    services: &Services,
    request: Request,
    class: DeadlineClass,
    inline: bool,
) -> Ended {
    let mut options = services.coordinator.clone();
    if class == DeadlineClass::Bulk {
        // What takes long to write takes long to prepare, and its deadline is later too.
        options.prepare_within = class.limit() / 2;
        options.unknown_after = class.limit() + options.unknown_after;
        options.retry_after = options.prepare_within / 4;
    }
    let mut effects = Vec::new();
    let id = txn.draw_id(class);
    let mut coordinator = if inline {
        Coordinator::commit_inline(services.now(), id, request, options, &mut effects)
    } else {
        let placement = services.placement();
        Coordinator::commit_prepared(services.now(), id, request, &placement, options, &mut effects)
    };
    let mut driver =
        Driver { txn, services, class, groups: Vec::new(), places: BTreeMap::new(), hinted: None };
    let mut turned_away = None;
    let mut is_stopped = false;
    let mut newest = NewestKnown::default();
    let mut pending: Pending<'_> = FuturesUnordered::new();
    loop {
        let mut events = Vec::new();
        for effect in effects.drain(..) {
            if let Effect::Answer(answer) = effect {
                if is_stopped && answer == Answer::NotProposed(NotProposed::Cancelled) {
                    // That is why, and not what turned it away.
                    turned_away = None;
                }
                return Ended { answer, txn: coordinator.txn(), groups: driver.groups, newest, turned_away };
            }
            driver.perform(effect, &mut pending, &mut events);
        }
        if events.is_empty() {
            // What is with the adjudicator needs its answer; what was turned away is only tried again.
            let stop = txn.stop().filter(|_| turned_away.is_some() && !is_stopped);
            match hear(&mut pending, stop).await {
                Some(Heard::Coordinator(event)) => events.push(event),
                Some(Heard::TurnedAway(txn, error)) => {
                    let is_final = is_final(&error);
                    turned_away = Some(error);
                    events.push(Event::NotProposed { txn });
                    if is_final {
                        events.push(Event::Cancelled);
                    }
                }
                Some(Heard::Stopped) => is_stopped = true,
                // A coordinator that waits has set a timer; without one there is nothing to wait for.
                None => events.push(Event::Cancelled),
            }
            if is_stopped {
                // Without effect as long as a copy is under way.
                events.push(Event::Cancelled);
            }
        }
        for event in events {
            if let Event::NewestAnswered { keys, ranges, .. } = &event {
                newest = NewestKnown { keys: keys.clone(), ranges: ranges.clone() };
            }
            coordinator.step(services.now(), event, &mut effects);
        }
    }
}

/// The next answer, or that the session is to stop.
async fn hear(pending: &mut Pending<'_>, stop: Option<&KillSwitch>) -> Option<Heard> {
    poll_fn(|context| match pending.poll_next_unpin(context) {
        Poll::Pending if stop.is_some_and(|stop| stop.poll_stop(context).is_ready()) => {
            Poll::Ready(Some(Heard::Stopped))
        }
        heard => heard,
    })
    .await
}

/// Whether the same will be refused for as long as a client waits: a full disk or a stopped node does not mend itself, and what
/// is too large stays so.
fn is_final(error: &AdjudicatorError) -> bool {
    use AdjudicatorError::{DiskFull, Stopped, TooLarge};
    matches!(error, DiskFull(_) | Stopped(_) | TooLarge(_))
}

struct Driver<'a> {
    txn: &'a Txn,
    services: &'a Services,
    class: DeadlineClass,
    groups: Vec<AccessGroup>,
    /// Keys of the footprint by hash, once somebody has asked.
    places: BTreeMap<KeyHash, Key>,
    /// The last of which a shard was told that it will never commit.
    hinted: Option<(ShardId, TxnId)>,
}

impl<'a> Driver<'a> {
    /// Starts what an effect asks for; what can be answered at once goes to `events`.
    fn perform(&mut self, effect: Effect, pending: &mut Pending<'a>, events: &mut Vec<Event>) {
        let services = self.services;
        match effect {
            Effect::SendCommit { footprint } => {
                self.groups.clone_from(&footprint.groups);
                let txn = footprint.txn;
                pending.push(Box::pin(async move {
                    match services.adjudicator.commit(*footprint).await {
                        Ok(decision) => Heard::Coordinator(Event::Decided { txn, decision }),
                        Err(AdjudicatorError::ReplyLost) => Heard::Coordinator(Event::ReplyLost { txn }),
                        Err(error) => Heard::TurnedAway(txn, error),
                    }
                }));
            }
            Effect::SendPrepare { to, txn, epoch, mutations } => {
                pending.push(Box::pin(prepare(services, to, txn, epoch, mutations)));
            }
            Effect::HintAbort { to, txn } => {
                // The coordinator names every replica, one after the other, and the shard tells all of them.
                if self.hinted.replace((to.shard, txn)) != Some((to.shard, txn))
                    && let Some(shard) = services.shards.shard(to.shard)
                {
                    shard.forget(txn);
                }
            }
            Effect::AskOutcome { txn, resolve } => pending.push(Box::pin(async move {
                // Who cannot be asked has not answered: the coordinator's timer asks again.
                let outcome = services.adjudicator.outcome(txn, resolve).await.unwrap_or(Outcome::Unknown);
                Heard::Coordinator(Event::OutcomeAnswered { txn, outcome })
            })),
            Effect::DrawTxn => events.push(Event::TxnDrawn(self.txn.draw_id(self.class))),
            Effect::AskPlacement => pending.push(Box::pin(async move {
                Heard::Coordinator(match services.refresh_placement().await {
                    Ok(placement) => Event::PlacementArrived(placement),
                    Err(_) => Event::AskFailed,
                })
            })),
            Effect::AskNewest { txn, keys, ranges, at_least } => {
                let keys = self.keys_of(keys);
                let ranges = ranges
                    .into_iter()
                    .filter_map(|at| {
                        let group = self.groups.get(at.0 as usize)?;
                        Some((at, group.ranges.get(at.1 as usize)?.range.clone()))
                    })
                    .collect();
                pending.push(Box::pin(async move {
                    Heard::Coordinator(match ask_newest(services, keys, ranges, at_least).await {
                        Ok((keys, ranges)) => Event::NewestAnswered { txn, keys, ranges },
                        Err(_) => Event::AskFailed,
                    })
                }));
            }
            Effect::SetTimer { timer, after } => {
                let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
                let sleep = services.clock.sleep(micros);
                pending.push(Box::pin(async move {
                    sleep.await;
                    Heard::Coordinator(Event::TimerFired(timer))
                }));
            }
            Effect::Acknowledge { txn } => services.adjudicator.acknowledge(vec![TxnRun::one(txn)]),
            Effect::Answer(_) => {}
        }
    }

    /// The keys behind hashes that the adjudicator named.
    fn keys_of(&mut self, hashes: Vec<KeyHash>) -> Vec<(KeyHash, Key)> {
        if self.places.is_empty() {
            self.places = self.txn.keys_by_hash();
        }
        hashes.into_iter().filter_map(|hash| Some((hash, self.places.get(&hash)?.clone()))).collect()
    }
}

async fn prepare(
    services: &Services,
    to: Voter,
    txn: TxnId,
    epoch: assize_model::Epoch,
    mutations: Arc<Vec<Mutation>>,
) -> Heard {
    let answer = match services.shards.shard(to.shard) {
        Some(shard) => shard.prepare(to.replica, txn, epoch, mutations).await.ok(),
        None => None,
    };
    let vote = match answer {
        Some(vote) => vote,
        // Silence: the others may carry the majority, and this one is asked again. Unless it is silent because the shard
        // is elsewhere by now, or is no more: it was merged into another one.
        None => {
            match services.refresh_placement().await.map(|p| p.shard_epoch(to.shard).unwrap_or(p.epoch)) {
                Ok(current) if current > epoch => Vote::No(VoteRefusal::StaleEpoch { current }),
                _ => return Heard::Coordinator(Event::AskFailed),
            }
        }
    };
    Heard::Coordinator(Event::Voted { voter: to, txn, vote })
}

/// How often the shards are asked again because the placement has changed.
const NEWEST_TRIES: usize = 8;

type NewestKeys = Vec<(KeyHash, Newest)>;
type NewestRanges = Vec<((u32, u32), Newest)>;

/// Asks every shard about these keys and ranges: it is simpler than routing, and rare. Slots may move meanwhile, and what
/// moves is written where nobody was asked; so the placement must be the same before and after, by the adjudicator's own
/// word.
async fn ask_newest(
    services: &Services,
    keys: Vec<(KeyHash, Key)>,
    ranges: Vec<((u32, u32), KeyRange)>,
    at_least: Timestamp,
) -> Result<(NewestKeys, NewestRanges), SqlError> {
    let mut placement = services.refresh_placement().await?;
    for _ in 0..NEWEST_TRIES {
        let newest = ask_newest_once(services, &placement, &keys, &ranges, at_least).await?;
        let after = services.refresh_placement().await?;
        if after.epoch == placement.epoch || !services.keeps(Rule::PlacementBeforeAndAfter) {
            return Ok(newest);
        }
        placement = after;
    }
    Err(SqlError::new(ErrorCode::ClusterUnavailable, "the placement of shards changed too often"))
}

async fn ask_newest_once(
    services: &Services,
    placement: &Placement,
    keys: &[(KeyHash, Key)],
    ranges: &[((u32, u32), KeyRange)],
    at_least: Timestamp,
) -> Result<(NewestKeys, NewestRanges), SqlError> {
    let wanted: Vec<Key> = keys.iter().map(|(_, key)| key.clone()).collect();
    let mut by_key: Vec<Option<Newest>> = vec![None; keys.len()];
    let mut by_range: Vec<Option<Newest>> = vec![None; ranges.len()];
    let join = |held: &mut Option<Newest>, newest: Option<Timestamp>, as_of: Timestamp| {
        *held = Some(match *held {
            None => Newest { newest, as_of },
            Some(h) => Newest { newest: h.newest.max(newest), as_of: h.as_of.min(as_of) },
        });
    };
    for id in placement.shards.keys() {
        let (shard, _) = services.shard(placement, *id).map_err(shard_error)?;
        if !wanted.is_empty() {
            let (as_of, newest) = shard.newest_commits(&wanted, at_least).await.map_err(shard_error)?;
            for (held, newest) in by_key.iter_mut().zip(newest) {
                join(held, newest, as_of);
            }
        }
        for (held, (_, range)) in by_range.iter_mut().zip(ranges) {
            let (as_of, newest) = shard.newest_commit_in(range, at_least).await.map_err(shard_error)?;
            join(held, newest, as_of);
        }
    }
    let keys = keys.iter().zip(by_key).filter_map(|((hash, _), newest)| Some((*hash, newest?))).collect();
    let ranges = ranges.iter().zip(by_range).filter_map(|((at, _), newest)| Some((*at, newest?))).collect();
    Ok((keys, ranges))
}
