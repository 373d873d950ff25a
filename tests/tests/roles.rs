//! Roles apart: three adjudicators, three nodes with shards, two frontends, each a process of its own.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::cluster::{Cluster, Options};
use assize_tests::{Assize, run, wait_for};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const ADJUDICATORS: [u64; 3] = [1, 2, 3];
const SHARDS: [u64; 3] = [4, 5, 6];
const FRONTENDS: [u64; 2] = [7, 8];

/// Clusters of eight processes come one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Founders that have no shards, and nodes that join and know two of the founders only.
fn apart() -> Cluster {
    let roles = [(&ADJUDICATORS[..], "adjudicator"), (&SHARDS[..], "shard"), (&FRONTENDS[..], "frontend")];
    let roles = roles.iter().flat_map(|(nodes, role)| nodes.iter().map(move |node| (*node, *role)));
    let settings = vec!["shard.nodes=[4, 5, 6]".to_owned()];
    let options = Options { roles: roles.collect(), settings, ..Options::nodes(3) };
    let mut cluster = Cluster::start(options);
    for node in SHARDS.into_iter().chain(FRONTENDS) {
        cluster.join_node(node);
    }
    for node in SHARDS.into_iter().chain(FRONTENDS) {
        cluster.wait_ready(node);
    }
    cluster
}

