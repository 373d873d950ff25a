//! Protocol §11: what a client was told is committed is committed, at the timestamp it was told, once.

use super::Evidence;
use crate::history::{Told, Violation};
use assize_model::{Timestamp, TxnId};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let wrong = |what: String| Err(Violation::new("acknowledged_writes_survive", what));
    let mut by_record: BTreeMap<usize, TxnId> = BTreeMap::new();
    let mut by_id: BTreeMap<TxnId, Timestamp> = BTreeMap::new();
    for commit in &evidence.commits {
        if let Some(other) = by_record.insert(commit.record, commit.txn) {
            return wrong(format!("one transaction committed as {other:?} and again as {:?}", commit.txn));
        }
        by_id.insert(commit.txn, commit.commit_ts);
    }
    for transaction in &evidence.outcome.history.txns {
        if let Some((_, Told::Committed(txn, commit_ts))) = &transaction.told
            && by_id.get(txn) != Some(commit_ts)
        {
            let found = by_id.get(txn);
            return wrong(format!(
                "{txn:?} ({}) was told {commit_ts}, the log has {found:?}",
                transaction.kind
            ));
        }
    }
    Ok(())
}
