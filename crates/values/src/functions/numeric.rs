//! Functions of numbers.

use super::*;
use crate::context::RandState;
use crate::convert::Number;
use crate::number::round_f64;
use crate::ops::{self, Arith};

pub(super) const FUNCTIONS: &[Function] = &[
    f("ABS", 1, 1, Propagate, Apart, abs_type, abs),
    f("ACOS", 1, 1, Propagate, Apart, double, |c| unit(c, f64::acos)),
    f("ASIN", 1, 1, Propagate, Apart, double, |c| unit(c, f64::asin)),
    f("ATAN", 1, 2, Propagate, Apart, double, atan),
    f("ATAN2", 1, 2, Propagate, Apart, double, atan),
    f("BIT_COUNT", 1, 1, Propagate, Apart, int, |c| {
        if let Value::Bytes(bytes) = c.arg(0) {
            return Ok(Value::Int(bytes.iter().map(|byte| i64::from(byte.count_ones())).sum()));
        }
        Ok(convert::to_bits(c.arg(0), c.ctx)?
            .map_or(Value::Null, |bits| Value::Int(bits.count_ones().into())))
    }),
    f("CEIL", 1, 1, Propagate, Apart, whole_type, |c| whole(c, Decimal::ceil, f64::ceil)),
    f("CEILING", 1, 1, Propagate, Apart, whole_type, |c| whole(c, Decimal::ceil, f64::ceil)),
    f("COS", 1, 1, Propagate, Apart, double, |c| real(c, f64::cos)),
    f("COT", 1, 1, Propagate, Apart, double, |c| real(c, |x| 1.0 / x.tan())),
    f("CRC32", 1, 1, Propagate, Apart, bigint_unsigned, |c| {
        Ok(Value::UInt(crc32fast::hash(&c.bytes(0)).into()))
    }),
    f("DEGREES", 1, 1, Propagate, Apart, double, |c| real(c, f64::to_degrees)),
    f("EXP", 1, 1, Propagate, Apart, double, |c| real(c, f64::exp)),
    f("FLOOR", 1, 1, Propagate, Apart, whole_type, |c| whole(c, Decimal::floor, f64::floor)),
    f("LN", 1, 1, Propagate, Apart, double, |c| {
        let x = c.real(0)?;
        logarithm(c, x, f64::ln)
    }),
    f("LOG", 1, 2, Propagate, Apart, double, |c| {
        if c.len() == 1 {
            let x = c.real(0)?;
            return logarithm(c, x, f64::ln);
        }
        let (base, x) = (c.real(0)?, c.real(1)?);
        if base <= 0.0 || base == 1.0 {
            return logarithm(c, -1.0, f64::ln);
        }
        if x <= 0.0 {
            return logarithm(c, x, f64::ln);
        }
        finite(c, x.ln() / base.ln())
    }),
    f("LOG10", 1, 1, Propagate, Apart, double, |c| {
        let x = c.real(0)?;
        logarithm(c, x, f64::log10)
    }),
    f("LOG2", 1, 1, Propagate, Apart, double, |c| {
        let x = c.real(0)?;
        logarithm(c, x, f64::log2)
    }),
    f(
        "MOD",
        2,
        2,
        Propagate,
        Apart,
        |args, ctx| ops::arith_type(Arith::Rem, &args[0].sql_type, &args[1].sql_type, ctx),
        |c| ops::arith(Arith::Rem, c.arg(0), c.arg(1), c.out, c.ctx),
    ),
    f(
        "PI",
        0,
        0,
        Propagate,
        Apart,
        |_, _| Ok(SqlType::Double { unsigned: false, digits: Some((8, 6)) }),
        |_| Ok(Value::Double(std::f64::consts::PI)),
    ),
    f("POW", 2, 2, Propagate, Apart, double, pow),
    f("POWER", 2, 2, Propagate, Apart, double, pow),
    f("RADIANS", 1, 1, Propagate, Apart, double, |c| real(c, f64::to_radians)),
    volatile("RAND", 0, 1, double, |c| {
        if c.len() == 0 {
            return Ok(Value::Double(c.ctx.rand.draw()));
        }
        let seed = c.int(0)?;
        let state = c.ctx.rand_by_seed.entry(seed).or_insert_with(|| RandState::from_seed(seed));
        Ok(Value::Double(state.draw()))
    }),
    f("ROUND", 1, 2, Propagate, Apart, round_type, |c| round(c, false)),
    f("SIGN", 1, 1, Propagate, Apart, int, |c| {
        let number = c.real(0)?;
        Ok(Value::Int(if number > 0.0 { 1 } else { -i64::from(number < 0.0) }))
    }),
    f("SIN", 1, 1, Propagate, Apart, double, |c| real(c, f64::sin)),
    f("SQRT", 1, 1, Propagate, Apart, double, |c| {
        let x = c.real(0)?;
        Ok(if x < 0.0 { Value::Null } else { Value::Double(x.sqrt()) })
    }),
    f("TAN", 1, 1, Propagate, Apart, double, |c| real(c, f64::tan)),
    f("TRUNCATE", 2, 2, Propagate, Apart, round_type, |c| round(c, true)),
];

