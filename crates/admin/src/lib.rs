//! The admin API over gRPC.
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.
