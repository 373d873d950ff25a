//! One transaction: its snapshot, its reads and writes, and what its commit must find unchanged.

use crate::activity::{Activity, Trail};
use crate::branches::{self, Branches};
use crate::buffer::WriteBuffer;
use crate::explain::{self, Explained};
use crate::held::HeldEntries;
use crate::kill::KillSwitch;
use crate::rules::Rule;
use crate::scan::{Cursor, FetchError};
use crate::services::{Services, SnapshotGuard, adjudicator_error};
use crate::temporary::TemporaryRows;
use assize_catalog::{Catalog, Server, key};
use assize_coordinator::{Request, Write};
use assize_model::{
    AccessGroup, DeadlineClass, ErrorCode, FrontendEpoch, IndexId, Key, KeyHash, KeyRange, Mutation,
    MutationOp, Placement, SchemaVersion, ShardId, Slot, SqlError, TableId, TableRange, Timestamp, TxnId,
};
use assize_ports::{
    Begun, BoxFuture, Direction, ForeignResult, ForeignStatement, IdRange, LockMode, LockStrength, LockWait,
    Mark, Obstacle, ReadIntent, ReadView, Reserved, Rows, ScanRequest, ScanShards, Transaction,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a transaction checks at commit; see `docs/isolation.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// A snapshot per statement.
    ReadCommitted,
    /// One snapshot: snapshot isolation.
    #[default]
    RepeatableRead,
    /// One snapshot, and everything read is checked: strict serializability.
    Serializable,
}

impl Isolation {
    /// As `@@transaction_isolation` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "READ-COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE-READ",
            Isolation::Serializable => "SERIALIZABLE",
        }
    }
}

/// How a transaction is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommitMode {
    /// Inline or prepared, with this deadline or that, by the size of its writes.
    #[default]
    BySize,
    /// Inline, whatever its size.
    Inline,
    /// Prepared, whatever its size, with this deadline.
    Prepared(DeadlineClass),
}

/// What a transaction is begun with.
#[derive(Clone, Copy, Debug)]
pub struct TxnOptions {
    /// What its commit checks.
    pub isolation: Isolation,
    /// Writes are refused with 1792.
    pub read_only: bool,
    /// `innodb_lock_wait_timeout`.
    pub lock_wait: Duration,
    /// `auto_increment_increment` and `auto_increment_offset`.
    pub auto_increment: (u64, u64),
    /// How it is committed; clients have no say in it.
    pub commit_mode: CommitMode,
}

impl Default for TxnOptions {
    fn default() -> Self {
        TxnOptions {
            isolation: Isolation::default(),
            read_only: false,
            lock_wait: Duration::from_secs(50),
            auto_increment: (1, 1),
            commit_mode: CommitMode::default(),
        }
    }
}

/// Keys that the transaction itself has a value for, `None` where it has deleted the row.
type OwnRows<'a> = Box<dyn Iterator<Item = (&'a Key, Option<Bytes>)> + 'a>;

/// A row held by a locking read, as it was when the reservation was granted.
#[derive(Clone, Debug)]
struct Locked {
    table: TableId,
    slot: Slot,
    ts: Timestamp,
    value: Option<Bytes>,
    exclusive: bool,
}

/// A point key whose value was read and must not have changed at commit.
#[derive(Clone, Copy, Debug)]
struct Checked {
    table: TableId,
    slot: Slot,
    ts: Timestamp,
}

/// Scans in progress that are remembered between pages.
const CURSORS_MAX: usize = 16;
/// How often a read is routed again when shards say that the placement is old.
const REROUTES_MAX: u32 = 8;
/// How often a locking scan looks again for rows that appeared while it waited.
const LOCK_ROUNDS_MAX: u32 = 16;
/// Bytes that a write takes in the footprint besides its key: its hash, twice.
const FOOTPRINT_BYTES_PER_WRITE: usize = 16;
/// Most rows that one round of a locking scan reserves.
const LOCK_PAGE_MAX: usize = 1024;

/// One transaction.
pub struct Txn {
    services: Arc<Services>,
    options: TxnOptions,
    begun: Begun,
    catalog: Arc<Catalog>,
    /// Keep every snapshot that the footprint mentions above the low-water mark.
    guards: Vec<SnapshotGuard>,
    /// Whether anything was read at the present snapshot.
    has_read: bool,
    writes: WriteBuffer,
    /// Rows of the session's temporary tables, as they are committed.
    temporary: Arc<TemporaryRows>,
    /// Whether a statement has used one of them.
    used_temporary: bool,
    locked: BTreeMap<Key, Locked>,
    /// Index entries of the rows in `locked`.
    entries: HeldEntries,
    checked: BTreeMap<Key, Checked>,
    ranges: Vec<(Timestamp, TableRange)>,
    schemas: BTreeMap<TableId, SchemaVersion>,
    explicit_ids: BTreeMap<TableId, u64>,
    /// It began while new transactions were shed: it may only read as long as they are.
    is_shed: bool,
    /// In whose name reservations are held.
    owner: Option<TxnId>,
    cursors: Vec<Cursor>,
    /// Whose it is.
    by: Arc<Activity>,
    trail: Trail,
    begun_micros: u64,
    /// The id under which its abort is kept, once it has lost.
    conflict: Option<String>,
    runs_again: bool,
    stop: Option<Arc<KillSwitch>>,
    /// What it has on foreign servers.
    branches: Branches,
    /// The life that it commits in, if not in whichever its frontend lives by then.
    life: Option<FrontendEpoch>,
}

impl Txn {
    /// Begins at the newest snapshot, with exactly the catalog of that snapshot.
    pub async fn begin(services: Arc<Services>, options: TxnOptions) -> Result<Self, SqlError> {
        Txn::begin_as(services.nobody(), services, options).await
    }

    /// Likewise, for a session. It is this kind that is shed when replicas or disks are behind.
    pub(crate) async fn begin_for(
        by: Arc<Activity>,
        services: Arc<Services>,
        options: TxnOptions,
    ) -> Result<Self, SqlError> {
        let is_shed = services.shedding.is_on();
        let mut txn = Txn::begin_as(by, services, options).await?;
        txn.is_shed = is_shed;
        Ok(txn)
    }

    async fn begin_as(
        by: Arc<Activity>,
        services: Arc<Services>,
        options: TxnOptions,
    ) -> Result<Self, SqlError> {
        let begun_micros = services.clock.monotonic_micros();
        let (begun, guard, catalog) = newest_view(&services).await?;
        Ok(Txn {
            services,
            options,
            begun,
            catalog,
            guards: vec![guard],
            has_read: false,
            writes: WriteBuffer::default(),
            temporary: Arc::default(),
            used_temporary: false,
            locked: BTreeMap::new(),
            entries: HeldEntries::default(),
            checked: BTreeMap::new(),
            ranges: Vec::new(),
            schemas: BTreeMap::new(),
            explicit_ids: BTreeMap::new(),
            is_shed: false,
            owner: None,
            cursors: Vec::new(),
            by,
            trail: Trail::default(),
            begun_micros,
            conflict: None,
            runs_again: false,
            stop: None,
            branches: Branches::default(),
            life: None,
        })
    }

    /// It sees these temporary tables.
    pub(crate) fn with_temporary(mut self, temporary: Arc<TemporaryRows>) -> Self {
        self.temporary = temporary;
        self
    }

    /// What it has on foreign servers.
    pub(crate) fn branches(&self) -> &Branches {
        &self.branches
    }

    /// Likewise, to change it.
    pub(crate) fn branches_mut(&mut self) -> &mut Branches {
        &mut self.branches
    }

    /// The present place in its log of writes.
    pub(crate) fn log_place(&self) -> u64 {
        self.writes.mark()
    }

    /// Something was written on a foreign server.
    pub(crate) fn note_elsewhere(&mut self) {
        self.writes.note_elsewhere();
    }

    /// Writes what says that it has committed, whatever its limits: its key must be unchanged since the snapshot.
    pub(crate) fn write_record(&mut self, table: TableId, mutation: Mutation) {
        self.writes.write(table, mutation, self.begun.snapshot_ts);
    }

    /// Refuses to write in a READ ONLY transaction, and what the commit would have to decide while it is shed.
    pub(crate) fn may_write_at_all(&mut self) -> Result<(), SqlError> {
        if self.options.read_only {
            return Err(branches::read_only());
        }
        self.may_write()
    }

    /// Refuses what the commit would have to decide, if it began while new transactions were shed and they still are.
    fn may_write(&mut self) -> Result<(), SqlError> {
        if !self.is_shed {
            return Ok(());
        }
        match self.services.shedding.refuse() {
            Some(error) => Err(error),
            None => {
                self.is_shed = false;
                Ok(())
            }
        }
    }

    /// A statement of this normalised text runs in it.
    pub(crate) fn note_statement(&mut self, text: &Arc<str>) {
        self.trail.push(text);
    }

    /// Whose it is.
    pub(crate) fn by(&self) -> &Arc<Activity> {
        &self.by
    }

    /// Its last statements.
    pub(crate) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// When it began, by the monotonic clock.
    pub(crate) fn begun_micros(&self) -> u64 {
        self.begun_micros
    }

    /// How long it has run.
    pub(crate) fn age_micros(&self) -> u64 {
        self.services.clock.monotonic_micros().saturating_sub(self.begun_micros)
    }

    /// The id for a commit that begins now, remembered with what it ran: whoever loses to it wants to know.
    pub(crate) fn draw_id(&self, class: DeadlineClass) -> TxnId {
        let life = self.life.unwrap_or_else(|| self.services.epoch());
        let id = self.services.next_txn_id_in(life, class);
        self.services.conflicts.sent(id, &self.by, &self.trail, self.age_micros());
        id
    }

    /// It commits in this life of its frontend or not at all.
    pub(crate) fn live_in(&mut self, life: FrontendEpoch) {
        self.life = Some(life);
    }

    /// Says whether its statement is run again, without a word to the client, if its commit loses.
    pub(crate) fn set_runs_again(&mut self, runs_again: bool) {
        self.runs_again = runs_again;
    }

    /// Whether it is run again if it loses: nobody waits for what explains that.
    pub(crate) fn runs_again(&self) -> bool {
        self.runs_again
    }

    /// KILL ends its commit as long as nothing is with the adjudicator.
    pub(crate) fn stop_by(&mut self, stop: Arc<KillSwitch>) {
        self.stop = Some(stop);
    }

    /// What ends its commit, if anything does. A schema change is not stopped midway.
    pub(crate) fn stop(&self) -> Option<&KillSwitch> {
        self.stop.as_deref()
    }

    /// The id under which its abort is kept, if it has lost.
    pub(crate) fn take_conflict(&mut self) -> Option<String> {
        self.conflict.take()
    }

    /// It has lost without having come to its commit.
    fn lose(&mut self, explained: Explained) -> SqlError {
        self.conflict = Some(explained.conflict);
        explained.error
    }

    /// A statement failed: if that is the end of the transaction and nobody has kept it yet, it is kept now.
    pub(crate) fn note_failure(&mut self, error: SqlError) -> SqlError {
        if error.code != ErrorCode::SnapshotTooOldError || self.conflict.is_some() {
            return error;
        }
        let explained = explain::snapshot_too_old(self, &self.services, &error);
        self.lose(explained)
    }

    /// A statement begins. At READ COMMITTED it gets a snapshot of its own.
    pub async fn begin_statement(&mut self, first: bool) -> Result<(), SqlError> {
        self.writes.begin_statement();
        self.cursors.clear();
        if self.options.isolation == Isolation::ReadCommitted && !first {
            self.renew_snapshot().await?;
        }
        Ok(())
    }

    async fn renew_snapshot(&mut self) -> Result<(), SqlError> {
        let (begun, guard, catalog) = newest_view(&self.services).await?;
        // Snapshots that nothing in the footprint mentions may be forgotten.
        if self.writes.is_empty()
            && self.locked.is_empty()
            && self.checked.is_empty()
            && self.ranges.is_empty()
        {
            self.guards.clear();
        }
        self.adopt(begun, guard, catalog);
        Ok(())
    }

    fn adopt(&mut self, begun: Begun, guard: SnapshotGuard, catalog: Arc<Catalog>) {
        self.begun = begun;
        self.catalog = catalog;
        self.guards.push(guard);
        self.has_read = false;
        self.cursors.clear();
    }

    /// The catalog at the snapshot.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What it was begun with.
    pub fn options(&self) -> &TxnOptions {
        &self.options
    }

    /// Whether it has written nothing, or to temporary tables alone. Then its commit has nothing to decide, unless it saw two
    /// moments.
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether no statement has used a table: nobody wants to know what became of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.schemas.is_empty() && self.is_read_only() && !self.used_temporary && self.branches.is_empty()
    }

    /// It has committed: so have its writes to temporary tables.
    pub(crate) fn commit_temporary(&mut self) {
        if self.writes.temporary_bytes() > 0 {
            self.temporary.apply(self.writes.take_temporary());
        }
    }

    /// Whether there is something to decide although it wrote nothing: at SERIALIZABLE, rows that it has reserved it saw at
    /// another snapshot than what it read before, and only the check makes one moment of the two.
    pub(crate) fn saw_two_moments(&self) -> bool {
        let first = self.locked.values().next().map(|locked| locked.ts);
        let mut others = (self.locked.values().map(|locked| locked.ts))
            .chain(self.checked.values().map(|checked| checked.ts))
            .chain(self.ranges.iter().map(|(ts, _)| *ts));
        self.options.isolation == Isolation::Serializable
            && first.is_some_and(|first| others.any(|ts| ts != first))
    }

    /// The table and key behind a hash of the footprint, for explaining a conflict.
    pub fn key_of(&self, hash: KeyHash) -> Option<(TableId, Key)> {
        let services = &self.services;
        let written = self.writes.iter().map(|(key, write)| (key, write.table));
        let locked = self.locked.iter().map(|(key, locked)| (key, locked.table));
        let checked = self.checked.iter().map(|(key, checked)| (key, checked.table));
        written
            .chain(locked)
            .chain(checked)
            .find(|(key, _)| services.hash(key) == hash)
            .map(|(key, table)| (table, key.clone()))
    }

    /// Where a key of the footprint lives.
    pub(crate) fn slot_of(&self, key: &Key) -> Option<Slot> {
        let written = self.writes.get(key).map(|write| write.slot);
        let locked = || self.locked.get(key).map(|locked| locked.slot);
        written.or_else(locked).or_else(|| self.checked.get(key).map(|checked| checked.slot))
    }

    /// The version of a table that it has planned with.
    pub(crate) fn planned_with(&self, table: TableId) -> Option<SchemaVersion> {
        self.schemas.get(&table).copied()
    }

    /// The version of a table by now; `Some(None)` if it is gone.
    pub(crate) async fn newest_version_of(&self, table: TableId) -> Option<Option<SchemaVersion>> {
        let (_, _, catalog) = newest_view(&self.services).await.ok()?;
        Some(catalog.tables.get(&table).map(|table| table.version))
    }

    /// The row behind the key of a row or an index entry, for explaining a conflict: as the transaction has written it.
    pub(crate) fn own_row_behind(&self, key: &Key) -> Option<Bytes> {
        match self.writes.get(key).map(|write| &write.op) {
            _ if key::index_of(key) == Some(IndexId(0)) => self.own_row(key),
            Some(MutationOp::Put(entry)) => {
                key::row_of_entry(key, entry).ok().and_then(|(_, row)| self.own_row(&row))
            }
            _ => None,
        }
    }

    /// Likewise: as it was at the snapshot, or as it is by now.
    pub(crate) async fn stored_row_behind(&self, slot: Slot, key: &Key) -> Option<Bytes> {
        let then = self.stored_row(slot, key, self.begun.snapshot_ts).await;
        if then.is_some() {
            return then;
        }
        let (begun, _guard) = self.services.begin().await.ok()?;
        self.stored_row(slot, key, begun.snapshot_ts).await
    }

    /// The row behind the key of a row or an index entry at a snapshot.
    async fn stored_row(&self, slot: Slot, key: &Key, ts: Timestamp) -> Option<Bytes> {
        let value = self.fetch(&[(slot, key.clone())], ts).await.ok()?.pop()??;
        if key::index_of(key) == Some(IndexId(0)) {
            return Some(value);
        }
        let row = key::row_of_entry(key, &value).ok()?;
        self.fetch(&[row], ts).await.ok()?.pop()?
    }

    /// The table behind a range of the footprint.
    pub fn tables_of_ranges(&self) -> impl Iterator<Item = TableId> {
        self.ranges.iter().map(|(_, range)| range.table)
    }

    /// Gives back what locking reads have reserved.
    pub fn release(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.services.adjudicator.release(owner);
        }
    }

    /// Everything the commit needs, under whatever id it will be made.
    pub(crate) fn take_request(&mut self) -> Request {
        let services = self.services.clone();
        let mut groups: BTreeMap<Timestamp, AccessGroup> = BTreeMap::new();
        let mut request = Request::default();
        for (key, locked) in &self.locked {
            if self.writes.get(key).is_some() {
                continue;
            }
            let hash = services.hash(key);
            group_at(&mut groups, locked.ts).checked.push(hash);
            if locked.exclusive {
                let mutation = Mutation::lock(key.clone(), locked.slot);
                request.writes.push(Write { mutation, hash, table: locked.table });
            }
        }
        for (key, checked) in &self.checked {
            // What is checked as written, or as reserved, may be checked from a later snapshot only.
            let written = self.writes.get(key).is_some_and(|write| write.first_ts <= checked.ts);
            let locked = self.locked.get(key).is_some_and(|locked| locked.ts <= checked.ts);
            if !written && !locked {
                group_at(&mut groups, checked.ts).checked.push(services.hash(key));
            }
        }
        for (ts, range) in coalesce(std::mem::take(&mut self.ranges), services.limits.ranges_max) {
            group_at(&mut groups, ts).ranges.push(range);
        }
        for (key, write) in self.writes.iter() {
            let hash = services.hash(key);
            let since = match services.keeps(Rule::FirstWriteCounts) {
                true => write.first_ts,
                false => self.begun.snapshot_ts,
            };
            group_at(&mut groups, since).checked.push(hash);
            let mutation = Mutation { key: key.clone(), slot: write.slot, op: write.op.clone() };
            request.writes.push(Write { mutation, hash, table: write.table });
        }
        // Whose key a bare hash is cannot be told, so one tracked table among those that were planned with asks
        // for the keys of all that were written.
        let written = || request.writes.iter().map(|w| w.table);
        if self.schemas.keys().copied().chain(written()).any(|t| services.is_tracked(t)) {
            request.ordered_tables = written().collect();
        }
        request.groups = groups.into_values().collect();
        request.schemas = self.schemas.iter().map(|(table, version)| (*table, *version)).collect();
        request.auto_increments = self.explicit_ids.iter().map(|(table, id)| (*table, *id)).collect();
        request
    }

    /// Every key of the footprint by its hash.
    pub(crate) fn keys_by_hash(&self) -> BTreeMap<KeyHash, Key> {
        let keys =
            self.writes.iter().map(|(key, _)| key).chain(self.locked.keys()).chain(self.checked.keys());
        keys.map(|key| (self.services.hash(key), key.clone())).collect()
    }

    /// Refuses a footprint of so many bytes if it may not have as many: it would stand in the log and reach no follower.
    pub(crate) fn check_footprint(&self, bytes: usize) -> Result<(), SqlError> {
        let max = self.services.limits.footprint_bytes_max;
        if bytes <= max {
            return Ok(());
        }
        Err(SqlError::new(
            ErrorCode::TransactionTooBig,
            format!(
                "what the transaction's commit has to check would take {bytes} bytes, more than the {max} that an entry of the \
                 log may hold; write, and at SERIALIZABLE read, fewer rows at a time"
            ),
        ))
    }

    /// Bytes of its footprint that its writes take at least. What it has read comes to that at COMMIT, if it still writes
    /// then.
    fn footprint_bytes(&self) -> usize {
        let hashes = FOOTPRINT_BYTES_PER_WRITE * self.writes.len();
        let shown = hashes + self.writes.key_bytes();
        // Whether keys travel in the clear is asked only where it decides.
        let is_shown = || {
            let tables = self.schemas.keys().copied().chain(self.tables_of_ranges());
            tables.into_iter().any(|table| self.services.is_tracked(table))
        };
        if shown > self.services.limits.footprint_bytes_max && is_shown() { shown } else { hashes }
    }

    /// The value this transaction has given a row, or held it with, if that is known.
    pub(crate) fn own_row(&self, key: &Key) -> Option<Bytes> {
        self.own_value(key).flatten()
    }

    /// The services it runs on.
    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    fn must_record(&self, intent: ReadIntent) -> bool {
        match intent {
            ReadIntent::Check | ReadIntent::Share(_) | ReadIntent::Update(_) if !is_optimistic(intent) => {
                true
            }
            // What only reads is serializable at its snapshot without any check.
            _ => self.options.isolation == Isolation::Serializable && !self.options.read_only,
        }
    }

    fn record_point(&mut self, table: TableId, slot: Slot, key: &Key) {
        let ts = self.begun.snapshot_ts;
        if self.writes.get(key).is_none() && self.services.keeps(Rule::RecordKeys) {
            self.checked.entry(key.clone()).or_insert(Checked { table, slot, ts });
        }
    }

    fn record_range(&mut self, table: TableId, range: KeyRange, ts: Timestamp) {
        if range.is_empty() || !self.services.keeps(Rule::RecordRanges) {
            return;
        }
        if let Some((last_ts, last)) = self.ranges.last_mut()
            && *last_ts == ts
            && last.table == table
        {
            // Pages of one scan follow one another.
            if last.range.end == range.start {
                last.range.end = range.end;
                return;
            }
            if range.end == last.range.start {
                last.range.start = range.start;
                return;
            }
            if last.range.start <= range.start && range.end <= last.range.end {
                return;
            }
        }
        self.ranges.push((ts, TableRange { table, range }));
    }

    /// What the transaction itself makes of a key, if it does: own write, or the row as it was when it was locked, or an
    /// entry that this row had then.
    fn own_value(&self, key: &Key) -> Option<Option<Bytes>> {
        if let Some(write) = self.writes.get(key) {
            match &write.op {
                MutationOp::Put(value) => return Some(Some(value.clone())),
                MutationOp::Delete => return Some(None),
                MutationOp::Lock => {}
            }
        }
        if !self.services.keeps(Rule::LockedValueStays) {
            return None;
        }
        let locked = self.locked.get(key).map(|locked| locked.value.clone());
        locked.or_else(|| self.entries.get(key).map(|entry| Some(entry.value.clone())))
    }

    /// What the snapshot has at a key, as far as it agrees with the rows that are held.
    fn agreed(&self, key: &Key, stored: Option<Bytes>) -> Option<Bytes> {
        stored.filter(|value| self.entries.agree(key, value))
    }

    /// The snapshot from which on a key that is written now must be unchanged. A held row is checked from when it was
    /// held, and with it the entries that nobody can change without changing the row.
    fn checked_since(&self, table: TableId, mutation: &Mutation) -> Timestamp {
        let locked = self.locked.get(&mutation.key).map(|locked| locked.ts);
        let entry = || self.entries.get(&mutation.key).map(|entry| entry.ts);
        locked
            .or_else(entry)
            .or_else(|| self.row_held_since(table, mutation))
            .unwrap_or(self.begun.snapshot_ts)
    }

    /// Since when the row is held that a new entry leads to, if no other row can have this entry: its key ends with the
    /// row's own.
    fn row_held_since(&self, table: TableId, mutation: &Mutation) -> Option<Timestamp> {
        let MutationOp::Put(value) = &mutation.op else { return None };
        let id = key::index_of(&mutation.key).filter(|id| *id != IndexId(0) && !self.locked.is_empty())?;
        let index = self.catalog.tables.get(&table)?.indexes.iter().find(|index| index.id == id)?;
        let (_, row) = key::row_of_entry(&mutation.key, value).ok().filter(|_| !index.unique)?;
        self.locked.get(&row).map(|locked| locked.ts)
    }

    /// Values of keys at a snapshot, own writes not considered; one request per shard.
    async fn fetch(&self, keys: &[(Slot, Key)], ts: Timestamp) -> Result<Vec<Option<Bytes>>, SqlError> {
        let mut placement = self.services.placement();
        for _ in 0..REROUTES_MAX {
            match self.fetch_once(&placement, keys, ts).await {
                Ok(values) => return Ok(values),
                Err(error) => placement = error.placement_after(&self.services, &placement).await?,
            }
        }
        Err(moved_too_often())
    }

    /// The value of one key at the transaction's snapshot, own writes not considered.
    async fn fetch_one(&self, slot: Slot, key: &Key) -> Result<Option<Bytes>, SqlError> {
        let mut placement = self.services.placement();
        for _ in 0..REROUTES_MAX {
            let read = async {
                let (shard, epoch) = self.services.shard(&placement, placement.shard_of(slot))?;
                let view = ReadView { snapshot_ts: self.begun.snapshot_ts, epoch };
                Ok(shard.get(view, key).await?)
            };
            let read: Result<Option<Bytes>, FetchError> = read.await;
            match read {
                Ok(value) => return Ok(value),
                Err(error) => placement = error.placement_after(&self.services, &placement).await?,
            }
        }
        Err(moved_too_often())
    }

    async fn fetch_once(
        &self,
        placement: &Placement,
        keys: &[(Slot, Key)],
        ts: Timestamp,
    ) -> Result<Vec<Option<Bytes>>, FetchError> {
        if let [(slot, key)] = keys {
            let (shard, epoch) = self.services.shard(placement, placement.shard_of(*slot))?;
            let value = shard.get(ReadView { snapshot_ts: ts, epoch }, key).await?;
            return Ok(vec![value]);
        }
        let mut by_shard: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (n, (slot, _)) in keys.iter().enumerate() {
            by_shard.entry(placement.shard_of(*slot)).or_default().push(n);
        }
        let requests = by_shard.into_iter().map(|(id, places)| async move {
            let (shard, epoch) = self.services.shard(placement, id)?;
            let wanted: Vec<Key> = places.iter().map(|n| keys[*n].1.clone()).collect();
            let values = shard.get_many(ReadView { snapshot_ts: ts, epoch }, &wanted).await?;
            Ok((places, values))
        });
        let mut out = vec![None; keys.len()];
        for answer in futures_util::future::join_all(requests).await {
            let answer: Result<(Vec<usize>, Vec<Option<Bytes>>), FetchError> = answer;
            let (places, values) = answer?;
            for (place, value) in places.into_iter().zip(values) {
                out[place] = value;
            }
        }
        Ok(out)
    }

    /// The value of a key of a temporary table. Nobody else reads or writes it: there is nothing to lock and to check.
    fn temporary_value(&self, table: TableId, key: &Key) -> Option<Bytes> {
        match self.writes.get(key).map(|write| &write.op) {
            Some(MutationOp::Put(value)) => Some(value.clone()),
            Some(MutationOp::Delete) => None,
            Some(MutationOp::Lock) | None => self.temporary.get(table, key),
        }
    }

    /// A page of a temporary table.
    fn temporary_page(&self, request: &ScanRequest) -> Rows {
        let whole = request.intent != ReadIntent::Plain;
        let own = self.writes.range(&request.range).filter_map(|(key, write)| {
            match self.writes.seen(write, whole)? {
                MutationOp::Put(value) => Some((key, Some(value.clone()))),
                MutationOp::Delete => Some((key, None)),
                MutationOp::Lock => None,
            }
        });
        self.temporary.page(request, own)
    }

    /// Buffers a write to a temporary table: also in a READ ONLY transaction, and whatever the cluster is busy with.
    fn write_temporary(&mut self, table: TableId, mutation: Mutation) -> Result<(), SqlError> {
        let takes_room = matches!(mutation.op, MutationOp::Put(_));
        let mark = self.writes.mark();
        self.writes.write(table, mutation, self.begun.snapshot_ts);
        let checked = match takes_room {
            true => self.temporary.check_room(table, self.writes.temporary_bytes()),
            false => Ok(()),
        };
        if checked.is_err() {
            self.writes.undo_to(mark);
        }
        checked
    }

    async fn read_many(
        &mut self,
        table: TableId,
        keys: &[(Slot, Key)],
        intent: ReadIntent,
    ) -> Result<Vec<Option<Bytes>>, SqlError> {
        if table.is_temporary() {
            return Ok(keys.iter().map(|(_, key)| self.temporary_value(table, key)).collect());
        }
        if let Some((strength, wait)) = self.locking(intent) {
            return self.lock_keys(table, keys, strength, wait).await;
        }
        self.has_read = true;
        if self.must_record(intent) {
            for (slot, key) in keys {
                if self.own_value(key).is_none() {
                    self.record_point(table, *slot, key);
                }
            }
        }
        let mut out: Vec<Option<Option<Bytes>>> = keys.iter().map(|(_, key)| self.own_value(key)).collect();
        let wanted: Vec<(Slot, Key)> =
            keys.iter().zip(&out).filter(|(_, own)| own.is_none()).map(|(key, _)| key.clone()).collect();
        if !wanted.is_empty() {
            let fetched = self.fetch(&wanted, self.begun.snapshot_ts).await?;
            let mut agreed = wanted.iter().zip(fetched).map(|((_, key), value)| self.agreed(key, value));
            for place in out.iter_mut().filter(|own| own.is_none()) {
                *place = agreed.next();
            }
        }
        Ok(out.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Whether the read reserves what it finds, how strongly and how it waits.
    fn locking(&self, intent: ReadIntent) -> Option<(LockStrength, LockWait)> {
        let (strength, mode) = match intent {
            ReadIntent::Plain | ReadIntent::Check => return None,
            ReadIntent::Share(mode) => (LockStrength::Shared, mode),
            ReadIntent::Update(mode) => (LockStrength::Exclusive, mode),
        };
        Some((strength, mode.with_timeout(self.options.lock_wait)?))
    }

    /// Reserves keys, then reads them at a snapshot taken after the grant. With SKIP LOCKED, keys that others hold
    /// come back as `None`.
    async fn lock_keys(
        &mut self,
        table: TableId,
        keys: &[(Slot, Key)],
        strength: LockStrength,
        wait: LockWait,
    ) -> Result<Vec<Option<Bytes>>, SqlError> {
        let exclusive = strength == LockStrength::Exclusive;
        let is_held = |locked: Option<&Locked>| locked.is_some_and(|l| l.exclusive || !exclusive);
        let missing: Vec<(Slot, Key)> =
            keys.iter().filter(|(_, key)| !is_held(self.locked.get(key))).cloned().collect();
        if !missing.is_empty() {
            let (begun, granted) = self.reserve(&missing, strength, wait).await?;
            let held: Vec<(Slot, Key)> =
                missing.into_iter().filter(|(_, key)| granted.contains(&self.services.hash(key))).collect();
            let values = self.fetch(&held, begun.snapshot_ts).await?;
            for ((slot, key), value) in held.into_iter().zip(values) {
                self.hold(key, Locked { table, slot, ts: begun.snapshot_ts, value, exclusive });
            }
        }
        Ok(keys
            .iter()
            .map(|(_, key)| if self.locked.contains_key(key) { self.own_value(key).flatten() } else { None })
            .collect())
    }

    /// Holds a row as it is. One that it holds for share already it goes on holding as it was: reservations keep nobody from
    /// writing, and what was computed from the first value must not commit after another one.
    fn hold(&mut self, key: Key, row: Locked) {
        if let Some(held) = self.locked.get_mut(&key) {
            held.exclusive |= row.exclusive;
            return;
        }
        if let Some(table) = self.catalog.tables.get(&row.table) {
            self.entries.hold(table, (row.slot, &key), row.value.as_ref(), row.ts);
        }
        self.locked.insert(key, row);
    }

    /// Reserves keys and takes a snapshot after the grant, kept alive with the transaction's others.
    async fn reserve(
        &mut self,
        keys: &[(Slot, Key)],
        strength: LockStrength,
        wait: LockWait,
    ) -> Result<(Begun, Vec<KeyHash>), SqlError> {
        self.may_write()?;
        let owner = *self.owner.get_or_insert_with(|| self.services.next_txn_id(DeadlineClass::Normal));
        // Whoever waits for what it holds wants to know.
        self.services.conflicts.sent(owner, &self.by, &self.trail, self.age_micros());
        let hashes: Vec<KeyHash> = keys.iter().map(|(_, key)| self.services.hash(key)).collect();
        let reserved = self
            .services
            .adjudicator
            .reserve(owner, &hashes, strength, wait)
            .await
            .map_err(adjudicator_error)?;
        let granted = match reserved {
            Reserved::Granted { keys, .. } => keys,
            Reserved::Busy => {
                let text =
                    "Statement aborted because lock(s) could not be acquired immediately and NOWAIT is set.";
                return Err(SqlError::new(ErrorCode::LockNowait, text));
            }
            lost @ (Reserved::TimedOut | Reserved::Deadlock) => {
                let is_deadlock = lost == Reserved::Deadlock;
                let code = if is_deadlock { ErrorCode::Deadlock } else { ErrorCode::LockWaitTimeout };
                // At once: they may be given back at any moment.
                let holder = explain::who(self, Obstacle::Held { owner, keys: hashes, strength }).await;
                if is_deadlock {
                    // Others wait for what it holds, and it is over for this transaction.
                    self.release();
                }
                let explained = explain::waited(self, &self.services, owner, keys, holder, code).await;
                return Err(self.lose(explained));
            }
        };
        // The guard must exist before the snapshot does, so the snapshot that came with the grant is not used.
        let (begun, guard, catalog) = newest_view(&self.services).await?;
        if !self.has_read && self.is_read_only() && self.locked.is_empty() {
            // Nothing was seen at the old snapshot: the whole transaction moves to the new one.
            self.adopt(begun, guard, catalog);
        } else {
            self.guards.push(guard);
        }
        Ok((begun, granted))
    }

    async fn scan_page(&mut self, request: ScanRequest) -> Result<Rows, SqlError> {
        if request.table.is_temporary() {
            return Ok(self.temporary_page(&request));
        }
        if let Some((strength, wait)) = self.locking(request.intent) {
            return self.lock_scan(request, strength, wait).await;
        }
        self.has_read = true;
        let ts = self.begun.snapshot_ts;
        let whole = request.intent != ReadIntent::Plain;
        let rows = self.scan_at(&request, ts, whole).await?;
        if self.must_record(request.intent) {
            self.record_range(request.table, scanned(&request, &rows), ts);
        }
        Ok(rows)
    }

    /// A page of a scan at a snapshot, merged over shards, locked rows and own writes. With `whole`, the writes of
    /// the running statement are seen as well.
    async fn scan_at(&mut self, request: &ScanRequest, ts: Timestamp, whole: bool) -> Result<Rows, SqlError> {
        let mut cursor = self.take_cursor(request, ts);
        let mut rows = Vec::new();
        let mut reroutes = 0;
        loop {
            while cursor.needs_rows() {
                match cursor.fetch(&self.services, request.limit - rows.len()).await {
                    Ok(()) => {}
                    Err(error) => {
                        reroutes += 1;
                        if reroutes > REROUTES_MAX {
                            return Err(moved_too_often());
                        }
                        let placement = error.placement_after(&self.services, &cursor.placement).await?;
                        let next = cursor.next.clone();
                        cursor = Cursor::new(placement, request.shards, next, request.direction, ts);
                    }
                }
            }
            if self.merge(&mut cursor, request, whole, &mut rows) {
                break;
            }
        }
        let rest = (!cursor.next.is_empty()).then(|| cursor.next.clone());
        if rest.is_some() && self.cursors.len() < CURSORS_MAX {
            self.cursors.push(cursor);
        }
        Ok(Rows { rows, rest })
    }

    fn take_cursor(&mut self, request: &ScanRequest, ts: Timestamp) -> Cursor {
        let kept = self.cursors.iter().position(|c| {
            c.snapshot_ts == ts
                && c.shards == request.shards
                && c.direction == request.direction
                && c.next == request.range
        });
        match kept {
            Some(at) => self.cursors.swap_remove(at),
            None => Cursor::new(
                self.services.placement(),
                request.shards,
                request.range.clone(),
                request.direction,
                ts,
            ),
        }
    }

    /// Moves rows from the cursor, and from the transaction itself, to the page. True once the page is complete;
    /// false if a shard has to be asked first.
    fn merge(
        &self,
        cursor: &mut Cursor,
        request: &ScanRequest,
        whole: bool,
        rows: &mut Vec<(Key, Bytes)>,
    ) -> bool {
        let reverse = request.direction == Direction::Reverse;
        let range = cursor.next.clone();
        let on_these_shards = |slot: Slot| match request.shards {
            ScanShards::All => true,
            ScanShards::Slot(only) => {
                slot == only
                    || self.services.placement().shard_of(only) == self.services.placement().shard_of(slot)
            }
        };
        let written =
            self.writes.range(&range).filter_map(|(key, write)| match self.writes.seen(write, whole) {
                Some(MutationOp::Put(value)) if on_these_shards(write.slot) => {
                    Some((key, Some(value.clone())))
                }
                Some(MutationOp::Delete) => Some((key, None)),
                _ => None,
            });
        let locked = held_in(&self.locked, &range)
            .filter(|(_, locked)| on_these_shards(locked.slot))
            .map(|(key, locked)| (key, locked.value.clone()));
        let entries = held_in(self.entries.all(), &range)
            .filter(|(_, entry)| on_these_shards(entry.slot))
            .map(|(key, entry)| (key, Some(entry.value.clone())));
        // A range is of rows or of entries.
        let locked = locked.chain(entries);
        let mut own: Vec<OwnRows<'_>> = if reverse {
            vec![Box::new(written.rev()), Box::new(locked.rev())]
        } else {
            vec![Box::new(written), Box::new(locked)]
        };
        let mut locked = own.pop().into_iter().flatten().peekable();
        let mut written = own.pop().into_iter().flatten().peekable();
        let before = |a: &Key, b: &Key| if reverse { a > b } else { a < b };
        loop {
            if rows.len() >= request.limit {
                return true;
            }
            if cursor.needs_rows() {
                return false;
            }
            // The least key of the three sources; on a tie the transaction's own value wins.
            let mut next = cursor.peek().cloned();
            for candidate in [written.peek().map(|w| w.0), locked.peek().map(|l| l.0)].into_iter().flatten() {
                if next.as_ref().is_none_or(|key| before(candidate, key)) {
                    next = Some(candidate.clone());
                }
            }
            let Some(key) = next else {
                cursor.next.start = cursor.next.end.clone();
                return true;
            };
            let stored = if cursor.peek() == Some(&key) { cursor.pop().map(|row| row.1) } else { None };
            let mut value = self.agreed(&key, stored);
            if locked.peek().is_some_and(|l| *l.0 == key) {
                value = locked.next().and_then(|l| l.1);
            }
            if written.peek().is_some_and(|w| *w.0 == key) {
                value = written.next().and_then(|w| w.1);
            }
            cursor.emitted(&key);
            if let Some(value) = value {
                rows.push((key, value));
            }
        }
    }

    /// A locking scan: finds keys, reserves them, and looks again at a snapshot taken after the grant, until every
    /// row it sees is reserved. Then the range is checked from that snapshot, so that a wait for another
    /// transaction does not become a conflict with it.
    async fn lock_scan(
        &mut self,
        request: ScanRequest,
        strength: LockStrength,
        wait: LockWait,
    ) -> Result<Rows, SqlError> {
        let exclusive = strength == LockStrength::Exclusive;
        let skips = wait == LockWait::SkipLocked;
        if key::index_of(&request.range.start) != Some(IndexId(0)) {
            return self.scan_entries(request, skips).await;
        }
        let request = ScanRequest { limit: request.limit.min(LOCK_PAGE_MAX), ..request };
        let (mut begun, guard, catalog) = newest_view(&self.services).await?;
        if !self.has_read && self.is_read_only() && self.locked.is_empty() {
            self.adopt(begun, guard, catalog);
        } else {
            self.guards.push(guard);
        }
        let mut busy: Vec<Key> = Vec::new();
        for _ in 0..LOCK_ROUNDS_MAX {
            let ts = begun.snapshot_ts;
            // Rows that others hold are passed over, so a page of SKIP LOCKED may have to look further.
            let looked = ScanRequest { limit: request.limit + busy.len(), ..request.clone() };
            self.cursors.clear();
            let mut page = self.scan_at(&looked, ts, true).await?;
            page.rows.retain(|(key, _)| !busy.contains(key));
            let unreserved = page
                .rows
                .iter()
                .filter(|(key, _)| !self.locked.get(key).is_some_and(|l| l.exclusive || !exclusive))
                .map(|(key, value)| Ok((self.slot_of_row(request.table, key, value)?, key.clone())))
                .collect::<Result<Vec<(Slot, Key)>, SqlError>>()?;
            if unreserved.is_empty() {
                if !skips {
                    self.services.track_ranges(request.table).await?;
                    self.record_range(request.table, scanned(&request, &page), ts);
                }
                self.has_read = true;
                return Ok(page);
            }
            let (after, granted) = self.reserve(&unreserved, strength, wait).await?;
            let (held, refused): (Vec<_>, Vec<_>) =
                unreserved.into_iter().partition(|(_, key)| granted.contains(&self.services.hash(key)));
            busy.extend(refused.into_iter().map(|(_, key)| key));
            let values = self.fetch(&held, after.snapshot_ts).await?;
            for ((slot, key), value) in held.into_iter().zip(values) {
                let (table, ts) = (request.table, after.snapshot_ts);
                self.hold(key, Locked { table, slot, ts, value, exclusive });
            }
            begun = after;
        }
        let text = "rows kept appearing in the locked range; try restarting transaction";
        Err(SqlError::new(ErrorCode::LockWaitTimeout, text))
    }

    /// A scan of index entries for a locking read: entries are not reserved, the rows they lead to will be. The
    /// range is checked, so that no row can join it unseen.
    async fn scan_entries(&mut self, request: ScanRequest, skips: bool) -> Result<Rows, SqlError> {
        if self.cursors.is_empty() {
            let (begun, guard, catalog) = newest_view(&self.services).await?;
            if !self.has_read && self.is_read_only() && self.locked.is_empty() {
                self.adopt(begun, guard, catalog);
            }
        }
        self.has_read = true;
        let ts = self.begun.snapshot_ts;
        let rows = self.scan_at(&request, ts, true).await?;
        if !skips {
            self.services.track_ranges(request.table).await?;
            self.record_range(request.table, scanned(&request, &rows), ts);
        }
        Ok(rows)
    }

    /// The slot of a row that a scan found.
    fn slot_of_row(&self, table: TableId, key: &Key, value: &Bytes) -> Result<Slot, SqlError> {
        let Some(table) = self.catalog.tables.get(&table) else {
            return Err(SqlError::internal(format_args!(
                "{table} is not in the catalog that planned with it"
            )));
        };
        let row = key::decode_row(table, value).map_err(|e| {
            SqlError::new(ErrorCode::CrashedOnUsage, format!("a row of {} cannot be read: {e}", table.name))
        })?;
        Ok(table.row_slot(&row, key))
    }
}

/// The group of accesses made at a snapshot.
fn group_at(groups: &mut BTreeMap<Timestamp, AccessGroup>, ts: Timestamp) -> &mut AccessGroup {
    groups.entry(ts).or_insert_with(|| AccessGroup { snapshot_ts: ts, ..AccessGroup::default() })
}

impl Drop for Txn {
    fn drop(&mut self) {
        self.release();
    }
}

/// A snapshot and exactly its catalog.
async fn newest_view(services: &Services) -> Result<(Begun, SnapshotGuard, Arc<Catalog>), SqlError> {
    loop {
        let (begun, guard) = services.begin().await?;
        let catalog = services.catalog(begun.catalog_version).await?;
        if catalog.version == begun.catalog_version {
            return Ok((begun, guard, catalog));
        }
        // A schema change came between the two questions: ask again, so that plan and snapshot belong together.
    }
}

fn is_optimistic(intent: ReadIntent) -> bool {
    matches!(intent, ReadIntent::Share(LockMode::Optimistic) | ReadIntent::Update(LockMode::Optimistic))
}

/// The part of the request's range that a page has covered.
fn scanned(request: &ScanRequest, rows: &Rows) -> KeyRange {
    match (&rows.rest, request.direction) {
        (None, _) => request.range.clone(),
        (Some(rest), Direction::Forward) => KeyRange::new(request.range.start.clone(), rest.start.clone()),
        (Some(rest), Direction::Reverse) => KeyRange::new(rest.end.clone(), request.range.end.clone()),
    }
}

/// Ranges of a footprint, widened to one per table and snapshot when there are many. A widened range may abort too
/// often, never too rarely.
fn coalesce(mut ranges: Vec<(Timestamp, TableRange)>, max: usize) -> Vec<(Timestamp, TableRange)> {
    ranges.sort_by(|a, b| (a.0, a.1.table, &a.1.range).cmp(&(b.0, b.1.table, &b.1.range)));
    let joins = |a: &(Timestamp, TableRange), b: &(Timestamp, TableRange), widen: bool| {
        a.0 == b.0 && a.1.table == b.1.table && (widen || b.1.range.start <= a.1.range.end)
    };
    for widen in [false, true] {
        let mut joined: Vec<(Timestamp, TableRange)> = Vec::with_capacity(ranges.len());
        for next in ranges {
            match joined.last_mut() {
                Some(last) if joins(last, &next, widen) => {
                    if last.1.range.end < next.1.range.end {
                        last.1.range.end = next.1.range.end;
                    }
                }
                _ => joined.push(next),
            }
        }
        ranges = joined;
        if ranges.len() <= max {
            break;
        }
    }
    ranges
}

/// What is held within a range, in key order.
fn held_in<'a, T>(
    held: &'a BTreeMap<Key, T>,
    range: &KeyRange,
) -> impl DoubleEndedIterator<Item = (&'a Key, &'a T)> + use<'a, T> {
    let bounds = (std::ops::Bound::Included(&range.start), std::ops::Bound::Excluded(&range.end));
    // An empty range must not reach the map, which panics on inverted bounds.
    (!range.is_empty()).then(|| held.range::<Key, _>(bounds)).into_iter().flatten()
}

fn moved_too_often() -> SqlError {
    SqlError::new(
        ErrorCode::ClusterUnavailable,
        "the placement of shards changed too often during the statement",
    )
}

impl Transaction for Txn {
    fn snapshot_ts(&self) -> Timestamp {
        self.begun.snapshot_ts
    }

    fn get<'a>(
        &'a mut self,
        table: TableId,
        slot: Slot,
        key: &'a Key,
        intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Option<Bytes>, SqlError>> {
        Box::pin(async move {
            // The short way of nearly every read.
            if self.locking(intent).is_none() && !table.is_temporary() {
                if let Some(own) = self.own_value(key) {
                    return Ok(own);
                }
                self.has_read = true;
                if self.must_record(intent) {
                    self.record_point(table, slot, key);
                }
                let stored = self.fetch_one(slot, key).await?;
                return Ok(self.agreed(key, stored));
            }
            let mut values = self.read_many(table, &[(slot, key.clone())], intent).await?;
            Ok(values.pop().flatten())
        })
    }

    fn get_many<'a>(
        &'a mut self,
        table: TableId,
        keys: &'a [(Slot, Key)],
        intent: ReadIntent,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, SqlError>> {
        Box::pin(self.read_many(table, keys, intent))
    }

    fn scan(&mut self, request: ScanRequest) -> BoxFuture<'_, Result<Rows, SqlError>> {
        Box::pin(self.scan_page(request))
    }

    fn write(&mut self, table: TableId, mutation: Mutation) -> Result<(), SqlError> {
        if table.is_temporary() {
            return self.write_temporary(table, mutation);
        }
        self.may_write_at_all()?;
        let ts = self.checked_since(table, &mutation);
        let mark = self.writes.mark();
        self.writes.write(table, mutation, ts);
        let (bytes, max) = (self.writes.bytes(), self.services.limits.transaction_bytes_max);
        self.by.wrote(self.writes.len(), bytes);
        let checked = if bytes > max {
            Err(SqlError::new(
                ErrorCode::TransactionTooBig,
                format!(
                    "the transaction's writes would take {bytes} bytes, more than the limit of {max} \
                     (frontend.transaction_bytes_max); write less at a time"
                ),
            ))
        } else {
            self.check_footprint(self.footprint_bytes())
        };
        if checked.is_err() {
            self.writes.undo_to(mark);
        }
        checked
    }

    fn check_range(&mut self, table: TableId, range: KeyRange) {
        let ts = self.begun.snapshot_ts;
        if !table.is_temporary() {
            self.record_range(table, range, ts);
        }
    }

    fn use_table(&mut self, table: TableId, version: SchemaVersion) {
        if table.is_temporary() {
            self.used_temporary = true;
            return;
        }
        // The oldest version the transaction has planned with is what a fence must compare.
        self.schemas.entry(table).and_modify(|held| *held = (*held).min(version)).or_insert(version);
    }

    fn allocate_ids(&mut self, table: TableId, count: u64) -> BoxFuture<'_, Result<IdRange, SqlError>> {
        let (increment, offset) = self.options.auto_increment;
        // The adjudicator hears of explicit values at the commit; the transaction's own rows go on behind them already now.
        let at_least = self.explicit_ids.get(&table).map_or(1, |id| id.saturating_add(1));
        Box::pin(async move {
            if table.is_temporary() {
                return Ok(self.temporary.allocate_ids(table, count, increment, offset));
            }
            self.services.allocate_ids(table, count, at_least, increment, offset).await
        })
    }

    fn note_explicit_id(&mut self, table: TableId, id: u64) {
        if table.is_temporary() {
            self.temporary.note_explicit_id(table, id);
            return;
        }
        let highest = self.explicit_ids.entry(table).or_default();
        *highest = (*highest).max(id);
        self.services.note_explicit_id(table, id);
    }

    fn next_id(&mut self, table: TableId) -> BoxFuture<'_, Result<u64, SqlError>> {
        Box::pin(async move {
            if table.is_temporary() {
                return Ok(self.temporary.next_id(table));
            }
            self.services.next_id(table).await
        })
    }

    fn mark(&mut self) -> Mark {
        self.branches.note_mark();
        Mark(self.writes.mark())
    }

    fn undo_to(&mut self, mark: Mark) {
        self.writes.undo_to(mark.0);
        self.branches.undo_to(mark.0);
        self.by.wrote(self.writes.len(), self.writes.bytes());
    }

    fn buffered(&self) -> usize {
        self.writes.bytes()
    }

    fn foreign<'a>(
        &'a mut self,
        server: &'a Arc<Server>,
        statement: ForeignStatement<'a>,
    ) -> BoxFuture<'a, Result<ForeignResult, SqlError>> {
        Box::pin(self.run_foreign(server, statement))
    }

    fn shards_of(&self, shards: ScanShards) -> Vec<ShardId> {
        let placement = self.services.placement();
        match shards {
            // Those without slots show nothing to this placement.
            ScanShards::All => {
                placement.ranges.values().copied().collect::<BTreeSet<_>>().into_iter().collect()
            }
            ScanShards::Slot(slot) => vec![placement.shard_of(slot)],
        }
    }
}
