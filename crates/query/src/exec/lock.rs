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
//!
//! Under the LIMIT of a join, or of DISTINCT, rows go up few at a time ([`few_at_a_time`]): what is joined to them is locked
//! before the next rows are, and nothing more once there are rows enough. Where only the first table says the order, it is
//! sorted before anything is locked; any other sort needs all joined rows, and locks them.

use super::scan::{Candidate, Reader, candidates, first_page, lock, locks, target};
use super::shape::{compare_keys, count, key_values};
use super::{BATCH, Level, Operator, holds, join, open, shape};
use crate::expr::{Expr, ExprKind, Row, Runtime, row_size};
use crate::plan::{JoinMethod, Node, NodeKind, OrderKey, Scalar, Scan};
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
    /// How many rows are locked at a time, if not as many as are wanted.
    pace: Option<Pace<'p>>,
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
                    return Some(LockedLimit { scan, gates, order, limit, offset, pace: None, state: None });
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
    async fn lock(&mut self, scan: &Scan, most: u64, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
        let most = self.skip.saturating_add(self.want).min(most) as usize;
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
                let most = match &mut self.pace {
                    Some(pace) => pace.step(rt).await?,
                    None => BATCH as u64,
                };
                let rows = state.lock(self.scan, most, rt).await?;
                if let Some(pace) = &mut self.pace {
                    pace.made(rows.len());
                }
                if !rows.is_empty() {
                    return Ok(Some(rows));
                }
            }
            Ok(None)
        })
    }
}

/// How many rows of its first table a join under a LIMIT takes at a time. One row would be enough if each of them has
/// partners; many rows at a time are quicker.
struct Pace<'p> {
    limit: Option<&'p Scalar>,
    offset: Option<&'p Scalar>,
    /// Rows that are still wanted if each has one partner, once it is known.
    left: Option<u64>,
}

/// One of so many of the rows that are still wanted may be locked in vain.
const IN_VAIN: u64 = 16;

impl Pace<'_> {
    async fn step(&mut self, rt: &mut Runtime<'_>) -> Result<u64, SqlError> {
        let left = match self.left {
            Some(left) => left,
            None => {
                let mut left = 0u64;
                for part in [self.limit, self.offset].into_iter().flatten() {
                    left = left.saturating_add(count(part, rt).await?);
                }
                *self.left.insert(left)
            }
        };
        Ok((left / IN_VAIN).clamp(1, BATCH as u64))
    }

    fn made(&mut self, rows: usize) {
        self.left = self.left.map(|left| left.saturating_sub(rows as u64));
    }
}

/// The operator of a step below a LIMIT that makes few rows at a time, if that spares locks: some table below is locked, and
/// no step in between needs all rows.
pub fn few_at_a_time<'p>(
    node: &'p Node,
    limit: Option<&'p Scalar>,
    offset: Option<&'p Scalar>,
) -> Option<Box<dyn Operator + 'p>> {
    let (node, order) = match &node.kind {
        NodeKind::Sort { input, keys, .. } if first_table_says(keys, input) => {
            (&**input, Some(keys.as_slice()))
        }
        _ => (node, None),
    };
    (limit.is_some() && locks_below(node)).then(|| paced(node, order, limit, offset))
}

/// Whether keys are of the first table of a join alone. Its columns stand first in joined rows, and joins keep its order.
fn first_table_says(keys: &[OrderKey], mut node: &Node) -> bool {
    loop {
        node = match &node.kind {
            NodeKind::Gate { input, .. } | NodeKind::Filter { input, .. } => input,
            NodeKind::Join { left, .. } => left,
            NodeKind::Project { .. } | NodeKind::Distinct { .. } => return false,
            _ => break,
        }
    }
    let width = node.columns.len();
    let beyond = |e: &Expr| matches!(e.kind, ExprKind::Slot(slot) if slot >= width);
    !keys.iter().any(|key| key.scalar.expr.any(&mut |e| beyond(e)))
}

/// Whether rows that come from the first table of a step are locked, or what is looked up for them is.
fn locks_below(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Gate { input, .. }
        | NodeKind::Filter { input, .. }
        | NodeKind::Project { input, .. }
        | NodeKind::Distinct { input, .. } => locks_below(input),
        NodeKind::Join { left, method, .. } => {
            matches!(method, JoinMethod::Index(scan) if locks(scan)) || locks_below(left)
        }
        NodeKind::Scan(scan) => locks(scan),
        _ => false,
    }
}

fn paced<'p>(
    node: &'p Node,
    order: Option<&'p [OrderKey]>,
    limit: Option<&'p Scalar>,
    offset: Option<&'p Scalar>,
) -> Box<dyn Operator + 'p> {
    let below = |input| crate::deep::grow(|| paced(input, order, limit, offset));
    let pace = Pace { limit, offset, left: None };
    match &node.kind {
        NodeKind::Gate { input, conditions } => {
            Box::new(shape::Gate { input: below(input), conditions, open: None })
        }
        NodeKind::Filter { input, conditions } => Box::new(shape::Filter { input: below(input), conditions }),
        NodeKind::Project { input, exprs } => {
            Box::new(Level { operator: Box::new(shape::Project { input: below(input), exprs }) })
        }
        NodeKind::Distinct { input, compare } => {
            Box::new(shape::Distinct { input: below(input), compare, seen: Default::default() })
        }
        NodeKind::Join { left, method, right_width, left_outer, conditions } => Box::new(Level {
            operator: join::open(below(left), method, *right_width, *left_outer, conditions),
        }),
        NodeKind::Scan(scan) if locks(scan) => Box::new(LockedLimit {
            scan,
            gates: Vec::new(),
            order,
            limit: None,
            offset: None,
            pace: Some(pace),
            state: None,
        }),
        _ => {
            let mut input = open(node);
            if let Some(keys) = order {
                input = Box::new(shape::Sort { input, keys, limit: None, rows: None });
            }
            Box::new(Few { input, pace, rows: VecDeque::new() })
        }
    }
}

/// Hands rows up few at a time.
struct Few<'p> {
    input: Box<dyn Operator + 'p>,
    pace: Pace<'p>,
    rows: VecDeque<Row>,
}

impl Operator for Few<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            while self.rows.is_empty() {
                match self.input.next(rt).await? {
                    Some(rows) => self.rows = rows.into(),
                    None => return Ok(None),
                }
            }
            let most = self.pace.step(rt).await? as usize;
            let rows: Vec<Row> = self.rows.drain(..most.min(self.rows.len())).collect();
            self.pace.made(rows.len());
            Ok(Some(rows))
        })
    }
}
