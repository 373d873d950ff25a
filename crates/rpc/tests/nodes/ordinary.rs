//! Nodes that mean well.

use crate::fixture::*;
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, PeerError, PeerService, Peers, Service};
use assize_rpc::handshake::ClusterId;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Two nodes that know each other, first without TLS, then with it.
async fn both_ways(check: impl AsyncFn(&Node, &Node)) {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    check(&one, &two).await;

    let directory = certificates(&[1, 2]);
    let (one, two) = (Node::tls(1, directory.path()).await, Node::tls(2, directory.path()).await);
    one.knows(&two);
    check(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_a_connection_and_get_their_own_answers() {
    both_ways(async |one, two| {
        let calls = (0..500).map(|n| async move {
            let request = format!("request {n}");
            assert_eq!(one.ask(two.id, &request).await.unwrap(), request);
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(one.ask(two.id, "who").await.unwrap(), "n1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_holds_nobody_up_and_is_cancelled_with_its_caller() {
    both_ways(async |one, two| {
        let mut waiting = std::pin::pin!(one.ask(two.id, "wait"));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(one.ask(two.id, "quick").await.unwrap(), "quick");
        let limit = Duration::from_millis(50);
        let late = one.network.call(two.id, Service::Operator, Bytes::from_static(b"wait"), limit).await;
        assert!(matches!(late, Err(PeerError::ReplyLost { .. })), "{late:?}");
        eventually("a call whose time has passed is cancelled", || {
            two.echo.cancelled.load(Ordering::SeqCst) == 1
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_panics_are_told() {
    both_ways(async |one, two| {
        let refused = one.ask(two.id, "refuse").await;
        assert_eq!(refused, Err(PeerError::Refused { node: two.id, reason: "as asked".into() }));
        assert!(matches!(one.ask(two.id, "panic").await, Err(PeerError::Refused { .. })));
        let absent = one.network.call(two.id, Service::Raft, Bytes::new(), LONG).await;
        assert!(absent.unwrap_err().to_string().contains("no Raft service"), "the reason is readable");
        assert_eq!(one.ask(two.id, "still there").await.unwrap(), "still there");
    })
    .await;
}

/// Refuses everything, as a node does that has not come up with all its parts.
struct Starting;

impl PeerService for Starting {
    fn call(&self, _from: NodeId, _request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(std::future::ready(Err("not yet".into())))
    }

    fn open(&self, _from: NodeId, _hello: Bytes, _channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Err("not yet".into())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_later_answers_on_connections_that_are_there_already() {
    both_ways(async |one, two| {
        two.services.offer(Service::Operator, Arc::new(Starting));
        let refused = one.ask(two.id, "early").await;
        assert_eq!(refused, Err(PeerError::Refused { node: two.id, reason: "not yet".into() }));
        two.services.offer(Service::Operator, two.echo.clone());
        assert_eq!(one.ask(two.id, "late").await.unwrap(), "late");
        // Whoever is served already is served on.
        two.services.withdraw(Service::Operator);
        assert_eq!(one.ask(two.id, "still").await.unwrap(), "still");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_longer_than_allowed_are_refused_and_harm_nobody() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let longest = Bytes::from(vec![1; assize_rpc::frame::PAYLOAD_MAX]);
    let answer = one.network.call(two.id, Service::Operator, longest.clone(), LONG).await.unwrap();
    assert!(answer == longest);
    let longer = Bytes::from(vec![1; assize_rpc::frame::PAYLOAD_MAX + 1]);
    let refused = one.network.call(two.id, Service::Operator, longer.clone(), LONG).await;
    assert!(matches!(refused, Err(PeerError::Refused { .. })));
    assert!(matches!(one.ask(two.id, "long").await, Err(PeerError::Refused { .. })));
    let mut channel = one.open(two.id, "echo").await.unwrap();
    assert!(matches!(channel.sender.send(longer).await, Err(PeerError::Refused { .. })));
    channel.sender.send(Bytes::from_static(b"short")).await.unwrap();
    assert_eq!(channel.receiver.receive().await.unwrap().unwrap(), "short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_keeps_the_order_of_its_messages_and_ends_in_order() {
    both_ways(async |one, two| {
        let Channel { mut sender, mut receiver } = one.open(two.id, "echo").await.unwrap();
        let sending = tokio::spawn(async move {
            for n in 0..2000u32 {
                sender.send(Bytes::from(n.to_string().repeat(100))).await.unwrap();
            }
        });
        for n in 0..2000u32 {
            let message = receiver.receive().await.unwrap().expect("not ended yet");
            assert_eq!(message, n.to_string().repeat(100));
        }
        sending.await.unwrap();
        assert_eq!(receiver.receive().await.unwrap(), None);
        assert_eq!(receiver.receive().await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_that_is_dropped_leaves_the_other_working() {
    both_ways(async |one, two| {
        let Channel { mut sender, mut receiver } = one.open(two.id, "count").await.unwrap();
        for _ in 0..10 {
            sender.send(Bytes::from(vec![0; 1000])).await.unwrap();
        }
        drop(sender);
        assert_eq!(receiver.receive().await.unwrap().unwrap(), "10000");
        assert_eq!(receiver.receive().await.unwrap(), None);

        let Channel { mut sender, receiver } = one.open(two.id, "echo").await.unwrap();
        drop(receiver);
        for _ in 0..100 {
            sender.send(Bytes::from(vec![0; 100_000])).await.expect("what comes back is thrown away");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_refused_says_why() {
    both_ways(async |one, two| {
        let mut channel = one.open(two.id, "refuse").await.unwrap();
        let refused = channel.receiver.receive().await;
        assert_eq!(refused, Err(PeerError::Refused { node: two.id, reason: "as asked".into() }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_makes_the_sender_wait_and_loses_nothing() {
    both_ways(async |one, two| {
        let Channel { sender: _sender, mut receiver } = one.open(two.id, "flood").await.unwrap();
        let flooded = || two.echo.flooded.load(Ordering::SeqCst);
        // It sends until everything between the two is full, and then stands still for longer than silence would be
        // borne.
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let now = flooded();
            if now == before && now > 0 {
                break;
            }
            before = now;
        }
        for _ in 0..before + 100 {
            assert_eq!(receiver.receive().await.unwrap().unwrap().len(), 64 << 10);
        }
        assert!(flooded() >= before + 99);
        assert_eq!(one.ask(two.id, "calls go their own way").await.unwrap(), "calls go their own way");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_told_apart_by_what_had_left() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let to = two.id;
    let mut channel = one.open(to, "echo").await.unwrap();
    let network = one.network.clone();
    let waiting =
        tokio::spawn(
            async move { network.call(to, Service::Operator, Bytes::from_static(b"wait"), LONG).await },
        );
    eventually("the call is there", || two.echo.waiting.load(Ordering::SeqCst) == 1).await;
    two.kill();
    let lost = waiting.await.unwrap();
    assert!(matches!(lost, Err(PeerError::ReplyLost { .. })), "{lost:?}");
    let broken = channel.receiver.receive().await;
    assert!(matches!(broken, Err(PeerError::ReplyLost { .. })), "{broken:?}");
    let mut sent = Ok(());
    while sent.is_ok() {
        sent = channel.sender.send(Bytes::from_static(b"anybody?")).await;
    }
    let never_left = one.ask(to, "hello?").await;
    assert!(matches!(never_left, Err(PeerError::Unreachable { .. })), "{never_left:?}");
    let unknown = one.ask(NodeId(9), "hello?").await;
    assert!(matches!(unknown, Err(PeerError::Unreachable { .. })), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_elsewhere_is_found_at_once() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    assert_eq!(one.ask(two.id, "there").await.unwrap(), "there");
    two.kill();
    let again = Node::plain(2).await;
    one.knows(&again);
    assert_eq!(one.ask(again.id, "again").await.unwrap(), "again");
    one.network.learn(again.id, None);
    assert!(matches!(one.ask(again.id, "gone").await, Err(PeerError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answers_what_it_has_begun() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let to = two.id;
    assert_eq!(one.ask(to, "there").await.unwrap(), "there");
    let Channel { mut sender, mut receiver } = one.open(to, "count").await.unwrap();
    sender.send(Bytes::from_static(b"12345")).await.unwrap();
    let stopping = tokio::spawn(two.stop());
    drop(sender);
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "5");
    stopping.await.unwrap();
    assert!(one.ask(to, "gone").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_introduce_themselves() {
    both_ways(async |one, two| {
        two.set_cluster(5);
        let welcome = one.network.introduce(&two.address).await.unwrap();
        assert_eq!((welcome.node, welcome.cluster), (two.id, ClusterId(5)));
        assert_eq!(welcome.release, "0.1.0");
    })
    .await;
}
