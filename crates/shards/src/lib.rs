//! shards (being laid).
