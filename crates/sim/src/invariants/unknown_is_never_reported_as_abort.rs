//! Protocol §11: a client that was told "aborted" will never find its writes.

use super::Evidence;
use crate::history::{Told, Violation};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    for commit in &evidence.commits {
        let transaction = evidence.transaction(commit);
        if let Some((_, Told::Aborted)) = transaction.told {
            let what = format!("{:?} ({}) committed at {}", commit.txn, transaction.kind, commit.commit_ts);
            return Err(Violation::new("unknown_is_never_reported_as_abort", what));
        }
    }
    Ok(())
}
