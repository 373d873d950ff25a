//! Branches on foreign servers: every place at which something can die, stand still or break.

mod support;

use assize_model::{ErrorCode, Mutation, SqlError};
use assize_ports::{ForeignStatement, Mark, ReadIntent, Transaction};
use assize_session::{BranchInDoubt, CommitFailure, Committed, Isolation, KillSwitch, Txn, TxnOptions};
use assize_values::{SqlType, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use support::foreign::{Gate, Mishap, Outside, server};
use support::{House, TABLE, row_key, run, stock};

/// More steps than any of these scenarios has.
const STEPS_MAX: u32 = 200;
/// Longer than a branch without a record is left to its session.
const LONG_MILLIS: u64 = 20_000;

const READS: &[SqlType] = &[SqlType::BIGINT];

fn writes(sql: &str) -> ForeignStatement<'_> {
    ForeignStatement { sql, types: &[], writes: true }
}

fn reads(sql: &str) -> ForeignStatement<'_> {
    ForeignStatement { sql, types: READS, writes: false }
}

/// A cluster, its second frontend, and two servers with 100 each.
fn outside() -> (House, House) {
    let house = House::new();
    let other = house.neighbour(2);
    house.world(|world| world.define_servers(&["a", "b"]));
    house.cluster.outside.put("a", 1, 100);
    house.cluster.outside.put("b", 1, 100);
    (house, other)
}

fn at(house: &House) -> &Outside {
    &house.cluster.outside
}

/// Something passes a gate from now on, on foreign servers and at the adjudicator.
fn set_gate(house: &House, gate: &Gate) {
    at(house).set_gate(gate.clone());
    house.world(|world| world.gate = Some(gate.clone()));
}

/// Moves 50 from `a` to `b`, and notes it in a table of the cluster.
async fn transfer(house: &House) -> Result<Committed, CommitFailure> {
    let mut txn = Txn::begin(house.services.clone(), TxnOptions::default()).await?;
    txn.begin_statement(true).await?;
    let (slot, key) = row_key(1);
    let row = assize_catalog::row::encode(&stock(), &[Value::Int(1), Value::text("moved")]);
    txn.write(TABLE, Mutation::put(key, slot, row))?;
    txn.foreign(&server("a"), writes("PUT 1 50")).await?;
    txn.foreign(&server("b"), writes("PUT 1 150")).await?;
    txn.commit(None).await
}

fn stored(house: &House) -> bool {
    run(async {
        let mut txn = Txn::begin(house.services.clone(), TxnOptions::default()).await.unwrap();
        let (slot, key) = row_key(1);
        txn.get(TABLE, slot, &key, ReadIntent::Plain).await.unwrap().is_some()
    })
}

fn records(house: &House) -> usize {
    let range = assize_catalog::ForeignBranch::range();
    house.world(|world| {
        let now = world.now;
        let keys: Vec<_> = world.rows.keys().filter(|key| range.contains(key)).cloned().collect();
        keys.iter().filter(|key| world.read(key, now).is_some()).count()
    })
}

/// A frontend looks after branches until there is nothing left to do.
fn heal(house: &House) {
    for _ in 0..6 {
        run(house.services.tend_foreign_branches()).unwrap();
        house.pass_millis(LONG_MILLIS);
    }
}

/// Whether the money has moved: everywhere, or nowhere, and nothing is left in doubt.
fn moved(house: &House, context: &str) -> bool {
    let outside = at(house);
    let left = (outside.prepared("a"), outside.prepared("b"), records(house));
    assert_eq!(left, (0, 0, 0), "{context}: prepared at a, at b, records");
    let all = (stored(house), outside.rows("a")[&1] == 50, outside.rows("b")[&1] == 150);
    assert!(all == (true, true, true) || all == (false, false, false), "{context}: {all:?}");
    all.0
}

/// What a client was told agrees with what has become of it.
fn agrees(told: &Result<Committed, CommitFailure>, moved: bool, context: &str) {
    match told {
        Ok(_) => assert!(moved, "{context}: told that it has committed"),
        Err(failure) if failure.error.code == ErrorCode::OutcomeUnknown => {}
        Err(failure) => assert!(!moved, "{context}: told {}", failure.error),
    }
}

