//! `assize bench adjudicate`: how many transactions the adjudicator decides, on three nodes, on one, and in the kernel
//! alone.
//!
//! ```text
//!   this process ── frames of footprints, over sockets ──▶ leader ──▶ log, fsync on every node ──▶ apply ──▶ decisions
//! ```
//!
//! Nodes are processes of their own with everything switched on: recovery, checkpoints, the outcome table. Shards are
//! the only thing missing: this process reports for them that they have persisted what was decided, so that the log is
//! purged as it would be.

use super::conditions::{Conditions, Watch};
use super::group::Group;
use super::{disk, quantile};
use crate::Failure;
use crate::cli::BenchOptions;
use anyhow::{Context, ensure};
use assize_adjudicator::workload::{ENTRY_TXNS, Generator, Kernel, Skew, Workload};
use assize_model::{DeadlineClass, Position, Timestamp, TxnId};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, DecisionRun, DecisionSource, Footprints, Registered, TxnRun,
};
use bytes::Bytes;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Messages of one transaction on their way at a time.
const SINGLES_IN_FLIGHT: usize = 4096;
/// Load before each measurement but the first of a group.
const LATER_WARM_UP: Duration = Duration::from_secs(4);
/// Where the transactions of a closed loop come from: more than there are threads, so that these rarely wait for one another.
const SOURCES: usize = 16;
/// Callers that ask for snapshots at the same time.
const BEGINNERS: usize = 4096;
/// The open loop sends this often.
const OPEN_LOOP_TICK: Duration = Duration::from_millis(1);
/// The snapshot that transactions run at is renewed this often.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(1);
/// Shards are said to have persisted everything this often.
const DURABLE_EVERY: Duration = Duration::from_millis(200);
/// The kernel's window, in buckets of seven keys.
const KERNEL_WINDOW_LOG2: u8 = 18;
/// Entries that the kernel is given in turn.
const KERNEL_ENTRIES: usize = 256;
/// Keys that the nodes' windows remember.
const WINDOW_KEYS: u64 = 1 << 20;

/// What one measurement found.
#[derive(Clone, Default)]
struct Figures {
    txns_per_second: f64,
    aborted_per_second: f64,
    p50_micros: u32,
    p99_micros: u32,
    max_micros: u32,
    met: Conditions,
}

impl Figures {
    fn json(&self) -> Value {
        json!({
            "txns_per_second": self.txns_per_second.round(),
            "uncommitted_per_second": self.aborted_per_second.round(),
            "p50_ms": f64::from(self.p50_micros) / 1000.0,
            "p99_ms": f64::from(self.p99_micros) / 1000.0,
            "max_ms": f64::from(self.max_micros) / 1000.0,
            "log_sync_p99_ms": self.met.sync_p99_micros as f64 / 1000.0,
            "log_sync_max_ms": self.met.sync_max_micros as f64 / 1000.0,
            "stolen_ms": self.met.stolen_millis,
        })
    }

    fn row(&self, name: &str) -> [String; 9] {
        let millis = |micros: u32| format!("{:.2}", f64::from(micros) / 1000.0);
        let bound = |micros: u64| match micros {
            0 => String::new(),
            u64::MAX => "more".to_owned(),
            micros => format!("≤ {}", micros as f64 / 1000.0),
        };
        [
            name.to_owned(),
            format!("{:.0}", self.txns_per_second),
            format!("{:.0}", self.aborted_per_second),
            millis(self.p50_micros),
            millis(self.p99_micros),
            millis(self.max_micros),
            bound(self.met.sync_p99_micros),
            bound(self.met.sync_max_micros),
            self.met.stolen_millis.to_string(),
        ]
    }
}

