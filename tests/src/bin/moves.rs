//! `./justw moves`: moves and merges shards of some gigabytes under clients, and says how long any of them had to wait.
//!
//! Three real nodes on loopback, two shards. One is merged into the other; then a quarter of the slots is split off, so that
//! the balance moves slots back by itself. With `--replicas` a fourth node joins instead: a shard gets a fourth replica there,
//! and loses another one; then a replica of the other shard moves there. Writers and readers go on all the time, each
//! statement a transaction of its own.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::Assize;
use assize_tests::chaos::random::Random;
use assize_tests::cluster::{Cluster, Options};
use clap::Parser;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Connections that load rows.
const LOADERS: u64 = 4;
/// Rows of one INSERT that loads.
const ROWS_PER_INSERT: u64 = 32;
/// The first slot of the quarter that is split off.
const LAST_QUARTER: &str = "49152";
/// The node that joins.
const JOINS: u64 = 4;
/// How long a move by balance is waited for.
const BALANCE_MAX: Duration = Duration::from_secs(1_200);

/// Move and merge shards under clients, and say how long any of them had to wait
#[derive(Parser, Debug)]
#[command(name = "moves")]
struct Arguments {
    /// Megabytes of rows in each of the two shards
    #[arg(long, default_value_t = 1_100)]
    megabytes: u64,
    /// Bytes of a row
    #[arg(long, default_value_t = 4_000)]
    row_bytes: u64,
    /// Clients that write, and as many that read
    #[arg(long, default_value_t = 3)]
    clients: u64,
    /// Add and move replicas, instead of slots
    #[arg(long)]
    replicas: bool,
    /// Every commit is prepared on its shards first
    #[arg(long)]
    prepared: bool,
    /// Print so many of each phase's longest statements, with the time (UTC) at which each began
    #[arg(long, default_value_t = 0)]
    longest: usize,
    /// Keep data, configurations and logs
    #[arg(long)]
    keep: bool,
    /// Further settings of every node, as `section.key=value`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// A statement that somebody waited for.
#[derive(Clone, Debug)]
struct Long {
    took: Duration,
    began: SystemTime,
    writes: bool,
    node: u64,
}

/// What clients went through in one phase.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    lasted: Duration,
    writes: u64,
    reads: u64,
    longest_write: Duration,
    longest_read: Duration,
    /// The longest statements, the longest first.
    longest: Vec<Long>,
    errors: Vec<String>,
}

/// All phases; the last one is going on.
struct Phases {
    all: Mutex<Vec<Seen>>,
    /// How many of the longest statements are remembered.
    longest_max: usize,
    stops: AtomicBool,
    current: AtomicUsize,
}

impl Phases {
    fn begin(&self, name: &str) {
        let mut all = self.all.lock().expect("no panic happens under this lock");
        all.push(Seen { name: name.to_owned(), ..Seen::default() });
        self.current.store(all.len() - 1, Ordering::SeqCst);
    }

    fn end(&self, lasted: Duration) {
        let mut all = self.all.lock().expect("no panic happens under this lock");
        if let Some(last) = all.last_mut() {
            last.lasted = lasted;
        }
    }

