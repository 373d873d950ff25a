//! Operators: arithmetic, bits, logic. Typing first, then the kernels.

use crate::convert::{self, Number};
use crate::{Decimal, EvalContext, SqlMode, SqlType, Value};
use assize_model::SqlError;
use std::fmt;

/// A binary operator over numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Arith {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `DIV`
    IntDiv,
    /// `%`, `MOD`
    Rem,
}

impl fmt::Display for Arith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arith::Add => "+",
            Arith::Sub => "-",
            Arith::Mul => "*",
            Arith::Div => "/",
            Arith::IntDiv => "DIV",
            Arith::Rem => "%",
        })
    }
}

/// A binary operator over bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BitOp {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

/// The kind of arithmetic that a type takes part in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Int,
    Decimal,
    Double,
}

fn kind(sql_type: &SqlType) -> Kind {
    match sql_type {
        SqlType::Null
        | SqlType::Int(_)
        | SqlType::Year
        | SqlType::Bit { .. }
        | SqlType::Date
        | SqlType::Time { fsp: 0 }
        | SqlType::DateTime { fsp: 0 }
        | SqlType::Timestamp { fsp: 0 } => Kind::Int,
        SqlType::Decimal { .. }
        | SqlType::Time { .. }
        | SqlType::DateTime { .. }
        | SqlType::Timestamp { .. } => Kind::Decimal,
        _ => Kind::Double,
    }
}

/// The type of `left op right`.
pub fn arith_type(
    op: Arith,
    left: &SqlType,
    right: &SqlType,
    ctx: &EvalContext,
) -> Result<SqlType, SqlError> {
    let unsigned = left.is_unsigned() || right.is_unsigned();
    let kind = kind(left).max(kind(right));
    let ((p1, s1), (p2, s2)) = (left.decimal_digits(), right.decimal_digits());
    let decimal = |precision: u32, scale: u8| SqlType::Decimal {
        precision: precision.clamp(1, 65).max(scale.into()) as u8,
        scale,
        unsigned,
    };
    let wide = |a: u8, b: u8| u32::from(a) + u32::from(b);
    let double = || {
        let digits = match (op, left.decimals(), right.decimals()) {
            (Arith::Add | Arith::Sub | Arith::Rem, Some(a), Some(b)) => Some(a.max(b)),
            (Arith::Mul, Some(a), Some(b)) => Some(a.saturating_add(b)),
            _ => None,
        };
        // Only declared `DOUBLE(M,D)` operands fix the places of the result.
        let declared = |t: &SqlType| {
            matches!(t, SqlType::Double { digits: Some(_), .. } | SqlType::Float { digits: Some(_), .. })
        };
        let digits = digits.filter(|d| *d <= 30 && (declared(left) || declared(right)));
        SqlType::Double { unsigned: false, digits: digits.map(|scale| (17 + scale, scale)) }
    };
    Ok(match (op, kind) {
        (Arith::IntDiv, _) => {
            if unsigned {
                SqlType::BIGINT_UNSIGNED
            } else {
                SqlType::BIGINT
            }
        }
        (_, Kind::Double) => double(),
        (Arith::Div, _) => {
            let scale = s1.saturating_add(ctx.div_precision_increment).min(Decimal::MAX_SCALE);
            decimal(wide(p1, s2) + u32::from(ctx.div_precision_increment), scale)
        }
        (Arith::Rem, Kind::Int) => {
            if left.is_unsigned() {
                SqlType::BIGINT_UNSIGNED
            } else {
                SqlType::BIGINT
            }
        }
        (Arith::Sub, Kind::Int) if ctx.sql_mode.contains(SqlMode::NO_UNSIGNED_SUBTRACTION) => SqlType::BIGINT,
        (_, Kind::Int) => {
            if unsigned {
                SqlType::BIGINT_UNSIGNED
            } else {
                SqlType::BIGINT
            }
        }
        (Arith::Add | Arith::Sub, Kind::Decimal) => {
            let scale = s1.max(s2);
            decimal(u32::from((p1 - s1.min(p1)).max(p2 - s2.min(p2))) + u32::from(scale) + 1, scale)
        }
        (Arith::Mul, Kind::Decimal) => decimal(wide(p1, p2), s1.saturating_add(s2).min(Decimal::MAX_SCALE)),
        (Arith::Rem, Kind::Decimal) => {
            let scale = s1.max(s2);
            decimal(u32::from((p1 - s1.min(p1)).max(p2 - s2.min(p2))) + u32::from(scale), scale)
        }
    })
}

