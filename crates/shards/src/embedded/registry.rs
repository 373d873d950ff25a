//! What a node remembers of its replicas, beside their contents.
//!
//! | key | value |
//! |---|---|
//! | `00` | the version of this table |
//! | `01` shard | which replica of the shard is here, and where its contents are |
//!
//! It lies in the store's default family and is written with a synced log. A pair of families that no record names is
//! left over from a copy that did not end, or from a replica that has gone, and is dropped before anything else happens: a
//! slot that comes back finds nothing of an earlier ownership.

use super::engine::{Generation, RocksEngine, parse_family_name};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{ReplicaId, ShardId};
use assize_rocks::{Mode, RocksError, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

const VERSION_KEY: &[u8] = &[0];
const REPLICA: u8 = 1;
const TAG: [u8; 4] = *b"shrp";
const VERSION: u16 = 1;

/// What is remembered of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number.
    pub replica: ReplicaId,
    /// Where its contents are; `None`: nowhere, a sibling's have to be copied.
    pub contents: Option<Generation>,
    /// Whether a replica of this number may have promised anything that is no longer here.
    pub had_intents: bool,
    /// Whether it is not in the placement yet.
    pub is_learner: bool,
    /// Set while its shard does not exist yet: the shard that will be split, and the learner of it that this is.
    pub parent: Option<(ShardId, ReplicaId)>,
}

/// Why the table cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// RocksDB failed.
    #[error(transparent)]
    Store(#[from] RocksError),
    /// A record is not one of ours.
    #[error("a record of a replica cannot be read: {0}")]
    Undecodable(#[from] DecodeError),
}

/// The table, as it is on disk. Clones share it.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    held: Arc<Mutex<Held>>,
}

struct Held {
    records: BTreeMap<ShardId, Record>,
    /// Above every generation that there is.
    next: u64,
}

impl Registry {
    /// Reads the table and drops every pair of families that it does not name.
    pub fn open(store: Store) -> Result<Registry, RegistryError> {
        let family = store.default_family();
        let mut records = BTreeMap::new();
        let mut cursor = family.cursor(&[REPLICA], &[REPLICA + 1])?;
        cursor.seek(&[REPLICA])?;
        while let Some((key, value)) = cursor.entry() {
            records.insert(shard_of(key)?, decode(value)?);
            cursor.next()?;
        }
        drop(cursor);
        let found = store.families();
        let pairs: Vec<(ShardId, Generation)> = found.iter().filter_map(|n| parse_family_name(n)).collect();
        let next = pairs.iter().map(|(_, generation)| generation.0 + 1).max().unwrap_or(0);
        let held = Arc::new(Mutex::new(Held { records, next }));
        let registry = Registry { store, held };
        if family.get(VERSION_KEY)?.is_none() {
            registry.adopt(&pairs)?;
        }
        for (shard, generation) in pairs {
            if registry.get(shard).is_none_or(|record| record.contents != Some(generation)) {
                RocksEngine::drop_pair(&registry.store, shard, generation)?;
            }
        }
        Ok(registry)
    }

    /// A directory from before there was a table: every shard had one replica, whose contents have no generation.
    fn adopt(&self, pairs: &[(ShardId, Generation)]) -> Result<(), RegistryError> {
        for (shard, generation) in pairs {
            let record = Record {
                replica: ReplicaId(1),
                contents: Some(*generation),
                had_intents: true,
                is_learner: false,
                parent: None,
            };
            self.put(*shard, record)?;
        }
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.put(VERSION_KEY, &VERSION.to_le_bytes());
        Ok(batch.write(Mode::Synced)?)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no panic happens under this lock")
    }

    /// What is remembered of this node's replica of a shard.
    pub fn get(&self, shard: ShardId) -> Option<Record> {
        self.held().records.get(&shard).copied()
    }

    /// Everything that is remembered.
    pub fn records(&self) -> BTreeMap<ShardId, Record> {
        self.held().records.clone()
    }

    /// A generation that no family has had.
    pub fn draw_generation(&self) -> Generation {
        let mut held = self.held();
        let generation = Generation(held.next);
        held.next += 1;
        generation
    }

    /// Remembers this, durably.
    pub fn put(&self, shard: ShardId, record: Record) -> Result<(), RocksError> {
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.put(&key_of(shard), &encode(&record));
        batch.write(Mode::Synced)?;
        self.held().records.insert(shard, record);
        Ok(())
    }

