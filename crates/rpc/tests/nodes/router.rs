//! A frontend uses whichever adjudicator leads.

use crate::fake::*;
use crate::fixture::*;
use assize_model::*;
use assize_ports::*;
use assize_rpc::{Leaders, LocalAdjudicator, Router, RouterOptions};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A frontend's node and three adjudicators.
struct Cluster {
    group: Arc<Group>,
    fakes: Vec<Arc<Fake>>,
    nodes: Vec<Node>,
    router: Arc<Router>,
    here: Node,
}

async fn cluster(options: RouterOptions) -> Cluster {
    let here = Node::plain(9).await;
    let group = Group::led_by(1);
    let (mut fakes, mut nodes) = (Vec::new(), Vec::new());
    for id in 1..=3 {
        let (node, fake) = (Node::plain(id).await, Fake::new(id, &group));
        fake.serve(&node);
        here.knows(&node);
        nodes.push(node);
        fakes.push(fake);
    }
    let leaders = Leaders::new(None, here.network.clone(), nodes.iter().map(|node| node.id));
    let router = Arc::new(Router::new(leaders, options));
    Cluster { group, fakes, nodes, router, here }
}

/// Patience that outlasts a busy machine, and attempts that are given up soon.
fn patient() -> RouterOptions {
    RouterOptions { hold: LONG, attempt_max: Duration::from_millis(300) }
}

