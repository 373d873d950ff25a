//! Temporary tables: within one process over the real query engine, adjudicator and shards; then over real connections.
#![allow(clippy::disallowed_methods)] // Tests.

use assize_model::{ErrorCode, SqlError};
use assize_ports::{BoxFuture, ResultColumn, ResultSink};
use assize_session::{
    GlobalVariables, KillSwitch, Limits, Login, Services, Session, Shared, Txn, TxnOptions,
};
use assize_tests::{Assize, in_process, wait_for};
use assize_values::Value;
use mysql::prelude::Queryable;
use mysql::{ChangeUserOpts, Conn, LocalInfileHandler, OptsBuilder};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows as text, and the names of their columns.
#[derive(Default)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<String>,
}

impl ResultSink for Rows {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.columns = columns.iter().map(|column| column.name.to_string()).collect();
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        let text = |value: &Value| match value {
            Value::Null => "NULL".to_owned(),
            Value::Int(n) => n.to_string(),
            Value::UInt(n) => n.to_string(),
            Value::Decimal(n) => n.to_string(),
            Value::Text(text) => text.as_str().to_string(),
            other => format!("{other:?}"),
        };
        self.rows.push(row.iter().map(text).collect::<Vec<_>>().join(" "));
        Ok(())
    }
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Sessions of one cluster.
struct House {
    services: Arc<Services>,
    shared: Arc<Shared>,
}

impl House {
    async fn new(limits: Limits, statements: &[&str]) -> Self {
        let services = in_process::services(limits, Arc::new(assize_query::Engine::new())).await;
        let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
        txn.commit(Some(assize_catalog::bootstrap())).await.unwrap();
        let house = House { services, shared: Arc::new(Shared::new(Arc::new(GlobalVariables::new([])))) };
        let mut client = house.client("root").await;
        for text in ["CREATE DATABASE test", "USE test"].iter().chain(statements) {
            client.rows(text).await;
        }
        house
    }

    async fn login(&self, user: &str) -> Login {
        let begun = Txn::begin(self.services.clone(), TxnOptions::default()).await.unwrap();
        let found = begun.catalog().users.values().find(|known| *known.name == *user);
        Login {
            connection: 1,
            user: found.expect("there is such a user").clone(),
            client_name: user.into(),
            client_host: "localhost".into(),
            database: Some("test".into()),
            collation: None,
            kill: Arc::new(KillSwitch::default()),
        }
    }

    async fn client(&self, user: &str) -> Client {
        Client(Session::new(self.services.clone(), self.shared.clone(), self.login(user).await))
    }

    /// Bytes that temporary tables hold.
    fn held(&self) -> usize {
        self.services.temporary_bytes.load(Ordering::Relaxed)
    }
}

struct Client(Session);

impl Client {
    async fn run(&mut self, text: &str) -> Result<Rows, SqlError> {
        let mut rows = Rows::default();
        self.0.run_text(text, &mut rows).await?;
        Ok(rows)
    }

    async fn rows(&mut self, text: &str) -> Vec<String> {
        self.run(text).await.unwrap_or_else(|e| panic!("{text}: {e}")).rows
    }

    async fn all(&mut self, texts: &[&str]) {
        for text in texts {
            self.rows(text).await;
        }
    }

    async fn error(&mut self, text: &str) -> ErrorCode {
        match self.run(text).await {
            Ok(rows) => panic!("{text}: no error, {:?}", rows.rows),
            Err(error) => error.code,
        }
    }

    /// What the session's last transaction came to.
    async fn outcome(&mut self) -> String {
        let told = self.rows("SELECT @@assize_last_txn_info").await.remove(0);
        told.rsplit('"').nth(1).unwrap_or_default().to_owned()
    }
}

