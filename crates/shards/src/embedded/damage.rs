//! What becomes of stored bytes that are not those that were written.
//!
//! ```text
//!   rocks/      one store for all shards of the node
//!   damaged/    files of what has gone last, for somebody who wants to look; nothing reads them, and they may be deleted
//!   damaged-3   some contents of shard 3 are damaged: which, and why
//! ```
//!
//! A replica gives its contents up and copies a sibling, as if its disk were new, once a sibling has said that it has
//! everything. That others are configured is not enough: they may be away, or copying this very replica. If none says so,
//! nothing is given up: the node does not start, or stops. A store that does not open at all is put aside as a whole, if
//! siblings of every replica of the node have said so.
//!
//! The sibling may still be lost while it is copied. So contents that are given up stay in the store, and their record names
//! them, until the record names the copy: nobody reads them or votes with them, and they are not compacted, because that would
//! meet the damage and end all writing. A node that starts meanwhile finds the mark, and begins the copy anew if a sibling
//! still has everything; if none has, it goes on with what can be read of them. Only if the disk has no room for both they go
//! at once, or while the copy comes: a sibling may be larger than what was damaged, and a full disk would end the copy.

use super::engine::{Generation, RocksEngine, family_names, parse_family_name, shape_of};
use super::registry::{Record, Registry, RegistryError};
use assize_model::{NodeId, Placement, ReplicaId, ShardId};
use assize_rocks::{Location, Options, RocksError, Store};
use std::io::Write;
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

/// The replicas of a node, by shard.
pub fn placed_on(placement: &Placement, node: NodeId) -> Vec<(ShardId, ReplicaId)> {
    let parts = placement.shards.iter();
    let replicas = parts.flat_map(|(shard, part)| part.replicas.iter().map(|placed| (*shard, placed)));
    replicas.filter(|(_, (_, on))| **on == node).map(|(shard, (replica, _))| (shard, *replica)).collect()
}

/// Opens the store of a node and its table of replicas. What is known to be damaged is not compacted.
pub fn open_store(directory: Option<&Path>, options: &Options) -> Result<Registry, RegistryError> {
    let location = directory.map_or(Location::Memory, |directory| Location::Directory(store_of(directory)));
    let resting = directory.map(marked_families).unwrap_or_default();
    Registry::open(Store::open_with_resting(&location, &[], shape_of, &resting, options)?)
}

fn store_of(directory: &Path) -> PathBuf {
    directory.join("rocks")
}

/// Moves the whole store of a node aside, so that it begins with nothing; where. Whoever calls this knows that others have
/// everything.
pub fn put_store_aside(directory: &Path) -> Result<PathBuf, RocksError> {
    let failed = |error: std::io::Error| RocksError::Failed {
        doing: "put a damaged store aside",
        reason: error.to_string(),
    };
    let rocks = store_of(directory);
    let bytes = bytes_in(&rocks).map_err(failed)?;
    if !has_room(assize_rocks::free_bytes(directory).map_err(failed)?, bytes) {
        let reason =
            format!("it has {bytes} bytes, and copies beside it need room: move {} away", rocks.display());
        return Err(RocksError::Failed { doing: "put a damaged store aside", reason });
    }
    let aside = aside(directory, "store");
    std::fs::create_dir_all(directory.join("damaged")).map_err(failed)?;
    std::fs::rename(&rocks, &aside).map_err(failed)?;
    keep_only(&aside);
    Ok(aside)
}

fn bytes_in(directory: &Path) -> std::io::Result<u64> {
    let lengths = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len()));
    lengths.sum()
}

/// Whether a disk with so many bytes left can keep what was given up beside the copy that replaces it, and go on.
fn has_room(free: u64, bytes: u64) -> bool {
    free / 2 > bytes
}

/// Removes what was given up of the same thing before.
fn keep_only(newest: &Path) {
    let Some((parent, name)) = newest.parent().zip(newest.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let other = entry.file_name().to_string_lossy().into_owned();
        let is_older = other != name
            && other.strip_prefix(stem).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        if is_older && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "damaged files stay");
        }
    }
}

/// The contents that a report of damage speaks of, if it names one of their files.
pub fn culprit(store: &Store, reason: &str) -> Option<(ShardId, Generation)> {
    parse_family_name(&store.family_of_damage(reason)?)
}

