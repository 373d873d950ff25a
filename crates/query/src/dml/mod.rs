//! INSERT, REPLACE, UPDATE, DELETE, LOAD DATA.
//!
//! Every statement is atomic: it marks the write buffer, and an error undoes what it wrote and nothing else.

pub mod delete;
mod foreign;
pub mod insert;
pub mod load;
pub(crate) mod through;
pub mod update;
pub mod writer;

use crate::expr::Runtime;
use assize_catalog::Table;
use assize_model::{ErrorCode, SqlError, WarningLevel};
use assize_ports::{Executed, StatementContext};
use assize_sql::TableName;
use assize_values::store::{ColumnPlace, store};
use assize_values::{EvalContext, SqlType, Value};
use std::sync::Arc;

/// Steps of work that writing a row counts as: checks, index entries, the row itself.
const WRITE: usize = 16;

/// A value as a column of this type stores it, by the rules of the SQL mode.
pub fn store_value(
    value: &Value,
    from: &SqlType,
    sql_type: &SqlType,
    column: &str,
    row_number: u64,
    eval: &mut EvalContext,
) -> Result<Value, SqlError> {
    store(value, from, sql_type, &ColumnPlace { name: column, row: row_number }, eval)
}

/// A type for a value that comes without one.
pub fn type_of(value: &Value, eval: &EvalContext) -> SqlType {
    assize_values::literal_type(value, eval.connection_collation)
}

/// The database of a table name, or error 1046.
pub fn database_of(name: &TableName, context: &dyn StatementContext) -> Result<Arc<str>, SqlError> {
    match &name.database {
        Some(database) => Ok(database.as_str().into()),
        None => {
            context.database().ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))
        }
    }
}

/// A stored table that a statement wants to change, or error 1146, or 1347 for a view; tables that the server makes up cannot be changed.
pub fn target_table(name: &TableName, context: &dyn StatementContext) -> Result<Arc<Table>, SqlError> {
    let table = stored_table(name, context)?;
    match table.view {
        None => Ok(table),
        Some(_) => Err(assize_catalog::wrong_kind(&table.database, &table.name, "BASE TABLE")),
    }
}

/// Likewise, or a view.
pub fn stored_table(name: &TableName, context: &dyn StatementContext) -> Result<Arc<Table>, SqlError> {
    let database = database_of(name, context)?;
    if let Some(temporary) = context.temporary_tables().find(&database, &name.name) {
        return Ok(temporary.clone());
    }
    crate::system::refuse_change(&database, &name.name, context)?;
    context.catalog().require_table(&database, &name.name).cloned()
}

/// The table or view that a statement means by a name, if there is one: temporary tables of the session come first.
pub(crate) fn meant_table(database: &str, name: &str, context: &dyn StatementContext) -> Option<Arc<Table>> {
    let temporary = context.temporary_tables().find(database, name).cloned();
    temporary.or_else(|| context.catalog().table(database, name).cloned())
}

/// Runs the body of a statement that writes: its errors undo its writes, IGNORE holds for it alone.
pub(crate) struct Statement {
    mark: assize_ports::Mark,
    ignore: bool,
    warnings: u64,
}

impl Statement {
    /// Begins a statement that writes.
    pub(crate) fn begin(ignore: bool, rt: &mut Runtime<'_>) -> Statement {
        let mark = rt.context.transaction().mark();
        let eval = rt.context.eval();
        eval.writing = true;
        let before = std::mem::replace(&mut eval.ignore, ignore);
        Statement { mark, ignore: before, warnings: eval.warning_count }
    }

    /// Warnings since it began.
    pub(crate) fn warnings(&self, rt: &mut Runtime<'_>) -> u64 {
        rt.context.eval().warning_count - self.warnings
    }

    /// Ends it.
    pub(crate) fn end(
        self,
        result: Result<Executed, SqlError>,
        rt: &mut Runtime<'_>,
    ) -> Result<Executed, SqlError> {
        if result.is_err() {
            rt.context.transaction().undo_to(self.mark);
        }
        let eval = rt.context.eval();
        eval.writing = false;
        eval.ignore = self.ignore;
        result
    }
}

/// Turns an error of a row into a warning if the statement says IGNORE and the error is one that it covers.
/// The row is then left out.
pub(crate) fn ignored(error: SqlError, ignore: bool, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
    let covered = matches!(
        error.code,
        ErrorCode::DuplicateEntry
            | ErrorCode::DuplicateEntryWithKeyName
            | ErrorCode::NoReferencedRowFor
            | ErrorCode::RowIsReferencedBy
            | ErrorCode::CheckConstraintViolated
            | ErrorCode::ViewCheckFailed
            | ErrorCode::ColumnCannotBeNull
            | ErrorCode::SubqueryReturnsMoreRows
            | ErrorCode::NoPartitionForValue
    );
    if !ignore || !covered {
        return Err(error);
    }
    rt.context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
    Ok(())
}

/// Binds the common table expressions in front of UPDATE and DELETE.
pub(crate) fn bind_with(
    with: Option<&sqlparser::ast::With>,
    binder: &mut crate::bind::Binder<'_>,
) -> Result<(), SqlError> {
    for cte in with.iter().flat_map(|w| &w.cte_tables) {
        let bound = binder.cte(cte, with.is_some_and(|w| w.recursive), None)?;
        binder.ctes.push(bound);
    }
    Ok(())
}
