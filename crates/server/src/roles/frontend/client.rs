//! One connection's side of the protocol, over its session.

use super::Hall;
use super::kinds::Kind;
use super::registry::{Connection, may_hold_secrets, normalised, shown};
use assize_catalog::{User, like};
use assize_model::{ErrorCode, SqlError};
use assize_ports::ResultSink;
use assize_session::{Change, Done, KillSwitch, Login, Session};
use assize_sql::ParseOptions;
use assize_values::collation::Charset;
use assize_values::{Collation, Value};
use assize_wire::{
    Account, ClientInfo, Completion, FieldDefault, Handler, Interrupt, Peer, Plugin, Prepared, ResultWriter,
    StateChange, capability, charset_of_collation,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{Instrument, Span};

/// Statements in the slow log are cut here.
const SLOW_TEXT_MAX: usize = 2000;
/// How long a client may be idle when the session does not say.
const WAIT_TIMEOUT: Duration = Duration::from_secs(28_800);
/// How long a client may send nothing of a file when the session does not say.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
pub struct Client {
    hall: Arc<Hall>,
    id: u32,
    kill: Arc<KillSwitch>,
    entry: Arc<Connection>,
    /// Found by name before the password was checked.
    user: Option<Arc<User>>,
    session: Option<Session>,
    collation: Collation,
    multi_statements: bool,
    facts: Facts,
    prepared: HashMap<u32, (Arc<str>, Kind)>,
    /// The span of the transaction that is open, from BEGIN to its outcome; disabled between transactions.
    transaction: Span,
}

/// What the protocol asks of the session all the time; read anew after statements that may have changed it.
#[derive(Clone, Copy)]
struct Facts {
    status: u16,
    wait_timeout: Duration,
    read_timeout: Duration,
    packet_bytes_max: usize,
    client: Charset,
    results: Option<Collation>,
}

impl Client {
    /// A connection that has not logged in yet.
    pub fn new(hall: Arc<Hall>, id: u32, peer: &Peer) -> Self {
        let kill = Arc::new(KillSwitch::default());
        let entry = hall.registry.enter(id, format!("{}:{}", peer.host, peer.port), kill.clone());
        Client {
            hall,
            id,
            kill,
            entry,
            user: None,
            session: None,
            collation: Collation::UTF8MB4_0900_AI_CI,
            multi_statements: false,
            facts: Facts {
                status: assize_wire::status::AUTOCOMMIT,
                wait_timeout: WAIT_TIMEOUT,
                read_timeout: READ_TIMEOUT,
                packet_bytes_max: super::PACKET_BYTES_MAX,
                client: Charset::Utf8mb4,
                results: Some(Collation::UTF8MB4_0900_AI_CI),
            },
            prepared: HashMap::new(),
            transaction: Span::none(),
        }
    }

    /// The span of the transaction in which the next statement runs. An autocommit statement has one of its own.
    fn transaction(&mut self) -> Span {
        if self.transaction.is_none() {
            self.transaction = tracing::debug_span!(
                "transaction",
                connection = self.id,
                txn = tracing::field::Empty,
                outcome = tracing::field::Empty
            );
        }
        self.transaction.clone()
    }

    /// A statement has ended: if no transaction is open after it, the span ends as well.
    fn leave_transaction(&mut self) {
        if self.facts.status & assize_wire::status::IN_TRANSACTION == 0 {
            self.transaction = Span::none();
        }
    }

    fn session(&mut self) -> Result<&mut Session, SqlError> {
        self.session.as_mut().ok_or_else(|| SqlError::internal("a command before the login"))
    }

    fn begins(&mut self, command: &'static str, statement: Option<Arc<str>>) {
        self.hall.registry.counters.questions.fetch_add(1, Ordering::Relaxed);
        self.entry.begins(command, statement);
    }

    fn rests(&mut self) {
        let database = self.session.as_ref().and_then(Session::database);
        self.entry.rests(database.as_deref());
    }

    fn refresh_status(&mut self) {
        if let Some(session) = &self.session {
            self.facts.status = session.status();
        }
    }

    /// Reads everything that statements can change.
    fn refresh(&mut self) {
        let Some(session) = &self.session else { return };
        self.facts.status = session.status();
        let seconds = session.variable("wait_timeout").and_then(|text| text.parse().ok());
        self.facts.wait_timeout = seconds.map_or(WAIT_TIMEOUT, Duration::from_secs);
        let seconds = session.variable("net_read_timeout").and_then(|text| text.parse().ok());
        self.facts.read_timeout = seconds.map_or(READ_TIMEOUT, Duration::from_secs);
        let bytes = session.variable("max_allowed_packet").and_then(|text| text.parse().ok());
        self.facts.packet_bytes_max = bytes.unwrap_or(super::PACKET_BYTES_MAX);
        self.facts.client = session
            .variable("character_set_client")
            .and_then(|name| charset_of_collation(self.collation_of(&name)))
            .unwrap_or_default();
        self.facts.results = session.variable("character_set_results").map(|name| self.collation_of(&name));
    }

    /// The collation that column definitions name for a character set: the handshake's own where it fits.
    fn collation_of(&self, charset: &str) -> Collation {
        let default = Charset::find(charset).unwrap_or(Charset::Utf8mb4).default_collation();
        let same = charset_of_collation(default) == charset_of_collation(self.collation);
        if same { self.collation } else { default }
    }

    /// A statement has ended: the counters, the slow log, and what it may have changed.
    fn ended(&mut self, kind: Kind, text: &[u8], began: Instant, result: Result<u64, &SqlError>) {
        let took = began.elapsed();
        self.hall.statements.record(kind, result.is_ok(), took);
        if took >= self.hall.slow {
            self.hall.registry.counters.slow_queries.fetch_add(1, Ordering::Relaxed);
            let text = &text[..text.len().min(SLOW_TEXT_MAX)];
            let user = self.session.as_ref().map(|session| session.activity().user.clone());
            self.hall.registry.was_slow(user.as_deref().unwrap_or_default(), took, normalised(text));
            let shown = loggable(text);
            let (rows, error) = match result {
                Ok(rows) => (rows, None),
                Err(error) => (0, Some(error.code.errno())),
            };
            tracing::warn!(
                connection = self.id,
                millis = took.as_millis() as u64,
                rows,
                error,
                statement = %shown,
                "slow statement"
            );
        }
        if !kind.keeps_variables() {
            self.refresh();
        } else if result.is_err() {
            self.refresh_status();
        }
    }

    /// Ends a result, and the connection if the statement asked for that.
    fn complete(&mut self, done: &Done, more: bool, kind: Kind, writer: &mut ResultWriter) {
        self.facts.status = done.status;
        self.leave_transaction();
        if !kind.keeps_variables() {
            self.refresh();
            writer.set_results(self.facts.results);
        }
        writer.set_status(done.status);
        let changes: Vec<StateChange> = done.changes.iter().map(state_change).collect();
        writer.complete(
            Completion { executed: &done.executed, warnings: done.warnings, changes: &changes },
            more,
        );
        if done.release {
            assize_ports::ServerView::kill(&*self.hall.registry, self.id, false);
        }
    }

    /// With CLIENT_MULTI_STATEMENTS off, a second statement is a syntax error before the first one runs.
    fn check_single(&mut self, text: &[u8]) -> Result<(), SqlError> {
        let inner = text.trim_ascii_end();
        let inner = inner.strip_suffix(b";").unwrap_or(inner);
        if self.multi_statements || !inner.contains(&b';') {
            return Ok(());
        }
        let mode = self.session()?.variable("sql_mode").unwrap_or_default();
        match assize_sql::split_statements(text, &ParseOptions::from_sql_mode(&mode)).get(1) {
            Some(second) => Err(assize_sql::syntax_error(text, second.start)),
            None => Ok(()),
        }
    }

    async fn run_text(&mut self, text: &[u8], writer: &mut ResultWriter) -> Result<(), SqlError> {
        self.check_single(text)?;
        let mut from = 0;
        loop {
            let began = Instant::now();
            let kind = Kind::of(&text[from..]);
            let span = self.transaction();
            tracing::trace!(parent: &span, statement = %loggable(&text[from..]), "execute");
            let result = self.session()?.run_next(text, from, &mut *writer).instrument(span).await;
            let rows = result.as_ref().map(|done| done.as_ref().map_or(0, rows_of));
            self.ended(kind, &text[from..], began, rows);
            if !matches!(result, Ok(Some(_))) {
                self.leave_transaction();
            }
            match result? {
                Some(done) => {
                    self.complete(&done, done.next.is_some(), kind, writer);
                    match done.next {
                        Some(next) if !done.release => from = next,
                        _ => return Ok(()),
                    }
                }
                // Blanks behind the last statement; it has been answered as if another followed.
                None => return Err(SqlError::new(ErrorCode::EmptyQuery, "Query was empty")),
            }
        }
    }
}

/// A statement as logs may hold it: without its literals if one of them may be a password.
fn loggable(text: &[u8]) -> String {
    if may_hold_secrets(text) {
        return normalised(text);
    }
    String::from_utf8_lossy(text).into_owned()
}

/// A login has waited in vain for the cluster to say who may come.
fn nobody_leads() -> SqlError {
    let text = "the cluster cannot be asked for your account: no node leads it, or none can be reached; `assize status` says \
                what is missing";
    SqlError::new(ErrorCode::ClusterUnavailable, text)
}

fn rows_of(done: &Done) -> u64 {
    match &done.executed {
        assize_ports::Executed::Rows { count, .. } => *count,
        assize_ports::Executed::Affected { changed, .. } => *changed,
    }
}

fn state_change(change: &Change) -> StateChange {
    match change {
        Change::Variable(name, value) => StateChange::Variable(name.clone(), value.clone()),
        Change::Database(name) => StateChange::Database(name.clone()),
    }
}

/// Throws the switch when the client hangs up.
struct Gone(Arc<KillSwitch>);

impl Interrupt for Gone {
    fn client_gone(&self) {
        self.0.kill();
    }
}

impl Handler for Client {
    async fn account(&mut self, user: &str, host: &str) -> Result<Option<Account>, SqlError> {
        let services = &self.hall.services;
        let newest = async {
            let (begun, _guard) = services.begin().await?;
            services.catalog(begun.catalog_version).await
        };
        let newest = tokio::time::timeout(self.hall.login_wait_max, newest).await;
        let catalog = newest.map_err(|_| nobody_leads())??;
        self.hall.shared.apply_globals(&catalog);
        self.user = catalog.authenticate(user, host).cloned();
        Ok(self.user.as_ref().and_then(|user| {
            Some(Account {
                plugin: Plugin::from_name(&user.plugin)?,
                verifier: user.verifier.clone(),
                locked: user.locked,
                require_tls: user.require_tls,
                administrator: user.is_administrator(),
            })
        }))
    }

    fn requires_tls(&self, host: &str) -> bool {
        self.hall.requires_tls(host)
    }

    async fn login(&mut self, client: &ClientInfo) -> Result<(), SqlError> {
        let user = self.user.clone().ok_or_else(|| SqlError::internal("a login without an account"))?;
        let host = format!("{}:{}", client.host, client.port);
        self.entry.logged_in(&client.user, &host, client.database.as_deref(), client.tls.clone());
        self.collation = client.collation;
        self.multi_statements = client.can(capability::MULTI_STATEMENTS);
        self.prepared.clear();
        let login = Login {
            connection: self.id,
            user,
            client_name: client.user.as_str().into(),
            client_host: client.host.as_str().into(),
            database: None,
            collation: Some(client.collation),
            kill: self.kill.clone(),
        };
        match &mut self.session {
            Some(session) => session.change_user(login).await,
            None => {
                let (services, shared) = (self.hall.services.clone(), self.hall.shared.clone());
                self.session = Some(Session::new(services, shared, login));
            }
        }
        let entry = self.entry.clone();
        let session = self.session()?;
        entry.has_session(session.activity());
        if let Some(database) = &client.database {
            session.select_database(database).await?;
        }
        if client.can(capability::INTERACTIVE) {
            let text = "SET SESSION wait_timeout = @@interactive_timeout";
            session.run_text(text, &mut NoRows).await?;
        }
        self.refresh();
        self.rests();
        Ok(())
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        Arc::new(Gone(self.kill.clone()))
    }

    fn status(&self) -> u16 {
        self.facts.status
    }

    fn wait_timeout(&self) -> Duration {
        self.facts.wait_timeout
    }

    fn read_timeout(&self) -> Duration {
        self.facts.read_timeout
    }

    fn packet_bytes_max(&self) -> usize {
        self.facts.packet_bytes_max
    }

    fn client_charset(&self) -> Charset {
        self.facts.client
    }

    fn results_collation(&self) -> Option<Collation> {
        self.facts.results
    }

    async fn query(&mut self, text: &[u8], writer: &mut ResultWriter) -> Result<(), SqlError> {
        self.begins("Query", Some(shown(text)));
        let result = self.run_text(text, writer).await;
        self.rests();
        result
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<Prepared, SqlError> {
        self.hall.registry.counters.prepares.fetch_add(1, Ordering::Relaxed);
        let shown = shown(text);
        self.begins("Prepare", Some(shown.clone()));
        let result = match self.session() {
            Ok(session) => session.prepare(text).await,
            Err(error) => Err(error),
        };
        self.refresh_status();
        self.rests();
        let assize_session::Prepared { id, params, columns, warnings } = result?;
        self.prepared.insert(id, (shown, Kind::of(text)));
        Ok(Prepared { id, params, columns, warnings })
    }

    async fn execute(
        &mut self,
        statement: u32,
        params: &[Value],
        writer: &mut ResultWriter,
    ) -> Result<(), SqlError> {
        self.hall.registry.counters.executes.fetch_add(1, Ordering::Relaxed);
        let (text, kind) = match self.prepared.get(&statement) {
            Some((text, kind)) => (text.clone(), *kind),
            None => (Arc::from(""), Kind::of(b"")),
        };
        self.begins("Execute", Some(text.clone()));
        let began = Instant::now();
        let span = self.transaction();
        let result = match self.session() {
            Ok(session) => session.execute(statement, params, &mut *writer).instrument(span).await,
            Err(error) => Err(error),
        };
        self.ended(kind, text.as_bytes(), began, result.as_ref().map(rows_of));
        match &result {
            Ok(done) => self.complete(done, false, kind, writer),
            Err(_) => self.leave_transaction(),
        }
        self.rests();
        result.map(drop)
    }

    fn close_statement(&mut self, statement: u32) {
        self.hall.registry.counters.closes.fetch_add(1, Ordering::Relaxed);
        self.prepared.remove(&statement);
        if let Some(session) = &mut self.session {
            session.close_statement(statement);
        }
    }

    async fn select_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.begins("Init DB", None);
        let result = match self.session() {
            Ok(session) => session.select_database(name).await,
            Err(error) => Err(error),
        };
        self.refresh();
        self.rests();
        result
    }

    async fn field_list(&mut self, table: &str, pattern: &str) -> Result<Vec<FieldDefault>, SqlError> {
        self.begins("Field List", None);
        let result = match self.session() {
            Ok(session) => session.field_list(table).await,
            Err(error) => Err(error),
        };
        self.refresh_status();
        self.rests();
        let pattern = pattern.to_lowercase();
        let shown = |name: &str| pattern.is_empty() || like(&pattern, &name.to_lowercase());
        let columns = result?.into_iter().filter(|column| shown(&column.name));
        Ok(columns.map(|column| FieldDefault { column, default: None }).collect())
    }

    async fn reset(&mut self) -> Result<(), SqlError> {
        self.prepared.clear();
        let entry = self.entry.clone();
        let session = self.session()?;
        session.reset().await;
        entry.has_session(session.activity());
        self.refresh();
        Ok(())
    }

    fn set_multi_statements(&mut self, allowed: bool) {
        self.multi_statements = allowed;
    }

    fn statistics(&mut self) -> String {
        self.hall.registry.statistics()
    }

    async fn kill(&mut self, connection: u32) -> Result<(), SqlError> {
        self.session()?.process_kill(connection).await
    }

    async fn disconnect(&mut self) {
        match &mut self.session {
            Some(session) => session.disconnect().await,
            None => {
                self.hall.registry.counters.aborted_connects.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.hall.registry.leave(&self.entry);
    }
}

impl Drop for Client {
    /// A task that is stopped, or panics, does not come to say that it disconnects.
    fn drop(&mut self) {
        self.hall.registry.leave(&self.entry);
    }
}

/// For statements of our own that return nothing.
struct NoRows;

impl ResultSink for NoRows {
    fn columns(&mut self, _: &[assize_ports::ResultColumn]) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, _: &[Value]) -> Result<(), SqlError> {
        Ok(())
    }

    fn ready(&mut self) -> assize_ports::BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::{loggable, shown};

    #[test]
    fn passwords_stay_out_of_the_log_and_the_process_list() {
        let logged = loggable(b"CREATE USER a IDENTIFIED BY 'geheim'");
        assert!(logged.contains("IDENTIFIED") && !logged.contains("geheim"), "{logged}");
        let server = b"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', PASSWORD 'geheim')";
        assert!(!loggable(server).contains("geheim"), "{}", loggable(server));
        let url = b"CREATE TABLE t (a INT) ENGINE=FEDERATED CONNECTION='mysql://u:geheim@h/d/t'";
        assert!(!loggable(url).contains("geheim"), "{}", loggable(url));
        assert!(!shown(server).contains("geheim"), "{}", shown(server));
        assert_eq!(loggable(b"SELECT 'x'"), "SELECT 'x'");
        assert_eq!(&*shown(b"SELECT 'x', pass"), "SELECT 'x', pass");
    }
}
