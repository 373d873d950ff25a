//! Storing a value in a column: conversion to its type under the sql_mode. In strict modes what does not fit
//! is an error; otherwise, and under IGNORE, it is clipped with a warning.

use crate::cast::full_year;
use crate::collation::Charset;
use crate::convert::{self, Number};
use crate::temporal::{self, DateRules};
use crate::{
    Collation, Date, DateTime, Decimal, EvalContext, Json, SqlMode, SqlType, Text, Time, Value, format,
    number,
};
use assize_model::{ErrorCode, SqlError};
use bytes::Bytes;
use std::sync::Arc;

/// Where a value is going, for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColumnPlace<'a> {
    /// The column's name.
    pub name: &'a str,
    /// Which row of the statement, from 1.
    pub row: u64,
}

impl ColumnPlace<'_> {
    fn out_of_range(&self, ctx: &mut EvalContext) -> Result<(), SqlError> {
        let (name, row) = (self.name, self.row);
        ctx.warn(
            ErrorCode::WarnDataOutOfRange,
            format!("Out of range value for column '{name}' at row {row}"),
        )
    }

    fn truncated(&self, ctx: &mut EvalContext) -> Result<(), SqlError> {
        let (name, row) = (self.name, self.row);
        ctx.warn(
            ErrorCode::DataTruncatedForColumn,
            format!("Data truncated for column '{name}' at row {row}"),
        )
    }

    fn truncated_note(&self, ctx: &mut EvalContext) {
        let (name, row) = (self.name, self.row);
        ctx.note(
            ErrorCode::DataTruncatedForColumn,
            format!("Data truncated for column '{name}' at row {row}"),
        );
    }

    fn incorrect(&self, kind: &str, text: &str, ctx: &mut EvalContext) -> Result<(), SqlError> {
        let (name, row) = (self.name, self.row);
        let temporal = matches!(kind, "date" | "datetime" | "time");
        if temporal && !ctx.strict() {
            return self.truncated(ctx);
        }
        let code = match kind {
            "date" | "datetime" | "time" => ErrorCode::TruncatedWrongValue,
            _ => ErrorCode::TruncatedWrongValueForField,
        };
        ctx.warn(code, format!("Incorrect {kind} value: '{text}' for column '{name}' at row {row}"))
    }

    fn too_long(&self, ctx: &mut EvalContext) -> Result<(), SqlError> {
        if !ctx.strict() {
            return self.truncated(ctx);
        }
        let (name, row) = (self.name, self.row);
        ctx.warn(ErrorCode::DataTooLong, format!("Data too long for column '{name}' at row {row}"))
    }
}