    /// One statement: it counts where it began.
    fn note(&self, phase: usize, statement: Long, done: Result<(), String>) {
        let mut all = self.all.lock().expect("no panic happens under this lock");
        let seen = &mut all[phase];
        if let Err(error) = done {
            seen.errors.push(error);
        }
        let (count, longest) = match statement.writes {
            true => (&mut seen.writes, &mut seen.longest_write),
            false => (&mut seen.reads, &mut seen.longest_read),
        };
        *count += 1;
        *longest = statement.took.max(*longest);
        let place = seen.longest.partition_point(|longer| longer.took >= statement.took);
        if place < self.longest_max {
            seen.longest.insert(place, statement);
            seen.longest.truncate(self.longest_max);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut settings = vec!["shard.balance_pause_seconds=1".to_owned()];
    if arguments.replicas {
        // Balance would move something to the node that joins.
        settings.push("shard.balance=false".to_owned());
    }
    if arguments.prepared {
        settings.push("frontend.inline_bytes_max=0".to_owned());
    }
    settings.extend(arguments.settings.iter().cloned());
    let mut cluster = Cluster::start(Options { shards: 2, settings, ..Options::nodes(3) });
    if arguments.keep {
        cluster.keep();
        eprintln!("{}", cluster.directory().display());
    }
    let rows = ((2 * arguments.megabytes) << 20) / arguments.row_bytes;
    let began = Instant::now();
    load(&cluster, rows, arguments.row_bytes);
    eprintln!("{rows} rows were loaded in {:.0} s", began.elapsed().as_secs_f64());
    if arguments.replicas {
        cluster.join_node(JOINS);
        cluster.wait_ready(JOINS);
    }
    let phases = under_clients(&cluster, rows, &arguments);
    print(&phases);
    let is_clean = phases.iter().all(|phase| phase.errors.is_empty());
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Goes through all phases while clients write and read.
fn under_clients(cluster: &Cluster, rows: u64, arguments: &Arguments) -> Vec<Seen> {
    let clients = arguments.clients;
    let phases = Arc::new(Phases {
        all: Mutex::default(),
        longest_max: arguments.longest,
        stops: AtomicBool::new(false),
        current: AtomicUsize::new(0),
    });
    phases.begin("nothing happens");
    let threads: Vec<_> = (0..2 * clients)
        .map(|client| {
            let (phases, node) = (phases.clone(), client % 3 + 1);
            let port = cluster.ports(node).mysql;
            std::thread::spawn(move || work(&phases, (node, port), client, client < clients, rows))
        })
        .collect();
    let phase = |name: &str, happens: &dyn Fn()| {
        if !phases.all.lock().expect("no panic happens under this lock").is_empty()
            && name != "nothing happens"
        {
            phases.begin(name);
        }
        let began = Instant::now();
        happens();
        // What waits because of it comes to an end within it.
        std::thread::sleep(Duration::from_secs(2));
        phases.end(began.elapsed());
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
    };
    phase("nothing happens", &|| std::thread::sleep(Duration::from_secs(15)));
    if arguments.replicas {
        phase("shard 1 gets a fourth replica", &|| {
            shell(cluster, &["shards", "add-replica", "1", "4", "--wait"]);
        });
        phase("shard 1 gives up its replica on node 1", &|| {
            shell(cluster, &["shards", "remove-replica", "1", "1", "--wait"]);
        });
        phase("a replica of shard 2 moves from node 3 to node 4", &|| {
            shell(cluster, &["shards", "move", "2", "--from", "3", "--to", "4", "--wait"]);
        });
    } else {
        phase("shard 2 is merged into shard 1", &|| {
            shell(cluster, &["shards", "merge", "2", "1", "--wait"]);
        });
        phase("a quarter is split off", &|| {
            shell(cluster, &["shards", "split", "1", "--at", LAST_QUARTER, "--wait"]);
        });
        phase("balance moves a quarter of the slots", &|| wait_for_balance(cluster));
    }
    phase("nothing happens any more", &|| std::thread::sleep(Duration::from_secs(10)));
    phases.stops.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("a client does not panic");
    }
    let all = phases.all.lock().expect("no panic happens under this lock");
    all.clone()
}

/// Text of which compression makes little: each body is a piece of it from somewhere else.
fn pool(bytes: u64) -> String {
    let mut random = Random::new(7);
    (0..(1 << 16) + bytes / 16 + 1).map(|_| format!("{:016x}", random.below(u64::MAX))).collect()
}

fn body<'a>(pool: &'a str, random: &mut Random, bytes: u64) -> &'a str {
    let from = random.below(pool.len() as u64 - bytes) as usize;
    &pool[from..from + bytes as usize]
}

fn load(cluster: &Cluster, rows: u64, bytes: u64) {
    let mut conn = cluster.connect(1).expect("node 1 answers");
    conn.query_drop("CREATE DATABASE moves").expect("a database");
    conn.query_drop(
        "CREATE TABLE moves.rows_ (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, body TEXT NOT NULL)",
    )
    .expect("a table");
    let each = rows.div_ceil(LOADERS);
    let pool = pool(bytes);
    std::thread::scope(|scope| {
        for loader in 0..LOADERS {
            let mut conn = cluster.connect(loader % 3 + 1).expect("a node answers");
            let pool = &pool;
            scope.spawn(move || {
                let mut random = Random::new(loader);
                let (mut next, end) = (loader * each, rows.min((loader + 1) * each));
                while next < end {
                    let last = (next + ROWS_PER_INSERT).min(end);
                    let row = |id: u64| format!("({id}, 0, '{}')", body(pool, &mut random, bytes));
                    let values: Vec<String> = (next..last).map(row).collect();
                    let insert = format!("INSERT INTO moves.rows_ VALUES {}", values.join(", "));
                    while let Err(error) = conn.query_drop(&insert) {
                        eprintln!("loading: {error}");
                        std::thread::sleep(Duration::from_millis(200));
                    }
                    next = last;
                }
            });
        }
    });
}

