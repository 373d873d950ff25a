//! MySQL's values: types, collations, coercions, comparison, arithmetic, decimal, temporal, JSON, text and
//! binary formats, scalar functions and aggregates. The semantics of MySQL live here, once: whoever evaluates
//! an expression, stores a value, sorts, groups, builds a key or writes a row calls these kernels, so that no
//! two paths through the house answer differently.
//!
//! ```text
//!                 typing (once per statement)              running (once per row)
//!   operators     ops::arith_type, Comparison::of          ops::*, compare::*
//!   functions     functions::bind                          Bound::eval
//!   aggregates    Aggregate::result_type                   Accumulator::{add, merge, finish}
//!   CASE, UNION   unify::unify_args                        cast::cast
//!   CAST          the target's SqlType                     cast::cast
//!   INSERT        the column's SqlType                     store::store
//!
//!   a value as    text, protocol   format::write_text, write_binary
//!                 stored bytes     stored::encode_value, decode_value
//!                 index key        key::encode_key          fixed for ever
//!                 group key        compare::group_key
//! ```
//!
//! What an expression depends on besides its operands comes in an [`EvalContext`]: modes, time zone, the
//! statement's time, seeds, facts of the session. Warnings go back in it.
//!
//! **Invariants**, each with its property test: text in a [`Value`] is UTF-8 whatever its character set is;
//! keys sort as values compare, and are equal if they do; stored bytes and keys of released versions are
//! asserted byte for byte; partial aggregates merge into what one pass gives; no operand makes a function
//! panic, no bytes make a decoder panic.
//!
//! **Decimals carry more places than their type shows**: `1/3*3` is 1, because division keeps nine places or
//! more and only printing and storing round to the type's scale. So a value is printed with its type at hand.
//!
//! **Absent on purpose:** this crate reads no clock, draws no randomness and knows neither tables nor SQL
//! text. SLEEP, GET_LOCK and whatever else needs a clock or other sessions is not among the functions.
//!
//! Where to read next: [`Value`] and [`SqlType`], then [`ops`] and [`compare`]; [`store`] for what strict mode
//! means; [`collation`] for how text compares; `tests/expressions/` for some two thousand expressions with
//! their answers.

mod arg;
mod context;
mod sql_mode;
mod time_zone;
mod types;
mod value;

pub mod aggregate;
pub mod cast;
pub mod collation;
pub mod compare;
pub mod convert;
pub mod decimal;
pub mod format;
pub mod functions;
pub mod infile;
pub mod json;
pub mod key;
pub mod number;
pub mod ops;
pub mod store;
pub mod stored;
pub mod temporal;
pub mod unify;

pub use arg::{ArgType, literal_type};
pub use compare::Comparison;
pub use context::{Environment, EvalContext, RandState, RegexCache, SecretState, UuidState};
pub use decimal::Decimal;
pub use json::Json;
pub use sql_mode::SqlMode;
pub use temporal::{Date, DateTime, Time};
pub use time_zone::TimeZone;
pub use types::*;
pub use value::*;
