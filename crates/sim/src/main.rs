//! `./justw sim 42` replays one seed; `./justw sim --seeds 2000` runs many.

use assize_sim::{Scenario, run};
use std::io::Write;
use std::process::ExitCode;

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
        "seed {seed}: {} transactions, {} log entries, {} messages, fingerprint {:016x}",
        outcome.history.txns.len(),
        outcome.history.log.len(),
        outcome.effects,
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

/// Many seeds, with a line that moves.
fn many(from: u64, count: u64) -> ExitCode {
    let mut failed = Vec::new();
    for (done, seed) in (from..from + count).enumerate() {
        let result = std::panic::catch_unwind(|| run(&Scenario::of_seed(seed)).1.map_err(|v| v.to_string()));
        let broken = match result {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some(violation),
            Err(_) => Some("a core panicked".to_string()),
        };
        if let Some(broken) = broken {
            eprint!("\r\x1b[K");
            println!("seed {seed} breaks {broken}\n  reproduce with: ./justw sim {seed}");
            failed.push(seed);
        }
        if done % 10 == 9 || done as u64 + 1 == count {
            eprint!("\r{} of {count} seeds, {} failed", done + 1, failed.len());
            let _ = std::io::stderr().flush();
        }
    }
    eprintln!();
    if failed.is_empty() {
        println!("{count} seeds hold");
        return ExitCode::SUCCESS;
    }
    println!("{} of {count} seeds fail: {failed:?}", failed.len());
    ExitCode::FAILURE
}
