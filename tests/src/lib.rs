//! tests (being laid).
