//! A value as another kind of value, the way operators and functions take their operands: quietly between
//! numbers, with warning 1292 for text that is not quite a number or a date.

use crate::temporal::{self, DateRules, Parsed};
use crate::{DateTime, Decimal, EvalContext, Json, SqlType, Text, Time, Value, format, number};
use assize_model::{ErrorCode, SqlError};
use bytes::Bytes;
use std::borrow::Cow;

/// A number as arithmetic takes it.
#[derive(Clone, PartialEq, Debug)]
pub enum Number {
    /// Signed.
    Int(i64),
    /// Unsigned.
    UInt(u64),
    /// Exact.
    Decimal(Decimal),
    /// Approximate.
    Double(f64),
}

impl Number {
    /// As a double.
    pub fn to_f64(&self) -> f64 {
        match self {
            Number::Int(number) => *number as f64,
            Number::UInt(number) => *number as f64,
            Number::Decimal(number) => number.to_f64(),
            Number::Double(number) => *number,
        }
    }

    /// As a decimal; a double too large for one is clipped.
    pub fn to_decimal(&self) -> Decimal {
        match self {
            Number::Int(number) => Decimal::from(*number),
            Number::UInt(number) => Decimal::from(*number),
            Number::Decimal(number) => number.clone(),
            Number::Double(number) => Decimal::from_f64(*number).unwrap_or(Decimal::ZERO),
        }
    }

    /// Rounded to an integer, doubles half to even, decimals half away from zero; saturating.
    pub fn to_i128(&self) -> i128 {
        match self {
            Number::Int(number) => (*number).into(),
            Number::UInt(number) => (*number).into(),
            Number::Decimal(number) => number.to_i128(),
            Number::Double(number) => number.round_ties_even() as i128,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Number::Int(number) => *number == 0,
            Number::UInt(number) => *number == 0,
            Number::Decimal(number) => number.is_zero(),
            Number::Double(number) => *number == 0.0,
        }
    }
}

fn truncated(ctx: &mut EvalContext, kind: &str, bytes: &[u8]) -> Result<(), SqlError> {
    ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect {kind} value: '{}'", shown(bytes)))
}

/// Bytes within a message: at most 128 of them, what is no text as `\xHH`.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(128)];
    let mut out = String::new();
    for chunk in cut.utf8_chunks() {
        out.push_str(chunk.valid());
        if chunk.invalid().len() < 4 && bytes.len() > 128 && !chunk.invalid().is_empty() {
            break;
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

fn text_number(bytes: &[u8], ctx: &mut EvalContext) -> Result<Number, SqlError> {
    let prefix = number::parse_f64(bytes);
    if prefix.truncated(bytes) {
        truncated(ctx, "DOUBLE", bytes)?;
    }
    Ok(Number::Double(prefix.value))
}

/// A value as a number; `None` for NULL. Text is a double.
pub fn to_number(value: &Value, ctx: &mut EvalContext) -> Result<Option<Number>, SqlError> {
    let fractional = |whole: i64, micros: i64| {
        let fraction = micros % temporal::SECOND;
        if fraction == 0 {
            return Number::Int(whole);
        }
        let unscaled = i128::from(whole) * 1_000_000 + i128::from(fraction);
        Number::Decimal(Decimal::new(unscaled, 6))
    };
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Int(number) => Number::Int(*number),
        Value::UInt(number) | Value::Bit(number) => Number::UInt(*number),
        Value::Float(number) => Number::Double((*number).into()),
        Value::Double(number) => Number::Double(*number),
        Value::Decimal(number) => Number::Decimal(number.clone()),
        Value::Text(text) => text_number(text.as_bytes(), ctx)?,
        Value::Bytes(bytes) => text_number(bytes, ctx)?,
        Value::Date(date) => Number::Int(date.to_number()),
        Value::Time(time) => fractional(time.to_number(), time.micros),
        Value::DateTime(at) => fractional(at.to_number(), at.micros),
        Value::Timestamp(stored) => {
            let at = temporal::timestamp_to_local(*stored, &ctx.time_zone);
            fractional(at.to_number(), at.micros)
        }
        Value::Enum(index, _) => Number::Int((*index).into()),
        Value::Set(bits, _) => Number::UInt(*bits),
        Value::Json(json) => json_number(json, ctx)?,
    }))
}

fn json_number(json: &Json, ctx: &mut EvalContext) -> Result<Number, SqlError> {
    Ok(match json {
        Json::Int(number) => Number::Int(*number),
        Json::UInt(number) => Number::UInt(*number),
        Json::Double(number) => Number::Double(*number),
        Json::Decimal(number) => Number::Decimal(number.clone()),
        Json::Bool(flag) => Number::Int((*flag).into()),
        Json::String(text) => {
            let prefix = number::parse_f64(text.as_bytes());
            if prefix.truncated(text.as_bytes()) {
                invalid_json_cast(ctx, "DOUBLE")?;
            }
            Number::Double(prefix.value)
        }
        Json::Date(date) => Number::Int(date.to_number()),
        Json::Time(time) => Number::Int(time.to_number()),
        Json::DateTime(at) => Number::Int(at.to_number()),
        Json::Null | Json::Array(_) | Json::Object(_) => {
            invalid_json_cast(ctx, "DOUBLE")?;
            Number::Int(0)
        }
    })
}

