//! The handle: what a process that runs the adjudicator gives to its frontends and shards.

use crate::fs::{Disk, FileSystem, Memory};
use crate::leader::{Event, Leader, wall_millis};
use crate::locks::{Requested, Settled};
use crate::node::{Node, Shared};
use crate::options::Options;
use crate::raft::Proposal;
use crate::state::Answer;
use crate::streams::Subscription;
use assize_adjudicator::command::AllocateIds;
use assize_adjudicator::{Bootstrap, Command, EncodedFootprint, Known, Reply, Sequencer};
use assize_model::{
    CatalogVersion, Decision, Footprint, FrontendEpoch, FrontendId, KeyHash, LogIndex, Outcome, Placement,
    Position, ReplicaId, ShardId, TableId, Timestamp, TxnId,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, BoxFuture, CatalogObjects, DecisionSource, DecisionStream,
    IdRange, LockStrength, LockWait, NodeRecord, Registered, ReplicaStanding, Reserved, ShardStandings,
    StreamError,
};
use bytes::Bytes;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Why an adjudicator could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{0}")]
    InUse(String),
    /// The files cannot be read, are damaged, or the disk is full.
    #[error("cannot open the adjudicator: {0}")]
    Failed(#[from] io::Error),
}

/// A running adjudicator node that leads its group. Clones are handles to the same node.
#[derive(Clone)]
pub struct Adjudicator {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    leader: Mutex<Option<JoinHandle<()>>>,
    /// The placement as last handed out.
    placement: Mutex<Arc<Placement>>,
}

/// Numbers for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// The last applied log entry.
    pub applied: LogIndex,
    /// The closed timestamp of the last applied entry.
    pub closed_ts: Timestamp,
    /// The low-water mark.
    pub low_water: Timestamp,
    /// Outcomes held in memory.
    pub outcomes_held: u64,
    /// Entries in the log.
    pub log_entries: u64,
    /// Bytes that the log can write without new space.
    pub log_headroom_bytes: u64,
}

impl Adjudicator {
    /// Opens the adjudicator in a directory (`None`: in memory, gone with the process), recovers it, and leads.
    pub async fn open(directory: Option<PathBuf>, options: Options) -> Result<Adjudicator, OpenError> {
        let fs: Arc<dyn FileSystem> = match directory {
            Some(directory) => match Disk::open(&directory) {
                Ok(disk) => Arc::new(disk),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    return Err(OpenError::InUse(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            },
            None => Arc::new(Memory::crashless()),
        };
        Self::open_on(fs, options).await
    }

    /// Opens the adjudicator on any file system.
    pub async fn open_on(fs: Arc<dyn FileSystem>, options: Options) -> Result<Adjudicator, OpenError> {
        let node = Arc::new(Node::open(fs.clone(), &options).await?);
        if node.read().core.identity().is_none() {
            let now = Timestamp::from_millis(wall_millis());
            let cluster = u128::from(random()?) << 64 | u128::from(random()?);
            let bootstrap = Bootstrap {
                window_log2: options.window_log2,
                ..Bootstrap::new(cluster, random()?, now, options.placement.clone())
            };
            propose(&node, Command::Bootstrap(bootstrap)).await?;
        }
        let mut sequencer = Sequencer::new(assize_adjudicator::Options::default());
        propose(&node, Sequencer::first_entry(wall_millis())).await?;
        sequencer.took_over(&node.read().core);
        let placement = Mutex::new(Arc::new(node.read().core.placement().clone()));
        let shared = Shared::new(options, fs, &node);
        let (events, receiver) = mpsc::channel(shared.options.queue_max);
        let leader = Leader::new(node.clone(), shared.clone(), receiver, sequencer);
        let leader = Mutex::new(Some(tokio::spawn(leader.run())));
        Ok(Adjudicator { inner: Arc::new(Inner { node, shared, events, leader, placement }) })
    }

    /// A replica's decision stream after a position.
    pub fn subscribe(&self, shard: ShardId, from: Position) -> Result<Subscription, StreamError> {
        if !self.inner.node.read().core.placement().shards.contains_key(&shard) {
            return Err(StreamError::NoSuchShard(shard));
        }
        self.inner.node.streams.subscribe(shard, from)
    }

    /// Answers what is on its way, refuses the rest, and closes the files.
    pub async fn shutdown(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.inner.events.send(Event::Stop(stopped)).await.is_ok() {
            // An error means that the leader has ended by itself.
            let _ = wait.await;
        }
        let leader = self.inner.leader.lock().expect("no panic happens under this lock").take();
        if let Some(leader) = leader {
            let _ = leader.await;
        }
        self.inner.node.streams.end("the adjudicator is shutting down");
        // Raft has nothing left to do; an error means that it had stopped before.
        let _ = self.inner.node.raft.shutdown().await;
    }

    /// Completes with the reason when the node can go on no more: the process should stop.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.shared.watch_failure();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().expect("waited for"),
            Err(_) => "the adjudicator is gone".into(),
        }
    }

