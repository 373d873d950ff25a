//! The adjudicator: the replicated state machine that decides which transactions commit.
//!
//! A transaction runs on a frontend against a snapshot and buffers its writes. At COMMIT the frontend sends its
//! *footprint* (which keys it checked at which snapshot, which it writes) to the leader of a Raft group. The
//! leader puts the footprints at hand into one log entry, a *batch*; once that entry is replicated, every
//! node of the group calls [`Adjudicator::apply`] with it and all arrive at the same decisions. **The log entry is
//! the commit point.**
//!
//! ```text
//!   footprint ─▶ leader ─▶ Command::Batch ─▶ log ─▶ apply ─▶ decisions ─▶ frontends
//!                  │                                  │
//!                  └ refuse_early: what already lost   └▶ Streamed ─▶ a StreamEntry per shard that reads
//! ```
//!
//! What `apply` does with each footprint of a batch, in this order ([`apply`](Adjudicator::apply) reads the same):
//!
//! 1. **Decided before?** Then the same answer again: a resent commit is never adjudicated twice.
//! 2. **May it still?** Its frontend lives that life; the batch's base timestamp is not past its deadline (rule R1); its
//!    snapshots are neither below the low-water mark nor from the future; receipts are of the current placement; no DDL
//!    has fenced a table that it planned with.
//! 3. **First committer wins.** Every checked key and range was last committed at or below the snapshot at which it was
//!    checked. The [`window`] knows for points, [`ranges`] for ranges; what they have forgotten is answered with
//!    `NeedRefresh`, never guessed.
//! 4. **Commit.** Its timestamp is the batch's base plus its place in the batch. Written keys enter the window, inline
//!    writes go to the shards that hold their slots *at this entry*.
//!
//! # Time
//!
//! ```text
//!   low-water mark ≤ every live snapshot ≤ last_ts (closed) < next base ≤ next commit_ts
//! ```
//!
//! A batch's base is moved above everything closed whatever the leader's clock said, so clocks keep
//! timestamps near wall time and nothing more. [`Adjudicator::begin`] gives the timestamp of the last applied
//! batch as a snapshot: snapshots are batch boundaries, so the window compares batch *numbers* and is exact.
//!
//! # Refreshing what the window forgot
//!
//! The answer `NeedRefresh` names keys and ranges. The frontend asks their shards whether any was committed
//! after the snapshot, up to a position *b* that they have reached. If not, it sends the footprint again with those
//! keys and ranges in a group of their own whose `snapshot_ts` is *b*: the shards vouch for everything up to *b*,
//! and this check for everything after it.
//!
//! # Two answers that are not decisions
//!
//! `NeedRefresh` and `OutcomesFull` are not recorded. After `OutcomesFull` the frontend sends *the same id* again until
//! its deadline: under another id a straggling copy of the first could commit as well.
//!
//! # Invariants
//!
//! A decision never changes. Commit timestamps are unique and rise with the log. No commit at or below an issued
//! snapshot. Equal index, equal [`state_hash`](Adjudicator::state_hash). No outcome is dropped before its deadline has
//! passed and its frontend has acknowledged it or is gone. A widened or collided check refuses too often, never
//! too rarely.
//!
//! # Absent on purpose
//!
//! No clock, no randomness, no IO, no threads, no Raft: those are `consensus`. No SQL, no tables beyond their number, no
//! values beyond their bytes: a catalog object is bytes with a version. Nothing about shards' storage.
//!
//! # Where to read next
//!
//! `apply.rs` top to bottom; [`window`]; [`outcomes`]; then `tests/scripts/`, in which every rule has a script named as
//! a sentence. [`sequencer`] and [`explain`] are the leader's own, not replicated.

mod applied;
mod apply;
mod catalog;
mod checkpoint;
mod clock;
pub mod command;
mod decisions;
pub mod explain;
pub mod flat;
pub mod footprint_view;
mod moves;
mod nodes;
mod options;
pub mod outcomes;
pub mod page;
mod page_index;
mod placement;
pub mod ranges;
pub mod sequencer;
mod state;
mod streamed;
mod timeline;
pub mod window;
pub mod workload;

/// The highest cluster version that this code understands: new behaviour of `apply`, and new kinds of entries, wait until
/// the log has raised the cluster to their version.
///
/// 1: the beginning. 2: [`Command::DrainNode`], [`Command::Recover`], [`Command::RecoverShard`]. 3: compact footprints; slots that
/// move wait for learners, too. 4: a refused [`Command::Uncount`] changes nothing. 5: the catalog may hold views, which are bytes here
/// and nothing more. 6: it may hold tables with functional key parts, likewise.
pub const CLUSTER_VERSION_MAX: u32 = 6;
/// From this cluster version on footprints in the log may be compact.
pub const COMPACT_SINCE: u32 = 3;
/// From this cluster version on the log can say that a node is draining, and that a shard was recovered.
pub const DRAINS_SINCE: u32 = 2;
/// Whoever understands this cluster version understands that a cluster was recovered.
pub(crate) const RECOVERS_SINCE: u32 = 2;
/// Since then slots that move wait for learners of the shard that they go to, too.
pub(crate) const LEARNERS_WAITED_FOR_SINCE: u32 = 3;
/// Since then a shard takes commits although the log could not do without one of its replicas.
pub(crate) const REFUSALS_CHANGE_NOTHING_SINCE: u32 = 4;

pub use applied::{Applied, Reply};
pub use assize_model::{PlacementChange, PlacementRefusal};
pub use catalog::{CatalogDelta, CatalogObject};
pub use checkpoint::{HASH_FORMAT, StateCopy};
pub use clock::LeaderClock;
pub use command::{Batch, Bootstrap, Command, Recovery};
pub use decisions::Decisions;
pub use explain::{Explainer, Explanation, complete};
pub use footprint_view::{EncodedFootprint, FootprintView, encode_footprint, footprints_of, widened};
pub use moves::SlotMove;
pub use nodes::NodeEntry;
pub use options::{Options, Rule, Rules};
pub use outcomes::Known;
pub use page::{OutcomePage, PackedPage};
pub use placement::ReplicaState;
pub use sequencer::Sequencer;
pub use state::{Adjudicator, Begin, FormerCluster, Identity};
pub use streamed::Streamed;
