//! Reading foreign tables.
//!
//! ```text
//!   ForeignScan ──values known──▶ SELECT … WHERE … [AND key > last] ORDER BY key LIMIT n ──▶ filter ──▶ rows
//! ```
//!
//! Pages follow each other by an integer key, so that no more than a page is in memory; a table without one is read at once,
//! within the statement's budget. The key is a condition, not a cursor: the server keeps nothing between pages.
//!
//! Conditions on texts are sent only where the server compares as Assize does: its column has the collation of the same name,
//! which a statement asks once per table, before the first of them. Elsewhere a server could find fewer rows than are wanted,
//! and more than is sent is judged here anyway.

use super::scan::{KeyValue, key_value};
use super::{BATCH, Operator, retain, value};
use crate::expr::{Row, Runtime, row_size};
use crate::foreign::{Condition, Select, literal, page_key, server_of, table_name};
use crate::plan::{ForeignScan, Scalar, SentKind};
use crate::show::quote::quote_name;
use assize_catalog::{Server, Table};
use assize_model::SqlError;
use assize_ports::{BoxFuture, ForeignStatement};
use assize_values::temporal::{days_in_month, timestamp_to_local};
use assize_values::{Collation, Date, SqlType, TimeZone, Value};
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Rows of a first page, if nothing says how many are wanted.
const FIRST_PAGE: usize = 1000;
/// Rows of a page at most.
const PAGE_MAX: usize = 10_000;
/// A list of values that is longer, in bytes, is not sent.
const LIST_MAX: usize = 1 << 20;

/// A scan of a foreign table as an operator.
pub struct ForeignOperator<'p> {
    scan: &'p ForeignScan,
    /// One condition more.
    also: Option<String>,
    reader: Option<Reader<'p>>,
}

impl<'p> ForeignOperator<'p> {
    /// A scan that has not begun.
    pub fn new(scan: &'p ForeignScan) -> Self {
        ForeignOperator { scan, also: None, reader: None }
    }

    /// A scan of the rows that satisfy one condition more.
    pub fn only(scan: &'p ForeignScan, also: String) -> Self {
        ForeignOperator { scan, also: Some(also), reader: None }
    }
}

impl Operator for ForeignOperator<'_> {
    fn next<'a>(&'a mut self, rt: &'a mut Runtime<'_>) -> BoxFuture<'a, Result<Option<Vec<Row>>, SqlError>> {
        Box::pin(async move {
            if self.reader.is_none() {
                self.reader = Some(Reader::open(self.scan, self.also.take(), rt).await?);
            }
            let reader = self.reader.as_mut().expect("just made");
            let Some(mut rows) = reader.next(rt).await? else { return Ok(None) };
            // Columns that only the order of pages needs.
            rows.iter_mut().for_each(|row| row.truncate(self.scan.ordinals.len()));
            Ok(Some(retain(rows, &self.scan.filter, rt).await?))
        })
    }
}

/// Reads what satisfies the conditions, page by page.
struct Reader<'p> {
    server: Arc<Server>,
    select: Select,
    /// How many of its conditions are of all pages.
    fixed: usize,
    types: Vec<SqlType>,
    /// Where the columns of the page key are in the rows, and their types.
    key: Vec<(usize, &'p SqlType)>,
    pending: VecDeque<Row>,
    /// Memory that the pending rows take.
    held: usize,
    done: bool,
}

