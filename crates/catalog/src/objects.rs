//! The catalog as named objects of bytes: what the adjudicator stores without understanding it.
//!
//! | object key | holds |
//! |---|---|
//! | `ids` | [`NextIds`] |
//! | `d` name | a database, without its tables |
//! | `t` database `00` table | a table; the name is the key, so two creators of one name collide |
//! | `u` user `00` host | a user |
//! | `g` name | a global system variable |
//! | `x` number, big-endian | an entry of the recycle bin |
//! | `s` name | a server outside of the cluster, its name in lower case |
//!
//! Every body is in an [`envelope`] whose tag says what it is and whose version says how it is written. Names
//! cannot hold a zero byte, so the keys are unambiguous.

use crate::{
    Catalog, Check, Column, Database, DefaultValue, DropCause, Dropped, Foreign, ForeignKey, Generated,
    Index, IndexPart, IndexState, NextIds, QualifiedName, ReferentialAction, Server, Table, User, View,
    ViewAlgorithm, ViewCheck, ViewSecurity, payload,
};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{CatalogVersion, DatabaseId, IndexId, SchemaVersion, TableId};
use assize_values::{BlobSize, Collation, IntType, IntWidth, SqlType, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const IDS: ([u8; 4], u16) = (*b"cids", 1);
const DATABASE: ([u8; 4], u16) = (*b"cdbs", 1);
const TABLE: ([u8; 4], u16) = (*b"ctab", 1);
/// Tables are written as they were before there were views, so that nodes of that time read them.
const TABLE_OR_VIEW: ([u8; 4], u16) = (*b"ctab", 2);
/// A table with functional key parts: behind everything else, which columns are hidden.
const TABLE_WITH_HIDDEN: ([u8; 4], u16) = (*b"ctab", 3);
/// A foreign table: behind everything that the first version has, where its rows are.
const FOREIGN_TABLE: ([u8; 4], u16) = (*b"ctab", 4);
const USER: ([u8; 4], u16) = (*b"cusr", 1);
const GLOBAL: ([u8; 4], u16) = (*b"cvar", 1);
const DROPPED: ([u8; 4], u16) = (*b"cbin", 1);
const SERVER: ([u8; 4], u16) = (*b"csrv", 1);

/// Stored catalog objects that cannot be understood: written by a newer program, or damaged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    /// The bytes under this key are not such an object.
    #[error("catalog object {key:?}: {source}")]
    Damaged {
        /// The object.
        key: Bytes,
        /// What is wrong.
        source: DecodeError,
    },
    /// A key of no known kind.
    #[error("catalog object {key:?} is of no known kind")]
    UnknownKey {
        /// The object.
        key: Bytes,
    },
}

/// The name of one stored object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectKey {
    /// The id counters.
    Ids,
    /// A database by name.
    Database(Arc<str>),
    /// A table by database and name.
    Table(Arc<str>, Arc<str>),
    /// A user by name and host pattern.
    User(Arc<str>, Arc<str>),
    /// A global system variable.
    Global(Arc<str>),
    /// An entry of the recycle bin.
    Dropped(u64),
    /// A server outside of the cluster, by its name in lower case.
    Server(Arc<str>),
}

impl ObjectKey {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            ObjectKey::Ids => out.put_slice(b"ids"),
            ObjectKey::Database(name) => put_names(&mut out, b'd', &[name]),
            ObjectKey::Table(database, name) => put_names(&mut out, b't', &[database, name]),
            ObjectKey::User(name, host) => put_names(&mut out, b'u', &[name, host]),
            ObjectKey::Global(name) => put_names(&mut out, b'g', &[name]),
            ObjectKey::Server(name) => put_names(&mut out, b's', &[name]),
            ObjectKey::Dropped(id) => {
                out.push(b'x');
                out.put_slice(&id.to_be_bytes());
            }
        }
        out.into()
    }

    /// Reads a key; `None` if it is of no known kind.
    pub fn decode(bytes: &[u8]) -> Option<ObjectKey> {
        if bytes == b"ids" {
            return Some(ObjectKey::Ids);
        }
        let (kind, rest) = bytes.split_first()?;
        if *kind == b'x' {
            return Some(ObjectKey::Dropped(u64::from_be_bytes(rest.try_into().ok()?)));
        }
        let mut names = std::str::from_utf8(rest).ok()?.split('\0').map(Arc::<str>::from);
        let key = match kind {
            b'd' => ObjectKey::Database(names.next()?),
            b't' => ObjectKey::Table(names.next()?, names.next()?),
            b'u' => ObjectKey::User(names.next()?, names.next()?),
            b'g' => ObjectKey::Global(names.next()?),
            b's' => ObjectKey::Server(names.next()?),
            _ => return None,
        };
        names.next().is_none().then_some(key)
    }
}

