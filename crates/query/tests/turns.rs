//! Statements that only compute let other sessions have their turns.

use assize_query::testing::Session;

/// A table `r` of 500 rows and no index that helps.
fn filled() -> Session {
    let mut session = Session::default();
    session.run("CREATE TABLE r (id INT PRIMARY KEY, a INT NOT NULL)").unwrap();
    let rows: Vec<String> = (0..500).map(|n| format!("({n}, {})", n % 10)).collect();
    session.run(&format!("INSERT INTO r VALUES {}", rows.join(","))).unwrap();
    session
}

/// Others have this many turns at least while the statement runs.
fn check(session: &mut Session, sql: &str, at_least: u64) {
    session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(session.turns() >= at_least, "{sql}: {} turns", session.turns());
}

#[test]
fn long_loops_let_others_have_their_turns() {
    let mut session = filled();
    // 250,000 pairs of rows.
    check(&mut session, "SELECT COUNT(*) FROM r a, r b WHERE a.a + b.a = -1", 100);
    check(&mut session, "SELECT COUNT(*) FROM r a, r b", 60);
    check(&mut session, "SELECT COUNT(*) FROM r a JOIN r b ON a.a = b.a", 6);
    check(&mut session, "SELECT COUNT(*) FROM r a LEFT JOIN r b ON a.id < b.id", 60);
    check(&mut session, "SELECT COUNT(*) FROM r a, LATERAL (SELECT b.id FROM r b WHERE b.id > a.a) d", 60);
    check(&mut session, "SELECT DISTINCT a.a FROM r a, r b", 60);
    check(&mut session, "SELECT a.a FROM r a, r b ORDER BY a.id + b.id LIMIT 1", 60);
    check(&mut session, "SELECT a.id FROM r a, r b UNION SELECT 1", 60);
    check(
        &mut session,
        "SELECT COUNT(*) FROM r a WHERE (SELECT COUNT(*) FROM r b WHERE b.id < a.id) < 0",
        20,
    );
    check(&mut session, "SELECT SUM(a.a) OVER (PARTITION BY a.id) FROM r a, r b LIMIT 1", 60);
    check(&mut session, "SELECT BENCHMARK(1000000, 1 + 1)", 100);
    session.run("SET cte_max_recursion_depth = 100000").unwrap();
    check(
        &mut session,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT MAX(i) FROM n",
        10,
    );
}

#[test]
fn lists_count_as_the_work_that_they_are() {
    let mut session = filled();
    let list: Vec<String> = (1000..3000).map(|n| n.to_string()).collect();
    check(&mut session, &format!("SELECT COUNT(*) FROM r WHERE a + id IN (id, {})", list.join(",")), 100);
    check(&mut session, "UPDATE r SET a = a + 1", 1);
}

#[test]
fn short_statements_do_not_wait() {
    let mut session = filled();
    session.run("SELECT a FROM r WHERE id = 7").unwrap();
    assert_eq!(session.turns(), 0);
    session.run("SELECT a FROM r WHERE id < 100 ORDER BY a").unwrap();
    assert_eq!(session.turns(), 0);
}

#[test]
fn a_benchmark_goes_on_where_it_stopped() {
    let mut session = filled();
    session.run("SET @n = 0").unwrap();
    session.run("SELECT BENCHMARK(20000, @n := @n + 1), BENCHMARK(10, SLEEP(0)), BENCHMARK(-1, 1)").unwrap();
    let answer = session.run("SELECT @n >= 20000").unwrap();
    assert_eq!(answer.texts(), [["1"]]);
}
