//! Comparing values: by what rule two types compare, the comparison itself, keys for grouping, LIKE and
//! regular expressions.

use crate::collation::{self, Coercibility};
use crate::convert::{self, Number};
use crate::temporal::{self, DateRules};
use crate::{ArgType, Collation, DateTime, EvalContext, Json, SqlType, Value};
use assize_model::{ErrorCode, SqlError};
use std::borrow::Cow;
use std::cmp::Ordering;

/// By what rule two values compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Comparison {
    /// As exact integers.
    Int,
    /// As exact decimals.
    Decimal,
    /// As doubles.
    Double,
    /// As text in this collation.
    Text(Collation),
    /// As bytes.
    Bytes,
    /// As dates and times.
    DateTime,
    /// As times.
    Time,
    /// As JSON.
    Json,
}

impl Comparison {
    /// The rule for operands of these types; error 1267 if their collations exclude each other.
    pub fn of(left: &ArgType, right: &ArgType, operation: &str) -> Result<Comparison, SqlError> {
        let (a, b) = (&left.sql_type, &right.sql_type);
        if let Some(rule) = Self::without_text(a, b) {
            return Ok(rule);
        }
        let connection = Collation::default();
        let derivations = [left.derivation(connection), right.derivation(connection)];
        let collation = collation::aggregate_for_comparison(&derivations, operation)?;
        Ok(if collation.is_binary() { Comparison::Bytes } else { Comparison::Text(collation) })
    }

    /// The rule for two columns of these types, and for sorting one.
    pub fn of_types(left: &SqlType, right: &SqlType) -> Result<Comparison, SqlError> {
        Self::of(&ArgType::column(left.clone(), true), &ArgType::column(right.clone(), true), "=")
    }

    /// The rule for sorting values of one type.
    pub fn of_type(sql_type: &SqlType) -> Comparison {
        match sql_type {
            SqlType::Enum { .. } | SqlType::Set { .. } => Comparison::Int,
            _ => match (Self::without_text(sql_type, sql_type), sql_type.text_collation()) {
                (Some(rule), _) => rule,
                (None, Some(collation)) if !collation.is_binary() => Comparison::Text(collation),
                _ => Comparison::Bytes,
            },
        }
    }

    /// `None` where text meets text.
    fn without_text(a: &SqlType, b: &SqlType) -> Option<Comparison> {
        use SqlType as T;
        let text = |t: &SqlType| t.text_collation().is_some();
        let integer = |t: &SqlType| matches!(t, T::Int(_) | T::Year | T::Bit { .. });
        let labels = |t: &SqlType| matches!(t, T::Enum { .. } | T::Set { .. });
        Some(match (a, b) {
            (T::Null, T::Null) => Comparison::Bytes,
            (T::Null, other) | (other, T::Null) => Self::of_type(other),
            (T::Json, _) | (_, T::Json) => Comparison::Json,
            (T::Time { .. }, T::Time { .. }) => Comparison::Time,
            (a, b) if a.is_temporal() && b.is_temporal() => Comparison::DateTime,
            (T::Time { .. }, other) | (other, T::Time { .. }) if text(other) => Comparison::Time,
            (T::Time { .. }, _) | (_, T::Time { .. }) => Comparison::Double,
            (a, b) if a.has_date() || b.has_date() => Comparison::DateTime,
            (a, b) if text(a) && text(b) => return None,
            (a, b) if integer(a) && integer(b) => Comparison::Int,
            (a, b) if labels(a) && integer(b) || integer(a) && labels(b) => Comparison::Int,
            (T::Decimal { .. }, other) | (other, T::Decimal { .. })
                if integer(other) || matches!(other, T::Decimal { .. }) =>
            {
                Comparison::Decimal
            }
            _ => Comparison::Double,
        })
    }
}

/// Compares two values; `None` if either is NULL.
#[inline]
pub fn compare(
    a: &Value,
    b: &Value,
    rule: &Comparison,
    ctx: &mut EvalContext,
) -> Result<Option<Ordering>, SqlError> {
    match (a, b, rule) {
        (Value::Int(x), Value::Int(y), _) => Ok(Some(x.cmp(y))),
        (Value::Null, _, _) | (_, Value::Null, _) => Ok(None),
        (Value::Text(x), Value::Text(y), Comparison::Text(collation)) => Ok(Some(collation.compare(x, y))),
        _ => match alike(a, b, rule) {
            Some(order) => Ok(Some(order)),
            None => compare_by(a, b, rule, ctx).map(Some),
        },
    }
}

