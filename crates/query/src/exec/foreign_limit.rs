//! ORDER BY and LIMIT over rows of a foreign table that are locked: no row is locked that is not returned, or skipped by OFFSET.
//!
//! Rows are read plainly and sorted; then as many as are wanted are read again by their keys, with the lock, and judged again. Of
//! several sessions that each ask a queue for its first job with SKIP LOCKED, each gets one.

use super::foreign::ForeignOperator;
use super::shape::{compare_keys, count, key_values};
use super::{Operator, holds};
use crate::expr::{Row, Runtime, row_size};
use crate::foreign::{identity, keyed, literal, tuple};
use crate::plan::{ForeignScan, Node, NodeKind, OrderKey, Scalar};
use crate::show::quote::quote_name;
use assize_model::SqlError;
use assize_ports::{BoxFuture, ReadIntent};
use std::collections::{HashMap, VecDeque};

/// Rows that are locked at once, at most.
const LOCKED_MAX: u64 = 512;

/// ORDER BY and LIMIT over one foreign table whose rows are locked.
pub struct ForeignLockedLimit<'p> {
    /// The scan, reading the columns of the key as well.
    scan: ForeignScan,
    /// How many columns are handed up.
    width: usize,
    key: Vec<usize>,
    /// Conditions checked once.
    gates: Vec<&'p [Scalar]>,
    order: &'p [OrderKey],
    limit: Option<&'p Scalar>,
    offset: Option<&'p Scalar>,
    state: Option<State>,
}

/// Where it is.
struct State {
    /// Keys of rows that have not been locked, in order.
    waiting: VecDeque<String>,
    /// Rows to skip still, and to hand up still.
    skip: u64,
    want: u64,
}

impl<'p> ForeignLockedLimit<'p> {
    /// LIMIT of what a step makes, if that is nothing but the rows of one foreign table, to be locked, in some order.
    pub fn of(input: &'p Node, limit: Option<&'p Scalar>, offset: Option<&'p Scalar>) -> Option<Self> {
        let (mut node, mut gates, mut sorted) = (input, Vec::new(), None);
        let scan = loop {
            node = match &node.kind {
                NodeKind::Gate { input, conditions } => {
                    gates.push(conditions.as_slice());
                    input
                }
                NodeKind::Sort { input, keys, .. } if sorted.is_none() => {
                    sorted = Some(keys.as_slice());
                    input
                }
                NodeKind::Foreign(scan) => break scan,
                _ => return None,
            }
        };
        let order = sorted.filter(|_| scan.intent != ReadIntent::Plain)?;
        let key = identity(&scan.table)?;
        let width = scan.ordinals.len();
        let mut scan = ForeignScan::clone(scan);
        for ordinal in &key {
            if !scan.ordinals.contains(ordinal) {
                scan.ordinals.push(*ordinal);
            }
        }
        Some(ForeignLockedLimit { scan, width, key, gates, order, limit, offset, state: None })
    }

    /// The key of a row as the server reads it.
    fn key_of(&self, row: &Row) -> String {
        let values = self.key.iter().filter_map(|ordinal| {
            let at = self.scan.ordinals.iter().position(|o| o == ordinal)?;
            Some(literal(row.get(at)?, &self.scan.table.columns[*ordinal].sql_type))
        });
        tuple(&values.collect::<Vec<_>>())
    }

    async fn begin(&self, rt: &mut Runtime<'_>) -> Result<State, SqlError> {
        let mut state = State { waiting: VecDeque::new(), skip: 0, want: u64::MAX };
        if let Some(limit) = self.limit {
            state.want = count(limit, rt).await?;
        }
        if let Some(offset) = self.offset {
            state.skip = count(offset, rt).await?;
        }
        for conditions in &self.gates {
            if !holds(conditions, &[], rt).await? {
                return Ok(state);
            }
        }
        if state.want == 0 {
            return Ok(state);
        }
        let plain = ForeignScan { intent: ReadIntent::Plain, ..self.scan.clone() };
        let mut operator = ForeignOperator::new(&plain);
        let mut found: Vec<(Row, String)> = Vec::new();
        while let Some(rows) = operator.next(rt).await? {
            for row in rows {
                let by = key_values(self.order, &row, rt).await?;
                let key = self.key_of(&row);
                rt.budget.take(row_size(&by) + key.len() + size_of::<(Row, String)>())?;
                found.push((by, key));
            }
        }
        found.sort_by(|a, b| compare_keys(self.order, &a.0, &b.0));
        state.waiting = found.into_iter().map(|(_, key)| key).collect();
        Ok(state)
    }

    /// Locks the rows with these keys and returns them in their order: without those that are gone, that SKIP LOCKED passes
    /// over, or that are no longer what is sought.
    async fn lock(&self, keys: &[String], rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
        let columns: Vec<String> =
            self.key.iter().map(|o| quote_name(&self.scan.table.columns[*o].name)).collect();
        let mut operator = ForeignOperator::only(&self.scan, keyed(&columns, keys));
        let mut found: HashMap<String, Row> = HashMap::new();
        while let Some(rows) = operator.next(rt).await? {
            found.extend(rows.into_iter().map(|row| (self.key_of(&row), row)));
        }
        let mut rows: Vec<Row> = keys.iter().filter_map(|key| found.remove(key)).collect();
        rows.iter_mut().for_each(|row| row.truncate(self.width));
        Ok(rows)
    }
}

impl Operator for ForeignLockedLimit<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            let mut state = match self.state.take() {
                Some(state) => state,
                None => self.begin(rt).await?,
            };
            let mut handed = None;
            while state.want > 0 && !state.waiting.is_empty() && handed.is_none() {
                rt.context.check_killed()?;
                let most = state.skip.saturating_add(state.want).min(LOCKED_MAX) as usize;
                let keys: Vec<String> = state.waiting.drain(..most.min(state.waiting.len())).collect();
                let rows = self.lock(&keys, rt).await?;
                let passed = state.skip.min(rows.len() as u64);
                state.skip -= passed;
                let rows: Vec<Row> = rows.into_iter().skip(passed as usize).collect();
                state.want -= rows.len() as u64;
                handed = Some(rows).filter(|rows| !rows.is_empty());
            }
            self.state = Some(state);
            Ok(handed)
        })
    }
}
