//! Commits between two nodes over loopback, one transaction to a message: what the transport and the port cost.
//!
//! `cargo bench --package assize-benches --bench rpc`
//!
//! Both nodes live in this process. The adjudicator decides nothing: it answers every footprint of a frame with the same
//! commit. So the figure is the price of encoding, framing, sockets and TLS, for both ends together.
#![allow(clippy::disallowed_methods)] // Measures real time.

use assize_adjudicator::EncodedFootprint;
use assize_model::*;
use assize_ports::*;
use assize_rpc::cert::{self, Authority};
use assize_rpc::{
    AdjudicatorService, Endpoint, Network, RemoteAdjudicator, Security, Server, Services, TlsFiles,
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Transactions of one measured round.
const ROUND: u64 = 1 << 17;
/// Tasks that run them.
const TASKS: u64 = 8;

/// Says yes to everything.
struct Null;

fn never<T: Send + 'static>() -> BoxFuture<'static, Result<T, AdjudicatorError>> {
    Box::pin(std::future::ready(Err(AdjudicatorError::ReplyLost)))
}

impl AdjudicatorClient for Null {
    fn register<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        never()
    }
    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        let begun = Begun {
            snapshot_ts: Timestamp(1),
            catalog_version: CatalogVersion(1),
            placement_epoch: Epoch(1),
        };
        Box::pin(std::future::ready(Ok(begun)))
    }
    fn commit(&self, _: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        never()
    }
    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        let mut decisions = FrameDecisions::default();
        decisions.push_run(DecisionRun::Commits { count: footprints.count, first: Timestamp(2) });
        Box::pin(std::future::ready(decisions))
    }
    fn outcome(&self, _: TxnId, _: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        never()
    }
    fn acknowledge(&self, _: Vec<TxnRun>) {}
    fn report_oldest_snapshot(&self, _: FrontendId, _: FrontendEpoch, _: Option<Timestamp>) {}
    fn frontend_epoch(&self, _: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        never()
    }
    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        never()
    }
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        never()
    }
    fn catalog(
        &self,
        _: CatalogVersion,
        _: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        never()
    }
    fn allocate_ids(
        &self,
        _: TableId,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        never()
    }
    fn next_id(&self, _: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        never()
    }
    fn track_ranges(&self, _: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        never()
    }
    fn reserve<'a>(
        &'a self,
        _: TxnId,
        _: &'a [KeyHash],
        _: LockStrength,
        _: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        never()
    }
    fn release(&self, _: TxnId) {}
}

/// Two reads and two writes, as the goals of the adjudicator count a transaction.
fn footprint() -> Bytes {
    let begun = Timestamp::from_millis(1_800_000_000_000);
    let txn = TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
    let mutation = |n: u16| Mutation::put(Key::new(n.to_be_bytes().to_vec()), Slot(n), vec![7; 16]);
    let written = |n: u64| WrittenKey { hash: KeyHash(n), ordered: None };
    let checked = vec![KeyHash(1), KeyHash(2), KeyHash(3), KeyHash(4)];
    let footprint = Footprint {
        txn,
        groups: vec![AccessGroup { snapshot_ts: begun, checked, ranges: Vec::new() }],
        schemas: vec![(TableId(1), SchemaVersion(1))],
        auto_increments: Vec::new(),
        body: CommitBody::Inline {
            mutations: vec![mutation(1), mutation(2)],
            written: vec![written(3), written(4)],
        },
        catalog_change: None,
    };
    EncodedFootprint::new(&footprint).expect("a footprint that makes sense").bytes().clone()
}

async fn node(id: u64, certificates: Option<&Path>) -> (Arc<Network>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let security = match certificates {
        None => Security::plain(address, false).unwrap(),
        Some(directory) => {
            let files = TlsFiles {
                ca: directory.join(cert::CA_CERTIFICATE),
                certificate: directory.join(format!("node-{id}.pem")),
                key: directory.join(format!("node-{id}.key")),
            };
            Security::tls(NodeId(id), files).unwrap()
        }
    };
    let endpoint = Endpoint::new(NodeId(id), "bench", 1, security);
    let services = Services::new();
    services.offer(Service::Adjudicator, AdjudicatorService::new(Arc::new(Null)));
    let server = Server::new(endpoint.clone(), listener, services).unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    (Network::new(endpoint), address.to_string())
}

async fn remote(certificates: Option<&Path>) -> Arc<RemoteAdjudicator> {
    let (_, address) = node(2, certificates).await;
    let (network, _) = node(1, certificates).await;
    network.learn(NodeId(2), Some(address));
    Arc::new(RemoteAdjudicator::new(network, NodeId(2)))
}

/// Sessions that each send their next message, of `frame` transactions, when the last one is decided.
async fn round(remote: &Arc<RemoteAdjudicator>, footprint: &Bytes, sessions: u64, frame: u64) {
    let messages = ROUND / (sessions * frame);
    let footprints: Footprints = vec![footprint.clone(); frame as usize].iter().collect();
    let session = |remote: Arc<RemoteAdjudicator>, footprints: Footprints| async move {
        for _ in 0..messages {
            let decisions = remote.commit_many(footprints.clone()).await;
            assert_eq!(u64::from(decisions.commits()), frame);
        }
    };
    // A task for many sessions, as a frontend's executor would run them: the port is measured, not the scheduler.
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let sessions: Vec<_> =
            (0..sessions / TASKS).map(|_| session(remote.clone(), footprints.clone())).collect();
        tasks.spawn(sessions.into_iter().collect::<FuturesUnordered<_>>().collect::<Vec<()>>());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no session panics");
    }
}

fn commits(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    Authority::create(directory.path(), 2).unwrap();
    for id in [1, 2] {
        cert::issue_node(directory.path(), NodeId(id), &[], 2).unwrap();
    }
    let footprint = footprint();
    let mut group = c.benchmark_group("rpc");
    group.sample_size(10);
    for (way, certificates) in [("plain", None), ("tls", Some(directory.path()))] {
        let remote = runtime.block_on(remote(certificates));
        for (sessions, frame) in [(1024, 1), (64, 64)] {
            group.throughput(Throughput::Elements(ROUND / (sessions * frame) * sessions * frame));
            group.bench_function(format!("commits in messages of {frame}, {way}"), |b| {
                b.iter(|| runtime.block_on(round(&remote, &footprint, sessions, frame)));
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    let remote = runtime.block_on(self::remote(Some(directory.path())));
    group.bench_function("one call and its answer, tls", |b| {
        b.iter(|| runtime.block_on(remote.begin()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
