//! The connections of a frontend, and what statements may see of them.

use assize_ports::{
    BoxFuture, Clock, ClusterView, ConflictSide, DigestInfo, NodeReport, ProcessInfo, ReportParts,
    ServerView, SessionInfo, SlowStatement, TableSizes,
};
use assize_session::{Activity, ConflictLog, KillSwitch, Shared};
use assize_wire::{Listener, TlsInfo};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Statement texts in the process list are cut here.
const STATEMENT_SHOWN_MAX: usize = 64 << 10;
/// Slow statements that are remembered.
const SLOW_MAX: usize = 512;
/// For how long after a conflict other nodes are asked who won; by then they have told, or have forgotten.
const WINNERS_ASKED_MICROS: i64 = 10_000_000;
/// Digests that a report tells of.
const DIGESTS_TOLD_MAX: usize = 1000;

/// What a frontend has counted since it started; each is a line of SHOW STATUS.
#[derive(Default)]
pub struct Counters {
    /// Statements sent by clients.
    pub questions: AtomicU64,
    /// Statements over the slow limit.
    pub slow_queries: AtomicU64,
    /// Connections that got as far as a session.
    pub connections: AtomicU64,
    /// Logins that failed.
    pub aborted_connects: AtomicU64,
    /// Most connections at a time.
    pub connections_most: AtomicU64,
    /// COM_STMT_PREPARE.
    pub prepares: AtomicU64,
    /// COM_STMT_EXECUTE.
    pub executes: AtomicU64,
    /// COM_STMT_CLOSE.
    pub closes: AtomicU64,
}

/// What a connection is doing, as SHOW PROCESSLIST says.
struct Doing {
    user: Arc<str>,
    host: Arc<str>,
    database: Option<Arc<str>>,
    command: &'static str,
    since: Instant,
    state: &'static str,
    statement: Option<Arc<str>>,
}

/// One connection.
pub struct Connection {
    /// CONNECTION_ID().
    pub id: u32,
    /// Stops it, or its statement.
    pub kill: Arc<KillSwitch>,
    doing: Mutex<Doing>,
    /// The session's transactions, once there is a session.
    activity: Mutex<Option<Arc<Activity>>>,
    tls: Mutex<Option<TlsInfo>>,
}

/// A statement's text as the process list shows it: without its literals if one of them may be a password.
pub fn shown(text: &[u8]) -> Arc<str> {
    let text = &text[..text.len().min(STATEMENT_SHOWN_MAX)];
    if may_hold_secrets(text) { normalised(text).into() } else { Arc::from(String::from_utf8_lossy(text)) }
}

/// Whether a literal of a statement may be a password. CONNECTION of a FEDERATED table is among them: it may be a URL, which is
/// refused, with a password in it.
pub fn may_hold_secrets(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 3] = [b"identified", b"password", b"federated"];
    let begins_with = |rest: &[u8], word: &[u8]| {
        rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    // Every statement comes by here: nearly every byte is none of their first letters.
    text.iter().enumerate().any(|(at, byte)| {
        matches!(byte | 0x20, b'i' | b'p' | b'f') && WORDS.iter().any(|word| begins_with(&text[at..], word))
    })
}

impl Connection {
    /// The client has logged in.
    pub fn logged_in(&self, user: &str, host: &str, database: Option<&str>, tls: Option<TlsInfo>) {
        let mut doing = lock(&self.doing);
        doing.user = user.into();
        doing.host = host.into();
        doing.database = database.map(Arc::from);
        *lock(&self.tls) = tls;
    }

    /// The connection has a session, or another one.
    pub fn has_session(&self, activity: Arc<Activity>) {
        *lock(&self.activity) = Some(activity);
    }

    /// A command begins.
    pub fn begins(&self, command: &'static str, statement: Option<Arc<str>>) {
        let mut doing = lock(&self.doing);
        doing.command = command;
        doing.state = "executing";
        doing.since = Instant::now();
        doing.statement = statement;
    }

    /// It has ended; the client may have selected another database.
    pub fn rests(&self, database: Option<&str>) {
        let mut doing = lock(&self.doing);
        doing.command = "Sleep";
        doing.state = "";
        doing.since = Instant::now();
        doing.statement = None;
        if doing.database.as_deref() != database {
            doing.database = database.map(Arc::from);
        }
    }

