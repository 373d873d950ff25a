//! What a session is between and during statements, and what the query engine may ask of it.

use crate::activity::{Activity, Doing};
use crate::cache::{Digests, StatementCache, mix, mix_bytes};
use crate::jobs::StatementJobs;
use crate::kill::KillSwitch;
use crate::last_txn::LastTxn;
use crate::named_locks::SessionLocks;
use crate::services::Services;
use crate::temporary::TemporaryRows;
use crate::txn::{CommitMode, Isolation, Txn, TxnOptions};
use crate::variables::{GlobalVariables, SessionVariables};
use assize_catalog::{Catalog, Table, TemporaryTables, User};
use assize_model::{
    CatalogChange, CatalogVersion, ErrorCode, SqlError, TableId, Timestamp, Warning, WarningLevel,
};
use assize_ports::{
    BoxFuture, InternalTransaction, LockCall, Mark, ServerView, StatementContext, StatementJob, Transaction,
};
use assize_sql::ParseOptions;
use assize_values::{Collation, EvalContext, RandState, TimeZone, UuidState, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// What the sessions of a process remember together, besides [`Services`].
pub struct Shared {
    /// Global system variables.
    pub globals: Arc<GlobalVariables>,
    /// Parsed statements.
    pub statements: StatementCache,
    /// Statistics by digest.
    pub digests: Digests,
    /// Autocommit statements that were run again after a conflict.
    pub retries: AtomicU64,
    /// The catalog whose globals were taken over last, and their names.
    applied: Mutex<(CatalogVersion, BTreeSet<Arc<str>>)>,
}

impl Shared {
    /// With these globals and nothing remembered.
    pub fn new(globals: Arc<GlobalVariables>) -> Self {
        Shared {
            globals,
            statements: StatementCache::default(),
            digests: Digests::default(),
            retries: AtomicU64::new(0),
            applied: Mutex::default(),
        }
    }

    /// Takes over what SET GLOBAL said on any frontend.
    pub fn apply_globals(&self, catalog: &Catalog) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if catalog.version <= applied.0 {
            return;
        }
        applied.0 = catalog.version;
        // A value that this version does not take is left as it is: another version wrote it.
        for name in applied.1.iter().filter(|name| !catalog.globals.contains_key(*name)) {
            let _ = self.globals.set(name, None);
        }
        for (name, value) in &catalog.globals {
            let _ = self.globals.set(name, Some(value));
        }
        applied.1 = catalog.globals.keys().cloned().collect();
    }
}

/// Who has logged in.
#[derive(Clone, Debug)]
pub struct Login {
    /// CONNECTION_ID().
    pub connection: u32,
    /// The account.
    pub user: Arc<User>,
    /// The name that the client gave.
    pub client_name: Arc<str>,
    /// Where it comes from.
    pub client_host: Arc<str>,
    /// The database to select.
    pub database: Option<Arc<str>>,
    /// The collation of the handshake: sets the character sets of client, connection and results.
    pub collation: Option<Collation>,
    /// By which other connections stop this one.
    pub kill: Arc<KillSwitch>,
}

/// A change of session state that clients can track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A system variable and its new value.
    Variable(String, String),
    /// The selected database.
    Database(String),
}

/// What every statement asks of the system variables, read out of them when one is set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) autocommit: bool,
    pub(crate) isolation: Isolation,
    pub(crate) read_only: bool,
    pub(crate) lock_wait: Duration,
    pub(crate) auto_increment: (u64, u64),
    /// `max_execution_time` in microseconds; 0 is none.
    pub(crate) execution_micros_max: u64,
    /// SET timestamp.
    pub(crate) timestamp_micros: Option<i64>,
}

/// With what a transaction runs: settled when it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Characteristics {
    pub(crate) isolation: Isolation,
    pub(crate) read_only: bool,
}

/// What SET TRANSACTION without a scope has said of the next transaction.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Next {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: Option<bool>,
}

