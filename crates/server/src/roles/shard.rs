//! The shard role: replicas of shards on RocksDB, each following its decision stream.

use crate::config::Config;
use crate::node::DataDirError;
use assize_model::{NodeId, Placement};
use assize_ports::DecisionSource;
use assize_shards::embedded::{self, Embedded, OpenError, Options, Setup};
use std::sync::Arc;

/// Opens every replica that the placement puts on this node.
pub async fn open(
    config: &Config,
    placement: &Placement,
    source: Arc<dyn DecisionSource>,
) -> anyhow::Result<Vec<Arc<Embedded>>> {
    let node = NodeId(config.node.id);
    let setups = placement.shards.iter().flat_map(|(shard, at)| {
        at.replicas.iter().filter(|(_, on)| **on == node).map(|(replica, _)| Setup {
            shard: *shard,
            replica: *replica,
            epoch: at.epoch,
            slots: placement.slots_of(*shard),
        })
    });
    let rocks = assize_rocks::Options {
        cache_bytes: config.shard.cache_bytes as usize,
        write_buffer_bytes: config.shard.write_buffer_bytes as usize,
        ..assize_rocks::Options::default()
    };
    let options = Options { rocks, ..Options::default() };
    let directory = config.node.data.as_ref().map(|data| data.join("shards"));
    let shards = embedded::open(directory, setups.collect(), source, options).await.map_err(|e| match e {
        OpenError::InUse(_) => anyhow::Error::from(DataDirError::InUse(e.to_string())),
        e => anyhow::Error::from(DataDirError::Unusable(e.to_string())),
    })?;
    tracing::info!(shards = shards.len(), "shards follow their streams");
    Ok(shards)
}
