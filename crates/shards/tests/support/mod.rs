//! A cluster in one process: one adjudicator, several nodes with directories of their own, and a network in memory that
//! can be cut.
#![allow(dead_code)] // Each test binary uses its own part.

use assize_consensus::Adjudicator;
use assize_model::*;
use assize_ports::*;
use assize_session::{Isolation, Limits, Services, Txn, TxnOptions};
use assize_shards::embedded::{self, Around, OpenError, ShardHost};
use assize_shards::{
    Caretaker, Colleagues, Directory, Mover, Policy, RemoteReplicas, SiblingService, Surveyor,
};
use assize_sql::Statement;
use assize_values::Value;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

pub const T: TableId = TableId(7);

/// Who can hear whom.
#[derive(Default)]
pub struct Network {
    sites: Mutex<BTreeMap<NodeId, (ShardHost, Arc<SiblingService>)>>,
    /// Nodes that nobody reaches.
    cut: Mutex<BTreeSet<NodeId>>,
    /// Nodes that hear no prepares.
    deaf: Mutex<BTreeSet<NodeId>>,
    /// Channels that are opened from now on break after so many messages each, the first first.
    pub breaking: Mutex<Vec<usize>>,
    /// Bytes that have arrived over channels.
    pub arrived: AtomicU64,
    /// Channels that were opened.
    pub opened: AtomicU64,
}

impl Network {
    fn site(&self, node: NodeId) -> Option<(ShardHost, Arc<SiblingService>)> {
        if self.cut.lock().unwrap().contains(&node) {
            return None;
        }
        self.sites.lock().unwrap().get(&node).cloned()
    }

    pub fn cut(&self, node: NodeId) {
        self.cut.lock().unwrap().insert(node);
    }

    pub fn heal(&self, node: NodeId) {
        self.cut.lock().unwrap().remove(&node);
    }

    pub fn deafen(&self, node: NodeId, is_deaf: bool) {
        let mut deaf = self.deaf.lock().unwrap();
        if is_deaf {
            deaf.insert(node)
        } else {
            deaf.remove(&node)
        };
    }
}

/// The network as one node sees it.
struct PeersOf {
    me: NodeId,
    network: Arc<Network>,
}

impl PeersOf {
    fn service(&self, to: NodeId) -> Result<Arc<SiblingService>, PeerError> {
        let unreachable = || PeerError::Unreachable { node: to, reason: "the network is cut".into() };
        if self.network.cut.lock().unwrap().contains(&self.me) {
            return Err(unreachable());
        }
        self.network.site(to).map(|(_, service)| service).ok_or_else(unreachable)
    }
}

impl Peers for PeersOf {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        assert_eq!(service, Service::Sibling);
        Box::pin(async move {
            let answer = self.service(to)?.call(self.me, request).await;
            answer.map_err(|reason| PeerError::Refused { node: to, reason })
        })
    }

    fn open(
        &self,
        to: NodeId,
        _: Service,
        hello: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Channel, PeerError>> {
        Box::pin(async move {
            let service = self.service(to)?;
            let (there, mut here) = channels(self.me, to);
            let me = self.me;
            tokio::spawn(async move { service.open(me, hello, there).await });
            self.network.opened.fetch_add(1, Ordering::Relaxed);
            let left = self.network.breaking.lock().unwrap().pop().unwrap_or(usize::MAX);
            let network = self.network.clone();
            here.receiver = Box::new(Watched { receiver: here.receiver, to, left, network });
            Ok(here)
        })
    }

    fn belong(&self, _: u128) {}
    fn learn(&self, _: NodeId, _: Option<String>) {}
}

struct Half(NodeId, mpsc::Sender<Bytes>);
struct OtherHalf(mpsc::Receiver<Bytes>);

impl ChannelSender for Half {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            let sent = self.1.send(message).await;
            sent.map_err(|_| PeerError::Unreachable { node: self.0, reason: "the channel broke".into() })
        })
    }
}

impl ChannelReceiver for OtherHalf {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move { Ok(self.0.recv().await) })
    }
}

/// A receiving half that counts, and breaks.
struct Watched {
    receiver: Box<dyn ChannelReceiver>,
    to: NodeId,
    left: usize,
    network: Arc<Network>,
}

