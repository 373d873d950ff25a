//! ALTER TABLE.
//!
//! All actions of a statement make one new definition. What it takes to get there follows from comparing it with
//! the old one:
//!
//! | what changed | what happens |
//! |---|---|
//! | names, defaults, comments, order, columns added at a constant or dropped | one commit; stored rows stay |
//! | indexes | added ones are built beside the running table, entries of dropped ones are deleted |
//! | foreign keys, CHECKs | in force with the commit, then every row is checked; refused ones are taken away |
//! | types, primary key, NOT NULL, stored values | every row is copied under a new table id, one commit switches |

use super::charset;
use super::copy::{Filler, give_id, invalid_null, reserve_table_id};
use super::define::{Draft, check_name};
use super::{ATTEMPTS, commit_built, done, drop, fence_parents, index, is_lost, recycle, table_exists};
use crate::constraints::foreign::ParentRule;
use crate::dml::target_table;
use crate::dml::writer::{Writer, Writers, now_value};
use crate::expr::Runtime;
use assize_catalog::{
    Catalog, ChangeBuilder, Column, DefaultValue, Index, IndexState, Table, key, same_name,
};
use assize_model::{ErrorCode, IndexId, KeyRange, SchemaVersion, SqlError, TableId};
use assize_ports::{
    Direction, Executed, ReadIntent, ScanRequest, ScanShards, StatementContext, StatementJob,
};
use assize_sql::{AlterAction, AlterTable, ColumnDef, ColumnPosition, PartitionBy, TableName};
use assize_values::{IntType, SqlType, Value};
use std::sync::Arc;

/// Rows read in one page.
const PAGE: usize = 500;

/// What an ALTER TABLE makes of a table.
pub(super) struct Plan {
    /// The table as it shall be.
    pub(super) new: Table,
    /// Columns whose values come from an expression or a counter rather than from the old row.
    pub(super) fresh: Vec<u32>,
    /// AUTO_INCREMENT = n.
    pub(super) counter: Option<u64>,
    /// The new name, if it is renamed.
    pub(super) renamed: bool,
    /// Values must be copied.
    copy: bool,
}

/// Runs ALTER TABLE.
pub async fn alter(alter: &AlterTable, context: &mut dyn StatementContext) -> Result<Executed, SqlError> {
    context.refresh_catalog().await?;
    let table = target_table(&alter.table, context)?;
    crate::acl::require_table(context, "ALTER", &table)?;
    if table.id.is_temporary() {
        return super::temporary::alter(alter, &table, context).await;
    }
    for attempt in 1..=ATTEMPTS {
        context.check_killed()?;
        match attempt_once(alter, context).await {
            Err(error) if is_lost(&error) && attempt < ATTEMPTS => {
                context.refresh_catalog().await?;
            }
            result => return result,
        }
    }
    Ok(done())
}

fn lost(table: &Table) -> SqlError {
    SqlError::new(
        ErrorCode::TableDefinitionChanged,
        format!(
            "Table definition of '{}.{}' has changed, please retry transaction",
            table.database, table.name
        ),
    )
}

async fn attempt_once(alter: &AlterTable, context: &mut dyn StatementContext) -> Result<Executed, SqlError> {
    let internal = context.begin_internal().await?;
    let catalog = internal.catalog();
    let database = crate::dml::database_of(&alter.table, context)?;
    let old = catalog.require_base_table(&database, &alter.table.name)?.clone();
    super::foreign::refuse_alter(&old, &alter.actions)?;
    let plan = plan(alter, &old, &catalog, context).await?;
    // An index that is being built may only be dropped: that is how a build whose frontend died is cleared away.
    let building = |i: &&Index| i.state != IndexState::Public && old.indexes.iter().any(|o| o.id == i.id);
    if let Some(building) = plan.new.indexes.iter().find(building) {
        return Err(SqlError::new(
            ErrorCode::CantExecuteWhileLocked,
            format!(
                "Index '{}' of table '{}' is being built; wait for it, or drop it if nobody builds it any more",
                building.name, old.name
            ),
        ));
    }
    if plan.copy {
        std::mem::drop(internal);
        let job = context.begin_job("alter", format!("copies {}.{}", old.database, old.name));
        let copied = copy_table(&old, plan, &*job, context).await;
        job.end(copied.as_ref().map(|_| ()));
        return copied;
    }
    let mut new = plan.new;
    new.version = SchemaVersion(old.version.0 + 1);
    let added: Vec<IndexId> =
        new.indexes.iter().filter(|i| !old.indexes.iter().any(|o| o.id == i.id)).map(|i| i.id).collect();
    let gone: Vec<IndexId> =
        old.indexes.iter().filter(|o| !new.indexes.iter().any(|i| o.id == i.id)).map(|i| i.id).collect();
    for index in new.indexes.iter_mut().filter(|i| added.contains(&i.id)) {
        index.state = IndexState::WriteOnly;
    }
    let change = {
        let mut change = ChangeBuilder::new(&catalog);
        put_definition(&old, &new, plan.renamed, &catalog, &mut change)?;
        change.fence(&new);
        if let Some(next) = plan.counter {
            change.set_counter(new.id, next);
        }
        change.finish()
    };
    if !commit_built(context, internal, change).await? {
        return Err(lost(&old));
    }
    // From here on the statement is not begun again: its definition is in force.
    let new_checks: Vec<Arc<str>> = new
        .checks
        .iter()
        .filter(|c| c.enforced && !old.checks.iter().any(|o| o.enforced && o.expression == c.expression))
        .map(|c| c.name.clone())
        .collect();
    let new_keys: Vec<Arc<str>> = new
        .foreign_keys
        .iter()
        .filter(|k| !old.foreign_keys.iter().any(|o| o.name == k.name))
        .map(|k| k.name.clone())
        .collect();
    let has_work = [added.len(), new_checks.len(), new_keys.len(), gone.len()].iter().any(|n| *n > 0);
    let job: Box<dyn StatementJob> = match has_work {
        true => context.begin_job(if added.is_empty() { "alter" } else { "index" }, work_on(&old, &new)),
        false => Box::new(()),
    };
    let checked = async {
        index::build(new.id, &added, &*job, context).await?;
        validate(new.id, &new_checks, &new_keys, &*job, context).await
    };
    if let Err(error) = checked.await {
        let taken_back = take_back(new.id, &added, &new_checks, &new_keys, context).await;
        job.end(Err(&error));
        taken_back?;
        return Err(again_as_final(error));
    }
    if !gone.is_empty() {
        job.step("deleting the entries of what was dropped");
    }
    let deleted = index::delete_entries(&old, &gone, context).await;
    job.end(deleted.as_ref().map(|_| ()));
    deleted?;
    Ok(Executed::Affected {
        changed: 0,
        matched: 0,
        insert_id: 0,
        info: "Records: 0  Duplicates: 0  Warnings: 0".into(),
    })
}

