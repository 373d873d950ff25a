//! Functions: the way from names to the functions of `values`, CAST, and forms with a syntax of their own.

use super::kernel::*;
use super::*;
use assize_model::ErrorCode;
use assize_values::collation::{self, Charset, WideCharset};
use assize_values::{BlobSize, EvalContext, functions, temporal};
use sqlparser::ast::{DataType, ExactNumberInfo};

/// What CAST casts to, besides the type of the expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CastTo {
    /// The expression's type.
    Type,
    /// CONVERT(… USING charset): characters that the character set lacks become `?`.
    Charset(Charset),
    /// The same of bytes, in an encoding that only bytes can be read in.
    Wide(WideCharset),
}

/// `CAST(expr AS data_type)`; `charset` is what follows CHAR.
pub fn cast(
    expr: Expr,
    data_type: &DataType,
    charset: Option<&str>,
    ctx: &mut EvalContext,
) -> Result<Expr, SqlError> {
    let sql_type = cast_type(&expr, data_type, charset, ctx)?;
    let nullable = expr.nullable || !(sql_type.is_numeric() || sql_type.is_string());
    let mut cast = Expr::new(ExprKind::Cast(Box::new(expr), CastTo::Type), sql_type, nullable);
    if is_text(&cast.sql_type) {
        cast.coercibility = Coercibility::Implicit;
    }
    Ok(cast)
}

fn cast_type(
    expr: &Expr,
    data_type: &DataType,
    charset: Option<&str>,
    ctx: &EvalContext,
) -> Result<SqlType, SqlError> {
    let fsp = |n: &Option<u64>| -> Result<u8, SqlError> {
        match n.unwrap_or(0) {
            n @ 0..=6 => Ok(n as u8),
            n => Err(SqlError::new(
                ErrorCode::PrecisionTooBig,
                format!("Too-big precision {n} specified for 'CAST'. Maximum is 6."),
            )),
        }
    };
    let text = |length: Option<u64>| -> Result<SqlType, SqlError> {
        let collation = match charset {
            Some(name) => assize_values::collation::Charset::find(name)?.default_collation(),
            None => ctx.connection_collation,
        };
        let length = length.unwrap_or_else(|| u64::from(expr.sql_type.char_length().min(16_000_000)));
        Ok(SqlType::string(length, collation))
    };
    Ok(match data_type {
        DataType::Signed
        | DataType::SignedInteger
        | DataType::Integer(_)
        | DataType::Int(_)
        | DataType::BigInt(_) => SqlType::BIGINT,
        DataType::Unsigned
        | DataType::UnsignedInteger
        | DataType::IntegerUnsigned(_)
        | DataType::IntUnsigned(_)
        | DataType::BigIntUnsigned(_) => SqlType::BIGINT_UNSIGNED,
        DataType::Char(length)
        | DataType::Character(length)
        | DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::Nvarchar(length) => match length {
            Some(sqlparser::ast::CharacterLength::IntegerLength { length, .. }) => text(Some(*length))?,
            _ => text(None)?,
        },
        DataType::Binary(Some(length)) => SqlType::Binary { length: (*length).min(u32::MAX.into()) as u32 },
        DataType::Binary(None) | DataType::Varbinary(None) => {
            let length = expr.sql_type.char_length();
            if length > 65_535 {
                SqlType::Blob { size: BlobSize::Long }
            } else {
                SqlType::VarBinary { length: length * 4 }
            }
        }
        DataType::Date => SqlType::Date,
        DataType::Time(n, _) => SqlType::Time { fsp: fsp(n)? },
        DataType::Datetime(n) | DataType::Timestamp(n, _) => SqlType::DateTime { fsp: fsp(n)? },
        DataType::Decimal(info) | DataType::Numeric(info) | DataType::Dec(info) => {
            let (precision, scale) = match info {
                ExactNumberInfo::None => (10, 0),
                ExactNumberInfo::Precision(p) => (*p, 0),
                ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
            };
            if precision > 65 {
                return Err(SqlError::new(
                    ErrorCode::PrecisionTooBig,
                    format!("Too-big precision {precision} specified for 'CAST'. Maximum is 65."),
                ));
            }
            if !(0..=30).contains(&scale) {
                return Err(SqlError::new(
                    ErrorCode::MScaleTooBig,
                    format!("Too big scale {scale} specified for column 'CAST'. Maximum is 30."),
                ));
            }
            if scale as u64 > precision.max(1) {
                return Err(SqlError::new(
                    ErrorCode::ScaleLargerThanPrecision,
                    "For float(M,D), double(M,D) or decimal(M,D), M must be >= D (column 'CAST').",
                ));
            }
            let precision = if precision == 0 { 10 } else { precision };
            SqlType::Decimal { precision: precision as u8, scale: scale as u8, unsigned: false }
        }
        DataType::Float(ExactNumberInfo::Precision(25..=53)) => SqlType::DOUBLE,
        DataType::Float(_) => SqlType::Float { unsigned: false, digits: None },
        DataType::Double(_) | DataType::DoublePrecision | DataType::Real => SqlType::DOUBLE,
        DataType::JSON => SqlType::Json,
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("year") => SqlType::Year,
        other => return Err(unsupported(format!("CAST to {other}"))),
    })
}

