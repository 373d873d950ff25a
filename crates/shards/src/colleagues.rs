//! Calls to the hosts of other nodes, and to this one's own.

use crate::embedded::ShardHost;
use crate::service::SiblingService;
use crate::wire::{Request, Response};
use assize_model::{LogIndex, NodeId, PlacementCommand};
use assize_ports::{
    AdjudicatorError, BoxFuture, PeerError, PeerService, Peers, PlacementError, Service, ShardAdministration,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a node may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The hosts of all nodes, this one's own included.
#[derive(Clone)]
pub struct Colleagues {
    node: NodeId,
    peers: Option<Arc<dyn Peers>>,
    own: Arc<SiblingService>,
}

impl Colleagues {
    /// As seen from a node: `own` answers what is asked of the node itself.
    pub fn new(node: NodeId, peers: Option<Arc<dyn Peers>>, own: Option<ShardHost>) -> Self {
        Colleagues { node, peers, own: Arc::new(SiblingService::new(own, None)) }
    }

    /// The node itself.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks a node's host.
    pub async fn ask(&self, node: NodeId, request: &Request) -> Result<Response, PeerError> {
        let refused = |reason: String| PeerError::Refused { node, reason };
        let answer = if node == self.node {
            self.own.call(node, request.encode()).await.map_err(refused)?
        } else {
            match &self.peers {
                Some(peers) => peers.call(node, Service::Sibling, request.encode(), ANSWER_MAX).await?,
                None => return Err(PeerError::Unreachable { node, reason: "there are no peers".into() }),
            }
        };
        match Response::decode(&answer).map_err(|error| refused(error.to_string()))? {
            Response::Failed(reason) => Err(refused(reason)),
            response => Ok(response),
        }
    }
}

/// [`ShardAdministration`] from any node: finds whoever leads the adjudicator's group.
pub struct LeaderAdministration {
    node: NodeId,
    own: Option<Arc<dyn ShardAdministration>>,
    peers: Option<Arc<dyn Peers>>,
    voters: Box<dyn Fn() -> Vec<NodeId> + Send + Sync>,
    last: Mutex<Option<NodeId>>,
}

impl LeaderAdministration {
    /// From a node with this part of its own in the group, if it has any. `voters` tells who may lead.
    pub fn new(
        node: NodeId,
        own: Option<Arc<dyn ShardAdministration>>,
        peers: Option<Arc<dyn Peers>>,
        voters: impl Fn() -> Vec<NodeId> + Send + Sync + 'static,
    ) -> Self {
        LeaderAdministration { node, own, peers, voters: Box::new(voters), last: Mutex::new(None) }
    }

    async fn ask(&self, node: NodeId, command: &PlacementCommand) -> Result<LogIndex, PlacementError> {
        if node == self.node {
            return match &self.own {
                Some(own) => own.administer(command.clone()).await,
                None => Err(AdjudicatorError::NotLeader { leader: None }.into()),
            };
        }
        let unreachable = |error: String| PlacementError::from(AdjudicatorError::Unreachable(error));
        let Some(peers) = &self.peers else { return Err(unreachable("there are no peers".into())) };
        let request = Request::Administer(command.clone()).encode();
        let answer = match peers.call(node, Service::Sibling, request, ANSWER_MAX).await {
            Ok(answer) => answer,
            Err(PeerError::ReplyLost { .. }) => return Err(AdjudicatorError::ReplyLost.into()),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        match Response::decode(&answer) {
            Ok(Response::Administered(index)) => Ok(index),
            Ok(Response::NotAdministered(error)) => Err(error),
            Ok(Response::Failed(why)) => Err(unreachable(why)),
            Ok(other) => Err(unreachable(format!("{node} answers {other:?}"))),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// Who is to be asked, whoever led last first.
    fn candidates(&self) -> Vec<NodeId> {
        let mut nodes = (self.voters)();
        if let Some(last) = *self.last.lock().expect("no panic happens under this lock") {
            nodes.retain(|node| *node != last);
            nodes.insert(0, last);
        }
        nodes
    }
}

impl ShardAdministration for LeaderAdministration {
    fn administer(&self, command: PlacementCommand) -> BoxFuture<'_, Result<LogIndex, PlacementError>> {
        Box::pin(async move {
            let mut candidates = self.candidates();
            let mut asked = Vec::new();
            let mut failure = AdjudicatorError::NotLeader { leader: None }.into();
            while let Some(node) = candidates.first().copied() {
                candidates.remove(0);
                asked.push(node);
                match self.ask(node, &command).await {
                    Err(PlacementError::Adjudicator(AdjudicatorError::NotLeader { leader })) => {
                        if let Some(leader) = leader.filter(|leader| !asked.contains(leader)) {
                            candidates.retain(|node| *node != leader);
                            candidates.insert(0, leader);
                        }
                    }
                    Err(error @ PlacementError::Adjudicator(AdjudicatorError::Unreachable(_))) => {
                        failure = error;
                    }
                    answered => {
                        *self.last.lock().expect("no panic happens under this lock") = Some(node);
                        return answered;
                    }
                }
            }
            Err(failure)
        })
    }
}
