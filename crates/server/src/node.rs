//! One node: the roles of a configuration, wired together, and its orderly end.
//!
//! ```text
//!   bind ─▶ http (alive, not ready) ─▶ net ─▶ adjudicator ─▶ admin ─▶ [a leader, a placement] ─▶ shards ─▶ frontend
//! ```
//!
//! The parts come up one after the other; what asks the node meanwhile hears that it is not ready, and MySQL clients wait for the
//! frontend for a while.

use crate::acquaintances::Acquaintances;
use crate::activation;
use crate::cli::{StartOptions, parse_settings};
use crate::config::{self, Config, Role};
use crate::http::{self, Check};
use crate::keys::{CertificateFiles, KeyFiles};
use crate::net::{self, Net};
use crate::operator::bells::Bells;
use crate::operator::diary::Diary;
use crate::operator::jobs::Jobs;
use crate::operator::{
    Facts, LEADERLESS_MAX, Local, Operator, OperatorService, Survey, announce, membership,
};
use crate::reception;
use crate::roles;
use crate::roles::frontend::Frontend;
use crate::{Failure, metrics, pressure, telemetry};
use anyhow::Context;
use assize_consensus::Adjudicator;
use assize_model::{Epoch, NodeId, Placement};
use assize_ports::{
    AdjudicatorClient, ClusterView, DecisionSource, NodeRecord, Peers, Rebuff, Replica, ReportParts,
    STALLED_MILLIS_MAX, Service, ShardAdministration, ShardDirectory, Watched,
};
use assize_rpc::handshake::ClusterId;
use assize_rpc::{
    AdjudicatorService, DecisionRouter, DecisionService, Leaders, LocalAdjudicator, RemoteReplica,
    ReplicaService, Router, RouterOptions,
};
use assize_shards::embedded::ShardHost;
use assize_shards::wire::Phase;
use assize_shards::{Balance, Caretaker, Policy};
use assize_shards::{Colleagues, Directory, LeaderAdministration, Mover, SiblingService};
use figment::value::Value;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often gauges are brought up to date.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether others can read the private keys, and when certificates expire.
const KEYS_INTERVAL: Duration = Duration::from_secs(30);
/// How long connections may take to finish their statements when the node drains.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether the cluster has a leader yet.
const LEADER_PAUSE: Duration = Duration::from_millis(200);
/// A replica on the move that makes no progress for so long is given up.
const MOVE_PATIENCE: Duration = Duration::from_secs(120);
/// How often the leader looks whether every shard has what it should.
const CARE_INTERVAL: Duration = Duration::from_secs(5);
/// How often nodes ask each other who won conflicts that their own transactions lost.
const WINNERS_INTERVAL: Duration = Duration::from_secs(2);
/// A shard replica so far behind is no help to readers.
const LAG_MAX: Duration = Duration::from_secs(10);

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{0}")]
    InUse(String),
    /// Its contents cannot be read, or the disk refuses.
    #[error("{0}")]
    Unusable(String),
}

/// The sockets on which a node listens, bound before anything else: an address in use is told at once.
pub struct Listeners {
    /// MySQL clients; `None` without a frontend.
    pub mysql: Option<TcpListener>,
    /// Metrics and health.
    pub http: TcpListener,
    /// Other nodes; `None` in a cluster of one.
    pub peers: Option<TcpListener>,
    /// The admin API.
    pub admin: TcpListener,
}

/// A running node.
pub struct Node {
    /// Where MySQL clients connect; `None` without a frontend.
    pub mysql: Option<SocketAddr>,
    /// Where metrics and health are served.
    pub http: SocketAddr,
    /// Where the admin API is served.
    pub admin: SocketAddr,
    /// How many shards the cluster has.
    pub shards: usize,
    local: Arc<Local>,
    stop: watch::Sender<bool>,
    /// Everything that runs until the node stops.
    tasks: JoinSet<()>,
}

