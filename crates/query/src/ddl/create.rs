//! CREATE TABLE.

use super::define::{self, Draft, check_name};
use super::{commit_change, done, fence_parents, table_exists};
use crate::bind::{Binder, OutputColumn};
use crate::dml::writer::Writer;
use crate::dml::{database_of, target_table};
use crate::exec::open;
use crate::expr::Runtime;
use crate::infoschema::SystemTables;
use crate::plan::{Planned, plan_query};
use assize_catalog::{Column, DefaultValue, Table};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{Executed, ResultColumn, StatementContext, StatementJob};
use assize_sql::{CreateTable, SelectDuplicates};
use assize_values::{SqlType, Value};
use std::sync::Arc;

/// Runs CREATE TABLE.
pub async fn create_table(
    create: &CreateTable,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let database = database_of(&create.name, context)?;
    let name = create.name.name.as_str();
    check_name(name, ErrorCode::WrongTableName, "table")?;
    if create.temporary {
        return super::temporary::create(create, &database, params, context).await;
    }
    crate::acl::require_database(context, "CREATE", &database)?;
    crate::system::refuse_new_table(&database, context)?;
    let catalog = context.refresh_catalog().await?;
    catalog.require_database(&database)?;
    if catalog.table(&database, name).is_some() {
        if create.if_not_exists {
            context.eval().note(ErrorCode::TableExists, format!("Table '{name}' already exists"));
            return Ok(done());
        }
        return Err(table_exists(name));
    }
    let mut draft = match &create.like {
        Some(like) => {
            let source = target_table(like, context)?;
            like_table(&source, &database, name, context.eval().now_micros)
        }
        None if create.options.is_federated() => super::foreign::draft(create, &database, context).await?,
        None => draft(create, &database, context).await?,
    };
    let selected = match &create.select {
        Some(query) => {
            let (planned, sources) = {
                let mut binder = Binder::new(context, &SystemTables, Some(params));
                let bound = binder.query(query, None)?;
                let planned = plan_query(bound, &mut binder)?;
                (planned, binder.tables)
            };
            add_selected_columns(&mut draft, &planned.plan.columns, &sources)?;
            Some(planned)
        }
        None => None,
    };
    draft.finish(&catalog, context)?;
    super::define::require_primary_key(&draft.table, context)?;
    super::functional::require_understood(&draft.table, context).await?;
    super::charset::require_understood(super::charset::of_table(&draft.table), context).await?;
    let counts_here = draft.table.foreign.is_none();
    let next_id = create.options.auto_increment.filter(|n| *n > 0 && counts_here);
    match selected {
        Some(planned) => create_filled(create, draft.table, next_id, &planned, params, context).await,
        None => {
            publish(draft.table, next_id, context).await?;
            Ok(done())
        }
    }
}

/// The table that a CREATE TABLE describes, foreign keys not yet resolved.
pub(super) async fn draft(
    create: &CreateTable,
    database: &str,
    context: &mut dyn StatementContext,
) -> Result<Draft, SqlError> {
    let catalog = context.catalog();
    let collation = catalog.require_database(database)?.collation;
    let now = context.eval().now_micros;
    let mut draft = define::empty(database, &create.name.name, collation, now);
    draft.set_options(&create.options, context)?;
    for column in &create.columns {
        draft.add_column(column, context).await?;
    }
    for column in &create.columns {
        draft.add_column_constraints(column)?;
    }
    for constraint in &create.constraints {
        draft.add_constraint(constraint)?;
    }
    // A PRIMARY KEY over a column that was declared NULL is a contradiction.
    if let Some(primary) = draft.table.primary_key() {
        for part in &primary.parts {
            let column = draft.table.indexed_column(part);
            let declared = create.columns.iter().find(|c| c.name.eq_ignore_ascii_case(&column.name));
            if declared.is_some_and(|c| c.nullable == Some(true)) {
                return Err(define::primary_null());
            }
        }
    }
    draft.set_partition(create.partition_by.as_ref())?;
    Ok(draft)
}

