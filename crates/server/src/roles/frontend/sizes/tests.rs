//! Shards that say what the test says.

use super::*;
use assize_catalog::{Index, IndexState};
use assize_model::{Key, Mutation, NodeId, ReplicaId, Timestamp, TxnId, Vote};
use assize_ports::{Direction, NewestCommits, ReadView, ScanPage, Shard};
use assize_values::Collation;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

const PATIENT: Freshness =
    Freshness { max_age: Duration::from_secs(3600), patience: Duration::from_secs(60) };
const NOW: Freshness = Freshness { max_age: Duration::ZERO, patience: Duration::from_secs(60) };

/// What a shard does when it is asked.
enum Mood {
    Tells,
    Fails,
    Hangs(Arc<Semaphore>),
}

struct Teller {
    id: ShardId,
    mood: Mutex<Mood>,
    /// Rows that it tells of each range; bytes are ten times as many.
    rows: AtomicU64,
    /// Ranges that each question has named.
    asked: Mutex<Vec<usize>>,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, ShardError>>;

impl Teller {
    fn refuses<'a, T: Send + 'a>(&'a self) -> Answer<'a, T> {
        Box::pin(std::future::ready(Err(ShardError::Unreachable(
            self.id,
            "it is asked for sizes only".into(),
        ))))
    }
}

impl Shard for Teller {
    fn id(&self) -> ShardId {
        self.id
    }
    fn get<'a>(&'a self, _: ReadView, _: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.refuses()
    }
    fn get_many<'a>(&'a self, _: ReadView, _: &'a [Key]) -> Answer<'a, Vec<Option<Bytes>>> {
        self.refuses()
    }
    fn scan<'a>(&'a self, _: ReadView, _: &'a KeyRange, _: Direction, _: usize) -> Answer<'a, ScanPage> {
        self.refuses()
    }
    fn newest_commits<'a>(&'a self, _: &'a [Key], _: Timestamp) -> Answer<'a, NewestCommits> {
        self.refuses()
    }
    fn newest_commit_in<'a>(
        &'a self,
        _: &'a KeyRange,
        _: Timestamp,
    ) -> Answer<'a, (Timestamp, Option<Timestamp>)> {
        self.refuses()
    }
    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> Answer<'a, Vec<Volume>> {
        lock(&self.asked).push(ranges.len());
        let gate = match &*lock(&self.mood) {
            Mood::Tells => None,
            Mood::Fails => return self.refuses(),
            Mood::Hangs(gate) => Some(gate.clone()),
        };
        Box::pin(async move {
            if let Some(gate) = gate {
                drop(gate.acquire().await);
            }
            let rows = self.rows.load(Ordering::Relaxed);
            Ok(vec![Volume { rows, bytes: rows * 10 }; ranges.len()])
        })
    }
    fn prepare(&self, _: Option<ReplicaId>, _: TxnId, _: Epoch, _: Arc<Vec<Mutation>>) -> Answer<'_, Vote> {
        self.refuses()
    }
    fn forget(&self, _: TxnId) {}
}

struct World {
    tellers: Vec<Arc<Teller>>,
    placement: Arc<Mutex<Arc<Placement>>>,
    sizes: Sizes,
}

impl World {
    /// Two shards that tell of 3 rows and of 4.
    fn new() -> World {
        let teller = |n: u32| {
            let (mood, rows) = (Mutex::new(Mood::Tells), AtomicU64::new(u64::from(n) + 2));
            Arc::new(Teller { id: ShardId(n), mood, rows, asked: Mutex::default() })
        };
        let tellers = vec![teller(1), teller(2)];
        let ways = tellers.iter().map(|teller| (teller.id, teller.clone() as Arc<dyn Shard>));
        let ways: BTreeMap<ShardId, Arc<dyn Shard>> = ways.collect();
        let placement = Arc::new(Mutex::new(Arc::new(Placement::even(2, NodeId(1)))));
        let known = placement.clone();
        let sizes = Sizes::new(Arc::new(ways), move || Some(lock(&known).clone()));
        World { tellers, placement, sizes }
    }

    async fn size(&self, table: &Arc<Table>, freshness: Freshness) -> Option<TableSize> {
        self.sizes.sizes(vec![table.clone()], freshness).await.get(&table.id).copied()
    }

    /// How often each shard has been asked.
    fn asked(&self) -> Vec<usize> {
        self.tellers.iter().map(|teller| lock(&teller.asked).len()).collect()
    }
}