fn put_names(out: &mut Vec<u8>, kind: u8, names: &[&str]) {
    out.push(kind);
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            out.push(0);
        }
        out.put_slice(name.as_bytes());
    }
}

impl Catalog {
    /// The catalog that these objects make of this one. With `complete` they are everything there is;
    /// otherwise they are what changed since this version. Unchanged definitions are shared, not copied.
    pub fn apply_objects(
        &self,
        version: CatalogVersion,
        complete: bool,
        objects: &[(Bytes, u64, Option<Bytes>)],
    ) -> Result<Catalog, ObjectError> {
        let mut next = if complete { Catalog::default() } else { self.clone() };
        next.version = version;
        let mut versions = std::mem::take(&mut next.object_versions);
        let mut dropped_changed = false;
        let mut tables_changed = complete;
        for (bytes, put_at, body) in objects {
            let damaged = |source| ObjectError::Damaged { key: bytes.clone(), source };
            let key =
                ObjectKey::decode(bytes).ok_or_else(|| ObjectError::UnknownKey { key: bytes.clone() })?;
            match body {
                Some(_) => Arc::make_mut(&mut versions).insert(bytes.clone(), *put_at),
                None => Arc::make_mut(&mut versions).remove(bytes),
            };
            let body = body.as_deref();
            match key {
                ObjectKey::Ids => {
                    next.next_ids = match body {
                        Some(body) => decode_ids(body).map_err(damaged)?,
                        None => NextIds::default(),
                    };
                }
                ObjectKey::Database(name) => match body {
                    Some(body) => {
                        tables_changed = true;
                        let mut database = decode_database(&name, body).map_err(damaged)?;
                        if let Some(old) = next.databases.get(&name) {
                            database.tables = old.tables.clone();
                        }
                        next.databases.insert(name, Arc::new(database));
                    }
                    None => {
                        tables_changed = true;
                        next.databases.remove(&name);
                        next.tables.retain(|_, t| t.database != name);
                    }
                },
                ObjectKey::Table(database, name) => {
                    tables_changed = true;
                    let table = body.map(|body| decode_table(&database, &name, body)).transpose();
                    next.set_table(&database, &name, table.map_err(damaged)?);
                }
                ObjectKey::User(name, host) => {
                    match body.map(|body| decode_user(&name, &host, body)).transpose().map_err(damaged)? {
                        Some(user) => next.users.insert((name, host), Arc::new(user)),
                        None => next.users.remove(&(name, host)),
                    };
                }
                ObjectKey::Global(name) => {
                    match body.map(decode_global).transpose().map_err(damaged)? {
                        Some(value) => next.globals.insert(name, value),
                        None => next.globals.remove(&name),
                    };
                }
                ObjectKey::Server(name) => {
                    match body.map(decode_server).transpose().map_err(damaged)? {
                        Some(server) => next.servers.insert(name, Arc::new(server)),
                        None => next.servers.remove(&name),
                    };
                }
                ObjectKey::Dropped(id) => {
                    next.dropped.retain(|d| d.id != id);
                    if let Some(body) = body {
                        next.dropped.push(Arc::new(decode_dropped(id, body).map_err(damaged)?));
                        dropped_changed = true;
                    }
                }
            }
        }
        if dropped_changed {
            next.dropped.sort_by_key(|d| d.id);
        }
        next.object_versions = versions;
        next.drop_orphans();
        if tables_changed {
            next.find_children();
        }
        Ok(next)
    }

