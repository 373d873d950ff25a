//! GRANT, REVOKE, SHOW GRANTS.

use super::{find, quoted, resolve};
use crate::ddl::{commit_change, done};
use crate::dml::database_of;
use assize_catalog::{ALL, PRIVILEGES, User, privilege};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{Executed, StatementContext};
use assize_sql::{Account, Privilege, PrivilegeLevel, UserSpec};
use std::sync::Arc;

/// On what privileges are granted.
#[derive(Clone, PartialEq, Eq)]
enum Level {
    Global,
    Database(Arc<str>),
    Table(Arc<str>, Arc<str>),
}

impl Level {
    fn of(level: &PrivilegeLevel, context: &dyn StatementContext) -> Result<Level, SqlError> {
        Ok(match level {
            PrivilegeLevel::Global => Level::Global,
            PrivilegeLevel::Database(Some(name)) => Level::Database(name.as_str().into()),
            PrivilegeLevel::Database(None) => Level::Database(
                context
                    .database()
                    .ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?,
            ),
            PrivilegeLevel::Table(name) => {
                Level::Table(database_of(name, context)?, name.name.as_str().into())
            }
            PrivilegeLevel::Routine(_) => return Err(SqlError::not_supported("privileges on routines")),
            PrivilegeLevel::Role => return Err(SqlError::not_supported("roles")),
            PrivilegeLevel::Proxy => return Err(SqlError::not_supported("PROXY privileges")),
        })
    }

    /// The name of the level in `User::grant_option`.
    fn option_name(&self) -> Arc<str> {
        match self {
            Level::Global => "".into(),
            Level::Database(database) => database.clone(),
            Level::Table(database, table) => format!("{database}.{table}").into(),
        }
    }

    fn list<'u>(&self, user: &'u mut User) -> &'u mut Vec<Arc<str>> {
        match self {
            Level::Global => &mut user.global,
            Level::Database(database) => user.databases.entry(database.clone()).or_default(),
            Level::Table(database, table) => {
                user.tables.entry((database.clone(), table.clone())).or_default()
            }
        }
    }

    /// Privileges that can be granted here.
    fn all(&self) -> impl Iterator<Item = &'static str> + '_ {
        PRIVILEGES.iter().filter(|p| self.takes(p)).map(|p| p.name)
    }

    fn takes(&self, privilege: &assize_catalog::Privilege) -> bool {
        match self {
            Level::Global => true,
            Level::Database(_) => privilege.database,
            Level::Table(..) => privilege.table,
        }
    }

    fn database_and_table(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Level::Global => (None, None),
            Level::Database(database) => (Some(database), None),
            Level::Table(database, table) => (Some(database), Some(table)),
        }
    }
}

/// The names of privileges that are granted: known ones that go with the level. `None`: ALL.
fn names(privileges: &[Privilege], level: &Level) -> Result<(Option<Vec<&'static str>>, bool), SqlError> {
    let mut out = Vec::new();
    let mut grant_option = false;
    for wanted in privileges {
        if !wanted.columns.is_empty() {
            return Err(SqlError::not_supported("privileges on columns"));
        }
        match wanted.name.as_str() {
            "ALL PRIVILEGES" | "ALL" => return Ok((None, grant_option)),
            "USAGE" => {}
            "GRANT OPTION" => grant_option = true,
            name => match privilege(name) {
                Some(known) if level.takes(known) => out.push(known.name),
                Some(_) => {
                    return Err(SqlError::new(
                        ErrorCode::WrongUsage,
                        "Incorrect usage of DB GRANT and GLOBAL PRIVILEGES",
                    ));
                }
                // Dynamic privileges of MySQL 8 (BACKUP_ADMIN, …): they allow nothing that is here.
                None if *level == Level::Global && name.contains('_') => {}
                None => {
                    return Err(SqlError::new(
                        ErrorCode::ParseError,
                        format!("You have an error in your SQL syntax near '{name}'"),
                    ));
                }
            },
        }
    }
    Ok((Some(out), grant_option))
}

fn require_grant(
    level: &Level,
    wanted: Option<&[&str]>,
    context: &dyn StatementContext,
) -> Result<(), SqlError> {
    let user = context.user();
    let (database, table) = level.database_and_table();
    let has = |name: &str| user.may(name, database, table);
    let holds = match wanted {
        Some(names) => names.iter().all(|name| has(name)),
        None => level.all().all(has),
    };
    if user.may_grant(database, table) && holds {
        return Ok(());
    }
    let who = format!("user '{}'@'{}'", user.name, user.host);
    Err(match level {
        Level::Global => {
            SqlError::new(ErrorCode::AccessDenied, format!("Access denied for {who} (using password: YES)"))
        }
        Level::Database(name) => SqlError::new(
            ErrorCode::DatabaseAccessDenied,
            format!("Access denied for {who} to database '{name}'"),
        ),
        Level::Table(_, name) => SqlError::new(
            ErrorCode::TableAccessDenied,
            format!("GRANT command denied to {who} for table '{name}'"),
        ),
    })
}

