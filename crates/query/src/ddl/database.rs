//! CREATE, ALTER and DROP DATABASE.

use super::charset;
use super::define::check_name;
use super::recycle::throw_away;
use super::{commit_change, done};
use assize_catalog::{Database, DropCause, SYSTEM_DATABASES, Table, VIRTUAL_DATABASES};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{Executed, StatementContext};
use assize_sql::{CharsetClause, CreateDatabase};
use assize_values::{Collation, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs CREATE DATABASE.
pub async fn create(
    create: &CreateDatabase,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let name = create.name.as_str();
    check_name(name, ErrorCode::WrongDatabaseName, "database")?;
    crate::acl::require_database(context, "CREATE", name)?;
    let otherwise = server_collation(context);
    let collation = charset::resolve(&create.charset, otherwise)?;
    charset::require_understood([collation], context).await?;
    let created = commit_change(context, |catalog, change| {
        if catalog.database(name).is_some() {
            if create.if_not_exists {
                return Ok(None);
            }
            return Err(SqlError::new(
                ErrorCode::DatabaseExists,
                format!("Can't create database '{name}'; database exists"),
            ));
        }
        let id = change.take_database_id();
        change.put_database(&Database { id, name: name.into(), collation, tables: BTreeMap::new() });
        Ok(Some(()))
    })
    .await?;
    if created.is_none() {
        let text = format!("Can't create database '{name}'; database exists");
        context.eval().note(ErrorCode::DatabaseExists, text);
    }
    Ok(Executed::Affected { changed: 1, matched: 1, insert_id: 0, info: String::new() })
}

/// `@@collation_server`: the collation of new databases.
pub(crate) fn server_collation(context: &dyn StatementContext) -> Collation {
    match context.system_variable("collation_server", None) {
        Ok(Value::Text(name)) => Collation::find(&name).unwrap_or_default(),
        _ => Collation::default(),
    }
}

/// Runs ALTER DATABASE.
pub async fn alter(
    name: Option<&str>,
    clause: &CharsetClause,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let name: Arc<str> = match name {
        Some(name) => name.into(),
        None => {
            context.database().ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?
        }
    };
    crate::acl::require_database(context, "ALTER", &name)?;
    refuse_virtual(&name, context)?;
    charset::require_understood([charset::resolve(clause, Collation::default())?], context).await?;
    commit_change(context, |catalog, change| {
        let database = catalog.require_database(&name)?;
        let collation = charset::resolve(clause, database.collation)?;
        change.put_database(&Database { collation, ..(**database).clone() });
        Ok(Some(()))
    })
    .await?;
    Ok(Executed::Affected { changed: 1, matched: 1, insert_id: 0, info: String::new() })
}

/// Runs DROP DATABASE. As in MySQL its tables go with it; unlike there, all of it waits in the recycle bin.
pub async fn drop(
    name: &str,
    if_exists: bool,
    force: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_database(context, "DROP", name)?;
    refuse_virtual(name, context)?;
    if SYSTEM_DATABASES.contains(&name) {
        return Err(crate::system::denied(name, context));
    }
    let now = context.eval().now_micros;
    let fk_checks = crate::constraints::foreign_key_checks(context);
    // Off unless an operator asks for it: MySQL drops without a question.
    let protected = crate::constraints::is_on(context, "assize_safe_drop", false) && !force;
    let dropped = commit_change(context, |catalog, change| {
        let Some(database) = catalog.database(name) else {
            if if_exists {
                return Ok(None);
            }
            return Err(SqlError::new(
                ErrorCode::DatabaseDropExists,
                format!("Can't drop database '{name}'; database doesn't exist"),
            ));
        };
        if protected && !database.tables.is_empty() {
            return Err(SqlError::new(
                ErrorCode::DropDatabaseRefused,
                format!(
                    "Database '{name}' has {} tables and assize_safe_drop is on; DROP DATABASE … FORCE drops it \
                     all the same, UNDROP DATABASE brings it back",
                    database.tables.len()
                ),
            ));
        }
        change.expect_no_other_ddl();
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for (table_name, id) in &database.tables {
            let Some(table) = catalog.table_by_id(*id) else { continue };
            if fk_checks
                && let Some((child, key)) =
                    catalog.children_of(name, table_name).find(|(child, _)| *child.database != *name)
            {
                return Err(super::drop::referenced(table, &key.name, child));
            }
            change.remove_table(name, table_name);
            tables.push(table.clone());
        }
        let count = tables.len() as u64;
        change.remove_database(name);
        throw_away(database, tables, DropCause::DropDatabase, now, change);
        Ok(Some(count))
    })
    .await?;
    match dropped {
        Some(count) => {
            Ok(Executed::Affected { changed: count, matched: count, insert_id: 0, info: String::new() })
        }
        None => {
            let text = format!("Can't drop database '{name}'; database doesn't exist");
            context.eval().note(ErrorCode::DatabaseDropExists, text);
            Ok(done())
        }
    }
}

/// Error 1044 for databases whose tables are not stored.
pub(crate) fn refuse_virtual(name: &str, context: &mut dyn StatementContext) -> Result<(), SqlError> {
    if VIRTUAL_DATABASES.iter().any(|v| v.eq_ignore_ascii_case(name)) {
        return Err(crate::system::denied(name, context));
    }
    Ok(())
}
