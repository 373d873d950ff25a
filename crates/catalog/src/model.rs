//! The definitions that the catalog holds.

use assize_model::{CatalogVersion, DatabaseId, IndexId, SchemaVersion, TableId};
use assize_values::{Collation, SqlType, Value};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Database and name of a table.
pub type QualifiedName = (Arc<str>, Arc<str>);

/// Everything that exists, at one catalog version. Immutable and shared; a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Which version this is.
    pub version: CatalogVersion,
    /// Databases by name (names compare byte for byte: `lower_case_table_names = 0`).
    pub databases: BTreeMap<Arc<str>, Arc<Database>>,
    /// Every table by id, dropped ones in the recycle bin excluded.
    pub tables: BTreeMap<TableId, Arc<Table>>,
    /// Users by (name, host pattern).
    pub users: BTreeMap<(Arc<str>, Arc<str>), Arc<User>>,
    /// What DROP and TRUNCATE unlinked, newest last, until purged.
    pub dropped: Vec<Arc<Dropped>>,
    /// Global system variables that were set (SET GLOBAL / SET PERSIST).
    pub globals: BTreeMap<Arc<str>, Value>,
    /// Servers outside of the cluster, by name in lower case: names of servers compare case-insensitively.
    pub servers: BTreeMap<Arc<str>, Arc<Server>>,
    /// The numbers that the next new objects get.
    pub next_ids: NextIds,
    /// Children by the (database, name) of the table that their foreign keys refer to, whether it is there or
    /// not. Derived from `tables`.
    pub children: Arc<BTreeMap<QualifiedName, Vec<TableId>>>,
    /// The version at which each stored object was last put, by object key: what a change may expect.
    pub object_versions: Arc<BTreeMap<Bytes, u64>>,
}

/// The numbers that the next new objects get. They only rise: an id is never given twice, not even after the
/// object is gone, because keys and stored rows outlive it in the recycle bin and in old snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextIds {
    /// For CREATE DATABASE.
    pub database: DatabaseId,
    /// For CREATE TABLE, and for everything that rewrites a table.
    pub table: TableId,
    /// For DROP and TRUNCATE: the number in the recycle bin.
    pub dropped: u64,
}

impl Default for NextIds {
    fn default() -> Self {
        NextIds { database: DatabaseId(1), table: TableId(1), dropped: 1 }
    }
}

/// A database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Its id.
    pub id: DatabaseId,
    /// Its name.
    pub name: Arc<str>,
    /// Default collation of new tables.
    pub collation: Collation,
    /// Its tables by name.
    pub tables: BTreeMap<Arc<str>, TableId>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its id, which its keys begin with.
    pub id: TableId,
    /// Rises with every change of the definition.
    pub version: SchemaVersion,
    /// Its database.
    pub database: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Columns in SELECT * order.
    pub columns: Vec<Column>,
    /// Number for the next column's `Column::id`; ids are never reused within a table.
    pub next_column_id: u32,
    /// `indexes[0]` is the primary key if `IndexId(0)`; a table without a primary key has a hidden row id
    /// (see `hidden_row_id`) and its primary index has no columns.
    pub indexes: Vec<Index>,
    /// Number for the next index.
    pub next_index_id: u16,
    /// No primary key was declared: rows are keyed by a generated 64-bit id.
    pub hidden_row_id: bool,
    /// The column whose slot places the row: ordinal into `columns`; `None` with a hidden row id.
    pub sharding_column: Option<usize>,
    /// Foreign keys of which this table is the child.
    pub foreign_keys: Vec<ForeignKey>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// Default collation of new columns.
    pub collation: Collation,
    /// COMMENT.
    pub comment: Arc<str>,
    /// Creation time, microseconds since the Unix epoch (for information_schema).
    pub created_micros: i64,
    /// Table options printed back by SHOW CREATE TABLE that change nothing here (ROW_FORMAT …).
    pub options: Vec<(Arc<str>, Arc<str>)>,
    /// The query behind the name, if this is a view: it has columns, and never a row of its own. Views are tables to the
    /// catalog because they share their names, their versions and their fences.
    pub view: Option<Arc<View>>,
    /// Where its rows are, if they are on a server outside of the cluster: not one key of it is on a shard then.
    pub foreign: Option<Arc<Foreign>>,
}

