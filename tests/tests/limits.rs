//! Large statements, limits with figures, KILL, and clients that vanish.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::{Assize, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

fn connect(assize: &Assize) -> Conn {
    let opts =
        OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(assize.port()).user(Some("root"));
    Conn::new(opts.prefer_socket(false)).expect("the server takes connections")
}

fn server_error(error: &mysql::Error) -> (u16, String) {
    match error {
        mysql::Error::MySqlError(e) => (e.code, e.message.clone()),
        other => panic!("not an error of the server: {other}"),
    }
}

#[test]
fn insert_select_and_delete_of_a_million_rows_work() {
    let assize = Assize::start();
    let mut connection = connect(&assize);
    for statement in [
        "CREATE DATABASE big",
        "CREATE TABLE big.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT NOT NULL, KEY v (v))",
        "CREATE TABLE big.copy (id INT PRIMARY KEY, v INT NOT NULL)",
    ] {
        connection.query_drop(statement).unwrap();
    }
    let values: Vec<String> = (0..1000).map(|n| format!("({n})")).collect();
    connection.query_drop(format!("INSERT INTO big.t (v) VALUES {}", values.join(","))).unwrap();
    let mut rows: u64 = 1000;
    while rows < 500_000 {
        connection.query_drop("INSERT INTO big.t (v) SELECT v + 1 FROM big.t").unwrap();
        assert_eq!(connection.affected_rows(), rows);
        rows *= 2;
    }
    connection
        .query_drop("INSERT INTO big.copy SELECT id, v FROM big.t UNION ALL SELECT -id, v FROM big.t")
        .unwrap();
    assert_eq!(connection.affected_rows(), 2 * rows);
    assert!(2 * rows > 1_000_000);
    let sum: Option<(u64, i64)> =
        connection.query_first("SELECT COUNT(*), CAST(SUM(id) AS SIGNED) FROM big.copy").unwrap();
    assert_eq!(sum, Some((2 * rows, 0)));
    connection.query_drop("DELETE FROM big.copy").unwrap();
    assert_eq!(connection.affected_rows(), 2 * rows);
    assert_eq!(connection.query_first::<u64, _>("SELECT COUNT(*) FROM big.copy").unwrap(), Some(0));
    let report: Vec<(String, String, String, String)> = connection.query("CHECK TABLE big.t").unwrap();
    assert_eq!(report.last().unwrap().3, "OK", "{report:?}");
}

#[test]
fn a_transaction_over_the_limit_is_told_the_figures_and_keeps_its_earlier_statements() {
    let assize = Assize::start_with(None, &["--set", "frontend.transaction_bytes_max=200000"]);
    let mut connection = connect(&assize);
    connection.query_drop("CREATE DATABASE l").unwrap();
    connection.query_drop("CREATE TABLE l.t (id INT PRIMARY KEY, filler VARCHAR(1000) NOT NULL)").unwrap();
    connection.query_drop("BEGIN").unwrap();
    connection.query_drop("INSERT INTO l.t VALUES (1, 'small')").unwrap();
    let rows: Vec<String> = (10..500).map(|id| format!("({id}, REPEAT('x', 1000))")).collect();
    let error = connection.query_drop(format!("INSERT INTO l.t VALUES {}", rows.join(","))).unwrap_err();
    let (code, message) = server_error(&error);
    assert_eq!(code, 1197, "{message}");
    assert!(message.contains("200000"), "{message}");
    connection.query_drop("COMMIT").unwrap();
    let left: Vec<u32> = connection.query("SELECT id FROM l.t").unwrap();
    assert_eq!(left, [1], "the failed statement is undone, the one before it is not");
}

#[test]
fn too_many_connections_are_refused_with_1040() {
    let assize = Assize::start_with(None, &["--set", "mysql.max_connections=4"]);
    let mut open = Vec::new();
    let refused = loop {
        let opts =
            OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(assize.port()).user(Some("root"));
        match Conn::new(opts.prefer_socket(false)) {
            Ok(connection) => open.push(connection),
            Err(e) => break e,
        }
        assert!(open.len() < 10, "nobody was refused");
    };
    assert_eq!(server_error(&refused).0, 1040);
    assert!(open.len() >= 4);
    drop(open);
    wait_for("room for a connection", || {
        let opts =
            OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(assize.port()).user(Some("root"));
        Conn::new(opts.prefer_socket(false)).is_ok()
    });
}

#[test]
fn kill_query_stops_a_statement_and_kill_ends_a_connection() {
    let assize = Assize::start();
    let mut victim = connect(&assize);
    let id = victim.connection_id();
    let mut killer = connect(&assize);

    let sleeper = std::thread::spawn(move || {
        let result = victim.query_first::<i32, _>("SELECT SLEEP(60)");
        (victim, result)
    });
    wait_for("the sleeper to run", || {
        let running: Vec<(u32, Option<String>)> =
            killer.query("SELECT id, info FROM information_schema.processlist").unwrap();
        running.iter().any(|(n, info)| *n == id && info.as_deref().is_some_and(|i| i.contains("SLEEP")))
    });
    killer.query_drop(format!("KILL QUERY {id}")).unwrap();
    let (mut victim, result) = sleeper.join().unwrap();
    // A statement that only sleeps answers 1 when it is interrupted; any other gets an error.
    assert_eq!(result.unwrap(), Some(1));
    assert_eq!(victim.query_first::<i32, _>("SELECT 7").unwrap(), Some(7), "the connection lives on");

    killer.query_drop(format!("KILL {id}")).unwrap();
    wait_for("the connection to end", || victim.query_drop("SELECT 1").is_err());
    let error = killer.query_drop("KILL 4000000000").unwrap_err();
    assert_eq!(server_error(&error).0, 1094);
}

