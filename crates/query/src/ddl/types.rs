//! From a written column type to the type of a column, with MySQL's limits.

use crate::ddl::charset;
use assize_model::{ErrorCode, SqlError};
use assize_sql::{CharsetClause, DataType};
use assize_values::{BlobSize, Collation, IntType, IntWidth, SqlType};
use std::sync::Arc;

/// Digits after the second.
pub const MAX_FSP: u32 = 6;

/// The type of a column, given the collation of its table and a COLLATE attribute of the column.
pub fn column_type(
    name: &str,
    written: &DataType,
    collate: Option<&str>,
    table_collation: Collation,
) -> Result<SqlType, SqlError> {
    let collation = |clause: &CharsetClause| -> Result<Collation, SqlError> {
        let clause = match collate {
            Some(collate) if clause.collation.is_none() => {
                CharsetClause { collation: Some(collate.to_ascii_lowercase()), ..clause.clone() }
            }
            _ => clause.clone(),
        };
        charset::resolve(&clause, table_collation)
    };
    Ok(match written {
        DataType::Int { width, display, unsigned, zerofill } => {
            let display = match display {
                Some(n) if *n > 255 => return Err(display_width(name, 255)),
                // ZEROFILL without a width fills up to the type's own.
                None if *zerofill => Some(default_display(*width)),
                Some(0) => None,
                other => other.map(|n| n as u8),
            };
            SqlType::Int(IntType {
                width: *width,
                unsigned: *unsigned || *zerofill,
                zerofill: *zerofill,
                display,
            })
        }
        DataType::Serial => SqlType::BIGINT_UNSIGNED,
        DataType::Decimal { precision, scale, unsigned, zerofill } => {
            let (precision, scale) = (precision.unwrap_or(10), scale.unwrap_or(0));
            digits_within(name, precision, scale, 65)?;
            SqlType::Decimal {
                precision: if precision == 0 { 10 } else { precision as u8 },
                scale: scale as u8,
                unsigned: *unsigned || *zerofill,
            }
        }
        DataType::Float { precision, scale, unsigned, zerofill } => {
            let unsigned = *unsigned || *zerofill;
            match (precision, scale) {
                (None, _) => SqlType::Float { unsigned, digits: None },
                (Some(0..=24), None) => SqlType::Float { unsigned, digits: None },
                (Some(25..=53), None) => SqlType::Double { unsigned, digits: None },
                (Some(_), None) => {
                    return Err(SqlError::new(
                        ErrorCode::WrongColumnSpecifier,
                        format!("Incorrect column specifier for column '{name}'"),
                    ));
                }
                (Some(m), Some(d)) => {
                    digits_within(name, *m, *d, 255)?;
                    SqlType::Float { unsigned, digits: Some((*m as u8, *d as u8)) }
                }
            }
        }
        DataType::Double { precision, scale, unsigned, zerofill } => {
            let digits = match (precision, scale) {
                (Some(m), Some(d)) => {
                    digits_within(name, *m, *d, 255)?;
                    Some((*m as u8, *d as u8))
                }
                _ => None,
            };
            SqlType::Double { unsigned: *unsigned || *zerofill, digits }
        }
        DataType::Bit(length) => match length.unwrap_or(1) {
            0 => SqlType::Bit { length: 1 },
            n if n > 64 => return Err(display_width(name, 64)),
            n => SqlType::Bit { length: n as u8 },
        },
        DataType::Char(length, clause) => {
            let length = length.unwrap_or(1);
            if length > 255 {
                return Err(too_long(name, 255));
            }
            match collation(clause)? {
                Collation::BINARY => SqlType::Binary { length },
                collation => SqlType::Char { length, collation },
            }
        }
        DataType::VarChar(length, clause) => match collation(clause)? {
            Collation::BINARY if *length > 65_535 => return Err(too_long(name, 65_535)),
            Collation::BINARY => SqlType::VarBinary { length: *length },
            collation => {
                let max = 65_535 / charset::max_bytes(collation);
                if *length > max {
                    return Err(too_long(name, max));
                }
                SqlType::VarChar { length: *length, collation }
            }
        },
        DataType::Text(size, length, clause) => {
            let collation = collation(clause)?;
            let bytes = length.map(|n| n.saturating_mul(u64::from(charset::max_bytes(collation))));
            let size = sized(name, *size, bytes)?;
            match collation {
                Collation::BINARY => SqlType::Blob { size },
                collation => SqlType::Text { size, collation },
            }
        }
        DataType::Binary(length) => match length.unwrap_or(1) {
            n if n > 255 => return Err(too_long(name, 255)),
            length => SqlType::Binary { length },
        },
        DataType::VarBinary(length) if *length > 65_535 => return Err(too_long(name, 65_535)),
        DataType::VarBinary(length) => SqlType::VarBinary { length: *length },
        DataType::Blob(size, length) => SqlType::Blob { size: sized(name, *size, *length)? },
        DataType::Date => SqlType::Date,
        DataType::Time(fsp) => SqlType::Time { fsp: fraction(name, *fsp)? },
        DataType::DateTime(fsp) => SqlType::DateTime { fsp: fraction(name, *fsp)? },
        DataType::Timestamp(fsp) => SqlType::Timestamp { fsp: fraction(name, *fsp)? },
        DataType::Year => SqlType::Year,
        DataType::Enum(labels, clause) => {
            let collation = collation(clause)?;
            SqlType::Enum { labels: labels_of(name, labels, "ENUM", 65_535)?, collation }
        }
        DataType::Set(labels, clause) => {
            let collation = collation(clause)?;
            if let Some(label) = labels.iter().find(|l| l.contains(',')) {
                return Err(SqlError::new(
                    ErrorCode::IllegalValueForType,
                    format!("Illegal set '{label}' value found during parsing"),
                ));
            }
            SqlType::Set { labels: labels_of(name, labels, "SET", 64)?, collation }
        }
        DataType::Json => SqlType::Json,
        DataType::Spatial(kind) => {
            return Err(SqlError::not_supported(format!("spatial type {kind}")));
        }
    })
}

