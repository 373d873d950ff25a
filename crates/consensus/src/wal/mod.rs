//! The replicated log on disk: a segmented write-ahead log with recycled, pre-written segments.
//!
//! ```text
//!   append ─┐                    ┌─ one writer thread ──────────────────────────┐
//!   append ─┼─▶ index (memory) ─▶│ drain queue ▶ write ▶ one fdatasync ▶ call   │──▶ done, done, done
//!   purge  ─┘   readable at once │                                   everybody  │
//!                                └──────────────────────────────────────────────┘
//!                                   ▲ spare segments, pre-written by a second thread,
//!                                     which also removes those of which there are enough
//! ```
//!
//! Promises:
//!
//! - An operation is durable when its `done` is called with `Ok`; operations become durable in the order in
//!   which they were submitted. After a crash the log is what some prefix of them made it, never less than
//!   what was acknowledged.
//! - **A failed sync is never retried.** After any failed write or sync every operation fails for ever, and
//!   the node has to stop: what the disk holds is known only after reading it again.
//! - A torn or lost tail is cut off. Damage *before* a place that was certainly durable (a later record says
//!   that it was) is not cut off: opening fails and names the file and the place.
//! - A full disk is seen ahead of time: [`Wal::headroom`] counts bytes that are already allocated, and callers
//!   refuse work while there is little of it.
//!
//! **Absent on purpose:** the log does not know what is in an entry, nor Raft's terms and votes, which travel in
//! the *meta blob*.

mod format;
mod segments;
#[cfg(test)]
mod tests;

use crate::fs::{File, FileSystem, is_full};
use crate::meter::{Meter, Unmetered};
use bytes::Bytes;
pub use format::META_MAX;
use format::{HEAD, Head, RECORDS};
use segments::{Pace, Segments, Spare, create_spare, remove_surplus};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Why the log cannot do what it is asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The file system failed. The node has to stop.
    #[error("cannot {what} {file}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        file: String,
        /// What the file system said.
        source: Arc<io::Error>,
    },
    /// What was durable is damaged. The node must not start.
    #[error("the log is damaged in {file} at byte {offset}: {why}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A segment that should be there is not. The node must not start.
    #[error("the log is damaged: entries from {first} to {known} are in no segment")]
    MissingSegment {
        /// First entry that should be there.
        first: u64,
        /// First entry that is.
        known: u64,
    },
    /// The log was written by a later version.
    #[error("{file} was written by a later version of the log format")]
    Version {
        /// Which file.
        file: String,
    },
    /// These entries are not in the log (any more, or yet).
    #[error("entry {0} is not in the log")]
    NoSuchEntry(u64),
    /// An entry larger than a record can be.
    #[error("an entry of {0} bytes is too large for the log")]
    TooLarge(usize),
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

impl WalError {
    fn io<'a>(what: &'static str, file: &'a str) -> impl Fn(io::Error) -> WalError + 'a {
        move |error| WalError::Io { what, file: file.to_owned(), source: Arc::new(error) }
    }

    fn corrupt(file: &str, offset: u64, why: &'static str) -> WalError {
        WalError::Corrupt { file: file.to_owned(), offset, why }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, WalError::Io { source, .. } if is_full(source))
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        match &error {
            WalError::Io { source, .. } => io::Error::new(source.kind(), error),
            WalError::Corrupt { .. } | WalError::MissingSegment { .. } | WalError::Version { .. } => {
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
            WalError::NoSuchEntry(_) => io::Error::new(io::ErrorKind::NotFound, error),
            WalError::TooLarge(_) => io::Error::new(io::ErrorKind::InvalidInput, error),
            WalError::Closed => io::Error::new(io::ErrorKind::BrokenPipe, error),
        }
    }
}

/// Sizes of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment.
    pub segment_size: u64,
    /// Bytes of durable entries that are kept in memory for readers that are close behind.
    pub cache_max: u64,
    /// No segment is created ahead of time if less than this would be left of the disk: others need space
    /// too, and it is better to refuse work than to let them fail.
    pub reserve: u64,
    /// The sequence number with which a log begins. Where clients that are not trusted have their bytes in the log, nobody may
    /// be able to foresee it: bytes which say that they are the next record are one, if they lie where it belongs.
    pub first_lsn: u64,
    /// Who is told how long the disk takes.
    pub meter: Arc<dyn Meter>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_size: 16 << 20,
            cache_max: 64 << 20,
            reserve: 0,
            first_lsn: 1,
            meter: Arc::new(Unmetered),
        }
    }
}

