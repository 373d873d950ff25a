//! A certificate that is replaced while clients are connected.
#![allow(clippy::disallowed_methods)] // Tests.

#[allow(dead_code)]
mod support;

use assize_wire::{Config, Listener, Tls, capability as cap};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CAPABILITIES: u32 =
    cap::LONG_PASSWORD | cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH | cap::SSL;

/// Writes a pair for `localhost`; its certificate.
fn write_pair(certificate: &Path, key: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A client that trusts these certificates, and resumes sessions if it is let.
fn connector(trusted: &[&CertificateDer<'static>]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|certificate| roots.add((*certificate).clone()).unwrap());
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Logged in as `root` through TLS.
async fn connect(address: std::net::SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    packet(&mut stream).await;
    let mut request = CAPABILITIES.to_le_bytes().to_vec();
    request.extend_from_slice(&(1u32 << 24).to_le_bytes());
    request.push(45);
    request.resize(32, 0);
    stream.write_all(&frame(1, &request)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    request.extend_from_slice(b"root\0\0caching_sha2_password\0");
    stream.write_all(&frame(2, &request)).await.unwrap();
    assert_eq!(packet(&mut stream).await[0], 0, "logged in");
    stream
}

fn frame(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32 | u32::from(seq) << 24).to_le_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

async fn packet(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.unwrap();
    let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    payload
}

async fn ping(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(&frame(0, b"\x0e")).await.unwrap();
    assert_eq!(packet(stream).await[0], 0, "it answers");
}

/// The certificate that a connection was shown.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn new_connections_see_a_new_certificate_and_old_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("certificate"), dir.path().join("key"));
    let first = write_pair(&certificate, &key);
    let tls = Some(Tls::from_files(&certificate, &key).unwrap());
    let listener = Listener::new(Config { tls, ..Config::default() });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async { stopped.await.unwrap_or_default() };
    let serving =
        tokio::spawn(async move { listener.run(socket, until, |_, _| Echo::new(Arc::default())).await });

    let mut old = connect(address, &connector(&[&first])).await;
    assert_eq!(shown(&old), first);
    ping(&mut old).await;

    let second = write_pair(&certificate, &key);
    // One client throughout: what it knows of earlier sessions must not keep the old certificate alive.
    let client = connector(&[&first, &second]);
    let since = Instant::now();
    loop {
        let mut new = connect(address, &client).await;
        ping(&mut new).await;
        if shown(&new) == second {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "the old certificate is still shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ping(&mut old).await;
    assert_eq!(shown(&old), first);

    drop(old);
    stop.send(()).unwrap();
    serving.await.unwrap();
}
