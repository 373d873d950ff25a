//! Counts what becomes of transactions, where every one of them passes.

use crate::metrics;
use ::metrics::{Counter, counter};
use assize_model::{
    CatalogVersion, Decision, Footprint, FrontendEpoch, FrontendId, KeyHash, Outcome, Placement, TableId,
    Timestamp, TxnId, Winner,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, BoxFuture, CatalogObjects, Footprints, FrameDecisions,
    IdRange, LockStrength, LockWait, NodeRecord, Obstacle, Registered, Reserved, TxnRun,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An adjudicator whose decisions are counted.
pub struct Metered {
    inner: Arc<dyn AdjudicatorClient>,
    committed: Counter,
    aborted: Counter,
    unknown: Counter,
    tally: Arc<Tally>,
}

/// What became of transactions since the start, for operators.
#[derive(Default)]
pub struct Tally {
    /// Committed.
    pub committed: AtomicU64,
    /// Aborted by the system.
    pub aborted: AtomicU64,
}

impl Metered {
    /// Counts what this one decides.
    pub fn new(inner: Arc<dyn AdjudicatorClient>) -> Self {
        let of = |outcome: &'static str| counter!(metrics::FRONTEND_TRANSACTIONS_TOTAL, "outcome" => outcome);
        Metered {
            inner,
            committed: of("committed"),
            aborted: of("aborted"),
            unknown: of("unknown"),
            tally: Arc::default(),
        }
    }
}

impl Metered {
    /// What became of transactions so far.
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }
}

impl AdjudicatorClient for Metered {
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        self.inner.register(name, nonce)
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        self.inner.begin()
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(async move {
            // The caller is in its transaction's span, from BEGIN to here.
            let span = tracing::Span::current();
            span.record("txn", tracing::field::display(footprint.txn));
            let decided = self.inner.commit(footprint).await;
            match &decided {
                Ok(Decision::Commit { .. }) => drop(span.record("outcome", "committed")),
                Ok(Decision::Abort { reason }) => drop(span.record("outcome", tracing::field::debug(reason))),
                Err(error) => drop(span.record("outcome", tracing::field::display(error))),
            }
            match &decided {
                Ok(Decision::Commit { .. }) => {
                    self.committed.increment(1);
                    self.tally.committed.fetch_add(1, Ordering::Relaxed);
                }
                // The same writes come again under another id; that one is counted.
                Ok(Decision::Abort { reason }) if reason.is_recommittable() => {}
                Ok(Decision::Abort { .. }) => {
                    self.aborted.increment(1);
                    self.tally.aborted.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => self.unknown.increment(1),
            }
            decided
        })
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        self.inner.commit_many(footprints)
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        self.inner.nodes()
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        self.inner.outcome(txn, resolve)
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        self.inner.acknowledge(txns);
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        self.inner.report_oldest_snapshot(frontend, epoch, oldest);
    }

    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        self.inner.frontend_epoch(frontend)
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        self.inner.placement()
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        self.inner.catalog(since, at_least)
    }

    fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        self.inner.allocate_ids(table, count, at_least, increment, offset)
    }

    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        self.inner.next_id(table)
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        self.inner.track_ranges(table)
    }

    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        self.inner.reserve(owner, keys, strength, wait)
    }

    fn release(&self, owner: TxnId) {
        self.inner.release(owner);
    }

    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        self.inner.who(obstacle)
    }
}
