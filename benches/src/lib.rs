//! benches (being laid).
