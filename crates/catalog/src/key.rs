//! Every key that a shard stores, and what lies behind it.
//!
//! ```text
//!            ┌──────────┬──────────┬───────────────────────────────┬───────────────┐
//!            │ table 4  │ index 2  │                               │               │
//!            ├──────────┼──────────┼───────────────────────────────┼───────────────┤
//!  row       │ table    │ 0000     │ primary key columns           │               │ → row (see `row`)
//!  row       │ table    │ 0000     │ hidden row id                 │               │ → row
//!  entry     │ table    │ index    │ indexed columns               │ primary key   │ → pointer to the row
//!  unique    │ table    │ index    │ indexed columns               │ (if any NULL) │ → pointer to the row
//!  existence │ table    │ 8000     │ primary key columns           │               │   never has a value
//!            └──────────┴──────────┴───────────────────────────────┴───────────────┘
//! ```
//!
//! All integers are big-endian and every column is encoded by [`assize_values::key`] behind a mark for NULL,
//! so comparing two keys of one index compares their columns. A column's encoding does not depend on its
//! width or nullability, so equal values of a parent's and a child's column are equal bytes and share a slot.
//!
//! | key | slot |
//! |---|---|
//! | row, non-unique entry, existence | of the row: the hash of its sharding column, or of its hidden row id |
//! | unique entry | of the indexed columns: the entry is global, found without knowing the row |
//!
//! A unique entry with a NULL in it does not exclude another of the same values (NULLs differ), so the primary
//! key is part of its key. Existence keys are only ever written as data-less locks, by inserts, deletes and
//! changes of the primary key of tables that foreign keys refer to; checks of foreign keys read them, so that
//! a child's insert does not conflict with updates of its parent's other columns.

use crate::{Column, Index, IndexPart, RowError, Table, row};
use assize_codec::{Put, Reader, order};
use assize_model::{IndexId, Key, KeyRange, Slot, TableId};
use assize_values::key::encode_key;
use assize_values::{SqlType, Value};
use bytes::Bytes;

/// Bytes of table and index in front of every key.
pub const PREFIX_LEN: usize = 6;
/// The index number under which existence keys lie; indexes have lower ones.
const EXISTENCE: u16 = 0x8000;
/// Version of an entry's value.
const POINTER_VERSION: u8 = 1;

/// A write of one index entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Where it lives.
    pub slot: Slot,
    /// Its value, which leads to the row.
    pub value: Bytes,
    /// Whether another row may not have this key: a unique index, and no NULL among its columns.
    pub exclusive: bool,
}

/// What all keys of one index of one table begin with.
pub fn index_prefix(table: TableId, index: IndexId) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    order::put_u32(&mut out, table.0);
    order::put_u16(&mut out, index.0);
    out
}

/// All keys of one index of one table.
pub fn index_range(table: TableId, index: IndexId) -> KeyRange {
    KeyRange::prefix(&index_prefix(table, index))
}

/// Everything that belongs to a table: rows, entries, existence keys.
pub fn table_range(table: TableId) -> KeyRange {
    KeyRange::prefix(&table.0.to_be_bytes())
}

/// The table whose key this is; `None` if it is too short to be one.
pub fn table_of(key: &Key) -> Option<TableId> {
    key.0.first_chunk::<4>().map(|b| TableId(u32::from_be_bytes(*b)))
}

/// The index whose key this is; `None` for existence keys and what is no key.
pub fn index_of(key: &Key) -> Option<IndexId> {
    let index = u16::from_be_bytes(*key.0.get(4..)?.first_chunk::<2>()?);
    (index != EXISTENCE).then_some(IndexId(index))
}

/// Appends one column of an index: the mark for NULL and the value, cut to the part's prefix length, inverted
/// if the part is descending.
pub fn put_part(out: &mut Vec<u8>, value: &Value, sql_type: &SqlType, part: &IndexPart) {
    encode_key(value, sql_type, part.descending, part.prefix, out);
}

/// Appends a whole value in ascending order, NULL marked: the encoding that slots are the hash of.
pub fn put_value(out: &mut Vec<u8>, value: &Value, sql_type: &SqlType) {
    encode_key(value, sql_type, false, None, out);
}

