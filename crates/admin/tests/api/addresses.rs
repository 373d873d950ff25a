//! Clients that were given several addresses, or a wrong one.

use crate::Api;
use crate::access::{Certificates, make_certificates};
use assize_admin::{Client, ClientError, ClientOptions, ErrorKind, Obstacle, Options, Tls, pb};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a whole test may take: every address has a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens, and is as silent as a process that was stopped.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Says `words` to whoever has said something, or at once.
async fn talker(words: &'static [u8], at_once: bool) -> String {
    let (listener, address) = silent().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                if !at_once {
                    let _ = stream.read(&mut heard).await;
                }
                let _ = stream.write_all(words).await;
                // Whoever closes with something unread resets the connection.
                while at_once && stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

async fn http() -> String {
    talker(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", false).await
}

async fn mysql() -> String {
    talker(b"\x1a\0\0\0\x0a8.4.0-Assize\0\x01\0\0\0abcdefgh", true).await
}

fn options(addresses: &[&str]) -> ClientOptions {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    ClientOptions { addresses, ..ClientOptions::default() }
}

/// What is in the way at the only address.
async fn obstacle(options: &ClientOptions) -> Obstacle {
    let failed = Client::connect(options).await.err().expect("there is no admin API");
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    assert!(failed.to_string().contains(&options.addresses[0]), "{failed}");
    match failed {
        ClientError::Unreachable(mut attempts) if attempts.len() == 1 => attempts.remove(0).obstacle,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_node_that_hangs_and_a_wrong_server_are_passed_over() {
    let api = Api::start().await;
    let (_listener, hung) = silent().await;
    let (http, mysql) = (http().await, mysql().await);
    let began = Instant::now();
    let client = Client::connect(&options(&[&hung, &http, &mysql, &api.address])).await.unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(client.address(), api.address);
    client.cluster().list_members(pb::ListMembersRequest {}).await.unwrap();
    let passed_over: Vec<_> =
        client.passed_over().iter().map(|a| (a.address.clone(), a.obstacle.clone())).collect();
    let expected = [(hung, Obstacle::Silent), (http, Obstacle::NoAdminApi), (mysql, Obstacle::NoAdminApi)];
    assert_eq!(passed_over, expected);
}

#[tokio::test]
async fn nobody_is_told_from_somebody_silent() {
    let (listener, address) = silent().await;
    assert_eq!(obstacle(&options(&[&address])).await, Obstacle::Silent);
    drop(listener);
    assert!(matches!(obstacle(&options(&[&address])).await, Obstacle::Unreachable(_)));
}

/// An admin API with TLS that takes clients' certificates.
async fn with_tls() -> (Api, Certificates) {
    let mut made = None;
    let api = Api::start_with(|options, dir| {
        made = Some(make_certificates(dir));
        Options { tls: Some(tls(dir)), ..options }
    })
    .await;
    (api, made.unwrap())
}

fn tls(dir: &Path) -> Tls {
    Tls {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
        client_ca: Some(dir.join("ca.pem")),
    }
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_told_in_words() {
    let (api, certificates) = with_tls().await;
    let bare = api.client_options();
    assert_eq!(obstacle(&bare).await, Obstacle::SpeaksTls);

    let stranger = make_certificates(tempfile::tempdir().unwrap().path());
    let mistrusting = ClientOptions { ca: Some(stranger.ca), ..bare.clone() };
    assert!(matches!(obstacle(&mistrusting).await, Obstacle::Certificate(_)));

    let trusting = ClientOptions { ca: Some(certificates.ca), ..bare.clone() };
    Client::connect(&trusting).await.unwrap();
    let mistrusted = ClientOptions { identity: Some(stranger.client), ..trusting.clone() };
    let refused = Client::connect(&mistrusted).await.err().expect("the certificate is nobody's");
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
    assert!(refused.to_string().contains("does not accept your client certificate"), "{refused}");

    let plain = Api::start().await;
    let address = plain.address.clone();
    let elsewhere = |address: String| ClientOptions { addresses: vec![address], ..trusting.clone() };
    assert_eq!(obstacle(&elsewhere(address)).await, Obstacle::SpeaksNoTls);
    assert_eq!(obstacle(&elsewhere(http().await)).await, Obstacle::NoAdminApi);
    assert_eq!(obstacle(&elsewhere(mysql().await)).await, Obstacle::NoAdminApi);
    let (_listener, hung) = silent().await;
    assert_eq!(obstacle(&elsewhere(hung)).await, Obstacle::Silent);

    let nonsense = ClientOptions { ca: Some(b"nonsense".to_vec()), ..bare };
    let refused = Client::connect(&nonsense).await.err().expect("there is no authority");
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
}

/// A proxy that can be stopped stands for the node: what it has accepted stays open, and nothing comes any more.
#[tokio::test]
async fn a_stream_ends_when_its_node_hangs_and_a_quiet_one_goes_on() {
    let api = Api::start().await;
    let (listener, address) = silent().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let node = api.address.clone();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(node).await.unwrap();
        let mut stopped = stopped.clone();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        std::future::pending::<()>().await;
    });
    let client = Client::connect(&options(&[&address])).await.unwrap();
    let mut watched = client.shards().watch(pb::WatchShardsRequest {}).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(12), watched.message()).await;
    assert!(quiet.is_err(), "a quiet stream goes on: {quiet:?}");
    stop.send_replace(true);
    let ended = tokio::time::timeout(PATIENCE, watched.message()).await.expect("the silence is noticed");
    let lost = ClientError::from(ended.unwrap_err());
    assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost}");
    assert!(lost.to_string().starts_with("the connection to the node was lost"), "{lost}");
}
