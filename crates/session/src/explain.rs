//! Why a transaction lost, in words: which row, to whom, how long ago.

use crate::services::Services;
use crate::txn::Txn;
use assize_catalog::{Catalog, Index, Table, key};
use assize_codec::order;
use assize_model::{AbortReason, AccessGroup, Conflict, ErrorCode, IndexId, Key, SqlError, TableId, TxnId};
use assize_values::{SqlType, format};
use bytes::Bytes;

/// Bit that marks the existence key beside a row's key.
const EXISTENCE_BIT: u16 = 0x8000;

/// The error that a refused transaction's client gets.
pub(crate) fn abort(
    txn: &Txn,
    services: &Services,
    groups: &[AccessGroup],
    id: TxnId,
    reason: &AbortReason,
) -> SqlError {
    let catalog = txn.catalog();
    match reason {
        AbortReason::Conflict(conflict) => conflict_error(txn, services, groups, id, conflict),
        AbortReason::SchemaChanged { table } => SqlError::new(
            ErrorCode::TableDefinitionChanged,
            format!(
                "Table definition has changed, please retry transaction: {}",
                table_name(catalog, *table)
            ),
        ),
        AbortReason::CatalogChanged { .. } => SqlError::new(
            ErrorCode::TableDefinitionChanged,
            "Table definition has changed, please retry transaction: another schema change came first",
        ),
        AbortReason::SnapshotTooOld => SqlError::new(
            ErrorCode::SnapshotTooOldError,
            "the transaction's snapshot is below the low-water mark; retry the transaction",
        ),
        AbortReason::ShardUnavailable { shard } => SqlError::new(
            ErrorCode::ClusterUnavailable,
            format!("{shard} has no majority of its replicas; the transaction was rolled back"),
        ),
        AbortReason::FrontendFenced { .. } => SqlError::new(
            ErrorCode::ClusterUnavailable,
            "this frontend was fenced because it had fallen silent; the transaction was rolled back; connect again",
        ),
        AbortReason::OutcomesFull => SqlError::new(
            ErrorCode::ClusterUnavailable,
            "the adjudicator holds too many outcomes; try again later",
        ),
        AbortReason::DeadlinePassed
        | AbortReason::Resolved
        | AbortReason::FromTheFuture
        | AbortReason::StaleEpoch { .. }
        | AbortReason::RangeKeysMissing { .. }
        | AbortReason::NeedRefresh { .. } => SqlError::new(
            ErrorCode::Deadlock,
            format!("transaction {id} was rolled back: {}; retry the transaction", plain(reason)),
        ),
    }
}

fn plain(reason: &AbortReason) -> &'static str {
    match reason {
        AbortReason::DeadlinePassed => "its deadline passed before it was decided",
        AbortReason::Resolved => "it was aborted because somebody needed to know its outcome",
        AbortReason::FromTheFuture => "its id lies ahead of the adjudicator's time",
        AbortReason::StaleEpoch { .. } => "shards were moved while it committed",
        AbortReason::RangeKeysMissing { .. } => "range tracking was switched on while it committed",
        _ => "what it read is no longer remembered",
    }
}

fn conflict_error(
    txn: &Txn,
    services: &Services,
    groups: &[AccessGroup],
    id: TxnId,
    conflict: &Conflict,
) -> SqlError {
    let catalog = txn.catalog();
    let place = match (conflict.key.and_then(|hash| txn.key_of(hash)), conflict.range) {
        (Some((table, key)), _) => place_of(catalog, table, &key, txn.own_row(&key)),
        (None, Some((group, range))) => {
            let range = groups.get(group as usize).and_then(|g| g.ranges.get(range as usize));
            match range {
                Some(range) => format!(
                    "{} {} (a range that was read)",
                    table_name(catalog, range.table),
                    index_name(catalog, range.table, &range.range.start)
                ),
                None => "a range that was read".to_owned(),
            }
        }
        (None, None) => "a row that was read".to_owned(),
    };
    let winner = match conflict.winner {
        Some(winner) => {
            let age = services.now().since(winner.commit_ts).as_millis();
            format!("transaction {}, committed {age} ms before", winner.txn)
        }
        None => "a transaction that committed first".to_owned(),
    };
    // Names the conflict in logs and in what a user reports.
    let name = (id.0 ^ id.0 >> 64) as u64;
    let name = (name ^ name >> 32 ^ name >> 16) as u16;
    SqlError::new(
        ErrorCode::Deadlock,
        format!("conflict c-{name:04x} on {place}: lost to {winner}; retry the transaction"),
    )
}

fn table_name(catalog: &Catalog, table: TableId) -> String {
    match catalog.tables.get(&table) {
        Some(table) => format!("{}.{}", table.database, table.name),
        None => table.to_string(),
    }
}

fn index_of<'a>(table: &'a Table, key: &Key) -> Option<&'a Index> {
    let id = IndexId(key::index_of(key)?.0 & !EXISTENCE_BIT);
    table.indexes.iter().find(|index| index.id == id)
}

fn index_name(catalog: &Catalog, table: TableId, key: &Key) -> String {
    let index = catalog.tables.get(&table).and_then(|table| index_of(table, key));
    index.map_or_else(|| "PRIMARY".to_owned(), |index| index.name.to_string())
}

/// `shop.stock PRIMARY (42)`.
fn place_of(catalog: &Catalog, id: TableId, key: &Key, row: Option<Bytes>) -> String {
    let Some(table) = catalog.tables.get(&id) else { return id.to_string() };
    let Some(index) = index_of(table, key) else { return table_name(catalog, id) };
    let values = row
        .filter(|_| key::index_of(key) == Some(IndexId(0)))
        .and_then(|row| values_of_row(table, index, &row))
        .unwrap_or_else(|| values_of_key(table, index, key));
    format!("{} {} ({values})", table_name(catalog, id), index.name)
}

/// The indexed columns of a row as literals.
fn values_of_row(table: &Table, index: &Index, row: &Bytes) -> Option<String> {
    let row = key::decode_row(table, row).ok()?;
    let literals: Vec<String> = index
        .parts
        .iter()
        .map(|part| format::literal(table.value_of(part, &row), &table.indexed_column(part).sql_type))
        .collect();
    Some(literals.join(", "))
}

/// The indexed columns as far as a key tells them: integers can be read back, text is there by its collation's
/// weights only and is left out.
fn values_of_key(table: &Table, index: &Index, key: &Key) -> String {
    let mut reader = order::KeyReader::new(&key.0[key::PREFIX_LEN.min(key.0.len())..]);
    let mut out = Vec::new();
    for part in &index.parts {
        let value = match table.indexed_column(part).sql_type {
            SqlType::Int(int) if !part.descending => match reader.has_value() {
                Ok(true) if int.unsigned => reader.u64().ok().map(|n| n.to_string()),
                Ok(true) => reader.i64().ok().map(|n| n.to_string()),
                Ok(false) => Some("NULL".to_owned()),
                Err(_) => None,
            },
            _ => None,
        };
        match value {
            Some(value) => out.push(value),
            None => {
                out.push("…".to_owned());
                break;
            }
        }
    }
    out.join(", ")
}