/// A value as a column of type `to` keeps it. NULL stays NULL: whether it may is the caller's question.
pub fn store(
    value: &Value,
    from: &SqlType,
    to: &SqlType,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    match (value, to) {
        (Value::Null, _) => Ok(Value::Null),
        (_, SqlType::Null) => Ok(value.clone()),
        (_, SqlType::Int(int)) => {
            let (low, high) = int.width.range(int.unsigned);
            let number = match value {
                Value::Int(number) => (*number).into(),
                Value::UInt(number) => (*number).into(),
                _ => store_integer(value, place, ctx)?,
            };
            let clipped = number.clamp(low, high);
            // -0.4 rounds to 0, but it is below it.
            let below = int.unsigned && matches!(value, Value::Decimal(number) if number.is_negative());
            if clipped != number || below {
                place.out_of_range(ctx)?;
            }
            Ok(if int.unsigned { Value::UInt(clipped as u64) } else { Value::Int(clipped as i64) })
        }
        (_, SqlType::Float { unsigned, digits }) => {
            let number = store_real(value, *unsigned, *digits, f64::from(f32::MAX), place, ctx)?;
            Ok(Value::Float(number as f32))
        }
        (_, SqlType::Double { unsigned, digits }) => {
            store_real(value, *unsigned, *digits, f64::MAX, place, ctx).map(Value::Double)
        }
        (_, SqlType::Decimal { precision, scale, unsigned }) => {
            store_decimal(value, *precision, *scale, *unsigned, place, ctx)
        }
        (_, SqlType::Char { length, collation }) => {
            let text = store_text(value, from, *collation, place, ctx)?;
            let trimmed = text.trim_end_matches(' ');
            let kept = if trimmed.len() == text.len() { text } else { Text::from(trimmed) };
            cut_chars(kept, *length, place, ctx).map(Value::Text)
        }
        (_, SqlType::VarChar { length, collation }) => {
            let text = store_text(value, from, *collation, place, ctx)?;
            cut_chars(text, *length, place, ctx).map(Value::Text)
        }
        (_, SqlType::Text { size, collation }) => {
            let text = store_text(value, from, *collation, place, ctx)?;
            let limit = size.max_bytes() as usize;
            let charset = collation.charset();
            let stored_length = match charset.is_foreign() {
                true => crate::collation::encode(&text, charset).0.len(),
                false => text.len(),
            };
            if stored_length <= limit {
                return Ok(Value::Text(text));
            }
            place.too_long(ctx)?;
            let cut =
                text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= limit).last();
            Ok(Value::text(&text[..cut.unwrap_or(0)]))
        }
        (_, SqlType::Binary { length }) => {
            let bytes = cut_bytes(store_bytes(value, from), *length, place, ctx)?;
            if bytes.len() == *length as usize {
                return Ok(Value::Bytes(bytes));
            }
            let mut padded = bytes.to_vec();
            padded.resize(*length as usize, 0);
            Ok(Value::Bytes(Bytes::from(padded)))
        }
        (_, SqlType::VarBinary { length }) => {
            cut_bytes(store_bytes(value, from), *length, place, ctx).map(Value::Bytes)
        }
        (_, SqlType::Blob { size }) => {
            cut_bytes(store_bytes(value, from), size.max_bytes(), place, ctx).map(Value::Bytes)
        }
        (_, SqlType::Date) => {
            let at = store_datetime(value, "date", place, ctx)?;
            if at.micros != 0 {
                place.truncated_note(ctx);
            }
            Ok(Value::Date(at.date))
        }
        (_, SqlType::DateTime { fsp }) => {
            let at = store_datetime(value, "datetime", place, ctx)?;
            Ok(Value::DateTime(rounded(at, *fsp, value, place, ctx)?))
        }
        (_, SqlType::Timestamp { fsp }) => store_timestamp(value, *fsp, place, ctx),
        (_, SqlType::Time { fsp }) => store_time(value, *fsp, place, ctx),
        (_, SqlType::Year) => store_year(value, place, ctx),
        (_, SqlType::Bit { length }) => {
            let limit = if *length >= 64 { u64::MAX } else { (1 << length) - 1 };
            let bits = match value {
                Value::Bytes(_) | Value::Text(_) => {
                    let bytes = convert::to_bytes(value, from).unwrap_or_default();
                    let significant = bytes.iter().position(|b| *b != 0).map_or(&[][..], |at| &bytes[at..]);
                    if significant.len() > 8 {
                        None
                    } else {
                        Some(significant.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)))
                    }
                }
                _ => convert::to_bits(value, ctx)?,
            };
            match bits {
                Some(bits) if bits <= limit => Ok(Value::Bit(bits)),
                _ => {
                    place.too_long(ctx)?;
                    Ok(Value::Bit(limit))
                }
            }
        }
        (_, SqlType::Enum { labels, collation }) => store_enum(value, from, labels, *collation, place, ctx),
        (_, SqlType::Set { labels, collation }) => store_set(value, from, labels, *collation, place, ctx),
        (_, SqlType::Json) => store_json(value, from, place),
    }
}

