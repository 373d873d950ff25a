//! Three nodes and more in one process, over peers in memory whose connections a test can cut.

use crate::fs::{Crash, Memory};
use crate::housekeeping::HOUSEKEEPING;
use crate::memory_peers::MemoryNetwork;
use crate::raft::wire::{Hello, Offer};
use crate::{Adjudicator, Agreement, Founding, MembershipError, OpenError, Options, recover, wal};
use assize_adjudicator::Command;
use assize_adjudicator::command::DurableReport;
use assize_model::*;
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, BoxFuture, Channel, Decided, DecisionSource, Footprints,
    FrameDecisions, NodeRecord, PeerService, Registered, Service,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Nothing that is waited for takes longer than this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The nodes of one test.
struct Group {
    net: MemoryNetwork,
    founders: BTreeMap<NodeId, String>,
    disks: BTreeMap<NodeId, Memory>,
    nodes: BTreeMap<NodeId, Adjudicator>,
}

pub const ALL: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

pub fn address(node: NodeId) -> String {
    format!("{node}.test:7407")
}

/// How the log knows a node of a release that understands this version.
fn record(node: NodeId, cluster_version: u32) -> NodeRecord {
    NodeRecord {
        node,
        peer_address: address(node),
        admin_address: String::new(),
        mysql_address: String::new(),
        roles: vec!["adjudicator".into()],
        zone: String::new(),
        version: format!("0.{cluster_version}.0"),
        cluster_version,
    }
}

pub fn options(node: NodeId, founding: Founding) -> Options {
    Options {
        window_log2: 10,
        wal: wal::Options { segment_size: 64 << 10, cache_max: 16 << 10, ..wal::Options::default() },
        checkpoint_bytes: 20 << 10,
        keep_incoming_every: 4,
        headroom_min: 8 << 10,
        free_min: 0,
        founding,
        ..Options::new(node, Placement::even(2, NodeId(1)))
    }
}

impl Group {
    /// Three nodes that found a cluster together.
    async fn found() -> Group {
        Group::found_with(|options| options).await
    }

    /// Three nodes with special options that found a cluster together.
    async fn found_with(change: impl Fn(Options) -> Options) -> Group {
        let founders = ALL.map(|node| (node, address(node))).into();
        let mut group =
            Group { net: MemoryNetwork::default(), founders, disks: BTreeMap::new(), nodes: BTreeMap::new() };
        for node in ALL {
            let founding = Founding::Together(group.founders.clone());
            group.start_with(change(options(node, founding))).await.unwrap();
        }
        group
    }

    async fn start(&mut self, id: NodeId, founding: Founding) {
        self.start_with(options(id, founding)).await.unwrap();
    }

    async fn start_with(&mut self, options: Options) -> Result<(), OpenError> {
        let id = options.node;
        let disk = self.disks.entry(id).or_default().clone();
        let peers = Some(self.net.peers(id));
        let node = Adjudicator::open_on(Arc::new(disk), options, peers).await?;
        self.net.serve(id, Service::Raft, Some(node.raft_service()));
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Starts a node as an older release, or a newer one.
    async fn start_release(&mut self, id: NodeId, cluster_version_max: u32) -> Result<(), OpenError> {
        let founding = Founding::Together(self.founders.clone());
        self.start_with(Options { cluster_version_max, ..options(id, founding) }).await
    }

    /// Has the log know what a node understands, as each node does when it starts.
    async fn enter(&self, id: NodeId, cluster_version: u32) {
        eventually("the log knows the node", async || {
            self.node(id).enter(record(id, cluster_version)).await.ok()
        })
        .await;
    }

    /// Starts a node again on the disk that it left.
    async fn restart(&mut self, id: NodeId) {
        self.start(id, Founding::Together(self.founders.clone())).await;
    }

    /// Ends a node as a power cut does: nothing is said to anybody, and what was not synced is gone.
    async fn kill(&mut self, id: NodeId) {
        self.net.serve(id, Service::Raft, None);
        self.net.isolate(id, self.nodes.keys().copied());
        let node = self.nodes.remove(&id).unwrap();
        let disk = self.disks[&id].clone();
        disk.die_after(0);
        node.shutdown().await;
        drop(node);
        disk.crash(Crash::LoseUnsynced);
        self.net.heal();
    }

    fn node(&self, id: NodeId) -> &Adjudicator {
        &self.nodes[&id]
    }

    /// The node that the others of these follow.
    async fn leader_among(&self, ids: &[NodeId]) -> NodeId {
        eventually("somebody leads", async || {
            let leader = ids.iter().find(|id| self.node(**id).begin_now().is_some())?;
            let term = self.node(*leader).status().term;
            let follows = |id: &NodeId| {
                let status = self.node(*id).status();
                status.leader == Some(*leader) && status.term == term
            };
            ids.iter().all(follows).then_some(*leader)
        })
        .await
    }

    async fn leader(&self) -> NodeId {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.leader_among(&ids).await
    }

    /// Takes a node out. On a busy machine a voter may answer too late, so that it is refused: it is asked again.
    async fn remove(&self, node: NodeId) {
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != node).collect();
        eventually("the node is removed", async || {
            let leader = self.leader_among(&others).await;
            self.node(leader).remove(node).await.ok()
        })
        .await;
    }

    /// Gives a node a vote, with as much patience.
    async fn add_voter(&self, node: NodeId) {
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != node).collect();
        eventually("the node votes", async || {
            let leader = self.leader_among(&others).await;
            self.node(leader).add_voter(node, address(node), PATIENCE).await.ok()
        })
        .await;
    }

    /// All of these have applied as much as the leader has.
    async fn agree(&self, ids: &[NodeId]) {
        eventually("all have applied the same", async || {
            let applied: BTreeSet<LogIndex> = ids.iter().map(|id| self.node(*id).stats().applied).collect();
            (applied.len() == 1).then_some(())
        })
        .await;
    }
}

impl Adjudicator {
    /// Whether it believes that it leads.
    fn begin_now(&self) -> Option<()> {
        (self.watch_leadership().borrow().is_this && self.identity().is_some()).then_some(())
    }
}

/// Looks until there is something to see.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A footprint that writes one key, which it has read at this snapshot.
pub fn put_one(txn: TxnId, snapshot_ts: Timestamp, hash_seed: u64, key: Key, value: Vec<u8>) -> Footprint {
    let hash = key.hash(hash_seed);
    let mutation = Mutation::put(key.clone(), Slot::of(&key.0), value);
    Footprint {
        txn,
        groups: vec![AccessGroup { snapshot_ts, checked: vec![hash], ranges: Vec::new() }],
        schemas: Vec::new(),
        auto_increments: Vec::new(),
        body: CommitBody::Inline {
            mutations: vec![mutation],
            written: vec![WrittenKey { hash, ordered: None }],
        },
        catalog_change: None,
    }
}

/// A client that finds the leader and asks again, as a frontend does.
struct Frontend {
    registered: Registered,
    next: u64,
}

