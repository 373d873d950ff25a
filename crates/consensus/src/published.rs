//! What is asked of the state so often that nobody should wait for an entry that is being applied.
//!
//! The state is locked while an entry of thousands of transactions is applied. Whoever begins a transaction, or wants to
//! know why one lost, needs little of it: that lies here, and is brought up to date at the end of each entry, before
//! anybody hears what became of it.

use assize_adjudicator::{Applied, Begin, Command, Explainer, FootprintView, complete};
use assize_model::{Decision, TableId, Timestamp, Winner};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Batches kept for telling a loser who won.
const EXPLAINER_BYTES: usize = 32 << 20;

/// See the module's page.
pub struct Published {
    begin: Mutex<Option<Begin>>,
    cluster_version: AtomicU32,
    /// Recent batches. Not replicated, and no decision depends on it.
    explainer: Mutex<Explainer>,
}

impl Default for Published {
    fn default() -> Self {
        let explainer = Mutex::new(Explainer::new(EXPLAINER_BYTES));
        Published { begin: Mutex::default(), cluster_version: AtomicU32::new(1), explainer }
    }
}

impl Published {
    /// Brings everything up to date; called with the state locked.
    pub fn publish(&self, core: &assize_adjudicator::Adjudicator) {
        *self.begin.lock().expect("no panic happens under this lock") = Some(core.begin());
        self.cluster_version.store(core.cluster_version(), Ordering::Relaxed);
    }

    /// Takes note of an applied entry.
    pub fn observe(&self, command: &Command, applied: &Applied) {
        self.explainer().observe(command, applied);
    }

    /// The state was replaced: what was observed before belongs to another.
    pub fn forget(&self) {
        *self.explainer() = Explainer::new(EXPLAINER_BYTES);
    }

    /// What a transaction begins with; `None` before anything was applied.
    pub fn begin(&self) -> Option<Begin> {
        *self.begin.lock().expect("no panic happens under this lock")
    }

    /// The behaviour that all nodes have agreed to use, as of the last applied entry; a cluster begins at 1.
    pub fn cluster_version(&self) -> u32 {
        self.cluster_version.load(Ordering::Relaxed)
    }

    /// Fills the winner into a decision that is a conflict, where it is known.
    pub fn complete(&self, decision: &mut Decision, loser: &FootprintView<'_>) {
        // Searched without the lock: whoever applies the next entry needs it.
        complete(decision, loser, |batch| self.explainer().batch(batch));
    }

    /// Who has committed at this timestamp, if that was lately.
    pub fn committed_at(&self, commit_ts: Timestamp) -> Option<Winner> {
        let batch = self.explainer().batch_at(commit_ts)?;
        batch.committed_at(commit_ts)
    }

    /// Whose change of the catalog fenced this table last, if that is remembered.
    pub fn fenced(&self, table: TableId) -> Option<Winner> {
        self.explainer().fenced(table)
    }

    /// Whose change of the catalog put or removed this object last, if that is remembered.
    pub fn changed(&self, object: &[u8]) -> Option<Winner> {
        self.explainer().changed(object)
    }

    fn explainer(&self) -> MutexGuard<'_, Explainer> {
        self.explainer.lock().expect("no panic happens under this lock")
    }
}
