//! A shard over its replicas, as frontends see it.

use assize_model::{
    Epoch, Key, KeyRange, Mutation, NodeId, ReplicaId, ShardId, Timestamp, TxnId, Volume, Vote,
};
use assize_ports::{BoxFuture, Direction, NewestCommits, ReadView, Replica, ScanPage, Shard, ShardError};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// A replica that has not answered a read within this time is left for another one, if there is one.
const PATIENCE: Duration = Duration::from_millis(200);
/// A replica that was left, or could not answer, is asked last for this long.
const AVOIDED_FOR: Duration = Duration::from_secs(3);

/// A configured replica and the way to it.
#[derive(Clone)]
pub struct Member {
    /// Its number.
    pub replica: ReplicaId,
    /// Where it is.
    pub node: NodeId,
    /// The way.
    pub way: Arc<dyn Replica>,
}

struct Candidate {
    member: Member,
    /// Until when it is asked last, in milliseconds since `Replicated::since`.
    avoided_until: AtomicU64,
}

/// A shard over its replicas: a read goes to one that answers, a prepare to the one that is named.
pub struct Replicated {
    shard: ShardId,
    /// The nearest first.
    candidates: RwLock<Arc<Vec<Candidate>>>,
    since: Instant,
}

/// Asks replica after replica until one answers. What every replica would say is said at once.
macro_rules! ask {
    ($self:ident, $replica:ident => $call:expr) => {{
        let candidates = $self.candidates();
        let order = $self.order(&candidates);
        let mut failure = ShardError::Unreachable($self.shard, "it has no replicas".into());
        for (n, place) in order.iter().enumerate() {
            let candidate = &candidates[*place];
            let $replica = &candidate.member.way;
            let answer = if n + 1 < order.len() {
                tokio::time::timeout(PATIENCE, $call).await.unwrap_or_else(|_| $self.too_slow(candidate))
            } else {
                $call.await
            };
            match answer {
                Err(error @ (ShardError::Unreachable(..) | ShardError::Stopped(..))) => {
                    $self.avoid(candidate);
                    failure = error;
                }
                answer => return answer,
            }
        }
        Err(failure)
    }};
}

impl Replicated {
    /// A shard with these replicas, the nearest first.
    pub fn new(shard: ShardId, members: Vec<Member>) -> Self {
        let replicated = Replicated { shard, candidates: RwLock::default(), since: Instant::now() };
        replicated.set_members(members);
        replicated
    }

    /// From now on it has these replicas, the nearest first.
    pub fn set_members(&self, members: Vec<Member>) {
        let candidate = |member| Candidate { member, avoided_until: AtomicU64::new(0) };
        let candidates = Arc::new(members.into_iter().map(candidate).collect());
        *self.candidates.write().expect("no panic happens under this lock") = candidates;
    }

    fn candidates(&self) -> Arc<Vec<Candidate>> {
        self.candidates.read().expect("no panic happens under this lock").clone()
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// Places of the candidates in the order in which they are asked.
    fn order(&self, candidates: &[Candidate]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let is_avoided = |place: &usize| candidates[*place].avoided_until.load(Ordering::Relaxed) != 0;
        if order.iter().any(is_avoided) {
            let now = self.now();
            order.sort_by_key(|place| candidates[*place].avoided_until.load(Ordering::Relaxed) > now);
        }
        order
    }

    fn avoid(&self, candidate: &Candidate) {
        let until = self.now() + AVOIDED_FOR.as_millis() as u64;
        candidate.avoided_until.store(until, Ordering::Relaxed);
    }

    fn too_slow<T>(&self, candidate: &Candidate) -> Result<T, ShardError> {
        let why = format!("{} on {} is slow", candidate.member.replica, candidate.member.node);
        Err(ShardError::Unreachable(self.shard, why))
    }
}

impl Shard for Replicated {
    fn id(&self) -> ShardId {
        self.shard
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(async move { ask!(self, replica => replica.get(view, key)) })
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(async move { ask!(self, replica => replica.get_many(view, keys)) })
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        Box::pin(async move { ask!(self, replica => replica.scan(view, range, direction, limit)) })
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        Box::pin(async move { ask!(self, replica => replica.newest_commits(keys, at_least)) })
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        Box::pin(async move { ask!(self, replica => replica.newest_commit_in(range, at_least)) })
    }

    /// A replica that cannot tell is not avoided for it: it may be of a release that does not know the question.
    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        Box::pin(async move {
            let candidates = self.candidates();
            let mut failure = ShardError::Unreachable(self.shard, "it has no replicas".into());
            for place in self.order(&candidates) {
                match candidates[place].member.way.volumes(ranges).await {
                    Ok(volumes) => return Ok(volumes),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        })
    }

    fn prepare(
        &self,
        replica: Option<ReplicaId>,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        let candidates = self.candidates();
        let named = match replica {
            Some(number) => candidates.iter().find(|candidate| candidate.member.replica == number),
            // One voice speaks for the shard only where there is just one.
            None => candidates.first().filter(|_| candidates.len() == 1),
        };
        let way = named.map(|candidate| candidate.member.way.clone());
        Box::pin(async move {
            match way {
                Some(way) => way.prepare(txn, epoch, mutations).await,
                None => {
                    let why = "the placement known here does not have the replica".to_owned();
                    Err(ShardError::Unreachable(self.shard, why))
                }
            }
        })
    }

    fn forget(&self, txn: TxnId) {
        self.candidates().iter().for_each(|candidate| candidate.member.way.forget(txn));
    }
}