    fn info(&self) -> ProcessInfo {
        let doing = lock(&self.doing);
        ProcessInfo {
            id: self.id,
            user: doing.user.clone(),
            host: doing.host.clone(),
            database: doing.database.clone(),
            command: doing.command,
            seconds: doing.since.elapsed().as_secs(),
            state: doing.state,
            statement: doing.statement.clone(),
        }
    }
}

/// All connections of a frontend.
pub struct Registry {
    started: Instant,
    connections: Mutex<BTreeMap<u32, Arc<Connection>>>,
    /// What has been counted.
    pub counters: Counters,
    /// What all sessions remember, statement statistics among it.
    shared: Arc<Shared>,
    /// Closes connections; there is none before the frontend listens.
    listener: OnceLock<Arc<Listener>>,
    /// This node's number, and what its sessions keep; there is nothing before the frontend has registered.
    memory: OnceLock<Memory>,
    /// Newest first.
    slow: Mutex<VecDeque<SlowStatement>>,
    /// The cluster, once the node knows it.
    cluster: OnceLock<Arc<dyn ClusterView>>,
    /// How much tables hold; nobody knows before the frontend has registered.
    sizes: OnceLock<Arc<dyn TableSizes>>,
}

/// What reports are made of besides connections.
struct Memory {
    node: u64,
    clock: Arc<dyn Clock>,
    conflicts: Arc<ConflictLog>,
}

impl Registry {
    /// Of a frontend that starts now.
    pub fn new(shared: Arc<Shared>) -> Self {
        Registry {
            started: Instant::now(),
            connections: Mutex::default(),
            counters: Counters::default(),
            shared,
            listener: OnceLock::new(),
            memory: OnceLock::new(),
            slow: Mutex::default(),
            cluster: OnceLock::new(),
            sizes: OnceLock::new(),
        }
    }

    /// The frontend has registered: what its sessions keep is there, by this clock.
    pub fn remembers(&self, node: u64, clock: Arc<dyn Clock>, conflicts: Arc<ConflictLog>) {
        // As with the listener: a frontend starts once.
        let _ = self.memory.set(Memory { node, clock, conflicts });
    }

    /// The node knows its cluster: SHOW CONFLICTS and its like work from now on.
    pub fn joins(&self, cluster: Arc<dyn ClusterView>) {
        // As with the listener: a node joins once.
        let _ = self.cluster.set(cluster);
    }

    /// From now on this tells how much tables hold.
    pub fn measures(&self, sizes: Arc<dyn TableSizes>) {
        // As with the listener: a frontend starts once.
        let _ = self.sizes.set(sizes);
    }

    /// A statement took long; its text without literals.
    pub fn was_slow(&self, user: &str, took: Duration, text: String) {
        let Some(memory) = self.memory.get() else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at_micros = memory.clock.now_micros().saturating_sub_unsigned(micros);
        let mut slow = lock(&self.slow);
        slow.push_front(SlowStatement { node: memory.node, at_micros, micros, user: user.to_owned(), text });
        slow.truncate(SLOW_MAX);
    }

    /// What this node can tell an operator about itself.
    pub fn report(&self, parts: &ReportParts) -> NodeReport {
        let Some(memory) = self.memory.get() else { return NodeReport::default() };
        let node = memory.node;
        let mut report = NodeReport::default();
        if parts.sessions {
            report.sessions =
                self.processes().into_iter().map(|process| session_info(node, process)).collect();
        }
        if parts.transactions {
            let now = memory.clock.monotonic_micros();
            let connections: Vec<Arc<Connection>> = lock(&self.connections).values().cloned().collect();
            let activities = connections.iter().filter_map(|connection| lock(&connection.activity).clone());
            report.transactions = activities.filter_map(|activity| activity.open(now)).collect();
            report.transactions.iter_mut().for_each(|transaction| transaction.node = node);
        }
        if parts.conflicts {
            report.conflicts = memory.conflicts.list(node);
        }
        if parts.digests {
            let digests = self.shared.digests.list().into_iter().take(DIGESTS_TOLD_MAX);
            report.digests = digests
                .map(|d| DigestInfo {
                    node,
                    text: d.text,
                    count: d.count,
                    total_micros: d.total_micros,
                    rows: d.rows,
                    errors: d.errors,
                })
                .collect();
        }
        if parts.slow {
            report.slow = lock(&self.slow).iter().cloned().collect();
        }
        report.winners = memory.conflicts.ran(&parts.winners, node);
        report
    }

