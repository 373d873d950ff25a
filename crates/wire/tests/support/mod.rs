//! A server without a database, for tests of the protocol: a few made-up statements, and a real handshake.

use assize_model::{ErrorCode, SqlError};
use assize_ports::{ColumnFlags, Executed, ResultColumn, ResultSink};
use assize_values::collation::Charset;
use assize_values::{Collation, Date, DateTime, Decimal, IntType, IntWidth, SqlType, Time, Value};
use assize_wire::{
    Account, ClientInfo, Completion, FieldDefault, Handler, Interrupt, Plugin, Prepared, ResultWriter,
    StateChange, capability, charset_of_collation, native_verifier, sha2_verifier, status,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the client has gone, and whether the handler has been told of the end.
#[derive(Default)]
pub struct Seen {
    pub gone: AtomicBool,
    pub disconnected: AtomicBool,
    pub woken: tokio::sync::Notify,
}

impl Interrupt for Seen {
    fn client_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.woken.notify_one();
    }
}

/// Accounts: `root` and `plain` (no password), `sha` / `native` (password `secret`), `locked`, `tls`; and statements:
///
/// | text | answer |
/// |---|---|
/// | `SELECT types` | one row of every type |
/// | `SELECT big N` | one value of N bytes |
/// | `SELECT rows N` | N rows |
/// | `SELECT …` | one row, one column: the text behind SELECT |
/// | `FAIL …` | error 1064 |
/// | `MIDWAY` | an error after two rows |
/// | `WAIT` | ends when the client has gone |
/// | `LOAD name` | asks for a file and counts its bytes |
/// | `LOADFAIL name` | asks for a file and fails at once |
/// | `BEGIN`, `COMMIT`, `USE db`, `SET wait N` | what they say |
/// | anything else | OK, 3 changed, 5 matched |
pub struct Echo {
    pub seen: Arc<Seen>,
    client: Option<ClientInfo>,
    database: Option<String>,
    in_transaction: bool,
    multi: bool,
    wait_timeout: Duration,
    statements: BTreeMap<u32, String>,
    next: u32,
    pub packet_bytes_max: usize,
}

impl Echo {
    pub fn new(seen: Arc<Seen>) -> Self {
        Echo {
            seen,
            client: None,
            database: None,
            in_transaction: false,
            multi: false,
            wait_timeout: Duration::from_secs(28_800),
            statements: BTreeMap::new(),
            next: 1,
            packet_bytes_max: 20 << 20,
        }
    }

    async fn statement(
        &mut self,
        text: &str,
        params: &[Value],
        writer: &mut ResultWriter,
        more: bool,
    ) -> Result<(), SqlError> {
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let mut changes = Vec::new();
        let executed = match words.as_slice() {
            ["select", "types"] => rows(writer, &types(), [every_type()]).await?,
            ["select", "big", size] => {
                let value = Value::text("x".repeat(number(size)?));
                rows(writer, &[column("big", varchar(1 << 24))], [vec![value]]).await?
            }
            ["select", "rows", count] => {
                let many =
                    (0..number(count)? as i64).map(|n| vec![Value::Int(n), Value::text(format!("row {n}"))]);
                rows(writer, &[column("n", SqlType::BIGINT), column("t", varchar(20))], many).await?
            }
            ["select", "params"] => {
                let columns: Vec<ResultColumn> =
                    params.iter().map(|value| column("p", type_of(value))).collect();
                rows(writer, &columns, [params.to_vec()]).await?
            }
            ["select", ..] => {
                let value = Value::text(text[6..].trim());
                rows(writer, &[column(text[6..].trim(), varchar(200))], [vec![value]]).await?
            }
            ["fail", ..] => {
                return Err(SqlError::new(ErrorCode::ParseError, "You have an error in your SQL syntax"));
            }
            ["midway"] => {
                writer.columns(&[column("n", SqlType::BIGINT)])?;
                writer.row(&[Value::Int(1)])?;
                writer.row(&[Value::Int(2)])?;
                return Err(SqlError::new(ErrorCode::DataOutOfRange, "out of range"));
            }
            ["wait"] => {
                while !self.seen.gone.load(Ordering::SeqCst) {
                    self.seen.woken.notified().await;
                }
                return Err(SqlError::new(ErrorCode::QueryInterrupted, "Query execution was interrupted"));
            }
            ["load", name] => {
                writer.request_file(name).await?;
                let mut bytes = 0;
                while let Some(part) = writer.file_part().await? {
                    bytes += part.len() as u64;
                }
                affected(bytes, bytes, "")
            }
            ["loadfail", name] => {
                writer.request_file(name).await?;
                return Err(SqlError::new(ErrorCode::DataTooLong, "Data too long"));
            }
            ["begin"] => {
                self.in_transaction = true;
                affected(0, 0, "")
            }
            ["commit"] => {
                self.in_transaction = false;
                affected(0, 0, "")
            }
            ["use", database] => {
                self.database = Some((*database).to_owned());
                changes.push(StateChange::Database((*database).to_owned()));
                affected(0, 0, "")
            }
            ["set", "wait", seconds] => {
                self.wait_timeout = Duration::from_millis(number(seconds)? as u64);
                affected(0, 0, "")
            }
            ["set", ..] => affected(0, 0, ""),
            _ => affected(3, 5, "Rows matched: 5  Changed: 3  Warnings: 0"),
        };
        writer.set_status(self.status());
        writer.complete(Completion { executed: &executed, warnings: 0, changes: &changes }, more);
        Ok(())
    }
}

