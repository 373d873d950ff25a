//! Comparisons and subqueries: rows against rows, IN, ANY and ALL, EXISTS.

use super::{Place, operand_columns};
use crate::bind::Binder;
use crate::expr::*;
use assize_model::SqlError;
use assize_values::{Json, SqlType, Value};
use sqlparser::ast::{self, BinaryOperator};
use std::collections::HashMap;
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn comparison(
        &mut self,
        op: CompareOp,
        left: &ast::Expr,
        right: &ast::Expr,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        // A row on one side and a subquery of as many columns on the other.
        for (row, query, op) in [(left, right, op), (right, left, op.flipped())] {
            if let (Some(_), Some(query)) = (tuple_of(row), subquery_of(query)) {
                let ExprKind::Row(left) = self.expr_or_row(row, place)?.kind else {
                    continue;
                };
                let (plan, args) = self.subquery(query, place, false)?;
                if plan.columns.len() != left.len() {
                    return Err(operand_columns(left.len(), Some(plan.columns.len())));
                }
                let compare = self.comparisons(&left, &plan.column_exprs())?;
                let usage = SubqueryUse::Row { left, op, compare };
                return Ok(Expr::boolean(
                    ExprKind::Subquery(Box::new(Subquery { plan, args, usage })),
                    op != CompareOp::NullSafeEq,
                ));
            }
        }
        let (left_as_written, right_as_written) = (left, right);
        let left = self.expr_or_row(left, place)?;
        let right = self.expr_or_row(right, place)?;
        let right = beside_json(&left.sql_type, right, right_as_written);
        let left = beside_json(&right.sql_type, left, left_as_written);
        match (left.kind, right.kind) {
            (ExprKind::Row(a), ExprKind::Row(b)) => {
                if a.len() != b.len() {
                    return Err(operand_columns(a.len(), Some(b.len())));
                }
                let how = self.comparisons(&a, &b)?;
                let nullable = op != CompareOp::NullSafeEq && a.iter().chain(&b).any(|e| e.nullable);
                Ok(Expr::boolean(ExprKind::RowCompare(op, how, a, b), nullable))
            }
            (ExprKind::Row(row), _) | (_, ExprKind::Row(row)) => Err(operand_columns(row.len(), None)),
            (a, b) => compare(op, Expr { kind: a, ..left }, Expr { kind: b, ..right }, self.context.eval()),
        }
    }

    fn comparisons(&mut self, left: &[Expr], right: &[Expr]) -> Result<Vec<Comparison>, SqlError> {
        left.iter().zip(right).map(|(a, b)| comparison_of(a, b, "=")).collect()
    }

    pub(super) fn in_list(
        &mut self,
        value: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let value = self.expr_or_row(value, place)?;
        if let ExprKind::Row(left) = value.kind {
            let mut rows = Vec::with_capacity(list.len());
            let mut nullable = left.iter().any(|e| e.nullable);
            for item in list {
                let item = self.expr_or_row(item, place)?;
                let ExprKind::Row(row) = item.kind else {
                    return Err(operand_columns(left.len(), Some(1)));
                };
                if row.len() != left.len() {
                    return Err(operand_columns(left.len(), Some(row.len())));
                }
                nullable |= row.iter().any(|e| e.nullable);
                rows.push((self.comparisons(&left, &row)?, row));
            }
            return Ok(Expr::boolean(ExprKind::InRows(left, rows, negated, Members::default()), nullable));
        }
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, place)?);
        }
        in_values(value, items, negated, self.context.eval())
    }

    pub(super) fn in_subquery(
        &mut self,
        left: Expr,
        query: &ast::Query,
        negated: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let left = match left.kind {
            ExprKind::Row(parts) => parts,
            kind => vec![Expr { kind, ..left }],
        };
        let (plan, args) = self.subquery(query, place, false)?;
        if plan.columns.len() != left.len() {
            return Err(operand_columns(left.len(), Some(plan.columns.len())));
        }
        let columns = plan.column_exprs();
        let nullable = left.iter().chain(&columns).any(|e| e.nullable);
        let compare = self.comparisons(&left, &columns)?;
        let usage = SubqueryUse::In { left, compare, negated };
        Ok(Expr::boolean(ExprKind::Subquery(Box::new(Subquery { plan, args, usage })), nullable))
    }

    pub(super) fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let Some(query) = subquery_of(right) else {
            return Err(unsupported("ANY and ALL of something other than a subquery"));
        };
        let left = self.expr_or_row(left, place)?;
        let op = match op {
            BinaryOperator::Eq => CompareOp::Eq,
            BinaryOperator::NotEq => CompareOp::Ne,
            BinaryOperator::Lt => CompareOp::Lt,
            BinaryOperator::LtEq => CompareOp::Le,
            BinaryOperator::Gt => CompareOp::Gt,
            BinaryOperator::GtEq => CompareOp::Ge,
            other => return Err(unsupported(format!("{other} with ANY or ALL"))),
        };
        match (op, all) {
            (CompareOp::Eq, false) => return self.in_subquery(left, query, false, place),
            (CompareOp::Ne, true) => return self.in_subquery(left, query, true, place),
            _ => {}
        }
        if let ExprKind::Row(parts) = &left.kind {
            return Err(operand_columns(1, Some(parts.len())));
        }
        let (plan, args) = self.subquery(query, place, false)?;
        if plan.columns.len() != 1 {
            return Err(operand_columns(1, Some(plan.columns.len())));
        }
        let compare = comparison_of(&left, &plan.column_exprs()[0], op.symbol())?;
        let usage = SubqueryUse::Quantified { left: Box::new(left), op, compare, all };
        Ok(Expr::boolean(ExprKind::Subquery(Box::new(Subquery { plan, args, usage })), true))
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, place: Place<'_>) -> Result<Expr, SqlError> {
        let (plan, args) = self.subquery(query, place, false)?;
        let columns = plan.column_exprs();
        if columns.len() != 1 {
            return Err(operand_columns(1, Some(columns.len())));
        }
        let first = &columns[0];
        Ok(Expr {
            sql_type: first.sql_type.clone(),
            nullable: true,
            coercibility: Coercibility::Implicit,
            kind: ExprKind::Subquery(Box::new(Subquery { plan, args, usage: SubqueryUse::Scalar })),
        })
    }

    /// Binds and plans a subquery; the arguments are the outer columns that it mentions.
    pub(super) fn subquery(
        &mut self,
        query: &ast::Query,
        place: Place<'_>,
        exists: bool,
    ) -> Result<(Arc<crate::plan::SubPlan>, Vec<Expr>), SqlError> {
        let bound = self.query(query, Some(place.scope))?;
        let plan = crate::plan::subquery(bound, exists, self)?;
        let args = plan
            .outer
            .iter()
            .map(|id| match place.scope.by_id_anywhere(*id) {
                Some((_, c)) => Expr::column(*id, c.sql_type.clone(), c.nullable),
                None => Expr::column(*id, SqlType::Null, true),
            })
            .collect();
        Ok((Arc::new(plan), args))
    }
}

