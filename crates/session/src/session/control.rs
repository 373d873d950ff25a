//! What a session does itself, without the query engine: transactions, savepoints, USE, KILL.

use super::Session;
use crate::privilege;
use crate::state::{Change, Characteristics, Next, plain};
use assize_catalog::SYSTEM_DATABASES;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{
    Action, ClusterError, ClusterView, Mark, NodeReport, ReportParts, Transaction, node_of_connection,
};
use assize_sql::{Completion, LockTable};
use assize_values::Value;

impl Session {
    /// Error 1146 for a table of LOCK TABLES that is not there, by the newest catalog.
    pub(super) async fn find_locked(&mut self, tables: &[LockTable]) -> Result<(), SqlError> {
        let catalog = self.state.load_newest_catalog().await?;
        for LockTable { table, .. } in tables {
            let database = table.database.as_deref().or(self.state.database.as_deref());
            let database =
                database.ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?;
            // What the server makes up is nobody's to lock, and a dump of everything asks for it.
            let temporary = self.state.temporary_tables.find(database, &table.name);
            if !SYSTEM_DATABASES.contains(&database) && temporary.is_none() {
                catalog.require_table(database, &table.name)?;
            }
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), SqlError> {
        self.state.commit().await.map_err(|failure| failure.error)
    }

    pub(super) async fn begin(
        &mut self,
        read_only: Option<bool>,
        consistent_snapshot: bool,
    ) -> Result<(), SqlError> {
        self.commit().await?;
        let next = self.state.characteristics();
        self.begin_with(Characteristics { read_only: read_only.unwrap_or(next.read_only), ..next });
        if consistent_snapshot {
            let entered = self.state.enter_transaction().await;
            if entered.is_err() {
                self.state.rollback();
            }
            entered?;
        }
        Ok(())
    }

    /// Settles with what the transaction runs, so that nothing said before its first statement changes that.
    fn begin_with(&mut self, characteristics: Characteristics) {
        self.state.next = Next::default();
        self.state.explicit = Some(characteristics);
        let now = self.state.services.clock.monotonic_micros();
        self.state.activity.begins(characteristics.isolation, now);
    }

    /// AND CHAIN and RELEASE after COMMIT and ROLLBACK, said or by `completion_type`. A chained transaction runs like the one
    /// that has `ended`.
    pub(super) fn complete(&mut self, completion: Completion, ended: Characteristics) {
        let kind = self.state.variables.text("completion_type");
        let release = completion.release.unwrap_or(kind == "RELEASE" && completion.chain != Some(true));
        let chain = completion.chain.unwrap_or(kind == "CHAIN" && !release);
        self.state.next = Next::default();
        if chain {
            self.begin_with(ended);
        }
        self.release = release;
    }

    pub(super) fn savepoint(&mut self, name: &str) {
        if !self.state.in_transaction() {
            return;
        }
        self.state.savepoints.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        // What has not begun has written nothing: its mark is the beginning.
        let mark = self.state.txn.as_mut().map_or(Mark(0), |txn| txn.mark());
        self.state.savepoints.push((name.to_owned(), mark));
    }

    pub(super) fn find_savepoint(&self, name: &str) -> Result<usize, SqlError> {
        self.state.savepoints.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(
            || SqlError::new(ErrorCode::SavepointDoesNotExist, format!("SAVEPOINT {name} does not exist")),
        )
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        let at = self.find_savepoint(name)?;
        let mark = self.state.savepoints[at].1;
        self.state.savepoints.truncate(at + 1);
        if let Some(txn) = &mut self.state.txn {
            txn.undo_to(mark);
        }
        Ok(())
    }

    /// USE, COM_INIT_DB, and the database of the login.
    pub async fn select_database(&mut self, name: &str) -> Result<(), SqlError> {
        self.begin_statement()?;
        let result = self.use_database(name).await;
        self.end_statement(&None, result.as_ref().map(drop));
        result
    }

    pub(super) async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        if name.is_empty() {
            return Err(SqlError::new(ErrorCode::NoDatabase, "No database selected"));
        }
        // The newest, even within a transaction: what exists is no row of its snapshot.
        let catalog = self.state.load_newest_catalog().await?;
        // Who may not use it does not learn whether it exists.
        privilege::check_use(&self.state.user, name)?;
        let database = catalog.require_database(name)?;
        self.state.database = Some(database.name.clone());
        let collation = database.collation;
        let text = Value::text(collation.name());
        self.state.variables.set("collation_database", Some(&text))?;
        let text = Value::text(collation.charset().name());
        self.state.variables.set("character_set_database", Some(&text))?;
        self.state.changes.push(Change::Database(name.to_owned()));
        self.state.sync();
        Ok(())
    }

