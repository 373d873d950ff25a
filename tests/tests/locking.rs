//! Locking reads through secondary indexes, over the real query engine, adjudicator and shards in one process: what they
//! return, what they lock, and what their transaction sees and commits afterwards.

use assize_model::SqlError;
use assize_ports::{BoxFuture, ResultColumn, ResultSink};
use assize_session::{
    GlobalVariables, KillSwitch, Limits, Login, Services, Session, Shared, Txn, TxnOptions,
};
use assize_tests::in_process;
use assize_values::Value;
use std::sync::Arc;
use std::time::Duration;

const LEVELS: [&str; 2] = ["READ COMMITTED", "REPEATABLE READ"];

/// Rows as text.
#[derive(Default)]
struct Rows(Vec<String>);

impl ResultSink for Rows {
    fn columns(&mut self, _: &[ResultColumn]) -> Result<(), SqlError> {
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        let text = |value: &Value| match value {
            Value::Int(n) => n.to_string(),
            Value::Text(text) => text.as_str().to_string(),
            other => format!("{other:?}"),
        };
        self.0.push(row.iter().map(text).collect::<Vec<_>>().join(" "));
        Ok(())
    }
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Sessions of one cluster.
struct House(Arc<Services>);

impl House {
    /// A cluster with these tables in its database `test`.
    async fn new(statements: &[&str]) -> Self {
        let services = in_process::services(Limits::default(), Arc::new(assize_query::Engine::new())).await;
        let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
        txn.commit(Some(assize_catalog::bootstrap())).await.unwrap();
        let house = House(services);
        let mut client = house.client("REPEATABLE READ").await;
        for text in ["CREATE DATABASE test", "USE test"].iter().chain(statements) {
            client.rows(text).await;
        }
        house
    }

    async fn client(&self, level: &str) -> Client {
        let begun = Txn::begin(self.0.clone(), TxnOptions::default()).await.unwrap();
        let user = begun.catalog().users.values().next().expect("a new cluster has a user").clone();
        let database = begun.catalog().databases.values().any(|d| &*d.name == "test").then(|| "test".into());
        let login = Login {
            connection: 1,
            user,
            client_name: "root".into(),
            client_host: "localhost".into(),
            database,
            collation: None,
            kill: Arc::new(KillSwitch::default()),
        };
        let shared = Arc::new(Shared::new(Arc::new(GlobalVariables::new([]))));
        let mut client = Client(Session::new(self.0.clone(), shared, login));
        client.rows("SET innodb_lock_wait_timeout = 10").await;
        client.rows(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).await;
        client
    }

    async fn clients<const N: usize>(&self, level: &str) -> [Client; N] {
        let mut clients = Vec::new();
        for _ in 0..N {
            clients.push(self.client(level).await);
        }
        clients.try_into().ok().unwrap()
    }
}

struct Client(Session);

impl Client {
    async fn try_rows(&mut self, text: &str) -> Result<Vec<String>, SqlError> {
        let mut rows = Rows::default();
        self.0.run_text(text, &mut rows).await?;
        Ok(rows.0)
    }