/// What a changed definition has to be done on data, in words.
fn work_on(old: &Table, new: &Table) -> String {
    let not_in = |these: &Table, index: &Index| !these.indexes.iter().any(|other| other.id == index.id);
    let names = |of: &Table, but: &Table| {
        let names: Vec<&str> =
            of.indexes.iter().filter(|index| not_in(but, index)).map(|index| &*index.name).collect();
        names.join(", ")
    };
    let (added, gone) = (names(new, old), names(old, new));
    let mut parts = Vec::new();
    if !added.is_empty() {
        parts.push(format!("builds index {added}"));
    }
    if !gone.is_empty() {
        parts.push(format!("drops index {gone}"));
    }
    if parts.is_empty() {
        parts.push("checks new constraints".to_owned());
    }
    format!("{} of {}.{}", parts.join(" and "), new.database, new.name)
}

/// A conflict after the definition is in force must not start the statement again.
fn again_as_final(error: SqlError) -> SqlError {
    if is_lost(&error) {
        return SqlError::new(
            ErrorCode::LockWaitTimeout,
            "Lock wait timeout exceeded; try restarting transaction: the table is too busy to be checked",
        );
    }
    error
}

/// Puts a changed definition into a change: under a new name if it has one, with the foreign keys of other
/// tables following renamed tables and columns.
fn put_definition(
    old: &Arc<Table>,
    new: &Table,
    renamed: bool,
    catalog: &Catalog,
    change: &mut ChangeBuilder<'_>,
) -> Result<(), SqlError> {
    if renamed {
        catalog.require_database(&new.database)?;
        if catalog.table(&new.database, &new.name).is_some() {
            return Err(table_exists(&new.name));
        }
        change.expect_no_other_ddl();
        change.expect_database(&new.database).remove_table(&old.database, &old.name);
    }
    change.put_table(new);
    for (child, _) in catalog.children_of(&old.database, &old.name) {
        if child.id == old.id {
            continue;
        }
        let mut follower = (**child).clone();
        for key in &mut follower.foreign_keys {
            if key.parent_database != old.database || key.parent_table != old.name {
                continue;
            }
            key.parent_database = new.database.clone();
            key.parent_table = new.name.clone();
            for name in &mut key.parent_columns {
                if let Some(id) = old.column(name).map(|c| c.id)
                    && let Some(column) = new.column_by_id(id)
                {
                    *name = column.name.clone();
                }
            }
        }
        if follower != **child {
            follower.version = SchemaVersion(child.version.0 + 1);
            change.put_table(&follower).fence(&follower);
        }
    }
    let keys_changed = old.foreign_keys != new.foreign_keys;
    if keys_changed {
        let added = Table {
            foreign_keys: new
                .foreign_keys
                .iter()
                .filter(|k| !old.foreign_keys.iter().any(|o| o.name == k.name))
                .cloned()
                .collect(),
            ..new.clone()
        };
        fence_parents(&added, catalog, change);
    }
    Ok(())
}

/// Takes away what a statement added and could not keep.
async fn take_back(
    table: TableId,
    indexes: &[IndexId],
    checks: &[Arc<str>],
    keys: &[Arc<str>],
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let mut before: Option<Arc<Table>> = None;
    super::commit_change(context, |catalog, change| {
        let Some(current) = catalog.table_by_id(table) else { return Ok(None) };
        before = Some(current.clone());
        let mut new = (**current).clone();
        new.indexes.retain(|i| !indexes.contains(&i.id));
        new.checks.retain(|c| !checks.contains(&c.name));
        new.foreign_keys.retain(|k| !keys.contains(&k.name));
        new.forget_idle_columns();
        new.version = SchemaVersion(current.version.0 + 1);
        change.put_table(&new).fence(&new);
        Ok(Some(()))
    })
    .await?;
    if let Some(before) = before {
        let left: Vec<IndexId> =
            before.indexes.iter().map(|i| i.id).filter(|id| indexes.contains(id)).collect();
        index::delete_entries(&before, &left, context).await?;
    }
    Ok(())
}

