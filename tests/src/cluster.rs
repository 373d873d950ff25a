//! A cluster of several `assize start` processes on loopback, for the end-to-end tests and for chaos.
//!
//! ```text
//!   Cluster ─┬─ node 1 ── child process, node-1.toml, node-1/ (data), node-1.log
//!            ├─ node 2 …                                                                ┌──────────┐
//!            └─ Links (optional): every peer connection goes through a proxy that ─────▶│ blocks   │
//!               knows which node called and which is called                             │ or slows │
//!                                                                                       └──────────┘
//! ```
//!
//! Everything lives in one temporary directory; processes are ended by their pids when the cluster is dropped.

mod links;
mod ports;

pub use links::{Links, Rule};
pub use ports::free_port;

use crate::{Assize, PATIENCE};
use mysql::{Conn, OptsBuilder};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a client waits for a statement's answer before it calls the connection broken.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nodes that are stopped all at once may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long a probe of a node's health may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a cluster is to be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes.
    pub nodes: u64,
    /// Number of shards.
    pub shards: u32,
    /// What nodes perform that do not perform everything, such as `"adjudicator"`.
    pub roles: BTreeMap<u64, &'static str>,
    /// Further settings of every node, as `section.key=value`.
    pub settings: Vec<String>,
    /// Environment of every process; `{node}` in a value becomes the node's number, `{dir}` the cluster's directory.
    pub environment: Vec<(String, String)>,
    /// Whether peers reach each other through [`Links`].
    pub with_links: bool,
    /// The binary that nodes run until [`Cluster::upgrade`]; `None`: the one under test.
    pub old_binary: Option<PathBuf>,
}

impl Options {
    /// So many nodes with four shards and nothing special.
    pub fn nodes(nodes: u64) -> Self {
        Options {
            nodes,
            shards: 4,
            roles: BTreeMap::new(),
            settings: Vec::new(),
            environment: Vec::new(),
            with_links: false,
            old_binary: None,
        }
    }
}

/// The addresses of a node; they stay the same for the life of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// MySQL.
    pub mysql: u16,
    /// Metrics and health.
    pub http: u16,
    /// gRPC.
    pub admin: u16,
    /// Where the node itself listens for its peers.
    pub peers: u16,
    /// Where its peers are told to find it: `peers`, or a proxy before it.
    pub advertised: u16,
}

struct Member {
    ports: Ports,
    child: Option<Child>,
    settings: Vec<String>,
    /// Stopped by SIGSTOP.
    is_paused: bool,
    /// Whether it runs the old binary.
    is_old: bool,
}

impl Member {
    fn new(ports: Ports, is_old: bool) -> Member {
        Member { ports, child: None, settings: Vec::new(), is_paused: false, is_old }
    }
}

/// Running nodes, numbered from 1.
pub struct Cluster {
    directory: tempfile::TempDir,
    options: Options,
    members: BTreeMap<u64, Member>,
    links: Option<Arc<Links>>,
    is_kept: bool,
}

impl Cluster {
    /// Starts a cluster and waits until every node is ready.
    ///
    /// # Panics
    /// If one is not in time.
    pub fn start(options: Options) -> Self {
        let mut cluster = Self::prepare(options);
        cluster.start_all();
        cluster
    }

    /// Makes directories, configurations and certificates, and starts nothing.
    ///
    /// # Panics
    /// If the disk or the loopback interface refuses.
    pub fn prepare(options: Options) -> Self {
        let directory =
            tempfile::Builder::new().prefix("assize-cluster").tempdir().expect("a temporary directory");
        let mut members = BTreeMap::new();
        for node in 1..=options.nodes {
            let peers = free_port();
            let ports = Ports {
                mysql: free_port(),
                http: free_port(),
                admin: free_port(),
                peers,
                advertised: if options.with_links { free_port() } else { peers },
            };
            members.insert(node, Member::new(ports, options.old_binary.is_some()));
        }
        let links = options.with_links.then(|| {
            let proxies =
                members.iter().map(|(node, member)| (*node, member.ports.advertised, member.ports.peers));
            Arc::new(Links::start(proxies.collect()))
        });
        let cluster = Cluster { directory, options, members, links, is_kept: false };
        std::fs::write(cluster.token_path(), "a secret of this test\n").expect("a token can be written");
        for node in cluster.nodes() {
            cluster.write_config(node);
        }
        cluster
    }

