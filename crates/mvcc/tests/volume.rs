//! How much a range holds: exact where it is small, near enough where it is not, and without what is not a row any more.

use assize_model::{
    DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, KeyRange, LogIndex, Mutation, Position,
    ShardCommit, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, Volume,
};
use assize_mvcc::{MemoryEngine, MvccStore, Options};

/// A store with a table under each letter.
struct World {
    store: MvccStore<MemoryEngine>,
    now: u64,
}

impl World {
    fn new() -> World {
        World { store: MvccStore::open(MemoryEngine::new(), Options::default()).unwrap(), now: 0 }
    }

    fn entry(&mut self) -> StreamEntry {
        self.now += 1;
        let position = Position { index: LogIndex(self.now), closed_ts: Timestamp(self.now * 10) };
        let after = LogIndex(self.now - 1);
        StreamEntry { after, position, commits: Vec::new(), epoch: None, slots: None, low_water: None }
    }

    fn commit(&mut self, writes: Vec<Mutation>) {
        let entry = self.entry();
        let txn =
            TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), self.now);
        let commit_ts = entry.position.closed_ts;
        let commits = vec![ShardCommit { txn, commit_ts, writes: ShardWrites::Inline(writes) }];
        self.store.apply(&StreamEntry { commits, ..entry }).unwrap();
    }

    fn volume(&self, table: u8) -> Volume {
        let range = KeyRange::new(Key::new(vec![table]), Key::new(vec![table + 1]));
        self.store.reader().volume(&range).unwrap()
    }
}

fn key(table: u8, row: u32) -> Key {
    Key::new([&[table][..], &row.to_be_bytes()].concat())
}

fn put(table: u8, row: u32, bytes: usize) -> Mutation {
    Mutation::put(key(table, row), Slot(row as u16), vec![7; bytes])
}

fn is_near(estimated: u64, exact: u64) -> bool {
    (exact * 4 / 5..exact * 5 / 4).contains(&estimated)
}

#[test]
fn what_is_small_is_exact_and_counts_only_what_is_there_now() {
    let mut world = World::new();
    assert_eq!(world.volume(b't'), Volume::default());
    world.commit((0..100).map(|row| put(b't', row, 20)).collect());
    world.commit((0..50).map(|row| put(b'u', row, 20)).collect());
    assert_eq!(world.volume(b't'), Volume { rows: 100, bytes: 2_500 });
    for _ in 0..30 {
        world.commit((0..10).map(|row| put(b't', row, 30)).collect());
    }
    world.commit((90..100).map(|row| Mutation::delete(key(b't', row), Slot(row as u16))).collect());
    world.commit((0..20).chain([500]).map(|row| Mutation::lock(key(b't', row), Slot(row as u16))).collect());
    assert_eq!(world.volume(b't'), Volume { rows: 90, bytes: 80 * 25 + 10 * 35 });
    assert_eq!(world.volume(b'u'), Volume { rows: 50, bytes: 1_250 });
    // Slots that went to another shard.
    let entry = world.entry();
    let slots = Some(vec![(Slot(0), Slot(39))]);
    world.store.apply(&StreamEntry { epoch: Some(Epoch(2)), slots, ..entry }).unwrap();
    assert_eq!(world.volume(b'u'), Volume { rows: 40, bytes: 1_000 });
}

#[test]
fn what_is_large_is_near_enough() {
    let mut world = World::new();
    // The first third is all deleted, as in a queue; rows are of all lengths; some have a history.
    for part in 0..12u32 {
        let rows = part * 10_000..(part + 1) * 10_000;
        world.commit(rows.map(|row| put(b'q', row, 10 + (row % 100) as usize)).collect());
    }
    world.commit((0..40_000).map(|row| Mutation::delete(key(b'q', row), Slot(row as u16))).collect());
    for _ in 0..5 {
        world.commit((40_000..120_000).step_by(7).map(|row| put(b'q', row, 50)).collect());
    }
    world.commit((0..30_000).map(|row| put(b'r', row, 10)).collect());
    let found = world.volume(b'q');
    assert!(is_near(found.rows, 80_000), "{found:?}");
    assert!(is_near(found.bytes, 80_000 * 64), "{found:?}");
    let found = world.volume(b'r');
    assert!(is_near(found.rows, 30_000) && is_near(found.bytes, 30_000 * 15), "{found:?}");
}

#[test]
fn keys_may_lie_anyhow() {
    let mut world = World::new();
    // Long beginnings that nearly all share, one key far away, and rows that all follow one another closely.
    let name = |n: u32| {
        Key::new(format!("thttps://www.example.com/articles/of/{:08x}", n.wrapping_mul(2_654_435_761)))
    };
    world.commit((0..50_000).map(|n| Mutation::put(name(n), Slot(1), vec![1; 30])).collect());
    world.commit(vec![put(b't', 0, 10), put(b't', u32::MAX, 10)]);
    let found = world.volume(b't');
    assert!(is_near(found.rows, 50_002), "{found:?}");
}