#[test]
fn only_a_statement_that_does_nothing_but_sleep_answers_when_it_is_interrupted() {
    let assize = Assize::start();
    let mut connection = connect(&assize);
    let mut hinted =
        |what: &str| connection.query_first::<i32, _>(format!("SELECT /*+ MAX_EXECUTION_TIME(50) */ {what}"));
    assert_eq!(hinted("SLEEP(60)").unwrap(), Some(1));
    assert_eq!(hinted("sleep(59.5) AS s").unwrap(), Some(1));
    assert_eq!(hinted("SLEEP(0)").unwrap(), Some(0));
    for what in [
        "SLEEP(60), 1",
        "1 + SLEEP(60)",
        "1 FROM (SELECT 1) x WHERE SLEEP(60)",
        "SLEEP(60) FROM (SELECT 1) x",
    ] {
        assert_eq!(server_error(&hinted(what).unwrap_err()).0, 3024, "{what}");
    }
    connection.query_drop("SET max_execution_time = 50").unwrap();
    assert_eq!(connection.exec_first::<i32, _, _>("SELECT SLEEP(?)", (60,)).unwrap(), Some(1));
}

#[test]
fn clients_that_are_killed_at_any_point_leave_nothing_half_done() {
    const ACCOUNTS: u32 = 20;
    let assize = Assize::start();
    let mut connection = connect(&assize);
    connection.query_drop("CREATE DATABASE k").unwrap();
    connection.query_drop("CREATE TABLE k.account (id INT PRIMARY KEY, balance INT NOT NULL)").unwrap();
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, 100)")).collect();
    connection.query_drop(format!("INSERT INTO k.account VALUES {}", rows.join(","))).unwrap();

    for round in 0..30u32 {
        let mut child = assize
            .mariadb()
            .arg("--force")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            for n in 0..20_000u32 {
                let (from, to) = ((n + round) % ACCOUNTS, (n * 7 + round + 1) % ACCOUNTS);
                let text = format!(
                    "BEGIN;\nUPDATE k.account SET balance = balance - 1 WHERE id = {from};\n\
                     UPDATE k.account SET balance = balance + 1 WHERE id = {to};\nCOMMIT;\n"
                );
                if stdin.write_all(text.as_bytes()).is_err() {
                    return; // The client is gone, as planned.
                }
            }
        });
        std::thread::sleep(Duration::from_millis(30 + u64::from(round) * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        writer.join().unwrap();
        let total: Option<i64> =
            connection.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM k.account").unwrap();
        assert_eq!(total, Some(i64::from(ACCOUNTS) * 100), "round {round}");
    }
    wait_for("the killed clients' sessions to end", || {
        connection.query_first::<u32, _>("SELECT COUNT(*) FROM information_schema.processlist").unwrap()
            == Some(1)
    });
}

#[test]
fn dropped_tables_and_databases_come_back_with_their_rows_and_indexes() {
    let assize = Assize::start();
    let mut connection = connect(&assize);
    for statement in [
        "CREATE DATABASE bin",
        "CREATE TABLE bin.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20) UNIQUE)",
        "INSERT INTO bin.t (v) VALUES ('a'), ('b'), ('c')",
        "DROP TABLE bin.t",
    ] {
        connection.query_drop(statement).unwrap();
    }
    assert_eq!(server_error(&connection.query_drop("SELECT * FROM bin.t").unwrap_err()).0, 1146);
    let dropped = assize.query("SHOW DROPPED");
    assert!(dropped.contains("bin") && dropped.contains('t'), "{dropped}");
    connection.query_drop("UNDROP TABLE bin.t").unwrap();
    let rows: Vec<(u32, String)> = connection.query("SELECT id, v FROM bin.t ORDER BY id").unwrap();
    assert_eq!(rows, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
    let error = connection.query_drop("INSERT INTO bin.t (v) VALUES ('b')").unwrap_err();
    assert_eq!(server_error(&error).0, 1062, "the unique index came back");

    connection.query_drop("DROP DATABASE bin").unwrap();
    connection.query_drop("UNDROP DATABASE bin").unwrap();
    connection.query_drop("INSERT INTO bin.t (v) VALUES ('d')").unwrap();
    assert_eq!(connection.query_first::<u32, _>("SELECT COUNT(*) FROM bin.t").unwrap(), Some(4));

    connection.query_drop("TRUNCATE TABLE bin.t").unwrap();
    assert_eq!(connection.query_first::<u32, _>("SELECT COUNT(*) FROM bin.t").unwrap(), Some(0));
}
