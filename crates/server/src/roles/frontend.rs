//! The frontend role: speaks MySQL, runs sessions.
//!
//! ```text
//!   socket ─▶ wire::Listener ─▶ Client (one per connection) ─▶ session::Session ─▶ query, shards, adjudicator
//!                                   │
//!                                   └─▶ Registry: process list, KILL, SHOW STATUS
//!   report, mind_life ── every half second ─▶ adjudicator: oldest snapshot in use; does this life go on?
//!   tend_locks        ── every half second ─▶ named locks that sessions hold, or have left behind
//!   foreign::tend     ── every few seconds ─▶ branches on foreign servers that nobody follows up
//! ```

mod client;
mod foreign;
mod kinds;
mod metered;
mod registry;
mod schema;
mod sizes;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::metrics;
use assize_catalog::User;
use assize_model::{Placement, Retry};
use assize_ports::{
    AdjudicatorClient, CONNECTION_BITS, ClusterView, ConflictRecord, ConflictSide, ForeignTroubles,
    Freshness, JobInfo, NodeReport, Registered, ReportParts, SchemaInfo, ServerView, ShardDirectory,
    TrafficInfo,
};
use assize_session::{
    Bell, GlobalVariables, JobBell, Limits, Login, Services, Session, Shared, Shedding, Txn, TxnOptions,
    find_variable,
};
use assize_values::Value;
use assize_wire::{Anteroom, Arrivals, Tls};
use client::Client;
use kinds::StatementMetrics;
use metered::{Metered, Tally};
use registry::Registry;
use sizes::Sizes;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often the oldest snapshot in use is reported; well within a frontend's lease.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// In every so many of these intervals, named locks that are held are reserved anew.
const RENEW_LOCKS_EVERY: u64 = 4;
/// How often registering is tried before the node gives up.
const REGISTER_TRIES: u32 = 50;
/// Time between two tries.
const REGISTER_PAUSE: Duration = Duration::from_millis(100);
/// How often the recycle bin is looked through for what has expired.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// How recent what operators are told of the sizes of tables is, as `@@information_schema_stats_expiry` is for clients.
const SIZES_FRESHNESS: Freshness =
    Freshness { max_age: Duration::from_secs(60), patience: Duration::from_secs(1) };
/// The largest packet, as `@@max_allowed_packet` says.
const PACKET_BYTES_MAX: usize = 64 << 20;

/// What all connections of a frontend share.
pub struct Hall {
    services: Arc<Services>,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    statements: StatementMetrics,
    slow: Duration,
    /// Whether clients on other machines may come without TLS.
    takes_plaintext: bool,
    /// A login waits so long for the cluster: less than the connection is given for all of it, so that the client hears why.
    login_wait_max: Duration,
}

impl Hall {
    /// Whether a client on this host may not come without TLS.
    fn requires_tls(&self, host: &str) -> bool {
        let is_required = find_variable("require_secure_transport")
            .is_ok_and(|definition| self.shared.globals.get(definition) == Value::Int(1));
        is_required || !self.takes_plaintext && !is_this_machine(host)
    }
}

/// Whether what a connection says of its other end means this machine.
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A running frontend.
pub struct Frontend {
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    /// Where it listens, and the task that does.
    address: SocketAddr,
    listening: Mutex<Listening>,
    /// Held by whoever closes or reopens.
    closing: tokio::sync::Mutex<()>,
    listener: Arc<assize_wire::Listener>,
    hall: Arc<Hall>,
    registry: Arc<Registry>,
    services: Arc<Services>,
    tally: Arc<Tally>,
    node: u64,
}

