//! The simulator: a cluster of cores in one thread, under a hostile world that a seed decides.
//!
//! ```text
//!   clients ─ sessions' transactions            3 nodes of the adjudicator round a model of the log
//!   (client.rs, desk.rs, frontends.rs)                        (adjudicators.rs)
//!                   │ ▲                                              │ ▲
//!                   ▼ │          messages: lost, late, doubled       ▼ │
//!   ═══════════════════════════════════ net.rs ════════════════════════════════════
//!                                        ▲ │
//!                                        │ ▼
//!                       3 replicas of each shard, each on a disk that forgets
//!                                   (shards.rs)
//! ```
//!
//! Frontends, nodes and replicas here are only hands: what thinks are the same cores that the server runs. Leaders
//! change and believe for a while that they have not; proposals are lost, or committed though nobody was told; replicas
//! crash, lose what they had not synced, or lose their disk; frontends die in the middle of a commit.
//!
//! A run has a time of faults, then the world heals and is left alone. Safety must hold throughout, and after healing
//! everything must come to an end. [`invariants`] has one file for each promise; it replays all commits in the order of
//! their timestamps and compares what every client read and was told.
//!
//! Everything is drawn from the seed: the same seed gives the same bytes. **Negative controls** prove that the
//! checkers can see: each switches one rule of the protocol off, and some invariant must then break
//! (`tests/controls.rs`). `tests/matrix.rs` crashes everybody after every single message of one commit.
//!
//! **Absent on purpose:** threads, sockets, files and clocks. If this crate compiles, the cores are pure.
//!
//! Where to read next: [`scenario`] (what a run is made of), `world.rs` (the loop), then one file of [`invariants`].

mod adjudicators;
mod client;
mod desk;
mod frontends;
mod history;
pub mod invariants;
mod net;
mod ports;
mod random;
pub mod scenario;
mod shards;
mod strokes;
mod workload;
mod world;

pub use history::{Told, Violation};
pub use scenario::Scenario;
pub use world::{Outcome, play, run};
