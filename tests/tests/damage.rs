//! Bytes of one replica are flipped on a node's disk: the node goes on, and the replica is copied from a sibling.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options};
use assize_tests::wait_for;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ROWS: u64 = 4000;

/// Three nodes with two shards whose rows are in files.
fn filled() -> Cluster {
    let settings = vec!["shard.flush_interval_seconds=1".to_owned()];
    let cluster = Cluster::start(Options { shards: 2, settings, ..Options::nodes(3) });
    let mut connection = cluster.connect(1).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, v TEXT NOT NULL)").unwrap();
    for first in (0..ROWS).step_by(500) {
        let rows: Vec<String> =
            (first..first + 500).map(|id| format!("({id}, '{}')", "x".repeat(200))).collect();
        connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(", "))).unwrap();
    }
    cluster
}

fn files(cluster: &Cluster, node: u64) -> Vec<PathBuf> {
    let directory = cluster.data(node).join("shards/rocks");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "sst"))
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).map_or(0, |meta| meta.len()));
    files
}

/// Flips bytes over the first part of a file, where its rows are.
fn flip(path: &Path, from: u64, to: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.write_all_at(&bytes, from).unwrap();
}

fn is_whole(connection: &mut Conn) -> bool {
    let report: Vec<(String, String, String, String)> = connection.query("CHECK TABLE f.t").unwrap();
    report.iter().all(|row| row.2 != "error")
}

fn states(connection: &mut Conn) -> BTreeSet<String> {
    let states: Vec<String> =
        connection.query("SELECT DISTINCT state FROM information_schema.assize_replicas").unwrap();
    states.into_iter().collect()
}

/// Starts a node whose disk was damaged until it serves, as a service manager would, and waits until it has everything.
fn start_until_whole(cluster: &mut Cluster, node: u64) {
    cluster.start_node(node);
    wait_for("the node to be ready", || {
        if !cluster.is_running(node) {
            cluster.start_node(node);
        }
        cluster.http(node, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    let mut connection = cluster.connect(1).unwrap();
    // What was not touched by opening is found by whoever reads it.
    wait_for("every replica to follow", || {
        if !cluster.is_running(node) {
            cluster.start_node(node);
        }
        let read =
            cluster.connect(node).and_then(|mut c| c.query_first::<u64, _>("SELECT COUNT(v) FROM f.t"));
        read.is_ok_and(|count| count == Some(ROWS))
            && cluster.log(node).contains("damaged and given up")
            && states(&mut connection) == BTreeSet::from(["following".to_owned()])
    });
    assert!(is_whole(&mut connection));
}

#[test]
fn a_replica_with_damaged_rows_is_copied_from_a_sibling() {
    let mut cluster = filled();
    assert!(cluster.terminate(3).success());
    let largest = files(&cluster, 3).pop().unwrap();
    let length = std::fs::metadata(&largest).unwrap().len();
    assert!(length > 8192, "{length}");
    // The tail (properties, index) stays: the file opens, and its blocks do not fit their checksums.
    flip(&largest, 0, length / 2);
    start_until_whole(&mut cluster, 3);
    let kept = std::fs::read_dir(cluster.data(3).join("shards/damaged")).unwrap().count();
    assert_eq!(kept, 1, "the damaged files are kept aside");
    assert!(cluster.metric(3, "shard_damaged_total").is_some());
    let mut connection = cluster.connect(3).unwrap();
    connection.query_drop(format!("INSERT INTO f.t VALUES ({ROWS}, '')")).unwrap();
}

/// It was opened before the damage was done, and somebody reads what it has not read yet: the process stays.
#[test]
fn a_replica_that_finds_damage_while_it_runs_is_copied_from_a_sibling() {
    let mut cluster = filled();
    assert!(cluster.terminate(3).success());
    let largest = files(&cluster, 3).pop().unwrap();
    cluster.start_node(3);
    cluster.wait_ready(3);
    let pid = cluster.pid(3);
    let length = std::fs::metadata(&largest).unwrap().len();
    flip(&largest, 0, length / 2);
    let mut connection = cluster.connect(3).unwrap();
    wait_for("the damage to be found", || {
        let read: mysql::Result<Option<u64>> = connection.query_first("SELECT COUNT(v) FROM f.t");
        // A sibling answers for it.
        assert_eq!(read.expect("the statement goes on"), Some(ROWS));
        cluster.log(3).contains("damaged and given up")
    });
    wait_for("every replica to follow", || {
        states(&mut connection) == BTreeSet::from(["following".to_owned()])
            && cluster.metric(3, "shard_rebuilt_total").is_some_and(|rebuilt| rebuilt > 0.0)
    });
    assert!(cluster.is_running(3) && cluster.pid(3) == pid, "its process has not ended");
    assert!(is_whole(&mut connection));
}

#[test]
fn a_store_that_does_not_open_is_put_aside_and_all_replicas_are_copied() {
    let mut cluster = filled();
    assert!(cluster.terminate(3).success());
    let rocks = cluster.data(3).join("shards/rocks");
    let manifest = std::fs::read_dir(&rocks)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST")));
    flip(&manifest.unwrap(), 8, 200);
    cluster.start_node(3);
    cluster.wait_ready(3);
    assert!(cluster.log(3).contains("the store of all replicas is damaged"));
    let mut connection = cluster.connect(3).unwrap();
    wait_for("every replica to follow", || {
        states(&mut connection) == BTreeSet::from(["following".to_owned()])
    });
    assert_eq!(connection.query_first::<u64, _>("SELECT COUNT(*) FROM f.t").unwrap(), Some(ROWS));
    assert!(is_whole(&mut connection));
}

/// Nobody else has the rows: nothing is given up, and the node says what is wrong.
#[test]
fn the_only_replica_is_never_given_up() {
    let settings = vec!["shard.replicas=1".to_owned(), "shard.flush_interval_seconds=1".to_owned()];
    let mut cluster = Cluster::start(Options { shards: 1, settings, ..Options::nodes(1) });
    let mut connection = cluster.connect(1).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    assert!(cluster.terminate(1).success());
    let before = files(&cluster, 1);
    for file in &before {
        let length = std::fs::metadata(file).unwrap().len();
        flip(file, 0, length / 2);
    }
    cluster.start_node(1);
    wait_for("the node to give up", || !cluster.is_running(1));
    assert_eq!(files(&cluster, 1).len(), before.len(), "every file is still there");
    assert!(!cluster.data(1).join("shards/damaged").exists());
    assert!(cluster.log(1).contains("damage"), "{}", cluster.log(1));
}
