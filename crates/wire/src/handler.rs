//! What the protocol asks of the server behind it.

use crate::auth::Account;
use crate::protocol::capability;
use crate::result::ResultWriter;
use assize_model::SqlError;
use assize_ports::{Executed, ResultColumn};
use assize_values::collation::Charset;
use assize_values::{Collation, Value};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Who has connected, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientInfo {
    /// CONNECTION_ID().
    pub connection: u32,
    /// The name it gave.
    pub user: String,
    /// Where it comes from: an address, or `localhost` for a local socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database it wants selected.
    pub database: Option<String>,
    /// The collation of its handshake, which sets `character_set_client`, `_results` and
    /// `collation_connection`.
    pub collation: Collation,
    /// What it can do; see [`crate::capability`].
    pub capabilities: u32,
    /// Connection attributes.
    pub attributes: Vec<(String, String)>,
    /// TLS, if the connection has it.
    pub tls: Option<TlsInfo>,
}

impl ClientInfo {
    /// Whether the client has a capability.
    pub fn can(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Whether UPDATE reports matched rather than changed rows.
    pub fn found_rows(&self) -> bool {
        self.can(capability::FOUND_ROWS)
    }
}

/// A connection's TLS, for SHOW STATUS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    /// `Ssl_version`.
    pub version: String,
    /// `Ssl_cipher`.
    pub cipher: String,
}

/// A prepared statement.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prepared {
    /// The number by which the client will name it; never 0.
    pub id: u32,
    /// How many `?` it has.
    pub params: u16,
    /// The columns it will return; empty if none.
    pub columns: Vec<ResultColumn>,
    /// Warnings of preparing it.
    pub warnings: u16,
}

/// The end of one result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion<'a> {
    /// What the statement did.
    pub executed: &'a Executed,
    /// How many warnings it has.
    pub warnings: u16,
    /// Session state changes, for clients that track them.
    pub changes: &'a [StateChange],
}

/// A change of session state that clients can track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateChange {
    /// A system variable and its new value.
    Variable(String, String),
    /// The selected database.
    Database(String),
}

/// Tells a running statement to stop.
pub trait Interrupt: Send + Sync {
    /// The client has hung up: nobody will read the result.
    fn client_gone(&self);
}

/// One connection's server. Calls come one at a time; every future is run to its end, even when the client
/// has gone.
pub trait Handler: Send {
    /// The account that this user name means on this connection; `None` if there is none. An error ends the
    /// connection.
    fn account(
        &mut self,
        user: &str,
        host: &str,
    ) -> impl Future<Output = Result<Option<Account>, SqlError>> + Send;

    /// Whether a client on this host, which comes without TLS, is refused; asked after [`Handler::account`] and before its
    /// password.
    fn requires_tls(&self, _host: &str) -> bool {
        false
    }

    /// The client has authenticated: begin a new session, with its database selected. Comes again after
    /// COM_CHANGE_USER, when nothing of the former session may remain.
    fn login(&mut self, client: &ClientInfo) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// How to tell a running statement to stop.
    fn interrupt(&self) -> Arc<dyn Interrupt>;

    /// Status flags as of now; see [`crate::status`].
    fn status(&self) -> u16;

    /// How long the client may be idle.
    fn wait_timeout(&self) -> Duration;

    /// How long the client may send nothing in the middle of a file.
    fn read_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// `max_allowed_packet` of the session that has just begun.
    fn packet_bytes_max(&self) -> usize;

    /// `character_set_client`.
    fn client_charset(&self) -> Charset;

    /// `character_set_results` as a collation of that set; `None` for NULL.
    fn results_collation(&self) -> Option<Collation>;

    /// COM_QUERY: runs the statements of a text. Each ends with [`ResultWriter::complete`]; an error ends the
    /// text.
    fn query(
        &mut self,
        text: &[u8],
        writer: &mut ResultWriter,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// COM_STMT_PREPARE.
    fn prepare(&mut self, text: &[u8]) -> impl Future<Output = Result<Prepared, SqlError>> + Send;

    /// COM_STMT_EXECUTE with the values of all its parameters.
    fn execute(
        &mut self,
        statement: u32,
        params: &[Value],
        writer: &mut ResultWriter,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// COM_STMT_CLOSE.
    fn close_statement(&mut self, statement: u32);

    /// COM_INIT_DB.
    fn select_database(&mut self, name: &str) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// COM_FIELD_LIST: the columns of a table that match a pattern (empty: all), with their defaults.
    fn field_list(
        &mut self,
        table: &str,
        pattern: &str,
    ) -> impl Future<Output = Result<Vec<FieldDefault>, SqlError>> + Send;

    /// COM_RESET_CONNECTION: a new session of the same user in the same database.
    fn reset(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// COM_SET_OPTION: whether a text may hold several statements.
    fn set_multi_statements(&mut self, allowed: bool);

    /// COM_STATISTICS.
    fn statistics(&mut self) -> String;

    /// COM_PROCESS_KILL.
    fn kill(&mut self, connection: u32) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// The connection ends: roll back, give up locks.
    fn disconnect(&mut self) -> impl Future<Output = ()> + Send;
}

/// A column of COM_FIELD_LIST.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldDefault {
    /// The column.
    pub column: ResultColumn,
    /// Its default as text.
    pub default: Option<String>,
}
