//! How the nodes of a cluster talk: frames over TLS, and the ports of `assize-ports` spoken in them.
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.

mod adjudicator;
mod calls;
pub mod cert;
mod channel;
mod decisions;
mod endpoint;
pub mod frame;
pub mod handshake;
mod link;
mod network;
mod replica;
mod router;
#[cfg(test)]
mod samples;
mod security;
mod server;
mod token;

pub use adjudicator::{AdjudicatorService, NewestSnapshot, RemoteAdjudicator};
pub use decisions::{DecisionService, RemoteDecisions};
pub use endpoint::{ConnectError, Endpoint};
pub use link::{LinkError, Timing};
pub use network::Network;
pub use replica::{RemoteReplica, ReplicaService, Replicas};
pub use router::{DecisionRouter, Leaders, LocalAdjudicator, Router, RouterOptions};
pub use security::{Security, SecurityError, TlsFiles};
pub use server::{Server, Services};
pub use token::{JoinToken, constant_time_eq};