/// The order of values that are of the rule's own kind already: no conversion, no warning.
#[inline]
fn alike(a: &Value, b: &Value, rule: &Comparison) -> Option<Ordering> {
    use Comparison as C;
    Some(match (a, b, rule) {
        (Value::UInt(x), Value::UInt(y), C::Int | C::Decimal | C::Double) => x.cmp(y),
        (Value::Enum(x, _), Value::Enum(y, _), C::Int) => x.cmp(y),
        (Value::Decimal(x), Value::Decimal(y), C::Decimal) => x.compare(y),
        (Value::Double(x), Value::Double(y), C::Double) => x.partial_cmp(y).unwrap_or(Ordering::Equal),
        (Value::Bytes(x), Value::Bytes(y), C::Bytes) => x.cmp(y),
        (Value::Date(x), Value::Date(y), C::DateTime) => x.cmp(y),
        (Value::DateTime(x), Value::DateTime(y), C::DateTime) => x.cmp(y),
        (Value::Timestamp(x), Value::Timestamp(y), C::DateTime) => x.cmp(y),
        (Value::Time(x), Value::Time(y), C::Time) => x.cmp(y),
        _ => return None,
    })
}

/// `a = b`, NULL if either is NULL.
pub fn equal(
    a: &Value,
    b: &Value,
    rule: &Comparison,
    ctx: &mut EvalContext,
) -> Result<Option<bool>, SqlError> {
    Ok(compare(a, b, rule, ctx)?.map(Ordering::is_eq))
}

/// `a <=> b`: NULL equals NULL.
pub fn null_safe_equal(
    a: &Value,
    b: &Value,
    rule: &Comparison,
    ctx: &mut EvalContext,
) -> Result<bool, SqlError> {
    if a.is_null() || b.is_null() {
        return Ok(a.is_null() && b.is_null());
    }
    Ok(compare(a, b, rule, ctx)?.is_some_and(Ordering::is_eq))
}

/// The order of two values of one type for sorting: NULL lowest, never an error.
pub fn sort_order(a: &Value, b: &Value, rule: &Comparison) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Int(x), Value::Int(y)) => x.cmp(y),
        (Value::Text(x), Value::Text(y)) => match rule {
            Comparison::Text(collation) => collation.compare(x, y),
            _ => compare_by(a, b, rule, &mut EvalContext::default()).unwrap_or(Ordering::Equal),
        },
        _ => alike(a, b, rule).unwrap_or_else(|| {
            compare_by(a, b, rule, &mut EvalContext::default()).unwrap_or(Ordering::Equal)
        }),
    }
}

fn compare_by(a: &Value, b: &Value, rule: &Comparison, ctx: &mut EvalContext) -> Result<Ordering, SqlError> {
    let zero = || Number::Int(0);
    Ok(match rule {
        Comparison::Int | Comparison::Decimal => {
            let x = convert::to_number(a, ctx)?.unwrap_or_else(zero);
            let y = convert::to_number(b, ctx)?.unwrap_or_else(zero);
            compare_numbers(&x, &y)
        }
        Comparison::Double => {
            if let Some(order) = exact_integers(a, b) {
                return Ok(order);
            }
            let x = convert::to_f64(a, ctx)?.unwrap_or(0.0);
            let y = convert::to_f64(b, ctx)?.unwrap_or(0.0);
            x.partial_cmp(&y).unwrap_or(Ordering::Equal)
        }
        Comparison::Text(collation) => {
            let x = convert::to_str(a, &SqlType::Null).unwrap_or_default();
            let y = convert::to_str(b, &SqlType::Null).unwrap_or_default();
            collation.compare(&x, &y)
        }
        Comparison::Bytes => {
            let x = convert::to_bytes(a, &SqlType::Null).unwrap_or_default();
            let y = convert::to_bytes(b, &SqlType::Null).unwrap_or_default();
            x.cmp(&y)
        }
        Comparison::DateTime => {
            let number = |v: &Value| {
                matches!(
                    v,
                    Value::Int(_) | Value::UInt(_) | Value::Decimal(_) | Value::Double(_) | Value::Bit(_)
                )
            };
            if (number(a) || number(b)) && (as_datetime(a, ctx).is_none() || as_datetime(b, ctx).is_none()) {
                let x = convert::to_number(a, ctx)?.unwrap_or_else(zero);
                let y = convert::to_number(b, ctx)?.unwrap_or_else(zero);
                return Ok(compare_numbers(&x, &y));
            }
            datetime(a, ctx)?.cmp(&datetime(b, ctx)?)
        }
        Comparison::Time => {
            let x = convert::to_time(a, ctx)?.unwrap_or_default();
            let y = convert::to_time(b, ctx)?.unwrap_or_default();
            x.cmp(&y)
        }
        Comparison::Json => as_json(a).compare(&as_json(b)),
    })
}

