//! Serving: TLS, health, reflection, and an orderly end.

use crate::DESCRIPTORS;
use crate::audit::Audit;
use crate::auth::{Authenticator, CredentialsError, Identity, Role};
use crate::gate::Gate;
use crate::pb;
use crate::services::Services;
use crate::tls::{Certificates, protected};
use assize_ports::ClusterView;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::service::{InterceptorLayer, interceptor::InterceptedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use tonic_health::ServingStatus;

/// Calls under way on one connection.
const CONCURRENT_MAX: usize = 64;
/// A connection whose peer is silent for this long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long calls under way may take to end once the node stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How the API is served.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificates; `None`: no TLS.
    pub tls: Option<Tls>,
    /// Who may do what. `None`: everybody who reaches the API may do everything.
    pub tokens_file: Option<PathBuf>,
    /// The audit log; `None` for a node that keeps nothing on disk: then it goes to the process's log only.
    pub audit_file: Option<PathBuf>,
    /// Serve beyond loopback without TLS, or without credentials.
    pub insecure: bool,
}

/// Certificates. The files may be replaced while the API is served.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority that signs clients' certificates, PEM. `None`: clients show tokens only.
    pub client_ca: Option<PathBuf>,
}

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Everybody on the network could read what is said.
    #[error(
        "the admin API at {0} is open to the network and has no TLS: set `admin.tls_certificate` and \
         `admin.tls_key`, or `admin.insecure = true`"
    )]
    NoTls(SocketAddr),
    /// Everybody on the network could do everything.
    #[error(
        "the admin API at {0} is open to the network and asks nobody who they are: set `admin.tokens_file`, or \
         `admin.insecure = true`"
    )]
    NoCredentials(SocketAddr),
    /// The credentials file is of no use.
    #[error("setting `admin.tokens_file`: {0}")]
    Credentials(#[from] CredentialsError),
    /// A certificate or key cannot be read.
    #[error("setting `{setting}`: {}: {error}", path.display())]
    Read {
        /// What names the file.
        setting: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A certificate or key is of no use.
    #[error("setting `{setting}`: {}: {reason}", path.display())]
    Certificate {
        /// What names the file.
        setting: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The listener broke.
    #[error("the admin API cannot be served: {0:?}")]
    Transport(#[from] tonic::transport::Error),
    /// Our own descriptors are broken.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener's address is unknown.
    #[error("the admin API's listener: {0}")]
    Listener(#[from] std::io::Error),
}

/// Everything that can be wrong with the options, found before a node starts: what would be open to the network by
/// mistake, files that cannot be read, credentials and certificates that make no sense.
pub fn check(address: SocketAddr, options: &Options) -> Result<(), StartError> {
    refuse_mistakes(address, options)?;
    Authenticator::new(options.tokens_file.as_deref())?;
    if let Some(tls) = &options.tls {
        Certificates::open(tls)?;
    }
    Ok(())
}

/// Serves until `shutdown` completes; then calls under way have a few seconds to end, and streams are told to. Refuses
/// what [`check`] refuses.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    view: Arc<dyn ClusterView>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    refuse_mistakes(listener.local_addr()?, &options)?;
    let authenticator = Arc::new(Authenticator::new(options.tokens_file.as_deref())?);
    let server = Server::builder()
        .concurrency_limit_per_connection(CONCURRENT_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE));
    let certificates = options.tls.as_ref().map(Certificates::open).transpose()?;

    let (stop, stopping) = watch::channel(false);
    let gate = Arc::new(Gate::new(view.clone(), Audit { file: options.audit_file.clone() }));
    let services = Services { view, gate, stopping: stopping.clone() };
    let (reporter, health) = tonic_health::server::health_reporter();
    announce(&reporter, ServingStatus::Serving).await;

    let router = server
        .layer(InterceptorLayer::new(move |request: Request<()>| Ok(authenticator.identify(request))))
        .add_service(pb::cluster_server::ClusterServer::new(services.clone()))
        .add_service(pb::transactions_server::TransactionsServer::new(services.clone()))
        .add_service(pb::shards_server::ShardsServer::new(services.clone()))
        .add_service(pb::schema_server::SchemaServer::new(services.clone()))
        .add_service(pb::sessions_server::SessionsServer::new(services.clone()))
        .add_service(pb::config_server::ConfigServer::new(services))
        .add_service(health)
        .add_service(InterceptedService::new(reflection().build_v1()?, viewers_only))
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, viewers_only));

    let signal = async move {
        shutdown.await;
        announce(&reporter, ServingStatus::NotServing).await;
        stop.send_replace(true);
    };
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = async move {
        match certificates {
            Some(certificates) => {
                let connections = protected(connections, Arc::new(certificates));
                router.serve_with_incoming_shutdown(connections, signal).await
            }
            None => router.serve_with_incoming_shutdown(connections, signal).await,
        }
    };
    tokio::select! {
        result = serving => Ok(result?),
        () = drained(stopping) => Ok(()),
    }
}

