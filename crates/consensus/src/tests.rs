//! A whole node on a directory that can lose power, sync badly and fill up.

use crate::fs::{Crash, FileSystem, Memory};
use crate::group_tests::{eventually, put_one};
use crate::housekeeping::HOUSEKEEPING;
use crate::{Adjudicator, Meter, Options, Tally, wal};
use assize_adjudicator::EncodedFootprint;
use assize_model::*;
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, DecisionSource, Footprints, LockStrength, LockWait, Registered,
    Reserved, ShardAdministration, StreamError,
};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: u32 = 2;

fn options() -> Options {
    let placement = Placement::even(SHARDS, NodeId(1));
    Options {
        window_log2: 10,
        wal: wal::Options { segment_size: 64 << 10, cache_max: 16 << 10, ..wal::Options::default() },
        checkpoint_bytes: 20 << 10,
        headroom_min: 8 << 10,
        free_min: 0,
        ..Options::new(NodeId(1), placement)
    }
}

async fn open(fs: &Memory) -> Adjudicator {
    Adjudicator::open_on(Arc::new(fs.clone()), options(), None).await.unwrap()
}

/// Cuts the power under a running node, and gives it back.
async fn cut_power(node: Adjudicator, fs: &Memory, crash: Crash) {
    fs.die_after(0);
    node.shutdown().await;
    drop(node);
    fs.crash(crash);
}

/// A client: it numbers its transactions.
struct Frontend {
    registered: Registered,
    next: u64,
}

impl Frontend {
    async fn register(node: &Adjudicator) -> Frontend {
        Frontend::begin_life(node, 1).await
    }

    /// A life is known by its nonce.
    async fn begin_life(node: &Adjudicator, nonce: u64) -> Frontend {
        Frontend { registered: node.register("frontend-1", nonce).await.unwrap(), next: 1 }
    }

    async fn txn(&mut self, node: &Adjudicator) -> TxnId {
        let begun = node.begin().await.unwrap().snapshot_ts;
        let Registered { frontend, epoch, .. } = self.registered;
        self.next += 1;
        TxnId::new(begun, DeadlineClass::Normal, frontend, epoch, self.next - 1)
    }

    /// A footprint that writes one key at a snapshot taken now.
    async fn put(&mut self, node: &Adjudicator, key: &'static str, value: Vec<u8>) -> Footprint {
        let txn = self.txn(node).await;
        let snapshot_ts = node.begin().await.unwrap().snapshot_ts;
        put_one(txn, snapshot_ts, self.registered.hash_seed, Key::from(key), value)
    }

    async fn commit(&mut self, node: &Adjudicator, key: &'static str) -> (TxnId, Decision) {
        let footprint = self.put(node, key, b"v".to_vec()).await;
        (footprint.txn, node.commit(footprint).await.unwrap())
    }
}

/// Everything that a shard is told after a position, up to what has been applied.
async fn read_stream(node: &Adjudicator, shard: ShardId, from: Position) -> Vec<Arc<StreamEntry>> {
    let mut stream = DecisionSource::subscribe(node, shard, from).await.unwrap();
    let mut all: Vec<Arc<StreamEntry>> = Vec::new();
    let closed_ts = node.stats().closed_ts;
    while all.last().map_or(from.closed_ts, |entry| entry.position.closed_ts) < closed_ts {
        all.extend(stream.next().await.unwrap());
    }
    let mut after = from.index;
    for entry in &all {
        assert_eq!(entry.after, after, "the stream has a gap");
        after = entry.position.index;
    }
    all
}

