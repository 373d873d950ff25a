//! DROP, TRUNCATE and RENAME TABLE.

use super::recycle::throw_away;
use super::{commit_change, done, table_exists};
use crate::dml::database_of;
use assize_catalog::{Catalog, DropCause, Table};
use assize_model::{ErrorCode, SchemaVersion, SqlError, TableId};
use assize_ports::{Executed, StatementContext};
use assize_sql::{ProgramKind, TableName};
use std::sync::Arc;

/// Runs DROP TABLE: all of the tables or none. A name means a temporary table first, and with TEMPORARY nothing else.
pub async fn drop_tables(
    names: &[TableName],
    if_exists: bool,
    temporary: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut targets: Vec<(Arc<str>, &str)> = Vec::with_capacity(names.len());
    let mut own: Vec<TableId> = Vec::new();
    let mut all: Vec<(Arc<str>, &str)> = Vec::with_capacity(names.len());
    for name in names {
        let database = database_of(name, context)?;
        if all.iter().any(|(d, n)| *d == database && *n == name.name) {
            return Err(SqlError::new(
                ErrorCode::NonUniqueTable,
                format!("Not unique table/alias: '{}'", name.name),
            ));
        }
        all.push((database.clone(), &name.name));
        if let Some(table) = context.temporary_tables().find(&database, &name.name) {
            own.push(table.id);
            continue;
        }
        if !temporary {
            crate::acl::require_table_name(context, "DROP", &database, &name.name)?;
            if context.catalog().table(&database, &name.name).is_none() {
                crate::system::refuse_change(&database, &name.name, context)?;
            }
        }
        targets.push((database, &name.name));
    }
    let done = if temporary || targets.is_empty() {
        let list: Vec<String> = targets.iter().map(|(d, n)| format!("{d}.{n}")).collect();
        unknown_tables(&list, if_exists || list.is_empty(), context)
    } else {
        drop_stored(&targets, if_exists, context).await
    }?;
    for table in own {
        context.drop_temporary(table);
    }
    Ok(done)
}

async fn drop_stored(
    targets: &[(Arc<str>, &str)],
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let now = context.eval().now_micros;
    let fk_checks = crate::constraints::foreign_key_checks(context);
    let unknown = commit_change(context, |catalog, change| {
        let mut unknown = Vec::new();
        let mut dropped = 0;
        for (database, name) in targets {
            // A view is no table to DROP TABLE.
            let Some(table) = catalog.table(database, name).filter(|t| t.view.is_none()) else {
                unknown.push(format!("{database}.{name}"));
                continue;
            };
            if fk_checks {
                let elsewhere = |child: &Table| {
                    child.id != table.id
                        && !targets.iter().any(|(d, n)| *child.database == **d && *child.name == **n)
                };
                if let Some((child, key)) =
                    catalog.children_of(database, name).find(|(child, _)| elsewhere(child))
                {
                    return Err(referenced(table, &key.name, child));
                }
            }
            let holder = catalog.require_database(database)?;
            change.expect_database(database).remove_table(database, name);
            throw_away(holder, vec![table.clone()], DropCause::DropTable, now, change);
            dropped += 1;
        }
        if !unknown.is_empty() && !if_exists {
            return Err(unknown_error(&unknown));
        }
        if dropped == 0 {
            // Nothing to commit, but the names are still to be reported.
            return Ok(None);
        }
        Ok(Some(unknown))
    })
    .await?;
    match unknown {
        Some(unknown) => unknown_tables(&unknown, true, context),
        None => {
            let list: Vec<String> = targets.iter().map(|(d, n)| format!("{d}.{n}")).collect();
            unknown_tables(&list, true, context)
        }
    }
}

