//! What a server sends, as values of the types that the table here has.

use assize_values::temporal::{DateRules, parse_datetime, parse_time};
use assize_values::{
    Collation, Date, DateTime, Decimal, IntType, IntWidth, Json, SqlType, Text, TimeZone, Value,
};
use bytes::Bytes;
use mysql_async::Value as Sent;
use std::sync::Arc;

/// What could not be a date there is none here either; what is one may have zeros in it.
const RULES: DateRules = DateRules::ANY;

/// The value that a cell is, of this type; or why it is none.
pub(crate) fn value_of(sent: Sent, sql_type: &SqlType) -> Result<Value, String> {
    let is_null = matches!(sent, Sent::NULL);
    if is_null {
        return Ok(Value::Null);
    }
    read(&sent, sql_type).ok_or_else(|| {
        format!("{} is no value of type {}", shown(&sent), assize_values::format::type_name(sql_type))
    })
}

/// A cell in words, cut short.
fn shown(sent: &Sent) -> String {
    const SHOWN_MAX: usize = 64;
    let text = sent.as_sql(false);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn read(sent: &Sent, sql_type: &SqlType) -> Option<Value> {
    Some(match sql_type {
        SqlType::Null => return None,
        SqlType::Int(int) => integer(sent, *int)?,
        SqlType::Year => Value::UInt(u64::try_from(whole(sent)?).ok().filter(|year| *year <= 2155)?),
        SqlType::Float { unsigned, .. } => {
            let number = match sent {
                Sent::Float(number) => *number,
                other => text(other)?.parse().ok()?,
            };
            Value::Float(Some(number).filter(|n| n.is_finite() && !(*unsigned && *n < 0.0))?)
        }
        SqlType::Double { unsigned, .. } => {
            let number = match sent {
                Sent::Double(number) => *number,
                Sent::Float(number) => f64::from(*number),
                other => text(other)?.parse().ok()?,
            };
            Value::Double(Some(number).filter(|n| n.is_finite() && !(*unsigned && *n < 0.0))?)
        }
        SqlType::Decimal { precision, scale, unsigned } => {
            let number = Decimal::parse(text(sent)?)?;
            let rounded = number.round(*scale);
            let fits = rounded.compare(&number).is_eq()
                && rounded.fits(*precision, *scale)
                && !(*unsigned && number.is_negative());
            Value::Decimal(Some(rounded).filter(|_| fits)?)
        }
        SqlType::Char { length, .. } | SqlType::VarChar { length, .. } => {
            let characters = text(sent)?.chars().count();
            Value::Text(owned_text(sent).filter(|_| characters <= *length as usize)?)
        }
        SqlType::Text { size, .. } => {
            Value::Text(owned_text(sent).filter(|text| text.len() as u64 <= bytes_max(*size))?)
        }
        SqlType::Binary { length } | SqlType::VarBinary { length } => {
            Value::Bytes(bytes(sent).filter(|bytes| bytes.len() <= *length as usize)?)
        }
        SqlType::Blob { size } => {
            Value::Bytes(bytes(sent).filter(|bytes| bytes.len() as u64 <= bytes_max(*size))?)
        }
        SqlType::Date => Value::Date(datetime(sent, 6).filter(|at| at.micros == 0)?.date),
        SqlType::DateTime { fsp } => Value::DateTime(datetime(sent, *fsp)?),
        SqlType::Timestamp { fsp } => Value::Timestamp(timestamp(datetime(sent, *fsp)?)?),
        SqlType::Time { fsp } => time(sent, *fsp)?,
        SqlType::Bit { length } => bits(sent, *length)?,
        SqlType::Enum { labels, collation } => label(text(sent)?, labels, *collation)?,
        SqlType::Set { labels, collation } => set(text(sent)?, labels, *collation)?,
        SqlType::Json => Value::Json(Arc::new(Json::parse(text(sent)?).ok()?)),
    })
}

fn bytes_max(size: assize_values::BlobSize) -> u64 {
    use assize_values::BlobSize::{Long, Medium, Normal, Tiny};
    match size {
        Tiny => (1 << 8) - 1,
        Normal => (1 << 16) - 1,
        Medium => (1 << 24) - 1,
        Long => (1 << 32) - 1,
    }
}

fn bytes(sent: &Sent) -> Option<Bytes> {
    match sent {
        Sent::Bytes(bytes) => Some(Bytes::copy_from_slice(bytes)),
        _ => None,
    }
}

fn text(sent: &Sent) -> Option<&str> {
    match sent {
        Sent::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn owned_text(sent: &Sent) -> Option<Text> {
    Text::from_utf8(bytes(sent)?).ok()
}

fn whole(sent: &Sent) -> Option<i128> {
    match sent {
        Sent::Int(number) => Some((*number).into()),
        Sent::UInt(number) => Some((*number).into()),
        other => text(other)?.parse().ok(),
    }
}

fn integer(sent: &Sent, int: IntType) -> Option<Value> {
    let number = whole(sent)?;
    let bits = match int.width {
        IntWidth::Tiny => 8,
        IntWidth::Small => 16,
        IntWidth::Medium => 24,
        IntWidth::Int => 32,
        IntWidth::Big => 64,
    };
    if int.unsigned {
        let fits = (0..1i128 << bits).contains(&number);
        return u64::try_from(number).ok().filter(|_| fits).map(Value::UInt);
    }
    let half = 1i128 << (bits - 1);
    i64::try_from(number).ok().filter(|_| (-half..half).contains(&number)).map(Value::Int)
}

/// Whether so many microseconds have no more places than these.
fn has_places(micros: i64, fsp: u8) -> bool {
    micros % 10i64.pow(6 - u32::from(fsp.min(6))) == 0
}

fn datetime(sent: &Sent, fsp: u8) -> Option<DateTime> {
    let at = match sent {
        Sent::Date(year, month, day, hour, minute, second, micros) => {
            let date = Date { year: *year, month: *month, day: *day };
            let seconds = (i64::from(*hour) * 60 + i64::from(*minute)) * 60 + i64::from(*second);
            DateTime { date, micros: seconds * 1_000_000 + i64::from(*micros) }
        }
        other => parse_datetime(text(other)?, RULES).filter(|parsed| !parsed.truncated)?.value,
    };
    Some(at).filter(|at| RULES.allow(at.date) && has_places(at.micros, fsp))
}

/// The zero timestamp is not a moment. Sessions there are in UTC.
fn timestamp(at: DateTime) -> Option<i64> {
    if at.is_zero() {
        return Some(i64::MIN);
    }
    (!at.date.has_zero_parts()).then(|| at.to_utc(&TimeZone::System).0)
}

fn time(sent: &Sent, fsp: u8) -> Option<Value> {
    let time = match sent {
        Sent::Time(is_negative, days, hours, minutes, seconds, micros) => {
            let hours = i64::from(*days) * 24 + i64::from(*hours);
            let all = ((hours * 60 + i64::from(*minutes)) * 60 + i64::from(*seconds)) * 1_000_000
                + i64::from(*micros);
            assize_values::Time { micros: if *is_negative { -all } else { all } }
        }
        other => parse_time(text(other)?).filter(|parsed| !parsed.truncated)?.value,
    };
    has_places(time.micros, fsp).then_some(Value::Time(time))
}

fn bits(sent: &Sent, length: u8) -> Option<Value> {
    let Sent::Bytes(bytes) = sent else { return None };
    let used = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]);
    let bits =
        (used.len() <= 8).then(|| used.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)))?;
    (length >= 64 || bits >> length == 0).then_some(Value::Bit(bits))
}

