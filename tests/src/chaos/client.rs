//! A client that keeps going: it reconnects, counts what happens to it, and knows whether its node was in good health.

use super::history::{self, Fate, Moment, Op};
use super::testimony::{self, Talk, Testimony};
use super::workload::Level;
use crate::cluster::connect;
use mysql::Conn;
use mysql::prelude::Queryable;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two tries to connect when no node takes connections.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// Texts of errors that a tally keeps.
const TEXTS_MAX: usize = 5;
/// SQLSTATE of a transaction that lost to another.
const CONFLICT: &str = "40001";

/// The nodes, as clients know them, which of them are being tormented, and what clients testify.
pub struct Board {
    nodes: Vec<(u64, u16, AtomicU64)>,
    began: Instant,
    /// Anything may happen to any node: errors are no surprise, and every node is tried.
    is_rough: AtomicBool,
    /// `None`: nobody wants to know.
    testimonies: Option<Mutex<Vec<Testimony>>>,
}

impl Board {
    /// Nodes with their MySQL ports.
    pub fn new(nodes: impl Iterator<Item = (u64, u16)>) -> Self {
        let nodes = nodes.map(|(node, port)| (node, port, AtomicU64::new(0))).collect();
        Board { nodes, began: Instant::now(), is_rough: AtomicBool::new(false), testimonies: None }
    }

    /// Likewise; and clients testify.
    pub fn with_testimonies(nodes: impl Iterator<Item = (u64, u16)>) -> Self {
        Board { testimonies: Some(Mutex::default()), ..Board::new(nodes) }
    }

    /// Whether clients are asked to testify.
    pub fn hears(&self) -> bool {
        self.testimonies.is_some()
    }

    /// A client testifies.
    pub fn testify(&self, testimony: Testimony) {
        if let Some(testimonies) = &self.testimonies {
            testimonies.lock().unwrap_or_else(PoisonError::into_inner).push(testimony);
        }
    }

    /// Takes what clients have testified.
    pub fn take_testimonies(&self) -> Vec<Testimony> {
        let taken = self
            .testimonies
            .as_ref()
            .map(|all| std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner)));
        taken.unwrap_or_default()
    }

    /// How long ago clients began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// From now on errors are no surprise, of whatever node; or they are again.
    pub fn roughen(&self, is_rough: bool) {
        self.is_rough.store(is_rough, Ordering::SeqCst);
    }

    fn is_rough(&self) -> bool {
        self.is_rough.load(Ordering::SeqCst)
    }

    /// From now on errors of this node are no surprise.
    pub fn disturb(&self, node: u64) {
        self.count(node).fetch_or(1, Ordering::SeqCst);
    }

    /// The node is in good health again.
    pub fn calm(&self, node: u64) {
        let count = self.count(node);
        if count.load(Ordering::SeqCst) % 2 == 1 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self, node: u64) -> &AtomicU64 {
        let found = self.nodes.iter().find(|(n, _, _)| *n == node);
        &found.unwrap_or_else(|| panic!("there is no node {node}")).2
    }
}

/// What a client saw, apart from its transactions' contents.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// Transactions whose COMMIT was answered with OK.
    pub committed: u64,
    /// Transactions that lost to another one.
    pub conflicts: u64,
    /// Transactions whose outcome the client never learnt.
    pub unknown: u64,
    /// Refusals and broken connections of nodes in good health.
    pub errors: u64,
    /// Connections, or statements, that a tormented node broke or refused.
    pub losses: u64,
    /// The longest time without a commit.
    pub longest_gap: Duration,
    /// When it began, since clients did.
    pub gap_began: Duration,
    /// Some of the errors.
    pub texts: Vec<String>,
    /// When commits were answered, since the beginning; until [`Tally::settle`].
    commits: Vec<Duration>,
}

impl Tally {
    /// Adds another client's.
    pub fn add(&mut self, other: &Tally) {
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.errors += other.errors;
        self.losses += other.losses;
        self.texts.extend(other.texts.iter().take(TEXTS_MAX.saturating_sub(self.texts.len())).cloned());
        self.commits.extend(&other.commits);
    }

    /// Finds the longest gap between commits of all clients that were added.
    pub fn settle(&mut self) {
        let mut commits = std::mem::take(&mut self.commits);
        commits.sort_unstable();
        let gaps = commits.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        (self.longest_gap, self.gap_began) = gaps.max().unwrap_or_default();
    }
}

/// A transaction as the client experienced it.
pub struct Attempt<T> {
    /// Who ran it.
    pub process: u64,
    /// Before BEGIN was sent.
    pub invoked: Moment,
    /// After the last answer.
    pub completed: Moment,
    /// How it ended.
    pub fate: Fate,
    /// What its body returned, if it got so far.
    pub value: Option<T>,
}

impl<T> Attempt<T> {
    /// As history has it.
    pub fn op<W>(&self, what: W) -> Op<W> {
        Op { process: self.process, invoked: self.invoked, completed: self.completed, fate: self.fate, what }
    }
}

struct Open {
    connection: Conn,
    /// Index into the board's nodes.
    node: usize,
    /// The node's count of disturbances when it was last seen well.
    mark: u64,
}

/// One client, which does one thing after the other.
pub struct Client {
    board: Arc<Board>,
    level: Level,
    /// Index of the node that is tried next.
    next: usize,
    open: Option<Open>,
    process: u64,
    tally: Tally,
}

