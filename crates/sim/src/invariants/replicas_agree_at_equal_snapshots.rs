//! Protocol §14: replicas of a shard that compare what they hold at a snapshot find no difference, unless one was damaged on
//! purpose; and then it is that one. (Watched while it happens. That damage is found and healed shows in
//! `atomicity_across_participants`, which looks at every replica in the end.)

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let name = "replicas_agree_at_equal_snapshots";
    evidence.outcome.history.seen.iter().find(|seen| seen.invariant == name).cloned().map_or(Ok(()), Err)
}
