//! UPDATE, and finding the rows that UPDATE and DELETE change.

use super::foreign::{Changes, row_there};
use super::insert::{assign_update, finish_update, generated_value};
use super::through::{Guard, require_target};
use super::writer::{Stored, Writers};
use super::{Statement, WRITE, ignored};
use crate::bind::{Binder, Place, Scope, ScopeTable, Select};
use crate::constraints::foreign;
use crate::exec::{Operator, collect, open};
use crate::expr::{Expr, Row, Runtime, eval_async};
use crate::foreign::page_key;
use crate::infoschema::SystemTables;
use crate::plan::{ForeignScan, Node, NodeKind, RowsPlan, RowsTable, plan_rows};
use assize_catalog::key;
use assize_model::{ErrorCode, Key, SqlError};
use assize_ports::{Executed, LockMode, ReadIntent, StatementContext};
use assize_sql::{TableName, Update, ValueExpr};
use assize_values::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Runs UPDATE.
pub async fn update(
    update: &Update,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut rt = Runtime::new(context, params);
    let statement = Statement::begin(update.ignore, &mut rt);
    let result = run(update, &statement, &mut rt).await;
    statement.end(result, &mut rt)
}

/// `column = expression` over the joined row; `None` is DEFAULT.
struct Assigned {
    table: usize,
    ordinal: usize,
    expr: Option<Expr>,
}

/// What EXPLAIN tells of an UPDATE: how its rows are found.
pub(crate) fn plan_update(update: &Update, rt: &mut Runtime<'_>) -> Result<RowsPlan, SqlError> {
    Ok(bind_update(update, rt)?.0)
}

fn bind_update(
    update: &Update,
    rt: &mut Runtime<'_>,
) -> Result<(RowsPlan, Vec<usize>, Vec<Assigned>), SqlError> {
    let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
    super::bind_with(update.with.as_ref(), &mut binder)?;
    let (select, scope) = binder.rows_of(&update.tables, update.selection.as_ref(), &update.order_by)?;
    let mut assigned = Vec::with_capacity(update.assignments.len());
    let mut extra = Vec::new();
    for assignment in &update.assignments {
        let column = &assignment.column;
        let mut parts: Vec<&str> = Vec::new();
        parts.extend(column.database.as_deref());
        parts.extend(column.table.as_deref());
        parts.push(&column.name);
        let found = scope
            .find(&parts, "field list")?
            .ok_or_else(|| crate::bind::unknown_column(&parts.join("."), "field list"))?
            .id;
        let target = scope.tables.iter().find(|t| t.columns.iter().any(|c| c.id == found));
        let target = target.ok_or_else(|| SqlError::internal("a column without table"))?;
        let table = target_place(target, &select, "UPDATE")?;
        let columns = &select.tables[table].columns;
        let ordinal = columns.iter().position(|c| *c == found);
        let ordinal = ordinal.ok_or_else(|| {
            SqlError::new(
                ErrorCode::NotUpdatableColumn,
                format!("Column '{}' is not updatable", assignment.column.name),
            )
        })?;
        let expr = match &assignment.value {
            ValueExpr::Default => None,
            ValueExpr::Expr(ast) => {
                let bound = binder.expr(ast, Place::plain(&scope, "field list"))?;
                bound.columns(&mut extra);
                Some(bound)
            }
        };
        assigned.push(Assigned { table, ordinal, expr });
    }
    binder.claim(|table| scope.has(table))?;
    let targets: Vec<usize> = assigned.iter().map(|a| a.table).collect::<BTreeSet<_>>().into_iter().collect();
    let limit = update.limit.as_ref().map(|l| limit_expr(l, &mut binder)).transpose()?;
    let intent = ReadIntent::Update(LockMode::Optimistic);
    let plan = plan_rows(select, limit, &targets, intent, &extra, &mut binder)?;
    for a in &mut assigned {
        if let Some(expr) = &mut a.expr {
            let mut outer = Vec::new();
            expr.resolve(&plan.layout, &mut outer);
        }
    }
    Ok((plan, targets, assigned))
}

