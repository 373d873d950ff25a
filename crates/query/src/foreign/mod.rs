//! Foreign tables in the words of their servers: names, literals, conditions, statements.
//!
//! ```text
//!   plan::ForeignScan ──▶ exec::foreign ──┐
//!                                         ├── text ──▶ ports::Transaction::foreign ──▶ the branch on the server
//!   dml (rows, keys)  ──▶ dml::foreign  ──┘
//! ```
//!
//! Everything here is text that another server parses: a name or a value that was not quoted right would be a statement of its
//! own. Connections are set up so that a literal means the same there and here (see `ports::ForeignServers`): `utf8mb4`,
//! backslashes escape, time zone UTC.

mod literal;
mod text;

pub use crate::show::quote::quote_text;
pub use literal::literal;
pub use text::{Condition, Select, delete, insert, keyed, table_name, tuple, update};

use assize_catalog::{Catalog, Server, Table};
use assize_model::SqlError;
use assize_values::SqlType;
use std::sync::Arc;

/// The server of a foreign table; error 1477 if it has been dropped.
pub fn server_of(table: &Table, catalog: &Catalog) -> Result<Arc<Server>, SqlError> {
    let Some(foreign) = &table.foreign else {
        return Err(SqlError::internal(format!("{} is no foreign table", table.name)));
    };
    catalog.require_server(&foreign.server).cloned()
}

/// Columns by which one row of a foreign table is told from all others: its primary key, or else a unique key without NULL.
/// FLOAT identifies nothing: servers print it rounded.
pub fn identity(table: &Table) -> Option<Vec<usize>> {
    let of = |index: &assize_catalog::Index| -> Option<Vec<usize>> {
        let parts = index.parts.iter().map(|part| {
            let ordinal = table.ordinal_by_id(part.column).filter(|_| part.prefix.is_none())?;
            let column = &table.columns[ordinal];
            let exact = !matches!(column.sql_type, SqlType::Float { .. } | SqlType::Json);
            (exact && !column.nullable).then_some(ordinal)
        });
        parts.collect::<Option<Vec<usize>>>().filter(|parts| !parts.is_empty())
    };
    table.indexes.iter().filter(|index| index.unique).find_map(of)
}

/// The columns by whose order pages are read: an [`identity`] of integers, which every server orders alike.
pub fn page_key(table: &Table) -> Option<Vec<usize>> {
    let integers = |key: &Vec<usize>| {
        key.iter().all(|ordinal| matches!(table.columns[*ordinal].sql_type, SqlType::Int(_)))
    };
    identity(table).filter(integers)
}
