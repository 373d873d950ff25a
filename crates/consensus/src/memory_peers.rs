//! Peers within one process, whose connections can be cut: for tests, benches and demonstrations.

use assize_model::NodeId;
use assize_ports::{
    BoxFuture, Channel, ChannelReceiver, ChannelSender, PeerError, PeerService, Peers, Presence, Service,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages that a channel holds before its sender waits.
const CHANNEL_MESSAGES: usize = 64;

type Services = BTreeMap<(NodeId, Service), Arc<dyn PeerService>>;

/// The network between the nodes of one process. Clones are handles to the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    services: Arc<Mutex<Services>>,
    /// Which cluster each node has said that it belongs to.
    clusters: Arc<Mutex<BTreeMap<NodeId, u128>>>,
    cuts: Arc<watch::Sender<BTreeSet<(NodeId, NodeId)>>>,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl MemoryNetwork {
    /// The way from a node to the others.
    pub fn peers(&self, me: NodeId) -> Arc<dyn Peers> {
        Arc::new(MemoryPeers { net: self.clone(), me, known: Mutex::default() })
    }

    /// What a node serves from now on; `None`: nothing, as if it were down.
    pub fn serve(&self, node: NodeId, service: Service, with: Option<Arc<dyn PeerService>>) {
        let mut services = self.services.lock().expect("no panic happens under this lock");
        match with {
            Some(with) => services.insert((node, service), with),
            None => services.remove(&(node, service)),
        };
    }

    /// Cuts every connection between a node and these others; what is under way breaks.
    pub fn isolate(&self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        self.cuts.send_modify(|cuts| {
            cuts.extend(others.into_iter().filter(|other| *other != node).map(|other| pair(node, other)));
        });
    }

    /// A node has not said yet which cluster it belongs to, as when its process starts.
    pub fn forget_cluster(&self, node: NodeId) {
        self.clusters.lock().expect("no panic happens under this lock").remove(&node);
    }

    /// Makes all connections possible again.
    pub fn heal(&self) {
        self.cuts.send_modify(BTreeSet::clear);
    }
}

struct MemoryPeers {
    net: MemoryNetwork,
    me: NodeId,
    /// Where nodes listen, as far as this one has been told. Nobody else can be reached from it.
    known: Mutex<BTreeMap<NodeId, String>>,
}

impl MemoryPeers {
    fn reach(&self, to: NodeId, service: Service) -> Result<Arc<dyn PeerService>, PeerError> {
        let is_known = self.known.lock().expect("no panic happens under this lock").contains_key(&to);
        let services = self.net.services.lock().expect("no panic happens under this lock");
        let are_strangers = {
            let clusters = self.net.clusters.lock().expect("no panic happens under this lock");
            let of = |node| clusters.get(&node);
            of(self.me).zip(of(to)).is_some_and(|(ours, theirs)| ours != theirs)
        };
        match services.get(&(to, service)) {
            Some(_) if are_strangers => {
                Err(PeerError::Refused { node: to, reason: "it belongs to another cluster".into() })
            }
            Some(there) if is_known && !self.net.cuts.borrow().contains(&pair(self.me, to)) => {
                Ok(there.clone())
            }
            _ => Err(PeerError::Unreachable { node: to, reason: "there is no connection".into() }),
        }
    }

    /// Completes when the connection is cut.
    fn cut(&self, to: NodeId) -> impl Future<Output = ()> + Send + use<> {
        let (mut cuts, between) = (self.net.cuts.subscribe(), pair(self.me, to));
        async move {
            // An error means that the network is gone, which is a cut as well.
            let _ = cuts.wait_for(|cuts| cuts.contains(&between)).await;
        }
    }
}

fn lost(node: NodeId) -> PeerError {
    PeerError::ReplyLost { node, reason: "the connection was cut".into() }
}

impl Peers for MemoryPeers {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let there = self.reach(to, service)?;
            tokio::select! {
                // Once it is cut nothing gets through any more.
                biased;
                () = self.cut(to) => Err(lost(to)),
                answer = there.call(self.me, request) => {
                    answer.map_err(|reason| PeerError::Refused { node: to, reason })
                }
                () = tokio::time::sleep(limit) => Err(lost(to)),
            }
        })
    }

    fn open(
        &self,
        to: NodeId,
        service: Service,
        hello: Bytes,
        _limit: Duration,
    ) -> BoxFuture<'_, Result<Channel, PeerError>> {
        Box::pin(async move {
            let there = self.reach(to, service)?;
            let (to_there, from_here) = mpsc::channel(CHANNEL_MESSAGES);
            let (to_here, from_there) = mpsc::channel(CHANNEL_MESSAGES);
            let (me, cut) = (self.me, self.cut(to));
            tokio::spawn(async move {
                tokio::select! {
                    // As above. Asked second it would let through what is sent just after the cut, and its answer.
                    biased;
                    () = cut => {}
                    // How it ended shows at the other end.
                    _ = there.open(me, hello, channel(me, to_here, from_here)) => {}
                }
            });
            Ok(channel(to, to_there, from_there))
        })
    }

    fn presence(&self, of: NodeId, _limit: Duration) -> BoxFuture<'_, Presence> {
        let services = self.net.services.lock().expect("no panic happens under this lock");
        // Who is killed is cut off as well, from whom his last words would still come.
        let presence = match services.keys().any(|(node, _)| *node == of) {
            false => Presence::Gone,
            true if self.net.cuts.borrow().contains(&pair(self.me, of)) => Presence::Unknown,
            true => Presence::Here,
        };
        Box::pin(std::future::ready(presence))
    }

    fn belong(&self, cluster: u128) {
        let mut clusters = self.net.clusters.lock().expect("no panic happens under this lock");
        clusters.insert(self.me, cluster);
    }

    fn learn(&self, node: NodeId, address: Option<String>) {
        let mut known = self.known.lock().expect("no panic happens under this lock");
        match address {
            Some(address) => known.insert(node, address),
            None => known.remove(&node),
        };
    }
}

fn channel(peer: NodeId, sender: mpsc::Sender<Bytes>, receiver: mpsc::Receiver<Bytes>) -> Channel {
    Channel {
        sender: Box::new(MemorySender { peer, sender }),
        receiver: Box::new(MemoryReceiver { receiver }),
    }
}

struct MemorySender {
    peer: NodeId,
    sender: mpsc::Sender<Bytes>,
}

impl ChannelSender for MemorySender {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move { self.sender.send(message).await.map_err(|_| lost(self.peer)) })
    }
}

struct MemoryReceiver {
    receiver: mpsc::Receiver<Bytes>,
}

impl ChannelReceiver for MemoryReceiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move { Ok(self.receiver.recv().await) })
    }
}
