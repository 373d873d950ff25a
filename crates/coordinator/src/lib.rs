//! coordinator (being laid).
