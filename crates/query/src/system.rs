//! The server's own databases: what there is to read is made up, and nobody writes there.
//!
//! A table that was made in `mysql` or `sys` before this was refused is a table like others: it can be read,
//! renamed away and dropped, unless the server makes up one of its name.

use crate::bind::{VirtualTables, object_parts};
use crate::dml::database_of;
use crate::infoschema::SystemTables;
use assize_catalog::{SYSTEM_DATABASES, VIRTUAL_DATABASES};
use assize_model::{ErrorCode, SqlError};
use assize_ports::StatementContext;
use assize_sql::sqlparser::ast::{TableFactor, TableWithJoins};
use assize_sql::{Statement, TableName};

/// Tables of `mysql` that show what statements about accounts have made.
const ACCOUNTS: &[&str] = &[
    "columns_priv",
    "db",
    "default_roles",
    "global_grants",
    "procs_priv",
    "proxies_priv",
    "role_edges",
    "tables_priv",
    "user",
];

/// Refuses to change the rows or the definition of a table that the server makes up.
pub(crate) fn refuse_change(
    database: &str,
    table: &str,
    context: &dyn StatementContext,
) -> Result<(), SqlError> {
    if VIRTUAL_DATABASES.iter().any(|name| name.eq_ignore_ascii_case(database)) {
        return Err(denied(database, context));
    }
    if !SYSTEM_DATABASES.contains(&database) || SystemTables.table(database, table).is_none() {
        return Ok(());
    }
    let instead = if database == "mysql" && ACCOUNTS.contains(&table) {
        "CREATE USER, ALTER USER, DROP USER, GRANT and REVOKE change accounts"
    } else if database == "mysql" && table == "servers" {
        "CREATE SERVER, ALTER SERVER and DROP SERVER change foreign servers"
    } else {
        "the server makes its rows up"
    };
    Err(SqlError::not_supported(format_args!("changes of {database}.{table}: {instead}")))
}

/// Refuses to make a table in a database of the server's own: error 1044.
pub(crate) fn refuse_new_table(database: &str, context: &dyn StatementContext) -> Result<(), SqlError> {
    let any_case = VIRTUAL_DATABASES.iter().any(|name| name.eq_ignore_ascii_case(database));
    if any_case || SYSTEM_DATABASES.contains(&database) {
        return Err(denied(database, context));
    }
    Ok(())
}

/// Refuses UPDATE and DELETE of one table that the server makes up. INSERT and definitions look their table up, and
/// are refused there; of several tables, those made up are not updatable.
pub(crate) fn refuse_rows(statement: &Statement, context: &dyn StatementContext) -> Result<(), SqlError> {
    let tables = match statement {
        Statement::Update(update) => &update.tables,
        Statement::Delete(delete) => &delete.from,
        _ => return Ok(()),
    };
    let [TableWithJoins { relation: TableFactor::Table { name, .. }, joins }] = tables.as_slice() else {
        return Ok(());
    };
    let parts = object_parts(name);
    let (true, [before @ .., name]) = (joins.is_empty(), parts.as_slice()) else { return Ok(()) };
    let name = TableName { database: before.last().map(|d| (*d).to_owned()), name: (*name).to_owned() };
    // Without a database it is error 1046, further on.
    database_of(&name, context).map_or(Ok(()), |database| refuse_change(&database, &name.name, context))
}

/// Error 1044.
pub(crate) fn denied(database: &str, context: &dyn StatementContext) -> SqlError {
    let user = context.user();
    SqlError::new(
        ErrorCode::DatabaseAccessDenied,
        format!("Access denied for user '{}'@'{}' to database '{database}'", user.name, user.host),
    )
}
