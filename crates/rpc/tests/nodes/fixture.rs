//! Nodes to test with: an end, a network, a server, and a service that does what it is asked.

use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, PeerService, Peers, Service};
use assize_rpc::cert::{self, Authority};
use assize_rpc::handshake::ClusterId;
use assize_rpc::{Endpoint, Network, Security, Server, Services, Timing, TlsFiles};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for any answer in these tests, however busy the machine.
pub const LONG: Duration = Duration::from_secs(30);

/// A node.
pub struct Node {
    pub id: NodeId,
    pub network: Arc<Network>,
    pub address: String,
    pub echo: Arc<Echo>,
    pub services: Arc<Services>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Node {
    /// Starts one without TLS.
    pub async fn plain(id: u64) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let security = Security::plain(listener.local_addr().unwrap(), false).unwrap();
        Node::start(id, listener, security, Timing::default()).await
    }

    /// Starts one with the certificates of a directory.
    pub async fn tls(id: u64, directory: &Path) -> Node {
        let security = Security::tls(NodeId(id), tls_files(id, directory)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Node::start(id, listener, security, Timing::default()).await
    }

    pub async fn start(id: u64, listener: TcpListener, security: Security, timing: Timing) -> Node {
        let endpoint = Endpoint::with_timing(NodeId(id), "0.1.0", 1, security, timing);
        let network = Network::new(endpoint.clone());
        let services = Services::new();
        let echo = Arc::new(Echo::default());
        services.offer(Service::Operator, echo.clone());
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(endpoint, listener, services.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Node { id: NodeId(id), network, address, echo, services, stop: Some(stop), serving }
    }

    pub fn knows(&self, other: &Node) {
        self.network.learn(other.id, Some(other.address.clone()));
    }

    pub fn set_cluster(&self, cluster: u128) {
        self.network.set_cluster(ClusterId(cluster));
    }

    /// Calls the other node's echo.
    pub async fn ask(&self, other: NodeId, request: &str) -> Result<String, assize_ports::PeerError> {
        let request = Bytes::copy_from_slice(request.as_bytes());
        let answer = self.network.call(other, Service::Operator, request, LONG).await?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }

    /// Opens a channel to the other node's echo.
    pub async fn open(&self, other: NodeId, hello: &str) -> Result<Channel, assize_ports::PeerError> {
        let hello = Bytes::copy_from_slice(hello.as_bytes());
        self.network.open(other, Service::Operator, hello, LONG).await
    }

    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.serving.await.unwrap();
    }

    /// Ends as a killed process does.
    pub fn kill(self) {
        self.serving.abort();
    }
}

/// A directory with an authority and certificates of these nodes.
pub fn certificates(nodes: &[u64]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Authority::create(directory.path(), 10).unwrap();
    for node in nodes {
        cert::issue_node(directory.path(), NodeId(*node), &[], 10).unwrap();
    }
    directory
}

pub fn tls_files(id: u64, directory: &Path) -> TlsFiles {
    TlsFiles {
        ca: directory.join(cert::CA_CERTIFICATE),
        certificate: directory.join(format!("node-{id}.pem")),
        key: directory.join(format!("node-{id}.key")),
    }
}

/// Does what it is asked: `wait` never answers, `refuse` refuses, `panic` panics, `long` answers more than a message may
/// hold, anything else comes back. Channels return what they are sent; their first message may be `count` (counts
/// bytes, and tells at the end), `refuse`, or `flood` (sends for ever).
#[derive(Default)]
pub struct Echo {
    /// Calls that have begun to wait.
    pub waiting: AtomicU64,
    /// Calls that were given up before their answer.
    pub cancelled: AtomicU64,
    /// Messages that a flood has got rid of.
    pub flooded: AtomicU64,
}

struct CountOnDrop<'a>(&'a AtomicU64);

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl PeerService for Echo {
    fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match &request[..] {
                b"wait" => {
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                    let _count = CountOnDrop(&self.cancelled);
                    std::future::pending().await
                }
                b"refuse" => Err("as asked".into()),
                b"panic" => panic!("as asked"),
                b"long" => Ok(Bytes::from(vec![0; assize_rpc::frame::PAYLOAD_MAX + 1])),
                b"who" => Ok(Bytes::from(from.to_string())),
                _ => Ok(request),
            }
        })
    }

    fn open(&self, _from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let Channel { mut sender, mut receiver } = channel;
            match &hello[..] {
                b"refuse" => Err("as asked".into()),
                b"count" => {
                    let mut bytes = 0;
                    while let Some(message) = receiver.receive().await.map_err(|error| error.to_string())? {
                        bytes += message.len();
                    }
                    sender.send(Bytes::from(bytes.to_string())).await.map_err(|error| error.to_string())
                }
                b"flood" => loop {
                    let message = Bytes::from(vec![7; 64 << 10]);
                    sender.send(message).await.map_err(|error| error.to_string())?;
                    self.flooded.fetch_add(1, Ordering::SeqCst);
                },
                _ => {
                    while let Some(message) = receiver.receive().await.map_err(|error| error.to_string())? {
                        sender.send(message).await.map_err(|error| error.to_string())?;
                    }
                    Ok(())
                }
            }
        })
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let holds = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, holds).await.is_ok(), "{what}");
}
