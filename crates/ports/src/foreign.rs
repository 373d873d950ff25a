//! Real MySQL and MariaDB servers outside of the cluster: what a transaction asks of one.
//!
//! See `docs/decisions/0024-foreign-tables-take-part-by-xa.md`.

use crate::BoxFuture;
use assize_catalog::Server;
use assize_model::Warning;
use assize_values::{SqlType, Value};
use std::sync::Arc;

/// The way to servers outside of the cluster.
pub trait ForeignServers: Send + Sync {
    /// A connection that nobody else uses, in the server's database, checked to be one whose XA can be trusted. Its session is
    /// set up so that literals and values mean the same there and here: `utf8mb4`, time zone UTC, strict mode, the same rule
    /// for zeros in AUTO_INCREMENT columns, no limit on rows.
    fn connect(&self, server: Arc<Server>)
    -> BoxFuture<'_, Result<Box<dyn ForeignConnection>, ForeignError>>;
}

/// A connection to such a server. Dropped while it is busy or in a transaction, it is closed, and the server rolls back what
/// is not prepared.
pub trait ForeignConnection: Send {
    /// Runs one statement, or several that are separated by `;`, one after the other up to the first that fails: the result is
    /// the last one's, and only the last one may return rows. What is idle and turns out to be broken at the first statement
    /// is connected anew. `types` are those that the columns of its rows are to be read as; a statement that returns more or
    /// fewer columns is an error.
    fn run<'a>(
        &'a mut self,
        sql: &'a str,
        types: &'a [SqlType],
    ) -> BoxFuture<'a, Result<ForeignResult, ForeignError>>;
    /// Gives it back, with no transaction open, so that the next one need not connect again.
    fn give_back(self: Box<Self>);
}

/// What a statement came to there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForeignResult {
    /// Its rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows it changed.
    pub affected: u64,
    /// The first AUTO_INCREMENT value that it generated; 0 for none.
    pub insert_id: u64,
    /// What the server warned of, as far as it was asked.
    pub warnings: Vec<Warning>,
}

/// What is in the way on foreign servers, as one frontend sees it: for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignTroubles {
    /// Servers that cannot be asked for prepared branches, and why.
    pub away: Vec<(Arc<str>, String)>,
    /// Transactions that have committed, and of which some server that is away, or that nobody defines any more, may not have heard.
    pub unheard: usize,
    /// Branches that stay prepared for too long.
    pub stuck: Vec<StuckBranch>,
}

/// A branch that stays prepared although it has been decided what becomes of it, or though it should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckBranch {
    /// The server's name.
    pub server: Arc<str>,
    /// As XA statements name it.
    pub branch: String,
    /// For how long it has been seen, in seconds.
    pub seconds: u64,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// The server cannot be reached, or the connection broke: whether the statement was carried out is not known.
    #[error("{0}")]
    Away(String),
    /// The server said no: its number, SQLSTATE and text.
    #[error("{message} (error {code} of the server)")]
    Refused {
        /// Error number.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// Text.
        message: String,
    },
    /// The server is none that can take part, or what it sent cannot be understood.
    #[error("{0}")]
    Unfit(String),
}

/// A statement for a foreign table's server, within the transaction's branch there.
#[derive(Clone, Copy, Debug)]
pub struct ForeignStatement<'a> {
    /// In the server's dialect, values as literals.
    pub sql: &'a str,
    /// Types of the columns of its rows.
    pub types: &'a [SqlType],
    /// Whether it changes something: then it is refused in a READ ONLY transaction, and marks and savepoints undo it.
    pub writes: bool,
}

/// No servers outside: for processes that reach none, such as a test or a simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForeignServers;

impl ForeignServers for NoForeignServers {
    fn connect(
        &self,
        server: Arc<Server>,
    ) -> BoxFuture<'_, Result<Box<dyn ForeignConnection>, ForeignError>> {
        let text = format!("there is no way to foreign servers such as {} from here", server.name);
        Box::pin(std::future::ready(Err(ForeignError::Away(text))))
    }
}
