//! wire (being laid).
