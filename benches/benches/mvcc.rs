//! What a read, a prepare and a stream entry cost in `mvcc` itself: over the memory twin, so that no engine's time is in
//! the figures but that of an ordered map.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use assize_model::*;
use assize_mvcc::{Applied, Direction, MemoryEngine, MvccStore, Options, Prepare};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const KEYS: u64 = 100_000;
const PER_ENTRY: u64 = 500;

/// Spreads numbers over all 64 bits.
fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// A row key as the catalog makes them: table, index, an eight-byte number.
fn key(n: u64) -> Key {
    let mut bytes = vec![0, 0, 0, 7, 0, 0];
    bytes.extend_from_slice(&n.to_be_bytes());
    Key::new(bytes)
}

fn txn(n: u64) -> TxnId {
    let begun = Timestamp::from_millis(u64::MAX >> 20);
    TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n)
}

fn row(n: u64) -> Mutation {
    Mutation::put(key(n), Slot(mix(n) as u16), Bytes::from(vec![n as u8; 100]))
}

fn entry(store: &MvccStore<MemoryEngine>, commits: Vec<ShardCommit>) -> StreamEntry {
    let after = store.position();
    let closed_ts = after.closed_ts.plus(PER_ENTRY + 1);
    let position = Position { index: LogIndex(after.index.0 + 1), closed_ts };
    StreamEntry { after: after.index, position, commits, epoch: None, slots: None, low_water: None }
}

fn commit(store: &MvccStore<MemoryEngine>, place: u64, writes: ShardWrites) -> ShardCommit {
    let commit_ts = store.position().closed_ts.plus(place + 1);
    ShardCommit { txn: txn(place), commit_ts, writes }
}

/// A store in which every key has so many versions, and after them so many lock markers.
fn store(versions: u64, locks: u64) -> MvccStore<MemoryEngine> {
    let mut store = MvccStore::open(MemoryEngine::new(), Options::default()).expect("memory opens");
    for round in 0..versions + locks {
        for first in (0..KEYS).step_by(PER_ENTRY as usize) {
            let mutations = (first..first + PER_ENTRY).map(|n| match round < versions {
                true => row(n),
                false => Mutation::lock(key(n), Slot(mix(n) as u16)),
            });
            let writes = ShardWrites::Inline(mutations.collect());
            let commits = vec![commit(&store, 0, writes)];
            let entry = entry(&store, commits);
            assert!(matches!(store.apply(&entry), Ok(Applied::Done(_))));
        }
    }
    store
}

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("mvcc/get");
    group.throughput(Throughput::Elements(1));
    for (name, versions, locks) in [("1 version", 1, 0), ("5 versions", 5, 0), ("behind 1 lock marker", 1, 1)]
    {
        let reader = store(versions, locks).reader();
        let at = reader.closed_ts();
        let mut n = 0u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                n += 1;
                let value = reader.get(&key(mix(n) % KEYS), at).expect("the snapshot is live");
                assert!(black_box(value).is_some());
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("mvcc/scan 100 rows");
    group.throughput(Throughput::Elements(100));
    for versions in [1, 5] {
        let reader = store(versions, 0).reader();
        let at = reader.closed_ts();
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut n = 0u64;
            let id = BenchmarkId::new(format!("{direction:?}"), format!("{versions} versions"));
            group.bench_function(id, |b| {
                b.iter(|| {
                    n += 1;
                    let first = mix(n) % (KEYS - 100);
                    let range = KeyRange::new(key(first), key(first + 100));
                    let batch = reader.scan(&range, at, direction, 1_000).expect("the snapshot is live");
                    assert_eq!(black_box(batch).rows.len(), 100);
                });
            });
        }
    }
    group.finish();
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("mvcc/apply");
    group.throughput(Throughput::Elements(PER_ENTRY));
    let mut inline = store(1, 0);
    let mut n = 0u64;
    group.bench_function("inline, 2 writes each", |b| {
        b.iter(|| {
            let commits = (0..PER_ENTRY).map(|place| {
                n += 1;
                let writes = vec![row(mix(n) % KEYS), row(mix(n + 1) % KEYS)];
                commit(&inline, place, ShardWrites::Inline(writes))
            });
            let entry = entry(&inline, commits.collect());
            assert!(matches!(inline.apply(&entry), Ok(Applied::Done(_))));
        });
    });
    group.finish();

    let mut group = c.benchmark_group("mvcc/prepare and apply");
    group.throughput(Throughput::Elements(PER_ENTRY));
    let mut prepared = store(1, 0);
    group.bench_function("2 writes each", |b| {
        b.iter_batched(
            || {
                let writes = |n: u64| vec![row(mix(n) % KEYS), row(mix(n + 1) % KEYS)];
                let prepare = |n| Prepare { txn: txn(n), epoch: Epoch(1), mutations: writes(n) };
                (0..PER_ENTRY).map(prepare).collect::<Vec<_>>()
            },
            |prepares| {
                let votes = prepared.prepare(&prepares).expect("memory does not fail");
                assert!(votes.iter().all(Vote::is_yes));
                let commits = prepares.iter().zip(0..).map(|(prepare, place)| {
                    let digest = WriteDigest::of(&prepare.mutations);
                    commit(&prepared, place, ShardWrites::Prepared { epoch: Epoch(1), digest })
                });
                let entry = entry(&prepared, commits.collect());
                assert!(matches!(prepared.apply(&entry), Ok(Applied::Done(_))));
                prepared.flush().expect("memory does not fail");
                assert_eq!(prepared.collect_intents(None), Ok(PER_ENTRY as usize));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();

    let mut group = c.benchmark_group("mvcc/collect");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("look at every version", |b| {
        let mut store = store(1, 0);
        b.iter(|| {
            let collected =
                store.collect_versions(None, assize_mvcc::Step::ALL).expect("memory does not fail");
            assert_eq!(collected.dropped, 0);
        });
    });
    group.finish();
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