/// `left op right`, as its type (from [`arith_type`]) says. NULL with NULL; division by zero is NULL with
/// warning 1365; error 1690 beyond the type's range.
#[inline]
pub fn arith(
    op: Arith,
    left: &Value,
    right: &Value,
    sql_type: &SqlType,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    // The common case, without a detour.
    if let (Value::Int(a), Value::Int(b), SqlType::Int(int)) = (left, right, sql_type)
        && !int.unsigned
    {
        let quick = match op {
            Arith::Add => a.checked_add(*b),
            Arith::Sub => a.checked_sub(*b),
            Arith::Mul => a.checked_mul(*b),
            _ => None,
        };
        if let Some(number) = quick {
            return Ok(Value::Int(number));
        }
    }
    arith_slow(op, left, right, sql_type, ctx)
}

fn arith_slow(
    op: Arith,
    left: &Value,
    right: &Value,
    sql_type: &SqlType,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    if op == Arith::IntDiv {
        return int_div(left, right, sql_type, ctx);
    }
    let Some(a) = convert::to_number(left, ctx)? else { return Ok(Value::Null) };
    let Some(b) = convert::to_number(right, ctx)? else { return Ok(Value::Null) };
    let shown = || format!("({} {op} {})", brief(left), brief(right));
    match sql_type {
        SqlType::Int(int) => {
            let (x, y) = (integer(&a), integer(&b));
            let result = match op {
                Arith::Add => x + y,
                Arith::Sub => x - y,
                Arith::Mul => x.saturating_mul(y),
                _ if y == 0 => {
                    ctx.division_by_zero()?;
                    return Ok(Value::Null);
                }
                Arith::Rem => x % y,
                Arith::Div | Arith::IntDiv => x / y,
            };
            int_result(result, int.unsigned).ok_or_else(|| {
                let kind = if int.unsigned { "BIGINT UNSIGNED" } else { "BIGINT" };
                EvalContext::out_of_range(kind, shown())
            })
        }
        SqlType::Decimal { .. } => {
            let (x, y) = (a.to_decimal(), b.to_decimal());
            let result = match op {
                Arith::Add => x.add(&y),
                Arith::Sub => x.sub(&y),
                Arith::Mul => x.mul(&y),
                _ if y.is_zero() => {
                    ctx.division_by_zero()?;
                    return Ok(Value::Null);
                }
                Arith::Rem => x.rem(&y),
                Arith::Div | Arith::IntDiv => x.div(&y, ctx.div_precision_increment),
            };
            result.map(Value::Decimal).ok_or_else(|| EvalContext::out_of_range("DECIMAL", shown()))
        }
        _ => {
            let (x, y) = (a.to_f64(), b.to_f64());
            let result = match op {
                Arith::Add => x + y,
                Arith::Sub => x - y,
                Arith::Mul => x * y,
                _ if y == 0.0 => {
                    ctx.division_by_zero()?;
                    return Ok(Value::Null);
                }
                Arith::Rem => x % y,
                Arith::Div | Arith::IntDiv => x / y,
            };
            if !result.is_finite() {
                return Err(EvalContext::out_of_range("DOUBLE", shown()));
            }
            Ok(Value::Double(result))
        }
    }
}

fn integer(number: &Number) -> i128 {
    number.to_i128()
}

fn int_result(number: i128, unsigned: bool) -> Option<Value> {
    if unsigned {
        u64::try_from(number).ok().map(Value::UInt)
    } else {
        i64::try_from(number).ok().map(Value::Int)
    }
}

/// An operand within the message of error 1690.
fn brief(value: &Value) -> String {
    match value {
        Value::Text(_) | Value::Bytes(_) => crate::format::literal(value, &SqlType::Null),
        _ => crate::format::to_string(value, &SqlType::Null),
    }
}

