//! The calling end: one node's adjudicator, which may or may not lead.

use super::commits::{Commits, FRAME_BYTES_MAX, FRAME_COMMITS_MAX};
use super::lane::Lane;
use super::newest::NewestSnapshot;
use super::reservations::{self, Reservations};
use super::wire::{self, Request};
use crate::frame::PAYLOAD_MAX;
use assize_adjudicator::{EncodedFootprint, flat, footprints_of};
use assize_codec::{DecodeError, Reader};
use assize_model::{
    CatalogVersion, Decision, FOOTPRINT_BYTES_MAX, Footprint, FrontendEpoch, FrontendId, KeyHash, NodeId,
    Outcome, Placement, TableId, Timestamp, TxnId, Winner,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, BoxFuture, CatalogObjects, Footprints, FrameDecisions,
    IdRange, LockStrength, LockWait, NodeRecord, Obstacle, PeerError, Peers, Registered, Reserved, Service,
    TxnRun,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// A call may take so long. What it asked may happen all the same.
const CALL_MAX: Duration = Duration::from_secs(10);
// A frame can hold it, in the wide form, too.
const _: () = assert!(2 * FOOTPRINT_BYTES_MAX + (1 << 20) <= PAYLOAD_MAX);

/// One node's adjudicator, as another node uses it. Whether it leads is its own answer: see [`crate::Router`] for the one
/// that finds the leader.
pub struct RemoteAdjudicator {
    link: Arc<Link>,
    commits: Lane<Commits>,
    reservations: Lane<Reservations>,
    runtime: Handle,
}

/// What calls need: shared with those that nobody waits for.
struct Link {
    peers: Arc<dyn Peers>,
    node: NodeId,
    newest: NewestSnapshot,
}

impl RemoteAdjudicator {
    /// The adjudicator of a node.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn new(peers: Arc<dyn Peers>, node: NodeId) -> RemoteAdjudicator {
        RemoteAdjudicator {
            commits: Lane::new(peers.clone(), node, Commits::default()),
            reservations: Lane::new(peers.clone(), node, Reservations::default()),
            link: Arc::new(Link { peers, node, newest: NewestSnapshot::default() }),
            runtime: Handle::current(),
        }
    }

    async fn commit_one(&self, footprint: Footprint) -> Result<Decision, AdjudicatorError> {
        let footprint = EncodedFootprint::new(&footprint).map_err(|error| {
            AdjudicatorError::TooLarge(format!("the footprint cannot be encoded: {error}"))
        })?;
        check_length(footprint.bytes())?;
        let decided = self.commits.say(|commits| commits.commit(footprint.bytes().clone()));
        decided.await.unwrap_or(Err(AdjudicatorError::ReplyLost))
    }

    async fn commit_all(&self, footprints: Footprints) -> FrameDecisions {
        let count = footprints.count;
        if count <= FRAME_COMMITS_MAX && footprints.bytes.len() <= FRAME_BYTES_MAX {
            // Nearly always.
            let decided = self.commits.say(|commits| commits.commit_many(footprints));
            let lost = || FrameDecisions::all(count, Err(AdjudicatorError::ReplyLost));
            return decided.await.unwrap_or_else(|_| lost());
        }
        let mut decisions = FrameDecisions::default();
        let waiting: Vec<_> = self.commits.say(|commits| {
            let send = |frame: Footprints| {
                let fits = if frame.count == 1 { check_length(&frame.bytes) } else { Ok(()) };
                (frame.count, fits.map(|()| commits.commit_many(frame)))
            };
            frames_of(&footprints).into_iter().map(send).collect()
        });
        for (count, frame) in waiting {
            let failed = |error| FrameDecisions::all(count, Err(error));
            decisions.extend(match frame {
                Ok(decided) => decided.await.unwrap_or_else(|_| failed(AdjudicatorError::ReplyLost)),
                Err(error) => failed(error),
            });
        }
        // What cannot be told apart was not sent.
        let unread = "a footprint cannot be read".to_owned();
        let rest = count - decisions.len();
        decisions.extend(FrameDecisions::all(rest, Err(AdjudicatorError::Overloaded(unread))));
        decisions
    }
}

