//! Queries: joins, then groups, windows, order, limit; set operations; common table expressions.

use super::computed;
use super::joins::{Joins, Prepared};
use super::{AggregatePlan, CtePlan, Node, NodeKind, OrderKey, Scalar, SubPlan, WindowPlan};
use crate::bind::{
    Binder, Body, BoundTable, Cte, CteBody, FrameBound, Query, Select, SetOperation, SortKey, Source,
    TableRead, Via, WindowFunction,
};
use crate::expr::*;
use assize_catalog::Table;
use assize_model::SqlError;
use assize_ports::ReadIntent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A planned query.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: SubPlan,
    /// Its result columns, as clients are told.
    pub results: Vec<assize_ports::ResultColumn>,
    /// Whether LIMIT was written; otherwise `sql_select_limit` applies.
    pub limited: bool,
    /// SQL_CALC_FOUND_ROWS.
    pub calc_found_rows: bool,
    /// Stored tables and views that it reads.
    pub tables: Vec<Arc<Table>>,
    /// Who has to be allowed to.
    pub reads: Vec<TableRead>,
}

/// Rows of UPDATE and DELETE: where each table's columns are in the rows that the plan makes.
#[derive(Debug)]
pub struct RowsPlan {
    /// The plan.
    pub plan: SubPlan,
    /// Which column sits where.
    pub layout: Layout,
    /// The tables of FROM, in order.
    pub tables: Vec<RowsTable>,
    /// Views that the statement goes through.
    pub views: Vec<Arc<Table>>,
}

/// One table of a [`RowsPlan`].
#[derive(Debug)]
pub struct RowsTable {
    /// Its alias.
    pub alias: Arc<str>,
    /// The stored table; `None` for derived ones, which cannot be changed.
    pub table: Option<Arc<Table>>,
    /// Where its columns are, in order.
    pub slots: Vec<usize>,
    /// The view through which the statement reaches it.
    pub via: Option<Arc<Via>>,
    /// Its columns.
    pub columns: Vec<ColumnId>,
    /// Where its hidden row id is. NULL there, or in the whole primary key: an outer join found no row.
    pub row_id: Option<usize>,
}

/// Plans a bound query as a statement of its own.
pub fn plan_query(query: Query, binder: &mut Binder<'_>) -> Result<Planned, SqlError> {
    let limited = query.limit.is_some();
    let calc_found_rows = query.calc_found_rows;
    let plan = subquery(query, false, binder)?;
    let results = plan.columns.iter().map(|c| c.result.clone()).collect();
    let (tables, reads) = (binder.tables.clone(), binder.reads.clone());
    Ok(Planned { plan, results, limited, calc_found_rows, tables, reads })
}

/// The rows of a virtual table, of whose columns only those are made that somebody mentions: some are dear. A condition may be
/// the only one to mention a column; conditions are checked above.
fn virtual_rows(
    table: &BoundTable,
    found: &crate::bind::VirtualTable,
    needed: &BTreeSet<ColumnId>,
    conditions: &[Expr],
) -> Prepared {
    let mut mentioned = needed.clone();
    for condition in conditions {
        let mut used = Vec::new();
        condition.columns(&mut used);
        mentioned.extend(used);
    }
    let wanted = table.columns.iter().enumerate().filter(|(_, id)| mentioned.contains(id));
    let (columns, ids) = wanted.map(|(at, id)| (at, *id)).unzip();
    let kind = NodeKind::Virtual { table: found.clone(), columns, filter: Vec::new() };
    Prepared::Node(Box::new(Node { kind, columns: ids, rows: 200.0 }))
}

