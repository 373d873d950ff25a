//! The way to peers: Raft's requests over [`assize_ports::Peers`].
//!
//! ```text
//!   replication   one channel per target: appends are sent as they come, up to WINDOW ahead of their answers
//!   heartbeats    calls, never behind bulk
//!   votes, …      calls
//!   checkpoints   a channel each, in chunks; the receiver says first how much of it it has already
//! ```
//!
//! Whatever goes wrong on the way is *unreachable* to Raft. A target that cannot be reached costs [`PAUSE`], so that
//! a leader whose peer is down does not spin; a target that has taken a request and stays silent for
//! [`SILENCE_MAX`], and for as long as a slow link needs to carry it, has its channel broken, so that a half-open
//! connection wedges nobody.

use super::machine::Image;
use super::wire::{self, Hello, Offer, Request};
use super::{Types, Vote};
use crate::contacts::Contacts;
use assize_codec::DecodeError;
use assize_model::NodeId;
use assize_ports::{Channel, ChannelReceiver, ChannelSender, PeerError, Service};
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What it costs to find a target unreachable.
const PAUSE: Duration = Duration::from_millis(100);
/// Appends sent and not yet answered.
const WINDOW: usize = 64;
/// A target that owes an answer for so long is taken for dead…
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// … and not before a link that carries so many bytes a second has carried everything: an entry that is given up on its way is
/// sent again from its beginning, for ever.
const SLOW_BYTES_PER_SECOND: f64 = (1 << 20) as f64;

/// How long a slow link needs to carry so many bytes.
pub fn carried(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / SLOW_BYTES_PER_SECOND)
}

/// Opening a channel takes no longer than this.
const OPEN_MAX: Duration = Duration::from_secs(1);
/// A checkpoint travels in pieces of this size…
const CHUNK: usize = 1 << 20;
/// … each of which is taken within this time, and installed within this.
const CHECKPOINT_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Makes a client for each peer.
pub struct Network(pub Arc<Contacts>);

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Appends through a channel.
    Replication,
    /// Appends as calls.
    Heartbeats,
}

/// The way to one peer.
pub struct Client {
    contacts: Arc<Contacts>,
    target: NodeId,
    purpose: Purpose,
    /// The channel for appends, while it works. Never waited for: the lock makes it shareable, no more.
    channel: Mutex<Option<Channel>>,
}

impl Network {
    fn client(&self, target: u64, node: &openraft::BasicNode, purpose: Purpose) -> Client {
        self.0.introduce(NodeId(target), &node.addr);
        Client { contacts: self.0.clone(), target: NodeId(target), purpose, channel: Mutex::default() }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &openraft::BasicNode) -> Client {
        self.client(target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &openraft::BasicNode) -> Client {
        self.client(target, node, Purpose::Heartbeats)
    }
}

/// Why a peer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    #[error("its disk is empty and it is being told who it is")]
    Empty,
    #[error("it has taken a request and stays silent")]
    Silent,
    #[error("it has ended the channel")]
    Ended,
}

fn unreachable(failure: &Failure) -> Unreachable<Types> {
    Unreachable::new(&io::Error::other(failure.to_string()))
}

fn rpc_error(failure: Failure) -> RPCError<Types> {
    RPCError::Unreachable(unreachable(&failure))
}

impl Client {
    /// One request, one answer.
    async fn ask(&self, request: Request, limit: Duration) -> Result<Bytes, Failure> {
        let answer = self.contacts.call(self.target, request.encode(), limit).await?;
        match wire::open_answer(&answer)? {
            Some(body) => Ok(body),
            None => {
                self.tell_who_it_is(limit).await?;
                Err(Failure::Empty)
            }
        }
    }

    /// A node with an empty disk takes part in nothing until it knows that it has lost nothing by that.
    async fn tell_who_it_is(&self, limit: Duration) -> Result<(), PeerError> {
        let is_voter = self.contacts.voters().contains(&self.target);
        self.contacts.call(self.target, Request::YouAre { is_voter }.encode(), limit).await.map(|_| ())
    }

    async fn append_once(
        &self,
        request: AppendEntriesRequest<Types>,
        limit: Duration,
    ) -> Result<StreamAppendResult<Types>, Failure> {
        let answer = self.ask(Request::Append(request), limit).await?;
        Ok(wire::decode_appended(&answer)?)
    }

    fn home(&mut self) -> &mut Option<Channel> {
        self.channel.get_mut().expect("no panic happens under this lock")
    }

