//! Typing of operators, and the way from bound operators to the kernels of `values`.

use super::*;
use crate::exec::KeyValue;
use assize_model::ErrorCode;
use assize_values::collation::{self, Derivation};
use assize_values::ops::{self, Arith, BitOp};
use assize_values::temporal::{self, DateRules};
use assize_values::{ArgType, DateTime, Decimal, EvalContext, IntType, IntWidth, compare as rules, convert};
use std::cmp::Ordering;

pub use super::functions::*;
pub use assize_values::Comparison;
pub use assize_values::collation::Coercibility;

/// Arithmetic and bit operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ArithOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// DIV
    IntDiv,
    /// MOD
    Mod,
    /// `|`
    BitOr,
    /// `&`
    BitAnd,
    /// `^`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

impl ArithOp {
    fn arith(self) -> Result<Arith, BitOp> {
        Ok(match self {
            ArithOp::Add => Arith::Add,
            ArithOp::Sub => Arith::Sub,
            ArithOp::Mul => Arith::Mul,
            ArithOp::Div => Arith::Div,
            ArithOp::IntDiv => Arith::IntDiv,
            ArithOp::Mod => Arith::Rem,
            ArithOp::BitOr => return Err(BitOp::Or),
            ArithOp::BitAnd => return Err(BitOp::And),
            ArithOp::BitXor => return Err(BitOp::Xor),
            ArithOp::ShiftLeft => return Err(BitOp::ShiftLeft),
            ArithOp::ShiftRight => return Err(BitOp::ShiftRight),
        })
    }
}

/// An operand as typing sees it.
pub fn arg_type(expr: &Expr) -> ArgType {
    ArgType {
        sql_type: expr.sql_type.clone(),
        nullable: expr.nullable,
        coercibility: expr.coercibility,
        constant: expr.as_literal().cloned(),
    }
}

fn derivation(expr: &Expr) -> Derivation {
    arg_type(expr).derivation(Collation::default())
}

/// `left op right`.
pub fn arithmetic(op: ArithOp, left: Expr, right: Expr, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let (left, right) = (hex_number(left), hex_number(right));
    let sql_type = match op.arith() {
        Ok(arith) => ops::arith_type(arith, &left.sql_type, &right.sql_type, ctx)?,
        Err(_) => SqlType::BIGINT_UNSIGNED,
    };
    let divides = matches!(op, ArithOp::Div | ArithOp::IntDiv | ArithOp::Mod);
    let nullable = divides || left.nullable || right.nullable;
    Ok(Expr::new(ExprKind::Arith(op, Box::new(left), Box::new(right)), sql_type, nullable))
}

/// A hexadecimal or bit literal is a number where numbers are wanted.
pub(super) fn hex_number(expr: Expr) -> Expr {
    match expr.as_literal() {
        Some(Value::Bytes(bytes)) if bytes.len() <= 8 => {
            let number = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            Expr::literal(Value::UInt(number), SqlType::BIGINT_UNSIGNED)
        }
        _ => expr,
    }
}

/// The value of [`arithmetic`].
#[inline]
pub fn arith_values(
    op: ArithOp,
    left: &Value,
    right: &Value,
    sql_type: &SqlType,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    match op.arith() {
        Ok(arith) => ops::arith(arith, left, right, sql_type, ctx),
        Err(bits) => ops::bit(bits, left, right, ctx),
    }
}

/// `-expr`.
pub fn negative(expr: Expr, _ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let sql_type = ops::neg_type(&expr.sql_type);
    let nullable = expr.nullable;
    Ok(Expr::new(ExprKind::Neg(Box::new(expr)), sql_type, nullable))
}

/// The value of [`negative`].
pub fn negate_value(value: Value, _sql_type: &SqlType, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    ops::neg(&value, ctx)
}

/// `~expr`.
pub fn bit_not(expr: Expr) -> Result<Expr, SqlError> {
    let nullable = expr.nullable;
    Ok(Expr::new(ExprKind::BitNot(Box::new(expr)), SqlType::BIGINT_UNSIGNED, nullable))
}

/// The value of [`bit_not`].
pub fn bit_not_value(value: Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    ops::bit_not(&value, ctx)
}

