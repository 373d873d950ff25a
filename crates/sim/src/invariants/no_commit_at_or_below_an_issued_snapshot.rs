//! Protocol §3, §14: once a snapshot was issued, or a timestamp closed, nothing commits at or below it.

use super::Evidence;
use crate::history::Violation;
use assize_model::Timestamp;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let history = &evidence.outcome.history;
    let mut all: Vec<(usize, Timestamp, &str)> = Vec::new();
    all.extend(history.issued.iter().map(|(log, ts)| (*log, *ts, "issued as a snapshot")));
    all.extend(evidence.closed.iter().map(|(log, ts)| (*log, *ts, "closed")));
    all.sort();
    // The highest timestamp that was handed out while the log was at most so long.
    let mut handed_out = all.into_iter().peekable();
    let mut highest = (Timestamp::ZERO, "");
    for commit in &evidence.commits {
        while let Some((_, ts, how)) = handed_out.next_if(|(log, ..)| (*log as u64) < commit.index.0) {
            highest = highest.max((ts, how));
        }
        if commit.commit_ts <= highest.0 {
            let what = format!(
                "{:?} commits at {} and {} was {} before",
                commit.txn, commit.commit_ts, highest.0, highest.1
            );
            return Err(Violation::new("no_commit_at_or_below_an_issued_snapshot", what));
        }
    }
    Ok(())
}
