//! [`assize_ports::Replica`], spoken between nodes: reads and prepares as calls, prepares too large for one as a channel.

mod client;
mod service;
mod wire;

pub use client::RemoteReplica;
pub use service::{ReplicaService, Replicas};