/// What a session is; the engine sees it as a [`StatementContext`].
pub(crate) struct State {
    pub(crate) services: Arc<Services>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) login: Login,
    pub(crate) user: Arc<User>,
    pub(crate) database: Option<Arc<str>>,
    pub(crate) variables: SessionVariables,
    pub(crate) user_variables: BTreeMap<String, Value>,
    /// What user variables were before the attempt that runs assigned them: an attempt that is run again begins where the lost
    /// one began.
    pub(crate) assigned: BTreeMap<String, Option<Value>>,
    pub(crate) eval: EvalContext,
    pub(crate) parse: ParseOptions,
    pub(crate) settings: Settings,
    /// Of everything that changes what a statement means.
    pub(crate) fingerprint: u64,
    pub(crate) last_insert_id: u64,
    pub(crate) found_rows: u64,
    pub(crate) row_count: i64,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) warning_count: u64,
    /// The transaction, once something has been read in it.
    pub(crate) txn: Option<Txn>,
    /// What `assize_last_txn_info` tells.
    pub(crate) last_txn: LastTxn,
    /// BEGIN has been said, and this is what it settled.
    pub(crate) explicit: Option<Characteristics>,
    pub(crate) savepoints: Vec<(String, Mark)>,
    /// Kept until a transaction that has used a table has begun with it.
    pub(crate) next: Next,
    /// Shown instead of the transaction's catalog for the rest of a DDL statement.
    pub(crate) newest_catalog: Option<Arc<Catalog>>,
    /// The catalog seen last.
    pub(crate) catalog: Arc<Catalog>,
    /// When `max_execution_time` ends the statement, by the monotonic clock.
    pub(crate) stop_at_micros: Option<u64>,
    /// What the statement's MAX_EXECUTION_TIME hint says.
    pub(crate) hinted_millis_max: Option<u64>,
    /// Whether the statement does nothing but SLEEP.
    pub(crate) only_sleeps: bool,
    pub(crate) changes: Vec<Change>,
    pub(crate) locked_tables: bool,
    /// Its temporary tables.
    pub(crate) temporary_tables: TemporaryTables,
    /// Their rows.
    pub(crate) temporary_rows: Arc<TemporaryRows>,
    /// Those that the statement has made: an attempt that is run again makes them anew.
    pub(crate) temporary_made: Vec<TableId>,
    /// Its named locks, once it has asked for one.
    pub(crate) locks: Option<Box<SessionLocks>>,
    /// Who this is and what its transaction does, for others to see.
    pub(crate) activity: Arc<Activity>,
    /// The statement that runs, normalised.
    pub(crate) running: Option<Arc<str>>,
    /// The long work that it does.
    pub(crate) jobs: StatementJobs,
    /// What its own transactions have lost.
    pub(crate) lost: Lost,
}

