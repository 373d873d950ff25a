//! CAST and CONVERT, and bringing operands to one type.

use crate::collation;
use crate::convert::{self, Number, shown};
use crate::temporal::{self, DateRules};
use crate::{Collation, Decimal, EvalContext, Json, SqlMode, SqlType, Text, Value, number};
use assize_model::{ErrorCode, SqlError};
use bytes::Bytes;

fn truncated(ctx: &mut EvalContext, kind: &str, text: &[u8]) -> Result<(), SqlError> {
    ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect {kind} value: '{}'", shown(text)))
}

/// `CAST(value AS to)`. What does not fit is cut, clipped or NULL, with a warning.
pub fn cast(value: &Value, from: &SqlType, to: &SqlType, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match to {
        SqlType::Null => Ok(value.clone()),
        SqlType::Int(int) => {
            let number = to_integer(value, int.unsigned, ctx)?;
            let (low, high) = int.width.range(int.unsigned);
            let clipped = number.clamp(low, high);
            if clipped != number {
                truncated(ctx, "INTEGER", number.to_string().as_bytes())?;
            }
            Ok(if int.unsigned { Value::UInt(clipped as u64) } else { Value::Int(clipped as i64) })
        }
        SqlType::Float { .. } => {
            let number = convert::to_f64(value, ctx)?.unwrap_or(0.0);
            let limit = f64::from(f32::MAX);
            if number.abs() > limit {
                return Err(EvalContext::out_of_range("FLOAT", "cast"));
            }
            Ok(Value::Float(number as f32))
        }
        SqlType::Double { digits, .. } => {
            let number = convert::to_f64(value, ctx)?.unwrap_or(0.0);
            Ok(Value::Double(match digits {
                Some((_, scale)) if *scale <= 30 => number::round_f64(number, (*scale).into(), false),
                _ => number,
            }))
        }
        SqlType::Decimal { precision, scale, unsigned } => {
            let number = convert::to_decimal(value, ctx)?.unwrap_or(Decimal::ZERO);
            let rounded = number.round(*scale);
            if !rounded.fits(*precision, *scale) || *unsigned && rounded.is_negative() {
                ctx.warn(
                    ErrorCode::WarnDataOutOfRange,
                    "Out of range value for column 'CAST' at row 1".to_owned(),
                )?;
                let max = Decimal::max(*precision, *scale);
                return Ok(Value::Decimal(match (number.is_negative(), unsigned) {
                    (true, true) => Decimal::ZERO.round(*scale),
                    (true, false) => max.neg(),
                    _ => max,
                }));
            }
            Ok(Value::Decimal(rounded))
        }
        SqlType::Char { length, collation } | SqlType::VarChar { length, collation } => {
            to_text(value, from, Some(*length), *collation, ctx)
        }
        SqlType::Text { collation, .. } => to_text(value, from, None, *collation, ctx),
        SqlType::Binary { length } => {
            let bytes = convert::to_bytes(value, from).unwrap_or_default();
            let length = *length as usize;
            if bytes.len() > length {
                truncated(ctx, &format!("BINARY({length})"), &bytes)?;
                return Ok(Value::Bytes(bytes.slice(..length)));
            }
            if bytes.len() == length {
                return Ok(Value::Bytes(bytes));
            }
            if length as u64 > ctx.max_allowed_packet {
                ctx.too_long("cast_as_binary")?;
                return Ok(Value::Null);
            }
            let mut padded = bytes.to_vec();
            padded.resize(length, 0);
            Ok(Value::Bytes(Bytes::from(padded)))
        }
        SqlType::VarBinary { length } => {
            let bytes = convert::to_bytes(value, from).unwrap_or_default();
            let length = *length as usize;
            if bytes.len() > length {
                truncated(ctx, &format!("BINARY({length})"), &bytes)?;
                return Ok(Value::Bytes(bytes.slice(..length)));
            }
            Ok(Value::Bytes(bytes))
        }
        SqlType::Blob { .. } => Ok(convert::to_bytes(value, from).map_or(Value::Null, Value::Bytes)),
        SqlType::Date => {
            let rules = DateRules::of_mode(ctx.sql_mode);
            Ok(convert::to_datetime(value, rules, ctx)?.map_or(Value::Null, |at| Value::Date(at.date)))
        }
        SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => {
            let rules = DateRules::of_mode(ctx.sql_mode);
            let cut = ctx.sql_mode.contains(SqlMode::TIME_TRUNCATE_FRACTIONAL);
            let at = convert::to_datetime(value, rules, ctx)?.and_then(|at| at.round(*fsp, cut));
            Ok(at.map_or(Value::Null, Value::DateTime))
        }
        SqlType::Time { fsp } => {
            let cut = ctx.sql_mode.contains(SqlMode::TIME_TRUNCATE_FRACTIONAL);
            let time = convert::to_time(value, ctx)?.map(|time| time.round(*fsp, cut).clipped().0);
            Ok(time.map_or(Value::Null, Value::Time))
        }
        SqlType::Year => {
            let year = match value {
                Value::Date(_) | Value::DateTime(_) | Value::Timestamp(_) => {
                    convert::to_datetime(value, DateRules::ANY, ctx)?.map(|at| i128::from(at.date.year))
                }
                _ => convert::to_number(value, ctx)?.map(|number| number.to_i128()),
            };
            let text = matches!(value, Value::Text(_));
            match year.and_then(|year| full_year(year, text && year == 0)) {
                Some(year) => Ok(Value::UInt(year)),
                None => {
                    convert::incorrect(ctx, "YEAR", value)?;
                    Ok(Value::Null)
                }
            }
        }
        SqlType::Bit { length } => {
            let bits = convert::to_bits(value, ctx)?.unwrap_or(0);
            Ok(Value::Bit(if *length >= 64 { bits } else { bits & ((1 << length) - 1) }))
        }
        SqlType::Enum { collation, .. } | SqlType::Set { collation, .. } => {
            if from == to {
                return Ok(value.clone());
            }
            to_text(value, from, None, *collation, ctx)
        }
        SqlType::Json => to_json(value, from, ctx).map(|json| Value::Json(json.into())),
    }
}

