//! Who speaks to whom, agreed before anything else is said.
//!
//! ```text
//!   connecting node                                listening node
//!        │── Hello {from, to, cluster, service, …} ──▶│  certificate names `from`? this is `to`?
//!        │                                            │  same cluster? same protocol?
//!        │◀── Welcome {node, cluster, release, …} ────┤
//!        │◀── or Refusal: why, in words ──────────────┘
//! ```
//!
//! Pure: values, their bytes, and the rules by which one end refuses the other.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::NodeId;
use assize_ports::Service;

/// What every handshake begins with.
const MAGIC: [u8; 8] = *b"assizerp";
/// The version of frames and of the handshake that this binary speaks.
pub const PROTOCOL: u16 = 1;
/// Bytes of a handshake's frame: whoever has not shown who it is yet cannot make us hold more.
pub const HANDSHAKE_MAX: usize = 8 << 10;
/// Bytes of a release's name.
const RELEASE_MAX: usize = 128;

/// The number of a cluster; 0 while a node belongs to none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// A node that belongs to no cluster.
    pub const NONE: ClusterId = ClusterId(0);

    /// Whether nodes of these two may talk: only a node that belongs to none may talk to any.
    pub fn may_talk_to(self, other: ClusterId) -> bool {
        self == other || self == ClusterId::NONE || other == ClusterId::NONE
    }
}

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("no cluster"),
            number => write!(f, "cluster {number:032x}"),
        }
    }
}

/// What a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Requests and answers of many callers.
    Calls,
    /// One channel.
    Channel,
    /// Nothing: the connecting node only asks who listens here.
    Introduction,
}

/// The connecting node's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Who it is.
    pub from: NodeId,
    /// Whom it wants to reach; `None` for whoever listens there.
    pub to: Option<NodeId>,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What it wants to speak to.
    pub service: Service,
    /// And how.
    pub lane: Lane,
    /// Its release.
    pub release: String,
    /// The highest cluster version that its binary understands.
    pub cluster_version: u32,
}

/// The listening node's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Who it is.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its release.
    pub release: String,
    /// The highest cluster version that its binary understands.
    pub cluster_version: u32,
}

/// One end will not talk to the other.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not a node of ours at all.
    #[error("the other end does not speak the language of nodes")]
    NotANode,
    /// Too new or too old.
    #[error("the other end speaks version {theirs} of the nodes' protocol, this one version {ours}")]
    OtherProtocol {
        /// This binary's.
        ours: u16,
        /// The other's.
        theirs: u16,
    },
    /// The right language, and nonsense in it.
    #[error("the handshake cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// Nodes of two clusters never talk.
    #[error("{node} belongs to {theirs}, this node to {ours}")]
    OtherCluster {
        /// Who said so.
        node: NodeId,
        /// This node's.
        ours: ClusterId,
        /// The other's.
        theirs: ClusterId,
    },
    /// Somebody else listens at this address.
    #[error("this is {found}, not {wanted}")]
    OtherNode {
        /// Who was wanted.
        wanted: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The certificate is good and belongs to somebody else.
    #[error("the certificate is that of {certified}, not of {claimed}")]
    WrongCertificate {
        /// Who the other end says it is.
        claimed: NodeId,
        /// Who its certificate says it is.
        certified: NodeId,
    },
    /// The listening node refused.
    #[error("{0}")]
    Refused(String),
}

impl Hello {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.put_slice(&MAGIC);
        out.put_u16(PROTOCOL);
        out.put_u128(self.cluster.0);
        out.put_u64(self.from.0);
        out.put_bool(self.to.is_some());
        if let Some(to) = self.to {
            out.put_u64(to.0);
        }
        out.put_u8(self.service as u8);
        out.put_u8(match self.lane {
            Lane::Calls => 1,
            Lane::Channel => 2,
            Lane::Introduction => 3,
        });
        put_release(&mut out, &self.release);
        out.put_u32(self.cluster_version);
        out
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Hello, HandshakeError> {
        let mut reader = read_protocol(bytes)?;
        let cluster = ClusterId(reader.u128()?);
        let from = NodeId(reader.u64()?);
        let to = if reader.bool()? { Some(NodeId(reader.u64()?)) } else { None };
        let number = reader.u8()?;
        let service = Service::from_number(number).ok_or_else(|| reader.bad("service", number.into()))?;
        let lane = match reader.u8()? {
            1 => Lane::Calls,
            2 => Lane::Channel,
            3 => Lane::Introduction,
            other => return Err(reader.bad("lane", other.into()).into()),
        };
        let release = reader.str()?.to_owned();
        let cluster_version = reader.u32()?;
        reader.finish()?;
        Ok(Hello { from, to, cluster, service, lane, release, cluster_version })
    }
}

impl Welcome {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_slice(&MAGIC);
        out.put_u16(PROTOCOL);
        out.put_u128(self.cluster.0);
        out.put_u64(self.node.0);
        put_release(&mut out, &self.release);
        out.put_u32(self.cluster_version);
        out
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Welcome, HandshakeError> {
        let mut reader = read_protocol(bytes)?;
        let cluster = ClusterId(reader.u128()?);
        let node = NodeId(reader.u64()?);
        let release = reader.str()?.to_owned();
        let cluster_version = reader.u32()?;
        reader.finish()?;
        Ok(Welcome { node, cluster, release, cluster_version })
    }
}

/// A release's name, cut where it would make a handshake too long.
fn put_release(out: &mut Vec<u8>, release: &str) {
    let end = (0..=RELEASE_MAX.min(release.len())).rev().find(|end| release.is_char_boundary(*end));
    out.put_str(&release[..end.unwrap_or(0)]);
}

