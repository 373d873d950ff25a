//! Views in FROM: a part of the query around them where that says the same, a derived table otherwise.
//!
//! ```text
//!   FROM v ──▶ the view's text ──▶ bound alone: own names, own collation, on behalf of its definer
//!                                     │ plain SELECT of tables and a condition
//!                                     ├─────────▶ its tables join FROM, its condition WHERE (or ON)
//!                                     └ else ───▶ Source::Derived
//! ```

use super::from::Block;
use super::{Body, From, OutputColumn, Query, Select, Source, scope_column};
use crate::bind::expr::SortKey;
use crate::bind::{Binder, Scope, ScopeColumn, ScopeTable};
use crate::expr::*;
use crate::plan::is_stable;
use assize_catalog::{QualifiedName, Table, View, ViewAlgorithm, ViewCheck, ViewSecurity};
use assize_model::{ErrorCode, SqlError};
use assize_sql::ParseOptions;
use std::sync::Arc;

/// A table that a statement reads, and who has to be allowed to.
#[derive(Clone, Debug)]
pub struct TableRead {
    /// The table or view.
    pub table: Arc<Table>,
    /// The account that a view acts for; `None`: whoever runs the statement.
    pub definer: Option<QualifiedName>,
    /// The view of the statement that leads there.
    pub within: Option<QualifiedName>,
}

/// How a table of FROM was reached through views.
#[derive(Clone, Debug)]
pub struct Via {
    /// The outermost view, as the statement calls it.
    pub alias: Arc<str>,
    /// The outermost view.
    pub view: QualifiedName,
    /// Whether its rows are rows of this table, so that they can be changed.
    pub updatable: bool,
    /// Who has to be allowed to change what: every view, then the table.
    pub reads: Vec<TableRead>,
    /// What WITH CHECK OPTION demands of new rows.
    pub checks: Vec<Expr>,
    /// How many conditions the views have put before those of the query around them.
    filters: usize,
}

/// On whose behalf a view's text is bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acting {
    pub(crate) definer: Option<QualifiedName>,
    pub(crate) within: Option<QualifiedName>,
}

impl Binder<'_> {
    /// A view in FROM.
    pub(super) fn view(
        &mut self,
        table: &Arc<Table>,
        view: &View,
        shown: Arc<str>,
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        let query = self.view_query(table, view)?;
        let computes = |select: &Select| select.projection.iter().any(|(e, _)| e.as_column().is_none());
        match mergeable(&query, view.algorithm) {
            // What is computed from rows that an outer join left out would have to be NULL.
            Some(select) if !(block.extended && computes(select)) => {
                let columns = query.columns.clone();
                let Body::Select(select) = query.body else { unreachable!("only a SELECT is merged") };
                self.merge_view(table, view, *select, &columns, shown, block, scope)
            }
            _ => {
                let outputs = query.columns.clone();
                let source = Source::Derived { query: Box::new(query), lateral: false };
                self.add_table(shown, &table.database, &table.name, &outputs, source, block, scope)
            }
        }
    }

    /// The query of a view, bound, with the view's names of its columns.
    pub(crate) fn view_query(&mut self, table: &Arc<Table>, view: &View) -> Result<Query, SqlError> {
        self.mention(table)?;
        if self.open_views.contains(&table.id) {
            return Err(SqlError::new(
                ErrorCode::ViewRecursive,
                format!("`{}`.`{}` contains view recursion", table.database, table.name),
            ));
        }
        let parsed = assize_sql::parse_query(&view.query, &ParseOptions::default())
            .map_err(|_| invalid(&table.database, &table.name))?;
        let acting = self.acting_in(table, view);
        let ctes = std::mem::take(&mut self.ctes);
        let acting = std::mem::replace(&mut self.acting, acting);
        let collation =
            std::mem::replace(&mut self.context.eval().connection_collation, view.collation_connection);
        self.open_views.push(table.id);
        let bound = crate::deep::grow(|| self.query(&parsed, None));
        self.open_views.pop();
        self.context.eval().connection_collation = collation;
        self.acting = acting;
        self.ctes = ctes;
        let mut query = bound.map_err(|error| hide(error, table))?;
        if query.columns.len() != table.columns.len() {
            return Err(invalid(&table.database, &table.name));
        }
        for (output, column) in query.columns.iter_mut().zip(&table.columns) {
            output.result.name = column.name.clone();
        }
        Ok(query)
    }

    /// On whose behalf the text of a view is bound.
    fn acting_in(&self, table: &Table, view: &View) -> Acting {
        Acting {
            definer: match view.security {
                ViewSecurity::Definer => Some(view.definer.clone()),
                ViewSecurity::Invoker => self.acting.definer.clone(),
            },
            within: self.acting.within.clone().or_else(|| Some((table.database.clone(), table.name.clone()))),
        }
    }

    /// How the tables of a view are reached.
    fn via(&self, table: &Arc<Table>, view: &View, select: &Select, shown: &Arc<str>) -> Via {
        let read = |table: &Arc<Table>, acting: Acting| TableRead {
            table: table.clone(),
            definer: acting.definer,
            within: acting.within,
        };
        let mut via = Via {
            alias: shown.clone(),
            view: (table.database.clone(), table.name.clone()),
            updatable: false,
            reads: vec![read(table, self.acting.clone())],
            checks: Vec::new(),
            filters: select.filter.len(),
        };
        if let [only] = select.tables.as_slice()
            && let Source::Stored(stored) = &only.source
        {
            let inner = only.view.as_deref();
            via.updatable = inner.is_none_or(|inner| inner.updatable);
            match inner {
                Some(inner) => via.reads.extend(inner.reads.iter().cloned()),
                None => via.reads.push(read(stored, self.acting_in(table, view))),
            }
            via.checks = match view.check {
                ViewCheck::Cascaded => select.filter.clone(),
                ViewCheck::Local | ViewCheck::None => {
                    inner.map_or_else(Vec::new, |inner| inner.checks.clone())
                }
            };
            if view.check == ViewCheck::Local {
                // The conditions of the views below come first.
                via.checks.extend(select.filter.iter().skip(inner.map_or(0, |inner| inner.filters)).cloned());
            }
        }
        via
    }

    #[allow(clippy::too_many_arguments)]
    fn merge_view(
        &mut self,
        table: &Arc<Table>,
        view: &View,
        select: Select,
        outputs: &[OutputColumn],
        shown: Arc<str>,
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        let mut columns: Vec<ScopeColumn> = Vec::with_capacity(outputs.len());
        for ((expr, _), output) in select.projection.iter().zip(outputs) {
            let mut column = ScopeColumn {
                org_name: output.result.name.clone(),
                flags: output.result.flags,
                ..scope_column(output)
            };
            match expr.as_column() {
                Some(id) if columns.iter().all(|c| c.id != id) => column.id = id,
                _ => {
                    column.id = self.next_id();
                    column.means = Some(Arc::new(expr.clone()));
                }
            }
            columns.push(column);
        }
        let via = Arc::new(self.via(table, view, &select, &shown));
        let first = block.tables.len();
        let in_scope = ScopeTable {
            alias: shown.clone(),
            database: table.database.clone(),
            org_name: table.name.clone(),
            columns,
            table: None,
            row_id: None,
            place: (select.tables.len() == 1).then_some(first),
        };
        super::from::check_unique(scope, &in_scope)?;
        scope.tables.push(in_scope);
        // An order within the view is the order of the query that shows nothing else and asks for none.
        let computed = |key: &SortKey| {
            let id = key.expr.as_column()?;
            select.projection.iter().find(|(e, known)| *known == id && e.as_column() != Some(id))
        };
        let order = select.order.iter().map(|key| SortKey {
            expr: computed(key).map_or_else(|| key.expr.clone(), |(e, _)| e.clone()),
            descending: key.descending,
        });
        block.order = order.collect();
        block.pending.extend(select.filter);
        block.tables.extend(select.tables.into_iter().map(|mut inner| {
            inner.view = Some(via.clone());
            inner
        }));
        let from = select.from.expect("what is merged has tables");
        Ok(shifted(from, first))
    }
}