    /// Puts, replaces or removes one table in both maps. The objects of one change come in any order, so a
    /// table may arrive before its database and a name may be freed after it was taken by a rename.
    fn set_table(&mut self, database: &Arc<str>, name: &Arc<str>, table: Option<Table>) {
        let holder = self.databases.entry(database.clone()).or_insert_with(|| {
            Arc::new(Database {
                id: DatabaseId(0),
                name: database.clone(),
                collation: Collation::UTF8MB4_0900_AI_CI,
                tables: BTreeMap::new(),
            })
        });
        let holder = Arc::make_mut(holder);
        let old = match &table {
            Some(table) => holder.tables.insert(name.clone(), table.id),
            None => holder.tables.remove(name),
        };
        if let Some(old) = old
            && table.as_ref().is_none_or(|t| t.id != old)
            && self.tables.get(&old).is_some_and(|t| t.database == *database && t.name == *name)
        {
            self.tables.remove(&old);
        }
        if let Some(table) = table {
            self.tables.insert(table.id, Arc::new(table));
        }
    }

    /// Derives who refers to whom.
    fn find_children(&mut self) {
        let mut children: BTreeMap<QualifiedName, Vec<TableId>> = BTreeMap::new();
        for child in self.tables.values() {
            for key in &child.foreign_keys {
                let list =
                    children.entry((key.parent_database.clone(), key.parent_table.clone())).or_default();
                if list.last() != Some(&child.id) {
                    list.push(child.id);
                }
            }
        }
        self.children = Arc::new(children);
    }

    /// Forgets databases that exist only because a table named them, with their tables.
    fn drop_orphans(&mut self) {
        let orphans: BTreeSet<Arc<str>> =
            self.databases.values().filter(|d| d.id == DatabaseId(0)).map(|d| d.name.clone()).collect();
        for name in orphans {
            self.databases.remove(&name);
            self.tables.retain(|_, t| t.database != name);
        }
    }
}

/// An object's bytes.
pub fn encode_ids(ids: &NextIds) -> Bytes {
    let mut out = Vec::new();
    out.put_u32(ids.database.0);
    out.put_u32(ids.table.0);
    out.put_u64(ids.dropped);
    seal(IDS, &out)
}

fn decode_ids(bytes: &[u8]) -> Result<NextIds, DecodeError> {
    let mut r = open(bytes, IDS)?;
    let ids = NextIds { database: DatabaseId(r.u32()?), table: TableId(r.u32()?), dropped: r.u64()? };
    r.finish()?;
    Ok(ids)
}

/// An object's bytes; the list of tables is not among them.
pub fn encode_database(database: &Database) -> Bytes {
    let mut out = Vec::new();
    out.put_u32(database.id.0);
    out.put_u16(database.collation.0);
    seal(DATABASE, &out)
}

fn decode_database(name: &Arc<str>, bytes: &[u8]) -> Result<Database, DecodeError> {
    let mut r = open(bytes, DATABASE)?;
    let id = DatabaseId(r.u32()?);
    if id.0 == 0 {
        return Err(r.bad("database id", 0));
    }
    let collation = Collation(r.u16()?);
    r.finish()?;
    Ok(Database { id, name: name.clone(), collation, tables: BTreeMap::new() })
}

/// An object's bytes.
pub fn encode_global(value: &Value) -> Bytes {
    let mut out = Vec::new();
    payload::put_tagged(&mut out, value);
    seal(GLOBAL, &out)
}

fn decode_global(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut r = open(bytes, GLOBAL)?;
    let value = payload::read_tagged(&mut r)?;
    r.finish()?;
    Ok(value)
}

/// An object's bytes.
pub fn encode_server(server: &Server) -> Bytes {
    let mut out = Vec::new();
    out.put_str(&server.name);
    out.put_str(&server.wrapper);
    out.put_str(&server.host);
    out.put_u16(server.port);
    out.put_str(&server.database);
    out.put_str(&server.user);
    out.put_str(&server.password);
    out.put_str(&server.owner);
    seal(SERVER, &out)
}

fn decode_server(bytes: &[u8]) -> Result<Server, DecodeError> {
    let mut r = open(bytes, SERVER)?;
    let server = Server {
        name: r.str()?.into(),
        wrapper: r.str()?.into(),
        host: r.str()?.into(),
        port: r.u16()?,
        database: r.str()?.into(),
        user: r.str()?.into(),
        password: r.str()?.into(),
        owner: r.str()?.into(),
    };
    r.finish()?;
    Ok(server)
}

