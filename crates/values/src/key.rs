//! Index keys: bytes that sort as the values do, equal for values that the column's collation takes for
//! equal. They are stored, so they are fixed for ever. A row's values are never read back from them.

use crate::{SqlType, Value};
use assize_codec::order;
use std::borrow::Cow;

/// Appends one field of a key; NULL sorts lowest. `prefix` is the length of a prefix index: characters of text,
/// bytes of binary strings.
pub fn encode_key(
    value: &Value,
    sql_type: &SqlType,
    descending: bool,
    prefix: Option<u32>,
    out: &mut Vec<u8>,
) {
    if descending {
        order::put_descending(out, |out| put(value, sql_type, prefix, out));
    } else {
        put(value, sql_type, prefix, out);
    }
}

#[inline]
fn put(value: &Value, sql_type: &SqlType, prefix: Option<u32>, out: &mut Vec<u8>) {
    if value.is_null() {
        return order::put_null(out);
    }
    order::put_not_null(out);
    match value {
        Value::Null => {}
        Value::Int(number) => match sql_type {
            SqlType::Int(int) if int.unsigned => order::put_u64(out, *number as u64),
            _ => order::put_i64(out, *number),
        },
        Value::UInt(number) => match sql_type {
            SqlType::Int(int) if !int.unsigned => order::put_i64(out, *number as i64),
            _ => order::put_u64(out, *number),
        },
        Value::Bit(bits) | Value::Set(bits, _) => order::put_u64(out, *bits),
        Value::Float(number) => order::put_f64(out, (*number).into()),
        Value::Double(number) => order::put_f64(out, *number),
        Value::Decimal(number) => number.put_ordered(out),
        Value::Text(text) => {
            let text = cut(text, prefix);
            let collation = sql_type.text_collation().unwrap_or_default();
            let mut key = Vec::with_capacity(text.len() * 2 + 4);
            collation.sort_key(&text, &mut key);
            order::put_bytes(out, &key);
        }
        Value::Bytes(bytes) => {
            let length = prefix.map_or(bytes.len(), |prefix| bytes.len().min(prefix as usize));
            order::put_bytes(out, &bytes[..length]);
        }
        Value::Date(date) => order::put_u32(out, date.to_number() as u32),
        Value::Time(time) => order::put_i64(out, time.micros),
        Value::DateTime(at) => {
            order::put_u32(out, at.date.to_number() as u32);
            order::put_u64(out, at.micros as u64);
        }
        Value::Timestamp(micros) => order::put_i64(out, *micros),
        Value::Enum(index, _) => order::put_u16(out, *index),
        // JSON is no key; its text keeps the bytes well-formed if one is asked for anyway.
        Value::Json(json) => order::put_bytes(out, json.to_string().as_bytes()),
    }
}

fn cut(text: &str, prefix: Option<u32>) -> Cow<'_, str> {
    match prefix {
        Some(prefix) if text.len() > prefix as usize => {
            let end = text.char_indices().nth(prefix as usize).map_or(text.len(), |(at, _)| at);
            Cow::Borrowed(&text[..end])
        }
        _ => Cow::Borrowed(text),
    }
}

