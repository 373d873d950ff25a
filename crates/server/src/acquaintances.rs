//! What a node without an adjudicator knows of the others: where they listen, and which of them may lead.
//!
//! A node with an adjudicator has the list of nodes in its own state. One without asks whoever leads, as it does for the
//! placement; while it cannot find the leader, because it knows no more than what its configuration names, any other
//! adjudicator tells it what that has heard of. The leader also says which nodes are to drain, and that it answers at all is
//! how such a node knows that there is one.

use crate::operator::Told;
use crate::operator::words::{self, Answer, NodeStatus, Question};
use assize_model::NodeId;
use assize_ports::{AdjudicatorClient, NodeRecord, Peers, Service};
use assize_rpc::Leaders;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often the list is asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long the leader may take to say who drains. Short: meanwhile it is not noticed that it leads no more.
const STATUS_MAX: Duration = Duration::from_secs(1);

/// See the module's page. Clones share what they know.
#[derive(Clone)]
pub struct Acquaintances {
    node: NodeId,
    peers: Arc<dyn Peers>,
    leaders: Arc<Leaders>,
    adjudicator: Arc<dyn AdjudicatorClient>,
    told: Arc<Told>,
    known: Arc<Mutex<Known>>,
}

/// What is known, without the ways to tell it.
struct Known {
    /// The adjudicators that the configuration names and that no list has had yet.
    named: BTreeSet<NodeId>,
    /// Where nodes listen, as the last list said.
    addresses: BTreeMap<NodeId, String>,
    /// Those that may lead.
    adjudicators: BTreeSet<NodeId>,
}

impl Acquaintances {
    /// Of a node that has heard of these adjudicators so far. What the leader says is left in `told`.
    pub fn new(
        node: NodeId,
        peers: Arc<dyn Peers>,
        leaders: Arc<Leaders>,
        adjudicator: Arc<dyn AdjudicatorClient>,
        told: Arc<Told>,
        named: impl IntoIterator<Item = NodeId>,
    ) -> Acquaintances {
        let known = Arc::new(Mutex::new(Known::new(named)));
        Acquaintances { node, peers, leaders, adjudicator, told, known }
    }

    /// The nodes that may lead.
    pub fn adjudicators(&self) -> Vec<NodeId> {
        self.known().adjudicators.iter().copied().collect()
    }

    /// Asks again and again. Long-lived: the node spawns it.
    pub async fn follow(self, stopped: impl Future<Output = ()>) {
        tokio::pin!(stopped);
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = interval.tick() => {}
            }
            tokio::select! {
                () = &mut stopped => return,
                () = self.look() => {}
            }
        }
    }

    /// Asks once, and tells the transport and the way to the leader what is new.
    pub async fn look(&self) {
        let told = tokio::select! {
            told = self.adjudicator.nodes() => told,
            // The question is held while nobody is known who leads, and one of the others may know.
            never = self.keep_asking_others() => match never {},
        };
        let Ok(records) = told else { return };
        self.told.keep_nodes(&records);
        self.learn(&records, true);
        if let Some(draining) = self.ask_who_drains().await {
            self.told.keep_draining(draining);
        }
    }

    async fn keep_asking_others(&self) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let others = self.adjudicators();
            let told = join_all(others.into_iter().map(|other| self.ask(other))).await;
            told.iter().flatten().for_each(|records| self.learn(records, false));
        }
    }

    async fn ask(&self, other: NodeId) -> Option<Vec<NodeRecord>> {
        let question = words::encode(&Question::Nodes);
        let answer = self.peers.call(other, Service::Operator, question, ANSWER_MAX).await.ok()?;
        match words::decode(&answer) {
            Ok(Answer::Nodes(records)) => Some(records.into_iter().map(NodeRecord::from).collect()),
            // Such as a release that does not know the question.
            _ => None,
        }
    }

    /// The nodes that are to drain, as the leader has it.
    async fn ask_who_drains(&self) -> Option<BTreeSet<NodeId>> {
        let leader = self.leaders.leader()?;
        let question = words::encode(&Question::Status);
        let answer = self.peers.call(leader, Service::Operator, question, STATUS_MAX).await.ok()?;
        match words::decode(&answer) {
            Ok(Answer::Status(status)) => draining(leader, &status),
            _ => None,
        }
    }

    fn learn(&self, records: &[NodeRecord], is_whole: bool) {
        let mut known = self.known();
        for (node, address) in known.learn(self.node, records, is_whole) {
            self.peers.learn(node, address);
        }
        self.leaders.set_members(known.adjudicators.iter().copied());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no panic happens under this lock")
    }
}

