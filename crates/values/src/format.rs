//! Values as text and as the binary protocol's bytes, as SQL literals; types as `column_type` text and as the
//! numbers of a column definition.

use crate::collation::Charset;
use crate::temporal::{DAY, timestamp_to_local};
use crate::{
    BlobSize, Collation, Date, DateTime, Decimal, IntWidth, Json, SqlType, Text, Time, TimeZone, Value,
    number,
};
use assize_codec::{Put, Reader};
use assize_model::{ErrorCode, SqlError};
use bytes::Bytes;

/// Appends the value's text as MySQL prints it for a column or expression of this type. NULL appends nothing.
/// A TIMESTAMP that is still in its stored form prints in UTC.
pub fn write_text(value: &Value, sql_type: &SqlType, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Int(number) => match sql_type {
            SqlType::Int(int) if !int.zerofill => {
                out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            }
            _ => write_integer((*number).into(), sql_type, out),
        },
        Value::UInt(number) => match sql_type {
            SqlType::Int(int) if !int.zerofill => {
                out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            }
            _ => write_integer((*number).into(), sql_type, out),
        },
        Value::Float(number) => match sql_type.decimals() {
            Some(places) if is_real(sql_type) => number::write_fixed((*number).into(), places, out),
            _ => number::write_f32(*number, out),
        },
        Value::Double(number) => match sql_type {
            SqlType::Double { digits: Some((_, places)), .. }
            | SqlType::Float { digits: Some((_, places)), .. }
                if *places < 31 =>
            {
                number::write_fixed(*number, *places, out);
            }
            _ => number::write_f64(*number, out),
        },
        Value::Decimal(number) => match sql_type {
            SqlType::Decimal { scale, .. } => number.write(*scale, out),
            SqlType::Int(_) => number.write(0, out),
            _ => number.write(number.scale(), out),
        },
        Value::Text(text) => out.extend_from_slice(text.bytes()),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Date(date) => match sql_type {
            SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => date.at_midnight().write(*fsp, out),
            _ => date.write(out),
        },
        Value::Time(time) => time.write(fsp_of(sql_type, time.micros), out),
        Value::DateTime(at) => match sql_type {
            SqlType::Date => at.date.write(out),
            _ => at.write(fsp_of(sql_type, at.micros), out),
        },
        Value::Timestamp(stored) => {
            timestamp_to_local(*stored, &TimeZone::System).write(fsp_of(sql_type, stored % DAY), out);
        }
        Value::Bit(bits) => out.extend_from_slice(&bit_bytes(*bits, sql_type)),
        Value::Enum(_, label) | Value::Set(_, label) => out.extend_from_slice(label.as_bytes()),
        Value::Json(json) => json.write(out),
    }
}

fn is_real(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Float { .. } | SqlType::Double { .. })
}

fn fsp_of(sql_type: &SqlType, micros: i64) -> u8 {
    match sql_type {
        SqlType::Time { fsp } | SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => *fsp,
        _ if micros % crate::temporal::SECOND == 0 => 0,
        _ => 6,
    }
}

fn write_integer(number: i128, sql_type: &SqlType, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    let width = match sql_type {
        SqlType::Int(int) if int.zerofill => usize::from(int.display_width()),
        SqlType::Year => 4,
        _ => 0,
    };
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text);
    match sql_type {
        SqlType::Decimal { scale: places @ 1.., .. }
        | SqlType::Double { digits: Some((_, places @ 1..)), .. } => {
            out.push(b'.');
            out.extend(std::iter::repeat_n(b'0', (*places).into()));
        }
        _ => {}
    }
}

/// A BIT value's bytes, most significant first, as many as its type has.
pub fn bit_bytes(bits: u64, sql_type: &SqlType) -> Vec<u8> {
    let length = match sql_type {
        SqlType::Bit { length } => usize::from(length.div_ceil(8)).clamp(1, 8),
        _ => 8,
    };
    bits.to_be_bytes()[8 - length..].to_vec()
}

