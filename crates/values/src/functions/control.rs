//! Functions that choose between their operands.

use super::*;
use crate::compare::{self, Comparison};
use crate::unify::unify_args;
use std::cmp::Ordering;

pub(super) const FUNCTIONS: &[Function] = &[
    f("COALESCE", 1, 99, See, Join, |args, _| unified(args, "coalesce"), first_present),
    f(
        "GREATEST",
        2,
        99,
        Propagate,
        Compare,
        |args, _| unified(args, "greatest"),
        |c| extreme(c, Ordering::Greater),
    ),
    f(
        "IF",
        3,
        3,
        See,
        Join,
        |args, _| unified(&args[1..], "if"),
        |c| {
            let chosen = if convert::to_bool(c.arg(0), c.ctx)? == Some(true) { 1 } else { 2 };
            c.coerced(chosen)
        },
    ),
    f("IFNULL", 2, 2, See, Join, |args, _| unified(args, "ifnull"), first_present),
    f("INTERVAL", 2, 99, See, Apart, bigint, interval),
    f("ISNULL", 1, 1, See, Apart, boolean, |c| Ok(Value::Int(c.arg(0).is_null().into()))),
    f("LEAST", 2, 99, Propagate, Compare, |args, _| unified(args, "least"), |c| extreme(c, Ordering::Less)),
    f("NAME_CONST", 2, 2, See, Apart, |args, _| Ok(args[1].sql_type.clone()), |c| Ok(c.arg(1).clone())),
    f(
        "NULLIF",
        2,
        2,
        See,
        Compare,
        |args, _| Ok(args[0].sql_type.clone()),
        |c| {
            let rule = Comparison::of_types(c.arg_type(0), c.arg_type(1))?;
            if compare::equal(c.arg(0), c.arg(1), &rule, c.ctx)? == Some(true) {
                return Ok(Value::Null);
            }
            Ok(c.arg(0).clone())
        },
    ),
];

fn unified(args: &[ArgType], operation: &str) -> Result<SqlType, SqlError> {
    let (unified, _) = unify_args(args, operation)?;
    Ok(match unified {
        // Labels of different columns are texts.
        SqlType::Enum { collation, .. } | SqlType::Set { collation, .. } => {
            SqlType::string(unified.char_length().into(), collation)
        }
        SqlType::Char { length, collation } => SqlType::VarChar { length, collation },
        other => other,
    })
}

fn first_present(c: &mut Call<'_>) -> Result<Value, SqlError> {
    match (0..c.len()).find(|at| !c.arg(*at).is_null()) {
        Some(at) => c.coerced(at),
        None => Ok(Value::Null),
    }
}

fn extreme(c: &mut Call<'_>, wanted: Ordering) -> Result<Value, SqlError> {
    // A date among texts makes it a comparison of dates.
    let dates = c.types.iter().any(SqlType::has_date) && c.out.is_string();
    let rule = if dates { Comparison::DateTime } else { Comparison::of_type(c.out) };
    let mut best = c.coerced(0)?;
    for at in 1..c.len() {
        let next = c.coerced(at)?;
        if compare::compare(&next, &best, &rule, c.ctx)? == Some(wanted) {
            best = next;
        }
    }
    Ok(best)
}

/// INTERVAL(n, a, b, …): how many of the ascending a, b, … are not above n; -1 for NULL.
fn interval(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::Int(-1));
    }
    let number = c.decimal(0)?;
    for at in 1..c.len() {
        if !c.arg(at).is_null() && c.decimal(at)?.compare(&number) == Ordering::Greater {
            return Ok(Value::Int(at as i64 - 1));
        }
    }
    Ok(Value::Int(c.len() as i64 - 1))
}
