//! CREATE INDEX, and building an index while its table is in use.
//!
//! ```text
//!   WriteOnly committed, table fenced ──▶ every writer maintains the index
//!        │
//!        └──▶ pages of rows, each read and written by one transaction ──▶ Public
//!                 │ a value twice
//!                 └──▶ the index is taken away again, error 1062
//! ```
//!
//! Each page begins after the fence, so it sees every row that was written without the index; what it reads is
//! checked at its commit, so a row that changes meanwhile makes the page start again.
//!
//! Rows that were stored before a functional key part lack the value of its hidden column. The page that writes their entries
//! writes them again, with it; a writer that comes first computes it as for any other row.

use super::alter::alter;
use super::{commit_change, is_lost, recycle};
use crate::dml::writer::{Writer, duplicate_entry};
use crate::expr::{Row, Runtime};
use assize_catalog::{Index, IndexState, Table, key, row};
use assize_model::{IndexId, Key, KeyRange, Mutation, SchemaVersion, Slot, SqlError, TableId};
use assize_ports::{
    Direction, Executed, InternalTransaction, ReadIntent, ScanRequest, ScanShards, StatementContext,
    StatementJob,
};
use assize_sql::{AlterAction, AlterTable, IndexDef, TableConstraint, TableName};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of one page.
const PAGE: usize = 500;
/// Bytes of rows that one page writes again, about.
const PAGE_BYTES: usize = 256 << 10;
/// How often a page that lost is tried again.
const ATTEMPTS: usize = 50;

/// Runs CREATE INDEX, which is ALTER TABLE in other words.
pub async fn create_index(
    table: &TableName,
    index: &IndexDef,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let actions = vec![AlterAction::AddConstraint(TableConstraint::Index(index.clone()))];
    alter(&AlterTable { table: table.clone(), actions }, context).await
}

/// Runs DROP INDEX.
pub async fn drop_index(
    table: &TableName,
    name: &str,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let action = if name.eq_ignore_ascii_case("PRIMARY") {
        AlterAction::DropPrimaryKey
    } else {
        AlterAction::DropIndex(name.to_string())
    };
    alter(&AlterTable { table: table.clone(), actions: vec![action] }, context).await
}

