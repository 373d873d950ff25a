//! The handle: what a process that runs the adjudicator gives to its frontends and shards.

use crate::begins::Rounds;
use crate::contacts::Contacts;
use crate::founding::{Admission, Founding, found};
use crate::fs::{Disk, FileSystem, Memory};
use crate::housekeeping::Keeper;
use crate::leader::{BATCH_BYTES_MAX, Event, Frame, Row, Verdict};
use crate::locks::{Requested, Settled};
use crate::meter::Tally;
use crate::node::{Node, Shared};
use crate::options::Options;
use crate::service::RaftService;
use crate::streams::Subscription;
use crate::succession::watch_over_leader;
use crate::terms::{Leadership, lead_terms, random, watch_leadership};
use assize_adjudicator::command::AllocateIds;
use assize_adjudicator::sequencer::BATCH_MAX;
use assize_adjudicator::{
    COMPACT_SINCE, Command, EncodedFootprint, FootprintView, Known, ReplicaState, Reply, footprints_of,
    widened,
};
use assize_model::{
    CatalogVersion, Decision, Epoch, Footprint, FrontendEpoch, FrontendId, KeyHash, LogIndex, NodeId,
    Outcome, Placement, Position, ReplicaId, ShardId, TableId, Timestamp, TxnId, Winner,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, BoxFuture, CatalogObjects, Decided, DecisionSource,
    DecisionStream, Footprints, FrameDecisions, IdRange, LockStrength, LockWait, NodeRecord, Obstacle,
    PeerService, Peers, Registered, ReplicaStanding, Reserved, ShardStandings, StreamError, TxnRun,
};
use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// So many footprints are looked at before anybody else may apply something.
const LOOKED_AT: usize = 64;
/// A leader for which so many footprints wait, in its queue or on their way, has better things to do than to look for the few
/// that have no chance.
const BUSY_WAITING: usize = 256;

/// Why an adjudicator could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{0}")]
    InUse(String),
    /// The cluster has gone beyond what this program understands.
    #[error("{0}")]
    TooOld(String),
    /// The files cannot be read, are damaged, or the disk is full.
    #[error("cannot open the adjudicator: {0}")]
    Failed(#[from] io::Error),
}

/// A running node of the adjudicator's group. Clones are handles to the same node.
///
/// Only the leader answers as [`AdjudicatorClient`]; the others say who that is ([`AdjudicatorError::NotLeader`]).
/// As [`DecisionSource`] every node serves: the streams are of what it has applied itself; `standings` are those of its
/// own state, as of the entry that they name, and may be behind the leader's; `report_durable` is passed on to the
/// leader twice a second.
#[derive(Clone)]
pub struct Adjudicator {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    rounds: Rounds,
    service: Arc<RaftService>,
    /// The placement as last handed out.
    placement: Mutex<Arc<Placement>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.lock().expect("no panic happens under this lock").iter().for_each(JoinHandle::abort);
    }
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
    /// Bytes of commands that some replica may still need, as of the last housekeeping.
    pub retained_bytes: u64,
    /// Bytes of the entries that were applied since this process began.
    pub applied_bytes: u64,
    /// How far the cluster's time is ahead of this node's wall clock.
    pub clock_lead: Duration,
}

impl Adjudicator {
    /// Opens the adjudicator in a directory (`None`: in memory, gone with the process) and recovers it.
    ///
    /// Without peers it is a group of one, and leads when this returns. With peers it goes on as Raft and
    /// [`Options::founding`] say; [`Adjudicator::raft_service`] is to be served to the others at once, and a node that
    /// finds out that it has lost its data says so through [`Adjudicator::failed`].
    pub async fn open(
        directory: Option<PathBuf>,
        mut options: Options,
        peers: Option<Arc<dyn Peers>>,
    ) -> Result<Adjudicator, OpenError> {
        // Nobody can foresee it, and it is far from the greatest number there is.
        options.wal.first_lsn = random()? >> 2;
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
        Self::open_on(fs, options, peers).await
    }

