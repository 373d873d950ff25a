//! The admin API: gRPC `assize.admin.v1` over [`ClusterView`](assize_ports::ClusterView), and a client for it.
//!
//! ```text
//!   grpcurl, assize status, …                      one node
//!        │  HTTP/2, TLS or loopback     ┌─────────────────────────────────────────────┐
//!        └─────────────────────────────▶│ auth      who calls: token, certificate     │
//!                                       │ services  six services, one method an RPC   │
//!                                       │   reads ──▶ ClusterView ──▶ convert ──▶ pb  │
//!                                       │   mutations ──▶ gate ──▶ ClusterView::act   │
//!                                       │                  └─ role, request_id, audit │
//!                                       └─────────────────────────────────────────────┘
//! ```
//!
//! What holds:
//!
//! - nobody changes anything without a role that allows it, and nothing is changed before the audit log says that it
//!   was asked for;
//! - a mutation that was begun is finished and its outcome audited, although the caller has hung up;
//! - `validate_only` changes nothing; a `request_id` is acted upon once;
//! - every list, memory and stream is bounded.
//!
//! This crate knows nothing of Raft, MySQL or shards: the node behind [`ClusterView`](assize_ports::ClusterView) does,
//! and forwards what only the leader can do. The protocol is `proto/assize/admin/v1`; `docs/admin.md` is its manual.
#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.

mod audit;
mod auth;
mod client;
mod convert;
mod diagnose;
mod error;
mod gate;
mod json;
mod serve;
mod services;
mod tls;
mod watch;

pub use audit::{Entry, Noted, note, note_by_hand};
pub use auth::{Caller, Role, credentials_line};
pub use client::{Attempt, Client, ClientError, ClientOptions, ErrorKind, Obstacle};
pub use error::{Explained, explain};
pub use serve::{Options, StartError, Tls, check, serve};

/// Messages, services and clients of `assize.admin.v1`, generated from `proto/`.
#[allow(clippy::all)]
pub mod pb {
    tonic::include_proto!("assize.admin.v1");
}

/// Google's error model, generated from our copy of its messages.
#[allow(clippy::all)]
mod google {
    tonic::include_proto!("google.rpc");
}

/// Every message and service, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
