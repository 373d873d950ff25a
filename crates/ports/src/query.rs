//! Statements: what the session asks of the query engine, and what the engine asks of the session.

use crate::{BoxFuture, Direction, ForeignResult, ForeignStatement, LockWait};
use assize_catalog::{Catalog, Server, Table, TemporaryTables, User};
use assize_model::{
    CatalogChange, ErrorCode, Key, KeyRange, Mutation, SchemaVersion, Slot, SqlError, TableId, Timestamp,
    Warning,
};
use assize_sql::Statement;
use assize_values::{EvalContext, SqlType, Value};
use bytes::Bytes;
use std::sync::Arc;

/// A column of a result set, complete: drivers type values from it.
#[derive(Clone, PartialEq, Debug)]
pub struct ResultColumn {
    /// Database; empty for expressions.
    pub database: Arc<str>,
    /// Table or alias; empty for expressions.
    pub table: Arc<str>,
    /// The table's real name.
    pub org_table: Arc<str>,
    /// Name or alias.
    pub name: Arc<str>,
    /// The column's real name.
    pub org_name: Arc<str>,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL can occur.
    pub nullable: bool,
    /// Flags beyond what the type says.
    pub flags: ColumnFlags,
}

/// What a column is besides its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ColumnFlags {
    /// Part of the primary key.
    pub primary_key: bool,
    /// Part of a unique key.
    pub unique_key: bool,
    /// Part of another key.
    pub multiple_key: bool,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// NOT NULL without default.
    pub no_default: bool,
    /// ON UPDATE CURRENT_TIMESTAMP.
    pub on_update_now: bool,
}

/// The client's end of a statement: where its rows go, and where a file of the client comes from. Implementations apply
/// back-pressure in [`ResultSink::ready`].
pub trait ResultSink: Send {
    /// A result set begins.
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError>;
    /// A row of it. Buffers; never waits.
    fn row(&mut self, row: &[Value]) -> Result<(), SqlError>;
    /// Call every few hundred rows: waits while the reader is slow. An error means that the client is gone.
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>>;
    /// Asks the client for its file of this name (LOAD DATA LOCAL); error 3948 if it gives none. Its pieces come from
    /// [`ResultSink::file_part`].
    fn request_file<'a>(&'a mut self, name: &'a str) -> BoxFuture<'a, Result<(), SqlError>> {
        let _ = name;
        Box::pin(std::future::ready(Err(local_files_disabled())))
    }
    /// Waits for the next piece of the file that was asked for; `None` at its end. Who stops reading before that need not
    /// care for the rest.
    fn file_part(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Error 1290: nothing reads or writes files of the server, as with `secure_file_priv` NULL.
pub fn server_files_forbidden() -> SqlError {
    SqlError::new(
        ErrorCode::ReadOnlyOption,
        "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement",
    )
}

/// Error 3948.
pub fn local_files_disabled() -> SqlError {
    SqlError::new(
        ErrorCode::LocalFilesDisabled,
        "Loading local data is disabled; this must be enabled on both the client and server sides",
    )
}

/// What a statement did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Executed {
    /// It returned rows through the sink.
    Rows {
        /// How many.
        count: u64,
        /// How many there would have been without LIMIT (SQL_CALC_FOUND_ROWS), else `count`.
        found: u64,
    },
    /// It changed something.
    Affected {
        /// Rows changed (ON DUPLICATE KEY UPDATE: 1 inserted, 2 updated, 0 unchanged).
        changed: u64,
        /// Rows matched (what CLIENT_FOUND_ROWS reports for UPDATE).
        matched: u64,
        /// First AUTO_INCREMENT value generated, for the OK packet; 0 for none.
        insert_id: u64,
        /// `Records: …` or `Rows matched: …`, or empty.
        info: String,
    },
}

/// The shape of a prepared statement.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Described {
    /// Result columns; empty if the statement returns none.
    pub columns: Vec<ResultColumn>,
}

/// Plans and runs statements that have to do with data or with the catalog.
pub trait QueryEngine: Send + Sync {
    /// The result columns of a statement, for PREPARE.
    fn describe<'a>(
        &'a self,
        statement: &'a Statement,
        context: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>>;

    /// Runs a statement: SELECT, DML, DDL, SHOW, EXPLAIN, CHECK TABLE … `digest` identifies the normalised
    /// statement for the plan cache; `params` are the values of its `?` (literals that the normaliser lifted
    /// out are not among them).
    fn execute<'a>(
        &'a self,
        statement: &'a Statement,
        digest: u64,
        params: &'a [Value],
        context: &'a mut dyn StatementContext,
        sink: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>>;
}