/// Whether damaged contents can stay until their copy is here, beside those of other shards that wait for theirs.
pub fn has_room_to_stay(store: &Store, directory: &Path, shard: ShardId, generation: Generation) -> bool {
    let others = marked_contents(directory).into_iter().filter(|(other, _)| *other != shard);
    let waiting: u64 = others.map(|(shard, generation)| bytes_of(store, shard, generation)).sum();
    let free = assize_rocks::free_bytes(directory).unwrap_or(0);
    has_room(free, waiting.saturating_add(bytes_of(store, shard, generation)))
}

/// Drops damaged contents of a shard that wait for their copy, if the disk has less than `room_min` bytes left. `Ok(true)` if
/// nothing waits any more. The copy must be coming: what a sibling gives is all that the replica will have.
pub fn make_room(
    registry: &Registry,
    directory: &Path,
    shard: ShardId,
    room_min: u64,
) -> Result<bool, RocksError> {
    let waiting = registry.get(shard).and_then(|record| Some((record, record.contents?)));
    let Some((record, generation)) = waiting else { return Ok(true) };
    if !marked(directory, shard).is_some_and(|mark| mark.is_about(Some(generation))) {
        return Ok(true);
    }
    let free = assize_rocks::free_bytes(directory).unwrap_or(u64::MAX);
    if free >= room_min {
        return Ok(false);
    }
    registry.put(shard, Record { contents: None, ..record })?;
    RocksEngine::drop_pair(registry.store(), shard, generation)?;
    unmark(directory, shard);
    tracing::warn!(%shard, free, "damaged contents go before their copy is whole: the disk has too little room for both");
    Ok(true)
}

fn bytes_of(store: &Store, shard: ShardId, generation: Generation) -> u64 {
    RocksEngine::open(store, shard, generation).map_or(0, |engine| engine.file_bytes())
}

/// Compacts contents no more.
pub fn let_rest(store: &Store, shard: ShardId, generation: Generation) {
    for family in family_names(shard, generation) {
        if let Err(error) = store.let_rest(&family) {
            tracing::warn!(%shard, family, %error, "damaged contents are still compacted");
        }
    }
}

/// Compacts contents again that are not damaged after all, or all that there is.
pub fn wake(store: &Store, shard: ShardId, generation: Generation) {
    for family in family_names(shard, generation) {
        if let Err(error) = store.wake(&family) {
            tracing::warn!(%shard, family, %error, "contents are not compacted");
        }
    }
}

/// Keeps the files of damaged contents that are about to go, as their copy is here; where. `None`: the disk has no room for
/// them, or they cannot be kept.
pub fn put_aside(store: &Store, directory: &Path, shard: ShardId, generation: Generation) -> Option<PathBuf> {
    let bytes = bytes_of(store, shard, generation);
    let free = assize_rocks::free_bytes(directory).unwrap_or(0);
    if free <= bytes {
        tracing::warn!(%shard, bytes, free, "damaged files are not kept: the disk has too little room");
        return None;
    }
    let aside = aside(directory, &format!("shard-{}", shard.0));
    for family in family_names(shard, generation) {
        if let Err(error) = store.keep_files(&family, &aside) {
            tracing::warn!(%shard, %error, "damaged files are not kept");
            // Half of them would help nobody, and take room.
            let _ = std::fs::remove_dir_all(&aside);
            return None;
        }
    }
    keep_only(&aside);
    Some(aside)
}

/// A name that no other one has had.
fn aside(directory: &Path, what: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    directory.join("damaged").join(format!("{what}-{}", now.as_millis()))
}

const MARK: &str = "damaged-";

fn mark_of(directory: &Path, shard: ShardId) -> PathBuf {
    directory.join(format!("{MARK}{}", shard.0))
}

/// What is remembered of damaged contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which they are; `None`: those that the record names. Earlier releases did not say.
    generation: Option<Generation>,
    /// What was found.
    pub reason: String,
}

/// Begins a mark that says which contents it speaks of.
const CONTENTS: &str = "contents ";

impl Mark {
    /// Whether it speaks of these contents.
    pub fn is_about(&self, contents: Option<Generation>) -> bool {
        contents.is_some_and(|contents| self.generation.is_none_or(|generation| generation == contents))
    }

    /// Whether it says of which contents it speaks.
    pub fn is_numbered(&self) -> bool {
        self.generation.is_some()
    }

    fn parse(text: &str) -> Mark {
        let named = text.strip_prefix(CONTENTS).and_then(|rest| rest.split_once('\n'));
        let numbered = named.and_then(|(number, reason)| Some((number.parse().ok()?, reason)));
        match numbered {
            Some((number, reason)) => {
                Mark { generation: Some(Generation(number)), reason: reason.to_owned() }
            }
            None => Mark { generation: None, reason: text.to_owned() },
        }
    }
}

