//! Running plans: each step of a plan becomes an operator that hands up rows in batches.
//!
//! ```text
//!   drive ──next──▶ Limit ──next──▶ Sort ──next──▶ … ──next──▶ Scan ──scan──▶ ports::Transaction
//! ```
//!
//! Operators that keep rows (sort, group, hash, distinct, windows) take their memory from the statement's
//! [`Budget`](crate::expr::Budget); everything else streams. Every operator that loops asks whether the
//! statement was killed, and lets other sessions have their turn: [`value`], [`holds`] and [`retain`], through
//! which all rows pass, count their work for it ([`Runtime::worked`]).

mod accumulate;
mod aggregate;
mod foreign;
mod foreign_limit;
mod join;
mod lock;
mod point;
mod scan;
mod shape;
mod sources;
mod window;

pub use foreign::foreign_text;
pub use point::{Looked, Point};
pub use scan::{KeyValue, key_value, literal_key};

use crate::expr::{Row, Runtime, Stop, eval, eval_async, truth};
use crate::plan::{Node, NodeKind, Scalar, SubPlan};
use assize_model::SqlError;
use assize_ports::BoxFuture;
use assize_values::Value;

/// Rows handed up at a time, at most.
pub const BATCH: usize = 1024;

/// A step of a plan while it runs.
pub trait Operator: Send {
    /// The next rows; `None` when there are no more. Batches may be empty.
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>>;

    /// Rows skipped and not handed up by a LIMIT that counts them.
    fn found(&self) -> Option<u64> {
        None
    }
}

/// The operator of a step.
pub fn open(node: &Node) -> Box<dyn Operator + '_> {
    let operator = crate::deep::grow(|| open_inner(node));
    match &node.kind {
        NodeKind::Project { .. } | NodeKind::SetOperation { .. } | NodeKind::Join { .. } => {
            Box::new(Level { operator })
        }
        _ => operator,
    }
}

/// An operator that is polled on a stack that grows: plans are as deep as statements nest.
struct Level<'p> {
    operator: Box<dyn Operator + 'p>,
}

impl Operator for Level<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(crate::deep::Deep(self.operator.next(rt)))
    }

    fn found(&self) -> Option<u64> {
        self.operator.found()
    }
}

fn open_inner(node: &Node) -> Box<dyn Operator + '_> {
    match &node.kind {
        NodeKind::One => Box::new(sources::One { done: false }),
        NodeKind::Values(rows) => Box::new(sources::Values { rows, at: 0 }),
        NodeKind::Scan(scan) => Box::new(scan::ScanOperator::new(scan)),
        NodeKind::Foreign(scan) => Box::new(foreign::ForeignOperator::new(scan)),
        NodeKind::Virtual { table, columns, filter } => {
            Box::new(sources::Virtual { table, columns, filter, rows: None })
        }
        NodeKind::Cte { id, plan, columns, .. } => {
            Box::new(sources::CteScan { id: *id, plan, columns, rows: None, at: 0 })
        }
        NodeKind::Recursion { name, columns } => Box::new(sources::Recursion { name, columns, at: 0 }),
        NodeKind::Gate { input, conditions } => {
            Box::new(shape::Gate { input: open(input), conditions, open: None })
        }
        NodeKind::Filter { input, conditions } => Box::new(shape::Filter { input: open(input), conditions }),
        NodeKind::Project { input, exprs } => Box::new(shape::Project { input: open(input), exprs }),
        NodeKind::Join { left, method, right_width, left_outer, conditions } => {
            join::open(open(left), method, *right_width, *left_outer, conditions)
        }
        NodeKind::Aggregate { input, keys, carried, aggregates, rollup, grouping, implicit } => {
            Box::new(aggregate::Groups {
                input: open(input),
                keys,
                carried,
                aggregates,
                rollup: *rollup,
                grouping,
                implicit: *implicit,
                rows: None,
            })
        }
        NodeKind::Window { input, calls } => {
            Box::new(window::Windows { input: open(input), calls, rows: None })
        }
        NodeKind::Sort { input, keys, limit } => {
            Box::new(shape::Sort { input: open(input), keys, limit: limit.as_ref(), rows: None })
        }
        NodeKind::Distinct { input, compare } => {
            Box::new(shape::Distinct { input: open(input), compare, seen: Default::default() })
        }
        NodeKind::Limit { input, limit, offset, calc_found_rows } => {
            let (limit, offset, calc_found_rows) = (limit.as_ref(), offset.as_ref(), *calc_found_rows);
            if !calc_found_rows
                && let Some(locked) = foreign_limit::ForeignLockedLimit::of(input, limit, offset)
            {
                return Box::new(locked);
            }
            match lock::LockedLimit::of(input, limit, offset).filter(|_| !calc_found_rows) {
                Some(locked) => Box::new(locked),
                None => {
                    let spares =
                        (!calc_found_rows).then(|| lock::few_at_a_time(input, limit, offset)).flatten();
                    let input = spares.unwrap_or_else(|| open(input));
                    Box::new(shape::Limit { input, limit, offset, calc_found_rows, state: None, found: 0 })
                }
            }
        }
        NodeKind::SetOperation { op, all, left, right, left_types, right_types, types, compare } => {
            Box::new(shape::SetOperator {
                op: *op,
                all: *all,
                left: open(left),
                right: open(right),
                left_types,
                right_types,
                types,
                compare,
                seen: Default::default(),
                counts: None,
                left_done: false,
            })
        }
    }
}

