//! What a session hands over at COMMIT.

use assize_model::{
    AccessGroup, CatalogChange, CommitBody, Epoch, Footprint, KeyHash, Mutation, Placement, Receipt,
    ReplicaId, SchemaVersion, ShardId, TableId, TableRange, TxnId, WriteDigest, WrittenKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One buffered write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// What it does.
    pub mutation: Mutation,
    /// The keyed hash of its key.
    pub hash: KeyHash,
    /// The table whose key it is; range tracking goes by table.
    pub table: TableId,
}

/// Everything that a footprint is made of, whatever id it bears in the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// What was checked, by snapshot.
    pub groups: Vec<AccessGroup>,
    /// The schema versions that were planned with.
    pub schemas: Vec<(TableId, SchemaVersion)>,
    /// Explicit AUTO_INCREMENT values.
    pub auto_increments: Vec<(TableId, u64)>,
    /// A schema or user change.
    pub catalog_change: Option<CatalogChange>,
    /// The writes.
    pub writes: Vec<Write>,
    /// Tables whose ranges are known to be tracked: their keys travel in the clear beside the hashes.
    pub ordered_tables: BTreeSet<TableId>,
}

impl Request {
    fn written(&self) -> Vec<WrittenKey> {
        let written = self.writes.iter().map(|write| WrittenKey {
            hash: write.hash,
            ordered: self
                .ordered_tables
                .contains(&write.table)
                .then(|| (write.table, write.mutation.key.clone())),
        });
        written.collect()
    }

    fn footprint(&self, txn: TxnId, body: CommitBody) -> Footprint {
        Footprint {
            txn,
            groups: self.groups.clone(),
            schemas: self.schemas.clone(),
            auto_increments: self.auto_increments.clone(),
            body,
            catalog_change: self.catalog_change.clone(),
        }
    }

    /// Bytes that its encoded footprint has at most, whatever becomes of it on the way: with the writes inside, or with
    /// receipts for them.
    pub fn footprint_bytes_max(&self, inline: bool) -> usize {
        let groups: usize = self.groups.iter().map(group_bytes).sum();
        let writes: usize = self.writes.iter().map(|write| self.write_bytes(write, inline)).sum();
        // No transaction has more participants than writes.
        let receipts = if inline { 0 } else { RECEIPT_BYTES * self.writes.len().min(PARTICIPANTS_MAX) };
        let change = self.catalog_change.as_ref().map_or(0, change_bytes);
        HEAD_BYTES
            + groups
            + 8 * self.schemas.len()
            + 12 * self.auto_increments.len()
            + writes
            + receipts
            + change
    }

    fn write_bytes(&self, write: &Write, inline: bool) -> usize {
        let key = write.mutation.key.0.len();
        let shown = if self.ordered_tables.contains(&write.table) { KEY_BYTES + key } else { 1 };
        let body = if inline { MUTATION_BYTES + write.mutation.size() } else { 0 };
        HASH_BYTES + shown + body
    }

    /// The footprint with its writes inside.
    pub(crate) fn inline(&self, txn: TxnId) -> Footprint {
        let mutations = self.writes.iter().map(|write| write.mutation.clone()).collect();
        self.footprint(txn, CommitBody::Inline { mutations, written: self.written() })
    }

    /// The footprint with receipts for its writes.
    pub(crate) fn prepared(&self, txn: TxnId, receipts: Vec<Receipt>) -> Footprint {
        self.footprint(txn, CommitBody::Prepared { receipts, written: self.written() })
    }

    /// The writes by participant under a placement; the shard for which it has no entry if it does not add up.
    pub(crate) fn route(&self, placement: &Placement) -> Result<BTreeMap<ShardId, Participant>, ShardId> {
        let mut mutations: BTreeMap<ShardId, Vec<Mutation>> = BTreeMap::new();
        for write in &self.writes {
            let shard = placement.shard_of(write.mutation.slot);
            mutations.entry(shard).or_default().push(write.mutation.clone());
        }
        let mut participants = BTreeMap::new();
        for (shard, mutations) in mutations {
            let part = placement.shards.get(&shard).ok_or(shard)?;
            let participant = Participant {
                epoch: part.epoch,
                replicas: part.replicas.keys().copied().collect(),
                digest: WriteDigest::of(&mutations),
                mutations: Arc::new(mutations),
            };
            participants.insert(shard, participant);
        }
        Ok(participants)
    }
}

/// Bytes of a footprint's head, with room for groups that a refresh adds.
const HEAD_BYTES: usize = 1024;
/// Bytes of a key's hash.
const HASH_BYTES: usize = 8;
/// Bytes that stand beside a key in the clear: whether it is there, its table and its length.
const KEY_BYTES: usize = 16;
/// Bytes that stand beside key and value of a mutation.
const MUTATION_BYTES: usize = 16;
/// Bytes of a receipt.
const RECEIPT_BYTES: usize = 24;
/// Each participant holds a slot of its own.
const PARTICIPANTS_MAX: usize = 1 << 16;