    pub(super) async fn kill(
        &mut self,
        query_only: bool,
        connection: &assize_sql::sqlparser::ast::Expr,
        params: &[Value],
    ) -> Result<(), SqlError> {
        let value = plain(&self.evaluate(connection, params).await?);
        let id: u32 = value.parse().map_err(|_| unknown(&value))?;
        self.kill_anywhere(id, query_only).await
    }

    /// COM_PROCESS_KILL.
    pub async fn process_kill(&mut self, id: u32) -> Result<(), SqlError> {
        self.kill_anywhere(id, false).await
    }

    async fn kill_anywhere(&self, id: u32, query_only: bool) -> Result<(), SqlError> {
        let server = &self.state.services.server;
        match server.cluster() {
            Some(cluster)
                if node_of_connection(id) != Some(cluster.node())
                    && !server.processes().iter().any(|process| process.id == id) =>
            {
                self.kill_elsewhere(&*cluster, id, query_only).await
            }
            _ => self.kill_connection(id, query_only),
        }
    }

    /// Ends a connection of another node, or its statement. Nodes give their connections different numbers; where they do not,
    /// nobody can say which is meant.
    async fn kill_elsewhere(
        &self,
        cluster: &dyn ClusterView,
        id: u32,
        query_only: bool,
    ) -> Result<(), SqlError> {
        let report = sessions_of(cluster, id).await?;
        let mut found = report.sessions.iter().filter(|session| session.connection == id);
        let (Some(session), None) = (found.next(), found.next()) else {
            // It may be a connection of a node that does not answer.
            return Err(if report.silent.is_empty() { unknown(id) } else { unasked(id, &report.silent) });
        };
        self.check_owner(&session.user, id)?;
        let action = Action::KillSession { node: session.node, connection: id, query_only };
        let who = self.state.eval.environment.user.clone();
        match cluster.act(action, false, &who).await {
            Ok(_) => Ok(()),
            Err(ClusterError::NotFound(_)) => Err(unknown(id)),
            Err(error) => Err(SqlError::new(ErrorCode::ClusterUnavailable, error.to_string())),
        }
    }

    /// Others' connections are for administrators.
    fn check_owner(&self, user: &str, id: u32) -> Result<(), SqlError> {
        match *user == *self.state.user.name || self.state.user.is_administrator() {
            true => Ok(()),
            false => Err(SqlError::new(ErrorCode::KillDenied, format!("You are not owner of thread {id}"))),
        }
    }

    fn kill_connection(&self, id: u32, query_only: bool) -> Result<(), SqlError> {
        let server = &self.state.services.server;
        let process = server.processes().into_iter().find(|process| process.id == id);
        self.check_owner(&process.ok_or_else(|| unknown(id))?.user, id)?;
        if server.kill(id, query_only) { Ok(()) } else { Err(unknown(id)) }
    }
}

/// The sessions among which a connection is: those of the node that its number names, or of all nodes if it names none that there
/// is.
async fn sessions_of(cluster: &dyn ClusterView, connection: u32) -> Result<NodeReport, SqlError> {
    let parts = ReportParts { sessions: true, ..ReportParts::default() };
    if let Some(node) = node_of_connection(connection) {
        match cluster.report_of(node, parts.clone()).await {
            Err(ClusterError::NotFound(_)) => {}
            told => return told.map_err(|_| unasked(connection, &[node.0])),
        }
    }
    cluster.report(parts).await.map_err(|_| unknown(connection))
}

fn unknown(connection: impl std::fmt::Display) -> SqlError {
    SqlError::new(ErrorCode::UnknownThread, format!("Unknown thread id: {connection}"))
}

fn unasked(connection: u32, silent: &[u64]) -> SqlError {
    let text = match (node_of_connection(connection), silent) {
        (Some(node), [silent]) if node.0 == *silent => {
            format!("thread {connection} is of node {silent}, which does not answer; try again once it does")
        }
        _ => {
            let nodes: Vec<String> = silent.iter().map(|node| format!("node {node}")).collect();
            let nodes = nodes.join(", ");
            format!(
                "thread {connection} is not known to the nodes that answer; not asked: {nodes}; try again once they do"
            )
        }
    };
    SqlError::new(ErrorCode::ClusterUnavailable, text)
}
