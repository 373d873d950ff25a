//! The other nodes of the group: the way to them, and what is known of them.

use crate::raft::ServerMetrics;
use assize_model::NodeId;
use assize_ports::{PeerError, Peers, Service};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The way to the other nodes. A group of one has none.
pub struct Contacts {
    peers: Option<Arc<dyn Peers>>,
    /// What the peers were told last.
    told: Mutex<BTreeMap<NodeId, String>>,
    /// Who votes, as Raft says; set once Raft runs.
    members: OnceLock<ServerMetrics>,
    /// Bytes of entries that were sent to each of them and are not answered yet.
    on_the_way: Mutex<BTreeMap<NodeId, Arc<AtomicUsize>>>,
}

impl Contacts {
    /// The way to the other nodes.
    pub fn new(peers: Option<Arc<dyn Peers>>) -> Arc<Contacts> {
        Arc::new(Contacts {
            peers,
            told: Mutex::default(),
            members: OnceLock::new(),
            on_the_way: Mutex::default(),
        })
    }

    /// Whether there can be other nodes.
    pub fn has_peers(&self) -> bool {
        self.peers.is_some()
    }

    /// The transport.
    pub fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.as_ref()
    }

    /// Where the members are known from now on.
    pub fn follow(&self, members: ServerMetrics) {
        // Raft is started once.
        let _ = self.members.set(members);
    }

    /// The nodes that vote, as far as is known.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        let Some(members) = self.members.get() else { return BTreeSet::new() };
        members.borrow_watched().membership_config.membership().voter_ids().map(NodeId).collect()
    }

    /// Every node that takes part, with the address at which it was added.
    pub fn members(&self) -> BTreeMap<NodeId, String> {
        let Some(members) = self.members.get() else { return BTreeMap::new() };
        let metrics = members.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        nodes.map(|(id, node)| (NodeId(*id), node.addr.clone())).collect()
    }

    /// Tells the transport where a member listens, unless it has heard of that node already.
    pub fn introduce(&self, node: NodeId, address: &str) {
        let mut told = self.told.lock().expect("no panic happens under this lock");
        if let Some(peers) = &self.peers
            && !told.contains_key(&node)
        {
            told.insert(node, address.to_owned());
            peers.learn(node, Some(address.to_owned()));
        }
    }

    /// Tells the transport what has changed: where nodes listen now, and which are gone.
    pub fn tell(&self, addresses: BTreeMap<NodeId, String>) {
        let Some(peers) = &self.peers else { return };
        let mut told = self.told.lock().expect("no panic happens under this lock");
        for gone in told.keys().filter(|node| !addresses.contains_key(node)) {
            peers.learn(*gone, None);
        }
        for (node, address) in &addresses {
            if told.get(node) != Some(address) {
                peers.learn(*node, Some(address.clone()));
            }
        }
        *told = addresses;
    }

    /// Where it is counted how many bytes of entries are on their way to a node.
    pub fn on_the_way(&self, node: NodeId) -> Arc<AtomicUsize> {
        self.on_the_way.lock().expect("no panic happens under this lock").entry(node).or_default().clone()
    }

    /// So many are on their way to the node to which most are.
    pub fn most_on_the_way(&self) -> usize {
        let on_the_way = self.on_the_way.lock().expect("no panic happens under this lock");
        on_the_way.values().map(|bytes| bytes.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// One question to another node about the group.
    pub async fn call(&self, to: NodeId, request: Bytes, limit: Duration) -> Result<Bytes, PeerError> {
        match &self.peers {
            Some(peers) => peers.call(to, Service::Raft, request, limit).await,
            None => Err(PeerError::Unreachable { node: to, reason: "this group has no peers".into() }),
        }
    }
}
