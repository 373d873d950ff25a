//! What all sessions of a frontend share.

use crate::activity::Activity;
use crate::chronicle::{Ago, Chronicle};
use crate::conflicts::ConflictLog;
use crate::foreign_recovery::ForeignBranches;
use crate::jobs::JobLog;
use crate::named_locks::NamedLocks;
use crate::rules::Rule;
use crate::shedding::Shedding;
use assize_catalog::Catalog;
use assize_model::{
    CatalogVersion, DeadlineClass, Epoch, FOOTPRINT_BYTES_MAX, FrontendEpoch, Key, KeyHash, Placement,
    SchemaVersion, ShardId, SqlError, TableId, Timestamp, TxnId,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, Clock, ForeignServers, IdRange, NoForeignServers,
    QueryEngine, Registered, ServerView, Shard, ShardDirectory, ShardError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds of what one session may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Encoded writes up to which a commit rides in the log entry; 0 prepares every commit.
    pub inline_bytes_max: usize,
    /// Bytes of writes that one transaction may buffer.
    pub transaction_bytes_max: usize,
    /// Bytes of one transaction's footprint. What is larger than [`FOOTPRINT_BYTES_MAX`] no adjudicator takes.
    pub footprint_bytes_max: usize,
    /// Bytes that one statement may hold for sorting, grouping, joining and materialising.
    pub statement_bytes_max: usize,
    /// Bytes of writes from which a transaction gets the bulk deadline.
    pub bulk_bytes_min: usize,
    /// How often an autocommit statement that lost a conflict is run again.
    pub retries_max: u32,
    /// Bytes that the temporary tables of one session may hold.
    pub temporary_bytes_max: usize,
    /// Key ranges a footprint may hold before they are widened into one per table.
    pub ranges_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            inline_bytes_max: 16 << 10,
            transaction_bytes_max: 1 << 30,
            footprint_bytes_max: FOOTPRINT_BYTES_MAX,
            statement_bytes_max: 1 << 30,
            bulk_bytes_min: 4 << 20,
            retries_max: 20,
            temporary_bytes_max: 256 << 20,
            ranges_max: 256,
        }
    }
}

/// What all sessions of a frontend share.
pub struct Services {
    /// Decides.
    pub adjudicator: Arc<dyn AdjudicatorClient>,
    /// Every shard that a placement can name.
    pub shards: Arc<dyn ShardDirectory>,
    /// Plans and runs statements.
    pub query: Arc<dyn QueryEngine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Other connections, status.
    pub server: Arc<dyn ServerView>,
    /// The way to servers outside of the cluster. There is none unless it is given one.
    pub foreign: Arc<dyn ForeignServers>,
    /// Who this frontend is. Its life may be another one since: see [`Services::epoch`].
    pub identity: Registered,
    /// Bounds.
    pub limits: Limits,
    /// Live snapshots, for the low-water mark.
    pub snapshots: Arc<Snapshots>,
    /// Every abort, kept for a while.
    pub conflicts: Arc<ConflictLog>,
    /// The long work of its statements.
    pub jobs: Arc<JobLog>,
    /// What sessions hold by GET_LOCK.
    pub(crate) named_locks: NamedLocks,
    /// Branches on foreign servers that are, or have been, in doubt.
    pub(crate) foreign_branches: ForeignBranches,
    /// Bytes that the temporary tables of all sessions hold.
    pub temporary_bytes: Arc<AtomicUsize>,
    /// Whether new transactions may write.
    pub shedding: Shedding,
    /// What the coordinators of commits are told.
    pub coordinator: assize_coordinator::Options,
    /// Rules that transactions ignore. Only negative controls name any.
    pub disabled_rules: BTreeSet<Rule>,
    nobody: Arc<Activity>,
    /// The life that it lives.
    epoch: AtomicU32,
    /// Whether that has been heard to be over.
    is_fenced: AtomicBool,
    sequence: AtomicU64,
    placement: Mutex<Arc<Placement>>,
    catalogs: Mutex<Catalogs>,
    time: Mutex<TimeBase>,
    chronicle: Mutex<Chronicle>,
    tracked: Mutex<BTreeSet<TableId>>,
    ids: Mutex<BTreeMap<TableId, IdBlock>>,
}

/// The newest catalog and those that running transactions still plan with.
#[derive(Default)]
struct Catalogs {
    by_version: BTreeMap<CatalogVersion, Arc<Catalog>>,
}

/// Catalog versions that are kept besides the newest one.
const CATALOGS_KEPT: usize = 32;

/// The adjudicator's time as last heard, and when that was by our monotonic clock.
#[derive(Clone, Copy, Default)]
struct TimeBase {
    heard: Timestamp,
    at_micros: u64,
}

