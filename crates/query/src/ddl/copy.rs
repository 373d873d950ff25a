//! Rows under a table id that nobody knows yet: what CREATE TABLE … SELECT fills and ALTER TABLE copies into.
//!
//! ```text
//!   reserve_table_id ──▶ Filler (pages, each a transaction of its own) ──▶ one commit gives the id a name
//! ```
//!
//! Nobody reads or writes these rows before they have a name, so pages need no care for others; a failure
//! deletes them again. Rows of a temporary table are written by the statement's own transaction, and are undone with it.

use super::{commit_change, is_lost};
use crate::dml::insert::id_value;
use crate::dml::writer::duplicate_entry;
use crate::expr::Row;
use assize_catalog::key::hidden_id_counter;
use assize_catalog::{Column, Table, key, row};
use assize_model::{ErrorCode, IndexId, Key, Mutation, Slot, SqlError, TableId, WarningLevel};
use assize_ports::{ReadIntent, StatementContext, Transaction};
use assize_values::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of one page, at most.
const PAGE_ROWS: usize = 500;
/// Bytes of one page, about.
const PAGE_BYTES: usize = 256 << 10;
/// How often a page that lost is written again.
const ATTEMPTS: usize = 10;

/// Takes a table id that no other table will get.
pub async fn reserve_table_id(context: &mut dyn StatementContext) -> Result<TableId, SqlError> {
    commit_change(context, |_, change| Ok(Some(change.take_table_id())))
        .await?
        .ok_or_else(|| SqlError::internal("no table id"))
}

/// Gives the AUTO_INCREMENT column of a copied row its value; returns the greatest id so far.
pub fn give_id(column: &Column, value: &mut Value, greatest: u64) -> Result<u64, SqlError> {
    let id = super::create::id_of(value);
    if id == 0 && matches!(value, Value::Null | Value::Int(0) | Value::UInt(0)) {
        *value = id_value(&column.sql_type, greatest + 1)?;
        return Ok(greatest + 1);
    }
    Ok(greatest.max(id))
}

/// A row with its place and entries, ready to be written.
struct Prepared {
    row: Row,
    exclusive: Vec<(IndexId, Slot, Key)>,
    mutations: Vec<Mutation>,
}

/// Writes rows of an unpublished table in pages.
pub struct Filler {
    table: Arc<Table>,
    /// Rows whose unique keys are taken are left out with a warning.
    ignore: bool,
    page: Vec<Prepared>,
    bytes: usize,
    written: u64,
    next_hidden: u64,
    left_hidden: u64,
}

impl Filler {
    /// Fills this table.
    pub fn new(table: Arc<Table>, ignore: bool) -> Self {
        Filler { table, ignore, page: Vec::new(), bytes: 0, written: 0, next_hidden: 0, left_hidden: 0 }
    }

    /// Adds a row. `hidden` is its hidden row id, if it keeps one.
    pub async fn add(
        &mut self,
        values: Row,
        hidden: Option<u64>,
        context: &mut dyn StatementContext,
    ) -> Result<(), SqlError> {
        let table = self.table.clone();
        let key = match table.row_key(&values) {
            Some(key) => key,
            None => {
                let id = match hidden {
                    Some(id) => id,
                    None => self.hidden_id(context).await?,
                };
                key::hidden_row_key(table.id, id)
            }
        };
        let slot = table.row_slot(&values, &key);
        let mut exclusive = Vec::new();
        let mut mutations = vec![Mutation::put(key.clone(), slot, row::encode(&table, &values))];
        if !table.hidden_row_id {
            exclusive.push((IndexId(0), slot, key.clone()));
        }
        for index in table.secondary_indexes() {
            let entry = table.index_entry(index, &values, &key, slot);
            if entry.exclusive {
                exclusive.push((index.id, entry.slot, entry.key.clone()));
            }
            mutations.push(Mutation::put(entry.key, entry.slot, entry.value));
        }
        self.bytes += mutations.iter().map(Mutation::size).sum::<usize>();
        self.page.push(Prepared { row: values, exclusive, mutations });
        if self.page.len() >= PAGE_ROWS || self.bytes >= PAGE_BYTES {
            self.flush(context).await?;
        }
        Ok(())
    }

