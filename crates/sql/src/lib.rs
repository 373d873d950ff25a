//! Syntax: digests, parsing, classification. Knows what a statement says, not what it means.
//!
//! ```text
//!   bytes ──normalise──▶ Digest ── statement statistics
//!     │
//!     ├──lift──▶ text with ? + literals ── key of the session's cache of parsed statements
//!     │
//!     └──lex──▶ tokens ──parse──▶ Statement ──classify──▶ what it does to transactions
//! ```
//!
//! Expressions and queries are `sqlparser`'s tree, because the query engine speaks it; the lexer and the grammar
//! are ours, because MySQL's precedence, literals, comments, hints and error positions are part of its interface.
//!
//! **Refuses to do:** look at the catalog, fold constants, resolve names, decide types.
//!
//! Invariants: any bytes give a statement or error 1064 (or 1065), never a panic; trees are shallow enough
//! ([`NESTING_MAX`], [`CHAIN_MAX`]) to be walked recursively; `?` are numbered in the order of the text.
//!
//! Where to read next: [`ast`] for what comes out, [`parse_next`] for how a session uses it.

pub mod ast;
mod classify;
mod digest;
mod hints;
mod lexer;
mod literal;
mod options;
mod parser;
mod words;

pub use ast::*;
pub use classify::*;
pub use digest::*;
pub use hints::{HintValue, Hints, hint_syntax_error, hints};
pub use literal::*;
pub use options::ParseOptions;
pub use parser::{
    CHAIN_MAX, NESTING_MAX, Next, StatementPlace, parse, parse_data_type, parse_expression, parse_next,
    parse_one, parse_query, split_statements, statement_places, syntax_error,
};
pub use sqlparser;
