//! A session and a store in memory, for tests of this crate: one transaction that is always open, four
//! pretended shards, a catalog that changes at once.

mod fake_cluster;
mod foreign;
mod foreign_catalog;

pub use fake_cluster::FakeCluster;
pub use foreign::FakeForeign;
pub use foreign_catalog::ScriptedServers;

use crate::Engine;
use assize_catalog::{Catalog, ChangeBuilder, Database, Table, TemporaryTables, User};
use assize_model::{
    CatalogChange, ErrorCode, IndexId, Key, Mutation, MutationOp, SchemaVersion, ShardId, Slot, SqlError,
    TableId, Timestamp, Warning,
};
use assize_ports::*;
use assize_sql::{ParseOptions, Statement, parse_next};
use assize_values::{EvalContext, SqlMode, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// Runs a future that never really waits.
///
/// # Panics
/// If it does not make progress for very long: nothing in these tests waits for anybody.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_counting(future).0
}

/// Likewise, with how often others would have had a turn.
fn block_on_counting<T>(future: impl Future<Output = T>) -> (T, u64) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for turns in 0..10_000_000u64 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return (value, turns);
        }
    }
    panic!("the future waits for somebody");
}

/// What all sessions of a test share.
#[derive(Debug, Default)]
struct World {
    catalog: Arc<Catalog>,
    /// Values with the slot they were written to: reading them elsewhere finds nothing, as on shards.
    rows: BTreeMap<Key, (Slot, Bytes)>,
    counters: BTreeMap<TableId, u64>,
    undo: Vec<(Key, Option<(Slot, Bytes)>)>,
    versions: u64,
    /// How often each named lock is held.
    locks: BTreeMap<String, u64>,
    reads: Reads,
    used: BTreeSet<(TableId, SchemaVersion)>,
    /// How often it was asked how much tables hold.
    sizes_asked: u64,
    /// Foreign servers, for tests of definitions.
    scripted: ScriptedServers,
}

/// How much a statement has read, for tests of access paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Keys looked up.
    pub keys: u64,
    /// Pages scanned.
    pub pages: u64,
    /// Keys and values scanned.
    pub scanned: u64,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn at(&self, slot: Slot, key: &Key) -> Option<Bytes> {
        self.rows.get(key).filter(|(written, _)| *written == slot).map(|(_, value)| value.clone())
    }
}

/// One of four shards.
fn shard_of(slot: Slot) -> ShardId {
    ShardId(u32::from(slot.0) / 16_384 + 1)
}

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A session of a test.
pub struct Session {
    world: Shared,
    engine: Arc<Engine>,
    context: MemoryContext,
    turns: u64,
    /// What the client sends when it is asked for a file, in pieces of so many bytes.
    file: Option<(Bytes, usize)>,
}

/// What a statement answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Result columns.
    pub columns: Vec<ResultColumn>,
    /// Rows as values.
    pub rows: Vec<Vec<Value>>,
    /// What it did.
    pub executed: Executed,
    /// Its warnings.
    pub warnings: Vec<Warning>,
}

impl Answer {
    /// Rows as text, NULL as `NULL`.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let text = |value: &Value, column: &ResultColumn| match value {
            Value::Null => "NULL".to_string(),
            value => {
                let mut out = Vec::new();
                assize_values::format::write_text(value, &column.sql_type, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
        };
        self.rows.iter().map(|row| row.iter().zip(&self.columns).map(|(v, c)| text(v, c)).collect()).collect()
    }
}

impl Default for Session {
    fn default() -> Self {
        Session::new()
    }
}

impl Session {
    /// A session on an empty store that has the database `test`, which is selected.
    pub fn new() -> Self {
        Session::with_engine(Arc::new(Engine::new()))
    }

    /// Likewise, with this engine.
    pub fn with_engine(engine: Arc<Engine>) -> Self {
        let world: Shared = Arc::default();
        let base = Catalog::default();
        let mut change = ChangeBuilder::new(&base);
        let id = change.take_database_id();
        change.put_database(&Database {
            id,
            name: "test".into(),
            collation: assize_values::Collation::UTF8MB4_0900_AI_CI,
            tables: BTreeMap::new(),
        });
        let change = change.finish();
        apply_change(&mut lock(&world), &change);
        let context = MemoryContext::new(world.clone());
        Session { world, engine, context, turns: 0, file: None }
    }