/// The value's text as a string; bytes that are no UTF-8 are shown as U+FFFD.
pub fn to_string(value: &Value, sql_type: &SqlType) -> String {
    let mut out = Vec::new();
    write_text(value, sql_type, &mut out);
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// The value as an SQL literal that reads back as the same value.
pub fn literal(value: &Value, sql_type: &SqlType) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            if hex.is_empty() { "''".to_owned() } else { format!("0x{hex}") }
        }
        Value::Bit(bits) => format!("b'{bits:b}'"),
        Value::Int(_) | Value::UInt(_) | Value::Decimal(_) => to_string(value, sql_type),
        Value::Float(_) | Value::Double(_) => {
            let text = to_string(value, sql_type);
            // Without an exponent it would read back as a DECIMAL.
            if text.contains('e') { text } else { format!("{text}e0") }
        }
        _ => quote(&to_string(value, sql_type)),
    }
}

/// Text in single quotes, escaped.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\\0"),
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{1a}' => out.push_str("\\Z"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The type as `information_schema.columns.column_type` and SHOW CREATE TABLE print it, without character set.
pub fn type_name(sql_type: &SqlType) -> String {
    let unsigned = |flag: bool| if flag { " unsigned" } else { "" };
    let fsp = |name: &str, fsp: u8| if fsp == 0 { name.to_owned() } else { format!("{name}({fsp})") };
    let labels = |name: &str, labels: &[std::sync::Arc<str>]| {
        let list: Vec<String> =
            labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
        format!("{name}({})", list.join(","))
    };
    match sql_type {
        SqlType::Null => "null".to_owned(),
        SqlType::Int(int) => {
            let name = int_name(int.width);
            // MySQL 8 shows widths of TINYINT(1) and of ZEROFILL columns only.
            let width = match int.display {
                _ if int.zerofill => format!("({})", int.display_width()),
                Some(1) if int.width == IntWidth::Tiny && !int.unsigned => "(1)".to_owned(),
                _ => String::new(),
            };
            let zerofill = if int.zerofill { " zerofill" } else { "" };
            format!("{name}{width}{}{zerofill}", unsigned(int.unsigned || int.zerofill))
        }
        SqlType::Float { unsigned: flag, digits } => real_name("float", *digits) + unsigned(*flag),
        SqlType::Double { unsigned: flag, digits } => real_name("double", *digits) + unsigned(*flag),
        SqlType::Decimal { precision, scale, unsigned: flag } => {
            format!("decimal({precision},{scale}){}", unsigned(*flag))
        }
        SqlType::Char { length, .. } => format!("char({length})"),
        SqlType::VarChar { length, .. } => format!("varchar({length})"),
        SqlType::Text { size, .. } => format!("{}text", size_name(*size)),
        SqlType::Binary { length } => format!("binary({length})"),
        SqlType::VarBinary { length } => format!("varbinary({length})"),
        SqlType::Blob { size } => format!("{}blob", size_name(*size)),
        SqlType::Date => "date".to_owned(),
        SqlType::Time { fsp: places } => fsp("time", *places),
        SqlType::DateTime { fsp: places } => fsp("datetime", *places),
        SqlType::Timestamp { fsp: places } => fsp("timestamp", *places),
        SqlType::Year => "year".to_owned(),
        SqlType::Bit { length } => format!("bit({length})"),
        SqlType::Enum { labels: list, .. } => labels("enum", list),
        SqlType::Set { labels: list, .. } => labels("set", list),
        SqlType::Json => "json".to_owned(),
    }
}