/// The rule by which two expressions compare; error 1267 if their collations exclude each other.
pub fn comparison_of(left: &Expr, right: &Expr, operation: &str) -> Result<Comparison, SqlError> {
    Comparison::of(&arg_type(left), &arg_type(right), operation)
}

/// A comparison.
pub fn compare(op: CompareOp, left: Expr, right: Expr, _ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let (left, right) = match (left.sql_type.is_numeric(), right.sql_type.is_numeric()) {
        (true, false) => (left, hex_number(right)),
        (false, true) => (hex_number(left), right),
        _ => (left, right),
    };
    let how = comparison_of(&left, &right, op.symbol())?;
    for (column, constant) in [(&left, &right), (&right, &left)] {
        if let (ExprKind::Column(_), Some(value)) = (&column.kind, constant.as_literal()) {
            rules::check_temporal_constant(&column.sql_type, value)?;
        }
    }
    let nullable = op != CompareOp::NullSafeEq && (left.nullable || right.nullable);
    Ok(Expr::boolean(ExprKind::Compare(op, how, Box::new(left), Box::new(right)), nullable))
}

/// The order of two values, `None` with NULL.
#[inline]
pub fn compare_values(
    how: &Comparison,
    left: &Value,
    right: &Value,
    ctx: &mut EvalContext,
) -> Result<Option<Ordering>, SqlError> {
    rules::compare(left, right, how, ctx)
}

/// `value [NOT] IN (items)`.
pub fn in_values(
    value: Expr,
    items: Vec<Expr>,
    negated: bool,
    _ctx: &mut EvalContext,
) -> Result<Expr, SqlError> {
    let nullable = value.nullable || items.iter().any(|i| i.nullable);
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        list.push((comparison_of(&value, &item, "in")?, item));
    }
    Ok(Expr::boolean(ExprKind::InList(Box::new(value), list, negated), nullable))
}

/// `value [NOT] BETWEEN low AND high`.
pub fn between(
    value: Expr,
    low: Expr,
    high: Expr,
    negated: bool,
    _ctx: &mut EvalContext,
) -> Result<Expr, SqlError> {
    let low_how = comparison_of(&value, &low, "between")?;
    let high_how = comparison_of(&value, &high, "between")?;
    let nullable = value.nullable || low.nullable || high.nullable;
    Ok(Expr::boolean(ExprKind::Between(Box::new((value, low_how, low, high_how, high)), negated), nullable))
}

/// `value [NOT] LIKE pattern`.
pub fn like(value: Expr, pattern: Expr, escape: Option<char>, negated: bool) -> Result<Expr, SqlError> {
    let collation = collation::aggregate_for_comparison(&[derivation(&value), derivation(&pattern)], "like")?;
    let nullable = value.nullable || pattern.nullable;
    Ok(Expr::boolean(
        ExprKind::Like(Box::new(value), Box::new(pattern), escape, collation, negated),
        nullable,
    ))
}

/// The value of [`like`], of values that are not NULL.
pub fn like_values(
    value: &Value,
    sql_type: &SqlType,
    pattern: &Value,
    escape: Option<char>,
    collation: Collation,
) -> bool {
    rules::like_values(value, sql_type, pattern, escape, collation).unwrap_or(false)
}

/// `operand = when` of a CASE with an operand. JSON meets strings as its text there, not as a document: it is how
/// SQLAlchemy tells the null of JSON.
pub fn case_equal(operand: Expr, when: Expr, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let is_string = |e: &Expr| e.sql_type.text_collation().is_some();
    let json = |e: &Expr| matches!(e.sql_type, SqlType::Json);
    if !(json(&operand) && is_string(&when) || is_string(&operand) && json(&when)) {
        return compare(CompareOp::Eq, operand, when, ctx);
    }
    let nullable = operand.nullable || when.nullable;
    let how = Comparison::Text(Collation::UTF8MB4_BIN);
    Ok(Expr::boolean(ExprKind::Compare(CompareOp::Eq, how, Box::new(operand), Box::new(when)), nullable))
}

