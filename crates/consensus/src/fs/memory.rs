//! A directory in memory that can lose power.

use super::{File, FileSystem};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// A directory in memory. Without faults it is a plain fast directory; with them it is a hostile disk.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// Wakes syncs that hang.
    woken: Arc<Condvar>,
}

/// What a power cut does to unsynced work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// All of it is lost.
    LoseUnsynced,
    /// All of it had reached the disk by luck.
    KeepUnsynced,
    /// Each unsynced sector and the unsynced state of the directory survive by the toss of this seed: writes
    /// are torn, and later ones may survive where earlier ones do not.
    Toss(u64),
}

#[derive(Default)]
struct State {
    /// Directory as processes see it.
    names: BTreeMap<String, usize>,
    /// Directory as a power cut would leave it.
    durable_names: BTreeMap<String, usize>,
    files: BTreeMap<usize, Content>,
    next_file: usize,
    /// Writes, syncs and directory changes so far.
    operations: u64,
    /// From this operation on, everything fails: the machine is dead.
    dies_at: Option<u64>,
    /// The next sync fails.
    failing_syncs: u32,
    /// Syncs do not come back.
    syncs_hang: bool,
    /// Bytes that fit; `None`: unlimited.
    capacity: Option<u64>,
    /// Bytes that this process may have of it; `None`: all.
    quota: Option<u64>,
    /// Nobody will cut the power: no second copy of everything is kept.
    crashless: bool,
    /// It can allocate without writing.
    allocates: bool,
}

#[derive(Default, Clone)]
struct Content {
    /// As processes see it.
    bytes: Vec<u8>,
    /// As it was at the last sync.
    synced: Vec<u8>,
    /// Sectors (by number) that differ in intent since the last sync.
    dirty: std::collections::BTreeSet<usize>,
}

const SECTOR: usize = 512;

impl Memory {
    /// An empty directory without faults.
    pub fn new() -> Self {
        Memory::default()
    }

    /// An empty directory for a process that keeps nothing when it ends. It cannot [`Memory::crash`] and
    /// costs half the memory.
    pub fn crashless() -> Self {
        let memory = Memory::default();
        memory.lock().crashless = true;
        memory
    }

    /// Whether [`File::allocate`] does something, as some file systems can and others cannot (the default).
    pub fn set_allocates(&self, allocates: bool) {
        self.lock().allocates = allocates;
    }

    /// Lets the machine die at the `n`th operation from now: it and all later ones fail.
    pub fn die_after(&self, n: u64) {
        let mut state = self.lock();
        state.dies_at = Some(state.operations + n);
        self.woken.notify_all();
    }

    /// Lets syncs of files that are in use hang, until the machine dies or the power is cut: what is written meanwhile can
    /// be read, and nobody is told that it is durable.
    pub fn hang_syncs(&self) {
        self.lock().syncs_hang = true;
    }

    /// Makes the next `n` syncs fail, of files that are in use: those still being created (`….tmp`) may be synced by
    /// a thread of its own at any time.
    pub fn fail_syncs(&self, n: u32) {
        self.lock().failing_syncs = n;
    }

    /// Limits the disk to this many bytes; more is `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Limits what this process may have of the disk; more is `QuotaExceeded`. The disk does not tell how much of that is left.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.lock().quota = bytes;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Cuts the power and gives it back: unsynced work is treated as `crash` says, faults are gone.
    ///
    /// # Panics
    /// If the directory was made [`Memory::crashless`].
    pub fn crash(&self, crash: Crash) {
        let mut state = self.lock();
        assert!(!state.crashless, "a crashless directory does not know what was synced");
        let mut toss = match crash {
            Crash::Toss(seed) => seed,
            Crash::LoseUnsynced | Crash::KeepUnsynced => 0,
        };
        let mut survives = || match crash {
            Crash::LoseUnsynced => false,
            Crash::KeepUnsynced => true,
            Crash::Toss(_) => {
                // SplitMix64: all that is wanted is that the same seed gives the same disk.
                toss = toss.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = toss;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (z ^ (z >> 31)) & 1 == 1
            }
        };
        if survives() {
            state.durable_names = state.names.clone();
        } else {
            state.names = state.durable_names.clone();
        }
        for content in state.files.values_mut() {
            let mut after = content.synced.clone();
            // A changed length survives or not as a whole; data beyond a lost extension is lost with it.
            if after.len() != content.bytes.len() && survives() {
                after.resize(content.bytes.len(), 0);
            }
            for sector in &content.dirty {
                let from = sector * SECTOR;
                let to = (from + SECTOR).min(after.len()).min(content.bytes.len());
                if from < to && survives() {
                    after[from..to].copy_from_slice(&content.bytes[from..to]);
                }
            }
            content.bytes = after.clone();
            content.synced = after;
            content.dirty.clear();
        }
        let named: std::collections::BTreeSet<usize> = state.names.values().copied().collect();
        state.files.retain(|id, _| named.contains(id));
        state.dies_at = None;
        state.failing_syncs = 0;
        state.syncs_hang = false;
    }

