//! openraft's own suite for storage, and restarts of a whole node.

use super::machine::Image;
use super::record::Checkpoint;
use super::*;
use crate::fs::{Crash, FileSystem, Memory};
use crate::wal::{Options, Wal};
use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use std::io;
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
        let options = Options { segment_size: 64 << 10, cache_max: 100, ..Options::default() };
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

fn machine_on(fs: &Memory) -> (Machine<Scribe>, CheckpointFiles) {
    let files = CheckpointFiles::open(Arc::new(fs.clone())).expect("the directory opens");
    let mind = Arc::new(RwLock::new(Scribe::default()));
    (Machine::open(mind, files.clone()).expect("the base is whole"), files)
}

/// The files of a directory but the spare one.
fn checkpoints(fs: &Memory) -> Vec<String> {
    let mut names = fs.list().unwrap();
    names.retain(|name| name != "checkpoint.spare");
    names
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

/// A checkpoint as another node sends it.
fn sent(index: u64) -> (SnapshotMeta, Image) {
    let checkpoint = Checkpoint {
        last: Some(log_id(index)),
        membership: StoredMembership::default(),
        state: b"from another node".to_vec(),
    };
    let bytes = checkpoint.encode();
    (checkpoint_meta(&bytes).unwrap(), Arc::new(bytes))
}

async fn apply(machine: &mut Machine<Scribe>, index: u64) {
    let payload = Payload::Normal(Proposal(Bytes::from_static(b"entry ")));
    let entry = Entry { log_id: log_id(index), payload };
    machine.apply(futures_util::stream::iter([Ok((entry, None))])).await.unwrap();
}

/// After a power cut this node begins with the checkpoint that came from another, and nothing else is left.
async fn assert_begins_with_the_sent_one(fs: &Memory, crash: Crash) {
    fs.crash(crash);
    let (mut machine, files) = machine_on(fs);
    assert_eq!(files.base_index(), Some(5000));
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(5000)));
    assert_eq!(checkpoints(fs), ["base-00000000000000005000.ckpt"]);
}

#[tokio::test]
async fn a_checkpoint_that_is_overtaken_while_it_is_built_does_not_become_the_base() {
    for crash in [Crash::LoseUnsynced, Crash::KeepUnsynced] {
        let fs = Memory::new();
        let (mut machine, files) = machine_on(&fs);
        apply(&mut machine, 100).await;
        let mut slow = machine.get_snapshot_builder().await;
        let (meta, image) = sent(5000);
        machine.install_snapshot(&meta, image).await.unwrap();
        let built = slow.build_snapshot().await.unwrap();
        assert_eq!(built.meta.last_log_id, Some(log_id(100)));
        assert_eq!(files.candidate_index(), None);
        assert!(!files.promote(100).unwrap());
        assert_begins_with_the_sent_one(&fs, crash).await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_waits_when_one_is_installed_does_not_become_the_base() {
    for crash in [Crash::LoseUnsynced, Crash::KeepUnsynced] {
        let fs = Memory::new();
        let (mut machine, files) = machine_on(&fs);
        apply(&mut machine, 100).await;
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        assert_eq!(files.candidate_index(), Some(100));
        let (meta, image) = sent(5000);
        machine.install_snapshot(&meta, image).await.unwrap();
        assert_eq!(files.candidate_index(), None);
        assert!(!files.promote(100).unwrap());
        assert_begins_with_the_sent_one(&fs, crash).await;
    }
}

#[tokio::test]
async fn a_candidate_left_over_from_a_crash_is_removed() {
    let fs = Memory::new();
    let (mut machine, _) = machine_on(&fs);
    apply(&mut machine, 100).await;
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    fs.crash(Crash::KeepUnsynced);
    machine_on(&fs);
    assert_eq!(fs.list().unwrap(), [] as [String; 0]);
}

/// Building and promoting go on beside the installing of newer ones, in whatever order the threads come.
#[test]
fn the_base_never_goes_back() {
    for _ in 0..20 {
        let fs = Memory::new();
        let (_, files) = machine_on(&fs);
        let (builder, checker) = (files.clone(), files.clone());
        std::thread::scope(|scope| {
            let building = scope.spawn(|| {
                for index in 1..400 {
                    builder.add(index, b"built").unwrap();
                    builder.promote(index).unwrap();
                }
            });
            scope.spawn(|| {
                for index in (10..400).step_by(10) {
                    files.install(index, b"installed").unwrap();
                    assert!(files.base_index() >= Some(index));
                }
            });
            scope.spawn(move || {
                let mut last = None;
                // Should the builder panic, the last one never comes.
                while last < Some(399) && !building.is_finished() {
                    let base = checker.base_index();
                    assert!(base >= last, "{base:?} after {last:?}");
                    last = base;
                    std::thread::yield_now();
                }
            });
        });
        assert_eq!(checkpoints(&fs), ["base-00000000000000000399.ckpt"]);
    }
}

/// The machine dies at every step while one checkpoint is written over what is left of another.
#[test]
fn the_base_is_whole_although_checkpoints_are_written_over_one_another() {
    let image = |index: u64| {
        let state = vec![index as u8; 1000 * (3 + index as usize % 3)];
        Checkpoint { last: Some(log_id(index)), membership: StoredMembership::default(), state }.encode()
    };
    let run = |fs: &Memory| -> io::Result<Option<u64>> {
        let files = CheckpointFiles::open(Arc::new(fs.clone()))?;
        for index in 1..8 {
            files.add(index, &image(index))?;
            // Some are overtaken before they become the base.
            if index % 3 != 0 {
                files.promote(index)?;
            }
        }
        Ok(files.base_index())
    };
    let fs = Memory::new();
    assert_eq!(run(&fs).unwrap(), Some(7));
    assert_eq!(fs.list().unwrap(), ["base-00000000000000000007.ckpt", "checkpoint.spare"]);
    for dies in 0..fs.operations() {
        for crash in [Crash::LoseUnsynced, Crash::KeepUnsynced, Crash::Toss(dies), Crash::Toss(!dies)] {
            let fs = Memory::new();
            fs.die_after(dies);
            run(&fs).unwrap_err();
            fs.crash(crash);
            let (_, files) = machine_on(&fs);
            if let Some(base) = files.base().unwrap() {
                let index = base.last.unwrap().index;
                assert_eq!(
                    base.encode(),
                    image(index),
                    "the machine died after {dies} operations: {crash:?}"
                );
            }
            drop(files);
            assert_eq!(run(&fs).unwrap(), Some(7));
        }
    }
}

#[test]
fn no_spare_checkpoint_is_kept_on_a_small_disk() {
    let fs = Memory::new();
    fs.set_capacity(Some(100_000));
    let (_, files) = machine_on(&fs);
    for index in 1..4 {
        files.add(index, &[1; 30_000]).unwrap();
        files.promote(index).unwrap();
    }
    assert_eq!(fs.list().unwrap(), ["base-00000000000000000003.ckpt"]);
}