/// An object's bytes.
pub fn encode_user(user: &User) -> Bytes {
    let mut out = Vec::new();
    out.put_str(&user.plugin);
    out.put_bytes(&user.verifier);
    out.put_bool(user.locked);
    out.put_bool(user.require_tls);
    put_strs(&mut out, &user.global);
    out.put_varint(user.databases.len() as u64);
    for (database, privileges) in &user.databases {
        out.put_str(database);
        put_strs(&mut out, privileges);
    }
    out.put_varint(user.tables.len() as u64);
    for ((database, table), privileges) in &user.tables {
        out.put_str(database);
        out.put_str(table);
        put_strs(&mut out, privileges);
    }
    put_strs(&mut out, &user.grant_option);
    seal(USER, &out)
}

fn decode_user(name: &Arc<str>, host: &Arc<str>, bytes: &[u8]) -> Result<User, DecodeError> {
    let mut r = open(bytes, USER)?;
    let mut user = User {
        name: name.clone(),
        host: host.clone(),
        plugin: r.str()?.into(),
        verifier: r.bytes()?.to_vec(),
        locked: r.bool()?,
        require_tls: r.bool()?,
        global: strs(&mut r)?,
        databases: BTreeMap::new(),
        tables: BTreeMap::new(),
        grant_option: Vec::new(),
    };
    for _ in 0..r.count(2)? {
        let database = r.str()?.into();
        user.databases.insert(database, strs(&mut r)?);
    }
    for _ in 0..r.count(3)? {
        let key = (r.str()?.into(), r.str()?.into());
        user.tables.insert(key, strs(&mut r)?);
    }
    user.grant_option = strs(&mut r)?;
    r.finish()?;
    Ok(user)
}

/// An object's bytes.
pub fn encode_dropped(dropped: &Dropped) -> Bytes {
    let mut out = Vec::new();
    out.put_i64(dropped.dropped_micros);
    out.put_u8(match dropped.cause {
        DropCause::DropTable => 1,
        DropCause::Truncate => 2,
        DropCause::DropDatabase => 3,
    });
    out.put_str(&dropped.database.name);
    out.put_bytes(&encode_database(&dropped.database));
    out.put_varint(dropped.tables.len() as u64);
    for table in &dropped.tables {
        out.put_str(&table.database);
        out.put_str(&table.name);
        out.put_bytes(&encode_table(table));
    }
    seal(DROPPED, &out)
}

fn decode_dropped(id: u64, bytes: &[u8]) -> Result<Dropped, DecodeError> {
    let mut r = open(bytes, DROPPED)?;
    let dropped_micros = r.i64()?;
    let cause = match r.u8()? {
        1 => DropCause::DropTable,
        2 => DropCause::Truncate,
        3 => DropCause::DropDatabase,
        other => return Err(r.bad("cause of a drop", other.into())),
    };
    let name: Arc<str> = r.str()?.into();
    let mut database = decode_database(&name, r.bytes()?)?;
    let mut tables = Vec::new();
    for _ in 0..r.count(3)? {
        let (database_name, table_name): (Arc<str>, Arc<str>) = (r.str()?.into(), r.str()?.into());
        tables.push(Arc::new(decode_table(&database_name, &table_name, r.bytes()?)?));
    }
    r.finish()?;
    if cause == DropCause::DropDatabase {
        database.tables = tables.iter().map(|t| (t.name.clone(), t.id)).collect();
    }
    Ok(Dropped { id, dropped_micros, cause, database: Arc::new(database), tables })
}

