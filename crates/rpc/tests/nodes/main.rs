//! Nodes in one process that talk over loopback, with TLS and without.
#![allow(clippy::disallowed_methods)] // Tests have clocks.

mod adjudicator;
mod decisions;
mod fake;
mod fixture;
mod hostile;
mod ordinary;
mod replica;
mod router;
