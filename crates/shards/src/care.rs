//! Who takes care that every shard has its replicas, on living nodes and in different zones, and that no node and no shard
//! has too much.
//!
//! [`next_task`] is a function of what is known, and decides; so does [`next_move`] when nothing is amiss. [`Caretaker`] asks
//! the nodes how they are and has one task done at a time. A node is given up only after a long silence: it may come back
//! with everything it has, and copying is dear. What is only uneven waits until everybody is well, and rests in between.

use crate::balance::next_move;
use crate::colleagues::Colleagues;
use crate::mover::{Mover, Task, fledgling_beside};
use crate::wire::{Request, Response};
use assize_model::{LogIndex, NodeId, Placement, ReplicaId, ShardId, ShardPlacement};
use assize_ports::{AdjudicatorClient, BoxFuture, ROOM_MIN_BYTES, ReplicaStanding, ShardStandings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A learner that copies for longer than this is not believed to come to an end, if it is not known where it is.
const LEARNERS_STAND_STILL: Duration = Duration::from_secs(3600);

/// A node with less room than this can hardly take the stream any further.
const FULL_BELOW_BYTES: u64 = 64 << 20;

/// The number that no shard has.
const NO_SHARD: ShardId = ShardId(0);

/// What is known of a node that can hold replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeCondition {
    /// Its failure domain; empty: none was named, and it is one of its own.
    pub zone: String,
    /// For how long it has not answered.
    pub silent_for: Duration,
    /// Whether it is to give up what it has.
    pub is_draining: bool,
    /// Bytes free on its disk; `None`: unknown, and taken for enough.
    pub free_bytes: Option<u64>,
    /// Whether what it was given lately came to nothing, so that it is given nothing for a while.
    pub is_resting: bool,
}

impl NodeCondition {
    /// Whether it can be given something: it has answered lately, is not to be emptied, and does not rest.
    pub(crate) fn takes(&self) -> bool {
        self.silent_for.is_zero() && !self.is_draining && !self.is_resting
    }
}

/// What the caretaker has to be told of nodes.
pub trait Surveyor: Send + Sync {
    /// Those that are to give up their replicas.
    fn draining(&self) -> BTreeSet<NodeId>;
    /// Whether nodes are behind with their work, so that nothing should be moved that can wait.
    fn is_strained(&self) -> bool;
    /// Bytes free on a node's disk, asked now; `None` if it does not say.
    fn free_bytes(&self, node: NodeId) -> BoxFuture<'_, Option<u64>>;
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// So many replicas of every shard.
    pub replicas: usize,
    /// A node that has been silent for so long is given up.
    pub gone_after: Duration,
    /// The log waits so long for the replicas of a node that is silent, and for a learner that gets no further; after that
    /// they have to be rebuilt. Without a bound the log would fill the disks of those that live.
    pub uncount_after: Duration,
    /// A shard with more bytes than this is split; `None`: never.
    pub split_above: Option<u64>,
    /// How nodes and shards are evened out; `None`: not at all.
    pub balance: Option<Balance>,
    /// A shard that has been without slots for so long is what a merge left that was interrupted, and ceases.
    pub cease_after: Duration,
}

/// How nodes and shards are evened out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    /// The rest after each move.
    pub pause: Duration,
    /// Shards with more bytes than this give and take no slots: copying would take too long.
    pub slots_below: u64,
}

impl Default for Balance {
    fn default() -> Self {
        Balance { pause: Duration::from_secs(30), slots_below: 64 << 30 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            replicas: 3,
            gone_after: Duration::from_secs(600),
            uncount_after: Duration::from_secs(300),
            split_above: None,
            balance: Some(Balance::default()),
            cease_after: Duration::from_secs(60),
        }
    }
}

/// What should be done first, if anything is amiss: what is missing before what is in the wrong place, and that before what
/// is too large. `bytes` is the size of each shard as far as it is known; with those that are `resting` nothing is done.
pub fn next_task(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    bytes: &BTreeMap<ShardId, u64>,
    policy: &Policy,
    resting: &BTreeSet<ShardId>,
) -> Option<Task> {
    let view = View { placement, nodes, bytes, policy };
    let shards = || placement.shards.iter().filter(|(shard, _)| !resting.contains(shard));
    shards()
        .find_map(|(shard, part)| view.replace(*shard, part))
        .or_else(|| shards().find_map(|(shard, part)| view.complete(*shard, part)))
        .or_else(|| shards().find_map(|(shard, part)| view.spread(*shard, part)))
        .or_else(|| view.split(resting))
}

struct View<'a> {
    placement: &'a Placement,
    nodes: &'a BTreeMap<NodeId, NodeCondition>,
    bytes: &'a BTreeMap<ShardId, u64>,
    policy: &'a Policy,
}

