//! [`assize_ports::DecisionSource`], spoken between nodes: a channel per subscription, calls for the rest.

mod client;
mod service;
mod wire;

pub use client::RemoteDecisions;
pub use service::DecisionService;
