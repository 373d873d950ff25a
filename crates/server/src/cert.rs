//! `assize cert`: the certificates and the secret with which the nodes of a cluster know each other.

use crate::{Failure, exit};
use assize_admin::{Role, credentials_line};
use assize_model::NodeId;
use assize_rpc::JoinToken;
use assize_rpc::cert::{Authority, CertError, OperatorRole, issue_node, issue_operator};
use clap::{Args, Subcommand};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What `assize cert` makes.
#[derive(Subcommand, Debug)]
pub enum CertCommand {
    /// A certificate authority for a new cluster: ca.pem and ca.key
    Ca(CaOptions),
    /// A node's certificate: node-<ID>.pem and node-<ID>.key
    Node(NodeOptions),
    /// An operator's certificate for the admin API
    Operator(OperatorOptions),
    /// A random join token, in a file of mode 0600
    Token(TokenOptions),
}

/// Where certificates lie, and how long they are good for.
#[derive(Args, Debug)]
pub struct Place {
    /// The directory of ca.pem and ca.key; what is made is written there too
    #[arg(long, default_value = "certs")]
    pub dir: PathBuf,
    /// Days until it expires
    #[arg(long, default_value_t = 825)]
    pub days: u32,
}

/// Options of `assize cert ca`.
#[derive(Args, Debug)]
pub struct CaOptions {
    /// The directory to write to
    #[arg(long, default_value = "certs")]
    pub dir: PathBuf,
    /// Days until it expires
    #[arg(long, default_value_t = 3650)]
    pub days: u32,
}

/// Options of `assize cert node`.
#[derive(Args, Debug)]
pub struct NodeOptions {
    /// The node's number
    pub node: u64,
    /// A host name or address by which clients of the admin API and of MySQL reach it; may be given several times
    #[arg(long = "host")]
    pub hosts: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// Options of `assize cert operator`.
#[derive(Args, Debug)]
pub struct OperatorOptions {
    /// The operator's name
    pub name: String,
    /// What they may do: viewer, operator or admin
    #[arg(long, default_value = "viewer", value_parser = role)]
    pub role: OperatorRole,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// Options of `assize cert token`.
#[derive(Args, Debug)]
pub struct TokenOptions {
    /// The file to write
    #[arg(long, default_value = "certs/join-token")]
    pub file: PathBuf,
}

fn role(name: &str) -> Result<OperatorRole, String> {
    OperatorRole::from_name(name).ok_or_else(|| "one of viewer, operator, admin".to_owned())
}

/// Makes what was asked for, and says on standard output which files it wrote, and the line by which an operator is known.
pub fn run(command: &CertCommand) -> Result<(), Failure> {
    let mut line = None;
    let written = match command {
        CertCommand::Ca(options) => {
            Authority::create(&options.dir, options.days)?;
            vec![options.dir.join("ca.pem"), options.dir.join("ca.key")]
        }
        CertCommand::Node(options) => {
            let Place { dir, days } = &options.place;
            let (certificate, key) = issue_node(dir, NodeId(options.node), &options.hosts, *days)?;
            vec![certificate, key]
        }
        CertCommand::Operator(options) => {
            let Place { dir, days } = &options.place;
            let (certificate, key) = issue_operator(dir, &options.name, options.role, *days)?;
            line = Some(credentials(options, &certificate)?);
            vec![certificate, key]
        }
        CertCommand::Token(options) => {
            write_token(&options.file)?;
            vec![options.file.clone()]
        }
    };
    let mut out = std::io::stdout().lock();
    for path in written {
        writeln!(out, "{}", path.display())?;
    }
    if let Some(line) = line {
        eprintln!(
            "the admin API knows whom you add to the file of `admin.tokens_file` on every node; the line:"
        );
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The line by which the admin API knows an operator.
fn credentials(options: &OperatorOptions, certificate: &Path) -> Result<String, Failure> {
    let role = match options.role {
        OperatorRole::Viewer => Role::Viewer,
        OperatorRole::Operator => Role::Operator,
        OperatorRole::Admin => Role::Admin,
    };
    let file = |error| CertError::File { path: certificate.to_owned(), error };
    let line = credentials_line(&options.name, role, &std::fs::read(certificate).map_err(file)?);
    let not_one = || CertError::NotA { path: certificate.to_owned(), what: "certificate" };
    Ok(line.ok_or_else(not_one)?)
}

/// The exit code for a certificate that was not made.
pub fn exit_code(error: &CertError) -> u8 {
    match error {
        CertError::BadName(_) => exit::USAGE,
        CertError::File { error, .. } if error.kind() == ErrorKind::NotFound => exit::NO_INPUT,
        CertError::File { .. } => exit::CANT_CREATE,
        CertError::NotA { .. } => exit::DATA_ERROR,
        CertError::Make(_) => exit::SOFTWARE,
    }
}

/// Never writes over a token that is there: the nodes that have it would no longer let anybody in.
fn write_token(path: &Path) -> Result<(), Failure> {
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", JoinToken::random().secret())?;
        file.sync_all()
    };
    Ok(write().map_err(|error| CertError::File { path: path.to_owned(), error })?)
}
