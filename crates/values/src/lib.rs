//! MySQL's values: types, collations, coercions, comparison, arithmetic, decimal, temporal, JSON, text and
//! binary formats, scalar functions and aggregates. The semantics of MySQL live here, once.
//!
//! Where to read next: [`Value`] and [`SqlType`].

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
pub use context::{Environment, EvalContext, RandState, RegexCache, UuidState};
pub use decimal::Decimal;
pub use json::Json;
pub use sql_mode::SqlMode;
pub use temporal::{Date, DateTime, Time};
pub use time_zone::TimeZone;
pub use types::*;
pub use value::*;