/// The slot of a row whose sharding column, of this type, has this value.
pub fn slot_of_value(value: &Value, sql_type: &SqlType) -> Slot {
    let mut out = Vec::with_capacity(16);
    put_value(&mut out, value, sql_type);
    Slot::of(&out)
}

/// The key of a row with this hidden id.
pub fn hidden_row_key(table: TableId, id: u64) -> Key {
    let mut out = index_prefix(table, IndexId(0));
    order::put_u64(&mut out, id);
    Key::new(out)
}

/// Where hidden row ids of a table are counted. A table of its own, so that they leave no gaps in the
/// AUTO_INCREMENT values of a table that has both; table ids do not reach the top bit.
pub fn hidden_id_counter(table: TableId) -> TableId {
    TableId(table.0 | 1 << 31)
}

/// The existence key that belongs to a row key.
pub fn existence_key(row_key: &Key) -> Key {
    let mut out = row_key.0.to_vec();
    out[4..PREFIX_LEN].copy_from_slice(&EXISTENCE.to_be_bytes());
    Key::new(out)
}

/// The row key that an existence key belongs to; `None` if it is none.
pub fn row_of_existence(key: &Key) -> Option<Key> {
    if *key.0.get(4..PREFIX_LEN)? != EXISTENCE.to_be_bytes() {
        return None;
    }
    let mut out = key.0.to_vec();
    out[4..PREFIX_LEN].fill(0);
    Some(Key::new(out))
}

impl Table {
    /// What the keys begin with that have these values in the first columns of an index. `values` may be
    /// fewer than the index has columns. They must be of the columns' types.
    pub fn index_seek(&self, index: &Index, values: &[Value]) -> Vec<u8> {
        let mut out = index_prefix(self.id, index.id);
        for (part, value) in index.parts.iter().zip(values) {
            put_part(&mut out, value, &self.indexed_column(part).sql_type, part);
        }
        out
    }

    /// The column of an index part. Tables are checked when they are decoded or built: every part has one.
    pub fn indexed_column(&self, part: &IndexPart) -> &Column {
        self.column_by_id(part.column).expect("an index part names a column of its table")
    }

    /// The key of a row, given all of its values in the order of the columns. `None` for a table without
    /// primary key, whose rows are keyed by [`hidden_row_key`].
    pub fn row_key(&self, row: &[Value]) -> Option<Key> {
        if self.hidden_row_id {
            return None;
        }
        let mut out = index_prefix(self.id, IndexId(0));
        self.put_parts(&mut out, &self.indexes[0], row);
        Some(Key::new(out))
    }

    /// The key of the row with these primary key values.
    pub fn row_key_of(&self, primary: &[Value]) -> Key {
        Key::new(self.index_seek(&self.indexes[0], primary))
    }

    /// The slot of a row. `key` is its key, by which rows without a sharding column are placed.
    pub fn row_slot(&self, row: &[Value], key: &Key) -> Slot {
        match self.sharding_column {
            Some(ordinal) => slot_of_value(&row[ordinal], &self.columns[ordinal].sql_type),
            None => Slot::of(&key.0[PREFIX_LEN..]),
        }
    }

    /// The slot of the row with these primary key values, if they tell it: the sharding column is among the
    /// primary key's columns, which it is unless the table has a hidden row id.
    pub fn slot_of_primary(&self, primary: &[Value]) -> Option<Slot> {
        let sharding = self.sharding_column?;
        let id = self.columns[sharding].id;
        let at = self.indexes[0].parts.iter().position(|part| part.column == id)?;
        Some(slot_of_value(primary.get(at)?, &self.columns[sharding].sql_type))
    }

