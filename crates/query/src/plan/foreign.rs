//! Scans of foreign tables: which conditions their server is told, and when rows of a join are looked up there.
//!
//! Every column counts as if it were indexed, since the server may have indexes that nobody here knows of. All conditions stay
//! in the filter: what is sent only spares rows the way. No index of a foreign table saves a sort or answers MIN and MAX.

use super::access::{self, Constraint};
use super::joins::scan_rows;
use super::select::Planner;
use super::{Node, NodeKind, Scalar};
use crate::bind::BoundTable;
use crate::expr::{ColumnId, Comparison, Expr, ExprKind, Layout, seekable};
use assize_catalog::Table;
use assize_ports::ReadIntent;
use assize_values::SqlType;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A scan of a foreign table.
#[derive(Clone, Debug)]
pub struct ForeignScan {
    /// The table.
    pub table: Arc<Table>,
    /// Its alias.
    pub alias: Arc<str>,
    /// Ordinals of the columns read.
    pub ordinals: Vec<usize>,
    /// What the server is told of the conditions.
    pub sent: Vec<Sent>,
    /// All conditions, over the columns read.
    pub filter: Vec<Scalar>,
    /// For what rows are read.
    pub intent: ReadIntent,
    /// A guess of how many rows are wanted, for the size of the first page.
    pub hint: Option<Scalar>,
}

/// A condition for the server, its values not known yet.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The column, by ordinal.
    pub ordinal: usize,
    /// What is said of it.
    pub what: SentKind,
}

/// What a condition says of its column.
#[derive(Clone, Debug)]
pub enum SentKind {
    /// It has one of these values; NULL is one of them if the flag says so, and otherwise equals nothing.
    OneOf(Vec<Scalar>, bool),
    /// It is greater than this value, or equal to it.
    Lower(Scalar, bool),
    /// It is less than this value, or equal to it.
    Upper(Scalar, bool),
}

/// How rows of a hash join's right side, a foreign table, are looked up for some left rows at a time.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Which of the join's keys.
    pub key: usize,
    /// The column of the table that it is.
    pub ordinal: usize,
}

impl Planner<'_, '_> {
    /// Rows of one foreign table by itself.
    pub(super) fn foreign_node(
        &mut self,
        table: &BoundTable,
        stored: &Arc<Table>,
        conditions: Vec<Expr>,
        needed: &BTreeSet<ColumnId>,
    ) -> Node {
        let own: BTreeSet<ColumnId> = self.columns_of(table).into_iter().collect();
        let bound = |c: ColumnId| !own.contains(&c);
        let rows = scan_rows(table, stored, &conditions, &bound);
        let mut read = needed.clone();
        let mut sent = Vec::new();
        for condition in &conditions {
            let mut used = Vec::new();
            condition.columns(&mut used);
            read.extend(used.iter().copied());
            for (ordinal, column) in table.columns.iter().enumerate().filter(|(_, c)| used.contains(c)) {
                self.send(
                    condition,
                    (ordinal, *column),
                    &stored.columns[ordinal].sql_type,
                    &bound,
                    &mut sent,
                );
            }
        }
        let ordinals: Vec<usize> =
            (0..table.columns.len()).filter(|o| read.contains(&table.columns[*o])).collect();
        let columns: Vec<ColumnId> = ordinals.iter().map(|o| table.columns[*o]).collect();
        let layout = Layout::of(&columns);
        let filter = conditions.into_iter().map(|c| self.scalar(c, &layout)).collect();
        let scan = ForeignScan {
            table: stored.clone(),
            alias: table.alias.clone(),
            ordinals,
            sent,
            filter,
            intent: table.intent,
            hint: None,
        };
        Node { kind: NodeKind::Foreign(Box::new(scan)), columns, rows }
    }

    /// Adds what a condition says of a column.
    fn send(
        &mut self,
        condition: &Expr,
        (ordinal, column): (usize, ColumnId),
        sql_type: &SqlType,
        bound: &dyn Fn(ColumnId) -> bool,
        out: &mut Vec<Sent>,
    ) {
        // A FLOAT comes from the server as it prints it, rounded: what it compares is another number.
        if matches!(sql_type, SqlType::Float { .. }) {
            return;
        }
        let Some((constraint, _)) = access::constraint(condition, column, sql_type, bound) else { return };
        let empty = Layout::default();
        let mut scalar = |value: &Expr| self.scalar(value.clone(), &empty);
        let mut add = |what| out.push(Sent { ordinal, what });
        match constraint {
            Constraint::Equal(values, nulls) if values.is_empty() => add(SentKind::OneOf(Vec::new(), nulls)),
            Constraint::Equal(values, nulls) => {
                add(SentKind::OneOf(values.into_iter().map(scalar).collect(), nulls));
            }
            Constraint::Implied(values) => {
                add(SentKind::OneOf(access::distinct(values).iter().map(scalar).collect(), false));
            }
            Constraint::Lower(value, included) => add(SentKind::Lower(scalar(value), included)),
            Constraint::Upper(value, included) => add(SentKind::Upper(scalar(value), included)),
            Constraint::Both(low, high) => {
                let (low, high) = (scalar(low), scalar(high));
                add(SentKind::Lower(low, true));
                add(SentKind::Upper(high, true));
            }
        }
    }
}

/// How right rows of a hash join are looked up, if the right side is a foreign table and a key of the join the first column of
/// one of its indexes: best of the primary one.
pub(super) fn probe(
    right: &Node,
    left_keys: &[Scalar],
    right_keys: &[Scalar],
    compare: &[Comparison],
) -> Option<Probe> {
    let NodeKind::Foreign(scan) = &right.kind else { return None };
    let table = &scan.table;
    let key_on = |ordinal: usize| {
        let sql_type = &table.columns[ordinal].sql_type;
        right_keys.iter().enumerate().position(|(at, key)| {
            matches!(key.expr.kind, ExprKind::Slot(slot) if scan.ordinals.get(slot) == Some(&ordinal))
                && !matches!(sql_type, SqlType::Float { .. })
                && seekable(sql_type, &left_keys[at].expr.sql_type, &compare[at]).is_some()
                && !left_keys[at].expr.is_volatile()
        })
    };
    let mut indexes: Vec<_> = table.indexes.iter().collect();
    indexes.sort_by_key(|index| !index.unique);
    indexes.into_iter().find_map(|index| {
        let ordinal = table.ordinal_by_id(index.parts.first()?.column)?;
        Some(Probe { key: key_on(ordinal)?, ordinal })
    })
}
