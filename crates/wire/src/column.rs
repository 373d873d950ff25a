//! Column definitions: drivers type values from them.

use crate::bytes::{put_lenenc_bytes, put_u16, put_u32};
use crate::protocol::{column_flag as flag, type_code};
use crate::text::encode;
use assize_ports::ResultColumn;
use assize_values::collation::Charset;
use assize_values::{BlobSize, Collation, IntWidth, SqlType};

/// Decimals of numbers that have no fixed number of them, and of text that comes from an expression.
const NOT_FIXED: u8 = 31;
/// Bytes of the fields of fixed length.
const FIXED: u8 = 12;

/// How results are written: `character_set_results`, and the collation that column definitions name for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Results {
    pub charset: Charset,
    pub collation: Collation,
}

/// The character set of a collation, also of one that is known by its number alone; `None` for sets that are not spoken here.
pub fn charset_of_collation(collation: Collation) -> Option<Charset> {
    match collation.0 {
        _ if collation.exists() => Some(collation.charset()),
        224..=247 | 255..=323 => Some(Charset::Utf8mb4),
        76 | 192..=215 | 223 => Some(Charset::Utf8mb3),
        31 => Some(Charset::Latin1),
        _ => None,
    }
}

/// Appends ColumnDefinition41.
pub(crate) fn put_definition(out: &mut Vec<u8>, column: &ResultColumn, results: Results) {
    let name = |text: &str| encode(results.charset, text).into_owned();
    put_lenenc_bytes(out, b"def");
    put_lenenc_bytes(out, &name(&column.database));
    put_lenenc_bytes(out, &name(&column.table));
    put_lenenc_bytes(out, &name(&column.org_table));
    put_lenenc_bytes(out, &name(&column.name));
    put_lenenc_bytes(out, &name(&column.org_name));
    out.push(FIXED);
    let shape = shape(column, results);
    put_u16(out, shape.collation);
    put_u32(out, shape.length);
    out.push(shape.code);
    put_u16(out, shape.flags);
    out.push(shape.decimals);
    put_u16(out, 0);
}

/// Appends the definition of a parameter: its type is not known before it is bound.
pub(crate) fn put_parameter(out: &mut Vec<u8>) {
    put_lenenc_bytes(out, b"def");
    out.extend_from_slice(&[0, 0, 0, 1, b'?', 0, FIXED]);
    put_u16(out, Collation::BINARY.0);
    put_u32(out, 0);
    out.push(type_code::VAR_STRING);
    put_u16(out, flag::BINARY);
    out.push(0);
    put_u16(out, 0);
}

struct Shape {
    code: u8,
    collation: u16,
    length: u32,
    flags: u16,
    decimals: u8,
}

fn shape(column: &ResultColumn, results: Results) -> Shape {
    let from_table = !column.org_table.is_empty();
    let mut shape = type_shape(&column.sql_type, results, from_table);
    let mut set = |condition: bool, bit: u16| {
        if condition {
            shape.flags |= bit;
        }
    };
    set(!column.nullable, flag::NOT_NULL);
    set(column.flags.primary_key, flag::PRIMARY_KEY);
    set(column.flags.unique_key, flag::UNIQUE_KEY);
    set(column.flags.multiple_key, flag::MULTIPLE_KEY);
    set(column.flags.auto_increment, flag::AUTO_INCREMENT);
    set(column.flags.no_default, flag::NO_DEFAULT_VALUE);
    set(column.flags.on_update_now, flag::ON_UPDATE_NOW | flag::TIMESTAMP);
    shape
}

