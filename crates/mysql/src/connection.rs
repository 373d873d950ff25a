//! One connection to a foreign server.

use crate::Servers;
use crate::convert::value_of;
use assize_catalog::Server;
use assize_model::{ErrorCode, Warning, WarningLevel};
use assize_ports::{BoxFuture, ForeignConnection, ForeignError, ForeignResult};
use assize_values::{SqlType, Value};
use mysql_async::prelude::Queryable;
use mysql_async::{
    BinaryProtocol, Conn, DriverError, Error, Opts, OptsBuilder, QueryResult, SslOpts, TextProtocol,
};
use std::sync::Arc;
use std::time::Duration;

/// How long it may take to connect, to log in, and to set the session up.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Silence on a connection after which the network is asked whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The largest packet that either side may send: what the protocol allows.
const PACKET_BYTES_MAX: usize = 1 << 30;
/// `wait_timeout` of our sessions, in seconds: idle ones are closed by us, and those of open transactions by their session.
const WAIT_TIMEOUT_SECONDS: usize = 28_800;
/// Warnings asked for after a statement that has some.
const WARNINGS_MAX: usize = 64;

/// What makes literals and values mean the same there and here, in one go.
const SET_UP: &str = "SET NAMES utf8mb4, \
     SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
     SESSION time_zone = '+00:00', SESSION autocommit = 1, SESSION sql_select_limit = DEFAULT, SESSION sql_safe_updates = 0, \
     SESSION foreign_key_checks = 1, SESSION unique_checks = 1, SESSION sql_auto_is_null = 0, SESSION completion_type = 0";

/// Errors after which a server has closed the connection.
const CLOSED_WITH: &[u16] =
    &[1053, 1077, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 3169, 4031];

/// A connection that is set up.
pub(crate) struct Wire {
    conn: Conn,
}

/// A connection in somebody's hands.
pub(crate) struct Connection {
    servers: Servers,
    server: Arc<Server>,
    /// Gone once it is broken, or given back.
    wire: Option<Wire>,
    /// It came from those that were idle, and nothing has been said on it yet.
    was_idle: bool,
    /// A statement runs. Found so at the end, nobody waits for it any more.
    is_busy: bool,
}

fn options(server: &Server, with_tls: bool) -> Opts {
    let mut builder = OptsBuilder::default()
        .ip_or_hostname(server.host.trim_start_matches('[').trim_end_matches(']').to_owned())
        .tcp_port(server.port)
        .user(Some(server.user.to_string()))
        .pass(Some(server.password.to_string()))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .wait_timeout(Some(WAIT_TIMEOUT_SECONDS))
        .stmt_cache_size(0);
    if !server.database.is_empty() {
        builder = builder.db_name(Some(server.database.to_string()));
    }
    if with_tls {
        // As with MySQL's ssl-mode=PREFERRED: against those who listen, not against those who pretend.
        builder = builder.ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true));
    }
    builder.into()
}

/// A connection that nobody else uses.
pub(crate) async fn connect(server: &Server) -> Result<Wire, ForeignError> {
    let late = || ForeignError::Away(format!("no login within {} s", CONNECT_LIMIT.as_secs()));
    tokio::time::timeout(CONNECT_LIMIT, log_in(server)).await.unwrap_or_else(|_| Err(late()))
}

async fn log_in(server: &Server) -> Result<Wire, ForeignError> {
    let is_here = is_loopback(&server.host);
    let first = Conn::new(options(server, !is_here)).await;
    let second = match &first {
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) => Some(false),
        Err(Error::Server(error)) if error.code == ErrorCode::SecureTransportRequired.errno() => Some(true),
        _ => None,
    };
    let conn = match second {
        Some(with_tls) => Conn::new(options(server, with_tls)).await,
        None => first,
    };
    // Whatever it is: whoever is not let in has nobody to talk to.
    let mut conn = conn.map_err(|error| ForeignError::Away(words(&error)))?;
    conn.query_drop(SET_UP).await.map_err(told)?;
    Ok(Wire { conn })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// An error in words that name no secret.
fn words(error: &Error) -> String {
    match error {
        Error::Server(error) => format!("error {}: {}", error.code, error.message),
        Error::Io(error) => error.to_string(),
        Error::Driver(error) => error.to_string(),
        Error::Other(_) | Error::Url(_) => "the connection cannot be used".to_owned(),
    }
}

/// What a failed statement comes to.
fn told(error: Error) -> ForeignError {
    match error {
        Error::Server(error) if !CLOSED_WITH.contains(&error.code) => {
            ForeignError::Refused { code: error.code, state: error.state, message: error.message }
        }
        error => ForeignError::Away(words(&error)),
    }
}

