//! Three nodes as they run, under seeds: nodes lose power, connections break, the lead moves, disks take long over checkpoints
//! or fail, while frontends commit. Whatever happens, what was acknowledged stays.
//!
//! The simulator knows the protocol and models the log; here is the log itself, with Raft, checkpoints, purging, the leader's
//! task and everybody's housekeeping, over disks in memory that forget what was not synced. Tasks run as they like, so a
//! seed tells what is done to the nodes, and not everything that comes of it.
//!
//! `ASSIZE_SEED=1 ASSIZE_SEEDS=200 cargo test -p assize-consensus seeded` runs more of them.

use crate::fs::{Crash, File, FileSystem, Memory};
use crate::group_tests::{ALL, address, eventually, options, put_one};
use crate::memory_peers::MemoryNetwork;
use crate::{Adjudicator, Agreement, Founding, Options};
use assize_model::*;
use assize_ports::{AdjudicatorClient, AdjudicatorError, DecisionSource, Registered, Service};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The first seed and how many there are, unless the environment says otherwise. Under the sixth a checkpoint once came after a
/// newer one from another node, took its place, and left a log with a hole behind it.
const SEEDS: (u64, u64) = (5, 3);
/// Seeds that are run at once: what is done to the nodes takes its time, whoever else is at it.
const AT_ONCE: usize = 3;
/// What is done to the nodes under one seed.
const BLOWS: u32 = 10;
/// Frontends that commit.
const FRONTENDS: usize = 3;
/// Each of them rests between two commits, so that whoever judges them has an end.
const REST: Duration = Duration::from_millis(4);
/// They write these keys, and often the same at the same time.
const KEYS: u64 = 12;
/// An answer is awaited for so long; then another node is asked.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// A disk that takes long over some checkpoints.
struct SlowOver {
    disk: Memory,
    draw: Mutex<Draw>,
}

