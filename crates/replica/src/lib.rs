//! replica (being laid).
