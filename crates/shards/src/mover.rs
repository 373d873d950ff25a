//! Moving replicas and splitting shards while clients write.
//!
//! Adding, moving and splitting are one act: a checkpoint, the stream from there on, and one entry of the log that changes
//! the placement. Everything before that entry can be thrown away, and everything after it repeats nothing: each step looks
//! first whether it has been done, so a task that was interrupted is run again from its beginning.
//!
//! ```text
//!   add     learner registers ─▶ copies ─▶ follows, close behind ─▶ entry: one replica more
//!   remove  the others follow ─▶ entry: one replica less ─▶ its node drops it
//!   move    add ─▶ everybody is durable past that ─▶ remove
//!   split   fledglings follow the parent, close behind and flushed ─▶ entry: the slots go to the new shard
//!           ─▶ each fledgling leaves the parent's stream at that entry, and its registration with the parent ends
//!   slots   the replicas of a shard that exists stage them, close behind and flushed ─▶ entry: they are theirs
//!   merge   all slots ─▶ nobody reads them where they were ─▶ entry: the empty shard ceases
//! ```
//!
//! Between the entry of a split and the moment when a fledgling has left its parent, reads of the moved slots and prepares
//! for them wait; inline commits do not. That time is what a job reports as its longest stall.

use crate::colleagues::Colleagues;
use crate::comparison::Comparison;
use crate::wire::{Phase, ReplicaStatus, Request, Response};
use assize_model::{
    LogIndex, NodeId, Placement, PlacementChange, PlacementCommand, PlacementRefusal, ReplicaId, ShardId,
    ShardPlacement, Slot,
};
use assize_mvcc::Slots;
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, DecisionSource, PeerError, PlacementError, ShardAdministration,
    ShardStandings, StreamError,
};
use futures_util::future::{join_all, try_join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod staging;

/// How often a replica that is being waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// And in the moment that holds clients up.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(5);
/// A replica that is no further behind than this is close behind.
const CLOSE_BEHIND: Duration = Duration::from_millis(500);
/// How often a change is tried again because somebody else changed the placement first.
const CHANGES_MAX: usize = 16;
/// Learners that fledglings are to a parent get numbers from here downwards, out of the way of replicas.
const LEARNERS_FROM: u8 = u8::MAX;
/// So often a copy may begin anew before the replica is given up.
const BEGINNINGS_MAX: usize = 10;
/// Numbers of replicas end below this.
const REPLICAS_BELOW: u8 = 128;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// A shard gets a replica on this node.
    AddReplica {
        /// Which shard.
        shard: ShardId,
        /// Where.
        node: NodeId,
    },
    /// A shard gives up its replica on this node.
    RemoveReplica {
        /// Which shard.
        shard: ShardId,
        /// Of which node.
        node: NodeId,
    },
    /// A replica goes from one node to another.
    MoveReplica {
        /// Which shard.
        shard: ShardId,
        /// Where it is.
        from: NodeId,
        /// Where it goes.
        to: NodeId,
    },
    /// The slots of a shard from one on go to a new shard on the same nodes.
    Split {
        /// Which shard.
        shard: ShardId,
        /// The first slot that goes; `None`: half of them.
        at: Option<Slot>,
    },
    /// All slots of a shard go to another one, and it ceases.
    Merge {
        /// Whose slots go.
        from: ShardId,
        /// Where they go.
        into: ShardId,
    },
    /// Some slots of a shard go to another one.
    MoveSlots {
        /// Whose slots go.
        from: ShardId,
        /// Where they go.
        into: ShardId,
        /// The first of them.
        first: Slot,
        /// The last.
        last: Slot,
    },
}

impl Task {
    /// Its name in metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Task::AddReplica { .. } => "add_replica",
            Task::RemoveReplica { .. } => "remove_replica",
            Task::MoveReplica { .. } => "move_replica",
            Task::Split { .. } => "split",
            Task::Merge { .. } => "merge",
            Task::MoveSlots { .. } => "move_slots",
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Task::AddReplica { shard, node } => write!(f, "add a replica of {shard} on {node}"),
            Task::RemoveReplica { shard, node } => write!(f, "remove the replica of {shard} on {node}"),
            Task::MoveReplica { shard, from, to } => write!(f, "move {shard} from {from} to {to}"),
            Task::Split { shard, at: Some(at) } => write!(f, "split {shard} at slot {}", at.0),
            Task::Split { shard, at: None } => write!(f, "split {shard}"),
            Task::Merge { from, into } => write!(f, "merge {from} into {into}"),
            Task::MoveSlots { from, into, first, last } => {
                write!(f, "move slots {} to {} from {from} to {into}", first.0, last.0)
            }
        }
    }
}

