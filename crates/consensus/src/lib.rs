//! The adjudicator as a running node: its log on disk, Raft round its state machine, its leader, its streams.
//!
//! ```text
//!   frontends ──AdjudicatorClient──▶ Adjudicator ──▶ Leader ──▶ openraft ──▶ wal ──▶ disk
//!                                        │  ▲                      │ committed
//!                                        │  └──── decisions ◀── State::apply (the pure core)
//!                                        ▼                         │
//!   shards ◀────DecisionSource──────── Streams ◀───────────────────┘
//! ```
//!
//! Invariants:
//!
//! - A decision is answered only after its log entry is durable and applied.
//! - The node restarts from a checkpoint no newer than what every replica that counts has persisted, and
//!   applies the log from there: what a replica missed comes again by itself.
//! - What cannot be written is refused before it is proposed (full disk); what may have been written is answered
//!   `ReplyLost`, never as a failure. After a failed sync the node writes nothing more.
//!
//! **Absent on purpose:** this crate decides nothing: the core in `assize-adjudicator` does. No SQL, no rows, no
//! RocksDB. A group of one node so far: the place where peers come in is `raft/network.rs`.
//!
//! Where to read next: [`Adjudicator::open`], `leader.rs` (batching), `raft/machine.rs` (checkpoints),
//! [`wal`] (the log).
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.

mod adjudicator;
pub mod fs;
mod history;
mod leader;
mod locks;
mod node;
mod options;
mod placement;
mod raft;
mod state;
mod streams;
#[cfg(test)]
mod tests;
pub mod wal;

pub use adjudicator::{Adjudicator, OpenError, Stats};
pub use options::Options;
pub use streams::Subscription;