    /// Starts every node and waits until all are ready.
    ///
    /// # Panics
    /// If one is not in time.
    pub fn start_all(&mut self) {
        for node in self.nodes() {
            self.start_node(node);
        }
        for node in self.nodes() {
            self.wait_ready(node);
        }
    }

    /// Adds a node that joins the running cluster, and starts it. Its number must be new.
    ///
    /// # Panics
    /// If there is such a node.
    pub fn join_node(&mut self, node: u64) {
        let peers = free_port();
        let ports = Ports {
            mysql: free_port(),
            http: free_port(),
            admin: free_port(),
            peers,
            advertised: if self.links.is_some() { free_port() } else { peers },
        };
        if let Some(links) = &self.links {
            links.add(node, ports.advertised, ports.peers);
        }
        let old = self.members.insert(node, Member::new(ports, false));
        assert!(old.is_none(), "node {node} is there already");
        self.write_config(node);
        self.start_node(node);
    }

    /// The same for a node that has no other role.
    pub fn join_adjudicator(&mut self, node: u64) {
        self.options.roles.insert(node, "adjudicator");
        self.join_node(node);
    }

    /// Every node's number.
    pub fn nodes(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// Where a node is reached.
    pub fn ports(&self, node: u64) -> Ports {
        self.members[&node].ports
    }

    /// The proxies between the nodes.
    ///
    /// # Panics
    /// If the cluster was made without.
    pub fn links(&self) -> &Links {
        self.links.as_deref().expect("the cluster was made with links")
    }

    /// The directory that holds everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A node's data directory.
    pub fn data(&self, node: u64) -> PathBuf {
        self.directory.path().join(format!("node-{node}"))
    }

    /// The directory survives this value, for somebody who wants to look.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Settings of one node from its next start on, as `section.key=value`.
    pub fn set(&mut self, node: u64, settings: &[&str]) {
        self.member(node).settings = settings.iter().map(|s| (*s).to_owned()).collect();
    }

    /// Starts a node's process; returns at once.
    ///
    /// # Panics
    /// If it runs already.
    pub fn start_node(&mut self, node: u64) {
        let old = self.options.old_binary.clone().filter(|_| self.members[&node].is_old);
        self.start_node_with(node, &old.unwrap_or_else(Assize::binary));
    }

    /// From its next start on a node runs the binary under test.
    pub fn upgrade(&mut self, node: u64) {
        self.member(node).is_old = false;
    }

    /// The nodes that have not been upgraded.
    pub fn old_nodes(&self) -> Vec<u64> {
        self.members.iter().filter(|(_, member)| member.is_old).map(|(node, _)| *node).collect()
    }

    /// Starts a node's process from this binary; returns at once.
    ///
    /// # Panics
    /// If it runs already.
    pub fn start_node_with(&mut self, node: u64, binary: &Path) {
        assert!(self.members[&node].child.is_none(), "node {node} runs already");
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path(node)).expect("a log");
        let mut command = Command::new(binary);
        command.arg("start").arg("--config").arg(self.config_path(node));
        for setting in self.options.settings.iter().chain(&self.members[&node].settings) {
            command.arg("--set").arg(setting);
        }
        let directory = self.directory.path().display().to_string();
        for (key, value) in &self.options.environment {
            command.env(key, value.replace("{node}", &node.to_string()).replace("{dir}", &directory));
        }
        let child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .expect("assize can be started");
        if let Some(links) = &self.links {
            links.belongs(child.id(), node);
        }
        let member = self.member(node);
        member.child = Some(child);
        member.is_paused = false;
    }

