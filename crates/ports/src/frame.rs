//! Transactions that travel together: what asks for their decisions, and the decisions, both without an object for each of
//! them.

use crate::AdjudicatorError;
use assize_model::{Decision, FrontendEpoch, FrontendId, Timestamp, TxnId};
use bytes::Bytes;

/// Footprints in the adjudicator's encoding (`assize_adjudicator::EncodedFootprint`), one after the other: each says how
/// long it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footprints {
    /// All of them.
    pub bytes: Bytes,
    /// How many.
    pub count: u32,
}

impl Footprints {
    /// One footprint.
    pub fn one(footprint: Bytes) -> Footprints {
        Footprints { bytes: footprint, count: 1 }
    }

    /// Several, which have about so many bytes together.
    pub fn joined<'a>(size: usize, footprints: impl IntoIterator<Item = &'a Bytes>) -> Footprints {
        let mut bytes = Vec::with_capacity(size);
        let mut count = 0;
        for footprint in footprints {
            bytes.extend_from_slice(footprint);
            count += 1;
        }
        Footprints { bytes: bytes.into(), count }
    }
}

impl<'a> FromIterator<&'a Bytes> for Footprints {
    fn from_iter<I: IntoIterator<Item = &'a Bytes>>(footprints: I) -> Footprints {
        Footprints::joined(0, footprints)
    }
}

/// The decision about one footprint, or why there is none.
pub type Decided = Result<Decision, AdjudicatorError>;

/// The same thing about some footprints in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecisionRun {
    /// They committed, the first at this timestamp and each next one a tick later.
    Commits {
        /// How many; never zero.
        count: u32,
        /// When the first of them committed.
        first: Timestamp,
    },
    /// Each of so many (never zero) has this answer.
    Same(u32, Decided),
}

impl DecisionRun {
    /// How many footprints it is about.
    pub fn count(&self) -> u32 {
        match self {
            DecisionRun::Commits { count, .. } | DecisionRun::Same(count, _) => *count,
        }
    }

    /// Cuts the first `count` off; there are more.
    fn cut(&mut self, count: u32) -> DecisionRun {
        match self {
            DecisionRun::Commits { count: all, first } => {
                let cut = DecisionRun::Commits { count, first: *first };
                *all -= count;
                *first = first.plus(u64::from(count));
                cut
            }
            DecisionRun::Same(all, decided) => {
                *all -= count;
                DecisionRun::Same(count, decided.clone())
            }
        }
    }

    fn get(&self, place: u32) -> Decided {
        match self {
            DecisionRun::Commits { first, .. } => {
                Ok(Decision::Commit { commit_ts: first.plus(u64::from(place)) })
            }
            DecisionRun::Same(_, decided) => decided.clone(),
        }
    }
}

/// The decisions about the footprints of a frame, in their order. Nearly all of them commit in a row, so they are kept as
/// runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrameDecisions {
    len: u32,
    runs: Vec<DecisionRun>,
}

impl FrameDecisions {
    /// The same answer for all of so many.
    pub fn all(count: u32, decided: Decided) -> FrameDecisions {
        let mut decisions = FrameDecisions::default();
        decisions.push_run(DecisionRun::Same(count, decided));
        decisions
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The runs.
    pub fn runs(&self) -> &[DecisionRun] {
        &self.runs
    }

    /// Adds a run, unless it is an empty one.
    pub fn push_run(&mut self, run: DecisionRun) {
        if run.count() == 0 {
            return;
        }
        self.len += run.count();
        if let DecisionRun::Commits { count: more, first: next } = &run
            && let Some(DecisionRun::Commits { count, first }) = self.runs.last_mut()
            && first.plus(u64::from(*count)) == *next
        {
            *count += more;
            return;
        }
        self.runs.push(run);
    }

    /// Adds one answer.
    pub fn push(&mut self, decided: Decided) {
        self.push_run(match decided {
            Ok(Decision::Commit { commit_ts }) => DecisionRun::Commits { count: 1, first: commit_ts },
            other => DecisionRun::Same(1, other),
        });
    }

    /// Adds others behind these.
    pub fn extend(&mut self, others: FrameDecisions) {
        others.runs.into_iter().for_each(|run| self.push_run(run));
    }

    /// Each answer.
    pub fn iter(&self) -> impl Iterator<Item = Decided> + '_ {
        self.runs.iter().flat_map(|run| (0..run.count()).map(|place| run.get(place)))
    }

    /// How many are commits.
    pub fn commits(&self) -> u32 {
        let commits = |run: &DecisionRun| match run {
            DecisionRun::Commits { count, .. } => *count,
            DecisionRun::Same(count, Ok(Decision::Commit { .. })) => *count,
            DecisionRun::Same(..) => 0,
        };
        self.runs.iter().map(commits).sum()
    }

    /// Hands the answers out from the front.
    pub fn into_parts(self) -> DecisionParts {
        DecisionParts { runs: self.runs.into_iter(), next: None }
    }
}

impl FromIterator<Decided> for FrameDecisions {
    fn from_iter<I: IntoIterator<Item = Decided>>(decided: I) -> FrameDecisions {
        let mut decisions = FrameDecisions::default();
        decided.into_iter().for_each(|decided| decisions.push(decided));
        decisions
    }
}

/// The decisions of a frame for those who each want one of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IndexedDecisions {
    decisions: FrameDecisions,
    /// Behind the last footprint of each run.
    ends: Vec<u32>,
}

