//! Adjudicators that are a table: what they decide is known beforehand, and how they fail is told to them.

use crate::fixture::Node;
use assize_adjudicator::footprints_of;
use assize_model::*;
use assize_ports::*;
use assize_rpc::{AdjudicatorService, DecisionService};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a group agrees on, whoever leads: decisions, and how often each was made.
#[derive(Default)]
pub struct Group {
    leader: Mutex<Option<NodeId>>,
    decided: Mutex<BTreeMap<TxnId, Decision>>,
    clock: AtomicU64,
    pub adjudicated: AtomicU64,
}

impl Group {
    pub fn led_by(node: u64) -> Arc<Group> {
        let group = Arc::new(Group::default());
        group.elect(Some(node));
        group
    }

    pub fn elect(&self, node: Option<u64>) {
        *self.leader.lock().unwrap() = node.map(NodeId);
    }

    fn decide(&self, txn: TxnId) -> Decision {
        let mut decided = self.decided.lock().unwrap();
        let decide = || {
            self.adjudicated.fetch_add(1, Ordering::SeqCst);
            Decision::Commit { commit_ts: Timestamp(self.clock.fetch_add(1, Ordering::SeqCst) + 1000) }
        };
        decided.entry(txn).or_insert_with(decide).clone()
    }
}

/// One member.
pub struct Fake {
    node: NodeId,
    group: Arc<Group>,
    /// Decides, and then never answers.
    pub swallows_answers: AtomicBool,
    /// Does not know who leads.
    pub gives_no_hint: AtomicBool,
    /// How long a begin takes, in milliseconds.
    pub begin_takes: AtomicU64,
    /// What every commit is refused with.
    pub refuses_with: Mutex<Option<AdjudicatorError>>,
    /// So many of the next begins and commits panic.
    pub panics: AtomicU64,
    pub begins: AtomicU64,
    pub frames: AtomicU64,
    /// What happened, in order.
    pub log: Mutex<Vec<String>>,
    streams: Mutex<Vec<Arc<StreamEntry>>>,
    grown: tokio::sync::Notify,
    /// How many streams are open.
    pub following: AtomicU64,
    pub streams_break: AtomicBool,
}

impl Fake {
    pub fn new(node: u64, group: &Arc<Group>) -> Arc<Fake> {
        Arc::new(Fake {
            node: NodeId(node),
            group: group.clone(),
            swallows_answers: AtomicBool::new(false),
            gives_no_hint: AtomicBool::new(false),
            // Long enough that others gather meanwhile.
            begin_takes: AtomicU64::new(1),
            refuses_with: Mutex::default(),
            panics: AtomicU64::new(0),
            begins: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            log: Mutex::default(),
            streams: Mutex::default(),
            grown: tokio::sync::Notify::new(),
            following: AtomicU64::new(0),
            streams_break: AtomicBool::new(false),
        })
    }

    /// Serves it on a node.
    pub fn serve(self: &Arc<Fake>, node: &Node) {
        node.services.offer(Service::Adjudicator, AdjudicatorService::new(self.clone()));
        node.services.offer(Service::Decisions, DecisionService::new(Arc::new(Streams(self.clone()))));
    }

    pub fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Appends entries up to an index to its streams.
    pub fn grow(&self, to: u64) {
        let mut streams = self.streams.lock().unwrap();
        let next = streams.last().map_or(1, |entry| entry.position.index.0 + 1);
        streams.extend((next..=to).map(entry));
        drop(streams);
        self.grown.notify_waiters();
    }

    /// Ends all streams.
    pub fn break_streams(&self) {
        self.streams_break.store(true, Ordering::SeqCst);
        self.grown.notify_waiters();
    }

    fn lead(&self) -> Result<(), AdjudicatorError> {
        let leader = *self.group.leader.lock().unwrap();
        if leader == Some(self.node) {
            return Ok(());
        }
        let hint = leader.filter(|_| !self.gives_no_hint.load(Ordering::SeqCst));
        Err(AdjudicatorError::NotLeader { leader: hint })
    }

    fn may_panic(&self) {
        let left = self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "as told");
    }

    fn snapshot(&self) -> Begun {
        let snapshot_ts = Timestamp(self.group.clock.fetch_add(1, Ordering::SeqCst) + 1000);
        Begun { snapshot_ts, catalog_version: CatalogVersion(1), placement_epoch: Epoch(1) }
    }
}

pub fn entry(index: u64) -> Arc<StreamEntry> {
    let position = Position { index: LogIndex(index), closed_ts: Timestamp(index * 10) };
    let after = LogIndex(index - 1);
    Arc::new(StreamEntry { after, position, commits: Vec::new(), epoch: None, slots: None, low_water: None })
}

pub fn txn(sequence: u64) -> TxnId {
    let begun = Timestamp::from_millis(1_800_000_000_000);
    TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), sequence)
}

pub fn footprint(sequence: u64) -> Footprint {
    Footprint {
        txn: txn(sequence),
        groups: Vec::new(),
        schemas: Vec::new(),
        auto_increments: Vec::new(),
        body: CommitBody::Inline { mutations: Vec::new(), written: Vec::new() },
        catalog_change: None,
    }
}