    /// Runs one statement.
    pub fn run(&mut self, sql: &str) -> Result<Answer, SqlError> {
        self.run_with(sql, &[])
    }

    /// Runs one statement with values for its `?`.
    pub fn run_with(&mut self, sql: &str, params: &[Value]) -> Result<Answer, SqlError> {
        let mode = self.context.eval.sql_mode.to_string();
        let options = ParseOptions::from_sql_mode(&mode);
        let next = parse_next(sql.as_bytes(), 0, &options)?;
        let Some(parsed) = next.parsed else {
            return Err(SqlError::new(ErrorCode::EmptyQuery, "Query was empty"));
        };
        let now = self.context.eval.now_micros;
        self.context.eval.begin_statement(now);
        self.context.catalog = lock(&self.world).catalog.clone();
        lock(&self.world).reads = Reads::default();
        if let Some(done) = self.own(&parsed.statement) {
            return done;
        }
        let digest = assize_sql::normalise(sql.as_bytes(), &options).hash;
        let mut sink = MemorySink { file: self.file.clone(), ..MemorySink::default() };
        let engine = self.engine.clone();
        let (executed, turns) = block_on_counting(engine.execute(
            &parsed.statement,
            digest,
            params,
            &mut self.context,
            &mut sink,
        ));
        self.turns = turns;
        let warnings = std::mem::take(&mut self.context.eval.warnings);
        self.context.previous = warnings.clone();
        let executed = executed?;
        match &executed {
            Executed::Rows { found, .. } => self.context.found = *found,
            Executed::Affected { changed, insert_id, .. } => {
                self.context.rows_changed = *changed as i64;
                if *insert_id != 0 {
                    self.context.last_id = *insert_id;
                }
            }
        }
        self.sync();
        Ok(Answer { columns: sink.columns, rows: sink.rows, executed, warnings })
    }

    /// Statements that belong to sessions: the few of them that tests need.
    fn own(&mut self, statement: &Statement) -> Option<Result<Answer, SqlError>> {
        use assize_sql::{SetItem, ValueExpr};
        let done = Answer {
            columns: Vec::new(),
            rows: Vec::new(),
            executed: Executed::Affected { changed: 0, matched: 0, insert_id: 0, info: String::new() },
            warnings: Vec::new(),
        };
        match statement {
            Statement::Use(name) => {
                self.context.database = Some(name.as_str().into());
                self.sync();
                Some(Ok(done))
            }
            Statement::Set(items) => {
                for item in items {
                    let (name, value, user) = match item {
                        SetItem::UserVariable { name, value } => (name, value.clone(), true),
                        SetItem::Variable { name, value: ValueExpr::Expr(value), .. } => {
                            (name, value.clone(), false)
                        }
                        _ => continue,
                    };
                    let value = match self.evaluate(&value) {
                        Ok(value) => value,
                        Err(error) => return Some(Err(error)),
                    };
                    if user {
                        self.context.variables.insert(name.to_ascii_lowercase(), value);
                        continue;
                    }
                    if name == "sql_mode" {
                        match SqlMode::parse(&crate::expr::to_text(&value)) {
                            Ok(mode) => self.context.eval.sql_mode = mode,
                            Err(error) => return Some(Err(error)),
                        }
                    }
                    if name == "time_zone" {
                        match assize_values::TimeZone::parse(&crate::expr::to_text(&value)) {
                            Ok(zone) => self.context.eval.time_zone = zone,
                            Err(error) => return Some(Err(error)),
                        }
                    }
                    if name == "group_concat_max_len" {
                        self.context.eval.group_concat_max_len = crate::expr::to_f64(&value) as u64;
                    }
                    self.context.system.insert(name.clone(), value);
                }
                Some(Ok(done))
            }
            _ => None,
        }
    }

