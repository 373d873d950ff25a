//! openraft's own suite for storage, and restarts of a whole node.

use super::*;
use crate::fs::{FileSystem, Memory};
use crate::wal::{Options, Wal};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::sync::{Arc, RwLock};

/// A mind that remembers what it was told.
#[derive(Default)]
struct Scribe(Vec<u8>);

impl Mind for Scribe {
    type Reply = usize;
    type Copy = Vec<u8>;

    fn apply(&mut self, _index: u64, command: &Bytes) -> Result<usize, String> {
        self.0.extend_from_slice(command);
        Ok(self.0.len())
    }

    fn apply_blank(&mut self, _index: u64) {}

    fn capture(&mut self) -> Vec<u8> {
        self.0.clone()
    }

    fn complete(&self, _copy: &mut Vec<u8>) -> bool {
        true
    }

    fn encode(copy: Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(&copy);
    }

    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), String> {
        self.0 = checkpoint.to_vec();
        Ok(())
    }
}

struct Fresh;

impl StoreBuilder<Types, LogStore, Machine<Scribe>> for Fresh {
    async fn build(&self) -> Result<((), LogStore, Machine<Scribe>), StorageError<Types>> {
        let fs: Arc<dyn FileSystem> = Arc::new(Memory::new());
        let options = Options { segment_size: 64 << 10, cache_max: 100, reserve: 0 };
        let wal = Wal::open(fs.clone(), &options).expect("a fresh directory opens");
        let store = LogStore::new(Arc::new(wal)).expect("a fresh log opens");
        let files = CheckpointFiles::open(fs).expect("a fresh directory opens");
        let mind = Arc::new(RwLock::new(Scribe::default()));
        Ok(((), store, Machine::open(mind, files).expect("there is no checkpoint")))
    }
}

#[test]
fn the_storage_passes_the_suite_of_openraft() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        Suite::test_all(Fresh).await.unwrap();
    });
}
