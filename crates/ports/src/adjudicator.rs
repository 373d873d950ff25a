//! The adjudicator, as a frontend sees it.

use crate::{BoxFuture, Footprints, FrameDecisions, TxnRun};
use assize_model::{
    CatalogVersion, Decision, Footprint, FrontendEpoch, FrontendId, KeyHash, NodeId, Outcome, Placement,
    TableId, Timestamp, TxnId, Winner,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A call to the adjudicator failed without a decision.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdjudicatorError {
    /// Nobody could be asked; nothing was proposed.
    #[error("the adjudicator cannot be reached: {0}")]
    Unreachable(String),
    /// This node does not lead; nothing was proposed. Ask the leader, if one is known.
    #[error("this node does not lead the adjudicator's group")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The call may or may not have had its effect: ask by id.
    #[error("the adjudicator's reply was lost")]
    ReplyLost,
    /// Refused for now; nothing was proposed.
    #[error("the adjudicator is overloaded: {0}")]
    Overloaded(String),
    /// The footprint, or other entry, is larger than an entry of the log may be; nothing was proposed. Final: the same will be
    /// refused for ever.
    #[error("too large for the log: {0}")]
    TooLarge(String),
    /// The disk is full: refused, and nothing was proposed. Goes on once there is space.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The node can write no more (failed fsync, damaged data).
    #[error("the adjudicator has stopped: {0}")]
    Stopped(String),
}

/// The answer to a begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// The timestamp of the last applied batch.
    pub snapshot_ts: Timestamp,
    /// The catalog at that snapshot: plan with exactly this.
    pub catalog_version: CatalogVersion,
    /// Epoch of the placement as a whole at that snapshot.
    pub placement_epoch: assize_model::Epoch,
}

/// What a frontend is told when it registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Its id.
    pub frontend: FrontendId,
    /// Its life.
    pub epoch: FrontendEpoch,
    /// The cluster's hash seed for [`assize_model::Key::hash`].
    pub hash_seed: u64,
}

/// Catalog objects as the adjudicator keeps them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogObjects {
    /// The version these belong to.
    pub version: CatalogVersion,
    /// True: `objects` is everything. False: only what changed since the version asked for.
    pub complete: bool,
    /// Key, version at which it was last put, bytes (`None`: removed).
    pub objects: Vec<(Bytes, u64, Option<Bytes>)>,
}

/// A node as the log knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRecord {
    /// Its number.
    pub node: NodeId,
    /// Where other nodes reach it: `host:port`.
    pub peer_address: String,
    /// Where its admin API listens: `host:port`.
    pub admin_address: String,
    /// Where MySQL clients connect: `host:port`; empty without a frontend.
    pub mysql_address: String,
    /// `adjudicator`, `shard`, `frontend`.
    pub roles: Vec<String>,
    /// Failure domain; empty if none was named.
    pub zone: String,
    /// Release of its binary.
    pub version: String,
    /// The highest cluster version that its binary understands.
    pub cluster_version: u32,
}

/// A run of AUTO_INCREMENT values: `first`, `first + increment`, … `count` of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRange {
    /// The first value.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// The step.
    pub increment: u64,
}

/// How a reservation waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockWait {
    /// For so long, then error 1205.
    Timeout(Duration),
    /// Not at all: error 3572.
    NoWait,
    /// Not at all: keys that others hold are left out.
    SkipLocked,
}

/// How a key is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockStrength {
    /// FOR SHARE.
    Shared,
    /// FOR UPDATE.
    Exclusive,
}

/// What became of a reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reserved {
    /// Granted for these keys (all of them, but for SKIP LOCKED), with a snapshot taken after the grant.
    Granted {
        /// The keys now held.
        keys: Vec<KeyHash>,
        /// Read the rows at this.
        begun: Begun,
    },
    /// NOWAIT, and somebody holds one of them.
    Busy,
    /// The time passed.
    TimedOut,
    /// Waiting would close a cycle; this caller is the victim.
    Deadlock,
}

/// What stood in a transaction's way, as far as its refusal told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Keys that others hold so that `owner` could not have them with this strength.
    Held {
        /// Who could not have them.
        owner: TxnId,
        /// The keys.
        keys: Vec<KeyHash>,
        /// How it wanted them.
        strength: LockStrength,
    },
    /// Something that was committed at this timestamp.
    CommittedAt(Timestamp),
    /// A table that has been fenced.
    Fence(TableId),
    /// An object of the catalog that is no longer as it was, by its key.
    Object(Bytes),
}

/// The adjudicator, as a frontend sees it. Every method may be called concurrently.
pub trait AdjudicatorClient: Send + Sync {
    /// Registers a frontend life; the log grants the epoch. `nonce` is drawn once by each life: asking again with the
    /// same one (after a lost reply) grants the same epoch.
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>>;

    /// A snapshot that sees everything acknowledged before the call.
    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>>;

    /// Decides a transaction. Calling again with the same id answers the same decision.
    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>>;

    /// Decides several transactions that arrived together, each on its own. One answer for each, in order.
    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions>;

    /// What became of a transaction; linearizable. With `resolve`, an undecided one is aborted by a log entry.
    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>>;

    /// Tells that this frontend has heard these outcomes, so that they need not stay in memory.
    fn acknowledge(&self, txns: Vec<TxnRun>);

    /// Reports the oldest snapshot this frontend still uses (pending begins included; `None`: none), and
    /// renews its lease.
    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>);

    /// The life that a frontend lives now, as far as the one who is asked knows: above the asker's own, his is over, and he
    /// has to register for another one.
    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>>;

    /// The placement now.
    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>>;

    /// The nodes of the cluster, as the log has them.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>>;

    /// Catalog objects changed since `since` up to at least `at_least`.
    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>>;

    /// Takes `count` AUTO_INCREMENT values, all at or above `at_least`, congruent to `offset` modulo
    /// `increment` as MySQL defines it.
    fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>>;

    /// The next AUTO_INCREMENT value of a table, without taking it.
    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>>;

    /// Switches range tracking of a table on; returns once it is.
    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>>;

    /// Advisory reservation of keys for a transaction: never needed for correctness, lost at fail-over
    /// without harm, released by `release` or when `owner`'s frontend falls silent.
    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>>;

    /// Gives back everything `owner` has reserved.
    fn release(&self, owner: TxnId);

    /// Whose an obstacle is; `None` if that is not known any more. For explanations only: the leader answers from memory, at
    /// once, and whoever holds something has committed at zero.
    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        let _ = obstacle;
        Box::pin(std::future::ready(Ok(None)))
    }
}
