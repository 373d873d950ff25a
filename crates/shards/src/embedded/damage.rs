//! What becomes of stored bytes that are not those that were written.
//!
//! ```text
//!   rocks/      one store for all shards of the node
//!   damaged/    files of what was given up, for somebody who wants to look; nothing reads them, and they may be deleted
//!   damaged-3   the contents of shard 3 are to be given up at the next start
//! ```
//!
//! A replica that has siblings gives its contents up and copies one of them, as if its disk were new. If nobody else has
//! what it has, nothing is given up: the node does not start, or stops. A store that does not open at all is put aside as a
//! whole, if every shard of the node has siblings.

use super::engine::{Generation, family_names, parse_family_name, shape_of};
use super::registry::{Registry, RegistryError};
use assize_model::{NodeId, Placement, ShardId};
use assize_rocks::{Location, Options, RocksError, Store};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What has happened to contents of this node's replicas since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tallies {
    /// Contents given up because they were damaged.
    pub damaged: u64,
    /// Comparisons with siblings that found other rows.
    pub differing: u64,
    /// Replicas rebuilt from a sibling, whatever the reason.
    pub rebuilt: u64,
}

/// The same while it is being counted.
#[derive(Default)]
pub struct Tally {
    damaged: AtomicU64,
    differing: AtomicU64,
    rebuilt: AtomicU64,
}

impl Tally {
    pub fn count_damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_difference(&self) {
        self.differing.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_rebuilt(&self) {
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> Tallies {
        Tallies {
            damaged: self.damaged.load(Ordering::Relaxed),
            differing: self.differing.load(Ordering::Relaxed),
            rebuilt: self.rebuilt.load(Ordering::Relaxed),
        }
    }
}

/// Whether every shard with a replica on this node has others elsewhere.
pub fn have_siblings(placement: &Placement, node: NodeId) -> bool {
    let here = placement.shards.values().filter(|part| part.replicas.values().any(|on| *on == node));
    here.map(|part| part.replicas.len()).all(|replicas| replicas > 1)
}

/// Opens the store of a node and its table of replicas. If they are damaged and it `may_begin_anew`, they are put aside, and
/// the node begins with nothing.
pub fn open_store(
    directory: Option<&Path>,
    may_begin_anew: bool,
    options: &Options,
    tally: &Tally,
) -> Result<Registry, RegistryError> {
    let Some(directory) = directory else { return open_at(&Location::Memory, options) };
    let rocks = directory.join("rocks");
    let location = Location::Directory(rocks.clone());
    let reason = match open_at(&location, options) {
        Err(RegistryError::Store(RocksError::Damaged { reason })) if may_begin_anew => reason,
        opened => return opened,
    };
    let aside = aside(directory, "store");
    let moved =
        std::fs::create_dir_all(directory.join("damaged")).and_then(|()| std::fs::rename(&rocks, &aside));
    moved.map_err(|error| RocksError::Failed {
        doing: "put a damaged store aside",
        reason: error.to_string(),
    })?;
    tally.count_damaged();
    tracing::error!(reason, kept = %aside.display(), "the store of all replicas is damaged: siblings are copied");
    open_at(&location, options)
}

fn open_at(location: &Location, options: &Options) -> Result<Registry, RegistryError> {
    Registry::open(Store::open(location, &[], shape_of, options)?)
}

/// The shard whose contents a report of damage speaks of, if it names one of their files.
pub fn culprit(store: &Store, reason: &str) -> Option<ShardId> {
    parse_family_name(&store.family_of_damage(reason)?).map(|(shard, _)| shard)
}

/// Keeps the files of contents that are about to go; where. That it cannot holds nobody up.
pub fn put_aside(store: &Store, directory: &Path, shard: ShardId, generation: Generation) -> Option<PathBuf> {
    let aside = aside(directory, &format!("shard-{}", shard.0));
    for family in family_names(shard, generation) {
        if let Err(error) = store.keep_files(&family, &aside) {
            tracing::warn!(%shard, %error, "damaged files are not kept");
            return None;
        }
    }
    Some(aside)
}

/// A name that no other one has had.
fn aside(directory: &Path, what: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    directory.join("damaged").join(format!("{what}-{}", now.as_millis()))
}

fn mark_of(directory: &Path, shard: ShardId) -> PathBuf {
    directory.join(format!("damaged-{}", shard.0))
}

/// Why the contents of a shard are to be given up, if they are.
pub fn marked(directory: &Path, shard: ShardId) -> Option<String> {
    std::fs::read_to_string(mark_of(directory, shard)).ok()
}

/// Remembers that the contents of a shard are to be given up at the next start.
pub fn mark(directory: &Path, shard: ShardId, reason: &str) {
    if let Err(error) = std::fs::write(mark_of(directory, shard), reason) {
        tracing::warn!(%shard, %error, "it cannot be remembered that a replica is damaged");
    }
}

/// Forgets it.
pub fn unmark(directory: &Path, shard: ShardId) {
    if let Err(error) = std::fs::remove_file(mark_of(directory, shard)) {
        tracing::warn!(%shard, %error, "a mark stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::ReplicaId;

    #[test]
    fn a_node_begins_anew_only_if_others_have_everything() {
        let mut placement = Placement::even(2, NodeId(1));
        assert!(!have_siblings(&placement, NodeId(1)));
        assert!(have_siblings(&placement, NodeId(2)), "it has nothing");
        for part in placement.shards.values_mut() {
            part.replicas.insert(ReplicaId(2), NodeId(2));
        }
        assert!(have_siblings(&placement, NodeId(1)));
        placement.shards.values_mut().next().unwrap().replicas.remove(&ReplicaId(2));
        assert!(!have_siblings(&placement, NodeId(1)));
    }

    #[test]
    fn marks_are_kept_until_they_are_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(marked(directory.path(), ShardId(2)), None);
        mark(directory.path(), ShardId(2), "why");
        assert_eq!(marked(directory.path(), ShardId(2)).as_deref(), Some("why"));
        assert_eq!(marked(directory.path(), ShardId(1)), None);
        unmark(directory.path(), ShardId(2));
        assert_eq!(marked(directory.path(), ShardId(2)), None);
    }
}
