//! Protocol §3 (R2): a prepare that arrives past its deadline, as the replica's own stream tells, is refused.
//!
//! Seen while it happens: every Yes is compared with the closed timestamp of the replica that gives it.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let name = "every_prepare_past_its_deadline_is_refused";
    match evidence.outcome.history.seen.iter().find(|violation| violation.invariant == name) {
        Some(violation) => Err(violation.clone()),
        None => Ok(()),
    }
}