/// Labels compare as the column's collation has it; the letters are those of the definition here.
fn place_of(label: &str, labels: &[Arc<str>], collation: Collation) -> Option<usize> {
    let exact = labels.iter().position(|known| **known == *label);
    exact.or_else(|| labels.iter().position(|known| collation.compare(known, label).is_eq()))
}

fn label(label_sent: &str, labels: &[Arc<str>], collation: Collation) -> Option<Value> {
    match place_of(label_sent, labels, collation) {
        Some(at) => Some(Value::Enum(u16::try_from(at + 1).ok()?, labels[at].clone())),
        // The empty error value.
        None => label_sent.is_empty().then(|| Value::Enum(0, "".into())),
    }
}

fn set(text: &str, labels: &[Arc<str>], collation: Collation) -> Option<Value> {
    let mut bits = 0u64;
    for label in text.split(',').filter(|label| !label.is_empty()) {
        bits |= 1u64.checked_shl(u32::try_from(place_of(label, labels, collation)?).ok()?)?;
    }
    Some(assize_values::store::set_value(bits, labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_values::BlobSize;

    const TEXTS: Collation = Collation::UTF8MB4_0900_AI_CI;

    fn of(text: &str, sql_type: SqlType) -> Option<Value> {
        value_of(Sent::Bytes(text.into()), &sql_type).ok()
    }

    fn int(width: IntWidth, unsigned: bool) -> SqlType {
        SqlType::Int(IntType { width, unsigned, zerofill: false, display: None })
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(of("-128", int(IntWidth::Tiny, false)), Some(Value::Int(-128)));
        assert_eq!(of("128", int(IntWidth::Tiny, false)), None);
        assert_eq!(of("18446744073709551615", int(IntWidth::Big, true)), Some(Value::UInt(u64::MAX)));
        assert_eq!(of("18446744073709551616", int(IntWidth::Big, true)), None);
        assert_eq!(of("-1", int(IntWidth::Int, true)), None);
        assert_eq!(of("16777215", int(IntWidth::Medium, true)), Some(Value::UInt(16_777_215)));
        assert_eq!(of("1x", int(IntWidth::Int, false)), None);
        let decimal = |unsigned| SqlType::Decimal { precision: 5, scale: 2, unsigned };
        assert_eq!(of("-123.45", decimal(false)), Decimal::parse("-123.45").map(Value::Decimal));
        assert_eq!(of("7", decimal(false)), Decimal::parse("7.00").map(Value::Decimal));
        for wrong in ["1234.00", "1.005", "abc", ""] {
            assert_eq!(of(wrong, decimal(false)), None, "{wrong}");
        }
        assert_eq!(of("-1.00", decimal(true)), None);
        let double = SqlType::Double { unsigned: false, digits: None };
        assert_eq!(of("0.1", double.clone()), Some(Value::Double(0.1)));
        assert_eq!(of("1.7976931348623157e308", double.clone()), Some(Value::Double(f64::MAX)));
        assert_eq!(of("inf", double), None);
        let float = SqlType::Float { unsigned: false, digits: None };
        assert_eq!(value_of(Sent::Float(0.1), &float), Ok(Value::Float(0.1)));
        assert_eq!(of("1999", SqlType::Year), Some(Value::UInt(1999)));
        assert_eq!(of("0000", SqlType::Year), Some(Value::UInt(0)));
        assert_eq!(value_of(Sent::NULL, &SqlType::Year), Ok(Value::Null));
    }

    #[test]
    fn dates_and_times_are_read_exactly_or_not_at_all() {
        let date = |year, month, day| Date { year, month, day };
        assert_eq!(of("2024-02-29", SqlType::Date), Some(Value::Date(date(2024, 2, 29))));
        assert_eq!(of("0000-00-00", SqlType::Date), Some(Value::Date(date(0, 0, 0))));
        assert_eq!(of("2024-00-00", SqlType::Date), Some(Value::Date(date(2024, 0, 0))));
        assert_eq!(of("2024-02-30", SqlType::Date), None);
        assert_eq!(of("2024-02-29 10:00:00", SqlType::Date), None, "that is more than a date");
        let at = DateTime { date: date(2024, 2, 29), micros: 86_399_999_999 };
        assert_eq!(of("2024-02-29 23:59:59.999999", SqlType::DateTime { fsp: 6 }), Some(Value::DateTime(at)));
        assert_eq!(of("2024-02-29 23:59:59.999999", SqlType::DateTime { fsp: 3 }), None);
        assert_eq!(
            value_of(Sent::Date(2024, 2, 29, 23, 59, 59, 999_999), &SqlType::DateTime { fsp: 6 }),
            Ok(Value::DateTime(at))
        );
        assert_eq!(
            of("1970-01-01 00:00:01.5", SqlType::Timestamp { fsp: 1 }),
            Some(Value::Timestamp(1_500_000))
        );
        assert_eq!(
            of("0000-00-00 00:00:00", SqlType::Timestamp { fsp: 0 }),
            Some(Value::Timestamp(i64::MIN))
        );
        let micros = |text| match of(text, SqlType::Time { fsp: 6 }) {
            Some(Value::Time(time)) => Some(time.micros),
            _ => None,
        };
        assert_eq!(micros("-838:59:59.000000"), Some(-(838 * 3600 + 59 * 60 + 59) * 1_000_000));
        assert_eq!(micros("25:00:00.000001"), Some(25 * 3_600_000_000 + 1));
        assert_eq!(micros("839:00:00"), None, "beyond what TIME holds");
        let time = value_of(Sent::Time(true, 1, 1, 0, 0, 1), &SqlType::Time { fsp: 6 });
        assert_eq!(time, Ok(Value::Time(assize_values::Time { micros: -(25 * 3_600_000_000 + 1) })));
    }

    #[test]
    fn texts_bytes_and_labels_are_read_exactly_or_not_at_all() {
        let varchar = SqlType::VarChar { length: 3, collation: TEXTS };
        assert_eq!(of("äöü", varchar.clone()), Some(Value::text("äöü")));
        assert_eq!(of("äöü!", varchar.clone()), None);
        assert_eq!(value_of(Sent::Bytes(vec![0xff]), &varchar).ok(), None, "no UTF-8");
        let tiny = SqlType::Text { size: BlobSize::Tiny, collation: TEXTS };
        assert_eq!(of(&"x".repeat(256), tiny), None);
        let binary = SqlType::VarBinary { length: 2 };
        assert_eq!(
            value_of(Sent::Bytes(vec![0, 0xff]), &binary),
            Ok(Value::Bytes(Bytes::from_static(&[0, 0xff])))
        );
        assert_eq!(of("abc", binary), None);
        assert_eq!(value_of(Sent::Bytes(vec![0, 1, 1]), &SqlType::Bit { length: 9 }), Ok(Value::Bit(257)));
        assert_eq!(value_of(Sent::Bytes(vec![2, 1]), &SqlType::Bit { length: 9 }).ok(), None);
        let labels: Arc<[Arc<str>]> = ["small".into(), "Large".into()].into();
        let enumeration = SqlType::Enum { labels: labels.clone(), collation: TEXTS };
        assert_eq!(of("Large", enumeration.clone()), Some(Value::Enum(2, "Large".into())));
        assert_eq!(of("large", enumeration.clone()), Some(Value::Enum(2, "Large".into())));
        assert_eq!(of("", enumeration.clone()), Some(Value::Enum(0, "".into())));
        assert_eq!(of("huge", enumeration), None);
        let set = SqlType::Set { labels, collation: TEXTS };
        assert_eq!(of("Large,small", set.clone()), Some(Value::Set(3, "small,Large".into())));
        assert_eq!(of("", set.clone()), Some(Value::Set(0, "".into())));
        assert_eq!(of("small,huge", set), None);
        assert_eq!(
            of("{\"a\": [1, null]}", SqlType::Json)
                .map(|json| assize_values::format::to_string(&json, &SqlType::Json)),
            Some("{\"a\": [1, null]}".to_owned())
        );
        assert_eq!(of("{", SqlType::Json), None);
    }

    #[test]
    fn what_does_not_fit_is_named_and_cut_short() {
        let why = value_of(Sent::Bytes(vec![b'9'; 500]), &int(IntWidth::Int, false)).unwrap_err();
        assert!(why.ends_with("… is no value of type int") && why.len() < 120, "{why}");
    }
}
