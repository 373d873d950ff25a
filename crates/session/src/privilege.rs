//! Whether a user may run a statement, as far as its tables tell.
//!
//! What depends on more than names (columns, views) is the engine's to check.

use crate::state::State;
use assize_catalog::{TemporaryTables, User, VIRTUAL_DATABASES};
use assize_model::{ErrorCode, SqlError};
use assize_sql::sqlparser::ast::{self, ObjectName, TableFactor, visit_relations};
use assize_sql::{InsertSource, SelectInto, ShowWhat, Statement, TableName};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Refuses with 1142 or 1044 what the user of a session has no privilege for.
pub(crate) fn check_in(statement: &Statement, state: &State) -> Result<(), SqlError> {
    check(statement, &state.user, state.database.as_deref(), &state.temporary_tables)
}

/// Likewise. A session may do anything with its temporary tables.
fn check(
    statement: &Statement,
    user: &User,
    database: Option<&str>,
    temporary: &TemporaryTables,
) -> Result<(), SqlError> {
    let all = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "REFERENCES",
        "CREATE VIEW",
        "LOCK TABLES",
        "FILE",
    ];
    if all.iter().all(|privilege| user.may(privilege, None, None)) {
        return Ok(());
    }
    let check = Check { user, database, temporary };
    match statement {
        Statement::Query(query) => {
            check.query(&query.node)?;
            match &query.into {
                Some(SelectInto::Outfile(_) | SelectInto::Dumpfile(_)) => check.file(),
                _ => Ok(()),
            }
        }
        Statement::Explain { statement, .. } => self::check(statement, user, database, temporary),
        Statement::Insert(insert) => {
            check.table("INSERT", &insert.table)?;
            if insert.replace {
                check.table("DELETE", &insert.table)?;
            }
            if !insert.on_duplicate.is_empty() {
                check.table("UPDATE", &insert.table)?;
            }
            match &insert.source {
                InsertSource::Query(query) => check.query(query),
                InsertSource::Values(_) => Ok(()),
            }
        }
        Statement::Update(update) => {
            let targets: Vec<TableName> = update.tables.iter().flat_map(tables_of).collect();
            if targets.len() == 1 {
                return check.table("UPDATE", &targets[0]);
            }
            // Which of several tables are written is known only when columns are resolved: every table must be
            // readable here, and at least one writable.
            targets.iter().try_for_each(|table| check.table("SELECT", table))?;
            let writable = targets.iter().any(|table| check.table("UPDATE", table).is_ok());
            if writable { Ok(()) } else { check.table("UPDATE", &targets[0]) }
        }
        Statement::Delete(delete) => {
            let tables: Vec<(Option<String>, TableName)> =
                delete.from.iter().flat_map(aliased_tables_of).collect();
            if delete.targets.is_empty() {
                return tables.iter().try_for_each(|(_, table)| check.table("DELETE", table));
            }
            for target in &delete.targets {
                let aliased = tables.iter().find(|(alias, table)| {
                    alias.as_deref().map_or(table.name == target.name, |alias| alias == target.name)
                });
                check.table("DELETE", aliased.map_or(target, |(_, table)| table))?;
            }
            tables.iter().try_for_each(|(_, table)| check.table("SELECT", table))
        }
        Statement::LoadData(load) => {
            check.table("INSERT", &load.table)?;
            if load.replace {
                check.table("DELETE", &load.table)?;
            }
            if load.local { Ok(()) } else { check.file() }
        }
        Statement::CreateDatabase(create) => check.database("CREATE", &create.name),
        Statement::AlterDatabase { name, .. } => match name.as_deref().or(database) {
            Some(name) => check.database("ALTER", name),
            None => Ok(()),
        },
        Statement::DropDatabase { name, .. } | Statement::UndropDatabase { name, .. } => {
            check.database("DROP", name)
        }
        Statement::CreateTable(create) => {
            match create.name.database.as_deref().or(database) {
                Some(name) if create.temporary => check.database("CREATE TEMPORARY TABLES", name)?,
                _ => check.permanent("CREATE", &create.name)?,
            }
            if let Some(like) = &create.like {
                check.table("SELECT", like)?;
            }
            create.select.as_ref().map_or(Ok(()), |query| check.query(query))
        }
        Statement::AlterTable(alter) => check.table("ALTER", &alter.table),
        Statement::DropTable { tables, temporary: false, .. } => {
            tables.iter().try_for_each(|table| check.table("DROP", table))
        }
        Statement::DropView { views, .. } => views.iter().try_for_each(|view| check.permanent("DROP", view)),
        Statement::Truncate(table) => check.table("DROP", table),
        Statement::UndropTable { name: table, .. } => check.permanent("DROP", table),
        Statement::CreateIndex { table, .. } | Statement::DropIndex { table, .. } => {
            check.table("INDEX", table)
        }
        Statement::RenameTable(pairs) => pairs.iter().try_for_each(|(from, to)| {
            check.permanent("ALTER", from)?;
            check.permanent("DROP", from)?;
            check.permanent("CREATE", to)?;
            check.permanent("INSERT", to)
        }),
        Statement::CreateView(view) => {
            check.permanent("CREATE VIEW", &view.name)?;
            check.query(&view.query)
        }
        Statement::PurgeDropped { .. }
        | Statement::AlterCluster { .. }
        | Statement::CreateServer { .. }
        | Statement::AlterServer { .. }
        | Statement::DropServer { .. } => check.server("SUPER"),
        Statement::CreateUser { .. } | Statement::DropUser { .. } | Statement::RenameUser(_) => {
            check.server("CREATE USER")
        }
        Statement::AlterUser { users, .. } => {
            let own = |spec: &assize_sql::UserSpec| {
                spec.account.is_current_user()
                    || (spec.account.name == *user.name && spec.account.host == *user.host)
            };
            if users.iter().all(own) { Ok(()) } else { check.server("CREATE USER") }
        }
        Statement::Show(show) => match &show.what {
            ShowWhat::Columns { table, .. } | ShowWhat::Indexes { table } | ShowWhat::CreateTable(table) => {
                check.sees(table)
            }
            ShowWhat::Tables { database: Some(name), .. }
            | ShowWhat::TableStatus { database: Some(name) } => {
                if user.sees_database(name) {
                    Ok(())
                } else {
                    Err(check.database_denied(name))
                }
            }
            _ => Ok(()),
        },
        Statement::Describe { table, .. } => check.sees(table),
        Statement::Flush { .. } => check.server("RELOAD"),
        Statement::LockTables(tables) => tables.iter().try_for_each(|lock| {
            if let Some(name) = lock.table.database.as_deref().or(database).filter(|name| !is_virtual(name)) {
                check.database("LOCK TABLES", name)?;
            }
            check.table("SELECT", &lock.table)
        }),
        _ => Ok(()),
    }
}

