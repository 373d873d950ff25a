//! Expressions and their results, in tables: `tests/expressions/*.txt`.
//!
//! A line `> expression` is followed by what it answers: the text (`NULL`), then a line `! number message` for
//! each warning; or `ERROR number message`. The values are those of real servers, taken down once, and MySQL
//! 8.4's where servers differ. `UPDATE_EXPRESSIONS=1` writes the tables anew from what this crate answers:
//! read the difference.
//!
//! The little evaluator here does what a query engine does with an expression, in the simplest way.

#![allow(clippy::disallowed_methods)] // The tests are files: this is no core.

use assize_model::{ErrorCode, SqlError};
use assize_values::collation::{Charset, Coercibility};
use assize_values::compare::{self, Comparison};
use assize_values::ops::{self, Arith, BitOp};
use assize_values::unify::unify_args;
use assize_values::{
    ArgType, Collation, Decimal, EvalContext, SqlType, TimeZone, Value, cast, convert, format, functions,
};
use sqlparser::ast::{self, BinaryOperator, Expr, UnaryOperator};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

/// A value with what typing knows about it.
type Typed = (Value, ArgType);

fn not_here(what: impl std::fmt::Debug) -> SqlError {
    SqlError::not_supported(format!("{what:?}"))
}

fn result(value: Value, sql_type: SqlType, coercibility: Coercibility) -> Typed {
    (value, ArgType::expression(sql_type, coercibility))
}

fn literal(value: Value, ctx: &EvalContext) -> Typed {
    let arg = ArgType::literal(value.clone(), ctx);
    (value, arg)
}

fn truth(value: Option<bool>) -> Typed {
    result(ops::truth(value), SqlType::BOOL, Coercibility::Numeric)
}

fn number(text: &str, ctx: &EvalContext) -> Result<Typed, SqlError> {
    let value = if text.contains(['e', 'E']) {
        Value::Double(text.parse().map_err(|_| not_here(text))?)
    } else if text.contains('.') {
        Value::Decimal(Decimal::parse(text).ok_or_else(|| not_here(text))?)
    } else if let Ok(number) = text.parse::<i64>() {
        Value::Int(number)
    } else if let Ok(number) = text.parse::<u64>() {
        Value::UInt(number)
    } else {
        Value::Decimal(Decimal::parse(text).ok_or_else(|| not_here(text))?)
    };
    Ok(literal(value, ctx))
}

fn call(name: &str, args: Vec<Typed>, ctx: &mut EvalContext) -> Result<Typed, SqlError> {
    let (values, types): (Vec<Value>, Vec<ArgType>) = args.into_iter().unzip();
    let bound = functions::bind(name, &types, ctx)?;
    let value = bound.eval(ctx, &values)?;
    Ok(result(value, bound.result_type.clone(), bound.coercibility))
}

fn cast_type(data_type: &ast::DataType, ctx: &EvalContext) -> Result<SqlType, SqlError> {
    use ast::DataType as D;
    let fsp = |fsp: &Option<u64>| fsp.unwrap_or(0) as u8;
    Ok(match data_type {
        D::Signed | D::SignedInteger => SqlType::BIGINT,
        D::Unsigned | D::UnsignedInteger => SqlType::BIGINT_UNSIGNED,
        D::Char(length) => {
            let length = match length {
                Some(ast::CharacterLength::IntegerLength { length, .. }) => *length as u32,
                _ => u32::MAX / 4,
            };
            SqlType::VarChar { length, collation: ctx.connection_collation }
        }
        D::Binary(Some(length)) => SqlType::Binary { length: *length as u32 },
        D::Binary(None) => SqlType::VarBinary { length: u32::MAX },
        D::Decimal(info) => {
            let (precision, scale) = match info {
                ast::ExactNumberInfo::None => (10, 0),
                ast::ExactNumberInfo::Precision(p) => (*p as u8, 0),
                ast::ExactNumberInfo::PrecisionAndScale(p, s) => (*p as u8, *s as u8),
            };
            SqlType::Decimal { precision, scale, unsigned: false }
        }
        D::Double(_) => SqlType::DOUBLE,
        D::Float(_) => SqlType::Float { unsigned: false, digits: None },
        D::Date => SqlType::Date,
        D::Time(places, _) => SqlType::Time { fsp: fsp(places) },
        D::Datetime(places) => SqlType::DateTime { fsp: fsp(places) },
        D::JSON => SqlType::Json,
        other => return Err(not_here(other)),
    })
}

