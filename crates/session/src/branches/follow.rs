//! The end of branches: the vote before the decision, and what follows from it.

use super::{Branch, Line, UNKNOWN_XID, is_unknown, sql_error};
use crate::commit::{CommitFailure, Committed};
use crate::foreign_recovery::prepared_there;
use crate::services::Services;
use crate::txn::Txn;
use assize_catalog::{BranchOutcome, FOREIGN_BRANCHES, ForeignBranch};
use assize_model::{ErrorCode, Mutation, Retry, SqlError};
use assize_ports::ForeignError;
use futures_util::future::{Either, join_all, select};
use std::future::Future;

/// How long a server may take to prepare.
const PREPARE_WITHIN_MICROS: u64 = 10_000_000;
/// How long a client waits for servers to hear that its transaction has committed.
const FOLLOW_WITHIN_MICROS: u64 = 5_000_000;
/// Time between two tries to tell them.
const FOLLOW_AGAIN_MICROS: u64 = 100_000;
/// How long a server may take to forget.
const FORGET_WITHIN_MICROS: u64 = 2_000_000;

/// What comes of it, unless it takes too long.
async fn within<T>(
    services: &Services,
    micros: u64,
    work: impl Future<Output = Result<T, ForeignError>>,
) -> Result<T, ForeignError> {
    let late = || ForeignError::Away(format!("no answer within {} s", micros / 1_000_000));
    match select(Box::pin(work), services.clock.sleep(micros)).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Err(late()),
    }
}

impl Branch {
    /// XA END, XA PREPARE. Without an answer it may be prepared; without a connection nobody here will ever know.
    async fn prepare(&mut self, services: &Services) -> Result<(), ForeignError> {
        let going_back = self.take_going_back();
        let sql = format!("{going_back}XA END {xid}; XA PREPARE {xid}", xid = self.xid);
        within(services, PREPARE_WITHIN_MICROS, self.run(&sql, &[])).await?;
        self.is_prepared = true;
        Ok(())
    }

    /// The transaction has committed, and so does its branch; whether the server has heard it in time.
    async fn commit(&mut self, services: &Services) -> bool {
        let begun = services.clock.monotonic_micros();
        loop {
            let left =
                FOLLOW_WITHIN_MICROS.saturating_sub(services.clock.monotonic_micros().saturating_sub(begun));
            if left == 0 {
                return false;
            }
            match within(services, left, self.commit_once(services)).await {
                Ok(is_done) if is_done => {
                    self.give_back();
                    return true;
                }
                // Somebody's connection still holds it, or the way there is broken.
                Ok(_) | Err(ForeignError::Away(_)) => services.clock.sleep(FOLLOW_AGAIN_MICROS).await,
                Err(_) => return false,
            }
        }
    }

    async fn commit_once(&mut self, services: &Services) -> Result<bool, ForeignError> {
        if self.line.is_none() {
            self.line = Some(Line::new(services.foreign.connect(self.server.clone()).await?));
        }
        match self.run(&format!("XA COMMIT {}", self.xid), &[]).await {
            Ok(_) => Ok(true),
            // It is gone, because somebody has found it and done the same; or a connection that we have lost still holds it.
            Err(error) if is_unknown(&error) => {
                let Some(line) = &mut self.line else { return Ok(false) };
                let listed = prepared_there(line.get(), services.cluster_mark()).await?;
                Ok(!listed.contains(&self.xid))
            }
            Err(error) => Err(error),
        }
    }

    /// Nothing of it is to stay. What cannot be said now is found out by whoever finds the branch.
    async fn forget(&mut self, services: &Services) {
        if !self.has_begun {
            return self.give_back();
        }
        let xid = &self.xid;
        let sql = match self.is_prepared {
            true => format!("XA ROLLBACK {xid}"),
            false => format!("XA END {xid}; XA ROLLBACK {xid}"),
        };
        let forgotten = within(services, FORGET_WITHIN_MICROS, self.run(&sql, &[])).await;
        match forgotten {
            Ok(_) => self.give_back(),
            // Closed, whatever was in the way: then the server forgets it by itself.
            Err(_) => self.line = None,
        }
    }
}