impl State {
    pub(crate) fn new(services: Arc<Services>, shared: Arc<Shared>, login: Login) -> Self {
        let variables = SessionVariables::new(shared.globals.clone());
        let clock = services.clock.clone();
        let uuid = UuidState {
            node: clock.random() & 0xffff_ffff_ffff,
            sequence: clock.random() as u16 & 0x3fff,
            count: 0,
            short_base: (clock.random() & 0xff) << 56 | (clock.now_micros() as u64 / 1_000_000) << 24,
        };
        let mut eval = EvalContext::default();
        (eval.rand, eval.uuid) = (RandState::new(clock.random(), clock.random()), uuid);
        let temporary_rows =
            TemporaryRows::new(services.limits.temporary_bytes_max, services.temporary_bytes.clone());
        eval.secret.key = std::array::from_fn(|_| clock.random());
        let user = format!("{}@{}", login.client_name, login.client_host);
        let activity = Arc::new(Activity::new(login.connection, user.into()));
        let mut state = State {
            user: login.user.clone(),
            database: login.database.clone(),
            services,
            shared,
            login,
            variables,
            user_variables: BTreeMap::new(),
            assigned: BTreeMap::new(),
            eval,
            parse: ParseOptions::default(),
            settings: Settings {
                autocommit: true,
                isolation: Isolation::RepeatableRead,
                read_only: false,
                lock_wait: Duration::from_secs(50),
                auto_increment: (1, 1),
                execution_micros_max: 0,
                timestamp_micros: None,
            },
            fingerprint: 0,
            last_insert_id: 0,
            found_rows: 0,
            row_count: 0,
            warnings: Vec::new(),
            warning_count: 0,
            txn: None,
            last_txn: LastTxn::None,
            explicit: None,
            savepoints: Vec::new(),
            next: Next::default(),
            newest_catalog: None,
            catalog: Arc::default(),
            stop_at_micros: None,
            hinted_millis_max: None,
            only_sleeps: false,
            changes: Vec::new(),
            locked_tables: false,
            temporary_tables: TemporaryTables::default(),
            temporary_rows: Arc::new(temporary_rows),
            temporary_made: Vec::new(),
            locks: None,
            activity,
            running: None,
            jobs: StatementJobs::default(),
            lost: Lost::default(),
        };
        if let Some(collation) = state.login.collation {
            // A collation that we do not know leaves the defaults, as MySQL does.
            let names = (collation.charset().name(), collation.name());
            if collation.exists() {
                let _ = state.variables.set_names(Some(names.0), Some(names.1));
            }
        }
        state.sync();
        state
    }

    /// Takes over what variables and database say to evaluation, parsing and plans.
    pub(crate) fn sync(&mut self) {
        let v = &self.variables;
        let eval = &mut self.eval;
        eval.sql_mode = v.sql_mode();
        eval.time_zone = TimeZone::find(&v.text("time_zone")).unwrap_or(TimeZone::System);
        eval.div_precision_increment = v.int("div_precision_increment") as u8;
        eval.group_concat_max_len = v.int("group_concat_max_len") as u64;
        eval.max_allowed_packet = v.int("max_allowed_packet") as u64;
        eval.max_error_count = v.int("max_error_count") as usize;
        eval.default_week_format = v.int("default_week_format") as u8;
        eval.connection_collation =
            Collation::find(&v.text("collation_connection")).unwrap_or(Collation::UTF8MB4_0900_AI_CI);
        self.parse = ParseOptions::from_sql_mode(&v.text("sql_mode"));
        let step = |name: &str| v.int(name).max(1) as u64;
        let timestamp = v.get("timestamp", None).map_or(0.0, |value| plain(&value).parse().unwrap_or(0.0));
        self.settings = Settings {
            autocommit: v.is_on("autocommit"),
            isolation: isolation_of(&v.text("transaction_isolation")),
            read_only: v.is_on("transaction_read_only"),
            lock_wait: Duration::from_secs(v.int("innodb_lock_wait_timeout").max(0) as u64),
            auto_increment: (step("auto_increment_increment"), step("auto_increment_offset")),
            execution_micros_max: v.int("max_execution_time").max(0) as u64 * 1000,
            timestamp_micros: (timestamp > 0.0).then_some((timestamp * 1e6) as i64),
        };
        let mut fingerprint = mix(eval.sql_mode.0, u64::from(eval.connection_collation.0));
        for name in ["time_zone", "sql_select_limit", "foreign_key_checks", "div_precision_increment"] {
            fingerprint = mix_bytes(fingerprint, v.text(name).as_bytes());
        }
        if let Some(database) = &self.database {
            fingerprint = mix_bytes(fingerprint, database.as_bytes());
        }
        self.fingerprint = fingerprint;
        let environment = &mut eval.environment;
        environment.connection_id = self.login.connection;
        environment.user = format!("{}@{}", self.login.client_name, self.login.client_host).into();
        environment.current_user = format!("{}@{}", self.user.name, self.user.host).into();
        environment.database = self.database.clone();
        environment.version = v.get("version", None).map_or_else(|_| "".into(), |value| plain(&value).into());
    }