    /// Opens the adjudicator on any file system.
    pub async fn open_on(
        fs: Arc<dyn FileSystem>,
        options: Options,
        peers: Option<Arc<dyn Peers>>,
    ) -> Result<Adjudicator, OpenError> {
        let is_alone = peers.is_none();
        let contacts = Contacts::new(peers);
        if let Founding::Together(founders) = &options.founding {
            let others = founders.iter().filter(|(node, _)| **node != options.node);
            others.for_each(|(node, address)| contacts.introduce(*node, address));
        }
        let opened = Node::open(fs.clone(), &options, contacts).await;
        let node = Arc::new(opened.map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => OpenError::TooOld(error.to_string()),
            _ => OpenError::Failed(error),
        })?);
        let shared = Shared::new(options, fs, &node);
        let mut tasks = vec![
            tokio::spawn(watch_leadership(node.clone(), shared.clone())),
            tokio::spawn(lead_terms(node.clone(), shared.clone())),
            tokio::spawn(watch_over_leader(node.clone(), shared.clone())),
            tokio::spawn(Keeper::new(node.clone(), shared.clone()).run()),
        ];
        if *node.admission.borrow() == Admission::Unknown {
            tasks.push(tokio::spawn(be_admitted(node.clone(), shared.clone())));
        }
        let placement = Mutex::new(Arc::new(node.read().core.placement().clone()));
        let inner = Inner {
            service: RaftService::new(&node, &shared),
            node,
            shared,
            tasks: Mutex::new(tasks),
            rounds: Rounds::default(),
            placement,
        };
        let adjudicator = Adjudicator { inner: Arc::new(inner) };
        if is_alone {
            adjudicator.wait_until_it_leads().await?;
        }
        Ok(adjudicator)
    }

    async fn wait_until_it_leads(&self) -> io::Result<()> {
        let mut leading = self.inner.shared.leading.subscribe();
        tokio::select! {
            // An error is impossible: the sender is ours.
            _ = leading.wait_for(Option::is_some) => Ok(()),
            why = self.failed() => Err(io::Error::other(why)),
        }
    }

    /// The serving half for the other nodes of the group.
    pub fn raft_service(&self) -> Arc<dyn PeerService> {
        self.inner.service.clone()
    }

    /// Who leads, as far as this node knows. Changes with every election.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.shared.leadership.subscribe()
    }

    /// This node's number.
    pub fn id(&self) -> NodeId {
        self.inner.node.id
    }

    /// A replica's decision stream after a position.
    pub fn subscribe(&self, shard: ShardId, from: Position) -> Result<Subscription, StreamError> {
        if !self.inner.node.read().core.placement().shards.contains_key(&shard) {
            return Err(StreamError::NoSuchShard(shard));
        }
        self.inner.node.streams.subscribe(shard, from)
    }

    /// Hands over the lead if there is somebody to take it, answers what is on its way, refuses the rest, and closes
    /// the files.
    pub async fn shutdown(&self) {
        if let Err(error) = self.drain().await {
            tracing::debug!(%error, "shutting down without handing over the lead");
        }
        let Inner { shared, node, .. } = &*self.inner;
        shared.stopping.send_replace(true);
        // Bound first: the value in the channel must not stay locked while we wait.
        let events = shared.leading.borrow().clone();
        if let Some(events) = events {
            let (stopped, wait) = oneshot::channel();
            if events.send(Event::Stop(stopped)).await.is_ok() {
                // An error means that the leader has ended by itself.
                let _ = wait.await;
            }
        }
        let tasks = std::mem::take(&mut *self.inner.tasks.lock().expect("no panic happens under this lock"));
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // What is aborted says so.
            let _ = task.await;
        }
        shared.leading.send_replace(None);
        node.streams.end("the adjudicator is shutting down");
        // Raft has nothing left to do; an error means that it had stopped before.
        let _ = node.raft.shutdown().await;
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
            retained_bytes: self.inner.shared.retained(),
            applied_bytes: state.bytes_applied,
            clock_lead: self.inner.node.clock.lead(),
        }
    }

    /// How far each replica of every shard has persisted the stream, as this node's state has it.
    pub fn durable_positions(&self) -> Vec<(ShardId, ReplicaStanding)> {
        let state = self.inner.node.read();
        let replicas = state.core.replicas().iter();
        replicas.map(|((shard, replica), state)| (*shard, standing_of(*replica, state))).collect()
    }

    /// The epoch of the placement in force on this node, and whenever it changes.
    pub fn watch_placement(&self) -> watch::Receiver<Epoch> {
        self.inner.node.streams.watch_placement()
    }

    /// The cluster's identity: its number and the seed of its key hashes. `None` until this node has applied the
    /// entry with which the cluster begins; on a group of one it is there.
    pub fn identity(&self) -> Option<assize_adjudicator::Identity> {
        self.inner.node.read().core.identity()
    }

    /// The number of the cluster that this node belongs to, which its directory may know before its log says so. `None`
    /// before the cluster begins.
    pub fn cluster(&self) -> Option<u128> {
        self.inner.node.belongs_to().map(|belonging| belonging.cluster)
    }

    /// Proposes any entry, on the leader, and waits until it is applied here.
    pub async fn propose(&self, command: Command) -> Result<Reply, AdjudicatorError> {
        self.call(command).await
    }

    /// Makes sure that this node leads and has applied everything that was acknowledged before this call, so that its
    /// state is not an old one. Callers that wait at the same time share one round of the group.
    async fn confirm_leadership(&self) -> Result<(), AdjudicatorError> {
        let Inner { node, shared, rounds, .. } = &*self.inner;
        shared.alive()?;
        if !node.contacts.has_peers() {
            // Nobody else can lead.
            return Ok(());
        }
        if shared.leading.borrow().is_none() {
            self.inner.shared.leading().await?;
        }
        let (node, shared) = (node.clone(), shared.clone());
        rounds.join(move || confirm(node, shared)).await
    }

    fn begun(&self) -> Begun {
        let node = &self.inner.node;
        let begin = node.published.begin().unwrap_or_else(|| node.read().core.begin());
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
            // What frees a log that waits for replicas must not wait for that log.
            Command::Uncount { .. }
            | Command::ChangePlacement(_)
            | Command::DrainNode { .. }
            | Command::RecoverShard { .. } => self.inner.shared.room_for_little()?,
            _ => self.inner.shared.room()?,
        }
        self.check_length("an entry", command.encode().len())?;
        let events = self.inner.shared.leading().await?;
        let (reply, answer) = oneshot::channel();
        let event = Event::Propose(command, reply);
        events.send(event).await.map_err(|_| self.stopped())?;
        answer.await.unwrap_or(Err(AdjudicatorError::ReplyLost))
    }

    /// The leader's task has ended before it could be asked.
    fn stopped(&self) -> AdjudicatorError {
        let shared = &self.inner.shared;
        shared.alive().err().unwrap_or_else(|| shared.not_leader())
    }

    /// Tells the leader's task something that may be lost: if it is full, or if this node does not lead.
    fn notify(&self, event: Event) {
        if let Some(events) = &*self.inner.shared.leading.borrow() {
            let _ = events.try_send(event);
        }
    }

    /// Refuses what no message to the other nodes can hold: it would stand in the log for ever, and nothing would commit
    /// behind it.
    fn check_length(&self, what: &str, length: usize) -> Result<(), AdjudicatorError> {
        let most = self.inner.shared.options.entry_bytes_max;
        if length <= most {
            return Ok(());
        }
        Err(AdjudicatorError::TooLarge(format!("{what} of {length} bytes, and there may be {most}")))
    }

    async fn commit_one(&self, footprint: Footprint) -> Result<Decision, AdjudicatorError> {
        // A footprint that no log entry can hold will never be decided; the sessions' limits are far below.
        let footprint = EncodedFootprint::new(&footprint).map_err(|error| {
            AdjudicatorError::TooLarge(format!("the footprint cannot be encoded: {error}"))
        })?;
        self.commit_encoded(footprint).await
    }

    async fn commit_encoded(&self, footprint: EncodedFootprint) -> Result<Decision, AdjudicatorError> {
        let events = self.inner.shared.leading().await?;
        let footprint = match self.cluster_version() {
            COMPACT_SINCE.. => footprint,
            _ => footprint.widened(),
        };
        self.check_length("a footprint", footprint.bytes().len())?;
        let refused = self.inner.node.try_read().and_then(|state| state.core.refuse_early(&footprint.view()));
        if let Some(mut decision) = refused {
            self.inner.node.published.complete(&mut decision, &footprint.view());
            self.inner.shared.options.meter.decided(Tally::default().and(&decision));
            return Ok(decision);
        }
        self.inner.shared.room()?;
        let (reply, decision) = oneshot::channel();
        self.enqueue(&events, Frame::One(footprint, reply))?;
        let decided = decision.await.unwrap_or(Err(AdjudicatorError::ReplyLost))?;
        Ok(decided.decision(&self.inner.node.published))
    }

    /// Puts footprints into the leader's queue, if there is room.
    fn enqueue(&self, events: &mpsc::Sender<Event>, frame: Frame) -> Result<(), AdjudicatorError> {
        let shared = &self.inner.shared;
        let (count, most) = (frame.count(), shared.options.queue_max);
        let overloaded = || AdjudicatorError::Overloaded(format!("{most} commits are waiting"));
        if shared.waiting.fetch_add(count, Ordering::Relaxed) + count > most.max(count) {
            shared.waiting.fetch_sub(count, Ordering::Relaxed);
            return Err(overloaded());
        }
        events.try_send(Event::Commit(frame)).map_err(|error| {
            shared.waiting.fetch_sub(count, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => overloaded(),
                mpsc::error::TrySendError::Closed(_) => self.stopped(),
            }
        })
    }

    /// Decides footprints that came together: one message to the leader's task and one answer for all that have a
    /// chance.
    async fn commit_frame(&self, footprints: Footprints) -> FrameDecisions {
        let events = match self.inner.shared.leading().await {
            Ok(events) => events,
            Err(error) => return FrameDecisions::all(footprints.count, Err(error)),
        };
        let footprints = match self.cluster_version() {
            COMPACT_SINCE.. => footprints,
            // Every node of the cluster must be able to read them in the log.
            _ => Footprints { bytes: widened(&footprints.bytes), ..footprints },
        };
        let looked = self.look_at(&footprints);
        let waiting: Vec<_> = looked.hopeful.into_iter().map(|row| self.enqueue_row(&events, row)).collect();
        let mut decided = FrameDecisions::default();
        for (count, waiting) in waiting {
            let answer = match waiting {
                Ok(decisions) => decisions.await.unwrap_or(Err(AdjudicatorError::ReplyLost)),
                Err(error) => Err(error),
            };
            match answer {
                Ok(row) => decided.extend(row.decisions(&self.inner.node.published)),
                Err(error) => decided.extend(FrameDecisions::all(count, Err(error))),
            }
        }
        if looked.hopeless.is_empty() && looked.unread.is_none() {
            return decided;
        }
        let mut decided = decided.into_parts();
        let mut answers = FrameDecisions::default();
        for (place, answer) in looked.hopeless {
            answers.extend(decided.take(place - answers.len()));
            answers.push(answer);
        }
        let unread = looked
            .unread
            .map_or_else(FrameDecisions::default, |(count, error)| FrameDecisions::all(count, Err(error)));
        answers.extend(decided.take(footprints.count - answers.len() - unread.len()));
        answers.extend(unread);
        answers
    }

    /// What is said at once of those footprints that have no chance, with their places; of none if it is not worth the look,
    /// or would mean to wait for the state: whoever has a chance decides `apply`.
    fn refuse_early(&self, footprints: &[FootprintView<'_>]) -> Vec<(usize, Decision)> {
        let Inner { node, shared, .. } = &*self.inner;
        let waiting = shared.waiting.load(Ordering::Relaxed) + shared.under_way.load(Ordering::Relaxed);
        let is_busy = waiting >= BUSY_WAITING;
        if is_busy && !shared.losses.are_many() {
            return Vec::new();
        }
        let Some(state) = node.try_read() else { return Vec::new() };
        footprints.iter().for_each(|view| state.core.prefetch(view));
        let mut early = state.core.early();
        let refused = footprints.iter().enumerate().filter_map(|(n, view)| Some((n, early.refuse(view)?)));
        refused.collect()
    }

    /// Finds what has a chance among footprints.
    fn look_at(&self, footprints: &Footprints) -> Looked {
        let mut looked = Looked::default();
        let mut views = footprints_of(&footprints.bytes);
        let (mut place, mut at) = (0, 0);
        let mut chunk = Vec::with_capacity(LOOKED_AT);
        loop {
            chunk.clear();
            let mut broken = None;
            let left = (footprints.count - place).min(LOOKED_AT as u32);
            for view in views.by_ref().take(left as usize) {
                match view {
                    Ok(view) => chunk.push(view),
                    Err(error) => broken = Some(error),
                }
            }
            let refused_before = looked.hopeless.len();
            let mut refused = self.refuse_early(&chunk).into_iter();
            for (n, view) in chunk.iter().enumerate() {
                let bytes = at..at + view.len();
                at = bytes.end;
                // Answers are large. Where there is none, as nearly always, none is moved.
                if view.len() > self.inner.shared.options.entry_bytes_max {
                    let too_large = self.check_length("a footprint", view.len()).err();
                    looked.hopeless.extend(too_large.map(|error| (place, Err(error))));
                } else if refused.as_slice().first().is_some_and(|(at, _)| *at == n) {
                    let (_, mut decision) = refused.next().expect("it has a first");
                    self.inner.node.published.complete(&mut decision, view);
                    looked.hopeless.push((place, Ok(decision)));
                } else {
                    looked.hope(&footprints.bytes, bytes, view);
                }
                place += 1;
            }
            let lost: Vec<&Decision> = looked.hopeless[refused_before..]
                .iter()
                .filter_map(|(_, refused)| refused.as_ref().ok())
                .collect();
            if !lost.is_empty() {
                let Shared { losses, options, .. } = &*self.inner.shared;
                losses.note(chunk.len(), lost.len());
                options.meter.decided(lost.into_iter().fold(Tally::default(), Tally::and));
            }
            if chunk.len() < left as usize || place == footprints.count {
                // What cannot be told apart from what follows takes that with it.
                let why = broken.map_or("there are fewer of them than announced".into(), |e| e.to_string());
                let error = AdjudicatorError::Overloaded(format!("the footprints cannot be read: {why}"));
                looked.unread = (place < footprints.count).then(|| (footprints.count - place, error));
                looked.close_part(&footprints.bytes);
                return looked;
            }
        }
    }

    /// Queues footprints of one entry; how many, and what to wait for.
    fn enqueue_row(&self, events: &mpsc::Sender<Event>, row: Row) -> WaitingRow {
        let count = row.count;
        let (reply, decisions) = oneshot::channel();
        let queued = self.inner.shared.room().and_then(|()| self.enqueue(events, Frame::Many(row, reply)));
        (count, queued.map(|()| decisions))
    }

    async fn outcome_of(&self, txn: TxnId, resolve: bool) -> Result<Outcome, AdjudicatorError> {
        self.confirm_leadership().await?;
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
        self.inner.shared.leading().await?;
        let shared = &self.inner.shared;
        let (wanted, waiting) = {
            let mut locks = shared.locks();
            let wanted: Vec<KeyHash> = match wait {
                LockWait::Timeout(_) => keys.to_vec(),
                LockWait::NoWait | LockWait::SkipLocked => locks.table.free(owner, keys, strength).collect(),
            };
            if wait == LockWait::NoWait && wanted.len() < keys.len() {
                return Ok(Reserved::Busy);
            }
            let waiting = match locks.table.request(owner, wanted.iter().copied(), strength) {
                Requested::Granted => {
                    drop(locks);
                    None
                }
                Requested::Deadlock => return Ok(Reserved::Deadlock),
                Requested::Waiting(ticket) => {
                    let LockWait::Timeout(limit) = wait else {
                        locks.cancel(owner, ticket);
                        return Ok(Reserved::Busy);
                    };
                    Some((ticket, locks.wait(ticket), limit))
                }
            };
            (wanted, waiting)
        };
        let Some((ticket, settled, limit)) = waiting else { return self.granted(wanted).await };
        // Whoever stops waiting for whatever reason (a killed session drops this future) leaves the queue.
        let guard = CancelOnDrop { shared: shared.clone(), owner, ticket };
        match tokio::time::timeout(limit, settled).await {
            Ok(Ok(Settled::Granted)) => self.granted(wanted).await,
            Ok(Ok(Settled::Deadlock)) => Ok(Reserved::Deadlock),
            // Reservations end with the lead.
            Ok(Err(_)) if shared.leading.borrow().is_none() => Err(self.stopped()),
            // The owner was released by somebody else, or its frontend was fenced.
            Ok(Err(_)) => Ok(Reserved::TimedOut),
            Err(_) => {
                if guard.cancel() {
                    Ok(Reserved::TimedOut)
                } else {
                    // Granted in the very last moment: it holds the keys, so say so.
                    self.granted(wanted).await
                }
            }
        }
    }

    /// The snapshot is taken after the grant, so that it sees what the holder before has committed.
    async fn granted(&self, keys: Vec<KeyHash>) -> Result<Reserved, AdjudicatorError> {
        self.confirm_leadership().await?;
        Ok(Reserved::Granted { keys, begun: self.begun() })
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

/// How many footprints wait together, and for what.
type WaitingRow = (u32, Result<oneshot::Receiver<Result<Verdict<Row>, AdjudicatorError>>, AdjudicatorError>);

/// What was found among footprints that came together.
#[derive(Default)]
struct Looked {
    /// Those that are to be decided, in order.
    hopeful: Vec<Row>,
    /// Answers to the others, by place.
    hopeless: Vec<(u32, Decided)>,
    /// How many at the end cannot be read, and why.
    unread: Option<(u32, AdjudicatorError)>,
    /// Where the hopeful ones that are in no part yet lie.
    open: std::ops::Range<usize>,
}

impl Looked {
    /// Adds a footprint that has a chance and lies at `at` in `bytes`.
    fn hope(&mut self, bytes: &Bytes, at: std::ops::Range<usize>, view: &FootprintView<'_>) {
        let has_room =
            |row: &Row| (row.count as usize) < BATCH_MAX && row.bytes + at.len() <= BATCH_BYTES_MAX;
        let has_room = self.hopeful.last().is_some_and(has_room);
        let place = at.start;
        if self.open.end == place && has_room {
            self.open.end = at.end;
        } else {
            self.close_part(bytes);
            self.open = at;
        }
        if !has_room {
            self.hopeful.push(Row { frame: bytes.clone(), ..Row::default() });
        }
        self.hopeful.last_mut().expect("there is one now").note(view, place);
    }

    fn close_part(&mut self, bytes: &Bytes) {
        let part = std::mem::take(&mut self.open);
        if let Some(row) = self.hopeful.last_mut().filter(|_| !part.is_empty()) {
            row.parts.push(bytes.slice(part));
        }
    }
}

/// One round: the others say that they still follow, and everything committed before is applied here.
async fn confirm(node: Arc<Node>, shared: Arc<Shared>) -> Result<(), AdjudicatorError> {
    match node.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(AdjudicatorError::NotLeader { leader: forward.leader_id.map(NodeId) })
        }
        // Whoever leads now, it is not proven to be this node.
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            let leader = shared.leadership.borrow().leader.filter(|leader| *leader != node.id);
            Err(AdjudicatorError::NotLeader { leader })
        }
        Err(RaftError::Fatal(fatal)) => Err(AdjudicatorError::Stopped(node.describe(&fatal))),
    }
}

