//! A foreign server for tests: another engine in memory, which runs what it is sent and keeps the texts.

use super::{MemoryTransaction, Session, apply_change, lock};
use assize_catalog::{ChangeBuilder, Foreign, Server, Table};
use assize_model::{SchemaVersion, SqlError};
use assize_ports::{Executed, ForeignResult, ForeignStatement};
use assize_values::store::{ColumnPlace, store};
use assize_values::{EvalContext, SqlMode, TimeZone, Value};
use std::sync::{Arc, Mutex, PoisonError};

/// What is there, and what was sent.
pub struct FakeServer {
    session: Session,
    sent: Vec<String>,
    /// Savepoints that could be gone back to: for each mark of a transaction, how far this server had come.
    marks: Vec<(u64, u64)>,
}

/// A foreign server, shared by its test and by the sessions that use it.
#[derive(Clone)]
pub struct FakeForeign(Arc<Mutex<FakeServer>>);

impl Default for FakeForeign {
    fn default() -> Self {
        let mut session = Session::new();
        let modes = "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO";
        session.context.eval.sql_mode = SqlMode::parse(modes).expect("modes");
        FakeForeign(Arc::new(Mutex::new(FakeServer { session, sent: Vec::new(), marks: Vec::new() })))
    }
}

impl FakeForeign {
    fn with<T>(&self, act: impl FnOnce(&mut FakeServer) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a statement there, as somebody else.
    pub fn run(&self, sql: &str) -> Result<super::Answer, SqlError> {
        self.with(|server| server.session.run(sql))
    }

    /// What it was sent since this was last asked.
    pub fn sent(&self) -> Vec<String> {
        self.with(|server| std::mem::take(&mut server.sent))
    }

    pub(super) fn mark(&self, mark: u64) {
        self.with(|server| {
            let now = lock(&server.session.world).undo.len() as u64;
            server.marks.retain(|(known, _)| *known < mark);
            server.marks.push((mark, now));
        });
    }

    pub(super) fn undo_to(&self, mark: u64) {
        self.with(|server| {
            let found = server.marks.iter().rev().find(|(known, _)| *known <= mark).map(|(_, at)| *at);
            let Some(at) = found else { return };
            let mut there = MemoryTransaction { world: server.session.world.clone(), servers: Vec::new() };
            assize_ports::Transaction::undo_to(&mut there, assize_ports::Mark(at));
        });
    }

    /// Runs what a transaction sends.
    pub(super) fn take(&self, statement: ForeignStatement<'_>) -> Result<ForeignResult, SqlError> {
        self.with(|server| {
            server.sent.push(statement.sql.to_owned());
            let answer = server.session.run(statement.sql)?;
            let mut rows = Vec::with_capacity(answer.rows.len());
            let mut eval =
                EvalContext { time_zone: TimeZone::parse("+00:00").expect("UTC"), ..EvalContext::default() };
            for row in answer.rows {
                let mut read = Vec::with_capacity(row.len());
                for ((value, column), sql_type) in row.into_iter().zip(&answer.columns).zip(statement.types) {
                    read.push(match value {
                        Value::Null => Value::Null,
                        value => {
                            let place = ColumnPlace { name: &column.name, row: 1 };
                            store(&value, &column.sql_type, sql_type, &place, &mut eval)?
                        }
                    });
                }
                rows.push(read);
            }
            let (affected, insert_id) = match answer.executed {
                Executed::Affected { changed, insert_id, .. } => (changed, insert_id),
                Executed::Rows { .. } => (0, 0),
            };
            Ok(ForeignResult { rows, affected, insert_id, warnings: answer.warnings })
        })
    }
}

impl Session {
    /// From now on there is a server of this name.
    pub fn knows(&mut self, name: &str, server: &FakeForeign) {
        let definition = Server {
            name: name.into(),
            wrapper: "mysql".into(),
            host: "127.0.0.1".into(),
            port: 3306,
            database: "test".into(),
            user: "assize".into(),
            password: "secret".into(),
            owner: "".into(),
        };
        let catalog = self.catalog();
        let mut change = ChangeBuilder::new(&catalog);
        change.put_server(&definition);
        apply_change(&mut lock(&self.world), &change.finish());
        self.context.transaction.servers.push((name.to_lowercase(), server.clone()));
    }

    /// From now on the rows of a table of the database `test`, which is empty, are those of the table of its name on this server.
    pub fn is_foreign(&mut self, table: &str, server: &str) {
        self.puts_rows(table, Some(server));
    }

    /// From now on its rows are here again, of which there are none.
    pub fn is_here(&mut self, table: &str) {
        self.puts_rows(table, None);
    }

    fn puts_rows(&mut self, table: &str, server: Option<&str>) {
        let catalog = self.catalog();
        let found: Table = (**catalog.table("test", table).expect("a table of this name")).clone();
        let foreign =
            server.map(|server| Arc::new(Foreign { server: server.into(), table: found.name.clone() }));
        let version = SchemaVersion(found.version.0 + 1);
        let table = Table { foreign, version, ..found };
        let mut change = ChangeBuilder::new(&catalog);
        change.put_table(&table);
        apply_change(&mut lock(&self.world), &change.finish());
    }
}
