//! CHECK, CHECKSUM, ANALYZE, OPTIMIZE and REPAIR TABLE.
//!
//! ANALYZE TABLE has the shards told how much of the table they hold, as of now; see `sizes.rs`.
//!
//! CHECK TABLE reads a table at one snapshot and holds its parts against each other: every row decodes and lies
//! where its values say, every index has exactly the entries that the rows call for, every CHECK holds, every
//! foreign key finds its parent. Each difference is a line of the answer.

use crate::constraints::foreign::ParentRule;
use crate::dml::writer::Writer;
use crate::dml::{database_of, meant_table};
use crate::expr::Runtime;
use crate::infoschema::text;
use assize_catalog::{Index, Table, key, wrong_kind};
use assize_model::{ErrorCode, IndexId, Key, KeyRange, Slot, SqlError};
use assize_ports::{
    ColumnFlags, Direction, Executed, InternalTransaction, ReadIntent, ResultColumn, ResultSink, ScanRequest,
    ScanShards, StatementContext,
};
use assize_sql::{MaintenanceVerb, TableName};
use assize_values::{BlobSize, Collation, SqlType, Value};
use std::sync::Arc;

/// Rows of one page.
const PAGE: usize = 500;
/// Differences reported of one table; the rest is counted.
const REPORTED_MAX: usize = 100;

/// The result columns of these statements.
pub fn columns(verb: MaintenanceVerb) -> Vec<ResultColumn> {
    let collation = Collation::UTF8MB3_GENERAL_CI;
    let column = |name: &str, sql_type: SqlType| ResultColumn {
        database: "".into(),
        table: "".into(),
        org_table: "".into(),
        name: name.into(),
        org_name: "".into(),
        sql_type,
        nullable: true,
        flags: ColumnFlags::default(),
    };
    let short = |n: u32| SqlType::VarChar { length: n, collation };
    match verb {
        MaintenanceVerb::Checksum => {
            vec![column("Table", short(128)), column("Checksum", SqlType::BIGINT)]
        }
        _ => vec![
            column("Table", short(128)),
            column("Op", short(10)),
            column("Msg_type", short(10)),
            column("Msg_text", SqlType::Text { size: BlobSize::Long, collation }),
        ],
    }
}

/// Whether a view can be used.
fn check_view(table: &Arc<Table>, lines: &mut Vec<(&str, String)>, context: &mut dyn StatementContext) {
    let Some(view) = &table.view else { return };
    match crate::ddl::view::columns_now(table, view, context) {
        Ok(_) => lines.push(("status", "OK".into())),
        Err(error) => {
            lines.push(("Error", error.message));
            lines.push(("error", "Corrupt".into()));
        }
    }
}

