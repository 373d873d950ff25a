//! The adjudicator as a running node: its log on disk, Raft round its state machine, its leader, its streams.
//!
//! ```text
//!   frontends ──AdjudicatorClient──▶ Adjudicator ──▶ Leader ──▶ openraft ──▶ wal ──▶ disk
//!                                        │  ▲                    │  ▲ ▼
//!                                        │  │           committed│  Network, RaftService ◀─Peers─▶ other nodes
//!                                        │  └──── decisions ◀── State::apply (the pure core)
//!                                        ▼                        │
//!   shards ◀────DecisionSource──────── Streams ◀──────────────────┘
//! ```
//!
//! The tasks of a node, all spawned in [`Adjudicator::open_on`]: one watches who leads, one runs the leader's task
//! while this node does, one watches over the leader while it follows, one keeps house, and on a node with an empty disk
//! one finds out whether it may take part.
//!
//! Invariants:
//!
//! - A decision is answered only after its log entry is durable on most voters and applied here.
//! - What must not be old (begins, outcomes, the catalog) is answered by a leader that has just been confirmed.
//! - The node restarts from a checkpoint no newer than what every replica that counts has persisted, and
//!   applies the log from there: what a replica missed comes again by itself. Another node is given that checkpoint
//!   too, and the log behind it.
//! - What cannot be written is refused before it is proposed (full disk); what may have been written is answered
//!   `ReplyLost`, never as a failure. After a failed sync the node writes nothing more.
//! - A voter that has lost its disk takes part in nothing.
//!
//! **Absent on purpose:** this crate decides nothing: the core in `assize-adjudicator` does. No SQL, no rows, no
//! RocksDB. No sockets: bytes travel over [`assize_ports::Peers`].
//!
//! Where to read next: [`Adjudicator::open`], `terms.rs` (the lead), `succession.rs` (its end), `leader.rs` (batching), `begins.rs` (reads that
//! are not old), `founding.rs` and `membership.rs` (who belongs to the group), `recover.rs` (a group that has lost its
//! majority for good), `raft/machine.rs` (checkpoints),
//! [`wal`] (the log), `evidence.rs` (the log judged from outside).
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.

mod adjudicator;
mod begins;
mod belonging;
mod clock;
mod contacts;
pub mod evidence;
mod founding;
pub mod fs;
#[cfg(test)]
mod group_tests;
mod hashes;
mod heard;
mod history;
mod housekeeping;
mod incoming;
mod leader;
mod locks;
mod losses;
mod membership;
pub mod memory_peers;
mod meter;
mod node;
mod options;
mod outstanding;
mod placement;
mod progress;
mod published;
mod raft;
pub mod recover;
#[cfg(test)]
mod seeded_tests;
mod service;
mod state;
mod streams;
mod succession;
mod terms;
#[cfg(test)]
mod tests;
pub mod wal;

pub use adjudicator::{Adjudicator, OpenError, Stats};
pub use founding::Founding;
pub use fs::free_bytes;
pub use hashes::{Agreement, Comparison};
pub use membership::{MembershipError, Status};
pub use meter::{Meter, Tally, Unmetered};
pub use options::Options;
pub use streams::Subscription;
pub use terms::Leadership;
