//! The naive twin of every encoding is a comparison of the values themselves.

use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

/// A field of any kind, nullable and possibly descending.
#[derive(Clone, Debug)]
enum Field {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bytes(Vec<u8>),
    /// A decimal small enough for naive arithmetic: value × 10^-scale.
    Decimal(i64, u8),
}

impl Field {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Field::Unsigned(v) => put_u64(out, *v),
            Field::Signed(v) => put_i64(out, *v),
            Field::Float(v) => put_f64(out, *v),
            Field::Bytes(v) => put_bytes(out, v),
            Field::Decimal(v, scale) => {
                let digits: Vec<u8> = v.unsigned_abs().to_string().bytes().map(|b| b - b'0').collect();
                put_decimal(out, *v < 0, &digits, (*scale).into());
            }
        }
    }

    fn compare(&self, other: &Field) -> Ordering {
        match (self, other) {
            (Field::Unsigned(a), Field::Unsigned(b)) => a.cmp(b),
            (Field::Signed(a), Field::Signed(b)) => a.cmp(b),
            (Field::Float(a), Field::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(b).unwrap(),
                (a, b) => a.cmp(&b),
            },
            (Field::Bytes(a), Field::Bytes(b)) => a.cmp(b),
            (Field::Decimal(a, s), Field::Decimal(b, t)) => {
                let scaled = |v: i64, scale: u8| i128::from(v) * 10i128.pow(u32::from(12 - scale));
                scaled(*a, *s).cmp(&scaled(*b, *t))
            }
            _ => unreachable!("fields of one column have one kind"),
        }
    }
}

/// Two fields of one kind.
fn pair() -> impl Strategy<Value = (Field, Field)> {
    let small = prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6);
    prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(a, b)| (Field::Unsigned(a), Field::Unsigned(b))),
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| (Field::Signed(a), Field::Signed(b))),
        (-3i64..3, -3i64..3).prop_map(|(a, b)| (Field::Signed(a), Field::Signed(b))),
        (any::<f64>(), any::<f64>()).prop_map(|(a, b)| (Field::Float(a), Field::Float(b))),
        (small.clone(), small).prop_map(|(a, b)| (Field::Bytes(a), Field::Bytes(b))),
        (any::<i64>(), 0u8..=12, any::<i64>(), 0u8..=12)
            .prop_map(|(a, s, b, t)| (Field::Decimal(a, s), Field::Decimal(b, t))),
        (-120i64..120, 0u8..=2, -120i64..120, 0u8..=2)
            .prop_map(|(a, s, b, t)| (Field::Decimal(a, s), Field::Decimal(b, t))),
    ]
}

/// A column of two rows: each NULL or not, and the order of the column.
fn column() -> impl Strategy<Value = (Option<Field>, Option<Field>, bool)> {
    (pair(), prop::bool::weighted(0.1), prop::bool::weighted(0.1), any::<bool>())
        .prop_map(|((a, b), no_a, no_b, desc)| ((!no_a).then_some(a), (!no_b).then_some(b), desc))
}