impl ChannelReceiver for Watched {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move {
            if self.left == 0 {
                let reason = "the channel broke".into();
                return Err(PeerError::Unreachable { node: self.to, reason });
            }
            self.left -= 1;
            let received = self.receiver.receive().await?;
            let bytes = received.as_ref().map_or(0, Bytes::len);
            self.network.arrived.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(received)
        })
    }
}

fn channels(a: NodeId, b: NodeId) -> (Channel, Channel) {
    let (to_a, from_b) = mpsc::channel(4);
    let (to_b, from_a) = mpsc::channel(4);
    let channel = |sender, receiver| Channel { sender: Box::new(sender), receiver: Box::new(receiver) };
    (channel(Half(a, to_a), OtherHalf(from_a)), channel(Half(b, to_b), OtherHalf(from_b)))
}

/// A replica on another node.
struct Over {
    network: Arc<Network>,
    node: NodeId,
    shard: ShardId,
    replica: ReplicaId,
}

impl Over {
    fn find(&self) -> Result<Arc<dyn Replica>, ShardError> {
        let site = self.network.site(self.node);
        let found = site.and_then(|(host, _)| host.replica(self.shard, self.replica));
        found.ok_or_else(|| ShardError::Unreachable(self.shard, "the network is cut".into()))
    }
}

impl Replica for Over {
    fn shard(&self) -> ShardId {
        self.shard
    }
    fn replica(&self) -> ReplicaId {
        self.replica
    }
    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(async move { self.find()?.get(view, key).await })
    }
    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(async move { self.find()?.get_many(view, keys).await })
    }
    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        Box::pin(async move { self.find()?.scan(view, range, direction, limit).await })
    }
    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        Box::pin(async move { self.find()?.newest_commits(keys, at_least).await })
    }
    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        Box::pin(async move { self.find()?.newest_commit_in(range, at_least).await })
    }
    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        Box::pin(async move { self.find()?.volumes(ranges).await })
    }
    fn prepare(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        Box::pin(async move {
            if self.network.deaf.lock().unwrap().contains(&self.node) {
                return Err(ShardError::Unreachable(self.shard, "the prepare was lost".into()));
            }
            self.find()?.prepare(txn, epoch, mutations).await
        })
    }
    fn forget(&self, txn: TxnId) {
        if let Ok(replica) = self.find() {
            replica.forget(txn);
        }
    }
}

struct NoQueries;

impl QueryEngine for NoQueries {
    fn describe<'a>(
        &'a self,
        _: &'a Statement,
        _: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>> {
        Box::pin(async { Err(SqlError::not_supported("statements")) })
    }
    fn execute<'a>(
        &'a self,
        _: &'a Statement,
        _: u64,
        _: &'a [Value],
        _: &'a mut dyn StatementContext,
        _: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(async { Err(SqlError::not_supported("statements")) })
    }
}

struct RealClock(Instant);

impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        self.monotonic_micros() as i64
    }
    fn monotonic_micros(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_micros(micros)))
    }
    fn random(&self) -> u64 {
        self.monotonic_micros().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// How a commit travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Inline,
    Prepared,
}

pub struct Cluster {
    pub adjudicator: Adjudicator,
    pub network: Arc<Network>,
    directory: tempfile::TempDir,
    /// Where nodes that have died go on.
    moved: Mutex<BTreeMap<NodeId, std::path::PathBuf>>,
    stops: Mutex<BTreeMap<NodeId, watch::Sender<bool>>>,
    /// `embedded::Options::room_min` of nodes that are started from now on.
    pub room_min: AtomicU64,
    /// `embedded::Options::alone_max` of them, in milliseconds.
    pub alone_millis: AtomicU64,
    /// `embedded::Options::noted_bytes` of them.
    pub noted_bytes: AtomicU64,
    frontends: AtomicU64,
    lives: AtomicU64,
}

impl Cluster {
    /// A cluster of nodes, the first `replicated` of which hold a replica of each of the shards.
    pub async fn start(nodes: u64, replicated: u64, shards: u32) -> Cluster {
        let placed: Vec<NodeId> = (1..=replicated).map(NodeId).collect();
        let placement = Placement::even_replicated(shards, &placed);
        let options = assize_consensus::Options::small(NodeId(1), placement);
        let cluster = Cluster {
            adjudicator: Adjudicator::open(None, options, None).await.unwrap(),
            network: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            moved: Mutex::default(),
            stops: Mutex::default(),
            room_min: AtomicU64::new(0),
            alone_millis: AtomicU64::new(300_000),
            noted_bytes: AtomicU64::new(64 << 20),
            frontends: AtomicU64::new(1),
            lives: AtomicU64::new(1),
        };
        for node in 1..=nodes {
            cluster.open(NodeId(node)).await;
        }
        for node in &placed {
            cluster.all_follow(*node, shards as usize).await;
        }
        cluster
    }