    fn evaluate(&mut self, expr: &sqlparser::ast::Expr) -> Result<Value, SqlError> {
        use crate::bind::{Binder, NoVirtualTables, Place, Scope};
        if let sqlparser::ast::Expr::Identifier(word) = expr
            && !word.value.starts_with('@')
        {
            return Ok(Value::text(word.value.as_str()));
        }
        let bound = {
            let mut binder = Binder::new(&mut self.context, &NoVirtualTables, Some(&[]));
            let scope = Scope::new(Vec::new(), None);
            binder.expr(expr, Place::plain(&scope, "field list"))?
        };
        let mut rt = crate::expr::Runtime::new(&mut self.context, &[]);
        block_on(crate::expr::eval_async(&bound, &[], &mut rt))
    }

    fn sync(&mut self) {
        let context = &mut self.context;
        let environment = &mut context.eval.environment;
        environment.database = context.database.clone();
        environment.found_rows = context.found;
        environment.row_count = context.rows_changed;
        environment.last_insert_id = context.last_id;
    }

    /// How often the last statement let others have a turn.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// How much the last statement read.
    pub fn reads(&self) -> Reads {
        lock(&self.world).reads
    }

    /// How often statements have asked how much tables hold.
    pub fn sizes_asked(&self) -> u64 {
        lock(&self.world).sizes_asked
    }

    /// The catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        lock(&self.world).catalog.clone()
    }

    /// The session as statements see it.
    pub fn context(&mut self) -> &mut MemoryContext {
        &mut self.context
    }

    /// From now on the client sends this file when it is asked for one, in pieces of so many bytes.
    pub fn sends(&mut self, file: impl Into<Bytes>, piece: usize) {
        self.file = Some((file.into(), piece.max(1)));
    }

    /// Changes what foreign servers answer, or looks at what they were asked.
    pub fn scripted<T>(&mut self, change: impl FnOnce(&mut ScriptedServers) -> T) -> T {
        change(&mut lock(&self.world).scripted)
    }

    /// From now on the process has this view of a cluster.
    pub fn joins(&mut self, cluster: Arc<dyn ClusterView>) {
        self.context.server.cluster = Some(cluster);
    }

    /// From now on statements run as this user, who has these global privileges and no others.
    pub fn becomes(&mut self, name: &str, privileges: &[&str]) {
        let mut user = User::clone(&self.context.user);
        user.name = name.into();
        user.global = privileges.iter().map(|privilege| Arc::from(*privilege)).collect();
        user.grant_option.clear();
        self.context.user = Arc::new(user);
    }

    /// From now on statements run as this user of the catalog.
    pub fn signs_in(&mut self, name: &str) {
        let found = self.catalog().users.get(&(name.into(), "%".into())).cloned();
        self.context.user = found.expect("a user of this name at %");
    }

    /// The tables and views that transactions have planned with, and their versions.
    pub fn used(&self) -> BTreeSet<(TableId, SchemaVersion)> {
        lock(&self.world).used.clone()
    }

    /// How many keys are stored.
    pub fn stored(&self) -> usize {
        lock(&self.world).rows.len()
    }
}

fn apply_change(world: &mut World, change: &CatalogChange) {
    world.versions += 1;
    let version = world.versions;
    let objects: Vec<(Bytes, u64, Option<Bytes>)> =
        change.objects.iter().map(|(key, body)| (key.clone(), version, body.clone())).collect();
    let next = world
        .catalog
        .apply_objects(assize_model::CatalogVersion(version), false, &objects)
        .expect("objects that this crate encoded");
    world.catalog = Arc::new(next);
    for (table, next) in &change.counters {
        world.counters.insert(*table, *next);
    }
}

/// Keeps what a statement answers.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// Result columns.
    pub columns: Vec<ResultColumn>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
    /// What is left of the client's file, and the size of its pieces.
    pub file: Option<(Bytes, usize)>,
}

