//! Aggregates: a running value for each group.

use super::shape::compare_keys;
use super::value;
use crate::bind::AggregateFunction;
use crate::expr::{Row, Runtime, distinct_key, row_size};
use crate::plan::AggregatePlan;
use assize_model::{ErrorCode, SqlError};
use assize_values::ops::{self, Arith};
use assize_values::{Decimal, EvalContext, Json, SqlType, Value, compare, convert};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// The running value of one aggregate in one group.
#[derive(Debug)]
pub struct Accumulator {
    state: State,
    seen: Option<HashSet<Vec<u8>>>,
}

#[derive(Debug)]
enum State {
    Count(u64),
    Sum { total: Option<Value>, count: u64 },
    Extreme(Option<Value>),
    Bits { bits: u64 },
    Moments { count: u64, mean: f64, squares: f64 },
    Concat { parts: Vec<(Row, String)>, bytes: usize },
    Array { items: Vec<(Row, Json)> },
    Object { members: Vec<(String, Json)>, any: bool },
    First(Option<Value>),
}

impl Accumulator {
    /// The value of no rows.
    pub fn new(plan: &AggregatePlan) -> Self {
        use AggregateFunction as F;
        let state = match plan.call.function {
            F::CountRows | F::Count => State::Count(0),
            F::Sum | F::Avg => State::Sum { total: None, count: 0 },
            F::Min | F::Max => State::Extreme(None),
            F::BitAnd => State::Bits { bits: u64::MAX },
            F::BitOr | F::BitXor => State::Bits { bits: 0 },
            F::StdDevPop | F::StdDevSamp | F::VarPop | F::VarSamp => {
                State::Moments { count: 0, mean: 0.0, squares: 0.0 }
            }
            F::GroupConcat => State::Concat { parts: Vec::new(), bytes: 0 },
            F::JsonArray => State::Array { items: Vec::new() },
            F::JsonObject => State::Object { members: Vec::new(), any: false },
            F::AnyValue => State::First(None),
        };
        Accumulator { state, seen: plan.call.distinct.then(HashSet::new) }
    }

    /// Takes a row in.
    pub async fn add(
        &mut self,
        plan: &AggregatePlan,
        row: &[Value],
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let mut args = Vec::with_capacity(plan.args.len());
        for scalar in &plan.args {
            args.push(value(scalar, row, rt).await?);
        }
        let order = if plan.order.is_empty() {
            Vec::new()
        } else {
            super::shape::key_values(&plan.order, row, rt).await?
        };
        self.add_values(plan, args, order, rt)
    }

