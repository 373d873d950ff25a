use super::*;
use crate::{Column, fixtures};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sample() -> Vec<Value> {
    vec![Value::Int(-3), Value::text("naïve"), Value::Null]
}

#[test]
fn a_stored_row_stays_as_it_is() {
    let table = fixtures::stock();
    let bytes = encode(&table, &sample());
    assert_eq!(hex(&bytes), "0101030401000800080005066e61c3af7665");
    assert_eq!(RowReader::new(&bytes).unwrap().row(&table), Ok(sample()));
}

#[test]
fn columns_come_and_go_without_touching_stored_rows() {
    let old = fixtures::stock();
    let bytes = encode(&old, &sample());
    let mut new = old.clone();
    // DROP COLUMN name, ADD COLUMN note DEFAULT 'x' FIRST.
    new.columns.remove(1);
    let note = Column {
        added_value: Some(Value::text("x")),
        ..fixtures::column(3, "note", old.columns[1].sql_type.clone())
    };
    new.columns.insert(0, note);
    let row = RowReader::new(&bytes).unwrap().row(&new).unwrap();
    assert_eq!(row, [Value::text("x"), Value::Int(-3), Value::Null]);
    // A row of the new definition has ids 3, 0, 2: not dense.
    let again = encode(&new, &row);
    assert_eq!(RowReader::new(&again).unwrap().row(&new), Ok(row));
    assert_eq!(RowReader::new(&again).unwrap().bytes(1), Ok(None));
}

#[test]
fn a_long_row_has_wide_offsets() {
    let table = fixtures::stock();
    let row = vec![Value::Int(1), Value::text("x".repeat(70_000)), Value::UInt(9)];
    let bytes = encode(&table, &row);
    assert_eq!(bytes[1], DENSE | WIDE);
    assert_eq!(RowReader::new(&bytes).unwrap().value(&table, 2), Ok(Value::UInt(9)));
    assert_eq!(RowReader::new(&bytes).unwrap().row(&table), Ok(row));
}

proptest! {
    #[test]
    fn what_is_stored_is_what_is_read(id: i32, name in proptest::option::of(".{0,20}"), amount: Option<u64>) {
        let table = fixtures::stock();
        let row = vec![
            Value::Int(id.into()),
            name.map_or(Value::Null, Value::text),
            amount.map_or(Value::Null, Value::UInt),
        ];
        let bytes = encode(&table, &row);
        prop_assert_eq!(RowReader::new(&bytes).unwrap().row(&table), Ok(row));
    }

    #[test]
    fn no_bytes_make_a_row_panic(mut bytes: Vec<u8>, flip: prop::sample::Index, with: u8) {
        let table = fixtures::everything();
        let read = |bytes: Vec<u8>| {
            let bytes = Bytes::from(bytes);
            if let Ok(reader) = RowReader::new(&bytes) {
                let _ = reader.row(&table);
            }
        };
        read(bytes.clone());
        bytes.insert(0, VERSION);
        read(bytes);
        let mut good = encode(&fixtures::stock(), &sample()).to_vec();
        let at = flip.index(good.len());
        good[at] ^= with;
        read(good);
    }
}
