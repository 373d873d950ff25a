//! Three replicas of every shard: they agree, they help each other out, and they are made again when they must.
#![allow(clippy::disallowed_methods)] // Reads the process's clock.

mod support;

use assize_model::*;
use assize_ports::{DecisionSource, ShardAdministration};
use assize_shards::Task;
use std::sync::atomic::Ordering;
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_agree_and_every_frontend_reads_what_another_has_committed() {
    let cluster = Cluster::start(3, 3, 2).await;
    let mut services = Vec::new();
    for node in 1..=3 {
        services.push(cluster.frontend(NodeId(node), Mode::Inline).await);
        services.push(cluster.frontend(NodeId(node), Mode::Prepared).await);
    }
    for n in 0..60 {
        let value = n.to_string();
        let at = n % services.len();
        write(&services[at], &rows(n * 3, 5, &value)).await;
        // A read at any replica waits for its snapshot.
        for reader in &services {
            let read = read(reader, &format!("row {:05}", n * 3 + 4)).await.unwrap();
            assert_eq!(read.as_ref(), Some(&value));
        }
    }
    assert_eq!(cluster.agree().await, 182);
    let all = scan(&services[0]).await.unwrap();
    assert_eq!(all.len(), 182);
    assert_eq!(scan(&services[5]).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_missed_a_prepare_fetches_the_intent() {
    let cluster = Cluster::start(3, 3, 2).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    cluster.network.deafen(NodeId(3), true);
    let large = "x".repeat(300_000);
    write(&writer, &rows(0, 4, &large)).await;
    write(&writer, &rows(2, 4, "small")).await;
    let reader = cluster.frontend(NodeId(3), Mode::Inline).await;
    assert_eq!(read(&reader, "row 00001").await.unwrap(), Some(large));
    assert_eq!(read(&reader, "row 00005").await.unwrap().as_deref(), Some("small"));
    assert_eq!(cluster.agree().await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_replicas_are_enough_and_the_third_catches_up() {
    let cluster = Cluster::start(3, 3, 2).await;
    let inline = cluster.frontend(NodeId(1), Mode::Inline).await;
    let prepared = cluster.frontend(NodeId(2), Mode::Prepared).await;
    // This frontend's nearest replicas are gone with their node.
    let away = cluster.frontend(NodeId(3), Mode::Prepared).await;
    cluster.close(NodeId(3)).await;
    write(&inline, &rows(0, 10, "inline")).await;
    write(&prepared, &rows(10, 10, "prepared")).await;
    write(&away, &rows(20, 10, "away")).await;
    assert_eq!(scan(&away).await.unwrap().len(), 30);
    cluster.open(NodeId(3)).await;
    cluster.all_follow(NodeId(3), 2).await;
    assert_eq!(cluster.agree().await, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_disk_was_lost_is_rebuilt_from_a_sibling() {
    let cluster = Cluster::start(3, 3, 2).await;
    let inline = cluster.frontend(NodeId(1), Mode::Inline).await;
    let prepared = cluster.frontend(NodeId(2), Mode::Prepared).await;
    write(&inline, &rows(0, 200, "old")).await;
    write(&prepared, &rows(100, 100, &"y".repeat(3_000))).await;
    // Until its replicas have something to lose, as the log knows.
    until("all are durable", || async {
        let standings = cluster.adjudicator.standings(ShardId(1)).await.unwrap();
        standings.replicas.iter().all(|standing| standing.durable.0 > 0)
    })
    .await;
    let before = cluster.placement().await.epoch;
    cluster.close(NodeId(3)).await;
    cluster.wipe(NodeId(3));
    write(&inline, &rows(50, 100, "meanwhile")).await;
    cluster.open(NodeId(3)).await;
    cluster.all_follow(NodeId(3), 2).await;
    assert!(cluster.placement().await.epoch > before, "what it had promised no longer counts");
    write(&prepared, &rows(300, 10, "after")).await;
    assert_eq!(cluster.agree().await, 210);
    let reader = cluster.frontend(NodeId(3), Mode::Inline).await;
    assert_eq!(scan(&reader).await.unwrap(), scan(&inline).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_for_which_the_log_did_not_wait_is_rebuilt() {
    let cluster = Cluster::start(3, 3, 1).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 50, "old")).await;
    cluster.close(NodeId(3)).await;
    write(&writer, &rows(20, 50, "new")).await;
    let gone = PlacementCommand::Uncount(ShardId(1), ReplicaId(3));
    cluster.adjudicator.administer(gone).await.unwrap();
    write(&writer, &rows(40, 50, "newer")).await;
    cluster.open(NodeId(3)).await;
    until("it counts again", || async {
        let standings = cluster.adjudicator.standings(ShardId(1)).await.unwrap();
        standings.replicas.iter().any(|standing| standing.replica == ReplicaId(3) && standing.counts)
    })
    .await;
    cluster.all_follow(NodeId(3), 1).await;
    assert_eq!(cluster.agree().await, 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_contents_differ_is_found_and_rebuilt() {
    let cluster = Cluster::start(3, 3, 1).await;
    let writer = cluster.frontend(NodeId(1), Mode::Inline).await;
    write(&writer, &rows(0, 50, "right")).await;
    cluster.agree().await;
    // Every replica can be rebuilt while the others serve; here as if the second had been found to differ.
    let before = cluster.placement().await.epoch;
    cluster.mover(NodeId(1)).rebuild(ShardId(1), NodeId(2)).await.unwrap();
    write(&writer, &rows(40, 20, "later")).await;
    until("what it had promised no longer counts", || async { cluster.placement().await.epoch > before })
        .await;
    cluster.all_follow(NodeId(2), 1).await;
    assert_eq!(cluster.agree().await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_breaks_goes_on_where_it_was() {
    let cluster = Cluster::start(5, 1, 1).await;
    let shard = ShardId(1);
    let writer = cluster.frontend(NodeId(1), Mode::Inline).await;
    for n in 0..20 {
        write(&writer, &rows(n * 100, 100, &"z".repeat(4_000))).await;
    }
    let (network, mover) = (cluster.network.clone(), cluster.mover(NodeId(1)));
    let copied_to = async |node: u64| {
        let before = (network.arrived.load(Ordering::Relaxed), network.opened.load(Ordering::Relaxed));
        mover.run(Task::AddReplica { shard, node: NodeId(node) }, &()).await.unwrap();
        let after = (network.arrived.load(Ordering::Relaxed), network.opened.load(Ordering::Relaxed));
        (after.0 - before.0, after.1 - before.1)
    };
    let (whole, channels) = copied_to(2).await;
    assert!(whole > 8_000_000 && channels == 1, "{whole} bytes in {channels} channels");
    // One channel after the other breaks, one before anything has arrived on it.
    network.breaking.lock().unwrap().extend([12, 0, 1, 9]);
    write(&writer, &rows(3_000, 10, "meanwhile")).await;
    let (broken, channels) = copied_to(3).await;
    assert_eq!(channels, 5);
    // Only what has been written meanwhile, and the ends.
    assert!(broken < whole + 50_000, "{broken} bytes arrived, and a whole copy is {whole}");
    assert_eq!(cluster.agree().await, 2_010);
    // Nothing had arrived of this one: it begins anew.
    network.breaking.lock().unwrap().extend([0]);
    let (anew, channels) = copied_to(4).await;
    assert!(channels == 2 && anew < whole + 50_000, "{anew} bytes in {channels} channels");
    assert_eq!(cluster.agree().await, 2_010);
}
