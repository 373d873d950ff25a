//! [`assize_ports::AdjudicatorClient`], spoken between nodes.
//!
//! | what | how | why |
//! |---|---|---|
//! | commits, acknowledgements, snapshot reports | one channel per client, many to a frame | the hot path: no task and no allocation per transaction at the server |
//! | reservations and their release | another channel, strictly in order | a release never overtakes the request that it ends |
//! | everything else | calls | |

mod calls;
mod client;
mod commits;
mod lane;
mod newest;
mod reservations;
mod service;
mod wire;

pub use client::RemoteAdjudicator;
pub use newest::NewestSnapshot;
pub use service::AdjudicatorService;