    /// Takes evaluated arguments in.
    pub fn add_values(
        &mut self,
        plan: &AggregatePlan,
        args: Vec<Value>,
        order: Row,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        use AggregateFunction as F;
        let keeps_null =
            matches!(plan.call.function, F::CountRows | F::JsonArray | F::JsonObject | F::AnyValue);
        if !keeps_null && args.iter().any(Value::is_null) {
            return Ok(());
        }
        if let Some(seen) = &mut self.seen {
            let key = distinct_key(&args, &plan.compare, rt.context.eval())?;
            rt.budget.take(key.len() + 48)?;
            if !seen.insert(key) {
                return Ok(());
            }
        }
        let sql_type = plan.args.first().map(|a| &a.expr.sql_type);
        match &mut self.state {
            State::Count(count) => *count += 1,
            State::Sum { total, count } => {
                *count += 1;
                let ctx = rt.context.eval();
                let next = summand(&args[0], ctx)?;
                *total = Some(match total.take() {
                    None => next,
                    Some(so_far) => sum(&so_far, &next, ctx)?,
                });
            }
            State::Extreme(best) => {
                let better = match best {
                    None => true,
                    Some(best) => {
                        let rule = &plan.compare[0];
                        let order = compare::sort_order(&args[0], best, rule);
                        let want =
                            if plan.call.function == F::Min { Ordering::Less } else { Ordering::Greater };
                        order == want
                    }
                };
                if better {
                    *best = args.into_iter().next();
                }
            }
            State::Bits { bits } => {
                let next = convert::to_bits(&args[0], rt.context.eval())?.unwrap_or(0);
                match plan.call.function {
                    F::BitAnd => *bits &= next,
                    F::BitOr => *bits |= next,
                    _ => *bits ^= next,
                }
            }
            State::Moments { count, mean, squares } => {
                let x = convert::to_f64(&args[0], rt.context.eval())?.unwrap_or(0.0);
                *count += 1;
                let delta = x - *mean;
                *mean += delta / *count as f64;
                *squares += delta * (x - *mean);
            }
            State::Concat { parts, bytes } => {
                let mut text = String::new();
                for (arg, scalar) in args.iter().zip(&plan.args) {
                    if let Some(part) = convert::to_str(arg, &scalar.expr.sql_type) {
                        text.push_str(&part);
                    }
                }
                // Beyond what the result may hold there is no need to keep more, unless it will be sorted.
                let limit = rt.context.eval().group_concat_max_len as usize;
                if order.is_empty() && *bytes > limit {
                    return Ok(());
                }
                *bytes += text.len() + plan.call.separator.len();
                rt.budget.take(text.len() + row_size(&order) + 24)?;
                parts.push((order, text));
            }
            State::Array { items } => {
                let item = json(&args[0], sql_type, rt.context.eval());
                rt.budget.take(64)?;
                items.push((order, item));
            }
            State::Object { members, any } => {
                let Some(key) = convert::to_str(&args[0], sql_type.unwrap_or(&SqlType::Null)) else {
                    return Err(SqlError::new(
                        ErrorCode::InvalidTypeForJson,
                        "JSON documents may not contain NULL member names.",
                    ));
                };
                let item = json(&args[1], plan.args.get(1).map(|a| &a.expr.sql_type), rt.context.eval());
                rt.budget.take(key.len() + 64)?;
                members.push((key.into_owned(), item));
                *any = true;
            }
            State::First(first) => {
                if first.is_none() {
                    *first = args.into_iter().next();
                }
            }
        }
        Ok(())
    }

    /// The value of the group.
    pub fn finish(&mut self, plan: &AggregatePlan, ctx: &mut EvalContext) -> Result<Value, SqlError> {
        use AggregateFunction as F;
        Ok(match &mut self.state {
            State::Count(count) => Value::Int(*count as i64),
            State::Sum { total: None, .. } => Value::Null,
            State::Sum { total: Some(total), count } => {
                if plan.call.function == F::Avg {
                    average(total, *count, &plan.call.sql_type, ctx)?
                } else {
                    match (&*total, &plan.call.sql_type) {
                        (Value::Int(n), SqlType::Decimal { .. }) => Value::Decimal(Decimal::from(*n)),
                        (other, SqlType::Double { .. }) => {
                            convert::to_f64(other, ctx)?.map_or(Value::Null, Value::Double)
                        }
                        (other, _) => other.clone(),
                    }
                }
            }
            State::Extreme(best) => best.clone().unwrap_or(Value::Null),
            State::Bits { bits } => Value::UInt(*bits),
            State::Moments { count, squares, .. } => {
                let sample = matches!(plan.call.function, F::StdDevSamp | F::VarSamp);
                let divisor = if sample { count.saturating_sub(1) } else { *count };
                if divisor == 0 {
                    return Ok(Value::Null);
                }
                let variance = *squares / divisor as f64;
                Value::Double(match plan.call.function {
                    F::StdDevPop | F::StdDevSamp => variance.sqrt(),
                    _ => variance,
                })
            }
            State::Concat { parts, .. } => {
                if parts.is_empty() {
                    return Ok(Value::Null);
                }
                if !plan.order.is_empty() {
                    parts.sort_by(|a, b| compare_keys(&plan.order, &a.0, &b.0));
                }
                concat(parts, plan, ctx)?
            }
            State::Array { items } => {
                if items.is_empty() {
                    return Ok(Value::Null);
                }
                if !plan.order.is_empty() {
                    items.sort_by(|a, b| compare_keys(&plan.order, &a.0, &b.0));
                }
                Value::Json(Arc::new(Json::Array(items.iter().map(|(_, item)| item.clone()).collect())))
            }
            State::Object { any: false, .. } => Value::Null,
            State::Object { members, .. } => Value::Json(Arc::new(Json::object(members.iter().cloned()))),
            State::First(first) => first.clone().unwrap_or(Value::Null),
        })
    }
}

