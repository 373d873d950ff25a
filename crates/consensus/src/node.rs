//! One node of the adjudicator's group: the log, the state machine and Raft between them.

use crate::fs::FileSystem;
use crate::leader::Locks;
use crate::options::Options;
use crate::raft::{CheckpointFiles, LogStore, Machine, NoPeers, Types};
use crate::state::State;
use crate::streams::Streams;
use crate::wal::Wal;
use assize_ports::AdjudicatorError;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;

/// A log as long as the retention bound is replayed well within this.
const RECOVERY: Duration = Duration::from_secs(300);

pub type Raft = openraft::Raft<Types, Machine<State>>;

/// The node. Leaders come and go; this stays.
pub struct Node {
    pub raft: Raft,
    pub files: CheckpointFiles,
    pub streams: Arc<Streams>,
    state: Arc<RwLock<State>>,
    wal: Arc<Wal>,
    /// Bytes applied when the base was captured.
    base_bytes: AtomicU64,
}

impl Node {
    /// Opens the node's files and starts Raft on them. Everything that was committed before is applied again
    /// from the base checkpoint on when this returns, and the node leads its group of one.
    pub async fn open(fs: Arc<dyn FileSystem>, options: &Options) -> io::Result<Node> {
        let streams = Streams::new();
        let state = Arc::new(RwLock::new(State::new(streams.clone())));
        let (wal, files, machine) = {
            let wal_options = crate::wal::Options { reserve: options.free_min, ..options.wal.clone() };
            let state = state.clone();
            tokio::task::spawn_blocking(move || {
                let wal = Wal::open(fs.clone(), &wal_options)?;
                let files = CheckpointFiles::open(fs)?;
                let machine = Machine::open(state, files.clone())?;
                Ok::<_, io::Error>((Arc::new(wal), files, machine))
            })
            .await
            .map_err(io::Error::other)??
        };
        let log_store = LogStore::new(wal.clone())?;
        let is_new = log_store.is_new();
        let id = options.node.0;
        let config = openraft::Config {
            cluster_name: "assize".into(),
            heartbeat_interval: 100,
            election_timeout_min: 300,
            election_timeout_max: 600,
            // Checkpoints are taken and the log is purged when replicas have persisted enough, not before.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        };
        let config = config.validate().map_err(io::Error::other)?;
        let raft = Raft::new(id, Arc::new(config), NoPeers, log_store, machine).await;
        let raft = raft.map_err(io::Error::other)?;
        if is_new {
            let members = BTreeMap::from([(id, BasicNode::new("local"))]);
            raft.initialize(members).await.map_err(io::Error::other)?;
        } else {
            // Nobody else can lead a group of one: there is nothing to wait for.
            raft.trigger().elect(false).await.map_err(io::Error::other)?;
        }
        raft.wait(Some(RECOVERY))
            .current_leader(id, "lead a group of one")
            .await
            .map_err(io::Error::other)?;
        raft.wait_for_recovery(Some(RECOVERY)).await.map_err(io::Error::other)?;
        Ok(Node { raft, files, streams, state, wal, base_bytes: AtomicU64::new(0) })
    }

    /// The state machine, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("a panic in apply ends the node")
    }

    /// The log.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// What ended the node, if something did.
    pub fn failure(&self) -> Option<String> {
        if let Some(failure) = self.wal.failure() {
            return Some(failure.to_string());
        }
        let metrics = self.raft.metrics();
        let running = metrics.borrow_watched().running_state.clone();
        running.err().map(|fatal| self.describe(&fatal))
    }

    /// An error of Raft, with the log's own word about it where there is one.
    pub fn describe(&self, fatal: &openraft::errors::Fatal<Types>) -> String {
        self.wal.failure().map_or_else(|| fatal.to_string(), |failure| failure.to_string())
    }