    /// Whether statements do not end their transaction themselves.
    pub(crate) fn in_transaction(&self) -> bool {
        self.explicit.is_some() || !self.settings.autocommit
    }

    /// With what the open transaction runs; if none is open, with what one would begin. Asking takes nothing away.
    pub(crate) fn characteristics(&self) -> Characteristics {
        if let Some(options) = self.txn.as_ref().map(Txn::options) {
            return Characteristics { isolation: options.isolation, read_only: options.read_only };
        }
        self.explicit.unwrap_or_else(|| Characteristics {
            isolation: self.next.isolation.unwrap_or(self.settings.isolation),
            read_only: self.next.read_only.unwrap_or(self.settings.read_only),
        })
    }

    /// What a transaction that begins now begins with.
    fn txn_options(&self) -> TxnOptions {
        let Characteristics { isolation, read_only } = self.characteristics();
        let settings = &self.settings;
        TxnOptions {
            isolation,
            read_only,
            lock_wait: settings.lock_wait,
            auto_increment: settings.auto_increment,
            commit_mode: CommitMode::BySize,
        }
    }

    /// A statement begins: in the running transaction, or in one that begins with it.
    pub(crate) async fn enter_transaction(&mut self) -> Result<(), SqlError> {
        self.newest_catalog = None;
        match &mut self.txn {
            Some(txn) => txn.begin_statement(false).await?,
            None => {
                let options = self.txn_options();
                let begun = Txn::begin_for(self.activity.clone(), self.services.clone(), options).await;
                let mut txn = begun?.with_temporary(self.temporary_rows.clone());
                txn.begin_statement(true).await?;
                self.activity.begins(options.isolation, txn.begun_micros());
                self.txn = Some(txn);
            }
        }
        if let Some(txn) = &self.txn {
            self.activity.reads_at(txn.snapshot_ts());
        }
        self.note_catalog();
        Ok(())
    }

    /// Takes over globals and privileges of the catalog that is now seen.
    pub(crate) fn note_catalog(&mut self) {
        let seen = match &self.txn {
            Some(txn) => txn.catalog().clone(),
            None => return,
        };
        self.adopt_catalog(seen);
    }

    pub(crate) fn adopt_catalog(&mut self, seen: Arc<Catalog>) {
        if seen.version == self.catalog.version {
            return;
        }
        self.shared.apply_globals(&seen);
        let account = (self.user.name.clone(), self.user.host.clone());
        if let Some(user) = seen.users.get(&account) {
            self.user = user.clone();
        }
        self.catalog = seen;
    }

    /// Commits what runs, if anything does. The transaction is over, whatever comes of it.
    pub(crate) async fn commit(&mut self) -> Result<(), crate::commit::CommitFailure> {
        self.explicit = None;
        self.savepoints.clear();
        let Some(mut txn) = self.txn.take() else {
            self.activity.ends();
            return Ok(());
        };
        self.activity.turns(Doing::Committing);
        let (is_idle, snapshot_ts) = (txn.is_idle(), txn.snapshot_ts());
        txn.stop_by(self.login.kill.clone());
        self.bind_to_life(&mut txn);
        let committed = txn.commit(None).await;
        self.warn_of_late(&mut txn);
        if let Some(locks) = &mut self.locks {
            locks.note_commit(false);
        }
        self.activity.ends();
        // `SELECT @@assize_last_txn_info` is a transaction, too, and not the one that is asked for.
        if !is_idle {
            self.last_txn = LastTxn::of(snapshot_ts, &committed);
        }
        committed.map(drop)
    }