/// Checks every row of a table against constraints that have just come into force.
async fn validate(
    table: TableId,
    checks: &[Arc<str>],
    keys: &[Arc<str>],
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let keys: &[Arc<str>] = if crate::constraints::foreign_key_checks(context) { keys } else { &[] };
    if checks.is_empty() && keys.is_empty() {
        return Ok(());
    }
    job.step("checking constraints");
    let mut rest = Some(key::index_range(table, IndexId(0)));
    while let Some(range) = rest {
        context.check_killed()?;
        let mut internal = context.begin_internal().await?;
        let catalog = internal.catalog();
        let Some(definition) = catalog.table_by_id(table).cloned() else { return Ok(()) };
        let rules: Vec<ParentRule> = ParentRule::all(&definition, &catalog)
            .into_iter()
            .filter(|rule| keys.contains(&rule.key.name))
            .collect();
        let page = internal.transaction().scan(scan_of(table, range, ReadIntent::Check)).await?;
        let mut rows = Vec::with_capacity(page.rows.len());
        for (_, value) in &page.rows {
            rows.push(key::decode_row(&definition, value)?);
        }
        for rule in &rules {
            rule.all_hold(&definition, &rows, internal.transaction()).await?;
        }
        if !checks.is_empty() {
            let mut writers = Writers::default();
            let mut rt = Runtime::new(context, &[]);
            let writer = writers.of(&definition, &mut rt)?;
            for row in &rows {
                writer.check(row, &mut rt).await?;
            }
        }
        job.did(rows.len() as u64);
        // Nothing is written; what was read only has to be so at the snapshot, which lies behind the fence.
        rest = page.rest;
    }
    Ok(())
}

fn scan_of(table: TableId, range: KeyRange, intent: ReadIntent) -> ScanRequest {
    ScanRequest { table, range, shards: ScanShards::All, direction: Direction::Forward, limit: PAGE, intent }
}

/// Copies a table under a new id and switches to it. The switch is refused if anything was written to the
/// table since the copy's snapshot; then the copy is thrown away and made again.
async fn copy_table(
    old: &Arc<Table>,
    plan: Plan,
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let id = reserve_table_id(context).await?;
    let mut new = plan.new;
    new.id = id;
    new.version = SchemaVersion(old.version.0 + 1);
    for column in &mut new.columns {
        column.added_value = None;
    }
    let new = Arc::new(new);
    let mut reader = context.begin_internal().await?;
    let catalog = reader.catalog();
    let unchanged = catalog.table_by_id(old.id).is_some_and(|now| now.version == old.version);
    if !unchanged {
        return Err(lost(old));
    }
    reader.transaction().use_table(old.id, old.version);
    reader.transaction().check_range(old.id, key::index_range(old.id, IndexId(0)));
    let copied = copy_rows(old, &new, &plan.fresh, &mut *reader, job, context).await;
    let (records, greatest) = match copied {
        Ok(counts) => counts,
        Err(error) => {
            recycle::delete_rows_of(&new, context).await?;
            return Err(again_as_final(error));
        }
    };
    let next = match new.auto_increment() {
        Some(_) => Some(reader.transaction().next_id(old.id).await?.max(greatest + 1)),
        None => None,
    };
    let change = {
        let mut change = ChangeBuilder::new(&catalog);
        put_definition(old, &new, plan.renamed, &catalog, &mut change)?;
        change.fence_dropped(old);
        let counter = plan.counter.map(|n| n.max(greatest + 1)).or(next);
        if let Some(next) = counter {
            change.set_counter(id, next);
        }
        if new.hidden_row_id && old.hidden_row_id {
            let counter = key::hidden_id_counter(old.id);
            let next = reader.transaction().next_id(counter).await?;
            change.set_counter(key::hidden_id_counter(id), next);
        }
        change.finish()
    };
    if !commit_built(context, reader, change).await? {
        recycle::delete_rows_of(&new, context).await?;
        return Err(lost(old));
    }
    job.step("deleting the old rows");
    recycle::delete_range_as(old, key::table_range(old.id), job, context).await?;
    Ok(Executed::Affected {
        changed: records,
        matched: records,
        insert_id: 0,
        info: format!("Records: {records}  Duplicates: 0  Warnings: 0"),
    })
}