/// Footprints in frames that [`Commits::commit_many`] takes; one that is longer than a frame has one to itself.
fn frames_of(footprints: &Footprints) -> Vec<Footprints> {
    let mut frames: Vec<Footprints> = Vec::new();
    let mut at = 0;
    for view in footprints_of(&footprints.bytes).map_while(Result::ok).take(footprints.count as usize) {
        let end = at + view.len();
        match frames.last_mut() {
            Some(frame)
                if frame.bytes.len() + view.len() <= FRAME_BYTES_MAX && frame.count < FRAME_COMMITS_MAX =>
            {
                frame.bytes = footprints.bytes.slice(at - frame.bytes.len()..end);
                frame.count += 1;
            }
            _ => frames.push(Footprints::one(footprints.bytes.slice(at..end))),
        }
        at = end;
    }
    frames
}

fn check_length(footprint: &Bytes) -> Result<(), AdjudicatorError> {
    match footprint.len() {
        0..=FOOTPRINT_BYTES_MAX => Ok(()),
        length => Err(AdjudicatorError::TooLarge(format!(
            "a footprint of {length} bytes, and there may be {FOOTPRINT_BYTES_MAX}"
        ))),
    }
}

impl Link {
    async fn ask<T>(
        &self,
        request: Request,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, AdjudicatorError> {
        let answer = self.peers.call(self.node, Service::Adjudicator, request.encode(), CALL_MAX).await;
        let answer = answer.map_err(|error| match error {
            PeerError::ReplyLost { .. } => AdjudicatorError::ReplyLost,
            // A refusal comes before anything is proposed.
            PeerError::Unreachable { .. } | PeerError::Refused { .. } => {
                AdjudicatorError::Unreachable(error.to_string())
            }
        })?;
        // It may have had its effect; what it was cannot be read.
        wire::read_answer(&answer, read).unwrap_or(Err(AdjudicatorError::ReplyLost))
    }

    async fn begin(&self) -> Result<Begun, AdjudicatorError> {
        let begun = self.ask(Request::Begin, wire::read_begun).await?;
        self.newest.observe(&begun);
        Ok(begun)
    }
}

impl AdjudicatorClient for RemoteAdjudicator {
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        let request = Request::Register { name: name.into(), nonce };
        Box::pin(self.link.ask(request, wire::read_registered))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        Box::pin(self.link.begin())
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(self.commit_one(footprint))
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        Box::pin(self.commit_all(footprints))
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::Outcome { txn, resolve }, wire::read_outcome))
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        self.commits.say(|commits| commits.acknowledge(&txns));
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        let reported = oldest.or(self.link.newest.get());
        if reported.is_some() {
            self.commits.say(|commits| commits.report_oldest(frontend, epoch, reported));
        }
        if oldest.is_none() {
            // So that an idle frontend does not hold the low-water mark where it last began something.
            let link = self.link.clone();
            self.runtime.spawn(async move { link.begin().await });
        }
    }

    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        let request = Request::FrontendEpoch { frontend };
        Box::pin(self.link.ask(request, |reader| reader.u32().map(FrontendEpoch)))
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::Placement, |reader| flat::read_placement(reader).map(Arc::new)))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::Nodes, wire::read_nodes))
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::Catalog { since, at_least }, wire::read_catalog))
    }

    fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        let request = Request::AllocateIds { table, count, at_least, increment, offset };
        Box::pin(self.link.ask(request, wire::read_id_range))
    }

    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::NextId { table }, |reader| reader.u64()))
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        Box::pin(self.link.ask(Request::TrackRanges { table }, |_| Ok(())))
    }

    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        Box::pin(async move {
            let reserved = reservations::reserve(&self.reservations, owner, keys, strength, wait).await;
            if let Ok(Reserved::Granted { begun, .. }) = &reserved {
                self.link.newest.observe(begun);
            }
            reserved
        })
    }

    fn release(&self, owner: TxnId) {
        reservations::release(&self.reservations, owner);
    }

    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        Box::pin(self.link.ask(Request::Who(obstacle), wire::read_winner))
    }
}
