//! Configuration: one struct tree, defaults in code, unknown keys refused.
//!
//! Precedence: command-line flags over environment (`ASSIZE_MYSQL__LISTEN`) over the TOML file over defaults.

use assize_model::{NodeId, Placement, ReplicaId};
use assize_ports::Bounds;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Bytes of log between two checkpoints, unless configured.
pub const CHECKPOINT_BYTES: u64 = 256 << 20;
/// The same of a node that keeps its data in memory.
pub const CHECKPOINT_BYTES_IN_MEMORY: u64 = 8 << 20;

/// Everything a node can be told.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process as such.
    pub node: Node,
    /// The cluster that it belongs to.
    pub cluster: Cluster,
    /// How other nodes reach it.
    pub peers: Peers,
    /// The admin API.
    pub admin: Admin,
    /// The MySQL protocol.
    pub mysql: Mysql,
    /// Metrics and health.
    pub http: Http,
    /// The adjudicator role.
    pub adjudicator: Adjudicator,
    /// The shard role.
    pub shard: Shard,
    /// The frontend role.
    pub frontend: Frontend,
    /// When new transactions that write are shed, because this node is behind with its work.
    pub pressure: Bounds,
    /// Logs.
    pub telemetry: Telemetry,
}

/// The process as such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Number of this node in its cluster, from 1.
    pub id: u64,
    /// What the node performs.
    pub roles: Vec<Role>,
    /// Where it keeps its data. Empty: in memory, gone at exit.
    pub data: Option<PathBuf>,
    /// Its failure domain: replicas of a shard are spread over zones. Empty: each node is a zone of its own.
    pub zone: String,
}

/// The cluster that a node belongs to. Without `nodes` and `join` a node is a cluster of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// The nodes that found a new cluster, this one included: `["1=10.0.0.1:7407", …]`, the same on all of them.
    /// Once the cluster exists, only a way to find it.
    pub nodes: Vec<String>,
    /// Peer addresses of an existing cluster that this node is to be added to: `["2=10.0.0.2:7407", …]`.
    pub join: Vec<String>,
    /// A file with the secret that a node shows when it joins, and asks of those who join it. See `assize cert token`.
    pub join_token_file: Option<PathBuf>,
    /// A node that has not answered for so long is given up: its replicas are made anew elsewhere, if there is a node for
    /// them.
    pub replace_after_seconds: u64,
    /// The log waits so long for the replicas of a node that does not answer; after that they have to be rebuilt.
    pub uncount_after_seconds: u64,
}

/// How other nodes reach this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peers {
    /// Where it listens for them.
    pub listen: SocketAddr,
    /// The `host:port` by which they reach it, if that is another one.
    pub advertise: Option<String>,
    /// The cluster's certificate authority, PEM: `assize cert ca`.
    pub tls_ca: Option<PathBuf>,
    /// This node's certificate, PEM: `assize cert node`.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Nodes talk without TLS beyond loopback: everybody on the network can read and change everything.
    pub insecure: bool,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// The `host:port` by which others reach it, if that is another one.
    pub advertise: Option<String>,
    /// TLS certificate chain, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// TLS private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Who may do what: one `name role sha256-of-token` a line. Without it callers from loopback may do everything.
    pub tokens_file: Option<PathBuf>,
    /// Serves beyond loopback without TLS.
    pub insecure: bool,
}

/// What a node performs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Resolves conflicts and records decisions.
    Adjudicator,
    /// Stores rows.
    Shard,
    /// Speaks MySQL and runs sessions.
    Frontend,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Adjudicator => "adjudicator",
            Role::Shard => "shard",
            Role::Frontend => "frontend",
        })
    }
}

/// The MySQL protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mysql {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The `host:port` by which clients reach it, if that is another one.
    pub advertise: Option<String>,
    /// Most connections at a time; one more is kept for administrators. Error 1040 beyond.
    pub max_connections: u32,
    /// The version string that clients see; digits first.
    pub version: String,
    /// TLS certificate chain, PEM. Without it the node makes a self-signed one at start.
    pub tls_certificate: Option<PathBuf>,
    /// TLS private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Every client needs TLS, on this machine as well; what `require_secure_transport` is until SET GLOBAL says otherwise.
    pub require_tls: bool,
    /// Clients on other machines may come without TLS: what they say, and passwords of the native plugin, can be listened to.
    pub insecure: bool,
    /// Seconds a client may take to authenticate.
    pub connect_timeout_seconds: u64,
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where `/metrics`, `/livez` and `/readyz` are served: never over TLS, and to everybody who asks. They tell numbers, and
    /// names of tables in none of them.
    pub listen: SocketAddr,
}