/// Plans a bound query whose outer columns become parameters. For EXISTS neither order nor columns matter.
pub fn subquery(mut query: Query, exists: bool, binder: &mut Binder<'_>) -> Result<SubPlan, SqlError> {
    if exists && let Body::Select(select) = &mut query.body {
        select.order.clear();
        if select.grouping.is_none()
            && query.limit.is_none()
            && select.windows.is_empty()
            && select.having.is_empty()
        {
            select.distinct = false;
            select.projection.clear();
            query.columns.clear();
        }
    }
    let columns = query.columns.clone();
    let mut planner = Planner::new(binder);
    let root = planner.query(query)?;
    let Planner { outer, repeat, .. } = planner;
    Ok(SubPlan { root, columns, outer, repeat })
}

/// Plans the rows of UPDATE and DELETE. `intent` is for the rows of stored tables at these positions.
pub fn plan_rows(
    mut select: Select,
    limit: Option<Expr>,
    targets: &[usize],
    intent: ReadIntent,
    extra: &[ColumnId],
    binder: &mut Binder<'_>,
) -> Result<RowsPlan, SqlError> {
    let mut needed: BTreeSet<ColumnId> = extra.iter().copied().collect();
    for at in targets {
        if let Some(table) = select.tables.get_mut(*at) {
            table.intent = intent;
            needed.extend(table.columns.iter().copied());
            needed.extend(table.row_id);
        }
    }
    let tables: Vec<BoundTable> = select.tables.clone();
    let mut planner = Planner::new(binder);
    let mut order = std::mem::take(&mut select.order);
    computed::in_order(&select.tables, select.from.as_ref(), &mut order);
    for key in &order {
        let mut used = Vec::new();
        key.expr.columns(&mut used);
        needed.extend(used);
    }
    let wanted = wanted_order(&order).map(|w| (w, limit.is_some()));
    let (mut node, ordered) = planner.source(&mut select, &needed, wanted)?;
    let empty = Layout::default();
    let limit = limit.map(|l| planner.scalar(l, &empty));
    if !order.is_empty() && !ordered {
        node = planner.sort(node, &order, limit.clone().map(|l| (None, l)))?;
    }
    if limit.is_some() {
        hint_scan(&mut node, limit.as_ref());
        node = limit_node(node, limit, None, false);
    }
    let layout = node.layout();
    let rows_tables = tables
        .iter()
        .map(|t| RowsTable {
            alias: t.alias.clone(),
            table: match &t.source {
                Source::Stored(stored) => Some(stored.clone()),
                _ => None,
            },
            slots: t.columns.iter().map(|c| layout.slot(*c).unwrap_or(usize::MAX)).collect(),
            via: t.view.clone(),
            columns: t.columns.clone(),
            row_id: t.row_id.and_then(|id| layout.slot(id)),
        })
        .collect();
    let Planner { outer, repeat, .. } = planner;
    let plan = SubPlan { root: node, columns: Vec::new(), outer, repeat };
    let views = binder.tables.iter().filter(|t| t.view.is_some()).cloned().collect();
    Ok(RowsPlan { plan, layout, tables: rows_tables, views })
}

/// Plans one statement or subquery.
pub(super) struct Planner<'b, 'c> {
    pub(super) binder: &'b mut Binder<'c>,
    /// Outer columns met so far, in order.
    pub(super) outer: Vec<ColumnId>,
    /// The worst of the expressions met so far.
    repeat: Repeat,
    ctes: BTreeMap<u32, Arc<CtePlan>>,
}

fn wanted_order(order: &[SortKey]) -> Option<Vec<(ColumnId, bool)>> {
    order.iter().map(|k| k.expr.as_column().map(|c| (c, k.descending))).collect()
}

fn limit_node(node: Node, limit: Option<Scalar>, offset: Option<Scalar>, calc_found_rows: bool) -> Node {
    let columns = node.columns.clone();
    let rows = node.rows;
    Node { kind: NodeKind::Limit { input: Box::new(node), limit, offset, calc_found_rows }, columns, rows }
}

/// Tells the scan below, if rows stream from it, how many rows are likely enough.
fn hint_scan(node: &mut Node, limit: Option<&Scalar>) {
    match &mut node.kind {
        NodeKind::Scan(scan) => scan.hint = limit.cloned(),
        NodeKind::Foreign(scan) => scan.hint = limit.cloned(),
        NodeKind::Filter { input, .. } | NodeKind::Project { input, .. } | NodeKind::Gate { input, .. } => {
            hint_scan(input, limit)
        }
        _ => {}
    }
}

