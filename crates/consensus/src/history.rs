//! Outcomes that nobody is expected to ask for any more, kept in case somebody does.
//!
//! The core forgets an outcome once its deadline has passed and its frontend has acknowledged it. A client that
//! lost its connection at the wrong moment may ask much later whether its transaction committed; here the
//! answer is kept for an hour, or for as many outcomes as fit. What has been forgotten is *unknown*, never a
//! guessed abort.
//!
//! Outcomes come in pages of consecutive transactions of one frontend, as the core held them, and stay in them: to take in a
//! page is to move a pointer.

use assize_adjudicator::flat;
use assize_adjudicator::page::{Found, PageKey};
use assize_adjudicator::{OutcomePage, PackedPage};
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{Decision, Outcome, Timestamp, TxnId};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long outcomes are kept.
const KEPT: Duration = Duration::from_secs(3600);
/// How many pages are kept: four million outcomes of busy frontends, in 16 to 32 MiB.
const PAGES_MAX: usize = 1 << 16;

/// Pages that came one after the other, and are shared together by copies.
const SEGMENT: usize = 256;

/// Old outcomes.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All pages in the order in which they came, some of the first segment forgotten.
    segments: VecDeque<Arc<Vec<PackedPage>>>,
    /// The number of the first page of the first segment; pages are numbered as they come.
    first: u64,
    /// The number of the oldest page that is not forgotten, and of the next one to come.
    oldest: u64,
    next: u64,
    /// Of transactions that began at or before this, some are forgotten.
    forgotten: Timestamp,
    /// The number of each page. Looked up, never walked; a copy that is only to be written does without.
    numbers: HashMap<PageKey, u64>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.forgotten == other.forgotten && self.pages().eq(other.pages())
    }
}

impl History {
    /// Takes in outcomes that left the core's memory.
    pub fn add(&mut self, retired: Vec<PackedPage>, now: Timestamp) {
        for page in retired {
            self.insert(page);
        }
        while self.oldest < self.next
            && (self.next - self.oldest > PAGES_MAX as u64
                || self.page(self.oldest).begun_last().later(KEPT) < now)
        {
            self.forget_oldest();
        }
    }

    fn page(&self, number: u64) -> &PackedPage {
        let at = (number - self.first) as usize;
        &self.segments[at / SEGMENT][at % SEGMENT]
    }

    fn pages(&self) -> impl Iterator<Item = &PackedPage> {
        (self.oldest..self.next).map(|number| self.page(number))
    }

    fn forget_oldest(&mut self) {
        let page = self.page(self.oldest);
        let (key, begun_last) = (page.key(), page.begun_last());
        self.forgotten = self.forgotten.max(begun_last);
        self.numbers.remove(&key);
        self.oldest += 1;
        if self.oldest - self.first == SEGMENT as u64 {
            self.segments.pop_front();
            self.first = self.oldest;
        }
    }

    /// A page may come in parts: what its frontend acknowledged first, then the rest.
    fn insert(&mut self, page: PackedPage) {
        let Some(number) = self.numbers.get(&page.key()) else {
            self.numbers.insert(page.key(), self.next);
            self.next += 1;
            match self.segments.back_mut().filter(|segment| segment.len() < SEGMENT) {
                Some(segment) => Arc::make_mut(segment).push(page),
                None => self.segments.push_back(Arc::new(vec![page])),
            }
            return;
        };
        let at = (number - self.first) as usize;
        let mut known = self.segments[at / SEGMENT][at % SEGMENT].unpack();
        for (txn, decision) in page.outcomes() {
            match known.get(txn) {
                Found::Nothing => known.put_decision(txn, decision),
                Found::Decided(_) => {}
                // Its frontend gave one number to two transactions; there is room for one.
                Found::TakenByAnother => self.forgotten = self.forgotten.max(txn.begun()),
            }
        }
        Arc::make_mut(&mut self.segments[at / SEGMENT])[at % SEGMENT] = known.pack();
    }

