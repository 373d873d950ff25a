//! Every abort, kept for a while with what explains it.
//!
//! ```text
//!   Txn::commit ── sent(id) ─▶ ring of transactions that went to be decided, by the sequence in their id
//!        │                        │ whose statements did the winner run?
//!        └─ aborted ─▶ keep ──────┴──▶ kept: id ─▶ ConflictRecord, oldest forgotten first
//! ```
//!
//! A transaction enters the ring before its footprint leaves, so that a loser that hears of its winner before the winner
//! itself does still learns who it was. A winner of another node is unknown here; see [`assize_ports::unknown_winners`].
//!
//! Invariants:
//! - An id is unlike every other that is kept, here and on other frontends.
//! - Records and their bytes are bounded; so is the ring.
//! - A commit costs one short lock and no allocation but for the ring's growth to its bound.

use crate::activity::{Activity, Tail, Trail, told};
use assize_model::{FrontendEpoch, FrontendId, TxnId};
use assize_ports::{ConflictRecord, ConflictSide, complete_winners, unknown_winners};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Records that are kept.
const CONFLICTS_MAX: usize = 4096;
/// Bytes of their texts.
const CONFLICT_BYTES_MAX: usize = 8 << 20;
/// Bytes that a record takes besides its texts.
const RECORD_BYTES: usize = 512;
/// Transactions that are remembered after they went to be decided.
const SENT_MAX: usize = 8192;

/// The aborts of a frontend.
pub struct ConflictLog {
    frontend: FrontendId,
    kept: Mutex<Kept>,
    sent: Mutex<Vec<Option<Sent>>>,
    bell: OnceLock<Bell>,
}

#[derive(Default)]
struct Kept {
    /// Oldest first.
    records: VecDeque<ConflictRecord>,
    bytes: usize,
    /// Numbers drawn for ids.
    drawn: u16,
    /// Records kept since the beginning, forgotten ones included.
    total: u64,
}

/// Told how many records have been kept so far, whenever there is one more. Must be short.
pub type Bell = Box<dyn Fn(u64) + Send + Sync>;