fn commits(entries: &[Arc<StreamEntry>]) -> Vec<TxnId> {
    entries.iter().flat_map(|entry| &entry.commits).map(|commit| commit.txn).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_committer_wins_and_the_loser_learns_who_won() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let first = frontend.put(&node, "k", b"1".to_vec()).await;
    let second = frontend.put(&node, "k", b"2".to_vec()).await;
    let winner = first.txn;
    let Decision::Commit { commit_ts } = node.commit(first.clone()).await.unwrap() else { panic!() };
    assert!(node.begin().await.unwrap().snapshot_ts >= commit_ts, "what was acknowledged is seen");
    let lost = node.commit(second.clone()).await.unwrap();
    let Decision::Abort { reason: AbortReason::Conflict(conflict) } = &lost else { panic!("{lost:?}") };
    assert_eq!(conflict.winner, Some(Winner { txn: winner, commit_ts }));
    // The same id again is answered, not adjudicated.
    assert_eq!(node.commit(first).await.unwrap(), Decision::Commit { commit_ts });
    assert_eq!(node.outcome(winner, false).await.unwrap(), Outcome::Committed(commit_ts));
    node.shutdown().await;
}

/// Remembers what it is told: syncs, entries, transactions.
#[derive(Debug, Default)]
struct Figures(Mutex<(u64, u64, Tally)>);

impl Meter for Figures {
    fn log_synced(&self, _took: Duration) {
        self.0.lock().unwrap().0 += 1;
    }

    fn entry_decided(&self, _took: Duration) {
        self.0.lock().unwrap().1 += 1;
    }