/// Runs GRANT.
pub async fn grant(
    privileges: &[Privilege],
    level: &PrivilegeLevel,
    users: &[UserSpec],
    with_grant_option: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let level = Level::of(level, context)?;
    let (wanted, also_option) = names(privileges, &level)?;
    require_grant(&level, wanted.as_deref(), context)?;
    if let Level::Table(database, table) = &level {
        context.catalog().require_table(database, table)?;
    }
    let keys: Vec<_> = users.iter().map(|spec| resolve(&spec.account, context)).collect();
    commit_change(context, |catalog, change| {
        for key in &keys {
            let Some(before) = find(catalog, key) else {
                return Err(SqlError::new(
                    ErrorCode::CannotCreateUserWithGrant,
                    "You are not allowed to create a user with GRANT",
                ));
            };
            let mut user = (**before).clone();
            let list = level.list(&mut user);
            match &wanted {
                None => *list = vec![ALL.into()],
                Some(names) if !list.iter().any(|p| &**p == ALL) => {
                    for name in names {
                        if !list.iter().any(|p| &**p == *name) {
                            list.push((*name).into());
                        }
                    }
                    if level.all().all(|name| list.iter().any(|p| &**p == name)) {
                        *list = vec![ALL.into()];
                    }
                }
                Some(_) => {}
            }
            if with_grant_option || also_option {
                let name = level.option_name();
                if !user.grant_option.contains(&name) {
                    user.grant_option.push(name);
                }
            }
            change.put_user(&user);
        }
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// Runs REVOKE.
pub async fn revoke(
    privileges: &[Privilege],
    level: &PrivilegeLevel,
    users: &[Account],
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let level = Level::of(level, context)?;
    let (wanted, also_option) = names(privileges, &level)?;
    // REVOKE ALL PRIVILEGES, GRANT OPTION takes everything everywhere.
    let everything =
        wanted.is_none() && level == Level::Global && privileges.iter().any(|p| p.name == "GRANT OPTION");
    require_grant(&level, wanted.as_deref(), context)?;
    let keys: Vec<_> = users.iter().map(|account| resolve(account, context)).collect();
    let mut absent = Vec::new();
    commit_change(context, |catalog, change| {
        absent.clear();
        for key in &keys {
            let Some(before) = find(catalog, key) else {
                if if_exists {
                    absent.push(key.clone());
                    continue;
                }
                return Err(SqlError::new(
                    ErrorCode::NonexistingGrant,
                    format!("There is no such grant defined for user '{}' on host '{}'", key.0, key.1),
                ));
            };
            let mut user = (**before).clone();
            if everything {
                user.global.clear();
                user.databases.clear();
                user.tables.clear();
                user.grant_option.clear();
                change.put_user(&user);
                continue;
            }
            let list = level.list(&mut user);
            if list.is_empty() && level != Level::Global {
                return Err(SqlError::new(
                    ErrorCode::NonexistingGrant,
                    format!("There is no such grant defined for user '{}' on host '{}'", key.0, key.1),
                ));
            }
            match &wanted {
                None => list.clear(),
                Some(names) => {
                    if list.iter().any(|p| &**p == ALL) && !names.is_empty() {
                        *list = level.all().map(Arc::from).collect();
                    }
                    list.retain(|p| !names.contains(&&**p));
                }
            }
            if also_option {
                let name = level.option_name();
                user.grant_option.retain(|l| *l != name);
            }
            user.databases.retain(|_, list| !list.is_empty());
            user.tables.retain(|_, list| !list.is_empty());
            change.put_user(&user);
        }
        Ok((!change.is_empty()).then_some(()))
    })
    .await?;
    for key in &absent {
        let text = format!("Authorization ID {} does not exist.", quoted(key));
        context.eval().note(ErrorCode::UserDoesNotExist, text);
    }
    Ok(done())
}

/// The heading and the lines of SHOW GRANTS.
pub fn show_grants(
    account: Option<&Account>,
    context: &dyn StatementContext,
) -> Result<(String, Vec<String>), SqlError> {
    let me = context.user();
    let key = match account {
        Some(account) => resolve(account, context),
        None => (me.name.clone(), me.host.clone()),
    };
    let own = key == (me.name.clone(), me.host.clone());
    if !own && !me.may("SELECT", Some("mysql"), None) {
        return Err(SqlError::new(
            ErrorCode::DatabaseAccessDenied,
            format!("Access denied for user '{}'@'{}' to database 'mysql'", me.name, me.host),
        ));
    }
    let catalog = context.catalog();
    let user = match find(&catalog, &key) {
        Some(user) => user.clone(),
        None if own => me,
        None => {
            return Err(SqlError::new(
                ErrorCode::NonexistingGrant,
                format!("There is no such grant defined for user '{}' on host '{}'", key.0, key.1),
            ));
        }
    };
    let who = format!("`{}`@`{}`", user.name, user.host);
    let line = |list: &[Arc<str>], on: &str, level: &str, global: bool| {
        let what = if list.is_empty() {
            "USAGE".to_string()
        } else if list.iter().any(|p| &**p == ALL) {
            // MySQL spells the global list out; clients look for the short form as well.
            if global { "ALL PRIVILEGES".to_string() } else { ALL.to_string() }
        } else {
            let mut names: Vec<&str> =
                PRIVILEGES.iter().map(|p| p.name).filter(|n| list.iter().any(|p| &**p == *n)).collect();
            names.dedup();
            names.join(", ")
        };
        let option = if user.grant_option.iter().any(|l| &**l == level) { " WITH GRANT OPTION" } else { "" };
        format!("GRANT {what} ON {on} TO {who}{option}")
    };
    let mut lines = vec![line(&user.global, "*.*", "", true)];
    for (database, list) in &user.databases {
        lines.push(line(list, &format!("`{database}`.*"), database, false));
    }
    for ((database, table), list) in &user.tables {
        lines.push(line(list, &format!("`{database}`.`{table}`"), &format!("{database}.{table}"), false));
    }
    Ok((format!("Grants for {}@{}", user.name, user.host), lines))
}