/// Integers that are written as text compare exactly: a BIGINT key is looked up by its digits.
fn exact_integers(a: &Value, b: &Value) -> Option<Ordering> {
    let exact = |v: &Value| -> Option<i128> {
        match v {
            Value::Int(number) => Some((*number).into()),
            Value::UInt(number) => Some((*number).into()),
            Value::Text(text) => {
                let prefix = crate::number::parse_int(text.as_bytes());
                (prefix.found && prefix.used == text.len()).then_some(prefix.value)
            }
            _ => None,
        }
    };
    Some(exact(a)?.cmp(&exact(b)?))
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (a, b) {
        (Number::Int(x), Number::Int(y)) => x.cmp(y),
        (Number::UInt(x), Number::UInt(y)) => x.cmp(y),
        (Number::Int(x), Number::UInt(y)) => i128::from(*x).cmp(&i128::from(*y)),
        (Number::UInt(x), Number::Int(y)) => i128::from(*x).cmp(&i128::from(*y)),
        (Number::Double(_), _) | (_, Number::Double(_)) => {
            a.to_f64().partial_cmp(&b.to_f64()).unwrap_or(Ordering::Equal)
        }
        _ => a.to_decimal().compare(&b.to_decimal()),
    }
}

fn as_datetime(value: &Value, ctx: &EvalContext) -> Option<DateTime> {
    let mut quiet =
        EvalContext { time_zone: ctx.time_zone, now_micros: ctx.now_micros, ..Default::default() };
    convert::to_datetime(value, DateRules::ANY, &mut quiet).ok().flatten()
}

/// An operand of a comparison with a date: what is none is the zero date, with a warning.
fn datetime(value: &Value, ctx: &mut EvalContext) -> Result<DateTime, SqlError> {
    let rules = DateRules { invalid: true, ..DateRules::ANY };
    Ok(convert::to_datetime(value, rules, ctx)?.unwrap_or(DateTime::ZERO))
}

/// Error 1525's check of a constant that is compared with a date or time, as the binder makes it: text that
/// is none is an error, not a warning per row.
pub fn check_temporal_constant(column: &SqlType, constant: &Value) -> Result<(), SqlError> {
    let Value::Text(text) = constant else { return Ok(()) };
    let rules = DateRules { invalid: true, ..DateRules::ANY };
    let (kind, sound) = match column {
        SqlType::Date => ("DATE", temporal::parse_datetime(text, rules).is_some()),
        SqlType::DateTime { .. } => ("DATETIME", temporal::parse_datetime(text, rules).is_some()),
        SqlType::Timestamp { .. } => ("TIMESTAMP", temporal::parse_datetime(text, rules).is_some()),
        SqlType::Time { .. } => ("TIME", temporal::parse_time(text).is_some()),
        _ => return Ok(()),
    };
    if sound {
        return Ok(());
    }
    Err(SqlError::new(ErrorCode::WrongValue, format!("Incorrect {kind} value: '{}'", text.as_str())))
}

/// A value as a JSON scalar, for comparing with JSON.
pub fn as_json(value: &Value) -> Cow<'_, Json> {
    Cow::Owned(match value {
        Value::Json(json) => return Cow::Borrowed(json),
        Value::Null => Json::Null,
        Value::Int(number) => Json::Int(*number),
        Value::UInt(number) | Value::Bit(number) => match i64::try_from(*number) {
            Ok(number) => Json::Int(number),
            Err(_) => Json::UInt(*number),
        },
        Value::Float(number) => Json::Double((*number).into()),
        Value::Double(number) => Json::Double(*number),
        Value::Decimal(number) => Json::Decimal(number.clone()),
        Value::Text(text) => Json::String(text.as_str().to_owned()),
        Value::Bytes(bytes) => Json::String(String::from_utf8_lossy(bytes).into_owned()),
        Value::Date(date) => Json::Date(*date),
        Value::Time(time) => Json::Time(*time),
        Value::DateTime(at) => Json::DateTime(*at),
        Value::Timestamp(stored) => {
            Json::DateTime(temporal::timestamp_to_local(*stored, &crate::TimeZone::System))
        }
        Value::Enum(_, label) | Value::Set(_, label) => Json::String((**label).to_owned()),
    })
}

