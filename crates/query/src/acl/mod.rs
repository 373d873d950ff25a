//! Accounts and privileges: who may do what, and the statements that change it.

mod grants;
mod users;

pub use grants::{grant, revoke, show_grants};
pub use users::{
    alter_user, create_user, drop_user, note_ignored, rename_user, set_password, show_create_user, verifier,
};

use assize_catalog::{Catalog, Table, User};
use assize_model::{ErrorCode, SqlError};
use assize_ports::StatementContext;
use assize_sql::Account;
use std::sync::Arc;

/// Error 1142 unless the user may do this to a table.
pub fn require_table(context: &dyn StatementContext, privilege: &str, table: &Table) -> Result<(), SqlError> {
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
