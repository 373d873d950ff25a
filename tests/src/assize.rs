//! The server under test.

use crate::{root, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running `assize demo`.
pub struct Assize {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Assize {
    /// The binary: `ASSIZE_BIN`, or the one that `./justw build` makes.
    ///
    /// # Panics
    /// If it is not there.
    pub fn binary() -> PathBuf {
        let path = std::env::var_os("ASSIZE_BIN")
            .map_or_else(|| root().join("target/fast/assize"), |p| root().join(PathBuf::from(p)));
        assert!(path.is_file(), "{} is not there: run ./justw build, or ./justw test", path.display());
        path
    }

    /// Starts a cluster whose data is gone at exit.
    pub fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// Starts a cluster on a data directory.
    pub fn start_on(data: &Path) -> Self {
        Self::start_with(Some(data), &[])
    }

    /// Starts a cluster with further arguments of `assize demo`.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub fn start_with(data: Option<&Path>, arguments: &[&str]) -> Self {
        Self::try_start(data, arguments, &[]).unwrap_or_else(|log| panic!("assize did not start:\n{log}"))
    }

    /// Starts a cluster with further arguments and environment; what it logged if it ends before it answers.
    ///
    /// # Panics
    /// If it neither answers nor ends in time.
    pub fn try_start(
        data: Option<&Path>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let url_file = directory.path().join("url");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log file can be made");
        let mut command = Command::new(Self::binary());
        command.args(["demo", "--port", "0", "--url-file"]).arg(&url_file).args(arguments);
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        command.envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .expect("assize can be started");
        let mut ended = false;
        wait_for("assize to write its URL", || {
            ended = child.try_wait().expect("the child can be asked").is_some();
            ended || std::fs::read_to_string(&url_file).is_ok_and(|url| url.ends_with('\n'))
        });
        if ended {
            return Err(std::fs::read_to_string(directory.path().join("log")).unwrap_or_default());
        }
        let url = std::fs::read_to_string(&url_file).expect("the URL file was just read");
        let port = url.trim().trim_end_matches('/').rsplit(':').next().and_then(|p| p.parse().ok());
        Ok(Assize { child, port: port.unwrap_or_else(|| panic!("{url} has no port")), directory })
    }

    /// The MySQL port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its admin API is, as it has printed.
    ///
    /// # Panics
    /// If it has not.
    pub fn admin(&self) -> String {
        let log = self.log();
        let address = log.split("--admin ").nth(1).and_then(|rest| rest.split_whitespace().next());
        address.unwrap_or_else(|| panic!("no admin address in:\n{log}")).to_owned()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The `mariadb` client, connected to it.
    pub fn mariadb(&self) -> Command {
        client("mariadb", self.port)
    }

    /// `mariadb-dump`, connected to it.
    pub fn mariadb_dump(&self) -> Command {
        client("mariadb-dump", self.port)
    }

    /// Runs a statement through the `mariadb` client; rows as tab-separated lines without header. Bytes that are
    /// not text are replaced; ask for HEX() where they matter.
    pub fn query(&self, statement: &str) -> String {
        String::from_utf8_lossy(&crate::run_bytes(
            self.mariadb().args(["--batch", "--skip-column-names", "--raw"]),
            statement.as_bytes(),
        ))
        .into_owned()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("the child can be killed");
        self.child.wait().expect("the child can be waited for");
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        let mut ended = None;
        wait_for("assize to drain", || {
            ended = self.child.try_wait().expect("the child can be asked");
            ended.is_some()
        });
        ended.expect("it ended")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }
}

impl Drop for Assize {
    fn drop(&mut self) {
        // Ended already, or ended now; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- assize's log ---\n{}", self.log());
        }
    }
}

fn client(program: &str, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args([
        "--no-defaults",
        "--protocol=tcp",
        "--host=127.0.0.1",
        "--user=root",
        &format!("--port={port}"),
    ]);
    command.args(["--default-character-set=utf8mb4"]);
    command
}
