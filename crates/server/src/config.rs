//! Configuration: one struct tree, defaults in code, unknown keys refused.
//!
//! Precedence: command-line flags over environment (`ASSIZE_MYSQL__LISTEN`) over the TOML file over defaults.

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything a node can be told.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process as such.
    pub node: Node,
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

/// The MySQL protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mysql {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Most connections at a time; one more is kept for administrators. Error 1040 beyond.
    pub max_connections: u32,
    /// The version string that clients see; digits first.
    pub version: String,
    /// TLS certificate chain, PEM. Without it the node makes a self-signed one at start.
    pub tls_certificate: Option<PathBuf>,
    /// TLS private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Seconds a client may take to authenticate.
    pub connect_timeout_seconds: u64,
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
}

/// The adjudicator role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjudicator {
    /// Keys that the conflict window remembers at least; part of the cluster's state once it is created.
    pub window_keys: u64,
}

/// The shard role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shard {
    /// How many shards a new cluster gets.
    pub count: u32,
    /// Bytes of RocksDB's block cache, shared by all shards of the process.
    pub cache_bytes: u64,
    /// Bytes of writes kept in memory per process before they are flushed.
    pub write_buffer_bytes: u64,
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
        Node { id: 1, roles: vec![Role::Adjudicator, Role::Shard, Role::Frontend], data: None }
    }
}

impl Default for Mysql {
    fn default() -> Self {
        Mysql {
            listen: SocketAddr::from(([127, 0, 0, 1], 3406)),
            max_connections: 1000,
            version: concat!("8.4.6-assize-", env!("CARGO_PKG_VERSION")).to_owned(),
            tls_certificate: None,
            tls_key: None,
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
        Adjudicator { window_keys: 1 << 20 }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard { count: 4, cache_bytes: 256 << 20, write_buffer_bytes: 128 << 20 }
    }
}

impl Default for Frontend {
    fn default() -> Self {
        Frontend {
            inline_bytes_max: 16 << 10,
            transaction_bytes_max: 1 << 30,
            statement_bytes_max: 1 << 30,
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
    Ok(())
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
        let value = Value::serialize(&self.config).expect("a configuration is plain data");
        self.show_value("", &value, with_origin, &mut out);
        out
    }

    fn show_value(&self, path: &str, value: &Value, with_origin: bool, out: &mut String) {
        if let Value::Dict(_, dict) = value {
            for (key, inner) in dict {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                self.show_value(&path, inner, with_origin, out);
            }
            return;
        }
        let text = serde_json::to_string(value).expect("a value is plain data");
        let _ = write!(out, "{path} = {text}");
        if with_origin {
            let origin = self.figment.find_metadata(path).map_or_else(|| "default".to_owned(), origin_of);
            let _ = write!(out, "  # {origin}");
        }
        out.push('\n');
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
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cluster");
        let mut seen = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                load(Some(&path), &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                seen += 1;
            }
        }
        assert!(seen > 0, "cluster/ holds no TOML file");
    }

    #[test]
    fn impossible_settings_are_refused() {
        for text in
            ["[node]\nid = 0\n", "[node]\nroles = []\n", "[shard]\ncount = 0\n", "[mysql]\nversion = \"x\"\n"]
        {
            assert!(load_text(text).is_err(), "{text}");
        }
    }
}
