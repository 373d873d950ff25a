//! The branches of a transaction on foreign servers.
//!
//! ```text
//!   Transaction::foreign ──▶ Branch ── XA START … statements, savepoints          one per server, on a connection of its own
//!   COMMIT:  vote    XA END, XA PREPARE of those that were written to, side by side; the record joins the write set
//!            decide  as for every transaction                                      (commit.rs)
//!            follow  XA COMMIT, or XA ROLLBACK; those that only read are ended     (what is left: foreign_recovery.rs)
//! ```
//!
//! A savepoint is set on the server before a write only if the transaction was marked since the write before, and undoing to a mark
//! is carried out with the next statement. What ends a branch without our having asked, be it a lost connection, a deadlock there or a
//! statement that was broken off, leaves nothing of the transaction that could be committed.
//!
//! See `docs/decisions/0024-foreign-tables-take-part-by-xa.md`.

mod errors;
mod follow;
mod xid;

pub(crate) use errors::{UNKNOWN_XID, away, is_unknown, sql_error};
pub(crate) use xid::{Mark as ClusterMark, Xid};

use crate::services::Services;
use crate::txn::{Isolation, Txn};
use assize_catalog::{BranchPlace, Server};
use assize_model::{DeadlineClass, ErrorCode, SqlError, TxnId};
use assize_ports::{ForeignConnection, ForeignError, ForeignResult, ForeignStatement};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest `innodb_lock_wait_timeout` that servers take.
const LOCK_WAIT_SECONDS_MAX: u64 = 1_073_741_824;

/// What a transaction has on foreign servers: nothing, mostly.
#[derive(Default)]
pub(crate) struct Branches {
    /// What they have in common, drawn with the first of them.
    number: Option<TxnId>,
    /// By the server's name in lower case.
    by_server: BTreeMap<Arc<str>, Branch>,
    /// How often the transaction was marked.
    marks: u64,
    /// Why nothing of the transaction can be committed any more.
    broken: Option<SqlError>,
    /// Servers on which the branch was not committed in time, although the transaction is.
    late: Vec<Arc<str>>,
}

/// A connection that only whoever owns it uses; the lock makes it something that can be shared, and is never contended.
struct Line(Mutex<Box<dyn ForeignConnection>>);

impl Line {
    fn new(connection: Box<dyn ForeignConnection>) -> Self {
        Line(Mutex::new(connection))
    }

    fn get(&mut self) -> &mut dyn ForeignConnection {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    fn give_back(self) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).give_back();
    }
}

/// One branch.
struct Branch {
    server: Arc<Server>,
    xid: Xid,
    /// Gone while a statement runs, and for good if that was broken off or the connection was.
    line: Option<Line>,
    /// Whether XA START has come through.
    has_begun: bool,
    /// Savepoints set there that may still be gone back to: the place in the transaction's log of writes, and a number. The first
    /// stands before the first write, so that without one nothing is written.
    savepoints: Vec<(u64, u64)>,
    next_savepoint: u64,
    /// How often the transaction had been marked at the last savepoint.
    marks_seen: Option<u64>,
    /// The savepoint to go back to before anything else is done.
    goes_back_to: Option<u64>,
    is_prepared: bool,
}

impl Branch {
    fn new(server: Arc<Server>, xid: Xid, connection: Box<dyn ForeignConnection>) -> Self {
        Branch {
            server,
            xid,
            line: Some(Line::new(connection)),
            has_begun: false,
            savepoints: Vec::new(),
            next_savepoint: 0,
            marks_seen: None,
            goes_back_to: None,
            is_prepared: false,
        }
    }

    fn has_written(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// Writes since this place of the log are undone.
    fn undo_to(&mut self, mark: u64) {
        let Some(first) = self.savepoints.iter().position(|(place, _)| *place >= mark) else { return };
        let (_, savepoint) = self.savepoints[first];
        // Undone twice, the earlier savepoint counts; they are numbered as they were set.
        self.goes_back_to = Some(self.goes_back_to.map_or(savepoint, |before| before.min(savepoint)));
        self.savepoints.truncate(first);
        self.marks_seen = None;
    }

    /// What has to be said before anything else.
    fn take_going_back(&mut self) -> String {
        self.goes_back_to
            .take()
            .map_or_else(String::new, |number| format!("ROLLBACK TO SAVEPOINT a{number}; "))
    }

    /// Runs something, and keeps the connection only if it is whole afterwards: whoever drops this while it waits has lost it.
    async fn run(
        &mut self,
        sql: &str,
        types: &[assize_values::SqlType],
    ) -> Result<ForeignResult, ForeignError> {
        let Some(mut line) = self.line.take() else {
            return Err(ForeignError::Away("the connection was given up".to_owned()));
        };
        let result = line.get().run(sql, types).await;
        if !matches!(result, Err(ForeignError::Away(_))) {
            self.line = Some(line);
        }
        result
    }

    fn give_back(&mut self) {
        if let Some(line) = self.line.take() {
            line.give_back();
        }
    }
}

impl Branches {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_server.is_empty()
    }

    /// A mark is handed out.
    pub(crate) fn note_mark(&mut self) {
        self.marks += 1;
    }