/// A transaction that went to be decided.
struct Sent {
    txn: TxnId,
    by: Arc<Activity>,
    statements: Tail,
    age_micros: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConflictLog {
    /// Of one life of a frontend.
    pub fn new(frontend: FrontendId, epoch: FrontendEpoch) -> Self {
        // Lives of a frontend begin at different numbers, so that an id in an old report hardly finds a new conflict.
        let kept = Kept { drawn: (epoch.0 as u16).wrapping_mul(4099), ..Kept::default() };
        ConflictLog { frontend, kept: Mutex::new(kept), sent: Mutex::default(), bell: OnceLock::new() }
    }

    /// The id of the next conflict: `c-` and, in hexadecimal, the frontend and four digits that do not come again before
    /// 65,536 others.
    pub(crate) fn draw_id(&self) -> String {
        let mut kept = lock(&self.kept);
        kept.drawn = kept.drawn.wrapping_add(1);
        // An odd factor permutes the numbers: neighbours look different to whoever copies them by hand.
        let number = kept.drawn.wrapping_mul(0x9e35);
        format!("c-{:x}{number:04x}", self.frontend.0)
    }

    /// A transaction goes to be decided.
    pub(crate) fn sent(&self, txn: TxnId, by: &Arc<Activity>, trail: &Trail, age_micros: u64) {
        let sent = Sent { txn, by: by.clone(), statements: trail.tail(), age_micros };
        let mut ring = lock(&self.sent);
        let place = place_of(txn.sequence());
        if ring.len() <= place {
            ring.resize_with(place + 1, || None);
        }
        let before = ring[place].replace(sent);
        drop(ring);
        // What was there goes without the lock: it may be the last to hold a text.
        drop(before);
    }

    /// Keeps an abort.
    pub(crate) fn keep(&self, mut record: ConflictRecord) {
        self.complete_own(std::slice::from_mut(&mut record));
        let mut kept = lock(&self.kept);
        kept.bytes += size_of_record(&record);
        kept.records.push_back(record);
        while kept.records.len() > CONFLICTS_MAX || kept.bytes > CONFLICT_BYTES_MAX {
            let Some(oldest) = kept.records.pop_front() else { break };
            kept.bytes -= size_of_record(&oldest);
        }
        kept.total += 1;
        let total = kept.total;
        drop(kept);
        if let Some(bell) = self.bell.get() {
            bell(total);
        }
    }

    /// Somebody wants to know when there is something new. Only the first one is.
    pub fn rings(&self, bell: Bell) {
        // A frontend has one node, and starts once.
        let _ = self.bell.set(bell);
    }

    /// The server runs the loser's statement again by itself.
    pub(crate) fn note_retried(&self, id: &str) {
        let mut kept = lock(&self.kept);
        if let Some(record) = kept.records.iter_mut().rev().find(|record| record.id == id) {
            record.was_retried = true;
        }
    }

    /// What is kept, newest first, as told by this node.
    pub fn list(&self, node: u64) -> Vec<ConflictRecord> {
        let mut list: Vec<ConflictRecord> = lock(&self.kept).records.iter().rev().cloned().collect();
        sign(&mut list, node);
        list
    }

    /// What has been kept after the first `seen` records, oldest first, as told by this node; what has been forgotten
    /// meanwhile is not among it.
    pub fn since(&self, seen: u64, node: u64) -> Vec<ConflictRecord> {
        let mut list: Vec<ConflictRecord> = {
            let kept = lock(&self.kept);
            let fresh = usize::try_from(kept.total.saturating_sub(seen)).unwrap_or(usize::MAX);
            kept.records.iter().skip(kept.records.len().saturating_sub(fresh)).cloned().collect()
        };
        sign(&mut list, node);
        list
    }

    /// Winners of other frontends of which only the id is known, of conflicts since a moment (microseconds since the
    /// Unix epoch): ask the other nodes for them, before they forget.
    pub fn unknown_winners(&self, since_micros: i64) -> Vec<String> {
        let kept = lock(&self.kept);
        let late = kept.records.iter().rev().take_while(|record| record.at_micros >= since_micros);
        let late: Vec<ConflictRecord> = late.filter(|record| record.winner.node == 0).cloned().collect();
        drop(kept);
        unknown_winners(&late)
    }

    /// Keeps what other nodes have told of winners.
    pub fn complete(&self, winners: &[ConflictSide]) {
        let mut kept = lock(&self.kept);
        complete_winners(kept.records.make_contiguous(), winners);
        kept.bytes = kept.records.iter().map(size_of_record).sum();
    }

    /// Those of these transactions that went to be decided from here and are remembered, as told by this node.
    pub fn ran(&self, txns: &[String], node: u64) -> Vec<ConflictSide> {
        let ring = lock(&self.sent);
        txns.iter().filter_map(|txn| find(&ring, txn, node)).collect()
    }

    fn complete_own(&self, records: &mut [ConflictRecord]) {
        let winners = self.ran(&unknown_winners(records), OWN);
        complete_winners(records, &winners);
    }
}

/// Says which node tells of these records.
fn sign(records: &mut [ConflictRecord], node: u64) {
    for record in records {
        record.loser.node = node;
        // Winners of this frontend are complete but for its number.
        if record.winner.node == OWN {
            record.winner.node = node;
        }
    }
}

/// The node of this frontend, as long as nobody has said its number.
const OWN: u64 = u64::MAX;

fn place_of(sequence: u64) -> usize {
    (sequence % SENT_MAX as u64) as usize
}

/// A transaction by its printed id.
fn find(ring: &[Option<Sent>], txn: &str, node: u64) -> Option<ConflictSide> {
    let txn: TxnId = txn.parse().ok()?;
    let sent = ring.get(place_of(txn.sequence()))?.as_ref()?;
    (sent.txn == txn).then(|| ConflictSide {
        txn: txn.to_string(),
        node,
        connection: sent.by.connection,
        user: sent.by.user.to_string(),
        statements: sent.statements.iter().flatten().map(told).collect(),
        age_micros: Some(sent.age_micros),
    })
}

fn size_of_record(record: &ConflictRecord) -> usize {
    let side = |side: &ConflictSide| {
        side.user.len() + side.statements.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>()
    };
    RECORD_BYTES + record.table.len() + record.key.len() + side(&record.loser) + side(&record.winner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, Timestamp};
    use std::collections::BTreeSet;

    fn log() -> ConflictLog {
        ConflictLog::new(FrontendId(3), FrontendEpoch(2))
    }

    fn txn_of(frontend: u32, sequence: u64) -> TxnId {
        let begun = Timestamp::from_millis(1_790_000_000_000);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(frontend), FrontendEpoch(2), sequence)
    }

    fn txn(sequence: u64) -> TxnId {
        txn_of(3, sequence)
    }

    fn record(id: String, winner: &str, statement: &str) -> ConflictRecord {
        ConflictRecord {
            id,
            at_micros: 0,
            kind: "conflict".to_owned(),
            table: "shop.stock".to_owned(),
            index: "PRIMARY".to_owned(),
            key: "(1)".to_owned(),
            loser: ConflictSide { statements: vec![statement.to_owned()], ..ConflictSide::default() },
            winner: ConflictSide { txn: winner.to_owned(), ..ConflictSide::default() },
            committed_before_micros: None,
            committed_before_at_most_micros: None,
            was_retried: false,
        }
    }