impl<'p> Reader<'p> {
    async fn open(
        scan: &'p ForeignScan,
        also: Option<String>,
        rt: &mut Runtime<'_>,
    ) -> Result<Reader<'p>, SqlError> {
        let table = &scan.table;
        let server = server_of(table, &rt.context.catalog())?;
        rt.context.transaction().use_table(table.id, table.version);
        let told = conditions(scan, rt).await?;
        let done = told.is_none();
        let mut conditions = told.unwrap_or_default();
        conditions.extend(also);
        let mut read = scan.ordinals.clone();
        let mut page = None;
        let mut key = Vec::new();
        if let Some(by) = page_key(table).filter(|_| !read.is_empty()) {
            for ordinal in &by {
                let at = read.iter().position(|o| o == ordinal).unwrap_or_else(|| {
                    read.push(*ordinal);
                    read.len() - 1
                });
                key.push((at, &table.columns[*ordinal].sql_type));
            }
            let names = by.iter().map(|o| quote_name(&table.columns[*o].name)).collect();
            page = Some((names, first_page(scan, rt).await?));
        }
        let mut types: Vec<SqlType> = read.iter().map(|o| table.columns[*o].sql_type.clone()).collect();
        if types.is_empty() {
            types.push(SqlType::BIGINT);
        }
        let select = Select {
            columns: read.iter().map(|o| quote_name(&table.columns[*o].name)).collect(),
            from: table_name(table, &server),
            conditions,
            page,
            intent: scan.intent,
        };
        let fixed = select.conditions.len();
        Ok(Reader { server, select, fixed, types, key, pending: VecDeque::new(), held: 0, done })
    }

    /// The next rows; `None` at the end.
    async fn next(&mut self, rt: &mut Runtime<'_>) -> Result<Option<Vec<Row>>, SqlError> {
        if self.pending.is_empty() {
            rt.budget.give(std::mem::take(&mut self.held));
            if self.done {
                return Ok(None);
            }
            self.fetch(rt).await?;
        }
        let rows = self.pending.drain(..BATCH.min(self.pending.len())).collect();
        Ok(Some(rows))
    }

    async fn fetch(&mut self, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        rt.context.check_killed()?;
        let sql = self.select.text();
        let rows = ask(&self.server, &sql, &self.types, rt).await?;
        let size: usize = rows.iter().map(|row| row_size(row)).sum();
        self.held = size;
        rt.budget.take(size)?;
        match (&mut self.select.page, rows.last()) {
            (Some((order, limit)), Some(last)) if rows.len() >= *limit => {
                let last: Vec<String> =
                    self.key.iter().map(|(at, sql_type)| literal(&last[*at], sql_type)).collect();
                self.select.conditions.truncate(self.fixed);
                self.select.conditions.push(Select::behind(order, &last));
                *limit = (*limit * 4).min(PAGE_MAX);
            }
            _ => self.done = true,
        }
        self.pending = rows.into();
        Ok(())
    }
}

/// Runs a statement that reads.
async fn ask(
    server: &Arc<Server>,
    sql: &str,
    types: &[SqlType],
    rt: &mut Runtime<'_>,
) -> Result<Vec<Row>, SqlError> {
    let statement = ForeignStatement { sql, types, writes: false };
    let rows = rt.context.transaction().foreign(server, statement).await?.rows;
    match rows.iter().find(|row| row.len() != types.len()) {
        Some(row) => Err(SqlError::internal(format!("{} columns of a row, not {}", row.len(), types.len()))),
        None => Ok(rows),
    }
}

async fn first_page(scan: &ForeignScan, rt: &mut Runtime<'_>) -> Result<usize, SqlError> {
    let Some(hint) = &scan.hint else { return Ok(FIRST_PAGE) };
    let wanted = super::shape::count(hint, rt).await?;
    Ok(wanted.clamp(1, FIRST_PAGE as u64) as usize)
}

/// The conditions as the server is told them; `None` if no row satisfies them.
async fn conditions(scan: &ForeignScan, rt: &mut Runtime<'_>) -> Result<Option<Vec<String>>, SqlError> {
    let mut out = Vec::with_capacity(scan.sent.len());
    let mut texts = BTreeSet::new();
    let mut told = Vec::with_capacity(scan.sent.len());
    for sent in &scan.sent {
        let column = &scan.table.columns[sent.ordinal];
        let Some(condition) = condition(&sent.what, &column.sql_type, rt).await? else { continue };
        let Some(text) = condition.text(&column.name) else { return Ok(None) };
        if text.len() > LIST_MAX {
            continue;
        }
        if needs_collation(&column.sql_type, &condition) {
            texts.insert(sent.ordinal);
        }
        told.push((sent.ordinal, condition, text));
    }
    if !texts.is_empty() {
        ask_collations(&scan.table, &texts, rt).await?;
    }
    for (ordinal, condition, text) in told {
        let column = &scan.table.columns[ordinal];
        let asks = needs_collation(&column.sql_type, &condition);
        if (!asks || compares_alike(&scan.table, ordinal, rt)) && !out.contains(&text) {
            out.push(text);
        }
    }
    Ok(Some(out))
}

/// A comparand as a value of a column's type, in the digits that the column has.
fn known_value(value: &Value, sql_type: &SqlType, rt: &mut Runtime<'_>) -> KeyValue {
    match (key_value(value, sql_type, rt.context.eval()), sql_type) {
        (KeyValue::Exact(Value::Timestamp(micros)), SqlType::Timestamp { fsp }) => {
            let beyond = micros.rem_euclid(10_i64.pow(6 - u32::from(*fsp).min(6)));
            match beyond {
                0 => KeyValue::Exact(Value::Timestamp(micros)),
                _ => KeyValue::Near(Value::Timestamp(micros - beyond), Ordering::Less),
            }
        }
        (known, _) => known,
    }
}

