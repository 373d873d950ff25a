//! The way to peers: there are none in a group of one.

use super::machine::Image;
use super::{Types, Vote};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use std::future::Future;
use std::io;
use std::time::Duration;

/// A group of one node asks nobody. Whoever is asked anyway is unreachable, and that takes a while: a
/// leader whose peers fail at once would spin.
pub struct NoPeers;

const PAUSE: Duration = Duration::from_millis(100);

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = NoPeers;

    async fn new_client(&mut self, _target: u64, _node: &openraft::BasicNode) -> NoPeers {
        NoPeers
    }
}

async fn unreachable() -> Unreachable<Types> {
    tokio::time::sleep(PAUSE).await;
    Unreachable::new(&io::Error::new(io::ErrorKind::NotConnected, "this group has no peers"))
}

impl RaftNetworkV2<Types> for NoPeers {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable().await))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable().await))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: SnapshotOf<Types, Image>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(unreachable().await))
    }
}
