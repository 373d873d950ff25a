//! What typing knows about an operand: its type, how strongly its collation is meant, its value if constant.

use crate::collation::{Coercibility, Derivation};
use crate::{Collation, EvalContext, IntType, IntWidth, SqlType, Value};

/// An operand as the binder sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgType {
    /// Its type; the collation is in it.
    pub sql_type: SqlType,
    /// Whether NULL can occur.
    pub nullable: bool,
    /// How strongly its collation is meant.
    pub coercibility: Coercibility,
    /// Its value, if it is a literal or a parameter.
    pub constant: Option<Value>,
}

impl ArgType {
    /// A column, or anything else that is not constant and keeps its collation.
    pub fn column(sql_type: SqlType, nullable: bool) -> Self {
        ArgType { coercibility: coercibility_of(&sql_type), sql_type, nullable, constant: None }
    }

    /// A literal, or the value of a parameter.
    pub fn literal(value: Value, ctx: &EvalContext) -> Self {
        let sql_type = literal_type(&value, ctx.connection_collation);
        let coercibility = match coercibility_of(&sql_type) {
            Coercibility::Implicit => Coercibility::Coercible,
            other => other,
        };
        ArgType { sql_type, nullable: value.is_null(), coercibility, constant: Some(value) }
    }

    /// The result of an expression.
    pub fn expression(sql_type: SqlType, coercibility: Coercibility) -> Self {
        ArgType { sql_type, nullable: true, coercibility, constant: None }
    }

    /// Its collation and how strongly it is meant. What is no text counts as text of the connection.
    pub fn derivation(&self, connection: Collation) -> Derivation {
        match self.sql_type.text_collation() {
            Some(collation) => Derivation::new(collation, self.coercibility),
            None => Derivation::new(connection, coercibility_of(&self.sql_type)),
        }
    }
}

fn coercibility_of(sql_type: &SqlType) -> Coercibility {
    match sql_type {
        SqlType::Null => Coercibility::Ignorable,
        other if other.text_collation().is_some() => Coercibility::Implicit,
        _ => Coercibility::Numeric,
    }
}

/// The type of a literal or of a parameter's value.
pub fn literal_type(value: &Value, connection: Collation) -> SqlType {
    match value {
        Value::Null => SqlType::Null,
        Value::Int(_) => SqlType::BIGINT,
        Value::UInt(_) => SqlType::BIGINT_UNSIGNED,
        Value::Float(_) => SqlType::Float { unsigned: false, digits: None },
        Value::Double(_) => SqlType::DOUBLE,
        Value::Decimal(number) => {
            SqlType::Decimal { precision: number.precision().min(65), scale: number.scale(), unsigned: false }
        }
        Value::Text(text) => SqlType::VarChar { length: text.chars().count() as u32, collation: connection },
        Value::Bytes(bytes) => SqlType::VarBinary { length: bytes.len() as u32 },
        Value::Date(_) => SqlType::Date,
        Value::Time(time) => SqlType::Time { fsp: places(time.micros) },
        Value::DateTime(at) => SqlType::DateTime { fsp: places(at.micros) },
        Value::Timestamp(micros) => SqlType::Timestamp { fsp: places(*micros) },
        Value::Bit(_) => SqlType::Bit { length: 64 },
        Value::Enum(_, label) | Value::Set(_, label) => {
            SqlType::VarChar { length: label.chars().count() as u32, collation: connection }
        }
        Value::Json(_) => SqlType::Json,
    }
}

/// Places that a fraction of microseconds needs.
fn places(micros: i64) -> u8 {
    match micros.unsigned_abs() % 1_000_000 {
        0 => 0,
        fraction => (1..=6).find(|fsp| fraction.is_multiple_of(10u64.pow(6 - fsp))).unwrap_or(6) as u8,
    }
}

impl SqlType {
    /// CHAR, VARCHAR, TEXT, ENUM or SET: the collation; `Collation::BINARY` for binary strings; `None` for
    /// everything else.
    #[inline]
    pub fn text_collation(&self) -> Option<Collation> {
        match self {
            SqlType::Char { collation, .. }
            | SqlType::VarChar { collation, .. }
            | SqlType::Text { collation, .. }
            | SqlType::Enum { collation, .. }
            | SqlType::Set { collation, .. } => Some(*collation),
            SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Blob { .. } => {
                Some(Collation::BINARY)
            }
            _ => None,
        }
    }