/// The value of a cast.
pub fn cast_value(
    value: Value,
    from: &SqlType,
    target: &CastTo,
    to: &SqlType,
    ctx: &mut EvalContext,
) -> Result<Value, SqlError> {
    let value = local(value, ctx);
    match target {
        CastTo::Type => assize_values::cast::cast(&value, from, to, ctx),
        CastTo::Wide(charset) => {
            let Some(bytes) = assize_values::convert::to_bytes(&value, from) else { return Ok(Value::Null) };
            match charset.decode(&bytes) {
                Ok(text) => Ok(Value::text(text)),
                Err(error) => {
                    ctx.warn(error.code, error.message)?;
                    Ok(Value::Null)
                }
            }
        }
        CastTo::Charset(charset) => {
            if let Value::Bytes(bytes) = &value
                && charset.is_foreign()
            {
                return match collation::decode(bytes, *charset) {
                    Ok(text) => Ok(Value::text(text)),
                    Err(error) => {
                        ctx.warn(error.code, error.message)?;
                        Ok(Value::Null)
                    }
                };
            }
            let Some(text) = assize_values::convert::to_text(&value, from) else { return Ok(Value::Null) };
            if *charset == Charset::Binary {
                return Ok(Value::Bytes(text.bytes().clone()));
            }
            if text.chars().all(|c| charset.has(c)) {
                return Ok(Value::Text(text));
            }
            let replaced: String = text.chars().map(|c| if charset.has(c) { c } else { '?' }).collect();
            Ok(Value::text(replaced))
        }
    }
}

/// `CONVERT(expr USING charset)`.
pub fn convert_using(expr: Expr, charset: &str) -> Result<Expr, SqlError> {
    let name = charset.trim_matches(['`', '\'', '"']);
    let of_bytes = matches!(expr.sql_type, SqlType::Binary { .. } | SqlType::VarBinary { .. });
    let (charset, target) = match WideCharset::find(name) {
        Some(wide) if of_bytes => (Charset::Utf8mb4, CastTo::Wide(wide)),
        _ => Charset::find(name).map(|charset| (charset, CastTo::Charset(charset)))?,
    };
    let length = u64::from(expr.sql_type.char_length());
    let nullable = expr.nullable || matches!(target, CastTo::Wide(_));
    let sql_type = SqlType::string(length, charset.default_collation());
    let mut converted = Expr::new(ExprKind::Cast(Box::new(expr), target), sql_type, nullable);
    converted.coercibility = Coercibility::Implicit;
    Ok(converted)
}

/// A function of `values`, typed.
#[derive(Clone, Debug)]
pub struct Function(Arc<functions::Bound>);

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.0.function.name == other.0.function.name
            && self.0.arg_types == other.0.arg_types
            && self.0.result_type == other.0.result_type
    }
}

impl Function {
    /// Whether it may answer differently for the same arguments.
    pub fn is_volatile(&self) -> bool {
        !self.0.function.deterministic
    }

    /// Whether each call gives another result, or has an effect.
    pub fn is_each_call(&self) -> bool {
        self.0.function.each_call
    }

    /// Its name, in capitals.
    pub fn name(&self) -> &'static str {
        self.0.function.name
    }
}

/// Whether there is a function of this name.
pub fn function_exists(name: &str) -> bool {
    functions::function(name).is_some()
}

