//! A node dies at every step to its disk while a replica is copied, split off or merged, and goes on with what lies there.
#![allow(clippy::disallowed_methods)] // Reads the process's clock.

mod support;

use assize_model::*;
use assize_session::Services;
use assize_shards::Task;
use assize_shards::wire::Phase;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::*;

const SHARD: ShardId = ShardId(1);
const ROWS: usize = 300;

/// More steps than anything here takes.
const STEPS_MAX: u64 = 100;

/// Nodes with a replica of each shard, all of which have something to lose.
async fn filled(nodes: u64, shards: u32) -> (Cluster, Arc<Services>) {
    let cluster = Cluster::start(nodes, nodes, shards).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, ROWS, &"value ".repeat(40))).await;
    until("all are durable", || async {
        use assize_ports::DecisionSource;
        let standings = cluster.adjudicator.standings(SHARD).await.unwrap();
        standings.replicas.iter().all(|standing| standing.durable.0 > 0)
    })
    .await;
    (cluster, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_rebuilt_wherever_its_node_dies() {
    let _turn = turn().await;
    let ((cluster, writer), node) = (filled(3, 1).await, NodeId(3));
    let mut deaths = 0;
    for steps in 0..STEPS_MAX {
        cluster.close(node).await;
        // Promises that it does not hear.
        write(&writer, &rows(ROWS + steps as usize, 1, "meanwhile")).await;
        let mark = cluster.path(node).join("damaged-1");
        std::fs::write(&mark, "a test says so").unwrap();
        *cluster.network.breaking.lock().unwrap() = vec![0; 100_000];
        let host = cluster.open(node).await;
        assert_eq!(host.tallies().damaged, 1);
        host.die_after(steps);
        cluster.network.breaking.lock().unwrap().clear();
        let is_rebuilt = || {
            let status = host.status(SHARD);
            !mark.exists() && status.is_some_and(|status| status.phase == Phase::Following)
        };
        until("it is rebuilt, or dead", || async { host.is_dead() || is_rebuilt() }).await;
        let has_died = host.is_dead() && !is_rebuilt();
        if has_died {
            drop(host);
            cluster.kill(node).await;
            let host = cluster.open(node).await;
            cluster.all_follow(node, 1).await;
            drop(host);
            deaths += 1;
        } else {
            host.die_after(u64::MAX);
        }
        assert_eq!(cluster.agree().await as usize, ROWS + steps as usize + 1, "after {steps} steps");
        if !has_died {
            println!("died {deaths} times");
            assert!(deaths > 5, "a copy takes more steps than {deaths}");
            return;
        }
    }
    panic!("it never ends");
}

/// Runs a task until there are so many shards: one that is done cannot be run again.
async fn insist(cluster: &Cluster, task: Task, shards: usize) {
    until(&format!("{task} is done"), || async {
        let is_done = cluster.placement().await.shards.len() == shards;
        is_done || cluster.mover(NodeId(1)).run(task, &()).await.is_ok()
    })
    .await;
}

/// Runs a task on clusters with so many shards, each of which loses a node some steps later than the one before, and again when
/// the node is back; then there must be so many shards. Ends with the first node that outlives the task.
async fn run_wherever_a_node_dies(before: u32, task: Task, after: usize, stride: usize) {
    let node = NodeId(2);
    for steps in (0..STEPS_MAX).step_by(stride) {
        let (cluster, _writer) = filled(2, before).await;
        let host = cluster.host(node);
        host.die_after(steps);
        tokio::select! {
            () = insist(&cluster, task, after) => {}
            () = until("it dies", || async { host.is_dead() }) => {}
        }
        let has_died = host.is_dead();
        drop(host);
        if has_died {
            cluster.kill(node).await;
            cluster.open(node).await;
            insist(&cluster, task, after).await;
        } else {
            cluster.host(node).die_after(u64::MAX);
        }
        // Both nodes are needed for a majority.
        cluster.all_follow(node, after).await;
        let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
        write(&writer, &rows(ROWS, 20, "after")).await;
        assert_eq!(cluster.agree().await as usize, ROWS + 20, "{task} after {steps} steps");
        println!("{task} after {steps} steps");
        if !has_died {
            assert!(steps > 5, "{task} takes more than {steps} steps");
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_split_wherever_a_node_dies() {
    let _turn = turn().await;
    run_wherever_a_node_dies(1, Task::Split { shard: SHARD, at: Some(Slot(20_000)) }, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_merged_wherever_a_node_dies() {
    let _turn = turn().await;
    // Not at every step: this takes some seconds.
    run_wherever_a_node_dies(2, Task::Merge { from: ShardId(2), into: SHARD }, 1, 4).await;
}

/// Bytes after which it is noted how far a copy has come.
const NOTED: u64 = 1 << 20;

/// What a source keeps for a copy, and a mover's patience, end some time: on a machine that has too much to do copies begin anew
/// which these tests expect to go on. So two of them run at once, however many threads there are.
static TURNS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

async fn turn() -> tokio::sync::SemaphorePermit<'static> {
    TURNS.acquire().await.expect("it is never closed")
}

/// Has copies to a node that is about to start stop after so many messages, and break whenever they are tried again.
fn break_copies_after(cluster: &Cluster, messages: usize) {
    let mut breaking = vec![0; 100_000];
    breaking.push(messages);
    *cluster.network.breaking.lock().unwrap() = breaking;
}

fn arrived(cluster: &Cluster) -> u64 {
    cluster.network.arrived.load(Ordering::Relaxed)
}

/// So many bytes of it have come to a node, and no more will.
async fn is_stuck(cluster: &Cluster, node: NodeId) {
    let tried = || cluster.network.breaking.lock().unwrap().len();
    until("the copy is broken", || async { tried() < 99_998 && cluster.host(node).status(SHARD).is_some() })
        .await;
}

/// A node loses its disk, and dies once a part of what replaces it has come.
async fn dies_in_a_copy(cluster: &Cluster, node: NodeId) {
    break_copies_after(cluster, 20);
    cluster.close(node).await;
    cluster.wipe(node);
    cluster.open(node).await;
    is_stuck(cluster, node).await;
    cluster.close(node).await;
}

/// Nodes with a replica of one shard that is worth to be copied in parts.
async fn heavy(nodes: u64, replicas: u64) -> Cluster {
    let cluster = Cluster::start(nodes, replicas, 1).await;
    cluster.noted_bytes.store(NOTED, Ordering::Relaxed);
    let writer = cluster.frontend(NodeId(1), Mode::Inline).await;
    for n in 0..20 {
        write(&writer, &rows(n * 100, 100, &"z".repeat(4_000))).await;
    }
    until("all are durable", || async {
        use assize_ports::DecisionSource;
        let standings = cluster.adjudicator.standings(SHARD).await.unwrap();
        standings.replicas.iter().all(|standing| standing.durable.0 > 0)
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_where_it_was_after_its_receiver_has_died() {
    let _turn = turn().await;
    let (cluster, node) = (heavy(3, 3).await, NodeId(3));
    let lose_disk = async || {
        cluster.close(node).await;
        cluster.wipe(node);
    };
    // The first copy has intents that go soon after it.
    let mut whole = 0;
    for _ in 0..2 {
        let before = arrived(&cluster);
        lose_disk().await;
        cluster.open(node).await;
        cluster.all_follow(node, 1).await;
        whole = arrived(&cluster) - before;
    }
    assert!(whole > 8_000_000, "{whole} bytes");

    for (parts, dies) in
        [(&[1][..], true), (&[9, 8, 9], true), (&[17], false), (&[25], true), (&[9, 20], false)]
    {
        let before = arrived(&cluster);
        lose_disk().await;
        for messages in parts {
            break_copies_after(&cluster, *messages);
            cluster.open(node).await;
            is_stuck(&cluster, node).await;
            if dies {
                cluster.host(node).die_after(0);
                cluster.kill(node).await;
            } else {
                cluster.close(node).await;
            }
        }
        cluster.network.breaking.lock().unwrap().clear();
        cluster.open(node).await;
        cluster.all_follow(node, 1).await;
        assert_eq!(cluster.agree().await, 2_000, "after {parts:?} messages");
        let all = arrived(&cluster) - before;
        println!("{parts:?} messages: {all} bytes in all, {whole} without a restart");
        let again = parts.len() as u64 * (NOTED + NOTED / 2);
        assert!(all < whole + again, "{all} bytes came after {parts:?} messages, and {whole} are enough");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_begins_anew_after_its_source_has_been_restarted() {
    let _turn = turn().await;
    let (cluster, node) = (heavy(3, 3).await, NodeId(3));
    dies_in_a_copy(&cluster, node).await;
    for source in [1, 2] {
        cluster.close(NodeId(source)).await;
        cluster.open(NodeId(source)).await;
        cluster.all_follow(NodeId(source), 1).await;
    }
    cluster.network.breaking.lock().unwrap().clear();
    cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    assert_eq!(cluster.agree().await, 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_the_log_did_not_wait_for_begins_anew() {
    let _turn = turn().await;
    use assize_ports::{DecisionSource, ShardAdministration};
    let (cluster, node) = (heavy(3, 3).await, NodeId(3));
    dies_in_a_copy(&cluster, node).await;
    cluster.network.breaking.lock().unwrap().clear();
    let gone = PlacementCommand::Uncount(SHARD, ReplicaId(3));
    cluster.adjudicator.administer(gone).await.unwrap();
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(2_000, 50, "meanwhile")).await;
    let before = arrived(&cluster);
    cluster.open(node).await;
    cluster.all_follow(node, 1).await;
    until("it counts again", || async {
        let standings = cluster.adjudicator.standings(SHARD).await.unwrap();
        standings.replicas.iter().any(|standing| standing.replica == ReplicaId(3) && standing.counts)
    })
    .await;
    assert!(arrived(&cluster) - before > 7 * NOTED, "all of it came again");
    assert_eq!(cluster.agree().await, 2_050);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_added_although_its_node_restarts_while_it_copies() {
    let _turn = turn().await;
    let (cluster, node) = (heavy(2, 1).await, NodeId(2));
    cluster.close(node).await;
    cluster.open(node).await;
    break_copies_after(&cluster, 20);
    let before = arrived(&cluster);
    let mover = cluster.mover(NodeId(1));
    let adding = tokio::spawn(async move { mover.run(Task::AddReplica { shard: SHARD, node }, &()).await });
    is_stuck(&cluster, node).await;
    cluster.close(node).await;
    cluster.network.breaking.lock().unwrap().clear();
    cluster.open(node).await;
    adding.await.unwrap().unwrap();
    assert_eq!(cluster.agree().await, 2_000);
    let all = arrived(&cluster) - before;
    assert!(all < 10 * NOTED, "{all} bytes came of about eight million");
}
