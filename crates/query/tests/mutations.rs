//! Statements of the golden scripts with words taken out, doubled and exchanged: an answer or an error, never a
//! panic.

use assize_query::testing::Session;
use std::path::PathBuf;

/// A small generator of its own, so that every run mutates alike.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn statements(name: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sql").join(name);
    let script = std::fs::read_to_string(path).expect("a script");
    script
        .split("\n\n")
        .filter_map(|block| {
            block.split_once(";\n").map(|(sql, _)| sql).or_else(|| block.trim().strip_suffix(';'))
        })
        .filter(|sql| !sql.starts_with('#') || sql.contains('\n'))
        .map(|sql| sql.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join(" "))
        .filter(|sql| !sql.trim().is_empty())
        .collect()
}

#[test]
fn mutated_statements_never_panic() {
    const WORDS: &[&str] = &[
        "NULL",
        "0",
        "-1",
        "18446744073709551615",
        "''",
        "'x'",
        "(",
        ")",
        ",",
        "*",
        "id",
        "a",
        "1.5",
        "DISTINCT",
        "WHERE",
        "GROUP BY",
        "ORDER BY",
        "COUNT(*)",
        "SUM(id)",
        "(SELECT 1)",
        "(SELECT 1, 2)",
        "IN",
        "NOT",
        "LIKE",
        "LIMIT 1",
        "JOIN",
        "ON",
        "AS",
        "OVER ()",
        "WITH ROLLUP",
        "UNION",
        "CASE",
        "END",
        "?",
        "@v",
        "1e308",
        "INTERVAL 1 DAY",
        "'2024-02-31'",
        "COLLATE utf8mb4_bin",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    let mut draw = Draw(7);
    for name in ["tables.test", "shapes.test", "expressions.test", "types.test", "values.test"] {
        let all = statements(name);
        let mut session = Session::default();
        for sql in &all {
            let _ = session.run(sql);
        }
        let queries: Vec<&String> = all
            .iter()
            .filter(|s| s.starts_with("SELECT") || s.starts_with("WITH") || s.starts_with('('))
            .collect();
        assert!(queries.len() > 20, "{name} has {} queries", queries.len());
        for _ in 0..1200 {
            let mut words: Vec<&str> = queries[draw.below(queries.len())].split(' ').collect();
            for _ in 0..1 + draw.below(3) {
                let at = draw.below(words.len());
                match draw.below(4) {
                    0 if words.len() > 1 => {
                        words.remove(at);
                    }
                    1 => words.insert(at, WORDS[draw.below(WORDS.len())]),
                    2 => words[at] = WORDS[draw.below(WORDS.len())],
                    _ => {
                        let other = draw.below(words.len());
                        words.swap(at, other);
                    }
                }
            }
            let sql = words.join(" ");
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.run(&sql)));
            match outcome {
                Err(_) => panic!("panicked: {sql}"),
                Ok(Err(error)) if error.code.errno() == 1105 => panic!("{error}: {sql}"),
                Ok(_) => {}
            }
        }
    }
}
