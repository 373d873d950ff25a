//! Filter, project, sort, distinct, limit, set operations.

use super::{BATCH, Operator, collect, holds, retain, value};
use crate::bind::SetOp;
use crate::expr::{Comparison, Row, Runtime, distinct_key, order_values, row_size, to_type};
use crate::plan::{OrderKey, Scalar};
use assize_model::{ErrorCode, SqlError};
use assize_ports::BoxFuture;
use assize_values::{SqlType, Value};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

type Batch<'a> = BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>>;

/// Conditions checked once.
pub struct Gate<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub conditions: &'p [Scalar],
    pub open: Option<bool>,
}

impl Operator for Gate<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            let open = match self.open {
                Some(open) => open,
                None => holds(self.conditions, &[], rt).await?,
            };
            self.open = Some(open);
            if open { self.input.next(rt).await } else { Ok(None) }
        })
    }
}

/// Conditions checked for each row.
pub struct Filter<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub conditions: &'p [Scalar],
}

impl Operator for Filter<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            match self.input.next(rt).await? {
                None => Ok(None),
                Some(rows) => {
                    rt.context.check_killed()?;
                    Ok(Some(retain(rows, self.conditions, rt).await?))
                }
            }
        })
    }
}

/// New columns.
pub struct Project<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub exprs: &'p [Scalar],
}

impl Operator for Project<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            let Some(rows) = self.input.next(rt).await? else { return Ok(None) };
            let mut out = Vec::with_capacity(rows.len());
            for row in rows {
                let mut new = Vec::with_capacity(self.exprs.len());
                for scalar in self.exprs {
                    new.push(value(scalar, &row, rt).await?);
                }
                out.push(new);
            }
            Ok(Some(out))
        })
    }

    fn found(&self) -> Option<u64> {
        self.input.found()
    }
}

/// The number that LIMIT or OFFSET means.
pub async fn count(scalar: &Scalar, rt: &mut Runtime<'_>) -> Result<u64, SqlError> {
    match value(scalar, &[], rt).await? {
        Value::Int(n @ 0..) => Ok(n as u64),
        Value::UInt(n) => Ok(n),
        Value::Null => Ok(0),
        // Drivers that send every parameter as text mean the number in it.
        Value::Text(text) => text.trim().parse().map_err(|_| bad_limit()),
        Value::Double(d) if d >= 0.0 && d.fract() == 0.0 => Ok(d as u64),
        _ => Err(bad_limit()),
    }
}

fn bad_limit() -> SqlError {
    SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to LIMIT")
}

/// Sorted rows.
pub struct Sort<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub keys: &'p [OrderKey],
    pub limit: Option<&'p (Option<Scalar>, Scalar)>,
    pub rows: Option<std::vec::IntoIter<(Row, Row)>>,
}

/// The values of sort keys for a row.
pub async fn key_values(keys: &[OrderKey], row: &[Value], rt: &mut Runtime<'_>) -> Result<Row, SqlError> {
    let mut out = Vec::with_capacity(keys.len());
    for key in keys {
        out.push(value(&key.scalar, row, rt).await?);
    }
    Ok(out)
}

/// Compares rows of sort key values; NULLs are lowest.
pub fn compare_keys(keys: &[OrderKey], a: &[Value], b: &[Value]) -> Ordering {
    for ((key, a), b) in keys.iter().zip(a).zip(b) {
        let ordering = order_values(&key.compare, a, b);
        let ordering = if key.descending { ordering.reverse() } else { ordering };
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

impl Operator for Sort<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.rows.is_none() {
                let top = match self.limit {
                    None => None,
                    Some((offset, limit)) => {
                        let offset = match offset {
                            Some(offset) => count(offset, rt).await?,
                            None => 0,
                        };
                        Some(count(limit, rt).await?.saturating_add(offset))
                    }
                };
                let mut rows: Vec<(Row, Row)> = Vec::new();
                let mut taken = 0;
                while let Some(batch) = self.input.next(rt).await? {
                    rt.context.check_killed()?;
                    for row in batch {
                        let key = key_values(self.keys, &row, rt).await?;
                        let size = row_size(&row) + row_size(&key);
                        taken += size;
                        rt.budget.take(size)?;
                        rows.push((key, row));
                    }
                    // Keep no more than twice what is wanted.
                    if let Some(top) = top
                        && rows.len() as u64 > top.saturating_mul(2).max(BATCH as u64 * 2)
                    {
                        rows.sort_by(|a, b| compare_keys(self.keys, &a.0, &b.0));
                        rows.truncate(top as usize);
                        rt.budget.give(taken);
                        taken = rows.iter().map(|(k, r)| row_size(k) + row_size(r)).sum();
                        rt.budget.take(taken)?;
                    }
                }
                rows.sort_by(|a, b| compare_keys(self.keys, &a.0, &b.0));
                self.rows = Some(rows.into_iter());
            }
            let rows = self.rows.as_mut().expect("just made");
            let batch: Vec<Row> = rows.by_ref().take(BATCH).map(|(_, row)| row).collect();
            Ok((!batch.is_empty()).then_some(batch))
        })
    }
}

/// Rows that were not seen before.
pub struct Distinct<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub compare: &'p [Comparison],
    pub seen: HashSet<Vec<u8>>,
}

