//! Sessions over ports in memory.

mod support;

use assize_model::{AbortReason, CommitBody, DeadlineClass, ErrorCode, FrontendEpoch, Mutation, TableId};
use assize_ports::{Action, AdjudicatorError, Cause, ReadIntent, Transaction};
use assize_session::{Isolation, KillSwitch, Limits, Rule, Txn, TxnOptions, status};
use assize_values::Value;
use std::future::Future;
use std::sync::Arc;
use support::others::{Others, connection_of};
use support::*;

#[test]
fn own_writes_are_read_and_others_see_them_after_commit() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'one'), (5, 'five')");
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (3, 'three')");
    a.sql("UPDATE stock SET v = 'ONE' WHERE id = 1");
    a.sql("DELETE FROM stock WHERE id = 5");
    assert_eq!(a.table(), "1=ONE 3=three");
    assert_eq!(b.table(), "1=one 5=five");
    a.sql("COMMIT");
    assert_eq!(b.table(), "1=ONE 3=three");
}

#[test]
fn a_failed_statement_undoes_its_own_writes_and_nothing_else() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'one')");
    assert_eq!(a.errno("INSERT INTO stock VALUES (2, 'two'), (3, 'boom')"), 1406);
    assert_eq!(a.table(), "1=one");
    a.sql("COMMIT");
    assert_eq!(a.table(), "1=one");
    assert_eq!(a.errno("INSERT INTO stock VALUES (4, 'four'), (5, 'boom')"), 1406);
    assert_eq!(a.table(), "1=one");
}

#[test]
fn while_new_transactions_are_shed_they_read_and_those_that_had_begun_go_on() {
    let house = House::new();
    let (mut old, mut new) = (house.session(), house.session());
    old.sql("INSERT INTO stock VALUES (1, 'one')");
    old.sql("BEGIN");
    old.sql("SELECT * FROM stock WHERE id = 1");
    let shedding = &house.services.shedding;
    shedding.turn(Some((Cause::Log, "node 2: the log is long".to_owned())));

    let told = new.fails("INSERT INTO stock VALUES (2, 'two')");
    assert_eq!((told.code.errno(), told.code.sqlstate()), (1637, "HY000"));
    assert!(told.message.contains("node 2: the log is long"), "{told}");
    new.sql("BEGIN");
    assert_eq!(new.table(), "1=one");
    assert_eq!(new.errno("UPDATE stock SET v = 'uno' WHERE id = 1"), 1637);
    assert_eq!(new.errno("SELECT * FROM stock WHERE id = 1 FOR UPDATE"), 1637);
    assert_eq!(new.table(), "1=one", "the transaction is still there");
    old.sql("INSERT INTO stock VALUES (3, 'three')");
    old.sql("COMMIT");
    assert_eq!(old.errno("INSERT INTO stock VALUES (4, 'four')"), 1637, "its next one is new");
    assert_eq!(shedding.counts().map(|(_, count)| count).sum::<u64>(), 4);

    // What the node does by itself, such as emptying the recycle bin, makes room and goes on.
    run(async {
        let mut txn = Txn::begin(house.services.clone(), TxnOptions::default()).await.unwrap();
        let (slot, key) = row_key(3);
        assize_ports::Transaction::write(&mut txn, stock().id, Mutation::delete(key, slot)).unwrap();
        txn.commit(None).await.unwrap();
    });

    shedding.turn(None);
    new.sql("UPDATE stock SET v = 'uno' WHERE id = 1");
    new.sql("COMMIT");
    assert_eq!(new.table(), "1=uno");
}

#[test]
fn savepoints_undo_to_their_moment() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("SAVEPOINT before_all");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("SAVEPOINT `s1`");
    a.sql("INSERT INTO stock VALUES (2, 'b')");
    a.sql("SAVEPOINT s2");
    a.sql("UPDATE stock SET v = 'c' WHERE id = 1");
    a.sql("ROLLBACK TO SAVEPOINT S1");
    assert_eq!(a.table(), "1=a");
    assert_eq!(a.errno("ROLLBACK TO s2"), 1305);
    a.sql("RELEASE SAVEPOINT s1");
    assert_eq!(a.fails("RELEASE SAVEPOINT s1").message, "SAVEPOINT s1 does not exist");
    a.sql("ROLLBACK TO before_all");
    assert_eq!(a.table(), "");
    a.sql("COMMIT");
    assert_eq!(a.errno("ROLLBACK TO before_all"), 1305);
    a.sql("SAVEPOINT outside");
    assert_eq!(a.errno("ROLLBACK TO outside"), 1305);
}

#[test]
fn repeatable_read_keeps_its_snapshot_and_read_committed_does_not() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'old')");
    a.sql("BEGIN");
    assert_eq!(a.table(), "1=old");
    b.sql("UPDATE stock SET v = 'new' WHERE id = 1");
    assert_eq!(a.table(), "1=old");
    a.sql("COMMIT");
    a.sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
    a.sql("BEGIN");
    assert_eq!(a.table(), "1=new");
    b.sql("UPDATE stock SET v = 'newer' WHERE id = 1");
    assert_eq!(a.table(), "1=newer");
    a.sql("COMMIT");
    // For one transaction only.
    a.sql("BEGIN");
    assert_eq!(a.table(), "1=newer");
    b.sql("UPDATE stock SET v = 'newest' WHERE id = 1");
    assert_eq!(a.table(), "1=newer");
}

#[test]
fn read_committed_checks_each_key_from_the_statement_that_first_wrote_it() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    a.sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'x' WHERE id = 1");
    b.sql("UPDATE stock SET v = 'y' WHERE id = 2");
    a.sql("UPDATE stock SET v = 'z' WHERE id = 2");
    a.sql("COMMIT");
    let groups = house.world(|w| w.footprints.last().unwrap().groups.clone());
    assert_eq!(groups.len(), 2);
    assert!(groups[0].snapshot_ts < groups[1].snapshot_ts);
    assert_eq!((groups[0].checked.len(), groups[1].checked.len()), (1, 1));
    assert_eq!(a.table(), "1=x 2=z");
}

