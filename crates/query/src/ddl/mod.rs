//! CREATE, ALTER, DROP, TRUNCATE, RENAME, UNDROP.
//!
//! ```text
//!   statement ──▶ Draft (a table as it shall be) ──▶ ChangeBuilder ──▶ InternalTransaction::commit
//!                                                       │                      │ lost to another DDL
//!                                                       └──────── again ◀──────┘
//! ```
//!
//! A definition changes in one commit that fences its table: transactions that planned with the old version are
//! refused and retried, readers see the old table or the new one. Work on data happens around that commit:
//!
//! * an index is built after its `WriteOnly` state is committed ([`index`]),
//! * values that change are copied under a new table id before the commit that switches to it ([`copy`]),
//! * what DROP and TRUNCATE unlink stays in the recycle bin, data and all, until it is purged ([`recycle`]).
//!
//! A temporary table takes no part in this: its definition is the session's, and changes at once ([`temporary`]).

pub mod alter;
pub mod charset;
pub mod copy;
pub mod create;
pub mod database;
pub mod define;
pub mod drop;
pub(crate) mod foreign;
pub(crate) mod freeze;
pub(crate) mod functional;
pub mod index;
pub mod print;
pub mod recycle;
pub mod server;
pub(crate) mod temporary;
pub mod types;
pub mod view;

use assize_catalog::{Catalog, ChangeBuilder, Table};
use assize_model::{CatalogChange, ErrorCode, SchemaVersion, SqlError};
use assize_ports::{Executed, StatementContext};
use assize_sql::ParseOptions;
use std::sync::Arc;

/// How often a change that lost to another DDL statement is tried again.
const ATTEMPTS: usize = 10;

/// How often it is looked whether the cluster has been raised, once every node understands what is wanted.
const RAISED_WITHIN: u32 = 50;
/// Between two looks.
const WAIT_MICROS: u64 = 100_000;

/// Nodes of a release that does not know such a thing would not understand the catalog any more.
pub(crate) async fn require_cluster_version(
    since: u32,
    what: &str,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let Some(cluster) = context.server().cluster() else { return Ok(()) };
    let mut waits = RAISED_WITHIN;
    loop {
        let members = cluster.members().await.map_err(crate::cluster::error)?;
        let version = members.cluster_version;
        if version >= since {
            return Ok(());
        }
        // A cluster that has only just begun, or been upgraded, is about to be raised.
        if waits == 0 || members.members.iter().any(|m| m.cluster_version_max < since) {
            return Err(SqlError::not_supported(format_args!(
                "{what} before every node understands them: the cluster is at version {version}, and {what} need \
                 version {since}"
            )));
        }
        waits -= 1;
        context.check_killed()?;
        context.server().sleep(WAIT_MICROS).await;
    }
}

/// Parses an expression that the catalog keeps. It was printed in a form that no SQL mode changes.
pub fn parse_stored(text: &str) -> Result<sqlparser::ast::Expr, SqlError> {
    assize_sql::parse_expression(text, &ParseOptions::default())
}

/// What DDL statements report.
pub(crate) fn done() -> Executed {
    Executed::Affected { changed: 0, matched: 0, insert_id: 0, info: String::new() }
}

/// Builds a change from the newest catalog and commits it, again and again while others are quicker.
/// `build` answers `None` if there is nothing to do.
pub(crate) async fn commit_change<T>(
    context: &mut dyn StatementContext,
    mut build: impl FnMut(&Catalog, &mut ChangeBuilder<'_>) -> Result<Option<T>, SqlError> + Send,
) -> Result<Option<T>, SqlError>
where
    T: Send,
{
    for attempt in 1.. {
        context.check_killed()?;
        let txn = context.begin_internal().await?;
        let catalog = txn.catalog();
        let built = {
            let mut change = ChangeBuilder::new(&catalog);
            build(&catalog, &mut change)?.map(|value| (value, change.finish()))
        };
        let Some((value, change)) = built else {
            return Ok(None);
        };
        match txn.commit(Some(change)).await {
            Ok(_) => {
                context.refresh_catalog().await?;
                return Ok(Some(value));
            }
            Err(error) if is_lost(&error) && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Commits a change that is already built; `Ok(false)` if another was quicker.
pub(crate) async fn commit_built(
    context: &mut dyn StatementContext,
    txn: Box<dyn assize_ports::InternalTransaction>,
    change: CatalogChange,
) -> Result<bool, SqlError> {
    match txn.commit(Some(change)).await {
        Ok(_) => {
            context.refresh_catalog().await?;
            Ok(true)
        }
        Err(error) if is_lost(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a commit was refused because another one came first.
pub(crate) fn is_lost(error: &SqlError) -> bool {
    matches!(
        error.code,
        ErrorCode::Deadlock | ErrorCode::TableDefinitionChanged | ErrorCode::SnapshotTooOldError
    )
}

/// Error 1050.
pub(crate) fn table_exists(name: &str) -> SqlError {
    SqlError::new(ErrorCode::TableExists, format!("Table '{name}' already exists"))
}

/// Puts the parents of a table's foreign keys under a new version and fences them: from now on their writers
/// must know of their children. The table itself is not among them.
pub(crate) fn fence_parents(table: &Table, catalog: &Catalog, change: &mut ChangeBuilder<'_>) {
    let mut seen: Vec<Arc<str>> = Vec::new();
    for key in &table.foreign_keys {
        change.expect_table(&key.parent_database, &key.parent_table);
        let Some(parent) = catalog.table(&key.parent_database, &key.parent_table) else { continue };
        let name: Arc<str> = format!("{}\0{}", key.parent_database, key.parent_table).into();
        if parent.id == table.id || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let newer = Table { version: SchemaVersion(parent.version.0 + 1), ..(**parent).clone() };
        change.put_table(&newer).fence(&newer);
    }
}
