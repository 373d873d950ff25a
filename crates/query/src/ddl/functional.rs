//! Functional key parts: `KEY i ((lower(name)), id)`.
//!
//! ```text
//!   (expression) ──▶ hidden column, generated from it ──▶ an ordinary key part
//! ```
//!
//! A hidden column has no name that a statement could say, is left out of everything that lists columns, and goes
//! when its index goes. Its type is that of the expression; a statement that changes the columns beneath it gives it
//! another. Rows stored before it was there lack it: building the index writes them again ([`super::index`]).

use super::create::stored_type;
use super::define::{COLUMNS_MAX, Draft, KEY_BYTES_MAX, is_deterministic, part_length};
use super::print::{self, Names};
use crate::dml::writer::bind_over;
use assize_catalog::{Column, FUNCTIONAL_KEYS_SINCE, Generated, Index, Table};
use assize_model::{ErrorCode, SqlError};
use assize_ports::StatementContext;
use assize_sql::{IndexDef, IndexKind, IndexPartKey, SqlExpr};
use assize_values::SqlType;
use sqlparser::ast::Expr;
use std::sync::Arc;

/// What the name of an unnamed index begins with.
pub(super) const UNNAMED: &str = "functional_index";

/// How the text of error 1054 calls the place of a key part.
const CLAUSE: &str = "functional index";

/// Whether some part of an index is an expression.
pub(super) fn is_functional(def: &IndexDef) -> bool {
    def.parts.iter().any(|part| matches!(part.key, IndexPartKey::Expr(_)))
}

/// Refuses kinds of indexes that cannot have functional key parts.
pub(super) fn check_kind(def: &IndexDef) -> Result<(), SqlError> {
    if !is_functional(def) {
        return Ok(());
    }
    let (code, text) = match def.kind {
        IndexKind::Primary => {
            (ErrorCode::FunctionalIndexPrimaryKey, "The primary key cannot be a functional index")
        }
        IndexKind::Fulltext => {
            (ErrorCode::FulltextFunctionalIndex, "Fulltext functional index is not supported.")
        }
        IndexKind::Spatial => {
            (ErrorCode::SpatialFunctionalIndex, "Spatial functional index is not supported.")
        }
        IndexKind::Unique | IndexKind::Plain => return Ok(()),
    };
    Err(SqlError::new(code, text))
}

/// Waits until every node of the cluster understands hidden columns, if this table has some.
pub(super) async fn require_understood(
    table: &Table,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    if !table.columns.iter().any(|c| c.hidden) {
        return Ok(());
    }
    super::require_cluster_version(FUNCTIONAL_KEYS_SINCE, "functional indexes", context).await
}

impl Draft {
    /// Adds the hidden column of a key part; answers its id. What type it has is settled with the whole table.
    pub(super) fn add_hidden_column(&mut self, expr: &SqlExpr, index: &str) -> Result<u32, SqlError> {
        if let Expr::Tuple(_) = plain(&expr.expr) {
            return Err(SqlError::new(
                ErrorCode::FunctionalIndexRow,
                format!("Expression of functional index '{index}' cannot refer to a row value."),
            ));
        }
        if let Expr::Cast { array: true, .. } = plain(&expr.expr) {
            return Err(SqlError::not_supported("multi-valued index"));
        }
        if is_column(plain(&expr.expr)) {
            return Err(SqlError::new(
                ErrorCode::FunctionalIndexOnColumn,
                "Functional index on a column is not supported. Consider using a regular index instead.",
            ));
        }
        let text = print::expression(&expr.expr, &Names::Unqualified).map_err(|error| match error.code {
            ErrorCode::UnsupportedOnGeneratedColumn => disallowed(index),
            _ => error,
        })?;
        let id = self.table.next_column_id;
        self.table.next_column_id += 1;
        self.table.columns.push(Column {
            generated: Some(Generated { expression: text.into(), stored: false }),
            invisible: true,
            hidden: true,
            ..Column::plain(id, &format!("!hidden!{id}"), SqlType::Null, true)
        });
        if self.table.columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(ErrorCode::TooManyFields, "Too many columns"));
        }
        Ok(id)
    }

    /// Puts hidden columns behind the others, and gives them the types that their expressions have over the columns as they
    /// are now.
    pub(super) fn settle_hidden(&mut self, context: &mut dyn StatementContext) -> Result<(), SqlError> {
        self.table.forget_idle_columns();
        self.table.columns.sort_by_key(|c| c.hidden);
        let table = Arc::new(self.table.clone());
        for index in &table.indexes {
            for part in index.parts.iter().filter(|part| table.key_expression(part).is_some()) {
                let sql_type = type_of_part(&table, index, part, context)?;
                for column in self.table.columns.iter_mut().filter(|c| c.id == part.column) {
                    column.sql_type = sql_type.clone();
                }
            }
            if index.parts.iter().any(|part| table.key_expression(part).is_some()) {
                self.check_key_length(index)?;
            }
        }
        Ok(())
    }

    fn check_key_length(&self, index: &Index) -> Result<(), SqlError> {
        let mut bytes = 0;
        for part in &index.parts {
            bytes += part_length(self.table.indexed_column(part), part.prefix)?.0;
        }
        if bytes > KEY_BYTES_MAX {
            return Err(super::define::too_long_key());
        }
        Ok(())
    }
}