fn store_integer(value: &Value, place: &ColumnPlace<'_>, ctx: &mut EvalContext) -> Result<i128, SqlError> {
    let bytes: &[u8] = match value {
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => return Ok(quiet_number(value, ctx).to_i128()),
    };
    // Whole digits are the common case; fractions and exponents round.
    let whole = number::parse_int(bytes);
    if whole.found && !whole.truncated(bytes) {
        return Ok(whole.value);
    }
    let trimmed = bytes.trim_ascii_start();
    match Decimal::parse_prefix(trimmed) {
        Some((number, used)) => {
            if !trimmed[used..].trim_ascii_end().is_empty() {
                place.truncated(ctx)?;
            }
            Ok(number.to_i128())
        }
        None => {
            place.incorrect("integer", &convert::shown(bytes), ctx)?;
            Ok(0)
        }
    }
}

/// The number of a value that is no text: no warning can come of it.
fn quiet_number(value: &Value, ctx: &EvalContext) -> Number {
    let mut quiet = EvalContext { time_zone: ctx.time_zone, ..EvalContext::default() };
    convert::to_number(value, &mut quiet).ok().flatten().unwrap_or(Number::Int(0))
}

fn store_real(
    value: &Value,
    unsigned: bool,
    digits: Option<(u8, u8)>,
    limit: f64,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<f64, SqlError> {
    let bytes: Option<&[u8]> = match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    };
    let mut number = match bytes {
        Some(bytes) => {
            let prefix = number::parse_f64(bytes);
            if prefix.truncated(bytes) {
                place.truncated(ctx)?;
            }
            if prefix.clipped {
                place.out_of_range(ctx)?;
            }
            prefix.value
        }
        None => quiet_number(value, ctx).to_f64(),
    };
    let mut max = limit;
    if let Some((precision, scale)) = digits {
        number = number::round_f64(number, scale.into(), false);
        max = max.min(10f64.powi(i32::from(precision) - i32::from(scale)) - 10f64.powi(-i32::from(scale)));
    }
    let min = if unsigned { 0.0 } else { -max };
    if number > max || number < min {
        place.out_of_range(ctx)?;
        number = number.clamp(min, max);
    }
    Ok(number)
}

fn store_decimal(
    value: &Value,
    precision: u8,
    scale: u8,
    unsigned: bool,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let bytes: Option<&[u8]> = match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    };
    let number = match bytes {
        Some(bytes) => {
            let trimmed = bytes.trim_ascii_start();
            match Decimal::parse_prefix(trimmed) {
                Some((number, used)) => {
                    if !trimmed[used..].trim_ascii_end().is_empty() {
                        place.truncated(ctx)?;
                    }
                    number
                }
                None => {
                    place.incorrect("decimal", &convert::shown(bytes), ctx)?;
                    Decimal::ZERO
                }
            }
        }
        None => quiet_number(value, ctx).to_decimal(),
    };
    let rounded = number.round(scale);
    if unsigned && number.is_negative() {
        place.out_of_range(ctx)?;
        return Ok(Value::Decimal(Decimal::ZERO.round(scale)));
    }
    if !rounded.fits(precision, scale) {
        place.out_of_range(ctx)?;
        let max = Decimal::max(precision, scale);
        return Ok(Value::Decimal(if rounded.is_negative() { max.neg() } else { max }));
    }
    if number.scale() > scale && rounded.compare(&number).is_ne() {
        place.truncated_note(ctx);
    }
    Ok(Value::Decimal(rounded))
}

