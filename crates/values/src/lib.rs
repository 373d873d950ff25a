//! values (being laid).
