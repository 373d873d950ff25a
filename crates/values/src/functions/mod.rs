//! Scalar functions: MySQL's names, their typing and their evaluation.
//!
//! [`bind`] looks a function up, checks the count of operands, brings the collations of its texts together
//! and derives the result's type; [`Bound::eval`] then runs it per row. Operators have modules of their own
//! ([`crate::ops`], [`crate::compare`]); what needs a clock, a lock or another connection (SLEEP, GET_LOCK)
//! is not here at all.
//!
//! Forms with words between their operands come as plain calls, units and words as text:
//! `DATE_ADD(d, INTERVAL 1 DAY)` is `DATE_ADD(d, 1, 'DAY')`, `EXTRACT(YEAR FROM d)` is `EXTRACT('YEAR', d)`,
//! `TRIM(BOTH x FROM s)` is `TRIM(s, x)`, with LEADING `LTRIM(s, x)`, with TRAILING `RTRIM(s, x)`.

mod control;
mod hash;
mod info;
mod json;
mod numeric;
mod string;
mod temporal;

use crate::cast;
use crate::collation::{self, Coercibility, Derivation};
use crate::convert;
use crate::temporal::DateRules;
use crate::{ArgType, Collation, DateTime, Decimal, EvalContext, IntWidth, SqlType, Text, Time, Value};
use assize_model::{ErrorCode, SqlError};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How a function treats NULL operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nulls {
    /// Any NULL makes the result NULL; the function never sees one.
    Propagate,
    /// The function looks at them.
    See,
}
use Nulls::{Propagate, See};

/// What a function does with the collations of its text operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Texts {
    /// Nothing: it has none, or looks at bytes only.
    Apart,
    /// The first one's collation is that of the result.
    First,
    /// They are joined.
    Join,
    /// They are compared with each other.
    Compare,
}
use Texts::{Apart, Compare, First, Join};

type Typing = fn(&[ArgType], &EvalContext) -> Result<SqlType, SqlError>;
type Eval = fn(&mut Call<'_>) -> Result<Value, SqlError>;

/// A scalar function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name, in capitals.
    pub name: &'static str,
    /// Fewest operands.
    pub min_args: usize,
    /// Most operands; `None` for any number.
    pub max_args: Option<usize>,
    /// The same operands always give the same result within a statement.
    pub deterministic: bool,
    /// Each call gives another result, or has an effect: it has to be called as often as it is written, no more.
    pub each_call: bool,
    nulls: Nulls,
    texts: Texts,
    typing: Typing,
    eval: Eval,
}

/// One line of a table of functions; `max` 99 stands for any number of operands.
const fn f(
    name: &'static str,
    min: usize,
    max: usize,
    nulls: Nulls,
    texts: Texts,
    typing: Typing,
    eval: Eval,
) -> Function {
    let max_args = if max == 99 { None } else { Some(max) };
    Function {
        name,
        min_args: min,
        max_args,
        deterministic: true,
        each_call: false,
        nulls,
        texts,
        typing,
        eval,
    }
}

/// A line for a function whose result differs from call to call.
const fn volatile(name: &'static str, min: usize, max: usize, typing: Typing, eval: Eval) -> Function {
    let function = f(name, min, max, Nulls::See, Texts::Apart, typing, eval);
    Function { deterministic: false, each_call: true, ..function }
}

fn table() -> &'static BTreeMap<&'static str, &'static Function> {
    static TABLE: OnceLock<BTreeMap<&'static str, &'static Function>> = OnceLock::new();
    TABLE.get_or_init(|| {
        [
            control::FUNCTIONS,
            hash::FUNCTIONS,
            info::FUNCTIONS,
            json::FUNCTIONS,
            numeric::FUNCTIONS,
            string::FUNCTIONS,
            temporal::FUNCTIONS,
        ]
        .into_iter()
        .flatten()
        .map(|function| (function.name, function))
        .collect()
    })
}

/// The function of this name, in any case.
pub fn function(name: &str) -> Option<&'static Function> {
    if name.len() > 40 {
        return None;
    }
    let capitals = name.to_ascii_uppercase();
    table().get(capitals.as_str()).copied()
}

/// Every function, by name.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    table().values().copied()
}

/// A call whose types are known.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The function.
    pub function: &'static Function,
    /// The operands' types, texts in the collation that they meet in.
    pub arg_types: Vec<SqlType>,
    /// The result's type.
    pub result_type: SqlType,
    /// How strongly the result's collation is meant.
    pub coercibility: Coercibility,
}

