//! Commits on their way to whoever leads, and what is known of each.

use assize_model::Decision;
use assize_ports::AdjudicatorError;
use bytes::Bytes;

/// The fate of one footprint.
pub type Decided = Result<Decision, AdjudicatorError>;

/// Footprints that were handed over together, each decided on its own.
pub struct Batch {
    footprints: Vec<Bytes>,
    /// What is known of each; empty before the first attempt. `ReplyLost` stays until there is a decision: an attempt may
    /// have been proposed, whatever became of later ones.
    known: Vec<Decided>,
}

impl Batch {
    /// Footprints that nobody has seen yet.
    pub fn new(footprints: Vec<Bytes>) -> Batch {
        Batch { footprints, known: Vec::new() }
    }

    /// Those to send next, in order.
    pub fn open(&self) -> Vec<Bytes> {
        if self.known.is_empty() {
            return self.footprints.clone();
        }
        let both = self.footprints.iter().zip(&self.known);
        both.filter(|(_, known)| is_open(known)).map(|(footprint, _)| footprint.clone()).collect()
    }

    /// Takes the answers to those that were [`open`](Batch::open); `None` for all if the attempt got no answer. Returns why
    /// some have to be sent again, if any have.
    pub fn learn(&mut self, answers: Option<Vec<Decided>>) -> Option<AdjudicatorError> {
        if self.known.is_empty() {
            match answers {
                // Nearly always.
                Some(answers)
                    if answers.len() == self.footprints.len() && answers.iter().all(Result::is_ok) =>
                {
                    self.known = answers;
                    return None;
                }
                answers => {
                    let not_sent = AdjudicatorError::Unreachable(String::new());
                    self.known = vec![Err(not_sent); self.footprints.len()];
                    return self.learn_again(answers);
                }
            }
        }
        self.learn_again(answers)
    }

    fn learn_again(&mut self, answers: Option<Vec<Decided>>) -> Option<AdjudicatorError> {
        let mut answers = answers.into_iter().flatten();
        let mut failed = None;
        for known in self.known.iter_mut().filter(|known| is_open(known)) {
            match answers.next().unwrap_or(Err(AdjudicatorError::ReplyLost)) {
                Err(error) => {
                    if *known != Err(AdjudicatorError::ReplyLost) {
                        *known = Err(error.clone());
                    }
                    if is_open(known) {
                        failed = Some(error);
                    }
                }
                decision => *known = decision,
            }
        }
        failed
    }

    /// What is known in the end; `why` there was not more.
    pub fn give_up(mut self, why: AdjudicatorError) -> Vec<Decided> {
        let never = match why {
            // That of another one: this one was not proposed.
            AdjudicatorError::ReplyLost => {
                AdjudicatorError::Unreachable("the adjudicator's leader was lost".into())
            }
            why => why,
        };
        self.known.resize(self.footprints.len(), Err(never.clone()));
        for known in self.known.iter_mut().filter(|known| is_open(known)) {
            if *known != Err(AdjudicatorError::ReplyLost) {
                *known = Err(never.clone());
            }
        }
        self.known
    }

    /// The decisions, once none is open.
    pub fn into_decided(self) -> Vec<Decided> {
        self.known
    }
}

/// Whether it is worth sending again: a leader that refuses for want of room has answered.
fn is_open(known: &Decided) -> bool {
    !matches!(known, Ok(_) | Err(AdjudicatorError::Overloaded(_) | AdjudicatorError::DiskFull(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::Timestamp;

    fn batch(count: usize) -> Batch {
        Batch::new((0..count).map(|n| Bytes::from(vec![n as u8])).collect())
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

    #[test]
    fn only_what_is_open_is_sent_again_and_answers_find_their_places() {
        let mut batch = batch(4);
        let answers = vec![committed(1), Err(not_leader()), Err(busy()), Err(not_leader())];
        assert_eq!(batch.learn(Some(answers)), Some(not_leader()));
        assert_eq!(batch.open(), [&[1][..], &[3][..]]);
        assert_eq!(batch.learn(Some(vec![committed(2), committed(3)])), None);
        assert_eq!(batch.into_decided(), [committed(1), committed(2), Err(busy()), committed(3)]);
    }

    #[test]
    fn what_may_have_been_proposed_is_never_called_unreachable_or_refused() {
        let mut batch = batch(2);
        assert_eq!(
            batch.learn(Some(vec![Err(AdjudicatorError::ReplyLost), Err(not_leader())])),
            Some(not_leader())
        );
        assert_eq!(batch.learn(Some(vec![Err(busy()), Err(far())])), Some(far()));
        let given_up = batch.give_up(far());
        assert_eq!(given_up, [Err(AdjudicatorError::ReplyLost), Err(far())]);
    }

    #[test]
    fn an_attempt_without_an_answer_may_have_been_proposed() {
        let mut batch = batch(2);
        assert_eq!(batch.learn(None), Some(AdjudicatorError::ReplyLost));
        assert_eq!(batch.open().len(), 2);
        let given_up = batch.give_up(far());
        assert_eq!(given_up, vec![Err(AdjudicatorError::ReplyLost); 2]);
    }

    #[test]
    fn what_was_never_sent_is_unreachable() {
        assert_eq!(batch(1).give_up(far()), [Err(far())]);
        let lost = batch(1).give_up(AdjudicatorError::ReplyLost);
        assert!(matches!(lost[0], Err(AdjudicatorError::Unreachable(_))));
        assert!(batch(0).give_up(far()).is_empty());
    }
}
