//! What exists: databases, tables, columns, indexes, foreign keys, users; and how rows become keys and values.
//!
//! ```text
//!   adjudicator ── objects of bytes ──▶ Catalog::apply_objects ──▶ Catalog (immutable, shared)
//!        ▲                                                            │
//!        └────── CatalogChange ◀── ChangeBuilder ◀── DDL ◀────────────┘
//!
//!   row of values ── Table::row_key, Table::index_entry, row::encode ──▶ mutations
//!   mutations     ── row::RowReader, key::row_of_entry              ──▶ values
//! ```
//!
//! Invariants, each tested: comparing two keys of an index compares their rows' columns; every stored format
//! carries a version, and a checked-in sample of each is decoded by a test; no bytes make decoding panic; a
//! change is refused if anything it read has changed.
//!
//! **Absent on purpose:** the crate does not read or write anything, does not know SQL's syntax, and does not
//! check constraints. It says where things are, not whether they may be there.
//!
//! Where to read next: [`Catalog`] and [`Table`] (what there is), [`key`] (every stored key), [`row`] (the
//! value behind a row's key), [`NamedLock`] (what GET_LOCK stores), [`ObjectKey`] (what the adjudicator keeps), [`ChangeBuilder`].

mod change;
#[cfg(test)]
mod fixtures;
mod foreign_branch;
pub mod key;
mod lookup;
mod model;
mod named_lock;
mod objects;
mod payload;
mod privilege;
pub mod row;
mod temporary;

pub use change::*;
pub use foreign_branch::*;
pub use lookup::*;
pub use model::*;
pub use named_lock::*;
pub use objects::*;
pub use privilege::*;
pub use row::RowError;
pub use temporary::*;
