//! Joins: by index lookup, by hash table, row by row, and lateral.

use super::foreign::{ForeignOperator, sought};
use super::scan::{Reader, admit, target};
use super::{BATCH, Operator, collect, holds, value};
use crate::expr::{Comparison, Row, Runtime, exact_key, put_hash_key};
use crate::plan::{Access, JoinMethod, Node, NodeKind, Probe, Scalar, Scan, SubPlan};
use assize_model::SqlError;
use assize_ports::BoxFuture;
use assize_values::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

type Batch<'a> = BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>>;

/// The operator of a join.
pub fn open<'p>(
    left: Box<dyn Operator + 'p>,
    method: &'p JoinMethod,
    right_width: usize,
    left_outer: bool,
    conditions: &'p [Scalar],
) -> Box<dyn Operator + 'p> {
    let common = Common { right_width, left_outer, conditions };
    match method {
        JoinMethod::Index(scan) => Box::new(IndexJoin { left, scan, common, pending: VecDeque::new() }),
        JoinMethod::Hash { right, left_keys, right_keys, compare, probe: Some(probe) } => {
            let keys = Keys { left: left_keys, right: right_keys, compare };
            Box::new(ProbeJoin { left, right, probe, keys, common, pending: VecDeque::new(), whole: None })
        }
        JoinMethod::Hash { right, left_keys, right_keys, compare, probe: None } => Box::new(HashJoin {
            left,
            right: super::open(right),
            left_keys,
            right_keys,
            compare,
            common,
            table: None,
            pending: VecDeque::new(),
        }),
        JoinMethod::Nested(right) => Box::new(NestedJoin {
            left,
            right: super::open(right),
            common,
            rows: None,
            pending: VecDeque::new(),
        }),
        JoinMethod::Lateral { right, args } => {
            Box::new(LateralJoin { left, right, args, common, pending: VecDeque::new() })
        }
    }
}

/// What all joins share.
struct Common<'p> {
    right_width: usize,
    left_outer: bool,
    conditions: &'p [Scalar],
}

impl Common<'_> {
    /// Adds the joined rows of one left row.
    async fn emit(
        &self,
        left: &[Value],
        candidates: &[Row],
        out: &mut Vec<Row>,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let mut matched = false;
        for right in candidates {
            let mut row = Vec::with_capacity(left.len() + self.right_width);
            row.extend_from_slice(left);
            row.extend_from_slice(right);
            if holds(self.conditions, &row, rt).await? {
                matched = true;
                out.push(row);
            }
        }
        if !matched && self.left_outer {
            let mut row = left.to_vec();
            row.resize(left.len() + self.right_width, Value::Null);
            out.push(row);
        }
        Ok(())
    }
}

/// Right rows are found by an index. Whole unique keys of many left rows are looked up in one request.
struct IndexJoin<'p> {
    left: Box<dyn Operator + 'p>,
    scan: &'p Scan,
    common: Common<'p>,
    pending: VecDeque<Row>,
}

impl Operator for IndexJoin<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.pending.is_empty() {
                let Some(rows) = self.left.next(rt).await? else { return Ok(None) };
                self.pending = rows.into();
                let scan = self.scan;
                rt.context.transaction().use_table(scan.table.id, scan.table.version);
            }
            let mut out = Vec::new();
            if matches!(self.scan.access, Access::Points { .. }) {
                let rows: Vec<Row> = std::mem::take(&mut self.pending).into();
                join_points(self.scan, &self.common, rows, &mut out, rt).await?;
                return Ok(Some(out));
            }
            while out.len() < BATCH
                && let Some(left) = self.pending.pop_front()
            {
                let found = lookup(self.scan, &left, rt).await?;
                self.common.emit(&left, &found, &mut out, rt).await?;
            }
            Ok(Some(out))
        })
    }
}

/// The right rows for one left row.
async fn lookup(scan: &Scan, left: &[Value], rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
    let target = target(scan, left, rt).await?;
    let mut reader = Reader::new(scan, target, BATCH);
    let mut rows = Vec::new();
    while let Some(found) = reader.next(rt).await? {
        rows.extend(admit(scan, found, rt).await?);
    }
    Ok(rows)
}

