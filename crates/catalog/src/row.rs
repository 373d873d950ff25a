//! A stored row: the values of all its columns, by column id.
//!
//! ```text
//!  ┌─────────┬───────┬─────────┬───────────────┬─────────────┬──────────────────┬───────────────┐
//!  │ version │ flags │ count n │ column ids    │ NULL bitmap │ end offsets      │ values        │
//!  │       1 │     1 │  varint │ n varints,    │    ⌈n/8⌉    │ n × 2 or 4       │               │
//!  │         │       │         │ unless DENSE  │             │                  │               │
//!  └─────────┴───────┴─────────┴───────────────┴─────────────┴──────────────────┴───────────────┘
//!    flags: 1 = DENSE, the ids are 0, 1 … n-1 · 2 = WIDE, offsets are 4 bytes
//! ```
//!
//! A row says nothing of types: a table's definition does. Column ids make ALTER TABLE instant where values
//! do not change: a column that a row lacks has the column's `added_value`, one that the table lacks is
//! skipped. Key columns are stored too, because a key holds collation weights rather than text. Offsets let
//! [`RowReader`] find any column without decoding the ones before it.

use crate::Table;
use assize_codec::{DecodeError, Put, Reader};
use assize_values::{SqlType, Value, stored};
use bytes::Bytes;

const VERSION: u8 = 1;
const DENSE: u8 = 1;
const WIDE: u8 = 2;

/// Stored bytes that are not a row or an index entry of this table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// The bytes do not add up.
    #[error("stored row: {0}")]
    Decode(#[from] DecodeError),
    /// Written by a newer program.
    #[error("stored row has version {found}, the newest known is {newest}")]
    Version {
        /// The row's version.
        found: u8,
        /// The newest that can be read.
        newest: u8,
    },
    /// An index entry that leads nowhere.
    #[error("index entry points at byte {at} of its key")]
    Pointer {
        /// Where it points.
        at: u64,
    },
    /// Offsets that run backwards or past the end.
    #[error("stored row: column {ordinal} has no place in it")]
    Offsets {
        /// Which stored column.
        ordinal: usize,
    },
}

impl From<RowError> for assize_model::SqlError {
    fn from(error: RowError) -> Self {
        assize_model::SqlError::new(assize_model::ErrorCode::CrashedOnUsage, error.to_string())
    }
}

/// The stored form of a row; `values` are in the order of the table's columns.
///
/// # Panics
/// If there are not as many values as columns.
pub fn encode(table: &Table, values: &[Value]) -> Bytes {
    assert_eq!(table.columns.len(), values.len(), "a row has a value for every column");
    let dense = table.columns.iter().enumerate().all(|(i, column)| column.id as usize == i);
    let count = values.len();
    let mut payload = Vec::with_capacity(count * 8);
    let mut ends = Vec::with_capacity(count);
    let mut nulls = vec![0u8; count.div_ceil(8)];
    for (i, (column, value)) in table.columns.iter().zip(values).enumerate() {
        if value.is_null() {
            nulls[i / 8] |= 1 << (i % 8);
        } else {
            stored::encode_value(value, &column.sql_type, &mut payload);
        }
        ends.push(payload.len());
    }
    let wide = payload.len() > usize::from(u16::MAX);
    let mut out = Vec::with_capacity(8 + count * 4 + payload.len());
    out.put_u8(VERSION);
    out.put_u8(if dense { DENSE } else { 0 } | if wide { WIDE } else { 0 });
    out.put_varint(count as u64);
    if !dense {
        for column in &table.columns {
            out.put_varint(u64::from(column.id));
        }
    }
    out.put_slice(&nulls);
    for end in ends {
        if wide { out.put_u32(end as u32) } else { out.put_u16(end as u16) }
    }
    out.put_slice(&payload);
    out.into()
}

/// Finds columns within a stored row.
#[derive(Clone, Debug)]
pub struct RowReader<'a> {
    whole: &'a Bytes,
    count: usize,
    ids: Option<&'a [u8]>,
    nulls: &'a [u8],
    ends: &'a [u8],
    wide: bool,
    payload: &'a [u8],
}

impl<'a> RowReader<'a> {
    /// Reads the head of a stored row.
    pub fn new(whole: &'a Bytes) -> Result<Self, RowError> {
        let mut r = Reader::new(whole);
        let version = r.u8()?;
        if version != VERSION {
            return Err(RowError::Version { found: version, newest: VERSION });
        }
        let flags = r.u8()?;
        if flags & !(DENSE | WIDE) != 0 {
            return Err(r.bad("row flags", flags.into()).into());
        }
        let wide = flags & WIDE != 0;
        let width = if wide { 4 } else { 2 };
        let count = r.count(width)?;
        let ids = if flags & DENSE == 0 {
            let all = r.rest();
            let start = r.at();
            for _ in 0..count {
                r.varint()?;
            }
            Some(&all[..r.at() - start])
        } else {
            None
        };
        let nulls = r.slice(count.div_ceil(8))?;
        let ends = r.slice(count * width)?;
        Ok(RowReader { whole, count, ids, nulls, ends, wide, payload: r.rest() })
    }

    /// The stored bytes of a column: `None` if the row lacks it, `Some(None)` for NULL.
    pub fn bytes(&self, column_id: u32) -> Result<Option<Option<&'a [u8]>>, RowError> {
        match self.place(column_id)? {
            None => Ok(None),
            Some(at) if self.nulls[at / 8] >> (at % 8) & 1 == 1 => Ok(Some(None)),
            Some(at) => {
                let start = if at == 0 { 0 } else { self.end(at - 1) };
                let slice = self.payload.get(start..self.end(at)).ok_or(RowError::Offsets { ordinal: at })?;
                Ok(Some(Some(slice)))
            }
        }
    }

    /// The value of a column of the table, by ordinal.
    pub fn value(&self, table: &Table, ordinal: usize) -> Result<Value, RowError> {
        let column = &table.columns[ordinal];
        match self.bytes(column.id)? {
            Some(Some(bytes)) => self.decode(bytes, &column.sql_type),
            Some(None) => Ok(Value::Null),
            None => Ok(column.added_value.clone().unwrap_or(Value::Null)),
        }
    }

    /// All columns of the table.
    pub fn row(&self, table: &Table) -> Result<Vec<Value>, RowError> {
        (0..table.columns.len()).map(|ordinal| self.value(table, ordinal)).collect()
    }

    fn decode(&self, bytes: &'a [u8], sql_type: &SqlType) -> Result<Value, RowError> {
        let own = self.whole.slice_ref(bytes);
        let mut reader = Reader::over(&own);
        let value = stored::decode_value(sql_type, &mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    fn place(&self, column_id: u32) -> Result<Option<usize>, RowError> {
        let Some(ids) = self.ids else {
            return Ok((column_id as usize).lt(&self.count).then_some(column_id as usize));
        };
        let mut r = Reader::new(ids);
        for at in 0..self.count {
            if r.varint()? == u64::from(column_id) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn end(&self, at: usize) -> usize {
        if self.wide {
            u32::from_le_bytes(self.ends[at * 4..at * 4 + 4].try_into().expect("four bytes")) as usize
        } else {
            u16::from_le_bytes(self.ends[at * 2..at * 2 + 2].try_into().expect("two bytes")) as usize
        }
    }
}

#[cfg(test)]
mod tests;
