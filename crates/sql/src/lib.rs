//! Syntax: digests, parsing, classification. Knows what a statement says, not what it means.

pub mod ast;

pub use ast::*;
pub use sqlparser;
