//! Window functions: rows sorted into partitions, a value for each row from the rows around it.

use super::accumulate::Accumulator;
use super::shape::{compare_keys, key_values};
use super::{BATCH, Operator, collect, value};
use crate::bind::{FrameBound, WindowFunction};
use crate::expr::{Row, Runtime, order_values, to_f64, to_type};
use crate::plan::{AggregatePlan, WindowPlan};
use assize_model::{ErrorCode, SqlError};
use assize_ports::BoxFuture;
use assize_values::Value;
use std::cmp::Ordering;

/// Adds a column for each window function.
pub struct Windows<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub calls: &'p [WindowPlan],
    pub rows: Option<std::vec::IntoIter<Row>>,
}

impl Operator for Windows<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.rows.is_none() {
                let mut rows = collect(&mut *self.input, rt).await?;
                for call in self.calls {
                    rows = compute(call, rows, rt).await?;
                }
                self.rows = Some(rows.into_iter());
            }
            let batch: Vec<Row> = self.rows.as_mut().expect("just made").by_ref().take(BATCH).collect();
            Ok((!batch.is_empty()).then_some(batch))
        })
    }
}

/// Rows of one partition with their order keys.
struct Partition {
    rows: Vec<Row>,
    order: Vec<Row>,
}

async fn compute(plan: &WindowPlan, rows: Vec<Row>, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
    let mut keyed = Vec::with_capacity(rows.len());
    for row in rows {
        let partition = key_values(&plan.partition, &row, rt).await?;
        let order = key_values(&plan.order, &row, rt).await?;
        keyed.push((partition, order, row));
    }
    keyed.sort_by(|a, b| {
        compare_keys(&plan.partition, &a.0, &b.0).then_with(|| compare_keys(&plan.order, &a.1, &b.1))
    });
    let mut out = Vec::with_capacity(keyed.len());
    let mut iter = keyed.into_iter().peekable();
    while let Some((key, order, row)) = iter.next() {
        rt.worked(1).await?;
        let mut partition = Partition { rows: vec![row], order: vec![order] };
        while let Some((_, order, row)) =
            iter.next_if(|(next, ..)| compare_keys(&plan.partition, &key, next).is_eq())
        {
            partition.rows.push(row);
            partition.order.push(order);
        }
        let values = evaluate(plan, &partition, rt).await?;
        for (mut row, value) in partition.rows.into_iter().zip(values) {
            rt.budget.take(40)?;
            row.push(value);
            out.push(row);
        }
    }
    Ok(out)
}

impl Partition {
    fn peers(&self, plan: &WindowPlan, a: usize, b: usize) -> bool {
        compare_keys(&plan.order, &self.order[a], &self.order[b]).is_eq()
    }

    /// First row of each row's peer group, and the row after its last.
    fn peer_groups(&self, plan: &WindowPlan) -> (Vec<usize>, Vec<usize>) {
        let n = self.rows.len();
        let mut first = vec![0; n];
        let mut after = vec![n; n];
        for i in 1..n {
            first[i] = if self.peers(plan, i - 1, i) { first[i - 1] } else { i };
        }
        for i in (0..n.saturating_sub(1)).rev() {
            after[i] = if self.peers(plan, i, i + 1) { after[i + 1] } else { i + 1 };
        }
        (first, after)
    }
}

