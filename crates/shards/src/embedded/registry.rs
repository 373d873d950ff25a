//! What a node remembers of its replicas, beside their contents.
//!
//! | key | value |
//! |---|---|
//! | `00` | the version of this table |
//! | `01` shard | which replica of the shard is here, and where its contents are |
//! | `02` shard | how far a copy for that replica has come, and who gives it |
//!
//! It lies in the store's default family and is written with a synced log. A pair of families that no record names is
//! left over from a copy that did not end, or from a replica that has gone, and is dropped before anything else happens: a
//! slot that comes back finds nothing of an earlier ownership.

use super::engine::{Generation, RocksEngine, parse_family_name};
use crate::wire::{Arrived, Digest};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{LogIndex, ReplicaId, ShardId};
use assize_rocks::{Mode, RocksError, Store};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

const VERSION_KEY: &[u8] = &[0];
const REPLICA: u8 = 1;
const COPY: u8 = 2;
const TAG: [u8; 4] = *b"shrp";
const VERSION: u16 = 1;
const COPY_TAG: [u8; 4] = *b"shcp";
const COPY_VERSION: u16 = 1;

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

/// A copy that has begun, as far as it is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// For which replica.
    pub replica: ReplicaId,
    /// The entry with which it had registered, and at or after which the checkpoint was taken.
    pub registered: LogIndex,
    /// Whose checkpoint it is.
    pub from: ReplicaId,
    /// What it is called there.
    pub name: u64,
    /// Where it goes.
    pub generation: Generation,
    /// How far it has come; what lies behind that in the families may be there or not.
    pub arrived: Arrived,
    /// That in bytes.
    pub bytes: u64,
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
    begun: BTreeMap<ShardId, Begun>,
    /// Above every generation that there is.
    next: u64,
}

