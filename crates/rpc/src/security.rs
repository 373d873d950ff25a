//! How connections between nodes are protected: mutual TLS, or plain TCP where nobody else can listen.
//!
//! With TLS both ends show a certificate of the cluster's authority, and each checks that it names the node that it
//! should be. The files are read again when they change: new connections use the new certificates, old ones go on.

use crate::cert;
use assize_model::NodeId;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How often, at most, the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection cannot be protected as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {what}")]
    NotA {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not make a pair, or the authority is none.
    #[error("{path}: {reason}")]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate is another node's, or nobody's.
    #[error("{path} is not the certificate of {node}")]
    NotMine {
        /// The certificate.
        path: PathBuf,
        /// Who this node is.
        node: NodeId,
    },
    /// Plain TCP beyond loopback, without having been told so.
    #[error("nodes would speak without TLS at {0}, which others can reach: set certificates, or `insecure`")]
    NotLoopback(SocketAddr),
    /// The other end showed a good certificate that is not a node's.
    #[error("the certificate of the other end names no node")]
    NoNode,
    /// The network, or the TLS handshake.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a TLS alert says that is about the certificate of whoever hears it.
const CERTIFICATE_ALERTS: [&str; 5] =
    ["UnknownCA", "DecryptError", "AccessDenied", "UnknownIssuer", "ertificate"];
/// What ends a TLS handshake when the other end does not speak TLS.
const NO_TLS: [&str; 2] = ["corrupt message", "tls handshake eof"];

/// Whether the words of a connection that did not come to be are about certificates: this node's, the other end's, or that only one
/// of both has any.
pub fn is_about_certificates(reason: &str) -> bool {
    CERTIFICATE_ALERTS.iter().chain(&NO_TLS).any(|words| reason.contains(words))
}

/// Where the certificates of a node lie, as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The authorities that nodes of this cluster may be certified by; several while one replaces another.
    pub ca: PathBuf,
    /// This node's certificate, and intermediate ones if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How a node protects its connections.
pub struct Security {
    way: Way,
}

enum Way {
    Plain { insecure: bool },
    Tls(Box<Tls>),
}

struct Tls {
    node: NodeId,
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// What the files held when they were last looked at, usable or not.
    seen: Material,
    looked: Instant,
    configs: Configs,
}

#[derive(PartialEq, Eq)]
struct Material {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    /// For a node that is known by name.
    client: Arc<ClientConfig>,
    /// For whichever node listens at an address.
    introduction: Arc<ClientConfig>,
}

/// A protected connection.
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The half of a connection that is read.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a connection that is written.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

impl Stream {
    /// Its two halves.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Stream::Plain(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            Stream::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (Box::new(read), Box::new(write))
            }
        }
    }
}

impl Security {
    /// Mutual TLS for a node, whose certificate must name it.
    pub fn tls(node: NodeId, files: TlsFiles) -> Result<Security, SecurityError> {
        let seen = Material::read(&files)?;
        let configs = Configs::make(node, &files, &seen)?;
        let loaded = Mutex::new(Loaded { seen, looked: Instant::now(), configs });
        Ok(Security { way: Way::Tls(Box::new(Tls { node, files, loaded })) })
    }

    /// Plain TCP for a node that listens at this address: an error if others can reach it, unless `insecure` says that
    /// this is meant. Unless it does, connections are made to loopback addresses only.
    pub fn plain(listen: SocketAddr, insecure: bool) -> Result<Security, SecurityError> {
        let security = Security { way: Way::Plain { insecure } };
        security.check_listener(listen)?;
        if insecure && !listen.ip().is_loopback() {
            tracing::warn!(%listen, "nodes speak without TLS: whoever reaches this address can read and change everything");
        }
        Ok(security)
    }

    /// Whether nodes may listen there.
    pub fn check_listener(&self, listen: SocketAddr) -> Result<(), SecurityError> {
        match self.way {
            Way::Plain { insecure: false } if !listen.ip().is_loopback() => {
                Err(SecurityError::NotLoopback(listen))
            }
            _ => Ok(()),
        }
    }

    /// Whether connections are encrypted and both ends certified.
    pub fn is_tls(&self) -> bool {
        matches!(self.way, Way::Tls(_))
    }

    /// Reads the certificates again; returns whether they have changed. After an error the old ones stay in use.
    pub fn reload(&self) -> Result<bool, SecurityError> {
        match &self.way {
            Way::Plain { .. } => Ok(false),
            Way::Tls(tls) => tls.look(&mut tls.loaded.lock().expect("no panic happens under this lock")),
        }
    }

