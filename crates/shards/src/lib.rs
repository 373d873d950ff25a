//! Shards: their replicas on a node, the way to them, and their moving about.
//!
//! ```text
//!   session ──ShardDirectory──▶ Directory ──▶ Replicated ──Replica──┬─▶ embedded::Embedded ─▶ mvcc on RocksDB
//!                                                                   └─▶ another node (rpc)
//!   DecisionSource ──▶ one task per replica ──▶ replica (the mind) ──▶ mvcc on RocksDB
//!                            │  ▲
//!                            ▼  │ intents, checkpoints
//!                        siblings (Peers, Service::Sibling)
//!
//!   placement ──▶ embedded::ShardHost: which replicas are on this node
//!   operators ──▶ Mover: add, remove and move replicas, split shards, while clients write
//! ```
//!
//! Invariants:
//!
//! - A read waits until the replica's position has reached its snapshot, and is refused if it was routed by
//!   another placement epoch.
//! - A Yes vote is answered only after the intent is on disk.
//! - A position is reported as durable only after everything up to it is.
//! - A store that fails stops its shard loudly; nothing is served from it any more.
//! - A copy of a sibling counts only once all of it is durable and has been compared with what was sent.
//!
//! **Absent on purpose:** no decisions, no rows, no sockets: a shard knows keys, values and slots, and speaks with its
//! siblings through [`assize_ports::Peers`].
//!
//! Where to read next: [`embedded::ShardHost`], `embedded/replica.rs`, then [`Mover`].
#![allow(clippy::disallowed_methods)] // This floor has clocks.

mod balance;
mod care;
mod colleagues;
mod comparison;
mod directory;
pub mod embedded;
mod mover;
mod replicated;
mod service;
pub mod wire;

pub use balance::next_move;
pub use care::{Balance, Caretaker, NodeCondition, Policy, Surveyor, Why, Worker, forsaken, next_task};
pub use colleagues::{Colleagues, LeaderAdministration};
pub use comparison::Comparison;
pub use directory::{Directory, RemoteReplicas};
pub use mover::{MoveError, Mover, Progress, Task};
pub use replicated::{Member, Replicated};
pub use service::SiblingService;
