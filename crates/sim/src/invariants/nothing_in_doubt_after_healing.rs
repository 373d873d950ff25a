//! Protocol §11: some time after the world has healed no intent is undecided, and every client gets on.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    if let Some((place, txn)) = evidence.outcome.undecided.first() {
        let what = format!("{place:?} still holds an undecided intent of {txn:?}");
        return Err(Violation::new("nothing_in_doubt_after_healing", what));
    }
    match evidence.outcome.unfinished.first() {
        Some(client) => Err(Violation::new("nothing_in_doubt_after_healing", client.clone())),
        None => Ok(()),
    }
}
