//! Commits on their way to whoever leads, and what is known of each.

use assize_adjudicator::footprints_of;
use assize_ports::{AdjudicatorError, Decided, DecisionRun, Footprints, FrameDecisions};
use bytes::Bytes;

/// Footprints that were handed over together, each decided on its own.
pub struct Batch {
    footprints: Footprints,
    /// After an attempt that did not decide them all, what is known of each.
    known: Option<Vec<Known>>,
}

/// A footprint, and what is known of it. `ReplyLost` stays until there is a decision: an attempt may have been proposed,
/// whatever became of later ones.
struct Known {
    footprint: Bytes,
    decided: Decided,
}

impl Batch {
    /// Footprints that nobody has seen yet.
    pub fn new(footprints: Footprints) -> Batch {
        Batch { footprints, known: None }
    }

    /// Those to send next, in order.
    pub fn open(&self) -> Footprints {
        match &self.known {
            None => self.footprints.clone(),
            Some(known) => {
                known.iter().filter(|known| is_open(&known.decided)).map(|known| &known.footprint).collect()
            }
        }
    }

    /// Takes the answers to those that were [`open`](Batch::open); `None` for all if the attempt got no answer. Returns all
    /// decisions, or why some footprints have to be sent again.
    pub fn learn(&mut self, answers: Option<FrameDecisions>) -> Result<FrameDecisions, AdjudicatorError> {
        match answers {
            // Nearly always.
            Some(answers)
                if self.known.is_none()
                    && answers.len() == self.footprints.count
                    && answers.runs().iter().all(is_settled) =>
            {
                Ok(answers)
            }
            answers => self.learn_each(answers),
        }
    }

