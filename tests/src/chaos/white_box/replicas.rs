//! Whether the shard replicas hold what the log says: every version, and nothing else.
//!
//! The log does not have the writes of prepared commits. Those are taken from a replica whose versions of that timestamp are
//! what the receipt in the log is a digest of; from then on they are judged like all others. Where every replica has collected
//! some of them, the others are not judged here; what the client's statements say is compared with the digest instead
//! ([`super::clients`]).

use super::replay::{Commit, Replayed, Write};
use super::{Case, NodeEvidence, Report};
use assize_model::*;
use assize_mvcc::{Remains, StoredVersion};
use assize_shards::embedded::ReplicaRemains;
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "atomicity_across_participants";

/// The versions of a shard, by key and then the newest first.
type Versions<'a> = BTreeMap<(&'a Key, std::cmp::Reverse<Timestamp>), &'a Mutation>;

/// What a replica holds, by when it was committed.
type ByTimestamp<'a> = BTreeMap<Timestamp, Vec<&'a Mutation>>;

/// Compares every replica of every shard with the log, and completes prepared commits.
pub fn check(case: &Case, replayed: &mut Replayed, report: &mut Report) {
    complete(case, replayed, report);
    if replayed.is_moved {
        report.remarks.push("slots moved: versions were not compared with the log".to_owned());
        return;
    }
    let mut shards: BTreeMap<ShardId, Vec<(&Commit, &Mutation)>> = BTreeMap::new();
    // Versions of these are what is left of writes that are not known whole.
    let mut partly: BTreeSet<(ShardId, Timestamp)> = BTreeSet::new();
    for commit in &replayed.commits {
        partly.extend(commit.missing.iter().map(|receipt| (receipt.shard, commit.commit_ts)));
        for write in &commit.writes {
            shards.entry(write.shard).or_default().push((commit, &write.mutation));
        }
    }
    let nothing = Vec::new();
    for node in &case.nodes {
        for replica in &node.replicas {
            if let Some(contents) = &replica.contents {
                let written = shards.get(&replica.shard).unwrap_or(&nothing);
                let is_partly = |ts: Timestamp| partly.contains(&(replica.shard, ts));
                compare(node, replica, (contents, is_partly), written, report);
            }
        }
    }
}

fn compare(
    node: &NodeEvidence,
    replica: &ReplicaRemains,
    (contents, is_partly): (&Remains, impl Fn(Timestamp) -> bool),
    written: &[(&Commit, &Mutation)],
    report: &mut Report,
) {
    let name = || format!("{} of node {} at {:?}", replica.shard, node.node, contents.position.index);
    let up_to = written.partition_point(|(commit, _)| commit.index <= contents.position.index);
    let mut expected: Versions<'_> = written[..up_to]
        .iter()
        .map(|(commit, mutation)| ((&mutation.key, std::cmp::Reverse(commit.commit_ts)), *mutation))
        .collect();
    for StoredVersion { commit_ts, mutation } in &contents.versions {
        report.versions += 1;
        let found = expected.remove(&(&mutation.key, std::cmp::Reverse(*commit_ts)));
        if found != Some(mutation) && !is_partly(*commit_ts) {
            report.wrong(RULE, || {
                format!("{} has {mutation:?} at {commit_ts}, and the log has {found:?}", name())
            });
        }
    }
    let held = newest_below(&contents.versions, contents.low_water);
    for ((key, std::cmp::Reverse(commit_ts)), mutation) in expected {
        // What no snapshot from the low-water mark on can see may have been collected.
        let may_be_gone = commit_ts <= contents.low_water
            && (!matches!(mutation.op, MutationOp::Put(_))
                || held.get(key).is_some_and(|newer| *newer > commit_ts)
                || is_covered(written, key, commit_ts, contents.low_water));
        if !may_be_gone {
            report.wrong(RULE, || format!("{} lacks {mutation:?}, committed at {commit_ts}", name()));
        }
    }
}

/// The newest version of each key that is at or below a timestamp; a lock marker hides nothing.
fn newest_below(versions: &[StoredVersion], at: Timestamp) -> BTreeMap<&Key, Timestamp> {
    let mut newest = BTreeMap::new();
    for version in
        versions.iter().filter(|version| version.commit_ts <= at && version.mutation.op != MutationOp::Lock)
    {
        newest.entry(&version.mutation.key).or_insert(version.commit_ts);
    }
    newest
}

/// Whether a newer value of the key was committed at or below the low-water mark: a delete, which leaves nothing behind.
fn is_covered(written: &[(&Commit, &Mutation)], key: &Key, after: Timestamp, low_water: Timestamp) -> bool {
    written.iter().any(|(commit, mutation)| {
        mutation.key == *key
            && commit.commit_ts > after
            && commit.commit_ts <= low_water
            && mutation.op != MutationOp::Lock
    })
}

/// Gives prepared commits their writes.
fn complete(case: &Case, replayed: &mut Replayed, report: &mut Report) {
    if replayed.commits.iter().all(|commit| commit.receipts.is_empty()) {
        return;
    }
    let mut replicas: BTreeMap<ShardId, Vec<(&Remains, ByTimestamp<'_>)>> = BTreeMap::new();
    for replica in case.nodes.iter().flat_map(|node| &node.replicas) {
        if let Some(contents) = &replica.contents {
            let mut by_ts = ByTimestamp::new();
            for version in &contents.versions {
                by_ts.entry(version.commit_ts).or_default().push(&version.mutation);
            }
            replicas.entry(replica.shard).or_default().push((contents, by_ts));
        }
    }
    for commit in &mut replayed.commits {
        for receipt in commit.receipts.clone() {
            let shard = receipt.shard;
            let mut found: Option<Vec<Mutation>> = None;
            for (contents, by_ts) in replicas.get(&shard).into_iter().flatten() {
                if contents.position.index < commit.index {
                    continue;
                }
                let writes = by_ts.get(&commit.commit_ts).cloned().unwrap_or_default();
                if WriteDigest::of(writes.iter().copied()) == receipt.digest {
                    found = Some(writes.into_iter().cloned().collect());
                } else if commit.commit_ts > contents.low_water {
                    report.wrong(RULE, || {
                        format!(
                            "{:?} was prepared on {shard} as {:?}, which has {writes:?}",
                            commit.txn, receipt.digest
                        )
                    });
                }
            }
            match found {
                Some(writes) => {
                    commit.writes.extend(writes.into_iter().map(|mutation| Write { shard, mutation }));
                }
                None => commit.missing.push(receipt),
            }
        }
    }
}
