//! The serving end of what nodes ask each other on an operator's behalf.

use super::local::Local;
use super::words::{self, Question};
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, PeerService};
use bytes::Bytes;
use std::sync::Arc;

/// Serves [`assize_ports::Service::Operator`].
pub struct OperatorService {
    local: Arc<Local>,
}

impl OperatorService {
    /// Answers for a node.
    pub fn new(local: Arc<Local>) -> Arc<OperatorService> {
        Arc::new(OperatorService { local })
    }
}

impl PeerService for OperatorService {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let question: Question = words::decode(&request)?;
            Ok(words::encode(&self.local.answer(&question).await))
        })
    }

    fn open(&self, _from: NodeId, _hello: Bytes, _channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Err("there are no channels for operators".to_owned())))
    }
}
