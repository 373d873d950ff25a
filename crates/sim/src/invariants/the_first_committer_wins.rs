//! Protocol §9: between the snapshot at which a key was first written (or, at SERIALIZABLE, read) and the commit, nobody
//! else committed it; likewise for ranges. Worked out from what clients read and wrote, not from footprints. Who had nothing to
//! commit saw one moment: what it read must have been so at its newest snapshot.

use super::{Commit, Evidence};
use crate::history::{Told, Transaction, Violation};
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
    let ended = |transaction: &&Transaction| matches!(transaction.told, Some((_, Told::Ended)));
    evidence.outcome.history.txns.iter().filter(ended).try_for_each(|txn| saw_one_moment(txn, &written))
}

fn saw_one_moment(transaction: &Transaction, written: &BTreeMap<Key, Vec<&Commit>>) -> Result<(), Violation> {
    let newest = transaction.reads.iter().map(|read| read.snapshot_ts).max().unwrap_or_default();
    for read in transaction.reads.iter().filter(|read| read.is_checked && read.snapshot_ts < newest) {
        let others = written.range(read.range.start.clone()..read.range.end.clone());
        let between = |commit: &&&Commit| commit.commit_ts > read.snapshot_ts && commit.commit_ts <= newest;
        if let Some(other) = others.flat_map(|(_, commits)| commits).find(between) {
            let what = format!(
                "a {} read {:?} at {} and something else at {newest}, but {:?} committed it at {}",
                transaction.kind, read.range, read.snapshot_ts, other.txn, other.commit_ts
            );
            return Err(Violation::new("the_first_committer_wins", what));
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
