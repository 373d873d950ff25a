//! The calling end: one replica on another node.

use super::wire::{self, LargePrepare, Request, Target};
use assize_adjudicator::flat;
use assize_codec::{DecodeError, Reader};
use assize_model::{
    Epoch, Key, KeyRange, Mutation, NodeId, ReplicaId, ShardId, Timestamp, TxnId, Volume, Vote,
};
use assize_ports::{
    BoxFuture, Channel, Direction, NewestCommits, PeerError, Peers, ReadView, Replica, ScanPage, Service,
    ShardError,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// A read or a prepare may take so long: it may have to wait until the replica has caught up.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Bytes of mutations that travel in one message; a larger prepare goes in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// One replica of a shard, on another node.
pub struct RemoteReplica {
    peers: Arc<dyn Peers>,
    node: NodeId,
    target: Target,
    runtime: Handle,
}

impl RemoteReplica {
    /// The replica of a shard that lies on a node.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn new(peers: Arc<dyn Peers>, node: NodeId, shard: ShardId, replica: ReplicaId) -> RemoteReplica {
        RemoteReplica { peers, node, target: Target { shard, replica }, runtime: Handle::current() }
    }

    async fn ask<T>(
        &self,
        request: Request,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, ShardError> {
        let request = request.encode(self.target);
        let answer = self.peers.call(self.node, Service::Replica, request, CALL_MAX).await;
        self.read(&answer.map_err(|error| self.unreachable(error))?, read)
    }

    /// An answer is bounded by bytes: asks again for the values that it did not hold.
    async fn ask_many(&self, view: ReadView, keys: &[Key]) -> Result<Vec<Option<Bytes>>, ShardError> {
        let mut values: Vec<Option<Bytes>> = Vec::with_capacity(keys.len());
        while values.len() < keys.len() {
            let rest = &keys[values.len()..];
            let request = Request::GetMany { view, keys: rest.to_vec() };
            let more = self.ask(request, wire::read_values).await?;
            if more.is_empty() || more.len() > rest.len() {
                let reason = format!("{} sent {} values for {} keys", self.node, more.len(), rest.len());
                return Err(ShardError::Unreachable(self.target.shard, reason));
            }
            values.extend(more);
        }
        Ok(values)
    }

    fn read<T>(
        &self,
        answer: &Bytes,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, ShardError> {
        wire::read_answer(answer, read).unwrap_or_else(|error| {
            let reason = format!("the answer of {} cannot be read: {error}", self.node);
            Err(ShardError::Unreachable(self.target.shard, reason))
        })
    }

    fn unreachable(&self, error: PeerError) -> ShardError {
        ShardError::Unreachable(self.target.shard, error.to_string())
    }

    async fn ask_vote(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> Result<Vote, ShardError> {
        if mutations.iter().map(bytes_of).sum::<usize>() > PIECE_BYTES {
            let prepare = LargePrepare { target: self.target, txn, epoch };
            return match tokio::time::timeout(CALL_MAX, self.prepare_in_pieces(prepare, &mutations)).await {
                Ok(vote) => vote,
                Err(_) => Err(ShardError::Unreachable(
                    self.target.shard,
                    format!("{} did not vote in time", self.node),
                )),
            };
        }
        let mutations = Arc::unwrap_or_clone(mutations);
        self.ask(Request::Prepare { txn, epoch, mutations }, wire::read_vote).await
    }

    async fn prepare_in_pieces(
        &self,
        prepare: LargePrepare,
        mutations: &[Mutation],
    ) -> Result<Vote, ShardError> {
        let opened = self.peers.open(self.node, Service::Replica, prepare.encode(), CALL_MAX).await;
        let Channel { mut sender, mut receiver } = opened.map_err(|error| self.unreachable(error))?;
        let mut piece = Vec::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 4));
        for mutation in mutations {
            if !piece.is_empty() && piece.len() + bytes_of(mutation) > PIECE_BYTES {
                let full = std::mem::take(&mut piece);
                sender.send(full.into()).await.map_err(|error| self.unreachable(error))?;
            }
            flat::put_mutation(&mut piece, mutation);
        }
        sender.send(piece.into()).await.map_err(|error| self.unreachable(error))?;
        drop(sender);
        match receiver.receive().await.map_err(|error| self.unreachable(error))? {
            Some(vote) => self.read(&vote, wire::read_vote),
            None => Err(ShardError::Unreachable(
                self.target.shard,
                format!("{} ended the prepare without a vote", self.node),
            )),
        }
    }
}

/// Bytes that a mutation takes in a message, rounded up.
fn bytes_of(mutation: &Mutation) -> usize {
    let value = match &mutation.op {
        assize_model::MutationOp::Put(value) => value.len(),
        assize_model::MutationOp::Delete | assize_model::MutationOp::Lock => 0,
    };
    mutation.key.0.len() + value + 16
}

impl Replica for RemoteReplica {
    fn shard(&self) -> ShardId {
        self.target.shard
    }

    fn replica(&self) -> ReplicaId {
        self.target.replica
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(self.ask(Request::Get { view, key: key.clone() }, wire::read_value))
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(self.ask_many(view, keys))
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        let range = range.clone();
        Box::pin(self.ask(Request::Scan { view, range, direction, limit }, wire::read_page))
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        let request = Request::NewestCommits { keys: keys.to_vec(), at_least };
        Box::pin(self.ask(request, wire::read_newest_commits))
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        let request = Request::NewestCommitIn { range: range.clone(), at_least };
        Box::pin(self.ask(request, wire::read_newest_commit))
    }

    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        Box::pin(async move {
            let volumes = self.ask(Request::Volumes { ranges: ranges.to_vec() }, wire::read_volumes).await?;
            if volumes.len() != ranges.len() {
                let reason = format!("{} told {} of {} ranges", self.node, volumes.len(), ranges.len());
                return Err(ShardError::Unreachable(self.target.shard, reason));
            }
            Ok(volumes)
        })
    }

    fn prepare(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        Box::pin(self.ask_vote(txn, epoch, mutations))
    }

    fn forget(&self, txn: TxnId) {
        let request = Request::Forget { txn }.encode(self.target);
        let (peers, node) = (self.peers.clone(), self.node);
        // A hint: the deadline does the same, later.
        self.runtime.spawn(async move { peers.call(node, Service::Replica, request, CALL_MAX).await });
    }
}
