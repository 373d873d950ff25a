//! The shards that a frontend can reach, after the placement.

use crate::embedded::{Embedded, ShardHost};
use crate::replicated::{Member, Replicated};
use assize_model::{
    Epoch, Key, KeyRange, Mutation, NodeId, Placement, ReplicaId, ShardId, ShardPlacement, Timestamp, TxnId,
    Volume, Vote,
};
use assize_ports::{
    BoxFuture, Direction, NewestCommits, ReadView, Replica, ScanPage, Shard, ShardDirectory, ShardError,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// How often the placement is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Makes the way to a replica on another node.
pub type RemoteReplicas = Arc<dyn Fn(NodeId, ShardId, ReplicaId) -> Arc<dyn Replica> + Send + Sync>;

/// The shards that a frontend can reach. Replicas of its own node are the nearest.
pub struct Directory {
    node: NodeId,
    host: Option<ShardHost>,
    remote: RemoteReplicas,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    epoch: Epoch,
    shards: BTreeMap<ShardId, (ShardPlacement, Arc<Replicated>)>,
}

impl Directory {
    /// For a frontend on a node, with the node's own replicas, if it has any.
    pub fn new(
        node: NodeId,
        host: Option<ShardHost>,
        remote: RemoteReplicas,
        placement: &Placement,
    ) -> Arc<Directory> {
        let directory = Directory { node, host, remote, known: RwLock::default() };
        directory.learn(placement);
        Arc::new(directory)
    }

    /// For a process that has all the replicas there are.
    pub fn alone(host: ShardHost, placement: &Placement) -> Arc<Directory> {
        let nowhere: RemoteReplicas = Arc::new(|_, shard, replica| Arc::new(Nowhere { shard, replica }));
        Directory::new(host.node(), Some(host), nowhere, placement)
    }

    /// Looks at the placement again and again. Long-lived: the node spawns it. Sessions tell the directory of a newer
    /// placement when they stumble over it; this is for those who would stumble first.
    pub async fn follow<F>(
        self: Arc<Self>,
        mut newest: impl FnMut() -> F + Send,
        stopped: impl Future<Output = ()> + Send,
    ) where
        F: Future<Output = Option<Arc<Placement>>> + Send,
    {
        tokio::pin!(stopped);
        loop {
            if let Some(placement) = newest().await {
                self.learn(&placement);
            }
            tokio::select! {
                () = &mut stopped => return,
                () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    }

    fn members(&self, shard: ShardId, part: &ShardPlacement) -> Vec<Member> {
        let member = |(replica, node): (&ReplicaId, &NodeId)| {
            let (replica, node) = (*replica, *node);
            let way = match &self.host {
                Some(host) if node == self.node => {
                    Arc::new(Resident { host: host.clone(), shard, replica }) as Arc<dyn Replica>
                }
                _ => (self.remote)(node, shard, replica),
            };
            Member { replica, node, way }
        };
        let mut members: Vec<Member> = part.replicas.iter().map(member).collect();
        // Frontends of different nodes begin with different ones.
        let turn = (self.node.0 as usize).checked_rem(members.len()).unwrap_or(0);
        members.rotate_left(turn);
        members.sort_by_key(|member| member.node != self.node);
        members
    }
}

impl ShardDirectory for Directory {
    fn shard(&self, id: ShardId) -> Option<Arc<dyn Shard>> {
        let known = self.known.read().expect("no panic happens under this lock");
        known.shards.get(&id).map(|(_, shard)| shard.clone() as Arc<dyn Shard>)
    }

    fn learn(&self, placement: &Placement) {
        let mut known = self.known.write().expect("no panic happens under this lock");
        if placement.epoch <= known.epoch {
            return;
        }
        known.epoch = placement.epoch;
        known.shards.retain(|shard, _| placement.shards.contains_key(shard));
        for (shard, part) in &placement.shards {
            match known.shards.get_mut(shard) {
                Some((known, _)) if known.replicas == part.replicas => known.clone_from(part),
                Some((known, replicated)) => {
                    known.clone_from(part);
                    replicated.set_members(self.members(*shard, part));
                }
                None => {
                    let replicated = Replicated::new(*shard, self.members(*shard, part));
                    known.shards.insert(*shard, (part.clone(), Arc::new(replicated)));
                }
            }
        }
    }
}

/// A replica of this node: looked for at every call, because replicas come and go.
struct Resident {
    host: ShardHost,
    shard: ShardId,
    replica: ReplicaId,
}

impl Resident {
    fn find(&self) -> Result<Arc<Embedded>, ShardError> {
        let resident = self.host.resident(self.shard).filter(|resident| resident.number() == self.replica);
        resident.ok_or_else(|| absent(self.shard))
    }
}

fn absent(shard: ShardId) -> ShardError {
    ShardError::Unreachable(shard, "the replica is not on this node".into())
}

impl Replica for Resident {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn replica(&self) -> ReplicaId {
        self.replica
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        Box::pin(async move { self.find()?.get(view, key).await })
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        Box::pin(async move { self.find()?.get_many(view, keys).await })
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        Box::pin(async move { self.find()?.scan(view, range, direction, limit).await })
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        Box::pin(async move { self.find()?.newest_commits(keys, at_least).await })
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        Box::pin(async move { self.find()?.newest_commit_in(range, at_least).await })
    }

    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        Box::pin(async move { self.find()?.volumes(ranges).await })
    }

    fn prepare(
        &self,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        Box::pin(async move { self.find()?.prepare(txn, epoch, mutations).await })
    }

    fn forget(&self, txn: TxnId) {
        if let Ok(resident) = self.find() {
            resident.forget(txn);
        }
    }
}

/// A replica to which there is no way.
struct Nowhere {
    shard: ShardId,
    replica: ReplicaId,
}

impl Nowhere {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, ShardError>> {
        Box::pin(std::future::ready(Err(absent(self.shard))))
    }
}

impl Replica for Nowhere {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn replica(&self) -> ReplicaId {
        self.replica
    }

    fn get<'a>(&'a self, _: ReadView, _: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        self.answer()
    }

    fn get_many<'a>(
        &'a self,
        _: ReadView,
        _: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        self.answer()
    }

    fn scan<'a>(
        &'a self,
        _: ReadView,
        _: &'a KeyRange,
        _: Direction,
        _: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        self.answer()
    }

    fn newest_commits<'a>(
        &'a self,
        _: &'a [Key],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        self.answer()
    }

    fn newest_commit_in<'a>(
        &'a self,
        _: &'a KeyRange,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        self.answer()
    }

    fn prepare(&self, _: TxnId, _: Epoch, _: Arc<Vec<Mutation>>) -> BoxFuture<'_, Result<Vote, ShardError>> {
        self.answer()
    }

    fn forget(&self, _: TxnId) {}
}
