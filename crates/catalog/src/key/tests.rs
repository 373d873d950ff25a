use super::*;
use crate::fixtures;
use proptest::prelude::*;
use std::cmp::Ordering;

fn row(id: i64, name: Option<&str>, amount: Option<u64>) -> Vec<Value> {
    vec![Value::Int(id), name.map_or(Value::Null, Value::text), amount.map_or(Value::Null, Value::UInt)]
}

#[test]
fn the_keys_of_a_row_stay_as_they_are() {
    let table = fixtures::stock();
    let row = row(1, Some("ab"), Some(5));
    let key = table.row_key(&row).unwrap();
    assert_eq!(format!("{key:?}"), "000000070000018000000000000001");
    let slot = table.row_slot(&row, &key);
    let amount = table.index_entry(&table.indexes[2], &row, &key, slot);
    assert_eq!(format!("{:?}", amount.key), "000000070002010000000000000005018000000000000001");
    assert_eq!((amount.slot, amount.exclusive), (slot, false));
    let name = table.index_entry(&table.indexes[1], &row, &key, slot);
    assert!(name.exclusive);
    assert_eq!((name.slot, name.key.clone()), table.unique_key(&table.indexes[1], &row[1..2]));
    for entry in [amount, name] {
        assert_eq!(row_of_entry(&entry.key, &entry.value), Ok((slot, key.clone())));
        assert_eq!(slot_of_stored(&table, &entry.key, &entry.value), Ok(entry.slot));
    }
    assert_eq!(format!("{:?}", existence_key(&key)), "000000078000018000000000000001");
    assert_eq!(slot_of_stored(&table, &key, &crate::row::encode(&table, &row)), Ok(slot));
}

#[test]
fn nulls_do_not_exclude_each_other() {
    let table = fixtures::stock();
    let (a, b) = (row(1, None, None), row(2, None, None));
    let entry = |row: &[Value]| {
        let key = table.row_key(row).unwrap();
        let slot = table.row_slot(row, &key);
        table.index_entry(&table.indexes[1], row, &key, slot)
    };
    let (a, b) = (entry(&a), entry(&b));
    assert!(!a.exclusive && !b.exclusive);
    assert_ne!(a.key, b.key);
    assert_eq!(a.slot, b.slot);
    assert_eq!(slot_of_stored(&table, &a.key, &a.value), Ok(a.slot));
}

#[test]
fn parent_and_child_of_one_value_share_a_slot() {
    let nullable = SqlType::BIGINT;
    assert_eq!(slot_of_value(&Value::Int(7), &SqlType::INT), slot_of_value(&Value::Int(7), &nullable));
}

#[test]
fn prefixes_hold_what_begins_with_them() {
    let table = fixtures::stock();
    let range = KeyRange::prefix(&table.index_seek(&table.indexes[2], &[Value::UInt(5)]));
    let inside = row(1, None, Some(5));
    let outside = row(1, None, Some(6));
    let entry = |row: &[Value]| {
        let key = table.row_key(row).unwrap();
        table.index_entry(&table.indexes[2], row, &key, Slot(0)).key
    };
    assert!(range.contains(&entry(&inside)) && !range.contains(&entry(&outside)));
    assert!(index_range(table.id, IndexId(2)).contains(&entry(&outside)));
    assert!(table_range(table.id).contains(&entry(&outside)));
    assert_eq!(table_of(&entry(&inside)), Some(table.id));
    assert_eq!(index_of(&entry(&inside)), Some(IndexId(2)));
}

#[test]
fn an_existence_key_leads_to_its_row_and_no_other_key_does() {
    let row = Key::new([&index_prefix(TableId(7), IndexId(0))[..], &[1, 2, 3]].concat());
    assert_eq!(row_of_existence(&existence_key(&row)), Some(row.clone()));
    let entry = Key::new(index_prefix(TableId(7), IndexId(2)));
    for other in [row, entry, Key::new(vec![0, 0, 0, 7, 0x80])] {
        assert_eq!(row_of_existence(&other), None);
    }
}

proptest! {
    #[test]
    fn keys_sort_as_rows_do(a: i64, b: i64, x in proptest::option::of(any::<u64>()), y in proptest::option::of(any::<u64>())) {
        let table = fixtures::stock();
        let entry = |id: i64, amount: Option<u64>| {
            let row = row(id, None, amount);
            let key = table.row_key(&row).unwrap();
            (key.clone(), table.index_entry(&table.indexes[2], &row, &key, Slot(0)).key)
        };
        let ((key_a, entry_a), (key_b, entry_b)) = (entry(a, x), entry(b, y));
        prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        prop_assert_eq!(entry_a.cmp(&entry_b), (x, a).cmp(&(y, b)));
    }

    #[test]
    fn descending_parts_turn_the_order_round(a: i64, b: i64) {
        let part = IndexPart { column: 0, prefix: None, descending: true };
        let encode = |n: i64| {
            let mut out = Vec::new();
            put_part(&mut out, &Value::Int(n), &SqlType::BIGINT, &part);
            out
        };
        prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b).reverse());
        let mut null = Vec::new();
        put_part(&mut null, &Value::Null, &SqlType::BIGINT, &part);
        prop_assert_eq!(null.cmp(&encode(a)), Ordering::Greater);
    }

    #[test]
    fn no_bytes_make_pointers_panic(key: Vec<u8>, value: Vec<u8>) {
        let key = Key::new(key);
        let value = Bytes::from(value);
        let _ = row_of_entry(&key, &value);
        let _ = slot_of_stored(&fixtures::stock(), &key, &value);
        let _ = (table_of(&key), index_of(&key));
    }
}