    /// Whether commits are taken, or why not.
    pub fn ready(&self) -> Result<(), AdjudicatorError> {
        self.inner.shared.room()
    }

    /// Numbers for operators.
    pub fn stats(&self) -> Stats {
        let state = self.inner.node.read();
        let wal = self.inner.node.wal();
        Stats {
            applied: state.core.applied(),
            closed_ts: state.core.position().closed_ts,
            low_water: state.core.low_water(),
            outcomes_held: state.core.outcomes_held() as u64,
            log_entries: wal.next_index() - wal.first_index(),
            log_headroom_bytes: wal.headroom(),
        }
    }

    /// The cluster's identity: its number and the seed of its key hashes.
    pub fn identity(&self) -> assize_adjudicator::Identity {
        self.inner.node.read().core.identity().expect("an open adjudicator is bootstrapped")
    }

    /// Makes sure that this node leads, so that its state is not an old one. In a group of one nobody else can.
    fn confirm_leadership(&self) -> Result<(), AdjudicatorError> {
        match self.inner.node.failure() {
            None => Ok(()),
            Some(why) => Err(AdjudicatorError::Stopped(why)),
        }
    }

    fn begun(&self) -> Begun {
        let begin = self.inner.node.read().core.begin();
        Begun {
            snapshot_ts: begin.snapshot_ts,
            catalog_version: begin.catalog_version,
            placement_epoch: begin.placement_epoch,
        }
    }

    /// Looks at the state as this node has applied it.
    pub(crate) fn with_core<T>(&self, look: impl FnOnce(&assize_adjudicator::Adjudicator) -> T) -> T {
        look(&self.inner.node.read().core)
    }

    pub(crate) async fn call(&self, command: Command) -> Result<Reply, AdjudicatorError> {
        match command {
            // A frontend that cannot write still wants to read, and to know what became of its transactions.
            Command::GrantFrontend { .. } | Command::Resolve(_) => self.inner.shared.room_for_little()?,
            _ => self.inner.shared.room()?,
        }
        let (reply, answer) = oneshot::channel();
        let event = Event::Propose(command, reply);
        self.inner.events.send(event).await.map_err(|_| self.stopped())?;
        answer.await.unwrap_or(Err(AdjudicatorError::ReplyLost))
    }

    fn stopped(&self) -> AdjudicatorError {
        let why = self.inner.node.failure().unwrap_or_else(|| "it is shutting down".into());
        AdjudicatorError::Stopped(why)
    }

    async fn commit_one(&self, footprint: Footprint) -> Result<Decision, AdjudicatorError> {
        // A footprint that no log entry can hold will never be decided; the sessions' limits are far below.
        let footprint = EncodedFootprint::new(&footprint).map_err(|error| {
            AdjudicatorError::Overloaded(format!("the footprint cannot be encoded: {error}"))
        })?;
        self.commit_encoded(footprint).await
    }

    async fn commit_encoded(&self, footprint: EncodedFootprint) -> Result<Decision, AdjudicatorError> {
        {
            let state = self.inner.node.read();
            if let Some(mut decision) = state.core.refuse_early(&footprint.view()) {
                state.explainer.complete(&mut decision, &footprint.view());
                return Ok(decision);
            }
        }
        self.inner.shared.room()?;
        let (reply, decision) = oneshot::channel();
        match self.inner.events.try_send(Event::Commit(footprint, reply)) {
            Ok(()) => decision.await.unwrap_or(Err(AdjudicatorError::ReplyLost)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let most = self.inner.shared.options.queue_max;
                Err(AdjudicatorError::Overloaded(format!("{most} commits are waiting")))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.stopped()),
        }
    }