/// Runs one of these statements.
pub async fn maintain(
    verb: MaintenanceVerb,
    tables: &[TableName],
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    sink.columns(&columns(verb))?;
    let mut count = 0;
    for name in tables {
        let database = database_of(name, context)?;
        let full_name = format!("{database}.{}", name.name);
        let table = meant_table(&database, &name.name, context);
        match &table {
            Some(table) => crate::acl::require_table(context, "SELECT", table)?,
            None => crate::acl::require_table_name(context, "SELECT", &database, &name.name)?,
        }
        let op = match verb {
            MaintenanceVerb::Analyze => "analyze",
            MaintenanceVerb::Check => "check",
            MaintenanceVerb::Optimize => "optimize",
            MaintenanceVerb::Repair => "repair",
            MaintenanceVerb::Checksum => "checksum",
        };
        let mut lines: Vec<(&str, String)> = Vec::new();
        match (&table, verb) {
            (Some(table), MaintenanceVerb::Check) if table.view.is_some() => {
                check_view(table, &mut lines, context);
            }
            (Some(table), MaintenanceVerb::Checksum) if table.view.is_some() => {
                sink.row(&[text(&full_name), Value::Null])?;
                let error = wrong_kind(&database, &name.name, "BASE TABLE");
                context.eval().push_warning(assize_model::WarningLevel::Error, error.code, error.message);
                count += 1;
                continue;
            }
            (Some(table), _) if table.view.is_some() => {
                lines.push(("Error", wrong_kind(&database, &name.name, "BASE TABLE").message));
                lines.push(("status", "Operation failed".into()));
            }
            (Some(table), MaintenanceVerb::Checksum) if table.foreign.is_some() => {
                sink.row(&[text(&full_name), Value::Null])?;
                let error = crate::ddl::foreign::no_such_option(&table.name);
                context.eval().push_warning(assize_model::WarningLevel::Error, error.code, error.message);
                count += 1;
                continue;
            }
            (Some(table), _) if table.foreign.is_some() => {
                lines.push(("note", format!("The storage engine for the table doesn't support {op}")));
            }
            (None, MaintenanceVerb::Checksum) => {
                sink.row(&[text(&full_name), Value::Null])?;
                let warning = format!("Table '{full_name}' doesn't exist");
                context.eval().push_warning(
                    assize_model::WarningLevel::Error,
                    ErrorCode::NoSuchTable,
                    warning,
                );
                count += 1;
                continue;
            }
            (Some(table), MaintenanceVerb::Checksum) => {
                let sum = checksum(table, context).await?;
                sink.row(&[text(&full_name), Value::Int(sum.into())])?;
                count += 1;
                continue;
            }
            (None, _) => {
                lines.push(("Error", format!("Table '{full_name}' doesn't exist")));
                lines.push(("status", "Operation failed".into()));
            }
            (Some(table), MaintenanceVerb::Check) => {
                let found = check(table, context).await?;
                if found.total == 0 {
                    lines.push(("status", "OK".into()));
                } else {
                    let more = found.total - found.lines.len();
                    lines.extend(found.lines.into_iter().map(|l| ("error", l)));
                    if more > 0 {
                        lines.push(("error", format!("and {more} differences more")));
                    }
                    lines.push(("error", "Corrupt".into()));
                }
            }
            (Some(_), MaintenanceVerb::Optimize) => {
                lines.push(("note", "Table does not support optimize, doing nothing instead".into()));
                lines.push(("status", "OK".into()));
            }
            (Some(_), MaintenanceVerb::Repair) => {
                lines.push(("note", "The storage engine for the table doesn't support repair".into()));
            }
            (Some(table), MaintenanceVerb::Analyze) => {
                if !table.id.is_temporary() && crate::sizes::ask_anew(table, context).await.is_none() {
                    lines.push(("warning", "Not every shard has told how much it holds".into()));
                }
                lines.push(("status", "OK".into()));
            }
        }
        for (kind, line) in lines {
            sink.row(&[text(&full_name), text(op), text(kind), text(&line)])?;
            count += 1;
        }
        sink.ready().await?;
    }
    Ok(Executed::Rows { count, found: count })
}

/// Differences found so far.
#[derive(Default)]
struct Found {
    lines: Vec<String>,
    total: usize,
}

impl Found {
    fn add(&mut self, line: String) {
        self.total += 1;
        if self.lines.len() < REPORTED_MAX {
            self.lines.push(line);
        }
    }
}

fn scan(table: &Table, range: KeyRange) -> ScanRequest {
    ScanRequest {
        table: table.id,
        range,
        shards: ScanShards::All,
        direction: Direction::Forward,
        limit: PAGE,
        intent: ReadIntent::Plain,
    }
}

/// A transaction at the newest snapshot, with the table as it is there.
async fn begin(
    table: &Arc<Table>,
    context: &mut dyn StatementContext,
) -> Result<Option<(Box<dyn InternalTransaction>, Arc<Table>)>, SqlError> {
    let internal = context.begin_internal().await?;
    let now = match table.id.is_temporary() {
        true => Some(table.clone()),
        false => internal.catalog().table(&table.database, &table.name).cloned(),
    };
    Ok(now.map(|now| (internal, now)))
}