#[test]
fn a_transaction_that_lost_is_told_to_whom_and_is_never_retried() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (42, 'a')");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'mine' WHERE id = 42");
    b.sql("UPDATE stock SET v = 'theirs' WHERE id = 42");
    let before = house.world(|w| w.footprints.len());
    let error = a.fails("COMMIT");
    assert_eq!((error.code.errno(), error.code.sqlstate()), (1213, "40001"));
    assert!(error.message.starts_with("conflict c-"), "{}", error.message);
    assert!(error.message.contains(
        "on shop.stock PRIMARY (42): lost to transaction 06831141b00000009000001000000011, committed "
    ));
    assert!(error.message.ends_with("retry the transaction"));
    assert_eq!(house.world(|w| w.footprints.len()), before + 1);
    assert_eq!(a.session.status() & status::IN_TRANSACTION, 0);
    assert_eq!(a.table(), "42=theirs");
}

/// What a session says of its last transaction.
fn last_txn(session: &mut Client) -> String {
    match session.sql("SELECT @@assize_last_txn_info").pop().and_then(|mut row| row.pop()) {
        Some(Value::Text(text)) => text.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_knows_what_became_of_its_last_transaction() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    assert_eq!(last_txn(&mut a), "");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let (footprint, commit_ts) = house.world(|w| (w.footprints[0].clone(), w.now.0));
    let (txn, snapshot_ts) = (footprint.txn, footprint.groups[0].snapshot_ts.0);
    let told = format!(
        r#"{{"txn_id": "{txn}", "snapshot_ts": {snapshot_ts}, "commit_ts": {commit_ts}, "outcome": "committed"}}"#
    );
    assert_eq!(last_txn(&mut a), told);
    assert_eq!(last_txn(&mut a), told, "asking is not a transaction to tell of");
    a.table();
    let read = format!(
        r#"{{"txn_id": null, "snapshot_ts": {commit_ts}, "commit_ts": null, "outcome": "read_only"}}"#
    );
    assert_eq!(last_txn(&mut a), read);

    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'mine' WHERE id = 1");
    b.sql("UPDATE stock SET v = 'theirs' WHERE id = 1");
    assert_eq!(a.errno("COMMIT"), 1213);
    let lost = house.world(|w| w.footprints.last().unwrap().txn);
    let told = last_txn(&mut a);
    assert!(told.contains(&lost.to_string()) && told.ends_with(r#""outcome": "aborted"}"#), "{told}");
    assert!(told.contains(r#""commit_ts": null"#), "{told}");
    assert_eq!(a.errno("SET assize_last_txn_info = ''"), 1238);
}

#[test]
fn a_footprint_too_large_for_the_log_is_refused_and_never_sent() {
    let limits = Limits { footprint_bytes_max: 4096, ..Limits::default() };
    let house = House::with_limits(limits);
    let mut a = house.session();
    a.sql("BEGIN");
    let refused = (0..1000).find_map(|id| {
        let error = a.try_sql(&format!("INSERT INTO stock VALUES ({id}, 'a')")).err()?;
        Some((id, error))
    });
    let (id, error) = refused.unwrap();
    assert_eq!((id, error.code.errno()), (256, 1197), "{error}");
    assert!(error.message.contains("4112 bytes, more than the 4096"), "{error}");
    // What the statements before it wrote is still there, and as inline writes it is too much as well.
    assert_eq!(a.table().split(' ').count(), 256);
    let sent = house.world(|w| w.footprints.len());
    assert_eq!(a.errno("COMMIT"), 1197);
    assert_eq!(house.world(|w| w.footprints.len()), sent);
    assert_eq!(a.table(), "");
    assert_eq!(a.session.status() & status::IN_TRANSACTION, 0);
    a.sql("INSERT INTO stock VALUES (1, 'small')");
}

#[test]
fn what_was_read_counts_in_the_footprint_of_a_transaction_that_writes() {
    let limits = Limits { footprint_bytes_max: 4096, inline_bytes_max: 64, ..Limits::default() };
    let house = House::with_limits(limits);
    let mut a = house.session();
    a.sql("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    for writes in [false, true] {
        a.sql("BEGIN");
        (0..600).for_each(|id| drop(a.sql(&format!("SELECT * FROM stock WHERE id = {id}"))));
        if writes {
            a.sql("INSERT INTO stock VALUES (1000, 'a')");
        }
        assert_eq!(a.try_sql("COMMIT").err().map(|error| error.code.errno()), writes.then_some(1197));
    }
    assert!(house.world(|w| w.footprints.is_empty()));
    // Once ranges of the table are tracked, the keys travel in the clear.
    a.sql("BEGIN");
    a.table();
    a.sql("INSERT INTO stock VALUES (1000, 'a')");
    a.sql("COMMIT");
    a.sql("BEGIN");
    let refused = (0..1000).find(|id| a.try_sql(&format!("INSERT INTO stock VALUES ({id}, 'a')")).is_err());
    assert!(refused.is_some_and(|id| id < 256), "{refused:?}");
}

#[test]
fn an_autocommit_statement_is_run_again_until_it_wins_or_gives_up() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    house.world(|w| w.rival = Some((row_key(1).1, 3)));
    a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    assert_eq!(a.table(), "1=b");
    assert_eq!(house.world(|w| w.footprints.len()), 5);
    house.world(|w| w.rival = Some((row_key(1).1, u32::MAX)));
    assert_eq!(a.errno("UPDATE stock SET v = 'c' WHERE id = 1"), 1213);
    let tries = Limits::default().retries_max as usize + 1;
    assert_eq!(house.world(|w| w.footprints.len()), 5 + tries);
    // Every attempt had an id of its own.
    let ids: std::collections::BTreeSet<_> = house.world(|w| w.footprints.iter().map(|f| f.txn).collect());
    assert_eq!(ids.len(), 5 + tries);
}

#[test]
fn an_attempt_begins_with_the_user_variables_of_the_first() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    for (n, counted) in [("0", "1=1"), ("5", "1=6")] {
        a.sql(&format!("SET @n = {n}"));
        house.world(|w| w.rival = Some((row_key(1).1, 3)));
        a.sql("UPDATE stock SET v = 'counted' WHERE id = 1");
        assert_eq!(a.table(), counted, "what three lost attempts have assigned is forgotten");
    }
    assert_eq!(a.sql("SELECT @n"), [[Value::Int(6)]]);
    assert_eq!(house.world(|w| w.footprints.len()), 9);
}

#[test]
fn a_lost_reply_is_resolved_before_the_client_is_answered() {
    let house = House::new();
    let mut a = house.session();
    house.world(|w| w.mishaps.push_back(Mishap::ReplyLost));
    a.sql("INSERT INTO stock VALUES (1, 'once')");
    assert_eq!(a.table(), "1=once");
    let (first, second) = house.world(|w| (w.footprints[0].txn, w.footprints[1].txn));
    assert_eq!(first, second, "the same id is asked about, no statement runs twice");
    assert!(house.world(|w| w.acknowledged.contains(&assize_ports::TxnRun::one(first))));
}

#[test]
fn what_is_too_large_for_the_log_is_told_at_once() {
    let house = House::new();
    let mut a = house.session();
    let error = AdjudicatorError::TooLarge("a footprint of 9 bytes".into());
    house.world(|w| w.mishaps.push_back(Mishap::TurnedAway(error)));
    let error = a.fails("INSERT INTO stock VALUES (1, 'a')");
    assert_eq!(error.code.errno(), 1197, "{error}");
    assert!(error.message.contains("a footprint of 9 bytes"), "{error}");
    assert_eq!(house.world(|w| w.footprints.len()), 1);
}

#[test]
fn kill_ends_a_commit_that_is_turned_away_again_and_again() {
    let house = House::new();
    let kill = Arc::new(KillSwitch::default());
    let mut a = house.session_of(1, kill.clone());
    let busy = AdjudicatorError::Overloaded("the queue is full".into());
    house.world(|w| {
        w.mishaps.extend(vec![Mishap::TurnedAway(busy); 5]);
        w.kills = Some(kill);
    });
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let error = a.fails("COMMIT");
    assert_eq!(error.code.errno(), 1317, "{error}");
    assert_eq!(house.world(|w| w.footprints.len()), 1, "it is not sent again");
    // As long as nobody says KILL it is sent again.
    house.world(|w| w.kills = None);
    a.sql("INSERT INTO stock VALUES (1, 'b')");
    assert_eq!(a.table(), "1=b");
}

#[test]
fn a_fenced_frontend_begins_another_life_and_its_sessions_go_on() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let current = FrontendEpoch(house.services.epoch().0 + 1);
    house.world(|w| w.mishaps.push_back(Mishap::Abort(AbortReason::FrontendFenced { current })));
    assert_eq!(a.errno("COMMIT"), 1429);
    assert!(house.services.is_fenced());
    house.services.begin_life(current);
    assert!(!house.services.is_fenced());
    a.sql("INSERT INTO stock VALUES (1, 'b')");
    assert_eq!(a.table(), "1=b");
    let ids = house.world(|w| w.footprints.iter().map(|f| f.txn).collect::<Vec<_>>());
    let (refused, last) = (ids[0], ids[ids.len() - 1]);
    assert_eq!(last.frontend_epoch(), current);
    assert!(refused.frontend_epoch() < current && refused.sequence() < last.sequence());
}

#[test]
fn a_schema_change_asks_to_retry() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    house.world(|w| w.mishaps.push_back(Mishap::Abort(AbortReason::SchemaChanged { table: TABLE })));
    let error = a.fails("COMMIT");
    assert_eq!(error.code, ErrorCode::TableDefinitionChanged);
    assert_eq!(a.table(), "");
    // As an autocommit statement it is simply run again.
    house.world(|w| w.mishaps.push_back(Mishap::Abort(AbortReason::SchemaChanged { table: TABLE })));
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    assert_eq!(a.table(), "1=a");
}

#[test]
fn what_the_window_forgot_is_asked_of_the_shards() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    let hash = row_key(1).1.hash(SEED);
    let forgotten = AbortReason::NeedRefresh { keys: vec![hash], ranges: Vec::new() };
    house.world(|w| {
        w.mishaps.push_back(Mishap::Abort(forgotten));
    });
    a.sql("COMMIT");
    // The same id, with the shards' word as the key's new baseline.
    let last = house.world(|w| w.footprints[w.footprints.len() - 2..].to_vec());
    assert_eq!(last[0].txn, last[1].txn);
    let baseline = last[1].groups.iter().find(|g| g.checked.contains(&hash)).unwrap().snapshot_ts;
    assert!(baseline >= last[0].groups[0].snapshot_ts);
    assert_eq!(a.table(), "1=b");
}

