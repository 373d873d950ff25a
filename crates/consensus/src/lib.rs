//! consensus (being laid).
pub mod fs;
pub mod wal;