/// Whether a prepared branch of a server that calls itself so outlives its connection; or why not.
fn check_version(version: &str) -> Result<(), String> {
    let mut numbers =
        version.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().unwrap_or(0));
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    let (name, least) = if is_mariadb { ("MariaDB", (10, 5)) } else { ("MySQL", (8, 0)) };
    if version_of >= least {
        return Ok(());
    }
    Err(format!(
        "the server is {version}: from {name} {}.{} on a prepared transaction outlives its connection, before it does not",
        least.0, least.1
    ))
}

impl Wire {
    /// Refuses a server whose XA cannot be trusted, or whose account may not look for branches.
    pub(crate) async fn check(&mut self) -> Result<(), ForeignError> {
        let version = self.conn.query_first::<String, _>("SELECT @@version").await.map_err(told)?;
        let version = version.unwrap_or_default();
        check_version(&version).map_err(ForeignError::Unfit)?;
        match self.conn.query_drop("XA RECOVER").await.map_err(told) {
            Ok(()) => Ok(()),
            Err(ForeignError::Refused { code, message, .. }) => Err(ForeignError::Unfit(format!(
                "XA RECOVER is refused there, so that branches could not be found again: error {code}: {message}"
            ))),
            Err(away) => Err(away),
        }
    }

    async fn run(&mut self, sql: &str, types: &[SqlType]) -> Result<ForeignResult, ForeignError> {
        // The text protocol shows six digits of a FLOAT; all of them come in binary.
        if types.iter().any(|sql_type| matches!(sql_type, SqlType::Float { .. })) {
            let (before, last) = split_preamble(sql);
            if !before.is_empty() {
                self.conn.query_drop(before).await.map_err(told)?;
            }
            let answer: QueryResult<'_, '_, BinaryProtocol> =
                self.conn.exec_iter(last, ()).await.map_err(told)?;
            return self::read_binary(answer, types).await;
        }
        let answer = self.conn.query_iter(sql).await.map_err(told)?;
        let mut result = read_text(answer, types).await?;
        if self.conn.get_warnings() > 0 {
            result.warnings = self.warnings().await?;
        }
        Ok(result)
    }

    async fn warnings(&mut self) -> Result<Vec<Warning>, ForeignError> {
        let sql = format!("SHOW WARNINGS LIMIT {WARNINGS_MAX}");
        let rows = self.conn.query::<(String, u16, String), _>(sql).await.map_err(told)?;
        let warnings = rows.into_iter().map(|(level, errno, message)| {
            let level = if level == "Note" { WarningLevel::Note } else { WarningLevel::Warning };
            let known = ErrorCode::ALL.iter().find(|code| code.errno() == errno);
            Warning { level, code: *known.unwrap_or(&ErrorCode::ForeignDataSource), message }
        });
        Ok(warnings.collect())
    }
}

/// What the beginnings of branches and savepoints are made of.
const PREAMBLE: &[&str] = &["SET ", "XA ", "SAVEPOINT ", "ROLLBACK TO "];

/// What comes before the statement itself, and the statement. Nothing of what comes before contains a `;` of its own.
fn split_preamble(sql: &str) -> (&str, &str) {
    let mut at = 0;
    while PREAMBLE.iter().any(|word| sql[at..].starts_with(word))
        && let Some(end) = sql[at..].find("; ")
    {
        at += end + 2;
    }
    (sql[..at].trim_end_matches("; "), &sql[at..])
}

macro_rules! reader {
    ($name:ident, $protocol:ty) => {
        /// Reads every result, keeps the last one, and leaves the connection ready for the next statement whatever was in it.
        async fn $name(
            mut answer: QueryResult<'_, '_, $protocol>,
            types: &[SqlType],
        ) -> Result<ForeignResult, ForeignError> {
            let mut unfit = None;
            let result = loop {
                let columns = answer.columns_ref().len();
                if columns > 0 && columns != types.len() && unfit.is_none() {
                    let expected = types.len();
                    unfit = Some(format!("{columns} columns came where {expected} were expected"));
                }
                let mut rows = Vec::new();
                while let Some(row) = answer.next().await.map_err(told)? {
                    if unfit.is_some() {
                        continue;
                    }
                    let cells =
                        row.unwrap_raw().into_iter().map(|cell| cell.unwrap_or(mysql_async::Value::NULL));
                    let read = cells.zip(types).map(|(cell, sql_type)| value_of(cell, sql_type));
                    match read.collect::<Result<Vec<Value>, String>>() {
                        Ok(row) => rows.push(row),
                        Err(why) => unfit = Some(why),
                    }
                }
                let (affected, insert_id) = (answer.affected_rows(), answer.last_insert_id().unwrap_or(0));
                if answer.is_empty() {
                    break ForeignResult { rows, affected, insert_id, warnings: Vec::new() };
                }
            };
            answer.drop_result().await.map_err(told)?;
            unfit.map_or(Ok(result), |why| Err(ForeignError::Unfit(why)))
        }
    };
}