/// The type of a column as CREATE TABLE writes it.
fn column_type(data_type: &ast::DataType, ctx: &EvalContext) -> Result<SqlType, SqlError> {
    use assize_values::{BlobSize, IntType, IntWidth};
    use ast::DataType as D;
    let collation = ctx.connection_collation;
    let int = |width, unsigned| Ok(SqlType::int(width, unsigned));
    let length = |length: &Option<ast::CharacterLength>| match length {
        Some(ast::CharacterLength::IntegerLength { length, .. }) => *length as u32,
        _ => 1,
    };
    let digits = |info: &ast::ExactNumberInfo| match info {
        ast::ExactNumberInfo::None => None,
        ast::ExactNumberInfo::Precision(p) => Some((*p as u8, 0)),
        ast::ExactNumberInfo::PrecisionAndScale(p, s) => Some((*p as u8, *s as u8)),
    };
    let labels = |members: Vec<String>| members.into_iter().map(std::sync::Arc::from).collect();
    match data_type {
        D::TinyInt(Some(1)) => Ok(SqlType::Int(IntType {
            width: IntWidth::Tiny,
            unsigned: false,
            zerofill: false,
            display: Some(1),
        })),
        D::TinyInt(_) => int(IntWidth::Tiny, false),
        D::TinyIntUnsigned(_) => int(IntWidth::Tiny, true),
        D::SmallInt(_) => int(IntWidth::Small, false),
        D::Int(_) => int(IntWidth::Int, false),
        D::IntUnsigned(_) => int(IntWidth::Int, true),
        D::BigInt(_) => int(IntWidth::Big, false),
        D::BigIntUnsigned(_) => int(IntWidth::Big, true),
        D::Decimal(info) => {
            let (precision, scale) = digits(info).unwrap_or((10, 0));
            Ok(SqlType::Decimal { precision, scale, unsigned: false })
        }
        D::DecimalUnsigned(info) => {
            let (precision, scale) = digits(info).unwrap_or((10, 0));
            Ok(SqlType::Decimal { precision, scale, unsigned: true })
        }
        D::Float(info) => Ok(SqlType::Float { unsigned: false, digits: digits(info) }),
        D::Double(info) => Ok(SqlType::Double { unsigned: false, digits: digits(info) }),
        D::Char(n) => Ok(SqlType::Char { length: length(n), collation }),
        D::Varchar(n) => Ok(SqlType::VarChar { length: length(n), collation }),
        D::TinyText => Ok(SqlType::Text { size: BlobSize::Tiny, collation }),
        D::Text => Ok(SqlType::Text { size: BlobSize::Normal, collation }),
        D::Date => Ok(SqlType::Date),
        D::Time(fsp, _) => Ok(SqlType::Time { fsp: fsp.unwrap_or(0) as u8 }),
        D::Datetime(fsp) => Ok(SqlType::DateTime { fsp: fsp.unwrap_or(0) as u8 }),
        D::Timestamp(fsp, _) => Ok(SqlType::Timestamp { fsp: fsp.unwrap_or(0) as u8 }),
        D::Custom(name, _) if name.to_string().eq_ignore_ascii_case("year") => Ok(SqlType::Year),
        D::Enum(members, _) => {
            let names = members.iter().map(|member| match member {
                ast::EnumMember::Name(name) | ast::EnumMember::NamedValue(name, _) => name.clone(),
            });
            Ok(SqlType::Enum { labels: labels(names.collect()), collation })
        }
        D::Set(members) => Ok(SqlType::Set { labels: labels(members.clone()), collation }),
        D::JSON => Ok(SqlType::Json),
        other => Err(not_here(other)),
    }
}