fn put_column(out: &mut Vec<u8>, field: &Option<Field>, descending: bool) {
    let put = |out: &mut Vec<u8>| match field {
        None => put_null(out),
        Some(field) => {
            put_not_null(out);
            field.put(out);
        }
    };
    if descending { put_descending(out, put) } else { put(out) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn keys_sort_as_their_fields_do(columns in prop::collection::vec(column(), 1..4)) {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut expected = Ordering::Equal;
        for (a, b, descending) in &columns {
            put_column(&mut left, a, *descending);
            put_column(&mut right, b, *descending);
            let order = match (a, b) {
                (Some(a), Some(b)) => a.compare(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            expected = expected.then(if *descending { order.reverse() } else { order });
        }
        prop_assert_eq!(left.cmp(&right), expected);
        // No key is a proper prefix of another of its shape.
        prop_assert!(left == right || !left.starts_with(&right) && !right.starts_with(&left));
    }

    #[test]
    fn keys_read_back_as_their_fields(columns in prop::collection::vec(column(), 1..4)) {
        let mut key = Vec::new();
        for (a, _, descending) in &columns {
            put_column(&mut key, a, *descending);
        }
        let mut reader = KeyReader::new(&key);
        for (a, _, descending) in &columns {
            reader.descending(*descending);
            let Some(field) = a else {
                prop_assert!(!reader.has_value()?);
                continue;
            };
            prop_assert!(reader.has_value()?);
            match field {
                Field::Unsigned(v) => prop_assert_eq!(reader.u64()?, *v),
                Field::Signed(v) => prop_assert_eq!(reader.i64()?, *v),
                Field::Float(v) => {
                    let read = reader.f64()?;
                    prop_assert!(read == *v || read.is_nan() && v.is_nan());
                }
                Field::Bytes(v) => {
                    prop_assert_eq!(reader.clone().skip_bytes(), Ok(()));
                    prop_assert_eq!(&reader.bytes()?, v);
                }
                Field::Decimal(v, scale) => {
                    let read = reader.decimal()?;
                    let magnitude = read.digits.iter().fold(0i128, |n, d| n * 10 + i128::from(*d));
                    let places = read.digits.len() as i32 - i32::from(read.exponent);
                    let scaled = magnitude * 10i128.pow((19 - places) as u32);
                    let expected = i128::from(v.unsigned_abs()) * 10i128.pow(u32::from(19 - scale));
                    prop_assert_eq!(scaled, expected);
                    prop_assert_eq!(read.negative, *v < 0);
                }
            }
        }
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn no_bytes_make_a_key_reader_panic(bytes: Vec<u8>, steps: Vec<u8>) {
        let mut reader = KeyReader::new(&bytes);
        for step in steps {
            reader.descending(step & 0x80 != 0);
            let _ = match step % 8 {
                0 => reader.u8().err(),
                1 => reader.u32().err(),
                2 => reader.i64().err(),
                3 => reader.f64().err(),
                4 => reader.bytes().err(),
                5 => reader.decimal().err(),
                6 => reader.has_value().err(),
                _ => reader.skip_bytes().err(),
            };
        }
    }
}

#[test]
fn a_decimal_sorts_by_value_whatever_its_scale() {
    let encode = |negative, digits: &[u8], scale| {
        let mut out = Vec::new();
        put_decimal(&mut out, negative, digits, scale);
        out
    };
    assert_eq!(encode(false, &[1, 5], 1), encode(false, &[0, 1, 5, 0, 0], 3));
    assert_eq!(encode(true, &[0], 0), encode(false, &[], 0));
    assert!(encode(true, &[9], 0) < encode(true, &[8, 9], 1));
    assert!(encode(false, &[9, 9], 2) < encode(false, &[1], 0));
    assert!(encode(false, &[1], 0) < encode(false, &[1, 0, 1], 2));
}

#[test]
fn a_prefix_of_bytes_begins_every_encoding_it_should() {
    let mut prefix = Vec::new();
    put_bytes_prefix(&mut prefix, b"a\0");
    for text in [&b"a\0"[..], b"a\0b", b"a\0\0"] {
        let mut whole = Vec::new();
        put_bytes(&mut whole, text);
        assert!(whole.starts_with(&prefix), "{text:?}");
    }
    let mut other = Vec::new();
    put_bytes(&mut other, b"a\x01");
    assert!(!other.starts_with(&prefix));
}

#[test]
fn the_bytes_of_ordered_fields_stay_as_they_are() {
    let mut out = Vec::new();
    put_i64(&mut out, -1);
    put_not_null(&mut out);
    put_bytes(&mut out, b"a\0b");
    put_null(&mut out);
    put_decimal(&mut out, true, &[1, 2, 3], 1);
    put_f64(&mut out, -2.0);
    put_descending(&mut out, |out| put_u16(out, 1));
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        concat!("7fffffffffffffff", "01", "6100ff620000", "00", "7f7ffdf2e0ff", "3fffffffffffffff", "fffe")
    );
}
