//! The way from this node to the others: [`assize_ports::Peers`] over frames.
//!
//! ```text
//!   (node, service) ──▶ one connection for all its calls:  idle ─▶ connecting ─▶ up ─▶ idle, after a pause
//!   open()          ──▶ a connection for each channel
//! ```
//!
//! While a connection cannot be made, calls fail at once with the reason of the last attempt until the pause is over.

use crate::calls::Calls;
use crate::channel;
use crate::endpoint::{ConnectError, Endpoint};
use crate::frame::PAYLOAD_MAX;
use crate::handshake::{ClusterId, Lane, Welcome};
use crate::security::SecurityError;
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, PeerError, Peers, Presence, Service};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The other nodes, as this one reaches them.
pub struct Network {
    endpoint: Arc<Endpoint>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    addresses: BTreeMap<NodeId, String>,
    lines: BTreeMap<(NodeId, Service), Arc<Line>>,
}

/// The connection for calls to one service of one node, as it comes and goes.
struct Line {
    state: Mutex<LineState>,
    /// An attempt to connect has ended.
    changed: Notify,
}

enum LineState {
    /// None, and none is tried before `not_before`, because the last one failed for this reason.
    Idle {
        not_before: Option<Instant>,
        failures: u32,
        reason: String,
    },
    Connecting,
    Up {
        calls: Arc<Calls>,
        since: Instant,
    },
}

const NEW: LineState = LineState::Idle { not_before: None, failures: 0, reason: String::new() };

impl Network {
    /// A network of which no other node is known yet: see [`Peers::learn`].
    pub fn new(endpoint: Arc<Endpoint>) -> Arc<Network> {
        Arc::new(Network { endpoint, book: Mutex::default() })
    }

    /// This node's end.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Tells which cluster this node belongs to.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.endpoint.set_cluster(cluster);
    }

    /// Reads the certificates again; returns whether they have changed. New connections use the new ones. (They are also
    /// looked at whenever a connection is made.)
    pub fn reload(&self) -> Result<bool, SecurityError> {
        self.endpoint.security().reload()
    }

    /// Asks whoever listens at an address who it is.
    pub async fn introduce(&self, address: &str) -> Result<Welcome, ConnectError> {
        let connected = self.endpoint.connect(address, None, Service::Operator, Lane::Introduction).await;
        connected.map(|(_, welcome)| welcome)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no panic happens under this lock")
    }

    /// The line to a service, and the node's address.
    fn line(&self, node: NodeId, service: Service) -> Result<(Arc<Line>, String), PeerError> {
        let mut book = self.book();
        let Some(address) = book.addresses.get(&node).cloned() else {
            return Err(PeerError::Unreachable { node, reason: "its address is not known".into() });
        };
        let line = book.lines.entry((node, service)).or_insert_with(Line::new).clone();
        Ok((line, address))
    }

    async fn call_by(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        limit: Duration,
    ) -> Result<Bytes, PeerError> {
        let deadline = Instant::now() + limit;
        let (line, address) = self.line(to, service)?;
        let calls = match timeout_at(deadline, line.calls(&self.endpoint, to, service, &address)).await {
            Ok(calls) => calls?,
            Err(_) => {
                return Err(PeerError::Unreachable { node: to, reason: "not connected in time".into() });
            }
        };
        calls.call(&request, deadline).await
    }

    async fn open_by(
        &self,
        to: NodeId,
        service: Service,
        hello: Bytes,
        limit: Duration,
    ) -> Result<Channel, PeerError> {
        let refused = |reason: String| PeerError::Refused { node: to, reason };
        if hello.len() > PAYLOAD_MAX {
            return Err(refused(format!("a first message of {} bytes is too long", hello.len())));
        }
        let (_, address) = self.line(to, service)?;
        let connecting = self.endpoint.connect(&address, Some(to), service, Lane::Channel);
        let (connection, welcome) = match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) if error.is_refusal() => return Err(refused(error.to_string())),
            Ok(Err(error)) => {
                return Err(PeerError::Unreachable { node: to, reason: error.to_string() });
            }
            Err(_) => {
                return Err(PeerError::Unreachable { node: to, reason: "not connected in time".into() });
            }
        };
        let (mut channel, control, serving) =
            channel::start(self.endpoint.clone(), to, welcome.cluster_version, connection);
        drop(control);
        tokio::spawn(serving);
        channel.sender.send(hello).await?;
        Ok(channel)
    }
}

