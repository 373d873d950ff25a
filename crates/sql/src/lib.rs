//! sql (being laid).