/// `TYPE <- expression`: what a column keeps, in strict mode and, under `lenient`, without any mode.
fn assigned(assignment: &str, ctx: &mut EvalContext) -> String {
    let (strict, assignment) = match assignment.strip_prefix("lenient ") {
        Some(rest) => (false, rest),
        None => (true, assignment),
    };
    let Some((column, expression)) = assignment.split_once(" <- ") else { return "no assignment".to_owned() };
    let dialect = MySqlDialect {};
    let parse = || -> Result<_, sqlparser::parser::ParserError> {
        let data_type = Parser::new(&dialect).try_with_sql(column)?.parse_data_type()?;
        Ok((data_type, Parser::new(&dialect).try_with_sql(expression)?.parse_expr()?))
    };
    let (data_type, expr) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return format!("ERROR {} {error}", ErrorCode::ParseError.errno()),
    };
    ctx.begin_statement(ctx.now_micros);
    ctx.writing = true;
    ctx.sql_mode = if strict { assize_values::SqlMode::DEFAULT } else { assize_values::SqlMode(0) };
    let place = assize_values::store::ColumnPlace { name: "c", row: 1 };
    let stored = column_type(&data_type, ctx).and_then(|sql_type| {
        let (value, arg) = eval(&expr, ctx)?;
        let stored = assize_values::store::store(&value, &arg.sql_type, &sql_type, &place, ctx)?;
        Ok((stored, sql_type))
    });
    match stored {
        Ok((Value::Null, _)) => with_warnings("NULL".to_owned(), ctx),
        Ok((stored, sql_type)) => with_warnings(format::to_string(&stored, &sql_type), ctx),
        Err(error) => format!("ERROR {} {}", error.code.errno(), error.message),
    }
}

fn compared(
    op: &BinaryOperator,
    left: &Typed,
    right: &Typed,
    ctx: &mut EvalContext,
) -> Result<Typed, SqlError> {
    use BinaryOperator as B;
    let rule = Comparison::of(&left.1, &right.1, &op.to_string())?;
    if let B::Spaceship = op {
        return Ok(truth(Some(compare::null_safe_equal(&left.0, &right.0, &rule, ctx)?)));
    }
    let order = compare::compare(&left.0, &right.0, &rule, ctx)?;
    Ok(truth(order.map(|order| match op {
        B::Eq => order.is_eq(),
        B::NotEq => order.is_ne(),
        B::Lt => order.is_lt(),
        B::LtEq => order.is_le(),
        B::Gt => order.is_gt(),
        _ => order.is_ge(),
    })))
}

fn binary(op: &BinaryOperator, left: Typed, right: Typed, ctx: &mut EvalContext) -> Result<Typed, SqlError> {
    use BinaryOperator as B;
    let arith = |op: Arith, ctx: &mut EvalContext| {
        let sql_type = ops::arith_type(op, &left.1.sql_type, &right.1.sql_type, ctx)?;
        let value = ops::arith(op, &left.0, &right.0, &sql_type, ctx)?;
        Ok(result(value, sql_type, Coercibility::Numeric))
    };
    let bits = |op: BitOp, ctx: &mut EvalContext| {
        let value = ops::bit(op, &left.0, &right.0, ctx)?;
        Ok(result(value, SqlType::BIGINT_UNSIGNED, Coercibility::Numeric))
    };
    let logic = |value: Value| Ok(result(value, SqlType::BOOL, Coercibility::Numeric));
    match op {
        B::Plus => arith(Arith::Add, ctx),
        B::Minus => arith(Arith::Sub, ctx),
        B::Multiply => arith(Arith::Mul, ctx),
        B::Divide => arith(Arith::Div, ctx),
        B::MyIntegerDivide => arith(Arith::IntDiv, ctx),
        B::Modulo => arith(Arith::Rem, ctx),
        B::BitwiseAnd => bits(BitOp::And, ctx),
        B::BitwiseOr => bits(BitOp::Or, ctx),
        B::BitwiseXor => bits(BitOp::Xor, ctx),
        B::PGBitwiseShiftLeft => bits(BitOp::ShiftLeft, ctx),
        B::PGBitwiseShiftRight => bits(BitOp::ShiftRight, ctx),
        B::And => logic(ops::and(&left.0, &right.0, ctx)?),
        B::Or => logic(ops::or(&left.0, &right.0, ctx)?),
        B::Xor => logic(ops::xor(&left.0, &right.0, ctx)?),
        B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq | B::Spaceship => {
            compared(op, &left, &right, ctx)
        }
        B::Arrow => call("JSON_EXTRACT", vec![left, right], ctx),
        B::LongArrow => {
            let found = call("JSON_EXTRACT", vec![left, right], ctx)?;
            call("JSON_UNQUOTE", vec![found], ctx)
        }
        other => Err(not_here(other)),
    }
}

