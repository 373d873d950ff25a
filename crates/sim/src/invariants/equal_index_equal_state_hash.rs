//! Protocol §2 (D1): nodes that have applied the same entries hold the same state, whether they applied them all or began
//! with a checkpoint. (The running hash of decisions is compared at every entry while it happens.)

use super::Evidence;
use crate::history::Violation;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let mut known = BTreeMap::new();
    for (index, hash) in &evidence.outcome.states {
        if *known.entry(index).or_insert(hash) != hash {
            let what = format!("two nodes differ after {index}");
            return Err(Violation::new("equal_index_equal_state_hash", what));
        }
    }
    Ok(())
}
