//! sim (being laid).
