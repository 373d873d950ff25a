//! GET_LOCK and its family between sessions of several frontends.

mod support;

use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, KeyHash, SqlError};
use assize_ports::LockCall;
use assize_session::KillSwitch;
use std::sync::Arc;
use support::{Client, House, row_key, run};

/// Long enough to look twice; time passes when somebody looks at the clock.
const A_MOMENT: Option<u64> = Some(30);

fn call(client: &mut Client, call: LockCall<'_>) -> Result<Option<u64>, SqlError> {
    run(client.session.context().named_lock(call))
}

fn get_for(client: &mut Client, name: &str, timeout_micros: Option<u64>) -> Option<u64> {
    call(client, LockCall::Get { name, timeout_micros }).unwrap()
}

fn get(client: &mut Client, name: &str) -> Option<u64> {
    get_for(client, name, Some(0))
}

fn release(client: &mut Client, name: &str) -> Option<u64> {
    call(client, LockCall::Release { name }).unwrap()
}

fn release_all(client: &mut Client) -> Option<u64> {
    call(client, LockCall::ReleaseAll).unwrap()
}

fn holder(client: &mut Client, name: &str) -> Option<u64> {
    call(client, LockCall::Holder { name }).unwrap()
}

/// Sessions of two frontends, with the connection numbers 1 and 2.
fn two() -> (House, House, Client, Client) {
    let house = House::new();
    let other = house.neighbour(2);
    let (a, b) = (house.session(), other.session_of(2, Arc::default()));
    (house, other, a, b)
}

/// The frontend is fenced, as the log has it.
fn fence(house: &House, frontend: u32) -> FrontendEpoch {
    let current = FrontendEpoch(2);
    house.world(|w| w.epochs.insert(FrontendId(frontend), current));
    current
}

#[test]
fn a_lock_is_held_by_one_session_of_the_cluster_as_often_as_it_asks() {
    let (_house, _other, mut a, mut b) = two();
    assert_eq!(holder(&mut b, "job"), None);
    assert_eq!((get(&mut a, "Job"), get(&mut a, "JOB")), (Some(1), Some(1)));
    assert_eq!((get(&mut b, "job"), get_for(&mut b, "job", A_MOMENT)), (Some(0), Some(0)));
    assert_eq!((holder(&mut a, "job"), holder(&mut b, "jOb")), (Some(1), Some(1)));
    assert_eq!(get(&mut b, "another"), Some(1));
    assert_eq!((release(&mut b, "job"), release(&mut b, "unheard of")), (Some(0), None));
    assert_eq!((release(&mut a, "job"), get(&mut b, "job")), (Some(1), Some(0)));
    assert_eq!((release(&mut a, "job"), release(&mut a, "job")), (Some(1), None));
    assert_eq!((get_for(&mut b, "job", A_MOMENT), holder(&mut a, "job")), (Some(1), Some(2)));
    assert_eq!(release_all(&mut b), Some(2));
    assert_eq!(
        (release_all(&mut b), holder(&mut a, "job"), holder(&mut a, "another")),
        (Some(0), None, None)
    );
}

#[test]
fn transactions_come_and_go_and_the_lock_stays() {
    let (_house, _other, mut a, mut b) = two();
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    assert_eq!(get(&mut a, "job"), Some(1));
    a.sql("ROLLBACK");
    a.sql("INSERT INTO stock VALUES (1, 'b')");
    assert_eq!((get(&mut b, "job"), b.table()), (Some(0), "1=b".to_owned()));
}

#[test]
fn the_end_of_a_session_gives_back_whatever_it_is() {
    let (house, other, mut a, mut b) = two();
    let nothing_is_reserved = || house.world(|w| w.reserved.is_empty());
    assert_eq!((get(&mut a, "job"), get(&mut a, "more")), (Some(1), Some(1)));
    run(a.session.reset());
    assert_eq!((holder(&mut b, "job"), holder(&mut b, "more")), (None, None));
    assert_eq!(get(&mut a, "job"), Some(1));
    run(a.session.disconnect());
    assert_eq!(holder(&mut b, "job"), None);
    assert!(nothing_is_reserved());

    // Its task was stopped: the frontend does it.
    let mut a = house.session();
    assert_eq!(get(&mut a, "job"), Some(1));
    drop(a);
    assert_eq!(get(&mut b, "job"), Some(0));
    run(other.services.tend_named_locks(true));
    assert_eq!(get(&mut b, "job"), Some(0), "another frontend has nothing to do with it");
    run(house.services.tend_named_locks(false));
    assert_eq!((get(&mut b, "job"), release(&mut b, "job")), (Some(1), Some(1)));
    assert!(nothing_is_reserved());
}

