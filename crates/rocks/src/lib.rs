//! rocks (being laid).
