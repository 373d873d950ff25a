//! What a statement does to transactions and to data, as far as its syntax says.

use crate::{ProgramKind, SelectInto, Statement};
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Select, SelectItem, SetExpr,
};

/// What a statement is, for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads data: SELECT, SHOW, DESCRIBE, EXPLAIN, CHECK TABLE …
    Read,
    /// Changes data: INSERT, UPDATE, DELETE, LOAD DATA; or what only the session knows: CREATE and DROP TEMPORARY TABLE.
    Write,
    /// Changes the catalog or the cluster: commits the running transaction first, and itself.
    Ddl,
    /// Begins, ends or marks a transaction.
    Transaction,
    /// Changes the session or the server: SET, USE, KILL, PREPARE …
    Session,
    /// Recognised and refused.
    Unsupported,
}

/// The class of a statement.
pub fn classify(statement: &Statement) -> Class {
    match statement {
        Statement::Query(_)
        | Statement::Show(_)
        | Statement::Describe { .. }
        | Statement::Explain { .. }
        | Statement::ExplainConnection(_)
        | Statement::Do(_)
        | Statement::TableMaintenance { .. }
        | Statement::Help(_)
        | Statement::Call { .. } => Class::Read,
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::LoadData(_) => {
            Class::Write
        }
        Statement::CreateTable(create) if create.temporary => Class::Write,
        Statement::DropTable { temporary: true, .. } => Class::Write,
        Statement::CreateDatabase(_)
        | Statement::AlterDatabase { .. }
        | Statement::DropDatabase { .. }
        | Statement::CreateTable(_)
        | Statement::AlterTable(_)
        | Statement::DropTable { .. }
        | Statement::CreateIndex { .. }
        | Statement::DropIndex { .. }
        | Statement::Truncate(_)
        | Statement::RenameTable(_)
        | Statement::CreateView(_)
        | Statement::DropView { .. }
        | Statement::DropProgram { .. }
        | Statement::UndropTable { .. }
        | Statement::UndropDatabase { .. }
        | Statement::PurgeDropped { .. }
        | Statement::AlterCluster { .. }
        | Statement::CreateServer { .. }
        | Statement::AlterServer { .. }
        | Statement::DropServer { .. }
        | Statement::CreateUser { .. }
        | Statement::AlterUser { .. }
        | Statement::DropUser { .. }
        | Statement::RenameUser(_)
        | Statement::Grant { .. }
        | Statement::Revoke { .. } => Class::Ddl,
        Statement::Begin { .. }
        | Statement::Commit(_)
        | Statement::Rollback(_)
        | Statement::Savepoint(_)
        | Statement::RollbackTo(_)
        | Statement::ReleaseSavepoint(_) => Class::Transaction,
        Statement::Set(_)
        | Statement::LockTables(_)
        | Statement::UnlockTables
        | Statement::Use(_)
        | Statement::Kill { .. }
        | Statement::Prepare { .. }
        | Statement::Execute { .. }
        | Statement::Deallocate(_)
        | Statement::Flush { .. } => Class::Session,
        Statement::Unsupported { .. } => Class::Unsupported,
    }
}

/// Whether MySQL commits the running transaction before it runs this statement.
pub fn commits_implicitly(statement: &Statement) -> bool {
    match statement {
        Statement::Begin { .. } | Statement::LockTables(_) | Statement::TableMaintenance { .. } => true,
        Statement::Flush { .. } => true,
        Statement::Set(items) => items.iter().any(|item| matches!(item, crate::SetItem::Password { .. })),
        Statement::Unsupported { implicit_commit, .. } => *implicit_commit,
        statement => classify(statement) == Class::Ddl,
    }
}

/// Whether a READ ONLY transaction refuses it (error 1792).
pub fn writes(statement: &Statement) -> bool {
    match statement {
        Statement::Explain { analyze, statement, .. } => *analyze && writes(statement),
        statement => matches!(classify(statement), Class::Write | Class::Ddl),
    }
}

/// Whether the statement may return rows.
pub fn returns_rows(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => query.into.is_none(),
        Statement::Do(_) => false,
        // It tells which job goes on.
        Statement::AlterCluster { .. } => true,
        statement => classify(statement) == Class::Read,
    }
}

