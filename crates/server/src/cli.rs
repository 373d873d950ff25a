//! The command line.

use crate::cert::CertCommand;
use crate::config;
use crate::operate::{Connection, Operate};
use crate::recover::RecoverOptions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use figment::value::Value;
use std::path::PathBuf;

/// Many shards that behave like one MySQL database.
#[derive(Parser, Debug)]
#[command(name = "assize", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `assize` can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a whole cluster in one process and print how to connect
    Demo(DemoOptions),
    /// Run one node
    Start(StartOptions),
    /// A small MySQL client
    Sql(SqlOptions),
    /// Run a built-in workload against a server, with a progress line and a final table
    Bench(BenchOptions),
    /// Make the certificates and the join token of a cluster's nodes
    #[command(subcommand)]
    Cert(CertCommand),
    /// Make one voter the cluster after most voters are lost for good; what they alone had is lost
    RecoverQuorum(RecoverOptions),
    /// Show the effective configuration: of files and flags, or of a node that runs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// For operators, through the admin API.
    #[command(flatten)]
    Operate(Operate),
}

/// Options of `assize demo`.
#[derive(Args, Debug)]
pub struct DemoOptions {
    /// Keep the data here; without it the data is gone at exit
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// MySQL port; 0 takes any free one. If the default is taken, the next free one
    #[arg(long)]
    pub port: Option<u16>,
    /// Number of shards of a new cluster
    #[arg(long)]
    pub shards: Option<u32>,
    /// Write the MySQL URL to this file once the server answers
    #[arg(long)]
    pub url_file: Option<PathBuf>,
    /// Print one JSON line instead of text
    #[arg(long)]
    pub json: bool,
    /// Further settings, as `section.key=value`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Options of `assize start`.
#[derive(Args, Debug)]
pub struct StartOptions {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Keep the data here
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// MySQL port on the configured address; 0 takes any free one
    #[arg(long)]
    pub port: Option<u16>,
    /// Write the MySQL URL to this file once the server answers
    #[arg(long)]
    pub url_file: Option<PathBuf>,
    /// Further settings, as `section.key=value`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Where a client command connects.
#[derive(Args, Debug, Clone)]
pub struct Target {
    /// mysql://user:password@host:port/database
    #[arg(long, env = "ASSIZE_URL", default_value = "mysql://root@127.0.0.1:3406")]
    pub url: String,
    /// Whether to speak TLS. Preferred: to other machines if they offer it, to this one if it insists [default: required with
    /// `--tls-ca`, otherwise preferred]
    #[arg(long, alias = "ssl-mode", value_enum, ignore_case = true, value_name = "MODE")]
    pub tls_mode: Option<TlsMode>,
    /// The authority that has to have signed the server's certificate for this host, PEM; wherever TLS is spoken
    #[arg(long, alias = "ssl-ca", env = "ASSIZE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// Whether a connection to a server is encrypted.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server asks for it; to another machine if it offers it.
    Preferred,
    /// Always.
    Required,
    /// Always, with a certificate that `--tls-ca` has signed for this host.
    #[value(alias = "verify_identity", alias = "verify_ca", alias = "verify-ca")]
    VerifyIdentity,
}

/// Options of `assize sql`.
#[derive(Args, Debug)]
pub struct SqlOptions {
    /// Where to connect.
    #[command(flatten)]
    pub target: Target,
    /// Run these statements and exit; otherwise they are read from standard input
    #[arg(long, short)]
    pub execute: Option<String>,
    /// How results are printed
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// How results are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON object a row.
    Json,
}

/// Options of `assize bench`.
#[derive(Args, Debug)]
pub struct BenchOptions {
    /// Which workload.
    #[arg(value_enum)]
    pub workload: Workload,
    /// Where to connect.
    #[command(flatten)]
    pub target: Target,
    /// Concurrent connections
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// How long, in seconds
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Rows in the table
    #[arg(long, default_value_t = 10_000)]
    pub rows: u64,
    /// adjudicate: transactions in one message
    #[arg(long, default_value_t = 64)]
    pub frame: usize,
    /// adjudicate: messages of several transactions on their way at a time, where as much as possible is asked for
    #[arg(long, default_value_t = 512)]
    pub frames: usize,
    /// adjudicate: transactions a second in the open loop
    #[arg(long, default_value_t = 300_000)]
    pub rate: u64,
    /// adjudicate: seconds of load before the first measurement of a new group. Its log begins to use its segments again, and
    /// its nodes their memory, only after their first checkpoints
    #[arg(long, default_value_t = 15)]
    pub warm_up: u64,
    /// adjudicate: measure only this, as `--json` names it (kernel, one_node, three_nodes_single, …); may be repeated
    #[arg(long)]
    pub only: Vec<String>,
    /// adjudicate: where the nodes keep their data meanwhile; the default is the system's temporary directory
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// adjudicate: what the nodes say on stderr; `error,assize_consensus::wal=debug` tells each long wait of a log, and for what
    #[arg(long, default_value = "error,openraft=off")]
    pub node_log: String,
    /// Print one JSON line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The built-in workloads.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Move money between two accounts in an explicit transaction; the total is checked at the end
    Transfer,
    /// Prepared select of one row by primary key
    Point,
    /// Autocommit insert of one row
    Insert,
    /// The adjudicator alone: three processes, one process, and the kernel without any; takes no URL
    Adjudicate,
}

/// What `assize config` can do.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print every setting that a node would use, by files, environment and flags
    Show(ConfigOptions),
    /// Print every setting that a running node uses, and where each value came from
    Running(Connection),
}

/// Options of `assize config show`.
#[derive(Args, Debug)]
pub struct ConfigOptions {
    /// The configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Say where each value came from
    #[arg(long)]
    pub origin: bool,
    /// Further settings, as `section.key=value`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Reads `--set section.key=value` flags. Values are TOML if they parse as TOML, text otherwise.
pub fn parse_settings(settings: &[String]) -> Result<Vec<(String, Value)>, config::ConfigError> {
    settings.iter().map(|setting| parse_setting(setting)).collect()
}

fn parse_setting(setting: &str) -> Result<(String, Value), config::ConfigError> {
    let invalid = |text: String| config::ConfigError::Invalid(text);
    let (key, text) = setting
        .split_once('=')
        .ok_or_else(|| invalid(format!("--set {setting}: expected section.key=value")))?;
    let parsed = toml::from_str::<toml::Table>(&format!("v = {text}")).ok().and_then(|mut t| t.remove("v"));
    let value = match parsed {
        Some(value) => Value::serialize(value),
        None => Value::serialize(text),
    }
    .map_err(|e| invalid(format!("--set {setting}: {e}")))?;
    Ok((key.to_owned(), value))
}

/// `assize config show`.
pub fn show_config(options: &ConfigOptions) -> Result<(), config::ConfigError> {
    let flags = parse_settings(&options.settings)?;
    print!("{}", config::load(options.config.as_deref(), &flags)?.show(options.origin));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_are_toml_or_text() {
        let parsed = parse_settings(&["shard.count=3".to_owned(), "telemetry.log=debug".to_owned()]).unwrap();
        assert_eq!(parsed[0], ("shard.count".to_owned(), Value::from(3)));
        assert_eq!(parsed[1], ("telemetry.log".to_owned(), Value::from("debug")));
        assert!(parse_settings(&["nonsense".to_owned()]).is_err());
    }
}
