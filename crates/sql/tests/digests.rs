//! Digests and lifted literals.

use assize_sql::*;

fn digest(text: &str) -> String {
    normalise(text, &ParseOptions::default()).text.to_string()
}

#[test]
fn literals_become_question_marks() {
    for (text, expected) in [
        ("SELECT  1", "SELECT ?"),
        ("select * from t where a=1 and b = 'x'", "select * from t where a = ? and b = ?"),
        ("SELECT * FROM t WHERE id IN (1, 2, 3)", "SELECT * FROM t WHERE id IN (...)"),
        ("SELECT * FROM t WHERE id IN (7)", "SELECT * FROM t WHERE id IN (...)"),
        ("SELECT f(1), g(1, 2), h(a, 1)", "SELECT f (?), g (...), h (a, ?)"),
        ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (...)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "INSERT INTO t VALUES (...), ..."),
        ("SELECT /* c */ 1 -- x\n + 2 # y", "SELECT ? + ?"),
        ("SELECT -1, a-1, f(-1)", "SELECT - ?, a - ?, f (?)"),
        ("SELECT * FROM t WHERE a = -5", "SELECT * FROM t WHERE a = ?"),
        ("SELECT 'a' 'b', x'41', 0x41, b'1', N'x', 1.5, .5, 1e5", "SELECT ?, ?, ?, ?, ?, ?, ?, ?"),
        ("SELECT t.a, `b c`.`d` FROM t;", "SELECT t.a, `b c`.`d` FROM t"),
        ("SELECT @a, @@session.b", "SELECT @a, @@session.b"),
        ("SELECT * FROM t WHERE a = ?", "SELECT * FROM t WHERE a = ?"),
        (
            "UPDATE t SET a = a + 1 WHERE b <=> NULL LIMIT 5",
            "UPDATE t SET a = a + ? WHERE b <=> NULL LIMIT ?",
        ),
    ] {
        assert_eq!(digest(text), expected, "{text}");
    }
}

#[test]
fn statements_that_differ_in_literals_share_a_digest() {
    let hash = |text: &str| normalise(text, &ParseOptions::default()).hash;
    assert_eq!(hash("SELECT a FROM t WHERE b = 1"), hash("SELECT  a FROM t\nWHERE b='x'"));
    assert_eq!(hash("SELECT a FROM t WHERE b IN (1,2)"), hash("SELECT a FROM t WHERE b IN (1,2,3,4)"));
    assert_ne!(hash("SELECT a FROM t WHERE b = 1"), hash("SELECT a FROM t WHERE c = 1"));
}

fn lifted(text: &str) -> Option<(String, Vec<Literal>)> {
    let lifted = lift(text.as_bytes(), &ParseOptions::default())?;
    Some((String::from_utf8(lifted.text).unwrap(), lifted.literals))
}

fn int(n: i64) -> Literal {
    Literal::Integer(n.to_string())
}

fn text(s: &str) -> Literal {
    Literal::Text(s.into())
}

