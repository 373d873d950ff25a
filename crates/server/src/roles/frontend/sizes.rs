//! How much tables hold, asked of all shards at once and kept for a while.
//!
//! ```text
//!   statement ── sizes(tables, freshness) ──▶ what was told ── recent enough? ──▶ added up over the shards
//!                          │                        ▲
//!                          │ what is not            │
//!                          └─▶ one task per shard ──┘  goes on when nobody waits any more
//! ```
//!
//! A statement waits for a while and takes what was told last then. A shard that has been asked for longer than that already, or
//! has just failed to answer, is not waited for: the same task tells those who ask later.

use assize_catalog::{Table, key};
use assize_model::{Epoch, IndexId, KeyRange, Placement, SchemaVersion, ShardId, TableId, Volume};
use assize_ports::{BoxFuture, Freshness, ShardDirectory, ShardError, TableSize, TableSizes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ranges that one question names, unless one table has more.
const RANGES_MAX: usize = 32;
/// A shard that could not answer is asked again after this time, unless somebody wants to know how it is now.
const PAUSE: Duration = Duration::from_secs(3);
/// What nobody has asked anew for so long is forgotten: the table may be gone.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How much tables hold, as a frontend knows it.
pub struct Sizes {
    shards: Arc<dyn ShardDirectory>,
    placement: Box<Known>,
    told: Mutex<BTreeMap<ShardId, Arc<OfShard>>>,
}

/// The placement as it is known; `None` once the frontend is gone.
type Known = dyn Fn() -> Option<Arc<Placement>> + Send + Sync;

/// What one shard has told.
#[derive(Default)]
struct OfShard {
    /// Taken by whoever asks it: one question at a time.
    turn: tokio::sync::Mutex<()>,
    told: Mutex<ToldByShard>,
}

#[derive(Default)]
struct ToldByShard {
    tables: BTreeMap<TableId, Told>,
    /// Since when it is being asked.
    asked_since: Option<Instant>,
    /// When it could not answer, if that is the last that it did.
    failed_at: Option<Instant>,
}

/// What a shard has told of a table.
#[derive(Clone, Copy)]
struct Told {
    rows: Volume,
    entries: Volume,
    /// When it was asked.
    at: Instant,
    /// The shard's epoch then: in another one it has other slots.
    epoch: Epoch,
    /// The table's version then: in another one it has other indexes.
    version: SchemaVersion,
}

/// What is good enough.
#[derive(Clone, Copy)]
struct Wanted {
    asked_at: Instant,
    freshness: Freshness,
    epoch: Epoch,
}

impl Wanted {
    fn is_met(&self, table: &Table, told: Option<&Told>) -> bool {
        told.is_some_and(|told| {
            let is_recent =
                told.at.checked_add(self.freshness.max_age).is_none_or(|until| until >= self.asked_at);
            is_recent && told.epoch == self.epoch && told.version == table.version
        })
    }

    fn missing(&self, tables: &[Arc<Table>], told: &BTreeMap<TableId, Told>) -> Vec<Arc<Table>> {
        let missing = tables.iter().filter(|table| !self.is_met(table, told.get(&table.id)));
        missing.cloned().collect()
    }
}

impl Sizes {
    /// Of these shards, as they are placed when it is asked.
    pub fn new(
        shards: Arc<dyn ShardDirectory>,
        placement: impl Fn() -> Option<Arc<Placement>> + Send + Sync + 'static,
    ) -> Self {
        Sizes { shards, placement: Box::new(placement), told: Mutex::default() }
    }

    fn of(&self, shard: ShardId) -> Arc<OfShard> {
        lock(&self.told).entry(shard).or_default().clone()
    }

    /// Has a shard told what it has not told yet, unless that is of no use; completes when it has.
    fn ask(&self, shard: ShardId, tables: &[Arc<Table>], wanted: Wanted) -> Option<BoxFuture<'static, ()>> {
        let of_shard = self.of(shard);
        {
            let told = lock(&of_shard.told);
            let is_within = |since: Option<Instant>, time| since.is_some_and(|at| at.elapsed() < time);
            let Freshness { max_age, patience } = wanted.freshness;
            let is_overdue = told.asked_since.is_some_and(|since| since.elapsed() >= patience);
            if is_overdue
                || !max_age.is_zero() && is_within(told.failed_at, PAUSE)
                || wanted.missing(tables, &told.tables).is_empty()
            {
                return None;
            }
        }
        let way = self.shards.shard(shard)?;
        let tables = tables.to_vec();
        let task = tokio::spawn(async move {
            let _turn = of_shard.turn.lock().await;
            // Somebody else may have asked meanwhile.
            let missing = {
                let mut told = lock(&of_shard.told);
                told.asked_since = Some(Instant::now());
                wanted.missing(&tables, &told.tables)
            };
            let mut answered = Ok(());
            for tables in questions(&missing) {
                let at = Instant::now();
                let ranges: Vec<KeyRange> = tables.iter().flat_map(|table| ranges(table)).collect();
                answered = way.volumes(&ranges).await.map(|volumes| {
                    let mut told = lock(&of_shard.told);
                    told.tables.retain(|_, told| told.at.elapsed() < KEPT);
                    told.take_in(tables, &volumes, at, wanted.epoch);
                });
                if answered.is_err() {
                    break;
                }
            }
            lock(&of_shard.told).ends(shard, answered);
        });
        Some(Box::pin(async move { drop(task.await) }))
    }

    /// What has been told of a table, over all shards; `None` if one has never told.
    fn add_up(&self, table: &Table, wanted: &BTreeMap<ShardId, Wanted>) -> Option<TableSize> {
        let (mut rows, mut entries, mut is_current) = (Volume::default(), Volume::default(), true);
        for (shard, wanted) in wanted {
            let of_shard = self.of(*shard);
            let told = lock(&of_shard.told).tables.get(&table.id).copied()?;
            rows += told.rows;
            entries += told.entries;
            is_current &= wanted.is_met(table, Some(&told));
        }
        Some(TableSize { rows: rows.rows, row_bytes: rows.bytes, index_bytes: entries.bytes, is_current })
    }
}