impl Operator for Distinct<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            let Some(rows) = self.input.next(rt).await? else { return Ok(None) };
            rt.worked(rows.len()).await?;
            let mut kept = Vec::with_capacity(rows.len());
            for row in rows {
                let key = distinct_key(&row, self.compare, rt.context.eval())?;
                let size = key.len() + 48;
                if self.seen.insert(key) {
                    rt.budget.take(size)?;
                    kept.push(row);
                }
            }
            Ok(Some(kept))
        })
    }
}

/// LIMIT and OFFSET.
pub struct Limit<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub limit: Option<&'p Scalar>,
    pub offset: Option<&'p Scalar>,
    pub calc_found_rows: bool,
    /// Rows to skip still, and to hand up still.
    pub state: Option<(u64, u64)>,
    pub found: u64,
}

impl Operator for Limit<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            let (mut skip, mut want) = match self.state {
                Some(state) => state,
                None => {
                    let want = match self.limit {
                        Some(limit) => count(limit, rt).await?,
                        None => u64::MAX,
                    };
                    let skip = match self.offset {
                        Some(offset) => count(offset, rt).await?,
                        None => 0,
                    };
                    (skip, want)
                }
            };
            loop {
                if want == 0 && !self.calc_found_rows {
                    self.state = Some((skip, want));
                    return Ok(None);
                }
                let Some(rows) = self.input.next(rt).await? else {
                    self.state = Some((skip, want));
                    return Ok(None);
                };
                self.found += rows.len() as u64;
                rt.worked(rows.len()).await?;
                let passed = skip.min(rows.len() as u64);
                skip -= passed;
                let taken: Vec<Row> = rows
                    .into_iter()
                    .skip(passed as usize)
                    .take(want.min(usize::MAX as u64) as usize)
                    .collect();
                want -= taken.len() as u64;
                if !taken.is_empty() {
                    self.state = Some((skip, want));
                    return Ok(Some(taken));
                }
            }
        })
    }

    fn found(&self) -> Option<u64> {
        self.calc_found_rows.then_some(self.found)
    }
}

/// UNION, INTERSECT, EXCEPT.
pub struct SetOperator<'p> {
    pub op: SetOp,
    pub all: bool,
    pub left: Box<dyn Operator + 'p>,
    pub right: Box<dyn Operator + 'p>,
    pub left_types: &'p [SqlType],
    pub right_types: &'p [SqlType],
    pub types: &'p [SqlType],
    pub compare: &'p [Comparison],
    pub seen: HashSet<Vec<u8>>,
    pub counts: Option<HashMap<Vec<u8>, u64>>,
    pub left_done: bool,
}

fn convert(
    rows: Vec<Row>,
    from: &[SqlType],
    to: &[SqlType],
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    if from == to {
        return Ok(rows);
    }
    rows.into_iter()
        .map(|row| {
            row.into_iter()
                .zip(from.iter().zip(to))
                .map(|(v, (from, to))| to_type(v, from, to, rt.context.eval()))
                .collect()
        })
        .collect()
}

impl Operator for SetOperator<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.op != SetOp::Union && self.counts.is_none() {
                let rows = collect(&mut *self.right, rt).await?;
                let rows = convert(rows, self.right_types, self.types, rt)?;
                let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
                for row in rows {
                    rt.worked(1).await?;
                    *counts.entry(distinct_key(&row, self.compare, rt.context.eval())?).or_default() += 1;
                }
                self.counts = Some(counts);
            }
            let rows = loop {
                if !self.left_done {
                    match self.left.next(rt).await? {
                        Some(rows) => break convert(rows, self.left_types, self.types, rt)?,
                        None => self.left_done = true,
                    }
                } else if self.op == SetOp::Union {
                    match self.right.next(rt).await? {
                        Some(rows) => break convert(rows, self.right_types, self.types, rt)?,
                        None => return Ok(None),
                    }
                } else {
                    return Ok(None);
                }
            };
            rt.worked(rows.len()).await?;
            if self.op == SetOp::Union && self.all {
                return Ok(Some(rows));
            }
            let mut kept = Vec::with_capacity(rows.len());
            for row in rows {
                let key = distinct_key(&row, self.compare, rt.context.eval())?;
                let keep = match (self.op, self.all) {
                    (SetOp::Union, _) => true,
                    (SetOp::Intersect, false) => self.counts.as_ref().is_some_and(|c| c.contains_key(&key)),
                    (SetOp::Except, false) => !self.counts.as_ref().is_some_and(|c| c.contains_key(&key)),
                    (op, true) => {
                        let left = self.counts.as_mut().and_then(|c| c.get_mut(&key));
                        let matched = left.is_some_and(|n| {
                            let some = *n > 0;
                            *n = n.saturating_sub(1);
                            some
                        });
                        matched == (op == SetOp::Intersect)
                    }
                };
                if !keep {
                    continue;
                }
                if self.all {
                    kept.push(row);
                    continue;
                }
                let size = key.len() + 48;
                if self.seen.insert(key) {
                    rt.budget.take(size)?;
                    kept.push(row);
                }
            }
            Ok(Some(kept))
        })
    }
}
