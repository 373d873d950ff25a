//! The cluster from the shell: `assize status`, `members`, `shards`, `conflicts`, `txn`, `sessions`, `schema`, `top`.
//!
//! ```text
//!   arguments (here) ─▶ admin::Client ─▶ one call ─▶ output: a table for people, JSON lines for programs
//! ```
//!
//! Nothing here knows more than the admin API tells.

mod conflicts;
mod members;
mod output;
mod schema;
mod sessions;
mod shards;
mod status;
mod top;
mod txn;
mod watch;

use crate::cli::Output;
use crate::{Failure, exit};
use assize_admin::{Client, ClientError, ClientOptions, ErrorKind, pb};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// The commands for operators.
#[derive(Subcommand, Debug)]
pub enum Operate {
    /// Say in words how the cluster does and what to do; exits with 0 if healthy, 1 if degraded, 2 if unavailable
    Status(status::StatusOptions),
    /// List the nodes, or change who is a member
    Members(members::MembersOptions),
    /// List the shards and their replicas, or change them
    Shards(shards::ShardsOptions),
    /// List or watch explained conflicts, or list hot keys
    Conflicts(conflicts::ConflictsOptions),
    /// List open transactions, end one, or ask what became of one
    Txn(txn::TxnOptions),
    /// List connections, end one, or list what they run
    Sessions(sessions::SessionsOptions),
    /// List databases, tables and jobs
    Schema(schema::SchemaOptions),
    /// Watch the cluster live; q quits
    Top(top::TopOptions),
}

/// Where the admin API is, how to show who we are, and how to print.
#[derive(Args, Debug, Clone)]
pub struct Connection {
    /// Admin API of any node; several, separated by commas, are tried in turn
    #[arg(
        long,
        global = true,
        env = "ASSIZE_ADMIN",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7406"
    )]
    pub admin: Vec<String>,
    /// A file with the bearer token
    #[arg(long, global = true, env = "ASSIZE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authority that signed the server's certificate, PEM; turns TLS on
    #[arg(long, global = true, env = "ASSIZE_ADMIN_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our client certificate, PEM
    #[arg(long, global = true, requires = "client_key", value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, requires = "client_certificate", value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Output,
}

/// What every mutation may be told.
#[derive(Args, Debug, Clone)]
pub struct Mutating {
    /// Only say whether it could be done
    #[arg(long)]
    pub validate_only: bool,
    /// A name for this request, such as a UUID: sent again with it, the request is not done again
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    pub request_id: String,
}

/// A connection of a MySQL client: `node/connection`, as the lists print it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The node.
    pub node: u64,
    /// The connection's number there.
    pub connection: u32,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(node, connection)| {
            Some(At { node: node.parse().ok()?, connection: connection.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is not node/connection, as in 1/17"))
    }
}

/// Runs a command.
pub async fn run(command: Operate) -> Result<ExitCode, Failure> {
    let result = match command {
        Operate::Status(options) => status::run(options).await,
        Operate::Members(options) => members::run(options).await,
        Operate::Shards(options) => shards::run(options).await.map(success),
        Operate::Conflicts(options) => conflicts::run(options).await.map(success),
        Operate::Txn(options) => txn::run(options).await.map(success),
        Operate::Sessions(options) => sessions::run(options).await.map(success),
        Operate::Schema(options) => schema::run(options).await.map(success),
        Operate::Top(options) => top::run(options).await.map(success),
    };
    match result {
        // The reader has seen enough: `assize shards watch | head -1`.
        Err(failure) if is_broken_pipe(&failure) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn success(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn is_broken_pipe(failure: &Failure) -> bool {
    let io = failure.error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

impl Connection {
    /// Connects to the first node that answers, and says which did not.
    pub async fn open(&self) -> Result<Client, Failure> {
        let client = self.open_quietly().await?;
        for attempt in client.passed_over() {
            eprintln!("assize: {attempt}; {} is asked", client.address());
        }
        Ok(client)
    }

    /// Connects to the first node that answers.
    pub async fn open_quietly(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.options()?).await?)
    }

    fn options(&self) -> Result<ClientOptions, Failure> {
        let token = self.token_file.as_deref().map(read).transpose()?;
        let token = token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let identity = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let ca = self.ca.as_deref().map(read).transpose()?;
        Ok(ClientOptions { addresses: self.admin.clone(), token, ca, identity })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|e| Failure { code: exit::NO_INPUT, error: anyhow::anyhow!("{}: {e}", path.display()) })
}

/// Calls, and reads the answer.
macro_rules! call {
    ($service:expr, $method:ident, $request:expr) => {
        $service.$method($request).await.map_err(assize_admin::ClientError::from)?.into_inner()
    };
}
use call;

/// `assize config running`.
pub async fn running_config(connection: &Connection) -> Result<(), Failure> {
    let mut config = connection.open().await?.config();
    let settings = call!(config, get_effective, pb::GetEffectiveRequest {}).settings;
    output::list(connection.output, &settings, &["setting", "value", "from"], |setting| {
        vec![setting.key.clone(), setting.value.clone(), setting.origin.clone()]
    })
}

/// The exit code for what the admin API answered.
pub fn exit_code(error: &ClientError) -> u8 {
    match error.kind() {
        ErrorKind::Usage => exit::USAGE,
        ErrorKind::NotFound => exit::NO_INPUT,
        ErrorKind::Refused => exit::DATA_ERROR,
        ErrorKind::Forbidden => exit::NO_PERMISSION,
        ErrorKind::Unavailable => exit::UNAVAILABLE,
        ErrorKind::Internal => exit::SOFTWARE,
    }
}

#[cfg(test)]
mod tests;
