//! Values as literals of a real server.

use crate::show::quote::quote_text;
use assize_values::{SqlType, Value, format};

/// A value of a column of this type, as the server reads it.
///
/// Numbers are exact: a FLOAT is written as the double that it is. TIMESTAMP is in UTC, which is the connection's time zone.
/// BIT is a number, and ENUM its label, whatever numbers the labels have there.
pub fn literal(value: &Value, sql_type: &SqlType) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) | Value::Bit(number) => number.to_string(),
        Value::Float(number) => real(f64::from(*number)),
        Value::Double(number) => real(*number),
        Value::Decimal(number) => {
            let mut out = Vec::new();
            number.write(number.scale(), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
        Value::Bytes(bytes) => {
            use std::fmt::Write;
            let mut out = String::with_capacity(bytes.len() * 2 + 3);
            out.push_str("x'");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
            out.push('\'');
            out
        }
        Value::Text(text) => quote_text(text.as_str()),
        Value::Enum(_, label) | Value::Set(_, label) => quote_text(label),
        Value::Date(_) | Value::Time(_) | Value::DateTime(_) | Value::Timestamp(_) | Value::Json(_) => {
            quote_text(&format::to_string(value, sql_type))
        }
    }
}

/// With an exponent, so that it is no DECIMAL there. What is no number is none there either, and refused.
fn real(number: f64) -> String {
    if number.is_finite() { format!("{number:e}") } else { quote_text(&number.to_string()) }
}
