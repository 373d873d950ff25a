//! Evaluation of resolved expressions over one row.
//!
//! [`eval`] never waits. An expression that needs a subquery's rows stops with [`Stop::Wait`]; [`eval_async`]
//! gets them and evaluates again, so that CASE, AND and OR stay lazy. What has an effect or would give something
//! else the next time is done once and then read from a [`Journal`].

use super::journal::Journal;
use super::*;
use assize_model::{ErrorCode, SqlError};
use assize_values::Value;
use std::cmp::Ordering;

/// Evaluates an expression that may have to wait.
pub async fn eval_async(expr: &Expr, row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, SqlError> {
    let mut journal = Journal::default();
    loop {
        let warned = rt.warned();
        rt.journal = Some(journal);
        let result = eval(expr, row, rt);
        journal = rt.journal.take().expect("an evaluation leaves its journal");
        match result {
            Ok(value) => return Ok(value),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Wait(pending)) => {
                // What was evaluated so far will be evaluated again, and would warn again.
                rt.unwarn(warned);
                journal.rewind(&pending);
                // Whatever this runs has journals of its own.
                journal.push(rt.provide(*pending).await?);
            }
        }
    }
}

/// SQL's three truth values of a value.
pub fn truth(value: &Value, rt: &mut Runtime<'_>) -> Result<Option<bool>, SqlError> {
    Ok(match value {
        Value::Null => None,
        Value::Int(n) => Some(*n != 0),
        Value::UInt(n) => Some(*n != 0),
        other => truth_of(other, rt.context.eval())?,
    })
}

/// Whether a condition holds for a row.
pub fn is_true(expr: &Expr, row: &[Value], rt: &mut Runtime<'_>) -> Result<bool, Stop> {
    let value = eval(expr, row, rt)?;
    Ok(truth(&value, rt)? == Some(true))
}

fn boolean(value: Option<bool>) -> Value {
    match value {
        None => Value::Null,
        Some(b) => Value::Int(i64::from(b)),
    }
}