impl View<'_> {
    fn is_gone(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_none_or(|condition| condition.silent_for >= self.policy.gone_after)
    }

    /// Whether it does not answer and may yet come back.
    fn is_missed(&self, node: NodeId) -> bool {
        !self.is_gone(node) && self.nodes.get(&node).is_some_and(|condition| !condition.silent_for.is_zero())
    }

    /// Whether it can be given something.
    fn takes(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(NodeCondition::takes)
    }

    /// Whether a copy of the shard fits on its disk, and leaves some of it.
    fn has_room(&self, node: NodeId, shard: ShardId) -> bool {
        let needed = self.bytes.get(&shard).copied().unwrap_or(0).saturating_add(ROOM_MIN_BYTES);
        self.nodes.get(&node).is_some_and(|c| c.free_bytes.is_none_or(|free| free >= needed))
    }

    fn zone(&self, node: NodeId) -> Zone<'_> {
        match self.nodes.get(&node) {
            Some(condition) if !condition.zone.is_empty() => Zone::Named(&condition.zone),
            _ => Zone::Of(node),
        }
    }

    /// How many replicas a node holds.
    fn load(&self, node: NodeId) -> usize {
        let replicas = self.placement.shards.values().flat_map(|part| part.replicas.values());
        replicas.filter(|on| **on == node).count()
    }

    /// The best node for a replica of a shard beside these: in a zone of its own if there is one, and with the least to do.
    fn candidate(&self, shard: ShardId, beside: &[NodeId]) -> Option<NodeId> {
        let zones: BTreeSet<Zone<'_>> = beside.iter().map(|node| self.zone(*node)).collect();
        let able = |node: &NodeId| !beside.contains(node) && self.takes(*node) && self.has_room(*node, shard);
        let free = self.nodes.keys().copied().filter(able);
        free.min_by_key(|node| (zones.contains(&self.zone(*node)), self.load(*node), *node))
    }

    /// A replica on a node that is gone, or is to be emptied, goes elsewhere, or just goes if there are enough without it.
    /// Only while the majority is there: without it nothing can be copied, and everything may come back.
    fn replace(&self, shard: ShardId, part: &ShardPlacement) -> Option<Task> {
        let all: Vec<NodeId> = part.replicas.values().copied().collect();
        let alive = all.iter().filter(|node| !self.is_gone(**node)).count();
        if alive <= all.len() / 2 {
            return None;
        }
        let is_leaving = |node: &NodeId| {
            self.is_gone(*node) || self.nodes.get(node).is_some_and(|condition| condition.is_draining)
        };
        let is_gone = all.iter().copied().find(|node| self.is_gone(*node));
        let from = is_gone.or_else(|| all.iter().copied().find(is_leaving))?;
        if all.len() > self.policy.replicas {
            // As long as one does not answer, all that do are needed.
            let is_spared = self.is_gone(from) || !all.iter().any(|node| self.is_missed(*node));
            return is_spared.then_some(Task::RemoveReplica { shard, node: from });
        }
        let rest: Vec<NodeId> = all.iter().copied().filter(|node| *node != from).collect();
        let to = self.candidate(shard, &rest).filter(|to| *to != from)?;
        Some(Task::MoveReplica { shard, from, to })
    }

    /// A shard with too few replicas gets one, one with too many loses the one that is best spared.
    fn complete(&self, shard: ShardId, part: &ShardPlacement) -> Option<Task> {
        let all: Vec<NodeId> = part.replicas.values().copied().collect();
        if all.len() < self.policy.replicas {
            return self.candidate(shard, &all).map(|node| Task::AddReplica { shard, node });
        }
        let is_missed = all.iter().any(|node| self.is_missed(*node));
        // The one that does not answer may be the one that has to go.
        if all.len() > self.policy.replicas.max(1) && !is_missed {
            let node =
                all.iter().copied().max_by_key(|node| (self.shares_zone(*node, &all), self.load(*node)))?;
            return Some(Task::RemoveReplica { shard, node });
        }
        None
    }

    fn shares_zone(&self, node: NodeId, all: &[NodeId]) -> bool {
        all.iter().any(|other| *other != node && self.zone(*other) == self.zone(node))
    }

    /// Of two replicas in one zone one goes to a zone that has none.
    fn spread(&self, shard: ShardId, part: &ShardPlacement) -> Option<Task> {
        let all: Vec<NodeId> = part.replicas.values().copied().collect();
        let from = all.iter().copied().find(|node| self.shares_zone(*node, &all))?;
        let rest: Vec<NodeId> = all.iter().copied().filter(|node| *node != from).collect();
        let to = self.candidate(shard, &rest)?;
        let helps = to != from && !rest.iter().any(|node| self.zone(*node) == self.zone(to));
        helps.then_some(Task::MoveReplica { shard, from, to })
    }

    /// The largest shard is halved if it is too large, and there is room on its nodes for a copy of it beside it.
    fn split(&self, resting: &BTreeSet<ShardId>) -> Option<Task> {
        let limit = self.policy.split_above?;
        let has_room = |shard: ShardId| {
            let part = self.placement.shards.get(&shard);
            part.is_some_and(|part| part.replicas.values().all(|node| self.has_room(*node, shard)))
        };
        let large = self.bytes.iter().filter(|(shard, size)| **size > limit && !resting.contains(shard));
        let able = large.filter(|(shard, _)| has_room(**shard));
        let (shard, _) = able.max_by_key(|(shard, size)| (**size, std::cmp::Reverse(**shard)))?;
        let task = Task::Split { shard: *shard, at: None };
        Mover::check(self.placement, &task).is_ok().then_some(task)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Zone<'a> {
    Named(&'a str),
    Of(NodeId),
}

/// The replicas for which the log is to wait no longer, one of a shard at most: those on nodes that have been silent for
/// long, that the log has not known for as long (`unknown_for`), or whose disk is full while they stand still for as long,
/// only while enough others have everything and can go on; and learners that have long stood still, are `nowhere`, or whose
/// nodes have been silent for long, where the number says which those are.
pub fn forsaken(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    unknown_for: impl Fn(NodeId) -> Duration,
    standings: &BTreeMap<ShardId, ShardStandings>,
    still_for: impl Fn(ShardId, ReplicaId) -> Duration,
    nowhere: &BTreeSet<(ShardId, ReplicaId)>,
    policy: &Policy,
) -> Vec<(ShardId, ReplicaId)> {
    let mut forsaken = Vec::new();
    let is_full = |node: &NodeId| {
        nodes.get(node).and_then(|condition| condition.free_bytes).is_some_and(|free| free < FULL_BELOW_BYTES)
    };
    for (shard, part) in &placement.shards {
        let Some(standings) = standings.get(shard) else { continue };
        let counting = || standings.replicas.iter().filter(|standing| standing.counts);
        let is_silent = |node: &NodeId| {
            let silent_for = nodes.get(node).map_or_else(|| unknown_for(*node), |known| known.silent_for);
            silent_for >= policy.uncount_after
        };
        let goes_on =
            |node: &NodeId| nodes.get(node).is_some_and(|c| c.silent_for.is_zero()) && !is_full(node);
        // The adjudicator asks for a majority of whole replicas as well, and before cluster version 4 it refuses the shard's commits if it
        // has to refuse this.
        let can_spare = |replica: ReplicaId| {
            let others = counting().filter(|other| other.replica != replica && other.is_whole);
            let others = others.filter(|other| part.replicas.get(&other.replica).is_some_and(goes_on));
            others.count() > part.replicas.len() / 2
        };
        let newest = counting().map(|standing| standing.durable).max();
        let is_forsaken = |standing: &&ReplicaStanding| {
            // It answers, or starts again and again, and others get on without it.
            let stands_still = |node: &NodeId| {
                is_full(node)
                    && Some(standing.durable) < newest
                    && still_for(*shard, standing.replica) >= policy.uncount_after
            };
            match part.replicas.get(&standing.replica) {
                Some(node) => (is_silent(node) || stands_still(node)) && can_spare(standing.replica),
                None => {
                    let beside =
                        fledgling_beside(standing.replica).and_then(|replica| part.replicas.get(&replica));
                    beside.is_some_and(is_silent)
                        || nowhere.contains(&(*shard, standing.replica))
                        || still_for(*shard, standing.replica)
                            >= LEARNERS_STAND_STILL.max(policy.uncount_after)
                }
            }
        };
        // What a second one leaves is known only once the first is gone.
        forsaken.extend(counting().find(is_forsaken).map(|standing| (*shard, standing.replica)));
    }
    forsaken
}

/// Learners that have got no further for as long as the log waits for anybody, and whose number does not say where they are:
/// they may be copying.
fn lingering(
    placement: &Placement,
    standings: &BTreeMap<ShardId, ShardStandings>,
    still_for: impl Fn(ShardId, ReplicaId) -> Duration,
    policy: &Policy,
) -> BTreeSet<(ShardId, ReplicaId)> {
    let all = standings.iter().flat_map(|(shard, known)| {
        known.replicas.iter().filter(|s| s.counts).map(|standing| (*shard, standing.replica))
    });
    let is_placed = |shard: &ShardId, replica: &ReplicaId| {
        placement.shards.get(shard).is_some_and(|part| part.replicas.contains_key(replica))
    };
    all.filter(|(shard, replica)| !is_placed(shard, replica) && fledgling_beside(*replica).is_none())
        .filter(|(shard, replica)| still_for(*shard, *replica) >= policy.uncount_after)
        .collect()
}

/// Nodes that hold replicas and are not known to the log.
#[derive(Default)]
struct Strangers {
    /// Those that the log has known.
    known: BTreeSet<NodeId>,
    /// Since when the others have been strangers.
    since: BTreeMap<NodeId, Instant>,
}

impl Strangers {
    /// Looks at who is known now.
    fn look(&mut self, placement: &Placement, nodes: &BTreeMap<NodeId, NodeCondition>, now: Instant) {
        self.known.extend(nodes.keys());
        let holders = placement.shards.values().flat_map(|part| part.replicas.values());
        let strangers: BTreeSet<NodeId> = holders.copied().filter(|node| !nodes.contains_key(node)).collect();
        self.since.retain(|node, _| strangers.contains(node));
        for node in strangers {
            self.since.entry(node).or_insert(now);
        }
    }

    /// For how long a node has been a stranger. One that was known is not to come back: it was removed. One that never was may
    /// be a founder that is about to say where it is.
    fn unknown_for(&self, node: NodeId, now: Instant) -> Duration {
        let Some(since) = self.since.get(&node) else { return Duration::ZERO };
        if self.known.contains(&node) { Duration::MAX } else { now.saturating_duration_since(*since) }
    }
}

/// Why a task is done by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Something is missing, in the wrong place or too large.
    Care,
    /// Something is uneven.
    Balance,
}