/// What the engine may ask of the session while a statement runs.
pub trait StatementContext: Send {
    /// The catalog at the transaction's snapshot.
    fn catalog(&self) -> Arc<Catalog>;
    /// The temporary tables of the session: names mean these before those of the catalog.
    fn temporary_tables(&self) -> &TemporaryTables;
    /// An id for a temporary table that is about to be made, of this name. Its rows may be written from now on.
    fn new_temporary_id(&mut self, name: &str) -> TableId;
    /// Gives the session a temporary table. It stays if the transaction is rolled back; its rows do not.
    fn put_temporary(&mut self, table: Arc<Table>);
    /// Takes a temporary table away at once, rows and all, whether or not it has been given to the session.
    fn drop_temporary(&mut self, table: TableId);
    /// The selected database.
    fn database(&self) -> Option<Arc<str>>;
    /// Who is asking.
    fn user(&self) -> Arc<User>;
    /// `CONNECTION_ID()`.
    fn connection_id(&self) -> u32;
    /// Modes, time zone, statement time, warnings: what evaluating an expression needs.
    fn eval(&mut self) -> &mut EvalContext;
    /// `@@name`; scope `None` means session first.
    fn system_variable(&self, name: &str, global: Option<bool>) -> Result<Value, SqlError>;
    /// Every system variable with its value, ordered by name, for SHOW VARIABLES.
    fn system_variables(&self, global: bool) -> Vec<(Arc<str>, Value)>;
    /// `@name`.
    fn user_variable(&self, name: &str) -> Value;
    /// `SELECT … INTO @name`, `@name := …`.
    fn set_user_variable(&mut self, name: &str, value: Value);
    /// `LAST_INSERT_ID()`.
    fn last_insert_id(&self) -> u64;
    /// `LAST_INSERT_ID(expr)` and the first generated id of an INSERT.
    fn set_last_insert_id(&mut self, id: u64);
    /// `FOUND_ROWS()`.
    fn found_rows(&self) -> u64;
    /// `ROW_COUNT()`.
    fn row_count(&self) -> i64;
    /// SHOW WARNINGS: the list of the statement before.
    fn previous_warnings(&self) -> Vec<Warning>;
    /// The isolation level in force, as `REPEATABLE-READ`.
    fn isolation(&self) -> &'static str;
    /// Error 1317 if KILL has asked the statement to stop, 3024 if max_execution_time has passed.
    fn check_killed(&self) -> Result<(), SqlError>;
    /// SLEEP(): false once so many microseconds have passed, true if it was interrupted and the statement is to go on all the same;
    /// an error as by [`StatementContext::check_killed`] if it is not.
    fn sleep(&mut self, micros: u64) -> BoxFuture<'_, Result<bool, SqlError>> {
        let asleep = self.server().sleep(micros);
        Box::pin(async move {
            asleep.await;
            self.check_killed().map(|()| false)
        })
    }
    /// The transaction that the statement runs in.
    fn transaction(&mut self) -> &mut dyn Transaction;
    /// A transaction of its own for internal work (DDL, backfill), at the newest snapshot, with the newest
    /// catalog. The statement's own transaction has been committed before a DDL statement runs.
    fn begin_internal(&mut self) -> BoxFuture<'_, Result<Box<dyn InternalTransaction>, SqlError>>;
    /// Long work on data begins, for operators to look at: its kind (`index`) and what it does, in words.
    fn begin_job(&mut self, kind: &'static str, what: String) -> Box<dyn StatementJob> {
        let _ = (kind, what);
        Box::new(())
    }
    /// Makes `catalog()` show the newest catalog from now on; DDL calls it after its commit.
    fn refresh_catalog(&mut self) -> BoxFuture<'_, Result<Arc<Catalog>, SqlError>>;
    /// Bytes that the statement may hold for sorting, grouping, joining and materialising; error 1041 beyond.
    fn memory_max(&self) -> usize;
    /// GET_LOCK and its family, for the session. NULL is `None`; error 3058 if waiting would never end.
    fn named_lock<'a>(&'a mut self, call: LockCall<'a>) -> BoxFuture<'a, Result<Option<u64>, SqlError>>;
    /// The rest of the process: other connections, status counters.
    fn server(&self) -> &dyn ServerView;
}