async fn evaluate(
    plan: &WindowPlan,
    partition: &Partition,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Value>, SqlError> {
    let n = partition.rows.len();
    let (first, after) = partition.peer_groups(plan);
    let uint = |n: usize| Value::UInt(n as u64);
    Ok(match &plan.call.function {
        WindowFunction::RowNumber => (1..=n).map(uint).collect(),
        WindowFunction::Rank => first.iter().map(|f| uint(f + 1)).collect(),
        WindowFunction::DenseRank => {
            let mut rank = 0;
            (0..n)
                .map(|i| {
                    rank += usize::from(first[i] == i);
                    uint(rank)
                })
                .collect()
        }
        WindowFunction::PercentRank => first
            .iter()
            .map(|f| Value::Double(if n > 1 { *f as f64 / (n - 1) as f64 } else { 0.0 }))
            .collect(),
        WindowFunction::CumeDist => after.iter().map(|a| Value::Double(*a as f64 / n as f64)).collect(),
        WindowFunction::Ntile => {
            let buckets = count(plan, 0, &partition.rows[0], "ntile", rt).await?;
            let Some(buckets) = buckets.filter(|b| *b > 0) else {
                return Err(wrong_arguments("ntile"));
            };
            let (size, larger) = (n / buckets, n % buckets);
            (0..n)
                .map(|i| {
                    let in_larger = larger * (size + 1);
                    uint(
                        1 + if i < in_larger {
                            i / (size + 1)
                        } else {
                            larger + (i - in_larger) / size.max(1)
                        },
                    )
                })
                .collect()
        }
        WindowFunction::Lag | WindowFunction::Lead => {
            let name = if plan.call.function == WindowFunction::Lag { "lag" } else { "lead" };
            let offset = match plan.args.len() {
                1 => 1,
                _ => count(plan, 1, &partition.rows[0], name, rt)
                    .await?
                    .ok_or_else(|| wrong_arguments(name))?,
            };
            let mut out = Vec::with_capacity(n);
            for i in 0..n {
                let at = if name == "lag" { i.checked_sub(offset) } else { i.checked_add(offset) };
                out.push(match at.filter(|at| *at < n) {
                    Some(at) => argument(plan, 0, &partition.rows[at], rt).await?,
                    None if plan.args.len() == 3 => argument(plan, 2, &partition.rows[i], rt).await?,
                    None => Value::Null,
                });
            }
            out
        }
        WindowFunction::FirstValue | WindowFunction::LastValue | WindowFunction::NthValue => {
            let nth = match &plan.call.function {
                WindowFunction::NthValue => count(plan, 1, &partition.rows[0], "nth_value", rt)
                    .await?
                    .filter(|n| *n > 0)
                    .ok_or_else(|| wrong_arguments("nth_value"))?,
                _ => 1,
            };
            let frames = frames(plan, partition, &first, &after, rt).await?;
            let mut out = Vec::with_capacity(n);
            for (start, end) in frames {
                let at = match &plan.call.function {
                    WindowFunction::LastValue => end.checked_sub(1).filter(|at| *at >= start),
                    _ => Some(start + nth - 1).filter(|at| *at < end),
                };
                out.push(match at {
                    Some(at) => argument(plan, 0, &partition.rows[at], rt).await?,
                    None => Value::Null,
                });
            }
            out
        }
        WindowFunction::Aggregate(call) => {
            let aggregate = AggregatePlan {
                compare: call.args.iter().map(crate::expr::same_type_comparison).collect(),
                args: Vec::new(),
                order: Vec::new(),
                call: (**call).clone(),
            };
            let frames = frames(plan, partition, &first, &after, rt).await?;
            let mut args = Vec::with_capacity(n);
            for row in &partition.rows {
                let mut values = Vec::with_capacity(plan.args.len());
                for scalar in &plan.args {
                    values.push(value(scalar, row, rt).await?);
                }
                args.push(values);
            }
            let mut out: Vec<Value> = Vec::with_capacity(n);
            let mut running: Option<(usize, usize, Accumulator)> = None;
            for (start, end) in frames {
                // A frame that only grows goes on with what was added up.
                let mut state = match running.take() {
                    Some((s, e, state)) if s == start && e <= end => (e, state),
                    _ => (start, Accumulator::new(&aggregate)),
                };
                while state.0 < end {
                    rt.worked(1).await?;
                    state.1.add_values(&aggregate, args[state.0].clone(), Vec::new(), rt)?;
                    state.0 += 1;
                }
                out.push(state.1.finish(&aggregate, rt.context.eval())?);
                running = Some((start, end.max(start), state.1));
            }
            out
        }
    })
}

async fn argument(
    plan: &WindowPlan,
    at: usize,
    row: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Value, SqlError> {
    let scalar = &plan.args[at];
    let found = value(scalar, row, rt).await?;
    to_type(found, &scalar.expr.sql_type, &plan.call.sql_type, rt.context.eval())
}

async fn count(
    plan: &WindowPlan,
    at: usize,
    row: &[Value],
    name: &str,
    rt: &mut Runtime<'_>,
) -> Result<Option<usize>, SqlError> {
    match value(&plan.args[at], row, rt).await? {
        Value::Null => Ok(None),
        Value::Int(n @ 0..) => Ok(Some(n as usize)),
        Value::UInt(n) => Ok(Some(n as usize)),
        _ => Err(wrong_arguments(name)),
    }
}

fn wrong_arguments(name: &str) -> SqlError {
    SqlError::new(ErrorCode::WrongArguments, format!("Incorrect arguments to {name}"))
}

/// First row of each row's frame, and the row after its last; empty frames have start = end.
async fn frames(
    plan: &WindowPlan,
    partition: &Partition,
    first: &[usize],
    after: &[usize],
    rt: &mut Runtime<'_>,
) -> Result<Vec<(usize, usize)>, SqlError> {
    let n = partition.rows.len();
    let frame = &plan.call.frame;
    let mut out = Vec::with_capacity(n);
    // Distances of a ROWS frame are constants.
    let mut distances = [None, None];
    if frame.rows {
        for (at, bound) in [&plan.bounds.0, &plan.bounds.1].into_iter().enumerate() {
            if let Some(scalar) = bound {
                let distance = value(scalar, &partition.rows[0], rt).await?;
                let number = to_f64(&distance);
                if distance.is_null() || number < 0.0 || number.fract() != 0.0 {
                    return Err(SqlError::new(
                        ErrorCode::WindowMisuse,
                        "Window '<unnamed window>': frame start or end is negative, NULL or of non-integral type",
                    ));
                }
                distances[at] = Some(number as usize);
            }
        }
    }
    for i in 0..n {
        let start = match &frame.start {
            FrameBound::Unbounded => 0,
            FrameBound::CurrentRow => {
                if frame.rows {
                    i
                } else {
                    first[i]
                }
            }
            FrameBound::Preceding(_) => i.saturating_sub(distances[0].unwrap_or(0)),
            FrameBound::Following(_) => i.saturating_add(distances[0].unwrap_or(0)).min(n),
            FrameBound::Moved(_) => moved(plan, partition, i, true, (first[i], after[i]), rt).await?,
        };
        let end = match &frame.end {
            FrameBound::Unbounded => n,
            FrameBound::CurrentRow => {
                if frame.rows {
                    i + 1
                } else {
                    after[i]
                }
            }
            FrameBound::Preceding(_) => (i + 1).saturating_sub(distances[1].unwrap_or(0)),
            FrameBound::Following(_) => i.saturating_add(distances[1].unwrap_or(0)).saturating_add(1).min(n),
            FrameBound::Moved(_) => moved(plan, partition, i, false, (first[i], after[i]), rt).await?,
        };
        out.push(if start < end { (start, end) } else { (start.min(n), start.min(n)) });
    }
    Ok(out)
}

/// The row at which a RANGE frame begins, or the one after its end: by the order key moved by the distance.
async fn moved(
    plan: &WindowPlan,
    partition: &Partition,
    at: usize,
    is_start: bool,
    peers: (usize, usize),
    rt: &mut Runtime<'_>,
) -> Result<usize, SqlError> {
    let scalar = if is_start { &plan.bounds.0 } else { &plan.bounds.1 };
    let Some(scalar) = scalar else {
        return Err(SqlError::internal("a frame without its bound"));
    };
    let limit = value(scalar, &partition.rows[at], rt).await?;
    if limit.is_null() {
        // NULL is at no distance from anything: its peers are the frame.
        return Ok(if is_start { peers.0 } else { peers.1 });
    }
    let key = &plan.order[0];
    // The moved key may be of a wider type than the key.
    let rule = crate::expr::type_comparison_of(&key.scalar.expr.sql_type, &scalar.expr.sql_type);
    let before = |row: &Row| {
        let order = order_values(&rule, &row[0], &limit);
        let order = if key.descending { order.reverse() } else { order };
        if is_start { order == Ordering::Less } else { order != Ordering::Greater }
    };
    Ok(partition.order.partition_point(before))
}
