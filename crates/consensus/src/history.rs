//! Outcomes that nobody is expected to ask for any more, kept in case somebody does.
//!
//! The core forgets an outcome once its deadline has passed and its frontend has acknowledged it. A client that
//! lost its connection at the wrong moment may ask much later whether its transaction committed; here the
//! answer is kept for an hour, or for as many outcomes as fit. What has been forgotten is *unknown*, never a
//! guessed abort.

use assize_adjudicator::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{AbortReason, Decision, Outcome, Timestamp, TxnId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long outcomes are kept.
const KEPT: Duration = Duration::from_secs(3600);
/// How many are kept.
const KEPT_MAX: usize = 1 << 20;

/// Old outcomes, by id; ids sort by the time at which their commit began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    outcomes: BTreeMap<TxnId, Past>,
    /// Of transactions that began at or before this, some are forgotten.
    forgotten: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Past {
    Committed(Timestamp),
    // Boxed: most outcomes are commits, and there are many.
    Aborted(Box<AbortReason>),
}

impl History {
    /// Takes in outcomes that left the core's memory.
    pub fn add(&mut self, retired: Vec<(TxnId, Decision)>, now: Timestamp) {
        for (txn, decision) in retired {
            let past = match decision {
                Decision::Commit { commit_ts } => Past::Committed(commit_ts),
                Decision::Abort { reason } => Past::Aborted(Box::new(reason)),
            };
            self.outcomes.insert(txn, past);
        }
        let mut is_full = self.outcomes.len() > KEPT_MAX;
        while let Some(oldest) = self.outcomes.first_entry()
            && (is_full || oldest.key().begun().later(KEPT) < now)
        {
            self.forgotten = self.forgotten.max(oldest.key().begun());
            oldest.remove();
            is_full = self.outcomes.len() > KEPT_MAX;
        }
    }

    /// What became of a transaction that the core no longer knows and that can no longer commit.
    pub fn outcome(&self, txn: TxnId) -> Outcome {
        match self.outcomes.get(&txn) {
            Some(Past::Committed(commit_ts)) => Outcome::Committed(*commit_ts),
            Some(Past::Aborted(reason)) => Outcome::Aborted((**reason).clone()),
            None if txn.begun() <= self.forgotten => Outcome::Unknown,
            // Nothing this young is forgotten, so nobody ever decided it.
            None => Outcome::Aborted(AbortReason::DeadlinePassed),
        }
    }

    /// Writes it at the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.forgotten.0);
        out.put_varint(self.outcomes.len() as u64);
        for (txn, past) in &self.outcomes {
            flat::put_txn(out, *txn);
            match past {
                Past::Committed(commit_ts) => {
                    out.put_u8(1);
                    out.put_u64(commit_ts.0);
                }
                Past::Aborted(reason) => {
                    out.put_u8(2);
                    flat::put_reason(out, reason);
                }
            }
        }
    }

    /// Reads it back.
    pub fn decode(reader: &mut Reader<'_>) -> Result<History, DecodeError> {
        let forgotten = Timestamp(reader.u64()?);
        let mut outcomes = BTreeMap::new();
        for _ in 0..reader.count(17)? {
            let txn = flat::read_txn(reader)?;
            let past = match reader.u8()? {
                1 => Past::Committed(Timestamp(reader.u64()?)),
                2 => Past::Aborted(Box::new(flat::read_reason(reader)?)),
                other => return Err(reader.bad("kind of outcome", other.into())),
            };
            outcomes.insert(txn, past);
        }
        Ok(History { outcomes, forgotten })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId};

    fn txn(begun: u64) -> TxnId {
        let begun = Timestamp::from_millis(begun);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 7)
    }

    #[test]
    fn what_is_forgotten_is_unknown_and_what_never_was_is_aborted() {
        let mut history = History::default();
        let committed = Decision::Commit { commit_ts: Timestamp(9) };
        let aborted = Decision::Abort { reason: AbortReason::SnapshotTooOld };
        history
            .add(vec![(txn(1000), committed.clone()), (txn(9000), aborted)], Timestamp::from_millis(20_000));
        assert_eq!(history.outcome(txn(1000)), Outcome::Committed(Timestamp(9)));
        assert_eq!(history.outcome(txn(9000)), Outcome::Aborted(AbortReason::SnapshotTooOld));
        assert_eq!(history.outcome(txn(5000)), Outcome::Aborted(AbortReason::DeadlinePassed));
        let mut bytes = Vec::new();
        history.encode(&mut bytes);
        assert_eq!(History::decode(&mut Reader::new(&bytes)).unwrap(), history);

        history.add(vec![(txn(3_605_000), committed)], Timestamp::from_millis(3_606_000));
        assert_eq!(history.outcome(txn(1000)), Outcome::Unknown);
        assert_eq!(history.outcome(txn(500)), Outcome::Unknown);
        assert_eq!(history.outcome(txn(9000)), Outcome::Aborted(AbortReason::SnapshotTooOld));
    }
}
