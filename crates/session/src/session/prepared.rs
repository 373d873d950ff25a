//! Prepared statements: those of the protocol, and those that have a name.

use super::{Done, Session, engine_runs, options_hash};
use crate::cache::{CachedStatement, mix, mix_bytes};
use crate::state::plain;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{BoxFuture, Executed, ResultColumn, ResultSink, StatementContext};
use assize_sql::{ParseOptions, Parsed, PrepareSource, Statement};
use assize_values::Value;
use std::sync::Arc;

/// Prepared statements of one session.
const PREPARED_MAX: usize = 16_382;

/// A prepared statement as the client is told of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Prepared {
    /// Its number, never 0.
    pub id: u32,
    /// How many `?` it has.
    pub params: u16,
    /// Its result columns; empty if it returns none.
    pub columns: Vec<ResultColumn>,
    /// Warnings of preparing it.
    pub warnings: u16,
}

pub(super) struct PreparedStatement {
    cached: Arc<CachedStatement>,
    hash: u64,
}

impl Session {
    /// COM_STMT_PREPARE.
    pub async fn prepare(&mut self, text: &[u8]) -> Result<Prepared, SqlError> {
        self.begin_statement()?;
        let result = self.prepare_statement(text).await;
        self.end_statement(&None, result.as_ref().map(drop));
        let (statement, columns) = result?;
        if self.prepared.len() >= PREPARED_MAX {
            return Err(SqlError::new(
                ErrorCode::TooManyStatements,
                format!(
                    "Can't create more than max_prepared_stmt_count statements (current value: {PREPARED_MAX})"
                ),
            ));
        }
        while self.next_prepared == 0 || self.prepared.contains_key(&self.next_prepared) {
            self.next_prepared = self.next_prepared.wrapping_add(1);
        }
        let id = self.next_prepared;
        self.next_prepared = id.wrapping_add(1);
        let params = u16::try_from(statement.cached.parsed.placeholders).unwrap_or(u16::MAX);
        self.prepared.insert(id, Arc::new(statement));
        let warnings = self.state.warning_count.min(u64::from(u16::MAX)) as u16;
        Ok(Prepared { id, params, columns, warnings })
    }

    async fn prepare_statement(
        &mut self,
        text: &[u8],
    ) -> Result<(PreparedStatement, Vec<ResultColumn>), SqlError> {
        let options = self.state.parse;
        let parsed: Parsed = assize_sql::parse_one(text, &options)?;
        if !assize_sql::is_preparable(&parsed.statement) {
            return Err(SqlError::new(
                ErrorCode::NotPreparable,
                "This command is not supported in the prepared statement protocol yet",
            ));
        }
        if parsed.placeholders > u32::from(u16::MAX) {
            return Err(SqlError::new(
                ErrorCode::WrongArguments,
                format!("Prepared statement contains too many placeholders ({})", parsed.placeholders),
            ));
        }
        self.check_privileges(&parsed.statement).await?;
        let hash = mix(mix_bytes(options_hash(&options), text), 2);
        let columns = if assize_sql::returns_rows(&parsed.statement) && engine_runs(&parsed.statement) {
            self.describe(&parsed.statement).await?
        } else {
            Vec::new()
        };
        self.warn_of_hints(&assize_sql::hints(text, &options), text);
        let digest = Some(assize_sql::normalise(text, &options));
        let cached = Arc::new(CachedStatement { text: text.to_vec(), parsed, digest });
        Ok((PreparedStatement { cached, hash }, columns))
    }

    /// The result columns of a statement. Looks at the catalog only: no transaction is left behind, and what SET TRANSACTION said
    /// is still for the next one.
    async fn describe(&mut self, statement: &Statement) -> Result<Vec<ResultColumn>, SqlError> {
        let began = self.state.txn.is_none();
        self.state.enter_transaction().await?;
        let query = self.state.services.query.clone();
        let described = query.describe(statement, &mut self.state).await;
        if began {
            self.state.txn = None;
            if self.state.explicit.is_none() {
                self.state.activity.ends();
            }
        }
        Ok(described?.columns)
    }

