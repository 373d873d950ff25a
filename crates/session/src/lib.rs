//! session (being laid).
