//! Expressions that an index knows the values of: those of functional key parts and of indexed generated columns.
//!
//! ```text
//!   WHERE lower(name) = 'x'      KEY ((lower(name)))
//!         └────────┬────────┘         └─────┬──────┘
//!                  └── the same, in one form ──▶ WHERE <hidden column> = 'x'
//! ```
//!
//! An expression of the query is the column if it is written alike: names, types, collations and constants agree. Then the column
//! stands in for it before access paths are chosen, and all that is known of columns holds for expressions.

use crate::bind::{BoundTable, From, Grouping, SortKey};
use crate::expr::{ColumnId, Expr, ExprKind};
use assize_catalog::{Column, Table};
use assize_values::{Collation, SqlType};
use std::collections::BTreeSet;

/// An indexed column, and what it is computed from.
#[derive(Clone, Debug)]
pub struct Computed {
    /// The column.
    column: Expr,
    /// Its expression in normal form.
    expr: Expr,
    /// How large that is.
    size: usize,
}

impl Computed {
    /// A column that has this type and these values; `None` if the query's expression may have others.
    pub fn new(id: ColumnId, column: &Column, expr: Expr) -> Option<Self> {
        if !holds(column, &expr) || reads_instants(&expr) {
            return None;
        }
        let size = size(&expr, usize::MAX);
        let column =
            Expr { coercibility: expr.coercibility, ..Expr::column(id, column.sql_type.clone(), true) };
        Some(Computed { column, expr: normal(&expr), size })
    }
}

/// Whether readers may find rows by the values of a column.
pub fn is_indexed(table: &Table, column: &Column) -> bool {
    table.readable_indexes().any(|i| !i.invisible && i.parts.iter().any(|p| p.column == column.id))
}

/// Whether a column stores the values of an expression as they are.
fn holds(column: &Column, expr: &Expr) -> bool {
    match (&column.sql_type, &expr.sql_type) {
        // As MySQL does, which takes it that values fit: outside of strict modes only, some may not.
        (SqlType::Int(ours), SqlType::Int(theirs)) => ours.unsigned == theirs.unsigned,
        (SqlType::VarChar { length, collation }, SqlType::VarChar { length: most, collation: theirs }) => {
            length >= most && collation == theirs
        }
        (ours, theirs) => *ours == crate::ddl::create::stored_type(theirs),
    }
}

/// Whether an expression reads TIMESTAMPs: what it gives depends on the time zone of who asks, what is stored on that of who wrote.
fn reads_instants(expr: &Expr) -> bool {
    expr.any(&mut |e| matches!(e.sql_type, SqlType::Timestamp { .. }))
}

/// How many operands an expression has, itself included; not counted further than `most`.
fn size(expr: &Expr, most: usize) -> usize {
    let mut sum = 1;
    expr.children(&mut |child| {
        if sum < most {
            sum += crate::deep::grow(|| size(child, most - sum));
        }
    });
    sum
}

/// An expression without what two equal ones may differ in: whether an outer join makes their columns NULL, and the collation of
/// constants where another operand decides.
fn normal(expr: &Expr) -> Expr {
    let mut out = expr.clone();
    normalize(&mut out);
    out
}

fn normalize(expr: &mut Expr) {
    let mut used = Vec::new();
    expr.columns(&mut used);
    let decided = !used.is_empty();
    expr.nullable = true;
    expr.children_mut(&mut |child| {
        if let (true, ExprKind::Literal(_), SqlType::VarChar { collation, .. }) =
            (decided, &child.kind, &mut child.sql_type)
        {
            *collation = Collation::UTF8MB4_BIN;
        }
        crate::deep::grow(|| normalize(child));
    });
}

/// Puts columns in the place of the expressions that they are computed from.
fn replace(expr: &mut Expr, known: &[&Computed], largest: usize) {
    if matches!(expr.kind, ExprKind::Column(_) | ExprKind::Literal(_) | ExprKind::Param(_)) {
        return;
    }
    let size = size(expr, largest + 1);
    if known.iter().any(|c| c.size == size && c.expr.sql_type == expr.sql_type) {
        let normal = normal(expr);
        if let Some(found) = known.iter().find(|c| c.expr == normal) {
            *expr = found.column.clone();
            return;
        }
    }
    expr.children_mut(&mut |child| crate::deep::grow(|| replace(child, known, largest)));
}

/// Puts indexed columns in the place of what they are computed from: in the conditions above FROM, and in those of joins.
pub fn in_conditions(tables: &[BoundTable], from: Option<&mut From>, conditions: &mut [Expr]) {
    if tables.iter().all(|table| table.computed.is_empty()) {
        return;
    }
    let (_, extended) = from.map(|from| in_joins(tables, from)).unwrap_or_default();
    let all = (0..tables.len()).filter(|at| !extended.contains(at));
    in_expressions(tables, all, conditions.iter_mut());
}

/// Likewise in sort keys.
pub fn in_order(tables: &[BoundTable], from: Option<&From>, order: &mut [SortKey]) {
    let mut extended = BTreeSet::new();
    if let Some(from) = from {
        super::select::null_extended(from, false, &mut extended);
    }
    let all = (0..tables.len()).filter(|at| !extended.contains(at));
    in_expressions(tables, all, order.iter_mut().map(|key| &mut key.expr));
}

/// Likewise in the arguments of aggregates over one table.
pub fn in_aggregates(tables: &[BoundTable], grouping: Option<&mut Grouping>) {
    if let ([_], Some(grouping)) = (tables, grouping) {
        let args = grouping.aggregates.iter_mut().flat_map(|aggregate| &mut aggregate.args);
        in_expressions(tables, 0..1, args);
    }
}

/// The tables of a join, and those whose rows NULLs may replace: there a column is NULL where its expression need not be.
fn in_joins(tables: &[BoundTable], from: &mut From) -> (BTreeSet<usize>, BTreeSet<usize>) {
    match from {
        From::Table(at) => (BTreeSet::from([*at]), BTreeSet::new()),
        From::Join { left_outer, left, right, on, .. } => {
            let (mut all, mut extended) = in_joins(tables, left);
            let (right, right_extended) = in_joins(tables, right);
            all.extend(&right);
            extended.extend(right_extended);
            in_expressions(tables, all.difference(&extended).copied(), on.iter_mut());
            if *left_outer {
                extended.extend(right);
            }
            (all, extended)
        }
    }
}

fn in_expressions<'e>(
    tables: &[BoundTable],
    which: impl Iterator<Item = usize>,
    exprs: impl Iterator<Item = &'e mut Expr>,
) {
    let known: Vec<&Computed> = which.flat_map(|at| &tables[at].computed).collect();
    let Some(largest) = known.iter().map(|c| c.size).max() else { return };
    for expr in exprs {
        replace(expr, &known, largest);
    }
}
