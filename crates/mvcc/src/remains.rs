//! All that a replica has on its disk, for somebody who judges it from outside.
//!
//! Nothing is left out and nothing is interpreted: covered versions, deletes and lock markers are there as they lie, and so is
//! what is left in slots that were lost. What may be missing is what a replica may have collected: versions at or below the
//! low-water mark that a newer one at or below it covers, and deletes and markers down there.

use crate::{Cursor, Engine, Family, Ownership, StoreError, key, record};
use assize_model::{Epoch, LogIndex, Mutation, MutationOp, Position, Timestamp, TxnId};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A version as it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredVersion {
    /// When it was committed.
    pub commit_ts: Timestamp,
    /// What was done to which key.
    pub mutation: Mutation,
}

/// All that a replica has on its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remains {
    /// How far it had applied the stream.
    pub position: Position,
    /// The shard's placement epoch there.
    pub epoch: Epoch,
    /// Below this versions may have been collected.
    pub low_water: Timestamp,
    /// Its slots.
    pub ownership: Ownership,
    /// Every version, by key and then the newest first.
    pub versions: Vec<StoredVersion>,
    /// Intents that were decided and are still kept, with the entries that decided them.
    pub decided: BTreeMap<TxnId, LogIndex>,
}

/// Reads all that an engine has; `None` if nothing was ever flushed to it.
pub fn remains<E: Engine>(engine: &E) -> Result<Option<Remains>, StoreError> {
    let Some(state) = engine.get(Family::Versions, key::STATE)? else { return Ok(None) };
    let state = record::decode_state(&state)?;
    let mut versions = Vec::new();
    let (lower, upper) = key::all_versions();
    let mut cursor = engine.cursor(Family::Versions, &lower, &upper)?;
    cursor.seek(&lower)?;
    while let Some((at, value)) = cursor.entry() {
        let (prefix, commit_ts) = key::split_version(at)?;
        let (kind, slot) = record::version_header(value)?;
        let op = match kind {
            record::Kind::Put => MutationOp::Put(Bytes::copy_from_slice(&value[record::VERSION_HEADER..])),
            record::Kind::Delete => MutationOp::Delete,
            record::Kind::Lock => MutationOp::Lock,
        };
        let mutation = Mutation { key: key::parse_prefix(prefix)?, slot, op };
        versions.push(StoredVersion { commit_ts, mutation });
        cursor.next()?;
    }
    Ok(Some(Remains {
        position: state.position,
        epoch: state.epoch,
        low_water: state.low_water,
        ownership: state.ownership,
        versions,
        decided: crate::store::read_marks(engine)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Applied, MemoryEngine, MvccStore, Options};
    use assize_model::*;

    #[test]
    fn every_version_is_there_as_it_lies() {
        let engine = MemoryEngine::new();
        assert_eq!(remains(&engine).unwrap(), None);
        let mut store = MvccStore::open(engine.clone(), Options::default()).unwrap();
        let txn = TxnId::new(Timestamp(0), DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
        let ops = [MutationOp::Put("x".into()), MutationOp::Delete, MutationOp::Lock];
        let mutations = ops.map(|op| Mutation { key: Key::from("k"), slot: Slot(7), op });
        for (n, mutation) in (1..).zip(&mutations) {
            let commit_ts = Timestamp(10 * n);
            let writes = ShardWrites::Inline(vec![mutation.clone()]);
            let entry = StreamEntry {
                after: LogIndex(n - 1),
                position: Position { index: LogIndex(n), closed_ts: commit_ts },
                commits: vec![ShardCommit { txn, commit_ts, writes }],
                epoch: None,
                slots: None,
                low_water: None,
            };
            assert_eq!(store.apply(&entry).unwrap(), Applied::Done(entry.position));
        }
        let found = remains(&engine).unwrap().unwrap();
        assert_eq!(found.position, Position { index: LogIndex(3), closed_ts: Timestamp(30) });
        let mut stored: Vec<StoredVersion> = (1..)
            .zip(mutations)
            .map(|(n, mutation)| StoredVersion { commit_ts: Timestamp(10 * n), mutation })
            .collect();
        stored.reverse();
        assert_eq!(found.versions, stored);
        assert!(found.decided.is_empty());
    }
}