    /// It has committed, but not everywhere yet.
    fn warn_of_late(&mut self, txn: &mut Txn) {
        for server in txn.branches_mut().take_late() {
            let message = format!(
                "the transaction has committed; foreign server {server} could not be told in time, and will be as soon as it answers"
            );
            let (level, code) = (WarningLevel::Warning, ErrorCode::ForeignDataSource);
            self.eval.warnings.push(Warning { level, code, message });
            self.eval.warning_count += 1;
        }
    }

    /// Ends the transaction, on foreign servers too, without a trace.
    pub(crate) async fn roll_back(&mut self) {
        if let Some(txn) = &mut self.txn {
            txn.forget_branches().await;
        }
        self.rollback();
    }

    /// What a session writes while it holds a named lock is refused once the lock may be another's.
    fn bind_to_life(&mut self, txn: &mut Txn) {
        if let Some(locks) = &mut self.locks
            && let Some(life) = locks.life()
        {
            txn.live_in(life);
            locks.note_commit(true);
        }
    }

    /// Gives back all named locks. What cannot be given back now the frontend gives back later.
    pub(crate) async fn give_up_locks(&mut self) {
        if let Some(mut locks) = self.locks.take() {
            let _ = locks.release_all().await;
        }
    }

    /// Ends the transaction without a trace; connections to foreign servers are closed, who then forget it by themselves.
    pub(crate) fn rollback(&mut self) {
        self.explicit = None;
        self.savepoints.clear();
        // Dropping it gives back its reservations.
        self.txn = None;
        self.activity.ends();
    }

    /// Drops the temporary tables that the statement has made.
    pub(crate) fn unmake_temporary(&mut self) {
        for table in std::mem::take(&mut self.temporary_made) {
            self.drop_temporary(table);
        }
    }

    /// Drops all temporary tables.
    pub(crate) fn drop_all_temporary(&mut self) {
        for table in std::mem::take(&mut self.temporary_tables).iter() {
            self.temporary_rows.drop_table(table.id);
        }
    }

    /// Gives user variables the values that they had before the attempt that is lost.
    pub(crate) fn unassign(&mut self) {
        for (name, before) in std::mem::take(&mut self.assigned) {
            match before {
                Some(value) => self.user_variables.insert(name, value),
                None => self.user_variables.remove(&name),
            };
        }
    }

    /// The newest catalog, by a snapshot of its own.
    pub(crate) async fn load_newest_catalog(&mut self) -> Result<Arc<Catalog>, SqlError> {
        let txn = Txn::begin(self.services.clone(), TxnOptions::default()).await?;
        let catalog = txn.catalog().clone();
        self.adopt_catalog(catalog.clone());
        Ok(catalog)
    }

    /// The error that a stopped statement ends with.
    pub(crate) fn interrupted(&self) -> SqlError {
        if self.login.kill.is_killed() {
            return SqlError::new(ErrorCode::ConnectionKilled, "Connection was killed");
        }
        SqlError::new(ErrorCode::QueryInterrupted, "Query execution was interrupted")
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.warnings.iter().filter(|w| w.level == WarningLevel::Error).count() as u64
    }
}

/// The error that a statement ends with whose time has passed.
pub(crate) fn timed_out() -> SqlError {
    SqlError::new(
        ErrorCode::QueryTimeout,
        "Query execution was interrupted, maximum statement execution time exceeded",
    )
}

/// The isolation level behind a value of `transaction_isolation`.
pub(crate) fn isolation_of(text: &str) -> Isolation {
    match text {
        "SERIALIZABLE" => Isolation::Serializable,
        "READ-COMMITTED" | "READ-UNCOMMITTED" => Isolation::ReadCommitted,
        _ => Isolation::RepeatableRead,
    }
}

/// A value as the text that a name or word has.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.as_str().to_owned(),
        other => {
            let sql_type = assize_values::literal_type(other, Collation::UTF8MB4_0900_AI_CI);
            assize_values::format::to_string(other, &sql_type)
        }
    }
}