    pub fn path(&self, node: NodeId) -> std::path::PathBuf {
        let moved = self.moved.lock().unwrap().get(&node).cloned();
        moved.unwrap_or_else(|| self.directory.path().join(node.to_string()))
    }

    /// Starts a node.
    pub async fn open(&self, node: NodeId) -> ShardHost {
        self.try_open(node, Duration::from_secs(30)).await.unwrap()
    }

    /// Likewise, if its directory lets it; siblings are asked for so long whether they have what is damaged.
    pub async fn try_open(&self, node: NodeId, sibling_wait_max: Duration) -> Result<ShardHost, OpenError> {
        let peers: Arc<dyn Peers> = Arc::new(PeersOf { me: node, network: self.network.clone() });
        let around = Around {
            node,
            source: Arc::new(self.adjudicator.clone()),
            administration: Arc::new(self.adjudicator.clone()),
            peers: Some(peers),
        };
        let rocks =
            assize_rocks::Options { cache_bytes: 4 << 20, write_buffer_bytes: 8 << 20, background_jobs: 2 };
        let flush_interval = Duration::from_millis(500);
        let room_min = self.room_min.load(Ordering::Relaxed);
        let options = embedded::Options {
            rocks,
            flush_interval,
            sibling_wait_max,
            room_min,
            alone_max: Duration::from_millis(self.alone_millis.load(Ordering::Relaxed)),
            noted_bytes: self.noted_bytes.load(Ordering::Relaxed),
            ..embedded::Options::default()
        };
        let placement = self.placement().await;
        let host = ShardHost::open(Some(self.path(node)), placement, around, options).await?;
        let service = Arc::new(SiblingService::new(Some(host.clone()), None));
        self.network.sites.lock().unwrap().insert(node, (host.clone(), service));
        let (stop, mut stopped) = watch::channel(false);
        self.stops.lock().unwrap().insert(node, stop);
        let adjudicator = self.adjudicator.clone();
        let newest = move || {
            let adjudicator = adjudicator.clone();
            async move { adjudicator.placement().await.ok() }
        };
        tokio::spawn(host.clone().follow(newest, async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
        Ok(host)
    }

    /// Stops a node in good order.
    pub async fn close(&self, node: NodeId) {
        let _ = self.stops.lock().unwrap().remove(&node).unwrap().send(true);
        let (host, _) = self.network.sites.lock().unwrap().remove(&node).unwrap();
        host.shutdown().await;
        drop(host);
        // Until nobody holds the directory any more.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Kills a node whose disk takes no writes any more. It goes on with what lies there now: what its process still makes
    /// durable when it is closed does not count.
    pub async fn kill(&self, node: NodeId) {
        assert!(self.host(node).is_dead());
        let from = self.path(node);
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let to = self.directory.path().join(format!("{node} again {life}"));
        copy_while_still(&from, &to);
        self.moved.lock().unwrap().insert(node, to);
        self.close(node).await;
    }

    /// Loses the disk of a node that is stopped.
    pub fn wipe(&self, node: NodeId) {
        std::fs::remove_dir_all(self.path(node)).unwrap();
    }

    pub fn host(&self, node: NodeId) -> ShardHost {
        self.network.sites.lock().unwrap()[&node].0.clone()
    }

    pub async fn placement(&self) -> Arc<Placement> {
        self.adjudicator.placement().await.unwrap()
    }

    /// Waits until a node's replicas, so many, follow their streams.
    pub async fn all_follow(&self, node: NodeId, replicas: usize) {
        let host = self.host(node);
        until(&format!("{node} follows"), || async {
            let residents = host.residents();
            let following =
                |r: &Arc<embedded::Embedded>| r.status().phase == assize_shards::wire::Phase::Following;
            residents.len() == replicas && residents.iter().all(following)
        })
        .await;
    }

    pub fn mover(&self, node: NodeId) -> Mover {
        self.mover_with(node, Duration::from_secs(20))
    }

    /// Whose patience is not the usual one.
    pub fn mover_with(&self, node: NodeId, patience: Duration) -> Mover {
        let peers: Arc<dyn Peers> = Arc::new(PeersOf { me: node, network: self.network.clone() });
        let host = self.network.site(node).map(|(host, _)| host);
        let colleagues = Colleagues::new(node, Some(peers), host);
        let adjudicator = Arc::new(self.adjudicator.clone());
        Mover::new(adjudicator.clone(), adjudicator.clone(), adjudicator, colleagues, patience)
    }

    /// Who looks after the shards, from a node.
    pub fn caretaker(&self, node: NodeId, surveyor: Arc<dyn Surveyor>, policy: Policy) -> Caretaker {
        let peers: Arc<dyn Peers> = Arc::new(PeersOf { me: node, network: self.network.clone() });
        let host = self.network.site(node).map(|(host, _)| host);
        let colleagues = Colleagues::new(node, Some(peers), host);
        Caretaker::new(self.mover(node), colleagues, Arc::new(self.adjudicator.clone()), surveyor, policy)
    }

    /// A frontend on a node.
    pub async fn frontend(&self, node: NodeId, mode: Mode) -> Arc<Services> {
        let placement = self.placement().await;
        let network = self.network.clone();
        let remote: RemoteReplicas = Arc::new(move |node, shard, replica| {
            Arc::new(Over { network: network.clone(), node, shard, replica })
        });
        // Its own node is found over the network too: a frontend outlives what a test does to its node.
        let directory = Directory::new(node, None, remote, &placement);
        // Each is a frontend of its own: two of one name would share their transactions' ids.
        let name = format!("frontend {}", self.frontends.fetch_add(1, Ordering::Relaxed));
        let identity = self.adjudicator.register(&name, 1).await.unwrap();
        let inline_bytes_max = if mode == Mode::Inline { 16 << 10 } else { 0 };
        let services = Arc::new(Services::new(
            Arc::new(self.adjudicator.clone()),
            directory,
            Arc::new(NoQueries),
            Arc::new(RealClock(Instant::now())),
            Arc::new(NoServer),
            identity,
            placement,
            Limits { inline_bytes_max, ..Limits::default() },
        ));
        tokio::spawn(report_snapshots(self.adjudicator.clone(), Arc::downgrade(&services)));
        services
    }

    /// Whether all replicas of all shards show the same, and how many rows that is.
    pub async fn agree(&self) -> u64 {
        let mut rows = 0;
        for shard in self.placement().await.shards.keys() {
            let comparison = self.mover(NodeId(1)).compare(*shard).await.unwrap();
            assert_eq!(comparison.hashes.len(), comparison.configured(), "{comparison:?}");
            assert!(comparison.agrees(), "{comparison:?}");
            rows += comparison.hashes.values().next().unwrap().1.count;
        }
        rows
    }
}

/// Says which snapshots a frontend still uses, so that the low-water mark can move.
async fn report_snapshots(adjudicator: Adjudicator, services: std::sync::Weak<Services>) {
    while let Some(services) = services.upgrade() {
        let Registered { frontend, epoch, .. } = services.identity;
        adjudicator.report_oldest_snapshot(frontend, epoch, services.snapshots.oldest());
        drop(services);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Copies a directory, again until nothing has changed meanwhile: a flush or a compaction may have been on its way.
fn copy_while_still(from: &std::path::Path, to: &std::path::Path) {
    for _ in 0..100 {
        let before = lengths(from);
        let is_copied = before.as_ref().is_ok_and(|files| {
            files.keys().all(|file| {
                let target = to.join(file);
                std::fs::create_dir_all(target.parent().unwrap()).is_ok()
                    && std::fs::copy(from.join(file), target).is_ok()
            })
        });
        if is_copied && lengths(from).ok() == before.ok() {
            return;
        }
        let _ = std::fs::remove_dir_all(to);
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} is never still", from.display());
}

/// Every file below a directory, and its length.
fn lengths(directory: &std::path::Path) -> std::io::Result<BTreeMap<std::path::PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut left = vec![std::path::PathBuf::new()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(directory.join(&next))? {
            let entry = entry?;
            let (name, meta) = (next.join(entry.file_name()), entry.metadata()?);
            if meta.is_dir() {
                left.push(name);
            } else {
                found.insert(name, meta.len());
            }
        }
    }
    Ok(found)
}

/// Waits until something is so.
///
/// # Panics
/// If that takes too long.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn key(name: &str) -> Key {
    let mut bytes = vec![0, 0, 0, 7, 0, 0];
    bytes.extend_from_slice(name.as_bytes());
    Key::new(bytes)
}

pub fn slot(name: &str) -> Slot {
    Slot::of(name.as_bytes())
}

pub async fn begin(services: &Arc<Services>) -> Txn {
    let isolation = Isolation::RepeatableRead;
    Txn::begin(services.clone(), TxnOptions { isolation, ..TxnOptions::default() }).await.unwrap()
}

/// Writes rows in one transaction.
pub async fn write(services: &Arc<Services>, rows: &[(String, String)]) {
    try_write(services, rows).await.unwrap();
}

pub async fn try_write(services: &Arc<Services>, rows: &[(String, String)]) -> Result<(), String> {
    let mut txn = begin(services).await;
    for (name, value) in rows {
        let mutation = Mutation::put(key(name), slot(name), value.clone().into_bytes());
        txn.write(T, mutation).map_err(|error| error.to_string())?;
    }
    txn.commit(None).await.map(drop).map_err(|failure| failure.error.to_string())
}

pub async fn read(services: &Arc<Services>, name: &str) -> Result<Option<String>, String> {
    let mut txn = begin(services).await;
    let value = txn.get(T, slot(name), &key(name), ReadIntent::Plain).await.map_err(|e| e.to_string())?;
    Ok(value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
}

/// Every row, in key order.
pub async fn scan(services: &Arc<Services>) -> Result<BTreeMap<String, String>, String> {
    let mut txn = begin(services).await;
    let mut range = Some(KeyRange::prefix(&[0, 0, 0, 7, 0, 0]));
    let mut rows = BTreeMap::new();
    while let Some(next) = range {
        let request = ScanRequest {
            table: T,
            range: next,
            shards: ScanShards::All,
            direction: Direction::Forward,
            limit: 50,
            intent: ReadIntent::Plain,
        };
        let page = txn.scan(request).await.map_err(|error| error.to_string())?;
        for (key, value) in page.rows {
            let name = String::from_utf8(key.0[6..].to_vec()).unwrap();
            let value = String::from_utf8(value.to_vec()).unwrap();
            assert!(rows.insert(name, value).is_none(), "a scan shows a row once");
        }
        range = page.rest;
    }
    Ok(rows)
}

pub fn rows(from: usize, count: usize, value: &str) -> Vec<(String, String)> {
    (from..from + count).map(|n| (format!("row {n:05}"), value.to_owned())).collect()
}

/// What a client that never rests has seen.
#[derive(Default, Debug)]
pub struct Seen {
    pub commits: usize,
    pub longest_write: Duration,
    pub longest_read: Duration,
    pub errors: Vec<String>,
}

/// A client that writes row after row, reads back what it wrote, and now and then all of it.
pub struct Client {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<(Seen, BTreeMap<String, String>)>,
}

impl Client {
    pub fn start(services: Arc<Services>, name: &'static str) -> Client {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let (mut seen, mut model) = (Seen::default(), BTreeMap::new());
            while !*stopped.borrow() {
                let n = seen.commits;
                let pair: Vec<(String, String)> =
                    [n % 97, n % 89 + 100].map(|row| (format!("{name} {row}"), n.to_string())).to_vec();
                let began = Instant::now();
                match try_write(&services, &pair).await {
                    Ok(()) => model.extend(pair.clone()),
                    Err(error) => seen.errors.push(format!("write {n}: {error}")),
                }
                seen.longest_write = seen.longest_write.max(began.elapsed());
                seen.commits += 1;
                let began = Instant::now();
                match read(&services, &pair[0].0).await {
                    Ok(value) if value.as_ref() == Some(&pair[0].1) => {}
                    other => seen.errors.push(format!("read {n}: {other:?}")),
                }
                seen.longest_read = seen.longest_read.max(began.elapsed());
                if n.is_multiple_of(40) {
                    match scan(&services).await {
                        Ok(mut all) => {
                            all.retain(|row, _| row.starts_with(name));
                            if all != model {
                                seen.errors.push(format!("scan {n}: {} of {}", all.len(), model.len()));
                            }
                        }
                        Err(error) => seen.errors.push(format!("scan {n}: {error}")),
                    }
                }
            }
            (seen, model)
        });
        Client { stop, task }
    }

    /// What it has seen, and the rows as they must be.
    pub async fn stop(self) -> (Seen, BTreeMap<String, String>) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap()
    }
}