    /// Writes since this mark are undone.
    pub(crate) fn undo_to(&mut self, mark: u64) {
        for branch in self.by_server.values_mut() {
            branch.undo_to(mark);
        }
    }

    /// Why the transaction cannot go on, if a branch has ended without our having asked.
    pub(crate) fn broken(&self) -> Option<SqlError> {
        let lost = || self.by_server.values().find(|branch| branch.line.is_none());
        self.broken.clone().or_else(|| {
            lost().map(|branch| {
                away(&branch.server, "a statement was broken off; the transaction was rolled back")
            })
        })
    }

    /// Servers that have not heard yet that the transaction has committed.
    pub(crate) fn take_late(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.late)
    }

    fn written(&mut self) -> impl Iterator<Item = &mut Branch> {
        self.by_server.values_mut().filter(|branch| branch.has_written())
    }

    /// Where there is something to prepare.
    fn places(&mut self) -> Vec<BranchPlace> {
        self.written().map(|branch| place_of(&branch.server)).collect()
    }

    /// Names a failure of a statement, and notes if it is the end of the transaction.
    fn fail(&mut self, server: &Server, error: ForeignError) -> SqlError {
        let told = sql_error(server, &error);
        if errors::ends_branch(&error) {
            self.broken = Some(told.clone());
        }
        told
    }
}

/// What a record calls a server.
pub(crate) fn place_of(server: &Server) -> BranchPlace {
    BranchPlace { server: name_of(server), address: address_of(server) }
}

/// By what the catalog knows a server.
pub(crate) fn name_of(server: &Server) -> Arc<str> {
    server.name.to_lowercase().into()
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn address_of(server: &Server) -> Arc<str> {
    match server.host.contains(':') {
        true => format!("[{}]:{}", server.host, server.port).into(),
        false => format!("{}:{}", server.host, server.port).into(),
    }
}

const fn isolation_words(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::RepeatableRead => "REPEATABLE READ",
        Isolation::Serializable => "SERIALIZABLE",
    }
}

impl Txn {
    /// Why it cannot be committed any more, if a branch has ended without our having asked.
    pub(crate) fn broken(&self) -> Option<SqlError> {
        self.branches().broken()
    }

    /// [`assize_ports::Transaction::foreign`].
    pub(crate) async fn run_foreign(
        &mut self,
        server: &Arc<Server>,
        statement: ForeignStatement<'_>,
    ) -> Result<ForeignResult, SqlError> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        if statement.writes {
            self.may_write_at_all()?;
        }
        let name = name_of(server);
        if !self.branches().by_server.contains_key(&name) {
            self.open_branch(&name, server).await?;
        }
        let begins = self.words_to_begin();
        let place = self.log_place();
        let branches = self.branches_mut();
        let marks = branches.marks;
        let Some(branch) = branches.by_server.get_mut(&name) else {
            return Err(SqlError::internal("a branch that was opened is not there"));
        };
        let mut sql = String::new();
        if !branch.has_begun {
            sql.push_str(&format!("{begins}XA START {}; ", branch.xid));
        }
        sql.push_str(&branch.take_going_back());
        if statement.writes && branch.marks_seen != Some(marks) {
            let number = branch.next_savepoint;
            sql.push_str(&format!("SAVEPOINT a{number}; "));
            branch.next_savepoint += 1;
            branch.savepoints.push((place, number));
            branch.marks_seen = Some(marks);
        }
        sql.push_str(statement.sql);
        let result = branch.run(&sql, statement.types).await;
        branch.has_begun = true;
        if statement.writes {
            self.note_elsewhere();
        }
        result.map_err(|error| self.branches_mut().fail(server, error))
    }

    async fn open_branch(&mut self, name: &Arc<str>, server: &Arc<Server>) -> Result<(), SqlError> {
        let services = self.services().clone();
        let connected = services.foreign.connect(server.clone()).await;
        let connection = connected.map_err(|error| sql_error(server, &error))?;
        let number = || services.next_txn_id(DeadlineClass::Xa);
        let number = *self.branches_mut().number.get_or_insert_with(number);
        let xid = Xid::new(services.cluster_mark(), number, name);
        let branch = Branch::new(server.clone(), xid, connection);
        self.branches_mut().by_server.insert(name.clone(), branch);
        Ok(())
    }

    /// What a branch has from its transaction.
    fn words_to_begin(&self) -> String {
        let options = self.options();
        let seconds = options.lock_wait.as_secs().clamp(1, LOCK_WAIT_SECONDS_MAX);
        let isolation = isolation_words(options.isolation);
        format!(
            "SET SESSION innodb_lock_wait_timeout = {seconds}; SET TRANSACTION ISOLATION LEVEL {isolation}; "
        )
    }
}

impl Services {
    /// By what branches of this cluster are told from those of others.
    pub(crate) fn cluster_mark(&self) -> ClusterMark {
        ClusterMark::of_seed(self.identity.hash_seed)
    }
}

/// Error 1792.
pub(crate) fn read_only() -> SqlError {
    let text = "Cannot execute statement in a READ ONLY transaction.";
    SqlError::new(ErrorCode::ReadOnlyTransaction, text)
}
