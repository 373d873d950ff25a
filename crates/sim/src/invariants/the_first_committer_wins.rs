//! Protocol §9: between the snapshot at which a key was first written (or, at SERIALIZABLE, read) and the commit, nobody
//! else committed it; likewise for ranges. Worked out from what clients read and wrote, not from footprints.

use super::{Commit, Evidence};
use crate::history::Violation;
use assize_model::{Key, KeyRange, Timestamp};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let mut written: BTreeMap<Key, Vec<&Commit>> = BTreeMap::new();
    for commit in evidence.by_timestamp() {
        let transaction = evidence.transaction(commit);
        let writes = transaction.writes.iter().map(|(at, m)| (*at, KeyRange::point(m.key.clone()), "writes"));
        let reads = transaction.reads.iter().filter(|read| read.is_checked);
        let reads = reads.map(|read| (read.snapshot_ts, read.range.clone(), "reads"));
        for (snapshot_ts, range, how) in writes.chain(reads) {
            if let Some((key, other)) = later(&written, &range, snapshot_ts) {
                let what = format!(
                    "{:?} ({}) commits at {} what it {how} at {snapshot_ts}, but {:?} committed {key:?} at {}",
                    commit.txn, transaction.kind, commit.commit_ts, other.txn, other.commit_ts
                );
                return Err(Violation::new("the_first_committer_wins", what));
            }
        }
        for mutation in &commit.writes {
            written.entry(mutation.key.clone()).or_default().push(commit);
        }
    }
    Ok(())
}

/// A commit in the range after this timestamp.
fn later<'a>(
    written: &'a BTreeMap<Key, Vec<&'a Commit>>,
    range: &KeyRange,
    after: Timestamp,
) -> Option<(&'a Key, &'a Commit)> {
    written
        .range(range.start.clone()..range.end.clone())
        .find_map(|(key, commits)| commits.last().filter(|c| c.commit_ts > after).map(|c| (key, *c)))
}