/// An operand as it is beside one of this type. To JSON the words TRUE and FALSE are booleans; 1 and 0 are numbers, and no
/// boolean of JSON is equal to one.
pub(super) fn beside_json(other: &SqlType, operand: Expr, as_written: &ast::Expr) -> Expr {
    match truth_of(as_written) {
        Some(truth) if *other == SqlType::Json => {
            Expr::literal(Value::Json(Json::Bool(truth).into()), SqlType::Json)
        }
        _ => operand,
    }
}

/// The value of the words TRUE and FALSE.
fn truth_of(expr: &ast::Expr) -> Option<bool> {
    match expr {
        ast::Expr::Value(value) => match value.value {
            ast::Value::Boolean(truth) => Some(truth),
            _ => None,
        },
        ast::Expr::Nested(inner) => truth_of(inner),
        _ => None,
    }
}

fn tuple_of(expr: &ast::Expr) -> Option<()> {
    match expr {
        ast::Expr::Tuple(parts) if parts.len() > 1 => Some(()),
        ast::Expr::Nested(inner) => tuple_of(inner),
        _ => None,
    }
}

fn subquery_of(expr: &ast::Expr) -> Option<&ast::Query> {
    match expr {
        ast::Expr::Subquery(query) => Some(query),
        ast::Expr::Nested(inner) => subquery_of(inner),
        _ => None,
    }
}

/// The parts of an OR, of which those that compare one column with constants have become one list: an index
/// finds the rows of `a IN (1, 2, 3)`, and `a = 1 OR a = 2 OR a = 3` means the same.
pub(super) fn lists_of(parts: Vec<Expr>) -> Vec<Expr> {
    let mut kept: Vec<Expr> = Vec::with_capacity(parts.len());
    let mut lists: HashMap<ColumnId, usize> = HashMap::new();
    for part in parts {
        let Some((column, items)) = choices_of(&part) else {
            kept.push(part);
            continue;
        };
        match lists.get(&column) {
            None => {
                lists.insert(column, kept.len());
                kept.push(part);
            }
            Some(at) => {
                let nullable = part.nullable || kept[*at].nullable;
                add_to_list(&mut kept[*at], items);
                kept[*at].nullable = nullable;
            }
        }
    }
    kept
}

/// The column that a condition compares with constants, and the constants.
fn choices_of(condition: &Expr) -> Option<(ColumnId, Vec<(Comparison, Expr)>)> {
    let constant = |e: &Expr| matches!(e.kind, ExprKind::Literal(_) | ExprKind::Param(_));
    match &condition.kind {
        ExprKind::Compare(CompareOp::Eq, how, left, right) => {
            let (column, item) = match (left.as_column(), right.as_column()) {
                (Some(column), None) => (column, right),
                (None, Some(column)) => (column, left),
                _ => return None,
            };
            constant(item).then(|| (column, vec![(*how, Expr::clone(item))]))
        }
        ExprKind::InList(value, list, false) if list.iter().all(|(_, item)| constant(item)) => {
            Some((value.as_column()?, list.clone()))
        }
        _ => None,
    }
}

/// Adds constants to a condition that [`choices_of`] knows.
fn add_to_list(condition: &mut Expr, items: Vec<(Comparison, Expr)>) {
    if let ExprKind::InList(_, list, _) = &mut condition.kind {
        list.extend(items);
        return;
    }
    let kind = std::mem::replace(&mut condition.kind, ExprKind::Literal(Value::Null));
    let ExprKind::Compare(_, how, left, right) = kind else { return };
    let (column, item) = if left.as_column().is_some() { (left, *right) } else { (right, *left) };
    let mut list = vec![(how, item)];
    list.extend(items);
    condition.kind = ExprKind::InList(column, list, false);
}
