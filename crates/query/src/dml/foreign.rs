//! Changing rows of foreign tables: at once, on their server, within the transaction's branch there.
//!
//! ```text
//!   Inserter ──complete rows──▶ NewRows ──▶ INSERT … VALUES (…), (…)
//!   UPDATE ───old and new row─▶ Changes ──▶ UPDATE … SET … WHERE key IN (…)
//!   DELETE ───old row─────────▶ Changes ──▶ DELETE … WHERE key IN (…)
//! ```
//!
//! Rows that are changed have been read `FOR UPDATE`, so that they still are what new values were computed from. Several rows
//! go in one statement where that is the same as one after the other. Constraints, triggers and generated ids are the
//! server's; an error there fails the statement, which the mark at its beginning undoes.

use crate::expr::{Row, Runtime, exact_key};
use crate::foreign::{self, identity, literal, server_of, table_name, tuple};
use crate::plan::RowsTable;
use crate::show::quote::quote_name;
use assize_catalog::{Server, Table};
use assize_model::{Key, SqlError};
use assize_ports::{ForeignResult, ForeignStatement};
use assize_values::{SqlType, Value};
use std::sync::Arc;

use super::writer::Stored;

/// Rows of one statement at most.
const ROWS_MAX: usize = 1000;
/// Bytes of one statement, roughly: it is sent before it grows beyond.
const BYTES_MAX: usize = 1 << 20;

/// Runs a statement that changes something, and passes its warnings on.
async fn change(server: &Arc<Server>, sql: &str, rt: &mut Runtime<'_>) -> Result<ForeignResult, SqlError> {
    rt.context.check_killed()?;
    let statement = ForeignStatement { sql, types: &[], writes: true };
    let done = rt.context.transaction().foreign(server, statement).await?;
    for warning in &done.warnings {
        rt.context.eval().push_warning(warning.level, warning.code, warning.message.clone());
    }
    Ok(done)
}

/// Columns of a table that are given values: not those that the server computes.
fn given(table: &Table) -> Vec<usize> {
    (0..table.columns.len()).filter(|o| table.columns[*o].generated.is_none()).collect()
}

fn names(table: &Table, ordinals: &[usize]) -> Vec<String> {
    ordinals.iter().map(|o| quote_name(&table.columns[*o].name)).collect()
}

fn literals(table: &Table, ordinals: &[usize], row: &[Value]) -> Vec<String> {
    ordinals.iter().map(|o| literal(&row[*o], &table.columns[*o].sql_type)).collect()
}

/// Complete rows on their way to a foreign table.
pub(super) struct NewRows {
    table: Arc<Table>,
    server: Arc<Server>,
    verb: &'static str,
    columns: Vec<usize>,
    rows: Vec<String>,
    bytes: usize,
    /// Whether the server makes an id for one of them.
    generates: bool,
}

/// What sending rows came to.
#[derive(Default)]
pub(super) struct SentRows {
    /// Rows that were sent.
    pub(super) rows: u64,
    /// Rows that the server inserted or deleted.
    pub(super) affected: u64,
    /// The first id that it made.
    pub(super) insert_id: u64,
}

impl NewRows {
    /// Of an INSERT into this table; `None` if its rows are stored here.
    pub(super) fn of(
        table: &Arc<Table>,
        replace: bool,
        ignore: bool,
        rt: &mut Runtime<'_>,
    ) -> Result<Option<NewRows>, SqlError> {
        if table.foreign.is_none() {
            return Ok(None);
        }
        let verb = match (replace, ignore) {
            (true, _) => "REPLACE",
            (false, true) => "INSERT IGNORE",
            (false, false) => "INSERT",
        };
        let server = server_of(table, &rt.context.catalog())?;
        let columns = given(table);
        let (table, rows) = (table.clone(), Vec::new());
        Ok(Some(NewRows { table, server, verb, columns, rows, bytes: 0, generates: false }))
    }

