//! Reads what stopped nodes have.

use super::NodeEvidence;
use crate::cluster::Cluster;
use assize_consensus::evidence;
use assize_shards::embedded;

/// Reads what the nodes of a cluster have, none of which may run.
///
/// # Errors
/// If something cannot be read.
pub fn gather(cluster: &Cluster) -> Result<Vec<NodeEvidence>, String> {
    let read = |node: u64| {
        let data = cluster.data(node);
        let unreadable = |what: &str, why: String| format!("{what} of node {node} cannot be read: {why}");
        let log = evidence::read(&data.join("adjudicator"))
            .map_err(|error| unreadable("the log", error.to_string()))?;
        let replicas = embedded::inspect(&data.join("shards"))
            .map_err(|error| unreadable("the shards", error.to_string()))?;
        Ok(NodeEvidence { node, log, replicas })
    };
    cluster.nodes().into_iter().map(read).collect()
}