/// `assize start`: one node as its configuration says, until SIGTERM or Ctrl-C.
pub async fn run(options: StartOptions) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(data) = &options.data {
        flags.push(("node.data".to_owned(), Value::from(data.to_string_lossy().into_owned())));
    }
    flags.extend(parse_settings(&options.settings)?);
    let loaded = config::load(options.config.as_deref(), &flags)?;
    let mut config = loaded.config.clone();
    if let Some(port) = options.port {
        config.mysql.listen.set_port(port);
    }
    let inherited = activation::listener("mysql")?;
    let mut foreign = None;
    let listeners = Listeners {
        mysql: match (config.performs(Role::Frontend), inherited) {
            (false, _) => None,
            (true, Some(listener)) => {
                let (address, configured) = (listener.local_addr()?, config.mysql.listen);
                if address != configured {
                    foreign = Some((address, configured));
                }
                Some(listener)
            }
            (true, None) => Some(bind(config.mysql.listen).await?),
        },
        http: bind(config.http.listen).await?,
        peers: if config.is_clustered() { Some(bind(config.peers.listen).await?) } else { None },
        admin: bind(config.admin.listen).await?,
    };
    let mut signals = Signals::new()?;
    let node = tokio::select! {
        node = start(&config, loaded.settings(), listeners) => node?,
        () = signals.ask_for_the_end() => return Ok(()),
    };
    if config.node.data.is_none() {
        tracing::warn!(
            "this node keeps its data in memory: everything on it is lost when it ends; set node.data"
        );
    }
    if let Some((address, configured)) = foreign {
        tracing::warn!(%address, %configured, "the service manager's socket is used for MySQL, and not mysql.listen");
    }
    tracing::info!(mysql = ?node.mysql, http = %node.http, admin = %node.admin, shards = node.shards, "ready");
    if let Some(path) = &options.url_file {
        write_url_file(path, &node)?;
    }
    node.serve_until_signal(signals).await
}

/// Binds an address, saying which one if it cannot.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// SIGTERM and Ctrl-C.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for them from now on.
    pub fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn ask_for_the_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts every role and serves. `settings` are shown to operators: key, value, origin.
