//! RocksDB: opening, tuning, column families, batches, cursors, checkpoints.
//!
//! ```text
//!   Store ── one per process: one write-ahead log, one block cache, one set of background threads
//!     ├── Family "versions-1"   written Buffered: no log, durable at the next flush
//!     ├── Family "intents-1"    written Logged or Synced
//!     ├── Family "versions-2"
//!     └── …
//! ```
//!
//! One instance serves all shards of a node, each with column families of its own. Prepares on several shards
//! then share one write-ahead log and its sync, memory is one budget, and a node does not run a set of
//! compaction threads per shard. A checkpoint is a directory of hard links: it costs no copy although it names
//! the files of every family, and whoever sends one shard away sends that shard's files only.
//!
//! **Absent on purpose:** no type of the `rocksdb` crate is visible outside; this crate knows nothing of
//! versions, shards or transactions.
//!
//! Where to read next: [`Store::open`], [`Family`], [`Mode`].

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBWithThreadMode, Env, FlushOptions, LogLevel, MultiThreaded,
    Options as DbOptions, ReadOptions, ReadTier, SliceTransform, WriteBatch, WriteOptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod going;
mod image;

pub use image::{Chunk, Image};

/// Families come and go while others read and write, so their table has a lock of its own.
type Db = DBWithThreadMode<MultiThreaded>;

/// Why the store could not do what it was asked to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RocksError {
    /// Another process has it open.
    #[error("data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The disk is full. Nothing of the write is visible.
    #[error("the disk is full: {reason}")]
    Full {
        /// What RocksDB said.
        reason: String,
    },
    /// Stored bytes are not those that were written.
    #[error("stored data is damaged: {reason}")]
    Damaged {
        /// What RocksDB said.
        reason: String,
    },
    /// The file system failed, or RocksDB did.
    #[error("cannot {doing}: {reason}")]
    Failed {
        /// What was asked.
        doing: &'static str,
        /// What RocksDB said.
        reason: String,
    },
}

impl RocksError {
    fn new(doing: &'static str) -> impl Fn(rocksdb::Error) -> RocksError {
        move |error| {
            let damaged = error.kind() == rocksdb::ErrorKind::Corruption;
            let reason = error.into_string();
            // RocksDB hands the system's error over as text only.
            if ["No space left on device", "Disk quota exceeded", "NoSpace", "Max allowed space was reached"]
                .iter()
                .any(|text| reason.contains(text))
            {
                RocksError::Full { reason }
            } else if damaged {
                RocksError::Damaged { reason }
            } else {
                RocksError::Failed { doing, reason }
            }
        }
    }
}

/// Bytes that the disk of a directory has left.
pub fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Where a store lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// In this directory.
    Directory(PathBuf),
    /// In this process, and gone with it.
    Memory,
}

/// How much a store may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bytes of uncompressed blocks held in memory.
    pub cache_bytes: usize,
    /// Bytes of writes held in memory over all families; more of them flush the oldest.
    pub write_buffer_bytes: usize,
    /// Threads that flush and compact.
    pub background_jobs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 256 << 20, write_buffer_bytes: 256 << 20, background_jobs: 2 }
    }
}

/// How the keys of a family are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shape {
    /// Anyhow.
    #[default]
    Plain,
    /// A stem and eight bytes that tell the versions of one thing apart. No stem is the beginning of another key
    /// of the family. Filters know the stems, so that [`Family::first`] of one stem looks only where it may be.
    Versioned,
}

/// Of a machine that does not die.
const UNENDING: u64 = u64::MAX;

fn dead() -> RocksError {
    RocksError::Failed { doing: "write", reason: "a test has let the machine die".into() }
}

/// The family that every store has.
const DEFAULT_FAMILY: &str = "default";

/// Bytes behind a stem.
const VERSION_BYTES: usize = 8;

/// What a finished write has promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Nothing until the next flush of the family.
    Buffered,
    /// In the write-ahead log, but perhaps not on the disk.
    Logged,
    /// On the disk, with everything logged before it.
    Synced,
}

/// How far a store is behind with its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Bytes that have to be rewritten before every level has its size, by RocksDB's own estimate, over all families.
    pub compaction_bytes: u64,
    /// Files in the first level of the family that has most of them.
    pub level0_files: u64,
    /// Whether writes are slowed down or stopped until it has caught up.
    pub is_stalled: bool,
}

