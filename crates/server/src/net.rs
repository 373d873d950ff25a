//! The node's end of the network between nodes.

use crate::config::{Config, ConfigError};
use assize_model::NodeId;
use assize_ports::Peers;
use assize_rpc::{Endpoint, JoinToken, Network, Security, Server, Services, TlsFiles};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The highest cluster version that this binary understands.
pub const CLUSTER_VERSION: u32 = assize_adjudicator::CLUSTER_VERSION_MAX;

/// The node's end of the network: what it says, what it offers, and where it listens.
pub struct Net {
    /// The way to the others.
    pub network: Arc<Network>,
    /// What it offers to them.
    pub services: Arc<Services>,
    /// Its listening end, not serving yet.
    pub server: Server,
}

/// Opens the network of a node that belongs to a cluster.
pub fn open(config: &Config, listener: TcpListener) -> anyhow::Result<Net> {
    let node = NodeId(config.node.id);
    let endpoint = Endpoint::new(node, env!("CARGO_PKG_VERSION"), CLUSTER_VERSION, security(config)?);
    let services = Services::new();
    let network = Network::new(endpoint.clone());
    for (other, address) in config.cluster.founders()?.into_iter().chain(config.cluster.seeds()?) {
        if other != node {
            network.learn(other, Some(address));
        }
    }
    let server = Server::new(endpoint, listener, services.clone())?;
    Ok(Net { network, services, server })
}

/// How the node protects what it says.
pub fn security(config: &Config) -> anyhow::Result<Security> {
    let peers = &config.peers;
    match (&peers.tls_ca, &peers.tls_certificate, &peers.tls_key) {
        (Some(ca), Some(certificate), Some(key)) => {
            let files = TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() };
            Ok(Security::tls(NodeId(config.node.id), files)?)
        }
        _ => Ok(Security::plain(peers.listen, peers.insecure)?),
    }
}

/// The secret in the file that `cluster.join_token_file` names.
pub fn read_token(path: &Path) -> Result<JoinToken, ConfigError> {
    let unusable = |why: &dyn Display| {
        ConfigError::Invalid(format!("setting `cluster.join_token_file`: {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    JoinToken::from_text(&text).ok_or_else(|| unusable(&"it is empty"))
}

/// The address that others are told: what the configuration says, or else where the node listens.
pub fn advertised(configured: Option<&String>, bound: SocketAddr) -> String {
    configured.cloned().unwrap_or_else(|| bound.to_string())
}