/// The task that takes connections.
#[derive(Default)]
struct Listening {
    close: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Frontend {
    /// Registers with the adjudicator, sees to it that the catalog has its first content, and serves who has come and who will.
    pub async fn start(
        config: &Config,
        anteroom: Anteroom,
        adjudicator: Arc<dyn AdjudicatorClient>,
        shards: Arc<dyn ShardDirectory>,
        placement: Arc<Placement>,
    ) -> anyhow::Result<Frontend> {
        let address = anteroom.address();
        let metered = Metered::new(adjudicator);
        let tally = metered.tally();
        let adjudicator: Arc<dyn AdjudicatorClient> = Arc::new(metered);
        let name = format!("node-{}", config.node.id);
        let identity = register(&*adjudicator, &name).await?;
        let shared =
            Arc::new(Shared::new(Arc::new(GlobalVariables::new(facts(config, address.port(), &identity)))));
        let registry = Arc::new(Registry::new(shared.clone()));
        let limits = Limits {
            inline_bytes_max: config.frontend.inline_bytes_max,
            transaction_bytes_max: config.frontend.transaction_bytes_max,
            statement_bytes_max: config.frontend.statement_bytes_max,
            temporary_bytes_max: config.frontend.temporary_bytes_max,
            retries_max: config.frontend.retries_max,
            ..Limits::default()
        };
        let mut services = Services::new(
            adjudicator.clone(),
            shards,
            Arc::new(assize_query::Engine::new()),
            Arc::new(SystemClock::new()),
            registry.clone(),
            identity.clone(),
            placement,
            limits,
        );
        services.foreign = Arc::new(assize_mysql::Servers::new());
        let services = Arc::new(services);
        // The services hold the registry: it must not hold them.
        let known = Arc::downgrade(&services);
        let placement = move || known.upgrade().map(|services| services.placement());
        registry.measures(Arc::new(Sizes::new(services.shards.clone(), placement)));
        registry.remembers(config.node.id, services.clock.clone(), services.conflicts.clone());
        bootstrap(&services).await?;

        let listener = assize_wire::Listener::new(wire_config(config)?);
        registry.listens(listener.clone());
        let slow = Duration::from_millis(config.frontend.slow_statement_millis);
        let statements = StatementMetrics::new();
        let hall = Arc::new(Hall {
            services: services.clone(),
            shared: shared.clone(),
            registry: registry.clone(),
            statements,
            slow,
            takes_plaintext: config.mysql.insecure,
            login_wait_max: Duration::from_secs(config.mysql.connect_timeout_seconds) / 5 * 4,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(empty_recycle_bin(services.clone(), shared.clone(), stopped.clone()));
        tasks.spawn(mind_life(name, services.clone(), registry.clone(), stopped.clone()));
        tasks.spawn(tend_locks(services.clone(), stopped.clone()));
        tasks.spawn(foreign::tend(services.clone(), stopped.clone()));
        tasks.spawn(report(services.clone(), shared, registry.clone(), stopped));
        let arrivals = anteroom.leave().await?;
        tracing::info!(frontend = identity.frontend.0, "takes connections");
        let node = config.node.id;
        let frontend = Frontend {
            stop,
            tasks: Mutex::new(tasks),
            address,
            listening: Mutex::default(),
            closing: tokio::sync::Mutex::default(),
            listener,
            hall,
            registry,
            services,
            tally,
            node,
        };
        frontend.listen(arrivals);
        Ok(frontend)
    }

    /// Takes connections, until it is closed.
    fn listen(&self, arrivals: Arrivals) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let (close, mut closed) = watch::channel(false);
        let (listener, hall) = (self.listener.clone(), self.hall.clone());
        listening.close = close;
        listening.tasks.spawn(async move {
            let shutdown = async move {
                // An error means that the node is gone, which is an end as well.
                let _ = closed.wait_for(|closed| *closed).await;
            };
            listener.run(arrivals, shutdown, move |id, peer| Client::new(hall.clone(), id, peer)).await;
        });
    }

    /// Takes connections again after it was closed. Nothing happens if it does.
    pub async fn reopen(&self) -> anyhow::Result<()> {
        // Until the last of the old connections has ended, the address may be taken.
        let _one_at_a_time = self.closing.lock().await;
        {
            let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
            while listening.tasks.try_join_next().is_some() {}
            if !listening.tasks.is_empty() {
                return Ok(());
            }
        }
        let socket = crate::node::bind(self.address).await?;
        self.listen(socket.into());
        Ok(())
    }

    /// What this frontend can tell an operator about itself: the node's part of [`assize_ports::ClusterView::report`].
    pub fn report(&self, parts: &ReportParts) -> NodeReport {
        self.registry.report(parts)
    }

    /// Calls `bell` with how many conflicts this frontend has kept, whenever there is one more.
    pub fn rings(&self, bell: Bell) {
        self.services.conflicts.rings(bell);
    }

    /// The long work of this frontend's statements, newest first.
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.services.jobs.list(self.node)
    }

    /// Calls `bell` when such work has moved on.
    pub fn rings_for_jobs(&self, bell: JobBell) {
        self.services.jobs.rings(bell);
    }

    /// The conflicts that this frontend has kept after the first `seen`, oldest first.
    pub fn conflicts_since(&self, seen: u64) -> Vec<ConflictRecord> {
        self.services.conflicts.since(seen, self.node)
    }

    /// Whether new transactions may write: the node's to say.
    pub fn shedding(&self) -> &Shedding {
        &self.services.shedding
    }

    /// Winners of this frontend's conflicts that ran on other nodes and have not been told yet: ask for them with
    /// [`ReportParts::winners`], before the others forget.
    pub fn unknown_winners(&self) -> Vec<String> {
        self.registry.unknown_winners()
    }

    /// Keeps what other nodes have told of winners.
    pub fn complete_winners(&self, winners: &[ConflictSide]) {
        self.registry.complete_winners(winners);
    }

    /// What this frontend has done since it started.
    pub fn traffic(&self) -> TrafficInfo {
        TrafficInfo {
            node: self.node,
            at_micros: self.services.clock.now_micros(),
            commits: self.tally.committed.load(Ordering::Relaxed),
            aborts: self.tally.aborted.load(Ordering::Relaxed),
            statements: self.registry.counters.questions.load(Ordering::Relaxed),
            connections: self.registry.connected() as u64,
        }
    }

    /// What is in the way on foreign servers, as it was a few seconds ago.
    pub fn foreign(&self) -> ForeignTroubles {
        self.services.foreign_tended().troubles()
    }

    /// Databases and tables, as of now, and what they hold, if that is wanted. An error says why they cannot be told.
    pub async fn schema(&self, with_sizes: bool) -> Result<SchemaInfo, String> {
        let (begun, _snapshot) = self.services.begin().await.map_err(|error| error.to_string())?;
        let catalog =
            self.services.catalog(begun.catalog_version).await.map_err(|error| error.to_string())?;
        let sizes = match self.registry.table_sizes().filter(|_| with_sizes) {
            Some(sizes) => {
                let tables = catalog.tables.values().filter(|table| table.is_on_shards());
                sizes.sizes(tables.cloned().collect(), SIZES_FRESHNESS).await
            }
            None => BTreeMap::new(),
        };
        Ok(schema::describe(&catalog, &sizes))
    }

    /// Databases and tables as this frontend has heard of them last, however old that is; `None` if it has not yet.
    pub fn known_schema(&self) -> Option<SchemaInfo> {
        self.services.known_catalog().map(|catalog| schema::describe(&catalog, &BTreeMap::new()))
    }

    /// Whether there is a connection of this number.
    pub fn has_connection(&self, connection: u32) -> bool {
        self.registry.processes().iter().any(|process| process.id == connection)
    }

    /// Ends a connection, or its statement; false if there is none of this number.
    pub fn kill(&self, connection: u32, query_only: bool) -> bool {
        self.registry.kill(connection, query_only)
    }

    /// The node knows its cluster: SHOW CONFLICTS and its like work from now on.
    pub fn joins(&self, cluster: Arc<dyn ClusterView>) {
        self.registry.joins(cluster);
    }

    /// Closes, and ends what goes on beside the connections.
    pub async fn drain(&self, limit: Duration) {
        self.close(limit).await;
        let _ = self.stop.send(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tasks.shutdown().await;
        }
    }

    /// Takes no more connections, lets open transactions end for a while, and ends the rest. See [`Frontend::reopen`].
    pub async fn close(&self, limit: Duration) {
        let _one_at_a_time = self.closing.lock().await;
        let mut tasks = {
            let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
            listening.close.send_replace(true);
            std::mem::take(&mut listening.tasks)
        };
        for attempt in 0..2 {
            let ended = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(limit / 2, ended).await.is_ok() {
                return;
            }
            if attempt == 0 {
                // What still runs is a long statement: it ends as if it had been killed, commits excepted.
                self.registry.kill_all();
            }
        }
        tracing::warn!("connections did not end in time");
        tasks.shutdown().await;
    }
}

async fn register(adjudicator: &dyn AdjudicatorClient, name: &str) -> anyhow::Result<Registered> {
    let nonce = rand::random();
    let mut last = None;
    for _ in 0..REGISTER_TRIES {
        match adjudicator.register(name, nonce).await {
            Ok(registered) => return Ok(registered),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(REGISTER_PAUSE).await;
    }
    let error = last.map_or_else(|| anyhow::anyhow!("never tried"), anyhow::Error::from);
    Err(error.context("the frontend cannot register with the adjudicator"))
}

/// What the server says of itself in system variables.
fn facts(config: &Config, port: u16, identity: &Registered) -> Vec<(&'static str, Value)> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let data = config.node.data.as_ref().map_or_else(String::new, |data| format!("{}/", data.display()));
    let uuid = u128::from(identity.hash_seed) << 64 | u128::from(config.node.id);
    let hex = format!("{uuid:032x}");
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    vec![
        ("assize_version", Value::text(env!("CARGO_PKG_VERSION"))),
        ("datadir", Value::text(data)),
        ("hostname", Value::text(hostname.trim())),
        ("max_allowed_packet", Value::Int(PACKET_BYTES_MAX as i64)),
        ("max_connections", Value::Int(i64::from(config.mysql.max_connections))),
        ("require_secure_transport", Value::Int(i64::from(config.mysql.require_tls))),
        ("port", Value::Int(i64::from(port))),
        ("server_uuid", Value::text(uuid)),
        ("version", Value::text(config.mysql.version.clone())),
    ]
}

/// A new cluster gets its system databases and its first user. Whoever comes second finds them.
async fn bootstrap(services: &Arc<Services>) -> anyhow::Result<()> {
    loop {
        let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await?;
        if !txn.catalog().users.is_empty() {
            return Ok(());
        }
        match txn.commit(Some(assize_catalog::bootstrap())).await {
            Ok(_) => tracing::info!("the catalog has its first content"),
            // Another node was first: it is looked at again.
            Err(failure) if failure.error.code.retry() == Retry::Transaction => {}
            Err(failure) => {
                return Err(anyhow::Error::from(failure.error).context("the catalog has no content"));
            }
        }
    }
}

/// Nodes below this number give their connections numbers that no other node gives.
const NUMBERED_NODES: u64 = 1 << (u32::BITS - CONNECTION_BITS);

/// The numbers of a node's connections. In a cluster those of its nodes differ, so that `KILL` means one connection.
fn connection_ids(config: &Config) -> RangeInclusive<u32> {
    let id = config.node.id;
    let above = if config.is_clustered() && id < NUMBERED_NODES { (id as u32) << CONNECTION_BITS } else { 0 };
    above + 1..=above + ((1 << CONNECTION_BITS) - 1)
}

fn wire_config(config: &Config) -> anyhow::Result<assize_wire::Config> {
    let mysql = &config.mysql;
    let tls = match (&mysql.tls_certificate, &mysql.tls_key) {
        (Some(certificate), Some(key)) => Tls::from_files(certificate, key)?,
        _ => Tls::self_signed(&["localhost".to_owned(), mysql.listen.ip().to_string()])?,
    };
    Ok(assize_wire::Config {
        version: mysql.version.clone(),
        tls: Some(tls),
        ids: connection_ids(config),
        connections_max: mysql.max_connections as usize,
        connect_timeout: Duration::from_secs(mysql.connect_timeout_seconds),
        ..assize_wire::Config::default()
    })
}

/// Purges what has been in the recycle bin for longer than it is kept.
async fn empty_recycle_bin(services: Arc<Services>, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(PURGE_INTERVAL);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = interval.tick() => {}
        }
        let login = Login {
            connection: 0,
            user: Arc::new(nobody()),
            client_name: "assize".into(),
            client_host: "localhost".into(),
            database: None,
            collation: None,
            kill: Arc::default(),
        };
        let mut session = Session::new(services.clone(), shared.clone(), login);
        let context = session.context();
        let now = services.clock.now_micros();
        context.eval().begin_statement(now);
        match assize_query::ddl::recycle::purge_expired(context).await {
            Ok(0) => {}
            Ok(purged) => tracing::info!(purged, "the recycle bin was emptied of what had expired"),
            // It is tried again after the interval; nothing is lost by keeping it longer.
            Err(error) => tracing::warn!(%error, "the recycle bin could not be emptied"),
        }
        session.disconnect().await;
    }
}