    /// The same type with another collation, if it is text.
    pub fn with_collation(&self, new: Collation) -> SqlType {
        let mut changed = self.clone();
        match &mut changed {
            SqlType::Char { collation, .. }
            | SqlType::VarChar { collation, .. }
            | SqlType::Text { collation, .. }
            | SqlType::Enum { collation, .. }
            | SqlType::Set { collation, .. } => *collation = new,
            _ => {}
        }
        changed
    }

    /// Any string type: text or bytes, not ENUM and SET.
    pub fn is_string(&self) -> bool {
        matches!(
            self,
            SqlType::Char { .. }
                | SqlType::VarChar { .. }
                | SqlType::Text { .. }
                | SqlType::Binary { .. }
                | SqlType::VarBinary { .. }
                | SqlType::Blob { .. }
        )
    }

    /// TINYINT to BIGINT.
    pub fn is_integer(&self) -> bool {
        matches!(self, SqlType::Int(_))
    }

    /// Integers, DECIMAL, FLOAT, DOUBLE, YEAR, BIT.
    pub fn is_numeric(&self) -> bool {
        matches!(
            self,
            SqlType::Int(_)
                | SqlType::Decimal { .. }
                | SqlType::Float { .. }
                | SqlType::Double { .. }
                | SqlType::Year
                | SqlType::Bit { .. }
        )
    }

    /// DATE, TIME, DATETIME, TIMESTAMP.
    pub fn is_temporal(&self) -> bool {
        self.has_date() || matches!(self, SqlType::Time { .. })
    }

    /// DATE, DATETIME, TIMESTAMP.
    pub fn has_date(&self) -> bool {
        matches!(self, SqlType::Date | SqlType::DateTime { .. } | SqlType::Timestamp { .. })
    }

    /// UNSIGNED, or a type without negative numbers.
    pub fn is_unsigned(&self) -> bool {
        match self {
            SqlType::Int(int) => int.unsigned,
            SqlType::Float { unsigned, .. }
            | SqlType::Double { unsigned, .. }
            | SqlType::Decimal { unsigned, .. } => *unsigned,
            SqlType::Year | SqlType::Bit { .. } => true,
            _ => false,
        }
    }

    /// Places of the fraction: a DECIMAL's scale, a time's precision; `None` for doubles without any.
    pub fn decimals(&self) -> Option<u8> {
        match self {
            SqlType::Float { digits, .. } | SqlType::Double { digits, .. } => digits.map(|(_, scale)| scale),
            SqlType::Decimal { scale, .. } => Some(*scale),
            SqlType::Time { fsp } | SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => Some(*fsp),
            SqlType::Char { .. }
            | SqlType::VarChar { .. }
            | SqlType::Text { .. }
            | SqlType::Enum { .. }
            | SqlType::Set { .. }
            | SqlType::Json => None,
            _ => Some(0),
        }
    }

    /// (precision, scale) as a DECIMAL.
    pub fn decimal_digits(&self) -> (u8, u8) {
        match self {
            SqlType::Null => (0, 0),
            SqlType::Int(int) => (int.width.digits(int.unsigned), 0),
            SqlType::Decimal { precision, scale, .. } => (*precision, *scale),
            SqlType::Year => (4, 0),
            SqlType::Bit { .. } => (20, 0),
            SqlType::Date => (8, 0),
            SqlType::Time { fsp } => (7 + fsp, *fsp),
            SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => (14 + fsp, *fsp),
            _ => (65, 30),
        }
    }