/// An object's bytes; database and name are its key.
pub fn encode_table(table: &Table) -> Bytes {
    let mut out = Vec::new();
    out.put_u32(table.id.0);
    out.put_u32(table.version.0);
    out.put_varint(table.columns.len() as u64);
    for column in &table.columns {
        put_column(&mut out, column);
    }
    out.put_u32(table.next_column_id);
    out.put_varint(table.indexes.len() as u64);
    for index in &table.indexes {
        put_index(&mut out, index);
    }
    out.put_u16(table.next_index_id);
    out.put_bool(table.hidden_row_id);
    put_option(&mut out, table.sharding_column.as_ref(), |out, i| out.put_varint(*i as u64));
    out.put_varint(table.foreign_keys.len() as u64);
    for key in &table.foreign_keys {
        put_foreign_key(&mut out, key);
    }
    out.put_varint(table.checks.len() as u64);
    for check in &table.checks {
        out.put_str(&check.name);
        out.put_str(&check.expression);
        out.put_bool(check.enforced);
        put_option(&mut out, check.column.as_ref(), |out, id| out.put_u32(*id));
    }
    out.put_u16(table.collation.0);
    out.put_str(&table.comment);
    out.put_i64(table.created_micros);
    out.put_varint(table.options.len() as u64);
    for (name, value) in &table.options {
        out.put_str(name);
        out.put_str(value);
    }
    let hidden: Vec<u32> = table.columns.iter().filter(|c| c.hidden).map(|c| c.id).collect();
    if let Some(foreign) = &table.foreign {
        out.put_str(&foreign.server);
        out.put_str(&foreign.table);
        return seal(FOREIGN_TABLE, &out);
    }
    match &table.view {
        None if hidden.is_empty() => seal(TABLE, &out),
        None => {
            out.put_varint(hidden.len() as u64);
            for id in hidden {
                out.put_u32(id);
            }
            seal(TABLE_WITH_HIDDEN, &out)
        }
        Some(view) => {
            put_view(&mut out, view);
            seal(TABLE_OR_VIEW, &out)
        }
    }
}

fn decode_table(database: &Arc<str>, name: &Arc<str>, bytes: &[u8]) -> Result<Table, DecodeError> {
    let (version_of_format, body) = envelope::open(bytes, FOREIGN_TABLE.0, FOREIGN_TABLE.1)?;
    let mut r = Reader::new(body);
    let id = TableId(r.u32()?);
    let version = SchemaVersion(r.u32()?);
    let columns = list(&mut r, 8, column)?;
    let next_column_id = r.u32()?;
    let indexes = list(&mut r, 6, index)?;
    let next_index_id = r.u16()?;
    let hidden_row_id = r.bool()?;
    let sharding_column = option(&mut r, |r| Ok(r.varint()? as usize))?;
    let foreign_keys = list(&mut r, 6, foreign_key)?;
    let checks = list(&mut r, 4, |r| {
        Ok(Check {
            name: r.str()?.into(),
            expression: r.str()?.into(),
            enforced: r.bool()?,
            column: option(r, Reader::u32)?,
        })
    })?;
    let mut table = Table {
        id,
        version,
        database: database.clone(),
        name: name.clone(),
        columns,
        next_column_id,
        indexes,
        next_index_id,
        hidden_row_id,
        sharding_column,
        foreign_keys,
        checks,
        collation: Collation(r.u16()?),
        comment: r.str()?.into(),
        created_micros: r.i64()?,
        options: list(&mut r, 2, |r| Ok((r.str()?.into(), r.str()?.into())))?,
        view: match version_of_format {
            2 => Some(Arc::new(view(&mut r)?)),
            _ => None,
        },
        foreign: match version_of_format {
            4 => Some(Arc::new(Foreign { server: r.str()?.into(), table: r.str()?.into() })),
            _ => None,
        },
    };
    if version_of_format == TABLE_WITH_HIDDEN.1 {
        for id in list(&mut r, 4, Reader::u32)? {
            let hidden = table.columns.iter_mut().find(|c| c.id == id && c.generated.is_some());
            hidden.ok_or_else(|| r.bad("hidden column", id.into()))?.hidden = true;
        }
    }
    // What the rest of the code relies on without asking again.
    if table.sharding_column.is_some_and(|i| i >= table.columns.len()) {
        return Err(r.bad("sharding column", table.sharding_column.unwrap_or_default() as u64));
    }
    if table.indexes.first().is_none_or(|i| i.id != IndexId(0)) {
        return Err(r.bad("primary index", 0));
    }
    for part in table.indexes.iter().flat_map(|i| &i.parts) {
        if table.column_by_id(part.column).is_none() {
            return Err(r.bad("indexed column", part.column.into()));
        }
    }
    r.finish()?;
    Ok(table)
}