impl Peers for Network {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(self.call_by(to, service, request, limit))
    }

    fn open(
        &self,
        to: NodeId,
        service: Service,
        hello: Bytes,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Channel, PeerError>> {
        Box::pin(self.open_by(to, service, hello, limit))
    }

    fn presence(&self, of: NodeId, limit: Duration) -> BoxFuture<'_, Presence> {
        Box::pin(async move {
            let Ok((_, address)) = self.line(of, Service::Operator) else { return Presence::Unknown };
            // The whole greeting: a proxy takes connections for a process that is gone, and ends them.
            let greeting = self.endpoint.connect(&address, Some(of), Service::Operator, Lane::Introduction);
            match tokio::time::timeout(limit, greeting).await {
                Ok(Ok(_)) => Presence::Here,
                Ok(Err(error)) => error.presence(),
                Err(_) => Presence::Unknown,
            }
        })
    }

    fn belong(&self, cluster: u128) {
        self.set_cluster(ClusterId(cluster));
    }

    fn learn(&self, node: NodeId, address: Option<String>) {
        let mut book = self.book();
        let known = match &address {
            Some(address) => book.addresses.insert(node, address.clone()),
            None => book.addresses.remove(&node),
        };
        if known != address {
            // Calls under way finish on the old connections; new ones go to the new address at once.
            book.lines.retain(|(other, _), _| *other != node);
        }
    }
}

impl Line {
    fn new() -> Arc<Line> {
        Arc::new(Line { state: Mutex::new(NEW), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// The connection, made if there is none.
    async fn calls(
        self: &Arc<Line>,
        endpoint: &Arc<Endpoint>,
        to: NodeId,
        service: Service,
        address: &str,
    ) -> Result<Arc<Calls>, PeerError> {
        // Whoever waited for an attempt is content with its result, and does not wait for the next one.
        let mut waited = false;
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let LineState::Up { calls, since } = &*state {
                    let Some(why) = calls.ended() else { return Ok(calls.clone()) };
                    // One that broke as soon as it stood counts as a failed attempt.
                    let pause = (since.elapsed() < endpoint.timing().pause_max)
                        .then(|| Instant::now() + endpoint.timing().pause_min);
                    *state = LineState::Idle { not_before: pause, failures: 0, reason: why.to_string() };
                }
                if let LineState::Idle { not_before, failures, reason } = &*state {
                    if waited || not_before.is_some_and(|moment| Instant::now() < moment) {
                        return Err(PeerError::Unreachable { node: to, reason: reason.clone() });
                    }
                    let failures = *failures;
                    *state = LineState::Connecting;
                    // A task of its own: the caller that happened to start it may leave.
                    let attempt =
                        self.clone().connect(endpoint.clone(), to, service, address.to_owned(), failures);
                    tokio::spawn(attempt);
                }
            }
            changed.await;
            waited = true;
        }
    }

    async fn connect(
        self: Arc<Line>,
        endpoint: Arc<Endpoint>,
        to: NodeId,
        service: Service,
        address: String,
        failures: u32,
    ) {
        let connected = endpoint.connect(&address, Some(to), service, Lane::Calls).await;
        let next = match connected {
            Ok((connection, _)) => {
                let calls = Calls::start(&endpoint, to, connection);
                LineState::Up { calls, since: Instant::now() }
            }
            Err(error) => {
                if failures == 0 {
                    tracing::debug!(node = %to, ?service, %address, %error, "cannot connect");
                }
                let pause = pause_after(&endpoint, failures);
                LineState::Idle {
                    not_before: Some(Instant::now() + pause),
                    failures: failures.saturating_add(1),
                    reason: format!("{address}: {error}"),
                }
            }
        };
        *self.state() = next;
        self.changed.notify_waiters();
    }
}

/// Doubles with every failure, and is never the same for two nodes that lost the same third one.
fn pause_after(endpoint: &Endpoint, failures: u32) -> Duration {
    let timing = endpoint.timing();
    let longest = timing.pause_min.saturating_mul(1 << failures.min(16)).min(timing.pause_max);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}
