//! Workloads through a real MySQL connection, so that they run against any MySQL server.

use crate::cli::{BenchOptions, Workload};
use crate::{Failure, client};
use comfy_table::{Table, presets};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Money in each account at the start of `transfer`.
const OPENING_BALANCE: u64 = 1000;
/// Rows per INSERT while filling a table.
const FILL_BATCH: u64 = 500;

/// What all connections count together.
#[derive(Default)]
struct Counters {
    done: AtomicU64,
    conflicts: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
}

/// Fills the tables, runs the workload for the time asked, checks what can be checked, prints the figures.
pub async fn run(options: BenchOptions) -> Result<(), Failure> {
    let mut control = client::connect(&options.target).await?;
    fill(&mut control, &options).await?;

    let counters = Arc::new(Counters::default());
    let started = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..options.connections {
        let connection = client::connect(&options.target).await?;
        let counters = counters.clone();
        let (workload, rows) = (options.workload, options.rows);
        tasks.push(tokio::spawn(work(connection, workload, rows, n as u64, counters)));
    }
    show_progress(&counters, Duration::from_secs(options.seconds)).await;
    counters.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let elapsed = started.elapsed();
    verify(&mut control, &options).await?;
    report(&options, &counters, elapsed, latencies)?;
    control.disconnect().await?;
    Ok(())
}

async fn fill(control: &mut Conn, options: &BenchOptions) -> Result<(), Failure> {
    control.query_drop("CREATE DATABASE IF NOT EXISTS assize_bench").await?;
    control.query_drop("DROP TABLE IF EXISTS assize_bench.account").await?;
    control
        .query_drop(
            "CREATE TABLE assize_bench.account (id BIGINT PRIMARY KEY AUTO_INCREMENT, balance BIGINT NOT NULL, \
             note VARCHAR(100) NOT NULL DEFAULT '')",
        )
        .await?;
    if options.workload == Workload::Insert {
        return Ok(());
    }
    let mut next = 1;
    while next <= options.rows {
        let last = (next + FILL_BATCH - 1).min(options.rows);
        let values: Vec<String> = (next..=last).map(|id| format!("({id},{OPENING_BALANCE})")).collect();
        control
            .query_drop(format!("INSERT INTO assize_bench.account (id, balance) VALUES {}", values.join(",")))
            .await?;
        next = last + 1;
    }
    Ok(())
}

async fn work(
    mut connection: Conn,
    workload: Workload,
    rows: u64,
    worker: u64,
    counters: Arc<Counters>,
) -> Result<Vec<u32>, Error> {
    let mut random = Random(worker + 1);
    let mut latencies = Vec::new();
    let select = connection.prep("SELECT balance FROM assize_bench.account WHERE id = ?").await?;
    while !counters.stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let result = match workload {
            Workload::Point => connection.exec_drop(&select, (random.below(rows) + 1,)).await,
            Workload::Insert => {
                connection
                    .query_drop("INSERT INTO assize_bench.account (balance, note) VALUES (1, 'inserted')")
                    .await
            }
            Workload::Adjudicate => unreachable!("it needs no connection"),
            Workload::Transfer => {
                let from = random.below(rows) + 1;
                let to = (from + random.below(rows - 1)) % rows + 1;
                transfer(&mut connection, from, to).await
            }
        };
        match result {
            Ok(()) => {
                counters.done.fetch_add(1, Ordering::Relaxed);
                latencies.push(started.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
            }
            // Serialization failure: the one error that a client is expected to answer by trying again.
            Err(Error::Server(e)) if e.state == "40001" => {
                counters.conflicts.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => {
                counters.errors.fetch_add(1, Ordering::Relaxed);
                return Err(e);
            }
        }
    }
    connection.disconnect().await?;
    Ok(latencies)
}

async fn transfer(connection: &mut Conn, from: u64, to: u64) -> Result<(), Error> {
    connection.query_drop("BEGIN").await?;
    let moved = async {
        connection
            .query_drop(format!("UPDATE assize_bench.account SET balance = balance - 1 WHERE id = {from}"))
            .await?;
        connection
            .query_drop(format!("UPDATE assize_bench.account SET balance = balance + 1 WHERE id = {to}"))
            .await?;
        connection.query_drop("COMMIT").await
    }
    .await;
    if moved.is_err() {
        connection.query_drop("ROLLBACK").await?;
    }
    moved
}

/// The total of all accounts never changes.
async fn verify(control: &mut Conn, options: &BenchOptions) -> Result<(), Failure> {
    if options.workload != Workload::Transfer {
        return Ok(());
    }
    let total: Option<u64> =
        control.query_first("SELECT CAST(SUM(balance) AS UNSIGNED) FROM assize_bench.account").await?;
    let expected = options.rows * OPENING_BALANCE;
    if total != Some(expected) {
        return Err(
            anyhow::anyhow!("the accounts hold {total:?}, not {expected}: money was made or lost").into()
        );
    }
    Ok(())
}

async fn show_progress(counters: &Counters, time: Duration) {
    let started = Instant::now();
    let live = std::io::stderr().is_terminal();
    let mut last = 0;
    while started.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1).min(time.saturating_sub(started.elapsed()))).await;
        let done = counters.done.load(Ordering::Relaxed);
        if live {
            let conflicts = counters.conflicts.load(Ordering::Relaxed);
            eprint!("\r{:>4} s  {:>9}/s  {conflicts} conflicts ", started.elapsed().as_secs(), done - last);
            let _ = std::io::stderr().flush();
        }
        last = done;
    }
    if live {
        eprintln!();
    }
}

fn report(
    options: &BenchOptions,
    counters: &Counters,
    elapsed: Duration,
    mut latencies: Vec<u32>,
) -> Result<(), Failure> {
    latencies.sort_unstable();
    let quantile = |q: f64| super::quantile(&latencies, q);
    let done = counters.done.load(Ordering::Relaxed);
    let per_second = done as f64 / elapsed.as_secs_f64();
    let name = format!("{:?}", options.workload).to_lowercase();
    let conflicts = counters.conflicts.load(Ordering::Relaxed);
    let errors = counters.errors.load(Ordering::Relaxed);
    let mut out = std::io::stdout().lock();
    if options.json {
        let line = serde_json::json!({
            "workload": name, "connections": options.connections, "seconds": elapsed.as_secs_f64(), "done": done,
            "per_second": per_second, "conflicts": conflicts, "errors": errors,
            "p50_micros": quantile(0.5), "p99_micros": quantile(0.99), "max_micros": quantile(1.0),
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "workload",
        "connections",
        "done",
        "per second",
        "conflicts",
        "errors",
        "p50 µs",
        "p99 µs",
        "max µs",
    ]);
    table.add_row([
        name,
        options.connections.to_string(),
        done.to_string(),
        format!("{per_second:.0}"),
        conflicts.to_string(),
        errors.to_string(),
        quantile(0.5).to_string(),
        quantile(0.99).to_string(),
        quantile(1.0).to_string(),
    ]);
    writeln!(out, "{table}")?;
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to pick rows.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
