//! Functional key parts: an index of an expression changes what is read, never what is answered.

use assize_catalog::{ChangeBuilder, IndexState, Table, row};
use assize_model::{ErrorCode, Mutation, SchemaVersion};
use assize_ports::StatementContext;
use assize_query::testing::{FakeCluster, Session, block_on};
use assize_values::Value;
use std::sync::Arc;

fn run(session: &mut Session, sql: &str) -> Vec<Vec<String>> {
    session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).texts()
}

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 9] =
            ["'ann'", "'Ann'", "'BOB '", "'bob'", "''", "'Zoë'", "'zoe'", "NULL", "'x9'"];
        TEXTS[self.roll(TEXTS.len() as u64) as usize].to_owned()
    }

    fn number(&mut self) -> String {
        match self.roll(8) {
            0 => "NULL".into(),
            _ => (self.roll(9) as i64 - 4).to_string(),
        }
    }
}

const INDEXES: [&str; 8] = [
    "((lower(name)))",
    "((a + b) DESC, id)",
    "((a + b), (lower(name)))",
    "((coalesce(b, 0)), a)",
    "((a / 2))",
    "((left(name, 2)) DESC)",
    "((date_add('2020-01-01', interval a day)))",
    "((CAST(j->>'$.n' AS CHAR(10))), (a * b))",
];

const QUERIES: [&str; 18] = [
    "SELECT id FROM {t} WHERE lower(name) = 'BOB' ORDER BY id",
    "SELECT id FROM {t} WHERE lower(name) IN ('ann', 'zoe') ORDER BY id",
    "SELECT id FROM {t} WHERE lower(name) IS NULL ORDER BY id",
    "SELECT id FROM {t} WHERE lower(name) LIKE 'b%' ORDER BY id",
    "SELECT id FROM {t} WHERE a + b BETWEEN -1 AND 2 ORDER BY id",
    "SELECT id FROM {t} WHERE a + b > 1 AND lower(name) >= 'b' ORDER BY id",
    "SELECT a + b, id FROM {t} ORDER BY a + b, id DESC",
    "SELECT id FROM {t} WHERE a + b = 1 OR a + b = 3 ORDER BY id",
    "SELECT id FROM {t} WHERE (a + b, lower(name)) IN ((1, 'ann'), (0, 'bob')) ORDER BY id",
    "SELECT id FROM {t} WHERE a + b <=> NULL ORDER BY id",
    "SELECT l.id, r.id FROM {t} AS l LEFT JOIN {t} AS r ON r.a = l.id WHERE coalesce(r.b, 0) = 0 ORDER BY 1, 2",
    "SELECT l.id, r.id FROM {t} AS l LEFT JOIN {t} AS r ON coalesce(r.b, 0) = l.a AND r.id < 9 ORDER BY 1, 2",
    "SELECT id FROM {t} WHERE a / 2 = 0.5 ORDER BY id",
    "SELECT id FROM {t} WHERE left(name, 2) < 'c' ORDER BY left(name, 2) DESC, id",
    "SELECT id FROM {t} WHERE date_add('2020-01-01', interval a day) = '2020-01-02' ORDER BY id",
    "SELECT id FROM {t} WHERE CAST(j->>'$.n' AS CHAR(10)) = '3' AND a * b >= 0 ORDER BY id",
    "SELECT id FROM {t} AS o WHERE EXISTS (SELECT 1 FROM {t} AS i WHERE lower(i.name) = o.name AND i.id <> o.id) ORDER BY id",
    "SELECT lower(name), count(*), min(a + b) FROM {t} WHERE lower(name) > 'a' GROUP BY lower(name) ORDER BY 1",
];

/// A change of both tables.
fn change(dice: &mut Dice) -> String {
    let id = dice.roll(40);
    let row = |dice: &mut Dice| {
        let (name, a, b, n) = (dice.text(), dice.number(), dice.number(), dice.roll(5));
        format!("({id}, {name}, {a}, {b}, '{{\"n\": {n}}}')")
    };
    match dice.roll(9) {
        0..=2 => format!("INSERT IGNORE INTO {{t}} VALUES {}", row(dice)),
        3 => format!("REPLACE INTO {{t}} VALUES {}", row(dice)),
        4 => {
            let (row, b) = (row(dice), dice.number());
            format!("INSERT INTO {{t}} VALUES {row} ON DUPLICATE KEY UPDATE name = 'Ann', b = {b}")
        }
        5 => format!("UPDATE {{t}} SET name = {} WHERE id = {id}", dice.text()),
        6 => format!("UPDATE {{t}} SET a = {} WHERE lower(name) = 'bob'", dice.number()),
        7 => format!("DELETE FROM {{t}} WHERE a + b = {}", dice.roll(4)),
        _ => format!("UPDATE {{t}} SET id = {} WHERE id = {id}", 40 + dice.roll(5)),
    }
}

