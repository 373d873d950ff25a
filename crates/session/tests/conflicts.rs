//! What is kept of aborts, and what can be seen of transactions while they run.

mod support;

use assize_catalog::ObjectKey;
use assize_model::{AbortReason, Winner};
use assize_ports::ConflictRecord;
use assize_session::Limits;
use support::*;

/// What is kept, newest first.
fn kept(house: &House) -> Vec<ConflictRecord> {
    house.services.conflicts.list(4)
}

/// The id that an error's text names.
fn named(message: &str) -> String {
    let at = message.find("c-").unwrap_or_else(|| panic!("no conflict is named: {message}"));
    message[at..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

#[test]
fn a_conflict_is_kept_with_both_sides_under_the_id_of_its_error() {
    let house = House::new();
    house.world(|w| w.names_winners = true);
    let (mut a, mut b) = (house.session_of(11, Default::default()), house.session_of(12, Default::default()));
    a.sql("INSERT INTO stock VALUES (42, 'a'), (43, 'b')");
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock");
    a.sql("UPDATE stock SET v = 'mine' WHERE id = 42");
    a.sql("UPDATE stock SET v = 'mine, too' WHERE id = 42");
    b.sql("UPDATE stock SET v = 'theirs' WHERE id = 42");
    let error = a.fails("COMMIT");
    let conflicts = kept(&house);
    assert_eq!(conflicts.len(), 1);
    let conflict = &conflicts[0];
    assert_eq!(conflict.id, named(&error.message));
    assert_eq!(
        (conflict.kind.as_str(), conflict.table.as_str(), conflict.index.as_str(), conflict.key.as_str()),
        ("conflict", "shop.stock", "PRIMARY", "(42)")
    );
    let (loser, winner) = (&conflict.loser, &conflict.winner);
    assert_eq!((loser.node, loser.connection, loser.user.as_str()), (4, 11, "root@localhost"));
    assert_eq!(loser.statements, ["SELECT * FROM stock", "UPDATE stock SET v = ? WHERE id = ?"]);
    assert_eq!((winner.node, winner.connection, winner.user.as_str()), (4, 12, "root@localhost"));
    assert_eq!(winner.statements, ["UPDATE stock SET v = ? WHERE id = ?"]);
    assert!(error.message.contains(&format!("lost to transaction {}, committed ", winner.txn)));
    assert!(loser.age_micros > winner.age_micros && winner.age_micros > Some(0));
    assert!(conflict.committed_before_micros.is_some() && !conflict.was_retried);
}

/// The winner committed half a second before the loser was refused, in a cluster that does nothing else meanwhile.
#[test]
fn how_long_before_the_winner_had_committed_is_told_by_our_own_clock() {
    let house = House::new();
    house.world(|w| w.names_winners = true);
    let (mut a, mut b) = (house.session_of(11, Default::default()), house.session_of(12, Default::default()));
    a.sql("INSERT INTO stock VALUES (42, 'a'), (43, 'b')");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'mine' WHERE id = 42");
    house.pass_millis(400);
    b.sql("UPDATE stock SET v = 'theirs' WHERE id = 42");
    house.pass_millis(500);
    let error = a.fails("COMMIT");
    let before = kept(&house)[0].committed_before_micros.expect("this frontend ran both");
    assert!((490_000..=520_000).contains(&before), "{before}");
    let told = error.message.split("committed ").nth(1).and_then(|rest| rest.split(' ').next());
    let millis: u64 = told.and_then(|millis| millis.parse().ok()).expect("it is told in milliseconds");
    assert!((490..=520).contains(&millis), "{error}");
    assert_eq!(kept(&house)[0].committed_before_at_most_micros, None);
}

/// Of a winner that ran elsewhere no more is known here than that it committed after the loser's snapshot.
#[test]
fn how_long_before_a_winner_elsewhere_had_committed_is_bounded_by_the_losers_age() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    house.world(|w| w.rival = Some((row_key(1).1, 1)));
    house.pass_millis(1_001);
    let error = a.fails("COMMIT");
    let conflict = &kept(&house)[0];
    let at_most = conflict.committed_before_at_most_micros.expect("the loser's age is known");
    assert_eq!(conflict.committed_before_micros, None);
    assert!((1_001_000..=1_100_000).contains(&at_most), "{at_most}");
    assert!(error.message.contains("committed at most 10"), "{error}");
}

#[test]
fn what_the_server_ran_again_by_itself_is_kept_as_well() {
    let house = House::with_limits(Limits { retries_max: 3, ..Limits::default() });
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    house.world(|w| w.rival = Some((row_key(1).1, 2)));
    a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    assert_eq!(kept(&house).iter().map(|c| c.was_retried).collect::<Vec<_>>(), [true, true]);
    // A winner that ran elsewhere is known by its id alone.
    assert_eq!(
        (kept(&house)[0].winner.txn.as_str(), kept(&house)[0].winner.node),
        ("06831141b00000009000001000000011", 0)
    );
    assert_eq!(house.services.conflicts.unknown_winners(0), ["06831141b00000009000001000000011"]);
    house.world(|w| w.rival = Some((row_key(1).1, u32::MAX)));
    let error = a.fails("UPDATE stock SET v = 'c' WHERE id = 1");
    let conflicts = kept(&house);
    assert_eq!(conflicts.len(), 6);
    assert_eq!(conflicts[0].id, named(&error.message));
    assert_eq!(
        conflicts.iter().map(|c| c.was_retried).collect::<Vec<_>>(),
        [false, true, true, true, true, true],
        "the last attempt was told to the client"
    );
}

#[test]
fn a_schema_change_that_the_server_runs_again_by_itself_says_so() {
    let house = House::new();
    let mut a = house.session();
    let reason = AbortReason::CatalogChanged { object: ObjectKey::Ids.encode() };
    house.world(|w| w.mishaps.push_back(Mishap::Abort(reason)));
    a.sql("CREATE DATABASE other");
    assert_eq!(kept(&house).iter().map(|c| c.was_retried).collect::<Vec<_>>(), [true]);
}

#[test]
fn what_the_server_runs_again_by_itself_is_one_job() {
    let house = House::new();
    let mut a = house.session();
    house.world(|w| w.rival = Some((row_key(1).1, 2)));
    a.sql("INSERT INTO stock VALUES (1, 'long')");
    assert_eq!(kept(&house).len(), 2);
    assert_eq!(house.services.jobs.list(4).len(), 1);
    a.sql("INSERT INTO stock VALUES (2, 'long')");
    assert_eq!(house.services.jobs.list(4).len(), 2, "another statement is another job");
}

#[test]
fn waits_for_locks_and_schema_changes_are_kept_by_their_kind() {
    let house = House::new();
    let (mut a, mut b) = (house.session(), house.session());
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("BEGIN");
    a.sql("SELECT * FROM stock WHERE id = 1 FOR UPDATE");
    let mut errors = vec![b.fails("SELECT * FROM stock WHERE id = 1 FOR UPDATE")];
    house.world(|w| w.deadlocks = true);
    b.sql("BEGIN");
    b.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    errors.push(b.fails("SELECT * FROM stock WHERE id = 1 FOR UPDATE"));
    house.world(|w| w.deadlocks = false);
    a.sql("UPDATE stock SET v = 'c' WHERE id = 1");
    let changer = house.world(|w| {
        w.mishaps.push_back(Mishap::Abort(AbortReason::SchemaChanged { table: TABLE }));
        let (commit_ts, txn) = w.committers.last_key_value().map(|(ts, txn)| (*ts, *txn)).unwrap();
        w.fenced_by = Some(Winner { txn, commit_ts });
        txn.to_string()
    });
    errors.push(a.fails("COMMIT"));
    let conflicts = kept(&house);
    let told: Vec<String> = errors.iter().rev().map(|e| named(&e.message)).collect();
    assert_eq!(conflicts.iter().map(|c| c.id.clone()).collect::<Vec<_>>(), told);
    let kinds: Vec<(&str, u16)> =
        conflicts.iter().zip(errors.iter().rev()).map(|(c, e)| (c.kind.as_str(), e.code.errno())).collect();
    assert_eq!(kinds, [("schema changed", 1412), ("deadlock", 1213), ("lock wait timeout", 1205)]);
    assert_eq!(conflicts.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["", "(1)", "(1)"]);
    assert!(conflicts.iter().all(|c| c.table == "shop.stock"));
    assert_eq!(conflicts[1].loser.statements[0], "UPDATE stock SET v = ? WHERE id = ?");
    // Who held the row, and who changed the table.
    for (conflict, error) in conflicts[1..].iter().zip(errors.iter().rev().skip(1)) {
        assert_eq!((conflict.winner.node, conflict.committed_before_micros), (4, None));
        assert_eq!(conflict.winner.statements, ["SELECT * FROM stock WHERE id = ? FOR UPDATE"]);
        assert!(error.message.contains(&format!(": held by transaction {} (c-", conflict.winner.txn)));
    }
    assert_eq!((conflicts[0].winner.txn.as_str(), conflicts[0].winner.node), (changer.as_str(), 4));
    assert!(conflicts[0].committed_before_micros.is_some());
    assert!(errors[2].message.contains(&format!("changed by transaction {changer} (c-")));
}

/// Whose change of the schema came first, and of what; what is run again at once asks nobody, and the last attempt does.
#[test]
fn a_change_of_the_catalog_is_explained_to_whoever_is_told_of_it() {
    let house = House::with_limits(Limits { retries_max: 2, ..Limits::default() });
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    let refuse = |times: usize, object: ObjectKey| {
        house.world(|w| {
            let reason = AbortReason::CatalogChanged { object: object.encode() };
            w.mishaps.extend(std::iter::repeat_n(Mishap::Abort(reason), times));
            let (commit_ts, txn) = w.committers.last_key_value().map(|(ts, txn)| (*ts, *txn)).unwrap();
            w.fenced_by = Some(Winner { txn, commit_ts });
            w.who_asked = 0;
            txn.to_string()
        })
    };
    let changer = refuse(3, ObjectKey::Table("shop".into(), "stock".into()));
    let error = a.fails("UPDATE stock SET v = 'b' WHERE id = 1");
    assert_eq!(error.code.errno(), 1412);
    assert!(error.message.contains(&format!("changed by transaction {changer} (c-")), "{error}");
    assert_eq!(house.world(|w| w.who_asked), 1);
    let conflicts = kept(&house);
    let told: Vec<(&str, bool)> = conflicts.iter().map(|c| (c.winner.txn.as_str(), c.was_retried)).collect();
    assert_eq!(told, [(changer.as_str(), false), ("", true), ("", true)]);
    assert!(
        conflicts.iter().all(|c| (c.kind.as_str(), c.table.as_str()) == ("schema changed", "shop.stock"))
    );

    refuse(1, ObjectKey::Ids);
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'b' WHERE id = 1");
    assert_eq!(a.errno("COMMIT"), 1412);
    assert_eq!(kept(&house)[0].key, "the numbers of new tables and databases");
    assert_eq!(kept(&house)[0].winner.txn, changer);
}

#[test]
fn whoever_won_what_only_the_shards_remember_is_named_too() {
    let house = House::new();
    let (mut a, mut b) = (house.session_of(11, Default::default()), house.session_of(12, Default::default()));
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    a.sql("BEGIN");
    a.sql("UPDATE stock SET v = 'mine' WHERE id = 1");
    b.sql("UPDATE stock SET v = 'theirs' WHERE id = 1");
    let keys = vec![row_key(1).1.hash(SEED)];
    let forgotten = AbortReason::NeedRefresh { keys, ranges: Vec::new() };
    house.world(|w| w.mishaps.push_back(Mishap::Abort(forgotten)));
    let error = a.fails("COMMIT");
    let conflict = &kept(&house)[0];
    assert_eq!((conflict.key.as_str(), conflict.winner.connection), ("(1)", 12));
    assert!(error.message.contains(&format!("lost to transaction {}, committed ", conflict.winner.txn)));
}

#[test]
fn an_open_transaction_can_be_seen_from_outside() {
    let house = House::new();
    let mut a = house.session_of(5, Default::default());
    let activity = a.session.activity();
    let seen = || activity.open(u64::MAX);
    assert!(seen().is_none());
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    assert!(seen().is_none(), "an autocommit statement has ended with its transaction");
    a.sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    a.sql("BEGIN");
    let open = seen().unwrap();
    assert_eq!((open.connection, open.user.as_str(), open.snapshot_ts), (5, "root@localhost", 0));
    a.sql("INSERT INTO stock VALUES (2, 'b'), (3, 'c')");
    assert_eq!(a.errno("INSERT INTO stock VALUES (4, 'd'), (5, 'boom')"), 1406);
    let open = seen().unwrap();
    assert_eq!((open.writes, open.state.as_str(), open.isolation.as_str()), (2, "idle", "SERIALIZABLE"));
    assert!(open.bytes > 0 && open.snapshot_ts > 0 && open.age_micros > 0);
    assert_eq!(open.statement, "INSERT INTO stock VALUES (...), ...");
    a.sql("ROLLBACK");
    assert!(seen().is_none());
}