    /// Waits until a node says that it is ready.
    ///
    /// # Panics
    /// If it does not in time, or ends.
    pub fn wait_ready(&mut self, node: u64) {
        if let Err(why) = self.try_wait_ready(node, PATIENCE) {
            panic!("node {node}: {why}\n{}", self.tail(node));
        }
    }

    /// Waits until a node says that it is ready; why it does not.
    pub fn try_wait_ready(&mut self, node: u64, limit: Duration) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if !self.is_running(node) {
                return Err("its process has ended".to_owned());
            }
            let (status, text) = self.http(node, "/readyz?verbose").unwrap_or_default();
            if status == 200 {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(format!("not ready after {limit:?}: {text}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a node's process is there (it may be paused).
    pub fn is_running(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let ended =
            member.child.as_mut().is_none_or(|c| c.try_wait().expect("the child can be asked").is_some());
        if ended {
            member.child = None;
        }
        !ended
    }

    /// `kill -9`; waits until the process is gone. Nothing if it is gone already.
    pub fn kill(&mut self, node: u64) {
        if let Some(mut child) = self.member(node).child.take() {
            // It may have ended by itself a moment ago.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; waits for the end.
    ///
    /// # Panics
    /// If the node does not run or does not end in time.
    pub fn terminate(&mut self, node: u64) -> ExitStatus {
        self.signal(node, "TERM");
        let mut child = self.member(node).child.take().expect("the node runs");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                return status;
            }
            if started.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("node {node} did not end {PATIENCE:?} after SIGTERM\n{}", self.tail(node));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM to every node that runs, all at once; `kill -9` to those that do not end in time.
    pub fn stop_all(&mut self) {
        let running: Vec<u64> = self.nodes().into_iter().filter(|node| self.is_running(*node)).collect();
        running.iter().for_each(|node| self.signal(*node, "TERM"));
        let started = Instant::now();
        for node in running {
            while self.is_running(node) && started.elapsed() < STOP_LIMIT {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.kill(node);
        }
    }

    /// SIGSTOP: the process stands still, its sockets stay open.
    pub fn pause(&mut self, node: u64) {
        self.signal(node, "STOP");
        self.member(node).is_paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: u64) {
        self.signal(node, "CONT");
        self.member(node).is_paused = false;
    }

    /// A node's process.
    pub fn pid(&self, node: u64) -> Option<u32> {
        self.members[&node].child.as_ref().map(Child::id)
    }

    /// What a node has logged.
    pub fn log(&self, node: u64) -> String {
        std::fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    /// The node that leads the adjudicator's group, if one says so. A cluster of one leads itself.
    pub fn leader(&mut self) -> Option<u64> {
        let nodes = self.nodes();
        if let [only] = nodes[..] {
            return Some(only);
        }
        nodes.into_iter().find(|node| {
            let member = &self.members[node];
            member.child.is_some()
                && !member.is_paused
                && self.http(*node, "/readyz?verbose").is_some_and(|(_, text)| says_it_leads(&text))
        })
    }

    /// Waits for a leader.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn wait_leader(&mut self) -> u64 {
        let started = Instant::now();
        loop {
            if let Some(leader) = self.leader() {
                return leader;
            }
            assert!(started.elapsed() < PATIENCE, "no node says that it leads");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A MySQL connection to a node.
    pub fn connect(&self, node: u64) -> mysql::Result<Conn> {
        connect(self.ports(node).mysql)
    }

    /// Status and body of a request to a node's health port.
    pub fn http(&self, node: u64, path: &str) -> Option<(u16, String)> {
        http_get(SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports(node).http)), path)
    }

    /// The value of a metric (`name` or `name{label="x"}`) of a node.
    pub fn metric(&self, node: u64, name: &str) -> Option<f64> {
        let (_, text) = self.http(node, "/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The end of a node's log.
    pub fn tail(&self, node: u64) -> String {
        let log = self.log(node);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn member(&mut self, node: u64) -> &mut Member {
        self.members.get_mut(&node).unwrap_or_else(|| panic!("there is no node {node}"))
    }

    fn signal(&self, node: u64, signal: &str) {
        let pid = self.pid(node).unwrap_or_else(|| panic!("node {node} does not run"));
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
        assert!(status.expect("kill runs").success(), "kill -{signal} {pid}");
    }

    fn log_path(&self, node: u64) -> PathBuf {
        self.directory.path().join(format!("node-{node}.log"))
    }

    fn config_path(&self, node: u64) -> PathBuf {
        self.directory.path().join(format!("node-{node}.toml"))
    }

    /// The secret that lets a node join.
    fn token_path(&self) -> PathBuf {
        self.directory.path().join("join-token")
    }

    fn write_config(&self, node: u64) {
        let ports = self.ports(node);
        let mut text = String::new();
        let roles = match self.options.roles.get(&node) {
            Some(role) => format!("\"{role}\""),
            None => "\"adjudicator\", \"shard\", \"frontend\"".to_owned(),
        };
        let _ = writeln!(
            text,
            "[node]\nid = {node}\nroles = [{roles}]\ndata = \"{}\"",
            self.data(node).display()
        );
        let _ = writeln!(text, "\n[mysql]\nlisten = \"127.0.0.1:{}\"", ports.mysql);
        let _ = writeln!(text, "\n[http]\nlisten = \"127.0.0.1:{}\"", ports.http);
        let _ = writeln!(text, "\n[shard]\ncount = {}", self.options.shards);
        if self.options.nodes > 1 {
            text.push_str(&self.cluster_sections(node));
        }
        std::fs::write(self.config_path(node), text).expect("a configuration can be written");
    }

    /// What only a node of several is told.
    fn cluster_sections(&self, node: u64) -> String {
        let ports = self.ports(node);
        let address = |node: u64| format!("127.0.0.1:{}", self.ports(node).advertised);
        let mut text = format!("replicas = {}\n\n[cluster]\n", self.options.nodes.min(3));
        if node <= self.options.nodes {
            let nodes: Vec<String> =
                (1..=self.options.nodes).map(|other| format!("\"{other}={}\"", address(other))).collect();
            let _ = writeln!(text, "nodes = [{}]", nodes.join(", "));
        } else {
            let _ = writeln!(text, "join = [\"1={}\", \"2={}\"]", address(1), address(2));
        }
        let _ = writeln!(text, "join_token_file = \"{}\"", self.token_path().display());
        let _ = writeln!(
            text,
            "\n[peers]\nlisten = \"127.0.0.1:{}\"\nadvertise = \"{}\"",
            ports.peers,
            address(node)
        );
        let _ = writeln!(text, "\n[admin]\nlisten = \"127.0.0.1:{}\"", ports.admin);
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes() {
                eprintln!("--- log of node {node} ---\n{}", self.tail(node));
            }
        }
        for node in self.nodes() {
            self.kill(node);
        }
        if self.is_kept {
            self.directory.disable_cleanup(true);
        }
    }
}

/// A MySQL connection to a port on loopback, with bounded waits.
pub fn connect(port: u16) -> mysql::Result<Conn> {
    let opts = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(port)
        .user(Some("root"))
        .prefer_socket(false)
        .tcp_connect_timeout(Some(PROBE_TIMEOUT))
        .read_timeout(Some(READ_TIMEOUT))
        .write_timeout(Some(READ_TIMEOUT));
    Conn::new(opts)
}

/// The adjudicator's line of `/readyz?verbose` says `leads` on the leader.
fn says_it_leads(readyz: &str) -> bool {
    readyz
        .lines()
        .filter_map(|line| line.split_once("adjudicator: "))
        .any(|(_, remark)| remark.split_whitespace().any(|word| word.trim_matches(',') == "leads"))
}

/// Status and body of an HTTP request; `None` if nobody answers in time.
pub fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_who_says_so() {
        assert!(says_it_leads(
            "[+] frontend: takes connections\n[+] adjudicator: leads, applied 12\nready\n"
        ));
        assert!(!says_it_leads("[+] adjudicator: follows node 2, applied 12\nready\n"));
        assert!(!says_it_leads("[+] frontend: leads to nothing\n"));
    }
}