/// One condition with its values; `None` if the server cannot judge it.
async fn condition(
    what: &SentKind,
    sql_type: &SqlType,
    rt: &mut Runtime<'_>,
) -> Result<Option<Condition>, SqlError> {
    let (scalar, included, lower) = match what {
        SentKind::OneOf(values, nulls) => return one_of(values, *nulls, sql_type, rt).await,
        SentKind::Lower(scalar, included) => (scalar, *included, true),
        SentKind::Upper(scalar, included) => (scalar, *included, false),
    };
    let comparand = value(scalar, &[], rt).await?;
    let (value, included) = match known_value(&comparand, sql_type, rt) {
        KeyValue::Unknown => return Ok(None),
        // NULL satisfies no comparison.
        KeyValue::Null => return Ok(Some(Condition::OneOf(Vec::new(), false))),
        KeyValue::Exact(value) => (value, included),
        // The nearest value is in or out by where it lies.
        KeyValue::Near(value, Ordering::Greater) => (value, lower),
        KeyValue::Near(value, _) => (value, !lower),
    };
    if !is_comparable(&value, sql_type) {
        return Ok(None);
    }
    let operator = match (lower, included) {
        (true, true) => ">=",
        (true, false) => ">",
        (false, true) => "<=",
        (false, false) => "<",
    };
    Ok(Some(Condition::Beyond(operator, literal(&value, sql_type))))
}

async fn one_of(
    values: &[Scalar],
    nulls: bool,
    sql_type: &SqlType,
    rt: &mut Runtime<'_>,
) -> Result<Option<Condition>, SqlError> {
    let mut texts = Vec::with_capacity(values.len());
    let mut null = nulls && values.is_empty();
    for scalar in values {
        let comparand = value(scalar, &[], rt).await?;
        match known_value(&comparand, sql_type, rt) {
            KeyValue::Exact(value) if is_comparable(&value, sql_type) => {
                texts.push(literal(&value, sql_type))
            }
            KeyValue::Null => null |= nulls,
            // A value that the column cannot have equals nothing.
            KeyValue::Near(..) => {}
            KeyValue::Exact(_) | KeyValue::Unknown => return Ok(None),
        }
    }
    Ok(Some(Condition::OneOf(texts, null)))
}

