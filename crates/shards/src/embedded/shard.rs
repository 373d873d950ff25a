//! One replica of this process, as others use it: reads on any thread, everything else through the replica's task.

use super::OpenError;
use super::engine::{Generation, RocksEngine};
use super::registry::Record;
use super::replica::{self, Event, Gauges, Progress, Surroundings, View};
use crate::wire::{Phase, ReplicaStatus};
use assize_model::{
    Epoch, Key, KeyRange, LogIndex, Mutation, Position, ReplicaId, ShardId, Slot, Timestamp, TxnId, Volume,
    Vote, VoteRefusal,
};
use assize_mvcc::{ContentHash, Gain, Page, Prepare, ReadError, Reader, Slots, Step, StoreError};
use assize_ports::{BoxFuture, Direction, NewestCommits, ReadView, Replica, ScanPage, ShardError};
use assize_replica::{ContentPage, IntentAnswer, ReadRefusal, Staging};
use assize_rocks::Image;
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Prepares and other requests that wait for their turn; more prepares are refused.
const EVENTS_MAX: usize = 1024;
/// What one step of a content hash looks at.
const HASH_STEP: Step = Step::of(10_000);

/// One replica of this process.
pub struct Embedded {
    shard: ShardId,
    replica: ReplicaId,
    progress: watch::Receiver<Progress>,
    gauges: Arc<Gauges>,
    events: mpsc::Sender<Event>,
    wait_max: Duration,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Numbers for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Snapshots up to here can be read.
    pub closed_ts: Timestamp,
    /// Snapshots from here on can be read.
    pub low_water: Timestamp,
    /// Intents that are not decided, when it was last looked.
    pub undecided: u64,
}

