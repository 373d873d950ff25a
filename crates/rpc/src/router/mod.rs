//! What a frontend and the shards of a node use: an adjudicator that is always the one which leads.
//!
//! ```text
//!   sessions ──▶ Router ─────────┐
//!                                ├──▶ Leaders: who leads? ──▶ this node's own, or another's
//!   replicas ──▶ DecisionRouter ─┘
//! ```
//!
//! Calls are held while the leader changes, for a bounded time. A commit that may have been proposed is sent again under
//! the same id, and the adjudicator answers it from what it has decided: no transaction aborts because the leader
//! changed, and no answer is guessed.

mod answer;
mod batch;
mod begins;
mod decisions;
mod gather;
mod leaders;
mod retry;
mod route;

pub use decisions::DecisionRouter;
pub use leaders::{Leaders, LocalAdjudicator};
pub use route::{Router, RouterOptions};