/// Whether the statement does nothing but SLEEP: interrupted it answers 1, where others end with an error.
pub fn only_sleeps(statement: &Statement) -> bool {
    let Statement::Query(query) = statement else { return false };
    let Query { with: None, body, .. } = &query.node else { return false };
    let SetExpr::Select(select) = &**body else { return false };
    let Select { projection, from, selection: None, having: None, .. } = &**select else { return false };
    let [
        SelectItem::UnnamedExpr(expr)
        | SelectItem::ExprWithAlias { expr, .. }
        | SelectItem::ExprWithAliases { expr, .. },
    ] = projection.as_slice()
    else {
        return false;
    };
    query.into.is_none() && from.is_empty() && is_sleep(expr)
}

/// `SLEEP(5)`, `SLEEP(?)`
fn is_sleep(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    let FunctionArguments::List(list) = &function.args else { return false };
    function.name.to_string().eq_ignore_ascii_case("SLEEP")
        && matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_)))])
}

/// Whether the server may prepare it (error 1295 otherwise; what MySQL cannot prepare are mostly statements
/// about prepared statements).
pub fn is_preparable(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Prepare { .. }
            | Statement::Execute { .. }
            | Statement::Deallocate(_)
            | Statement::LoadData(_)
            | Statement::LockTables(_)
            | Statement::UnlockTables
    )
}

/// The verb, as SHOW PROCESSLIST and statistics name it.
pub fn verb(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(query) => match query.into {
            Some(SelectInto::Outfile(_) | SelectInto::Dumpfile(_)) => "select_into_file",
            _ => "select",
        },
        Statement::Insert(insert) => match (insert.replace, &insert.source) {
            (true, crate::InsertSource::Query(_)) => "replace_select",
            (true, _) => "replace",
            (false, crate::InsertSource::Query(_)) => "insert_select",
            (false, _) => "insert",
        },
        Statement::Update(_) => "update",
        Statement::Delete(_) => "delete",
        Statement::LoadData(_) => "load",
        Statement::CreateDatabase(_) => "create_db",
        Statement::AlterDatabase { .. } => "alter_db",
        Statement::DropDatabase { .. } => "drop_db",
        Statement::CreateTable(_) => "create_table",
        Statement::AlterTable(_) => "alter_table",
        Statement::DropTable { .. } => "drop_table",
        Statement::CreateIndex { .. } => "create_index",
        Statement::DropIndex { .. } => "drop_index",
        Statement::Truncate(_) => "truncate",
        Statement::RenameTable(_) => "rename_table",
        Statement::CreateView(_) => "create_view",
        Statement::DropView { .. } => "drop_view",
        Statement::DropProgram { kind, .. } => match kind {
            ProgramKind::Procedure => "drop_procedure",
            ProgramKind::Function => "drop_function",
            ProgramKind::Trigger => "drop_trigger",
            ProgramKind::Event => "drop_event",
        },
        Statement::UndropTable { .. } => "undrop_table",
        Statement::UndropDatabase { .. } => "undrop_db",
        Statement::PurgeDropped { .. } => "purge_dropped",
        Statement::AlterCluster { .. } => "alter_cluster",
        Statement::Show(_) => "show",
        Statement::Set(_) => "set_option",
        Statement::Begin { .. } => "begin",
        Statement::Commit(_) => "commit",
        Statement::Rollback(_) => "rollback",
        Statement::Savepoint(_) => "savepoint",
        Statement::RollbackTo(_) => "rollback_to_savepoint",
        Statement::ReleaseSavepoint(_) => "release_savepoint",
        Statement::LockTables(_) => "lock_tables",
        Statement::UnlockTables => "unlock_tables",
        Statement::Use(_) => "change_db",
        Statement::Explain { .. } | Statement::ExplainConnection(_) => "explain",
        Statement::Describe { .. } => "describe",
        Statement::Kill { .. } => "kill",
        Statement::Prepare { .. } => "prepare_sql",
        Statement::Execute { .. } => "execute_sql",
        Statement::Deallocate(_) => "dealloc_sql",
        Statement::Do(_) => "do",
        Statement::Call { .. } => "call_procedure",
        Statement::Flush { .. } => "flush",
        Statement::TableMaintenance { .. } => "table_maintenance",
        Statement::CreateServer { .. } => "create_server",
        Statement::AlterServer { .. } => "alter_server",
        Statement::DropServer { .. } => "drop_server",
        Statement::CreateUser { .. } => "create_user",
        Statement::AlterUser { .. } => "alter_user",
        Statement::DropUser { .. } => "drop_user",
        Statement::RenameUser(_) => "rename_user",
        Statement::Grant { .. } => "grant",
        Statement::Revoke { .. } => "revoke",
        Statement::Help(_) => "help",
        Statement::Unsupported { .. } => "unsupported",
    }
}
