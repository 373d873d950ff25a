//! What exists: databases, tables, columns, indexes, foreign keys, users; rows as keys and values.
//!
//! Where to read next: [`Catalog`], [`Table`].

mod model;

pub use model::*;
