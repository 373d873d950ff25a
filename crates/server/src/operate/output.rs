//! Printing: tables for people, one JSON object a line for programs; data on stdout.

use crate::Failure;
use crate::cli::Output;
use assize_admin::pb;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Prints a list: a row or a line each.
pub fn list<T: Serialize>(
    output: Output,
    items: &[T],
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Json => items.iter().try_for_each(json),
        Output::Table => line(table(items, header, row)),
    }
}

/// A list as a table.
pub fn table<T>(items: &[T], header: &[&str], row: impl Fn(&T) -> Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for item in items {
        table.add_row(row(item));
    }
    table
}

/// Says how many there are beyond those that were listed.
pub fn beyond(output: Output, listed: usize, total: u32) {
    if output == Output::Table && (total as usize) > listed {
        eprintln!("{listed} of {total}: see --limit");
    }
}

/// What programs are told after a list of which parts are missing.
#[derive(Serialize)]
struct Silence<'a> {
    silent_nodes: &'a [u64],
}

/// Says which nodes' part of a list is missing: the last line of it for programs, talk for people.
pub fn silence(output: Output, nodes: &[u64]) -> Result<(), Failure> {
    let Some(line) = silence_line(nodes) else { return Ok(()) };
    eprintln!("{line}");
    match output {
        Output::Json => json(&Silence { silent_nodes: nodes }),
        Output::Table => Ok(()),
    }
}

/// What is said of nodes that did not answer; nothing if all did.
pub fn silence_line(nodes: &[u64]) -> Option<String> {
    let numbers: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    match &numbers[..] {
        [] => None,
        [node] => Some(format!("node {node} did not answer: what it knows is missing")),
        nodes => Some(format!("nodes {} did not answer: what they know is missing", nodes.join(", "))),
    }
}

/// Says that no leader has confirmed what was printed.
pub fn age(may_be_old: bool) {
    if may_be_old {
        eprintln!("no leader is heard of: this is what the node knew last, see `assize status`");
    }
}

/// Prints one thing: a text of its own, or a line of JSON.
pub fn one<T: Serialize>(output: Output, item: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    match output {
        Output::Json => json(item),
        Output::Table => line(text(item)),
    }
}

/// Prints what came of a mutation.
pub fn done(output: Output, done: &pb::Done) -> Result<(), Failure> {
    one(output, done, |done| {
        let prefix = if done.was_validate_only { "could be done: " } else { "" };
        let job = if done.job_id.is_empty() { String::new() } else { format!(" (job {})", done.job_id) };
        format!("{prefix}{}{job}", done.text)
    })
}

/// One line of JSON.
pub fn json<T: Serialize>(item: &T) -> Result<(), Failure> {
    line(serde_json::to_string(item)?)
}

/// A line on stdout, at once: streams are read by others.
pub fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Whether stdout shows colours.
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A protobuf duration or timestamp; `-` if there is none.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// Bytes in binary units, or a dash.
pub fn bytes_or_dash(count: Option<u64>) -> String {
    count.map_or_else(|| "-".to_owned(), bytes)
}

/// Bytes in binary units: `3.0 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}
