//! Why a transaction lost, in words: which row, to whom, how long ago. What is told is kept in the
//! [`crate::ConflictLog`] under the same id.

use crate::activity::cut;
use crate::chronicle::Ago;
use crate::services::Services;
use crate::txn::Txn;
use assize_catalog::{Catalog, Index, Table, key};
use assize_codec::order;
use assize_model::{
    AbortReason, AccessGroup, Conflict, ErrorCode, IndexId, Key, KeyHash, Slot, SqlError, TableId, TxnId,
    Winner,
};
use assize_ports::{ConflictRecord, ConflictSide};
use assize_values::{SqlType, format};
use bytes::Bytes;
use std::fmt;

/// Bit that marks the existence key beside a row's key.
const EXISTENCE_BIT: u16 = 0x8000;

/// An abort as the client is told of it, and the id under which it is kept.
pub(crate) struct Explained {
    pub(crate) error: SqlError,
    pub(crate) conflict: String,
}

/// What is known of an abort besides the transaction itself.
struct Lost {
    /// The loser's id, or the one in whose name it waited.
    txn: Option<TxnId>,
    kind: &'static str,
    place: Place,
    winner: Option<Winner>,
}

/// Where transactions met. Parts that are not known are empty.
#[derive(Default)]
struct Place {
    table: String,
    index: String,
    /// The key, or words that stand for it.
    key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.table, &self.index, &self.key].map(String::as_str);
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { f.write_str("a row that was read") } else { f.write_str(&parts.join(" ")) }
    }
}

/// Keys in records are cut here; the error tells them whole.
const KEY_BYTES_MAX: usize = 512;

/// A refused transaction: what its client gets, and what is kept.
pub(crate) fn abort(
    txn: &Txn,
    services: &Services,
    groups: &[AccessGroup],
    id: TxnId,
    reason: &AbortReason,
) -> Explained {
    let kind = kind(reason);
    if let AbortReason::Conflict(conflict) = reason {
        let place = place_of_conflict(txn, groups, conflict);
        let winner = match conflict.winner {
            Some(winner) => {
                // Whoever won against it has committed after its snapshot.
                let ago = services.ago(winner.commit_ts, txn.begun_micros());
                let when = match ago.about_micros() {
                    Some(micros) => format!("{} ms before", micros / 1000),
                    None => format!("at most {} ms before", ago.at_most_micros().div_ceil(1000)),
                };
                format!("transaction {}, committed {when}", winner.txn)
            }
            None => "a transaction that committed first".to_owned(),
        };
        let on = place.to_string();
        let name = keep(txn, services, Lost { txn: Some(id), kind, place, winner: conflict.winner });
        let text = format!("conflict {name} on {on}: lost to {winner}; retry the transaction");
        return Explained { error: SqlError::new(ErrorCode::Deadlock, text), conflict: name };
    }
    let place = match reason {
        AbortReason::SchemaChanged { table } | AbortReason::RangeKeysMissing { table } => {
            Place { table: table_name(txn.catalog(), *table), ..Place::default() }
        }
        _ => Place::default(),
    };
    let (code, text) = refusal(txn.catalog(), id, reason);
    named(txn, services, Lost { txn: Some(id), kind, place, winner: None }, code, &text)
}

/// A participant refused to prepare.
pub(crate) fn refused(txn: &Txn, services: &Services, id: TxnId, error: &SqlError) -> Explained {
    let lost = Lost { txn: Some(id), kind: "prepare refused", place: Place::default(), winner: None };
    named(txn, services, lost, error.code, &error.message)
}

/// A snapshot that a shard can no longer read.
pub(crate) fn snapshot_too_old(txn: &Txn, services: &Services, error: &SqlError) -> Explained {
    let kind = kind(&AbortReason::SnapshotTooOld);
    let lost = Lost { txn: None, kind, place: Place::default(), winner: None };
    named(txn, services, lost, error.code, &error.message)
}

/// A wait for rows that others hold came to nothing: in a deadlock, or because the time passed. Who holds them is not
/// known here.
pub(crate) fn waited(
    txn: &Txn,
    services: &Services,
    owner: TxnId,
    keys: &[(Slot, Key)],
    code: ErrorCode,
) -> Explained {
    let (kind, text) = match code {
        ErrorCode::Deadlock => {
            ("deadlock", "Deadlock found when trying to get lock; try restarting transaction")
        }
        _ => ("lock wait timeout", "Lock wait timeout exceeded; try restarting transaction"),
    };
    let place = match keys {
        [] => Place::default(),
        [(_, key), others @ ..] => {
            let table = key::table_of(key).unwrap_or_default();
            let mut place = place_of(txn, table, key);
            if !others.is_empty() {
                place.key = format!("{} rows, {} the first", keys.len(), place.key);
            }
            place
        }
    };
    named(txn, services, Lost { txn: Some(owner), kind, place, winner: None }, code, text)
}

/// Keeps an abort and puts its id behind the text.
fn named(txn: &Txn, services: &Services, lost: Lost, code: ErrorCode, text: &str) -> Explained {
    let conflict = keep(txn, services, lost);
    Explained { error: SqlError::new(code, format!("{text} ({conflict})")), conflict }
}