/// What a session asks of named locks. Names have been checked, and compare case-insensitively.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockCall<'a> {
    /// GET_LOCK: 1 got, 0 not in the time allowed.
    Get {
        /// The lock.
        name: &'a str,
        /// How long it is waited for; `None` is for ever.
        timeout_micros: Option<u64>,
    },
    /// RELEASE_LOCK: 1 given back, 0 another session holds it, NULL nobody does.
    Release {
        /// The lock.
        name: &'a str,
    },
    /// RELEASE_ALL_LOCKS: how many.
    ReleaseAll,
    /// IS_USED_LOCK: the connection that holds it, on whichever node; NULL if nobody does.
    Holder {
        /// The lock.
        name: &'a str,
    },
}

/// Long work that a statement does on data. Dropped before its end it counts as failed.
pub trait StatementJob: Send + Sync {
    /// The step that it is at from now on, in words. Rows are counted anew.
    fn step(&self, step: &str);
    /// It has done so many rows more.
    fn did(&self, rows: u64);
    /// It has come to its end. What is said after that is not heard.
    fn end(&self, outcome: Result<(), &SqlError>);
}

/// Nobody looks.
impl StatementJob for () {
    fn step(&self, _: &str) {}
    fn did(&self, _: u64) {}
    fn end(&self, _: Result<(), &SqlError>) {}
}

/// A transaction that the engine itself begins and ends.
pub trait InternalTransaction: Send {
    /// The catalog at its snapshot.
    fn catalog(&self) -> Arc<Catalog>;
    /// Its reads and writes.
    fn transaction(&mut self) -> &mut dyn Transaction;
    /// Commits it, with a catalog change if there is one; 1213 if it lost.
    fn commit(
        self: Box<Self>,
        change: Option<CatalogChange>,
    ) -> BoxFuture<'static, Result<Timestamp, SqlError>>;
}

/// Which shards a scan visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanShards {
    /// All of them.
    All,
    /// The one that holds this slot: the sharding column is known.
    Slot(Slot),
}

/// What a read asks besides its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadIntent {
    /// Just read (recorded for the conflict check at SERIALIZABLE only).
    #[default]
    Plain,
    /// FOR SHARE: must not change until commit.
    Share(LockMode),
    /// FOR UPDATE, UPDATE and DELETE: as `Share`, and others' FOR UPDATE wait.
    Update(LockMode),
    /// A check of a constraint: must not change until commit, no reservation is taken.
    Check,
}

/// [`LockWait`] without its time, which is the session's `innodb_lock_wait_timeout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LockMode {
    /// Wait.
    #[default]
    Wait,
    /// NOWAIT.
    NoWait,
    /// SKIP LOCKED.
    SkipLocked,
    /// UPDATE and DELETE: optimistic, no reservation.
    Optimistic,
}

impl LockMode {
    /// With its time.
    pub fn with_timeout(self, timeout: std::time::Duration) -> Option<LockWait> {
        match self {
            LockMode::Wait => Some(LockWait::Timeout(timeout)),
            LockMode::NoWait => Some(LockWait::NoWait),
            LockMode::SkipLocked => Some(LockWait::SkipLocked),
            LockMode::Optimistic => None,
        }
    }
}

/// A range scan over one table's keys, merged over shards and the transaction's own writes, in key order.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanRequest {
    /// The table (range tracking is per table).
    pub table: TableId,
    /// The keys.
    pub range: KeyRange,
    /// Which shards.
    pub shards: ScanShards,
    /// Which way.
    pub direction: Direction,
    /// At most so many rows in the page.
    pub limit: usize,
    /// For what.
    pub intent: ReadIntent,
}

/// One page of a merged scan.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rows {
    /// Keys and values in scan order.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left of the range; `None` if nothing is.
    pub rest: Option<KeyRange>,
}

/// A savepoint within the write buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(pub u64);