    async fn outcome_of(&self, txn: TxnId, resolve: bool) -> Result<Outcome, AdjudicatorError> {
        self.confirm_leadership()?;
        let known = self.inner.node.read().core.outcome(txn);
        if known == Known::Undecided && resolve {
            return match self.call(Command::Resolve(txn)).await? {
                Reply::Outcome(known) => Ok(self.outcome_from(txn, known)),
                Reply::OutcomesFull => Ok(Outcome::Undecided),
                other => unreachable!("a resolve is answered with an outcome, not {other:?}"),
            };
        }
        Ok(self.outcome_from(txn, known))
    }

    fn outcome_from(&self, txn: TxnId, known: Known) -> Outcome {
        match known {
            Known::Decided(decision) => decision.into(),
            Known::Undecided => Outcome::Undecided,
            Known::Past => self.inner.node.read().history.outcome(txn),
        }
    }

    async fn reserve_keys(
        &self,
        owner: TxnId,
        keys: &[KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> Result<Reserved, AdjudicatorError> {
        self.confirm_leadership()?;
        let shared = &self.inner.shared;
        let (ticket, settled, limit) = {
            let mut locks = shared.locks();
            let wanted: Vec<KeyHash> = match wait {
                LockWait::Timeout(_) => keys.to_vec(),
                LockWait::NoWait | LockWait::SkipLocked => locks.table.free(owner, keys, strength).collect(),
            };
            if wait == LockWait::NoWait && wanted.len() < keys.len() {
                return Ok(Reserved::Busy);
            }
            match locks.table.request(owner, wanted.iter().copied(), strength) {
                Requested::Granted => {
                    drop(locks);
                    return Ok(Reserved::Granted { keys: wanted, begun: self.begun() });
                }
                Requested::Deadlock => return Ok(Reserved::Deadlock),
                Requested::Waiting(ticket) => {
                    let LockWait::Timeout(limit) = wait else {
                        locks.cancel(owner, ticket);
                        return Ok(Reserved::Busy);
                    };
                    (ticket, locks.wait(ticket), limit)
                }
            }
        };
        // Whoever stops waiting for whatever reason (a killed session drops this future) leaves the queue.
        let guard = CancelOnDrop { shared: shared.clone(), owner, ticket };
        match tokio::time::timeout(limit, settled).await {
            Ok(Ok(Settled::Granted)) => Ok(Reserved::Granted { keys: keys.to_vec(), begun: self.begun() }),
            Ok(Ok(Settled::Deadlock)) => Ok(Reserved::Deadlock),
            // The owner was released by somebody else, or its frontend was fenced.
            Ok(Err(_)) => Ok(Reserved::TimedOut),
            Err(_) => {
                if guard.cancel() {
                    Ok(Reserved::TimedOut)
                } else {
                    // Granted in the very last moment: it holds the keys, so say so.
                    Ok(Reserved::Granted { keys: keys.to_vec(), begun: self.begun() })
                }
            }
        }
    }
}

struct CancelOnDrop {
    shared: Arc<Shared>,
    owner: TxnId,
    ticket: crate::locks::Ticket,
}

impl CancelOnDrop {
    /// Whether it still waited.
    fn cancel(&self) -> bool {
        self.shared.locks().cancel(self.owner, self.ticket)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Proposes an entry before there is a leader's task.
async fn propose(node: &Node, command: Command) -> io::Result<Answer> {
    let written = node.raft.client_write(Proposal(command.encode().into())).await.map_err(|error| {
        node.failure().map_or_else(|| io::Error::other(error.to_string()), io::Error::other)
    })?;
    let reply = written.data.expect("commands are answered");
    Ok(*reply.downcast::<Answer>().expect("this node's mind answers with answers"))
}

/// 64 bits that nobody can foresee.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The number of a frontend: the digits at the end of its name, or else a hash of it. Frontends of one cluster
/// need names with different numbers; two that share one would fence each other.
fn frontend_id(name: &str) -> FrontendId {
    const NUMBERS: u32 = 1 << 16;
    let digits = &name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
    FrontendId(
        digits
            .parse::<u32>()
            .ok()
            .filter(|n| *n < NUMBERS)
            .unwrap_or_else(|| NUMBERS / 2 + crc32fast::hash(name.as_bytes()) % (NUMBERS / 2)),
    )
}

impl AdjudicatorClient for Adjudicator {
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        Box::pin(async move {
            let frontend = frontend_id(name);
            match self.call(Command::GrantFrontend { frontend, nonce }).await? {
                Reply::Granted(epoch) => {
                    Ok(Registered { frontend, epoch, hash_seed: self.identity().hash_seed })
                }
                _ => Err(AdjudicatorError::Overloaded(format!("frontend {name} has had all its lives"))),
            }
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        Box::pin(std::future::ready(self.confirm_leadership().map(|()| self.begun())))
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(self.commit_one(footprint))
    }

    fn commit_many(&self, footprints: Vec<Bytes>) -> BoxFuture<'_, Vec<Result<Decision, AdjudicatorError>>> {
        Box::pin(async move {
            let commits = footprints.into_iter().map(|footprint| async {
                match EncodedFootprint::from_bytes(footprint) {
                    Ok(footprint) => self.commit_encoded(footprint).await,
                    Err(error) => {
                        Err(AdjudicatorError::Overloaded(format!("the footprint cannot be read: {error}")))
                    }
                }
            });
            futures_util::future::join_all(commits).await
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        Box::pin(std::future::ready(self.confirm_leadership().map(|()| Vec::new())))
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        Box::pin(self.outcome_of(txn, resolve))
    }

    fn acknowledge(&self, txns: Vec<TxnId>) {
        // A lost acknowledgement keeps an outcome longer than needed, no more.
        let _ = self.inner.events.try_send(Event::Acknowledged(txns));
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        // Taken now: whatever begins after this report begins at or above it.
        let oldest = oldest.unwrap_or_else(|| self.begun().snapshot_ts);
        // The next report repeats a lost one.
        let _ = self.inner.events.try_send(Event::Oldest(frontend, epoch, oldest));
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership()?;
            let state = self.inner.node.read();
            let mut handed_out = self.inner.placement.lock().expect("no panic happens under this lock");
            if handed_out.epoch != state.core.placement().epoch {
                *handed_out = Arc::new(state.core.placement().clone());
            }
            Ok(handed_out.clone())
        })
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership()?;
            let delta = self.inner.node.read().core.catalog_since(since);
            if delta.to < at_least {
                // Versions are handed out by this node's own state, so nobody can know a later one.
                return Err(AdjudicatorError::Unreachable(format!("the catalog is at {}", delta.to)));
            }
            let objects = delta.objects.into_iter().map(|o| (o.name, o.version.0, o.bytes)).collect();
            Ok(CatalogObjects { version: delta.to, complete: delta.is_everything, objects })
        })
    }

    fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        Box::pin(async move {
            let wanted = AllocateIds { table, count, at_least, increment, offset };
            match self.call(Command::AllocateIds(wanted)).await? {
                Reply::Ids { first } => Ok(IdRange { first, count, increment }),
                // None are left: an empty run says so.
                _ => Ok(IdRange { first: 0, count: 0, increment }),
            }
        })
    }

    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership()?;
            Ok(self.inner.node.read().core.counter(table))
        })
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership()?;
            if !self.inner.node.read().core.tracks_ranges(table) {
                self.call(Command::TrackRanges(table)).await?;
            }
            Ok(())
        })
    }

    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        Box::pin(self.reserve_keys(owner, keys, strength, wait))
    }

    fn release(&self, owner: TxnId) {
        self.inner.shared.locks().release(owner);
    }
}

impl DecisionSource for Adjudicator {
    fn subscribe(
        &self,
        shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>> {
        let subscription = Adjudicator::subscribe(self, shard, from);
        Box::pin(std::future::ready(subscription.map(|s| Box::new(s) as Box<dyn DecisionStream>)))
    }

    fn standings(&self, shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>> {
        let state = self.inner.node.read();
        let replicas = state.core.replicas().iter().filter(|((of, _), _)| *of == shard);
        let replicas = replicas.map(|((_, replica), state)| ReplicaStanding {
            replica: *replica,
            durable: state.durable.index,
            counts: state.counts,
        });
        let standings = ShardStandings { as_of: state.core.applied(), replicas: replicas.collect() };
        Box::pin(std::future::ready(Ok(standings)))
    }

    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position) {
        // The next report says more than a lost one did.
        let _ = self.inner.events.try_send(Event::Durable(shard, replica, durable));
    }
}
