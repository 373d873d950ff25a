//! Why a transaction lost, in words: which row, to whom, how long ago. What is told is kept in the
//! [`crate::ConflictLog`] under the same id.

use crate::activity::cut;
use crate::chronicle::Ago;
use crate::services::Services;
use crate::txn::Txn;
use assize_catalog::{Catalog, FOREIGN_BRANCHES, Index, ObjectKey, Table, key};
use assize_codec::order;
use assize_model::{
    AbortReason, AccessGroup, Conflict, ErrorCode, Key, KeyHash, SchemaVersion, Slot, SqlError, TableId,
    Timestamp, TxnId, Winner,
};
use assize_ports::{ConflictRecord, ConflictSide, DEADLOCK, LOCK_WAIT_TIMEOUT, Obstacle, SCHEMA_CHANGED};
use assize_values::{SqlType, format};
use bytes::Bytes;
use futures_util::future::{Either, join, select};
use std::fmt;
use std::future::Future;

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
    /// Who came first. Whoever has not committed, but holds what was waited for, has a timestamp of zero.
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
/// Whoever has lost waits no longer than this for what explains it.
const LOOKED_FOR_MICROS_MAX: u64 = 500_000;

/// A refused transaction: what its client gets, and what is kept.
pub(crate) async fn abort(
    txn: &Txn,
    services: &Services,
    groups: &[AccessGroup],
    id: TxnId,
    reason: &AbortReason,
) -> Explained {
    let kind = kind(reason);
    if let AbortReason::Conflict(conflict) = reason {
        let place = place_of_conflict(txn, groups, conflict).await;
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
    let (code, mut text) = refusal(txn.catalog(), id, reason);
    let (place, winner) = match reason {
        AbortReason::SchemaChanged { table } => {
            let winner = who(txn, Obstacle::Fence(*table));
            join(place_of_change(txn, *table), winner).await
        }
        AbortReason::CatalogChanged { object } => {
            (place_of_object(object), who(txn, Obstacle::Object(object.clone())).await)
        }
        AbortReason::RangeKeysMissing { table } => {
            (Place { table: table_name(txn.catalog(), *table), ..Place::default() }, None)
        }
        _ => (Place::default(), None),
    };
    if let Some(winner) = winner {
        text.push_str(&format!(", changed by transaction {}", winner.txn));
    }
    named(txn, services, Lost { txn: Some(id), kind, place, winner }, code, &text)
}

/// Whose an obstacle is, if the adjudicator's leader remembers.
pub(crate) async fn who(txn: &Txn, obstacle: Obstacle) -> Option<Winner> {
    soon(txn, async { txn.services().adjudicator.who(obstacle).await.ok().flatten() }).await
}

/// What explains an abort, if it is found soon enough. What runs again at once does not wait for what no client will read.
async fn soon<T>(txn: &Txn, found: impl Future<Output = Option<T>> + Send) -> Option<T> {
    if txn.runs_again() {
        return None;
    }
    match select(Box::pin(found), txn.services().clock.sleep(LOOKED_FOR_MICROS_MAX)).await {
        Either::Left((found, _)) => found,
        Either::Right(_) => None,
    }
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

/// A wait for rows that others hold came to nothing: in a deadlock, or because the time passed.
pub(crate) async fn waited(
    txn: &Txn,
    services: &Services,
    owner: TxnId,
    keys: &[(Slot, Key)],
    holder: Option<Winner>,
    code: ErrorCode,
) -> Explained {
    let (kind, text) = match code {
        ErrorCode::Deadlock => {
            (DEADLOCK, "Deadlock found when trying to get lock; try restarting transaction")
        }
        _ => (LOCK_WAIT_TIMEOUT, "Lock wait timeout exceeded; try restarting transaction"),
    };
    let place = match keys {
        [] => Place::default(),
        [(slot, key), others @ ..] => {
            let table = key::table_of(key).unwrap_or_default();
            let mut place = place_of(txn, table, Some(*slot), key).await;
            if !others.is_empty() {
                place.key = format!("{} rows, {} the first", keys.len(), place.key);
            }
            place
        }
    };
    let text = match holder {
        Some(holder) => format!("{text}: held by transaction {}", holder.txn),
        None => text.to_owned(),
    };
    named(txn, services, Lost { txn: Some(owner), kind, place, winner: holder }, code, &text)
}

/// Keeps an abort and puts its id behind the text.
fn named(txn: &Txn, services: &Services, lost: Lost, code: ErrorCode, text: &str) -> Explained {
    let conflict = keep(txn, services, lost);
    Explained { error: SqlError::new(code, format!("{text} ({conflict})")), conflict }
}

/// Keeps an abort; its id.
fn keep(txn: &Txn, services: &Services, lost: Lost) -> String {
    let Lost { txn: id, kind, place, winner: other } = lost;
    let winner = other.filter(|other| other.commit_ts != Timestamp::ZERO);
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
        winner: other
            .map(|other| ConflictSide { txn: other.txn.to_string(), ..ConflictSide::default() })
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
        AbortReason::SchemaChanged { .. } | AbortReason::CatalogChanged { .. } => SCHEMA_CHANGED,
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

async fn place_of_conflict(txn: &Txn, groups: &[AccessGroup], conflict: &Conflict) -> Place {
    let catalog = txn.catalog();
    if let Some((table, key)) = conflict.key.and_then(|hash| txn.key_of(hash)) {
        return place_of(txn, table, txn.slot_of(&key), &key).await;
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

/// A table whose definition has changed: from which version to which, if that can be told.
async fn place_of_change(txn: &Txn, id: TableId) -> Place {
    let versions = |planned: SchemaVersion, newest: Option<SchemaVersion>| match newest {
        Some(newest) if newest == planned => String::new(),
        Some(newest) => format!("version {}, planned with version {}", newest.0, planned.0),
        None => "dropped".to_owned(),
    };
    let newest = soon(txn, txn.newest_version_of(id)).await;
    let words = txn.planned_with(id).zip(newest).map(|(planned, newest)| versions(planned, newest));
    Place { table: table_name(txn.catalog(), id), key: words.unwrap_or_default(), ..Place::default() }
}

/// An object of the catalog that is no longer as it was.
fn place_of_object(object: &[u8]) -> Place {
    let words = |key: String| Place { key, ..Place::default() };
    match ObjectKey::decode(object) {
        Some(ObjectKey::Table(database, name)) => {
            Place { table: format!("{database}.{name}"), ..Place::default() }
        }
        Some(ObjectKey::Ids) => words("the numbers of new tables and databases".to_owned()),
        Some(ObjectKey::Database(name)) => words(format!("database {name}")),
        Some(ObjectKey::User(name, host)) => words(format!("user {name}@{host}")),
        Some(ObjectKey::Global(name)) => words(format!("variable {name}")),
        Some(ObjectKey::Dropped(id)) => words(format!("entry {id} of the recycle bin")),
        Some(ObjectKey::Server(name)) => words(format!("server {name}")),
        None => Place::default(),
    }
}

fn table_name(catalog: &Catalog, table: TableId) -> String {
    match catalog.tables.get(&table) {
        Some(table) => format!("{}.{}", table.database, table.name),
        // Somebody has found them prepared for too long.
        None if table == FOREIGN_BRANCHES => "the record of its branches on foreign servers".to_owned(),
        None => table.to_string(),
    }
}

fn index_of<'a>(table: &'a Table, key: &Key) -> Option<&'a Index> {
    let id = key::index_of(key)?;
    table.indexes.iter().find(|index| index.id == id)
}

fn index_name(catalog: &Catalog, table: TableId, key: &Key) -> String {
    let index = catalog.tables.get(&table).and_then(|table| index_of(table, key));
    index.map_or_else(|| "PRIMARY".to_owned(), |index| index.name.to_string())
}

/// `shop.stock PRIMARY (42)`. The slot is where the key lives, if that is known.
async fn place_of(txn: &Txn, id: TableId, slot: Option<Slot>, key: &Key) -> Place {
    let table_name = table_name(txn.catalog(), id);
    let parent = key::row_of_existence(key);
    let row_or_entry = parent.as_ref().unwrap_or(key);
    let table = txn.catalog().tables.get(&id);
    let found = table.and_then(|table| Some((table, index_of(table, row_or_entry)?)));
    let Some((table, index)) = found else { return Place { table: table_name, ..Place::default() } };
    let values = match values_of_key(table, index, row_or_entry, txn.services().hash(key)) {
        Ok(values) => values,
        Err(some) => {
            let row = match (txn.own_row_behind(row_or_entry), slot) {
                (Some(row), _) => Some(row),
                (None, Some(slot)) => soon(txn, txn.stored_row_behind(slot, row_or_entry)).await,
                (None, None) => None,
            };
            row.and_then(|row| values_of_row(table, index, &row)).unwrap_or(some)
        }
    };
    let of_what = if parent.is_some() { ", a foreign key's parent" } else { "" };
    Place { table: table_name, index: index.name.to_string(), key: format!("({values}){of_what}") }
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
/// weights only. Digits of the key's hash stand for the rest, so that two keys are told apart. An error is not all of them.
fn values_of_key(table: &Table, index: &Index, key: &Key, hash: KeyHash) -> Result<String, String> {
    let mut reader = order::KeyReader::new(&key.0[key::PREFIX_LEN.min(key.0.len())..]);
    let digits = format!("…{:08x}", hash.0 >> 32);
    if index.parts.is_empty() {
        return reader.u64().map(|id| format!("hidden row {id}")).map_err(|_| digits);
    }
    let (mut out, mut is_whole) = (Vec::new(), true);
    for part in &index.parts {
        let told = value_of_part(&mut reader, &table.indexed_column(part).sql_type, part.descending);
        let (text, goes_on) = match told {
            Part::Told(text) => (text, true),
            Part::Passed => (digits.clone(), true),
            Part::Unread => (digits.clone(), false),
        };
        is_whole &= !text.starts_with('…');
        out.push(text);
        if !goes_on {
            break;
        }
    }
    let values = out.join(", ");
    if is_whole { Ok(values) } else { Err(values) }
}

/// What a key tells of a column.
enum Part {
    /// Its value.
    Told(String),
    /// Nothing but where it ends.
    Passed,
    /// Nothing.
    Unread,
}

fn value_of_part(reader: &mut order::KeyReader<'_>, sql_type: &SqlType, descending: bool) -> Part {
    let number = |told: Result<String, assize_codec::DecodeError>| told.map_or(Part::Unread, Part::Told);
    match (reader.descending(descending).has_value(), sql_type) {
        (Ok(false), _) => Part::Told("NULL".to_owned()),
        (Ok(true), SqlType::Int(int)) if int.unsigned => number(reader.u64().map(|n| n.to_string())),
        (Ok(true), SqlType::Int(_)) => number(reader.i64().map(|n| n.to_string())),
        (Ok(true), SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::Text { .. }) => {
            reader.skip_bytes().map_or(Part::Unread, |()| Part::Passed)
        }
        _ => Part::Unread,
    }
}
