//! What became of a transaction.

use crate::{BatchNumber, Epoch, FrontendEpoch, KeyHash, ShardId, TableId, Timestamp, TxnId};
use bytes::Bytes;

/// What the adjudicator decided. Once made it never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It committed.
    Commit {
        /// When.
        commit_ts: Timestamp,
    },
    /// It did not, and nothing of it will ever be visible.
    Abort {
        /// Why.
        reason: AbortReason,
    },
}

impl Decision {
    /// Whether it committed.
    pub fn is_commit(&self) -> bool {
        matches!(self, Decision::Commit { .. })
    }
}

/// Why a transaction was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AbortReason {
    /// Another transaction committed a key that this one checked, after this one's snapshot.
    Conflict(Conflict),
    /// The conflict window no longer remembers these keys (or ranges) back to the snapshot: ask the shards,
    /// which know, and come again. Never kept as an outcome.
    NeedRefresh {
        /// Point keys.
        keys: Vec<KeyHash>,
        /// Indexes into the footprint: (group, range).
        ranges: Vec<(u32, u32)>,
    },
    /// R1: the batch's base timestamp is past the transaction's deadline.
    DeadlinePassed,
    /// The id was made later than the adjudicator's own time allows.
    FromTheFuture,
    /// The frontend has been fenced or restarted; this life of it may commit nothing more.
    FrontendFenced {
        /// The life that is current now.
        current: FrontendEpoch,
    },
    /// A snapshot of the footprint lies below the low-water mark.
    SnapshotTooOld,
    /// A participant's receipt is from an older placement: prepare again.
    StaleEpoch {
        /// Which participant.
        shard: ShardId,
        /// Its epoch now.
        current: Epoch,
    },
    /// A table was changed by DDL after the transaction planned with it.
    SchemaChanged {
        /// Which table.
        table: TableId,
    },
    /// Another catalog change came first.
    CatalogChanged {
        /// The object that was not at its expected version.
        object: Bytes,
    },
    /// A table's ranges are tracked, and this footprint carried no ordered keys for it: come again.
    RangeKeysMissing {
        /// Which table.
        table: TableId,
    },
    /// Too many outcomes are held; come again later.
    OutcomesFull,
    /// Fewer than a majority of a participant's configured replicas count.
    ShardUnavailable {
        /// Which participant.
        shard: ShardId,
    },
    /// A logged `Resolve` decided it, because somebody needed to know.
    Resolved,
}

impl AbortReason {
    /// Whether the same statements may succeed if the client runs them again.
    pub fn is_retryable(&self) -> bool {
        true
    }

    /// Whether the *same buffered writes* may succeed without running any statement again: under a new id, but for
    /// `NeedRefresh` and `OutcomesFull`. Those two are no decisions and leave the id open, so that a straggling copy could
    /// still commit: after them the same id is sent again.
    pub fn is_recommittable(&self) -> bool {
        matches!(
            self,
            AbortReason::StaleEpoch { .. }
                | AbortReason::RangeKeysMissing { .. }
                | AbortReason::NeedRefresh { .. }
                | AbortReason::OutcomesFull
        )
    }
}

/// Who won.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The key on which they met; `None` if they met in a range.
    pub key: Option<KeyHash>,
    /// Indexes (group, range) into the loser's footprint if they met in a range.
    pub range: Option<(u32, u32)>,
    /// The batch in which the winner committed.
    pub batch: BatchNumber,
    /// The winner, where the adjudicator still knows it and has verified it against the logged batch.
    pub winner: Option<Winner>,
}

/// The transaction that committed first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Winner {
    /// Its id.
    pub txn: TxnId,
    /// When it committed.
    pub commit_ts: Timestamp,
}

/// What a client learns about a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It committed at this timestamp.
    Committed(Timestamp),
    /// It did not.
    Aborted(AbortReason),
    /// Nobody has decided it yet, and it may still be decided either way.
    Undecided,
    /// We could not find out in the time allowed. Never a guess.
    Unknown,
}

impl From<Decision> for Outcome {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Commit { commit_ts } => Outcome::Committed(commit_ts),
            Decision::Abort { reason } => Outcome::Aborted(reason),
        }
    }
}
