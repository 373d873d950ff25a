//! `./justw chaos`: torments a cluster of real processes under load and judges what its clients saw.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::chaos::fault::Fault;
use assize_tests::chaos::workload::{Kind, Level};
use assize_tests::chaos::{Outcome, Plan, report, run};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Torment a cluster of real processes under load and judge what its clients saw
#[derive(Parser, Debug)]
#[command(name = "chaos")]
struct Arguments {
    /// How long clients work under each fault, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// A workload (bank, list-append, register, long-fork, write-skew, set), or several; all by default
    #[arg(long, value_parser = kind)]
    workload: Vec<Kind>,
    /// A fault (none, kill-leader, kill-follower, …; `list` prints them), or several; all by default
    #[arg(long, value_parser = fault)]
    fault: Vec<Fault>,
    /// repeatable-read or serializable; both by default
    #[arg(long, value_parser = level)]
    level: Vec<Level>,
    /// Number of nodes
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Clients of each workload at each level: as many as nodes, so that one is at every node
    #[arg(long, default_value_t = 3)]
    clients: u64,
    /// Chooses keys, victims and moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the table of docs/reliability.md
    #[arg(long)]
    markdown: bool,
    /// Judge only what clients saw, not what is on the nodes' disks
    #[arg(long)]
    no_white_box: bool,
    /// Write the histories of list-append and register there, as EDN for Elle
    #[arg(long, value_name = "DIRECTORY")]
    history: Option<PathBuf>,
    /// Have them judged by this command, which is called as `elle-cli` is
    #[arg(long, value_name = "COMMAND", requires = "history")]
    elle: Option<String>,
    /// Keep data, configurations and logs of the clusters
    #[arg(long)]
    keep: bool,
    /// The binary of an earlier release, for the fault `upgrade`
    #[arg(long)]
    old_binary: Option<std::path::PathBuf>,
    /// Further settings of every node, as `section.key=value`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

fn kind(text: &str) -> Result<Kind, String> {
    named(text, Kind::ALL.map(|kind| (kind.name(), kind)))
}

fn fault(text: &str) -> Result<Fault, String> {
    named(text, Fault::ALL.map(|fault| (fault.name(), fault)))
}

fn level(text: &str) -> Result<Level, String> {
    named(text, [("repeatable-read", Level::RepeatableRead), ("serializable", Level::Serializable)])
}

fn named<T: Copy, const N: usize>(text: &str, all: [(&'static str, T); N]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text).map(|(_, one)| *one);
    found.ok_or_else(|| format!("one of: {}", all.map(|(name, _)| name).join(", ")))
}

/// Either what was asked for, or all.
fn or_all<T: Copy>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all.to_vec() } else { asked.to_vec() }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let levels = or_all(&arguments.level, &Level::ALL);
    let workloads: Vec<(Kind, Level)> = or_all(&arguments.workload, &Kind::ALL)
        .into_iter()
        .flat_map(|kind| levels.iter().map(move |level| (kind, *level)))
        .collect();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let is_possible = |fault: &Fault| match fault {
        Fault::Upgrade => arguments.old_binary.is_some(),
        fault => arguments.nodes > 1 || !fault.needs_several(),
    };
    if arguments.fault.contains(&Fault::Upgrade) && arguments.old_binary.is_none() {
        eprintln!("the fault `upgrade` needs --old-binary");
        return ExitCode::from(64);
    }
    let possible: Vec<Fault> = Fault::ALL.into_iter().filter(is_possible).collect();
    for fault in or_all(&arguments.fault, &possible) {
        let plan = Plan {
            nodes: arguments.nodes,
            clients: arguments.clients,
            duration: Duration::from_secs(arguments.seconds),
            seed: arguments.seed,
            settings: arguments.settings.clone(),
            is_kept: arguments.keep,
            is_white_box: !arguments.no_white_box && fault != Fault::Upgrade,
            history: arguments.history.clone(),
            elle: arguments.elle.clone(),
            old_binary: arguments.old_binary.clone().filter(|_| fault == Fault::Upgrade),
            ..Plan::new(workloads.clone(), fault)
        };
        eprintln!("{} for {} s on {} nodes …", fault.name(), arguments.seconds, arguments.nodes);
        let outcome = run(&plan);
        eprint!("{}", report::details(&outcome));
        outcomes.push(outcome);
    }
    let table = if arguments.markdown { report::markdown(&outcomes) } else { report::text(&outcomes) };
    print!("{table}");
    let is_clean = outcomes.iter().all(Outcome::is_clean);
    let errors: u64 = outcomes.iter().flat_map(|outcome| &outcome.verdicts).map(|v| v.tally.errors).sum();
    eprintln!(
        "{}; {errors} errors of nodes in good health",
        if is_clean { "nothing lost, no anomaly" } else { "NOT CLEAN: see above" }
    );
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
