//! The task that owns a replica's store: it follows the stream, votes, flushes and collects.

use super::engine::RocksEngine;
use super::{Options, Setup, blocking};
use assize_model::{Epoch, LogIndex, Position, StreamEntry, Timestamp, TxnId, Vote};
use assize_mvcc::{Applied, EngineError, MvccStore, Prepare, StoreError};
use assize_ports::{DecisionSource, DecisionStream, StreamError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Prepares that share one sync.
const PREPARES_PER_WRITE: usize = 64;
/// How often the replica looks after itself.
const HOUSEKEEPING: Duration = Duration::from_millis(200);
/// Versions that one round of collecting looks at.
const COLLECT_STEP: usize = 4096;
/// A pass over all versions begins no sooner than this after the one before ended.
const COLLECT_PAUSE: Duration = Duration::from_secs(20);
/// A replica that applied nothing is still flushed when its durable position is so many entries behind.
const LAG_MAX: u64 = 10_000;
/// A full disk is tried again after this long.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What reaches the task, besides the stream.
pub enum Event {
    /// Vote.
    Prepare(Prepare, oneshot::Sender<Result<Vote, String>>),
    /// A hint that a transaction will never commit.
    Forget(TxnId),
    /// A reader met an error that ends the replica.
    ReadFailed(String),
    /// Flush and end.
    Stop,
}

/// How far the replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub closed_ts: Timestamp,
    pub epoch: Epoch,
    pub failure: Option<Arc<str>>,
}

/// The task.
pub struct Replica {
    setup: Setup,
    store: MvccStore<RocksEngine>,
    stream: Box<dyn DecisionStream>,
    source: Arc<dyn DecisionSource>,
    events: mpsc::Receiver<Event>,
    progress: watch::Sender<Progress>,
    options: Options,
    /// Whether commits were applied since the last flush.
    dirty: bool,
    flushed: Instant,
    reported: Position,
    /// Whether commits were applied since the last pass of collecting began.
    written: bool,
    collecting: Option<Option<assize_model::Key>>,
    collected: Instant,
    collected_low_water: Timestamp,
    was_full: bool,
}

/// Why the task ends.
enum End {
    Stop,
    Failed(String),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        End::Failed(error.to_string())
    }
}

impl Replica {
    pub fn new(
        setup: Setup,
        store: MvccStore<RocksEngine>,
        stream: Box<dyn DecisionStream>,
        source: Arc<dyn DecisionSource>,
        events: mpsc::Receiver<Event>,
        options: Options,
    ) -> (Replica, watch::Receiver<Progress>) {
        let now = Progress { closed_ts: store.position().closed_ts, epoch: store.epoch(), failure: None };
        let (progress, watched) = watch::channel(now);
        let now = Instant::now();
        let replica = Replica {
            setup,
            store,
            stream,
            source,
            events,
            progress,
            options,
            dirty: false,
            flushed: now,
            reported: Position::default(),
            written: true,
            collecting: None,
            collected: now,
            collected_low_water: Timestamp::ZERO,
            was_full: false,
        };
        (replica, watched)
    }

    /// Runs until it is stopped or fails.
    pub async fn run(mut self) {
        let shard = self.setup.shard;
        match self.follow().await {
            End::Stop => {
                if let Err(error) = self.flush().await {
                    // Nothing is lost: the stream brings it again.
                    tracing::warn!(%shard, %error, "the last flush failed");
                }
            }
            End::Failed(why) => {
                tracing::error!(%shard, why, "the replica stops");
                self.progress.send_modify(|progress| progress.failure = Some(why.as_str().into()));
                self.refuse_everything(&why).await;
            }
        }
    }

