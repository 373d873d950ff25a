//! Changing rows through a view of one table.
//!
//! The view became a part of the statement when it was bound, so that its columns are the table's. What is left is who
//! may do it, which rows WITH CHECK OPTION lets in, and, for INSERT, what the table's columns are called.

use crate::bind::{Binder, Scope, Select, Source, Via};
use crate::expr::{Expr, Layout, Row, Runtime, eval_async, truth};
use crate::infoschema::SystemTables;
use assize_catalog::{QualifiedName, Table};
use assize_model::{ErrorCode, SqlError};
use assize_sql::ParseOptions;
use std::sync::Arc;

/// WITH CHECK OPTION: what every row that is written through a view has to fulfil.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    conditions: Vec<Expr>,
    view: Option<QualifiedName>,
}

impl Guard {
    /// What the views between a statement and its table demand; `columns` are the table's, in order.
    pub(crate) fn of(via: &Via, columns: &[crate::expr::ColumnId]) -> Guard {
        let layout = Layout::of(columns);
        let resolved = |condition: &Expr| {
            let mut condition = condition.clone();
            condition.resolve(&layout, &mut Vec::new());
            condition
        };
        Guard { conditions: via.checks.iter().map(resolved).collect(), view: Some(via.view.clone()) }
    }

    /// Error 1369 for a row that the view would not show.
    pub(crate) async fn check(&self, row: &Row, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        for condition in &self.conditions {
            let value = eval_async(condition, row, rt).await?;
            if truth(&value, rt)? != Some(true) {
                let (database, view) = self.view.clone().unwrap_or_default();
                return Err(SqlError::new(
                    ErrorCode::ViewCheckFailed,
                    format!("CHECK OPTION failed '{database}.{view}'"),
                ));
            }
        }
        Ok(())
    }
}

/// Whether a statement may do this to the table that it names, or that a view leads to.
pub(crate) fn require_target(
    privilege: &str,
    table: &Table,
    via: Option<&Via>,
    rt: &Runtime<'_>,
) -> Result<(), SqlError> {
    match via {
        None => crate::acl::require_table(rt.context, privilege, table),
        Some(via) => via.reads.iter().try_for_each(|read| crate::acl::require(rt.context, privilege, read)),
    }
}

/// The table behind a view that rows are inserted into.
pub(crate) struct Target {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// The table with the view's names; columns that the view does not show have none.
    pub(crate) names: Arc<Table>,
    /// The view's columns, in its order.
    pub(crate) shown: Vec<usize>,
    /// How the table was reached.
    pub(crate) via: Arc<Via>,
    /// The view.
    pub(crate) view: Arc<Table>,
    /// What rows have to fulfil.
    pub(crate) guard: Guard,
}

/// What an INSERT into a view writes to; `None` if rows of it are not rows of one table, column by column.
pub(crate) fn target_of(view: &Arc<Table>, rt: &mut Runtime<'_>) -> Result<Option<Target>, SqlError> {
    use crate::show::quote::quote_name;
    let text = format!("SELECT 1 FROM {}.{}", quote_name(&view.database), quote_name(&view.name));
    let query = assize_sql::parse_query(&text, &ParseOptions::default())?;
    let sqlparser::ast::SetExpr::Select(select) = &*query.body else { return Ok(None) };
    let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
    let (select, scope) = binder.rows_of(&select.from, None, &[])?;
    for view in binder.tables.iter().filter(|t| t.view.is_some()) {
        rt.context.transaction().use_table(view.id, view.version);
    }
    Ok(found(view, &select, &scope))
}

fn found(view: &Arc<Table>, select: &Select, scope: &Scope<'_>) -> Option<Target> {
    let in_scope = scope.tables.first()?;
    let behind = select.tables.get(in_scope.place?)?;
    let via = behind.view.clone().filter(|via| via.updatable)?;
    let Source::Stored(table) = &behind.source else { return None };
    let mut names = Table { name: view.name.clone(), database: view.database.clone(), ..(**table).clone() };
    for column in &mut names.columns {
        (column.name, column.invisible) = ("".into(), true);
    }
    let mut shown = Vec::with_capacity(in_scope.columns.len());
    for column in &in_scope.columns {
        // What is computed takes no value.
        let ordinal = behind.columns.iter().position(|id| *id == column.id)?;
        (names.columns[ordinal].name, names.columns[ordinal].invisible) = (column.name.clone(), false);
        shown.push(ordinal);
    }
    let guard = Guard::of(&via, &behind.columns);
    Some(Target { table: table.clone(), names: Arc::new(names), shown, via, view: view.clone(), guard })
}
