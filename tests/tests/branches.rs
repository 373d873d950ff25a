//! Branches of transactions on real MariaDB servers: values of every type, what the server refuses, and sessions, connections and
//! servers that die in the middle. A whole cluster in this process; the servers are real.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_catalog::{Catalog, ChangeBuilder, ForeignBranch, Server};
use assize_model::{ErrorCode, IndexId, Mutation, Slot, SqlError, TableId};
use assize_ports::{
    Direction, ForeignError, ForeignResult, ForeignServers, ForeignStatement, Mark, ReadIntent, ScanRequest,
    ScanShards, Transaction,
};
use assize_session::{CommitFailure, Committed, Isolation, Limits, Services, Txn, TxnOptions};
use assize_tests::{MariaDb, in_process};
use assize_values::{BlobSize, Collation, IntType, IntWidth, SqlType, Value, format};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEXTS: Collation = Collation::UTF8MB4_GENERAL_CI;
const BIGINT: &[SqlType] = &[SqlType::BIGINT];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server with an account for the cluster, and an account table with 100 in each of ten rows.
fn bank() -> MariaDb {
    let server = MariaDb::start();
    server.query(
        "CREATE DATABASE bank; CREATE USER assize@'127.0.0.1' IDENTIFIED BY 'secret'; \
         GRANT ALL ON bank.* TO assize@'127.0.0.1'; USE bank; \
         CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL CHECK (balance >= 0)) ENGINE=InnoDB; \
         INSERT INTO account SELECT seq, 100 FROM seq_1_to_10",
    );
    server
}

fn definition(name: &str, server: &MariaDb) -> Arc<Server> {
    Arc::new(Server {
        name: name.into(),
        wrapper: "mysql".into(),
        host: "127.0.0.1".into(),
        port: server.port(),
        database: "bank".into(),
        user: "assize".into(),
        password: "secret".into(),
        owner: "".into(),
    })
}

async fn define(services: &Arc<Services>, servers: &[&Arc<Server>]) {
    let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
    let catalog: Arc<Catalog> = txn.catalog().clone();
    let mut builder = ChangeBuilder::new(&catalog);
    for server in servers {
        builder.put_server(server);
    }
    let change = builder.finish();
    txn.commit(Some(change)).await.unwrap();
}

async fn frontends(count: u64) -> Vec<Arc<Services>> {
    in_process::frontends(count, Limits::default(), Arc::new(in_process::NoQueries)).await
}

async fn begin(services: &Arc<Services>, options: TxnOptions) -> Txn {
    let mut txn = Txn::begin(services.clone(), options).await.unwrap();
    txn.begin_statement(true).await.unwrap();
    txn
}

async fn write(txn: &mut Txn, server: &Arc<Server>, sql: &str) -> Result<ForeignResult, SqlError> {
    txn.foreign(server, ForeignStatement { sql, types: &[], writes: true }).await
}

async fn read(txn: &mut Txn, server: &Arc<Server>, sql: &str) -> Result<i64, SqlError> {
    let result = txn.foreign(server, ForeignStatement { sql, types: BIGINT, writes: false }).await?;
    match result.rows[0][0] {
        Value::Int(number) => Ok(number),
        ref other => panic!("{other:?}"),
    }
}

const BALANCE: &str = "SELECT balance FROM account WHERE id = 1";