impl Bound {
    /// Runs the function on one row's operands.
    #[inline]
    pub fn eval(&self, ctx: &mut EvalContext, args: &[Value]) -> Result<Value, SqlError> {
        self.function.eval(ctx, args, &self.arg_types, &self.result_type)
    }
}

/// Error 1582.
pub fn wrong_count(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::WrongParametersToNativeFunction,
        format!("Incorrect parameter count in the call to native function '{name}'"),
    )
}

/// Looks a function up and types the call. Error 1305 for an unknown one, 1582 for a wrong count of operands,
/// 1267 for collations that exclude each other.
pub fn bind(name: &str, args: &[ArgType], ctx: &EvalContext) -> Result<Bound, SqlError> {
    let function = function(name).ok_or_else(|| {
        SqlError::new(ErrorCode::SavepointDoesNotExist, format!("FUNCTION {name} does not exist"))
    })?;
    function.bind(args, ctx)
}

impl Function {
    /// Types a call of this function.
    pub fn bind(&'static self, args: &[ArgType], ctx: &EvalContext) -> Result<Bound, SqlError> {
        if args.len() < self.min_args || self.max_args.is_some_and(|max| args.len() > max) {
            return Err(wrong_count(self.name));
        }
        let mut args = args.to_vec();
        let mut coercibility = Coercibility::Coercible;
        let connection = ctx.connection_collation;
        match self.texts {
            Apart => {}
            First => {
                if let Some(first) = args.first() {
                    coercibility = first.coercibility.min(Coercibility::Coercible);
                }
            }
            Join | Compare => {
                let operation = self.name.to_ascii_lowercase();
                let texts: Vec<Derivation> = args
                    .iter()
                    .filter(|arg| arg.sql_type.text_collation().is_some())
                    .map(|arg| arg.derivation(connection))
                    .collect();
                if !texts.is_empty() {
                    let met = collation::aggregate(&texts, &operation)?;
                    if self.texts == Compare {
                        collation::aggregate_for_comparison(&texts, &operation)?;
                    }
                    coercibility = met.coercibility;
                    for arg in &mut args {
                        let own = arg.sql_type.text_collation();
                        if own.is_some_and(|own| !own.is_binary()) && !met.collation.is_binary() {
                            arg.sql_type = arg.sql_type.with_collation(met.collation);
                        }
                    }
                }
            }
        }
        let result_type = (self.typing)(&args, ctx)?;
        if result_type.text_collation().is_none() {
            coercibility = Coercibility::Numeric;
        }
        let arg_types = args.into_iter().map(|arg| arg.sql_type).collect();
        Ok(Bound { function: self, arg_types, result_type, coercibility })
    }

    /// The type of a call's result.
    pub fn typing(&'static self, args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
        self.bind(args, ctx).map(|bound| bound.result_type)
    }

    /// Runs the function.
    #[inline]
    pub fn eval(
        &self,
        ctx: &mut EvalContext,
        args: &[Value],
        arg_types: &[SqlType],
        result_type: &SqlType,
    ) -> Result<Value, SqlError> {
        if self.nulls == Propagate && args.iter().any(Value::is_null) {
            return Ok(Value::Null);
        }
        (self.eval)(&mut Call { name: self.name, ctx, args, types: arg_types, out: result_type })
    }
}

/// One evaluation: the operands, and conversions of them.
struct Call<'a> {
    name: &'static str,
    ctx: &'a mut EvalContext,
    args: &'a [Value],
    types: &'a [SqlType],
    out: &'a SqlType,
}

const NULL: &Value = &Value::Null;
const NULL_TYPE: &SqlType = &SqlType::Null;

impl<'a> Call<'a> {
    fn len(&self) -> usize {
        self.args.len()
    }

