//! The few things that the log and the checkpoints ask of a disk, behind a trait.
//!
//! A [`FileSystem`] is one directory. [`Disk`] is a real one, held under an exclusive lock;
//! [`Memory`] is its twin, which knows what a power cut does: unsynced writes survive in part, in any order
//! and torn at sector borders, and unsynced renames may or may not have happened. Both the demo without a
//! data directory and every crash test run on the twin.

mod blocks;
mod disk;
mod memory;

pub use blocks::{BLOCK, Blocks};
pub use disk::{Disk, free_bytes};
pub use memory::{Crash, Memory};

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One directory.
pub trait FileSystem: Send + Sync + 'static {
    /// Names of the files in it, in order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Creates a file, empty; replaces one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Renames a file, replacing the target. Durable after [`FileSystem::sync_directory`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after [`FileSystem::sync_directory`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that the disk has left for us.
    fn free(&self) -> io::Result<u64>;
}

/// One file.
#[allow(clippy::len_without_is_empty)]
pub trait File: Send + Sync {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer from this offset; fails with `UnexpectedEof` if the file ends before that.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of this at this offset.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// The same with whole blocks, which begin at a multiple of [`BLOCK`]: past the operating system's cache where the disk can
    /// do that, so that the log's bytes are neither copied into it nor push anything out of it.
    fn write_blocks_at(&self, offset: u64, blocks: &Blocks) -> io::Result<()> {
        self.write_at(offset, blocks.bytes())
    }
    /// Makes everything written durable. A failure says nothing about which writes are: never retry.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends it to this length, so that the disk certainly has room for it, without writing it: what was not written reads as
    /// zeros. Whether that is done; a file system may not be able to.
    fn allocate(&self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
}

/// Whether an operation has failed because the disk, or what one may have of it, is full: that passes.
pub fn is_full(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

/// So much of a large file is written before it is made durable. A disk that is told to make a hundred megabytes durable at
/// once keeps the log's next entry waiting for as long.
pub const PIECE: usize = 1 << 20;

/// Writes a large file from its beginning and makes it durable, piece by piece.
pub fn write_in_pieces(file: &dyn File, bytes: &[u8]) -> io::Result<()> {
    let mut blocks = Blocks::default();
    for (n, piece) in bytes.chunks(PIECE).enumerate() {
        let at = (n * PIECE) as u64;
        match piece.len().is_multiple_of(BLOCK) {
            true => file.write_blocks_at(at, blocks.fill(piece))?,
            false => file.write_at(at, piece)?,
        }
        file.sync_data()?;
    }
    if bytes.is_empty() { file.sync_data() } else { Ok(()) }
}

/// The longest rest between two pieces of something that can wait.
pub const REST_MAX: Duration = Duration::from_millis(20);

/// Cuts a file down to this length, if it is longer, piece by piece: the file system gives the blocks back to the disk together
/// with the next part of its journal, and whoever writes a file meanwhile waits for as long as that takes.
fn shrink(file: &dyn File, to: u64) -> io::Result<()> {
    let mut len = file.len()?;
    while len > to {
        let began = Instant::now();
        len = len.saturating_sub(PIECE as u64).max(to);
        file.set_len(len)?;
        file.sync_data()?;
        std::thread::sleep(began.elapsed().min(REST_MAX));
    }
    Ok(())
}

/// Writes a whole file so that a crash leaves either the old one or the new one.
pub fn write_atomically(fs: &dyn FileSystem, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_atomically_over(fs, None, name, bytes)
}

/// Likewise, over a file that nobody needs, which is gone afterwards: to overwrite blocks is nothing to a file system's journal,
/// while new ones are written down in it at each sync, and old ones are given back to the disk.
pub fn write_atomically_over(
    fs: &dyn FileSystem,
    spare: Option<&str>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let written = (|| {
        let file = match spare {
            Some(spare) => {
                fs.rename(spare, &temporary)?;
                fs.open(&temporary)?
            }
            None => fs.create(&temporary)?,
        };
        shrink(&*file, bytes.len() as u64)?;
        write_in_pieces(&*file, bytes)
    })();
    if let Err(error) = written {
        // Best effort: the leftovers of a full disk should not keep it full.
        let _ = fs.remove(&temporary);
        return Err(error);
    }
    fs.rename(&temporary, name)?;
    fs.sync_directory()
}

/// Reads a whole file.
pub fn read_all(fs: &dyn FileSystem, name: &str) -> io::Result<Vec<u8>> {
    let file = fs.open(name)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_pieces_is_whole_or_not_there() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 5).map(|n| (n % 251) as u8).collect();
        let (shorter, longer) = (vec![7; PIECE + 3], vec![8; PIECE * 4]);
        for (content, spare) in [(&bytes[..], None), (&[], None)]
            .into_iter()
            .chain([&shorter, &longer, &Vec::new()].map(|spare| (&bytes[..], Some(spare))))
            .chain([(&[][..], Some(&shorter))])
        {
            let begun = || {
                let fs = Memory::new();
                spare.iter().for_each(|spare| write_atomically(&fs, "spare", spare).unwrap());
                (fs.operations(), fs)
            };
            let write = |fs: &Memory| write_atomically_over(fs, spare.map(|_| "spare"), "f", content);
            let (before, fs) = begun();
            write(&fs).unwrap();
            let operations = fs.operations() - before;
            fs.crash(Crash::LoseUnsynced);
            assert!(read_all(&fs, "f").unwrap() == content);
            assert_eq!(fs.list().unwrap(), ["f"]);
            for dies in 1..=operations {
                for crash in [Crash::LoseUnsynced, Crash::Toss(dies)] {
                    let (_, fs) = begun();
                    fs.die_after(dies);
                    let written = write(&fs);
                    fs.crash(crash);
                    match read_all(&fs, "f") {
                        Ok(found) => assert!(found == content, "after {dies} operations"),
                        Err(_) => assert!(written.is_err(), "after {dies} operations"),
                    }
                }
            }
        }
    }
}