/// Exit code and words of `assize status`, asked at a node.
fn status(cluster: &Cluster, node: u64) -> (Option<i32>, String) {
    let output = shell(cluster, node, "status");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command of the shell against a node's admin API.
fn shell(cluster: &Cluster, node: u64, line: &str) -> Output {
    let admin = format!("127.0.0.1:{}", cluster.ports(node).admin);
    run(Command::new(Assize::binary()).args(line.split(' ')).args(["--admin", &admin]), b"")
}

/// The same, again and again until it succeeds: the cluster may have to finish something first.
fn shell_until_done(cluster: &Cluster, node: u64, line: &str) {
    wait_for(line, || shell(cluster, node, line).status.success());
}

fn is_healthy_everywhere(cluster: &Cluster) {
    for node in FRONTENDS.into_iter().chain([1, 4]) {
        let mut told = String::new();
        wait_for("the status to be healthy", || {
            let (code, text) = status(cluster, node);
            told = text;
            code == Some(0)
        });
        assert!(told.contains("healthy"), "node {node}: {told}");
    }
}

/// Writes through one frontend, reads through the other.
fn serves(cluster: &Cluster, id: u64) {
    let (writer, reader) = (FRONTENDS[id as usize % 2], FRONTENDS[(id as usize + 1) % 2]);
    wait_for("a row to be written", || {
        let written = cluster.connect(writer).and_then(|mut connection| {
            connection.query_drop(format!("REPLACE INTO f.t VALUES ({id}), ({})", id + 1000))
        });
        written.is_ok()
    });
    let mut connection: Conn = cluster.connect(reader).unwrap();
    let found: Option<u64> = connection
        .query_first(format!("SELECT COUNT(*) FROM f.t WHERE id IN ({id}, {})", id + 1000))
        .unwrap();
    assert_eq!(found, Some(2), "through node {reader} what node {writer} acknowledged");
}

#[test]
fn roles_apart_serve_and_survive_the_death_of_any_adjudicator_and_of_a_shard_node() {
    let _alone = alone();
    let mut cluster = apart();
    let mut connection = cluster.connect(FRONTENDS[0]).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    drop(connection);
    serves(&cluster, 1);
    serves(&cluster, 2);
    is_healthy_everywhere(&cluster);
    for (turn, adjudicator) in ADJUDICATORS.into_iter().enumerate() {
        cluster.kill(adjudicator);
        serves(&cluster, 10 + 2 * turn as u64);
        serves(&cluster, 11 + 2 * turn as u64);
        let (code, told) = status(&cluster, FRONTENDS[0]);
        assert_eq!(code, Some(1), "one of three voters is missing: {told}");
        cluster.start_node(adjudicator);
        cluster.wait_ready(adjudicator);
    }
    cluster.kill(SHARDS[0]);
    serves(&cluster, 20);
    serves(&cluster, 21);
    cluster.start_node(SHARDS[0]);
    cluster.wait_ready(SHARDS[0]);
    is_healthy_everywhere(&cluster);
}

/// A frontend was told of nodes 1 and 2 only. Both are replaced while it runs, and it goes on.
#[test]
fn a_frontend_follows_voters_that_replace_those_it_was_told_of() {
    let _alone = alone();
    let mut cluster = apart();
    let mut connection = cluster.connect(FRONTENDS[0]).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    let admin = format!("127.0.0.1:{}", cluster.ports(3).admin);
    let have_done = |arguments: &[&str]| {
        let mut told = String::new();
        wait_for("the members to have been changed", || {
            let mut command = Command::new(Assize::binary());
            let output = run(command.args(arguments).args(["--admin", &admin]), b"");
            told = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success()
        });
    };
    for (old, new) in [(1, 9), (2, 10)] {
        cluster.join_adjudicator(new);
        wait_for("the new node to be ready", || {
            cluster.http(new, "/readyz").is_some_and(|(code, _)| code == 200)
        });
        have_done(&["members", "promote", &new.to_string()]);
        // The frontends ask each second who is there.
        std::thread::sleep(Duration::from_secs(3));
        cluster.kill(old);
        have_done(&["members", "remove", &old.to_string(), "--force"]);
    }
    serves(&cluster, 1);
    serves(&cluster, 2);
    // The last of the founders; those that are left are known from the list only.
    cluster.kill(3);
    serves(&cluster, 3);
    serves(&cluster, 4);
}

/// What a frontend without an adjudicator has to be told by the leader: that it drains, and that there still is one.
#[test]
fn a_frontend_drains_though_it_was_down_and_says_when_no_adjudicator_is_left() {
    let _alone = alone();
    let mut cluster = apart();
    let [stays, drains] = FRONTENDS;
    let mut connection = cluster.connect(stays).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY)").unwrap();
    drop(connection);
    serves(&cluster, 1);
    cluster.kill(drains);
    shell_until_done(&cluster, 1, &format!("members drain {drains}"));
    cluster.start_node(drains);
    wait_for("the node to say that it is draining", || {
        cluster.http(drains, "/readyz?verbose").is_some_and(|(_, text)| text.contains("frontend: draining"))
    });
    wait_for("the node to heed it", || cluster.log(drains).contains("the log says so"));
    wait_for("its frontend to be closed", || cluster.connect(drains).is_err());
    shell_until_done(&cluster, 1, &format!("members undrain {drains}"));
    cluster.wait_ready(drains);
    wait_for("it to serve again", || cluster.connect(drains).is_ok());
    serves(&cluster, 2);

    ADJUDICATORS.into_iter().for_each(|node| cluster.kill(node));
    wait_for("the frontend to notice that nobody leads", || {
        cluster.http(stays, "/readyz").is_some_and(|(code, text)| {
            code == 503 && text.contains("leader: nothing has been heard of a leader for")
        })
    });
    wait_for("the node with shards to notice it, too", || {
        cluster.http(SHARDS[0], "/readyz").is_some_and(|(code, _)| code == 503)
    });
    let (code, told) = status(&cluster, stays);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("hears of no leader: nodes and shards are told as it knew them last"), "{told}");
    let output = shell(&cluster, stays, "members");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("no leader is heard of"), "{told}");
    let output = shell(&cluster, stays, "schema");
    assert!(output.status.success(), "the schema it knew last: {output:?}");

    ADJUDICATORS.into_iter().for_each(|node| cluster.start_node(node));
    for node in [stays, drains, SHARDS[0]] {
        cluster.wait_ready(node);
    }
    serves(&cluster, 3);
}