fn type_shape(sql_type: &SqlType, results: Results, from_table: bool) -> Shape {
    let binary = Collation::BINARY.0;
    // Numbers carry the flag BINARY where they come from expressions only.
    let numeric = if from_table { 0 } else { flag::BINARY };
    let sign = |unsigned: bool| if unsigned { flag::UNSIGNED } else { 0 };
    let fraction = |base: u32, fsp: u8| if fsp == 0 { base } else { base + 1 + u32::from(fsp) };
    let temporal = |code: u8, length: u32, decimals: u8| Shape {
        code,
        collation: binary,
        length,
        flags: flag::BINARY,
        decimals,
    };
    let text = |code: u8, chars: u32, collation: Collation, flags: u16| {
        if collation == Collation::BINARY {
            return Shape {
                code,
                collation: binary,
                length: chars,
                flags: flags | flag::BINARY,
                decimals: 0,
            };
        }
        // With `character_set_results = NULL` the column's own collation is named.
        let (shown, width) = match results.charset {
            Charset::Binary => (collation.0, 4),
            charset => (results.collation.0, u32::from(charset.max_length())),
        };
        let flags = if is_bin(collation) { flags | flag::BINARY } else { flags };
        let decimals = if from_table || flags & flag::BLOB != 0 { 0 } else { NOT_FIXED };
        Shape { code, collation: shown, length: chars.saturating_mul(width), flags, decimals }
    };
    match sql_type {
        SqlType::Null => {
            Shape { code: type_code::NULL, collation: binary, length: 0, flags: flag::BINARY, decimals: 0 }
        }
        SqlType::Int(int) => Shape {
            code: match int.width {
                IntWidth::Tiny => type_code::TINY,
                IntWidth::Small => type_code::SHORT,
                IntWidth::Medium => type_code::INT24,
                IntWidth::Int => type_code::LONG,
                IntWidth::Big => type_code::LONGLONG,
            },
            collation: binary,
            length: u32::from(int.display_width()),
            flags: numeric | sign(int.unsigned) | if int.zerofill { flag::ZEROFILL } else { 0 },
            decimals: 0,
        },
        SqlType::Float { unsigned, digits } => Shape {
            code: type_code::FLOAT,
            collation: binary,
            length: digits.map_or(12, |(width, _)| u32::from(width)),
            flags: numeric | sign(*unsigned),
            decimals: digits.map_or(NOT_FIXED, |(_, places)| places),
        },
        SqlType::Double { unsigned, digits } => Shape {
            code: type_code::DOUBLE,
            collation: binary,
            length: digits.map_or(22, |(width, _)| u32::from(width)),
            flags: numeric | sign(*unsigned),
            decimals: digits.map_or(NOT_FIXED, |(_, places)| places),
        },
        SqlType::Decimal { precision, scale, unsigned } => Shape {
            code: type_code::NEW_DECIMAL,
            collation: binary,
            length: u32::from(*precision) + u32::from(*scale > 0) + u32::from(!*unsigned),
            flags: numeric | sign(*unsigned),
            decimals: *scale,
        },
        SqlType::Char { length, collation } => text(type_code::STRING, *length, *collation, 0),
        SqlType::VarChar { length, collation } => text(type_code::VAR_STRING, *length, *collation, 0),
        SqlType::Text { size, collation } => text(type_code::BLOB, bytes_max(*size), *collation, flag::BLOB),
        SqlType::Binary { length } => text(type_code::STRING, *length, Collation::BINARY, 0),
        SqlType::VarBinary { length } => text(type_code::VAR_STRING, *length, Collation::BINARY, 0),
        SqlType::Blob { size } => text(type_code::BLOB, bytes_max(*size), Collation::BINARY, flag::BLOB),
        SqlType::Date => temporal(type_code::DATE, 10, 0),
        SqlType::Time { fsp } => temporal(type_code::TIME, fraction(10, *fsp), *fsp),
        SqlType::DateTime { fsp } => temporal(type_code::DATETIME, fraction(19, *fsp), *fsp),
        SqlType::Timestamp { fsp } => temporal(type_code::TIMESTAMP, fraction(19, *fsp), *fsp),
        SqlType::Year => Shape {
            code: type_code::YEAR,
            collation: binary,
            length: 4,
            flags: numeric | flag::UNSIGNED | flag::ZEROFILL,
            decimals: 0,
        },
        SqlType::Bit { length } => Shape {
            code: type_code::BIT,
            collation: binary,
            length: u32::from(*length),
            flags: numeric | flag::UNSIGNED,
            decimals: 0,
        },
        SqlType::Enum { labels, collation } => {
            let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
            text(type_code::STRING, longest as u32, *collation, flag::ENUM)
        }
        SqlType::Set { labels, collation } => {
            let all: usize = labels.iter().map(|l| l.chars().count() + 1).sum();
            text(type_code::STRING, all.saturating_sub(1) as u32, *collation, flag::SET)
        }
        SqlType::Json => Shape {
            code: type_code::JSON,
            collation: binary,
            length: u32::MAX,
            flags: flag::BLOB | flag::BINARY,
            decimals: 0,
        },
    }
}