/// MySQL's display width of an integer type that is given none.
pub fn default_display(width: IntWidth) -> u8 {
    match width {
        IntWidth::Tiny => 3,
        IntWidth::Small => 5,
        IntWidth::Medium => 8,
        IntWidth::Int => 10,
        IntWidth::Big => 20,
    }
}

fn labels_of(name: &str, labels: &[String], kind: &str, max: usize) -> Result<Arc<[Arc<str>]>, SqlError> {
    if labels.len() > max {
        return Err(SqlError::new(
            ErrorCode::WrongColumnSpecifier,
            format!("Too many enumeration values for column '{name}'."),
        ));
    }
    // Trailing spaces are never part of a label.
    let trimmed: Vec<Arc<str>> = labels.iter().map(|l| Arc::from(l.trim_end_matches(' '))).collect();
    for (i, label) in trimmed.iter().enumerate() {
        if trimmed[..i].iter().any(|l| l == label) {
            return Err(SqlError::new(
                ErrorCode::DuplicatedValueInType,
                format!("Column '{name}' has duplicated value '{label}' in {kind}"),
            ));
        }
    }
    Ok(trimmed.into())
}

fn sized(name: &str, size: BlobSize, bytes: Option<u64>) -> Result<BlobSize, SqlError> {
    match bytes {
        None | Some(0) => Ok(size),
        Some(1..=0xff) => Ok(BlobSize::Tiny),
        Some(..=0xffff) => Ok(BlobSize::Normal),
        Some(..=0xff_ffff) => Ok(BlobSize::Medium),
        Some(..=0xffff_ffff) => Ok(BlobSize::Long),
        Some(_) => Err(SqlError::new(
            ErrorCode::TooBigDisplayWidth,
            format!("Display width out of range for column '{name}' (max = {})", u32::MAX),
        )),
    }
}