impl From<FrameDecisions> for IndexedDecisions {
    fn from(decisions: FrameDecisions) -> Self {
        let mut end = 0;
        let ends = decisions.runs.iter().map(|run| {
            end += run.count();
            end
        });
        IndexedDecisions { ends: ends.collect(), decisions }
    }
}

impl IndexedDecisions {
    /// The answer to the footprint in this place. Behind the last one replies are lost.
    pub fn get(&self, place: u32) -> Decided {
        let run = self.ends.partition_point(|end| *end <= place);
        let first = run.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.decisions.runs.get(run).map_or(Err(AdjudicatorError::ReplyLost), |run| run.get(place - first))
    }
}

/// The answers of a frame, handed out to those whose footprints gathered in it.
pub struct DecisionParts {
    runs: std::vec::IntoIter<DecisionRun>,
    next: Option<DecisionRun>,
}

impl DecisionParts {
    /// The answers to the next `count` footprints. Where there are fewer, the replies are lost.
    pub fn take(&mut self, count: u32) -> FrameDecisions {
        let mut part = FrameDecisions::default();
        while part.len() < count {
            let wanted = count - part.len();
            let run = self.next.take().or_else(|| self.runs.next());
            match run {
                Some(mut run) if run.count() > wanted => {
                    part.push_run(run.cut(wanted));
                    self.next = Some(run);
                }
                Some(run) => part.push_run(run),
                None => part.push_run(DecisionRun::Same(wanted, Err(AdjudicatorError::ReplyLost))),
            }
        }
        part
    }

    /// The answer to the next footprint.
    pub fn take_one(&mut self) -> Decided {
        match self.next.take().or_else(|| self.runs.next()) {
            Some(mut run) if run.count() > 1 => {
                let one = run.cut(1).get(0);
                self.next = Some(run);
                one
            }
            Some(run) => run.get(0),
            None => Err(AdjudicatorError::ReplyLost),
        }
    }
}

/// Transactions of one life of a frontend that follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnRun {
    /// Whose.
    pub frontend: FrontendId,
    /// Of which life.
    pub epoch: FrontendEpoch,
    /// The sequence number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl TxnRun {
    /// A single transaction.
    pub fn one(txn: TxnId) -> TxnRun {
        TxnRun { frontend: txn.frontend(), epoch: txn.frontend_epoch(), first: txn.sequence(), count: 1 }
    }

    /// Adds a transaction to the last run if it follows it, or else begins another.
    pub fn push(runs: &mut Vec<TxnRun>, txn: TxnId) {
        TxnRun::push_run(runs, TxnRun::one(txn));
    }

    /// Adds a run to the last one if it follows it, or else puts it behind.
    pub fn push_run(runs: &mut Vec<TxnRun>, run: TxnRun) {
        match runs.last_mut() {
            Some(last)
                if (last.frontend, last.epoch, last.first + last.count)
                    == (run.frontend, run.epoch, run.first) =>
            {
                last.count += run.count;
            }
            _ => runs.push(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{AbortReason, DeadlineClass};

    fn commit(ts: u64) -> Decided {
        Ok(Decision::Commit { commit_ts: Timestamp(ts) })
    }

    #[test]
    fn decisions_are_kept_as_runs_and_come_back_one_by_one() {
        let abort: Decided = Ok(Decision::Abort { reason: AbortReason::Resolved });
        let lost: Decided = Err(AdjudicatorError::ReplyLost);
        let each = [commit(5), commit(6), abort.clone(), commit(7), commit(9), lost.clone(), abort.clone()];
        let decisions: FrameDecisions = each.iter().cloned().collect();
        assert_eq!(decisions.len(), 7);
        assert_eq!(decisions.runs().len(), 6);
        assert_eq!(decisions.commits(), 4);
        assert_eq!(decisions.iter().collect::<Vec<_>>(), each);
        for cut in 0..=7 {
            let mut parts = decisions.clone().into_parts();
            let mut both = parts.take(cut);
            assert_eq!(both.len(), cut);
            both.extend(parts.take(7 - cut));
            assert_eq!(both, decisions, "cut at {cut}");
            assert_eq!(parts.take_one(), lost, "there is nothing left");
        }
        let mut parts = decisions.into_parts();
        assert_eq!((0..7).map(|_| parts.take_one()).collect::<Vec<_>>(), each);
        let indexed = IndexedDecisions::from(each.iter().cloned().collect::<FrameDecisions>());
        assert_eq!((0..7).map(|place| indexed.get(place)).collect::<Vec<_>>(), each);
        assert_eq!(indexed.get(7), lost);
        assert_eq!(IndexedDecisions::default().get(0), lost);
    }

    #[test]
    fn one_answer_for_all_is_one_run() {
        let all = FrameDecisions::all(3, Err(AdjudicatorError::ReplyLost));
        assert_eq!(all.runs().len(), 1);
        assert_eq!(all.iter().count(), 3);
        assert!(FrameDecisions::all(0, Err(AdjudicatorError::ReplyLost)).is_empty());
    }

    #[test]
    fn transactions_that_follow_one_another_are_one_run() {
        let txn = |epoch, number| {
            TxnId::new(Timestamp(9), DeadlineClass::Normal, FrontendId(1), FrontendEpoch(epoch), number)
        };
        let mut runs = Vec::new();
        for (epoch, number) in [(1, 4), (1, 5), (1, 6), (1, 8), (2, 9)] {
            TxnRun::push(&mut runs, txn(epoch, number));
        }
        let shape: Vec<_> = runs.iter().map(|run| (run.epoch.0, run.first, run.count)).collect();
        assert_eq!(shape, [(1, 4, 3), (1, 8, 1), (2, 9, 1)]);
    }
}
