//! A session's ports, all of which put questions on its frontend's desk.

use crate::desk::{Answer, Ask, Desk, Said};
use crate::net::{Asked, Shown};
use assize_adjudicator::EncodedFootprint;
use assize_model::*;
use assize_mvcc::Prepare;
use assize_ports::*;
use assize_sql::Statement;
use assize_values::Value;
use bytes::Bytes;
use std::sync::Arc;

/// Every port but the shards'.
pub struct Ports(pub Arc<Desk>);

/// The way to a shard.
struct Way {
    desk: Arc<Desk>,
    shard: ShardId,
}

/// Waits for one kind of answer. Another one would be a fault of the hands.
macro_rules! answered {
    ($desk:expr, $ask:expr, $answer:pat => $value:expr, $failure:path) => {{
        let call = $desk.ask($ask);
        Box::pin(async move {
            match call.await {
                $answer => Ok($value),
                $failure(error) => Err(error),
                other => unreachable!("the hands answered {other:?}"),
            }
        })
    }};
}

fn unknown<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, AdjudicatorError>> {
    let error = AdjudicatorError::Unreachable("no client here asks for that".into());
    Box::pin(std::future::ready(Err(error)))
}

impl AdjudicatorClient for Ports {
    fn register<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        unknown()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        answered!(self.0, Ask::Begin, Answer::Begun(begun) => begun, Answer::Failed)
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        let encoded = EncodedFootprint::new(&footprint).expect("a footprint of ours makes sense");
        answered!(self.0, Ask::Commit(encoded), Answer::Decided(decision) => decision, Answer::Failed)
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        let error = AdjudicatorError::Unreachable("sessions commit one".into());
        Box::pin(std::future::ready(FrameDecisions::all(footprints.count, Err(error))))
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        answered!(self.0, Ask::Outcome(txn, resolve), Answer::Outcome(outcome) => outcome, Answer::Failed)
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        self.0.say(Said::Acknowledge(txns));
    }

    fn report_oldest_snapshot(&self, _: FrontendId, _: FrontendEpoch, _: Option<Timestamp>) {}

    fn frontend_epoch(&self, _: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        unknown()
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        answered!(self.0, Ask::Placement, Answer::Placement(placement) => placement, Answer::Failed)
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        unknown()
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        // Whoever can confirm that it leads has every version that was ever handed out.
        let _ = at_least;
        answered!(self.0, Ask::Catalog(since), Answer::Catalog(objects) => objects, Answer::Failed)
    }

    fn allocate_ids(
        &self,
        _: TableId,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        unknown()
    }

    fn next_id(&self, _: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        unknown()
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        answered!(self.0, Ask::TrackRanges(table), Answer::Tracked => (), Answer::Failed)
    }

    fn reserve<'a>(
        &'a self,
        _: TxnId,
        keys: &'a [KeyHash],
        _: LockStrength,
        _: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        answered!(self.0, Ask::Reserve(keys.to_vec()), Answer::Reserved(reserved) => reserved, Answer::Failed)
    }

    // Nothing is held for anybody.
    fn release(&self, _: TxnId) {}
}

impl ShardDirectory for Ports {
    fn shard(&self, id: ShardId) -> Option<Arc<dyn Shard>> {
        let is_known = self.0.ways().shards.contains_key(&id);
        is_known.then(|| Arc::new(Way { desk: self.0.clone(), shard: id }) as Arc<dyn Shard>)
    }

    fn learn(&self, placement: &Placement) {
        self.0.learn(placement);
    }
}

impl Clock for Ports {
    fn now_micros(&self) -> i64 {
        self.0.now_micros() as i64
    }

    fn monotonic_micros(&self) -> u64 {
        self.0.now_micros()
    }

    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        let call = self.0.ask(Ask::Sleep(micros));
        Box::pin(async move { drop(call.await) })
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

impl Shard for Way {
    fn id(&self) -> ShardId {
        self.shard
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        let ask = Ask::Read(self.shard, Asked::Keys(vec![key.clone()]), view);
        answered!(
            self.desk, ask, Answer::Shown(Shown::Values(values)) => values.into_iter().next().flatten(),
            Answer::Refused
        )
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        let ask = Ask::Read(self.shard, Asked::Keys(keys.to_vec()), view);
        answered!(self.desk, ask, Answer::Shown(Shown::Values(values)) => values, Answer::Refused)
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        let ask = Ask::Read(self.shard, Asked::Range(range.clone(), direction, limit), view);
        answered!(self.desk, ask, Answer::Shown(Shown::Page(page)) => page, Answer::Refused)
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        let ask = Ask::Newest(self.shard, Asked::Keys(keys.to_vec()), at_least);
        answered!(self.desk, ask, Answer::Newest(newest) => newest, Answer::Refused)
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        let ask = Ask::Newest(self.shard, Asked::Range(range.clone(), Direction::Forward, 1), at_least);
        answered!(
            self.desk, ask, Answer::Newest((as_of, newest)) => (as_of, newest.into_iter().next().flatten()),
            Answer::Refused
        )
    }

    fn prepare(
        &self,
        replica: Option<ReplicaId>,
        txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        let ways = self.desk.ways();
        let known = ways.shards.get(&self.shard);
        let Some(replica) = replica.filter(|r| known.is_some_and(|part| part.replicas.contains_key(r)))
        else {
            let why = "the placement known here does not have the replica".to_owned();
            return Box::pin(std::future::ready(Err(ShardError::Unreachable(self.shard, why))));
        };
        let prepare = Prepare { txn, epoch, mutations: (*mutations).clone() };
        let ask = Ask::Prepare(self.shard, replica, prepare);
        answered!(self.desk, ask, Answer::Vote(vote) => vote, Answer::Refused)
    }

    fn forget(&self, txn: TxnId) {
        self.desk.say(Said::Forget(self.shard, txn));
    }
}

/// Clients here speak no SQL.
impl QueryEngine for Ports {
    fn describe<'a>(
        &'a self,
        _: &'a Statement,
        _: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>> {
        Box::pin(std::future::ready(Err(no_sql())))
    }

    fn execute<'a>(
        &'a self,
        _: &'a Statement,
        _: u64,
        _: &'a [Value],
        _: &'a mut dyn StatementContext,
        _: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(std::future::ready(Err(no_sql())))
    }
}

fn no_sql() -> SqlError {
    SqlError::internal("clients of the simulator speak no SQL")
}
