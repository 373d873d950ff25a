//! How nodes of one cluster talk: calls, and channels of messages, both of bytes.
//!
//! Who sends what is a matter of the two ends: `consensus` speaks Raft over this, `rpc` the ports of this crate,
//! `shards` the language of siblings. Who carries the bytes (`rpc`: frames over TLS; tests: memory) decides nothing.

use crate::BoxFuture;
use assize_model::NodeId;
use bytes::Bytes;
use std::time::Duration;

/// What is spoken to. Each service has connections of its own, so that none waits behind another's bulk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Service {
    /// Votes, appends and checkpoints of the adjudicator's group.
    Raft = 1,
    /// [`crate::AdjudicatorClient`]: begins, commits, outcomes, reservations.
    Adjudicator = 2,
    /// [`crate::DecisionSource`]: decision streams, standings, durable positions.
    Decisions = 3,
    /// [`crate::Replica`]: reads and prepares.
    Replica = 4,
    /// Siblings of a shard: intents, checkpoints, content hashes.
    Sibling = 5,
    /// What operators ask of another node: sessions, conflicts, numbers.
    Operator = 6,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 6] = [
        Service::Raft,
        Service::Adjudicator,
        Service::Decisions,
        Service::Replica,
        Service::Sibling,
        Service::Operator,
    ];

    /// The service with this number.
    pub fn from_number(number: u8) -> Option<Service> {
        Service::ALL.into_iter().find(|service| *service as u8 == number)
    }
}

/// A peer could not be asked, or did not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection: nothing has reached the peer.
    #[error("{node} cannot be reached: {reason}")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The connection broke or the time passed after the request had left: it may have had its effect.
    #[error("{node} has not answered: {reason}")]
    ReplyLost {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The peer refused: it belongs to another cluster, lacks the service, or cannot read the request.
    #[error("{node} refused: {reason}")]
    Refused {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
}

/// What stands at a peer's address, as far as one new connection tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// A process, whatever it thinks of us.
    Here,
    /// Nobody: the machine answers, and its process does not listen or ends at once.
    Gone,
    /// Nothing was heard in time, or the way there is broken: the peer may well live.
    Unknown,
}

/// The way to the other nodes. Connections are made when needed and made again when they break.
pub trait Peers: Send + Sync {
    /// One request, one answer. Requests of one caller may overtake each other.
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>>;

    /// A channel of messages, in order in both directions, until either end drops its half. `hello` says what it is for.
    fn open(
        &self,
        to: NodeId,
        service: Service,
        hello: Bytes,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Channel, PeerError>>;

    /// Looks whether a process stands at a peer's address, by a connection of its own. A transport that cannot tell does not know.
    fn presence(&self, _of: NodeId, _limit: Duration) -> BoxFuture<'_, Presence> {
        Box::pin(std::future::ready(Presence::Unknown))
    }

    /// Tells where a node listens, or (`None`) that it is gone. Later words replace earlier ones.
    fn learn(&self, node: NodeId, address: Option<String>);

    /// Tells which cluster this node belongs to, from the moment that it is known: nodes of others are refused.
    fn belong(&self, cluster: u128);
}

/// Both halves of a channel.
pub struct Channel {
    /// The half that sends.
    pub sender: Box<dyn ChannelSender>,
    /// The half that receives.
    pub receiver: Box<dyn ChannelReceiver>,
}

/// The sending half. Dropping it ends the peer's receiving half after what was sent.
pub trait ChannelSender: Send {
    /// Sends a message; waits while the peer is slow. An error means that the channel has broken.
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<(), PeerError>>;

    /// Sends a message that lies in parts, which need not be put together before.
    fn send_parts(&mut self, parts: Vec<Bytes>) -> BoxFuture<'_, Result<(), PeerError>> {
        self.send(parts.concat().into())
    }

    /// The highest cluster version that the other end's program understands, which may be asked to read less than this one
    /// can write. Ends in one process understand each other.
    fn peer_cluster_version(&self) -> u32 {
        u32::MAX
    }
}

/// The receiving half.
pub trait ChannelReceiver: Send {
    /// The next message; `None` when the peer has ended the channel properly. Dropping the future loses nothing.
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>>;
}

/// The serving end of a [`Service`].
pub trait PeerService: Send + Sync {
    /// Answers a request. An error is told to the caller as [`PeerError::Refused`].
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;

    /// Serves a channel until it ends. An error before the first message is told as [`PeerError::Refused`] at best.
    fn open(&self, from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>>;
}