/// One client: small statements on random rows, and a few on ranges.
fn work(phases: &Phases, (node, port): (u64, u16), client: u64, writes: bool, rows: u64) {
    let mut conn: Option<Conn> = None;
    let mut random = Random::new(1_000 + client);
    while !phases.stops.load(Ordering::SeqCst) {
        let phase = phases.current.load(Ordering::SeqCst);
        let id = random.below(rows);
        let statement = match (writes, random.percent(10)) {
            (true, true) => {
                format!("UPDATE moves.rows_ SET n = n + 1 WHERE id IN ({id}, {})", random.below(rows))
            }
            (true, false) => format!("UPDATE moves.rows_ SET n = n + 1 WHERE id = {id}"),
            (false, true) => format!("SELECT COUNT(n) FROM moves.rows_ WHERE id BETWEEN {id} AND {}", id + 9),
            (false, false) => format!("SELECT n FROM moves.rows_ WHERE id = {id}"),
        };
        let (began, since) = (SystemTime::now(), Instant::now());
        let done = run(&mut conn, port, &statement);
        phases.note(phase, Long { took: since.elapsed(), began, writes, node }, done);
    }
}

fn run(conn: &mut Option<Conn>, port: u16, statement: &str) -> Result<(), String> {
    if conn.is_none() {
        *conn = Some(assize_tests::cluster::connect(port).map_err(|error| error.to_string())?);
    }
    let conn_ = conn.as_mut().expect("it was made above");
    match conn_.query_drop(statement) {
        Ok(()) => Ok(()),
        Err(error) => {
            let told = error.to_string();
            if !matches!(error, mysql::Error::MySqlError(_)) {
                *conn = None;
            }
            Err(told)
        }
    }
}

fn shell(cluster: &Cluster, arguments: &[&str]) {
    let done = command(cluster, arguments);
    eprintln!("  {}", done.trim());
}

fn command(cluster: &Cluster, arguments: &[&str]) -> String {
    let admin = format!("127.0.0.1:{}", cluster.ports(1).admin);
    let output = Command::new(Assize::binary()).args(arguments).args(["--admin", &admin]).output();
    let output = output.expect("the command can be run");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

/// Waits until balance has moved slots.
fn wait_for_balance(cluster: &Cluster) {
    let began = Instant::now();
    let before = slots(cluster);
    while slots(cluster) == before {
        assert!(began.elapsed() < BALANCE_MAX, "balance has moved nothing in {BALANCE_MAX:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    eprintln!("  {} after {}", slots(cluster), before);
}

/// Which shard has which slots.
fn slots(cluster: &Cluster) -> String {
    let told = command(cluster, &["shards", "list"]);
    let columns = told.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = columns.filter(|columns| columns.get(1).is_some_and(|shard| shard.parse::<u32>().is_ok()));
    let slots = rows.map(|columns| format!("s{} {}", columns[1], columns[3]));
    slots.collect::<Vec<_>>().join(", ")
}

fn print(phases: &[Seen]) {
    println!("| phase | lasted | writes | reads | longest write | longest read | errors |");
    println!("|---|---|---|---|---|---|---|");
    for seen in phases {
        let Seen { name, lasted, writes, reads, longest_write, longest_read, errors, .. } = seen;
        println!(
            "| {name} | {} s | {writes} | {reads} | {} ms | {} ms | {} |",
            lasted.as_secs(),
            longest_write.as_millis(),
            longest_read.as_millis(),
            errors.len()
        );
    }
    for seen in phases.iter().filter(|seen| !seen.longest.is_empty()) {
        println!("{}:", seen.name);
        for Long { took, began, writes, node } in &seen.longest {
            let kind = if *writes { "write" } else { "read " };
            println!("  {} ms  {kind}  node {node}  at {}", took.as_millis(), time_of_day(*began));
        }
    }
    for error in phases.iter().flat_map(|seen| &seen.errors).take(10) {
        println!("{error}");
    }
}

/// Hours to milliseconds, UTC: as the nodes' logs have it.
fn time_of_day(time: SystemTime) -> String {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}
