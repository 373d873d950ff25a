//! Values outside of rows: defaults and global variables say themselves of what kind they are.

use assize_codec::{DecodeError, Put, Reader};
use assize_values::{Date, DateTime, Decimal, Text, Time, Value};
use bytes::Bytes;
use std::sync::Arc;

/// Appends a value with its kind. JSON documents are neither defaults nor variables; one would be kept as NULL.
pub(crate) fn put_tagged(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null | Value::Json(_) => out.put_u8(0),
        Value::Int(n) => {
            out.put_u8(1);
            out.put_zigzag(*n);
        }
        Value::UInt(n) => {
            out.put_u8(2);
            out.put_varint(*n);
        }
        Value::Float(n) => {
            out.put_u8(3);
            out.put_u32(n.to_bits());
        }
        Value::Double(n) => {
            out.put_u8(4);
            out.put_f64(*n);
        }
        Value::Decimal(n) => {
            out.put_u8(5);
            let mut text = Vec::new();
            n.write(n.scale(), &mut text);
            out.put_bytes(&text);
        }
        Value::Text(text) => {
            out.put_u8(6);
            out.put_str(text);
        }
        Value::Bytes(bytes) => {
            out.put_u8(7);
            out.put_bytes(bytes);
        }
        Value::Date(date) => {
            out.put_u8(8);
            put_date(out, *date);
        }
        Value::Time(time) => {
            out.put_u8(9);
            out.put_zigzag(time.micros);
        }
        Value::DateTime(at) => {
            out.put_u8(10);
            put_date(out, at.date);
            out.put_zigzag(at.micros);
        }
        Value::Timestamp(micros) => {
            out.put_u8(11);
            out.put_i64(*micros);
        }
        Value::Bit(bits) => {
            out.put_u8(12);
            out.put_u64(*bits);
        }
        Value::Enum(index, label) => {
            out.put_u8(13);
            out.put_u16(*index);
            out.put_str(label);
        }
        Value::Set(bits, labels) => {
            out.put_u8(14);
            out.put_u64(*bits);
            out.put_str(labels);
        }
    }
}

/// Reads a value with its kind.
pub(crate) fn read_tagged(r: &mut Reader<'_>) -> Result<Value, DecodeError> {
    Ok(match r.u8()? {
        0 => Value::Null,
        1 => Value::Int(r.zigzag()?),
        2 => Value::UInt(r.varint()?),
        3 => Value::Float(f32::from_bits(r.u32()?)),
        4 => Value::Double(r.f64()?),
        5 => {
            let text = r.str()?;
            Value::Decimal(Decimal::parse(text).ok_or_else(|| r.bad("decimal", text.len() as u64))?)
        }
        6 => Value::Text(Text::from(r.str()?)),
        7 => Value::Bytes(Bytes::copy_from_slice(r.bytes()?)),
        8 => Value::Date(date(r)?),
        9 => Value::Time(Time { micros: r.zigzag()? }),
        10 => Value::DateTime(DateTime { date: date(r)?, micros: r.zigzag()? }),
        11 => Value::Timestamp(r.i64()?),
        12 => Value::Bit(r.u64()?),
        13 => Value::Enum(r.u16()?, Arc::from(r.str()?)),
        14 => Value::Set(r.u64()?, Arc::from(r.str()?)),
        other => return Err(r.bad("kind of value", other.into())),
    })
}

fn put_date(out: &mut Vec<u8>, date: Date) {
    out.put_u16(date.year);
    out.put_u8(date.month);
    out.put_u8(date.day);
}

fn date(r: &mut Reader<'_>) -> Result<Date, DecodeError> {
    let date = Date { year: r.u16()?, month: r.u8()?, day: r.u8()? };
    if date.year > 9999 || date.month > 12 || date.day > 31 {
        return Err(r.bad("date", date.year.into()));
    }
    Ok(date)
}
