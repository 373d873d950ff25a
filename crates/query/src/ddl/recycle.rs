//! The recycle bin: what DROP and TRUNCATE unlinked can be brought back until it is purged.
//!
//! Dropping a table moves its definition, id and all, from under its name into the bin; nothing of its data is
//! touched. UNDROP moves it back. Purging deletes the data in pages and then forgets the entry, so that a purge
//! that is interrupted goes on where it stopped when it runs again.

use super::{commit_change, done, fence_parents, is_lost, table_exists};
use crate::dml::database_of;
use assize_catalog::{ChangeBuilder, Database, DropCause, Dropped, Table, key};
use assize_model::{ErrorCode, KeyRange, Mutation, SchemaVersion, SqlError};
use assize_ports::{
    Direction, Executed, ReadIntent, ScanRequest, ScanShards, StatementContext, StatementJob,
};
use assize_sql::TableName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long the bin keeps things: seven days.
pub const KEPT_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
/// Keys deleted in one transaction.
const PAGE: usize = 1000;
/// How often a page that lost is tried again.
const ATTEMPTS: usize = 10;

/// Puts tables of one database into the bin, as part of a change that unlinks them.
pub(crate) fn throw_away(
    database: &Arc<Database>,
    tables: Vec<Arc<Table>>,
    cause: DropCause,
    now_micros: i64,
    change: &mut ChangeBuilder<'_>,
) -> u64 {
    let id = change.take_dropped_id();
    let kept = match cause {
        DropCause::DropDatabase => (**database).clone(),
        _ => Database { tables: BTreeMap::new(), ..(**database).clone() },
    };
    for table in &tables {
        change.fence_dropped(table);
    }
    change.put_dropped(&Dropped { id, dropped_micros: now_micros, cause, database: Arc::new(kept), tables });
    id
}

