//! One client's session: statements in, results out.

mod control;
mod hinted;
mod prepared;

pub use prepared::Prepared;

use crate::activity::{Activity, Doing};
use crate::cache::{CachedStatement, mix, mix_bytes};
use crate::jobs::StatementJobs;
use crate::privilege;
use crate::services::Services;
use crate::set::{Capture, number};
use crate::state::{Change, Login, Next, Shared, State, plain, timed_out};
use crate::temporary::may_change_one;
use crate::txn::Txn;
use assize_model::{ErrorCode, Retry, SqlError, Warning, WarningLevel};
use assize_ports::{BoxFuture, Executed, ResultColumn, ResultSink, StatementContext, Transaction};
use assize_sql::{
    Class, Literal, ParseOptions, SelectInto, ShowWhat, Statement, classify, commits_implicitly,
};
use assize_values::{Decimal, SqlMode, Value};
use bytes::Bytes;
use prepared::{PreparedStatement, find_placeholder, unknown_statement};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// Status flags, as the protocol numbers them.
pub mod status {
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 1;
    /// `autocommit = 1`.
    pub const AUTOCOMMIT: u16 = 1 << 1;
    /// NO_BACKSLASH_ESCAPES.
    pub const NO_BACKSLASH_ESCAPES: u16 = 1 << 9;
    /// The transaction is read only.
    pub const IN_READ_ONLY_TRANSACTION: u16 = 1 << 13;
    /// Session state has changed.
    pub const SESSION_STATE_CHANGED: u16 = 1 << 14;
}

/// Longest wait between two attempts of an autocommit statement.
const BACKOFF_MICROS_MAX: u64 = 50_000;

/// The end of one statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// What it did.
    pub executed: Executed,
    /// How many warnings it has, cut to what the protocol can say.
    pub warnings: u16,
    /// Status flags after it.
    pub status: u16,
    /// Session state changes, for clients that track them.
    pub changes: Vec<Change>,
    /// Where the text goes on with another statement; `None`: this was the last.
    pub next: Option<usize>,
    /// COMMIT RELEASE and ROLLBACK RELEASE: the connection is to be closed.
    pub release: bool,
}

/// One client's session. Calls come one at a time.
pub struct Session {
    pub(crate) state: State,
    prepared: BTreeMap<u32, Arc<PreparedStatement>>,
    named: BTreeMap<String, Arc<PreparedStatement>>,
    next_prepared: u32,
    release: bool,
}

/// A statement ready to run.
struct Ready {
    cached: Arc<CachedStatement>,
    params: Vec<Value>,
    hash: u64,
}

impl Session {
    /// A session for somebody who has logged in. Nothing is asked of anybody yet; see [`Session::select_database`].
    pub fn new(services: Arc<Services>, shared: Arc<Shared>, login: Login) -> Self {
        Session {
            state: State::new(services, shared, login),
            prepared: BTreeMap::new(),
            named: BTreeMap::new(),
            next_prepared: 1,
            release: false,
        }
    }

    // -- facts ----------------------------------------------------------------------------------------------

    /// Status flags as of now.
    pub fn status(&self) -> u16 {
        let state = &self.state;
        let mut flags = 0;
        if state.explicit.is_some() || (state.txn.is_some() && state.in_transaction()) {
            flags |= status::IN_TRANSACTION;
            if state.characteristics().read_only {
                flags |= status::IN_READ_ONLY_TRANSACTION;
            }
        }
        if state.settings.autocommit {
            flags |= status::AUTOCOMMIT;
        }
        if state.eval.sql_mode.contains(SqlMode::NO_BACKSLASH_ESCAPES) {
            flags |= status::NO_BACKSLASH_ESCAPES;
        }
        flags
    }

    /// The selected database.
    pub fn database(&self) -> Option<Arc<str>> {
        self.state.database.clone()
    }

    /// A system variable of the session as text (`wait_timeout`, `character_set_client`, …); `None` if it is NULL or
    /// unknown.
    pub fn variable(&self, name: &str) -> Option<String> {
        match self.state.system_variable(name, None) {
            Ok(Value::Null) | Err(_) => None,
            Ok(value) => Some(plain(&value)),
        }
    }

    /// CONNECTION_ID().
    pub fn connection(&self) -> u32 {
        self.state.login.connection
    }

