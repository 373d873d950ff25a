//! Why no admin API answers at an address. After a client has failed there, a connection of its own finds out what is spoken,
//! because the errors of HTTP/2 and TLS libraries do not say what to do.
//!
//! ```text
//!   TCP? ─ no ──▶ Unreachable, NoAnswer
//!    │ yes
//!   TLS asked for? ─ no ──▶ what does it say to HTTP/2? ──▶ Silent, SpeaksTls, NoAdminApi
//!    │ yes
//!   handshake ──▶ Certificate, ClientCertificate, SpeaksNoTls, NoAdminApi
//! ```

use super::ClientOptions;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, ClientConfig, RootCertStore};

/// How long each step may take.
const STEP_LIMIT: Duration = Duration::from_secs(1);
/// How a client of HTTP/2 begins: the preface, and a frame of no settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// As much of an answer as tells protocols apart.
const ENOUGH: usize = 5;

/// What stands between a client and the admin API at an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Obstacle {
    /// There is no way there, or nobody listens.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Not even its system answers.
    #[error("does not answer")]
    NoAnswer,
    /// Its system takes connections, its process says nothing.
    #[error("takes connections and says nothing: its process hangs or is stopped, or it is no admin API")]
    Silent,
    /// It wants TLS, and we spoke none.
    #[error("speaks TLS: give --ca FILE")]
    SpeaksTls,
    /// We spoke TLS, and it does not.
    #[error("speaks no TLS: leave --ca out")]
    SpeaksNoTls,
    /// Something else listens there.
    #[error("is no admin API (does it belong to another port?)")]
    NoAdminApi,
    /// Its certificate is not one that we trust, or not for this host.
    #[error("shows a certificate that --ca does not vouch for: {0}")]
    Certificate(String),
    /// It does not trust ours.
    #[error("does not accept your client certificate: {0}")]
    ClientCertificate(String),
    /// The node is about to end.
    #[error("is about to stop")]
    Stopping,
    /// It is an admin API, and yet it went wrong.
    #[error("broke the connection off: {0}")]
    Broken(String),
}

/// Finds out what is in the way at `place` (`host:port`), where a client `failed`.
pub(super) async fn find(place: &str, options: &ClientOptions, failed: String) -> Obstacle {
    let stream = match open(place).await {
        Ok(stream) => stream,
        Err(obstacle) => return obstacle,
    };
    let Some(ca) = &options.ca else {
        return match spoken(stream).await {
            Ok(Spoken::Http2) => Obstacle::Broken(failed),
            Ok(Spoken::Tls) => Obstacle::SpeaksTls,
            Ok(Spoken::Nothing) => Obstacle::Silent,
            Ok(Spoken::Other) | Err(_) => Obstacle::NoAdminApi,
        };
    };
    let Some(config) = config(ca, options) else { return Obstacle::Broken(failed) };
    match shake_hands(stream, place, config).await {
        Ok(Spoken::Http2) => Obstacle::Broken(failed),
        Ok(Spoken::Nothing) => Obstacle::Silent,
        Ok(Spoken::Tls | Spoken::Other) => Obstacle::NoAdminApi,
        Err(error) => match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(why)) => Obstacle::Certificate(why.to_string()),
            // An admin API asks for a certificate, and takes it if there is none.
            Some(rustls::Error::AlertReceived(alert)) => match options.identity {
                Some(_) if is_about_certificates(*alert) => Obstacle::ClientCertificate(words(*alert)),
                _ => Obstacle::NoAdminApi,
            },
            _ => without_tls(place).await,
        },
    }
}

async fn open(place: &str) -> Result<TcpStream, Obstacle> {
    match timeout(STEP_LIMIT, TcpStream::connect(place)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Obstacle::Unreachable(error.to_string())),
        Err(_) => Err(Obstacle::NoAnswer),
    }
}

/// TLS came to nothing: what does it say without?
async fn without_tls(place: &str) -> Obstacle {
    let stream = match open(place).await {
        Ok(stream) => stream,
        Err(obstacle) => return obstacle,
    };
    match spoken(stream).await {
        Ok(Spoken::Http2) => Obstacle::SpeaksNoTls,
        Ok(Spoken::Nothing) => Obstacle::Silent,
        Ok(Spoken::Tls | Spoken::Other) | Err(_) => Obstacle::NoAdminApi,
    }
}

/// What somebody says to a client that speaks HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spoken {
    Nothing,
    Http2,
    Tls,
    Other,
}

async fn spoken(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Spoken> {
    // Whoever has closed already may have said why.
    let _ = stream.write_all(GREETING).await;
    let _ = stream.flush().await;
    let mut answer = Vec::new();
    while answer.len() < ENOUGH {
        match timeout(STEP_LIMIT, stream.read_buf(&mut answer)).await {
            Ok(Ok(0)) => break,
            Ok(read) => {
                read?;
            }
            Err(_) if answer.is_empty() => return Ok(Spoken::Nothing),
            Err(_) => break,
        }
    }
    Ok(match answer[..] {
        // A record of a handshake, or an alert.
        [0x15 | 0x16, 0x03, ..] => Spoken::Tls,
        // The fourth byte of a frame is its type, and the first frame is one of settings.
        [0, _, _, 0x04, 0 | 1, ..] => Spoken::Http2,
        _ => Spoken::Other,
    })
}

/// The handshake, and what is said after it: whether a client's certificate is accepted is told only then.
async fn shake_hands(stream: TcpStream, place: &str, config: ClientConfig) -> io::Result<Spoken> {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(STEP_LIMIT, connecting).await {
        Ok(stream) => spoken(stream?).await,
        Err(_) => Ok(Spoken::Nothing),
    }
}

/// As the client itself speaks TLS; `None` if its files make no sense.
fn config(ca: &[u8], options: &ClientOptions) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca).flatten());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().ok()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).ok()?).ok()?
        }
    };
    config.alpn_protocols.push(crate::tls::ALPN.to_vec());
    Some(config)
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
    )
}

fn words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "its authority has not signed it".to_owned(),
        AlertDescription::DecryptError => "another authority of the same name has signed it".to_owned(),
        AlertDescription::CertificateExpired => "it has expired".to_owned(),
        other => format!("{other:?}"),
    }
}