#[test]
fn what_the_window_forgot_is_asked_again_if_slots_may_have_moved_meanwhile() {
    // Both shards, twice; once is not enough, and it is the rule that knows.
    for (without, asked) in [(false, 4), (true, 2)] {
        let mut house = House::new();
        if without {
            let services = Arc::get_mut(&mut house.services).expect("nobody uses them yet");
            services.disabled_rules.insert(Rule::PlacementBeforeAndAfter);
        }
        let mut a = house.session();
        a.sql("INSERT INTO stock VALUES (1, 'a')");
        let hash = row_key(1).1.hash(SEED);
        house.world(|w| {
            let forgotten = AbortReason::NeedRefresh { keys: vec![hash], ranges: Vec::new() };
            w.mishaps.push_back(Mishap::Abort(forgotten));
            w.placement_epochs = [5, 6, 6].into();
        });
        a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
        assert_eq!(house.world(|w| w.newest_asked), asked);
    }
}

#[test]
fn locked_rows_are_read_as_of_the_grant_so_that_no_update_is_lost() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '10'), (2, 'x')");
    a.sql("BEGIN");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 2")), "2=x");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1")), "1=10");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE")), "1=20");
    // From now on the transaction sees the version that it locked.
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1")), "1=20");
    assert_eq!(a.table(), "1=20 2=x");
    a.sql("UPDATE stock SET v = '30' WHERE id = 1");
    a.sql("COMMIT");
    assert_eq!(b.table(), "1=30 2=x");
}

#[test]
fn a_row_that_is_held_for_share_and_then_for_update_stays_as_it_was_first() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '10')");
    a.sql("BEGIN");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1 FOR SHARE")), "1=10");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE")), "1=10");
    // Computed from what it saw first.
    a.sql("UPDATE stock SET v = '11' WHERE id = 1");
    assert_eq!(a.errno("COMMIT"), 1213);
    assert_eq!(b.table(), "1=20");
}