impl<'b, 'c> Planner<'b, 'c> {
    fn new(binder: &'b mut Binder<'c>) -> Self {
        Planner { binder, outer: Vec::new(), repeat: Repeat::Same, ctes: BTreeMap::new() }
    }
}

impl Planner<'_, '_> {
    /// Resolves an expression.
    pub(super) fn scalar(&mut self, expr: Expr, layout: &Layout) -> Scalar {
        self.repeat = self.repeat.max(expr.repeat());
        Scalar::new(expr, layout, &mut self.outer)
    }

    fn query(&mut self, query: Query) -> Result<Node, SqlError> {
        crate::deep::grow(|| self.query_inner(query))
    }

    fn query_inner(&mut self, query: Query) -> Result<Node, SqlError> {
        let Query { body, columns, order, limit, offset, calc_found_rows } = query;
        let empty = Layout::default();
        let limit = limit.map(|l| self.scalar(l, &empty));
        let offset = offset.map(|o| self.scalar(o, &empty));
        let mut node = match body {
            Body::Select(select) => {
                return self.select(*select, limit, offset, calc_found_rows);
            }
            Body::SetOperation(operation) => self.set_operation(*operation)?,
            Body::Values(rows) => {
                let rows: Vec<Vec<Scalar>> = rows
                    .into_iter()
                    .map(|row| row.into_iter().map(|e| self.scalar(e, &empty)).collect())
                    .collect();
                let count = rows.len() as f64;
                Node { kind: NodeKind::Values(rows), columns: Vec::new(), rows: count }
            }
            Body::Nested(query) => self.query(*query)?,
        };
        node.columns = columns.iter().map(|c| c.id).collect();
        if !order.is_empty() {
            let top = limit.clone().map(|l| (offset.clone(), l));
            node = self.sort(node, &order, top.filter(|_| !calc_found_rows))?;
        }
        if limit.is_some() || offset.is_some() {
            node = limit_node(node, limit, offset, calc_found_rows);
        }
        Ok(node)
    }

    fn sort(
        &mut self,
        node: Node,
        order: &[SortKey],
        limit: Option<(Option<Scalar>, Scalar)>,
    ) -> Result<Node, SqlError> {
        let layout = node.layout();
        let keys = self.order_keys(order, &layout);
        let columns = node.columns.clone();
        let rows = node.rows;
        Ok(Node { kind: NodeKind::Sort { input: Box::new(node), keys, limit }, columns, rows })
    }

    fn order_keys(&mut self, order: &[SortKey], layout: &Layout) -> Vec<OrderKey> {
        order
            .iter()
            .map(|key| OrderKey {
                compare: same_type_comparison(&key.expr),
                scalar: self.scalar(key.expr.clone(), layout),
                descending: key.descending,
            })
            .collect()
    }

    fn set_operation(&mut self, operation: SetOperation) -> Result<Node, SqlError> {
        let SetOperation { op, all, left, right, types } = operation;
        let of = |q: &Query| q.columns.iter().map(|c| c.result.sql_type.clone()).collect::<Vec<_>>();
        let (left_types, right_types) = (of(&left), of(&right));
        let compare = types.iter().map(type_comparison).collect();
        let left = self.query(left)?;
        let right = self.query(right)?;
        let rows = left.rows + right.rows;
        Ok(Node {
            columns: left.columns.clone(),
            kind: NodeKind::SetOperation {
                op,
                all,
                left: Box::new(left),
                right: Box::new(right),
                left_types,
                right_types,
                types,
                compare,
            },
            rows,
        })
    }