/// Runs DROP PROCEDURE and the like, of which there are none.
pub fn drop_program(
    kind: ProgramKind,
    name: &TableName,
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let database = database_of(name, context)?;
    let name = &name.name;
    let routine =
        |kind| (ErrorCode::SavepointDoesNotExist, format!("{kind} {database}.{name} does not exist"));
    let (code, text) = match kind {
        ProgramKind::Procedure => routine("PROCEDURE"),
        ProgramKind::Function => routine("FUNCTION"),
        ProgramKind::Trigger => (ErrorCode::TriggerDoesNotExist, "Trigger does not exist".to_owned()),
        // The note has another number than the error.
        ProgramKind::Event if if_exists => {
            (ErrorCode::SavepointDoesNotExist, format!("Event {name} does not exist"))
        }
        ProgramKind::Event => (ErrorCode::EventDoesNotExist, format!("Unknown event '{name}'")),
    };
    if !if_exists {
        return Err(SqlError::new(code, text));
    }
    context.eval().note(code, text);
    Ok(done())
}

pub(super) fn unknown_tables(
    unknown: &[String],
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    if !if_exists {
        return Err(unknown_error(unknown));
    }
    for name in unknown {
        context.eval().note(ErrorCode::UnknownTable, format!("Unknown table '{name}'"));
    }
    Ok(done())
}

fn no_table(database: &str, name: &str) -> SqlError {
    SqlError::new(ErrorCode::NoSuchTable, format!("Table '{database}.{name}' doesn't exist"))
}

pub(super) fn unknown_error(unknown: &[String]) -> SqlError {
    SqlError::new(ErrorCode::UnknownTable, format!("Unknown table '{}'", unknown.join(",")))
}

/// Error 3730.
pub(crate) fn referenced(table: &Table, key: &str, child: &Table) -> SqlError {
    SqlError::new(
        ErrorCode::ForeignKeyCannotDropParent,
        format!(
            "Cannot drop table '{}' referenced by a foreign key constraint '{key}' on table '{}'.",
            table.name, child.name
        ),
    )
}

