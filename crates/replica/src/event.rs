//! What a replica hears, and what it asks its hands to do.

use assize_model::{Epoch, LogIndex, Position, ReplicaId, ShardId, StreamEntry, Timestamp, TxnId, Vote};
use assize_mvcc::{ContentHash, Gain, Intent, Page, Prepare, Slots, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Names a request of somebody outside until it is answered. The hands draw it; the replica only repeats it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// How one replica of the shard stands, as the adjudicator's state has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// It will never again need an entry at or before this, nor an intent that one of them decided.
    pub durable: LogIndex,
    /// Whether the log and intents are kept for it. Learners count from their registration on.
    pub counts: bool,
}

/// How all replicas of the shard stand, this one included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standings {
    /// The log entry up to which this is what the adjudicator's state says. Whoever registers after it takes its
    /// checkpoint after it too, and so needs no intent that was decided up to it.
    pub as_of: LogIndex,
    /// Everybody.
    pub replicas: BTreeMap<ReplicaId, Standing>,
    /// The entry with which the shard was last recovered from the replicas that were left of it, because an operator has
    /// accepted what was lost with the others; 0 if it never was. Up to here a commit whose intent no sibling has is skipped.
    /// Otherwise that ends the replica.
    pub recovered_at: LogIndex,
}

/// A sibling's answer when it is asked for an intent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntentAnswer {
    /// Here it is.
    Has(Intent),
    /// It does not have it. Enough such answers break a promise, so nobody gives one lightly.
    HasNot {
        /// As of which entry the sibling knew the replicas' standings: if it has deleted the intent because the one who
        /// asks no longer counted, that happened at or before this entry.
        as_of: LogIndex,
    },
    /// It could not be asked, or cannot say now. Never to be taken for a no.
    CannotSay,
}

/// What siblings compare: the rows of some keys at a snapshot. See `assize_mvcc`'s `content.rs` for what counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentPage {
    /// Which keys.
    pub keys: Page,
    /// The snapshot at which whoever asks stood.
    pub snapshot_ts: Timestamp,
    /// The shard's epoch at which it stood: in another one another set of slots is held.
    pub epoch: Epoch,
}

/// Replicas of one shard that do not hold the same rows: something is broken, and an operator should hear of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where they differ.
    pub page: ContentPage,
    /// What each holds there.
    pub answers: BTreeMap<ReplicaId, ContentHash>,
    /// Those that differ from what most hold; they are rebuilt. `None`: no majority agrees, and nobody can tell who is
    /// right.
    pub odd: Option<BTreeSet<ReplicaId>>,
}

/// What a replica hears.
pub enum Event<E> {
    /// An entry of the shard's decision stream.
    Streamed(Arc<StreamEntry>),
    /// The subscription broke; entries may be missing.
    StreamLost,
    /// The stream cannot be resumed where this replica stands: the log no longer goes back that far.
    StreamForgotten,
    /// Frontends ask for promises.
    PreparesAsked(Vec<(RequestId, Prepare)>),
    /// A coordinator says that this transaction will never commit.
    ForgetAsked(TxnId),
    /// Somebody wants to read at a snapshot.
    ReadAsked {
        /// The request.
        request: RequestId,
        /// The snapshot, or the position that a refresh waits for.
        snapshot_ts: Timestamp,
        /// The epoch by which the read was routed; `None` if it was not (refresh).
        epoch: Option<Epoch>,
    },
    /// Whoever asked no longer waits.
    Cancelled(RequestId),
    /// A sibling missed an intent.
    IntentAsked {
        /// Who asks.
        from: ReplicaId,
        /// Whose intent.
        txn: TxnId,
    },
    /// A sibling's answer to [`Effect::FetchIntent`].
    IntentAnswered {
        /// Who answers.
        from: ReplicaId,
        /// Whose intent.
        txn: TxnId,
        /// The answer.
        answer: IntentAnswer,
    },
    /// How the replicas stand, from a look at the adjudicator's state.
    StandingsReported(Standings),
    /// A log entry has raised the shard's epoch, as this replica asked.
    EpochRaised,
    /// A log entry has registered this replica.
    Registered {
        /// Which entry.
        index: LogIndex,
    },
    /// A learner wants a checkpoint, taken at or after the entry that registered it.
    CheckpointAsked {
        /// Who asks.
        from: ReplicaId,
        /// The entry.
        at_least: LogIndex,
    },
    /// The checkpoint has been copied; an engine stands on it.
    CheckpointArrived(E),
    /// The sibling could not send its checkpoint, or copying it failed.
    CheckpointFailed {
        /// Which sibling.
        from: ReplicaId,
    },
    /// A checkpoint of a shard that held slots which this one gains has been copied; an engine stands on it.
    SlotsArrived(E),
    /// Somebody is about to move slots here: stage them, or go on with it.
    StageAsked {
        /// The shard that holds them.
        giver: ShardId,
        /// Which slots.
        slots: Slots,
    },
    /// An entry of the stream of the shard whose slots are being staged.
    GiverStreamed(Arc<StreamEntry>),
    /// That subscription broke; entries may be missing.
    GiverStreamLost,
    /// That stream cannot be resumed where it is wanted.
    GiverStreamForgotten,
    /// A checkpoint of that shard has been copied; an engine stands on it.
    GiverArrived(E),
    /// The answer of one of that shard's replicas to [`Effect::FetchFromGiver`].
    GiverAnswered {
        /// Whose intent.
        txn: TxnId,
        /// The answer.
        answer: IntentAnswer,
    },
    /// A sibling compares.
    ContentAsked {
        /// Who asks.
        from: ReplicaId,
        /// About what.
        page: ContentPage,
    },
    /// A sibling's answer to [`Effect::AskContent`].
    ContentAnswered {
        /// Who answers.
        from: ReplicaId,
        /// What it was asked.
        page: ContentPage,
        /// Its hash; `None`: it cannot be compared at that snapshot, not now or not any more.
        answer: Option<ContentHash>,
    },
    /// Most siblings agreed with each other in this epoch, and not with this replica: it is to be rebuilt.
    ContentDiffers {
        /// The epoch. A rebuild raises it, so what was said before one does not cause another.
        epoch: Epoch,
    },
    /// Time has passed.
    Tick,
}

