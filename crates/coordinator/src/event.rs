//! What a coordinator hears, and what it asks its hands to do.

use assize_model::{
    AbortReason, Decision, Epoch, Footprint, KeyHash, Mutation, Outcome, Placement, ReplicaId, ShardId,
    Timestamp, TxnId, Vote, VoteRefusal,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Somebody who votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Voter {
    /// The participant.
    pub shard: ShardId,
    /// Which of its replicas; `None` if one voice speaks for the participant as a whole.
    pub replica: Option<ReplicaId>,
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replica {
            Some(replica) => write!(f, "{}/{replica}", self.shard),
            None => write!(f, "{}", self.shard),
        }
    }
}

/// A timer that was set. One that fires late, when its moment has passed, is recognised and ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timer(pub u32);

/// What the shards know of a key or range that the conflict window has forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newest {
    /// Its newest commit, lock markers counted; `None`: never written, as far as anybody needs to know.
    pub newest: Option<Timestamp>,
    /// The closed timestamp as of which that is so. It becomes the baseline.
    pub as_of: Timestamp,
}

/// What a coordinator hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A voter has answered.
    Voted {
        /// Who.
        voter: Voter,
        /// On whose prepare.
        txn: TxnId,
        /// How.
        vote: Vote,
    },
    /// The adjudicator has answered.
    Decided {
        /// About whom.
        txn: TxnId,
        /// How.
        decision: Decision,
    },
    /// The reply to a commit was lost: it may or may not have been proposed.
    ReplyLost {
        /// Whose.
        txn: TxnId,
    },
    /// A commit was certainly not proposed: nobody could be reached, or it was turned away at the door.
    NotProposed {
        /// Whose.
        txn: TxnId,
    },
    /// Another node leads the adjudicator now. Nothing is lost, but a reply may be.
    LeaderChanged,
    /// The answer to [`Effect::AskOutcome`].
    OutcomeAnswered {
        /// About whom.
        txn: TxnId,
        /// What.
        outcome: Outcome,
    },
    /// The answer to [`Effect::DrawTxn`].
    TxnDrawn(TxnId),
    /// The answer to [`Effect::AskPlacement`].
    PlacementArrived(Arc<Placement>),
    /// The answer to [`Effect::AskNewest`].
    NewestAnswered {
        /// Whose question.
        txn: TxnId,
        /// Each key that was asked about.
        keys: Vec<(KeyHash, Newest)>,
        /// Each range that was asked about: (group, range) in the footprint.
        ranges: Vec<((u32, u32), Newest)>,
    },
    /// Something that was asked for (a placement, the newest commits) could not be had.
    AskFailed,
    /// The client is gone or has been killed.
    Cancelled,
    /// A timer has fired.
    TimerFired(Timer),
}

/// What a coordinator asks its hands to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask a voter for its promise.
    SendPrepare {
        /// Whom.
        to: Voter,
        /// The transaction.
        txn: TxnId,
        /// The epoch of the shard by which the writes were routed.
        epoch: Epoch,
        /// The writes.
        mutations: Arc<Vec<Mutation>>,
    },
    /// Tell a voter that the transaction will never commit. Nobody waits for it and it may be lost.
    HintAbort {
        /// Whom.
        to: Voter,
        /// The transaction.
        txn: TxnId,
    },
    /// Send the footprint to the adjudicator. Sending one again is harmless.
    SendCommit {
        /// The footprint.
        footprint: Box<Footprint>,
    },
    /// Ask what became of a transaction.
    AskOutcome {
        /// Which.
        txn: TxnId,
        /// Whether an undecided one is to be aborted by a log entry.
        resolve: bool,
    },
    /// Draw a new transaction id of the same deadline class.
    DrawTxn,
    /// Look the placement up. It must be at least as new as this question.
    AskPlacement,
    /// Ask the shards when these were last committed.
    AskNewest {
        /// Whose question.
        txn: TxnId,
        /// Keys of the footprint.
        keys: Vec<KeyHash>,
        /// Ranges of the footprint: (group, range).
        ranges: Vec<(u32, u32)>,
        /// The shards must have come at least this far.
        at_least: Timestamp,
    },
    /// Fire a timer after this long. Earlier timers no longer matter.
    SetTimer {
        /// Which.
        timer: Timer,
        /// How long.
        after: Duration,
    },
    /// The adjudicator need not remember this transaction for us any more.
    Acknowledge {
        /// Which.
        txn: TxnId,
    },
    /// The end: what the client is to be told.
    Answer(Answer),
}

/// What became of the commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is committed.
    Committed {
        /// Under which id; it may not be the first.
        txn: TxnId,
        /// When.
        commit_ts: Timestamp,
    },
    /// The adjudicator (or a newer commit that a shard knows of) refused it.
    Aborted(AbortReason),
    /// It certainly did not commit, because it was never proposed.
    NotProposed(NotProposed),
    /// Nobody could say within the time allowed. It may be committed; the client can ask by id.
    Unknown {
        /// Under which id.
        txn: TxnId,
    },
}

impl Answer {
    /// As an outcome. What was never proposed is reported with the reason that comes closest.
    pub fn outcome(&self) -> Outcome {
        match self {
            Answer::Committed { commit_ts, .. } => Outcome::Committed(*commit_ts),
            Answer::Aborted(reason) => Outcome::Aborted(reason.clone()),
            Answer::NotProposed(NotProposed::Refused { shard, refusal }) => Outcome::Aborted(match refusal {
                VoteRefusal::DeadlinePassed { .. } => AbortReason::DeadlinePassed,
                VoteRefusal::StaleEpoch { current } => {
                    AbortReason::StaleEpoch { shard: *shard, current: *current }
                }
                VoteRefusal::DifferentWrites | VoteRefusal::Overloaded => {
                    AbortReason::ShardUnavailable { shard: *shard }
                }
            }),
            Answer::NotProposed(NotProposed::NoMajority { shard }) => {
                Outcome::Aborted(AbortReason::ShardUnavailable { shard: *shard })
            }
            Answer::NotProposed(NotProposed::Unreachable) => Outcome::Aborted(AbortReason::DeadlinePassed),
            Answer::NotProposed(NotProposed::Cancelled) => Outcome::Aborted(AbortReason::Resolved),
            Answer::Unknown { .. } => Outcome::Unknown,
        }
    }
}

/// Why a commit never reached the adjudicator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotProposed {
    /// A participant voted No.
    #[error("{shard} refused to prepare: {refusal}")]
    Refused {
        /// Which.
        shard: ShardId,
        /// Why.
        refusal: VoteRefusal,
    },
    /// Less than a majority of a participant's replicas voted in time.
    #[error("less than a majority of {shard} answered in time")]
    NoMajority {
        /// Which.
        shard: ShardId,
    },
    /// Neither the adjudicator nor a new placement could be had in time.
    #[error("the adjudicator could not be reached in time")]
    Unreachable,
    /// The client went away first.
    #[error("the commit was cancelled before it was sent")]
    Cancelled,
}