pub(crate) fn invalid_json_cast(ctx: &mut EvalContext, kind: &str) -> Result<(), SqlError> {
    ctx.warn(
        ErrorCode::InvalidJsonValueForCast,
        format!("Invalid JSON value for CAST to {kind} from column json_value at row 1"),
    )
}

/// A value as a double; `None` for NULL.
pub fn to_f64(value: &Value, ctx: &mut EvalContext) -> Result<Option<f64>, SqlError> {
    match value {
        Value::Double(number) => Ok(Some(*number)),
        _ => Ok(to_number(value, ctx)?.map(|number| number.to_f64())),
    }
}

/// A value as a decimal; `None` for NULL.
pub fn to_decimal(value: &Value, ctx: &mut EvalContext) -> Result<Option<Decimal>, SqlError> {
    let bytes: &[u8] = match value {
        Value::Decimal(number) => return Ok(Some(number.clone())),
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => return Ok(to_number(value, ctx)?.map(|number| number.to_decimal())),
    };
    let trimmed = bytes.trim_ascii_start();
    match Decimal::parse_prefix(trimmed) {
        Some((number, used)) => {
            if !trimmed[used..].trim_ascii_end().is_empty() {
                truncated(ctx, "DECIMAL", bytes)?;
            }
            Ok(Some(number))
        }
        None => {
            truncated(ctx, "DECIMAL", bytes)?;
            Ok(Some(Decimal::ZERO))
        }
    }
}

/// A value as an integer, as functions take their counts and positions; `None` for NULL. Text counts as far
/// as it is digits; saturating.
pub fn to_i128(value: &Value, ctx: &mut EvalContext) -> Result<Option<i128>, SqlError> {
    let bytes: &[u8] = match value {
        Value::Int(number) => return Ok(Some((*number).into())),
        Value::UInt(number) => return Ok(Some((*number).into())),
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => return Ok(to_number(value, ctx)?.map(|number| number.to_i128())),
    };
    let prefix = number::parse_int(bytes);
    if prefix.truncated(bytes) {
        truncated(ctx, "INTEGER", bytes)?;
    }
    Ok(Some(prefix.value))
}

/// As [`to_i128`], clipped to 64 bits; numbers above are the greatest.
pub fn to_i64(value: &Value, ctx: &mut EvalContext) -> Result<Option<i64>, SqlError> {
    Ok(to_i128(value, ctx)?.map(|number| number.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
}

/// The bits of a value as bit operations take them: negative numbers in two's complement.
pub fn to_bits(value: &Value, ctx: &mut EvalContext) -> Result<Option<u64>, SqlError> {
    Ok(to_i128(value, ctx)?.map(|number| match u64::try_from(number) {
        Ok(bits) => bits,
        Err(_) if number < 0 => number.max(i64::MIN.into()) as i64 as u64,
        Err(_) => u64::MAX,
    }))
}

/// The truth of a value: whether it is a number other than 0; `None` for NULL.
#[inline]
pub fn to_bool(value: &Value, ctx: &mut EvalContext) -> Result<Option<bool>, SqlError> {
    match value {
        Value::Int(number) => Ok(Some(*number != 0)),
        Value::Null => Ok(None),
        Value::Json(json) => Ok(Some(match &**json {
            Json::Null | Json::Array(_) | Json::Object(_) => true,
            other => other.compare(&Json::Int(0)).is_ne() && !matches!(other, Json::Bool(false)),
        })),
        _ => Ok(to_number(value, ctx)?.map(|number| !number.is_zero())),
    }
}

/// A value as text: what it prints as; bytes that are no UTF-8 become U+FFFD. `None` for NULL.
pub fn to_text(value: &Value, sql_type: &SqlType) -> Option<Text> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bytes(bytes) => Some(match Text::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(bytes) => Text::from(String::from_utf8_lossy(&bytes).into_owned()),
        }),
        _ => Some(Text::from(format::to_string(value, sql_type))),
    }
}

/// A value's text, borrowed where it is text already; `None` for NULL.
pub fn to_str<'a>(value: &'a Value, sql_type: &SqlType) -> Option<Cow<'a, str>> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(Cow::Borrowed(text.as_str())),
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        Value::Enum(_, label) | Value::Set(_, label) => Some(Cow::Borrowed(label)),
        _ => Some(Cow::Owned(format::to_string(value, sql_type))),
    }
}

/// A value's bytes: those of its text; `None` for NULL.
pub fn to_bytes(value: &Value, sql_type: &SqlType) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.bytes().clone()),
        Value::Bytes(bytes) => Some(bytes.clone()),
        _ => {
            let mut out = Vec::new();
            format::write_text(value, sql_type, &mut out);
            Some(Bytes::from(out))
        }
    }
}

