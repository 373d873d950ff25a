//! Queries: FROM, select lists, grouping, ordering, set operations, common table expressions.

mod from;
mod grouping;
mod views;

use super::expr::{Aggregate, Gather, Place, SortKey, WindowCall};
use super::{Binder, Scope, ScopeColumn, ScopeTable, VirtualTable, object_parts, ordinal, scope};
use crate::expr::*;
use crate::plan::Computed;
use assize_catalog::Table;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{ColumnFlags, ReadIntent, ResultColumn};
use assize_values::{SqlMode, SqlType, Value};
use from::{Block, apply_locks, complete_star, unknown_table};
use grouping::{full_name, groups_before, not_grouped, selected, substitute_groups, window_exprs};
use sqlparser::ast::{self, SelectItem, SetExpr, SetOperator, TableFactor};
use std::cell::RefCell;
use std::sync::Arc;
pub(crate) use views::{Acting, invalid, mergeable, shows};
pub use views::{TableRead, Via};

/// A bound query.
#[derive(Clone, Debug)]
pub struct Query {
    /// What makes the rows.
    pub body: Body,
    /// Its result columns; their ids are those of the body's output.
    pub columns: Vec<OutputColumn>,
    /// ORDER BY over the body's output (a plain SELECT keeps its own).
    pub order: Vec<SortKey>,
    /// LIMIT.
    pub limit: Option<Expr>,
    /// OFFSET.
    pub offset: Option<Expr>,
    /// SQL_CALC_FOUND_ROWS.
    pub calc_found_rows: bool,
}

/// A column of a query's result.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// Its id.
    pub id: ColumnId,
    /// What clients are told.
    pub result: ResultColumn,
    /// How it insists on its collation.
    pub coercibility: Coercibility,
}

impl OutputColumn {
    /// A reference to it.
    pub fn expr(&self) -> Expr {
        let mut expr = Expr::column(self.id, self.result.sql_type.clone(), self.result.nullable);
        expr.coercibility = self.coercibility;
        expr
    }
}

/// What makes a query's rows.
#[derive(Clone, Debug)]
pub enum Body {
    /// SELECT.
    Select(Box<Select>),
    /// UNION, INTERSECT, EXCEPT.
    SetOperation(Box<SetOperation>),
    /// VALUES ROW(…), ….
    Values(Vec<Vec<Expr>>),
    /// A query in parentheses with ORDER BY or LIMIT of its own.
    Nested(Box<Query>),
}

/// A set operation.
#[derive(Clone, Debug)]
pub struct SetOperation {
    /// Which.
    pub op: SetOp,
    /// ALL.
    pub all: bool,
    /// Left side.
    pub left: Query,
    /// Right side.
    pub right: Query,
    /// The common types of its columns.
    pub types: Vec<SqlType>,
}

/// UNION, INTERSECT, EXCEPT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetOp {
    /// UNION.
    Union,
    /// INTERSECT.
    Intersect,
    /// EXCEPT.
    Except,
}

/// A SELECT.
#[derive(Clone, Debug)]
pub struct Select {
    /// The tables of FROM.
    pub tables: Vec<BoundTable>,
    /// How they are joined; `None`: no FROM.
    pub from: Option<From>,
    /// WHERE, as conjuncts.
    pub filter: Vec<Expr>,
    /// GROUP BY and aggregates.
    pub grouping: Option<Grouping>,
    /// HAVING, as conjuncts.
    pub having: Vec<Expr>,
    /// Window functions.
    pub windows: Vec<WindowCall>,
    /// DISTINCT.
    pub distinct: bool,
    /// The select list, with the ids of its values.
    pub projection: Vec<(Expr, ColumnId)>,
    /// ORDER BY, over the projection's ids or over what lies under it.
    pub order: Vec<SortKey>,
    /// STRAIGHT_JOIN: keep the order of FROM.
    pub straight: bool,
}

/// GROUP BY.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// Group expressions and the columns of their values.
    pub keys: Vec<(Expr, ColumnId)>,
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// WITH ROLLUP.
    pub rollup: bool,
    /// Columns of GROUPING(): the key it asks about, and its id.
    pub grouping: Vec<(usize, ColumnId)>,
    /// No GROUP BY was written: one group, even of no rows.
    pub implicit: bool,
}