#[test]
fn so_does_one_that_a_locking_scan_meets_again() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '10')");
    a.sql("BEGIN");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1 FOR SHARE")), "1=10");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    assert_eq!(show(&a.sql("SELECT * FROM stock FOR UPDATE")), "1=10");
    a.sql("UPDATE stock SET v = '11' WHERE id = 1");
    assert_eq!(a.errno("COMMIT"), 1213);
}

#[test]
fn what_a_serializable_transaction_has_read_is_checked_though_it_reserves_it_later() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '10'), (2, 'x')");
    a.sql("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    a.sql("BEGIN");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1")), "1=10");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE")), "1=20");
    // It has seen both: there is no moment at which it could have run.
    a.sql("UPDATE stock SET v = 'y' WHERE id = 2");
    assert_eq!(a.errno("COMMIT"), 1213);
}

#[test]
fn a_serializable_transaction_that_only_reads_and_reserves_sees_one_moment() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '10'), (2, 'x')");
    a.sql("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    a.sql("BEGIN");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 1")), "1=10");
    b.sql("BEGIN");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    b.sql("UPDATE stock SET v = 'y' WHERE id = 2");
    b.sql("COMMIT");
    assert_eq!(show(&a.sql("SELECT * FROM stock WHERE id = 2 FOR UPDATE")), "2=y");
    assert_eq!(a.errno("COMMIT"), 1213);
    // With nothing in between there is nothing to decide.
    let decided = house.world(|w| w.footprints.len());
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock WHERE id = 1");
    a.sql("SELECT * FROM stock WHERE id = 2 FOR UPDATE");
    a.sql("COMMIT");
    assert_eq!(house.world(|w| w.footprints.len()), decided);
}

#[test]
fn what_a_statement_relied_on_is_checked_from_its_snapshot_though_a_later_one_writes_it() {
    let house = House::new();
    let mut b = house.session();
    b.sql("INSERT INTO stock VALUES (1, '10'), (2, 'x')");
    let (slot, key) = row_key(1);
    let options = TxnOptions { isolation: Isolation::ReadCommitted, ..TxnOptions::default() };
    let mut txn = run(Txn::begin(house.services.clone(), options)).unwrap();
    run(txn.begin_statement(true)).unwrap();
    // As a foreign key does with its parent.
    let row = run(txn.get(TABLE, slot, &key, ReadIntent::Check)).unwrap().expect("it is there");
    b.sql("UPDATE stock SET v = '20' WHERE id = 1");
    run(txn.begin_statement(false)).unwrap();
    txn.write(TABLE, Mutation::put(key, slot, row)).unwrap();
    let failure = run(txn.commit(None)).unwrap_err();
    assert_eq!(failure.error.code.errno(), 1213);
}

#[test]
fn reservations_are_respected_and_given_back() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE");
    assert_eq!(b.errno("SELECT * FROM stock WHERE id = 1 FOR UPDATE NOWAIT"), 3572);
    assert_eq!(b.errno("SELECT * FROM stock WHERE id = 1 FOR UPDATE"), 1205);
    a.sql("UPDATE stock SET v = 'c' WHERE id = 2");
    a.sql("COMMIT");
    // The row that was locked and not written travels as a lock marker.
    let body = house.world(|w| w.footprints.last().unwrap().body.clone());
    let CommitBody::Inline { mutations, .. } = body else { panic!("inline") };
    assert_eq!(mutations.len(), 2);
    assert!(house.world(|w| w.reserved.is_empty()));
    b.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE NOWAIT");
    assert!(house.world(|w| w.reserved.is_empty()), "an autocommit statement keeps nothing");
}

#[test]
fn a_read_only_transaction_reads_and_is_never_adjudicated() {
    let house = House::new();
    let mut a = house.session();
    a.sql("START TRANSACTION READ ONLY");
    assert_ne!(a.session.status() & status::IN_READ_ONLY_TRANSACTION, 0);
    a.sql("SELECT * FROM stock");
    assert_eq!(a.errno("INSERT INTO stock VALUES (1, 'a')"), 1792);
    a.sql("COMMIT");
    assert!(house.world(|w| w.footprints.is_empty()));
    a.sql("SET SESSION TRANSACTION READ ONLY");
    assert_eq!(a.errno("INSERT INTO stock VALUES (1, 'a')"), 1792);
}

#[test]
fn serializable_puts_what_was_read_into_the_footprint() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    a.sql("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock WHERE id = 1");
    a.sql("UPDATE stock SET v = 'x' WHERE id = 2");
    b.sql("UPDATE stock SET v = 'y' WHERE id = 1");
    assert_eq!(a.errno("COMMIT"), 1213, "write skew");
    a.sql("BEGIN");
    a.table();
    a.sql("UPDATE stock SET v = 'z' WHERE id = 2");
    b.sql("INSERT INTO stock VALUES (7, 'phantom')");
    assert_eq!(a.errno("COMMIT"), 1213, "phantom");
    assert!(house.world(|w| w.tracked.contains(&TABLE)));
    // Reading alone decides nothing.
    let before = house.world(|w| w.footprints.len());
    a.sql("BEGIN");
    a.table();
    a.sql("COMMIT");
    assert_eq!(house.world(|w| w.footprints.len()), before);
}

/// One loses by write skew if it runs at SERIALIZABLE: it read row 1, which somebody else has written since.
fn skews(house: &House, a: &mut support::Client, commit: &str) -> Option<u16> {
    a.sql("SELECT * FROM stock WHERE id = 1");
    a.sql("UPDATE stock SET v = 'x' WHERE id = 2");
    house.session().sql("UPDATE stock SET v = 'y' WHERE id = 1");
    a.try_sql(commit).err().map(|error| error.code.errno())
}

const NEXT_SERIALIZABLE: &str = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE";

#[test]
fn what_set_transaction_says_outlives_whatever_is_no_transaction() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    for autocommit in [1, 0] {
        a.sql(&format!("SET autocommit = {autocommit}"));
        a.sql(NEXT_SERIALIZABLE);
        run(a.session.prepare(b"SELECT * FROM stock WHERE id = ?")).unwrap();
        run(a.session.field_list("stock")).unwrap();
        a.sql("PREPARE s FROM 'SELECT * FROM stock'");
        a.sql("BEGIN");
        run(a.session.prepare(b"SELECT * FROM stock WHERE id = ?")).unwrap();
        assert_eq!(skews(&house, &mut a, "COMMIT"), Some(1213), "autocommit {autocommit}");
        a.sql("BEGIN");
        assert_eq!(skews(&house, &mut a, "COMMIT"), None, "it was for one transaction");
    }
    a.sql("SET autocommit = 1");
    a.sql(NEXT_SERIALIZABLE);
    a.sql("SELECT 1");
    a.sql("BEGIN");
    assert_eq!(skews(&house, &mut a, "COMMIT"), Some(1213), "a SELECT without a table");
    a.sql("SET TRANSACTION READ ONLY");
    run(a.session.prepare(b"SELECT * FROM stock")).unwrap();
    a.sql("START TRANSACTION");
    assert_eq!(a.errno("INSERT INTO stock VALUES (3, 'c')"), 1792);
}

