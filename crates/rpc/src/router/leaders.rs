//! Who leads the adjudicator's group, as far as this node knows, and how to find out.

use crate::adjudicator::RemoteAdjudicator;
use crate::decisions::RemoteDecisions;
use assize_model::NodeId;
use assize_ports::{AdjudicatorClient, AdjudicatorError, DecisionSource, Peers};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Nodes that are asked whether they lead may take so long: a leader answers once a majority has answered it…
const ASK_MAX: Duration = Duration::from_secs(1);
/// … and, once one of them has answered, so much longer, unless somebody is named as the leader who has not answered yet: a node
/// that is gone must not keep us from asking the others again, one of which may be elected any moment. After so long those who
/// have named one are asked again whether it leads still.
const ASK_REST: Duration = Duration::from_millis(100);
/// Everybody is asked again no sooner, however many sessions want to know.
const ASK_PAUSE: Duration = Duration::from_millis(10);

/// This node's own adjudicator.
#[derive(Clone)]
pub struct LocalAdjudicator {
    /// This node.
    pub node: NodeId,
    /// Decides, if it leads.
    pub client: Arc<dyn AdjudicatorClient>,
    /// Its decision streams, whether it leads or not.
    pub decisions: Arc<dyn DecisionSource>,
}

/// The adjudicators of the cluster, and the one that leads.
pub struct Leaders {
    local: Option<LocalAdjudicator>,
    peers: Arc<dyn Peers>,
    book: Mutex<Book>,
    /// Held by whoever asks everybody; the others wait for what it finds.
    asking: tokio::sync::Mutex<()>,
}

struct Book {
    members: Vec<NodeId>,
    leader: Option<Leader>,
    /// Counts what is believed, so that an old disappointment does not discard a new belief.
    term: u64,
    remotes: BTreeMap<NodeId, Remote>,
}

#[derive(Clone)]
struct Remote {
    client: Arc<RemoteAdjudicator>,
    decisions: Arc<RemoteDecisions>,
}

/// The adjudicator that is believed to lead.
#[derive(Clone)]
pub struct Leader {
    /// Which node it is on.
    pub node: NodeId,
    /// How to ask it.
    pub client: Arc<dyn AdjudicatorClient>,
    /// Which belief this is.
    pub term: u64,
}

impl Leaders {
    /// The group of these members. A node with an adjudicator of its own gives it here, and may be among the members or
    /// not.
    pub fn new(
        local: Option<LocalAdjudicator>,
        peers: Arc<dyn Peers>,
        members: impl IntoIterator<Item = NodeId>,
    ) -> Arc<Leaders> {
        let members = members.into_iter().collect();
        let book = Mutex::new(Book { members, leader: None, term: 0, remotes: BTreeMap::new() });
        Arc::new(Leaders { local, peers, book, asking: tokio::sync::Mutex::default() })
    }

    /// The nodes of the group have changed.
    pub fn set_members(&self, members: impl IntoIterator<Item = NodeId>) {
        self.book().members = members.into_iter().collect();
    }

