//! Accounts and privileges: who may do what, and the statements that change it.

mod grants;
mod users;

pub use grants::{grant, revoke, show_grants};
pub use users::{
    alter_user, create_user, drop_user, note_ignored, rename_user, set_password, show_create_user, verifier,
};

use crate::bind::TableRead;
use assize_catalog::{Catalog, QualifiedName, Table, User};
use assize_model::{ErrorCode, SqlError};
use assize_ports::StatementContext;
use assize_sql::Account;
use std::sync::Arc;

/// Error 1142 unless the user may do this to a table. Whoever has made a temporary table may do anything with it.
pub fn require_table(context: &dyn StatementContext, privilege: &str, table: &Table) -> Result<(), SqlError> {
    if table.id.is_temporary() {
        return Ok(());
    }
    require_table_name(context, privilege, &table.database, &table.name)
}

/// Error 1142 unless the user may do this to a table of this name.
pub fn require_table_name(
    context: &dyn StatementContext,
    privilege: &str,
    database: &str,
    table: &str,
) -> Result<(), SqlError> {
    let user = context.user();
    if user.may(privilege, Some(database), Some(table)) {
        return Ok(());
    }
    Err(SqlError::new(
        ErrorCode::TableAccessDenied,
        format!("{privilege} command denied to user '{}'@'{}' for table '{table}'", user.name, user.host),
    ))
}

/// Whether whoever a statement reads a table for may do so.
pub fn require_read(context: &dyn StatementContext, read: &TableRead) -> Result<(), SqlError> {
    require(context, "SELECT", read)
}

/// Whether whoever a statement uses a table for may do this to it: error 1142, or, where a view leads there, 1356, and
/// 1449 if the account that the view acts for is gone.
pub fn require(context: &dyn StatementContext, privilege: &str, read: &TableRead) -> Result<(), SqlError> {
    let TableRead { table, definer, within } = read;
    if table.id.is_temporary() {
        return Ok(());
    }
    let may = |user: &User| user.may(privilege, Some(&table.database), Some(&table.name));
    let user = context.user();
    let allowed = match definer {
        None => may(&user),
        Some((name, host)) if *name == user.name && *host == user.host => may(&user),
        Some(definer) => may(context.catalog().users.get(definer).ok_or_else(|| no_definer(definer))?),
    };
    match within {
        _ if allowed => Ok(()),
        Some((database, view)) => Err(crate::bind::invalid(database, view)),
        None => require_table(context, privilege, table),
    }
}

/// Error 1449.
fn no_definer((name, host): &QualifiedName) -> SqlError {
    SqlError::new(
        ErrorCode::DefinerDoesNotExist,
        format!("The user specified as a definer ('{name}'@'{host}') does not exist"),
    )
}

/// Error 1044 unless the user may do this to a whole database.
pub fn require_database(
    context: &dyn StatementContext,
    privilege: &str,
    database: &str,
) -> Result<(), SqlError> {
    let user = context.user();
    if user.may(privilege, Some(database), None) {
        return Ok(());
    }
    Err(SqlError::new(
        ErrorCode::DatabaseAccessDenied,
        format!("Access denied for user '{}'@'{}' to database '{database}'", user.name, user.host),
    ))
}

/// Error 1227 unless the user may do this to the server.
pub fn require_global(context: &dyn StatementContext, privilege: &str) -> Result<(), SqlError> {
    let user = context.user();
    if user.may(privilege, None, None) || user.is_administrator() {
        return Ok(());
    }
    Err(SqlError::new(
        ErrorCode::SpecificAccessDenied,
        format!("Access denied; you need (at least one of) the {privilege} privilege(s) for this operation"),
    ))
}

/// The name and host of an account, with CURRENT_USER resolved.
fn resolve(account: &Account, context: &dyn StatementContext) -> (Arc<str>, Arc<str>) {
    if account.is_current_user() {
        let user = context.user();
        (user.name.clone(), user.host.clone())
    } else {
        (account.name.as_str().into(), account.host.to_ascii_lowercase().into())
    }
}

/// A user of the catalog.
fn find<'c>(catalog: &'c Catalog, key: &(Arc<str>, Arc<str>)) -> Option<&'c Arc<User>> {
    catalog.users.get(key)
}

/// `'name'@'host'`, as lists of failed accounts are printed.
fn quoted((name, host): &(Arc<str>, Arc<str>)) -> String {
    format!("'{name}'@'{host}'")
}