#[test]
fn what_set_transaction_says_is_for_the_next_transaction_even_if_that_runs_no_statement() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    for (begin, end) in [("BEGIN", "COMMIT"), ("BEGIN", "ROLLBACK"), ("SET @a = 1", "COMMIT")] {
        a.sql(NEXT_SERIALIZABLE);
        a.sql(begin);
        a.sql(end);
        a.sql("BEGIN");
        assert_eq!(skews(&house, &mut a, "COMMIT"), None, "{begin}; {end}");
    }
    a.sql(NEXT_SERIALIZABLE);
    a.sql("SELECT * FROM stock");
    a.sql("BEGIN");
    assert_eq!(skews(&house, &mut a, "COMMIT"), None, "the SELECT was the next transaction");
}

#[test]
fn a_chained_transaction_runs_like_the_one_before() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    for end in ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"] {
        a.sql(NEXT_SERIALIZABLE);
        a.sql("BEGIN");
        a.sql("SELECT * FROM stock WHERE id = 1");
        a.sql(end);
        a.sql(end);
        assert_eq!(skews(&house, &mut a, "COMMIT"), Some(1213), "{end}");
    }
    a.sql("START TRANSACTION READ ONLY");
    a.sql("SELECT * FROM stock");
    a.sql("COMMIT AND CHAIN");
    assert_ne!(a.session.status() & status::IN_READ_ONLY_TRANSACTION, 0);
    assert_eq!(a.errno("INSERT INTO stock VALUES (3, 'c')"), 1792);
    a.sql("COMMIT");
    a.sql("INSERT INTO stock VALUES (3, 'c')");
}

#[test]
fn a_statement_that_could_not_begin_runs_at_the_same_level_when_it_is_repeated() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    for begin in ["BEGIN", "SET autocommit = 0"] {
        a.sql(NEXT_SERIALIZABLE);
        a.sql(begin);
        house.world(|w| w.begins_fail = 1);
        assert_eq!(a.errno("SELECT * FROM stock WHERE id = 1"), 1429, "{begin}");
        assert_eq!(skews(&house, &mut a, "COMMIT"), Some(1213), "{begin}");
    }
    a.sql("SET autocommit = 1");
    a.sql("SET TRANSACTION READ ONLY");
    house.world(|w| w.begins_fail = 1);
    assert_eq!(a.errno("SELECT * FROM stock"), 1429);
    assert_eq!(a.errno("INSERT INTO stock VALUES (3, 'c')"), 1792);
}

#[test]
fn large_writes_are_prepared_and_too_large_ones_are_refused_with_figures() {
    let limits = Limits { inline_bytes_max: 64, transaction_bytes_max: 2000, ..Limits::default() };
    let house = House::with_limits(limits);
    let mut a = house.session();
    a.sql("BEGIN");
    for id in 0..8 {
        a.sql(&format!("INSERT INTO stock VALUES ({id}, 'twelve bytes')"));
    }
    a.sql("COMMIT");
    let footprint = house.world(|w| w.footprints.last().unwrap().clone());
    let CommitBody::Prepared { receipts, written } = &footprint.body else { panic!("prepared") };
    assert_eq!(written.len(), 8);
    assert_eq!(receipts.iter().map(|r| r.digest.count).sum::<u32>(), 8);
    assert_eq!(footprint.txn.class(), DeadlineClass::Normal);
    assert_eq!(a.table().split(' ').count(), 16);
    a.sql("BEGIN");
    let error = (100..200)
        .find_map(|id| a.try_sql(&format!("INSERT INTO stock VALUES ({id}, 'twelve bytes')")).err())
        .unwrap();
    assert_eq!(error.code.errno(), 1197);
    assert!(error.message.contains("2000"), "{}", error.message);
}

#[test]
fn autocommit_off_opens_transactions_by_itself() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("SET @@session.autocommit = OFF");
    assert_eq!(a.session.status() & (status::AUTOCOMMIT | status::IN_TRANSACTION), 0);
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    assert_ne!(a.session.status() & status::IN_TRANSACTION, 0);
    assert_eq!(b.table(), "");
    a.sql("SET autocommit = 1");
    assert_eq!(b.table(), "1=a");
}

#[test]
fn schema_changes_commit_what_runs() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("CREATE DATABASE other");
    assert_eq!(a.session.status() & status::IN_TRANSACTION, 0);
    a.sql("ROLLBACK");
    assert_eq!(b.table(), "1=a");
    b.sql("USE other");
    assert_eq!(b.session.database().as_deref(), Some("other"));
    assert_eq!(b.errno("USE nowhere"), 1049);
}

#[test]
fn commit_and_chain_and_release() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("COMMIT AND CHAIN");
    assert_ne!(a.session.status() & status::IN_TRANSACTION, 0);
    let done = run(a.session.run_text("ROLLBACK RELEASE", &mut Sink::default())).unwrap();
    assert!(done.release);
    assert_eq!(done.status & status::IN_TRANSACTION, 0);
}

#[test]
fn several_statements_in_one_text_stop_at_the_first_error() {
    let house = House::new();
    let mut a = house.session();
    let text = b"INSERT INTO stock VALUES (1, 'a'); SELECT * FROM stock; nonsense; SELECT 1";
    let first = run(a.session.run_next(text, 0, &mut Sink::default())).unwrap().unwrap();
    let next = first.next.expect("more results follow");
    let mut sink = Sink::default();
    let second = run(a.session.run_next(text, next, &mut sink)).unwrap().unwrap();
    assert_eq!(show(&sink.rows), "1=a");
    let third = run(a.session.run_next(text, second.next.unwrap(), &mut sink)).unwrap_err();
    assert_eq!(third.code, ErrorCode::ParseError);
    assert!(third.message.ends_with("near 'nonsense; SELECT 1' at line 1"), "{}", third.message);
    assert_eq!(a.errno(""), 1065);
    assert_eq!(a.errno(" ;\n"), 1065);
    // What holds a comment is no empty query.
    assert!(a.sql("  -- nothing\n").is_empty());
    assert!(a.sql("--\n/* nothing */;").is_empty());
    a.sql("SELECT 1; -- the end");
}