impl Frontend {
    async fn register(group: &Group) -> Frontend {
        let registered = insist(group, async |node| node.register("frontend-1", 1).await).await;
        Frontend { registered, next: 1 }
    }

    /// A footprint that writes one key at a snapshot taken now.
    async fn put(&mut self, group: &Group, key: &str, value: Vec<u8>) -> Footprint {
        let snapshot_ts = insist(group, async |node| node.begin().await).await.snapshot_ts;
        self.put_at(snapshot_ts, key, value)
    }

    /// A footprint that writes one key at another one's snapshot.
    fn put_unread(&mut self, other: &Footprint, key: &str) -> Footprint {
        self.put_at(other.groups[0].snapshot_ts, key, Vec::new())
    }

    fn put_at(&mut self, snapshot_ts: Timestamp, key: &str, value: Vec<u8>) -> Footprint {
        let Registered { frontend, epoch, hash_seed } = self.registered;
        self.next += 1;
        let txn = TxnId::new(snapshot_ts, DeadlineClass::Normal, frontend, epoch, self.next - 1);
        put_one(txn, snapshot_ts, hash_seed, Key::new(key.as_bytes().to_vec()), value)
    }

    /// Commits one key for certain; the timestamp.
    async fn commit(&mut self, group: &Group, key: &str) -> (Footprint, Timestamp) {
        self.commit_value(group, key, b"v".to_vec()).await
    }

    async fn commit_value(&mut self, group: &Group, key: &str, value: Vec<u8>) -> (Footprint, Timestamp) {
        let footprint = self.put(group, key, value).await;
        let decision = insist(group, async |node| node.commit(footprint.clone()).await).await;
        match decision {
            Decision::Commit { commit_ts } => (footprint, commit_ts),
            abort => panic!("{abort:?}"),
        }
    }
}

/// Asks one node after the other until the leader has answered.
async fn insist<T>(group: &Group, ask: impl AsyncFn(&Adjudicator) -> Result<T, AdjudicatorError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for node in group.nodes.values() {
            match tokio::time::timeout(Duration::from_secs(5), ask(node)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(AdjudicatorError::Stopped(why))) => panic!("{}: {why}", node.id()),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        assert!(Instant::now() < deadline, "nobody answers");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The transactions that a shard is told of after a position.
async fn commits_after(node: &Adjudicator, shard: ShardId, from: Position) -> Vec<TxnId> {
    let mut stream = DecisionSource::subscribe(node, shard, from).await.unwrap();
    let closed_ts = node.stats().closed_ts;
    let (mut commits, mut after, mut reached) = (Vec::new(), from.index, from.closed_ts);
    while reached < closed_ts {
        for entry in stream.next().await.unwrap() {
            assert_eq!(entry.after, after, "the stream has a gap");
            after = entry.position.index;
            reached = entry.position.closed_ts;
            commits.extend(entry.commits.iter().map(|commit| commit.txn));
        }
    }
    commits
}

async fn all_commits(node: &Adjudicator) -> BTreeSet<TxnId> {
    let mut all = BTreeSet::new();
    for shard in [ShardId(1), ShardId(2)] {
        all.extend(commits_after(node, shard, Position::default()).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_a_leader_and_all_apply_what_it_commits() {
    let group = Group::found().await;
    let leader = group.leader().await;
    let mut frontend = Frontend::register(&group).await;
    let mut committed = BTreeSet::new();
    for key in ["a", "b", "c", "d"] {
        committed.insert(frontend.commit(&group, key).await.0.txn);
    }
    for follower in ALL.into_iter().filter(|node| *node != leader) {
        let refused = group.node(follower).begin().await.unwrap_err();
        assert_eq!(refused, AdjudicatorError::NotLeader { leader: Some(leader) });
        let refused = group.node(follower).commit_many(Footprints::one(Bytes::new())).await;
        let not_leader = Err(AdjudicatorError::NotLeader { leader: Some(leader) });
        assert_eq!(refused, FrameDecisions::all(1, not_leader));
    }
    group.agree(&ALL).await;
    let identities: BTreeSet<u128> = ALL.map(|id| group.node(id).identity().unwrap().cluster).into();
    assert_eq!(identities.len(), 1, "there is one cluster");
    for node in ALL {
        assert_eq!(all_commits(group.node(node)).await, committed, "{node} streams what was committed");
    }
    let compared = group.node(leader).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::Equal);
    assert!(compared.others.len() == 2 && compared.others.values().all(Option::is_some), "{compared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_message_to_the_others_can_hold_is_refused_and_the_next_one_commits() {
    let most = 8 << 10;
    let group = Group::found_with(|options| Options { entry_bytes_max: most, ..options }).await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit_value(&group, "fits", vec![7; most / 2]).await;
    let huge = frontend.put(&group, "huge", vec![7; most]).await;
    let leader = group.node(group.leader().await);
    let too_large = |decided: &Decided| matches!(decided, Err(AdjudicatorError::TooLarge(_)));
    let refused = leader.commit(huge.clone()).await;
    assert!(too_large(&refused), "{refused:?}");
    let small = [frontend.put(&group, "a", vec![7]).await, frontend.put(&group, "b", vec![7]).await];
    let encode =
        |footprint: &Footprint| assize_adjudicator::EncodedFootprint::new(footprint).unwrap().bytes().clone();
    let frame = [&small[0], &huge, &small[1]].map(encode);
    let answers: Vec<Decided> = leader.commit_many(frame.iter().collect()).await.iter().collect();
    let is_commit = |decided: &Decided| matches!(decided, Ok(Decision::Commit { .. }));
    assert!(is_commit(&answers[0]) && too_large(&answers[1]) && is_commit(&answers[2]), "{answers:?}");
    let report = DurableReport { shard: ShardId(1), replica: ReplicaId(0), durable: Position::default() };
    let refused = leader.propose(Command::ReportDurable { reports: vec![report; most] }).await;
    assert!(matches!(refused, Err(AdjudicatorError::TooLarge(_))), "{refused:?}");
    frontend.commit(&group, "c").await;
    group.agree(&ALL).await;
    assert!(!all_commits(leader).await.contains(&huge.txn));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_dies_another_leads_and_nothing_acknowledged_is_lost() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            acknowledged.push(frontend.commit(&group, key).await);
        }
        let leader = group.leader().await;
        group.kill(leader).await;
        let now_leads = group.leader().await;
        assert_ne!(now_leads, leader);
        for (footprint, commit_ts) in &acknowledged {
            // The same id again is answered from what was decided, by whoever leads now.
            let again = insist(&group, async |node| node.commit(footprint.clone()).await).await;
            assert_eq!(again, Decision::Commit { commit_ts: *commit_ts }, "round {round}");
            let outcome = insist(&group, async |node| node.outcome(footprint.txn, false).await).await;
            assert_eq!(outcome, Outcome::Committed(*commit_ts));
        }
        group.restart(leader).await;
        group.leader().await;
    }
    group.agree(&ALL).await;
    let committed: BTreeSet<TxnId> = acknowledged.iter().map(|(footprint, _)| footprint.txn).collect();
    for node in ALL {
        assert_eq!(all_commits(group.node(node)).await, committed, "{node}");
    }
    let timestamps: BTreeSet<Timestamp> = acknowledged.iter().map(|(_, commit_ts)| *commit_ts).collect();
    assert_eq!(timestamps.len(), acknowledged.len());
    assert!(
        acknowledged.is_sorted_by_key(|(_, commit_ts)| *commit_ts),
        "a new leader begins above the old one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_has_ended_is_replaced_before_any_timer_says_so() {
    // Slow ones, because who is late for a dead leader leaves it to the timers.
    let heartbeat = Duration::from_millis(400);
    let mut group = Group::found_with(|options| Options { heartbeat, ..options }).await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "a").await;
    let leader = group.leader().await;
    group.agree(&ALL).await;
    group.nodes.values().for_each(|node| node.inner.node.raft.runtime_config().elect(false));
    group.kill(leader).await;
    assert_ne!(group.leader().await, leader);
    frontend.commit(&group, "b").await;
}

/// A commit needs a majority, and that may be everybody but the leader. A leader that comes back without the end of its own
/// log, and went on in its old term, would write something else in its place under the same log id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_lost_the_end_of_its_log_does_not_go_on_in_its_old_term() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let mut committed = BTreeSet::from([frontend.commit(&group, "a").await.0.txn]);
    let leader = group.leader().await;
    group.disks[&leader].hang_syncs();
    committed.insert(frontend.commit(&group, "b").await.0.txn);
    // The leader goes last, so that nobody takes its place, and comes back first: were it still the leader, the others
    // would follow it at once.
    let mut order = ALL;
    order.sort_by_key(|node| *node != leader);
    for node in order.into_iter().rev() {
        group.kill(node).await;
    }
    for node in order {
        group.restart(node).await;
    }
    committed.insert(frontend.commit(&group, "c").await.0.txn);
    group.agree(&ALL).await;
    for node in ALL {
        assert_eq!(all_commits(group.node(node)).await, committed, "{node} streams what was committed");
    }
    let compared = group.node(group.leader().await).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::Equal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_answers_no_old_state_and_deposes_nobody_when_it_returns() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "before").await;
    let old = group.leader().await;
    let others: Vec<NodeId> = ALL.into_iter().filter(|node| *node != old).collect();
    group.net.isolate(old, ALL);
    let late = frontend.put_on(&group, old).await;
    let cut_off = group.node(old).clone();
    let late_commit = tokio::spawn(async move { cut_off.commit(late).await });
    let new = group.leader_among(&others).await;
    let (footprint, commit_ts) = {
        let majority = Group {
            net: group.net.clone(),
            founders: group.founders.clone(),
            disks: BTreeMap::new(),
            nodes: others.iter().map(|id| (*id, group.node(*id).clone())).collect(),
        };
        frontend.commit(&majority, "after").await
    };
    // The old leader does not know of that commit, and does not pretend to know everything.
    let refused = group.node(old).begin().await.unwrap_err();
    assert!(matches!(refused, AdjudicatorError::NotLeader { .. }), "{refused}");
    let refused = group.node(old).outcome(footprint.txn, false).await.unwrap_err();
    assert!(matches!(refused, AdjudicatorError::NotLeader { .. }), "{refused}");
    // What it was asked for in between is refused, or in doubt; never acknowledged.
    let doubtful = tokio::time::timeout(PATIENCE, late_commit).await.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(doubtful, AdjudicatorError::ReplyLost | AdjudicatorError::NotLeader { .. }),
        "{doubtful}"
    );
    let term = group.node(new).status().term;
    group.net.heal();
    eventually("the old leader follows", async || {
        let status = group.node(old).status();
        (status.leader == Some(new) && status.applied >= group.node(new).status().committed).then_some(())
    })
    .await;
    assert_eq!(group.node(new).status().term, term, "nobody was deposed");
    let outcome = group.node(new).outcome(footprint.txn, false).await.unwrap();
    assert_eq!(outcome, Outcome::Committed(commit_ts));
}

