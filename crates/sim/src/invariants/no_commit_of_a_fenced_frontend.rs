//! Protocol §14: a frontend's life ends by a log entry, and after that entry nothing of that life commits.

use super::Evidence;
use crate::history::Violation;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for commit in &evidence.commits {
        if commit.txn.frontend_epoch() != commit.life {
            let what = format!("{:?} commits at {} in life {}", commit.txn, commit.commit_ts, commit.life);
            return Err(Violation::new("no_commit_of_a_fenced_frontend", what));
        }
    }
    Ok(())
}
