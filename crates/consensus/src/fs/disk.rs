//! A real directory.

use super::{Blocks, File, FileSystem};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A directory on a real disk, locked against other processes for as long as this value lives.
pub struct Disk {
    directory: PathBuf,
    // Held for its lock.
    _lock: fs::File,
}

impl Disk {
    const LOCK: &str = "LOCK";

    /// Opens a directory, creating it if need be. Fails with `ResourceBusy` if another process has it.
    pub fn open(directory: &Path) -> io::Result<Disk> {
        fs::create_dir_all(directory)?;
        let path = directory.join(Self::LOCK);
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!("data directory {} is in use by another process", directory.display()),
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        if let Some(parent) = directory.parent() {
            // The directory itself must survive a crash too. A parent that cannot be opened (a permission)
            // is not ours to sync.
            if let Ok(parent) = fs::File::open(parent) {
                parent.sync_all()?;
            }
        }
        Ok(Disk { directory: directory.to_owned(), _lock: lock })
    }
}

impl FileSystem for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && name != Self::LOCK
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.directory.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Arc::new(DiskFile::new(file, path)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let path = self.directory.join(name);
        Ok(Arc::new(DiskFile::new(options.open(&path)?, path)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        free_bytes(&self.directory)
    }
}

/// Bytes that the disk of a directory has left.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

struct DiskFile {
    file: fs::File,
    path: PathBuf,
    /// The same file past the cache; opened when it is first wanted. `None`: the file system cannot do that.
    direct: OnceLock<Option<fs::File>>,
    /// It said that it can, and then did not take what was written.
    has_refused: AtomicBool,
}

impl DiskFile {
    fn new(file: fs::File, path: PathBuf) -> DiskFile {
        DiskFile { file, path, direct: OnceLock::new(), has_refused: AtomicBool::new(false) }
    }

    fn direct(&self) -> Option<&fs::File> {
        if self.has_refused.load(Ordering::Relaxed) {
            return None;
        }
        self.direct.get_or_init(|| self.open_direct().ok().flatten()).as_ref()
    }

    fn open_direct(&self) -> io::Result<Option<fs::File>> {
        let flag = OFlags::DIRECT.bits() as i32;
        let direct = fs::OpenOptions::new().write(true).custom_flags(flag).open(&self.path)?;
        // Its name may have become another file's.
        let (this, that) = (self.file.metadata()?, direct.metadata()?);
        Ok(((this.dev(), this.ino()) == (that.dev(), that.ino())).then_some(direct))
    }
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_blocks_at(&self, offset: u64, blocks: &Blocks) -> io::Result<()> {
        let Some(direct) = self.direct() else { return self.write_at(offset, blocks.bytes()) };
        match direct.write_all_at(blocks.bytes(), offset) {
            // Blocks of this disk are larger than any that we know. Nothing was written, or the same is written again.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.has_refused.store(true, Ordering::Relaxed);
                self.write_at(offset, blocks.bytes())
            }
            written => written,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::BLOCK;

    #[test]
    fn what_is_allocated_reads_as_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let file = Disk::open(directory.path()).unwrap().create("a").unwrap();
        // Whether it is done depends on the file system below.
        if file.allocate(3 * BLOCK as u64).unwrap() {
            let mut found = vec![1; 3 * BLOCK];
            file.read_at(0, &mut found).unwrap();
            assert_eq!(file.len().unwrap(), 3 * BLOCK as u64);
            assert!(found.iter().all(|byte| *byte == 0));
        } else {
            assert_eq!(file.len().unwrap(), 0);
        }
    }

    #[test]
    fn blocks_and_bytes_are_written_to_one_file_and_a_new_name_does_not_lead_astray() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let file = disk.create("a.tmp").unwrap();
        let mut blocks = Blocks::default();
        file.write_blocks_at(0, blocks.fill(&[1; 2 * BLOCK])).unwrap();
        file.write_at(BLOCK as u64, &[2; 10]).unwrap();
        disk.rename("a.tmp", "a").unwrap();
        file.write_blocks_at(2 * BLOCK as u64, blocks.fill(&[3; BLOCK])).unwrap();
        file.sync_data().unwrap();
        let mut found = vec![0; 3 * BLOCK];
        disk.open("a").unwrap().read_at(0, &mut found).unwrap();
        let expected = [vec![1; BLOCK], vec![2; 10], vec![1; BLOCK - 10], vec![3; BLOCK]].concat();
        assert!(found == expected);

        // Another file has taken the name before blocks were first written.
        let renamed = disk.create("b").unwrap();
        disk.rename("b", "c").unwrap();
        let other = disk.create("b").unwrap();
        renamed.write_blocks_at(0, blocks.fill(&[4; BLOCK])).unwrap();
        assert_eq!((other.len().unwrap(), renamed.len().unwrap()), (0, BLOCK as u64));
    }
}
