//! Implementations of [`assize_ports::Shard`].
//!
//! ```text
//!   session ──Shard──▶ embedded::Embedded ──▶ mvcc::Reader ──────────────┐
//!                           │ prepare                                   ▼
//!   DecisionSource ──▶ one task per shard ──▶ replica (the mind) ──▶ mvcc on rocks
//! ```
//!
//! Invariants:
//!
//! - A read waits until the replica's position has reached its snapshot, and is refused if it was routed by
//!   another placement epoch.
//! - A Yes vote is answered only after the intent is on disk.
//! - A position is reported as durable only after everything up to it is.
//! - A store that fails stops its shard loudly; nothing is served from it any more.
//!
//! **Absent on purpose:** no decisions, no routing, no rows: a shard knows keys, values and slots.
//!
//! Where to read next: [`embedded::open`], `embedded/replica.rs`.
#![allow(clippy::disallowed_methods)] // This floor has clocks.

pub mod embedded;
