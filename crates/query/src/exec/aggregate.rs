//! GROUP BY: rows into groups, groups into rows.

use super::accumulate::Accumulator;
use super::{BATCH, Operator, value};
use crate::expr::{Comparison, Row, Runtime, distinct_key, order_values, row_size};
use crate::plan::{AggregatePlan, Scalar};
use assize_model::SqlError;
use assize_ports::BoxFuture;
use assize_values::Value;
use std::collections::HashMap;

/// Groups of rows.
pub struct Groups<'p> {
    pub input: Box<dyn Operator + 'p>,
    pub keys: &'p [(Scalar, Comparison)],
    pub carried: &'p [usize],
    pub aggregates: &'p [AggregatePlan],
    pub rollup: bool,
    pub grouping: &'p [usize],
    pub implicit: bool,
    pub rows: Option<std::vec::IntoIter<Row>>,
}

struct Group {
    keys: Row,
    carried: Row,
    accumulators: Vec<Accumulator>,
}

impl Groups<'_> {
    fn group(&self, keys: Row, row: Option<&[Value]>) -> Group {
        let carried = match row {
            Some(row) => self.carried.iter().map(|c| row[*c].clone()).collect(),
            None => vec![Value::Null; self.carried.len()],
        };
        Group { keys, carried, accumulators: self.aggregates.iter().map(Accumulator::new).collect() }
    }

    /// The output row of a group of which the first `level` keys are given.
    fn finish(&self, mut group: Group, level: usize, rt: &mut Runtime<'_>) -> Result<Row, SqlError> {
        let mut row = Vec::with_capacity(self.keys.len() + self.carried.len() + self.aggregates.len());
        for (at, key) in group.keys.into_iter().enumerate() {
            row.push(if at < level { key } else { Value::Null });
        }
        row.extend(group.carried);
        for (accumulator, plan) in group.accumulators.iter_mut().zip(self.aggregates) {
            row.push(accumulator.finish(plan, rt.context.eval())?);
        }
        row.extend(self.grouping.iter().map(|at| Value::Int(i64::from(*at >= level))));
        Ok(row)
    }

    async fn hashed(&mut self, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
        let compare: Vec<Comparison> = self.keys.iter().map(|(_, c)| *c).collect();
        let mut at: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        while let Some(rows) = self.input.next(rt).await? {
            rt.context.check_killed()?;
            for row in rows {
                let index = if self.keys.is_empty() {
                    if groups.is_empty() {
                        groups.push(self.group(Vec::new(), Some(&row)));
                    }
                    0
                } else {
                    let mut keys = Vec::with_capacity(self.keys.len());
                    for (scalar, _) in self.keys {
                        keys.push(value(scalar, &row, rt).await?);
                    }
                    let hashed = distinct_key(&keys, &compare, rt.context.eval())?;
                    match at.get(&hashed) {
                        Some(index) => *index,
                        None => {
                            rt.budget.take(hashed.len() + row_size(&keys) + 160)?;
                            groups.push(self.group(keys, Some(&row)));
                            at.insert(hashed, groups.len() - 1);
                            groups.len() - 1
                        }
                    }
                };
                for (accumulator, plan) in groups[index].accumulators.iter_mut().zip(self.aggregates) {
                    accumulator.add(plan, &row, rt).await?;
                }
            }
        }
        if groups.is_empty() && self.implicit {
            groups.push(self.group(Vec::new(), None));
        }
        let mut out = Vec::with_capacity(groups.len());
        for group in groups {
            out.push(self.finish(group, self.keys.len(), rt)?);
        }
        Ok(out)
    }

    /// WITH ROLLUP: rows in key order; a group for every prefix of the keys, closed when it changes.
    async fn rolled_up(&mut self, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
        let mut rows: Vec<(Row, Row)> = Vec::new();
        while let Some(batch) = self.input.next(rt).await? {
            rt.context.check_killed()?;
            for row in batch {
                let mut keys = Vec::with_capacity(self.keys.len());
                for (scalar, _) in self.keys {
                    keys.push(value(scalar, &row, rt).await?);
                }
                rt.budget.take(row_size(&keys) + row_size(&row))?;
                rows.push((keys, row));
            }
        }
        let width = self.keys.len();
        let differ = |a: &Row, b: &Row| -> usize {
            (0..width).find(|i| order_values(&self.keys[*i].1, &a[*i], &b[*i]).is_ne()).unwrap_or(width)
        };
        rows.sort_by(|(a, _), (b, _)| {
            (0..width)
                .map(|i| order_values(&self.keys[i].1, &a[i], &b[i]))
                .find(|o| o.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut out = Vec::new();
        // open[level] is the group of the first `level` keys.
        let mut open: Vec<Group> = Vec::new();
        let mut current: Option<Row> = None;
        for (keys, row) in rows {
            let shared = match &current {
                None => 0,
                Some(last) => differ(last, &keys),
            };
            if current.is_some() && shared < width {
                while open.len() > shared + 1 {
                    let level = open.len() - 1;
                    let group = open.pop().expect("an open group");
                    out.push(self.finish(group, level, rt)?);
                }
            }
            while open.len() <= width {
                open.push(self.group(keys.clone(), Some(&row)));
            }
            for group in &mut open {
                for (accumulator, plan) in group.accumulators.iter_mut().zip(self.aggregates) {
                    accumulator.add(plan, &row, rt).await?;
                }
            }
            current = Some(keys);
        }
        while let Some(group) = open.pop() {
            let level = open.len();
            out.push(self.finish(group, level, rt)?);
        }
        Ok(out)
    }
}

impl Operator for Groups<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.rows.is_none() {
                let rows = if self.rollup { self.rolled_up(rt).await? } else { self.hashed(rt).await? };
                self.rows = Some(rows.into_iter());
            }
            let batch: Vec<Row> = self.rows.as_mut().expect("just made").by_ref().take(BATCH).collect();
            Ok((!batch.is_empty()).then_some(batch))
        })
    }
}
