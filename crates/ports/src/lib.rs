//! The traits between minds and hands.
//!
//! A session (mind) runs over an [`AdjudicatorClient`], [`Shard`]s, a [`QueryEngine`] and a [`Clock`]; who
//! implements them (a task in this process, a connection to another node, a simulator) is decided above.
//!
//! ```text
//!   wire ──▶ session ──QueryEngine──▶ query ──StatementContext/Transaction──▶ session
//!               │                                                               │
//!               ├──AdjudicatorClient──▶ consensus / rpc / sim                   ├──Shard──▶ shards / rpc / sim
//!               └──ResultSink──▶ wire
//!
//!   shards ──DecisionSource, ShardAdministration──▶ consensus / rpc / sim
//!   rpc, consensus, shards ──Peers──▶ another node's PeerService
//!   session ──ForeignServers──▶ mysql (real servers) / a fake
//!   admin, query ──ClusterView──▶ server
//!   server ──Figures──▶ Gauge ──Strain──▶ session
//! ```
//!
//! This crate is a landing between floors 1 and 2: it sees the nouns, the catalog and the syntax, and nothing
//! that acts.

mod adjudicator;
mod cluster;
mod conflict;
mod diagnosis;
mod foreign;
mod frame;
mod peers;
mod placement;
mod pressure;
mod query;
mod shard;
mod sizes;
mod stream;

pub use adjudicator::*;
pub use cluster::*;
pub use conflict::*;
pub use diagnosis::*;
pub use foreign::*;
pub use frame::*;
pub use peers::*;
pub use placement::*;
pub use pressure::*;
pub use query::*;
pub use shard::*;
pub use sizes::*;
pub use stream::*;

use std::future::Future;
use std::pin::Pin;

/// A future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time, for the floors that have none.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch, by the wall clock; may jump.
    fn now_micros(&self) -> i64;
    /// Microseconds since some fixed moment; never goes back.
    fn monotonic_micros(&self) -> u64;
    /// Completes after so many microseconds.
    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()>;
    /// 64 bits of randomness (jitter, UUID(), RAND() without a seed).
    fn random(&self) -> u64;
}