/// The adjudicator role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjudicator {
    /// Keys that the conflict window remembers at least; part of the cluster's state once it is created.
    pub window_keys: u64,
    /// Commits are refused while more bytes of the log than this cannot be forgotten, because replicas have not persisted
    /// them. `pressure.log_bytes_max` lies below: new transactions are shed first. A quarter of this at most is logged between
    /// two checkpoints.
    pub retained_bytes_max: u64,
    /// A checkpoint is taken, so that the log before it can be forgotten, once so many bytes have been logged since the
    /// one before. Unset: 256 MiB, or 8 MiB for a node without `node.data`.
    pub checkpoint_bytes: Option<u64>,
    /// A frontend of which nothing was heard for so long is fenced: what it holds is let go, and it begins another life when
    /// it hears of that. At least 2. What whoever leads is told counts.
    pub frontend_lease_seconds: u64,
}

/// The shard role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shard {
    /// How many shards a new cluster gets.
    pub count: u32,
    /// How many replicas each of them gets: 1 or 3, as far as there are nodes.
    pub replicas: u32,
    /// The nodes that hold the replicas of a new cluster, the same on all that found it; empty: those of `cluster.nodes`.
    /// They may join later.
    pub nodes: Vec<u64>,
    /// A shard with more bytes than this on disk is split by itself. Unset: never.
    pub split_above_bytes: Option<u64>,
    /// Whether replicas and slots are moved by themselves so that nodes and shards are even: one move at a time, while every
    /// node answers and none is behind with its work. What whoever leads is told counts.
    pub balance: bool,
    /// The rest after each such move.
    pub balance_pause_seconds: u64,
    /// Shards with more bytes than this give and take no slots by themselves: copying would take too long.
    pub balance_slots_below_bytes: u64,
    /// Bytes of RocksDB's block cache, shared by all shards of the process.
    pub cache_bytes: u64,
    /// Bytes of writes kept in memory per process before they are flushed.
    pub write_buffer_bytes: u64,
    /// Replicas persist what they have applied this often, so that the log can be forgotten.
    pub flush_interval_seconds: u64,
}

/// The frontend role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Frontend {
    /// Encoded writes up to which a commit rides in the log entry; beyond, it is prepared first. 0 prepares
    /// every commit.
    pub inline_bytes_max: usize,
    /// Bytes of writes that one transaction may buffer.
    pub transaction_bytes_max: usize,
    /// Bytes that one statement may use for sorting, grouping and joining.
    pub statement_bytes_max: usize,
    /// Bytes that the temporary tables of one session may hold.
    pub temporary_bytes_max: usize,
    /// Statements slower than this are logged.
    pub slow_statement_millis: u64,
    /// How often an autocommit statement that lost a conflict is run again.
    pub retries_max: u32,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// A tracing filter: `info`, `assize=debug`, …
    pub log: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            id: 1,
            roles: vec![Role::Adjudicator, Role::Shard, Role::Frontend],
            data: None,
            zone: String::new(),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            nodes: Vec::new(),
            join: Vec::new(),
            join_token_file: None,
            replace_after_seconds: 600,
            uncount_after_seconds: 300,
        }
    }
}

impl Default for Peers {
    fn default() -> Self {
        Peers {
            listen: SocketAddr::from(([127, 0, 0, 1], 7407)),
            advertise: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            insecure: false,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: SocketAddr::from(([127, 0, 0, 1], 7406)),
            advertise: None,
            tls_certificate: None,
            tls_key: None,
            tokens_file: None,
            insecure: false,
        }
    }
}

impl Default for Mysql {
    fn default() -> Self {
        Mysql {
            listen: SocketAddr::from(([127, 0, 0, 1], 3406)),
            advertise: None,
            max_connections: 1000,
            version: concat!("8.4.6-assize-", env!("CARGO_PKG_VERSION")).to_owned(),
            tls_certificate: None,
            tls_key: None,
            require_tls: false,
            insecure: false,
            connect_timeout_seconds: 10,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: SocketAddr::from(([127, 0, 0, 1], 7480)) }
    }
}