fn store_text(
    value: &Value,
    from: &SqlType,
    collation: Collation,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Text, SqlError> {
    let charset = collation.charset();
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => match Text::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(bytes) => {
                // Bytes are taken for what they are in the column's character set.
                if charset.is_foreign()
                    && let Ok(text) = crate::collation::decode(&bytes, charset)
                {
                    return Ok(Text::from(text.into_owned()));
                }
                let valid = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
                wrong_string(&bytes[valid..], place, ctx)?;
                Text::from(String::from_utf8_lossy(&bytes[..valid]).into_owned())
            }
        },
        Value::Timestamp(stored) => {
            let at = temporal::timestamp_to_local(*stored, &ctx.time_zone);
            Text::from(format::to_string(&Value::DateTime(at), from))
        }
        _ => convert::to_text(value, from).unwrap_or_default(),
    };
    if charset == Charset::Utf8mb4 || text.is_ascii() {
        return Ok(text);
    }
    match text.char_indices().find(|(_, c)| !charset.has(*c)) {
        None => Ok(text),
        Some((at, _)) => {
            wrong_string(&text.as_bytes()[at..], place, ctx)?;
            let kept: String = text.chars().map(|c| if charset.has(c) { c } else { '?' }).collect();
            Ok(Text::from(kept))
        }
    }
}

fn wrong_string(rest: &[u8], place: &ColumnPlace<'_>, ctx: &mut EvalContext) -> Result<(), SqlError> {
    let mut shown = String::new();
    for byte in &rest[..rest.len().min(6)] {
        if (0x20..0x7f).contains(byte) {
            shown.push(char::from(*byte));
        } else {
            shown.push_str(&format!("\\x{byte:02X}"));
        }
    }
    if rest.len() > 6 {
        shown.push_str("...");
    }
    place.incorrect("string", &shown, ctx)
}