impl Why {
    /// Its name in jobs, metrics and the audit log.
    pub const fn label(self) -> &'static str {
        match self {
            Why::Care => "care",
            Why::Balance => "balance",
        }
    }
}

/// Does what the caretaker has decided.
pub trait Worker: Send + Sync {
    /// Does a task; for how long it may have held clients up, or why it could not be done. Ends half-way once it is
    /// `abandoned`: then another caretaker sees what is left to do.
    fn carry_out(
        &self,
        why: Why,
        task: Task,
        abandoned: BoxFuture<'static, ()>,
    ) -> BoxFuture<'_, Result<Duration, String>>;
}

/// A task that is being done.
struct Work {
    why: Why,
    task: Task,
    /// Dropped: the task is abandoned.
    going_on: Option<oneshot::Sender<()>>,
    done: BoxFuture<'static, Result<Duration, String>>,
}

impl Work {
    fn begin(worker: Arc<impl Worker + 'static>, why: Why, task: Task) -> Work {
        let (going_on, abandoned) = oneshot::channel::<()>();
        // Nothing is ever sent: it ends when the other half goes.
        let abandoned = Box::pin(async { drop(abandoned.await) });
        let done = Box::pin(async move { worker.carry_out(why, task, abandoned).await });
        Work { why, task, going_on: Some(going_on), done }
    }
}

/// What comes of the work; never, if there is none.
async fn finished(work: &mut Option<Work>) -> Result<Duration, String> {
    match work {
        Some(work) => work.done.as_mut().await,
        None => std::future::pending().await,
    }
}

/// After a failure nothing is tried for so long with what it was about, after each further one in a row for twice as long, …
const REST_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// … and at most so long.
const REST_MAX: Duration = Duration::from_secs(1800);

/// What a task that fails is about: the next one had better be about another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum About {
    /// The node that was to be given something.
    Node(NodeId),
    /// The shard that was to change.
    Shard(ShardId),
}

impl About {
    fn of(task: &Task) -> About {
        match task {
            Task::AddReplica { node, .. } | Task::MoveReplica { to: node, .. } => About::Node(*node),
            Task::RemoveReplica { shard, .. } | Task::Split { shard, .. } => About::Shard(*shard),
            Task::Merge { into, .. } | Task::MoveSlots { into, .. } => About::Shard(*into),
        }
    }
}

/// What has failed lately, so that one bad node does not keep everybody waiting.
#[derive(Default)]
struct Failures {
    /// How often in a row, and until when nothing is tried.
    known: BTreeMap<About, (u32, Instant)>,
}

impl Failures {
    fn note(&mut self, task: &Task, is_done: bool, now: Instant) {
        let about = About::of(task);
        if is_done {
            self.known.remove(&about);
            return;
        }
        let (times, until) = self.known.entry(about).or_insert((0, now));
        let rest = REST_AFTER_FAILURE.saturating_mul(1 << (*times).min(16)).min(REST_MAX);
        (*times, *until) = (*times + 1, now + rest);
    }

    fn is_resting(&self, about: About, now: Instant) -> bool {
        self.known.get(&about).is_some_and(|(_, until)| now < *until)
    }

    fn resting_shards(&self, now: Instant) -> BTreeSet<ShardId> {
        let resting = self.known.iter().filter(|(_, (_, until))| now < *until);
        let shards = resting.filter_map(|(about, _)| match about {
            About::Shard(shard) => Some(*shard),
            About::Node(_) => None,
        });
        shards.collect()
    }
}

/// A move of slots that holds clients up for longer than this makes the caretaker more careful.
const STALL_MAX: Duration = Duration::from_millis(300);
/// But not more careful than this.
const SLOTS_BELOW_MIN: u64 = 4 << 20;

/// Looks after all shards, on one node at a time: whoever leads the adjudicator's group.
pub struct Caretaker {
    mover: Mover,
    colleagues: Colleagues,
    adjudicator: Arc<dyn AdjudicatorClient>,
    surveyor: Arc<dyn Surveyor>,
    policy: Policy,
    /// Since when each node has not answered.
    silent_since: BTreeMap<NodeId, Instant>,
    strangers: Strangers,
    /// Since when each replica has been durable up to the same entry.
    still_since: BTreeMap<(ShardId, ReplicaId), (LogIndex, Instant)>,
    /// Since when each shard has had no slots, or when the log last refused that it ceases.
    empty_since: BTreeMap<ShardId, Instant>,
    /// The size of each shard when it was last looked.
    bytes: BTreeMap<ShardId, u64>,
    /// Until then nothing is evened out.
    rests_until: Option<Instant>,
    failures: Failures,
}