async fn run(update: &Update, statement: &Statement, rt: &mut Runtime<'_>) -> Result<Executed, SqlError> {
    let (plan, targets, assigned) = bind_update(update, rt)?;
    let mut writers = Writers::default();
    let mut there: BTreeMap<usize, Changes> = BTreeMap::new();
    for at in &targets {
        let rows_table = &plan.tables[*at];
        let Some(table) = &rows_table.table else {
            return Err(not_updatable(&rows_table.alias, "UPDATE"));
        };
        require_target("UPDATE", table, rows_table.via.as_deref(), rt)?;
        for a in assigned.iter().filter(|a| a.table == *at && a.expr.is_some()) {
            if table.columns[a.ordinal].generated.is_some() {
                return Err(generated_value(table, a.ordinal));
            }
        }
        if let Some(changes) = Changes::of(table, update.ignore, rt)? {
            there.insert(*at, changes);
        }
    }
    let guards: BTreeMap<usize, Guard> = targets
        .iter()
        .filter_map(|at| Some((*at, Guard::of(plan.tables[*at].via.as_deref()?, &plan.tables[*at].columns))))
        .collect();
    let single = plan.tables.len() == 1;
    let streams = single && moves_nothing(&plan, &assigned);
    let mut rows = Rows::open(&plan, streams, rt).await?;
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let (mut matched, mut changed) = (0u64, 0u64);
    while let Some(batch) = rows.next(rt).await? {
        rt.worked(batch.len() * WRITE).await?;
        for mut joined in batch {
            for at in &targets {
                let rows_table = &plan.tables[*at];
                let (Some(old), Some(table)) = (stored_row(rows_table, &joined), &rows_table.table) else {
                    continue;
                };
                if !single && !seen.insert(old.key.clone()) {
                    continue;
                }
                matched += 1;
                let writer = writers.of(table, rt)?;
                // Another target's cascade may have changed the row that the join saw.
                let old = if writer.parents.is_empty() || single {
                    old
                } else {
                    let slot = table.row_slot(&old.row, &old.key);
                    match writer.fetch(&old.key, slot, rt).await? {
                        Some(now) => now,
                        None => continue,
                    }
                };
                let mark = rt.context.transaction().mark();
                let one = async {
                    let mut row = old.row.clone();
                    let mut explicit = vec![false; row.len()];
                    for a in assigned.iter().filter(|a| a.table == *at) {
                        let value = match &a.expr {
                            Some(expr) => {
                                let value = eval_async(expr, &joined, rt).await?;
                                assign_update(&writer, a.ordinal, &value, &expr.sql_type, matched, rt)?
                            }
                            None => writer.default_of(a.ordinal, &row, rt).await?,
                        };
                        // Later assignments of the same statement see the new value, as in MySQL.
                        if let Some(slot) = rows_table.slots.get(a.ordinal).filter(|s| **s < joined.len()) {
                            joined[*slot] = value.clone();
                        }
                        row[a.ordinal] = value;
                        explicit[a.ordinal] = true;
                    }
                    if !finish_update(&writer, &old, &mut row, &explicit, matched, rt).await? {
                        return Ok(false);
                    }
                    writer.check(&row, rt).await?;
                    if let Some(guard) = guards.get(at) {
                        guard.check(&row, rt).await?;
                    }
                    if let Some(there) = there.get_mut(at) {
                        there.update(&old.row, &row, rt).await?;
                        return Ok(true);
                    }
                    foreign::check_parents(&writer, &row, Some(&old.row), &mut writers, rt).await?;
                    foreign::update_row(&writer, &old, &row, 0, &mut writers, rt).await?;
                    if let Some(ordinal) = table.auto_increment()
                        && row[ordinal] != old.row[ordinal]
                        && let Value::Int(_) | Value::UInt(_) = &row[ordinal]
                        && let Some(id) = match &row[ordinal] {
                            Value::Int(n) => u64::try_from(*n).ok(),
                            Value::UInt(n) => Some(*n),
                            _ => None,
                        }
                    {
                        rt.context.transaction().note_explicit_id(table.id, id);
                    }
                    Ok(true)
                };
                match one.await {
                    Ok(true) => changed += 1,
                    Ok(false) => {}
                    Err(error) => {
                        ignored(error, update.ignore, rt)?;
                        rt.context.transaction().undo_to(mark);
                    }
                }
            }
        }
    }
    for changes in there.values_mut() {
        changes.flush(rt).await?;
    }
    let warnings = statement.warnings(rt);
    Ok(Executed::Affected {
        changed,
        matched,
        insert_id: 0,
        info: format!("Rows matched: {matched}  Changed: {changed}  Warnings: {warnings}"),
    })
}

