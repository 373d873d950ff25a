//! One shard against a source that says what the test says.

use super::*;
use assize_model::*;
use assize_ports::{
    AdjudicatorError, BoxFuture, DecisionSource, DecisionStream, Direction, PlacementError, ReadView,
    Replica, ReplicaStanding, ShardAdministration, ShardError, ShardStandings, StreamError,
};
use assize_rocks::{Location, Store};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const SHARD: ShardId = ShardId(1);

async fn prepare(
    shard: &Embedded,
    txn: TxnId,
    epoch: Epoch,
    writes: Vec<Mutation>,
) -> Result<Vote, ShardError> {
    shard.prepare(txn, epoch, Arc::new(writes)).await
}

/// A decision stream in memory.
struct Source {
    entries: Mutex<Vec<Arc<StreamEntry>>>,
    published: watch::Sender<usize>,
    durable: Mutex<Position>,
}

struct Reading {
    source: Arc<Source>,
    after: LogIndex,
    published: watch::Receiver<usize>,
}

impl DecisionStream for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>> {
        Box::pin(async {
            loop {
                self.published.borrow_and_update();
                let entries: Vec<Arc<StreamEntry>> = {
                    let all = self.source.entries.lock().unwrap();
                    all.iter().filter(|entry| entry.position.index > self.after).cloned().collect()
                };
                if let Some(last) = entries.last() {
                    self.after = last.position.index;
                    return Ok(entries);
                }
                if self.published.changed().await.is_err() {
                    return Err(StreamError::Ended("the test is over".into()));
                }
            }
        })
    }
}

/// The source as it is handed to a shard.
struct Handed(Arc<Source>);

impl DecisionSource for Handed {
    fn subscribe(
        &self,
        _shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>> {
        let published = self.0.published.subscribe();
        let reading = Reading { source: self.0.clone(), after: from.index, published };
        Box::pin(std::future::ready(Ok(Box::new(reading) as Box<dyn DecisionStream>)))
    }

    fn standings(&self, _shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>> {
        let durable = self.0.durable.lock().unwrap().index;
        let replicas = vec![ReplicaStanding { replica: ReplicaId(1), durable, counts: true, is_whole: true }];
        let as_of = LogIndex(self.0.entries.lock().unwrap().len() as u64);
        Box::pin(std::future::ready(Ok(ShardStandings { as_of, replicas, recovered_at: LogIndex(0) })))
    }

    fn report_durable(&self, _shard: ShardId, _replica: ReplicaId, durable: Position) {
        *self.0.durable.lock().unwrap() = durable;
    }
}

impl Source {
    fn new() -> Arc<Source> {
        let (entries, durable) = (Mutex::default(), Mutex::default());
        Arc::new(Source { entries, published: watch::Sender::new(0), durable })
    }

    /// Adds an entry with these commits; its closed timestamp is ten times its index.
    fn publish(&self, commits: Vec<ShardCommit>) {
        self.publish_with(commits, |_| {});
    }

    fn publish_with(&self, commits: Vec<ShardCommit>, change: impl FnOnce(&mut StreamEntry)) {
        let mut entries = self.entries.lock().unwrap();
        let index = entries.len() as u64 + 1;
        let position = Position { index: LogIndex(index), closed_ts: Timestamp(index * 10) };
        let after = LogIndex(index - 1);
        let mut entry = StreamEntry { after, position, commits, epoch: None, slots: None, low_water: None };
        change(&mut entry);
        entries.push(Arc::new(entry));
        self.published.send_replace(entries.len());
    }
}

fn txn(n: u64) -> TxnId {
    let begun = Timestamp::from_millis(1000);
    TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n)
}

fn put(key: &'static str, value: &'static str) -> Mutation {
    Mutation::put(Key::from(key), Slot(7), value.as_bytes().to_vec())
}

fn inline(n: u64, commit_ts: u64, mutations: Vec<Mutation>) -> ShardCommit {
    ShardCommit { txn: txn(n), commit_ts: Timestamp(commit_ts), writes: ShardWrites::Inline(mutations) }
}

fn at(snapshot_ts: u64) -> ReadView {
    ReadView { snapshot_ts: Timestamp(snapshot_ts), epoch: Epoch(1) }
}

/// A placement that nobody can change.
struct Unchangeable;

impl ShardAdministration for Unchangeable {
    fn administer(&self, _: PlacementCommand) -> BoxFuture<'_, Result<LogIndex, PlacementError>> {
        Box::pin(std::future::ready(Err(AdjudicatorError::Unreachable("there is none".into()).into())))
    }
}

