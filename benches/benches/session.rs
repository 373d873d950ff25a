//! One statement through a session, in one process: everything but the socket.
//!
//! `cargo bench --package assize-benches --bench session`
//!
//! The cluster is a real adjudicator and four real shards in memory. What a client's prepared point select costs beyond
//! this is the protocol and the kernel; `point_select` measures that whole.
#![allow(clippy::disallowed_methods)] // Measures real time.

use assize_model::SqlError;
use assize_ports::{BoxFuture, ResultColumn, ResultSink};
use assize_session::{GlobalVariables, KillSwitch, Limits, Login, Session, Shared, Txn, TxnOptions};
use assize_tests::in_process;
use assize_values::Value;
use criterion::{Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use tokio::runtime::Runtime;

const ROWS: i64 = 1000;

/// Counts rows and forgets them.
#[derive(Default)]
struct Count(u64);

impl ResultSink for Count {
    fn columns(&mut self, _: &[ResultColumn]) -> Result<(), SqlError> {
        Ok(())
    }
    fn row(&mut self, _: &[Value]) -> Result<(), SqlError> {
        self.0 += 1;
        Ok(())
    }
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }
}

async fn session() -> Session {
    let services = in_process::services(Limits::default(), Arc::new(assize_query::Engine::new())).await;
    let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
    txn.commit(Some(assize_catalog::bootstrap())).await.unwrap();
    let begun = Txn::begin(services.clone(), TxnOptions::default()).await.unwrap();
    let user = begun.catalog().users.values().next().expect("a new cluster has a user").clone();
    drop(begun);
    let login = Login {
        connection: 1,
        user,
        client_name: "root".into(),
        client_host: "localhost".into(),
        database: None,
        collation: None,
        kill: Arc::new(KillSwitch::default()),
    };
    let shared = Arc::new(Shared::new(Arc::new(GlobalVariables::new([]))));
    let mut session = Session::new(services, shared, login);
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, {id}, 'a note')")).collect();
    for text in [
        "CREATE DATABASE b",
        "CREATE TABLE b.t (id INT PRIMARY KEY, v INT NOT NULL, note VARCHAR(100) NOT NULL)",
        &format!("INSERT INTO b.t VALUES {}", rows.join(", ")),
    ] {
        session.run_text(text, &mut Count::default()).await.unwrap();
    }
    session
}

fn statements(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut session = runtime.block_on(session());
    let mut group = criterion.benchmark_group("session");
    let mut next = 0;
    let mut draw = move || {
        next = (next * 1_664_525 + 1_013_904_223) % ROWS;
        next
    };

    let select = runtime.block_on(session.prepare(b"SELECT v, note FROM b.t WHERE id = ?")).unwrap();
    group.bench_function("prepared point select", |b| {
        b.iter(|| {
            let mut sink = Count::default();
            runtime.block_on(session.execute(select.id, &[Value::Int(draw())], &mut sink)).unwrap();
            assert_eq!(sink.0, 1);
        });
    });
    group.bench_function("text point select", |b| {
        b.iter(|| {
            let mut sink = Count::default();
            let text = format!("SELECT v, note FROM b.t WHERE id = {}", draw());
            runtime.block_on(session.run_text(&text, &mut sink)).unwrap();
            assert_eq!(sink.0, 1);
        });
    });
    let update = runtime.block_on(session.prepare(b"UPDATE b.t SET v = v + 1 WHERE id = ?")).unwrap();
    group.bench_function("prepared autocommit update, log in memory", |b| {
        b.iter(|| {
            runtime
                .block_on(session.execute(update.id, &[Value::Int(draw())], &mut Count::default()))
                .unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