/// All left rows of a batch at once: equal keys are looked up once.
async fn join_points(
    scan: &Scan,
    common: &Common<'_>,
    rows: Vec<Row>,
    out: &mut Vec<Row>,
    rt: &mut Runtime<'_>,
) -> Result<(), SqlError> {
    let parts = match &scan.access {
        Access::Points { parts, .. } => parts,
        _ => return Err(SqlError::internal("a lookup that is none")),
    };
    let mut known: HashMap<Vec<u8>, Arc<Vec<Row>>> = HashMap::new();
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(rows.len());
    for left in &rows {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            for scalar in &part.values {
                values.push(value(scalar, left, rt).await?);
            }
        }
        keys.push(exact_key(&values));
    }
    // Distinct keys, each with one left row that stands for it, in one request.
    let mut firsts: Vec<usize> = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        if !known.contains_key(key) {
            known.insert(key.clone(), Arc::new(Vec::new()));
            firsts.push(at);
        }
    }
    let mut wanted = VecDeque::new();
    let mut owners: HashMap<assize_model::Key, Vec<usize>> = HashMap::new();
    let primary = scan.table.indexes[scan.access.index()].is_primary();
    for at in firsts {
        match target(scan, &rows[at], rt).await? {
            super::scan::Target::Keys(found) if primary => {
                for (slot, key) in found {
                    owners.entry(key.clone()).or_default().push(at);
                    wanted.push_back((slot, key));
                }
            }
            // Entries of a unique index lead to rows with other keys: one at a time.
            _ => {
                let found = lookup(scan, &rows[at], rt).await?;
                known.insert(keys[at].clone(), Arc::new(found));
            }
        }
    }
    if !wanted.is_empty() {
        let mut seen = std::collections::HashSet::new();
        wanted.retain(|(_, key): &(_, assize_model::Key)| seen.insert(key.clone()));
        let mut reader = Reader::new(scan, super::scan::Target::Keys(wanted), BATCH);
        while let Some(found) = reader.next(rt).await? {
            for one in found {
                let owned = owners.get(&one.key).cloned().unwrap_or_default();
                let admitted = admit(scan, vec![one], rt).await?;
                for at in owned {
                    let mut with: Vec<Row> = known.get(&keys[at]).map(|r| r.to_vec()).unwrap_or_default();
                    with.extend(admitted.iter().cloned());
                    known.insert(keys[at].clone(), Arc::new(with));
                }
            }
        }
    }
    for (left, key) in rows.iter().zip(&keys) {
        let found = known.get(key).cloned().unwrap_or_default();
        common.emit(left, &found, out, rt).await?;
    }
    Ok(())
}

/// The right side is kept in a hash table.
struct HashJoin<'p> {
    left: Box<dyn Operator + 'p>,
    right: Box<dyn Operator + 'p>,
    left_keys: &'p [Scalar],
    right_keys: &'p [Scalar],
    compare: &'p [Comparison],
    common: Common<'p>,
    table: Option<HashMap<Vec<u8>, Vec<Row>>>,
    pending: VecDeque<Row>,
}

/// The key of a row, `None` if a part is NULL: NULL equals nothing.
async fn hash_key(
    keys: &[Scalar],
    compare: &[Comparison],
    row: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Option<Vec<u8>>, SqlError> {
    let mut out = Vec::with_capacity(keys.len() * 9);
    for (scalar, how) in keys.iter().zip(compare) {
        let value = value(scalar, row, rt).await?;
        if value.is_null() || !put_hash_key(&mut out, how, &value, rt.context.eval())? {
            return Ok(None);
        }
    }
    Ok(Some(out))
}

impl Operator for HashJoin<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.table.is_none() {
                let mut table: HashMap<Vec<u8>, Vec<Row>> = HashMap::new();
                while let Some(rows) = self.right.next(rt).await? {
                    rt.context.check_killed()?;
                    for row in rows {
                        if let Some(key) = hash_key(self.right_keys, self.compare, &row, rt).await? {
                            rt.budget.take(key.len() + crate::expr::row_size(&row) + 48)?;
                            table.entry(key).or_default().push(row);
                        }
                    }
                }
                self.table = Some(table);
            }
            if self.pending.is_empty() {
                // Nothing to find: only an outer join still needs the left side.
                if self.table.as_ref().is_some_and(HashMap::is_empty) && !self.common.left_outer {
                    return Ok(None);
                }
                let Some(rows) = self.left.next(rt).await? else { return Ok(None) };
                rt.context.check_killed()?;
                self.pending = rows.into();
            }
            let table = self.table.as_ref().expect("just made");
            let mut out = Vec::new();
            while out.len() < BATCH
                && let Some(left) = self.pending.pop_front()
            {
                let key = hash_key(self.left_keys, self.compare, &left, rt).await?;
                let found = key.and_then(|key| table.get(&key)).map_or(&[][..], Vec::as_slice);
                self.common.emit(&left, found, &mut out, rt).await?;
            }
            Ok(Some(out))
        })
    }
}

/// Keys of a hash join.
#[derive(Clone, Copy)]
struct Keys<'p> {
    left: &'p [Scalar],
    right: &'p [Scalar],
    compare: &'p [Comparison],
}

/// Left rows for which a foreign table is asked at once.
const PROBED: usize = 512;

/// The right side is a foreign table. Of it those rows are read, and kept in a hash table, that some left rows at a time ask
/// for; or all, once, if the server cannot be asked for their values.
struct ProbeJoin<'p> {
    left: Box<dyn Operator + 'p>,
    right: &'p Node,
    probe: &'p Probe,
    keys: Keys<'p>,
    common: Common<'p>,
    pending: VecDeque<Row>,
    whole: Option<HashMap<Vec<u8>, Vec<Row>>>,
}