fn put_view(out: &mut Vec<u8>, view: &View) {
    out.put_str(&view.query);
    out.put_bool(view.columns_named);
    out.put_str(&view.definer.0);
    out.put_str(&view.definer.1);
    out.put_u8(match view.security {
        ViewSecurity::Definer => 1,
        ViewSecurity::Invoker => 2,
    });
    out.put_u8(match view.algorithm {
        ViewAlgorithm::Undefined => 1,
        ViewAlgorithm::Merge => 2,
        ViewAlgorithm::TempTable => 3,
    });
    out.put_u8(match view.check {
        ViewCheck::None => 1,
        ViewCheck::Local => 2,
        ViewCheck::Cascaded => 3,
    });
    out.put_bool(view.updatable);
    out.put_str(&view.character_set_client);
    out.put_u16(view.collation_connection.0);
}

fn view(r: &mut Reader<'_>) -> Result<View, DecodeError> {
    Ok(View {
        query: r.str()?.into(),
        columns_named: r.bool()?,
        definer: (r.str()?.into(), r.str()?.into()),
        security: match r.u8()? {
            1 => ViewSecurity::Definer,
            2 => ViewSecurity::Invoker,
            other => return Err(r.bad("security of a view", other.into())),
        },
        algorithm: match r.u8()? {
            1 => ViewAlgorithm::Undefined,
            2 => ViewAlgorithm::Merge,
            3 => ViewAlgorithm::TempTable,
            other => return Err(r.bad("algorithm of a view", other.into())),
        },
        check: match r.u8()? {
            1 => ViewCheck::None,
            2 => ViewCheck::Local,
            3 => ViewCheck::Cascaded,
            other => return Err(r.bad("check option of a view", other.into())),
        },
        updatable: r.bool()?,
        character_set_client: r.str()?.into(),
        collation_connection: Collation(r.u16()?),
    })
}

fn put_column(out: &mut Vec<u8>, column: &Column) {
    out.put_u32(column.id);
    out.put_str(&column.name);
    put_type(out, &column.sql_type);
    out.put_bool(column.nullable);
    put_option(out, column.default.as_ref(), |out, default| match default {
        DefaultValue::Constant(value) => {
            out.put_u8(1);
            payload::put_tagged(out, value);
        }
        DefaultValue::Now(fsp) => {
            out.put_u8(2);
            out.put_u8(*fsp);
        }
        DefaultValue::Expression(text) => {
            out.put_u8(3);
            out.put_str(text);
        }
    });
    put_option(out, column.on_update_now.as_ref(), |out, fsp| out.put_u8(*fsp));
    out.put_bool(column.auto_increment);
    put_option(out, column.generated.as_ref(), |out, generated| {
        out.put_str(&generated.expression);
        out.put_bool(generated.stored);
    });
    out.put_str(&column.comment);
    out.put_bool(column.invisible);
    put_option(out, column.added_value.as_ref(), payload::put_tagged);
}

fn column(r: &mut Reader<'_>) -> Result<Column, DecodeError> {
    Ok(Column {
        id: r.u32()?,
        name: r.str()?.into(),
        sql_type: sql_type(r)?,
        nullable: r.bool()?,
        default: option(r, |r| match r.u8()? {
            1 => Ok(DefaultValue::Constant(payload::read_tagged(r)?)),
            2 => Ok(DefaultValue::Now(r.u8()?)),
            3 => Ok(DefaultValue::Expression(r.str()?.into())),
            other => Err(r.bad("default", other.into())),
        })?,
        on_update_now: option(r, Reader::u8)?,
        auto_increment: r.bool()?,
        generated: option(r, |r| Ok(Generated { expression: r.str()?.into(), stored: r.bool()? }))?,
        comment: r.str()?.into(),
        invisible: r.bool()?,
        hidden: false,
        added_value: option(r, payload::read_tagged)?,
    })
}

fn put_index(out: &mut Vec<u8>, index: &Index) {
    out.put_u16(index.id.0);
    out.put_str(&index.name);
    out.put_varint(index.parts.len() as u64);
    for part in &index.parts {
        out.put_u32(part.column);
        put_option(out, part.prefix.as_ref(), |out, n| out.put_u32(*n));
        out.put_bool(part.descending);
    }
    out.put_bool(index.unique);
    out.put_u8(match index.state {
        IndexState::WriteOnly => 1,
        IndexState::Public => 2,
    });
    out.put_str(&index.comment);
    out.put_bool(index.invisible);
}

