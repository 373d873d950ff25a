//! What is watched.

use crate::{Api, fake, refused};
use assize_admin::pb;
use tonic::Code;

#[tokio::test]
async fn conflicts_are_told_as_they_happen_and_once() {
    let api = Api::start().await;
    let mut transactions = api.client().await.transactions();
    let request = pb::WatchConflictsRequest { table: "shop.stock".to_owned() };
    let mut watched = transactions.watch_conflicts(request).await.unwrap().into_inner();
    let report = |at: i64, id: &str, table: &str| {
        let conflict = fake::conflict(id, 1_790_000_000_000_000 + at * 1_000_000, "(1)");
        let conflict = assize_ports::ConflictRecord { table: table.to_owned(), ..conflict };
        api.fake.state().report.conflicts.insert(0, conflict);
    };
    report(4, "c-0004", "shop.stock");
    report(5, "c-0005", "shop.orders");
    report(6, "c-0006", "shop.stock");
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0004", "the three before are not told");
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0006", "another table's is not told");
    report(7, "c-0007", "shop.stock");
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0007");
}

/// With nobody else to ask there is no interval: what comes was pushed.
#[tokio::test]
async fn what_happens_in_this_process_is_pushed_each_once_and_in_order() {
    let api = Api::start().await;
    api.fake.is_alone.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut transactions = api.client().await.transactions();
    let request = pb::WatchConflictsRequest { table: String::new() };
    let mut watched = transactions.watch_conflicts(request).await.unwrap().into_inner();
    let keep = |number: u64| {
        let conflict =
            fake::conflict(&format!("c-{number:04}"), 1_790_000_100_000_000 + number as i64, "(1)");
        api.fake.state().report.conflicts.insert(0, conflict.clone());
        api.fake.state().own_conflicts.push(conflict);
        api.fake.bell.send_replace(number);
    };
    let mut told = Vec::new();
    for burst in 0..20 {
        for number in burst * 10 + 1..=burst * 10 + 10 {
            keep(number);
        }
        if burst % 3 == 0 {
            tokio::task::yield_now().await;
            told.push(watched.message().await.unwrap().unwrap().id);
        }
    }
    while told.len() < 200 {
        told.push(watched.message().await.unwrap().unwrap().id);
    }
    assert_eq!(told, (1..=200).map(|number| format!("c-{number:04}")).collect::<Vec<_>>());
    keep(201);
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0201", "nothing came twice");

    let mut watched =
        api.client().await.shards().watch(pb::WatchShardsRequest {}).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().shards.len(), 4);
    api.fake.state().shard(1).unwrap().epoch = 6;
    api.fake.bell.send_replace(202);
    assert_eq!(watched.message().await.unwrap().unwrap().shards[0].epoch, 6);
}

/// A conflict of this node is told at once if it is known who won, or else with the report of all nodes, which says.
#[tokio::test]
async fn a_conflict_that_is_pushed_and_reported_is_told_once() {
    let api = Api::start().await;
    let mut transactions = api.client().await.transactions();
    let request = pb::WatchConflictsRequest { table: String::new() };
    let mut watched = transactions.watch_conflicts(request).await.unwrap().into_inner();
    let at = |n: i64| 1_790_000_100_000_000 + n;
    let known = fake::conflict("c-0001", at(1), "(1)");
    let mut unknown = fake::conflict("c-0002", at(2), "(2)");
    unknown.winner.node = 0;
    unknown.winner.statements.clear();
    let completed = fake::conflict("c-0002", at(2), "(2)");
    api.fake.state().own_conflicts.extend([known.clone(), unknown]);
    api.fake.state().report.conflicts.splice(0..0, [completed, known]);
    api.fake.bell.send_replace(2);
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0001");
    let second = watched.message().await.unwrap().unwrap();
    assert_eq!(second.id, "c-0002");
    assert!(!second.winner.unwrap().statements.is_empty(), "the report knew who had won");
    api.fake.state().report.conflicts.insert(0, fake::conflict("c-0003", at(3), "(3)"));
    assert_eq!(watched.message().await.unwrap().unwrap().id, "c-0003", "nothing came twice");
}

#[tokio::test]
async fn shards_are_told_again_when_they_change_but_not_for_their_progress() {
    let api = Api::start().await;
    let mut watched =
        api.client().await.shards().watch(pb::WatchShardsRequest {}).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().shards.len(), 4);
    api.fake.state().replica(1, 1).unwrap().durable_index = 5000;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    api.fake.state().shard(1).unwrap().epoch = 6;
    assert_eq!(watched.message().await.unwrap().unwrap().shards[0].epoch, 6, "the second message");
}

#[tokio::test]
async fn a_job_is_told_until_it_ends() {
    let api = Api::start().await;
    api.fake.state().jobs = vec![fake::job("split-1", "splits shard 1", "running")];
    let mut shards = api.client().await.shards();
    let ask = |job_id: &str| pb::WatchJobRequest { job_id: job_id.to_owned() };
    let mut watched = shards.watch_job(ask("split-1")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().step, "copying");
    api.fake.state().jobs[0].step = "following".to_owned();
    assert_eq!(watched.message().await.unwrap().unwrap().step, "following");
    api.fake.state().jobs[0].state = "failed: no space".to_owned();
    let last = watched.message().await.unwrap().unwrap();
    assert_eq!((last.state(), last.failure.as_str()), (pb::JobState::Failed, "no space"));
    assert!(watched.message().await.unwrap().is_none(), "the stream has ended");

    let mut none = shards.watch_job(ask("nothing")).await.unwrap().into_inner();
    refused(none.message().await, Code::NotFound, "NOT_FOUND");
}