fn table(id: u32, secondary: u16) -> Arc<Table> {
    let index = |id| Index {
        id: IndexId(id),
        name: "i".into(),
        parts: Vec::new(),
        unique: false,
        state: IndexState::Public,
        invisible: false,
        comment: "".into(),
    };
    Arc::new(Table {
        id: TableId(id),
        version: SchemaVersion(1),
        database: "shop".into(),
        name: "stock".into(),
        columns: Vec::new(),
        next_column_id: 0,
        indexes: (0..=secondary).map(index).collect(),
        next_index_id: secondary + 1,
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        sharding_column: None,
        hidden_row_id: true,
        collation: Collation::UTF8MB4_0900_AI_CI,
        comment: "".into(),
        created_micros: 0,
        options: Vec::new(),
        view: None,
        foreign: None,
    })
}

fn size(rows: u64, entries: u64, is_current: bool) -> Option<TableSize> {
    Some(TableSize { rows, row_bytes: rows * 10, index_bytes: entries * 10, is_current })
}

#[tokio::test]
async fn shards_are_added_up_and_asked_again_when_that_is_too_old() {
    let world = World::new();
    let (plain, indexed) = (table(1, 0), table(2, 2));
    assert_eq!(world.size(&plain, PATIENT).await, size(7, 0, true));
    assert_eq!(world.size(&indexed, PATIENT).await, size(7, 14, true));
    assert_eq!(world.asked(), [2, 2]);
    world.tellers[0].rows.store(5, Ordering::Relaxed);
    assert_eq!(world.size(&plain, PATIENT).await, size(7, 0, true), "nobody is asked");
    assert_eq!(world.asked(), [2, 2]);
    assert_eq!(world.size(&plain, NOW).await, size(9, 0, true));
    assert_eq!(world.asked(), [3, 3]);
    // Another index, and other slots.
    let altered = Arc::new(Table { version: SchemaVersion(2), ..(*table(1, 1)).clone() });
    assert_eq!(world.size(&altered, PATIENT).await, size(9, 9, true));
    let mut moved = Placement::clone(&lock(&world.placement));
    moved.shards.get_mut(&ShardId(1)).unwrap().epoch = Epoch(7);
    *lock(&world.placement) = Arc::new(moved);
    assert_eq!(world.size(&altered, PATIENT).await, size(9, 9, true));
    assert_eq!(world.asked(), [5, 4]);
}

#[tokio::test]
async fn many_tables_are_asked_about_in_questions_of_bounded_length() {
    let world = World::new();
    let tables: Vec<_> = (1..=50).map(|id| table(id, 2)).chain([table(99, 70)]).collect();
    let sizes = world.sizes.sizes(tables, PATIENT).await;
    assert_eq!((sizes.len(), sizes[&TableId(99)]), (51, size(7, 490, true).unwrap()));
    assert_eq!(*lock(&world.tellers[0].asked), [30, 30, 30, 30, 30, 71]);
}

#[tokio::test]
async fn a_shard_that_cannot_tell_costs_no_answer_and_is_not_asked_again_at_once() {
    let world = World::new();
    let table = table(1, 0);
    *lock(&world.tellers[1].mood) = Mood::Fails;
    assert_eq!(world.size(&table, PATIENT).await, None, "one shard has never told");
    assert_eq!(world.size(&table, PATIENT).await, None);
    assert_eq!(world.asked(), [1, 1]);
    let world = World::new();
    assert_eq!(world.size(&table, NOW).await, size(7, 0, true));
    *lock(&world.tellers[1].mood) = Mood::Fails;
    world.tellers[0].rows.store(5, Ordering::Relaxed);
    assert_eq!(world.size(&table, NOW).await, size(9, 0, false), "what it told last");
    *lock(&world.tellers[1].mood) = Mood::Tells;
    assert_eq!(world.size(&table, NOW).await, size(9, 0, true), "who wants to know it now has it asked");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_hangs_is_waited_for_once_and_tells_later() {
    let world = World::new();
    let table = table(1, 0);
    let gate = Arc::new(Semaphore::new(0));
    *lock(&world.tellers[1].mood) = Mood::Hangs(gate.clone());
    assert_eq!(world.size(&table, PATIENT).await, None);
    // It is still being asked; who comes meanwhile takes what there is.
    assert_eq!(world.size(&table, Freshness { patience: Duration::ZERO, ..PATIENT }).await, None);
    assert_eq!(world.asked(), [1, 1]);
    gate.add_permits(10);
    *lock(&world.tellers[1].mood) = Mood::Tells;
    assert_eq!(world.size(&table, PATIENT).await, size(7, 0, true));
}