#[test]
fn values_of_every_type_come_as_they_are() {
    let server = bank();
    server.query(
        "SET time_zone = '+03:00'; SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE bank.every ( \
           c1 TINYINT, c2 SMALLINT UNSIGNED, c3 MEDIUMINT, c4 INT UNSIGNED ZEROFILL, c5 BIGINT, c6 BIGINT UNSIGNED, \
           c7 DECIMAL(65,30), c8 FLOAT, c9 DOUBLE, c10 CHAR(5), c11 VARCHAR(20), c12 TEXT, c13 BINARY(4), c14 VARBINARY(4), \
           c15 BLOB, c16 DATE, c17 TIME(6), c18 DATETIME(6), c19 TIMESTAMP(3) NULL, c20 YEAR, c21 BIT(10), \
           c22 ENUM('a','b'), c23 SET('x','y','z'), c24 JSON) CHARACTER SET utf8mb4; \
         INSERT INTO bank.every VALUES (-128, 65535, -8388608, 7, -9223372036854775808, 18446744073709551615, \
           -12345678901234567890123456789012345.123456789012345678901234567890, 0.1234567, 0.1, 'ab', 'ä\\'\\\\\\n€😀', 'text', 'a', \
           x'00ff', x'000102', '0000-00-00', '-838:59:59', '9999-12-31 23:59:59.999999', \
           '2038-01-19 06:14:07.500', 2155, b'1000000001', 'b', 'z,x', '{\"a\": [1, 2.5, null, \"ü\"]}'); \
         INSERT INTO bank.every (c16, c17, c19, c20, c23) VALUES ('2024-02-00', '838:59:59', '0000-00-00 00:00:00', 0, '')",
    );
    let int = |width, unsigned, zerofill| SqlType::Int(IntType { width, unsigned, zerofill, display: None });
    let labels = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>().into();
    let types = [
        int(IntWidth::Tiny, false, false),
        int(IntWidth::Small, true, false),
        int(IntWidth::Medium, false, false),
        int(IntWidth::Int, true, true),
        int(IntWidth::Big, false, false),
        int(IntWidth::Big, true, false),
        SqlType::Decimal { precision: 65, scale: 30, unsigned: false },
        SqlType::Float { unsigned: false, digits: None },
        SqlType::Double { unsigned: false, digits: None },
        SqlType::Char { length: 5, collation: TEXTS },
        SqlType::VarChar { length: 20, collation: TEXTS },
        SqlType::Text { size: BlobSize::Normal, collation: TEXTS },
        SqlType::Binary { length: 4 },
        SqlType::VarBinary { length: 4 },
        SqlType::Blob { size: BlobSize::Normal },
        SqlType::Date,
        SqlType::Time { fsp: 6 },
        SqlType::DateTime { fsp: 6 },
        SqlType::Timestamp { fsp: 3 },
        SqlType::Year,
        SqlType::Bit { length: 10 },
        SqlType::Enum { labels: labels(&["a", "b"]), collation: TEXTS },
        SqlType::Set { labels: labels(&["x", "y", "z"]), collation: TEXTS },
        SqlType::Json,
    ];
    let expected = [
        "-128",
        "65535",
        "-8388608",
        "0000000007",
        "-9223372036854775808",
        "18446744073709551615",
        "-12345678901234567890123456789012345.123456789012345678901234567890",
        "0.123457",
        "0.1",
        "ab",
        "ä'\\\n€😀",
        "text",
        "a\0\0\0",
        "\0\u{fffd}",
        "\0\u{1}\u{2}",
        "0000-00-00",
        "-838:59:59.000000",
        "9999-12-31 23:59:59.999999",
        "2038-01-19 03:14:07.500",
        "2155",
        "\u{2}\u{1}",
        "b",
        "x,z",
        "{\"a\": [1, 2.5, null, \"ü\"]}",
    ];
    let definition = definition("every", &server);
    runtime().block_on(async {
        let servers = assize_mysql::Servers::new();
        let mut connection = servers.connect(definition.clone()).await.unwrap();
        let mut read = async |columns: &str, types: &[SqlType]| {
            connection.run(&format!("SELECT {columns} FROM every ORDER BY c1 DESC"), types).await
        };
        let whole = read("*", &types).await.unwrap().rows;
        let told: Vec<String> =
            whole[0].iter().zip(&types).map(|(value, sql_type)| format::to_string(value, sql_type)).collect();
        assert_eq!(told, expected);
        assert_eq!(whole[0][7], Value::Float(0.1234567), "all digits of a FLOAT, although six are shown");
        assert!(matches!(whole[0][18], Value::Timestamp(2_147_483_647_500_000)), "{:?}", whole[0][18]);
        let told = |n: usize| format::to_string(&whole[1][n], &types[n]);
        assert_eq!(
            (told(15), told(16), told(19), told(22)),
            ("2024-02-00".into(), "838:59:59.000000".into(), "0000".into(), String::new())
        );
        assert_eq!((&whole[1][0], &whole[1][18]), (&Value::Null, &Value::Timestamp(i64::MIN)));
        // By the text protocol, in which a FLOAT would be cut.
        let without: Vec<String> = (1..=24).filter(|n| *n != 8).map(|n| format!("c{n}")).collect();
        let types_without: Vec<SqlType> =
            types.iter().enumerate().filter(|(n, _)| *n != 7).map(|(_, sql_type)| sql_type.clone()).collect();
        let mut expected_rows = whole.clone();
        expected_rows.iter_mut().for_each(|row| drop(row.remove(7)));
        assert_eq!(read(&without.join(","), &types_without).await.unwrap().rows, expected_rows);
        // What does not fit is said, and the connection goes on.
        let narrow = read("c6", BIGINT).await.unwrap_err();
        assert!(
            matches!(&narrow, ForeignError::Unfit(why) if why.contains("18446744073709551615")),
            "{narrow:?}"
        );
        let more = read("c1, c2", BIGINT).await.unwrap_err();
        assert!(matches!(&more, ForeignError::Unfit(why) if why.contains("2 columns")), "{more:?}");
        assert!(read("c1", &types[..1]).await.is_ok());
        connection.give_back();
    });
}