/// Builds the indexes of a table that were committed as `WriteOnly`. If one cannot be built, all of them are
/// taken away again.
pub(crate) async fn build(
    table: TableId,
    indexes: &[IndexId],
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    if indexes.is_empty() {
        return Ok(());
    }
    if let Err(error) = backfill(table, indexes, job, context).await {
        job.step("taking the index away again");
        take_away(table, indexes, context).await?;
        return Err(error);
    }
    commit_change(context, |catalog, change| {
        let Some(old) = catalog.table_by_id(table) else { return Ok(None) };
        let mut new = (**old).clone();
        for index in new.indexes.iter_mut().filter(|i| indexes.contains(&i.id)) {
            index.state = IndexState::Public;
        }
        // No fence: who planned with the version before maintains the index just as well.
        new.version = SchemaVersion(old.version.0 + 1);
        change.put_table(&new);
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// Removes indexes that could not be built, then their entries.
async fn take_away(
    table: TableId,
    indexes: &[IndexId],
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let mut before: Option<Arc<Table>> = None;
    commit_change(context, |catalog, change| {
        let Some(old) = catalog.table_by_id(table) else { return Ok(None) };
        before = Some(old.clone());
        let mut new = (**old).clone();
        new.indexes.retain(|i| !indexes.contains(&i.id));
        new.forget_idle_columns();
        new.version = SchemaVersion(old.version.0 + 1);
        change.put_table(&new).fence(&new);
        Ok(Some(()))
    })
    .await?;
    if let Some(before) = before {
        delete_entries(&before, indexes, context).await?;
    }
    Ok(())
}

/// Deletes the entries of indexes that are no longer part of their table. `table` is its definition with them.
pub(crate) async fn delete_entries(
    table: &Table,
    indexes: &[IndexId],
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    for index in indexes {
        recycle::delete_range(table, key::index_range(table.id, *index), context).await?;
    }
    Ok(())
}

async fn backfill(
    table: TableId,
    indexes: &[IndexId],
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    job.step("building");
    let mut rest = Some(key::index_range(table, IndexId(0)));
    let mut attempts = 0;
    let mut done = 0;
    while let Some(range) = rest.clone() {
        context.check_killed()?;
        let mut internal = context.begin_internal().await?;
        let catalog = internal.catalog();
        let Some(definition) = catalog.table_by_id(table).cloned() else { return Ok(()) };
        let building: Vec<Index> =
            definition.indexes.iter().filter(|i| indexes.contains(&i.id)).cloned().collect();
        let (rows, next) = page(&definition, &building, range, done, &mut *internal, context).await?;
        match internal.commit(None).await {
            Ok(_) => {
                job.did(rows);
                done += rows;
                rest = next;
                attempts = 0;
            }
            Err(error) if is_lost(&error) && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Computes the hidden columns of an index for rows that lack them.
struct Filling {
    writer: Writer,
    /// Ids of the columns.
    columns: Vec<u32>,
}

impl Filling {
    /// For these indexes; `None` if they have no hidden columns.
    fn of(
        table: &Arc<Table>,
        indexes: &[Index],
        context: &mut dyn StatementContext,
    ) -> Result<Option<Self>, SqlError> {
        let parts = indexes.iter().flat_map(|index| &index.parts);
        let columns: Vec<u32> =
            parts.filter(|part| table.key_expression(part).is_some()).map(|part| part.column).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        Ok(Some(Filling { writer: Writer::detached(table, context)?, columns }))
    }

    /// Completes a row, if it lacks something; answers its new bytes.
    async fn complete(
        &self,
        stored: &Bytes,
        row: &mut Row,
        number: u64,
        context: &mut dyn StatementContext,
    ) -> Result<Option<Bytes>, SqlError> {
        let reader = row::RowReader::new(stored)?;
        let mut lacks = false;
        for column in &self.columns {
            lacks |= reader.bytes(*column)?.is_none();
        }
        if !lacks {
            return Ok(None);
        }
        let mut rt = Runtime::new(context, &[]);
        rt.context.eval().writing = true;
        let done = self.writer.generate_those(&self.columns, row, number, &mut rt).await;
        rt.context.eval().writing = false;
        done?;
        Ok(Some(row::encode(&self.writer.table, row)))
    }
}

/// Writes the entries of one page of rows; answers how many rows those were, and what is left of the range. `before` rows have
/// been written already.
async fn page(
    table: &Arc<Table>,
    indexes: &[Index],
    range: KeyRange,
    before: u64,
    internal: &mut dyn InternalTransaction,
    context: &mut dyn StatementContext,
) -> Result<(u64, Option<KeyRange>), SqlError> {
    let filling = Filling::of(table, indexes, context)?;
    let end = range.end.clone();
    let txn = internal.transaction();
    txn.use_table(table.id, table.version);
    let rows = txn
        .scan(ScanRequest {
            table: table.id,
            range,
            shards: ScanShards::All,
            direction: Direction::Forward,
            limit: PAGE,
            intent: ReadIntent::Check,
        })
        .await?;
    let mut entries = Vec::new();
    let mut completed = Vec::new();
    let (mut bytes, mut count, mut rest) = (0, 0, rows.rest);
    // Exclusive keys of this page, with the row that has each.
    let mut mine: BTreeMap<Key, Key> = BTreeMap::new();
    let mut places: Vec<(Slot, Key)> = Vec::new();
    let mut owners = Vec::new();
    for (row_key, value) in &rows.rows {
        if bytes >= PAGE_BYTES {
            rest = Some(KeyRange::new(row_key.clone(), end));
            break;
        }
        let mut row = key::decode_row(table, value)?;
        count += 1;
        let slot = table.row_slot(&row, row_key);
        if let Some(filling) = &filling
            && let Some(complete) = filling.complete(value, &mut row, before + count, context).await?
        {
            bytes += complete.len();
            completed.push(Mutation::put(row_key.clone(), slot, complete));
        }
        for index in indexes {
            let entry = table.index_entry(index, &row, row_key, slot);
            if entry.exclusive {
                if mine.insert(entry.key.clone(), row_key.clone()).is_some() {
                    return Err(duplicate_entry(table, index, &row));
                }
                places.push((entry.slot, entry.key.clone()));
                owners.push((row_key.clone(), index, row.clone()));
            }
            entries.push(entry);
        }
    }
    let found = txn.get_many(table.id, &places, ReadIntent::Plain).await?;
    for ((entry, value), (owner, index, row)) in places.iter().zip(found).zip(owners) {
        if let Some(value) = value
            && key::row_of_entry(&entry.1, &value)?.1 != owner
        {
            return Err(duplicate_entry(table, index, &row));
        }
    }
    for row in completed {
        txn.write(table.id, row)?;
    }
    for entry in entries {
        txn.write(table.id, Mutation::put(entry.key, entry.slot, entry.value))?;
    }
    Ok((count, rest))
}