/// Measures and prints.
pub async fn run(options: &BenchOptions) -> Result<(), Failure> {
    let time = Duration::from_secs(options.seconds.max(1));
    let directory = Scratch::new(options.directory.clone())?;
    let syncs = disk::sync_times(&directory.path, Duration::from_secs(2)).context("the disk")?;
    let mut rows: Vec<(String, String, Figures)> = Vec::new();
    let mut measured = |key: &str, name: String, figures: Figures| {
        tell(&name, &figures);
        rows.push((key.to_owned(), name, figures));
    };

    let wanted = |key: &str| options.only.is_empty() || options.only.iter().any(|only| only == key);
    for (key, skew) in [("kernel", Skew::Uniform), ("kernel_zipf", Skew::Zipf { theta: 0.99 })] {
        if wanted(key) {
            let figures = tokio::task::spawn_blocking(move || kernel(skew, time)).await??;
            measured(key, format!("kernel, one core, {}", skew_name(skew)), figures);
        }
    }
    let mut begins = None;
    let (frame, frames) = (options.frame.clamp(1, 4096), options.frames.clamp(1, 1 << 16));
    for nodes in [1, 3] {
        let prefix = if nodes == 1 { "one_node" } else { "three_nodes" };
        let key = |suffix: &str| format!("{prefix}{suffix}");
        if !["", "_zipf", "_single", "_open_loop", "_begins"].iter().any(|suffix| wanted(&key(suffix))) {
            continue;
        }
        let directory = directory.path.join(prefix);
        let group = Group::start(nodes, &directory, WINDOW_KEYS, &options.node_log).await?;
        let client = Client::new(&group, Duration::from_secs(options.warm_up)).await?;
        for (suffix, skew) in [("", Skew::Uniform), ("_zipf", Skew::Zipf { theta: 0.99 })] {
            if wanted(&key(suffix)) {
                let figures = client.closed_loop(skew, frame, frames, time).await?;
                let name = format!("{nodes} nodes, frames of {frame}, {}", skew_name(skew));
                measured(&key(suffix), name, figures);
            }
        }
        if wanted(&key("_single")) {
            let figures = client.closed_loop(Skew::Uniform, 1, SINGLES_IN_FLIGHT, time).await?;
            measured(&key("_single"), format!("{nodes} nodes, one transaction a message"), figures);
        }
        if wanted(&key("_open_loop")) {
            let figures = client.open_loop(options.rate, frame, time).await?;
            measured(&key("_open_loop"), format!("{nodes} nodes, open loop at {}/s", options.rate), figures);
        }
        if wanted(&key("_begins")) && nodes > 1 {
            begins = Some(client.begins(time).await?);
        }
        drop(client);
        drop(group);
        // A group's log is large, and the next one wants the space.
        std::fs::remove_dir_all(&directory)?;
    }
    report(options, &syncs, &rows, begins)
}

fn skew_name(skew: Skew) -> String {
    match skew {
        Skew::Uniform => "uniform".to_owned(),
        Skew::Zipf { theta } => format!("Zipf {theta}"),
    }
}

/// Each figure is told as it is found; the table at the end has them all.
fn tell(name: &str, figures: &Figures) {
    eprintln!("{name}: {:.0}/s", figures.txns_per_second);
}

fn report(
    options: &BenchOptions,
    syncs: &[u32],
    rows: &[(String, String, Figures)],
    begins: Option<f64>,
) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let (p50, p99) = (quantile(syncs, 0.5), quantile(syncs, 0.99));
    if options.json {
        let mut all = serde_json::Map::new();
        for (key, _, figures) in rows {
            all.insert(key.clone(), figures.json());
        }
        if let Some(begins) = begins {
            all.insert("begins_per_second".into(), json!(begins.round()));
        }
        let disk = json!({ "fdatasync_p50_micros": p50, "fdatasync_p99_micros": p99 });
        all.insert("disk".into(), disk);
        writeln!(out, "{}", Value::Object(all))?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "what",
        "transactions/s",
        "of them uncommitted/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "log sync p99 ms",
        "log sync max ms",
        "stolen ms",
    ]);
    for (_, name, figures) in rows {
        table.add_row(figures.row(name));
    }
    writeln!(out, "{table}")?;
    if let Some(begins) = begins {
        writeln!(out, "snapshots: {begins:.0}/s quorum-confirmed on three nodes, {BEGINNERS} callers")?;
    }
    writeln!(out, "disk: fdatasync p50 {p50} µs, p99 {p99} µs, nothing else running")?;
    writeln!(
        out,
        "log sync: of all nodes while it was measured, by the bounds of a histogram; stolen: the most that the host of \
         this machine took from one processor within 200 ms"
    )?;
    Ok(())
}