/// An open RocksDB.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    shapes: Mutex<BTreeMap<String, Shape>>,
    /// Families that are not compacted.
    resting: Mutex<BTreeSet<String>>,
    /// How many steps to the disk are left before the machine is dead, in tests of that.
    steps_left: AtomicU64,
    cache: Cache,
    options: Options,
    // Lets the files go that the database has removed.
    _going: Option<going::Going>,
    // Lives as long as the database that stores in it.
    _env: Option<Env>,
}

impl Store {
    /// Opens a store with these families and those it already has, of which `shape_of` tells the shape by the name; what
    /// is missing is created.
    pub fn open(
        location: &Location,
        families: &[(String, Shape)],
        shape_of: fn(&str) -> Shape,
        options: &Options,
    ) -> Result<Store, RocksError> {
        Store::open_with_resting(location, families, shape_of, &[], options)
    }

    /// Likewise, and lets these families rest from the beginning: see [`Store::let_rest`].
    pub fn open_with_resting(
        location: &Location,
        families: &[(String, Shape)],
        shape_of: fn(&str) -> Shape,
        resting: &[String],
        options: &Options,
    ) -> Result<Store, RocksError> {
        let env = match location {
            Location::Memory => Some(Env::mem_env().map_err(RocksError::new("make a store in memory"))?),
            Location::Directory(_) => None,
        };
        let path = match location {
            Location::Memory => PathBuf::from("/assize"),
            Location::Directory(path) => {
                std::fs::create_dir_all(path).map_err(|error| RocksError::Failed {
                    doing: "create the data directory",
                    reason: format!("{}: {error}", path.display()),
                })?;
                path.clone()
            }
        };
        let mut db_options = database_options(options);
        if let Some(env) = &env {
            db_options.set_env(env);
        }
        let mut shapes: BTreeMap<String, Shape> = BTreeMap::from([(DEFAULT_FAMILY.to_owned(), Shape::Plain)]);
        if let Location::Directory(path) = location
            && path.join("CURRENT").exists()
        {
            let there = Db::list_cf(&db_options, path).map_err(opening(path))?;
            shapes.extend(there.into_iter().map(|name| {
                let shape = shape_of(&name);
                (name, shape)
            }));
        }
        shapes.extend(families.iter().cloned());
        let cache = Cache::new_lru_cache(options.cache_bytes);
        let descriptors = shapes.iter().map(|(name, shape)| {
            let mut family = family_options(*shape, &cache, options);
            family.set_disable_auto_compactions(resting.contains(name));
            ColumnFamilyDescriptor::new(name, family)
        });
        let db = Db::open_cf_descriptors(&db_options, &path, descriptors).map_err(opening(&path))?;
        let (shapes, options) = (Mutex::new(shapes), options.clone());
        let resting = Mutex::new(resting.iter().cloned().collect());
        let _going = match location {
            Location::Memory => None,
            Location::Directory(path) => Some(going::Going::begin(path)),
        };
        let steps_left = AtomicU64::new(UNENDING);
        let inner = Inner { db, shapes, resting, steps_left, cache, options, _going, _env: env };
        Ok(Store { inner: Arc::new(inner) })
    }

    fn shapes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Shape>> {
        self.inner.shapes.lock().expect("no panic happens under this lock")
    }