    /// The entry of a row in a secondary index.
    pub fn index_entry(&self, index: &Index, row: &[Value], row_key: &Key, row_slot: Slot) -> Entry {
        let mut out = index_prefix(self.id, index.id);
        self.put_parts(&mut out, index, row);
        let columns_end = out.len();
        let primary = &row_key.0[PREFIX_LEN..];
        let has_null = index.parts.iter().any(|part| self.value_of(part, row).is_null());
        let exclusive = index.unique && !has_null;
        let slot = if index.unique { Slot::of(&out[PREFIX_LEN..]) } else { row_slot };
        let mut value = Vec::with_capacity(12 + if exclusive { primary.len() } else { 0 });
        value.put_u8(POINTER_VERSION);
        value.put_u16(row_slot.0);
        if exclusive {
            value.put_varint(0);
            value.put_slice(primary);
        } else {
            value.put_varint(columns_end as u64);
            out.extend_from_slice(primary);
        }
        Entry { key: Key::new(out), slot, value: value.into(), exclusive }
    }

    /// The one key and slot at which a unique index holds these values, none of which may be NULL.
    pub fn unique_key(&self, index: &Index, values: &[Value]) -> (Slot, Key) {
        let key = self.index_seek(index, values);
        (Slot::of(&key[PREFIX_LEN..]), Key::new(key))
    }

    fn put_parts(&self, out: &mut Vec<u8>, index: &Index, row: &[Value]) {
        for part in &index.parts {
            put_part(out, self.value_of(part, row), &self.indexed_column(part).sql_type, part);
        }
    }

    /// The value of an index part within a row.
    pub fn value_of<'r>(&self, part: &IndexPart, row: &'r [Value]) -> &'r Value {
        let ordinal = self.ordinal_by_id(part.column).expect("an index part names a column of its table");
        &row[ordinal]
    }
}

/// The row that an index entry leads to: its slot and its key.
pub fn row_of_entry(key: &Key, value: &[u8]) -> Result<(Slot, Key), RowError> {
    let mut r = Reader::new(value);
    let version = r.u8()?;
    if version != POINTER_VERSION {
        return Err(RowError::Version { found: version, newest: POINTER_VERSION });
    }
    let slot = Slot(r.u16()?);
    let at = r.varint()?;
    let primary = if at == 0 {
        r.rest()
    } else {
        usize::try_from(at)
            .ok()
            .filter(|at| *at >= PREFIX_LEN)
            .and_then(|at| key.0.get(at..))
            .ok_or(RowError::Pointer { at })?
    };
    let table = key.0.get(..4).ok_or(RowError::Pointer { at })?;
    let mut out = Vec::with_capacity(PREFIX_LEN + primary.len());
    out.extend_from_slice(table);
    order::put_u16(&mut out, 0);
    out.extend_from_slice(primary);
    Ok((slot, Key::new(out)))
}

/// Reads the whole row behind a key's value; see [`row`].
pub fn decode_row(table: &Table, value: &Bytes) -> Result<Vec<Value>, RowError> {
    row::RowReader::new(value)?.row(table)
}

/// The slot at which a stored key of a table lives, found from the key and its value alone: what it takes to
/// delete everything that a table left behind.
pub fn slot_of_stored(table: &Table, key: &Key, value: &Bytes) -> Result<Slot, RowError> {
    let primary = |ordinal: usize| -> Result<Slot, RowError> {
        let value = row::RowReader::new(value)?.value(table, ordinal)?;
        Ok(slot_of_value(&value, &table.columns[ordinal].sql_type))
    };
    match index_of(key) {
        Some(IndexId(0)) => match table.sharding_column {
            Some(ordinal) => primary(ordinal),
            None => Ok(Slot::of(&key.0[PREFIX_LEN..])),
        },
        Some(id) => {
            let unique = table.indexes.iter().any(|i| i.id == id && i.unique);
            let mut r = Reader::new(value);
            let version = r.u8()?;
            if version != POINTER_VERSION {
                return Err(RowError::Version { found: version, newest: POINTER_VERSION });
            }
            let row_slot = Slot(r.u16()?);
            let at = r.varint()?;
            let end = if at == 0 { key.0.len() } else { at as usize };
            match key.0.get(PREFIX_LEN..end) {
                Some(columns) if unique => Ok(Slot::of(columns)),
                Some(_) => Ok(row_slot),
                None => Err(RowError::Pointer { at }),
            }
        }
        None => Err(RowError::Pointer { at: 4 }),
    }
}

#[cfg(test)]
mod tests;
