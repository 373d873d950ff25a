//! Who won: finds the transaction behind a conflict, in recent batches.
//!
//! The window remembers batches and 32 bits of a key, no transactions. A leader keeps the last batches beside
//! it (they are shared memory of the log) and looks the winner up when somebody lost. What is found is
//! verified against what the winner really wrote: tags may collide, and a collision is retried, not explained.
//! None of this is replicated and no decision depends on it.

use crate::applied::Applied;
use crate::command::{Batch, Command};
use crate::decisions::Decisions;
use crate::footprint_view::FootprintView;
use crate::sequencer::BATCH_MAX;
use assize_model::*;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// What lies behind a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explanation {
    /// This transaction committed first.
    Winner(Winner),
    /// Nobody did: two keys share a tag. To be retried without a word.
    Collision,
}

/// Recent batches and what became of them.
#[derive(Clone, Debug)]
pub struct Explainer {
    recent: VecDeque<Arc<RecentBatch>>,
    bytes: usize,
    bytes_max: usize,
    /// The catalog's version after the last entry.
    catalog_version: CatalogVersion,
    /// Whose change fenced a table, the last at the end.
    fences: VecDeque<(TableId, Winner)>,
    /// Whose change put or removed an object of the catalog, likewise.
    objects: VecDeque<(Bytes, Winner)>,
}

/// Fences, and changed objects, that are remembered.
const FENCES_MAX: usize = 1024;

/// A batch and what became of it.
#[derive(Debug)]
pub struct RecentBatch {
    number: BatchNumber,
    batch: Batch,
    decisions: Decisions,
    /// Made when somebody first asks: most batches are never asked about, and a busy one is asked again and again.
    writers: OnceLock<Writers>,
}

impl RecentBatch {
    fn writers(&self) -> &Writers {
        self.writers.get_or_init(|| Writers::of(&self.batch, &self.decisions))
    }
}

/// Who committed which key in a batch: a hash table of written keys. A busy leader makes one for every batch, so it is made in
/// one pass: a key is put in front of those before it, and a search meets the last writer first.
#[derive(Clone, Debug)]
struct Writers {
    /// The last key of each chain: its place in `keys`, counted from 1.
    heads: Vec<u32>,
    keys: Vec<Written>,
}

/// A written key.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The key before it in its chain, as in [`Writers::heads`]; 0 if there is none.
    before: u32,
    /// 16 bits of the key, above the place of the footprint.
    tag_and_place: u32,
    /// Where the footprint begins.
    first: u32,
}

/// Footprints from this place on are in no table. A leader's batches end before.
const PLACES: usize = u16::MAX as usize;
const _: () = assert!(BATCH_MAX < PLACES);
/// Bytes of a batch for each chain. An ordinary footprint takes a hundred, and writes two keys; a written key takes eight at
/// least, which bounds the length of chains.
const BYTES_OF_A_CHAIN: usize = 64;

impl Writers {
    fn of(batch: &Batch, decisions: &Decisions) -> Writers {
        let chains = (batch.bytes().len() / BYTES_OF_A_CHAIN + 1).next_power_of_two();
        let mut writers = Writers { heads: vec![0; chains], keys: Vec::with_capacity(chains) };
        let mut first = 0;
        for (place, (view, commit_ts)) in
            batch.views().zip(decisions.committed_here()).take(PLACES).enumerate()
        {
            if commit_ts.is_some() {
                view.written().for_each(|hash| writers.put(hash, place as u32, first));
            }
            first += view.len() as u32;
        }
        writers
    }

    #[inline(always)]
    fn put(&mut self, key: KeyHash, place: u32, first: u32) {
        let chain = home(key, self.heads.len());
        let head = &mut self.heads[chain];
        self.keys.push(Written { before: *head, tag_and_place: tag(key) | place, first });
        *head = self.keys.len() as u32;
    }

    /// The last footprint of another transaction that wrote this key, and its place.
    fn last<'a>(&self, batch: &'a Batch, key: KeyHash, but: TxnId) -> Option<(u32, FootprintView<'a>)> {
        let mut next = self.heads[home(key, self.heads.len())];
        while let Some(at) = next.checked_sub(1) {
            let written = self.keys[at as usize];
            if written.tag_and_place & TAG == tag(key) {
                let place = written.tag_and_place & !TAG;
                let view = batch.view_at(written.first as usize);
                if view.txn() != but && view.written().any(|hash| hash == key) {
                    return Some((place, view));
                }
            }
            next = written.before;
        }
        None
    }
}

/// Bits of [`Written::tag_and_place`] that are the key's.
const TAG: u32 = 0xffff_0000;

/// Bits of a key that have no part in where it lies.
fn tag(key: KeyHash) -> u32 {
    (key.0 >> 32) as u32 & TAG
}

/// Which of so many chains, a power of two, is a key's.
fn home(key: KeyHash, chains: usize) -> usize {
    // Hashes are as good as random, in all of their bits.
    key.0 as usize & (chains - 1)
}