impl Txn {
    /// Prepares every branch that was written to, side by side, and puts the record of it into the write set. If one cannot be
    /// prepared, nothing of the transaction is left.
    pub(crate) async fn vote(&mut self) -> Result<(), CommitFailure> {
        if self.branches().is_empty() {
            return Ok(());
        }
        let voted = self.prepare_branches().await;
        if voted.is_err() {
            self.forget_branches().await;
            self.release();
        }
        voted.map_err(|error| CommitFailure {
            is_retryable: error.code.retry() == Retry::Transaction
                && error.code != ErrorCode::LockWaitTimeout,
            ..error.into()
        })
    }

    async fn prepare_branches(&mut self) -> Result<(), SqlError> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let places = self.branches_mut().places();
        let Some(number) = self.branches().number.filter(|_| !places.is_empty()) else { return Ok(()) };
        let services = self.services().clone();
        let at_micros = services.clock.now_micros();
        let record = ForeignBranch { outcome: BranchOutcome::Committed, at_micros, places };
        let (slot, key) = ForeignBranch::place(number);
        // Before anything is prepared: whoever finds a branch writes later than the snapshot from which this key is checked.
        self.write_record(FOREIGN_BRANCHES, Mutation::put(key, slot, record.encode()));
        let prepared = join_all(self.branches_mut().written().map(|branch| {
            let services = &services;
            async move {
                let prepared = branch.prepare(services).await;
                prepared.map_err(|error| not_prepared(branch, &error))
            }
        }));
        prepared.await.into_iter().collect::<Result<Vec<()>, SqlError>>().map(drop)
    }

    /// What has been decided is done where the branches are.
    pub(crate) async fn follow(&mut self, committed: &Result<Committed, CommitFailure>) {
        if self.branches().is_empty() {
            return;
        }
        match committed {
            Ok(_) => self.commit_branches().await,
            // Somebody will find what is prepared, and the record, or that there is none.
            Err(failure) if failure.error.code == ErrorCode::OutcomeUnknown => {
                self.branches_mut().by_server.clear()
            }
            Err(_) => self.forget_branches().await,
        }
    }

    async fn commit_branches(&mut self) {
        let services = self.services().clone();
        let branches = self.branches_mut();
        let number = branches.number;
        let ended = join_all(branches.by_server.values_mut().map(|branch| {
            let services = &services;
            async move {
                if branch.is_prepared {
                    let is_done = branch.commit(services).await;
                    return (!is_done).then(|| branch.server.name.clone());
                }
                branch.forget(services).await;
                None
            }
        }));
        let late: Vec<_> = ended.await.into_iter().flatten().collect();
        let had_record = branches.by_server.values().any(|branch| branch.is_prepared);
        if let Some(number) = number.filter(|_| late.is_empty() && had_record) {
            services.foreign_branches.done(number);
        }
        branches.by_server.clear();
        branches.late = late;
    }

    /// Ends every branch without a trace.
    pub(crate) async fn forget_branches(&mut self) {
        let services = self.services().clone();
        let branches = self.branches_mut();
        join_all(branches.by_server.values_mut().map(|branch| branch.forget(&services))).await;
        branches.by_server.clear();
    }
}

/// Why a branch is not prepared. That the server has rolled it back already is no defect of anybody's.
fn not_prepared(branch: &Branch, error: &ForeignError) -> SqlError {
    match error {
        ForeignError::Refused { code: 1399 | UNKNOWN_XID, message, .. } => {
            let text = format!(
                "foreign server {} has rolled back its part of the transaction: {message}",
                branch.server.name
            );
            SqlError::new(ErrorCode::Deadlock, text)
        }
        error => sql_error(&branch.server, error),
    }
}