impl<E> fmt::Debug for Event<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Streamed(entry) => write!(f, "Streamed({:?})", entry.position),
            Event::StreamLost => f.write_str("StreamLost"),
            Event::StreamForgotten => f.write_str("StreamForgotten"),
            Event::PreparesAsked(asked) => write!(f, "PreparesAsked({})", asked.len()),
            Event::ForgetAsked(txn) => write!(f, "ForgetAsked({txn})"),
            Event::ReadAsked { request, snapshot_ts, epoch } => {
                write!(f, "ReadAsked({request:?}, {snapshot_ts}, {epoch:?})")
            }
            Event::Cancelled(request) => write!(f, "Cancelled({request:?})"),
            Event::IntentAsked { from, txn } => write!(f, "IntentAsked({from}, {txn})"),
            Event::IntentAnswered { from, txn, .. } => write!(f, "IntentAnswered({from}, {txn})"),
            Event::StandingsReported(standings) => write!(f, "StandingsReported({standings:?})"),
            Event::EpochRaised => f.write_str("EpochRaised"),
            Event::Registered { index } => write!(f, "Registered({index})"),
            Event::CheckpointAsked { from, at_least } => write!(f, "CheckpointAsked({from}, {at_least})"),
            Event::CheckpointArrived(_) => f.write_str("CheckpointArrived"),
            Event::CheckpointFailed { from } => write!(f, "CheckpointFailed({from})"),
            Event::SlotsArrived(_) => f.write_str("SlotsArrived"),
            Event::StageAsked { giver, slots } => write!(f, "StageAsked({giver}, {slots:?})"),
            Event::GiverStreamed(entry) => write!(f, "GiverStreamed({:?})", entry.position),
            Event::GiverStreamLost => f.write_str("GiverStreamLost"),
            Event::GiverStreamForgotten => f.write_str("GiverStreamForgotten"),
            Event::GiverArrived(_) => f.write_str("GiverArrived"),
            Event::GiverAnswered { txn, .. } => write!(f, "GiverAnswered({txn})"),
            Event::ContentAsked { from, page } => write!(f, "ContentAsked({from}, {page:?})"),
            Event::ContentAnswered { from, page, answer } => {
                write!(f, "ContentAnswered({from}, {page:?}, {answer:?})")
            }
            Event::ContentDiffers { epoch } => write!(f, "ContentDiffers({epoch})"),
            Event::Tick => f.write_str("Tick"),
        }
    }
}

/// Why a read is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadRefusal {
    /// It was routed by an old placement: route it again.
    #[error("the shard is in placement epoch {current}")]
    StaleEpoch {
        /// The epoch here.
        current: Epoch,
    },
    /// Versions that the snapshot needs may be gone.
    #[error("the snapshot is below the low-water mark {low_water}")]
    SnapshotTooOld {
        /// The oldest snapshot that can be read.
        low_water: Timestamp,
    },
    /// This replica cannot answer (it is being rebuilt, has halted, or has too many waiting): ask a sibling.
    #[error("the replica cannot answer now")]
    Unavailable,
}