/// Runs UNDROP TABLE.
pub async fn undrop_table(
    name: &TableName,
    id: Option<u64>,
    rename_to: Option<&TableName>,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let database = database_of(name, context)?;
    crate::acl::require_database(context, "CREATE", &database)?;
    let (to_database, to_name): (Arc<str>, &str) = match rename_to {
        Some(to) => (database_of(to, context)?, &to.name),
        None => (database.clone(), &name.name),
    };
    commit_change(context, |catalog, change| {
        let dropped = match id {
            Some(id) => catalog.dropped.iter().find(|d| d.id == id),
            None => catalog.dropped_table(&database, &name.name).map(|(dropped, _)| dropped),
        };
        let table = dropped
            .and_then(|d| d.tables.iter().find(|t| *t.database == *database && *t.name == name.name))
            .ok_or_else(|| nothing_dropped(&format!("table '{database}.{}'", name.name)))?;
        let dropped = dropped.ok_or_else(|| nothing_dropped(&name.name))?;
        catalog.require_database(&to_database)?;
        if catalog.table(&to_database, to_name).is_some() {
            return Err(table_exists(to_name));
        }
        super::foreign::refuse_children(table, &to_database, to_name, catalog)?;
        let back = Table {
            database: to_database.clone(),
            name: to_name.into(),
            // Above the fence that its drop put up.
            version: SchemaVersion(table.version.0 + 1),
            ..(**table).clone()
        };
        change.expect_database(&to_database).put_table(&back);
        fence_parents(&back, catalog, change);
        let left: Vec<Arc<Table>> = dropped.tables.iter().filter(|t| t.id != table.id).cloned().collect();
        if left.is_empty() && dropped.cause != DropCause::DropDatabase {
            change.remove_dropped(dropped.id);
        } else {
            change.put_dropped(&Dropped { tables: left, ..(**dropped).clone() });
        }
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// Runs UNDROP DATABASE.
pub async fn undrop_database(
    name: &str,
    id: Option<u64>,
    rename_to: Option<&str>,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_database(context, "CREATE", name)?;
    let to: Arc<str> = rename_to.unwrap_or(name).into();
    let restored = commit_change(context, |catalog, change| {
        let dropped = catalog
            .dropped
            .iter()
            .rev()
            .filter(|d| d.cause == DropCause::DropDatabase && *d.database.name == *name)
            .find(|d| id.is_none_or(|id| d.id == id))
            .ok_or_else(|| nothing_dropped(&format!("database '{name}'")))?;
        if catalog.database(&to).is_some() {
            return Err(SqlError::new(
                ErrorCode::DatabaseExists,
                format!("Can't create database '{to}'; database exists"),
            ));
        }
        change.put_database(&Database {
            name: to.clone(),
            tables: BTreeMap::new(),
            ..(*dropped.database).clone()
        });
        for table in &dropped.tables {
            let mut back = Table {
                database: to.clone(),
                version: SchemaVersion(table.version.0 + 1),
                ..(**table).clone()
            };
            for key in &mut back.foreign_keys {
                if *key.parent_database == *name {
                    key.parent_database = to.clone();
                }
            }
            change.put_table(&back);
            fence_parents(&back, catalog, change);
        }
        change.remove_dropped(dropped.id);
        Ok(Some(dropped.tables.len() as u64))
    })
    .await?;
    let changed = restored.unwrap_or(0);
    Ok(Executed::Affected { changed, matched: changed, insert_id: 0, info: String::new() })
}

/// Runs PURGE DROPPED.
pub async fn purge(id: Option<u64>, context: &mut dyn StatementContext) -> Result<Executed, SqlError> {
    crate::acl::require_global(context, "DROP")?;
    let catalog = context.refresh_catalog().await?;
    if let Some(id) = id
        && !catalog.dropped.iter().any(|d| d.id == id)
    {
        return Err(nothing_dropped(&format!("entry {id}")));
    }
    let entries: Vec<Arc<Dropped>> =
        catalog.dropped.iter().filter(|d| id.is_none_or(|id| d.id == id)).cloned().collect();
    let mut purged = 0;
    for entry in entries {
        purge_entry(&entry, context).await?;
        purged += 1;
    }
    Ok(Executed::Affected { changed: purged, matched: purged, insert_id: 0, info: String::new() })
}

/// Purges what has been in the bin for longer than it is kept; answers how many entries went.
pub async fn purge_expired(context: &mut dyn StatementContext) -> Result<u64, SqlError> {
    let catalog = context.refresh_catalog().await?;
    let before = context.eval().now_micros - KEPT_MICROS;
    let expired: Vec<Arc<Dropped>> =
        catalog.dropped.iter().filter(|d| d.dropped_micros < before).cloned().collect();
    let mut purged = 0;
    for entry in expired {
        purge_entry(&entry, context).await?;
        purged += 1;
    }
    Ok(purged)
}

async fn purge_entry(entry: &Arc<Dropped>, context: &mut dyn StatementContext) -> Result<(), SqlError> {
    let names: Vec<String> =
        entry.tables.iter().map(|table| format!("{}.{}", table.database, table.name)).collect();
    let job = context.begin_job("purge", format!("purges {}", names.join(", ")));
    // A foreign table has not one key here.
    for table in entry.tables.iter().filter(|table| table.foreign.is_none()) {
        job.step(&format!("deleting {}", table.name));
        let deleted = delete_range_as(table, key::table_range(table.id), &*job, context).await;
        if let Err(error) = &deleted {
            job.end(Err(error));
        }
        deleted?;
    }
    job.end(Ok(()));
    commit_change(context, |catalog, change| {
        if !catalog.dropped.iter().any(|d| d.id == entry.id) {
            return Ok(None);
        }
        change.remove_dropped(entry.id);
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// Deletes every key of a table that has no name any more, in pages.
pub(crate) async fn delete_rows_of(
    table: &Table,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    delete_range(table, key::table_range(table.id), context).await
}

/// Deletes every key of a range of a table, in pages.
pub(crate) async fn delete_range(
    table: &Table,
    range: KeyRange,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    delete_range_as(table, range, &(), context).await
}

/// Likewise, as the work of a job.
pub(crate) async fn delete_range_as(
    table: &Table,
    range: KeyRange,
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let mut rest = Some(range);
    let mut attempts = 0;
    while let Some(range) = rest.clone() {
        context.check_killed()?;
        let mut internal = context.begin_internal().await?;
        let txn = internal.transaction();
        let page = txn
            .scan(ScanRequest {
                table: table.id,
                range,
                shards: ScanShards::All,
                direction: Direction::Forward,
                limit: PAGE,
                intent: ReadIntent::Plain,
            })
            .await?;
        let rows = page.rows.len() as u64;
        for (key, value) in page.rows {
            let slot = key::slot_of_stored(table, &key, &value)?;
            txn.write(table.id, Mutation::delete(key, slot))?;
        }
        match internal.commit(None).await {
            Ok(_) => {
                job.did(rows);
                rest = page.rest;
                attempts = 0;
            }
            Err(error) if is_lost(&error) && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn nothing_dropped(what: &str) -> SqlError {
    SqlError::new(ErrorCode::NothingDropped, format!("There is no {what} in the recycle bin"))
}