    async fn open_channel(&self) -> Result<Channel, Failure> {
        let Some(peers) = self.contacts.peers() else {
            return Err(PeerError::Unreachable { node: self.target, reason: "it has no peers".into() }.into());
        };
        Ok(peers.open(self.target, Service::Raft, Hello::Appends.encode(), OPEN_MAX).await?)
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.append_once(rpc, option.soft_ttl()).await.map_err(rpc_error)?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            if self.purpose == Purpose::Heartbeats {
                let client: &'s Client = self;
                let limit = option.soft_ttl();
                let answers = input.then(move |request| async move {
                    client.append_once(request, limit).await.map_err(rpc_error)
                });
                return Ok(answers.boxed());
            }
            let channel = match self.home().take() {
                Some(channel) => Ok(channel),
                None => self.open_channel().await,
            };
            match channel {
                Ok(channel) => {
                    let bytes = self.contacts.on_the_way(self.target);
                    Ok(Pipeline::new(input, channel, bytes, self.home()).answers())
                }
                Err(failure) => {
                    tokio::time::sleep(PAUSE).await;
                    Err(rpc_error(failure))
                }
            }
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.ask(Request::Vote(rpc), option.soft_ttl()).await.map_err(rpc_error)?;
        wire::decode_voted(&answer).map_err(|error| rpc_error(error.into()))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.ask(Request::PreVote(rpc), option.soft_ttl()).await.map_err(rpc_error)?;
        wire::decode_voted(&answer).map_err(|error| rpc_error(error.into()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Image>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let image = snapshot.snapshot;
        let last = snapshot.meta.last_log_id;
        let offer = Offer { vote, last, len: image.len() as u64, crc: crc32fast::hash(&image) };
        tokio::select! {
            sent = self.send_checkpoint(offer, image) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(failure) => {
                    tokio::time::sleep(PAUSE).await;
                    Err(StreamingError::Unreachable(unreachable(&failure)))
                }
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let from = *request.from_leader();
        let answer = self.ask(Request::Transfer(request), option.soft_ttl()).await.map_err(rpc_error)?;
        Ok(match answer.first() {
            Some(1) => Ok(()),
            // Why is in the target's own log.
            _ => Err(TransferLeaderError::VoteChanged { expected: from, actual: from }),
        })
    }
}

impl Client {
    /// Sends a checkpoint, or what the target lacks of it; answers the target's vote when it is installed there.
    async fn send_checkpoint(&self, offer: Offer, image: Image) -> Result<Vote, Failure> {
        let Some(peers) = self.contacts.peers() else { return Err(Failure::Ended) };
        let hello = Hello::Checkpoint(offer).encode();
        let mut channel = peers.open(self.target, Service::Raft, hello, OPEN_MAX).await?;
        let has = receive(&mut *channel.receiver).await?;
        let has = assize_codec::Reader::new(&has).u64()?.min(offer.len) as usize;
        tracing::info!(target = %self.target, bytes = offer.len, has, "sending a checkpoint");
        let image = Bytes::from_owner(Whole(image));
        let mut at = has;
        while at < image.len() {
            let end = (at + CHUNK).min(image.len());
            let sent = channel.sender.send(image.slice(at..end));
            tokio::time::timeout(CHECKPOINT_SILENCE_MAX, sent).await.map_err(|_| Failure::Silent)??;
            at = end;
        }
        let answer = receive(&mut *channel.receiver).await?;
        Ok(wire::read_vote(&mut assize_codec::Reader::new(&answer))?)
    }
}

/// A checkpoint whose bytes can be shared.
struct Whole(Image);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

async fn receive(receiver: &mut dyn ChannelReceiver) -> Result<Bytes, Failure> {
    let received = tokio::time::timeout(CHECKPOINT_SILENCE_MAX, receiver.receive()).await;
    received.map_err(|_| Failure::Silent)??.ok_or(Failure::Ended)
}

/// Appends on their way through a channel.
struct Pipeline<'s> {
    /// Sends what comes in; gives the sending half back when nothing more comes.
    pump: Pump,
    /// The sending half, once nothing more comes.
    pumped: Option<Box<dyn ChannelSender>>,
    receiver: Box<dyn ChannelReceiver>,
    in_flight: Arc<InFlight>,
    /// Where the channel goes when everything is answered: the next stream uses it again.
    home: &'s mut Option<Channel>,
}

type Pump = Pin<Box<dyn Future<Output = Result<Box<dyn ChannelSender>, Failure>> + Send>>;

/// Appends that were sent and are not yet answered.
struct InFlight {
    room: Semaphore,
    sent: Mutex<VecDeque<Sent>>,
    /// Their bytes, counted where others look.
    bytes: Arc<AtomicUsize>,
}

struct Sent {
    bytes: usize,
    /// When its answer is overdue.
    due: Instant,
}

impl InFlight {
    fn new(bytes: Arc<AtomicUsize>) -> InFlight {
        InFlight { room: Semaphore::new(WINDOW), sent: Mutex::default(), bytes }
    }

    fn sent(&self) -> MutexGuard<'_, VecDeque<Sent>> {
        self.sent.lock().expect("no panic happens under this lock")
    }

    /// When the target is taken for dead; `None` if it owes nothing.
    fn due(&self) -> Option<Instant> {
        self.sent().front().map(|sent| sent.due)
    }

    /// A message of so many bytes is sent behind those that are on their way.
    fn push(&self, bytes: usize) {
        let mut sent = self.sent();
        let ahead: usize = sent.iter().map(|sent| sent.bytes).sum();
        sent.push_back(Sent { bytes, due: Instant::now() + SILENCE_MAX + carried(ahead + bytes) });
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn pop(&self) {
        if let Some(answered) = self.sent().pop_front() {
            self.bytes.fetch_sub(answered.bytes, Ordering::Relaxed);
        }
        self.room.add_permits(1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let given_up: usize = self.sent().iter().map(|sent| sent.bytes).sum();
        self.bytes.fetch_sub(given_up, Ordering::Relaxed);
    }
}

impl<'s> Pipeline<'s> {
    fn new<S>(mut input: S, channel: Channel, bytes: Arc<AtomicUsize>, home: &'s mut Option<Channel>) -> Self
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let in_flight = Arc::new(InFlight::new(bytes));
        let Channel { mut sender, receiver } = channel;
        let pump = {
            let in_flight = in_flight.clone();
            Box::pin(async move {
                loop {
                    in_flight.room.acquire().await.expect("it is never closed").forget();
                    let Some(request) = input.next().await else { return Ok(sender) };
                    let parts = wire::encode_append(&request);
                    in_flight.push(parts.iter().map(Bytes::len).sum());
                    sender.send_parts(parts).await?;
                }
            })
        };
        Pipeline { pump, pumped: None, receiver, in_flight, home }
    }

    /// The answers, in the order of the requests. Ends after the first that is no success.
    fn answers(self) -> BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>> {
        let answers = futures_util::stream::unfold(Some(self), |pipeline| async move {
            let mut pipeline = pipeline?;
            match pipeline.next().await {
                Some(Ok(Ok(last))) => Some((Ok(Ok(last)), Some(pipeline))),
                // The follower has ended its half after such an answer; what follows it was in vain.
                Some(Ok(Err(refusal))) => Some((Ok(Err(refusal)), None)),
                Some(Err(failure)) => Some((Err(rpc_error(failure)), None)),
                None => {
                    if let Some(sender) = pipeline.pumped {
                        *pipeline.home = Some(Channel { sender, receiver: pipeline.receiver });
                    }
                    None
                }
            }
        });
        answers.boxed()
    }

    /// The next answer; `None` when everything that came in is answered.
    async fn next(
        &mut self,
    ) -> Option<Result<Result<Option<super::LogId>, StreamAppendError<Types>>, Failure>> {
        loop {
            let due = self.in_flight.due();
            if self.pumped.is_some() && due.is_none() {
                return None;
            }
            // What is sent while we wait is not due before this, and looked at in the next round.
            let silence = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + SILENCE_MAX));
            tokio::select! {
                answer = self.receiver.receive() => {
                    self.in_flight.pop();
                    return Some(match answer {
                        Ok(Some(bytes)) => wire::decode_appended(&bytes).map_err(Failure::from),
                        Ok(None) => Err(Failure::Ended),
                        Err(error) => Err(error.into()),
                    });
                }
                pumped = &mut self.pump, if self.pumped.is_none() => match pumped {
                    Ok(sender) => self.pumped = Some(sender),
                    Err(failure) => return Some(Err(failure)),
                },
                () = silence => {
                    if self.in_flight.due().is_some_and(|due| due <= Instant::now()) {
                        return Some(Err(Failure::Silent));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_until_a_slow_link_has_carried_what_it_is_about() {
        let bytes = Arc::new(AtomicUsize::new(0));
        let in_flight = InFlight::new(bytes.clone());
        assert_eq!(in_flight.due(), None, "nothing is owed");
        let begun = Instant::now();
        in_flight.push(32 << 20);
        in_flight.push(100);
        let is_due = |after: Duration| {
            let due = in_flight.due().unwrap();
            (begun + after..Instant::now() + after + Duration::from_secs(1)).contains(&due)
        };
        let carried = Duration::from_secs(32);
        assert!(is_due(SILENCE_MAX + carried));
        in_flight.pop();
        assert!(is_due(SILENCE_MAX + carried), "what was sent behind it had to wait for it");
        in_flight.pop();
        in_flight.push(100);
        assert!(is_due(SILENCE_MAX));
        assert_eq!(bytes.load(Ordering::Relaxed), 100);
        drop(in_flight);
        assert_eq!(bytes.load(Ordering::Relaxed), 0, "what is given up is on no way");
    }
}
