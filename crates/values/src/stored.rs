//! The stored form of values: what rows are made of. The type is known when it is read, so nothing of it is
//! repeated; the form of each type is fixed for ever.
//!
//! | type | bytes |
//! |---|---|
//! | integers, YEAR, BIT, SET | varint (signed: zigzag) |
//! | FLOAT, DOUBLE | IEEE bits |
//! | DECIMAL | scale, then two's complement with its length in front |
//! | strings | length, bytes |
//! | DATE | varint of year, month and day |
//! | TIME, DATETIME, TIMESTAMP | zigzag of microseconds; DATETIME has its date before |
//! | ENUM | varint of the index |
//! | JSON | a tag per value, then the value |
//!
//! NULL is not among them: rows mark it elsewhere.

use crate::json::Json;
use crate::{Date, DateTime, Decimal, SqlType, Text, Time, Value, store};
use assize_codec::{DecodeError, Put, Reader};

/// Appends a value that [`store::store`] made for this type. NULL appends nothing.
#[inline]
pub fn encode_value(value: &Value, sql_type: &SqlType, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Int(number) => out.put_zigzag(*number),
        Value::UInt(number) => {
            if let SqlType::Int(int) = sql_type
                && !int.unsigned
            {
                return out.put_zigzag(*number as i64);
            }
            out.put_varint(*number);
        }
        Value::Bit(bits) => out.put_varint(*bits),
        Value::Float(number) => out.put_u32(number.to_bits()),
        Value::Double(number) => out.put_f64(*number),
        Value::Decimal(number) => put_decimal(number, out),
        Value::Text(text) => out.put_bytes(text.bytes()),
        Value::Bytes(bytes) => out.put_bytes(bytes),
        Value::Date(date) => put_date(*date, out),
        Value::Time(time) => out.put_zigzag(time.micros),
        Value::DateTime(at) => {
            put_date(at.date, out);
            out.put_varint(at.micros as u64);
        }
        Value::Timestamp(micros) => out.put_zigzag(*micros),
        Value::Enum(index, _) => out.put_varint((*index).into()),
        Value::Set(bits, _) => out.put_varint(*bits),
        Value::Json(json) => put_json(json, out),
    }
}

fn put_decimal(number: &Decimal, out: &mut Vec<u8>) {
    out.put_u8(number.scale());
    out.put_bytes(&number.unscaled_bytes());
}

fn decimal(reader: &mut Reader<'_>) -> Result<Decimal, DecodeError> {
    let scale = reader.u8()?;
    let bytes = reader.bytes()?;
    if scale > 72 || bytes.is_empty() || bytes.len() > 64 {
        return Err(reader.bad("decimal", scale.into()));
    }
    Ok(Decimal::from_unscaled_bytes(bytes, scale))
}

fn put_date(date: Date, out: &mut Vec<u8>) {
    out.put_varint(u64::from(date.year) << 9 | u64::from(date.month) << 5 | u64::from(date.day));
}

fn date(reader: &mut Reader<'_>) -> Result<Date, DecodeError> {
    let packed = reader.varint()?;
    let date = Date::new((packed >> 9) as u16, (packed >> 5 & 15) as u8, (packed & 31) as u8);
    if packed >> 9 > 9999 || date.month > 12 {
        return Err(reader.bad("date", packed));
    }
    Ok(date)
}