/// Copies the rows of a table into one that nobody knows yet; answers how many there are and the greatest id.
pub(super) async fn copy_rows(
    old: &Arc<Table>,
    new: &Arc<Table>,
    fresh: &[u32],
    reader: &mut dyn assize_ports::InternalTransaction,
    job: &dyn StatementJob,
    context: &mut dyn StatementContext,
) -> Result<(u64, u64), SqlError> {
    job.step("copying");
    let catalog = reader.catalog();
    let fk_checks = crate::constraints::foreign_key_checks(context);
    let rules: Vec<ParentRule> = if fk_checks {
        let added = |rule: &ParentRule| !old.foreign_keys.iter().any(|o| o.name == rule.key.name);
        ParentRule::all(new, &catalog).into_iter().filter(added).collect()
    } else {
        Vec::new()
    };
    let mut filler = Filler::new(new.clone(), false);
    let (mut row_number, mut greatest) = (0u64, 0u64);
    let mut rest = Some(key::index_range(old.id, IndexId(0)));
    while let Some(range) = rest {
        context.check_killed()?;
        let page = reader.transaction().scan(scan_of(old.id, range, ReadIntent::Plain)).await?;
        rest = page.rest;
        let mut rows = Vec::with_capacity(page.rows.len());
        for (row_key, value) in &page.rows {
            row_number += 1;
            let before = key::decode_row(old, value)?;
            let mut rt = Runtime::new(context, &[]);
            rt.context.eval().writing = true;
            let writer = Writer::detached(new, rt.context)?;
            let mut row = vec![Value::Null; new.columns.len()];
            for (ordinal, column) in new.columns.iter().enumerate() {
                if column.generated.is_some() {
                    continue;
                }
                row[ordinal] = match old.ordinal_by_id(column.id).filter(|_| !fresh.contains(&column.id)) {
                    Some(at) if before[at].is_null() && !column.nullable && !column.auto_increment => {
                        return Err(invalid_null());
                    }
                    Some(at) => {
                        let from = &old.columns[at].sql_type;
                        if *from == column.sql_type {
                            before[at].clone()
                        } else {
                            writer.store(ordinal, &before[at], from, row_number, &mut rt)?
                        }
                    }
                    None => added_value(&writer, ordinal, &row, &mut rt).await?,
                };
                if column.auto_increment {
                    greatest = give_id(column, &mut row[ordinal], greatest)?;
                }
            }
            writer.generate(&mut row, row_number, &mut rt).await?;
            writer.check(&row, &mut rt).await?;
            rt.context.eval().writing = false;
            let hidden = (new.hidden_row_id && old.hidden_row_id)
                .then(|| {
                    row_key.0.get(key::PREFIX_LEN..).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
                })
                .flatten();
            rows.push(row.clone());
            filler.add(row, hidden, context).await?;
        }
        job.did(rows.len() as u64);
        for rule in &rules {
            rule.all_hold(new, &rows, reader.transaction()).await?;
        }
    }
    let records = filler.finish(context).await?;
    Ok((records, greatest))
}

/// The value of an added column in rows that are there already: its default, else zero or empty, in any mode.
async fn added_value(
    writer: &Writer,
    ordinal: usize,
    row: &[Value],
    rt: &mut Runtime<'_>,
) -> Result<Value, SqlError> {
    let column = &writer.table.columns[ordinal];
    if column.default.is_none() && !column.nullable && !column.auto_increment {
        return Ok(crate::dml::writer::implicit_default(&column.sql_type));
    }
    writer.default_of(ordinal, row, rt).await
}

/// The definition that the actions make of a table.
pub(super) async fn plan(
    alter: &AlterTable,
    old: &Arc<Table>,
    catalog: &Catalog,
    context: &mut dyn StatementContext,
) -> Result<Plan, SqlError> {
    let mut draft = Draft::of(old);
    let mut plan =
        Plan { new: (**old).clone(), fresh: Vec::new(), counter: None, renamed: false, copy: false };
    let mut rename: Option<&TableName> = None;
    // What goes does so first, so that columns may go together with the functional indexes that need them.
    let functional = |name: &str| {
        old.index(name).is_some_and(|index| index.parts.iter().any(|p| old.key_expression(p).is_some()))
    };
    let (first, then): (Vec<&AlterAction>, Vec<&AlterAction>) = alter
        .actions
        .iter()
        .partition(|action| matches!(action, AlterAction::DropIndex(name) if functional(name)));
    for action in first.into_iter().chain(then) {
        apply(action, &mut draft, old, catalog, &mut plan, &mut rename, context).await?;
    }
    draft.finish(catalog, context)?;
    if !alter.actions.iter().all(|action| matches!(action, AlterAction::RenameTable(_))) {
        super::define::require_primary_key(&draft.table, context)?;
    }
    super::functional::require_understood(&draft.table, context).await?;
    super::charset::require_understood(super::charset::of_table(&draft.table), context).await?;
    plan.new = draft.table;
    if let Some(to) = rename {
        let database: Arc<str> = match &to.database {
            Some(database) => database.as_str().into(),
            None => context.database().unwrap_or_else(|| old.database.clone()),
        };
        check_name(&to.name, ErrorCode::WrongTableName, "table")?;
        if database != old.database || *to.name != *old.name {
            crate::system::refuse_new_table(&database, context)?;
            plan.renamed = true;
            drop::rename_draft(&mut plan.new, &database, &to.name);
        }
    }
    check_dependents(old, &plan.new, catalog)?;
    plan.copy |= needs_copy(old, &plan.new, &plan.fresh);
    if !plan.copy {
        give_added_values(old, &mut plan.new, context.eval());
    }
    Ok(plan)
}

/// Rows stored before a column was added have the value that its default was then.
fn give_added_values(old: &Table, new: &mut Table, eval: &assize_values::EvalContext) {
    for column in &mut new.columns {
        if old.column_by_id(column.id).is_some() {
            continue;
        }
        column.added_value = match &column.default {
            Some(DefaultValue::Constant(value)) => Some(value.clone()),
            Some(DefaultValue::Now(fsp)) => Some(now_value(&column.sql_type, *fsp, eval)),
            _ if column.nullable => None,
            _ => Some(crate::dml::writer::implicit_default(&column.sql_type)),
        };
    }
}

