//! Files that RocksDB needs no more go little by little.
//!
//! RocksDB removes them at once: hundreds of megabytes after a compaction, gigabytes with a family. While a file system frees
//! that much (and, mounted with `discard`, tells the disk of it) its journal stands still for a second and longer, and so does everybody
//! who waits for a sync on that disk: the log, and with it every commit. So each large file gets a second name, in a folder
//! of ours. When RocksDB removes the first one nothing is freed, and a thread cuts the file shorter piece by piece.
//!
//! ```text
//!   rocks/000042.sst ─────┐                rocks/  (removed by RocksDB)
//!                         ├─ 64 MiB                               ┌─ 56 MiB, 48 MiB, … gone
//!   rocks/going/000042.sst┘                rocks/going/000042.sst ┘
//! ```
//!
//! Only a file whose one name is ours is cut. Where there are no hard links, or space is scarce, files go as RocksDB removes
//! them.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The folder, in that of the store.
const FOLDER: &str = "going";
/// How often it is looked for files that have come or go.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Smaller files are left to RocksDB.
const SMALL_BYTES: u64 = 4 << 20;
/// How much is freed at once.
const PIECE_BYTES: u64 = 8 << 20;
/// The rest between two pieces: 100 MiB a second.
const REST: Duration = Duration::from_millis(80);
/// With so much to be freed there is no rest.
const BEHIND_BYTES: u64 = 8 << 30;
/// With less space than this nothing goes slowly.
const SCARCE_BYTES: u64 = 4 << 30;

/// The thread that lets files go. It ends when this is dropped.
pub struct Going {
    /// Never sent to: its end is the signal.
    ends: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Going {
    /// Begins, for the store in this folder; what an earlier process has left goes too.
    pub fn begin(store: &Path) -> Going {
        let (ends, ended) = mpsc::channel();
        let files = Files { store: store.to_owned(), going: store.join(FOLDER) };
        // Without the folder or the thread files go as RocksDB removes them.
        let thread = fs::create_dir_all(&files.going).and_then(|()| {
            let run = move || files.run(&ended);
            std::thread::Builder::new().name("assize-going".into()).spawn(run)
        });
        Going { ends: Some(ends), thread: thread.ok() }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Files {
    store: PathBuf,
    going: PathBuf,
}

impl Files {
    fn run(&self, ended: &mpsc::Receiver<()>) {
        let goes_on = |rest| ended.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Timeout);
        while goes_on(LOOK_EVERY) {
            // What cannot be done now is tried again with the next look.
            let _ = self.name_twice();
            let gone = self.gone().unwrap_or_default();
            let mut left: u64 = gone.iter().map(|(_, bytes)| bytes).sum();
            for (file, mut bytes) in gone {
                while bytes > PIECE_BYTES && !self.is_scarce() {
                    let rest = if left < BEHIND_BYTES { REST } else { Duration::ZERO };
                    if cut(&file, bytes - PIECE_BYTES).is_err() || !goes_on(rest) {
                        break;
                    }
                    bytes -= PIECE_BYTES;
                    left -= PIECE_BYTES;
                }
                if !goes_on(Duration::ZERO) {
                    return;
                }
                let _ = fs::remove_file(&file);
                left -= bytes;
                // Others have come meanwhile, and may go before the next look.
                let _ = self.name_twice();
            }
        }
    }

    /// Gives every large file of the store a second name.
    fn name_twice(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.store)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            if path.extension().is_none_or(|extension| extension != "sst") {
                continue;
            }
            let is_new = |found: Metadata| found.nlink() == 1 && found.len() >= SMALL_BYTES;
            if entry.metadata().is_ok_and(is_new) {
                // It may go just now; and one of the same name, of before a crash, may still be going.
                let _ = fs::hard_link(&path, self.going.join(name));
            }
        }
        Ok(())
    }

    /// The files that have no other name any more, and how large they are.
    fn gone(&self) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut gone = Vec::new();
        for entry in fs::read_dir(&self.going)? {
            let entry = entry?;
            let found = entry.metadata()?;
            let first = fs::metadata(self.store.join(entry.file_name()));
            let is_the_same = |first: Metadata| (first.dev(), first.ino()) == (found.dev(), found.ino());
            if found.is_file() && found.nlink() == 1 && !first.is_ok_and(is_the_same) {
                gone.push((entry.path(), found.len()));
            }
        }
        gone.sort();
        Ok(gone)
    }

    /// Whether others need the space now.
    fn is_scarce(&self) -> bool {
        rustix::fs::statvfs(&self.going)
            .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < SCARCE_BYTES)
    }
}

/// Frees what lies behind `len`, and waits until that is done: otherwise the file system would free many pieces together.
fn cut(file: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.set_len(len)?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Waits for a real thread.
mod tests {
    use super::*;
    use std::time::Instant;

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_large_file_goes_little_by_little_once_nobody_else_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let (store, going) = (directory.path(), directory.path().join(FOLDER));
        let write = |name: &str, bytes: u64| fs::write(store.join(name), vec![7; bytes as usize]).unwrap();
        write("000001.sst", 3 * PIECE_BYTES);
        write("000002.sst", SMALL_BYTES - 1);
        write("000003.log", SMALL_BYTES);
        write("000004.sst", SMALL_BYTES);
        let thread = Going::begin(store);
        let second = going.join("000001.sst");
        wait_until("it has a second name", || second.exists() && going.join("000004.sst").exists());
        assert!(!going.join("000002.sst").exists() && !going.join("000003.log").exists());
        let len = |file: &Path| fs::metadata(file).map_or(0, |found| found.len());
        assert_eq!(len(&store.join("000001.sst")), 3 * PIECE_BYTES, "what is in use stays");
        fs::remove_file(store.join("000001.sst")).unwrap();
        wait_until("it is gone", || !second.exists());
        // One that another process had not finished goes with the next one; what is in use never.
        fs::remove_file(store.join("000004.sst")).unwrap();
        drop(thread);
        write("000005.sst", SMALL_BYTES);
        let _thread = Going::begin(store);
        wait_until("all is gone", || !going.join("000004.sst").exists());
        wait_until("it has a second name", || going.join("000005.sst").exists());
        std::thread::sleep(2 * LOOK_EVERY);
        assert_eq!(fs::read(store.join("000005.sst")).unwrap(), vec![7; SMALL_BYTES as usize]);
    }
}
