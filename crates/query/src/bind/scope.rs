//! Names in sight: tables of a FROM clause, their columns, and the scopes around them.

use crate::expr::{ColumnId, Expr};
use assize_catalog::Table;
use assize_model::{ErrorCode, SqlError};
use assize_ports::ColumnFlags;
use assize_values::SqlType;
use std::sync::Arc;

/// A column that a scope offers.
#[derive(Clone, Debug)]
pub struct ScopeColumn {
    /// Its id within the statement.
    pub id: ColumnId,
    /// The name by which it is found.
    pub name: Arc<str>,
    /// The column's own name in its base table, or empty.
    pub org_name: Arc<str>,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL can occur.
    pub nullable: bool,
    /// Key membership and such.
    pub flags: ColumnFlags,
    /// Left out of `*`: INVISIBLE, or the second of two columns that USING or NATURAL made one.
    pub invisible: bool,
    /// Merged away by USING or NATURAL: found only with its table's name.
    pub merged: bool,
    /// What a column of a merged view stands for, unless it is a column of a table itself.
    pub means: Option<Arc<Expr>>,
}

impl ScopeColumn {
    /// What its name means in an expression.
    pub fn expr(&self) -> Expr {
        match &self.means {
            None => Expr::column(self.id, self.sql_type.clone(), self.nullable),
            Some(expr) => (**expr).clone(),
        }
    }
}

/// A table, derived table or common table expression under the name by which the statement knows it.
#[derive(Clone, Debug)]
pub struct ScopeTable {
    /// Alias, or table name.
    pub alias: Arc<str>,
    /// Database; empty for derived tables.
    pub database: Arc<str>,
    /// The table's own name; empty for derived tables.
    pub org_name: Arc<str>,
    /// Its columns.
    pub columns: Vec<ScopeColumn>,
    /// The stored table behind it.
    pub table: Option<Arc<Table>>,
    /// Id of the hidden row id of a table without primary key.
    pub row_id: Option<ColumnId>,
    /// Which of the statement's tables it is; `None`: a merged view of several.
    pub place: Option<usize>,
}

/// What the names of one query block mean.
#[derive(Clone, Debug, Default)]
pub struct Scope<'p> {
    /// The tables of its FROM clause so far, in the order of FROM.
    pub tables: Vec<ScopeTable>,
    /// Order of `*` where NATURAL or USING changed it; empty: table by table.
    pub star: Vec<ColumnId>,
    /// The block around this one.
    pub parent: Option<&'p Scope<'p>>,
    /// Rows that `VALUES(column)` means, in INSERT … ON DUPLICATE KEY UPDATE: its table.
    pub values_table: Option<ScopeTable>,
}

impl<'p> Scope<'p> {
    /// A scope of these tables within a parent.
    pub fn new(tables: Vec<ScopeTable>, parent: Option<&'p Scope<'p>>) -> Self {
        Scope { tables, star: Vec::new(), parent, values_table: None }
    }

    /// A scope of one stored table whose columns get the ids `0..n` in order: a row of the table in
    /// definition order is then the input row.
    pub fn of_table(table: &Arc<Table>, alias: &str) -> Self {
        Scope::new(vec![ScopeTable::stored(table, alias, &mut 0)], None)
    }