/// CASE WHEN … END.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Expr, SqlError> {
    let results: Vec<&Expr> = branches.iter().map(|(_, then)| then).chain(&otherwise).collect();
    let (sql_type, coercibility) = common_type(&results, "case")?;
    let nullable = otherwise.is_none() || results.iter().any(|r| r.nullable);
    let mut expr = Expr::new(ExprKind::Case(branches, otherwise.map(Box::new)), sql_type, nullable);
    expr.coercibility = coercibility;
    Ok(expr)
}

/// The type that values of all these expressions have together, as CASE, COALESCE and UNION make it.
pub fn common_type(all: &[&Expr], operation: &str) -> Result<(SqlType, Coercibility), SqlError> {
    let args: Vec<ArgType> = all.iter().map(|e| arg_type(e)).collect();
    assize_values::unify::unify_args(&args, operation)
}

/// Marks an expression to be converted where its rows meet others; the conversion itself is [`to_type`].
pub fn coerce_to(expr: &mut Expr, sql_type: &SqlType) {
    if expr.sql_type == *sql_type || matches!(expr.sql_type, SqlType::Null) {
        return;
    }
    // A CASE of one branch converts its result to the type of the whole.
    let inner = std::mem::replace(expr, Expr::null());
    let (nullable, coercibility) = (inner.nullable, inner.coercibility);
    let always = Expr::literal(Value::Int(1), SqlType::BIGINT);
    *expr = Expr {
        kind: ExprKind::Case(vec![(always, inner)], None),
        sql_type: sql_type.clone(),
        nullable,
        coercibility,
    };
}

/// A value of one type as a value of a type that [`common_type`] found.
#[inline]
pub fn to_type(value: Value, from: &SqlType, to: &SqlType, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    if value.is_null() || from == to {
        return Ok(value);
    }
    Ok(match to {
        SqlType::Int(int) => match (value, int.unsigned) {
            (Value::Int(n @ 0..), true) => Value::UInt(n as u64),
            (Value::UInt(n), false) if n <= i64::MAX as u64 => Value::Int(n as i64),
            (Value::Bit(n), _) => Value::UInt(n),
            (value, _) => value,
        },
        SqlType::Decimal { .. } => convert::to_decimal(&value, ctx)?.map_or(Value::Null, Value::Decimal),
        SqlType::Double { .. } => convert::to_f64(&value, ctx)?.map_or(Value::Null, Value::Double),
        SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::Text { .. } => match value {
            Value::Text(_) => value,
            Value::Timestamp(_) => {
                convert::to_text(&local(value, ctx), from).map_or(Value::Null, Value::Text)
            }
            value => convert::to_text(&value, from).map_or(Value::Null, Value::Text),
        },
        SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Blob { .. } => {
            convert::to_bytes(&local(value, ctx), from).map_or(Value::Null, Value::Bytes)
        }
        SqlType::DateTime { .. } => match value {
            Value::Date(date) => Value::DateTime(date.at_midnight()),
            Value::Timestamp(_) => local(value, ctx),
            Value::Time(time) => {
                let today = ctx.now().date.to_days() * temporal::DAY + time.micros;
                DateTime::from_micros(today).map_or(Value::Null, Value::DateTime)
            }
            other => other,
        },
        SqlType::Json => Value::Json(Arc::new(rules::as_json(&value).into_owned())),
        _ => value,
    })
}

/// A stored timestamp in the session's time zone; anything else as it is.
pub fn local(value: Value, ctx: &EvalContext) -> Value {
    match value {
        Value::Timestamp(stored) => Value::DateTime(temporal::timestamp_to_local(stored, &ctx.time_zone)),
        other => other,
    }
}

/// Whether a value counts as NULL for IS NULL: NULL, and nothing else.
pub fn is_null_for(_expr: &Expr, value: &Value) -> bool {
    value.is_null()
}

/// The truth of a value.
pub fn truth_of(value: &Value, ctx: &mut EvalContext) -> Result<Option<bool>, SqlError> {
    convert::to_bool(value, ctx)
}

/// A value as a double, quietly; 0 for NULL and what is no number.
pub fn to_f64(value: &Value) -> f64 {
    convert::to_f64(value, &mut EvalContext::default()).ok().flatten().unwrap_or(0.0)
}