/// Called once an operation is durable or has failed.
pub type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// What an entry is: a short head and a body, which lie behind each other on disk. A body that is shared with others need not
/// be copied to get a head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Payload {
    head: [u8; Payload::HEAD_MAX],
    head_len: u8,
    body: Bytes,
}

impl Payload {
    /// Bytes of the longest head.
    pub const HEAD_MAX: usize = 23;

    /// An entry of a head and a body.
    ///
    /// # Panics
    /// If the head is too long.
    pub fn new(head: &[u8], body: Bytes) -> Payload {
        let mut payload = Payload { body, ..Payload::default() };
        payload.head[..head.len()].copy_from_slice(head);
        payload.head_len = head.len() as u8;
        payload
    }

    /// Head and body. Of an entry that was read from the disk all is body.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head[..self.head_len.into()], &self.body]
    }

    /// The body, to share.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes of both.
    pub fn size(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }
}

impl From<Bytes> for Payload {
    fn from(body: Bytes) -> Payload {
        Payload::new(&[], body)
    }
}

/// What can be done to a log.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { index: u64, payload: Payload },
    Truncate { from: u64 },
    Purge { below: u64, meta: Bytes },
    Meta { meta: Bytes },
}

impl Op {
    fn size(&self) -> usize {
        match self {
            Op::Append { payload, .. } => payload.size(),
            Op::Purge { meta, .. } | Op::Meta { meta } => meta.len(),
            Op::Truncate { .. } => 0,
        }
    }
}

/// Where an entry lies.
#[derive(Clone)]
pub(crate) struct Location {
    file: Arc<dyn File>,
    generation: u64,
    offset: u64,
    len: usize,
}

impl Location {
    fn read(&self, index: u64) -> Result<Bytes, WalError> {
        let mut record = vec![0; HEAD + self.len];
        self.file.read_at(self.offset, &mut record).map_err(WalError::io("read", "a segment"))?;
        match Head::decode(&record) {
            Some((head, _)) if head.index == index && head.generation == self.generation => {
                Ok(Bytes::from(record).slice(HEAD..))
            }
            // Either the disk decays, or the segment was recycled because the entry had been purged meanwhile.
            _ => Err(WalError::NoSuchEntry(index)),
        }
    }
}

/// A handle to an open log. Dropping it writes what is queued and ends its threads.
pub struct Wal {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Work>>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    log: Mutex<Log>,
    headroom: AtomicU64,
    failure: OnceLock<WalError>,
    cache_max: u64,
}

/// The log as readers see it: what was submitted, durable or not.
struct Log {
    first_index: u64,
    entries: VecDeque<Slot>,
    meta: Bytes,
    /// Meta that may be lost, and is written along with whatever is written next.
    lazy_meta: Option<Bytes>,
    /// Distinguishes an entry from one that took its index after a truncation.
    next_serial: u64,
    /// Bytes of payloads held in memory.
    cached: u64,
    /// Slots before this position hold no payload.
    evicted: usize,
}

struct Slot {
    serial: u64,
    payload: Option<Payload>,
    location: Option<Location>,
}

enum Work {
    Ops { ops: Vec<Op>, serials: Vec<u64>, done: Option<Done> },
    Spare(Spare),
    Close,
}

/// A group commit that takes longer is told in words, to those who ask for them: what was it that it waited for?
const LONG: Duration = Duration::from_millis(30);
/// How much one group commit takes from the queue.
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Spare segments that are kept ahead of a busy log.
const AHEAD_MAX: usize = 4;
/// The allocator tries again this long after the disk was full.
const ALLOCATE_AGAIN: Duration = Duration::from_millis(500);
/// And at most so long if the disk does not say that it is full (a quota): every try writes, in vain, all that there is room for.
const ALLOCATE_AGAIN_MAX: Duration = Duration::from_secs(8);