fn int_div(
    left: &Value,
    right: &Value,
    sql_type: &SqlType,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let Some(a) = convert::to_number(left, ctx)? else { return Ok(Value::Null) };
    let Some(b) = convert::to_number(right, ctx)? else { return Ok(Value::Null) };
    if b.is_zero() {
        ctx.division_by_zero()?;
        return Ok(Value::Null);
    }
    let unsigned = sql_type.is_unsigned();
    let quotient = match (&a, &b) {
        (Number::Int(_) | Number::UInt(_), Number::Int(_) | Number::UInt(_)) => integer(&a) / integer(&b),
        _ => a.to_decimal().div(&b.to_decimal(), 0).map_or(i128::MAX, |quotient| quotient.truncate_to_i128()),
    };
    int_result(quotient, unsigned).ok_or_else(|| {
        let kind = if unsigned { "BIGINT UNSIGNED" } else { "BIGINT" };
        EvalContext::out_of_range(kind, format!("({} DIV {})", brief(left), brief(right)))
    })
}

/// The type of `-operand`.
pub fn neg_type(operand: &SqlType) -> SqlType {
    match (kind(operand), operand) {
        (Kind::Int, _) => SqlType::BIGINT,
        (Kind::Decimal, _) => {
            let (precision, scale) = operand.decimal_digits();
            SqlType::Decimal { precision, scale, unsigned: false }
        }
        (Kind::Double, SqlType::Double { digits, .. }) => {
            SqlType::Double { unsigned: false, digits: *digits }
        }
        (Kind::Double, _) => SqlType::DOUBLE,
    }
}

/// `-operand`.
pub fn neg(operand: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let Some(number) = convert::to_number(operand, ctx)? else { return Ok(Value::Null) };
    let overflow = || EvalContext::out_of_range("BIGINT", format!("-({})", brief(operand)));
    Ok(match number {
        Number::Int(number) => Value::Int(number.checked_neg().ok_or_else(overflow)?),
        Number::UInt(number) => Value::Int(i64::try_from(-i128::from(number)).map_err(|_| overflow())?),
        Number::Decimal(number) => Value::Decimal(number.neg()),
        Number::Double(number) => Value::Double(-number),
    })
}

/// `left op right` over bits; the type is BIGINT UNSIGNED.
pub fn bit(op: BitOp, left: &Value, right: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let Some(a) = convert::to_bits(left, ctx)? else { return Ok(Value::Null) };
    let Some(b) = convert::to_bits(right, ctx)? else { return Ok(Value::Null) };
    let shift = |by: u64| u32::try_from(by).unwrap_or(64);
    Ok(Value::UInt(match op {
        BitOp::And => a & b,
        BitOp::Or => a | b,
        BitOp::Xor => a ^ b,
        BitOp::ShiftLeft => a.checked_shl(shift(b)).unwrap_or(0),
        BitOp::ShiftRight => a.checked_shr(shift(b)).unwrap_or(0),
    }))
}

/// `~operand`.
pub fn bit_not(operand: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    Ok(convert::to_bits(operand, ctx)?.map_or(Value::Null, |bits| Value::UInt(!bits)))
}

/// A truth value as SQL has it.
pub fn truth(value: Option<bool>) -> Value {
    value.map_or(Value::Null, |flag| Value::Int(flag.into()))
}

/// `NOT operand`.
pub fn not(operand: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    Ok(truth(convert::to_bool(operand, ctx)?.map(|flag| !flag)))
}

/// `left AND right`, both already evaluated.
pub fn and(left: &Value, right: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let a = convert::to_bool(left, ctx)?;
    if a == Some(false) {
        return Ok(Value::Int(0));
    }
    let b = convert::to_bool(right, ctx)?;
    Ok(truth(match (a, b) {
        (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }))
}

/// `left OR right`, both already evaluated.
pub fn or(left: &Value, right: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let a = convert::to_bool(left, ctx)?;
    if a == Some(true) {
        return Ok(Value::Int(1));
    }
    let b = convert::to_bool(right, ctx)?;
    Ok(truth(match (a, b) {
        (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }))
}

/// `left XOR right`.
pub fn xor(left: &Value, right: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let (a, b) = (convert::to_bool(left, ctx)?, convert::to_bool(right, ctx)?);
    Ok(truth(a.zip(b).map(|(a, b)| a != b)))
}
