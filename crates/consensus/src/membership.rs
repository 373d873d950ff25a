//! Who belongs to the group: adding, promoting, replacing and removing nodes, handing over the lead, and how
//! everybody stands.
//!
//! All of it is asked of the leader. A node becomes a voter in two steps: as a *learner* it copies the log (or a
//! checkpoint and the log behind it) without a vote, and once it has caught up it is promoted.

use crate::adjudicator::Adjudicator;
use crate::hashes::Comparison;
use crate::housekeeping::tell_addresses;
use crate::raft::Types;
use crate::raft::wire::Request;
use crate::state::too_old;
use assize_adjudicator::{Command, DRAINS_SINCE, NodeEntry, Reply};
use assize_model::{LogIndex, NodeId, Placement};
use assize_ports::{AdjudicatorError, NodeRecord};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A learner that lacks no more than so many entries has caught up: the rest comes while it is promoted.
const CAUGHT_UP: u64 = 1000;
/// A change of members is waited for so long.
const CHANGE_MAX: Duration = Duration::from_secs(30);
/// A hand-over is waited for so long.
const TRANSFER_MAX: Duration = Duration::from_secs(3);
/// The leader has a node entered within this.
const ENTER_MAX: Duration = Duration::from_secs(5);
/// A voter that has not answered any of so many heartbeats is not counted on.
const HEARTBEATS_MAX: u32 = 20;
/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A change of the group did not happen, or is not known to have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Ask the leader.
    #[error("this node does not lead the adjudicator's group")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Nobody of this number is in the group.
    #[error("{0} is not in the adjudicator's group")]
    Unknown(NodeId),
    /// It lacks too much of the log yet; it goes on copying.
    #[error("{0} has not caught up yet")]
    Behind(NodeId),
    /// The request makes no sense.
    #[error("{0}")]
    Refused(String),
    /// It may yet happen: look at the status.
    #[error("{0}")]
    Unfinished(String),
    /// The node can go on no more.
    #[error("the adjudicator has stopped: {0}")]
    Stopped(String),
}

fn entry_of(record: NodeRecord) -> (NodeId, NodeEntry) {
    let entry = NodeEntry {
        peer_address: record.peer_address,
        admin_address: record.admin_address,
        mysql_address: record.mysql_address,
        roles: record.roles,
        zone: record.zone,
        version: record.version,
        cluster_version: record.cluster_version,
    };
    (record.node, entry)
}

/// What an operator is told whose change would stop the group.
fn without_majority(voters: &BTreeSet<NodeId>, silent: &[NodeId]) -> String {
    let list = |nodes: &mut dyn Iterator<Item = &NodeId>| {
        nodes.map(|node| node.0.to_string()).collect::<Vec<_>>().join(", ")
    };
    format!(
        "nodes {} would vote then, and of these {} {} not answer: without a majority nothing could be decided; bring them \
         back, or remove those that are lost first",
        list(&mut voters.iter()),
        list(&mut silent.iter()),
        if silent.len() == 1 { "does" } else { "do" }
    )
}

/// How one node stands in its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// The newest term it has heard of.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last entry that it has applied, entries of Raft's own included.
    pub applied: LogIndex,
    /// The last entry on its disk.
    pub log: LogIndex,
    /// The last entry that it knows to be committed.
    pub committed: LogIndex,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who copies without a vote.
    pub learners: BTreeSet<NodeId>,
    /// On the leader: the last entry that each of the others is known to have on disk.
    pub matched: BTreeMap<NodeId, Option<LogIndex>>,
    /// The newest hash of its state, and the entry after which it was taken.
    pub state_hash: Option<(LogIndex, u64)>,
    /// What was wrong with the last comparison of states, if something was.
    pub divergence: Option<String>,
    /// Bytes that its disk has left.
    pub disk_free_bytes: u64,
    /// Whether this node waits to be taken into a cluster.
    pub is_waiting: bool,
    /// On the leader: for how long entries have reached no majority without any progress, beyond what a slow link needs to carry
    /// those that are on their way; zero if all have. Looked at twice a second.
    pub stalled_for: Duration,
}

impl Status {
    /// On the leader: how many entries each of the others lacks.
    pub fn lag(&self) -> BTreeMap<NodeId, u64> {
        let lag = |matched: &Option<LogIndex>| self.log.0.saturating_sub(matched.map_or(0, |index| index.0));
        self.matched.iter().map(|(node, matched)| (*node, lag(matched))).collect()
    }
}

