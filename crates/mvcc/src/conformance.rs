//! What every [`Engine`] must do: one suite, run by each implementation's tests.
//!
//! What a crash leaves cannot be asked of an engine that is still running; [`crate::MemoryEngine::crashed`] and the tests
//! that kill processes look at that.

use crate::{Batch, Cursor, Durability, Engine, Family};
use bytes::Bytes;

/// Runs the whole suite; `fresh` opens an empty engine for each part.
///
/// # Panics
/// With the first thing that is not as it must be.
pub fn check<E: Engine>(mut fresh: impl FnMut() -> E) {
    what_was_written_is_read(&fresh());
    later_steps_of_a_batch_win(&fresh());
    families_are_apart(&fresh());
    the_first_entry_of_a_range_is_found(&fresh());
    a_cursor_moves_within_its_bounds(&fresh());
    a_cursor_sees_the_moment_it_was_made(&fresh());
    only_what_was_flushed_is_persisted(&fresh());
    bytes_of_every_kind_keep_their_order(&fresh());
    bytes_that_are_stored_are_known_by_range(&fresh());
}

fn durability(family: Family) -> Durability {
    match family {
        Family::Versions => Durability::Buffered,
        Family::Intents => Durability::Synced,
    }
}

fn put(engine: &impl Engine, family: Family, entries: &[(&[u8], &'static str)]) {
    let mut batch = Batch::new();
    for (key, value) in entries {
        batch.put(key.to_vec(), *value);
    }
    engine.write(family, batch, durability(family)).expect("a write");
}

fn get(engine: &impl Engine, family: Family, key: &[u8]) -> Option<Bytes> {
    engine.get(family, key).expect("a read")
}

fn here<C: Cursor>(cursor: &C) -> Option<(Vec<u8>, Bytes)> {
    let entry = cursor.entry().map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(value)));
    if let Some((_, value)) = &entry {
        assert_eq!(cursor.value(), *value, "the owned value is the borrowed one");
    }
    entry
}

fn found(key: &[u8], value: &'static str) -> Option<(Vec<u8>, Bytes)> {
    Some((key.to_vec(), Bytes::from_static(value.as_bytes())))
}

fn what_was_written_is_read(engine: &impl Engine) {
    for family in [Family::Versions, Family::Intents] {
        put(engine, family, &[(b"a", "1"), (b"b", ""), (b"c", "3")]);
        assert_eq!(get(engine, family, b"a").unwrap(), "1");
        assert_eq!(get(engine, family, b"b").unwrap(), "", "an empty value is a value");
        assert_eq!(get(engine, family, b"d"), None);
        put(engine, family, &[(b"a", "2")]);
        assert_eq!(get(engine, family, b"a").unwrap(), "2");
        let mut batch = Batch::new();
        batch.delete(b"a".to_vec());
        batch.delete(b"never there".to_vec());
        engine.write(family, batch, durability(family)).expect("a delete");
        assert_eq!(get(engine, family, b"a"), None);
    }
    let mut logged = Batch::new();
    logged.put(b"l".to_vec(), "1");
    engine.write(Family::Intents, logged, Durability::Logged).expect("a logged write");
    assert_eq!(get(engine, Family::Intents, b"l").unwrap(), "1");
}

fn later_steps_of_a_batch_win(engine: &impl Engine) {
    for family in [Family::Versions, Family::Intents] {
        put(engine, family, &[(b"a", "0"), (b"b", "0"), (b"c", "0"), (b"d", "0")]);
        let mut batch = Batch::new();
        batch.put(b"a".to_vec(), "1");
        batch.put(b"a".to_vec(), "2");
        batch.put(b"b".to_vec(), "1");
        batch.delete_range(b"b".to_vec(), b"d".to_vec());
        batch.put(b"c".to_vec(), "again");
        engine.write(family, batch, durability(family)).expect("a batch");
        assert_eq!(get(engine, family, b"a").unwrap(), "2");
        assert_eq!(get(engine, family, b"b"), None);
        assert_eq!(get(engine, family, b"c").unwrap(), "again");
        assert_eq!(get(engine, family, b"d").unwrap(), "0", "the end of a range stays");
    }
}

