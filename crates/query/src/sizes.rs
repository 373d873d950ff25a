//! How much tables hold, as information_schema and SHOW tell it: TABLE_ROWS, DATA_LENGTH, CARDINALITY and their like.
//!
//! Shards estimate it when they are asked, so they are asked only by statements that want one of these columns, and only about
//! what has not been told within `information_schema_stats_expiry`. NULL is what nobody knows.

use assize_catalog::{Index, Table};
use assize_model::TableId;
use assize_ports::{Freshness, StatementContext, TableSize};
use assize_values::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Columns of information_schema that tell it.
const COLUMNS: &[&str] = &["TABLE_ROWS", "AVG_ROW_LENGTH", "DATA_LENGTH", "INDEX_LENGTH", "CARDINALITY"];
/// So long a statement waits for shards at most, and takes what they told last then.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long ANALYZE TABLE does.
const ANALYZE_PATIENCE: Duration = Duration::from_secs(30);

/// Whether a column of information_schema tells how much a table holds.
pub(crate) fn is_told_by(column: &str) -> bool {
    COLUMNS.contains(&column)
}

/// The sizes of tables, as far as they are known.
pub(crate) async fn ask(
    tables: Vec<Arc<Table>>,
    context: &mut dyn StatementContext,
) -> BTreeMap<TableId, TableSize> {
    let expiry = match context.system_variable("information_schema_stats_expiry", None) {
        Ok(Value::Int(seconds)) => u64::try_from(seconds).unwrap_or(0),
        Ok(Value::UInt(seconds)) => seconds,
        _ => 0,
    };
    let freshness = Freshness { max_age: Duration::from_secs(expiry), patience: PATIENCE };
    ask_for(tables, freshness, context).await
}

/// The size of a table as of now: ANALYZE TABLE. `None` if it is not known, or not as of now.
pub(crate) async fn ask_anew(table: &Arc<Table>, context: &mut dyn StatementContext) -> Option<TableSize> {
    let freshness = Freshness { max_age: Duration::ZERO, patience: ANALYZE_PATIENCE };
    let sizes = ask_for(vec![table.clone()], freshness, context).await;
    sizes.get(&table.id).copied().filter(|size| size.is_current)
}

async fn ask_for(
    mut tables: Vec<Arc<Table>>,
    freshness: Freshness,
    context: &mut dyn StatementContext,
) -> BTreeMap<TableId, TableSize> {
    tables.retain(|table| table.is_on_shards() && !table.id.is_temporary());
    let Some(sizes) = context.server().table_sizes() else { return BTreeMap::new() };
    sizes.sizes(tables, freshness).await
}

/// TABLE_ROWS, AVG_ROW_LENGTH, DATA_LENGTH, MAX_DATA_LENGTH, INDEX_LENGTH and DATA_FREE of a table.
fn figures(size: Option<&TableSize>) -> [Value; 6] {
    let Some(TableSize { rows, row_bytes, index_bytes, .. }) = size else {
        return [Value::Null, Value::Null, Value::Null, Value::UInt(0), Value::Null, Value::UInt(0)];
    };
    [*rows, row_bytes / (*rows).max(1), *row_bytes, 0, *index_bytes, 0].map(Value::UInt)
}

/// Likewise, of this table: of a foreign one nothing is known.
pub(crate) fn figures_of(table: &Table, size: Option<&TableSize>) -> [Value; 6] {
    match table.foreign {
        None => figures(size),
        Some(_) => [const { Value::Null }; 6],
    }
}

/// CARDINALITY of a part of an index: as many as there are rows where a row is found by the columns up to it, and not known
/// elsewhere.
pub(crate) fn cardinality(size: Option<&TableSize>, index: &Index, part: usize) -> Value {
    match size {
        Some(size) if index.unique && part + 1 == index.parts.len() => {
            Value::Int(i64::try_from(size.rows).unwrap_or(i64::MAX))
        }
        _ => Value::Null,
    }
}
