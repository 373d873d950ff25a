//! GET_LOCK and its family: between frontends over one adjudicator in this process, then between the nodes of a real cluster of
//! which one dies, stands still, or leads no more.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_model::SqlError;
use assize_ports::{BoxFuture, ResultColumn, ResultSink};
use assize_session::{GlobalVariables, Limits, Login, Services, Session, Shared, Txn, TxnOptions};
use assize_tests::cluster::{Cluster, Options};
use assize_tests::{in_process, wait_for};
use assize_values::Value;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::sync::Arc;
use std::thread::JoinHandle;

// -- in one process --------------------------------------------------------------------------------------------

/// The one value of the last row.
#[derive(Default)]
struct Last(Option<Value>);

impl ResultSink for Last {
    fn columns(&mut self, _: &[ResultColumn]) -> Result<(), SqlError> {
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        self.0 = row.first().cloned();
        Ok(())
    }
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }
}

struct Client(Session);

impl Client {
    async fn new(services: &Arc<Services>, connection: u32) -> Self {
        let begun = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
        let user = begun.catalog().users.values().next().expect("a new cluster has a user").clone();
        let login = Login {
            connection,
            user,
            client_name: "root".into(),
            client_host: "localhost".into(),
            database: None,
            collation: None,
            kill: Arc::default(),
        };
        let shared = Arc::new(Shared::new(Arc::new(GlobalVariables::new([]))));
        Client(Session::new(services.clone(), shared, login))
    }

    /// What a statement returns; NULL is `None`.
    async fn ask(&mut self, text: &str) -> Result<Option<i64>, SqlError> {
        let mut last = Last::default();
        self.0.run_text(text, &mut last).await?;
        Ok(match last.0 {
            Some(Value::Int(n)) => Some(n),
            Some(Value::Null) | None => None,
            other => panic!("{text}: {other:?}"),
        })
    }