/// Brings a value to the type of the whole CASE.
fn to_type(value: Typed, sql_type: &SqlType, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    cast::cast(&value.0, &value.1.sql_type, sql_type, ctx)
}

fn eval(expr: &Expr, ctx: &mut EvalContext) -> Result<Typed, SqlError> {
    match expr {
        Expr::Nested(inner) => eval(inner, ctx),
        Expr::Value(value) => match &value.value {
            ast::Value::Number(text, _) => number(text, ctx),
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => {
                Ok(literal(Value::text(text.as_str()), ctx))
            }
            ast::Value::HexStringLiteral(text) => {
                let hex = vec![literal(Value::text(text.as_str()), ctx)];
                let (value, _) = call("UNHEX", hex, ctx)?;
                Ok(literal(value, ctx))
            }
            ast::Value::Null => Ok(literal(Value::Null, ctx)),
            ast::Value::Boolean(flag) => Ok(truth(Some(*flag))),
            other => Err(not_here(other)),
        },
        Expr::TypedString(typed) => {
            let text = match &typed.value.value {
                ast::Value::SingleQuotedString(text) => text,
                other => return Err(not_here(other)),
            };
            let value = match &typed.data_type {
                ast::DataType::Date => Value::Date(
                    assize_values::temporal::parse_datetime(text, Default::default())
                        .ok_or_else(|| not_here(text))?
                        .value
                        .date,
                ),
                ast::DataType::Time(..) => Value::Time(
                    assize_values::temporal::parse_time(text).ok_or_else(|| not_here(text))?.value,
                ),
                _ => Value::DateTime(
                    assize_values::temporal::parse_datetime(text, Default::default())
                        .ok_or_else(|| not_here(text))?
                        .value,
                ),
            };
            Ok(literal(value, ctx))
        }
        Expr::UnaryOp { op, expr } => {
            // The smallest BIGINT is written as minus a number that is too large.
            if let (UnaryOperator::Minus, Expr::Value(value)) = (op, &**expr)
                && let ast::Value::Number(text, _) = &value.value
            {
                return number(&format!("-{text}"), ctx);
            }
            let operand = eval(expr, ctx)?;
            Ok(match op {
                UnaryOperator::Minus => {
                    let value = ops::neg(&operand.0, ctx)?;
                    result(value, ops::neg_type(&operand.1.sql_type), Coercibility::Numeric)
                }
                UnaryOperator::Plus => operand,
                UnaryOperator::Not | UnaryOperator::BangNot => {
                    result(ops::not(&operand.0, ctx)?, SqlType::BOOL, Coercibility::Numeric)
                }
                UnaryOperator::BitwiseNot => {
                    result(ops::bit_not(&operand.0, ctx)?, SqlType::BIGINT_UNSIGNED, Coercibility::Numeric)
                }
                other => return Err(not_here(other)),
            })
        }
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (eval(left, ctx)?, eval(right, ctx)?);
            binary(op, left, right, ctx)
        }
        Expr::IsNull(operand) => {
            let operand = eval(operand, ctx)?;
            Ok(truth(Some(operand.0.is_null())))
        }
        Expr::IsNotNull(operand) => {
            let operand = eval(operand, ctx)?;
            Ok(truth(Some(!operand.0.is_null())))
        }
        Expr::Between { expr, negated, low, high } => {
            let (value, low, high) = (eval(expr, ctx)?, eval(low, ctx)?, eval(high, ctx)?);
            let above = compared(&BinaryOperator::GtEq, &value, &low, ctx)?;
            let below = compared(&BinaryOperator::LtEq, &value, &high, ctx)?;
            let both = ops::and(&above.0, &below.0, ctx)?;
            let value = if *negated { ops::not(&both, ctx)? } else { both };
            Ok(result(value, SqlType::BOOL, Coercibility::Numeric))
        }
        Expr::InList { expr, list, negated } => {
            let value = eval(expr, ctx)?;
            let mut any = Value::Int(0);
            for item in list {
                let item = eval(item, ctx)?;
                let same = compared(&BinaryOperator::Eq, &value, &item, ctx)?;
                any = ops::or(&any, &same.0, ctx)?;
            }
            let value = if *negated { ops::not(&any, ctx)? } else { any };
            Ok(result(value, SqlType::BOOL, Coercibility::Numeric))
        }
        Expr::Like { negated, expr, pattern, escape_char, .. } => {
            let (value, pattern) = (eval(expr, ctx)?, eval(pattern, ctx)?);
            let connection = ctx.connection_collation;
            let derivations = [value.1.derivation(connection), pattern.1.derivation(connection)];
            let collation = assize_values::collation::aggregate_for_comparison(&derivations, "like")?;
            let escape = match escape_char {
                Some(escape) => match &escape.value {
                    ast::Value::SingleQuotedString(text) => text.chars().next(),
                    _ => Some('\\'),
                },
                None => Some('\\'),
            };
            let matched = compare::like_values(&value.0, &value.1.sql_type, &pattern.0, escape, collation);
            Ok(truth(matched.map(|matched| matched != *negated)))
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            let (value, pattern) = (eval(expr, ctx)?, eval(pattern, ctx)?);
            let matched = call("REGEXP_LIKE", vec![value, pattern], ctx)?;
            if *negated {
                Ok(result(ops::not(&matched.0, ctx)?, SqlType::BOOL, Coercibility::Numeric))
            } else {
                Ok(matched)
            }
        }
        Expr::Collate { expr, collation } => {
            let (value, arg) = eval(expr, ctx)?;
            let collation = Collation::find(&collation.to_string())?;
            let sql_type = match arg.sql_type.text_collation() {
                Some(own) => {
                    collation.check_charset(own.charset())?;
                    arg.sql_type.with_collation(collation)
                }
                None => SqlType::string(arg.sql_type.char_length().into(), collation),
            };
            Ok(result(value, sql_type, Coercibility::Explicit))
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            let operand = operand.as_ref().map(|operand| eval(operand, ctx)).transpose()?;
            let mut results = Vec::new();
            let mut chosen = None;
            for (i, when) in conditions.iter().enumerate() {
                results.push(eval(&when.result, ctx)?);
                if chosen.is_none() {
                    let condition = eval(&when.condition, ctx)?;
                    let holds = match &operand {
                        Some(operand) => compared(&BinaryOperator::Eq, operand, &condition, ctx)?.0,
                        None => condition.0,
                    };
                    if convert::to_bool(&holds, ctx)? == Some(true) {
                        chosen = Some(i);
                    }
                }
            }
            results.push(match else_result {
                Some(otherwise) => eval(otherwise, ctx)?,
                None => literal(Value::Null, ctx),
            });
            let types: Vec<ArgType> = results.iter().map(|(_, arg)| arg.clone()).collect();
            let (sql_type, coercibility) = unify_args(&types, "case")?;
            let at = chosen.unwrap_or(results.len() - 1);
            let value = to_type(results.swap_remove(at), &sql_type, ctx)?;
            Ok(result(value, sql_type, coercibility))
        }
        Expr::Cast { expr, data_type, .. } => {
            let (value, arg) = eval(expr, ctx)?;
            let to = cast_type(data_type, ctx)?;
            let value = cast::cast(&value, &arg.sql_type, &to, ctx)?;
            Ok(result(value, to, Coercibility::Implicit))
        }
        Expr::Convert { expr, data_type: Some(data_type), .. } => {
            let (value, arg) = eval(expr, ctx)?;
            let to = cast_type(data_type, ctx)?;
            let value = cast::cast(&value, &arg.sql_type, &to, ctx)?;
            Ok(result(value, to, Coercibility::Implicit))
        }
        Expr::Convert { expr, charset: Some(charset), .. } => {
            let (value, arg) = eval(expr, ctx)?;
            let charset = Charset::find(&charset.to_string())?;
            let to = SqlType::string(u64::from(u32::MAX), charset.default_collation());
            let value = cast::cast(&value, &arg.sql_type, &to, ctx)?;
            Ok(result(value, to, Coercibility::Implicit))
        }
        Expr::Extract { field, expr, .. } => {
            let unit = literal(Value::text(field.to_string()), ctx);
            let operand = eval(expr, ctx)?;
            call("EXTRACT", vec![unit, operand], ctx)
        }
        Expr::Ceil { expr, .. } => {
            let operand = eval(expr, ctx)?;
            call("CEIL", vec![operand], ctx)
        }
        Expr::Floor { expr, .. } => {
            let operand = eval(expr, ctx)?;
            call("FLOOR", vec![operand], ctx)
        }
        Expr::Position { expr, r#in } => {
            let (needle, text) = (eval(expr, ctx)?, eval(r#in, ctx)?);
            call("POSITION", vec![needle, text], ctx)
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let mut args = vec![eval(expr, ctx)?];
            for part in [substring_from, substring_for].into_iter().flatten() {
                args.push(eval(part, ctx)?);
            }
            call("SUBSTRING", args, ctx)
        }
        Expr::Trim { expr, trim_where, trim_what, .. } => {
            let mut args = vec![eval(expr, ctx)?];
            if let Some(what) = trim_what {
                args.push(eval(what, ctx)?);
            }
            let name = match trim_where {
                Some(ast::TrimWhereField::Leading) => "LTRIM",
                Some(ast::TrimWhereField::Trailing) => "RTRIM",
                _ => "TRIM",
            };
            call(name, args, ctx)
        }
        Expr::Function(function) => {
            let name = function.name.to_string().replace('`', "");
            let mut args = Vec::new();
            if let ast::FunctionArguments::List(list) = &function.args {
                for (i, arg) in list.args.iter().enumerate() {
                    let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg else {
                        return Err(not_here(arg));
                    };
                    match arg {
                        Expr::Interval(interval) => {
                            args.push(eval(&interval.value, ctx)?);
                            let unit = interval.leading_field.as_ref().map(|unit| unit.to_string());
                            args.push(literal(Value::text(unit.unwrap_or_default()), ctx));
                        }
                        Expr::Identifier(word) if i == 0 => {
                            args.push(literal(Value::text(word.value.as_str()), ctx))
                        }
                        arg => args.push(eval(arg, ctx)?),
                    }
                }
            }
            call(&name, args, ctx)
        }
        other => Err(not_here(other)),
    }
}

fn answer(expression: &str, ctx: &mut EvalContext) -> String {
    ctx.begin_statement(ctx.now_micros);
    let parsed = Parser::new(&MySqlDialect {}).try_with_sql(expression).and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        if parser.peek_token().token != sqlparser::tokenizer::Token::EOF {
            return Err(sqlparser::parser::ParserError::ParserError(format!(
                "rest: {}",
                parser.peek_token()
            )));
        }
        Ok(expr)
    });
    let expr = match parsed {
        Ok(expr) => expr,
        Err(error) => return format!("ERROR {} {error}", ErrorCode::ParseError.errno()),
    };
    match eval(&expr, ctx) {
        Ok((Value::Null, _)) => with_warnings("NULL".to_owned(), ctx),
        Ok((value, arg)) => with_warnings(format::to_string(&value, &arg.sql_type), ctx),
        Err(error) => format!("ERROR {} {}", error.code.errno(), error.message),
    }
}

