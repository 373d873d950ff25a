//! The calling end: the decision streams of one node's adjudicator.

use super::wire::{self, Heard, Request, Subscribe};
use assize_model::{NodeId, Position, ReplicaId, ShardId, StreamEntry};
use assize_ports::{
    BoxFuture, Channel, DecisionSource, DecisionStream, PeerError, Peers, Service, ShardStandings,
    StreamError,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// A call, or the beginning of a subscription, may take so long.
const CALL_MAX: Duration = Duration::from_secs(5);

/// The decision streams of one node's adjudicator, as another node follows them.
pub struct RemoteDecisions {
    peers: Arc<dyn Peers>,
    node: NodeId,
    runtime: Handle,
}

impl RemoteDecisions {
    /// The streams of a node.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn new(peers: Arc<dyn Peers>, node: NodeId) -> RemoteDecisions {
        RemoteDecisions { peers, node, runtime: Handle::current() }
    }

    async fn subscribe_to(
        &self,
        shard: ShardId,
        from: Position,
    ) -> Result<Box<dyn DecisionStream>, StreamError> {
        let hello = Subscribe { shard, from }.encode();
        let channel =
            self.peers.open(self.node, Service::Decisions, hello, CALL_MAX).await.map_err(unreachable)?;
        let mut stream = RemoteStream { node: self.node, channel };
        match stream.hear().await? {
            Heard::Subscribed => Ok(Box::new(stream)),
            other => Err(stream.out_of_place(&other)),
        }
    }

    async fn ask_standings(&self, shard: ShardId) -> Result<ShardStandings, StreamError> {
        let request = Request::Standings { shard }.encode();
        let answer = self.peers.call(self.node, Service::Decisions, request, CALL_MAX).await;
        let answer = answer.map_err(unreachable)?;
        wire::read_standings(&answer).unwrap_or_else(|error| {
            Err(StreamError::Unreachable(format!("the answer of {} cannot be read: {error}", self.node)))
        })
    }
}

fn unreachable(error: PeerError) -> StreamError {
    StreamError::Unreachable(error.to_string())
}

impl DecisionSource for RemoteDecisions {
    fn subscribe(
        &self,
        shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>> {
        Box::pin(self.subscribe_to(shard, from))
    }

    fn standings(&self, shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>> {
        Box::pin(self.ask_standings(shard))
    }

    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position) {
        let request = Request::ReportDurable { shard, replica, durable }.encode();
        let (peers, node) = (self.peers.clone(), self.node);
        // The next report repeats a lost one.
        self.runtime.spawn(async move { peers.call(node, Service::Decisions, request, CALL_MAX).await });
    }
}

struct RemoteStream {
    node: NodeId,
    channel: Channel,
}

impl RemoteStream {
    async fn hear(&mut self) -> Result<Heard, StreamError> {
        let message = self.channel.receiver.receive().await.map_err(unreachable)?;
        let Some(message) = message else {
            return Err(StreamError::Unreachable(format!("{} has ended the stream", self.node)));
        };
        match Heard::decode(&message) {
            Ok(Heard::Failed(error)) => Err(error),
            Ok(heard) => Ok(heard),
            Err(error) => {
                Err(StreamError::Unreachable(format!("the stream of {} cannot be read: {error}", self.node)))
            }
        }
    }

    fn out_of_place(&self, heard: &Heard) -> StreamError {
        let what = match heard {
            Heard::Subscribed => "a beginning",
            Heard::Entries(_) => "entries",
            Heard::Failed(_) => "an error",
        };
        StreamError::Unreachable(format!("{} sent {what} out of place", self.node))
    }
}

impl DecisionStream for RemoteStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>> {
        Box::pin(async move {
            match self.hear().await? {
                Heard::Entries(entries) => Ok(entries),
                other => Err(self.out_of_place(&other)),
            }
        })
    }
}