fn read_protocol(bytes: &[u8]) -> Result<Reader<'_>, HandshakeError> {
    let mut reader = Reader::new(bytes);
    if reader.slice(MAGIC.len()).ok() != Some(&MAGIC[..]) {
        return Err(HandshakeError::NotANode);
    }
    match reader.u16()? {
        PROTOCOL => Ok(reader),
        theirs => Err(HandshakeError::OtherProtocol { ours: PROTOCOL, theirs }),
    }
}

/// Whether a listening node takes this connection; `certified` is whom the certificate names, if there is one.
pub fn check_hello(
    hello: &Hello,
    node: NodeId,
    cluster: ClusterId,
    certified: Option<NodeId>,
) -> Result<(), HandshakeError> {
    if let Some(wanted) = hello.to
        && wanted != node
    {
        return Err(HandshakeError::OtherNode { wanted, found: node });
    }
    check_peer(hello.from, hello.cluster, cluster, certified)
}

/// Whether a connecting node has found whom it wanted.
pub fn check_welcome(
    welcome: &Welcome,
    wanted: Option<NodeId>,
    cluster: ClusterId,
    certified: Option<NodeId>,
) -> Result<(), HandshakeError> {
    if let Some(wanted) = wanted
        && wanted != welcome.node
    {
        return Err(HandshakeError::OtherNode { wanted, found: welcome.node });
    }
    check_peer(welcome.node, welcome.cluster, cluster, certified)
}

fn check_peer(
    claimed: NodeId,
    theirs: ClusterId,
    ours: ClusterId,
    certified: Option<NodeId>,
) -> Result<(), HandshakeError> {
    if let Some(certified) = certified
        && certified != claimed
    {
        return Err(HandshakeError::WrongCertificate { claimed, certified });
    }
    if !ours.may_talk_to(theirs) {
        return Err(HandshakeError::OtherCluster { node: claimed, ours, theirs });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_codec::samples::Samples;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            from: NodeId(1),
            to: Some(NodeId(2)),
            cluster: ClusterId(77),
            service: Service::Replica,
            lane: Lane::Channel,
            release: "0.1.0".into(),
            cluster_version: 3,
        }
    }

    fn welcome() -> Welcome {
        Welcome { node: NodeId(2), cluster: ClusterId(77), release: "0.1.0".into(), cluster_version: 3 }
    }

    #[test]
    fn a_handshake_comes_back_as_it_was_and_no_part_of_it_does() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        assert!((0..bytes.len()).all(|end| Hello::decode(&bytes[..end]).is_err()));
        let anybody = Hello { to: None, lane: Lane::Introduction, ..hello() };
        assert_eq!(Hello::decode(&anybody.encode()).as_ref(), Ok(&anybody));
        let mut samples = Samples::default();
        samples.add("Hello", &bytes);
        samples.add("Hello.anybody", &anybody.encode());
        let bytes = welcome().encode();
        samples.add("Welcome", &bytes);
        samples.are(include_str!("samples/handshake_v1.hex"));
        assert_eq!(Welcome::decode(&bytes), Ok(welcome()));
        assert!((0..bytes.len()).all(|end| Welcome::decode(&bytes[..end]).is_err()));
    }

    #[test]
    fn another_protocol_and_another_language_are_told_apart() {
        let mut bytes = hello().encode();
        bytes[8] = 9;
        assert_eq!(Hello::decode(&bytes), Err(HandshakeError::OtherProtocol { ours: 1, theirs: 9 }));
        bytes[0] = b'x';
        assert_eq!(Hello::decode(&bytes), Err(HandshakeError::NotANode));
    }

    #[test]
    fn nodes_of_two_clusters_never_talk_but_a_node_of_none_talks_to_any() {
        let check = |ours, theirs| {
            check_hello(&Hello { cluster: ClusterId(theirs), ..hello() }, NodeId(2), ClusterId(ours), None)
        };
        assert!(check(77, 77).is_ok());
        assert!(check(0, 77).is_ok());
        assert!(check(77, 0).is_ok());
        assert!(check(0, 0).is_ok());
        assert!(matches!(check(78, 77), Err(HandshakeError::OtherCluster { .. })));
    }

    #[test]
    fn a_claim_must_be_what_the_certificate_says() {
        let wrong = check_hello(&hello(), NodeId(2), ClusterId(77), Some(NodeId(3)));
        assert!(matches!(wrong, Err(HandshakeError::WrongCertificate { .. })));
        assert!(check_hello(&hello(), NodeId(2), ClusterId(77), Some(NodeId(1))).is_ok());
        let wrong = check_welcome(&welcome(), None, ClusterId(77), Some(NodeId(3)));
        assert!(matches!(wrong, Err(HandshakeError::WrongCertificate { .. })));
        let other = check_welcome(&welcome(), Some(NodeId(5)), ClusterId(77), None);
        assert!(matches!(other, Err(HandshakeError::OtherNode { .. })));
        let other = check_hello(&hello(), NodeId(5), ClusterId(77), None);
        assert!(matches!(other, Err(HandshakeError::OtherNode { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let mut with_head = MAGIC.to_vec();
            with_head.extend_from_slice(&PROTOCOL.to_le_bytes());
            with_head.extend_from_slice(&bytes);
            prop_assert!(Hello::decode(&bytes).is_err());
            let _ = Hello::decode(&with_head);
            let _ = Welcome::decode(&with_head);
        }
    }
}
