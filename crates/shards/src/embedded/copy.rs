//! A sibling's checkpoint, on its way into families of our own.
//!
//! A copy whose channel breaks goes on where it was: the sibling keeps the checkpoint for a while (see `outgoing.rs`), and is
//! told the last entry that has arrived. If it is kept no more, the copy begins anew. Every so many bytes what has come of a
//! copy for a replica is made durable and noted, so that it goes on after a restart as well.

use super::blocking;
use super::engine::{Generation, RocksEngine, VERSIONS};
use super::registry::{Begun, Registry};
use crate::wire::{Arrived, Digest, Piece};
use assize_codec::DecodeError;
use assize_model::{LogIndex, ReplicaId, ShardId};
use assize_mvcc::Slots;
use assize_ports::{BoxFuture, Channel, ChannelReceiver, ChannelSender, PeerError};
use assize_rocks::{Chunk, Family, Image, Mode, RocksError, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long it is tried to go on with a copy whose channel has broken; less than a checkpoint is kept.
const GO_ON_MAX: Duration = Duration::from_secs(90);
/// The pause before each try.
const GO_ON_PAUSE: Duration = Duration::from_millis(250);

/// With so many files that are not sorted into others yet, whoever can wait does; RocksDB slows writes down at 20.
const LEVEL0_FILES_MAX: u64 = 10;
/// The pause before it is looked at again, and how often that is done before the copy goes on all the same.
const GIVE_WAY: Duration = Duration::from_millis(100);
const WAYS_GIVEN_MAX: usize = 20;
/// Compaction that has fewer bytes before it has caught up.
const QUIET_BYTES: u64 = 16 << 20;
/// How long families that are to be dropped wait for that.
pub const QUIET_MAX: Duration = Duration::from_secs(60);

/// Why a checkpoint did not arrive.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CopyError {
    /// The sibling cannot be reached, or refused.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The sibling is here, and has none to give.
    #[error("the sibling has no checkpoint to give")]
    NotThere,
    /// It ended too early.
    #[error("the checkpoint ended too early")]
    Short,
    /// It cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    Undecodable(#[from] DecodeError),
    /// What lies in the families is not what was sent.
    #[error("the copy holds {found:?}, and {sent:?} was sent")]
    Differs {
        /// What was sent.
        sent: Digest,
        /// What is there.
        found: Digest,
    },
    /// It broke half-way, and the sibling does not keep it any more.
    #[error("the checkpoint broke off, and is not kept any more")]
    Gone,
    /// RocksDB failed.
    #[error(transparent)]
    Store(#[from] RocksError),
}

/// The way to go on with a copy that has come so far; without it a copy that breaks has failed.
pub type GoOn = Box<dyn Fn(Arrived) -> BoxFuture<'static, Result<Source, CopyError>> + Send + Sync>;

/// How a copy goes on that breaks, or whose receiver restarts.
pub struct Way {
    /// For which replica it is.
    pub me: ReplicaId,
    /// Whose checkpoint it is, …
    pub from: ReplicaId,
    /// … what it is called there, …
    pub name: u64,
    /// … and at or after which entry it was taken.
    pub at_least: LogIndex,
    /// Asks for the rest.
    pub go_on: GoOn,
    /// It is noted after so many bytes each how far it has come.
    pub noted_bytes: u64,
}

/// What a copy is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// The contents of a replica: they must be on disk before it relies on them.
    Replica {
        /// If nobody waits for it.
        throttle: Option<Throttle>,
    },
    /// These slots are taken out of it, and it is dropped: it need not outlive the process, and the rest is left out.
    Slots {
        /// Which slots.
        slots: Slots,
        /// If nobody waits for it.
        throttle: Option<Throttle>,
    },
}

/// What leaves disks and processors to those who wait for them.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// How much is copied in a second.
    pub bytes_per_second: u64,
    /// Whether the log has grown so long meanwhile that everybody waits for the copy.
    pub is_lifted: Arc<AtomicBool>,
}

/// Keeps something from going on faster than it should.
struct Pace {
    throttle: Throttle,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn of(purpose: &Purpose) -> Option<Pace> {
        let (Purpose::Slots { throttle, .. } | Purpose::Replica { throttle }) = purpose;
        throttle.clone().map(|throttle| Pace { throttle, since: Instant::now(), bytes: 0 })
    }