impl Embedded {
    pub(super) fn start(
        shard: ShardId,
        record: Record,
        epoch: Epoch,
        slots: Vec<(Slot, Slot)>,
        around: Surroundings,
    ) -> Result<Arc<Embedded>, OpenError> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let wait_max = around.options.wait_max;
        let (task, progress, gauges) = replica::Replica::open(shard, record, epoch, slots, receiver, around)?;
        let task = Mutex::new(Some(tokio::spawn(task.run())));
        let replica = record.replica;
        Ok(Arc::new(Embedded { shard, replica, progress, gauges, events, wait_max, task }))
    }

    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.shard
    }

    /// Which of its replicas.
    pub fn number(&self) -> ReplicaId {
        self.replica
    }

    /// Completes when the replica has ended: with the reason, if it can go on no more.
    pub(super) fn ended(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut progress = self.progress.clone();
        async move {
            let is_over = |progress: &Progress| matches!(progress.phase, Phase::Halted(_));
            match progress.wait_for(is_over).await.map(|progress| progress.phase.clone()) {
                Ok(Phase::Halted(why)) => Some(why),
                // The task has ended because it was asked to.
                _ => None,
            }
        }
    }

    /// Completes with the reason when the replica can go on no more: the process should stop.
    pub async fn failed(&self) -> String {
        match self.ended().await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Whether it has ended because its stored bytes are not those that were written.
    pub(super) fn is_damaged(&self) -> bool {
        self.gauges.is_damaged.load(Ordering::Relaxed)
    }

    /// Persists what was applied and ends. Nothing is answered any more.
    pub async fn shutdown(&self) {
        // An error means that the task has ended by itself.
        let _ = self.events.send(Event::Stop).await;
        let task = self.task.lock().expect("no panic happens under this lock").take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// Numbers for operators; zeros while it has nothing to read.
    pub fn stats(&self) -> Stats {
        let undecided = self.gauges.undecided.load(Ordering::Relaxed);
        match &self.progress.borrow().view {
            Some(View { reader, .. }) => {
                Stats { closed_ts: reader.closed_ts(), low_water: reader.low_water(), undecided }
            }
            None => Stats { closed_ts: Timestamp::ZERO, low_water: Timestamp::ZERO, undecided },
        }
    }

    /// How it is.
    pub fn status(&self) -> ReplicaStatus {
        let progress = self.progress.borrow();
        let load = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
        let reader = progress.view.as_ref().map(|view| &view.reader);
        let phase = match &progress.phase {
            Phase::Copying { .. } => Phase::Copying { bytes: load(&self.gauges.copied) },
            other => other.clone(),
        };
        ReplicaStatus {
            replica: self.replica,
            phase,
            position: Position {
                index: LogIndex(load(&self.gauges.index)),
                closed_ts: reader.map_or(Timestamp::ZERO, Reader::closed_ts),
            },
            durable: LogIndex(load(&self.gauges.durable)),
            epoch: reader.map_or(Epoch(0), Reader::epoch),
            bytes: load(&self.gauges.files),
        }
    }

    /// Begins to make durable what it has applied.
    pub fn begin_flush(&self) {
        // A full queue means that it is busy; whoever waits for durability asks again.
        let _ = self.events.try_send(Event::Flush);
    }

    /// Has it rebuilt from a sibling: its contents differ.
    pub async fn rebuild(&self) {
        // An error means that it has ended.
        let _ = self.events.send(Event::ContentDiffers(None)).await;
    }

    /// What it says to a sibling that lacks an intent.
    pub(crate) async fn intent(&self, from: ReplicaId, txn: TxnId) -> IntentAnswer {
        let (reply, answer) = oneshot::channel();
        let _ = self.events.send(Event::IntentAsked(from, txn, reply)).await;
        answer.await.unwrap_or(IntentAnswer::CannotSay)
    }

    /// A checkpoint for a learner, taken at or after an entry; `None` if it has none to give.
    pub(crate) async fn checkpoint(&self, from: ReplicaId, at_least: LogIndex) -> Option<Image> {
        let (reply, image) = oneshot::channel();
        let _ = self.events.send(Event::CheckpointAsked(from, at_least, reply)).await;
        image.await.ok()
    }

    /// A checkpoint for another shard that gains slots; `None` if they are not to be had here.
    pub(crate) async fn slots(&self, gain: Gain) -> Option<Image> {
        let (reply, image) = oneshot::channel();
        let _ = self.events.send(Event::SlotsAsked(gain, reply)).await;
        image.await.ok()
    }

    /// Has it stage slots of another shard, or go on with it; how far that is, or `None` if they cannot be staged now.
    pub(crate) async fn stage(&self, giver: ShardId, slots: Slots) -> Option<Staging> {
        let (reply, staging) = oneshot::channel();
        let _ = self.events.send(Event::Stage(giver, slots, reply)).await;
        staging.await.ok()
    }

    /// What it says to a sibling that compares; `None`: it cannot be compared.
    pub(crate) async fn content(&self, from: ReplicaId, page: ContentPage) -> Option<ContentHash> {
        let (reply, hash) = oneshot::channel();
        let _ = self.events.send(Event::ContentAsked(from, page, reply)).await;
        hash.await.ok().flatten()
    }

    /// Most siblings agreed in this epoch, and not with it.
    pub(crate) async fn differs(&self, epoch: Epoch) {
        // An error means that it has ended.
        let _ = self.events.send(Event::ContentDiffers(Some(epoch))).await;
    }

    /// The hash of what a snapshot shows in these slots. Replicas that stand beyond the same snapshot agree.
    pub async fn hash_content(
        &self,
        slots: Slots,
        snapshot_ts: Timestamp,
    ) -> Result<ContentHash, ShardError> {
        let view = self.admit(snapshot_ts, None).await?;
        let mut hash = ContentHash::default();
        let mut page = Page::all();
        loop {
            let (reader, slots) = (view.reader.clone(), slots.clone());
            let from = page.clone();
            let step = super::blocking(move || reader.hash_content(&slots, snapshot_ts, &from, HASH_STEP));
            let (part, rest) = step.await.map_err(|error| self.read_error(&view, error))?;
            hash = hash.and(part);
            match rest {
                Some(rest) => page.from = rest,
                None => return Ok(hash),
            }
        }
    }

    /// What can be read at this snapshot by a read that was routed by this epoch, once it may go ahead.
    async fn admit(&self, snapshot_ts: Timestamp, epoch: Option<Epoch>) -> Result<View, ShardError> {
        {
            let progress = self.progress.borrow();
            if let Phase::Halted(why) = &progress.phase {
                return Err(self.stopped(why));
            }
            // Nearly always so; what is left to check the reader checks itself. The position first: an epoch that is read
            // after it is that of the position or a later one.
            if progress.phase == Phase::Following
                && let Some(view) = &progress.view
                && view.reader.closed_ts() >= snapshot_ts
                && epoch.is_none_or(|asked| asked == view.reader.epoch())
            {
                return Ok(view.routed_by(epoch));
            }
        }
        let (reply, admitted) = oneshot::channel();
        let asked = self.events.send(Event::Admit(snapshot_ts, epoch, reply)).await;
        asked.map_err(|_| self.silence())?;
        match tokio::time::timeout(self.wait_max, admitted).await {
            Ok(Ok(Ok(()))) => {
                let view = self.progress.borrow().view.as_ref().map(|view| view.routed_by(epoch));
                view.ok_or_else(|| self.rebuilding())
            }
            Ok(Ok(Err(ReadRefusal::StaleEpoch { current }))) => {
                let asked = epoch.unwrap_or(current);
                Err(ShardError::StaleEpoch { shard: self.shard, asked, current })
            }
            Ok(Ok(Err(ReadRefusal::SnapshotTooOld { .. }))) => Err(ShardError::SnapshotTooOld(snapshot_ts)),
            Ok(Ok(Err(refusal @ ReadRefusal::Unavailable))) => {
                Err(ShardError::Unreachable(self.shard, refusal.to_string()))
            }
            Ok(Err(_)) => Err(self.silence()),
            Err(_) => {
                let why = format!("it has reached {}, not {snapshot_ts}", self.stats().closed_ts);
                Err(ShardError::Unreachable(self.shard, why))
            }
        }
    }

    /// Nobody answers: say why.
    fn silence(&self) -> ShardError {
        match &self.progress.borrow().phase {
            Phase::Halted(why) => self.stopped(why),
            Phase::Following if self.events.is_closed() => self.stopped("it is shutting down"),
            _ => self.rebuilding(),
        }
    }

    fn rebuilding(&self) -> ShardError {
        ShardError::Unreachable(self.shard, "the replica is being made".into())
    }

    fn stopped(&self, why: &str) -> ShardError {
        ShardError::Stopped(self.shard, why.to_owned())
    }

    fn read_error(&self, view: &View, error: ReadError) -> ShardError {
        match error {
            ReadError::SnapshotTooOld { snapshot_ts, .. } => ShardError::SnapshotTooOld(snapshot_ts),
            ReadError::NotReached { .. } => ShardError::Unreachable(self.shard, error.to_string()),
            ReadError::Store(error) => self.store_error(view.generation, &error),
        }
    }

    fn store_error(&self, generation: Generation, error: &StoreError) -> ShardError {
        let current = self.progress.borrow().view.as_ref().map(|view| view.generation);
        if current.is_some_and(|current| current != generation) {
            // The replica was rebuilt while this was reading.
            return self.rebuilding();
        }
        // The task may not have met the error yet: tell it, so that the replica stops as a whole.
        let _ = self.events.try_send(Event::ReadFailed(generation, error.clone()));
        self.stopped(&error.to_string())
    }

    async fn vote(&self, prepare: Prepare) -> Result<Vote, ShardError> {
        let (reply, vote) = oneshot::channel();
        match self.events.try_send(Event::Prepare(prepare, reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Ok(Vote::No(VoteRefusal::Overloaded)),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.silence()),
        }
        match tokio::time::timeout(self.wait_max, vote).await {
            Ok(Ok(vote)) => Ok(vote),
            Ok(Err(_)) => Err(self.silence()),
            Err(_) => Err(ShardError::Unreachable(self.shard, "it does not vote".into())),
        }
    }
}

impl View {
    fn routed_by(&self, epoch: Option<Epoch>) -> View {
        let reader: Reader<RocksEngine> = match epoch {
            Some(epoch) => self.reader.routed_by(epoch),
            None => self.reader.clone(),
        };
        View { generation: self.generation, reader }
    }
}

impl Replica for Embedded {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn replica(&self) -> ReplicaId {
        self.replica
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(async move {
            let at = self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            at.reader.get(key, view.snapshot_ts).map_err(|error| self.read_error(&at, error))
        })
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(async move {
            let at = self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            let get = |key| at.reader.get(key, view.snapshot_ts).map_err(|error| self.read_error(&at, error));
            keys.iter().map(get).collect()
        })
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        Box::pin(async move {
            let at = self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            let direction = match direction {
                Direction::Forward => assize_mvcc::Direction::Forward,
                Direction::Reverse => assize_mvcc::Direction::Reverse,
            };
            let batch = at.reader.scan(range, view.snapshot_ts, direction, limit);
            let batch = batch.map_err(|error| self.read_error(&at, error))?;
            Ok(ScanPage { rows: batch.rows, rest: batch.rest })
        })
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        Box::pin(async move {
            let at = self.admit(at_least, None).await?;
            // Taken first: what is committed meanwhile lies above it and is seen or not, both are right.
            let closed_ts = at.reader.closed_ts();
            let newest =
                |key| at.reader.newest_commit(key).map_err(|error| self.store_error(at.generation, &error));
            Ok((closed_ts, keys.iter().map(newest).collect::<Result<_, _>>()?))
        })
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        Box::pin(async move {
            let at = self.admit(at_least, None).await?;
            let closed_ts = at.reader.closed_ts();
            let newest = at.reader.newest_commit_in(range);
            let newest = newest.map_err(|error| self.store_error(at.generation, &error))?;
            Ok((closed_ts, newest))
        })
    }

    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        Box::pin(async move {
            let view = self.progress.borrow().view.clone().ok_or_else(|| self.silence())?;
            let mut volumes = Vec::with_capacity(ranges.len());
            for range in ranges {
                let (reader, range) = (view.reader.clone(), range.clone());
                let volume = super::blocking(move || reader.volume(&range)).await;
                volumes.push(volume.map_err(|error| self.read_error(&view, error))?);
            }
            Ok(volumes)
        })
    }

    fn prepare(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        let mutations = Arc::unwrap_or_clone(mutations);
        Box::pin(self.vote(Prepare { txn, epoch, mutations }))
    }

    fn forget(&self, txn: TxnId) {
        // Only a hint: the deadline does the same.
        let _ = self.events.try_send(Event::Forget(txn));
    }
}
