//! Who may do what.

use crate::{User, VIRTUAL_DATABASES, like};
use std::sync::Arc;

/// Stands for every privilege of its level but GRANT OPTION.
pub const ALL: &str = "ALL PRIVILEGES";

/// A privilege and the levels at which it can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Its name, upper case.
    pub name: &'static str,
    /// Where it applies, as SHOW PRIVILEGES says.
    pub context: &'static str,
    /// What it allows, as SHOW PRIVILEGES says.
    pub comment: &'static str,
    /// Grantable ON db.*.
    pub database: bool,
    /// Grantable ON db.table.
    pub table: bool,
}

macro_rules! privileges {
    ($($name:literal $context:literal $comment:literal $database:literal $table:literal;)*) => {
        /// Every static privilege, in the order in which SHOW GRANTS lists them.
        pub const PRIVILEGES: &[Privilege] = &[$(Privilege {
            name: $name, context: $context, comment: $comment, database: $database, table: $table,
        },)*];
    };
}

privileges! {
    "SELECT" "Tables" "To retrieve rows from table" true true;
    "INSERT" "Tables" "To insert data into tables" true true;
    "UPDATE" "Tables" "To update existing rows" true true;
    "DELETE" "Tables" "To delete existing rows" true true;
    "CREATE" "Databases,Tables,Indexes" "To create new databases and tables" true true;
    "DROP" "Databases,Tables" "To drop databases, tables, and views" true true;
    "RELOAD" "Server Admin" "To reload or refresh tables, logs and privileges" false false;
    "SHUTDOWN" "Server Admin" "To shut down the server" false false;
    "PROCESS" "Server Admin" "To view the plain text of currently executing queries" false false;
    "FILE" "File access on server" "To read and write files on the server" false false;
    "REFERENCES" "Databases,Tables" "To have references on tables" true true;
    "INDEX" "Tables" "To create or drop indexes" true true;
    "ALTER" "Tables" "To alter the table" true true;
    "SHOW DATABASES" "Server Admin" "To see all databases with SHOW DATABASES" false false;
    "SUPER" "Server Admin" "To use KILL thread, SET GLOBAL, CHANGE MASTER, etc." false false;
    "CREATE TEMPORARY TABLES" "Databases" "To use CREATE TEMPORARY TABLE" true false;
    "LOCK TABLES" "Databases" "To use LOCK TABLES (together with SELECT privilege)" true false;
    "EXECUTE" "Functions,Procedures" "To execute stored routines" true false;
    "REPLICATION SLAVE" "Server Admin" "To read binary log events from the source" false false;
    "REPLICATION CLIENT" "Server Admin" "To ask where the replica or source servers are" false false;
    "CREATE VIEW" "Tables" "To create new views" true true;
    "SHOW VIEW" "Tables" "To see views with SHOW CREATE VIEW" true true;
    "CREATE ROUTINE" "Databases" "To use CREATE FUNCTION/PROCEDURE" true false;
    "ALTER ROUTINE" "Functions,Procedures" "To alter or drop stored functions/procedures" true false;
    "CREATE USER" "Server Admin" "To create new users" false false;
    "EVENT" "Server Admin" "To create, alter, drop and execute events" true false;
    "TRIGGER" "Tables" "To use triggers" true true;
    "CREATE TABLESPACE" "Server Admin" "To create/alter/drop tablespaces" false false;
    "CREATE ROLE" "Server Admin" "To create new roles" false false;
    "DROP ROLE" "Server Admin" "To drop roles" false false;
}

/// A static privilege by name.
pub fn privilege(name: &str) -> Option<&'static Privilege> {
    PRIVILEGES.iter().find(|p| p.name == name)
}

impl User {
    /// Whether the user may do this to a table (`table`), to a whole database (`database` alone) or to the
    /// server (neither). A privilege on something larger includes what is within.
    pub fn may(&self, privilege: &str, database: Option<&str>, table: Option<&str>) -> bool {
        if holds(&self.global, privilege) {
            return true;
        }
        let Some(database) = database else {
            return false;
        };
        if self.databases_matching(database).any(|list| holds(list, privilege)) {
            return true;
        }
        table.is_some_and(|table| {
            self.tables
                .get(&(Arc::from(database), Arc::from(table)))
                .is_some_and(|list| holds(list, privilege))
        })
    }

    /// Whether the user has any privilege on a database or within it, so that it is listed at all.
    pub fn sees_database(&self, database: &str) -> bool {
        VIRTUAL_DATABASES.contains(&database)
            || self.global.iter().any(|p| {
                &**p == ALL || crate::privilege(p).is_some_and(|p| p.database || p.name == "SHOW DATABASES")
            })
            || self.databases_matching(database).any(|list| !list.is_empty())
            || self.tables.keys().any(|(d, _)| &**d == database)
    }

    /// Whether the user has any privilege on a table.
    pub fn sees_table(&self, database: &str, table: &str) -> bool {
        VIRTUAL_DATABASES.contains(&database)
            || self.global.iter().any(|p| &**p == ALL || crate::privilege(p).is_some_and(|p| p.table))
            || self.databases_matching(database).any(|list| !list.is_empty())
            || self.tables.contains_key(&(Arc::from(database), Arc::from(table)))
    }

    /// Whether the user may grant what it has at a level: `""`, `db` or `db.table`.
    pub fn may_grant(&self, database: Option<&str>, table: Option<&str>) -> bool {
        let has = |level: &str| self.grant_option.iter().any(|l| &**l == level);
        has("")
            || database.is_some_and(has)
            || matches!((database, table), (Some(d), Some(t)) if has(&format!("{d}.{t}")))
    }

    /// Whether the user is an administrator: may do everything everywhere.
    pub fn is_administrator(&self) -> bool {
        self.global.iter().any(|p| &**p == ALL || &**p == "SUPER")
    }

    fn databases_matching<'a>(&'a self, database: &'a str) -> impl Iterator<Item = &'a Vec<Arc<str>>> {
        self.databases
            .iter()
            .filter(move |(pattern, _)| &***pattern == database || like(pattern, database))
            .map(|(_, list)| list)
    }
}

fn holds(list: &[Arc<str>], privilege: &str) -> bool {
    list.iter().any(|p| &**p == privilege || (&**p == ALL && privilege != "GRANT OPTION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn user() -> User {
        User {
            name: "app".into(),
            host: "%".into(),
            plugin: "caching_sha2_password".into(),
            verifier: Vec::new(),
            locked: false,
            require_tls: false,
            global: vec!["PROCESS".into()],
            databases: BTreeMap::from([("shop\\_%".into(), vec!["SELECT".into(), "INSERT".into()])]),
            tables: BTreeMap::from([(("crm".into(), "people".into()), vec![ALL.into()])]),
            grant_option: vec!["crm.people".into()],
        }
    }

    #[test]
    fn a_privilege_on_something_larger_includes_what_is_within() {
        let user = user();
        assert!(user.may("PROCESS", None, None));
        assert!(user.may("SELECT", Some("shop_1"), Some("stock")));
        assert!(!user.may("SELECT", Some("shop1"), Some("stock")));
        assert!(!user.may("DELETE", Some("shop_1"), None));
        assert!(user.may("DROP", Some("crm"), Some("people")));
        assert!(!user.may("DROP", Some("crm"), None));
        assert!(user.sees_database("crm") && !user.sees_database("hr"));
        assert!(user.may_grant(Some("crm"), Some("people")) && !user.may_grant(None, None));
    }
}
