//! What a node performs. Only here are tasks spawned that live as long as the process.

pub mod adjudicator;
pub mod frontend;
pub mod shard;