    /// For tests: after so many more steps to the disk (flushes, logged writes, families that come and go) the machine is
    /// dead, and whatever would write fails. What lies in the directory then is what a process that is killed leaves.
    pub fn die_after(&self, steps: u64) {
        self.inner.steps_left.store(steps, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_dead(&self) -> bool {
        self.inner.steps_left.load(Ordering::Relaxed) == 0
    }

    /// One more step; an error if the machine is dead.
    fn step(&self) -> Result<(), RocksError> {
        let left = &self.inner.steps_left;
        let fewer = |left| if left == UNENDING { Some(left) } else { u64::checked_sub(left, 1) };
        let counted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        counted.map(drop).map_err(|_| dead())
    }

    fn resting(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.inner.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle to one family; `None` if there is none of that name.
    pub fn family(&self, name: &str) -> Option<Family> {
        self.inner.db.cf_handle(name)?;
        let shape = self.shapes().get(name).copied().unwrap_or_default();
        Some(Family { store: self.clone(), name: name.into(), shape, flushing: Arc::default() })
    }

    /// The families that there are, by name, but for the default one.
    pub fn families(&self) -> Vec<String> {
        self.shapes().keys().filter(|name| *name != DEFAULT_FAMILY).cloned().collect()
    }

    /// The family of the file that a report of damage names; `None` if it names none that there is.
    pub fn family_of_damage(&self, reason: &str) -> Option<String> {
        let files = self.inner.db.live_files().ok()?;
        let named = |name: &str| {
            let name = name.trim_start_matches('/');
            reason.match_indices(name).any(|(at, _)| !reason[..at].ends_with(|c: char| c.is_ascii_digit()))
        };
        files.into_iter().find(|file| named(&file.name)).map(|file| file.column_family_name)
    }

    /// Links the files of a family into a directory, so that they outlive it there: for somebody who wants to look at them.
    pub fn keep_files(&self, family: &str, directory: &Path) -> Result<(), RocksError> {
        let failed = |error: std::io::Error| RocksError::Failed {
            doing: "keep the files of a family",
            reason: format!("{}: {error}", directory.display()),
        };
        let files = self.inner.db.live_files().map_err(RocksError::new("list the files of a family"))?;
        std::fs::create_dir_all(directory).map_err(failed)?;
        for file in files.iter().filter(|file| file.column_family_name == family) {
            let name = file.name.trim_start_matches('/');
            std::fs::hard_link(self.inner.db.path().join(name), directory.join(name)).map_err(failed)?;
        }
        Ok(())
    }

    /// A small family that every store has: what a node must remember beside its shards.
    pub fn default_family(&self) -> Family {
        self.family(DEFAULT_FAMILY).expect("every store has it")
    }

    /// Makes a new, empty family.
    pub fn create_family(&self, name: &str, shape: Shape) -> Result<Family, RocksError> {
        self.step()?;
        let options = family_options(shape, &self.inner.cache, &self.inner.options);
        self.inner.db.create_cf(name, &options).map_err(RocksError::new("create a family"))?;
        self.shapes().insert(name.to_owned(), shape);
        Ok(Family { store: self.clone(), name: name.into(), shape, flushing: Arc::default() })
    }

    /// Drops a family and everything in it, for good. Whoever still reads it with a cursor goes on; new reads and writes
    /// fail. Dropping one that is not there does nothing.
    pub fn drop_family(&self, name: &str) -> Result<(), RocksError> {
        if !self.shapes().contains_key(name) {
            return Ok(());
        }
        self.step()?;
        if self.shapes().remove(name).is_none() {
            return Ok(());
        }
        self.resting().remove(name);
        self.inner.db.drop_cf(name).map_err(RocksError::new("drop a family"))
    }

    /// Compacts a family no more, until the store is opened again: compaction that meets damage ends all writing to the
    /// store. One that has begun goes on. Does nothing to one that is not there.
    pub fn let_rest(&self, name: &str) -> Result<(), RocksError> {
        let Some(handle) = self.inner.db.cf_handle(name) else { return Ok(()) };
        self.resting().insert(name.to_owned());
        let rests = [("disable_auto_compactions", "true")];
        self.inner.db.set_options_cf(&handle, &rests).map_err(RocksError::new("let a family rest"))
    }

    /// Compacts a family again.
    pub fn wake(&self, name: &str) -> Result<(), RocksError> {
        let Some(handle) = self.inner.db.cf_handle(name) else { return Ok(()) };
        self.resting().remove(name);
        let works = [("disable_auto_compactions", "false")];
        self.inner.db.set_options_cf(&handle, &works).map_err(RocksError::new("compact a family again"))
    }

    /// How far it is behind, now. What RocksDB does not tell counts as nothing, nor does what rests.
    pub fn backlog(&self) -> Backlog {
        use rocksdb::properties;
        let db = &self.inner.db;
        let number = |told: Result<Option<u64>, rocksdb::Error>| told.ok().flatten().unwrap_or(0);
        let is_stopped = number(db.property_int_value(properties::IS_WRITE_STOPPED)) != 0;
        let is_slowed = number(db.property_int_value(properties::ACTUAL_DELAYED_WRITE_RATE)) != 0;
        let mut backlog = Backlog { is_stalled: is_stopped || is_slowed, ..Backlog::default() };
        let mut names: Vec<String> = self.shapes().keys().cloned().collect();
        names.retain(|name| !self.resting().contains(name));
        for handle in names.iter().filter_map(|name| db.cf_handle(name)) {
            let pending = properties::ESTIMATE_PENDING_COMPACTION_BYTES;
            backlog.compaction_bytes += number(db.property_int_value_cf(&handle, pending));
            let files = number(db.property_int_value_cf(&handle, properties::num_files_at_level(0)));
            backlog.level0_files = backlog.level0_files.max(files);
        }
        backlog
    }

    /// Makes everything logged so far durable.
    pub fn sync_log(&self) -> Result<(), RocksError> {
        self.inner.db.flush_wal(true).map_err(RocksError::new("sync the log"))
    }
}

fn opening(path: &Path) -> impl Fn(rocksdb::Error) -> RocksError + '_ {
    |error| {
        let text = error.as_ref();
        if text.contains("lock") && (text.contains("LOCK") || text.contains("held by current process")) {
            RocksError::InUse(path.to_owned())
        } else {
            RocksError::new("open the store")(error)
        }
    }
}

fn database_options(options: &Options) -> DbOptions {
    let mut db = DbOptions::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(options.background_jobs.max(2) as i32);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    // Only intents are logged, and a log cannot go before they are flushed.
    db.set_max_total_wal_size(128 << 20);
    db.set_bytes_per_sync(1 << 20);
    db.set_max_open_files(2048);
    // RocksDB's own diary: small, and only what goes wrong.
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(4 << 20);
    db.set_stats_dump_period_sec(0);
    db.set_paranoid_checks(true);
    db
}

fn family_options(shape: Shape, cache: &Cache, options: &Options) -> DbOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_format_version(6);
    let mut family = DbOptions::default();
    if shape == Shape::Versioned {
        // The name is stored with every file: another way to find stems needs another name.
        family.set_prefix_extractor(SliceTransform::create(
            "assize.stem.1",
            |key| &key[..key.len() - VERSION_BYTES],
            Some(|key| key.len() > VERSION_BYTES),
        ));
        family.set_memtable_prefix_bloom_ratio(0.05);
    }
    family.set_block_based_table_factory(&table);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_write_buffer_size((options.write_buffer_bytes / 4).clamp(1 << 20, 64 << 20));
    family.set_max_write_buffer_number(4);
    family
}

/// One column family of a store.
#[derive(Clone)]
pub struct Family {
    store: Store,
    name: Arc<str>,
    shape: Shape,
    flushing: Arc<Mutex<Flushing>>,
}

/// A thread that asks for flushes.
#[derive(Default)]
struct Flushing {
    is_on: bool,
    /// Whether somebody has wanted one that it has not asked for.
    is_wanted: bool,
    /// What went wrong with one.
    failed: Option<RocksError>,
}

impl Family {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store that it belongs to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn db(&self) -> &Db {
        &self.store.inner.db
    }

