use super::*;
use crate::{BlobSize, IntWidth, TimeZone};
use proptest::prelude::*;

const CI: Collation = Collation::UTF8MB4_0900_AI_CI;

fn context(strict: bool) -> EvalContext {
    let sql_mode = if strict { SqlMode::DEFAULT } else { SqlMode(0) };
    EvalContext { sql_mode, writing: true, ..EvalContext::default() }
}

/// What storing answers: the value's text, then the warnings; or the error's number and text.
fn outcome(value: Value, to: &SqlType, strict: bool) -> String {
    let mut ctx = context(strict);
    let place = ColumnPlace { name: "c", row: 1 };
    match store(&value, &SqlType::Null, to, &place, &mut ctx) {
        Ok(stored) => {
            let mut line = match &stored {
                Value::Null => "NULL".to_owned(),
                stored => format::to_string(stored, to),
            };
            for warning in &ctx.warnings {
                line += &format!(" | {} {}", warning.code.errno(), warning.message);
            }
            line
        }
        Err(error) => format!("ERROR {} {}", error.code.errno(), error.message),
    }
}

fn varchar(length: u32) -> SqlType {
    SqlType::VarChar { length, collation: CI }
}

fn labels(list: &[&str]) -> Arc<[Arc<str>]> {
    list.iter().map(|label| Arc::from(*label)).collect()
}

#[test]
fn strict_mode_refuses_what_does_not_fit() {
    let tiny = SqlType::int(IntWidth::Tiny, false);
    let decimal = SqlType::Decimal { precision: 5, scale: 2, unsigned: false };
    let latin1 = SqlType::VarChar { length: 9, collation: Collation(8) };
    let colour = SqlType::Enum { labels: labels(&["red", "green"]), collation: CI };
    for (value, to, expected) in [
        (Value::Int(300), &tiny, "ERROR 1264 Out of range value for column 'c' at row 1"),
        (Value::text("abc"), &tiny, "ERROR 1366 Incorrect integer value: 'abc' for column 'c' at row 1"),
        (Value::text("12abc"), &tiny, "ERROR 1265 Data truncated for column 'c' at row 1"),
        (Value::text("1.5"), &tiny, "2"),
        (Value::text(" 7 "), &tiny, "7"),
        (Value::text("abcd"), &varchar(3), "ERROR 1406 Data too long for column 'c' at row 1"),
        (Value::text("abc  "), &varchar(3), "abc | 1265 Data truncated for column 'c' at row 1"),
        (Value::text("ab  "), &SqlType::Char { length: 3, collation: CI }, "ab"),
        (Value::text("999.999"), &decimal, "ERROR 1264 Out of range value for column 'c' at row 1"),
        (Value::text("x"), &decimal, "ERROR 1366 Incorrect decimal value: 'x' for column 'c' at row 1"),
        (Value::text("1.005"), &decimal, "1.01 | 1265 Data truncated for column 'c' at row 1"),
        (
            Value::text("2026-02-30"),
            &SqlType::Date,
            "ERROR 1292 Incorrect date value: '2026-02-30' for column 'c' at row 1",
        ),
        (
            Value::text("0000-00-00"),
            &SqlType::Date,
            "ERROR 1292 Incorrect date value: '0000-00-00' for column 'c' at row 1",
        ),
        (
            Value::text("x"),
            &SqlType::DateTime { fsp: 0 },
            "ERROR 1292 Incorrect datetime value: 'x' for column 'c' at row 1",
        ),
        (Value::text("2026-11-20 10:00:00.6"), &SqlType::DateTime { fsp: 0 }, "2026-11-20 10:00:01"),
        (
            Value::text("2039-01-01"),
            &SqlType::Timestamp { fsp: 0 },
            "ERROR 1292 Incorrect datetime value: '2039-01-01' for column 'c' at row 1",
        ),
        (
            Value::text("900:00:00"),
            &SqlType::Time { fsp: 0 },
            "ERROR 1292 Incorrect time value: '900:00:00' for column 'c' at row 1",
        ),
        (Value::text("69"), &SqlType::Year, "2069"),
        (Value::text("0"), &SqlType::Year, "2000"),
        (Value::Int(0), &SqlType::Year, "0000"),
        (Value::Int(1900), &SqlType::Year, "ERROR 1264 Out of range value for column 'c' at row 1"),
        (Value::text("GREEN"), &colour, "green"),
        (Value::Int(1), &colour, "red"),
        (Value::text("blue"), &colour, "ERROR 1265 Data truncated for column 'c' at row 1"),
        (
            Value::text("ä😀"),
            &latin1,
            "ERROR 1366 Incorrect string value: '\\xF0\\x9F\\x98\\x80' for column 'c' at row 1",
        ),
        (
            Value::text("{"),
            &SqlType::Json,
            "ERROR 3140 Invalid JSON text: \"Missing a name for object member.\" at position 1 in value for column 'c'.",
        ),
        (Value::text("{\"b\":1,\"a\":2}"), &SqlType::Json, "{\"a\": 2, \"b\": 1}"),
        (Value::Int(4), &SqlType::Bit { length: 2 }, "ERROR 1406 Data too long for column 'c' at row 1"),
        (
            Value::Bytes(Bytes::from_static(b"\xff")),
            &varchar(3),
            "ERROR 1366 Incorrect string value: '\\xFF' for column 'c' at row 1",
        ),
        (Value::text("1e400"), &SqlType::DOUBLE, "ERROR 1264 Out of range value for column 'c' at row 1"),
    ] {
        assert_eq!(outcome(value.clone(), to, true), expected, "{value:?} into {to:?}");
    }
}