#[test]
fn prepared_statements_live_until_they_are_closed() {
    let house = House::new();
    let mut a = house.session();
    let insert = run(a.session.prepare(b"INSERT INTO stock VALUES (?, ?)")).unwrap();
    assert_eq!((insert.params, insert.columns.len()), (2, 0));
    let params = [Value::Int(1), Value::text("a")];
    run(a.session.execute(insert.id, &params, &mut Sink::default())).unwrap();
    let select = run(a.session.prepare(b"SELECT * FROM stock WHERE id = ?")).unwrap();
    assert_eq!((select.params, select.columns.len()), (1, 2));
    let mut sink = Sink::default();
    run(a.session.execute(select.id, &[Value::Int(1)], &mut sink)).unwrap();
    assert_eq!(show(&sink.rows), "1=a");
    let wrong = run(a.session.execute(select.id, &[], &mut sink)).unwrap_err();
    assert_eq!(wrong.code.errno(), 1210);
    a.session.close_statement(select.id);
    let gone = run(a.session.execute(select.id, &[Value::Int(1)], &mut sink)).unwrap_err();
    assert_eq!(gone.code.errno(), 1243);
    let refused = run(a.session.prepare(b"PREPARE x FROM 'SELECT 1'")).unwrap_err();
    assert_eq!(refused.code.errno(), 1295);
    assert_eq!(run(a.session.prepare(b"SELECT 1; SELECT 2")).unwrap_err().code.errno(), 1064);
    run(a.session.reset());
    assert_eq!(a.session.param_count(insert.id).unwrap_err().code.errno(), 1243);
}

#[test]
fn statements_prepared_by_name_take_user_variables() {
    let house = House::new();
    let mut a = house.session();
    a.sql("SET @sql = 'INSERT INTO stock VALUES (?, ?)'");
    a.sql("PREPARE ins FROM @sql");
    a.sql("SET @id = 7, @v = 'seven'");
    a.sql("EXECUTE INS USING @id, @V");
    assert_eq!(a.table(), "7=seven");
    assert_eq!(a.errno("EXECUTE ins USING @id"), 1210);
    a.sql("DEALLOCATE PREPARE ins");
    assert_eq!(a.errno("EXECUTE ins USING @id, @v"), 1243);
}

#[test]
fn variables_are_set_in_every_form() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("SET @@SESSION.sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT'), @@SESSION.wait_timeout = 2147");
    assert!(a.session.variable("sql_mode").unwrap().contains("PIPES_AS_CONCAT"));
    assert_eq!(a.session.variable("wait_timeout").as_deref(), Some("2147"));
    a.sql("SET sql_mode=(SELECT CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')),time_zone='+00:00',NAMES utf8mb4 COLLATE utf8mb4_unicode_ci;");
    assert_ne!(a.session.status() & status::NO_BACKSLASH_ESCAPES, 0);
    assert_eq!(a.session.variable("collation_connection").as_deref(), Some("utf8mb4_unicode_ci"));
    assert_eq!(a.session.variable("time_zone").as_deref(), Some("+00:00"));
    a.sql("SET character_set_results = NULL");
    assert_eq!(a.session.variable("character_set_results"), None);
    a.sql("SET @a = 5, @b = 'x', @c = @a");
    assert_eq!(
        a.sql("SELECT @a, @b, @c, @nothing"),
        [[Value::Int(5), Value::text("x"), Value::Int(5), Value::Null]]
    );
    assert_eq!(a.errno("SET nonsense = 1"), 1193);
    assert_eq!(a.errno("SET autocommit = 'perhaps'"), 1231);
    assert_eq!(a.errno("SET SESSION max_connections = 5"), 1229);
    assert_eq!(a.errno("SET GLOBAL last_insert_id = 5"), 1228);
    assert_eq!(a.errno("SET version = 'x'"), 1238);
    a.sql("SET GLOBAL wait_timeout = 99");
    assert_eq!(b.session.variable("wait_timeout").as_deref(), Some("28800"));
    assert_eq!(b.sql("SELECT @@wait_timeout"), [[Value::Int(28800)]]);
    let mut c = house.session();
    assert_eq!(c.sql("SELECT @@wait_timeout"), [[Value::Int(99)]]);
    // Another process reads it from the catalog.
    let other = House::new();
    let (version, objects) = house.world(|w| (w.catalog_version, w.objects.clone()));
    other.world(|w| (w.catalog_version, w.objects) = (version, objects));
    other.session().sql("SELECT 1");
    assert_eq!(other.session().sql("SELECT @@wait_timeout"), [[Value::Int(99)]]);
    assert_eq!(a.errno("BEGIN; SET TRANSACTION READ ONLY"), 1568);
}

#[test]
fn session_facts_follow_the_statements() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a'), (2, 'b')");
    assert_eq!(a.sql("SELECT ROW_COUNT()"), [[Value::Int(2)]]);
    a.table();
    assert_eq!(a.sql("SELECT FOUND_ROWS()"), [[Value::UInt(2)]]);
    assert_eq!(a.errno("INSERT INTO stock VALUES (1, 'again')"), 1062);
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(1062)]]);
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(1062)]], "telling of it does not forget it");
    assert_eq!(a.sql("SELECT @@warning_count, @@error_count"), [[Value::Int(1), Value::Int(1)]]);
    a.sql("SET last_insert_id = 77");
    assert_eq!(a.sql("SELECT LAST_INSERT_ID()"), [[Value::UInt(77)]]);
    a.sql("SELECT v FROM stock WHERE id = 1 INTO @id, @v");
    assert_eq!(a.sql("SELECT @v"), [[Value::text("a")]]);
    assert_eq!(a.errno("SELECT v FROM stock INTO @id, @v"), 1172);
    assert_eq!(a.errno("SELECT v FROM stock WHERE id = 1 INTO @v"), 1222);
    a.sql("SELECT v FROM stock WHERE id = 99 INTO @id, @v");
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(1329)]]);
    let digests = house.shared.digests.list();
    assert!(
        digests.iter().any(|d| d.text == "SELECT v FROM stock WHERE id = ? INTO @id, @v" && d.count == 2)
    );
}