pub async fn start(
    config: &Config,
    settings: Vec<(String, String, String)>,
    listeners: Listeners,
) -> Result<Node, Failure> {
    let prometheus = telemetry::install(&config.telemetry)?;
    if let Some(data) = &config.node.data {
        std::fs::create_dir_all(data)
            .map_err(|e| DataDirError::Unusable(format!("{}: {e}", data.display())))?;
    }
    let mut keys = KeyFiles::of(config);
    keys.look();
    let Listeners { mysql, http, peers: peer_listener, admin } = listeners;
    let (http_address, admin_address) = (http.local_addr()?, admin.local_addr()?);
    if !http_address.ip().is_loopback() {
        tracing::warn!(address = %http_address, "metrics and health are served without TLS to everybody who can reach this");
    }
    let admin_options = admin_options(config);
    assize_admin::check(admin_address, &admin_options)
        .map_err(|e| config::ConfigError::Invalid(e.to_string()))?;
    let mysql_address = mysql.as_ref().map(TcpListener::local_addr).transpose()?;
    if mysql_address.is_some_and(|address| !address.ip().is_loopback()) && config.mysql.insecure {
        tracing::warn!("MySQL clients on other machines may come without TLS: mysql.insecure is set");
    }
    let peer_address = peer_listener.as_ref().map(TcpListener::local_addr).transpose()?;

    let record = NodeRecord {
        node: NodeId(config.node.id),
        peer_address: peer_address
            .map_or_else(String::new, |bound| net::advertised(config.peers.advertise.as_ref(), bound)),
        admin_address: net::advertised(config.admin.advertise.as_ref(), admin_address),
        mysql_address: mysql_address
            .map_or_else(String::new, |bound| net::advertised(config.mysql.advertise.as_ref(), bound)),
        roles: config.node.roles.iter().map(|role| role.to_string()).collect(),
        zone: config.node.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_version: net::CLUSTER_VERSION,
    };
    let facts = Facts {
        record,
        config: settings,
        founders: config.cluster.founders()?.into_iter().map(|(node, _)| node).collect(),
        token: config.cluster.join_token_file.as_deref().map(net::read_token).transpose()?,
        data: config.node.data.clone(),
        replicas_wanted: config.shard.replicas,
        replicas_founded: founded_replicas(&config.first_placement()?),
        started: Instant::now(),
    };
    let opened = peer_listener.map(|listener| net::open(config, listener)).transpose()?;
    let peers = opened.as_ref().map(|net| net.network.clone() as Arc<dyn Peers>);
    let local = Local::new(facts, peers.clone());
    let anteroom = mysql.map(|socket| reception::open(config, &local, socket)).transpose()?;
    let mut certificates = CertificateFiles::of(config, local.certificates.clone());
    certificates.look(SystemTime::now());

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_http(http, prometheus.clone(), checks(config, &local), stopped.clone()));

    let adjudicator = if config.performs(Role::Adjudicator) {
        let adjudicator = roles::adjudicator::open(config, peers.clone()).await?;
        let _ = local.adjudicator.set(adjudicator.clone());
        Some(adjudicator)
    } else {
        None
    };
    let known = match opened {
        Some(net) => Some(join_network(net, &local, config, &mut tasks, &stopped)?),
        None => None,
    };
    let way = Way::new(config, &local)?;
    let operator = Operator {
        local: local.clone(),
        adjudicator: way.adjudicator.clone(),
        source: way.source.clone(),
        peers: peers.clone(),
        diary: None,
    };
    let view: Arc<dyn ClusterView> = Arc::new(operator.clone());
    // Operators ask most while something is missing: the other nodes, a leader.
    let until_stopped = until(stopped.clone());
    let served = view.clone();
    tasks.spawn(async move {
        if let Err(error) = assize_admin::serve(admin, admin_options, served, until_stopped).await {
            tracing::error!(%error, "the admin API has ended");
        }
    });
    if let Some(acquaintances) = &way.acquaintances {
        // Whoever was named in the configuration need not be the leader, nor know the shards' nodes.
        tasks.spawn(acquaintances.clone().follow(until(stopped.clone())));
    }
    let placement = tokio::select! {
        placement = way.first_placement(&local) => placement?,
        why = refused_for_good(known.clone()) => return Err(anyhow::anyhow!("{why}").into()),
    };
    if let Some(mut known) = known {
        // Before the log has this node it serves nobody: it may have been refused.
        let refused = refused_for_good(Some(known.clone()));
        tokio::select! {
            // An error means that the node is stopping.
            _ = known.wait_for(|known| *known == Some(Ok(()))) => {}
            why = first_failure(adjudicator.as_ref(), None) => return Err(anyhow::anyhow!("{why}").into()),
            why = refused => return Err(anyhow::anyhow!("{why}").into()),
        }
    }

    if let Some(acquaintances) = &way.acquaintances {
        // Shards and frontend speak to nodes that nobody has named yet.
        acquaintances.look().await;
    }

    let host = if config.performs(Role::Shard) {
        let host = roles::shard::open(config, &placement, &way, peers.clone()).await?;
        let _ = local.host.set(host.clone());
        Some(host)
    } else {
        None
    };
    if let (Some(services), Some(host)) = (local.services(), &host) {
        let replicas = host.clone();
        let find = move |shard, replica| replicas.replica(shard, replica);
        services.offer(Service::Replica, ReplicaService::finding(find));
    }
    if let Some(services) = local.services() {
        let own = adjudicator.clone().map(|a| Arc::new(a) as Arc<dyn ShardAdministration>);
        services.offer(Service::Sibling, Arc::new(SiblingService::new(host.clone(), own)));
    }
    if let Some(host) = &host {
        tasks.spawn(roles::shard::follow(host.clone(), way.adjudicator.clone(), until(stopped.clone())));
    }
    if adjudicator.is_some() {
        let colleagues = Colleagues::new(local.node, peers.clone(), host.clone());
        let (adjudicator, source, administration) =
            (way.adjudicator.clone(), way.source.clone(), way.administration.clone());
        let mover = || {
            let (adjudicator, source) = (adjudicator.clone(), source.clone());
            Mover::new(adjudicator, source, administration.clone(), colleagues.clone(), MOVE_PATIENCE)
        };
        let jobs = Jobs::new(Arc::new(mover()), local.bells.clone(), diary(config));
        let _ = local.jobs.set(jobs.clone());
        let surveyor = Arc::new(Survey(local.clone()));
        let caretaker =
            Caretaker::new(mover(), colleagues.clone(), adjudicator.clone(), surveyor, policy(config));
        let duty = local.clone();
        let busy = jobs.clone();
        tasks.spawn(caretaker.run(
            CARE_INTERVAL,
            move || duty.leader() == Some(duty.node),
            move || busy.is_busy(),
            jobs,
            until(stopped.clone()),
        ));
    }

    if let Some(anteroom) = anteroom {
        let directory: Arc<dyn ShardDirectory> = way.directory(&local, host.clone(), &placement);
        let frontend =
            Frontend::start(config, anteroom, way.adjudicator.clone(), directory, placement.clone()).await?;
        // The admin API notes by itself what it is asked for.
        frontend.joins(Arc::new(Operator { diary: Some(diary(config)), ..operator.clone() }));
        let frontend = Arc::new(frontend);
        let _ = local.frontend.set(frontend.clone());
        let bells = local.bells.clone();
        frontend.rings(Box::new(move |total| bells.count_conflicts(total)));
        let bells = local.bells.clone();
        frontend.rings_for_jobs(Box::new(move || bells.ring(Watched::Jobs)));
        tasks.spawn(learn_winners(frontend, view.clone(), until(stopped.clone())));
    }
    if let Some(adjudicator) = local.adjudicator.get() {
        let (placed, bells) = (adjudicator.watch_placement(), local.bells.clone());
        tasks.spawn(ring_for_placement(placed, bells, until(stopped.clone())));
    }
    tasks.spawn(heed_draining(local.clone(), until(stopped.clone())));
    if peers.is_some() {
        tasks.spawn(membership::watch(local.clone(), until(stopped.clone())));
    }
    let bounds = assize_ports::Bounds { log_bytes_max: config.log_bounds().0, ..config.pressure };
    tasks.spawn(pressure::keep(operator, bounds, until(stopped.clone())));
    tasks.spawn(keep_watch_of_keys(keys, certificates, until(stopped.clone())));
    tasks.spawn(keep_gauges(local.clone(), prometheus, until(stopped)));
    Ok(Node {
        mysql: mysql_address,
        http: http_address,
        admin: admin_address,
        shards: placement.shards.len(),
        local,
        stop,
        tasks,
    })
}

