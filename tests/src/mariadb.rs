//! A throw-away MariaDB server, from Debian's packages, to compare with.

use crate::cluster::free_port;
use crate::{run_ok, wait_for};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running `mariadbd` with an empty data directory of its own, reached through a private socket or a free port.
pub struct MariaDb {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl MariaDb {
    /// Makes a data directory and starts a server on it.
    ///
    /// # Panics
    /// If MariaDB is not installed (`./justw test` installs it) or does not answer in time.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("mariadb").tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        run_ok(
            Command::new("mariadb-install-db")
                .envs([own_temporary_files(directory.path())])
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                .args(run_as_root())
                .arg(format!("--datadir={}", data.display())),
            b"",
        );
        let port = free_port();
        let server = MariaDb { child: spawn(&directory, port), port, directory };
        server.wait_until_it_answers();
        server
    }

    fn wait_until_it_answers(&self) {
        wait_for("mariadbd to answer", || {
            crate::run(self.client("mariadb").args(["--execute", "SELECT 1"]), b"").status.success()
        });
    }

    /// Kills it, as `kill -9` does, and starts it again on the same files and the same port.
    pub fn kill_and_start_again(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(&self.directory, self.port);
        self.wait_until_it_answers();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its socket.
    pub fn socket(&self) -> String {
        self.directory.path().join("sock").display().to_string()
    }

    /// A client program (`mariadb`, `mariadb-dump`), connected to it.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["--no-defaults", "--user=root", &format!("--socket={}", self.socket())]);
        command.args(["--default-character-set=utf8mb4"]);
        command
    }

    /// Runs a statement; rows as tab-separated lines without header. Bytes that are
    /// not text are replaced; ask for HEX() where they matter.
    pub fn query(&self, statement: &str) -> String {
        String::from_utf8_lossy(&crate::run_bytes(
            self.client("mariadb").args(["--batch", "--skip-column-names", "--raw"]),
            statement.as_bytes(),
        ))
        .into_owned()
    }
}

fn spawn(directory: &tempfile::TempDir, port: u16) -> Child {
    let path = directory.path();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(path.join("log"));
    let log = log.expect("a log file can be made");
    Command::new("mariadbd")
        .envs([own_temporary_files(path)])
        .arg("--no-defaults")
        .args(run_as_root())
        .arg(format!("--datadir={}", path.join("data").display()))
        .arg(format!("--socket={}", path.join("sock").display()))
        .arg(format!("--pid-file={}", path.join("pid").display()))
        .args(["--bind-address=127.0.0.1", &format!("--port={port}"), "--character-set-server=utf8mb4"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file handle can be cloned"))
        .stderr(log)
        .spawn()
        .expect("mariadbd can be started: ./justw test installs it")
}

/// Servers that start sweep what looks like theirs out of the directory for temporary files: each has one of its own.
fn own_temporary_files(directory: &Path) -> (&'static str, std::path::PathBuf) {
    let temporary = directory.join("tmp");
    std::fs::create_dir_all(&temporary).expect("a directory can be made");
    ("TMPDIR", temporary)
}

/// mariadbd refuses to run as root unless told to.
fn run_as_root() -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    (id.stdout.starts_with(b"0\n") || id.stdout == b"0").then_some("--user=root")
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
