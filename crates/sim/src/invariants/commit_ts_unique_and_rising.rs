//! Protocol §3: commit timestamps rise strictly with the log.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for pair in evidence.commits.windows(2) {
        if pair[1].commit_ts <= pair[0].commit_ts {
            let what = format!(
                "{:?} at {} ({}) comes after {:?} at {} ({})",
                pair[1].txn, pair[1].commit_ts, pair[1].index, pair[0].txn, pair[0].commit_ts, pair[0].index
            );
            return Err(Violation::new("commit_ts_unique_and_rising", what));
        }
    }
    Ok(())
}