    /// Winners of this node's late conflicts that ran on other nodes and have not been told yet.
    pub fn unknown_winners(&self) -> Vec<String> {
        let Some(memory) = self.memory.get() else { return Vec::new() };
        memory.conflicts.unknown_winners(memory.clock.now_micros().saturating_sub(WINNERS_ASKED_MICROS))
    }

    /// Keeps what other nodes have told of winners.
    pub fn complete_winners(&self, winners: &[ConflictSide]) {
        if let Some(memory) = self.memory.get() {
            memory.conflicts.complete(winners);
        }
    }

    /// The frontend listens.
    pub fn listens(&self, listener: Arc<Listener>) {
        // A frontend starts once; a second listener would be a defect that the first one survives.
        let _ = self.listener.set(listener);
    }

    /// Enters a connection that has not authenticated yet.
    pub fn enter(&self, id: u32, host: String, kill: Arc<KillSwitch>) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id,
            kill,
            doing: Mutex::new(Doing {
                user: "unauthenticated user".into(),
                host: host.into(),
                database: None,
                command: "Connect",
                since: Instant::now(),
                state: "login",
                statement: None,
            }),
            activity: Mutex::default(),
            tls: Mutex::default(),
        });
        let mut connections = lock(&self.connections);
        connections.insert(id, connection.clone());
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.counters.connections_most.fetch_max(connections.len() as u64, Ordering::Relaxed);
        connection
    }

    /// A connection has ended. Said again it does nothing, for its number may be another connection's by then.
    pub fn leave(&self, connection: &Arc<Connection>) {
        let mut connections = lock(&self.connections);
        if connections.get(&connection.id).is_some_and(|entered| Arc::ptr_eq(entered, connection)) {
            connections.remove(&connection.id);
        }
    }

    /// Stops every statement: the server ends.
    pub fn kill_all(&self) {
        for connection in lock(&self.connections).values() {
            connection.kill.kill();
        }
    }

    /// How many there are.
    pub fn connected(&self) -> usize {
        lock(&self.connections).len()
    }

    /// How many connections there may be from now on.
    pub fn limit_connections(&self, connections_max: usize) {
        if let Some(listener) = self.listener.get() {
            listener.set_connections_max(connections_max);
        }
    }

    /// Connections refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.listener.get().map_or(0, |listener| listener.refused())
    }

    /// The line of COM_STATISTICS.
    pub fn statistics(&self) -> String {
        let uptime = self.started.elapsed().as_secs();
        let questions = self.counters.questions.load(Ordering::Relaxed);
        format!(
            "Uptime: {uptime}  Threads: {}  Questions: {questions}  Slow queries: {}  Opens: 0  Flush tables: 0  \
             Open tables: 0  Queries per second avg: {:.3}",
            self.connected(),
            self.counters.slow_queries.load(Ordering::Relaxed),
            questions as f64 / uptime.max(1) as f64,
        )
    }
}

impl ServerView for Registry {
    fn processes(&self) -> Vec<ProcessInfo> {
        lock(&self.connections).values().map(|connection| connection.info()).collect()
    }

    fn kill(&self, connection: u32, query_only: bool) -> bool {
        let Some(found) = lock(&self.connections).get(&connection).cloned() else { return false };
        if query_only {
            found.kill.kill_query();
        } else {
            found.kill.kill();
            if let Some(listener) = self.listener.get() {
                listener.close(connection);
            }
        }
        true
    }

    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_micros(micros)))
    }

    fn status(&self, connection: u32) -> Vec<(String, String)> {
        let tls = lock(&self.connections).get(&connection).and_then(|c| lock(&c.tls).clone());
        let connected = self.connected();
        let running = lock(&self.connections).values().filter(|c| lock(&c.doing).command != "Sleep").count();
        let refused = self.refused();
        let counters = &self.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
        let uptime = self.started.elapsed().as_secs().to_string();
        let (version, cipher) = tls.map_or_else(Default::default, |tls| (tls.version, tls.cipher));
        let ciphers = cipher.clone();
        let mut lines: Vec<(&str, String)> = vec![
            ("Aborted_connects", count(&counters.aborted_connects)),
            ("Com_stmt_close", count(&counters.closes)),
            ("Com_stmt_execute", count(&counters.executes)),
            ("Com_stmt_prepare", count(&counters.prepares)),
            ("Connection_errors_max_connections", refused.to_string()),
            ("Connections", count(&counters.connections)),
            ("Max_used_connections", count(&counters.connections_most)),
            ("Queries", count(&counters.questions)),
            ("Questions", count(&counters.questions)),
            ("Slow_queries", count(&counters.slow_queries)),
            ("Ssl_cipher", cipher),
            ("Ssl_cipher_list", ciphers),
            ("Ssl_version", version),
            ("Threads_connected", connected.to_string()),
            ("Threads_running", running.to_string()),
            ("Uptime", uptime.clone()),
            ("Uptime_since_flush_status", uptime),
        ];
        lines.sort();
        lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn digests(&self) -> Vec<(String, u64, u64, u64, u64)> {
        let list = self.shared.digests.list();
        list.into_iter().map(|d| (d.text, d.count, d.total_micros, d.rows, d.errors)).collect()
    }

    fn cluster(&self) -> Option<Arc<dyn ClusterView>> {
        self.cluster.get().cloned()
    }

    fn table_sizes(&self) -> Option<Arc<dyn TableSizes>> {
        self.sizes.get().cloned()
    }
}