/// Reads and buffered writes of one transaction. Reads see the transaction's own writes.
pub trait Transaction: Send {
    /// The snapshot of the statement that runs.
    fn snapshot_ts(&self) -> Timestamp;
    /// The value of a key.
    fn get<'a>(
        &'a mut self,
        table: TableId,
        slot: Slot,
        key: &'a Key,
        intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Option<Bytes>, SqlError>>;
    /// The values of several keys, in their order; one request per shard.
    fn get_many<'a>(
        &'a mut self,
        table: TableId,
        keys: &'a [(Slot, Key)],
        intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, SqlError>>;
    /// A page of a range.
    fn scan(&mut self, request: ScanRequest) -> BoxFuture<'_, Result<Rows, SqlError>>;
    /// Buffers a write. Error 1197 (with figures) if the transaction grows too big, 1792 if it is read only.
    fn write(&mut self, table: TableId, mutation: Mutation) -> Result<(), SqlError>;
    /// Puts a range into the conflict check without reading it (foreign keys).
    fn check_range(&mut self, table: TableId, range: KeyRange);
    /// Says that the statement planned with this version of the table.
    fn use_table(&mut self, table: TableId, version: SchemaVersion);
    /// Takes AUTO_INCREMENT values (auto_increment_increment and _offset applied), contiguous.
    fn allocate_ids(&mut self, table: TableId, count: u64)
    -> BoxFuture<'_, Result<crate::IdRange, SqlError>>;
    /// An explicit AUTO_INCREMENT value was stored: the counter must end above it.
    fn note_explicit_id(&mut self, table: TableId, id: u64);
    /// The table's next AUTO_INCREMENT value, for SHOW CREATE TABLE.
    fn next_id(&mut self, table: TableId) -> BoxFuture<'_, Result<u64, SqlError>>;
    /// Marks the write buffer.
    fn mark(&mut self) -> Mark;
    /// Undoes the writes since a mark (reads stay recorded).
    fn undo_to(&mut self, mark: Mark);
    /// Bytes buffered so far.
    fn buffered(&self) -> usize;
    /// Runs a statement on a server outside of the cluster, in the transaction's branch there, which is begun if there is none
    /// yet. What the server refuses keeps its number, SQLSTATE and text; error 1429 if the server is away.
    fn foreign<'a>(
        &'a mut self,
        server: &'a Arc<Server>,
        statement: ForeignStatement<'a>,
    ) -> BoxFuture<'a, Result<ForeignResult, SqlError>> {
        let _ = statement;
        let text = format!("foreign server {} cannot be used here", server.name);
        Box::pin(std::future::ready(Err(SqlError::not_supported(text))))
    }
    /// The shards that hold these slots, for EXPLAIN.
    fn shards_of(&self, shards: ScanShards) -> Vec<assize_model::ShardId>;
}

/// A connection, for SHOW PROCESSLIST.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessInfo {
    /// CONNECTION_ID().
    pub id: u32,
    /// User name.
    pub user: Arc<str>,
    /// `host:port` of the client.
    pub host: Arc<str>,
    /// Selected database.
    pub database: Option<Arc<str>>,
    /// `Sleep`, `Query`, …
    pub command: &'static str,
    /// Seconds in this state.
    pub seconds: u64,
    /// What it is doing.
    pub state: &'static str,
    /// The statement.
    pub statement: Option<Arc<str>>,
}

/// The rest of the process, as a statement may see it.
pub trait ServerView: Send + Sync {
    /// Every connection.
    fn processes(&self) -> Vec<ProcessInfo>;
    /// KILL [QUERY]: false if there is no such connection.
    fn kill(&self, connection: u32, query_only: bool) -> bool;
    /// Completes after so many microseconds: the time that SLEEP() takes if nobody interrupts it.
    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()>;
    /// SHOW STATUS: names and values, ordered by name.
    fn status(&self, connection: u32) -> Vec<(String, String)>;
    /// Statement digests: (digest text, count, total microseconds, rows, errors), most time first.
    fn digests(&self) -> Vec<(String, u64, u64, u64, u64)>;
    /// How much tables hold, for information_schema; `None` in a process that has nobody to ask.
    fn table_sizes(&self) -> Option<Arc<dyn crate::TableSizes>> {
        None
    }
    /// The cluster, for SHOW CONFLICTS and its like; `None` in a process that has no view of it.
    fn cluster(&self) -> Option<Arc<dyn crate::ClusterView>> {
        None
    }
}

/// A process that has no connections and no counters to show: one without a server, such as a test or a simulation.
/// Nobody sleeps in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServer;

impl ServerView for NoServer {
    fn processes(&self) -> Vec<ProcessInfo> {
        Vec::new()
    }

    fn kill(&self, _: u32, _: bool) -> bool {
        false
    }

    fn sleep(&self, _: u64) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn status(&self, _: u32) -> Vec<(String, String)> {
        Vec::new()
    }

    fn digests(&self) -> Vec<(String, u64, u64, u64, u64)> {
        Vec::new()
    }
}
