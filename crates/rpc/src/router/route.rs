//! [`AdjudicatorClient`] that goes to whichever node leads.

use super::batch::Batch;
use super::begins::Begins;
use super::gather::{Gather, Gathered};
use super::leaders::{Leader, Leaders};
use super::retry::{Held, Next};
use crate::adjudicator::NewestSnapshot;
use assize_adjudicator::EncodedFootprint;
use assize_model::{
    CatalogVersion, Decision, Footprint, FrontendEpoch, FrontendId, KeyHash, Outcome, Placement, TableId,
    Timestamp, TxnId, Winner,
};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Begun, BoxFuture, CatalogObjects, Decided, Footprints,
    FrameDecisions, IdRange, LockStrength, LockWait, NodeRecord, Obstacle, Registered, Reserved, TxnRun,
};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// Acknowledgements kept while nobody leads; beyond that they are lost, which keeps outcomes longer than needed, no
/// more.
const ACKNOWLEDGEMENTS_MAX: usize = 1 << 16;
/// Owners to be released that are kept while nobody leads; beyond that they hold what they have reserved until the lead or the
/// life of the frontend ends.
const RELEASES_MAX: usize = 1 << 16;
/// An explanation is waited for so long.
const WHO_MAX: Duration = Duration::from_millis(500);

/// How long a router is patient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouterOptions {
    /// A request is held for so long while no leader answers it.
    pub hold: Duration,
    /// A leader that has not answered for so long is doubted, and the request sent again: it may lead a minority without
    /// knowing.
    pub attempt_max: Duration,
}

impl Default for RouterOptions {
    fn default() -> Self {
        RouterOptions { hold: Duration::from_secs(10), attempt_max: Duration::from_secs(2) }
    }
}

/// The adjudicator of a frontend, wherever it leads.
pub struct Router {
    inner: Arc<Inner>,
    runtime: Handle,
}

struct Inner {
    leaders: Arc<Leaders>,
    options: RouterOptions,
    begins: Begins,
    gather: Gather,
    newest: NewestSnapshot,
    told: Mutex<Told>,
}

/// What nobody waits for: kept until there is a leader to tell it to.
#[derive(Default)]
struct Told {
    acknowledged: Vec<TxnRun>,
    /// Owners to be released. A leader that was doubted may be the next one, with all its reservations.
    released: Vec<TxnId>,
    /// The last report, told again to a new leader.
    oldest: Option<(FrontendId, FrontendEpoch, Timestamp)>,
    /// The belief under which the last report was told.
    oldest_told: Option<u64>,
}

impl Router {
    /// A router among these adjudicators.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn new(leaders: Arc<Leaders>, options: RouterOptions) -> Router {
        let inner = Inner {
            leaders,
            options,
            begins: Begins::default(),
            gather: Gather::default(),
            newest: NewestSnapshot::default(),
            told: Mutex::default(),
        };
        Router { inner: Arc::new(inner), runtime: Handle::current() }
    }

    /// Commits one encoded footprint together with whoever commits in the same moment.
    async fn commit_gathered(&self, footprint: Bytes) -> Decided {
        let (place, drives) = self.inner.gather.join(footprint);
        if drives {
            // A task of its own: the session that happened to be first may leave.
            self.runtime.spawn(self.inner.clone().drive_commits());
        }
        place.decided().await
    }

    /// Who leads.
    pub fn leaders(&self) -> &Arc<Leaders> {
        &self.inner.leaders
    }
}