/// The state machine alone: entries are made beforehand, decoding and applying them is what is timed.
fn kernel(skew: Skew, time: Duration) -> anyhow::Result<Figures> {
    let mut kernel = Kernel::new(Workload { skew, ..Workload::ordinary() }, KERNEL_WINDOW_LOG2);
    let watch = Watch::begin(&[])?;
    let (mut spent, mut done, mut commits) = (Duration::ZERO, 0, 0);
    let mut times = Vec::new();
    while spent < time {
        let entries: Vec<Bytes> = (0..KERNEL_ENTRIES).map(|_| kernel.entry()).collect();
        for entry in &entries {
            let began = Instant::now();
            let decisions = kernel.apply(entry)?;
            let took = began.elapsed();
            spent += took;
            times.push(took.as_micros() as u32);
            commits += decisions.commits() as u64;
            done += ENTRY_TXNS;
        }
    }
    Ok(Figures { met: watch.end()?, ..figures(times, done, done - commits, spent) })
}

fn figures(mut times: Vec<u32>, done: u64, aborted: u64, elapsed: Duration) -> Figures {
    times.sort_unstable();
    Figures {
        txns_per_second: done as f64 / elapsed.as_secs_f64(),
        aborted_per_second: aborted as f64 / elapsed.as_secs_f64(),
        p50_micros: quantile(&times, 0.5),
        p99_micros: quantile(&times, 0.99),
        max_micros: times.last().copied().unwrap_or(0),
        met: Conditions::default(),
    }
}

/// A directory of our own, gone afterwards.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(parent: Option<PathBuf>) -> anyhow::Result<Scratch> {
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("assize-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is told by its name.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A frontend's part: registered, with a fresh snapshot at hand.
struct Client {
    shared: Arc<Shared>,
    /// Before the next measurement, in milliseconds.
    warm_up: AtomicU64,
    /// Where the nodes show their metrics.
    http: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

struct Shared {
    adjudicator: Arc<dyn AdjudicatorClient>,
    identity: Registered,
    snapshot: AtomicU64,
    sequence: AtomicU64,
}

/// What the senders of one measurement share. They are thousands, and a node on the same machine wants the processors'
/// caches for itself: so few of them share where transactions come from and what came of them.
struct Load {
    /// From now on it counts.
    warm: AtomicBool,
    stop: AtomicBool,
    sources: Vec<Mutex<Source>>,
}

/// Where the transactions of some senders come from, and what came of them.
#[repr(align(128))]
struct Source {
    generator: Generator,
    /// How long each message took that counts, in microseconds.
    times: Vec<u32>,
    done: u64,
    aborted: u64,
}

impl Load {
    fn new(skew: Skew) -> Load {
        let source = |n: usize| {
            let workload = Workload { skew, seed: n as u64 * 1_000_000_007, ..Workload::ordinary() };
            Mutex::new(Source { generator: Generator::new(workload), times: Vec::new(), done: 0, aborted: 0 })
        };
        let sources = (0..SOURCES).map(source).collect();
        Load { warm: AtomicBool::new(false), stop: AtomicBool::new(false), sources }
    }

    /// The source of a sender.
    fn source(&self, sender: usize) -> MutexGuard<'_, Source> {
        self.sources[sender % self.sources.len()].lock().expect("no panic happens under this lock")
    }

    /// How many transactions were decided, and how many of them did not commit.
    fn counts(&self) -> (u64, u64) {
        let counts = (0..SOURCES).map(|n| self.source(n)).map(|source| (source.done, source.aborted));
        counts.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }
}

/// What the callers of the measurement of snapshots count together.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    done: AtomicU64,
}

/// How many transactions of a message were decided. Those that were refused because too many wait were not.
struct Decided {
    all: u64,
    /// How many of them did not commit.
    aborted: u64,
}

/// What became of a message of the open loop.
struct Answer {
    /// It came after the warm-up.
    is_counted: bool,
    /// From when it was due to its answer.
    micros: u32,
    /// What was decided.
    decided: Decided,
}