#[test]
fn answers_are_the_same_with_and_without_the_indexes() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut session = Session::default();
        for table in ["bare", "indexed"] {
            let columns = "id INT PRIMARY KEY, name VARCHAR(20), a INT, b INT, j JSON";
            run(&mut session, &format!("CREATE TABLE {table} ({columns})"));
        }
        let mut used = 0;
        for round in 0..120 {
            let sql = change(&mut dice);
            let bare = session.run(&sql.replace("{t}", "bare")).map(|a| a.executed).map_err(|e| e.code);
            let indexed = session.run(&sql.replace("{t}", "indexed")).map(|a| a.executed).map_err(|e| e.code);
            assert_eq!(bare, indexed, "{sql}");
            if round % 15 == 14 {
                let at = dice.roll(INDEXES.len() as u64) as usize;
                let index =
                    session.catalog().table("test", "indexed").unwrap().index(&format!("i{at}")).is_some();
                let sql = match index {
                    true => format!("DROP INDEX i{at} ON indexed"),
                    false => format!("CREATE INDEX i{at} ON indexed {}", INDEXES[at]),
                };
                run(&mut session, &sql);
                for query in QUERIES {
                    let bare = run(&mut session, &query.replace("{t}", "bare"));
                    let indexed = run(&mut session, &query.replace("{t}", "indexed"));
                    assert_eq!(bare, indexed, "seed {seed}, round {round}: {query}");
                    let plan = run(&mut session, &format!("EXPLAIN {}", query.replace("{t}", "indexed")));
                    used += plan.iter().filter(|line| line[6].starts_with('i')).count();
                }
                let report = run(&mut session, "CHECK TABLE indexed");
                assert_eq!(report[0][3], "OK", "{report:?}");
            }
        }
        assert!(used > 10, "{used} plans used an index");
    }
}

#[test]
fn only_what_is_found_is_read_and_locked() {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), KEY ((upper(name))))");
    let rows: Vec<String> = (0..900).map(|n| format!("({n}, 'n{}')", n % 300)).collect();
    run(&mut session, &format!("INSERT INTO t VALUES {}", rows.join(",")));
    for end in ["", " FOR UPDATE", " FOR SHARE"] {
        let found = run(&mut session, &format!("SELECT id FROM t WHERE upper(name) = 'N7'{end}"));
        assert_eq!((found.len(), session.reads().scanned), (3, 3), "{end}");
    }
    run(&mut session, "UPDATE t SET name = 'other' WHERE upper(name) = 'N8'");
    assert_eq!(session.reads().scanned, 3);
    let first = run(&mut session, "SELECT id FROM t ORDER BY upper(name) DESC LIMIT 2");
    assert!(first.len() == 2 && session.reads().scanned < 20, "{:?}", session.reads());
    assert_eq!(run(&mut session, "SELECT MAX(upper(name)) FROM t"), [["OTHER"]]);
    assert!(session.reads().scanned < 20, "{:?}", session.reads());
}

#[test]
fn expressions_of_another_time_zone_are_computed() {
    let mut session = Session::default();
    run(&mut session, "SET time_zone = '+00:00'");
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP NOT NULL, KEY ((date(at))))");
    run(&mut session, "INSERT INTO t VALUES (1, '2026-01-01 23:30:00')");
    run(&mut session, "SET time_zone = '+02:00'");
    assert_eq!(run(&mut session, "SELECT id FROM t WHERE date(at) = '2026-01-02'"), [["1"]]);
    // Building another index leaves the value of the first as it was written.
    run(&mut session, "CREATE INDEX other ON t ((id + 1))");
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
}

#[test]
fn temporary_tables_have_them_too() {
    let mut session = Session::default();
    run(
        &mut session,
        "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, name VARCHAR(20), UNIQUE KEY u ((lower(name))))",
    );
    run(&mut session, "INSERT INTO t VALUES (1, 'Ann'), (2, 'Bob')");
    let error = session.run("INSERT INTO t VALUES (3, 'BOB')").unwrap_err();
    assert_eq!(error.code, ErrorCode::DuplicateEntry);
    run(&mut session, "ALTER TABLE t ADD KEY next ((id + 1))");
    assert_eq!(run(&mut session, "SELECT id FROM t WHERE lower(name) = 'bob' AND id + 1 > 2"), [["2"]]);
    assert_eq!(run(&mut session, "EXPLAIN SELECT id FROM t WHERE id + 1 = 2")[0][6], "next");
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
}

