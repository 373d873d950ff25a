//! ports (being laid).
