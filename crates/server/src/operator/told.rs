//! What a node without an adjudicator has been told by the leader, and for how long it has not been.

use assize_model::{NodeId, Placement};
use assize_ports::NodeRecord;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module's page. Whoever asks the leader leaves here what he has heard.
#[derive(Default)]
pub struct Told {
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    nodes: Vec<NodeRecord>,
    placement: Option<Arc<Placement>>,
    draining: BTreeSet<NodeId>,
    /// When a leader has answered last.
    heard: Option<Instant>,
}

impl Told {
    /// Keeps the list of nodes that a leader has just given.
    pub fn keep_nodes(&self, nodes: &[NodeRecord]) {
        nodes.clone_into(&mut self.hear().nodes);
    }

    /// Keeps the placement that a leader has just given.
    pub fn keep_placement(&self, placement: &Arc<Placement>) {
        self.hear().placement = Some(placement.clone());
    }

    /// Keeps which nodes are to drain, as a leader has just said.
    pub fn keep_draining(&self, draining: BTreeSet<NodeId>) {
        self.hear().draining = draining;
    }

    /// The list of nodes; empty if there never was one.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        self.words().nodes.clone()
    }

    /// The placement; `None` if there never was one.
    pub fn placement(&self) -> Option<Arc<Placement>> {
        self.words().placement.clone()
    }

    /// Whether a node is to drain.
    pub fn is_draining(&self, node: NodeId) -> bool {
        self.words().draining.contains(&node)
    }

    /// For how long no leader has answered; `None` if none has since the node started.
    pub fn silence(&self) -> Option<Duration> {
        self.words().heard.map(|heard| heard.elapsed())
    }

    fn hear(&self) -> MutexGuard<'_, Words> {
        let mut words = self.words();
        words.heard = Some(Instant::now());
        words
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if the leader had fallen silent so long ago.
    #[cfg(test)]
    pub fn fall_silent(&self, ago: Duration) {
        self.words().heard = Instant::now().checked_sub(ago);
    }
}