    async fn follow(&mut self) -> End {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_over = false;
        loop {
            let step = tokio::select! {
                entries = self.stream.next(), if !is_over => match entries {
                    Ok(entries) => self.apply(&entries).await,
                    Err(StreamError::Ended(why)) => {
                        // The adjudicator in this process stops; so shall we, but its reason is the better one.
                        tracing::debug!(shard = %self.setup.shard, why, "the stream has ended");
                        is_over = true;
                        Ok(())
                    }
                    Err(StreamError::Unreachable(_)) => self.resubscribe().await,
                    Err(error) => Err(End::Failed(error.to_string())),
                },
                event = self.events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => Err(End::Stop),
                },
                _ = housekeeping.tick() => self.keep_house().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn resubscribe(&mut self) -> Result<(), End> {
        tokio::time::sleep(FULL_PAUSE).await;
        match self.source.subscribe(self.setup.shard, self.store.position()).await {
            Ok(stream) => self.stream = stream,
            Err(StreamError::Unreachable(_)) => {}
            Err(error) => return Err(End::Failed(error.to_string())),
        }
        Ok(())
    }

    async fn apply(&mut self, entries: &[Arc<StreamEntry>]) -> Result<(), End> {
        for entry in entries {
            self.apply_one(entry).await?;
        }
        let (closed_ts, epoch) = (self.store.position().closed_ts, self.store.epoch());
        self.progress.send_modify(|progress| {
            progress.closed_ts = closed_ts;
            progress.epoch = epoch;
        });
        Ok(())
    }

    async fn apply_one(&mut self, entry: &StreamEntry) -> Result<(), End> {
        loop {
            match self.store.apply(entry) {
                Ok(Applied::Done(_)) => {
                    self.was_full = false;
                    self.dirty |= !entry.commits.is_empty();
                    self.written |= !entry.commits.is_empty();
                    return Ok(());
                }
                Ok(Applied::Already(_)) => return Ok(()),
                Ok(Applied::Gap { position }) => {
                    let why = format!("entry {} does not follow {}", entry.position.index, position.index);
                    return Err(End::Failed(why));
                }
                Ok(Applied::NeedFetch(missing)) => {
                    // This replica has no siblings that could have it: a broken promise.
                    let why =
                        format!("the decision about {} names an intent that is not here", missing[0].txn);
                    return Err(End::Failed(why));
                }
                Err(StoreError::Engine(EngineError::Full { reason })) => {
                    // Nothing of the entry is visible, and it will come to be applied once there is space;
                    // until then this shard falls behind and reads at newer snapshots wait.
                    if !self.was_full {
                        self.was_full = true;
                        tracing::error!(shard = %self.setup.shard, reason, "the disk is full: waiting for space");
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), End> {
        let mut prepares = Vec::new();
        let mut replies = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Event::Prepare(prepare, reply) => {
                    prepares.push(prepare);
                    replies.push(reply);
                }
                Event::Forget(txn) => self.store.forget(txn)?,
                Event::ReadFailed(why) => return Err(End::Failed(why)),
                Event::Stop => {
                    self.vote(prepares, replies)?;
                    return Err(End::Stop);
                }
            }
            // Prepares that have arrived together share one sync.
            next = if prepares.len() < PREPARES_PER_WRITE { self.events.try_recv().ok() } else { None };
        }
        self.vote(prepares, replies)
    }

    fn vote(
        &mut self,
        prepares: Vec<Prepare>,
        replies: Vec<oneshot::Sender<Result<Vote, String>>>,
    ) -> Result<(), End> {
        if prepares.is_empty() {
            return Ok(());
        }
        match self.store.prepare(&prepares) {
            Ok(votes) => {
                for (reply, vote) in replies.into_iter().zip(votes) {
                    // A coordinator that went away is done with the transaction.
                    let _ = reply.send(Ok(vote));
                }
                Ok(())
            }
            Err(StoreError::Engine(EngineError::Full { reason })) => {
                // No vote is a No: the transactions abort, and others may find space.
                for reply in replies {
                    let _ = reply.send(Err(format!("the disk is full: {reason}")));
                }
                Ok(())
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.to_string()));
                }
                Err(error.into())
            }
        }
    }

    async fn keep_house(&mut self) -> Result<(), End> {
        let lag = self.store.position().index.0.saturating_sub(self.reported.index.0);
        let bytes = self.store.engine().unflushed_bytes();
        let is_due = self.dirty
            && (self.flushed.elapsed() >= self.options.flush_interval || bytes >= self.options.flush_bytes);
        if is_due || lag >= LAG_MAX {
            match self.flush().await {
                Ok(()) => {}
                Err(StoreError::Engine(EngineError::Full { reason })) => {
                    self.flushed = Instant::now();
                    tracing::error!(shard = %self.setup.shard, reason, "the disk is full: cannot persist");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.report()?;
        self.collect()
    }

    /// Persists what was applied up to now, without holding up other tasks.
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.dirty = false;
        self.flushed = Instant::now();
        let flush = self.store.engine().flusher();
        blocking(flush).await?;
        Ok(())
    }

    /// Tells how far this replica would be after a crash. RocksDB also flushes by itself, so this looks.
    fn report(&mut self) -> Result<(), End> {
        let durable = self.store.durable_position()?;
        if durable.index > self.reported.index {
            self.reported = durable;
            self.source.report_durable(self.setup.shard, self.setup.replica, durable);
        }
        Ok(())
    }

    /// Drops a little of what nobody can need any more.
    fn collect(&mut self) -> Result<(), End> {
        self.tolerate_full(|store| store.collect_intents(no_siblings()).map(|_| ()))?;
        let low_water = self.store.low_water();
        if self.collecting.is_none()
            && self.written
            && low_water > self.collected_low_water
            && self.collected.elapsed() >= COLLECT_PAUSE
        {
            self.written = false;
            self.collected_low_water = low_water;
            self.collecting = Some(None);
        }
        if let Some(from) = self.collecting.take() {
            let mut next = None;
            self.tolerate_full(|store| {
                next = store.collect_versions(from.as_ref(), COLLECT_STEP)?.next;
                Ok(())
            })?;
            match next {
                Some(key) => self.collecting = Some(Some(key)),
                None => self.collected = Instant::now(),
            }
        }
        Ok(())
    }

    /// Collecting on a full disk can wait.
    fn tolerate_full(
        &mut self,
        work: impl FnOnce(&mut MvccStore<RocksEngine>) -> Result<(), StoreError>,
    ) -> Result<(), End> {
        match work(&mut self.store) {
            Ok(()) | Err(StoreError::Engine(EngineError::Full { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A failed replica answers every vote with its failure until it is dropped.
    async fn refuse_everything(&mut self, why: &str) {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Prepare(_, reply) => drop(reply.send(Err(why.to_owned()))),
                Event::Stop => return,
                Event::Forget(_) | Event::ReadFailed(_) => {}
            }
        }
    }
}

/// A shard of one replica has no sibling whose durable position could hold intents back.
fn no_siblings() -> Option<LogIndex> {
    None
}
