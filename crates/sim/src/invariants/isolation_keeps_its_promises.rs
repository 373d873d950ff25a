//! Protocol §9, from the outside: after every commit the data keep what their workload promises, which takes snapshot
//! isolation for some tables and serializability for others.

use super::Evidence;
use crate::history::Violation;
use crate::workload::broken_promise;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let mut data = BTreeMap::new();
    for commit in evidence.by_timestamp() {
        super::apply(&mut data, &commit.writes);
        if let Some(broken) = broken_promise(&data) {
            let kind = evidence.transaction(commit).kind;
            let what = format!("after {:?} ({kind}) at {}: {broken}", commit.txn, commit.commit_ts);
            return Err(Violation::new("isolation_keeps_its_promises", what));
        }
    }
    Ok(())
}
