//! What a session hands over at COMMIT.

use assize_model::{
    AccessGroup, CatalogChange, CommitBody, Epoch, Footprint, KeyHash, Mutation, Placement, Receipt,
    ReplicaId, SchemaVersion, ShardId, TableId, TxnId, WriteDigest, WrittenKey,
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

/// One shard's part of the writes.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub epoch: Epoch,
    /// The configured replicas, reachable or not: majorities are counted over these.
    pub replicas: Vec<ReplicaId>,
    pub mutations: Arc<Vec<Mutation>>,
    pub digest: WriteDigest,
}
