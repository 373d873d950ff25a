//! The log replayed through a fresh core: the same state as nodes wrote down, and decisions for others to judge.

use super::decisions::{Decided, Naive};
use super::{Case, Report};
use assize_adjudicator::Command;
use assize_catalog::Catalog;
use assize_consensus::evidence::{Content, Image, Logged, Replay};
use assize_model::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A write of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The shard that holds its slot at that entry.
    pub shard: ShardId,
    /// What is done to which key.
    pub mutation: Mutation,
}

/// A commit, as the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The entry.
    pub index: LogIndex,
    /// When.
    pub commit_ts: Timestamp,
    /// Whose.
    pub txn: TxnId,
    /// The snapshots of its footprint: the first, and the others.
    pub snapshots: Vec<Timestamp>,
    /// Its writes. Those of a prepared one are on the shards, and come here from there.
    pub writes: Vec<Write>,
    /// Of a prepared one: what its participants promised.
    pub receipts: Vec<Receipt>,
    /// Those of them whose writes no replica has whole: collected, or not flushed yet.
    pub missing: Vec<Receipt>,
    /// Where slots were at that entry.
    pub placement: Arc<Placement>,
}

/// What a replay found.
pub struct Replayed {
    /// All commits, in the order of the log.
    pub commits: Vec<Commit>,
    /// The catalog in the end.
    pub catalog: Catalog,
    /// Whether slots moved from one shard to another.
    pub is_moved: bool,
}

/// Replays a whole log; `None` if it is none.
pub fn replay(log: &[&Logged], case: &Case, report: &mut Report) -> Option<Replayed> {
    if log.first().is_none_or(|first| first.id.index > 1) {
        report.wrong("the_log_is_whole", || {
            format!("the log begins with {:?} at every node", log.first().map(|entry| entry.id))
        });
        return None;
    }
    let images = images(case, log, report);
    let mut replay = Replay::default();
    let mut naive = Naive::default();
    let mut commits = Vec::new();
    let mut slots = None;
    let mut placement = Arc::new(Placement::default());
    let mut is_moved = false;
    for entry in log {
        report.entries += 1;
        if let Content::Command(bytes) = &entry.content {
            let command = match Command::decode(bytes) {
                Ok(command) => command,
                Err(error) => {
                    report.wrong("the_log_is_whole", || format!("{:?} cannot be read: {error}", entry.id));
                    return None;
                }
            };
            let applied = replay.apply(entry.id.index, &command);
            let now = replay.core().placement();
            // The first entry of a cluster places them; before that there are none.
            is_moved |=
                !now.ranges.is_empty() && slots.get_or_insert_with(|| now.ranges.clone()) != &now.ranges;
            if now.epoch != placement.epoch {
                placement = Arc::new(now.clone());
            }
            naive.observe(&command, &applied);
            if let Command::Batch(batch) = &command {
                let seed = replay.core().identity().map_or(0, |identity| identity.hash_seed);
                for (place, (view, decision)) in batch.views().zip(applied.decisions.iter()).enumerate() {
                    let own_ts = applied.base_ts.plus(place as u64);
                    let footprint = view.to_footprint();
                    let decided = Decided { index: applied.index, base_ts: applied.base_ts, own_ts, seed };
                    let is_new = naive.judge(&decided, &footprint, &decision, report);
                    if is_new && decision.is_commit() {
                        commits.push(commit(applied.index, own_ts, footprint, placement.clone()));
                    }
                }
            }
        }
        for image in images.get(&entry.id.index).into_iter().flatten() {
            compare(image, &replay, report);
        }
    }
    let delta = replay.core().catalog_since(CatalogVersion(0));
    let objects: Vec<_> = delta
        .objects
        .iter()
        .map(|object| (object.name.clone(), object.version.0, object.bytes.clone()))
        .collect();
    let catalog = match Catalog::default().apply_objects(delta.to, true, &objects) {
        Ok(catalog) => catalog,
        Err(error) => {
            report.wrong("the_log_is_whole", || format!("the catalog in it cannot be read: {error}"));
            return None;
        }
    };
    Some(Replayed { commits, catalog, is_moved })
}

fn commit(index: LogIndex, commit_ts: Timestamp, footprint: Footprint, placement: Arc<Placement>) -> Commit {
    let snapshots = footprint.groups.iter().map(|group| group.snapshot_ts).collect();
    let (mutations, receipts) = match footprint.body {
        CommitBody::Inline { mutations, .. } => (mutations, Vec::new()),
        CommitBody::Prepared { receipts, .. } => (Vec::new(), receipts),
    };
    let write = |mutation: Mutation| Write { shard: placement.shard_of(mutation.slot), mutation };
    let writes = mutations.into_iter().map(write).collect();
    let txn = footprint.txn;
    Commit { index, commit_ts, txn, snapshots, writes, receipts, missing: Vec::new(), placement }
}

/// The checkpoints of all nodes by their last entry, which must be one of the log's.
fn images<'a>(case: &'a Case, log: &[&Logged], report: &mut Report) -> BTreeMap<u64, Vec<(u64, &'a Image)>> {
    let mut images: BTreeMap<u64, Vec<(u64, &Image)>> = BTreeMap::new();
    for node in &case.nodes {
        for image in &node.log.images {
            let is_known = image.last.is_some_and(|last| {
                let at = last.index.checked_sub(log.first().map_or(0, |first| first.id.index));
                at.and_then(|at| log.get(at as usize)).is_some_and(|entry| entry.id == last)
            });
            if is_known {
                let at = image.last.map_or(0, |last| last.index);
                images.entry(at).or_default().push((node.node, image));
            } else {
                report.wrong("equal_index_equal_state_hash", || {
                    format!(
                        "{} of node {} ends with {:?}, which is not committed",
                        image.name, node.node, image.last
                    )
                });
            }
        }
    }
    images
}

fn compare((node, image): &(u64, &Image), replay: &Replay, report: &mut Report) {
    report.checkpoints += 1;
    if image.state == replay.image() {
        return;
    }
    let theirs =
        Replay::from_image(&image.state).map(|theirs| (theirs.core().state_hash(), theirs.core().chain()));
    let ours = (replay.core().state_hash(), replay.core().chain());
    report.wrong("equal_index_equal_state_hash", || {
        format!(
            "{} of node {node}: hash and chain are {theirs:x?}, and a replay comes to {ours:x?}",
            image.name
        )
    });
}