/// Appends bytes that are equal for values that GROUP BY, DISTINCT and hash joins take for equal (text by the
/// collation). Both sides of a join must have been brought to one type.
pub fn group_key(value: &Value, collation: Collation, out: &mut Vec<u8>) {
    use assize_codec::order;
    let real = |number: f64, out: &mut Vec<u8>| {
        out.push(3);
        order::put_f64(out, number);
    };
    match value {
        Value::Null => out.push(0),
        Value::Int(number) => {
            out.push(1);
            out.extend_from_slice(&i128::from(*number).to_le_bytes()[..9]);
        }
        Value::UInt(number) | Value::Bit(number) => {
            out.push(1);
            out.extend_from_slice(&i128::from(*number).to_le_bytes()[..9]);
        }
        Value::Decimal(number) => {
            out.push(2);
            number.put_ordered(out);
        }
        Value::Float(number) => real((*number).into(), out),
        Value::Double(number) => real(*number, out),
        Value::Text(text) => group_text(text, collation, out),
        Value::Enum(_, label) | Value::Set(_, label) => group_text(label, collation, out),
        Value::Bytes(bytes) => {
            out.push(5);
            order::put_bytes(out, bytes);
        }
        Value::Date(date) => {
            out.push(6);
            order::put_i64(out, date.at_midnight().to_number());
            order::put_i64(out, 0);
        }
        Value::DateTime(at) => {
            out.push(6);
            order::put_i64(out, at.to_number());
            order::put_i64(out, at.micros % temporal::SECOND);
        }
        Value::Timestamp(stored) => {
            out.push(7);
            order::put_i64(out, *stored);
        }
        Value::Time(time) => {
            out.push(8);
            order::put_i64(out, time.micros);
        }
        Value::Json(json) => {
            out.push(9);
            group_json(json, out);
        }
    }
}

fn group_text(text: &str, collation: Collation, out: &mut Vec<u8>) {
    out.push(4);
    let mut key = Vec::with_capacity(text.len() * 2);
    collation.sort_key(text, &mut key);
    assize_codec::order::put_bytes(out, &key);
}

/// Numbers that are equal print differently (1 and 1.0): they go by value.
fn group_json(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Int(_) | Json::UInt(_) | Json::Decimal(_) | Json::Double(_) => {
            out.push(1);
            assize_codec::order::put_f64(out, json.to_f64().unwrap_or(0.0));
        }
        Json::Array(items) => {
            out.push(2);
            out.extend_from_slice(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| group_json(item, out));
        }
        Json::Object(members) => {
            out.push(3);
            out.extend_from_slice(&(members.len() as u64).to_le_bytes());
            for (key, value) in members {
                assize_codec::order::put_bytes(out, key.as_bytes());
                group_json(value, out);
            }
        }
        other => {
            out.push(4);
            let mut text = Vec::new();
            other.write(&mut text);
            assize_codec::order::put_bytes(out, &text);
        }
    }
}