impl ResultSink for MemorySink {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        if row.len() != self.columns.len() {
            return Err(SqlError::internal(format!(
                "{} values for {} columns",
                row.len(),
                self.columns.len()
            )));
        }
        self.rows.push(row.to_vec());
        Ok(())
    }

    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }

    fn request_file<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<(), SqlError>> {
        let sends = self.file.is_some();
        Box::pin(async move { if sends { Ok(()) } else { Err(local_files_disabled()) } })
    }

    fn file_part(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        let part = self.file.as_mut().filter(|(rest, _)| !rest.is_empty());
        let part = part.map(|(rest, piece)| rest.split_to((*piece).min(rest.len())));
        Box::pin(async { Ok(part) })
    }
}

/// A session over the store in memory.
pub struct MemoryContext {
    world: Shared,
    catalog: Arc<Catalog>,
    /// The selected database.
    pub database: Option<Arc<str>>,
    user: Arc<User>,
    /// Modes, time, warnings.
    pub eval: EvalContext,
    variables: BTreeMap<String, Value>,
    system: BTreeMap<String, Value>,
    previous: Vec<Warning>,
    found: u64,
    rows_changed: i64,
    last_id: u64,
    temporary: TemporaryTables,
    temporary_given: u32,
    transaction: MemoryTransaction,
    server: MemoryServer,
}

impl MemoryContext {
    fn new(world: Shared) -> Self {
        let mut eval = EvalContext::default();
        let utc = assize_values::TimeZone::parse("+00:00").expect("a time zone");
        (eval.now_micros, eval.time_zone) = (1_795_168_800_000_000, utc);
        eval.environment.version = "8.4.0-assize".into();
        eval.environment.user = "root@localhost".into();
        eval.environment.current_user = "root@%".into();
        eval.environment.database = Some("test".into());
        eval.environment.connection_id = 1;
        let catalog = lock(&world).catalog.clone();
        MemoryContext {
            catalog,
            database: Some("test".into()),
            user: Arc::new(User {
                name: "root".into(),
                host: "%".into(),
                plugin: "caching_sha2_password".into(),
                verifier: Vec::new(),
                locked: false,
                require_tls: false,
                global: vec!["ALL PRIVILEGES".into()],
                databases: BTreeMap::new(),
                tables: BTreeMap::new(),
                grant_option: vec!["".into()],
            }),
            eval,
            variables: BTreeMap::new(),
            system: BTreeMap::new(),
            previous: Vec::new(),
            found: 0,
            rows_changed: -1,
            last_id: 0,
            temporary: TemporaryTables::default(),
            temporary_given: 0,
            transaction: MemoryTransaction { world: world.clone(), servers: Vec::new() },
            server: MemoryServer { cluster: None, world: world.clone() },
            world,
        }
    }
}

impl MemoryContext {
    /// Locks of one session: there is no other, and nobody waits.
    fn call_lock(&mut self, call: LockCall<'_>) -> Option<u64> {
        let mut world = lock(&self.world);
        match call {
            LockCall::Get { name, .. } => {
                *world.locks.entry(name.to_lowercase()).or_default() += 1;
                Some(1)
            }
            LockCall::Release { name } => {
                let depth = world.locks.get_mut(&name.to_lowercase())?;
                *depth -= 1;
                world.locks.retain(|_, depth| *depth > 0);
                Some(1)
            }
            LockCall::ReleaseAll => Some(std::mem::take(&mut world.locks).into_values().sum()),
            LockCall::Holder { name } => {
                world.locks.contains_key(&name.to_lowercase()).then(|| u64::from(self.connection_id()))
            }
        }
    }
}

impl StatementContext for MemoryContext {
    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    fn temporary_tables(&self) -> &TemporaryTables {
        &self.temporary
    }

    fn new_temporary_id(&mut self, _name: &str) -> TableId {
        self.temporary_given += 1;
        TableId::temporary(self.temporary_given)
    }

    fn put_temporary(&mut self, table: Arc<Table>) {
        self.temporary.put(table);
    }

    fn drop_temporary(&mut self, table: TableId) {
        self.temporary.remove(table);
        lock(&self.world).rows.retain(|key, _| !key.0.starts_with(&table.0.to_be_bytes()));
    }