/// CREATE TABLE … LIKE: everything but foreign keys, data and AUTO_INCREMENT's position.
pub(super) fn like_table(source: &Table, database: &str, name: &str, now_micros: i64) -> Draft {
    let mut draft = Draft::of(source);
    let table = &mut draft.table;
    for (i, check) in table.checks.iter_mut().enumerate() {
        check.name = format!("{name}_chk_{}", i + 1).into();
    }
    table.database = database.into();
    table.name = name.into();
    table.foreign_keys.clear();
    table.created_micros = now_micros;
    table.version = assize_model::SchemaVersion(1);
    for column in &mut table.columns {
        column.added_value = None;
    }
    draft
}

/// Adds the columns of a query over these tables that the statement does not define itself, behind those that it does.
pub(super) fn add_selected_columns(
    draft: &mut Draft,
    columns: &[OutputColumn],
    sources: &[Arc<Table>],
) -> Result<(), SqlError> {
    for output in columns {
        let name = &output.result.name;
        if draft.table.column(name).is_some() {
            let again = columns.iter().filter(|c| c.result.name.eq_ignore_ascii_case(name)).count() > 1;
            if again {
                return Err(SqlError::new(
                    ErrorCode::DuplicateColumn,
                    format!("Duplicate column name '{name}'"),
                ));
            }
            continue;
        }
        check_name(name, ErrorCode::WrongColumnName, "column")?;
        let id = draft.table.next_column_id;
        draft.table.next_column_id += 1;
        let sql_type = stored_type(&output.result.sql_type);
        let plain = Column::plain(id, name, sql_type, output.result.nullable);
        draft.table.columns.push(match origin_of(&output.result, sources) {
            Some(origin) if origin.sql_type == plain.sql_type => {
                Column { default: inherited_default(origin), comment: origin.comment.clone(), ..plain }
            }
            _ => plain,
        });
    }
    Ok(())
}

/// The stored column that a column of a query shows as it is.
fn origin_of<'t>(shown: &ResultColumn, sources: &'t [Arc<Table>]) -> Option<&'t Column> {
    let is_source = |table: &&Arc<Table>| table.name == shown.org_table && table.database == shown.database;
    sources.iter().find(is_source)?.column(&shown.org_name)
}

/// What a copy of a column has as its default: that of the column. Ids count on in the column that they belong to alone; its
/// copy begins with 0, as in MySQL. An expression may mention columns that are not copied, and stays behind.
fn inherited_default(origin: &Column) -> Option<DefaultValue> {
    if origin.auto_increment {
        return match origin.sql_type {
            SqlType::Int(int) if int.unsigned => Some(DefaultValue::Constant(Value::UInt(0))),
            SqlType::Int(_) => Some(DefaultValue::Constant(Value::Int(0))),
            _ => None,
        };
    }
    origin.default.clone().filter(|default| !matches!(default, DefaultValue::Expression(_)))
}

/// The type of a column that holds values of an expression of this type.
pub(crate) fn stored_type(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Null => SqlType::Binary { length: 0 },
        SqlType::VarChar { length, collation } if *length > 16_383 => {
            SqlType::Text { size: assize_values::BlobSize::Long, collation: *collation }
        }
        SqlType::VarBinary { length } if *length > 65_000 => {
            SqlType::Blob { size: assize_values::BlobSize::Long }
        }
        SqlType::Char { length, collation } if *length > 255 => {
            SqlType::VarChar { length: *length, collation: *collation }
        }
        other => other.clone(),
    }
}

