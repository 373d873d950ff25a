//! The serving end.

use super::wire::Purpose;
use super::{calls, commits, reservations};
use assize_model::NodeId;
use assize_ports::{AdjudicatorClient, BoxFuture, Channel, PeerService};
use bytes::Bytes;
use std::sync::Arc;

/// Lets other nodes use this node's adjudicator.
pub struct AdjudicatorService {
    client: Arc<dyn AdjudicatorClient>,
}

impl AdjudicatorService {
    /// Serves this adjudicator, which answers for itself whether it leads.
    pub fn new(client: Arc<dyn AdjudicatorClient>) -> Arc<AdjudicatorService> {
        Arc::new(AdjudicatorService { client })
    }
}

impl PeerService for AdjudicatorService {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { calls::answer(&*self.client, &request).await })
    }

    fn open(&self, _from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            match Purpose::decode(&hello).map_err(|error| error.to_string())? {
                Purpose::Commits => commits::serve(&*self.client, channel).await,
                Purpose::Reservations => reservations::serve(&self.client, channel).await,
            }
        })
    }
}
