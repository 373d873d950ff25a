//! The `assize` command: `main → config → roles`.
//!
//! ```text
//!   main ── cli ──┬─ start, demo ── node::start ──┬─ roles/adjudicator   (consensus: log, apply, stream)
//!                 │                               ├─ roles/shard × n     (shards: mvcc on RocksDB)
//!                 │                               ├─ roles/frontend      (wire + session + query)
//!                 │                               ├─ http, admin         (metrics, health; gRPC)
//!                 │                               └─ net                 (other nodes), operator (the view of all)
//!                 ├─ sql ── a small MySQL client
//!                 ├─ bench ── built-in workloads, through a MySQL connection
//!                 ├─ status, members, shards, top, … ── operate: the admin API from the shell
//!                 ├─ recover-quorum ── one voter's directory becomes the cluster
//!                 ├─ cert ── certificates of a cluster
//!                 └─ config show; config running, through the admin API
//! ```
//!
//! Only this crate reads clocks, environment and arguments, and only `roles` spawns tasks.
#![allow(clippy::disallowed_methods)] // The house above the pure floors: clocks and threads live here.

mod acquaintances;
mod activation;
mod allocator;
mod bench;
mod cert;
mod cli;
mod client;
mod clock;
mod config;
mod demo;
mod http;
mod keys;
mod metrics;
mod net;
mod node;
mod operate;
mod operator;
mod pressure;
mod reception;
mod recover;
mod roles;
mod sql_shell;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

/// Exit codes, as in sysexits(3).
mod exit {
    /// The command was used wrongly.
    pub const USAGE: u8 = 64;
    /// The request does not fit the state of the cluster.
    pub const DATA_ERROR: u8 = 65;
    /// What was asked for, or a file, is not there.
    pub const NO_INPUT: u8 = 66;
    /// Something needed is not there: an address in use, a server that does not answer.
    pub const UNAVAILABLE: u8 = 69;
    /// A defect of ours.
    pub const SOFTWARE: u8 = 70;
    /// A file or directory cannot be used.
    pub const CANT_CREATE: u8 = 73;
    /// The credentials do not allow it.
    pub const NO_PERMISSION: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// An error that knows its exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = settings_named(said_once(error.into()));
        let code = if error.is::<config::ConfigError>()
            || error.is::<assize_rpc::SecurityError>()
            || error.is::<assize_wire::TlsError>()
        {
            exit::CONFIG
        } else if error.is::<client::TwoWishes>() || error.is::<client::NotAUrl>() {
            exit::USAGE
        } else if let Some(error) = error.downcast_ref::<assize_rpc::cert::CertError>() {
            cert::exit_code(error)
        } else if error.is::<client::NoAuthority>() {
            exit::NO_INPUT
        } else if error.is::<node::DataDirError>() {
            exit::CANT_CREATE
        } else if let Some(error) = error.downcast_ref::<assize_consensus::recover::RecoverError>() {
            recover::exit_code(error)
        } else if let Some(error) = error.downcast_ref::<assize_admin::ClientError>() {
            operate::exit_code(error)
        } else if error.is::<std::io::Error>()
            || error.is::<mysql_async::Error>()
            || error.is::<mysql_async::ServerError>()
        {
            exit::UNAVAILABLE
        } else {
            exit::SOFTWARE
        };
        Failure { code, error }
    }
}

/// A MySQL server's error says all by itself; the driver's, round it, says the same again.
fn said_once(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<mysql_async::Error>() {
        // Without a context of our own, which would be lost.
        Some(mysql_async::Error::Server(server)) if error.chain().len() == 2 => {
            anyhow::Error::new(server.clone())
        }
        _ => error,
    }
}

/// A certificate that is no good was named by a setting, which the crate that reads it does not know.
fn settings_named(error: anyhow::Error) -> anyhow::Error {
    if error.is::<assize_wire::TlsError>() {
        return error.context("settings `mysql.tls_certificate` and `mysql.tls_key`");
    }
    if error.is::<assize_rpc::SecurityError>() {
        return error.context("settings `peers.tls_ca`, `peers.tls_certificate` and `peers.tls_key`");
    }
    error
}

fn main() -> ExitCode {
    allocator::set_up();
    raise_descriptor_limit();
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    match run(arguments) {
        Ok(code) => code,
        Err(Failure { code, error }) => {
            eprintln!("assize: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// Lets the process have as many file descriptors as the system allows it. Each connection wants one, and each table and segment
/// of the log; shells start programs with 1,024 for the sake of some that know no others.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not be raised it stays, and whoever runs out of them is told so then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn run(arguments: cli::Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        cli::Command::Demo(options) => runtime()?.block_on(demo::run(options))?,
        cli::Command::Start(options) => runtime()?.block_on(node::run(options))?,
        cli::Command::Sql(options) => return runtime()?.block_on(sql_shell::run(options)),
        cli::Command::Bench(options) => runtime()?.block_on(bench::run(options))?,
        cli::Command::Cert(command) => cert::run(&command)?,
        cli::Command::RecoverQuorum(options) => recover::run(&options)?,
        cli::Command::Config(cli::ConfigCommand::Show(options)) => cli::show_config(&options)?,
        cli::Command::Config(cli::ConfigCommand::Running(connection)) => {
            runtime()?.block_on(operate::running_config(&connection))?;
        }
        cli::Command::Operate(command) => return runtime()?.block_on(operate::run(command)),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum }).unwrap();
        super::raise_descriptor_limit();
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }
}