/// How a node reaches the adjudicator, the decision streams and the shards, wherever they are.
pub struct Way {
    /// Whoever leads.
    pub adjudicator: Arc<dyn AdjudicatorClient>,
    /// The node's own streams, or another node's.
    pub source: Arc<dyn DecisionSource>,
    /// Whoever leads, for changes of the placement.
    pub administration: Arc<dyn ShardAdministration>,
    peers: Option<Arc<dyn Peers>>,
    /// What is known of the other nodes; `None` on a node whose own adjudicator knows them.
    acquaintances: Option<Acquaintances>,
}

impl Way {
    fn new(config: &Config, local: &Arc<Local>) -> anyhow::Result<Way> {
        let own = local.adjudicator.get().cloned();
        let Some(peers) = local.peers.clone() else {
            let own = own.context("setting `node.roles`: a cluster of one node needs an adjudicator")?;
            return Ok(Way {
                adjudicator: Arc::new(own.clone()),
                source: Arc::new(own.clone()),
                administration: Arc::new(own),
                peers: None,
                acquaintances: None,
            });
        };
        let node = NodeId(config.node.id);
        let mut others: Vec<NodeId> = config.cluster.founders()?.into_iter().map(|(node, _)| node).collect();
        others.extend(config.cluster.seeds()?.into_iter().map(|(node, _)| node));
        others.retain(|other| *other != node);
        let here = own.clone().map(|adjudicator| LocalAdjudicator {
            node,
            client: Arc::new(adjudicator.clone()),
            decisions: Arc::new(adjudicator),
        });
        let leaders = Leaders::new(here, peers.clone(), others.clone());
        let router = Router::new(leaders.clone(), RouterOptions::default());
        let decisions = DecisionRouter::new(leaders.clone());
        let router: Arc<dyn AdjudicatorClient> = Arc::new(router);
        let others =
            Acquaintances::new(node, peers.clone(), leaders, router.clone(), local.told.clone(), others);
        let voters = {
            let (local, others) = (Arc::downgrade(local), others.clone());
            move || {
                let status = local.upgrade().and_then(|l| l.adjudicator.get().map(Adjudicator::status));
                status.map_or_else(|| others.adjudicators(), |status| status.voters.into_iter().collect())
            }
        };
        let acquaintances = own.is_none().then_some(others);
        let own = own.map(|a| Arc::new(a) as Arc<dyn ShardAdministration>);
        let administration = LeaderAdministration::new(node, own, Some(peers.clone()), voters);
        Ok(Way {
            adjudicator: router,
            source: Arc::new(decisions),
            administration: Arc::new(administration),
            peers: Some(peers),
            acquaintances,
        })
    }