/// `information_schema.columns.data_type`: the type's bare name.
pub fn data_type(sql_type: &SqlType) -> &'static str {
    match sql_type {
        SqlType::Null => "null",
        SqlType::Int(int) => int_name(int.width),
        SqlType::Float { .. } => "float",
        SqlType::Double { .. } => "double",
        SqlType::Decimal { .. } => "decimal",
        SqlType::Char { .. } => "char",
        SqlType::VarChar { .. } => "varchar",
        SqlType::Text { size: BlobSize::Tiny, .. } => "tinytext",
        SqlType::Text { size: BlobSize::Normal, .. } => "text",
        SqlType::Text { size: BlobSize::Medium, .. } => "mediumtext",
        SqlType::Text { size: BlobSize::Long, .. } => "longtext",
        SqlType::Binary { .. } => "binary",
        SqlType::VarBinary { .. } => "varbinary",
        SqlType::Blob { size: BlobSize::Tiny } => "tinyblob",
        SqlType::Blob { size: BlobSize::Normal } => "blob",
        SqlType::Blob { size: BlobSize::Medium } => "mediumblob",
        SqlType::Blob { size: BlobSize::Long } => "longblob",
        SqlType::Date => "date",
        SqlType::Time { .. } => "time",
        SqlType::DateTime { .. } => "datetime",
        SqlType::Timestamp { .. } => "timestamp",
        SqlType::Year => "year",
        SqlType::Bit { .. } => "bit",
        SqlType::Enum { .. } => "enum",
        SqlType::Set { .. } => "set",
        SqlType::Json => "json",
    }
}

fn int_name(width: IntWidth) -> &'static str {
    match width {
        IntWidth::Tiny => "tinyint",
        IntWidth::Small => "smallint",
        IntWidth::Medium => "mediumint",
        IntWidth::Int => "int",
        IntWidth::Big => "bigint",
    }
}

fn real_name(name: &str, digits: Option<(u8, u8)>) -> String {
    match digits {
        Some((precision, scale)) => format!("{name}({precision},{scale})"),
        None => name.to_owned(),
    }
}

fn size_name(size: BlobSize) -> &'static str {
    match size {
        BlobSize::Tiny => "tiny",
        BlobSize::Normal => "",
        BlobSize::Medium => "medium",
        BlobSize::Long => "long",
    }
}

/// Type numbers of the protocol.
#[allow(missing_docs)]
pub mod wire_type {
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const BOOL: u8 = 244;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// Column flags of the protocol.
#[allow(missing_docs)]
pub mod wire_flag {
    pub const NOT_NULL: u16 = 1;
    pub const PRIMARY_KEY: u16 = 2;
    pub const UNIQUE_KEY: u16 = 4;
    pub const MULTIPLE_KEY: u16 = 8;
    pub const BLOB: u16 = 16;
    pub const UNSIGNED: u16 = 32;
    pub const ZEROFILL: u16 = 64;
    pub const BINARY: u16 = 128;
    pub const ENUM: u16 = 256;
    pub const AUTO_INCREMENT: u16 = 512;
    pub const TIMESTAMP: u16 = 1024;
    pub const SET: u16 = 2048;
    pub const NO_DEFAULT_VALUE: u16 = 4096;
    pub const ON_UPDATE_NOW: u16 = 8192;
    pub const NUM: u16 = 32768;
}

/// What a column definition packet says about a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireType {
    /// One of [`wire_type`].
    pub code: u8,
    /// Display length in bytes.
    pub length: u32,
    /// Those of [`wire_flag`] that follow from the type.
    pub flags: u16,
    /// Places; 31 for numbers without a fixed count.
    pub decimals: u8,
    /// Collation id; 63 for everything that is no text.
    pub charset: u16,
}