impl Default for Adjudicator {
    fn default() -> Self {
        Adjudicator {
            window_keys: 1 << 20,
            retained_bytes_max: 4 << 30,
            checkpoint_bytes: None,
            frontend_lease_seconds: 30,
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard {
            count: 4,
            replicas: 3,
            nodes: Vec::new(),
            split_above_bytes: None,
            balance: true,
            balance_pause_seconds: 30,
            balance_slots_below_bytes: 64 << 30,
            cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
            flush_interval_seconds: 10,
        }
    }
}

impl Default for Frontend {
    fn default() -> Self {
        Frontend {
            inline_bytes_max: 16 << 10,
            transaction_bytes_max: 1 << 30,
            statement_bytes_max: 1 << 30,
            temporary_bytes_max: 256 << 20,
            slow_statement_millis: 1000,
            retries_max: 20,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log: "info,openraft=error".to_owned(), format: LogFormat::Text }
    }
}

/// A setting could not be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// A key that no setting has.
    #[error("unknown setting `{found}` in {origin}; did you mean `{nearest}`?")]
    UnknownKey {
        /// What was written.
        found: String,
        /// The known key that looks most like it.
        nearest: String,
        /// Where it was written.
        origin: String,
    },
    /// Anything else that is wrong with a setting.
    #[error("{0}")]
    Invalid(String),
}

/// A configuration and where each of its values came from.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    figment: Figment,
}

/// Loads the configuration: defaults, then the file, then the environment, then `flags` (dotted key, value).
pub fn load(file: Option<&Path>, flags: &[(String, Value)]) -> Result<Loaded, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::Invalid(format!("there is no file {}", path.display())));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    // Only names with a section (`ASSIZE_MYSQL__LISTEN`) are settings; others belong to tools.
    figment = figment.merge(Env::prefixed("ASSIZE_").filter(|key| key.as_str().contains("__")).split("__"));
    for (key, value) in flags {
        figment = figment.merge(Serialized::default(key, value.clone()));
    }
    let config: Config = figment.extract().map_err(|e| explain(&e))?;
    check(&config)?;
    Ok(Loaded { config, figment })
}

fn explain(error: &figment::Error) -> ConfigError {
    let origin = error.metadata.as_ref().map_or_else(|| "the configuration".to_owned(), origin_of);
    match &error.kind {
        figment::error::Kind::UnknownField(found, known) => {
            let nearest =
                known.iter().min_by_key(|candidate| edit_distance(found, candidate)).copied().unwrap_or("");
            let path = error.path.join(".");
            let dotted = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            // Figment's path ends in the unknown key itself for some sources.
            let prefix = path.strip_suffix(found.as_str()).map(|p| p.trim_end_matches('.').to_owned());
            match prefix {
                Some(p) if p.is_empty() => {
                    ConfigError::UnknownKey { found: found.clone(), nearest: nearest.to_owned(), origin }
                }
                Some(p) => ConfigError::UnknownKey {
                    found: format!("{p}.{found}"),
                    nearest: format!("{p}.{nearest}"),
                    origin,
                },
                None => ConfigError::UnknownKey { found: dotted(found), nearest: dotted(nearest), origin },
            }
        }
        // The text itself makes no sense: no setting has been found yet.
        kind if error.path.is_empty() => ConfigError::Invalid(format!("{origin}: {kind}")),
        kind => ConfigError::Invalid(format!("setting `{}` in {origin}: {kind}", error.path.join("."))),
    }
}