    /// Who this is and what its transaction does, for others to see. Another one after [`Session::reset`] and
    /// [`Session::change_user`].
    pub fn activity(&self) -> Arc<Activity> {
        self.state.activity.clone()
    }

    /// Warnings of the statement before.
    pub fn warnings(&self) -> &[Warning] {
        &self.state.warnings
    }

    /// The engine's view of this session, for other hands of the same connection.
    pub fn context(&mut self) -> &mut dyn StatementContext {
        &mut self.state
    }

    // -- texts ----------------------------------------------------------------------------------------------

    /// Runs the statement that begins at `from`, and says where the next one begins. `None`: nothing but blanks was
    /// left, which is an error (1065) only for a text that holds nothing at all.
    pub async fn run_next(
        &mut self,
        text: &[u8],
        from: usize,
        sink: &mut dyn ResultSink,
    ) -> Result<Option<Done>, SqlError> {
        self.begin_statement()?;
        let begun = self.state.services.clock.monotonic_micros();
        let (ready, next, span) = match self.read(text, from) {
            Ok(Some(read)) => read,
            // Nothing but comments is a statement that does nothing: clients that keep comments send them so.
            Ok(None)
                if from == 0 && !text.iter().all(|b| b.is_ascii_whitespace() || matches!(b, b';' | 0)) =>
            {
                self.end_statement(&None, Ok(()));
                return Ok(Some(self.done(nothing(), None)));
            }
            Ok(None) if from == 0 => {
                let error = SqlError::new(ErrorCode::EmptyQuery, "Query was empty");
                self.end_statement(&None, Err(&error));
                return Err(error);
            }
            Ok(None) => return Ok(None),
            Err(error) => {
                self.end_statement(&None, Err(&error));
                return Err(error);
            }
        };
        let statement = &ready.cached.parsed.statement;
        let hints = assize_sql::hints(&text[span.clone()], &self.state.parse);
        self.warn_of_hints(&hints, &text[span.clone()]);
        let own;
        let digest = match &ready.cached.digest {
            Some(digest) => digest,
            None => {
                own = assize_sql::normalise(&text[span], &self.state.parse);
                &own
            }
        };
        self.state.running = Some(digest.text.clone());
        let result = self.run_hinted(&hints, statement, ready.hash, &ready.params, sink).await;
        self.count(digest, begun, &result);
        self.end_statement(&Some(statement), result.as_ref().map(drop));
        let executed = result?;
        Ok(Some(self.done(executed, next)))
    }

    /// Runs a text of one statement.
    pub async fn run_text(&mut self, text: &str, sink: &mut dyn ResultSink) -> Result<Done, SqlError> {
        let mut from = 0;
        loop {
            match self.run_next(text.as_bytes(), from, sink).await? {
                Some(Done { next: Some(next), .. }) => from = next,
                Some(done) => return Ok(done),
                None => return Err(SqlError::new(ErrorCode::EmptyQuery, "Query was empty")),
            }
        }
    }

    /// Reads the next statement: from the cache if one that differs in literals alone has been parsed before.
    #[allow(clippy::type_complexity)] // A statement, where the text goes on, and the statement's bytes.
    fn read(
        &self,
        text: &[u8],
        from: usize,
    ) -> Result<Option<(Ready, Option<usize>, std::ops::Range<usize>)>, SqlError> {
        let options = self.state.parse;
        let modes = options_hash(&options);
        if from == 0
            && text.len() <= crate::cache::TEXT_BYTES_MAX
            && let Some(lifted) = assize_sql::lift(text, &options)
        {
            let hash = mix(lifted.hash, modes);
            let statements = &self.state.shared.statements;
            let cached = statements.get(hash, &lifted.text).or_else(|| {
                let next = assize_sql::parse_next(&lifted.text, 0, &options).ok()?;
                let parsed = next.parsed.filter(|p| p.placeholders as usize == lifted.literals.len())?;
                let digest = assize_sql::normalise(text, &options);
                (!next.more).then(|| statements.put(hash, lifted.text, parsed, digest))
            });
            if let Some(cached) = cached
                && let Some(params) = lifted.literals.into_iter().map(literal_value).collect()
            {
                return Ok(Some((Ready { cached, params, hash }, None, 0..text.len())));
            }
        }
        let next = assize_sql::parse_next(text, from, &options)?;
        let Some(parsed) = next.parsed else {
            return if next.more { self.read(text, next.next) } else { Ok(None) };
        };
        let span = parsed.span.clone();
        if parsed.placeholders > 0 {
            let within = find_placeholder(&text[span.clone()]);
            return Err(assize_sql::syntax_error(text, span.start + within));
        }
        let hash = mix(mix_bytes(modes, &text[span.clone()]), 1);
        let cached = Arc::new(CachedStatement { text: Vec::new(), parsed, digest: None });
        Ok(Some((Ready { cached, params: Vec::new(), hash }, next.more.then_some(next.next), span)))
    }

