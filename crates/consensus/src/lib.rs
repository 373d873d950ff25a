//! consensus (being laid).
pub mod fs;
pub mod raft;
pub mod wal;