    /// Forgets a replica and drops its contents, durably.
    pub fn remove(&self, shard: ShardId) -> Result<(), RocksError> {
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.delete(&key_of(shard));
        // The record first: contents without a record are dropped when the store is opened again.
        batch.write(Mode::Synced)?;
        let gone = self.held().records.remove(&shard);
        match gone.and_then(|record| record.contents) {
            Some(generation) => RocksEngine::drop_pair(&self.store, shard, generation),
            None => Ok(()),
        }
    }

    /// The store that it is part of.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

fn key_of(shard: ShardId) -> [u8; 5] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [REPLICA, a, b, c, d]
}

fn shard_of(key: &[u8]) -> Result<ShardId, DecodeError> {
    match key {
        [REPLICA, number @ ..] if number.len() == 4 => {
            Ok(ShardId(u32::from_be_bytes(number.try_into().expect("four bytes"))))
        }
        _ => Err(DecodeError::NotOrdered { what: "key of a replica's record", at: 0 }),
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let mut body = Vec::with_capacity(24);
    body.put_u8(record.replica.0);
    body.put_bool(record.contents.is_some());
    body.put_u64(record.contents.map_or(0, |generation| generation.0));
    body.put_bool(record.had_intents);
    body.put_bool(record.is_learner);
    body.put_bool(record.parent.is_some());
    let (parent, learner) = record.parent.unwrap_or_default();
    body.put_u32(parent.0);
    body.put_u8(learner.0);
    envelope::seal(TAG, VERSION, &body)
}

fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let (_, body) = envelope::open(bytes, TAG, VERSION)?;
    let mut reader = Reader::new(body);
    let replica = ReplicaId(reader.u8()?);
    let (has_contents, generation) = (reader.bool()?, Generation(reader.u64()?));
    let (had_intents, is_learner) = (reader.bool()?, reader.bool()?);
    let (has_parent, parent) = (reader.bool()?, (ShardId(reader.u32()?), ReplicaId(reader.u8()?)));
    reader.finish()?;
    Ok(Record {
        replica,
        contents: has_contents.then_some(generation),
        had_intents,
        is_learner,
        parent: has_parent.then_some(parent),
    })
}

#[cfg(test)]
mod tests {
    use super::super::engine::{family_names, shape_of};
    use super::*;
    use assize_rocks::{Location, Options};

    fn record() -> Record {
        Record {
            replica: ReplicaId(2),
            contents: Some(Generation(4)),
            had_intents: true,
            is_learner: true,
            parent: Some((ShardId(3), ReplicaId(200))),
        }
    }

    #[test]
    fn the_first_format_still_decodes() {
        let encoded = encode(&record());
        let body = b"\x02\x01\x04\0\0\0\0\0\0\0\x01\x01\x01\x03\0\0\0\xc8";
        assert_eq!(&encoded[10..encoded.len() - 4], body);
        assert_eq!(decode(&encoded), Ok(record()));
        let empty = Record { contents: None, parent: None, ..record() };
        assert_eq!(decode(&encode(&empty)), Ok(empty));
    }

    #[test]
    fn what_no_record_names_is_dropped_and_a_directory_without_records_is_adopted() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Directory(directory.path().to_owned());
        let open = || Store::open(&location, &[], shape_of, &Options::default()).unwrap();
        {
            let store = open();
            for name in family_names(ShardId(1), Generation(0)) {
                store.create_family(&name, shape_of(&name)).unwrap();
            }
            let registry = Registry::open(store).unwrap();
            let adopted = registry.get(ShardId(1)).unwrap();
            assert_eq!((adopted.replica, adopted.contents), (ReplicaId(1), Some(Generation(0))));
            // A copy that does not end.
            let generation = registry.draw_generation();
            assert_eq!(generation, Generation(1));
            RocksEngine::create(registry.store(), ShardId(1), generation).unwrap();
            RocksEngine::create(registry.store(), ShardId(2), registry.draw_generation()).unwrap();
        }
        {
            let registry = Registry::open(open()).unwrap();
            assert_eq!(
                registry.store().families(),
                family_names(ShardId(1), Generation(0)).map(|n| n).iter().rev().cloned().collect::<Vec<_>>()
            );
            registry.remove(ShardId(1)).unwrap();
            assert!(registry.store().families().is_empty());
        }
        assert!(Registry::open(open()).unwrap().records().is_empty());
    }
}