/// The id under which the abort of a transaction that the engine began itself is kept.
#[derive(Clone, Default)]
pub(crate) struct Lost(Arc<Mutex<Option<String>>>);

impl Lost {
    fn set(&self, conflict: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = conflict;
    }

    /// That of the attempt that has just ended.
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A transaction that the engine begins and ends itself.
struct Internal {
    txn: Txn,
    lost: Lost,
}

impl InternalTransaction for Internal {
    fn catalog(&self) -> Arc<Catalog> {
        self.txn.catalog().clone()
    }

    fn transaction(&mut self) -> &mut dyn Transaction {
        &mut self.txn
    }

    fn commit(
        mut self: Box<Self>,
        change: Option<CatalogChange>,
    ) -> BoxFuture<'static, Result<Timestamp, SqlError>> {
        Box::pin(async move {
            let read_at = self.txn.snapshot_ts();
            match self.txn.commit(change).await {
                Ok(crate::commit::Committed::At(_, commit_ts)) => Ok(commit_ts),
                Ok(crate::commit::Committed::Nothing) => Ok(read_at),
                Err(failure) => {
                    self.lost.set(failure.conflict);
                    Err(failure.error)
                }
            }
        })
    }
}

impl StatementContext for State {
    fn catalog(&self) -> Arc<Catalog> {
        if let Some(newest) = &self.newest_catalog {
            return newest.clone();
        }
        self.txn.as_ref().map_or_else(|| self.catalog.clone(), |txn| txn.catalog().clone())
    }

    fn temporary_tables(&self) -> &TemporaryTables {
        &self.temporary_tables
    }

    fn new_temporary_id(&mut self, name: &str) -> TableId {
        self.temporary_rows.begin_table(name)
    }

    fn put_temporary(&mut self, table: Arc<Table>) {
        self.temporary_made.push(table.id);
        self.temporary_tables.put(table);
    }

    fn drop_temporary(&mut self, table: TableId) {
        self.temporary_tables.remove(table);
        self.temporary_rows.drop_table(table);
    }

    fn database(&self) -> Option<Arc<str>> {
        self.database.clone()
    }

    fn user(&self) -> Arc<User> {
        self.user.clone()
    }

    fn connection_id(&self) -> u32 {
        self.login.connection
    }

    fn eval(&mut self) -> &mut EvalContext {
        &mut self.eval
    }

    fn system_variable(&self, name: &str, global: Option<bool>) -> Result<Value, SqlError> {
        let session = global != Some(true);
        match name {
            "warning_count" if session => Ok(Value::Int(self.warning_count as i64)),
            "error_count" if session => Ok(Value::Int(self.error_count() as i64)),
            "last_insert_id" | "identity" if session => Ok(Value::UInt(self.last_insert_id)),
            "assize_last_txn_info" if session => Ok(Value::text(self.last_txn.to_string())),
            "pseudo_thread_id" if session => Ok(Value::Int(i64::from(self.login.connection))),
            "timestamp" if session && self.variables.get(name, None)? == Value::Int(0) => {
                Ok(Value::Double(self.eval.now_micros as f64 / 1e6))
            }
            _ => self.variables.get(name, global),
        }
    }

    fn system_variables(&self, global: bool) -> Vec<(Arc<str>, Value)> {
        self.variables.show(global)
    }

    fn user_variable(&self, name: &str) -> Value {
        self.user_variables.get(&name.to_lowercase()).cloned().unwrap_or(Value::Null)
    }

    fn set_user_variable(&mut self, name: &str, value: Value) {
        let name = name.to_lowercase();
        let before = self.user_variables.insert(name.clone(), value);
        self.assigned.entry(name).or_insert(before);
    }

    fn last_insert_id(&self) -> u64 {
        self.last_insert_id
    }

    fn set_last_insert_id(&mut self, id: u64) {
        self.last_insert_id = id;
        self.eval.environment.last_insert_id = id;
    }

    fn found_rows(&self) -> u64 {
        self.found_rows
    }

