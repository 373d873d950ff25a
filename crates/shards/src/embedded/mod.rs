//! Shards of our own: `mvcc` on RocksDB, in this process.

pub(crate) mod copy;
mod damage;
mod engine;
mod giver;
mod host;
pub(crate) mod outgoing;
mod registry;
mod remains;
mod replica;
mod shard;
mod siblings;
#[cfg(test)]
mod tests;

pub use damage::Tallies;
pub use host::{Around, HostError, ShardHost};
pub use registry::RegistryError;
pub use remains::{ReplicaRemains, inspect};
pub use shard::{Embedded, Stats};

use assize_model::ShardId;
use assize_rocks::RocksError;
use std::path::PathBuf;
use std::time::Duration;

/// What could not be reached is tried again after this long.
const RESUBSCRIBE: Duration = Duration::from_millis(250);

/// Why shards could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// RocksDB cannot be opened.
    #[error(transparent)]
    Store(RocksError),
    /// The stored bytes of a replica are not those that were written.
    #[error("the contents of {shard} are damaged: {reason}")]
    Damaged {
        /// Which shard.
        shard: ShardId,
        /// What was found.
        reason: String,
    },
    /// What is stored cannot be read.
    #[error("{shard} cannot be opened: {reason}")]
    Shard {
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        reason: String,
    },
    /// What the node remembers of its replicas cannot be read.
    #[error(transparent)]
    Registry(RegistryError),
}

impl From<RegistryError> for OpenError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(RocksError::InUse(path)) => OpenError::InUse(path),
            RegistryError::Store(error) => OpenError::Store(error),
            RegistryError::Undecodable(_) => OpenError::Registry(error),
        }
    }
}

/// Bytes of a copy after which it is noted how far it has come: seldom enough that nobody notices the flush.
const NOTED_BYTES: u64 = 64 << 20;

/// How shards are stored.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory and threads of RocksDB.
    pub rocks: assize_rocks::Options,
    /// Versions that were applied are flushed this often, so that the log can be forgotten.
    pub flush_interval: Duration,
    /// Prepares without an answer, and reads that wait longer than this give up.
    pub wait_max: Duration,
    /// Damaged contents are given up only if a sibling has said within this time that it has everything.
    pub sibling_wait_max: Duration,
    /// Damaged contents that wait for their copy go before it is whole if less than this is left of the disk, in bytes; and a
    /// copy that nobody relies on yet is given up.
    pub room_min: u64,
    /// A copy for a replica is made durable, so that it goes on after a restart, whenever so many bytes have come.
    pub noted_bytes: u64,
    /// A learner or fledgling of which nobody has asked for so long how it is was left by a task that ended half-way.
    pub alone_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rocks: assize_rocks::Options::default(),
            flush_interval: Duration::from_secs(10),
            wait_max: Duration::from_secs(10),
            sibling_wait_max: Duration::from_secs(30),
            room_min: assize_ports::ROOM_MIN_BYTES,
            noted_bytes: NOTED_BYTES,
            alone_max: Duration::from_secs(300),
        }
    }
}

/// Runs something that may wait for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
