//! Conflicts, explained: what a client is told, what SHOW and INFORMATION_SCHEMA keep of it, over real connections.

#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::{Assize, run_ok, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Row};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

struct Session(Conn);

impl Session {
    fn open(assize: &Assize, user: &str) -> Self {
        let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(assize.port());
        Session(Conn::new(opts.user(Some(user)).prefer_socket(false)).expect("a session connects"))
    }

    fn run(&mut self, statement: &str) {
        self.0.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Every row is read: an error may come after the columns.
    fn try_rows(&mut self, statement: &str) -> mysql::Result<Vec<Row>> {
        self.0.query(statement)
    }

    /// The number and text of the error that a statement ends with.
    fn fails(&mut self, statement: &str) -> (u16, String) {
        match self.try_rows(statement) {
            Err(mysql::Error::MySqlError(error)) => (error.code, error.message),
            other => panic!("{statement}: {other:?}"),
        }
    }

    /// Rows, every value as text.
    fn rows(&mut self, statement: &str) -> Vec<Vec<String>> {
        let rows = self.try_rows(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        let text = |value: mysql::Value| match value {
            mysql::Value::NULL => "NULL".to_owned(),
            mysql::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => other.as_sql(true),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
    }

    fn connection(&mut self) -> String {
        self.rows("SELECT CONNECTION_ID()")[0][0].clone()
    }
}

/// A cluster with a table, an application user without PROCESS, and nothing remembered.
fn start() -> Assize {
    let assize = Assize::start();
    let mut root = Session::open(&assize, "root");
    for statement in [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT NOT NULL)",
        "INSERT INTO shop.stock VALUES (1, 10), (42, 10)",
        "CREATE USER app",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO app",
    ] {
        root.run(statement);
    }
    assize
}

/// The id that an error's text names.
fn named(text: &str) -> String {
    let at = text.find("c-").unwrap_or_else(|| panic!("no conflict is named: {text}"));
    text[at..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

/// What the shell says became of a transaction.
fn outcome(assize: &Assize, txn: &str) -> String {
    let mut command = Command::new(Assize::binary());
    run_ok(command.args(["txn", "outcome", txn, "--admin", &assize.admin()]), b"")
}

/// Lets `loser` lose row 42 to `winner`; the id of the conflict.
fn collide(loser: &mut Session, winner: &mut Session) -> String {
    loser.run("BEGIN");
    loser.run("UPDATE shop.stock SET n = n - 1 WHERE id = 42");
    winner.run("UPDATE shop.stock SET n = n - 2 WHERE id = 42");
    let (code, text) = loser.fails("COMMIT");
    assert_eq!(code, 1213);
    assert!(text.contains("on shop.stock PRIMARY (42): lost to transaction "), "{text}");
    named(&text)
}

#[test]
fn the_id_of_the_error_finds_both_transactions() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let (mut a, mut b) = (Session::open(&assize, "app"), Session::open(&assize, "root"));
    let id = collide(&mut a, &mut b);

    let words = root.rows(&format!("SHOW CONFLICT '{id}'"));
    let answer = |question: &str| {
        let found = words.iter().find(|row| row[0] == question);
        found.unwrap_or_else(|| panic!("nothing says {question}: {words:?}"))[1].clone()
    };
    assert!(answer("what happened").starts_with("conflict, "));
    assert_eq!(answer("on which row"), "shop.stock PRIMARY (42)");
    assert!(answer("who lost").contains(&format!("connection {} of node ", a.connection())));
    assert!(answer("who won").contains(&format!("connection {} of node ", b.connection())));
    assert_eq!(answer("what it had run"), "UPDATE shop.stock SET n = n - ? WHERE id = ?");
    assert_eq!(answer("what that ran"), "UPDATE shop.stock SET n = n - ? WHERE id = ?");

    let joined = format!(
        "SELECT c.kind, c.key_text, c.was_retried, t.engine, c.loser_user LIKE 'app@%', c.winner_user LIKE 'root@%', \
         COALESCE(c.committed_before_micros, c.committed_before_at_most_micros) IS NOT NULL \
         FROM information_schema.assize_conflicts c JOIN information_schema.tables t USING (table_schema, table_name) \
         WHERE c.id = '{id}'"
    );
    assert_eq!(root.rows(&joined), [["conflict", "(42)", "NO", "InnoDB", "1", "1", "1"]]);

    // The loser may see its own conflict, but not who the winner was; others' conflicts it may not see.
    let own = a.rows("SELECT id, winner_user FROM information_schema.assize_conflicts");
    assert_eq!(own, [[id.as_str(), "NULL"]]);
    let (mut c, mut d) = (Session::open(&assize, "root"), Session::open(&assize, "app"));
    let other = collide(&mut c, &mut d);
    assert_ne!(other, id);
    assert_eq!(a.fails(&format!("SHOW CONFLICT '{other}'")).0, 1210);
    assert_eq!(a.fails("SHOW HOT KEYS").0, 1227);
    assert_eq!(a.fails("ALTER CLUSTER TRANSFER LEADERSHIP").0, 1227);

    let hot = root.rows("SELECT table_name, key_text, conflicts FROM information_schema.assize_hot_keys");
    assert_eq!(hot, [["stock", "(42)", "2"]]);
    assert_eq!(root.rows("SHOW CONFLICTS LIMIT 1")[0][0], other, "the newest comes first");
}

#[test]
fn every_id_of_a_transaction_that_is_shown_can_be_asked_for() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let (mut a, mut b) = (Session::open(&assize, "app"), Session::open(&assize, "root"));
    a.run("BEGIN");
    a.run("UPDATE shop.stock SET n = n - 1 WHERE id = 42");
    b.run("UPDATE shop.stock SET n = n - 2 WHERE id = 42");
    let (_, text) = a.fails("COMMIT");
    // From the error's text, as a reader would copy it, to the shell.
    let winner = text.split("lost to transaction ").nth(1).and_then(|rest| rest.split(',').next());
    let winner = winner.unwrap_or_else(|| panic!("no winner is named: {text}"));
    assert!(outcome(&assize, winner).starts_with("committed at "), "{text}");

    let id = named(&text);
    let sides =
        format!("SELECT loser_txn, winner_txn FROM information_schema.assize_conflicts WHERE id = '{id}'");
    let [loser, also_winner] = &root.rows(&sides)[0][..] else { panic!("two columns were asked for") };
    assert_eq!(also_winner, winner);
    // At once, although the leader refused it before it was logged: the node that ran it remembers.
    let told = outcome(&assize, loser);
    assert!(told.starts_with("aborted: lost a conflict to transaction ") && told.contains(winner), "{told}");

    // What SHOW and the shell print of the conflict holds the same two.
    let words = format!("{:?}", root.rows(&format!("SHOW CONFLICT '{id}'")));
    let shown = run_ok(
        Command::new(Assize::binary()).args(["conflicts", "show", &id, "--admin", &assize.admin()]),
        b"",
    );
    for told in [&words, &shown] {
        assert!(told.contains(loser.as_str()) && told.contains(winner), "{told}");
    }
    let mut nonsense = Command::new(Assize::binary());
    nonsense.args(["txn", "outcome", "2.1.9", "--admin", &assize.admin()]);
    let refused = assize_tests::run(&mut nonsense, b"");
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("32 hexadecimal digits"));
}

/// A demo has no other nodes to ask, so whatever is told was pushed.
#[test]
fn whoever_watches_conflicts_is_told_each_of_them_once_and_in_order() {
    let assize = start();
    let (mut a, mut b) = (Session::open(&assize, "app"), Session::open(&assize, "root"));
    let mut command = Command::new(Assize::binary());
    command.args(["conflicts", "watch", "--table", "shop.stock", "--output", "json"]);
    command.args(["--admin", &assize.admin()]).stdout(Stdio::piped());
    let mut watcher = command.spawn().expect("the shell starts");
    let lines = BufReader::new(watcher.stdout.take().expect("it is piped")).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Ok(conflict) = serde_json::from_str::<serde_json::Value>(&line) else { break };
            if tell.send(conflict["id"].as_str().unwrap_or_default().to_owned()).is_err() {
                break;
            }
        }
    });
    // What comes before it watches is not told.
    let mut expected = Vec::new();
    let mut heard = Vec::new();
    wait_for("the watcher to hear something", || {
        expected.push(collide(&mut a, &mut b));
        heard.extend(told.try_iter());
        !heard.is_empty()
    });
    expected.extend((0..30).map(|_| collide(&mut a, &mut b)));
    wait_for("the watcher to hear the last of them", || {
        heard.extend(told.try_iter());
        heard.last() == expected.last()
    });
    let from = expected.iter().position(|id| *id == heard[0]).expect("what is told has happened");
    assert_eq!(heard, expected[from..]);
    watcher.kill().expect("the watcher can be ended");
    watcher.wait().expect("it can be waited for");
}

