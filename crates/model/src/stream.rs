//! The decision stream: what shards hear of decisions, in log order.

use crate::{Epoch, LogIndex, Mutation, Slot, Timestamp, TxnId, WriteDigest};

/// How far a replica has come: the log entry it has taken in, and that entry's closed timestamp. Both rise
/// together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The log entry.
    pub index: LogIndex,
    /// Every decision at or below this has been taken in, and none will follow at or below it.
    pub closed_ts: Timestamp,
}

/// What one log entry means to one shard. A stream is gap-free: `after` names the previous entry's index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEntry {
    /// The entry that came before in this shard's stream.
    pub after: LogIndex,
    /// Where a replica stands once it has taken this in.
    pub position: Position,
    /// Commits that touch this shard, in `commit_ts` order. Aborts need no record.
    pub commits: Vec<ShardCommit>,
    /// The shard's placement epoch, if this entry changed it.
    pub epoch: Option<Epoch>,
    /// The slots that the shard holds from this entry on, as inclusive runs, if this entry changed them.
    pub slots: Option<Vec<(Slot, Slot)>>,
    /// The low-water mark, if this entry raised it: versions that no snapshot at or above it can see may go.
    pub low_water: Option<Timestamp>,
}

/// One committed transaction, as far as it touches one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardCommit {
    /// The transaction.
    pub txn: TxnId,
    /// When it committed.
    pub commit_ts: Timestamp,
    /// Its writes on this shard.
    pub writes: ShardWrites,
}

/// Where the writes of a commit are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShardWrites {
    /// Here.
    Inline(Vec<Mutation>),
    /// In an intent that the replica prepared, or must fetch from a sibling.
    Prepared {
        /// The epoch at which it was prepared.
        epoch: Epoch,
        /// What the intent must add up to.
        digest: WriteDigest,
    },
}
