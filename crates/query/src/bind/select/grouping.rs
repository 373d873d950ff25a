//! GROUP BY: what is grouped, and what the other clauses of a grouped SELECT may still mention.

use super::from::Block;
use super::{Body, Source};
use crate::bind::expr::{Aggregate, Gather, Place, WindowCall};
use crate::bind::{Binder, FrameBound, Scope, ScopeColumn, ScopeTable, WindowFunction, ordinal, scope};
use crate::expr::*;
use assize_model::{ErrorCode, SqlError};
use sqlparser::ast::{self, SelectItem};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Binder<'_> {
    /// A GROUP BY expression that the tables alone explain; `None` for positions and aliases.
    pub(super) fn group_expr(
        &mut self,
        group: &ast::Expr,
        select: &ast::Select,
        scope: &Scope<'_>,
    ) -> Result<Option<Expr>, SqlError> {
        if ordinal(group).is_some() {
            return Ok(None);
        }
        let is_alias = |name: &str| {
            select.projection.iter().any(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => alias.value.eq_ignore_ascii_case(name),
                SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) => {
                    parts.last().is_some_and(|p| p.value.eq_ignore_ascii_case(name))
                }
                _ => false,
            })
        };
        match self.expr(group, Place::plain(scope, "group statement")) {
            Ok(expr) => Ok(Some(expr)),
            Err(error) if matches!(error.code, ErrorCode::UnknownColumn | ErrorCode::AmbiguousColumn) => {
                match group {
                    ast::Expr::Identifier(ident) if is_alias(&ident.value) => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn late_group(
        &mut self,
        group: &ast::Expr,
        items: &[(Expr, Arc<str>, bool)],
    ) -> Result<Expr, SqlError> {
        if let Some(n) = ordinal(group) {
            return items
                .get(n.wrapping_sub(1))
                .map(|(e, ..)| e.clone())
                .ok_or_else(|| scope::unknown_column(&n.to_string(), "group statement"));
        }
        let name = match group {
            ast::Expr::Identifier(ident) => ident.value.as_str(),
            _ => "",
        };
        selected(items, name, "group statement")?
            .ok_or_else(|| scope::unknown_column(name, "group statement"))
    }

    /// Whether every column of a grouped expression follows from the groups; otherwise the name of one that
    /// does not.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn check_grouped(
        &self,
        expr: &Expr,
        keys: &[(Expr, ColumnId)],
        aggregates: &[Aggregate],
        scope: &Scope<'_>,
        block: &Block,
        filter: &[Expr],
        rollup: bool,
    ) -> Result<(), String> {
        let mut used = Vec::new();
        expr.columns(&mut used);
        let key_ids: BTreeSet<ColumnId> = keys.iter().map(|(_, id)| *id).collect();
        let mut known: Option<BTreeSet<ColumnId>> = None;
        for id in used {
            if key_ids.contains(&id) || aggregates.iter().any(|a| a.id == id) {
                continue;
            }
            // What a computed column of a merged view is made of has no name here; the view's column has.
            let within = || {
                let mut shown = scope.all_columns();
                shown.find(|(_, c)| {
                    let mut used = Vec::new();
                    c.means.iter().for_each(|e| e.columns(&mut used));
                    used.contains(&id)
                })
            };
            let Some((table, column)) = scope.by_id(id).or_else(within) else { continue };
            let known = known.get_or_insert_with(|| dependent_columns(keys, block, filter, rollup));
            if !known.contains(&id) {
                return Err(full_name(table, column));
            }
        }
        Ok(())
    }
}

/// The select item that a bare name means: an alias, or a column by its own name. Error 1052 if there are
/// several that differ.
pub(super) fn selected(
    items: &[(Expr, Arc<str>, bool)],
    name: &str,
    clause: &str,
) -> Result<Option<Expr>, SqlError> {
    let mut found: Option<&Expr> = None;
    for (expr, own, named) in items {
        if !own.eq_ignore_ascii_case(name) || !(*named || expr.as_column().is_some()) {
            continue;
        }
        if found.is_some_and(|known| known != expr) {
            return Err(SqlError::new(
                ErrorCode::AmbiguousColumn,
                format!("Column '{name}' in {clause} is ambiguous"),
            ));
        }
        found = Some(expr);
    }
    Ok(found.cloned())
}

/// Replaces parts that are group expressions by the columns of their values.
pub(super) fn substitute_groups(expr: &mut Expr, keys: &[(Expr, ColumnId)], rollup: bool) {
    if let Some((group, id)) = keys.iter().find(|(group, _)| group == expr) {
        let mut column = Expr::column(*id, group.sql_type.clone(), group.nullable || rollup);
        column.coercibility = group.coercibility;
        *expr = column;
        return;
    }
    expr.children_mut(&mut |child| substitute_groups(child, keys, rollup));
}

/// How many of the groups before the `at`-th are gathered already.
pub(super) fn groups_before(gather: &RefCell<Gather>, at: usize) -> usize {
    at.min(gather.borrow().groups.len())
}

pub(super) fn window_exprs(window: &mut WindowCall) -> Vec<&mut Expr> {
    let mut all: Vec<&mut Expr> = Vec::new();
    all.extend(window.args.iter_mut());
    all.extend(window.partition.iter_mut());
    all.extend(window.order.iter_mut().map(|k| &mut k.expr));
    if let WindowFunction::Aggregate(aggregate) = &mut window.function {
        all.extend(aggregate.args.iter_mut());
    }
    for bound in [&mut window.frame.start, &mut window.frame.end] {
        if let FrameBound::Moved(e) | FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
            all.push(e);
        }
    }
    all
}