/// Refuses to serve what would be open to everybody by mistake.
fn refuse_mistakes(address: SocketAddr, options: &Options) -> Result<(), StartError> {
    if address.ip().is_loopback() || options.insecure {
        return Ok(());
    }
    if options.tls.is_none() {
        return Err(StartError::NoTls(address));
    }
    if options.tokens_file.is_none() {
        return Err(StartError::NoCredentials(address));
    }
    Ok(())
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Reflection is for those who may look.
fn viewers_only(request: Request<()>) -> Result<Request<()>, Status> {
    Identity::of(&request).caller()?.require(Role::Viewer, "ServerReflection")?;
    Ok(request)
}

/// Sets the health of every service.
async fn announce(reporter: &tonic_health::server::HealthReporter, status: ServingStatus) {
    for service in ["", CLUSTER, TRANSACTIONS, SHARDS, SCHEMA, SESSIONS, CONFIG] {
        reporter.set_service_status(service, status).await;
    }
}

const CLUSTER: &str = <pb::cluster_server::ClusterServer<Services> as NamedService>::NAME;
const TRANSACTIONS: &str = <pb::transactions_server::TransactionsServer<Services> as NamedService>::NAME;
const SHARDS: &str = <pb::shards_server::ShardsServer<Services> as NamedService>::NAME;
const SCHEMA: &str = <pb::schema_server::SchemaServer<Services> as NamedService>::NAME;
const SESSIONS: &str = <pb::sessions_server::SessionsServer<Services> as NamedService>::NAME;
const CONFIG: &str = <pb::config_server::ConfigServer<Services> as NamedService>::NAME;

/// Completes a while after the node began to stop: a caller that holds on must not keep it alive.
async fn drained(mut stopping: watch::Receiver<bool>) {
    // The sender lives as long as the serving future, which ends by itself if the sender is gone.
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DRAIN_LIMIT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_open_to_the_network_by_mistake() {
        let open: SocketAddr = "0.0.0.0:7406".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:7406".parse().unwrap();
        let tls = Tls { certificate: "c".into(), key: "k".into(), client_ca: None };
        let bare = Options::default();
        let only_tls = Options { tls: Some(tls.clone()), ..bare.clone() };
        let only_tokens = Options { tokens_file: Some("t".into()), ..bare.clone() };
        let both = Options { tls: Some(tls), ..only_tokens.clone() };
        let told = Options { insecure: true, ..bare.clone() };
        assert!(refuse_mistakes(local, &bare).is_ok());
        assert!(matches!(refuse_mistakes(open, &bare), Err(StartError::NoTls(_))));
        assert!(matches!(refuse_mistakes(open, &only_tokens), Err(StartError::NoTls(_))));
        assert!(matches!(refuse_mistakes(open, &only_tls), Err(StartError::NoCredentials(_))));
        assert!(refuse_mistakes(open, &both).is_ok());
        assert!(refuse_mistakes(open, &told).is_ok());
    }

    #[test]
    fn what_is_missing_or_broken_is_found_before_a_node_starts() {
        let local: SocketAddr = "127.0.0.1:7406".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls { certificate: dir.path().join("c"), key: dir.path().join("k"), client_ca: None };
        let no_tokens = Options { tokens_file: Some(dir.path().join("t")), ..Options::default() };
        assert!(matches!(check(local, &no_tokens), Err(StartError::Credentials(_))));
        let with_tls = Options { tls: Some(tls.clone()), ..Options::default() };
        assert!(matches!(check(local, &with_tls), Err(StartError::Read { .. })));
        std::fs::write(&tls.certificate, "nonsense").unwrap();
        std::fs::write(&tls.key, "nonsense").unwrap();
        assert!(matches!(check(local, &with_tls), Err(StartError::Certificate { .. })));
        assert!(check(local, &Options::default()).is_ok());
    }
}