impl Wal {
    /// Opens the log in this directory, or begins one. The directory may hold other files whose names do not
    /// begin with `segment-`.
    pub fn open(fs: Arc<dyn FileSystem>, options: &Options) -> Result<Wal, WalError> {
        let (segments, recovered) = Segments::open(fs.clone(), options.segment_size, options.first_lsn)?;
        let cached = recovered.entries.iter().map(|(payload, _)| payload.len() as u64).sum();
        let entries = recovered.entries.into_iter().enumerate().map(|(n, (payload, location))| Slot {
            serial: n as u64,
            payload: Some(payload.into()),
            location: Some(location),
        });
        let entries: VecDeque<Slot> = entries.collect();
        let log = Log {
            first_index: recovered.first_index,
            next_serial: entries.len() as u64,
            entries,
            meta: recovered.meta,
            lazy_meta: None,
            cached,
            evicted: 0,
        };
        let shared = Arc::new(Shared {
            log: Mutex::new(log),
            headroom: AtomicU64::new(segments.headroom()),
            failure: OnceLock::new(),
            cache_max: options.cache_max,
        });
        let (queue, work) = mpsc::channel();
        let (errands, to_do) = mpsc::channel();
        let (segment_size, reserve) = (options.segment_size, options.reserve);
        let queue_for_spares = queue.clone();
        let failed_to_spawn = WalError::io("start a thread for", "the log");
        let writer = {
            let (shared, meter) = (shared.clone(), options.meter.clone());
            thread::Builder::new()
                .name("wal-writer".into())
                .spawn(move || Writer { segments, shared, meter, errands, asked: false, ahead: 1 }.run(&work))
                .map_err(&failed_to_spawn)?
        };
        let allocator = thread::Builder::new()
            .name("wal-allocator".into())
            .spawn(move || {
                Allocator { fs, segment_size, reserve, errands: to_do, queue: queue_for_spares }.run();
            })
            .map_err(&failed_to_spawn)?;
        Ok(Wal { shared, queue: Some(queue), threads: vec![writer, allocator] })
    }

    /// First index that was not purged.
    pub fn first_index(&self) -> u64 {
        self.shared.lock().first_index
    }

    /// Index of the entry that will be appended next.
    pub fn next_index(&self) -> u64 {
        self.shared.lock().next_index()
    }

    /// The meta blob.
    pub fn meta(&self) -> Bytes {
        let log = self.shared.lock();
        log.lazy_meta.clone().unwrap_or_else(|| log.meta.clone())
    }

    /// Bytes that can be written without asking the file system for space.
    pub fn headroom(&self) -> u64 {
        self.shared.headroom.load(Ordering::Relaxed)
    }

    /// What ended the log, if something did.
    pub fn failure(&self) -> Option<WalError> {
        self.shared.failure.get().cloned()
    }

    /// Appends entries; the first gets `index`, which must be [`Wal::next_index`]. They can be read as soon as
    /// this returns, and are durable when `done` is called.
    pub fn append(&self, index: u64, payloads: Vec<Payload>, done: Done) -> Result<(), WalError> {
        if let Some(large) = payloads.iter().find(|payload| payload.size() > (1 << 30)) {
            return Err(WalError::TooLarge(large.size()));
        }
        let mut log = self.shared.lock();
        assert_eq!(index, log.next_index(), "entries are appended without a gap");
        let mut ops = Vec::with_capacity(payloads.len());
        let mut serials = Vec::with_capacity(payloads.len());
        for (n, payload) in payloads.into_iter().enumerate() {
            let serial = log.next_serial;
            log.next_serial += 1;
            log.cached += payload.size() as u64;
            log.entries.push_back(Slot { serial, payload: Some(payload.clone()), location: None });
            serials.push(serial);
            ops.push(Op::Append { index: index + n as u64, payload });
        }
        self.submit(ops, serials, Some(done))
    }

    /// Removes all entries from this index on. Later operations follow it; nobody needs to wait for it.
    pub fn truncate(&self, from: u64) -> Result<(), WalError> {
        let mut log = self.shared.lock();
        assert!(from >= log.first_index, "purged entries cannot be truncated");
        while log.next_index() > from {
            let slot = log.entries.pop_back().expect("the log is longer than that");
            log.cached -= slot.payload.map_or(0, |payload| payload.size() as u64);
        }
        log.evicted = log.evicted.min(log.entries.len());
        self.submit(vec![Op::Truncate { from }], Vec::new(), None)
    }

    /// Removes all entries below this index, which may lie beyond the end, and replaces the meta blob.
    pub fn purge(&self, below: u64, meta: Bytes, done: Done) -> Result<(), WalError> {
        assert!(meta.len() <= META_MAX);
        let mut log = self.shared.lock();
        while log.first_index < below {
            match log.entries.pop_front() {
                Some(slot) => {
                    log.cached -= slot.payload.map_or(0, |payload| payload.size() as u64);
                    log.evicted = log.evicted.saturating_sub(1);
                    log.first_index += 1;
                }
                None => log.first_index = below,
            }
        }
        log.meta = meta.clone();
        log.lazy_meta = None;
        self.submit(vec![Op::Purge { below, meta }], Vec::new(), Some(done))
    }