#[test]
fn what_a_session_that_is_gone_was_committing_is_decided_under_its_lock() {
    let (house, _other, mut a, mut b) = two();
    assert_eq!(get(&mut a, "job"), Some(1));
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    house.world(|w| w.commits_hang = true);
    {
        let mut sink = support::Sink::default();
        let mut context = std::task::Context::from_waker(futures_util::task::noop_waker_ref());
        let mut commit = Box::pin(a.session.run_text("COMMIT", &mut sink));
        assert!(commit.as_mut().poll(&mut context).is_pending());
    }
    drop(a);
    house.world(|w| w.commits_hang = false);
    run(house.services.tend_named_locks(false));
    assert_eq!((get(&mut b, "job"), b.table()), (Some(0), String::new()));
    let sent = house.world(|w| w.footprints.last().cloned()).expect("it was sent");
    house.world(|w| w.decide(&sent));
    house.pass_millis(DeadlineClass::Bulk.limit().as_millis() as u64);
    run(house.services.tend_named_locks(false));
    assert_eq!((get(&mut b, "job"), b.table()), (Some(1), "1=a".to_owned()));
}

#[test]
fn what_a_session_that_is_killed_may_have_got_in_the_last_moment_is_given_back() {
    let (house, _other, mut a, mut b) = two();
    house.world(|w| w.commits_hang = true);
    {
        let get = LockCall::Get { name: "job", timeout_micros: Some(0) };
        let mut context = std::task::Context::from_waker(futures_util::task::noop_waker_ref());
        assert!(a.session.context().named_lock(get).as_mut().poll(&mut context).is_pending());
    }
    house.world(|w| w.commits_hang = false);
    run(house.services.tend_named_locks(false));
    assert_eq!(holder(&mut b, "job"), None);
    // Now it is decided, and nobody waits for it any more.
    let sent = house.world(|w| w.footprints.last().cloned()).expect("it was sent");
    house.world(|w| w.decide(&sent));
    assert_eq!((holder(&mut b, "job"), get(&mut b, "job")), (Some(1), Some(0)));
    run(house.services.tend_named_locks(false));
    assert_eq!((holder(&mut b, "job"), get(&mut b, "job")), (None, Some(1)));
    run(house.services.tend_named_locks(false));
    assert_eq!((get(&mut a, "job"), release(&mut b, "job")), (Some(0), Some(1)));
}

#[test]
fn a_statement_that_is_run_again_counts_once() {
    let (house, _other, mut a, mut b) = two();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let lose = |times| house.world(|w| w.rival = Some((row_key(1).1, times)));
    let lost = || house.world(|w| w.rival.as_ref().map(|(_, left)| *left)) == Some(0);
    // The commit of the lock meets the rival first, and does not mind.
    lose(4);
    a.sql("UPDATE stock SET v = 'got' WHERE id = 1");
    assert!(lost() && a.table() == "1=1");
    lose(3);
    a.sql("UPDATE stock SET v = 'got' WHERE id = 1");
    lose(3);
    a.sql("UPDATE stock SET v = 'given back' WHERE id = 1");
    assert!(lost() && a.table() == "1=1");
    assert_eq!((get(&mut b, "job"), release(&mut a, "job"), get(&mut b, "job")), (Some(0), Some(1), Some(1)));
    assert_eq!((release_all(&mut a), release(&mut b, "job")), (Some(0), Some(1)));

    assert_eq!((get(&mut a, "job"), get(&mut a, "more")), (Some(1), Some(1)));
    lose(6);
    a.sql("UPDATE stock SET v = 'all given back' WHERE id = 1");
    assert_eq!((a.table(), get(&mut b, "job")), ("1=2".to_owned(), Some(1)));
    lose(3);
    a.sql("UPDATE stock SET v = 'got' WHERE id = 1");
    assert_eq!((a.table(), holder(&mut a, "job")), ("1=0".to_owned(), Some(2)));
}

