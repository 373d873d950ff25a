//! A MySQL server without a database, to try clients against: `cargo run -p assize-wire --example echo 3407`.
//! `tests/support/mod.rs` lists its accounts and statements.
#![allow(clippy::disallowed_methods)] // A program: it reads its arguments.

#[path = "../tests/support/mod.rs"]
mod support;

use assize_wire::{Config, Listener, Tls};
use support::Echo;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(3407), |text| text.parse())?;
    let tls = Some(Tls::self_signed(&["localhost".to_owned()])?);
    let socket = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", socket.local_addr()?);
    let listener = Listener::new(Config { tls, ..Config::default() });
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    listener.run(socket, stop, |_, _| Echo::new(Default::default())).await;
    Ok(())
}
