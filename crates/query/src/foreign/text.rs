//! The statements that are sent.

use crate::show::quote::quote_name;
use assize_catalog::{Server, Table};
use assize_ports::{LockMode, ReadIntent};

/// The table on its server, database and all.
pub fn table_name(table: &Table, server: &Server) -> String {
    let there = table.foreign.as_ref().map_or(&table.name, |foreign| &foreign.table);
    format!("{}.{}", quote_name(&server.database), quote_name(there))
}

/// A list in parentheses, or what it consists of if that is one thing.
pub fn tuple(parts: &[String]) -> String {
    match parts {
        [one] => one.clone(),
        many => format!("({})", many.join(", ")),
    }
}

/// A condition on one column, its values being literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// One of these values, or NULL. Of nothing at all: no row.
    OneOf(Vec<String>, bool),
    /// Beyond a value: the operator, and the value.
    Beyond(&'static str, String),
}

impl Condition {
    /// As the server reads it; `None` if no row satisfies it.
    pub fn text(&self, column: &str) -> Option<String> {
        let name = quote_name(column);
        Some(match self {
            Condition::Beyond(operator, value) => format!("{name} {operator} {value}"),
            Condition::OneOf(values, null) => {
                let some = match values.as_slice() {
                    [] if *null => return Some(format!("{name} IS NULL")),
                    [] => return None,
                    [one] => format!("{name} = {one}"),
                    many => format!("{name} IN ({})", many.join(", ")),
                };
                if *null { format!("({some} OR {name} IS NULL)") } else { some }
            }
        })
    }
}

/// A SELECT.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Names of columns, or expressions; none: rows are only counted.
    pub columns: Vec<String>,
    /// The table.
    pub from: String,
    /// What rows have to satisfy.
    pub conditions: Vec<String>,
    /// Only so many rows, in the order of these columns.
    pub page: Option<(Vec<String>, usize)>,
    /// For what rows are read.
    pub intent: ReadIntent,
}

impl Select {
    /// As the server reads it.
    pub fn text(&self) -> String {
        let columns = if self.columns.is_empty() { "1".to_owned() } else { self.columns.join(", ") };
        let mut out = format!("SELECT {columns} FROM {}", self.from);
        if !self.conditions.is_empty() {
            out.push_str(" WHERE ");
            out.push_str(&self.conditions.join(" AND "));
        }
        if let Some((order, rows)) = &self.page {
            out.push_str(&format!(" ORDER BY {} LIMIT {rows}", order.join(", ")));
        }
        out.push_str(lock(self.intent));
        out
    }

    /// The condition that rows come behind this one in the order of these columns.
    pub fn behind(order: &[String], last: &[String]) -> String {
        match (order, last) {
            ([column, more_columns @ ..], [value, more_values @ ..]) if !more_columns.is_empty() => {
                let rest = Select::behind(more_columns, more_values);
                format!("({column} > {value} OR ({column} = {value} AND {rest}))")
            }
            ([column, ..], [value, ..]) => format!("{column} > {value}"),
            _ => "1 = 0".to_owned(),
        }
    }
}

/// The locking clause. MySQL has no `LOCK IN SHARE MODE NOWAIT` and MariaDB no `FOR SHARE`: whoever shares and will not wait
/// takes the stronger lock.
fn lock(intent: ReadIntent) -> &'static str {
    match intent {
        ReadIntent::Plain => "",
        ReadIntent::Share(LockMode::NoWait) | ReadIntent::Update(LockMode::NoWait) => " FOR UPDATE NOWAIT",
        ReadIntent::Share(LockMode::SkipLocked) | ReadIntent::Update(LockMode::SkipLocked) => {
            " FOR UPDATE SKIP LOCKED"
        }
        ReadIntent::Share(_) | ReadIntent::Check => " LOCK IN SHARE MODE",
        ReadIntent::Update(_) => " FOR UPDATE",
    }
}

/// INSERT or REPLACE; `verb` is the first words.
pub fn insert(verb: &str, table: &str, columns: &[String], rows: &[String]) -> String {
    format!("{verb} INTO {table} ({}) VALUES {}", columns.join(", "), rows.join(", "))
}

/// Rows by their keys; each is a [`tuple`] of the key's values.
pub fn keyed(columns: &[String], keys: &[String]) -> String {
    match keys {
        [one] => format!("{} = {one}", tuple(columns)),
        many => format!("{} IN ({})", tuple(columns), many.join(", ")),
    }
}

/// UPDATE of the rows with these keys.
pub fn update(table: &str, set: &str, columns: &[String], keys: &[String]) -> String {
    format!("UPDATE {table} SET {set} WHERE {}", keyed(columns, keys))
}

/// DELETE of the rows with these keys.
pub fn delete(table: &str, columns: &[String], keys: &[String]) -> String {
    format!("DELETE FROM {table} WHERE {}", keyed(columns, keys))
}