/// Appends what the keys of all texts that begin with `prefix` begin with: where the range scan of
/// `LIKE 'prefix%'` starts. `None` where the collation's weights do not go character by character, so that the
/// scan must filter.
pub fn encode_key_prefix(prefix: &str, sql_type: &SqlType, out: &mut Vec<u8>) -> Option<()> {
    let collation = sql_type.text_collation()?;
    // A contraction could join the last character with what follows; a space could belong to the padding.
    if !prefix.is_ascii() || prefix.contains(' ') || prefix.is_empty() {
        return None;
    }
    order::put_not_null(out);
    let mut key = Vec::new();
    collation.sort_key(prefix, &mut key);
    if collation.info().pad_space {
        // Without the mark of the end: a space's weight and one byte.
        let mut empty = Vec::new();
        collation.sort_key("", &mut empty);
        key.truncate(key.len() - empty.len());
    } else if let Some(levels) = key.windows(2).step_by(2).position(|weight| weight == [0, 0])
        && !collation.is_bin()
    {
        key.truncate(levels * 2);
    }
    order::put_bytes_prefix(out, &key);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collation::{COLLATIONS, CollationInfo};
    use crate::compare::{Comparison, sort_order};
    use crate::{Collation, Date, DateTime, Decimal, IntWidth, Time};
    use proptest::prelude::*;

    fn key(value: &Value, sql_type: &SqlType, descending: bool) -> Vec<u8> {
        let mut out = vec![];
        encode_key(value, sql_type, descending, None, &mut out);
        out
    }

    fn check(a: Value, b: Value, sql_type: &SqlType) {
        let expected = sort_order(&a, &b, &Comparison::of_type(sql_type));
        let (x, y) = (key(&a, sql_type, false), key(&b, sql_type, false));
        assert_eq!(x.cmp(&y), expected, "{a:?} {b:?}");
        let (x, y) = (key(&a, sql_type, true), key(&b, sql_type, true));
        assert_eq!(x.cmp(&y), expected.reverse(), "{a:?} {b:?} descending");
        assert!(!(x != y && x.starts_with(&y)), "prefix-free");
    }

    fn hex(value: Value, sql_type: &SqlType) -> String {
        key(&value, sql_type, false).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_keys_never_change() {
        let text = |collation| SqlType::VarChar { length: 9, collation };
        assert_eq!(hex(Value::Int(-1), &SqlType::INT), "017fffffffffffffff");
        assert_eq!(hex(Value::text("Ab c"), &text(Collation::UTF8MB4_0900_AI_CI)), GOLDEN_AI);
        assert_eq!(hex(Value::text("Ab c "), &text(Collation::UTF8MB4_GENERAL_CI)), GOLDEN_GENERAL);
        assert_eq!(hex(Value::Null, &SqlType::INT), "00");
    }

    const GOLDEN_AI: &str = "011fa21fbc02091fd60000";
    const GOLDEN_GENERAL: &str = "0100ff4100ff4200ff2003fe00ff4300ff20020000";

    #[test]
    fn a_prefix_covers_what_begins_with_it() {
        for collation in crate::collation::COLLATIONS.iter().map(|info| info.id) {
            let sql_type = SqlType::VarChar { length: 99, collation };
            let mut start = vec![];
            encode_key_prefix("ab", &sql_type, &mut start).unwrap();
            for text in ["ab", "abc", "ab c", "ab  "] {
                assert!(
                    key(&Value::text(text), &sql_type, false).starts_with(&start),
                    "{text} {collation:?}"
                );
            }
            for text in ["a", "b", "ac"] {
                assert!(
                    !key(&Value::text(text), &sql_type, false).starts_with(&start),
                    "{text} {collation:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_values(a: i64, b: i64, c: u64, d: u64, s in "[aAbäß  x]{0,5}", t in "[aAbäß  x]{0,5}") {
            check(Value::Int(a), Value::Int(b), &SqlType::BIGINT);
            check(Value::Int(a), Value::Null, &SqlType::BIGINT);
            check(Value::UInt(c), Value::UInt(d), &SqlType::int(IntWidth::Big, true));
            check(Value::Double(a as f64), Value::Double(b as f64 / 3.0), &SqlType::DOUBLE);
            let decimal = SqlType::Decimal { precision: 30, scale: 4, unsigned: false };
            check(
                Value::Decimal(Decimal::new(a.into(), 4)),
                Value::Decimal(Decimal::new(i128::from(b) / 7, 4)),
                &decimal,
            );
            let texts = || COLLATIONS.iter().filter(|info| !info.id.is_binary());
            // No column holds characters that its set lacks.
            let held = |info: &&CollationInfo| s.chars().chain(t.chars()).all(|c| info.charset.has(c));
            for info in texts().filter(held) {
                let sql_type = SqlType::VarChar { length: 9, collation: info.id };
                check(Value::text(&*s), Value::text(&*t), &sql_type);
            }
            let at = |n: u64| DateTime {
                date: Date::from_days((n % 3_000_000) as i64 + 400).unwrap(),
                micros: (n / 7 % 86_400_000_000) as i64,
            };
            check(Value::DateTime(at(c)), Value::DateTime(at(d)), &SqlType::DateTime { fsp: 6 });
            check(Value::Date(at(c).date), Value::Date(at(d).date), &SqlType::Date);
            let time = |n: i64| Value::Time(Time { micros: n % 3_000_000_000_000 });
            check(time(a), time(b), &SqlType::Time { fsp: 6 });
            check(
                Value::Bytes(s.clone().into()),
                Value::Bytes(t.clone().into()),
                &SqlType::VarBinary { length: 99 },
            );
        }
    }
}