/// The year that a number of one or two digits, or of four, means.
pub(crate) fn full_year(number: i128, text_zero: bool) -> Option<u64> {
    match number {
        0 if text_zero => Some(2000),
        0 => Some(0),
        1..=69 => Some(2000 + number as u64),
        70..=99 => Some(1900 + number as u64),
        1901..=2155 => Some(number as u64),
        _ => None,
    }
}

fn to_integer(value: &Value, unsigned: bool, ctx: &mut EvalContext) -> Result<i128, SqlError> {
    let wrap = |number: i128| -> i128 {
        // 64 bits are taken as they are: -1 becomes 2^64 - 1, and back.
        if unsigned && (i128::from(i64::MIN)..0).contains(&number) {
            i128::from(number as i64 as u64)
        } else if !unsigned && (i128::from(i64::MAX) + 1..=i128::from(u64::MAX)).contains(&number) {
            i128::from(number as u64 as i64)
        } else {
            number
        }
    };
    Ok(match value {
        Value::Int(number) => wrap((*number).into()),
        Value::UInt(number) | Value::Bit(number) | Value::Set(number, _) => wrap((*number).into()),
        Value::Text(_) | Value::Bytes(_) => {
            let read = convert::to_i128(value, ctx)?.unwrap_or(0);
            let number = read.clamp(i64::MIN.into(), u64::MAX.into());
            if read != number {
                truncated(ctx, "INTEGER", &convert::to_bytes(value, &SqlType::Null).unwrap_or_default())?;
            } else if number != wrap(number) {
                ctx.push_warning(
                    assize_model::WarningLevel::Warning,
                    ErrorCode::UnknownError,
                    if unsigned {
                        "Cast to unsigned converted negative integer to its positive complement"
                    } else {
                        "Cast to signed converted positive out-of-range integer to its negative complement"
                    },
                );
            }
            wrap(number)
        }
        Value::Decimal(number) => {
            let whole = number.to_i128();
            if unsigned && whole < 0 {
                truncated(ctx, "UNSIGNED DECIMAL", number.to_string().as_bytes())?;
                return Ok(0);
            }
            let clipped =
                whole.clamp(i64::MIN.into(), if unsigned { u64::MAX.into() } else { i64::MAX.into() });
            if clipped != whole {
                truncated(ctx, "DECIMAL", number.to_string().as_bytes())?;
            }
            clipped
        }
        Value::Double(_) | Value::Float(_) => {
            let number = convert::to_number(value, ctx)?.unwrap_or(Number::Int(0)).to_i128();
            if unsigned && number < 0 { wrap(number.max(i64::MIN.into())) } else { number }
        }
        _ => convert::to_number(value, ctx)?.map_or(0, |number| wrap(number.to_i128())),
    })
}