/// Whether the assignments leave every row where the scan found it, so that rows may be changed while the scan
/// goes on.
fn moves_nothing(plan: &RowsPlan, assigned: &[Assigned]) -> bool {
    let Some(table) = plan.tables.first().and_then(|t| t.table.as_ref()) else {
        return false;
    };
    if assigned.iter().any(|a| a.expr.as_ref().is_some_and(Expr::waits)) {
        return false;
    }
    if foreign_scan(&plan.plan.root).is_some() {
        // Pages follow each other by key.
        let stays = |ordinal: &usize| {
            table.columns[*ordinal].generated.is_none() && !assigned.iter().any(|a| a.ordinal == *ordinal)
        };
        return page_key(table).is_none_or(|key| key.iter().all(stays));
    }
    let Some(index) = scanned_index(&plan.plan.root) else {
        return false;
    };
    let (Some(scanned), Some(primary)) = (table.indexes.get(index), table.indexes.first()) else {
        return false;
    };
    scanned.parts.iter().chain(&primary.parts).all(|part| {
        let column = table.indexed_column(part);
        column.generated.is_none()
            && column.on_update_now.is_none()
            && !assigned.iter().any(|a| table.columns[a.ordinal].id == column.id)
    })
}

/// The index by which a plan without subqueries, joins and sorts reads its one table.
fn scanned_index(node: &Node) -> Option<usize> {
    match &node.kind {
        NodeKind::Scan(scan) if !scan.filter.iter().any(|f| f.waits) => Some(scan.access.index()),
        NodeKind::Filter { input, conditions } | NodeKind::Gate { input, conditions }
            if !conditions.iter().any(|c| c.waits) =>
        {
            scanned_index(input)
        }
        NodeKind::Project { input, exprs } if !exprs.iter().any(|e| e.waits) => scanned_index(input),
        NodeKind::Limit { input, .. } => scanned_index(input),
        _ => None,
    }
}

/// Likewise, if the table is on another server: its scan.
fn foreign_scan(node: &Node) -> Option<&ForeignScan> {
    match &node.kind {
        NodeKind::Foreign(scan) if !scan.filter.iter().any(|f| f.waits) => Some(scan),
        NodeKind::Filter { input, conditions } | NodeKind::Gate { input, conditions }
            if !conditions.iter().any(|c| c.waits) =>
        {
            foreign_scan(input)
        }
        NodeKind::Project { input, exprs } if !exprs.iter().any(|e| e.waits) => foreign_scan(input),
        NodeKind::Limit { input, .. } => foreign_scan(input),
        _ => None,
    }
}

/// The rows that a statement changes: kept before the first change, unless changes cannot disturb the scan.
pub(crate) struct Rows<'p> {
    operator: Box<dyn Operator + 'p>,
    kept: Option<Vec<Row>>,
}

