//! `mvcc`'s engine on two column families of RocksDB.

use assize_model::ShardId;
use assize_mvcc::{Batch, BatchOp, Cursor, Durability, Engine, EngineError, Family};
use assize_rocks::{Image, Mode, RocksError, Shape, Store};
use bytes::Bytes;

/// Which pair of families of a shard: a copy of a sibling goes into a new pair, beside the one that is being read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Generation(pub u64);

/// The place of the versions among the families of a checkpoint.
pub const VERSIONS: usize = 0;

/// The two families of one shard.
pub struct RocksEngine {
    versions: assize_rocks::Family,
    intents: assize_rocks::Family,
}

/// The names of a pair of families. The first generation has none in its names: so they were called before there were
/// others.
pub fn family_names(shard: ShardId, generation: Generation) -> [String; 2] {
    let name = |family: &str| match generation {
        Generation(0) => format!("{family}-{}", shard.0),
        Generation(n) => format!("{family}-{}-{n}", shard.0),
    };
    [name("versions"), name("intents")]
}

/// The shard and generation of a family by its name; `None` if it is none of ours.
pub fn parse_family_name(name: &str) -> Option<(ShardId, Generation)> {
    let rest = name.strip_prefix("versions-").or_else(|| name.strip_prefix("intents-"))?;
    let (shard, generation) = rest.split_once('-').unwrap_or((rest, "0"));
    Some((ShardId(shard.parse().ok()?), Generation(generation.parse().ok()?)))
}

/// Every key of the versions family ends in a timestamp, but for a few that are only ever read whole.
pub fn shape_of(name: &str) -> Shape {
    if name.starts_with("versions-") { Shape::Versioned } else { Shape::Plain }
}

impl RocksEngine {
    /// The engine of these families.
    pub fn new([versions, intents]: [assize_rocks::Family; 2]) -> Self {
        RocksEngine { versions, intents }
    }

    /// The engine of a pair that exists; `None` if it does not.
    pub fn open(store: &Store, shard: ShardId, generation: Generation) -> Option<Self> {
        let [versions, intents] = family_names(shard, generation);
        Some(RocksEngine::new([store.family(&versions)?, store.family(&intents)?]))
    }

    /// The engine of a new, empty pair.
    pub fn create(store: &Store, shard: ShardId, generation: Generation) -> Result<Self, RocksError> {
        let [versions, intents] = family_names(shard, generation);
        let create = |name: &str| store.create_family(name, shape_of(name));
        Ok(RocksEngine::new([create(&versions)?, create(&intents)?]))
    }

    /// Drops a pair for good; half a pair, or none, is dropped just as well.
    pub fn drop_pair(store: &Store, shard: ShardId, generation: Generation) -> Result<(), RocksError> {
        family_names(shard, generation).iter().try_for_each(|name| store.drop_family(name))
    }

    /// The families, in the order in which a checkpoint names them.
    pub fn families(&self) -> [&assize_rocks::Family; 2] {
        [&self.versions, &self.intents]
    }

    /// Bytes on disk, roughly.
    pub fn file_bytes(&self) -> u64 {
        self.versions.file_bytes() + self.intents.file_bytes()
    }

    fn family(&self, family: Family) -> &assize_rocks::Family {
        match family {
            Family::Versions => &self.versions,
            Family::Intents => &self.intents,
        }
    }
}

pub fn engine_error(error: RocksError) -> EngineError {
    match error {
        RocksError::Full { reason } => EngineError::Full { reason },
        RocksError::Damaged { reason } => EngineError::Damaged { reason },
        RocksError::Failed { doing, reason } => EngineError::Io { doing, reason },
        RocksError::InUse(_) => EngineError::Io { doing: "open", reason: error.to_string() },
    }
}

impl Engine for RocksEngine {
    type Cursor<'a> = RocksCursor<'a>;
    type Checkpoint = Image;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.family(family).get(key).map_err(engine_error)
    }

    fn cursor(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<RocksCursor<'_>, EngineError> {
        self.family(family).cursor(lower, upper).map(RocksCursor).map_err(engine_error)
    }

    fn first(
        &self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        self.family(family).first(lower, upper).map_err(engine_error)
    }

    fn stored_bytes(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<u64, EngineError> {
        self.family(family).stored_bytes(lower, upper).map_err(engine_error)
    }

    fn write(&self, family: Family, batch: Batch, durability: Durability) -> Result<(), EngineError> {
        let mode = match (family, durability) {
            (Family::Versions, Durability::Buffered) => Mode::Buffered,
            (Family::Intents, Durability::Logged) => Mode::Logged,
            (Family::Intents, Durability::Synced) => Mode::Synced,
            (family, durability) => panic!("{family:?} are never written {durability:?}"),
        };
        let mut writes = self.family(family).batch().map_err(engine_error)?;
        for op in &batch.ops {
            match op {
                BatchOp::Put { key, value } => writes.put(key, value),
                BatchOp::Delete { key } => writes.delete(key),
                BatchOp::DeleteRange { start, end } => writes.delete_range(start, end),
            }
        }
        writes.write(mode).map_err(engine_error)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.versions.flush().map_err(engine_error)
    }

    fn begin_flush(&self) -> Result<(), EngineError> {
        self.versions.begin_flush().map_err(engine_error)
    }

    fn persisted(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.versions.get_persisted(key).map_err(engine_error)
    }

    fn checkpoint(&self) -> Result<Image, EngineError> {
        Image::take(vec![self.versions.clone(), self.intents.clone()]).map_err(engine_error)
    }
}

/// A cursor of RocksDB.
pub struct RocksCursor<'a>(assize_rocks::Cursor<'a>);

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.0.seek(key).map_err(engine_error)
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.0.seek_back(key).map_err(engine_error)
    }

    fn next(&mut self) -> Result<(), EngineError> {
        self.0.next().map_err(engine_error)
    }

    fn prev(&mut self) -> Result<(), EngineError> {
        self.0.prev().map_err(engine_error)
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.0.entry()
    }
}