/// Collations that compare bytes or code points.
fn is_bin(collation: Collation) -> bool {
    matches!(collation.0, 46 | 47 | 65 | 83 | 309)
}

fn bytes_max(size: BlobSize) -> u32 {
    match size {
        BlobSize::Tiny => 0xff,
        BlobSize::Normal => 0xffff,
        BlobSize::Medium => 0xff_ffff,
        BlobSize::Long => u32::MAX,
    }
}

/// A column of an expression, for tests.
#[cfg(test)]
pub(crate) fn plain(name: &str, sql_type: SqlType) -> ResultColumn {
    ResultColumn {
        database: "".into(),
        table: "".into(),
        org_table: "".into(),
        name: name.into(),
        org_name: "".into(),
        sql_type,
        nullable: true,
        flags: assize_ports::ColumnFlags::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: Results = Results { charset: Charset::Utf8mb4, collation: Collation::UTF8MB4_0900_AI_CI };

    #[test]
    fn a_definition_is_byte_for_byte_what_clients_expect() {
        let mut column = plain("id", SqlType::INT);
        column.database = "shop".into();
        column.table = "s".into();
        column.org_table = "stock".into();
        column.org_name = "id".into();
        column.nullable = false;
        column.flags.primary_key = true;
        column.flags.auto_increment = true;
        let mut out = Vec::new();
        put_definition(&mut out, &column, RESULTS);
        assert_eq!(out, b"\x03def\x04shop\x01s\x05stock\x02id\x02id\x0c\x3f\0\x0b\0\0\0\x03\x03\x02\0\0\0");
    }

    #[test]
    fn types_have_the_figures_that_drivers_read() {
        let of = |sql_type: SqlType| {
            let s = type_shape(&sql_type, RESULTS, true);
            (s.code, s.collation, s.length, s.flags, s.decimals)
        };
        let collation = Collation::UTF8MB4_GENERAL_CI;
        assert_eq!(of(SqlType::VarChar { length: 10, collation }), (253, 255, 40, 0, 0));
        assert_eq!(of(SqlType::Text { size: BlobSize::Normal, collation }), (252, 255, 262_140, 16, 0));
        assert_eq!(of(SqlType::Blob { size: BlobSize::Normal }), (252, 63, 65_535, 144, 0));
        assert_eq!(of(SqlType::VarBinary { length: 16 }), (253, 63, 16, 128, 0));
        assert_eq!(of(SqlType::DateTime { fsp: 3 }), (12, 63, 23, 128, 3));
        let decimal = SqlType::Decimal { precision: 10, scale: 2, unsigned: false };
        assert_eq!(of(decimal), (246, 63, 12, 0, 2));
        assert_eq!(of(SqlType::DOUBLE), (5, 63, 22, 0, 31));
        assert_eq!(of(SqlType::Json), (245, 63, u32::MAX, 144, 0));
        let labels = vec!["a".into(), "long".into()].into();
        assert_eq!(of(SqlType::Enum { labels, collation }), (254, 255, 16, 256, 0));
    }
}