    fn handle(&self) -> Result<Arc<BoundColumnFamily<'_>>, RocksError> {
        let gone =
            || RocksError::Failed { doing: "use a family", reason: format!("{} was dropped", self.name) };
        self.db().cf_handle(&self.name).ok_or_else(gone)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RocksError> {
        let value = self.db().get_pinned_cf(&self.handle()?, key).map_err(RocksError::new("read"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The value that a key of a family written `Buffered` would have after a crash now.
    pub fn get_persisted(&self, key: &[u8]) -> Result<Option<Bytes>, RocksError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let value = self.db().get_pinned_cf_opt(&self.handle()?, key, &options);
        Ok(value.map_err(RocksError::new("read"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// A cursor over the keys from `lower` (included) to `upper` (excluded), as they are now.
    pub fn cursor(&self, lower: &[u8], upper: &[u8]) -> Result<Cursor<'_>, RocksError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(lower);
        // Without this a cursor might skip files that do not hold the stem of the key it was sent to.
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(upper);
        Ok(Cursor { inner: self.db().raw_iterator_cf_opt(&self.handle()?, options) })
    }

    /// The first entry from `lower` (included) to `upper` (excluded).
    pub fn first(&self, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>, RocksError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(upper);
        if self.shape == Shape::Versioned && is_one_stem(lower, upper) {
            options.set_prefix_same_as_start(true);
        } else {
            options.set_total_order_seek(true);
        }
        let mut cursor = Cursor { inner: self.db().raw_iterator_cf_opt(&self.handle()?, options) };
        cursor.seek(lower)?;
        let copy = |(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(cursor.entry().map(copy))
    }

    /// An empty batch for this family.
    pub fn batch(&self) -> Result<Batch<'_>, RocksError> {
        Ok(Batch { family: self, handle: self.handle()?, inner: WriteBatch::default() })
    }

    /// Makes everything written to this family durable, and waits until it is.
    pub fn flush(&self) -> Result<(), RocksError> {
        self.store.step()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db().flush_cf_opt(&self.handle()?, &options).map_err(RocksError::new("flush"))
    }

    /// Begins to make everything written to this family durable, in the background;
    /// [`Family::get_persisted`] tells when it is. What went wrong with the flush before this one is told now.
    ///
    /// Even when nobody waits for its end, RocksDB does not begin a flush before it would not slow writes down: seconds, if
    /// compaction is behind. So a thread of its own asks for it.
    pub fn begin_flush(&self) -> Result<(), RocksError> {
        {
            let mut flushing = self.flushing();
            if let Some(failed) = flushing.failed.take() {
                return Err(failed);
            }
            flushing.is_wanted = true;
            if std::mem::replace(&mut flushing.is_on, true) {
                return Ok(());
            }
        }
        let family = self.clone();
        let flush = move || while family.flush_if_wanted() {};
        let failed = |error: std::io::Error| {
            self.flushing().is_on = false;
            RocksError::Failed { doing: "flush", reason: error.to_string() }
        };
        std::thread::Builder::new().name("assize-flush".into()).spawn(flush).map(drop).map_err(failed)
    }

    /// Asks for a flush if somebody has wanted one since the last; false: the thread has nothing more to do.
    fn flush_if_wanted(&self) -> bool {
        {
            let mut flushing = self.flushing();
            if !std::mem::take(&mut flushing.is_wanted) {
                flushing.is_on = false;
                return false;
            }
        }
        if let Err(failed) = self.ask_for_flush() {
            self.flushing().failed = Some(failed);
        }
        true
    }

    fn flushing(&self) -> MutexGuard<'_, Flushing> {
        self.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_for_flush(&self) -> Result<(), RocksError> {
        self.store.step()?;
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.db().flush_cf_opt(&self.handle()?, &options).map_err(RocksError::new("flush"))
    }

    /// Bytes of this family that are only in memory.
    pub fn unflushed_bytes(&self) -> u64 {
        let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
        let Ok(handle) = self.handle() else { return 0 };
        self.db().property_int_value_cf(&handle, property).ok().flatten().unwrap_or(0)
    }

    /// Bytes that the keys from `lower` (included) to `upper` (excluded) take up in this family's files, to a block or two for
    /// each file. What is only in memory is not counted.
    pub fn stored_bytes(&self, lower: &[u8], upper: &[u8]) -> Result<u64, RocksError> {
        if lower >= upper {
            return Ok(0);
        }
        let ranges = [rocksdb::Range::new(lower, upper)];
        Ok(self.db().get_approximate_sizes_cf(&self.handle()?, &ranges).iter().sum())
    }

    /// Bytes of this family's files, roughly.
    pub fn file_bytes(&self) -> u64 {
        let property = rocksdb::properties::LIVE_SST_FILES_SIZE;
        let Ok(handle) = self.handle() else { return 0 };
        self.db().property_int_value_cf(&handle, property).ok().flatten().unwrap_or(0)
    }
}

/// Whether all keys from `lower` to `upper` begin with the stem of `lower`.
fn is_one_stem(lower: &[u8], upper: &[u8]) -> bool {
    let Some(len) = lower.len().checked_sub(VERSION_BYTES).filter(|len| *len > 0) else { return false };
    let (stem, last) = (&lower[..len - 1], lower[len - 1]);
    last != u8::MAX && upper.len() == len && upper[..len - 1] == *stem && upper[len - 1] == last + 1
}

/// Writes to one family that become visible together, or not at all.
pub struct Batch<'a> {
    family: &'a Family,
    handle: Arc<BoundColumnFamily<'a>>,
    inner: WriteBatch,
}

impl Batch<'_> {
    /// Gives a key a value.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.inner.put_cf(&self.handle, key, value);
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        self.inner.delete_cf(&self.handle, key);
    }

    /// Removes every key from `start` (included) to `end` (excluded).
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) {
        self.inner.delete_range_cf(&self.handle, start, end);
    }

    /// Writes it.
    pub fn write(self, mode: Mode) -> Result<(), RocksError> {
        match mode {
            Mode::Buffered if self.family.store.is_dead() => return Err(dead()),
            Mode::Buffered => {}
            Mode::Logged | Mode::Synced => self.family.store.step()?,
        }
        let mut options = WriteOptions::default();
        match mode {
            Mode::Buffered => options.disable_wal(true),
            Mode::Logged => {}
            Mode::Synced => options.set_sync(true),
        }
        self.family.db().write_opt(self.inner, &options).map_err(RocksError::new("write"))
    }
}

/// A place in a consistent image of one family.
pub struct Cursor<'a> {
    inner: DBRawIteratorWithThreadMode<'a, Db>,
}

impl Cursor<'_> {
    /// Moves to the first entry at or after `key`.
    pub fn seek(&mut self, key: &[u8]) -> Result<(), RocksError> {
        self.inner.seek(key);
        self.status()
    }

