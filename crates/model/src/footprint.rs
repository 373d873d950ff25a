//! What a transaction read and wrote, as the adjudicator needs to know it.

use crate::{Epoch, Key, KeyHash, KeyRange, Mutation, SchemaVersion, ShardId, TableId, Timestamp, TxnId};
use bytes::Bytes;

/// Most bytes that an encoded footprint may have. An entry of the log holds a batch of footprints and goes to the followers in
/// one message; one that is larger than a message would stand in the log for ever without reaching a follower, and nothing
/// would commit behind it. A session refuses what would be larger, and the adjudicator refuses it again.
pub const FOOTPRINT_BYTES_MAX: usize = 32 << 20;

/// What a transaction read and wrote, with the snapshots it used. The adjudicator decides from this alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Whose footprint.
    pub txn: TxnId,
    /// Accesses grouped by the snapshot they were made at. REPEATABLE READ and SERIALIZABLE have one group;
    /// READ COMMITTED and locking reads may have several.
    pub groups: Vec<AccessGroup>,
    /// The version of each table that the transaction planned with; DDL fences compare it.
    pub schemas: Vec<(TableId, SchemaVersion)>,
    /// Explicit AUTO_INCREMENT values: the table's counter must end above each of these.
    pub auto_increments: Vec<(TableId, u64)>,
    /// How the writes travel.
    pub body: CommitBody,
    /// Set if this is a schema or user change.
    pub catalog_change: Option<CatalogChange>,
}

/// Accesses made at one snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessGroup {
    /// The snapshot: the boundary of an applied batch. A key or range that had to be refreshed moves into a group of its
    /// own, whose snapshot is the position up to which its shards vouch for it.
    pub snapshot_ts: Timestamp,
    /// Point keys whose last commit must not be later than `snapshot_ts`: those written (and first written at
    /// this snapshot), and at SERIALIZABLE or for locking reads those read.
    pub checked: Vec<KeyHash>,
    /// Key ranges in which nothing may have been committed after `snapshot_ts`.
    pub ranges: Vec<TableRange>,
}

/// A range of keys of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableRange {
    /// The table, whose range tracking must be on.
    pub table: TableId,
    /// The keys.
    pub range: KeyRange,
}

/// A key that the transaction writes, as the conflict window records it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenKey {
    /// Its keyed hash.
    pub hash: KeyHash,
    /// The table and the key itself, present if the ranges of *any* table in the footprint's `schemas` are tracked: the
    /// adjudicator cannot tell whose key a bare hash is.
    pub ordered: Option<(TableId, Key)>,
}

/// How the writes of a transaction reach its participants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitBody {
    /// The writes ride in the log entry.
    Inline {
        /// The mutations, parallel to `written`.
        mutations: Vec<Mutation>,
        /// What the window records.
        written: Vec<WrittenKey>,
    },
    /// The writes lie as intents on their participants.
    Prepared {
        /// One receipt per participant.
        receipts: Vec<Receipt>,
        /// What the window records.
        written: Vec<WrittenKey>,
    },
}

impl CommitBody {
    /// What the conflict window records if the transaction commits.
    pub fn written(&self) -> &[WrittenKey] {
        match self {
            CommitBody::Inline { written, .. } | CommitBody::Prepared { written, .. } => written,
        }
    }
}

/// Proof that a participant prepared: what a majority of its replicas voted Yes for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The participant.
    pub shard: ShardId,
    /// The placement epoch of that shard at which its replicas voted.
    pub epoch: Epoch,
    /// Which of a participant's writes the receipt is for.
    pub digest: WriteDigest,
}

/// Count and checksum of one participant's writes. A replica whose intent has another digest must fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteDigest {
    /// How many mutations.
    pub count: u32,
    /// Order-independent checksum: the wrapping sum of each mutation's hash.
    pub sum: u64,
}

impl WriteDigest {
    /// The digest of these mutations, in any order.
    pub fn of<'a>(mutations: impl IntoIterator<Item = &'a Mutation>) -> Self {
        use crate::MutationOp;
        use xxhash_rust::xxh3::xxh3_64_with_seed;
        let mut digest = WriteDigest::default();
        for m in mutations {
            let (tag, value): (u64, &[u8]) = match &m.op {
                MutationOp::Put(value) => (1, value),
                MutationOp::Delete => (2, &[]),
                MutationOp::Lock => (3, &[]),
            };
            let value_hash = xxh3_64_with_seed(value, tag << 16 | u64::from(m.slot.0));
            digest.count += 1;
            digest.sum = digest.sum.wrapping_add(xxh3_64_with_seed(&m.key.0, value_hash));
        }
        digest
    }
}

/// A change of the catalog, which the adjudicator stores without understanding it: named objects of bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CatalogChange {
    /// Objects that must still be at the version that the author saw (0: must not exist). The change is
    /// refused with `AbortReason::CatalogChanged` otherwise.
    pub expects: Vec<(Bytes, u64)>,
    /// Objects to put (`Some`) or to remove (`None`).
    pub objects: Vec<(Bytes, Option<Bytes>)>,
    /// Tables to fence: from this commit on, footprints that planned with a version below the given one are
    /// refused with a retryable reason.
    pub fences: Vec<Fence>,
    /// AUTO_INCREMENT counters to set exactly (ALTER TABLE … AUTO_INCREMENT, TRUNCATE).
    pub counters: Vec<(TableId, u64)>,
}

/// From its commit on, refuses transactions that planned with an older version of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The table.
    pub table: TableId,
    /// The oldest version that may still commit.
    pub min_version: SchemaVersion,
}