fn session_info(node: u64, process: ProcessInfo) -> SessionInfo {
    SessionInfo {
        node,
        connection: process.id,
        user: process.user.to_string(),
        host: process.host.to_string(),
        database: process.database.map_or_else(String::new, |database| database.to_string()),
        command: process.command.to_owned(),
        seconds: process.seconds,
        // Without literals: an operator of another node need not see the data.
        statement: process.statement.map_or_else(String::new, |text| normalised(text.as_bytes())),
    }
}

/// A statement without its literals.
pub fn normalised(text: &[u8]) -> String {
    assize_sql::normalise(text, &assize_sql::ParseOptions::default()).text.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use assize_model::{FrontendEpoch, FrontendId};
    use assize_session::GlobalVariables;

    fn registry() -> Registry {
        let registry = Registry::new(Arc::new(Shared::new(Arc::new(GlobalVariables::new([])))));
        let conflicts = ConflictLog::new(FrontendId(1), FrontendEpoch(1));
        registry.remembers(3, Arc::new(SystemClock::new()), Arc::new(conflicts));
        registry
    }

    #[test]
    fn a_connection_leaves_once() {
        let registry = registry();
        let enter = || registry.enter(7, "10.0.0.7:4711".to_owned(), Arc::default());
        let first = enter();
        registry.leave(&first);
        assert_eq!(registry.connected(), 0);
        let second = enter();
        registry.leave(&first);
        assert_eq!(registry.connected(), 1, "it is another connection of the same number");
        registry.leave(&second);
        registry.leave(&second);
        assert_eq!(registry.connected(), 0);
    }

    #[test]
    fn a_report_holds_what_was_asked_for_without_literals() {
        let registry = registry();
        let connection = registry.enter(7, "10.0.0.7:4711".to_owned(), Arc::default());
        connection.logged_in("app", "10.0.0.7:4711", Some("shop"), None);
        connection.begins("Query", Some("SELECT 'secret' FROM stock".into()));
        assert_eq!(registry.report(&ReportParts::default()), NodeReport::default());
        let all = ReportParts {
            sessions: true,
            transactions: true,
            conflicts: true,
            digests: true,
            slow: true,
            winners: vec!["1.1.5".to_owned()],
        };
        let report = registry.report(&all);
        let NodeReport { sessions, transactions, conflicts, digests, slow, winners, .. } = &report;
        let [session] = sessions.as_slice() else { panic!("{sessions:?}") };
        assert_eq!((session.node, session.connection, session.user.as_str()), (3, 7, "app"));
        assert_eq!(session.statement, "SELECT ? FROM stock");
        assert!(transactions.is_empty() && conflicts.is_empty() && digests.is_empty());
        assert!(slow.is_empty() && winners.is_empty());
    }

    #[test]
    fn slow_statements_are_kept_newest_first_and_bounded() {
        let registry = registry();
        for n in 0..SLOW_MAX + 3 {
            registry.was_slow("app@10.0.0.7", Duration::from_millis(1500), format!("SELECT c{n}"));
        }
        let slow = registry.report(&ReportParts { slow: true, ..ReportParts::default() }).slow;
        assert_eq!((slow.len(), slow[0].text.as_str(), slow[0].micros), (SLOW_MAX, "SELECT c514", 1_500_000));
    }
}