    fn database(&self) -> Option<Arc<str>> {
        self.database.clone()
    }

    fn user(&self) -> Arc<User> {
        self.user.clone()
    }

    fn connection_id(&self) -> u32 {
        1
    }

    fn eval(&mut self) -> &mut EvalContext {
        &mut self.eval
    }

    fn system_variable(&self, name: &str, _global: Option<bool>) -> Result<Value, SqlError> {
        if let Some(value) = self.system.get(name) {
            return Ok(value.clone());
        }
        Ok(match name {
            "sql_mode" => Value::text(self.eval.sql_mode.to_string()),
            "autocommit" | "foreign_key_checks" | "unique_checks" => Value::Int(1),
            "cte_max_recursion_depth" => Value::UInt(1000),
            "sql_select_limit" => Value::UInt(u64::MAX),
            "auto_increment_increment" | "auto_increment_offset" => Value::UInt(1),
            "version" => Value::text("8.4.0-assize"),
            "version_comment" => Value::text("Assize"),
            "max_allowed_packet" => Value::UInt(67_108_864),
            "tx_isolation" | "transaction_isolation" => Value::text("REPEATABLE-READ"),
            "character_set_client" | "character_set_connection" | "character_set_results" => {
                Value::text("utf8mb4")
            }
            "collation_connection" => Value::text("utf8mb4_0900_ai_ci"),
            "time_zone" => Value::text(self.eval.time_zone.to_string()),
            _ => {
                return Err(SqlError::new(
                    ErrorCode::UnknownSystemVariable,
                    format!("Unknown system variable '{name}'"),
                ));
            }
        })
    }

    fn system_variables(&self, _global: bool) -> Vec<(Arc<str>, Value)> {
        ["autocommit", "sql_mode", "version"]
            .into_iter()
            .filter_map(|name| Some((name.into(), self.system_variable(name, None).ok()?)))
            .collect()
    }

    fn user_variable(&self, name: &str) -> Value {
        self.variables.get(name).cloned().unwrap_or(Value::Null)
    }

    fn set_user_variable(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_ascii_lowercase(), value);
    }

    fn last_insert_id(&self) -> u64 {
        self.last_id
    }

    fn set_last_insert_id(&mut self, id: u64) {
        self.last_id = id;
        self.eval.environment.last_insert_id = id;
    }

    fn found_rows(&self) -> u64 {
        self.found
    }

    fn row_count(&self) -> i64 {
        self.rows_changed
    }

    fn previous_warnings(&self) -> Vec<Warning> {
        self.previous.clone()
    }

    fn isolation(&self) -> &'static str {
        "REPEATABLE-READ"
    }

    fn check_killed(&self) -> Result<(), SqlError> {
        Ok(())
    }

    fn transaction(&mut self) -> &mut dyn Transaction {
        &mut self.transaction
    }

    fn begin_internal(&mut self) -> BoxFuture<'_, Result<Box<dyn InternalTransaction>, SqlError>> {
        let world = self.world.clone();
        Box::pin(async move {
            let catalog = lock(&world).catalog.clone();
            let transaction = MemoryTransaction { world: world.clone(), servers: Vec::new() };
            Ok(Box::new(MemoryInternal { world, catalog, transaction }) as Box<dyn InternalTransaction>)
        })
    }

    fn refresh_catalog(&mut self) -> BoxFuture<'_, Result<Arc<Catalog>, SqlError>> {
        self.catalog = lock(&self.world).catalog.clone();
        let catalog = self.catalog.clone();
        Box::pin(async move { Ok(catalog) })
    }

    fn memory_max(&self) -> usize {
        256 << 20
    }

    fn named_lock<'a>(&'a mut self, call: LockCall<'a>) -> BoxFuture<'a, Result<Option<u64>, SqlError>> {
        let answer = self.call_lock(call);
        Box::pin(async move { Ok(answer) })
    }

    fn server(&self) -> &dyn ServerView {
        &self.server
    }
}

struct MemoryInternal {
    world: Shared,
    catalog: Arc<Catalog>,
    transaction: MemoryTransaction,
}