/// Runs a future until the gate is reached; its result if that never happens.
fn run_to<T>(gate: &Gate, future: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if gate.is_reached() {
            return None;
        }
    }
    panic!("nothing moves");
}

/// Every step of a scenario in turn, until one is beyond its end. Answers how many it has.
fn at_every_step(mut scenario: impl FnMut(u32) -> bool) -> u32 {
    for step in 0..STEPS_MAX {
        if !scenario(step) {
            return step;
        }
    }
    panic!("there is no end to it");
}

#[test]
fn a_transaction_moves_money_everywhere() {
    let (house, _) = outside();
    assert!(matches!(run(transfer(&house)), Ok(Committed::At(..))));
    assert_eq!((at(&house).prepared("a"), records(&house)), (0, 1), "the record is removed later");
    heal(&house);
    assert!(moved(&house, "without mishaps"));
    assert_eq!(at(&house).connections("a").0 - at(&house).connections("a").1, 0, "all were given back");
}

#[test]
fn a_session_that_dies_anywhere_leaves_all_or_nothing() {
    let mut outcomes = [0, 0];
    let steps = at_every_step(|step| {
        let (house, other) = outside();
        let gate = Gate::at(step, Mishap::Stop);
        set_gate(&house, &gate);
        let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
        if run_to(&gate, &mut session).is_some() {
            return false;
        }
        drop(session);
        gate.open();
        heal(&other);
        outcomes[usize::from(moved(&house, &format!("died at {step}")))] += 1;
        true
    });
    assert!(steps > 30 && outcomes.iter().all(|count| *count > 4), "{steps} steps: {outcomes:?}");
}

#[test]
fn a_session_that_stands_still_anywhere_is_overtaken_and_told_so() {
    let mut outcomes = [0, 0];
    at_every_step(|step| {
        let (house, other) = outside();
        let gate = Gate::at(step, Mishap::Stop);
        set_gate(&house, &gate);
        let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
        if run_to(&gate, &mut session).is_some() {
            return false;
        }
        heal(&other);
        gate.open();
        let told = run(session);
        let context = format!("stood still at {step}");
        heal(&other);
        heal(&house);
        let moved = moved(&house, &context);
        agrees(&told, moved, &context);
        if let Err(failure) = &told {
            assert!(failure.is_retryable, "{context}: {}", failure.error);
        }
        outcomes[usize::from(moved)] += 1;
        true
    });
    assert!(outcomes.iter().all(|count| *count > 2), "{outcomes:?}");
}

