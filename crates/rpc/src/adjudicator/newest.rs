//! The newest snapshot that this node has been given.

use assize_model::Timestamp;
use assize_ports::Begun;
use std::sync::atomic::{AtomicU64, Ordering};

/// The newest snapshot that this node has been given.
///
/// A frontend without any snapshot in use reports `None`: "whatever I begin from now on begins at or above now". That is
/// true only if *now* is when the frontend says it. A report that travels would be read later, while a begin that was
/// sent after it has already been answered with an older snapshot. So a node in between replaces `None` by the newest
/// snapshot given out before the report: no begin that comes later is answered with an older one.
#[derive(Debug, Default)]
pub struct NewestSnapshot(AtomicU64);

impl NewestSnapshot {
    /// A begin has been answered.
    pub fn observe(&self, begun: &Begun) {
        self.0.fetch_max(begun.snapshot_ts.0, Ordering::SeqCst);
    }

    /// What to report for a frontend that has no snapshot in use; `None` if nothing has ever begun here.
    pub fn get(&self) -> Option<Timestamp> {
        Some(Timestamp(self.0.load(Ordering::SeqCst))).filter(|newest| *newest > Timestamp::ZERO)
    }
}