fn json(value: &Value, sql_type: Option<&SqlType>, ctx: &EvalContext) -> Json {
    assize_values::cast::scalar_json(value, sql_type.unwrap_or(&SqlType::Null), ctx)
}

/// A value as SUM takes it: exact numbers stay exact, all else is a double.
fn summand(value: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    Ok(match value {
        Value::Int(_) | Value::Decimal(_) | Value::Double(_) => value.clone(),
        Value::UInt(n) | Value::Bit(n) => Value::Decimal(Decimal::from(*n)),
        Value::Date(_) | Value::Time(_) | Value::DateTime(_) | Value::Timestamp(_) => {
            convert::to_decimal(value, ctx)?.map_or(Value::Null, Value::Decimal)
        }
        other => convert::to_f64(other, ctx)?.map_or(Value::Null, Value::Double),
    })
}

fn sum(a: &Value, b: &Value, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => Ok(match x.checked_add(*y) {
            Some(sum) => Value::Int(sum),
            None => Value::Decimal(Decimal::from(i128::from(*x) + i128::from(*y))),
        }),
        (Value::Double(x), Value::Double(y)) => Ok(Value::Double(x + y)),
        (Value::Double(_), _) | (_, Value::Double(_)) => ops::arith(Arith::Add, a, b, &SqlType::DOUBLE, ctx),
        _ => {
            let x = convert::to_decimal(a, ctx)?.unwrap_or(Decimal::ZERO);
            let y = convert::to_decimal(b, ctx)?.unwrap_or(Decimal::ZERO);
            let sum = x.add(&y).ok_or_else(|| EvalContext::out_of_range("DECIMAL", "sum()"))?;
            Ok(Value::Decimal(sum))
        }
    }
}

fn average(total: &Value, count: u64, sql_type: &SqlType, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    match sql_type {
        SqlType::Decimal { scale, .. } => {
            let total = convert::to_decimal(total, ctx)?.unwrap_or(Decimal::ZERO);
            let divided = total.div(&Decimal::from(count), ctx.div_precision_increment.max(*scale));
            Ok(divided.map_or(Value::Null, |d| Value::Decimal(d.round(*scale))))
        }
        _ => {
            let total = convert::to_f64(total, ctx)?.unwrap_or(0.0);
            Ok(Value::Double(total / count as f64))
        }
    }
}

/// Joins the parts; cut at group_concat_max_len with warning 1260.
fn concat(parts: &[(Row, String)], plan: &AggregatePlan, ctx: &mut EvalContext) -> Result<Value, SqlError> {
    let limit = ctx.group_concat_max_len as usize;
    let mut out = String::new();
    for (n, (_, text)) in parts.iter().enumerate() {
        if n > 0 {
            out.push_str(&plan.call.separator);
        }
        out.push_str(text);
        if out.len() > limit {
            let mut end = limit;
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
            ctx.warn(ErrorCode::GroupConcatCut, format!("Row {} was cut by GROUP_CONCAT()", n + 1))?;
            break;
        }
    }
    Ok(match plan.call.sql_type {
        SqlType::Blob { .. } | SqlType::VarBinary { .. } => Value::Bytes(out.into_bytes().into()),
        _ => Value::text(out),
    })
}
