//! What clients testify of their transactions, in a form in which somebody else can work out what they must have seen and
//! written: every statement of a workload is a read of some rows, or a change of one.

use super::history::{Fate, Moment};
use super::workload::Level;
use assize_model::{Timestamp, TxnId};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::sync::Arc;

/// The column that is every table's primary key.
const KEY: &str = "id";

/// A row as text, the primary key first.
pub type Row = Vec<String>;

/// Which rows of a table are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All.
    All,
    /// The one with this key.
    One(u64),
}

/// What a statement does to a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// INSERT of a row that must not be there: the values after the key.
    Insert(Vec<u64>),
    /// UPDATE of the column after the key, if the row is there.
    Set(&'static str, u64),
    /// Likewise, by adding to it.
    Add(&'static str, i64),
    /// INSERT of a row with this text after the key, or its appending to what is there.
    Append(&'static str, String),
}

/// A statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// It saw rows.
    Read {
        /// Of which table.
        table: &'static str,
        /// Which rows could be seen.
        scope: Scope,
        /// Those that were, by key, as [`shown`] writes them.
        rows: String,
    },
    /// It changed a row.
    Write {
        /// Of which table.
        table: &'static str,
        /// The row's key.
        id: u64,
        /// What was done to it.
        change: Change,
    },
}

/// What the node said of a transaction: `@@assize_last_txn_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its id, if it wrote.
    pub txn: Option<TxnId>,
    /// Its snapshot.
    pub snapshot_ts: Timestamp,
    /// When it committed, if it wrote and did.
    pub commit_ts: Option<Timestamp>,
}

/// One transaction, as its client tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// The workload's database.
    pub schema: Arc<str>,
    /// Its isolation level.
    pub level: Level,
    /// Before BEGIN was sent.
    pub invoked: Moment,
    /// After the answer to COMMIT.
    pub completed: Moment,
    /// How it ended.
    pub fate: Fate,
    /// What the node said of it afterwards; `None` if it could not be asked.
    pub told: Option<Told>,
    /// Its statements. Of one that failed half way those that it came to.
    pub acts: Vec<Act>,
}

impl Testimony {
    /// Whether it changed anything, or tried to.
    pub fn writes(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Write { .. }))
    }
}

/// Rows as text, in the order in which they are given.
pub fn shown<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = String::new();
    for row in rows {
        row.iter().for_each(|value| text.extend([value, "|"]));
        text.push('\n');
    }
    text
}

/// A connection within a transaction, on which statements are remembered.
pub struct Talk<'a> {
    connection: &'a mut Conn,
    schema: &'a str,
    acts: Vec<Act>,
}

impl<'a> Talk<'a> {
    /// A transaction begins.
    pub fn new(connection: &'a mut Conn, schema: &'a str) -> Self {
        Talk { connection, schema, acts: Vec::new() }
    }

    /// Its statements.
    pub fn into_acts(self) -> Vec<Act> {
        self.acts
    }

    /// Reads rows, by key.
    pub fn read(&mut self, table: &'static str, scope: Scope) -> mysql::Result<Vec<Row>> {
        let schema = self.schema;
        let found: Vec<mysql::Row> = self.connection.query(match scope {
            Scope::All => format!("SELECT * FROM {schema}.{table}"),
            Scope::One(id) => format!("SELECT * FROM {schema}.{table} WHERE {KEY} = {id}"),
        })?;
        let mut rows: Vec<Row> =
            found.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect();
        rows.sort_by_key(key);
        self.acts.push(Act::Read { table, scope, rows: shown(&rows) });
        Ok(rows)
    }

    /// The value after the key in the row with this key.
    pub fn read_one<T: std::str::FromStr>(
        &mut self,
        table: &'static str,
        id: u64,
    ) -> mysql::Result<Option<T>> {
        let rows = self.read(table, Scope::One(id))?;
        Ok(rows.first().and_then(|row| row.last()).and_then(|value| value.parse().ok()))
    }

    /// Changes a row.
    pub fn write(&mut self, table: &'static str, id: u64, change: Change) -> mysql::Result<()> {
        let to = format!("{}.{table}", self.schema);
        let statement = match &change {
            Change::Insert(values) => {
                let rest: String = values.iter().map(|value| format!(", {value}")).collect();
                format!("INSERT INTO {to} VALUES ({id}{rest})")
            }
            Change::Set(column, value) => format!("UPDATE {to} SET {column} = {value} WHERE {KEY} = {id}"),
            Change::Add(column, by) => {
                let (sign, by) = if *by < 0 { ('-', by.unsigned_abs()) } else { ('+', by.unsigned_abs()) };
                format!("UPDATE {to} SET {column} = {column} {sign} {by} WHERE {KEY} = {id}")
            }
            Change::Append(column, text) => format!(
                "INSERT INTO {to} VALUES ({id}, '{text}') \
                 ON DUPLICATE KEY UPDATE {column} = CONCAT({column}, '{text}')"
            ),
        };
        self.acts.push(Act::Write { table, id, change });
        self.connection.query_drop(statement)
    }
}

/// A row's key.
pub fn key(row: &Row) -> u64 {
    row.first().and_then(|id| id.parse().ok()).unwrap_or(u64::MAX)
}

fn text(value: mysql::Value) -> String {
    match value {
        mysql::Value::NULL => "NULL".to_owned(),
        mysql::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// Asks what became of the connection's last transaction; `None` if there was none.
pub fn ask(connection: &mut Conn) -> mysql::Result<Option<Told>> {
    let info: Option<String> = connection.query_first("SELECT @@assize_last_txn_info")?;
    Ok(info.as_deref().and_then(parse))
}

fn parse(info: &str) -> Option<Told> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let txn = match &info["txn_id"] {
        serde_json::Value::Null => None,
        id => Some(id.as_str()?.parse().ok()?),
    };
    let snapshot_ts = Timestamp(info["snapshot_ts"].as_u64()?);
    Some(Told { txn, snapshot_ts, commit_ts: info["commit_ts"].as_u64().map(Timestamp) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_says_is_understood() {
        let id = "06831141b00000001000001000000001";
        let info =
            format!(r#"{{"txn_id": "{id}", "snapshot_ts": 7, "commit_ts": 9, "outcome": "committed"}}"#);
        let told = parse(&info).unwrap();
        assert_eq!(told.txn.unwrap().to_string(), id);
        assert_eq!((told.snapshot_ts, told.commit_ts), (Timestamp(7), Some(Timestamp(9))));
        let read = r#"{"txn_id": null, "snapshot_ts": 7, "commit_ts": null, "outcome": "read_only"}"#;
        assert_eq!(parse(read), Some(Told { txn: None, snapshot_ts: Timestamp(7), commit_ts: None }));
        assert_eq!(parse(""), None);
    }
}
