//! Protocol §1, §11: after healing every replica of every shard shows exactly what was committed at or below one timestamp: all
//! of a transaction on all of its participants, or nothing on any.

use super::Evidence;
use crate::history::Violation;
use crate::world::Outcome;
use assize_model::{Key, ShardId};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let outcome: &Outcome = evidence.outcome;
    let wrong = |what: String| Err(Violation::new("atomicity_across_participants", what));
    let placement = &evidence.placement;
    let mut data: BTreeMap<Key, Bytes> = BTreeMap::new();
    for commit in evidence.by_timestamp().into_iter().filter(|commit| commit.commit_ts <= outcome.at) {
        super::apply(&mut data, &commit.writes);
    }
    let mut expected: BTreeMap<ShardId, Vec<(Key, Bytes)>> = BTreeMap::new();
    for (key, value) in data {
        let shard = placement.shard_of(crate::workload::slot_of(&key));
        expected.entry(shard).or_default().push((key, value));
    }
    for (place, content) in &outcome.contents {
        let expected = expected.entry(place.shard).or_default();
        match content {
            Ok(content) if content == expected => {}
            Ok(content) => return wrong(format!("{place:?} shows {content:?} instead of {expected:?}")),
            Err(error) => return wrong(format!("{place:?} shows nothing at {}: {error}", outcome.at)),
        }
    }
    Ok(())
}