fn cut_chars(
    text: Text,
    length: u32,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Text, SqlError> {
    if text.len() <= length as usize {
        return Ok(text);
    }
    let Some((at, _)) = text.char_indices().nth(length as usize) else { return Ok(text) };
    if text[at..].bytes().all(|byte| byte == b' ') {
        place.truncated_note(ctx);
    } else {
        place.too_long(ctx)?;
    }
    Ok(Text::from(&text[..at]))
}

fn store_bytes(value: &Value, from: &SqlType) -> Bytes {
    convert::to_bytes(value, from).unwrap_or_default()
}

fn cut_bytes(
    bytes: Bytes,
    length: u32,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Bytes, SqlError> {
    if bytes.len() <= length as usize {
        return Ok(bytes);
    }
    place.too_long(ctx)?;
    Ok(bytes.slice(..length as usize))
}

/// The text of a value within a message.
fn shown_value(value: &Value, ctx: &EvalContext) -> String {
    match value {
        Value::Timestamp(stored) => {
            let at = temporal::timestamp_to_local(*stored, &ctx.time_zone);
            format::to_string(&Value::DateTime(at), &SqlType::Null)
        }
        _ => convert::shown(format::to_string(value, &SqlType::Null).as_bytes()),
    }
}

fn store_datetime(
    value: &Value,
    kind: &str,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<DateTime, SqlError> {
    let rules = DateRules::of_mode(ctx.sql_mode);
    // Warnings name the column, so that the conversion's own are not wanted.
    let mut quiet = EvalContext {
        time_zone: ctx.time_zone,
        now_micros: ctx.now_micros,
        sql_mode: ctx.sql_mode,
        ..EvalContext::default()
    };
    let found = convert::to_datetime(value, rules, &mut quiet)?;
    match found {
        Some(at) => {
            if quiet.warning_count > 0 {
                if ctx.strict() {
                    place.incorrect(kind, &shown_value(value, ctx), ctx)?;
                }
                place.truncated(ctx)?;
            }
            Ok(at)
        }
        None => {
            place.incorrect(kind, &shown_value(value, ctx), ctx)?;
            Ok(DateTime::ZERO)
        }
    }
}

fn rounded(
    at: DateTime,
    fsp: u8,
    value: &Value,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<DateTime, SqlError> {
    let cut = ctx.sql_mode.contains(SqlMode::TIME_TRUNCATE_FRACTIONAL);
    match at.round(fsp, cut) {
        Some(at) => Ok(at),
        None => {
            place.incorrect("datetime", &shown_value(value, ctx), ctx)?;
            Ok(DateTime::ZERO)
        }
    }
}

fn store_timestamp(
    value: &Value,
    fsp: u8,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    if let Value::Timestamp(temporal::ZERO_TIMESTAMP) = value {
        return Ok(value.clone());
    }
    let at = store_datetime(value, "datetime", place, ctx)?;
    let at = rounded(at, fsp, value, place, ctx)?;
    if at.is_zero() {
        return Ok(Value::Timestamp(temporal::ZERO_TIMESTAMP));
    }
    let zone = ctx.time_zone;
    let (utc, exists) = if let Value::Timestamp(stored) = value {
        // Already a moment: its local time may be ambiguous.
        let cut = ctx.sql_mode.contains(SqlMode::TIME_TRUNCATE_FRACTIONAL);
        (
            DateTime::from_micros(*stored).and_then(|at| at.round(fsp, cut)).map_or(0, |at| at.to_micros()),
            true,
        )
    } else {
        at.to_utc(&zone)
    };
    let in_range = (temporal::SECOND..=temporal::MAX_TIMESTAMP).contains(&utc);
    if at.date.has_zero_parts() || !in_range {
        if ctx.strict() {
            place.incorrect("datetime", &shown_value(value, ctx), ctx)?;
        }
        place.out_of_range(ctx)?;
        return Ok(Value::Timestamp(temporal::ZERO_TIMESTAMP));
    }
    if !exists {
        place.incorrect("datetime", &shown_value(value, ctx), ctx)?;
    }
    Ok(Value::Timestamp(utc))
}

fn store_time(
    value: &Value,
    fsp: u8,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let mut quiet = EvalContext { time_zone: ctx.time_zone, ..EvalContext::default() };
    let found = convert::to_time(value, &mut quiet)?;
    let Some(time) = found else {
        place.incorrect("time", &shown_value(value, ctx), ctx)?;
        return Ok(Value::Time(Time::default()));
    };
    if quiet.warning_count > 0 {
        if ctx.strict() {
            place.incorrect("time", &shown_value(value, ctx), ctx)?;
        } else if time.micros.abs() == Time::MAX.micros {
            place.out_of_range(ctx)?;
        } else {
            place.truncated(ctx)?;
        }
    }
    if matches!(value, Value::DateTime(_) | Value::Timestamp(_)) {
        place.truncated_note(ctx);
    }
    let cut = ctx.sql_mode.contains(SqlMode::TIME_TRUNCATE_FRACTIONAL);
    let (time, clipped) = time.round(fsp, cut).clipped();
    if clipped {
        place.out_of_range(ctx)?;
    }
    Ok(Value::Time(time))
}

fn store_year(value: &Value, place: &ColumnPlace<'_>, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let (number, text_zero) = match value {
        Value::Date(Date { year, .. }) | Value::DateTime(DateTime { date: Date { year, .. }, .. }) => {
            (i128::from(*year), false)
        }
        Value::Text(text) => {
            let number = store_integer(value, place, ctx)?;
            // '0', '00' and '000' mean 2000; '0000', and what is no number, the zero year.
            (number, number == 0 && text.trim().len() < 4 && number::parse_int(text.as_bytes()).found)
        }
        _ => (store_integer(value, place, ctx)?, false),
    };
    match full_year(number, text_zero) {
        Some(year) => Ok(Value::UInt(year)),
        None => {
            place.out_of_range(ctx)?;
            Ok(Value::UInt(0))
        }
    }
}

fn store_enum(
    value: &Value,
    from: &SqlType,
    labels: &[Arc<str>],
    collation: Collation,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let by_index = |index: i128| {
        let at = usize::try_from(index).ok()?.checked_sub(1)?;
        labels.get(at).map(|label| Value::Enum(at as u16 + 1, label.clone()))
    };
    let found = match value {
        Value::Text(_) | Value::Bytes(_) | Value::Enum(..) | Value::Set(..) | Value::Json(_) => {
            if let Value::Enum(0, _) = value {
                return Ok(value.clone());
            }
            let text = convert::to_str(value, from).unwrap_or_default();
            let text = text.trim_end_matches(' ');
            let by_label = labels.iter().position(|label| collation.equal(label, text));
            match by_label {
                Some(at) => by_index(at as i128 + 1),
                None => {
                    let number = number::parse_int(text.as_bytes());
                    if number.found && !number.truncated(text.as_bytes()) {
                        by_index(number.value)
                    } else {
                        None
                    }
                }
            }
        }
        // Numbers are cut here, not rounded.
        Value::Decimal(number) => by_index(number.truncate_to_i128()),
        Value::Double(number) => by_index(number.trunc() as i128),
        _ => by_index(quiet_number(value, ctx).to_i128()),
    };
    match found {
        Some(found) => Ok(found),
        None => {
            place.truncated(ctx)?;
            Ok(Value::Enum(0, "".into()))
        }
    }
}

/// The SET value of these bits.
pub fn set_value(bits: u64, labels: &[Arc<str>]) -> Value {
    let mut text = String::new();
    for (at, label) in labels.iter().enumerate().take(64) {
        if bits >> at & 1 == 1 {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(label);
        }
    }
    Value::Set(bits, text.into())
}

fn store_set(
    value: &Value,
    from: &SqlType,
    labels: &[Arc<str>],
    collation: Collation,
    place: &ColumnPlace<'_>,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let all = if labels.len() >= 64 { u64::MAX } else { (1 << labels.len()) - 1 };
    let number = match value {
        Value::Text(_) | Value::Bytes(_) | Value::Enum(..) | Value::Set(..) | Value::Json(_) => {
            let text = convert::to_str(value, from).unwrap_or_default();
            let mut bits = 0u64;
            let mut unknown = false;
            if !text.is_empty() {
                for part in text.split(',') {
                    let part = part.trim_end_matches(' ');
                    match labels.iter().take(64).position(|label| collation.equal(label, part)) {
                        Some(at) => bits |= 1 << at,
                        None => unknown = true,
                    }
                }
            }
            if unknown {
                let number = number::parse_int(text.as_bytes());
                let whole = number.found && !number.truncated(text.as_bytes());
                match u64::try_from(number.value) {
                    Ok(by_number) if whole && by_number & !all == 0 => bits = by_number,
                    _ => place.truncated(ctx)?,
                }
            }
            bits
        }
        _ => {
            let number = quiet_number(value, ctx).to_i128();
            let bits = number as u64;
            if bits & !all != 0 {
                place.truncated(ctx)?;
            }
            bits & all
        }
    };
    Ok(set_value(number, labels))
}

fn store_json(value: &Value, from: &SqlType, place: &ColumnPlace<'_>) -> Result<Value, SqlError> {
    let name = place.name;
    let wrong = |what: &str, at: usize| {
        SqlError::new(
            ErrorCode::InvalidJsonText,
            format!("Invalid JSON text: \"{what}\" at position {at} in value for column '{name}'."),
        )
    };
    match value {
        Value::Json(_) => Ok(value.clone()),
        Value::Text(_) | Value::Enum(..) | Value::Set(..) => {
            let text = convert::to_str(value, from).unwrap_or_default();
            match Json::parse(&text) {
                Ok(json) => Ok(Value::Json(json.into())),
                Err(crate::json::JsonError::Syntax(what, at)) => Err(wrong(what, at)),
                Err(crate::json::JsonError::TooDeep) => Err(crate::cast::too_deep()),
            }
        }
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            // Drivers send documents as blobs.
            Ok(text) if Json::parse(text).is_ok() => store_json(&Value::text(text), from, place),
            _ => Err(SqlError::new(
                ErrorCode::InvalidJsonCharset,
                "Cannot create a JSON value from a string with CHARACTER SET 'binary'.",
            )),
        },
        _ => Err(wrong("not a JSON text, may need CAST", 0)),
    }
}

#[cfg(test)]
mod tests;
