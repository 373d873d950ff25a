//! Raft's state machine: a [`Mind`], its place in the log, and its checkpoints.
//!
//! Checkpoints serve two masters. Raft may forget entries that a checkpoint covers; and after a restart the
//! entries *behind* the checkpoint are applied again, which is what makes the decision stream come again for
//! replicas that had not persisted it. So the checkpoint from which a node restarts, the **base**, is never
//! newer than the lowest durable position that counts. A newer checkpoint waits as the **candidate** until
//! those positions have passed it; then it becomes the base, and the log below it may go.
//!
//! ```text
//!   log  ───────┬────────────────────┬──────────────────────┬──▶
//!             base              durable everywhere        applied
//!               └── purged below     └ candidate waits here or above
//! ```

use super::record::Checkpoint;
use super::{Capture, LogId, Mind, Payload, SnapshotMeta, StoredMembership, Types};
use crate::fs::{FileSystem, read_all, write_atomically, write_atomically_over};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// A checkpoint as openraft passes it round.
pub type Image = Arc<Vec<u8>>;

/// The checkpoints of one node on disk: `base-<index>.ckpt` and `candidate-<index>.ckpt`; and `checkpoint.spare`, what is left
/// of one that nobody needs any more, for the next one to be written over it.
#[derive(Clone)]
pub struct CheckpointFiles {
    fs: Arc<dyn FileSystem>,
    /// Serialises building, promoting and installing.
    indexes: Arc<Mutex<Indexes>>,
}

#[derive(Default)]
struct Indexes {
    base: Option<u64>,
    candidate: Option<u64>,
    /// Whether there is a spare file.
    has_spare: bool,
    /// Bytes of the last one that was written.
    last_bytes: u64,
    /// The last one that was written, for its memory: the kernel clears every page that it gives, which takes longer than
    /// writing to it.
    memory: Option<Image>,
}

/// Memory of larger checkpoints goes back.
const MEMORY_KEPT_MAX: usize = 256 << 20;

impl CheckpointFiles {
    /// Finds the base in a directory, and removes everything else that looks like a checkpoint: candidates are
    /// soon taken again, and older bases are left over from a crash.
    pub fn open(fs: Arc<dyn FileSystem>) -> io::Result<CheckpointFiles> {
        let index_of = |name: &str| name.strip_prefix("base-")?.strip_suffix(".ckpt")?.parse::<u64>().ok();
        let names = fs.list()?;
        let base = names.iter().filter_map(|name| index_of(name)).max();
        for name in names.iter().filter(|name| name.starts_with("base-") || name.starts_with("candidate-")) {
            if index_of(name).is_none() || index_of(name) != base {
                fs.remove(name)?;
            }
        }
        fs.sync_directory()?;
        let has_spare = names.iter().any(|name| name == Self::SPARE);
        let indexes = Indexes { base, has_spare, ..Indexes::default() };
        Ok(CheckpointFiles { fs, indexes: Arc::new(Mutex::new(indexes)) })
    }

    const SPARE: &str = "checkpoint.spare";

    fn base_name(index: u64) -> String {
        format!("base-{index:020}.ckpt")
    }

    fn candidate_name(index: u64) -> String {
        format!("candidate-{index:020}.ckpt")
    }