    /// What identifies a plan: the statement, the classes of its parameters, and everything of the session that
    /// changes its meaning.
    fn plan_key(&self, hash: u64, params: &[Value]) -> u64 {
        let key = mix(hash, self.state.fingerprint);
        params.iter().fold(key, |key, value| {
            let class = match value {
                Value::Null => 1,
                Value::Int(_) => 2,
                Value::UInt(_) => 3,
                Value::Float(_) => 4,
                Value::Double(_) => 5,
                Value::Decimal(decimal) => 64 + u64::from(decimal.scale()),
                Value::Text(_) => 6,
                Value::Bytes(_) => 7,
                Value::Date(_) => 8,
                Value::Time(_) => 9,
                Value::DateTime(_) => 10,
                Value::Timestamp(_) => 11,
                Value::Bit(_) => 12,
                Value::Enum(..) => 13,
                Value::Set(..) => 14,
                Value::Json(_) => 15,
            };
            mix(key, class)
        })
    }

    fn begin_statement(&mut self) -> Result<(), SqlError> {
        let state = &mut self.state;
        if state.login.kill.is_killed() {
            return Err(state.interrupted());
        }
        state.login.kill.begin_statement();
        state.changes.clear();
        state.eval.warnings.clear();
        state.eval.warning_count = 0;
        state.stop_at_micros = None;
        state.hinted_millis_max = None;
        let now = state.services.clock.now_micros();
        state.eval.now_micros = state.settings.timestamp_micros.unwrap_or(now);
        state.eval.sysdate_micros = None;
        Ok(())
    }

    /// Keeps what SHOW WARNINGS, ROW_COUNT() and the like will tell of the statement.
    fn end_statement(&mut self, statement: &Option<&Statement>, result: Result<(), &SqlError>) {
        let state = &mut self.state;
        if let Some(id) = state.eval.environment.last_insert_id_set.take() {
            state.last_insert_id = id;
            state.eval.environment.last_insert_id = id;
        }
        if let Err(error) = result {
            state.row_count = -1;
            state.eval.environment.row_count = -1;
            state.eval.warning_count += 1;
            state.eval.warnings.push(Warning {
                level: WarningLevel::Error,
                code: error.code,
                message: error.message.clone(),
            });
        }
        if statement.is_some_and(tells_diagnostics) && result.is_ok() {
            return;
        }
        state.warnings = std::mem::take(&mut state.eval.warnings);
        state.warning_count = state.eval.warning_count;
    }

    fn done(&mut self, executed: Executed, next: Option<usize>) -> Done {
        Done {
            // The statement's own: SHOW WARNINGS has none, although what it tells of stays what @@warning_count counts.
            warnings: self.state.eval.warning_count.min(u64::from(u16::MAX)) as u16,
            status: self.status(),
            changes: std::mem::take(&mut self.state.changes),
            executed,
            next,
            release: std::mem::take(&mut self.release),
        }
    }

    fn count(&self, digest: &assize_sql::Digest, begun: u64, result: &Result<Executed, SqlError>) {
        let micros = self.state.services.clock.monotonic_micros().saturating_sub(begun);
        let rows = match result {
            Ok(Executed::Rows { count, .. }) => *count,
            Ok(Executed::Affected { changed, .. }) => *changed,
            Err(_) => 0,
        };
        self.state.shared.digests.record(digest, micros, rows, result.is_err());
    }

    // -- statements -----------------------------------------------------------------------------------------