    fn row_count(&self) -> i64 {
        self.row_count
    }

    fn previous_warnings(&self) -> Vec<Warning> {
        self.warnings.clone()
    }

    fn isolation(&self) -> &'static str {
        match &self.txn {
            Some(txn) => txn.options().isolation.name(),
            None => self.characteristics().isolation.name(),
        }
    }

    fn check_killed(&self) -> Result<(), SqlError> {
        if self.login.kill.stops_statement() {
            return Err(self.interrupted());
        }
        match self.stop_at_micros {
            Some(stop) if self.services.clock.monotonic_micros() >= stop => Err(timed_out()),
            _ => Ok(()),
        }
    }

    fn sleep(&mut self, micros: u64) -> BoxFuture<'_, Result<bool, SqlError>> {
        let mut asleep = self.services.server.sleep(micros);
        // Whoever races the statement with its end is woken by that, and looks here first.
        Box::pin(poll_fn(move |context| {
            if asleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(self.check_killed().map(|()| false));
            }
            match self.check_killed() {
                Ok(()) => Poll::Pending,
                Err(_) if self.only_sleeps && !self.login.kill.is_killed() => {
                    // It has been obeyed: what is left of the statement is its answer.
                    self.login.kill.begin_statement();
                    self.stop_at_micros = None;
                    Poll::Ready(Ok(true))
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        }))
    }

    fn transaction(&mut self) -> &mut dyn Transaction {
        // Every statement that reaches the engine has entered a transaction, and only the end of the statement ends
        // it.
        self.txn.as_mut().expect("a statement runs in a transaction")
    }

    fn begin_internal(&mut self) -> BoxFuture<'_, Result<Box<dyn InternalTransaction>, SqlError>> {
        Box::pin(async move {
            let options = TxnOptions { lock_wait: Duration::from_secs(50), ..TxnOptions::default() };
            let begun = Txn::begin_for(self.activity.clone(), self.services.clone(), options).await?;
            let mut txn = begun.with_temporary(self.temporary_rows.clone());
            txn.begin_statement(true).await?;
            if let Some(text) = &self.running {
                txn.note_statement(text);
            }
            self.bind_to_life(&mut txn);
            let lost = self.lost.clone();
            Ok(Box::new(Internal { txn, lost }) as Box<dyn InternalTransaction>)
        })
    }

    fn begin_job(&mut self, kind: &'static str, what: String) -> Box<dyn StatementJob> {
        let Activity { user, connection, .. } = &*self.activity;
        let what = format!("{what}, for {user} (connection {connection})");
        self.services.jobs.begin(kind, what, &mut self.jobs)
    }

    fn refresh_catalog(&mut self) -> BoxFuture<'_, Result<Arc<Catalog>, SqlError>> {
        Box::pin(async move {
            let catalog = self.load_newest_catalog().await?;
            self.newest_catalog = Some(catalog.clone());
            Ok(catalog)
        })
    }

    fn memory_max(&self) -> usize {
        self.services.limits.statement_bytes_max
    }

    fn named_lock<'a>(&'a mut self, call: LockCall<'a>) -> BoxFuture<'a, Result<Option<u64>, SqlError>> {
        let (services, connection) = (&self.services, self.login.connection);
        let new = || Box::new(SessionLocks::new(services.clone(), connection));
        let locks = self.locks.get_or_insert_with(new);
        Box::pin(async move {
            Ok(match call {
                LockCall::Get { name, timeout_micros } => {
                    Some(u64::from(locks.get(name, timeout_micros).await?))
                }
                LockCall::Release { name } => locks.release(name).await?.map(u64::from),
                LockCall::ReleaseAll => Some(locks.release_all().await?),
                LockCall::Holder { name } => locks.holder(name).await?.map(u64::from),
            })
        })
    }

    fn server(&self) -> &dyn ServerView {
        &*self.services.server
    }
}