/// The index and key of the conflict that an error's text names.
fn place(root: &mut Session, text: &str) -> (String, String) {
    let asked = "SELECT index_name, key_text FROM information_schema.assize_conflicts WHERE id = ";
    let rows = root.rows(&format!("{asked}'{}'", named(text)));
    let [index, key] = &rows[0][..] else { panic!("two columns were asked for") };
    assert!(text.contains(&format!(" {index} {key}: lost to transaction ")), "{text}");
    (index.clone(), key.clone())
}

#[test]
fn keys_are_told_in_full_whatever_their_columns_are_and_whoever_wrote_them() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let mut a = Session::open(&assize, "root");
    for statement in [
        "CREATE TABLE shop.word (w VARCHAR(20), day DATE, n INT NOT NULL, PRIMARY KEY (w, day))",
        "INSERT INTO shop.word VALUES ('ash', '2026-11-20', 1), ('oak', '2026-11-21', 1)",
        "CREATE TABLE shop.item (id INT PRIMARY KEY, sku VARCHAR(20), since DATE, UNIQUE KEY sku (sku, since))",
        "INSERT INTO shop.item VALUES (1, 'old', '2026-01-02')",
    ] {
        root.run(statement);
    }
    let mut lose = |loser: &str, winner: &str| {
        a.run("BEGIN");
        a.run(loser);
        root.run(winner);
        let (_, text) = a.fails("COMMIT");
        let (index, key) = place(&mut root, &text);
        format!("{index} {key}")
    };
    let ash = "w = 'ash' AND day = '2026-11-20'";
    let counts = format!("UPDATE shop.word SET n = n + 1 WHERE {ash}");
    let found = lose(&format!("UPDATE shop.word SET n = 0 WHERE {ash}"), &counts);
    assert_eq!(found, "PRIMARY ('ash', '2026-11-20')");
    assert_eq!(lose(&format!("DELETE FROM shop.word WHERE {ash}"), &counts), found);

    // Both insert the same values under different primary keys.
    let inserted = lose(
        "INSERT INTO shop.item VALUES (2, 'new', '2026-03-04')",
        "INSERT INTO shop.item VALUES (3, 'new', '2026-03-04')",
    );
    assert_eq!(inserted, "sku ('new', '2026-03-04')");
    // One gives up the values, the other has them, too.
    let renamed = lose(
        "UPDATE shop.item SET sku = 'renamed' WHERE id = 1",
        "UPDATE shop.item SET since = '2026-05-06' WHERE id = 1",
    );
    assert!(renamed == "PRIMARY (1)" || renamed == "sku ('old', '2026-01-02')", "{renamed}");

    let hot = root.rows(
        "SELECT index_name, key_text, conflicts FROM information_schema.assize_hot_keys \
         WHERE table_name IN ('word', 'item') AND conflicts > 1 OR index_name = 'sku'",
    );
    assert!(hot.contains(&["PRIMARY", "('ash', '2026-11-20')", "2"].map(str::to_owned).to_vec()), "{hot:?}");
    assert!(hot.contains(&["sku", "('new', '2026-03-04')", "1"].map(str::to_owned).to_vec()), "{hot:?}");
}

