//! Streams that outlive the node that serves them.

use super::Connection;
use crate::{Failure, exit};
use assize_admin::{Client, ClientError, ErrorKind};
use futures_util::{Stream, StreamExt};
use std::time::Duration;

/// Before the next node is asked: one that has just died may be the first that is tried.
const PAUSE: Duration = Duration::from_millis(500);
/// Connections that are lost one after the other without a message; then it is not the nodes that die.
const LOSSES_MAX: u32 = 5;

/// Tells what a stream brings until it ends. If its connection is lost the next node that answers is asked for the same; if
/// there is none, that is the failure.
pub async fn follow<M, E, S>(
    connection: &Connection,
    mut client: Client,
    open: impl AsyncFn(&Client) -> Result<S, Failure>,
    mut told: impl FnMut(M) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<M, E>> + Unpin,
    ClientError: From<E>,
{
    let mut stream = open(&client).await?;
    let mut losses = 0;
    loop {
        let lost = match listen(&mut stream, &mut told, &mut losses).await {
            Err(failure) if is_lost(&failure) && losses < LOSSES_MAX => failure.error,
            ended => return ended,
        };
        losses += 1;
        tokio::time::sleep(PAUSE).await;
        (client, stream) = again(connection, &open).await.map_err(|failure| Failure {
            code: if is_lost(&failure) { exit::UNAVAILABLE } else { failure.code },
            error: anyhow::anyhow!(
                "{lost} ({}); it cannot be gone on with: {:#}",
                client.address(),
                failure.error
            ),
        })?;
        eprintln!(
            "assize: {lost}; {} is asked from now on, and what happened in between may be missing",
            client.address()
        );
    }
}

async fn listen<M, E, S>(
    stream: &mut S,
    told: &mut impl FnMut(M) -> Result<(), Failure>,
    losses: &mut u32,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<M, E>> + Unpin,
    ClientError: From<E>,
{
    while let Some(message) = stream.next().await {
        told(message.map_err(ClientError::from)?)?;
        *losses = 0;
    }
    Ok(())
}

async fn again<S>(
    connection: &Connection,
    open: &impl AsyncFn(&Client) -> Result<S, Failure>,
) -> Result<(Client, S), Failure> {
    let client = connection.open_quietly().await?;
    let stream = open(&client).await?;
    Ok((client, stream))
}

/// Whether another node may go on.
fn is_lost(failure: &Failure) -> bool {
    let error = failure.error.downcast_ref::<ClientError>();
    error.is_some_and(|error| error.kind() == ErrorKind::Unavailable)
}
