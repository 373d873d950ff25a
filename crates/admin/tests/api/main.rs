//! The API over real connections, and a cluster in memory behind it.
#![allow(clippy::disallowed_methods)] // Tests.

#[path = "../fake/mod.rs"]
mod fake;

mod access;
mod addresses;
mod discovery;
mod mutations;
mod reads;
mod streams;

use assize_admin::{Client, ClientError, ClientOptions, Options, StartError, serve};
use fake::Fake;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// A served cluster.
struct Api {
    fake: Arc<Fake>,
    address: String,
    dir: TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), StartError>>,
}

impl Api {
    /// With the audit log in `dir`, and what else `options` makes of that.
    async fn start_with(options: impl FnOnce(Options, &std::path::Path) -> Options) -> Api {
        let dir = tempfile::tempdir().unwrap();
        let audit_file = Some(dir.path().join("audit.jsonl"));
        let options = options(Options { audit_file, ..Options::default() }, dir.path());
        let fake = Arc::new(Fake::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(serve(listener, options, fake.clone(), shutdown));
        Api { fake, address, dir, stop, serving }
    }

    /// Without credentials: everybody is an admin.
    async fn start() -> Api {
        Api::start_with(|options, _| options).await
    }

    fn client_options(&self) -> ClientOptions {
        ClientOptions { addresses: vec![self.address.clone()], ..ClientOptions::default() }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.client_options()).await.unwrap()
    }

    async fn client_with(&self, token: &str) -> Client {
        let options = ClientOptions { token: Some(token.to_owned()), ..self.client_options() };
        Client::connect(&options).await.unwrap()
    }

    /// The lines of the audit log: outcome, who, call, text.
    fn audited(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap_or_default();
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
            assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {} {}", field("outcome"), field("caller"), field("rpc"), field("text"))
                .trim()
                .to_owned()
        };
        text.lines().map(line).collect()
    }
}

/// Checks why a call failed.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = result.expect_err("the call is refused");
    assert_eq!(status.code(), code, "{status:?}");
    let ClientError::Refused { reason: told, .. } = ClientError::from(status.clone()) else { unreachable!() };
    assert_eq!(told, reason);
    status
}