#[test]
fn sessions_there_are_set_up_and_used_again() {
    let server = bank();
    server.query("SET GLOBAL sql_mode = '', GLOBAL time_zone = '+05:00', GLOBAL sql_safe_updates = 1");
    let altered = Server { database: "information_schema".into(), ..(*definition("a", &server)).clone() };
    let definition = definition("a", &server);
    runtime().block_on(async {
        let servers = assize_mysql::Servers::new();
        let text = [SqlType::VarChar { length: 200, collation: TEXTS }];
        let id_of = async |definition: &Arc<Server>| {
            let mut connection = servers.connect(definition.clone()).await.unwrap();
            let one = "SELECT CONCAT_WS('/', CONNECTION_ID(), DATABASE(), @@time_zone, @@character_set_results, @@sql_safe_updates + 0, \
                       @@autocommit + 0, @@sql_mode LIKE '%STRICT_ALL%')";
            let result = connection.run(one, &text).await.unwrap();
            connection.give_back();
            match &result.rows[0][0] {
                Value::Text(text) => text.as_str().to_owned(),
                other => panic!("{other:?}"),
            }
        };
        let first = id_of(&definition).await;
        assert!(first.ends_with("/bank/+00:00/utf8mb4/0/1/1"), "{first}");
        assert_eq!(id_of(&definition).await, first, "the same connection");
        // Closed meanwhile, which is seen at the first statement.
        server.query(&format!("KILL {}", first.split('/').next().unwrap()));
        let second = id_of(&definition).await;
        assert_ne!(second, first);
        let moved = id_of(&Arc::new(altered)).await;
        assert!(moved.contains("/information_schema/"), "an altered definition: {moved}");
        let wrong = Arc::new(Server { password: "wrong".into(), ..(*definition).clone() });
        let refused = servers.connect(wrong).await.err().unwrap();
        assert!(matches!(&refused, ForeignError::Away(why) if why.contains("1045") && !why.contains("wrong")), "{refused:?}");
        let nobody = Arc::new(Server { port: 1, ..(*definition).clone() });
        assert!(matches!(servers.connect(nobody).await.err(), Some(ForeignError::Away(_))));
        let mut connection = servers.connect(definition.clone()).await.unwrap();
        let warned = connection.run("SELECT CAST('1x' AS SIGNED)", BIGINT).await.unwrap();
        assert_eq!(warned.warnings.len(), 1, "{warned:?}");
        assert_eq!(warned.warnings[0].code, ErrorCode::TruncatedWrongValue);
    });
}

