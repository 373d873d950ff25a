//! catalog (being laid).
