//! openraft, behind our own words: its types, its log on [`crate::wal`], its state machine round a [`Mind`].
//!
//! ```text
//!   propose ─▶ openraft ─▶ LogStore ─▶ wal              (bytes of a command, ours, no serde)
//!                 │ committed
//!                 └──────▶ Machine ─▶ Mind::apply ─▶ Reply ─▶ the proposer, if it is on this node
//!                             └─ checkpoints: files, written atomically; the base and at most one candidate
//!   peers   ◀▶ Network, over `assize_ports::Peers`    (wire: flat bytes with a version, ours, no serde)
//! ```
//!
//! Nothing outside this crate sees a type of openraft.

mod log_store;
mod machine;
mod network;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub(crate) use log_store::LogStore;
pub(crate) use machine::{COPY_REST, CheckpointFiles, Machine, checkpoint_meta, give_way, in_background};
pub(crate) use network::{Network, carried};
pub(crate) use record::{Checkpoint, Meta, decode_logged, encode_entry, log_id, put_log_id};

use bytes::Bytes;
use std::fmt;

/// A captured state; called, it writes itself at the end of a buffer.
pub type Capture = Box<dyn FnOnce(&mut Vec<u8>) + Send + Sync>;

/// The replicated state machine, as the log drives it.
pub trait Mind: Send + Sync + 'static {
    /// What a proposer is told.
    type Reply: Send + Sync + 'static;

    /// The state as it was when it was captured.
    type Copy: Send + Sync + 'static;

    /// Applies one entry. Pure: the same bytes at the same index have the same effect on every replica. An
    /// error means that this replica cannot go on (it must stop rather than diverge).
    fn apply(&mut self, index: u64, command: &Bytes) -> Result<Self::Reply, String>;

    /// Notes an entry without a command (a new leader's, a change of members).
    fn apply_blank(&mut self, index: u64);

    /// A copy of the whole state as it is now, which may be yet to be completed. Entries wait for this.
    fn capture(&mut self) -> Self::Copy;

    /// Completes a copy by a part of what it still lacks; whether it is complete. Entries are applied in between.
    fn complete(&self, copy: &mut Self::Copy) -> bool;

    /// Writes a complete copy at the end of a buffer.
    fn encode(copy: Self::Copy, out: &mut Vec<u8>);

    /// Replaces the whole state.
    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), String>;
}

/// A command on its way into the log.
#[derive(Clone)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// openraft's type parameters. Replies are type-erased so that the configuration does not depend on the mind.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Types;

/// A reply of some [`Mind`].
pub type AnyReply = Option<Box<dyn std::any::Any + Send + Sync>>;

impl openraft::RaftTypeConfig for Types {
    type D = Proposal;
    type R = AnyReply;
    type NodeId = u64;
    type Node = openraft::BasicNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, u64, openraft::BasicNode>;
    type Entry = openraft::Entry<LeaderId, Self::Payload>;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, u64, openraft::BasicNode>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, openraft::BasicNode>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<LeaderId, u64, openraft::BasicNode>;
pub(crate) type ServerMetrics =
    openraft::type_config::alias::WatchReceiverOf<Types, openraft::metrics::RaftServerMetrics<Types>>;
