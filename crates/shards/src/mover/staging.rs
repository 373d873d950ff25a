//! Having slots staged by the replicas that are about to get them, so that the entry which gives them holds nobody up.

use super::{
    Beginnings, CLOSE_BEHIND, LOOK_CLOSELY_EVERY, LOOK_EVERY, MoveError, Mover, Progress, not_understood,
};
use crate::wire::{Phase, Request, Response};
use assize_model::{NodeId, ShardId, Timestamp};
use assize_mvcc::Slots;
use assize_ports::PeerError;
use assize_replica::Staging;
use futures_util::future::try_join_all;
use std::time::Instant;

impl Mover {
    /// Has the replicas of a shard stage slots of another one, up to its last commits. If one of these nodes is of a release
    /// that does not know how, nothing is staged: then each copies the slots when they come, and readers wait for that.
    pub(super) async fn stage(
        &self,
        from: ShardId,
        into: ShardId,
        nodes: &[NodeId],
        slots: Slots,
        progress: &dyn Progress,
    ) -> Result<(), MoveError> {
        if slots.is_empty() {
            return Ok(());
        }
        progress.step("copying the slots beside what they come to");
        let request = Request::Stage { shard: into, giver: from, slots };
        match self.staged(into, nodes, &request).await {
            Err(MoveError::Peer(PeerError::Refused { node, reason })) => {
                tracing::warn!(%into, %node, reason, "slots are copied when they come");
                return Ok(());
            }
            staged => staged?,
        }
        progress.step("making the copies durable");
        try_join_all(nodes.iter().map(|node| self.flushed(into, *node))).await?;
        progress.step("following what is still written to the slots");
        self.staged(into, nodes, &request).await
    }

    /// Waits until all of these have staged what a request says, and are close behind the adjudicator with it.
    async fn staged(&self, into: ShardId, nodes: &[NodeId], request: &Request) -> Result<(), MoveError> {
        let mut watched: Vec<Watched> = nodes.iter().map(|node| Watched::new(*node)).collect();
        loop {
            let mut are_close = true;
            // Each is asked every time: what nobody asks for is dropped.
            for watched in &mut watched {
                let staging = self.ask_to_stage(watched.node, request).await?;
                are_close &= staging.is_some_and(|staging| staging.position.is_some());
                if !watched.gets_anywhere(staging, self.patience) {
                    let phase = Some(Phase::Copying { bytes: staging.unwrap_or_default().progress });
                    return Err(MoveError::Stuck { shard: into, node: watched.node, phase });
                }
            }
            if are_close && self.are_close(nodes, request).await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether what is staged reaches a snapshot of now within a moment, everywhere.
    async fn are_close(&self, nodes: &[NodeId], request: &Request) -> Result<bool, MoveError> {
        let now = self.adjudicator.begin().await?.snapshot_ts;
        let since = Instant::now();
        for node in nodes {
            while self.staged_up_to(*node, request).await?.is_none_or(|closed_ts| closed_ts < now) {
                if since.elapsed() > CLOSE_BEHIND {
                    return Ok(false);
                }
                tokio::time::sleep(LOOK_CLOSELY_EVERY).await;
            }
        }
        Ok(true)
    }

    async fn staged_up_to(&self, node: NodeId, request: &Request) -> Result<Option<Timestamp>, MoveError> {
        let staging = self.ask_to_stage(node, request).await?;
        Ok(staging.and_then(|staging| staging.position).map(|position| position.closed_ts))
    }

    async fn ask_to_stage(&self, node: NodeId, request: &Request) -> Result<Option<Staging>, MoveError> {
        match self.colleagues.ask(node, request).await? {
            Response::Staging(staging) => Ok(staging),
            _ => Err(not_understood(node)),
        }
    }
}

/// A node that is being waited for.
struct Watched {
    node: NodeId,
    seen: Option<Staging>,
    since: Instant,
    beginnings: Beginnings,
}

impl Watched {
    fn new(node: NodeId) -> Self {
        Watched { node, seen: None, since: Instant::now(), beginnings: Beginnings::default() }
    }

    /// Whether it is any further than before, or still may be.
    fn gets_anywhere(&mut self, staging: Option<Staging>, patience: std::time::Duration) -> bool {
        self.beginnings.note(staging.map_or(0, |staging| staging.progress));
        if staging != self.seen {
            (self.seen, self.since) = (staging, Instant::now());
        }
        self.since.elapsed() <= patience && !self.beginnings.are_too_many()
    }
}