fn origin_of(metadata: &figment::Metadata) -> String {
    match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        Some(figment::Source::Code(_)) | None if metadata.name.contains("Config") => "default".to_owned(),
        _ if metadata.name.contains("environment") => "environment".to_owned(),
        _ if metadata.name.contains("Value") => "command line".to_owned(),
        _ => metadata.name.to_string(),
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
    if config.node.id == 0 {
        return invalid("setting `node.id`: nodes are numbered from 1");
    }
    if config.node.roles.is_empty() {
        return invalid("setting `node.roles`: a node needs at least one role");
    }
    if !(1..=1024).contains(&config.shard.count) {
        return invalid("setting `shard.count`: from 1 to 1024");
    }
    if !config.mysql.version.starts_with(|c: char| c.is_ascii_digit()) {
        return invalid("setting `mysql.version`: clients need a version that begins with digits");
    }
    if config.mysql.tls_certificate.is_some() != config.mysql.tls_key.is_some() {
        return invalid("settings `mysql.tls_certificate` and `mysql.tls_key` go together");
    }
    if config.admin.tls_certificate.is_some() != config.admin.tls_key.is_some() {
        return invalid("settings `admin.tls_certificate` and `admin.tls_key` go together");
    }
    if ![1, 3, 5].contains(&config.shard.replicas) {
        return invalid("setting `shard.replicas`: 1, 3 or 5");
    }
    if !(1..=3600).contains(&config.shard.flush_interval_seconds) {
        return invalid("setting `shard.flush_interval_seconds`: from 1 to 3600");
    }
    if !(2..=3600).contains(&config.adjudicator.frontend_lease_seconds) {
        return invalid("setting `adjudicator.frontend_lease_seconds`: from 2 to 3600");
    }
    let (soft, hard) = (config.pressure.log_bytes_max, config.adjudicator.retained_bytes_max);
    if soft >= hard {
        return invalid(
            "setting `pressure.log_bytes_max`: less than `adjudicator.retained_bytes_max`, so that new transactions are \
             shed before commits are refused (0 sheds none)",
        );
    }
    let checkpoint = config.adjudicator.checkpoint_bytes.unwrap_or(match config.node.data {
        Some(_) => CHECKPOINT_BYTES,
        None => CHECKPOINT_BYTES_IN_MEMORY,
    });
    if checkpoint == 0 || soft != 0 && soft / 2 < checkpoint {
        return invalid(
            "setting `adjudicator.checkpoint_bytes`: at least 1 and at most half of `pressure.log_bytes_max`, because the \
             log since the last checkpoint cannot be forgotten",
        );
    }
    let peers = &config.peers;
    let tls = [&peers.tls_ca, &peers.tls_certificate, &peers.tls_key].iter().filter(|p| p.is_some()).count();
    if tls != 0 && tls != 3 {
        return invalid("settings `peers.tls_ca`, `peers.tls_certificate` and `peers.tls_key` go together");
    }
    let founders = config.cluster.founders()?;
    let seeds = config.cluster.seeds()?;
    if !founders.is_empty() && !seeds.is_empty() {
        return invalid("settings `cluster.nodes` and `cluster.join`: a node founds a cluster or joins one");
    }
    if !founders.is_empty() && !founders.iter().any(|(node, _)| node.0 == config.node.id) {
        return invalid("setting `cluster.nodes`: this node (`node.id`) is not among them");
    }
    if !founders.is_empty() && !config.performs(Role::Adjudicator) {
        return invalid(
            "setting `cluster.nodes`: who founds a cluster decides in it, and `node.roles` has no adjudicator here: name \
             the founders in `cluster.join` instead",
        );
    }
    let does_all = config.performs(Role::Adjudicator) && config.performs(Role::Shard);
    if !config.is_clustered() && !does_all {
        return invalid("setting `node.roles`: a cluster of one node needs an adjudicator and a shard");
    }
    if !(founders.is_empty() && seeds.is_empty()) && config.node.data.is_none() {
        return invalid("setting `node.data`: a node of a cluster keeps its data");
    }
    if config.is_clustered() && tls == 0 && !peers.insecure && !peers.listen.ip().is_loopback() {
        return invalid(
            "setting `peers.listen`: beyond loopback nodes talk over TLS (`assize cert`), or say `peers.insecure = true`",
        );
    }
    Ok(())
}

impl Cluster {
    /// The founding nodes and their peer addresses.
    pub fn founders(&self) -> Result<Vec<(NodeId, String)>, ConfigError> {
        nodes("cluster.nodes", &self.nodes)
    }

    /// Nodes of the cluster that this one is to be added to.
    pub fn seeds(&self) -> Result<Vec<(NodeId, String)>, ConfigError> {
        nodes("cluster.join", &self.join)
    }
}

/// Reads `number=host:port` entries, in the order of their numbers.
fn nodes(setting: &str, entries: &[String]) -> Result<Vec<(NodeId, String)>, ConfigError> {
    let mut found = BTreeMap::new();
    for entry in entries {
        let parsed = entry.split_once('=').and_then(|(id, address)| {
            let id = id.trim().parse::<u64>().ok().filter(|id| *id > 0)?;
            let (host, port) = address.trim().rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| (id, address.trim().to_owned()))
        });
        let Some((id, address)) = parsed else {
            let text = format!("setting `{setting}`: expected number=host:port, not {entry:?}");
            return Err(ConfigError::Invalid(text));
        };
        if found.insert(NodeId(id), address).is_some() {
            return Err(ConfigError::Invalid(format!("setting `{setting}`: node {id} is there twice")));
        }
    }
    Ok(found.into_iter().collect())
}