impl Adjudicator {
    /// How this node stands.
    pub fn status(&self) -> Status {
        let node = &self.inner.node;
        let metrics = node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: Option<crate::raft::LogId>| LogIndex(id.map_or(0, |id| id.index));
        let membership = metrics.membership_config.membership();
        let replication = metrics.replication.iter().flatten().filter(|(id, _)| **id != node.id.0);
        let matched = replication.map(|(id, matched)| (NodeId(*id), matched.map(|id| LogIndex(id.index))));
        Status {
            node: node.id,
            term: metrics.current_term,
            leader: self.inner.shared.leadership.borrow().leader,
            applied: index(metrics.last_applied).max(node.read().core.applied()),
            log: LogIndex(metrics.last_log_index.unwrap_or(0)),
            committed: index(metrics.cluster_committed),
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            matched: matched.collect(),
            state_hash: node.hashes.newest(),
            divergence: self
                .inner
                .shared
                .divergence
                .lock()
                .expect("no panic happens under this lock")
                .clone(),
            disk_free_bytes: self.inner.shared.free(),
            is_waiting: membership.voter_ids().next().is_none(),
            stalled_for: node.stalled_for(),
        }
    }

    /// Adds a node without a vote: from now on it copies the log. Harmless when it is a member already.
    pub async fn add_learner(&self, node: NodeId, address: String) -> Result<(), MembershipError> {
        let status = self.leader_status()?;
        if status.voters.contains(&node) || status.learners.contains(&node) {
            return Ok(());
        }
        let added = self.inner.node.raft.add_learner(node.0, BasicNode::new(address), false);
        self.finish(added).await
    }