impl Inner {
    /// Asks the leader, whoever it is by then, until there is an answer.
    async fn ask<T>(
        &self,
        patience: Duration,
        ask: impl for<'c> Fn(&'c dyn AdjudicatorClient) -> BoxFuture<'c, Result<T, AdjudicatorError>>,
    ) -> Result<T, AdjudicatorError> {
        let RouterOptions { hold, attempt_max } = self.options;
        let mut held = Held::new(&self.leaders, hold + patience, attempt_max + patience);
        loop {
            let leader = held.leader().await?;
            self.tell(&leader);
            let attempt = timeout_at(held.attempt_until(), ask(&*leader.client)).await;
            let error = match attempt.unwrap_or(Err(AdjudicatorError::ReplyLost)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Next::Give(error) = held.failed(&leader, error).await {
                return Err(error);
            }
        }
    }

    /// Asks without further patience.
    async fn ask_now<T>(
        &self,
        ask: impl for<'c> Fn(&'c dyn AdjudicatorClient) -> BoxFuture<'c, Result<T, AdjudicatorError>>,
    ) -> Result<T, AdjudicatorError> {
        self.ask(Duration::ZERO, ask).await
    }

    /// A snapshot of this node's own adjudicator, if it leads.
    async fn begin_here(&self) -> Option<Begun> {
        let leader = self.leaders.believed().filter(|leader| self.leaders.is_local(leader.node))?;
        let attempt = tokio::time::timeout(self.options.attempt_max, leader.client.begin()).await;
        let begun = attempt.ok()?.ok()?;
        self.newest.observe(&begun);
        Some(begun)
    }

    async fn begin_for_many(&self) -> Result<Begun, AdjudicatorError> {
        let begun = self.ask_now(|client| client.begin()).await;
        if let Ok(begun) = &begun {
            self.newest.observe(begun);
        }
        begun
    }

    /// Makes requests until nobody waits.
    async fn drive_begins(self: Arc<Inner>) {
        while let Some(owed) = self.begins.next() {
            owed.give(self.begin_for_many().await);
        }
    }

    /// Sends what has gathered until nothing waits.
    async fn drive_commits(self: Arc<Inner>) {
        loop {
            // Whoever else is ready to commit goes first: one frame then carries all of it.
            tokio::task::yield_now().await;
            let Some(Gathered { acknowledged, frame }) = self.gather.next() else { return };
            if !acknowledged.is_empty() {
                self.acknowledge(acknowledged);
            }
            if let Some(frame) = frame {
                let decisions = self.commit_all(frame.footprints.clone(), frame.since).await;
                frame.tell(decisions);
            }
        }
    }

    /// Tells the leader, or keeps it until there is one.
    fn acknowledge(&self, txns: Vec<TxnRun>) {
        match self.leaders.believed() {
            Some(leader) => leader.client.acknowledge(txns),
            None => {
                let mut told = self.told.lock().expect("no panic happens under this lock");
                let room = ACKNOWLEDGEMENTS_MAX.saturating_sub(told.acknowledged.len());
                txns.iter().take(room).for_each(|run| TxnRun::push_run(&mut told.acknowledged, *run));
            }
        }
    }

    /// Commits encoded footprints until each has its answer.
    async fn commit_all(&self, footprints: Footprints, since: Instant) -> FrameDecisions {
        let RouterOptions { hold, attempt_max } = self.options;
        let mut held = Held::since(since, &self.leaders, hold, attempt_max);
        let mut batch = Batch::new(footprints);
        loop {
            let leader = match held.leader().await {
                Ok(leader) => leader,
                Err(error) => return batch.give_up(error),
            };
            self.tell(&leader);
            let attempt = leader.client.commit_many(batch.open());
            let answers = timeout_at(held.attempt_until(), attempt).await;
            let error = match batch.learn(answers.ok()) {
                Ok(decisions) => return decisions,
                Err(error) => error,
            };
            if let Next::Give(error) = held.failed(&leader, error).await {
                return batch.give_up(error);
            }
        }
    }

    /// Tells a leader what nobody waits for: acknowledgements, releases, and to a new one the oldest snapshot.
    fn tell(&self, leader: &Leader) {
        let mut told = self.told.lock().expect("no panic happens under this lock");
        if let Some((frontend, epoch, oldest)) = told.oldest
            && told.oldest_told != Some(leader.term)
        {
            told.oldest_told = Some(leader.term);
            leader.client.report_oldest_snapshot(frontend, epoch, Some(oldest));
        }
        if !told.acknowledged.is_empty() {
            leader.client.acknowledge(std::mem::take(&mut told.acknowledged));
        }
        told.released.drain(..).for_each(|owner| leader.client.release(owner));
    }
}

