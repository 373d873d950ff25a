//! The index entries of rows that locking reads hold.
//!
//! A held row may be newer than the transaction's snapshot, whose index entries then tell of an older one. Entries of
//! held rows are therefore told from the rows themselves:
//!
//! ```text
//!   snapshot   st='new' → 1                          row 1: new
//!   held                      st='done' → 1          row 1: done
//!   seen                      st='done' → 1          row 1: done
//! ```

use assize_catalog::{Table, key};
use assize_model::{IndexId, Key, Slot, Timestamp};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// An index entry of a held row.
#[derive(Clone, Debug)]
pub(crate) struct HeldEntry {
    /// Where it lives.
    pub(crate) slot: Slot,
    /// The snapshot at which the row is held.
    pub(crate) ts: Timestamp,
    /// Its value, which leads to the row.
    pub(crate) value: Bytes,
}

/// The index entries of all rows that a transaction holds.
#[derive(Debug, Default)]
pub(crate) struct HeldEntries {
    entries: BTreeMap<Key, HeldEntry>,
    /// Rows all of whose entries are here.
    rows: BTreeSet<Key>,
}

impl HeldEntries {
    /// A row is held as it was at `ts`; `None`: it did not exist.
    pub(crate) fn hold(
        &mut self,
        table: &Table,
        (slot, row): (Slot, &Key),
        value: Option<&Bytes>,
        ts: Timestamp,
    ) {
        if table.secondary_indexes().next().is_none() {
            return;
        }
        if let Some(value) = value {
            // Whoever reads a row that cannot be read is told so; its entries remain those of the snapshot.
            let Ok(values) = key::decode_row(table, value) else { return };
            for index in table.secondary_indexes() {
                let entry = table.index_entry(index, &values, row, slot);
                let held = HeldEntry { slot: entry.slot, ts, value: entry.value };
                self.entries.insert(entry.key, held);
            }
        }
        self.rows.insert(row.clone());
    }

    /// The entry of a held row at this key.
    pub(crate) fn get(&self, key: &Key) -> Option<&HeldEntry> {
        self.entries.get(key)
    }

    /// All entries of held rows, by key.
    pub(crate) fn all(&self) -> &BTreeMap<Key, HeldEntry> {
        &self.entries
    }

    /// Whether what the snapshot has at a key may be shown: an entry that leads to a held row is shown if the row has it.
    pub(crate) fn agree(&self, key: &Key, value: &[u8]) -> bool {
        if self.rows.is_empty() || key::index_of(key).is_none_or(|index| index == IndexId(0)) {
            return true;
        }
        let row = key::row_of_entry(key, value);
        row.map_or(true, |(_, row)| !self.rows.contains(&row) || self.entries.contains_key(key))
    }
}