    async fn rows(&mut self, text: &str) -> Vec<String> {
        self.try_rows(text).await.unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The rows of a statement that another session's COMMIT lets go on.
    async fn rows_once_committed(&mut self, text: &str, other: &mut Client) -> Vec<String> {
        let commit = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            other.rows("COMMIT").await
        };
        tokio::join!(self.rows(text), commit).0
    }
}

const ROWS: [&str; 4] = [
    "CREATE TABLE rr (id INT PRIMARY KEY, st VARCHAR(10), n INT, UNIQUE KEY u (n), KEY (st))",
    "INSERT INTO rr VALUES (1, 'new', 5), (2, 'old', 6)",
    "CREATE TABLE sought (st VARCHAR(10), n INT)",
    "INSERT INTO sought VALUES ('new', 5)",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changed_before_it_was_locked_must_still_be_where_the_index_was_searched() {
    let house = House::new(&ROWS).await;
    for level in LEVELS {
        for (query, expected) in [
            ("* FROM rr WHERE st = 'new' FOR UPDATE", &[][..]),
            ("* FROM rr WHERE st = 'new' FOR SHARE", &[]),
            ("* FROM rr WHERE st IN ('new', 'newer') FOR UPDATE", &[]),
            ("* FROM rr WHERE st >= 'n' AND st < 'o' ORDER BY st DESC FOR UPDATE", &[]),
            ("* FROM rr WHERE st = 'new' ORDER BY n LIMIT 1 FOR UPDATE", &[]),
            ("* FROM rr WHERE st = 'new' LIMIT 2 FOR UPDATE", &[]),
            ("* FROM rr WHERE n = 5 FOR UPDATE", &[]),
            ("* FROM rr WHERE n IN (4, 5) FOR UPDATE", &[]),
            ("* FROM rr WHERE n < 6 ORDER BY n FOR UPDATE", &[]),
            ("rr.* FROM sought JOIN rr ON rr.st = sought.st FOR UPDATE", &[]),
            ("rr.* FROM sought JOIN rr ON rr.n = sought.n FOR UPDATE", &[]),
            // It has moved within what was searched, and is found once.
            (
                "* FROM rr FORCE INDEX (u) WHERE n < 90 ORDER BY n LIMIT 9 FOR UPDATE",
                &["1 done 50", "2 old 6"],
            ),
            ("* FROM rr WHERE n IN (5, 50) FOR UPDATE", &["1 done 50"]),
        ] {
            let [mut a, mut b] = house.clients(level).await;
            a.rows("BEGIN").await;
            a.rows("SELECT * FROM rr WHERE id = 1 FOR UPDATE").await;
            a.rows("UPDATE rr SET st = 'done', n = 50 WHERE id = 1").await;
            b.rows("BEGIN").await;
            let found = b.rows_once_committed(&format!("SELECT {query}"), &mut a).await;
            assert_eq!(found, expected, "{level}: {query}");
            b.rows("ROLLBACK").await;
            a.rows("UPDATE rr SET st = 'new', n = 5 WHERE id = 1").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_as_newer_than_the_snapshot_is_found_by_its_newest_entries() {
    let house = House::new(&ROWS).await;
    let [mut a, mut b] = house.clients("REPEATABLE READ").await;
    b.rows("BEGIN").await;
    b.rows("SELECT * FROM rr").await;
    a.rows("UPDATE rr SET st = 'done', n = 50 WHERE id = 1").await;
    // Nobody has locked it yet.
    assert_eq!(b.rows("SELECT id, st FROM rr WHERE st = 'new'").await, ["1 new"]);
    assert!(b.rows("SELECT id FROM rr WHERE st = 'new' FOR UPDATE SKIP LOCKED").await.is_empty());
    assert_eq!(b.rows("SELECT * FROM rr WHERE id = 1 FOR UPDATE").await, ["1 done 50"]);
    for (condition, expected) in [
        ("st = 'new'", &[][..]),
        ("st = 'done'", &["1 done 50"]),
        ("n = 5", &[]),
        ("n = 50", &["1 done 50"]),
        ("n IN (5, 6)", &["2 old 6"]),
        ("n < 90 ORDER BY n", &["2 old 6", "1 done 50"]),
        ("n < 90 ORDER BY n DESC", &["1 done 50", "2 old 6"]),
    ] {
        assert_eq!(b.rows(&format!("SELECT * FROM rr WHERE {condition}")).await, expected, "{condition}");
    }
    // What is computed from the locked row takes away the entries that the locked row has.
    b.rows("UPDATE rr SET st = 'mine', n = 51 WHERE st = 'done'").await;
    assert_eq!(b.rows("SELECT * FROM rr WHERE n > 50").await, ["1 mine 51"]);
    b.rows("COMMIT").await;
    assert_eq!(a.rows("SELECT * FROM rr WHERE st = 'mine'").await, ["1 mine 51"]);
    assert_eq!(a.rows("SELECT id FROM rr FORCE INDEX (st) WHERE st > '' ORDER BY st").await, ["1", "2"]);
    assert!(a.rows("CHECK TABLE rr").await.iter().all(|line| line.ends_with("OK")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waited_for_a_row_can_change_what_is_indexed_of_it() {
    let house = House::new(&ROWS).await;
    for level in LEVELS {
        for condition in ["id = 1", "n = 5", "n BETWEEN 4 AND 5", "n < 6 ORDER BY n LIMIT 1"] {
            for next in ["again", "new"] {
                let [mut a, mut b] = house.clients(level).await;
                a.rows("BEGIN").await;
                a.rows("SELECT * FROM rr WHERE id = 1 FOR UPDATE").await;
                a.rows("UPDATE rr SET st = 'done' WHERE id = 1").await;
                b.rows("BEGIN").await;
                let query = format!("SELECT * FROM rr WHERE {condition} FOR UPDATE");
                assert_eq!(b.rows_once_committed(&query, &mut a).await, ["1 done 5"], "{level}: {condition}");
                b.rows(&format!("UPDATE rr SET st = '{next}' WHERE id = 1")).await;
                b.try_rows("COMMIT").await.unwrap_or_else(|e| panic!("{level}: {condition}, {next}: {e}"));
                a.rows("UPDATE rr SET st = 'new' WHERE id = 1").await;
            }
        }
    }
}

const JOBS: [&str; 2] = [
    "CREATE TABLE jq (id INT PRIMARY KEY, st VARCHAR(10), prio INT, KEY (st), KEY (prio))",
    "INSERT INTO jq VALUES (1, 'new', 3), (2, 'new', 2), (3, 'new', 1), (4, 'old', 0)",
];

#[tokio::test(flavor = "multi_thread")]
async fn each_session_gets_the_next_job_of_a_queue() {
    let house = House::new(&JOBS).await;
    for level in LEVELS {
        for (query, expected) in [
            ("WHERE st = 'new' ORDER BY id LIMIT 1", ["1", "2", "3"]),
            ("WHERE st = 'new' ORDER BY id DESC LIMIT 1", ["3", "2", "1"]),
            ("WHERE st = 'new' ORDER BY prio LIMIT 1", ["3", "2", "1"]),
            ("WHERE prio > 0 ORDER BY prio LIMIT 1", ["3", "2", "1"]),
            ("WHERE st = 'new' AND prio > 0 LIMIT 1", ["1", "2", "3"]),
            ("WHERE st <> 'old' LIMIT 1", ["1", "2", "3"]),
            ("WHERE id > 0 ORDER BY id LIMIT 1", ["1", "2", "3"]),
        ] {
            let mut clients: [Client; 3] = house.clients(level).await;
            let mut found = Vec::new();
            for client in &mut clients {
                client.rows("BEGIN").await;
                let query = format!("SELECT id FROM jq {query} FOR UPDATE SKIP LOCKED");
                found.extend(client.rows(&query).await);
            }
            // Without an order, any will do.
            if !query.contains("ORDER") {
                found.sort();
            }
            assert_eq!(found, expected, "{level}: {query}");
            for client in &mut clients {
                client.rows("ROLLBACK").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_locks_what_it_returns_and_goes_on_where_a_row_is_no_longer_sought() {
    let house = House::new(&JOBS).await;
    let query = "SELECT id FROM jq WHERE st = 'new' ORDER BY id LIMIT 1 FOR UPDATE";
    for level in LEVELS {
        let [mut a, mut b, mut c] = house.clients(level).await;
        a.rows("BEGIN").await;
        assert_eq!(a.rows(query).await, ["1"]);
        a.rows("UPDATE jq SET st = 'done' WHERE id = 1").await;
        b.rows("BEGIN").await;
        assert_eq!(b.rows_once_committed(query, &mut a).await, ["2"]);
        assert_eq!(c.rows("SELECT id FROM jq WHERE id > 2 FOR UPDATE NOWAIT").await, ["3", "4"]);
        assert_eq!(
            c.try_rows("SELECT id FROM jq WHERE id = 2 FOR UPDATE NOWAIT").await.unwrap_err().code.errno(),
            3572
        );
        // OFFSET counts what could be locked.
        let query = "SELECT id FROM jq WHERE st = 'new' ORDER BY id LIMIT 2 OFFSET 1 FOR UPDATE SKIP LOCKED";
        c.rows("BEGIN").await;
        assert!(c.rows(query).await.is_empty());
        c.rows("ROLLBACK").await;
        b.rows("ROLLBACK").await;
        assert_eq!(c.rows(query).await, ["3"]);
        assert!(c.rows("SELECT id FROM jq WHERE st = 'new' ORDER BY id LIMIT 0 FOR UPDATE").await.is_empty());
        c.rows("UPDATE jq SET st = 'new' WHERE id = 1").await;
        let query = "SELECT id FROM jq WHERE 1 = 1 AND prio < 9 ORDER BY prio + 0, id LIMIT 2, 1 FOR UPDATE";
        assert_eq!(c.rows(query).await, ["2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_join_locks_no_more_than_it_looks_at() {
    let house = House::new(&JOBS).await;
    let mut client = house.client("REPEATABLE READ").await;
    client.rows("CREATE TABLE owner (job INT PRIMARY KEY, who VARCHAR(10))").await;
    client.rows("INSERT INTO owner VALUES (1, 'ann'), (2, 'bob'), (3, 'cid'), (4, 'dan')").await;
    for level in LEVELS {
        for query in [
            "SELECT jq.id FROM jq JOIN owner ON owner.job = jq.id WHERE st = 'new' ORDER BY jq.id LIMIT 1 FOR UPDATE",
            "SELECT jq.id FROM jq LEFT JOIN owner ON owner.job = jq.id WHERE st = 'new' ORDER BY jq.id LIMIT 1 FOR UPDATE OF jq",
            "SELECT jq.id FROM owner STRAIGHT_JOIN jq ON owner.job = jq.id WHERE st = 'new' ORDER BY owner.job LIMIT 1 FOR UPDATE OF jq",
            "SELECT DISTINCT id FROM jq WHERE st = 'new' LIMIT 1 FOR UPDATE",
            "SELECT jq.id FROM jq FORCE INDEX (prio) JOIN owner ON owner.job = jq.id WHERE prio > 0 ORDER BY -jq.id DESC LIMIT 1 FOR UPDATE",
        ] {
            let mut clients: [Client; 3] = house.clients(level).await;
            let mut found = Vec::new();
            for client in &mut clients {
                client.rows("BEGIN").await;
                found.extend(client.rows(&format!("{query} SKIP LOCKED")).await);
            }
            assert_eq!(found, ["1", "2", "3"], "{level}: {query}");
            for client in &mut clients {
                client.rows("ROLLBACK").await;
            }
        }
    }
}
