//! Protocol §3, §14: the low-water mark never passes a snapshot that somebody holds.
//!
//! Seen while it happens: whenever the leader raises the mark it is compared with every client's snapshot.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let name = "low_water_at_most_oldest_live_snapshot";
    match evidence.outcome.history.seen.iter().find(|violation| violation.invariant == name) {
        Some(violation) => Err(violation.clone()),
        None => Ok(()),
    }
}