    /// Rows of FROM and WHERE; and whether they come in the wanted order.
    fn source(
        &mut self,
        select: &mut Select,
        needed: &BTreeSet<ColumnId>,
        wanted: Option<(Vec<(ColumnId, bool)>, bool)>,
    ) -> Result<(Node, bool), SqlError> {
        let mut conditions = std::mem::take(&mut select.filter);
        if let Some(from) = &select.from {
            push_down(from, &mut select.tables, &mut conditions);
        }
        computed::in_conditions(&select.tables, select.from.as_mut(), &mut conditions);
        let Some(from) = select.from.take() else {
            let node = Node { kind: NodeKind::One, columns: Vec::new(), rows: 1.0 };
            if conditions.is_empty() {
                return Ok((node, false));
            }
            let layout = Layout::default();
            let conditions = conditions.into_iter().map(|c| self.scalar(c, &layout)).collect();
            let kind = NodeKind::Filter { input: Box::new(node), conditions };
            return Ok((Node { kind, columns: Vec::new(), rows: 1.0 }, false));
        };
        let mut needed = needed.clone();
        if select.tables.len() > 1 {
            for condition in &conditions {
                let mut used = Vec::new();
                condition.columns(&mut used);
                needed.extend(used);
            }
            on_columns(&from, &mut needed);
        }
        let tables = std::mem::take(&mut select.tables);
        let mut prepared = Vec::with_capacity(tables.len());
        for table in &tables {
            prepared.push(self.prepare(table, &mut needed)?);
        }
        // Last: lateral tables have mentioned columns of others.
        for (table, prepared) in tables.iter().zip(&mut prepared) {
            if let Source::Virtual(found) = &table.source {
                *prepared = Some(virtual_rows(table, found, &needed, &conditions));
            }
        }
        let mut joins =
            Joins { tables, needed: &needed, prepared, straight: select.straight, wanted, ordered: false };
        let node = self.join_tree(from, conditions, &mut joins)?;
        let ordered = joins.ordered;
        select.tables = joins.tables;
        Ok((node, ordered))
    }

    /// Plans a table that is not stored.
    fn prepare(
        &mut self,
        table: &BoundTable,
        needed: &mut BTreeSet<ColumnId>,
    ) -> Result<Option<Prepared>, SqlError> {
        let wanted = |needed: &BTreeSet<ColumnId>| -> (Vec<usize>, Vec<ColumnId>) {
            table.columns.iter().enumerate().filter(|(_, c)| needed.contains(c)).map(|(i, c)| (i, *c)).unzip()
        };
        Ok(match &table.source {
            Source::Stored(_) | Source::Virtual(_) => None,
            Source::Derived { query, lateral: false } => {
                let mut node = self.query((**query).clone())?;
                node.columns = table.columns.clone();
                Some(Prepared::Node(Box::new(node)))
            }
            Source::Derived { query, lateral: true } => {
                let plan = subquery((**query).clone(), false, self.binder)?;
                needed.extend(plan.outer.iter().copied());
                self.repeat = self.repeat.max(plan.repeat);
                Some(Prepared::Lateral(Arc::new(plan)))
            }
            Source::Cte(cte) => {
                let plan = self.cte(cte)?;
                let (columns, ids) = {
                    let all: Vec<usize> = (0..table.columns.len()).collect();
                    let _ = wanted;
                    (all, table.columns.clone())
                };
                let kind = NodeKind::Cte { id: cte.id, name: cte.name.clone(), plan, columns };
                Some(Prepared::Node(Box::new(Node { kind, columns: ids, rows: 1000.0 })))
            }
            Source::Recursion(name) => {
                let columns = (0..table.columns.len()).collect();
                let kind = NodeKind::Recursion { name: name.clone(), columns };
                Some(Prepared::Node(Box::new(Node { kind, columns: table.columns.clone(), rows: 100.0 })))
            }
        })
    }

