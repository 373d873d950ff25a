//! One node of the adjudicator's group: the log, the state machine and Raft between them.

use crate::belonging::Belonging;
use crate::clock::Clock;
use crate::contacts::Contacts;
use crate::founding::{Admission, Founding};
use crate::fs::FileSystem;
use crate::hashes::Hashes;
use crate::heard::Heard;
use crate::incoming::Incoming;
use crate::leader::{Event, Locks};
use crate::losses::Losses;
use crate::options::Options;
use crate::progress::{Progress, Sight};
use crate::published::Published;
use crate::raft::{CheckpointFiles, LogStore, Machine, Network, Types};
use crate::state::State;
use crate::streams::Streams;
use crate::terms::Leadership;
use crate::wal::Wal;
use assize_model::{NodeId, Position, ReplicaId, ShardId};
use assize_ports::AdjudicatorError;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A log as long as the retention bound is replayed well within this.
const RECOVERY: Duration = Duration::from_secs(300);
/// How long a caller waits for a term that this node has won to begin.
const TERM_BEGINS_WITHIN: Duration = Duration::from_secs(2);

pub type Raft = openraft::Raft<Types, Machine<State>>;

/// The node. Leaders come and go; this stays.
pub struct Node {
    pub id: NodeId,
    pub raft: Raft,
    pub files: CheckpointFiles,
    pub streams: Arc<Streams>,
    pub published: Arc<Published>,
    pub contacts: Arc<Contacts>,
    pub clock: Clock,
    pub admission: watch::Sender<Admission>,
    pub hashes: Hashes,
    /// When a leader was last heard of.
    pub heard: Arc<Heard>,
    /// Whether what it has in its log comes through, while it leads.
    pub progress: Progress,
    /// Which cluster the directory belongs to, as it says itself.
    pub belonging: Mutex<Option<Belonging>>,
    /// A checkpoint that is on its way here.
    pub incoming: tokio::sync::Mutex<Option<Incoming>>,
    /// It is kept over a restart every so many bytes.
    pub keep_incoming_every: u64,
    /// The node's directory.
    pub fs: Arc<dyn FileSystem>,
    state: Arc<RwLock<State>>,
    wal: Arc<Wal>,
    /// Bytes applied when the base was captured.
    base_bytes: AtomicU64,
}

impl Node {
    /// Opens the node's files and starts Raft on them. A group of one has applied everything that was committed before
    /// when this returns, and leads; a larger one goes on from here.
    pub async fn open(
        fs: Arc<dyn FileSystem>,
        options: &Options,
        contacts: Arc<Contacts>,
    ) -> io::Result<Node> {
        let streams = Streams::new();
        let published = Arc::new(Published::default());
        let state = State::new(streams.clone(), published.clone(), options.cluster_version_max);
        let state = Arc::new(RwLock::new(state));
        // Of a state that refuses its log the reason is told, not where Raft met it.
        let refusal = |error: io::Error| {
            let too_old = state.read().ok().and_then(|state| state.too_old.clone());
            too_old.map_or(error, |why| io::Error::new(io::ErrorKind::Unsupported, why))
        };
        // Before anything is said to anybody.
        let belonging = Belonging::read(&*fs)?;
        if let (Some(peers), Some(belonging)) = (contacts.peers(), belonging) {
            peers.belong(belonging.cluster);
        }
        let (wal, files, machine) = {
            let fs = fs.clone();
            let (reserve, meter) = (options.free_min, options.meter.clone());
            let wal_options = crate::wal::Options { reserve, meter, ..options.wal.clone() };
            let state = state.clone();
            tokio::task::spawn_blocking(move || {
                let wal = Wal::open(fs.clone(), &wal_options)?;
                let files = CheckpointFiles::open(fs)?;
                let machine = Machine::open(state, files.clone())?;
                Ok::<_, io::Error>((Arc::new(wal), files, machine))
            })
            .await
            .map_err(io::Error::other)?
            .map_err(refusal)?
        };
        let log_store = LogStore::new(wal.clone())?;
        let is_new = log_store.is_new();
        let config = raft_config(options)?;
        let network = Network(contacts.clone());
        let raft = Raft::new(options.node.0, Arc::new(config), network, log_store, machine).await;
        let raft = raft.map_err(io::Error::other).map_err(refusal)?;
        contacts.follow(raft.server_metrics());
        let is_alone = options.founding == Founding::Alone;
        let admission = if is_new && !is_alone { Admission::Unknown } else { Admission::Admitted };
        let node = Node {
            id: options.node,
            raft,
            files,
            streams,
            published,
            contacts,
            clock: Clock::new(),
            admission: watch::Sender::new(admission),
            hashes: Hashes::default(),
            heard: Arc::new(Heard::new()),
            progress: Progress::default(),
            belonging: Mutex::new(belonging),
            incoming: tokio::sync::Mutex::default(),
            keep_incoming_every: options.keep_incoming_every,
            fs,
            state,
            wal,
            base_bytes: AtomicU64::new(0),
        };
        if is_new && is_alone {
            let members = BTreeMap::from([(options.node.0, BasicNode::new("local"))]);
            node.raft.initialize(members).await.map_err(io::Error::other)?;
        }
        if !node.contacts.has_peers() {
            node.lead_alone(is_new).await?;
        }
        Ok(node)
    }