impl Registry {
    /// Reads the table and drops every pair of families that it does not name, and every copy that nobody can go on with.
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
        let held = Arc::new(Mutex::new(Held { records, begun: BTreeMap::new(), next }));
        let registry = Registry { store, held };
        if family.get(VERSION_KEY)?.is_none() {
            registry.adopt(&pairs)?;
        }
        registry.recall_copies()?;
        for (shard, generation) in pairs {
            let has = registry.get(shard).is_some_and(|record| record.contents == Some(generation));
            if !has && registry.begun(shard).is_none_or(|begun| begun.generation != generation) {
                RocksEngine::drop_pair(&registry.store, shard, generation)?;
            }
        }
        Ok(registry)
    }

    /// Reads how far copies had come, and forgets those that are of no use.
    fn recall_copies(&self) -> Result<(), RegistryError> {
        let family = self.store.default_family();
        let mut found = Vec::new();
        let mut cursor = family.cursor(&[COPY], &[COPY + 1])?;
        cursor.seek(&[COPY])?;
        while let Some((key, value)) = cursor.entry() {
            // One that cannot be read is only begun anew.
            found.push((key.to_vec(), shard_of(key)?, decode_copy(value).ok()));
            cursor.next()?;
        }
        drop(cursor);
        for (key, shard, begun) in found {
            match begun.filter(|begun| self.can_go_on(shard, begun)) {
                Some(begun) => drop(self.held().begun.insert(shard, begun)),
                None => {
                    let mut batch = family.batch()?;
                    batch.delete(&key);
                    batch.write(Mode::Synced)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the replica for which it was begun is still here, without having got it, and what has come of it as well.
    fn can_go_on(&self, shard: ShardId, begun: &Begun) -> bool {
        let is_wanted = self.get(shard).is_some_and(|record| {
            record.replica == begun.replica
                && record.contents != Some(begun.generation)
                && record.parent.is_none()
        });
        is_wanted && RocksEngine::open(&self.store, shard, begun.generation).is_some()
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

    /// Remembers this, durably. A copy that are its contents from now on is none any more.
    pub fn put(&self, shard: ShardId, record: Record) -> Result<(), RocksError> {
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.put(&key_of(REPLICA, shard), &encode(&record));
        let is_done = self.begun(shard).is_some_and(|begun| record.contents == Some(begun.generation));
        if is_done {
            batch.delete(&key_of(COPY, shard));
        }
        batch.write(Mode::Synced)?;
        let mut held = self.held();
        held.records.insert(shard, record);
        if is_done {
            held.begun.remove(&shard);
        }
        Ok(())
    }

    /// The copy that has begun for this node's replica of a shard.
    pub fn begun(&self, shard: ShardId) -> Option<Begun> {
        self.held().begun.get(&shard).cloned()
    }

    /// Remembers how far a copy has come, durably; that must be on disk.
    pub fn note_copy(&self, shard: ShardId, begun: Begun) -> Result<(), RocksError> {
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.put(&key_of(COPY, shard), &encode_copy(&begun));
        batch.write(Mode::Synced)?;
        self.held().begun.insert(shard, begun);
        Ok(())
    }

    /// Forgets a copy that has begun, durably, and drops what has come of it.
    pub fn forget_copy(&self, shard: ShardId) -> Result<(), RocksError> {
        let Some(begun) = self.begun(shard) else { return Ok(()) };
        let family = self.store.default_family();
        let mut batch = family.batch()?;
        batch.delete(&key_of(COPY, shard));
        batch.write(Mode::Synced)?;
        self.held().begun.remove(&shard);
        RocksEngine::drop_pair(&self.store, shard, begun.generation)
    }

    /// Forgets a replica and drops its contents, durably.
    pub fn remove(&self, shard: ShardId) -> Result<(), RocksError> {
        let family = self.store.default_family();
        self.forget_copy(shard)?;
        let mut batch = family.batch()?;
        batch.delete(&key_of(REPLICA, shard));
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

fn key_of(kind: u8, shard: ShardId) -> [u8; 5] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [kind, a, b, c, d]
}

fn shard_of(key: &[u8]) -> Result<ShardId, DecodeError> {
    match key {
        [REPLICA | COPY, number @ ..] if number.len() == 4 => {
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

fn encode_copy(begun: &Begun) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + begun.arrived.key.len());
    body.put_u8(begun.replica.0);
    body.put_u64(begun.registered.0);
    body.put_u8(begun.from.0);
    body.put_u64(begun.name);
    body.put_u64(begun.generation.0);
    body.put_varint(begun.arrived.family as u64);
    body.put_bytes(&begun.arrived.key);
    body.put_u64(begun.arrived.digest.entries);
    body.put_u64(begun.arrived.digest.chain);
    body.put_u64(begun.bytes);
    envelope::seal(COPY_TAG, COPY_VERSION, &body)
}

fn decode_copy(bytes: &[u8]) -> Result<Begun, DecodeError> {
    let (_, body) = envelope::open(bytes, COPY_TAG, COPY_VERSION)?;
    let mut reader = Reader::new(body);
    let r = &mut reader;
    let (replica, registered) = (ReplicaId(r.u8()?), LogIndex(r.u64()?));
    let (from, name, generation) = (ReplicaId(r.u8()?), r.u64()?, Generation(r.u64()?));
    let (family, key) = (r.varint()? as usize, Bytes::copy_from_slice(r.bytes()?));
    let digest = Digest { entries: r.u64()?, chain: r.u64()? };
    let bytes = r.u64()?;
    reader.finish()?;
    let arrived = Arrived { family, key, digest };
    Ok(Begun { replica, registered, from, name, generation, arrived, bytes })
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

    fn begun() -> Begun {
        let digest = Digest { entries: 3, chain: 4 };
        let arrived = Arrived { family: 1, key: Bytes::from_static(b"k"), digest };
        let (replica, from, registered) = (ReplicaId(2), ReplicaId(1), LogIndex(9));
        Begun { replica, registered, from, name: 7, generation: Generation(5), arrived, bytes: 99 }
    }

    #[test]
    fn the_first_format_of_a_copy_still_decodes() {
        let encoded = encode_copy(&begun());
        let body = b"\x02\x09\0\0\0\0\0\0\0\x01\x07\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x01\x01k\
                     \x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x63\0\0\0\0\0\0\0";
        assert_eq!(&encoded[10..encoded.len() - 4], body);
        assert_eq!(decode_copy(&encoded), Ok(begun()));
    }

    #[test]
    fn a_copy_stays_for_whoever_wants_it_and_goes_with_its_record_otherwise() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::Directory(directory.path().to_owned());
        let open =
            || Registry::open(Store::open(&location, &[], shape_of, &Options::default()).unwrap()).unwrap();
        let (shard, wanted) = (ShardId(1), Record { contents: None, parent: None, ..record() });
        let note = |registry: &Registry| {
            let generation = registry.draw_generation();
            RocksEngine::create(registry.store(), shard, generation).unwrap();
            registry.note_copy(shard, Begun { generation, ..begun() }).unwrap();
            generation
        };
        let generation = {
            let registry = open();
            registry.put(shard, wanted).unwrap();
            note(&registry)
        };
        {
            let registry = open();
            assert_eq!(registry.begun(shard), Some(Begun { generation, ..begun() }));
            assert!(RocksEngine::open(registry.store(), shard, generation).is_some());
            // They are the contents.
            registry.put(shard, Record { contents: Some(generation), ..wanted }).unwrap();
            assert_eq!(registry.begun(shard), None);
            // Another one, which is given up.
            note(&registry);
            registry.forget_copy(shard).unwrap();
            assert_eq!(registry.store().families().len(), 2);
            note(&registry);
        }
        {
            let registry = open();
            assert_eq!(registry.store().families().len(), 4, "contents, and what is to replace them");
            // Of another replica it is of no use.
            registry.put(shard, Record { replica: ReplicaId(3), ..wanted }).unwrap();
        }
        {
            let registry = open();
            assert_eq!((registry.begun(shard), registry.store().families().len()), (None, 0));
            note(&registry);
            registry.remove(shard).unwrap();
            assert!(registry.store().families().is_empty());
        }
        assert_eq!(open().begun(shard), None);
    }
}
