//! Protocol §5: whoever reads at a snapshot, on whichever replica and however often, sees exactly what had committed at
//! or below it: nothing more, nothing less, nothing half.

use super::Evidence;
use crate::history::Violation;
use assize_model::{Key, MutationOp};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let commits = evidence.by_timestamp();
    let mut reads: Vec<_> = evidence
        .outcome
        .history
        .txns
        .iter()
        .flat_map(|txn| txn.reads.iter().map(move |read| (txn, read)))
        .collect();
    reads.sort_by_key(|(_, read)| read.snapshot_ts);
    let mut commits = commits.into_iter().peekable();
    let mut data: BTreeMap<Key, Bytes> = BTreeMap::new();
    for (transaction, read) in reads {
        while let Some(commit) = commits.next_if(|commit| commit.commit_ts <= read.snapshot_ts) {
            super::apply(&mut data, &commit.writes);
        }
        let committed = data.range(read.range.start.clone()..read.range.end.clone());
        let mut expected: BTreeMap<Key, Bytes> =
            committed.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, own) in &read.own {
            match own {
                Some(value) => drop(expected.insert(key.clone(), value.clone())),
                None => drop(expected.remove(key)),
            }
        }
        let expected: Vec<(Key, Bytes)> = expected.into_iter().collect();
        if expected != read.rows {
            let what = format!(
                "a {} read {:?} at {} and saw {:?} instead of {expected:?}",
                transaction.kind, read.range, read.snapshot_ts, read.rows
            );
            return Err(Violation::new("a_snapshot_reads_the_same_until_gc", what));
        }
    }
    Ok(())
}

/// Applies writes to plain data.
pub(super) fn apply(data: &mut BTreeMap<Key, Bytes>, writes: &[assize_model::Mutation]) {
    for mutation in writes {
        match &mutation.op {
            MutationOp::Put(value) => drop(data.insert(mutation.key.clone(), value.clone())),
            MutationOp::Delete => drop(data.remove(&mutation.key)),
            MutationOp::Lock => {}
        }
    }
}