    /// Flips a bit on the disk, as decay does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip(&self, name: &str, offset: u64) {
        let mut state = self.lock();
        let id = state.names[name];
        let content = state.files.get_mut(&id).expect("named files exist");
        content.bytes[offset as usize] ^= 0x10;
        content.synced[offset as usize] ^= 0x10;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.dies_at {
            Some(at) if self.operations > at => Err(io::Error::other("the machine is dead")),
            _ => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, name.to_owned());
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|c| c.bytes.len() as u64).sum()
    }

    /// Makes a file so long, if it is shorter and there is room.
    fn extend(&mut self, id: usize, len: usize) -> io::Result<()> {
        let used = self.used();
        let limits =
            [(self.capacity, io::ErrorKind::StorageFull), (self.quota, io::ErrorKind::QuotaExceeded)];
        let content = self.content(id)?;
        if len > content.bytes.len() {
            let growth = (len - content.bytes.len()) as u64;
            let is_exceeded = |limit: Option<u64>| limit.is_some_and(|limit| used + growth > limit);
            if let Some((_, full)) = limits.into_iter().find(|(limit, _)| is_exceeded(*limit)) {
                return Err(io::Error::from(full));
            }
            content.bytes.resize(len, 0);
        }
        Ok(())
    }

    fn content(&mut self, id: usize) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the file is gone"))
    }
}

impl FileSystem for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let id = self.lock().find(name)?;
        Ok(Arc::new(MemoryFile { directory: self.clone(), id }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.operate()?;
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.names.insert(name.to_owned(), id);
        Ok(Arc::new(MemoryFile { directory: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let id = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.find(name)?;
        state.names.remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.durable_names = state.names.clone();
        // What no name leads to any more, now or after a crash, needs no memory.
        let named: std::collections::BTreeSet<usize> = state.names.values().copied().collect();
        state.files.retain(|id, _| named.contains(id));
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

struct MemoryFile {
    directory: Memory,
    id: usize,
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.directory.lock().content(self.id)?.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.directory.lock();
        let content = state.content(self.id)?;
        let from = offset as usize;
        let slice = content.bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(slice);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.directory.lock();
        state.operate()?;
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        state.extend(self.id, to)?;
        let crashless = state.crashless;
        let content = state.content(self.id)?;
        content.bytes[from..to].copy_from_slice(bytes);
        if !crashless {
            content.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.directory.lock();
        let is_in_use = state.names.iter().any(|(name, id)| *id == self.id && !name.ends_with(".tmp"));
        while state.syncs_hang && is_in_use && state.dies_at.is_none() {
            state = self.directory.woken.wait(state).expect("no panic happens under this lock");
        }
        state.operate()?;
        if state.failing_syncs > 0 && is_in_use {
            state.failing_syncs -= 1;
            return Err(io::Error::other("the disk refused to sync"));
        }
        if state.crashless {
            return Ok(());
        }
        let content = state.content(self.id)?;
        // Only what changed is copied: segments are megabytes, batches are kilobytes.
        content.synced.resize(content.bytes.len(), 0);
        for sector in std::mem::take(&mut content.dirty) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(content.bytes.len());
            if from < to {
                content.synced[from..to].copy_from_slice(&content.bytes[from..to]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.directory.lock();
        state.operate()?;
        state.content(self.id)?.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        let mut state = self.directory.lock();
        state.operate()?;
        if !state.allocates {
            return Ok(false);
        }
        state.extend(self.id, len as usize)?;
        Ok(true)
    }
}