    /// Nobody else can lead a group of one: there is nothing to wait for.
    async fn lead_alone(&self, is_new: bool) -> io::Result<()> {
        if !is_new {
            self.raft.trigger().elect(false).await.map_err(io::Error::other)?;
        }
        let leads = self.raft.wait(Some(RECOVERY)).current_leader(self.id.0, "lead a group of one").await;
        leads.map_err(io::Error::other)?;
        self.raft.wait_for_recovery(Some(RECOVERY)).await.map_err(io::Error::other)?;
        Ok(())
    }

    /// The state machine, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("a panic in apply ends the node")
    }

    /// As [`Node::read`], unless that would mean to wait.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.state.try_read().ok()
    }

    /// Does something to the state that no log says, to see what comes of it.
    #[cfg(test)]
    pub fn tamper(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.write().expect("a panic in apply ends the node"));
    }

    /// Which cluster this node belongs to: as its directory says, or its state if that knows better.
    pub fn belongs_to(&self) -> Option<Belonging> {
        let said = *self.belonging.lock().expect("no panic happens under this lock");
        let state = self.read();
        let recoveries = state.core.former_clusters().len() as u32;
        let known = state.core.identity().map(|identity| Belonging { cluster: identity.cluster, recoveries });
        match (said, known) {
            (Some(said), Some(known)) if said.recoveries >= known.recoveries => Some(said),
            (said, known) => known.or(said),
        }
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
        if *self.admission.borrow() == Admission::Lost {
            return Some(format!(
                "{} has lost its data: its disk is empty, but the cluster knows it as a voter; remove it from the \
                 cluster and add it again",
                self.id
            ));
        }
        let metrics = self.raft.metrics();
        let running = metrics.borrow_watched().running_state.clone();
        running.err().map(|fatal| self.describe(&fatal))
    }

    /// An error of Raft, with the log's own word about it where there is one.
    pub fn describe(&self, fatal: &openraft::errors::Fatal<Types>) -> String {
        let too_old = || self.read().too_old.clone();
        let failure = self.wal.failure().map(|failure| failure.to_string()).or_else(too_old);
        failure.unwrap_or_else(|| fatal.to_string())
    }

    /// Makes the candidate the base once every replica that counts has persisted enough.
    pub async fn promote(&self) -> io::Result<()> {
        let Some(candidate) = self.files.candidate_index() else { return Ok(()) };
        let (captured, durable) = {
            let state = self.read();
            (state.captured(candidate), state.core.retained_from())
        };
        let Some(captured) = captured else { return Ok(()) };
        if durable.is_none_or(|durable| durable < captured.streamed) {
            return Ok(());
        }
        let files = self.files.clone();
        // This one: another may have taken its place since it was looked at.
        let promoted = tokio::task::spawn_blocking(move || files.promote(candidate));
        if promoted.await.map_err(io::Error::other)?? {
            self.base_bytes.store(captured.bytes_applied, Ordering::Relaxed);
            self.forget_old_incoming().await?;
            tracing::debug!(index = candidate, "a checkpoint has become the base");
        }
        Ok(())
    }

    /// Whoever makes checkpoints of its own again has no use for one that did not arrive.
    async fn forget_old_incoming(&self) -> io::Result<()> {
        // One that is arriving now goes when it is here.
        let Ok(mut incoming) = self.incoming.try_lock() else { return Ok(()) };
        *incoming = None;
        let fs = self.fs.clone();
        tokio::task::spawn_blocking(move || crate::incoming::forget(&*fs)).await.map_err(io::Error::other)
    }

    /// Forgets what every replica that counts has persisted of the streams. The log keeps it for longer, and brings it again
    /// after a restart.
    pub fn forget_streams(&self) {
        let durable = self.read().core.retained_from();
        if let Some(durable) = durable {
            self.streams.forget(durable);
        }
    }

    /// Whether a checkpoint waits to become the base. One of which it is not known with what it was captured can never
    /// become it, and another takes its place.
    pub fn has_candidate(&self) -> bool {
        let candidate = self.files.candidate_index();
        candidate.is_some_and(|candidate| self.read().captured(candidate).is_some())
    }

    /// Has the log below the base purged. Asked again until it is: Raft purges only what it knows a checkpoint of, and
    /// the file may be there before Raft has heard of it.
    pub async fn forget_log(&self) -> io::Result<()> {
        let Some(base) = self.files.base_index() else { return Ok(()) };
        let purged = self.raft.metrics().borrow_watched().purged.map(|id| id.index);
        if purged.is_none_or(|purged| purged < base) {
            self.raft.trigger().purge_log(base).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Bytes applied when the base was captured.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Ordering::Relaxed)
    }

    /// The base came from another node: nothing before it is kept here.
    pub fn note_installed_base(&self) {
        self.base_bytes.store(self.read().bytes_applied, Ordering::Relaxed);
    }

    /// Looks whether what it has in its log comes through.
    pub fn look_at_progress(&self, leads: bool) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().filter(|voter| *voter != self.id.0).collect();
        let replication = metrics.replication.iter().flatten().filter(|(node, _)| voters.contains(node));
        let sight = Sight {
            log: metrics.last_log_index.unwrap_or(0),
            committed: metrics.cluster_committed.map_or(0, |id| id.index),
            matched: replication.filter_map(|(_, matched)| matched.map(|id| id.index)).sum(),
        };
        self.progress.look(leads.then_some(sight), Instant::now());
    }

    /// For how long entries of this leader have reached no majority without any progress.
    pub fn stalled_for(&self) -> Duration {
        let carried = crate::raft::carried(self.contacts.most_on_the_way());
        self.progress.stalled_for(carried, Instant::now())
    }

    /// Whether nobody else votes.
    pub fn is_only_voter(&self) -> bool {
        !self.contacts.has_peers() || self.contacts.voters().iter().all(|node| *node == self.id)
    }
}