/// In whose name the server does its own work. Nobody can log in as this.
fn nobody() -> User {
    User {
        name: "assize".into(),
        host: "localhost".into(),
        plugin: "caching_sha2_password".into(),
        verifier: Vec::new(),
        locked: true,
        require_tls: false,
        global: vec!["ALL PRIVILEGES".into()],
        databases: BTreeMap::new(),
        tables: BTreeMap::new(),
        grant_option: Vec::new(),
    }
}

/// Asks for another life after this one was ended because nothing had been heard of it for longer than its lease: the node
/// was cut off, or stood still. Sessions go on, but for those that held named locks, which others may have got meanwhile. `nonce`
/// is the same until it is granted.
async fn live_again(services: &Services, registry: &Registry, name: &str, nonce: u64) -> bool {
    match services.adjudicator.register(name, nonce).await {
        Ok(Registered { epoch, .. }) => {
            tracing::warn!(%epoch, "was fenced because it had fallen silent, and begins another life");
            for connection in services.begin_life(epoch) {
                tracing::warn!(connection, "closed, because its named locks are lost");
                registry.kill(connection, false);
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "is fenced, and cannot begin another life yet");
            false
        }
    }
}

/// Asks now and then whether this life was ended, and if so, or if a commit has heard of it, for another one. A task of its
/// own: while nobody answers, snapshots are reported all the same.
async fn mind_life(
    name: String,
    services: Arc<Services>,
    registry: Arc<Registry>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut nonce = rand::random();
    loop {
        let lived_again = async {
            interval.tick().await;
            if !services.is_fenced()
                && let Err(error) = services.ask_for_life().await
            {
                // It is asked again; and a commit would hear of it.
                tracing::debug!(%error, "cannot tell whether this life goes on");
            }
            services.is_fenced() && live_again(&services, &registry, &name, nonce).await
        };
        let has_lived_again = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            lived = lived_again => lived,
        };
        if has_lived_again {
            nonce = rand::random();
        }
    }
}

