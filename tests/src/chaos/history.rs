//! What clients did and saw, in an order that respects real time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A moment: numbers drawn from one counter, so that an operation which completed before another was invoked has the
/// smaller one.
pub type Moment = u64;

/// What the client knows about a transaction's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// COMMIT was answered with OK.
    Committed,
    /// It was refused, or COMMIT was never sent.
    Aborted,
    /// COMMIT was sent and no answer came.
    Unknown,
}

/// One transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op<T> {
    /// Who: a client that does one thing after the other. After an unknown outcome a client is somebody new.
    pub process: u64,
    /// Before BEGIN was sent.
    pub invoked: Moment,
    /// After the last answer, or after the client gave up.
    pub completed: Moment,
    /// How it ended.
    pub fate: Fate,
    /// What it did and saw. Of a transaction that is not known to have committed, what it saw may be missing.
    pub what: T,
}

/// Collects operations of all clients.
#[derive(Debug)]
pub struct Recorder<T> {
    ops: Mutex<Vec<Op<T>>>,
}

impl<T> Default for Recorder<T> {
    fn default() -> Self {
        Recorder { ops: Mutex::new(Vec::new()) }
    }
}

impl<T: Clone> Recorder<T> {
    /// Adds one.
    pub fn record(&self, op: Op<T>) {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    /// All of them, by the moment of their invocation.
    pub fn ops(&self) -> Vec<Op<T>> {
        let mut ops = self.ops.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ops.sort_by_key(|op| op.invoked);
        ops
    }
}

/// Draws the next moment.
pub fn now() -> Moment {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// Draws the number of a new process.
pub fn new_process() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}