    /// What became of a transaction that the core no longer knows and that can no longer commit.
    pub fn outcome(&self, txn: TxnId) -> Outcome {
        let page = self.numbers.get(&PageKey::of(txn)).map(|number| self.page(*number));
        match page.map(|page| page.get(txn)) {
            Some(Found::Decided(decision)) => Outcome::from(decision),
            _ if txn.begun() <= self.forgotten => Outcome::Unknown,
            // Nothing this young is forgotten, so nobody ever decided it.
            _ => Outcome::Aborted(assize_model::AbortReason::DeadlinePassed),
        }
    }

    /// A copy that can be written. It shares the memory of the pages.
    pub fn to_write(&self) -> History {
        let History { segments, first, oldest, next, forgotten, .. } = self;
        let (segments, numbers) = (segments.clone(), HashMap::new());
        History { segments, first: *first, oldest: *oldest, next: *next, forgotten: *forgotten, numbers }
    }

    /// Writes it at the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.forgotten.0);
        out.put_varint(self.next - self.oldest);
        self.pages().for_each(|page| page.encode(out));
    }

    /// Reads it back.
    pub fn decode(reader: &mut Reader<'_>) -> Result<History, DecodeError> {
        Self::decode_with(reader, OutcomePage::decode)
    }

    /// Reads what the second version wrote.
    pub fn decode_v2(reader: &mut Reader<'_>) -> Result<History, DecodeError> {
        Self::decode_with(reader, OutcomePage::decode_wide)
    }

    fn decode_with(
        reader: &mut Reader<'_>,
        read_page: impl Fn(&mut Reader<'_>) -> Result<OutcomePage, DecodeError>,
    ) -> Result<History, DecodeError> {
        let mut history = History { forgotten: Timestamp(reader.u64()?), ..History::default() };
        for _ in 0..reader.count(25)? {
            history.insert(read_page(reader)?.pack());
        }
        Ok(history)
    }

    /// Reads what the first version wrote: one outcome after the other, by id.
    pub fn decode_v1(reader: &mut Reader<'_>) -> Result<History, DecodeError> {
        let mut history = History { forgotten: Timestamp(reader.u64()?), ..History::default() };
        for _ in 0..reader.count(17)? {
            let txn = flat::read_txn(reader)?;
            let decision = match reader.u8()? {
                1 => Decision::Commit { commit_ts: Timestamp(reader.u64()?) },
                2 => Decision::Abort { reason: flat::read_reason(reader)? },
                other => return Err(reader.bad("kind of outcome", other.into())),
            };
            if matches!(decision, Decision::Commit { commit_ts } if commit_ts.0 == 0 || commit_ts.0 >> 63 == 1)
            {
                return Err(reader.bad("commit timestamp", 0));
            }
            let mut page = OutcomePage::new(PageKey::of(txn));
            page.put_decision(txn, decision);
            history.insert(page.pack());
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{AbortReason, DeadlineClass, FrontendEpoch, FrontendId};

    fn txn(begun: u64, number: u64) -> TxnId {
        let begun = Timestamp::from_millis(begun);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), number)
    }

    fn pages(outcomes: impl IntoIterator<Item = (TxnId, Decision)>) -> Vec<PackedPage> {
        let page = |(txn, decision)| {
            let mut page = OutcomePage::new(PageKey::of(txn));
            page.put_decision(txn, decision);
            page.pack()
        };
        outcomes.into_iter().map(page).collect()
    }

    fn committed(ts: u64) -> Decision {
        Decision::Commit { commit_ts: Timestamp(ts) }
    }

    #[test]
    fn what_is_forgotten_is_unknown_and_what_never_was_is_aborted() {
        let mut history = History::default();
        let aborted = Decision::Abort { reason: AbortReason::SnapshotTooOld };
        let retired = pages([(txn(1000, 7), committed(9)), (txn(9000, 700), aborted)]);
        history.add(retired, Timestamp::from_millis(20_000));
        assert_eq!(history.outcome(txn(1000, 7)), Outcome::Committed(Timestamp(9)));
        assert_eq!(history.outcome(txn(9000, 700)), Outcome::Aborted(AbortReason::SnapshotTooOld));
        assert_eq!(history.outcome(txn(5000, 8)), Outcome::Aborted(AbortReason::DeadlinePassed));
        let mut bytes = Vec::new();
        history.encode(&mut bytes);
        assert_eq!(History::decode(&mut Reader::new(&bytes)).unwrap(), history);

        let later = pages([(txn(3_605_000, 7000), committed(10))]);
        history.add(later, Timestamp::from_millis(3_606_000));
        assert_eq!(history.outcome(txn(1000, 7)), Outcome::Unknown);
        assert_eq!(history.outcome(txn(500, 6)), Outcome::Unknown);
        assert_eq!(history.outcome(txn(9000, 700)), Outcome::Aborted(AbortReason::SnapshotTooOld));
    }

    #[test]
    fn a_page_may_come_in_parts() {
        let mut history = History::default();
        let now = Timestamp::from_millis(20_000);
        history.add(pages([(txn(1000, 7), committed(9))]), now);
        history.add(pages([(txn(1001, 8), committed(10))]), now);
        assert_eq!(history.outcome(txn(1000, 7)), Outcome::Committed(Timestamp(9)));
        assert_eq!(history.outcome(txn(1001, 8)), Outcome::Committed(Timestamp(10)));
        // A frontend that counts wrongly is told that it is not known what became of the other one.
        history.add(pages([(txn(1002, 8), committed(11))]), now);
        assert_eq!(history.outcome(txn(1001, 8)), Outcome::Committed(Timestamp(10)));
        assert_eq!(history.outcome(txn(1002, 8)), Outcome::Unknown);
    }

    #[test]
    fn many_pages_come_and_go_and_a_copy_stays_as_it_was() {
        let mut history = History::default();
        let outcome = |n: u64| (txn(1000 * n, 64 * n), committed(n + 1));
        let add = |history: &mut History, n: u64| {
            history.add(pages([outcome(n)]), Timestamp::from_millis(1000 * n));
        };
        (0..5000).for_each(|n| add(&mut history, n));
        // An hour is 3600 of them, and the one on its edge.
        assert_eq!(history.pages().count(), 3601);
        assert!(history.segments.len() <= 3600 / SEGMENT + 2);
        let is_remembered = |history: &History, n: u64| history.outcome(outcome(n).0) != Outcome::Unknown;
        assert!(
            !is_remembered(&history, 1398) && is_remembered(&history, 1399) && is_remembered(&history, 4999)
        );
        let bytes_of = |history: &History| {
            let mut bytes = Vec::new();
            history.encode(&mut bytes);
            bytes
        };
        let (copy, bytes) = (history.to_write(), bytes_of(&history));
        (5000..9000).for_each(|n| add(&mut history, n));
        history
            .add(pages([(txn(8_000_000, 64 * 8000 + 1), committed(9))]), Timestamp::from_millis(9_000_000));
        assert_eq!(bytes_of(&copy), bytes);
        let again = History::decode(&mut Reader::new(&bytes_of(&history))).unwrap();
        assert_eq!(again, history);
        assert!((0..9000).all(|n| again.outcome(outcome(n).0) == history.outcome(outcome(n).0)));
    }

    #[test]
    fn what_the_first_version_wrote_is_still_read() {
        let mut bytes = Vec::new();
        bytes.put_u64(Timestamp::from_millis(50).0);
        bytes.put_varint(2);
        flat::put_txn(&mut bytes, txn(1000, 7));
        bytes.put_u8(1);
        bytes.put_u64(9);
        flat::put_txn(&mut bytes, txn(1000, 8));
        bytes.put_u8(2);
        flat::put_reason(&mut bytes, &AbortReason::SnapshotTooOld);
        let history = History::decode_v1(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(history.outcome(txn(1000, 7)), Outcome::Committed(Timestamp(9)));
        assert_eq!(history.outcome(txn(1000, 8)), Outcome::Aborted(AbortReason::SnapshotTooOld));
        assert_eq!(history.outcome(txn(40, 1)), Outcome::Unknown);
    }
}