/// A value as text.
pub fn to_text(value: &Value) -> String {
    convert::to_str(value, &SqlType::Null).map(|t| t.into_owned()).unwrap_or_default()
}

/// How values of one type sort and group.
pub fn type_comparison(sql_type: &SqlType) -> Comparison {
    Comparison::of_type(sql_type)
}

/// How values of two types compare; by the first if they cannot.
pub fn type_comparison_of(left: &SqlType, right: &SqlType) -> Comparison {
    Comparison::of_types(left, right).unwrap_or_else(|_| Comparison::of_type(left))
}

/// How values of an expression sort and group.
pub fn same_type_comparison(expr: &Expr) -> Comparison {
    Comparison::of_type(&expr.sql_type)
}

/// The order of two values of one type; NULL is lowest.
#[inline]
pub fn order_values(how: &Comparison, a: &Value, b: &Value) -> Ordering {
    rules::sort_order(a, b, how)
}

/// Bytes that are equal for rows that GROUP BY and DISTINCT take for equal.
pub fn distinct_key(row: &[Value], how: &[Comparison], _ctx: &mut EvalContext) -> Result<Vec<u8>, SqlError> {
    let mut out = Vec::with_capacity(row.len() * 10);
    for (at, value) in row.iter().enumerate().take(how.len()) {
        let collation = match how[at] {
            Comparison::Text(collation) => collation,
            _ => Collation::BINARY,
        };
        rules::group_key(value, collation, &mut out);
    }
    Ok(out)
}

/// Whether equal values have equal keys by [`put_hash_key`].
pub fn is_hashable(how: &Comparison) -> bool {
    !matches!(how, Comparison::Json)
}

/// Whether different values never have equal keys, so that nothing remains to be checked.
pub fn hash_decides(how: &Comparison) -> bool {
    !matches!(how, Comparison::Double | Comparison::Json)
}

/// Appends the key by which a value that is not NULL is found in a hash table of values that compare so;
/// false if it has none.
pub fn put_hash_key(
    out: &mut Vec<u8>,
    how: &Comparison,
    value: &Value,
    ctx: &mut EvalContext,
) -> Result<bool, SqlError> {
    let plain = Collation::BINARY;
    match how {
        Comparison::Int | Comparison::Decimal => match value {
            Value::Int(_) | Value::UInt(_) if *how == Comparison::Int => rules::group_key(value, plain, out),
            value => match convert::to_decimal(value, ctx)? {
                Some(d) if *how == Comparison::Int && d.scale() == 0 => {
                    rules::group_key(&integer(d.to_i128()), plain, out);
                }
                Some(d) => rules::group_key(&Value::Decimal(d.normalized()), plain, out),
                None => return Ok(false),
            },
        },
        Comparison::Double => match convert::to_f64(value, ctx)? {
            Some(d) => rules::group_key(&Value::Double(if d == 0.0 { 0.0 } else { d }), plain, out),
            None => return Ok(false),
        },
        Comparison::Text(collation) => match convert::to_text(value, &SqlType::Null) {
            Some(text) => rules::group_key(&Value::Text(text), *collation, out),
            None => return Ok(false),
        },
        Comparison::Bytes => match convert::to_bytes(value, &SqlType::Null) {
            Some(bytes) => rules::group_key(&Value::Bytes(bytes), plain, out),
            None => return Ok(false),
        },
        Comparison::DateTime => {
            let any = DateRules { invalid: true, ..DateRules::ANY };
            match convert::to_datetime(&local(value.clone(), ctx), any, ctx)? {
                Some(at) => rules::group_key(&Value::DateTime(at), plain, out),
                None => return Ok(false),
            }
        }
        Comparison::Time => match convert::to_time(value, ctx)? {
            Some(time) => rules::group_key(&Value::Time(time), plain, out),
            None => return Ok(false),
        },
        Comparison::Json => return Ok(false),
    }
    Ok(true)
}

fn integer(n: i128) -> Value {
    match (i64::try_from(n), u64::try_from(n)) {
        (Ok(n), _) => Value::Int(n),
        (_, Ok(n)) => Value::UInt(n),
        _ => Value::Decimal(Decimal::from(n)),
    }
}

