//! Damaged contents are given up once a sibling has said that it has everything, and not before.
#![allow(clippy::disallowed_methods)] // Reads the process's clock.

mod support;

use assize_model::*;
use assize_ports::DecisionSource;
use assize_shards::embedded::ShardHost;
use assize_shards::wire::Phase;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::*;

const ROWS: u64 = 300;
const ALONE: &str = "no sibling has said that it has everything";

/// One shard with so many replicas and rows.
async fn filled(nodes: u64) -> Cluster {
    let cluster = Cluster::start(nodes, nodes, 1).await;
    let writer = cluster.frontend(NodeId(1), Mode::Inline).await;
    write(&writer, &rows(0, ROWS as usize, &"value ".repeat(40))).await;
    // Until every replica has something to lose, as the log knows.
    until("all are durable", || async {
        let standings = cluster.adjudicator.standings(ShardId(1)).await.unwrap();
        standings.replicas.iter().all(|standing| standing.durable.0 > 0)
    })
    .await;
    assert_eq!(cluster.agree().await, ROWS);
    cluster
}

fn rocks(cluster: &Cluster, node: NodeId) -> PathBuf {
    cluster.path(node).join("rocks")
}

/// The longest file of a node's store of which the name says this.
fn longest(cluster: &Cluster, node: NodeId, is_it: impl Fn(&str) -> bool) -> PathBuf {
    let files = std::fs::read_dir(rocks(cluster, node)).unwrap().map(|entry| entry.unwrap());
    let named = files.filter(|file| is_it(&file.file_name().to_string_lossy()));
    named.max_by_key(|file| file.metadata().unwrap().len()).unwrap().path()
}

/// Damages the first quarter of a file, where its rows are, or repairs it again.
fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let end = bytes.len() / 4;
    bytes[..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(file, bytes).unwrap();
}