    fn indexes(&self) -> std::sync::MutexGuard<'_, Indexes> {
        self.indexes.lock().expect("no panic happens under this lock")
    }

    /// The checkpoint from which a restart begins; `None` if it begins with the first entry.
    pub fn base(&self) -> io::Result<Option<Checkpoint>> {
        let Some(index) = self.indexes().base else { return Ok(None) };
        self.read(&Self::base_name(index)).map(|(checkpoint, _)| Some(checkpoint))
    }

    /// The index of that checkpoint.
    pub fn base_index(&self) -> Option<u64> {
        self.indexes().base
    }

    /// The checkpoint that another node may begin with, and its bytes: the base, because the log behind it is here
    /// and with it what replicas over there may still need. Before there is one, the candidate will do: then the
    /// whole log is here.
    fn current(&self) -> io::Result<Option<(Checkpoint, Vec<u8>)>> {
        // Locked while it is read, so that it is not removed meanwhile.
        let indexes = self.indexes();
        let name = match (indexes.base, indexes.candidate) {
            (Some(base), _) => Self::base_name(base),
            (None, Some(candidate)) => Self::candidate_name(candidate),
            (None, None) => return Ok(None),
        };
        self.read(&name).map(Some)
    }

    fn read(&self, name: &str) -> io::Result<(Checkpoint, Vec<u8>)> {
        let bytes = read_all(&*self.fs, name)?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {error}"));
        Ok((Checkpoint::decode(&bytes).map_err(invalid)?, bytes))
    }

    /// The index of the checkpoint that waits to become the base.
    pub fn candidate_index(&self) -> Option<u64> {
        self.indexes().candidate
    }

    /// Bytes of the last checkpoint that this process has written; zero before the first.
    pub fn last_bytes(&self) -> u64 {
        self.indexes().last_bytes
    }

    /// Memory for the next checkpoint: that of the last one, if nobody needs it any more.
    fn take_memory(&self) -> Vec<u8> {
        let mut indexes = self.indexes();
        let last = indexes.memory.take().and_then(|image| Arc::try_unwrap(image).ok());
        let mut bytes = last.unwrap_or_default();
        bytes.clear();
        // More than the last one took: growing would copy it all, and what is not written to costs nothing.
        bytes.reserve(indexes.last_bytes as usize / 2 * 3);
        bytes
    }

    /// Keeps the memory of a checkpoint for the next one.
    fn give_memory(&self, image: &Image) {
        if image.capacity() <= MEMORY_KEPT_MAX {
            self.indexes().memory = Some(image.clone());
        }
    }

    /// Writes a candidate durably. It takes the place of one that waits. One that has been overtaken while it was written, by
    /// a base that came from another node, is dropped: the log behind it is gone.
    pub(super) fn add(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let spare = self.take_spare(index)?;
        write_atomically_over(&*self.fs, spare.as_deref(), &Self::candidate_name(index), bytes)?;
        let mut indexes = self.indexes();
        indexes.last_bytes = bytes.len() as u64;
        if indexes.base >= Some(index) {
            return self.retire(&mut indexes, &Self::candidate_name(index));
        }
        if let Some(before) = indexes.candidate.replace(index)
            && before != index
        {
            self.retire(&mut indexes, &Self::candidate_name(before))?;
        }
        Ok(())
    }

    /// Takes the spare file, if there is one, for the candidate of this index; its name.
    fn take_spare(&self, index: u64) -> io::Result<Option<String>> {
        // Locked until it has another name: somebody may make another file the spare one at any time.
        let mut indexes = self.indexes();
        if !indexes.has_spare {
            return Ok(None);
        }
        // Found and removed at the next start, should there be one before it is written over.
        let taken = format!("candidate-{index:020}.spare");
        self.fs.rename(Self::SPARE, &taken)?;
        indexes.has_spare = false;
        Ok(Some(taken))
    }

    /// Makes a file the spare one, or removes it: one is enough, and on a small disk others need the room. Whatever has taken
    /// the file's place must be durable: a crash may bring its name back, with what was written over it.
    fn retire(&self, indexes: &mut Indexes, name: &str) -> io::Result<()> {
        let is_roomy = self.fs.free().is_ok_and(|free| free / 4 > indexes.last_bytes);
        if indexes.has_spare || !is_roomy {
            return self.fs.remove(name);
        }
        self.fs.rename(name, Self::SPARE)?;
        indexes.has_spare = true;
        Ok(())
    }

    /// Makes the candidate the base, durably, so that entries up to it may be purged; whether it did. It does not if
    /// another candidate waits by now, and never replaces a newer base.
    pub fn promote(&self, index: u64) -> io::Result<bool> {
        let mut indexes = self.indexes();
        if indexes.candidate != Some(index) {
            return Ok(false);
        }
        indexes.candidate = None;
        if indexes.base >= Some(index) {
            self.retire(&mut indexes, &Self::candidate_name(index))?;
            return Ok(false);
        }
        self.fs.rename(&Self::candidate_name(index), &Self::base_name(index))?;
        self.fs.sync_directory()?;
        if let Some(before) = indexes.base.replace(index) {
            self.retire(&mut indexes, &Self::base_name(before))?;
        }
        Ok(true)
    }

    /// Replaces all by a base that came from another node.
    pub(super) fn install(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        // Not a candidate on the way: whoever builds or promotes one meanwhile would take this one for his.
        let name = format!("candidate-installed-{index:020}.ckpt");
        write_atomically(&*self.fs, &name, bytes)?;
        let mut indexes = self.indexes();
        indexes.last_bytes = bytes.len() as u64;
        if indexes.base >= Some(index) {
            return self.retire(&mut indexes, &name);
        }
        self.fs.rename(&name, &Self::base_name(index))?;
        self.fs.sync_directory()?;
        if let Some(before) = indexes.base.replace(index) {
            self.retire(&mut indexes, &Self::base_name(before))?;
        }
        // What waits was captured before the state was replaced.
        if let Some(overtaken) = indexes.candidate.take_if(|candidate| *candidate <= index) {
            self.retire(&mut indexes, &Self::candidate_name(overtaken))?;
        }
        Ok(())
    }
}

/// The state machine. Others read the mind through the lock; only Raft writes.
pub struct Machine<M> {
    mind: Arc<RwLock<M>>,
    last: Option<LogId>,
    membership: StoredMembership,
    files: CheckpointFiles,
}

impl<M: Mind> Machine<M> {
    /// A state machine that stands where the base checkpoint stands.
    pub fn open(mind: Arc<RwLock<M>>, files: CheckpointFiles) -> io::Result<Self> {
        let mut machine = Machine { mind, last: None, membership: StoredMembership::default(), files };
        if let Some(base) = machine.files.base()? {
            machine.restore(base)?;
        }
        Ok(machine)
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        let restored =
            self.mind.write().expect("a panic in the mind ends the node").restore(&checkpoint.state);
        restored.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        self.last = checkpoint.last;
        self.membership = checkpoint.membership;
        Ok(())
    }
}

