//! The hands of a replica: one task that feeds its mind and carries out what it asks for.
//!
//! The mind (`assize-replica`) decides everything; it was simulated with three replicas before it met a disk.
//! Here it has no siblings yet, so what only a sibling could give (an intent, a checkpoint) ends the replica.

use super::engine::RocksEngine;
use super::{Options, Setup};
use assize_model::{Epoch, Position, Timestamp, TxnId, Vote};
use assize_mvcc::{Prepare, Slots};
use assize_ports::{DecisionSource, DecisionStream, ShardStandings, StreamError};
use assize_replica::{Effect, ReadRefusal, RequestId, Standing, Standings};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// Prepares that share one sync.
const PREPARES_PER_WRITE: usize = 64;
/// How often the mind is told that time has passed.
const TICK: Duration = Duration::from_millis(250);
/// A replica that a full disk has held up for so long stops: RocksDB does not always go on by itself when there
/// is room again, and after a restart it does.
const FULL_MAX: Duration = Duration::from_secs(30);
/// A stream that cannot be reached is tried again after this long.
const RESUBSCRIBE: Duration = Duration::from_millis(250);

type Mind = assize_replica::Replica<RocksEngine>;
type MindEvent = assize_replica::Event<RocksEngine>;

/// What reaches the task, besides the stream.
pub enum Event {
    /// Vote. Silence is an answer too: the replica cannot tell.
    Prepare(Prepare, oneshot::Sender<Vote>),
    /// A hint that a transaction will never commit.
    Forget(TxnId),
    /// Say when a read may go ahead.
    Admit(Timestamp, Option<Epoch>, oneshot::Sender<Result<(), ReadRefusal>>),
    /// A reader met an error that ends the replica.
    ReadFailed(String),
    /// Flush and end.
    Stop,
}

/// How far the replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The epoch at the position.
    pub epoch: Epoch,
    /// Why it has ended, if it has failed.
    pub failure: Option<Arc<str>>,
}

/// The task.
pub struct Replica {
    setup: Setup,
    mind: Mind,
    /// What the mind asked for and is not done yet.
    effects: Vec<Effect<PathBuf>>,
    stream: Box<dyn DecisionStream>,
    /// Where the stream will go on, so that asking again for the same costs nothing.
    streamed: Position,
    source: Arc<dyn DecisionSource>,
    events: mpsc::Receiver<Event>,
    progress: watch::Sender<Progress>,
    votes: BTreeMap<RequestId, oneshot::Sender<Vote>>,
    reads: BTreeMap<RequestId, oneshot::Sender<Result<(), ReadRefusal>>>,
    next_request: u64,
    /// Since when a full disk holds the stream up.
    full_since: Option<Instant>,
}

/// Why the task ends.
enum End {
    Stop,
    Failed(String),
}

impl Replica {
    /// Opens the mind on an engine and resumes its stream. The reader can be used at once.
    pub async fn open(
        setup: Setup,
        engine: RocksEngine,
        source: Arc<dyn DecisionSource>,
        events: mpsc::Receiver<Event>,
        options: &Options,
    ) -> Result<(Replica, watch::Receiver<Progress>), super::OpenError> {
        let shard = setup.shard;
        let mind_options = assize_replica::Options {
            store: assize_mvcc::Options {
                epoch: setup.epoch,
                slots: Slots::new(setup.slots.clone()),
                ..assize_mvcc::Options::default()
            },
            flush_after: options.flush_interval,
            ..assize_replica::Options::new(shard, setup.replica)
        };
        let mut effects = Vec::new();
        let mind = in_place(|| Mind::resume(now(), engine, mind_options, &mut effects));
        let (Some(position), Some(store)) = (mind.position(), mind.store()) else {
            let reason = mind.alarm().map_or_else(String::new, ToString::to_string);
            return Err(super::OpenError::Shard { shard, reason });
        };
        let (progress, watched) = watch::channel(Progress { epoch: store.epoch(), failure: None });
        let stream = source.subscribe(shard, position).await?;
        let replica = Replica {
            setup,
            mind,
            effects,
            stream,
            streamed: position,
            source,
            events,
            progress,
            votes: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_request: 0,
            full_since: None,
        };
        Ok((replica, watched))
    }