/// A LIKE pattern, ready to match.
#[derive(Clone, PartialEq, Debug)]
pub struct Like {
    parts: Vec<LikePart>,
    collation: Collation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LikePart {
    /// This character.
    Char(char),
    /// `_`
    One,
    /// `%`
    Any,
}

impl Like {
    /// Of this pattern; `escape` is `\` unless the statement says otherwise, `None` for `ESCAPE ''`.
    pub fn new(pattern: &str, escape: Option<char>, collation: Collation) -> Like {
        let mut parts = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                c if Some(c) == escape => LikePart::Char(chars.next().unwrap_or(c)),
                '_' => LikePart::One,
                '%' => LikePart::Any,
                c => LikePart::Char(c),
            };
            if part != LikePart::Any || parts.last() != Some(&LikePart::Any) {
                parts.push(part);
            }
        }
        Like { parts, collation }
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        // Greedy with one point of return: the last `%` and where it has matched up to.
        let mut chars = text.chars();
        let mut at = 0;
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            match self.parts.get(at) {
                Some(LikePart::Any) => {
                    if at + 1 == self.parts.len() {
                        return true;
                    }
                    at += 1;
                    again = Some((at, chars.clone()));
                    continue;
                }
                part => {
                    let mut next = chars.clone();
                    let matched = match (part, next.next()) {
                        (Some(LikePart::One), Some(_)) => true,
                        (Some(LikePart::Char(want)), Some(c)) => self.collation.same_char(*want, c),
                        (None, None) => return true,
                        _ => false,
                    };
                    if matched {
                        chars = next;
                        at += 1;
                        continue;
                    }
                }
            }
            match &mut again {
                Some((back, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    at = *back;
                    chars = from.clone();
                }
                None => return false,
            }
        }
    }

    /// The characters that every match begins with: where a range scan starts.
    pub fn prefix(&self) -> String {
        self.parts
            .iter()
            .map_while(|part| match part {
                LikePart::Char(c) => Some(*c),
                _ => None,
            })
            .collect()
    }

    /// Whether the pattern is its prefix and one `%` at the end.
    pub fn is_prefix(&self) -> bool {
        matches!(self.parts.split_last(), Some((LikePart::Any, head))
            if head.iter().all(|part| matches!(part, LikePart::Char(_))))
    }
}

/// `text LIKE pattern ESCAPE escape`.
pub fn like(text: &str, pattern: &str, escape: Option<char>, collation: Collation) -> bool {
    Like::new(pattern, escape, collation).matches(text)
}

/// `value LIKE pattern` over values; bytes match byte for byte.
pub fn like_values(
    value: &Value,
    value_type: &SqlType,
    pattern: &Value,
    escape: Option<char>,
    collation: Collation,
) -> Option<bool> {
    let as_chars = |bytes: &[u8]| -> String { bytes.iter().map(|byte| char::from(*byte)).collect() };
    if collation.is_binary() {
        let text = convert::to_bytes(value, value_type)?;
        let pattern = convert::to_bytes(pattern, &SqlType::Null)?;
        return Some(like(&as_chars(&text), &as_chars(&pattern), escape, Collation::UTF8MB4_0900_BIN));
    }
    let text = convert::to_str(value, value_type)?;
    let pattern = convert::to_str(pattern, &SqlType::Null)?;
    Some(like(&text, &pattern, escape, collation))
}

/// A compiled regular expression; `match_type` holds the letters `c i m n u` of REGEXP_LIKE. Compiled ones are
/// kept in the context.
pub fn regex(
    pattern: &str,
    match_type: &str,
    collation: Collation,
    ctx: &mut EvalContext,
) -> Result<regex::Regex, SqlError> {
    let mut insensitive = !(collation.is_bin() || collation.name().ends_with("_cs"));
    let (mut multi_line, mut dot_all) = (false, false);
    for letter in match_type.chars() {
        match letter {
            'c' => insensitive = false,
            'i' => insensitive = true,
            'm' => multi_line = true,
            'n' => dot_all = true,
            'u' => {}
            _ => {
                return Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to regexp_like"));
            }
        }
    }
    if pattern.is_empty() {
        return Err(SqlError::new(ErrorCode::RegexpError, "Illegal argument to a regular expression."));
    }
    let key = format!("{}{}{}{pattern}", insensitive as u8, multi_line as u8, dot_all as u8);
    if let Some((_, found)) = ctx.regexes.0.iter().find(|(known, _)| *known == key) {
        return Ok(found.clone());
    }
    let compiled = regex::RegexBuilder::new(pattern)
        .case_insensitive(insensitive)
        .multi_line(multi_line)
        .dot_matches_new_line(dot_all)
        .size_limit(4 << 20)
        .build()
        .map_err(|error| {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            SqlError::new(ErrorCode::RegexpError, format!("Illegal argument to a regular expression: {last}"))
        })?;
    if ctx.regexes.0.len() >= 16 {
        ctx.regexes.0.remove(0);
    }
    ctx.regexes.0.push((key, compiled.clone()));
    Ok(compiled)
}

