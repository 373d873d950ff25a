//! Shards of our own: `mvcc` on RocksDB, in this process.

mod engine;
mod replica;
mod shard;
#[cfg(test)]
mod tests;

pub use shard::Embedded;

use assize_model::{Epoch, ReplicaId, ShardId, Slot};
use assize_ports::{DecisionSource, StreamError};
use assize_rocks::{Location, RocksError, Shape, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why shards could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// RocksDB cannot be opened.
    #[error(transparent)]
    Store(RocksError),
    /// What is stored cannot be read.
    #[error("{shard} cannot be opened: {reason}")]
    Shard {
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        reason: String,
    },
    /// The decision stream cannot be resumed where the replica stands.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// How shards are stored.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory and threads of RocksDB.
    pub rocks: assize_rocks::Options,
    /// Versions that were applied are flushed this often, so that the log can be forgotten.
    pub flush_interval: Duration,
    /// Prepares without an answer, and reads that wait longer than this give up.
    pub wait_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rocks: assize_rocks::Options::default(),
            flush_interval: Duration::from_secs(10),
            wait_max: Duration::from_secs(10),
        }
    }
}

/// One shard of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Which shard.
    pub shard: ShardId,
    /// Which of its replicas lives here.
    pub replica: ReplicaId,
    /// Its placement epoch, should its directory be empty.
    pub epoch: Epoch,
    /// Its slots, should its directory be empty.
    pub slots: Vec<(Slot, Slot)>,
}

/// Opens the shards of this process in one directory (`None`: in memory, gone with the process), and has them
/// follow their decision streams.
pub async fn open(
    directory: Option<PathBuf>,
    setups: Vec<Setup>,
    source: Arc<dyn DecisionSource>,
    options: Options,
) -> Result<Vec<Arc<Embedded>>, OpenError> {
    let checkpoints = match &directory {
        Some(directory) => directory.join("checkpoints"),
        None => std::env::temp_dir().join("assize-checkpoints"),
    };
    let location =
        directory.map_or(Location::Memory, |directory| Location::Directory(directory.join("rocks")));
    // Every key of the versions family ends in a timestamp, but for a few that are only ever read whole.
    let families = setups.iter().flat_map(|setup| {
        [(versions_of(setup.shard), Shape::Versioned), (intents_of(setup.shard), Shape::Plain)]
    });
    let families: Vec<(String, Shape)> = families.collect();
    let rocks = options.rocks.clone();
    let store =
        blocking(move || Store::open(&location, &families, &rocks)).await.map_err(|error| match error {
            RocksError::InUse(path) => OpenError::InUse(path),
            error => OpenError::Store(error),
        })?;
    let mut shards = Vec::with_capacity(setups.len());
    for setup in setups {
        let shard = setup.shard;
        let family = |name: String| store.family(&name).expect("the families were named at opening");
        let (versions, intents) = (family(versions_of(shard)), family(intents_of(shard)));
        let engine = engine::RocksEngine::new(versions, intents, checkpoints.join(shard.to_string()));
        shards.push(Embedded::start(setup, engine, source.clone(), &options).await?);
    }
    Ok(shards)
}

fn versions_of(shard: ShardId) -> String {
    format!("versions-{}", shard.0)
}

fn intents_of(shard: ShardId) -> String {
    format!("intents-{}", shard.0)
}

/// Runs something that may wait for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
