//! CREATE, ALTER and TRUNCATE of temporary tables: what the session alone knows.
//!
//! ```text
//!   statement ──▶ Draft ──▶ rows, written by the statement's transaction ──▶ StatementContext::put_temporary
//! ```
//!
//! A changed table is another one: it gets a new id, and the rows are copied. So nothing that was planned, read or written
//! under the old id can be taken for the new one's.

use super::alter::{copy_rows, plan};
use super::create::{add_selected_columns, draft, fill, like_table};
use super::{define, done, table_exists};
use crate::bind::Binder;
use crate::dml::target_table;
use crate::infoschema::SystemTables;
use crate::plan::{Planned, plan_query};
use assize_catalog::{Table, key};
use assize_model::{ErrorCode, SqlError, TableId};
use assize_ports::{Executed, StatementContext};
use assize_sql::{AlterTable, CreateTable};
use assize_values::Value;
use std::sync::Arc;

/// Runs CREATE TEMPORARY TABLE.
pub(crate) async fn create(
    create: &CreateTable,
    database: &str,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_database(context, "CREATE TEMPORARY TABLES", database)?;
    crate::system::refuse_new_table(database, context)?;
    context.catalog().require_database(database)?;
    if create.options.is_federated() {
        return Err(SqlError::not_supported("CREATE TEMPORARY TABLE … ENGINE=FEDERATED"));
    }
    let name = create.name.name.as_str();
    if context.temporary_tables().find(database, name).is_some() {
        if create.if_not_exists {
            context.eval().note(ErrorCode::TableExists, format!("Table '{name}' already exists"));
            return Ok(done());
        }
        return Err(table_exists(name));
    }
    let id = context.new_temporary_id(name);
    let created = create_as(id, create, database, params, context).await;
    if created.is_err() {
        context.drop_temporary(id);
    }
    created
}

async fn create_as(
    id: TableId,
    create: &CreateTable,
    database: &str,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut draft = match &create.like {
        Some(like) => {
            let source = target_table(like, context)?;
            if *source.database == *database && *source.name == *create.name.name {
                return Err(SqlError::new(
                    ErrorCode::NonUniqueTable,
                    format!("Not unique table/alias: '{}'", source.name),
                ));
            }
            crate::acl::require_table(context, "SELECT", &source)?;
            if source.foreign.is_some() {
                return Err(SqlError::not_supported("CREATE TEMPORARY TABLE … LIKE a foreign table"));
            }
            like_table(&source, database, &create.name.name, context.eval().now_micros)
        }
        None => draft(create, database, context).await?,
    };
    draft.make_temporary(id)?;
    let selected = match &create.select {
        Some(query) => {
            let (planned, sources) = planned(query, params, context)?;
            add_selected_columns(&mut draft, &planned.plan.columns, &sources)?;
            Some(planned)
        }
        None => None,
    };
    let catalog = context.catalog();
    draft.finish(&catalog, context)?;
    define::require_primary_key(&draft.table, context)?;
    let table = Arc::new(draft.table);
    let records = match &selected {
        Some(planned) => {
            let (records, greatest) = fill(create, &table, planned, params, &(), context).await?;
            context.transaction().note_explicit_id(id, greatest);
            Some(records)
        }
        None => None,
    };
    if let Some(next) = create.options.auto_increment.filter(|next| *next > 0) {
        context.transaction().note_explicit_id(id, next - 1);
    }
    context.transaction().use_table(id, table.version);
    context.put_temporary(table);
    Ok(match records {
        Some(records) => copied(records),
        None => done(),
    })
}

/// The query whose rows the table is filled with.
fn planned(
    query: &sqlparser::ast::Query,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<(Planned, Vec<Arc<Table>>), SqlError> {
    let mut binder = Binder::new(context, &SystemTables, Some(params));
    let bound = binder.query(query, None)?;
    let planned = plan_query(bound, &mut binder)?;
    binder.claim(|_| false)?;
    Ok((planned, binder.tables))
}

fn copied(records: u64) -> Executed {
    let info = format!("Records: {records}  Duplicates: 0  Warnings: 0");
    Executed::Affected { changed: records, matched: records, insert_id: 0, info }
}

/// Runs ALTER TABLE. The running transaction has been committed, so every row is where an internal transaction finds it.
pub(crate) async fn alter(
    alter: &AlterTable,
    old: &Arc<Table>,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let id = context.new_temporary_id(&old.name);
    let altered = alter_as(id, alter, old, context).await;
    if altered.is_err() {
        context.drop_temporary(id);
    }
    altered
}

async fn alter_as(
    id: TableId,
    alter: &AlterTable,
    old: &Arc<Table>,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut reader = context.begin_internal().await?;
    let plan = plan(alter, old, &reader.catalog(), context).await?;
    let mut draft = define::Draft::of(&plan.new);
    draft.make_temporary(id)?;
    let mut new = draft.table;
    if plan.renamed {
        reader.catalog().require_database(&new.database)?;
        if context.temporary_tables().find(&new.database, &new.name).is_some() {
            return Err(table_exists(&new.name));
        }
    }
    for column in &mut new.columns {
        column.added_value = None;
    }
    let new = Arc::new(new);
    let (records, greatest) = copy_rows(old, &new, &plan.fresh, &mut *reader, &(), context).await?;
    let before = reader.transaction().next_id(old.id).await?;
    let next = plan.counter.map_or(before, |next| next.max(1)).max(greatest.saturating_add(1));
    let hidden = reader.transaction().next_id(key::hidden_id_counter(old.id)).await?;
    let txn = context.transaction();
    txn.note_explicit_id(id, next - 1);
    txn.note_explicit_id(key::hidden_id_counter(id), hidden - 1);
    context.drop_temporary(old.id);
    context.put_temporary(new);
    Ok(copied(records))
}

/// Runs TRUNCATE TABLE.
pub(crate) fn truncate(old: &Arc<Table>, context: &mut dyn StatementContext) -> Executed {
    let id = context.new_temporary_id(&old.name);
    context.drop_temporary(old.id);
    context.put_temporary(Arc::new(Table { id, ..(**old).clone() }));
    done()
}
