//! What statements change, with what they report: `tests/statements/*.test`.
//!
//! As `golden.rs`, but after the rows come `-- n changed, n matched, id n, info` of statements that change
//! something, and one line per warning. Answers were made by MariaDB 10.11 where it agrees with MySQL 8.4; the
//! others are by MySQL's manual.
//!
//! `UPDATE_GOLDEN=1 cargo test -p assize-query --test statements` writes what comes out; read the difference.

use assize_ports::Executed;
use assize_query::testing::Session;
use std::fmt::Write;
use std::path::Path;

fn answer(session: &mut Session, sql: &str) -> String {
    let mut out = String::new();
    match session.run(sql) {
        Err(error) => {
            let text = error.message.replace('\n', "\\n");
            let _ = writeln!(out, "ERROR {} ({}): {text}", error.code.errno(), error.code.sqlstate());
        }
        Ok(answer) => {
            for row in answer.texts() {
                let _ = writeln!(out, "{}", row.join(" | "));
            }
            if let Executed::Affected { changed, matched, insert_id, info } = &answer.executed {
                let mut parts = Vec::new();
                if *changed > 0 {
                    parts.push(format!("{changed} changed"));
                }
                if matched != changed {
                    parts.push(format!("{matched} matched"));
                }
                if *insert_id > 0 {
                    parts.push(format!("id {insert_id}"));
                }
                if !info.is_empty() {
                    parts.push(info.clone());
                }
                if !parts.is_empty() {
                    let _ = writeln!(out, "-- {}", parts.join(", "));
                }
            }
            for warning in &answer.warnings {
                let _ = writeln!(out, "{:?} {}: {}", warning.level, warning.code.errno(), warning.message);
            }
        }
    }
    out
}

/// Plays a script: statements stand as they are, what follows them is made anew.
fn play(script: &str) -> String {
    let mut session = Session::default();
    let mut out = String::new();
    let mut statement = String::new();
    let mut in_answer = false;
    for line in script.lines() {
        if statement.is_empty() && (line.is_empty() || line.starts_with('#')) {
            in_answer = false;
            out.push_str(line);
            out.push('\n');
        } else if !in_answer {
            statement.push_str(line);
            statement.push('\n');
            if line.ends_with(';') {
                out.push_str(&statement);
                let sql = statement.trim().trim_end_matches(';').to_string();
                statement.clear();
                out.push_str(&answer(&mut session, &sql));
                in_answer = true;
            }
        }
    }
    out
}

#[test]
fn statements_answer_as_their_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/statements");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut different = Vec::new();
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let played = play(&script);
        if played == script {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, played).unwrap();
            continue;
        }
        for (old, new) in script.lines().zip(played.lines()).filter(|(old, new)| old != new).take(20) {
            different.push(format!("{}\n  said {old}\n  says {new}", path.display()));
        }
        if script.lines().count() != played.lines().count() {
            different.push(format!("{}: another number of lines", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