    /// Gives a learner a vote. `Behind` while it lacks much of the log.
    pub async fn promote(&self, node: NodeId) -> Result<(), MembershipError> {
        self.check_promotion(node).await?;
        if self.leader_status()?.voters.contains(&node) {
            return Ok(());
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), true).await
    }

    /// Whether [`Adjudicator::promote`] would be done, as things are.
    pub async fn check_promotion(&self, node: NodeId) -> Result<(), MembershipError> {
        let status = self.leader_status()?;
        if status.voters.contains(&node) {
            return Ok(());
        }
        if !status.learners.contains(&node) {
            return Err(MembershipError::Unknown(node));
        }
        self.check_caught_up(&status, node)?;
        self.check_majority(status.voters.iter().copied().chain([node]).collect()).await
    }

    /// Adds a node, waits until it has caught up, and gives it a vote.
    pub async fn add_voter(
        &self,
        node: NodeId,
        address: String,
        limit: Duration,
    ) -> Result<(), MembershipError> {
        self.add_learner(node, address).await?;
        self.wait_until_caught_up(node, limit).await?;
        self.promote(node).await
    }

    /// Puts a new node in the place of one that is lost: one change, in which the number of voters stays the same.
    pub async fn replace(
        &self,
        lost: NodeId,
        new: NodeId,
        address: String,
        limit: Duration,
    ) -> Result<(), MembershipError> {
        let status = self.leader_status()?;
        if !status.voters.contains(&lost) {
            return Err(MembershipError::Unknown(lost));
        }
        if lost == status.node {
            return Err(MembershipError::Refused(format!("{lost} leads; hand over the lead first")));
        }
        self.add_learner(new, address).await?;
        self.wait_until_caught_up(new, limit).await?;
        let voters = status.voters.iter().copied().filter(|node| *node != lost).chain([new]);
        let voters: BTreeSet<NodeId> = voters.collect();
        self.check_majority(voters.clone()).await?;
        let voters = voters.into_iter().map(|node| node.0).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await?;
        self.set_entry(lost, None).await
    }

    /// Takes a node out of the group and out of the list of nodes. A leader hands over the lead first.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        self.check_removal(node).await?;
        let status = self.leader_status()?;
        let ids = BTreeSet::from([node.0]);
        if status.voters.contains(&node) {
            self.change(ChangeMembers::RemoveVoters(ids), false).await?;
        } else if status.learners.contains(&node) {
            self.change(ChangeMembers::RemoveNodes(ids), false).await?;
        }
        self.set_entry(node, None).await
    }

    /// Whether [`Adjudicator::remove`] would be done, as things are.
    pub async fn check_removal(&self, node: NodeId) -> Result<(), MembershipError> {
        let status = self.leader_status()?;
        if !status.voters.contains(&node) {
            return Ok(());
        }
        if status.voters.len() == 1 {
            return Err(MembershipError::Refused(format!("{node} is the only voter")));
        }
        if node == status.node {
            return Err(MembershipError::Refused(format!("{node} leads; hand over the lead first")));
        }
        self.check_majority(status.voters.into_iter().filter(|voter| *voter != node).collect()).await
    }

    /// Says in the log what a node is and where it is reached; on the leader. Harmless when the log says so already. A node
    /// whose release does not understand the cluster's version is refused.
    pub async fn set_node(&self, record: NodeRecord) -> Result<(), MembershipError> {
        let (node, entry) = entry_of(record);
        let version = self.cluster_version();
        if entry.cluster_version < version {
            let why = too_old(version, entry.cluster_version);
            return Err(MembershipError::Refused(format!("{node} cannot take part: {why}")));
        }
        if self.inner.node.read().core.nodes().get(&node) == Some(&entry) {
            return Ok(());
        }
        self.set_entry(node, Some(entry)).await
    }

    /// Has this node entered in the log by whoever leads. Each node does so when it starts, again until it succeeds, and
    /// when something about it has changed.
    pub async fn enter(&self, record: NodeRecord) -> Result<(), MembershipError> {
        let leadership = *self.inner.shared.leadership.borrow();
        match leadership.leader {
            _ if leadership.is_this => self.set_node(record).await,
            None => Err(MembershipError::NotLeader { leader: None }),
            Some(leader) => {
                let (node, entry) = entry_of(record);
                if self.inner.node.read().core.nodes().get(&node) == Some(&entry) {
                    return Ok(());
                }
                let command = Command::SetNode { node, entry: Some(entry) };
                let request = Request::Enter(command.encode().into()).encode();
                let asked = self.inner.node.contacts.call(leader, request, ENTER_MAX).await;
                asked.map(|_| ()).map_err(|error| MembershipError::Unfinished(error.to_string()))
            }
        }
    }

    /// Says in the log whether a node is to give up its shard replicas; on the leader. Refused while some node would not
    /// understand it.
    pub async fn drain_node(&self, node: NodeId, drains: bool) -> Result<(), MembershipError> {
        self.leader_status()?;
        let version = self.cluster_version();
        if version < DRAINS_SINCE {
            return Err(MembershipError::Refused(format!(
                "the cluster is at version {version}, and nodes are drained of replicas from version {DRAINS_SINCE} on: \
                 finish the upgrade first"
            )));
        }
        match self.propose(Command::DrainNode { node, drains }).await {
            Ok(Reply::NoSuchNode) => Err(MembershipError::Unknown(node)),
            Ok(_) => Ok(()),
            Err(AdjudicatorError::NotLeader { leader }) => Err(MembershipError::NotLeader { leader }),
            Err(AdjudicatorError::Stopped(why)) => Err(MembershipError::Stopped(why)),
            Err(other) => Err(MembershipError::Unfinished(other.to_string())),
        }
    }

    /// The nodes that are to give up their shard replicas, as this node's state has it.
    pub fn draining(&self) -> BTreeSet<NodeId> {
        self.inner.node.read().core.draining().clone()
    }

    async fn set_entry(&self, node: NodeId, entry: Option<NodeEntry>) -> Result<(), MembershipError> {
        if entry.is_none() && !self.inner.node.read().core.nodes().contains_key(&node) {
            return Ok(());
        }
        match self.propose(Command::SetNode { node, entry }).await {
            Ok(Reply::Done) => {
                tell_addresses(&self.inner.node);
                Ok(())
            }
            Ok(other) => unreachable!("a node's entry is answered with done, not {other:?}"),
            Err(AdjudicatorError::NotLeader { leader }) => Err(MembershipError::NotLeader { leader }),
            Err(AdjudicatorError::Stopped(why)) => Err(MembershipError::Stopped(why)),
            Err(other) => Err(MembershipError::Unfinished(other.to_string())),
        }
    }

    /// The nodes as this node's state has them, however old that is.
    pub fn known_nodes(&self) -> Vec<NodeRecord> {
        let state = self.inner.node.read();
        let record = |(node, entry): (&NodeId, &NodeEntry)| NodeRecord {
            node: *node,
            peer_address: entry.peer_address.clone(),
            admin_address: entry.admin_address.clone(),
            mysql_address: entry.mysql_address.clone(),
            roles: entry.roles.clone(),
            zone: entry.zone.clone(),
            version: entry.version.clone(),
            cluster_version: entry.cluster_version,
        };
        state.core.nodes().iter().map(record).collect()
    }

    /// The placement as this node's state has it, however old that is.
    pub fn known_placement(&self) -> Placement {
        self.inner.node.read().core.placement().clone()
    }

    /// The cluster version in force, as this node's state has it.
    pub fn cluster_version(&self) -> u32 {
        self.inner.node.published.cluster_version()
    }

    /// Hands the lead to a voter (`None`: the one that lacks least), and waits until somebody else leads.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, MembershipError> {
        let status = self.leader_status()?;
        let others = status.voters.iter().copied().filter(|node| *node != status.node);
        let to = match to {
            Some(to) if to == status.node => return Ok(to),
            Some(to) if !status.voters.contains(&to) => return Err(MembershipError::Unknown(to)),
            Some(to) => to,
            None => others
                .max_by_key(|node| status.matched.get(node).copied().flatten())
                .ok_or_else(|| MembershipError::Refused("there is nobody else to lead".into()))?,
        };
        let mut leadership = self.watch_leadership();
        let asked = self.inner.node.raft.trigger().transfer_leader(to.0).await;
        asked.map_err(|fatal| MembershipError::Stopped(self.inner.node.describe(&fatal)))?;
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != status.node));
        match tokio::time::timeout(TRANSFER_MAX, moved).await {
            Ok(Ok(now)) => Ok(now.leader.unwrap_or(to)),
            _ => Err(MembershipError::Unfinished(format!("{to} has not taken over the lead in time"))),
        }
    }

    /// Gives up the lead, if this node has it and there is somebody to take it.
    pub async fn drain(&self) -> Result<(), MembershipError> {
        let leads = self.inner.shared.leadership.borrow().is_this;
        if !leads || self.inner.node.is_only_voter() || self.inner.node.failure().is_some() {
            return Ok(());
        }
        self.transfer_leadership(None).await.map(|_| ())
    }

    /// Has all nodes note the hash of their state after one entry, and compares them.
    pub async fn verify_replicas(&self) -> Result<Comparison, AdjudicatorError> {
        let before = self.inner.node.hashes.newest();
        self.propose(Command::NoteHash).await?;
        let looked = tokio::time::timeout(CHANGE_MAX, async {
            loop {
                match self.inner.node.hashes.newest() {
                    Some(newest) if Some(newest) != before => return newest,
                    _ => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        });
        let Ok((index, hash)) = looked.await else { return Err(AdjudicatorError::ReplyLost) };
        Ok(Comparison::make(&self.inner.node, index, hash).await)
    }

    /// The status, if this node leads.
    fn leader_status(&self) -> Result<Status, MembershipError> {
        self.inner.shared.alive().map_err(|error| MembershipError::Stopped(error.to_string()))?;
        let leadership = *self.inner.shared.leadership.borrow();
        if !leadership.is_this {
            return Err(MembershipError::NotLeader { leader: leadership.leader });
        }
        Ok(self.status())
    }

    fn check_caught_up(&self, status: &Status, node: NodeId) -> Result<(), MembershipError> {
        let matched = status.matched.get(&node).copied().flatten();
        match matched {
            Some(matched) if status.log.0.saturating_sub(matched.0) <= CAUGHT_UP => Ok(()),
            _ => Err(MembershipError::Behind(node)),
        }
    }

    /// Refuses voters most of whom do not answer now. Asked before anything is appended: from then on they would be needed to
    /// decide anything, also to undo it.
    async fn check_majority(&self, voters: BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let asked = Instant::now();
        let limit = self.inner.shared.options.heartbeat * HEARTBEATS_MAX;
        loop {
            self.leader_status()?;
            let answering = self.answering_within(asked.elapsed());
            let silent: Vec<NodeId> = voters.difference(&answering).copied().collect();
            if 2 * silent.len() < voters.len() {
                return Ok(());
            }
            if asked.elapsed() >= limit {
                return Err(MembershipError::Refused(without_majority(&voters, &silent)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// On the leader: itself, and the nodes that have answered what it has sent them within this time.
    fn answering_within(&self, time: Duration) -> BTreeSet<NodeId> {
        let node = &self.inner.node;
        let metrics = node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let sent = metrics.heartbeat.iter().flatten();
        let answering = sent.filter(|(_, sent)| sent.as_ref().is_some_and(|sent| sent.elapsed() <= time));
        answering.map(|(id, _)| NodeId(*id)).chain([node.id]).collect()
    }

    async fn wait_until_caught_up(&self, node: NodeId, limit: Duration) -> Result<(), MembershipError> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let status = self.leader_status()?;
            match self.check_caught_up(&status, node) {
                Err(behind) if tokio::time::Instant::now() >= deadline => return Err(behind),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn change(
        &self,
        members: ChangeMembers<u64, BasicNode>,
        retain: bool,
    ) -> Result<(), MembershipError> {
        self.finish(self.inner.node.raft.change_membership(members, retain)).await
    }

    async fn finish<T>(
        &self,
        change: impl Future<Output = Result<T, RaftError<Types, ClientWriteError<Types>>>>,
    ) -> Result<(), MembershipError> {
        let Ok(changed) = tokio::time::timeout(CHANGE_MAX, change).await else {
            return Err(MembershipError::Unfinished("most voters do not answer".into()));
        };
        tell_addresses(&self.inner.node);
        match changed {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(MembershipError::NotLeader { leader: forward.leader_id.map(NodeId) })
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(why))) => {
                Err(MembershipError::Refused(why.to_string()))
            }
            Err(RaftError::APIError(other)) => Err(MembershipError::Unfinished(other.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(MembershipError::Stopped(self.inner.node.describe(&fatal))),
        }
    }
}