    fn cte(&mut self, cte: &Arc<Cte>) -> Result<Arc<CtePlan>, SqlError> {
        if let Some(known) = self.ctes.get(&cte.id) {
            return Ok(known.clone());
        }
        let plan = match &cte.body {
            CteBody::Query(query) => CtePlan::Query(subquery((**query).clone(), false, self.binder)?),
            CteBody::Recursive { seed, step, all } => CtePlan::Recursive {
                name: cte.name.clone(),
                seed: subquery((**seed).clone(), false, self.binder)?,
                step: subquery((**step).clone(), false, self.binder)?,
                all: *all,
                types: cte.columns.iter().map(|c| c.result.sql_type.clone()).collect(),
            },
            CteBody::Unfinished => return Err(SqlError::internal("an unfinished common table expression")),
        };
        let outers: &[&SubPlan] = match &plan {
            CtePlan::Query(q) => &[q],
            CtePlan::Recursive { seed, step, .. } => &[seed, step],
        };
        if outers.iter().any(|p| !p.outer.is_empty()) {
            return Err(unsupported("a common table expression that mentions columns of an outer query"));
        }
        let plan = Arc::new(plan);
        self.ctes.insert(cte.id, plan.clone());
        Ok(plan)
    }

    /// A SELECT with its LIMIT.
    fn select(
        &mut self,
        mut select: Select,
        limit: Option<Scalar>,
        offset: Option<Scalar>,
        calc_found_rows: bool,
    ) -> Result<Node, SqlError> {
        let mut order = std::mem::take(&mut select.order);
        // Select expressions that sort keys refer to are computed where the sort is, unless computing them
        // twice could give two answers.
        let refers = |key: &SortKey, projection: &[(Expr, ColumnId)]| {
            key.expr
                .as_column()
                .and_then(|id| projection.iter().find(|(e, known)| *known == id && e.as_column() != Some(id)))
                .map(|(e, _)| e.clone())
        };
        let mut project_first = select.distinct;
        for key in &order {
            if let Some(expr) = refers(key, &select.projection) {
                project_first |= !is_stable(&expr);
            } else {
                project_first |= !is_stable(&key.expr) && key.expr.as_column().is_none() && select.distinct;
            }
        }
        if !project_first {
            for key in &mut order {
                if let Some(expr) = refers(key, &select.projection) {
                    key.expr = expr;
                }
            }
        }

        let plain = select.grouping.is_none() && select.windows.is_empty() && !select.distinct;
        if plain && !project_first {
            computed::in_order(&select.tables, select.from.as_ref(), &mut order);
        }
        computed::in_aggregates(&select.tables, select.grouping.as_mut());

        // Which columns of the tables something above them mentions.
        let mut needed: BTreeSet<ColumnId> = BTreeSet::new();
        let mut mention = |e: &Expr| {
            let mut used = Vec::new();
            e.columns(&mut used);
            needed.extend(used);
        };
        select.projection.iter().for_each(|(e, _)| mention(e));
        order.iter().for_each(|k| mention(&k.expr));
        select.having.iter().for_each(&mut mention);
        for window in &select.windows {
            mention_window(window, &mut mention);
        }
        let above: BTreeSet<ColumnId> = needed.clone();
        let mut mention = |e: &Expr| {
            let mut used = Vec::new();
            e.columns(&mut used);
            needed.extend(used);
        };
        if let Some(grouping) = &select.grouping {
            grouping.keys.iter().for_each(|(e, _)| mention(e));
            for aggregate in &grouping.aggregates {
                aggregate.args.iter().for_each(&mut mention);
                aggregate.order.iter().for_each(|k| mention(&k.expr));
            }
        }
        let wanted = if plain && !order.is_empty() {
            wanted_order(&order).map(|w| (w, limit.is_some()))
        } else {
            extreme(&select)
        };
        let is_extreme = !plain && wanted.is_some();
        if let (true, Some((columns, _))) = (is_extreme, &wanted) {
            let column = select
                .grouping
                .as_ref()
                .and_then(|g| g.aggregates.first())
                .and_then(|a| a.args.first())
                .cloned()
                .unwrap_or_else(Expr::null);
            debug_assert_eq!(column.as_column(), columns.first().map(|(c, _)| *c));
            if column.nullable {
                select.filter.push(Expr::boolean(ExprKind::IsNull(Box::new(column), true), false));
            }
        }
        let grouped = select.grouping.is_some();
        let (mut node, ordered) = self.source(&mut select, &needed, wanted)?;
        if is_extreme && ordered {
            // The first row in the index's order is the answer.
            let one = Expr::literal(assize_values::Value::Int(1), assize_values::SqlType::BIGINT);
            let one = self.scalar(one, &Layout::default());
            hint_scan(&mut node, Some(&one));
            node = limit_node(node, Some(one), None, false);
        }

        if let Some(grouping) = select.grouping.take() {
            let layout = node.layout();
            let mut columns: Vec<ColumnId> = grouping.keys.iter().map(|(_, id)| *id).collect();
            let keys = grouping
                .keys
                .iter()
                .map(|(e, _)| (self.scalar(e.clone(), &layout), same_type_comparison(e)))
                .collect();
            let mut carried = Vec::new();
            for id in &above {
                if !columns.contains(id)
                    && let Some(slot) = layout.slot(*id)
                {
                    carried.push(slot);
                    columns.push(*id);
                }
            }
            let mut aggregates = Vec::new();
            for call in grouping.aggregates {
                columns.push(call.id);
                aggregates.push(AggregatePlan {
                    args: call.args.iter().map(|a| self.scalar(a.clone(), &layout)).collect(),
                    compare: call.args.iter().map(same_type_comparison).collect(),
                    order: self.order_keys(&call.order, &layout),
                    call,
                });
            }
            columns.extend(grouping.grouping.iter().map(|(_, id)| *id));
            let rows = if grouping.implicit { 1.0 } else { (node.rows / 5.0).max(1.0) };
            node = Node {
                kind: NodeKind::Aggregate {
                    input: Box::new(node),
                    keys,
                    carried,
                    aggregates,
                    rollup: grouping.rollup,
                    grouping: grouping.grouping.iter().map(|(at, _)| *at).collect(),
                    implicit: grouping.implicit,
                },
                columns,
                rows,
            };
        }
        if !select.having.is_empty() {
            let layout = node.layout();
            let conditions =
                std::mem::take(&mut select.having).into_iter().map(|c| self.scalar(c, &layout)).collect();
            let columns = node.columns.clone();
            let rows = (node.rows * 0.5).max(1.0);
            node = Node { kind: NodeKind::Filter { input: Box::new(node), conditions }, columns, rows };
        }
        if !select.windows.is_empty() {
            node = self.windows(node, std::mem::take(&mut select.windows));
        }

        let top = limit.clone().map(|l| (offset.clone(), l)).filter(|_| !calc_found_rows);
        let limited = limit.is_some() || offset.is_some();
        if !project_first {
            if !order.is_empty() && (!ordered || grouped) {
                node = self.sort(node, &order, top)?;
            } else if !calc_found_rows && offset.is_none() {
                hint_scan(&mut node, limit.as_ref());
            }
            if limited {
                node = limit_node(node, limit, offset, calc_found_rows);
            }
            return Ok(self.project(node, &select.projection));
        }
        // Project, then distinct, sort, limit; sort keys that are not selected ride along.
        let visible = select.projection.len();
        let mut projection = select.projection.clone();
        for key in &mut order {
            let known = key.expr.as_column().is_some_and(|id| projection.iter().any(|(_, p)| *p == id));
            if !known {
                let by_source = projection.iter().find(|(e, _)| *e == key.expr).map(|(_, id)| *id);
                let id = by_source.unwrap_or_else(|| self.binder.next_id());
                if by_source.is_none() {
                    projection.push((key.expr.clone(), id));
                }
                let mut column = Expr::column(id, key.expr.sql_type.clone(), key.expr.nullable);
                column.coercibility = key.expr.coercibility;
                key.expr = column;
            }
        }
        node = self.project(node, &projection);
        if select.distinct {
            let compare = select.projection.iter().map(|(e, _)| same_type_comparison(e)).collect();
            let columns = node.columns.clone();
            let rows = (node.rows * 0.5).max(1.0);
            node = Node { kind: NodeKind::Distinct { input: Box::new(node), compare }, columns, rows };
        }
        if !order.is_empty() {
            node = self.sort(node, &order, top)?;
        }
        if limited {
            node = limit_node(node, limit, offset, calc_found_rows);
        }
        if projection.len() > visible {
            let cut: Vec<(Expr, ColumnId)> = projection[..visible]
                .iter()
                .map(|(e, id)| (Expr::column(*id, e.sql_type.clone(), e.nullable), *id))
                .collect();
            node = self.project(node, &cut);
        }
        Ok(node)
    }