impl Explainer {
    /// Keeps about so many bytes of batches.
    pub fn new(bytes_max: usize) -> Self {
        Explainer {
            recent: VecDeque::new(),
            bytes: 0,
            bytes_max,
            catalog_version: CatalogVersion::default(),
            fences: VecDeque::new(),
            objects: VecDeque::new(),
        }
    }

    /// Takes note of an applied entry.
    pub fn observe(&mut self, command: &Command, applied: &Applied) {
        let has_new_catalog =
            std::mem::replace(&mut self.catalog_version, applied.catalog_version) != applied.catalog_version;
        let Command::Batch(batch) = command else { return };
        if has_new_catalog {
            self.note_changes(batch, &applied.decisions);
        }
        self.bytes += batch.bytes().len();
        self.recent.push_back(Arc::new(RecentBatch {
            number: applied.batch,
            batch: batch.clone(),
            decisions: applied.decisions.clone(),
            writers: OnceLock::new(),
        }));
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.recent.pop_front()
        {
            self.bytes -= oldest.batch.bytes().len();
        }
    }

    /// Few batches change the catalog, and only those are looked through.
    fn note_changes(&mut self, batch: &Batch, decisions: &Decisions) {
        for (view, commit_ts) in batch.views().zip(decisions.committed_here()) {
            let Some((change, commit_ts)) = view.catalog_change().zip(commit_ts) else { continue };
            let winner = Winner { txn: view.txn(), commit_ts };
            self.fences.extend(change.fences.iter().map(|fence| (fence.table, winner)));
            // Copied: a key must not keep a whole batch in memory.
            let keys = change.objects.iter().map(|(key, _)| Bytes::copy_from_slice(key));
            self.objects.extend(keys.map(|key| (key, winner)));
        }
        self.fences.drain(..self.fences.len().saturating_sub(FENCES_MAX));
        self.objects.drain(..self.objects.len().saturating_sub(FENCES_MAX));
    }

    /// A recent batch, if it is still at hand.
    pub fn batch(&self, number: BatchNumber) -> Option<Arc<RecentBatch>> {
        let found = self.recent.binary_search_by_key(&number, |recent| recent.number);
        found.ok().map(|found| self.recent[found].clone())
    }

    /// The recent batch in which something may have committed at this timestamp, if it is still at hand.
    pub fn batch_at(&self, commit_ts: Timestamp) -> Option<Arc<RecentBatch>> {
        let after = self.recent.partition_point(|recent| recent.decisions.commit_ts(0) <= commit_ts);
        Some(self.recent[after.checked_sub(1)?].clone())
    }

    /// Whose change of the catalog fenced this table last.
    pub fn fenced(&self, table: TableId) -> Option<Winner> {
        self.fences.iter().rev().find(|(fenced, _)| *fenced == table).map(|(_, winner)| *winner)
    }

    /// Whose change put or removed this object of the catalog last.
    pub fn changed(&self, object: &[u8]) -> Option<Winner> {
        self.objects.iter().rev().find(|(changed, _)| changed == object).map(|(_, winner)| *winner)
    }
}

/// Fills the winner into a decision that is a conflict, where `recent` has its batch.
pub fn complete(
    decision: &mut Decision,
    loser: &FootprintView<'_>,
    recent: impl FnOnce(BatchNumber) -> Option<Arc<RecentBatch>>,
) {
    if let Decision::Abort { reason: AbortReason::Conflict(conflict) } = decision
        && let Some(batch) = recent(conflict.batch)
        && let Explanation::Winner(winner) = batch.explain(conflict, loser)
    {
        conflict.winner = Some(winner);
    }
}

impl RecentBatch {
    /// What committed in this batch at this timestamp.
    pub fn committed_at(&self, commit_ts: Timestamp) -> Option<Winner> {
        let mut committed = self.batch.views().zip(self.decisions.committed_here());
        let (view, _) = committed.find(|(_, at)| *at == Some(commit_ts))?;
        Some(Winner { txn: view.txn(), commit_ts })
    }