#[test]
fn literals_are_lifted_where_only_their_value_counts() {
    let cases: &[(&str, &str, &[Literal])] = &[
        ("SELECT a FROM t WHERE id = 5", "SELECT a FROM t WHERE id = ?", &[int(5)]),
        ("SELECT 1, 'x' FROM t WHERE id = -5", "SELECT 1, 'x' FROM t WHERE id = ?", &[int(-5)]),
        (
            "SELECT a FROM t WHERE b IN (1, 'x', c) AND d BETWEEN 2 AND 3 AND e LIKE 'y%' LIMIT 5, 10",
            "SELECT a FROM t WHERE b IN (?, ?, c) AND d BETWEEN ? AND ? AND e LIKE ? LIMIT ?, ?",
            &[int(1), text("x"), int(2), int(3), text("y%"), int(5), int(10)],
        ),
        (
            "SELECT a FROM t WHERE a = 1 GROUP BY 1 HAVING a > 5 ORDER BY 2 LIMIT 3 OFFSET 4",
            "SELECT a FROM t WHERE a = ? GROUP BY 1 HAVING a > 5 ORDER BY 2 LIMIT ? OFFSET ?",
            &[int(1), int(3), int(4)],
        ),
        (
            "INSERT INTO t (a, b) VALUES (1, 'it''s'), (2.5, f(3)), (-1, 1e3)",
            "INSERT INTO t (a, b) VALUES (?, ?), (?, f(3)), (?, ?)",
            &[int(1), text("it's"), Literal::Decimal("2.5".into()), int(-1), Literal::Double(1e3)],
        ),
        (
            "UPDATE t SET a = 'x', b = b + 1 WHERE c <> 3",
            "UPDATE t SET a = ?, b = b + 1 WHERE c <> ?",
            &[text("x"), int(3)],
        ),
        (
            "SELECT (SELECT a FROM t WHERE b = 1) FROM t WHERE c = (SELECT d FROM u WHERE e = 2)",
            "SELECT (SELECT a FROM t WHERE b = 1) FROM t WHERE c = (SELECT d FROM u WHERE e = ?)",
            &[int(2)],
        ),
        (
            "SELECT a FROM (SELECT a FROM t WHERE b = 1) x JOIN y ON y.a = 2 WHERE y.c > NOW() - INTERVAL 1 DAY",
            "SELECT a FROM (SELECT a FROM t WHERE b = ?) x JOIN y ON y.a = ? WHERE y.c > NOW() - INTERVAL 1 DAY",
            &[int(1), int(2)],
        ),
        (
            "SELECT a FROM t WHERE b = 'x' 'y' AND c = DATE '2020-01-01' AND d = _utf8mb4'z' AND j->'$.a' = 1",
            "SELECT a FROM t WHERE b = 'x' 'y' AND c = DATE '2020-01-01' AND d = _utf8mb4'z' AND j->'$.a' = ?",
            &[int(1)],
        ),
        (r"DELETE FROM t WHERE a = 'q\'\n'", "DELETE FROM t WHERE a = ?", &[text("q'\n")]),
        ("SELECT a FROM t WHERE b = 0x41", "SELECT a FROM t WHERE b = 0x41", &[]),
        ("SELECT a FROM t LIMIT 5, 7", "SELECT a FROM t LIMIT ?, ?", &[int(5), int(7)]),
        ("SELECT a FROM t LIMIT 5 OFFSET 7", "SELECT a FROM t LIMIT ? OFFSET ?", &[int(5), int(7)]),
    ];
    for (from, expected, literals) in cases {
        let (text, found) = lifted(from).unwrap_or_else(|| panic!("{from}"));
        assert_eq!(&text, expected, "{from}");
        assert_eq!(&found, literals, "{from}");
        // What was lifted parses, with as many placeholders.
        let parsed = parse_one(&text, &ParseOptions::default()).unwrap();
        assert_eq!(parsed.placeholders as usize, found.len(), "{from}");
    }
}

#[test]
fn what_is_no_number_of_rows_is_left_to_the_parser() {
    for limit in ["-1", "'a'", "1.5", "1e0", "5, -1", "5 OFFSET -1", "5 OFFSET '1'"] {
        let text = format!("SELECT a FROM t LIMIT {limit}");
        let left = lifted(&text).unwrap().0;
        assert!(parse_one(&left, &ParseOptions::default()).is_err(), "{left}");
    }
}

#[test]
fn comments_around_a_statement_are_no_part_of_it() {
    let one = lifted("/* request 1 */ SELECT a FROM t WHERE b = 1 /*traceparent='00-1'*/ ; -- x");
    let two = lifted("SELECT a FROM t WHERE b = 1");
    assert_eq!(one, two);
    let (text, _) = lifted("# x\nSELECT a FROM t /* within */ WHERE b = c /* behind */").unwrap();
    assert_eq!(text, "SELECT a FROM t /* within */ WHERE b = c");
}

#[test]
fn other_statements_are_left_alone() {
    for text in [
        "CREATE TABLE t (a INT DEFAULT 5)",
        "SET a = 5",
        "SELECT a FROM t WHERE b = ? AND c = 5",
        "SELECT 1; SELECT 2",
        "/*!40101 SELECT 1 */",
        "SELECT /*!40001 SQL_NO_CACHE */ a FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b = 'open",
        "(SELECT a FROM t WHERE b = 1)",
        "",
    ] {
        assert_eq!(lifted(text), None, "{text}");
    }
}

#[test]
fn classes_of_literals_are_part_of_the_hash() {
    let hash = |text: &str| lift(text.as_bytes(), &ParseOptions::default()).unwrap().hash;
    assert_eq!(hash("SELECT a FROM t WHERE b = 1"), hash("SELECT a FROM t WHERE b = 99"));
    assert_ne!(hash("SELECT a FROM t WHERE b = 1"), hash("SELECT a FROM t WHERE b = '1'"));
    assert_ne!(hash("SELECT a FROM t WHERE b = 1"), hash("SELECT a FROM t WHERE b = 1.0"));
}

#[test]
fn a_bulk_insert_is_read_in_one_pass() {
    let rows: Vec<String> = (0..200_000).map(|n| format!("({n}, 'v{n}', f(x, 1))")).collect();
    let text = format!("INSERT INTO t VALUES {}", rows.join(", "));
    let lifted = lift(text.as_bytes(), &ParseOptions::default()).unwrap();
    assert_eq!(lifted.literals.len(), 400_000);
    assert!(normalise(&text, &ParseOptions::default()).text.starts_with("INSERT INTO t VALUES (?, ?, f"));
}
