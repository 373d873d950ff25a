//! `./justw sim 42` replays one seed; `./justw sim --seeds 5000` runs many, on all cores.

use assize_sim::{Scenario, run};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

const USAGE: &str = "usage: assize-sim [SEED | --seed SEED | --seeds COUNT [--from SEED]]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => one(1),
        [seed] | ["--seed", seed] if number(seed).is_some() => one(number(seed).unwrap_or(1)),
        ["--seeds", count] if number(count).is_some() => many(0, number(count).unwrap_or(1)),
        ["--seeds", count, "--from", from] if number(count).is_some() && number(from).is_some() => {
            many(number(from).unwrap_or(0), number(count).unwrap_or(1))
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// One seed, with what it was made of and what came of it.
fn one(seed: u64) -> ExitCode {
    let scenario = Scenario::of_seed(seed);
    println!("{scenario:#?}");
    let (outcome, result) = run(&scenario);
    println!(
        "seed {seed}: {} transactions, {} log entries, {} messages, {} events, fingerprint {:016x}",
        outcome.history.txns.len(),
        outcome.history.log.len(),
        outcome.effects,
        outcome.events,
        outcome.fingerprint
    );
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("seed {seed} breaks {violation}");
            ExitCode::FAILURE
        }
    }
}

/// What a seed breaks, if anything.
fn broken(seed: u64) -> Option<String> {
    let result = std::panic::catch_unwind(|| run(&Scenario::of_seed(seed)).1.map_err(|v| v.to_string()));
    match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(_) => Some("an assertion of a core".to_owned()),
    }
}

/// Many seeds, as many at a time as there are cores. Each runs in one thread from beginning to end, so which ones run side by
/// side makes no difference.
fn many(from: u64, count: u64) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let (sender, results) = mpsc::channel();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // The other end goes away only after the last seed.
                    if seed >= from + count || sender.send((seed, broken(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (done, (seed, broken)) in (1..).zip(&results) {
            if let Some(broken) = broken {
                println!("seed {seed} breaks {broken}\n  reproduce with: ./justw sim {seed}");
                failed.push(seed);
            }
            report(done, count, failed.len());
        }
    });
    failed.sort_unstable();
    if failed.is_empty() {
        println!("{count} seeds hold");
        return ExitCode::SUCCESS;
    }
    println!("{} of {count} seeds fail: {failed:?}", failed.len());
    ExitCode::FAILURE
}

/// A line that moves on a terminal, and a line now and then elsewhere.
fn report(done: u64, count: u64, failed: usize) {
    let is_terminal = std::io::stderr().is_terminal();
    let step = if is_terminal { 10 } else { (count / 20).max(1) };
    if !done.is_multiple_of(step) && done != count {
        return;
    }
    let end = if is_terminal && done != count { '\r' } else { '\n' };
    eprint!("{done} of {count} seeds, {failed} failed{end}");
    let _ = std::io::stderr().flush();
}
