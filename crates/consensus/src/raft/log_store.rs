//! Raft's log on the write-ahead log.

use super::record::{Meta, decode_logged, encode_entry};
use super::{Entry, LogId, Types, Vote};
use crate::wal::{Wal, WalError};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How much a reader is given at a time.
const READ_BYTES_MAX: usize = 4 << 20;

/// Raft's log, and the reader of it: both are handles to one write-ahead log.
#[derive(Clone)]
pub struct LogStore {
    wal: Arc<Wal>,
    meta: Arc<Mutex<Meta>>,
}

impl LogStore {
    /// Reads Raft's own records from an open log.
    pub fn new(wal: Arc<Wal>) -> io::Result<LogStore> {
        let meta = Meta::decode(&wal.meta()).map_err(invalid)?;
        Ok(LogStore { wal, meta: Arc::new(Mutex::new(meta)) })
    }

    /// Whether nothing was ever written.
    pub fn is_new(&self) -> bool {
        *self.meta() == Meta::default() && self.wal.next_index() == 0
    }

    fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().expect("no panic happens under this lock")
    }

    fn entry(&self, index: u64) -> io::Result<Entry> {
        let bytes = self.wal.read(index..index + 1, 0)?;
        decode_logged(index, &bytes[0]).map_err(invalid)
    }

    fn entries(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let from = from.max(self.wal.first_index());
        let to = to.min(self.wal.next_index());
        if from >= to {
            return Ok(Vec::new());
        }
        let entries = self.wal.read(from..to, bytes_max)?;
        (from..).zip(entries).map(|(index, bytes)| decode_logged(index, &bytes).map_err(invalid)).collect()
    }
}

fn invalid(error: assize_codec::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Something to await, and something that ends the waiting.
fn completion() -> (crate::wal::Done, impl Future<Output = io::Result<()>>) {
    let (tell, told) = oneshot::channel();
    let done = Box::new(move |result: Result<(), WalError>| {
        // Nobody listens any more if the node is shutting down.
        let _ = tell.send(result);
    });
    (done, async { Ok(told.await.map_err(|_| WalError::Closed)??) })
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.entries(start, end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.meta().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let last_purged_log_id = self.meta().purged;
        let last_log_id = match self.wal.next_index() {
            next if next > self.wal.first_index() => Some(self.entry(next - 1)?.log_id),
            _ => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, durable) = completion();
        {
            let mut meta = self.meta();
            meta.vote = Some(*vote);
            self.wal.set_meta(meta.encode(), done)?;
        }
        durable.await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Only a help for a quicker restart: it is written along with the next entry, never for itself.
        let mut meta = self.meta();
        meta.committed = committed;
        self.wal.set_meta_lazily(meta.encode());
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        // It may name an entry that a crash has taken, or whose place an older one has: only the entry itself counts.
        let Some(committed) = self.meta().committed else { return Ok(None) };
        let is_here = (self.wal.first_index()..self.wal.next_index()).contains(&committed.index)
            && self.entry(committed.index)?.log_id == committed;
        Ok(is_here.then_some(committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut first = None;
        let mut payloads = Vec::new();
        for entry in entries {
            first.get_or_insert(entry.log_id.index);
            payloads.push(encode_entry(&entry));
        }
        let Some(first) = first else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        if self.wal.next_index() < first && self.wal.next_index() == self.wal.first_index() {
            // An empty log that begins later than at 0, as after a checkpoint from another node.
            let meta = self.meta().encode();
            self.wal.purge(first, meta, Box::new(|_| {}))?;
        }
        let done = Box::new(move |result: Result<(), WalError>| {
            callback.io_completed(result.map_err(io::Error::from));
        });
        Ok(self.wal.append(first, payloads, done)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index + 1);
        Ok(self.wal.truncate(from.max(self.wal.first_index()))?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (done, durable) = completion();
        {
            let mut meta = self.meta();
            meta.purged = Some(log_id);
            self.wal.purge(log_id.index + 1, meta.encode(), done)?;
        }
        durable.await
    }
}