    /// The most characters (bytes, for binary strings) that its text takes.
    pub fn char_length(&self) -> u32 {
        match self {
            SqlType::Null => 0,
            SqlType::Int(int) => int.display_width().into(),
            SqlType::Float { digits, .. } => digits.map_or(12, |(length, _)| length.into()),
            SqlType::Double { digits, .. } => digits.map_or(22, |(length, _)| u32::from(length)),
            SqlType::Decimal { precision, scale, unsigned } => {
                u32::from(*precision) + u32::from(!*unsigned) + u32::from(*scale > 0)
            }
            SqlType::Char { length, .. }
            | SqlType::VarChar { length, .. }
            | SqlType::Binary { length }
            | SqlType::VarBinary { length } => *length,
            SqlType::Text { size, .. } | SqlType::Blob { size } => size.max_bytes(),
            SqlType::Date => 10,
            SqlType::Time { fsp } => 10 + fraction(*fsp),
            SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => 19 + fraction(*fsp),
            SqlType::Year => 4,
            SqlType::Bit { length } => (*length).into(),
            SqlType::Enum { labels, .. } => {
                labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) as u32
            }
            SqlType::Set { labels, .. } => {
                let letters: usize = labels.iter().map(|label| label.chars().count()).sum();
                (letters + labels.len().saturating_sub(1)) as u32
            }
            SqlType::Json => u32::MAX,
        }
    }

    /// An INT type of this width.
    pub const fn int(width: IntWidth, unsigned: bool) -> SqlType {
        SqlType::Int(IntType { width, unsigned, zerofill: false, display: None })
    }

    /// A VARCHAR, or a TEXT where it would be too long; bytes for `Collation::BINARY`.
    pub fn string(length: u64, collation: Collation) -> SqlType {
        let binary = collation.is_binary();
        let bytes = length.saturating_mul(collation.charset().max_length().into());
        match (bytes, binary) {
            (0..=65_535, true) => SqlType::VarBinary { length: length as u32 },
            (0..=65_535, false) => SqlType::VarChar { length: length as u32, collation },
            (_, true) => SqlType::Blob { size: crate::BlobSize::holding(bytes) },
            (_, false) => SqlType::Text { size: crate::BlobSize::holding(bytes), collation },
        }
    }

    /// The type of truth values: what comparisons answer.
    pub const BOOL: SqlType =
        SqlType::Int(IntType { width: IntWidth::Int, unsigned: false, zerofill: false, display: Some(1) });
}

fn fraction(fsp: u8) -> u32 {
    if fsp == 0 { 0 } else { 1 + u32::from(fsp) }
}

impl IntWidth {
    /// Bytes.
    pub const fn bytes(self) -> u8 {
        match self {
            IntWidth::Tiny => 1,
            IntWidth::Small => 2,
            IntWidth::Medium => 3,
            IntWidth::Int => 4,
            IntWidth::Big => 8,
        }
    }

    /// The least and the greatest number.
    pub const fn range(self, unsigned: bool) -> (i128, i128) {
        let bits = self.bytes() as u32 * 8;
        if unsigned { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
    }

    /// Decimal digits of the greatest number.
    pub const fn digits(self, unsigned: bool) -> u8 {
        match (self, unsigned) {
            (IntWidth::Tiny, _) => 3,
            (IntWidth::Small, _) => 5,
            (IntWidth::Medium, false) => 7,
            (IntWidth::Medium, true) => 8,
            (IntWidth::Int, _) => 10,
            (IntWidth::Big, false) => 19,
            (IntWidth::Big, true) => 20,
        }
    }
}

impl IntType {
    /// The display width: as written, or the one that fits all numbers.
    pub fn display_width(self) -> u8 {
        self.display.unwrap_or(match (self.width, self.unsigned) {
            (IntWidth::Tiny, false) => 4,
            (IntWidth::Tiny, true) => 3,
            (IntWidth::Small, false) => 6,
            (IntWidth::Small, true) => 5,
            (IntWidth::Medium, false) => 9,
            (IntWidth::Medium, true) => 8,
            (IntWidth::Int, false) => 11,
            (IntWidth::Int, true) => 10,
            (IntWidth::Big, _) => 20,
        })
    }
}

impl crate::BlobSize {
    /// The most bytes.
    pub const fn max_bytes(self) -> u32 {
        match self {
            crate::BlobSize::Tiny => 0xff,
            crate::BlobSize::Normal => 0xffff,
            crate::BlobSize::Medium => 0xff_ffff,
            crate::BlobSize::Long => 0xffff_ffff,
        }
    }

    /// The smallest that holds so many bytes.
    pub const fn holding(bytes: u64) -> Self {
        match bytes {
            0..=0xff => crate::BlobSize::Tiny,
            0x100..=0xffff => crate::BlobSize::Normal,
            0x1_0000..=0xff_ffff => crate::BlobSize::Medium,
            _ => crate::BlobSize::Long,
        }
    }
}