/// Whether an index on a column of this type can seek a comparand of the other type that compares so:
/// `Some(true)` if the key alone decides, `Some(false)` if the condition must be checked as well.
pub fn seekable(column: &SqlType, comparand: &SqlType, how: &Comparison) -> Option<bool> {
    use SqlType as T;
    Some(match (column, how) {
        (T::Int(_), Comparison::Int) => matches!(comparand, T::Int(_)),
        (T::Int(_), Comparison::Decimal | Comparison::Double) => false,
        (T::Year | T::Bit { .. }, Comparison::Int) => false,
        (T::Decimal { .. }, Comparison::Decimal | Comparison::Double) => false,
        (T::Double { .. }, Comparison::Double) => false,
        (T::Float { .. }, Comparison::Double) => false,
        (
            T::Char { collation, .. } | T::VarChar { collation, .. } | T::Text { collation, .. },
            Comparison::Text(by),
        ) => {
            if collation != by {
                return None;
            }
            matches!(comparand, T::Char { .. } | T::VarChar { .. } | T::Text { .. })
        }
        (T::Binary { .. } | T::VarBinary { .. } | T::Blob { .. }, Comparison::Bytes) => {
            if matches!(comparand, T::Null) {
                return None;
            }
            false
        }
        (T::Date | T::DateTime { .. } | T::Timestamp { .. }, Comparison::DateTime) => false,
        (T::Time { .. }, Comparison::Time) => false,
        (T::Enum { collation, .. }, Comparison::Text(by)) if collation == by => false,
        _ => return None,
    })
}

/// A comparand of a temporal column as a key.
pub fn temporal_key(value: &Value, sql_type: &SqlType, ctx: &mut EvalContext) -> KeyValue {
    let mut quiet = EvalContext::default();
    (quiet.time_zone, quiet.now_micros) = (ctx.time_zone, ctx.now_micros);
    let any = DateRules { invalid: true, ..DateRules::ANY };
    if let SqlType::Time { fsp } = sql_type {
        return match convert::to_time(value, &mut quiet) {
            Ok(Some(time)) if quiet.warnings.is_empty() => {
                let cut = time.round(*fsp, true);
                match cut.cmp(&time) {
                    Ordering::Equal => KeyValue::Exact(Value::Time(time)),
                    _ => KeyValue::Unknown,
                }
            }
            _ => KeyValue::Unknown,
        };
    }
    let at = match convert::to_datetime(&local(value.clone(), ctx), any, &mut quiet) {
        Ok(Some(at)) if quiet.warnings.is_empty() => at,
        _ => return KeyValue::Unknown,
    };
    match sql_type {
        SqlType::Date => {
            if at.micros == 0 {
                KeyValue::Exact(Value::Date(at.date))
            } else {
                KeyValue::Near(Value::Date(at.date), Ordering::Less)
            }
        }
        SqlType::DateTime { fsp } => match at.round(*fsp, true) {
            Some(cut) if cut == at => KeyValue::Exact(Value::DateTime(at)),
            Some(cut) => KeyValue::Near(Value::DateTime(cut), Ordering::Less),
            None => KeyValue::Unknown,
        },
        SqlType::Timestamp { .. } => {
            // Local times that a change of clocks repeats or skips have no single UTC time.
            let (micros, exact) = at.to_utc(&ctx.time_zone);
            let back = DateTime::from_utc(micros, &ctx.time_zone);
            if exact && back == Some(at) && !at.is_zero() {
                KeyValue::Exact(Value::Timestamp(micros))
            } else {
                KeyValue::Unknown
            }
        }
        _ => KeyValue::Unknown,
    }
}