    /// Makes the candidate the base once every replica that counts has persisted enough, and forgets the log
    /// below it.
    pub async fn promote(&self) -> io::Result<()> {
        let Some(candidate) = self.files.candidate_index() else { return Ok(()) };
        let (captured, durable) = {
            let state = self.read();
            (state.captured(), state.core.retained_from())
        };
        if durable.is_none_or(|durable| durable < captured.streamed) {
            return Ok(());
        }
        // A checkpoint captured after the last durable report may be newer than the file; then it waits.
        if candidate < captured.applied.0 {
            return Ok(());
        }
        let files = self.files.clone();
        let promoted = tokio::task::spawn_blocking(move || files.promote());
        if let Some(index) = promoted.await.map_err(io::Error::other)?? {
            self.base_bytes.store(captured.bytes_applied, Ordering::Relaxed);
            self.streams.forget(captured.streamed);
            tracing::debug!(index, "the log below a checkpoint is purged");
            self.raft.trigger().purge_log(index).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Bytes applied when the base was captured.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Ordering::Relaxed)
    }
}

/// What the leader's task and those who call it share.
pub struct Shared {
    pub options: Options,
    fs: Arc<dyn FileSystem>,
    wal: Arc<Wal>,
    locks: Mutex<Locks>,
    free: AtomicU64,
    retained: AtomicU64,
    failure: watch::Sender<Option<String>>,
    streams: Arc<Streams>,
}

impl Shared {
    pub fn new(options: Options, fs: Arc<dyn FileSystem>, node: &Node) -> Arc<Shared> {
        let shared = Shared {
            options,
            fs,
            wal: node.wal.clone(),
            locks: Mutex::default(),
            free: AtomicU64::new(u64::MAX),
            retained: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            streams: node.streams.clone(),
        };
        shared.look_at_the_disk();
        Arc::new(shared)
    }

    pub fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().expect("no panic happens under this lock")
    }

    /// Remembers how much the disk has left.
    pub fn look_at_the_disk(&self) {
        // A disk that does not say is not taken for a full one.
        self.free.store(self.fs.free().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Remembers how much of the log cannot be forgotten yet.
    pub fn note_retained(&self, bytes: u64) {
        self.retained.store(bytes, Ordering::Relaxed);
    }

    /// Whether the node has not failed.
    fn alive(&self) -> Result<(), AdjudicatorError> {
        if let Some(why) = self.failure.borrow().clone() {
            return Err(AdjudicatorError::Stopped(why));
        }
        match self.wal.failure() {
            Some(failure) => Err(AdjudicatorError::Stopped(failure.to_string())),
            None => Ok(()),
        }
    }

    /// Whether something small may be written that makes no shard grow.
    pub fn room_for_little(&self) -> Result<(), AdjudicatorError> {
        self.alive()?;
        if !self.may_keep_house() {
            let left = format!("the log can write {}", self.wal.headroom());
            return Err(AdjudicatorError::DiskFull(left));
        }
        Ok(())
    }

    /// Whether something may be written.
    pub fn room(&self) -> Result<(), AdjudicatorError> {
        self.alive()?;
        let (headroom, free) = (self.wal.headroom(), self.free.load(Ordering::Relaxed));
        if headroom < self.options.headroom_min || free < self.options.free_min {
            let left = format!("{free} bytes are left, and the log can write {headroom}");
            return Err(AdjudicatorError::DiskFull(left));
        }
        if self.retained.load(Ordering::Relaxed) > self.options.retained_bytes_max {
            let why = "shards are too far behind in persisting decisions";
            return Err(AdjudicatorError::Overloaded(why.into()));
        }
        Ok(())
    }

    /// Whether the leader may write for itself: what it writes is little, and is what frees the disk.
    pub fn may_keep_house(&self) -> bool {
        self.wal.headroom() >= self.options.headroom_min / 2
    }

    /// The node can go on no more.
    pub fn fail(&self, why: &str) {
        let is_first = self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| why.to_owned());
            is_first
        });
        if is_first {
            tracing::error!(why, "the adjudicator stops");
            self.streams.end(why);
        }
    }

    pub fn watch_failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }
}