/// Whether the user may select this database; error 1044 otherwise.
pub(crate) fn check_use(user: &User, database: &str) -> Result<(), SqlError> {
    if user.sees_database(database) {
        return Ok(());
    }
    Err(Check::of(user).database_denied(database))
}

/// Error 1227 unless the user has this privilege on the server.
pub(crate) fn check_server(user: &User, privilege: &str) -> Result<(), SqlError> {
    Check::of(user).server(privilege)
}

struct Check<'a> {
    user: &'a User,
    database: Option<&'a str>,
    temporary: &'a TemporaryTables,
}

impl<'a> Check<'a> {
    /// For what is no table.
    fn of(user: &'a User) -> Self {
        static NONE: TemporaryTables = TemporaryTables::NONE;
        Check { user, database: None, temporary: &NONE }
    }
    fn database_denied(&self, database: &str) -> SqlError {
        let User { name, host, .. } = self.user;
        SqlError::new(
            ErrorCode::DatabaseAccessDenied,
            format!("Access denied for user '{name}'@'{host}' to database '{database}'"),
        )
    }

    fn server(&self, privilege: &str) -> Result<(), SqlError> {
        if self.user.may(privilege, None, None) || self.user.is_administrator() {
            return Ok(());
        }
        Err(SqlError::new(
            ErrorCode::SpecificAccessDenied,
            format!(
                "Access denied; you need (at least one of) the {privilege} privilege(s) for this operation"
            ),
        ))
    }

