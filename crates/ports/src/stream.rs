//! The decision stream, as a shard replica sees it.

use crate::BoxFuture;
use assize_model::{LogIndex, Position, ReplicaId, ShardId, StreamEntry};
use std::sync::Arc;

/// The stream cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// Entries after this position are no longer kept: the replica has to be rebuilt from a sibling.
    #[error("{shard} cannot resume after {from}: the log begins at {oldest}")]
    Forgotten {
        /// Which shard.
        shard: ShardId,
        /// Where the replica stands.
        from: LogIndex,
        /// The oldest position from which a stream can be resumed.
        oldest: LogIndex,
    },
    /// The adjudicator has no such shard.
    #[error("the placement has no {0}")]
    NoSuchShard(ShardId),
    /// Nobody can be asked at the moment: try again.
    #[error("the decision stream cannot be reached: {0}")]
    Unreachable(String),
    /// The source has stopped for good.
    #[error("the decision stream has ended: {0}")]
    Ended(String),
}

/// How one replica stands, as the adjudicator's state has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaStanding {
    /// The replica.
    pub replica: ReplicaId,
    /// It will never again need an entry at or before this.
    pub durable: LogIndex,
    /// Whether the log and intents are kept for it.
    pub counts: bool,
    /// Whether it counts and is known to have a copy, so that others can go. `false` also in what another node tells, which
    /// does not say.
    pub is_whole: bool,
}

/// How all replicas of a shard stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardStandings {
    /// The log entry as of which this is so.
    pub as_of: LogIndex,
    /// All of them.
    pub replicas: Vec<ReplicaStanding>,
    /// The entry with which the shard was last recovered from the replicas that were left of it; 0 if it never was.
    pub recovered_at: LogIndex,
}

/// Where the decision streams of all shards come from.
pub trait DecisionSource: Send + Sync {
    /// The entries of a shard after a position, without a gap, for ever.
    fn subscribe(
        &self,
        shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>>;

    /// How the replicas of a shard stand now.
    fn standings(&self, shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>>;

    /// A replica will never again ask for entries at or before this position.
    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position);
}

/// One subscription.
pub trait DecisionStream: Send {
    /// The next entries, at least one. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>>;
}
