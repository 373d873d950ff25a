//! Bytes and their order.
//!
//! Three things, and nothing else:
//!
//! * **[`order`]** writes values so that comparing the bytes compares the values. Keys of every kind (rows, index
//!   entries, versions, intents) are put together from these pieces.
//! * **[`Put`] and [`Reader`]** write and read flat little-endian records: what is in log entries, checkpoints
//!   and stored values. A `Reader` never panics and never allocates more than the bytes at hand justify,
//!   whatever those bytes are.
//! * **[`envelope`]** wraps bytes at rest: what they are, which version of it, and a checksum.
//!
//! ```text
//!   order      NULL < every value;  -1 < 0 < 1;  "a" < "a\0" < "aa";  a descending field is inverted
//!
//!   envelope   ┌────────┬─────────┬────────┬──────────────┬───────┐
//!              │ tag  4 │ version │ length │    body      │ crc32 │   all integers little-endian
//!              │        │       2 │      4 │              │     4 │
//!              └────────┴─────────┴────────┴──────────────┴───────┘
//! ```
//!
//! Invariants, each a property test: an ordered encoding sorts as its values do; no encoding is a prefix of
//! another of the same shape, so fields can be strung together; what was written is what is read; no input
//! makes a reader panic.
//!
//! **Absent on purpose:** this crate knows neither transactions nor SQL types nor collations. A string's
//! collation key is made elsewhere and arrives here as bytes.

pub mod envelope;
pub mod order;
mod put;
mod reader;
pub mod samples;

pub use put::Put;
pub use reader::{DecodeError, Reader};