/// The nodes that are to drain, if a node says so that leads: the word of any other may be old.
fn draining(node: NodeId, status: &NodeStatus) -> Option<BTreeSet<NodeId>> {
    (status.leader == Some(node.0)).then(|| status.draining.iter().copied().map(NodeId).collect())
}

impl Known {
    fn new(named: impl IntoIterator<Item = NodeId>) -> Known {
        let named: BTreeSet<NodeId> = named.into_iter().collect();
        Known { adjudicators: named.clone(), named, addresses: BTreeMap::new() }
    }

    /// Takes a list over; what the transport has to be told. Only the leader's is the whole one: from any other's nobody
    /// has gone, because it may be old.
    fn learn(&mut self, me: NodeId, records: &[NodeRecord], is_whole: bool) -> Vec<(NodeId, Option<String>)> {
        let mut changes = Vec::new();
        let others = || records.iter().filter(|record| record.node != me);
        let listed: BTreeSet<NodeId> = others().map(|record| record.node).collect();
        if is_whole && !listed.is_empty() {
            let gone: Vec<NodeId> =
                self.addresses.keys().filter(|node| !listed.contains(node)).copied().collect();
            for node in gone {
                self.addresses.remove(&node);
                changes.push((node, None));
            }
            // One that was named and is not in the list has not told the cluster yet where it is.
            self.named.retain(|node| !listed.contains(node));
            self.adjudicators.clone_from(&self.named);
        }
        for record in others() {
            let address = &record.peer_address;
            let is_news = self.addresses.get(&record.node) != Some(address);
            if !address.is_empty() && is_news && (is_whole || !self.addresses.contains_key(&record.node)) {
                self.addresses.insert(record.node, address.clone());
                changes.push((record.node, Some(address.clone())));
            }
            if record.roles.iter().any(|role| role == "adjudicator") {
                self.adjudicators.insert(record.node);
            }
        }
        changes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the log knows of a node with one role.
    pub(crate) fn record(node: u64, address: &str, role: &str) -> NodeRecord {
        NodeRecord {
            node: NodeId(node),
            peer_address: address.to_owned(),
            admin_address: String::new(),
            mysql_address: String::new(),
            roles: vec![role.to_owned()],
            zone: String::new(),
            version: String::new(),
            cluster_version: 1,
        }
    }

    fn nodes(known: &Known) -> Vec<u64> {
        known.adjudicators.iter().map(|node| node.0).collect()
    }

    #[test]
    fn voters_that_have_replaced_the_named_ones_are_known() {
        let me = NodeId(9);
        let mut known = Known::new([NodeId(1), NodeId(2)]);
        let first =
            [record(1, "a:1", "adjudicator"), record(4, "a:4", "shard"), record(9, "a:9", "frontend")];
        let told = known.learn(me, &first, true);
        assert_eq!(told, [(NodeId(1), Some("a:1".to_owned())), (NodeId(4), Some("a:4".to_owned()))]);
        assert_eq!(nodes(&known), [1, 2], "node 2 has not told the cluster yet where it is");
        let second = [record(2, "a:2", "adjudicator"), record(5, "a:5", "adjudicator")];
        let told = known.learn(me, &second, true);
        assert!(told.contains(&(NodeId(1), None)) && told.contains(&(NodeId(4), None)), "{told:?}");
        assert_eq!(nodes(&known), [2, 5]);
    }

    #[test]
    fn only_the_leader_says_who_drains() {
        let mut status = NodeStatus { leader: Some(2), draining: vec![9], ..NodeStatus::default() };
        assert_eq!(draining(NodeId(2), &status), Some(BTreeSet::from([NodeId(9)])));
        assert_eq!(draining(NodeId(1), &status), None, "it follows");
        status.leader = None;
        assert_eq!(draining(NodeId(2), &status), None, "it is cut off");
    }

    #[test]
    fn an_old_list_adds_and_takes_nothing_away() {
        let me = NodeId(9);
        let mut known = Known::new([NodeId(1)]);
        known.learn(me, &[record(1, "a:1", "adjudicator"), record(2, "new:2", "adjudicator")], true);
        let old = [record(2, "old:2", "adjudicator"), record(3, "a:3", "adjudicator")];
        assert_eq!(known.learn(me, &old, false), [(NodeId(3), Some("a:3".to_owned()))]);
        assert_eq!(nodes(&known), [1, 2, 3]);
        assert_eq!(known.learn(me, &[], true), [], "a list of nobody is none");
        assert_eq!(nodes(&known), [1, 2, 3]);
    }
}