#[test]
fn a_transaction_is_one_there_as_well() {
    let server = bank();
    let a = definition("A", &server);
    runtime().block_on(async {
        let services = frontends(1).await.remove(0);
        define(&services, &[&a]).await;
        for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable] {
            let options =
                TxnOptions { isolation, lock_wait: Duration::from_secs(1), ..TxnOptions::default() };
            let mut txn = begin(&services, options).await;
            let level =
                read(&mut txn, &a, "SELECT CASE @@innodb_lock_wait_timeout WHEN 1 THEN 1 END").await.unwrap();
            assert_eq!(level, 1);
            assert_eq!(read(&mut txn, &a, BALANCE).await.unwrap(), 100);
            let raise =
                "SET innodb_lock_wait_timeout = 1; UPDATE bank.account SET balance = 101 WHERE id = 1";
            let raised = assize_tests::run(server.client("mariadb").args(["--execute", raise]), b"");
            let is_locked = !raised.status.success();
            assert_eq!(is_locked, isolation == Isolation::Serializable, "{isolation:?}");
            let again = read(&mut txn, &a, BALANCE).await.unwrap();
            assert_eq!(again, if isolation == Isolation::ReadCommitted { 101 } else { 100 }, "{isolation:?}");
            assert_eq!(txn.commit(None).await, Ok(Committed::Nothing));
            server.query("UPDATE bank.account SET balance = 100 WHERE id = 1");
        }
        let mut txn = begin(&services, TxnOptions::default()).await;
        let mark = txn.mark();
        write(&mut txn, &a, "UPDATE account SET balance = 1 WHERE id = 1").await.unwrap();
        let refused = write(&mut txn, &a, "INSERT INTO account VALUES (1, 1)").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::DuplicateEntry);
        assert!(refused.message.contains("Duplicate entry '1' for key"), "{refused}");
        let refused = write(&mut txn, &a, "UPDATE account SET balance = -1 WHERE id = 2").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::CheckConstraintViolated, "{refused}");
        let refused = write(&mut txn, &a, "DELETE FROM nowhere").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ForeignDataSource);
        assert!(refused.message.contains("Data source error: error 1146: "), "{refused}");
        assert_eq!(read(&mut txn, &a, BALANCE).await.unwrap(), 1);
        txn.undo_to(mark);
        assert_eq!(read(&mut txn, &a, BALANCE).await.unwrap(), 100);
        write(&mut txn, &a, "UPDATE account SET balance = 2 WHERE id = 1").await.unwrap();
        let mark = txn.mark();
        let affected =
            write(&mut txn, &a, "UPDATE account SET balance = 3 WHERE id <= 4").await.unwrap().affected;
        assert_eq!(affected, 4);
        txn.undo_to(mark);
        assert!(matches!(txn.commit(None).await, Ok(Committed::At(..))));
        assert_eq!(
            server.query("SELECT SUM(balance), XA_FREE.n FROM bank.account, (SELECT 1 AS n) XA_FREE"),
            "902\t1\n"
        );
        assert_eq!(server.query("XA RECOVER"), "");
        // Nothing written after all.
        let mut txn = begin(&services, TxnOptions::default()).await;
        write(&mut txn, &a, "UPDATE account SET balance = 3 WHERE id = 77").await.unwrap();
        assert!(txn.commit(None).await.is_ok());
        let mut txn = begin(&services, TxnOptions::default()).await;
        write(&mut txn, &a, "UPDATE account SET balance = 3").await.unwrap();
        txn.undo_to(Mark(0));
        assert_eq!(txn.commit(None).await, Ok(Committed::Nothing));
        assert_eq!(server.query("XA RECOVER; SELECT SUM(balance) FROM bank.account"), "902\n");
    });
}