fn families_are_apart(engine: &impl Engine) {
    put(engine, Family::Versions, &[(b"k", "version")]);
    put(engine, Family::Intents, &[(b"k", "intent"), (b"z", "intent")]);
    assert_eq!(get(engine, Family::Versions, b"k").unwrap(), "version");
    assert_eq!(get(engine, Family::Intents, b"k").unwrap(), "intent");
    let mut cursor = engine.cursor(Family::Versions, b"a", b"zz").expect("a cursor");
    cursor.seek_back(b"zz").expect("a seek");
    assert_eq!(here(&cursor), found(b"k", "version"));
}

fn the_first_entry_of_a_range_is_found(engine: &impl Engine) {
    put(engine, Family::Versions, &[(b"b", "1"), (b"d", "2")]);
    let first = |lower: &[u8], upper: &[u8]| {
        let found = engine.first(Family::Versions, lower, upper).expect("a read");
        found.map(|(key, value)| (key.to_vec(), value))
    };
    assert_eq!(first(b"a", b"z"), found(b"b", "1"));
    assert_eq!(first(b"b", b"c"), found(b"b", "1"), "the lower end is included");
    assert_eq!(first(b"b\0", b"z"), found(b"d", "2"));
    assert_eq!(first(b"c", b"d"), None, "the upper end is not");
    assert_eq!(first(b"e", b"z"), None);
    assert_eq!(first(b"z", b"a"), None, "an empty range is a fair question");
}

fn a_cursor_moves_within_its_bounds(engine: &impl Engine) {
    put(engine, Family::Versions, &[(b"a", "1"), (b"b", "2"), (b"c", "3"), (b"d", "4")]);
    let mut cursor = engine.cursor(Family::Versions, b"b", b"d").expect("a cursor");
    cursor.seek(b"a").expect("a seek");
    assert_eq!(here(&cursor), found(b"b", "2"), "not before the lower end");
    cursor.next().expect("a step");
    assert_eq!(here(&cursor), found(b"c", "3"));
    cursor.next().expect("a step");
    assert_eq!(here(&cursor), None, "not at the upper end");
    cursor.seek_back(b"z").expect("a seek");
    assert_eq!(here(&cursor), found(b"c", "3"));
    cursor.seek_back(b"d").expect("a seek");
    assert_eq!(here(&cursor), found(b"c", "3"));
    cursor.seek_back(b"c").expect("a seek");
    assert_eq!(here(&cursor), found(b"c", "3"), "at or before");
    cursor.seek_back(b"bb").expect("a seek");
    assert_eq!(here(&cursor), found(b"b", "2"));
    cursor.prev().expect("a step");
    assert_eq!(here(&cursor), None);
    cursor.seek(b"c").expect("a seek after the end");
    assert_eq!(here(&cursor), found(b"c", "3"));
    cursor.prev().expect("a turn");
    assert_eq!(here(&cursor), found(b"b", "2"));
    cursor.next().expect("a turn back");
    assert_eq!(here(&cursor), found(b"c", "3"));
    cursor.seek(b"cc").expect("a seek");
    assert_eq!(here(&cursor), None);
    cursor.seek_back(b"a").expect("a seek");
    assert_eq!(here(&cursor), None);
    let mut empty = engine.cursor(Family::Versions, b"d", b"b").expect("an empty range");
    empty.seek(b"a").expect("a seek");
    assert_eq!(here(&empty), None);
    empty.seek_back(b"z").expect("a seek");
    assert_eq!(here(&empty), None);
}

