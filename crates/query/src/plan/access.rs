//! Access paths: how the rows of one stored table are found.

use super::Scalar;
use crate::bind::{BoundTable, IndexHint};
use crate::expr::*;
use assize_catalog::{Index, Table};
use assize_ports::ReadIntent;
use assize_values::SqlType;
use std::collections::HashSet;
use std::sync::Arc;

/// Longest list of keys that is sought one by one; longer ones become a filter.
const SEEKS_MAX: usize = 65_536;

/// Keys sought for each row of a list of rows, at most.
const COMBINATIONS_PER_ROW: usize = 4;

/// A scan of a stored table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<Table>,
    /// Its alias.
    pub alias: Arc<str>,
    /// Ordinals of the columns read; the number of columns stands for the hidden row id.
    pub ordinals: Vec<usize>,
    /// How rows are found.
    pub access: Access,
    /// Conditions over the columns read.
    pub filter: Vec<Scalar>,
    /// For what rows are read.
    pub intent: ReadIntent,
    /// Backwards.
    pub reverse: bool,
    /// A guess of how many rows are wanted, for the size of the first page.
    pub hint: Option<Scalar>,
    /// Indexes that could have been used.
    pub possible: Vec<Arc<str>>,
    /// What EXPLAIN calls the comparands of the key.
    pub refs: Vec<String>,
}

/// How rows are found.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One per scan of a plan, and boxed with it.
pub enum Access {
    /// All rows, in order of an index (`0`: the primary one).
    Full {
        /// Position of the index in the table.
        index: usize,
    },
    /// Whole unique keys.
    Points {
        /// Position of the index in the table.
        index: usize,
        /// Values of each of its columns.
        parts: Vec<KeyPart>,
    },
    /// A prefix of an index, perhaps with a range of the column after it.
    Range {
        /// Position of the index in the table.
        index: usize,
        /// Values of its first columns.
        parts: Vec<KeyPart>,
        /// Lower bound of the next column, and whether it is included.
        lower: Option<(Scalar, bool)>,
        /// Upper bound likewise.
        upper: Option<(Scalar, bool)>,
    },
}

/// Values that one column of a key may have.
#[derive(Clone, Debug)]
pub struct KeyPart {
    /// The values; several come from IN.
    pub values: Vec<Scalar>,
    /// NULL is sought too (`<=>`, IS NULL); otherwise a NULL finds nothing.
    pub null_matches: bool,
}

impl Access {
    /// Position of the index in the table.
    pub fn index(&self) -> usize {
        match self {
            Access::Full { index } | Access::Points { index, .. } | Access::Range { index, .. } => *index,
        }
    }
}

/// An access path under consideration, before its expressions are resolved.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Position of the index in the table.
    pub index: usize,
    /// Values of the first columns, with the conditions they come from.
    pub parts: Vec<(Vec<Expr>, bool)>,
    /// Lower bound.
    pub lower: Option<(Expr, bool)>,
    /// Upper bound.
    pub upper: Option<(Expr, bool)>,
    /// The whole unique key is given, so that each combination finds one row at most.
    pub unique: bool,
    /// Roughly how many rows it finds.
    pub rows: f64,
    /// Conditions that the access path makes true by itself.
    pub covered: Vec<usize>,
}

impl Choice {
    /// Whether it is better than a scan of everything.
    pub fn narrows(&self) -> bool {
        !self.parts.is_empty() || self.lower.is_some() || self.upper.is_some()
    }
}

/// How many rows a table is taken to have.
pub const TABLE_ROWS: f64 = 10_000.0;