#[test]
fn functional_indexes_and_character_sets_wait_for_nodes_that_know_none() {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY)");
    session.joins(Arc::new(FakeCluster { is_half_upgraded: true, ..FakeCluster::default() }));
    for sql in ["CREATE INDEX i ON t ((id + 1))", "CREATE TABLE u (id INT, KEY ((id + 1)))"] {
        let error = session.run(sql).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotSupportedYet, "{error}");
        assert!(error.message.contains("functional indexes need version 6"), "{}", error.message);
    }
    for sql in [
        "CREATE TABLE u (a VARCHAR(9) CHARACTER SET cp1251)",
        "ALTER TABLE t ADD a CHAR(9) COLLATE gbk_bin",
        "CREATE DATABASE e CHARACTER SET koi8r",
    ] {
        let error = session.run(sql).unwrap_err();
        assert!(error.message.contains("version 6"), "{sql}: {}", error.message);
    }
    session.joins(Arc::new(FakeCluster::default()));
    run(&mut session, "CREATE INDEX i ON t ((id + 1))");
    run(&mut session, "CREATE TABLE u (a VARCHAR(9) CHARACTER SET cp1251)");
}

/// A table whose functional index is being built: its rows were stored before, so that they lack the hidden column.
fn half_built() -> Session {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, a INT, KEY half ((a * 2)))");
    run(&mut session, "INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL), (4, 4)");
    let mut internal = block_on(session.context().begin_internal()).unwrap();
    let catalog = internal.catalog();
    let table = catalog.table("test", "t").unwrap();
    let mut before = Table { ..(**table).clone() };
    before.indexes.truncate(1);
    before.forget_idle_columns();
    for (id, a) in [(1, Value::Int(1)), (2, Value::Int(2)), (3, Value::Null), (4, Value::Int(4))] {
        let doubled = if let Value::Int(a) = a { Value::Int(a * 2) } else { Value::Null };
        let values = vec![Value::Int(id), a, doubled];
        let row_key = table.row_key(&values).unwrap();
        let slot = table.row_slot(&values, &row_key);
        let entry = table.index_entry(&table.indexes[1], &values, &row_key, slot);
        let txn = internal.transaction();
        txn.write(table.id, Mutation::delete(entry.key, entry.slot)).unwrap();
        txn.write(table.id, Mutation::put(row_key, slot, row::encode(&before, &values[..2]))).unwrap();
    }
    let mut half = Table { version: SchemaVersion(table.version.0 + 1), ..(**table).clone() };
    half.indexes[1].state = IndexState::WriteOnly;
    let mut change = ChangeBuilder::new(&catalog);
    change.put_table(&half).fence(&half);
    let change = change.finish();
    block_on(internal.commit(Some(change))).unwrap();
    session
}

#[test]
fn writers_compute_what_a_build_has_not_come_to() {
    let mut session = half_built();
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
    assert_eq!(run(&mut session, "SELECT id FROM t WHERE a * 2 = 4"), [["2"]]);
    run(&mut session, "UPDATE t SET a = 7 WHERE id = 1");
    run(&mut session, "UPDATE t SET id = 30 WHERE id = 3");
    run(&mut session, "DELETE FROM t WHERE id = 4");
    run(&mut session, "INSERT INTO t VALUES (5, 5)");
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
    assert_eq!(run(&mut session, "SELECT * FROM t"), [["1", "7"], ["2", "2"], ["5", "5"], ["30", "NULL"]]);
    run(&mut session, "DROP INDEX half ON t");
    run(&mut session, "CREATE UNIQUE INDEX whole ON t ((a * 2))");
    assert_eq!(run(&mut session, "SELECT id FROM t WHERE a * 2 = 14"), [["1"]]);
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
}

#[test]
fn a_value_that_is_not_that_of_its_expression_is_found() {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, a INT, KEY i ((a * 2)))");
    run(&mut session, "INSERT INTO t VALUES (1, 1)");
    let table = session.catalog().table("test", "t").unwrap().clone();
    let values = vec![Value::Int(1), Value::Int(3), Value::Int(2)];
    let row_key = table.row_key(&values).unwrap();
    let slot = table.row_slot(&values, &row_key);
    let mut internal = block_on(session.context().begin_internal()).unwrap();
    internal
        .transaction()
        .write(table.id, Mutation::put(row_key, slot, row::encode(&table, &values)))
        .unwrap();
    block_on(internal.commit(None)).unwrap();
    let report = run(&mut session, "CHECK TABLE t");
    assert!(report[0][3].contains("has not the value of its expression"), "{report:?}");
}

#[test]
fn large_rows_are_filled_in_small_pages() {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE t (id INT PRIMARY KEY, body LONGTEXT)");
    for id in 0..12 {
        run(&mut session, &format!("INSERT INTO t VALUES ({id}, repeat('{id}-', 40000))"));
    }
    run(&mut session, "CREATE INDEX i ON t ((left(body, 4)))");
    assert_eq!(run(&mut session, "SELECT id FROM t WHERE left(body, 4) = '7-7-'"), [["7"]]);
    let report = run(&mut session, "CHECK TABLE t");
    assert_eq!(report[0][3], "OK", "{report:?}");
}
