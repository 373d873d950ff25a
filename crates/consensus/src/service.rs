//! The serving half of the group: what other nodes ask of this one.

use crate::founding::{Admission, Standing, admit};
use crate::heard::Heard;
use crate::incoming::Incoming;
use crate::leader::Event;
use crate::node::{Node, Raft, Shared};
use crate::raft::wire::{self, Hello, Offer, Request};
use crate::raft::{Types, checkpoint_meta};
use crate::state::too_old;
use assize_adjudicator::Command;
use assize_codec::Put;
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, PeerService};
use bytes::Bytes;
use futures_util::StreamExt;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// A sender that has announced a checkpoint and stays silent for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A checkpoint larger than this is not taken from anybody.
const CHECKPOINT_MAX: u64 = 8 << 30;

/// The serving half. Does not keep its node alive.
pub struct RaftService {
    node: Weak<Node>,
    shared: Weak<Shared>,
}

impl RaftService {
    /// Serves this node.
    pub fn new(node: &Arc<Node>, shared: &Arc<Shared>) -> Arc<RaftService> {
        Arc::new(RaftService { node: Arc::downgrade(node), shared: Arc::downgrade(shared) })
    }

    fn node(&self) -> Result<Arc<Node>, String> {
        self.node.upgrade().ok_or_else(|| "the adjudicator has stopped here".to_owned())
    }

    async fn answer(&self, from: NodeId, request: Bytes) -> Result<Bytes, String> {
        let node = self.node()?;
        let request = Request::decode(&request).map_err(|error| error.to_string())?;
        match request {
            Request::WhoAmI => return Ok(wire::served(&node.standing_for(from).encode())),
            Request::YouAre { is_voter } => {
                told_who_it_is(&node, from, is_voter);
                return Ok(wire::served(&[]));
            }
            Request::StateHash(index) => {
                return Ok(wire::served(&node.hashes.answer(index).encode()));
            }
            Request::Enter(command) => {
                let command = Command::decode(&command).map_err(|error| error.to_string())?;
                return self.enter(command).await.map(|()| wire::served(&[]));
            }
            Request::Append(_) | Request::Vote(_) | Request::PreVote(_) | Request::Transfer(_) => {}
        }
        if *node.admission.borrow() != Admission::Admitted {
            return Ok(wire::empty());
        }
        let raft = &node.raft;
        match request {
            Request::Append(request) => {
                let (prev, last) = ends_of(&request);
                let response = raft.append_entries(request).await.map_err(|error| error.to_string())?;
                let appended = wire::appended(prev, last, response);
                note_leader(&node.heard, &appended);
                Ok(wire::served(&wire::encode_appended(&appended)))
            }
            Request::Vote(request) => {
                let voted = raft.vote(request).await.map_err(|error| error.to_string())?;
                Ok(wire::served(&wire::encode_voted(&voted)))
            }
            Request::PreVote(request) => {
                let voted = raft.pre_vote(request).await.map_err(|error| error.to_string())?;
                Ok(wire::served(&wire::encode_voted(&voted)))
            }
            Request::Transfer(request) => {
                let taken = raft.handle_transfer_leader(request).await.map_err(|error| error.to_string())?;
                if let Err(why) = &taken {
                    tracing::info!(%from, %why, "the lead was offered and not taken");
                }
                Ok(wire::served(&[u8::from(taken.is_ok())]))
            }
            Request::WhoAmI | Request::YouAre { .. } | Request::StateHash(_) | Request::Enter(_) => {
                unreachable!("answered above")
            }
        }
    }

    /// Takes what another node wants in the log about itself, if this node leads.
    async fn enter(&self, command: Command) -> Result<(), String> {
        let shared = self.shared.upgrade().ok_or("the adjudicator has stopped here")?;
        let events = shared.leading().await.map_err(|error| error.to_string())?;
        match command {
            Command::SetNode { ref entry, .. } => {
                let version = self.node()?.read().core.cluster_version();
                if let Some(entry) = entry.as_ref().filter(|entry| entry.cluster_version < version) {
                    return Err(too_old(version, entry.cluster_version));
                }
                shared.room_for_little().map_err(|error| error.to_string())?;
                let (reply, answer) = oneshot::channel();
                events.send(Event::Propose(command, reply)).await.map_err(|error| error.to_string())?;
                let answer = answer.await.map_err(|error| error.to_string())?;
                answer.map(|_| ()).map_err(|error| error.to_string())
            }
            Command::ReportDurable { reports } => {
                for report in reports {
                    let event = Event::Durable(report.shard, report.replica, report.durable);
                    events.send(event).await.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            _ => Err("another node has no such entry made".into()),
        }
    }

    async fn serve(&self, from: NodeId, hello: Bytes, channel: Channel) -> Result<(), String> {
        let node = self.node()?;
        let hello = Hello::decode(&hello).map_err(|error| error.to_string())?;
        if *node.admission.borrow() != Admission::Admitted {
            return Err("its disk is empty and it is being told who it is".into());
        }
        match hello {
            Hello::Appends => {
                let (raft, heard) = (node.raft.clone(), node.heard.clone());
                drop(node);
                serve_appends(raft, &heard, channel).await
            }
            Hello::Checkpoint(offer) => take_checkpoint(&node, from, offer, channel).await,
        }
    }
}

impl PeerService for RaftService {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(self.answer(from, request))
    }

    fn open(&self, from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.serve(from, hello, channel))
    }
}