    /// Files of the server: error 1045, as if the password had been wrong.
    fn file(&self) -> Result<(), SqlError> {
        let User { name, host, verifier, .. } = self.user;
        if self.user.may("FILE", None, None) {
            return Ok(());
        }
        let password = if verifier.is_empty() { "NO" } else { "YES" };
        Err(SqlError::new(
            ErrorCode::AccessDenied,
            format!("Access denied for user '{name}'@'{host}' (using password: {password})"),
        ))
    }

    fn database(&self, privilege: &str, database: &str) -> Result<(), SqlError> {
        if self.user.may(privilege, Some(database), None) {
            return Ok(());
        }
        Err(self.database_denied(database))
    }

    fn is_temporary(&self, table: &TableName) -> bool {
        let database = table.database.as_deref().or(self.database);
        database.is_some_and(|database| self.temporary.find(database, &table.name).is_some())
    }

    /// A table that the statement finds by this name, temporary ones first.
    fn table(&self, privilege: &str, table: &TableName) -> Result<(), SqlError> {
        if self.is_temporary(table) { Ok(()) } else { self.permanent(privilege, table) }
    }

    /// A table of everybody.
    fn permanent(&self, privilege: &str, table: &TableName) -> Result<(), SqlError> {
        // Without a database the engine answers 1046.
        let Some(database) = table.database.as_deref().or(self.database) else { return Ok(()) };
        if is_virtual(database) || self.user.may(privilege, Some(database), Some(&table.name)) {
            return Ok(());
        }
        // Whoever may make foreign servers may look at them.
        let servers = privilege == "SELECT" && database == "mysql" && table.name == "servers";
        if servers && self.server("SUPER").is_ok() {
            return Ok(());
        }
        Err(self.table_denied(privilege, &table.name))
    }

    fn table_denied(&self, privilege: &str, table: &str) -> SqlError {
        let User { name, host, .. } = self.user;
        SqlError::new(
            ErrorCode::TableAccessDenied,
            format!("{privilege} command denied to user '{name}'@'{host}' for table '{table}'"),
        )
    }

    fn sees(&self, table: &TableName) -> Result<(), SqlError> {
        let Some(database) = table.database.as_deref().or(self.database) else { return Ok(()) };
        if is_virtual(database) || self.is_temporary(table) || self.user.sees_table(database, &table.name) {
            return Ok(());
        }
        Err(self.table_denied("SELECT", &table.name))
    }

