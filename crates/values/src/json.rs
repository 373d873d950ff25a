//! JSON documents as MySQL keeps them: object keys ordered by length, then bytes.

use crate::Decimal;

/// A JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// An integer that fits i64.
    Int(i64),
    /// An integer that only fits u64.
    UInt(u64),
    /// A floating-point number.
    Double(f64),
    /// An exact number.
    Decimal(Decimal),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in MySQL's key order, keys unique.
    Object(Vec<(String, Json)>),
}