fn ends_of(
    request: &AppendEntriesRequest<Types>,
) -> (Option<crate::raft::LogId>, Option<crate::raft::LogId>) {
    let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
    (request.prev_log_id, last)
}

/// A member says what this node is in its cluster.
fn told_who_it_is(node: &Node, from: NodeId, is_voter: bool) {
    if *node.admission.borrow() != Admission::Unknown {
        return;
    }
    if is_voter {
        node.admission.send_replace(Admission::Lost);
    } else {
        tracing::info!(%from, "taken into a cluster");
        admit(&node.admission);
    }
}

/// Who was not refused for a newer term is the leader that this node follows.
fn note_leader(heard: &Heard, appended: &StreamAppendResult<Types>) {
    if !matches!(appended, Err(StreamAppendError::HigherVote(_))) {
        heard.note();
    }
}

/// Appends as they come, answers as they are flushed.
async fn serve_appends(raft: Raft, heard: &Heard, channel: Channel) -> Result<(), String> {
    let Channel { mut sender, receiver } = channel;
    let requests = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.receive().await.ok()??;
        match wire::decode_append(&bytes) {
            Ok(request) => Some((request, receiver)),
            Err(error) => {
                tracing::error!(%error, "an append cannot be read");
                None
            }
        }
    });
    let mut answers = std::pin::pin!(raft.stream_append(requests.boxed()));
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|fatal| fatal.to_string())?;
        note_leader(heard, &answer);
        sender.send(wire::encode_appended(&answer)).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Takes a checkpoint, or what is missing of it, and installs it.
async fn take_checkpoint(
    node: &Arc<Node>,
    from: NodeId,
    offer: Offer,
    mut channel: Channel,
) -> Result<(), String> {
    if offer.len > CHECKPOINT_MAX {
        return Err(format!("a checkpoint of {} bytes is too large", offer.len));
    }
    // Whoever comes second waits: two channels must not write into one buffer.
    let mut incoming = node.incoming.lock().await;
    let partial = match incoming.take().filter(|partial| partial.is(&offer)) {
        Some(partial) => partial,
        None => {
            let fs = node.fs.clone();
            on_disk(move || Incoming::find(&*fs, &offer)).await?
        }
    };
    let received = receive_checkpoint(node, &offer, partial, &mut channel).await;
    let bytes = match received {
        Ok(whole) => whole.into_bytes(),
        Err((cut_off, why)) => {
            *incoming = cut_off;
            return Err(why);
        }
    };
    drop(incoming);
    node.heard.note();
    if crc32fast::hash(&bytes) != offer.crc {
        forget_incoming(node).await?;
        return Err("the checkpoint has arrived damaged".into());
    }
    tracing::info!(%from, bytes = offer.len, "installing a checkpoint");
    let meta = checkpoint_meta(&bytes).map_err(|error| error.to_string())?;
    let snapshot = openraft::storage::Snapshot { meta, snapshot: Arc::new(bytes) };
    let installed = node.raft.install_full_snapshot(offer.vote, snapshot).await;
    let response = installed.map_err(|fatal| fatal.to_string())?;
    forget_incoming(node).await?;
    let mut answer = Vec::new();
    wire::put_vote(&mut answer, &response.vote);
    channel.sender.send(answer.into()).await.map_err(|error| error.to_string())
}

/// Takes in what is missing of a checkpoint. An error says why that ended, and hands back what can be gone on with.
async fn receive_checkpoint(
    node: &Node,
    offer: &Offer,
    mut partial: Incoming,
    channel: &mut Channel,
) -> Result<Incoming, (Option<Incoming>, String)> {
    let mut has = Vec::new();
    has.put_u64(partial.has());
    if let Err(error) = channel.sender.send(has.into()).await {
        return Err((Some(partial), error.to_string()));
    }
    while partial.has() < offer.len {
        let received = tokio::time::timeout(SILENCE_MAX, channel.receiver.receive()).await;
        match received.unwrap_or(Ok(None)) {
            Ok(Some(chunk)) if partial.has() + chunk.len() as u64 <= offer.len => partial.push(&chunk),
            Ok(Some(_)) => return Err((None, "the checkpoint is longer than announced".into())),
            Ok(None) | Err(_) => return Err((Some(partial), "the checkpoint was cut off".into())),
        }
        if partial.unkept() >= node.keep_incoming_every {
            let fs = node.fs.clone();
            let keeping = on_disk(move || {
                partial.keep(&*fs);
                partial
            });
            partial = keeping.await.map_err(|why| (None, why))?;
        }
    }
    Ok(partial)
}

async fn forget_incoming(node: &Node) -> Result<(), String> {
    let fs = node.fs.clone();
    on_disk(move || crate::incoming::forget(&*fs)).await
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

impl Node {
    /// What this node says to one that asks what it is.
    fn standing_for(&self, other: NodeId) -> Standing {
        let voters = self.contacts.voters();
        if *self.admission.borrow() != Admission::Admitted {
            return Standing::Empty;
        }
        if voters.is_empty() {
            return Standing::Ready;
        }
        Standing::Member { you_vote: voters.contains(&other) }
    }
}