    fn arg(&self, at: usize) -> &'a Value {
        self.args.get(at).unwrap_or(NULL)
    }

    fn arg_type(&self, at: usize) -> &'a SqlType {
        self.types.get(at).unwrap_or(NULL_TYPE)
    }

    /// An operand's text; empty for NULL.
    fn text(&self, at: usize) -> Cow<'a, str> {
        convert::to_str(self.arg(at), self.arg_type(at)).unwrap_or_default()
    }

    /// An operand's bytes; empty for NULL.
    fn bytes(&self, at: usize) -> Bytes {
        convert::to_bytes(self.arg(at), self.arg_type(at)).unwrap_or_default()
    }

    /// An operand as an integer; 0 for NULL.
    fn int(&mut self, at: usize) -> Result<i64, SqlError> {
        Ok(convert::to_i64(self.arg(at), self.ctx)?.unwrap_or(0))
    }

    /// An operand as a double; 0 for NULL.
    fn real(&mut self, at: usize) -> Result<f64, SqlError> {
        Ok(convert::to_f64(self.arg(at), self.ctx)?.unwrap_or(0.0))
    }

    /// An operand as a decimal; 0 for NULL.
    fn decimal(&mut self, at: usize) -> Result<Decimal, SqlError> {
        Ok(convert::to_decimal(self.arg(at), self.ctx)?.unwrap_or(Decimal::ZERO))
    }

    /// An operand as a date and time; zero parts allowed.
    fn datetime(&mut self, at: usize) -> Result<Option<DateTime>, SqlError> {
        convert::to_datetime(self.arg(at), DateRules::ANY, self.ctx)
    }

    /// An operand as a time.
    fn time(&mut self, at: usize) -> Result<Option<Time>, SqlError> {
        convert::to_time(self.arg(at), self.ctx)
    }

    /// Whether an operand is a binary string.
    fn is_binary(&self, at: usize) -> bool {
        matches!(self.arg(at), Value::Bytes(_))
            || self.arg_type(at).text_collation() == Some(Collation::BINARY)
    }

    /// The collation that the text operands have met in.
    fn collation(&self) -> Collation {
        let own = self.types.iter().filter_map(SqlType::text_collation);
        own.clone().find(|c| c.is_binary()).or_else(|| own.clone().next()).unwrap_or_default()
    }

    /// A string result: text, or bytes if the result's type says so.
    fn string(&self, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        if self.out.text_collation().is_some_and(Collation::is_binary) {
            return Value::Bytes(bytes);
        }
        match Text::from_utf8(bytes) {
            Ok(text) => Value::Text(text),
            Err(bytes) => Value::text(String::from_utf8_lossy(&bytes)),
        }
    }

    /// Whether a string of so many bytes may be made; otherwise the warning, and the result is NULL.
    fn allowed(&mut self, bytes: u64) -> Result<bool, SqlError> {
        if bytes <= self.ctx.max_allowed_packet {
            return Ok(true);
        }
        let name = self.name.to_ascii_lowercase();
        self.ctx.too_long(&name)?;
        Ok(false)
    }

    /// An operand brought to the result's type.
    fn coerced(&mut self, at: usize) -> Result<Value, SqlError> {
        let value = self.arg(at);
        if self.arg_type(at) == self.out || value.is_null() {
            return Ok(value.clone());
        }
        match (value, self.out) {
            (Value::Text(_), out) if out.is_string() && out.text_collation() != Some(Collation::BINARY) => {
                Ok(value.clone())
            }
            (Value::Decimal(_), SqlType::Decimal { .. }) => Ok(value.clone()),
            (_, out) => cast::cast(value, self.arg_type(at), out, self.ctx),
        }
    }
}

// Typings that many functions share.

fn bigint(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::BIGINT)
}

fn bigint_unsigned(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::BIGINT_UNSIGNED)
}

fn int(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::int(IntWidth::Int, false))
}

fn boolean(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::BOOL)
}

fn double(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::DOUBLE)
}

fn document(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::Json)
}

/// Text of so many characters in the connection's collation.
fn connection_text(length: u64, ctx: &EvalContext) -> SqlType {
    SqlType::string(length, ctx.connection_collation)
}

/// The collation of a result that follows operand `at`.
fn collation_of(args: &[ArgType], at: usize, ctx: &EvalContext) -> Collation {
    args.get(at).and_then(|arg| arg.sql_type.text_collation()).unwrap_or(ctx.connection_collation)
}

/// The collation of a result that is put together from all operands.
fn joined(args: &[ArgType], ctx: &EvalContext) -> Collation {
    let own = args.iter().filter_map(|arg| arg.sql_type.text_collation());
    own.clone().find(|c| c.is_binary()).or_else(|| own.clone().next()).unwrap_or(ctx.connection_collation)
}

/// As long as the first operand, in its collation.
fn like_first(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length = args.first().map_or(0, |arg| arg.sql_type.char_length());
    Ok(SqlType::string(length.into(), collation_of(args, 0, ctx)))
}

/// Text without a bound, in the collation of all operands.
fn long_joined(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::string(u64::from(u32::MAX), joined(args, ctx)))
}

/// A constant operand as an integer.
fn constant_int(arg: Option<&ArgType>) -> Option<i64> {
    let mut quiet = EvalContext::default();
    convert::to_i64(arg?.constant.as_ref()?, &mut quiet).ok().flatten()
}

#[cfg(test)]
mod tests;