/// A literal.
pub fn literal(value: &sqlparser::ast::Value, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    use sqlparser::ast::Value as V;
    Ok(match value {
        V::Null => Expr::null(),
        V::Boolean(b) => Expr::literal(Value::Int(i64::from(*b)), boolean_type()),
        V::Number(digits, _) => number(digits)?,
        V::SingleQuotedString(text) | V::DoubleQuotedString(text) => text_literal(text, ctx),
        V::NationalStringLiteral(text) => {
            let mut expr = text_literal(text, ctx);
            expr.sql_type = expr.sql_type.with_collation(Collation::UTF8MB3_GENERAL_CI);
            expr
        }
        V::HexStringLiteral(digits) => {
            let even = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.clone() };
            let bytes: Option<Vec<u8>> = (0..even.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(even.get(i..i + 2)?, 16).ok())
                .collect();
            binary(bytes, digits)?
        }
        V::SingleQuotedByteStringLiteral(bits) => {
            let padded = format!("{}{bits}", "0".repeat((8 - bits.len() % 8) % 8));
            let bytes: Option<Vec<u8>> = (0..padded.len())
                .step_by(8)
                .map(|i| u8::from_str_radix(padded.get(i..i + 8)?, 2).ok())
                .collect();
            binary(bytes, bits)?
        }
        other => return Err(unsupported(format!("the literal {other}"))),
    })
}

fn binary(bytes: Option<Vec<u8>>, written: &str) -> Result<Expr, SqlError> {
    let Some(bytes) = bytes else {
        return Err(SqlError::new(
            ErrorCode::ParseError,
            format!("'{written}' is no hexadecimal or bit string"),
        ));
    };
    let length = bytes.len() as u32;
    Ok(Expr::literal(Value::Bytes(bytes.into()), SqlType::VarBinary { length }))
}

/// A text literal in the connection's collation.
pub fn text_literal(text: &str, ctx: &EvalContext) -> Expr {
    let length = text.chars().count() as u64;
    Expr::literal(Value::text(text), SqlType::string(length, ctx.connection_collation))
}

fn number(digits: &str) -> Result<Expr, SqlError> {
    let bad = || SqlError::new(ErrorCode::ParseError, format!("'{digits}' is no number"));
    if digits.contains(['e', 'E']) {
        let number: f64 = digits.parse().map_err(|_| bad())?;
        if !number.is_finite() {
            return Err(SqlError::new(
                ErrorCode::IllegalValueForType,
                format!("Illegal double '{digits}' value found during parsing"),
            ));
        }
        return Ok(Expr::literal(Value::Double(number), SqlType::DOUBLE));
    }
    if !digits.contains('.') {
        let shown = digits.trim_start_matches('-').trim_start_matches('0').len().max(1) as u8;
        let negative = u8::from(digits.starts_with('-'));
        let int = |unsigned| {
            SqlType::Int(IntType {
                width: IntWidth::Big,
                unsigned,
                zerofill: false,
                display: Some(shown.saturating_add(negative)),
            })
        };
        if let Ok(n) = digits.parse::<i64>() {
            return Ok(Expr::literal(Value::Int(n), int(false)));
        }
        if let Ok(n) = digits.parse::<u64>() {
            return Ok(Expr::literal(Value::UInt(n), int(true)));
        }
    }
    let decimal = Decimal::parse(digits).ok_or_else(bad)?;
    let sql_type = SqlType::Decimal {
        precision: decimal.precision().clamp(1, 65).max(decimal.scale()),
        scale: decimal.scale(),
        unsigned: false,
    };
    Ok(Expr::literal(Value::Decimal(decimal), sql_type))
}

/// The type of a parameter's value. Lengths of text are left open, so that plans serve texts of any length.
pub fn param_type(value: &Value, connection: Collation) -> SqlType {
    match value {
        Value::Text(_) => SqlType::VarChar { length: 16_383, collation: connection },
        Value::Bytes(_) => SqlType::VarBinary { length: 65_535 },
        other => assize_values::literal_type(other, connection),
    }
}

/// `expr COLLATE name`.
pub fn collate(expr: Expr, name: &str, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let wanted = Collation::find(name.trim_matches(['`', '\'', '"']))?;
    let current = expr.sql_type.text_collation().unwrap_or(ctx.connection_collation);
    if expr.sql_type.text_collation().is_some() || matches!(expr.sql_type, SqlType::Null) {
        wanted.check_charset(current.charset())?;
    }
    let sql_type = match &expr.sql_type {
        t if t.text_collation().is_some() => t.with_collation(wanted),
        t => SqlType::string(u64::from(t.char_length()), wanted),
    };
    let from = expr.sql_type.clone();
    let nullable = expr.nullable;
    let kind = if is_text(&from) || from.is_string() {
        ExprKind::Collate(Box::new(expr))
    } else {
        let always = Expr::literal(Value::Int(1), SqlType::BIGINT);
        ExprKind::Case(vec![(always, expr)], None)
    };
    Ok(Expr { kind, sql_type, nullable, coercibility: Coercibility::Explicit })
}