/// Whether stored rows or keys are not what the new definition says they are.
fn needs_copy(old: &Table, new: &Table, fresh: &[u32]) -> bool {
    if !fresh.is_empty()
        || old.indexes[0] != new.indexes[0]
        || old.hidden_row_id != new.hidden_row_id
        || old.sharding_column.map(|i| old.columns[i].id) != new.sharding_column.map(|i| new.columns[i].id)
    {
        return true;
    }
    for column in &new.columns {
        let changed = match old.column_by_id(column.id) {
            None => {
                column.auto_increment
                    // Building its index computes a hidden column for the rows that are there.
                    || (column.generated.is_some() && !column.hidden)
                    || matches!(column.default, Some(DefaultValue::Expression(_)))
            }
            Some(before) => {
                !same_stored_form(&before.sql_type, &column.sql_type)
                    || (before.nullable && !column.nullable)
                    || before.generated != column.generated
                    || (column.auto_increment && !before.auto_increment)
            }
        };
        if changed {
            return true;
        }
    }
    // An index that keeps its id but not its columns lost one of them.
    new.indexes
        .iter()
        .any(|i| old.indexes.iter().any(|o| o.id == i.id && (o.parts != i.parts || o.unique != i.unique)))
}

/// Whether values of one type are stored, and sorted, exactly as those of another.
fn same_stored_form(old: &SqlType, new: &SqlType) -> bool {
    match (old, new) {
        (SqlType::Int(a), SqlType::Int(b)) => {
            // A wider type of the same sign has the same varints and the same key bytes.
            let IntType { width: wa, unsigned: ua, .. } = a;
            let IntType { width: wb, unsigned: ub, .. } = b;
            ua == ub && wa <= wb
        }
        (SqlType::VarChar { length: a, collation: c }, SqlType::VarChar { length: b, collation: d }) => {
            a <= b && c == d
        }
        (SqlType::VarBinary { length: a }, SqlType::VarBinary { length: b }) => a <= b,
        (SqlType::Text { size: a, collation: c }, SqlType::Text { size: b, collation: d }) => {
            a <= b && c == d
        }
        (SqlType::Blob { size: a }, SqlType::Blob { size: b }) => a <= b,
        (SqlType::Enum { labels: a, collation: c }, SqlType::Enum { labels: b, collation: d })
        | (SqlType::Set { labels: a, collation: c }, SqlType::Set { labels: b, collation: d }) => {
            c == d && b.starts_with(a)
        }
        (a, b) => a == b,
    }
}

