//! Whatever bytes an engine brings back, the store answers or says what is wrong; it never panics and never loops.

use assize_model::{
    DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, KeyRange, LogIndex, Mutation, Position,
    ShardCommit, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, WriteDigest,
};
use assize_mvcc::{
    Batch, Cursor as _, Direction, Durability, Engine, Family, MemoryEngine, MvccStore, Options, Prepare,
    Slots,
};
use bytes::Bytes;
use proptest::prelude::*;

fn txn(n: u64) -> TxnId {
    TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n)
}

fn key(n: u8) -> Key {
    Key::new(vec![n, 0, n])
}

fn put(n: u8) -> Mutation {
    Mutation::put(key(n), Slot(u16::from(n)), vec![n; 3])
}

fn entry(index: u64, commits: Vec<ShardCommit>) -> StreamEntry {
    StreamEntry {
        after: LogIndex(index - 1),
        position: Position { index: LogIndex(index), closed_ts: Timestamp(index * 10) },
        commits,
        epoch: None,
        slots: None,
        low_water: None,
    }
}

fn prepared(n: u64, writes: &[Mutation]) -> ShardCommit {
    let writes = ShardWrites::Prepared { epoch: Epoch(1), digest: WriteDigest::of(writes) };
    ShardCommit { txn: txn(n), commit_ts: Timestamp(n * 10), writes }
}

/// An engine with a little of everything: versions, a decided intent, an undecided one, a state.
fn engine() -> MemoryEngine {
    let engine = MemoryEngine::new();
    let mut store = MvccStore::open(engine.clone(), Options::default()).unwrap();
    for n in 1..=3u8 {
        let writes = ShardWrites::Inline(vec![put(1), put(n)]);
        let commit = ShardCommit { txn: txn(n.into()), commit_ts: Timestamp(u64::from(n) * 10), writes };
        store.apply(&entry(n.into(), vec![commit])).unwrap();
    }
    for n in [4, 5] {
        let prepare = Prepare { txn: txn(n), epoch: Epoch(1), mutations: vec![put(2)] };
        store.prepare(&[prepare]).unwrap();
    }
    store.apply(&entry(4, vec![prepared(4, &[put(2)])])).unwrap();
    engine
}

fn entries(engine: &MemoryEngine, family: Family) -> Vec<(Vec<u8>, Bytes)> {
    let mut found = Vec::new();
    let mut cursor = engine.cursor(family, &[], &[0xff; 64]).unwrap();
    cursor.seek(&[]).unwrap();
    while let Some((key, _)) = cursor.entry() {
        found.push((key.to_vec(), cursor.value()));
        cursor.next().unwrap();
    }
    found
}

/// Everything that anybody may ask of a store. Errors are fine.
fn exercise(engine: MemoryEngine) {
    let Ok(mut store) = MvccStore::open(engine, Options::default()) else { return };
    let everything = KeyRange::new(Key::default(), Key::new(vec![0xff; 8]));
    for at in [0, 10, 25, 40].map(Timestamp) {
        for n in 0..5 {
            let _ = store.get(&key(n), at);
        }
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut rest = Some(everything.clone());
            let mut pages = 0;
            while let Some(range) = rest.take() {
                rest = store.scan(&range, at, direction, 2).ok().and_then(|batch| batch.rest);
                pages += 1;
                assert!(pages < 100, "a scan does not end");
            }
        }
        let _ = store.hash_content(&Slots::all(), at);
    }
    let _ = store.newest_commit(&key(1));
    let _ = store.newest_commit_in(&everything);
    let _ = store.has_versions_in(&Slots::all());
    let _ = store.durable_position();
    let _ = store.intent(txn(4));
    let _ = store.intent(txn(5));
    let _ = store.apply(&entry(5, vec![prepared(5, &[put(2)])]));
    let _ = store.flush();
    let _ = store.collect_intents(None);
    let _ = store.collect_versions(None, assize_mvcc::Step::ALL);
}

fn write(engine: &MemoryEngine, family: Family, batch: Batch) {
    let durability = match family {
        Family::Versions => Durability::Buffered,
        Family::Intents => Durability::Synced,
    };
    engine.write(family, batch, durability).unwrap();
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Versions), Just(Family::Intents)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_changed_record_never_makes_the_store_panic(
        family in family(), which: prop::sample::Index, in_key: bool, at: prop::sample::Index, with: u8,
    ) {
        let engine = engine();
        let all = entries(&engine, family);
        let (old_key, old_value) = all[which.index(all.len())].clone();
        let (mut new_key, mut new_value) = (old_key.clone(), old_value.to_vec());
        let target = if in_key { &mut new_key } else { &mut new_value };
        let at = at.index(target.len());
        target[at] = with;
        let mut batch = Batch::new();
        batch.delete(old_key);
        batch.put(new_key, new_value);
        write(&engine, family, batch);
        exercise(engine);
    }

    #[test]
    fn a_cut_or_missing_record_never_makes_the_store_panic(
        family in family(), which: prop::sample::Index, keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let engine = engine();
        let all = entries(&engine, family);
        let (key, value) = all[which.index(all.len())].clone();
        let mut batch = Batch::new();
        match keep {
            Some(keep) => batch.put(key, value.slice(..keep.index(value.len()))),
            None => batch.delete(key),
        }
        write(&engine, family, batch);
        exercise(engine);
    }

    #[test]
    fn no_foreign_record_makes_the_store_panic(
        family in family(),
        tag in prop::sample::select(vec![0x01u8, 0x02, 0x10, 0x11]),
        key in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..24),
        value: Vec<u8>,
    ) {
        let engine = engine();
        let mut batch = Batch::new();
        batch.put([vec![tag], key].concat(), value);
        write(&engine, family, batch);
        exercise(engine);
    }
}

#[test]
fn an_undamaged_engine_answers_everything() {
    let engine = engine();
    let store = MvccStore::open(engine.clone(), Options::default()).unwrap();
    assert_eq!(store.get(&key(2), Timestamp(40)), Ok(Some(Bytes::from_static(&[2, 2, 2]))));
    assert_eq!(store.intents().collect::<Vec<_>>(), [(txn(4), true), (txn(5), false)]);
    exercise(engine);
}