/// Reads a value of this type.
#[inline]
pub fn decode_value(sql_type: &SqlType, reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
    Ok(match sql_type {
        SqlType::Null => Value::Null,
        SqlType::Int(int) if int.unsigned => Value::UInt(reader.varint()?),
        SqlType::Int(_) => Value::Int(reader.zigzag()?),
        SqlType::Year => Value::UInt(reader.varint()?),
        SqlType::Float { .. } => Value::Float(f32::from_bits(reader.u32()?)),
        SqlType::Double { .. } => Value::Double(reader.f64()?),
        SqlType::Decimal { .. } => Value::Decimal(decimal(reader)?),
        SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::Text { .. } => {
            let at = reader.at();
            match Text::from_utf8(reader.shared_bytes()?) {
                Ok(text) => Value::Text(text),
                Err(_) => return Err(DecodeError::NotUtf8 { at }),
            }
        }
        SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Blob { .. } => {
            Value::Bytes(reader.shared_bytes()?)
        }
        SqlType::Date => Value::Date(date(reader)?),
        SqlType::Time { .. } => {
            let micros = reader.zigzag()?;
            if micros.unsigned_abs() > 839 * 3_600_000_000 {
                return Err(reader.bad("time", micros as u64));
            }
            Value::Time(Time { micros })
        }
        SqlType::DateTime { .. } => {
            let date = date(reader)?;
            let micros = reader.varint()?;
            if micros >= crate::temporal::DAY as u64 {
                return Err(reader.bad("time of day", micros));
            }
            Value::DateTime(DateTime { date, micros: micros as i64 })
        }
        SqlType::Timestamp { .. } => Value::Timestamp(reader.zigzag()?),
        SqlType::Bit { .. } => Value::Bit(reader.varint()?),
        SqlType::Enum { labels, .. } => {
            let index = reader.varint()?;
            match (index, index.checked_sub(1).and_then(|at| labels.get(usize::try_from(at).ok()?))) {
                (0, _) => Value::Enum(0, "".into()),
                (_, Some(label)) => Value::Enum(index as u16, label.clone()),
                _ => return Err(reader.bad("index of an ENUM", index)),
            }
        }
        SqlType::Set { labels, .. } => store::set_value(reader.varint()?, labels),
        SqlType::Json => Value::Json(json(reader, 0)?.into()),
    })
}

const JSON_NULL: u8 = 0;
const JSON_FALSE: u8 = 1;
const JSON_TRUE: u8 = 2;
const JSON_INT: u8 = 3;
const JSON_UINT: u8 = 4;
const JSON_DOUBLE: u8 = 5;
const JSON_DECIMAL: u8 = 6;
const JSON_STRING: u8 = 7;
const JSON_ARRAY: u8 = 8;
const JSON_OBJECT: u8 = 9;
const JSON_DATE: u8 = 10;
const JSON_TIME: u8 = 11;
const JSON_DATETIME: u8 = 12;

fn put_json(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Null => out.put_u8(JSON_NULL),
        Json::Bool(false) => out.put_u8(JSON_FALSE),
        Json::Bool(true) => out.put_u8(JSON_TRUE),
        Json::Int(number) => {
            out.put_u8(JSON_INT);
            out.put_zigzag(*number);
        }
        Json::UInt(number) => {
            out.put_u8(JSON_UINT);
            out.put_varint(*number);
        }
        Json::Double(number) => {
            out.put_u8(JSON_DOUBLE);
            out.put_f64(*number);
        }
        Json::Decimal(number) => {
            out.put_u8(JSON_DECIMAL);
            put_decimal(number, out);
        }
        Json::String(text) => {
            out.put_u8(JSON_STRING);
            out.put_str(text);
        }
        Json::Array(items) => {
            out.put_u8(JSON_ARRAY);
            out.put_varint(items.len() as u64);
            items.iter().for_each(|item| put_json(item, out));
        }
        Json::Object(members) => {
            out.put_u8(JSON_OBJECT);
            out.put_varint(members.len() as u64);
            for (key, value) in members {
                out.put_str(key);
                put_json(value, out);
            }
        }
        Json::Date(date) => {
            out.put_u8(JSON_DATE);
            put_date(*date, out);
        }
        Json::Time(time) => {
            out.put_u8(JSON_TIME);
            out.put_zigzag(time.micros);
        }
        Json::DateTime(at) => {
            out.put_u8(JSON_DATETIME);
            put_date(at.date, out);
            out.put_varint(at.micros as u64);
        }
    }
}