    /// Waits until there is a cluster: a leader, and a placement in its state.
    async fn first_placement(&self, local: &Local) -> Result<Arc<Placement>, Failure> {
        let failed = async {
            match local.adjudicator.get() {
                Some(adjudicator) => adjudicator.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(failed);
        let mut has_told = false;
        loop {
            let asked = tokio::select! {
                asked = self.adjudicator.placement() => asked,
                why = &mut failed => return Err(anyhow::anyhow!("the adjudicator has stopped: {why}").into()),
            };
            match asked {
                Ok(placement) if !placement.shards.is_empty() => return Ok(placement),
                Ok(_) => {}
                Err(error) if !has_told => {
                    tracing::info!(%error, "waiting for the cluster");
                    has_told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// The shards as a frontend of this node reaches them.
    fn directory(&self, local: &Local, host: Option<ShardHost>, placement: &Placement) -> Arc<Directory> {
        let Some(peers) = self.peers.clone() else {
            let host = host.expect("a cluster of one has its shards here: `node.roles` was checked");
            return Directory::alone(host, placement);
        };
        let remote = Arc::new(move |node, shard, replica| {
            Arc::new(RemoteReplica::new(peers.clone(), node, shard, replica)) as Arc<dyn Replica>
        });
        Directory::new(local.node, host, remote, placement)
    }
}

/// What came of telling the cluster that the node is there: nothing yet, it is known, or it never will be.
type Greeted = watch::Receiver<Option<Result<(), String>>>;

/// Completes with the reason once the cluster has turned the node away for good.
async fn refused_for_good(greeted: Option<Greeted>) -> String {
    if let Some(mut greeted) = greeted
        && let Ok(refused) = greeted.wait_for(|greeted| matches!(greeted, Some(Err(_)))).await
        && let Some(Err(why)) = &*refused
    {
        return why.clone();
    }
    std::future::pending().await
}

/// Offers what the node has to the others, listens, and tells them where it is.
fn join_network(
    net: Net,
    local: &Arc<Local>,
    config: &Config,
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Greeted> {
    let Net { network, services, server } = net;
    services.offer(Service::Operator, OperatorService::new(local.clone()));
    if let Some(adjudicator) = local.adjudicator.get() {
        services.offer(Service::Raft, adjudicator.raft_service());
        services.offer(Service::Adjudicator, AdjudicatorService::new(Arc::new(adjudicator.clone())));
        services.offer(Service::Decisions, DecisionService::new(Arc::new(adjudicator.clone())));
        // Others change the placement through this node before it has replicas of its own.
        services.offer(
            Service::Sibling,
            Arc::new(SiblingService::new(None, Some(Arc::new(adjudicator.clone())))),
        );
    }
    local.offers(services);
    tasks.spawn(server.serve(until(stopped.clone())));
    let seeds = config.cluster.founders()?.into_iter().chain(config.cluster.seeds()?);
    let seeds: Vec<NodeId> = seeds.map(|(node, _)| node).filter(|node| *node != local.node).collect();
    let told = local.clone();
    let until = until(stopped.clone());
    let (tell, known) = watch::channel(None);
    tasks.spawn(async move {
        let joins = told.clone();
        let greet = announce::greet(told, seeds, move |cluster| {
            let _ = joins.joined.set(cluster);
            network.set_cluster(ClusterId(cluster));
        });
        tokio::select! {
            greeted = greet => {
                tell.send_replace(Some(greeted));
            }
            () = until => {}
        }
    });
    Ok(known)
}

async fn serve_http(
    listener: TcpListener,
    prometheus: PrometheusHandle,
    checks: Vec<Check>,
    stopped: watch::Receiver<bool>,
) {
    if let Err(error) = http::serve(listener, prometheus, checks, until(stopped)).await {
        tracing::error!(%error, "metrics and health are no longer served");
    }
}

/// How many replicas each shard of a placement has that has not been changed yet.
fn founded_replicas(placement: &Placement) -> u32 {
    let replicas = placement.shards.values().map(|shard| shard.replicas.len()).max();
    replicas.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(0)
}

/// How the leader takes care of the shards.
fn policy(config: &Config) -> Policy {
    Policy {
        replicas: config.shard.replicas as usize,
        gone_after: Duration::from_secs(config.cluster.replace_after_seconds),
        uncount_after: Duration::from_secs(config.cluster.uncount_after_seconds),
        split_above: config.shard.split_above_bytes,
        balance: config.shard.balance.then_some(Balance {
            pause: Duration::from_secs(config.shard.balance_pause_seconds),
            slots_below: config.shard.balance_slots_below_bytes,
        }),
        ..Policy::default()
    }
}

/// Asks the other nodes who won the conflicts that transactions of this one lost, before they forget.
async fn learn_winners(
    frontend: Arc<Frontend>,
    view: Arc<dyn ClusterView>,
    stopped: impl Future<Output = ()>,
) {
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(WINNERS_INTERVAL) => {}
        }
        let winners = frontend.unknown_winners();
        if winners.is_empty() {
            continue;
        }
        let parts = ReportParts { winners, ..ReportParts::default() };
        if let Ok(report) = view.report(parts).await {
            frontend.complete_winners(&report.winners);
        }
    }
}

fn admin_options(config: &Config) -> assize_admin::Options {
    let admin = &config.admin;
    let tls = match (&admin.tls_certificate, &admin.tls_key) {
        (Some(certificate), Some(key)) => Some(assize_admin::Tls {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: config.peers.tls_ca.clone(),
        }),
        _ => None,
    };
    assize_admin::Options {
        tls,
        tokens_file: admin.tokens_file.clone(),
        audit_file: audit_file(config),
        insecure: admin.insecure,
    }
}

fn diary(config: &Config) -> Diary {
    Diary { node: NodeId(config.node.id), file: audit_file(config) }
}

fn audit_file(config: &Config) -> Option<PathBuf> {
    config.node.data.as_ref().map(|data| data.join("audit.jsonl"))
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the node is gone, which is an end as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What must hold before the node takes traffic, as far as its roles go.
fn checks(config: &Config, local: &Arc<Local>) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.is_clustered() {
        let local = local.clone();
        checks.push(Check {
            name: "member",
            probe: Box::new(move || {
                if local.is_removed() {
                    return Err("the cluster has removed this node: stop it".to_owned());
                }
                match local.rebuff() {
                    Some(Rebuff { what, seconds, .. }) => {
                        Err(format!("the cluster has not let this node in, for {seconds} s: {what}"))
                    }
                    None => Ok("of the cluster".to_owned()),
                }
            }),
        });
    }
    if config.performs(Role::Frontend) {
        let local = local.clone();
        checks.push(Check {
            name: "frontend",
            probe: Box::new(move || {
                if local.is_removed() {
                    return Err("closed: the cluster has removed this node".to_owned());
                }
                if local.is_draining() {
                    return Err("draining".to_owned());
                }
                local
                    .frontend
                    .get()
                    .map(|_| "takes connections".to_owned())
                    .ok_or_else(|| "starting".to_owned())
            }),
        });
    }
    if config.performs(Role::Adjudicator) {
        let local = local.clone();
        checks.push(Check {
            name: "adjudicator",
            probe: Box::new(move || {
                let adjudicator = local.adjudicator.get().ok_or("starting")?;
                adjudicator.ready().map_err(|e| e.to_string())?;
                let status = adjudicator.status();
                let part = part_in_the_group(local.node, status.leader, adjudicator.leader_silence())?;
                check_progress(status.stalled_for)?;
                Ok(format!("{part}, applied {}", status.applied))
            }),
        });
    } else {
        let local = local.clone();
        checks.push(Check {
            name: "leader",
            probe: Box::new(move || {
                check_silence(local.leader_silence())?;
                Ok("answers".to_owned())
            }),
        });
    }
    if config.performs(Role::Shard) {
        let local = local.clone();
        checks.push(Check {
            name: "shards",
            probe: Box::new(move || {
                let host = local.host.get().ok_or("starting")?;
                let replicas = host.residents();
                let newest = replicas.iter().map(|r| r.stats().closed_ts).max().unwrap_or_default();
                let closed = local.adjudicator.get().map_or(newest, |a| a.stats().closed_ts);
                let lag =
                    replicas.iter().map(|r| closed.since(r.stats().closed_ts)).max().unwrap_or_default();
                if lag > LAG_MAX {
                    return Err(format!("the slowest replica is {lag:?} behind"));
                }
                Ok(format!("{} replicas, the slowest {lag:?} behind", replicas.len()))
            }),
        });
    }
    checks
}

/// What a node does in the adjudicator's group, or why it takes no traffic: who leads as Raft has it, and for how long nothing
/// has been heard of that.
fn part_in_the_group(
    node: NodeId,
    leader: Option<NodeId>,
    silence: Option<Duration>,
) -> Result<String, String> {
    check_silence(silence)?;
    match leader {
        Some(leader) if leader == node => Ok("leads".to_owned()),
        Some(leader) => Ok(format!("follows {leader}")),
        None => Ok("waits for an election".to_owned()),
    }
}

/// Why a leader takes no traffic whose entries have come through to no majority for so long.
fn check_progress(stalled: Duration) -> Result<(), String> {
    match stalled > Duration::from_millis(STALLED_MILLIS_MAX) {
        true => Err(format!(
            "leads, and its entries have come through to no majority for {} s: assize status says more",
            stalled.as_secs()
        )),
        false => Ok(()),
    }
}

/// Why a node takes no traffic that has heard nothing of a leader for so long, or not at all.
fn check_silence(silence: Option<Duration>) -> Result<(), String> {
    let silence = silence.ok_or("no leader has been heard of yet")?;
    if silence > LEADERLESS_MAX {
        return Err(format!("nothing has been heard of a leader for {} s", silence.as_secs()));
    }
    Ok(())
}

async fn heed_draining(local: Arc<Local>, stopped: impl Future<Output = ()>) {
    local.heed_draining(stopped).await;
}

/// Tells those who watch shards that the placement has changed.
async fn ring_for_placement(
    mut placed: watch::Receiver<Epoch>,
    bells: Arc<Bells>,
    stopped: impl Future<Output = ()>,
) {
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            changed = placed.changed() => match changed {
                Ok(()) => bells.ring(Watched::Shards),
                // The adjudicator is gone.
                Err(_) => return,
            },
        }
    }
}

/// Looks at private keys and certificates: both are replaced while the node runs.
async fn keep_watch_of_keys(
    mut keys: KeyFiles,
    mut certificates: CertificateFiles,
    stopped: impl Future<Output = ()>,
) {
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(KEYS_INTERVAL) => {
                keys.look();
                certificates.look(SystemTime::now());
            }
        }
    }
}

async fn keep_gauges(local: Arc<Local>, prometheus: PrometheusHandle, stopped: impl Future<Output = ()>) {
    let started = Instant::now();
    let mut interval = tokio::time::interval(GAUGE_INTERVAL);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            _ = interval.tick() => {}
        }
        // Otherwise the samples of histograms pile up until somebody scrapes them.
        prometheus.run_upkeep();
        if let Some(adjudicator) = local.adjudicator.get() {
            let (stats, status) = (adjudicator.stats(), adjudicator.status());
            ::metrics::gauge!(metrics::ADJUDICATOR_APPLIED_INDEX).set(stats.applied.0 as f64);
            ::metrics::gauge!(metrics::ADJUDICATOR_CLOSED_MILLIS).set(stats.closed_ts.millis() as f64);
            ::metrics::gauge!(metrics::ADJUDICATOR_LOW_WATER_MILLIS).set(stats.low_water.millis() as f64);
            ::metrics::gauge!(metrics::ADJUDICATOR_CLOCK_LEAD_SECONDS).set(stats.clock_lead.as_secs_f64());
            ::metrics::gauge!(metrics::ADJUDICATOR_TERM).set(status.term as f64);
            ::metrics::gauge!(metrics::ADJUDICATOR_STALLED_SECONDS).set(status.stalled_for.as_secs_f64());
            let leads = status.leader == Some(local.node);
            ::metrics::gauge!(metrics::ADJUDICATOR_IS_LEADER).set(f64::from(u8::from(leads)));
            let diverges = f64::from(u8::from(status.divergence.is_some()));
            ::metrics::gauge!(metrics::ADJUDICATOR_STATE_DIVERGES).set(diverges);
            if status.disk_free_bytes != u64::MAX {
                ::metrics::gauge!(metrics::ADJUDICATOR_DISK_FREE_BYTES).set(status.disk_free_bytes as f64);
            }
        }
        for replica in local.host.get().map(ShardHost::residents).unwrap_or_default() {
            let (stats, shard) = (replica.stats(), replica.id().0.to_string());
            let position = stats.closed_ts.millis() as f64;
            ::metrics::gauge!(metrics::SHARD_POSITION_MILLIS, "shard" => shard.clone()).set(position);
            ::metrics::gauge!(metrics::SHARD_UNDECIDED_INTENTS, "shard" => shard).set(stats.undecided as f64);
        }
        if let Some(host) = local.host.get() {
            tell_replicas(host);
        }
        if let Some(free) = local.disk_free() {
            ::metrics::gauge!(metrics::PROCESS_DISK_FREE_BYTES).set(free as f64);
        }
        for (cause, shed) in local.frontend.get().iter().flat_map(|frontend| frontend.shedding().counts()) {
            ::metrics::counter!(metrics::FRONTEND_SHED_TRANSACTIONS_TOTAL, "reason" => cause.label())
                .absolute(shed);
        }
        ::metrics::gauge!(metrics::PROCESS_UPTIME_SECONDS).set(started.elapsed().as_secs_f64());
    }
}

