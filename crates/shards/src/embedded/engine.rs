//! `mvcc`'s engine on two column families of RocksDB.

use assize_mvcc::{Batch, BatchOp, Cursor, Durability, Engine, EngineError, Family};
use assize_rocks::{Mode, RocksError};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// The two families of one shard.
pub struct RocksEngine {
    versions: assize_rocks::Family,
    intents: assize_rocks::Family,
    /// Where checkpoints go.
    checkpoints: PathBuf,
    next_checkpoint: AtomicU64,
}

impl RocksEngine {
    /// The engine of one shard.
    pub fn new(versions: assize_rocks::Family, intents: assize_rocks::Family, checkpoints: PathBuf) -> Self {
        RocksEngine { versions, intents, checkpoints, next_checkpoint: AtomicU64::new(1) }
    }

    fn family(&self, family: Family) -> &assize_rocks::Family {
        match family {
            Family::Versions => &self.versions,
            Family::Intents => &self.intents,
        }
    }
}

pub fn engine_error(error: RocksError) -> EngineError {
    match error {
        RocksError::Full { reason } => EngineError::Full { reason },
        RocksError::Damaged { reason } => EngineError::Damaged { reason },
        RocksError::Failed { doing, reason } => EngineError::Io { doing, reason },
        RocksError::InUse(_) => EngineError::Io { doing: "open", reason: error.to_string() },
    }
}

impl Engine for RocksEngine {
    type Cursor<'a> = RocksCursor<'a>;
    type Checkpoint = PathBuf;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.family(family).get(key).map_err(engine_error)
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<RocksCursor<'_>, EngineError> {
        Ok(RocksCursor(self.family(family).cursor(lower, upper)))
    }

    fn first(
        &self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        self.family(family).first(lower, upper).map_err(engine_error)
    }

    fn write(&self, family: Family, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        let mode = match (family, durability) {
            (Family::Versions, Durability::Buffered) => Mode::Buffered,
            (Family::Intents, Durability::Logged) => Mode::Logged,
            (Family::Intents, Durability::Synced) => Mode::Synced,
            (family, durability) => panic!("{family:?} are never written {durability:?}"),
        };
        let mut writes = self.family(family).batch();
        for op in &batch.ops {
            match op {
                BatchOp::Put { key, value } => writes.put(key, value),
                BatchOp::Delete { key } => writes.delete(key),
                BatchOp::DeleteRange { start, end } => writes.delete_range(start, end),
            }
        }
        writes.write(mode).map_err(engine_error)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.versions.flush().map_err(engine_error)
    }

    fn begin_flush(&self) -> Result<(), EngineError> {
        self.versions.begin_flush().map_err(engine_error)
    }

    fn persisted(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.versions.get_persisted(key).map_err(engine_error)
    }

    fn checkpoint(&self) -> Result<PathBuf, EngineError> {
        let failed =
            |error: std::io::Error| EngineError::Io { doing: "make a checkpoint", reason: error.to_string() };
        std::fs::create_dir_all(&self.checkpoints).map_err(failed)?;
        loop {
            let number = self.next_checkpoint.fetch_add(1, Ordering::Relaxed);
            let directory = self.checkpoints.join(number.to_string());
            if !directory.exists() {
                self.versions.store().checkpoint(&directory).map_err(engine_error)?;
                return Ok(directory);
            }
        }
    }
}

/// A cursor of RocksDB.
pub struct RocksCursor<'a>(assize_rocks::Cursor<'a>);

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.0.seek(key).map_err(engine_error)
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.0.seek_back(key).map_err(engine_error)
    }

    fn next(&mut self) -> Result<(), EngineError> {
        self.0.next().map_err(engine_error)
    }

    fn prev(&mut self) -> Result<(), EngineError> {
        self.0.prev().map_err(engine_error)
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.0.entry()
    }
}
