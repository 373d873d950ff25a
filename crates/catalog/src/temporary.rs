//! Temporary tables, which one session has and nobody else knows.

use crate::Table;
use assize_model::TableId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The temporary tables of one session, by database and name. They are no part of a [`crate::Catalog`]: a statement finds a
/// name here first, and among the tables of everybody otherwise.
#[derive(Clone, Debug, Default)]
pub struct TemporaryTables {
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Table>>>,
}

impl TemporaryTables {
    /// No temporary tables.
    pub const NONE: TemporaryTables = TemporaryTables { by_name: BTreeMap::new() };

    /// The temporary table of this name.
    pub fn find(&self, database: &str, name: &str) -> Option<&Arc<Table>> {
        self.by_name.get(database)?.get(name)
    }

    /// Adds a table under its name, which nobody else has.
    pub fn put(&mut self, table: Arc<Table>) {
        self.by_name.entry(table.database.clone()).or_default().insert(table.name.clone(), table);
    }

    /// Takes a table away, if it is there.
    pub fn remove(&mut self, id: TableId) -> Option<Arc<Table>> {
        let table = self.iter().find(|table| table.id == id)?.clone();
        if let Some(of_database) = self.by_name.get_mut(&table.database) {
            of_database.remove(&table.name);
            if of_database.is_empty() {
                self.by_name.remove(&table.database);
            }
        }
        Some(table)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn named(id: u32, database: &str, name: &str) -> Arc<Table> {
        Arc::new(Table {
            id: TableId::temporary(id),
            database: database.into(),
            name: name.into(),
            ..fixtures::stock()
        })
    }

    #[test]
    fn no_other_id_is_a_temporary_one() {
        let last = TableId::temporary(TableId::TEMPORARY_MAX - 1);
        for id in [TableId::temporary(0), last] {
            assert!(id.is_temporary() && crate::key::hidden_id_counter(id).is_temporary());
        }
        for id in [TableId(1), TableId((1 << 30) - 1), TableId(last.0 + 1), crate::NAMED_LOCKS] {
            assert!(!id.is_temporary() && !crate::key::hidden_id_counter(id).is_temporary(), "{id}");
        }
    }

    #[test]
    fn a_table_is_found_in_its_database_until_it_is_taken_away() {
        let mut tables = TemporaryTables::default();
        tables.put(named(1, "shop", "t"));
        tables.put(named(2, "crm", "t"));
        assert_eq!(tables.find("shop", "t").unwrap().id, TableId::temporary(1));
        assert_eq!(tables.find("crm", "t").unwrap().id, TableId::temporary(2));
        assert!(tables.find("shop", "T").is_none(), "names of tables compare by their letters' case");
        let first = tables.find("shop", "t").unwrap().id;
        assert!(first.is_temporary() && tables.remove(first).is_some());
        assert!(tables.find("shop", "t").is_none() && tables.remove(first).is_none());
        assert_eq!(tables.iter().count(), 1);
        assert!(!tables.is_empty());
    }
}