#[test]
fn statements_that_differ_in_literals_share_a_tree() {
    let house = House::new();
    let mut a = house.session();
    for id in 0..20 {
        a.sql(&format!("INSERT INTO stock VALUES ({id}, 'v{id}')"));
        assert_eq!(show(&a.sql(&format!("SELECT * FROM stock WHERE id = {id}"))), format!("{id}=v{id}"));
    }
    assert_eq!(house.shared.statements.len(), 2);
}

#[test]
fn a_killed_statement_stops_and_a_killed_connection_runs_nothing_more() {
    let house = House::new();
    let switch = Arc::new(KillSwitch::default());
    let mut a = house.session_of(2, switch.clone());
    let mut b = house.session();
    b.sql("KILL QUERY 2");
    b.sql("KILL 2");
    assert_eq!(*house.cluster.killed.lock().unwrap(), [(2, true), (2, false)]);
    assert_eq!(b.errno("KILL 99"), 1094);
    a.sql("SELECT 1");
    switch.kill_query();
    a.sql("SELECT 1");
    a.sql("BEGIN");
    switch.kill();
    assert_eq!(a.errno("SELECT 1"), 1927);
    run(a.session.disconnect());
}

/// KILL, KILL QUERY and COM_PROCESS_KILL; none of them asks a node that the number does not name.
#[test]
fn a_connection_is_killed_on_the_node_that_its_number_names() {
    let house = House::new();
    let others = Arc::new(Others::default());
    *house.cluster.others.lock().unwrap() = Some(others.clone());
    let mut a = house.session();
    let asked = || std::mem::take(&mut *others.asked.lock().unwrap());
    let kill = |connection, query_only| Action::KillSession { node: 2, connection, query_only };

    let there = connection_of(2, 5);
    a.sql(&format!("KILL QUERY {there}"));
    run(a.session.process_kill(there)).unwrap();
    assert_eq!(std::mem::take(&mut *others.done.lock().unwrap()), [kill(there, true), kill(there, false)]);
    assert_eq!(asked(), [2, 2]);

    // One that is not there, of a node that answers, of this one, and of one that does not.
    assert_eq!(a.errno(&format!("KILL {}", connection_of(2, 6))), 1094);
    assert_eq!(a.errno(&format!("KILL {}", connection_of(1, 6))), 1094);
    let silent = a.fails(&format!("KILL {}", connection_of(3, 5)));
    assert_eq!(silent.code, ErrorCode::ClusterUnavailable);
    assert!(silent.message.contains("is of node 3, which does not answer"), "{}", silent.message);
    assert_eq!(run(a.session.process_kill(connection_of(3, 5))).unwrap_err().code.errno(), 1429);
    assert_eq!(asked(), [2, 3, 3]);

    // A number that names no node that there is may be of any.
    a.sql("KILL 77");
    assert_eq!(*others.done.lock().unwrap(), [kill(77, false)]);
    assert_eq!(a.errno(&format!("KILL {}", connection_of(9, 5))), 1429);
    assert_eq!(asked(), [0, 9, 0]);
    a.sql("KILL 2");
    assert_eq!((asked(), house.cluster.killed.lock().unwrap().as_slice()), (vec![], &[(2, false)][..]));

    // Others' connections are for administrators.
    let mut stranger = house.session_for(Arc::new(assize_catalog::User {
        name: "stranger".into(),
        global: Vec::new(),
        ..assize_catalog::User::clone(&house.root())
    }));
    assert_eq!(stranger.errno(&format!("KILL {there}")), 1095);
}

#[test]
fn what_is_not_supported_says_so() {
    let house = House::new();
    let mut a = house.session();
    for (text, feature) in [
        ("XA START 'a'", "XA"),
        ("CREATE PROCEDURE p() SELECT 1", "CREATE PROCEDURE"),
        ("HANDLER t OPEN", "HANDLER"),
    ] {
        let error = a.fails(text);
        assert_eq!(error.code.errno(), 1235);
        assert!(error.message.contains(feature), "{}", error.message);
    }
    assert_eq!(a.fails("CALL p(1)").message, "PROCEDURE shop.p does not exist");
    assert_eq!(a.errno("SELECT ?"), 1064);
}

#[test]
fn leaving_rolls_back() {
    let house = House::new();
    let mut a = house.session();
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("SET @x = 1");
    run(a.session.reset());
    assert_eq!(a.session.status(), status::AUTOCOMMIT);
    assert_eq!(a.session.database().as_deref(), Some("shop"));
    assert_eq!(a.sql("SELECT @x"), [[Value::Null]]);
    assert_eq!(a.table(), "");
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE");
    assert!(!house.world(|w| w.reserved.is_empty()));
    run(a.session.disconnect());
    assert!(house.world(|w| w.reserved.is_empty()));
    assert_eq!(house.services.snapshots.oldest(), None, "no snapshot is held back");
}

#[test]
fn unreachable_is_not_a_guess() {
    let house = House::new();
    let mut a = house.session();
    house.world(|w| w.mishaps.extend([Mishap::Unreachable, Mishap::Unreachable]));
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let ids: Vec<_> = house.world(|w| w.footprints.iter().map(|f| f.txn).collect());
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(a.table(), "1=a");
    assert_ne!(TABLE, TableId(0));
}