impl InternalTransaction for MemoryInternal {
    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    fn transaction(&mut self) -> &mut dyn Transaction {
        &mut self.transaction
    }

    fn commit(
        self: Box<Self>,
        change: Option<CatalogChange>,
    ) -> BoxFuture<'static, Result<Timestamp, SqlError>> {
        Box::pin(async move {
            if let Some(change) = change {
                apply_change(&mut lock(&self.world), &change);
            }
            Ok(Timestamp::default())
        })
    }
}

struct MemoryTransaction {
    world: Shared,
    /// Servers outside of the cluster, by name.
    servers: Vec<(String, FakeForeign)>,
}

impl Transaction for MemoryTransaction {
    fn snapshot_ts(&self) -> Timestamp {
        Timestamp::default()
    }

    fn get<'a>(
        &'a mut self,
        _table: TableId,
        slot: Slot,
        key: &'a Key,
        _intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Option<Bytes>, SqlError>> {
        let mut world = lock(&self.world);
        world.reads.keys += 1;
        let found = world.at(slot, key);
        Box::pin(async move { Ok(found) })
    }

    fn get_many<'a>(
        &'a mut self,
        _table: TableId,
        keys: &'a [(Slot, Key)],
        _intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, SqlError>> {
        let mut world = lock(&self.world);
        world.reads.keys += keys.len() as u64;
        let found = keys.iter().map(|(slot, key)| world.at(*slot, key)).collect();
        Box::pin(async move { Ok(found) })
    }

    fn scan(&mut self, request: ScanRequest) -> BoxFuture<'_, Result<Rows, SqlError>> {
        let mut world = lock(&self.world);
        world.reads.pages += 1;
        let assize_model::KeyRange { start, end } = request.range;
        if start >= end {
            return Box::pin(async { Ok(Rows::default()) });
        }
        let limit = request.limit.max(1);
        let range = world.rows.range(start.clone()..end.clone());
        let here = |(_, (slot, _)): &(&Key, &(Slot, Bytes))| match request.shards {
            ScanShards::All => true,
            ScanShards::Slot(wanted) => shard_of(*slot) == shard_of(wanted),
        };
        let copy = |(k, (_, v)): (&Key, &(Slot, Bytes))| (k.clone(), v.clone());
        let rows: Vec<(Key, Bytes)> = match request.direction {
            Direction::Forward => range.filter(here).take(limit).map(copy).collect(),
            Direction::Reverse => range.rev().filter(here).take(limit).map(copy).collect(),
        };
        world.reads.scanned += rows.len() as u64;
        let rest = (rows.len() == limit).then(|| {
            let last = &rows[rows.len() - 1].0;
            match request.direction {
                Direction::Forward => assize_model::KeyRange::new(last.successor(), end),
                Direction::Reverse => assize_model::KeyRange::new(start, last.clone()),
            }
        });
        Box::pin(async move { Ok(Rows { rows, rest }) })
    }

    fn write(&mut self, _table: TableId, mutation: Mutation) -> Result<(), SqlError> {
        let mut world = lock(&self.world);
        let before = match mutation.op {
            MutationOp::Put(value) => world.rows.insert(mutation.key.clone(), (mutation.slot, value)),
            MutationOp::Delete => world.rows.remove(&mutation.key),
            MutationOp::Lock => return Ok(()),
        };
        world.undo.push((mutation.key, before));
        Ok(())
    }

    fn check_range(&mut self, _table: TableId, _range: assize_model::KeyRange) {}

    fn use_table(&mut self, table: TableId, version: SchemaVersion) {
        lock(&self.world).used.insert((table, version));
    }

    fn allocate_ids(&mut self, table: TableId, count: u64) -> BoxFuture<'_, Result<IdRange, SqlError>> {
        let mut world = lock(&self.world);
        let next = world.counters.entry(table).or_insert(1);
        let first = *next;
        *next += count;
        Box::pin(async move { Ok(IdRange { first, count, increment: 1 }) })
    }

    fn note_explicit_id(&mut self, table: TableId, id: u64) {
        let mut world = lock(&self.world);
        let next = world.counters.entry(table).or_insert(1);
        *next = (*next).max(id.saturating_add(1));
    }

    fn next_id(&mut self, table: TableId) -> BoxFuture<'_, Result<u64, SqlError>> {
        let next = lock(&self.world).counters.get(&table).copied().unwrap_or(1);
        Box::pin(async move { Ok(next) })
    }

    fn mark(&mut self) -> Mark {
        // Marks rise even where nothing was written here: something may have been written elsewhere.
        let mut world = lock(&self.world);
        let mark = Mark(world.undo.len() as u64);
        if !self.servers.is_empty() {
            let key = Key(Bytes::from_static(b"mark"));
            world.undo.push((key, None));
        }
        drop(world);
        self.servers.iter().for_each(|(_, server)| server.mark(mark.0));
        mark
    }

    fn foreign<'a>(
        &'a mut self,
        server: &'a Arc<assize_catalog::Server>,
        statement: ForeignStatement<'a>,
    ) -> BoxFuture<'a, Result<ForeignResult, SqlError>> {
        let found = self.servers.iter().find(|(name, _)| *name == server.name.to_lowercase());
        let done = match found {
            Some((_, there)) => there.take(statement),
            None => lock(&self.world).scripted.run(server, &statement),
        };
        Box::pin(std::future::ready(done))
    }

    fn undo_to(&mut self, mark: Mark) {
        self.servers.iter().for_each(|(_, server)| server.undo_to(mark.0));
        let mut world = lock(&self.world);
        while world.undo.len() as u64 > mark.0 {
            if let Some((key, before)) = world.undo.pop() {
                match before {
                    Some(value) => world.rows.insert(key, value),
                    None => world.rows.remove(&key),
                };
            }
        }
    }

    fn buffered(&self) -> usize {
        0
    }

    fn shards_of(&self, shards: ScanShards) -> Vec<ShardId> {
        match shards {
            ScanShards::All => (1..=4).map(ShardId).collect(),
            ScanShards::Slot(slot) => vec![shard_of(slot)],
        }
    }
}

