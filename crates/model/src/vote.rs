//! What a participant's replica answers to a prepare.

use crate::{Epoch, Timestamp};

/// A replica's answer to a prepare. A Yes is a promise: the intent is on disk, and stays until the decision
/// has become durable everywhere or the deadline has passed without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    /// The intent is durable here.
    Yes,
    /// It is not, and this is why.
    No(VoteRefusal),
}

/// Why a replica does not prepare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VoteRefusal {
    /// R2: the applied closed timestamp is past the transaction's deadline, so nothing may commit it any more.
    #[error("the deadline has passed: closed timestamp {closed_ts}")]
    DeadlinePassed {
        /// How far the replica's stream had closed.
        closed_ts: Timestamp,
    },
    /// The writes were routed by another placement than the replica's.
    #[error("the shard is in placement epoch {current}")]
    StaleEpoch {
        /// The replica's epoch, which may be older or newer than the one asked for.
        current: Epoch,
    },
    /// The same id has already prepared other writes here.
    #[error("the id has already prepared other writes")]
    DifferentWrites,
    /// The replica has no room for another intent: its disk is full, or it holds as many as it may.
    #[error("the replica has no room for another intent")]
    Overloaded,
}

impl Vote {
    /// Whether it is a Yes.
    pub fn is_yes(&self) -> bool {
        matches!(self, Vote::Yes)
    }
}
