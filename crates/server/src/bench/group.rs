//! A group of adjudicator nodes, each a process of its own, for the time of a measurement.

use anyhow::{Context, ensure};
use assize_model::NodeId;
use assize_ports::{AdjudicatorClient, DecisionSource, Peers};
use assize_rpc::{DecisionRouter, Endpoint, Leaders, Network, Router, RouterOptions, Security};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The measuring process calls itself so.
const CLIENT: NodeId = NodeId(1000);
/// Shards are said to lie on nodes of these numbers and above, as many as decide; there are none, and the measuring process
/// reports for them.
const HOLDERS_FROM: u64 = 2001;
/// How long a group may take to elect its leader.
const ELECTION_MAX: Duration = Duration::from_secs(30);

/// A running group. Its processes end when this is dropped.
pub struct Group {
    children: Vec<Child>,
    /// The way to its leader.
    pub adjudicator: Arc<dyn AdjudicatorClient>,
    /// Its decision streams.
    pub decisions: Arc<dyn DecisionSource>,
    /// Where its nodes show their metrics.
    pub http: Vec<SocketAddr>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Group {
    /// Starts so many nodes with their data under a directory, and waits until one of them leads. They say on stderr what passes
    /// the filter `log`.
    pub async fn start(nodes: u64, directory: &Path, window_keys: u64, log: &str) -> anyhow::Result<Group> {
        let ports = free_ports(nodes as usize * 3)?;
        let port = |node: u64, n: usize| ports[(node as usize - 1) * 3 + n];
        let addresses: Vec<String> =
            (1..=nodes).map(|node| format!("\"{node}=127.0.0.1:{}\"", port(node, 0))).collect();
        let founders = format!("[{}]", addresses.join(","));
        let holders: Vec<String> = (0..nodes).map(|n| (HOLDERS_FROM + n).to_string()).collect();
        let holders = format!("[{}]", holders.join(","));
        let mut children = Vec::new();
        for node in 1..=nodes {
            let data = directory.join(format!("node-{node}"));
            let settings = [
                format!("node.id={node}"),
                "node.roles=[\"adjudicator\"]".to_owned(),
                format!("cluster.nodes={founders}"),
                format!("shard.nodes={holders}"),
                format!("peers.listen=127.0.0.1:{}", port(node, 0)),
                format!("admin.listen=127.0.0.1:{}", port(node, 1)),
                format!("http.listen=127.0.0.1:{}", port(node, 2)),
                format!("adjudicator.window_keys={window_keys}"),
                format!("telemetry.log={log}"),
            ];
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("start").arg("--data").arg(&data).stdin(Stdio::null()).stdout(Stdio::null());
            command.args(settings.iter().flat_map(|setting| ["--set", setting]));
            children.push(command.spawn().context("cannot start a node")?);
        }
        let listen: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let endpoint = Endpoint::new(
            CLIENT,
            env!("CARGO_PKG_VERSION"),
            crate::net::CLUSTER_VERSION,
            Security::plain(listen, false)?,
        );
        let network = Network::new(endpoint);
        (1..=nodes).for_each(|n| network.learn(NodeId(n), Some(format!("127.0.0.1:{}", port(n, 0)))));
        let peers: Arc<dyn Peers> = network;
        let members: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let leaders = Leaders::new(None, peers, members);
        let router = Arc::new(Router::new(leaders.clone(), RouterOptions::default()));
        let decisions = Arc::new(DecisionRouter::new(leaders));
        let http = (1..=nodes).map(|node| SocketAddr::from(([127, 0, 0, 1], port(node, 2)))).collect();
        let group = Group { children, adjudicator: router, decisions, http };
        let leads = async {
            while group.adjudicator.begin().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        ensure!(tokio::time::timeout(ELECTION_MAX, leads).await.is_ok(), "the nodes elect no leader");
        Ok(group)
    }
}

/// Ports that nobody listens on at the moment.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let bound: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    bound.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