fn index(r: &mut Reader<'_>) -> Result<Index, DecodeError> {
    Ok(Index {
        id: IndexId(r.u16()?),
        name: r.str()?.into(),
        parts: list(r, 6, |r| {
            Ok(IndexPart { column: r.u32()?, prefix: option(r, Reader::u32)?, descending: r.bool()? })
        })?,
        unique: r.bool()?,
        state: match r.u8()? {
            1 => IndexState::WriteOnly,
            2 => IndexState::Public,
            other => return Err(r.bad("index state", other.into())),
        },
        comment: r.str()?.into(),
        invisible: r.bool()?,
    })
}

fn put_foreign_key(out: &mut Vec<u8>, key: &ForeignKey) {
    out.put_str(&key.name);
    out.put_varint(key.columns.len() as u64);
    for column in &key.columns {
        out.put_u32(*column);
    }
    out.put_str(&key.parent_database);
    out.put_str(&key.parent_table);
    put_strs(out, &key.parent_columns);
    for action in [key.on_delete, key.on_update] {
        out.put_u8(match action {
            ReferentialAction::NoAction => 0,
            ReferentialAction::Restrict => 1,
            ReferentialAction::Cascade => 2,
            ReferentialAction::SetNull => 3,
        });
    }
}

fn foreign_key(r: &mut Reader<'_>) -> Result<ForeignKey, DecodeError> {
    fn action(r: &mut Reader<'_>) -> Result<ReferentialAction, DecodeError> {
        Ok(match r.u8()? {
            0 => ReferentialAction::NoAction,
            1 => ReferentialAction::Restrict,
            2 => ReferentialAction::Cascade,
            3 => ReferentialAction::SetNull,
            other => return Err(r.bad("referential action", other.into())),
        })
    }
    Ok(ForeignKey {
        name: r.str()?.into(),
        columns: list(r, 4, Reader::u32)?,
        parent_database: r.str()?.into(),
        parent_table: r.str()?.into(),
        parent_columns: strs(r)?,
        on_delete: action(r)?,
        on_update: action(r)?,
    })
}

fn put_type(out: &mut Vec<u8>, sql_type: &SqlType) {
    match sql_type {
        SqlType::Null => out.put_u8(0),
        SqlType::Int(int) => {
            out.put_u8(1);
            out.put_u8(match int.width {
                IntWidth::Tiny => 1,
                IntWidth::Small => 2,
                IntWidth::Medium => 3,
                IntWidth::Int => 4,
                IntWidth::Big => 8,
            });
            out.put_bool(int.unsigned);
            out.put_bool(int.zerofill);
            put_option(out, int.display.as_ref(), |out, n| out.put_u8(*n));
        }
        SqlType::Float { unsigned, digits } | SqlType::Double { unsigned, digits } => {
            out.put_u8(if matches!(sql_type, SqlType::Float { .. }) { 2 } else { 3 });
            out.put_bool(*unsigned);
            put_option(out, digits.as_ref(), |out, (m, d)| {
                out.put_u8(*m);
                out.put_u8(*d);
            });
        }
        SqlType::Decimal { precision, scale, unsigned } => {
            out.put_u8(4);
            out.put_u8(*precision);
            out.put_u8(*scale);
            out.put_bool(*unsigned);
        }
        SqlType::Char { length, collation } | SqlType::VarChar { length, collation } => {
            out.put_u8(if matches!(sql_type, SqlType::Char { .. }) { 5 } else { 6 });
            out.put_u32(*length);
            out.put_u16(collation.0);
        }
        SqlType::Text { size, collation } => {
            out.put_u8(7);
            put_blob_size(out, *size);
            out.put_u16(collation.0);
        }
        SqlType::Binary { length } | SqlType::VarBinary { length } => {
            out.put_u8(if matches!(sql_type, SqlType::Binary { .. }) { 8 } else { 9 });
            out.put_u32(*length);
        }
        SqlType::Blob { size } => {
            out.put_u8(10);
            put_blob_size(out, *size);
        }
        SqlType::Date => out.put_u8(11),
        SqlType::Time { fsp } => {
            out.put_u8(12);
            out.put_u8(*fsp);
        }
        SqlType::DateTime { fsp } => {
            out.put_u8(13);
            out.put_u8(*fsp);
        }
        SqlType::Timestamp { fsp } => {
            out.put_u8(14);
            out.put_u8(*fsp);
        }
        SqlType::Year => out.put_u8(15),
        SqlType::Bit { length } => {
            out.put_u8(16);
            out.put_u8(*length);
        }
        SqlType::Enum { labels, collation } | SqlType::Set { labels, collation } => {
            out.put_u8(if matches!(sql_type, SqlType::Enum { .. }) { 17 } else { 18 });
            put_strs(out, labels);
            out.put_u16(collation.0);
        }
        SqlType::Json => out.put_u8(19),
    }
}

