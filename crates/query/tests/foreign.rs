//! Foreign tables: what is sent, and that nothing is asked of shards.

use assize_ports::Executed;
use assize_query::foreign::{literal, quote_text};
use assize_query::testing::{FakeForeign, Reads, Session};
use assize_values::{BlobSize, Collation, Date, DateTime, Decimal, SqlType, Time, Value};

/// A session and a server with the same tables, those of the session being the server's.
fn pair(definitions: &[&str]) -> (Session, FakeForeign) {
    let (mut here, there) = (Session::new(), FakeForeign::default());
    here.knows("Legacy", &there);
    for definition in definitions {
        here.run(definition).expect("a table here");
        there.run(definition).expect("a table there");
        let name = definition.split_whitespace().nth(2).expect("a name");
        here.is_foreign(name, "LEGACY");
    }
    (here, there)
}

/// A table of most types, with two rows, and what it takes to look at it.
const MIXED: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT, d DECIMAL(10,2), r DOUBLE, f FLOAT, \
     s VARCHAR(20) COLLATE utf8mb4_bin, day DATE, at TIMESTAMP(3) NULL, y YEAR, b BIT(8), \
     e ENUM('x','y'), raw VARBINARY(10), KEY (n))";

fn mixed() -> (Session, FakeForeign) {
    let (here, there) = pair(&[MIXED]);
    there
        .run(
            "INSERT INTO t VALUES \
             (1, 10, 1.50, 0.1, 0.1, 'a''b\\\\', '2020-01-31', '2020-01-31 10:00:00.123', 2020, 5, 'x', x'00ff'), \
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .expect("rows");
    (here, there)
}

/// The WHERE clause that a query sends, and how many rows come of it.
fn sent_where(here: &mut Session, there: &FakeForeign, condition: &str) -> (String, usize) {
    there.sent();
    let rows = here.run(&format!("SELECT id FROM t WHERE {condition}")).expect("an answer").rows.len();
    assert_eq!(here.reads(), Reads::default(), "shards were asked: {condition}");
    let sent = there.sent();
    let select = sent.iter().rfind(|sql| !sql.contains("COLLATION(")).cloned().unwrap_or_default();
    let clause = select.split_once(" WHERE ").map_or("", |(_, rest)| rest);
    let clause = clause.split(" ORDER BY ").next().unwrap_or_default();
    (clause.to_owned(), rows)
}

#[test]
fn conditions_are_sent_as_far_as_the_server_judges_them_alike() {
    let (mut here, there) = mixed();
    let cases = [
        ("id = 1", "`id` = 1", 1),
        ("id = 1.0", "`id` = 1", 1),
        ("id IN (1, 2, 3)", "`id` IN (1, 2, 3)", 2),
        ("n IS NULL", "`n` IS NULL", 1),
        ("n <=> NULL", "`n` IS NULL", 1),
        ("n <=> 10", "`n` = 10", 1),
        ("n > 9.5", "`n` > 9", 1),
        ("n >= 9.5 AND n < 10.5", "`n` > 9 AND `n` <= 10", 1),
        ("n BETWEEN 10 AND 11", "`n` >= 10 AND `n` <= 11", 1),
        ("n > 99999999999", "`n` > 2147483647", 0),
        ("n < 99999999999", "`n` <= 2147483647", 1),
        ("d = 1.5", "`d` = 1.50", 1),
        ("d > 1.499", "`d` > 1.49", 1),
        ("r = 0.1", "`r` = 1e-1", 1),
        // FLOAT is not what it prints.
        ("f > 0", "", 1),
        ("s = 'a''b\\\\'", "`s` = 'a''b\\\\'", 1),
        ("s > 'a'", "`s` > 'a'", 1),
        ("s LIKE 'a%'", "", 1),
        ("day = '2020-01-31'", "`day` = '2020-01-31'", 1),
        ("day < '2020-02-01 12:00'", "`day` <= '2020-02-01'", 1),
        // No server in strict mode compares with a date that there is not.
        ("day > '0000-00-00'", "", 1),
        ("at = '2020-01-31 10:00:00.123'", "`at` = '2020-01-31 10:00:00.123'", 1),
        ("at < '2020-01-31 10:00:00.1234'", "`at` <= '2020-01-31 10:00:00.123'", 1),
        ("at = '2020-01-31 10:00:00.1234'", "", 0),
        ("y = 2020", "`y` = 2020", 1),
        ("b = 5", "`b` = 5", 1),
        ("e = 'X'", "`e` = 'x'", 1),
        ("raw = x'00ff'", "`raw` = x'00ff'", 1),
        ("n = 10 OR id = 2", "", 2),
        ("id = 1 OR id = 2", "`id` IN (1, 2)", 2),
        ("(id, n) IN ((1, 10), (2, 20))", "`id` IN (1, 2) AND `n` IN (10, 20)", 1),
        ("n + 1 = 11", "", 1),
        ("id = 1 AND n + 1 = 11", "`id` = 1", 1),
        ("n NOT IN (1, 2)", "", 1),
        ("n <> 1", "", 1),
        ("id = (SELECT 1)", "`id` = 1", 1),
        ("id = '1'", "`id` = 1", 1),
        ("id = '1x'", "", 1),
    ];
    for (condition, clause, rows) in cases {
        assert_eq!(sent_where(&mut here, &there, condition), (clause.to_owned(), rows), "{condition}");
    }
}

#[test]
fn what_nothing_can_satisfy_is_not_sent() {
    let (mut here, there) = mixed();
    for condition in ["id = NULL", "id > NULL", "id = 1.5", "id IN (NULL)", "id = 99999999999"] {
        assert_eq!(here.run(&format!("SELECT id FROM t WHERE {condition}")).unwrap().rows.len(), 0);
        assert_eq!(there.sent(), Vec::<String>::new(), "{condition}");
    }
}

#[test]
fn conditions_on_text_wait_for_the_collation() {
    let here_ci = "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(20) COLLATE utf8mb4_general_ci, \
                   z VARCHAR(20) COLLATE utf8mb4_0900_bin)";
    let (mut here, there) = (Session::new(), FakeForeign::default());
    here.knows("legacy", &there);
    here.run(here_ci).unwrap();
    here.is_foreign("t", "legacy");
    // There it is another collation: an equality would lose rows.
    there
        .run("CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(20) COLLATE utf8mb4_bin, z VARCHAR(20))")
        .unwrap();
    there.run("INSERT INTO t VALUES (1, 'A', 'q'), (2, 'a', 'Q')").unwrap();
    assert_eq!(here.run("SELECT id FROM t WHERE s = 'a' ORDER BY id").unwrap().texts(), [["1"], ["2"]]);
    let sent = there.sent();
    assert_eq!(sent[0], "SELECT COLLATION(MAX(`s`)) FROM `test`.`t` WHERE 1 = 0");
    assert_eq!(sent[1], "SELECT `id`, `s` FROM `test`.`t` ORDER BY `id` LIMIT 1000");
    // Equal bytes are equal everywhere; their order is not.
    assert_eq!(sent_where(&mut here, &there, "z = 'q'"), ("`z` = 'q'".into(), 1));
    assert_eq!(sent_where(&mut here, &there, "z > 'a'"), (String::new(), 1));
    // A statement asks once.
    let twice = "SELECT 1 FROM t WHERE s = 'a' AND s > 'A' UNION ALL SELECT 2 FROM t WHERE s = 'b'";
    here.run(twice).unwrap();
    assert_eq!(there.sent().iter().filter(|sql| sql.contains("COLLATION(")).count(), 1);
    // The same collation: the server judges.
    there.run("DROP TABLE t").unwrap();
    there.run(here_ci).unwrap();
    assert_eq!(sent_where(&mut here, &there, "s IN ('a', 'b')"), ("`s` IN ('a', 'b')".into(), 0));
    assert_eq!(sent_where(&mut here, &there, "s > 'b'"), ("`s` > 'b'".into(), 0));
}

#[test]
fn what_a_character_set_does_not_have_is_not_sent() {
    let (mut here, there) =
        pair(&["CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(9) CHARACTER SET utf8mb3, KEY (s))"]);
    there.run("INSERT INTO t VALUES (1, 'é')").unwrap();
    assert_eq!(sent_where(&mut here, &there, "s = _utf8mb3'é'"), ("`s` = 'é'".into(), 1));
    // Servers answer 1267.
    assert_eq!(sent_where(&mut here, &there, "s = '😀'"), (String::new(), 0));
    assert_eq!(sent_where(&mut here, &there, "s < '😀'").0, "");
}

#[test]
fn pages_follow_the_key() {
    let (mut here, there) = pair(&["CREATE TABLE t (a INT, b BIGINT, v INT, PRIMARY KEY (a, b))"]);
    let rows: Vec<String> = (0..1500).map(|i| format!("({}, {}, {i})", i / 7, i % 7)).collect();
    there.run(&format!("INSERT INTO t VALUES {}", rows.join(", "))).unwrap();
    let sum = here.run("SELECT COUNT(*), SUM(v) FROM t WHERE v >= 0").unwrap();
    assert_eq!(sum.texts(), [["1500", "1124250"]]);
    let select = "SELECT `v`, `a`, `b` FROM `test`.`t` WHERE `v` >= 0";
    assert_eq!(
        there.sent(),
        [
            format!("{select} ORDER BY `a`, `b` LIMIT 1000"),
            format!("{select} AND (`a` > 142 OR (`a` = 142 AND `b` > 5)) ORDER BY `a`, `b` LIMIT 4000"),
        ]
    );
    // Few rows are wanted: the first page is small.
    assert_eq!(here.run("SELECT v FROM t LIMIT 2").unwrap().rows.len(), 2);
    assert_eq!(there.sent(), ["SELECT `v`, `a`, `b` FROM `test`.`t` ORDER BY `a`, `b` LIMIT 2"]);
    assert_eq!(here.run("SELECT COUNT(*) FROM t").unwrap().texts(), [["1500"]]);
    assert_eq!(there.sent(), ["SELECT 1 FROM `test`.`t`"]);
}

#[test]
fn no_order_and_no_extreme_is_left_to_an_index() {
    let (mut here, there) = mixed();
    assert_eq!(here.run("SELECT MAX(id), MIN(n) FROM t").unwrap().texts(), [["2", "10"]]);
    assert_eq!(here.run("SELECT MAX(id) FROM t").unwrap().texts(), [["2"]]);
    assert_eq!(here.run("SELECT id FROM t ORDER BY id DESC LIMIT 1").unwrap().texts(), [["2"]]);
    assert!(there.sent().iter().all(|sql| !sql.contains("DESC") && !sql.contains("MAX(")));
    assert_eq!(here.reads(), Reads::default());
}

#[test]
fn joins_look_rows_up_many_at_a_time() {
    let (mut here, there) = pair(&[
        "CREATE TABLE f (id INT PRIMARY KEY, k INT, v VARCHAR(10), KEY (k))",
        "CREATE TABLE g (id INT PRIMARY KEY, v INT)",
    ]);
    here.run("CREATE TABLE s (id INT PRIMARY KEY, f INT, name VARCHAR(10))").unwrap();
    here.run("INSERT INTO s VALUES (1, 10, 'one'), (2, 10, 'two'), (3, 30, 'three'), (4, NULL, 'four')")
        .unwrap();
    there.run("INSERT INTO f VALUES (10, 1, 'a'), (20, 1, 'b'), (30, 2, 'c')").unwrap();
    there.run("INSERT INTO g VALUES (1, 100), (2, 200)").unwrap();
    let joined = here.run("SELECT s.name, f.v FROM s JOIN f ON f.id = s.f ORDER BY s.id").unwrap();
    assert_eq!(joined.texts(), [["one", "a"], ["two", "a"], ["three", "c"]]);
    let lookup = "SELECT `id`, `v` FROM `test`.`f` WHERE `id` IN (10, 30) ORDER BY `id` LIMIT 1000";
    assert_eq!(there.sent(), [lookup]);
    let outer =
        here.run("SELECT s.name, f.v FROM s LEFT JOIN f ON f.id = s.f AND f.v <> 'c' ORDER BY s.id").unwrap();
    assert_eq!(outer.texts(), [["one", "a"], ["two", "a"], ["three", "NULL"], ["four", "NULL"]]);
    assert_eq!(there.sent(), [lookup]);
    // A key that is no key there is a filter here.
    let three = here
        .run("SELECT s.name, g.v FROM s JOIN f ON f.id = s.f JOIN g ON g.id = f.k WHERE s.id < 4 ORDER BY s.id")
        .unwrap();
    assert_eq!(three.texts(), [["one", "100"], ["two", "100"], ["three", "200"]]);
    assert_eq!(there.sent().len(), 2);
    let inner = here.run("SELECT s.name FROM f JOIN s ON s.id = f.k WHERE f.id = 20").unwrap();
    assert_eq!(inner.texts(), [["one"]]);
    let semi =
        here.run("SELECT name FROM s WHERE EXISTS (SELECT 1 FROM f WHERE f.id = s.f AND f.k = 2)").unwrap();
    assert_eq!(semi.texts(), [["three"]]);
    assert!(there.sent().iter().any(|sql| sql.contains("`id` = 30")), "outer values are literals");
    let within =
        here.run("SELECT name FROM s WHERE f IN (SELECT id FROM f WHERE k = 1) ORDER BY name").unwrap();
    assert_eq!(within.texts(), [["one"], ["two"]]);
    let cte = here
        .run("WITH c AS (SELECT k, COUNT(*) AS n FROM f GROUP BY k) SELECT k, n FROM c ORDER BY k")
        .unwrap();
    assert_eq!(cte.texts(), [["1", "2"], ["2", "1"]]);
}

#[test]
fn a_join_of_many_rows_asks_for_some_at_a_time() {
    let (mut here, there) = pair(&["CREATE TABLE f (id INT PRIMARY KEY, v INT)"]);
    here.run("CREATE TABLE s (id INT PRIMARY KEY, f VARCHAR(10))").unwrap();
    let rows = |make: &dyn Fn(usize) -> String| (0..1200).map(make).collect::<Vec<_>>().join(", ");
    here.run(&format!("INSERT INTO s VALUES {}", rows(&|i| format!("({i}, '{i}')")))).unwrap();
    there.run(&format!("INSERT INTO f VALUES {}", rows(&|i| format!("({i}, {i})")))).unwrap();
    let query = "SELECT COUNT(*), SUM(f.v) FROM s JOIN f ON f.id = s.f + 0";
    assert_eq!(here.run(query).unwrap().texts(), [["1200", "719400"]]);
    assert_eq!(there.sent().len(), 3, "1200 rows in batches of 1024, asked for 512 at a time");
    // A value that the column cannot be asked for: the whole table once.
    here.run("UPDATE s SET f = '7x' WHERE id = 600").unwrap();
    assert_eq!(here.run("SELECT COUNT(*) FROM s JOIN f ON f.id = s.f").unwrap().texts(), [["1200"]]);
    let sent = there.sent();
    assert!(sent.iter().filter(|sql| !sql.contains(" IN (")).count() >= 1, "{sent:?}");
}

#[test]
fn locking_reads_lock_there() {
    let (mut here, there) = mixed();
    let cases = [
        ("FOR UPDATE", "FOR UPDATE"),
        ("FOR UPDATE NOWAIT", "FOR UPDATE NOWAIT"),
        ("FOR UPDATE SKIP LOCKED", "FOR UPDATE SKIP LOCKED"),
        ("FOR SHARE", "LOCK IN SHARE MODE"),
        ("LOCK IN SHARE MODE", "LOCK IN SHARE MODE"),
        ("FOR SHARE NOWAIT", "FOR UPDATE NOWAIT"),
    ];
    for (clause, lock) in cases {
        assert_eq!(here.run(&format!("SELECT id FROM t WHERE id = 1 {clause}")).unwrap().rows.len(), 1);
        let text = format!("SELECT `id` FROM `test`.`t` WHERE `id` = 1 ORDER BY `id` LIMIT 1000 {lock}");
        assert_eq!(there.sent(), [text]);
    }
    here.run("SELECT id FROM t LIMIT 1 FOR UPDATE SKIP LOCKED").unwrap();
    assert_eq!(there.sent(), ["SELECT `id` FROM `test`.`t` ORDER BY `id` LIMIT 1 FOR UPDATE SKIP LOCKED"]);
}

#[test]
fn explain_shows_what_is_sent() {
    let (mut here, there) = pair(&["CREATE TABLE f (id INT PRIMARY KEY, k INT)"]);
    here.run("CREATE TABLE s (id INT PRIMARY KEY, f INT)").unwrap();
    let explain = |here: &mut Session, sql: &str| -> Vec<String> {
        here.run(&format!("EXPLAIN {sql}")).unwrap().texts().into_iter().flatten().collect()
    };
    let lines = explain(&mut here, "SELECT k FROM f WHERE id = 3 AND k > 2.5 + 1 FOR UPDATE");
    let sent = "Foreign server LEGACY: SELECT `id`, `k` FROM `f` WHERE `id` = 3 AND `k` > ? FOR UPDATE";
    assert!(lines.iter().any(|line| line.contains(sent)), "{lines:?}");
    let lines = explain(&mut here, "SELECT f.k FROM s JOIN f ON f.id = s.f");
    assert!(lines.iter().any(|line| line.contains("`id` IN (?) for some rows at a time")), "{lines:?}");
    let tree = explain(&mut here, "FORMAT=TREE SELECT f.k FROM s JOIN f ON f.id = s.f");
    assert!(tree[0].contains("Foreign scan on f: SELECT `id`, `k` FROM `f`"), "{tree:?}");
    assert_eq!(there.sent(), Vec::<String>::new());
}

#[test]
fn rows_are_inserted_together() {
    let (mut here, there) =
        pair(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT DEFAULT 7, b VARCHAR(9) NOT NULL)"]);
    here.run("INSERT INTO t (b) VALUES ('x'), ('y''\\0')").unwrap();
    assert_eq!(
        there.sent(),
        ["INSERT INTO `test`.`t` (`id`, `a`, `b`) VALUES (NULL, 7, 'x'), (NULL, 7, 'y''\\0')"]
    );
    assert_eq!(here.run("SELECT LAST_INSERT_ID()").unwrap().texts(), [["1"]]);
    here.run("INSERT IGNORE INTO t VALUES (1, 1, 'again'), (9, 1, 'new')").unwrap();
    here.run("REPLACE INTO t VALUES (9, 2, 'newer')").unwrap();
    let sent = there.sent();
    assert!(sent[0].starts_with("INSERT IGNORE INTO") && sent[1].starts_with("REPLACE INTO"), "{sent:?}");
    assert_eq!(here.run("INSERT INTO t (b) VALUES (NULL)").unwrap_err().code.errno(), 1048);
    assert_eq!(here.run("INSERT INTO t (b) VALUES ('too long for it')").unwrap_err().code.errno(), 1406);
    assert_eq!(there.sent(), Vec::<String>::new(), "what is wrong here is not sent");
    let rows: Vec<String> = (100..2600).map(|i| format!("({i}, 0, 'r')")).collect();
    here.run(&format!("INSERT INTO t VALUES {}", rows.join(", "))).unwrap();
    assert_eq!(there.sent().len(), 3, "a thousand rows at a time");
    // A table is filled from itself once, though pages of it could show what was inserted.
    let before = there.run("SELECT COUNT(*) FROM t").unwrap().texts();
    here.run("INSERT INTO t (a, b) SELECT a, b FROM t").unwrap();
    assert_eq!(before, [["2503"]]);
    assert_eq!(there.run("SELECT COUNT(*) FROM t").unwrap().texts(), [["5006"]]);
    assert_eq!(here.stored(), 0, "no key is on a shard");
}

#[test]
fn a_failed_statement_is_undone_there() {
    let (mut here, there) = pair(&["CREATE TABLE t (id INT PRIMARY KEY, a INT)"]);
    let rows: Vec<String> = (0..1500).map(|i| format!("({i}, 0)")).collect();
    let error = here.run(&format!("INSERT INTO t VALUES {}, (1, 1)", rows.join(", "))).unwrap_err();
    assert_eq!(error.code.errno(), 1062);
    assert_eq!(there.run("SELECT COUNT(*) FROM t").unwrap().texts(), [["0"]]);
    here.run("INSERT INTO t VALUES (1, 1)").unwrap();
    assert_eq!(there.run("SELECT id FROM t").unwrap().texts(), [["1"]]);
}

#[test]
fn rows_are_changed_by_their_key() {
    let (mut here, there) = pair(&["CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)"]);
    there.run("INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3), (4, 5, 9)").unwrap();
    here.run("UPDATE t SET a = 5 WHERE id < 5 AND b + 0 < 5").unwrap();
    assert_eq!(
        there.sent(),
        [
            "SELECT `id`, `a`, `b` FROM `test`.`t` WHERE `id` < 5 ORDER BY `id` LIMIT 1000 FOR UPDATE",
            "UPDATE `test`.`t` SET `a` = 5 WHERE `id` IN (1, 2, 3)",
        ]
    );
    here.run("UPDATE t SET a = b, id = id + 10 WHERE id IN (1, 2)").unwrap();
    let sent = there.sent();
    assert_eq!(sent[1], "UPDATE `test`.`t` SET `id` = 11, `a` = 1 WHERE `id` = 1");
    assert_eq!(sent[2], "UPDATE `test`.`t` SET `id` = 12, `a` = 2 WHERE `id` = 2");
    here.run("DELETE FROM t WHERE a IN (1, 2) ORDER BY id DESC LIMIT 5").unwrap();
    let sent = there.sent();
    assert!(!sent[0].ends_with("FOR UPDATE") && sent[1].ends_with("FOR UPDATE"), "{sent:?}");
    assert_eq!(sent[2], "DELETE FROM `test`.`t` WHERE `id` IN (12, 11)");
    assert_eq!(there.run("SELECT * FROM t ORDER BY id").unwrap().texts(), [["3", "5", "3"], ["4", "5", "9"]]);
}

#[test]
fn stored_and_foreign_tables_change_together() {
    let (mut here, there) =
        pair(&["CREATE TABLE f (a INT NOT NULL, b INT NOT NULL, v INT, UNIQUE KEY (a, b))"]);
    here.run("CREATE TABLE s (id INT PRIMARY KEY, v INT)").unwrap();
    here.run("INSERT INTO s VALUES (1, 10), (2, 20), (3, 30)").unwrap();
    here.run("INSERT INTO f SELECT id, id, v FROM s").unwrap();
    here.run("UPDATE s JOIN f ON f.a = s.id SET s.v = s.v + f.v, f.v = 0 WHERE s.id <= 2").unwrap();
    assert!(
        there.sent().contains(&"UPDATE `test`.`f` SET `v` = 0 WHERE (`a`, `b`) IN ((1, 1), (2, 2))".into())
    );
    assert_eq!(here.run("SELECT v FROM s ORDER BY id").unwrap().texts(), [["20"], ["40"], ["30"]]);
    here.run("DELETE s, f FROM s JOIN f ON f.a = s.id WHERE f.v = 30").unwrap();
    assert_eq!(here.run("SELECT COUNT(*) FROM s").unwrap().texts(), [["2"]]);
    assert_eq!(there.run("SELECT COUNT(*) FROM f").unwrap().texts(), [["2"]]);
    here.run("INSERT INTO s SELECT a + 10, v FROM f").unwrap();
    assert_eq!(here.run("SELECT COUNT(*) FROM s").unwrap().texts(), [["4"]]);
}

#[test]
fn a_row_in_the_way_is_updated_instead() {
    let (mut here, there) =
        pair(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, k INT, n INT, UNIQUE KEY (k))"]);
    let upsert =
        "INSERT INTO t (k, n) VALUES (1, 1), (2, 1), (1, 5) ON DUPLICATE KEY UPDATE n = t.n + VALUES(n)";
    here.run(upsert).unwrap();
    assert_eq!(there.run("SELECT k, n FROM t ORDER BY k").unwrap().texts(), [["1", "6"], ["2", "1"]]);
    let sent = there.sent();
    let last: Vec<&str> = sent.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(
        last,
        [
            "INSERT INTO `test`.`t` (`id`, `k`, `n`) VALUES (NULL, 1, 5)",
            "SELECT `id`, `k`, `n` FROM `test`.`t` WHERE `k` = 1 FOR UPDATE",
            "UPDATE `test`.`t` SET `n` = 6 WHERE `id` = 1",
        ]
    );
}

#[test]
fn rows_that_cannot_be_told_apart_are_not_changed() {
    let (mut here, _) = pair(&["CREATE TABLE t (a INT, UNIQUE KEY (a))"]);
    here.run("INSERT INTO t VALUES (1), (NULL), (NULL)").unwrap();
    assert_eq!(here.run("SELECT COUNT(*) FROM t").unwrap().texts(), [["3"]]);
    for sql in ["UPDATE t SET a = 2 WHERE a = 1", "DELETE FROM t"] {
        assert_eq!(here.run(sql).unwrap_err().code.errno(), 1235, "{sql}");
    }
}

#[test]
fn a_server_that_is_gone_is_error_1477() {
    let mut here = Session::new();
    here.run("CREATE TABLE t (id INT PRIMARY KEY)").unwrap();
    here.is_foreign("t", "Gone");
    for sql in ["SELECT * FROM t", "INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"] {
        let error = here.run(sql).unwrap_err();
        assert_eq!(error.code.errno(), 1477, "{sql}");
        assert_eq!(
            error.message,
            "The foreign server name you are trying to reference does not exist. Data source error:  Gone"
        );
    }
}

#[test]
fn literals_read_back_as_what_they_were() {
    let text = SqlType::VarChar { length: 100, collation: Collation::UTF8MB4_BIN };
    let at = DateTime { date: Date::new(2020, 2, 29), micros: 43_200_000_001 };
    let cases = [
        (Value::Null, SqlType::BIGINT, "NULL"),
        (Value::Int(i64::MIN), SqlType::BIGINT, "-9223372036854775808"),
        (Value::UInt(u64::MAX), SqlType::BIGINT_UNSIGNED, "18446744073709551615"),
        (Value::Float(0.1), SqlType::Float { unsigned: false, digits: None }, "1.0000000149011612e-1"),
        (Value::Double(0.1), SqlType::Double { unsigned: false, digits: None }, "1e-1"),
        (Value::Double(-1.0e300), SqlType::Double { unsigned: false, digits: None }, "-1e300"),
        (Value::Double(5e-324), SqlType::Double { unsigned: false, digits: None }, "5e-324"),
        (
            Value::Decimal(Decimal::parse("-0.0100").expect("a number")),
            SqlType::Decimal { precision: 20, scale: 4, unsigned: false },
            "-0.0100",
        ),
        (Value::Bytes(vec![0, 39, 92, 255].into()), SqlType::VarBinary { length: 9 }, "x'00275cff'"),
        (Value::Bytes(Default::default()), SqlType::Blob { size: BlobSize::Normal }, "x''"),
        (Value::text("é😀"), text.clone(), "'é😀'"),
        (Value::text("'; DROP TABLE t; -- "), text.clone(), "'''; DROP TABLE t; -- '"),
        (Value::text("\\"), text.clone(), "'\\\\'"),
        (Value::text("\\' OR 1=1 -- "), text.clone(), "'\\\\'' OR 1=1 -- '"),
        (Value::text("\0\n\r\u{1a}\u{0}"), text, "'\\0\\n\\r\u{1a}\\0'"),
        (Value::Date(Date::new(2020, 2, 29)), SqlType::Date, "'2020-02-29'"),
        (Value::Time(Time { micros: -3_600_000_001 }), SqlType::Time { fsp: 6 }, "'-01:00:00.000001'"),
        (Value::DateTime(at), SqlType::DateTime { fsp: 6 }, "'2020-02-29 12:00:00.000001'"),
        (Value::Timestamp(0), SqlType::Timestamp { fsp: 0 }, "'1970-01-01 00:00:00'"),
        (Value::UInt(1999), SqlType::Year, "1999"),
        (Value::Bit(u64::MAX), SqlType::Bit { length: 64 }, "18446744073709551615"),
        (Value::Enum(2, "o'n".into()), SqlType::Null, "'o''n'"),
        (Value::Set(3, "a,b\\".into()), SqlType::Null, "'a,b\\\\'"),
    ];
    for (value, sql_type, expected) in cases {
        assert_eq!(literal(&value, &sql_type), expected, "{value:?}");
    }
}

/// Nothing that a text holds ends its literal: what stands in the quotes reads back as the text.
#[test]
fn no_text_gets_out_of_its_quotes() {
    let nasty = ['\'', '"', '\\', '\0', '\n', '\r', '\u{1a}', '`', ';', '-', 'é', '😀', '%', '_', 'a'];
    let mut dice = Dice(7);
    let (mut here, there) =
        pair(&["CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(40) COLLATE utf8mb4_bin, b VARBINARY(160))"]);
    for round in 0..300 {
        let text: String = (0..dice.below(12)).map(|_| nasty[dice.below(nasty.len())]).collect();
        let quoted = quote_text(&text);
        let there_is = there.run(&format!("SELECT {quoted}")).expect("one literal").rows.remove(0).remove(0);
        assert_eq!(there_is, Value::text(text.as_str()), "{quoted}");
        let bytes: Vec<u8> = (0..dice.below(20)).map(|_| dice.below(256) as u8).collect();
        let params = [Value::Int(round), Value::text(text.as_str()), Value::Bytes(bytes.clone().into())];
        here.run_with("INSERT INTO t VALUES (?, ?, ?)", &params).expect("a row");
        let found = here.run_with("SELECT s, b FROM t WHERE id = ? AND s = ? AND b = ?", &params).unwrap();
        assert_eq!(found.rows, [[Value::text(text.as_str()), Value::Bytes(bytes.into())]]);
    }
}

#[test]
fn texts_are_looked_up_where_they_compare_alike() {
    let definition = "CREATE TABLE f (name VARCHAR(9) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)";
    let (mut here, there) = pair(&[definition]);
    here.run("CREATE TABLE s (id INT PRIMARY KEY, name VARCHAR(9) COLLATE utf8mb4_general_ci)").unwrap();
    here.run("INSERT INTO s VALUES (1, 'ONE'), (2, 'two'), (3, 'three')").unwrap();
    there.run("INSERT INTO f VALUES ('one', 1), ('Two', 2)").unwrap();
    let query = "SELECT s.id, f.v FROM s JOIN f ON f.name = s.name ORDER BY s.id";
    assert_eq!(here.run(query).unwrap().texts(), [["1", "1"], ["2", "2"]]);
    let sent = there.sent();
    assert_eq!(sent[0], "SELECT COLLATION(MAX(`name`)) FROM `test`.`f` WHERE 1 = 0");
    assert_eq!(sent[1], "SELECT `name`, `v` FROM `test`.`f` WHERE `name` IN ('ONE', 'three', 'two')");
    there.run("DROP TABLE f").unwrap();
    there.run("CREATE TABLE f (name VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, v INT)").unwrap();
    there.run("INSERT INTO f VALUES ('one', 1), ('Two', 2)").unwrap();
    assert_eq!(here.run(query).unwrap().texts(), [["1", "1"], ["2", "2"]]);
    assert_eq!(there.sent()[1], "SELECT `name`, `v` FROM `test`.`f`");
}

#[test]
fn ignore_leaves_out_the_rows_that_are_refused() {
    let (mut here, there) = pair(&["CREATE TABLE t (id INT PRIMARY KEY, k INT, UNIQUE KEY (k))"]);
    there.run("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)").unwrap();
    let done = here.run("UPDATE IGNORE t SET k = 3 - id WHERE id IN (1, 2)").unwrap();
    let warnings: Vec<u16> = done.warnings.iter().map(|w| w.code.errno()).collect();
    assert_eq!(warnings, [1062, 1062]);
    assert_eq!(there.run("SELECT k FROM t ORDER BY id").unwrap().texts(), [["1"], ["2"], ["3"]]);
    assert_eq!(here.run("UPDATE t SET k = 3 WHERE id = 1").unwrap_err().code.errno(), 1062);
    // What one row is refused undoes the rows before it.
    assert_eq!(here.run("UPDATE t SET k = IF(id = 1, 11, 3) WHERE id < 3").unwrap_err().code.errno(), 1062);
    assert_eq!(there.run("SELECT k FROM t ORDER BY id").unwrap().texts(), [["1"], ["2"], ["3"]]);
    let upsert = "INSERT IGNORE INTO t VALUES (9, 1) ON DUPLICATE KEY UPDATE k = 2";
    let warnings = here.run(upsert).unwrap().warnings;
    assert_eq!(warnings.iter().map(|w| w.code.errno()).collect::<Vec<_>>(), [1062]);
}

#[test]
fn a_file_is_loaded_there() {
    let (mut here, there) =
        pair(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(9), n INT)"]);
    let file: String = (0..1500).map(|i| format!("r{i}\t{i}\n")).collect();
    here.sends(file, 1000);
    here.run("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (s, n)").unwrap();
    assert_eq!(there.sent().len(), 2);
    let all = "SELECT COUNT(*), MAX(id), SUM(n), MIN(s) FROM t";
    assert_eq!(there.run(all).unwrap().texts(), [["1500", "1500", "1124250", "r0"]]);
}

#[test]
fn views_lead_to_foreign_tables() {
    let (mut here, there) = pair(&["CREATE TABLE t (id INT PRIMARY KEY, n INT)"]);
    here.run("CREATE VIEW v AS SELECT id AS i, n FROM t WHERE n > 0 WITH CHECK OPTION").unwrap();
    here.run("INSERT INTO v VALUES (1, 5), (2, 6)").unwrap();
    assert_eq!(here.run("INSERT INTO v VALUES (3, -1)").unwrap_err().code.errno(), 1369);
    assert_eq!(here.run("UPDATE v SET n = -1 WHERE i = 1").unwrap_err().code.errno(), 1369);
    here.run("UPDATE v SET n = n + 1 WHERE i = 1").unwrap();
    here.run("DELETE FROM v WHERE n = 6 AND i = 2").unwrap();
    assert_eq!(there.run("SELECT * FROM t").unwrap().texts(), [["1", "6"]]);
    assert_eq!(here.stored(), 0);
}

#[test]
fn rows_without_a_key_are_read_within_the_budget() {
    let (mut here, there) = pair(&["CREATE TABLE t (s VARCHAR(2000))"]);
    there
        .run(&format!("INSERT INTO t VALUES (REPEAT('x', 1000)){}", ", (REPEAT('x', 1000))".repeat(99)))
        .unwrap();
    for _ in 0..10 {
        let grown = "INSERT INTO t SELECT a.s FROM t AS a LIMIT 30000";
        there.run(grown).unwrap();
    }
    // 100,000 rows of a kilobyte are less than the budget of tests, three times as many are not.
    assert_eq!(here.run("SELECT COUNT(*), MAX(LENGTH(s)) FROM t").unwrap().texts()[0][1], "1000");
    for _ in 0..8 {
        there.run("INSERT INTO t SELECT a.s FROM t AS a LIMIT 30000").unwrap();
    }
    assert_eq!(here.run("SELECT MAX(LENGTH(s)) FROM t").unwrap_err().code.errno(), 1041);
}

#[test]
fn an_ordered_queue_locks_what_it_hands_out() {
    let (mut here, there) = pair(&["CREATE TABLE q (id INT PRIMARY KEY, due INT, done INT)"]);
    there.run("INSERT INTO q VALUES (1, 30, 0), (2, 10, 0), (3, 20, 0), (4, 5, 1)").unwrap();
    let next = "SELECT id FROM q WHERE done = 0 ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED";
    assert_eq!(here.run(next).unwrap().texts(), [["2"]]);
    assert_eq!(
        there.sent(),
        [
            "SELECT `id`, `due`, `done` FROM `test`.`q` WHERE `done` = 0 ORDER BY `id` LIMIT 1000",
            "SELECT `id`, `due`, `done` FROM `test`.`q` WHERE `done` = 0 AND `id` = 2 ORDER BY `id` LIMIT 1000 \
             FOR UPDATE SKIP LOCKED",
        ]
    );
    let some = "SELECT due FROM q WHERE done = 0 ORDER BY due DESC LIMIT 2 OFFSET 1 FOR UPDATE";
    assert_eq!(here.run(some).unwrap().texts(), [["20"], ["10"]]);
    assert!(there.sent()[1].contains("`id` IN (1, 3, 2)"));
    here.run("DELETE FROM q WHERE done = 0 ORDER BY due LIMIT 2").unwrap();
    assert!(there.sent()[1].contains("`id` IN (2, 3) ORDER BY `id` LIMIT 1000 FOR UPDATE"));
    assert_eq!(there.run("SELECT id FROM q ORDER BY id").unwrap().texts(), [["1"], ["4"]]);
    assert_eq!(here.run("SELECT id FROM q ORDER BY due LIMIT 0 FOR UPDATE").unwrap().texts(), [[""; 0]; 0]);
}

#[test]
fn large_tables_are_changed_page_by_page() {
    let (mut here, there) = pair(&["CREATE TABLE t (id INT PRIMARY KEY, n INT)"]);
    let rows: Vec<String> = (0..3000).map(|i| format!("({i}, 0)")).collect();
    there.run(&format!("INSERT INTO t VALUES {}", rows.join(", "))).unwrap();
    here.run("UPDATE t SET n = 1").unwrap();
    let verbs: Vec<String> = there.sent().iter().map(|sql| sql[..6].to_owned()).collect();
    assert_eq!(verbs, ["SELECT", "UPDATE", "SELECT", "UPDATE", "UPDATE"]);
    // What moves along the key is read before anything is changed.
    here.run("UPDATE t SET id = id + 10000 ORDER BY id").unwrap();
    here.run("UPDATE t SET id = id + 10000 WHERE n = 1").unwrap();
    assert_eq!(
        there.run("SELECT MIN(id), MAX(id), COUNT(*) FROM t").unwrap().texts(),
        [["20000", "22999", "3000"]]
    );
    there.sent();
    assert_eq!(here.run("DELETE FROM t WHERE n + 1 = 2").unwrap().executed, affected(3000));
    assert_eq!(there.run("SELECT COUNT(*) FROM t").unwrap().texts(), [["0"]]);
}

/// What a statement did that changed so many rows.
fn affected(changed: u64) -> Executed {
    Executed::Affected { changed, matched: changed, insert_id: 0, info: String::new() }
}

#[test]
fn tables_are_made_of_foreign_rows() {
    let (mut here, there) = pair(&["CREATE TABLE f (id INT PRIMARY KEY, n INT)"]);
    there.run("INSERT INTO f VALUES (1, 10), (2, 20)").unwrap();
    here.run("CREATE TABLE c AS SELECT n, id FROM f WHERE n > 10").unwrap();
    assert_eq!(here.run("SELECT * FROM c").unwrap().texts(), [["20", "2"]]);
}

#[test]
fn foreign_keys_neither_lead_there_nor_from_there() {
    let mut here = Session::new();
    here.knows("legacy", &FakeForeign::default());
    here.run("CREATE TABLE p (id INT PRIMARY KEY)").unwrap();
    here.run("CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))").unwrap();
    here.is_foreign("p", "legacy");
    for sql in ["INSERT INTO c VALUES (1, 1)", "INSERT INTO p VALUES (1)"] {
        assert_eq!(here.run(sql).unwrap_err().code.errno(), 1235, "{sql}");
    }
}

/// Names are quoted, whatever they are.
#[test]
fn names_stay_names() {
    let definition = "CREATE TABLE `a``; DROP` (`i'd` INT PRIMARY KEY, `b``c` INT)";
    let (mut here, there) = (Session::new(), FakeForeign::default());
    here.knows("legacy", &there);
    here.run(definition).unwrap();
    there.run(definition).unwrap();
    here.is_foreign("a`; DROP", "legacy");
    here.run("INSERT INTO `a``; DROP` VALUES (1, 2)").unwrap();
    here.run("UPDATE `a``; DROP` SET `b``c` = 3 WHERE `i'd` = 1").unwrap();
    assert_eq!(here.run("SELECT `b``c` FROM `a``; DROP`").unwrap().texts(), [["3"]]);
    assert!(there.sent()[0].starts_with("INSERT INTO `test`.`a``; DROP` (`i'd`, `b``c`) VALUES"));
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth > 0 && self.below(3) == 0 {
            let (a, b) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.below(3) {
                0 => format!("({a} AND {b})"),
                1 => format!("({a} OR {b})"),
                _ => format!("(NOT {a})"),
            };
        }
        let column =
            self.pick(&["id", "i", "u", "d", "r", "s", "c", "day", "at", "tm", "y", "b", "e", "raw"]);
        let values = [
            "0",
            "1",
            "-1",
            "2.5",
            "1e0",
            "255",
            "'1'",
            "'a'",
            "'A'",
            "'a '",
            "''",
            "NULL",
            "'2020-01-02'",
            "'2020-01-02 03:04:05.5'",
            "'0000-00-00'",
            "'2020-02-31'",
            "2020",
            "x'61'",
            "'x'",
            "'03:04:05'",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "TRUE",
            "'1x'",
            "99999",
        ];
        match self.below(6) {
            0 => format!("{column} IS {}NULL", self.pick(&["", "NOT "])),
            1 => format!(
                "{column} IN ({}, {}, {})",
                self.pick(&values),
                self.pick(&values),
                self.pick(&values)
            ),
            2 => format!("{column} BETWEEN {} AND {}", self.pick(&values), self.pick(&values)),
            3 => format!("{} {} {column}", self.pick(&values), self.pick(&["=", "<", ">="])),
            _ => {
                let op = self.pick(&["=", "<=>", "<", "<=", ">", ">=", "<>"]);
                format!("{column} {op} {}", self.pick(&values))
            }
        }
    }

    fn row(&mut self, id: usize) -> String {
        let cells = [
            self.pick(&["NULL", "0", "1", "-1", "2", "255", "-2147483648"]),
            self.pick(&["NULL", "0", "1", "18446744073709551615", "255"]),
            self.pick(&["NULL", "0", "2.50", "-0.01", "1"]),
            self.pick(&["NULL", "0", "0.1", "1e0", "-2.5e10"]),
            self.pick(&["NULL", "''", "'a'", "'A'", "'a '", "'1'", "'é'", "'x'"]),
            self.pick(&["NULL", "''", "'a'", "'A'", "'1'"]),
            self.pick(&["NULL", "'2020-01-02'", "'2020-02-29'", "'1999-12-31'"]),
            self.pick(&["NULL", "'2020-01-02 03:04:05.5'", "'2020-01-02'", "'1999-12-31 23:59:59'"]),
            self.pick(&["NULL", "'03:04:05'", "'-10:00:00'"]),
            self.pick(&["NULL", "2020", "1999", "2001"]),
            self.pick(&["NULL", "0", "1", "255"]),
            self.pick(&["NULL", "'a'", "'x'", "'B'"]),
            self.pick(&["NULL", "x''", "x'61'", "x'00ff'"]),
        ];
        format!("({id}, {})", cells.join(", "))
    }
}