    async fn hidden_id(&mut self, context: &mut dyn StatementContext) -> Result<u64, SqlError> {
        let counter = hidden_id_counter(self.table.id);
        if self.table.id.is_temporary() {
            return Ok(context.transaction().allocate_ids(counter, 1).await?.first);
        }
        if self.left_hidden == 0 {
            let mut txn = context.begin_internal().await?;
            let range = txn.transaction().allocate_ids(counter, PAGE_ROWS as u64).await?;
            self.next_hidden = range.first;
            self.left_hidden = range.count;
        }
        self.left_hidden -= 1;
        self.next_hidden += 1;
        Ok(self.next_hidden - 1)
    }

    async fn flush(&mut self, context: &mut dyn StatementContext) -> Result<(), SqlError> {
        let page = std::mem::take(&mut self.page);
        self.bytes = 0;
        if page.is_empty() {
            return Ok(());
        }
        if self.table.id.is_temporary() {
            let (written, duplicates) = self.write(&page, context.transaction()).await?;
            self.count(written, duplicates, context);
            return Ok(());
        }
        for attempt in 1.. {
            context.check_killed()?;
            let mut internal = context.begin_internal().await?;
            let (written, duplicates) = self.write(&page, internal.transaction()).await?;
            match internal.commit(None).await {
                Ok(_) => {
                    self.count(written, duplicates, context);
                    return Ok(());
                }
                Err(error) if is_lost(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn count(&mut self, written: u64, duplicates: Vec<SqlError>, context: &mut dyn StatementContext) {
        self.written += written;
        for error in duplicates {
            context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
        }
    }

    /// Writes a page in a transaction: how many of its rows, and what kept the others out.
    async fn write(
        &self,
        page: &[Prepared],
        txn: &mut dyn Transaction,
    ) -> Result<(u64, Vec<SqlError>), SqlError> {
        let places: Vec<(Slot, Key)> =
            page.iter().flat_map(|p| &p.exclusive).map(|(_, slot, key)| (*slot, key.clone())).collect();
        let found = txn.get_many(self.table.id, &places, ReadIntent::Plain).await?;
        let mut taken: BTreeSet<Key> =
            places.into_iter().zip(found).filter(|(_, v)| v.is_some()).map(|((_, key), _)| key).collect();
        let mut written = 0;
        let mut duplicates = Vec::new();
        for prepared in page {
            let clash = prepared.exclusive.iter().find(|(_, _, key)| taken.contains(key));
            if let Some((id, _, _)) = clash {
                let index = self.table.indexes.iter().find(|i| i.id == *id);
                let index = index.ok_or_else(|| SqlError::internal("an index that is not there"))?;
                let error = duplicate_entry(&self.table, index, &prepared.row);
                if !self.ignore {
                    return Err(error);
                }
                duplicates.push(error);
                continue;
            }
            taken.extend(prepared.exclusive.iter().map(|(_, _, key)| key.clone()));
            for mutation in &prepared.mutations {
                txn.write(self.table.id, mutation.clone())?;
            }
            written += 1;
        }
        Ok((written, duplicates))
    }

    /// Writes what is left; answers how many rows there are.
    pub async fn finish(mut self, context: &mut dyn StatementContext) -> Result<u64, SqlError> {
        self.flush(context).await?;
        Ok(self.written)
    }
}

/// Error 1138: NULLs in a column that is to be NOT NULL.
pub fn invalid_null() -> SqlError {
    SqlError::new(ErrorCode::InvalidUseOfNull, "Invalid use of NULL value")
}