fn raft_config(options: &Options) -> io::Result<openraft::Config> {
    let heartbeat = options.heartbeat.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: "assize".into(),
        heartbeat_interval: heartbeat,
        // A follower waits for as long as the leader may believe in its lead (the maximum), and then for a time
        // between the two: with 100 ms somebody else leads within a second; sooner if its process has ended
        // (`succession.rs`).
        election_timeout_min: 3 * heartbeat,
        election_timeout_max: u64::from(crate::succession::LEASE) * heartbeat,
        // A node that comes back first asks whether it would be elected, so that it deposes nobody.
        enable_pre_vote: Some(true),
        // Checkpoints are taken and the log is purged when replicas have persisted enough, not before.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // A learner may lose its disk and begin again; a voter that has lost its own is not admitted.
        allow_log_reversion: Some(true),
        // A leader may have sent what its own disk did not have yet, and the others may have committed it. Coming back
        // without it, and leading on in the same term, it would give other entries the log ids of those.
        enable_leader_restore: Some(false),
        // A peer that comes back is served soon.
        backoff: "100ms 100ms 100ms".into(),
        ..openraft::Config::default()
    };
    config.validate().map_err(io::Error::other)
}

/// What the tasks of a node and those who call it share.
pub struct Shared {
    pub options: Options,
    /// Who leads; changes with every election.
    pub leadership: watch::Sender<Leadership>,
    /// The way to the leader's task, while this node leads and has begun its term.
    pub leading: watch::Sender<Option<mpsc::Sender<Event>>>,
    /// Set once: the node shuts down.
    pub stopping: watch::Sender<bool>,
    /// What came of the last comparison of states, if they were not equal.
    pub divergence: Mutex<Option<String>>,
    /// Durable positions of replicas beside this node that the leader has not been told of yet.
    pub durable: Mutex<BTreeMap<(ShardId, ReplicaId), Position>>,
    /// Footprints that wait for their place in an entry.
    pub waiting: AtomicUsize,
    /// Footprints in entries that are on their way.
    pub under_way: AtomicUsize,
    /// How many of those that were decided lately have lost.
    pub losses: Losses,
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
            leadership: watch::Sender::default(),
            leading: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            divergence: Mutex::default(),
            durable: Mutex::default(),
            waiting: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            losses: Losses::default(),
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

    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    pub fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().expect("no panic happens under this lock")
    }

    /// The way to the leader's task, if this node leads.
    pub async fn leading(&self) -> Result<mpsc::Sender<Event>, AdjudicatorError> {
        if let Some(events) = &*self.leading.borrow() {
            return Ok(events.clone());
        }
        self.alive()?;
        if !self.leadership.borrow().is_this {
            return Err(self.not_leader());
        }
        // Elected a moment ago: the term begins when its first entry is applied.
        let mut leading = self.leading.subscribe();
        let mut leadership = self.leadership.subscribe();
        let begun = tokio::time::timeout(TERM_BEGINS_WITHIN, async {
            tokio::select! {
                begun = leading.wait_for(Option::is_some) => begun.ok().and_then(|events| events.clone()),
                _ = leadership.wait_for(|now| !now.is_this) => None,
            }
        });
        begun.await.ok().flatten().ok_or_else(|| self.not_leader())
    }

    /// What a caller is told who asked the wrong node.
    pub fn not_leader(&self) -> AdjudicatorError {
        AdjudicatorError::NotLeader { leader: self.leadership.borrow().leader }
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

    /// Bytes of commands that cannot be forgotten yet, as of the last housekeeping.
    pub fn retained(&self) -> u64 {
        self.retained.load(Ordering::Relaxed)
    }

    /// Whether the node has not failed and does not shut down.
    pub fn alive(&self) -> Result<(), AdjudicatorError> {
        if let Some(why) = self.failure.borrow().clone() {
            return Err(AdjudicatorError::Stopped(why));
        }
        if let Some(failure) = self.wal.failure() {
            return Err(AdjudicatorError::Stopped(failure.to_string()));
        }
        if *self.stopping.borrow() {
            return Err(AdjudicatorError::Stopped("it is shutting down".into()));
        }
        Ok(())
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
        // On a disk with room the log asks for more when it needs it, and only has to wait a moment.
        let room_max = self.options.free_min.saturating_add(4 * self.options.wal.segment_size);
        let is_roomy = free != u64::MAX && free > room_max;
        if headroom < self.options.headroom_min && !is_roomy || free < self.options.free_min {
            let left = format!("{free} bytes are left, and the log can write {headroom}");
            return Err(AdjudicatorError::DiskFull(left));
        }
        if self.retained.load(Ordering::Relaxed) > self.options.retained_bytes_max {
            let why = "shards are too far behind in persisting decisions";
            return Err(AdjudicatorError::Overloaded(why.into()));
        }
        Ok(())
    }

    /// Bytes that the disk has left, as of the last look.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether the leader may write for itself: what it writes is little.
    pub fn may_keep_house(&self) -> bool {
        self.wal.headroom() >= self.options.headroom_min / 2
    }

    /// Whether it may write what frees the disk. Everything else stops before this does, or nothing would ever be freed.
    pub fn may_free_the_log(&self) -> bool {
        self.wal.headroom() >= self.options.headroom_min / 8
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
