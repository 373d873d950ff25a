//! Reading stored tables: keys to look up, ranges to scan, index entries to follow, rows to lock.
//!
//! ```text
//!   Points(primary) ──────────────────────────get_many──▶ rows
//!   Points(unique)  ──get_many──▶ entries ─────get_many──▶ rows
//!   Range, Full     ──scan──────▶ rows, or entries ──get_many──▶ rows
//! ```
//!
//! Rows that are read for locking are read twice: first plainly, so that only rows that satisfy the filter are
//! locked; then with the lock. If they changed in between they must satisfy the filter again, and still have an entry
//! where the index was searched: what the key has made true of the old row need not be true of the new one.

use super::{BATCH, Operator, retain, value};
use crate::expr::{Row, Runtime, to_f64};
use crate::plan::{Access, KeyPart, Scalar, Scan};
use assize_catalog::{Index, key, row::RowReader};
use assize_model::{Key, KeyRange, Slot, SqlError};
use assize_ports::{BoxFuture, Direction, LockMode, ReadIntent, ScanRequest, ScanShards};
use assize_values::{Decimal, EvalContext, SqlType, Value};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// First page of a scan whose reader wants few rows.
const SMALL_PAGE: usize = 16;

/// How a comparand relates to the values that a column can have.
#[derive(Clone, PartialEq, Debug)]
pub enum KeyValue {
    /// The column can have exactly this value.
    Exact(Value),
    /// It cannot; this value of the column is the nearest, and lies so beside the comparand.
    Near(Value, Ordering),
    /// NULL.
    Null,
    /// Cannot be told: the whole range must be read.
    Unknown,
}

/// A comparand as a value of a column's type.
pub fn key_value(value: &Value, sql_type: &SqlType, ctx: &mut EvalContext) -> KeyValue {
    if value.is_null() {
        return KeyValue::Null;
    }
    match sql_type {
        SqlType::Int(int) => {
            let (low, high) = int.width.range(int.unsigned);
            integer_key(value, low, high, int.unsigned)
        }
        SqlType::Year => match integer_key(value, 0, 2155, true) {
            KeyValue::Exact(Value::UInt(n)) if n == 0 || n > 1900 => KeyValue::Exact(Value::UInt(n)),
            _ => KeyValue::Unknown,
        },
        SqlType::Bit { length } => {
            let high = if *length >= 64 { u64::MAX as i128 } else { (1i128 << length) - 1 };
            match integer_key(value, 0, high, true) {
                KeyValue::Exact(Value::UInt(n)) => KeyValue::Exact(Value::Bit(n)),
                _ => KeyValue::Unknown,
            }
        }
        SqlType::Decimal { precision, scale, .. } => {
            let exact = match value {
                Value::Int(n) => Decimal::from(*n),
                Value::UInt(n) => Decimal::from(*n),
                Value::Decimal(d) => d.clone(),
                Value::Double(d) => match Decimal::from_f64(*d) {
                    Some(d) => d,
                    None => return KeyValue::Unknown,
                },
                Value::Text(text) => match Decimal::parse(text.trim()) {
                    Some(d) => d,
                    None => return KeyValue::Unknown,
                },
                _ => return KeyValue::Unknown,
            };
            let rounded = exact.truncate(*scale);
            if !rounded.fits(*precision, *scale) {
                return KeyValue::Unknown;
            }
            match rounded.compare(&exact) {
                Ordering::Equal => KeyValue::Exact(Value::Decimal(rounded)),
                beside => KeyValue::Near(Value::Decimal(rounded), beside),
            }
        }
        SqlType::Double { .. } => match value {
            Value::Int(_) | Value::UInt(_) | Value::Decimal(_) | Value::Float(_) | Value::Double(_) => {
                KeyValue::Exact(Value::Double(to_f64(value)))
            }
            _ => KeyValue::Unknown,
        },
        SqlType::Float { .. } => match value {
            Value::Int(_) | Value::UInt(_) | Value::Decimal(_) | Value::Float(_) | Value::Double(_) => {
                let wide = to_f64(value);
                let narrow = wide as f32;
                match f64::from(narrow).partial_cmp(&wide) {
                    Some(Ordering::Equal) => KeyValue::Exact(Value::Float(narrow)),
                    Some(beside) => KeyValue::Near(Value::Float(narrow), beside),
                    None => KeyValue::Unknown,
                }
            }
            _ => KeyValue::Unknown,
        },
        SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::Text { .. } => match value {
            Value::Text(_) => KeyValue::Exact(value.clone()),
            Value::Enum(_, label) | Value::Set(_, label) => KeyValue::Exact(Value::text(&**label)),
            _ => KeyValue::Unknown,
        },
        SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Blob { .. } => match value {
            Value::Bytes(_) => KeyValue::Exact(value.clone()),
            Value::Text(text) => KeyValue::Exact(Value::Bytes(text.bytes().clone())),
            _ => KeyValue::Unknown,
        },
        SqlType::Date | SqlType::Time { .. } | SqlType::DateTime { .. } | SqlType::Timestamp { .. } => {
            crate::expr::temporal_key(value, sql_type, ctx)
        }
        SqlType::Enum { labels, collation } => {
            let Value::Text(text) = value else {
                return match value {
                    Value::Enum(..) => KeyValue::Exact(value.clone()),
                    _ => KeyValue::Unknown,
                };
            };
            match labels.iter().position(|l| collation.equal(l, text)) {
                Some(at) => KeyValue::Exact(Value::Enum(at as u16 + 1, labels[at].clone())),
                None => KeyValue::Unknown,
            }
        }
        _ => KeyValue::Unknown,
    }
}