/// A double as a result; error 1690 beyond its range.
fn finite(c: &Call<'_>, value: f64) -> Result<Value, SqlError> {
    if value.is_finite() {
        return Ok(Value::Double(value));
    }
    let operands: Vec<String> = (0..c.len()).map(|at| c.text(at).into_owned()).collect();
    let name = if c.name == "POWER" { "pow".to_owned() } else { c.name.to_ascii_lowercase() };
    Err(EvalContext::out_of_range("DOUBLE", format!("{name}({})", operands.join(","))))
}

fn real(c: &mut Call<'_>, function: fn(f64) -> f64) -> Result<Value, SqlError> {
    let x = c.real(0)?;
    finite(c, function(x))
}

/// Of a number from -1 to 1; NULL beyond.
fn unit(c: &mut Call<'_>, function: fn(f64) -> f64) -> Result<Value, SqlError> {
    let x = c.real(0)?;
    Ok(if (-1.0..=1.0).contains(&x) { Value::Double(function(x)) } else { Value::Null })
}

fn atan(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let y = c.real(0)?;
    if c.len() == 1 {
        return Ok(Value::Double(y.atan()));
    }
    let x = c.real(1)?;
    Ok(Value::Double(y.atan2(x)))
}

fn pow(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (base, exponent) = (c.real(0)?, c.real(1)?);
    finite(c, base.powf(exponent))
}

fn logarithm(c: &mut Call<'_>, x: f64, function: fn(f64) -> f64) -> Result<Value, SqlError> {
    if x > 0.0 {
        return finite(c, function(x));
    }
    let message = "Invalid argument for logarithm";
    c.ctx.warn(ErrorCode::InvalidArgumentForLogarithm, message)?;
    Ok(Value::Null)
}

fn abs_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    let first = &args[0].sql_type;
    Ok(match ops::neg_type(first) {
        SqlType::Int(_) if first.is_unsigned() => SqlType::BIGINT_UNSIGNED,
        other => other,
    })
}

fn abs(c: &mut Call<'_>) -> Result<Value, SqlError> {
    Ok(match convert::to_number(c.arg(0), c.ctx)? {
        None => Value::Null,
        Some(Number::Int(number)) => match number.checked_abs() {
            Some(number) => Value::Int(number),
            None => return Err(EvalContext::out_of_range("BIGINT", format!("abs({number})"))),
        },
        Some(Number::UInt(number)) => Value::UInt(number),
        Some(Number::Decimal(number)) => Value::Decimal(number.abs()),
        Some(Number::Double(number)) => Value::Double(number.abs()),
    })
}