struct MemoryServer {
    cluster: Option<Arc<dyn ClusterView>>,
    world: Shared,
}

/// Tells exactly what there is.
struct MemorySizes(Shared);

impl TableSizes for MemorySizes {
    fn sizes(&self, tables: Vec<Arc<Table>>, _: Freshness) -> BoxFuture<'_, BTreeMap<TableId, TableSize>> {
        let mut world = lock(&self.0);
        world.sizes_asked += 1;
        let volume = |table: &Table, index| {
            let range = assize_catalog::key::index_range(table.id, index);
            let found = world.rows.range(range.start..range.end);
            found.fold((0, 0), |(rows, bytes), (key, (_, value))| {
                (rows + 1, bytes + key.0.len() + value.len())
            })
        };
        let size = |table: &Table| {
            let (rows, row_bytes) = volume(table, IndexId(0));
            let entries = table.secondary_indexes().map(|index| volume(table, index.id).1 as u64);
            TableSize { rows, row_bytes: row_bytes as u64, index_bytes: entries.sum(), is_current: true }
        };
        let sizes = tables.iter().map(|table| (table.id, size(table))).collect();
        Box::pin(std::future::ready(sizes))
    }
}

impl ServerView for MemoryServer {
    fn processes(&self) -> Vec<ProcessInfo> {
        Vec::new()
    }

    fn kill(&self, _connection: u32, _query_only: bool) -> bool {
        false
    }

    fn sleep(&self, _: u64) -> BoxFuture<'static, ()> {
        // Time stands still here.
        Box::pin(async {})
    }

    fn status(&self, _connection: u32) -> Vec<(String, String)> {
        Vec::new()
    }

    fn digests(&self) -> Vec<(String, u64, u64, u64, u64)> {
        Vec::new()
    }

    fn cluster(&self) -> Option<Arc<dyn ClusterView>> {
        self.cluster.clone()
    }

    fn table_sizes(&self) -> Option<Arc<dyn TableSizes>> {
        Some(Arc::new(MemorySizes(self.world.clone())))
    }
}
