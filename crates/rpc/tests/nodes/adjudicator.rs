//! One node uses another's adjudicator.

use crate::fake::*;
use crate::fixture::*;
use assize_adjudicator::EncodedFootprint;
use assize_model::*;
use assize_ports::*;
use assize_rpc::RemoteAdjudicator;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

async fn pair() -> (Node, Node, Arc<Fake>, RemoteAdjudicator) {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let fake = Fake::new(2, &Group::led_by(2));
    fake.serve(&two);
    let remote = RemoteAdjudicator::new(one.network.clone(), two.id);
    (one, two, fake, remote)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_of_the_port_arrives() {
    let (_one, _two, fake, remote) = pair().await;
    let table = TableId(4);
    let registered = remote.register("frontend-1", 3).await.unwrap();
    assert_eq!(registered, Registered { frontend: FrontendId(10), epoch: FrontendEpoch(3), hash_seed: 7 });
    let begun = remote.begin().await.unwrap();
    assert!(remote.begin().await.unwrap().snapshot_ts > begun.snapshot_ts);
    let decision = remote.commit(footprint(1)).await.unwrap();
    let Decision::Commit { commit_ts } = decision else { panic!("{decision:?}") };
    assert_eq!(remote.outcome(txn(1), false).await.unwrap(), Outcome::Committed(commit_ts));
    assert_eq!(remote.outcome(txn(2), true).await.unwrap(), Outcome::Undecided);
    assert_eq!(*remote.placement().await.unwrap(), Placement::even(2, NodeId(2)));
    assert_eq!(remote.nodes().await.unwrap(), Vec::new());
    assert_eq!(remote.frontend_epoch(FrontendId(3)).await.unwrap(), FrontendEpoch(4));
    let catalog = remote.catalog(CatalogVersion(5), CatalogVersion(6)).await.unwrap();
    assert_eq!(catalog.version, CatalogVersion(5));
    let range = remote.allocate_ids(table, 10, 3, 2, 1).await.unwrap();
    assert_eq!(range, IdRange { first: 3, count: 10, increment: 2 });
    assert_eq!(remote.next_id(table).await.unwrap(), 5);
    remote.track_ranges(table).await.unwrap();
    let keys = [KeyHash(1), KeyHash(2)];
    let reserved = remote.reserve(txn(1), &keys, LockStrength::Exclusive, LockWait::NoWait).await.unwrap();
    assert!(matches!(reserved, Reserved::Granted { keys, .. } if keys == [KeyHash(1), KeyHash(2)]));
    remote.release(txn(1));
    remote.acknowledge(vec![TxnRun::one(txn(1))]);
    remote.report_oldest_snapshot(FrontendId(1), FrontendEpoch(1), Some(Timestamp(9)));
    eventually("what nobody waits for arrives too", || {
        let log = fake.log();
        let released = format!("release {}", txn(1));
        [released.as_str(), "oldest f1 9"].iter().all(|line| log.iter().any(|found| found == line))
            && log.iter().any(|line| line.starts_with("acknowledge"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_footprint_that_no_entry_can_hold_is_refused_there_and_on_the_way_and_the_next_one_is_decided() {
    let (_one, _two, fake, remote) = pair().await;
    let too_large = AdjudicatorError::TooLarge("a footprint of 9 bytes".into());
    *fake.refuses_with.lock().unwrap() = Some(too_large.clone());
    assert_eq!(remote.commit(footprint(1)).await, Err(too_large));
    *fake.refuses_with.lock().unwrap() = None;
    let mut huge = footprint(1);
    let value = vec![0; FOOTPRINT_BYTES_MAX];
    let mutations = vec![Mutation::put(Key::new(b"k".to_vec()), Slot(1), value)];
    huge.body = CommitBody::Inline { mutations, written: Vec::new() };
    let encoded = EncodedFootprint::new(&huge).unwrap().bytes().clone();
    let small = EncodedFootprint::new(&footprint(2)).unwrap().bytes().clone();
    let is_too_large = |decided: &Decided| matches!(decided, Err(AdjudicatorError::TooLarge(_)));
    assert!(is_too_large(&remote.commit(huge).await));
    let decided: Vec<Decided> =
        remote.commit_many([&encoded, &small].into_iter().collect()).await.iter().collect();
    assert!(is_too_large(&decided[0]), "{decided:?}");
    assert!(matches!(decided[1], Ok(Decision::Commit { .. })), "{decided:?}");
    assert_eq!(fake.frames.load(Ordering::SeqCst), 2, "what is too large is not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_gather_in_frames_and_each_session_gets_its_own_decision() {
    let (_one, _two, fake, remote) = pair().await;
    let commits = (0..2000).map(|n| remote.commit(footprint(n)));
    let decisions = futures_util::future::join_all(commits).await;
    let timestamps: BTreeSet<u64> = decisions
        .iter()
        .map(|decision| match decision {
            Ok(Decision::Commit { commit_ts }) => commit_ts.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(timestamps.len(), 2000);
    // How many go together depends on who runs when; that some do does not.
    assert!(fake.frames.load(Ordering::SeqCst) < 2000, "{:?} frames", fake.frames);
    for n in 0..2000 {
        let again = remote.outcome(txn(n), false).await.unwrap();
        assert_eq!(again, Outcome::from(decisions[n as usize].clone().unwrap()));
        if n > 20 {
            break;
        }
    }
    let encoded = |n| assize_adjudicator::EncodedFootprint::new(&footprint(n)).unwrap().bytes().clone();
    let frame: Footprints = (1990..2000).map(encoded).collect::<Vec<_>>().iter().collect();
    let many = remote.commit_many(frame).await;
    assert_eq!(many.iter().collect::<Vec<_>>(), decisions[1990..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_waits_holds_nobody_up_and_is_given_up_before_its_owner_is_released() {
    let (_one, _two, fake, remote) = pair().await;
    let keys = [KeyHash(1)];
    let wait = LockWait::Timeout(LONG);
    {
        let mut waiting = std::pin::pin!(remote.reserve(txn(1), &keys, LockStrength::Shared, wait));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        let granted = remote.reserve(txn(2), &keys, LockStrength::Shared, LockWait::NoWait).await;
        assert!(matches!(granted, Ok(Reserved::Granted { .. })));
        remote.commit(footprint(1)).await.unwrap();
    }
    remote.release(txn(1));
    eventually("the owner is released", || fake.log().last().is_some_and(|line| line.starts_with("release")))
        .await;
    let (one, two) = (txn(1), txn(2));
    let expected = [
        format!("reserve {one}"),
        format!("reserve {two}"),
        format!("given up {one}"),
        format!("release {one}"),
    ];
    assert_eq!(fake.log(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_released_yet_is_when_the_channel_breaks() {
    let (_one, two, fake, remote) = pair().await;
    let keys = [KeyHash(1)];
    let reserve = |n, wait| remote.reserve(txn(n), &keys, LockStrength::Shared, wait);
    for n in [1, 2] {
        assert!(matches!(reserve(n, LockWait::NoWait).await, Ok(Reserved::Granted { .. })));
    }
    remote.release(txn(1));
    let released = |n| {
        let expected = format!("release {}", txn(n));
        fake.log().iter().filter(|line| **line == expected).count()
    };
    eventually("one is released", || released(1) == 1).await;
    let mut waiting = std::pin::pin!(reserve(3, LockWait::Timeout(LONG)));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    eventually("another waits", || fake.log().contains(&format!("reserve {}", txn(3)))).await;
    two.kill();
    eventually("the others are released", || released(2) == 1 && released(3) == 1).await;
    let log = fake.log();
    let at = |what: &str| log.iter().position(|line| *line == format!("{what} {}", txn(3)));
    assert!(at("given up") < at("release"), "{log:?}");
    assert_eq!(released(1), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_without_snapshots_never_reports_more_than_it_has_been_given() {
    let (_one, _two, fake, remote) = pair().await;
    let (frontend, epoch) = (FrontendId(1), FrontendEpoch(1));
    let begun = remote.begin().await.unwrap();
    remote.report_oldest_snapshot(frontend, epoch, None);
    let expected = format!("oldest f1 {}", begun.snapshot_ts.0);
    eventually("the report arrives", || fake.log().contains(&expected)).await;
    // And does not stay there for ever.
    eventually("a begin of its own follows", || fake.begins.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_proposed_is_told_apart_from_what_was_not() {
    let (_one, two, fake, remote) = pair().await;
    fake.swallows_answers.store(true, Ordering::SeqCst);
    let mut waiting = std::pin::pin!(remote.commit(footprint(1)));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    eventually("it is decided", || fake.frames.load(Ordering::SeqCst) == 1).await;
    two.kill();
    assert_eq!(waiting.await, Err(AdjudicatorError::ReplyLost));
    let never = remote.commit(footprint(2)).await;
    assert!(matches!(never, Err(AdjudicatorError::Unreachable(_))), "{never:?}");
    let never = remote.begin().await;
    assert!(matches!(never, Err(AdjudicatorError::Unreachable(_))), "{never:?}");
    let never = remote.reserve(txn(1), &[], LockStrength::Shared, LockWait::NoWait).await;
    assert!(matches!(never, Err(AdjudicatorError::Unreachable(_))), "{never:?}");
}
