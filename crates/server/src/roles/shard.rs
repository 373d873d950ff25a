//! The shard role: replicas of shards on RocksDB, each following its decision stream.

use crate::config::Config;
use crate::node::DataDirError;
use assize_model::{NodeId, Placement};
use assize_ports::{DecisionSource, ShardAdministration};
use assize_shards::embedded::{Around, OpenError, Options, ShardHost};
use std::sync::Arc;

/// Opens every replica that the placement puts on this node.
pub async fn open(
    config: &Config,
    placement: &Arc<Placement>,
    source: Arc<dyn DecisionSource>,
    administration: Arc<dyn ShardAdministration>,
) -> anyhow::Result<ShardHost> {
    let rocks = assize_rocks::Options {
        cache_bytes: config.shard.cache_bytes as usize,
        write_buffer_bytes: config.shard.write_buffer_bytes as usize,
        ..assize_rocks::Options::default()
    };
    let options = Options { rocks, ..Options::default() };
    let directory = config.node.data.as_ref().map(|data| data.join("shards"));
    let around = Around { node: NodeId(config.node.id), source, administration, peers: None };
    let host = ShardHost::open(directory, placement.clone(), around, options).await.map_err(|e| match e {
        OpenError::InUse(_) => anyhow::Error::from(DataDirError::InUse(e.to_string())),
        e => anyhow::Error::from(DataDirError::Unusable(e.to_string())),
    })?;
    if let Some((shard, error)) = host.settle(placement.clone()).await.into_iter().next() {
        return Err(DataDirError::Unusable(format!("{shard}: {error}")).into());
    }
    tracing::info!(shards = host.residents().len(), "shards follow their streams");
    Ok(host)
}
