//! The serving end.

use super::wire::{self, Heard, Request, Subscribe};
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, ChannelSender, DecisionSource, DecisionStream, PeerService};
use bytes::Bytes;
use std::sync::Arc;

/// Lets replicas on other nodes follow this node's decision streams.
pub struct DecisionService {
    source: Arc<dyn DecisionSource>,
}

impl DecisionService {
    /// Serves the streams of this source.
    pub fn new(source: Arc<dyn DecisionSource>) -> Arc<DecisionService> {
        Arc::new(DecisionService { source })
    }

    async fn answer(&self, request: &Bytes) -> Result<Bytes, String> {
        match Request::decode(request).map_err(|error| error.to_string())? {
            Request::Standings { shard } => Ok(wire::answer_standings(&self.source.standings(shard).await)),
            Request::ReportDurable { shard, replica, durable } => {
                self.source.report_durable(shard, replica, durable);
                Ok(wire::answer_report())
            }
        }
    }

    async fn serve(&self, hello: &Bytes, channel: Channel) -> Result<(), String> {
        let Subscribe { shard, from } = Subscribe::decode(hello).map_err(|error| error.to_string())?;
        let Channel { mut sender, mut receiver } = channel;
        let stream = match self.source.subscribe(shard, from).await {
            Ok(stream) => stream,
            Err(error) => return send(&mut sender, Heard::Failed(error).encode()).await,
        };
        send(&mut sender, Heard::Subscribed.encode()).await?;
        tokio::select! {
            followed = follow(stream, &mut sender) => followed,
            // The subscriber has nothing to say but that it is gone; a quiet stream would not notice otherwise.
            _ = receiver.receive() => Ok(()),
        }
    }
}

/// Passes entries on for as long as there are any.
async fn follow(
    mut stream: Box<dyn DecisionStream>,
    sender: &mut Box<dyn ChannelSender>,
) -> Result<(), String> {
    loop {
        match stream.next().await {
            Ok(entries) => {
                for message in wire::encode_entries(&entries) {
                    send(sender, message).await?;
                }
            }
            Err(error) => return send(sender, Heard::Failed(error).encode()).await,
        }
    }
}

async fn send(sender: &mut Box<dyn ChannelSender>, message: Bytes) -> Result<(), String> {
    sender.send(message).await.map_err(|error| error.to_string())
}

impl PeerService for DecisionService {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.answer(&request).await })
    }

    fn open(&self, _from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.serve(&hello, channel).await })
    }
}