/// Why a task was not done. It can be run again in every case but `Refused`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoveError {
    /// It makes no sense, or not now: the text says why.
    #[error("{0}")]
    Refused(String),
    /// A node does not answer, or refused.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The placement cannot be changed.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The adjudicator cannot be asked.
    #[error(transparent)]
    Adjudicator(#[from] AdjudicatorError),
    /// The standings cannot be had.
    #[error(transparent)]
    Standings(#[from] StreamError),
    /// A replica makes no progress.
    #[error("{shard} on {node} makes no progress: {}", in_words(phase.as_ref()))]
    Stuck {
        /// Which shard.
        shard: ShardId,
        /// Where.
        node: NodeId,
        /// What it was doing; `None`: it is gone.
        phase: Option<Phase>,
    },
}

/// What a replica was doing, for whoever reads why a task failed.
fn in_words(phase: Option<&Phase>) -> String {
    match phase {
        None => "it is gone".into(),
        Some(Phase::Copying { bytes }) => {
            format!("it was copying, and had {bytes} bytes; that node's log says why it got no further")
        }
        Some(Phase::Following) => "it follows its stream, and stays behind".into(),
        Some(Phase::Fledgling) => "it follows the shard that is being split, and stays behind".into(),
        Some(Phase::Halted(why)) => format!("it has stopped: {why}"),
    }
}

/// Told of each step of a task as it begins, and of stalls.
pub trait Progress: Send + Sync {
    /// A step begins.
    fn step(&self, step: &str);
    /// Clients may have been held up for so long.
    fn stalled(&self, time: Duration);
}

/// A task whose progress nobody watches.
impl Progress for () {
    fn step(&self, _: &str) {}
    fn stalled(&self, _: Duration) {}
}

/// Carries tasks out, from any node. Two tasks about one shard at a time are not a good idea: the second is refused by the
/// log or finds its work undone.
#[derive(Clone)]
pub struct Mover {
    adjudicator: Arc<dyn AdjudicatorClient>,
    source: Arc<dyn DecisionSource>,
    administration: Arc<dyn ShardAdministration>,
    colleagues: Colleagues,
    /// A replica that makes no progress for so long is given up.
    patience: Duration,
}

impl Mover {
    /// With these ways to the adjudicator and to the other nodes. A replica that makes no progress for `patience` is given
    /// up.
    pub fn new(
        adjudicator: Arc<dyn AdjudicatorClient>,
        source: Arc<dyn DecisionSource>,
        administration: Arc<dyn ShardAdministration>,
        colleagues: Colleagues,
        patience: Duration,
    ) -> Self {
        Mover { adjudicator, source, administration, colleagues, patience }
    }

    /// The placement as the log has it.
    pub async fn placement(&self) -> Result<Arc<Placement>, MoveError> {
        Ok(self.adjudicator.placement().await?)
    }

    /// Says why a task makes no sense under a placement, if so.
    pub fn check(placement: &Placement, task: &Task) -> Result<(), MoveError> {
        let part = |shard: &ShardId| {
            let refused = || MoveError::Refused(format!("there is no shard {shard}"));
            placement.shards.get(shard).ok_or_else(refused)
        };
        let is_on = |shard: &ShardId, node: &NodeId| -> Result<bool, MoveError> {
            Ok(part(shard)?.replicas.values().any(|n| n == node))
        };
        let refuse = |why: String| Err(MoveError::Refused(why));
        match task {
            Task::AddReplica { shard, node } if is_on(shard, node)? => {
                refuse(format!("{shard} has a replica on {node}"))
            }
            Task::RemoveReplica { shard, node } | Task::MoveReplica { shard, from: node, .. }
                if !is_on(shard, node)? =>
            {
                refuse(format!("{shard} has no replica on {node}"))
            }
            Task::RemoveReplica { shard, .. } if part(shard)?.replicas.len() < 2 => {
                refuse(format!("{shard} has no other replica"))
            }
            Task::MoveReplica { shard, to, .. } if is_on(shard, to)? => {
                refuse(format!("{shard} has a replica on {to}"))
            }
            Task::Split { shard, at } => {
                part(shard)?;
                runs_from(placement, *shard, *at).map(drop)
            }
            Task::Merge { into, .. } | Task::MoveSlots { into, .. }
                if part(into).is_ok() && placement.slots_of(*into).is_empty() =>
            {
                refuse(format!("{into} has given its slots away and ceases"))
            }
            Task::Merge { from, into } => {
                part(from)?;
                part(into)?;
                if from == into { refuse(format!("{from} cannot be merged into itself")) } else { Ok(()) }
            }
            Task::MoveSlots { from, into, first, last } => {
                part(from)?;
                part(into)?;
                let runs = placement.slots_of(*from);
                if first > last || !runs.iter().any(|(a, b)| a <= first && last <= b) {
                    return refuse(format!("{from} does not hold all slots from {} to {}", first.0, last.0));
                }
                if from == into {
                    return refuse(format!("{from} has them"));
                }
                if runs == [(*first, *last)] {
                    return refuse(format!("{from} would be left without slots: merge it into {into}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Carries a task out. After an error the same task can be run again.
    pub async fn run(&self, task: Task, progress: &dyn Progress) -> Result<String, MoveError> {
        match task {
            Task::AddReplica { shard, node } => {
                let replica = self.add(shard, node, progress).await?.0;
                Ok(format!("{shard} has replica {replica} on {node}"))
            }
            Task::RemoveReplica { shard, node } => {
                self.remove(shard, node, progress).await?;
                Ok(format!("{shard} has no replica on {node}"))
            }
            Task::MoveReplica { shard, from, to } => {
                let (replica, added) = self.add(shard, to, progress).await?;
                progress.step("waiting until everybody is durable past the change");
                self.durable(shard, added, &[from]).await?;
                // It may have fallen silent meanwhile; then the one that is there is not given up for it.
                self.close_behind(shard, to, Phase::Following).await?;
                self.remove(shard, from, progress).await?;
                Ok(format!("{shard} has replica {replica} on {to} and none on {from}"))
            }
            Task::Split { shard, at } => {
                let new = self.split(shard, at, progress).await?;
                Ok(format!("{shard} was split, {new} is new"))
            }
            Task::Merge { from, into } => {
                self.merge(from, into, progress).await?;
                Ok(format!("{into} has the slots of {from}, which is no more"))
            }
            Task::MoveSlots { from, into, first, last } => {
                self.move_slots(from, into, (first, last), progress).await?;
                Ok(format!("{into} has slots {} to {} of {from}", first.0, last.0))
            }
        }
    }

    // Replicas.

    /// Answers the new replica, and an entry at or after the one that added it.
    async fn add(
        &self,
        shard: ShardId,
        node: NodeId,
        progress: &dyn Progress,
    ) -> Result<(ReplicaId, LogIndex), MoveError> {
        let placement = self.placement().await?;
        let part = placement.shards.get(&shard);
        let part = part.ok_or_else(|| MoveError::Refused(format!("there is no shard {shard}")))?;
        let standings = self.standings(shard).await?;
        if let Some((replica, _)) = part.replicas.iter().find(|(_, on)| **on == node) {
            return Ok((*replica, standings.as_of));
        }
        let taken: BTreeSet<ReplicaId> = standings.replicas.iter().map(|s| s.replica).collect();
        let is_free = |n: &ReplicaId| !taken.contains(n) && !part.replicas.contains_key(n);
        let free = (1..REPLICAS_BELOW).map(ReplicaId).find(is_free);
        let free = free.ok_or_else(|| MoveError::Refused(format!("{shard} has too many replicas")))?;

        progress.step("copying a sibling");
        let replica = match self.colleagues.ask(node, &Request::Learn { shard, replica: free }).await? {
            Response::Learning(replica) => replica,
            _ => return Err(not_understood(node)),
        };
        if let Err(error) = self.copied(shard, node).await {
            // Nobody relies on it; the log need not be kept for it.
            let _ = self.colleagues.ask(node, &Request::Discard { shard }).await;
            let _ = self.administration.administer(PlacementCommand::Uncount(shard, replica)).await;
            return Err(error);
        }

        progress.step("changing the placement");
        let added = self.change(|placement| {
            let part = placement.shards.get(&shard)?;
            let mut replicas = part.replicas.clone();
            let is_new = replicas.insert(replica, node).is_none();
            is_new.then(|| PlacementChange {
                shards: vec![(shard, Some(replicas))],
                ..PlacementChange::default()
            })
        });
        Ok((replica, added.await?))
    }

    /// Waits until a new replica follows, close behind. Its node may restart meanwhile: then the copy goes on.
    async fn copied(&self, shard: ShardId, node: NodeId) -> Result<(), MoveError> {
        loop {
            match self.close_behind(shard, node, Phase::Following).await {
                Err(MoveError::Peer(error)) => self.answers_again(shard, node, error).await?,
                done => return done.map(drop),
            }
        }
    }

    /// Waits until a node answers again that has just failed to.
    async fn answers_again(&self, shard: ShardId, node: NodeId, failure: PeerError) -> Result<(), MoveError> {
        let since = Instant::now();
        while self.status(shard, node).await.is_err() {
            if since.elapsed() > self.patience {
                return Err(failure.into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn remove(&self, shard: ShardId, node: NodeId, progress: &dyn Progress) -> Result<(), MoveError> {
        let placement = self.placement().await?;
        let Some(part) = placement.shards.get(&shard) else { return Ok(()) };
        let others: Vec<NodeId> = part.replicas.values().copied().filter(|on| *on != node).collect();
        if others.is_empty() {
            return Err(MoveError::Refused(format!("{shard} has no other replica")));
        }
        // Of those that stay, a majority must be there.
        progress.step("looking at the replicas that stay");
        let mut following = 0;
        let mut failure = None;
        let looking = others.iter().map(|other| self.close_behind(shard, *other, Phase::Following));
        for looked in join_all(looking).await {
            match looked {
                Ok(_) => following += 1,
                Err(error) => failure = Some(error),
            }
        }
        if let Some(failure) = failure.filter(|_| following <= others.len() / 2) {
            return Err(failure);
        }
        progress.step("changing the placement");
        let removed = self.change(|placement| {
            let mut replicas = placement.shards.get(&shard)?.replicas.clone();
            let before = replicas.len();
            replicas.retain(|_, on| *on != node);
            // Those that were looked at: somebody may have removed one of them meanwhile.
            let are_the_others = replicas.values().eq(&others);
            (replicas.len() < before && are_the_others).then(|| PlacementChange {
                shards: vec![(shard, Some(replicas))],
                ..PlacementChange::default()
            })
        });
        removed.await?;
        let placement = self.placement().await?;
        let is_there = |part: &ShardPlacement| part.replicas.values().any(|on| *on == node);
        if placement.shards.get(&shard).is_some_and(is_there) {
            return Err(MoveError::Refused(format!("somebody else changes the replicas of {shard}")));
        }
        Ok(())
    }

    // Splitting.

    async fn split(
        &self,
        shard: ShardId,
        at: Option<Slot>,
        progress: &dyn Progress,
    ) -> Result<ShardId, MoveError> {
        let placement = self.placement().await?;
        let part = placement.shards.get(&shard);
        let part = part.ok_or_else(|| MoveError::Refused(format!("there is no shard {shard}")))?.clone();
        let runs = runs_from(&placement, shard, at)?;
        let last = placement.shards.keys().next_back().map_or(0, |shard| shard.0);
        let new = ShardId(last + 1);

        progress.step("copying the shard beside itself");
        for (replica, node) in &part.replicas {
            let learner = learner_of(*replica);
            let request = Request::Fledge { shard: new, replica: *replica, parent: shard, learner };
            self.colleagues.ask(*node, &request).await?;
        }
        // All at the same time: those that nobody asks for think that they are forgotten.
        let nodes = || part.replicas.values();
        let close_behind = |node: &NodeId| self.close_behind(new, *node, Phase::Fledgling);
        progress.step("following the shard's stream");
        try_join_all(nodes().map(close_behind)).await?;
        progress.step("making the copies durable");
        try_join_all(nodes().map(|node| self.flushed(new, *node))).await?;
        try_join_all(nodes().map(close_behind)).await?;

        progress.step("changing the placement");
        let began = Instant::now();
        let changed = self.change(|placement| {
            let is_as_it_was = placement.shards.get(&shard).is_some_and(|now| now.replicas == part.replicas)
                && !placement.shards.contains_key(&new);
            is_as_it_was.then(|| PlacementChange {
                shards: vec![(new, Some(part.replicas.clone()))],
                slots: runs.iter().map(|(first, last)| (*first, *last, new)).collect(),
                ..PlacementChange::default()
            })
        });
        let changed = changed.await?;
        if !self.placement().await?.shards.contains_key(&new) {
            return Err(MoveError::Refused(format!("{shard} was changed while it was being split")));
        }
        // A node that is away just now finds the split when it comes back: its log is kept until then.
        let mut away = Vec::new();
        for node in part.replicas.values() {
            if let Err(error) = self.split_off(new, *node).await {
                tracing::warn!(%new, %node, %error, "a replica has not left its parent yet");
                away.push(*node);
            }
        }
        progress.stalled(began.elapsed());

        progress.step("making the split durable");
        self.durable(new, changed, &away).await?;
        Ok(new)
    }

    /// Waits until a fledgling is a replica of its own shard.
    async fn split_off(&self, shard: ShardId, node: NodeId) -> Result<(), MoveError> {
        let since = Instant::now();
        loop {
            let status = self.status(shard, node).await?;
            match status.map(|status| status.phase) {
                Some(Phase::Following) => return Ok(()),
                phase if since.elapsed() > self.patience => {
                    return Err(MoveError::Stuck { shard, node, phase });
                }
                _ => tokio::time::sleep(LOOK_CLOSELY_EVERY).await,
            }
        }
    }

    // Slots that go to a shard that exists.

    async fn move_slots(
        &self,
        from: ShardId,
        into: ShardId,
        run: (Slot, Slot),
        progress: &dyn Progress,
    ) -> Result<(), MoveError> {
        let leaving = |placement: &Placement| {
            // As far as they are still there: an earlier attempt may have come further than it knew.
            let is_inside = |(first, last): &(Slot, Slot)| *first <= run.0 && run.1 <= *last;
            if placement.slots_of(from).iter().any(is_inside) { vec![run] } else { Vec::new() }
        };
        self.take_in(from, into, leaving, progress).await
    }

    /// Has a shard take in the slots that leave another one.
    async fn take_in(
        &self,
        from: ShardId,
        into: ShardId,
        leaving: impl Fn(&Placement) -> Vec<(Slot, Slot)>,
        progress: &dyn Progress,
    ) -> Result<(), MoveError> {
        let placement = self.placement().await?;
        let part = placement.shards.get(&into);
        let part = part.ok_or_else(|| MoveError::Refused(format!("there is no shard {into}")))?.clone();
        progress.step("looking at the replicas that take the slots in");
        let close_behind = |node: &NodeId| self.close_behind(into, *node, Phase::Following);
        try_join_all(part.replicas.values().map(close_behind)).await?;
        let nodes: Vec<NodeId> = part.replicas.values().copied().collect();
        self.stage(from, into, &nodes, Slots::new(leaving(&placement)), progress).await?;
        progress.step("changing the placement");
        let began = Instant::now();
        let changed = self.change(|placement| {
            let runs = leaving(placement);
            (!runs.is_empty()).then(|| PlacementChange {
                slots: runs.iter().map(|(first, last)| (*first, *last, into)).collect(),
                ..PlacementChange::default()
            })
        });
        let changed = changed.await?;
        progress.step("taking the slots in");
        try_join_all(part.replicas.values().map(|node| self.reached(into, *node, changed))).await?;
        progress.stalled(began.elapsed());
        progress.step("making the slots durable");
        self.durable(into, changed, &[]).await
    }

    async fn merge(&self, from: ShardId, into: ShardId, progress: &dyn Progress) -> Result<(), MoveError> {
        if !self.placement().await?.shards.contains_key(&from) {
            return Ok(());
        }
        self.take_in(from, into, |placement| placement.slots_of(from), progress).await?;

        progress.step("waiting until nobody reads the slots where they were");
        let since = Instant::now();
        while !self.cease(from).await? {
            if since.elapsed() >= self.patience {
                return Err(PlacementError::Refused(PlacementRefusal::StillNeeded(from)).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Has a shard cease that has given its slots away, and waits until its replicas are gone. `false`: not yet, somebody may still
    /// read there. The log refuses it of one that has slots.
    pub async fn cease(&self, shard: ShardId) -> Result<bool, MoveError> {
        let Some(leaving) = self.placement().await?.shards.get(&shard).cloned() else { return Ok(true) };
        let ceased = self.change(|placement| {
            let without = PlacementChange { shards: vec![(shard, None)], ..PlacementChange::default() };
            placement.shards.contains_key(&shard).then_some(without)
        });
        match ceased.await {
            Err(MoveError::Placement(PlacementError::Refused(PlacementRefusal::StillNeeded(_)))) => {
                return Ok(false);
            }
            done => done?,
        };
        // A shard that is split off later may get the number again, and must find nothing under it.
        let since = Instant::now();
        for node in leaving.replicas.values() {
            while self.status(shard, *node).await.is_ok_and(|status| status.is_some())
                && since.elapsed() < self.patience
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(true)
    }

    /// Waits until a replica has applied an entry. One that gets no further, and copies nothing, is given up.
    async fn reached(&self, shard: ShardId, node: NodeId, entry: LogIndex) -> Result<(), MoveError> {
        let mut seen = (None, Instant::now());
        loop {
            let status = self.status(shard, node).await?;
            if status.as_ref().is_some_and(|status| status.position.index >= entry) {
                return Ok(());
            }
            if status != seen.0 {
                seen = (status, Instant::now());
            } else if seen.1.elapsed() > self.patience {
                return Err(MoveError::Stuck { shard, node, phase: status.map(|status| status.phase) });
            }
            tokio::time::sleep(LOOK_CLOSELY_EVERY).await;
        }
    }

    // Contents.

    /// The hash of what each replica of a shard shows at one snapshot, as far as they answer. Equal shards have equal
    /// hashes; a replica that differs from a majority is to be rebuilt ([`Mover::rebuild`]).
    pub async fn compare(&self, shard: ShardId) -> Result<Comparison, MoveError> {
        let placement = self.placement().await?;
        let part = placement.shards.get(&shard);
        let part = part.ok_or_else(|| MoveError::Refused(format!("there is no shard {shard}")))?;
        let snapshot_ts = self.adjudicator.begin().await?.snapshot_ts;
        let slots = Slots::new(placement.slots_of(shard));
        let mut hashes = BTreeMap::new();
        for (replica, node) in &part.replicas {
            let request = Request::Hash { shard, snapshot_ts, slots: slots.clone() };
            if let Ok(Response::Hash(hash)) = self.colleagues.ask(*node, &request).await {
                hashes.insert(*replica, (*node, hash));
            }
        }
        let missing = part.replicas.iter().filter(|(replica, _)| !hashes.contains_key(replica));
        let missing = missing.map(|(replica, node)| (*replica, *node)).collect();
        Ok(Comparison { shard, missing, snapshot_ts, hashes })
    }

    /// Has a replica rebuilt from a sibling.
    pub async fn rebuild(&self, shard: ShardId, node: NodeId) -> Result<(), MoveError> {
        self.colleagues.ask(node, &Request::Rebuild { shard }).await?;
        Ok(())
    }

    // The log.

    /// Has the log wait for a replica no longer; it is rebuilt should it come back. Refused by the log unless a majority of
    /// the configured replicas is left.
    pub async fn uncount(&self, shard: ShardId, replica: ReplicaId) -> Result<(), MoveError> {
        self.administration.administer(PlacementCommand::Uncount(shard, replica)).await?;
        Ok(())
    }

    /// The nodes whose replicas of a shard answer and are whole, and the others. Asked of each now.
    pub async fn left_and_lost(&self, shard: ShardId) -> Result<(Vec<NodeId>, Vec<NodeId>), MoveError> {
        let placement = self.placement().await?;
        let part = placement.shards.get(&shard);
        let part = part.ok_or_else(|| MoveError::Refused(format!("there is no shard {shard}")))?;
        let (mut left, mut lost) = (Vec::new(), Vec::new());
        for node in part.replicas.values() {
            match self.status(shard, *node).await {
                Ok(Some(status)) if status.phase == Phase::Following => left.push(*node),
                Ok(_) | Err(MoveError::Peer(_)) => lost.push(*node),
                Err(error) => return Err(error),
            }
        }
        Ok((left, lost))
    }

    // Helpers.

    /// How a shard's replicas stand, as the log has it.
    pub async fn standings(&self, shard: ShardId) -> Result<ShardStandings, MoveError> {
        Ok(self.source.standings(shard).await?)
    }

    /// How a node's replica is; `None` if it has none.
    pub async fn status(&self, shard: ShardId, node: NodeId) -> Result<Option<ReplicaStatus>, MoveError> {
        match self.colleagues.ask(node, &Request::Status { shard }).await? {
            Response::Status(status) => Ok(status),
            _ => Err(not_understood(node)),
        }
    }

    /// Changes the placement as `change` says, as often as somebody else is first; `None`: there is nothing (more) to do.
    /// Answers an entry at or after the change.
    async fn change(
        &self,
        change: impl Fn(&Placement) -> Option<PlacementChange>,
    ) -> Result<LogIndex, MoveError> {
        let mut failure = None;
        for _ in 0..CHANGES_MAX {
            let placement = self.placement().await?;
            let Some(change) = change(&placement) else {
                // Done by an earlier attempt, or undone by somebody else; whoever goes on finds out.
                let any = placement.shards.keys().next().copied().unwrap_or_default();
                return Ok(self.standings(any).await?.as_of);
            };
            let change = PlacementChange { expected: placement.epoch, ..change };
            match self.administration.administer(PlacementCommand::Change(change)).await {
                Ok(index) => return Ok(index),
                Err(
                    error @ (PlacementError::Refused(PlacementRefusal::EpochMoved { .. })
                    | PlacementError::Adjudicator(AdjudicatorError::ReplyLost)),
                ) => failure = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(failure.expect("it was tried at least once").into())
    }

    /// Waits until a replica does this and is close behind the adjudicator. One that gets no further is given up.
    async fn close_behind(
        &self,
        shard: ShardId,
        node: NodeId,
        phase: Phase,
    ) -> Result<ReplicaStatus, MoveError> {
        let mut seen = (None, Instant::now());
        let mut beginnings = Beginnings::default();
        loop {
            let status = self.status(shard, node).await?;
            if let Some(status) = &status {
                if status.phase == phase && self.is_close(shard, node, &phase).await? {
                    return Ok(status.clone());
                }
                if matches!(status.phase, Phase::Halted(_)) {
                    return Err(MoveError::Stuck { shard, node, phase: Some(status.phase.clone()) });
                }
            }
            beginnings.note(status.as_ref().map_or(0, |status| status.phase.copied()));
            if status != seen.0 {
                seen = (status, Instant::now());
            }
            if seen.1.elapsed() > self.patience || beginnings.are_too_many() {
                return Err(MoveError::Stuck { shard, node, phase: seen.0.map(|status| status.phase) });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a replica reaches a snapshot of now within a moment.
    async fn is_close(&self, shard: ShardId, node: NodeId, phase: &Phase) -> Result<bool, MoveError> {
        let now = self.adjudicator.begin().await?.snapshot_ts;
        let since = Instant::now();
        while since.elapsed() < CLOSE_BEHIND {
            match self.status(shard, node).await? {
                Some(status) if status.phase != *phase => return Ok(false),
                Some(status) if status.position.closed_ts >= now => return Ok(true),
                _ => tokio::time::sleep(LOOK_CLOSELY_EVERY).await,
            }
        }
        Ok(false)
    }

    /// Waits until a replica has made durable what it has applied by now.
    async fn flushed(&self, shard: ShardId, node: NodeId) -> Result<(), MoveError> {
        let Some(now) = self.status(shard, node).await? else {
            return Err(MoveError::Stuck { shard, node, phase: None });
        };
        let since = Instant::now();
        loop {
            self.colleagues.ask(node, &Request::Flush { shard }).await?;
            tokio::time::sleep(LOOK_EVERY).await;
            let status = self.status(shard, node).await?;
            if status.as_ref().is_some_and(|status| status.durable >= now.position.index) {
                return Ok(());
            }
            if since.elapsed() > self.patience {
                return Err(MoveError::Stuck { shard, node, phase: status.map(|status| status.phase) });
            }
        }
    }

    /// Waits until the log knows that all replicas of a shard that count are durable past an entry; those of `except` need
    /// not be, nor those whose nodes do not answer.
    async fn durable(&self, shard: ShardId, entry: LogIndex, except: &[NodeId]) -> Result<(), MoveError> {
        let since = Instant::now();
        loop {
            let placement = self.placement().await?;
            let Some(part) = placement.shards.get(&shard) else { return Ok(()) };
            let standings = self.standings(shard).await?;
            let mut behind = None;
            for standing in standings.replicas.iter().filter(|s| s.counts && s.durable < entry) {
                let Some(node) = part.replicas.get(&standing.replica) else { continue };
                if !except.contains(node)
                    && self.colleagues.ask(*node, &Request::Flush { shard }).await.is_ok()
                {
                    behind = Some(*node);
                }
            }
            match behind {
                None => return Ok(()),
                Some(node) if since.elapsed() > self.patience => {
                    let phase = self.status(shard, node).await?.map(|status| status.phase);
                    return Err(MoveError::Stuck { shard, node, phase });
                }
                Some(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// How often a copy has begun anew: one that fails again and again gets somewhere each time, and never to its end.
#[derive(Default)]
struct Beginnings {
    copied: u64,
    times: usize,
}

impl Beginnings {
    /// So much is copied now.
    fn note(&mut self, copied: u64) {
        if copied < self.copied {
            self.times += 1;
        }
        self.copied = copied;
    }

    fn are_too_many(&self) -> bool {
        self.times > BEGINNINGS_MAX
    }
}

pub(crate) fn learner_of(replica: ReplicaId) -> ReplicaId {
    ReplicaId(LEARNERS_FROM - replica.0)
}

/// Beside which replica of the parent the fledgling lives that is registered as this learner; `None`: it is no fledgling.
pub(crate) fn fledgling_beside(learner: ReplicaId) -> Option<ReplicaId> {
    (learner.0 >= REPLICAS_BELOW).then(|| ReplicaId(LEARNERS_FROM - learner.0))
}

fn not_understood(node: NodeId) -> MoveError {
    PeerError::Refused { node, reason: "it answers something else than was asked".into() }.into()
}

/// The slots of a shard that go, as runs: from a slot on, or the upper half.
fn runs_from(
    placement: &Placement,
    shard: ShardId,
    at: Option<Slot>,
) -> Result<Vec<(Slot, Slot)>, MoveError> {
    let runs = placement.slots_of(shard);
    let size = |(first, last): &(Slot, Slot)| u32::from(last.0) - u32::from(first.0) + 1;
    let total: u32 = runs.iter().map(size).sum();
    let at = match at {
        Some(at) => at,
        None => {
            let mut before = total / 2;
            let run = runs.iter().find(|run| {
                let is_here = before < size(run);
                if !is_here {
                    before -= size(run);
                }
                is_here
            });
            let refused = || MoveError::Refused(format!("{shard} has no slots"));
            Slot(run.ok_or_else(refused)?.0.0 + before as u16)
        }
    };
    let gone: Vec<(Slot, Slot)> =
        runs.iter().filter(|(_, last)| *last >= at).map(|(first, last)| ((*first).max(at), *last)).collect();
    let going: u32 = gone.iter().map(size).sum();
    if going == 0 || going == total {
        return Err(MoveError::Refused(format!("a split of {shard} at slot {} leaves one side empty", at.0)));
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> Placement {
        Placement::even_replicated(2, &[NodeId(1), NodeId(2)])
    }

    #[test]
    fn a_task_that_makes_no_sense_is_refused_with_the_reason() {
        let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
        let shard = ShardId(1);
        for (task, why) in [
            (Task::AddReplica { shard, node: one }, "s1 has a replica on n1"),
            (Task::AddReplica { shard: ShardId(9), node: one }, "there is no shard s9"),
            (Task::RemoveReplica { shard, node: three }, "s1 has no replica on n3"),
            (Task::MoveReplica { shard, from: one, to: two }, "s1 has a replica on n2"),
            (Task::MoveReplica { shard, from: three, to: one }, "s1 has no replica on n3"),
            (Task::Merge { from: shard, into: shard }, "s1 cannot be merged into itself"),
            (Task::Merge { from: shard, into: ShardId(9) }, "there is no shard s9"),
            (Task::Split { shard, at: Some(Slot(0)) }, "a split of s1 at slot 0 leaves one side empty"),
            (
                Task::Split { shard, at: Some(Slot(40_000)) },
                "a split of s1 at slot 40000 leaves one side empty",
            ),
            (
                Task::MoveSlots { from: shard, into: ShardId(2), first: Slot(9), last: Slot(40_000) },
                "s1 does not hold all slots from 9 to 40000",
            ),
            (
                Task::MoveSlots { from: shard, into: ShardId(2), first: Slot(0), last: Slot(32_767) },
                "s1 would be left without slots: merge it into s2",
            ),
            (Task::MoveSlots { from: shard, into: shard, first: Slot(0), last: Slot(1) }, "s1 has them"),
        ] {
            let refused = Mover::check(&placement(), &task).unwrap_err();
            assert_eq!(refused, MoveError::Refused(why.into()), "{task}");
        }
        for task in [
            Task::AddReplica { shard, node: three },
            Task::RemoveReplica { shard, node: one },
            Task::MoveReplica { shard, from: one, to: three },
            Task::Split { shard, at: None },
            Task::MoveSlots { from: shard, into: ShardId(2), first: Slot(0), last: Slot(32_766) },
        ] {
            assert_eq!(Mover::check(&placement(), &task), Ok(()), "{task}");
        }
        let mut alone = placement();
        alone.shards.get_mut(&shard).unwrap().replicas.retain(|_, node| *node == one);
        let refused = Mover::check(&alone, &Task::RemoveReplica { shard, node: one }).unwrap_err();
        assert_eq!(refused, MoveError::Refused("s1 has no other replica".into()));
    }

    #[test]
    fn a_shard_that_has_given_its_slots_away_gets_none_and_its_merge_can_be_run_again() {
        let (kept, empty) = (ShardId(1), ShardId(2));
        let mut merged = placement();
        merged.ranges = [(Slot(0), kept)].into();
        for task in [
            Task::Merge { from: kept, into: empty },
            Task::MoveSlots { from: kept, into: empty, first: Slot(0), last: Slot(9) },
        ] {
            let refused = Mover::check(&merged, &task).unwrap_err();
            assert_eq!(
                refused,
                MoveError::Refused("s2 has given its slots away and ceases".into()),
                "{task}"
            );
        }
        assert_eq!(Mover::check(&merged, &Task::Merge { from: empty, into: kept }), Ok(()));
    }

    #[test]
    fn a_copy_that_begins_again_and_again_gets_nowhere() {
        let mut beginnings = Beginnings::default();
        for copied in (0..1000).chain(0..1000) {
            beginnings.note(copied);
        }
        assert!(!beginnings.are_too_many());
        for _ in 0..BEGINNINGS_MAX {
            [5, 10, 0].into_iter().for_each(|copied| beginnings.note(copied));
        }
        assert!(beginnings.are_too_many());
    }

    #[test]
    fn a_split_without_a_slot_halves_the_shard_whatever_its_runs() {
        let mut placement = placement();
        assert_eq!(runs_from(&placement, ShardId(1), None).unwrap(), [(Slot(16_384), Slot(32_767))]);
        placement.ranges = BTreeMap::from([
            (Slot(0), ShardId(1)),
            (Slot(10), ShardId(2)),
            (Slot(100), ShardId(1)),
            (Slot(110), ShardId(2)),
            (Slot(65_535), ShardId(1)),
        ]);
        // Slots 0 to 9, 100 to 109 and 65535: the upper eleven go.
        let gone = runs_from(&placement, ShardId(1), None).unwrap();
        assert_eq!(gone, [(Slot(100), Slot(109)), (Slot(65_535), Slot(65_535))]);
    }
}
