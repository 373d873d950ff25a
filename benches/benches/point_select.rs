//! CPU time of the server process per prepared point select, beside MariaDB's in the same run.
//!
//! `./justw build && cargo bench --package assize-benches --bench point_select`
//!
//! One connection runs a prepared `SELECT … WHERE id = ?` over a table of 10,000 rows against both servers, in
//! alternating rounds. CPU time (user and kernel) is what the kernel accounts to each server's process; wall
//! times on shared machines mean little. The ratio is the figure to keep.
#![allow(clippy::disallowed_methods)] // Measures real processes.

use assize_tests::{Assize, MariaDb, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};

const ROWS: u32 = 10_000;
const SELECTS_PER_ROUND: u32 = 40_000;
const ROUNDS: usize = 5;

fn main() {
    let assize = Assize::start();
    let mariadb = MariaDb::start();
    let mut ours = Peer::new("assize", assize.pid(), assize.port());
    let mut theirs = Peer::new("mariadb", mariadb.pid(), mariadb.port());

    let mut figures: [Vec<(f64, f64)>; 2] = Default::default();
    for round in 0..=ROUNDS {
        for (n, peer) in [&mut ours, &mut theirs].into_iter().enumerate() {
            let cpu = peer.round();
            if round > 0 {
                figures[n].push(cpu);
            }
        }
    }
    println!(
        "CPU time of the server process per prepared point select, median of {ROUNDS} rounds of {SELECTS_PER_ROUND}"
    );
    println!("{:<10} {:>9} {:>9} {:>9}", "server", "user µs", "kernel µs", "sum µs");
    let mut sums = Vec::new();
    for (peer, rounds) in [&ours, &theirs].into_iter().zip(&mut figures) {
        rounds.sort_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
        let (user, kernel) = rounds[rounds.len() / 2];
        println!("{:<10} {user:>9.2} {kernel:>9.2} {:>9.2}", peer.name, user + kernel);
        sums.push(user + kernel);
    }
    println!("ratio assize / mariadb: {:.2}", sums[0] / sums[1]);
}

struct Peer {
    name: &'static str,
    pid: u32,
    connection: Conn,
    select: mysql::Statement,
    next: u32,
}

impl Peer {
    fn new(name: &'static str, pid: u32, port: u16) -> Self {
        let opts: Opts = OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(port)
            .user(Some("root"))
            .prefer_socket(false)
            .into();
        let mut connection = None;
        wait_for("a connection", || {
            connection = Conn::new(opts.clone()).ok();
            connection.is_some()
        });
        let mut connection = connection.expect("waited for it");
        connection.query_drop("CREATE DATABASE b").unwrap();
        connection
            .query_drop("CREATE TABLE b.t (id INT PRIMARY KEY, v INT NOT NULL, note VARCHAR(100) NOT NULL)")
            .unwrap();
        for first in (0..ROWS).step_by(1000) {
            let rows: Vec<String> = (first..first + 1000).map(|id| format!("({id},{id},'a note')")).collect();
            connection.query_drop(format!("INSERT INTO b.t VALUES {}", rows.join(","))).unwrap();
        }
        let select = connection.prep("SELECT v, note FROM b.t WHERE id = ?").unwrap();
        Peer { name, pid, connection, select, next: 1 }
    }

    /// (user, kernel) microseconds of the server's CPU per select.
    fn round(&mut self) -> (f64, f64) {
        let before = cpu_ticks(self.pid);
        for _ in 0..SELECTS_PER_ROUND {
            self.next = (self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)) % ROWS;
            let row: Option<(i32, String)> = self.connection.exec_first(&self.select, (self.next,)).unwrap();
            assert_eq!(row.expect("the row is there").0, self.next as i32);
        }
        let after = cpu_ticks(self.pid);
        // USER_HZ is 100 on every Linux that Rust runs on.
        let micros = |ticks: u64| ticks as f64 * 10_000.0 / f64::from(SELECTS_PER_ROUND);
        (micros(after.0 - before.0), micros(after.1 - before.1))
    }
}

/// utime and stime of a process, in clock ticks.
fn cpu_ticks(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The command may hold spaces; the fields after its closing parenthesis are numbers.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse().unwrap(), fields[12].parse().unwrap())
}
