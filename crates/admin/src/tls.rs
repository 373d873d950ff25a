//! The API's end of TLS. The files are looked at again while the node runs: new connections see new certificates, old
//! connections go on as they are, and files that cannot be used change nothing.

use crate::serve::{StartError, Tls};
use futures_util::{Stream, StreamExt, future};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How often, at most, the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes under way; more connections wait to be accepted.
const HANDSHAKES_MAX: usize = 1024;
/// The settings that name the files.
const CERTIFICATE: &str = "admin.tls_certificate";
const KEY: &str = "admin.tls_key";
const CLIENT_CA: &str = "peers.tls_ca";
/// What gRPC speaks.
pub(crate) const ALPN: &[u8] = b"h2";

/// The certificates in force.
pub(crate) struct Certificates {
    files: Tls,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// What the files held when they were last looked at, usable or not.
    seen: Material,
    looked: Instant,
    config: Arc<ServerConfig>,
}

#[derive(PartialEq, Eq)]
struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads the files; an error if they cannot be used.
    pub fn open(files: &Tls) -> Result<Certificates, StartError> {
        let seen = Material::read(files)?;
        let config = make(files, &seen)?;
        let loaded = Mutex::new(Loaded { seen, looked: Instant::now(), config });
        Ok(Certificates { files: files.clone(), loaded })
    }

    /// Replaces what is in force if the files have changed; whether they had. What cannot be used is not tried twice.
    fn look(&self, loaded: &mut Loaded) -> Result<bool, StartError> {
        loaded.looked = Instant::now();
        let material = Material::read(&self.files)?;
        if material == loaded.seen {
            return Ok(false);
        }
        let made = make(&self.files, &material);
        loaded.seen = material;
        loaded.config = made?;
        Ok(true)
    }

    fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK_EVERY {
            match self.look(&mut loaded) {
                Ok(false) => {}
                Ok(true) => tracing::info!("the admin API has taken new certificates"),
                Err(error) => {
                    tracing::warn!(%error, "the admin API's new certificates cannot be used; the old ones stay in use");
                }
            }
        }
        loaded.config.clone()
    }

    /// Shakes hands on a connection; `None` if nothing comes of it.
    async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current());
        match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS with a caller of the admin API");
                None
            }
            Err(_) => None,
        }
    }
}

/// The connections of a listener, once TLS is spoken on them, in whichever order that is. Errors are the listener's own.
pub(crate) fn protected(
    connections: impl Stream<Item = io::Result<TcpStream>>,
    certificates: Arc<Certificates>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let handshakes = connections.map(move |accepted| {
        let certificates = certificates.clone();
        async move {
            match accepted {
                Ok(stream) => certificates.accept(stream).await.map(Ok),
                Err(error) => Some(Err(error)),
            }
        }
    });
    handshakes.buffer_unordered(HANDSHAKES_MAX).filter_map(future::ready)
}

impl Material {
    fn read(files: &Tls) -> Result<Material, StartError> {
        let read = |setting, path: &Path| {
            std::fs::read(path).map_err(|error| StartError::Read { setting, path: path.to_owned(), error })
        };
        Ok(Material {
            certificate: read(CERTIFICATE, &files.certificate)?,
            key: read(KEY, &files.key)?,
            client_ca: files.client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }
}

fn make(files: &Tls, material: &Material) -> Result<Arc<ServerConfig>, StartError> {
    let unusable = |setting, path: &Path, reason: &dyn fmt::Display| StartError::Certificate {
        setting,
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(CERTIFICATE, &files.certificate, &error))?;
    let builder = match (&files.client_ca, &material.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(CLIENT_CA, path, pem)? {
                roots.add(certificate).map_err(|error| unusable(CLIENT_CA, path, &error))?;
            }
            // Optional, because a caller may show a token instead; without either there is no caller.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(CLIENT_CA, path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let chain = certificates(CERTIFICATE, &files.certificate, &material.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|_| unusable(KEY, &files.key, &"it holds no private key"))?;
    // Refuses a key that is not the certificate's: of a pair that is being replaced one file may still be the old one.
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(CERTIFICATE, &files.certificate, &error))?;
    config.alpn_protocols.push(ALPN.to_vec());
    Ok(Arc::new(config))
}

fn certificates(
    setting: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(StartError::Certificate {
            setting,
            path: path.to_owned(),
            reason: "it holds no certificate".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn files_that_cannot_be_used_change_nothing_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let files = Tls { certificate: dir.path().join("c"), key: dir.path().join("k"), client_ca: None };
        let (certificate, key) = pair();
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        let certificates = Certificates::open(&files).unwrap();
        let mut loaded = certificates.loaded.lock().unwrap();
        let first = loaded.config.clone();
        assert!(!certificates.look(&mut loaded).unwrap());

        let (certificate, key) = pair();
        std::fs::write(&files.certificate, certificate).unwrap();
        assert!(certificates.look(&mut loaded).is_err(), "the key is still the old one");
        assert!(Arc::ptr_eq(&loaded.config, &first));
        assert!(!certificates.look(&mut loaded).unwrap(), "it is not tried twice");
        std::fs::write(&files.key, key).unwrap();
        assert!(certificates.look(&mut loaded).unwrap());
        assert!(!Arc::ptr_eq(&loaded.config, &first));

        std::fs::remove_file(&files.key).unwrap();
        assert!(matches!(certificates.look(&mut loaded), Err(StartError::Read { .. })));
    }
}
