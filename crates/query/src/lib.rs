//! What statements mean: names, types, plans, and rows.
//!
//! ```text
//!   sql::Statement ──bind──▶ bound query ──plan──▶ Arc'd plan ──exec──▶ rows ──▶ ports::ResultSink
//!                     │                     │                    │
//!                  catalog            access paths        ports::Transaction
//! ```
//!
//! The crate never talks to a shard, a disk or a clock: rows come from the statement's transaction, time from
//! its context. It keeps nothing of a statement but plans, which hold no values of any execution.
//!
//! Invariants: a point statement and a full plan evaluate the same expressions; a plan is used only for the
//! statement, schema versions, modes and parameter types that it was made for; whatever keeps rows is bounded
//! by the statement's memory budget; bad input is a `SqlError` with MySQL's number.
//!
//! Where to read next: [`Engine`], then [`bind`] (meaning), [`plan`] (steps), [`exec`] (running), [`expr`].

pub mod bind;
pub mod exec;
pub mod expr;
pub mod plan;

#[doc(hidden)]
pub mod testing;

mod cache;
mod engine;

pub use engine::Engine;
