//! DELETE.

use super::foreign::Changes;
use super::through::require_target;
use super::update::{Rows, not_updatable, target_place, target_positions};
use super::writer::Writers;
use super::{Statement, WRITE, ignored};
use crate::bind::Binder;
use crate::constraints::foreign;
use crate::expr::Runtime;
use crate::infoschema::SystemTables;
use crate::plan::{RowsPlan, plan_rows};
use assize_model::{Key, SqlError};
use assize_ports::{Executed, LockMode, ReadIntent, StatementContext};
use assize_sql::Delete;
use assize_values::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Runs DELETE.
pub async fn delete(
    delete: &Delete,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut rt = Runtime::new(context, params);
    let statement = Statement::begin(delete.ignore, &mut rt);
    let result = run(delete, &mut rt).await;
    statement.end(result, &mut rt)
}

/// How the rows of a DELETE are found, and which tables of FROM lose them.
pub(crate) fn bind_delete(delete: &Delete, rt: &mut Runtime<'_>) -> Result<(RowsPlan, Vec<usize>), SqlError> {
    let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
    super::bind_with(delete.with.as_ref(), &mut binder)?;
    let (select, scope) = binder.rows_of(&delete.from, delete.selection.as_ref(), &delete.order_by)?;
    binder.claim(|table| scope.has(table))?;
    let targets = if delete.targets.is_empty() {
        let only = scope.tables.first().ok_or_else(|| SqlError::internal("DELETE without a table"))?;
        vec![target_place(only, &select, "DELETE")?]
    } else {
        target_positions(&delete.targets, &scope, &select, "MULTI DELETE")?
    };
    let limit = delete.limit.as_ref().map(|l| super::update::limit_expr(l, &mut binder)).transpose()?;
    let intent = ReadIntent::Update(LockMode::Optimistic);
    let plan = plan_rows(select, limit, &targets, intent, &[], &mut binder)?;
    Ok((plan, targets))
}

async fn run(delete: &Delete, rt: &mut Runtime<'_>) -> Result<Executed, SqlError> {
    let (plan, targets) = bind_delete(delete, rt)?;
    let mut there: BTreeMap<usize, Changes> = BTreeMap::new();
    for at in &targets {
        let table = plan.tables[*at]
            .table
            .as_ref()
            .ok_or_else(|| not_updatable(&plan.tables[*at].alias, "DELETE"))?;
        require_target("DELETE", table, plan.tables[*at].via.as_deref(), rt)?;
        if let Some(changes) = Changes::of(table, delete.ignore, rt)? {
            there.insert(*at, changes);
        }
    }
    let mut writers = Writers::default();
    let mut gone: BTreeSet<Key> = BTreeSet::new();
    let mut deleted = 0;
    // A row that is deleted behind the scan does not come again, so rows need not be kept for one table.
    let mut rows = Rows::open(&plan, targets.len() == 1 && plan.tables.len() == 1, rt).await?;
    while let Some(batch) = rows.next(rt).await? {
        rt.worked(batch.len() * WRITE).await?;
        for row in batch {
            for at in &targets {
                let Some(old) = super::update::stored_row(&plan.tables[*at], &row) else { continue };
                let joined = targets.len() > 1 || plan.tables.len() > 1;
                if joined && !gone.insert(old.key.clone()) {
                    continue;
                }
                let Some(table) = &plan.tables[*at].table else { continue };
                let writer = writers.of(table, rt)?;
                // A cascade may have been quicker.
                if !writer.children.is_empty() {
                    let slot = table.row_slot(&old.row, &old.key);
                    if writer.fetch(&old.key, slot, rt).await?.is_none() {
                        continue;
                    }
                }
                let mark = rt.context.transaction().mark();
                let gone = match there.get_mut(at) {
                    Some(there) => there.delete(&old.row, rt).await,
                    None => foreign::delete_row(&writer, &old, 0, &mut writers, rt).await,
                };
                match gone {
                    Ok(()) => deleted += 1,
                    Err(error) => {
                        ignored(error, delete.ignore, rt)?;
                        rt.context.transaction().undo_to(mark);
                    }
                }
            }
        }
    }
    for changes in there.values_mut() {
        changes.flush(rt).await?;
    }
    Ok(Executed::Affected { changed: deleted, matched: deleted, insert_id: 0, info: String::new() })
}