async fn check(table: &Arc<Table>, context: &mut dyn StatementContext) -> Result<Found, SqlError> {
    let mut found = Found::default();
    let Some((mut internal, table)) = begin(table, context).await? else {
        return Ok(found);
    };
    let catalog = internal.catalog();
    let rules = ParentRule::all(&table, &catalog);
    let writer = Writer::detached(&table, context)?;
    let mut rows = 0u64;
    let mut rest = Some(key::index_range(table.id, IndexId(0)));
    while let Some(range) = rest {
        context.check_killed()?;
        let page = internal.transaction().scan(scan(&table, range)).await?;
        rest = page.rest;
        for (row_key, value) in &page.rows {
            rows += 1;
            let row = match key::decode_row(&table, value) {
                Ok(row) => row,
                Err(error) => {
                    found.add(format!("row {row_key:?}: {error}"));
                    continue;
                }
            };
            if let Some(expected) = table.row_key(&row)
                && expected != *row_key
            {
                found.add(format!("row {row_key:?} has the primary key of {expected:?}"));
            }
            let slot = table.row_slot(&row, row_key);
            let txn = internal.transaction();
            // Read again by slot alone: a row on the wrong shard is found by scans and missed by lookups.
            if txn.get(table.id, slot, row_key, ReadIntent::Plain).await?.is_none() {
                found.add(format!("row {row_key:?} is not where its sharding column says"));
            }
            let mut expected = Vec::new();
            let indexes: Vec<&Index> = table.secondary_indexes().collect();
            for index in &indexes {
                expected.push(table.index_entry(index, &row, row_key, slot));
            }
            let places: Vec<(Slot, Key)> = expected.iter().map(|e| (e.slot, e.key.clone())).collect();
            let entries = txn.get_many(table.id, &places, ReadIntent::Plain).await?;
            for ((index, expected), entry) in indexes.iter().zip(&expected).zip(entries) {
                match entry {
                    None if index.state == assize_catalog::IndexState::WriteOnly => {}
                    None => found.add(format!("index '{}': no entry for row {row_key:?}", index.name)),
                    Some(value) if value != expected.value => {
                        found.add(format!(
                            "index '{}': the entry of row {row_key:?} leads elsewhere",
                            index.name
                        ));
                    }
                    Some(_) => {}
                }
            }
            for rule in &rules {
                match rule.all_hold(&table, std::slice::from_ref(&row), internal.transaction()).await {
                    Ok(()) => {}
                    Err(error) if error.code == ErrorCode::NoReferencedRowFor => {
                        found
                            .add(format!("row {row_key:?}: foreign key '{}' finds no parent", rule.key.name));
                    }
                    Err(error) => return Err(error),
                }
            }
            for (column, value) in table.columns.iter().zip(&row) {
                if value.is_null() && !column.nullable {
                    found.add(format!("row {row_key:?}: NULL in column '{}'", column.name));
                }
            }
            let mut rt = Runtime::new(context, &[]);
            if let Err(error) = writer.check(&row, &mut rt).await {
                found.add(format!("row {row_key:?}: {error}"));
            }
            check_expressions(&writer, row_key, &row, &mut rt, &mut found).await;
        }
    }
    for index in table.secondary_indexes() {
        let entries = check_entries(&table, index, &mut *internal, context, &mut found).await?;
        if entries != rows && index.state == assize_catalog::IndexState::Public {
            found.add(format!("index '{}' has {entries} entries for {rows} rows", index.name));
        }
    }
    Ok(found)
}

