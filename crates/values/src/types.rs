//! SQL types, as columns have them and as expressions derive them.

use std::sync::Arc;

/// The type of a column or of an expression. Nullability lives beside it (on the column or expression).
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum SqlType {
    /// The type of a bare NULL.
    Null,
    /// TINYINT to BIGINT.
    Int(IntType),
    /// FLOAT; `(precision, scale)` if written `FLOAT(M,D)`.
    Float { unsigned: bool, digits: Option<(u8, u8)> },
    /// DOUBLE; likewise.
    Double { unsigned: bool, digits: Option<(u8, u8)> },
    /// DECIMAL(precision ≤ 65, scale ≤ 30).
    Decimal { precision: u8, scale: u8, unsigned: bool },
    /// CHAR(n), n in characters.
    Char { length: u32, collation: Collation },
    /// VARCHAR(n), n in characters.
    VarChar { length: u32, collation: Collation },
    /// TINYTEXT to LONGTEXT.
    Text { size: BlobSize, collation: Collation },
    /// BINARY(n), padded with zero bytes.
    Binary { length: u32 },
    /// VARBINARY(n).
    VarBinary { length: u32 },
    /// TINYBLOB to LONGBLOB.
    Blob { size: BlobSize },
    /// DATE.
    Date,
    /// TIME(fsp).
    Time { fsp: u8 },
    /// DATETIME(fsp).
    DateTime { fsp: u8 },
    /// TIMESTAMP(fsp): stored in UTC, shown in the session's time zone.
    Timestamp { fsp: u8 },
    /// YEAR.
    Year,
    /// BIT(n), n from 1 to 64.
    Bit { length: u8 },
    /// ENUM('a', …).
    Enum { labels: Arc<[Arc<str>]>, collation: Collation },
    /// SET('a', …), at most 64 labels.
    Set { labels: Arc<[Arc<str>]>, collation: Collation },
    /// JSON.
    Json,
}

/// An integer type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct IntType {
    /// TINYINT … BIGINT.
    pub width: IntWidth,
    /// UNSIGNED.
    pub unsigned: bool,
    /// ZEROFILL.
    pub zerofill: bool,
    /// Display width as written; BOOL is TINYINT(1).
    pub display: Option<u8>,
}

/// TINYINT, SMALLINT, MEDIUMINT, INT, BIGINT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum IntWidth {
    /// 1 byte.
    Tiny,
    /// 2 bytes.
    Small,
    /// 3 bytes.
    Medium,
    /// 4 bytes.
    Int,
    /// 8 bytes.
    Big,
}

/// TINY…, plain, MEDIUM…, LONG… BLOB or TEXT: limits of 2^8, 2^16, 2^24, 2^32 less one bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum BlobSize {
    /// 255 bytes.
    Tiny,
    /// 65,535 bytes.
    Normal,
    /// 16,777,215 bytes.
    Medium,
    /// 4,294,967,295 bytes.
    Long,
}

/// A collation, by MySQL's numeric id; the character set follows from it. `Collation::BINARY` is no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Collation(pub u16);

impl Collation {
    /// The pseudo-collation of bytes.
    pub const BINARY: Collation = Collation(63);
    /// MySQL 8's default.
    pub const UTF8MB4_0900_AI_CI: Collation = Collation(255);
    /// utf8mb4_general_ci.
    pub const UTF8MB4_GENERAL_CI: Collation = Collation(45);
    /// utf8mb4_bin.
    pub const UTF8MB4_BIN: Collation = Collation(46);
    /// utf8mb4_unicode_ci.
    pub const UTF8MB4_UNICODE_CI: Collation = Collation(224);
}

impl SqlType {
    /// BIGINT.
    pub const BIGINT: SqlType =
        SqlType::Int(IntType { width: IntWidth::Big, unsigned: false, zerofill: false, display: None });
    /// BIGINT UNSIGNED.
    pub const BIGINT_UNSIGNED: SqlType =
        SqlType::Int(IntType { width: IntWidth::Big, unsigned: true, zerofill: false, display: None });
    /// INT.
    pub const INT: SqlType =
        SqlType::Int(IntType { width: IntWidth::Int, unsigned: false, zerofill: false, display: None });
    /// DOUBLE.
    pub const DOUBLE: SqlType = SqlType::Double { unsigned: false, digits: None };
}