    fn is_lifted(&self) -> bool {
        self.throttle.is_lifted.load(Ordering::Relaxed)
    }

    /// How long to rest after so many more bytes.
    fn rest(&mut self, bytes: usize) -> Duration {
        if self.is_lifted() {
            return Duration::ZERO;
        }
        self.bytes += bytes as u64;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.throttle.bytes_per_second.max(1) as f64);
        due.saturating_sub(self.since.elapsed())
    }
}

/// Where a checkpoint comes from.
pub enum Source {
    /// A sibling of this process (of the parent's shard, for a fledgling).
    Here(Image),
    /// Another node. The sending half is kept so that the channel stays open.
    There(Box<dyn ChannelReceiver>, #[allow(dead_code)] Box<dyn ChannelSender>),
}

impl Source {
    /// From a channel that was opened with a request for a checkpoint.
    pub fn channel(channel: Channel) -> Source {
        Source::There(channel.receiver, channel.sender)
    }
}

/// Sends a checkpoint over a channel.
pub async fn send(mut image: Image, sender: &mut dyn ChannelSender) -> Result<(), CopyError> {
    let mut digest = Digest::default();
    loop {
        let (rest, chunk) = next_chunk(image).await?;
        image = rest;
        let Some(chunk) = chunk else { break };
        digest.add(&chunk);
        sender.send(Piece::Entries(chunk).encode()).await?;
    }
    Ok(sender.send(Piece::CheckpointEnd(digest).encode()).await?)
}

/// Copies a checkpoint into a new pair of families, makes it durable if it is to last, and compares what lies there with what
/// was sent.
pub async fn receive(
    registry: Registry,
    shard: ShardId,
    purpose: Purpose,
    source: Source,
    progress: Arc<AtomicU64>,
    way: Option<Way>,
) -> Result<(Generation, RocksEngine), CopyError> {
    let generation = registry.draw_generation();
    let draft = Draft { registry: registry.clone(), shard, generation, is_whole: false };
    let store = registry.store().clone();
    let engine = blocking(move || RocksEngine::create(&store, shard, generation)).await?;
    let coming = Coming { engine, source, seen: Digest::default(), arrived: None, bytes: 0, way };
    complete(draft, coming, purpose, progress).await
}

/// Goes on with a copy that an earlier life of this node has begun.
pub async fn go_on(
    registry: Registry,
    shard: ShardId,
    purpose: Purpose,
    begun: Begun,
    progress: Arc<AtomicU64>,
    way: Way,
) -> Result<(Generation, RocksEngine), CopyError> {
    let Begun { generation, arrived, bytes, .. } = begun;
    let draft = Draft { registry: registry.clone(), shard, generation, is_whole: false };
    let engine = RocksEngine::open(registry.store(), shard, generation).ok_or(CopyError::Gone)?;
    progress.store(bytes, Ordering::Relaxed);
    let source = again(&way.go_on, &arrived, Instant::now()).await?;
    let seen = arrived.digest;
    let coming = Coming { engine, source, seen, arrived: Some(arrived), bytes, way: Some(way) };
    complete(draft, coming, purpose, progress).await
}

/// A checkpoint that is on its way.
struct Coming {
    engine: RocksEngine,
    source: Source,
    /// What all entries add up to that have come, …
    seen: Digest,
    /// … the last of them, …
    arrived: Option<Arrived>,
    /// … and their bytes.
    bytes: u64,
    way: Option<Way>,
}

async fn complete(
    mut draft: Draft,
    coming: Coming,
    purpose: Purpose,
    progress: Arc<AtomicU64>,
) -> Result<(Generation, RocksEngine), CopyError> {
    let (engine, sent) = fill(&draft, coming, &purpose, progress).await?;
    // Before it is relied on: read back what was written, and compare.
    let read_back = move || read_back(&engine, &purpose).map(|found| (engine, found));
    let (engine, found) = blocking(read_back).await?;
    if found != sent {
        return Err(CopyError::Differs { sent, found });
    }
    draft.is_whole = true;
    Ok((draft.generation, engine))
}

/// A pair of families that is being filled. Should that fail, or should nobody wait for it any more, it goes again; but not
/// if it is noted: whoever noted it may go on with it, or forgets it.
struct Draft {
    registry: Registry,
    shard: ShardId,
    generation: Generation,
    is_whole: bool,
}

impl Draft {
    fn is_noted(&self) -> bool {
        self.registry.begun(self.shard).is_some_and(|begun| begun.generation == self.generation)
    }