    fn decided(&self, tally: Tally) {
        let (_, _, all) = &mut *self.0.lock().unwrap();
        all.commits += tally.commits;
        all.conflicts += tally.conflicts;
        all.again += tally.again;
        all.refusals += tally.refusals;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_meter_is_told_of_every_sync_every_entry_and_every_transaction() {
    let figures = Arc::new(Figures::default());
    let metered = Options { meter: figures.clone(), ..options() };
    let node = Adjudicator::open_on(Arc::new(Memory::new()), metered, None).await.unwrap();
    let mut frontend = Frontend::register(&node).await;
    let (syncs, entries, none) = *figures.0.lock().unwrap();
    assert!(syncs > 0 && entries == 0, "the log was begun, and nothing was decided");
    assert_eq!(none, Tally::default());
    let first = frontend.put(&node, "k", b"1".to_vec()).await;
    // Both come together, so that neither can be refused before it has a place in the log.
    let second = frontend.put(&node, "k", b"2".to_vec()).await;
    let third = frontend.put(&node, "k", b"3".to_vec()).await;
    let mut bytes = Vec::new();
    for footprint in [&first, &second] {
        bytes.extend_from_slice(EncodedFootprint::new(footprint).unwrap().bytes());
    }
    let decided = node.commit_many(Footprints { bytes: bytes.into(), count: 2 }).await;
    assert_eq!(decided.commits(), 1);
    // This one is refused by a look at the state.
    assert!(!node.commit(third).await.unwrap().is_commit());
    let (more_syncs, entries, tally) = *figures.0.lock().unwrap();
    assert!(more_syncs > syncs && entries == 1, "{more_syncs} syncs after {syncs}, {entries} entries");
    assert_eq!(tally, Tally { commits: 1, conflicts: 2, ..Tally::default() });
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_commit_together_and_every_commit_has_a_timestamp_of_its_own() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut waiting = Vec::new();
    for round in 0..50 {
        let footprint = frontend.put(&node, keys[round % keys.len()], vec![0; 100]).await;
        let node = node.clone();
        waiting.push(tokio::spawn(async move { (footprint.txn, node.commit(footprint).await.unwrap()) }));
    }
    let mut timestamps = std::collections::BTreeSet::new();
    let mut committed = Vec::new();
    for waiting in waiting {
        if let (txn, Decision::Commit { commit_ts }) = waiting.await.unwrap() {
            assert!(timestamps.insert(commit_ts));
            committed.push(txn);
        }
    }
    assert!(committed.len() >= keys.len());
    let mut streamed = Vec::new();
    for shard in 1..=SHARDS {
        streamed.extend(commits(&read_stream(&node, ShardId(shard), Position::default()).await));
    }
    streamed.sort();
    committed.sort();
    assert_eq!(streamed, committed);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_power_goes_and_comes_back() {
    let fs = Memory::new();
    let mut acknowledged = Vec::new();
    for life in 0..4_u64 {
        let node = open(&fs).await;
        let mut frontend = Frontend::begin_life(&node, life).await;
        assert_eq!(frontend.registered.epoch, FrontendEpoch(life as u32 + 1), "an epoch is never reused");
        for (txn, commit_ts) in &acknowledged {
            assert_eq!(node.outcome(*txn, false).await.unwrap(), Outcome::Committed(*commit_ts));
        }
        for key in ["a", "b", "c", "d", "e"] {
            match frontend.commit(&node, key).await {
                (txn, Decision::Commit { commit_ts }) => acknowledged.push((txn, commit_ts)),
                (_, abort) => panic!("{abort:?}"),
            }
        }
        cut_power(node, &fs, Crash::Toss(life)).await;
    }
    let node = open(&fs).await;
    // No replica ever persisted anything, so the whole stream is still there.
    let mut streamed = Vec::new();
    for shard in 1..=SHARDS {
        streamed.extend(commits(&read_stream(&node, ShardId(shard), Position::default()).await));
    }
    streamed.sort();
    let mut expected: Vec<TxnId> = acknowledged.iter().map(|(txn, _)| *txn).collect();
    expected.sort();
    assert_eq!(streamed, expected);
    node.shutdown().await;
}

#[tokio::test]
async fn what_a_busy_leader_has_queued_goes_into_many_entries() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let like = frontend.put(&node, "k", vec![7]).await;
    let first = like.txn.sequence() + 1;
    // Two of them do not fit into an entry; all of them would have been one of the longest.
    const FRAMES: u64 = 6;
    const EACH: u64 = 2_500;
    let frame = |n: u64| {
        let encode = |number| {
            let (frontend, epoch) = (like.txn.frontend(), like.txn.frontend_epoch());
            let txn = TxnId::new(like.txn.begun(), DeadlineClass::Normal, frontend, epoch, number);
            EncodedFootprint::new(&Footprint { txn, ..like.clone() }).unwrap().bytes().clone()
        };
        let encoded: Vec<Bytes> = (first + n * EACH..first + (n + 1) * EACH).map(encode).collect();
        encoded.iter().collect()
    };
    let frames: Vec<Footprints> = (0..FRAMES).map(frame).collect();
    let before = node.stats().applied;
    let answers =
        futures_util::future::join_all(frames.into_iter().map(|frame| node.commit_many(frame))).await;
    assert!(node.stats().applied.0 - before.0 >= FRAMES);
    // All write the same key: the first one wins.
    let commits: u32 = answers.iter().map(|decisions| decisions.commits()).sum();
    assert_eq!(commits, 1);
    assert!(answers.iter().all(|decisions| u64::from(decisions.len()) == EACH));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_persisted_everywhere_leaves_memory_before_there_is_a_checkpoint() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let footprint = frontend.put(&node, "k", vec![7; 10]).await;
    assert!(node.commit(footprint).await.unwrap().is_commit());
    let stands = |entries: Vec<Arc<StreamEntry>>| entries.last().unwrap().position;
    let first = stands(read_stream(&node, ShardId(1), Position::default()).await);
    node.report_durable(ShardId(1), ReplicaId(1), first);
    tokio::time::sleep(3 * HOUSEKEEPING).await;
    assert!(
        !read_stream(&node, ShardId(2), Position::default()).await.is_empty(),
        "the other has not persisted it"
    );

    node.report_durable(ShardId(2), ReplicaId(1), first);
    eventually("the streams forget", async || {
        DecisionSource::subscribe(&node, ShardId(2), Position::default()).await.err()
    })
    .await;
    assert!(fs.list().unwrap().iter().all(|name| !name.starts_with("base-")));
    // Whoever has persisted it goes on behind it, before a crash and after it.
    assert!(DecisionSource::subscribe(&node, ShardId(2), first).await.is_ok());
    cut_power(node, &fs, Crash::LoseUnsynced).await;
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let footprint = frontend.put(&node, "k", vec![8; 10]).await;
    let txn = footprint.txn;
    assert!(node.commit(footprint).await.unwrap().is_commit());
    let shard = Placement::even(SHARDS, NodeId(1)).shard_of(Slot::of(b"k"));
    assert_eq!(commits(&read_stream(&node, shard, first).await), [txn]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_forgotten_once_every_replica_has_persisted_it_and_not_before() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let mut positions = vec![Position::default()];
    let mut commit_some = async |node: &Adjudicator, frontend: &mut Frontend| {
        for _ in 0..50 {
            let footprint = frontend.put(node, "k", vec![7; 1000]).await;
            assert!(node.commit(footprint).await.unwrap().is_commit());
        }
        let entries = read_stream(node, ShardId(1), *positions.last().unwrap()).await;
        positions.push(entries.last().unwrap().position);
        positions[positions.len() - 1]
    };
    let first = commit_some(&node, &mut frontend).await;
    // A checkpoint is due, but one replica has persisted nothing.
    node.report_durable(ShardId(1), ReplicaId(1), first);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!read_stream(&node, ShardId(2), Position::default()).await.is_empty());
    assert!(fs.list().unwrap().iter().all(|name| !name.starts_with("base-")));

    node.report_durable(ShardId(2), ReplicaId(1), first);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while fs.list().unwrap().iter().all(|name| !name.starts_with("base-")) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", fs.list().unwrap());
        let second = commit_some(&node, &mut frontend).await;
        node.report_durable(ShardId(1), ReplicaId(1), second);
        node.report_durable(ShardId(2), ReplicaId(1), second);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let forgotten = DecisionSource::subscribe(&node, ShardId(2), Position::default()).await.map(|_| ());
    assert!(matches!(forgotten, Err(StreamError::Forgotten { .. })), "{forgotten:?}");
    let last = commit_some(&node, &mut frontend).await;
    let stats = node.stats();
    cut_power(node, &fs, Crash::LoseUnsynced).await;

    let node = open(&fs).await;
    assert!(node.stats().applied >= stats.applied);
    // A replica that stands where it has persisted gets what comes after, without a gap.
    let (txn, decision) = frontend_again(&node).await;
    assert!(decision.is_commit());
    let slot = Slot::of(b"k");
    let shard = Placement::even(SHARDS, NodeId(1)).shard_of(slot);
    assert_eq!(commits(&read_stream(&node, shard, last).await), [txn]);
    node.shutdown().await;
}

async fn frontend_again(node: &Adjudicator) -> (TxnId, Decision) {
    Frontend::register(node).await.commit(node, "k").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_any_more_and_nothing_acknowledged_is_lost() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let (kept, decision) = frontend.commit(&node, "kept").await;
    assert!(decision.is_commit());
    let doubtful = frontend.put(&node, "doubtful", b"v".to_vec()).await;
    fs.fail_syncs(1);
    let lost = node.commit(doubtful).await.unwrap_err();
    assert_eq!(lost, AdjudicatorError::ReplyLost, "what may have been written is not called a failure");
    assert!(node.failed().await.contains("sync"));
    let refused = node.commit(frontend_footprint(&frontend)).await.unwrap_err();
    assert!(matches!(refused, AdjudicatorError::Stopped(_)), "{refused}");
    cut_power(node, &fs, Crash::LoseUnsynced).await;
    let node = open(&fs).await;
    assert!(matches!(node.outcome(kept, false).await.unwrap(), Outcome::Committed(_)));
    node.shutdown().await;
}

/// A footprint that needs no node.
fn frontend_footprint(frontend: &Frontend) -> Footprint {
    let Registered { frontend, epoch, hash_seed } = frontend.registered;
    let txn = TxnId::new(Timestamp::from_millis(1), DeadlineClass::Normal, frontend, epoch, 1000);
    let hash = Key::from("x").hash(hash_seed);
    Footprint {
        txn,
        groups: Vec::new(),
        schemas: Vec::new(),
        auto_increments: Vec::new(),
        body: CommitBody::Inline {
            mutations: vec![Mutation::delete(Key::from("x"), Slot(1))],
            written: vec![WrittenKey { hash, ordered: None }],
        },
        catalog_change: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commits_and_takes_them_again_when_there_is_space() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let used: u64 = 3 * (64 << 10);
    fs.set_capacity(Some(used));
    let mut committed = 0;
    let refused = loop {
        let footprint = frontend.put(&node, "k", vec![7; 4000]).await;
        match node.commit(footprint).await {
            Ok(decision) => {
                assert!(decision.is_commit());
                committed += 1;
            }
            Err(error) => break error,
        }
        assert!(committed < 200);
    };
    assert!(matches!(refused, AdjudicatorError::DiskFull(_)), "{refused}");
    assert!(committed > 5);
    assert!(node.begin().await.is_ok(), "reads go on");
    fs.set_capacity(None);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let footprint = frontend.put(&node, "k", b"again".to_vec()).await;
        match node.commit(footprint).await {
            Ok(decision) => break assert!(decision.is_commit()),
            Err(AdjudicatorError::DiskFull(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
    cut_power(node, &fs, Crash::LoseUnsynced).await;
    open(&fs).await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_full_disk_can_be_started_and_read() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let (txn, _) = Frontend::register(&node).await.commit(&node, "k").await;
    node.shutdown().await;
    drop(node);
    let scarce = Options { free_min: 1 << 20, ..options() };
    fs.set_capacity(Some(512 << 10));
    let node = Adjudicator::open_on(Arc::new(fs.clone()), scarce, None).await.unwrap();
    let mut frontend = Frontend::register(&node).await;
    assert!(matches!(node.outcome(txn, true).await.unwrap(), Outcome::Committed(_)));
    let footprint = frontend.put(&node, "k", b"v".to_vec()).await;
    let refused = node.commit(footprint).await.unwrap_err();
    assert!(matches!(refused, AdjudicatorError::DiskFull(_)), "{refused}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_heals_by_itself_once_replicas_have_persisted() {
    let fs = Memory::new();
    // The reserve is where the checkpoint goes that lets the log be forgotten.
    let options = Options { free_min: 192 << 10, ..options() };
    let node = Adjudicator::open_on(Arc::new(fs.clone()), options, None).await.unwrap();
    let mut frontend = Frontend::register(&node).await;
    let mut last = Position::default();
    fs.set_capacity(Some(10 * (64 << 10)));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let (mut refused, mut committed) = (0, 0);
    // Twice what the disk can hold.
    while committed < 300 {
        let footprint = frontend.put(&node, "k", vec![7; 4000]).await;
        match node.commit(footprint).await {
            Ok(decision) => {
                assert!(decision.is_commit());
                committed += 1;
            }
            Err(AdjudicatorError::DiskFull(_)) => {
                refused += 1;
                last = read_stream(&node, ShardId(1), last).await.last().map_or(last, |e| e.position);
                node.report_durable(ShardId(1), ReplicaId(1), last);
                node.report_durable(ShardId(2), ReplicaId(1), last);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{committed} committed, {refused} refused, {:?}, {:?}",
            node.stats(),
            fs.list(),
        );
    }
    assert!(refused > 0);
    cut_power(node, &fs, Crash::LoseUnsynced).await;
    open(&fs).await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_no_quota_has_room_for_is_only_late() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let checkpoints = || fs.list().unwrap().iter().filter(|name| name.ends_with(".ckpt")).count();
    let before = checkpoints();
    // Nothing may grow: the log has what it needs, a checkpoint is a new file.
    fs.set_quota(Some(0));
    let mut bytes = 0;
    while bytes < 3 * options().checkpoint_bytes {
        let footprint = frontend.put(&node, "k", vec![7; 2000]).await;
        bytes += 2000;
        match node.commit(footprint).await {
            Ok(decision) => assert!(decision.is_commit()),
            Err(AdjudicatorError::DiskFull(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    // It is due, and tried more than once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(checkpoints(), before);
    assert!(node.inner.node.failure().is_none(), "{:?}", node.inner.node.failure());
    fs.set_quota(None);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while checkpoints() == before {
        let footprint = frontend.put(&node, "k", vec![7; 2000]).await;
        match node.commit(footprint).await {
            Ok(decision) => assert!(decision.is_commit()),
            Err(AdjudicatorError::DiskFull(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "no checkpoint is written");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_outcome_can_be_resolved_and_then_never_commits() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let footprint = frontend.put(&node, "k", b"v".to_vec()).await;
    let txn = footprint.txn;
    assert_eq!(node.outcome(txn, false).await.unwrap(), Outcome::Undecided);
    assert_eq!(node.outcome(txn, true).await.unwrap(), Outcome::Aborted(AbortReason::Resolved));
    let late = node.commit(footprint).await.unwrap();
    assert_eq!(late, Decision::Abort { reason: AbortReason::Resolved });
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_catalog_and_placement_survive_a_restart() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    let ids = node.allocate_ids(TableId(1), 10, 1, 1, 1).await.unwrap();
    assert_eq!((ids.first, ids.count), (1, 10));
    let mut change = frontend.put(&node, "unused", Vec::new()).await;
    change.catalog_change = Some(CatalogChange {
        expects: vec![(Bytes::from_static(b"db/shop"), 0)],
        objects: vec![(Bytes::from_static(b"db/shop"), Some(Bytes::from_static(b"definition")))],
        ..CatalogChange::default()
    });
    assert!(node.commit(change).await.unwrap().is_commit());
    let begun = node.begin().await.unwrap();
    cut_power(node, &fs, Crash::LoseUnsynced).await;

    let node = open(&fs).await;
    assert_eq!(node.next_id(TableId(1)).await.unwrap(), 11);
    let catalog = node.catalog(CatalogVersion(0), begun.catalog_version).await.unwrap();
    assert_eq!(catalog.version, begun.catalog_version);
    let definition = Some(Bytes::from_static(b"definition"));
    assert!(catalog.objects.iter().any(|(name, _, bytes)| name == "db/shop" && *bytes == definition));
    assert_eq!(*node.placement().await.unwrap(), Placement::even(SHARDS, NodeId(1)));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_waits_times_out_and_is_granted_with_a_fresh_snapshot() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let (first, second) = (frontend.txn(&node).await, frontend.txn(&node).await);
    let keys = [KeyHash(1), KeyHash(2)];
    let patient = LockWait::Timeout(Duration::from_secs(60));
    let brief = LockWait::Timeout(Duration::from_millis(20));
    let exclusive = LockStrength::Exclusive;
    assert!(matches!(
        node.reserve(first, &keys, exclusive, patient).await.unwrap(),
        Reserved::Granted { keys, .. } if keys.len() == 2
    ));
    assert_eq!(node.reserve(second, &keys, exclusive, LockWait::NoWait).await.unwrap(), Reserved::Busy);
    assert!(matches!(
        node.reserve(second, &[KeyHash(2), KeyHash(3)], exclusive, LockWait::SkipLocked).await.unwrap(),
        Reserved::Granted { keys, .. } if keys == [KeyHash(3)]
    ));
    assert_eq!(node.reserve(second, &keys, exclusive, brief).await.unwrap(), Reserved::TimedOut);
    assert_eq!(
        {
            let waits = node.reserve(second, &keys, exclusive, patient);
            let circle = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                node.reserve(first, &[KeyHash(3)], exclusive, patient).await.unwrap()
            };
            tokio::select! { _ = waits => panic!("granted to two"), victim = circle => victim }
        },
        Reserved::Deadlock
    );
    let (granted, commit_ts) = tokio::join!(node.reserve(second, &keys, exclusive, patient), async {
        let (_, decision) = frontend.commit(&node, "k").await;
        node.release(first);
        match decision {
            Decision::Commit { commit_ts } => commit_ts,
            abort => panic!("{abort:?}"),
        }
    });
    let Reserved::Granted { begun, .. } = granted.unwrap() else { panic!() };
    assert!(begun.snapshot_ts >= commit_ts);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_low_water_mark_follows_the_oldest_snapshot_that_is_reported() {
    let node = open(&Memory::new()).await;
    let mut frontend = Frontend::register(&node).await;
    let Registered { frontend: id, epoch, .. } = frontend.registered;
    let before = node.stats().low_water;
    let oldest = before.later(Duration::from_secs(6));
    node.report_oldest_snapshot(id, epoch, Some(oldest));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while node.stats().low_water == before {
        assert!(tokio::time::Instant::now() < deadline);
        // The mark never passes what is closed.
        frontend.commit(&node, "k").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(node.stats().low_water <= oldest);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_low_water_mark_rises_in_small_steps_while_a_shard_waits_that_has_given_its_slots_away() {
    let node = open(&Memory::new()).await;
    let Registered { frontend, epoch, .. } = Frontend::register(&node).await.registered;
    let expected = node.placement().await.unwrap().epoch;
    let merge = PlacementChange {
        expected,
        slots: vec![(Slot(0), Slot(u16::MAX), ShardId(2))],
        ..PlacementChange::default()
    };
    let moved = node.administer(PlacementCommand::Change(merge)).await.unwrap();
    // Just above the move, and no more.
    let oldest = node.begin().await.unwrap().snapshot_ts.next();
    node.report_oldest_snapshot(frontend, epoch, Some(oldest));
    let arrived = Position { index: moved, closed_ts: node.begin().await.unwrap().snapshot_ts };
    node.report_durable(ShardId(2), ReplicaId(1), arrived);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while node.stats().low_water < oldest {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", node.stats().low_water);
        node.report_oldest_snapshot(frontend, epoch, Some(oldest));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expected = node.placement().await.unwrap().epoch;
    let cease = PlacementChange { expected, shards: vec![(ShardId(1), None)], ..PlacementChange::default() };
    node.administer(PlacementCommand::Change(cease)).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = Some(directory.path().to_owned());
    let node = Adjudicator::open(path.clone(), options(), None).await.unwrap();
    let again = Adjudicator::open(path.clone(), options(), None).await.err().expect("it is in use");
    assert!(matches!(again, crate::OpenError::InUse(_)), "{again}");
    let mut frontend = Frontend::register(&node).await;
    let (txn, decision) = frontend.commit(&node, "k").await;
    assert!(decision.is_commit());
    node.shutdown().await;
    drop(node);
    let node = Adjudicator::open(path, options(), None).await.unwrap();
    assert!(matches!(node.outcome(txn, false).await.unwrap(), Outcome::Committed(_)));
    node.shutdown().await;
}

/// Whoever replays the log of a node that is down comes to the state that its checkpoints say, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_node_that_is_down_replays_to_its_checkpoints() {
    use crate::evidence::{Content, Replay, read_on};
    let fs = Memory::new();
    let node = open(&fs).await;
    let mut frontend = Frontend::register(&node).await;
    for n in 0..60u8 {
        let footprint = frontend.put(&node, "k", vec![n; 1000]).await;
        assert!(node.commit(footprint).await.unwrap().is_commit());
    }
    while !fs.list().unwrap().iter().any(|name| name.ends_with(".ckpt")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let applied = node.stats().applied;
    node.shutdown().await;
    drop(node);

    let evidence = read_on(Arc::new(fs.clone())).unwrap();
    let last = evidence.entries.last().unwrap().id;
    assert!(last.index >= applied.0 && evidence.committed.is_some_and(|id| id.index <= last.index));
    assert!(!evidence.images.is_empty());
    let (mut replay, mut commits, mut compared) = (Replay::default(), 0, 0);
    for entry in &evidence.entries {
        if let Content::Command(bytes) = &entry.content {
            let command = assize_adjudicator::Command::decode(bytes).unwrap();
            commits += replay.apply(entry.id.index, &command).decisions.commits();
        }
        for image in evidence.images.iter().filter(|image| image.last == Some(entry.id)) {
            assert!(image.state == replay.image(), "{}", image.name);
            let again = Replay::from_image(&image.state).unwrap();
            assert_eq!(again.core().chain(), replay.core().chain());
            compared += 1;
        }
    }
    assert_eq!((commits, compared), (60, evidence.images.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_is_fenced_when_nothing_is_heard_of_it_and_what_a_former_one_still_says_counts_for_nothing() {
    let options = Options { lease: Duration::from_secs(2), ..options() };
    let node = Adjudicator::open_on(Arc::new(Memory::new()), options, None).await.unwrap();
    let epoch_rises = async |above: FrontendEpoch, frontend: FrontendId| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let epoch = node.frontend_epoch(frontend).await.unwrap();
            if epoch > above {
                return epoch;
            }
            assert!(tokio::time::Instant::now() < deadline, "{frontend} still lives {above}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // It never came to its first report.
    let first = Frontend::begin_life(&node, 1).await.registered;
    assert_eq!(node.frontend_epoch(first.frontend).await.unwrap(), first.epoch);
    let fenced = epoch_rises(first.epoch, first.frontend).await;
    // The next life does not either, and is taken for silent although the one before goes on talking.
    let second = Frontend::begin_life(&node, 2).await.registered;
    assert!(second.epoch > fenced);
    let talks = async {
        loop {
            node.report_oldest_snapshot(first.frontend, first.epoch, None);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        never = talks => never,
        _ = epoch_rises(second.epoch, second.frontend) => {}
    }
    // One that reports lives on.
    let mut third = Frontend::begin_life(&node, 3).await;
    for _ in 0..30 {
        node.report_oldest_snapshot(third.registered.frontend, third.registered.epoch, None);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(third.commit(&node, "k").await.1.is_commit());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_life_has_reserved_is_given_back_when_the_next_one_begins() {
    let node = open(&Memory::new()).await;
    let owner = Frontend::begin_life(&node, 1).await.txn(&node).await;
    let key = [KeyHash(1)];
    let reserve = async |owner| node.reserve(owner, &key, LockStrength::Exclusive, LockWait::NoWait).await;
    assert!(matches!(reserve(owner).await, Ok(Reserved::Granted { .. })));
    // Within its lease: the frontend never falls silent.
    let mut next = Frontend::begin_life(&node, 2).await;
    let owner = next.txn(&node).await;
    eventually("the reservation is given back", async || {
        node.report_oldest_snapshot(next.registered.frontend, next.registered.epoch, None);
        matches!(reserve(owner).await, Ok(Reserved::Granted { .. })).then_some(())
    })
    .await;
    // What the new life holds it keeps.
    tokio::time::sleep(2 * HOUSEKEEPING).await;
    let other = next.txn(&node).await;
    assert_eq!(reserve(other).await, Ok(Reserved::Busy));
    node.shutdown().await;
}

const HOUR: Duration = Duration::from_secs(3600);

/// Idle time is closed beyond this timestamp, by more than batches could have counted.
async fn assert_time_passes(node: &Adjudicator, after: Timestamp) {
    eventually("time passes", async || {
        (node.stats().closed_ts > after.later(Duration::from_millis(1_500))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_goes_on_after_the_wall_clock_has_been_set_back() {
    let fs = Memory::new();
    let node = open(&fs).await;
    let before = node.stats().closed_ts;
    let mut frontend = Frontend::register(&node).await;
    node.inner.node.clock.step_wall(HOUR.as_millis() as i64);
    frontend.commit(&node, "a").await;
    let (_, decision) = frontend.commit(&node, "b").await;
    let Decision::Commit { commit_ts } = decision else { panic!("{decision:?}") };
    assert!(commit_ts > before.later(HOUR), "time follows the wall clock forward");
    node.inner.node.clock.step_wall(0);
    assert_time_passes(&node, commit_ts).await;
    let (_, decision) = frontend.commit(&node, "c").await;
    assert!(decision.is_commit(), "{decision:?}");

    // Another process, whose clock was never wrong.
    let closed = node.stats().closed_ts;
    cut_power(node, &fs, Crash::LoseUnsynced).await;
    let node = open(&fs).await;
    let mut frontend = Frontend::begin_life(&node, 2).await;
    let (_, decision) = frontend.commit(&node, "d").await;
    assert!(decision.is_commit(), "{decision:?}");
    assert_time_passes(&node, closed).await;
}