async fn host(directory: Option<&std::path::Path>, source: &Arc<Source>) -> Result<ShardHost, OpenError> {
    let rocks =
        assize_rocks::Options { cache_bytes: 1 << 20, write_buffer_bytes: 4 << 20, background_jobs: 2 };
    let options = Options { rocks, wait_max: Duration::from_secs(2), ..Options::default() };
    let placement = Arc::new(Placement::even(1, NodeId(1)));
    let around = Around {
        node: NodeId(1),
        source: Arc::new(Handed(source.clone())),
        administration: Arc::new(Unchangeable),
        peers: None,
    };
    let host = ShardHost::open(directory.map(Into::into), placement.clone(), around, options).await?;
    assert!(host.settle(placement).await.is_empty());
    Ok(host)
}

async fn start(
    directory: Option<&std::path::Path>,
    source: &Arc<Source>,
) -> Result<Arc<Embedded>, OpenError> {
    Ok(host(directory, source).await?.resident(SHARD).unwrap())
}

async fn value(shard: &Embedded, key: &'static str, snapshot_ts: u64) -> Option<String> {
    let value = shard.get(at(snapshot_ts), &Key::from(key)).await.unwrap();
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_read_waits_for_its_snapshot_and_sees_exactly_that() {
    let source = Source::new();
    let shard = start(None, &source).await.unwrap();
    source.publish(vec![inline(1, 5, vec![put("a", "old"), put("b", "1")])]);
    let later = async {
        tokio::task::yield_now().await;
        source.publish(vec![inline(2, 15, vec![put("a", "new")])]);
    };
    let (read, ()) = tokio::join!(value(&shard, "a", 20), later);
    assert_eq!(read.as_deref(), Some("new"));
    assert_eq!(value(&shard, "a", 10).await.as_deref(), Some("old"));

    let range = KeyRange::new(Key::from("a"), Key::from("z"));
    let page = shard.scan(at(20), &range, Direction::Reverse, 10).await.unwrap();
    let keys: Vec<Key> = page.rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!((keys, page.rest), (vec![Key::from("b"), Key::from("a")], None));

    let (closed_ts, newest) =
        shard.newest_commits(&[Key::from("a"), Key::from("zz")], Timestamp(20)).await.unwrap();
    assert_eq!((closed_ts, newest), (Timestamp(20), vec![Some(Timestamp(15)), None]));
    let refused = shard.get(at(1000), &Key::from("a")).await.unwrap_err();
    assert!(matches!(refused, ShardError::Unreachable(SHARD, _)), "{refused}");
}

#[tokio::test]
async fn a_read_routed_by_another_epoch_is_refused() {
    let source = Source::new();
    let shard = start(None, &source).await.unwrap();
    source.publish_with(Vec::new(), |entry| entry.epoch = Some(Epoch(2)));
    source.publish(Vec::new());
    let refused = shard.get(at(20), &Key::from("a")).await.unwrap_err();
    assert_eq!(refused, ShardError::StaleEpoch { shard: SHARD, asked: Epoch(1), current: Epoch(2) });
}

#[tokio::test]
async fn a_snapshot_below_the_low_water_mark_is_refused() {
    let source = Source::new();
    let shard = start(None, &source).await.unwrap();
    source.publish(Vec::new());
    source.publish_with(Vec::new(), |entry| entry.low_water = Some(Timestamp(15)));
    assert_eq!(value(&shard, "a", 20).await, None);
    let refused = shard.get(at(10), &Key::from("a")).await.unwrap_err();
    assert_eq!(refused, ShardError::SnapshotTooOld(Timestamp(10)));
}

#[tokio::test]
async fn what_was_prepared_and_what_was_flushed_survive_and_the_stream_brings_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new();
    let writes = vec![put("a", "2"), put("b", "2")];
    let digest = WriteDigest::of(&writes);
    {
        let shard = start(Some(directory.path()), &source).await.unwrap();
        source.publish(vec![inline(1, 5, vec![put("a", "1")])]);
        assert_eq!(value(&shard, "a", 10).await.as_deref(), Some("1"));
        assert_eq!(prepare(&shard, txn(2), Epoch(1), writes).await, Ok(Vote::Yes));
        let other = prepare(&shard, txn(2), Epoch(1), vec![put("a", "3")]).await;
        assert_eq!(other, Ok(Vote::No(VoteRefusal::DifferentWrites)));
        let stale = prepare(&shard, txn(3), Epoch(0), vec![put("a", "3")]).await;
        assert_eq!(stale, Ok(Vote::No(VoteRefusal::StaleEpoch { current: Epoch(1) })));
        // An intent is invisible.
        source.publish(Vec::new());
        assert_eq!(value(&shard, "b", 20).await, None);
        shard.shutdown().await;
    }
    let writes = ShardWrites::Prepared { epoch: Epoch(1), digest };
    source.publish(vec![ShardCommit { txn: txn(2), commit_ts: Timestamp(25), writes }]);
    let shard = start(Some(directory.path()), &source).await.unwrap();
    assert_eq!(value(&shard, "a", 30).await.as_deref(), Some("2"));
    assert_eq!(value(&shard, "b", 30).await.as_deref(), Some("2"));
    assert_eq!(value(&shard, "a", 20).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_decision_that_names_an_intent_which_nobody_has_stops_the_shard_loudly() {
    let source = Source::new();
    let shard = start(None, &source).await.unwrap();
    let writes = ShardWrites::Prepared { epoch: Epoch(1), digest: WriteDigest { count: 1, sum: 2 } };
    source.publish(vec![ShardCommit { txn: txn(1), commit_ts: Timestamp(5), writes }]);
    assert!(shard.failed().await.contains("intent"));
    let refused = shard.get(at(10), &Key::from("a")).await.unwrap_err();
    assert!(matches!(refused, ShardError::Stopped(SHARD, _)), "{refused}");
    let refused = prepare(&shard, txn(2), Epoch(1), vec![put("a", "1")]).await.unwrap_err();
    assert!(matches!(refused, ShardError::Stopped(SHARD, _)), "{refused}");
}

#[tokio::test]
async fn after_a_gap_the_stream_is_asked_for_again() {
    let source = Source::new();
    let shard = start(None, &source).await.unwrap();
    let mut healed = None;
    source.publish_with(vec![inline(1, 5, vec![put("a", "1")])], |entry| {
        healed = Some(entry.clone());
        entry.after = LogIndex(7);
    });
    let (read, ()) = tokio::join!(value(&shard, "a", 10), async {
        tokio::task::yield_now().await;
        source.entries.lock().unwrap()[0] = Arc::new(healed.expect("it was published"));
    });
    assert_eq!(read.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new();
    let _shard = start(Some(directory.path()), &source).await.unwrap();
    let again = start(Some(directory.path()), &source).await.map(|_| ());
    assert!(matches!(again, Err(OpenError::InUse(_))), "{again:?}");
}

#[tokio::test]
async fn what_was_flushed_is_reported_as_durable() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new();
    let shard = start(Some(directory.path()), &source).await.unwrap();
    source.publish(vec![inline(1, 5, vec![put("a", "1")])]);
    assert_eq!(value(&shard, "a", 10).await.as_deref(), Some("1"));
    assert_eq!(*source.durable.lock().unwrap(), Position::default());
    shard.shutdown().await;
    drop(shard);
    let shard = start(Some(directory.path()), &source).await.unwrap();
    // The first round of housekeeping tells where the replica stands.
    while *source.durable.lock().unwrap() == Position::default() {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.durable.lock().unwrap().index, LogIndex(1));
    drop(shard);
}

#[tokio::test]
async fn a_directory_that_was_lost_without_a_sibling_is_not_taken_for_a_beginning() {
    let source = Source::new();
    source.publish(vec![inline(1, 5, vec![put("a", "1")])]);
    *source.durable.lock().unwrap() = Position { index: LogIndex(1), closed_ts: Timestamp(10) };
    let placement = Arc::new(Placement::even(1, NodeId(1)));
    let around = Around {
        node: NodeId(1),
        source: Arc::new(Handed(source)),
        administration: Arc::new(Unchangeable),
        peers: None,
    };
    let host = ShardHost::open(None, placement.clone(), around, Options::default()).await.unwrap();
    let troubles = host.settle(placement).await;
    assert!(matches!(troubles[..], [(SHARD, HostError::Lost { shard: SHARD })]), "{troubles:?}");
}

#[test]
fn rocksdb_is_an_engine() {
    assize_mvcc::conformance::check(|| {
        let store = Store::open(&Location::Memory, &[], engine::shape_of, &assize_rocks::Options::default());
        engine::RocksEngine::create(&store.unwrap(), SHARD, engine::Generation(0)).unwrap()
    });
}

/// A store over RocksDB, and how much it holds at a time.
struct Measured {
    store: assize_mvcc::MvccStore<engine::RocksEngine>,
    entries: u64,
}

impl Measured {
    fn new() -> Measured {
        let store = Store::open(&Location::Memory, &[], engine::shape_of, &assize_rocks::Options::default());
        let engine = engine::RocksEngine::create(&store.unwrap(), SHARD, engine::Generation(0)).unwrap();
        let store = assize_mvcc::MvccStore::open(engine, assize_mvcc::Options::default()).unwrap();
        Measured { store, entries: 0 }
    }

    fn key(table: u8, row: u64) -> Key {
        Key::new([&[0, 0, 0, table, 0, 0, 1][..], &row.to_be_bytes()].concat())
    }

    fn write(&mut self, rows: impl Iterator<Item = u64>, mutation: impl Fn(u64) -> Mutation) {
        let writes: Vec<Mutation> = rows.map(mutation).collect();
        for writes in writes.chunks(5_000) {
            self.entries += 1;
            let commit_ts = self.entries * 10;
            let entry = StreamEntry {
                after: LogIndex(self.entries - 1),
                position: Position { index: LogIndex(self.entries), closed_ts: Timestamp(commit_ts) },
                commits: vec![inline(self.entries, commit_ts, writes.to_vec())],
                epoch: None,
                slots: None,
                low_water: None,
            };
            self.store.apply(&entry).unwrap();
        }
    }

    /// Rows of a table, and how many times as many are told.
    fn is_near(&self, table: u8, rows: u64) {
        let range = KeyRange::new(Key::new(vec![0, 0, 0, table]), Key::new(vec![0, 0, 0, table + 1]));
        let found = self.store.reader().volume(&range).unwrap();
        assert!((rows * 2 / 3..=rows * 3 / 2).contains(&found.rows), "{rows} rows: {found:?}");
        let bytes = found.bytes / found.rows;
        assert!((75..=85).contains(&bytes), "{bytes} bytes each");
    }
}

/// A row of a table, hard to compress or easy.
fn row(table: u8, n: u64) -> Mutation {
    let mut value = [7; 64];
    if n.is_multiple_of(3) {
        let mut noise = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value.fill_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        });
    }
    Mutation::put(Measured::key(table, n), Slot(n as u16), value.to_vec())
}

#[test]
fn rocksdb_knows_about_how_much_lies_in_a_range() {
    let mut measured = Measured::new();
    measured.write(0..300_000, |n| row(1, n));
    measured.write(0..20_000, |n| row(2, n));
    // Nothing of it is in files.
    measured.is_near(1, 300_000);
    measured.is_near(2, 20_000);
    measured.store.flush().unwrap();
    measured.is_near(1, 300_000);
    measured.is_near(2, 20_000);
    // History, a dead head, and what is not flushed.
    for _ in 0..3 {
        measured.write((100_000..300_000).step_by(5), |n| row(1, n));
        measured.store.flush().unwrap();
    }
    measured.write(0..100_000, |n| Mutation::delete(Measured::key(1, n), Slot(n as u16)));
    measured
        .write((0..20_000).filter(|n| n % 2 == 1), |n| Mutation::delete(Measured::key(2, n), Slot(n as u16)));
    measured.is_near(1, 200_000);
    measured.is_near(2, 10_000);
    measured.store.flush().unwrap();
    measured.is_near(1, 200_000);
    measured.is_near(2, 10_000);
}