#[test]
fn a_parent_that_a_foreign_key_checked_is_told_with_its_key_and_can_be_hot() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let mut a = Session::open(&assize, "root");
    for statement in [
        "CREATE TABLE shop.par (id VARCHAR(20) PRIMARY KEY)",
        "CREATE TABLE shop.child (id INT PRIMARY KEY, par VARCHAR(20), FOREIGN KEY (par) REFERENCES shop.par (id))",
        "INSERT INTO shop.par VALUES ('seven'), ('eight')",
    ] {
        root.run(statement);
    }
    for (n, parent) in ["seven", "eight"].into_iter().enumerate() {
        a.run("BEGIN");
        a.run(&format!("INSERT INTO shop.child VALUES ({n}, '{parent}')"));
        root.run(&format!("DELETE FROM shop.par WHERE id = '{parent}'"));
        let (code, text) = a.fails("COMMIT");
        assert_eq!(code, 1213);
        assert!(
            text.contains(&format!("on shop.par PRIMARY ('{parent}'), a foreign key's parent: lost to")),
            "{text}"
        );
    }
    let hot =
        root.rows("SELECT table_name, key_text FROM information_schema.assize_hot_keys ORDER BY 2 DESC");
    let expected = ["('seven'), a foreign key's parent", "('eight'), a foreign key's parent"];
    assert_eq!(hot, expected.map(|key| vec!["par".to_owned(), key.to_owned()]));
}