/// What a column definition packet says about this type, with text sent in the collation `results`
/// (`character_set_results`; `None` sends each column in its own).
pub fn wire_type_of(sql_type: &SqlType, results: Option<Collation>) -> WireType {
    use wire_flag as flag;
    let bytes_per_char = |own: Collation| u32::from(results.unwrap_or(own).charset().max_length().max(1));
    let text = |code: u8, length: u32, own: Collation, flags: u16| WireType {
        code,
        length: length.saturating_mul(bytes_per_char(own)),
        flags: flags | if own.is_bin() { flag::BINARY } else { 0 },
        decimals: 0,
        charset: results.unwrap_or(own).0,
    };
    let plain = |code: u8, length: u32, flags: u16, decimals: u8| WireType {
        code,
        length,
        flags: flags | flag::BINARY,
        decimals,
        charset: Collation::BINARY.0,
    };
    // Numbers are binary in their character set, but the flag is for strings and dates.
    let number = |code, length, flags, decimals| WireType { flags, ..plain(code, length, 0, decimals) };
    let length = sql_type.char_length();
    let sign = if sql_type.is_unsigned() { flag::UNSIGNED } else { 0 };
    match sql_type {
        SqlType::Null => number(wire_type::NULL, 0, 0, 0),
        SqlType::Int(int) => {
            let code = match int.width {
                IntWidth::Tiny => wire_type::TINY,
                IntWidth::Small => wire_type::SHORT,
                IntWidth::Medium => wire_type::INT24,
                IntWidth::Int => wire_type::LONG,
                IntWidth::Big => wire_type::LONGLONG,
            };
            let zerofill = if int.zerofill { flag::ZEROFILL | flag::UNSIGNED } else { 0 };
            number(code, length, sign | zerofill, 0)
        }
        SqlType::Float { digits, .. } => {
            number(wire_type::FLOAT, length, sign, digits.map_or(31, |(_, scale)| scale))
        }
        SqlType::Double { digits, .. } => {
            number(wire_type::DOUBLE, length, sign, digits.map_or(31, |(_, scale)| scale))
        }
        SqlType::Decimal { scale, .. } => number(wire_type::NEWDECIMAL, length, sign, *scale),
        SqlType::Char { collation, .. } => text(wire_type::STRING, length, *collation, 0),
        SqlType::VarChar { collation, .. } => text(wire_type::VAR_STRING, length, *collation, 0),
        SqlType::Text { size, collation } => text(wire_type::BLOB, size.max_bytes(), *collation, flag::BLOB),
        SqlType::Binary { .. } => plain(wire_type::STRING, length, 0, 0),
        SqlType::VarBinary { .. } => plain(wire_type::VAR_STRING, length, 0, 0),
        SqlType::Blob { .. } => plain(wire_type::BLOB, length, flag::BLOB, 0),
        SqlType::Date => plain(wire_type::DATE, length, 0, 0),
        SqlType::Time { fsp } => plain(wire_type::TIME, length, 0, *fsp),
        SqlType::DateTime { fsp } => plain(wire_type::DATETIME, length, 0, *fsp),
        SqlType::Timestamp { fsp } => plain(wire_type::TIMESTAMP, length, 0, *fsp),
        SqlType::Year => number(wire_type::YEAR, length, flag::UNSIGNED | flag::ZEROFILL, 0),
        SqlType::Bit { .. } => number(wire_type::BIT, length, flag::UNSIGNED, 0),
        SqlType::Enum { collation, .. } => text(wire_type::STRING, length, *collation, flag::ENUM),
        SqlType::Set { collation, .. } => text(wire_type::STRING, length, *collation, flag::SET),
        SqlType::Json => WireType {
            charset: Collation::BINARY.0,
            ..text(wire_type::JSON, u32::MAX, Collation::UTF8MB4_BIN, flag::BLOB | flag::BINARY)
        },
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=250 => out.push(number as u8),
        251..=0xffff => {
            out.push(0xfc);
            out.put_u16(number as u16);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&number.to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xfe);
            out.put_u64(number);
        }
    }
}

/// Appends what `write` appends with its length in front.
fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Most values are short: leave one byte and move the text only if that was too little.
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length <= 250 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(9);
        put_lenenc(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
}

/// Appends a value of a text result row: its text with the length in front, `fb` for NULL.
pub fn write_text_field(value: &Value, sql_type: &SqlType, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xfb),
        Value::Text(text) => {
            put_lenenc(out, text.len() as u64);
            out.extend_from_slice(text.bytes());
        }
        _ => with_length(out, |out| write_text(value, sql_type, out)),
    }
}

