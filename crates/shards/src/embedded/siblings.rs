//! The way to a replica's siblings: in this process, or on another node.

use super::copy::{CopyError, GoOn, Source, Way};
use super::shard::Embedded;
use crate::wire::{Arrived, Gathering, Hello, Phase, Piece, Request, Response};
use assize_model::{Epoch, LogIndex, NodeId, Placement, ReplicaId, ShardId, TxnId};
use assize_mvcc::{ContentHash, Gain};
use assize_ports::{DecisionSource, Peers, Service, ShardStandings};
use assize_replica::{ContentPage, IntentAnswer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// A sibling that does not answer within this time cannot say.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The pause before siblings are asked again whether they have everything.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The replicas of this process: at most one of each shard.
#[derive(Default)]
pub struct Residents {
    replicas: RwLock<BTreeMap<ShardId, Arc<Embedded>>>,
}

impl Residents {
    /// All of them, to change.
    pub fn lock(&self) -> RwLockWriteGuard<'_, BTreeMap<ShardId, Arc<Embedded>>> {
        self.replicas.write().expect("no panic happens under this lock")
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Embedded>> {
        self.replicas.read().expect("no panic happens under this lock").values().cloned().collect()
    }

    /// The replica of a shard.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Embedded>> {
        self.replicas.read().expect("no panic happens under this lock").get(&shard).cloned()
    }
}

/// The way to siblings. Clones are the same way.
#[derive(Clone)]
pub struct Siblings {
    node: NodeId,
    peers: Option<Arc<dyn Peers>>,
    placement: watch::Receiver<Arc<Placement>>,
    /// Weak: the replicas hold this.
    residents: Weak<Residents>,
}

impl Siblings {
    /// From a node that has these residents; without peers nobody else can be reached.
    pub fn new(
        node: NodeId,
        peers: Option<Arc<dyn Peers>>,
        placement: watch::Receiver<Arc<Placement>>,
        residents: &Arc<Residents>,
    ) -> Self {
        Siblings { node, peers, placement, residents: Arc::downgrade(residents) }
    }

    /// The newest placement that this node knows.
    pub fn placement(&self) -> Arc<Placement> {
        self.placement.borrow().clone()
    }

    /// Whether the placement names any replica of the shard but this one.
    pub fn has_any(&self, shard: ShardId, me: ReplicaId) -> bool {
        let placement = self.placement.borrow();
        placement.shards.get(&shard).is_some_and(|part| part.replicas.keys().any(|replica| *replica != me))
    }