/// A literal as a value of a column's type, as far as that does not depend on the session.
pub fn literal_key(value: &Value, sql_type: &SqlType) -> KeyValue {
    if sql_type.is_temporal() {
        KeyValue::Unknown
    } else {
        key_value(value, sql_type, &mut EvalContext::default())
    }
}

fn integer_key(value: &Value, low: i128, high: i128, unsigned: bool) -> KeyValue {
    let make = |n: i128| if unsigned { Value::UInt(n as u64) } else { Value::Int(n as i64) };
    let (whole, beside) = match value {
        Value::Int(n) => (i128::from(*n), Ordering::Equal),
        Value::UInt(n) | Value::Bit(n) => (i128::from(*n), Ordering::Equal),
        Value::Decimal(d) => {
            let whole = d.truncate_to_i128();
            (whole, Decimal::from(whole).compare(d))
        }
        Value::Double(_) | Value::Float(_) | Value::Text(_) => {
            let d = match value {
                // Text that is no plain number compares as whatever number it begins with.
                Value::Text(text) => match text.trim().parse::<f64>() {
                    Ok(d) => d,
                    Err(_) => return KeyValue::Unknown,
                },
                other => to_f64(other),
            };
            // Beyond 2^53 several integers compare equal to one double.
            if !d.is_finite() || d.abs() > 9_007_199_254_740_992.0 {
                return KeyValue::Unknown;
            }
            let whole = d.trunc();
            (whole as i128, whole.partial_cmp(&d).unwrap_or(Ordering::Equal))
        }
        _ => return KeyValue::Unknown,
    };
    if whole < low {
        return KeyValue::Near(make(low), Ordering::Greater);
    }
    if whole > high {
        return KeyValue::Near(make(high), Ordering::Less);
    }
    match beside {
        Ordering::Equal => KeyValue::Exact(make(whole)),
        beside => KeyValue::Near(make(whole), beside),
    }
}

/// What a scan reads, once its key is known.
#[derive(Debug)]
pub enum Target {
    /// Single keys of the primary index or of a unique one.
    Keys(VecDeque<(Slot, Key)>),
    /// Ranges of an index.
    Ranges(VecDeque<(KeyRange, ScanShards)>),
}