#[test]
fn a_wait_for_a_lock_ends_when_it_is_killed() {
    use std::future::Future;
    use std::task::{Context, Poll};
    let house = House::new();
    let switch = Arc::new(KillSwitch::default());
    let mut a = house.session_of(2, switch.clone());
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("BEGIN");
    a.sql("INSERT INTO stock VALUES (2, 'b')");
    house.world(|w| w.reservations_hang = true);
    let mut sink = Sink::default();
    {
        let mut waiting =
            Box::pin(a.session.run_text("SELECT * FROM stock WHERE id = 1 FOR UPDATE", &mut sink));
        let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
        for _ in 0..100 {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        switch.kill_query();
        let Poll::Ready(Err(error)) = waiting.as_mut().poll(&mut context) else { panic!("it still waits") };
        assert_eq!(error.code.errno(), 1317);
    }
    // The transaction goes on without the statement.
    house.world(|w| w.reservations_hang = false);
    assert_eq!(a.table(), "1=a 2=b");
    a.sql("COMMIT");
}

#[test]
fn lock_tables_finds_its_tables_ends_the_transaction_and_locks_nothing() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("BEGIN; INSERT INTO stock VALUES (1, 'a')");
    assert_eq!(a.errno("LOCK TABLES stock READ, stcok WRITE"), 1146);
    assert_eq!(b.table(), "1=a", "committed all the same");
    assert_eq!(a.errno("LOCK TABLES nowhere.stock READ"), 1146);
    a.sql("LOCK TABLES stock AS s READ LOCAL, shop.stock WRITE, mysql.user READ");
    b.sql("INSERT INTO stock VALUES (2, 'b')");
    a.sql("UNLOCK TABLES");
    assert_eq!(a.table(), "1=a 2=b");
}

#[test]
fn privileges_are_those_of_the_newest_catalog() {
    let house = House::new();
    let app = |privileges: &[&str]| assize_catalog::User {
        name: "app".into(),
        host: "%".into(),
        plugin: "caching_sha2_password".into(),
        verifier: Vec::new(),
        locked: false,
        require_tls: false,
        global: Vec::new(),
        databases: [("shop".into(), privileges.iter().map(|p| Arc::from(*p)).collect())].into(),
        tables: Default::default(),
        grant_option: Vec::new(),
    };
    let grant = |privileges: &[&str]| {
        let nothing = assize_catalog::Catalog::default();
        let mut builder = assize_catalog::ChangeBuilder::new(&nothing);
        builder.put_user(&app(privileges));
        let change = builder.finish();
        house.world(|w| w.change(&change));
    };
    grant(&[]);
    let mut a = house.session_for(Arc::new(app(&[])));
    assert_eq!(a.errno("SELECT * FROM stock"), 1142);
    assert_eq!(a.errno("USE shop"), 1044);
    grant(&["SELECT"]);
    assert_eq!(a.table(), "");
    a.sql("USE shop");
    assert_eq!(a.errno("INSERT INTO stock VALUES (1, 'a')"), 1142);
    assert_eq!(a.errno("SET GLOBAL wait_timeout = 5"), 1227);
    assert_eq!(a.errno("KILL 1"), 1095);
    grant(&[]);
    assert_eq!(a.errno("SELECT * FROM stock"), 1142);
}

#[test]
fn a_file_of_the_client_is_loaded_within_its_transaction_and_asked_for_once() {
    let house = House::new();
    let kill = Arc::new(KillSwitch::default());
    let mut a = house.session_of(7, kill.clone());
    let load = "LOAD DATA LOCAL INFILE 'f' INTO TABLE stock";
    let sends = |ids: &[&'static str]| Sink {
        file: ids.iter().map(|id| bytes::Bytes::from_static(id.as_bytes())).collect(),
        ..Sink::default()
    };
    run(a.session.run_text(load, &mut sends(&["1", "2"]))).unwrap();
    assert_eq!(a.table(), "1=loaded 2=loaded");
    a.sql("BEGIN");
    run(a.session.run_text(load, &mut sends(&["3"]))).unwrap();
    a.sql("ROLLBACK");
    assert_eq!(a.table(), "1=loaded 2=loaded");
    // A statement that has lost is run again where it can be; the file cannot be had a second time.
    house.world(|w| w.mishaps.push_back(Mishap::Abort(AbortReason::SchemaChanged { table: TABLE })));
    let mut sink = sends(&["4"]);
    let error = run(a.session.run_text(load, &mut sink)).unwrap_err();
    assert_eq!((error.code, sink.asked), (ErrorCode::TableDefinitionChanged, 1));
    // KILL QUERY ends it although the client sends nothing.
    let mut sink = Sink { falls_silent: true, ..sends(&["5"]) };
    let error = {
        let mut loading = Box::pin(a.session.run_text(load, &mut sink));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(loading.as_mut().poll(&mut context).is_pending());
        kill.kill_query();
        run(loading).unwrap_err()
    };
    assert_eq!(error.code.errno(), 1317);
    assert_eq!(a.errno("PREPARE s FROM 'LOAD DATA LOCAL INFILE \"f\" INTO TABLE stock'"), 1295);
    assert_eq!(a.table(), "1=loaded 2=loaded");
}

#[test]
fn select_into_fills_variables_with_one_row_and_no_file_of_the_server() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'one'), (2, 'two')");
    a.sql("SELECT * FROM stock WHERE id = 2 INTO @id, @v");
    assert_eq!(a.sql("SELECT @id, @v"), [[Value::Int(2), Value::text("two")]]);
    assert_eq!(a.errno("SELECT * FROM stock INTO @id, @v"), 1172);
    assert_eq!(a.errno("SELECT * FROM stock WHERE id = 1 INTO @id"), 1222);
    a.sql("SELECT * FROM stock WHERE id = 9 INTO @id, @v");
    assert_eq!(a.session.warnings()[0].code.errno(), 1329);
    assert_eq!(a.sql("SELECT @id, @v"), [[Value::Int(2), Value::text("two")]]);
    assert_eq!(a.errno("SELECT * FROM stock INTO OUTFILE 'f'"), 1290);
    assert_eq!(a.errno("SELECT * FROM stock INTO DUMPFILE 'f'"), 1290);
}

#[test]
fn ids_go_on_behind_those_that_the_transaction_gave_explicitly() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, '-'), (2, '-'), (3, '-')");
    let draw = |session: &mut Client, id: i64| {
        session.sql(&format!("UPDATE stock SET v = 'drawn' WHERE id = {id}"));
    };
    a.sql("BEGIN");
    b.sql("BEGIN");
    draw(&mut a, 1);
    a.sql("UPDATE stock SET v = 'taken' WHERE id = 2");
    // What others draw before the commit does not bring the transaction back below its own id.
    draw(&mut b, 3);
    draw(&mut a, 3);
    assert_eq!(a.table(), "1=1 2=taken 3=101");
    assert_eq!(b.table(), "1=- 2=- 3=2");
    a.sql("ROLLBACK");
    draw(&mut b, 2);
    assert_eq!(b.table(), "1=- 2=102 3=2");
}