reader!(read_text, TextProtocol);
reader!(read_binary, BinaryProtocol);

impl Connection {
    pub(crate) fn new(servers: Servers, server: Arc<Server>, wire: Wire, was_idle: bool) -> Self {
        Connection { servers, server, wire: Some(wire), was_idle, is_busy: false }
    }

    async fn run_on_wire(&mut self, sql: &str, types: &[SqlType]) -> Result<ForeignResult, ForeignError> {
        let Some(wire) = &mut self.wire else {
            return Err(ForeignError::Away("the connection is closed".to_owned()));
        };
        self.is_busy = true;
        let result = wire.run(sql, types).await;
        self.is_busy = false;
        if matches!(result, Err(ForeignError::Away(_))) {
            self.wire = None;
        }
        result
    }
}

impl ForeignConnection for Connection {
    fn run<'a>(
        &'a mut self,
        sql: &'a str,
        types: &'a [SqlType],
    ) -> BoxFuture<'a, Result<ForeignResult, ForeignError>> {
        Box::pin(async move {
            let was_idle = std::mem::take(&mut self.was_idle);
            match self.run_on_wire(sql, types).await {
                // The server has closed it meanwhile. What was begun with this is gone with it.
                Err(ForeignError::Away(_)) if was_idle => {
                    self.wire = Some(connect(&self.server).await?);
                    self.run_on_wire(sql, types).await
                }
                result => result,
            }
        })
    }

    fn give_back(mut self: Box<Self>) {
        if let Some(wire) = self.wire.take() {
            self.servers.keep(&self.server, wire);
        }
    }
}

/// A statement that nobody waits for any more may hold locks, or wait for some: the server is asked to end it.
impl Drop for Connection {
    fn drop(&mut self) {
        let Some(wire) = self.wire.take().filter(|_| self.is_busy) else { return };
        let id = wire.conn.id();
        let server = self.server.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Whether or not it comes through, the server finds out by itself in the end.
                if let Ok(mut other) = connect(&server).await {
                    let _ = other.conn.query_drop(format!("KILL CONNECTION {id}")).await;
                }
                drop(wire);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_whose_xa_cannot_be_trusted_are_refused_with_the_reason() {
        for version in
            ["8.0.36", "8.4.0-log", "9.1.0", "10.5.8-MariaDB", "10.11.6-MariaDB-0+deb12u1", "11.4.2-MariaDB"]
        {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["5.7.44-log", "10.4.34-MariaDB", "5.5.5", "", "nonsense"] {
            let why = check_version(version).expect_err(version);
            assert!(why.contains("outlives its connection"), "{why}");
        }
    }

    #[test]
    fn what_comes_before_a_statement_is_told_from_it() {
        let whole = "SET SESSION a = 1; XA START 'x','y',1; SAVEPOINT a0; SELECT '; SAVEPOINT b; ' FROM t";
        let (before, statement) = split_preamble(whole);
        assert_eq!(before, "SET SESSION a = 1; XA START 'x','y',1; SAVEPOINT a0");
        assert_eq!(statement, "SELECT '; SAVEPOINT b; ' FROM t");
        assert_eq!(split_preamble("SELECT 1"), ("", "SELECT 1"));
    }

    #[test]
    fn only_what_leaves_this_machine_is_encrypted_first() {
        for host in ["localhost", "127.0.0.1", "::1", "[::1]", "127.9.9.9"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!["db1", "10.0.0.1", "0.0.0.0", "[fe80::1]"].into_iter().any(is_loopback));
    }

    #[test]
    fn a_closed_connection_is_told_from_a_refusal() {
        let server = |code| {
            Error::Server(mysql_async::ServerError {
                code,
                message: "m".to_owned(),
                state: "HY000".to_owned(),
            })
        };
        assert!(matches!(told(server(1062)), ForeignError::Refused { code: 1062, .. }));
        assert!(matches!(told(server(1927)), ForeignError::Away(_)));
        let secret = Server {
            name: "s".into(),
            wrapper: "mysql".into(),
            host: "h".into(),
            port: 1,
            database: "".into(),
            user: "u".into(),
            password: "secret".into(),
            owner: "".into(),
        };
        let other = Error::Other(format!("{:?}", options(&secret, false)).into());
        assert!(!words(&other).contains("secret"));
    }
}