const STOCK: &[&str] = &[
    "CREATE TABLE stock (id INT PRIMARY KEY, n INT NOT NULL)",
    "INSERT INTO stock VALUES (1, 10), (2, 20), (3, 30)",
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_live_and_die_with_their_transaction_and_tables_do_not() {
    let house = House::new(Limits::default(), STOCK).await;
    let mut client = house.client("root").await;
    client.all(&["BEGIN", "UPDATE stock SET n = 11 WHERE id = 1"]).await;
    // No implicit commit.
    client
        .all(&[
            "CREATE TEMPORARY TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(9), UNIQUE KEY (v))",
            "INSERT INTO t (v) VALUES ('a'), ('b')",
            "CREATE TEMPORARY TABLE filled AS SELECT * FROM stock",
            "ROLLBACK",
        ])
        .await;
    assert_eq!(client.rows("SELECT n FROM stock WHERE id = 1").await, ["10"]);
    assert!(client.rows("SELECT * FROM t").await.is_empty());
    assert!(
        client.rows("SELECT * FROM filled").await.is_empty(),
        "the table stays, its rows were the transaction's"
    );
    client.all(&["BEGIN", "INSERT INTO t (v) VALUES ('c')", "SAVEPOINT s", "UPDATE t SET v = 'd'"]).await;
    client.all(&["INSERT INTO t (v) VALUES ('e')", "DROP TEMPORARY TABLE filled"]).await;
    // A failed statement undoes itself alone.
    assert_eq!(client.error("INSERT INTO t (v) VALUES ('x'), ('d'), ('y')").await, ErrorCode::DuplicateEntry);
    assert_eq!(client.rows("SELECT v FROM t ORDER BY id").await, ["d", "e"]);
    client.all(&["ROLLBACK TO s"]).await;
    assert_eq!(client.rows("SELECT v FROM t WHERE v > ''").await, ["c"], "by the index, too");
    client.all(&["COMMIT"]).await;
    assert_eq!(client.outcome().await, "read_only", "there was nothing to decide");
    assert_eq!(client.rows("SELECT v FROM t").await, ["c"]);
    assert_eq!(client.error("SELECT * FROM filled").await, ErrorCode::NoSuchTable);
    client.all(&["INSERT INTO t (v) VALUES ('f')", "DELETE FROM t WHERE v = 'c'"]).await;
    assert_eq!(client.outcome().await, "read_only");
    assert_eq!(client.rows("SELECT v FROM t FOR UPDATE").await, ["f"]);
    assert_eq!(client.error("INSERT INTO t (v) VALUES ('f')").await, ErrorCode::DuplicateEntry);
    client.all(&["TRUNCATE TABLE t", "INSERT INTO t (v) VALUES ('g')"]).await;
    assert_eq!(client.rows("SELECT * FROM t").await, ["1 g"]);
    // SERIALIZABLE has nothing to check in them either.
    client.all(&["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"]).await;
    client.all(&["SELECT * FROM t WHERE id > 0 FOR UPDATE", "UPDATE t SET v = 'h'", "COMMIT"]).await;
    assert_eq!(client.outcome().await, "read_only");
    assert_eq!(client.rows("SELECT v FROM t").await, ["h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_and_other_tables_meet_in_one_statement() {
    let house = House::new(Limits::default(), STOCK).await;
    let mut client = house.client("root").await;
    client
        .all(&[
            "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, n INT, KEY (n))",
            "INSERT INTO t SELECT id, n * 2 FROM stock WHERE id < 3",
        ])
        .await;
    let join = "SELECT stock.id, stock.n, t.n FROM stock LEFT JOIN t ON t.id = stock.id ORDER BY 1";
    assert_eq!(client.rows(join).await, ["1 10 20", "2 20 40", "3 30 NULL"]);
    client.all(&["UPDATE stock JOIN t USING (id) SET stock.n = t.n + 1, t.n = 0 WHERE t.n = 40"]).await;
    assert_eq!(client.outcome().await, "committed");
    assert_eq!(client.rows(join).await, ["1 10 20", "2 41 0", "3 30 NULL"]);
    client
        .all(&["INSERT INTO stock SELECT id + 10, n FROM t", "INSERT INTO t SELECT id + 20, n FROM t"])
        .await;
    assert_eq!(client.rows("SELECT COUNT(*) FROM stock").await, ["5"]);
    assert_eq!(client.rows("SELECT id FROM t ORDER BY id DESC").await, ["22", "21", "2", "1"]);
    client.all(&["DELETE t, stock FROM t JOIN stock ON stock.id = t.id + 10"]).await;
    assert_eq!(client.rows("SELECT id FROM stock ORDER BY id").await, ["1", "2", "3"]);
    assert_eq!(client.rows("SELECT id FROM t WHERE id IN (SELECT id + 20 FROM stock)").await, ["21", "22"]);
    assert_eq!(
        client.rows("WITH c AS (SELECT * FROM t) SELECT a.id FROM c a, c b WHERE a.id < b.id").await,
        ["21"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_loses_takes_its_temporary_rows_back() {
    let house = House::new(Limits::default(), STOCK).await;
    let (mut loser, mut winner) = (house.client("root").await, house.client("root").await);
    loser.all(&["CREATE TEMPORARY TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await;
    loser.all(&["BEGIN", "INSERT INTO t VALUES (2)", "DELETE FROM t WHERE id = 1"]).await;
    loser.all(&["UPDATE stock SET n = n + 1 WHERE id = 1"]).await;
    winner.all(&["UPDATE stock SET n = 100 WHERE id = 1"]).await;
    assert_eq!(loser.error("COMMIT").await, ErrorCode::Deadlock);
    assert_eq!(loser.rows("SELECT id FROM t").await, ["1"]);
    loser
        .all(&["BEGIN", "INSERT INTO t VALUES (2)", "UPDATE stock SET n = n + 1 WHERE id = 1", "COMMIT"])
        .await;
    assert_eq!(loser.rows("SELECT id FROM t ORDER BY id").await, ["1", "2"]);
    assert_eq!(winner.rows("SELECT n FROM stock WHERE id = 1").await, ["101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_prepared_statements_follow_what_a_name_means() {
    let house = House::new(Limits::default(), STOCK).await;
    let (mut own, mut other) = (house.client("root").await, house.client("root").await);
    const QUERY: &str = "SELECT * FROM stock WHERE id = 1";
    let statement = own.0.prepare(b"SELECT * FROM stock WHERE id = ?").await.unwrap().id;
    own.all(&["PREPARE named FROM 'SELECT * FROM stock WHERE id = 1'"]).await;
    for round in 0..3 {
        for client in [&mut own, &mut other] {
            assert_eq!(client.rows(QUERY).await, ["1 10"], "round {round}");
        }
        // Another shape each time, under one name.
        let columns =
            ["id INT PRIMARY KEY, a INT, b INT", "id INT, a CHAR(5), b CHAR(5)", "a INT, b INT, id INT"];
        own.all(&[&format!("CREATE TEMPORARY TABLE stock ({})", columns[round])]).await;
        own.all(&[&format!("INSERT INTO stock (id, a, b) VALUES (1, {round}, 7)")]).await;
        let expected = [["1 0 7"], ["1 1 7"], ["2 7 1"]][round];
        for _ in 0..2 {
            assert_eq!(own.rows(QUERY).await, expected);
            assert_eq!(own.rows("EXECUTE named").await, expected);
            let mut rows = Rows::default();
            own.0.execute(statement, &[Value::Int(1)], &mut rows).await.unwrap();
            assert_eq!((&*rows.rows, rows.columns.len()), (&[expected[0].to_owned()][..], 3));
            assert_eq!(other.rows(QUERY).await, ["1 10"]);
            assert_eq!(other.rows("SHOW COLUMNS FROM stock").await.len(), 2);
        }
        own.all(&["DROP TABLE stock"]).await;
        let mut rows = Rows::default();
        own.0.execute(statement, &[Value::Int(2)], &mut rows).await.unwrap();
        assert_eq!(rows.rows, ["2 20"]);
    }
    other.all(&["CREATE TEMPORARY TABLE mine (id INT)"]).await;
    assert_eq!(own.error("SELECT * FROM mine").await, ErrorCode::NoSuchTable);
    assert_eq!(own.error("DROP TEMPORARY TABLE stock").await, ErrorCode::UnknownTable);
    // They are nobody's when databases go.
    other
        .all(&["CREATE DATABASE gone", "CREATE TEMPORARY TABLE gone.t (id INT)", "DROP DATABASE gone"])
        .await;
    assert!(other.rows("SELECT * FROM gone.t").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_transaction_changes_temporary_tables_alone() {
    let house = House::new(Limits::default(), STOCK).await;
    let mut client = house.client("root").await;
    client
        .all(&["CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, n INT)", "START TRANSACTION READ ONLY"])
        .await;
    client.all(&["INSERT INTO t SELECT * FROM stock", "UPDATE t JOIN stock USING (id) SET t.n = 0"]).await;
    client.all(&["REPLACE INTO t VALUES (1, 5)", "DELETE x FROM t AS x WHERE x.id = 2"]).await;
    for refused in [
        "INSERT INTO stock SELECT id + 5, n FROM t",
        "UPDATE t JOIN stock USING (id) SET stock.n = 0",
        "UPDATE stock SET n = 0",
        "DELETE stock FROM stock JOIN t USING (id)",
        "CREATE TEMPORARY TABLE u (id INT)",
        "DROP TEMPORARY TABLE t",
    ] {
        assert_eq!(client.error(refused).await, ErrorCode::ReadOnlyTransaction, "{refused}");
    }
    client.all(&["COMMIT"]).await;
    assert_eq!(client.rows("SELECT * FROM t ORDER BY id").await, ["1 5", "3 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_counted_and_freed() {
    let house = House::new(Limits { temporary_bytes_max: 20_000, ..Limits::default() }, &[]).await;
    let mut client = house.client("root").await;
    client.all(&["CREATE TEMPORARY TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200))"]).await;
    let text = format!("INSERT INTO t (v) VALUES ('{}')", "x".repeat(190));
    let mut rows = 0;
    let full = loop {
        match client.run(&text).await {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
        assert!(rows < 1000, "no end");
    };
    assert_eq!((full.code.errno(), &*full.message), (1114, "The table 't' is full"));
    assert_eq!(client.rows("SELECT COUNT(*) FROM t").await, [rows.to_string()]);
    assert!((10_000..=20_000).contains(&house.held()), "{}", house.held());
    assert_eq!(client.error("CREATE TEMPORARY TABLE u AS SELECT * FROM t").await, ErrorCode::TableFull);
    assert_eq!(client.error("SELECT * FROM u").await, ErrorCode::NoSuchTable);
    client.all(&["DELETE FROM t WHERE id > 10", "INSERT INTO t (v) VALUES ('y')"]).await;
    assert!(house.held() < 5_000);
    client.all(&["CREATE TEMPORARY TABLE u AS SELECT * FROM t", "DROP TEMPORARY TABLE t"]).await;
    assert_eq!(client.rows("SELECT COUNT(*) FROM u").await, ["11"]);
    client.all(&["BEGIN", "INSERT INTO u VALUES (99, 'z')"]).await;
    assert!(house.held() > 0);
    client.0.reset().await;
    assert_eq!((house.held(), client.error("SELECT * FROM u").await), (0, ErrorCode::NoSuchTable));
    client.all(&["CREATE TEMPORARY TABLE u AS SELECT 1 AS n"]).await;
    let login = house.login("root").await;
    client.0.change_user(login).await;
    assert_eq!((house.held(), client.error("SELECT * FROM u").await), (0, ErrorCode::NoSuchTable));
    client.all(&["CREATE TEMPORARY TABLE u AS SELECT 1 AS n"]).await;
    assert!(house.held() > 0);
    client.0.disconnect().await;
    assert_eq!(house.held(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_make_a_temporary_table_may_do_anything_with_it() {
    let house = House::new(Limits::default(), STOCK).await;
    let mut root = house.client("root").await;
    root.all(&["CREATE USER app@localhost", "CREATE VIEW v AS SELECT id FROM stock"]).await;
    let mut app = house.client("app").await;
    const CREATE: &str = "CREATE TEMPORARY TABLE stock (id INT PRIMARY KEY, n INT)";
    assert_eq!(app.error(CREATE).await, ErrorCode::DatabaseAccessDenied);
    root.all(&["GRANT CREATE TEMPORARY TABLES ON test.* TO app@localhost"]).await;
    assert_eq!(
        app.error("CREATE TEMPORARY TABLE s AS SELECT * FROM stock").await,
        ErrorCode::TableAccessDenied
    );
    assert_eq!(app.error("CREATE TEMPORARY TABLE s LIKE stock").await, ErrorCode::TableAccessDenied);
    app.all(&[CREATE, "INSERT INTO stock VALUES (1, 2)", "REPLACE INTO stock VALUES (1, 3)"]).await;
    app.all(&["UPDATE stock SET n = 4", "ALTER TABLE stock ADD COLUMN v INT", "CREATE INDEX n ON stock (n)"])
        .await;
    app.all(&["SHOW CREATE TABLE stock", "DESCRIBE stock", "SHOW INDEX FROM stock", "CHECK TABLE stock"])
        .await;
    assert_eq!(app.rows("SELECT * FROM stock JOIN stock AS again USING (id)").await, ["1 4 NULL 4 NULL"]);
    assert_eq!(app.error("CREATE TABLE stock (id INT)").await, ErrorCode::TableAccessDenied);
    assert_eq!(app.error("SELECT * FROM v").await, ErrorCode::TableAccessDenied);
    app.all(&["TRUNCATE TABLE stock", "DROP TABLE stock"]).await;
    assert_eq!(app.error("SELECT * FROM stock").await, ErrorCode::TableAccessDenied);
    assert_eq!(app.error("DROP TABLE stock").await, ErrorCode::TableAccessDenied);
}

fn connect(assize: &Assize) -> Conn {
    let opts = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(assize.port())
        .user(Some("root"))
        .prefer_socket(false)
        .db_name(Some("shop"));
    Conn::new(opts).expect("the server takes connections")
}

fn code(result: mysql::Result<()>) -> u16 {
    match result {
        Err(mysql::Error::MySqlError(error)) => error.code,
        other => panic!("not an error of the server: {other:?}"),
    }
}

#[test]
fn connections_keep_their_temporary_tables_to_themselves_until_they_end() {
    let assize = Assize::start_with(None, &["--set", "frontend.temporary_bytes_max=100000"]);
    assize.query("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20))");
    assize.query("INSERT INTO shop.t VALUES (1, 'lasting')");
    let (mut a, mut b) = (connect(&assize), connect(&assize));
    let read = "SELECT v FROM t WHERE id = ?";
    let seen = |conn: &mut Conn| conn.exec_first::<String, _, _>(read, (1,)).unwrap();
    assert_eq!(seen(&mut a).as_deref(), Some("lasting"));
    a.query_drop("CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, v VARCHAR(20), n INT AUTO_INCREMENT UNIQUE)")
        .unwrap();
    a.exec_drop("INSERT INTO t (id, v) VALUES (?, ?)", (1, "mine")).unwrap();
    assert_eq!(a.last_insert_id(), 1);
    b.query_drop("CREATE TEMPORARY TABLE t (id BIGINT, v CHAR(3))").unwrap();
    b.exec_drop("INSERT INTO t (id, v) VALUES (?, ?)", (1, "his")).unwrap();
    assert_eq!((seen(&mut a).as_deref(), seen(&mut b).as_deref()), (Some("mine"), Some("his")));
    assert_eq!(assize.query("SELECT v FROM shop.t").trim(), "lasting");

    // LOAD DATA LOCAL fills it; what is too much leaves it as it was.
    let file = |lines: u32| {
        LocalInfileHandler::new(move |_, stream| {
            (2..lines).try_for_each(|id| writeln!(stream, "{id}\tloaded"))
        })
    };
    a.set_local_infile_handler(Some(file(102)));
    a.query_drop("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (id, v)").unwrap();
    assert_eq!(a.query_first::<u32, _>("SELECT COUNT(*) FROM t").unwrap(), Some(101));
    a.query_drop("DELETE FROM t WHERE id > 1").unwrap();
    a.set_local_infile_handler(Some(file(100_000)));
    assert_eq!(code(a.query_drop("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (id, v)")), 1114);
    assert_eq!(a.query_first::<u32, _>("SELECT COUNT(*) FROM t").unwrap(), Some(1));

    a.reset().unwrap();
    a.query_drop("USE shop").unwrap();
    assert_eq!(seen(&mut a).as_deref(), Some("lasting"));
    b.change_user(ChangeUserOpts::default()).unwrap();
    b.query_drop("USE shop").unwrap();
    assert_eq!(seen(&mut b).as_deref(), Some("lasting"));

    // Whatever way a connection ends, its memory comes back.
    for conn in [&mut a, &mut b] {
        conn.query_drop("CREATE TEMPORARY TABLE big (v VARCHAR(1000))").unwrap();
        conn.exec_drop("INSERT INTO big VALUES (?)", ("x".repeat(1000),)).unwrap();
    }
    let id = b.connection_id();
    drop(a);
    assize.query(&format!("KILL {id}"));
    assert!(b.query_drop("SELECT * FROM big").is_err());
    wait_for("the connections to end", || assize.query("SHOW PROCESSLIST").lines().count() == 1);
    assert_eq!(assize.query("SHOW TABLES FROM shop").trim(), "t");
}