    /// Runs one statement, whatever it is.
    async fn run(
        &mut self,
        statement: &Statement,
        key: u64,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        self.check_privileges(statement).await?;
        let executed = match statement {
            Statement::Set(items) => {
                if commits_implicitly(statement) {
                    self.commit().await?;
                }
                self.set(items, params).await?;
                nothing()
            }
            Statement::Begin { read_only, consistent_snapshot } => {
                self.begin(*read_only, *consistent_snapshot).await?;
                nothing()
            }
            Statement::Commit(completion) => {
                let ended = self.state.characteristics();
                self.commit().await?;
                self.complete(*completion, ended);
                nothing()
            }
            Statement::Rollback(completion) => {
                let ended = self.state.characteristics();
                self.state.roll_back().await;
                self.complete(*completion, ended);
                nothing()
            }
            Statement::Savepoint(name) => {
                self.savepoint(name);
                nothing()
            }
            Statement::RollbackTo(name) => {
                self.rollback_to(name)?;
                nothing()
            }
            Statement::ReleaseSavepoint(name) => {
                let at = self.find_savepoint(name)?;
                self.state.savepoints.truncate(at);
                nothing()
            }
            // Sessions of a cluster lock rows, by transactions. A table lock would be a promise that only this frontend
            // keeps, so the statement does what tools rely on: it ends the transaction before it.
            Statement::LockTables(tables) => {
                self.commit().await?;
                self.find_locked(tables).await?;
                self.state.locked_tables = true;
                nothing()
            }
            Statement::UnlockTables => {
                if std::mem::take(&mut self.state.locked_tables) {
                    self.commit().await?;
                }
                nothing()
            }
            Statement::Use(name) => {
                self.use_database(name).await?;
                nothing()
            }
            Statement::Kill { query_only, connection } => {
                self.kill(*query_only, connection, params).await?;
                nothing()
            }
            Statement::Prepare { name, source } => {
                self.prepare_named(name, source).await?;
                nothing()
            }
            Statement::Execute { name, using } => return self.execute_named(name, using, sink).await,
            Statement::Deallocate(name) => {
                if self.named.remove(&name.to_lowercase()).is_none() {
                    return Err(unknown_statement(name, "DEALLOCATE PREPARE"));
                }
                nothing()
            }
            Statement::Flush { read_lock, .. } => {
                self.commit().await?;
                // FLUSH TABLES WITH READ LOCK comes before a backup, which reads at one snapshot anyway.
                self.state.locked_tables |= read_lock;
                nothing()
            }
            Statement::Call { name, .. } => {
                let database = name.database.clone().or(self.state.database.as_deref().map(str::to_owned));
                let database = database.unwrap_or_default();
                return Err(SqlError::new(
                    ErrorCode::SavepointDoesNotExist,
                    format!("PROCEDURE {database}.{} does not exist", name.name),
                ));
            }
            Statement::Unsupported { feature, .. } => return Err(SqlError::not_supported(feature)),
            Statement::ExplainConnection(_) => {
                return Err(SqlError::not_supported("EXPLAIN FOR CONNECTION"));
            }
            Statement::Query(query) if query.into.is_some() => {
                let into = query.into.as_ref();
                return self.run_into(statement, into, key, params).await;
            }
            _ => return self.run_in_transaction(statement, key, params, sink).await,
        };
        self.state.row_count = 0;
        self.state.eval.environment.row_count = 0;
        Ok(executed)
    }

    /// Refuses what the user has no privilege for. A grant may be newer than what this session has seen, so the newest
    /// catalog has the last word.
    async fn check_privileges(&mut self, statement: &Statement) -> Result<(), SqlError> {
        let state = &mut self.state;
        let Err(_) = privilege::check_in(statement, state) else {
            return Ok(());
        };
        state.load_newest_catalog().await?;
        privilege::check_in(statement, state)
    }

    /// Runs a statement of our own making, without parameters and without rows.
    pub(crate) async fn run_inner(&mut self, statement: &Statement) -> Result<Executed, SqlError> {
        let mut capture = Capture::default();
        self.run_in_transaction(statement, 0, &[], &mut capture).await
    }

