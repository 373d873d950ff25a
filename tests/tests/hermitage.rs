//! The Hermitage cases by name, over real connections, against the table in `docs/isolation.md`.

use assize_tests::{Assize, root};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use std::collections::BTreeMap;

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// A session of a case; statements tell whether they succeeded, conflicts are expected, other errors are not.
struct Session {
    connection: Conn,
    failed: bool,
}

impl Session {
    fn new(port: u16, level: &str) -> Self {
        let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).user(Some("root"));
        let mut connection = Conn::new(opts.prefer_socket(false)).expect("a session connects");
        connection.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).unwrap();
        connection.query_drop("USE hermitage").unwrap();
        Session { connection, failed: false }
    }

    fn begin(&mut self) {
        self.failed = false;
        self.connection.query_drop("BEGIN").expect("BEGIN works");
    }

    /// Runs a statement; a transaction that has lost stays lost.
    fn run(&mut self, statement: &str) {
        if !self.failed
            && let Err(e) = self.connection.query_drop(statement)
        {
            assert!(is_conflict(&e), "{statement}: {e}");
            self.failed = true;
            // The server has rolled back; say so once more so that the connection is clean in any case.
            self.connection.query_drop("ROLLBACK").unwrap();
        }
    }

    /// Rows as `(id, value)`; empty once the transaction has lost.
    fn rows(&mut self, condition: &str) -> Vec<(i64, i64)> {
        if self.failed {
            return Vec::new();
        }
        match self.connection.query(format!("SELECT id, value FROM test {condition} ORDER BY id")) {
            Ok(rows) => rows,
            Err(e) => {
                assert!(is_conflict(&e), "SELECT {condition}: {e}");
                self.failed = true;
                Vec::new()
            }
        }
    }

    fn value(&mut self, id: i64) -> Option<i64> {
        self.rows(&format!("WHERE id = {id}")).first().map(|row| row.1)
    }

    /// Commits; true if the transaction committed.
    fn commit(&mut self) -> bool {
        self.run("COMMIT");
        !self.failed
    }

    fn rollback(&mut self) {
        self.run("ROLLBACK");
    }
}

fn is_conflict(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(e) if e.code == 1213 && e.state == "40001")
}

/// What was seen: `true` if the anomaly happened.
type Case = fn(&mut dyn FnMut() -> Session) -> bool;

fn g0(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = 11 WHERE id = 1");
    b.run("UPDATE test SET value = 12 WHERE id = 1");
    a.run("UPDATE test SET value = 21 WHERE id = 2");
    a.commit();
    b.run("UPDATE test SET value = 22 WHERE id = 2");
    b.commit();
    let rows = open().rows("");
    !(rows == [(1, 11), (2, 21)] || rows == [(1, 12), (2, 22)])
}

fn g1a(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = 101 WHERE id = 1");
    let seen = b.value(1);
    a.rollback();
    let after = b.value(1);
    b.commit();
    seen != Some(10) || after != Some(10)
}

fn g1b(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = 101 WHERE id = 1");
    let first = b.value(1);
    a.run("UPDATE test SET value = 11 WHERE id = 1");
    a.commit();
    let second = b.value(1);
    b.commit();
    first != Some(10) || !matches!(second, Some(10 | 11))
}

fn g1c(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = 11 WHERE id = 1");
    b.run("UPDATE test SET value = 22 WHERE id = 2");
    let (seen_by_a, seen_by_b) = (a.value(2), b.value(1));
    a.commit();
    b.commit();
    seen_by_a == Some(22) && seen_by_b == Some(11)
}

fn otv(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b, mut c) = (open(), open(), open());
    a.begin();
    b.begin();
    c.begin();
    a.run("UPDATE test SET value = 11 WHERE id = 1");
    a.run("UPDATE test SET value = 19 WHERE id = 2");
    b.run("UPDATE test SET value = 12 WHERE id = 1");
    a.commit();
    let first = c.value(1);
    b.run("UPDATE test SET value = 18 WHERE id = 2");
    let second = c.value(2);
    b.commit();
    let (third, fourth) = (c.value(2), c.value(1));
    c.commit();
    // Once c has seen a's write, no later read of it may show a state before a.
    let vanished = first == Some(11) && (second == Some(20) || third == Some(20));
    let torn = second == Some(19) && fourth == Some(10) || third == Some(18) && fourth != Some(12);
    vanished || torn
}

fn pmp(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    let before = a.rows("WHERE value = 30");
    b.run("INSERT INTO test (id, value) VALUES (3, 30)");
    b.commit();
    let after = a.rows("WHERE value % 3 = 0");
    a.commit();
    before.is_empty() && !after.is_empty()
}