/// AUTO_INCREMENT values that were taken from the adjudicator and not yet given out.
#[derive(Clone, Copy)]
struct IdBlock {
    /// The definition of the table that was known then: ALTER TABLE may have set the counter since.
    version: SchemaVersion,
    next: u64,
    left: u64,
    increment: u64,
    offset: u64,
    /// How many values the next request takes beyond what it needs.
    ahead: u64,
}

/// Most AUTO_INCREMENT values taken ahead of need.
const IDS_AHEAD_MAX: u64 = 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    /// Everything a frontend's sessions share. `placement` is the adjudicator's at start.
    #[allow(clippy::too_many_arguments)] // One argument per port; a builder would say the same in more words.
    pub fn new(
        adjudicator: Arc<dyn AdjudicatorClient>,
        shards: Arc<dyn ShardDirectory>,
        query: Arc<dyn QueryEngine>,
        clock: Arc<dyn Clock>,
        server: Arc<dyn ServerView>,
        identity: Registered,
        placement: Arc<Placement>,
        limits: Limits,
    ) -> Self {
        let epoch = identity.epoch;
        let conflicts = Arc::new(ConflictLog::new(identity.frontend, epoch));
        let jobs = Arc::new(JobLog::new(clock.clone()));
        Services {
            adjudicator,
            shards,
            query,
            clock,
            server,
            foreign: Arc::new(NoForeignServers),
            identity,
            limits,
            snapshots: Arc::default(),
            conflicts,
            jobs,
            named_locks: NamedLocks::default(),
            foreign_branches: ForeignBranches::default(),
            temporary_bytes: Arc::default(),
            shedding: Shedding::default(),
            coordinator: assize_coordinator::Options::default(),
            disabled_rules: BTreeSet::new(),
            nobody: Arc::new(Activity::new(0, "".into())),
            epoch: AtomicU32::new(epoch.0),
            is_fenced: AtomicBool::new(false),
            sequence: AtomicU64::new(1),
            placement: Mutex::new(placement),
            catalogs: Mutex::default(),
            time: Mutex::default(),
            chronicle: Mutex::default(),
            tracked: Mutex::default(),
            ids: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.disabled_rules.is_empty() || !self.disabled_rules.contains(&rule)
    }

    /// Whose the transactions are that no session has begun.
    pub(crate) fn nobody(&self) -> Arc<Activity> {
        self.nobody.clone()
    }

    /// A new transaction id that begins now, by the adjudicator's time plus what has elapsed since.
    pub fn next_txn_id(&self, class: DeadlineClass) -> TxnId {
        self.next_txn_id_in(self.epoch(), class)
    }

    /// Likewise, of this life: if it is over, nothing commits under the id.
    pub(crate) fn next_txn_id_in(&self, life: FrontendEpoch, class: DeadlineClass) -> TxnId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        TxnId::new(self.now(), class, self.identity.frontend, life, sequence)
    }

    /// The life that this frontend lives.
    pub fn epoch(&self) -> FrontendEpoch {
        FrontendEpoch(self.epoch.load(Ordering::Acquire))
    }

    /// Whether its life is over, because it had been silent for too long: nothing commits until it begins another one.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }

    /// A commit was refused because the life of its id is over.
    pub(crate) fn heard_of_fence(&self, txn: TxnId) {
        if txn.frontend_epoch() == self.epoch() {
            self.is_fenced.store(true, Ordering::Release);
        }
    }

    /// Asks which life the log has this frontend live. A frontend that only reads would not hear otherwise that its own is
    /// over, and nobody would keep its snapshots from garbage collection.
    pub async fn ask_for_life(&self) -> Result<(), AdjudicatorError> {
        let current = self.adjudicator.frontend_epoch(self.identity.frontend).await?;
        if current > self.epoch() {
            self.is_fenced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Begins another life, which the log has granted. Numbers of transactions go on. What has begun in the life before goes
    /// on, too, as far as its snapshot can still be read: while nobody reported it, the low-water mark may have passed it, and
    /// then shards and adjudicator refuse it.
    ///
    /// Answers which connections have lost named locks: they are to be closed, so that their clients hear of it. What they
    /// commit until then is refused.
    pub fn begin_life(&self, epoch: FrontendEpoch) -> Vec<u32> {
        self.epoch.store(epoch.0, Ordering::Release);
        let lost = self.named_locks.lose();
        self.is_fenced.store(false, Ordering::Release);
        lost
    }

    /// The adjudicator's time, as far as this frontend can know it without asking.
    pub fn now(&self) -> Timestamp {
        let base = *lock(&self.time);
        let elapsed = self.clock.monotonic_micros().saturating_sub(base.at_micros);
        base.heard.later(std::time::Duration::from_micros(elapsed))
    }

    /// The keyed hash by which the adjudicator knows a key.
    pub fn hash(&self, key: &Key) -> KeyHash {
        key.hash(self.identity.hash_seed)
    }

    /// A snapshot that sees everything acknowledged so far, kept from garbage collection while the guard lives.
    pub async fn begin(&self) -> Result<(Begun, SnapshotGuard), SqlError> {
        let mut guard = Snapshots::enter_pending(&self.snapshots);
        let asked = self.clock.monotonic_micros();
        if !self.keeps(Rule::HoldPendingBegins) {
            guard.settle(Timestamp::MAX);
        }
        let begun = self.adjudicator.begin().await.map_err(adjudicator_error)?;
        self.heard(begun.snapshot_ts, asked);
        guard.settle(if self.keeps(Rule::HoldSnapshots) { begun.snapshot_ts } else { Timestamp::MAX });
        Ok((begun, guard))
    }

    /// How long ago the adjudicator decided something with this timestamp, which was not before this moment of our monotonic
    /// clock.
    pub(crate) fn ago(&self, ts: Timestamp, not_before_micros: u64) -> Ago {
        lock(&self.chronicle).ago(ts, not_before_micros, self.clock.monotonic_micros())
    }

    /// Notes a timestamp that came from the adjudicator, which was asked at this moment of our monotonic clock.
    pub(crate) fn heard(&self, ts: Timestamp, asked_micros: u64) {
        let at_micros = self.clock.monotonic_micros();
        lock(&self.chronicle).note(ts, asked_micros, at_micros);
        let mut time = lock(&self.time);
        if ts > time.heard {
            *time = TimeBase { heard: ts, at_micros };
        }
    }

    /// The placement by which this frontend routes.
    pub fn placement(&self) -> Arc<Placement> {
        lock(&self.placement).clone()
    }

    /// Asks for the newest placement, after a shard has said that ours is old.
    pub async fn refresh_placement(&self) -> Result<Arc<Placement>, SqlError> {
        let newest = self.adjudicator.placement().await.map_err(adjudicator_error)?;
        self.shards.learn(&newest);
        let mut held = lock(&self.placement);
        if newest.epoch > held.epoch {
            *held = newest;
        }
        Ok(held.clone())
    }

    /// A shard by id, and the epoch by which we route to it.
    pub fn shard(&self, placement: &Placement, id: ShardId) -> Result<(Arc<dyn Shard>, Epoch), ShardError> {
        let epoch = placement.shard_epoch(id);
        match (self.shards.shard(id), epoch) {
            (Some(shard), Some(epoch)) => Ok((shard, epoch)),
            _ => Err(ShardError::Unreachable(id, "this frontend knows no way to it".to_owned())),
        }
    }

    /// The catalog at this version, or a newer one if the adjudicator has moved on meanwhile: compare the version.
    pub async fn catalog(&self, version: CatalogVersion) -> Result<Arc<Catalog>, SqlError> {
        let base = {
            let held = lock(&self.catalogs);
            if let Some(catalog) = held.by_version.get(&version) {
                return Ok(catalog.clone());
            }
            held.by_version.range(..version).next_back().map(|(_, catalog)| catalog.clone())
        };
        let base = base.unwrap_or_default();
        let objects = self.adjudicator.catalog(base.version, version).await.map_err(adjudicator_error)?;
        let built = Arc::new(
            base.apply_objects(objects.version, objects.complete, &objects.objects)
                .map_err(|e| SqlError::internal(format_args!("the catalog cannot be read: {e}")))?,
        );
        let mut held = lock(&self.catalogs);
        held.by_version.insert(built.version, built.clone());
        while held.by_version.len() > CATALOGS_KEPT {
            held.by_version.pop_first();
        }
        Ok(built)
    }

    /// The newest catalog that this frontend has asked for; `None` before the first.
    pub fn known_catalog(&self) -> Option<Arc<Catalog>> {
        lock(&self.catalogs).by_version.last_key_value().map(|(_, catalog)| catalog.clone())
    }

    /// Whether the adjudicator tracks this table's ranges, as far as we know.
    pub fn is_tracked(&self, table: TableId) -> bool {
        lock(&self.tracked).contains(&table)
    }

    /// Notes that the adjudicator tracks this table's ranges.
    pub fn note_tracked(&self, table: TableId) {
        lock(&self.tracked).insert(table);
    }

    /// Switches range tracking of a table on, if it is not.
    pub async fn track_ranges(&self, table: TableId) -> Result<(), SqlError> {
        if !self.is_tracked(table) {
            self.adjudicator.track_ranges(table).await.map_err(adjudicator_error)?;
            self.note_tracked(table);
        }
        Ok(())
    }

    /// `count` contiguous AUTO_INCREMENT values, none below `at_least`. Asks the adjudicator when the block taken ahead
    /// does not suffice; takes more ahead the more often it is asked.
    pub async fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> Result<IdRange, SqlError> {
        let version = self.known_version(table);
        let ahead = {
            let mut blocks = lock(&self.ids);
            match blocks.get_mut(&table) {
                Some(block) if block.version != version => 0,
                Some(block) if block.increment == increment && block.offset == offset => {
                    if block.left >= count && block.next >= at_least {
                        let first = block.next;
                        block.next = first.saturating_add(count.saturating_mul(increment));
                        block.left -= count;
                        return Ok(IdRange { first, count, increment });
                    }
                    (block.ahead * 2).clamp(1, IDS_AHEAD_MAX)
                }
                _ => 0,
            }
        };
        // The first request takes exactly what it needs, so that a table filled by hand has no gaps.
        let wanted = count.saturating_add(ahead);
        let range = self
            .adjudicator
            .allocate_ids(table, wanted, at_least, increment, offset)
            .await
            .map_err(adjudicator_error)?;
        let block = IdBlock {
            version,
            next: range.first.saturating_add(count.saturating_mul(increment)),
            left: range.count.saturating_sub(count),
            increment,
            offset,
            ahead,
        };
        lock(&self.ids).insert(table, block);
        Ok(IdRange { first: range.first, count, increment })
    }

    /// An explicit value was stored: values at or below it are not given out any more.
    pub fn note_explicit_id(&self, table: TableId, id: u64) {
        let mut blocks = lock(&self.ids);
        if let Some(block) = blocks.get_mut(&table)
            && block.left > 0
            && id >= block.next
        {
            let skipped = (id - block.next) / block.increment.max(1) + 1;
            let skipped = skipped.min(block.left);
            block.next += skipped * block.increment;
            block.left -= skipped;
        }
    }

    /// The version of a table in the newest catalog that is known here.
    fn known_version(&self, table: TableId) -> SchemaVersion {
        let catalog = self.known_catalog();
        catalog.and_then(|c| c.table_by_id(table).map(|t| t.version)).unwrap_or_default()
    }

    /// The next AUTO_INCREMENT value that this frontend would give out.
    pub async fn next_id(&self, table: TableId) -> Result<u64, SqlError> {
        let version = self.known_version(table);
        if let Some(block) = lock(&self.ids).get(&table)
            && block.version == version
            && block.left > 0
        {
            return Ok(block.next);
        }
        self.adjudicator.next_id(table).await.map_err(adjudicator_error)
    }
}

/// Snapshots in use, counted; the oldest is what the low-water mark must not pass.
#[derive(Default)]
pub struct Snapshots {
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    counts: BTreeMap<Timestamp, usize>,
    /// The newest snapshot ever handed out here: one that is being asked for cannot be older.
    newest: Timestamp,
}

impl Snapshots {
    /// The oldest snapshot in use, those being asked for included.
    pub fn oldest(&self) -> Option<Timestamp> {
        lock(&self.live).counts.keys().next().copied()
    }

    /// Holds the place of a snapshot that is being asked for.
    fn enter_pending(this: &Arc<Self>) -> SnapshotGuard {
        let mut live = lock(&this.live);
        let floor = live.newest;
        *live.counts.entry(floor).or_default() += 1;
        SnapshotGuard { snapshots: this.clone(), at: floor }
    }

    fn leave(&self, at: Timestamp) {
        let mut live = lock(&self.live);
        if let Some(count) = live.counts.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                live.counts.remove(&at);
            }
        }
    }
}

