//! Values as text and as bytes of the binary protocol, and the character sets of both directions.

use crate::bytes::{put_lenenc_bytes, put_u16, put_u32};
use assize_model::SqlError;
use assize_ports::ResultColumn;
use assize_values::collation::{self, Charset};
use assize_values::{Date, DateTime, Decimal, IntWidth, SqlType, Time, Value, format};
use std::borrow::Cow;

/// The byte that stands for NULL in a text row.
const NULL: u8 = 0xfb;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A client's text as UTF-8, given `character_set_client`. Bytes of sets that are UTF-8 stay what they are, and the parser deals
/// with what is no text; in others what is no character becomes `?`.
pub fn decode(charset: Charset, bytes: &[u8]) -> Cow<'_, [u8]> {
    if !charset.is_foreign() || bytes.is_ascii() {
        return Cow::Borrowed(bytes);
    }
    match collation::decode_lossy(bytes, charset) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Text as the client wants it, given `character_set_results`; what the set lacks becomes `?`.
pub(crate) fn encode(charset: Charset, text: &str) -> Cow<'_, [u8]> {
    collation::encode(text, charset).0
}

/// Appends a value of a text row.
pub(crate) fn put_text_cell(out: &mut Vec<u8>, value: &Value, sql_type: &SqlType, charset: Charset) {
    match value {
        Value::Null => out.push(NULL),
        Value::Text(text) => put_lenenc_bytes(out, &encode(charset, text.as_str())),
        Value::Bytes(bytes) => put_lenenc_bytes(out, bytes),
        Value::Enum(_, label) | Value::Set(_, label) => put_lenenc_bytes(out, &encode(charset, label)),
        _ => with_length(out, |out| format::write_text(value, sql_type, out)),
    }
}

/// Appends what `put` appends, behind its length. Nearly everything is shorter than 251 bytes.
fn with_length(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    put(out);
    let length = out.len() - at - 1;
    if length <= 0xfa {
        out[at] = length as u8;
    } else {
        let body = out.split_off(at + 1);
        out.truncate(at);
        put_lenenc_bytes(out, &body);
    }
}

/// TIMESTAMP as stored, shown in UTC. Sessions show their own zone, and hand over DATETIME values.
fn stored_timestamp(micros: i64) -> DateTime {
    if micros == i64::MIN { DateTime::default() } else { DateTime::from_micros(micros).unwrap_or_default() }
}

/// Appends a value of a binary row; the value is not NULL.
pub(crate) fn put_binary_cell(
    out: &mut Vec<u8>,
    value: &Value,
    column: &ResultColumn,
    charset: Charset,
) -> Result<(), SqlError> {
    match &column.sql_type {
        SqlType::Int(int) => {
            let bytes = integer(value, column)?.to_le_bytes();
            let width = match int.width {
                IntWidth::Tiny => 1,
                IntWidth::Small => 2,
                IntWidth::Medium | IntWidth::Int => 4,
                IntWidth::Big => 8,
            };
            out.extend_from_slice(&bytes[..width]);
        }
        SqlType::Year => out.extend_from_slice(&integer(value, column)?.to_le_bytes()[..2]),
        SqlType::Float { .. } => out.extend_from_slice(&(float(value, column)? as f32).to_le_bytes()),
        SqlType::Double { .. } => out.extend_from_slice(&float(value, column)?.to_le_bytes()),
        SqlType::Date => match value {
            Value::Date(date) => put_binary_date(out, DateTime { date: *date, micros: 0 }, true),
            Value::DateTime(at) => put_binary_date(out, DateTime { date: at.date, micros: 0 }, true),
            _ => return Err(mistyped(value, column)),
        },
        SqlType::DateTime { .. } | SqlType::Timestamp { .. } => match value {
            Value::Date(date) => put_binary_date(out, DateTime { date: *date, micros: 0 }, false),
            Value::DateTime(at) => put_binary_date(out, *at, false),
            Value::Timestamp(micros) => put_binary_date(out, stored_timestamp(*micros), false),
            _ => return Err(mistyped(value, column)),
        },
        SqlType::Time { .. } => match value {
            Value::Time(time) => put_binary_time(out, *time),
            _ => return Err(mistyped(value, column)),
        },
        sql_type => put_text_cell(out, value, sql_type, charset),
    }
    Ok(())
}