impl Client {
    async fn new(group: &Group, warm_up: Duration) -> anyhow::Result<Client> {
        let adjudicator = group.adjudicator.clone();
        let identity = adjudicator.register("bench-1", rand::random()).await?;
        let snapshot = AtomicU64::new(adjudicator.begin().await?.snapshot_ts.0);
        let shared = Arc::new(Shared { adjudicator, identity, snapshot, sequence: AtomicU64::new(1) });
        let mut tasks = JoinSet::new();
        tasks.spawn(renew_snapshot(shared.clone()));
        tasks.spawn(persist(shared.clone(), group.decisions.clone()));
        let warm_up = AtomicU64::new(warm_up.as_millis() as u64);
        Ok(Client { shared, warm_up, http: group.http.clone(), _tasks: tasks })
    }

    /// For how long there is load before the measurement that begins now.
    fn take_warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up.swap(LATER_WARM_UP.as_millis() as u64, Ordering::Relaxed))
    }

    /// So many frames are on their way all the time.
    async fn closed_loop(
        &self,
        skew: Skew,
        frame: usize,
        in_flight: usize,
        time: Duration,
    ) -> anyhow::Result<Figures> {
        let load = Arc::new(Load::new(skew));
        let mut senders = JoinSet::new();
        for n in 0..in_flight {
            senders.spawn(send(self.shared.clone(), load.clone(), n, frame));
        }
        // Memory and segments that a busy log uses again and again are taken once.
        let watch = watch_after(self.take_warm_up(), self.http.clone()).await?;
        load.warm.store(true, Ordering::Relaxed);
        let (started, before) = (Instant::now(), load.counts());
        tokio::time::sleep(time).await;
        let (elapsed, after) = (started.elapsed(), load.counts());
        let met = tokio::task::spawn_blocking(|| watch.end()).await??;
        load.stop.store(true, Ordering::Relaxed);
        let (done, aborted) = (after.0 - before.0, after.1 - before.1);
        while let Some(sender) = senders.join_next().await {
            sender??;
        }
        ensure!(done > 0, "nothing was decided");
        let times = (0..SOURCES).flat_map(|n| std::mem::take(&mut load.source(n).times)).collect();
        Ok(Figures { met, ..figures(times, done, aborted, elapsed) })
    }

    /// Transactions come at a rate of their own, however long the answers take; times count from when a transaction came.
    async fn open_loop(&self, rate: u64, frame: usize, time: Duration) -> anyhow::Result<Figures> {
        let mut generator = Generator::new(Workload { seed: 77, ..Workload::ordinary() });
        let mut answers: JoinSet<anyhow::Result<Answer>> = JoinSet::new();
        let mut measured = Vec::new();
        let warm_up = self.take_warm_up();
        let watch = tokio::spawn(watch_after(warm_up, self.http.clone()));
        let (mut sent, started, whole) = (0u64, Instant::now(), warm_up + time);
        let mut ticks = tokio::time::interval(OPEN_LOOP_TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        while started.elapsed() < whole {
            ticks.tick().await;
            let due = (rate as f64 * started.elapsed().min(whole).as_secs_f64()) as u64;
            while sent < due {
                let count = (due - sent).min(frame as u64);
                // The first of them came when it was due, whenever it leaves.
                let after = Duration::from_secs_f64(sent as f64 / rate as f64);
                let (txns, footprints) = self.shared.frame(&mut generator, count as usize);
                let shared = self.shared.clone();
                answers.spawn(async move {
                    let decided = shared.decide(txns, footprints).await?;
                    let micros = (started + after).elapsed().as_micros() as u32;
                    Ok(Answer { is_counted: after >= warm_up, micros, decided })
                });
                sent += count;
            }
            while let Some(answer) = answers.try_join_next() {
                measured.push(answer??);
            }
        }
        while let Some(answer) = answers.join_next().await {
            measured.push(answer??);
        }
        let elapsed = started.elapsed() - warm_up;
        let watch = watch.await??;
        let met = tokio::task::spawn_blocking(|| watch.end()).await??;
        measured.retain(|answer| answer.is_counted);
        let done = measured.iter().map(|answer| answer.decided.all).sum();
        let aborted = measured.iter().map(|answer| answer.decided.aborted).sum();
        let times = measured.iter().map(|answer| answer.micros).collect();
        Ok(Figures { met, ..figures(times, done, aborted, elapsed) })
    }

    /// Snapshots per second, with many callers.
    async fn begins(&self, time: Duration) -> anyhow::Result<f64> {
        let tally = Arc::new(Tally::default());
        let mut callers = JoinSet::new();
        for _ in 0..BEGINNERS {
            let (shared, tally) = (self.shared.clone(), tally.clone());
            callers.spawn(async move {
                while !tally.stop.load(Ordering::Relaxed) {
                    shared.adjudicator.begin().await?;
                    tally.done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, AdjudicatorError>(())
            });
        }
        let started = Instant::now();
        tokio::time::sleep(time).await;
        tally.stop.store(true, Ordering::Relaxed);
        let rate = tally.done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        Ok(rate)
    }
}

impl Shared {
    /// So many new footprints at the newest snapshot.
    fn frame(&self, generator: &mut Generator, count: usize) -> (TxnRun, Footprints) {
        let snapshot = Timestamp(self.snapshot.load(Ordering::Relaxed));
        let first = self.sequence.fetch_add(count as u64, Ordering::Relaxed);
        let Registered { frontend, epoch, .. } = self.identity;
        let mut bytes = Vec::with_capacity(count * 192);
        for number in first..first + count as u64 {
            let txn = TxnId::new(snapshot, DeadlineClass::Normal, frontend, epoch, number);
            generator.encode_next(&mut bytes, txn, snapshot);
        }
        let run = TxnRun { frontend, epoch, first, count: count as u64 };
        (run, Footprints { bytes: bytes.into(), count: count as u32 })
    }

    /// Has a frame decided and acknowledges it.
    async fn decide(&self, txns: TxnRun, footprints: Footprints) -> anyhow::Result<Decided> {
        let decisions = self.adjudicator.commit_many(footprints).await;
        let mut decided = decisions.len();
        for run in decisions.runs() {
            match run {
                DecisionRun::Same(count, Err(AdjudicatorError::Overloaded(_))) => decided -= count,
                DecisionRun::Same(_, Err(error)) => return Err(error.clone().into()),
                _ => {}
            }
        }
        self.adjudicator.acknowledge(vec![txns]);
        Ok(Decided { all: decided.into(), aborted: (decided - decisions.commits()).into() })
    }
}

/// Sends one frame after the other.
async fn send(shared: Arc<Shared>, load: Arc<Load>, sender: usize, frame: usize) -> anyhow::Result<()> {
    let (mut txns, mut footprints) = shared.frame(&mut load.source(sender).generator, frame);
    let mut began = Instant::now();
    loop {
        let decided = shared.decide(txns, footprints).await?;
        let ended = Instant::now();
        let mut source = load.source(sender);
        source.done += decided.all;
        source.aborted += decided.aborted;
        if load.warm.load(Ordering::Relaxed) {
            source.times.push((ended - began).as_micros() as u32);
        }
        began = ended;
        if load.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        (txns, footprints) = shared.frame(&mut source.generator, frame);
    }
}

/// Watches the nodes once the warm-up is over.
async fn watch_after(warm_up: Duration, http: Vec<SocketAddr>) -> anyhow::Result<Watch> {
    tokio::time::sleep(warm_up).await;
    tokio::task::spawn_blocking(move || Watch::begin(&http)).await?
}

async fn renew_snapshot(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SNAPSHOT_EVERY).await;
        if let Ok(begun) = shared.adjudicator.begin().await {
            shared.snapshot.store(begun.snapshot_ts.0, Ordering::Relaxed);
            let Registered { frontend, epoch, .. } = shared.identity;
            shared.adjudicator.report_oldest_snapshot(frontend, epoch, Some(begun.snapshot_ts));
        }
    }
}

/// Says for every replica that it has persisted what is applied.
async fn persist(shared: Arc<Shared>, decisions: Arc<dyn DecisionSource>) {
    loop {
        tokio::time::sleep(DURABLE_EVERY).await;
        let Ok(placement) = shared.adjudicator.placement().await else { continue };
        for shard in placement.shards.keys() {
            let Ok(standings) = decisions.standings(*shard).await else { continue };
            let closed_ts = Timestamp(shared.snapshot.load(Ordering::Relaxed));
            let durable = Position { index: standings.as_of, closed_ts };
            for standing in &standings.replicas {
                decisions.report_durable(*shard, standing.replica, durable);
            }
        }
    }
}