/// The type of CEIL and FLOOR: integers where they fit.
fn whole_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    let first = &args[0].sql_type;
    Ok(match ops::neg_type(first) {
        SqlType::Int(_) if first.is_unsigned() => SqlType::BIGINT_UNSIGNED,
        SqlType::Decimal { precision, scale, .. } => {
            let digits = precision - scale.min(precision) + 1;
            if digits <= 18 {
                SqlType::BIGINT
            } else {
                SqlType::Decimal { precision: digits.min(65), scale: 0, unsigned: false }
            }
        }
        SqlType::Double { .. } => SqlType::Double { unsigned: false, digits: Some((17, 0)) },
        other => other,
    })
}

fn whole(c: &mut Call<'_>, exact: fn(&Decimal) -> Decimal, real: fn(f64) -> f64) -> Result<Value, SqlError> {
    Ok(match convert::to_number(c.arg(0), c.ctx)? {
        None => Value::Null,
        Some(Number::Int(number)) => Value::Int(number),
        Some(Number::UInt(number)) => Value::UInt(number),
        Some(Number::Decimal(number)) => {
            let whole = exact(&number);
            match (c.out, i64::try_from(whole.to_i128())) {
                (SqlType::Int(_), Ok(number)) => Value::Int(number),
                _ => Value::Decimal(whole),
            }
        }
        Some(Number::Double(number)) => Value::Double(real(number)),
    })
}

fn round_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    let first = &args[0].sql_type;
    let places = if args.len() > 1 { constant_int(args.get(1)) } else { Some(0) };
    Ok(match ops::neg_type(first) {
        SqlType::Int(_) if first.is_unsigned() => SqlType::BIGINT_UNSIGNED,
        SqlType::Decimal { precision, scale, .. } => {
            let kept = match places {
                Some(places) => places.clamp(0, Decimal::MAX_SCALE.into()) as u8,
                None => scale,
            };
            let more = u8::from(kept < scale);
            let precision = (precision - scale.min(precision) + kept + more).clamp(1, Decimal::MAX_PRECISION);
            SqlType::Decimal { precision: precision.max(kept), scale: kept, unsigned: first.is_unsigned() }
        }
        SqlType::Double { .. } => match places {
            Some(places @ ..=30) => {
                let places = places.max(0) as u8;
                SqlType::Double { unsigned: false, digits: Some((17 + places, places)) }
            }
            _ => SqlType::DOUBLE,
        },
        other => other,
    })
}

fn round(c: &mut Call<'_>, truncate: bool) -> Result<Value, SqlError> {
    let places = if c.len() > 1 { c.int(1)? } else { 0 };
    Ok(match convert::to_number(c.arg(0), c.ctx)? {
        None => Value::Null,
        Some(Number::Double(number)) => Value::Double(round_f64(number, places, truncate)),
        Some(number @ (Number::Int(_) | Number::UInt(_))) if places >= 0 => match number {
            Number::Int(number) => Value::Int(number),
            other => Value::UInt(other.to_i128() as u64),
        },
        Some(number) => {
            let exact = number.to_decimal();
            let rounded = if places < 0 {
                exact.round_tens(u32::try_from(places.unsigned_abs()).unwrap_or(u32::MAX), truncate)
            } else {
                let kept = (places.min(30) as u8).min(match c.out {
                    SqlType::Decimal { scale, .. } => *scale,
                    _ => exact.scale(),
                });
                if truncate { exact.truncate(kept) } else { exact.round(kept) }
            };
            match c.out {
                SqlType::Int(int) => {
                    let overflow = || {
                        let kind = if int.unsigned { "BIGINT UNSIGNED" } else { "BIGINT" };
                        EvalContext::out_of_range(kind, format!("round({rounded},{places})"))
                    };
                    let whole = rounded.to_i128();
                    if int.unsigned {
                        Value::UInt(u64::try_from(whole).map_err(|_| overflow())?)
                    } else {
                        Value::Int(i64::try_from(whole).map_err(|_| overflow())?)
                    }
                }
                _ => Value::Decimal(rounded),
            }
        }
    })
}