/// What the caretaker has seen.
struct Seen {
    placement: Arc<Placement>,
    nodes: BTreeMap<NodeId, NodeCondition>,
}

impl Caretaker {
    /// Looks after all shards as the policy wants it.
    pub fn new(
        mover: Mover,
        colleagues: Colleagues,
        adjudicator: Arc<dyn AdjudicatorClient>,
        surveyor: Arc<dyn Surveyor>,
        policy: Policy,
    ) -> Self {
        let (silent_since, strangers, still_since) = (BTreeMap::new(), Strangers::default(), BTreeMap::new());
        let (empty_since, bytes, rests_until) = (BTreeMap::new(), BTreeMap::new(), None);
        Caretaker {
            mover,
            colleagues,
            adjudicator,
            surveyor,
            policy,
            silent_since,
            strangers,
            still_since,
            empty_since,
            bytes,
            rests_until,
            failures: Failures::default(),
        }
    }

    /// Long-lived: looks every `interval` while `is_on_duty` says that this node is the one who should, and has the worker do
    /// what it sees, one task at a time, if nobody else has something done ([`Worker::carry_out`] lasts as long as a copy;
    /// whoever falls silent meanwhile is seen all the same).
    pub async fn run(
        mut self,
        interval: Duration,
        is_on_duty: impl Fn() -> bool + Send,
        is_busy: impl Fn() -> bool + Send,
        worker: Arc<impl Worker + 'static>,
        stopped: impl Future<Output = ()> + Send,
    ) {
        tokio::pin!(stopped);
        let mut work: Option<Work> = None;
        loop {
            tokio::select! {
                () = &mut stopped => return,
                done = finished(&mut work) => {
                    // What was abandoned says nothing about what it was about.
                    if let Some(Work { why, task, going_on: Some(_), .. }) = work.take() {
                        self.note(why, &task, done);
                    }
                    continue;
                }
                () = tokio::time::sleep(interval) => {}
            }
            if !is_on_duty() {
                // Whoever was on duty meanwhile knows better who has been silent.
                self.forget();
                work.iter_mut().for_each(|work| work.going_on = None);
                continue;
            }
            let Some(seen) = self.survey().await else { continue };
            if work.is_none()
                && !is_busy()
                && let Some((why, task)) = self.decide(&seen).await
            {
                tracing::info!(%task, why = why.label(), "taking care of the shards");
                work = Some(Work::begin(worker.clone(), why, task));
            }
        }
    }

    fn forget(&mut self) {
        self.silent_since.clear();
        self.strangers = Strangers::default();
        self.still_since.clear();
        self.empty_since.clear();
        self.failures = Failures::default();
    }

    /// Learns from what came of a task.
    fn note(&mut self, why: Why, task: &Task, done: Result<Duration, String>) {
        self.failures.note(task, done.is_ok(), Instant::now());
        let (Why::Balance, Some(balance)) = (why, &mut self.policy.balance) else { return };
        self.rests_until = Some(Instant::now() + balance.pause);
        if let (Task::MoveSlots { from, into, .. }, Ok(stall)) = (task, done)
            && stall > STALL_MAX
        {
            let size = |shard| self.bytes.get(shard).copied().unwrap_or(0);
            let halved = balance.slots_below.min(size(from).max(size(into))) / 2;
            // What holds readers up in spite of so little is not the size.
            balance.slots_below = balance.slots_below.min(halved.max(SLOTS_BELOW_MIN));
            let (millis, bytes) = (stall.as_millis() as u64, balance.slots_below);
            tracing::warn!(%task, millis, bytes, "readers were held up: only shards below this give and take slots");
        }
    }

    /// What should be done first, by what the nodes say now.
    pub async fn look(&mut self) -> Option<(Why, Task)> {
        let seen = self.survey().await?;
        self.decide(&seen).await
    }

    /// Asks the nodes how they are, and frees the log of those for which it has waited long enough.
    async fn survey(&mut self) -> Option<Seen> {
        let placement = self.adjudicator.placement().await.ok()?;
        let records = self.adjudicator.nodes().await.ok()?;
        let draining = self.surveyor.draining();
        let mut nodes = BTreeMap::new();
        let mut bytes: BTreeMap<ShardId, u64> = BTreeMap::new();
        let holders = records.iter().filter(|record| record.roles.iter().any(|role| role == "shard"));
        let mut zones: BTreeMap<NodeId, &str> =
            holders.map(|record| (record.node, record.zone.as_str())).collect();
        if records.is_empty() {
            // A cluster of one, which has nobody to whom it would tell where it is.
            zones.insert(self.colleagues.node(), "");
        }
        for (node, zone) in zones {
            let sizes = self.sizes(node, &placement).await;
            let silent_for = match sizes {
                Some(_) => {
                    self.silent_since.remove(&node);
                    Duration::ZERO
                }
                // At least something, so that it is given nothing.
                None => {
                    let since = self.silent_since.entry(node).or_insert_with(Instant::now);
                    since.elapsed().max(Duration::from_millis(1))
                }
            };
            for (shard, size) in sizes.into_iter().flatten() {
                let known = bytes.entry(shard).or_default();
                *known = size.max(*known);
            }
            let is_draining = draining.contains(&node);
            let free_bytes = match silent_for {
                Duration::ZERO => self.surveyor.free_bytes(node).await,
                _ => None,
            };
            let is_resting = self.failures.is_resting(About::Node(node), Instant::now());
            let zone = zone.to_owned();
            nodes.insert(node, NodeCondition { zone, silent_for, is_draining, free_bytes, is_resting });
        }
        self.strangers.look(&placement, &nodes, Instant::now());
        self.forsake(&placement, &nodes).await;
        self.bytes = bytes;
        Some(Seen { placement, nodes })
    }

    /// What should be done first.
    async fn decide(&mut self, seen: &Seen) -> Option<(Why, Task)> {
        let Seen { placement, nodes } = seen;
        if self.clear_away(placement).await {
            // What comes next is found in the placement as it is then.
            return None;
        }
        let resting = self.failures.resting_shards(Instant::now());
        if let Some(task) = next_task(placement, nodes, &self.bytes, &self.policy, &resting) {
            return Some((Why::Care, task));
        }
        let balance = self.policy.balance?;
        let is_resting = self.rests_until.is_some_and(|until| Instant::now() < until);
        if is_resting || self.surveyor.is_strained() || !is_calm(placement, nodes, &self.policy) {
            return None;
        }
        let task = next_move(placement, nodes, &self.bytes, balance.slots_below)?;
        let has_failed = self.failures.is_resting(About::of(&task), Instant::now());
        (!has_failed && Mover::check(placement, &task).is_ok()).then_some((Why::Balance, task))
    }

