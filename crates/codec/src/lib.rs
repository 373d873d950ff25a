//! codec (being laid).
