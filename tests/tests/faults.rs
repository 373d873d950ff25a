//! A full disk, a failed fsync and damaged logs, on the real server.
//!
//! The promise: writes are refused or the server stops loudly; no acknowledged row is ever lost; a clean start
//! follows once the fault is gone.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::{Assize, root, run_ok, wait_for};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first bytes of a segment of the replicated log.
const SEGMENT_MAGIC: &[u8] = b"azwal";
/// Where a segment's records begin.
const SEGMENT_RECORDS: usize = 4096;

/// A data directory, and the switch of a preloaded library that makes its files fail.
struct Faulty {
    directory: tempfile::TempDir,
}

impl Faulty {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let source = root().join("tests/data/fault.c");
        run_ok(
            Command::new("cc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(directory.path().join("fault.so"))
                .arg(source)
                .arg("-ldl"),
            b"",
        );
        let faulty = Faulty { directory };
        faulty.switch("none");
        faulty
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// `f`ull disk, `s`ync fails, `n`one.
    fn switch(&self, fault: &str) {
        std::fs::write(self.directory.path().join("switch"), fault).unwrap();
    }

    fn start(&self) -> Assize {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        Assize::try_start(
            Some(&self.data()),
            &[],
            &[
                ("LD_PRELOAD", &path("fault.so")),
                ("FAULT_DIR", &path("data")),
                ("FAULT_SWITCH", &path("switch")),
            ],
        )
        .unwrap_or_else(|log| panic!("assize did not start:\n{log}"))
    }
}

fn connect(assize: &Assize) -> mysql::Result<Conn> {
    let opts = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(assize.port())
        .user(Some("root"))
        .prefer_socket(false)
        .read_timeout(Some(std::time::Duration::from_secs(60)));
    Conn::new(opts)
}

fn create_table(assize: &Assize) {
    assize.query("CREATE DATABASE f; CREATE TABLE f.t (id INT PRIMARY KEY, filler VARCHAR(4000) NOT NULL)");
}

/// Inserts rows until one is refused or `most` are in; the ids that were acknowledged, and the refusal.
fn insert(connection: &mut Conn, ids: std::ops::Range<u32>) -> (BTreeSet<u32>, Option<mysql::Error>) {
    let mut acknowledged = BTreeSet::new();
    for id in ids {
        match connection.query_drop(format!("INSERT INTO f.t VALUES ({id}, REPEAT('x', 2000))")) {
            Ok(()) => drop(acknowledged.insert(id)),
            Err(e) => return (acknowledged, Some(e)),
        }
    }
    (acknowledged, None)
}

fn stored(assize: &Assize) -> BTreeSet<u32> {
    assize.query("SELECT id FROM f.t ORDER BY id").lines().map(|line| line.parse().unwrap()).collect()
}

fn check_whole(assize: &Assize) {
    let report = assize.query("CHECK TABLE f.t");
    assert!(report.trim_end().ends_with("OK"), "{report}");
}

/// Breaks the disk after some rows, expects a refusal or a stop, mends it, restarts, and counts.
fn survive_disk_fault(fault: &str) {
    let faulty = Faulty::new();
    let mut assize = faulty.start();
    create_table(&assize);
    let mut connection = connect(&assize).unwrap();
    let (mut acknowledged, refusal) = insert(&mut connection, 0..50);
    assert!(refusal.is_none(), "{refusal:?}");

    faulty.switch(fault);
    let (more, refusal) = insert(&mut connection, 50..2000);
    let refusal = refusal.expect("writes go on although the disk fails");
    acknowledged.extend(more);
    println!("{fault}: refused with {refusal}");
    if assize.is_running() {
        // Refusing is a proper error, not a hang; and what was acknowledged can still be read or the server says
        // why it cannot.
        if let mysql::Error::MySqlError(e) = &refusal {
            assert!(!e.message.is_empty());
        }
    } else {
        assert!(!assize.log().is_empty(), "the server stopped without a word");
    }

    faulty.switch("none");
    assize.kill();
    let assize = faulty.start();
    let stored = stored(&assize);
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged rows are lost: {lost:?}");
    // The refused row may have been on its way; nothing else may have appeared.
    let extra: Vec<_> = stored.difference(&acknowledged).collect();
    assert!(extra.len() <= 1, "rows that nobody acknowledged: {extra:?}");
    let (after, refusal) = insert(&mut connect(&assize).unwrap(), 5000..5010);
    assert!(refusal.is_none() && after.len() == 10, "the server takes writes again: {refusal:?}");
    check_whole(&assize);
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    survive_disk_fault("full");
}

#[test]
fn a_failed_fsync_stops_the_server_and_loses_nothing() {
    survive_disk_fault("sync");
}

/// The segments of the replicated log below a directory, newest (by what was written last) last.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![directory.to_owned()];
    while let Some(next) = stack.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else {
                let mut head = [0; 5];
                let file = std::fs::File::open(&path).unwrap();
                if file.read_exact_at(&mut head, 0).is_ok() && head == SEGMENT_MAGIC {
                    found.push((std::fs::metadata(&path).unwrap().modified().unwrap(), path));
                }
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no segment of the log below {}", directory.display());
    found.into_iter().map(|(_, path)| path).collect()
}

/// The end of what was written to a segment whose remainder is still zeros.
fn written_end(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|b| *b != 0).expect("a segment is not empty");
    (last + 8) & !7
}