/// Gives back named locks that sessions have left behind, and sees to it that those they hold stay reserved. A task of its own:
/// while the cluster does not answer, snapshots are reported all the same.
async fn tend_locks(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds: u64 = 0;
    loop {
        let tended = async {
            interval.tick().await;
            services.tend_named_locks(rounds.is_multiple_of(RENEW_LOCKS_EVERY)).await;
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tended => rounds += 1,
        }
    }
}

/// Tells the adjudicator which snapshots are in use, so that nothing they can see is collected; keeps the gauge of
/// connections.
async fn report(
    services: Arc<Services>,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    let (mut refused, mut retries) = (0, 0);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = interval.tick() => {}
        }
        let frontend = services.identity.frontend;
        services.adjudicator.report_oldest_snapshot(frontend, services.epoch(), services.snapshots.oldest());
        ::metrics::gauge!(metrics::FRONTEND_CONNECTIONS).set(registry.connected() as f64);
        let temporary = services.temporary_bytes.load(Ordering::Relaxed);
        ::metrics::gauge!(metrics::FRONTEND_TEMPORARY_BYTES).set(temporary as f64);
        // SET GLOBAL max_connections, here or on another frontend.
        if let Ok(definition) = find_variable("max_connections")
            && let Value::Int(limit) = shared.globals.get(definition)
        {
            registry.limit_connections(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let now = registry.refused();
        ::metrics::counter!(metrics::FRONTEND_REFUSED_CONNECTIONS_TOTAL, "reason" => "limit")
            .increment(now.saturating_sub(refused));
        refused = now;
        let now = shared.retries.load(Ordering::Relaxed);
        ::metrics::counter!(metrics::FRONTEND_RETRIES_TOTAL).increment(now.saturating_sub(retries));
        retries = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::NodeId;
    use assize_ports::node_of_connection;

    #[test]
    fn connections_of_different_nodes_have_different_numbers() {
        let mut config = Config::default();
        assert_eq!(*connection_ids(&config).start(), 1, "alone, a node counts from one");
        config.cluster.nodes = vec!["1=127.0.0.1:7407".to_owned()];
        let mut before = 0;
        for id in [1, 2, 3, NUMBERED_NODES - 1] {
            config.node.id = id;
            let ids = connection_ids(&config);
            assert!(before < *ids.start() && ids.start() < ids.end(), "{id}: {ids:?}");
            for connection in [*ids.start(), *ids.end()] {
                assert_eq!(node_of_connection(connection), Some(NodeId(id)));
            }
            before = *ids.end();
        }
        config.node.id = NUMBERED_NODES;
        assert_eq!(*connection_ids(&config).start(), 1, "there are too many to tell them apart");
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["10.0.0.1", "0.0.0.0", "fe80::1", "::ffff:10.0.0.1", "db1.example.net", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