/// Where the rows of a foreign table are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The server, as CREATE TABLE named it.
    pub server: Arc<str>,
    /// The table there, in the server's database.
    pub table: Arc<str>,
}

/// A real MySQL or MariaDB server outside of the cluster: what CREATE SERVER says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, as it was written.
    pub name: Arc<str>,
    /// FOREIGN DATA WRAPPER: always `mysql`.
    pub wrapper: Arc<str>,
    /// Host name or address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// The database there.
    pub database: Arc<str>,
    /// The account that frontends use there.
    pub user: Arc<str>,
    /// Its password.
    pub password: Arc<str>,
    /// OWNER, which says nothing to anybody but is shown.
    pub owner: Arc<str>,
}

/// What makes a table a view.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The query, in a form that no SQL mode changes: names qualified, `*` written out.
    pub query: Arc<str>,
    /// Whether names of columns were listed behind the view's name.
    pub columns_named: bool,
    /// Name and host pattern of the account that SQL SECURITY DEFINER acts for.
    pub definer: QualifiedName,
    /// SQL SECURITY.
    pub security: ViewSecurity,
    /// ALGORITHM.
    pub algorithm: ViewAlgorithm,
    /// WITH CHECK OPTION.
    pub check: ViewCheck,
    /// Whether its rows are rows of one table, so that they can be changed.
    pub updatable: bool,
    /// `character_set_client` of the session that created it.
    pub character_set_client: Arc<str>,
    /// `collation_connection` of the session that created it: what its literals compare by.
    pub collation_connection: Collation,
}

/// On whose behalf a view reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewSecurity {
    /// Its definer's.
    Definer,
    /// That of whoever uses it.
    Invoker,
}

/// How a view is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewAlgorithm {
    /// As seems best.
    Undefined,
    /// As a part of the query that uses it.
    Merge,
    /// By itself.
    TempTable,
}

/// Which rows may be written through a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewCheck {
    /// All.
    None,
    /// Those that the view itself shows.
    Local,
    /// Those that it and every view below it show.
    Cascaded,
}

/// From this cluster version on every node understands views.
pub const VIEWS_SINCE: u32 = 5;
/// From this cluster version on every node understands functional key parts: hidden columns.
pub const FUNCTIONAL_KEYS_SINCE: u32 = 6;

/// From this cluster version on every node understands foreign servers and foreign tables.
pub const FOREIGN_SINCE: u32 = 6;

/// From this cluster version on every node knows the character sets besides ascii, binary, latin1 and those of UTF-8.
pub const CHARACTER_SETS_SINCE: u32 = 6;

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Identifies the column's values within stored rows; survives renames and reordering.
    pub id: u32,
    /// Its name; compared case-insensitively.
    pub name: Arc<str>,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// DEFAULT.
    pub default: Option<DefaultValue>,
    /// ON UPDATE CURRENT_TIMESTAMP, with its precision.
    pub on_update_now: Option<u8>,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// GENERATED ALWAYS AS.
    pub generated: Option<Generated>,
    /// COMMENT.
    pub comment: Arc<str>,
    /// INVISIBLE.
    pub invisible: bool,
    /// It exists for a functional key part alone: it is generated, invisible too, stands behind all others, and has no name
    /// by which a statement could mean it.
    pub hidden: bool,
    /// Value of rows stored before the column was added (what ADD COLUMN's default was then).
    pub added_value: Option<Value>,
}

impl Column {
    /// A column that has a name, a type and nothing more: no default, no comment.
    pub fn plain(id: u32, name: &str, sql_type: SqlType, nullable: bool) -> Column {
        Column {
            id,
            name: name.into(),
            sql_type,
            nullable,
            default: None,
            on_update_now: None,
            auto_increment: false,
            generated: None,
            comment: "".into(),
            invisible: false,
            hidden: false,
            added_value: None,
        }
    }
}

