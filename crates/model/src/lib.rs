//! The nouns of Assize, as plain values.
//!
//! Everything that crosses a boundary between two crates and is about *transactions* is named here once:
//! identifiers, timestamps, keys, mutations, footprints, decisions, outcomes, placement and the table of
//! error codes. The crate has no behaviour beyond arithmetic on these values.
//!
//! ```text
//!   session ── Footprint ──▶ adjudicator ── Decision ──▶ session
//!                                │
//!                                └── StreamEntry{position, decisions} ──▶ every replica of every shard
//! ```
//!
//! **Absent on purpose:** this crate does not know SQL types, bytes on a wire or on a disk, clocks or threads.
//!
//! Where to read next: [`Footprint`] (what a transaction did), [`Decision`] (what became of it),
//! [`Timestamp`] (how both are ordered).

mod decision;
mod error;
mod footprint;
mod ids;
mod key;
mod placement;
mod stream;
mod time;
mod volume;
mod vote;

pub use decision::*;
pub use error::*;
pub use footprint::*;
pub use ids::*;
pub use key::*;
pub use placement::*;
pub use stream::*;
pub use time::*;
pub use volume::*;
pub use vote::*;
