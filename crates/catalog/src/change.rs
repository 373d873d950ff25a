//! Composing a change of the catalog.

use crate::{
    Catalog, Database, Dropped, NextIds, ObjectKey, Server, Table, User, encode_database, encode_dropped,
    encode_global, encode_ids, encode_server, encode_table, encode_user,
};
use assize_model::{CatalogChange, DatabaseId, Fence, TableId};
use assize_values::{Collation, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Collects what one DDL statement changes, and what it relied on: the adjudicator refuses the whole change if
/// any object it touched or read has changed since, so two statements never overwrite each other.
///
/// ```text
///   ChangeBuilder::new(&catalog)  ──put_table, remove_table, expect…──▶  finish() ──▶ CatalogChange
/// ```
#[derive(Debug)]
pub struct ChangeBuilder<'c> {
    catalog: &'c Catalog,
    ids: NextIds,
    expects: BTreeSet<Bytes>,
    objects: BTreeMap<Bytes, Option<Bytes>>,
    fences: BTreeMap<TableId, Fence>,
    counters: BTreeMap<TableId, u64>,
}

impl<'c> ChangeBuilder<'c> {
    /// A change of this catalog.
    pub fn new(catalog: &'c Catalog) -> Self {
        ChangeBuilder {
            catalog,
            ids: catalog.next_ids,
            expects: BTreeSet::new(),
            objects: BTreeMap::new(),
            fences: BTreeMap::new(),
            counters: BTreeMap::new(),
        }
    }

    /// A new table id.
    pub fn take_table_id(&mut self) -> TableId {
        let id = self.ids.table;
        self.ids.table = TableId(id.0 + 1);
        id
    }

    /// A new database id.
    pub fn take_database_id(&mut self) -> DatabaseId {
        let id = self.ids.database;
        self.ids.database = DatabaseId(id.0 + 1);
        id
    }

    /// A new number in the recycle bin.
    pub fn take_dropped_id(&mut self) -> u64 {
        let id = self.ids.dropped;
        self.ids.dropped += 1;
        id
    }

    /// Relies on a database staying what it is.
    pub fn expect_database(&mut self, name: &str) -> &mut Self {
        self.expect(ObjectKey::Database(name.into()))
    }

    /// Relies on a table staying what it is, or on no table having this name.
    pub fn expect_table(&mut self, database: &str, name: &str) -> &mut Self {
        self.expect(ObjectKey::Table(database.into(), name.into()))
    }

    /// Relies on nobody creating or dropping anything meanwhile: what a statement that goes over all tables of
    /// a database needs, because a table that it has not seen has no object to expect.
    pub fn expect_no_other_ddl(&mut self) -> &mut Self {
        self.expect(ObjectKey::Ids)
    }

    /// Creates or alters a database.
    pub fn put_database(&mut self, database: &Database) -> &mut Self {
        self.put(ObjectKey::Database(database.name.clone()), Some(encode_database(database)))
    }

    /// Drops a database object.
    pub fn remove_database(&mut self, name: &str) -> &mut Self {
        self.put(ObjectKey::Database(name.into()), None)
    }

    /// Creates or alters a table.
    pub fn put_table(&mut self, table: &Table) -> &mut Self {
        let key = ObjectKey::Table(table.database.clone(), table.name.clone());
        self.put(key, Some(encode_table(table)))
    }

    /// Frees a table's name.
    pub fn remove_table(&mut self, database: &str, name: &str) -> &mut Self {
        self.put(ObjectKey::Table(database.into(), name.into()), None)
    }

    /// From the commit of this change on, refuses transactions that planned with an older version of this
    /// table.
    pub fn fence(&mut self, table: &Table) -> &mut Self {
        self.fences.insert(table.id, Fence { table: table.id, min_version: table.version });
        self
    }

    /// From the commit of this change on, refuses everything that planned with this table: it is dropped.
    pub fn fence_dropped(&mut self, table: &Table) -> &mut Self {
        let min_version = assize_model::SchemaVersion(table.version.0 + 1);
        self.fences.insert(table.id, Fence { table: table.id, min_version });
        self
    }