#[test]
fn a_lock_of_a_life_that_is_over_is_free_and_nothing_is_written_under_it_any_more() {
    let (house, _other, mut a, mut b) = two();
    b.sql("INSERT INTO stock VALUES (1, 'a')");
    assert_eq!((get(&mut a, "job"), get(&mut b, "job")), (Some(1), Some(0)));
    let current = fence(&house, 1);
    assert_eq!((holder(&mut b, "job"), get(&mut b, "job")), (None, Some(1)));
    b.sql("UPDATE stock SET v = 'b' WHERE id = 1");

    // Its frontend has not heard of it yet; once it has, the session is one of those to be told.
    assert_eq!(a.errno("UPDATE stock SET v = 'lost' WHERE id = 1"), 1429);
    assert!(house.services.is_fenced());
    let error = call(&mut a, LockCall::Get { name: "job", timeout_micros: None }).unwrap_err();
    assert_eq!(error.code.errno(), 1429, "{error}");
    assert_eq!(house.services.begin_life(current), [1]);
    assert_eq!(a.errno("UPDATE stock SET v = 'lost' WHERE id = 1"), 1429);
    assert_eq!(b.table(), "1=b");

    // Others of that frontend go on at once, and it does as soon as it holds nothing.
    house.session_of(3, Arc::default()).sql("UPDATE stock SET v = 'c' WHERE id = 1");
    assert_eq!(release(&mut a, "job"), Some(0));
    a.sql("UPDATE stock SET v = 'd' WHERE id = 1");
    assert_eq!((get(&mut a, "job"), release(&mut b, "job"), get(&mut a, "job")), (Some(0), Some(1), Some(1)));
    assert_eq!(house.services.begin_life(FrontendEpoch(3)), [1]);
}

#[test]
fn after_a_change_of_leader_the_lock_is_held_and_reserved_again() {
    let (house, _other, mut a, mut b) = two();
    assert_eq!(get(&mut a, "job"), Some(1));
    let reserved = || house.world(|w| w.reserved.keys().copied().collect::<Vec<KeyHash>>());
    let before = reserved();
    assert_eq!(before.len(), 1);
    house.world(|w| w.reserved.clear());
    assert_eq!(get_for(&mut b, "job", A_MOMENT), Some(0), "the store has the last word");
    run(house.services.tend_named_locks(false));
    assert_eq!(reserved(), []);
    run(house.services.tend_named_locks(true));
    assert_eq!(reserved(), before);
    assert_eq!((release(&mut a, "job"), reserved()), (Some(1), vec![]));
    run(house.services.tend_named_locks(true));
    assert_eq!(reserved(), []);
}

#[test]
fn a_circle_of_waiting_is_told_and_kill_ends_the_wait() {
    let (house, other, mut a, _b) = two();
    assert_eq!(get(&mut a, "job"), Some(1));
    let kill = Arc::new(KillSwitch::default());
    let mut b = other.session_of(2, kill.clone());
    house.world(|w| w.deadlocks = true);
    let get = LockCall::Get { name: "job", timeout_micros: None };
    let error = call(&mut b, get).unwrap_err();
    assert_eq!(error.code.errno(), 3058, "{error}");
    house.world(|w| w.deadlocks = false);

    house.world(|w| w.reservations_hang = true);
    b.sql("BEGIN");
    let mut context = std::task::Context::from_waker(futures_util::task::noop_waker_ref());
    let mut sink = support::Sink::default();
    let mut update = Box::pin(b.session.run_text("UPDATE stock SET v = 'waits' WHERE id = 1", &mut sink));
    assert!(update.as_mut().poll(&mut context).is_pending());
    kill.kill_query();
    assert_eq!(run(update).unwrap_err().code.errno(), 1317);
    house.world(|w| w.reservations_hang = false);
    assert_eq!(release(&mut a, "job"), Some(1));
}
