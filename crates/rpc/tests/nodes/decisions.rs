//! Replicas follow another node's decision streams.

use crate::fake::*;
use crate::fixture::*;
use assize_model::*;
use assize_ports::*;
use assize_rpc::{DecisionRouter, Leaders, RemoteDecisions};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const START: Position = Position { index: LogIndex(0), closed_ts: Timestamp(0) };

async fn take(stream: &mut Box<dyn DecisionStream>, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(stream.next().await.unwrap().iter().map(|entry| entry.position.index.0));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_comes_across_whole_and_is_let_go_when_its_follower_is() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let fake = Fake::new(2, &Group::led_by(2));
    fake.serve(&two);
    let remote = RemoteDecisions::new(one.network.clone(), two.id);
    fake.grow(10);
    let from = entry(4).position;
    let mut stream = remote.subscribe(ShardId(1), from).await.unwrap();
    assert_eq!(take(&mut stream, 6).await, [5, 6, 7, 8, 9, 10]);
    {
        let mut waiting = std::pin::pin!(stream.next());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    fake.grow(5000);
    assert_eq!(take(&mut stream, 4990).await, (11..=5000).collect::<Vec<_>>());
    assert_eq!(fake.following.load(Ordering::SeqCst), 1);
    drop(stream);
    eventually("a quiet stream is let go", || fake.following.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_cannot_be_says_why() {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let fake = Fake::new(2, &Group::led_by(2));
    fake.serve(&two);
    let remote = RemoteDecisions::new(one.network.clone(), two.id);
    let forgotten = remote.subscribe(ShardId(8), START).await.err();
    assert!(matches!(forgotten, Some(StreamError::Forgotten { oldest: LogIndex(5), .. })));
    assert!(matches!(remote.subscribe(ShardId(9), START).await.err(), Some(StreamError::NoSuchShard(_))));
    assert_eq!(remote.standings(ShardId(1)).await.unwrap().as_of, LogIndex(3));
    remote.report_durable(ShardId(1), ReplicaId(2), entry(7).position);
    eventually("the report arrives", || fake.log().contains(&"durable s1 r2 #7".into())).await;
    let mut stream = remote.subscribe(ShardId(1), START).await.unwrap();
    fake.break_streams();
    assert!(matches!(stream.next().await, Err(StreamError::Ended(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_goes_on_at_another_adjudicator_without_a_gap() {
    let here = Node::plain(9).await;
    let nodes = [Node::plain(1).await, Node::plain(2).await, Node::plain(3).await];
    let group = Group::led_by(3);
    let fakes: Vec<Arc<Fake>> = (1..=3).map(|node| Fake::new(node, &group)).collect();
    for (node, fake) in nodes.iter().zip(&fakes) {
        here.knows(node);
        fake.serve(node);
        fake.grow(100);
    }
    let leaders = Leaders::new(None, here.network.clone(), nodes.iter().map(|node| node.id));
    let router = DecisionRouter::new(leaders.clone());
    let mut stream = router.subscribe(ShardId(1), START).await.unwrap();
    assert_eq!(take(&mut stream, 100).await, (1..=100).collect::<Vec<_>>());
    let followed = fakes.iter().position(|fake| fake.following.load(Ordering::SeqCst) == 1).unwrap();
    fakes[followed].break_streams();
    for fake in &fakes {
        fake.grow(200);
    }
    assert_eq!(take(&mut stream, 100).await, (101..=200).collect::<Vec<_>>());
    // What concerns the log's keeping goes to the leader.
    router.standings(ShardId(1)).await.unwrap();
    router.report_durable(ShardId(1), ReplicaId(1), entry(200).position);
    eventually("the leader hears", || fakes[2].log() == ["standings s1", "durable s1 r1 #200"]).await;
    assert!(fakes[..2].iter().all(|fake| fake.log().is_empty()));
}