impl ToldByShard {
    fn take_in(&mut self, tables: &[Arc<Table>], volumes: &[Volume], at: Instant, epoch: Epoch) {
        let mut volumes = volumes.iter().copied();
        for table in tables {
            let rows = volumes.next().unwrap_or_default();
            let mut entries = Volume::default();
            volumes.by_ref().take(ranges(table).len() - 1).for_each(|volume| entries += volume);
            self.tables.insert(table.id, Told { rows, entries, at, epoch, version: table.version });
        }
    }

    fn ends(&mut self, shard: ShardId, answered: Result<(), ShardError>) {
        self.asked_since = None;
        self.failed_at = answered.err().map(|error| {
            tracing::debug!(%shard, %error, "a shard does not tell how much it holds");
            Instant::now()
        });
    }
}

impl TableSizes for Sizes {
    fn sizes(
        &self,
        tables: Vec<Arc<Table>>,
        freshness: Freshness,
    ) -> BoxFuture<'_, BTreeMap<TableId, TableSize>> {
        Box::pin(async move {
            let asked_at = Instant::now();
            let Some(placement) = (self.placement)() else { return BTreeMap::new() };
            let holders: BTreeSet<ShardId> = placement.ranges.values().copied().collect();
            let wanted: BTreeMap<ShardId, Wanted> = holders
                .into_iter()
                .map(|shard| {
                    let epoch = placement.shard_epoch(shard).unwrap_or_default();
                    (shard, Wanted { asked_at, freshness, epoch })
                })
                .collect();
            let asked = wanted.iter().filter_map(|(shard, wanted)| self.ask(*shard, &tables, *wanted));
            let asked = futures_util::future::join_all(asked);
            // Who has not answered by then tells those who ask later.
            let _ = tokio::time::timeout(freshness.patience, asked).await;
            tables.iter().filter_map(|table| Some((table.id, self.add_up(table, &wanted)?))).collect()
        })
    }
}

/// What a shard is asked of a table: the range of its rows, and those of the entries of its indexes.
fn ranges(table: &Table) -> Vec<KeyRange> {
    let indexes = table.secondary_indexes().map(|index| index.id);
    std::iter::once(IndexId(0)).chain(indexes).map(|index| key::index_range(table.id, index)).collect()
}

/// Tables in groups that one question has room for.
fn questions(tables: &[Arc<Table>]) -> Vec<&[Arc<Table>]> {
    let (mut questions, mut from, mut named) = (Vec::new(), 0, 0);
    for (at, table) in tables.iter().enumerate() {
        let more = ranges(table).len();
        if named > 0 && named + more > RANGES_MAX {
            questions.push(&tables[from..at]);
            (from, named) = (at, 0);
        }
        named += more;
    }
    if from < tables.len() {
        questions.push(&tables[from..]);
    }
    questions
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
