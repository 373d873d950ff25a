//! Any bytes give a statement or an error, never a panic.

use assize_sql::*;
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "t",
    "a",
    "1",
    "'x'",
    "\"y\"",
    "`z`",
    "(",
    ")",
    ",",
    "=",
    "+",
    "-",
    "*",
    "?",
    ";",
    ".",
    "@a",
    "@@b",
    ":=",
    "->",
    "INSERT",
    "INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE",
    "CREATE",
    "TABLE",
    "INT",
    "ALTER",
    "ADD",
    "DROP",
    "INDEX",
    "KEY",
    "PRIMARY",
    "JOIN",
    "ON",
    "LEFT",
    "USING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "INTERVAL",
    "DAY",
    "CAST",
    "AS",
    "CHAR",
    "GROUP",
    "BY",
    "ORDER",
    "LIMIT",
    "UNION",
    "SHOW",
    "GRANT",
    "TO",
    "USER",
    "/*!",
    "*/",
    "/*",
    "--",
    "#",
    "\n",
    "0x1",
    "x'41'",
    "b'1'",
    "1e",
    "1.5",
    "\\N",
    "{d",
    "}",
    "NULL",
    "DEFAULT",
    "WITH",
    "OVER",
    "FOR",
    "LOCK",
    "EXISTS",
    "MATCH",
    "AGAINST",
    "LOAD",
    "DATA",
    "PARTITION",
    "_utf8'",
    "'",
    "\"",
    "`",
    "\\",
    "|",
    "||",
    "&&",
    "<=>",
    "\u{e9}",
];

fn check(text: &[u8]) {
    for options in [
        ParseOptions::default(),
        ParseOptions::from_sql_mode("ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE"),
    ] {
        let _ = parse(text, &options);
        let _ = parse_one(text, &options);
        for range in split_statements(text, &options) {
            assert!(range.end <= text.len());
        }
        let mut from = 0;
        while let Ok(next) = parse_next(text, from, &options) {
            assert!(next.next > from || next.next >= text.len());
            from = next.next;
            if from >= text.len() {
                break;
            }
        }
        let digest = normalise(text, &options);
        assert_eq!(digest, normalise(text, &options));
        if let Some(lifted) = lift(text, &options)
            && let Ok(parsed) = parse_one(text, &options)
        {
            // A statement that parses still does once its literals are lifted, with one `?` for each.
            let again = parse_one(&lifted.text, &options)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&lifted.text)));
            assert_eq!(again.placeholders as usize, lifted.literals.len());
            assert_eq!(parsed.placeholders, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&text);
    }

    #[test]
    fn random_words(words in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        check(words.join(" ").as_bytes());
        check(words.concat().as_bytes());
    }

    #[test]
    fn mutilated_statements(at in 0usize..400, cut in 0usize..40, which in 0usize..1000) {
        let all = concat!(include_str!("clients/queries.sql"), include_str!("clients/ddl.sql"),
            include_str!("clients/frameworks.sql"), include_str!("clients/admin.sql"));
        let statements: Vec<&str> = all.split("\n\n").collect();
        let mut text = statements[which % statements.len()].as_bytes().to_vec();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.drain(at..end);
        check(&text);
    }
}