    /// Who won in this batch against `loser`.
    pub fn explain(&self, conflict: &Conflict, loser: &FootprintView<'_>) -> Explanation {
        if let Some(key) = conflict.key {
            let last = self.writers().last(&self.batch, key, loser.txn());
            return last.map_or(Explanation::Collision, |(place, winner)| {
                let commit_ts = self.decisions.commit_ts(place);
                Explanation::Winner(Winner { txn: winner.txn(), commit_ts })
            });
        }
        let range = conflict.range.and_then(|(group, range)| {
            let before: u32 = loser.groups().take(group as usize).map(|g| g.ranges).sum();
            loser.ranges().nth((before + range) as usize)
        });
        let wrote = |winner: &FootprintView<'_>| {
            range.as_ref().is_some_and(|range| {
                winner.ordered().flatten().any(|(table, key)| {
                    table == range.table && range.range.start.0[..] <= *key && *key < range.range.end.0[..]
                })
            })
        };
        self.batch
            .views()
            .zip(self.decisions.committed_here())
            .filter_map(|(winner, commit_ts)| Some((winner, commit_ts?)))
            .filter(|(winner, _)| winner.txn() != loser.txn() && wrote(winner))
            .last()
            .map_or(Explanation::Collision, |(winner, commit_ts)| {
                Explanation::Winner(Winner { txn: winner.txn(), commit_ts })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint_view::{encode_footprint, encode_prepared};

    fn object(table: TableId) -> Bytes {
        format!("table {}", table.0).into()
    }

    fn changes_the_catalog(number: u64, table: TableId) -> Vec<u8> {
        let fence = Fence { table, min_version: SchemaVersion(2) };
        let footprint = Footprint {
            txn: TxnId::from_serial(Timestamp::from_millis(5), number.into()),
            groups: Vec::new(),
            schemas: Vec::new(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline { mutations: Vec::new(), written: Vec::new() },
            catalog_change: Some(CatalogChange {
                fences: vec![fence],
                objects: vec![(object(table), None)],
                ..CatalogChange::default()
            }),
        };
        let mut bytes = Vec::new();
        encode_footprint(&mut bytes, &footprint);
        bytes
    }

    #[test]
    fn whoever_fenced_a_table_and_whoever_committed_at_a_timestamp_is_known() {
        let mut explainer = Explainer::new(1 << 20);
        let txn = |number: u64| TxnId::from_serial(Timestamp::from_millis(5), number.into());
        let mut observe = |number: u64, version: u64, tables: &[u32], refused: &[u32]| {
            let base = Timestamp(number * 100);
            let changes = (0..).zip(tables);
            let bytes = changes.flat_map(|(n, table)| changes_the_catalog(number * 10 + n, TableId(*table)));
            let batch = Batch::of_bytes(base, tables.len() as u32, bytes.collect());
            let lost = |place: &u32| (*place, Decision::Abort { reason: AbortReason::Resolved });
            let decisions = Decisions::new(base, tables.len(), refused.iter().map(lost).collect());
            let catalog_version = CatalogVersion(version);
            let applied =
                Applied { batch: BatchNumber(number), decisions, catalog_version, ..Applied::default() };
            explainer.observe(&Command::Batch(batch), &applied);
        };
        observe(1, 1, &[7, 8], &[]);
        observe(2, 2, &[9, 7], &[1]);
        let won = |number: u64, commit_ts: u64| Winner { txn: txn(number), commit_ts: Timestamp(commit_ts) };
        assert_eq!(explainer.fenced(TableId(7)), Some(won(10, 100)), "the other one was refused");
        assert_eq!(explainer.fenced(TableId(9)), Some(won(20, 200)));
        assert_eq!(explainer.fenced(TableId(6)), None);
        let changed = [7, 9, 6].map(|table| explainer.changed(&object(TableId(table))));
        assert_eq!(changed, [Some(won(10, 100)), Some(won(20, 200)), None]);
        let at = |ts: u64| explainer.batch_at(Timestamp(ts)).and_then(|b| b.committed_at(Timestamp(ts)));
        assert_eq!((at(101), at(200)), (Some(won(11, 101)), Some(won(20, 200))));
        assert_eq!((at(99), at(102), at(201)), (None, None, None));
    }

    #[test]
    fn the_last_of_others_that_committed_a_key_has_won_however_alike_keys_are() {
        // The first two and the last share their chain and their tag, the third its chain.
        let [key, like, near, never] =
            [0xaaaa_0000_0000_0001, 0xaaaa_0000_0000_0101, 0xbbbb_0000_0000_0001, 0xaaaa_0000_0000_0201]
                .map(KeyHash);
        let txn = |number: u64| TxnId::from_serial(Timestamp::from_millis(5), number.into());
        let encode = |number: u64, key: KeyHash| {
            let mut bytes = Vec::new();
            let digest = WriteDigest { count: 1, sum: 7 };
            let receipt = Receipt { shard: ShardId(1), epoch: Epoch(1), digest };
            encode_prepared(&mut bytes, txn(number), Timestamp(3), &[], &[key], 1, &[receipt]);
            bytes
        };
        // The fifth did not commit.
        let written = [key, key, like, near, key, key];
        let footprints: Vec<u8> = (0..).zip(written).flat_map(|(number, key)| encode(number, key)).collect();
        let batch = Batch::of_bytes(Timestamp(100), written.len() as u32, footprints);
        let aborted = Decision::Abort { reason: AbortReason::Resolved };
        let decisions = Decisions::new(Timestamp(100), written.len(), vec![(4, aborted)]);
        let recent = RecentBatch { number: BatchNumber(1), batch, decisions, writers: OnceLock::new() };
        let explain = |loser: u64, key: KeyHash| {
            let bytes = encode(loser, key);
            let (view, _) = FootprintView::parse(&bytes).unwrap();
            let conflict = Conflict { key: Some(key), range: None, batch: BatchNumber(1), winner: None };
            recent.explain(&conflict, &view)
        };
        let won = |number: u64| {
            Explanation::Winner(Winner { txn: txn(number), commit_ts: Timestamp(100 + number) })
        };
        assert_eq!(explain(9, key), won(5));
        assert_eq!(explain(5, key), won(1), "nobody loses against himself");
        assert_eq!(explain(9, like), won(2));
        assert_eq!(explain(9, near), won(3));
        assert_eq!(explain(9, never), Explanation::Collision);
    }
}