    /// Finds a column by name here or further out.
    ///
    /// # Errors
    /// 1052 if the name means several columns, 1054 if none; `clause` is named in the text.
    pub fn column(&self, parts: &[&str], clause: &str) -> Result<Expr, SqlError> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(found) = here.find(parts, clause)? {
                return Ok(found.expr());
            }
            scope = here.parent;
        }
        Err(unknown_column(&parts.join("."), clause))
    }

    /// Finds a column of this scope alone.
    pub fn find(&self, parts: &[&str], clause: &str) -> Result<Option<&ScopeColumn>, SqlError> {
        let (database, table, column) = match parts {
            [column] => (None, None, *column),
            [table, column] => (None, Some(*table), *column),
            [database, table, column] => (Some(*database), Some(*table), *column),
            _ => return Err(unknown_column(&parts.join("."), clause)),
        };
        let mut found: Option<&ScopeColumn> = None;
        for t in &self.tables {
            if !table.is_none_or(|name| t.answers_to(name)) {
                continue;
            }
            if !database.is_none_or(|name| t.database.eq_ignore_ascii_case(name)) {
                continue;
            }
            for c in &t.columns {
                if (c.merged && table.is_none()) || !c.name.eq_ignore_ascii_case(column) {
                    continue;
                }
                if found.is_some_and(|f| f.id != c.id) {
                    return Err(SqlError::new(
                        ErrorCode::AmbiguousColumn,
                        format!("Column '{}' in {clause} is ambiguous", parts.join(".")),
                    ));
                }
                found = Some(c);
            }
        }
        Ok(found)
    }

    /// Every column, hidden ones too.
    pub fn all_columns(&self) -> impl Iterator<Item = (&ScopeTable, &ScopeColumn)> {
        self.tables.iter().flat_map(|t| t.columns.iter().map(move |c| (t, c)))
    }

    /// Whether FROM names this table or view, under whatever alias.
    pub fn has(&self, table: &Table) -> bool {
        self.tables.iter().any(|t| t.org_name == table.name && t.database == table.database)
    }

    /// The column with this id, and its table, of this scope alone.
    pub fn by_id(&self, id: ColumnId) -> Option<(&ScopeTable, &ScopeColumn)> {
        self.all_columns().find(|(_, c)| c.id == id)
    }

    /// The column with this id, here or further out.
    pub fn by_id_anywhere(&self, id: ColumnId) -> Option<(&ScopeTable, &ScopeColumn)> {
        self.by_id(id).or_else(|| self.parent.and_then(|p| p.by_id_anywhere(id)))
    }

    /// The columns of `*`, in order.
    pub fn star_columns(&self) -> Vec<(&ScopeTable, &ScopeColumn)> {
        if self.star.is_empty() {
            self.all_columns().filter(|(_, c)| !c.invisible && !c.merged).collect()
        } else {
            self.star.iter().filter_map(|id| self.by_id(*id)).collect()
        }
    }
}

impl ScopeTable {
    /// A stored table; columns take ids from `next`, in definition order, then the hidden row id if it has
    /// one.
    pub fn stored(table: &Arc<Table>, alias: &str, next: &mut u32) -> Self {
        let mut take = || {
            let id = ColumnId(*next);
            *next += 1;
            id
        };
        let columns = table
            .columns
            .iter()
            .map(|c| ScopeColumn {
                id: take(),
                // An empty name is found by nobody.
                name: if c.hidden { "".into() } else { c.name.clone() },
                org_name: c.name.clone(),
                sql_type: c.sql_type.clone(),
                nullable: c.nullable,
                flags: column_flags(table, c),
                invisible: c.invisible,
                merged: false,
                means: None,
            })
            .collect();
        let row_id = table.hidden_row_id.then(take);
        ScopeTable {
            alias: alias.into(),
            database: table.database.clone(),
            org_name: table.name.clone(),
            columns,
            table: Some(table.clone()),
            row_id,
            place: None,
        }
    }

    /// Whether the statement means this table by that name. Table names compare byte for byte; aliases too.
    pub fn answers_to(&self, name: &str) -> bool {
        &*self.alias == name || (self.table.is_none() && self.alias.eq_ignore_ascii_case(name))
    }

    /// Makes all columns nullable: the table is on the inner side of an outer join.
    pub fn make_nullable(&mut self) {
        for column in &mut self.columns {
            column.nullable = true;
        }
    }
}

/// Key membership and other flags of a stored column, as result metadata tells them.
pub fn column_flags(table: &Table, column: &assize_catalog::Column) -> ColumnFlags {
    let first_of =
        |index: &&assize_catalog::Index| index.parts.first().is_some_and(|p| p.column == column.id);
    let secondary = || table.indexes.iter().filter(|i| i.id.0 != 0);
    let primary = table
        .indexes
        .iter()
        .any(|i| i.id.0 == 0 && !table.hidden_row_id && i.parts.iter().any(|p| p.column == column.id));
    let unique = secondary().any(|i| i.unique && i.parts.len() == 1 && first_of(&i));
    ColumnFlags {
        primary_key: primary,
        unique_key: unique,
        multiple_key: !unique && secondary().any(|i| first_of(&i)),
        auto_increment: column.auto_increment,
        no_default: !column.nullable && column.default.is_none() && !column.auto_increment,
        on_update_now: column.on_update_now.is_some(),
    }
}

/// Error 1054.
pub fn unknown_column(name: &str, clause: &str) -> SqlError {
    SqlError::new(ErrorCode::UnknownColumn, format!("Unknown column '{name}' in '{clause}'"))
}