    /// SELECT on every table that the query names, common table expressions left out.
    fn query(&self, query: &ast::Query) -> Result<(), SqlError> {
        let mut defined = BTreeSet::new();
        collect_ctes(query, &mut defined);
        let flow = visit_relations(query, |name| {
            let table = table_name(name);
            if table.database.is_none() && defined.contains(&table.name) {
                return ControlFlow::Continue(());
            }
            match self.table("SELECT", &table) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

fn is_virtual(database: &str) -> bool {
    VIRTUAL_DATABASES.iter().any(|name| name.eq_ignore_ascii_case(database))
}

/// The names of common table expressions anywhere in the query. A table of the same name elsewhere in the query is
/// checked by the engine when it is resolved.
fn collect_ctes(query: &ast::Query, defined: &mut BTreeSet<String>) {
    struct Names<'a>(&'a mut BTreeSet<String>);
    impl ast::Visitor for Names<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let _ = ast::Visit::visit(query, &mut Names(defined));
}

fn table_name(name: &ObjectName) -> TableName {
    let mut parts = name.0.iter().rev().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone());
    let name = parts.next().unwrap_or_default();
    TableName { name, database: parts.next() }
}

/// The tables of a part of FROM.
pub(crate) fn tables_of(table: &ast::TableWithJoins) -> Vec<TableName> {
    aliased_tables_of(table).into_iter().map(|(_, table)| table).collect()
}

/// Likewise, with their aliases.
pub(crate) fn aliased_tables_of(table: &ast::TableWithJoins) -> Vec<(Option<String>, TableName)> {
    let mut out = Vec::new();
    let factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
    for factor in factors {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                out.push((alias.as_ref().map(|alias| alias.name.value.clone()), table_name(name)));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                out.extend(aliased_tables_of(table_with_joins));
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_sql::{ParseOptions, parse_one};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn user() -> User {
        User {
            name: "app".into(),
            host: "%".into(),
            plugin: "caching_sha2_password".into(),
            verifier: Vec::new(),
            locked: false,
            require_tls: false,
            global: Vec::new(),
            databases: BTreeMap::from([
                (Arc::from("shop"), vec!["SELECT".into(), "INSERT".into()]),
                (Arc::from("crm"), vec!["LOCK TABLES".into()]),
            ]),
            tables: BTreeMap::from([(("crm".into(), "people".into()), vec!["DELETE".into()])]),
            grant_option: Vec::new(),
        }
    }

    #[test]
    fn statements_need_the_privileges_of_their_tables() {
        let code = |text: &str| {
            let statement = parse_one(text, &ParseOptions::default()).unwrap().statement;
            check(&statement, &user(), Some("shop"), &TemporaryTables::NONE).err().map(|error| error.code)
        };
        assert_eq!(code("SELECT * FROM stock"), None);
        assert_eq!(code("SELECT * FROM crm.people"), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("SELECT (SELECT 1 FROM crm.people)"), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("WITH crm AS (SELECT 1) SELECT * FROM crm, information_schema.tables"), None);
        assert_eq!(code("INSERT INTO stock VALUES (1)"), None);
        assert_eq!(
            code("INSERT INTO stock VALUES (1) ON DUPLICATE KEY UPDATE a = 1"),
            Some(ErrorCode::TableAccessDenied)
        );
        assert_eq!(code("REPLACE INTO stock VALUES (1)"), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("UPDATE stock SET a = 1"), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("LOAD DATA LOCAL INFILE 'f' INTO TABLE stock"), None);
        assert_eq!(code("LOAD DATA INFILE 'f' INTO TABLE stock"), Some(ErrorCode::AccessDenied));
        let replacing = "LOAD DATA LOCAL INFILE 'f' REPLACE INTO TABLE stock";
        assert_eq!(code(replacing), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("SELECT 1 INTO OUTFILE 'f'"), Some(ErrorCode::AccessDenied));
        assert_eq!(code("SELECT 1 INTO @a"), None);
        assert_eq!(code("DELETE FROM crm.people"), None);
        assert_eq!(code("DROP DATABASE shop"), Some(ErrorCode::DatabaseAccessDenied));
        // One needs both privileges.
        assert_eq!(code("LOCK TABLES stock READ"), Some(ErrorCode::DatabaseAccessDenied));
        assert_eq!(code("LOCK TABLES crm.people READ"), Some(ErrorCode::TableAccessDenied));
        assert_eq!(code("CREATE USER x"), Some(ErrorCode::SpecificAccessDenied));
        let server = "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')";
        assert_eq!(code(server), Some(ErrorCode::SpecificAccessDenied));
        assert_eq!(code("DROP SERVER s"), Some(ErrorCode::SpecificAccessDenied));
        assert_eq!(code("SELECT * FROM mysql.servers"), Some(ErrorCode::TableAccessDenied));
        let mut owner = user();
        owner.global = vec!["SUPER".into()];
        let allowed = |text: &str| {
            let statement = parse_one(text, &ParseOptions::default()).unwrap().statement;
            check(&statement, &owner, Some("shop"), &TemporaryTables::NONE).is_ok()
        };
        assert!(allowed(server) && allowed("SELECT * FROM mysql.servers"));
        assert!(!allowed("SELECT * FROM mysql.user") && !allowed("DELETE FROM mysql.servers"));
        assert_eq!(code("ALTER USER app IDENTIFIED BY 'x'"), None);
        assert_eq!(code("SELECT 1"), None);
        assert!(check_use(&user(), "shop").is_ok());
        assert_eq!(check_use(&user(), "other").unwrap_err().code, ErrorCode::DatabaseAccessDenied);
    }
}