    fn learn_each(&mut self, answers: Option<FrameDecisions>) -> Result<FrameDecisions, AdjudicatorError> {
        let mut answers = answers.unwrap_or_default().into_parts();
        let known = self.known.get_or_insert_with(|| known_of(&self.footprints));
        let mut failed = None;
        for Known { decided, .. } in known.iter_mut().filter(|known| is_open(&known.decided)) {
            match answers.take_one() {
                Err(error) => {
                    if *decided != Err(AdjudicatorError::ReplyLost) {
                        *decided = Err(error.clone());
                    }
                    if is_open(decided) {
                        failed = Some(error);
                    }
                }
                decision => *decided = decision,
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(known.iter().map(|known| known.decided.clone()).collect()),
        }
    }

    /// What is known in the end; `why` there was not more.
    pub fn give_up(self, why: AdjudicatorError) -> FrameDecisions {
        let never = match why {
            // That of another one: this one was not proposed.
            AdjudicatorError::ReplyLost => {
                AdjudicatorError::Unreachable("the adjudicator's leader was lost".into())
            }
            why => why,
        };
        let Some(known) = self.known else { return FrameDecisions::all(self.footprints.count, Err(never)) };
        let settle = |known: Known| match known.decided {
            decided if is_open(&decided) && decided != Err(AdjudicatorError::ReplyLost) => Err(never.clone()),
            decided => decided,
        };
        known.into_iter().map(settle).collect()
    }
}

/// Each footprint by itself, not sent yet. What cannot be told apart is not worth sending.
fn known_of(footprints: &Footprints) -> Vec<Known> {
    let mut known = Vec::with_capacity(footprints.count as usize);
    let mut at = 0;
    for view in footprints_of(&footprints.bytes).map_while(Result::ok).take(footprints.count as usize) {
        let footprint = footprints.bytes.slice(at..at + view.len());
        at += view.len();
        known.push(Known { footprint, decided: Err(AdjudicatorError::Unreachable(String::new())) });
    }
    let unread = || AdjudicatorError::Overloaded("a footprint cannot be read".into());
    known
        .resize_with(footprints.count as usize, || Known { footprint: Bytes::new(), decided: Err(unread()) });
    known
}

/// Whether it is worth sending again: a leader that refuses for want of room has answered.
fn is_open(decided: &Decided) -> bool {
    use AdjudicatorError::{DiskFull, Overloaded, TooLarge};
    !matches!(decided, Ok(_) | Err(Overloaded(_) | DiskFull(_) | TooLarge(_)))
}

fn is_settled(run: &DecisionRun) -> bool {
    match run {
        DecisionRun::Commits { .. } => true,
        DecisionRun::Same(_, decided) => !is_open(decided),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_adjudicator::EncodedFootprint;
    use assize_model::{
        CommitBody, DeadlineClass, Decision, Footprint, FrontendEpoch, FrontendId, Timestamp, TxnId,
    };

    fn footprint(n: u64) -> Bytes {
        let txn = TxnId::new(Timestamp(9), DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n);
        let footprint = Footprint {
            txn,
            groups: Vec::new(),
            schemas: Vec::new(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline { mutations: Vec::new(), written: Vec::new() },
            catalog_change: None,
        };
        EncodedFootprint::new(&footprint).unwrap().bytes().clone()
    }

    fn frame(numbers: &[u64]) -> Footprints {
        numbers.iter().map(|n| footprint(*n)).collect::<Vec<_>>().iter().collect()
    }

    fn batch(count: u64) -> Batch {
        Batch::new(frame(&(0..count).collect::<Vec<_>>()))
    }

    fn answers(each: &[Decided]) -> FrameDecisions {
        each.iter().cloned().collect()
    }

    fn committed(ts: u64) -> Decided {
        Ok(Decision::Commit { commit_ts: Timestamp(ts) })
    }

    fn not_leader() -> AdjudicatorError {
        AdjudicatorError::NotLeader { leader: None }
    }

    fn busy() -> AdjudicatorError {
        AdjudicatorError::Overloaded("busy".into())
    }

    fn far() -> AdjudicatorError {
        AdjudicatorError::Unreachable("far".into())
    }

    const LOST: AdjudicatorError = AdjudicatorError::ReplyLost;

    #[test]
    fn what_is_decided_at_once_is_handed_on_as_it_came() {
        let all = answers(&[committed(1), committed(2), Err(busy())]);
        assert_eq!(batch(3).learn(Some(all.clone())), Ok(all));
    }

    #[test]
    fn only_what_is_open_is_sent_again_and_answers_find_their_places() {
        let mut batch = batch(4);
        let first = answers(&[committed(1), Err(not_leader()), Err(busy()), Err(not_leader())]);
        assert_eq!(batch.learn(Some(first)), Err(not_leader()));
        assert_eq!(batch.open(), frame(&[1, 3]));
        let all = answers(&[committed(1), committed(2), Err(busy()), committed(3)]);
        assert_eq!(batch.learn(Some(answers(&[committed(2), committed(3)]))), Ok(all));
    }

    #[test]
    fn what_may_have_been_proposed_is_never_called_unreachable_or_refused() {
        let mut batch = batch(2);
        assert_eq!(batch.learn(Some(answers(&[Err(LOST), Err(not_leader())]))), Err(not_leader()));
        assert_eq!(batch.learn(Some(answers(&[Err(busy()), Err(far())]))), Err(far()));
        assert_eq!(batch.give_up(far()), answers(&[Err(LOST), Err(far())]));
    }

    #[test]
    fn an_attempt_without_an_answer_may_have_been_proposed() {
        let mut batch = batch(2);
        assert_eq!(batch.learn(None), Err(LOST));
        assert_eq!(batch.open(), frame(&[0, 1]));
        assert_eq!(batch.give_up(far()), answers(&[Err(LOST), Err(LOST)]));
    }

    #[test]
    fn what_was_never_sent_is_unreachable() {
        assert_eq!(batch(1).give_up(far()), answers(&[Err(far())]));
        let lost = batch(1).give_up(LOST);
        assert!(matches!(lost.iter().next(), Some(Err(AdjudicatorError::Unreachable(_)))));
        assert!(batch(0).give_up(far()).is_empty());
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_sent_again() {
        let mut frame = frame(&[1]);
        frame.bytes = [&frame.bytes[..], b"no footprint"].concat().into();
        frame.count = 2;
        let mut batch = Batch::new(frame);
        assert_eq!(batch.learn(Some(answers(&[Err(far()), Err(busy())]))), Err(far()));
        assert_eq!(batch.open(), Footprints::one(footprint(1)));
    }
}
