//! The rows of a session's temporary tables.
//!
//! ```text
//!   statement ── write ──▶ WriteBuffer ── commit ──▶ TemporaryRows   here, in memory; no log, no shard
//!             ◀── get, scan: both, merged ──┘
//! ```
//!
//! A transaction buffers what it writes to temporary tables with everything else that it writes, so that savepoints, failed
//! statements and ROLLBACK undo both alike. At its commit those writes come here instead of into the footprint. Nobody else
//! can have changed these rows meanwhile, so there is nothing to check, and one version of a row is enough.

use crate::buffer::Buffered;
use crate::privilege::{aliased_tables_of, tables_of};
use assize_catalog::TemporaryTables;
use assize_catalog::key::hidden_id_counter;
use assize_model::{ErrorCode, Key, KeyRange, MutationOp, SqlError, TableId};
use assize_ports::{Direction, IdRange, Rows, ScanRequest};
use assize_sql::sqlparser::ast::TableWithJoins;
use assize_sql::{Statement, TableName};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a row costs besides its bytes.
const OVERHEAD_PER_ROW: usize = 64;

/// The rows of a session's temporary tables, as its transactions have committed them.
#[derive(Debug)]
pub(crate) struct TemporaryRows {
    stored: Mutex<Stored>,
    bytes_max: usize,
    /// Bytes held by all sessions of the process.
    in_use: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Stored {
    tables: BTreeMap<TableId, TableRows>,
    /// Ids given out so far.
    given: u32,
    bytes: usize,
}

#[derive(Debug)]
struct TableRows {
    name: Arc<str>,
    rows: BTreeMap<Key, Bytes>,
    bytes: usize,
    /// The next value of AUTO_INCREMENT.
    next_id: u64,
    /// The next hidden row id.
    next_hidden: u64,
}

fn cost(key: &Key, value: &Bytes) -> usize {
    key.0.len() + value.len() + OVERHEAD_PER_ROW
}

impl Default for TemporaryRows {
    fn default() -> Self {
        TemporaryRows::new(0, Arc::default())
    }
}

impl TemporaryRows {
    /// No rows yet, and so many bytes of them at most.
    pub(crate) fn new(bytes_max: usize, in_use: Arc<AtomicUsize>) -> Self {
        TemporaryRows { stored: Mutex::default(), bytes_max, in_use }
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id for another table.
    pub(crate) fn begin_table(&self, name: &str) -> TableId {
        let mut stored = self.lock();
        // Numbers begin anew at some time; those that live are passed over.
        let id = loop {
            stored.given = (stored.given + 1) % TableId::TEMPORARY_MAX;
            let id = TableId::temporary(stored.given);
            if !stored.tables.contains_key(&id) {
                break id;
            }
        };
        let rows =
            TableRows { name: name.into(), rows: BTreeMap::new(), bytes: 0, next_id: 1, next_hidden: 1 };
        stored.tables.insert(id, rows);
        id
    }

    /// A table is gone, with its rows.
    pub(crate) fn drop_table(&self, id: TableId) {
        let mut stored = self.lock();
        if let Some(gone) = stored.tables.remove(&id) {
            stored.bytes -= gone.bytes;
            self.in_use.fetch_sub(gone.bytes, Ordering::Relaxed);
        }
    }

    /// The committed value of a key.
    pub(crate) fn get(&self, table: TableId, key: &Key) -> Option<Bytes> {
        self.lock().tables.get(&table)?.rows.get(key).cloned()
    }

    /// A page of committed rows, merged with the transaction's `own`, which are `None` where it has deleted the row.
    pub(crate) fn page<'k>(
        &self,
        request: &ScanRequest,
        own: impl DoubleEndedIterator<Item = (&'k Key, Option<Bytes>)>,
    ) -> Rows {
        let ScanRequest { table, range, direction, limit, .. } = request;
        let stored = self.lock();
        let rows = stored.tables.get(table).filter(|_| !range.is_empty());
        let committed =
            rows.into_iter().flat_map(|table| table.rows.range(range.start.clone()..range.end.clone()));
        let rows = match direction {
            Direction::Forward => merged(committed.peekable(), own.peekable(), *limit, |a, b| a < b),
            Direction::Reverse => {
                merged(committed.rev().peekable(), own.rev().peekable(), *limit, |a, b| a > b)
            }
        };
        let full = rows.len() >= *limit;
        let rest = rows.last().filter(|_| full).map(|(last, _)| match direction {
            Direction::Forward => KeyRange::new(last.successor(), range.end.clone()),
            Direction::Reverse => KeyRange::new(range.start.clone(), last.clone()),
        });
        Rows { rows, rest: rest.filter(|rest| !rest.is_empty()) }
    }

    /// Error 1114 if so many bytes that wait for a commit are too many beside what is here.
    pub(crate) fn check_room(&self, table: TableId, waiting: usize) -> Result<(), SqlError> {
        let stored = self.lock();
        if stored.bytes.saturating_add(waiting) <= self.bytes_max {
            return Ok(());
        }
        let name = stored.tables.get(&table).map_or("", |table| &table.name);
        Err(SqlError::new(ErrorCode::TableFull, format!("The table '{name}' is full")))
    }

    /// A transaction has committed these writes. Those to tables that are gone go with them.
    pub(crate) fn apply(&self, writes: impl Iterator<Item = (Key, Buffered)>) {
        let mut stored = self.lock();
        let before = stored.bytes;
        for (key, write) in writes {
            let Stored { tables, bytes, .. } = &mut *stored;
            let Some(table) = tables.get_mut(&write.table) else { continue };
            let (added, replaced) = match write.op {
                MutationOp::Put(value) => (cost(&key, &value), table.rows.insert(key.clone(), value)),
                MutationOp::Delete => (0, table.rows.remove(&key)),
                MutationOp::Lock => continue,
            };
            let freed = replaced.map_or(0, |value| cost(&key, &value));
            table.bytes = table.bytes + added - freed;
            *bytes = *bytes + added - freed;
        }
        self.in_use.fetch_add(stored.bytes, Ordering::Relaxed);
        self.in_use.fetch_sub(before, Ordering::Relaxed);
    }

    /// Changes the counter that this id names: the AUTO_INCREMENT of a table, or its hidden row ids.
    fn count<T>(&self, counter: TableId, change: impl FnOnce(&mut u64) -> T) -> Option<T> {
        let mut stored = self.lock();
        if let Some(table) = stored.tables.get_mut(&counter) {
            return Some(change(&mut table.next_id));
        }
        let (_, table) = stored.tables.iter_mut().find(|(id, _)| hidden_id_counter(**id) == counter)?;
        Some(change(&mut table.next_hidden))
    }

    /// Takes values of a counter. What is rolled back is not given out again.
    pub(crate) fn allocate_ids(&self, counter: TableId, count: u64, increment: u64, offset: u64) -> IdRange {
        let first = self.count(counter, |next| {
            let first = first_of(*next, increment, offset);
            *next = first.saturating_add(increment.saturating_mul(count.max(1) - 1)).saturating_add(1);
            first
        });
        IdRange { first: first.unwrap_or(1), count, increment }
    }

    /// A value was stored: the counter ends above it.
    pub(crate) fn note_explicit_id(&self, counter: TableId, id: u64) {
        self.count(counter, |next| *next = (*next).max(id.saturating_add(1)));
    }

    /// The next value of a counter.
    pub(crate) fn next_id(&self, counter: TableId) -> u64 {
        self.count(counter, |next| *next).unwrap_or(1)
    }
}

impl Drop for TemporaryRows {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.in_use.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The least value from `next` on that is `offset` and some whole number of `increment`s.
fn first_of(next: u64, increment: u64, offset: u64) -> u64 {
    // An offset beyond the increment counts for nothing, as in MySQL.
    let (increment, offset) = (increment.max(1), if offset > increment { 1 } else { offset.max(1) });
    let steps = next.saturating_sub(offset).div_ceil(increment);
    offset.saturating_add(steps.saturating_mul(increment))
}

/// Rows of both in the order of the scan, at most `limit`; on a tie the transaction's own counts.
fn merged<'a, 'k>(
    mut committed: Peekable<impl Iterator<Item = (&'a Key, &'a Bytes)>>,
    mut own: Peekable<impl Iterator<Item = (&'k Key, Option<Bytes>)>>,
    limit: usize,
    before: impl Fn(&Key, &Key) -> bool,
) -> Vec<(Key, Bytes)> {
    let mut rows = Vec::new();
    while rows.len() < limit {
        let own_is_next = match (committed.peek(), own.peek()) {
            (None, None) => break,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((theirs, _)), Some((ours, _))) => !before(theirs, ours),
        };
        if !own_is_next {
            rows.extend(committed.next().map(|(key, value)| (key.clone(), value.clone())));
            continue;
        }
        let Some((key, value)) = own.next() else { break };
        committed.next_if(|(theirs, _)| *theirs == key);
        rows.extend(value.map(|value| (key.clone(), value)));
    }
    rows
}

/// Whether a statement names a temporary table among those that it changes, so that a READ ONLY transaction may run it. Each
/// row that it writes is looked at again.
pub(crate) fn may_change_one(
    statement: &Statement,
    database: Option<&str>,
    temporary: &TemporaryTables,
) -> bool {
    let is_one = |table: &TableName| {
        let database = table.database.as_deref().or(database);
        database.is_some_and(|database| temporary.find(database, &table.name).is_some())
    };
    let any = |tables: &[TableWithJoins]| tables.iter().flat_map(tables_of).any(|table| is_one(&table));
    match statement {
        _ if temporary.is_empty() => false,
        Statement::Insert(insert) => is_one(&insert.table),
        Statement::LoadData(load) => is_one(&load.table),
        Statement::Update(update) => any(&update.tables),
        Statement::Delete(delete) if delete.targets.is_empty() => any(&delete.from),
        Statement::Delete(delete) => {
            let from: Vec<_> = delete.from.iter().flat_map(aliased_tables_of).collect();
            let behind = |target: &TableName| {
                let named = from.iter().find(|(alias, table)| {
                    alias.as_deref().map_or(table.name == target.name, |alias| alias == target.name)
                });
                named.map_or(target.clone(), |(_, table)| table.clone())
            };
            delete.targets.iter().any(|target| is_one(&behind(target)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::WriteBuffer;
    use assize_model::{Mutation, Slot, Timestamp};
    use assize_ports::{ReadIntent, ScanShards};

    fn rows(bytes_max: usize) -> (TemporaryRows, TableId, Arc<AtomicUsize>) {
        let in_use = Arc::new(AtomicUsize::new(0));
        let rows = TemporaryRows::new(bytes_max, in_use.clone());
        let table = rows.begin_table("t");
        (rows, table, in_use)
    }

    fn key(table: TableId, name: &str) -> Key {
        let mut bytes = table.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        Key::new(bytes)
    }

    fn commit(rows: &TemporaryRows, table: TableId, names: &[&str]) {
        let mut buffer = WriteBuffer::default();
        for name in names {
            let mutation = match name.strip_prefix('-') {
                Some(gone) => Mutation::delete(key(table, gone), Slot(0)),
                None => Mutation::put(key(table, name), Slot(0), name.as_bytes().to_vec()),
            };
            buffer.write(table, mutation, Timestamp(1));
        }
        rows.apply(buffer.take_temporary());
    }

    fn page(
        rows: &TemporaryRows,
        range: KeyRange,
        direction: Direction,
        own: &[(Key, Option<Bytes>)],
    ) -> (Vec<String>, Option<KeyRange>) {
        let table = TableId(u32::from_be_bytes(range.start.0[..4].try_into().unwrap()));
        let (shards, intent) = (ScanShards::All, ReadIntent::Plain);
        let request = ScanRequest { table, range, shards, direction, limit: 2, intent };
        let page = rows.page(&request, own.iter().map(|(key, value)| (key, value.clone())));
        let names = page.rows.iter().map(|(key, _)| String::from_utf8(key.0[4..].to_vec()).unwrap());
        (names.collect(), page.rest)
    }

    #[test]
    fn a_scan_merges_committed_rows_and_own_ones_both_ways() {
        let (rows, table, _) = rows(10_000);
        commit(&rows, table, &["a", "c", "e", "g"]);
        let own = [
            (key(table, "b"), Some(Bytes::from_static(b"b"))),
            (key(table, "c"), None),
            (key(table, "e"), Some(Bytes::from_static(b"E"))),
        ];
        for (direction, expected) in [(Direction::Forward, "a b e g"), (Direction::Reverse, "g e b a")] {
            let mut found = Vec::new();
            let mut rest = Some(KeyRange::prefix(&table.0.to_be_bytes()));
            while let Some(range) = rest {
                let within: Vec<_> = own.iter().filter(|(key, _)| range.contains(key)).cloned().collect();
                let names;
                (names, rest) = page(&rows, range, direction, &within);
                assert!(names.len() <= 2);
                found.extend(names);
            }
            assert_eq!(found.join(" "), expected);
        }
    }

    #[test]
    fn what_tables_hold_is_counted_and_freed() {
        let (rows, table, in_use) = rows(1000);
        commit(&rows, table, &["a", "b", "c"]);
        let held = in_use.load(Ordering::Relaxed);
        commit(&rows, table, &["-b", "c"]);
        assert_eq!(in_use.load(Ordering::Relaxed), held / 3 * 2);
        assert!(rows.check_room(table, 1000 - held).is_ok());
        let full = rows.check_room(table, 1000).unwrap_err();
        assert_eq!((full.code, &*full.message), (ErrorCode::TableFull, "The table 't' is full"));
        let other = rows.begin_table("other");
        commit(&rows, other, &["x"]);
        rows.drop_table(table);
        commit(&rows, table, &["late"]);
        assert_eq!(in_use.load(Ordering::Relaxed), held / 3);
        assert_eq!(rows.get(table, &key(table, "late")), None);
        drop(rows);
        assert_eq!(in_use.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn counters_step_by_increment_and_offset() {
        let (rows, table, _) = rows(1000);
        assert_eq!(rows.allocate_ids(table, 2, 1, 1).first, 1);
        assert_eq!(rows.next_id(table), 3);
        rows.note_explicit_id(table, 9);
        assert_eq!(rows.allocate_ids(table, 1, 1, 1).first, 10);
        assert_eq!(rows.allocate_ids(table, 2, 5, 2).first, 12);
        assert_eq!(rows.allocate_ids(table, 1, 5, 2).first, 22);
        assert_eq!(rows.allocate_ids(hidden_id_counter(table), 1, 1, 1).first, 1);
        assert_eq!(first_of(1, 10, 3), 3);
        assert_eq!(first_of(u64::MAX, 10, 3), u64::MAX);
        assert_ne!(rows.begin_table("t"), table);
    }
}