    /// Replaces the meta blob.
    pub fn set_meta(&self, meta: Bytes, done: Done) -> Result<(), WalError> {
        assert!(meta.len() <= META_MAX);
        let mut log = self.shared.lock();
        log.meta = meta.clone();
        log.lazy_meta = None;
        self.submit(vec![Op::Meta { meta }], Vec::new(), Some(done))
    }

    /// Replaces the meta blob, whenever something else is written next. It may be lost in a crash until then.
    pub fn set_meta_lazily(&self, meta: Bytes) {
        assert!(meta.len() <= META_MAX);
        self.shared.lock().lazy_meta = Some(meta);
    }

    /// Reads entries. Stops early, but not before the first, once `bytes_max` is passed.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Payload>, WalError> {
        enum Source {
            Memory(Payload),
            Disk(Location),
        }
        let mut sources = Vec::new();
        {
            let log = self.shared.lock();
            for index in range.clone() {
                let slot = index
                    .checked_sub(log.first_index)
                    .and_then(|at| log.entries.get(at as usize))
                    .ok_or(WalError::NoSuchEntry(index))?;
                sources.push(match (&slot.payload, &slot.location) {
                    (Some(payload), _) => Source::Memory(payload.clone()),
                    (None, Some(location)) => Source::Disk(location.clone()),
                    (None, None) => unreachable!("only durable entries leave the memory"),
                });
            }
        }
        // The disk is read without the lock, so that a slow reader does not hold up commits.
        let mut entries = Vec::with_capacity(sources.len());
        let mut total = 0;
        for (index, source) in range.zip(sources) {
            let entry = match source {
                Source::Memory(entry) => entry,
                Source::Disk(location) => location.read(index)?.into(),
            };
            total += entry.size();
            entries.push(entry);
            if total > bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    /// Queues operations. Called with the log locked, so that the queue's order is the log's order.
    fn submit(&self, ops: Vec<Op>, serials: Vec<u64>, done: Option<Done>) -> Result<(), WalError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let queue = self.queue.as_ref().ok_or(WalError::Closed)?;
        queue.send(Work::Ops { ops, serials, done }).map_err(|_| WalError::Closed)
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            // The allocator holds a sender too, so the writer has to be told.
            let _ = queue.send(Work::Close);
        }
        for thread in self.threads.drain(..) {
            // A panic in a thread of the log has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("a panic under the log's lock ends the node")
    }
}

impl Log {
    fn next_index(&self) -> u64 {
        self.first_index + self.entries.len() as u64
    }

    /// Forgets payloads of durable entries, oldest first, while there are too many.
    fn evict(&mut self, cache_max: u64) {
        while self.cached > cache_max {
            match self.entries.get_mut(self.evicted) {
                Some(slot) if slot.location.is_some() => {
                    self.cached -= slot.payload.take().map_or(0, |payload| payload.size() as u64);
                    self.evicted += 1;
                }
                _ => return,
            }
        }
    }
}

/// The thread that alone touches the disk for writing.
struct Writer {
    segments: Segments,
    shared: Arc<Shared>,
    meter: Arc<dyn Meter>,
    /// What the allocator shall do.
    errands: mpsc::Sender<Errand>,
    /// Whether it was asked for a spare segment and has not answered yet.
    asked: bool,
    /// How many spares are kept ahead: more once there was none when one was needed.
    ahead: usize,
}

impl Writer {
    fn run(mut self, work: &mpsc::Receiver<Work>) {
        self.send_errands();
        let mut closing = false;
        while !closing && let Ok(first) = work.recv() {
            let mut ops = Vec::new();
            let mut groups = Vec::new();
            let mut size = 0;
            let mut next = Some(first);
            while let Some(work_item) = next {
                match work_item {
                    Work::Spare(spare) => {
                        self.asked = false;
                        self.segments.add_spare(spare);
                    }
                    Work::Close => closing = true,
                    Work::Ops { ops: more, serials, done } => {
                        size += more.iter().map(Op::size).sum::<usize>();
                        ops.extend(more);
                        groups.push((serials, done));
                    }
                }
                next = if size < BATCH_BYTES_MAX { work.try_recv().ok() } else { None };
            }
            self.commit(ops, groups);
            self.send_errands();
            self.shared.headroom.store(self.segments.headroom(), Ordering::Relaxed);
        }
    }