/// Appends a value of a binary result row; NULL appends nothing (it is a bit of the row's bitmap).
pub fn write_binary(value: &Value, sql_type: &SqlType, out: &mut Vec<u8>) {
    match (sql_type, value) {
        (_, Value::Null) => {}
        (SqlType::Int(int), _) => {
            let number = integer_bits(value);
            match int.width {
                IntWidth::Tiny => out.push(number as u8),
                IntWidth::Small => out.put_u16(number as u16),
                IntWidth::Medium | IntWidth::Int => out.put_u32(number as u32),
                IntWidth::Big => out.put_u64(number),
            }
        }
        (SqlType::Year, _) => out.put_u16(integer_bits(value) as u16),
        (SqlType::Float { .. }, _) => out.put_u32((real(value) as f32).to_bits()),
        (SqlType::Double { .. }, _) => out.put_f64(real(value)),
        (SqlType::Date, Value::Date(date)) => put_binary_date(DateTime { date: *date, micros: 0 }, true, out),
        (SqlType::Date, Value::DateTime(at)) => put_binary_date(DateTime { micros: 0, ..*at }, true, out),
        (SqlType::DateTime { .. } | SqlType::Timestamp { .. }, Value::Date(date)) => {
            put_binary_date(date.at_midnight(), false, out);
        }
        (SqlType::DateTime { .. } | SqlType::Timestamp { .. }, Value::DateTime(at)) => {
            put_binary_date(*at, false, out);
        }
        (SqlType::DateTime { .. } | SqlType::Timestamp { .. }, Value::Timestamp(stored)) => {
            put_binary_date(timestamp_to_local(*stored, &TimeZone::System), false, out);
        }
        (SqlType::Time { .. }, Value::Time(time)) => {
            let (negative, hours, minutes, seconds, micros) = time.parts();
            let length = if time.micros == 0 {
                0
            } else if micros == 0 {
                8
            } else {
                12
            };
            out.push(length);
            if length > 0 {
                out.push(negative.into());
                out.put_u32(hours / 24);
                out.extend_from_slice(&[(hours % 24) as u8, minutes, seconds]);
            }
            if length > 8 {
                out.put_u32(micros);
            }
        }
        _ => write_text_field(value, sql_type, out),
    }
}

fn integer_bits(value: &Value) -> u64 {
    match value {
        Value::Int(number) => *number as u64,
        Value::UInt(number) | Value::Bit(number) => *number,
        Value::Decimal(number) => number.to_i128() as u64,
        Value::Double(number) => *number as i64 as u64,
        Value::Float(number) => *number as i64 as u64,
        Value::Text(text) => number::parse_int(text.as_bytes()).value as u64,
        _ => 0,
    }
}

fn real(value: &Value) -> f64 {
    match value {
        Value::Double(number) => *number,
        Value::Float(number) => (*number).into(),
        Value::Int(number) => *number as f64,
        Value::UInt(number) => *number as f64,
        Value::Decimal(number) => number.to_f64(),
        _ => 0.0,
    }
}

fn put_binary_date(at: DateTime, date_only: bool, out: &mut Vec<u8>) {
    let (_, hours, minutes, seconds, micros) = at.time().parts();
    let length = match () {
        () if at.is_zero() => 0,
        () if date_only || at.micros == 0 => 4,
        () if micros == 0 => 7,
        () => 11,
    };
    out.push(length);
    if length >= 4 {
        out.put_u16(at.date.year);
        out.extend_from_slice(&[at.date.month, at.date.day]);
    }
    if length >= 7 {
        out.extend_from_slice(&[hours as u8, minutes, seconds]);
    }
    if length == 11 {
        out.put_u32(micros);
    }
}

