//! What is asked in calls: the serving half. Each request is one method of the port.

use super::wire::{self, Request};
use assize_ports::AdjudicatorClient;
use bytes::Bytes;

/// Answers a request; an error if it cannot be read.
pub async fn answer(client: &dyn AdjudicatorClient, request: &Bytes) -> Result<Bytes, String> {
    let request = Request::decode(request).map_err(|error| error.to_string())?;
    Ok(match request {
        Request::Register { name, nonce } => {
            wire::answer(&client.register(&name, nonce).await, wire::put_registered)
        }
        Request::Begin => wire::answer(&client.begin().await, wire::put_begun),
        Request::Outcome { txn, resolve } => {
            wire::answer(&client.outcome(txn, resolve).await, wire::put_outcome)
        }
        Request::Placement => {
            wire::answer(&client.placement().await, |out, placement| wire::put_placement(out, placement))
        }
        Request::Nodes => wire::answer(&client.nodes().await, |out, nodes| wire::put_nodes(out, nodes)),
        Request::Catalog { since, at_least } => {
            wire::answer(&client.catalog(since, at_least).await, wire::put_catalog)
        }
        Request::AllocateIds { table, count, at_least, increment, offset } => {
            let range = client.allocate_ids(table, count, at_least, increment, offset).await;
            wire::answer(&range, wire::put_id_range)
        }
        Request::NextId { table } => {
            wire::answer(&client.next_id(table).await, |out, next| assize_codec::Put::put_u64(out, *next))
        }
        Request::TrackRanges { table } => wire::answer(&client.track_ranges(table).await, |_, ()| ()),
        Request::FrontendEpoch { frontend } => {
            let epoch = client.frontend_epoch(frontend).await;
            wire::answer(&epoch, |out, epoch| assize_codec::Put::put_u32(out, epoch.0))
        }
        Request::Who(obstacle) => wire::answer(&client.who(obstacle).await, wire::put_winner),
    })
}