/// Makes a table known. `id` of the table is given here.
async fn publish(
    table: Table,
    next_id: Option<u64>,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    commit_change(context, |catalog, change| {
        catalog.require_database(&table.database)?;
        if catalog.table(&table.database, &table.name).is_some() {
            return Err(table_exists(&table.name));
        }
        let id = change.take_table_id();
        let table = Table { id, ..table.clone() };
        if let Some(foreign) = &table.foreign {
            super::foreign::claim(&table, foreign, catalog, change)?;
        }
        change.expect_database(&table.database).put_table(&table);
        fence_parents(&table, catalog, change);
        if let Some(next) = next_id {
            change.set_counter(id, next);
        }
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// CREATE TABLE … SELECT: the rows are written under the new table's id first, so that the table appears with
/// all of them or not at all.
async fn create_filled(
    create: &CreateTable,
    mut table: Table,
    next_id: Option<u64>,
    planned: &Planned,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    table.id = super::copy::reserve_table_id(context).await?;
    let table = Arc::new(table);
    let job = context.begin_job("create", format!("fills {}.{}", table.database, table.name));
    job.step("copying");
    let result = fill(create, &table, planned, params, &*job, context).await;
    job.end(result.as_ref().map(|_| ()));
    let (records, greatest) = match result {
        Ok(counts) => counts,
        Err(error) => {
            super::recycle::delete_rows_of(&table, context).await?;
            return Err(error);
        }
    };
    let published = commit_change(context, |catalog, change| {
        catalog.require_database(&table.database)?;
        if catalog.table(&table.database, &table.name).is_some() {
            return Err(table_exists(&table.name));
        }
        change.expect_database(&table.database).put_table(&table);
        fence_parents(&table, catalog, change);
        change.set_counter(table.id, next_id.unwrap_or(1).max(greatest + 1));
        Ok(Some(()))
    })
    .await;
    if let Err(error) = published {
        super::recycle::delete_rows_of(&table, context).await?;
        return Err(error);
    }
    let info = format!("Records: {records}  Duplicates: 0  Warnings: 0");
    Ok(Executed::Affected { changed: records, matched: records, insert_id: 0, info })
}

/// Writes the rows of the query into a table that nobody knows yet; answers how many there are and the greatest id.
pub(super) async fn fill(
    create: &CreateTable,
    table: &Arc<Table>,
    planned: &Planned,
    params: &[Value],
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(u64, u64), SqlError> {
    let targets: Vec<Option<usize>> =
        planned.plan.columns.iter().map(|c| table.ordinal(&c.result.name)).collect();
    let ignore = match create.on_duplicate {
        SelectDuplicates::Error => false,
        SelectDuplicates::Ignore => true,
        SelectDuplicates::Replace => return Err(SqlError::not_supported("CREATE TABLE … REPLACE SELECT")),
    };
    let mut greatest = 0u64;
    let mut row_number = 0u64;
    let mut filler = super::copy::Filler::new(table.clone(), ignore);
    let mut rt = Runtime::new(context, params);
    let writer = Writer::detached(table, rt.context)?;
    let mut operator = open(&planned.plan.root);
    rt.context.eval().writing = true;
    while let Some(batch) = operator.next(&mut rt).await? {
        rt.context.check_killed()?;
        job.did(batch.len() as u64);
        for values in batch {
            row_number += 1;
            let mut row = vec![Value::Null; table.columns.len()];
            let mut given = vec![false; row.len()];
            for ((target, value), output) in targets.iter().zip(&values).zip(&planned.plan.columns) {
                let Some(ordinal) = target else { continue };
                if !value.is_null() {
                    row[*ordinal] =
                        writer.store(*ordinal, value, &output.result.sql_type, row_number, &mut rt)?;
                }
                given[*ordinal] = true;
            }
            for ordinal in 0..row.len() {
                let column = &table.columns[ordinal];
                if !given[ordinal] && column.generated.is_none() {
                    row[ordinal] = writer.default_of(ordinal, &row, &mut rt).await?;
                }
                if column.auto_increment {
                    greatest = super::copy::give_id(column, &mut row[ordinal], greatest)?;
                }
                if row[ordinal].is_null() && !column.nullable && column.generated.is_none() {
                    return Err(crate::dml::writer::cannot_be_null(&column.name));
                }
            }
            writer.generate(&mut row, row_number, &mut rt).await?;
            writer.check(&row, &mut rt).await?;
            filler.add(row, None, rt.context).await?;
        }
    }
    let records = filler.finish(rt.context).await?;
    rt.context.eval().writing = false;
    Ok((records, greatest))
}

/// The id in an AUTO_INCREMENT column, 0 if it is none.
pub(crate) fn id_of(value: &Value) -> u64 {
    match value {
        Value::Int(n) => u64::try_from(*n).unwrap_or(0),
        Value::UInt(n) => *n,
        Value::Float(n) => *n as u64,
        Value::Double(n) => *n as u64,
        _ => 0,
    }
}