/// Reads a parameter of COM_STMT_EXECUTE: its type's number and whether it is unsigned come from the packet,
/// `charset` is the connection's. Strings that are not text of it stay bytes.
pub fn read_binary_param(
    type_code: u8,
    unsigned: bool,
    charset: Charset,
    reader: &mut Reader<'_>,
) -> Result<Value, SqlError> {
    let malformed = |error: assize_codec::DecodeError| {
        SqlError::new(ErrorCode::MalformedPacket, format!("Malformed communication packet: {error}"))
    };
    let wrong = |what: &str| {
        SqlError::new(ErrorCode::MalformedPacket, format!("Malformed communication packet: {what}"))
    };
    Ok(match type_code {
        wire_type::NULL => Value::Null,
        wire_type::TINY | wire_type::BOOL => {
            let byte = reader.u8().map_err(malformed)?;
            if unsigned { Value::UInt(byte.into()) } else { Value::Int((byte as i8).into()) }
        }
        wire_type::SHORT | wire_type::YEAR => {
            let short = reader.u16().map_err(malformed)?;
            if unsigned { Value::UInt(short.into()) } else { Value::Int((short as i16).into()) }
        }
        wire_type::LONG | wire_type::INT24 => {
            let long = reader.u32().map_err(malformed)?;
            if unsigned { Value::UInt(long.into()) } else { Value::Int((long as i32).into()) }
        }
        wire_type::LONGLONG => {
            let big = reader.u64().map_err(malformed)?;
            if unsigned { Value::UInt(big) } else { Value::Int(big as i64) }
        }
        wire_type::FLOAT => {
            let value = f32::from_bits(reader.u32().map_err(malformed)?);
            if value.is_finite() { Value::Float(value) } else { Value::Null }
        }
        wire_type::DOUBLE => {
            let value = reader.f64().map_err(malformed)?;
            if value.is_finite() { Value::Double(value) } else { Value::Null }
        }
        wire_type::DATE | wire_type::NEWDATE | wire_type::DATETIME | wire_type::TIMESTAMP => {
            let length = reader.u8().map_err(malformed)?;
            let mut at = DateTime::ZERO;
            if !matches!(length, 0 | 4 | 7 | 11) {
                return Err(wrong("length of a date"));
            }
            if length >= 4 {
                let year = reader.u16().map_err(malformed)?;
                at.date = Date::new(year, reader.u8().map_err(malformed)?, reader.u8().map_err(malformed)?);
            }
            if length >= 7 {
                let (hour, minute, second) = (
                    i64::from(reader.u8().map_err(malformed)?),
                    i64::from(reader.u8().map_err(malformed)?),
                    i64::from(reader.u8().map_err(malformed)?),
                );
                at.micros = ((hour * 60 + minute) * 60 + second) * crate::temporal::SECOND;
            }
            if length == 11 {
                at.micros += i64::from(reader.u32().map_err(malformed)?);
            }
            let rules = crate::temporal::DateRules { invalid: true, ..crate::temporal::DateRules::ANY };
            if !rules.allow(at.date) || at.date.year > 9999 || at.micros >= DAY {
                return Err(wrong("date out of range"));
            }
            if type_code == wire_type::DATE || type_code == wire_type::NEWDATE {
                Value::Date(at.date)
            } else {
                Value::DateTime(at)
            }
        }
        wire_type::TIME => {
            let length = reader.u8().map_err(malformed)?;
            if !matches!(length, 0 | 8 | 12) {
                return Err(wrong("length of a time"));
            }
            let mut micros = 0i64;
            if length >= 8 {
                let negative = reader.u8().map_err(malformed)? != 0;
                let days = i64::from(reader.u32().map_err(malformed)?).min(1000);
                let (hour, minute, second) = (
                    i64::from(reader.u8().map_err(malformed)?),
                    i64::from(reader.u8().map_err(malformed)?),
                    i64::from(reader.u8().map_err(malformed)?),
                );
                micros = (((days * 24 + hour) * 60 + minute) * 60 + second) * crate::temporal::SECOND;
                if length == 12 {
                    micros += i64::from(reader.u32().map_err(malformed)?);
                }
                if negative {
                    micros = -micros;
                }
            }
            Value::Time(Time { micros }.clipped().0)
        }
        _ => {
            let bytes = read_lenenc_bytes(reader).map_err(malformed)?;
            string_param(type_code, charset, bytes)?
        }
    })
}

