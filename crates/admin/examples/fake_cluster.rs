//! Serves the admin API of a cluster that exists only in memory: to try a client without starting anything.
//!
//! `cargo run -p assize-admin --example fake_cluster -- 127.0.0.1:7406 [TOKENS_FILE]`

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7406".to_owned());
    let tokens_file = arguments.next().map(Into::into);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    eprintln!("a cluster in memory answers at {}", listener.local_addr()?);
    let options = assize_admin::Options { tokens_file, ..assize_admin::Options::default() };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(assize_admin::serve(listener, options, Arc::new(fake::Fake::new()), stop).await?)
}