/// A directory in which 200 rows were acknowledged before `kill -9`.
fn killed_with_rows() -> (tempfile::TempDir, BTreeSet<u32>) {
    let data = tempfile::tempdir().unwrap();
    let assize = Assize::start_on(data.path());
    create_table(&assize);
    let (acknowledged, refusal) = insert(&mut connect(&assize).unwrap(), 0..200);
    assert!(refusal.is_none(), "{refusal:?}");
    assize.kill();
    (data, acknowledged)
}

#[test]
fn a_torn_record_at_the_end_of_the_log_is_dropped_and_nothing_acknowledged_with_it() {
    let (data, acknowledged) = killed_with_rows();
    let newest = segments(data.path()).pop().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    let end = written_end(&bytes);
    // Half a record: the head of the last one again, and noise where its payload would be.
    let mut torn = bytes[SEGMENT_RECORDS..SEGMENT_RECORDS + 64].to_vec();
    torn.extend((0..600u32).map(|n| (n * 31 % 251) as u8));
    let room = bytes.len().saturating_sub(end).min(torn.len());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&newest)
        .unwrap()
        .write_all_at(&torn[..room], end as u64)
        .unwrap();

    let assize = Assize::start_on(data.path());
    assert_eq!(stored(&assize), acknowledged);
    check_whole(&assize);
    let (after, refusal) = insert(&mut connect(&assize).unwrap(), 1000..1010);
    assert!(refusal.is_none() && after.len() == 10);
    assize.kill();
    let assize = Assize::start_on(data.path());
    assert_eq!(stored(&assize).len(), 210, "what was written over the torn record is durable");
}

#[test]
fn a_damaged_record_in_the_middle_of_the_log_stops_the_start_loudly() {
    let (data, _) = killed_with_rows();
    let newest = segments(data.path()).pop().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    let end = written_end(&bytes);
    let middle = SEGMENT_RECORDS + (end - SEGMENT_RECORDS) / 2;
    let file = std::fs::OpenOptions::new().write(true).open(&newest).unwrap();
    file.write_all_at(&[bytes[middle] ^ 0x5a, bytes[middle + 1] ^ 0xa5], middle as u64).unwrap();

    let log = Assize::try_start(Some(data.path()), &[], &[]).err().expect("a damaged log must not be opened");
    assert!(log.contains("corrupt") || log.contains("damaged") || log.contains("log"), "says why: {log}");

    // Put the bytes back: the directory was not touched by the refusal.
    file.write_all_at(&bytes[middle..middle + 2], middle as u64).unwrap();
    let assize = Assize::start_on(data.path());
    assert_eq!(stored(&assize).len(), 200);
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let first = Assize::start_on(data.path());
    let log = Assize::try_start(Some(data.path()), &[], &[]).err().expect("two servers on one directory");
    assert!(log.contains("in use"), "{log}");
    assert_eq!(first.query("SELECT 1").trim(), "1", "the first one is unharmed");
}

#[test]
fn sigterm_drains_and_ends_with_zero() {
    let data = tempfile::tempdir().unwrap();
    let assize = Assize::start_on(data.path());
    create_table(&assize);
    let (acknowledged, _) = insert(&mut connect(&assize).unwrap(), 0..20);
    let pid = assize.pid();
    assert_eq!(assize.terminate().code(), Some(0));
    wait_for("the process to be gone", || !Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(stored(&Assize::start_on(data.path())), acknowledged);
}