/// Keeps a snapshot readable until it is dropped.
pub struct SnapshotGuard {
    snapshots: Arc<Snapshots>,
    at: Timestamp,
}

impl SnapshotGuard {
    /// The snapshot asked for has come.
    fn settle(&mut self, at: Timestamp) {
        {
            let mut live = lock(&self.snapshots.live);
            *live.counts.entry(at).or_default() += 1;
            live.newest = live.newest.max(at);
        }
        self.snapshots.leave(std::mem::replace(&mut self.at, at));
    }
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        self.snapshots.leave(self.at);
    }
}

/// What a client is told when the adjudicator could not be asked.
pub(crate) fn adjudicator_error(error: AdjudicatorError) -> SqlError {
    use assize_model::ErrorCode;
    let code = match error {
        AdjudicatorError::DiskFull(_) => ErrorCode::DiskFull,
        AdjudicatorError::TooLarge(_) => ErrorCode::TransactionTooBig,
        _ => ErrorCode::ClusterUnavailable,
    };
    SqlError::new(code, error.to_string())
}

/// What a client is told when a shard could not answer.
pub(crate) fn shard_error(error: ShardError) -> SqlError {
    use assize_model::ErrorCode;
    let code = match error {
        ShardError::SnapshotTooOld(_) => ErrorCode::SnapshotTooOldError,
        _ => ErrorCode::ClusterUnavailable,
    };
    SqlError::new(code, error.to_string())
}
