//! Transactions over tables of the cluster and of two MariaDB servers, by SQL, while processes are killed.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::connect;
use assize_tests::{Assize, MariaDb, wait_for};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long there is killing.
const KILLING: Duration = Duration::from_secs(40);
const CLIENTS: u64 = 4;

/// A server with an account for the cluster, and accounts with 1,000 each.
fn bank() -> MariaDb {
    let server = MariaDb::start();
    server.query(
        "CREATE DATABASE bank; CREATE USER assize@'127.0.0.1' IDENTIFIED BY 'secret'; \
         GRANT ALL ON bank.* TO assize@'127.0.0.1'; \
         CREATE TABLE bank.account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB; \
         USE bank; INSERT INTO account SELECT seq, 1000 FROM seq_1_to_10",
    );
    server
}

/// The cluster's own table, and those of both servers.
fn define(connection: &mut Conn, banks: [&MariaDb; 2]) {
    connection
        .query_drop("CREATE DATABASE bank")
        .and_then(|()| {
            connection.query_drop("CREATE TABLE bank.here (id INT PRIMARY KEY, balance BIGINT NOT NULL)")
        })
        .and_then(|()| connection.query_drop("CREATE TABLE bank.transfer (id BIGINT PRIMARY KEY)"))
        .unwrap();
    let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 1000)")).collect();
    connection.query_drop(format!("INSERT INTO bank.here VALUES {}", rows.join(", "))).unwrap();
    for (name, bank) in ["a", "b"].into_iter().zip(banks) {
        let port = bank.port();
        connection
            .query_drop(format!(
                "CREATE SERVER {name} FOREIGN DATA WRAPPER mysql OPTIONS \
                 (HOST '127.0.0.1', PORT {port}, DATABASE 'bank', USER 'assize', PASSWORD 'secret')"
            ))
            .unwrap();
        connection
            .query_drop(format!("CREATE TABLE bank.{name} ENGINE=FEDERATED CONNECTION='{name}/account'"))
            .unwrap();
    }
}

const SUM: &str = "SELECT (SELECT SUM(balance) FROM bank.here) + (SELECT SUM(balance) FROM bank.a) + \
                   (SELECT SUM(balance) FROM bank.b)";

#[test]
fn a_transaction_moves_rows_between_the_cluster_and_two_servers() {
    let (one, two) = (bank(), bank());
    let assize = Assize::start();
    let mut connection = connect(assize.port()).unwrap();
    define(&mut connection, [&one, &two]);
    let mut run = |sql: &str| connection.query_drop(sql).map_err(|error| error.to_string());
    run("BEGIN").unwrap();
    run("UPDATE bank.here SET balance = balance - 30 WHERE id = 1").unwrap();
    run("UPDATE bank.a SET balance = balance + 10 WHERE id = 1").unwrap();
    run("UPDATE bank.b SET balance = balance + 20 WHERE id = 1").unwrap();
    assert_eq!(one.query("SELECT balance FROM bank.account WHERE id = 1"), "1000\n", "not yet");
    run("COMMIT").unwrap();
    let there = "SELECT balance FROM bank.account WHERE id = 1; XA RECOVER";
    assert_eq!((one.query(there), two.query(there)), ("1010\n".to_owned(), "1020\n".to_owned()));
    run("BEGIN").unwrap();
    run("UPDATE bank.a SET balance = 0 WHERE id = 1").unwrap();
    run("SAVEPOINT s").unwrap();
    run("UPDATE bank.b SET balance = 0 WHERE id = 1").unwrap();
    run("ROLLBACK TO s").unwrap();
    assert!(run("INSERT INTO bank.b VALUES (2, 2)").unwrap_err().contains("1062"));
    run("ROLLBACK").unwrap();
    assert_eq!((one.query(there), two.query(there)), ("1010\n".to_owned(), "1020\n".to_owned()));
    assert_eq!(connection.query_first::<String, _>(SUM).unwrap().as_deref(), Some("30000"));
}