impl Frontend {
    /// A footprint made without asking anybody.
    async fn put_on(&mut self, group: &Group, node: NodeId) -> Footprint {
        let snapshot_ts = group.node(node).stats().closed_ts;
        let Registered { frontend, epoch, hash_seed } = self.registered;
        self.next += 1;
        let hash = Key::from("late").hash(hash_seed);
        Footprint {
            txn: TxnId::new(snapshot_ts, DeadlineClass::Normal, frontend, epoch, self.next - 1),
            groups: Vec::new(),
            schemas: Vec::new(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline {
                mutations: vec![Mutation::delete(Key::from("late"), Slot(1))],
                written: vec![WrittenKey { hash, ordered: None }],
            },
            catalog_change: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up_from_the_log() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let leader = group.leader().await;
    let follower = ALL.into_iter().find(|node| *node != leader).unwrap();
    let mut committed = BTreeSet::from([frontend.commit(&group, "a").await.0.txn]);
    group.kill(follower).await;
    for round in 0..40 {
        committed.insert(frontend.commit(&group, &format!("k{round}")).await.0.txn);
    }
    group.restart(follower).await;
    group.agree(&ALL).await;
    assert_eq!(all_commits(group.node(follower)).await, committed);
}

/// Commits until every node has a base checkpoint and no longer has the first entries.
async fn forget_the_beginning(group: &Group, frontend: &mut Frontend, ids: &[NodeId]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for round in 0..20 {
            frontend.commit_value(group, &format!("k{round}"), vec![7; 1000]).await;
        }
        let leader = group.node(group.leader_among(ids).await);
        for shard in [ShardId(1), ShardId(2)] {
            // Replicas that count have persisted everything so far.
            let position = Position { index: leader.stats().applied, closed_ts: leader.stats().closed_ts };
            leader.report_durable(shard, ReplicaId(1), position);
        }
        let has_forgotten = |id: &NodeId| {
            let streams = DecisionSource::subscribe(group.node(*id), ShardId(1), Position::default());
            futures_util::FutureExt::now_or_never(streams).is_some_and(|stream| stream.is_err())
        };
        if ids.iter().all(has_forgotten) {
            return;
        }
        assert!(Instant::now() < deadline, "the log is never forgotten");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_beside_a_follower_is_heard_by_the_leader() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let leader = group.leader().await;
    let follower = ALL.into_iter().find(|node| *node != leader).unwrap();
    frontend.commit(&group, "a").await;
    group.agree(&ALL).await;
    let stats = group.node(follower).stats();
    let position = Position { index: stats.applied, closed_ts: stats.closed_ts };
    group.node(follower).report_durable(ShardId(1), ReplicaId(1), position);
    eventually("everybody knows what was persisted", async || {
        for id in ALL {
            let standings = DecisionSource::standings(group.node(id), ShardId(1)).await.unwrap();
            standings.replicas.iter().find(|standing| standing.durable >= position.index)?;
        }
        Some(())
    })
    .await;
}

/// A node whose disk hangs: it answers heartbeats and votes, and never an entry.
struct Hanging(Arc<dyn PeerService>);

impl PeerService for Hanging {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        self.0.call(from, request)
    }

    fn open(&self, _from: NodeId, _hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let _neither_read_nor_ended = channel;
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_notices_that_its_entries_come_through_to_nobody_though_heartbeats_do() {
    let group = Group::found().await;
    let leader = group.leader().await;
    let serve = |wrap: &dyn Fn(Arc<dyn PeerService>) -> Arc<dyn PeerService>| {
        for node in ALL {
            group.net.serve(node, Service::Raft, Some(wrap(group.node(node).raft_service())));
        }
    };
    serve(&|service| Arc::new(Hanging(service)));
    for follower in ALL.into_iter().filter(|node| *node != leader) {
        // What stands already goes to nodes that do not hang.
        group.net.isolate(follower, [leader]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        group.net.heal();
    }
    eventually("a leader stands still", async || {
        let stands_still = |node: &NodeId| group.node(*node).status().stalled_for > HOUSEKEEPING;
        let leader = ALL.into_iter().find(stands_still)?;
        let status = group.node(leader).status();
        assert!(status.log > status.committed && status.leader == Some(leader), "{status:?}");
        Some(())
    })
    .await;
    serve(&|service| service);
    eventually("entries come through again", async || {
        let status = group.node(group.leader().await).status();
        (status.stalled_for.is_zero() && status.matched.values().all(|matched| matched.is_some()))
            .then_some(())
    })
    .await;
    Frontend::register(&group).await.commit(&group, "later").await;
    group.agree(&ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_is_given_a_checkpoint_and_then_the_log() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let leader = group.leader().await;
    let follower = ALL.into_iter().find(|node| *node != leader).unwrap();
    let others: Vec<NodeId> = ALL.into_iter().filter(|node| *node != follower).collect();
    group.kill(follower).await;
    forget_the_beginning(&group, &mut frontend, &others).await;
    let position = {
        let stats = group.node(group.leader().await).stats();
        Position { index: stats.applied, closed_ts: stats.closed_ts }
    };
    let (last, commit_ts) = frontend.commit(&group, "last").await;
    group.restart(follower).await;
    group.agree(&ALL).await;
    let compared = group.node(group.leader().await).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::Equal, "{compared:?}");
    // It streams what came after, as the others do.
    let streams = ALL.map(|id| {
        let node = group.node(id).clone();
        async move {
            let mut commits = Vec::new();
            for shard in [ShardId(1), ShardId(2)] {
                if let Ok(mut stream) = DecisionSource::subscribe(&node, shard, position).await {
                    let entries = stream.next().await.unwrap();
                    commits.extend(entries.iter().flat_map(|entry| &entry.commits).map(|commit| commit.txn));
                }
            }
            commits
        }
    });
    for stream in streams {
        assert!(stream.await.contains(&last.txn));
    }
    // And it can lead.
    let moved = insist_on_moving(&group, follower).await;
    assert_eq!(moved, follower);
    let outcome = insist(&group, async |node| node.outcome(last.txn, false).await).await;
    assert_eq!(outcome, Outcome::Committed(commit_ts));
}

async fn insist_on_moving(group: &Group, to: NodeId) -> NodeId {
    eventually("the lead moves", async || {
        let leader = group.leader().await;
        if leader == to {
            return Some(to);
        }
        match group.node(leader).transfer_leadership(Some(to)).await {
            Ok(leads) if leads == to => Some(to),
            _ => None,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_as_a_learner_votes_replaces_a_dead_one_and_is_removed() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "a").await;
    let leader = group.leader().await;
    let four = NodeId(4);
    group.start(four, Founding::Join).await;
    assert!(group.node(four).status().is_waiting);
    let refused = group.node(leader).promote(four).await.unwrap_err();
    assert_eq!(refused, MembershipError::Unknown(four));
    group.node(leader).add_learner(four, address(four)).await.unwrap();
    assert!(group.node(leader).status().learners.contains(&four));
    group.add_voter(four).await;
    assert_eq!(group.node(leader).status().voters.len(), 4);

    // A dead one goes and the number of voters stays.
    let dead = ALL.into_iter().find(|node| *node != leader).unwrap();
    group.kill(dead).await;
    let five = NodeId(5);
    group.start(five, Founding::Join).await;
    eventually("the dead one is replaced", async || {
        let replaced = group.node(leader).replace(dead, five, address(five), PATIENCE).await;
        // An attempt may be done although it was not answered.
        (replaced.is_ok() || !group.node(leader).status().voters.contains(&dead)).then_some(())
    })
    .await;
    let voters = group.node(leader).status().voters;
    assert!(voters.contains(&five) && !voters.contains(&dead) && voters.len() == 4, "{voters:?}");

    group.remove(four).await;
    let removed = group.nodes.remove(&four).unwrap();
    removed.shutdown().await;
    frontend.commit(&group, "b").await;
    let ids: Vec<NodeId> = group.nodes.keys().copied().collect();
    group.agree(&ids).await;
    let status = group.node(leader).status();
    assert!(!status.voters.contains(&four) && !status.learners.contains(&four), "{status:?}");
    let refused = group.node(leader).remove(leader).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_after_which_most_voters_would_not_answer_is_refused_and_the_group_goes_on() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let four = NodeId(4);
    group.start(four, Founding::Join).await;
    let leader = group.leader_among(&ALL).await;
    group.node(leader).add_learner(four, address(four)).await.unwrap();
    frontend.commit(&group, "a").await;
    group.agree(&[leader, four]).await;
    let down = ALL.into_iter().find(|node| *node != leader).unwrap();
    let up = ALL.into_iter().rfind(|node| *node != leader).unwrap();
    group.kill(down).await;
    group.kill(four).await;

    let leader = group.leader_among(&[leader, up]).await;
    let follower =
        if leader == up { ALL.into_iter().find(|node| *node != up && *node != down) } else { Some(up) };
    let follower = follower.unwrap();
    let refused_because_of = |refused: Result<(), MembershipError>, silent: &str| match refused {
        Err(MembershipError::Refused(why)) => assert!(why.contains(silent), "{why}"),
        other => panic!("{other:?}"),
    };
    let node = group.node(leader);
    refused_because_of(node.check_removal(follower).await, &format!("of these {} does not", down.0));
    refused_because_of(node.remove(follower).await, &format!("of these {} does not", down.0));
    refused_because_of(node.promote(four).await, &format!("of these {}, 4 do not", down.0));
    assert_eq!(node.status().voters, ALL.into());
    frontend.commit(&group, "b").await;

    // The one that is down can go.
    group.remove(down).await;
    frontend.commit(&group, "c").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_goes_on_when_the_lead_passes_to_a_node_whose_clock_is_behind() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let hour = Duration::from_secs(3600);
    let (_, before) = frontend.commit(&group, "a").await;
    let clock_of = |node| &group.node(node).inner.node.clock;
    ALL.into_iter().for_each(|node| clock_of(node).step_wall(hour.as_millis() as i64));
    let (leader, ahead) = (group.leader().await, before.later(hour));
    let seen = || ALL.into_iter().all(|node| group.node(node).stats().closed_ts > ahead);
    eventually("time follows the clocks", async || seen().then_some(())).await;
    let (_, commit_ts) = frontend.commit(&group, "b").await;
    let behind = ALL.into_iter().find(|node| *node != leader).unwrap();
    clock_of(behind).step_wall(0);
    insist_on_moving(&group, behind).await;
    let leads = group.leader().await;
    let passed = commit_ts.later(Duration::from_millis(1_500));
    eventually("time passes", async || (group.node(leads).stats().closed_ts > passed).then_some(())).await;
    frontend.commit(&group, "c").await;
    // A change of the lead takes time forward by no more than what passes.
    for n in 0..4 {
        insist_on_moving(&group, ALL[n % ALL.len()]).await;
        frontend.commit(&group, "d").await;
    }
    let (_, last) = frontend.commit(&group, "e").await;
    let now = ALL.into_iter().map(|node| clock_of(node).millis()).max().unwrap();
    assert!(last.millis() <= now + 100, "{last} is ahead of {now}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_has_lost_its_disk_takes_part_in_nothing() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "a").await;
    let leader = group.leader().await;
    for (lost, founding) in [
        (ALL.into_iter().find(|node| *node != leader).unwrap(), Founding::Together(group.founders.clone())),
        (ALL.into_iter().rfind(|node| *node != leader).unwrap(), Founding::Join),
    ] {
        group.kill(lost).await;
        group.disks.remove(&lost);
        group.start(lost, founding).await;
        let why = tokio::time::timeout(PATIENCE, group.node(lost).failed()).await.unwrap();
        assert!(why.contains("lost its data"), "{why}");
        assert!(group.node(lost).status().is_waiting, "it has taken nothing");
        group.kill(lost).await;
        // Removed and added again it is welcome.
        group.remove(lost).await;
        group.disks.remove(&lost);
        group.start(lost, Founding::Join).await;
        group.add_voter(lost).await;
        group.agree(&ALL).await;
    }
    frontend.commit(&group, "b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_hands_over_and_answers_what_is_on_its_way() {
    let mut group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "a").await;
    for _ in 0..2 {
        let leader = group.leader().await;
        let going = group.nodes.remove(&leader).unwrap();
        let others: Vec<NodeId> = group.nodes.keys().copied().collect();
        going.shutdown().await;
        // Somebody took over before it went: nobody had to notice its death.
        let leads = group.leader_among(&others).await;
        assert_ne!(leads, leader);
        group.net.serve(leader, Service::Raft, None);
        drop(going);
        frontend.commit(&group, "b").await;
        group.restart(leader).await;
        group.agree(&ALL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_footprints_is_answered_one_by_one_in_its_order() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let leader = group.leader().await;
    let mut footprints = Vec::new();
    for n in 0..300 {
        footprints.push(frontend.put(&group, &format!("k{}", n % 200), b"v".to_vec()).await);
    }
    let encode =
        |footprint: &Footprint| assize_adjudicator::EncodedFootprint::new(footprint).unwrap().bytes().clone();
    let frame: Vec<Bytes> = footprints.iter().map(encode).collect();
    let mut together: Footprints = frame.iter().collect();
    // Behind what cannot be read nothing can be.
    together.bytes = [&together.bytes[..], b"no footprint"].concat().into();
    together.count += 1;
    let answers: Vec<Decided> = group.node(leader).commit_many(together.clone()).await.iter().collect();
    assert_eq!(answers.len(), 301);
    assert!(matches!(answers[300], Err(AdjudicatorError::Overloaded(_))));
    let decided: Vec<&Decision> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert!(decided[..200].iter().all(|decision| decision.is_commit()));
    for (n, loser) in decided[200..].iter().enumerate() {
        let Decision::Abort { reason: AbortReason::Conflict(conflict) } = loser else { panic!("{loser:?}") };
        assert_eq!(conflict.winner.map(|winner| winner.txn), Some(footprints[n].txn));
    }
    // Again: the same answers.
    assert_eq!(group.node(leader).commit_many(together).await.iter().collect::<Vec<_>>(), answers);
    // Among others, what is hopeless is refused in its place and does not reach the log.
    group.agree(&ALL).await;
    let hopeless =
        Footprint { txn: frontend.put(&group, "k7", Vec::new()).await.txn, ..footprints[7].clone() };
    let others = [frontend.put(&group, "x", Vec::new()).await, frontend.put(&group, "y", Vec::new()).await];
    let together: Footprints = [&others[0], &hopeless, &others[1]].map(encode).iter().collect();
    let answers: Vec<Decided> = group.node(leader).commit_many(together).await.iter().collect();
    assert!(
        matches!(
            &answers[..],
            [Ok(Decision::Commit { .. }), Ok(Decision::Abort { .. }), Ok(Decision::Commit { .. })]
        ),
        "{answers:?}"
    );
    // A frame longer than an entry goes into several.
    let mut many = Vec::new();
    for n in 0..assize_adjudicator::sequencer::BATCH_MAX + 5 {
        many.push(encode(&frontend.put_unread(&others[0], &format!("many-{n}"))));
    }
    let answers = group.node(leader).commit_many(many.iter().collect()).await;
    // A window as small as this test's forgets some of the keys.
    let is_decided = |answer: &Decided| match answer {
        Ok(Decision::Commit { .. }) => true,
        Ok(Decision::Abort { reason }) => matches!(reason, AbortReason::NeedRefresh { .. }),
        Err(_) => false,
    };
    assert_eq!(answers.iter().filter(is_decided).count(), many.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counts_as_waiting_when_the_lead_is_lost_among_commits() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let (first, _) = frontend.commit(&group, "a").await;
    for n in 0..4 {
        let leader = group.leader().await;
        let commits = (0..500).map(|k| frontend.put_unread(&first, &format!("{n}.{k}")));
        let commits: Vec<_> = commits
            .map(|footprint| {
                let node = group.node(leader).clone();
                tokio::spawn(async move { drop(node.commit(footprint).await) })
            })
            .collect();
        let next = ALL.into_iter().find(|node| *node != leader).unwrap();
        insist_on_moving(&group, next).await;
        futures_util::future::join_all(commits).await;
    }
    let waiting = |node| group.node(node).inner.shared.waiting.load(std::sync::atomic::Ordering::Relaxed);
    eventually("nothing waits", async || ALL.into_iter().all(|node| waiting(node) == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_end_with_the_lead() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let leader = group.leader().await;
    let (holder, waiter) =
        (frontend.put(&group, "k", Vec::new()).await.txn, frontend.put(&group, "k", Vec::new()).await.txn);
    let exclusive = assize_ports::LockStrength::Exclusive;
    let patient = assize_ports::LockWait::Timeout(PATIENCE);
    let held = group.node(leader).reserve(holder, &[KeyHash(1)], exclusive, patient).await.unwrap();
    assert!(matches!(held, assize_ports::Reserved::Granted { .. }));
    let node = group.node(leader).clone();
    let waits = tokio::spawn(async move { node.reserve(waiter, &[KeyHash(1)], exclusive, patient).await });
    let to = ALL.into_iter().find(|node| *node != leader).unwrap();
    // A request that has found an earlier lead of that node, and comes to its table after the end of it.
    group.node(to).inner.shared.locks().table.request(holder, [KeyHash(1)], exclusive);
    insist_on_moving(&group, to).await;
    let refused = tokio::time::timeout(PATIENCE, waits).await.unwrap().unwrap();
    // The one who waited is told, or had come too late to wait.
    assert!(matches!(refused, Err(AdjudicatorError::NotLeader { .. })), "{refused:?}");
    let again = insist(&group, async |node| {
        node.reserve(waiter, &[KeyHash(1)], exclusive, assize_ports::LockWait::NoWait).await
    });
    assert!(
        matches!(again.await, assize_ports::Reserved::Granted { .. }),
        "the new leader knows of no holder"
    );
}

/// From here on one node, which does not lead, has another state than the others. Answers the leader, and that node.
async fn let_one_differ(group: &Group, frontend: &mut Frontend) -> (NodeId, NodeId) {
    let leader = group.leader().await;
    let wrong = ALL.into_iter().find(|node| *node != leader).unwrap();
    group.agree(&ALL).await;
    // From here on one node commits what the others refuse.
    let rules = assize_adjudicator::Rules::only(assize_adjudicator::Rule::FirstCommitterWins);
    let careless = assize_adjudicator::Options { disabled_rules: rules };
    group.node(wrong).inner.node.tamper(|state| {
        let checkpoint = state.core.encode_checkpoint();
        state.core = assize_adjudicator::Adjudicator::decode_checkpoint(careless, &checkpoint).unwrap();
    });
    // Both are put into one entry, so that the second is not refused before it.
    let first = frontend.put(group, "k", b"1".to_vec()).await;
    let second = frontend.put(group, "k", b"2".to_vec()).await;
    let encode =
        |footprint: &Footprint| assize_adjudicator::EncodedFootprint::new(footprint).unwrap().bytes().clone();
    let both: Footprints = [encode(&first), encode(&second)].iter().collect();
    let answers: Vec<Decided> = group.node(leader).commit_many(both).await.iter().collect();
    assert!(matches!(answers[..], [Ok(Decision::Commit { .. }), Ok(Decision::Abort { .. })]), "{answers:?}");
    (leader, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hashes_other_bytes_is_not_compared_and_nobody_stops() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let (leader, other) = let_one_differ(&group, &mut frontend).await;
    group.node(other).inner.node.hashes.become_format(2);
    let compared = group.node(leader).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::Equal, "{compared:?}");
    let unanswered: Vec<NodeId> =
        compared.others.iter().filter(|(_, hash)| hash.is_none()).map(|(node, _)| *node).collect();
    assert_eq!(unanswered, [other]);
    // Nor does the one of the other release take those that are the majority for right.
    eventually("it has hashed its state", async || group.node(other).inner.node.hashes.at(compared.index))
        .await;
    tokio::time::sleep(2 * HOUSEKEEPING).await;
    for node in ALL {
        assert_eq!(group.node(node).status().divergence, None, "{node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_to_another_state_is_found_out_and_stops() {
    let group = Group::found().await;
    let mut frontend = Frontend::register(&group).await;
    let (leader, wrong) = let_one_differ(&group, &mut frontend).await;
    let compared = group.node(leader).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::OthersDiffer, "{compared:?}");
    let why = tokio::time::timeout(PATIENCE, group.node(wrong).failed()).await.unwrap();
    assert!(why.contains("hash"), "{why}");
    assert!(group.node(wrong).status().divergence.is_some());
    eventually("the leader raises the alarm", async || group.node(leader).status().divergence).await;
    // The others go on.
    let right: Vec<NodeId> = ALL.into_iter().filter(|node| *node != wrong).collect();
    let third = frontend.put_on(&group, leader).await;
    assert!(group.node(group.leader_among(&right).await).commit(third).await.unwrap().is_commit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_was_cut_off_goes_on_where_it_stood_also_after_a_restart_and_a_damaged_one_is_refused()
 {
    let mut group = Group::found().await;
    let leader = group.leader().await;
    let to = ALL.into_iter().find(|node| *node != leader).unwrap();
    let metrics = group.node(leader).inner.node.raft.metrics();
    let vote = openraft::async_runtime::WatchReceiver::borrow_watched(&metrics).vote;
    let hello = Hello::Checkpoint(Offer { vote, last: None, len: 10, crc: 0 }).encode();
    let peers = group.net.peers(leader);
    peers.learn(to, Some(address(to)));
    let has = async |channel: &mut assize_ports::Channel| {
        let has = channel.receiver.receive().await.unwrap().unwrap();
        assize_codec::Reader::new(&has).u64().unwrap()
    };
    let mut channel = peers.open(to, Service::Raft, hello.clone(), PATIENCE).await.unwrap();
    assert_eq!(has(&mut channel).await, 0);
    channel.sender.send(Bytes::from_static(b"12345")).await.unwrap();
    drop(channel);
    let mut channel = peers.open(to, Service::Raft, hello.clone(), PATIENCE).await.unwrap();
    assert_eq!(has(&mut channel).await, 5, "the rest only");
    drop(channel);
    // Also after a power cut.
    group.kill(to).await;
    group.restart(to).await;
    let mut channel = peers.open(to, Service::Raft, hello.clone(), PATIENCE).await.unwrap();
    assert_eq!(has(&mut channel).await, 5, "the rest only, after a restart");
    channel.sender.send(Bytes::from_static(b"67890")).await.unwrap();
    // Its checksum is not the one announced: nothing is installed and nothing is answered.
    assert_eq!(channel.receiver.receive().await.unwrap(), None);
    let mut channel = peers.open(to, Service::Raft, hello, PATIENCE).await.unwrap();
    assert_eq!(has(&mut channel).await, 0, "what was damaged is not kept");
    // It goes on with the log, of which it has heard nothing yet where all of this took no time.
    eventually("it applies the log", async || (group.node(to).stats().applied > LogIndex(0)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_learns_who_the_nodes_are() {
    let mut group = Group::found().await;
    let leader = group.leader().await;
    let record = NodeRecord {
        node: NodeId(2),
        peer_address: "elsewhere:7407".into(),
        admin_address: "elsewhere:7406".into(),
        mysql_address: String::new(),
        roles: vec!["adjudicator".into()],
        zone: "z".into(),
        version: "0.2.0".into(),
        cluster_version: 1,
    };
    // Whoever is asked, it is the leader who does it.
    let follower = ALL.into_iter().find(|node| *node != leader).unwrap();
    group.node(follower).enter(record.clone()).await.unwrap();
    assert_eq!(group.node(leader).nodes().await.unwrap(), std::slice::from_ref(&record));
    group.agree(&ALL).await;
    group.kill(NodeId(3)).await;
    group.restart(NodeId(3)).await;
    group.agree(&ALL).await;
    for id in ALL {
        assert_eq!(group.node(id).known_nodes(), std::slice::from_ref(&record));
    }
}

/// How often the log of a node raises the cluster version.
fn raises_in_log(node: &Adjudicator) -> usize {
    let wal = node.inner.node.wal();
    let entries = wal.read(wal.first_index()..wal.next_index(), usize::MAX).unwrap();
    let raise = assize_adjudicator::Command::RaiseClusterVersion(NEWEST).encode();
    entries.iter().filter(|entry| entry.body().ends_with(&raise)).count()
}

/// Whether each footprint in the log of a node, in order, is in the form that older programs cannot read.
fn compact_in_log(node: &Adjudicator) -> Vec<bool> {
    let wal = node.inner.node.wal();
    let from = wal.first_index();
    let entries = wal.read(from..wal.next_index(), usize::MAX).unwrap();
    let commands = (from..).zip(entries).filter_map(|(index, entry)| {
        match crate::raft::decode_logged(index, &entry).unwrap().payload {
            openraft::entry::EntryPayload::Normal(proposal) => Some(proposal.0),
            _ => None,
        }
    });
    let batches =
        commands.filter_map(|command| match assize_adjudicator::Command::decode(&command).unwrap() {
            assize_adjudicator::Command::Batch(batch) => Some(batch),
            _ => None,
        });
    batches.flat_map(|batch| batch.views().map(|view| view.is_compact()).collect::<Vec<_>>()).collect()
}

/// What this program understands; the older one knows of no draining and of no compact footprints.
const NEWEST: u32 = assize_adjudicator::CLUSTER_VERSION_MAX;
const OLDER: u32 = assize_adjudicator::DRAINS_SINCE - 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_version_rises_once_when_the_last_node_understands_it() {
    let founders = ALL.map(|node| (node, address(node))).into();
    let mut group =
        Group { net: MemoryNetwork::default(), founders, disks: BTreeMap::new(), nodes: BTreeMap::new() };
    for node in ALL {
        group.start_release(node, OLDER).await.unwrap();
    }
    let mut frontend = Frontend::register(&group).await;
    for node in ALL {
        group.enter(node, OLDER).await;
    }
    // One after the other gets the newer release; while one has not, the version stays.
    for (i, node) in ALL.into_iter().enumerate() {
        for other in ALL {
            assert_eq!(group.node(other).cluster_version(), OLDER, "before {node} is upgraded");
        }
        let leader = group.leader().await;
        if leader != node {
            let refused = group.node(leader).drain_node(node, true).await.unwrap_err();
            assert!(refused.to_string().contains("finish the upgrade first"), "{refused}");
        }
        group.kill(node).await;
        group.start_release(node, NEWEST).await.unwrap();
        group.leader().await;
        group.enter(node, NEWEST).await;
        frontend.commit(&group, &format!("k{i}")).await;
        // Alone, and in a frame.
        let footprint = frontend.put(&group, &format!("f{i}"), b"v".to_vec()).await;
        let footprint = assize_adjudicator::EncodedFootprint::new(&footprint).unwrap();
        assert!(footprint.view().is_compact());
        let leader = group.leader().await;
        let answers = group.node(leader).commit_many(Footprints::one(footprint.bytes().clone())).await;
        assert_eq!(answers.commits(), 1);
    }
    let raised = async || ALL.iter().all(|id| group.node(*id).cluster_version() == NEWEST).then_some(());
    eventually("every node is at the newer version", raised).await;
    // A few rounds of housekeeping, and another leader, raise it no more.
    let leader = group.leader().await;
    group.node(leader).transfer_leadership(None).await.unwrap();
    group.leader().await;
    frontend.commit(&group, "after").await;
    tokio::time::sleep(3 * crate::housekeeping::HOUSEKEEPING).await;
    group.agree(&ALL).await;
    let leader = group.leader().await;
    assert_eq!(raises_in_log(group.node(leader)), 1);
    // What was committed before could be read by all programs.
    let compact = compact_in_log(group.node(leader));
    assert!(
        compact.len() >= 7 && !compact[..4].contains(&true) && compact.last() == Some(&true),
        "{compact:?}"
    );

    // Now a node can be told to drain; and an older release is refused, wherever it comes from.
    group.node(leader).drain_node(NodeId(2), true).await.unwrap();
    assert_eq!(group.node(leader).draining(), BTreeSet::from([NodeId(2)]));
    let unknown = group.node(leader).drain_node(NodeId(9), true).await.unwrap_err();
    assert_eq!(unknown, MembershipError::Unknown(NodeId(9)));
    let refused = group.node(leader).set_node(record(NodeId(4), OLDER)).await.unwrap_err();
    assert!(refused.to_string().contains("start a newer release"), "{refused}");
    let victim = ALL.into_iter().find(|id| *id != leader).unwrap();
    group.agree(&ALL).await;
    group.kill(victim).await;
    match group.start_release(victim, OLDER).await {
        Err(OpenError::TooOld(why)) => assert!(why.contains("start a newer release"), "{why}"),
        // Its disk does not say yet that the entry is committed; it hears so from the others.
        Ok(()) => {
            let why = group.node(victim).failed().await;
            assert!(why.contains("start a newer release"), "{why}");
            group.kill(victim).await;
        }
        Err(other) => panic!("{other}"),
    }
    group.start_release(victim, NEWEST).await.unwrap();
    frontend.commit(&group, "at last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_said_nothing_holds_the_cluster_version_back() {
    let group = Group::found().await;
    for node in [NodeId(1), NodeId(2)] {
        group.enter(node, NEWEST).await;
    }
    // The leader knows of itself what it understands; of the third node it does not know.
    let leader = group.leader().await;
    if leader == NodeId(3) {
        group.node(leader).transfer_leadership(Some(NodeId(1))).await.unwrap();
        group.leader().await;
    }
    tokio::time::sleep(3 * crate::housekeeping::HOUSEKEEPING).await;
    assert!(ALL.iter().all(|id| group.node(*id).cluster_version() == 1));
    group.enter(NodeId(3), NEWEST).await;
    eventually("the version has risen", async || {
        ALL.iter().all(|id| group.node(*id).cluster_version() == NEWEST).then_some(())
    })
    .await;
}

/// Waits until all of these know what cluster version they are at.
async fn all_entered(group: &Group) {
    for node in ALL {
        group.enter(node, NEWEST).await;
    }
    eventually("the version has risen", async || {
        ALL.iter().all(|id| group.node(*id).cluster_version() == NEWEST).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_voter_that_is_left_becomes_the_cluster_and_those_of_before_stay_out() {
    let mut group = Group::found().await;
    all_entered(&group).await;
    let mut frontend = Frontend::register(&group).await;
    let mut acknowledged = Vec::new();
    for key in ["a", "b", "c", "d"] {
        acknowledged.push(frontend.commit(&group, key).await);
    }
    group.agree(&ALL).await;
    let former = group.node(NodeId(1)).identity().unwrap().cluster;
    eventually("the directories say which cluster they belong to", async || {
        ALL.iter().all(|id| group.node(*id).inner.node.belonging.lock().unwrap().is_some()).then_some(())
    })
    .await;
    for node in ALL {
        group.kill(node).await;
    }
    let disk =
        |group: &Group, id: NodeId| -> Arc<dyn crate::fs::FileSystem> { Arc::new(group.disks[&id].clone()) };

    // What makes no sense is refused, and changes nothing.
    let nobody = BTreeSet::new();
    let survivor = NodeId(2);
    for (node, keep, why) in [
        (NodeId(7), vec![], "does not vote"),
        (survivor, vec![NodeId(8)], "takes no part"),
        (survivor, vec![NodeId(1)], "that is a majority"),
    ] {
        let keep = keep.into_iter().collect();
        let refused = recover::recover_on(disk(&group, survivor), node, &keep).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }

    let recovered = recover::recover_on(disk(&group, survivor), survivor, &nobody).unwrap();
    assert_eq!(recovered.lost, BTreeSet::from([NodeId(1), NodeId(3)]));
    assert_ne!(recovered.cluster, former);
    group.net.forget_cluster(survivor);
    group.restart(survivor).await;
    assert_eq!(group.leader().await, survivor);
    let node = group.node(survivor);
    assert_eq!(node.cluster(), Some(recovered.cluster));
    assert_eq!(node.identity().unwrap().cluster, recovered.cluster);
    assert_eq!(node.status().voters, BTreeSet::from([survivor]));
    assert!(node.known_nodes().iter().all(|record| record.node == survivor));
    assert_eq!(node.standings(ShardId(1)).await.unwrap().recovered_at, LogIndex(0), "it lost no replica");
    for (footprint, commit_ts) in &acknowledged {
        let again = node.commit(footprint.clone()).await.unwrap();
        assert_eq!(again, Decision::Commit { commit_ts: *commit_ts });
    }
    acknowledged.push(frontend.commit(&group, "e").await);

    // The lost come back after all, both of them, and are the former cluster among themselves. They do not reach this one.
    let term = group.node(survivor).status().term;
    for lost in [NodeId(1), NodeId(3)] {
        group.net.forget_cluster(lost);
        group.restart(lost).await;
        assert_eq!(group.node(lost).cluster(), Some(former));
    }
    let leads = group.leader_among(&[NodeId(1), NodeId(3)]).await;
    assert_ne!(leads, survivor);
    group.node(leads).propose(assize_adjudicator::Command::NoteHash).await.unwrap();
    let status = group.node(survivor).status();
    assert_eq!((status.term, status.leader), (term, Some(survivor)), "nobody has deposed it");
    for lost in [NodeId(1), NodeId(3)] {
        group.kill(lost).await;
        group.disks.insert(lost, Memory::default());
        group.net.forget_cluster(lost);
    }

    // With empty disks the same numbers are new nodes.
    let founders = group.founders.clone();
    for new in [NodeId(1), NodeId(3)] {
        group.start(new, Founding::Together(founders.clone())).await;
        eventually("the survivor has added the new node", async || {
            let voter = group.node(survivor).add_voter(new, address(new), PATIENCE).await;
            voter.ok()
        })
        .await;
    }
    frontend.commit(&group, "f").await;
    group.agree(&ALL).await;
    let compared = group.node(group.leader().await).verify_replicas().await.unwrap();
    assert_eq!(compared.agreement(), Agreement::Equal);
    let clusters: BTreeSet<_> = ALL.map(|id| group.node(id).identity().unwrap().cluster).into();
    assert_eq!(clusters, BTreeSet::from([recovered.cluster]));
    // And after another loss of power everybody knows where he belongs.
    for node in ALL {
        group.kill(node).await;
        group.net.forget_cluster(node);
    }
    for node in ALL {
        group.restart(node).await;
    }
    frontend.commit(&group, "g").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_kept_follows_the_recovered_one_and_the_longer_log_is_the_one_to_recover() {
    let mut group = Group::found().await;
    all_entered(&group).await;
    let mut frontend = Frontend::register(&group).await;
    frontend.commit(&group, "a").await;
    // A learner follows, and falls behind.
    group.start(NodeId(4), Founding::Join).await;
    eventually("node 4 follows", async || {
        let leader = group.leader_among(&ALL).await;
        group.node(leader).add_learner(NodeId(4), address(NodeId(4))).await.ok()
    })
    .await;
    let four = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
    group.agree(&four).await;
    eventually("node 4 says which cluster it belongs to", async || {
        group.node(NodeId(4)).inner.node.belonging.lock().unwrap().map(|_| ())
    })
    .await;
    group.kill(NodeId(4)).await;
    frontend.commit(&group, "b").await;
    group.agree(&ALL).await;
    for node in ALL {
        group.kill(node).await;
    }
    let disk =
        |group: &Group, id: NodeId| -> Arc<dyn crate::fs::FileSystem> { Arc::new(group.disks[&id].clone()) };
    let refused = recover::recover_on(disk(&group, NodeId(4)), NodeId(4), &BTreeSet::new()).unwrap_err();
    assert!(refused.to_string().contains("recover a voter"), "{refused}");
    let keep = BTreeSet::from([NodeId(4)]);
    let recovered = recover::recover_on(disk(&group, NodeId(1)), NodeId(1), &keep).unwrap();
    assert_eq!(recovered.lost, BTreeSet::from([NodeId(2), NodeId(3)]));
    let printed = recovered.adoption.to_string();
    let adoption: recover::Adoption = printed.parse().unwrap();
    assert_eq!(adoption, recovered.adoption);
    assert!("nonsense".parse::<recover::Adoption>().is_err());
    recover::adopt_on(disk(&group, NodeId(4)), NodeId(4), adoption).unwrap();
    group.disks.insert(NodeId(9), Memory::default());
    let refused = recover::adopt_on(disk(&group, NodeId(9)), NodeId(9), adoption).err();
    group.disks.remove(&NodeId(9));
    assert!(refused.is_some(), "an empty disk cannot be adopted");
    for node in four {
        group.net.forget_cluster(node);
    }
    group.restart(NodeId(1)).await;
    group.start(NodeId(4), Founding::Join).await;
    assert_eq!(group.node(NodeId(4)).cluster(), Some(recovered.cluster), "before its log says so");
    frontend.commit(&group, "c").await;
    group.agree(&[NodeId(1), NodeId(4)]).await;
    group.node(NodeId(1)).promote(NodeId(4)).await.unwrap();
    let status = group.node(NodeId(1)).status();
    assert_eq!(status.voters, BTreeSet::from([NodeId(1), NodeId(4)]));
    assert_eq!(group.node(NodeId(4)).identity().unwrap().cluster, recovered.cluster);
}