    /// The reading half of the store.
    pub fn reader(&self) -> assize_mvcc::Reader<RocksEngine> {
        self.mind.reader().expect("a mind that was just opened has a store")
    }

    /// Runs until it is stopped or fails.
    pub async fn run(mut self) {
        let shard = self.setup.shard;
        match self.follow().await {
            End::Stop => {
                if let Some(store) = self.mind.store()
                    && let Err(error) = in_place(|| assize_mvcc::Engine::flush(store.engine()))
                {
                    // Nothing is lost: the stream brings it again.
                    tracing::warn!(%shard, %error, "the last flush failed");
                }
            }
            End::Failed(why) => {
                tracing::error!(%shard, why, "the replica stops");
                self.progress.send_modify(|progress| progress.failure = Some(why.as_str().into()));
                // Whoever waits learns of it by the end of the channels.
            }
        }
    }

    async fn follow(&mut self) -> End {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_ended = false;
        loop {
            if let Err(end) = self.carry_out().await {
                return end;
            }
            let step = tokio::select! {
                entries = self.stream.next(), if !has_ended => match entries {
                    Ok(entries) => {
                        for entry in entries {
                            self.streamed = entry.position;
                            self.step(MindEvent::Streamed(entry));
                        }
                        self.publish();
                        Ok(())
                    }
                    // The adjudicator of this process stops, and its reason is the better one.
                    Err(StreamError::Ended(why)) => {
                        tracing::debug!(shard = %self.setup.shard, why, "the stream has ended");
                        has_ended = true;
                        Ok(())
                    }
                    Err(StreamError::Unreachable(_)) => {
                        tokio::time::sleep(RESUBSCRIBE).await;
                        self.streamed = Position::default();
                        self.step(MindEvent::StreamLost);
                        Ok(())
                    }
                    Err(error) => Err(End::Failed(error.to_string())),
                },
                event = self.events.recv() => match event {
                    Some(event) => self.take(event),
                    None => Err(End::Stop),
                },
                _ = ticks.tick() => {
                    in_place(|| self.step(MindEvent::Tick));
                    self.drop_those_who_left();
                    self.look_at_the_disk()
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn step(&mut self, event: MindEvent) {
        self.mind.step(now(), event, &mut self.effects);
    }

    /// Shows the epoch to readers; the store itself shows them its position.
    fn publish(&self) {
        if let Some(epoch) = self.mind.store().map(assize_mvcc::MvccStore::epoch) {
            self.progress.send_if_modified(|progress| std::mem::replace(&mut progress.epoch, epoch) != epoch);
        }
    }

    fn take(&mut self, event: Event) -> Result<(), End> {
        let mut prepares = Vec::new();
        let mut end = Ok(());
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Event::Prepare(prepare, reply) => {
                    let request = self.draw();
                    self.votes.insert(request, reply);
                    prepares.push((request, prepare));
                }
                Event::Forget(txn) => self.step(MindEvent::ForgetAsked(txn)),
                Event::Admit(snapshot_ts, epoch, reply) => {
                    let request = self.draw();
                    self.reads.insert(request, reply);
                    self.step(MindEvent::ReadAsked { request, snapshot_ts, epoch });
                }
                Event::ReadFailed(why) => end = Err(End::Failed(why)),
                Event::Stop => end = Err(End::Stop),
            }
            // Prepares that have arrived together share one sync.
            let goes_on = end.is_ok() && prepares.len() < PREPARES_PER_WRITE;
            next = if goes_on { self.events.try_recv().ok() } else { None };
        }
        if !prepares.is_empty() {
            in_place(|| self.step(MindEvent::PreparesAsked(prepares)));
        }
        end
    }

    fn draw(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Tells the mind of requests for which nobody waits any more.
    fn drop_those_who_left(&mut self) {
        let mut gone: Vec<RequestId> = Vec::new();
        gone.extend(self.votes.extract_if(.., |_, reply| reply.is_closed()).map(|(request, _)| request));
        gone.extend(self.reads.extract_if(.., |_, reply| reply.is_closed()).map(|(request, _)| request));
        gone.into_iter().for_each(|request| self.step(MindEvent::Cancelled(request)));
    }

    fn look_at_the_disk(&mut self) -> Result<(), End> {
        if !self.mind.is_full() {
            self.full_since = None;
            return Ok(());
        }
        let shard = self.setup.shard;
        if self.full_since.is_none() {
            tracing::error!(%shard, "the disk is full: waiting for space");
        }
        let since = self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > FULL_MAX {
            return Err(End::Failed(format!("the disk has been full for {} s", FULL_MAX.as_secs())));
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> Result<(), End> {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out_one(effect).await?;
            }
        }
        Ok(())
    }

    async fn carry_out_one(&mut self, effect: Effect<PathBuf>) -> Result<(), End> {
        match effect {
            Effect::Subscribe { after } => {
                if after.index != self.streamed.index {
                    match self.source.subscribe(self.setup.shard, after).await {
                        Ok(stream) => {
                            self.stream = stream;
                            self.streamed = after;
                        }
                        // The mind asks again.
                        Err(StreamError::Unreachable(_)) => {}
                        Err(error) => return Err(End::Failed(error.to_string())),
                    }
                }
            }
            Effect::Vote { request, vote, .. } => {
                if let Some(reply) = self.votes.remove(&request) {
                    // A coordinator that went away is done with the transaction.
                    let _ = reply.send(vote);
                }
            }
            Effect::AdmitRead { request } => {
                if let Some(reply) = self.reads.remove(&request) {
                    let _ = reply.send(Ok(()));
                }
            }
            Effect::RefuseRead { request, refusal } => {
                if let Some(reply) = self.reads.remove(&request) {
                    let _ = reply.send(Err(refusal));
                }
            }
            Effect::AskStandings => {
                if let Ok(standings) = self.source.standings(self.setup.shard).await {
                    self.step(MindEvent::StandingsReported(standings_of(standings)));
                }
            }
            Effect::ReportDurable { durable } => {
                self.source.report_durable(self.setup.shard, self.setup.replica, durable);
            }
            Effect::Halt(alarm) => return Err(End::Failed(alarm.to_string())),
            // Siblings on other nodes are out of reach for a process of its own.
            Effect::FetchIntent { from, .. } | Effect::AskCheckpoint { from, .. } => {
                let why = format!("replica {from} has what is missing here, and cannot be reached");
                return Err(End::Failed(why));
            }
            Effect::RaiseEpoch | Effect::Register => {
                return Err(End::Failed("it must be rebuilt from a sibling, and there is none".into()));
            }
            Effect::AnswerIntent { .. }
            | Effect::SendCheckpoint { .. }
            | Effect::AskSlots { .. }
            | Effect::AskContent { .. }
            | Effect::AnswerContent { .. }
            | Effect::TellContentDiffers { .. }
            | Effect::ReportDifference(_) => {}
        }
        Ok(())
    }
}

fn standings_of(standings: ShardStandings) -> Standings {
    let standing =
        |s: assize_ports::ReplicaStanding| (s.replica, Standing { durable: s.durable, counts: s.counts });
    Standings { as_of: standings.as_of, replicas: standings.replicas.into_iter().map(standing).collect() }
}

/// The mind's time: only differences matter to it.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}

/// Runs something that may wait for the disk without holding up other tasks of this thread.
fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