/// How many replicas are in which state, and what has happened to their contents.
fn tell_replicas(host: &ShardHost) {
    let states: Vec<&str> = host.residents().iter().map(|replica| replica.status().phase.label()).collect();
    for state in Phase::LABELS {
        let here = states.iter().filter(|known| **known == state).count();
        ::metrics::gauge!(metrics::SHARD_REPLICAS, "state" => state).set(here as f64);
    }
    let tallies = host.tallies();
    ::metrics::counter!(metrics::SHARD_DAMAGED_TOTAL).absolute(tallies.damaged);
    ::metrics::counter!(metrics::SHARD_DIFFERENCES_TOTAL).absolute(tallies.differing);
    ::metrics::counter!(metrics::SHARD_REBUILT_TOTAL).absolute(tallies.rebuilt);
}

impl Node {
    /// The MySQL URL of this node; of its admin API if it runs no frontend.
    pub fn url(&self) -> String {
        match self.mysql {
            Some(mysql) => format!("mysql://root@{mysql}"),
            None => format!("http://{}", self.admin),
        }
    }

    /// Serves until a signal asks for the end, or until the node can go on no more.
    pub async fn serve_until_signal(self, mut signals: Signals) -> Result<(), Failure> {
        let adjudicator = self.local.adjudicator.get().cloned();
        let host = self.local.host.get().cloned();
        let failure = tokio::select! {
            () = signals.ask_for_the_end() => None,
            why = first_failure(adjudicator.as_ref(), host.as_ref()) => Some(why),
        };
        if let Some(why) = failure {
            // What is in memory cannot be made durable any more; a clean end would only pretend.
            tracing::error!(%why, "the node stops");
            return Err(anyhow::anyhow!("{why}").into());
        }
        tracing::info!("draining");
        self.drain().await;
        Ok(())
    }