/// Refuses changes that foreign keys, CHECKs and generated columns forbid.
fn check_dependents(old: &Table, new: &Table, catalog: &Catalog) -> Result<(), SqlError> {
    for key in &new.foreign_keys {
        for id in &key.columns {
            let Some(before) = old.column_by_id(*id) else { continue };
            match new.column_by_id(*id) {
                None => {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyColumnCannotDrop,
                        format!(
                            "Cannot drop column '{}': needed in a foreign key constraint '{}'",
                            before.name, key.name
                        ),
                    ));
                }
                Some(after) if !super::define::compatible(&after.sql_type, &before.sql_type) => {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyColumnCannotChange,
                        format!(
                            "Cannot change column '{}': used in a foreign key constraint '{}'",
                            before.name, key.name
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        if new.index_starting_with(&key.columns).is_none() {
            let lost = old.index_starting_with(&key.columns).map_or("", |i| &i.name);
            return Err(SqlError::new(
                ErrorCode::DropIndexForeignKey,
                format!("Cannot drop index '{lost}': needed in a foreign key constraint"),
            ));
        }
    }
    // What refers to a table of this name does not mean a temporary one.
    let children = catalog.children_of(&old.database, &old.name).filter(|_| !old.id.is_temporary());
    for (child, key) in children {
        if child.id == old.id && !new.foreign_keys.iter().any(|k| k.name == key.name) {
            continue;
        }
        let mut ids = Vec::new();
        for name in &key.parent_columns {
            let Some(before) = old.column(name) else { continue };
            ids.push(before.id);
            match new.column_by_id(before.id) {
                None => {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyColumnCannotDropChild,
                        format!(
                            "Cannot drop column '{}': needed in a foreign key constraint '{}' of table '{}'",
                            before.name, key.name, child.name
                        ),
                    ));
                }
                Some(after)
                    if child.id != old.id
                        && !super::define::compatible(&after.sql_type, &before.sql_type) =>
                {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyColumnCannotChangeChild,
                        format!(
                            "Cannot change column '{}': used in a foreign key constraint '{}' of table '{}.{}'",
                            before.name, key.name, child.database, child.name
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        if old.unique_index_on(&ids).is_some() && new.unique_index_on(&ids).is_none() {
            let lost = old.unique_index_on(&ids).map_or("", |i| &i.name);
            return Err(SqlError::new(
                ErrorCode::DropIndexForeignKey,
                format!("Cannot drop index '{lost}': needed in a foreign key constraint"),
            ));
        }
    }
    Ok(())
}

async fn apply<'a>(
    action: &'a AlterAction,
    draft: &mut Draft,
    old: &Arc<Table>,
    catalog: &Catalog,
    plan: &mut Plan,
    rename: &mut Option<&'a TableName>,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    match action {
        AlterAction::AddColumn { column, position, if_not_exists } => {
            if *if_not_exists && draft.table.column(&column.name).is_some() {
                let text = format!("Duplicate column name '{}'", column.name);
                context.eval().note(ErrorCode::DuplicateColumn, text);
                return Ok(());
            }
            let at = draft.add_column(column, context).await?;
            draft.add_column_constraints(column)?;
            move_column(&mut draft.table, at, position)
        }
        AlterAction::AddConstraint(constraint) => draft.add_constraint(constraint),
        AlterAction::DropColumn { name, if_exists } => {
            let Some(at) = draft.table.ordinal(name) else {
                if *if_exists {
                    return Ok(());
                }
                return Err(cannot_drop(name));
            };
            drop_column(draft, at)
        }
        AlterAction::ModifyColumn { column, position } => {
            change_column(&column.name, column, position, draft, context).await
        }
        AlterAction::ChangeColumn { old_name, column, position } => {
            change_column(old_name, column, position, draft, context).await
        }
        AlterAction::RenameColumn { from, to } => {
            let at = draft.table.ordinal(from).ok_or_else(|| unknown_in(from, &old.name))?;
            rename_column(draft, at, to)
        }
        AlterAction::AlterDefault { column, default } => {
            let at = draft.table.ordinal(column).ok_or_else(|| unknown_in(column, &old.name))?;
            let current = draft.table.columns[at].clone();
            draft.table.columns[at].default = match default {
                Some(default) => draft.default(&current, default, context).await?,
                None => None,
            };
            Ok(())
        }
        AlterAction::AlterColumnVisibility { column, invisible } => {
            let at = draft.table.ordinal(column).ok_or_else(|| unknown_in(column, &old.name))?;
            draft.table.columns[at].invisible = *invisible;
            Ok(())
        }
        AlterAction::DropPrimaryKey => {
            if draft.table.hidden_row_id {
                return Err(cannot_drop("PRIMARY"));
            }
            draft.table.hidden_row_id = true;
            draft.table.indexes[0].parts.clear();
            Ok(())
        }
        AlterAction::DropIndex(name) => drop_index(draft, name),
        AlterAction::DropForeignKey(name) => {
            let before = draft.table.foreign_keys.len();
            draft.table.foreign_keys.retain(|k| !same_name(&k.name, name));
            if draft.table.foreign_keys.len() == before { Err(cannot_drop(name)) } else { Ok(()) }
        }
        AlterAction::DropCheck(name) => {
            let before = draft.table.checks.len();
            draft.table.checks.retain(|c| !same_name(&c.name, name));
            if draft.table.checks.len() == before { Err(no_check(name, &old.name)) } else { Ok(()) }
        }
        AlterAction::DropConstraint(name) => drop_constraint(draft, name),
        AlterAction::AlterCheck { name, enforced } => {
            let check = draft.table.checks.iter_mut().find(|c| same_name(&c.name, name));
            check.ok_or_else(|| no_check(name, &old.name))?.enforced = *enforced;
            Ok(())
        }
        AlterAction::RenameIndex { from, to } => {
            if draft.table.indexes.iter().skip(1).any(|i| same_name(&i.name, to) && !same_name(from, to)) {
                return Err(SqlError::new(ErrorCode::DuplicateKeyName, format!("Duplicate key name '{to}'")));
            }
            find_index(&mut draft.table, from, &old.name)?.name = to.as_str().into();
            Ok(())
        }
        AlterAction::AlterIndexVisibility { name, invisible } => {
            find_index(&mut draft.table, name, &old.name)?.invisible = *invisible;
            Ok(())
        }
        AlterAction::RenameTable(to) => {
            *rename = Some(to);
            Ok(())
        }
        AlterAction::OrderBy(_) | AlterAction::Keys(_) => Ok(()),
        AlterAction::ConvertCharset(clause) => {
            let otherwise = catalog.require_database(&old.database)?.collation;
            let collation = charset::resolve(clause, otherwise)?;
            draft.table.collation = collation;
            for column in &mut draft.table.columns {
                if let SqlType::Char { collation: c, .. }
                | SqlType::VarChar { collation: c, .. }
                | SqlType::Text { collation: c, .. }
                | SqlType::Enum { collation: c, .. }
                | SqlType::Set { collation: c, .. } = &mut column.sql_type
                {
                    *c = collation;
                }
            }
            Ok(())
        }
        AlterAction::Options(options) => {
            draft.set_options(options, context)?;
            if let Some(next) = options.auto_increment {
                let now = context.transaction().next_id(old.id).await?;
                // The counter never goes back below values that are in use.
                plan.counter =
                    Some(next.max(now.min(next.max(1))).max(greatest_used(old, context).await? + 1));
            }
            Ok(())
        }
        AlterAction::Partition(partition) => set_partition(draft, partition.as_ref()),
        AlterAction::Hint(word, _) => match word.as_str() {
            "FORCE" => {
                plan.copy = true;
                Ok(())
            }
            "ALGORITHM" | "LOCK" | "WITH VALIDATION" | "WITHOUT VALIDATION" => Ok(()),
            other => Err(SqlError::not_supported(format!("ALTER TABLE … {other}"))),
        },
    }
}

fn set_partition(draft: &mut Draft, partition: Option<&PartitionBy>) -> Result<(), SqlError> {
    draft.table.options.retain(|(name, _)| !name.starts_with("PARTITION"));
    draft.set_partition(partition)
}

/// The greatest AUTO_INCREMENT value in use, found by the end of an index on the column.
async fn greatest_used(table: &Table, context: &mut dyn StatementContext) -> Result<u64, SqlError> {
    let Some(ordinal) = table.auto_increment() else { return Ok(0) };
    let column = table.columns[ordinal].id;
    let leads = |i: &&Index| i.parts.first().is_some_and(|p| p.column == column && !p.descending);
    let Some(index) = table.indexes.iter().find(leads) else { return Ok(0) };
    let mut internal = context.begin_internal().await?;
    let txn = internal.transaction();
    let request = ScanRequest {
        direction: Direction::Reverse,
        limit: 1,
        ..scan_of(table.id, key::index_range(table.id, index.id), ReadIntent::Plain)
    };
    let page = txn.scan(request).await?;
    let Some((entry, value)) = page.rows.first() else { return Ok(0) };
    let row = if index.is_primary() {
        Some(value.clone())
    } else {
        let (slot, row_key) = key::row_of_entry(entry, value)?;
        txn.get(table.id, slot, &row_key, ReadIntent::Plain).await?
    };
    let Some(row) = row else { return Ok(0) };
    Ok(super::create::id_of(&key::decode_row(table, &row)?[ordinal]))
}

fn move_column(table: &mut Table, at: usize, position: &ColumnPosition) -> Result<(), SqlError> {
    let to = match position {
        ColumnPosition::Default => return Ok(()),
        ColumnPosition::First => 0,
        ColumnPosition::After(name) => {
            let id = table.columns[at].id;
            let after = table.column(name).map(|c| c.id).ok_or_else(|| unknown_in(name, &table.name))?;
            if after == id {
                return Err(unknown_in(name, &table.name));
            }
            let moved = table.columns.remove(at);
            let after = table.ordinal_by_id(after).map_or(table.columns.len(), |i| i + 1);
            table.columns.insert(after, moved);
            return Ok(());
        }
    };
    let moved = table.columns.remove(at);
    table.columns.insert(to, moved);
    Ok(())
}

fn drop_column(draft: &mut Draft, at: usize) -> Result<(), SqlError> {
    let column = draft.table.columns[at].clone();
    if draft.table.shown_columns().count() == 1 {
        return Err(SqlError::new(
            ErrorCode::CantRemoveAllFields,
            "You can't delete all columns with ALTER TABLE; use DROP TABLE instead",
        ));
    }
    refuse_dependents(&draft.table, &column)?;
    // CHECKs that mention the column alone go with it.
    draft.table.checks.retain(|check| {
        super::parse_stored(&check.expression).map_or(true, |ast| {
            let names = super::print::columns(&ast);
            !(names.len() == 1 && same_name(&names[0], &column.name))
        })
    });
    draft.table.columns.remove(at);
    for index in &mut draft.table.indexes {
        index.parts.retain(|p| p.column != column.id);
    }
    if draft.table.indexes[0].parts.is_empty() {
        draft.table.hidden_row_id = true;
    }
    let primary = draft.table.indexes[0].clone();
    draft.table.indexes.retain(|i| !i.parts.is_empty() || i.id == primary.id);
    Ok(())
}

/// Refuses to drop or rename a column that an expression mentions.
fn refuse_dependents(table: &Table, column: &Column) -> Result<(), SqlError> {
    let mentions = |text: &str| -> Result<Vec<String>, SqlError> {
        Ok(super::print::columns(&super::parse_stored(text)?))
    };
    for other in &table.columns {
        if let Some(generated) = &other.generated
            && other.id != column.id
            && mentions(&generated.expression)?.iter().any(|n| same_name(n, &column.name))
        {
            if other.hidden {
                return Err(super::functional::depends(&column.name));
            }
            return Err(SqlError::new(
                ErrorCode::DependentByGeneratedColumn,
                format!("Column '{}' has a generated column dependency.", column.name),
            ));
        }
    }
    for check in &table.checks {
        let names = mentions(&check.expression)?;
        if names.len() > 1 && names.iter().any(|n| same_name(n, &column.name)) {
            return Err(SqlError::new(
                ErrorCode::CheckConstraintUsesColumn,
                format!(
                    "Check constraint '{}' uses column '{}', hence column cannot be dropped or renamed.",
                    check.name, column.name
                ),
            ));
        }
    }
    Ok(())
}

fn rename_column(draft: &mut Draft, at: usize, to: &str) -> Result<(), SqlError> {
    check_name(to, ErrorCode::WrongColumnName, "column")?;
    let column = draft.table.columns[at].clone();
    if draft.table.column(to).is_some_and(|c| c.id != column.id) {
        return Err(SqlError::new(ErrorCode::DuplicateColumn, format!("Duplicate column name '{to}'")));
    }
    if !same_name(&column.name, to) {
        refuse_dependents(&draft.table, &column)?;
        for check in &draft.table.checks {
            let names = super::print::columns(&super::parse_stored(&check.expression)?);
            if names.iter().any(|n| same_name(n, &column.name)) {
                return Err(SqlError::new(
                    ErrorCode::CheckConstraintUsesColumn,
                    format!(
                        "Check constraint '{}' uses column '{}', hence column cannot be dropped or renamed.",
                        check.name, column.name
                    ),
                ));
            }
        }
    }
    draft.table.columns[at].name = to.into();
    let (database, name) = (draft.table.database.clone(), draft.table.name.clone());
    for key in &mut draft.table.foreign_keys {
        if key.parent_database == database && key.parent_table == name {
            for parent in key.parent_columns.iter_mut().filter(|p| same_name(p, &column.name)) {
                *parent = to.into();
            }
        }
    }
    Ok(())
}

async fn change_column(
    old_name: &str,
    def: &ColumnDef,
    position: &ColumnPosition,
    draft: &mut Draft,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let table_name = draft.table.name.clone();
    let at = draft.table.ordinal(old_name).ok_or_else(|| unknown_in(old_name, &table_name))?;
    let before = draft.table.columns[at].clone();
    if before.name.as_ref() != def.name.as_str() {
        rename_column(draft, at, &def.name)?;
    }
    let mut column = draft.column(def, before.id, context).await?;
    let in_primary =
        !draft.table.hidden_row_id && draft.table.indexes[0].parts.iter().any(|p| p.column == before.id);
    if in_primary {
        if def.nullable == Some(true) {
            return Err(super::define::primary_null());
        }
        column.nullable = false;
    }
    if before.generated.is_some() != column.generated.is_some()
        && before.generated.as_ref().or(column.generated.as_ref()).is_some_and(|g| !g.stored)
    {
        return Err(SqlError::new(
            ErrorCode::UnsupportedOnGeneratedColumn,
            "'Changing the STORED status' is not supported for generated columns.",
        ));
    }
    // A value of the type it was stored in; if the type's stored form changes, a copy has no use for it.
    column.added_value = before.added_value.clone();
    draft.table.columns[at] = column;
    // Prefix lengths that no longer fit their column are refused by building the index again.
    let indexes = draft.table.indexes.clone();
    for index in indexes.iter().filter(|i| i.parts.iter().any(|p| p.column == before.id)) {
        check_index(&draft.table, index)?;
    }
    draft.add_column_constraints(def)?;
    move_column(&mut draft.table, at, position)
}

/// Checks that an existing index still goes with the types of its columns.
fn check_index(table: &Table, index: &Index) -> Result<(), SqlError> {
    let mut probe = Draft::of(table);
    probe.table.indexes.retain(|i| i.id == IndexId(0));
    probe.table.hidden_row_id = true;
    // Functional key parts are checked with the table as a whole.
    let columns = || index.parts.iter().filter(|part| table.key_expression(part).is_none());
    if columns().next().is_none() {
        return Ok(());
    }
    let parts = columns()
        .map(|part| assize_sql::IndexPartDef {
            key: assize_sql::IndexPartKey::Column(table.indexed_column(part).name.to_string()),
            prefix: part.prefix,
            descending: part.descending,
        })
        .collect();
    let def = assize_sql::IndexDef {
        kind: assize_sql::IndexKind::Plain,
        name: Some("probe".into()),
        parts,
        comment: None,
        invisible: false,
        using: None,
    };
    probe.add_index(&def).map(|_| ())
}

fn drop_index(draft: &mut Draft, name: &str) -> Result<(), SqlError> {
    if name.eq_ignore_ascii_case("PRIMARY") {
        if draft.table.hidden_row_id {
            return Err(cannot_drop(name));
        }
        draft.table.hidden_row_id = true;
        draft.table.indexes[0].parts.clear();
        return Ok(());
    }
    let at = draft.table.indexes.iter().skip(1).position(|i| same_name(&i.name, name));
    let at = at.ok_or_else(|| cannot_drop(name))? + 1;
    draft.table.indexes.remove(at);
    draft.table.forget_idle_columns();
    Ok(())
}

fn drop_constraint(draft: &mut Draft, name: &str) -> Result<(), SqlError> {
    if draft.table.checks.iter().any(|c| same_name(&c.name, name)) {
        draft.table.checks.retain(|c| !same_name(&c.name, name));
        return Ok(());
    }
    if draft.table.foreign_keys.iter().any(|k| same_name(&k.name, name)) {
        draft.table.foreign_keys.retain(|k| !same_name(&k.name, name));
        return Ok(());
    }
    if draft.table.indexes.iter().any(|i| i.unique && same_name(&i.name, name)) {
        return drop_index(draft, name);
    }
    Err(SqlError::new(ErrorCode::CantDropFieldOrKey, format!("Constraint '{name}' does not exist.")))
}

fn find_index<'t>(table: &'t mut Table, name: &str, table_name: &str) -> Result<&'t mut Index, SqlError> {
    table.indexes.iter_mut().skip(1).find(|i| same_name(&i.name, name)).ok_or_else(|| {
        SqlError::new(
            ErrorCode::KeyDoesNotExist,
            format!("Key '{name}' doesn't exist in table '{table_name}'"),
        )
    })
}

fn cannot_drop(name: &str) -> SqlError {
    SqlError::new(ErrorCode::CantDropFieldOrKey, format!("Can't DROP '{name}'; check that column/key exists"))
}

fn no_check(name: &str, table: &str) -> SqlError {
    SqlError::new(
        ErrorCode::CheckConstraintNotFound,
        format!("Check constraint '{name}' is not found in the table '{table}'."),
    )
}

fn unknown_in(column: &str, table: &str) -> SqlError {
    SqlError::new(ErrorCode::UnknownColumn, format!("Unknown column '{column}' in '{table}'"))
}