impl FileSystem for SlowOver {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if name.starts_with("candidate-") {
            let mut draw = self.draw.lock().unwrap();
            let pause = if draw.below(2) == 0 { draw.millis(1500) } else { Duration::ZERO };
            drop(draw);
            std::thread::sleep(pause);
        }
        self.disk.create(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

/// What the frontends and whoever strikes the nodes share.
#[derive(Default)]
struct World {
    net: MemoryNetwork,
    disks: BTreeMap<NodeId, Memory>,
    nodes: Mutex<BTreeMap<NodeId, Adjudicator>>,
    stop: AtomicBool,
    /// The highest timestamp that anybody has been told of.
    acknowledged: AtomicU64,
}

/// A transaction that was committed, as its frontend was told.
#[derive(Clone, Debug)]
struct Committed {
    txn: TxnId,
    key: u64,
    snapshot_ts: Timestamp,
    commit_ts: Timestamp,
}

/// What a frontend was told.
#[derive(Default)]
struct Told {
    committed: Vec<Committed>,
    refused: Vec<TxnId>,
}

impl World {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Adjudicator>> {
        self.nodes.lock().unwrap()
    }

    fn running(&self) -> Vec<Adjudicator> {
        self.nodes().values().cloned().collect()
    }

    async fn start(&self, id: NodeId, seed: u64) {
        let founders = ALL.map(|node| (node, address(node))).into();
        let options = Options {
            heartbeat: Duration::from_millis(50),
            checkpoint_bytes: 200 << 10,
            ..options(id, Founding::Together(founders))
        };
        let fs = SlowOver { disk: self.disks[&id].clone(), draw: Mutex::new(Draw(seed)) };
        let opened = Adjudicator::open_on(Arc::new(fs), options, Some(self.net.peers(id))).await;
        let node = opened.unwrap_or_else(|error| panic!("{id} does not open: {error}"));
        self.net.serve(id, Service::Raft, Some(node.raft_service()));
        self.nodes().insert(id, node);
    }

    /// Cuts a node's power.
    async fn kill(&self, id: NodeId, crash: Crash) {
        let Some(node) = self.nodes().remove(&id) else { return };
        self.net.serve(id, Service::Raft, None);
        self.net.isolate(id, ALL);
        self.disks[&id].die_after(0);
        node.shutdown().await;
        drop(node);
        self.disks[&id].crash(crash);
        self.net.heal();
    }

    /// Nobody but those whose disks were struck has a reason to stop.
    fn assert_nobody_failed(&self, but: Option<NodeId>) {
        for node in self.running().iter().filter(|node| Some(node.id()) != but) {
            if let Some(why) = node.failed().now_or_never() {
                panic!("{} has failed: {why}", node.id());
            }
        }
    }

    /// Asks one node after the other until one answers; `None` once the test is over.
    async fn insist<T, F>(&self, ask: impl Fn(Adjudicator) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, AdjudicatorError>> + Send,
    {
        while !self.stop.load(Ordering::Relaxed) {
            for node in self.running() {
                if let Ok(Ok(answer)) = tokio::time::timeout(ASK_MAX, ask(node)).await {
                    return Some(answer);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Says for every shard that it has persisted what is applied, so that checkpoints become bases and the log is purged.
    fn report_durable(&self) {
        for node in self.running().iter().filter(|node| node.watch_leadership().borrow().is_this) {
            let stats = node.stats();
            for shard in [ShardId(1), ShardId(2)] {
                let position = Position { index: stats.applied, closed_ts: stats.closed_ts };
                node.report_durable(shard, ReplicaId(1), position);
            }
        }
    }
}

/// A frontend that commits one key after the other, and sends again what it does not know the outcome of.
async fn commit_keys(world: Arc<World>, number: usize, seed: u64) -> Told {
    let mut draw = Draw(seed ^ (number as u64) << 32);
    let mut told = Told::default();
    let name = format!("frontend-{number}");
    let register = |node: Adjudicator| {
        let name = name.clone();
        async move { node.register(&name, number as u64 + 1).await }
    };
    let Some(me) = world.insist(register).await else { return told };
    for sequence in 1.. {
        tokio::time::sleep(REST).await;
        let heard_before = world.acknowledged.load(Ordering::SeqCst);
        let Some(begun) = world.insist(|node| async move { node.begin().await }).await else { return told };
        let snapshot_ts = begun.snapshot_ts;
        assert!(snapshot_ts.0 >= heard_before, "a snapshot misses what was acknowledged before");
        let key = draw.below(KEYS);
        let footprint = footprint(&me, sequence, snapshot_ts, key, vec![7; draw.below(4000) as usize]);
        let commit = |node: Adjudicator| {
            let footprint = footprint.clone();
            async move { node.commit(footprint).await }
        };
        match world.insist(commit).await {
            // In doubt when the test ended.
            None => return told,
            Some(Decision::Commit { commit_ts }) => {
                world.acknowledged.fetch_max(commit_ts.0, Ordering::SeqCst);
                told.committed.push(Committed { txn: footprint.txn, key, snapshot_ts, commit_ts });
            }
            Some(Decision::Abort { .. }) => told.refused.push(footprint.txn),
        }
    }
    unreachable!("numbers do not end")
}

fn footprint(me: &Registered, sequence: u64, snapshot_ts: Timestamp, key: u64, value: Vec<u8>) -> Footprint {
    let txn = TxnId::new(snapshot_ts, DeadlineClass::Normal, me.frontend, me.epoch, sequence);
    put_one(txn, snapshot_ts, me.hash_seed, Key::new(key.to_be_bytes().to_vec()), value)
}

/// Does something to a node, and undoes it.
async fn strike(world: &World, draw: &mut Draw) {
    let victim = ALL[draw.below(3) as usize];
    let crash = match draw.below(3) {
        0 => Crash::LoseUnsynced,
        1 => Crash::KeepUnsynced,
        _ => Crash::Toss(draw.next()),
    };
    let mut struck = None;
    match draw.below(7) {
        0 | 1 => {
            world.kill(victim, crash).await;
            tokio::time::sleep(draw.millis(600)).await;
        }
        2 | 3 => {
            world.net.isolate(victim, ALL);
            tokio::time::sleep(draw.millis(1500)).await;
            world.net.heal();
        }
        4 => {
            let leader = world.running().into_iter().find(|node| node.watch_leadership().borrow().is_this);
            if let Some(leader) = leader {
                // It may be refused.
                let moved = leader.transfer_leadership(Some(victim));
                let _ = tokio::time::timeout(ASK_MAX, moved).await;
            }
        }
        5 => {
            struck = Some(victim);
            world.disks[&victim].die_after(draw.below(60));
            tokio::time::sleep(draw.millis(400)).await;
            world.kill(victim, crash).await;
        }
        _ => {
            for node in ALL {
                world.kill(node, crash).await;
            }
        }
    }
    for node in ALL {
        if !world.nodes().contains_key(&node) {
            world.start(node, draw.next()).await;
        }
    }
    world.assert_nobody_failed(struck);
}

/// What was acknowledged is as it was, and everybody agrees.
async fn judge(world: &World, told: &[Told]) {
    let outcome = async |txn: TxnId| {
        let asked = eventually("somebody knows", async || {
            for node in world.running() {
                if let Ok(Ok(outcome)) = tokio::time::timeout(ASK_MAX, node.outcome(txn, false)).await {
                    return Some(outcome);
                }
            }
            None
        });
        asked.await
    };
    for committed in told.iter().flat_map(|told| &told.committed) {
        assert_eq!(outcome(committed.txn).await, Outcome::Committed(committed.commit_ts), "{committed:?}");
    }
    for refused in told.iter().flat_map(|told| &told.refused) {
        assert!(!matches!(outcome(*refused).await, Outcome::Committed(_)), "{refused}");
    }
    eventually("all have applied the same", async || {
        let applied: BTreeSet<LogIndex> = world.running().iter().map(|node| node.stats().applied).collect();
        (applied.len() == 1).then_some(())
    })
    .await;
    let compared = eventually("the states are compared", async || {
        let nodes = world.running();
        let leader = nodes.iter().find(|node| node.watch_leadership().borrow().is_this)?;
        leader.verify_replicas().await.ok().filter(|compared| compared.others.values().all(Option::is_some))
    });
    assert_eq!(compared.await.agreement(), Agreement::Equal);
    world.assert_nobody_failed(None);
}

/// First committer wins: nobody else committed a key between a transaction's snapshot and its commit.
fn assert_no_lost_update(told: &[Told]) {
    let mut by_key: BTreeMap<u64, Vec<&Committed>> = BTreeMap::new();
    for committed in told.iter().flat_map(|told| &told.committed) {
        by_key.entry(committed.key).or_default().push(committed);
    }
    for commits in by_key.values_mut() {
        commits.sort_by_key(|committed| committed.commit_ts);
        for pair in commits.windows(2) {
            assert!(pair[0].commit_ts <= pair[1].snapshot_ts, "{pair:?}");
        }
    }
}

async fn run(seed: u64) {
    let disks = ALL.map(|node| (node, Memory::new())).into();
    let world = Arc::new(World { disks, ..World::default() });
    let mut draw = Draw(seed);
    for node in ALL {
        world.start(node, draw.next()).await;
    }
    let frontends: Vec<_> =
        (0..FRONTENDS).map(|number| tokio::spawn(commit_keys(world.clone(), number, seed))).collect();
    let reporter = world.clone();
    let reports = tokio::spawn(async move {
        while !reporter.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            reporter.report_durable();
        }
    });
    for _ in 0..BLOWS {
        tokio::time::sleep(draw.millis(700)).await;
        strike(&world, &mut draw).await;
    }
    // Whoever is in doubt hears the outcome before the end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for frontend in frontends {
        told.push(frontend.await.unwrap());
    }
    reports.await.unwrap();
    assert!(told.iter().any(|told| !told.committed.is_empty()), "nothing was committed");
    assert_no_lost_update(&told);
    judge(&world, &told).await;
    // And once more from what is on the disks.
    for node in ALL {
        world.kill(node, Crash::LoseUnsynced).await;
    }
    for node in ALL {
        world.start(node, draw.next()).await;
    }
    judge(&world, &told).await;
    let has_forgotten = |node: &Adjudicator| {
        let stream = DecisionSource::subscribe(node, ShardId(1), Position::default()).now_or_never();
        stream.is_some_and(|stream| stream.is_err())
    };
    println!(
        "seed {seed}: {} committed, {} refused; {} nodes have forgotten the beginning",
        told.iter().map(|told| told.committed.len()).sum::<usize>(),
        told.iter().map(|told| told.refused.len()).sum::<usize>(),
        world.running().iter().filter(|node| has_forgotten(node)).count()
    );
    for node in world.running() {
        node.shutdown().await;
    }
}

#[test]
fn whatever_happens_to_nodes_what_was_acknowledged_stays() {
    let number = |name: &str| std::env::var(name).ok().and_then(|seeds| seeds.parse::<u64>().ok());
    let (first, count) =
        (number("ASSIZE_SEED").unwrap_or(SEEDS.0), number("ASSIZE_SEEDS").unwrap_or(SEEDS.1));
    let next = AtomicU64::new(first);
    let run_seeds = || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            println!("seed {seed} begins");
            runtime.block_on(run(seed));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(run_seeds);
        }
    });
}
