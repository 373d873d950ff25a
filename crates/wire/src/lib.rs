//! The serving side of the MySQL protocol: handshake, authentication, commands, prepared statements, result
//! sets.
//!
//! ```text
//!            bytes                                     calls
//!   client ════════▶ PacketBuffer ──▶ Connection ──────────────▶ Handler (the server, over a session)
//!          ◀════════ Output ◀─────── ResultWriter ◀────────────┘   ResultWriter is a ports::ResultSink
//!                    one write                  rows, completions
//!                    per batch of commands
//! ```
//!
//! One task serves one connection. It parses packets in place in one growable buffer, runs every complete
//! command, appends the replies to one output buffer and writes once when the input is drained (or at a
//! high-water mark). While a statement runs the task goes on listening, so a client that hangs up is noticed
//! and its statement is told to stop; the statement's future is never dropped half way, because it may be
//! committing.
//!
//! **Invariants.** No byte sequence from a client makes this crate panic. Every reply packet carries the
//! sequence number that follows the last packet read. A length from the wire is never trusted before it has
//! been compared with what is there. Authentication never tells an unknown user from a wrong password.
//!
//! **Absent on purpose.** This crate does not parse SQL, knows no session variables and no catalog, and holds
//! no transaction: it asks its [`Handler`]. Compression is not offered.
//!
//! Where to read next: [`Handler`], then `connection.rs`, then `packet.rs`.
#![allow(clippy::disallowed_methods)] // A hand: it may look at the clock, for idle time-outs.

mod anteroom;
mod auth;
mod bytes;
mod column;
mod config;
mod connection;
mod handler;
mod handshake;
mod listener;
mod packet;
mod params;
mod protocol;
mod result;
mod text;
mod tls;

#[doc(hidden)]
pub mod fuzz;

pub use anteroom::{Anteroom, Arrivals, Patience};
pub use auth::{Account, PasswordKey, Plugin, native_verifier, sha2_verifier};
pub use column::charset_of_collation;
pub use config::Config;
pub use connection::{ConnectionError, serve_connection};
pub use handler::{ClientInfo, Completion, FieldDefault, Handler, Interrupt, Prepared, StateChange, TlsInfo};
pub use listener::{Admission, Closing, Control, Listener, Peer};
pub use protocol::{capability, status};
pub use result::ResultWriter;
pub use tls::{Tls, TlsError};
