//! What clients do, and what must hold of it afterwards.

mod bank;
mod list_append;
mod long_fork;
mod register;
mod set;
mod write_skew;

use super::check::Findings;
use super::check::cycles::Step;
use super::client::{Board, Client};
use super::elle;
use super::history::{self, Fate, Op};
use super::random::Random;
use super::testimony::{self, Act, Change, Talk, Testimony};
use crate::cluster::Cluster;
use mysql::Conn;
use mysql::prelude::Queryable;

/// Isolation levels that are tested.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Snapshot isolation.
    RepeatableRead,
    /// Strict serializability.
    Serializable,
}

impl Level {
    /// Both.
    pub const ALL: [Level; 2] = [Level::RepeatableRead, Level::Serializable];

    /// As SQL spells it.
    pub fn name(self) -> &'static str {
        match self {
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        }
    }

    /// As file names and databases have it.
    pub fn suffix(self) -> &'static str {
        match self {
            Level::RepeatableRead => "rr",
            Level::Serializable => "ser",
        }
    }
}

/// The workloads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Transfers between accounts: the total stays, the balances agree with the transfers.
    Bank,
    /// Transactions append to lists and read them whole: no cycle that the level forbids (`adya`).
    ListAppend,
    /// Single reads and writes of registers: linearizable.
    Register,
    /// Single inserts and reads of groups: two readers never see two inserts in different orders.
    LongFork,
    /// Two transactions read two rows and each changes one: both commit only where the level allows it.
    WriteSkew,
    /// Inserts of unique elements: none lost, none from nowhere, none late.
    Set,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] =
        [Kind::Bank, Kind::ListAppend, Kind::Register, Kind::LongFork, Kind::WriteSkew, Kind::Set];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bank => "bank",
            Kind::ListAppend => "list-append",
            Kind::Register => "register",
            Kind::LongFork => "long-fork",
            Kind::WriteSkew => "write-skew",
            Kind::Set => "set",
        }
    }
}

/// The insertion of a row.
fn inserted(table: &'static str, id: u64, rest: u64) -> Act {
    Act::Write { table, id, change: Change::Insert(vec![rest]) }
}

/// How a workload works; `schema` is the database that is its own.
trait Work: Send + Sync {
    /// Names of its tables, without the schema.
    fn tables(&self) -> &'static [&'static str];
    /// Makes its tables.
    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()>;
    /// What the last statement of that has inserted.
    fn opening(&self) -> Vec<Act> {
        Vec::new()
    }
    /// One transaction.
    fn step(&self, client: &mut Client, random: &mut Random, schema: &str);
    /// A last look through one node, after everything was healed.
    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()>;
    /// Judges everything that was recorded, final reads included.
    fn check(&self, level: Level) -> Findings;
    /// Everything that was recorded, if it is something that Elle can judge.
    fn for_elle(&self) -> Option<(elle::Model, Vec<Op<Vec<Step>>>)> {
        None
    }
}

/// A workload at a level, with what it has recorded so far.
pub struct Workload {
    kind: Kind,
    level: Level,
    schema: String,
    work: Box<dyn Work>,
}

impl Workload {
    /// A workload that has not begun.
    pub fn new(kind: Kind, level: Level, seed: u64) -> Self {
        let work: Box<dyn Work> = match kind {
            Kind::Bank => Box::new(bank::Bank::default()),
            Kind::ListAppend => Box::new(list_append::ListAppend::default()),
            Kind::Register => Box::new(register::Register::default()),
            Kind::LongFork => Box::new(long_fork::LongFork::default()),
            Kind::WriteSkew => Box::new(write_skew::WriteSkew::default()),
            Kind::Set => Box::new(set::Set::default()),
        };
        let schema = format!("chaos_{}_{}_{seed}", kind.name().replace('-', "_"), level.suffix());
        Workload { kind, level, schema, work }
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its isolation level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Its tables.
    pub fn tables(&self) -> Vec<String> {
        self.work.tables().iter().map(|table| format!("{}.{table}", self.schema)).collect()
    }

    /// Likewise, without the database.
    pub fn table_names(&self) -> &'static [&'static str] {
        self.work.tables()
    }

    /// Makes its tables.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn set_up(&self, connection: &mut Conn, board: &Board) {
        let invoked = history::now();
        let made = connection
            .query_drop(format!("CREATE DATABASE {}", self.schema))
            .and_then(|()| self.work.set_up(connection, &self.schema))
            .and_then(|()| self.testify_of_opening(connection, board, invoked));
        made.unwrap_or_else(|e| panic!("{}: {e}", self.schema));
    }

    fn testify_of_opening(&self, connection: &mut Conn, board: &Board, invoked: u64) -> mysql::Result<()> {
        let acts = self.work.opening();
        if board.hears() && !acts.is_empty() {
            let (completed, told) = (history::now(), testimony::ask(connection)?);
            let (schema, level, fate) = (self.schema.as_str().into(), Level::RepeatableRead, Fate::Committed);
            board.testify(Testimony { schema, level, invoked, completed, fate, told, acts });
        }
        Ok(())
    }

    /// One transaction of one client.
    pub fn step(&self, client: &mut Client, random: &mut Random) {
        self.work.step(client, random, &self.schema);
    }

    /// Its history, if Elle can judge it.
    pub fn for_elle(&self) -> Option<(elle::Model, Vec<Op<Vec<Step>>>)> {
        self.work.for_elle()
    }

    /// Its database.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Reads once more through every node, and judges.
    pub fn check(&self, cluster: &Cluster, board: &Board) -> Findings {
        let mut unread = Findings::default();
        for node in cluster.nodes() {
            if let Err(error) = self.read_finally(cluster, node, board) {
                unread.anomaly(format!("the last read through node {node}: {error}"));
            }
        }
        let mut findings = self.work.check(self.level);
        findings.absorb(unread);
        findings
    }

    fn read_finally(&self, cluster: &Cluster, node: u64, board: &Board) -> mysql::Result<()> {
        let mut connection = cluster.connect(node)?;
        connection.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {}", self.level.name()))?;
        let invoked = history::now();
        connection.query_drop("BEGIN")?;
        let mut talk = Talk::new(&mut connection, &self.schema);
        self.work.final_read(&mut talk)?;
        let acts = talk.into_acts();
        connection.query_drop("COMMIT")?;
        let completed = history::now();
        if board.hears() {
            let told = testimony::ask(&mut connection)?;
            let (schema, level, fate) = (self.schema.as_str().into(), self.level, Fate::Committed);
            board.testify(Testimony { schema, level, invoked, completed, fate, told, acts });
        }
        Ok(())
    }
}