/// Finds what a scan reads; `driving` is the row that its key's expressions are over.
pub async fn target(scan: &Scan, driving: &[Value], rt: &mut Runtime<'_>) -> Result<Target, SqlError> {
    let table = &scan.table;
    match &scan.access {
        Access::Full { index } => {
            let range = key::index_range(table.id, table.indexes[*index].id);
            Ok(Target::Ranges([(range, ScanShards::All)].into()))
        }
        Access::Points { index, parts } => {
            let index = &table.indexes[*index];
            let Some(keys) = combinations(scan, index, parts, driving, rt).await? else {
                // Some comparand is not a value of its column: read it all, the filter decides.
                let range = key::index_range(table.id, index.id);
                return Ok(Target::Ranges([(range, ScanShards::All)].into()));
            };
            let mut found: Vec<(Slot, Key)> = Vec::with_capacity(keys.len());
            for values in keys {
                if index.is_primary() {
                    let key = table.row_key_of(&values);
                    match table.slot_of_primary(&values) {
                        Some(slot) => found.push((slot, key)),
                        None => {
                            let range = key::index_range(table.id, index.id);
                            return Ok(Target::Ranges([(range, ScanShards::All)].into()));
                        }
                    }
                } else {
                    found.push(table.unique_key(index, &values));
                }
            }
            if found.len() > 1 {
                found.sort_by(|a, b| a.1.cmp(&b.1));
                found.dedup_by(|a, b| a.1 == b.1);
                if scan.reverse {
                    found.reverse();
                }
            }
            Ok(Target::Keys(found.into()))
        }
        Access::Range { index, parts, lower, upper } => {
            let index = &table.indexes[*index];
            let prefixes = match combinations(scan, index, parts, driving, rt).await? {
                Some(prefixes) => prefixes,
                None => {
                    let range = key::index_range(table.id, index.id);
                    return Ok(Target::Ranges([(range, ScanShards::All)].into()));
                }
            };
            let low = bound(scan, index, parts.len(), lower.as_ref(), driving, rt).await?;
            let high = bound(scan, index, parts.len(), upper.as_ref(), driving, rt).await?;
            if matches!(low, Bound::Nothing) || matches!(high, Bound::Nothing) {
                return Ok(Target::Ranges(VecDeque::new()));
            }
            let mut ranges: Vec<(KeyRange, ScanShards)> = Vec::with_capacity(prefixes.len());
            for values in prefixes {
                let range = range_of(scan, index, &values, &low, &high, lower.is_some() || upper.is_some());
                if !range.is_empty() {
                    ranges.push((range, shards_of(scan, index, &values)));
                }
            }
            if ranges.len() > 1 {
                ranges.sort_by(|a, b| a.0.cmp(&b.0));
                ranges.dedup();
                if scan.reverse {
                    ranges.reverse();
                }
            }
            Ok(Target::Ranges(ranges.into()))
        }
    }
}

