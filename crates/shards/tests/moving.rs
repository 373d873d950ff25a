//! Replicas and slots move while clients write: nothing is lost and nobody sees an error.
#![allow(clippy::disallowed_methods)] // Reads the process's clock.

mod support;

use assize_model::*;
use assize_ports::{BoxFuture, NodeRecord};
use assize_shards::{Balance, Mover, Policy, Surveyor, Task, Why, Worker};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

/// Watches a task and says what held clients up.
#[derive(Default)]
struct Watched {
    stalls: Mutex<Vec<Duration>>,
}

impl assize_shards::Progress for Watched {
    fn step(&self, step: &str) {
        println!("  {step}");
    }
    fn stalled(&self, time: Duration) {
        self.stalls.lock().unwrap().push(time);
    }
}

/// Runs tasks one after the other under two clients, one of each mode.
async fn under_clients(cluster: &Cluster, tasks: &[Task]) {
    let inline = Client::start(cluster.frontend(NodeId(1), Mode::Inline).await, "inline");
    let prepared = Client::start(cluster.frontend(NodeId(2), Mode::Prepared).await, "prepared");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mover = cluster.mover(NodeId(1));
    let watched = Watched::default();
    for task in tasks {
        println!("{task}");
        println!("  {}", mover.run(*task, &watched).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("stalls: {:?}", watched.stalls.lock().unwrap());
    let mut expected = std::collections::BTreeMap::new();
    for client in [inline, prepared] {
        expected.extend(stopped(client).await);
    }
    let reader = cluster.frontend(NodeId(3), Mode::Inline).await;
    assert_eq!(scan(&reader).await.unwrap(), expected);
    assert_eq!(cluster.agree().await as usize, expected.len());
}

/// Stops a client, which has met no error; what it has written.
async fn stopped(client: Client) -> std::collections::BTreeMap<String, String> {
    let (seen, model) = client.stop().await;
    println!(
        "{} commits, the longest took {:?}, the longest read {:?}",
        seen.commits, seen.longest_write, seen.longest_read
    );
    assert!(seen.commits > 10, "it was hardly able to write");
    assert_eq!(seen.errors, Vec::<String>::new());
    model
}

/// Several at once would show how busy the machine is: a vote that takes longer than five seconds is an error.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_added_moved_and_removed_under_clients() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 2, 2).await;
    let shard = ShardId(1);
    let tasks = [
        Task::AddReplica { shard, node: NodeId(3) },
        Task::MoveReplica { shard, from: NodeId(1), to: NodeId(4) },
        Task::RemoveReplica { shard, node: NodeId(2) },
    ];
    under_clients(&cluster, &tasks).await;
    let placement = cluster.placement().await;
    let nodes: Vec<NodeId> = placement.shards[&shard].replicas.values().copied().collect();
    assert_eq!(nodes, [NodeId(4), NodeId(3)].into_iter().rev().collect::<Vec<_>>());
    // Who has left keeps nothing.
    until("the replicas are gone", || async {
        cluster.host(NodeId(1)).resident(shard).is_none() && cluster.host(NodeId(2)).resident(shard).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_split_under_clients_and_both_halves_can_be_split_again() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 3, 1).await;
    let before = cluster.frontend(NodeId(1), Mode::Inline).await;
    write(&before, &rows(0, 500, &"z".repeat(2_000))).await;
    let tasks = [Task::Split { shard: ShardId(1), at: None }, Task::Split { shard: ShardId(2), at: None }];
    let inline = Client::start(cluster.frontend(NodeId(1), Mode::Inline).await, "inline");
    let prepared = Client::start(cluster.frontend(NodeId(2), Mode::Prepared).await, "prepared");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mover = cluster.mover(NodeId(1));
    let watched = Watched::default();
    // A transaction that began before keeps its snapshot.
    let mut old = begin(&before).await;
    let first = key("row 00000");
    use assize_ports::Transaction;
    old.get(T, slot("row 00000"), &first, assize_ports::ReadIntent::Plain).await.unwrap().unwrap();
    for task in tasks {
        println!("{task}");
        println!("  {}", mover.run(task, &watched).await.unwrap());
    }
    for n in 0..500 {
        let name = format!("row {n:05}");
        let value = old.get(T, slot(&name), &key(&name), assize_ports::ReadIntent::Plain).await.unwrap();
        assert!(value.is_some(), "{name}");
    }
    println!("stalls: {:?}", watched.stalls.lock().unwrap());
    let mut rows = 500;
    for client in [inline, prepared] {
        rows += stopped(client).await.len();
    }
    let placement = cluster.placement().await;
    let slots = |n| placement.slots_of(ShardId(n));
    assert_eq!(
        (slots(1), slots(2), slots(3)),
        (
            vec![(Slot(0), Slot(32_767))],
            vec![(Slot(32_768), Slot(49_151))],
            vec![(Slot(49_152), Slot(65_535))]
        )
    );
    assert_eq!(cluster.agree().await, rows as u64);
    let reader = cluster.frontend(NodeId(3), Mode::Inline).await;
    assert_eq!(scan(&reader).await.unwrap().len(), rows);
    // A node that comes back knows all three.
    cluster.close(NodeId(3)).await;
    cluster.open(NodeId(3)).await;
    cluster.all_follow(NodeId(3), 3).await;
    assert_eq!(cluster.agree().await, rows as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_interrupted_is_run_again() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 3, 1).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 100, "before")).await;
    let mover = cluster.mover(NodeId(1));
    let split = Task::Split { shard: ShardId(1), at: Some(Slot(20_000)) };
    cluster.network.cut(NodeId(3));
    mover.run(split, &()).await.unwrap_err();
    // Two of three nodes have begun, and one of them is stopped meanwhile.
    cluster.close(NodeId(2)).await;
    cluster.open(NodeId(2)).await;
    write(&writer, &rows(50, 100, "between")).await;
    cluster.network.heal(NodeId(3));
    mover.run(split, &()).await.unwrap();
    let added = Task::AddReplica { shard: ShardId(2), node: NodeId(4) };
    cluster.network.cut(NodeId(4));
    mover.run(added, &()).await.unwrap_err();
    cluster.network.heal(NodeId(4));
    mover.run(added, &()).await.unwrap();
    mover.run(added, &()).await.unwrap();
    write(&writer, &rows(100, 100, "after")).await;
    assert_eq!(cluster.placement().await.shards[&ShardId(2)].replicas.len(), 4);
    assert_eq!(cluster.agree().await, 200);
    // The log is kept for nobody who is gone.
    until("the learners are forgotten", || async {
        use assize_ports::DecisionSource;
        cluster.adjudicator.standings(ShardId(1)).await.unwrap().replicas.len() == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_that_knows_an_old_placement_finds_a_shard_that_has_moved_away() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(2, 1, 1).await;
    let prepared = cluster.frontend(NodeId(1), Mode::Prepared).await;
    let inline = cluster.frontend(NodeId(2), Mode::Inline).await;
    write(&prepared, &rows(0, 20, "before")).await;
    let moved = Task::MoveReplica { shard: ShardId(1), from: NodeId(1), to: NodeId(2) };
    cluster.mover(NodeId(2)).run(moved, &()).await.unwrap();
    until("the old replica is gone", || async { cluster.host(NodeId(1)).resident(ShardId(1)).is_none() })
        .await;
    write(&prepared, &rows(10, 20, "after")).await;
    assert_eq!(scan(&inline).await.unwrap().len(), 30);
    assert_eq!(read(&prepared, "row 00000").await.unwrap().as_deref(), Some("before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_that_knows_an_old_placement_commits_although_the_shard_was_merged_into_another() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(2, 2, 2).await;
    let late =
        [cluster.frontend(NodeId(1), Mode::Inline).await, cluster.frontend(NodeId(1), Mode::Prepared).await];
    // All of one shard: another one that is asked as well would say that slots have moved.
    let placement = cluster.placement().await;
    let mut of_it = rows(0, 100, "late");
    of_it.retain(|(name, _)| placement.shard_of(slot(name)) == ShardId(2));
    let (first, second) = of_it.split_at(of_it.len() / 2);
    let merge = Task::Merge { from: ShardId(2), into: ShardId(1) };
    cluster.mover(NodeId(2)).run(merge, &()).await.unwrap();
    until("its replica is gone", || async { cluster.host(NodeId(1)).resident(ShardId(2)).is_none() }).await;
    for (frontend, rows) in late.iter().zip([first, second]) {
        assert!(rows.len() > 10);
        write(frontend, rows).await;
    }
    assert_eq!(scan(&late[0]).await.unwrap().len(), of_it.len());
    assert_eq!(cluster.agree().await, of_it.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_merged_under_clients_and_what_was_split_comes_together_again() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 3, 2).await;
    let tasks = [
        Task::Merge { from: ShardId(2), into: ShardId(1) },
        Task::Split { shard: ShardId(1), at: Some(Slot(10_000)) },
    ];
    under_clients(&cluster, &tasks).await;
    let placement = cluster.placement().await;
    assert_eq!(placement.slots_of(ShardId(1)), [(Slot(0), Slot(9_999))]);
    assert_eq!(placement.shards.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_was_interrupted_while_it_staged_is_run_again() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 3, 2).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 200, "before")).await;
    let mover = cluster.mover(NodeId(1));
    let merge = Task::Merge { from: ShardId(2), into: ShardId(1) };
    cluster.network.cut(NodeId(3));
    mover.run(merge, &()).await.unwrap_err();
    // Two of three nodes may have staged the slots, and what they have is left over once one of them is stopped.
    cluster.close(NodeId(2)).await;
    cluster.open(NodeId(2)).await;
    cluster.network.heal(NodeId(3));
    write(&writer, &rows(100, 200, "between")).await;
    let client = Client::start(cluster.frontend(NodeId(2), Mode::Prepared).await, "prepared");
    mover.run(merge, &()).await.unwrap();
    write(&writer, &rows(300, 50, "after")).await;
    let more = stopped(client).await.len();
    assert_eq!(cluster.placement().await.shards.len(), 1);
    assert_eq!(cluster.agree().await as usize, 350 + more);
}

/// What the log says of draining; everybody has room.
struct ByTheLog(assize_consensus::Adjudicator);

impl Surveyor for ByTheLog {
    fn draining(&self) -> BTreeSet<NodeId> {
        self.0.draining()
    }
    fn is_strained(&self) -> bool {
        false
    }
    fn free_bytes(&self, _: NodeId) -> BoxFuture<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

fn record(node: NodeId) -> NodeRecord {
    NodeRecord {
        node,
        peer_address: String::new(),
        admin_address: String::new(),
        mysql_address: String::new(),
        roles: vec!["shard".into()],
        zone: String::new(),
        version: "0.1.0".into(),
        cluster_version: assize_adjudicator::CLUSTER_VERSION_MAX,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_log_says_is_draining_is_emptied_under_clients() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 3, 2).await;
    let adjudicator = cluster.adjudicator.clone();
    for node in 1..=4 {
        adjudicator.set_node(record(NodeId(node))).await.unwrap();
    }
    let (victim, newest) = (NodeId(2), assize_adjudicator::CLUSTER_VERSION_MAX);
    until("everybody understands draining", || async { adjudicator.cluster_version() == newest }).await;
    let surveyor = Arc::new(ByTheLog(adjudicator.clone()));
    let mut caretaker = cluster.caretaker(NodeId(1), surveyor, Policy::default());
    let held = async |node| {
        let placement = cluster.placement().await;
        placement.shards.values().filter(|part| part.replicas.values().any(|on| *on == node)).count()
    };
    let client = Client::start(cluster.frontend(NodeId(1), Mode::Prepared).await, "prepared");
    adjudicator.drain_node(victim, true).await.unwrap();
    let mover = cluster.mover(NodeId(1));
    while let Some((_, task)) = caretaker.look().await {
        println!("{task}: {}", mover.run(task, &()).await.unwrap());
    }
    assert_eq!(held(victim).await, 0);
    assert!(cluster.placement().await.shards.values().all(|part| part.replicas.len() == 3));
    until("the replicas are gone", || async { cluster.host(victim).residents().is_empty() }).await;
    // There is no fifth node: of the next one nothing can be moved, and nothing is given up.
    adjudicator.drain_node(NodeId(3), true).await.unwrap();
    assert_eq!(caretaker.look().await, None);
    assert_eq!(held(NodeId(3)).await, 2);
    // Called off: the first may be given replicas again, and takes those of the other.
    adjudicator.drain_node(victim, false).await.unwrap();
    while let Some((_, task)) = caretaker.look().await {
        println!("{task}: {}", mover.run(task, &()).await.unwrap());
    }
    assert_eq!((held(victim).await, held(NodeId(3)).await), (2, 0));
    let (seen, _) = client.stop().await;
    assert!(seen.commits > 10, "it was hardly able to write");
    assert_eq!(seen.errors, Vec::<String>::new());
    cluster.agree().await;
}

/// Is told of a step, and lets the task go no further.
struct Ends {
    at: &'static str,
    reached: tokio::sync::Notify,
}

impl assize_shards::Progress for Ends {
    fn step(&self, step: &str) {
        println!("  {step}");
        if step == self.at {
            self.reached.notify_one();
        }
    }
    fn stalled(&self, _: Duration) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_an_interrupted_merge_left_without_slots_ceases() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 3, 2).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 200, "before")).await;
    let ends = Ends { at: "taking the slots in", reached: tokio::sync::Notify::new() };
    let mover = cluster.mover(NodeId(1));
    tokio::select! {
        // The placement has changed, and nobody goes on.
        () = ends.reached.notified() => {}
        merged = mover.run(Task::Merge { from: ShardId(2), into: ShardId(1) }, &ends) => panic!("{merged:?}"),
    }
    let placement = cluster.placement().await;
    assert_eq!((placement.shards.len(), placement.slots_of(ShardId(2)).len()), (2, 0));

    let surveyor = Arc::new(ByTheLog(cluster.adjudicator.clone()));
    let patient = Policy { balance: None, ..Policy::default() };
    assert_eq!(cluster.caretaker(NodeId(3), surveyor.clone(), patient.clone()).look().await, None);
    assert_eq!(cluster.placement().await.shards.len(), 2, "a merge may be at it");
    let at_once = Policy { cease_after: Duration::ZERO, ..patient };
    let caretaker = tokio::sync::Mutex::new(cluster.caretaker(NodeId(3), surveyor, at_once));
    until("nobody reads the slots where they were", || async {
        assert_eq!(caretaker.lock().await.look().await, None);
        cluster.placement().await.shards.len() == 1
    })
    .await;
    for node in 1..=3 {
        until("its replicas are gone", || async { cluster.host(NodeId(node)).residents().len() == 1 }).await;
    }
    write(&writer, &rows(200, 50, "after")).await;
    assert_eq!(cluster.agree().await, 250);
}