    /// Sets a table's AUTO_INCREMENT counter.
    pub fn set_counter(&mut self, table: TableId, next: u64) -> &mut Self {
        self.counters.insert(table, next);
        self
    }

    /// Creates or alters a user.
    pub fn put_user(&mut self, user: &User) -> &mut Self {
        self.put(ObjectKey::User(user.name.clone(), user.host.clone()), Some(encode_user(user)))
    }

    /// Drops a user.
    pub fn remove_user(&mut self, name: &str, host: &str) -> &mut Self {
        self.put(ObjectKey::User(name.into(), host.into()), None)
    }

    /// Creates or alters a server outside of the cluster.
    pub fn put_server(&mut self, server: &Server) -> &mut Self {
        self.put(ObjectKey::Server(server.name.to_lowercase().into()), Some(encode_server(server)))
    }

    /// Drops a server.
    pub fn remove_server(&mut self, name: &str) -> &mut Self {
        self.put(ObjectKey::Server(name.to_lowercase().into()), None)
    }

    /// Relies on a server staying what it is.
    pub fn expect_server(&mut self, name: &str) -> &mut Self {
        self.expect(ObjectKey::Server(name.to_lowercase().into()))
    }

    /// Sets a global system variable; `None` removes it, so that its default applies.
    pub fn put_global(&mut self, name: &str, value: Option<&Value>) -> &mut Self {
        // Two SETs of one variable need not know of each other: the later one wins.
        self.objects.insert(ObjectKey::Global(name.into()).encode(), value.map(encode_global));
        self
    }

    /// Puts something into the recycle bin.
    pub fn put_dropped(&mut self, dropped: &Dropped) -> &mut Self {
        self.put(ObjectKey::Dropped(dropped.id), Some(encode_dropped(dropped)))
    }

    /// Takes something out of the recycle bin.
    pub fn remove_dropped(&mut self, id: u64) -> &mut Self {
        self.put(ObjectKey::Dropped(id), None)
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.counters.is_empty() && self.fences.is_empty()
    }

    /// The change.
    pub fn finish(mut self) -> CatalogChange {
        if self.ids != self.catalog.next_ids {
            self.put(ObjectKey::Ids, Some(encode_ids(&self.ids)));
        }
        let versions = &self.catalog.object_versions;
        CatalogChange {
            expects: self
                .expects
                .into_iter()
                .map(|key| {
                    let version = versions.get(&key).copied().unwrap_or(0);
                    (key, version)
                })
                .collect(),
            objects: self.objects.into_iter().collect(),
            fences: self.fences.into_values().collect(),
            counters: self.counters.into_iter().collect(),
        }
    }

    fn expect(&mut self, key: ObjectKey) -> &mut Self {
        self.expects.insert(key.encode());
        self
    }

    fn put(&mut self, key: ObjectKey, body: Option<Bytes>) -> &mut Self {
        let key = key.encode();
        self.expects.insert(key.clone());
        self.objects.insert(key, body);
        self
    }
}

/// What a new cluster begins with: the system's databases, and `root@localhost` without a password, whom the
/// frontend lets in over loopback only. Expects that nothing is there yet, so it is committed once.
pub fn bootstrap() -> CatalogChange {
    let nothing = Catalog::default();
    let mut change = ChangeBuilder::new(&nothing);
    for name in crate::SYSTEM_DATABASES {
        let id = change.take_database_id();
        let collation = if name == "information_schema" {
            Collation::UTF8MB4_GENERAL_CI
        } else {
            Collation::UTF8MB4_0900_AI_CI
        };
        change.put_database(&Database { id, name: name.into(), collation, tables: BTreeMap::new() });
    }
    change.put_user(&User {
        name: "root".into(),
        host: "localhost".into(),
        plugin: Arc::from("caching_sha2_password"),
        verifier: Vec::new(),
        locked: false,
        require_tls: false,
        global: vec![crate::ALL.into()],
        databases: BTreeMap::new(),
        tables: BTreeMap::new(),
        grant_option: vec!["".into()],
    });
    change.finish()
}