    async fn asks(&mut self, text: &str) -> Option<i64> {
        self.ask(text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

async fn frontends() -> Vec<Arc<Services>> {
    let engine = Arc::new(assize_query::Engine::new());
    let frontends = in_process::frontends(2, Limits::default(), engine).await;
    let mut txn = Txn::begin(frontends[0].clone(), TxnOptions::default()).await.unwrap();
    txn.commit(Some(assize_catalog::bootstrap())).await.unwrap();
    frontends
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_two_frontends_take_turns() {
    let frontends = frontends().await;
    let mut a = Client::new(&frontends[0], 11).await;
    let mut b = Client::new(&frontends[1], 22).await;
    assert_eq!(a.asks("SELECT GET_LOCK('Job', 0) + GET_LOCK('job', -1)").await, Some(2));
    assert_eq!(b.asks("SELECT GET_LOCK('JOB', 0)").await, Some(0));
    assert_eq!(b.asks("SELECT GET_LOCK('job', NULL)").await, Some(0));
    assert_eq!(b.asks("SELECT GET_LOCK('job', 0.2)").await, Some(0));
    assert_eq!(b.asks("SELECT IS_USED_LOCK('job')").await, Some(11));
    assert_eq!(b.asks("SELECT IS_FREE_LOCK('job') * 10 + IS_FREE_LOCK('free')").await, Some(1));
    assert_eq!(b.asks("SELECT RELEASE_LOCK('job')").await, Some(0));
    assert_eq!(b.asks("SELECT RELEASE_LOCK('free')").await, None);
    assert_eq!(a.asks("SELECT RELEASE_LOCK('job')").await, Some(1));

    // The last time it is given back the one who waits gets it.
    let (got, given) =
        tokio::join!(b.asks("SELECT GET_LOCK('job', 60)"), a.asks("SELECT RELEASE_LOCK('job')"));
    assert_eq!((got, given), (Some(1), Some(1)));
    assert_eq!(a.asks("SELECT IS_USED_LOCK('job')").await, Some(22));
    let (got, ()) = tokio::join!(a.asks("SELECT GET_LOCK('job', -1)"), b.0.disconnect());
    assert_eq!(got, Some(1));
    assert_eq!(a.asks("SELECT GET_LOCK('more', 0) + GET_LOCK('more', 0)").await, Some(2));
    assert_eq!(a.asks("SELECT RELEASE_ALL_LOCKS()").await, Some(3));
    assert_eq!(a.asks("SELECT IS_FREE_LOCK('job') * 10 + IS_FREE_LOCK('more')").await, Some(11));

    let long = "x".repeat(65);
    for call in ["GET_LOCK(NULL, 0)", "RELEASE_LOCK('')", &format!("IS_USED_LOCK('{long}')")] {
        let error = a.ask(&format!("SELECT {call}")).await.unwrap_err();
        assert_eq!(error.code.errno(), 3057, "{call}: {error}");
    }
    assert_eq!(a.asks(&format!("SELECT GET_LOCK('{}', 0)", &long[1..])).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_for_each_other_are_told_and_can_go_on() {
    let frontends = frontends().await;
    let mut a = Client::new(&frontends[0], 11).await;
    let mut b = Client::new(&frontends[1], 22).await;
    assert_eq!(a.asks("SELECT GET_LOCK('a', 0)").await, Some(1));
    assert_eq!(b.asks("SELECT GET_LOCK('b', 0)").await, Some(1));
    // Whoever is told gives back what he holds, and the other gets it.
    async fn meet(client: &mut Client, name: &str) -> bool {
        match client.ask(&format!("SELECT GET_LOCK('{name}', -1)")).await {
            Ok(got) => got == Some(1),
            Err(error) => {
                assert_eq!(error.code.errno(), 3058, "{error}");
                assert_eq!(client.asks("SELECT RELEASE_ALL_LOCKS()").await, Some(1));
                false
            }
        }
    }
    let (a, b) = tokio::join!(meet(&mut a, "b"), meet(&mut b, "a"));
    assert!(a != b, "one of the two got both");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_life_that_is_over_goes_on_to_another_and_its_former_holder_writes_nothing() {
    let frontends = frontends().await;
    let mut a = Client::new(&frontends[0], 11).await;
    let mut b = Client::new(&frontends[1], 22).await;
    for text in ["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)"] {
        b.asks(text).await;
    }
    assert_eq!(a.asks("SELECT GET_LOCK('job', 0)").await, Some(1));
    a.asks("BEGIN").await;
    a.asks("INSERT INTO d.t VALUES (1)").await;
    let next = frontends[0].adjudicator.register(&in_process::name(1), 2).await.unwrap();
    assert_eq!(b.asks("SELECT GET_LOCK('job', -1)").await, Some(1));
    b.asks("INSERT INTO d.t VALUES (2)").await;
    a.ask("COMMIT").await.unwrap_err();
    assert_eq!(frontends[0].begin_life(next.epoch), [11]);
    a.ask("INSERT INTO d.t VALUES (3)").await.unwrap_err();
    a.ask("CREATE TABLE d.u (id INT PRIMARY KEY)").await.unwrap_err();
    assert_eq!(b.asks("SELECT SUM(id) = 2 FROM d.t").await, Some(1));
    a.0.disconnect().await;
    assert_eq!(b.asks("SELECT IS_USED_LOCK('job')").await, Some(22));
}

// -- in a real cluster -----------------------------------------------------------------------------------------

fn cluster() -> (Cluster, u64, [u64; 2]) {
    let mut options = Options::nodes(3);
    // A lease that a test can wait for.
    options.settings = vec!["adjudicator.frontend_lease_seconds=2".to_owned()];
    let mut cluster = Cluster::start(options);
    let leader = cluster.wait_leader();
    let others: Vec<u64> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    (cluster, leader, others.try_into().expect("three nodes"))
}

fn ask(client: &mut Conn, expression: &str) -> Option<i64> {
    let row: Option<Option<i64>> = client.query_first(format!("SELECT {expression}")).unwrap();
    row.expect("a row")
}

/// A connection, and what it is told in the end.
type Waiting = JoinHandle<(Conn, mysql::Result<Option<i64>>)>;

/// Waits for a lock.
fn waits(mut client: Conn, name: &str) -> Waiting {
    let statement = format!("SELECT GET_LOCK('{name}', 120)");
    std::thread::spawn(move || {
        let told: mysql::Result<Option<Option<i64>>> = client.query_first(statement);
        (client, told.map(|row| row.expect("a row")))
    })
}

/// Until a statement about this lock waits on the node.
fn wait_until_it_waits(cluster: &Cluster, node: u64, name: &str) {
    let mut client = cluster.connect(node).unwrap();
    wait_for("a session to wait for the lock", || who_waits(&mut client, name).is_some());
}

/// The connection of this node that waits for a lock.
fn who_waits(client: &mut Conn, name: &str) -> Option<u32> {
    let rows: Vec<mysql::Row> = client.query("SHOW FULL PROCESSLIST").unwrap();
    let waits = |row: &mysql::Row| {
        let info: Option<Option<String>> = row.get("Info");
        info.flatten().is_some_and(|info| info.contains(&format!("GET_LOCK('{name}', 120)")))
    };
    rows.iter().find(|row| waits(row)).and_then(|row| row.get("Id"))
}

fn got(waiting: Waiting) -> Conn {
    let (client, told) = waiting.join().unwrap();
    assert_eq!(told.unwrap(), Some(1));
    client
}

fn errno<T: std::fmt::Debug>(result: mysql::Result<T>) -> Option<u16> {
    match result {
        Err(mysql::Error::MySqlError(error)) => Some(error.code),
        _ => None,
    }
}

#[test]
fn a_lock_is_one_for_all_nodes_and_outlives_the_leader() {
    let (mut cluster, leader, [first, second]) = cluster();
    let connect = |cluster: &Cluster, node| cluster.connect(node).unwrap();
    let (mut a, b, mut c) = (connect(&cluster, first), connect(&cluster, second), connect(&cluster, leader));

    // Given back, at the end of the connection, and by KILL from another node.
    assert_eq!(ask(&mut a, "GET_LOCK('job', 0)"), Some(1));
    let waiting = waits(b, "job");
    wait_until_it_waits(&cluster, second, "job");
    assert_eq!(ask(&mut c, "IS_USED_LOCK('job')"), Some(i64::from(a.connection_id())));
    assert_eq!(ask(&mut a, "RELEASE_LOCK('job')"), Some(1));
    let b = got(waiting);
    let waiting = waits(a, "job");
    wait_until_it_waits(&cluster, first, "job");
    drop(b);
    let a = got(waiting);
    let waiting = waits(connect(&cluster, second), "job");
    wait_until_it_waits(&cluster, second, "job");
    let holder = ask(&mut c, "IS_USED_LOCK('job')").expect("somebody holds it");
    assert_eq!(holder, i64::from(a.connection_id()));
    c.query_drop(format!("KILL {holder}")).unwrap();
    let mut b = got(waiting);
    let waiting = waits(connect(&cluster, first), "job");
    wait_until_it_waits(&cluster, first, "job");
    let id = who_waits(&mut connect(&cluster, first), "job").expect("it waits");
    c.query_drop(format!("KILL QUERY {id}")).unwrap();
    let (mut a, told) = waiting.join().unwrap();
    assert_eq!(errno(told), Some(1317));

    // Another leader: who holds it still does, who waits goes on waiting, and circles are seen as before.
    assert_eq!((ask(&mut a, "GET_LOCK('a', 0)"), ask(&mut b, "GET_LOCK('b', 0)")), (Some(1), Some(1)));
    let waiting = waits(connect(&cluster, first), "job");
    wait_until_it_waits(&cluster, first, "job");
    cluster.kill(leader);
    wait_for("another leader", || cluster.leader().is_some_and(|now| now != leader));
    let mut other = connect(&cluster, first);
    assert_eq!(ask(&mut other, "GET_LOCK('job', 0)"), Some(0));
    assert_eq!(ask(&mut other, "IS_USED_LOCK('job')"), Some(i64::from(b.connection_id())));
    let holds_b = i64::from(b.connection_id());
    assert_eq!(ask(&mut other, "IS_USED_LOCK('b')"), Some(holds_b));
    assert_eq!(ask(&mut b, "RELEASE_LOCK('job')"), Some(1));
    drop(got(waiting));
    let meet = |client: Conn, name: &str| {
        let waiting = waits(client, name);
        std::thread::spawn(move || {
            let (mut client, told) = waiting.join().unwrap();
            match told {
                Ok(got) => got == Some(1),
                told => {
                    assert_eq!(errno(told), Some(3058));
                    assert_eq!(ask(&mut client, "RELEASE_ALL_LOCKS()"), Some(1));
                    false
                }
            }
        })
    };
    let (a, b) = (meet(a, "b"), meet(b, "a"));
    assert!(a.join().unwrap() != b.join().unwrap(), "one of the two got both");
}

#[test]
fn a_lock_of_a_node_that_stands_still_or_dies_goes_on_to_another() {
    let (mut cluster, leader, [first, second]) = cluster();
    let (mut a, mut b) = (cluster.connect(first).unwrap(), cluster.connect(second).unwrap());
    b.query_drop("CREATE DATABASE d").unwrap();
    b.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)").unwrap();
    assert_eq!(ask(&mut a, "GET_LOCK('job', 0)"), Some(1));
    a.query_drop("BEGIN").unwrap();
    a.query_drop("INSERT INTO d.t VALUES (1)").unwrap();

    // It stands still for longer than its lease; when it goes on, nothing is written under the lock that it has lost.
    cluster.pause(first);
    let mut b = got(waits(b, "job"));
    b.query_drop("INSERT INTO d.t VALUES (2)").unwrap();
    cluster.resume(first);
    a.query_drop("COMMIT").unwrap_err();
    wait_for("the frontend to begin another life", || cluster.log(first).contains("begins another life"));
    wait_for("the connection to be closed", || {
        a.query_drop("INSERT INTO d.t VALUES (3)").is_err() && a.ping().is_err()
    });
    assert_eq!(ask(&mut b, "(SELECT SUM(id) FROM d.t)"), Some(2));

    // It dies.
    let mut a = cluster.connect(first).unwrap();
    assert_eq!(ask(&mut b, "RELEASE_LOCK('job')"), Some(1));
    assert_eq!(ask(&mut a, "GET_LOCK('job', 60)"), Some(1));
    let waiting = waits(b, "job");
    wait_until_it_waits(&cluster, second, "job");
    cluster.kill(first);
    let mut b = got(waiting);
    let mut c = cluster.connect(leader).unwrap();
    assert_eq!(ask(&mut c, "GET_LOCK('job', 0)"), Some(0));
    assert_eq!(ask(&mut b, "RELEASE_ALL_LOCKS()"), Some(1));
}