/// Runs TRUNCATE TABLE: the table gets a new, empty id; the old one goes into the recycle bin with its rows.
pub async fn truncate(name: &TableName, context: &mut dyn StatementContext) -> Result<Executed, SqlError> {
    let database = database_of(name, context)?;
    if let Some(table) = context.temporary_tables().find(&database, &name.name).cloned() {
        return Ok(super::temporary::truncate(&table, context));
    }
    crate::acl::require_table_name(context, "DROP", &database, &name.name)?;
    crate::system::refuse_change(&database, &name.name, context)?;
    let now = context.eval().now_micros;
    let fk_checks = crate::constraints::foreign_key_checks(context);
    commit_change(context, |catalog, change| {
        let table = match catalog.require_table(&database, &name.name)? {
            table if table.view.is_none() => table,
            // TRUNCATE finds tables alone.
            _ => return Err(no_table(&database, &name.name)),
        };
        if table.foreign.is_some() {
            return Err(super::foreign::no_such_option(&table.name));
        }
        if fk_checks
            && let Some((child, key)) =
                catalog.children_of(&database, &name.name).find(|(child, _)| child.id != table.id)
        {
            return Err(SqlError::new(
                ErrorCode::TruncateForeignKey,
                format!(
                    "Cannot truncate a table referenced in a foreign key constraint (`{}`.`{}`, CONSTRAINT `{}`)",
                    child.database, child.name, key.name
                ),
            ));
        }
        let holder = catalog.require_database(&database)?;
        let mut empty = Table { id: change.take_table_id(), created_micros: now, ..(**table).clone() };
        for column in &mut empty.columns {
            column.added_value = None;
        }
        change.put_table(&empty);
        throw_away(holder, vec![table.clone()], DropCause::Truncate, now, change);
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// Runs RENAME TABLE: the renames happen one after the other, all or none.
pub async fn rename(
    renames: &[(TableName, TableName)],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut list: Vec<(Arc<str>, &str, Arc<str>, &str)> = Vec::with_capacity(renames.len());
    for (from, to) in renames {
        let (from_database, to_database) = (database_of(from, context)?, database_of(to, context)?);
        crate::acl::require_table_name(context, "ALTER", &from_database, &from.name)?;
        crate::acl::require_table_name(context, "CREATE", &to_database, &to.name)?;
        super::define::check_name(&to.name, ErrorCode::WrongTableName, "table")?;
        crate::system::refuse_new_table(&to_database, context)?;
        if context.catalog().table(&from_database, &from.name).is_none() {
            crate::system::refuse_change(&from_database, &from.name, context)?;
        }
        list.push((from_database, &from.name, to_database, &to.name));
    }
    commit_change(context, |catalog, change| {
        // Renames may chain and swap, so they are played on a copy first.
        let mut after: Catalog = catalog.clone();
        for (from_database, from, to_database, to) in &list {
            let table = after.require_table(from_database, from)?.clone();
            after.require_database(to_database)?;
            if table.view.is_some() && from_database != to_database {
                return Err(SqlError::new(
                    ErrorCode::SchemaChangeForbidden,
                    format!("Changing schema from '{from_database}' to '{to_database}' is not allowed."),
                ));
            }
            if after.table(to_database, to).is_some() {
                return Err(table_exists(to));
            }
            super::foreign::refuse_children(&table, to_database, to, &after)?;
            rename_in(&mut after, &table, to_database, to);
        }
        let changed: Vec<(&Arc<Table>, &Arc<Table>)> = after
            .tables
            .iter()
            .filter_map(|(id, new)| catalog.tables.get(id).map(|old| (old, new)))
            .filter(|(old, new)| old != new)
            .collect();
        for (old, _) in &changed {
            change.remove_table(&old.database, &old.name);
        }
        change.expect_no_other_ddl();
        for (_, new) in &changed {
            let newer = Table { version: SchemaVersion(new.version.0 + 1), ..(***new).clone() };
            change.put_table(&newer).fence(&newer);
        }
        for (_, new) in &changed {
            for key in &new.foreign_keys {
                change.expect_table(&key.parent_database, &key.parent_table);
            }
        }
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// Renames one table within a catalog: its own generated names follow, and so do the foreign keys that refer to
/// it.
pub(crate) fn rename_in(catalog: &mut Catalog, table: &Arc<Table>, to_database: &Arc<str>, to: &str) {
    let (from_database, from) = (table.database.clone(), table.name.clone());
    let mut renamed = (**table).clone();
    rename_draft(&mut renamed, to_database, to);
    if let Some(holder) = catalog.databases.get_mut(&from_database) {
        Arc::make_mut(holder).tables.remove(&from);
    }
    if let Some(holder) = catalog.databases.get_mut(to_database) {
        Arc::make_mut(holder).tables.insert(to.into(), table.id);
    }
    catalog.tables.insert(table.id, Arc::new(renamed));
    for child in catalog.tables.values_mut() {
        let refers =
            |k: &assize_catalog::ForeignKey| k.parent_database == from_database && k.parent_table == from;
        if child.foreign_keys.iter().any(refers) {
            for key in Arc::make_mut(child).foreign_keys.iter_mut().filter(|k| refers(k)) {
                key.parent_database = to_database.clone();
                key.parent_table = to.into();
            }
        }
    }
}

/// Gives a definition its new name; constraint names that were made from the old one follow.
pub(crate) fn rename_draft(table: &mut Table, to_database: &Arc<str>, to: &str) {
    let old = table.name.clone();
    let follow = |name: &mut Arc<str>, infix: &str| {
        let prefix = format!("{old}{infix}");
        if let Some(number) = name.strip_prefix(&prefix).filter(|n| n.parse::<u32>().is_ok()) {
            *name = format!("{to}{infix}{number}").into();
        }
    };
    for key in &mut table.foreign_keys {
        follow(&mut key.name, "_ibfk_");
        if key.parent_database == table.database && key.parent_table == old {
            key.parent_database = to_database.clone();
            key.parent_table = to.into();
        }
    }
    for check in &mut table.checks {
        follow(&mut check.name, "_chk_");
    }
    table.database = to_database.clone();
    table.name = to.into();
}