/// Keeps an abort; its id.
fn keep(txn: &Txn, services: &Services, lost: Lost) -> String {
    let Lost { txn: id, kind, place, winner } = lost;
    let name = services.conflicts.draw_id();
    let by = txn.by();
    let ago = winner.map(|winner| services.ago(winner.commit_ts, txn.begun_micros()));
    let before = ago.and_then(Ago::about_micros);
    services.conflicts.keep(ConflictRecord {
        id: name.clone(),
        at_micros: services.clock.now_micros(),
        kind: kind.to_owned(),
        table: place.table,
        index: place.index,
        key: cut(&place.key, KEY_BYTES_MAX),
        loser: ConflictSide {
            txn: id.map_or_else(String::new, |id| id.to_string()),
            node: 0,
            connection: by.connection,
            user: by.user.to_string(),
            statements: txn.trail().texts(),
            age_micros: Some(txn.age_micros()),
        },
        winner: winner
            .map(|winner| ConflictSide { txn: winner.txn.to_string(), ..ConflictSide::default() })
            .unwrap_or_default(),
        committed_before_micros: before,
        committed_before_at_most_micros: ago.filter(|_| before.is_none()).map(Ago::at_most_micros),
        was_retried: false,
    });
    name
}

/// What an abort is called in lists.
fn kind(reason: &AbortReason) -> &'static str {
    match reason {
        AbortReason::Conflict(_) => "conflict",
        AbortReason::SchemaChanged { .. } | AbortReason::CatalogChanged { .. } => "schema changed",
        AbortReason::SnapshotTooOld => "snapshot too old",
        AbortReason::ShardUnavailable { .. } => "shard unavailable",
        AbortReason::FrontendFenced { .. } => "frontend fenced",
        AbortReason::OutcomesFull => "too many outcomes",
        AbortReason::DeadlinePassed => "deadline passed",
        AbortReason::Resolved => "resolved",
        AbortReason::FromTheFuture => "id from the future",
        AbortReason::StaleEpoch { .. } => "shards moved",
        AbortReason::RangeKeysMissing { .. } => "range tracking switched on",
        AbortReason::NeedRefresh { .. } => "conflict window too short",
    }
}

/// The error for whatever is not a conflict over a key.
fn refusal(catalog: &Catalog, id: TxnId, reason: &AbortReason) -> (ErrorCode, String) {
    let changed = "Table definition has changed, please retry transaction";
    match reason {
        AbortReason::SchemaChanged { table } => {
            (ErrorCode::TableDefinitionChanged, format!("{changed}: {}", table_name(catalog, *table)))
        }
        AbortReason::CatalogChanged { .. } => {
            (ErrorCode::TableDefinitionChanged, format!("{changed}: another schema change came first"))
        }
        AbortReason::SnapshotTooOld => (
            ErrorCode::SnapshotTooOldError,
            "the transaction's snapshot is below the low-water mark; retry the transaction".to_owned(),
        ),
        AbortReason::ShardUnavailable { shard } => (
            ErrorCode::ClusterUnavailable,
            format!("{shard} has no majority of its replicas; the transaction was rolled back"),
        ),
        AbortReason::FrontendFenced { .. } => (
            ErrorCode::ClusterUnavailable,
            "this frontend was fenced because it had fallen silent; the transaction was rolled back; it begins again by \
             itself: retry the transaction"
                .to_owned(),
        ),
        AbortReason::OutcomesFull => (
            ErrorCode::ClusterUnavailable,
            "the adjudicator holds too many outcomes; try again later".to_owned(),
        ),
        AbortReason::Conflict(_)
        | AbortReason::DeadlinePassed
        | AbortReason::Resolved
        | AbortReason::FromTheFuture
        | AbortReason::StaleEpoch { .. }
        | AbortReason::RangeKeysMissing { .. }
        | AbortReason::NeedRefresh { .. } => (
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

fn place_of_conflict(txn: &Txn, groups: &[AccessGroup], conflict: &Conflict) -> Place {
    let catalog = txn.catalog();
    if let Some((table, key)) = conflict.key.and_then(|hash| txn.key_of(hash)) {
        return place_of(txn, table, &key);
    }
    let Some((group, range)) = conflict.range else { return Place::default() };
    match groups.get(group as usize).and_then(|g| g.ranges.get(range as usize)) {
        Some(range) => Place {
            table: table_name(catalog, range.table),
            index: index_name(catalog, range.table, &range.range.start),
            key: "(a range that was read)".to_owned(),
        },
        None => Place { key: "a range that was read".to_owned(), ..Place::default() },
    }
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
fn place_of(txn: &Txn, id: TableId, key: &Key) -> Place {
    let catalog = txn.catalog();
    let table_name = table_name(catalog, id);
    let found = catalog.tables.get(&id).and_then(|table| Some((table, index_of(table, key)?)));
    let Some((table, index)) = found else { return Place { table: table_name, ..Place::default() } };
    let values = txn
        .own_row(key)
        .filter(|_| key::index_of(key) == Some(IndexId(0)))
        .and_then(|row| values_of_row(table, index, &row))
        .unwrap_or_else(|| values_of_key(table, index, key, txn.services().hash(key)));
    Place { table: table_name, index: index.name.to_string(), key: format!("({values})") }
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
/// weights only. Digits of the key's hash stand for the rest, so that two keys are told apart.
fn values_of_key(table: &Table, index: &Index, key: &Key, hash: KeyHash) -> String {
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
                out.push(format!("…{:08x}", hash.0 >> 32));
                break;
            }
        }
    }
    out.join(", ")
}