/// A string parameter, whole or put together from COM_STMT_SEND_LONG_DATA.
pub fn string_param(type_code: u8, charset: Charset, bytes: Bytes) -> Result<Value, SqlError> {
    Ok(match type_code {
        wire_type::DECIMAL | wire_type::NEWDECIMAL => {
            let text = String::from_utf8_lossy(&bytes);
            match Decimal::parse(text.trim()) {
                Some(number) => Value::Decimal(number),
                None => Value::text(text),
            }
        }
        wire_type::JSON => match std::str::from_utf8(&bytes).ok().and_then(|text| Json::parse(text).ok()) {
            Some(json) => Value::Json(json.into()),
            None => text_or_bytes(bytes, charset),
        },
        wire_type::BIT => match <[u8; 8]>::try_from(&pad8(&bytes)[..]) {
            Ok(wide) => Value::Bit(u64::from_be_bytes(wide)),
            Err(_) => Value::Bytes(bytes),
        },
        // Drivers send text, too, as BLOB types; only what is no text stays bytes.
        _ => text_or_bytes(bytes, charset),
    })
}

fn pad8(bytes: &[u8]) -> Vec<u8> {
    let mut wide = vec![0; 8usize.saturating_sub(bytes.len())];
    wide.extend_from_slice(bytes);
    wide
}

fn text_or_bytes(bytes: Bytes, charset: Charset) -> Value {
    match charset {
        _ if charset.is_foreign() || charset == Charset::Ascii => {
            match crate::collation::decode(&bytes, charset) {
                Ok(text) => Value::text(text),
                Err(_) => Value::Bytes(bytes),
            }
        }
        _ => match Text::from_utf8(bytes) {
            Ok(text) => Value::Text(text),
            Err(bytes) => Value::Bytes(bytes),
        },
    }
}

