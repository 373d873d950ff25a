//! MySQL's values: types, collations, coercions, comparison, arithmetic, decimal, temporal, JSON, text and
//! binary formats, scalar functions and aggregates. The semantics of MySQL live here, once.
//!
//! Where to read next: [`Value`] and [`SqlType`].

mod types;
mod value;

pub mod decimal;
pub mod json;
pub mod temporal;

pub use decimal::Decimal;
pub use json::Json;
pub use temporal::{Date, DateTime, Time};
pub use types::*;
pub use value::*;

/// What evaluating an expression depends on besides its operands.
#[derive(Clone, Debug, Default)]
pub struct EvalContext {}
