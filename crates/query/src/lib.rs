//! query (being laid).
