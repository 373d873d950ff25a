//! A shard, as a frontend sees it.

use crate::BoxFuture;
use assize_model::{
    Epoch, Key, KeyRange, Mutation, Placement, ReplicaId, ShardId, Timestamp, TxnId, Volume, Vote,
};
use bytes::Bytes;
use std::sync::Arc;

/// A shard refused or could not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShardError {
    /// The caller routed with an old placement: route again.
    #[error("{shard} is in placement epoch {current}, not {asked}")]
    StaleEpoch {
        /// Which shard.
        shard: ShardId,
        /// What the caller believed.
        asked: Epoch,
        /// What is so.
        current: Epoch,
    },
    /// The snapshot is below the low-water mark.
    #[error("snapshot {0} is below the low-water mark")]
    SnapshotTooOld(Timestamp),
    /// Nobody could be asked.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(ShardId, String),
    /// The store failed; the replica has stopped.
    #[error("{0} has stopped: {1}")]
    Stopped(ShardId, String),
}

/// The view that a read uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadView {
    /// The snapshot.
    pub snapshot_ts: Timestamp,
    /// The shard's placement epoch by which the caller routed.
    pub epoch: Epoch,
}

/// Which way a scan runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Ascending keys.
    #[default]
    Forward,
    /// Descending keys.
    Reverse,
}

/// One page of a scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScanPage {
    /// Keys and values in scan order.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left of the range; `None` if nothing is.
    pub rest: Option<KeyRange>,
}

/// The position (closed timestamp) as of which an answer is true, and the newest commit of each key asked about.
pub type NewestCommits = (Timestamp, Vec<Option<Timestamp>>);

/// A shard, as a frontend sees it: any replica may answer reads; prepares go to all of them.
pub trait Shard: Send + Sync {
    /// Which shard.
    fn id(&self) -> ShardId;

    /// The value of a key. Waits until the replica's position has reached the snapshot.
    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>>;

    /// The values of several keys.
    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>>;

    /// Up to `limit` rows of a range.
    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>>;

    /// The newest commit of each key, lock markers counted, once the position has reached `at_least`; with
    /// the position (closed timestamp) as of which that is true.
    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>>;

    /// The newest commit within a range, likewise.
    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>>;

    /// About how much each range holds in the shard's slots now, as far as a replica has come: nobody waits for one that is
    /// behind, and a shard that cannot tell is no shard in trouble.
    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        let _ = ranges;
        Box::pin(std::future::ready(Err(cannot_tell(self.id()))))
    }

    /// Has a replica write an intent and vote (`None`: the shard as a whole, where one voice speaks for it). The
    /// coordinator asks every replica and counts; an error is silence: that replica cannot tell.
    fn prepare(
        &self,
        replica: Option<ReplicaId>,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>>;

    /// A hint that an undecided transaction will never commit.
    fn forget(&self, txn: TxnId);
}

fn cannot_tell(shard: ShardId) -> ShardError {
    ShardError::Unreachable(shard, "it cannot tell how much it holds".into())
}

/// One replica of a shard, here or on another node. Reads are as in [`Shard`]; a prepare is answered with this
/// replica's own vote.
pub trait Replica: Send + Sync {
    /// Which shard.
    fn shard(&self) -> ShardId;

    /// Which of its replicas.
    fn replica(&self) -> ReplicaId;

    /// See [`Shard::get`].
    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>>;

    /// See [`Shard::get_many`].
    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>>;

    /// See [`Shard::scan`].
    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>>;

    /// See [`Shard::newest_commits`].
    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>>;

    /// See [`Shard::newest_commit_in`].
    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>>;

    /// See [`Shard::volumes`].
    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        let _ = ranges;
        Box::pin(std::future::ready(Err(cannot_tell(self.shard()))))
    }

    /// Writes an intent and votes. Silence (an error) is an answer too: the replica cannot tell.
    fn prepare(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>>;

    /// See [`Shard::forget`].
    fn forget(&self, txn: TxnId);
}

/// The shards that a frontend can reach; changes with the placement.
pub trait ShardDirectory: Send + Sync {
    /// A shard; `None` if no way to it is known.
    fn shard(&self, id: ShardId) -> Option<Arc<dyn Shard>>;

    /// Takes in a placement that has been heard of, if it is newer than the one known.
    fn learn(&self, placement: &Placement) {
        // A fixed set has nothing to learn.
        let _ = placement;
    }
}

/// A fixed set of shards.
impl ShardDirectory for std::collections::BTreeMap<ShardId, Arc<dyn Shard>> {
    fn shard(&self, id: ShardId) -> Option<Arc<dyn Shard>> {
        self.get(&id).cloned()
    }
}
