//! LIMIT over rows that are locked: no row is locked that is not returned, or skipped by OFFSET.
//!
//! ```text
//!   candidates, read plainly ──▶ sorted, unless they come in order ──▶ locked, as many as are still wanted ─┐
//!                                                    ▲                                                      │
//!                                                    └── some were taken, or are no longer what is sought ──┘
//! ```
//!
//! Were all rows locked that are looked at, SKIP LOCKED would pass by rows that nobody was given: of several sessions that
//! each ask a queue for its first job, one would get it and the others nothing.

use super::scan::{Candidate, Reader, candidates, first_page, lock, locks, target};
use super::shape::{compare_keys, count, key_values};
use super::{BATCH, Operator, holds};
use crate::expr::{Row, Runtime, row_size};
use crate::plan::{Node, NodeKind, OrderKey, Scalar, Scan};
use assize_model::SqlError;
use assize_ports::BoxFuture;
use std::collections::VecDeque;

/// LIMIT and OFFSET over one table whose rows are locked.
pub struct LockedLimit<'p> {
    scan: &'p Scan,
    /// Conditions checked once.
    gates: Vec<&'p [Scalar]>,
    order: Option<&'p [OrderKey]>,
    limit: Option<&'p Scalar>,
    offset: Option<&'p Scalar>,
    state: Option<State<'p>>,
}

/// Where a [`LockedLimit`] is.
struct State<'p> {
    /// `None` once it has read everything.
    reader: Option<Reader<'p>>,
    /// What has been read and not been locked, in order.
    candidates: VecDeque<Candidate>,
    /// Rows to skip still, and to hand up still.
    skip: u64,
    want: u64,
}

impl<'p> LockedLimit<'p> {
    /// LIMIT of what a step makes, if that is nothing but the rows of one table, to be locked, in some order.
    pub fn of(input: &'p Node, limit: Option<&'p Scalar>, offset: Option<&'p Scalar>) -> Option<Self> {
        let (mut node, mut gates, mut order) = (input, Vec::new(), None);
        loop {
            node = match &node.kind {
                NodeKind::Gate { input, conditions } => {
                    gates.push(conditions.as_slice());
                    input
                }
                NodeKind::Sort { input, keys, .. } if order.is_none() => {
                    order = Some(keys.as_slice());
                    input
                }
                NodeKind::Scan(scan) if locks(scan) => {
                    return Some(LockedLimit { scan, gates, order, limit, offset, state: None });
                }
                _ => return None,
            }
        }
    }

    async fn begin(&self, rt: &mut Runtime<'_>) -> Result<State<'p>, SqlError> {
        let scan = self.scan;
        let mut state = State { reader: None, candidates: VecDeque::new(), skip: 0, want: u64::MAX };
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
        rt.context.transaction().use_table(scan.table.id, scan.table.version);
        let page = first_page(scan, rt).await?;
        let target = target(scan, &[], rt).await?;
        state.reader = Some(Reader::plain(scan, target, page));
        if let Some(order) = self.order
            && state.want > 0
        {
            state.candidates = sorted(scan, order, state.reader.take(), rt).await?;
        }
        Ok(state)
    }
}

/// All candidates in order. What a row holds goes: it is read again with the lock.
async fn sorted(
    scan: &Scan,
    order: &[OrderKey],
    reader: Option<Reader<'_>>,
    rt: &mut Runtime<'_>,
) -> Result<VecDeque<Candidate>, SqlError> {
    let mut keyed: Vec<(Row, Candidate)> = Vec::new();
    let mut reader = reader;
    while let Some(reader) = &mut reader
        && let Some(found) = reader.next(rt).await?
    {
        for mut candidate in candidates(scan, found, rt).await? {
            let key = key_values(order, &candidate.row, rt).await?;
            candidate.shrink(scan)?;
            rt.budget.take(row_size(&key) + size_of::<(Row, Candidate)>() + candidate.key_len())?;
            keyed.push((key, candidate));
        }
    }
    keyed.sort_by(|a, b| compare_keys(order, &a.0, &b.0));
    Ok(keyed.into_iter().map(|(_, candidate)| candidate).collect())
}

impl State<'_> {
    /// Reads on if nothing is left; false if there is nothing more.
    async fn refill(&mut self, scan: &Scan, rt: &mut Runtime<'_>) -> Result<bool, SqlError> {
        while self.candidates.is_empty() {
            let Some(reader) = &mut self.reader else { return Ok(false) };
            match reader.next(rt).await? {
                Some(found) => self.candidates = candidates(scan, found, rt).await?.into(),
                None => self.reader = None,
            }
        }
        Ok(true)
    }

    /// Locks as many rows as are still wanted, and hands up those that LIMIT asks for.
    async fn lock(&mut self, scan: &Scan, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
        let most = self.skip.saturating_add(self.want).min(BATCH as u64) as usize;
        let batch = self.candidates.drain(..most.min(self.candidates.len())).collect();
        let rows = lock(scan, batch, rt).await?;
        let passed = self.skip.min(rows.len() as u64);
        self.skip -= passed;
        let rows: Vec<Row> = rows.into_iter().skip(passed as usize).collect();
        self.want -= rows.len() as u64;
        Ok(rows)
    }
}

impl Operator for LockedLimit<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.state.is_none() {
                self.state = Some(self.begin(rt).await?);
            }
            let state = self.state.as_mut().expect("just begun");
            while state.want > 0 && state.refill(self.scan, rt).await? {
                rt.context.check_killed()?;
                let rows = state.lock(self.scan, rt).await?;
                if !rows.is_empty() {
                    return Ok(Some(rows));
                }
            }
            Ok(None)
        })
    }
}
