//! The listening end: takes connections, checks who is there, and hands requests to services.
//!
//! ```text
//!   listener ──▶ TLS, handshake ──▶ calls:   a task per request, answered in any order
//!                               └─▶ channel: PeerService::open, until it ends
//! ```

use crate::channel;
use crate::endpoint::{ConnectError, Connection, Endpoint};
use crate::frame::{Kind, PAYLOAD_MAX};
use crate::handshake::{Hello, Lane};
use crate::link::{LinkError, Outbox, check_ping};
use crate::security::SecurityError;
use assize_model::NodeId;
use assize_ports::{PeerService, Service};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Connections at a time, of all nodes and services together.
pub const CONNECTIONS_MAX: usize = 4096;
/// Requests of one connection that are worked on at a time; further ones are refused, so that those which wait for others
/// (reservations) never hold up those they wait for.
pub const CALLS_MAX: usize = 16 << 10;
/// Of a host whose connections are refused for one reason again and again the log says so this often.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);
/// So many hosts are remembered for that.
const REFUSED_HOSTS_MAX: usize = 64;

/// What this node offers to others; may change while it runs.
#[derive(Default)]
pub struct Services {
    offered: RwLock<BTreeMap<Service, Arc<dyn PeerService>>>,
}

impl Services {
    /// None yet.
    pub fn new() -> Arc<Services> {
        Arc::default()
    }

    /// Offers a service, in place of the one there was: connections that are there already are answered by it from their
    /// next call on.
    pub fn offer(&self, service: Service, by: Arc<dyn PeerService>) {
        self.offered.write().expect("no panic happens under this lock").insert(service, by);
    }

    /// Offers it no more. Connections to it go on until they end.
    pub fn withdraw(&self, service: Service) {
        self.offered.write().expect("no panic happens under this lock").remove(&service);
    }

    fn get(&self, service: Service) -> Option<Arc<dyn PeerService>> {
        self.offered.read().expect("no panic happens under this lock").get(&service).cloned()
    }
}

/// A node's listening end.
pub struct Server {
    endpoint: Arc<Endpoint>,
    listener: TcpListener,
    services: Arc<Services>,
}

impl Server {
    /// Listens with a listener that is bound already. An error if its address needs TLS and there is none.
    pub fn new(
        endpoint: Arc<Endpoint>,
        listener: TcpListener,
        services: Arc<Services>,
    ) -> Result<Server, SecurityError> {
        endpoint.security().check_listener(listener.local_addr()?)?;
        Ok(Server { endpoint, listener, services })
    }

    /// Serves until `shutdown` completes; then takes nothing new, and gives what is under way a moment to end.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopping) = watch::channel(false);
        let refusals = Arc::new(Refusals::default());
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            // Checked before the accept: beyond the bound the kernel's queue holds back whoever comes.
            let room = connections.len() < CONNECTIONS_MAX;
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, _)) => {
                        let connection = Serving {
                            endpoint: self.endpoint.clone(),
                            services: self.services.clone(),
                            stopping: stopping.clone(),
                            refusals: refusals.clone(),
                        };
                        connections.spawn(connection.run(stream));
                    }
                    Err(error) => pause_after(error).await,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(self.listener);
        let _ = stop.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        // Twice: connections keep to it themselves, and then close.
        let _ = timeout(self.endpoint.timing().grace * 2, ended).await;
        connections.shutdown().await;
    }
}

