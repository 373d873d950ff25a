//! Outcomes as tables.

use super::{Outcome, Verdict};
use std::fmt::Write as _;
use std::time::Duration;

/// A time without commits of which it is said when it was.
const LONG_GAP: Duration = Duration::from_secs(5);

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

/// Column headings of what the white-box checker says.
const WHITE_BOX_HEAD: [&str; 9] = [
    "fault",
    "log entries",
    "decisions",
    "commits",
    "checkpoints",
    "testimonies",
    "reads",
    "versions",
    "violations",
];

fn white_box_row(outcome: &Outcome) -> Option<[String; 9]> {
    let report = outcome.white_box.as_ref()?;
    Some([
        outcome.fault.name().to_owned(),
        report.entries.to_string(),
        report.decisions.to_string(),
        report.commits.to_string(),
        report.checkpoints.to_string(),
        report.testimonies.to_string(),
        report.reads.to_string(),
        report.versions.to_string(),
        report.violations().to_string(),
    ])
}

/// The tables for people at a terminal.
pub fn text(outcomes: &[Outcome]) -> String {
    let white_box: Vec<_> = outcomes.iter().filter_map(white_box_row).collect();
    let mut out = aligned(HEAD, &rows(outcomes));
    if !white_box.is_empty() {
        out.push_str("\nwhite box: what was compared, after all nodes were stopped\n");
        out.push_str(&aligned(WHITE_BOX_HEAD, &white_box));
    }
    out
}

fn aligned<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// The table for `docs/reliability.md`: one row a fault, over all its workloads.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let head = [
        "fault",
        "times",
        "committed",
        "conflicts",
        "unknown",
        "errors",
        "longest gap",
        "lost",
        "anomalies",
        "decisions judged",
        "violations",
    ];
    let mut out = String::new();
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(head.len()));
    for outcome in outcomes {
        let _ = writeln!(out, "| {} |", sums(outcome).join(" | "));
    }
    out
}

fn sums(outcome: &Outcome) -> [String; 11] {
    let verdicts = &outcome.verdicts;
    let sum = |of: fn(&Verdict) -> u64| verdicts.iter().map(of).sum::<u64>().to_string();
    let white_box = |of: fn(&super::white_box::Report) -> u64| {
        outcome.white_box.as_ref().map_or("–".to_owned(), |report| of(report).to_string())
    };
    let gap = verdicts.iter().map(|v| v.tally.longest_gap).max().unwrap_or_default();
    [
        format!("`{}`", outcome.fault.name()),
        outcome.faults.to_string(),
        sum(|v| v.tally.committed),
        sum(|v| v.tally.conflicts),
        sum(|v| v.tally.unknown),
        sum(|v| v.tally.errors),
        format!("{} ms", gap.as_millis()),
        sum(|v| v.findings.lost),
        sum(|v| v.findings.anomalies.len() as u64),
        white_box(|report| report.decisions),
        white_box(super::white_box::Report::violations),
    ]
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
        if verdict.tally.longest_gap >= LONG_GAP {
            let (gap, began) = (verdict.tally.longest_gap, verdict.tally.gap_began);
            let _ = writeln!(out, "{name}: no commit for {gap:.1?}, {began:.1?} after the beginning");
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
    if let Some(report) = &outcome.white_box {
        for (rule, (count, texts)) in &report.violations {
            let _ = writeln!(out, "{fault}, white box: VIOLATED {count} times: {rule}");
            for text in texts {
                let _ = writeln!(out, "    {text}");
            }
        }
        for remark in &report.remarks {
            let _ = writeln!(out, "{fault}, white box: {remark}");
        }
        if report.needless > 0 {
            let (needless, all) = (report.needless, report.conflicts);
            let _ =
                writeln!(out, "{fault}, white box: {needless} of {all} conflicts in the log were needless");
        }
    }
    if let Some(directory) = &outcome.directory {
        let _ = writeln!(out, "{fault}: everything is kept in {}", directory.display());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::check::Findings;
    use super::super::client::Tally;
    use super::super::fault::Fault;
    use super::super::workload::{Kind, Level};
    use super::*;

    #[test]
    fn a_row_of_the_page_adds_up_its_workloads() {
        let verdict = |committed, anomalies: usize| {
            let mut tally = Tally::default();
            tally.committed = committed;
            let findings = Findings { anomalies: vec![String::new(); anomalies], ..Findings::default() };
            Verdict { kind: Kind::Bank, level: Level::Serializable, tally, findings }
        };
        let outcome = Outcome {
            fault: Fault::KillAll,
            faults: 3,
            verdicts: vec![verdict(5, 0), verdict(7, 2)],
            white_box: None,
            troubles: Vec::new(),
            directory: None,
        };
        assert!(!outcome.is_clean());
        let page = markdown(&[outcome]);
        assert!(page.ends_with("| `kill-all` | 3 | 12 | 0 | 0 | 0 | 0 ms | 0 | 2 | – | – |\n"), "{page}");
    }
}