    /// Other columns, unless they are what is there already.
    fn project(&mut self, node: Node, projection: &[(Expr, ColumnId)]) -> Node {
        let same = node.columns.len() == projection.len()
            && node.columns.iter().zip(projection).all(|(c, (e, id))| e.as_column() == Some(*c) && c == id);
        if same {
            return node;
        }
        let layout = node.layout();
        let exprs = projection.iter().map(|(e, _)| self.scalar(e.clone(), &layout)).collect();
        let rows = node.rows;
        Node {
            kind: NodeKind::Project { input: Box::new(node), exprs },
            columns: projection.iter().map(|(_, id)| *id).collect(),
            rows,
        }
    }

    fn windows(&mut self, node: Node, calls: Vec<crate::bind::WindowCall>) -> Node {
        let layout = node.layout();
        let mut columns = node.columns.clone();
        let mut plans = Vec::new();
        for call in calls {
            columns.push(call.id);
            let ascending = |exprs: &[Expr]| -> Vec<SortKey> {
                exprs.iter().map(|e| SortKey { expr: e.clone(), descending: false }).collect()
            };
            let args: Vec<Expr> = match &call.function {
                WindowFunction::Aggregate(aggregate) => aggregate.args.clone(),
                _ => call.args.clone(),
            };
            let bound = |b: &FrameBound, this: &mut Self| match b {
                FrameBound::Preceding(e) | FrameBound::Following(e) | FrameBound::Moved(e) => {
                    Some(this.scalar(e.clone(), &layout))
                }
                _ => None,
            };
            let bounds = (bound(&call.frame.start, self), bound(&call.frame.end, self));
            plans.push(WindowPlan {
                args: args.into_iter().map(|a| self.scalar(a, &layout)).collect(),
                partition: self.order_keys(&ascending(&call.partition), &layout),
                order: self.order_keys(&call.order, &layout),
                bounds,
                call,
            });
        }
        let rows = node.rows;
        Node { kind: NodeKind::Window { input: Box::new(node), calls: plans }, columns, rows }
    }
}

