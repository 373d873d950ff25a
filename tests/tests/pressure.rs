//! New transactions are shed when replicas are behind, before commits are refused; and all is well again by itself.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options};
use assize_tests::{Assize, run, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use std::process::Command;

/// The log may hold little, and replicas persist nothing by themselves before the test is over.
const SETTINGS: [&str; 3] = [
    "adjudicator.checkpoint_bytes=8192",
    "pressure.log_bytes_max=65536",
    "shard.flush_interval_seconds=3600",
];

fn connect(port: u16) -> Conn {
    let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).user(Some("root"));
    Conn::new(opts.prefer_socket(false)).expect("the server takes connections")
}

/// The number and text of the error that a statement ends with; `None` if it ends well. Every row is read: an error may
/// come after the columns.
fn error_of(connection: &mut Conn, statement: &str) -> Option<(u16, String)> {
    match connection.query::<mysql::Row, _>(statement) {
        Ok(_) => None,
        Err(mysql::Error::MySqlError(error)) => Some((error.code, error.message)),
        Err(other) => panic!("{statement}: {other}"),
    }
}

fn must(connection: &mut Conn, statement: &str) {
    assert_eq!(error_of(connection, statement), None, "{statement}");
}

/// Has a statement done, however long nobody can.
fn insist(connection: &mut Conn, statement: &str) {
    wait_for(statement, || error_of(connection, statement).is_none());
}

/// Takes the lead from a node that is full: then everybody would shed.
fn relieve(cluster: &mut Cluster, full: &[u64], to: u64) {
    let Some(leader) = cluster.leader().filter(|leader| full.contains(leader)) else { return };
    let admin = format!("127.0.0.1:{}", cluster.ports(leader).admin);
    let transfer = ["members", "transfer", &to.to_string(), "--admin", &admin].map(str::to_owned);
    // It is asked again if it fails.
    run(Command::new(Assize::binary()).args(transfer), b"");
}

fn create(connection: &mut Conn) {
    must(connection, "CREATE DATABASE shop");
    must(connection, "CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT NOT NULL, v TEXT)");
    must(connection, "INSERT INTO shop.t (id, n) VALUES (1, 0), (2, 0)");
}

/// Writes until new transactions are shed; what the client was told.
fn write_until_shed(connection: &mut Conn) -> (u16, String) {
    let insert = format!("INSERT INTO shop.t (n, v) VALUES (1, '{}')", "x".repeat(4000));
    let mut told = None;
    wait_for("new transactions to be shed", || {
        told = error_of(connection, &insert);
        told.is_some()
    });
    told.unwrap()
}

