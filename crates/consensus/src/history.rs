//! Outcomes that nobody is expected to ask for any more, kept in case somebody does.
//!
//! The core forgets an outcome once its deadline has passed and its frontend has acknowledged it. A client that
//! lost its connection at the wrong moment may ask much later whether its transaction committed; here the
//! answer is kept for an hour, or for as many outcomes as fit. What has been forgotten is *unknown*, never a
//! guessed abort.
//!
//! Outcomes come in pages of consecutive transactions of one frontend, as the core held them, and stay in them: to take in a
//! page is to move a pointer.

use assize_adjudicator::OutcomePage;
use assize_adjudicator::flat;
use assize_adjudicator::page::{Found, PageKey};
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{Decision, Outcome, Timestamp, TxnId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long outcomes are kept.
const KEPT: Duration = Duration::from_secs(3600);
/// How many pages are kept: 72 MiB, four million outcomes of busy frontends.
const PAGES_MAX: usize = 1 << 16;

/// Old outcomes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    pages: BTreeMap<PageKey, Arc<OutcomePage>>,
    /// Every page once, in the order in which they came.
    order: VecDeque<PageKey>,
    /// Of transactions that began at or before this, some are forgotten.
    forgotten: Timestamp,
}

impl History {
    /// Takes in outcomes that left the core's memory.
    pub fn add(&mut self, retired: Vec<Arc<OutcomePage>>, now: Timestamp) {
        for page in retired {
            self.insert(page);
        }
        while let Some(oldest) = self.order.front()
            && (self.order.len() > PAGES_MAX || self.pages[oldest].begun_last().later(KEPT) < now)
        {
            let page = self.pages.remove(oldest).expect("what is in order is there");
            self.forgotten = self.forgotten.max(page.begun_last());
            self.order.pop_front();
        }
    }

    /// A page may come in parts: what its frontend acknowledged first, then the rest.
    fn insert(&mut self, page: Arc<OutcomePage>) {
        let Some(known) = self.pages.get_mut(&page.key()) else {
            self.order.push_back(page.key());
            self.pages.insert(page.key(), page);
            return;
        };
        for (txn, decision) in page.outcomes() {
            match known.get(txn) {
                Found::Nothing => Arc::make_mut(known).put_decision(txn, decision),
                Found::Decided(_) => {}
                // Its frontend gave one number to two transactions; there is room for one.
                Found::TakenByAnother => self.forgotten = self.forgotten.max(txn.begun()),
            }
        }
    }

    /// What became of a transaction that the core no longer knows and that can no longer commit.
    pub fn outcome(&self, txn: TxnId) -> Outcome {
        match self.pages.get(&PageKey::of(txn)).map(|page| page.get(txn)) {
            Some(Found::Decided(decision)) => Outcome::from(decision),
            _ if txn.begun() <= self.forgotten => Outcome::Unknown,
            // Nothing this young is forgotten, so nobody ever decided it.
            _ => Outcome::Aborted(assize_model::AbortReason::DeadlinePassed),
        }
    }

    /// Writes it at the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.forgotten.0);
        out.put_varint(self.order.len() as u64);
        self.order.iter().for_each(|key| self.pages[key].encode(out));
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
            history.insert(read_page(reader)?.into());
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
            history.insert(page.into());
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

    fn pages(outcomes: impl IntoIterator<Item = (TxnId, Decision)>) -> Vec<Arc<OutcomePage>> {
        let page = |(txn, decision)| {
            let mut page = OutcomePage::new(PageKey::of(txn));
            page.put_decision(txn, decision);
            Arc::new(page)
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
