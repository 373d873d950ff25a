//! mvcc (being laid).