    /// Connects to a node, or (`None`) to whichever node listens there. Returns whom the certificate names, if there
    /// is one.
    pub async fn connect(
        &self,
        address: &str,
        to: Option<NodeId>,
    ) -> Result<(Stream, Option<NodeId>), SecurityError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let tls = match &self.way {
            Way::Plain { insecure } => {
                let peer = stream.peer_addr()?;
                return match *insecure || peer.ip().is_loopback() {
                    true => Ok((Stream::Plain(stream), None)),
                    false => Err(SecurityError::NotLoopback(peer)),
                };
            }
            Way::Tls(tls) => tls,
        };
        let configs = tls.current();
        let (config, name) = match to {
            Some(node) => (configs.client, cert::node_name(node)),
            None => (configs.introduction, "any.assize".into()),
        };
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let certified = certified(stream.get_ref().1.peer_certificates())?;
        Ok((Stream::Tls(Box::new(TlsStream::Client(stream))), Some(certified)))
    }

    /// Takes a connection. Returns whom the certificate names, if there is one.
    pub async fn accept(&self, stream: TcpStream) -> Result<(Stream, Option<NodeId>), SecurityError> {
        stream.set_nodelay(true)?;
        match &self.way {
            Way::Plain { .. } => Ok((Stream::Plain(stream), None)),
            Way::Tls(tls) => {
                let stream = TlsAcceptor::from(tls.current().server).accept(stream).await?;
                let certified = certified(stream.get_ref().1.peer_certificates())?;
                Ok((Stream::Tls(Box::new(TlsStream::Server(stream))), Some(certified)))
            }
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Plain { insecure } => f.debug_struct("Plain").field("insecure", insecure).finish(),
            Way::Tls(tls) => f.debug_tuple("Tls").field(&tls.files).finish(),
        }
    }
}

/// The node that the other end's certificate, already verified, names.
fn certified(certificates: Option<&[CertificateDer<'_>]>) -> Result<NodeId, SecurityError> {
    certificates.and_then(|chain| chain.first()).and_then(cert::node_of).ok_or(SecurityError::NoNode)
}

impl Tls {
    fn current(&self) -> Configs {
        let mut loaded = self.loaded.lock().expect("no panic happens under this lock");
        if loaded.looked.elapsed() >= LOOK_EVERY
            && let Err(error) = self.look(&mut loaded)
        {
            tracing::warn!(%error, "the nodes' new certificates cannot be used; the old ones stay in use");
        }
        loaded.configs.clone()
    }

    /// Replaces the configurations if the files have changed. What cannot be used is not tried twice.
    fn look(&self, loaded: &mut Loaded) -> Result<bool, SecurityError> {
        loaded.looked = Instant::now();
        let material = Material::read(&self.files)?;
        if material == loaded.seen {
            return Ok(false);
        }
        let made = Configs::make(self.node, &self.files, &material);
        loaded.seen = material;
        loaded.configs = made?;
        Ok(true)
    }
}

impl Material {
    fn read(files: &TlsFiles) -> Result<Material, SecurityError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| SecurityError::File { path: path.to_owned(), error })
        };
        Ok(Material { ca: read(&files.ca)?, certificate: read(&files.certificate)?, key: read(&files.key)? })
    }
}