/// A table of FROM.
#[derive(Clone, Debug)]
pub struct BoundTable {
    /// Its alias.
    pub alias: Arc<str>,
    /// What it is.
    pub source: Source,
    /// Ids of its columns, in order.
    pub columns: Vec<ColumnId>,
    /// Id of the hidden row id.
    pub row_id: Option<ColumnId>,
    /// Locking clause that covers it.
    pub intent: ReadIntent,
    /// Index hints.
    pub hints: Vec<IndexHint>,
    /// The view through which it came into FROM.
    pub view: Option<Arc<Via>>,
    /// Its indexed columns that are computed from others.
    pub computed: Vec<Computed>,
}

/// USE, FORCE or IGNORE INDEX.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexHint {
    /// FORCE (`Some(true)`), USE (`Some(false)`), IGNORE (`None`).
    pub force: Option<bool>,
    /// The indexes.
    pub indexes: Vec<Arc<str>>,
}

/// What a table of FROM is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A stored table.
    Stored(Arc<Table>),
    /// A virtual table.
    Virtual(VirtualTable),
    /// A derived table; LATERAL ones may mention the tables before them.
    Derived {
        /// The query.
        query: Box<Query>,
        /// LATERAL.
        lateral: bool,
    },
    /// A common table expression.
    Cte(Arc<Cte>),
    /// The rows of the previous step, within a recursive common table expression.
    Recursion(Arc<str>),
}

/// A common table expression.
#[derive(Clone, Debug)]
pub struct Cte {
    /// Its name.
    pub name: Arc<str>,
    /// Identifies it within the statement.
    pub id: u32,
    /// Names and types of its columns.
    pub columns: Vec<OutputColumn>,
    /// What it is.
    pub body: CteBody,
}

/// What a common table expression computes.
#[derive(Clone, Debug)]
pub enum CteBody {
    /// A query.
    Query(Box<Query>),
    /// A recursive one.
    Recursive {
        /// Where it starts.
        seed: Box<Query>,
        /// Each step, over the rows of the step before.
        step: Box<Query>,
        /// UNION ALL: duplicates stay.
        all: bool,
    },
    /// The step refers to itself while it is being bound.
    Unfinished,
}

/// A tree of joins; leaves are positions in [`Select::tables`].
#[derive(Clone, Debug)]
pub enum From {
    /// A table.
    Table(usize),
    /// A join.
    Join {
        /// LEFT; otherwise inner.
        left_outer: bool,
        /// STRAIGHT_JOIN.
        straight: bool,
        /// Left side.
        left: Box<From>,
        /// Right side.
        right: Box<From>,
        /// ON, as conjuncts.
        on: Vec<Expr>,
    },
}