fn a_cursor_sees_the_moment_it_was_made(engine: &impl Engine) {
    put(engine, Family::Versions, &[(b"b", "old"), (b"c", "old")]);
    let mut cursor = engine.cursor(Family::Versions, b"a", b"z").expect("a cursor");
    put(engine, Family::Versions, &[(b"a", "new"), (b"b", "new"), (b"d", "new")]);
    let mut batch = Batch::new();
    batch.delete(b"c".to_vec());
    engine.write(Family::Versions, batch, Durability::Buffered).expect("a delete");
    cursor.seek(b"a").expect("a seek");
    assert_eq!(here(&cursor), found(b"b", "old"));
    cursor.next().expect("a step");
    assert_eq!(here(&cursor), found(b"c", "old"));
    cursor.next().expect("a step");
    assert_eq!(here(&cursor), None);
}

fn only_what_was_flushed_is_persisted(engine: &impl Engine) {
    let persisted = |key: &[u8]| engine.persisted(key).expect("a read");
    put(engine, Family::Versions, &[(b"k", "1")]);
    engine.flush().expect("a flush");
    assert_eq!(persisted(b"k").unwrap(), "1");
    put(engine, Family::Versions, &[(b"k", "2"), (b"l", "2")]);
    // A synced write to the other family takes nothing of this one along.
    put(engine, Family::Intents, &[(b"k", "intent")]);
    assert_eq!(persisted(b"k").unwrap(), "1");
    assert_eq!(persisted(b"l"), None);
    assert_eq!(get(engine, Family::Versions, b"k").unwrap(), "2");
    engine.flush().expect("a flush");
    assert_eq!(persisted(b"k").unwrap(), "2");
    engine.flush().expect("a flush of nothing");
    engine.begin_flush().expect("a flush that may take its time");
}

fn bytes_of_every_kind_keep_their_order(engine: &impl Engine) {
    let mut keys: Vec<Vec<u8>> = (0..=255u8).flat_map(|b| [vec![b], vec![b, 0], vec![b, 0xff]]).collect();
    let mut batch = Batch::new();
    // From the last to the first: the order of writing says nothing.
    for key in keys.iter().rev() {
        batch.put(key.clone(), Bytes::copy_from_slice(key));
    }
    engine.write(Family::Versions, batch, Durability::Buffered).expect("a write");
    keys.sort();
    let mut cursor = engine.cursor(Family::Versions, &[], &[0xff; 3]).expect("a cursor");
    cursor.seek(&[]).expect("a seek");
    let mut seen = Vec::new();
    while let Some((key, value)) = here(&cursor) {
        assert_eq!(key, value);
        seen.push(key);
        cursor.next().expect("a step");
    }
    assert_eq!(seen, keys);
    cursor.seek_back(&[0xff; 3]).expect("a seek");
    let mut seen = Vec::new();
    while let Some((key, _)) = here(&cursor) {
        seen.push(key);
        cursor.prev().expect("a step");
    }
    keys.reverse();
    assert_eq!(seen, keys);
}

fn bytes_that_are_stored_are_known_by_range(engine: &impl Engine) {
    let stored = |lower: &[u8], upper: &[u8]| {
        engine.stored_bytes(Family::Versions, lower, upper).expect("an estimate")
    };
    assert_eq!(stored(b"", b"z"), 0);
    // Of a hundred blocks or more, and of bytes that nothing compresses; three quarters of them under one letter.
    let mut batch = Batch::new();
    let mut noise = 1u64;
    for n in 0..4_000u32 {
        let letter = if n % 4 == 0 { b'a' } else { b'b' };
        let value: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .take(500)
        .collect();
        let key = [&[letter][..], &n.to_be_bytes(), b"the version"].concat();
        batch.put(key, value);
    }
    engine.write(Family::Versions, batch, Durability::Buffered).expect("a write");
    engine.flush().expect("a flush");
    let (a, b, all) = (stored(b"a", b"b"), stored(b"b", b"c"), stored(b"", b"z"));
    assert!((1_900_000..2_400_000).contains(&all), "{all}");
    assert!((440_000..620_000).contains(&a), "{a}");
    assert!(all.abs_diff(a + b) <= 64 << 10, "{a} {b} {all}");
    assert_eq!((stored(b"c", b"d"), stored(b"b", b"a")), (0, 0));
}