/// A column's default.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// A constant, already of the column's type.
    Constant(Value),
    /// CURRENT_TIMESTAMP(fsp).
    Now(u8),
    /// DEFAULT (expression), as SQL text.
    Expression(Arc<str>),
}

/// A generated column's expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// As SQL text.
    pub expression: Arc<str>,
    /// STORED; otherwise VIRTUAL.
    pub stored: bool,
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Its id within the table; 0 is the primary key.
    pub id: IndexId,
    /// Its name; `PRIMARY` for the primary key.
    pub name: Arc<str>,
    /// Its columns.
    pub parts: Vec<IndexPart>,
    /// UNIQUE (or primary). A unique secondary index is global: its entry lives in the slot of its value.
    pub unique: bool,
    /// How far the index has been built.
    pub state: IndexState,
    /// COMMENT.
    pub comment: Arc<str>,
    /// INVISIBLE: maintained, not used by plans.
    pub invisible: bool,
}

/// One column of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexPart {
    /// `Column::id`.
    pub column: u32,
    /// Prefix length in characters (text) or bytes (binary).
    pub prefix: Option<u32>,
    /// DESC.
    pub descending: bool,
}

/// How far an index has been built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Writers maintain it; readers must not use it yet.
    WriteOnly,
    /// Complete.
    Public,
}

/// A foreign key, held by its child table.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKey {
    /// Constraint name, unique in the database.
    pub name: Arc<str>,
    /// `Column::id`s of the child.
    pub columns: Vec<u32>,
    /// Parent table; a reference to a table that does not exist yet (foreign_key_checks = 0) is kept by name.
    pub parent_database: Arc<str>,
    /// Parent table name.
    pub parent_table: Arc<str>,
    /// Parent column names.
    pub parent_columns: Vec<Arc<str>>,
    /// ON DELETE.
    pub on_delete: ReferentialAction,
    /// ON UPDATE.
    pub on_update: ReferentialAction,
}

/// What happens to children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferentialAction {
    /// NO ACTION: as RESTRICT.
    NoAction,
    /// RESTRICT.
    Restrict,
    /// CASCADE.
    Cascade,
    /// SET NULL.
    SetNull,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its name.
    pub name: Arc<str>,
    /// The condition, as SQL text.
    pub expression: Arc<str>,
    /// NOT ENFORCED if false.
    pub enforced: bool,
    /// The column that it was declared with, if it was declared inline.
    pub column: Option<u32>,
}

/// Something in the recycle bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Number by which UNDROP and SHOW DROPPED name it.
    pub id: u64,
    /// When, microseconds since the Unix epoch.
    pub dropped_micros: i64,
    /// By which statement.
    pub cause: DropCause,
    /// The database; its own `tables` list is empty unless the whole database was dropped.
    pub database: Arc<Database>,
    /// The tables, as they were.
    pub tables: Vec<Arc<Table>>,
}

/// Which statement unlinked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// DROP TABLE.
    DropTable,
    /// TRUNCATE TABLE.
    Truncate,
    /// DROP DATABASE.
    DropDatabase,
}

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its name; empty is the anonymous user.
    pub name: Arc<str>,
    /// Host pattern (`%`, `localhost`, `10.%`).
    pub host: Arc<str>,
    /// Authentication plugin: `caching_sha2_password` or `mysql_native_password`.
    pub plugin: Arc<str>,
    /// caching_sha2_password: SHA256(SHA256(password)); mysql_native_password: SHA1(SHA1(password)); empty
    /// for no password.
    pub verifier: Vec<u8>,
    /// ACCOUNT LOCK.
    pub locked: bool,
    /// REQUIRE SSL.
    pub require_tls: bool,
    /// Global privileges, upper case (`SELECT`, `ALL PRIVILEGES`, …).
    pub global: Vec<Arc<str>>,
    /// Privileges by database name.
    pub databases: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Privileges by (database, table).
    pub tables: BTreeMap<QualifiedName, Vec<Arc<str>>>,
    /// Which of the above come WITH GRANT OPTION: "" for global, "db" or "db.table".
    pub grant_option: Vec<Arc<str>>,
}