    /// The node that is believed to lead; `None` while nobody knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.book().leader.as_ref().map(|leader| leader.node)
    }

    /// The leader as it is believed to be.
    pub(super) fn believed(&self) -> Option<Leader> {
        self.book().leader.clone()
    }

    /// Whether a node is this one, and has an adjudicator.
    pub(super) fn is_local(&self, node: NodeId) -> bool {
        self.local.as_ref().is_some_and(|local| local.node == node)
    }

    /// All members, this node's own adjudicator first, the others in a random order.
    pub(super) fn members(&self) -> Vec<NodeId> {
        let mut members = self.book().members.clone();
        members.sort_by_cached_key(|_| rand::random::<u32>());
        if let Some(local) = &self.local {
            members.retain(|node| *node != local.node);
            members.insert(0, local.node);
        }
        members
    }

    /// The adjudicator of a node.
    pub(super) fn client(&self, node: NodeId) -> Arc<dyn AdjudicatorClient> {
        match &self.local {
            Some(local) if local.node == node => local.client.clone(),
            _ => self.remote(node).client,
        }
    }

    /// The decision streams of a node.
    pub(super) fn decisions(&self, node: NodeId) -> Arc<dyn DecisionSource> {
        match &self.local {
            Some(local) if local.node == node => local.decisions.clone(),
            _ => self.remote(node).decisions,
        }
    }

    fn remote(&self, node: NodeId) -> Remote {
        let mut book = self.book();
        let made = book.remotes.entry(node).or_insert_with(|| Remote {
            client: Arc::new(RemoteAdjudicator::new(self.peers.clone(), node)),
            decisions: Arc::new(RemoteDecisions::new(self.peers.clone(), node)),
        });
        made.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no panic happens under this lock")
    }

    /// Believes that a node leads, unless something newer than `term` is believed already.
    pub(super) fn follow(&self, term: u64, node: NodeId) {
        let client = self.client(node);
        let mut book = self.book();
        if book.term == term {
            book.term += 1;
            let term = book.term;
            book.leader = Some(Leader { node, client, term });
        }
    }

    /// The belief `term` has disappointed.
    pub(super) fn doubt(&self, term: u64) {
        let mut book = self.book();
        if book.term == term {
            book.term += 1;
            book.leader = None;
        }
    }

    /// The leader, found by asking everybody if nobody is believed to be it. `Err` says why none was found.
    pub(super) async fn find(&self) -> Result<Leader, String> {
        if let Some(leader) = self.believed() {
            return Ok(leader);
        }
        let _asking = self.asking.lock().await;
        // Found while we waited.
        if let Some(leader) = self.believed() {
            return Ok(leader);
        }
        let term = self.book().term;
        match self.ask_everybody().await {
            Ok(node) => self.follow(term, node),
            Err(why) => {
                // With the lock held: whoever waits for it asks next.
                tokio::time::sleep(ASK_PAUSE).await;
                return Err(why);
            }
        }
        self.believed().ok_or_else(|| "the leader has just changed".into())
    }

    /// Asks every member for a snapshot, which only the leader gives. The first that does is it; else whom most of the
    /// others take for it.
    async fn ask_everybody(&self) -> Result<NodeId, String> {
        let ask = |node, pause: Option<Duration>| async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            (node, self.client(node).begin().await)
        };
        let mut silent = self.members();
        let mut asked: FuturesUnordered<_> = silent.iter().map(|node| ask(*node, None)).collect();
        let longest = Instant::now() + ASK_MAX;
        let mut deadline = longest;
        // By whom each of them was given.
        let mut hints: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut why = "no adjudicator has answered".to_owned();
        while let Ok(Some((node, answer))) = timeout_at(deadline, asked.next()).await {
            silent.retain(|other| *other != node);
            hints.remove(&node);
            match answer {
                Ok(_) => return Ok(node),
                Err(AdjudicatorError::NotLeader { leader }) => {
                    hints.extend(leader.map(|leader| (node, leader)));
                    why = "the adjudicator's group has no leader".into();
                }
                Err(error) => why = format!("{node}: {error}"),
            }
            if hints.values().any(|leader| silent.contains(leader)) {
                deadline = longest;
                asked.push(ask(node, Some(ASK_REST)));
            } else {
                deadline = deadline.min(Instant::now() + ASK_REST);
            }
        }
        // A member has answered itself, or cannot be reached: then the next round shows.
        match most_named(hints.into_values()) {
            Some(node) if !self.is_member(node) => Ok(node),
            _ => Err(why),
        }
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.is_local(node) || self.book().members.contains(&node)
    }
}

/// Who is named most often.
fn most_named(named: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
    named.for_each(|node| *counts.entry(node).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(node, _)| node)
}