    /// Frees the log of those for which it has waited long enough.
    async fn forsake(&mut self, placement: &Placement, nodes: &BTreeMap<NodeId, NodeCondition>) {
        let mut standings = BTreeMap::new();
        for shard in placement.shards.keys() {
            if let Ok(known) = self.mover.standings(*shard).await {
                standings.insert(*shard, known);
            }
        }
        let now = Instant::now();
        let mut still_since = BTreeMap::new();
        for (shard, known) in &standings {
            for standing in &known.replicas {
                let key = (*shard, standing.replica);
                let before = self.still_since.get(&key).filter(|(durable, _)| *durable == standing.durable);
                still_since.insert(key, before.copied().unwrap_or((standing.durable, now)));
            }
        }
        self.still_since = still_since;
        let still_for = |shard, replica| {
            self.still_since.get(&(shard, replica)).map_or(Duration::ZERO, |(_, since)| since.elapsed())
        };
        let unknown_for = |node| self.strangers.unknown_for(node, now);
        let lingering = lingering(placement, &standings, still_for, &self.policy);
        let nowhere = self.nowhere(nodes, lingering).await;
        for (shard, replica) in
            forsaken(placement, nodes, unknown_for, &standings, still_for, &nowhere, &self.policy)
        {
            match self.mover.uncount(shard, replica).await {
                Ok(()) => tracing::warn!(%shard, %replica, "the log waits for this replica no longer"),
                Err(error) => tracing::warn!(%shard, %replica, %error, "the log goes on waiting"),
            }
        }
    }

    /// Those of these learners that are on no node: every one says so that has not been silent for as long as the log waits
    /// for anybody. None, while one may have them and cannot say.
    async fn nowhere(
        &self,
        nodes: &BTreeMap<NodeId, NodeCondition>,
        mut learners: BTreeSet<(ShardId, ReplicaId)>,
    ) -> BTreeSet<(ShardId, ReplicaId)> {
        let may_say = nodes.iter().filter(|(_, condition)| condition.silent_for < self.policy.uncount_after);
        for (node, _) in may_say {
            if learners.is_empty() {
                break;
            }
            match self.colleagues.ask(*node, &Request::Learners).await {
                Ok(Response::Learners(here)) => learners.retain(|learner| !here.contains(learner)),
                _ => return BTreeSet::new(),
            }
        }
        learners
    }

    /// Has shards cease that a merge has emptied whose node is gone, or lost its patience. While the merge goes on it does the same
    /// itself, and neither minds the other. True: one has ceased.
    async fn clear_away(&mut self, placement: &Placement) -> bool {
        let mut has_ceased = false;
        let is_empty = |shard: &ShardId| placement.slots_of(*shard).is_empty();
        let empty: BTreeSet<ShardId> = placement.shards.keys().copied().filter(is_empty).collect();
        self.empty_since.retain(|shard, _| empty.contains(shard));
        for shard in empty {
            let since = self.empty_since.entry(shard).or_insert_with(Instant::now);
            if since.elapsed() < self.policy.cease_after {
                continue;
            }
            // Each attempt is an entry of the log, so the next one waits as long.
            *since = Instant::now();
            match self.mover.cease(shard).await {
                Ok(true) => {
                    has_ceased = true;
                    tracing::info!(%shard, "a merge had left this shard without slots: it is no more")
                }
                Ok(false) => tracing::info!(%shard, "somebody may still read what this shard has given away"),
                Err(error) => tracing::warn!(%shard, %error, "a shard without slots stays"),
            }
        }
        has_ceased
    }