fn to_text(
    value: &Value,
    from: &SqlType,
    length: Option<u32>,
    collation: Collation,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    if collation.is_binary() {
        return Ok(convert::to_bytes(value, from).map_or(Value::Null, Value::Bytes));
    }
    let text = match value {
        Value::Bytes(bytes) => match Text::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(bytes) => {
                let charset = collation.charset();
                match collation::decode(&bytes, charset) {
                    Ok(text) => Text::from(text.into_owned()),
                    Err(error) => {
                        // What is no text cannot become text: NULL, with warning 1300.
                        ctx.warn(error.code, error.message)?;
                        return Ok(Value::Null);
                    }
                }
            }
        },
        _ => convert::to_text(value, from).unwrap_or_default(),
    };
    let charset = collation.charset();
    let text = if text.chars().all(|c| charset.has(c)) {
        text
    } else {
        Text::from(text.chars().map(|c| if charset.has(c) { c } else { '?' }).collect::<String>())
    };
    if let Some(length) = length
        && text.len() > length as usize
        && let Some((at, _)) = text.char_indices().nth(length as usize)
    {
        truncated(ctx, &format!("CHAR({length})"), text.as_bytes())?;
        return Ok(Value::text(&text[..at]));
    }
    Ok(Value::Text(text))
}

pub(crate) fn too_deep() -> SqlError {
    SqlError::new(ErrorCode::JsonDocumentTooDeep, "The JSON document exceeds the maximum depth.")
}

/// `CAST(value AS JSON)`: text is read, everything else becomes a scalar.
pub fn to_json(value: &Value, from: &SqlType, ctx: &EvalContext) -> Result<Json, SqlError> {
    match value {
        Value::Text(text) => Json::parse(text).map_err(|error| match error {
            crate::json::JsonError::Syntax(what, at) => SqlError::new(
                ErrorCode::InvalidJsonTextInParam,
                format!(
                    "Invalid JSON text in argument 1 to function cast_as_json: \"{what}\" at position {at}."
                ),
            ),
            crate::json::JsonError::TooDeep => too_deep(),
        }),
        Value::Bytes(_) => Err(SqlError::new(
            ErrorCode::InvalidJsonCharset,
            "Cannot create a JSON value from a string with CHARACTER SET 'binary'.",
        )),
        _ => Ok(scalar_json(value, from, ctx)),
    }
}

/// A value as a JSON value, text as a string: what JSON_ARRAY and JSON_OBJECT make of it.
pub fn scalar_json(value: &Value, from: &SqlType, ctx: &EvalContext) -> Json {
    match (value, from) {
        (Value::Timestamp(stored), _) => {
            Json::DateTime(temporal::timestamp_to_local(*stored, &ctx.time_zone))
        }
        (Value::Decimal(number), SqlType::Decimal { scale, .. }) => Json::Decimal(number.round(*scale)),
        (Value::Int(flag @ (0 | 1)), bool_type) if is_bool(bool_type) => Json::Bool(*flag == 1),
        _ => crate::compare::as_json(value).into_owned(),
    }
}

/// The type of comparisons and of the words TRUE and FALSE, which JSON keeps apart from numbers.
pub(crate) fn is_bool(sql_type: &SqlType) -> bool {
    *sql_type == SqlType::BOOL
}
