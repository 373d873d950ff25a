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
//! Where to read next: [`Engine`], then [`bind`] (meaning), [`plan`] (steps), [`exec`] (running), [`expr`]; for
//! what changes things, [`dml`] (one writer for every row), [`constraints`], [`ddl`] (one fenced commit for every
//! definition), [`foreign`] (tables on other servers), [`show`] and [`infoschema`] (what exists, told).

pub mod acl;
pub mod bind;
pub mod check_table;
pub mod constraints;
pub mod ddl;
pub mod dml;
pub mod exec;
pub mod expr;
pub mod foreign;
pub mod infoschema;
pub mod plan;
pub mod show;

#[doc(hidden)]
pub mod testing;

mod cache;
mod cluster;
mod deep;
mod engine;
mod sizes;
mod statement;
mod system;

pub use engine::Engine;