    /// Adds a row; whether it is time to send them.
    pub(super) fn add(&mut self, row: &[Value]) -> bool {
        let values = literals(&self.table, &self.columns, row);
        // NULL makes an id everywhere; DEFAULT is 0 to MariaDB where zeros are stored as they are.
        self.generates |= self.table.auto_increment().is_some_and(|ordinal| row[ordinal].is_null());
        let text = format!("({})", values.join(", "));
        self.bytes += text.len() + 2;
        self.rows.push(text);
        self.rows.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    /// Sends the row that waits, of an INSERT that does something else about rows that are there: IGNORE is not for the server.
    pub(super) async fn send_one(&mut self, rt: &mut Runtime<'_>) -> Result<SentRows, SqlError> {
        let verb = std::mem::replace(&mut self.verb, "INSERT");
        let sent = self.send(rt).await;
        self.verb = verb;
        sent
    }

    /// Sends the rows that wait.
    pub(super) async fn send(&mut self, rt: &mut Runtime<'_>) -> Result<SentRows, SqlError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let generates = std::mem::take(&mut self.generates);
        if rows.is_empty() {
            return Ok(SentRows::default());
        }
        let into = table_name(&self.table, &self.server);
        let sql = foreign::insert(self.verb, &into, &names(&self.table, &self.columns), &rows);
        let done = change(&self.server, &sql, rt).await?;
        let insert_id = if generates { done.insert_id } else { 0 };
        Ok(SentRows { rows: rows.len() as u64, affected: done.affected, insert_id })
    }

    /// The row that holds a unique key of a new one, locked: that of the first such index.
    pub(super) async fn holder(
        &self,
        row: &[Value],
        rt: &mut Runtime<'_>,
    ) -> Result<Option<Stored>, SqlError> {
        let table = &self.table;
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let types: Vec<SqlType> = table.columns.iter().map(|c| c.sql_type.clone()).collect();
        for index in table.indexes.iter().filter(|index| index.unique) {
            let parts = index.parts.iter().map(|part| {
                let ordinal = table.ordinal_by_id(part.column).filter(|_| part.prefix.is_none())?;
                (!row[ordinal].is_null()).then_some(ordinal)
            });
            let Some(parts) = parts.collect::<Option<Vec<usize>>>().filter(|parts| !parts.is_empty()) else {
                continue;
            };
            let equal = names(table, &parts).into_iter().zip(literals(table, &parts, row));
            let select = foreign::Select {
                columns: names(table, &all),
                from: table_name(table, &self.server),
                conditions: equal.map(|(name, value)| format!("{name} = {value}")).collect(),
                page: None,
                intent: assize_ports::ReadIntent::Update(assize_ports::LockMode::Wait),
            };
            let sql = select.text();
            let statement = ForeignStatement { sql: &sql, types: &types, writes: false };
            let found = rt.context.transaction().foreign(&self.server, statement).await?;
            if let Some(found) = found.rows.into_iter().find(|found| found.len() == types.len()) {
                let Some(key) = identity(table) else { return Err(no_identity(table)) };
                return Ok(Some(Stored { key: key_of(table, &key, &found), row: found }));
            }
        }
        Ok(None)
    }
}

/// Error 1235: rows that cannot be told from each other cannot be changed one by one.
fn no_identity(table: &Table) -> SqlError {
    SqlError::not_supported(format!(
        "UPDATE and DELETE of the foreign table {}, which has no primary key and no unique key without NULL",
        table.name
    ))
}

/// What a row is known by within a statement.
fn key_of(table: &Table, key: &[usize], row: &[Value]) -> Key {
    let values: Vec<Value> = key.iter().map(|o| row[*o].clone()).collect();
    let mut bytes = table.id.0.to_be_bytes().to_vec();
    bytes.extend(exact_key(&values));
    Key(bytes.into())
}

/// The row of a foreign table within a joined row; `None` if an outer join found none.
pub(super) fn row_there(rows_table: &RowsTable, table: &Table, joined: &[Value]) -> Option<Stored> {
    let key = identity(table)?;
    let row: Row = rows_table.slots.iter().map(|slot| joined.get(*slot).cloned()).collect::<Option<Row>>()?;
    if key.iter().any(|ordinal| row[*ordinal].is_null()) {
        return None;
    }
    Some(Stored { key: key_of(table, &key, &row), row })
}

/// What is done to rows.
#[derive(Clone, PartialEq)]
enum Change {
    /// They get these values: the text behind SET.
    Set(String),
    Delete,
}

/// Changes of rows of one foreign table, in their order; neighbours that are alike go together.
pub(super) struct Changes {
    table: Arc<Table>,
    server: Arc<Server>,
    key: Vec<usize>,
    /// Each row by itself, so that an error is known to be its own: IGNORE.
    alone: bool,
    pending: Option<(Change, Vec<String>)>,
    bytes: usize,
}

impl Changes {
    /// Of a table; `None` if its rows are stored here. Error 1235 if its rows cannot be told from each other.
    pub(super) fn of(
        table: &Arc<Table>,
        alone: bool,
        rt: &mut Runtime<'_>,
    ) -> Result<Option<Changes>, SqlError> {
        if table.foreign.is_none() {
            return Ok(None);
        }
        let key = identity(table).ok_or_else(|| no_identity(table))?;
        let server = server_of(table, &rt.context.catalog())?;
        Ok(Some(Changes { table: table.clone(), server, key, alone, pending: None, bytes: 0 }))
    }

    /// A row gets other values.
    pub(super) async fn update(
        &mut self,
        old: &[Value],
        new: &[Value],
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let changed: Vec<usize> = given(&self.table).into_iter().filter(|o| old[*o] != new[*o]).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let values = names(&self.table, &changed).into_iter().zip(literals(&self.table, &changed, new));
        let set: Vec<String> = values.map(|(name, value)| format!("{name} = {value}")).collect();
        self.add(Change::Set(set.join(", ")), old, rt).await
    }

    /// A row goes.
    pub(super) async fn delete(&mut self, old: &[Value], rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        self.add(Change::Delete, old, rt).await
    }

    async fn add(&mut self, change: Change, old: &[Value], rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        if self.pending.as_ref().is_some_and(|(pending, _)| *pending != change) {
            self.flush(rt).await?;
        }
        let key = tuple(&literals(&self.table, &self.key, old));
        self.bytes += key.len() + 2;
        let (_, keys) = self.pending.get_or_insert_with(|| (change, Vec::new()));
        keys.push(key);
        if self.alone || keys.len() >= ROWS_MAX || self.bytes >= BYTES_MAX {
            self.flush(rt).await?;
        }
        Ok(())
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        self.bytes = 0;
        let Some((what, keys)) = self.pending.take() else { return Ok(()) };
        let into = table_name(&self.table, &self.server);
        let columns = names(&self.table, &self.key);
        let sql = match what {
            Change::Set(set) => foreign::update(&into, &set, &columns, &keys),
            Change::Delete => foreign::delete(&into, &columns, &keys),
        };
        let done = change(&self.server, &sql, rt).await?;
        if done.affected > keys.len() as u64 {
            return Err(SqlError::not_supported(format!(
                "a foreign table whose key is not unique on its server: {} by ({})",
                self.table.name,
                columns.join(", ")
            )));
        }
        Ok(())
    }
}