/// Reads bytes with a length-encoded length in front.
pub fn read_lenenc_bytes(reader: &mut Reader<'_>) -> Result<Bytes, assize_codec::DecodeError> {
    let length = match reader.u8()? {
        short @ 0..=250 => u64::from(short),
        0xfc => reader.u16()?.into(),
        0xfd => {
            let low = u64::from(reader.u16()?);
            low | u64::from(reader.u8()?) << 16
        }
        0xfe => reader.u64()?,
        other => return Err(reader.bad("length-encoded length", other.into())),
    };
    match usize::try_from(length) {
        Ok(length) if length <= reader.left() => reader.shared(length),
        _ => Err(reader.bad("length", length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IntType;
    use proptest::prelude::*;

    #[test]
    fn types_print_as_column_types() {
        let collation = Collation::default();
        let zerofill =
            SqlType::Int(IntType { width: IntWidth::Int, unsigned: true, zerofill: true, display: Some(5) });
        let bool_ = SqlType::Int(IntType {
            width: IntWidth::Tiny,
            unsigned: false,
            zerofill: false,
            display: Some(1),
        });
        for (sql_type, expected) in [
            (SqlType::BIGINT_UNSIGNED, "bigint unsigned"),
            (zerofill, "int(5) unsigned zerofill"),
            (bool_, "tinyint(1)"),
            (SqlType::VarChar { length: 20, collation }, "varchar(20)"),
            (SqlType::Decimal { precision: 10, scale: 2, unsigned: false }, "decimal(10,2)"),
            (SqlType::Enum { labels: vec!["a".into(), "b'c".into()].into(), collation }, "enum('a','b''c')"),
            (SqlType::DateTime { fsp: 6 }, "datetime(6)"),
            (SqlType::Text { size: BlobSize::Medium, collation }, "mediumtext"),
            (SqlType::Double { unsigned: true, digits: Some((8, 2)) }, "double(8,2) unsigned"),
        ] {
            assert_eq!(type_name(&sql_type), expected);
        }
    }

    #[test]
    fn column_definitions_say_what_servers_say() {
        let collation = Collation::UTF8MB4_GENERAL_CI;
        let decimal = SqlType::Decimal { precision: 10, scale: 2, unsigned: true };
        let labels: std::sync::Arc<[std::sync::Arc<str>]> = vec!["a".into(), "bcd".into()].into();
        let (blob, binary, unsigned) = (wire_flag::BLOB, wire_flag::BINARY, wire_flag::UNSIGNED);
        for (sql_type, code, length, decimals, flags, charset) in [
            (SqlType::INT, wire_type::LONG, 11, 0, 0, 63),
            (SqlType::BIGINT_UNSIGNED, wire_type::LONGLONG, 20, 0, unsigned, 63),
            (SqlType::DOUBLE, wire_type::DOUBLE, 22, 31, 0, 63),
            (decimal, wire_type::NEWDECIMAL, 11, 2, unsigned, 63),
            (SqlType::Char { length: 5, collation }, wire_type::STRING, 20, 0, 0, 45),
            (SqlType::Text { size: BlobSize::Normal, collation }, wire_type::BLOB, 262_140, 0, blob, 45),
            (SqlType::Text { size: BlobSize::Long, collation }, wire_type::BLOB, u32::MAX, 0, blob, 45),
            (SqlType::Blob { size: BlobSize::Normal }, wire_type::BLOB, 65_535, 0, blob | binary, 63),
            (SqlType::VarBinary { length: 20 }, wire_type::VAR_STRING, 20, 0, binary, 63),
            (SqlType::DateTime { fsp: 6 }, wire_type::DATETIME, 26, 6, binary, 63),
            (SqlType::Time { fsp: 3 }, wire_type::TIME, 14, 3, binary, 63),
            (SqlType::Bit { length: 10 }, wire_type::BIT, 10, 0, unsigned, 63),
            (
                SqlType::Enum { labels: labels.clone(), collation },
                wire_type::STRING,
                12,
                0,
                wire_flag::ENUM,
                45,
            ),
            (SqlType::Set { labels, collation }, wire_type::STRING, 20, 0, wire_flag::SET, 45),
        ] {
            let expected = WireType { code, length, flags, decimals, charset };
            assert_eq!(wire_type_of(&sql_type, None), expected, "{sql_type:?}");
        }
    }

    #[test]
    fn binary_rows_hold_what_drivers_expect() {
        let mut out = vec![];
        let at = DateTime { date: Date::new(2026, 11, 20), micros: 3_600_000_001 };
        write_binary(&Value::DateTime(at), &SqlType::DateTime { fsp: 6 }, &mut out);
        assert_eq!(out, [11, 0xea, 7, 11, 20, 1, 0, 0, 1, 0, 0, 0]);
        out.clear();
        write_binary(&Value::Time(Time { micros: -90_000_000_000 }), &SqlType::Time { fsp: 0 }, &mut out);
        assert_eq!(out, [8, 1, 1, 0, 0, 0, 1, 0, 0]);
        out.clear();
        write_binary(&Value::Int(-2), &SqlType::INT, &mut out);
        assert_eq!(out, [0xfe, 0xff, 0xff, 0xff]);
        out.clear();
        write_binary(&Value::Date(Date::ZERO), &SqlType::Date, &mut out);
        assert_eq!(out, [0]);
        out.clear();
        let long = "x".repeat(300);
        write_text_field(&Value::Json(Json::String(long).into()), &SqlType::Json, &mut out);
        assert_eq!(&out[..4], [0xfc, 46, 1, b'"']);
    }

    proptest! {
        #[test]
        fn no_parameter_makes_it_panic(code: u8, unsigned: bool, bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let _ = read_binary_param(code, unsigned, Charset::Utf8mb4, &mut reader);
        }
    }
}