/// Hands conditions that concern one derived table alone to the query behind it, where they may narrow a scan.
fn push_down(from: &crate::bind::From, tables: &mut [BoundTable], conditions: &mut Vec<Expr>) {
    let mut extended = BTreeSet::new();
    null_extended(from, false, &mut extended);
    for (at, table) in tables.iter_mut().enumerate() {
        let Source::Derived { query, lateral: false } = &mut table.source else { continue };
        if extended.contains(&at) || query.limit.is_some() || query.offset.is_some() {
            continue;
        }
        let Body::Select(inner) = &mut query.body else { continue };
        if inner.distinct || !inner.windows.is_empty() || !inner.having.is_empty() {
            continue;
        }
        // What each column stands for below the groups; `None`: it cannot be told there.
        let meanings: Vec<Option<Expr>> = inner
            .projection
            .iter()
            .map(|(expr, _)| match &inner.grouping {
                None => is_stable(expr).then(|| expr.clone()),
                Some(grouping) if grouping.rollup || grouping.implicit => None,
                Some(grouping) => {
                    let key = grouping.keys.iter().find(|(_, id)| expr.as_column() == Some(*id));
                    key.map(|(key, _)| key.clone()).filter(is_stable)
                }
            })
            .collect();
        let meaning = |id: ColumnId| -> Option<&Expr> {
            let position = table.columns.iter().position(|c| *c == id)?;
            meanings.get(position)?.as_ref()
        };
        conditions.retain(|condition| {
            let mut used = Vec::new();
            condition.columns(&mut used);
            let goes = !used.is_empty() && is_stable(condition) && used.iter().all(|c| meaning(*c).is_some());
            if goes {
                let mut moved = condition.clone();
                substitute(&mut moved, &meaning);
                inner.filter.push(moved);
            }
            !goes
        });
    }
}