/// What SHOW CONFLICT answers to a question about the conflict that an error's text names.
fn answer(root: &mut Session, text: &str, question: &str) -> String {
    let words = root.rows(&format!("SHOW CONFLICT '{}'", named(text)));
    let found = words.iter().find(|row| row[0] == question);
    found.unwrap_or_else(|| panic!("nothing says {question}: {words:?}"))[1].clone()
}

#[test]
fn the_first_conflict_over_a_range_of_a_table_has_a_winner_like_any_other() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let mut a = Session::open(&assize, "root");
    a.run("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    for table in ["first", "second"] {
        root.run(&format!("CREATE TABLE shop.{table} (id INT PRIMARY KEY, n INT NOT NULL)"));
        root.run(&format!("INSERT INTO shop.{table} VALUES (1, 1), (2, 1)"));
        for id in [10, 11] {
            a.run("BEGIN");
            a.run(&format!("SELECT SUM(n) FROM shop.{table} WHERE id < 100"));
            a.run("UPDATE shop.stock SET n = n + 1 WHERE id = 1");
            root.run(&format!("INSERT INTO shop.{table} VALUES ({id}, 1)"));
            let (_, text) = a.fails("COMMIT");
            assert!(
                text.contains(&format!(
                    "on shop.{table} PRIMARY (a range that was read): lost to transaction "
                ))
            );
            let winner = answer(&mut root, &text, "who won");
            assert!(winner.contains(&format!("(connection {} of node ", root.connection())), "{winner}");
            let ran = answer(&mut root, &text, "what that ran");
            assert!(ran.starts_with(&format!("INSERT INTO shop.{table} VALUES")), "{ran}");
        }
    }
}

#[test]
fn whoever_loses_to_a_schema_change_learns_which_and_whose_it_was() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let mut a = Session::open(&assize, "app");
    a.run("BEGIN");
    a.run("UPDATE shop.stock SET n = 0 WHERE id = 1");
    root.run("ALTER TABLE shop.stock ADD COLUMN note VARCHAR(20)");
    let (code, text) = a.fails("COMMIT");
    assert_eq!(code, 1412);
    assert!(text.contains("shop.stock, changed by transaction "), "{text}");
    assert!(answer(&mut root, &text, "on which row").starts_with("shop.stock version "));
    let changed = answer(&mut root, &text, "who changed it");
    assert!(changed.contains(&format!("(connection {} of node ", root.connection())), "{changed}");
    assert!(answer(&mut root, &text, "what that ran").starts_with("ALTER TABLE shop.stock ADD COLUMN note"));
    assert!(root.rows("SHOW HOT KEYS").is_empty(), "it is not about a key");
}

#[test]
fn a_statement_that_the_server_ran_again_is_kept_too() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let mut slow = Session::open(&assize, "root");
    let connection = slow.connection();
    let sleeper = std::thread::spawn(move || {
        // SLEEP() returns 0; the row is changed by another meanwhile.
        slow.run("UPDATE shop.stock SET n = n + 1 + SLEEP(2) WHERE id = 1");
    });
    let sleeps = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection} AND info LIKE '%SLEEP(2)%'"
    );
    wait_for("the statement to run", || root.rows(&sleeps)[0][0] == "1");
    root.run("UPDATE shop.stock SET n = 20 WHERE id = 1");
    sleeper.join().expect("the statement wins in the end");
    assert_eq!(root.rows("SELECT n FROM shop.stock WHERE id = 1"), [["21"]]);
    let kept = root.rows(
        "SELECT key_text, was_retried, loser_statements, winner_statements FROM information_schema.assize_conflicts",
    );
    let lost = "UPDATE shop.stock SET n = n + ? + SLEEP (?) WHERE id = ?";
    assert_eq!(kept, [["(1)", "YES", lost, "UPDATE shop.stock SET n = ? WHERE id = ?"]]);
}