/// The type of a functional key part, whose expression is checked on the way.
fn type_of_part(
    table: &Arc<Table>,
    index: &Index,
    part: &assize_catalog::IndexPart,
    context: &mut dyn StatementContext,
) -> Result<SqlType, SqlError> {
    let ast = super::parse_stored(table.key_expression(part).unwrap_or_default())?;
    for name in print::columns(&ast) {
        let column = table.column(&name).ok_or_else(|| crate::bind::unknown_column(&name, CLAUSE))?;
        if column.auto_increment {
            return Err(SqlError::new(
                ErrorCode::FunctionalIndexRefersAutoIncrement,
                format!("Functional index '{}' cannot refer to an auto-increment column.", index.name),
            ));
        }
    }
    let bound = bind_over(&ast, table, CLAUSE, context)?;
    if !is_deterministic(&bound) {
        return Err(disallowed(&index.name));
    }
    match stored_type(&bound.sql_type) {
        SqlType::Json => Err(SqlError::new(
            ErrorCode::FunctionalIndexOnJson,
            "Cannot create a functional index on a function that returns a JSON or GEOMETRY value.",
        )),
        SqlType::Text { .. } | SqlType::Blob { .. } => Err(SqlError::new(
            ErrorCode::FunctionalIndexOnLob,
            "Cannot create a functional index on an expression that returns a BLOB or TEXT. Please consider using CAST.",
        )),
        sql_type => Ok(sql_type),
    }
}

/// An expression without the parentheses around it.
fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => plain(inner),
        other => other,
    }
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(ident) => ident.quote_style.is_some() || !ident.value.starts_with('@'),
        Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

fn disallowed(index: &str) -> SqlError {
    SqlError::new(
        ErrorCode::FunctionalIndexFunction,
        format!("Expression of functional index '{index}' contains a disallowed function."),
    )
}

/// Error 3837 if a functional key part needs this column.
pub(super) fn depends(column: &str) -> SqlError {
    SqlError::new(
        ErrorCode::DependentByFunctionalIndex,
        format!("Column '{column}' has a functional index dependency and cannot be dropped or renamed."),
    )
}

/// What is said of a value that a hidden column cannot store: its index has a name, it has none.
pub(crate) fn of_index(
    table: &Table,
    column: &Column,
    code: ErrorCode,
    row: u64,
) -> Option<(ErrorCode, String)> {
    let holds = |index: &&Index| index.parts.iter().any(|p| p.column == column.id);
    let index = &table.indexes.iter().find(holds)?.name;
    Some(match code {
        ErrorCode::DataTruncatedForColumn => (
            ErrorCode::FunctionalIndexTruncated,
            format!("Data truncated for functional index '{index}' at row {row}"),
        ),
        ErrorCode::WarnDataOutOfRange => (
            ErrorCode::FunctionalIndexOutOfRange,
            format!("Value is out of range for functional index '{index}' at row {row}"),
        ),
        ErrorCode::DataTooLong => {
            (ErrorCode::FunctionalIndexTooLong, format!("Data too long for functional index '{index}'."))
        }
        _ => return None,
    })
}
