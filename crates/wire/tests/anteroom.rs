//! Clients that come before anybody can serve them.
#![allow(clippy::disallowed_methods)] // Tests.

#[allow(dead_code)]
mod support;

use assize_model::{ErrorCode, SqlError};
use assize_wire::{Anteroom, Config, Listener, Patience};
use std::sync::Arc;
use std::time::Duration;
use support::Echo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// The protocol version, with which a greeting begins.
const GREETING: u8 = 10;

async fn first_byte(stream: &mut TcpStream) -> u8 {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    head[4]
}

#[tokio::test]
async fn whoever_waits_is_greeted_once_somebody_serves_and_so_is_who_comes_later() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patience = Patience { clients_max: 10, wait_max: Duration::from_secs(3600) };
    let why = || SqlError::new(ErrorCode::ClusterUnavailable, "not yet");
    let room = Anteroom::open(socket, patience, why).unwrap();
    let address = room.address();
    let mut early = TcpStream::connect(address).await.unwrap();
    let gone = TcpStream::connect(address).await.unwrap();
    drop(gone);

    let listener = Listener::new(Config::default());
    let arrivals = room.leave().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async { stopped.await.unwrap_or_default() };
    let serving =
        tokio::spawn(async move { listener.run(arrivals, until, |_, _| Echo::new(Arc::default())).await });
    assert_eq!(first_byte(&mut early).await, GREETING);
    let mut late = TcpStream::connect(address).await.unwrap();
    assert_eq!(first_byte(&mut late).await, GREETING);

    drop((early, late));
    stop.send(()).unwrap();
    serving.await.unwrap();
}