impl<'p> Rows<'p> {
    /// Opens the plan. With `streams` rows are changed while the scan goes on.
    pub(crate) async fn open(
        plan: &'p RowsPlan,
        streams: bool,
        rt: &mut Runtime<'_>,
    ) -> Result<Rows<'p>, SqlError> {
        for table in plan.tables.iter().filter_map(|t| t.table.as_ref()).chain(&plan.views) {
            rt.context.transaction().use_table(table.id, table.version);
        }
        let mut operator = open(&plan.plan.root);
        let root = &plan.plan.root;
        let streams = streams && (scanned_index(root).is_some() || foreign_scan(root).is_some());
        let kept = if streams { None } else { Some(collect(&mut *operator, rt).await?) };
        Ok(Rows { operator, kept })
    }

    /// The next rows.
    pub(crate) async fn next(&mut self, rt: &mut Runtime<'_>) -> Result<Option<Vec<Row>>, SqlError> {
        match &mut self.kept {
            Some(rows) if rows.is_empty() => Ok(None),
            Some(rows) => Ok(Some(std::mem::take(rows))),
            None => self.operator.next(rt).await,
        }
    }
}

/// The stored row of one table within a joined row; `None` if an outer join found none, or if the table cannot
/// be changed.
pub(crate) fn stored_row(rows_table: &RowsTable, joined: &[Value]) -> Option<Stored> {
    let table = rows_table.table.as_ref()?;
    if table.foreign.is_some() {
        return row_there(rows_table, table, joined);
    }
    let row: Option<Row> = rows_table.slots.iter().map(|slot| joined.get(*slot).cloned()).collect();
    let row = row?;
    let key = match rows_table.row_id {
        Some(slot) => match joined.get(slot)? {
            Value::UInt(id) => key::hidden_row_key(table.id, *id),
            Value::Int(id) => key::hidden_row_key(table.id, *id as u64),
            _ => return None,
        },
        None => {
            let missing = table.indexes[0].parts.iter().any(|part| table.value_of(part, &row).is_null());
            if missing {
                return None;
            }
            table.row_key(&row)?
        }
    };
    Some(Stored { key, row })
}

/// Binds LIMIT.
pub(crate) fn limit_expr(limit: &sqlparser::ast::Expr, binder: &mut Binder<'_>) -> Result<Expr, SqlError> {
    let nothing = Scope::new(Vec::new(), None);
    binder.expr(limit, Place::plain(&nothing, "limit clause"))
}

/// Which table of FROM a statement changes that names this one: error 1288 if there is no one table behind it.
pub(crate) fn target_place(target: &ScopeTable, select: &Select, verb: &str) -> Result<usize, SqlError> {
    let changes = |at: &usize| select.tables[*at].view.as_ref().is_none_or(|via| via.updatable);
    let place = target.place.filter(changes);
    place.ok_or_else(|| not_updatable(&target.alias, verb))
}

/// Error 1288.
pub(crate) fn not_updatable(alias: &str, verb: &str) -> SqlError {
    SqlError::new(
        ErrorCode::NotUpdatableView,
        format!("The target table {alias} of the {verb} is not updatable"),
    )
}

/// Which tables of FROM the names of a multi-table DELETE mean.
pub(crate) fn target_positions(
    names: &[TableName],
    scope: &Scope<'_>,
    select: &Select,
    statement: &str,
) -> Result<Vec<usize>, SqlError> {
    let mut out = Vec::new();
    for name in names {
        let target = scope.tables.iter().find(|t| {
            t.answers_to(&name.name)
                && name.database.as_deref().is_none_or(|database| *t.database == *database)
        });
        let target = target.ok_or_else(|| {
            SqlError::new(
                ErrorCode::UnknownTableReference,
                format!("Unknown table '{}' in {statement}", name.name),
            )
        })?;
        let at = target_place(target, select, "DELETE")?;
        if !out.contains(&at) {
            out.push(at);
        }
    }
    Ok(out)
}
