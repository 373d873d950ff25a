//! A frontend that stood still for longer than its lease: it is fenced, hears of it, and its clients go on.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options};
use assize_tests::wait_for;
use mysql::Conn;
use mysql::prelude::Queryable;

/// A lease that a test can wait for.
const SETTINGS: [&str; 1] = ["adjudicator.frontend_lease_seconds=2"];

const LIVES_AGAIN: &str = "begins another life";

fn cluster() -> Cluster {
    let mut options = Options::nodes(3);
    options.settings = SETTINGS.map(str::to_owned).to_vec();
    Cluster::start(options)
}

/// A node that does not lead, and the one that does.
fn follower_and_leader(cluster: &mut Cluster) -> (u64, u64) {
    let leader = cluster.wait_leader();
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).expect("three nodes");
    (follower, leader)
}

fn value(client: &mut Conn) -> mysql::Result<i64> {
    client.query_first("SELECT v FROM d.t WHERE id = 1").map(|found| found.expect("the row is there"))
}

/// Stops a node's process until the leader has fenced its frontend; `meanwhile` happens after that, before it goes on.
fn stand_still(cluster: &mut Cluster, node: u64, leader: u64, meanwhile: impl FnOnce()) {
    let fences = |cluster: &Cluster| {
        let log = cluster.log(leader);
        log.lines().filter(|line| line.contains("fell silent and is fenced")).count()
    };
    let before = fences(cluster);
    cluster.pause(node);
    wait_for("the frontend to be fenced", || fences(cluster) > before);
    meanwhile();
    cluster.resume(node);
}

#[test]
fn a_frontend_that_only_reads_begins_another_life_and_its_clients_go_on() {
    let mut cluster = cluster();
    let (node, leader) = follower_and_leader(&mut cluster);
    let (mut client, mut writer) = (cluster.connect(node).unwrap(), cluster.connect(leader).unwrap());
    writer.query_drop("CREATE DATABASE d").unwrap();
    writer.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)").unwrap();
    writer.query_drop("INSERT INTO d.t VALUES (1, 1)").unwrap();
    assert_eq!(value(&mut client).unwrap(), 1);
    let pid = cluster.pid(node);

    for life in 1..=2i64 {
        stand_still(&mut cluster, node, leader, || {
            writer.query_drop(format!("UPDATE d.t SET v = {} WHERE id = 1", 10 * life)).unwrap();
        });
        // Nothing but reads, and none is told anything old.
        wait_for("the frontend to begin another life", || {
            assert_eq!(value(&mut client).unwrap(), 10 * life);
            cluster.log(node).matches(LIVES_AGAIN).count() as i64 >= life
        });
    }

    // The first commit of the new life is one like any other.
    client.query_drop("UPDATE d.t SET v = v + 1 WHERE id = 1").unwrap();
    assert_eq!(value(&mut client).unwrap(), 21);
    assert_eq!(value(&mut writer).unwrap(), 21);
    assert!(cluster.is_running(node) && cluster.pid(node) == pid, "the process has run on");
    assert_eq!(cluster.log(leader).matches(LIVES_AGAIN).count(), 0, "nobody else was fenced");
}

#[test]
fn a_transaction_that_was_open_meanwhile_commits_or_is_told_to_begin_again() {
    let mut cluster = cluster();
    let (node, leader) = follower_and_leader(&mut cluster);
    let (mut client, mut writer) = (cluster.connect(node).unwrap(), cluster.connect(leader).unwrap());
    writer.query_drop("CREATE DATABASE d").unwrap();
    writer.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)").unwrap();
    writer.query_drop("INSERT INTO d.t VALUES (1, 1), (2, 1)").unwrap();
    client.query_drop("BEGIN").unwrap();
    client.query_drop("UPDATE d.t SET v = 2 WHERE id = 2").unwrap();
    assert_eq!(value(&mut client).unwrap(), 1);
    stand_still(&mut cluster, node, leader, || {
        writer.query_drop("UPDATE d.t SET v = 5 WHERE id = 1").unwrap();
    });
    wait_for("the frontend to begin another life", || cluster.log(node).contains(LIVES_AGAIN));

    // Its snapshot as it was, or an error; never a mixture.
    let read = value(&mut client);
    assert!(matches!(read, Ok(1) | Err(_)), "{read:?}");
    let committed = client.query_drop("COMMIT").is_ok() && read.is_ok();
    if !committed {
        // Whatever it was refused with, the connection is good for the next transaction.
        let _ = client.query_drop("ROLLBACK");
    }
    let second: i64 = client.query_first("SELECT v FROM d.t WHERE id = 2").unwrap().unwrap();
    assert!(second == 2 || !committed, "a commit that was acknowledged is there");
    client.query_drop("UPDATE d.t SET v = 7 WHERE id = 2").unwrap();
    let second: i64 = writer.query_first("SELECT v FROM d.t WHERE id = 2").unwrap().unwrap();
    assert_eq!(second, 7);
}
