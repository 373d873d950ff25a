//! Nodes of other clusters, impostors, noise, and networks that swallow.

use crate::fixture::*;
use assize_model::NodeId;
use assize_ports::{Channel, PeerError, Peers, Presence, Service};
use assize_rpc::cert::{self, OperatorRole};
use assize_rpc::frame::{self, Frame, Kind, PAYLOAD_MAX};
use assize_rpc::handshake::{ClusterId, Hello, Lane};
use assize_rpc::{ConnectError, Endpoint, Network, Security, Timing};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_clusters_never_mix() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    one.set_cluster(1);
    assert_eq!(one.ask(two.id, "a node of no cluster").await.unwrap(), "a node of no cluster");
    // It becomes another cluster's while the connection stands: the next ping ends it.
    two.set_cluster(2);
    let waiting = one.ask(two.id, "wait").await;
    assert!(waiting.is_err());
    let reason = loop {
        match one.ask(two.id, "mixed?").await {
            // The pause after the broken connection.
            Err(error) if error.to_string().contains("belongs to cluster") => break error.to_string(),
            Err(_) => tokio::task::yield_now().await,
            Ok(_) => panic!("nodes of two clusters have talked"),
        }
    };
    assert!(reason.contains("n2"), "{reason}");
    assert!(matches!(one.open(two.id, "echo").await, Err(PeerError::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reached_at_another_s_address_is_refused() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.network.learn(NodeId(3), Some(two.address.clone()));
    let refused = one.open(NodeId(3), "echo").await.map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("this is n2, not n3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_speaks_for_its_own_node_only() {
    let directory = certificates(&[1, 2, 3]);
    let (one, two) = (Node::tls(1, directory.path()).await, Node::tls(2, directory.path()).await);
    // The listening end's: node 2 at node 3's address.
    one.network.learn(NodeId(3), Some(two.address.clone()));
    let refused = one.open(NodeId(3), "echo").await.map(|_| ());
    assert!(matches!(refused, Err(PeerError::Unreachable { .. })), "{refused:?}");
    // The connecting end's: node 3 says that it is node 1.
    let security = Security::tls(NodeId(3), tls_files(3, directory.path())).unwrap();
    let impostor = Network::new(Endpoint::new(NodeId(1), "0.1.0", 1, security));
    let refused = impostor.introduce(&two.address).await;
    let Err(ConnectError::Handshake(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("the certificate is that of n3, not of n1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_do_not_get_in() {
    let (ours, theirs) = (certificates(&[1, 2]), certificates(&[2]));
    let one = Node::tls(1, ours.path()).await;
    let stranger = Node::tls(2, theirs.path()).await;
    one.knows(&stranger);
    stranger.knows(&one);
    assert!(one.ask(stranger.id, "hello").await.is_err());
    assert!(stranger.ask(one.id, "hello").await.is_err());
    // Nor does somebody without any.
    let plain = Node::plain(2).await;
    plain.knows(&one);
    assert!(plain.ask(one.id, "hello").await.is_err());
    one.knows(&plain);
    assert!(one.ask(plain.id, "hello").await.is_err());
    // Nor an operator, whom the same authority knows.
    let (certificate, key) = cert::issue_operator(ours.path(), "ada", OperatorRole::Admin, 10).unwrap();
    let mut files = tls_files(2, ours.path());
    (files.certificate, files.key) = (certificate, key);
    assert!(Security::tls(NodeId(2), files).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_rotated_without_a_restart() {
    let directory = certificates(&[1, 2]);
    let (one, two) = (Node::tls(1, directory.path()).await, Node::tls(2, directory.path()).await);
    one.knows(&two);
    let mut channel = one.open(two.id, "echo").await.unwrap();
    // A new authority; for a while both are trusted, and then only the new one.
    let old = std::fs::read_to_string(directory.path().join(cert::CA_CERTIFICATE)).unwrap();
    let renewed = certificates(&[1, 2]);
    let new = std::fs::read_to_string(renewed.path().join(cert::CA_CERTIFICATE)).unwrap();
    std::fs::write(directory.path().join(cert::CA_CERTIFICATE), format!("{old}{new}")).unwrap();
    assert!(one.network.reload().unwrap());
    assert!(two.network.reload().unwrap());
    for (node, id) in [(&one, 1), (&two, 2)] {
        let (from, to) = (tls_files(id, renewed.path()), tls_files(id, directory.path()));
        std::fs::copy(from.key, to.key).unwrap();
        std::fs::copy(from.certificate, to.certificate).unwrap();
        assert!(node.network.reload().unwrap());
    }
    std::fs::write(directory.path().join(cert::CA_CERTIFICATE), new).unwrap();
    assert!(one.network.reload().unwrap());
    assert!(two.network.reload().unwrap());
    assert_eq!(one.ask(two.id, "renewed").await.unwrap(), "renewed");
    channel.sender.send(Bytes::from_static(b"old connections go on")).await.unwrap();
    assert_eq!(channel.receiver.receive().await.unwrap().unwrap(), "old connections go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_turned_away_and_harms_nobody() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    assert_eq!(one.ask(two.id, "before").await.unwrap(), "before");
    for noise in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], b"\x20\0\0\0\x01\0\0\0\0\0\0\0\0junk"]
    {
        let mut stream = TcpStream::connect(&two.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed, or reset because not all of the noise was read.
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("not held open");
    }
    assert_eq!(one.ask(two.id, "after").await.unwrap(), "after");
}

/// A connection made by hand: the handshake of node 7, and what was answered.
async fn by_hand(node: &Node, lane: Lane, version: u8) -> (TcpStream, Frame) {
    let hello = Hello {
        from: NodeId(7),
        to: Some(node.id),
        cluster: ClusterId::NONE,
        service: Service::Operator,
        lane,
        release: "0.1.0".into(),
        cluster_version: 1,
    };
    let mut hello = hello.encode();
    hello[8] = version;
    let mut bytes = Vec::new();
    frame::put(&mut bytes, Kind::Hello, 0, &hello);
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = BytesMut::new();
    loop {
        if let Some(frame) = frame::take(&mut answer, PAYLOAD_MAX).unwrap() {
            return (stream, frame);
        }
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_protocol_is_told_so() {
    let two = Node::plain(2).await;
    let (_, refusal) = by_hand(&two, Lane::Calls, 9).await;
    assert_eq!(refusal.kind, Kind::Refusal);
    let reason = String::from_utf8(refusal.payload.to_vec()).unwrap();
    assert!(reason.contains("version 9") && reason.contains("n2"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_talks_nonsense_after_the_handshake_loses_its_connection_alone() {
    let one = Node::plain(1).await;
    // Silence is borne for ever here: what closes the connection is the nonsense.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let security = Security::plain(listener.local_addr().unwrap(), false).unwrap();
    let timing = Timing { silence_max: LONG * 10, ..Timing::default() };
    let two = Node::start(2, listener, security, timing).await;
    one.knows(&two);
    let mut out_of_place = Vec::new();
    frame::put(&mut out_of_place, Kind::Welcome, 3, b"");
    let nonsense = [&b"\xff\xff\xff\x7f\x04"[..], &[0; 16], b"\x09\0\0\0\xee", &out_of_place];
    for lane in [Lane::Calls, Lane::Channel] {
        for nonsense in nonsense {
            let (mut stream, welcome) = by_hand(&two, lane, 1).await;
            assert_eq!(welcome.kind, Kind::Welcome);
            let mut bytes = Vec::new();
            if lane == Lane::Channel {
                frame::put(&mut bytes, Kind::Message, 0, b"echo");
            }
            bytes.extend_from_slice(nonsense);
            stream.write_all(&bytes).await.unwrap();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{lane:?} {nonsense:?}");
        }
    }
    assert_eq!(one.ask(two.id, "after").await.unwrap(), "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_found() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    let hole = Hole::before(&two.address).await;
    one.network.learn(two.id, Some(hole.address.clone()));
    let Channel { mut sender, mut receiver } = one.open(two.id, "echo").await.unwrap();
    sender.send(Bytes::from_static(b"here")).await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "here");
    assert_eq!(one.ask(two.id, "there").await.unwrap(), "there");

    hole.swallows.store(true, Ordering::SeqCst);
    // Far within its limit: the silence is what tells.
    let lost = one.ask(two.id, "hello?").await;
    assert!(
        matches!(&lost, Err(PeerError::ReplyLost { reason, .. }) if reason.contains("nothing was heard"))
    );
    let lost = receiver.receive().await;
    assert!(
        matches!(&lost, Err(PeerError::ReplyLost { reason, .. }) if reason.contains("nothing was heard"))
    );
    let mut sent = Ok(());
    while sent.is_ok() {
        sent = sender.send(Bytes::from_static(b"anybody?")).await;
    }
    let unreachable = one.ask(two.id, "hello?").await;
    assert!(matches!(unreachable, Err(PeerError::Unreachable { .. })), "{unreachable:?}");

    hole.swallows.store(false, Ordering::SeqCst);
    let answered = async {
        while one.ask(two.id, "healed").await.is_err() {
            tokio::time::sleep(Timing::default().pause_min).await;
        }
    };
    tokio::time::timeout(LONG, answered).await.expect("connections are made again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_ended_is_told_from_one_that_is_silent_or_does_not_want_us() {
    let (ours, theirs) = (certificates(&[1, 2]), certificates(&[2]));
    let one = Node::tls(1, ours.path()).await;
    assert_eq!(one.network.presence(NodeId(2), LONG).await, Presence::Unknown, "no address is known");
    let two = Node::tls(2, ours.path()).await;
    one.knows(&two);
    assert_eq!(one.network.presence(two.id, LONG).await, Presence::Here);
    two.set_cluster(2);
    one.set_cluster(1);
    assert_eq!(one.network.presence(two.id, LONG).await, Presence::Here, "of another cluster");
    two.stop().await;
    assert_eq!(one.network.presence(NodeId(2), LONG).await, Presence::Gone);
    let stranger = Node::tls(2, theirs.path()).await;
    one.knows(&stranger);
    assert_eq!(one.network.presence(stranger.id, LONG).await, Presence::Here, "of another authority");
    // One that stands still: its kernel takes connections.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.network.learn(NodeId(2), Some(silent.local_addr().unwrap().to_string()));
    let soon = std::time::Duration::from_millis(50);
    assert_eq!(one.network.presence(NodeId(2), soon).await, Presence::Unknown);
    // A proxy before one that has ended.
    let looking = one.network.presence(NodeId(2), LONG);
    let (presence, ()) = tokio::join!(looking, async {
        for _ in 0..2 {
            drop(silent.accept().await.unwrap());
        }
    });
    assert_eq!(presence, Presence::Gone);
}

/// A proxy that, when told to, swallows everything in both directions and closes nothing.
struct Hole {
    address: String,
    swallows: Arc<AtomicBool>,
}

impl Hole {
    async fn before(address: &str) -> Hole {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hole = Hole {
            address: listener.local_addr().unwrap().to_string(),
            swallows: Arc::new(AtomicBool::new(false)),
        };
        let (behind, swallows) = (address.to_owned(), hole.swallows.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&behind).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, swallows.clone()));
                tokio::spawn(carry(far_read, near_write, swallows.clone()));
            }
        });
        hole
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(count) if swallows.load(Ordering::SeqCst) => {
                if count == 0 {
                    std::future::pending::<()>().await;
                }
            }
            Ok(count) if count > 0 => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