    /// Moves to the last entry at or before `key`.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<(), RocksError> {
        self.inner.seek_for_prev(key);
        self.status()
    }

    /// Moves to the next entry. Does nothing past the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<(), RocksError> {
        if self.inner.valid() {
            self.inner.next();
        }
        self.status()
    }

    /// Moves to the previous entry. Does nothing past the beginning.
    pub fn prev(&mut self) -> Result<(), RocksError> {
        if self.inner.valid() {
            self.inner.prev();
        }
        self.status()
    }

    /// The entry here; `None` past either end.
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.inner.item()
    }

    /// An iterator that ends early because of an error looks like one that is done.
    fn status(&self) -> Result<(), RocksError> {
        if self.inner.valid() { Ok(()) } else { self.inner.status().map_err(RocksError::new("scan")) }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Waits for a real thread.
mod tests {
    use super::*;

    fn open(location: &Location) -> Store {
        let families = [("versions".to_owned(), Shape::Versioned), ("intents".to_owned(), Shape::Plain)];
        let options = Options { cache_bytes: 1 << 20, write_buffer_bytes: 4 << 20, background_jobs: 2 };
        Store::open(location, &families, |_| Shape::Plain, &options).unwrap()
    }

    fn put(family: &Family, key: &str, value: &str, mode: Mode) {
        let mut batch = family.batch().unwrap();
        batch.put(key.as_bytes(), value.as_bytes());
        batch.write(mode).unwrap();
    }

    #[test]
    fn a_backlog_counts_the_files_that_wait_to_be_compacted() {
        let store = open(&Location::Memory);
        assert_eq!(store.backlog(), Backlog::default());
        let family = store.family("versions").unwrap();
        for round in 1..=2 {
            put(&family, "key-00000001", "value", Mode::Buffered);
            family.flush().unwrap();
            let backlog = store.backlog();
            assert_eq!((backlog.level0_files, backlog.is_stalled), (round, false));
        }
    }

    #[test]
    fn a_report_of_damage_names_the_family_and_its_files_can_be_kept() {
        use std::os::unix::fs::FileExt;
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Directory(directory.path().join("rocks"));
        {
            let store = open(&location);
            for name in ["versions", "intents"] {
                let family = store.family(name).unwrap();
                (0..1000).for_each(|n| put(&family, &format!("key-{n:08}"), name, Mode::Buffered));
                family.flush().unwrap();
            }
        }
        let store = open(&location);
        let files = store.inner.db.live_files().unwrap();
        let of = |family: &str| files.iter().find(|f| f.column_family_name == family).unwrap().name.clone();
        let path = directory.path().join("rocks").join(of("intents").trim_start_matches('/'));
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0x5a; 100], 100).unwrap();
        let found = store.family("intents").unwrap().get(b"key-00000001");
        let Err(RocksError::Damaged { reason }) = found else { panic!("{found:?}") };
        assert_eq!(store.family_of_damage(&reason).as_deref(), Some("intents"), "{reason}");
        assert_eq!(store.family_of_damage("in 9999999.sst, somewhere"), None);
        assert_eq!(store.family_of_damage(&format!("1{}", of("versions").trim_start_matches('/'))), None);
        let aside = directory.path().join("aside");
        store.keep_files("intents", &aside).unwrap();
        store.drop_family("intents").unwrap();
        assert_eq!(std::fs::read_dir(&aside).unwrap().count(), 1);
        let whole = store.family("versions").unwrap().get(b"key-00000001").unwrap();
        assert_eq!(whole.as_deref(), Some(&b"versions"[..]));
    }

    /// Flushes a file that overlaps all others of the family.
    fn add_file(family: &Family) -> Result<(), RocksError> {
        let mut batch = family.batch()?;
        (0..1000).for_each(|n| batch.put(format!("key-{n:08}").as_bytes(), family.name().as_bytes()));
        batch.write(Mode::Buffered)?;
        family.flush()
    }

    /// A store with a damaged file in "intents", and one file less than get compacted.
    fn nearly_compacting(directory: &Path) -> Location {
        let location = Location::Directory(directory.join("rocks"));
        let damaged = {
            let store = open(&location);
            let family = store.family("intents").unwrap();
            (0..3).for_each(|_| add_file(&family).unwrap());
            store.inner.db.live_files().unwrap()[0].name.clone()
        };
        let path = directory.join("rocks").join(damaged.trim_start_matches('/'));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100..200].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        location
    }

    #[test]
    fn a_family_that_rests_does_not_take_the_store_down_with_its_damage() {
        let put_everywhere = |store: &Store| {
            let family = store.default_family();
            let mut batch = family.batch()?;
            batch.put(b"k", b"v");
            batch.write(Mode::Synced)
        };
        let open_with_resting = |location: &Location, resting: &[String]| {
            let options = Options { cache_bytes: 1 << 20, write_buffer_bytes: 4 << 20, background_jobs: 2 };
            Store::open_with_resting(location, &[], |_| Shape::Plain, resting, &options).unwrap()
        };
        // What compaction does that meets it.
        let directory = tempfile::tempdir().unwrap();
        let store = open_with_resting(&nearly_compacting(directory.path()), &[]);
        let _ = add_file(&store.family("intents").unwrap());
        let since = std::time::Instant::now();
        while put_everywhere(&store).is_ok() {
            assert!(since.elapsed() < std::time::Duration::from_secs(60), "it was not compacted");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Let rest while it is open, and from the beginning.
        for from_the_beginning in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let resting = if from_the_beginning { vec!["intents".to_owned()] } else { Vec::new() };
            let store = open_with_resting(&nearly_compacting(directory.path()), &resting);
            if !from_the_beginning {
                store.let_rest("intents").unwrap();
                store.let_rest("unheard of").unwrap();
            }
            let (resting, other) = (store.family("intents").unwrap(), store.family("versions").unwrap());
            // Twice as many as stop all writes to a family that compaction cannot keep up with.
            (0..40).for_each(|_| add_file(&resting).unwrap());
            // The other one is compacted as ever.
            (0..8).for_each(|_| add_file(&other).unwrap());
            put_everywhere(&store).unwrap();
            assert!(!store.backlog().is_stalled && store.backlog().level0_files < 10);
            assert!(resting.get(b"key-00000001").is_ok());
            store.drop_family("intents").unwrap();
            put_everywhere(&store).unwrap();
        }
    }

    #[test]
    fn a_cursor_stays_in_its_bounds_and_in_its_image() {
        let store = open(&Location::Memory);
        let family = store.family("versions").unwrap();
        for key in ["a", "b", "c", "d"] {
            put(&family, key, key, Mode::Buffered);
        }
        let mut cursor = family.cursor(b"b", b"d").unwrap();
        let mut batch = family.batch().unwrap();
        batch.delete(b"b");
        batch.put(b"bb", b"new");
        batch.delete_range(b"c", b"z");
        batch.write(Mode::Buffered).unwrap();
        cursor.seek(b"a").unwrap();
        assert_eq!(cursor.entry(), Some((&b"b"[..], &b"b"[..])));
        cursor.next().unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"c");
        cursor.next().unwrap();
        assert_eq!(cursor.entry(), None);
        cursor.seek_back(b"zzz").unwrap();
        assert_eq!(cursor.entry().unwrap().0, b"c");
        cursor.prev().unwrap();
        cursor.prev().unwrap();
        assert_eq!(cursor.entry(), None);
        assert_eq!(family.first(b"b", b"d").unwrap().unwrap().0, "bb");
        assert_eq!(family.first(b"c", b"d").unwrap(), None);
    }

    /// A key of the shape that versions have: an escaped stem with a terminator, and eight bytes.
    fn versioned(stem: &str, version: u64) -> Vec<u8> {
        let mut key = [stem.as_bytes(), &[0, 0]].concat();
        key.extend_from_slice(&version.to_be_bytes());
        key
    }

    #[test]
    fn the_first_of_a_stem_is_found_wherever_it_lies() {
        let store = open(&Location::Memory);
        let family = store.family("versions").unwrap();
        let stems = ["a", "aa", "ab", "b", "ba", "c", "ca", "d"];
        // In four files and in memory, every stem in some of them.
        for layer in 0..5u64 {
            let mut batch = family.batch().unwrap();
            for (n, stem) in stems.iter().enumerate() {
                if (n as u64 + layer).is_multiple_of(3) {
                    batch.put(&versioned(stem, layer * 10), stem.as_bytes());
                }
            }
            batch.put(b"\x01", b"state");
            batch.write(Mode::Buffered).unwrap();
            if layer < 4 {
                family.flush().unwrap();
            }
        }
        let mut found = 0;
        for stem in stems.iter().chain(&["0", "aaa", "bb", "z"]) {
            for from in 0..60 {
                let lower = versioned(stem, from);
                let mut upper = lower[..lower.len() - 8].to_vec();
                *upper.last_mut().unwrap() += 1;
                let mut cursor = family.cursor(&lower, &upper).unwrap();
                cursor.seek(&lower).unwrap();
                let expected = cursor.entry().map(|(key, value)| (key.to_vec(), value.to_vec()));
                let first = family.first(&lower, &upper).unwrap();
                assert_eq!(first.map(|(k, v)| (k.to_vec(), v.to_vec())), expected, "{stem} from {from}");
                found += usize::from(expected.is_some());
                // Bounds that are no stem's are looked at in full.
                let wide = family.first(&lower[..lower.len() - 8], b"zz").unwrap();
                let mut cursor = family.cursor(&lower[..lower.len() - 8], b"zz").unwrap();
                cursor.seek(&lower[..lower.len() - 8]).unwrap();
                assert_eq!(wide.map(|(k, _)| k.to_vec()), cursor.entry().map(|(k, _)| k.to_vec()));
            }
        }
        assert!(found > 100);
        // A scan crosses stems and files.
        let mut cursor = family.cursor(b"a", b"z").unwrap();
        cursor.seek(b"a").unwrap();
        let mut all = 0;
        while cursor.entry().is_some() {
            all += 1;
            cursor.next().unwrap();
        }
        let expected =
            (0..5u64).map(|l| (0..8u64).filter(|n: &u64| (n + l).is_multiple_of(3)).count()).sum::<usize>();
        assert_eq!(all, expected);
    }

    #[test]
    fn persisted_reads_see_only_what_was_flushed() {
        let store = open(&Location::Memory);
        let family = store.family("versions").unwrap();
        put(&family, "k", "1", Mode::Buffered);
        assert_eq!(family.get_persisted(b"k").unwrap(), None);
        family.flush().unwrap();
        put(&family, "k", "2", Mode::Buffered);
        assert_eq!(family.get_persisted(b"k").unwrap().unwrap(), "1");
        assert_eq!(family.get(b"k").unwrap().unwrap(), "2");
    }

    #[test]
    fn what_was_promised_is_there_after_opening_again_and_a_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Directory(directory.path().join("store"));
        {
            let store = open(&location);
            put(&store.family("intents").unwrap(), "i", "synced", Mode::Synced);
            let versions = store.family("versions").unwrap();
            put(&versions, "v", "flushed", Mode::Buffered);
            versions.flush().unwrap();
            let again = Store::open(&location, &[], |_| Shape::Plain, &Options::default());
            assert!(matches!(again, Err(RocksError::InUse(_))), "{:?}", again.err());
        }
        let store = open(&location);
        assert_eq!(store.family("intents").unwrap().get(b"i").unwrap().unwrap(), "synced");
        assert_eq!(store.family("versions").unwrap().get(b"v").unwrap().unwrap(), "flushed");
        assert!(store.family("unheard of").is_none());
    }

    #[test]
    fn families_come_and_go_while_the_store_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Directory(directory.path().join("store"));
        {
            let store = open(&location);
            let made = store.create_family("made", Shape::Plain).unwrap();
            put(&made, "k", "v", Mode::Buffered);
            made.flush().unwrap();
            let gone = store.create_family("gone", Shape::Plain).unwrap();
            put(&gone, "k", "v", Mode::Synced);
            let mut cursor = gone.cursor(b"a", b"z").unwrap();
            store.drop_family("gone").unwrap();
            store.drop_family("gone").unwrap();
            cursor.seek(b"a").unwrap();
            assert_eq!(cursor.entry().unwrap().1, b"v", "who was reading goes on");
            assert!(gone.get(b"k").is_err() && gone.batch().is_err());
        }
        let store = open(&location);
        assert_eq!(store.families(), ["intents", "made", "versions"]);
        assert_eq!(store.family("made").unwrap().get(b"k").unwrap().unwrap(), "v");
        // The same name begins with nothing.
        let again = store.create_family("gone", Shape::Plain).unwrap();
        assert_eq!(again.get(b"k").unwrap(), None);
    }
}