    /// The columns of a table, for COM_FIELD_LIST.
    pub async fn field_list(&mut self, table: &str) -> Result<Vec<ResultColumn>, SqlError> {
        self.begin_statement()?;
        let text = format!("SELECT * FROM `{}`", table.replace('`', "``"));
        let parsed = assize_sql::parse_one(&text, &ParseOptions::default())?;
        self.check_privileges(&parsed.statement).await?;
        self.describe(&parsed.statement).await
    }

    /// How many parameters a prepared statement has; error 1243 if there is none of this number.
    pub fn param_count(&self, id: u32) -> Result<u16, SqlError> {
        let statement = self.prepared.get(&id).ok_or_else(|| unknown_id(id))?;
        Ok(u16::try_from(statement.cached.parsed.placeholders).unwrap_or(u16::MAX))
    }

    /// COM_STMT_EXECUTE.
    pub async fn execute(
        &mut self,
        id: u32,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Done, SqlError> {
        self.begin_statement()?;
        let begun = self.state.services.clock.monotonic_micros();
        let Some(statement) = self.prepared.get(&id).cloned() else {
            let error = unknown_id(id);
            self.end_statement(&None, Err(&error));
            return Err(error);
        };
        let result = self.run_prepared(&statement, params, sink).await;
        if let Some(digest) = &statement.cached.digest {
            self.count(digest, begun, &result);
        }
        self.end_statement(&Some(&statement.cached.parsed.statement), result.as_ref().map(drop));
        let executed = result?;
        Ok(self.done(executed, None))
    }

    async fn run_prepared(
        &mut self,
        prepared: &PreparedStatement,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let parsed = &prepared.cached.parsed;
        if params.len() != parsed.placeholders as usize {
            return Err(SqlError::new(
                ErrorCode::WrongArguments,
                "Incorrect arguments to mysqld_stmt_execute",
            ));
        }
        let hints = assize_sql::hints(&prepared.cached.text, &self.state.parse);
        self.state.running = prepared.cached.digest.as_ref().map(|digest| digest.text.clone());
        self.run_hinted(&hints, &parsed.statement, prepared.hash, params, sink).await
    }

    /// COM_STMT_CLOSE. Closing what is not there is no error.
    pub fn close_statement(&mut self, id: u32) {
        self.prepared.remove(&id);
    }

    pub(super) async fn prepare_named(&mut self, name: &str, source: &PrepareSource) -> Result<(), SqlError> {
        let text = match source {
            PrepareSource::Text(text) => text.clone(),
            PrepareSource::Variable(variable) => plain(&self.state.user_variable(variable)),
        };
        let name = name.to_lowercase();
        // A statement of this name is gone even if the new one cannot be prepared.
        self.named.remove(&name);
        let (statement, _) = self.prepare_statement(text.as_bytes()).await?;
        self.named.insert(name, Arc::new(statement));
        Ok(())
    }

    pub(super) fn execute_named<'a>(
        &'a mut self,
        name: &'a str,
        using: &'a [String],
        sink: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(async move {
            let Some(statement) = self.named.get(&name.to_lowercase()).cloned() else {
                return Err(unknown_statement(name, "EXECUTE"));
            };
            if using.len() != statement.cached.parsed.placeholders as usize {
                return Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to EXECUTE"));
            }
            let params: Vec<Value> = using.iter().map(|name| self.state.user_variable(name)).collect();
            self.run_prepared(&statement, &params, sink).await
        })
    }
}

fn unknown_id(id: u32) -> SqlError {
    SqlError::new(
        ErrorCode::UnknownStatement,
        format!("Unknown prepared statement handler ({id}) given to mysqld_stmt_execute"),
    )
}

pub(super) fn unknown_statement(name: &str, verb: &str) -> SqlError {
    SqlError::new(
        ErrorCode::UnknownStatement,
        format!("Unknown prepared statement handler ({name}) given to {verb}"),
    )
}

/// Where the first `?` outside of strings lies, near enough for an error message.
pub(super) fn find_placeholder(statement: &[u8]) -> usize {
    statement.iter().position(|b| *b == b'?').unwrap_or(0)
}
