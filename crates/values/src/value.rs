//! Values at run time.

use crate::{Date, DateTime, Decimal, Json, Time};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A value. Text is always UTF-8 inside; character sets matter only at the edges.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// NULL.
    Null,
    /// Any signed integer type.
    Int(i64),
    /// Any unsigned integer type, and YEAR.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal),
    /// CHAR, VARCHAR, TEXT.
    Text(Text),
    /// BINARY, VARBINARY, BLOB.
    Bytes(Bytes),
    /// DATE.
    Date(Date),
    /// TIME.
    Time(Time),
    /// DATETIME; also TIMESTAMP once it is in the session's time zone.
    DateTime(DateTime),
    /// TIMESTAMP as stored: microseconds since the Unix epoch, UTC; `i64::MIN` is the zero timestamp.
    Timestamp(i64),
    /// BIT.
    Bit(u64),
    /// ENUM: 1-based index (0 is the empty error value) and label.
    Enum(u16, Arc<str>),
    /// SET: bits and the labels joined by commas.
    Set(u64, Arc<str>),
    /// JSON.
    Json(Arc<Json>),
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(Text::from(text.into()))
    }
}

/// UTF-8 text that shares its buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Bytes);

impl Text {
    /// Text of these bytes if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if std::str::from_utf8(&bytes).is_ok() { Ok(Text(bytes)) } else { Err(bytes) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor checks that the bytes are UTF-8, and they never change.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// Its bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text.into_bytes()))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
