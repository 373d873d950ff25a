//! Protocol §9: once a change of a table's schema has committed, nobody commits who planned with the schema before.

use super::Evidence;
use crate::history::Violation;
use assize_model::{SchemaVersion, TableId};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let mut fences: BTreeMap<TableId, SchemaVersion> = BTreeMap::new();
    for commit in &evidence.commits {
        if let Some((table, version)) = evidence.transaction(commit).schema
            && let Some(fence) = fences.get(&table)
            && version < *fence
        {
            let what = format!("{:?} planned with {version} of {table}, fenced at {fence}", commit.txn);
            return Err(Violation::new("no_commit_past_a_schema_fence", what));
        }
        for fence in commit.footprint.catalog_change.iter().flat_map(|change| &change.fences) {
            fences.insert(fence.table, fence.min_version);
        }
    }
    Ok(())
}
