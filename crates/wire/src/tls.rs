//! Certificates for TLS. Files are looked at again while the server runs: new connections see a new certificate, old
//! connections go on as they are, and files that cannot be used change nothing.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often, at most, the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The PEM text is not what it should be.
    #[error("not usable as PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// rustls refuses the pair.
    #[error("certificate and key cannot be used: {0}")]
    Refused(#[from] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("no certificate could be made: {0}")]
    NotMade(#[from] rcgen::Error),
}

/// What new connections speak TLS with.
pub struct Tls {
    /// Where the certificate chain and its key are; `None`: they are of our own making.
    files: Option<(PathBuf, PathBuf)>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// What the files held when they were last looked at, usable or not.
    seen: Pair,
    looked: Instant,
    config: Arc<ServerConfig>,
}

/// A certificate chain and its private key, both PEM.
#[derive(PartialEq, Eq, Default)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// With the certificate chain and the private key of these files, both PEM, and with whatever replaces them.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
        let seen = Pair::read(certificate, key)?;
        let config = seen.config()?;
        let loaded = Loaded { seen, looked: Instant::now(), config };
        Ok(Tls { files: Some((certificate.to_owned(), key.to_owned())), loaded: Mutex::new(loaded) })
    }

    /// With a certificate of our own making: it keeps listeners out, and proves to nobody who we are.
    pub fn self_signed(names: &[String]) -> Result<Tls, TlsError> {
        let made = rcgen::generate_simple_self_signed(names)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = server_config(vec![made.cert.der().clone()], key.into())?;
        let loaded = Loaded { seen: Pair::default(), looked: Instant::now(), config };
        Ok(Tls { files: None, loaded: Mutex::new(loaded) })
    }

    /// What a connection that begins now is to use.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK_EVERY {
            match self.look(&mut loaded) {
                Ok(false) => {}
                Ok(true) => tracing::info!("MySQL clients are shown a new certificate"),
                Err(error) => {
                    tracing::warn!(%error, "the new certificate for MySQL clients cannot be used; the old one stays in use");
                }
            }
        }
        loaded.config.clone()
    }

    /// Replaces what is in force if the files have changed; whether they had. What cannot be used is not tried twice.
    fn look(&self, loaded: &mut Loaded) -> Result<bool, TlsError> {
        loaded.looked = Instant::now();
        let Some((certificate, key)) = &self.files else { return Ok(false) };
        let pair = Pair::read(certificate, key)?;
        if pair == loaded.seen {
            return Ok(false);
        }
        let made = pair.config();
        loaded.seen = pair;
        // As a whole: sessions that the old one would resume show its certificate.
        loaded.config = made?;
        Ok(true)
    }
}

impl Pair {
    fn read(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
        };
        Ok(Pair { certificate: read(certificate)?, key: read(key)? })
    }

    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>()?;
        server_config(chain, PrivateKeyDer::from_pem_slice(&self.key)?)
    }
}

/// Refuses a key that is not the certificate's: of a pair that is being replaced one file may still be the old one.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(certificate: Option<&Path>, key: Option<&Path>) -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pair = Pair { certificate: made.cert.pem().into(), key: made.signing_key.serialize_pem().into() };
        let write = |path: Option<&Path>, bytes| path.map(|path| std::fs::write(path, bytes).unwrap());
        write(certificate, &pair.certificate);
        write(key, &pair.key);
        pair
    }

    #[test]
    fn files_that_cannot_be_used_change_nothing_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c"), dir.path().join("k"));
        assert!(matches!(Tls::from_files(&certificate, &key), Err(TlsError::Read { .. })));
        write_pair(Some(&certificate), Some(&key));
        let tls = Tls::from_files(&certificate, &key).unwrap();
        let mut loaded = tls.loaded.lock().unwrap();
        let first = loaded.config.clone();
        assert!(!tls.look(&mut loaded).unwrap());

        let next = write_pair(Some(&certificate), None);
        assert!(tls.look(&mut loaded).is_err(), "the key is still the old one");
        assert!(Arc::ptr_eq(&loaded.config, &first));
        assert!(!tls.look(&mut loaded).unwrap(), "it is not tried twice");
        std::fs::write(&key, &next.key).unwrap();
        assert!(tls.look(&mut loaded).unwrap());
        assert!(!Arc::ptr_eq(&loaded.config, &first));

        let second = loaded.config.clone();
        std::fs::write(&certificate, "no certificate").unwrap();
        assert!(tls.look(&mut loaded).is_err());
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(tls.look(&mut loaded), Err(TlsError::Read { .. })));
        assert!(Arc::ptr_eq(&loaded.config, &second));
    }
}