fn fraction(name: &str, fsp: u32) -> Result<u8, SqlError> {
    if fsp > MAX_FSP {
        return Err(SqlError::new(
            ErrorCode::PrecisionTooBig,
            format!("Too-big precision {fsp} specified for '{name}'. Maximum is {MAX_FSP}."),
        ));
    }
    Ok(fsp as u8)
}

fn digits_within(name: &str, precision: u32, scale: u32, max: u32) -> Result<(), SqlError> {
    if scale > 30 {
        return Err(SqlError::new(
            ErrorCode::MScaleTooBig,
            format!("Too big scale {scale} specified for column '{name}'. Maximum is 30."),
        ));
    }
    if precision > max {
        return Err(SqlError::new(
            ErrorCode::PrecisionTooBig,
            format!("Too-big precision {precision} specified for '{name}'. Maximum is {max}."),
        ));
    }
    if precision < scale {
        return Err(SqlError::new(
            ErrorCode::ScaleLargerThanPrecision,
            format!("For float(M,D), double(M,D) or decimal(M,D), M must be >= D (column '{name}')."),
        ));
    }
    Ok(())
}

fn too_long(name: &str, max: u32) -> SqlError {
    SqlError::new(
        ErrorCode::TooBigFieldLength,
        format!("Column length too big for column '{name}' (max = {max}); use BLOB or TEXT instead"),
    )
}

fn display_width(name: &str, max: u32) -> SqlError {
    SqlError::new(
        ErrorCode::TooBigDisplayWidth,
        format!("Display width out of range for column '{name}' (max = {max})"),
    )
}

/// The most bytes that a value of this type takes within a row, as MySQL counts them for its limit of 65,535.
pub fn row_bytes(sql_type: &SqlType) -> u64 {
    match sql_type {
        SqlType::Null => 0,
        SqlType::Int(int) => match int.width {
            IntWidth::Tiny => 1,
            IntWidth::Small => 2,
            IntWidth::Medium => 3,
            IntWidth::Int => 4,
            IntWidth::Big => 8,
        },
        SqlType::Float { .. } => 4,
        SqlType::Double { .. } => 8,
        SqlType::Decimal { precision, scale, .. } => {
            let bytes = |digits: u64| digits / 9 * 4 + (digits % 9).div_ceil(2);
            bytes(u64::from(precision - scale)) + bytes(u64::from(*scale))
        }
        SqlType::Char { length, collation } => u64::from(*length) * u64::from(charset::max_bytes(*collation)),
        SqlType::VarChar { length, collation } => {
            let bytes = u64::from(*length) * u64::from(charset::max_bytes(*collation));
            bytes + if bytes > 255 { 2 } else { 1 }
        }
        SqlType::Binary { length } => u64::from(*length),
        SqlType::VarBinary { length } => u64::from(*length) + if *length > 255 { 2 } else { 1 },
        SqlType::Text { size, .. } | SqlType::Blob { size } => match size {
            BlobSize::Tiny => 9,
            BlobSize::Normal => 10,
            BlobSize::Medium => 11,
            BlobSize::Long => 12,
        },
        SqlType::Date | SqlType::Time { fsp: 0 } => 3,
        SqlType::Time { fsp } => 3 + u64::from(fsp.div_ceil(2)),
        SqlType::DateTime { fsp } => 5 + u64::from(fsp.div_ceil(2)),
        SqlType::Timestamp { fsp } => 4 + u64::from(fsp.div_ceil(2)),
        SqlType::Year => 1,
        SqlType::Bit { length } => u64::from(length.div_ceil(8)),
        SqlType::Enum { labels, .. } => {
            if labels.len() > 255 {
                2
            } else {
                1
            }
        }
        SqlType::Set { labels, .. } => match labels.len() {
            0..=8 => 1,
            9..=16 => 2,
            17..=24 => 3,
            25..=32 => 4,
            _ => 8,
        },
        SqlType::Json => 12,
    }
}