fn sql_type(r: &mut Reader<'_>) -> Result<SqlType, DecodeError> {
    fn digits(r: &mut Reader<'_>) -> Result<Option<(u8, u8)>, DecodeError> {
        option(r, |r| Ok((r.u8()?, r.u8()?)))
    }
    Ok(match r.u8()? {
        0 => SqlType::Null,
        1 => SqlType::Int(IntType {
            width: match r.u8()? {
                1 => IntWidth::Tiny,
                2 => IntWidth::Small,
                3 => IntWidth::Medium,
                4 => IntWidth::Int,
                8 => IntWidth::Big,
                other => return Err(r.bad("integer width", other.into())),
            },
            unsigned: r.bool()?,
            zerofill: r.bool()?,
            display: option(r, Reader::u8)?,
        }),
        2 => SqlType::Float { unsigned: r.bool()?, digits: digits(r)? },
        3 => SqlType::Double { unsigned: r.bool()?, digits: digits(r)? },
        4 => SqlType::Decimal { precision: r.u8()?, scale: r.u8()?, unsigned: r.bool()? },
        5 => SqlType::Char { length: r.u32()?, collation: Collation(r.u16()?) },
        6 => SqlType::VarChar { length: r.u32()?, collation: Collation(r.u16()?) },
        7 => SqlType::Text { size: blob_size(r)?, collation: Collation(r.u16()?) },
        8 => SqlType::Binary { length: r.u32()? },
        9 => SqlType::VarBinary { length: r.u32()? },
        10 => SqlType::Blob { size: blob_size(r)? },
        11 => SqlType::Date,
        12 => SqlType::Time { fsp: r.u8()? },
        13 => SqlType::DateTime { fsp: r.u8()? },
        14 => SqlType::Timestamp { fsp: r.u8()? },
        15 => SqlType::Year,
        16 => SqlType::Bit { length: r.u8()? },
        17 => SqlType::Enum { labels: strs(r)?.into(), collation: Collation(r.u16()?) },
        18 => SqlType::Set { labels: strs(r)?.into(), collation: Collation(r.u16()?) },
        19 => SqlType::Json,
        other => return Err(r.bad("type", other.into())),
    })
}

fn put_blob_size(out: &mut Vec<u8>, size: BlobSize) {
    out.put_u8(match size {
        BlobSize::Tiny => 1,
        BlobSize::Normal => 2,
        BlobSize::Medium => 3,
        BlobSize::Long => 4,
    });
}

fn blob_size(r: &mut Reader<'_>) -> Result<BlobSize, DecodeError> {
    Ok(match r.u8()? {
        1 => BlobSize::Tiny,
        2 => BlobSize::Normal,
        3 => BlobSize::Medium,
        4 => BlobSize::Long,
        other => return Err(r.bad("blob size", other.into())),
    })
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.put_bool(value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<'a, T>(
    r: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if r.bool()? { read(r).map(Some) } else { Ok(None) }
}

fn put_strs(out: &mut Vec<u8>, strs: &[Arc<str>]) {
    out.put_varint(strs.len() as u64);
    for text in strs {
        out.put_str(text);
    }
}

fn strs(r: &mut Reader<'_>) -> Result<Vec<Arc<str>>, DecodeError> {
    list(r, 1, |r| Ok(r.str()?.into()))
}

fn list<'a, T>(
    r: &mut Reader<'a>,
    item_min: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    (0..r.count(item_min)?).map(|_| read(r)).collect()
}

fn seal((tag, version): ([u8; 4], u16), body: &[u8]) -> Bytes {
    envelope::seal(tag, version, body).into()
}

fn open(bytes: &[u8], (tag, newest): ([u8; 4], u16)) -> Result<Reader<'_>, DecodeError> {
    let (_, body) = envelope::open(bytes, tag, newest)?;
    Ok(Reader::new(body))
}

#[cfg(test)]
mod tests;