fn impatient() -> RouterOptions {
    RouterOptions { hold: Duration::from_millis(500), attempt_max: Duration::from_millis(100) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_found_with_hints_and_without() {
    for hints in [true, false] {
        let cluster = cluster(patient()).await;
        for fake in &cluster.fakes {
            fake.gives_no_hint.store(!hints, Ordering::SeqCst);
        }
        for leader in [1, 3, 2] {
            cluster.group.elect(Some(leader));
            cluster.router.begin().await.unwrap();
            assert_eq!(cluster.router.leaders().leader(), Some(NodeId(leader)));
            cluster.router.placement().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_in_the_middle_of_a_commit_changes_no_answer() {
    let mut cluster = cluster(patient()).await;
    cluster.router.begin().await.unwrap();
    cluster.fakes[0].swallows_answers.store(true, Ordering::SeqCst);
    let router = cluster.router.clone();
    let commits = tokio::spawn(async move {
        futures_util::future::join_all((0..50).map(|n| router.commit(footprint(n)))).await
    });
    eventually("some are decided", || cluster.group.adjudicated.load(Ordering::SeqCst) > 0).await;
    cluster.group.elect(Some(2));
    cluster.nodes.remove(0).kill();
    for (n, decision) in commits.await.unwrap().into_iter().enumerate() {
        let outcome = cluster.router.outcome(txn(n as u64), false).await.unwrap();
        assert_eq!(Outcome::from(decision.unwrap()), outcome);
    }
    assert_eq!(cluster.group.adjudicated.load(Ordering::SeqCst), 50, "none was decided twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_none_any_more_and_does_not_know_is_left_alone() {
    let cluster = cluster(patient()).await;
    cluster.router.begin().await.unwrap();
    // It lives, takes commits and never answers: a leader without its majority.
    cluster.fakes[0].swallows_answers.store(true, Ordering::SeqCst);
    let router = cluster.router.clone();
    let elect = async {
        eventually("it is taken", || cluster.group.adjudicated.load(Ordering::SeqCst) == 1).await;
        cluster.group.elect(Some(3));
    };
    let (decision, ()) = tokio::join!(router.commit(footprint(1)), elect);
    assert!(decision.unwrap().is_commit());
    assert_eq!(cluster.group.adjudicated.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_swallows_everything_keeps_nobody_from_finding_the_leader() {
    let cluster = cluster(patient()).await;
    cluster.router.begin().await.unwrap();
    // Takes connections, and says nothing for ever.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.here.network.learn(NodeId(1), Some(silent.local_addr().unwrap().to_string()));
    cluster.group.elect(None);
    let router = cluster.router.clone();
    let commits = tokio::spawn(async move {
        futures_util::future::join_all((0..100).map(|n| router.commit(footprint(n)))).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.group.elect(Some(3));
    assert!(commits.await.unwrap().iter().all(|decided| matches!(decided, Ok(Decision::Commit { .. }))));
    assert_eq!(cluster.group.adjudicated.load(Ordering::SeqCst), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_held_while_nobody_leads() {
    let cluster = cluster(patient()).await;
    cluster.group.elect(None);
    let router = cluster.router.clone();
    let held = tokio::spawn(async move { (router.begin().await, router.commit(footprint(1)).await) });
    cluster.router.acknowledge(vec![TxnRun::one(txn(7))]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!held.is_finished());
    cluster.group.elect(Some(2));
    let (begun, decision) = held.await.unwrap();
    assert!(begun.is_ok());
    assert!(decision.unwrap().is_commit());
    let acknowledged = || cluster.fakes[1].log().iter().any(|line| line == "acknowledge [7..8]");
    eventually("what was to be told is told", acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_time_is_over_only_what_may_have_been_proposed_is_lost() {
    let cluster = cluster(impatient()).await;
    cluster.group.elect(None);
    let never = cluster.router.commit(footprint(1)).await;
    assert!(matches!(never, Err(AdjudicatorError::Unreachable(_))), "{never:?}");
    assert!(matches!(cluster.router.begin().await, Err(AdjudicatorError::Unreachable(_))));
    cluster.group.elect(Some(1));
    cluster.fakes[0].swallows_answers.store(true, Ordering::SeqCst);
    let perhaps = cluster.router.commit(footprint(2)).await;
    assert_eq!(perhaps, Err(AdjudicatorError::ReplyLost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_begin_together_share_round_trips() {
    let cluster = cluster(patient()).await;
    cluster.router.begin().await.unwrap();
    let before = cluster.fakes[0].begins.load(Ordering::SeqCst);
    let begins = futures_util::future::join_all((0..1000).map(|_| cluster.router.begin())).await;
    assert!(begins.iter().all(Result::is_ok));
    let requests = cluster.fakes[0].begins.load(Ordering::SeqCst) - before;
    assert!(requests <= 3, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_hears_of_the_oldest_snapshot() {
    let cluster = cluster(patient()).await;
    cluster.router.begin().await.unwrap();
    cluster.router.report_oldest_snapshot(FrontendId(4), FrontendEpoch(1), Some(Timestamp(77)));
    let heard = |at: usize| cluster.fakes[at].log().contains(&"oldest f4 77".to_owned());
    eventually("the leader hears", || heard(0)).await;
    assert!(!heard(1));
    cluster.group.elect(Some(2));
    cluster.router.begin().await.unwrap();
    cluster.router.begin().await.unwrap();
    eventually("the new one hears", || heard(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_node_s_own_adjudicator_is_asked_directly_while_it_leads() {
    let (here, there) = (Node::plain(1).await, Node::plain(2).await);
    here.knows(&there);
    let group = Group::led_by(1);
    let (own, other) = (Fake::new(1, &group), Fake::new(2, &group));
    other.serve(&there);
    let local =
        LocalAdjudicator { node: here.id, client: own.clone(), decisions: Arc::new(Streams(own.clone())) };
    let leaders = Leaders::new(Some(local), here.network.clone(), [here.id, there.id]);
    let router = Router::new(leaders, patient());
    router.begin().await.unwrap();
    router.commit(footprint(1)).await.unwrap();
    assert_eq!(router.leaders().leader(), Some(here.id));
    group.elect(Some(2));
    router.begin().await.unwrap();
    router.commit(footprint(2)).await.unwrap();
    assert_eq!(router.leaders().leader(), Some(there.id));
    let reserved = router.reserve(txn(2), &[KeyHash(1)], LockStrength::Shared, LockWait::NoWait).await;
    assert!(matches!(reserved, Ok(Reserved::Granted { .. })));
    router.release(txn(2));
    let released = format!("release {}", txn(2));
    eventually("it is released there", || other.log().contains(&released)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_while_the_leader_is_doubted_is_told_to_it_when_it_is_found_again() {
    let cluster = cluster(impatient()).await;
    let reserve = cluster.router.reserve(txn(1), &[KeyHash(1)], LockStrength::Shared, LockWait::NoWait);
    assert!(matches!(reserve.await, Ok(Reserved::Granted { .. })));
    cluster.group.elect(None);
    assert!(cluster.router.begin().await.is_err());
    assert_eq!(cluster.router.leaders().leader(), None);
    cluster.router.release(txn(1));
    cluster.group.elect(Some(1));
    cluster.router.begin().await.unwrap();
    let released = format!("release {}", txn(1));
    eventually("it is released there", || cluster.fakes[0].log().contains(&released)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_needs_a_while_for_its_majority_is_found_by_those_who_name_it() {
    let cluster = cluster(RouterOptions { hold: LONG, attempt_max: LONG }).await;
    for leader in [1, 2] {
        cluster.group.elect(Some(leader));
        cluster.fakes[leader as usize - 1].begin_takes.store(300, Ordering::SeqCst);
        cluster.router.begin().await.unwrap();
        assert_eq!(cluster.router.leaders().leader(), Some(NodeId(leader)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_named_and_stays_silent_keeps_nobody_from_finding_who_is_elected_in_its_place() {
    let cluster = cluster(RouterOptions { hold: LONG, attempt_max: LONG }).await;
    cluster.fakes[0].begin_takes.store(u64::from(u32::MAX), Ordering::SeqCst);
    let router = cluster.router.clone();
    let begun = tokio::spawn(async move { router.begin().await });
    let asked = || cluster.fakes[1].begins.load(Ordering::SeqCst);
    eventually("one of those who name it is asked again", || asked() > 1).await;
    cluster.group.elect(Some(3));
    begun.await.unwrap().unwrap();
    assert_eq!(cluster.router.leaders().leader(), Some(NodeId(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adjudicator_that_panics_costs_those_who_asked_their_answer_and_nobody_else() {
    let here = Node::plain(1).await;
    let own = Fake::new(1, &Group::led_by(1));
    let local =
        LocalAdjudicator { node: here.id, client: own.clone(), decisions: Arc::new(Streams(own.clone())) };
    let router = Router::new(Leaders::new(Some(local), here.network.clone(), [here.id]), patient());
    own.panics.store(1, Ordering::SeqCst);
    assert!(matches!(router.begin().await, Err(AdjudicatorError::Unreachable(_))));
    router.begin().await.unwrap();
    // More often than commits can be under way.
    for n in 0..20 {
        own.panics.store(1, Ordering::SeqCst);
        assert_eq!(router.commit(footprint(n)).await, Err(AdjudicatorError::ReplyLost));
    }
    assert!(router.commit(footprint(20)).await.unwrap().is_commit());
}