/// Out of file descriptors, most likely: trying again at once would spin.
async fn pause_after(error: io::Error) {
    tracing::warn!(%error, "a node's connection cannot be taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// One connection.
struct Serving {
    endpoint: Arc<Endpoint>,
    services: Arc<Services>,
    stopping: watch::Receiver<bool>,
    refusals: Arc<Refusals>,
}

/// What the log has said of connections that were refused: a node that cannot be talked to comes again several times a second.
#[derive(Default)]
struct Refusals(Mutex<BTreeMap<IpAddr, Refused>>);

/// Why a host was refused, when that was said, and how often it was not said since.
struct Refused {
    why: String,
    said: Instant,
    unsaid: u64,
}

impl Refusals {
    /// A connection of this host is refused. If that is to be said now: how often it was not said since the last time.
    fn note(&self, host: IpAddr, why: &str, now: Instant) -> Option<u64> {
        let mut hosts = self.0.lock().expect("no panic happens under this lock");
        let known = hosts.get_mut(&host).filter(|refused| refused.why == why);
        if let Some(refused) = known
            && now.saturating_duration_since(refused.said) < REFUSALS_EVERY
        {
            refused.unsaid += 1;
            return None;
        }
        if hosts.len() >= REFUSED_HOSTS_MAX && !hosts.contains_key(&host) {
            hosts.clear();
        }
        let before = hosts.insert(host, Refused { why: why.to_owned(), said: now, unsaid: 0 });
        Some(before.map_or(0, |refused| refused.unsaid))
    }
}

impl Serving {
    async fn run(self, stream: TcpStream) {
        let peer = stream.peer_addr();
        let offers = |service| self.services.get(service).is_some();
        let (connection, hello) = match self.endpoint.accept(stream, offers).await {
            Ok(accepted) => accepted,
            // Port scanners and probes of load balancers; nobody can act on them.
            Err(ConnectError::Link(LinkError::Closed)) => return,
            Err(error) => {
                // Whoever has gone already is nobody's concern.
                if let Ok(peer) = peer
                    && let Some(unsaid) = self.refusals.note(peer.ip(), &error.to_string(), Instant::now())
                {
                    tracing::warn!(%peer, %error, unsaid, "a connection to the nodes' port is refused");
                }
                return;
            }
        };
        // Withdrawn a moment ago, or an introduction: there is nothing more to say.
        let Some(service) = self.services.get(hello.service) else { return };
        let ended = match hello.lane {
            Lane::Introduction => Ok(()),
            Lane::Calls => self.serve_calls(connection, &hello, service).await,
            Lane::Channel => self.serve_channel(connection, &hello, service).await,
        };
        match ended {
            Ok(()) | Err(LinkError::Closed | LinkError::Ended) => {}
            Err(error) => {
                tracing::debug!(node = %hello.from, service = ?hello.service, %error, "connection lost");
            }
        }
    }

    /// Serves calls until the connection breaks or the server stops.
    async fn serve_calls(
        mut self,
        connection: Connection,
        hello: &Hello,
        mut service: Arc<dyn PeerService>,
    ) -> Result<(), LinkError> {
        let Connection { mut reader, writer } = connection;
        let timing = self.endpoint.timing();
        let outbox = Outbox::new();
        let mut writer = outbox.start_writer(&self.endpoint, writer);
        let running = Arc::new(Running::default());
        let _cancel_rest = CancelRest { running: running.clone(), outbox: outbox.clone() };
        let reading = async {
            loop {
                let frame = reader.next(timing.silence_max).await?.ok_or(LinkError::Closed)?;
                match frame.kind {
                    Kind::Call if running.count() >= CALLS_MAX => {
                        let reason = format!("{CALLS_MAX} calls are under way");
                        outbox.push(Kind::Refusal, frame.id, reason.as_bytes())?;
                    }
                    Kind::Call => {
                        // A node offers more as it starts, and others have connected by then.
                        if let Some(offered) = self.services.get(hello.service) {
                            service = offered;
                        }
                        running.start(&service, hello.from, frame.id, frame.payload, &outbox);
                    }
                    Kind::Cancel => running.cancel(frame.id),
                    Kind::Ping => check_ping(&frame, self.endpoint.cluster())?,
                    other => return Err(LinkError::Unexpected(other)),
                }
            }
        };
        tokio::select! {
            ended = reading => ended,
            ended = writer.ended() => ended,
            () = stopped(&mut self.stopping) => {
                let _ = timeout(timing.grace, running.none()).await;
                outbox.finish();
                let _ = timeout(timing.grace, writer.ended()).await;
                Ok(())
            }
        }
    }

    /// Serves one channel until it ends.
    async fn serve_channel(
        mut self,
        mut connection: Connection,
        hello: &Hello,
        service: Arc<dyn PeerService>,
    ) -> Result<(), LinkError> {
        let timing = self.endpoint.timing();
        let first = connection.reader.next(timing.silence_max).await?.ok_or(LinkError::Closed)?;
        if first.kind != Kind::Message {
            return Err(LinkError::Unexpected(first.kind));
        }
        let (channel, control, link) =
            channel::start(self.endpoint.clone(), hello.from, hello.cluster_version, connection);
        let serving = async {
            let mut open = service.open(hello.from, first.payload, channel);
            // Declared after the future that owns the channel, so that it acts first if both are dropped.
            let unfinished = Unfinished(Some(control));
            let served = open.as_mut().await;
            match (served, unfinished.finish()) {
                (Ok(()), control) => drop(control),
                (Err(reason), control) => control.refuse(&reason),
            }
        };
        // The service may leave the channel to a task of its own: the connection lives as long as the channel does.
        let both = async { tokio::join!(serving, link) };
        tokio::select! {
            _ = both => Ok(()),
            () = stopped_for(&mut self.stopping, timing.grace) => Err(LinkError::Ended),
        }
    }
}

/// A channel whose service is at work. If the service is dropped instead of ending, the channel breaks.
struct Unfinished(Option<channel::Control>);

impl Unfinished {
    fn finish(mut self) -> channel::Control {
        self.0.take().expect("taken here alone")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.break_off();
        }
    }
}

/// Completes when the server is told to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is stopped enough.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Completes so long after that.
async fn stopped_for(stopping: &mut watch::Receiver<bool>, grace: Duration) {
    stopped(stopping).await;
    tokio::time::sleep(grace).await;
}

/// The calls of one connection that are worked on.
#[derive(Default)]
struct Running {
    /// `None` while a call is being started.
    calls: Mutex<HashMap<u64, Option<AbortHandle>>>,
    ended: tokio::sync::Notify,
}

impl Running {
    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Option<AbortHandle>>> {
        self.calls.lock().expect("no panic happens under this lock")
    }

    fn count(&self) -> usize {
        self.calls().len()
    }

    fn start(
        self: &Arc<Running>,
        service: &Arc<dyn PeerService>,
        from: NodeId,
        id: u64,
        request: Bytes,
        outbox: &Arc<Outbox>,
    ) {
        let service = service.clone();
        let outbox = outbox.clone();
        self.calls().insert(id, None);
        let place = Place { running: self.clone(), outbox: outbox.clone(), id, answered: false };
        let task = tokio::spawn(async move {
            let mut place = place;
            let answer = service.call(from, request).await;
            let (kind, payload) = match &answer {
                Ok(answer) if answer.len() <= PAYLOAD_MAX => (Kind::Answer, &answer[..]),
                Ok(_) => (Kind::Refusal, &b"the answer is longer than a message may be"[..]),
                Err(reason) => (Kind::Refusal, reason.as_bytes()),
            };
            place.answered = true;
            // A connection that has broken has nobody left to answer.
            let _ = outbox.put(kind, id, payload).await;
        });
        // It may have ended already, and taken itself off.
        if let Some(call) = self.calls().get_mut(&id) {
            *call = Some(task.abort_handle());
        }
    }

    fn cancel(&self, id: u64) {
        let call = self.calls().remove(&id);
        if let Some(Some(call)) = call {
            call.abort();
        }
    }

    /// Completes when no call is worked on.
    async fn none(&self) {
        loop {
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// However a connection ends, nobody works on its calls any longer: there is nobody to answer.
struct CancelRest {
    running: Arc<Running>,
    outbox: Arc<Outbox>,
}

impl Drop for CancelRest {
    fn drop(&mut self) {
        self.outbox.end(LinkError::Ended);
        let calls = std::mem::take(&mut *self.running.calls());
        calls.values().flatten().for_each(AbortHandle::abort);
    }
}

/// A call's place among those that are worked on. However it is left (a panic included), the caller hears of it.
struct Place {
    running: Arc<Running>,
    outbox: Arc<Outbox>,
    id: u64,
    answered: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.calls().remove(&self.id);
        if !self.answered {
            let _ = self.outbox.push(Kind::Refusal, self.id, b"the call was ended");
        }
        self.running.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_said_once_a_minute_and_what_is_new_at_once() {
        let (refusals, begun) = (Refusals::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let host = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert_eq!(refusals.note(host(1), "UnknownCA", begun), Some(0));
        assert_eq!(refusals.note(host(1), "UnknownCA", at(1)), None);
        assert_eq!(refusals.note(host(1), "UnknownCA", at(59)), None);
        assert_eq!(refusals.note(host(2), "UnknownCA", at(59)), Some(0), "another host");
        assert_eq!(refusals.note(host(1), "UnknownCA", at(60)), Some(2));
        assert_eq!(refusals.note(host(1), "another cluster", at(61)), Some(0), "another reason");
        for n in 3..=u8::MAX {
            assert_eq!(refusals.note(host(n), "UnknownCA", at(62)), Some(0));
        }
        assert!(refusals.0.lock().unwrap().len() <= REFUSED_HOSTS_MAX);
    }
}
