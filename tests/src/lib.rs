//! A cluster of real processes for the end-to-end tests: Assize, a throw-away MariaDB, and command-line clients.
//!
//! Every process is started on loopback, on a free port, in a temporary directory, and ended by its pid when its
//! handle is dropped.
#![allow(clippy::disallowed_methods)] // Tests wait for real processes.

mod assize;
pub mod chaos;
pub mod cluster;
pub mod in_process;
mod mariadb;

pub use assize::Assize;
pub use mariadb::MariaDb;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take to start or stop before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The workspace's directory.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Polls `ready` until it says true.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end with this standard input.
///
/// # Panics
/// If it cannot be started.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A client that stops early closes its input; its exit code tells why.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the child can be waited for");
    writer.join().expect("the writer does not panic");
    output
}

/// Runs a command and returns what it printed, which must be text.
///
/// # Panics
/// If it fails.
pub fn run_ok(command: &mut Command, input: &[u8]) -> String {
    String::from_utf8(run_bytes(command, input)).expect("the command prints UTF-8")
}

/// Runs a command and returns what it printed, byte for byte.
///
/// # Panics
/// If it fails.
pub fn run_bytes(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = run(command, input);
    assert!(
        output.status.success(),
        "{command:?} failed with {}\nstderr: {}\nstdout: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout).chars().take(2000).collect::<String>(),
    );
    output.stdout
}