/// The low 64 bits of an integer value.
fn integer(value: &Value, column: &ResultColumn) -> Result<u64, SqlError> {
    match value {
        Value::Int(n) => Ok(*n as u64),
        Value::UInt(n) | Value::Bit(n) => Ok(*n),
        Value::Enum(index, _) => Ok(u64::from(*index)),
        Value::Set(bits, _) => Ok(*bits),
        Value::Decimal(n) => Ok(n.to_i128() as u64),
        _ => Err(mistyped(value, column)),
    }
}

fn float(value: &Value, column: &ResultColumn) -> Result<f64, SqlError> {
    match value {
        Value::Int(n) => Ok(*n as f64),
        Value::UInt(n) => Ok(*n as f64),
        Value::Float(n) => Ok(f64::from(*n)),
        Value::Double(n) => Ok(*n),
        Value::Decimal(n) => Ok(Decimal::to_f64(n)),
        _ => Err(mistyped(value, column)),
    }
}

/// A value that does not have its column's type would be misread by the client: a defect of ours.
fn mistyped(value: &Value, column: &ResultColumn) -> SqlError {
    SqlError::internal(format_args!("column '{}' is {:?} and holds {value:?}", column.name, column.sql_type))
}

fn put_binary_date(out: &mut Vec<u8>, at: DateTime, date_only: bool) {
    let (seconds, micros) = (at.micros / MICROS_PER_SECOND, at.micros % MICROS_PER_SECOND);
    let length = match (at.date.is_zero(), seconds, micros) {
        (true, 0, 0) => 0,
        (_, 0, 0) => 4,
        (_, _, 0) => 7,
        _ => 11,
    };
    debug_assert!(!date_only || length <= 4);
    out.push(length);
    if length == 0 {
        return;
    }
    let Date { year, month, day } = at.date;
    put_u16(out, year);
    out.extend_from_slice(&[month, day]);
    if length >= 7 {
        out.extend_from_slice(&[(seconds / 3600) as u8, (seconds / 60 % 60) as u8, (seconds % 60) as u8]);
    }
    if length == 11 {
        put_u32(out, micros as u32);
    }
}

fn put_binary_time(out: &mut Vec<u8>, time: Time) {
    let size = time.micros.unsigned_abs() as i64;
    let micros = size % MICROS_PER_SECOND;
    if size == 0 {
        return out.push(0);
    }
    out.push(if micros == 0 { 8 } else { 12 });
    out.push(u8::from(time.micros < 0));
    put_u32(out, (size / MICROS_PER_DAY) as u32);
    let seconds = size % MICROS_PER_DAY / MICROS_PER_SECOND;
    out.extend_from_slice(&[(seconds / 3600) as u8, (seconds / 60 % 60) as u8, (seconds % 60) as u8]);
    if micros != 0 {
        put_u32(out, micros as u32);
    }
}

