//! Accepting connections, counting them, and letting them end.

use crate::anteroom::{Arrivals, last_word};
use crate::config::Config;
use crate::connection::serve_connection;
use crate::handler::Handler;
use assize_model::{ErrorCode, SqlError};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long to wait when no more sockets can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to end once they have been told to, beyond the drain time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where a client comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address, or `localhost`.
    pub host: String,
    /// Its port; 0 for a local socket.
    pub port: u16,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        // An IPv4 client of a dual-stack socket keeps its IPv4 address, by which accounts name it.
        Peer { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

/// Under which right a connection was let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Within the limit.
    Ordinary,
    /// On the place that is kept for administrators.
    Reserved,
}

/// Whether a connection should end, in rising order of haste.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Closing {
    /// Not at all.
    Open,
    /// When it is idle outside a transaction: the server stops.
    Draining,
    /// As soon as its statement has ended: somebody has killed it.
    Killed,
}

/// A hand on a connection from outside.
#[derive(Debug, Default)]
pub struct Control {
    state: AtomicU8,
    pub(crate) changed: Notify,
}

impl Control {
    /// Asks the connection to end. Haste never decreases.
    pub fn close(&self, closing: Closing) {
        self.state.fetch_max(closing as u8, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Whether the connection should end.
    pub fn closing(&self) -> Closing {
        match self.state.load(Ordering::Acquire) {
            0 => Closing::Open,
            1 => Closing::Draining,
            _ => Closing::Killed,
        }
    }
}

/// Accepts connections and knows them by their numbers.
pub struct Listener {
    config: Arc<Config>,
    connections: Mutex<BTreeMap<u32, Arc<Control>>>,
    next: AtomicU32,
    refused: AtomicU64,
    connections_max: AtomicUsize,
}

impl Listener {
    /// A listener that has no connections yet.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Listener {
            connections_max: AtomicUsize::new(config.connections_max),
            config: Arc::new(config),
            connections: Mutex::default(),
            next: AtomicU32::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes how many connections there may be at a time; those that are there stay.
    pub fn set_connections_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.lock().len()
    }

    /// Connections refused for want of a place, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks one connection to end; false if there is no such connection.
    pub fn close(&self, connection: u32) -> bool {
        match self.lock().get(&connection) {
            Some(control) => {
                control.close(Closing::Killed);
                true
            }
            None => false,
        }
    }

    /// Serves until `shutdown` completes, then lets transactions end for the drain time, and returns when the
    /// last connection is gone. `make` makes the handler of a connection with this number. The connections'
    /// tasks belong to this call: none outlives it. Who has come to the socket before is served like everybody else.
    pub async fn run<H, F>(
        self: Arc<Self>,
        arrivals: impl Into<Arrivals>,
        shutdown: impl Future<Output = ()> + Send,
        make: F,
    ) where
        H: Handler + 'static,
        F: Fn(u32, &Peer) -> H,
    {
        let Arrivals { socket, clients } = arrivals.into();
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        for (stream, address) in clients {
            self.admit(stream, address.into(), &make, &mut tasks);
        }
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, address)) => self.admit(stream, address.into(), &make, &mut tasks),
                    Err(error) => {
                        // Out of file descriptors, most likely; others must end before there is one.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(socket);
        self.close_all(Closing::Draining);
        let all_ended = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended)
            }
        };
        if tokio::time::timeout(self.config.drain_timeout + LAST_WORDS, all_ended).await.is_err() {
            self.close_all(Closing::Killed);
            let all_ended = async {
                while let Some(ended) = tasks.join_next().await {
                    report(ended)
                }
            };
            let _ = tokio::time::timeout(LAST_WORDS, all_ended).await;
        }
        tasks.shutdown().await;
    }

    fn admit<H, F>(self: &Arc<Self>, stream: TcpStream, peer: Peer, make: &F, tasks: &mut JoinSet<()>)
    where
        H: Handler + 'static,
        F: Fn(u32, &Peer) -> H,
    {
        let control = Arc::new(Control::default());
        let mut connections = self.lock();
        let (open, limit) = (connections.len(), self.connections_max.load(Ordering::Relaxed));
        if open > limit {
            drop(connections);
            self.refused.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(refuse(stream));
            return;
        }
        let admission = if open == limit { Admission::Reserved } else { Admission::Ordinary };
        // Numbers wrap; no two live connections share theirs.
        let id = loop {
            let id = self.next_id();
            if !connections.contains_key(&id) {
                break id;
            }
        };
        connections.insert(id, control.clone());
        drop(connections);
        let handler = make(id, &peer);
        let listener = self.clone();
        tasks.spawn(async move {
            // However the connection ends, its place is free again.
            let _place = Place { listener: &listener, id };
            let _ = stream.set_nodelay(true);
            let config = listener.config.clone();
            if let Err(error) = serve_connection(stream, id, peer, admission, handler, &config, control).await
            {
                if matches!(error, crate::ConnectionError::TooMany) {
                    listener.refused.fetch_add(1, Ordering::Relaxed);
                }
                tracing::debug!(connection = id, %error, "connection ended early");
            }
        });
    }

    fn next_id(&self) -> u32 {
        let (first, last) = (*self.config.ids.start(), *self.config.ids.end());
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        match last.checked_sub(first).and_then(|rest| rest.checked_add(1)) {
            Some(numbers) => first + n % numbers,
            // All that there are, or a range that makes no sense.
            None => n,
        }
    }

    fn close_all(&self, closing: Closing) {
        for control in self.lock().values() {
            control.close(closing);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Control>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the others.
struct Place<'a> {
    listener: &'a Listener,
    id: u32,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.listener.lock().remove(&self.id);
    }
}

/// A connection's task should never panic; if it does, the others live on and the defect is told.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task has panicked");
    }
}

async fn refuse(mut stream: TcpStream) {
    let _ = tokio::time::timeout(LAST_WORDS, stream.write_all(&last_word(&too_many()))).await;
}

/// Error 1040.
pub(crate) fn too_many() -> SqlError {
    SqlError::new(ErrorCode::TooManyConnections, "Too many connections")
}
