//! One node: the roles of a configuration, wired together, and its orderly end.

use crate::cli::{StartOptions, parse_settings};
use crate::config::{self, Config, Role};
use crate::http::{self, Check};
use crate::roles;
use crate::roles::frontend::Frontend;
use crate::{Failure, metrics, telemetry};
use anyhow::Context;
use assize_consensus::Adjudicator;
use assize_ports::{AdjudicatorClient, DecisionSource};
use assize_shards::Directory;
use assize_shards::embedded::Embedded;
use figment::value::Value;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often gauges are brought up to date.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long connections may take to finish their statements when the node drains.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

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

/// A running node.
pub struct Node {
    /// Where MySQL clients connect.
    pub mysql: SocketAddr,
    /// Where metrics and health are served.
    pub http: SocketAddr,
    /// How many shards the cluster has.
    pub shards: usize,
    adjudicator: Adjudicator,
    replicas: Vec<Arc<Embedded>>,
    frontend: Frontend,
    draining: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

/// `assize start`: one node as its configuration says, until SIGTERM or Ctrl-C.
pub async fn run(options: StartOptions) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(data) = &options.data {
        flags.push(("node.data".to_owned(), Value::from(data.to_string_lossy().into_owned())));
    }
    flags.extend(parse_settings(&options.settings)?);
    let mut config = config::load(options.config.as_deref(), &flags)?.config;
    if let Some(port) = options.port {
        config.mysql.listen.set_port(port);
    }
    for role in [Role::Adjudicator, Role::Shard, Role::Frontend] {
        if !config.node.roles.contains(&role) {
            let text = "setting `node.roles`: this version runs all three roles in one process";
            return Err(config::ConfigError::Invalid(text.to_owned()).into());
        }
    }
    let mysql = bind(config.mysql.listen).await?;
    let http = bind(config.http.listen).await?;
    let node = start(&config, mysql, http).await?;
    tracing::info!(mysql = %node.mysql, http = %node.http, shards = node.shards, "ready");
    if let Some(path) = &options.url_file {
        write_url_file(path, &node)?;
    }
    node.serve_until_signal().await
}

/// Binds an address, saying which one if it cannot.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Starts every role and serves.
pub async fn start(config: &Config, mysql: TcpListener, http: TcpListener) -> Result<Node, Failure> {
    let prometheus = telemetry::install(&config.telemetry)?;
    let (mysql_address, http_address) = (mysql.local_addr()?, http.local_addr()?);
    if let Some(data) = &config.node.data {
        std::fs::create_dir_all(data)
            .map_err(|e| DataDirError::Unusable(format!("{}: {e}", data.display())))?;
    }
    let adjudicator = roles::adjudicator::open(config).await?;
    let client: Arc<dyn AdjudicatorClient> = Arc::new(adjudicator.clone());
    let source: Arc<dyn DecisionSource> = Arc::new(adjudicator.clone());
    let placement = client.placement().await.map_err(anyhow::Error::from)?;
    let host = roles::shard::open(config, &placement, source, Arc::new(adjudicator.clone())).await?;
    let replicas = host.residents();
    let shards = Directory::alone(host, &placement);
    let frontend = Frontend::start(config, mysql, client, shards, placement).await?;

    let draining = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = watch::channel(false);
    let checks = checks(&adjudicator, &replicas, &draining);
    tokio::spawn(http::serve(http, prometheus.clone(), checks, until(stopped.clone())));
    tokio::spawn(keep_gauges(adjudicator.clone(), replicas.clone(), prometheus, until(stopped)));
    Ok(Node {
        mysql: mysql_address,
        http: http_address,
        shards: replicas.len(),
        adjudicator,
        replicas,
        frontend,
        draining,
        stop,
    })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the node is gone, which is an end as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn checks(adjudicator: &Adjudicator, replicas: &[Arc<Embedded>], draining: &Arc<AtomicBool>) -> Vec<Check> {
    let mut checks = Vec::new();
    let draining = draining.clone();
    checks.push(Check {
        name: "frontend",
        probe: Box::new(move || {
            if draining.load(Ordering::Relaxed) {
                Err("draining".to_owned())
            } else {
                Ok("takes connections".to_owned())
            }
        }),
    });
    let handle = adjudicator.clone();
    checks.push(Check {
        name: "adjudicator",
        probe: Box::new(move || {
            let stats = handle.stats();
            handle.ready().map_err(|e| e.to_string()).map(|()| format!("applied {}", stats.applied))
        }),
    });
    let (handle, replicas) = (adjudicator.clone(), replicas.to_vec());
    checks.push(Check {
        name: "shards",
        probe: Box::new(move || {
            let closed = handle.stats().closed_ts;
            let lag = replicas.iter().map(|r| closed.since(r.stats().closed_ts)).max().unwrap_or_default();
            if lag > Duration::from_secs(10) {
                Err(format!("the slowest replica is {lag:?} behind"))
            } else {
                Ok(format!("{} replicas, the slowest {lag:?} behind", replicas.len()))
            }
        }),
    });
    checks
}

async fn keep_gauges(
    adjudicator: Adjudicator,
    replicas: Vec<Arc<Embedded>>,
    prometheus: PrometheusHandle,
    stopped: impl Future<Output = ()>,
) {
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
        let stats = adjudicator.stats();
        ::metrics::gauge!(metrics::ADJUDICATOR_APPLIED_INDEX).set(stats.applied.0 as f64);
        ::metrics::gauge!(metrics::ADJUDICATOR_CLOSED_MILLIS).set(stats.closed_ts.millis() as f64);
        for replica in &replicas {
            let position = replica.stats().closed_ts.millis() as f64;
            ::metrics::gauge!(metrics::SHARD_POSITION_MILLIS, "shard" => replica.id().0.to_string())
                .set(position);
        }
        ::metrics::gauge!(metrics::PROCESS_UPTIME_SECONDS).set(started.elapsed().as_secs_f64());
    }
}

impl Node {
    /// The MySQL URL of this node.
    pub fn url(&self) -> String {
        format!("mysql://root@{}", self.mysql)
    }

    /// Serves until a signal asks for the end, or until the node can go on no more.
    pub async fn serve_until_signal(self) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            why = self.adjudicator.failed() => Some(format!("the adjudicator has stopped: {why}")),
            why = first_failure(&self.replicas) => Some(why),
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

    /// Finishes what runs, then flushes and closes, upper floors first.
    async fn drain(self) {
        self.draining.store(true, Ordering::Relaxed);
        self.frontend.drain(DRAIN_LIMIT).await;
        for replica in &self.replicas {
            replica.shutdown().await;
        }
        self.adjudicator.shutdown().await;
        let _ = self.stop.send(true);
        tracing::info!("stopped");
    }
}

async fn first_failure(replicas: &[Arc<Embedded>]) -> String {
    // One future per replica; the first to complete ends the node.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    for replica in replicas {
        let (replica, sender) = (replica.clone(), sender.clone());
        tasks.spawn(async move {
            let why = format!("{} has stopped: {}", replica.id(), replica.failed().await);
            // Nobody listens any more once the node ends for another reason.
            let _ = sender.send(why).await;
        });
    }
    match receiver.recv().await {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// Writes the URL so that whoever waits for the file never reads half of it.
pub fn write_url_file(path: &Path, node: &Node) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{}\n", node.url())).with_context(|| part.display().to_string())?;
    std::fs::rename(&part, path).with_context(|| path.display().to_string())
}