fn snapshot_of(checkpoint: &Checkpoint, bytes: Vec<u8>) -> SnapshotOf<Types, Image> {
    let last_membership = checkpoint.membership.clone();
    openraft::storage::Snapshot {
        meta: SnapshotMeta { last_log_id: checkpoint.last, last_membership },
        snapshot: Arc::new(bytes),
    }
}

/// What Raft wants to know of a checkpoint that has come as bytes.
pub fn checkpoint_meta(bytes: &[u8]) -> Result<SnapshotMeta, assize_codec::DecodeError> {
    let checkpoint = Checkpoint::decode(bytes)?;
    Ok(SnapshotMeta { last_log_id: checkpoint.last, last_membership: checkpoint.membership })
}

/// Writes a captured state as a checkpoint.
pub struct Builder {
    last: Option<LogId>,
    membership: StoredMembership,
    /// Until it is built.
    state: Option<Capture>,
    files: CheckpointFiles,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Image>, io::Error> {
        let state = self.state.take().ok_or_else(|| io::Error::other("a checkpoint is built once"))?;
        let (last, membership, files) = (self.last, self.membership.clone(), self.files.clone());
        let index = last.map_or(0, |last| last.index);
        let written = in_background("checkpoint", move || {
            let began = std::time::Instant::now();
            let mut bytes = files.take_memory();
            Checkpoint::encode_with(&mut bytes, last.as_ref(), &membership, state);
            let meta = SnapshotMeta { last_log_id: last, last_membership: membership };
            let added = files.add(index, &bytes);
            tracing::debug!(index, bytes = bytes.len(), took = ?began.elapsed(), "a checkpoint is written");
            let image = Arc::new(bytes);
            files.give_memory(&image);
            added.map(|()| (meta, image))
        });
        match written.await? {
            Ok((meta, snapshot)) => Ok(openraft::storage::Snapshot { meta, snapshot }),
            // Raft stops at any error, but a checkpoint that finds no space is only late. One that is not newer
            // than what Raft knows already changes nothing there.
            Err(error) if crate::fs::is_full(&error) => {
                tracing::warn!(%error, "no space for a checkpoint");
                let meta = SnapshotMeta::default();
                Ok(openraft::storage::Snapshot { meta, snapshot: Image::default() })
            }
            Err(error) => Err(error),
        }
    }
}

/// Between two parts of a copy of the state: entries are applied meanwhile, and the processors are for others.
pub(crate) const COPY_REST: Duration = Duration::from_millis(1);
/// How much less than others a checkpoint's thread gets of a busy processor.
const NICENESS: i32 = 10;

/// From here on this thread gives way to those that decide transactions.
pub(crate) fn give_way() {
    // It is only slower for others where the system does not let us.
    let _ = rustix::process::nice(NICENESS);
}

/// Runs something long on a thread of its own.
pub(crate) async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        // Whoever waited may have stopped.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other(format!("the thread {name} has panicked")))
}

impl<M: Mind> RaftStateMachine<Types> for Machine<M> {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let index = entry.log_id.index;
            let reply: super::AnyReply = {
                let mut mind = self.mind.write().expect("a panic in the mind ends the node");
                match &entry.payload {
                    Payload::Normal(proposal) => {
                        let reply = mind.apply(index, &proposal.0).map_err(|why| {
                            io::Error::new(io::ErrorKind::InvalidData, format!("entry {index}: {why}"))
                        })?;
                        Some(Box::new(reply))
                    }
                    Payload::Blank => {
                        mind.apply_blank(index);
                        None
                    }
                    Payload::Membership(membership) => {
                        mind.apply_blank(index);
                        self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                        None
                    }
                }
            };
            self.last = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let began = std::time::Instant::now();
        let mut copy = self.mind.write().expect("a panic in the mind ends the node").capture();
        tracing::debug!(took = ?began.elapsed(), "the state is captured for a checkpoint");
        let mind = self.mind.clone();
        let state: Capture = Box::new(move |out| {
            while !mind.read().expect("a panic in the mind ends the node").complete(&mut copy) {
                std::thread::sleep(COPY_REST);
            }
            // Until here entries have waited for this thread now and then.
            give_way();
            M::encode(copy, out);
        });
        Builder {
            last: self.last,
            membership: self.membership.clone(),
            state: Some(state),
            files: self.files.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Image) -> Result<(), io::Error> {
        let checkpoint = Checkpoint::decode(&snapshot)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if checkpoint.last != meta.last_log_id {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checkpoint is not the one announced",
            ));
        }
        let index = checkpoint.last.map_or(0, |last| last.index);
        let files = self.files.clone();
        let written = tokio::task::spawn_blocking(move || files.install(index, &snapshot));
        written.await.map_err(io::Error::other)??;
        self.restore(checkpoint)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Image>>, io::Error> {
        Ok(self.files.current()?.map(|(checkpoint, bytes)| snapshot_of(&checkpoint, bytes)))
    }
}