/// Starts a node and reads everything, until it says why it goes on no more.
async fn why_it_stops(cluster: &Cluster, node: NodeId) -> String {
    let host = match cluster.try_open(node, Duration::from_secs(2)).await {
        Err(error) => {
            // Until nobody holds the directory any more.
            tokio::time::sleep(Duration::from_millis(500)).await;
            return error.to_string();
        }
        Ok(host) => host,
    };
    let reader = cluster.frontend(node, Mode::Inline).await;
    let reading = async {
        loop {
            let _ = scan(&reader).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let why = tokio::select! {
        why = host.failed() => why,
        () = reading => unreachable!("it never ends"),
        () = tokio::time::sleep(Duration::from_secs(60)) => "the damage was not found".to_owned(),
    };
    drop(host);
    cluster.close(node).await;
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_up_while_the_siblings_are_away() {
    let (cluster, node) = (filled(3).await, NodeId(3));
    cluster.close(node).await;
    let file = longest(&cluster, node, |name| name.ends_with(".sst"));
    flip(&file);
    [1, 2].into_iter().for_each(|sibling| cluster.network.cut(NodeId(sibling)));
    let why = why_it_stops(&cluster, node).await;
    assert!(why.contains(ALONE), "{why}");
    assert!(!cluster.path(node).join("damaged").exists());
    // Repaired, it has everything that it had.
    flip(&file);
    [1, 2].into_iter().for_each(|sibling| cluster.network.heal(NodeId(sibling)));
    let host = cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    assert_eq!(cluster.agree().await, ROWS);
    assert_eq!((host.tallies().damaged, host.tallies().rebuilt), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_up_that_a_sibling_still_has_to_copy() {
    let (cluster, node, learner) = (filled(2).await, NodeId(1), NodeId(2));
    cluster.close(node).await;
    cluster.close(learner).await;
    cluster.wipe(learner);
    cluster.open(learner).await;
    let file = longest(&cluster, node, |name| name.ends_with(".sst"));
    flip(&file);
    let why = why_it_stops(&cluster, node).await;
    assert!(why.contains(ALONE), "{why}");
    assert!(!cluster.path(node).join("damaged").exists());
    flip(&file);
    let host = cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    cluster.all_follow(learner, 1).await;
    assert_eq!(cluster.agree().await, ROWS);
    assert_eq!(host.tallies().damaged, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_marked_is_given_up_once_a_sibling_has_everything() {
    let (cluster, node) = (filled(3).await, NodeId(3));
    cluster.close(node).await;
    let mark = cluster.path(node).join("damaged-1");
    std::fs::write(&mark, "a test says so").unwrap();
    [1, 2].into_iter().for_each(|sibling| cluster.network.cut(NodeId(sibling)));
    let host = cluster.try_open(node, Duration::from_secs(2)).await.unwrap();
    cluster.all_follow(node, 1).await;
    assert_eq!(host.tallies().damaged, 0, "{:?}", host.tallies());
    // Earlier releases did not say of which contents it speaks.
    assert_eq!(std::fs::read_to_string(&mark).unwrap().lines().nth(1), Some("a test says so"));
    // One is enough, and need not be there when the node starts.
    cluster.network.heal(NodeId(1));
    until("it has gone", || async { !mark.exists() }).await;
    cluster.all_follow(node, 1).await;
    assert_eq!((host.tallies().damaged, host.tallies().rebuilt), (1, 1));
    cluster.network.heal(NodeId(2));
    assert_eq!(cluster.agree().await, ROWS);
}

/// Starts a node and reads everything, as often as it takes, until its replica is given up.
async fn open_until_given_up(cluster: &Cluster, node: NodeId) -> ShardHost {
    for _ in 0..10 {
        let Ok(host) = cluster.try_open(node, Duration::from_secs(30)).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let reader = cluster.frontend(node, Mode::Inline).await;
        let reading = async {
            while host.tallies().damaged == 0 {
                let _ = scan(&reader).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Compaction may have met the damage first: the store takes no writes then.
        tokio::select! {
            _ = host.failed() => {}
            () = reading => return host,
        }
        drop(host);
        cluster.close(node).await;
    }
    panic!("the damage was not found");
}

/// All siblings say that they have everything, and are lost while they are copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_stays_until_its_copy_has_arrived() {
    let (cluster, node) = (filled(3).await, NodeId(3));
    cluster.close(node).await;
    let file = longest(&cluster, node, |name| name.ends_with(".sst"));
    flip(&file);
    let mark = cluster.path(node).join("damaged-1");
    let no_copy_arrives = || *cluster.network.breaking.lock().unwrap() = vec![0; 100_000];
    no_copy_arrives();
    // Given up, and again after a restart.
    for _ in 0..2 {
        let host = open_until_given_up(&cluster, node).await;
        let before = cluster.network.opened.load(Ordering::Relaxed);
        until("it is tried", || async { cluster.network.opened.load(Ordering::Relaxed) > before }).await;
        let status = host.status(ShardId(1)).unwrap();
        assert!(matches!(status.phase, Phase::Copying { .. }), "{status:?}");
        assert!(mark.exists() && file.exists());
        drop(host);
        cluster.close(node).await;
    }
    // Nobody else is left. Repaired, it has everything that it had.
    [1, 2].into_iter().for_each(|sibling| cluster.network.cut(NodeId(sibling)));
    flip(&file);
    let host = cluster.try_open(node, Duration::from_secs(2)).await.unwrap();
    cluster.all_follow(node, 1).await;
    let reader = cluster.frontend(node, Mode::Inline).await;
    assert_eq!(scan(&reader).await.unwrap().len() as u64, ROWS);
    assert_eq!((host.tallies().damaged, host.tallies().rebuilt), (0, 0));
    assert!(mark.exists());
    drop((host, reader));
    cluster.close(node).await;
    // They were not lost after all.
    [1, 2].into_iter().for_each(|sibling| cluster.network.heal(NodeId(sibling)));
    cluster.network.breaking.lock().unwrap().clear();
    let host = cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    until("it has gone", || async { !mark.exists() }).await;
    assert_eq!((host.tallies().damaged, host.tallies().rebuilt), (1, 1));
    assert_eq!(std::fs::read_dir(cluster.path(node).join("damaged")).unwrap().count(), 1);
    assert_eq!(cluster.agree().await, ROWS);
}

/// The sibling may be larger than what was damaged, and a full disk would end the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_makes_room_for_its_copy_once_that_is_coming() {
    let (cluster, node) = (filled(3).await, NodeId(3));
    cluster.close(node).await;
    let file = longest(&cluster, node, |name| name.ends_with(".sst"));
    flip(&file);
    let mark = cluster.path(node).join("damaged-1");
    cluster.room_min.store(u64::MAX, Ordering::Relaxed);
    // Not for a copy of which nothing comes.
    *cluster.network.breaking.lock().unwrap() = vec![0; 100_000];
    let host = open_until_given_up(&cluster, node).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(mark.exists() && file.exists());
    // The next one breaks after its first message, and does not go on.
    cluster.network.breaking.lock().unwrap().push(1);
    until("it has made room", || async { !mark.exists() && !file.exists() }).await;
    let status = host.status(ShardId(1)).unwrap();
    assert!(matches!(status.phase, Phase::Copying { .. }), "{status:?}");
    drop(host);
    cluster.close(node).await;
    cluster.network.breaking.lock().unwrap().clear();
    let host = cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    assert_eq!(host.tallies().rebuilt, 1);
    assert_eq!(std::fs::read_dir(cluster.path(node).join("damaged")).map_or(0, Iterator::count), 0);
    assert_eq!(cluster.agree().await, ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_put_aside_once_siblings_have_all_of_it() {
    let (cluster, node) = (filled(3).await, NodeId(3));
    cluster.close(node).await;
    flip(&longest(&cluster, node, |name| name.starts_with("MANIFEST")));
    let mark = cluster.path(node).join("damaged-1");
    std::fs::write(&mark, "a test says so").unwrap();
    [1, 2].into_iter().for_each(|sibling| cluster.network.cut(NodeId(sibling)));
    let why = why_it_stops(&cluster, node).await;
    assert!(why.contains(ALONE), "{why}");
    assert!(rocks(&cluster, node).exists() && !cluster.path(node).join("damaged").exists());
    cluster.network.heal(NodeId(2));
    let host = cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    assert_eq!(host.tallies().damaged, 1);
    assert!(!mark.exists(), "it spoke of what has gone");
    assert_eq!(std::fs::read_dir(cluster.path(node).join("damaged")).unwrap().count(), 1);
    cluster.network.heal(NodeId(1));
    assert_eq!(cluster.agree().await, ROWS);
}