    /// Makes durable what has come, and notes how far that is.
    async fn note(
        &self,
        engine: RocksEngine,
        way: &Way,
        arrived: Arrived,
        bytes: u64,
    ) -> Result<RocksEngine, RocksError> {
        let (registry, shard, generation) = (self.registry.clone(), self.shard, self.generation);
        let Way { me: replica, from, name, at_least: registered, .. } = *way;
        let begun = Begun { replica, registered, from, name, generation, arrived, bytes };
        blocking(move || {
            engine.families().into_iter().try_for_each(Family::flush)?;
            registry.note_copy(shard, begun)?;
            Ok(engine)
        })
        .await
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.is_whole || self.is_noted() {
            return;
        }
        let (store, shard, generation) = (self.registry.store().clone(), self.shard, self.generation);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // What is left of it is dropped when the store is opened next, should this fail too.
            runtime.spawn_blocking(move || RocksEngine::drop_pair(&store, shard, generation));
        }
    }
}

async fn fill(
    draft: &Draft,
    coming: Coming,
    purpose: &Purpose,
    progress: Arc<AtomicU64>,
) -> Result<(RocksEngine, Digest), CopyError> {
    let Coming { mut engine, mut source, mut seen, mut arrived, bytes: mut total, way } = coming;
    // Of all that has come, what is kept. A copy that goes on is one of which everything is.
    let mut kept = seen;
    let (mut pace, mut noted) = (Pace::of(purpose), total);
    let mut moved = Instant::now();
    loop {
        let (rest, piece) = match (next_piece(source, &seen).await, &way, &arrived) {
            (Ok(next), ..) => next,
            (Err(CopyError::Peer(_) | CopyError::Short), Some(way), Some(arrived))
                if moved.elapsed() < GO_ON_MAX =>
            {
                source = again(&way.go_on, arrived, moved).await?;
                continue;
            }
            (Err(error), ..) => return Err(error),
        };
        source = rest;
        match piece {
            Piece::Entries(chunk) => {
                seen.add(&chunk);
                let bytes = bytes_of(&chunk);
                if let Some((key, _)) = chunk.entries.last() {
                    // Of its own: it would keep the whole chunk in memory.
                    let key = bytes::Bytes::copy_from_slice(key);
                    arrived = Some(Arrived { family: chunk.family, key, digest: seen });
                }
                let chunk = wanted(chunk, purpose)?;
                kept.add(&chunk);
                engine = blocking(move || write(&engine, &chunk).map(|()| engine)).await?;
                progress.fetch_add(bytes as u64, Ordering::Relaxed);
                total += bytes as u64;
                if let (Some(way), Some(arrived)) = (&way, &arrived)
                    && total - noted >= way.noted_bytes
                {
                    engine = draft.note(engine, way, arrived.clone(), total).await?;
                    noted = total;
                }
                if let Some(pace) = &mut pace {
                    tokio::time::sleep(pace.rest(bytes)).await;
                    give_way(draft.registry.store(), pace).await;
                }
                moved = Instant::now();
            }
            Piece::CheckpointEnd(sent) if sent != seen => {
                return Err(CopyError::Differs { sent, found: seen });
            }
            Piece::CheckpointEnd(_) => return Ok((engine, kept)),
            Piece::Gone => return Err(CopyError::Gone),
            Piece::Mutations(_) | Piece::IntentEnd(_) => return Err(CopyError::Short),
        }
    }
}

/// Opens a channel on which the copy goes on.
async fn again(go_on: &GoOn, arrived: &Arrived, moved: Instant) -> Result<Source, CopyError> {
    loop {
        tokio::time::sleep(GO_ON_PAUSE).await;
        tracing::info!(entries = arrived.digest.entries, "going on with a copy that broke off");
        match go_on(arrived.clone()).await {
            Err(CopyError::Peer(_)) if moved.elapsed() < GO_ON_MAX => {}
            opened => return opened,
        }
    }
}