/// What is remembered of damaged contents of a shard, if anything is.
pub fn marked(directory: &Path, shard: ShardId) -> Option<Mark> {
    std::fs::read(mark_of(directory, shard)).ok().map(|text| Mark::parse(&String::from_utf8_lossy(&text)))
}

/// Remembers that contents of a shard are damaged, durably. Should that fail, the next start finds the damage again.
pub fn mark(directory: &Path, shard: ShardId, generation: Generation, reason: &str) {
    let text = format!("{CONTENTS}{}\n{reason}", generation.0);
    if let Err(error) = write_durably(&mark_of(directory, shard), text.as_bytes()) {
        tracing::warn!(%shard, %error, "it cannot be remembered that a replica is damaged");
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
}

/// The shards of which damage is remembered.
pub fn marked_shards(directory: &Path) -> Vec<ShardId> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let shards = entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(MARK)?.parse().ok().map(ShardId)
    });
    shards.collect()
}

/// All contents that are known to be damaged.
fn marked_contents(directory: &Path) -> Vec<(ShardId, Generation)> {
    let marked = |shard| Some((shard, marked(directory, shard)?.generation?));
    marked_shards(directory).into_iter().filter_map(marked).collect()
}

/// Their families.
fn marked_families(directory: &Path) -> Vec<String> {
    marked_contents(directory)
        .into_iter()
        .flat_map(|(shard, generation)| family_names(shard, generation))
        .collect()
}

/// Forgets it, if it was remembered.
pub fn unmark(directory: &Path, shard: ShardId) {
    match std::fs::remove_file(mark_of(directory, shard)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%shard, %error, "a mark stays");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replicas_of_a_node_are_those_that_the_placement_puts_there() {
        let mut placement = Placement::even(2, NodeId(1));
        assert_eq!(placed_on(&placement, NodeId(2)), []);
        let (shard, part) = placement.shards.iter_mut().next().unwrap();
        part.replicas.insert(ReplicaId(2), NodeId(2));
        let shard = *shard;
        assert_eq!(placed_on(&placement, NodeId(2)), [(shard, ReplicaId(2))]);
        assert_eq!(placed_on(&placement, NodeId(1)).len(), 2);
    }

    #[test]
    fn what_was_given_up_last_is_kept_if_there_is_room() {
        assert!(has_room(202, 100) && has_room(2, 0));
        assert!(!has_room(201, 100) && !has_room(0, 0) && !has_room(u64::MAX, u64::MAX));
        let directory = tempfile::tempdir().unwrap();
        let names = ["shard-1-100", "shard-1-200", "shard-11-100", "store-100", "shard-1-notes"];
        names.iter().for_each(|name| std::fs::create_dir(directory.path().join(name)).unwrap());
        keep_only(&directory.path().join("shard-1-200"));
        let left: Vec<&str> = names.into_iter().filter(|name| directory.path().join(name).exists()).collect();
        assert_eq!(left, ["shard-1-200", "shard-11-100", "store-100", "shard-1-notes"]);
    }

    #[test]
    fn marks_are_kept_until_they_are_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let (path, shard) = (directory.path(), ShardId(2));
        assert_eq!(marked(path, shard), None);
        mark(path, shard, Generation(12), "why\nand where");
        let found = marked(path, shard).unwrap();
        assert_eq!(found.reason, "why\nand where");
        assert!(found.is_numbered() && found.is_about(Some(Generation(12))));
        assert!(!found.is_about(Some(Generation(1))) && !found.is_about(None));
        assert_eq!(marked(path, ShardId(1)), None);
        std::fs::create_dir(path.join("damaged")).unwrap();
        assert_eq!(marked_families(path), family_names(shard, Generation(12)));
        unmark(path, shard);
        assert_eq!(marked(path, shard), None);
        assert!(marked_families(path).is_empty());
    }

    #[test]
    fn a_mark_that_does_not_say_of_what_is_about_what_is_there() {
        for text in ["why", "contents 1", "contents one\nwhy", ""] {
            let mark = Mark::parse(text);
            assert_eq!(mark, Mark { generation: None, reason: text.to_owned() });
            assert!(!mark.is_numbered() && mark.is_about(Some(Generation(3))) && !mark.is_about(None));
        }
    }
}
