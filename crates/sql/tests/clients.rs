//! What real clients, drivers, frameworks and dump tools send must parse.

use assize_sql::{ParseOptions, parse_one};

fn check(statements: &str) {
    let mut failures = Vec::new();
    // Statements are separated by blank lines, so that they can have semicolons and line ends within.
    for statement in statements.split("\n\n").map(str::trim).filter(|s| !s.is_empty()) {
        if let Err(error) = parse_one(statement, &ParseOptions::default()) {
            failures.push(format!("{statement}\n    {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn connecting() {
    check(include_str!("clients/connect.sql"));
}

#[test]
fn frameworks() {
    check(include_str!("clients/frameworks.sql"));
}

#[test]
fn dump_tools() {
    check(include_str!("clients/dumps.sql"));
}

#[test]
fn schema_changes() {
    check(include_str!("clients/ddl.sql"));
}

#[test]
fn administration() {
    check(include_str!("clients/admin.sql"));
}

#[test]
fn queries() {
    check(include_str!("clients/queries.sql"));
}