/// Appends a default value of COM_FIELD_LIST.
pub(crate) fn put_default(out: &mut Vec<u8>, default: Option<&str>) {
    match default {
        Some(text) => put_lenenc_bytes(out, text.as_bytes()),
        None => out.push(NULL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_values::{Collation, IntType};

    fn text_of(value: Value, sql_type: SqlType) -> Vec<u8> {
        let mut out = Vec::new();
        put_text_cell(&mut out, &value, &sql_type, Charset::Utf8mb4);
        out
    }

    fn binary_of(value: Value, sql_type: SqlType) -> Vec<u8> {
        let column = crate::column::plain("c", sql_type);
        let mut out = Vec::new();
        put_binary_cell(&mut out, &value, &column, Charset::Utf8mb4).unwrap();
        out
    }

    const DATE: Date = Date { year: 2026, month: 11, day: 20 };

    #[test]
    fn text_follows_the_type() {
        let padded =
            SqlType::Int(IntType { width: IntWidth::Int, unsigned: true, zerofill: true, display: Some(5) });
        assert_eq!(text_of(Value::UInt(42), padded), b"\x0500042");
        assert_eq!(text_of(Value::UInt(0), SqlType::Year), b"\x040000");
        let decimal = SqlType::Decimal { precision: 10, scale: 2, unsigned: false };
        assert_eq!(text_of(Value::Int(7), decimal.clone()), b"\x047.00");
        assert_eq!(text_of(Value::Decimal(Decimal::parse("-1.5").unwrap()), decimal), b"\x05-1.50");
        assert_eq!(text_of(Value::Null, SqlType::INT), b"\xfb");
        assert_eq!(text_of(Value::Bit(5), SqlType::Bit { length: 9 }), b"\x02\x00\x05");
        assert_eq!(text_of(Value::Float(0.1), SqlType::Float { unsigned: false, digits: None }), b"\x030.1");
        let fixed = SqlType::Double { unsigned: false, digits: Some((8, 3)) };
        assert_eq!(text_of(Value::Double(2.5), fixed), b"\x052.500");
        let at = DateTime { date: DATE, micros: 3_661_500_000 };
        assert_eq!(text_of(Value::DateTime(at), SqlType::DateTime { fsp: 1 }), b"\x152026-11-20 01:01:01.5");
        assert_eq!(
            text_of(Value::Timestamp(i64::MIN), SqlType::Timestamp { fsp: 0 }),
            b"\x130000-00-00 00:00:00"
        );
    }

    #[test]
    fn long_text_has_a_long_length() {
        let json = assize_values::Json::String("x".repeat(300));
        let cell = text_of(Value::Json(json.into()), SqlType::Json);
        assert_eq!(&cell[..4], &[0xfc, 46, 1, b'"']);
        assert_eq!(cell.len(), 3 + 302);
    }

    #[test]
    fn binary_values_have_the_width_of_their_column() {
        let tiny = SqlType::Int(IntType {
            width: IntWidth::Tiny,
            unsigned: false,
            zerofill: false,
            display: Some(1),
        });
        assert_eq!(binary_of(Value::Int(-1), tiny), [0xff]);
        assert_eq!(binary_of(Value::Int(258), SqlType::INT), [2, 1, 0, 0]);
        assert_eq!(binary_of(Value::UInt(u64::MAX), SqlType::BIGINT_UNSIGNED), [0xff; 8]);
        assert_eq!(binary_of(Value::UInt(2026), SqlType::Year), [0xea, 7]);
        assert_eq!(binary_of(Value::Double(1.5), SqlType::DOUBLE), 1.5f64.to_le_bytes());
        let text = SqlType::VarChar { length: 5, collation: Collation::UTF8MB4_0900_AI_CI };
        assert_eq!(binary_of(Value::text("abc"), text), b"\x03abc");
    }

    #[test]
    fn binary_times_are_as_short_as_they_can_be() {
        let datetime = SqlType::DateTime { fsp: 6 };
        assert_eq!(binary_of(Value::DateTime(DateTime::default()), datetime.clone()), [0]);
        let at = |micros| Value::DateTime(DateTime { date: DATE, micros });
        assert_eq!(binary_of(at(0), datetime.clone()), [4, 0xea, 7, 11, 20]);
        assert_eq!(binary_of(at(3_661_000_000), datetime.clone()), [7, 0xea, 7, 11, 20, 1, 1, 1]);
        assert_eq!(binary_of(at(1), datetime), [11, 0xea, 7, 11, 20, 0, 0, 0, 1, 0, 0, 0]);
        let time = SqlType::Time { fsp: 0 };
        assert_eq!(binary_of(Value::Time(Time { micros: 0 }), time.clone()), [0]);
        let minus = Time { micros: -(25 * 3600 + 61) * MICROS_PER_SECOND };
        assert_eq!(binary_of(Value::Time(minus), time), [8, 1, 1, 0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn a_mistyped_value_is_told_and_not_sent() {
        let column = crate::column::plain("c", SqlType::INT);
        let error = put_binary_cell(&mut Vec::new(), &Value::text("x"), &column, Charset::Utf8mb4);
        assert!(error.unwrap_err().message.contains("column 'c'"));
    }

    #[test]
    fn character_sets_are_converted_at_the_edge() {
        assert_eq!(&*encode(Charset::Latin1, "né€☃"), b"n\xe9\x80?");
        assert_eq!(&*decode(Charset::Latin1, b"n\xe9\x80"), "né€".as_bytes());
        assert_eq!(&*encode(Charset::Ascii, "né"), b"n?");
        assert_eq!(&*encode(Charset::Utf8mb3, "é😀"), "é?".as_bytes());
        assert_eq!(&*encode(Charset::Utf8mb4, "😀"), "😀".as_bytes());
        assert_eq!(&*decode(Charset::Utf8mb4, b"\xff"), b"\xff");
        assert_eq!(&*decode(Charset::Koi8r, b"\xf0\xd2'"), "Пр'".as_bytes());
        // The second byte of a character is no backslash and no quote.
        assert_eq!(&*decode(Charset::Sjis, b"'\x95\x5c'"), "'表'".as_bytes());
        assert_eq!(&*decode(Charset::Gbk, b"'\xbf\x27"), "'?'".as_bytes());
        assert_eq!(&*decode(Charset::Cp1251, b"a\x98b"), b"a?b");
    }
}