    /// Whether another replica of the shard has everything that `me` has, for certain: the log waits for it, and it says
    /// that it follows its stream. They are asked until this time has passed: all nodes may be starting at once.
    pub async fn have_everything(
        &self,
        source: &dyn DecisionSource,
        shard: ShardId,
        me: ReplicaId,
        within: Duration,
    ) -> bool {
        if !self.has_any(shard, me) {
            return false;
        }
        let asking = async {
            loop {
                let standings = tokio::time::timeout(ANSWER_MAX, source.standings(shard)).await;
                if let Ok(Ok(standings)) = standings
                    && self.one_has_everything(shard, me, &standings).await
                {
                    return;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::time::timeout(within, asking).await.is_ok()
    }

    async fn one_has_everything(&self, shard: ShardId, me: ReplicaId, standings: &ShardStandings) -> bool {
        let standing = |replica| standings.replicas.iter().find(|standing| standing.replica == replica);
        // What lies behind this the log may have forgotten.
        let durable = standing(me).map_or(LogIndex(0), |standing| standing.durable);
        let placement = self.placement.borrow().clone();
        let placed = placement.shards.get(&shard).map(|part| &part.replicas);
        for (replica, node) in placed.into_iter().flatten() {
            let may_have = *replica != me && standing(*replica).is_some_and(|standing| standing.counts);
            if may_have
                && let Some(Response::Status(Some(status))) =
                    self.call(*node, Request::Status { shard }).await
                && status.replica == *replica
                && status.phase == Phase::Following
                && status.position.index >= durable
            {
                return true;
            }
        }
        false
    }

    fn node_of(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        self.placement.borrow().shards.get(&shard)?.replicas.get(&replica).copied()
    }

    fn resident(&self, shard: ShardId) -> Option<Arc<Embedded>> {
        self.residents.upgrade()?.get(shard)
    }

    /// What a sibling says about an intent that `me` lacks. Whoever cannot be asked cannot say.
    pub async fn intent(&self, shard: ShardId, me: ReplicaId, to: ReplicaId, txn: TxnId) -> IntentAnswer {
        let asking = self.ask_for_intent(shard, me, to, txn);
        match tokio::time::timeout(ANSWER_MAX, asking).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => IntentAnswer::CannotSay,
        }
    }

    /// What the first replica of another shard says that has an intent, those of this process first.
    pub async fn intent_of_any(&self, shard: ShardId, me: ReplicaId, txn: TxnId) -> IntentAnswer {
        let placement = self.placement.borrow().clone();
        let replicas = placement.shards.get(&shard).map(|part| part.replicas.clone()).unwrap_or_default();
        let mut replicas: Vec<(ReplicaId, NodeId)> = replicas.into_iter().collect();
        replicas.sort_by_key(|(_, node)| *node != self.node);
        for (replica, _) in replicas {
            if let answer @ IntentAnswer::Has(_) = self.intent(shard, me, replica, txn).await {
                return answer;
            }
        }
        IntentAnswer::CannotSay
    }

    async fn ask_for_intent(
        &self,
        shard: ShardId,
        me: ReplicaId,
        to: ReplicaId,
        txn: TxnId,
    ) -> Option<IntentAnswer> {
        let node = self.node_of(shard, to)?;
        if node == self.node {
            let sibling = self.resident(shard).filter(|sibling| sibling.number() == to)?;
            return Some(sibling.intent(me, txn).await);
        }
        // A replica that was away asks for thousands: a channel for each would take longer than what it carries.
        if let Some(Response::Intent(answer)) =
            self.call(node, Request::Intent { shard, to, from: me, txn }).await
        {
            return Some(answer);
        }
        // It is too large for a message, or the other node's release does not know the question.
        let hello = Hello::Intent { shard, to, from: me, txn }.encode();
        let peers = self.peers.as_ref()?;
        let mut channel = peers.open(node, Service::Sibling, hello, ANSWER_MAX).await.ok()?;
        let mut gathering = Gathering::default();
        loop {
            let piece = Piece::decode(&channel.receiver.receive().await.ok()??).ok()?;
            if let Some(gathered) = gathering.take(piece) {
                return gathered;
            }
        }
    }

    /// A sibling's hash of a page; `None` if it cannot be asked, `Some(None)` if it cannot be compared.
    pub async fn content(
        &self,
        shard: ShardId,
        me: ReplicaId,
        to: ReplicaId,
        page: ContentPage,
    ) -> Option<Option<ContentHash>> {
        let node = self.node_of(shard, to)?;
        match self.call(node, Request::Content { shard, to, from: me, page }).await? {
            Response::Content(hash) => Some(hash),
            _ => None,
        }
    }

    /// Tells a sibling that it differs.
    pub async fn tell_differs(&self, shard: ShardId, to: ReplicaId, epoch: Epoch) {
        if let Some(node) = self.node_of(shard, to) {
            // Should this be lost, the next round says it again.
            let _ = self.call(node, Request::Differs { shard, to, epoch }).await;
        }
    }

    async fn call(&self, node: NodeId, request: Request) -> Option<Response> {
        let peers = self.peers.as_ref()?;
        let answer = peers.call(node, Service::Sibling, request.encode(), ANSWER_MAX).await.ok()?;
        Response::decode(&answer).ok()
    }

    /// Checkpoints of whoever held these slots, one after the other until `take` has copied one.
    pub async fn slots<T, F: Future<Output = Option<T>>>(
        &self,
        shard: ShardId,
        gain: &Gain,
        take: impl Fn(Source) -> F,
    ) -> Option<T> {
        for neighbour in self.residents.upgrade()?.all() {
            if neighbour.id() != shard
                && let Some(image) = neighbour.slots(gain.clone()).await
                && let Some(taken) = take(Source::Here(image)).await
            {
                return Some(taken);
            }
        }
        let peers = self.peers.as_ref()?;
        let placement = self.placement.borrow().clone();
        let nodes = placement.shards.values().flat_map(|part| part.replicas.values());
        let nodes: BTreeSet<NodeId> = nodes.copied().filter(|node| *node != self.node).collect();
        for node in nodes {
            let hello = Hello::Slots { gain: gain.clone() }.encode();
            if let Ok(channel) = peers.open(node, Service::Sibling, hello, ANSWER_MAX).await
                && let Some(taken) = take(Source::channel(channel)).await
            {
                return Some(taken);
            }
        }
        None
    }

    /// A sibling's checkpoint, taken at or after an entry. One of this process is preferred to the one that was named:
    /// a fledgling sits beside a replica of its parent.
    pub async fn checkpoint(
        &self,
        shard: ShardId,
        me: ReplicaId,
        to: ReplicaId,
        at_least: LogIndex,
        noted_bytes: u64,
    ) -> Result<(Source, Option<Way>), CopyError> {
        if let Some(sibling) = self.resident(shard).filter(|sibling| sibling.number() != me)
            && let Some(image) = sibling.checkpoint(me, at_least).await
        {
            return Ok((Source::Here(image), None));
        }
        let node = self.node_of(shard, to).ok_or(CopyError::NotThere)?;
        let peers = self.peers.as_ref().ok_or(CopyError::NotThere)?;
        let copy = name_of_a_copy();
        let hello = Hello::Copy { shard, to, from: me, at_least, copy, arrived: None }.encode();
        let channel = peers.open(node, Service::Sibling, hello, ANSWER_MAX).await?;
        let way = self.way(shard, me, (to, copy), at_least, noted_bytes);
        Ok((Source::channel(channel), Some(way)))
    }

    /// The way on for a copy that was begun as [`Siblings::checkpoint`] does it: of whom it is, and what it is called there.
    pub fn way(
        &self,
        shard: ShardId,
        me: ReplicaId,
        (from, name): (ReplicaId, u64),
        at_least: LogIndex,
        noted_bytes: u64,
    ) -> Way {
        let siblings = self.clone();
        let go_on: GoOn = Box::new(move |arrived: Arrived| {
            let siblings = siblings.clone();
            Box::pin(async move {
                // It may have moved to another node, which does not know the copy and says so.
                let node = siblings.node_of(shard, from).ok_or(CopyError::NotThere)?;
                let peers = siblings.peers.as_ref().ok_or(CopyError::NotThere)?;
                let arrived = Some(arrived);
                let hello = Hello::Copy { shard, to: from, from: me, at_least, copy: name, arrived }.encode();
                Ok(Source::channel(peers.open(node, Service::Sibling, hello, ANSWER_MAX).await?))
            })
        });
        Way { me, from, name, at_least, go_on, noted_bytes }
    }

    /// The same of a node whose release knows only copies in one piece.
    pub async fn checkpoint_in_one_piece(
        &self,
        shard: ShardId,
        me: ReplicaId,
        to: ReplicaId,
        at_least: LogIndex,
    ) -> Result<Source, CopyError> {
        let node = self.node_of(shard, to).ok_or(CopyError::NotThere)?;
        let peers = self.peers.as_ref().ok_or(CopyError::NotThere)?;
        let hello = Hello::Checkpoint { shard, to, from: me, at_least }.encode();
        Ok(Source::channel(peers.open(node, Service::Sibling, hello, ANSWER_MAX).await?))
    }
}

/// A number that no other copy of this node has had.
fn name_of_a_copy() -> u64 {
    static COPIES: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 ^ COPIES.fetch_add(1, Ordering::Relaxed) << 48
}