    /// The sizes of a node's replicas; `None` if it does not answer.
    async fn sizes(&self, node: NodeId, placement: &Placement) -> Option<Vec<(ShardId, u64)>> {
        let is_here = |part: &ShardPlacement| part.replicas.values().any(|on| *on == node);
        let here = placement.shards.iter().filter(|(_, part)| is_here(part)).map(|(shard, _)| *shard);
        let mut here: Vec<ShardId> = here.collect();
        if here.is_empty() {
            // Any question will do, but for one about what a learner of its copies: that would say that it is wanted.
            here.push(NO_SHARD);
        }
        let mut sizes = Vec::new();
        for shard in here {
            match self.colleagues.ask(node, &Request::Status { shard }).await {
                Ok(Response::Status(Some(status))) => sizes.push((shard, status.bytes)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        Some(sizes)
    }
}

/// Whether everybody who has not been given up answers, and every shard has its replicas: moving is for such times.
fn is_calm(placement: &Placement, nodes: &BTreeMap<NodeId, NodeCondition>, policy: &Policy) -> bool {
    let is_missed = |c: &NodeCondition| !c.silent_for.is_zero() && c.silent_for < policy.gone_after;
    let answers = |node: &NodeId| nodes.get(node).is_some_and(|c| c.silent_for.is_zero());
    let replicas = placement.shards.values().flat_map(|part| part.replicas.values());
    !nodes.values().any(is_missed) && replicas.into_iter().all(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::Slot;

    /// Nodes in zones, `a` to `c`.
    fn nodes(zones: &[(u64, &str)]) -> BTreeMap<NodeId, NodeCondition> {
        let condition = |zone: &str| NodeCondition { zone: zone.into(), ..NodeCondition::default() };
        zones.iter().map(|(node, zone)| (NodeId(*node), condition(zone))).collect()
    }

    fn placed(shards: &[&[u64]]) -> Placement {
        let mut placement = Placement::even(shards.len() as u32, NodeId(1));
        for (part, on) in placement.shards.values_mut().zip(shards) {
            part.replicas = (1u8..).map(ReplicaId).zip(on.iter().map(|node| NodeId(*node))).collect();
        }
        placement
    }

    fn next(placement: &Placement, nodes: &BTreeMap<NodeId, NodeCondition>) -> Option<Task> {
        next_task(placement, nodes, &BTreeMap::new(), &Policy::default(), &BTreeSet::new())
    }

    fn silence(nodes: &mut BTreeMap<NodeId, NodeCondition>, node: u64, seconds: u64) {
        nodes.get_mut(&NodeId(node)).unwrap().silent_for = Duration::from_secs(seconds);
    }

    const ONE: ShardId = ShardId(1);

    /// A replica that counts and has a copy.
    fn standing(replica: u8, durable: u64) -> ReplicaStanding {
        let (replica, durable) = (ReplicaId(replica), LogIndex(durable));
        ReplicaStanding { replica, durable, counts: true, is_whole: true }
    }

    #[test]
    fn what_is_in_order_is_left_alone() {
        let nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "a")]);
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &nodes), None);
    }

    #[test]
    fn a_node_that_is_silent_for_long_is_replaced_by_one_of_its_zone() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "b"), (5, "c")]);
        let placement = placed(&[&[1, 2, 3]]);
        silence(&mut nodes, 3, 599);
        assert_eq!(next(&placement, &nodes), None, "it may come back");
        silence(&mut nodes, 3, 600);
        let task = Task::MoveReplica { shard: ONE, from: NodeId(3), to: NodeId(5) };
        assert_eq!(next(&placement, &nodes), Some(task), "the other two have zones a and b");
        // A node that the cluster does not know any more is gone as well.
        nodes.remove(&NodeId(3));
        assert_eq!(next(&placement, &nodes), Some(task));
        // Nobody is asked who does not answer just now.
        silence(&mut nodes, 5, 1);
        let task = Task::MoveReplica { shard: ONE, from: NodeId(3), to: NodeId(4) };
        assert_eq!(next(&placement, &nodes), Some(task));
    }

    #[test]
    fn without_a_majority_nothing_is_given_up() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        silence(&mut nodes, 2, 9_999);
        silence(&mut nodes, 3, 9_999);
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &nodes), None);
    }

    #[test]
    fn a_draining_node_is_emptied_and_given_nothing() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        nodes.get_mut(&NodeId(2)).unwrap().is_draining = true;
        let task = Task::MoveReplica { shard: ONE, from: NodeId(2), to: NodeId(4) };
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &nodes), Some(task));
        assert_eq!(next(&placed(&[&[1, 3, 4]]), &nodes), None);
        // Two replicas of a shard on one node would be one: without a fourth node there is nowhere to go.
        nodes.remove(&NodeId(4));
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &nodes), None);
        // What there is too much of just goes.
        let task = Task::RemoveReplica { shard: ONE, node: NodeId(2) };
        let policy = Policy { replicas: 2, ..Policy::default() };
        assert_eq!(
            next_task(&placed(&[&[1, 2, 3]]), &nodes, &BTreeMap::new(), &policy, &BTreeSet::new()),
            Some(task)
        );
    }

    #[test]
    fn a_replica_goes_only_where_there_is_room_for_it() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "b")]);
        nodes.get_mut(&NodeId(2)).unwrap().is_draining = true;
        let bytes = BTreeMap::from([(ONE, 1000)]);
        let next = |nodes: &_| {
            next_task(&placed(&[&[1, 2, 3]]), nodes, &bytes, &Policy::default(), &BTreeSet::new())
        };
        let to = |to| Some(Task::MoveReplica { shard: ONE, from: NodeId(2), to: NodeId(to) });
        assert_eq!(next(&nodes), to(4), "how much is free is not known");
        nodes.get_mut(&NodeId(4)).unwrap().free_bytes = Some(ROOM_MIN_BYTES + 999);
        assert_eq!(next(&nodes), to(5));
        nodes.get_mut(&NodeId(5)).unwrap().free_bytes = Some(0);
        assert_eq!(next(&nodes), None);
        nodes.get_mut(&NodeId(4)).unwrap().free_bytes = Some(ROOM_MIN_BYTES + 1000);
        assert_eq!(next(&nodes), to(4));
    }

    #[test]
    fn too_few_replicas_become_enough_and_too_many_fewer() {
        let nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "c")]);
        let task = Task::AddReplica { shard: ONE, node: NodeId(2) };
        assert_eq!(next(&placed(&[&[1, 3]]), &nodes), Some(task));
        // The one that shares a zone goes.
        let Some(Task::RemoveReplica { node, .. }) = next(&placed(&[&[1, 2, 3, 4]]), &nodes) else {
            panic!("one is too many");
        };
        assert!([NodeId(3), NodeId(4)].contains(&node));
    }

    #[test]
    fn as_long_as_one_of_too_many_does_not_answer_none_that_does_is_given_up() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
        let placement = placed(&[&[1, 2, 3, 4]]);
        let remove = |node| Some(Task::RemoveReplica { shard: ONE, node: NodeId(node) });
        assert!(next(&placement, &nodes).is_some());
        silence(&mut nodes, 1, 1);
        assert_eq!(next(&placement, &nodes), None);
        nodes.get_mut(&NodeId(2)).unwrap().is_draining = true;
        assert_eq!(next(&placement, &nodes), None);
        silence(&mut nodes, 1, 600);
        assert_eq!(next(&placement, &nodes), remove(1));
        silence(&mut nodes, 1, 0);
        assert_eq!(next(&placement, &nodes), remove(2));
    }

    #[test]
    fn who_has_failed_rests_and_others_are_tried() {
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]);
        let placement = placed(&[&[1, 2], &[1, 2, 3, 4]]);
        let add = |node| Some(Task::AddReplica { shard: ONE, node: NodeId(node) });
        assert_eq!(next(&placement, &nodes), add(5));
        nodes.get_mut(&NodeId(5)).unwrap().is_resting = true;
        assert_eq!(next(&placement, &nodes), add(3), "the next best");
        let second = ShardId(2);
        let resting = BTreeSet::from([ONE]);
        let task = next_task(&placement, &nodes, &BTreeMap::new(), &Policy::default(), &resting);
        assert!(matches!(task, Some(Task::RemoveReplica { shard, .. }) if shard == second), "{task:?}");
    }

    #[test]
    fn each_failure_in_a_row_is_rested_from_twice_as_long() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let (task, node) = (Task::AddReplica { shard: ONE, node: NodeId(4) }, About::Node(NodeId(4)));
        let mut failures = Failures::default();
        assert!(!failures.is_resting(node, began));
        let mut now = began;
        for rest in [30, 60, 120, 240, 480, 960, 1800, 1800] {
            failures.note(&task, false, now);
            assert!(failures.is_resting(node, now + (rest - 1) * second), "{rest}");
            now += rest * second;
            assert!(!failures.is_resting(node, now), "{rest}");
        }
        failures.note(&task, true, now);
        failures.note(&task, false, now);
        assert!(!failures.is_resting(node, now + 30 * second), "a success makes up for it");
        failures.note(&Task::Split { shard: ONE, at: None }, false, now);
        assert_eq!(failures.resting_shards(now), BTreeSet::from([ONE]));
        assert_eq!(failures.resting_shards(now + 30 * second), BTreeSet::new());
    }

    #[test]
    fn the_log_waits_only_so_long_for_a_full_disk() {
        let placement = placed(&[&[1, 2, 3]]);
        let forsaken_at = |free: u64, durable: u64, still: u64| {
            let replicas = vec![standing(1, 9), standing(2, 9), standing(3, durable)];
            let standings = ShardStandings { as_of: LogIndex(9), replicas, recovered_at: LogIndex(0) };
            let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c")]);
            nodes.get_mut(&NodeId(3)).unwrap().free_bytes = Some(free);
            let still_for = |_, _| Duration::from_secs(still);
            let standings = BTreeMap::from([(ONE, standings)]);
            forsaken(
                &placement,
                &nodes,
                |_| Duration::ZERO,
                &standings,
                still_for,
                &BTreeSet::new(),
                &Policy::default(),
            )
        };
        assert_eq!(forsaken_at(FULL_BELOW_BYTES - 1, 8, 300), [(ONE, ReplicaId(3))]);
        assert_eq!(forsaken_at(FULL_BELOW_BYTES, 8, 300), [], "it has room, and is slow");
        assert_eq!(forsaken_at(0, 9, 300), [], "it has everything");
        assert_eq!(forsaken_at(0, 8, 299), []);
    }

    #[test]
    fn nobody_is_given_up_whom_the_others_cannot_spare() {
        const FULL: Option<u64> = Some(0);
        let forsaken_of = |standings: &[ReplicaStanding], nodes: &BTreeMap<NodeId, NodeCondition>| {
            let on: Vec<u64> = (1..).take(standings.len()).collect();
            let (as_of, recovered_at) = (LogIndex(9), LogIndex(0));
            let standings = ShardStandings { as_of, replicas: standings.to_vec(), recovered_at };
            let (standings, placement) = (BTreeMap::from([(ONE, standings)]), placed(&[&on]));
            let long = |_, _| Duration::from_secs(9_999);
            forsaken(
                &placement,
                nodes,
                |_| Duration::MAX,
                &standings,
                long,
                &BTreeSet::new(),
                &Policy::default(),
            )
        };
        let nodes_with = |full: &[u64], nodes_max: u64| {
            let zones: Vec<(u64, &str)> = (1..=nodes_max).map(|node| (node, "")).collect();
            let mut nodes = nodes(&zones);
            full.iter().for_each(|node| nodes.get_mut(&NodeId(*node)).unwrap().free_bytes = FULL);
            nodes
        };
        let learning = |replica, durable| ReplicaStanding { is_whole: false, ..standing(replica, durable) };
        let gone = |replica| vec![(ONE, ReplicaId(replica))];

        // Two of three are full.
        let three = [standing(1, 9), standing(2, 8), standing(3, 8)];
        assert_eq!(forsaken_of(&three, &nodes_with(&[3], 3)), gone(3));
        assert_eq!(forsaken_of(&three, &nodes_with(&[2, 3], 3)), []);
        // Two of five are, and go one after the other.
        let mut five = [1, 2, 3, 4, 5].map(|replica| standing(replica, if replica < 4 { 9 } else { 8 }));
        assert_eq!(forsaken_of(&five, &nodes_with(&[4, 5], 5)), gone(4));
        (five[3].counts, five[3].is_whole) = (false, false);
        assert_eq!(forsaken_of(&five, &nodes_with(&[4, 5], 5)), gone(5));
        assert_eq!(forsaken_of(&five, &nodes_with(&[3, 5], 5)), [], "2 of 5 are left");
        // One is full, or its node removed, and another has no copy yet.
        let rebuilding = [standing(1, 9), learning(2, 8), standing(3, 8)];
        assert_eq!(forsaken_of(&rebuilding, &nodes_with(&[3], 3)), []);
        assert_eq!(forsaken_of(&rebuilding, &nodes_with(&[], 2)), []);
        assert_eq!(forsaken_of(&three, &nodes_with(&[], 2)), gone(3));
        // One that is learning itself is relied upon by nobody.
        assert_eq!(
            forsaken_of(&[standing(1, 9), standing(2, 9), learning(3, 8)], &nodes_with(&[3], 3)),
            gone(3)
        );
        // One of two is no majority.
        let two = [standing(1, 9), standing(2, 8)];
        assert_eq!(forsaken_of(&two, &nodes_with(&[2], 2)), []);
        assert_eq!(forsaken_of(&two, &nodes_with(&[], 1)), []);
    }

    #[test]
    fn replicas_of_one_zone_are_spread() {
        let three = nodes(&[(1, "a"), (2, "a"), (3, "b"), (4, "c")]);
        let task = Task::MoveReplica { shard: ONE, from: NodeId(1), to: NodeId(4) };
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &three), Some(task));
        // With nowhere else to go they stay.
        let two = nodes(&[(1, "a"), (2, "a"), (3, "b")]);
        assert_eq!(next(&placed(&[&[1, 2, 3]]), &two), None);
    }

    #[test]
    fn the_log_waits_for_the_silent_only_so_long_and_never_below_a_majority() {
        let placement = placed(&[&[1, 2, 3]]);
        let standing = |n: u8| standing(n, 9);
        let standings = |numbers: &[u8]| {
            let replicas = numbers.iter().map(|n| standing(*n)).collect();
            BTreeMap::from([(
                ONE,
                ShardStandings { as_of: LogIndex(9), replicas, recovered_at: LogIndex(0) },
            )])
        };
        let forsaken_at = |nodes: &_, numbers: &[u8], still: u64| {
            let still_for = |_, _| Duration::from_secs(still);
            let unknown_for = |_| Duration::ZERO;
            forsaken(
                &placement,
                nodes,
                unknown_for,
                &standings(numbers),
                still_for,
                &BTreeSet::new(),
                &Policy::default(),
            )
        };
        let mut nodes = nodes(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(forsaken_at(&nodes, &[1, 2, 3], 9_999), []);
        silence(&mut nodes, 2, 299);
        assert_eq!(forsaken_at(&nodes, &[1, 2, 3], 0), []);
        silence(&mut nodes, 2, 300);
        assert_eq!(forsaken_at(&nodes, &[1, 2, 3], 0), [(ONE, ReplicaId(2))]);
        silence(&mut nodes, 3, 1);
        assert_eq!(forsaken_at(&nodes, &[1, 2, 3], 0), [], "the third may be gone as well");
        // A learner stands for nobody, and may take its time.
        silence(&mut nodes, 3, 0);
        assert_eq!(forsaken_at(&nodes, &[1, 3, 200], 3_599), []);
        assert_eq!(forsaken_at(&nodes, &[1, 3, 200], 3_600), [(ONE, ReplicaId(200))]);
        // Of a fledgling the number says where it is.
        let beside = |replica: u8| crate::mover::learner_of(ReplicaId(replica)).0;
        assert_eq!(forsaken_at(&nodes, &[1, 3, beside(3)], 0), []);
        assert_eq!(
            forsaken_at(&nodes, &[1, 3, beside(2)], 0),
            [(ONE, ReplicaId(beside(2)))],
            "node 2 is silent"
        );
    }

    #[test]
    fn a_learner_that_is_nowhere_is_looked_for_once_it_stands_still_and_is_not_waited_for() {
        let placement = placed(&[&[1, 2, 3]]);
        let learner = (ONE, ReplicaId(4));
        let beside = crate::mover::learner_of(ReplicaId(3)).0;
        let replicas = [standing(1, 9), standing(2, 9), standing(3, 9), standing(4, 0), standing(beside, 0)];
        let standings =
            ShardStandings { as_of: LogIndex(9), replicas: replicas.into(), recovered_at: LogIndex(0) };
        let (standings, policy) = (BTreeMap::from([(ONE, standings)]), Policy::default());
        let lingering_at =
            |still| lingering(&placement, &standings, |_, _| Duration::from_secs(still), &policy);
        assert_eq!(lingering_at(299), BTreeSet::new(), "it may be about to say where it is");
        assert_eq!(lingering_at(300), BTreeSet::from([learner]), "of others it is known where they are");
        let forsaken_with = |nowhere: &BTreeSet<_>| {
            let nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
            let still_for = |_, _| Duration::from_secs(300);
            forsaken(&placement, &nodes, |_| Duration::ZERO, &standings, still_for, nowhere, &policy)
        };
        assert_eq!(forsaken_with(&BTreeSet::new()), [], "somebody has it, and it may be copying");
        assert_eq!(forsaken_with(&BTreeSet::from([learner])), [learner]);
    }

    #[test]
    fn the_log_does_not_wait_for_the_replicas_of_a_node_that_was_removed() {
        let placement = placed(&[&[1, 2, 3]]);
        let standing = |n: u8| standing(n, 9);
        let replicas = [1, 2, 3].map(standing).to_vec();
        let standings = ShardStandings { as_of: LogIndex(9), replicas, recovered_at: LogIndex(0) };
        let standings = BTreeMap::from([(ONE, standings)]);
        let (began, wait) = (Instant::now(), Policy::default().uncount_after);
        let forsaken_at = |strangers: &Strangers, nodes: &_, now| {
            let unknown_for = |node| strangers.unknown_for(node, now);
            forsaken(
                &placement,
                nodes,
                unknown_for,
                &standings,
                |_, _| Duration::ZERO,
                &BTreeSet::new(),
                &Policy::default(),
            )
        };
        let all = nodes(&[(1, "a"), (2, "b"), (3, "c")]);
        let mut without = all.clone();
        without.remove(&NodeId(3));

        let mut strangers = Strangers::default();
        strangers.look(&placement, &all, began);
        assert_eq!(forsaken_at(&strangers, &all, began), []);
        strangers.look(&placement, &without, began);
        assert_eq!(forsaken_at(&strangers, &without, began), [(ONE, ReplicaId(3))]);
        // It is added again.
        strangers.look(&placement, &all, began);
        assert_eq!(forsaken_at(&strangers, &all, began), []);

        // A node that was never known may be about to say where it is.
        let mut strangers = Strangers::default();
        strangers.look(&placement, &without, began);
        assert_eq!(forsaken_at(&strangers, &without, began), []);
        strangers.look(&placement, &without, began + wait);
        assert_eq!(forsaken_at(&strangers, &without, began + wait), [(ONE, ReplicaId(3))]);
        // Never below a majority.
        without.remove(&NodeId(2));
        strangers.look(&placement, &without, began + wait);
        assert_eq!(forsaken_at(&strangers, &without, began + 2 * wait), []);
    }

    #[test]
    fn everything_settles_after_a_few_tasks() {
        // From one node to five, as a cluster grows.
        let nodes = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")]);
        let mut placement = placed(&[&[1], &[1], &[1], &[1], &[1]]);
        let mut tasks = 0;
        while let Some(task) = next(&placement, &nodes) {
            let part = |shard: &ShardId| placement.shards[shard].replicas.clone();
            let (shard, replicas) = match task {
                Task::AddReplica { shard, node } => {
                    let mut replicas = part(&shard);
                    let number = replicas.keys().next_back().unwrap().0 + 1;
                    replicas.insert(ReplicaId(number), node);
                    (shard, replicas)
                }
                Task::MoveReplica { shard, from, to } => {
                    let mut replicas = part(&shard);
                    replicas.values_mut().filter(|on| **on == from).for_each(|on| *on = to);
                    (shard, replicas)
                }
                other => panic!("{other}"),
            };
            placement.shards.get_mut(&shard).unwrap().replicas = replicas;
            tasks += 1;
            assert!(tasks < 50, "it goes round in circles: {task}");
        }
        for part in placement.shards.values() {
            let zones: BTreeSet<&str> = part.replicas.values().map(|n| nodes[n].zone.as_str()).collect();
            assert_eq!(zones.len(), 3);
        }
    }

    #[test]
    fn the_largest_shard_is_split_once_it_is_too_large() {
        let nodes = nodes(&[(1, "")]);
        let policy = Policy { replicas: 1, split_above: Some(100), ..Policy::default() };
        let placement = placed(&[&[1], &[1]]);
        let sizes = |one, two| BTreeMap::from([(ONE, one), (ShardId(2), two)]);
        assert_eq!(next_task(&placement, &nodes, &sizes(100, 90), &policy, &BTreeSet::new()), None);
        let split = Some(Task::Split { shard: ShardId(2), at: None });
        assert_eq!(next_task(&placement, &nodes, &sizes(101, 102), &policy, &BTreeSet::new()), split);
        assert_eq!(placement.shard_of(Slot(0)), ONE);
        // Without room for a copy of it another one is, or none.
        let mut nodes = nodes;
        nodes.get_mut(&NodeId(1)).unwrap().free_bytes = Some(ROOM_MIN_BYTES + 101);
        let split = Some(Task::Split { shard: ONE, at: None });
        assert_eq!(next_task(&placement, &nodes, &sizes(101, 102), &policy, &BTreeSet::new()), split);
        nodes.get_mut(&NodeId(1)).unwrap().free_bytes = Some(ROOM_MIN_BYTES);
        assert_eq!(next_task(&placement, &nodes, &sizes(101, 102), &policy, &BTreeSet::new()), None);
    }
}