/// `_charset'text'`.
pub fn introduce(prefix: &str, expr: Expr) -> Result<Expr, SqlError> {
    let name = prefix.trim_start_matches('_').to_ascii_lowercase();
    let charset = assize_values::collation::Charset::find(&name)?;
    let collation = charset.default_collation();
    let Some(value) = expr.as_literal() else { return Err(unsupported("a character set before this")) };
    let bytes = convert::to_bytes(value, &expr.sql_type).unwrap_or_default();
    if collation.is_binary() {
        let length = bytes.len() as u32;
        return Ok(Expr::literal(Value::Bytes(bytes), SqlType::VarBinary { length }));
    }
    let text = match value {
        Value::Text(text) => text.as_str().to_string(),
        _ => match assize_values::collation::decode(&bytes, charset) {
            Ok(text) => text.to_string(),
            Err(_) => {
                return Err(SqlError::new(
                    ErrorCode::InvalidCharacterString,
                    format!("Invalid {name} character string: '{}'", String::from_utf8_lossy(&bytes)),
                ));
            }
        },
    };
    let length = text.chars().count() as u64;
    Ok(Expr::literal(Value::text(text), SqlType::string(length, collation)))
}

/// Type of an aggregate's result, and whether it can be NULL.
pub fn aggregate_type(
    function: crate::bind::AggregateFunction,
    args: &[Expr],
    ctx: &mut EvalContext,
) -> Result<(SqlType, bool), SqlError> {
    use crate::bind::AggregateFunction as F;
    let exact = |t: &SqlType| {
        matches!(
            t,
            SqlType::Int(_)
                | SqlType::Decimal { .. }
                | SqlType::Year
                | SqlType::Bit { .. }
                | SqlType::Date
                | SqlType::Time { .. }
                | SqlType::DateTime { .. }
                | SqlType::Timestamp { .. }
        )
    };
    Ok(match function {
        F::CountRows | F::Count => (SqlType::BIGINT, false),
        F::Sum => match &args[0].sql_type {
            t if exact(t) => {
                let (precision, scale) = t.decimal_digits();
                (SqlType::Decimal { precision: (precision + 22).min(65), scale, unsigned: false }, true)
            }
            _ => (SqlType::DOUBLE, true),
        },
        F::Avg => match &args[0].sql_type {
            t if exact(t) => {
                let (precision, scale) = t.decimal_digits();
                let more = ctx.div_precision_increment;
                let scale = (scale + more).min(Decimal::MAX_SCALE);
                (
                    SqlType::Decimal {
                        precision: (precision + more).clamp(scale, 65),
                        scale,
                        unsigned: false,
                    },
                    true,
                )
            }
            _ => (SqlType::DOUBLE, true),
        },
        F::Min | F::Max | F::AnyValue => {
            let sql_type = match &args[0].sql_type {
                SqlType::Null => SqlType::VarBinary { length: 0 },
                t => t.clone(),
            };
            (sql_type, true)
        }
        F::BitAnd | F::BitOr | F::BitXor => (SqlType::BIGINT_UNSIGNED, false),
        F::StdDevPop | F::StdDevSamp | F::VarPop | F::VarSamp => (SqlType::DOUBLE, true),
        F::GroupConcat => {
            let all: Vec<Derivation> = args.iter().map(derivation).collect();
            let merged = collation::aggregate(&all, "group_concat")?;
            let length = ctx.group_concat_max_len;
            let sql_type = if merged.collation.is_binary() {
                SqlType::Blob { size: assize_values::BlobSize::holding(length) }
            } else {
                SqlType::Text { size: assize_values::BlobSize::holding(length), collation: merged.collation }
            };
            (sql_type, true)
        }
        F::JsonArray | F::JsonObject => (SqlType::Json, true),
    })
}
