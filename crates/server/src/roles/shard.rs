//! The shard role: the replicas that the placement puts on this node, each following its decision stream.

use crate::config::Config;
use crate::node::{DataDirError, Way};
use assize_model::{NodeId, Placement};
use assize_ports::{AdjudicatorClient, Peers};
use assize_shards::embedded::{Around, OpenError, Options, ShardHost};
use std::sync::Arc;
use std::time::Duration;

/// Opens what this node holds, and makes what the placement wants here besides.
pub async fn open(
    config: &Config,
    placement: &Arc<Placement>,
    way: &Way,
    peers: Option<Arc<dyn Peers>>,
) -> anyhow::Result<ShardHost> {
    let rocks = assize_rocks::Options {
        cache_bytes: config.shard.cache_bytes as usize,
        write_buffer_bytes: config.shard.write_buffer_bytes as usize,
        ..assize_rocks::Options::default()
    };
    let around = Around {
        node: NodeId(config.node.id),
        source: way.source.clone(),
        administration: way.administration.clone(),
        peers,
    };
    let directory = config.node.data.as_ref().map(|data| data.join("shards"));
    let flush_interval = Duration::from_secs(config.shard.flush_interval_seconds);
    let options = Options { rocks, flush_interval, ..Options::default() };
    let host = ShardHost::open(directory, placement.clone(), around, options).await.map_err(|e| match e {
        OpenError::InUse(_) => anyhow::Error::from(DataDirError::InUse(e.to_string())),
        e => anyhow::Error::from(DataDirError::Unusable(e.to_string())),
    })?;
    for (shard, error) in host.settle(placement.clone()).await {
        // It is tried again as long as the node runs.
        tracing::warn!(%shard, %error, "a replica is not in its place yet");
    }
    tracing::info!(replicas = host.residents().len(), "shards follow their streams");
    Ok(host)
}

/// Keeps the node's replicas as the placement says, until the node stops.
pub async fn follow(
    host: ShardHost,
    adjudicator: Arc<dyn AdjudicatorClient>,
    stopped: impl Future<Output = ()> + Send,
) {
    let newest = || {
        let adjudicator = adjudicator.clone();
        // Without an answer everything stays as it is.
        async move { adjudicator.placement().await.ok() }
    };
    host.follow(newest, stopped).await;
}
