//! Statements with what they answer: `tests/sql/*.test`.
//!
//! A script is a list of statements, each ended by `;` at the end of a line and followed by its answer: one
//! line per row, values separated by ` | `, or `ERROR number (state): text`, or nothing. Answers were made by
//! MariaDB 10.11 where it agrees with MySQL 8.4; the others are by MySQL's manual.
//!
//! `UPDATE_GOLDEN=1 cargo test -p assize-query --test golden` writes what comes out; read the difference.

use assize_query::testing::{FakeCluster, Session};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

fn answer(session: &mut Session, sql: &str) -> String {
    let mut out = String::new();
    match session.run(sql) {
        Err(error) => {
            let _ = writeln!(
                out,
                "ERROR {} ({}): {}",
                error.code.errno(),
                error.code.sqlstate(),
                error.message.replace('\n', "\\n")
            );
        }
        Ok(answer) => {
            let mut rows: Vec<String> =
                answer.texts().into_iter().map(|row| row.join(" | ").replace('\n', "\\n")).collect();
            if sql.contains("/* any order */") {
                rows.sort();
            }
            for row in rows {
                let _ = writeln!(out, "{row}");
            }
        }
    }
    out
}

/// Statements and answers of a script, and the lines between them.
fn check(path: &PathBuf) -> Result<(), String> {
    let script = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut session = Session::default();
    if path.file_stem().is_some_and(|name| name == "cluster") {
        session.joins(Arc::new(FakeCluster::default()));
    }
    let mut actual = String::new();
    let mut statement = String::new();
    let mut skipping = false;
    for line in script.lines() {
        if statement.is_empty() && (line.is_empty() || line.starts_with('#')) {
            skipping = false;
            actual.push_str(line);
            actual.push('\n');
            continue;
        }
        if skipping {
            continue;
        }
        statement.push_str(line);
        statement.push('\n');
        if line.ends_with(';') {
            actual.push_str(&statement);
            let sql = statement.trim().trim_end_matches(';').to_string();
            statement.clear();
            actual.push_str(&answer(&mut session, &sql));
            skipping = true;
        }
    }
    if actual == script {
        return Ok(());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(path, actual).map_err(|e| e.to_string());
    }
    let mut report = format!("{} differs:\n", path.display());
    let (mut old, mut new) = (script.lines(), actual.lines());
    let mut shown = 0;
    loop {
        match (old.next(), new.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let _ =
                    writeln!(report, "  expected {:?}\n       got {:?}", a.unwrap_or(""), b.unwrap_or(""));
                shown += 1;
                if shown == 20 {
                    break;
                }
            }
        }
    }
    Err(report)
}

#[test]
fn every_script_answers_as_written() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let folder = std::env::var_os("GOLDEN_DIR").map_or(own, PathBuf::from);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/sql")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let only = std::env::var_os("GOLDEN").unwrap_or_default().to_string_lossy().into_owned();
    let failures: Vec<String> = paths
        .iter()
        .filter(|path| path.to_string_lossy().contains(&only))
        .filter_map(|path| check(path).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