impl Configs {
    fn make(node: NodeId, files: &TlsFiles, material: &Material) -> Result<Configs, SecurityError> {
        let roots = Arc::new(roots(&files.ca, &material.ca)?);
        let chain = certificates(&files.certificate, &material.certificate)?;
        if chain.first().and_then(cert::node_of) != Some(node) {
            return Err(SecurityError::NotMine { path: files.certificate.clone(), node });
        }
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|_| SecurityError::NotA { path: files.key.clone(), what: "private key" })?;
        let unusable = |reason: &dyn fmt::Display| SecurityError::Unusable {
            path: files.certificate.clone(),
            reason: reason.to_string(),
        };
        let provider = Arc::new(ring::default_provider());

        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unusable(&error))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&error))?;

        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| unusable(&error))?;
        let client = |verifier: Arc<dyn ServerCertVerifier>| {
            ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|error| unusable(&error))?
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| unusable(&error))
        };
        let introduction = client(Arc::new(AnyNode(servers.clone())))?;
        let client = client(servers)?;
        Ok(Configs {
            server: Arc::new(server),
            client: Arc::new(client),
            introduction: Arc::new(introduction),
        })
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SecurityError::NotA { path: path.to_owned(), what: "certificate" }),
    }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, SecurityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| SecurityError::Unusable { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

/// Verifies a node's certificate in everything, but takes whichever node it names: for the first words with an address
/// of which only the address is known.
#[derive(Debug)]
struct AnyNode(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let node = cert::node_of(end_entity)
            .ok_or_else(|| rustls::Error::General("the certificate names no node".into()))?;
        let name = ServerName::try_from(cert::node_name(node))
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        self.0.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::{Authority, OperatorRole};

    fn files(directory: &Path) -> TlsFiles {
        TlsFiles {
            ca: directory.join(cert::CA_CERTIFICATE),
            certificate: directory.join("node-1.pem"),
            key: directory.join("node-1.key"),
        }
    }

    #[test]
    fn plain_connections_are_for_loopback_unless_told_otherwise() {
        let loopback: SocketAddr = "127.0.0.1:7407".parse().unwrap();
        let anywhere: SocketAddr = "0.0.0.0:7407".parse().unwrap();
        assert!(Security::plain(loopback, false).is_ok());
        assert!(matches!(Security::plain(anywhere, false), Err(SecurityError::NotLoopback(_))));
        assert!(Security::plain(anywhere, true).is_ok());
    }

    #[test]
    fn only_the_node_s_own_certificate_will_do() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let authority = Authority::create(directory, 10).unwrap();
        let files = files(directory);
        assert!(matches!(Security::tls(NodeId(1), files.clone()), Err(SecurityError::File { .. })));
        cert::issue_node(directory, NodeId(1), &[], 10).unwrap();
        assert!(Security::tls(NodeId(1), files.clone()).is_ok());
        assert!(matches!(Security::tls(NodeId(2), files.clone()), Err(SecurityError::NotMine { .. })));
        let operator = authority.operator("ada", OperatorRole::Admin, 10).unwrap();
        operator.save(&files.certificate, &files.key).unwrap();
        assert!(matches!(Security::tls(NodeId(1), files), Err(SecurityError::NotMine { .. })));
    }

    /// Why two nodes cannot speak, in the words of the one that connects.
    async fn words(connects: &Security, accepts: &Security) -> String {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = async {
            let (stream, _) = listener.accept().await.unwrap();
            // What is wrong shows at the other end.
            let _ = accepts.accept(stream).await;
        };
        let asking = async {
            match connects.connect(&address, Some(NodeId(2))).await {
                // With TLS 1.3 whoever connects hears only then what the other end thinks of his certificate.
                Ok((stream, _)) => {
                    let (mut read, _writer) = stream.split();
                    read.read_u8().await.unwrap_err().to_string()
                }
                Err(error) => error.to_string(),
            }
        };
        tokio::join!(serving, asking).1
    }

    #[tokio::test]
    async fn what_is_wrong_with_certificates_is_told_from_what_is_wrong_with_the_network() {
        let node = |directory: &Path, node: u64, ca: &Path| {
            cert::issue_node(directory, NodeId(node), &["127.0.0.1".to_owned()], 10).unwrap();
            let files = TlsFiles {
                ca: ca.join(cert::CA_CERTIFICATE),
                certificate: directory.join(format!("node-{node}.pem")),
                key: directory.join(format!("node-{node}.key")),
            };
            Security::tls(NodeId(node), files).unwrap()
        };
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (ours.path(), theirs.path());
        Authority::create(ours, 10).unwrap();
        Authority::create(theirs, 10).unwrap();
        let there = node(ours, 2, ours);
        let stranger = words(&node(theirs, 1, theirs), &there).await;
        assert!(is_about_certificates(&stranger), "it knows another authority: {stranger}");
        let refused = words(&node(theirs, 3, ours), &there).await;
        assert!(is_about_certificates(&refused), "its certificate is of another authority: {refused}");
        assert!(is_about_certificates("tls handshake eof"), "the other end speaks no TLS");
        for network in
            ["Connection refused (os error 111)", "not connected within 1000 ms", "its address is not known"]
        {
            assert!(!is_about_certificates(network), "{network}");
        }
    }

    #[test]
    fn certificates_are_replaced_while_running_and_bad_ones_are_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        Authority::create(directory, 10).unwrap();
        cert::issue_node(directory, NodeId(1), &[], 10).unwrap();
        let files = files(directory);
        let security = Security::tls(NodeId(1), files.clone()).unwrap();
        assert!(!security.reload().unwrap());
        cert::issue_node(directory, NodeId(1), &[], 10).unwrap();
        assert!(security.reload().unwrap());
        assert!(!security.reload().unwrap());
        let pair = Authority::load(directory).unwrap().node(NodeId(1), &[], 10).unwrap();
        std::fs::write(&files.certificate, &pair.certificate).unwrap();
        assert!(security.reload().is_err(), "the key is still the old one");
        std::fs::write(&files.key, &pair.key).unwrap();
        assert!(security.reload().unwrap());
    }
}
