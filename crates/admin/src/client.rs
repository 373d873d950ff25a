//! The client's half: a connection to one node's admin API.

use crate::error::explain;
use crate::pb;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

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
    /// Nobody answered; the text says what each address did.
    #[error("no admin API answers: {0}")]
    Unreachable(String),
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
            ClientError::Address(_) | ClientError::Token => ErrorKind::Usage,
            ClientError::Unreachable(_) => ErrorKind::Unavailable,
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
}

impl Client {
    /// Connects to the first address that answers.
    pub async fn connect(options: &ClientOptions) -> Result<Client, ClientError> {
        let bearer = bearer(options.token.as_deref())?;
        let mut problems = Vec::new();
        for address in &options.addresses {
            match endpoint(address, options)?.connect().await {
                Ok(channel) => {
                    let channel = InterceptedService::new(channel, bearer);
                    return Ok(Client { channel, address: address.clone() });
                }
                Err(error) => problems.push(format!("{address}: {}", root_cause(&error))),
            }
        }
        Err(ClientError::Unreachable(problems.join("; ")))
    }

    /// The address that answered.
    pub fn address(&self) -> &str {
        &self.address
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

fn endpoint(address: &str, options: &ClientOptions) -> Result<Endpoint, ClientError> {
    let scheme = if options.ca.is_some() { "https" } else { "http" };
    let bare = address.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let invalid = || ClientError::Address(address.to_owned());
    if !bare.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(invalid());
    }
    let endpoint = Endpoint::from_shared(format!("{scheme}://{bare}")).map_err(|_| invalid())?;
    let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true);
    let Some(ca) = &options.ca else { return Ok(endpoint) };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).timeout(CONNECT_LIMIT);
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    endpoint.tls_config(tls).map_err(|e| ClientError::Unreachable(format!("{address}: {}", root_cause(&e))))
}

/// The last error of a chain says most: `connection refused`, `invalid peer certificate`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
