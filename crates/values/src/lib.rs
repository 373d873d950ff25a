//! MySQL's values: types, collations, coercions, comparison, arithmetic, decimal, temporal, JSON, text and
//! binary formats, scalar functions and aggregates. The semantics of MySQL live here, once.
//!
//! Where to read next: [`Value`] and [`SqlType`].

mod context;
mod sql_mode;
mod time_zone;
mod types;
mod value;

pub mod decimal;
pub mod json;
pub mod temporal;

pub use context::{Environment, EvalContext, RandState, UuidState};
pub use decimal::Decimal;
pub use json::Json;
pub use sql_mode::SqlMode;
pub use temporal::{Date, DateTime, Time};
pub use time_zone::TimeZone;
pub use types::*;
pub use value::*;
