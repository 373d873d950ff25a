//! Rows that do not come from stored tables.

use super::{BATCH, Operator, collect, open, retain, value};
use crate::bind::VirtualTable;
use crate::expr::{Row, Runtime, distinct_key, to_type, type_comparison};
use crate::plan::{CtePlan, CteRows, Scalar};
use assize_model::{ErrorCode, SqlError};
use assize_ports::BoxFuture;
use std::collections::HashSet;
use std::sync::Arc;

/// One row of no columns.
pub struct One {
    pub done: bool,
}

impl Operator for One {
    fn next<'a>(&'a mut self, _: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        let first = !std::mem::replace(&mut self.done, true);
        Box::pin(async move { Ok(first.then(|| vec![Vec::new()])) })
    }
}

/// VALUES.
pub struct Values<'p> {
    pub rows: &'p [Vec<Scalar>],
    pub at: usize,
}

impl Operator for Values<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            let rest = &self.rows[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            let mut batch = Vec::new();
            for exprs in rest.iter().take(BATCH) {
                let mut row = Vec::with_capacity(exprs.len());
                for scalar in exprs {
                    row.push(value(scalar, &[], rt).await?);
                }
                batch.push(row);
            }
            self.at += batch.len();
            Ok(Some(batch))
        })
    }
}

/// A virtual table.
pub struct Virtual<'p> {
    pub table: &'p VirtualTable,
    pub columns: &'p [usize],
    pub filter: &'p [Scalar],
    pub rows: Option<std::vec::IntoIter<Row>>,
}

impl Operator for Virtual<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.rows.is_none() {
                let rows = self.table.rows.rows(&mut *rt.context, self.columns).await?;
                for row in &rows {
                    if row.len() != self.table.columns.len() {
                        return Err(SqlError::internal(format!(
                            "{} has {} columns and a row of {}",
                            self.table.name,
                            self.table.columns.len(),
                            row.len()
                        )));
                    }
                }
                self.rows = Some(rows.into_iter());
            }
            let rows = self.rows.as_mut().expect("just made");
            let batch: Vec<Row> = rows
                .by_ref()
                .take(BATCH)
                .map(|row| self.columns.iter().map(|c| row[*c].clone()).collect())
                .collect();
            if batch.is_empty() {
                return Ok(None);
            }
            Ok(Some(retain(batch, self.filter, rt).await?))
        })
    }
}

/// A common table expression, computed by whoever reads it first.
pub struct CteScan<'p> {
    pub id: u32,
    pub plan: &'p CtePlan,
    pub columns: &'p [usize],
    pub rows: Option<Arc<CteRows>>,
    pub at: usize,
}

impl Operator for CteScan<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.rows.is_none() {
                let rows = match rt.ctes.get(&self.id) {
                    Some(rows) => rows.clone(),
                    None => {
                        let rows = Arc::new(CteRows { rows: compute(self.plan, rt).await? });
                        rt.ctes.insert(self.id, rows.clone());
                        rows
                    }
                };
                self.rows = Some(rows);
            }
            let all = self.rows.as_ref().expect("just made");
            Ok(page(&all.rows, &mut self.at, self.columns))
        })
    }
}

fn page(rows: &[Row], at: &mut usize, columns: &[usize]) -> Option<Vec<Row>> {
    let rest = &rows[(*at).min(rows.len())..];
    if rest.is_empty() {
        return None;
    }
    let batch: Vec<Row> =
        rest.iter().take(BATCH).map(|row| columns.iter().map(|c| row[*c].clone()).collect()).collect();
    *at += batch.len();
    Some(batch)
}

/// All rows of a common table expression. It sees no outer values.
async fn compute(plan: &CtePlan, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
    let saved = std::mem::replace(&mut rt.outer, Arc::new([]));
    let result = match plan {
        CtePlan::Query(plan) => {
            let mut operator = open(&plan.root);
            collect(&mut *operator, rt).await
        }
        CtePlan::Recursive { name, seed, step, all, types } => {
            recurse(name, seed, step, *all, types, rt).await
        }
    };
    rt.outer = saved;
    result
}

async fn recurse(
    name: &Arc<str>,
    seed: &crate::plan::SubPlan,
    step: &crate::plan::SubPlan,
    all: bool,
    types: &[assize_values::SqlType],
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    let limit = match rt.context.system_variable("cte_max_recursion_depth", None) {
        Ok(assize_values::Value::Int(n)) => n.max(0) as u64,
        Ok(assize_values::Value::UInt(n)) => n,
        _ => 1000,
    };
    let compare: Vec<_> = types.iter().map(type_comparison).collect();
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut keep =
        |rows: Vec<Row>, from: &crate::plan::SubPlan, rt: &mut Runtime<'_>| -> Result<Vec<Row>, SqlError> {
            let mut kept = Vec::with_capacity(rows.len());
            for mut row in rows {
                for ((value, column), to) in row.iter_mut().zip(&from.columns).zip(types) {
                    let taken = std::mem::replace(value, assize_values::Value::Null);
                    *value = fit(taken, &column.result.sql_type, to, rt)?;
                }
                if all || seen.insert(distinct_key(&row, &compare, rt.context.eval())?) {
                    kept.push(row);
                }
            }
            Ok(kept)
        };
    let mut operator = open(&seed.root);
    let rows = collect(&mut *operator, rt).await?;
    let mut last = keep(rows, seed, rt)?;
    let mut result = last.clone();
    let mut depth = 0u64;
    while !last.is_empty() {
        depth += 1;
        if depth > limit {
            return Err(SqlError::new(
                ErrorCode::RecursiveCteLimit,
                format!(
                    "Recursive query aborted after {depth} iterations. Try increasing \
                     @@cte_max_recursion_depth to a larger value."
                ),
            ));
        }
        rt.context.check_killed()?;
        let before = rt.budget.used();
        rt.recursion.push((name.clone(), Arc::new(last)));
        // Common table expressions and subqueries of the step read the rows of this step only.
        let outside = rt.enter_step();
        let mut operator = open(&step.root);
        let rows = collect(&mut *operator, rt).await;
        rt.leave_step(outside);
        rt.recursion.pop();
        last = keep(rows?, step, rt)?;
        rt.budget.back_to(before);
        for row in &last {
            rt.budget.take_row(row)?;
        }
        result.extend(last.iter().cloned());
    }
    Ok(result)
}

/// A step's value in the type of the seed's column; text longer than the seed's is error 1406 in strict mode.
fn fit(
    value: assize_values::Value,
    from: &assize_values::SqlType,
    to: &assize_values::SqlType,
    rt: &mut Runtime<'_>,
) -> Result<assize_values::Value, SqlError> {
    let value = to_type(value, from, to, rt.context.eval())?;
    if let (assize_values::Value::Text(text), assize_values::SqlType::VarChar { length, .. }) = (&value, to)
        && text.chars().count() > *length as usize
    {
        return Err(SqlError::new(
            ErrorCode::DataTooLong,
            "Data too long for column of a recursive common table expression; CAST the seed to a longer type",
        ));
    }
    Ok(value)
}

/// Rows of the step before.
pub struct Recursion<'p> {
    pub name: &'p Arc<str>,
    pub columns: &'p [usize],
    pub at: usize,
}

impl Operator for Recursion<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            let rows = rt
                .recursion
                .iter()
                .rev()
                .find(|(name, _)| name == self.name)
                .map(|(_, rows)| rows.clone())
                .ok_or_else(|| SqlError::internal("a recursive reference outside its step"))?;
            Ok(page(&rows, &mut self.at, self.columns))
        })
    }
}