/// What a node with an empty disk does until it takes part.
async fn be_admitted(node: Arc<Node>, shared: Arc<Shared>) {
    if let Founding::Together(founders) = &shared.options.founding {
        let founding = found(node.id, founders.clone(), node.raft.clone(), &node.contacts, &node.admission);
        if let Err(why) = founding.await {
            shared.fail(&format!("the cluster cannot be founded: {why}"));
        }
    }
}

/// What others are told of a replica.
fn standing_of(replica: ReplicaId, state: &ReplicaState) -> ReplicaStanding {
    let (durable, counts, is_whole) = (state.durable.index, state.counts, state.is_whole());
    ReplicaStanding { replica, durable, counts, is_whole }
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
                    let identity = self.identity().expect("a leader has bootstrapped its cluster");
                    Ok(Registered { frontend, epoch, hash_seed: identity.hash_seed })
                }
                _ => Err(AdjudicatorError::Overloaded(format!("frontend {name} has had all its lives"))),
            }
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership().await?;
            Ok(self.begun())
        })
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(self.commit_one(footprint))
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        Box::pin(self.commit_frame(footprints))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership().await?;
            Ok(self.known_nodes())
        })
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        Box::pin(self.outcome_of(txn, resolve))
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        // A lost acknowledgement keeps an outcome longer than needed, no more.
        self.notify(Event::Acknowledged(txns));
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        // Taken now: whatever begins after this report begins at or above it.
        let oldest = oldest.unwrap_or_else(|| self.begun().snapshot_ts);
        // The next report repeats a lost one.
        self.notify(Event::Oldest(frontend, epoch, oldest));
    }

    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        // Lives only go up: who leads no more, or has not applied everything, at worst says so later.
        Box::pin(async move { Ok(self.with_core(|core| core.frontend_epoch(frontend))) })
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership().await?;
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
            self.confirm_leadership().await?;
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
            self.confirm_leadership().await?;
            Ok(self.inner.node.read().core.counter(table))
        })
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        Box::pin(async move {
            self.confirm_leadership().await?;
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

    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        let published = &self.inner.node.published;
        let who = match obstacle {
            Obstacle::Held { owner, keys, strength } => {
                let holder = self.inner.shared.locks().table.in_the_way(owner, &keys, strength);
                holder.map(|txn| Winner { txn, commit_ts: Timestamp::ZERO })
            }
            Obstacle::CommittedAt(commit_ts) => published.committed_at(commit_ts),
            Obstacle::Fence(table) => published.fenced(table),
            Obstacle::Object(object) => published.changed(&object),
        };
        Box::pin(std::future::ready(Ok(who)))
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
        let replicas = replicas.map(|((_, replica), state)| standing_of(*replica, state));
        let standings = ShardStandings {
            as_of: state.core.applied(),
            replicas: replicas.collect(),
            recovered_at: state.core.recovered_at(shard),
        };
        Box::pin(std::future::ready(Ok(standings)))
    }

    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position) {
        if self.inner.shared.leading.borrow().is_some() {
            // The next report says more than a lost one did.
            return self.notify(Event::Durable(shard, replica, durable));
        }
        let mut reported = self.inner.shared.durable.lock().expect("no panic happens under this lock");
        let known = reported.entry((shard, replica)).or_default();
        *known = durable.max(*known);
    }
}