    /// Runs a statement by the engine: in the running transaction, or in one of its own that is retried when it
    /// loses.
    pub(crate) async fn run_in_transaction(
        &mut self,
        statement: &Statement,
        key: u64,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        if commits_implicitly(statement) {
            self.commit().await?;
        }
        if let Some(locks) = &mut self.state.locks {
            locks.begin_statement();
        }
        let class = classify(statement);
        if self.state.in_transaction() && class != Class::Ddl {
            let mut result = self.run_once(statement, key, params, sink).await;
            if self.state.txn.is_some() {
                self.state.next = Next::default();
            }
            let is_broken = self.state.txn.as_ref().is_some_and(|txn| txn.broken().is_some());
            if is_broken || result.as_ref().is_err_and(|error| ends_transaction(error.code)) {
                self.state.roll_back().await;
            }
            self.note_result(&mut result);
            return result;
        }
        self.state.jobs = StatementJobs::default();
        self.state.lost.take();
        self.state.assigned.clear();
        self.state.temporary_made.clear();
        let mut attempt = 0;
        // A statement without a table is no transaction to SET TRANSACTION; every attempt of one runs like the first.
        let mut takes_next = class == Class::Ddl;
        loop {
            let mut watch = Watch { sink, touched: false };
            let (mut result, retryable, conflict) =
                match self.run_once(statement, key, params, &mut watch).await {
                    Ok(executed) => {
                        let runs_again = self.may_run_again(attempt) && !watch.touched;
                        if let Some(txn) = &mut self.state.txn {
                            txn.set_runs_again(runs_again);
                            takes_next |= !txn.is_idle();
                        }
                        match self.state.commit().await {
                            Ok(()) => (Ok(executed), false, None),
                            Err(failure) => (Err(failure.error), failure.is_retryable, failure.conflict),
                        }
                    }
                    Err(error) => {
                        takes_next |= self.state.txn.as_ref().is_some_and(|txn| !txn.is_idle());
                        let own = self.state.txn.as_mut().and_then(Txn::take_conflict);
                        let conflict = own.or_else(|| self.state.lost.take());
                        self.state.roll_back().await;
                        let lost = error.code.retry() == Retry::Transaction
                            && !matches!(error.code, ErrorCode::LockWaitTimeout | ErrorCode::LockNowait);
                        (Err(error), lost, conflict)
                    }
                };
            if !retryable || watch.touched || !self.may_run_again(attempt) {
                if takes_next {
                    self.state.next = Next::default();
                }
                if let Some(locks) = &mut self.state.locks {
                    locks.end_statement().await;
                }
                self.note_result(&mut result);
                return result;
            }
            attempt += 1;
            self.state.jobs.run_again();
            self.state.unassign();
            if matches!(statement, Statement::CreateTable(_)) {
                self.state.unmake_temporary();
            }
            if let Some(locks) = &mut self.state.locks {
                locks.run_again();
            }
            self.state.shared.retries.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = conflict {
                self.state.services.conflicts.note_retried(&id);
            }
            self.back_off(attempt).await;
            self.state.eval.warnings.clear();
            self.state.eval.warning_count = 0;
        }
    }

    /// Whether a statement of this session may be run once more after so many attempts.
    fn may_run_again(&self, attempt: u32) -> bool {
        attempt < self.state.services.limits.retries_max && !self.state.login.kill.stops_statement()
    }

    /// Waits a random time that grows with the attempts, so that losers do not meet again.
    async fn back_off(&self, attempt: u32) {
        let clock = &self.state.services.clock;
        let most = (100u64 << attempt.min(10)).min(BACKOFF_MICROS_MAX);
        clock.sleep(clock.random() % most).await;
    }

    /// One attempt: the statement's own writes are undone if it fails.
    async fn run_once(
        &mut self,
        statement: &Statement,
        key: u64,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let class = classify(statement);
        let checked_with = self.state.catalog.version;
        self.state.enter_transaction().await?;
        if self.state.catalog.version != checked_with {
            // A privilege may have been revoked since.
            privilege::check_in(statement, &self.state)?;
        }
        let State { temporary_tables, database, .. } = &self.state;
        let changes = class != Class::Read
            && assize_sql::writes(statement)
            && !may_change_one(statement, database.as_deref(), temporary_tables);
        let mark = self.state.txn.as_mut().map(|txn| (txn.mark(), txn.options().read_only && changes));
        if let Some((_, true)) = mark {
            return Err(SqlError::new(
                ErrorCode::ReadOnlyTransaction,
                "Cannot execute statement in a READ ONLY transaction.",
            ));
        }
        self.prepare_context(statement, class);
        let result = self.race(statement, class, key, params, sink).await;
        self.state.activity.turns(Doing::Idle);
        match (result, self.state.txn.as_mut(), mark) {
            (Err(error), Some(txn), Some((mark, _))) => {
                txn.undo_to(mark);
                Err(txn.note_failure(error))
            }
            (result, ..) => result,
        }
    }