fn substitute<'e>(expr: &mut Expr, meaning: &dyn Fn(ColumnId) -> Option<&'e Expr>) {
    if let Some(means) = expr.as_column().and_then(meaning) {
        *expr = means.clone();
        return;
    }
    expr.children_mut(&mut |child| substitute(child, meaning));
}

/// Whether computing an expression twice, or elsewhere, gives the same.
pub(crate) fn is_stable(expr: &Expr) -> bool {
    !expr.any(&mut |x| match &x.kind {
        ExprKind::Assign(..) | ExprKind::UserVariable(_) | ExprKind::Session(..) => true,
        ExprKind::Call(f, _) => f.is_volatile(),
        ExprKind::Subquery(subquery) => subquery.plan.repeat.may_differ(),
        _ => false,
    })
}

/// Tables whose rows an outer join may replace by NULLs.
pub(super) fn null_extended(from: &crate::bind::From, inside: bool, out: &mut BTreeSet<usize>) {
    match from {
        crate::bind::From::Table(at) => {
            if inside {
                out.insert(*at);
            }
        }
        crate::bind::From::Join { left_outer, left, right, .. } => {
            null_extended(left, inside, out);
            null_extended(right, inside || *left_outer, out);
        }
    }
}

/// MIN or MAX of one column of one table and nothing else: an index gives the answer with its first row.
fn extreme(select: &Select) -> Option<(Vec<(ColumnId, bool)>, bool)> {
    let grouping = select.grouping.as_ref().filter(|g| g.implicit)?;
    let [table] = select.tables.as_slice() else { return None };
    let Source::Stored(stored) = &table.source else { return None };
    let [aggregate] = grouping.aggregates.as_slice() else { return None };
    let descending = match aggregate.function {
        crate::bind::AggregateFunction::Max => true,
        crate::bind::AggregateFunction::Min => false,
        _ => return None,
    };
    let column = aggregate.args.first()?.as_column()?;
    let ordinal = table.columns.iter().position(|c| *c == column)?;
    let id = stored.columns[ordinal].id;
    let indexed = stored
        .readable_indexes()
        .any(|i| !i.invisible && i.parts.iter().any(|p| p.column == id && p.prefix.is_none()));
    indexed.then(|| (vec![(column, descending)], true))
}

fn mention_window(window: &crate::bind::WindowCall, mention: &mut dyn FnMut(&Expr)) {
    window.args.iter().for_each(&mut *mention);
    window.partition.iter().for_each(&mut *mention);
    window.order.iter().for_each(|k| mention(&k.expr));
    if let WindowFunction::Aggregate(aggregate) = &window.function {
        aggregate.args.iter().for_each(&mut *mention);
    }
    for bound in [&window.frame.start, &window.frame.end] {
        if let FrameBound::Moved(e) | FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
            mention(e);
        }
    }
}

/// Columns of every ON below a join tree.
fn on_columns(from: &crate::bind::From, needed: &mut BTreeSet<ColumnId>) {
    if let crate::bind::From::Join { left, right, on, .. } = from {
        for condition in on {
            let mut used = Vec::new();
            condition.columns(&mut used);
            needed.extend(used);
        }
        on_columns(left, needed);
        on_columns(right, needed);
    }
}