#[test]
fn without_it_values_are_clipped_with_a_warning() {
    let unsigned = SqlType::int(IntWidth::Tiny, true);
    let set = SqlType::Set { labels: labels(&["a", "b", "c"]), collation: CI };
    for (value, to, expected) in [
        (Value::Int(-1), &unsigned, "0 | 1264 Out of range value for column 'c' at row 1"),
        (Value::text("12abc"), &unsigned, "12 | 1265 Data truncated for column 'c' at row 1"),
        (Value::text("abcd"), &varchar(3), "abc | 1265 Data truncated for column 'c' at row 1"),
        (Value::text("x"), &SqlType::Date, "0000-00-00 | 1265 Data truncated for column 'c' at row 1"),
        (Value::text("0000-00-00"), &SqlType::Date, "0000-00-00"),
        (Value::text("c,A"), &set, "a,c"),
        (Value::text("a,x"), &set, "a | 1265 Data truncated for column 'c' at row 1"),
        (Value::Int(5), &set, "a,c"),
        (
            Value::text("x".repeat(300)),
            &SqlType::Text { size: BlobSize::Tiny, collation: CI },
            &format!("{} | 1265 Data truncated for column 'c' at row 1", "x".repeat(255)),
        ),
    ] {
        assert_eq!(outcome(value.clone(), to, false), expected, "{value:?} into {to:?}");
    }
}

#[test]
fn a_timestamp_is_a_moment() {
    let mut ctx = context(true);
    ctx.time_zone = TimeZone::parse("Europe/Berlin").unwrap();
    let place = ColumnPlace { name: "c", row: 1 };
    let to = SqlType::Timestamp { fsp: 0 };
    let stored = store(&Value::text("2026-07-01 12:00:00"), &SqlType::Null, &to, &place, &mut ctx).unwrap();
    assert_eq!(format::to_string(&stored, &to), "2026-07-01 10:00:00");
    // The hour that is left out in spring.
    let gap = store(&Value::text("2026-03-29 02:30:00"), &SqlType::Null, &to, &place, &mut ctx);
    assert_eq!(gap.unwrap_err().code.errno(), 1292);
}

proptest! {
    #[test]
    fn storing_text_anywhere_never_panics(text: String, near in "[-+0-9:. eT]{0,24}") {
        let types = [
            SqlType::BIGINT,
            SqlType::DOUBLE,
            SqlType::Decimal { precision: 20, scale: 5, unsigned: false },
            varchar(5),
            SqlType::Binary { length: 4 },
            SqlType::Date,
            SqlType::DateTime { fsp: 3 },
            SqlType::Timestamp { fsp: 6 },
            SqlType::Time { fsp: 0 },
            SqlType::Year,
            SqlType::Bit { length: 9 },
            SqlType::Enum { labels: labels(&["a"]), collation: CI },
            SqlType::Set { labels: labels(&["a"]), collation: CI },
            SqlType::Json,
        ];
        for to in &types {
            for strict in [true, false] {
                let _ = outcome(Value::text(&*text), to, strict);
                let once = outcome(Value::text(&*near), to, strict);
                // What was stored without a word is stored again as it is.
                if !once.contains(" | ") && !once.starts_with("ERROR") && !matches!(to, SqlType::Bit { .. }) {
                    prop_assert_eq!(outcome(Value::text(&*once), to, strict), once.clone());
                }
            }
        }
    }
}