/// What clients and the killer share.
struct Shared {
    port: AtomicU16,
    next: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<Vec<u64>>,
    refused: Mutex<Vec<u64>>,
}

/// One transfer; `Some` if it is known what became of it.
fn transfer(connection: &mut Conn, id: u64) -> Result<Option<bool>, mysql::Error> {
    let tables = ["here", "a", "b"];
    let (from, to) = (tables[(id % 3) as usize], tables[((id / 3 + id + 1) % 3) as usize]);
    let account = id % 10 + 1;
    let before = [
        "BEGIN".to_owned(),
        format!("UPDATE bank.{from} SET balance = balance - 1 WHERE id = {account}"),
        format!("UPDATE bank.{to} SET balance = balance + 1 WHERE id = {account}"),
        format!("INSERT INTO bank.transfer VALUES ({id})"),
    ];
    for sql in &before {
        match connection.query_drop(sql) {
            Ok(()) => {}
            Err(mysql::Error::MySqlError(_)) => {
                connection.query_drop("ROLLBACK")?;
                return Ok(Some(false));
            }
            Err(error) => return Err(error),
        }
    }
    match connection.query_drop("COMMIT") {
        Ok(()) => Ok(Some(true)),
        Err(mysql::Error::MySqlError(error)) if error.code == 3101 => Ok(None),
        Err(mysql::Error::MySqlError(_)) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

fn client(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = connect(shared.port.load(Ordering::Relaxed)) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if connection.query_drop("SET innodb_lock_wait_timeout = 2").is_err() {
            continue;
        }
        while !shared.stop.load(Ordering::Relaxed) {
            let id = shared.next.fetch_add(1, Ordering::Relaxed);
            match transfer(&mut connection, id) {
                Ok(Some(true)) => shared.acknowledged.lock().unwrap().push(id),
                Ok(Some(false)) => {
                    shared.refused.lock().unwrap().push(id);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }
}

#[test]
fn money_is_neither_made_nor_lost_whichever_process_is_killed() {
    let (mut one, mut two) = (bank(), bank());
    let data = tempfile::tempdir().unwrap();
    let mut assize = Assize::start_on(data.path());
    define(&mut connect(assize.port()).unwrap(), [&one, &two]);
    let shared = Arc::new(Shared {
        port: AtomicU16::new(assize.port()),
        next: AtomicU64::new(1),
        stop: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        refused: Mutex::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let shared = shared.clone();
            std::thread::spawn(move || client(&shared))
        })
        .collect();
    let begun = Instant::now();
    let mut kills = 0u64;
    while begun.elapsed() < KILLING {
        std::thread::sleep(Duration::from_millis(1500 + kills * 37 % 500));
        match kills % 4 {
            0 | 2 => {
                assize.kill();
                assize = Assize::start_on(data.path());
                shared.port.store(assize.port(), Ordering::Relaxed);
            }
            1 => one.kill_and_start_again(),
            _ => two.kill_and_start_again(),
        }
        kills += 1;
    }
    shared.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    wait_for("no branch to be left in doubt", || {
        one.query("XA RECOVER").is_empty() && two.query("XA RECOVER").is_empty()
    });
    let mut connection = connect(assize.port()).unwrap();
    assert_eq!(
        connection.query_first::<String, _>(SUM).unwrap().as_deref(),
        Some("30000"),
        "after {kills} kills"
    );
    let ids: std::collections::BTreeSet<u64> =
        connection.query("SELECT id FROM bank.transfer").unwrap().into_iter().collect();
    let (acknowledged, refused) = (shared.acknowledged.lock().unwrap(), shared.refused.lock().unwrap());
    assert!(acknowledged.iter().all(|id| ids.contains(id)), "what was acknowledged is there");
    assert!(!refused.iter().any(|id| ids.contains(id)), "what was refused is not");
    assert!(acknowledged.len() > 50 && kills > 4, "{} transfers, {kills} kills", acknowledged.len());
}
