//! A whole cluster in this process, in memory, but for sockets: for tests and benches of what lies beneath them.

use assize_consensus::{Adjudicator, Options};
use assize_model::{NodeId, Placement, SqlError};
use assize_ports::{
    AdjudicatorClient, BoxFuture, Clock, Described, Executed, NoServer, QueryEngine, ResultSink,
    StatementContext,
};
use assize_session::{Limits, Services};
use assize_shards::Directory;
use assize_shards::embedded::{self, Around, ShardHost};
use assize_sql::Statement;
use assize_values::Value;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SHARDS: u32 = 4;

struct RealClock(Instant);

impl Clock for RealClock {
    fn now_micros(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
    }
    fn monotonic_micros(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_micros(micros)))
    }
    fn random(&self) -> u64 {
        self.monotonic_micros().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// For tests of transactions, which need no statements.
pub struct NoQueries;

impl QueryEngine for NoQueries {
    fn describe<'a>(
        &'a self,
        _: &'a Statement,
        _: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>> {
        Box::pin(async { Err(SqlError::not_supported("statements")) })
    }
    fn execute<'a>(
        &'a self,
        _: &'a Statement,
        _: u64,
        _: &'a [Value],
        _: &'a mut dyn StatementContext,
        _: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(async { Err(SqlError::not_supported("statements")) })
    }
}

/// What a frontend's sessions share, over a fresh cluster of four shards.
///
/// # Panics
/// If the cluster cannot be made.
pub async fn services(limits: Limits, query: Arc<dyn QueryEngine>) -> Arc<Services> {
    frontends(1, limits, query).await.pop().expect("there is one")
}

/// Likewise, for several frontends of one cluster.
///
/// # Panics
/// If the cluster cannot be made.
pub async fn frontends(count: u64, limits: Limits, query: Arc<dyn QueryEngine>) -> Vec<Arc<Services>> {
    let placement = Placement::even(SHARDS, NodeId(1));
    // Nobody reports for these sessions.
    let options = Options { lease: Duration::MAX, ..Options::small(NodeId(1), placement.clone()) };
    let adjudicator = Adjudicator::open(None, options, None).await.unwrap();
    let around = Around {
        node: NodeId(1),
        source: Arc::new(adjudicator.clone()),
        administration: Arc::new(adjudicator.clone()),
        peers: None,
    };
    let placement = Arc::new(placement);
    let host = ShardHost::open(None, placement.clone(), around, embedded::Options::default()).await.unwrap();
    assert!(host.settle(placement.clone()).await.is_empty());
    let shards = Directory::alone(host, &placement);
    let adjudicator: Arc<dyn AdjudicatorClient> = Arc::new(adjudicator);
    let mut services = Vec::new();
    for frontend in 1..=count {
        let identity = adjudicator.register(&name(frontend), 1).await.unwrap();
        let mut frontend = Services::new(
            adjudicator.clone(),
            shards.clone(),
            query.clone(),
            Arc::new(RealClock(Instant::now())),
            Arc::new(NoServer),
            identity,
            placement.clone(),
            limits,
        );
        frontend.foreign = Arc::new(assize_mysql::Servers::new());
        services.push(Arc::new(frontend));
    }
    services
}

/// By which name a frontend registers.
pub fn name(frontend: u64) -> String {
    format!("test-{frontend}")
}
