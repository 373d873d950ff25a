//! Access paths: how much a statement reads, what EXPLAIN tells of it, and what clients learn of columns.

use assize_query::testing::{Answer, Reads, Session};
use assize_values::Value;

fn filled(rows: u64) -> Session {
    let mut session = Session::default();
    run(
        &mut session,
        "CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, a INT NOT NULL, b VARCHAR(20), c INT, u INT, \
         KEY ab (a, b), UNIQUE KEY u (u))",
    );
    for from in (0..rows).step_by(500) {
        let values: Vec<String> = (from..(from + 500).min(rows))
            .map(|n| format!("({}, {}, 'b{}', {}, {})", n + 1, n % 100, n % 7, n % 3, n + 1000))
            .collect();
        run(&mut session, &format!("INSERT INTO t (id, a, b, c, u) VALUES {}", values.join(",")));
    }
    session
}

fn run(session: &mut Session, sql: &str) -> Answer {
    session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn reads(session: &mut Session, sql: &str) -> (usize, Reads) {
    let rows = run(session, sql).rows.len();
    (rows, session.reads())
}

#[test]
fn a_primary_key_is_looked_up_with_one_read() {
    let mut session = filled(2000);
    let (rows, reads) = reads(&mut session, "SELECT * FROM t WHERE id = 1234");
    assert_eq!((rows, reads), (1, Reads { keys: 1, pages: 0, scanned: 0 }));
}

#[test]
fn a_list_of_keys_is_one_batch_without_duplicates() {
    let mut session = filled(2000);
    let (rows, reads) = reads(&mut session, "SELECT * FROM t WHERE id IN (5, 7, 5, 9999, NULL)");
    assert_eq!((rows, reads), (2, Reads { keys: 3, pages: 0, scanned: 0 }));
}

#[test]
fn a_unique_key_costs_an_entry_and_a_row() {
    let mut session = filled(2000);
    let (rows, reads) = reads(&mut session, "SELECT id FROM t WHERE u = 1500");
    assert_eq!((rows, reads), (1, Reads { keys: 2, pages: 0, scanned: 0 }));
}

#[test]
fn an_equality_prefix_scans_only_its_entries() {
    let mut session = filled(2000);
    let (rows, reads) = reads(&mut session, "SELECT id FROM t WHERE a = 42");
    assert_eq!((rows, reads.scanned, reads.keys), (20, 20, 20));
    let (rows, reads) = self::reads(&mut session, "SELECT id FROM t WHERE a = 42 AND b = 'B0'");
    assert!(reads.scanned as usize == rows && rows < 20, "{rows} rows, {reads:?}");
}

#[test]
fn a_range_reads_what_lies_in_it() {
    let mut session = filled(2000);
    let (rows, reads) = reads(&mut session, "SELECT * FROM t WHERE id > 1990");
    assert_eq!((rows, reads.scanned), (10, 10));
    let (rows, reads) = self::reads(&mut session, "SELECT * FROM t WHERE id BETWEEN 10 AND 19 AND c = 1");
    assert_eq!(reads.scanned, 10);
    assert!(rows < 10);
}

#[test]
fn order_by_a_key_with_limit_stops_early() {
    let mut session = filled(5000);
    let (rows, reads) = reads(&mut session, "SELECT * FROM t ORDER BY id DESC LIMIT 3");
    assert_eq!((rows, reads.scanned), (3, 3));
    let (rows, reads) = self::reads(&mut session, "SELECT id FROM t ORDER BY a, b LIMIT 5");
    assert_eq!((rows, reads.scanned), (5, 5));
    let (rows, reads) = self::reads(&mut session, "SELECT * FROM t LIMIT 7");
    assert_eq!((rows, reads.scanned), (7, 7));
}

#[test]
fn the_extremes_of_a_key_are_its_ends() {
    let mut session = filled(3000);
    let answer = run(&mut session, "SELECT MAX(id) FROM t");
    assert_eq!(answer.rows, [[Value::Int(3000)]]);
    assert_eq!(session.reads().scanned, 1);
    run(&mut session, "SELECT MIN(a) FROM t");
    assert_eq!(session.reads().scanned, 1);
}

#[test]
fn a_join_on_a_primary_key_looks_rows_up_in_batches() {
    let mut session = filled(300);
    let (rows, reads) = reads(&mut session, "SELECT x.id FROM t x JOIN t y ON y.id = x.c WHERE x.id <= 30");
    assert_eq!(rows, 20);
    // 30 driving rows, and the two distinct keys that exist or not.
    assert_eq!((reads.scanned, reads.keys), (30, 3));
}

#[test]
fn a_condition_that_is_never_true_reads_nothing() {
    let mut session = filled(100);
    let (rows, reads) = reads(&mut session, "SELECT * FROM t WHERE 1 = 0 AND a > 5");
    assert_eq!((rows, reads), (0, Reads::default()));
    let (rows, reads) = self::reads(&mut session, "SELECT * FROM t WHERE id = NULL");
    assert_eq!((rows, reads), (0, Reads::default()));
}

#[test]
fn an_uncorrelated_subquery_runs_once() {
    let mut session = filled(1000);
    let (_, reads) = reads(&mut session, "SELECT id FROM t WHERE c = (SELECT MAX(c) FROM t WHERE id <= 10)");
    assert_eq!(reads.scanned, 1010);
}

#[test]
fn what_stays_the_same_within_a_statement_leads_to_an_index() {
    let mut session = filled(10);
    run(&mut session, "SET @n = 5");
    let key = |session: &mut Session, condition: &str| {
        run(session, &format!("EXPLAIN SELECT * FROM t WHERE {condition}")).texts()[0][6].clone()
    };
    assert_eq!(key(&mut session, "id = LAST_INSERT_ID()"), "PRIMARY");
    assert_eq!(key(&mut session, "id = CONNECTION_ID()"), "PRIMARY");
    assert_eq!(key(&mut session, "id = @n"), "PRIMARY");
    assert_eq!(key(&mut session, "id = (SELECT MAX(a) FROM t)"), "PRIMARY");
    // These may be different for every row.
    assert_eq!(key(&mut session, "id = LAST_INSERT_ID(5)"), "NULL");
    assert_eq!(key(&mut session, "id = CAST(RAND() * 10 AS SIGNED)"), "NULL");
    assert_eq!(key(&mut session, "id = (@n := 3)"), "NULL");
    assert_eq!(key(&mut session, "id = (SELECT CAST(RAND() * 10 AS SIGNED))"), "NULL");
    assert_eq!(key(&mut session, "id = (SELECT @n := 3)"), "NULL");
}

#[test]
fn hints_choose_and_forbid() {
    let mut session = filled(1000);
    let key = |session: &mut Session, sql: &str| run(session, sql).texts()[0][6].clone();
    assert_eq!(key(&mut session, "EXPLAIN SELECT * FROM t WHERE a = 5"), "ab");
    assert_eq!(key(&mut session, "EXPLAIN SELECT * FROM t IGNORE INDEX (ab) WHERE a = 5"), "NULL");
    assert_eq!(
        key(&mut session, "EXPLAIN SELECT * FROM t USE INDEX (PRIMARY) WHERE a = 5 AND id = 6"),
        "PRIMARY"
    );
}

#[test]
fn explain_names_access_key_shards_and_isolation() {
    let mut session = filled(100);
    let rows = run(&mut session, "EXPLAIN SELECT * FROM t WHERE id = 5").texts();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(
        (row[2].as_str(), row[4].as_str(), row[6].as_str(), row[7].as_str()),
        ("t", "const", "PRIMARY", "8")
    );
    assert!(row[3].starts_with('s') && !row[3].contains(','), "one shard: {}", row[3]);
    assert!(row[11].contains("Isolation REPEATABLE-READ"), "{}", row[11]);
    let rows =
        run(&mut session, "EXPLAIN SELECT * FROM t x JOIN t y ON y.id = x.a WHERE x.a > 3 ORDER BY y.b")
            .texts();
    assert_eq!(rows.iter().map(|r| r[4].as_str()).collect::<Vec<_>>(), ["range", "eq_ref"]);
    assert!(rows[0][11].contains("Using filesort"), "{}", rows[0][11]);
    let tree = run(&mut session, "EXPLAIN FORMAT=TREE SELECT COUNT(*) FROM t WHERE a = 1").texts();
    assert!(tree[0][0].contains("Index lookup on t using ab"), "{}", tree[0][0]);
    let json = run(&mut session, "EXPLAIN FORMAT=JSON SELECT * FROM t WHERE u = 1").texts();
    assert!(json[0][0].contains("\"access_type\": \"const\""), "{}", json[0][0]);
}

#[test]
fn columns_tell_drivers_where_they_come_from() {
    let mut session = filled(1);
    let answer = run(&mut session, "SELECT x.id AS key_id, b, a + 1, COUNT(*) OVER () FROM t AS x");
    let id = &answer.columns[0];
    assert_eq!(
        (&*id.database, &*id.table, &*id.org_table, &*id.name, &*id.org_name),
        ("test", "x", "t", "key_id", "id")
    );
    assert!(id.flags.primary_key && id.flags.auto_increment && !id.nullable);
    let b = &answer.columns[1];
    assert!(b.nullable && !b.flags.primary_key && &*b.name == "b");
    let sum = &answer.columns[2];
    assert_eq!((&*sum.name, &*sum.org_name, &*sum.table), ("a + 1", "", ""));
    assert!(!sum.nullable);
}

#[test]
fn plans_are_kept_for_parameters_and_forgotten_with_the_schema() {
    let mut session = filled(50);
    let sql = "SELECT b FROM t WHERE id = ?";
    for id in [3, 4, 5] {
        let answer = session.run_with(sql, &[Value::Int(id)]).expect("a row");
        assert_eq!(answer.texts(), [[format!("b{}", (id - 1) % 7)]]);
    }
    // Another class of parameter, and a column that moves away.
    let answer = session.run_with(sql, &[Value::text("6")]).expect("a row");
    assert_eq!(answer.texts(), [["b5"]]);
    run(&mut session, "ALTER TABLE t DROP COLUMN b, DROP INDEX ab");
    let error = session.run_with(sql, &[Value::Int(3)]).expect_err("no such column");
    assert_eq!(error.code.errno(), 1054);
    let limited =
        session.run_with("SELECT id FROM t ORDER BY id LIMIT ? OFFSET ?", &[Value::Int(2), Value::Int(3)]);
    assert_eq!(limited.expect("rows").texts(), [["4"], ["5"]]);
}

#[test]
fn sql_select_limit_bounds_statements_without_a_limit() {
    let mut session = filled(20);
    run(&mut session, "SET sql_select_limit = 4");
    assert_eq!(run(&mut session, "SELECT id FROM t").rows.len(), 4);
    assert_eq!(run(&mut session, "SELECT id FROM t LIMIT 10").rows.len(), 10);
}

#[test]
fn conditions_reach_the_tables_behind_derived_ones() {
    let mut session = filled(2000);
    let (rows, reads) =
        reads(&mut session, "SELECT * FROM (SELECT id AS k, a + 1 AS s FROM t) d WHERE k = 7");
    assert_eq!((rows, reads), (1, Reads { keys: 1, pages: 0, scanned: 0 }));
    let sql = "SELECT * FROM (SELECT a, COUNT(*) AS n FROM t GROUP BY a) d WHERE a = 42 AND n > 1";
    let (rows, reads) = self::reads(&mut session, sql);
    assert_eq!((rows, reads.scanned), (1, 20));
    // Not below a limit, and not where an outer join makes NULLs.
    let sql = "SELECT * FROM (SELECT id FROM t ORDER BY id LIMIT 5) d WHERE id = 7";
    assert_eq!(self::reads(&mut session, sql).0, 0);
    let sql = "SELECT COUNT(*) FROM t LEFT JOIN (SELECT id AS k FROM t) d ON k = t.id + 1000 WHERE k IS NULL";
    assert_eq!(run(&mut session, sql).rows, [[Value::Int(1000)]]);
}

#[test]
fn an_or_of_equalities_is_a_list() {
    let mut session = filled(2000);
    let sql = "SELECT * FROM t WHERE id = 5 OR 7 = id OR id IN (9, 5) OR id = NULL";
    let (rows, reads) = reads(&mut session, sql);
    assert_eq!((rows, reads.keys, reads.scanned), (3, 3, 0));
    let sql = "SELECT * FROM t WHERE id = ? OR id = ? OR id = ?";
    let params = [Value::Int(1), Value::Int(2), Value::Int(2)];
    assert_eq!(session.run_with(sql, &params).unwrap().rows.len(), 2);
    assert_eq!(session.reads().keys, 2);
    // What every branch says of a column leads to an index, what else it says is checked.
    let sql = "SELECT * FROM t WHERE id = 5 AND a = 4 OR id = 7 AND a = 99 OR (id, c) = (9, 2)";
    let (rows, reads) = self::reads(&mut session, sql);
    assert_eq!((rows, reads.keys, reads.scanned), (2, 3, 0));
    // One branch that does not say it spoils it.
    let (rows, reads) = self::reads(&mut session, "SELECT * FROM t WHERE id = 5 OR id = 7 OR c = 9");
    assert_eq!((rows, reads.scanned), (2, 2000));
    // Three truth values, as before.
    let sql = "SELECT id FROM t WHERE (c = 1 OR c = NULL OR c = 0) IS NULL AND id < 4";
    assert_eq!(run(&mut session, sql).texts(), [["3"]]);
}

#[test]
fn a_list_of_rows_leads_to_an_index() {
    let mut session = filled(2000);
    let sql = "SELECT id FROM t WHERE (a, id) IN ((4, 5), (6, 7), (1, 7), (8, NULL))";
    let (rows, reads) = reads(&mut session, sql);
    assert_eq!((rows, reads.keys, reads.scanned), (2, 2, 0));
    run(&mut session, "CREATE TABLE p (a INT, b INT, c INT, PRIMARY KEY (a, b))");
    let values: Vec<String> = (0..1000).map(|n| format!("({}, {n}, {n})", n % 50)).collect();
    run(&mut session, &format!("INSERT INTO p VALUES {}", values.join(",")));
    // One value of the first column: whole keys. Many of both: not every combination of them.
    let pairs =
        |modulus: u32| (0..200).map(|n| format!("({}, {n})", n % modulus)).collect::<Vec<_>>().join(",");
    let (rows, reads) = self::reads(&mut session, &format!("SELECT c FROM p WHERE (a, b) IN ({})", pairs(1)));
    assert_eq!((rows, reads.keys, reads.scanned), (4, 200, 0));
    let (rows, reads) =
        self::reads(&mut session, &format!("SELECT c FROM p WHERE (b, a) IN ({})", pairs(50)));
    assert_eq!((rows, reads.scanned), (50, 1000));
    let (rows, reads) =
        self::reads(&mut session, &format!("SELECT c FROM p WHERE (a, b) IN ({})", pairs(50)));
    assert_eq!((rows, reads.keys), (200, 0));
    run(&mut session, &format!("DELETE FROM p WHERE (a, b) IN ({})", pairs(50)));
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM p").texts(), [["800"]]);
}

#[test]
fn a_long_list_of_rows_means_what_a_short_one_does() {
    let mut session = Session::default();
    run(&mut session, "CREATE TABLE s (id INT, x VARCHAR(10), d DECIMAL(5,1))");
    run(&mut session, "INSERT INTO s VALUES (1, 'A', 1), (2, 'b', 2.5), (3, NULL, 3), (NULL, 'd', 4)");
    let fill: Vec<String> = (100..120).map(|n| format!("({n}, 'x{n}')")).collect();
    for list in ["(1, 'a'), (2, 'B')", "(1, 'a'), (3, 'c')", "('1', 'a'), (2.0, 'b')", "(1, NULL), (2, 'b')"]
    {
        for test in ["IN", "NOT IN"] {
            let sql = |list: &str| format!("SELECT (id, x) {test} ({list}) FROM s");
            let short = run(&mut session, &sql(list)).texts();
            let long = run(&mut session, &sql(&format!("{list}, {}", fill.join(", ")))).texts();
            assert_eq!(short, long, "{test} {list}");
        }
    }
}

#[test]
fn shards_are_asked_how_much_tables_hold_only_for_columns_that_tell_it() {
    let mut session = filled(10);
    let mut asked = |sql: &str| {
        let before = session.sizes_asked();
        run(&mut session, sql);
        session.sizes_asked() - before
    };
    for sql in [
        "SELECT table_name FROM information_schema.tables",
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'test'",
        "SELECT index_name FROM information_schema.statistics WHERE table_name = 't'",
        "SELECT t.table_name, c.column_name FROM information_schema.tables t JOIN information_schema.columns c \
         USING (table_schema, table_name)",
        "SELECT table_name FROM information_schema.tables t WHERE EXISTS (SELECT 1 FROM information_schema.columns c \
         WHERE c.table_name = t.table_name AND column_key = 'PRI')",
        "SELECT n FROM (SELECT table_name AS n FROM information_schema.tables) x",
        "SHOW TABLES",
        "SHOW COLUMNS FROM t",
    ] {
        assert_eq!(asked(sql), 0, "{sql}");
    }
    for sql in [
        "SELECT table_rows FROM information_schema.tables",
        "SELECT * FROM information_schema.tables",
        "SELECT table_name FROM information_schema.tables WHERE data_length > 0",
        "SELECT table_name FROM information_schema.tables ORDER BY index_length",
        "SELECT table_name FROM information_schema.tables GROUP BY table_name HAVING SUM(avg_row_length) > 0",
        "SELECT cardinality FROM information_schema.statistics",
        "SELECT l.n FROM information_schema.tables t, LATERAL (SELECT t.table_rows AS n) l",
        "SELECT (SELECT t.table_rows) FROM information_schema.tables t",
        "SELECT x.table_name FROM information_schema.tables x LEFT JOIN information_schema.tables y \
         ON x.table_name = y.table_name AND x.table_rows = 1",
        "SHOW TABLE STATUS",
        "SHOW INDEX FROM t",
        "ANALYZE TABLE t",
    ] {
        assert!(asked(sql) > 0, "{sql}");
    }
}