fn answer<T: Send + 'static>(
    result: Result<T, AdjudicatorError>,
) -> BoxFuture<'static, Result<T, AdjudicatorError>> {
    Box::pin(std::future::ready(result))
}

struct NoteOnDrop<'a>(&'a Fake, String);

impl Drop for NoteOnDrop<'_> {
    fn drop(&mut self) {
        self.0.note(std::mem::take(&mut self.1));
    }
}

impl AdjudicatorClient for Fake {
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        let epoch = FrontendEpoch(nonce as u32);
        answer(self.lead().map(|()| Registered {
            frontend: FrontendId(name.len() as u32),
            epoch,
            hash_seed: 7,
        }))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        self.begins.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            self.may_panic();
            let takes = self.begin_takes.load(Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(takes)).await;
            self.lead().map(|()| self.snapshot())
        })
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(async move {
            self.lead()?;
            self.refuses_with.lock().unwrap().clone().map_or(Ok(()), Err)?;
            let decision = self.group.decide(footprint.txn);
            if self.swallows_answers.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok(decision)
        })
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        self.frames.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.may_panic();
            let mut decisions = FrameDecisions::default();
            for footprint in footprints_of(&footprints.bytes) {
                decisions.push(self.commit(footprint.unwrap().to_footprint()).await);
            }
            decisions
        })
    }

    fn outcome(&self, txn: TxnId, _resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        let decided = self.group.decided.lock().unwrap().get(&txn).cloned();
        answer(self.lead().map(|()| decided.map_or(Outcome::Undecided, Outcome::from)))
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        let numbers: Vec<_> = txns.iter().map(|run| run.first..run.first + run.count).collect();
        self.note(format!("acknowledge {numbers:?}"));
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, _: FrontendEpoch, oldest: Option<Timestamp>) {
        self.note(format!(
            "oldest {frontend} {}",
            oldest.map_or("none".into(), |oldest| oldest.0.to_string())
        ));
    }

    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        answer(Ok(FrontendEpoch(frontend.0 + 1)))
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        answer(self.lead().map(|()| Arc::new(Placement::even(2, self.node))))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        answer(self.lead().map(|()| Vec::new()))
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        _at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        let objects = vec![(Bytes::from_static(b"key"), since.0 + 1, None)];
        answer(self.lead().map(|()| CatalogObjects { version: since, complete: false, objects }))
    }

    fn allocate_ids(
        &self,
        _table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        _offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        answer(self.lead().map(|()| IdRange { first: at_least, count, increment }))
    }

    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        answer(self.lead().map(|()| u64::from(table.0) + 1))
    }

    fn track_ranges(&self, _table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        answer(self.lead())
    }

    /// NOWAIT is granted, everything else waits for ever.
    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        _strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        Box::pin(async move {
            self.lead()?;
            self.note(format!("reserve {owner}"));
            if wait != LockWait::NoWait {
                let _note = NoteOnDrop(self, format!("given up {owner}"));
                std::future::pending::<()>().await;
            }
            Ok(Reserved::Granted { keys: keys.to_vec(), begun: self.snapshot() })
        })
    }

    fn release(&self, owner: TxnId) {
        self.note(format!("release {owner}"));
    }
}

struct FakeStream {
    fake: Arc<Fake>,
    from: u64,
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.fake.following.fetch_sub(1, Ordering::SeqCst);
    }
}

impl DecisionStream for FakeStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>> {
        Box::pin(async move {
            loop {
                let grown = self.fake.grown.notified();
                if self.fake.streams_break.load(Ordering::SeqCst) {
                    return Err(StreamError::Ended("as told".into()));
                }
                let entries: Vec<_> = self.fake.streams.lock().unwrap()[self.from as usize..].to_vec();
                if !entries.is_empty() {
                    self.from += entries.len() as u64;
                    return Ok(entries);
                }
                grown.await;
            }
        })
    }
}

/// A member's decision streams, which outlive the call that opens them.
pub struct Streams(pub Arc<Fake>);

impl DecisionSource for Streams {
    fn subscribe(
        &self,
        shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>> {
        Box::pin(async move {
            let oldest = LogIndex(5);
            match shard {
                ShardId(8) => return Err(StreamError::Forgotten { shard, from: from.index, oldest }),
                ShardId(9) => return Err(StreamError::NoSuchShard(shard)),
                _ if self.0.streams_break.load(Ordering::SeqCst) => {
                    return Err(StreamError::Ended("as told".into()));
                }
                _ => {}
            }
            self.0.following.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(FakeStream { fake: self.0.clone(), from: from.index.0 }) as Box<dyn DecisionStream>)
        })
    }

    fn standings(&self, shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>> {
        self.0.note(format!("standings {shard}"));
        Box::pin(std::future::ready(Ok(ShardStandings {
            as_of: LogIndex(3),
            replicas: Vec::new(),
            recovered_at: LogIndex(0),
        })))
    }

    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position) {
        self.0.note(format!("durable {shard} {replica} {}", durable.index));
    }
}