    fn prepare_context(&mut self, statement: &Statement, class: Class) {
        let state = &mut self.state;
        if let (Some(txn), Some(text)) = (&mut state.txn, &state.running) {
            txn.note_statement(text);
        }
        state.activity.runs(state.running.clone());
        state.eval.writing = matches!(class, Class::Write | Class::Ddl);
        state.eval.ignore = match statement {
            Statement::Insert(insert) => insert.ignore,
            Statement::Update(update) => update.ignore,
            Statement::Delete(delete) => delete.ignore,
            Statement::LoadData(load) => load.lets_bad_values_pass(),
            _ => false,
        };
        state.only_sleeps = assize_sql::only_sleeps(statement);
        state.eval.rand_by_seed.clear();
        let environment = &mut state.eval.environment;
        environment.last_insert_id = state.last_insert_id;
        environment.last_insert_id_set = None;
        environment.found_rows = state.found_rows;
        environment.row_count = state.row_count;
        if class == Class::Read {
            let hinted = state.hinted_millis_max.map(|millis| millis.saturating_mul(1000));
            let limit = hinted.unwrap_or(state.settings.execution_micros_max);
            state.stop_at_micros = (limit > 0).then(|| state.services.clock.monotonic_micros() + limit);
        }
    }

    /// The engine's work, unless KILL or the end of its time comes first. A schema change is not stopped midway: only it
    /// knows whether it has been committed.
    async fn race(
        &mut self,
        statement: &Statement,
        class: Class,
        key: u64,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let query = self.state.services.query.clone();
        let switch = self.state.login.kill.clone();
        let clock = &self.state.services.clock;
        let mut time_out =
            self.state.stop_at_micros.map(|at| clock.sleep(at.saturating_sub(clock.monotonic_micros())));
        let outcome = {
            let mut work = query.execute(statement, key, params, &mut self.state, sink);
            poll_fn(|context| {
                if let Poll::Ready(result) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(result));
                }
                if time_out.as_mut().is_some_and(|time_out| time_out.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(Some(Err(timed_out())));
                }
                if class != Class::Ddl && switch.poll_stop(context).is_ready() {
                    return Poll::Ready(None);
                }
                Poll::Pending
            })
            .await
        };
        outcome.unwrap_or_else(|| Err(self.state.interrupted()))
    }

    /// What ROW_COUNT(), FOUND_ROWS() and LAST_INSERT_ID() tell from now on.
    fn note_result(&mut self, result: &mut Result<Executed, SqlError>) {
        let state = &mut self.state;
        match result {
            Ok(Executed::Rows { found, .. }) => {
                state.row_count = -1;
                state.found_rows = *found;
            }
            Ok(Executed::Affected { changed, insert_id, .. }) => {
                state.row_count = i64::try_from(*changed).unwrap_or(i64::MAX);
                // LAST_INSERT_ID(expr) is reported like a generated value.
                if *insert_id == 0
                    && let Some(set) = state.eval.environment.last_insert_id_set
                {
                    *insert_id = set;
                }
            }
            Err(_) => state.row_count = -1,
        }
    }

    /// SELECT … INTO.
    async fn run_into(
        &mut self,
        statement: &Statement,
        into: Option<&SelectInto>,
        key: u64,
        params: &[Value],
    ) -> Result<Executed, SqlError> {
        let Some(SelectInto::Variables(names)) = into else {
            return Err(assize_ports::server_files_forbidden());
        };
        let Statement::Query(query) = statement else {
            return Err(SqlError::internal("INTO belongs to a query"));
        };
        let plain_query = assize_sql::Query { node: query.node.clone(), into: None };
        let plain_query = Statement::Query(Box::new(plain_query));
        let mut capture = Capture::default();
        self.run_in_transaction(&plain_query, key, params, &mut capture).await?;
        if capture.columns.len() != names.len() {
            return Err(SqlError::new(
                ErrorCode::WrongNumberOfColumnsInSelect,
                "The used SELECT statements have a different number of columns",
            ));
        }
        let mut rows = capture.rows.into_iter();
        let (row, second) = (rows.next(), rows.next());
        if second.is_some() {
            return Err(SqlError::new(ErrorCode::TooManyRows, "Result consisted of more than one row"));
        }
        let changed = match row {
            Some(row) => {
                for (name, value) in names.iter().zip(row) {
                    self.state.set_user_variable(name, value);
                }
                1
            }
            None => {
                let text = "No data - zero rows fetched, selected, or processed";
                self.warn(WarningLevel::Warning, ErrorCode::NoData, text);
                0
            }
        };
        self.state.row_count = changed as i64;
        Ok(Executed::Affected { changed, matched: changed, insert_id: 0, info: String::new() })
    }

    // -- transactions -----------------------------------------------------------------------------------------

    // -- the connection's own statements ----------------------------------------------------------------------

    // -- prepared statements ------------------------------------------------------------------------------------

    // -- the end --------------------------------------------------------------------------------------------

    /// COM_RESET_CONNECTION: a new session of the same user in the same database.
    pub async fn reset(&mut self) {
        let mut login = self.state.login.clone();
        login.database = self.state.database.clone();
        self.replace(login).await;
    }

    /// COM_CHANGE_USER, after somebody has authenticated again.
    pub async fn change_user(&mut self, login: Login) {
        self.replace(login).await;
    }

    async fn replace(&mut self, login: Login) {
        self.state.roll_back().await;
        self.state.give_up_locks().await;
        let (services, shared) = (self.state.services.clone(), self.state.shared.clone());
        let catalog = self.state.catalog.clone();
        *self = Session::new(services, shared, login);
        self.state.adopt_catalog(catalog);
    }

    /// The connection ends: rolls back, gives up reservations and named locks.
    pub async fn disconnect(&mut self) {
        self.state.roll_back().await;
        self.state.drop_all_temporary();
        self.prepared.clear();
        self.named.clear();
        self.state.give_up_locks().await;
    }
}

