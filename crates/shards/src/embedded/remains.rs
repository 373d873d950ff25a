//! What a node that is down has of its shards, for somebody who judges it from outside.

use super::engine::RocksEngine;
use super::{OpenError, damage};
use assize_model::{ReplicaId, ShardId};
use assize_mvcc::Remains;
use std::path::Path;

/// What a node that is down has of one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaRemains {
    /// The shard.
    pub shard: ShardId,
    /// Which replica of it.
    pub replica: ReplicaId,
    /// All that it has; `None` if nothing ever came to its disk.
    pub contents: Option<Remains>,
}

/// Reads the shards of a node that is down, from what is `shards` in its data directory. Changes nothing that its next start
/// would not.
///
/// # Errors
/// If a process has it, or it cannot be read.
pub fn inspect(directory: &Path) -> Result<Vec<ReplicaRemains>, OpenError> {
    let options = assize_rocks::Options { cache_bytes: 8 << 20, ..assize_rocks::Options::default() };
    let registry = damage::open_store(Some(directory), &options)?;
    let mut all = Vec::new();
    for (shard, record) in registry.records() {
        let engine =
            record.contents.and_then(|generation| RocksEngine::open(registry.store(), shard, generation));
        let contents = match engine {
            Some(engine) => assize_mvcc::remains(&engine)
                .map_err(|error| OpenError::Shard { shard, reason: error.to_string() })?,
            None => None,
        };
        all.push(ReplicaRemains { shard, replica: record.replica, contents });
    }
    Ok(all)
}