/// All rows of a step, kept; they count against the budget.
pub async fn collect(operator: &mut (dyn Operator + '_), rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
    let mut all = Vec::new();
    while let Some(batch) = operator.next(rt).await? {
        rt.context.check_killed()?;
        for row in &batch {
            rt.budget.take_row(row)?;
        }
        all.extend(batch);
    }
    Ok(all)
}

/// The rows of a subquery for these outer values.
pub(crate) async fn subquery_rows(
    plan: &SubPlan,
    args: Vec<Value>,
    exists: bool,
    single: bool,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    let saved = std::mem::replace(&mut rt.outer, args.into());
    let running: BoxFuture<'_, Result<Vec<Row>, SqlError>> = Box::pin(run_subquery(plan, exists, single, rt));
    let result = crate::deep::Deep(running).await;
    rt.outer = saved;
    result
}

async fn run_subquery(
    plan: &SubPlan,
    exists: bool,
    single: bool,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    let mut operator = open(&plan.root);
    let mut rows = Vec::new();
    while let Some(batch) = operator.next(rt).await? {
        rt.context.check_killed()?;
        for row in batch {
            rt.budget.take_row(&row)?;
            rows.push(row);
            if exists {
                return Ok(rows);
            }
            if single && rows.len() > 1 {
                return Err(SqlError::new(
                    assize_model::ErrorCode::SubqueryReturnsMoreRows,
                    "Subquery returns more than 1 row",
                ));
            }
        }
    }
    Ok(rows)
}

/// Evaluates a scalar of a plan.
pub async fn value(scalar: &Scalar, row: &[Value], rt: &mut Runtime<'_>) -> Result<Value, SqlError> {
    rt.worked(1).await?;
    if scalar.waits {
        return eval_async(&scalar.expr, row, rt).await;
    }
    now(eval(&scalar.expr, row, rt))
}

/// Whether all conditions hold.
pub async fn holds(conditions: &[Scalar], row: &[Value], rt: &mut Runtime<'_>) -> Result<bool, SqlError> {
    if conditions.is_empty() {
        rt.worked(1).await?;
    }
    for condition in conditions {
        let value = value(condition, row, rt).await?;
        if truth(&value, rt)? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The result of an evaluation that had nothing to wait for.
pub fn now<T>(result: Result<T, Stop>) -> Result<T, SqlError> {
    result.map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::Wait(pending) => SqlError::internal(format!("nobody waits for {pending:?}")),
    })
}

/// Keeps the rows for which all conditions hold.
pub async fn retain(
    rows: Vec<Row>,
    conditions: &[Scalar],
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    if conditions.is_empty() {
        rt.worked(rows.len()).await?;
        return Ok(rows);
    }
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        if holds(conditions, &row, rt).await? {
            kept.push(row);
        }
    }
    Ok(kept)
}