/// One condition seen as a constraint of a column.
pub(super) enum Constraint<'e> {
    /// The column has one of these values; the flag: NULL is sought too. Of no values: IS NULL.
    Equal(Vec<&'e Expr>, bool),
    /// The column equals one of these, and more is said of the row: what a list of rows or an OR implies.
    Implied(Vec<&'e Expr>),
    /// Greater than this, or equal to it.
    Lower(&'e Expr, bool),
    /// Less than this, or equal to it.
    Upper(&'e Expr, bool),
    /// BETWEEN.
    Both(&'e Expr, &'e Expr),
}

/// What a condition says of a column, if an index can make use of it. The flag tells whether the key alone
/// makes the condition true.
pub(super) fn constraint<'e>(
    condition: &'e Expr,
    column: ColumnId,
    sql_type: &SqlType,
    bound: &dyn Fn(ColumnId) -> bool,
) -> Option<(Constraint<'e>, bool)> {
    let usable = |e: &Expr, how: &Comparison| -> Option<bool> {
        let mut used = Vec::new();
        e.columns(&mut used);
        if !used.iter().all(|c| bound(*c)) || used.contains(&column) {
            return None;
        }
        if e.is_volatile() {
            return None;
        }
        seekable(sql_type, &e.sql_type, how)
    };
    match &condition.kind {
        ExprKind::Compare(op, how, left, right) => {
            let (op, value) = if left.as_column() == Some(column) {
                (*op, right)
            } else if right.as_column() == Some(column) {
                (op.flipped(), left)
            } else {
                return None;
            };
            let exact = usable(value, how)?;
            // Labels compare as texts, but an index orders them by number.
            let ordered = !matches!(sql_type, SqlType::Enum { .. } | SqlType::Set { .. });
            if !ordered && !matches!(op, CompareOp::Eq | CompareOp::NullSafeEq) {
                return None;
            }
            Some(match op {
                CompareOp::Eq => (Constraint::Equal(vec![value], false), exact),
                CompareOp::NullSafeEq => (Constraint::Equal(vec![value], true), exact),
                CompareOp::Lt => (Constraint::Upper(value, false), exact),
                CompareOp::Le => (Constraint::Upper(value, true), exact),
                CompareOp::Gt => (Constraint::Lower(value, false), exact),
                CompareOp::Ge => (Constraint::Lower(value, true), exact),
                CompareOp::Ne => return None,
            })
        }
        ExprKind::InList(value, list, false) if value.as_column() == Some(column) => {
            let mut exact = true;
            for (how, item) in list {
                exact &= usable(item, how)?;
            }
            Some((Constraint::Equal(list.iter().map(|(_, e)| e).collect(), false), exact))
        }
        ExprKind::Between(parts, false)
            if parts.0.as_column() == Some(column)
                && !matches!(sql_type, SqlType::Enum { .. } | SqlType::Set { .. }) =>
        {
            let exact = usable(&parts.2, &parts.1)? & usable(&parts.4, &parts.3)?;
            Some((Constraint::Both(&parts.2, &parts.4), exact))
        }
        ExprKind::IsNull(value, false) if value.as_column() == Some(column) => {
            Some((Constraint::Equal(Vec::new(), true), true))
        }
        ExprKind::Or(_) | ExprKind::InRows(..) | ExprKind::RowCompare(..) => {
            Some((Constraint::Implied(implied(condition, column, &usable)?), false))
        }
        _ => None,
    }
}

/// The values of which a column has one wherever the condition holds, if it says so; `usable` tells which of
/// them can be sought.
fn implied<'e>(
    condition: &'e Expr,
    column: ColumnId,
    usable: &dyn Fn(&Expr, &Comparison) -> Option<bool>,
) -> Option<Vec<&'e Expr>> {
    let sought = |how: &Comparison, value: &'e Expr| usable(value, how).map(|_| value);
    match &condition.kind {
        ExprKind::Compare(CompareOp::Eq, how, left, right) => {
            let value = match (left.as_column(), right.as_column()) {
                (Some(c), _) if c == column => right,
                (_, Some(c)) if c == column => left,
                _ => return None,
            };
            sought(how, value).map(|value| vec![value])
        }
        ExprKind::InList(value, list, false) if value.as_column() == Some(column) => {
            list.iter().map(|(how, item)| sought(how, item)).collect()
        }
        ExprKind::InRows(left, rows, false, _) => {
            let at = left.iter().position(|l| l.as_column() == Some(column))?;
            rows.iter().map(|(how, row)| sought(&how[at], &row[at])).collect()
        }
        ExprKind::RowCompare(CompareOp::Eq, how, left, right) => {
            let is = |side: &[Expr]| side.iter().position(|e| e.as_column() == Some(column));
            match (is(left), is(right)) {
                (Some(at), _) => sought(&how[at], &right[at]).map(|value| vec![value]),
                (None, Some(at)) => sought(&how[at], &left[at]).map(|value| vec![value]),
                (None, None) => None,
            }
        }
        ExprKind::And(parts) => parts
            .iter()
            .filter_map(|part| crate::deep::grow(|| implied(part, column, usable)))
            .min_by_key(Vec::len),
        ExprKind::Or(parts) => {
            let mut all = Vec::with_capacity(parts.len());
            for part in parts {
                all.extend(crate::deep::grow(|| implied(part, column, usable))?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// Values without those constants that have come before.
pub(super) fn distinct(values: Vec<&Expr>) -> Vec<Expr> {
    let mut seen = HashSet::new();
    let fresh = |value: &&Expr| {
        value.as_literal().is_none_or(|literal| seen.insert(exact_key(std::slice::from_ref(literal))))
    };
    values.into_iter().filter(fresh).cloned().collect()
}

/// The indexes that the hints leave.
fn allowed(table: &Table, hints: &[IndexHint]) -> (Vec<usize>, bool) {
    let named = |want: &dyn Fn(&IndexHint) -> bool| -> Vec<&Arc<str>> {
        hints.iter().filter(|h| want(h)).flat_map(|h| &h.indexes).collect()
    };
    let ignored = named(&|h| h.force.is_none());
    let used = named(&|h| h.force.is_some());
    let restricted = hints.iter().any(|h| h.force.is_some());
    let forced = hints.iter().any(|h| h.force == Some(true));
    let usable = (0..table.indexes.len())
        .filter(|at| {
            let index = &table.indexes[*at];
            table.readable_indexes().any(|i| i.id == index.id)
                && !index.invisible
                && !ignored.contains(&&index.name)
                && (!restricted || used.contains(&&index.name))
        })
        .collect();
    (usable, forced)
}

/// The ways in which the conditions narrow a scan of a table, best first. `bound` tells which columns have
/// values before the scan opens.
pub fn choices(
    table: &BoundTable,
    stored: &Table,
    conditions: &[Expr],
    bound: &dyn Fn(ColumnId) -> bool,
) -> (Vec<Choice>, bool) {
    let (usable, forced) = allowed(stored, &table.hints);
    let mut found: Vec<Choice> = usable
        .into_iter()
        .map(|at| choice(table, stored, at, conditions, bound))
        .filter(Choice::narrows)
        .collect();
    found.sort_by(|a, b| {
        b.unique
            .cmp(&a.unique)
            .then(a.rows.total_cmp(&b.rows))
            .then(b.parts.len().cmp(&a.parts.len()))
            .then(a.index.cmp(&b.index))
    });
    (found, forced)
}

fn choice(
    table: &BoundTable,
    stored: &Table,
    at: usize,
    conditions: &[Expr],
    bound: &dyn Fn(ColumnId) -> bool,
) -> Choice {
    let index: &Index = &stored.indexes[at];
    let mut choice = Choice {
        index: at,
        parts: Vec::new(),
        lower: None,
        upper: None,
        unique: false,
        rows: TABLE_ROWS,
        covered: Vec::new(),
    };
    let mut seeks = 1usize;
    let mut combined = 1usize;
    let mut null_safe = false;
    'parts: for part in &index.parts {
        let Some(ordinal) = stored.ordinal_by_id(part.column) else { break };
        let sql_type = &stored.columns[ordinal].sql_type;
        let column = table.columns[ordinal];
        let whole = part.prefix.is_none();
        let mut range_seen = false;
        let mut best: Option<(usize, Vec<Expr>, bool, bool)> = None;
        for (n, condition) in conditions.iter().enumerate() {
            let Some((constraint, exact)) = constraint(condition, column, sql_type, bound) else { continue };
            match constraint {
                Constraint::Equal(values, nulls) => {
                    let values: Vec<Expr> = if values.is_empty() {
                        vec![Expr::null()]
                    } else {
                        values.into_iter().cloned().collect()
                    };
                    if seeks.saturating_mul(values.len()) > SEEKS_MAX {
                        continue;
                    }
                    if best.as_ref().is_none_or(|(_, known, ..)| values.len() < known.len()) {
                        best = Some((n, values, nulls, exact && whole));
                    }
                }
                Constraint::Implied(values) => {
                    // The columns of a list of rows are sought in every combination: more of them than this
                    // would read more than they spare.
                    let most = values.len().saturating_mul(COMBINATIONS_PER_ROW);
                    let values = distinct(values);
                    if combined.saturating_mul(values.len()) > most
                        || seeks.saturating_mul(values.len()) > SEEKS_MAX
                    {
                        continue;
                    }
                    if best.as_ref().is_none_or(|(_, known, ..)| values.len() < known.len()) {
                        best = Some((n, values, false, false));
                    }
                }
                // A prefix of a text does not order like the text where the prefix ends.
                _ if !whole => {}
                Constraint::Lower(value, included) if choice.lower.is_none() => {
                    range_seen = true;
                    choice.lower = Some((value.clone(), included));
                    if exact {
                        choice.covered.push(n);
                    }
                }
                Constraint::Upper(value, included) if choice.upper.is_none() => {
                    range_seen = true;
                    choice.upper = Some((value.clone(), included));
                    if exact {
                        choice.covered.push(n);
                    }
                }
                Constraint::Both(low, high) if choice.lower.is_none() && choice.upper.is_none() => {
                    range_seen = true;
                    choice.lower = Some((low.clone(), true));
                    choice.upper = Some((high.clone(), true));
                    if exact {
                        choice.covered.push(n);
                    }
                }
                _ => {}
            }
        }
        match best {
            Some((n, values, nulls, exact)) => {
                // An equality makes ranges of the same column a matter of the filter.
                if range_seen {
                    choice.lower = None;
                    choice.upper = None;
                    choice.covered.retain(|c| !mentions_only(&conditions[*c], column));
                }
                seeks *= values.len();
                if matches!(conditions[n].kind, ExprKind::Or(_) | ExprKind::InRows(..)) {
                    combined *= values.len();
                }
                null_safe |= nulls;
                if exact {
                    choice.covered.push(n);
                }
                choice.parts.push((values, nulls));
                if !whole {
                    break 'parts;
                }
            }
            None => break,
        }
    }
    let matched = choice.parts.len();
    let whole = matched == index.parts.len() && index.parts.iter().all(|p| p.prefix.is_none());
    choice.unique = whole && index.unique && !null_safe;
    choice.rows = if choice.unique {
        seeks as f64
    } else {
        let mut rows = TABLE_ROWS;
        for _ in 0..matched {
            rows /= 100.0;
        }
        rows = rows.max(5.0) * seeks as f64;
        if matched == 0 {
            rows = TABLE_ROWS;
        }
        match (&choice.lower, &choice.upper) {
            (Some(_), Some(_)) => rows / 20.0,
            (None, None) => rows,
            _ => rows / 3.0,
        }
        .max(1.0)
    };
    choice
}

fn mentions_only(condition: &Expr, column: ColumnId) -> bool {
    matches!(&condition.kind, ExprKind::Compare(_, _, a, b)
        if a.as_column() == Some(column) || b.as_column() == Some(column))
        || matches!(&condition.kind, ExprKind::Between(parts, _) if parts.0.as_column() == Some(column))
}

/// The names of indexes that some condition could use, for EXPLAIN.
pub fn possible(
    table: &BoundTable,
    stored: &Table,
    conditions: &[Expr],
    bound: &dyn Fn(ColumnId) -> bool,
) -> Vec<Arc<str>> {
    let (found, _) = choices(table, stored, conditions, bound);
    let mut at: Vec<usize> = found.iter().map(|c| c.index).collect();
    at.sort_unstable();
    at.into_iter().map(|at| stored.indexes[at].name.clone()).collect()
}

/// Whether an index gives rows in this order (of columns with DESC) after its first `skip` columns are
/// fixed: `Some(reverse)`.
pub fn ordered(
    table: &BoundTable,
    stored: &Table,
    at: usize,
    fixed: usize,
    wanted: &[(ColumnId, bool)],
) -> Option<bool> {
    let index = &stored.indexes[at];
    let parts: Vec<(ColumnId, bool)> = index
        .parts
        .iter()
        .map_while(|p| {
            if p.prefix.is_some() {
                return None;
            }
            stored.ordinal_by_id(p.column).map(|o| (table.columns[o], p.descending))
        })
        .collect();
    let mut reverse = None;
    let mut next = fixed;
    for (column, descending) in wanted {
        // A fixed column orders nothing.
        if parts.iter().take(fixed).any(|(c, _)| c == column) {
            continue;
        }
        let (have, have_descending) = match parts.get(next) {
            Some(part) => *part,
            // Rows of a non-unique index with equal columns follow each other by primary key.
            None => return None,
        };
        if have != *column {
            return None;
        }
        let backwards = have_descending != *descending;
        if *reverse.get_or_insert(backwards) != backwards {
            return None;
        }
        next += 1;
        if index.unique && next == parts.len() && parts.len() == index.parts.len() {
            let nullable =
                index.parts.iter().any(|p| stored.column_by_id(p.column).is_none_or(|c| c.nullable));
            // One row per key: what else this table has orders nothing more.
            if !nullable && wanted.iter().all(|(c, _)| table.columns.contains(c)) {
                break;
            }
        }
    }
    Some(reverse.unwrap_or(false))
}