impl Client {
    /// A client that begins at a node of its own choice.
    pub fn new(board: Arc<Board>, number: u64, level: Level) -> Self {
        let next = number as usize % board.nodes.len();
        let process = history::new_process();
        Client { board, level, next, open: None, process, tally: Tally::default() }
    }

    /// What it saw.
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// Runs one transaction: BEGIN, `body`, COMMIT. `None` if no node took the connection.
    pub fn transact<T>(
        &mut self,
        schema: &str,
        body: impl FnOnce(&mut Talk<'_>) -> mysql::Result<T>,
    ) -> Option<Attempt<T>> {
        let mut open = self.open.take().or_else(|| self.reconnect())?;
        let process = self.process;
        let invoked = history::now();
        let mut acts = Vec::new();
        let began = open.connection.query_drop("BEGIN").and_then(|()| {
            let mut talk = Talk::new(&mut open.connection, schema);
            let done = body(&mut talk);
            acts = talk.into_acts();
            done
        });
        let (fate, value) = match began {
            Ok(value) => match open.connection.query_drop("COMMIT") {
                Ok(()) => {
                    self.succeed(open);
                    (Fate::Committed, Some(value))
                }
                Err(error) => (self.commit_failed(open, &error), Some(value)),
            },
            Err(error) => {
                self.fail(open, &error);
                (Fate::Aborted, None)
            }
        };
        let completed = history::now();
        if self.board.hears() {
            // What never came to its COMMIT is not what the node would tell of.
            let told = if value.is_some() { self.ask() } else { None };
            let (schema, level) = (schema.into(), self.level);
            self.board.testify(Testimony { schema, level, invoked, completed, fate, told, acts });
        }
        if fate == Fate::Unknown {
            // It may still be running: what this client does next does not come after it.
            self.process = history::new_process();
        }
        Some(Attempt { process, invoked, completed, fate, value })
    }

    /// What the node says of the transaction that has just ended, if the connection still stands.
    fn ask(&mut self) -> Option<testimony::Told> {
        let mut open = self.open.take()?;
        match testimony::ask(&mut open.connection) {
            Ok(told) => {
                self.open = Some(open);
                told
            }
            Err(error) => {
                self.fail(open, &error);
                None
            }
        }
    }

    fn succeed(&mut self, mut open: Open) {
        self.tally.committed += 1;
        self.tally.commits.push(self.board.began.elapsed());
        let count = self.board.nodes[open.node].2.load(Ordering::SeqCst);
        if count.is_multiple_of(2) {
            open.mark = count;
        }
        self.open = Some(open);
    }

    fn commit_failed(&mut self, open: Open, error: &mysql::Error) -> Fate {
        let is_conflict = is_conflict(error);
        self.fail(open, error);
        if is_conflict {
            return Fate::Aborted;
        }
        self.tally.unknown += 1;
        Fate::Unknown
    }

    /// Counts a failure; keeps the connection if it can be used further.
    fn fail(&mut self, mut open: Open, error: &mysql::Error) {
        if is_conflict(error) {
            self.tally.conflicts += 1;
        } else {
            self.count(open.node, open.mark, error);
        }
        let is_usable = matches!(error, mysql::Error::MySqlError(_));
        if is_usable && open.connection.query_drop("ROLLBACK").is_ok() {
            self.open = Some(open);
        }
    }

    fn count(&mut self, node: usize, mark: u64, error: &mysql::Error) {
        let (number, _, disturbances) = &self.board.nodes[node];
        let count = disturbances.load(Ordering::SeqCst);
        if count != mark || count % 2 == 1 || self.board.is_rough() {
            self.tally.losses += 1;
            return;
        }
        self.tally.errors += 1;
        if self.tally.texts.len() < TEXTS_MAX {
            self.tally.texts.push(format!("node {number} at {:.1?}: {error}", self.board.began.elapsed()));
        }
    }

    /// Connects to the next node that takes the connection.
    fn reconnect(&mut self) -> Option<Open> {
        for _ in 0..self.board.nodes.len() {
            let node = self.next;
            self.next = (self.next + 1) % self.board.nodes.len();
            let (_, port, disturbances) = &self.board.nodes[node];
            let mark = disturbances.load(Ordering::SeqCst);
            if mark % 2 == 1 {
                // A load balancer that checks readiness would not come here either.
                continue;
            }
            let level = self.level.name();
            let opened = connect(*port).and_then(|mut connection| {
                connection.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"))?;
                Ok(connection)
            });
            match opened {
                Ok(connection) => return Some(Open { connection, node, mark }),
                Err(error) => self.count(node, mark, &error),
            }
        }
        std::thread::sleep(RECONNECT_PAUSE);
        None
    }
}

fn is_conflict(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(e) if e.state == CONFLICT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_over_all_clients() {
        let millis = |list: &[u64]| list.iter().map(|m| Duration::from_millis(*m)).collect();
        let mut all = Tally { commits: millis(&[0, 100, 900]), ..Tally::default() };
        all.add(&Tally { commits: millis(&[50, 300, 1000]), ..Tally::default() });
        all.settle();
        assert_eq!(all.longest_gap, Duration::from_millis(600));
        assert_eq!(all.gap_began, Duration::from_millis(300));
    }

    #[test]
    fn a_node_is_in_good_health_only_between_disturbances() {
        let board = Board::new([(7, 0)].into_iter());
        board.disturb(7);
        board.disturb(7);
        assert_eq!(board.count(7).load(Ordering::SeqCst), 1);
        board.calm(7);
        board.calm(7);
        assert_eq!(board.count(7).load(Ordering::SeqCst), 2);
    }
}