/// Every combination of values for the first columns of an index; `None` if some value cannot be told.
async fn combinations(
    scan: &Scan,
    index: &Index,
    parts: &[KeyPart],
    driving: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Option<Vec<Vec<Value>>>, SqlError> {
    let mut all: Vec<Vec<Value>> = vec![Vec::with_capacity(parts.len())];
    for (part, column) in parts.iter().zip(&index.parts) {
        let sql_type = &scan.table.indexed_column(column).sql_type;
        let mut values = Vec::with_capacity(part.values.len());
        for scalar in &part.values {
            let comparand = value(scalar, driving, rt).await?;
            match key_value(&comparand, sql_type, rt.context.eval()) {
                KeyValue::Exact(value) => values.push(value),
                KeyValue::Null if part.null_matches => values.push(Value::Null),
                // Nothing equals NULL, or a value that the column cannot have.
                KeyValue::Null | KeyValue::Near(..) => {}
                KeyValue::Unknown => return Ok(None),
            }
        }
        if let ([one], [_]) = (values.as_slice(), all.as_slice()) {
            all[0].push(one.clone());
            continue;
        }
        let mut next = Vec::with_capacity(all.len() * values.len());
        for prefix in &all {
            for value in &values {
                let mut longer = prefix.clone();
                longer.push(value.clone());
                next.push(longer);
            }
        }
        all = next;
    }
    Ok(Some(all))
}

enum Bound {
    /// No bound on this side.
    Open,
    /// At this value, included or not.
    At(Value, bool),
    /// The comparand is NULL: nothing satisfies the range.
    Nothing,
}

async fn bound(
    scan: &Scan,
    index: &Index,
    at: usize,
    bound: Option<&(Scalar, bool)>,
    driving: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Bound, SqlError> {
    let Some((scalar, included)) = bound else { return Ok(Bound::Open) };
    let Some(part) = index.parts.get(at) else { return Ok(Bound::Open) };
    let sql_type = &scan.table.indexed_column(part).sql_type;
    let comparand = value(scalar, driving, rt).await?;
    Ok(match key_value(&comparand, sql_type, rt.context.eval()) {
        KeyValue::Null => Bound::Nothing,
        KeyValue::Unknown => Bound::Open,
        KeyValue::Exact(value) => Bound::At(value, *included),
        // The nearest value itself is out or in by where it lies, which the caller's side decides.
        KeyValue::Near(value, beside) => Bound::At(value, is_within(scan, bound, beside)),
    })
}

/// Whether the nearest value satisfies a bound that lies beside it.
fn is_within(scan: &Scan, bound: Option<&(Scalar, bool)>, beside: Ordering) -> bool {
    let is_lower = match &scan.access {
        Access::Range { lower: Some(lower), .. } => bound.is_some_and(|b| std::ptr::eq(b, lower)),
        _ => false,
    };
    if is_lower { beside == Ordering::Greater } else { beside == Ordering::Less }
}

/// The keys of one prefix between two bounds.
fn range_of(
    scan: &Scan,
    index: &Index,
    prefix: &[Value],
    low: &Bound,
    high: &Bound,
    ranged: bool,
) -> KeyRange {
    let table = &scan.table;
    let seek = table.index_seek(index, prefix);
    let whole = KeyRange::prefix(&seek);
    if !ranged {
        return whole;
    }
    let Some(part) = index.parts.get(prefix.len()) else { return whole };
    let sql_type = &table.indexed_column(part).sql_type;
    let encoded = |value: &Value| {
        let mut bytes = seek.clone();
        key::put_part(&mut bytes, value, sql_type, part);
        KeyRange::prefix(&bytes)
    };
    // NULL satisfies no comparison.
    let null = encoded(&Value::Null);
    let (mut start, mut end) =
        if part.descending { (whole.start, null.start) } else { (null.end, whole.end) };
    let mut raise = |key: Key| start = std::cmp::max(std::mem::take(&mut start), key);
    let mut cut = |key: Key| end = std::cmp::min(std::mem::take(&mut end), key);
    for (bound, is_low) in [(low, true), (high, false)] {
        if let Bound::At(value, included) = bound {
            let at = encoded(value);
            match (is_low != part.descending, included) {
                (true, true) => raise(at.start),
                (true, false) => raise(at.end),
                (false, true) => cut(at.end),
                (false, false) => cut(at.start),
            }
        }
    }
    KeyRange::new(start, end)
}

/// Which shards hold the rows of a prefix.
fn shards_of(scan: &Scan, index: &Index, values: &[Value]) -> ScanShards {
    if index.unique && !index.is_primary() {
        return ScanShards::All;
    }
    let Some(sharding) = scan.table.sharding_column else { return ScanShards::All };
    let column = &scan.table.columns[sharding];
    let at = index.parts.iter().position(|p| p.column == column.id && p.prefix.is_none());
    match at.and_then(|at| values.get(at)) {
        Some(value) => ScanShards::Slot(key::slot_of_value(value, &column.sql_type)),
        None => ScanShards::All,
    }
}

/// A stored row as the columns that a scan reads.
pub fn decode(scan: &Scan, key: &Key, bytes: &Bytes) -> Result<Row, SqlError> {
    if scan.ordinals.is_empty() {
        return Ok(Vec::new());
    }
    let reader = RowReader::new(bytes)?;
    let mut row = Vec::with_capacity(scan.ordinals.len());
    for ordinal in &scan.ordinals {
        if *ordinal == scan.table.columns.len() {
            row.push(hidden_id(key));
        } else {
            row.push(reader.value(&scan.table, *ordinal)?);
        }
    }
    Ok(row)
}

/// The hidden id at the end of a row key.
fn hidden_id(key: &Key) -> Value {
    let bytes = &key.0;
    let id = bytes.len().checked_sub(8).and_then(|at| bytes[at..].first_chunk::<8>());
    id.map_or(Value::Null, |id| Value::UInt(u64::from_be_bytes(*id)))
}

/// Where a secondary index is searched. A row that has changed since its entry was read must still have one there.
#[derive(Debug)]
enum Sought {
    /// These keys of a unique index.
    Keys(HashSet<Key>),
    /// These ranges, in ascending order; they do not overlap.
    Ranges(Vec<KeyRange>),
}

impl Sought {
    fn of(target: &Target) -> Self {
        match target {
            Target::Keys(keys) => Sought::Keys(keys.iter().map(|(_, key)| key.clone()).collect()),
            Target::Ranges(ranges) => {
                let mut ranges: Vec<KeyRange> = ranges.iter().map(|(range, _)| range.clone()).collect();
                ranges.sort();
                Sought::Ranges(ranges)
            }
        }
    }

    /// Whether the entry of a row, as the row is now, is there.
    fn has(&self, scan: &Scan, (slot, key): (Slot, &Key), bytes: &Bytes) -> Result<bool, SqlError> {
        let row = key::decode_row(&scan.table, bytes)?;
        let entry = scan.table.index_entry(&scan.table.indexes[scan.access.index()], &row, key, slot);
        Ok(match self {
            Sought::Keys(keys) => keys.contains(&entry.key),
            Sought::Ranges(ranges) => {
                let after = ranges.partition_point(|range| range.start <= entry.key);
                after.checked_sub(1).is_some_and(|at| ranges[at].contains(&entry.key))
            }
        })
    }
}

/// Reads what a target names, page by page.
pub struct Reader<'p> {
    scan: &'p Scan,
    target: Target,
    page: usize,
    /// With what intent rows are read.
    intent: ReadIntent,
    /// Where the index is searched, if rows are locked that it leads to.
    sought: Option<Arc<Sought>>,
    /// Rows found so far, if those are locked: a row that turns out to have moved within the index has another entry there.
    seen: HashSet<Key>,
}

/// A row that was found: where it is, and its bytes.
pub struct Found {
    /// Its slot; `None` until it is needed, for rows found by scanning the primary index.
    pub slot: Option<Slot>,
    /// Its key.
    pub key: Key,
    /// Its stored form.
    pub bytes: Bytes,
    /// With what intent it was read.
    pub intent: ReadIntent,
    /// Where the index was searched that led to it.
    sought: Option<Arc<Sought>>,
}

impl<'p> Reader<'p> {
    /// A reader of a target; `page` is how many rows the first page has.
    pub fn new(scan: &'p Scan, target: Target, page: usize) -> Self {
        let by_entries = locks(scan) && !scan.table.indexes[scan.access.index()].is_primary();
        let sought = by_entries.then(|| Arc::new(Sought::of(&target)));
        let page = page.clamp(1, BATCH);
        Reader { scan, target, page, intent: first_intent(scan), sought, seen: HashSet::new() }
    }

    /// A reader that locks nothing: [`lock`] does.
    pub fn plain(scan: &'p Scan, target: Target, page: usize) -> Self {
        Reader { intent: ReadIntent::Plain, ..Reader::new(scan, target, page) }
    }

    /// The next rows; `None` at the end. Pages may be empty.
    pub async fn next(&mut self, rt: &mut Runtime<'_>) -> Result<Option<Vec<Found>>, SqlError> {
        rt.context.check_killed()?;
        let table = &self.scan.table;
        let index = &table.indexes[self.scan.access.index()];
        let page = self.page;
        self.page = (self.page * 4).min(BATCH);
        match &mut self.target {
            Target::Keys(keys) => {
                if keys.is_empty() {
                    return Ok(None);
                }
                let batch: Vec<(Slot, Key)> = keys.drain(..page.min(keys.len())).collect();
                if index.is_primary() {
                    return Ok(Some(self.rows_at(batch, rt).await?));
                }
                let entries = rt.context.transaction().get_many(table.id, &batch, ReadIntent::Plain).await?;
                let mut rows = Vec::with_capacity(batch.len());
                for ((_, key), entry) in batch.iter().zip(entries) {
                    if let Some(entry) = entry {
                        rows.push(key::row_of_entry(key, &entry)?);
                    }
                }
                Ok(Some(self.rows_at(rows, rt).await?))
            }
            Target::Ranges(ranges) => {
                let Some((range, shards)) = ranges.pop_front() else { return Ok(None) };
                let direction = if self.scan.reverse { Direction::Reverse } else { Direction::Forward };
                let request = ScanRequest {
                    table: table.id,
                    range,
                    shards,
                    direction,
                    limit: page,
                    intent: ReadIntent::Plain,
                };
                let found = rt.context.transaction().scan(request).await?;
                if let Some(rest) = found.rest {
                    ranges.push_front((rest, shards));
                }
                if index.is_primary() {
                    let rows = found.rows.into_iter().map(|(key, bytes)| Found {
                        slot: None,
                        key,
                        bytes,
                        intent: ReadIntent::Plain,
                        sought: None,
                    });
                    return Ok(Some(rows.collect()));
                }
                let mut rows = Vec::with_capacity(found.rows.len());
                for (key, entry) in &found.rows {
                    rows.push(key::row_of_entry(key, entry)?);
                }
                Ok(Some(self.rows_at(rows, rt).await?))
            }
        }
    }

    /// The rows at these keys, those that exist and were not found before.
    async fn rows_at(
        &mut self,
        mut keys: Vec<(Slot, Key)>,
        rt: &mut Runtime<'_>,
    ) -> Result<Vec<Found>, SqlError> {
        if self.sought.is_some() {
            keys.retain(|(_, key)| self.seen.insert(key.clone()));
        }
        let mut found = rows_at(self.scan, keys, self.intent, rt).await?;
        found.iter_mut().for_each(|one| one.sought.clone_from(&self.sought));
        Ok(found)
    }
}

/// Whether a scan locks what it returns.
pub fn locks(scan: &Scan) -> bool {
    match scan.intent {
        ReadIntent::Share(mode) | ReadIntent::Update(mode) => mode != LockMode::Optimistic,
        ReadIntent::Plain | ReadIntent::Check => false,
    }
}

/// With what intent rows are read the first time: at once with the lock where no filter follows. UPDATE and
/// DELETE need no second reading either, because their writes are what conflicts.
fn first_intent(scan: &Scan) -> ReadIntent {
    match scan.intent {
        ReadIntent::Update(LockMode::Optimistic) => scan.intent,
        intent if scan.filter.is_empty() => intent,
        _ => ReadIntent::Plain,
    }
}

/// The rows at these keys, those that exist.
async fn rows_at(
    scan: &Scan,
    keys: Vec<(Slot, Key)>,
    intent: ReadIntent,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Found>, SqlError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = rt.context.transaction();
    if let [(slot, key)] = keys.as_slice() {
        let found = transaction.get(scan.table.id, *slot, key, intent).await?;
        let (slot, key) = keys.into_iter().next().expect("one key");
        let found = found.map(|bytes| Found { slot: Some(slot), key, bytes, intent, sought: None });
        return Ok(found.into_iter().collect());
    }
    let found = transaction.get_many(scan.table.id, &keys, intent).await?;
    Ok(keys
        .into_iter()
        .zip(found)
        .filter_map(|((slot, key), bytes)| {
            Some(Found { slot: Some(slot), key, bytes: bytes?, intent, sought: None })
        })
        .collect())
}

/// Decodes, filters and, if the scan is for locking, locks rows.
pub async fn admit(scan: &Scan, found: Vec<Found>, rt: &mut Runtime<'_>) -> Result<Vec<Row>, SqlError> {
    if locks(scan) {
        let candidates = candidates(scan, found, rt).await?;
        return lock(scan, candidates, rt).await;
    }
    let mut rows = Vec::with_capacity(found.len());
    for one in &found {
        rows.push(decode(scan, &one.key, &one.bytes)?);
    }
    retain(rows, &scan.filter, rt).await
}

/// A row of a locking scan that satisfies the filter as it was found.
pub struct Candidate {
    found: Found,
    /// The columns that the scan reads.
    pub row: Row,
}

impl Candidate {
    /// Keeps in memory only what it takes to lock the row.
    pub fn shrink(&mut self, scan: &Scan) -> Result<(), SqlError> {
        let Found { slot, key, bytes, .. } = &mut self.found;
        if slot.is_none() {
            *slot = Some(slot_of(scan, key, bytes)?);
        }
        *bytes = Bytes::new();
        self.row = Vec::new();
        Ok(())
    }

    /// Bytes of its key.
    pub fn key_len(&self) -> usize {
        self.found.key.0.len()
    }
}

/// Decodes and filters rows that are to be locked.
pub async fn candidates(
    scan: &Scan,
    found: Vec<Found>,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Candidate>, SqlError> {
    let mut candidates = Vec::with_capacity(found.len());
    for found in found {
        let row = decode(scan, &found.key, &found.bytes)?;
        if super::holds(&scan.filter, &row, rt).await? {
            candidates.push(Candidate { found, row });
        }
    }
    Ok(candidates)
}

/// Locks rows and returns them as they are then: without those that are gone, that SKIP LOCKED passes over, or that are
/// no longer what the scan looks for. The latter stay locked.
pub async fn lock(
    scan: &Scan,
    candidates: Vec<Candidate>,
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let mut places = Vec::with_capacity(candidates.len());
    for Candidate { found, .. } in &candidates {
        let slot = found.slot.map_or_else(|| slot_of(scan, &found.key, &found.bytes), Ok)?;
        places.push((slot, found.key.clone()));
    }
    let locked: Vec<Option<Bytes>> = match candidates.iter().all(|c| c.found.intent == scan.intent) {
        true => candidates.iter().map(|c| Some(c.found.bytes.clone())).collect(),
        false => rt.context.transaction().get_many(scan.table.id, &places, scan.intent).await?,
    };
    let mut rows = Vec::with_capacity(candidates.len());
    for ((Candidate { found, row }, (slot, key)), now) in candidates.into_iter().zip(&places).zip(locked) {
        let Some(now) = now else { continue };
        if found.intent != scan.intent && found.bytes == now {
            rows.push(row);
            continue;
        }
        if let Some(sought) = found.sought
            && !sought.has(scan, (*slot, key), &now)?
        {
            continue;
        }
        let row = decode(scan, key, &now)?;
        if super::holds(&scan.filter, &row, rt).await? {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The slot of a row that a scan of the primary index found.
fn slot_of(scan: &Scan, key: &Key, bytes: &Bytes) -> Result<Slot, SqlError> {
    match scan.table.sharding_column {
        Some(ordinal) => {
            let value = RowReader::new(bytes)?.value(&scan.table, ordinal)?;
            Ok(key::slot_of_value(&value, &scan.table.columns[ordinal].sql_type))
        }
        None => Ok(scan.table.row_slot(&[], key)),
    }
}

/// How many rows the first page of a scan has.
pub async fn first_page(scan: &Scan, rt: &mut Runtime<'_>) -> Result<usize, SqlError> {
    let Some(hint) = &scan.hint else { return Ok(BATCH) };
    let wanted = super::shape::count(hint, rt).await?.min(BATCH as u64) as usize;
    // A filter passes only some of the rows.
    Ok(if scan.filter.is_empty() { wanted } else { wanted.max(SMALL_PAGE) })
}

/// A scan as an operator.
pub struct ScanOperator<'p> {
    scan: &'p Scan,
    reader: Option<Reader<'p>>,
}

impl<'p> ScanOperator<'p> {
    /// A scan that has not begun.
    pub fn new(scan: &'p Scan) -> Self {
        ScanOperator { scan, reader: None }
    }
}

impl Operator for ScanOperator<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.reader.is_none() {
                let scan = self.scan;
                rt.context.transaction().use_table(scan.table.id, scan.table.version);
                let page = first_page(scan, rt).await?;
                let target = target(scan, &[], rt).await?;
                self.reader = Some(Reader::new(scan, target, page));
            }
            let reader = self.reader.as_mut().expect("just made");
            match reader.next(rt).await? {
                None => Ok(None),
                Some(found) => Ok(Some(admit(self.scan, found, rt).await?)),
            }
        })
    }
}