fn with_warnings(mut text: String, ctx: &EvalContext) -> String {
    for warning in &ctx.warnings {
        text += &format!("\n! {} {}", warning.code.errno(), warning.message);
    }
    text
}

fn context() -> EvalContext {
    EvalContext {
        // 2026-11-20 11:25:54.123456 UTC
        now_micros: 1_795_173_954_123_456,
        time_zone: TimeZone::Fixed(0),
        ..EvalContext::default()
    }
}

#[test]
fn expressions_answer_as_written_down() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions");
    let update = std::env::var("UPDATE_EXPRESSIONS").is_ok();
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut ctx = context();
        let mut written = String::new();
        let (head, cases) = text.split_once("\n> ").unwrap_or((&text, ""));
        written.push_str(head);
        for case in cases.split("\n> ").filter(|case| !case.is_empty()) {
            let (expression, expected) = case.split_once('\n').unwrap_or((case, ""));
            let expected = expected.trim_end_matches('\n');
            let answered = if expression.contains(" <- ") {
                assigned(expression, &mut ctx)
            } else {
                answer(expression, &mut ctx)
            };
            count += 1;
            if answered != expected {
                let name = file.file_name().unwrap().to_string_lossy();
                wrong.push(format!("{name}: {expression}\n  expected {expected}\n  answered {answered}"));
            }
            written += &format!("\n> {expression}\n{answered}");
        }
        if update {
            std::fs::write(&file, written + "\n").unwrap();
        }
    }
    assert!(count > 0, "no tables");
    assert!(update || wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