    /// One group commit.
    fn commit(&mut self, mut ops: Vec<Op>, groups: Vec<(Vec<u64>, Option<Done>)>) {
        if ops.is_empty() {
            return;
        }
        {
            let mut log = self.shared.lock();
            if let Some(meta) = log.lazy_meta.take() {
                log.meta = meta.clone();
                ops.push(Op::Meta { meta });
            }
        }
        let result = match self.shared.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => {
                let began = Instant::now();
                let written = self.segments.write(&ops);
                let took = began.elapsed();
                self.meter.log_synced(took);
                let waits = self.segments.take_waits();
                if took >= LONG {
                    tracing::debug!(?took, ?waits, operations = ops.len(), "the log was long at the disk");
                }
                written
            }
        };
        if self.segments.was_short() {
            self.ahead = AHEAD_MAX;
        }
        // Before anybody is told: whoever is answered may ask next whether there is room for more.
        self.shared.headroom.store(self.segments.headroom(), Ordering::Relaxed);
        let result = match result {
            Ok(locations) => {
                self.publish(&ops, locations, groups.iter().flat_map(|(serials, _)| serials));
                Ok(())
            }
            Err(error) => {
                // What of the batch reached the disk is unknown now; nothing may follow it.
                let _ = self.shared.failure.set(error.clone());
                Err(error)
            }
        };
        for done in groups.into_iter().filter_map(|(_, done)| done) {
            done(result.clone());
        }
    }

    /// Tells readers where the entries lie.
    fn publish<'a>(
        &self,
        ops: &[Op],
        locations: Vec<Option<Location>>,
        mut serials: impl Iterator<Item = &'a u64>,
    ) {
        let mut log = self.shared.lock();
        for (op, location) in ops.iter().zip(locations) {
            let Op::Append { index, .. } = op else { continue };
            let serial = serials.next().expect("every append has a serial");
            let first_index = log.first_index;
            // The entry may have been purged or truncated since.
            let slot = index.checked_sub(first_index).and_then(|at| log.entries.get_mut(at as usize));
            if let Some(slot) = slot
                && slot.serial == *serial
            {
                slot.location = location;
            }
        }
        log.evict(self.shared.cache_max);
    }

    /// Keeps spare segments ahead, so that a commit never waits for the creation of one, and has those removed that are too
    /// many.
    fn send_errands(&mut self) {
        // The allocator lives as long as the writer; without it there is nobody to do it.
        let surplus = self.segments.take_surplus();
        if !surplus.is_empty() {
            let _ = self.errands.send(Errand::Remove(surplus));
        }
        if self.segments.spares() < self.ahead && !self.asked {
            let number = self.segments.draw_file_number();
            let pace = if self.segments.spares() < self.ahead / 2 { Pace::Hurried } else { Pace::Easy };
            self.asked = self.errands.send(Errand::Create(number, pace)).is_ok();
        }
    }
}

/// What takes the writer too long.
enum Errand {
    /// A spare segment whose file has this number. Nobody asks for a second one before it is there.
    Create(u64, Pace),
    /// Files that nobody needs.
    Remove(Vec<Spare>),
}

/// The thread that creates spare segments and removes those of which there are enough.
struct Allocator {
    fs: Arc<dyn FileSystem>,
    segment_size: u64,
    reserve: u64,
    errands: mpsc::Receiver<Errand>,
    queue: mpsc::Sender<Work>,
}

impl Allocator {
    /// Runs until the writer is gone.
    fn run(self) {
        debug_assert!(self.segment_size > RECORDS);
        while let Ok(errand) = self.errands.recv() {
            match errand {
                Errand::Remove(surplus) => remove_surplus(&*self.fs, surplus),
                Errand::Create(number, pace) => self.create(number, pace),
            }
        }
    }

    /// Creates a spare segment, and keeps trying while the disk is full, until the writer is gone.
    fn create(&self, number: u64, pace: Pace) {
        let mut pause = ALLOCATE_AGAIN;
        loop {
            // A disk that does not say how much it has left is not taken for a full one.
            let needed = self.segment_size.saturating_add(self.reserve);
            let is_scarce = self.fs.free().is_ok_and(|free| free < needed);
            match (!is_scarce).then(|| create_spare(&*self.fs, number, self.segment_size, pace)) {
                Some(Ok(spare)) => {
                    // Nobody takes it from a log that is being closed; the next start finds the file.
                    let _ = self.queue.send(Work::Spare(spare));
                    return;
                }
                // Headroom tells callers that the log is about to be full; here we only wait for space.
                failed => {
                    match self.errands.recv_timeout(pause) {
                        // That makes room.
                        Ok(Errand::Remove(surplus)) => remove_surplus(&*self.fs, surplus),
                        Ok(Errand::Create(..)) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                    pause = if failed.is_some() { pause * 2 } else { ALLOCATE_AGAIN }.min(ALLOCATE_AGAIN_MAX);
                }
            }
        }
    }
}
