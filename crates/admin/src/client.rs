//! The client's half: a connection to one node's admin API.
//!
//! The kernel of a node whose process hangs takes connections all the same, and so does any other server. So an address counts
//! only once it has answered a first, cheap call; and a connection on which nothing is heard any more is given up, so that
//! neither calls nor streams wait for a node that has stopped meanwhile.

mod obstacle;

pub use obstacle::Obstacle;

use crate::error::explain;
use crate::pb;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, TimeoutExpired};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long an address may take to answer for the first time, connection included.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// How long any call may take, and a stream until it begins. Comparing replicas takes longest.
const CALL_LIMIT: Duration = Duration::from_secs(600);
/// A node that has been silent for so long is asked whether it is still there, and may take so long to say so.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// Where and how to connect.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// `host:port`; several are tried in turn.
    pub addresses: Vec<String>,
    /// Bearer token.
    pub token: Option<String>,
    /// The authority that signed the server's certificate, PEM; `None`: no TLS.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate chain and key, PEM, for servers that ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A call, or the connection for it, failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address makes no sense.
    #[error("{0:?} is no address: host:port is expected")]
    Address(String),
    /// The token holds what a header cannot.
    #[error("the token holds characters that a token cannot have")]
    Token,
    /// What is to name an authority, or us, does not.
    #[error("{0}")]
    Credentials(String),
    /// Nobody answered. Carries what is in the way at each address.
    #[error("no admin API answers: {}", listed(.0))]
    Unreachable(Vec<Attempt>),
    /// The connection to the node was lost, or the node kept silent for too long.
    #[error("{0}")]
    Broken(String),
    /// The server refused or failed. Carries the code, its text, and our reason if there is one.
    #[error("{text}")]
    Refused {
        /// gRPC code.
        code: Code,
        /// The server's words.
        text: String,
        /// Its reason: `REFUSED`, `ROLE_TOO_LOW`, …; empty if it gave none.
        reason: String,
    },
}

/// What came of an address that was of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The address.
    pub address: String,
    /// What is in the way.
    pub obstacle: Obstacle,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.obstacle)
    }
}

fn listed(attempts: &[Attempt]) -> String {
    attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What kind of failure a [`ClientError`] is: what its reader should do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Ask differently.
    Usage,
    /// There is no such thing.
    NotFound,
    /// Not in the cluster's present state.
    Refused,
    /// Show other credentials.
    Forbidden,
    /// Try again.
    Unavailable,
    /// Report it.
    Internal,
}

impl ClientError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ClientError::Address(_) | ClientError::Token | ClientError::Credentials(_) => ErrorKind::Usage,
            ClientError::Unreachable(attempts) => {
                let is_refused = |a: &Attempt| matches!(a.obstacle, Obstacle::ClientCertificate(_));
                let are_all = !attempts.is_empty() && attempts.iter().all(is_refused);
                if are_all { ErrorKind::Forbidden } else { ErrorKind::Unavailable }
            }
            ClientError::Broken(_) => ErrorKind::Unavailable,
            ClientError::Refused { code, .. } => match code {
                Code::InvalidArgument => ErrorKind::Usage,
                Code::NotFound => ErrorKind::NotFound,
                Code::FailedPrecondition => ErrorKind::Refused,
                Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Forbidden,
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        // What the server says has no source; what became of the connection has.
        if let Some(source) = status.source() {
            return ClientError::Broken(broken(source));
        }
        let reason = explain(&status).map(|explained| explained.reason).unwrap_or_default();
        ClientError::Refused { code: status.code(), text: status.message().to_owned(), reason }
    }
}

/// A connection whose calls carry the token.
pub type AuthorizedChannel = InterceptedService<Channel, Bearer>;

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// A connection to the admin API of one node.
#[derive(Clone)]
pub struct Client {
    channel: AuthorizedChannel,
    address: String,
    passed_over: Vec<Attempt>,
}

impl Client {
    /// Connects to the first address that answers.
    pub async fn connect(options: &ClientOptions) -> Result<Client, ClientError> {
        let bearer = bearer(options.token.as_deref())?;
        check_authority(options.ca.as_deref())?;
        let mut passed_over = Vec::new();
        for address in &options.addresses {
            match attempt(&endpoint(address, options)?).await {
                Ok(channel) => {
                    let channel = InterceptedService::new(channel, bearer);
                    return Ok(Client { channel, address: address.clone(), passed_over });
                }
                Err(failed) => {
                    let obstacle = failed.obstacle(bare(address), options).await;
                    passed_over.push(Attempt { address: bare(address).to_owned(), obstacle });
                }
            }
        }
        Err(ClientError::Unreachable(passed_over))
    }

    /// The address that answered.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The addresses before it, which were of no use.
    pub fn passed_over(&self) -> &[Attempt] {
        &self.passed_over
    }

    /// Nodes and health.
    pub fn cluster(&self) -> pb::cluster_client::ClusterClient<AuthorizedChannel> {
        pb::cluster_client::ClusterClient::new(self.channel.clone())
    }

