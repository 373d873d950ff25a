//! Protocol §7, §14: an intent is deleted only once nobody who counts can need it.
//!
//! Seen while it happens: a replica that can get an intent from nobody halts with an alarm.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let name = "no_intent_deleted_before_its_version_is_durable_everywhere";
    match evidence.outcome.history.seen.iter().find(|violation| violation.invariant == name) {
        Some(violation) => Err(violation.clone()),
        None => Ok(()),
    }
}