fn json(reader: &mut Reader<'_>, depth: usize) -> Result<Json, DecodeError> {
    if depth > crate::json::MAX_DEPTH {
        return Err(reader.bad("depth of a JSON document", depth as u64));
    }
    Ok(match reader.u8()? {
        JSON_NULL => Json::Null,
        JSON_FALSE => Json::Bool(false),
        JSON_TRUE => Json::Bool(true),
        JSON_INT => Json::Int(reader.zigzag()?),
        JSON_UINT => Json::UInt(reader.varint()?),
        JSON_DOUBLE => Json::Double(reader.f64()?),
        JSON_DECIMAL => Json::Decimal(decimal(reader)?),
        JSON_STRING => Json::String(reader.str()?.to_owned()),
        JSON_ARRAY => {
            let count = reader.count(1)?;
            Json::Array((0..count).map(|_| json(reader, depth + 1)).collect::<Result<_, _>>()?)
        }
        JSON_OBJECT => {
            let count = reader.count(2)?;
            let member = |_| Ok((reader.str()?.to_owned(), json(reader, depth + 1)?));
            Json::Object((0..count).map(member).collect::<Result<_, DecodeError>>()?)
        }
        JSON_DATE => Json::Date(date(reader)?),
        JSON_TIME => Json::Time(Time { micros: reader.zigzag()? }),
        JSON_DATETIME => {
            let date = date(reader)?;
            Json::DateTime(DateTime { date, micros: (reader.varint()? % 86_400_000_000) as i64 })
        }
        tag => return Err(reader.bad("tag of a JSON value", tag.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collation, IntWidth};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn round_trip(value: Value, sql_type: SqlType) {
        let mut out = vec![];
        encode_value(&value, &sql_type, &mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(decode_value(&sql_type, &mut reader), Ok(value));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn the_bytes_of_each_type_never_change() {
        let text = SqlType::VarChar { length: 9, collation: Collation::default() };
        let json = Json::parse(r#"{"a": [1, null, true], "b": "x"}"#).unwrap();
        for (value, sql_type, expected) in [
            (Value::Int(-3), SqlType::INT, "05"),
            (Value::UInt(300), SqlType::BIGINT_UNSIGNED, "ac02"),
            (Value::text("ab"), text, "026162"),
            (
                Value::Decimal(Decimal::parse("-1.50").unwrap()),
                SqlType::Decimal { precision: 10, scale: 2, unsigned: false },
                "0202ff6a",
            ),
            (Value::Date(Date::new(2026, 11, 20)), SqlType::Date, "f4aa3f"),
            (Value::Timestamp(1_000_000), SqlType::Timestamp { fsp: 0 }, "80897a"),
            (Value::Json(json.into()), SqlType::Json, "090201610803030200020162070178"),
        ] {
            let mut out = vec![];
            encode_value(&value, &sql_type, &mut out);
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{value:?}");
            round_trip(value, sql_type);
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read(a: i64, b: u64, c: i128, scale in 0u8..30, d: u64, text: String, bytes: Vec<u8>) {
            round_trip(Value::Int(a), SqlType::BIGINT);
            round_trip(Value::UInt(b), SqlType::BIGINT_UNSIGNED);
            round_trip(Value::UInt(b & 0xff), SqlType::int(IntWidth::Tiny, true));
            let decimal = SqlType::Decimal { precision: 65, scale, unsigned: false };
            round_trip(Value::Decimal(Decimal::new(c, scale)), decimal);
            if !f64::from_bits(d).is_nan() {
                round_trip(Value::Double(f64::from_bits(d)), SqlType::DOUBLE);
            }
            round_trip(Value::Bit(b), SqlType::Bit { length: 64 });
            let varchar = SqlType::VarChar { length: 99, collation: Collation::default() };
            round_trip(Value::text(text), varchar);
            round_trip(Value::Bytes(Bytes::from(bytes)), SqlType::VarBinary { length: 999 });
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let labels: std::sync::Arc<[std::sync::Arc<str>]> = vec!["a".into(), "b".into()].into();
            let collation = Collation::default();
            for sql_type in [
                SqlType::BIGINT,
                SqlType::Decimal { precision: 10, scale: 2, unsigned: false },
                SqlType::VarChar { length: 9, collation },
                SqlType::Date,
                SqlType::Time { fsp: 6 },
                SqlType::DateTime { fsp: 6 },
                SqlType::Timestamp { fsp: 6 },
                SqlType::Enum { labels: labels.clone(), collation },
                SqlType::Set { labels: labels.clone(), collation },
                SqlType::Json,
            ] {
                if let Ok(value) = decode_value(&sql_type, &mut Reader::new(&bytes)) {
                    let mut out = vec![];
                    crate::format::write_text(&value, &sql_type, &mut out);
                    crate::format::write_binary(&value, &sql_type, &mut out);
                    crate::key::encode_key(&value, &sql_type, false, None, &mut out);
                }
            }
        }
    }
}