pub(crate) fn incorrect(ctx: &mut EvalContext, kind: &str, value: &Value) -> Result<(), SqlError> {
    let text = format::to_string(value, &SqlType::Null);
    ctx.warn(ErrorCode::TruncatedWrongValue, format!("Incorrect {kind} value: '{}'", shown(text.as_bytes())))
}

/// Applies the offset that followed a datetime: it becomes local to the session.
fn localized(parsed: Parsed<DateTime>, ctx: &EvalContext) -> Option<DateTime> {
    let Some(offset) = parsed.offset else { return Some(parsed.value) };
    if parsed.value.date.has_zero_parts() {
        return None;
    }
    DateTime::from_utc(parsed.value.to_micros() - i64::from(offset) * temporal::SECOND, &ctx.time_zone)
}

/// A value as a date and time, as functions take it; `None` for NULL and, with warning 1292, for what is none.
pub fn to_datetime(
    value: &Value,
    rules: DateRules,
    ctx: &mut EvalContext,
) -> Result<Option<DateTime>, SqlError> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::DateTime(at) => rules.allow(at.date).then_some(*at),
        Value::Date(date) => rules.allow(*date).then_some(date.at_midnight()),
        Value::Timestamp(stored) => {
            let at = temporal::timestamp_to_local(*stored, &ctx.time_zone);
            rules.allow(at.date).then_some(at)
        }
        Value::Time(time) => {
            let today = ctx.now().date.at_midnight();
            DateTime::from_micros(today.to_micros() + time.micros)
        }
        Value::Text(_) | Value::Bytes(_) | Value::Enum(..) | Value::Set(..) => {
            let text = to_str(value, &SqlType::Null).unwrap_or_default();
            match temporal::parse_datetime(&text, rules) {
                Some(parsed) => {
                    if parsed.truncated {
                        truncated(ctx, "datetime", text.as_bytes())?;
                    }
                    localized(parsed, ctx)
                }
                None => None,
            }
        }
        Value::Json(json) => match &**json {
            Json::DateTime(at) => Some(*at),
            Json::Date(date) => Some(date.at_midnight()),
            Json::String(text) => {
                temporal::parse_datetime(text, rules).and_then(|parsed| localized(parsed, ctx))
            }
            _ => None,
        },
        _ => {
            let number = to_number(value, ctx)?.map(|number| number.to_decimal()).unwrap_or(Decimal::ZERO);
            let whole = i64::try_from(number.truncate_to_i128()).unwrap_or(-1);
            let micros = fraction_micros(&number);
            temporal::datetime_of_number(whole, rules)
                .map(|parsed| DateTime { micros: parsed.value.micros + micros, ..parsed.value })
        }
    };
    if found.is_none() {
        incorrect(ctx, "datetime", value)?;
    }
    Ok(found)
}

/// The fraction of a number, in millionths.
fn fraction_micros(number: &Decimal) -> i64 {
    let fraction = number.sub(&number.truncate(0)).unwrap_or(Decimal::ZERO);
    fraction.mul(&Decimal::from(1_000_000i64)).map_or(0, |micros| micros.truncate_to_i128() as i64)
}

/// A value as a time; `None` for NULL and, with warning 1292, for what is none.
pub fn to_time(value: &Value, ctx: &mut EvalContext) -> Result<Option<Time>, SqlError> {
    let parsed = match value {
        Value::Null => return Ok(None),
        Value::Time(time) => return Ok(Some(*time)),
        Value::DateTime(at) => return Ok(Some(at.time())),
        Value::Timestamp(stored) => {
            return Ok(Some(temporal::timestamp_to_local(*stored, &ctx.time_zone).time()));
        }
        Value::Date(_) => return Ok(Some(Time::default())),
        Value::Text(_) | Value::Bytes(_) | Value::Enum(..) | Value::Set(..) => {
            let text = to_str(value, &SqlType::Null).unwrap_or_default();
            temporal::parse_time(&text)
        }
        Value::Json(json) => match &**json {
            Json::Time(time) => return Ok(Some(*time)),
            Json::DateTime(at) => return Ok(Some(at.time())),
            Json::String(text) => temporal::parse_time(text),
            _ => None,
        },
        _ => {
            let number = to_number(value, ctx)?.map(|number| number.to_decimal()).unwrap_or(Decimal::ZERO);
            let whole = i64::try_from(number.truncate_to_i128()).unwrap_or(i64::MAX);
            temporal::time_of_number(whole).map(|parsed| {
                let micros = parsed.value.micros + fraction_micros(&number);
                Parsed { value: Time { micros }.clipped().0, ..parsed }
            })
        }
    };
    match parsed {
        Some(parsed) => {
            if parsed.truncated {
                truncated(ctx, "time", format::to_string(value, &SqlType::Null).as_bytes())?;
            }
            Ok(Some(parsed.value))
        }
        None => {
            incorrect(ctx, "time", value)?;
            Ok(None)
        }
    }
}
