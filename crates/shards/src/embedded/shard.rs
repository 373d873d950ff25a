//! The shard as frontends see it: reads on any thread, prepares through the replica's task.

use super::engine::RocksEngine;
use super::replica::{Event, Progress, Replica};
use super::{OpenError, Options, Setup};
use assize_model::{Epoch, Key, KeyRange, Mutation, ReplicaId, ShardId, Timestamp, TxnId, Vote, VoteRefusal};
use assize_mvcc::{Prepare, ReadError, Reader, StoreError};
use assize_ports::{BoxFuture, DecisionSource, Direction, ReadView, ScanPage, Shard, ShardError};
use assize_replica::ReadRefusal;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Prepares and other requests that wait for their turn; more prepares are refused.
const EVENTS_MAX: usize = 1024;

/// One shard, of which this process holds a replica.
pub struct Embedded {
    shard: ShardId,
    reader: Reader<RocksEngine>,
    progress: watch::Receiver<Progress>,
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
}

impl Embedded {
    pub(super) async fn start(
        setup: Setup,
        engine: RocksEngine,
        source: Arc<dyn DecisionSource>,
        options: &Options,
    ) -> Result<Arc<Embedded>, OpenError> {
        let shard = setup.shard;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (replica, progress) = Replica::open(setup, engine, source, receiver, options).await?;
        let reader = replica.reader();
        let task = Mutex::new(Some(tokio::spawn(replica.run())));
        Ok(Arc::new(Embedded { shard, reader, progress, events, wait_max: options.wait_max, task }))
    }

    /// Completes with the reason when the replica can go on no more: the process should stop.
    pub async fn failed(&self) -> String {
        let mut progress = self.progress.clone();
        let failure = match progress.wait_for(|progress| progress.failure.is_some()).await {
            Ok(progress) => progress.failure.clone(),
            Err(_) => None,
        };
        match failure {
            Some(why) => why.to_string(),
            // The task has ended because it was asked to.
            None => std::future::pending().await,
        }
    }

    /// Persists what was applied and ends. Reads go on as long as the value lives; prepares do not.
    pub async fn shutdown(&self) {
        // An error means that the task has ended by itself.
        let _ = self.events.send(Event::Stop).await;
        let task = self.task.lock().expect("no panic happens under this lock").take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// Numbers for operators.
    pub fn stats(&self) -> Stats {
        Stats { closed_ts: self.reader.closed_ts(), low_water: self.reader.low_water() }
    }

    /// Waits until a read at this snapshot, routed by this epoch, may go ahead.
    async fn admit(&self, snapshot_ts: Timestamp, epoch: Option<Epoch>) -> Result<(), ShardError> {
        {
            let progress = self.progress.borrow();
            if let Some(why) = &progress.failure {
                return Err(self.stopped(why));
            }
            // Nearly always so; what is left to check the reader checks itself.
            if self.reader.closed_ts() >= snapshot_ts && epoch.is_none_or(|asked| asked == progress.epoch) {
                return Ok(());
            }
        }
        let (reply, admitted) = oneshot::channel();
        let asked = self.events.send(Event::Admit(snapshot_ts, epoch, reply)).await;
        asked.map_err(|_| self.ended())?;
        match tokio::time::timeout(self.wait_max, admitted).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(ReadRefusal::StaleEpoch { current }))) => {
                let asked = epoch.unwrap_or(current);
                Err(ShardError::StaleEpoch { shard: self.shard, asked, current })
            }
            Ok(Ok(Err(ReadRefusal::SnapshotTooOld { .. }))) => Err(ShardError::SnapshotTooOld(snapshot_ts)),
            Ok(Ok(Err(refusal @ ReadRefusal::Unavailable))) => {
                Err(ShardError::Unreachable(self.shard, refusal.to_string()))
            }
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => {
                let why = format!("it has reached {}, not {snapshot_ts}", self.reader.closed_ts());
                Err(ShardError::Unreachable(self.shard, why))
            }
        }
    }

    /// The task is gone: say why.
    fn ended(&self) -> ShardError {
        match &self.progress.borrow().failure {
            Some(why) => self.stopped(why),
            None => self.stopped("it is shutting down"),
        }
    }

    fn stopped(&self, why: &str) -> ShardError {
        ShardError::Stopped(self.shard, why.to_owned())
    }

    fn read_error(&self, error: ReadError) -> ShardError {
        match error {
            ReadError::SnapshotTooOld { snapshot_ts, .. } => ShardError::SnapshotTooOld(snapshot_ts),
            ReadError::NotReached { .. } => ShardError::Unreachable(self.shard, error.to_string()),
            ReadError::Store(error) => self.store_error(&error),
        }
    }

    fn store_error(&self, error: &StoreError) -> ShardError {
        // The task may not have met the error yet: tell it, so that the replica stops as a whole.
        let _ = self.events.try_send(Event::ReadFailed(error.to_string()));
        self.stopped(&error.to_string())
    }

    async fn vote(&self, prepare: Prepare) -> Result<Vote, ShardError> {
        let (reply, vote) = oneshot::channel();
        match self.events.try_send(Event::Prepare(prepare, reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Ok(Vote::No(VoteRefusal::Overloaded)),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.ended()),
        }
        match tokio::time::timeout(self.wait_max, vote).await {
            Ok(Ok(vote)) => Ok(vote),
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => Err(ShardError::Unreachable(self.shard, "it does not vote".into())),
        }
    }
}

impl Shard for Embedded {
    fn id(&self) -> ShardId {
        self.shard
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(async move {
            self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            let reader = self.reader.routed_by(view.epoch);
            reader.get(key, view.snapshot_ts).map_err(|error| self.read_error(error))
        })
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(async move {
            self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            let reader = self.reader.routed_by(view.epoch);
            let get = |key| reader.get(key, view.snapshot_ts).map_err(|error| self.read_error(error));
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
            self.admit(view.snapshot_ts, Some(view.epoch)).await?;
            let direction = match direction {
                Direction::Forward => assize_mvcc::Direction::Forward,
                Direction::Reverse => assize_mvcc::Direction::Reverse,
            };
            let reader = self.reader.routed_by(view.epoch);
            let batch = reader.scan(range, view.snapshot_ts, direction, limit);
            let batch = batch.map_err(|error| self.read_error(error))?;
            Ok(ScanPage { rows: batch.rows, rest: batch.rest })
        })
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Vec<Option<Timestamp>>), ShardError>> {
        Box::pin(async move {
            self.admit(at_least, None).await?;
            // Taken first: what is committed meanwhile lies above it and is seen or not, both are right.
            let closed_ts = self.reader.closed_ts();
            let newest = |key| self.reader.newest_commit(key).map_err(|error| self.store_error(&error));
            Ok((closed_ts, keys.iter().map(newest).collect::<Result<_, _>>()?))
        })
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        Box::pin(async move {
            self.admit(at_least, None).await?;
            let closed_ts = self.reader.closed_ts();
            let newest = self.reader.newest_commit_in(range).map_err(|error| self.store_error(&error))?;
            Ok((closed_ts, newest))
        })
    }

    fn prepare(
        &self,
        _: Option<ReplicaId>,
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