fn group_bytes(group: &AccessGroup) -> usize {
    let range = |range: &TableRange| 2 * KEY_BYTES + range.range.start.0.len() + range.range.end.0.len();
    16 + HASH_BYTES * group.checked.len() + group.ranges.iter().map(range).sum::<usize>()
}

fn change_bytes(change: &CatalogChange) -> usize {
    let expects: usize = change.expects.iter().map(|(name, _)| 16 + name.len()).sum();
    let objects = change
        .objects
        .iter()
        .map(|(name, object)| 16 + name.len() + object.as_ref().map_or(0, |object| object.len()));
    64 + expects + objects.sum::<usize>() + 8 * change.fences.len() + 12 * change.counters.len()
}

/// One shard's part of the writes.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub epoch: Epoch,
    /// The configured replicas, reachable or not: majorities are counted over these.
    pub replicas: Vec<ReplicaId>,
    pub mutations: Arc<Vec<Mutation>>,
    pub digest: WriteDigest,
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_adjudicator::encode_footprint;
    use assize_model::{
        DeadlineClass, Fence, FrontendEpoch, FrontendId, Key, KeyRange, NodeId, SchemaVersion, Slot,
        Timestamp,
    };
    use bytes::Bytes;

    /// Writes `count` rows of two tables, of which one is tracked if `tracked` says so.
    fn request(count: usize, key_len: usize, tracked: bool) -> Request {
        let writes = (0..count).map(|n| {
            let key = Key(format!("{n:0key_len$}").into());
            let slot = Slot((n * 7919) as u16);
            let mutation = match n % 3 {
                0 => Mutation::put(key, slot, vec![7; n % 50]),
                1 => Mutation::delete(key, slot),
                _ => Mutation::lock(key, slot),
            };
            Write { mutation, hash: KeyHash(n as u64), table: TableId(1 + n as u32 % 2) }
        });
        let writes: Vec<Write> = writes.collect();
        let range = KeyRange::new(Key(vec![1; key_len].into()), Key(vec![2; key_len].into()));
        let table_range = TableRange { table: TableId(1), range };
        let checked = |from: u64| AccessGroup {
            snapshot_ts: Timestamp(from),
            checked: (0..count as u64).map(|n| KeyHash(from + n)).collect(),
            ranges: if tracked { vec![table_range.clone(); count.min(5)] } else { Vec::new() },
        };
        Request {
            groups: if tracked { vec![checked(0), checked(99)] } else { vec![checked(0)] },
            schemas: vec![(TableId(1), SchemaVersion(1)), (TableId(2), SchemaVersion(1))],
            auto_increments: if tracked { vec![(TableId(1), 9)] } else { Vec::new() },
            catalog_change: None,
            ordered_tables: tracked.then_some(TableId(1)).into_iter().collect(),
            writes,
        }
    }

    fn encoded(footprint: &Footprint) -> usize {
        let mut out = Vec::new();
        encode_footprint(&mut out, footprint);
        out.len()
    }

    #[test]
    fn no_footprint_is_longer_than_it_may_be() {
        let txn = TxnId::new(Timestamp(1), DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
        let placement = Placement::even(40, NodeId(1));
        for (count, key_len) in [(0, 1), (1, 1), (1, 3000), (30, 20), (3000, 5), (300, 1000)] {
            for tracked in [false, true] {
                let request = request(count, key_len, tracked);
                let case = format!("{count} keys of {key_len} bytes, tracked: {tracked}");
                assert!(encoded(&request.inline(txn)) <= request.footprint_bytes_max(true), "{case}");
                let receipts = request.route(&placement).unwrap().into_iter().map(|(shard, part)| Receipt {
                    shard,
                    epoch: part.epoch,
                    digest: part.digest,
                });
                let prepared = encoded(&request.prepared(txn, receipts.collect()));
                assert!(prepared <= request.footprint_bytes_max(false), "{case}");
            }
        }
        let change = CatalogChange {
            expects: vec![(Bytes::from_static(b"expected"), 7)],
            objects: vec![(Bytes::from_static(b"put"), Some(vec![0; 5000].into())), (Bytes::new(), None)],
            fences: vec![Fence { table: TableId(1), min_version: SchemaVersion(2) }],
            counters: vec![(TableId(1), 5)],
        };
        let request = Request { catalog_change: Some(change), ..request(1, 1, true) };
        assert!(encoded(&request.inline(txn)) <= request.footprint_bytes_max(true));
    }
}