fn number(text: &str) -> Result<usize, SqlError> {
    text.parse().map_err(|_| SqlError::new(ErrorCode::WrongArguments, "not a number"))
}

fn affected(changed: u64, matched: u64, info: &str) -> Executed {
    Executed::Affected { changed, matched, insert_id: 0, info: info.to_owned() }
}

async fn rows(
    writer: &mut ResultWriter,
    columns: &[ResultColumn],
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Result<Executed, SqlError> {
    writer.columns(columns)?;
    let mut count = 0;
    for row in rows {
        writer.row(&row)?;
        count += 1;
        if count % 100 == 0 {
            writer.ready().await?;
        }
    }
    Ok(Executed::Rows { count, found: count })
}

pub fn column(name: &str, sql_type: SqlType) -> ResultColumn {
    ResultColumn {
        database: "".into(),
        table: "".into(),
        org_table: "".into(),
        name: name.into(),
        org_name: "".into(),
        sql_type,
        nullable: true,
        flags: ColumnFlags::default(),
    }
}

fn varchar(length: u32) -> SqlType {
    SqlType::VarChar { length, collation: Collation::UTF8MB4_0900_AI_CI }
}

fn type_of(value: &Value) -> SqlType {
    match value {
        Value::Int(_) => SqlType::BIGINT,
        Value::UInt(_) => SqlType::BIGINT_UNSIGNED,
        Value::Float(_) => SqlType::Float { unsigned: false, digits: None },
        Value::Double(_) => SqlType::DOUBLE,
        Value::Decimal(d) => SqlType::Decimal { precision: d.precision(), scale: d.scale(), unsigned: false },
        Value::Bytes(_) => SqlType::VarBinary { length: 1000 },
        Value::Date(_) => SqlType::Date,
        Value::Time(_) => SqlType::Time { fsp: 6 },
        Value::DateTime(_) => SqlType::DateTime { fsp: 6 },
        _ => varchar(1000),
    }
}

fn types() -> Vec<ResultColumn> {
    let tiny = IntType { width: IntWidth::Tiny, unsigned: false, zerofill: false, display: Some(1) };
    let labels: Arc<[Arc<str>]> = vec!["red".into(), "green".into()].into();
    let collation = Collation::UTF8MB4_0900_AI_CI;
    let all = [
        ("null", SqlType::Null),
        ("bool", SqlType::Int(tiny)),
        ("int", SqlType::INT),
        ("ubig", SqlType::BIGINT_UNSIGNED),
        ("double", SqlType::DOUBLE),
        ("decimal", SqlType::Decimal { precision: 10, scale: 2, unsigned: false }),
        ("varchar", varchar(20)),
        ("blob", SqlType::Blob { size: assize_values::BlobSize::Normal }),
        ("date", SqlType::Date),
        ("time", SqlType::Time { fsp: 0 }),
        ("datetime", SqlType::DateTime { fsp: 3 }),
        ("year", SqlType::Year),
        ("bit", SqlType::Bit { length: 8 }),
        ("enum", SqlType::Enum { labels: labels.clone(), collation }),
        ("set", SqlType::Set { labels, collation }),
        ("json", SqlType::Json),
    ];
    all.into_iter().map(|(name, sql_type)| column(name, sql_type)).collect()
}

fn every_type() -> Vec<Value> {
    let date = Date { year: 2026, month: 11, day: 20 };
    vec![
        Value::Null,
        Value::Int(1),
        Value::Int(-7),
        Value::UInt(u64::MAX),
        Value::Double(0.1),
        Decimal::parse("12.50").map_or(Value::Null, Value::Decimal),
        Value::text("Grüße 😀"),
        Value::Bytes(vec![0, 255, 1].into()),
        Value::Date(date),
        Value::Time(Time { micros: -3_600_000_000 }),
        Value::DateTime(DateTime { date, micros: 43_200_123_000 }),
        Value::UInt(2026),
        Value::Bit(5),
        Value::Enum(2, "green".into()),
        Value::Set(3, "red,green".into()),
        Value::Json(Arc::new(assize_values::Json::Array(vec![assize_values::Json::Int(1)]))),
    ]
}

impl Handler for Echo {
    async fn account(&mut self, user: &str, _host: &str) -> Result<Option<Account>, SqlError> {
        let account = |plugin, verifier| Account {
            plugin,
            verifier,
            locked: user == "locked",
            require_tls: user == "tls",
            administrator: user == "root",
        };
        Ok(match user {
            "root" | "locked" | "tls" | "plain" => Some(account(Plugin::CachingSha2, Vec::new())),
            "sha" => Some(account(Plugin::CachingSha2, sha2_verifier(b"secret"))),
            "native" => Some(account(Plugin::Native, native_verifier(b"secret"))),
            _ => None,
        })
    }

    async fn login(&mut self, client: &ClientInfo) -> Result<(), SqlError> {
        if client.database.as_deref() == Some("nowhere") {
            return Err(SqlError::new(ErrorCode::UnknownDatabase, "Unknown database 'nowhere'"));
        }
        self.database = client.database.clone();
        self.multi = client.can(capability::MULTI_STATEMENTS);
        self.client = Some(client.clone());
        self.statements.clear();
        Ok(())
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.seen.clone()
    }

    fn status(&self) -> u16 {
        status::AUTOCOMMIT | if self.in_transaction { status::IN_TRANSACTION } else { 0 }
    }

    fn wait_timeout(&self) -> Duration {
        self.wait_timeout
    }

    fn packet_bytes_max(&self) -> usize {
        self.packet_bytes_max
    }

    fn client_charset(&self) -> Charset {
        self.client.as_ref().and_then(|c| charset_of_collation(c.collation)).unwrap_or_default()
    }

    fn results_collation(&self) -> Option<Collation> {
        Some(self.client.as_ref().map_or(Collation::UTF8MB4_0900_AI_CI, |c| c.collation))
    }

    async fn query(&mut self, text: &[u8], writer: &mut ResultWriter) -> Result<(), SqlError> {
        let text = String::from_utf8_lossy(text).into_owned();
        let parts: Vec<&str> = if self.multi {
            text.split(';').filter(|part| !part.trim().is_empty()).collect()
        } else {
            vec![&text]
        };
        for (i, part) in parts.iter().enumerate() {
            self.statement(part.trim(), &[], writer, i + 1 < parts.len()).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, text: &[u8]) -> Result<Prepared, SqlError> {
        let text = String::from_utf8_lossy(text).into_owned();
        if text.to_ascii_lowercase().starts_with("fail") {
            return Err(SqlError::new(ErrorCode::ParseError, "You have an error in your SQL syntax"));
        }
        let id = self.next;
        self.next += 1;
        let params = text.matches('?').count() as u16;
        let columns = if text.to_ascii_lowercase().starts_with("select") && params > 0 {
            (0..params).map(|_| column("p", varchar(1000))).collect()
        } else {
            Vec::new()
        };
        self.statements.insert(id, text);
        Ok(Prepared { id, params, columns, warnings: 0 })
    }

    async fn execute(
        &mut self,
        statement: u32,
        params: &[Value],
        writer: &mut ResultWriter,
    ) -> Result<(), SqlError> {
        let text = self.statements.get(&statement).cloned().unwrap_or_default();
        let text = if params.is_empty() || !text.to_ascii_lowercase().starts_with("select") {
            text
        } else {
            "select params".to_owned()
        };
        self.statement(&text, params, writer, false).await
    }

    fn close_statement(&mut self, statement: u32) {
        self.statements.remove(&statement);
    }

    async fn select_database(&mut self, name: &str) -> Result<(), SqlError> {
        if name == "nowhere" {
            return Err(SqlError::new(ErrorCode::UnknownDatabase, "Unknown database 'nowhere'"));
        }
        self.database = Some(name.to_owned());
        Ok(())
    }

    async fn field_list(&mut self, _table: &str, _pattern: &str) -> Result<Vec<FieldDefault>, SqlError> {
        Ok(vec![FieldDefault { column: column("id", SqlType::INT), default: Some("7".to_owned()) }])
    }

    async fn reset(&mut self) -> Result<(), SqlError> {
        self.statements.clear();
        self.in_transaction = false;
        Ok(())
    }

    fn set_multi_statements(&mut self, allowed: bool) {
        self.multi = allowed;
    }

    fn statistics(&mut self) -> String {
        "Uptime: 1  Threads: 1".to_owned()
    }

    async fn kill(&mut self, connection: u32) -> Result<(), SqlError> {
        Err(SqlError::new(ErrorCode::UnknownThread, format!("Unknown thread id: {connection}")))
    }

    async fn disconnect(&mut self) {
        self.seen.disconnected.store(true, Ordering::SeqCst);
    }
}
