//! A walk over all versions goes in steps: no step looks at much more than it may, however large the rows are.

use assize_model::{
    DeadlineClass, FrontendEpoch, FrontendId, Key, LogIndex, Mutation, Position, ShardCommit, ShardWrites,
    Slot, StreamEntry, Timestamp, TxnId,
};
use assize_mvcc::{MemoryEngine, MvccStore, Options, Page, Slots, Step};

/// Rows of 1,000 bytes each.
const ROWS: u8 = 40;

fn store() -> MvccStore<MemoryEngine> {
    let mut store = MvccStore::open(MemoryEngine::new(), Options::default()).unwrap();
    let put = |n| Mutation::put(Key::new(vec![n]), Slot(u16::from(n)), vec![n; 1_000]);
    let txn = TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
    let writes = ShardWrites::Inline((0..ROWS).map(put).collect());
    let entry = StreamEntry {
        after: LogIndex(0),
        position: Position { index: LogIndex(1), closed_ts: Timestamp(10) },
        commits: vec![ShardCommit { txn, commit_ts: Timestamp(10), writes }],
        epoch: None,
        slots: None,
        low_water: Some(Timestamp(10)),
    };
    store.apply(&entry).unwrap();
    store
}

#[test]
fn a_step_ends_with_its_bytes_and_the_walk_goes_on_where_it_was() {
    let mut store = store();
    // Four rows reach it, keys and headers included, and three do not.
    let step = Step { versions: usize::MAX, bytes: 3_500 };
    let (mut from, mut steps, mut examined) = (None, 0, 0);
    loop {
        let collected = store.collect_versions(from.as_ref(), step).unwrap();
        steps += 1;
        examined += collected.examined;
        assert!(collected.examined <= 4);
        from = collected.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((steps, examined), (ROWS / 4, usize::from(ROWS)));

    let whole = store.hash_content(&Slots::all(), Timestamp(10)).unwrap();
    let (reader, mut page, mut hash) = (store.reader(), Page::all(), Default::default());
    loop {
        let (part, rest) = reader.hash_content(&Slots::all(), Timestamp(10), &page, step).unwrap();
        assert!(part.count <= 4);
        hash = part.and(hash);
        match rest {
            Some(rest) => page.from = rest,
            None => break,
        }
    }
    assert_eq!(hash, whole);
}