/// Checks that the functional key parts of a row have the values that their expressions give. Those that read TIMESTAMPs have
/// the values that they gave in the time zone of who wrote them.
async fn check_expressions(
    writer: &Writer,
    row_key: &Key,
    row: &[Value],
    rt: &mut Runtime<'_>,
    found: &mut Found,
) {
    let table = &writer.table;
    let reads_instants = |expression: &str| {
        let columns = crate::ddl::parse_stored(expression).map(|ast| crate::ddl::print::columns(&ast));
        let mut columns = columns.unwrap_or_default().into_iter().filter_map(|name| table.column(&name));
        columns.any(|column| matches!(column.sql_type, SqlType::Timestamp { .. }))
    };
    let public = table.readable_indexes().flat_map(|index| index.parts.iter().map(move |part| (index, part)));
    let checked: Vec<(&Index, usize)> = public
        .filter(|(_, part)| table.key_expression(part).is_some_and(|text| !reads_instants(text)))
        .filter_map(|(index, part)| Some((index, table.ordinal_by_id(part.column)?)))
        .collect();
    if checked.is_empty() {
        return;
    }
    let warned = rt.context.eval().warnings.len();
    let mut again = row.to_vec();
    let columns: Vec<u32> = checked.iter().map(|(_, ordinal)| table.columns[*ordinal].id).collect();
    let computed = writer.generate_those(&columns, &mut again, 1, rt).await;
    rt.context.eval().warnings.truncate(warned);
    if let Err(error) = computed {
        found.add(format!("row {row_key:?}: {error}"));
        return;
    }
    for (index, ordinal) in checked {
        if again[ordinal] != row[ordinal] {
            found.add(format!("index '{}': row {row_key:?} has not the value of its expression", index.name));
        }
    }
}

/// Checks that every entry of an index leads to a row that calls for it; answers how many there are.
async fn check_entries(
    table: &Table,
    index: &Index,
    internal: &mut dyn InternalTransaction,
    context: &mut dyn StatementContext,
    found: &mut Found,
) -> Result<u64, SqlError> {
    let mut entries = 0;
    let mut rest = Some(key::index_range(table.id, index.id));
    while let Some(range) = rest {
        context.check_killed()?;
        let txn = internal.transaction();
        let page = txn.scan(scan(table, range)).await?;
        rest = page.rest;
        let mut places = Vec::with_capacity(page.rows.len());
        let mut owners = Vec::with_capacity(page.rows.len());
        for (entry_key, value) in page.rows {
            entries += 1;
            match key::row_of_entry(&entry_key, &value) {
                Ok(place) => {
                    places.push(place);
                    owners.push(entry_key);
                }
                Err(error) => found.add(format!("index '{}': entry {entry_key:?}: {error}", index.name)),
            }
        }
        let rows = txn.get_many(table.id, &places, ReadIntent::Plain).await?;
        for (((slot, row_key), entry_key), row) in places.iter().zip(owners).zip(rows) {
            let Some(row) = row else {
                found.add(format!("index '{}': entry {entry_key:?} leads to no row", index.name));
                continue;
            };
            // A row that does not decode has been reported already.
            let Ok(row) = key::decode_row(table, &row) else { continue };
            if table.index_entry(index, &row, row_key, *slot).key != entry_key {
                found.add(format!("index '{}': entry {entry_key:?} is not that of its row", index.name));
            }
        }
    }
    Ok(entries)
}

/// A digest of a table's rows in key order: of what they hold, not of how they are stored.
async fn checksum(table: &Arc<Table>, context: &mut dyn StatementContext) -> Result<u32, SqlError> {
    let Some((mut internal, table)) = begin(table, context).await? else {
        return Ok(0);
    };
    let mut sum = 0u32;
    let mut rest = Some(key::index_range(table.id, IndexId(0)));
    while let Some(range) = rest {
        context.check_killed()?;
        let page = internal.transaction().scan(scan(&table, range)).await?;
        rest = page.rest;
        for (_, value) in &page.rows {
            let row = key::decode_row(&table, value)?;
            let mut bytes = Vec::new();
            for (column, value) in table.columns.iter().zip(&row) {
                if value.is_null() {
                    bytes.push(0);
                    continue;
                }
                bytes.push(1);
                let start = bytes.len();
                assize_values::format::write_text(value, &column.sql_type, &mut bytes);
                let length = (bytes.len() - start) as u32;
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            sum = fold(sum, &bytes);
        }
    }
    Ok(sum)
}

/// FNV-1a over a row, folded into the digest so far: order matters.
fn fold(sum: u32, bytes: &[u8]) -> u32 {
    let start = 0x811c_9dc5 ^ sum.rotate_left(5);
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