fn status(admin: &str) -> String {
    let output = run(Command::new(Assize::binary()).args(["status", "--admin", admin]), b"");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn new_transactions_are_shed_while_nothing_is_persisted_and_are_taken_again_by_themselves() {
    let settings = SETTINGS.map(|setting| ["--set", setting]);
    let assize = Assize::start_with(None, settings.as_flattened());
    let mut connection = connect(assize.port());
    create(&mut connection);
    for _ in 0..3 {
        let (code, text) = write_until_shed(&mut connection);
        assert_eq!(code, 1637, "{text}");
        assert!(text.contains("node 1: ") && text.contains("replicas have not persisted"), "{text}");
        wait_for("new transactions to be taken again", || {
            error_of(&mut connection, "UPDATE shop.t SET n = n + 1 WHERE id = 2").is_none()
        });
    }
    wait_for("the status to be healthy", || !status(&assize.admin()).contains("1637"));
}

#[test]
fn a_replica_that_is_down_sheds_new_transactions_everywhere_until_it_is_back() {
    let settings = SETTINGS.map(str::to_owned).to_vec();
    let mut cluster = Cluster::start(Options { shards: 1, settings, ..Options::nodes(3) });
    let (mut old, mut here) = (connect(cluster.ports(1).mysql), connect(cluster.ports(1).mysql));
    create(&mut here);
    must(&mut old, "BEGIN");
    must(&mut old, "UPDATE shop.t SET n = n + 1 WHERE id = 1");
    cluster.kill(3);
    // The other two persist what they have, but the log is kept for the third: this does not end by itself, once what was
    // written before has been forgotten.
    let shed = |connection: &mut Conn| {
        let error = error_of(connection, "UPDATE shop.t SET n = n + 1 WHERE id = 2");
        error.is_some_and(|(code, _)| code == 1637)
    };
    let mut there = connect(cluster.ports(2).mysql);
    wait_for("both frontends to shed", || {
        let (code, text) = write_until_shed(&mut here);
        assert_eq!(code, 1637, "{text}");
        // Who only reads is not concerned, not even in a transaction that has tried to write.
        must(&mut there, "SELECT COUNT(*) FROM shop.t");
        must(&mut there, "START TRANSACTION");
        let is_shed = shed(&mut there);
        let lock = error_of(&mut there, "SELECT n FROM shop.t WHERE id = 2 FOR UPDATE");
        must(&mut there, "SELECT n FROM shop.t WHERE id = 2");
        must(&mut there, "ROLLBACK");
        is_shed && lock.is_some_and(|(code, _)| code == 1637) && shed(&mut here)
    });
    // The transaction that had begun before goes on to its end.
    must(&mut old, "UPDATE shop.t SET n = n + 1 WHERE id = 1");
    must(&mut old, "COMMIT");
    assert_eq!(old.query_first::<i64, _>("SELECT n FROM shop.t WHERE id = 1").unwrap(), Some(2));

    wait_for("the status to say why, and what to do", || {
        let told = status(&format!("127.0.0.1:{}", cluster.ports(1).admin));
        told.contains("error 1637")
            && told.contains("replicas have not persisted")
            && told.contains("shards list")
    });
    wait_for("the metrics to tell", || {
        let metric = |name: &str| cluster.metric(1, name);
        metric("process_strained{reason=\"log\"}") == Some(1.0)
            && metric("frontend_shed_transactions_total{reason=\"log\"}").is_some_and(|shed| shed > 0.0)
            && metric("adjudicator_log_bytes").is_some_and(|bytes| bytes > 49_152.0)
            && metric("shard_durable_lag_entries{shard=\"1\"}").is_some()
            && metric("shard_stream_lag_entries{shard=\"1\"}").is_some()
            && metric("shard_stream_lag_bytes{shard=\"1\"}").is_some()
            && metric("shard_durable_lag_bytes{shard=\"1\"}").is_some()
            && metric("shard_compaction_pending_bytes").is_some()
    });

    cluster.start_node(3);
    wait_for("new transactions to be taken again", || {
        error_of(&mut there, "UPDATE shop.t SET n = n + 1 WHERE id = 2").is_none()
    });
}

#[test]
fn a_node_that_is_nearly_full_holds_up_itself_only() {
    let mut cluster = Cluster::start(Options { shards: 2, ..Options::nodes(3) });
    let leader = cluster.wait_leader();
    let others: Vec<u64> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    create(&mut connect(cluster.ports(leader).mysql));
    // No disk has so much room.
    let full = "pressure.disk_free_bytes_min=1000000000000000000";
    let fill = |cluster: &mut Cluster, node: u64| {
        cluster.set(node, &[full]);
        assert!(cluster.terminate(node).success());
        cluster.start_node(node);
        cluster.wait_ready(node);
        let mut there = connect(cluster.ports(node).mysql);
        wait_for("the full node to take no writes", || {
            let told = error_of(&mut there, "UPDATE shop.t SET n = n + 1 WHERE id = 2");
            told.is_some_and(|(code, text)| code == 1637 && text.contains("free on the data disk"))
        });
        insist(&mut there, "SELECT COUNT(*) FROM shop.t");
    };
    fill(&mut cluster, others[0]);
    let admin = format!("127.0.0.1:{}", cluster.ports(leader).admin);
    wait_for("the status to name it", || {
        let told = status(&admin);
        told.contains(&format!("node {}", others[0])) && told.contains("free on the data disk")
    });
    for node in [leader, others[1]] {
        let mut there = connect(cluster.ports(node).mysql);
        wait_for("the others to take writes", || {
            // An election may have given the full one the lead.
            relieve(&mut cluster, &others[..1], leader);
            error_of(&mut there, "UPDATE shop.t SET n = n + 1 WHERE id = 2").is_none()
        });
    }
    // Two of three are no minority.
    fill(&mut cluster, others[1]);
    let mut here = connect(cluster.ports(leader).mysql);
    wait_for("everybody to shed", || {
        let told = error_of(&mut here, "UPDATE shop.t SET n = n + 1 WHERE id = 2");
        told.is_some_and(|(code, _)| code == 1637)
    });
    cluster.set(others[0], &[]);
    assert!(cluster.terminate(others[0]).success());
    cluster.start_node(others[0]);
    wait_for("new transactions to be taken again", || {
        relieve(&mut cluster, &others[1..], leader);
        error_of(&mut here, "UPDATE shop.t SET n = n + 1 WHERE id = 2").is_none()
    });
}
