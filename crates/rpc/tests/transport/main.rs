//! Nodes in one process that talk over loopback, with TLS and without.
#![allow(clippy::disallowed_methods)] // Tests have clocks.

mod hostile;
mod nodes;
mod ordinary;