#[test]
fn a_deadlock_there_ends_the_transaction_here() {
    let server = bank();
    let a = definition("a", &server);
    runtime().block_on(async {
        let services = frontends(1).await.remove(0);
        define(&services, &[&a]).await;
        let one = async |first: u32, second: u32| {
            let mut txn = begin(&services, TxnOptions::default()).await;
            write(&mut txn, &a, &format!("UPDATE account SET balance = balance + 1 WHERE id = {first}"))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let sql = format!("UPDATE account SET balance = balance + 1 WHERE id = {second}");
            let written = write(&mut txn, &a, &sql).await;
            (written.map(drop), txn.commit(None).await)
        };
        let (left, right) = tokio::join!(one(1, 2), one(2, 1));
        let (won, lost) = if left.0.is_ok() { (left, right) } else { (right, left) };
        assert!(won.0.is_ok() && won.1.is_ok(), "{won:?}");
        assert_eq!(lost.0.unwrap_err().code, ErrorCode::Deadlock);
        let failure = lost.1.unwrap_err();
        assert_eq!((failure.error.code, failure.is_retryable), (ErrorCode::Deadlock, true));
        assert_eq!(server.query("SELECT SUM(balance) FROM bank.account"), "1002\n");
    });
}

#[test]
fn a_statement_that_is_broken_off_leaves_nothing_there() {
    let server = bank();
    let a = definition("a", &server);
    runtime().block_on(async {
        let services = frontends(1).await.remove(0);
        define(&services, &[&a]).await;
        let mut txn = begin(&services, TxnOptions::default()).await;
        write(&mut txn, &a, "UPDATE account SET balance = 1 WHERE id = 1").await.unwrap();
        let sleeping = write(&mut txn, &a, "UPDATE account SET balance = SLEEP(1000) WHERE id = 2");
        assert!(tokio::time::timeout(Duration::from_millis(300), sleeping).await.is_err());
        let failure = txn.commit(None).await.unwrap_err();
        assert_eq!(failure.error.code, ErrorCode::ClusterUnavailable, "{}", failure.error);
        drop(txn);
        assize_tests::wait_for("the server to end the statement", || {
            let running = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'assize' AND INFO LIKE '%SLEEP%'";
            server.query(running) == "0\n"
        });
        assert_eq!(server.query("SELECT SUM(balance) FROM bank.account; UPDATE bank.account SET balance = 100"), "1000\n");
    });
}

// -- deaths -----------------------------------------------------------------------------------------------------

const LEDGER: TableId = TableId(7000);

/// A row of the cluster for each transfer.
fn ledger_key(id: u64) -> (Slot, assize_model::Key) {
    let mut key = assize_catalog::key::index_prefix(LEDGER, IndexId(0));
    key.extend_from_slice(&id.to_be_bytes());
    (Slot::of(&id.to_be_bytes()), assize_model::Key::new(key))
}

/// Takes 1 from an account on `a`, gives it to one on `b`, and notes that in the cluster.
async fn transfer(
    services: Arc<Services>,
    servers: [Arc<Server>; 2],
    id: u64,
) -> Result<Committed, CommitFailure> {
    let options = TxnOptions { lock_wait: Duration::from_secs(2), ..TxnOptions::default() };
    let mut txn = Txn::begin(services, options).await?;
    txn.begin_statement(true).await?;
    let account = id % 10 + 1;
    write(&mut txn, &servers[0], &format!("UPDATE account SET balance = balance - 1 WHERE id = {account}"))
        .await?;
    write(&mut txn, &servers[1], &format!("UPDATE account SET balance = balance + 1 WHERE id = {account}"))
        .await?;
    let (slot, key) = ledger_key(id);
    txn.write(LEDGER, Mutation::put(key, slot, bytes::Bytes::from_static(b"moved")))?;
    txn.commit(None).await
}

async fn count(services: &Arc<Services>, table: TableId, range: assize_model::KeyRange) -> usize {
    let mut txn = begin(services, TxnOptions::default()).await;
    let (mut count, mut rest) = (0, Some(range));
    while let Some(range) = rest {
        let request = ScanRequest {
            table,
            range,
            shards: ScanShards::All,
            direction: Direction::Forward,
            limit: 1000,
            intent: ReadIntent::Plain,
        };
        let page = txn.scan(request).await.unwrap();
        count += page.rows.len();
        rest = page.rest;
    }
    count
}

