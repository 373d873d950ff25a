//! The scripts of `tests/sql` once more, with every table on another server: the answers are the same.

use assize_ports::Executed;
use assize_query::testing::{Answer, FakeForeign, Session};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The table that a statement defines or changes the definition of, if it is one that is done on both sides.
fn defined(sql: &str) -> Option<String> {
    let words: Vec<String> = sql.split_whitespace().take(4).map(str::to_ascii_uppercase).collect();
    let at = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["CREATE" | "ALTER" | "DROP" | "TRUNCATE", "TABLE", ..] => 2,
        _ => return None,
    };
    let name = sql.split_whitespace().nth(at)?;
    let name = name.split(['(', ';']).next()?.trim_matches('`');
    Some(name.to_owned())
}

fn answer(here: &mut Session, there: &FakeForeign, sql: &str, told: bool) -> String {
    let mut out = String::new();
    // ALTER TABLE refuses foreign tables: their owner changes them there, and defines them anew here.
    let altered = defined(sql).filter(|table| {
        let known = here.catalog().table("test", table).cloned();
        sql.starts_with("ALTER TABLE") && known.is_some_and(|table| table.foreign.is_some())
    });
    if let Some(table) = &altered {
        here.is_here(table);
    }
    let result = here.run(sql);
    if let (Err(_), Some(table)) = (&result, &altered) {
        here.is_foreign(table, "legacy");
    }
    if result.is_ok()
        && let Some(table) = defined(sql)
    {
        let _ = there.run(sql);
        if here.catalog().table("test", &table).is_some_and(|t| t.view.is_none()) {
            here.is_foreign(&table, "legacy");
        }
    }
    match result {
        Err(error) => {
            let (errno, state) = (error.code.errno(), error.code.sqlstate());
            let _ = writeln!(out, "ERROR {errno} ({state}): {}", error.message.replace('\n', "\\n"));
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
            if told {
                tell(&answer, &mut out);
            }
        }
    }
    out
}

/// What a statement did, as scripts of `tests/statements` have it.
fn tell(answer: &Answer, out: &mut String) {
    if let Executed::Affected { changed, matched, insert_id, info } = &answer.executed {
        let mut parts = Vec::new();
        parts.extend((*changed > 0).then(|| format!("{changed} changed")));
        parts.extend((matched != changed).then(|| format!("{matched} matched")));
        parts.extend((*insert_id > 0).then(|| format!("id {insert_id}")));
        parts.extend((!info.is_empty()).then(|| info.clone()));
        if !parts.is_empty() {
            let _ = writeln!(out, "-- {}", parts.join(", "));
        }
    }
    for warning in &answer.warnings {
        let _ = writeln!(out, "{:?} {}: {}", warning.level, warning.code.errno(), warning.message);
    }
}

/// Warnings of the server come when rows are sent, behind those of reading them.
fn sorted_warnings(answer: &str) -> Vec<&str> {
    let (mut warnings, mut lines): (Vec<&str>, Vec<&str>) =
        answer.lines().partition(|line| line.starts_with("Warning "));
    warnings.sort_unstable();
    lines.extend(warnings);
    lines
}

/// Whether a statement tells how or where rows are stored.
fn asks_for_storage(sql: &str) -> bool {
    ["EXPLAIN", "CHECK TABLE"].iter().any(|verb| sql.starts_with(verb)) || sql.contains("TABLE_ROWS")
}

/// What differs in a script.
fn differences(path: &Path) -> Vec<String> {
    let script = std::fs::read_to_string(path).expect("a script");
    let (mut here, there) = (Session::default(), FakeForeign::default());
    here.knows("legacy", &there);
    let told = path.parent().is_some_and(|folder| folder.ends_with("statements"));
    let mut found = Vec::new();
    let mut lines = script.lines().peekable();
    let mut statement = String::new();
    while let Some(line) = lines.next() {
        if statement.is_empty() && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        statement.push_str(line);
        statement.push('\n');
        if !line.ends_with(';') {
            continue;
        }
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty() && !line.starts_with('#')) {
            let _ = writeln!(expected, "{line}");
        }
        let sql = std::mem::take(&mut statement);
        let sql = sql.trim().trim_end_matches(';');
        let actual = answer(&mut here, &there, sql, told);
        if actual.contains("which has no primary key and no unique key without NULL") {
            // Rows without a key cannot be changed from here. The script goes on as if they had been.
            let _ = there.run(sql);
            continue;
        }
        if sorted_warnings(&actual) != sorted_warnings(&expected) && !asks_for_storage(sql) {
            found.push(format!("{sql}\n  expected {expected:?}\n       got {actual:?}"));
        }
    }
    assert!(!there.sent().is_empty(), "{} sent nothing", path.display());
    found
}

/// Scripts that define tables and do not change definitions, which is another matter for foreign tables.
const SCRIPTS: &[&str] = &[
    "sql/shapes",
    "sql/names",
    "sql/changes",
    "sql/types",
    "sql/random",
    "sql/tables",
    "sql/views",
    "statements/insert",
    "statements/update",
];

#[test]
fn scripts_answer_alike_over_foreign_tables() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let failures: Vec<String> = SCRIPTS
        .iter()
        .flat_map(|name| {
            let found = differences(&folder.join(format!("{name}.test")));
            found.into_iter().map(move |difference| format!("{name}: {difference}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