/// Does what a caretaker says, and remembers it.
struct Hand {
    mover: Mover,
    done: Arc<Mutex<Vec<(Why, Task)>>>,
}

impl Worker for Hand {
    fn carry_out(
        &self,
        why: Why,
        task: Task,
        _abandoned: BoxFuture<'static, ()>,
    ) -> BoxFuture<'_, Result<Duration, String>> {
        Box::pin(async move {
            let watched = Watched::default();
            println!("{}: {task}", why.label());
            self.mover.run(task, &watched).await.map_err(|error| error.to_string())?;
            self.done.lock().unwrap().push((why, task));
            let stall = watched.stalls.lock().unwrap().iter().max().copied().unwrap_or_default();
            println!("  readers were held up for {stall:?} at most");
            Ok(stall)
        })
    }
}

/// Has the shards looked after until nothing is left to do; what was done.
async fn look_after(cluster: &Cluster, policy: Policy) -> Vec<(Why, Task)> {
    let surveyor = Arc::new(ByTheLog(cluster.adjudicator.clone()));
    let done = Arc::<Mutex<Vec<(Why, Task)>>>::default();
    let hand = Arc::new(Hand { mover: cluster.mover(NodeId(1)), done: done.clone() });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let caretaker = cluster.caretaker(NodeId(1), surveyor.clone(), policy.clone());
    let stopped = async { stopped.await.unwrap_or_default() };
    let looking = tokio::spawn(caretaker.run(Duration::from_millis(50), || true, || false, hand, stopped));
    until("nothing is left to do", || async {
        let before = done.lock().unwrap().len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut another = cluster.caretaker(NodeId(1), surveyor.clone(), policy.clone());
        another.look().await.is_none() && done.lock().unwrap().len() == before
    })
    .await;
    stop.send(()).unwrap();
    looking.await.unwrap();
    done.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_shards_become_even_by_themselves_under_clients() {
    let _alone = ALONE.lock().await;
    // Three nodes hold everything, a fourth has come; and the first shard is split.
    let cluster = Cluster::start(4, 3, 4).await;
    for node in 1..=4 {
        cluster.adjudicator.set_node(record(NodeId(node))).await.unwrap();
    }
    let writer = cluster.frontend(NodeId(1), Mode::Inline).await;
    write(&writer, &rows(0, 400, "before")).await;
    let split = Task::Split { shard: ShardId(1), at: None };
    cluster.mover(NodeId(1)).run(split, &()).await.unwrap();
    let inline = Client::start(cluster.frontend(NodeId(1), Mode::Inline).await, "inline");
    let prepared = Client::start(cluster.frontend(NodeId(2), Mode::Prepared).await, "prepared");

    let off = Policy { balance: None, ..Policy::default() };
    assert_eq!(look_after(&cluster, off).await, [], "it can be switched off");
    let balance = Some(Balance { pause: Duration::from_millis(100), ..Balance::default() });
    let done = look_after(&cluster, Policy { balance, ..Policy::default() }).await;
    assert!(done.iter().all(|(why, _)| *why == Why::Balance), "{done:?}");
    assert!(done.len() < 20, "{done:?}");

    let placement = cluster.placement().await;
    let slots = |shard: &ShardId| -> u32 {
        placement.slots_of(*shard).iter().map(|(a, b)| u32::from(b.0) - u32::from(a.0) + 1).sum()
    };
    let slots: Vec<u32> = placement.shards.keys().map(slots).collect();
    assert_eq!((slots.len(), slots.iter().sum::<u32>()), (5, 65_536));
    assert!(slots.iter().max().unwrap() - slots.iter().min().unwrap() <= 1_310, "{slots:?}");
    let held = |node: u64| {
        let on = placement.shards.values().flat_map(|part| part.replicas.values());
        on.filter(|on| on.0 == node).count()
    };
    let held: Vec<usize> = (1..=4).map(held).collect();
    assert!(held.iter().all(|held| (3..=4).contains(held)), "{held:?}");

    let mut expected = 400;
    for client in [inline, prepared] {
        expected += stopped(client).await.len();
    }
    assert_eq!(scan(&writer).await.unwrap().len(), expected);
    assert_eq!(cluster.agree().await as usize, expected);
}

/// Is given a task, and is at it for ever.
struct Sluggard(tokio::sync::Notify);

impl Worker for Sluggard {
    fn carry_out(
        &self,
        _: Why,
        _: Task,
        abandoned: BoxFuture<'static, ()>,
    ) -> BoxFuture<'_, Result<Duration, String>> {
        self.0.notify_one();
        Box::pin(async move {
            abandoned.await;
            self.0.notify_one();
            Err("abandoned".into())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_waits_no_longer_for_a_silent_node_than_it_has_to_while_something_else_is_being_moved() {
    use assize_ports::DecisionSource;
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 3, 1).await;
    let adjudicator = cluster.adjudicator.clone();
    for node in 1..=4 {
        adjudicator.set_node(record(NodeId(node))).await.unwrap();
    }
    let (shard, newest) = (ShardId(1), assize_adjudicator::CLUSTER_VERSION_MAX);
    until("everybody understands draining", || async { adjudicator.cluster_version() == newest }).await;
    let surveyor = Arc::new(ByTheLog(adjudicator.clone()));
    let policy = Policy { uncount_after: Duration::from_secs(1), ..Policy::default() };
    let caretaker = cluster.caretaker(NodeId(1), surveyor, policy);
    let sluggard = Arc::new(Sluggard(tokio::sync::Notify::new()));
    let leads = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let on_duty = leads.clone();
    let looking = tokio::spawn(caretaker.run(
        Duration::from_millis(50),
        move || on_duty.load(std::sync::atomic::Ordering::Relaxed),
        || false,
        sluggard.clone(),
        async { stopped.await.unwrap_or_default() },
    ));
    adjudicator.drain_node(NodeId(3), true).await.unwrap();
    sluggard.0.notified().await;
    cluster.network.cut(NodeId(2));
    until("the log does not wait for node 2 any more", || async {
        let standings = adjudicator.standings(shard).await.unwrap();
        standings.replicas.iter().any(|standing| standing.replica == ReplicaId(2) && !standing.counts)
    })
    .await;
    // Whoever leads now has the same idea.
    leads.store(false, std::sync::atomic::Ordering::Relaxed);
    sluggard.0.notified().await;
    stop.send(()).unwrap();
    looking.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_task_that_nobody_goes_on_with_has_begun_goes_by_itself_and_the_log_forgets_it() {
    use assize_ports::DecisionSource;
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 3, 1).await;
    cluster.alone_millis.store(1_500, std::sync::atomic::Ordering::Relaxed);
    for node in 1..=3 {
        cluster.close(NodeId(node)).await;
        cluster.open(NodeId(node)).await;
    }
    for node in 1..=3 {
        cluster.all_follow(NodeId(node), 1).await;
    }
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 100, "before")).await;
    let ends = Ends { at: "making the copies durable", reached: tokio::sync::Notify::new() };
    let mover = cluster.mover(NodeId(1));
    let split = Task::Split { shard: ShardId(1), at: None };
    tokio::select! {
        // Whoever ran it is no more.
        () = ends.reached.notified() => {}
        split = mover.run(split, &ends) => panic!("{split:?}"),
    }
    let adjudicator = cluster.adjudicator.clone();
    let counted = async || adjudicator.standings(ShardId(1)).await.unwrap().replicas.len();
    assert_eq!(counted().await, 6, "three learners are registered");
    for node in 1..=3 {
        until("the fledgling is gone", || async { cluster.host(NodeId(node)).residents().len() == 1 }).await;
    }
    until("the learners are forgotten", || async { counted().await == 3 }).await;
    // One that is waited for stays as long as it takes, and the split can be made after all.
    mover.run(split, &()).await.unwrap();
    write(&writer, &rows(100, 50, "after")).await;
    assert_eq!(cluster.agree().await, 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_waits_no_longer_for_a_learner_that_is_nowhere_any_more() {
    use assize_ports::DecisionSource;
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 3, 1).await;
    let (adjudicator, shard) = (cluster.adjudicator.clone(), ShardId(1));
    for node in 1..=4 {
        adjudicator.set_node(record(NodeId(node))).await.unwrap();
    }
    let ends = Ends { at: "changing the placement", reached: tokio::sync::Notify::new() };
    let mover = cluster.mover(NodeId(1));
    tokio::select! {
        // Whoever ran it is no more.
        () = ends.reached.notified() => {}
        added = mover.run(Task::AddReplica { shard, node: NodeId(4) }, &ends) => panic!("{added:?}"),
    }
    let counted =
        async || adjudicator.standings(shard).await.unwrap().replicas.iter().filter(|s| s.counts).count();
    assert_eq!(counted().await, 4);

    let uncount_after = Duration::from_millis(500);
    let policy = Policy { uncount_after, balance: None, ..Policy::default() };
    let mut caretaker = cluster.caretaker(NodeId(1), Arc::new(ByTheLog(adjudicator.clone())), policy);
    caretaker.look().await;
    // However long it stands still: its node has it.
    for _ in 0..3 {
        tokio::time::sleep(uncount_after).await;
        caretaker.look().await;
        assert_eq!(counted().await, 4);
    }
    cluster.close(NodeId(4)).await;
    let began = Instant::now();
    while counted().await > 3 {
        assert!(began.elapsed() < Duration::from_secs(60), "the log is kept for it");
        tokio::time::sleep(Duration::from_millis(50)).await;
        caretaker.look().await;
    }
    // Should its node come back, it has to begin anew, and is left alone there until it goes.
    cluster.open(NodeId(4)).await;
    mover.run(Task::AddReplica { shard, node: NodeId(4) }, &()).await.unwrap();
    assert_eq!(cluster.placement().await.shards[&shard].replicas.len(), 4);
    assert_eq!(cluster.agree().await, 0);
}

/// Does something when a task comes to a step.
struct Meddles<F> {
    at: &'static str,
    does: F,
}

impl<F: Fn() + Send + Sync> assize_shards::Progress for Meddles<F> {
    fn step(&self, step: &str) {
        if step == self.at {
            (self.does)();
        }
    }
    fn stalled(&self, _: Duration) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_not_given_up_for_one_that_has_fallen_silent() {
    let _alone = ALONE.lock().await;
    let (cluster, shard) = (Cluster::start(4, 3, 1).await, ShardId(1));
    let cut = Meddles {
        at: "waiting until everybody is durable past the change",
        does: || cluster.network.cut(NodeId(4)),
    };
    let moved = Task::MoveReplica { shard, from: NodeId(1), to: NodeId(4) };
    cluster.mover_with(NodeId(1), Duration::from_secs(2)).run(moved, &cut).await.unwrap_err();
    let on = cluster.placement().await.shards[&shard].replicas.clone();
    assert!(on.values().any(|node| *node == NodeId(1)), "{on:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tasks_about_one_shard_do_not_both_change_it() {
    let _alone = ALONE.lock().await;
    let (cluster, shard) = (Cluster::start(3, 3, 1).await, ShardId(1));
    let mover = cluster.mover(NodeId(1));
    let remove = |node| Task::RemoveReplica { shard, node: NodeId(node) };
    let first = |node| {
        let (mover, task) = (mover.clone(), remove(node));
        let runtime = tokio::runtime::Handle::current();
        move || drop(tokio::task::block_in_place(|| runtime.block_on(mover.run(task, &())).unwrap()))
    };
    let meddles = Meddles { at: "changing the placement", does: first(3) };
    let split = Task::Split { shard, at: None };
    let error = mover.run(split, &meddles).await.unwrap_err().to_string();
    assert_eq!(error, "s1 was changed while it was being split");
    let meddles = Meddles { at: "changing the placement", does: first(2) };
    let error = mover.run(remove(1), &meddles).await.unwrap_err().to_string();
    assert_eq!(error, "somebody else changes the replicas of s1");
    let placement = cluster.placement().await;
    let left: Vec<NodeId> = placement.shards[&shard].replicas.values().copied().collect();
    assert_eq!((placement.shards.len(), left), (1, vec![NodeId(1)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_nobody_relies_on_yet_does_not_fill_the_disk() {
    use assize_ports::DecisionSource;
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(3, 2, 1).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 100, "before")).await;
    // No disk has so much room.
    cluster.room_min.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
    cluster.close(NodeId(3)).await;
    cluster.open(NodeId(3)).await;
    let task = Task::AddReplica { shard: ShardId(1), node: NodeId(3) };
    let mover = cluster.mover_with(NodeId(1), Duration::from_secs(2));
    let error = mover.run(task, &()).await.unwrap_err();
    assert!(error.to_string().starts_with("s1 on n3 makes no progress: it was copying"), "{error}");
    until("it is gone", || async { cluster.host(NodeId(3)).residents().is_empty() }).await;
    let standings = cluster.adjudicator.standings(ShardId(1)).await.unwrap();
    assert_eq!(standings.replicas.len(), 2, "the log waits for nobody else");
    cluster.room_min.store(0, std::sync::atomic::Ordering::Relaxed);
    cluster.close(NodeId(3)).await;
    cluster.open(NodeId(3)).await;
    mover.run(task, &()).await.unwrap();
    assert_eq!(cluster.agree().await, 100);
}

/// Two of three replicas are lost, and with them what the third has never had. It goes on when an operator says so, and not
/// before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_has_lost_its_majority_goes_on_with_what_is_left() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start(4, 3, 1).await;
    let (adjudicator, shard, survivor) = (cluster.adjudicator.clone(), ShardId(1), NodeId(3));
    for node in 1..=4 {
        adjudicator.set_node(record(NodeId(node))).await.unwrap();
    }
    let newest = assize_adjudicator::CLUSTER_VERSION_MAX;
    until("everybody understands it", || async { adjudicator.cluster_version() == newest }).await;
    let writer = cluster.frontend(NodeId(1), Mode::Prepared).await;
    write(&writer, &rows(0, 50, "before")).await;
    until("the survivor has them", || async {
        let reader = cluster.frontend(survivor, Mode::Inline).await;
        read(&reader, "row 00049").await.unwrap().is_some()
    })
    .await;
    // The other two promise to keep this, and it is decided; the third hears of the decision only.
    cluster.network.cut(survivor);
    write(&writer, &rows(50, 1, "lost")).await;
    cluster.close(NodeId(1)).await;
    cluster.close(NodeId(2)).await;
    cluster.network.heal(survivor);

    let mover = cluster.mover(survivor);
    let (left, lost) = mover.left_and_lost(shard).await.unwrap();
    assert_eq!((left, lost.clone()), (vec![survivor], vec![NodeId(1), NodeId(2)]));
    let writer = cluster.frontend(survivor, Mode::Prepared).await;
    assert!(try_write(&writer, &rows(60, 1, "no majority")).await.is_err());
    adjudicator.recover_shard(shard, lost).await.unwrap();
    let reader = cluster.frontend(survivor, Mode::Inline).await;
    assert_eq!(read(&reader, "row 00050").await.unwrap(), None, "its writes are lost");
    assert_eq!(read(&reader, "row 00049").await.unwrap().as_deref(), Some("before"));
    let writer = cluster.frontend(survivor, Mode::Prepared).await;
    write(&writer, &rows(60, 10, "after")).await;
    // And it is a shard like any other again.
    let task = Task::AddReplica { shard, node: NodeId(4) };
    cluster.mover(survivor).run(task, &()).await.unwrap();
    let comparison = cluster.mover(survivor).compare(shard).await.unwrap();
    assert!(comparison.agrees() && comparison.hashes.len() == 2, "{comparison:?}");
    assert_eq!(scan(&reader).await.unwrap().len(), 60);
}