fn pmp_write(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = value + 10");
    let before = b.rows("WHERE value = 20");
    b.run("DELETE FROM test WHERE value = 20");
    a.commit();
    let after = b.rows("WHERE value = 20");
    let committed = b.commit();
    // Either b was refused, or its delete took what it had selected.
    committed && before == [(2, 20)] && after == [(1, 20)]
}

fn p4(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    let (read_by_a, read_by_b) = (a.value(1).unwrap(), b.value(1).unwrap());
    a.run(&format!("UPDATE test SET value = {} WHERE id = 1", read_by_a + 1));
    a.commit();
    b.run(&format!("UPDATE test SET value = {} WHERE id = 1", read_by_b + 1));
    b.commit() && open().value(1) != Some(12)
}

fn g_single(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    let first = a.value(1);
    b.value(1);
    b.value(2);
    b.run("UPDATE test SET value = 12 WHERE id = 1");
    b.run("UPDATE test SET value = 18 WHERE id = 2");
    b.commit();
    let second = a.value(2);
    a.commit();
    first == Some(10) && second == Some(18)
}

fn g_single_write(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    let first = a.value(1);
    b.rows("");
    b.run("UPDATE test SET value = 12 WHERE id = 1");
    b.run("UPDATE test SET value = 18 WHERE id = 2");
    b.commit();
    a.run("DELETE FROM test WHERE value = 20");
    let second = a.value(2);
    // a read the state before b; its delete must not act on the state after b.
    a.commit() && first == Some(10) && second == Some(18)
}

fn g2_item(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.rows("WHERE id IN (1, 2)");
    b.rows("WHERE id IN (1, 2)");
    a.run("UPDATE test SET value = 11 WHERE id = 1");
    b.run("UPDATE test SET value = 21 WHERE id = 2");
    let (first, second) = (a.commit(), b.commit());
    first && second
}

fn g2(open: &mut dyn FnMut() -> Session) -> bool {
    let (mut a, mut b) = (open(), open());
    a.begin();
    b.begin();
    a.rows("WHERE value % 3 = 0");
    b.rows("WHERE value % 3 = 0");
    a.run("INSERT INTO test (id, value) VALUES (3, 30)");
    b.run("INSERT INTO test (id, value) VALUES (4, 42)");
    let (first, second) = (a.commit(), b.commit());
    first && second
}

const CASES: [(&str, Case); 12] = [
    ("G0", g0),
    ("G1a", g1a),
    ("G1b", g1b),
    ("G1c", g1c),
    ("OTV", otv),
    ("PMP", pmp),
    ("PMP-write", pmp_write),
    ("P4", p4),
    ("G-single", g_single),
    ("G-single-write", g_single_write),
    ("G2-item", g2_item),
    ("G2", g2),
];

/// The documented table: case → expectation per level.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/isolation.md")).unwrap();
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`').to_owned(), cells[2..].iter().map(|c| (*c).to_owned()).collect())
        })
        .collect()
}

#[test]
fn every_hermitage_case_ends_as_the_documentation_says() {
    let assize = Assize::start();
    assize.query("CREATE DATABASE hermitage");
    assize.query("CREATE TABLE hermitage.test (id INT PRIMARY KEY, value INT NOT NULL)");
    let documented = documented();
    assert_eq!(documented.len(), CASES.len(), "the table and the test list different cases");
    let mut differences = Vec::new();
    for (name, case) in CASES {
        for (column, level) in LEVELS.iter().enumerate() {
            assize.query("DELETE FROM hermitage.test");
            assize.query("INSERT INTO hermitage.test VALUES (1, 10), (2, 20)");
            let happened = case(&mut || Session::new(assize.port(), level));
            let seen = if happened { "allowed" } else { "prevented" };
            let expected = &documented[name][column];
            println!("{name:<15} {level:<16} {seen}");
            if seen != expected {
                differences.push(format!("{name} at {level}: {seen}, documented as {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn an_update_of_a_row_that_another_transaction_changed_loses_with_1213_and_names_the_row() {
    let assize = Assize::start();
    assize.query("CREATE DATABASE hermitage");
    assize.query("CREATE TABLE hermitage.test (id INT PRIMARY KEY, value INT NOT NULL)");
    assize.query("INSERT INTO hermitage.test VALUES (42, 1)");
    let mut a = Session::new(assize.port(), "REPEATABLE READ");
    let mut b = Session::new(assize.port(), "REPEATABLE READ");
    a.begin();
    b.begin();
    a.run("UPDATE test SET value = 2 WHERE id = 42");
    b.run("UPDATE test SET value = 3 WHERE id = 42");
    assert!(a.commit());
    let error = b.connection.query_drop("COMMIT").unwrap_err();
    assert!(is_conflict(&error), "{error}");
    let text = error.to_string();
    for part in
        ["conflict c-", "hermitage.test", "PRIMARY (42)", "lost to transaction", "retry the transaction"]
    {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert_eq!(b.value(42), Some(2), "the session goes on, with the winner's value");
}
