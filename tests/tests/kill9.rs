//! Transfers between accounts on different shards from 16 connections while the process is killed and restarted.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::Assize;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

const CONNECTIONS: u64 = 16;
const ACCOUNTS: u64 = 64;
const OPENING: i64 = 1000;
/// `kill -9` and restart so often, in each commit mode.
const KILLS: u32 = 20;

/// What the clients know about their transfers, by id.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

/// What clients and the killer share.
struct Shared {
    port: AtomicU16,
    next_id: AtomicU64,
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
}

enum Fate {
    Acknowledged,
    Refused,
    /// COMMIT was sent and no answer came.
    Unknown,
    /// The connection broke before COMMIT was sent: nothing can have happened.
    Lost,
}

fn connect(port: u16) -> mysql::Result<Conn> {
    let opts = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(port)
        .user(Some("root"))
        .prefer_socket(false)
        .tcp_connect_timeout(Some(Duration::from_secs(2)))
        .read_timeout(Some(Duration::from_secs(30)));
    Conn::new(opts)
}

fn transfer(connection: &mut Conn, id: u64, from: u64, to: u64) -> Fate {
    let before_commit = [
        "BEGIN".to_owned(),
        format!("UPDATE bank.account SET balance = balance - 1 WHERE id = {from}"),
        format!("UPDATE bank.account SET balance = balance + 1 WHERE id = {to}"),
        format!("INSERT INTO bank.transfer (id, source, target) VALUES ({id}, {from}, {to})"),
    ];
    for statement in &before_commit {
        match connection.query_drop(statement) {
            Ok(()) => {}
            Err(mysql::Error::MySqlError(e)) if e.state == "40001" => {
                return if connection.query_drop("ROLLBACK").is_ok() { Fate::Refused } else { Fate::Lost };
            }
            Err(_) => return Fate::Lost,
        }
    }
    match connection.query_drop("COMMIT") {
        Ok(()) => Fate::Acknowledged,
        Err(mysql::Error::MySqlError(e)) if e.state == "40001" => Fate::Refused,
        Err(_) => Fate::Unknown,
    }
}

fn client(shared: &Shared, number: u64) {
    let mut connection: Option<Conn> = None;
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(open) = connection.as_mut() else {
            connection = connect(shared.port.load(Ordering::Relaxed)).ok();
            if connection.is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            continue;
        };
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let from = (random >> 33) % ACCOUNTS;
        let to = (from + 1 + (random >> 13) % (ACCOUNTS - 1)) % ACCOUNTS;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let fate = transfer(open, id, from, to);
        let mut ledger = shared.ledger.lock().unwrap();
        match fate {
            Fate::Acknowledged => drop(ledger.acknowledged.insert(id)),
            Fate::Refused => drop(ledger.refused.insert(id)),
            Fate::Unknown => {
                ledger.unknown.insert(id);
                connection = None;
            }
            Fate::Lost => {
                ledger.refused.insert(id);
                connection = None;
            }
        }
    }
}

/// Every promise made so far holds in the database as it is now. Returns how many unknown outcomes it answered.
fn check(assize: &Assize, shared: &Shared, round: u32) -> (usize, usize) {
    let mut connection = connect(assize.port()).expect("the restarted server takes connections");
    // One snapshot for both tables; clients go on meanwhile.
    connection.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").unwrap();
    let known = {
        let ledger = shared.ledger.lock().unwrap();
        (ledger.acknowledged.clone(), ledger.refused.clone(), ledger.unknown.clone())
    };
    let accounts: Vec<(u64, i64)> =
        connection.query("SELECT id, balance FROM bank.account ORDER BY id").unwrap();
    let transfers: Vec<(u64, u64, u64)> =
        connection.query("SELECT id, source, target FROM bank.transfer").unwrap();
    connection.query_drop("COMMIT").unwrap();

    let total: i64 = accounts.iter().map(|(_, balance)| balance).sum();
    assert_eq!(total, ACCOUNTS as i64 * OPENING, "round {round}: money was made or lost");
    let mut expected = vec![OPENING; ACCOUNTS as usize];
    for (_, source, target) in &transfers {
        expected[*source as usize] -= 1;
        expected[*target as usize] += 1;
    }
    let found: Vec<i64> = accounts.iter().map(|(_, balance)| *balance).collect();
    assert_eq!(found, expected, "round {round}: a transfer is half done");

    let done: BTreeSet<u64> = transfers.iter().map(|t| t.0).collect();
    // The snapshot was taken before the sets were read, so only outcomes of earlier lives must be in it.
    let missing: Vec<u64> = known.2.iter().filter(|id| !done.contains(id)).copied().collect();
    let refused: Vec<u64> = known.1.intersection(&done).copied().collect();
    assert!(refused.is_empty(), "round {round}: refused transfers took place: {refused:?}");
    (known.2.len() - missing.len(), missing.len())
}

fn acknowledged_are_there(assize: &Assize, acknowledged: &BTreeSet<u64>, round: u32) {
    let mut connection = connect(assize.port()).expect("the restarted server takes connections");
    let done: BTreeSet<u64> =
        connection.query::<u64, _>("SELECT id FROM bank.transfer").unwrap().into_iter().collect();
    let lost: Vec<u64> = acknowledged.difference(&done).copied().collect();
    assert!(lost.is_empty(), "round {round}: acknowledged transfers are lost: {lost:?}");
}

fn survive(arguments: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let mut assize = Assize::start_with(Some(data.path()), arguments);
    assize.query(
        "CREATE DATABASE bank; CREATE TABLE bank.account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL); \
         CREATE TABLE bank.transfer (id BIGINT PRIMARY KEY, source BIGINT NOT NULL, target BIGINT NOT NULL)",
    );
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {OPENING})")).collect();
    assize.query(&format!("INSERT INTO bank.account VALUES {}", rows.join(", ")));

    let shared = Shared {
        port: AtomicU16::new(assize.port()),
        next_id: AtomicU64::new(1),
        stop: AtomicBool::new(false),
        ledger: Mutex::default(),
    };
    let assize = std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let shared = &shared;
            scope.spawn(move || client(shared, number));
        }
        // If a check fails, the clients must still end, or the scope would wait for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..KILLS {
                // Different moments of the server's life; deterministic, so that a failure can be replayed roughly.
                std::thread::sleep(Duration::from_millis(150 + u64::from(round * 37 % 11) * 40));
                let acknowledged = shared.ledger.lock().unwrap().acknowledged.clone();
                assize.kill();
                assize = Assize::start_with(Some(data.path()), arguments);
                acknowledged_are_there(&assize, &acknowledged, round);
                check(&assize, &shared, round);
                shared.port.store(assize.port(), Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(500));
            assize
        }));
        shared.stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });

    let (committed, aborted) = check(&assize, &shared, KILLS);
    let ledger = shared.ledger.lock().unwrap();
    acknowledged_are_there(&assize, &ledger.acknowledged, KILLS);
    println!(
        "{KILLS} kills: {} transfers acknowledged, {} refused or never sent, {} unknown of which {committed} took place and \
         {aborted} did not",
        ledger.acknowledged.len(),
        ledger.refused.len(),
        ledger.unknown.len(),
    );
    assert!(ledger.acknowledged.len() as u64 > u64::from(KILLS), "hardly anything was committed");
    drop(ledger);
    assert!(assize.terminate().success(), "SIGTERM ends in exit code 0");
}

#[test]
fn inline_commits_survive_twenty_kills() {
    survive(&[]);
}

#[test]
fn prepared_commits_survive_twenty_kills() {
    survive(&["--set", "frontend.inline_bytes_max=0"]);
}