impl Config {
    /// Whether the node belongs to a cluster of several.
    pub fn is_clustered(&self) -> bool {
        !self.cluster.nodes.is_empty() || !self.cluster.join.is_empty()
    }

    /// Bytes of log that cannot be forgotten at which new transactions are shed, and at which commits are refused. What lies
    /// in memory has narrower bounds.
    pub fn log_bounds(&self) -> (u64, u64) {
        let (soft, hard) = (self.pressure.log_bytes_max, self.adjudicator.retained_bytes_max);
        match self.node.data {
            Some(_) => (soft, hard),
            None => (soft.min(768 << 20), hard.min(1 << 30)),
        }
    }

    /// Where the shards of a new cluster lie: as many replicas as asked for and as there are nodes for (an odd number),
    /// spread so that every node has its share.
    pub fn first_placement(&self) -> Result<Placement, ConfigError> {
        let mut nodes: Vec<NodeId> = self.shard.nodes.iter().map(|node| NodeId(*node)).collect();
        if nodes.is_empty() {
            nodes = self.cluster.founders()?.into_iter().map(|(node, _)| node).collect();
        }
        if nodes.is_empty() {
            nodes.push(NodeId(self.node.id));
        }
        let most = nodes.len().min(self.shard.replicas as usize);
        let replicas = if most.is_multiple_of(2) { most - 1 } else { most };
        let mut placement = Placement::even(self.shard.count, nodes[0]);
        for (turn, shard) in placement.shards.values_mut().enumerate() {
            let chosen = (0..replicas).map(|n| nodes[(turn + n) % nodes.len()]);
            shard.replicas = chosen.enumerate().map(|(n, node)| (ReplicaId(n as u8 + 1), node)).collect();
        }
        Ok(placement)
    }

    /// Whether the shards of a cluster that this node founds lie on nodes that can have them, as far as it knows itself.
    pub fn check_founding(&self) -> Result<(), ConfigError> {
        if self.cluster.nodes.is_empty() || self.performs(Role::Shard) {
            return Ok(());
        }
        let text = if self.shard.nodes.is_empty() {
            "setting `shard.nodes`: this node founds a cluster and holds no shards: name the nodes that will, the same on \
             all founders"
        } else if self.shard.nodes.contains(&self.node.id) {
            "setting `shard.nodes`: this node is among them, and `node.roles` has no shard"
        } else {
            return Ok(());
        };
        Err(ConfigError::Invalid(text.to_owned()))
    }

    /// Whether the node performs a role.
    pub fn performs(&self, role: Role) -> bool {
        self.node.roles.contains(&role)
    }
}