/// How strongly the result of comparing is meant: numbers have no collation.
pub const RESULT_COERCIBILITY: Coercibility = Coercibility::Numeric;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CI: Collation = Collation::UTF8MB4_0900_AI_CI;

    #[test]
    fn like_follows_the_collation() {
        for (text, pattern, expected) in [
            ("Hello", "h%", true),
            ("Hello", "h_llo", true),
            ("hello", "hell", false),
            ("a%b", "a\\%b", true),
            ("axb", "a\\%b", false),
            ("", "%", true),
            ("", "_", false),
            ("résumé", "RESUM_", true),
            ("aab", "%a_", true),
            ("mississippi", "m%iss%pi", true),
            ("mississippi", "m%iss%pa", false),
            ("a", "a ", false),
        ] {
            assert_eq!(like(text, pattern, Some('\\'), CI), expected, "{text} LIKE {pattern}");
        }
        assert!(!like("Hello", "h%", Some('\\'), Collation::UTF8MB4_BIN));
        assert!(like("10%", "10|%", Some('|'), CI));
        assert_eq!(Like::new("ab\\%c%d", Some('\\'), CI).prefix(), "ab%c");
        assert!(Like::new("ab%", Some('\\'), CI).is_prefix());
        assert!(!Like::new("a_%", Some('\\'), CI).is_prefix());
    }

    fn rule(a: SqlType, b: SqlType) -> Comparison {
        Comparison::of_types(&a, &b).unwrap()
    }

    #[test]
    fn types_meet_by_mysql_s_rules() {
        let text = SqlType::VarChar { length: 10, collation: CI };
        let decimal = SqlType::Decimal { precision: 10, scale: 2, unsigned: false };
        assert_eq!(rule(text.clone(), SqlType::INT), Comparison::Double);
        assert_eq!(rule(text.clone(), text.clone()), Comparison::Text(CI));
        assert_eq!(rule(decimal.clone(), SqlType::INT), Comparison::Decimal);
        assert_eq!(rule(decimal, SqlType::DOUBLE), Comparison::Double);
        assert_eq!(rule(SqlType::Date, text.clone()), Comparison::DateTime);
        assert_eq!(rule(SqlType::Json, SqlType::INT), Comparison::Json);
        assert_eq!(rule(SqlType::BIGINT_UNSIGNED, SqlType::BIGINT), Comparison::Int);
        assert_eq!(rule(text, SqlType::VarBinary { length: 3 }), Comparison::Bytes);
    }

    #[test]
    fn values_compare_across_types() {
        let mut ctx = EvalContext::default();
        let mut sign = |a: Value, b: Value, rule| compare(&a, &b, &rule, &mut ctx).unwrap().map(|o| o as i8);
        assert_eq!(sign(Value::Int(-1), Value::UInt(u64::MAX), Comparison::Int), Some(-1));
        assert_eq!(sign(Value::text("10abc"), Value::Int(10), Comparison::Double), Some(0));
        let (id, other) = (Value::UInt(9_007_199_254_740_993), Value::text("9007199254740992"));
        assert_eq!(sign(id, other, Comparison::Double), Some(1));
        let date = Value::Date(crate::Date::new(2026, 11, 20));
        assert_eq!(sign(date.clone(), Value::text("2026-11-20 00:00:01"), Comparison::DateTime), Some(-1));
        assert_eq!(sign(date.clone(), Value::Int(20_261_120), Comparison::DateTime), Some(0));
        assert_eq!(sign(date, Value::Null, Comparison::DateTime), None);
        assert_eq!(ctx.warnings.len(), 1);
        assert_eq!(ctx.warnings[0].message, "Truncated incorrect DOUBLE value: '10abc'");
    }

    #[test]
    fn a_constant_that_is_no_date_is_error_1525() {
        let error = check_temporal_constant(&SqlType::Date, &Value::text("abc")).unwrap_err();
        assert_eq!((error.code.errno(), error.message.as_str()), (1525, "Incorrect DATE value: 'abc'"));
    }

    proptest! {
        #[test]
        fn like_is_the_recursive_definition(text in "[ab_%]{0,8}", pattern in "[ab_%]{0,6}") {
            fn naive(t: &[u8], p: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'%', rest)) => (0..=t.len()).any(|i| naive(&t[i..], rest)),
                    Some((b'_', rest)) => !t.is_empty() && naive(&t[1..], rest),
                    Some((c, rest)) => t.first() == Some(c) && naive(&t[1..], rest),
                }
            }
            let expected = naive(text.as_bytes(), pattern.as_bytes());
            prop_assert_eq!(like(&text, &pattern, None, Collation::UTF8MB4_BIN), expected);
        }
    }
}