impl Binder<'_> {
    /// Binds a query within a scope.
    pub fn query(&mut self, query: &ast::Query, parent: Option<&Scope<'_>>) -> Result<Query, SqlError> {
        self.depth += 1;
        if self.depth > super::MAX_DEPTH {
            return Err(SqlError::new(ErrorCode::OutOfMemory, "queries nest too deep"));
        }
        let ctes = self.ctes.len();
        let result = crate::deep::grow(|| self.query_with(query, parent));
        self.ctes.truncate(ctes);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    fn query_with(&mut self, query: &ast::Query, parent: Option<&Scope<'_>>) -> Result<Query, SqlError> {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let bound = self.cte(cte, with.recursive, parent)?;
                self.ctes.push(bound);
            }
        }
        if query.fetch.is_some() || !query.pipe_operators.is_empty() || query.for_clause.is_some() {
            return Err(unsupported("this clause of a query"));
        }
        let empty = Scope::new(Vec::new(), parent);
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => {
                (Some(self.limit(limit, &empty)?), Some(self.limit(offset, &empty)?))
            }
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => (
                limit.as_ref().map(|l| self.limit(l, &empty)).transpose()?,
                offset.as_ref().map(|o| self.limit(&o.value, &empty)).transpose()?,
            ),
        };
        let order_by: &[ast::OrderByExpr] = match &query.order_by {
            None => &[],
            Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(keys), .. }) => keys,
            Some(_) => return Err(unsupported("ORDER BY ALL")),
        };
        if let SetExpr::Select(select) = &*query.body {
            let calc_found_rows = select.select_modifiers.as_ref().is_some_and(|m| m.sql_calc_found_rows);
            let (select, columns) = self.select(select, order_by, &query.locks, parent)?;
            return Ok(Query {
                body: Body::Select(Box::new(select)),
                columns,
                order: Vec::new(),
                limit,
                offset,
                calc_found_rows,
            });
        }
        let mut bound = self.set_expr(&query.body, &query.locks, parent)?;
        if !order_by.is_empty() || limit.is_some() || offset.is_some() {
            if !bound.order.is_empty() || bound.limit.is_some() || matches!(bound.body, Body::Select(_)) {
                let columns = bound.columns.clone();
                bound = Query {
                    body: Body::Nested(Box::new(bound)),
                    columns,
                    order: Vec::new(),
                    limit: None,
                    offset: None,
                    calc_found_rows: false,
                };
            }
            bound.order = self.order_of_output(order_by, &bound.columns, parent)?;
            bound.limit = limit;
            bound.offset = offset;
        }
        Ok(bound)
    }

    /// LIMIT and OFFSET: a number or a parameter.
    fn limit(&mut self, expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr, SqlError> {
        let bound = self.expr(expr, Place::plain(scope, "limit clause"))?;
        match &bound.kind {
            ExprKind::Literal(Value::Int(0..) | Value::UInt(_)) | ExprKind::Param(_) => Ok(bound),
            _ => Err(SqlError::new(
                ErrorCode::ParseError,
                format!(
                    "You have an error in your SQL syntax; check the manual that corresponds to your MySQL \
                     server version for the right syntax to use near '{expr}' at line 1"
                ),
            )),
        }
    }

    /// ORDER BY of a set operation: only output columns are in sight.
    fn order_of_output(
        &mut self,
        order_by: &[ast::OrderByExpr],
        columns: &[OutputColumn],
        parent: Option<&Scope<'_>>,
    ) -> Result<Vec<SortKey>, SqlError> {
        let table = ScopeTable {
            alias: "".into(),
            database: "".into(),
            org_name: "".into(),
            columns: columns.iter().map(scope_column).collect(),
            table: None,
            row_id: None,
            place: None,
        };
        let scope = Scope::new(vec![table], parent);
        let mut keys = Vec::with_capacity(order_by.len());
        for key in order_by {
            let expr = match ordinal(&key.expr) {
                Some(n) => columns
                    .get(n.wrapping_sub(1))
                    .map(OutputColumn::expr)
                    .ok_or_else(|| scope::unknown_column(&n.to_string(), "order clause"))?,
                None => self.expr(&key.expr, Place::plain(&scope, "order clause"))?,
            };
            keys.push(SortKey { expr, descending: key.options.asc == Some(false) });
        }
        Ok(keys)
    }

    fn set_expr(
        &mut self,
        body: &SetExpr,
        locks: &[ast::LockClause],
        parent: Option<&Scope<'_>>,
    ) -> Result<Query, SqlError> {
        crate::deep::grow(|| self.set_expr_inner(body, locks, parent))
    }

    fn set_expr_inner(
        &mut self,
        body: &SetExpr,
        locks: &[ast::LockClause],
        parent: Option<&Scope<'_>>,
    ) -> Result<Query, SqlError> {
        match body {
            SetExpr::Select(select) => {
                let (select, columns) = self.select(select, &[], locks, parent)?;
                Ok(plain(Body::Select(Box::new(select)), columns))
            }
            SetExpr::Query(query) => self.query(query, parent),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.set_operation(left, *op, *set_quantifier, right, parent)
            }
            SetExpr::Values(values) => {
                let rows: Vec<&[ast::Expr]> = values.rows.iter().map(|r| r.content.as_slice()).collect();
                self.values(&rows, parent)
            }
            SetExpr::Table(table) => {
                let mut parts = Vec::new();
                parts.extend(table.schema_name.as_deref());
                parts.extend(table.table_name.as_deref());
                let name = ast::ObjectName(
                    parts
                        .iter()
                        .map(|p| ast::ObjectNamePart::Identifier(ast::Ident::with_quote('`', *p)))
                        .collect(),
                );
                self.table_query(&name, parent)
            }
            other => Err(unsupported(other.to_string().chars().take(60).collect::<String>())),
        }
    }

    /// `TABLE t`.
    fn table_query(&mut self, name: &ast::ObjectName, parent: Option<&Scope<'_>>) -> Result<Query, SqlError> {
        let factor = TableFactor::Table {
            name: name.clone(),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        };
        let mut block = Block::default();
        let mut scope = Scope::new(Vec::new(), parent);
        let from = self.factor(&factor, &mut block, &mut scope)?;
        let mut projection = Vec::new();
        let mut columns = Vec::new();
        for (table, column) in scope.star_columns() {
            let expr = column.expr();
            columns.push(OutputColumn {
                id: column.id,
                result: result_column(&column.name, &expr, Some((table, column))),
                coercibility: expr.coercibility,
            });
            projection.push((expr, column.id));
        }
        let select = Select {
            tables: block.tables,
            from: Some(from),
            filter: block.pending,
            grouping: None,
            having: Vec::new(),
            windows: Vec::new(),
            distinct: false,
            projection,
            order: block.order,
            straight: false,
        };
        Ok(plain(Body::Select(Box::new(select)), columns))
    }

    fn values(&mut self, rows: &[&[ast::Expr]], parent: Option<&Scope<'_>>) -> Result<Query, SqlError> {
        let scope = Scope::new(Vec::new(), parent);
        let width = rows.first().map_or(0, |r| r.len());
        let mut bound: Vec<Vec<Expr>> = Vec::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate() {
            if row.len() != width {
                return Err(SqlError::new(
                    ErrorCode::ColumnCountMismatch,
                    format!("Column count doesn't match value count at row {}", n + 1),
                ));
            }
            let exprs = row.iter().map(|e| self.expr(e, Place::plain(&scope, "field list")));
            bound.push(exprs.collect::<Result<_, _>>()?);
        }
        let mut columns = Vec::with_capacity(width);
        for i in 0..width {
            let all: Vec<&Expr> = bound.iter().map(|row| &row[i]).collect();
            let (sql_type, coercibility) = common_type(&all, "UNION")?;
            let nullable = all.iter().any(|e| e.nullable);
            let mut expr = Expr::column(self.next_id(), sql_type.clone(), nullable);
            expr.coercibility = coercibility;
            columns.push(OutputColumn {
                id: expr.as_column().expect("a column"),
                result: result_column(&format!("column_{i}"), &expr, None),
                coercibility,
            });
            for row in &mut bound {
                coerce_to(&mut row[i], &sql_type);
            }
        }
        Ok(plain(Body::Values(bound), columns))
    }

    fn set_operation(
        &mut self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: ast::SetQuantifier,
        right: &SetExpr,
        parent: Option<&Scope<'_>>,
    ) -> Result<Query, SqlError> {
        let op = match op {
            SetOperator::Union => SetOp::Union,
            SetOperator::Intersect => SetOp::Intersect,
            SetOperator::Except | SetOperator::Minus => SetOp::Except,
        };
        let all = match quantifier {
            ast::SetQuantifier::All => true,
            ast::SetQuantifier::None | ast::SetQuantifier::Distinct => false,
            other => return Err(unsupported(format!("UNION {other}"))),
        };
        let left = self.set_expr(left, &[], parent)?;
        let right = self.set_expr(right, &[], parent)?;
        self.combine(op, all, left, right)
    }

    fn combine(&mut self, op: SetOp, all: bool, left: Query, right: Query) -> Result<Query, SqlError> {
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::new(
                ErrorCode::WrongNumberOfColumnsInSelect,
                "The used SELECT statements have a different number of columns",
            ));
        }
        let mut columns = Vec::with_capacity(left.columns.len());
        let mut types = Vec::with_capacity(left.columns.len());
        for (a, b) in left.columns.iter().zip(&right.columns) {
            let (ea, eb) = (a.expr(), b.expr());
            let (sql_type, coercibility) = common_type(&[&ea, &eb], "UNION")?;
            let mut expr = Expr::column(self.next_id(), sql_type.clone(), ea.nullable || eb.nullable);
            expr.coercibility = coercibility;
            columns.push(OutputColumn {
                id: expr.as_column().expect("a column"),
                result: result_column(&a.result.name, &expr, None),
                coercibility,
            });
            types.push(sql_type);
        }
        let (mut left, mut right) = (left, right);
        retype(&mut left, &types);
        retype(&mut right, &types);
        Ok(plain(Body::SetOperation(Box::new(SetOperation { op, all, left, right, types })), columns))
    }

    pub(crate) fn cte(
        &mut self,
        cte: &ast::Cte,
        recursive: bool,
        parent: Option<&Scope<'_>>,
    ) -> Result<Arc<Cte>, SqlError> {
        let name: Arc<str> = cte.alias.name.value.as_str().into();
        let names: Vec<Arc<str>> = cte.alias.columns.iter().map(|c| c.name.value.as_str().into()).collect();
        let id = self.next_id().0;
        let rename = |columns: &mut Vec<OutputColumn>| -> Result<(), SqlError> {
            if !names.is_empty() {
                if names.len() != columns.len() {
                    return Err(SqlError::new(
                        ErrorCode::ViewWrongList,
                        "In definition of view, derived table or common table expression, SELECT list and \
                         column names list have different column counts",
                    ));
                }
                for (column, name) in columns.iter_mut().zip(&names) {
                    column.result.name = name.clone();
                }
            }
            for column in columns {
                column.result.table = name.clone();
            }
            Ok(())
        };
        if recursive
            && let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } =
                &*cte.query.body
            && mentions(right, &name)
        {
            if mentions(left, &name) {
                return Err(unsupported("a recursive common table expression without a seed"));
            }
            if cte.query.order_by.is_some() || cte.query.limit_clause.is_some() {
                return Err(unsupported("ORDER BY or LIMIT over UNION in recursive Common Table Expression"));
            }
            let ctes = self.ctes.len();
            if let Some(with) = &cte.query.with {
                for inner in &with.cte_tables {
                    let bound = self.cte(inner, with.recursive, parent)?;
                    self.ctes.push(bound);
                }
            }
            let seed = self.set_expr(left, &[], parent)?;
            // Types come from the seed alone, and every column may become NULL.
            let mut columns = Vec::new();
            for c in &seed.columns {
                let mut expr = c.expr();
                expr.nullable = true;
                let (sql_type, coercibility) = common_type(&[&expr], "UNION")?;
                let id = self.next_id();
                let mut result = result_column(&c.result.name, &expr, None);
                result.sql_type = sql_type;
                columns.push(OutputColumn { id, result, coercibility });
            }
            rename(&mut columns)?;
            let unfinished =
                Arc::new(Cte { name: name.clone(), id, columns: columns.clone(), body: CteBody::Unfinished });
            self.ctes.push(unfinished);
            let step = self.set_expr(right, &[], parent);
            self.ctes.truncate(ctes);
            let step = step?;
            if step.columns.len() != columns.len() {
                return Err(SqlError::new(
                    ErrorCode::WrongNumberOfColumnsInSelect,
                    "The used SELECT statements have a different number of columns",
                ));
            }
            let all = *set_quantifier == ast::SetQuantifier::All;
            let body = CteBody::Recursive { seed: Box::new(seed), step: Box::new(step), all };
            return Ok(Arc::new(Cte { name, id, columns, body }));
        }
        let query = self.query(&cte.query, parent)?;
        let mut columns = query.columns.clone();
        rename(&mut columns)?;
        Ok(Arc::new(Cte { name, id, columns, body: CteBody::Query(Box::new(query)) }))
    }

    /// Binds one SELECT with its ORDER BY.
    fn select(
        &mut self,
        select: &ast::Select,
        order_by: &[ast::OrderByExpr],
        locks: &[ast::LockClause],
        parent: Option<&Scope<'_>>,
    ) -> Result<(Select, Vec<OutputColumn>), SqlError> {
        if select.into.is_some() || select.qualify.is_some() || !select.lateral_views.is_empty() {
            return Err(unsupported("this clause of SELECT"));
        }
        let mut block = Block::default();
        let mut scope = Scope::new(Vec::new(), parent);
        let from = self.join_items(&select.from, &mut block, &mut scope)?;
        if scope.star.is_empty() && select.from.len() > 1 {
            // Nothing merged: table by table.
        } else if select.from.len() > 1 && !scope.star.is_empty() {
            complete_star(&mut scope);
        }
        apply_locks(&mut block.tables, locks)?;
        let scope = scope;
        let mut filter = std::mem::take(&mut block.pending);
        if let Some(condition) = &select.selection {
            let bound = self.expr(condition, Place::plain(&scope, "where clause"))?;
            split_and(bound, &mut filter);
        }
        let gather = RefCell::new(Gather {
            named_windows: select.named_window.iter().map(|w| (w.0.value.clone(), w.1.clone())).collect(),
            ..Gather::default()
        });

        // GROUP BY first: GROUPING() refers to it, and select expressions are matched against it.
        let (group_asts, rollup): (&[ast::Expr], bool) = match &select.group_by {
            ast::GroupByExpr::Expressions(exprs, modifiers) => (
                exprs,
                match modifiers.as_slice() {
                    [] => false,
                    [ast::GroupByWithModifier::Rollup] => true,
                    _ => return Err(unsupported("this form of GROUP BY")),
                },
            ),
            ast::GroupByExpr::All(_) => return Err(unsupported("GROUP BY ALL")),
        };
        let field_place = Place {
            scope: &scope,
            clause: "field list",
            gather: Some(&gather),
            windows: true,
            aliases: &[],
            aliases_first: false,
        };
        let mut groups: Vec<Option<Expr>> = Vec::new();
        for group in group_asts {
            groups.push(self.group_expr(group, select, &scope)?);
        }
        for group in groups.iter().flatten() {
            let id = match group.as_column() {
                Some(id) if !rollup => id,
                _ => self.next_id(),
            };
            gather.borrow_mut().groups.push((group.clone(), id));
        }

        // The select list.
        let mut items: Vec<(Expr, Arc<str>, bool)> = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let bound = self.expr(expr, field_place)?;
                    items.push((bound, item_name(expr), false));
                }
                // The parser hands on the text of an expression, which names its column but is no alias.
                SelectItem::ExprWithAliases { expr, aliases } => {
                    let bound = self.expr(expr, field_place)?;
                    let name = match aliases.first() {
                        Some(text) => text.value.as_str().into(),
                        None => item_name(expr),
                    };
                    items.push((bound, name, false));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let bound = self.expr(expr, field_place)?;
                    items.push((bound, alias.value.as_str().into(), true));
                }
                SelectItem::Wildcard(_) => {
                    if scope.tables.is_empty() {
                        return Err(SqlError::new(ErrorCode::NoTablesUsed, "No tables used"));
                    }
                    for (_, c) in scope.star_columns() {
                        items.push((c.expr(), c.name.clone(), false));
                    }
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let parts = object_parts(name);
                    let (database, table) = match parts.as_slice() {
                        [table] => (None, *table),
                        [database, table] => (Some(*database), *table),
                        _ => return Err(unknown_table(&name.to_string())),
                    };
                    let found = scope
                        .tables
                        .iter()
                        .find(|t| t.answers_to(table) && database.is_none_or(|d| &*t.database == d))
                        .ok_or_else(|| unknown_table(table))?;
                    for c in found.columns.iter().filter(|c| !c.invisible) {
                        items.push((c.expr(), c.name.clone(), false));
                    }
                }
                other => return Err(unsupported(other)),
            }
        }
        // Positions and aliases of the select list that GROUP BY named before the list was bound.
        let aliases: Vec<(Arc<str>, Expr)> =
            items.iter().filter(|i| i.2).map(|(e, name, _)| (name.clone(), e.clone())).collect();
        for (at, group) in groups.iter_mut().enumerate() {
            if group.is_none() {
                let expr = self.late_group(&group_asts[at], &items)?;
                let mut used = Vec::new();
                expr.columns(&mut used);
                let computed = {
                    let gathered = gather.borrow();
                    let aggregates = gathered.aggregates.iter().map(|a| a.id);
                    aggregates.chain(gathered.windows.iter().map(|w| w.id)).any(|id| used.contains(&id))
                };
                if computed {
                    let name = items.iter().find(|(e, ..)| *e == expr).map_or("", |(_, name, _)| name);
                    return Err(SqlError::new(
                        ErrorCode::WrongGroupField,
                        format!("Can't group on '{name}'"),
                    ));
                }
                let id = match expr.as_column() {
                    Some(id) if !rollup => id,
                    _ => self.next_id(),
                };
                // Late groups keep the order in which they were written.
                let place = groups_before(&gather, at);
                gather.borrow_mut().groups.insert(place, (expr.clone(), id));
                *group = Some(expr);
            }
        }

        // HAVING.
        let mut having = Vec::new();
        if let Some(condition) = &select.having {
            let place = Place {
                clause: "having clause",
                aliases: &aliases,
                aliases_first: true,
                windows: false,
                ..field_place
            };
            let bound = self.expr(condition, place)?;
            split_and(bound, &mut having);
        }

        // ORDER BY.
        let distinct = match &select.distinct {
            Some(ast::Distinct::Distinct) => true,
            Some(ast::Distinct::On(_)) => return Err(unsupported("DISTINCT ON")),
            _ => false,
        };
        let mut order: Vec<SortKey> = Vec::new();
        for key in order_by {
            let by_position = ordinal(&key.expr);
            let by_alias = match &key.expr {
                ast::Expr::Identifier(ident) if !ident.value.starts_with('@') => {
                    selected(&items, &ident.value, "order clause")?
                }
                _ => None,
            };
            let expr = match (by_position, by_alias) {
                (Some(n), _) => items
                    .get(n.wrapping_sub(1))
                    .map(|(e, ..)| e.clone())
                    .ok_or_else(|| scope::unknown_column(&n.to_string(), "order clause"))?,
                (None, Some(expr)) => expr,
                (None, None) => {
                    let place = Place { clause: "order clause", aliases: &aliases, ..field_place };
                    self.expr(&key.expr, place)?
                }
            };
            // A constant orders nothing.
            if expr.as_literal().is_none() {
                order.push(SortKey { expr, descending: key.options.asc == Some(false) });
            }
        }

        let shows_one = matches!(select.from.as_slice(), [item] if item.joins.is_empty());
        let counts = !group_asts.is_empty() || !gather.borrow().aggregates.is_empty();
        if order.is_empty() && shows_one && !counts && !distinct {
            order = std::mem::take(&mut block.order);
        }

        // Grouping: replace group expressions, then check that nothing else is left over.
        let gather = gather.into_inner();
        let grouped = !group_asts.is_empty() || !gather.aggregates.is_empty();
        let mut windows = gather.windows;
        let mut grouping = None;
        if grouped {
            let full = self.modes().contains(SqlMode::ONLY_FULL_GROUP_BY);
            let keys = gather.groups;
            for (at, (expr, _, _)) in items.iter_mut().enumerate() {
                substitute_groups(expr, &keys, rollup);
                if full {
                    let checked =
                        self.check_grouped(expr, &keys, &gather.aggregates, &scope, &block, &filter, rollup);
                    checked.map_err(|name| not_grouped(at + 1, "SELECT list", &name, keys.is_empty()))?;
                }
            }
            for (at, key) in order.iter_mut().enumerate() {
                substitute_groups(&mut key.expr, &keys, rollup);
                if full && !keys.is_empty() {
                    let checked = self.check_grouped(
                        &key.expr,
                        &keys,
                        &gather.aggregates,
                        &scope,
                        &block,
                        &filter,
                        rollup,
                    );
                    checked.map_err(|name| not_grouped(at + 1, "ORDER BY clause", &name, false))?;
                }
            }
            for condition in &mut having {
                substitute_groups(condition, &keys, rollup);
                if full {
                    let checked = self.check_grouped(
                        condition,
                        &keys,
                        &gather.aggregates,
                        &scope,
                        &block,
                        &filter,
                        rollup,
                    );
                    checked.map_err(|name| {
                        if keys.is_empty() {
                            not_grouped(1, "HAVING clause", &name, true)
                        } else {
                            scope::unknown_column(name.rsplit('.').next().unwrap_or(&name), "having clause")
                        }
                    })?;
                }
            }
            for window in &mut windows {
                for expr in window_exprs(window) {
                    substitute_groups(expr, &keys, rollup);
                }
            }
            grouping = Some(Grouping {
                implicit: keys.is_empty(),
                keys,
                aggregates: gather.aggregates,
                rollup,
                grouping: gather.grouping,
            });
        }

        // Without groups HAVING is a filter over the select list's values.
        let mut projection = Vec::with_capacity(items.len());
        let mut columns = Vec::with_capacity(items.len());
        for (expr, name, _) in items {
            let id = match expr.as_column() {
                Some(id) if !projection.iter().any(|(_, known)| *known == id) => id,
                _ => self.next_id(),
            };
            let origin = expr.as_column().and_then(|c| scope.by_id_anywhere(c));
            columns.push(OutputColumn {
                id,
                result: result_column(&name, &expr, origin),
                coercibility: expr.coercibility,
            });
            projection.push((expr, id));
        }
        // Sort keys that are select expressions refer to them, so that they are computed once.
        for key in &mut order {
            if key.expr.as_column().is_none()
                && let Some((expr, id)) = projection.iter().find(|(expr, _)| *expr == key.expr)
            {
                let mut column = Expr::column(*id, expr.sql_type.clone(), expr.nullable);
                column.coercibility = expr.coercibility;
                key.expr = column;
            }
        }
        if distinct {
            let full = self.modes().contains(SqlMode::ONLY_FULL_GROUP_BY);
            for (at, key) in order.iter().enumerate() {
                let mut used = Vec::new();
                key.expr.columns(&mut used);
                let missing = used.iter().find(|id| {
                    !projection.iter().any(|(e, known)| known == *id || e.as_column() == Some(**id))
                });
                if let (Some(id), true) = (missing, full) {
                    let name = scope.by_id_anywhere(*id).map(|(t, c)| full_name(t, c)).unwrap_or_default();
                    return Err(SqlError::new(
                        ErrorCode::FieldInOrderNotSelect,
                        format!(
                            "Expression #{} of ORDER BY clause is not in SELECT list, references column \
                             '{name}' which is not in SELECT list; this is incompatible with DISTINCT",
                            at + 1
                        ),
                    ));
                }
            }
        }
        let straight = select.select_modifiers.as_ref().is_some_and(|m| m.straight_join);
        let bound = Select {
            tables: block.tables,
            from,
            filter,
            grouping,
            having,
            windows,
            distinct,
            projection,
            order,
            straight,
        };
        Ok((bound, columns))
    }
}

