//! Who this node is to others, and how a connection comes to be: TCP, TLS, handshake.

use crate::frame::{self, Kind};
use crate::handshake::{
    ClusterId, HANDSHAKE_MAX, HandshakeError, Hello, Lane, Welcome, check_hello, check_welcome,
};
use crate::link::{FrameReader, LinkError, Timing, reason_of};
use crate::security::{Security, SecurityError, WriteHalf};
use assize_model::NodeId;
use assize_ports::{Presence, Service};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP or TLS.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// One end will not talk to the other.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It broke before it stood.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It took too long.
    #[error("not connected within {} ms", .0.as_millis())]
    TooSlow(std::time::Duration),
}

impl ConnectError {
    /// Whether the other end was reached and would not have us: trying again at once changes nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(self, ConnectError::Handshake(_))
    }

    /// What it says of the process at the other end.
    pub fn presence(&self) -> Presence {
        use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
        match self {
            ConnectError::Security(SecurityError::Io(error)) => match error.kind() {
                ConnectionRefused | ConnectionReset | BrokenPipe | UnexpectedEof => Presence::Gone,
                // Its certificate, for one, is no good: somebody has shown it.
                std::io::ErrorKind::InvalidData => Presence::Here,
                _ => Presence::Unknown,
            },
            ConnectError::Link(LinkError::Closed | LinkError::Io(_)) => Presence::Gone,
            ConnectError::Link(LinkError::Silent(_) | LinkError::Ended) => Presence::Unknown,
            ConnectError::Handshake(_)
            | ConnectError::Link(_)
            | ConnectError::Security(SecurityError::NoNode) => Presence::Here,
            ConnectError::Security(_) | ConnectError::TooSlow(_) => Presence::Unknown,
        }
    }
}

/// A node's end of every connection.
pub struct Endpoint {
    node: NodeId,
    release: String,
    cluster_version: u32,
    cluster: Mutex<ClusterId>,
    security: Security,
    timing: Timing,
}

/// A connection that stands.
pub struct Connection {
    /// What comes in.
    pub reader: FrameReader,
    /// Where to write.
    pub writer: WriteHalf,
}

impl Endpoint {
    /// The end of a node, which belongs to no cluster yet. `release` is its binary's; `cluster_version` the highest that
    /// its binary understands.
    pub fn new(node: NodeId, release: &str, cluster_version: u32, security: Security) -> Arc<Endpoint> {
        Endpoint::with_timing(node, release, cluster_version, security, Timing::default())
    }

    /// As [`Endpoint::new`], with times of its own.
    pub fn with_timing(
        node: NodeId,
        release: &str,
        cluster_version: u32,
        security: Security,
        timing: Timing,
    ) -> Arc<Endpoint> {
        let cluster = Mutex::new(ClusterId::NONE);
        Arc::new(Endpoint { node, release: release.into(), cluster_version, cluster, security, timing })
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster that this node belongs to.
    pub fn cluster(&self) -> ClusterId {
        *self.cluster.lock().expect("no panic happens under this lock")
    }

    /// Tells which cluster this node belongs to. Connections to nodes of other clusters end with the next ping.
    pub fn set_cluster(&self, cluster: ClusterId) {
        *self.cluster.lock().expect("no panic happens under this lock") = cluster;
    }

    /// How its connections are protected.
    pub fn security(&self) -> &Security {
        &self.security
    }

    /// Its times.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Connects, and agrees with the other end on who speaks to whom about what.
    pub async fn connect(
        &self,
        address: &str,
        to: Option<NodeId>,
        service: Service,
        lane: Lane,
    ) -> Result<(Connection, Welcome), ConnectError> {
        let limit = self.timing.connect_max;
        match timeout(limit, self.greet(address, to, service, lane)).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::TooSlow(limit)),
        }
    }

    async fn greet(
        &self,
        address: &str,
        to: Option<NodeId>,
        service: Service,
        lane: Lane,
    ) -> Result<(Connection, Welcome), ConnectError> {
        let (stream, certified) = self.security.connect(address, to).await?;
        let (read, mut writer) = stream.split();
        let mut reader = FrameReader::new(read, HANDSHAKE_MAX);
        let hello = Hello {
            from: self.node,
            to,
            cluster: self.cluster(),
            service,
            lane,
            release: self.release.clone(),
            cluster_version: self.cluster_version,
        };
        write_frame(&mut writer, Kind::Hello, &hello.encode()).await?;
        let frame = reader.next(self.timing.connect_max).await?.ok_or(LinkError::Closed)?;
        match frame.kind {
            Kind::Welcome => {
                let welcome = Welcome::decode(&frame.payload)?;
                check_welcome(&welcome, to, self.cluster(), certified)?;
                reader.trust();
                Ok((Connection { reader, writer }, welcome))
            }
            Kind::Refusal => Err(HandshakeError::Refused(reason_of(&frame)).into()),
            other => Err(LinkError::Unexpected(other).into()),
        }
    }

    /// Takes a connection from a node that may talk to this one about a service that it `offers`.
    pub async fn accept(
        &self,
        stream: TcpStream,
        offers: impl Fn(Service) -> bool,
    ) -> Result<(Connection, Hello), ConnectError> {
        let limit = self.timing.connect_max;
        match timeout(limit, self.receive(stream, offers)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(ConnectError::TooSlow(limit)),
        }
    }

    async fn receive(
        &self,
        stream: TcpStream,
        offers: impl Fn(Service) -> bool,
    ) -> Result<(Connection, Hello), ConnectError> {
        let (stream, certified) = self.security.accept(stream).await?;
        let (read, mut writer) = stream.split();
        let mut reader = FrameReader::new(read, HANDSHAKE_MAX);
        let frame = reader.next(self.timing.connect_max).await?.ok_or(LinkError::Closed)?;
        if frame.kind != Kind::Hello {
            return Err(HandshakeError::NotANode.into());
        }
        let agreed = Hello::decode(&frame.payload).and_then(|hello| {
            check_hello(&hello, self.node, self.cluster(), certified)?;
            match hello.lane == Lane::Introduction || offers(hello.service) {
                true => Ok(hello),
                false => Err(HandshakeError::Refused(format!("no {:?} service here", hello.service))),
            }
        });
        match agreed {
            Ok(hello) => {
                let welcome = Welcome {
                    node: self.node,
                    cluster: self.cluster(),
                    release: self.release.clone(),
                    cluster_version: self.cluster_version,
                };
                write_frame(&mut writer, Kind::Welcome, &welcome.encode()).await?;
                reader.trust();
                Ok((Connection { reader, writer }, hello))
            }
            Err(error) => {
                // Told to whoever has passed TLS, as far as the connection carries it.
                let _ = write_frame(&mut writer, Kind::Refusal, self.reason(&error).as_bytes()).await;
                let _ = writer.shutdown().await;
                Err(error.into())
            }
        }
    }

    /// What the other end is told: the error is worded from this end, so it says whose words these are.
    fn reason(&self, error: &HandshakeError) -> String {
        match error {
            HandshakeError::Refused(reason) => reason.clone(),
            error => format!("{} says: {error}", self.node),
        }
    }
}

async fn write_frame(writer: &mut WriteHalf, kind: Kind, payload: &[u8]) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, kind, 0, payload);
    writer.write_all(&bytes).await?;
    writer.flush().await?;
    Ok(())
}