    /// Transactions and conflicts.
    pub fn transactions(&self) -> pb::transactions_client::TransactionsClient<AuthorizedChannel> {
        pb::transactions_client::TransactionsClient::new(self.channel.clone())
    }

    /// Shards and replicas.
    pub fn shards(&self) -> pb::shards_client::ShardsClient<AuthorizedChannel> {
        pb::shards_client::ShardsClient::new(self.channel.clone())
    }

    /// Databases, tables and jobs.
    pub fn schema(&self) -> pb::schema_client::SchemaClient<AuthorizedChannel> {
        pb::schema_client::SchemaClient::new(self.channel.clone())
    }

    /// Connections and statements.
    pub fn sessions(&self) -> pb::sessions_client::SessionsClient<AuthorizedChannel> {
        pb::sessions_client::SessionsClient::new(self.channel.clone())
    }

    /// Settings.
    pub fn config(&self) -> pb::config_client::ConfigClient<AuthorizedChannel> {
        pb::config_client::ConfigClient::new(self.channel.clone())
    }
}

fn bearer(token: Option<&str>) -> Result<Bearer, ClientError> {
    let header = |token: &str| format!("Bearer {token}").parse().map_err(|_| ClientError::Token);
    token.map(header).transpose().map(Bearer)
}

/// An authority without a certificate would vouch for nobody.
fn check_authority(ca: Option<&[u8]>) -> Result<(), ClientError> {
    let holds_one = |pem| CertificateDer::pem_slice_iter(pem).next().is_some_and(|found| found.is_ok());
    match ca {
        Some(pem) if !holds_one(pem) => {
            Err(ClientError::Credentials("the file of --ca holds no certificate".to_owned()))
        }
        _ => Ok(()),
    }
}

/// An address without what may be written around it.
fn bare(address: &str) -> &str {
    address.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/')
}

fn endpoint(address: &str, options: &ClientOptions) -> Result<Endpoint, ClientError> {
    let scheme = if options.ca.is_some() { "https" } else { "http" };
    let bare = bare(address);
    let invalid = || ClientError::Address(address.to_owned());
    if !bare.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(invalid());
    }
    let endpoint = Endpoint::from_shared(format!("{scheme}://{bare}"))
        .map_err(|_| invalid())?
        .connect_timeout(ATTEMPT_LIMIT)
        .timeout(CALL_LIMIT)
        .http2_keep_alive_interval(SILENCE_LIMIT)
        .keep_alive_timeout(SILENCE_LIMIT)
        .tcp_nodelay(true);
    let Some(ca) = &options.ca else { return Ok(endpoint) };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).timeout(ATTEMPT_LIMIT);
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let unusable = |e| {
        ClientError::Credentials(format!(
            "the client certificate and its key are of no use: {}",
            root_cause(&e)
        ))
    };
    endpoint.tls_config(tls).map_err(unusable)
}

/// Why an address is passed over.
enum Failed {
    /// It is known what is in the way.
    Known(Obstacle),
    /// Somehow, in a library's words.
    Somehow(String),
}

impl Failed {
    async fn obstacle(self, place: &str, options: &ClientOptions) -> Obstacle {
        match self {
            Failed::Known(obstacle) => obstacle,
            Failed::Somehow(words) => obstacle::find(place, options, words).await,
        }
    }
}

/// A connection on which the first call was answered.
async fn attempt(endpoint: &Endpoint) -> Result<Channel, Failed> {
    let somehow = |error: &dyn std::error::Error| Failed::Somehow(root_cause(error));
    let answered = async {
        let channel = endpoint.connect().await.map_err(|error| somehow(&error))?;
        // Health needs no credentials.
        let asked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        match asked.map(|answer| answer.into_inner().status()) {
            Ok(ServingStatus::NotServing) => Err(Failed::Known(Obstacle::Stopping)),
            Ok(_) => Ok(channel),
            Err(status) if status.source().is_some() => Err(somehow(&status)),
            // Something else that speaks HTTP/2.
            Err(status) if status.code() == Code::Unimplemented => Err(Failed::Known(Obstacle::NoAdminApi)),
            Err(status) => Err(Failed::Known(Obstacle::Broken(status.message().to_owned()))),
        }
    };
    let late = || Failed::Somehow(format!("no answer in {} s", ATTEMPT_LIMIT.as_secs()));
    tokio::time::timeout(ATTEMPT_LIMIT, answered).await.unwrap_or_else(|_| Err(late()))
}

/// What became of a call whose connection did not bring its answer.
fn broken(source: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(source), |error| (*error).source());
    if causes.any(|error| error.is::<TimeoutExpired>()) {
        let seconds = CALL_LIMIT.as_secs();
        return format!("the node has not answered in {seconds} s; what it was asked to do may yet be done");
    }
    format!("the connection to the node was lost: {}", root_cause(source))
}

/// The last error of a chain says most: `connection refused`, `invalid peer certificate`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