fn plain(body: Body, columns: Vec<OutputColumn>) -> Query {
    Query { body, columns, order: Vec::new(), limit: None, offset: None, calc_found_rows: false }
}

/// Operations within an operation convert straight to its types, not first to types of their own.
fn retype(query: &mut Query, types: &[SqlType]) {
    if let Body::SetOperation(operation) = &mut query.body {
        operation.types = types.to_vec();
        retype(&mut operation.left, types);
        retype(&mut operation.right, types);
        for (column, sql_type) in query.columns.iter_mut().zip(types) {
            column.result.sql_type = sql_type.clone();
        }
    }
}

fn scope_column(output: &OutputColumn) -> ScopeColumn {
    ScopeColumn {
        id: output.id,
        name: output.result.name.clone(),
        org_name: "".into(),
        sql_type: output.result.sql_type.clone(),
        nullable: output.result.nullable,
        flags: ColumnFlags::default(),
        invisible: false,
        merged: false,
        means: None,
    }
}

/// Metadata of an output column; `origin` is the column it shows unchanged.
fn result_column(name: &str, expr: &Expr, origin: Option<(&ScopeTable, &ScopeColumn)>) -> ResultColumn {
    let (database, table, org_table, org_name, flags) = match origin {
        Some((t, c)) => {
            (t.database.clone(), t.alias.clone(), t.org_name.clone(), c.org_name.clone(), c.flags)
        }
        None => ("".into(), "".into(), "".into(), "".into(), ColumnFlags::default()),
    };
    ResultColumn {
        database,
        table,
        org_table,
        name: name.into(),
        org_name,
        sql_type: expr.sql_type.clone(),
        nullable: expr.nullable,
        flags,
    }
}