/// Notes whether anything has reached the client: what has cannot be run again.
struct Watch<'a> {
    sink: &'a mut dyn ResultSink,
    touched: bool,
}

impl ResultSink for Watch<'_> {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.touched = true;
        self.sink.columns(columns)
    }

    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        self.sink.row(row)
    }

    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        self.sink.ready()
    }

    fn request_file<'a>(&'a mut self, name: &'a str) -> BoxFuture<'a, Result<(), SqlError>> {
        // Drivers send a file once for a statement.
        self.touched = true;
        self.sink.request_file(name)
    }

    fn file_part(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        self.sink.file_part()
    }
}

fn nothing() -> Executed {
    Executed::Affected { changed: 0, matched: 0, insert_id: 0, info: String::new() }
}

/// Errors after which nothing of the transaction is left.
fn ends_transaction(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Deadlock
            | ErrorCode::TableDefinitionChanged
            | ErrorCode::SnapshotTooOldError
            | ErrorCode::TransactionRollbackDuringCommit
            | ErrorCode::OutcomeUnknown
    )
}

/// Statements that tell of the statement before and so leave its diagnostics alone.
fn tells_diagnostics(statement: &Statement) -> bool {
    matches!(statement, Statement::Show(show) if matches!(
        show.what,
        ShowWhat::Warnings { .. } | ShowWhat::Errors { .. } | ShowWhat::CountWarnings | ShowWhat::CountErrors
    ))
}

/// Whether the engine runs it, rather than the session.
fn engine_runs(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Call { .. } | Statement::ExplainConnection(_) | Statement::Unsupported { .. }
    )
}

fn options_hash(options: &ParseOptions) -> u64 {
    u64::from(options.ansi_quotes)
        | u64::from(options.no_backslash_escapes) << 1
        | u64::from(options.pipes_as_concat) << 2
        | u64::from(options.high_not_precedence) << 3
}

/// The value of a lifted literal; `None` if it is beyond every numeric type, so that the text is parsed as it is.
fn literal_value(literal: Literal) -> Option<Value> {
    Some(match literal {
        Literal::Integer(digits) => match number(&digits) {
            Value::Null => return None,
            value => value,
        },
        Literal::Decimal(digits) => Value::Decimal(Decimal::parse(&digits)?),
        Literal::Double(number) => Value::Double(number),
        Literal::Text(text) => Value::text(text),
        Literal::Binary(bytes) => Value::Bytes(Bytes::from(bytes)),
    })
}
