//! How the nodes of a cluster talk: frames over mutual TLS, and the ports of `assize-ports` spoken in them.
//!
//! ```text
//!             Router, DecisionRouter            who leads? hold, send again under the same id
//!                     │
//!   RemoteAdjudicator · RemoteDecisions · RemoteReplica        AdjudicatorService · DecisionService · ReplicaService
//!                     │ ports::Peers: calls, channels                        ▲ ports::PeerService
//!   ┌─────────────────▼──────────────────┐                  ┌────────────────┴───────────────────┐
//!   │ Network: a connection per (node,   │   TLS, handshake │ Server: a task per call, a service │
//!   │ service) for calls, one per channel│◀────frames──────▶│ per channel                        │
//!   └────────────────────────────────────┘                  └────────────────────────────────────┘
//! ```
//!
//! * [`frame`] and [`handshake`] are bytes and rules, without IO. A handshake names both nodes, the cluster, the service
//!   and the release; nodes of two clusters never talk.
//! * [`Security`] decides how a connection is protected; [`cert`] makes a cluster's certificates.
//! * [`Endpoint`] is this node to others; [`Network`] calls, [`Server`] answers.
//! * One module per port: its encoding, the serving and the calling end.
//! * [`Router`] is the adjudicator of a frontend, wherever it leads.
//!
//! # Invariants
//!
//! A call that fails with `Unreachable` has not reached the peer; one that may have reached it fails with `ReplyLost`.
//! Messages of a channel arrive in order, none twice, and an end is told apart from a break. A dead peer is noticed within a
//! second, whoever waits for it. Whatever bytes arrive, decoding ends in a value or an error, and no peer makes this node hold
//! more than it has agreed to. A certificate speaks for the node that it names and for no other. The router never answers
//! an abort that the adjudicator did not decide.
//!
//! # Absent on purpose
//!
//! No Raft (`consensus` speaks it over [`assize_ports::Peers`]), no siblings (`shards` does), no gRPC (that is for
//! operators: `admin`), no idea what a request means beyond the ports.
//!
//! # Where to read next
//!
//! `link.rs` (how bytes leave and arrive), `network.rs`, `server.rs`; then `adjudicator/commits.rs` (the hot path) and
//! `router/route.rs`.
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
mod outgoing;
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
pub use security::{Security, SecurityError, TlsFiles, is_about_certificates};
pub use server::{Server, Services};
pub use token::{JoinToken, constant_time_eq};