/// Evaluates an expression.
#[inline]
pub fn eval(expr: &Expr, row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, Stop> {
    match &expr.kind {
        ExprKind::Literal(value) => Ok(value.clone()),
        ExprKind::Slot(slot) if !matches!(row.get(*slot), None | Some(Value::Timestamp(_))) => {
            Ok(row[*slot].clone())
        }
        _ => crate::deep::grow(|| eval_inner(expr, row, rt)),
    }
}

fn eval_inner(expr: &Expr, row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, Stop> {
    rt.did(1);
    Ok(match &expr.kind {
        ExprKind::Literal(value) => value.clone(),
        ExprKind::Slot(slot) => match row.get(*slot) {
            // Stored timestamps are UTC; statements see them in the session's time zone.
            Some(Value::Timestamp(stored)) => local(Value::Timestamp(*stored), rt.context.eval()),
            Some(value) => value.clone(),
            None => return Err(SqlError::internal(format!("slot {slot} of a row of {}", row.len())).into()),
        },
        ExprKind::Outer(at) => match rt.outer.get(*at) {
            Some(value) => value.clone(),
            None => return Err(SqlError::internal(format!("outer value {at}")).into()),
        },
        ExprKind::Param(at) => match rt.params.get(*at) {
            Some(value) => value.clone(),
            None => return Err(SqlError::internal(format!("parameter {at}")).into()),
        },
        ExprKind::Column(id) => return Err(SqlError::internal(format!("unresolved column {id:?}")).into()),
        ExprKind::Neg(inner) => {
            let value = eval(inner, row, rt)?;
            negate_value(value, &expr.sql_type, rt.context.eval())?
        }
        ExprKind::BitNot(inner) => {
            let value = eval(inner, row, rt)?;
            bit_not_value(value, rt.context.eval())?
        }
        ExprKind::Not(inner) => {
            let value = eval(inner, row, rt)?;
            boolean(truth(&value, rt)?.map(|b| !b))
        }
        ExprKind::Arith(op, left, right) => {
            let left = eval(left, row, rt)?;
            let right = eval(right, row, rt)?;
            arith_values(*op, &left, &right, &expr.sql_type, rt.context.eval())?
        }
        ExprKind::And(parts) => {
            let mut unknown = false;
            for part in parts {
                let value = eval(part, row, rt)?;
                match truth(&value, rt)? {
                    Some(true) => {}
                    Some(false) => return Ok(Value::Int(0)),
                    None => unknown = true,
                }
            }
            if unknown { Value::Null } else { Value::Int(1) }
        }
        ExprKind::Or(parts) => {
            let mut unknown = false;
            for part in parts {
                let value = eval(part, row, rt)?;
                match truth(&value, rt)? {
                    Some(true) => return Ok(Value::Int(1)),
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            if unknown { Value::Null } else { Value::Int(0) }
        }
        ExprKind::Xor(left, right) => {
            let left = eval(left, row, rt)?;
            let right = eval(right, row, rt)?;
            match (truth(&left, rt)?, truth(&right, rt)?) {
                (Some(a), Some(b)) => boolean(Some(a != b)),
                _ => Value::Null,
            }
        }
        ExprKind::Compare(op, how, left, right) => {
            let left = eval(left, row, rt)?;
            let right = eval(right, row, rt)?;
            boolean(compare_op(*op, how, &left, &right, rt)?)
        }
        ExprKind::RowCompare(op, how, left, right) => {
            let left = eval_all(left, row, rt)?;
            let right = eval_all(right, row, rt)?;
            boolean(compare_rows(*op, how, &left, &right, rt)?)
        }
        ExprKind::IsNull(inner, negated) => {
            let value = eval(inner, row, rt)?;
            boolean(Some(is_null_for(inner, &value) != *negated))
        }
        ExprKind::IsTruth(inner, want, negated) => {
            let value = eval(inner, row, rt)?;
            boolean(Some((truth(&value, rt)? == Some(*want)) != *negated))
        }
        ExprKind::InList(value, list, negated) => {
            let value = eval(value, row, rt)?;
            if value.is_null() {
                return Ok(Value::Null);
            }
            let mut unknown = false;
            for (how, item) in list {
                let item = eval(item, row, rt)?;
                match compare_op(CompareOp::Eq, how, &value, &item, rt)? {
                    Some(true) => return Ok(boolean(Some(!negated))),
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            if unknown { Value::Null } else { boolean(Some(*negated)) }
        }
        ExprKind::InRows(left, rows, negated, members) => {
            let left = eval_all(left, row, rt)?;
            if let Some(found) = members.find(&left, rows, rt)? {
                return Ok(boolean(Some(found != *negated)));
            }
            let mut unknown = false;
            for (how, right) in rows {
                let right = eval_all(right, row, rt)?;
                match compare_rows(CompareOp::Eq, how, &left, &right, rt)? {
                    Some(true) => return Ok(boolean(Some(!negated))),
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            if unknown { Value::Null } else { boolean(Some(*negated)) }
        }
        ExprKind::Between(parts, negated) => {
            let (value, low_how, low, high_how, high) = &**parts;
            let value = eval(value, row, rt)?;
            let low = eval(low, row, rt)?;
            let high = eval(high, row, rt)?;
            let above = compare_op(CompareOp::Ge, low_how, &value, &low, rt)?;
            let below = compare_op(CompareOp::Le, high_how, &value, &high, rt)?;
            let between = match (above, below) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            boolean(between.map(|b| b != *negated))
        }
        ExprKind::Like(value, pattern, escape, collation, negated) => {
            let value_type = &value.sql_type;
            let value = eval(value, row, rt)?;
            let pattern = eval(pattern, row, rt)?;
            if value.is_null() || pattern.is_null() {
                return Ok(Value::Null);
            }
            let matched = like_values(&value, value_type, &pattern, *escape, *collation);
            boolean(Some(matched != *negated))
        }
        ExprKind::Case(branches, otherwise) => {
            for (when, then) in branches {
                let value = eval(when, row, rt)?;
                if truth(&value, rt)? == Some(true) {
                    let value = eval(then, row, rt)?;
                    return Ok(to_type(value, &then.sql_type, &expr.sql_type, rt.context.eval())?);
                }
            }
            match otherwise {
                Some(otherwise) => {
                    let value = eval(otherwise, row, rt)?;
                    to_type(value, &otherwise.sql_type, &expr.sql_type, rt.context.eval())?
                }
                None => Value::Null,
            }
        }
        ExprKind::Cast(inner, target) => {
            let value = eval(inner, row, rt)?;
            cast_value(value, &inner.sql_type, target, &expr.sql_type, rt.context.eval())?
        }
        ExprKind::Collate(inner) => eval(inner, row, rt)?,
        ExprKind::Call(function, args) => {
            let args = eval_all(args, row, rt)?;
            if function.is_each_call() {
                rt.once(|rt| call_function(function, &args, rt))?
            } else {
                call_function(function, &args, rt)?
            }
        }
        ExprKind::Session(function, args) => session(*function, args, row, rt)?,
        ExprKind::Subquery(subquery) => subquery_value(subquery, row, rt)?,
        // An assignment further on in the expression must not be seen by the next run of it.
        ExprKind::UserVariable(name) => rt.once(|rt| Ok(rt.context.user_variable(name)))?,
        ExprKind::Assign(name, inner) => {
            let value = eval(inner, row, rt)?;
            rt.once(|rt| {
                rt.assign(name, value.clone());
                Ok(value)
            })?
        }
        ExprKind::SystemVariable(name, scope) => rt.once(|rt| rt.context.system_variable(name, *scope))?,
        ExprKind::Row(parts) => {
            return Err(SqlError::new(
                ErrorCode::OperandColumns,
                format!("Operand should contain 1 column(s), not {}", parts.len()),
            )
            .into());
        }
    })
}

/// Rows of a list from which on it is worth to look them up.
const MEMBERS_MIN: usize = 8;

impl Members {
    /// Whether a row is one of the list's; `None` if they have to be compared one by one.
    fn find(
        &self,
        row: &[Value],
        list: &[(Vec<Comparison>, Vec<Expr>)],
        rt: &mut Runtime<'_>,
    ) -> Result<Option<bool>, SqlError> {
        if list.len() < MEMBERS_MIN {
            return Ok(None);
        }
        let members = match self.0.get() {
            Some(members) => members,
            None => {
                rt.did(list.len());
                let made = Members::of(list, rt)?;
                self.0.get_or_init(|| made)
            }
        };
        let Some(members) = members else { return Ok(None) };
        Ok(row_key(&list[0].0, row.iter(), rt)?.map(|key| members.contains(&key)))
    }

    /// The keys of a list of constants that all compare alike, and in a way that no session has a say in: the
    /// plan that keeps them is everybody's.
    fn of(
        list: &[(Vec<Comparison>, Vec<Expr>)],
        rt: &mut Runtime<'_>,
    ) -> Result<Option<Arc<HashSet<Vec<u8>>>>, SqlError> {
        let how = &list[0].0;
        if !how.iter().all(|h| matches!(h, Comparison::Int | Comparison::Text(_) | Comparison::Bytes)) {
            return Ok(None);
        }
        let mut keys = HashSet::with_capacity(list.len());
        for (its, row) in list {
            let values: Option<Vec<&Value>> = row.iter().map(Expr::as_literal).collect();
            let Some(values) = values.filter(|_| its == how) else { return Ok(None) };
            match row_key(how, values.into_iter(), rt)? {
                Some(key) => keys.insert(key),
                None => return Ok(None),
            };
        }
        Ok(Some(Arc::new(keys)))
    }
}

/// The key of a row that is compared so; `None` if one of its values has none, as NULL.
fn row_key<'v>(
    how: &[Comparison],
    row: impl Iterator<Item = &'v Value>,
    rt: &mut Runtime<'_>,
) -> Result<Option<Vec<u8>>, SqlError> {
    let mut key = Vec::with_capacity(how.len() * 9);
    for (how, value) in how.iter().zip(row) {
        if value.is_null() || !put_hash_key(&mut key, how, value, rt.context.eval())? {
            return Ok(None);
        }
    }
    Ok(Some(key))
}

fn eval_all(exprs: &[Expr], row: &[Value], rt: &mut Runtime<'_>) -> Result<Row, Stop> {
    exprs.iter().map(|e| eval(e, row, rt)).collect()
}

fn compare_op(
    op: CompareOp,
    how: &Comparison,
    left: &Value,
    right: &Value,
    rt: &mut Runtime<'_>,
) -> Result<Option<bool>, SqlError> {
    rt.did(1);
    if left.is_null() || right.is_null() {
        return Ok(match op {
            CompareOp::NullSafeEq => Some(left.is_null() && right.is_null()),
            _ => None,
        });
    }
    let Some(ordering) = compare_values(how, left, right, rt.context.eval())? else {
        return Ok(None);
    };
    Ok(Some(satisfies(op, ordering)))
}

fn satisfies(op: CompareOp, ordering: Ordering) -> bool {
    match op {
        CompareOp::Eq | CompareOp::NullSafeEq => ordering.is_eq(),
        CompareOp::Ne => ordering.is_ne(),
        CompareOp::Lt => ordering.is_lt(),
        CompareOp::Le => ordering.is_le(),
        CompareOp::Gt => ordering.is_gt(),
        CompareOp::Ge => ordering.is_ge(),
    }
}

/// Rows compare like their columns, first difference first.
fn compare_rows(
    op: CompareOp,
    how: &[Comparison],
    left: &[Value],
    right: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Option<bool>, SqlError> {
    match op {
        CompareOp::Eq | CompareOp::NullSafeEq | CompareOp::Ne => {
            let each = if op == CompareOp::Ne { CompareOp::Eq } else { op };
            let mut all = Some(true);
            for ((how, a), b) in how.iter().zip(left).zip(right) {
                match compare_op(each, how, a, b, rt)? {
                    Some(true) => {}
                    Some(false) => {
                        all = Some(false);
                        break;
                    }
                    None => all = None,
                }
            }
            Ok(if op == CompareOp::Ne { all.map(|b| !b) } else { all })
        }
        _ => {
            for ((how, a), b) in how.iter().zip(left).zip(right) {
                if a.is_null() || b.is_null() {
                    return Ok(None);
                }
                match compare_values(how, a, b, rt.context.eval())? {
                    None => return Ok(None),
                    Some(Ordering::Equal) => {}
                    Some(ordering) => return Ok(Some(satisfies(op, ordering))),
                }
            }
            Ok(Some(satisfies(op, Ordering::Equal)))
        }
    }
}

/// The rows of a subquery for this row, or a request for them.
fn rows_of(
    subquery: &Subquery,
    exists: bool,
    single: bool,
    row: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Arc<SubqueryRows>, Stop> {
    let args = eval_all(&subquery.args, row, rt)?;
    if let Some(rows) = rt.next_rows() {
        return Ok(rows);
    }
    match rt.remembered(&subquery.plan, &args) {
        Some(rows) => {
            rt.record_rows(&rows);
            Ok(rows)
        }
        None => Err(Stop::Wait(Box::new(runtime::Pending::Subquery {
            plan: subquery.plan.clone(),
            args,
            exists,
            single,
        }))),
    }
}

fn subquery_value(subquery: &Subquery, row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, Stop> {
    Ok(match &subquery.usage {
        SubqueryUse::Scalar => {
            let rows = rows_of(subquery, false, true, row, rt)?;
            rows.rows.first().and_then(|r| r.first()).cloned().unwrap_or(Value::Null)
        }
        SubqueryUse::Exists => {
            let rows = rows_of(subquery, true, false, row, rt)?;
            boolean(Some(!rows.rows.is_empty()))
        }
        SubqueryUse::In { left, compare, negated } => {
            let left = eval_all(left, row, rt)?;
            let rows = rows_of(subquery, false, false, row, rt)?;
            boolean(member(&left, &rows, compare, rt)?.map(|b| b != *negated))
        }
        SubqueryUse::Row { left, op, compare } => {
            let left = eval_all(left, row, rt)?;
            let rows = rows_of(subquery, false, true, row, rt)?;
            match rows.rows.first() {
                Some(right) => boolean(compare_rows(*op, compare, &left, right, rt)?),
                None => boolean(compare_rows(*op, compare, &left, &vec![Value::Null; left.len()], rt)?),
            }
        }
        SubqueryUse::Quantified { left, op, compare, all } => {
            let left = eval(left, row, rt)?;
            let rows = rows_of(subquery, false, false, row, rt)?;
            let mut unknown = false;
            for right in &rows.rows {
                match compare_op(*op, compare, &left, &right[0], rt)? {
                    Some(holds) if holds != *all => return Ok(boolean(Some(!all))),
                    Some(_) => {}
                    None => unknown = true,
                }
            }
            if unknown { Value::Null } else { boolean(Some(*all)) }
        }
    })
}

/// Whether a row is among a subquery's rows; unknown if only NULLs stand in the way.
fn member(
    left: &[Value],
    rows: &SubqueryRows,
    how: &[Comparison],
    rt: &mut Runtime<'_>,
) -> Result<Option<bool>, SqlError> {
    if rows.rows.is_empty() {
        return Ok(Some(false));
    }
    // Many rows that compare by keys: look them up.
    if rows.rows.len() > 8 && how.iter().all(is_hashable) && !left.iter().any(Value::is_null) {
        let key = |values: &[Value], rt: &mut Runtime<'_>| -> Result<Option<Vec<u8>>, SqlError> {
            let mut out = Vec::new();
            for (how, value) in how.iter().zip(values) {
                if value.is_null() || !put_hash_key(&mut out, how, value, rt.context.eval())? {
                    return Ok(None);
                }
            }
            Ok(Some(out))
        };
        if rows.members.get().is_none() {
            let mut members = std::collections::HashSet::with_capacity(rows.rows.len());
            let mut has_null = false;
            let mut complete = true;
            for row in &rows.rows {
                if row.iter().any(Value::is_null) {
                    has_null = true;
                    continue;
                }
                match key(row, rt)? {
                    Some(key) => {
                        members.insert(key);
                    }
                    None => complete = false,
                }
            }
            let _ = rows.members.set(complete.then_some((members, has_null)));
        }
        if let Some((members, has_null)) = rows.members.get().expect("just set")
            && let Some(key) = key(left, rt)?
        {
            let hit = members.contains(&key);
            if hit && how.iter().all(hash_decides) {
                return Ok(Some(true));
            }
            if !hit && !has_null {
                return Ok(Some(false));
            }
            if !hit && left.len() == 1 {
                return Ok(None);
            }
        }
    }
    let mut unknown = false;
    for right in &rows.rows {
        match compare_rows(CompareOp::Eq, how, left, right, rt)? {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

/// BENCHMARK(count, expression). Others have their turns between rounds; the answer to such a wait is the round
/// to go on with.
fn benchmark(args: &[Expr], row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, Stop> {
    let count = to_f64(&eval(&args[0], row, rt)?);
    if count < 0.0 {
        return Ok(Value::Null);
    }
    let at = rt.journal_place();
    let turn = |round| Stop::Wait(Box::new(runtime::Pending::Turn { at, round }));
    let Some(Value::UInt(first)) = rt.next_value() else { return Err(turn(0)) };
    for round in first..count as u64 {
        // A round that is still in the journal has been done, and must not be done again.
        if round > first && rt.journal_is_read() && rt.has_had_its_turn() {
            return Err(turn(round));
        }
        rt.did(1);
        eval(&args[1], row, rt)?;
    }
    Ok(Value::Int(0))
}

/// Names of locks are texts of 1 to 64 characters.
fn check_lock_name(name: &Value) -> Result<(), SqlError> {
    let text = if name.is_null() { "NULL".to_owned() } else { to_text(name) };
    if name.is_null() || text.is_empty() || text.chars().count() > 64 {
        let text = format!("Incorrect user-level lock name '{text}'.");
        return Err(SqlError::new(ErrorCode::ErrorInUserLock, text));
    }
    Ok(())
}

fn session(
    function: SessionFunction,
    args: &[Expr],
    row: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Value, Stop> {
    if function == SessionFunction::Benchmark {
        return benchmark(args, row, rt);
    }
    let args = eval_all(args, row, rt)?;
    if matches!(
        function,
        SessionFunction::GetLock
            | SessionFunction::ReleaseLock
            | SessionFunction::IsFreeLock
            | SessionFunction::IsUsedLock
    ) {
        check_lock_name(args.first().unwrap_or(&Value::Null))?;
    }
    Ok(match function {
        SessionFunction::GetLock
        | SessionFunction::ReleaseLock
        | SessionFunction::ReleaseAllLocks
        | SessionFunction::IsFreeLock
        | SessionFunction::IsUsedLock => match rt.next_value() {
            Some(answer) => answer,
            None => return Err(Stop::Wait(Box::new(runtime::Pending::Session(function, args)))),
        },
        SessionFunction::Benchmark => Value::Null,
        SessionFunction::Sleep => match rt.next_value() {
            Some(answer) => answer,
            None => {
                let seconds = args
                    .first()
                    .map_or(-1.0, |seconds| if seconds.is_null() { -1.0 } else { to_f64(seconds) });
                if seconds.is_nan() || seconds < 0.0 {
                    return Err(
                        SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to sleep.").into()
                    );
                }
                return Err(Stop::Wait(Box::new(runtime::Pending::Session(function, args))));
            }
        },
    })
}