/// The SELECT of a query that may become a part of another.
pub(crate) fn mergeable(query: &Query, algorithm: ViewAlgorithm) -> Option<&Select> {
    let Body::Select(select) = &query.body else { return None };
    let plain = select.from.is_some()
        && select.grouping.is_none()
        && select.having.is_empty()
        && select.windows.is_empty()
        && !select.distinct
        && !select.straight
        && query.limit.is_none()
        && query.offset.is_none();
    let fixed = |expr: &Expr| is_stable(expr) && !expr.any(&mut |e| matches!(e.kind, ExprKind::Subquery(_)));
    let merges =
        algorithm != ViewAlgorithm::TempTable && plain && select.projection.iter().all(|(e, _)| fixed(e));
    merges.then_some(&**select)
}

/// A tree of joins whose tables stand further back.
fn shifted(from: From, by: usize) -> From {
    match from {
        From::Table(at) => From::Table(at + by),
        From::Join { left_outer, straight, left, right, on } => From::Join {
            left_outer,
            straight,
            left: Box::new(shifted(*left, by)),
            right: Box::new(shifted(*right, by)),
            on,
        },
    }
}

/// Who may use a view need not know what it is made of: errors that would tell become 1356.
fn hide(error: SqlError, table: &Table) -> SqlError {
    match error.code {
        ErrorCode::NoSuchTable
        | ErrorCode::UnknownDatabase
        | ErrorCode::UnknownTableReference
        | ErrorCode::UnknownColumn
        | ErrorCode::AmbiguousColumn
        | ErrorCode::SavepointDoesNotExist
        | ErrorCode::TableAccessDenied
        | ErrorCode::KeyDoesNotExist
        | ErrorCode::ViewInvalid => invalid(&table.database, &table.name),
        _ => error,
    }
}

/// Error 1356.
pub(crate) fn invalid(database: &str, name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::ViewInvalid,
        format!(
            "View '{database}.{name}' references invalid table(s) or column(s) or function(s) or definer/invoker \
             of view lack rights to use them"
        ),
    )
}

/// Where the columns of a view come from: unchanged ones of a table.
pub(crate) fn shows(output: &OutputColumn) -> Option<(&str, &str, &str)> {
    let result = &output.result;
    let known = !result.org_table.is_empty() && !result.org_name.is_empty() && !result.database.is_empty();
    known.then_some((&result.database, &result.org_table, &result.org_name))
}