#[test]
fn random_conditions_find_the_same_rows_and_change_them_alike() {
    let columns = "(id INT PRIMARY KEY, i INT, u BIGINT UNSIGNED, d DECIMAL(10,2), r DOUBLE, s VARCHAR(20), \
        c CHAR(5) COLLATE utf8mb4_bin, day DATE, at TIMESTAMP(1) NULL, tm TIME, y YEAR, b BIT(8), \
        e ENUM('x','a','B'), raw VARBINARY(10), KEY (i), KEY (s))";
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let (mut here, there) = pair(&[&format!("CREATE TABLE f {columns}")]);
        here.run(&format!("CREATE TABLE s {columns}")).unwrap();
        here.run("SET time_zone = '+02:00'").unwrap();
        let rows: Vec<String> = (0..60).map(|id| dice.row(id)).collect();
        for table in ["f", "s"] {
            here.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).unwrap();
        }
        let both = |here: &mut Session, sql: &dyn Fn(&str) -> String| {
            let of = |here: &mut Session, table: &str| match here.run(&sql(table)) {
                Ok(answer) => Ok((answer.rows, answer.executed)),
                Err(error) => Err(error.code),
            };
            // Where a bad value is an error, it is one of the rows that are looked at: the server may have spared them.
            let Ok(stored) = of(here, "s") else { return };
            let foreign = of(here, "f");
            let stored = Ok(stored);
            assert_eq!(stored, foreign, "seed {seed}: {}\nsent {:?}", sql("f"), there.sent());
        };
        for _ in 0..150 {
            let condition = dice.condition(2);
            both(&mut here, &|table| format!("SELECT * FROM {table} WHERE {condition} ORDER BY id"));
            both(&mut here, &|table| {
                format!("SELECT a.id, b.id FROM s AS a JOIN {table} AS b ON a.i = b.id AND ({condition}) ORDER BY 1, 2")
                    .replace("(id", "(b.id")
            });
            there.sent();
        }
        for _ in 0..40 {
            let condition = dice.condition(1);
            let set = dice.pick(&[
                "i = i + 1",
                "s = CONCAT(s, 'z')",
                "r = r * 2, d = d / 2",
                "y = 2010",
                "at = day",
            ]);
            let what = dice.below(4);
            both(&mut here, &|table| match what {
                0 => format!("DELETE FROM {table} WHERE {condition} ORDER BY id LIMIT 2"),
                _ => format!("UPDATE {table} SET {set} WHERE {condition}"),
            });
            both(&mut here, &|table| format!("SELECT * FROM {table} ORDER BY id"));
        }
    }
}