/// Columns that follow from the groups: the group columns, columns equal to them or to constants, and all
/// columns of a table whose primary or not-null unique key follows.
fn dependent_columns(
    keys: &[(Expr, ColumnId)],
    block: &Block,
    filter: &[Expr],
    rollup: bool,
) -> BTreeSet<ColumnId> {
    let mut known: BTreeSet<ColumnId> = BTreeSet::new();
    if !rollup {
        known.extend(keys.iter().filter_map(|(e, _)| e.as_column()));
    }
    loop {
        let before = known.len();
        for condition in filter {
            let ExprKind::Compare(CompareOp::Eq, _, a, b) = &condition.kind else { continue };
            for (one, other) in [(a, b), (b, a)] {
                let Some(id) = one.as_column() else { continue };
                let mut used = Vec::new();
                other.columns(&mut used);
                if used.iter().all(|u| known.contains(u)) && !other.waits() {
                    known.insert(id);
                }
            }
        }
        for table in &block.tables {
            match &table.source {
                Source::Stored(stored) => {
                    let column = |id: u32| stored.ordinal_by_id(id).map(|o| table.columns[o]);
                    let follows = stored.readable_indexes().filter(|i| i.unique).any(|index| {
                        index.parts.iter().all(|p| {
                            p.prefix.is_none()
                                && stored.column_by_id(p.column).is_some_and(|c| !c.nullable)
                                && column(p.column).is_some_and(|id| known.contains(&id))
                        })
                    });
                    if follows {
                        known.extend(table.columns.iter().copied());
                    }
                }
                Source::Derived { query, .. } => {
                    // A derived table's columns follow as they do inside it: its groups determine the rest.
                    if let Body::Select(select) = &query.body
                        && let Some(grouping) = &select.grouping
                    {
                        let inner: Vec<Option<usize>> = grouping
                            .keys
                            .iter()
                            .map(|(_, id)| {
                                select.projection.iter().position(|(e, _)| e.as_column() == Some(*id))
                            })
                            .collect();
                        if inner.iter().all(|at| at.is_some_and(|at| known.contains(&table.columns[at]))) {
                            known.extend(table.columns.iter().copied());
                        }
                    }
                }
                _ => {}
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

pub(super) fn full_name(table: &ScopeTable, column: &ScopeColumn) -> String {
    if table.database.is_empty() {
        format!("{}.{}", table.alias, column.name)
    } else {
        format!("{}.{}.{}", table.database, table.alias, column.name)
    }
}

/// Errors 1055 and 1140.
pub(super) fn not_grouped(at: usize, place: &str, name: &str, implicit: bool) -> SqlError {
    if implicit {
        SqlError::new(
            ErrorCode::MixOfGroupFuncAndFields,
            format!(
                "In aggregated query without GROUP BY, expression #{at} of {place} contains nonaggregated \
                 column '{name}'; this is incompatible with sql_mode=only_full_group_by"
            ),
        )
    } else {
        SqlError::new(
            ErrorCode::WrongFieldWithGroup,
            format!(
                "Expression #{at} of {place} is not in GROUP BY clause and contains nonaggregated column \
                 '{name}' which is not functionally dependent on columns in GROUP BY clause; this is \
                 incompatible with sql_mode=only_full_group_by"
            ),
        )
    }
}
