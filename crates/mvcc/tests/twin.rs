//! The store against a map of maps: whatever was applied, every read at every live snapshot answers the same, before
//! and after collecting, crashing and replaying.

use assize_model::{
    DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, KeyRange, LogIndex, Mutation, MutationOp, Position,
    ShardCommit, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, Vote, WriteDigest,
};
use assize_mvcc::{
    Applied, ContentHash, Damage, Direction, Family, MemoryEngine, MvccStore, Options, Page, Prepare,
    ReadError, Slots,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Every commit of every key, and nothing clever.
#[derive(Default, Clone, Debug)]
struct Twin {
    keys: BTreeMap<Key, BTreeMap<Timestamp, MutationOp>>,
    /// From each timestamp on, only keys below this number are held; their slots have moved away.
    bounds: BTreeMap<Timestamp, u8>,
}

impl Twin {
    fn apply(&mut self, commit_ts: Timestamp, mutations: &[Mutation]) {
        for m in mutations {
            self.keys.entry(m.key.clone()).or_default().insert(commit_ts, m.op.clone());
        }
    }

    /// Keys below this number are held at a snapshot.
    fn bound(&self, at: Timestamp) -> u8 {
        self.bounds.range(..=at).next_back().map_or(KEYS, |(_, bound)| *bound)
    }

    fn get(&self, key: &Key, at: Timestamp) -> Option<Bytes> {
        let number = (0..KEYS).find(|n| self::key(*n) == *key)?;
        if number >= self.bound(at) {
            return None;
        }
        let history = self.keys.get(key)?;
        let newest =
            history.range(..=at).rev().find(|(_, op)| !matches!(op, MutationOp::Lock)).map(|(_, op)| op)?;
        match newest {
            MutationOp::Put(value) => Some(value.clone()),
            _ => None,
        }
    }

    fn scan(&self, range: &KeyRange, at: Timestamp) -> Vec<(Key, Bytes)> {
        let keys = self.keys.keys().filter(|key| range.contains(key));
        keys.filter_map(|key| Some((key.clone(), self.get(key, at)?))).collect()
    }

    fn newest(&self, key: &Key) -> Option<Timestamp> {
        self.keys.get(key)?.keys().next_back().copied()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// One stream entry with these commits; true: prepared first.
    Apply(Vec<(bool, Vec<(u8, u8)>)>),
    RaiseLowWater(u8),
    /// The slots of the keys from this number on move away.
    MoveAway(u8),
    Collect(usize),
    Flush,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0u8..10, 0u8..8);
    let commit = (any::<bool>(), prop::collection::vec(write, 1..6));
    let step = prop_oneof![
        6 => prop::collection::vec(commit, 0..4).prop_map(Step::Apply),
        1 => (1u8..20).prop_map(Step::RaiseLowWater),
        1 => (5u8..KEYS).prop_map(Step::MoveAway),
        2 => (1usize..20).prop_map(Step::Collect),
        1 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

const KEYS: u8 = 10;

/// Ten keys that share prefixes and hold the bytes that escaping is about.
fn key(n: u8) -> Key {
    let keys: [&[u8]; 10] = [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\0", b"a\0b", b"a\xff", b"b"];
    Key::new(keys[usize::from(n)].to_vec())
}

fn mutation((k, op): &(u8, u8)) -> Mutation {
    let slot = Slot(u16::from(*k) * 6000);
    match op {
        0 => Mutation::delete(key(*k), slot),
        1 => Mutation::lock(key(*k), slot),
        value => Mutation::put(key(*k), slot, vec![*value; usize::from(*value)]),
    }
}

struct World {
    store: MvccStore<MemoryEngine>,
    /// The stream as the adjudicator keeps it.
    log: Vec<StreamEntry>,
    twin: Twin,
    sequence: u64,
}

impl World {
    fn new() -> Self {
        let store = MvccStore::open(MemoryEngine::new(), Options::default()).unwrap();
        World { store, log: Vec::new(), twin: Twin::default(), sequence: 0 }
    }

    fn closed(&self) -> Timestamp {
        self.store.position().closed_ts
    }

    fn entry(&self, commits: Vec<ShardCommit>, low_water: Option<Timestamp>) -> StreamEntry {
        let after = self.store.position().index;
        let closed_ts = self.closed().plus(10);
        let position = Position { index: LogIndex(after.0 + 1), closed_ts };
        StreamEntry { after, position, commits, epoch: None, slots: None, low_water }
    }

    fn push(&mut self, entry: StreamEntry) {
        assert_eq!(self.store.apply(&entry), Ok(Applied::Done(entry.position)));
        self.log.push(entry);
    }

    fn apply(&mut self, commits: &[(bool, Vec<(u8, u8)>)]) {
        let base = self.closed();
        let mut shard_commits = Vec::new();
        for (n, (is_prepared, writes)) in commits.iter().enumerate() {
            // One write per key and transaction, as write buffers have it.
            let bound = self.twin.bound(base.next());
            let by_key: BTreeMap<u8, (u8, u8)> =
                writes.iter().filter(|w| w.0 < bound).map(|w| (w.0, *w)).collect();
            let mutations: Vec<Mutation> = by_key.values().map(mutation).collect();
            self.sequence += 1;
            let txn = TxnId::new(
                Timestamp::from_millis(1),
                DeadlineClass::Normal,
                FrontendId(1),
                FrontendEpoch(1),
                self.sequence,
            );
            let commit_ts = base.plus(n as u64 + 1);
            self.twin.apply(commit_ts, &mutations);
            let writes = if *is_prepared {
                let digest = WriteDigest::of(&mutations);
                let prepare = Prepare { txn, epoch: Epoch(1), mutations };
                assert_eq!(self.store.prepare(&[prepare]), Ok(vec![Vote::Yes]));
                ShardWrites::Prepared { epoch: Epoch(1), digest }
            } else {
                ShardWrites::Inline(mutations)
            };
            shard_commits.push(ShardCommit { txn, commit_ts, writes });
        }
        let entry = self.entry(shard_commits, None);
        self.push(entry);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply(commits) => self.apply(commits),
            Step::RaiseLowWater(back) => {
                let mark = Timestamp(self.closed().0.saturating_sub(u64::from(*back)));
                let entry = self.entry(Vec::new(), Some(mark));
                self.push(entry);
            }
            Step::MoveAway(first) => {
                if *first >= self.twin.bound(self.closed().next()) {
                    return;
                }
                let mut entry = self.entry(Vec::new(), None);
                entry.slots = Some(vec![(Slot(0), Slot(u16::from(*first) * 6000 - 1))]);
                // A snapshot of the move itself still shows them.
                self.twin.bounds.insert(entry.position.closed_ts.next(), *first);
                self.push(entry);
            }
            Step::Collect(budget) => {
                self.store.collect_intents(None).unwrap();
                let mut from = None;
                loop {
                    let collected =
                        self.store.collect_versions(from.as_ref(), assize_mvcc::Step::of(*budget)).unwrap();
                    from = collected.next;
                    if from.is_none() {
                        break;
                    }
                }
            }
            Step::Flush => {
                self.store.flush().unwrap();
                assert_eq!(self.store.durable_position(), Ok(self.store.position()));
            }
            Step::Crash => {
                let durable = self.store.durable_position().unwrap();
                let engine = self.store.engine().crashed();
                self.store = MvccStore::open(engine, Options::default()).unwrap();
                assert_eq!(self.store.position(), durable);
                let rest = self.log.iter().filter(|entry| entry.position.index > durable.index);
                for entry in rest {
                    assert_eq!(self.store.apply(entry), Ok(Applied::Done(entry.position)));
                }
            }
        }
    }

    fn check(&self) {
        let (low, high) = (self.store.low_water(), self.closed());
        let everything = KeyRange::new(key(0), Key::from("c"));
        let middle = KeyRange::new(key(2), key(7));
        for at in (low.0..=high.0).map(Timestamp) {
            for n in 0..10 {
                assert_eq!(self.store.get(&key(n), at), Ok(self.twin.get(&key(n), at)), "{n} at {at}");
            }
            for range in [&everything, &middle] {
                let expected = self.twin.scan(range, at);
                for limit in [1, 3, 100] {
                    assert_eq!(self.scan(range, at, Direction::Forward, limit), expected);
                    let mut reversed = self.scan(range, at, Direction::Reverse, limit);
                    reversed.reverse();
                    assert_eq!(reversed, expected);
                }
            }
        }
        for n in 0..10 {
            // Commits at or below the mark may be forgotten, later ones never.
            let newest = self.twin.newest(&key(n)).filter(|ts| *ts > low);
            let found = self.store.newest_commit(&key(n)).unwrap();
            assert_eq!(found.filter(|ts| *ts > low), newest);
            assert_eq!(self.store.newest_commit_in(&KeyRange::point(key(n))), Ok(found));
        }
        let newest = (0..10).filter_map(|n| self.twin.newest(&key(n))).max().filter(|ts| *ts > low);
        assert_eq!(self.store.newest_commit_in(&everything).unwrap().filter(|ts| *ts > low), newest);
        if low > Timestamp::ZERO {
            let below = Timestamp(low.0 - 1);
            assert!(matches!(self.store.get(&key(0), below), Err(ReadError::SnapshotTooOld { .. })));
        }
        assert!(matches!(self.store.get(&key(0), high.next()), Err(ReadError::NotReached { .. })));
    }

    fn scan(&self, range: &KeyRange, at: Timestamp, direction: Direction, limit: usize) -> Vec<(Key, Bytes)> {
        let mut rows = Vec::new();
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let batch = self.store.scan(&range, at, direction, limit).unwrap();
            assert!(batch.rows.len() <= limit);
            assert!(batch.rows.len() == limit || batch.rest.is_none());
            rows.extend(batch.rows);
            rest = batch.rest;
        }
        rows
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_store_reads_as_a_map_of_maps(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.check();
    }

    #[test]
    fn collecting_never_changes_what_replicas_compare(steps in steps()) {
        let mut lazy = World::new();
        let mut eager = World::new();
        for step in &steps {
            lazy.step(match step { Step::Collect(_) => &Step::Flush, other => other });
            eager.step(step);
            eager.step(&Step::Collect(7));
        }
        let at = lazy.closed();
        prop_assert_eq!(eager.closed(), at);
        let all = Slots::all();
        let hash = lazy.store.hash_content(&all, at).unwrap();
        prop_assert_eq!(eager.store.hash_content(&all, at).unwrap(), hash);
        // Halves add up to the whole, and so do pages: each side is asked for the pages that the other one names.
        let low = Slots::new(vec![(Slot(0), Slot(29_999))]);
        let high = all.minus(&low);
        let halves = lazy.store.hash_content(&low, at).unwrap().and(lazy.store.hash_content(&high, at).unwrap());
        prop_assert_eq!(halves, hash);
        let (lazy, eager) = (lazy.store.reader(), eager.store.reader());
        let step = assize_mvcc::Step::of(2);
        let (mut paged, mut from) = (ContentHash::default(), Some(Key::default()));
        while let Some(first) = from {
            let (part, next) = lazy.hash_content(&all, at, &Page { from: first.clone(), to: None }, step).unwrap();
            let page = Page { from: first, to: next.clone() };
            prop_assert_eq!(eager.hash_content(&all, at, &page, assize_mvcc::Step::ALL).unwrap(), (part, None));
            paged = paged.and(part);
            from = next;
        }
        prop_assert_eq!(paged, hash);
    }

    /// Whatever is done to a row that a snapshot shows, its hash shows it.
    #[test]
    fn damage_shows_in_the_hash(steps in steps(), which in any::<prop::sample::Index>(), bit in 0usize..64, vanishes: bool) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // At a move's own timestamp what was lost is still read, and counts no longer.
        world.apply(&[]);
        let at = world.closed();
        let rows = world.twin.scan(&KeyRange::new(key(0), Key::from("c")), at);
        prop_assume!(!rows.is_empty());
        let (row, _) = &rows[which.index(rows.len())];
        let before = world.store.hash_content(&Slots::all(), at).unwrap();
        let damage = if vanishes { Damage::Vanish } else { Damage::FlipBit(bit) };
        prop_assert!(world.store.engine().damage(row, at, damage));
        prop_assert_ne!(world.store.hash_content(&Slots::all(), at).unwrap(), before);
    }
}

#[test]
fn collecting_at_the_end_leaves_one_version_of_each_row() {
    let mut world = World::new();
    for value in 2..8 {
        world.apply(&[
            (false, vec![(1, value)]),
            (true, vec![(2, value)]),
            (false, vec![(3, value), (4, 1)]),
        ]);
    }
    world.apply(&[(false, vec![(3, 0)])]);
    world.step(&Step::Flush);
    world.step(&Step::RaiseLowWater(0));
    let mark = world.closed();
    let entry = world.entry(Vec::new(), Some(mark));
    world.push(entry);
    world.step(&Step::Collect(3));
    // Keys 1 and 2 have a row each; key 3 is deleted and key 4 was only ever locked. The third entry is the state.
    assert_eq!(world.store.engine().len(Family::Versions), 3);
    assert_eq!(world.store.engine().len(Family::Intents), 0);
}