#[test]
fn a_connection_that_breaks_anywhere_is_no_half_commit() {
    let mut outcomes = [0, 0];
    at_every_step(|step| {
        let (house, other) = outside();
        let gate = Gate::at(step, Mishap::Break);
        set_gate(&house, &gate);
        let told = run(transfer(&house));
        if !gate.is_reached() {
            return false;
        }
        let context = format!("broke at {step}");
        heal(&other);
        heal(&house);
        let moved = moved(&house, &context);
        agrees(&told, moved, &context);
        outcomes[usize::from(moved)] += 1;
        true
    });
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

#[test]
fn a_foreign_server_that_dies_anywhere_and_comes_back_agrees_with_the_others() {
    let mut outcomes = [0, 0];
    at_every_step(|step| {
        let (house, other) = outside();
        let gate = Gate::at(step, Mishap::Stop);
        set_gate(&house, &gate);
        let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
        if run_to(&gate, &mut session).is_some() {
            return false;
        }
        at(&house).away("b", true);
        gate.open();
        let told = run(session);
        let context = format!("b died at {step}");
        heal(&other);
        let is_kept = records(&house) > 0;
        assert!(is_kept || told.is_err() || stored(&house), "{context}");
        at(&house).away("b", false);
        heal(&other);
        heal(&house);
        let moved = moved(&house, &context);
        agrees(&told, moved, &context);
        outcomes[usize::from(moved)] += 1;
        true
    });
    assert!(outcomes.iter().all(|count| *count > 2), "{outcomes:?}");
}

/// A frontend that finds branches dies as well, at any step, and another one goes on.
#[test]
fn whoever_finds_branches_may_die_anywhere() {
    // Prepared everywhere and not decided; decided and told to nobody.
    let session_steps = prepared_and_decided();
    let mut outcomes = [0, 0];
    for session_step in session_steps {
        at_every_step(|step| {
            let (house, other) = outside();
            let first = Gate::at(session_step, Mishap::Stop);
            set_gate(&house, &first);
            let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
            assert!(run_to(&first, &mut session).is_none());
            drop(session);
            // Nothing is older than nothing: the first look only notes.
            set_gate(&house, &Gate::default());
            run(other.services.tend_foreign_branches()).unwrap();
            other.pass_millis(LONG_MILLIS);
            let gate = Gate::at(step, Mishap::Stop);
            set_gate(&house, &gate);
            let mut finder: Pin<Box<dyn Future<Output = _>>> =
                Box::pin(other.services.tend_foreign_branches());
            if run_to(&gate, &mut finder).is_some() {
                return false;
            }
            drop(finder);
            gate.open();
            let third = house.neighbour(3);
            heal(&third);
            let context = format!("the session died at {session_step}, the finder at {step}");
            outcomes[usize::from(moved(&house, &context))] += 1;
            true
        });
    }
    assert!(outcomes.iter().all(|count| *count > 2), "{outcomes:?}");
}

/// The steps at which both branches are prepared and the commit is about to be decided, and at which it has been.
fn prepared_and_decided() -> [u32; 2] {
    let mut steps = Vec::new();
    at_every_step(|step| {
        let (house, _) = outside();
        let gate = Gate::at(step, Mishap::Stop);
        set_gate(&house, &gate);
        let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
        if run_to(&gate, &mut session).is_some() {
            return false;
        }
        if (at(&house).prepared("a"), at(&house).prepared("b")) == (1, 1) {
            steps.push((records(&house) > 0, step));
        }
        true
    });
    let undecided = steps.iter().rfind(|(is_decided, _)| !is_decided).expect("undecided").1;
    let decided = steps.iter().find(|(is_decided, _)| *is_decided).expect("decided").1;
    [undecided, decided]
}

#[test]
fn two_frontends_that_find_a_branch_do_the_same() {
    let [undecided, decided] = prepared_and_decided();
    for (session_step, is_moved) in [(undecided, false), (decided, true)] {
        at_every_step(|step| {
            let (house, other) = outside();
            let third = house.neighbour(3);
            let first = Gate::at(session_step, Mishap::Stop);
            set_gate(&house, &first);
            let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
            assert!(run_to(&first, &mut session).is_none());
            drop(session);
            set_gate(&house, &Gate::default());
            for finder in [&other, &third] {
                run(finder.services.tend_foreign_branches()).unwrap();
                finder.pass_millis(LONG_MILLIS);
            }
            let gate = Gate::at(step, Mishap::Stop);
            set_gate(&house, &gate);
            let mut finder: Pin<Box<dyn Future<Output = _>>> =
                Box::pin(other.services.tend_foreign_branches());
            if run_to(&gate, &mut finder).is_some() {
                return false;
            }
            heal(&third);
            gate.open();
            // It may have lost; then it looks again.
            let _ = run(finder);
            heal(&other);
            assert_eq!(moved(&house, &format!("{session_step}, {step}")), is_moved);
            true
        });
    }
}

/// The session commits while a finder is about to write that it is rolled back, and dies before it has told anybody.
#[test]
fn a_finder_that_is_overtaken_rolls_nothing_back() {
    let [undecided, decided] = prepared_and_decided();
    assert_eq!(decided, undecided + 1);
    let mut outcomes = [0, 0];
    at_every_step(|step| {
        let (house, other) = outside();
        let first = Gate::at(undecided, Mishap::Stop);
        set_gate(&house, &first);
        let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
        assert!(run_to(&first, &mut session).is_none());
        set_gate(&house, &Gate::default());
        run(other.services.tend_foreign_branches()).unwrap();
        other.pass_millis(LONG_MILLIS);
        let gate = Gate::at(step, Mishap::Stop);
        set_gate(&house, &gate);
        let mut finder: Pin<Box<dyn Future<Output = _>>> = Box::pin(other.services.tend_foreign_branches());
        if run_to(&gate, &mut finder).is_some() {
            return false;
        }
        first.open_until(decided);
        assert!(run_to(&first, &mut session).is_none(), "it has heard nothing yet");
        let has_committed = stored(&house);
        drop(session);
        gate.open();
        let _ = run(finder);
        heal(&house.neighbour(3));
        heal(&other);
        let context = format!("the finder stood still at {step}");
        assert_eq!(moved(&house, &context), has_committed, "{context}");
        outcomes[usize::from(has_committed)] += 1;
        true
    });
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// The conflict window has forgotten the key, and the shards are asked: they know of the finder.
#[test]
fn an_overtaken_session_loses_also_if_its_snapshot_is_too_old_for_the_window() {
    let [undecided, _] = prepared_and_decided();
    let (house, other) = outside();
    let gate = Gate::at(undecided, Mishap::Stop);
    set_gate(&house, &gate);
    let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
    assert!(run_to(&gate, &mut session).is_none());
    heal(&other);
    assert_eq!((at(&house).prepared("a"), records(&house)), (1, 1), "its connection holds the branch");
    for name in ["a", "b"] {
        at(&house).away(name, true);
        at(&house).away(name, false);
    }
    heal(&other);
    assert_eq!((at(&house).prepared("a"), records(&house)), (0, 0), "rolled back, and forgotten");
    house.world(|world| {
        let hashes: Vec<_> = world.commits.keys().map(|key| key.hash(support::SEED)).collect();
        world.window_forgets = hashes;
    });
    gate.open();
    let told = run(session).expect_err("it was overtaken");
    assert_eq!(told.error.code, ErrorCode::Deadlock, "{}", told.error);
    assert!(told.error.message.contains("the record of its branches on foreign servers"), "{}", told.error);
    assert!(house.world(|world| world.newest_asked) > 0, "the shards were asked");
    assert!(!moved(&house, "overtaken"));
}

#[test]
fn a_frontend_that_lives_again_does_not_wait_for_the_dead() {
    let [undecided, _] = prepared_and_decided();
    let (house, other) = outside();
    let gate = Gate::at(undecided, Mishap::Stop);
    set_gate(&house, &gate);
    let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
    assert!(run_to(&gate, &mut session).is_none());
    drop(session);
    gate.open();
    let tended = run(other.services.tend_foreign_branches()).unwrap();
    assert_eq!((tended.in_doubt.len(), tended.resolved.len()), (2, 0), "they are young: {tended:?}");
    assert!(matches!(&tended.in_doubt[0], BranchInDoubt { outcome: None, .. }));
    house.world(|world| world.epochs.insert(assize_model::FrontendId(1), assize_model::FrontendEpoch(2)));
    let tended = run(other.services.tend_foreign_branches()).unwrap();
    assert_eq!((tended.in_doubt.len(), tended.resolved.len()), (0, 2), "{tended:?}");
}

#[test]
fn branches_of_others_are_left_alone() {
    let (house, other) = outside();
    let stranger = House::new();
    stranger.world(|world| world.define_servers(&["a"]));
    let [undecided, _] = prepared_and_decided();
    let gate = Gate::at(undecided, Mishap::Stop);
    set_gate(&house, &gate);
    let mut session: Pin<Box<dyn Future<Output = _>>> = Box::pin(transfer(&house));
    assert!(run_to(&gate, &mut session).is_none());
    drop(session);
    gate.open();
    let mut services = support::services_of(&stranger, 43);
    services.foreign = Arc::new(at(&house).clone());
    let services = Arc::new(services);
    for _ in 0..3 {
        let tended = run(services.tend_foreign_branches()).unwrap();
        assert_eq!((tended.in_doubt.len(), tended.resolved.len(), tended.away.len()), (0, 0, 0));
        stranger.pass_millis(LONG_MILLIS);
    }
    assert_eq!((at(&house).prepared("a"), at(&house).prepared("b")), (1, 1));
    heal(&other);
    assert!(!moved(&house, "found by its own cluster"));
}

// -- within a transaction ---------------------------------------------------------------------------------------

fn begin(house: &House, options: TxnOptions) -> Txn {
    run(async {
        let mut txn = Txn::begin(house.services.clone(), options).await.unwrap();
        txn.begin_statement(true).await.unwrap();
        txn
    })
}

fn put(txn: &mut Txn, name: &str, sql: &str) -> Result<u64, SqlError> {
    run(txn.foreign(&server(name), writes(sql))).map(|result| result.affected)
}

fn read(txn: &mut Txn, name: &str) -> i64 {
    match &run(txn.foreign(&server(name), reads("READ 1"))).unwrap().rows[0][0] {
        Value::Int(value) => *value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_branch_runs_as_its_transaction_does() {
    let (house, _) = outside();
    let options = TxnOptions {
        isolation: Isolation::ReadCommitted,
        lock_wait: std::time::Duration::from_secs(7),
        ..TxnOptions::default()
    };
    let mut txn = begin(&house, options);
    assert_eq!(read(&mut txn, "a"), 100);
    let log = at(&house).take_log("a");
    assert_eq!(log[0], "SET SESSION innodb_lock_wait_timeout = 7");
    assert_eq!(log[1], "SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
    assert!(log[2].starts_with("XA START 'assize-"), "{log:?}");
    assert_eq!(log[3..], ["READ 1"]);
    assert_eq!(run(txn.commit(None)), Ok(Committed::Nothing), "it only read");
    let log = at(&house).take_log("a");
    assert!(log[0].starts_with("XA END") && log[1].starts_with("XA ROLLBACK"), "{log:?}");
    assert_eq!((at(&house).connections("a"), records(&house)), ((1, 1), 0));
    let mut txn = begin(&house, TxnOptions { read_only: true, ..options });
    assert_eq!(read(&mut txn, "a"), 100);
    assert_eq!(put(&mut txn, "a", "PUT 1 1").unwrap_err().code, ErrorCode::ReadOnlyTransaction);
}

#[test]
fn writes_are_undone_to_marks_as_here() {
    let (house, _) = outside();
    let mut txn = begin(&house, TxnOptions::default());
    let first = txn.mark();
    put(&mut txn, "a", "PUT 1 1").unwrap();
    put(&mut txn, "a", "PUT 1 2").unwrap();
    let second = txn.mark();
    assert_ne!(first, second, "something was written between them");
    put(&mut txn, "a", "PUT 1 3").unwrap();
    txn.undo_to(second);
    assert_eq!(read(&mut txn, "a"), 2);
    put(&mut txn, "a", "PUT 1 4").unwrap();
    txn.undo_to(second);
    txn.undo_to(first);
    assert_eq!(read(&mut txn, "a"), 100);
    let third = txn.mark();
    put(&mut txn, "a", "PUT 1 5").unwrap();
    txn.undo_to(third);
    put(&mut txn, "a", "PUT 1 6").unwrap();
    txn.undo_to(third);
    let savepoints = at(&house).take_log("a").iter().filter(|sql| sql.starts_with("SAVEPOINT")).count();
    assert_eq!(savepoints, 5, "one for each write that follows a mark or an undoing");
    assert_eq!(run(txn.commit(None)), Ok(Committed::Nothing), "nothing of it is left");
    let mut txn = begin(&house, TxnOptions::default());
    put(&mut txn, "a", "PUT 1 7").unwrap();
    txn.undo_to(Mark(0));
    put(&mut txn, "a", "PUT 2 8").unwrap();
    assert!(matches!(run(txn.commit(None)), Ok(Committed::At(..))));
    assert_eq!(at(&house).rows("a"), [(1, 100), (2, 8)].into());
}

#[test]
fn what_a_server_refuses_is_told_and_undone_alone() {
    let (house, _) = outside();
    let mut txn = begin(&house, TxnOptions::default());
    put(&mut txn, "a", "PUT 1 1").unwrap();
    at(&house).refuse("a", "PUT 2", 1062);
    let refused = put(&mut txn, "a", "PUT 2 2").unwrap_err();
    assert_eq!((refused.code, &*refused.message), (ErrorCode::DuplicateEntry, "refused with 1062"));
    put(&mut txn, "a", "PUT 3 3").unwrap();
    run(txn.commit(None)).unwrap();
    assert_eq!(at(&house).rows("a"), [(1, 1), (3, 3)].into());
}

#[test]
fn a_branch_that_has_ended_by_itself_takes_the_transaction_with_it() {
    let (house, _) = outside();
    for code in [1213, 1614] {
        let mut txn = begin(&house, TxnOptions::default());
        put(&mut txn, "a", "PUT 1 1").unwrap();
        at(&house).refuse("b", "PUT", code);
        assert_eq!(put(&mut txn, "b", "PUT 1 1").unwrap_err().code, ErrorCode::Deadlock);
        let failure = run(txn.commit(None)).unwrap_err();
        assert_eq!((failure.error.code, failure.is_retryable), (ErrorCode::Deadlock, true));
    }
    let mut txn = begin(&house, TxnOptions::default());
    put(&mut txn, "a", "PUT 1 1").unwrap();
    put(&mut txn, "b", "PUT 1 1").unwrap();
    at(&house).away("b", true);
    let away = put(&mut txn, "b", "PUT 1 2").unwrap_err();
    assert_eq!(away.code, ErrorCode::ClusterUnavailable);
    assert!(away.message.starts_with("Unable to connect to foreign data source: b: "), "{away}");
    assert_eq!(put(&mut txn, "a", "PUT 1 2").unwrap_err(), away, "nothing goes on");
    assert_eq!(run(txn.commit(None)).unwrap_err().error, away);
    at(&house).away("b", false);
    assert_eq!((at(&house).rows("a"), at(&house).rows("b")), ([(1, 100)].into(), [(1, 100)].into()));
    assert_eq!((at(&house).prepared("a"), at(&house).prepared("b"), records(&house)), (0, 0, 0));
}

#[test]
fn a_server_that_cannot_prepare_keeps_all_from_committing() {
    for (refused, told) in
        [(1402, ErrorCode::Deadlock), (1399, ErrorCode::Deadlock), (1105, ErrorCode::ForeignDataSource)]
    {
        let (house, other) = outside();
        at(&house).refuse("b", "XA PREPARE", refused);
        let failure = run(transfer(&house)).unwrap_err();
        assert_eq!(failure.error.code, told, "{refused}");
        assert_eq!((at(&house).prepared("a"), at(&house).prepared("b")), (0, 0), "at once");
        heal(&other);
        assert!(!moved(&house, "not prepared"));
    }
}

#[test]
fn who_is_away_keeps_only_those_waiting_who_need_it() {
    let (house, _) = outside();
    at(&house).away("b", true);
    let mut txn = begin(&house, TxnOptions::default());
    put(&mut txn, "a", "PUT 1 1").unwrap();
    let away = put(&mut txn, "b", "PUT 1 1").unwrap_err();
    assert_eq!(away.code, ErrorCode::ClusterUnavailable);
    assert!(matches!(run(txn.commit(None)), Ok(Committed::At(..))), "nothing of it was there yet");
    assert_eq!(at(&house).rows("a")[&1], 1);
    let tended = run(house.services.tend_foreign_branches()).unwrap();
    assert_eq!(tended.away, [("b".into(), "it is away".to_owned())]);
    assert_eq!(house.services.foreign_tended(), tended);
}

// -- sessions ---------------------------------------------------------------------------------------------------

#[test]
fn sessions_roll_back_and_undo_statements_on_foreign_servers() {
    let (house, other) = outside();
    let mut client = house.session();
    client.sql("INSERT INTO stock VALUES (1, 'a: PUT 1 1')");
    assert_eq!(at(&house).rows("a")[&1], 1);
    client.sql("BEGIN");
    client.sql("INSERT INTO stock VALUES (2, 'a: PUT 1 2')");
    assert_eq!(client.errno("INSERT INTO stock VALUES (3, 'a: PUT 1 3'), (2, 'a: PUT 1 4')"), 1062);
    client.sql("SAVEPOINT s");
    client.sql("INSERT INTO stock VALUES (4, 'a: PUT 1 5')");
    client.sql("ROLLBACK TO s");
    client.sql("COMMIT");
    assert_eq!((client.table(), at(&house).rows("a")[&1]), ("1=a: PUT 1 1 2=a: PUT 1 2".to_owned(), 2));
    client.sql("BEGIN");
    client.sql("INSERT INTO stock VALUES (5, 'a: PUT 1 6')");
    client.sql("ROLLBACK");
    assert_eq!(client.errno("INSERT INTO stock VALUES (1, 'a: PUT 1 7')"), 1062);
    assert_eq!(at(&house).rows("a")[&1], 2);
    assert_eq!(at(&house).connections("a").0, at(&house).connections("a").1, "all were given back");
    heal(&other);
    assert_eq!((records(&house), at(&house).prepared("a")), (0, 0));
}

#[test]
fn a_lost_branch_ends_the_sessions_transaction() {
    let (house, _) = outside();
    let mut client = house.session();
    client.sql("BEGIN");
    client.sql("INSERT INTO stock VALUES (1, 'a: PUT 1 1')");
    at(&house).away("a", true);
    at(&house).away("a", false);
    assert_eq!(client.errno("INSERT INTO stock VALUES (2, 'a: PUT 1 2')"), 1429);
    client.sql("INSERT INTO stock VALUES (3, 'here')");
    client.sql("COMMIT");
    assert_eq!((client.table(), at(&house).rows("a")[&1]), ("3=here".to_owned(), 100));
}

#[test]
fn a_deadlock_there_has_an_autocommit_statement_run_again() {
    let (house, _) = outside();
    at(&house).refuse("a", "PUT", 1213);
    let mut client = house.session();
    client.sql("INSERT INTO stock VALUES (1, 'a: PUT 1 1')");
    assert_eq!((client.table(), at(&house).rows("a")[&1]), ("1=a: PUT 1 1".to_owned(), 1));
}

#[test]
fn a_client_hears_that_a_server_has_not_heard_yet() {
    let (house, other) = outside();
    let mut client = house.session();
    client.sql("BEGIN");
    client.sql("INSERT INTO stock VALUES (1, 'a: PUT 1 50')");
    client.sql("INSERT INTO stock VALUES (2, 'b: PUT 1 150')");
    at(&house).refuse("b", "XA COMMIT", 1105);
    client.sql("COMMIT");
    let warnings = client.sql("SHOW WARNINGS");
    assert_eq!(warnings, [[Value::Int(1430)]]);
    assert_eq!((at(&house).prepared("b"), records(&house)), (1, 1));
    heal(&other);
    assert_eq!((at(&house).rows("a")[&1], at(&house).rows("b")[&1]), (50, 150));
    assert_eq!((at(&house).prepared("b"), records(&house)), (0, 0));
}

#[test]
fn kill_ends_a_statement_that_waits_for_a_server() {
    let (house, _) = outside();
    let kill = Arc::new(KillSwitch::default());
    let mut client = house.session_of(1, kill.clone());
    client.sql("BEGIN");
    client.sql("INSERT INTO stock VALUES (1, 'a: PUT 1 1')");
    let gate = Gate::at(0, Mishap::Stop);
    at(&house).set_gate(gate.clone());
    {
        let mut sink = support::Sink::default();
        let mut statement: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(client.session.run_text("INSERT INTO stock VALUES (2, 'a: PUT 1 2')", &mut sink));
        assert!(run_to(&gate, &mut statement).is_none());
        kill.kill_query();
        assert_eq!(run(statement).unwrap_err().code, ErrorCode::QueryInterrupted);
    }
    gate.open();
    client.sql("INSERT INTO stock VALUES (3, 'here')");
    client.sql("COMMIT");
    assert_eq!((client.table(), at(&house).rows("a")[&1]), ("3=here".to_owned(), 100));
}
