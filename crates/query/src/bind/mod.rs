//! From syntax to meaning: names, types, aggregates, the shape of a query; nothing yet of how it runs.
//!
//! ```text
//!   ast::Query ──▶ Query { body: Select | SetOperation | Values, order, limit }
//!                    Select { tables, joins, filter, groups, aggregates, windows, having, projection }
//! ```
//!
//! Every expression is bound over [`ColumnId`]s, which are unique within the statement, so that the planner may
//! reorder joins and subqueries may mention columns of the queries around them.

mod expr;
mod scope;
mod select;

pub use expr::{
    Aggregate, AggregateFunction, Frame, FrameBound, Gather, Place, SortKey, WindowCall, WindowFunction,
};
pub(crate) use expr::{object_parts, ordinal};
pub use scope::{Scope, ScopeColumn, ScopeTable, column_flags, unknown_column};
pub(crate) use select::item_name;
pub use select::*;

use crate::expr::ColumnId;
use assize_catalog::{Catalog, Table};
use assize_model::{SqlError, TableId};
use assize_ports::{BoxFuture, StatementContext};
use assize_values::{SqlMode, SqlType, Value};
use std::sync::Arc;

/// How deep expressions and queries may nest.
pub const MAX_DEPTH: usize = 200;

/// A column of a virtual table.
#[derive(Clone, Debug)]
pub struct VirtualColumn {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL occurs.
    pub nullable: bool,
}

/// Rows that are made when they are asked for: a table of information_schema and the like.
pub trait VirtualRows: Send + Sync {
    /// Its rows, for this statement, which looks only at the columns at these positions: the others may hold anything.
    fn rows<'a>(
        &'a self,
        context: &'a mut dyn StatementContext,
        wanted: &'a [usize],
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, SqlError>>;
}

/// A virtual table.
#[derive(Clone)]
pub struct VirtualTable {
    /// The name as it is shown.
    pub name: Arc<str>,
    /// Its columns.
    pub columns: Vec<VirtualColumn>,
    /// Its rows.
    pub rows: Arc<dyn VirtualRows>,
}

impl std::fmt::Debug for VirtualTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualTable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Finds virtual tables.
pub trait VirtualTables: Send + Sync {
    /// The virtual table of this name, if there is one. Names of these databases compare in any case.
    fn table(&self, database: &str, name: &str) -> Option<VirtualTable>;
    /// Whether the database exists virtually.
    fn has_database(&self, database: &str) -> bool;
}

/// No virtual tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVirtualTables;

impl VirtualTables for NoVirtualTables {
    fn table(&self, _: &str, _: &str) -> Option<VirtualTable> {
        None
    }

    fn has_database(&self, _: &str) -> bool {
        false
    }
}

/// Binds one statement.
pub struct Binder<'c> {
    /// The session.
    pub context: &'c mut dyn StatementContext,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// Tables that are made on demand.
    pub virtuals: &'c dyn VirtualTables,
    /// Values of `?`, by which they are typed; `None` while only the shape is asked for.
    pub params: Option<&'c [Value]>,
    /// Stored tables and views that the statement mentions, those within views among them.
    pub tables: Vec<Arc<Table>>,
    /// Who has to be allowed to read which of them.
    pub reads: Vec<TableRead>,
    /// Whether the meaning depends on user variables, whose types may change.
    pub uses_variables: bool,
    /// Whether a virtual table is mentioned.
    pub uses_virtual: bool,
    pub(crate) ctes: Vec<Arc<Cte>>,
    /// Views whose texts are being bound, the outermost first.
    pub(crate) open_views: Vec<TableId>,
    /// On whose behalf.
    pub(crate) acting: Acting,
    pub(crate) next_id: u32,
    pub(crate) depth: usize,
}

impl<'c> Binder<'c> {
    /// A binder for one statement.
    pub fn new(
        context: &'c mut dyn StatementContext,
        virtuals: &'c dyn VirtualTables,
        params: Option<&'c [Value]>,
    ) -> Self {
        let catalog = context.catalog();
        Binder {
            context,
            catalog,
            virtuals,
            params,
            tables: Vec::new(),
            reads: Vec::new(),
            uses_variables: false,
            uses_virtual: false,
            ctes: Vec::new(),
            open_views: Vec::new(),
            acting: Acting::default(),
            next_id: 0,
            depth: 0,
        }
    }

    /// A new column id.
    pub fn next_id(&mut self) -> ColumnId {
        self.next_id += 1;
        ColumnId(self.next_id - 1)
    }

    /// The SQL modes in force.
    pub fn modes(&mut self) -> SqlMode {
        self.context.eval().sql_mode
    }

    /// Puts a stored table among those that the statement mentions.
    ///
    /// # Errors
    /// 1356 or 1449 if a view leads there and whoever it acts for may not read the table. What the statement itself
    /// names is checked when it runs.
    pub fn mention(&mut self, table: &Arc<Table>) -> Result<(), SqlError> {
        if !self.tables.iter().any(|t| t.id == table.id) {
            self.tables.push(table.clone());
        }
        let Acting { definer, within } = self.acting.clone();
        let read = TableRead { table: table.clone(), definer, within };
        if read.within.is_some() {
            crate::acl::require_read(self.context, &read)?;
        }
        self.reads.push(read);
        Ok(())
    }

    /// Claims what has been mentioned for the statement that runs now. Plans that are kept are claimed each time instead.
    ///
    /// # Errors
    /// 1142 if the user may not read a table. `own` are those of the statement's FROM, which need not be readable to be
    /// changed; whoever knows which they are checks them.
    pub fn claim(&mut self, own: impl Fn(&Table) -> bool) -> Result<(), SqlError> {
        for read in self.reads.iter().filter(|read| !own(&read.table)) {
            crate::acl::require_read(self.context, read)?;
        }
        for table in &self.tables {
            self.context.transaction().use_table(table.id, table.version);
        }
        Ok(())
    }
}