impl ProbeJoin<'_> {
    /// The right rows for these left rows; `None` once all are kept.
    async fn look_up(
        &mut self,
        rows: &[Row],
        rt: &mut Runtime<'_>,
    ) -> Result<Option<HashMap<Vec<u8>, Vec<Row>>>, SqlError> {
        let NodeKind::Foreign(scan) = &self.right.kind else {
            return Err(SqlError::internal("a lookup in a table that is not foreign"));
        };
        if self.whole.is_some() {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(rows.len());
        for left in rows {
            values.push(value(&self.keys.left[self.probe.key], left, rt).await?);
        }
        let Some(condition) = sought(&scan.table, self.probe.ordinal, &values, rt).await? else {
            let mut all = ForeignOperator::new(scan);
            self.whole = Some(right_table(self.keys, &mut all, rt).await?);
            return Ok(None);
        };
        let column = &scan.table.columns[self.probe.ordinal].name;
        let Some(condition) = condition.text(column) else { return Ok(Some(HashMap::new())) };
        let mut operator = ForeignOperator::only(scan, condition);
        Ok(Some(right_table(self.keys, &mut operator, rt).await?))
    }
}

/// Right rows by key.
async fn right_table(
    keys: Keys<'_>,
    right: &mut ForeignOperator<'_>,
    rt: &mut Runtime<'_>,
) -> Result<HashMap<Vec<u8>, Vec<Row>>, SqlError> {
    let mut table: HashMap<Vec<u8>, Vec<Row>> = HashMap::new();
    while let Some(rows) = right.next(rt).await? {
        for row in rows {
            if let Some(key) = hash_key(keys.right, keys.compare, &row, rt).await? {
                rt.budget.take(key.len() + crate::expr::row_size(&row) + 48)?;
                table.entry(key).or_default().push(row);
            }
        }
    }
    Ok(table)
}

impl Operator for ProbeJoin<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.pending.is_empty() {
                let Some(rows) = self.left.next(rt).await? else { return Ok(None) };
                self.pending = rows.into();
            }
            rt.context.check_killed()?;
            let rows: Vec<Row> = self.pending.drain(..PROBED.min(self.pending.len())).collect();
            let used = rt.budget.used();
            let found = self.look_up(&rows, rt).await?;
            let taken = rt.budget.used().saturating_sub(used);
            let Some(table) = found.as_ref().or(self.whole.as_ref()) else {
                return Err(SqlError::internal("a lookup without an answer"));
            };
            let mut out = Vec::new();
            for left in &rows {
                let key = hash_key(self.keys.left, self.keys.compare, left, rt).await?;
                let partners = key.and_then(|key| table.get(&key)).map_or(&[][..], Vec::as_slice);
                self.common.emit(left, partners, &mut out, rt).await?;
            }
            if found.is_some() {
                rt.budget.give(taken);
            }
            Ok(Some(out))
        })
    }
}

/// Every right row is tried for every left row.
struct NestedJoin<'p> {
    left: Box<dyn Operator + 'p>,
    right: Box<dyn Operator + 'p>,
    common: Common<'p>,
    rows: Option<Vec<Row>>,
    pending: VecDeque<Row>,
}

impl Operator for NestedJoin<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.rows.is_none() {
                self.rows = Some(collect(&mut *self.right, rt).await?);
            }
            let rows = self.rows.as_ref().expect("just made");
            if self.pending.is_empty() {
                if rows.is_empty() && !self.common.left_outer {
                    return Ok(None);
                }
                let Some(left) = self.left.next(rt).await? else { return Ok(None) };
                self.pending = left.into();
            }
            let mut out = Vec::new();
            while out.len() < BATCH
                && let Some(left) = self.pending.pop_front()
            {
                rt.context.check_killed()?;
                self.common.emit(&left, rows.as_slice(), &mut out, rt).await?;
            }
            Ok(Some(out))
        })
    }
}

/// The right side is run for each left row.
struct LateralJoin<'p> {
    left: Box<dyn Operator + 'p>,
    right: &'p SubPlan,
    args: &'p [Scalar],
    common: Common<'p>,
    pending: VecDeque<Row>,
}

impl Operator for LateralJoin<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> Batch<'a> {
        Box::pin(async move {
            if self.pending.is_empty() {
                let Some(rows) = self.left.next(rt).await? else { return Ok(None) };
                self.pending = rows.into();
            }
            let mut out = Vec::new();
            while out.len() < BATCH
                && let Some(left) = self.pending.pop_front()
            {
                let mut args = Vec::with_capacity(self.args.len());
                for scalar in self.args {
                    args.push(value(scalar, &left, rt).await?);
                }
                let used = rt.budget.used();
                let rows = super::subquery_rows(self.right, args, false, false, rt).await?;
                self.common.emit(&left, &rows, &mut out, rt).await?;
                let now = rt.budget.used();
                rt.budget.give(now.saturating_sub(used));
            }
            Ok(Some(out))
        })
    }
}