/// Levenshtein's distance, for "did you mean".
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl Loaded {
    /// The effective configuration as TOML-like lines, with the origin of each value if asked for.
    pub fn show(&self, with_origin: bool) -> String {
        let mut out = String::new();
        for (key, value, origin) in self.settings() {
            let _ = write!(out, "{key} = {value}");
            if with_origin {
                let _ = write!(out, "  # {origin}");
            }
            out.push('\n');
        }
        out
    }

    /// Every setting in force: dotted key, value, origin.
    pub fn settings(&self) -> Vec<(String, String, String)> {
        let mut settings = Vec::new();
        let value = Value::serialize(&self.config).expect("a configuration is plain data");
        self.gather("", &value, &mut settings);
        settings
    }

    fn gather(&self, path: &str, value: &Value, settings: &mut Vec<(String, String, String)>) {
        if let Value::Dict(_, dict) = value {
            for (key, inner) in dict {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                self.gather(&path, inner, settings);
            }
            return;
        }
        let text = serde_json::to_string(value).expect("a value is plain data");
        let origin = self.figment.find_metadata(path).map_or_else(|| "default".to_owned(), origin_of);
        settings.push((path.to_owned(), text, origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Loaded, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path), &[])
    }

    #[test]
    fn defaults_are_the_documented_addresses() {
        let config = load(None, &[]).unwrap().config;
        assert_eq!(config.mysql.listen.to_string(), "127.0.0.1:3406");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:7480");
        assert_eq!(config.shard.count, 4);
    }

    #[test]
    fn an_unknown_key_is_refused_and_the_nearest_named() {
        let error = load_text("[mysql]\nlisten_adress = \"127.0.0.1:1\"\n").err().unwrap();
        let text = error.to_string();
        assert!(text.contains("listen_adress"), "{text}");
        assert!(text.contains("did you mean"), "{text}");
        assert!(text.contains("listen"), "{text}");
        let error = load_text("[frontent]\ninline_bytes_max = 1\n").err().unwrap();
        assert!(error.to_string().contains("`frontend`"), "{error}");
    }

    #[test]
    fn flags_win_over_the_file_and_origins_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "[shard]\ncount = 7\n[node]\nid = 3\n").unwrap();
        let loaded = load(Some(&path), &[("shard.count".to_owned(), Value::from(9u32))]).unwrap();
        assert_eq!(loaded.config.shard.count, 9);
        assert_eq!(loaded.config.node.id, 3);
        let shown = loaded.show(true);
        assert!(
            shown.lines().any(|l| l.starts_with("shard.count = 9") && l.ends_with("# command line")),
            "{shown}"
        );
        assert!(shown.lines().any(|l| l.starts_with("node.id = 3") && l.contains("node.toml")), "{shown}");
        assert!(shown.lines().any(|l| l.starts_with("http.listen") && l.ends_with("# default")), "{shown}");
    }

    #[test]
    fn every_file_under_cluster_parses() {
        let mut seen = 0;
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cluster")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "toml") {
                    load(Some(&path), &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                    seen += 1;
                }
            }
        }
        assert!(seen > 0, "cluster/ holds no TOML file");
    }

    #[test]
    fn a_first_placement_spreads_an_odd_number_of_replicas() {
        let mut config = Config::default();
        assert_eq!(config.first_placement().unwrap(), Placement::even(4, NodeId(1)));
        config.shard.nodes = vec![4, 5];
        assert!(config.first_placement().unwrap().shards.values().all(|shard| shard.replicas.len() == 1));
        config.shard.nodes = vec![4, 5, 6, 7];
        let placement = config.first_placement().unwrap();
        for node in 4..=7 {
            let held = placement.shards.values().filter(|s| s.replicas.values().any(|n| n.0 == node)).count();
            assert_eq!(held, 3, "node {node}");
        }
    }

    #[test]
    fn who_founds_a_cluster_without_holding_shards_says_who_does() {
        let founder = |roles: &str, shards: &str| {
            let text = format!(
                "[node]\ndata = \"x\"\nroles = [{roles}]\n[cluster]\nnodes = [\"1=127.0.0.1:7407\"]\n[shard]\nnodes = \
                 {shards}\n"
            );
            load_text(&text).unwrap().config.check_founding().map_err(|error| error.to_string())
        };
        assert!(founder("\"adjudicator\"", "[]").unwrap_err().contains("name the nodes that will"));
        assert!(founder("\"adjudicator\"", "[1, 4]").unwrap_err().contains("this node is among them"));
        assert_eq!(founder("\"adjudicator\"", "[4, 5, 6]"), Ok(()));
        assert_eq!(founder("\"adjudicator\", \"shard\"", "[]"), Ok(()));
    }

    #[test]
    fn impossible_settings_are_refused() {
        for text in [
            "[node]\nid = 0\n",
            "[node]\nroles = []\n",
            "[shard]\ncount = 0\n",
            "[mysql]\nversion = \"x\"\n",
            "[shard]\nreplicas = 2\n",
            "[shard]\nflush_interval_seconds = 0\n",
            "[pressure]\nlog_bytes_max = 4294967296\n",
            "[adjudicator]\nretained_bytes_max = 1000\n",
            "[adjudicator]\ncheckpoint_bytes = 0\n",
            "[adjudicator]\nfrontend_lease_seconds = 1\n",
            "[adjudicator]\ncheckpoint_bytes = 2000000000\n",
            "[pressure]\nlog_bytes = 1\n",
            "[peers]\ntls_ca = \"ca.pem\"\n",
            "[node]\nroles = [\"frontend\"]\n",
            "[node]\nroles = [\"adjudicator\", \"frontend\"]\n",
            "[node]\ndata = \"x\"\nroles = [\"shard\"]\n[cluster]\nnodes = [\"1=127.0.0.1:7407\"]\n",
            "[cluster]\nnodes = [\"1:127.0.0.1\"]\n",
            "[cluster]\nnodes = [\"2=127.0.0.1:7407\"]\n",
            "[cluster]\nnodes = [\"1=127.0.0.1:7407\"]\n",
            "[node]\ndata = \"x\"\n[cluster]\nnodes = [\"1=a:1\"]\n[peers]\nlisten = \"0.0.0.0:7407\"\n",
        ] {
            assert!(load_text(text).is_err(), "{text}");
        }
    }
}