/// Why a replica has stopped for good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Alarm {
    /// The adjudicator committed what a majority had promised to keep, and nobody has it.
    #[error("no replica has the intent of {txn}, which the decision stream commits at {decided}")]
    BrokenPromise {
        /// Whose intent.
        txn: TxnId,
        /// The entry that commits it.
        decided: LogIndex,
    },
    /// The engine failed, or its bytes make no sense.
    #[error("the store has failed: {0}")]
    Store(#[from] StoreError),
}

/// What a replica asks its hands to do. None is waited for; what comes of it comes back as an event, or does not, and is
/// asked again at some later [`Event::Tick`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect<C> {
    /// Deliver the stream's entries after this position, in place of whatever was being delivered.
    Subscribe {
        /// The position.
        after: Position,
    },
    /// Answer a prepare.
    Vote {
        /// Which.
        request: RequestId,
        /// The transaction.
        txn: TxnId,
        /// The vote.
        vote: Vote,
    },
    /// The read may go ahead on the replica's reader.
    AdmitRead {
        /// Which.
        request: RequestId,
    },
    /// The read may not.
    RefuseRead {
        /// Which.
        request: RequestId,
        /// Why.
        refusal: ReadRefusal,
    },
    /// Ask a sibling for an intent.
    FetchIntent {
        /// Which sibling.
        from: ReplicaId,
        /// Whose intent.
        txn: TxnId,
    },
    /// Answer a sibling.
    AnswerIntent {
        /// Which sibling.
        to: ReplicaId,
        /// Whose intent.
        txn: TxnId,
        /// The answer.
        answer: IntentAnswer,
    },
    /// Look how the replicas stand. The look must be taken after this was asked.
    AskStandings,
    /// Tell the adjudicator that this replica will never ask for earlier entries.
    ReportDurable {
        /// How far it is durable.
        durable: Position,
    },
    /// Raise the shard's epoch by a log entry: this replica is about to forget intents.
    RaiseEpoch,
    /// Register this replica by a log entry: it is about to copy a checkpoint.
    Register,
    /// Copy a sibling's checkpoint, taken at or after this entry.
    AskCheckpoint {
        /// Which sibling.
        from: ReplicaId,
        /// The entry.
        at_least: LogIndex,
    },
    /// Send a learner this checkpoint.
    SendCheckpoint {
        /// Which learner.
        to: ReplicaId,
        /// The checkpoint.
        checkpoint: C,
    },
    /// Copy a checkpoint of a replica of the shard that holds these slots just before `gain.at`, or of one of the shards if
    /// there are several; taken at or after `gain.after`, and before that replica has forgotten what it lost. It comes back
    /// as [`Event::SlotsArrived`], and is asked for again if it does not come or does not do.
    AskSlots {
        /// The entry that gives them, and which are missing.
        gain: Gain,
    },
    /// Deliver the entries of another shard's stream after this position as [`Event::GiverStreamed`], in place of whatever was
    /// being delivered so.
    FollowGiver {
        /// Which shard.
        giver: ShardId,
        /// The position.
        after: Position,
    },
    /// Copy a checkpoint of a replica of this shard that [can give](assize_mvcc::MvccStore::can_give) what `gain` says. It comes
    /// back as [`Event::GiverArrived`], and is asked for again if it does not come or does not do.
    AskGiver {
        /// Which shard.
        giver: ShardId,
        /// Which slots, and as of which entry.
        gain: Gain,
    },
    /// Ask some replica of this shard for an intent.
    FetchFromGiver {
        /// Which shard.
        giver: ShardId,
        /// Whose intent.
        txn: TxnId,
    },
    /// The other shard's stream, and copies of it, are wanted no more.
    LeaveGiver,
    /// Ask a sibling for its hash of a page. Whoever cannot be asked has not answered: say nothing.
    AskContent {
        /// Which sibling.
        from: ReplicaId,
        /// The page.
        page: ContentPage,
    },
    /// Answer a sibling.
    AnswerContent {
        /// Which sibling.
        to: ReplicaId,
        /// The page.
        page: ContentPage,
        /// The hash; `None` if it cannot be compared at that snapshot.
        answer: Option<ContentHash>,
    },
    /// Tell a sibling that it is the odd one: it hears [`Event::ContentDiffers`].
    TellContentDiffers {
        /// Which sibling.
        to: ReplicaId,
        /// The epoch in which it was seen.
        epoch: Epoch,
    },
    /// Wake the operator: replicas differ. What differs from a majority is rebuilt without further ado.
    ReportDifference(Difference),
    /// Tell the operator: the writes of this commit are lost, as far as this shard goes, with those that had them. See
    /// [`Standings::recovered_at`].
    ReportLost {
        /// Whose writes.
        txn: TxnId,
        /// The entry that commits them.
        decided: LogIndex,
    },
    /// Wake the operator. The replica does nothing more.
    Halt(Alarm),
}
