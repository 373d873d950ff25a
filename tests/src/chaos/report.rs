//! Outcomes as tables.

use super::{Outcome, Verdict};
use std::fmt::Write as _;

/// Column headings.
const HEAD: [&str; 11] = [
    "fault",
    "times",
    "workload",
    "level",
    "committed",
    "conflicts",
    "unknown",
    "errors",
    "longest gap",
    "lost",
    "anomalies",
];

fn row(outcome: &Outcome, verdict: &Verdict) -> [String; 11] {
    let tally = &verdict.tally;
    [
        outcome.fault.name().to_owned(),
        outcome.faults.to_string(),
        verdict.kind.name().to_owned(),
        verdict.level.name().to_owned(),
        tally.committed.to_string(),
        tally.conflicts.to_string(),
        tally.unknown.to_string(),
        tally.errors.to_string(),
        format!("{} ms", tally.longest_gap.as_millis()),
        verdict.findings.lost.to_string(),
        verdict.findings.anomalies.len().to_string(),
    ]
}

/// The table for people at a terminal.
pub fn text(outcomes: &[Outcome]) -> String {
    let rows: Vec<[String; 11]> = rows(outcomes);
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    let head = HEAD.map(str::to_owned);
    for row in std::iter::once(&head).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// The table for `docs/reliability.md`.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "| {} |", HEAD.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(HEAD.len()));
    for row in rows(outcomes) {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn rows(outcomes: &[Outcome]) -> Vec<[String; 11]> {
    outcomes.iter().flat_map(|outcome| outcome.verdicts.iter().map(|verdict| row(outcome, verdict))).collect()
}

/// Everything that deserves a sentence: troubles, anomalies, errors, remarks.
pub fn details(outcome: &Outcome) -> String {
    let mut out = String::new();
    let fault = outcome.fault.name();
    for trouble in &outcome.troubles {
        let _ = writeln!(out, "{fault}: TROUBLE: {trouble}");
    }
    for verdict in &outcome.verdicts {
        let name = format!("{fault}, {} at {}", verdict.kind.name(), verdict.level.name());
        for anomaly in &verdict.findings.anomalies {
            let _ = writeln!(out, "{name}: ANOMALY: {anomaly}");
        }
        for text in &verdict.tally.texts {
            let _ = writeln!(out, "{name}: error: {text}");
        }
        if verdict.tally.losses > 0 {
            let _ = writeln!(
                out,
                "{name}: {} connections or statements lost with their node",
                verdict.tally.losses
            );
        }
        if !verdict.findings.remark.is_empty() {
            let _ = writeln!(out, "{name}: {}", verdict.findings.remark);
        }
    }
    if let Some(directory) = &outcome.directory {
        let _ = writeln!(out, "{fault}: everything is kept in {}", directory.display());
    }
    out
}
