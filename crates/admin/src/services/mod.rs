//! The six services: one file each, one method an RPC. Reads ask the cluster and convert; mutations go through the
//! gate.

mod cluster;
mod config;
mod mutations;
mod schema;
mod sessions;
mod shards;
mod transactions;

use crate::auth::{Identity, Role};
use crate::error::{Reason, reason_of};
use crate::gate::{Gate, Mutation};
use crate::pb;
use assize_ports::{BoxFuture, ClusterError, ClusterView, NodeReport, ReportParts};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// How long the cluster may take to answer a question.
const READ_LIMIT: Duration = Duration::from_secs(15);
/// What a list holds if the caller names no limit, and at most.
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 1000;

/// What all services share; each of them is a clone of this.
#[derive(Clone)]
pub(crate) struct Services {
    /// What they are about.
    pub view: Arc<dyn ClusterView>,
    /// How they change it.
    pub gate: Arc<Gate>,
    /// Becomes true when the node stops: streams end then.
    pub stopping: watch::Receiver<bool>,
}

impl Services {
    /// Refuses callers who may not look.
    fn admit<T>(&self, request: &Request<T>, rpc: &str) -> Result<(), Status> {
        Identity::of(request).caller()?.require(Role::Viewer, rpc)
    }

    /// Asks the cluster, for a bounded time.
    pub async fn ask<T>(&self, answer: BoxFuture<'_, Result<T, ClusterError>>) -> Result<T, Status> {
        let node = || [("node", self.view.node().0.to_string())];
        match tokio::time::timeout(READ_LIMIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(reason_of(&error).status(error.to_string(), &node())),
            Err(_) => {
                let text = format!("no answer from the cluster in {} s", READ_LIMIT.as_secs());
                Err(Reason::Unavailable.status(text, &node()))
            }
        }
    }

    async fn report(&self, parts: ReportParts) -> Result<NodeReport, Status> {
        self.ask(self.view.report(parts)).await
    }

    async fn mutate<M: Mutation>(&self, request: Request<M>) -> Result<Response<pb::Done>, Status> {
        self.gate.mutate(request).await
    }
}

/// The first of a list, as messages.
fn listed<T, M: From<T>>(items: Vec<T>, limit: u32) -> Vec<M> {
    let limit = if limit == 0 { LIST_DEFAULT } else { limit.min(LIST_MAX) };
    items.into_iter().take(limit as usize).map(M::from).collect()
}

/// How many there are.
fn total<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