impl AdjudicatorClient for Router {
    fn register<'a>(
        &'a self,
        name: &'a str,
        nonce: u64,
    ) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        Box::pin(async move {
            let name: Arc<str> = name.into();
            self.inner
                .ask_now(move |client| {
                    let name = name.clone();
                    Box::pin(async move { client.register(&name, nonce).await })
                })
                .await
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        Box::pin(async move {
            // This node's own adjudicator needs no gathering on the way to it.
            if let Some(begun) = self.inner.begin_here().await {
                return Ok(begun);
            }
            let (answer, mine) = self.inner.begins.join();
            if mine {
                // A task of its own: the session that happened to be first may leave.
                self.runtime.spawn(self.inner.clone().drive_begins());
            }
            let shutting_down = || Err(AdjudicatorError::Unreachable("it is shutting down".into()));
            answer.wait().await.map_or_else(shutting_down, Clone::clone)
        })
    }

    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        Box::pin(async move {
            // It never will be decided.
            let footprint = EncodedFootprint::new(&footprint).map_err(|error| {
                AdjudicatorError::TooLarge(format!("the footprint cannot be encoded: {error}"))
            })?;
            self.commit_gathered(footprint.bytes().clone()).await
        })
    }

    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        if footprints.count == 1 {
            // What thousands of sessions wait in is small.
            let decided = self.commit_gathered(footprints.bytes);
            return Box::pin(async move { FrameDecisions::all(1, decided.await) });
        }
        Box::pin(async move { self.inner.commit_all(footprints, Instant::now()).await })
    }

    fn outcome(&self, txn: TxnId, resolve: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        Box::pin(self.inner.ask_now(move |client| client.outcome(txn, resolve)))
    }

    fn acknowledge(&self, txns: Vec<TxnRun>) {
        if let Some(txns) = self.inner.gather.acknowledge(txns) {
            self.inner.acknowledge(txns);
        }
    }

    fn report_oldest_snapshot(&self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        if let Some(reported) = oldest.or(self.inner.newest.get()) {
            let leader = self.inner.leaders.believed();
            {
                let mut told = self.inner.told.lock().expect("no panic happens under this lock");
                told.oldest = Some((frontend, epoch, reported));
                told.oldest_told = leader.as_ref().map(|leader| leader.term);
            }
            if let Some(leader) = leader {
                leader.client.report_oldest_snapshot(frontend, epoch, Some(reported));
            }
        }
        // So that an idle frontend neither holds the low-water mark where it last began something nor goes on telling a
        // leader that is none any more.
        if oldest.is_none() || self.inner.leaders.leader().is_none() {
            let inner = self.inner.clone();
            self.runtime.spawn(async move { inner.begin_for_many().await });
        }
    }

    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        Box::pin(async move {
            // Whoever asks this asks again soon. So nothing is held for him, and a leader of an earlier release, which does not
            // know the question, is not taken for one that is lost.
            let Some(leader) = self.inner.leaders.believed() else {
                return Err(AdjudicatorError::Unreachable("no leader is known".into()));
            };
            let attempt = leader.client.frontend_epoch(frontend);
            let answer = tokio::time::timeout(self.inner.options.attempt_max, attempt).await;
            answer.unwrap_or(Err(AdjudicatorError::ReplyLost))
        })
    }

    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        Box::pin(self.inner.ask_now(|client| client.placement()))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        Box::pin(self.inner.ask_now(|client| client.nodes()))
    }

    fn catalog(
        &self,
        since: CatalogVersion,
        at_least: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        Box::pin(self.inner.ask_now(move |client| client.catalog(since, at_least)))
    }

    fn allocate_ids(
        &self,
        table: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        offset: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        // Sent again after a lost reply it leaves a gap, as a rollback does.
        Box::pin(
            self.inner.ask_now(move |client| client.allocate_ids(table, count, at_least, increment, offset)),
        )
    }

    fn next_id(&self, table: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        Box::pin(self.inner.ask_now(move |client| client.next_id(table)))
    }

    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        Box::pin(self.inner.ask_now(move |client| client.track_ranges(table)))
    }

    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        let patience = match wait {
            LockWait::Timeout(limit) => limit,
            LockWait::NoWait | LockWait::SkipLocked => Duration::ZERO,
        };
        Box::pin(async move {
            let keys: Arc<[KeyHash]> = keys.into();
            let reserved = self
                .inner
                .ask(patience, move |client| {
                    let keys = keys.clone();
                    Box::pin(async move { client.reserve(owner, &keys, strength, wait).await })
                })
                .await;
            if let Ok(Reserved::Granted { begun, .. }) = &reserved {
                self.inner.newest.observe(begun);
            }
            reserved
        })
    }

    fn release(&self, owner: TxnId) {
        match self.inner.leaders.believed() {
            Some(leader) => leader.client.release(owner),
            None => {
                let mut told = self.inner.told.lock().expect("no panic happens under this lock");
                if told.released.len() < RELEASES_MAX {
                    told.released.push(owner);
                }
            }
        }
    }

    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        Box::pin(async move {
            // Whoever has lost is not to wait for a leader, too; and an older one does not know the question.
            let Some(leader) = self.inner.leaders.believed() else { return Ok(None) };
            let answer = tokio::time::timeout(WHO_MAX, leader.client.who(obstacle)).await;
            Ok(answer.ok().and_then(Result::ok).flatten())
        })
    }
}
