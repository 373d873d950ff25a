//! What a session's transaction is doing, as others may look at it while it runs.

use crate::txn::Isolation;
use assize_model::Timestamp;
use assize_ports::TransactionInfo;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Statements that are remembered of one transaction.
pub(crate) const TRAIL_MAX: usize = 8;
/// Statements that are remembered of it once it went to be decided.
const TAIL_MAX: usize = 4;
/// Statement texts of conflicts are cut here.
const STATEMENT_BYTES_MAX: usize = 1024;

/// The last statements of a transaction, normalised. What is repeated is kept once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    texts: [Option<Arc<str>>; TRAIL_MAX],
    /// Where the next one goes.
    next: usize,
}

impl Trail {
    /// A statement runs.
    pub(crate) fn push(&mut self, text: &Arc<str>) {
        let last = (self.next + TRAIL_MAX - 1) % TRAIL_MAX;
        if self.texts[last].as_ref().is_some_and(|known| Arc::ptr_eq(known, text)) {
            return;
        }
        self.texts[self.next] = Some(text.clone());
        self.next = (self.next + 1) % TRAIL_MAX;
    }

    /// Their texts, oldest first, each cut to a bounded length.
    pub(crate) fn texts(&self) -> Vec<String> {
        let (young, old) = self.texts.split_at(self.next);
        old.iter().chain(young).flatten().map(told).collect()
    }

    /// The very last ones, oldest first.
    pub(crate) fn tail(&self) -> Tail {
        std::array::from_fn(|n| {
            let at = (self.next + TRAIL_MAX - TAIL_MAX + n) % TRAIL_MAX;
            self.texts[at].clone()
        })
    }
}

/// What is remembered of a transaction that went to be decided: less than while it runs, because there are many.
pub(crate) type Tail = [Option<Arc<str>>; TAIL_MAX];

/// A statement's text as it is told.
pub(crate) fn told(text: &Arc<str>) -> String {
    cut(text, STATEMENT_BYTES_MAX)
}

/// A text of at most so many bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

/// What the transaction is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doing {
    /// Waits for its client.
    Idle,
    /// A statement runs.
    Running,
    /// It is being decided.
    Committing,
}

/// Whose the transactions of a session are, and what the one that is open does. The session writes, anybody reads; a
/// reader may see values of neighbouring moments side by side.
#[derive(Debug)]
pub struct Activity {
    /// CONNECTION_ID(); 0 for the server's own work.
    pub connection: u32,
    /// `user@host`.
    pub user: Arc<str>,
    doing: AtomicU8,
    isolation: AtomicU8,
    /// By the monotonic clock; 0: no transaction is open.
    begun_micros: AtomicU64,
    snapshot_ts: AtomicU64,
    writes: AtomicU64,
    bytes: AtomicU64,
    statement: Mutex<Option<Arc<str>>>,
}

impl Activity {
    /// Of somebody who has just logged in.
    pub(crate) fn new(connection: u32, user: Arc<str>) -> Self {
        Activity {
            connection,
            user,
            doing: AtomicU8::new(0),
            isolation: AtomicU8::new(0),
            begun_micros: AtomicU64::new(0),
            snapshot_ts: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            statement: Mutex::default(),
        }
    }

    /// A transaction begins, if none is open.
    pub(crate) fn begins(&self, isolation: Isolation, now_micros: u64) {
        if self.begun_micros.load(Ordering::Relaxed) != 0 {
            return;
        }
        self.isolation.store(isolation as u8, Ordering::Relaxed);
        self.snapshot_ts.store(0, Ordering::Relaxed);
        self.wrote(0, 0);
        self.turns(Doing::Idle);
        self.begun_micros.store(now_micros.max(1), Ordering::Relaxed);
    }

    /// It reads at this snapshot.
    pub(crate) fn reads_at(&self, snapshot_ts: Timestamp) {
        self.snapshot_ts.store(snapshot_ts.0, Ordering::Relaxed);
    }

    /// It has so many writes, of so many bytes, in its buffer.
    pub(crate) fn wrote(&self, writes: usize, bytes: usize) {
        self.writes.store(writes as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// A statement begins in it.
    pub(crate) fn runs(&self, statement: Option<Arc<str>>) {
        *self.statement.lock().unwrap_or_else(PoisonError::into_inner) = statement;
        self.turns(Doing::Running);
    }

    /// It goes on to something else.
    pub(crate) fn turns(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn ends(&self) {
        self.begun_micros.store(0, Ordering::Relaxed);
    }

    /// The open transaction, if there is one, at this moment of the same monotonic clock. Its node is left at 0.
    pub fn open(&self, now_micros: u64) -> Option<TransactionInfo> {
        let begun = self.begun_micros.load(Ordering::Relaxed);
        if begun == 0 {
            return None;
        }
        let isolation = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]
            [usize::from(self.isolation.load(Ordering::Relaxed)).min(2)];
        let state = ["idle", "running", "committing"][usize::from(self.doing.load(Ordering::Relaxed)).min(2)];
        let statement = self.statement.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(TransactionInfo {
            node: 0,
            connection: self.connection,
            user: self.user.to_string(),
            snapshot_ts: self.snapshot_ts.load(Ordering::Relaxed),
            isolation: isolation.name().to_owned(),
            age_micros: now_micros.saturating_sub(begun),
            writes: self.writes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            statement: statement.map_or_else(String::new, |text| text.to_string()),
            state: state.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_keeps_the_last_statements_and_repeated_ones_once() {
        let mut trail = Trail::default();
        assert!(trail.texts().is_empty());
        let texts: Vec<Arc<str>> = (0..11).map(|n| format!("SELECT c{n}").into()).collect();
        for text in &texts[..2] {
            trail.push(text);
            trail.push(text);
        }
        assert_eq!(trail.texts(), ["SELECT c0", "SELECT c1"]);
        texts.iter().for_each(|text| trail.push(text));
        let kept = trail.texts();
        assert_eq!((kept.len(), kept[0].as_str(), kept[7].as_str()), (TRAIL_MAX, "SELECT c3", "SELECT c10"));
        let tail: Vec<String> = trail.tail().iter().flatten().map(told).collect();
        assert_eq!(tail, kept[4..]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "ä…");
        assert_eq!(cut("äöü", 6), "äöü");
    }

    #[test]
    fn a_transaction_is_open_from_its_beginning_to_its_end() {
        let activity = Activity::new(7, "app@10.0.0.7".into());
        assert_eq!(activity.open(5), None);
        activity.begins(Isolation::Serializable, 100);
        activity.begins(Isolation::ReadCommitted, 900);
        let open = activity.open(350).unwrap();
        assert_eq!((open.isolation.as_str(), open.age_micros, open.snapshot_ts), ("SERIALIZABLE", 250, 0));
        assert_eq!(open.state, "idle");
        activity.runs(Some("UPDATE t SET a = ?".into()));
        activity.reads_at(Timestamp(42));
        activity.wrote(2, 130);
        let open = activity.open(400).unwrap();
        assert_eq!((open.snapshot_ts, open.writes, open.bytes, open.state.as_str()), (42, 2, 130, "running"));
        assert_eq!((open.statement.as_str(), open.user.as_str()), ("UPDATE t SET a = ?", "app@10.0.0.7"));
        activity.ends();
        assert_eq!(activity.open(500), None);
    }
}
