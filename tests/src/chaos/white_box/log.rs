//! Whether the logs of all nodes are one log.
//!
//! What is committed: everything up to the last entry that some node knew to be committed, or that a majority of the voters
//! has and no other voter contradicts. Everywhere below, every node that still has an entry must have the same one.

use super::{NodeEvidence, Report};
use assize_consensus::evidence::{Content, EntryId, Logged};
use assize_model::NodeId;
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "logs_agree";

/// The committed log, in order and without a gap, as far back as any node has it.
pub fn agree<'a>(nodes: &'a [NodeEvidence], report: &mut Report) -> Vec<&'a Logged> {
    let Some(end) = committed_end(nodes) else {
        report.wrong(RULE, || "nothing is committed".to_owned());
        return Vec::new();
    };
    let mut agreed: BTreeMap<u64, (&Logged, u64)> = BTreeMap::new();
    for node in nodes {
        let mut last: Option<EntryId> = None;
        for entry in &node.log.entries {
            if last.is_some_and(|last| entry.id.index != last.index + 1 || entry.id.term < last.term) {
                report.wrong(RULE, || format!("node {} has {:?} after {last:?}", node.node, entry.id));
            }
            last = Some(entry.id);
            if entry.id.index > end {
                continue;
            }
            let (first, of) = *agreed.entry(entry.id.index).or_insert((entry, node.node));
            if first != entry {
                let what = || {
                    let ids = (first.id, entry.id);
                    format!(
                        "nodes {of} and {} differ in a committed entry: {:?}, {:?}",
                        node.node, ids.0, ids.1
                    )
                };
                report.wrong(RULE, what);
            }
        }
        let known = node.log.committed;
        if known.is_some_and(|known| agreed.get(&known.index).is_some_and(|(entry, _)| entry.id != known)) {
            report
                .wrong(RULE, || format!("node {} knew {known:?} to be committed, and it is not", node.node));
        }
    }
    let mut log: Vec<&Logged> = Vec::with_capacity(agreed.len());
    for (index, (entry, _)) in agreed {
        if log.last().is_some_and(|last| last.id.index + 1 != index) {
            report.wrong(RULE, || format!("no node has the entries before {index}"));
            return Vec::new();
        }
        log.push(entry);
    }
    if log.last().is_none_or(|last| last.id.index < end) {
        report.wrong(RULE, || format!("entry {end} is committed, and no node has it"));
    }
    log
}

/// The last index that is certainly committed.
fn committed_end(nodes: &[NodeEvidence]) -> Option<u64> {
    let known = nodes.iter().filter_map(|node| node.log.committed).map(|id| id.index).max();
    let voters = nodes.iter().flat_map(|node| &node.log.entries).filter_map(|entry| match &entry.content {
        Content::Voters(voters) => Some((entry.id, voters)),
        _ => None,
    });
    let everybody: BTreeSet<NodeId> = nodes.iter().map(|node| NodeId(node.node)).collect();
    let voters = voters.max_by_key(|(id, _)| (id.term, id.index)).map_or(&everybody, |(_, voters)| voters);
    let of_voters = || nodes.iter().filter(|node| voters.contains(&NodeId(node.node)));
    // What a majority has may still be replaced, if it is of an old term and another node has something else there.
    let is_settled = |id: EntryId| {
        let there: Vec<EntryId> = of_voters().filter_map(|node| entry_at(node, id.index)).collect();
        there.len() * 2 > voters.len() && there.iter().all(|other| *other == id)
    };
    let settled = of_voters().filter_map(|node| {
        node.log.entries.iter().rev().map(|entry| entry.id).find(|id| is_settled(*id)).map(|id| id.index)
    });
    settled.max().max(known)
}

fn entry_at(node: &NodeEvidence, index: u64) -> Option<EntryId> {
    let first = node.log.entries.first()?.id.index;
    let at = usize::try_from(index.checked_sub(first)?).ok()?;
    node.log.entries.get(at).map(|entry| entry.id)
}