async fn next_piece(source: Source, seen: &Digest) -> Result<(Source, Piece), CopyError> {
    match source {
        Source::Here(image) => {
            let (image, chunk) = next_chunk(image).await?;
            let piece = chunk.map_or(Piece::CheckpointEnd(*seen), Piece::Entries);
            Ok((Source::Here(image), piece))
        }
        Source::There(mut receiver, sender) => {
            let message = receiver.receive().await?.ok_or(CopyError::Short)?;
            Ok((Source::There(receiver, sender), Piece::decode(&message)?))
        }
    }
}

async fn next_chunk(mut image: Image) -> Result<(Image, Option<Chunk>), RocksError> {
    blocking(move || {
        let chunk = image.next_chunk()?;
        Ok((image, chunk))
    })
    .await
}

/// Waits a while for compaction that is behind: before it is far enough behind to slow all writes of the node down.
async fn give_way(store: &Store, pace: &Pace) {
    for _ in 0..WAYS_GIVEN_MAX {
        if pace.is_lifted() || !is_behind(store) {
            return;
        }
        tokio::time::sleep(GIVE_WAY).await;
    }
}

/// Waits until compaction has caught up, but not longer than so. A family is dropped under the lock by which all others are
/// found, and behind a record that is synced: on a disk that compaction keeps busy, everybody on the node waits for that.
pub async fn until_quiet(store: &Store, at_most: Duration) {
    let since = Instant::now();
    while !is_quiet(store) && since.elapsed() < at_most {
        tokio::time::sleep(GIVE_WAY).await;
    }
}

/// Whether compaction has caught up.
pub fn is_quiet(store: &Store) -> bool {
    let backlog = store.backlog();
    !backlog.is_stalled && backlog.level0_files < 4 && backlog.compaction_bytes < QUIET_BYTES
}

/// Whether compaction has so much to do that whoever can wait should.
pub fn is_behind(store: &Store) -> bool {
    let backlog = store.backlog();
    backlog.is_stalled || backlog.level0_files >= LEVEL0_FILES_MAX
}

fn bytes_of(chunk: &Chunk) -> usize {
    chunk.entries.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The entries of a chunk that are of use.
fn wanted(mut chunk: Chunk, purpose: &Purpose) -> Result<Chunk, DecodeError> {
    let Purpose::Slots { slots, .. } = purpose else { return Ok(chunk) };
    if chunk.family != VERSIONS {
        chunk.entries.clear();
        return Ok(chunk);
    }
    let entries = std::mem::take(&mut chunk.entries);
    for (key, value) in entries {
        if assize_mvcc::gives(slots, &key, &value)? {
            chunk.entries.push((key, value));
        }
    }
    Ok(chunk)
}

/// Not logged: nothing of the copy counts before all of it has been flushed.
fn write(engine: &RocksEngine, chunk: &Chunk) -> Result<(), CopyError> {
    let family: &Family = engine.families().get(chunk.family).ok_or(CopyError::Short)?;
    let mut batch = family.batch()?;
    for (key, value) in &chunk.entries {
        batch.put(key, value);
    }
    Ok(batch.write(Mode::Buffered)?)
}

fn read_back(engine: &RocksEngine, purpose: &Purpose) -> Result<Digest, RocksError> {
    if matches!(purpose, Purpose::Replica { .. }) {
        for family in engine.families() {
            family.flush()?;
        }
    }
    let (mut digest, mut pace) = (Digest::default(), Pace::of(purpose));
    let mut image = Image::take(engine.families().map(Clone::clone).to_vec())?;
    while let Some(chunk) = image.next_chunk()? {
        digest.add(&chunk);
        if let Some(pace) = &mut pace {
            std::thread::sleep(pace.rest(bytes_of(&chunk)));
        }
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_pace_until_the_log_waits_for_it() {
        let is_lifted = Arc::new(AtomicBool::new(false));
        let throttle = Some(Throttle { bytes_per_second: 1 << 20, is_lifted: is_lifted.clone() });
        let mut pace = Pace::of(&Purpose::Replica { throttle }).unwrap();
        let hour = Duration::from_secs(3600);
        assert!(pace.rest(3600 << 20) > hour - Duration::from_secs(60));
        is_lifted.store(true, Ordering::Relaxed);
        assert_eq!(pace.rest(3600 << 20), Duration::ZERO);
        is_lifted.store(false, Ordering::Relaxed);
        let rest = pace.rest(0);
        assert!(rest <= hour, "what was copied meanwhile is not made up for: {rest:?}");
        assert!(Pace::of(&Purpose::Replica { throttle: None }).is_none());
    }
}