/// What to ask a server for to find the rows of a column that equal some values; `None` if it cannot be asked for some of them.
pub async fn sought(
    table: &Table,
    ordinal: usize,
    values: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Option<Condition>, SqlError> {
    let sql_type = &table.columns[ordinal].sql_type;
    let mut texts = BTreeSet::new();
    for value in values {
        match known_value(value, sql_type, rt) {
            KeyValue::Exact(value) if is_comparable(&value, sql_type) => {
                texts.insert(literal(&value, sql_type));
            }
            KeyValue::Near(..) | KeyValue::Null => {}
            KeyValue::Exact(_) | KeyValue::Unknown => return Ok(None),
        }
    }
    if texts.is_empty() {
        return Ok(Some(Condition::OneOf(Vec::new(), false)));
    }
    let condition = Condition::OneOf(texts.into_iter().collect(), false);
    if needs_collation(sql_type, &condition) {
        ask_collations(table, &[ordinal].into(), rt).await?;
        if !compares_alike(table, ordinal, rt) {
            return Ok(None);
        }
    }
    Ok(Some(condition))
}

/// Whether servers compare a column with this value as Assize does. Strict servers refuse dates that do not exist, and all of
/// them texts that the column's character set cannot have (error 1267).
fn is_comparable(value: &Value, sql_type: &SqlType) -> bool {
    let exists = |date: Date| {
        !date.has_zero_parts() && date.month <= 12 && date.day <= days_in_month(date.year, date.month)
    };
    match value {
        Value::Date(date) => exists(*date),
        Value::DateTime(at) => exists(at.date),
        Value::Timestamp(stored) => exists(timestamp_to_local(*stored, &TimeZone::System).date),
        Value::Enum(number, _) => *number > 0,
        Value::Text(text) => {
            collation_of(sql_type).is_none_or(|c| text.as_str().chars().all(|one| c.charset().has(one)))
        }
        // Small numbers stand for years of two digits there.
        Value::UInt(year) if *sql_type == SqlType::Year => *year > 1900,
        _ => true,
    }
}

/// Whether a condition on a column is judged by a collation. Equal bytes are equal under every one, so that a column that
/// compares bytes here, trailing spaces and all, loses no row by an equality with what every character set has.
fn needs_collation(sql_type: &SqlType, condition: &Condition) -> bool {
    let bytes = match condition {
        Condition::OneOf(values, _) => values.iter().all(|value| value.is_ascii()),
        Condition::Beyond(..) => false,
    };
    collation_of(sql_type).is_some_and(|collation| !(bytes && collation.name() == "utf8mb4_0900_bin"))
}

fn collation_of(sql_type: &SqlType) -> Option<Collation> {
    match sql_type {
        SqlType::Char { collation, .. }
        | SqlType::VarChar { collation, .. }
        | SqlType::Text { collation, .. }
        | SqlType::Enum { collation, .. } => Some(*collation),
        _ => None,
    }
}

/// Whether a column has the same collation on its server, as far as that was asked.
fn compares_alike(table: &Table, ordinal: usize, rt: &Runtime<'_>) -> bool {
    let here = collation_of(&table.columns[ordinal].sql_type);
    let there = rt.collations_there.get(&(table.id, ordinal));
    // The older name of MariaDB and of MySQL before 8.0.30.
    let same = |there: &str, here: &str| {
        there == here
            || there.strip_prefix("utf8_") == here.strip_prefix("utf8mb3_") && here.starts_with("utf8mb3_")
    };
    here.zip(there).is_some_and(|(here, there)| same(there, here.name()))
}

/// Asks the server for the collations of columns, those of which the statement does not know them.
async fn ask_collations(
    table: &Table,
    ordinals: &BTreeSet<usize>,
    rt: &mut Runtime<'_>,
) -> Result<(), SqlError> {
    let unknown: Vec<usize> =
        ordinals.iter().copied().filter(|o| !rt.collations_there.contains_key(&(table.id, *o))).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let server = server_of(table, &rt.context.catalog())?;
    // An aggregate has one row even of none, and the collation of what it aggregates.
    let column = |o: &usize| format!("COLLATION(MAX({}))", quote_name(&table.columns[*o].name));
    let select = Select {
        columns: unknown.iter().map(column).collect(),
        from: table_name(table, &server),
        conditions: vec!["1 = 0".into()],
        ..Select::default()
    };
    let name = SqlType::VarChar { length: 64, collation: Collation::UTF8MB3_GENERAL_CI };
    let types = vec![name; unknown.len()];
    let rows = ask(&server, &select.text(), &types, rt).await?;
    for (at, ordinal) in unknown.into_iter().enumerate() {
        let told = rows.first().and_then(|row| match &row[at] {
            Value::Text(text) => Some(text.as_str().to_owned()),
            _ => None,
        });
        rt.collations_there.insert((table.id, ordinal), told.unwrap_or_default());
    }
    Ok(())
}

/// What a scan sends, for EXPLAIN: `?` stands for values that are known only when it runs. Pages are not shown.
pub fn foreign_text(scan: &ForeignScan) -> String {
    let table = &scan.table;
    let shown = |scalar: &Scalar, sql_type: &SqlType| {
        let known = scalar.expr.as_literal().map(|value| super::literal_key(value, sql_type));
        match known {
            Some(KeyValue::Exact(value)) => literal(&value, sql_type),
            _ => "?".to_owned(),
        }
    };
    let conditions = scan.sent.iter().filter_map(|sent| {
        let column = &table.columns[sent.ordinal];
        let value = |scalar: &Scalar| shown(scalar, &column.sql_type);
        let condition = match &sent.what {
            SentKind::OneOf(values, nulls) => {
                Condition::OneOf(values.iter().map(value).collect(), *nulls && values.is_empty())
            }
            SentKind::Lower(scalar, true) => Condition::Beyond(">=", value(scalar)),
            SentKind::Lower(scalar, false) => Condition::Beyond(">", value(scalar)),
            SentKind::Upper(scalar, true) => Condition::Beyond("<=", value(scalar)),
            SentKind::Upper(scalar, false) => Condition::Beyond("<", value(scalar)),
        };
        condition.text(&column.name)
    });
    let there = table.foreign.as_ref().map_or(&table.name, |foreign| &foreign.table);
    let select = Select {
        columns: scan.ordinals.iter().map(|o| quote_name(&table.columns[*o].name)).collect(),
        from: quote_name(there),
        conditions: conditions.collect(),
        page: None,
        intent: scan.intent,
    };
    select.text()
}