/// Sessions are broken off and servers are killed at random, both with prepared branches; then everything is as it was told, and nothing is left.
#[test]
fn money_is_neither_made_nor_lost_whoever_dies() {
    let (mut one, mut two) = (bank(), bank());
    for server in [&one, &two] {
        server.query("UPDATE bank.account SET balance = 100000");
    }
    let servers = [definition("a", &one), definition("b", &two)];
    let runtime = runtime();
    let all = runtime.block_on(frontends(2));
    runtime.block_on(define(&all[0], &[&servers[0], &servers[1]]));
    let finder = {
        let services = all[1].clone();
        runtime.spawn(async move {
            let mut resolved = 0;
            loop {
                if let Ok(tended) = services.tend_foreign_branches().await {
                    resolved += tended.resolved.len();
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = resolved;
            }
        })
    };
    let begun = Instant::now();
    let (mut next, mut acknowledged, mut refused, mut broken_off, mut kills) =
        (0u64, Vec::new(), Vec::new(), 0, 0);
    while begun.elapsed() < Duration::from_secs(20) {
        runtime.block_on(async {
            let sessions: Vec<_> = (0..4)
                .map(|n| (next + n, tokio::spawn(transfer(all[0].clone(), servers.clone(), next + n))))
                .collect();
            for (id, session) in sessions {
                // Some are broken off at a random moment.
                if id % 3 == 0 {
                    tokio::time::sleep(Duration::from_micros(id * 7919 % 12_000)).await;
                    session.abort();
                }
                match session.await {
                    Ok(Ok(_)) => acknowledged.push(id),
                    Ok(Err(failure)) if failure.error.code == ErrorCode::OutcomeUnknown => {}
                    Ok(Err(_)) => refused.push(id),
                    Err(_) => broken_off += 1,
                }
            }
        });
        next += 4;
        if begun.elapsed().as_secs() / 5 > kills {
            kills += 1;
            let victim = if kills % 2 == 0 { &mut one } else { &mut two };
            let (services, servers) = (all[0].clone(), servers.clone());
            let under_way = next;
            next += 1;
            let session = runtime.spawn(transfer(services, servers, under_way));
            std::thread::sleep(Duration::from_millis(kills * 3));
            victim.kill_and_start_again();
            match runtime.block_on(session).unwrap() {
                Ok(_) => acknowledged.push(under_way),
                Err(_) => refused.push(under_way),
            }
        }
    }
    let is_settled = || {
        let records =
            runtime.block_on(count(&all[0], assize_catalog::FOREIGN_BRANCHES, ForeignBranch::range()));
        records == 0 && one.query("XA RECOVER").is_empty() && two.query("XA RECOVER").is_empty()
    };
    let waited = Instant::now();
    while !is_settled() {
        assert!(waited.elapsed() < Duration::from_secs(60), "branches or records are left");
        // What sessions have done and could not tell their frontend's records is removed by it.
        let _ = runtime.block_on(all[0].tend_foreign_branches());
        std::thread::sleep(Duration::from_millis(500));
    }
    finder.abort();
    let sum = |server: &MariaDb| -> i64 {
        server.query("SELECT SUM(balance) FROM bank.account").trim().parse().unwrap()
    };
    let range = assize_catalog::key::index_range(LEDGER, IndexId(0));
    let moved = runtime.block_on(count(&all[0], LEDGER, range)) as i64;
    assert_eq!((sum(&one), sum(&two)), (1_000_000 - moved, 1_000_000 + moved));
    let is_noted = |id: u64| {
        runtime.block_on(async {
            let mut txn = begin(&all[0], TxnOptions::default()).await;
            let (slot, key) = ledger_key(id);
            txn.get(LEDGER, slot, &key, ReadIntent::Plain).await.unwrap().is_some()
        })
    };
    assert!(acknowledged.iter().all(|id| is_noted(*id)), "what was acknowledged is there");
    assert!(!refused.iter().any(|id| is_noted(*id)), "what was refused is not");
    assert!(
        acknowledged.len() > 20 && broken_off > 5 && kills >= 3,
        "{} {broken_off} {kills}",
        acknowledged.len()
    );
}
