//! What the disk does to whoever waits for it: the time of an fdatasync after a small write, as the log does it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes written before each sync.
const WRITE: usize = 4096;
/// The file is written before it is measured, as the log's segments are.
const FILE_BYTES: usize = 4 << 20;

/// Times of fdatasync, in microseconds, sorted.
pub fn sync_times(directory: &Path, time: Duration) -> io::Result<Vec<u32>> {
    let path = directory.join("fdatasync");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all_at(&vec![1; FILE_BYTES], 0)?;
    file.sync_all()?;
    let block = [2; WRITE];
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let offset = times.len() * WRITE % FILE_BYTES;
        let began = Instant::now();
        file.write_all_at(&block, offset as u64)?;
        file.sync_data()?;
        times.push(began.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times)
}
