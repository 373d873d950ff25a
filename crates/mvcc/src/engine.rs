//! The ordered byte store beneath the versions, as narrow as this crate can bear it.

use bytes::Bytes;

/// The two halves of a shard replica on disk. They differ in how their writes survive a crash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// Committed versions, marks of decided intents and the state record. Written **without** a write-ahead log:
    /// after a crash what was flushed is there, as a prefix of the order in which it was written, and the
    /// decision stream brings the rest again.
    Versions,
    /// Intents. Written **with** a write-ahead log, because a Yes vote is a promise.
    Intents,
}

/// What a finished write has promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Nothing until the next flush. Versions only.
    Buffered,
    /// In the write-ahead log but perhaps not on disk: survives if a later `Synced` write does. Intents only.
    Logged,
    /// On disk before the write returns, and everything logged before it too. Intents only.
    Synced,
}

/// One step of a [`Batch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchOp {
    /// Gives the key this value.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Bytes,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key from `start` (included) to `end` (excluded).
    DeleteRange {
        /// The first key to go.
        start: Vec<u8>,
        /// The first key after it that stays.
        end: Vec<u8>,
    },
}

/// Writes to one family that become visible together, or not at all. Later steps win over earlier ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The steps, in order.
    pub ops: Vec<BatchOp>,
}

impl Batch {
    /// A batch with nothing in it.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds a put.
    pub fn put(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        self.ops.push(BatchOp::Put { key, value: value.into() });
    }

    /// Adds a delete.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.ops.push(BatchOp::Delete { key });
    }

    /// Adds a delete of `start..end`.
    pub fn delete_range(&mut self, start: Vec<u8>, end: Vec<u8>) {
        self.ops.push(BatchOp::DeleteRange { start, end });
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Why an engine could not do what it was asked. None of these is tried again: a replica whose engine failed
/// stops, and is rebuilt from a sibling if the disk does not come back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EngineError {
    /// The disk or the system failed.
    #[error("engine cannot {doing}: {reason}")]
    Io {
        /// What was asked of it.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
    /// There is no room left. Nothing of the write is visible.
    #[error("engine has no room left: {reason}")]
    Full {
        /// What the system said.
        reason: String,
    },
    /// The stored bytes are not those that were written.
    #[error("engine found damage: {reason}")]
    Damaged {
        /// What is wrong with them.
        reason: String,
    },
}

/// An ordered byte store with two families, atomic batches and consistent cursors.
///
/// All functions take `&self`: an engine is shared between one writer and any number of readers. Writers are
/// serialised by the caller (a [`crate::MvccStore`] writes through `&mut self`). What an engine shows when it is opened
/// is on disk, a replayed write-ahead log included.
pub trait Engine {
    /// A place in a consistent image of one family, taken when the cursor was made.
    type Cursor<'a>: Cursor
    where
        Self: 'a;
    /// An image of both families from which another engine can be opened: a folder of hard links, for example.
    type Checkpoint;

    /// The value of one key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// A cursor over the keys from `lower` (included) to `upper` (excluded), not placed anywhere yet.
    fn cursor(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<Self::Cursor<'_>, EngineError>;

    /// The first entry from `lower` (included) to `upper` (excluded). This is the whole of a point read, so an
    /// engine that can do better than a cursor does.
    fn first(
        &self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let mut cursor = self.cursor(family, lower, upper)?;
        cursor.seek(lower)?;
        let key = cursor.entry().map(|(key, _)| Bytes::copy_from_slice(key));
        Ok(key.map(|key| (key, cursor.value())))
    }

    /// About how many bytes the entries from `lower` (included) to `upper` (excluded) take up where they lie, whatever a byte
    /// is there: compressed or not, replaced values counted or not. What is not flushed may be missing. Bytes of two ranges
    /// can be held against each other, and that is all that they are good for.
    fn stored_bytes(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<u64, EngineError>;

    /// Writes a batch atomically. `Versions` takes `Buffered`, `Intents` takes `Logged` or `Synced`.
    fn write(&self, family: Family, batch: Batch, durability: Durability) -> Result<(), EngineError>;

    /// Makes everything written to `Versions` so far durable.
    fn flush(&self) -> Result<(), EngineError>;

    /// Begins to make everything written to `Versions` so far durable; [`Engine::persisted`] tells when it is. An engine
    /// that can do this beside its other work holds nobody up.
    fn begin_flush(&self) -> Result<(), EngineError> {
        self.flush()
    }

    /// The value that a key of `Versions` would have after a crash now. An engine may flush on its own, so this
    /// may run ahead of the last call of [`Engine::flush`].
    fn persisted(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Takes an image of both families as they are now, flushed or not.
    fn checkpoint(&self) -> Result<Self::Checkpoint, EngineError>;
}

/// A place in an ordered image of keys.
pub trait Cursor {
    /// Moves to the first entry at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), EngineError>;

    /// Moves to the last entry at or before `key`.
    fn seek_back(&mut self, key: &[u8]) -> Result<(), EngineError>;

    /// Moves to the next entry. Only called where there is an entry.
    fn next(&mut self) -> Result<(), EngineError>;

    /// Moves to the previous entry. Only called where there is an entry.
    fn prev(&mut self) -> Result<(), EngineError>;

    /// The entry here; `None` past either end.
    fn entry(&self) -> Option<(&[u8], &[u8])>;

    /// The value here as an owned handle, shared where the engine can share; empty past either end.
    fn value(&self) -> Bytes {
        self.entry().map_or_else(Bytes::new, |(_, value)| Bytes::copy_from_slice(value))
    }
}
