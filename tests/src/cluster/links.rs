//! Proxies between the nodes of a cluster that can block or slow every direction of every pair by itself.
//!
//! Each node has one proxy, whose address its peers are told. Who calls is found out from the kernel: the process
//! that owns the calling end of the connection. A blocked link behaves as a network that drops packets: connections
//! stay open, bytes wait, and flow again once it is healed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting pump looks whether its link is open again.
const POLL: Duration = Duration::from_millis(2);
/// Bytes that a pump holds at most.
const CHUNK: usize = 64 << 10;

/// What a link does with bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rule {
    /// Passes them on.
    #[default]
    Pass,
    /// Keeps them back.
    Block,
    /// Passes them on after a while.
    Delay(Duration),
}

#[derive(Default)]
struct State {
    /// Rules that differ from [`Rule::Pass`], by (from, to).
    rules: Mutex<BTreeMap<(u64, u64), Rule>>,
    /// Which process is which node.
    processes: Mutex<BTreeMap<u32, u64>>,
    is_stopped: AtomicBool,
}

/// The proxies.
pub struct Links {
    state: Arc<State>,
}

impl Links {
    /// Starts a proxy for each (node, port that its peers call, port on which it listens).
    ///
    /// # Panics
    /// If a port is taken.
    pub fn start(nodes: Vec<(u64, u16, u16)>) -> Self {
        let links = Links { state: Arc::default() };
        for (node, advertised, peers) in nodes {
            links.add(node, advertised, peers);
        }
        links
    }

    /// Starts the proxy of one more node.
    ///
    /// # Panics
    /// If its port is taken.
    pub fn add(&self, node: u64, advertised: u16, peers: u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, advertised)).expect("the port was just free");
        listener.set_nonblocking(true).expect("a listener can be polled");
        let state = self.state.clone();
        std::thread::spawn(move || accept(&listener, &state, node, peers));
    }

    /// A process performs as this node.
    pub fn belongs(&self, process: u32, node: u64) {
        let mut processes = lock(&self.state.processes);
        processes.retain(|_, n| *n != node);
        processes.insert(process, node);
    }

    /// What happens from now on to bytes that one node sends another.
    pub fn set(&self, from: u64, to: u64, rule: Rule) {
        lock(&self.state.rules).insert((from, to), rule);
    }

    /// Cuts a node off from others, in both directions.
    pub fn isolate(&self, node: u64, others: &[u64]) {
        for other in others.iter().filter(|other| **other != node) {
            self.set(node, *other, Rule::Block);
            self.set(*other, node, Rule::Block);
        }
    }

    /// Every link passes everything.
    pub fn heal(&self) {
        lock(&self.state.rules).clear();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn rule(&self, from: u64, to: u64) -> Rule {
        lock(&self.rules).get(&(from, to)).copied().unwrap_or_default()
    }

    /// Waits until the link passes bytes; false if the proxies are stopped first.
    fn passes(&self, from: u64, to: u64) -> bool {
        if let Rule::Delay(delay) = self.rule(from, to) {
            std::thread::sleep(delay);
        }
        while self.rule(from, to) == Rule::Block {
            if self.is_stopped() {
                return false;
            }
            std::thread::sleep(POLL);
        }
        !self.is_stopped()
    }

    /// The node whose process owns the calling end of a connection.
    fn caller(&self, calling: u16, called: u16) -> Option<u64> {
        let inode = inode_of(calling, called)?;
        let link = format!("socket:[{inode}]");
        let processes = lock(&self.processes).clone();
        processes.into_iter().find_map(|(process, node)| {
            let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
            descriptors
                .flatten()
                .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
                .then_some(node)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicked thread leaves plain data behind, whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel's number of the socket bound to `calling` and connected to `called`, on loopback.
fn inode_of(calling: u16, called: u16) -> Option<String> {
    let (local, remote) = (format!(":{calling:04X}"), format!(":{called:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote);
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn accept(listener: &TcpListener, state: &Arc<State>, node: u64, peers: u16) {
    while !state.is_stopped() {
        match listener.accept() {
            Ok((stream, caller)) => {
                let state = state.clone();
                let called = listener.local_addr().map_or(0, |address| address.port());
                std::thread::spawn(move || serve(&stream, &state, caller.port(), called, node, peers));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn serve(calling: &TcpStream, state: &Arc<State>, caller: u16, called: u16, node: u64, peers: u16) {
    // Somebody who is no node (a test's probe) passes as node 0, which no rule names.
    let from = state.caller(caller, called).unwrap_or(0);
    if calling.set_nonblocking(false).is_err() || !state.passes(from, node) {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, peers));
    let Ok(answering) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return };
    let _ = calling.set_nodelay(true);
    let _ = answering.set_nodelay(true);
    std::thread::scope(|scope| {
        scope.spawn(|| pump(calling, &answering, state, from, node));
        pump(&answering, calling, state, node, from);
    });
}

/// Carries bytes one way until either end closes; then both are closed.
fn pump(mut source: &TcpStream, mut sink: &TcpStream, state: &State, from: u64, to: u64) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(read @ 1..) = source.read(&mut bytes) {
        if !state.passes(from, to) || sink.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // One side is gone; the other learns it over the same link. It may be gone as well.
    state.passes(from, to);
    let _ = source.shutdown(Shutdown::Both);
    let _ = sink.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::free_port;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(300);

    /// An echo server behind a link; this process is both node 1 and, by its socket, the caller.
    fn echo() -> (Links, TcpStream) {
        let (advertised, peers) = (free_port(), free_port());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, peers)).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 16];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..read]).unwrap();
            }
        });
        let links = Links::start(vec![(2, advertised, peers)]);
        links.belongs(std::process::id(), 1);
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, advertised)).unwrap();
        (links, stream)
    }

    /// Long enough for any machine where an answer is due, short where none is.
    fn answers(stream: &mut TcpStream, within: Duration) -> bool {
        stream.set_read_timeout(Some(within)).unwrap();
        stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
    }

    #[test]
    fn a_blocked_direction_keeps_bytes_back_until_it_is_healed() {
        let (links, mut stream) = echo();
        stream.write_all(b"a").unwrap();
        assert!(answers(&mut stream, LONG));
        for blocked in [(1, 2), (2, 1)] {
            links.set(blocked.0, blocked.1, Rule::Block);
            stream.write_all(b"b").unwrap();
            assert!(!answers(&mut stream, SHORT), "{blocked:?} is blocked");
            links.heal();
            assert!(answers(&mut stream, LONG), "{blocked:?} is healed");
        }
        links.set(3, 2, Rule::Block);
        stream.write_all(b"c").unwrap();
        assert!(answers(&mut stream, LONG), "another node's link is not ours");
    }
}