/// The name of a select item without alias: the column's, or the text of the expression.
pub(crate) fn item_name(expr: &ast::Expr) -> Arc<str> {
    match expr {
        ast::Expr::Identifier(ident) => ident.value.as_str().into(),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map_or("", |p| p.value.as_str()).into(),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => {
                text.as_str().into()
            }
            ast::Value::Placeholder(_) => "?".into(),
            other => other.to_string().into(),
        },
        other => other.to_string().into(),
    }
}

/// Takes a condition apart at its ANDs.
pub fn split_and(expr: Expr, out: &mut Vec<Expr>) {
    match expr.kind {
        ExprKind::And(parts) => parts.into_iter().for_each(|p| split_and(p, out)),
        kind => out.push(Expr { kind, ..expr }),
    }
}

/// Whether a query's FROM clauses name this table.
fn mentions(body: &SetExpr, name: &str) -> bool {
    let factor = |f: &TableFactor| match f {
        TableFactor::Table { name: table, .. } => {
            matches!(object_parts(table).as_slice(), [one] if one.eq_ignore_ascii_case(name))
        }
        TableFactor::Derived { subquery, .. } => mentions(&subquery.body, name),
        _ => false,
    };
    match body {
        SetExpr::Select(select) => select
            .from
            .iter()
            .any(|item| factor(&item.relation) || item.joins.iter().any(|j| factor(&j.relation))),
        SetExpr::Query(query) => mentions(&query.body, name),
        SetExpr::SetOperation { left, right, .. } => mentions(left, name) || mentions(right, name),
        _ => false,
    }
}