    /// Finishes what runs, hands over the lead, then flushes and closes, upper floors first.
    async fn drain(mut self) {
        self.local.draining.store(true, Ordering::Relaxed);
        if let Some(frontend) = self.local.frontend.get() {
            frontend.drain(DRAIN_LIMIT).await;
        }
        if let Some(host) = self.local.host.get() {
            host.shutdown().await;
        }
        if let Some(adjudicator) = self.local.adjudicator.get() {
            adjudicator.shutdown().await;
        }
        let _ = self.stop.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        tracing::info!("stopped");
    }
}

async fn first_failure(adjudicator: Option<&Adjudicator>, host: Option<&ShardHost>) -> String {
    let adjudicator = async {
        match adjudicator {
            Some(adjudicator) => format!("the adjudicator has stopped: {}", adjudicator.failed().await),
            None => std::future::pending().await,
        }
    };
    let shards = async {
        match host {
            Some(host) => host.failed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        why = adjudicator => why,
        why = shards => why,
    }
}

/// Writes the URL so that whoever waits for the file never reads half of it.
pub fn write_url_file(path: &Path, node: &Node) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{}\n", node.url())).with_context(|| part.display().to_string())?;
    std::fs::rename(&part, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_leaves_a_node_ready_and_a_lost_majority_does_not() {
        let part = |leader: Option<u64>, silence: Option<u64>| {
            part_in_the_group(NodeId(1), leader.map(NodeId), silence.map(Duration::from_millis))
        };
        assert_eq!(part(Some(1), Some(0)).unwrap(), "leads");
        assert_eq!(part(Some(3), Some(150)).unwrap(), "follows n3");
        assert_eq!(part(None, Some(1_900)).unwrap(), "waits for an election");
        // Raft goes on naming the leader that has died.
        assert!(part(Some(3), Some(60_000)).unwrap_err().contains("for 60 s"));
        assert!(part(None, Some(6_000)).is_err());
        assert!(part(None, None).is_err(), "it has just started");
        assert!(part(Some(3), None).is_err(), "its disk says so, nobody else has");
    }

    #[test]
    fn a_leader_whose_entries_come_through_to_nobody_takes_no_traffic() {
        assert_eq!(check_progress(Duration::ZERO), Ok(()));
        assert_eq!(check_progress(Duration::from_secs(9)), Ok(()));
        assert!(check_progress(Duration::from_secs(12)).unwrap_err().contains("no majority for 12 s"));
    }

    #[test]
    fn a_node_that_asks_is_ready_while_the_leader_changes_and_not_for_long_after() {
        let check = |millis: Option<u64>| check_silence(millis.map(Duration::from_millis));
        assert_eq!(
            check(Some(4_000)),
            Ok(()),
            "it asks each second, and waits two for a leader that has died"
        );
        assert!(check(Some(6_000)).unwrap_err().contains("for 6 s"));
        assert!(check(None).is_err(), "it has just started");
    }
}