    #[test]
    fn ids_are_unlike_every_other_that_is_kept() {
        let (log, other) = (log(), ConflictLog::new(FrontendId(0x13), FrontendEpoch(2)));
        let mut seen = BTreeSet::new();
        for _ in 0..CONFLICTS_MAX {
            assert!(seen.insert(log.draw_id()) && seen.insert(other.draw_id()));
        }
        assert!(seen.iter().all(|id| id.starts_with("c-3") || id.starts_with("c-13")));
    }

    #[test]
    fn records_and_their_bytes_are_bounded_and_the_oldest_goes_first() {
        let log = log();
        for n in 0..CONFLICTS_MAX + 10 {
            log.keep(record(format!("c-{n}"), "", ""));
        }
        let list = log.list(1);
        assert_eq!(list.len(), CONFLICTS_MAX);
        assert_eq!((list[0].id.as_str(), list.last().unwrap().id.as_str()), ("c-4105", "c-10"));
        let long = "x".repeat(CONFLICT_BYTES_MAX / 4);
        for n in 0..10 {
            log.keep(record(format!("long-{n}"), "", &long));
        }
        let list = log.list(1);
        assert_eq!((list.len(), list[0].id.as_str()), (3, "long-9"));
    }

    #[test]
    fn a_winner_of_this_frontend_is_known_at_once_and_one_of_another_when_it_is_told() {
        let log = log();
        let by = Arc::new(Activity::new(9, "app@10.0.0.9".into()));
        let mut trail = Trail::default();
        trail.push(&"UPDATE stock SET n = ?".into());
        log.sent(txn(5), &by, &trail, 700);
        let (own, other) = (txn(5).to_string(), txn_of(4, 5).to_string());
        log.keep(record("c-1".to_owned(), &own, ""));
        log.keep(record("c-2".to_owned(), &other, ""));
        // The ring has gone on: the place of transaction 5 is another's now.
        log.sent(txn(5 + SENT_MAX as u64), &by, &Trail::default(), 1);
        log.keep(record("c-3".to_owned(), &own, ""));
        let list = log.list(7);
        let known = ConflictSide {
            txn: own.clone(),
            node: 7,
            connection: 9,
            user: "app@10.0.0.9".to_owned(),
            statements: vec!["UPDATE stock SET n = ?".to_owned()],
            age_micros: Some(700),
        };
        assert_eq!(list[2].winner, known);
        assert_eq!((list[0].winner.node, list[1].winner.node), (0, 0));
        assert_eq!(log.unknown_winners(0), [own.as_str(), &other]);
        assert!(log.unknown_winners(1).is_empty());
        let told = ConflictSide { txn: other, node: 2, ..known.clone() };
        log.complete(std::slice::from_ref(&told));
        assert_eq!(log.list(7)[1].winner, told);
        assert!(log.ran(&[own, "no id".to_owned()], 7).is_empty());
    }

    #[test]
    fn what_is_new_is_rung_for_and_told_by_number() {
        let log = log();
        log.keep(record("c-1".to_owned(), "", ""));
        let rung = Arc::new(Mutex::new(Vec::new()));
        let heard = rung.clone();
        log.rings(Box::new(move |total| heard.lock().unwrap().push(total)));
        log.keep(record("c-2".to_owned(), "", ""));
        log.keep(record("c-3".to_owned(), "", ""));
        assert_eq!(*rung.lock().unwrap(), [2, 3]);
        let ids = |seen| log.since(seen, 7).into_iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(1), ["c-2", "c-3"]);
        assert_eq!(ids(3), [] as [&str; 0]);
        assert_eq!(ids(9), [] as [&str; 0]);
        for n in 0..CONFLICTS_MAX {
            log.keep(record(format!("d-{n}"), "", ""));
        }
        assert_eq!(log.since(2, 7).len(), CONFLICTS_MAX, "c-3 is forgotten");
        assert_eq!(log.since(2, 7)[0].loser.node, 7);
    }

    #[test]
    fn a_retry_is_noted_on_its_conflict() {
        let log = log();
        log.keep(record("c-1".to_owned(), "", ""));
        log.keep(record("c-2".to_owned(), "", ""));
        log.note_retried("c-1");
        let retried: Vec<bool> = log.list(1).iter().map(|r| r.was_retried).collect();
        assert_eq!(retried, [false, true]);
    }
}
