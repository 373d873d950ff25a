//! Foreign servers that answer what a script says.

use assize_catalog::Server;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{ForeignResult, ForeignStatement};
use assize_values::Value;
use std::collections::BTreeMap;

/// What each server answers to each statement. A server without a script is away.
#[derive(Debug, Default)]
pub struct ScriptedServers {
    servers: BTreeMap<String, BTreeMap<String, Vec<Vec<Value>>>>,
    asked: Vec<String>,
}

impl ScriptedServers {
    /// From now on the server answers the statement with these rows of texts.
    pub fn answers(&mut self, server: &str, sql: &str, rows: &[&[Option<&str>]]) {
        let value = |text: &Option<&str>| text.map_or(Value::Null, Value::text);
        let rows = rows.iter().map(|row| row.iter().map(value).collect()).collect();
        self.servers.entry(server.to_owned()).or_default().insert(sql.to_owned(), rows);
    }

    /// What servers have been asked since this was called last.
    pub fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }

    pub(super) fn run(
        &mut self,
        server: &Server,
        statement: &ForeignStatement<'_>,
    ) -> Result<ForeignResult, SqlError> {
        self.asked.push(statement.sql.to_owned());
        let Some(script) = self.servers.get(&*server.name) else {
            let text = format!("foreign server {} is away", server.name);
            return Err(SqlError::new(ErrorCode::ClusterUnavailable, text));
        };
        let rows = script
            .get(statement.sql)
            .ok_or_else(|| SqlError::internal(format!("the script does not know: {}", statement.sql)))?;
        if rows.iter().any(|row| row.len() != statement.types.len()) {
            return Err(SqlError::internal(format!("other columns than expected: {}", statement.sql)));
        }
        Ok(ForeignResult { rows: rows.clone(), ..ForeignResult::default() })
    }
}