/// Which arguments of a function are numbers, so that a hexadecimal or bit literal there is one: from where to
/// where, the end not included.
fn numbers(name: &str) -> std::ops::Range<usize> {
    match name {
        "ABS" | "ACOS" | "ASIN" | "ATAN" | "ATAN2" | "BIN" | "CEIL" | "CEILING" | "CHAR" | "COS" | "COT"
        | "DEGREES" | "EXP" | "FLOOR" | "FROM_DAYS" | "FROM_UNIXTIME" | "INET_NTOA" | "LN" | "LOG"
        | "LOG10" | "LOG2" | "MAKEDATE" | "MAKETIME" | "MOD" | "OCT" | "PERIOD_ADD" | "PERIOD_DIFF"
        | "POW" | "POWER" | "RADIANS" | "RAND" | "RANDOM_BYTES" | "ROUND" | "SEC_TO_TIME" | "SIGN"
        | "SIN" | "SPACE" | "SQRT" | "TAN" | "TRUNCATE" => 0..usize::MAX,
        "ELT" | "EXPORT_SET" | "MAKE_SET" => 0..1,
        "FORMAT" => 0..2,
        "LEFT" | "LPAD" | "REPEAT" | "RIGHT" | "RPAD" => 1..2,
        "CONV" | "INSERT" | "MID" | "SUBSTR" | "SUBSTRING" => 1..3,
        "LOCATE" | "SUBSTRING_INDEX" => 2..3,
        _ => 0..0,
    }
}

/// A call of a function.
pub fn function(name: &str, mut args: Vec<Expr>, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    if let Some(known) = functions::function(name) {
        let numbers = numbers(known.name);
        for (_, arg) in args.iter_mut().enumerate().filter(|(at, _)| numbers.contains(at)) {
            let taken = std::mem::replace(arg, Expr::null());
            *arg = hex_number(taken);
        }
    }
    let types: Vec<assize_values::ArgType> = args.iter().map(arg_type).collect();
    let bound = functions::bind(name, &types, ctx)?;
    // Functions tell NULL for arguments that they cannot make sense of, except those that choose among them.
    let nullable = match bound.function.name {
        "COALESCE" | "IFNULL" => args.iter().all(|a| a.nullable),
        "CONCAT" | "LENGTH" | "CHAR_LENGTH" | "UPPER" | "LOWER" => args.iter().any(|a| a.nullable),
        _ => !args.is_empty(),
    };
    let sql_type = bound.result_type.clone();
    let coercibility = bound.coercibility;
    Ok(Expr { kind: ExprKind::Call(Function(Arc::new(bound)), args), sql_type, nullable, coercibility })
}

/// The value of a call.
#[inline]
pub fn call_function(function: &Function, args: &[Value], rt: &mut Runtime<'_>) -> Result<Value, SqlError> {
    function.0.eval(rt.context.eval(), args)
}

/// EXTRACT.
pub fn extract(unit: &str, expr: Expr, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let unit = text_literal(unit, ctx);
    function("EXTRACT", vec![unit, expr], ctx)
}

/// TRIM.
pub fn trim(side: &str, what: Option<Expr>, expr: Expr, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let name = match side {
        "LEADING" => "LTRIM",
        "TRAILING" => "RTRIM",
        _ => "TRIM",
    };
    let mut args = vec![expr];
    args.extend(what);
    function(name, args, ctx)
}

/// `date ± INTERVAL amount unit`.
pub fn interval_add(
    date: Expr,
    amount: Expr,
    unit: &str,
    subtract: bool,
    ctx: &mut EvalContext,
) -> Result<Expr, SqlError> {
    let unit = text_literal(unit, ctx);
    function(if subtract { "DATE_SUB" } else { "DATE_ADD" }, vec![date, amount, unit], ctx)
}

/// TIMESTAMPDIFF.
pub fn timestamp_diff(unit: &str, from: Expr, to: Expr, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let unit = text_literal(unit, ctx);
    function("TIMESTAMPDIFF", vec![unit, from, to], ctx)
}

/// `DATE '…'` and its kin.
pub fn temporal_literal(kind: &str, text: &str, ctx: &mut EvalContext) -> Result<Expr, SqlError> {
    let rules = temporal::DateRules::of_mode(ctx.sql_mode);
    let wrong =
        || SqlError::new(assize_model::ErrorCode::WrongValue, format!("Incorrect {kind} value: '{text}'"));
    let (value, sql_type) = match kind {
        "TIME" => {
            let parsed = temporal::parse_time(text).filter(|p| !p.truncated).ok_or_else(wrong)?;
            (Value::Time(parsed.value), SqlType::Time { fsp: parsed.fsp })
        }
        _ => {
            let parsed = temporal::parse_datetime(text, rules).filter(|p| !p.truncated).ok_or_else(wrong)?;
            if kind == "DATE" {
                (Value::Date(parsed.value.date), SqlType::Date)
            } else {
                (Value::DateTime(parsed.value), SqlType::DateTime { fsp: parsed.fsp })
            }
        }
    };
    Ok(Expr::literal(value, sql_type))
}