#[test]
fn waits_that_came_to_nothing_and_what_is_open_can_be_seen() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let (mut a, mut b) = (Session::open(&assize, "app"), Session::open(&assize, "app"));
    a.run("BEGIN");
    a.run("SELECT * FROM shop.stock WHERE id = 1 FOR UPDATE");
    a.run("UPDATE shop.stock SET n = 11 WHERE id = 1");
    let connection = a.connection();
    let open = root.rows(&format!(
        "SELECT state, isolation, row_writes, snapshot_ts > 0, user_name LIKE 'app@%' \
         FROM information_schema.assize_transactions WHERE connection_id = {connection}"
    ));
    assert_eq!(open, [["idle", "REPEATABLE-READ", "1", "1", "1"]]);
    let (own, all) = (b.rows("SHOW TRANSACTIONS"), root.rows("SHOW TRANSACTIONS"));
    let is_of = |user: &str, row: &Vec<String>| row[2].starts_with(user);
    assert!(own.iter().all(|row| is_of("app@", row)) && all.iter().any(|row| is_of("root@", row)));

    b.run("SET innodb_lock_wait_timeout = 1");
    let (code, text) = b.fails("SELECT * FROM shop.stock WHERE id = 1 FOR UPDATE");
    assert_eq!(code, 1205);
    let kept = format!(
        "SELECT kind, table_name, key_text FROM information_schema.assize_conflicts WHERE id = '{}'",
        named(&text)
    );
    assert_eq!(root.rows(&kept), [["lock wait timeout", "stock", "(1)"]]);
    assert!(text.contains(": held by transaction "), "{text}");
    let holder = answer(&mut root, &text, "who held it");
    assert!(holder.contains(&format!("(connection {connection} of node ")), "{holder}");
    let locked = answer(&mut root, &text, "what that had run");
    assert!(locked.contains("SELECT * FROM shop.stock WHERE id = ? FOR UPDATE"), "{locked}");

    b.run("SET innodb_lock_wait_timeout = 50");
    b.run("BEGIN");
    b.run("SELECT * FROM shop.stock WHERE id = 42 FOR UPDATE");
    let waiting = std::thread::spawn(move || {
        let ended = a.try_rows("SELECT * FROM shop.stock WHERE id = 42 FOR UPDATE");
        (a, ended)
    });
    let waits = format!(
        "SELECT COUNT(*) FROM information_schema.assize_transactions \
         WHERE connection_id = {connection} AND state = 'running'"
    );
    wait_for("the other to wait", || root.rows(&waits)[0][0] == "1");
    // Whoever closes the circle is the victim, unless the other comes to wait after it.
    let ended = b.try_rows("SELECT * FROM shop.stock WHERE id = 1 FOR UPDATE");
    drop(b);
    let (_, other) = waiting.join().expect("the other does not panic");
    let victims: Vec<mysql::Error> = [ended, other].into_iter().filter_map(Result::err).collect();
    let [mysql::Error::MySqlError(victim)] = victims.as_slice() else { panic!("{victims:?}") };
    assert_eq!(victim.code, 1213);
    let found = root.rows(&format!("SHOW CONFLICT '{}'", named(&victim.message)));
    assert!(found[0][1].starts_with("deadlock, "), "{found:?}");
    let holder = answer(&mut root, &victim.message, "who held it");
    assert!(victim.message.contains(": held by transaction ") && holder.contains(" of app@"), "{holder}");
    let mut show = Command::new(Assize::binary());
    show.args(["conflicts", "show", &named(&victim.message), "--admin", &assize.admin()]);
    let shown = run_ok(&mut show, b"");
    assert!(shown.contains(" waited for ") && shown.contains("holder: transaction "), "{shown}");
}

#[test]
fn what_is_asked_of_the_cluster_is_answered_in_sql() {
    let assize = start();
    let mut root = Session::open(&assize, "root");
    let shards = root.rows("SHOW SHARDS");
    let slots = root.rows("SELECT SUM(slot_count) FROM information_schema.assize_shards");
    assert_eq!((shards.len(), slots[0][0].as_str()), (4, "65536"));
    let replicas = root.rows("SELECT COUNT(DISTINCT shard_id) FROM information_schema.assize_replicas");
    assert_eq!(replicas, [["4"]]);
    let leaders = root.rows("SHOW MEMBERS WHERE Part = 'leader'");
    assert_eq!(leaders.len(), 1);
    let digests = root.rows(
        "SELECT runs FROM information_schema.assize_digests WHERE digest_text = 'SHOW MEMBERS WHERE Part = ?'",
    );
    assert_eq!(digests, [["1"]]);
    assert!(root.rows("SHOW JOBS").is_empty());
    let health = root.rows("SHOW DIAGNOSIS WHERE What LIKE '1 node, 4 shards, %'");
    assert_eq!(health[0][..2], ["healthy", "cluster"]);
    assert!(
        root.rows("SELECT * FROM information_schema.assize_diagnosis WHERE severity <> 'note'").is_empty()
    );
    assert_eq!(root.fails("ALTER CLUSTER SPLIT SHARD 99 VALIDATE ONLY").0, 1210);
}
