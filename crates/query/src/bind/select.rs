//! Queries: FROM, select lists, grouping, ordering, set operations, common table expressions.

use super::expr::{Aggregate, Gather, Place, SortKey, WindowCall};
use super::{Binder, Scope, ScopeColumn, ScopeTable, VirtualTable, object_parts, ordinal, scope};
use crate::expr::*;
use assize_catalog::Table;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{ColumnFlags, LockMode, ReadIntent, ResultColumn};
use assize_values::{SqlMode, SqlType, Value};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, SelectItem, SetExpr, SetOperator, TableFactor};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

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
            let expr = Expr::column(column.id, column.sql_type.clone(), column.nullable);
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
            filter: Vec::new(),
            grouping: None,
            having: Vec::new(),
            windows: Vec::new(),
            distinct: false,
            projection,
            order: Vec::new(),
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
        let mut from = None;
        for item in &select.from {
            let joined = self.join_item(item, &mut block, &mut scope)?;
            from = Some(match from {
                None => joined,
                Some(left) => From::Join {
                    left_outer: false,
                    straight: false,
                    left: Box::new(left),
                    right: Box::new(joined),
                    on: Vec::new(),
                },
            });
        }
        if scope.star.is_empty() && select.from.len() > 1 {
            // Nothing merged: table by table.
        } else if select.from.len() > 1 && !scope.star.is_empty() {
            complete_star(&mut scope);
        }
        apply_locks(&mut block.tables, locks)?;
        let scope = scope;
        let mut filter = Vec::new();
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
                        let expr = Expr::column(c.id, c.sql_type.clone(), c.nullable);
                        items.push((expr, c.name.clone(), false));
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
                        let expr = Expr::column(c.id, c.sql_type.clone(), c.nullable);
                        items.push((expr, c.name.clone(), false));
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

    /// A GROUP BY expression that the tables alone explain; `None` for positions and aliases.
    fn group_expr(
        &mut self,
        group: &ast::Expr,
        select: &ast::Select,
        scope: &Scope<'_>,
    ) -> Result<Option<Expr>, SqlError> {
        if ordinal(group).is_some() {
            return Ok(None);
        }
        let is_alias = |name: &str| {
            select.projection.iter().any(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => alias.value.eq_ignore_ascii_case(name),
                SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) => {
                    parts.last().is_some_and(|p| p.value.eq_ignore_ascii_case(name))
                }
                _ => false,
            })
        };
        match self.expr(group, Place::plain(scope, "group statement")) {
            Ok(expr) => Ok(Some(expr)),
            Err(error) if matches!(error.code, ErrorCode::UnknownColumn | ErrorCode::AmbiguousColumn) => {
                match group {
                    ast::Expr::Identifier(ident) if is_alias(&ident.value) => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn late_group(&mut self, group: &ast::Expr, items: &[(Expr, Arc<str>, bool)]) -> Result<Expr, SqlError> {
        if let Some(n) = ordinal(group) {
            return items
                .get(n.wrapping_sub(1))
                .map(|(e, ..)| e.clone())
                .ok_or_else(|| scope::unknown_column(&n.to_string(), "group statement"));
        }
        let name = match group {
            ast::Expr::Identifier(ident) => ident.value.as_str(),
            _ => "",
        };
        selected(items, name, "group statement")?
            .ok_or_else(|| scope::unknown_column(name, "group statement"))
    }

    /// Whether every column of a grouped expression follows from the groups; otherwise the name of one that
    /// does not.
    #[allow(clippy::too_many_arguments)]
    fn check_grouped(
        &self,
        expr: &Expr,
        keys: &[(Expr, ColumnId)],
        aggregates: &[Aggregate],
        scope: &Scope<'_>,
        block: &Block,
        filter: &[Expr],
        rollup: bool,
    ) -> Result<(), String> {
        let mut used = Vec::new();
        expr.columns(&mut used);
        let key_ids: BTreeSet<ColumnId> = keys.iter().map(|(_, id)| *id).collect();
        let mut known: Option<BTreeSet<ColumnId>> = None;
        for id in used {
            if key_ids.contains(&id) || aggregates.iter().any(|a| a.id == id) {
                continue;
            }
            let Some((table, column)) = scope.by_id(id) else { continue };
            let known = known.get_or_insert_with(|| dependent_columns(keys, block, filter, rollup));
            if !known.contains(&id) {
                return Err(full_name(table, column));
            }
        }
        Ok(())
    }

    /// A table and what is joined to it.
    fn join_item(
        &mut self,
        item: &ast::TableWithJoins,
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        // What NATURAL and USING may merge lies within this item.
        let first = scope.tables.len();
        let mut left = self.factor(&item.relation, block, scope)?;
        for join in &item.joins {
            let right_first = scope.tables.len();
            let right = self.factor(&join.relation, block, scope)?;
            let (kind, constraint) = match &join.join_operator {
                JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
                    (Kind::Inner, c)
                }
                JoinOperator::StraightJoin(c) => (Kind::Straight, c),
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (Kind::Left, c),
                JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (Kind::Right, c),
                other => return Err(unsupported(format!("{other:?}").chars().take(40).collect::<String>())),
            };
            let mut on = Vec::new();
            let mut shared: Vec<Arc<str>> = Vec::new();
            match constraint {
                JoinConstraint::On(condition) => {
                    // ON sees the tables of this item only.
                    let tables = scope.tables[first..].to_vec();
                    let inner = Scope { tables, star: Vec::new(), parent: scope.parent, values_table: None };
                    let bound = self.expr(condition, Place::plain(&inner, "on clause"))?;
                    split_and(bound, &mut on);
                }
                JoinConstraint::Using(names) => {
                    shared =
                        names.iter().map(|n| object_parts(n).last().copied().unwrap_or("").into()).collect();
                }
                JoinConstraint::Natural => {
                    let left_names: Vec<Arc<str>> = scope.tables[first..right_first]
                        .iter()
                        .flat_map(|t| {
                            t.columns.iter().filter(|c| !c.merged && !c.invisible).map(|c| c.name.clone())
                        })
                        .collect();
                    shared = left_names
                        .into_iter()
                        .filter(|name| {
                            scope.tables[right_first..].iter().any(|t| {
                                t.columns
                                    .iter()
                                    .any(|c| !c.merged && !c.invisible && c.name.eq_ignore_ascii_case(name))
                            })
                        })
                        .collect();
                }
                JoinConstraint::None => {
                    if matches!(kind, Kind::Left | Kind::Right) {
                        return Err(SqlError::new(
                            ErrorCode::ParseError,
                            "You have an error in your SQL syntax; an outer join needs ON or USING",
                        ));
                    }
                }
            }
            if !shared.is_empty() {
                self.merge_columns(scope, first, right_first, &shared, kind, &mut on)?;
            }
            match kind {
                Kind::Left => scope.tables[right_first..].iter_mut().for_each(ScopeTable::make_nullable),
                Kind::Right => {
                    scope.tables[first..right_first].iter_mut().for_each(ScopeTable::make_nullable)
                }
                _ => {}
            }
            let (a, b) = if kind == Kind::Right { (right, left) } else { (left, right) };
            left = From::Join {
                left_outer: matches!(kind, Kind::Left | Kind::Right),
                straight: kind == Kind::Straight,
                left: Box::new(a),
                right: Box::new(b),
                on,
            };
        }
        Ok(left)
    }

    /// USING and NATURAL: equalities, and the columns of `*` in the standard's order.
    fn merge_columns(
        &mut self,
        scope: &mut Scope<'_>,
        first: usize,
        right_first: usize,
        shared: &[Arc<str>],
        kind: Kind,
        on: &mut Vec<Expr>,
    ) -> Result<(), SqlError> {
        let mut merged = Vec::new();
        for name in shared {
            let find = |tables: &[ScopeTable]| -> Result<ScopeColumn, SqlError> {
                let found: Vec<&ScopeColumn> = tables
                    .iter()
                    .flat_map(|t| &t.columns)
                    .filter(|c| !c.merged && c.name.eq_ignore_ascii_case(name))
                    .collect();
                match found.as_slice() {
                    [one] => Ok((*one).clone()),
                    [] => Err(scope::unknown_column(name, "from clause")),
                    _ => Err(SqlError::new(
                        ErrorCode::AmbiguousColumn,
                        format!("Column '{name}' in from clause is ambiguous"),
                    )),
                }
            };
            let a = find(&scope.tables[first..right_first])?;
            let b = find(&scope.tables[right_first..])?;
            let left = Expr::column(a.id, a.sql_type.clone(), a.nullable);
            let right = Expr::column(b.id, b.sql_type.clone(), b.nullable);
            on.push(compare(CompareOp::Eq, left, right, self.context.eval())?);
            let (kept, gone) = if kind == Kind::Right { (b.id, a.id) } else { (a.id, b.id) };
            merged.push((kept, gone));
        }
        // Order of `*`: merged columns, the rest of the left side, the rest of the right side.
        let visible_left: Vec<ColumnId> = if scope.star.is_empty() {
            scope.tables[..right_first]
                .iter()
                .flat_map(|t| t.columns.iter().filter(|c| !c.merged && !c.invisible).map(|c| c.id))
                .collect()
        } else {
            let mut order = scope.star.clone();
            let later = scope.tables[..right_first].iter().flat_map(|t| &t.columns);
            let missing: Vec<ColumnId> =
                later.filter(|c| !c.merged && !c.invisible && !order.contains(&c.id)).map(|c| c.id).collect();
            order.extend(missing);
            order
        };
        let before: Vec<ColumnId> =
            scope.tables[..first].iter().flat_map(|t| t.columns.iter().map(|c| c.id)).collect();
        let right: Vec<ColumnId> = scope.tables[right_first..]
            .iter()
            .flat_map(|t| t.columns.iter().filter(|c| !c.merged && !c.invisible).map(|c| c.id))
            .collect();
        for table in &mut scope.tables {
            for column in &mut table.columns {
                if merged.iter().any(|(_, gone)| *gone == column.id) {
                    column.merged = true;
                }
            }
        }
        let is_merged = |id: &ColumnId| merged.iter().any(|(kept, gone)| kept == id || gone == id);
        let mut star: Vec<ColumnId> = visible_left.iter().filter(|id| before.contains(id)).copied().collect();
        star.extend(merged.iter().map(|(kept, _)| *kept));
        // A right join is a left join with its sides exchanged, in this too.
        let from_left = visible_left.iter().filter(|id| !before.contains(id) && !is_merged(id)).copied();
        let from_right = right.iter().filter(|id| !is_merged(id)).copied();
        if kind == Kind::Right {
            star.extend(from_right);
            star.extend(from_left);
        } else {
            star.extend(from_left);
            star.extend(from_right);
        }
        scope.star = star;
        Ok(())
    }

    /// One table of FROM.
    fn factor(
        &mut self,
        factor: &TableFactor,
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        match factor {
            TableFactor::Table { name, alias, args: None, index_hints, partitions, .. } => {
                if !partitions.is_empty() {
                    return Err(unsupported("PARTITION in FROM"));
                }
                self.named_table(name, alias.as_ref(), index_hints, block, scope)
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let Some(alias) = alias else {
                    return Err(SqlError::new(
                        ErrorCode::DerivedMustHaveAlias,
                        "Every derived table must have its own alias",
                    ));
                };
                let query = if *lateral {
                    self.query(subquery, Some(scope))?
                } else {
                    self.query(subquery, scope.parent)?
                };
                let name: Arc<str> = alias.name.value.as_str().into();
                let mut outputs = query.columns.clone();
                if !alias.columns.is_empty() {
                    if alias.columns.len() != outputs.len() {
                        return Err(SqlError::new(
                            ErrorCode::ViewWrongList,
                            "In definition of view, derived table or common table expression, SELECT list and \
                             column names list have different column counts",
                        ));
                    }
                    for (output, column) in outputs.iter_mut().zip(&alias.columns) {
                        output.result.name = column.name.value.as_str().into();
                    }
                }
                for (i, output) in outputs.iter().enumerate() {
                    if outputs[..i].iter().any(|o| o.result.name.eq_ignore_ascii_case(&output.result.name)) {
                        return Err(SqlError::new(
                            ErrorCode::DuplicateColumn,
                            format!("Duplicate column name '{}'", output.result.name),
                        ));
                    }
                }
                let source = Source::Derived { query: Box::new(query), lateral: *lateral };
                Ok(self.add_table(name, "", "", &outputs, source, block, scope)?)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.join_item(table_with_joins, block, scope)
            }
            TableFactor::JsonTable { .. } => Err(unsupported("JSON_TABLE")),
            other => Err(unsupported(other.to_string().chars().take(60).collect::<String>())),
        }
    }

    fn named_table(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        hints: &[ast::TableIndexHints],
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        let parts = object_parts(name);
        let (database, table) = match parts.as_slice() {
            [table] => (None, *table),
            [database, table] => (Some(*database), *table),
            _ => return Err(unsupported(format!("the name {name}"))),
        };
        let shown: Arc<str> = alias.map_or(table, |a| a.name.value.as_str()).into();
        if database.is_none() {
            if let Some(cte) = self.ctes.iter().rev().find(|c| c.name.eq_ignore_ascii_case(table)).cloned() {
                let outputs = cte.columns.clone();
                let source = match cte.body {
                    CteBody::Unfinished => Source::Recursion(cte.name.clone()),
                    _ => Source::Cte(cte),
                };
                return self.add_table(shown, "", "", &outputs, source, block, scope);
            }
            if table.eq_ignore_ascii_case("dual") && self.context.database().is_none() {
                return Err(SqlError::new(ErrorCode::NoTablesUsed, "No tables used"));
            }
        }
        let database: Arc<str> = match database {
            Some(database) => database.into(),
            None => self
                .context
                .database()
                .ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?,
        };
        if let Some(found) = self.virtuals.table(&database, table) {
            self.uses_virtual = true;
            let shown = alias.map_or_else(|| Arc::from(table), |a| Arc::from(a.name.value.as_str()));
            let outputs: Vec<OutputColumn> = found
                .columns
                .iter()
                .map(|c| {
                    let expr = Expr::column(self.next_id(), c.sql_type.clone(), c.nullable);
                    OutputColumn {
                        id: expr.as_column().expect("a column"),
                        result: result_column(&c.name, &expr, None),
                        coercibility: Coercibility::Implicit,
                    }
                })
                .collect();
            let org = found.name.clone();
            let database = database.to_string();
            return self.add_table(shown, &database, &org, &outputs, Source::Virtual(found), block, scope);
        }
        let Some(stored) = self.catalog.table(&database, table).cloned() else {
            if self.catalog.database(&database).is_none() && !self.virtuals.has_database(&database) {
                return Err(SqlError::new(
                    ErrorCode::UnknownDatabase,
                    format!("Unknown database '{database}'"),
                ));
            }
            return Err(SqlError::new(
                ErrorCode::NoSuchTable,
                format!("Table '{database}.{table}' doesn't exist"),
            ));
        };
        self.mention(&stored);
        let mut parsed = Vec::new();
        for hint in hints {
            let mut indexes = Vec::new();
            for index in &hint.index_names {
                let found = stored.index(&index.value).ok_or_else(|| {
                    SqlError::new(
                        ErrorCode::KeyDoesNotExist,
                        format!("Key '{}' doesn't exist in table '{shown}'", index.value),
                    )
                })?;
                indexes.push(found.name.clone());
            }
            parsed.push(IndexHint {
                force: match hint.hint_type {
                    ast::TableIndexHintType::Force => Some(true),
                    ast::TableIndexHintType::Use => Some(false),
                    ast::TableIndexHintType::Ignore => None,
                },
                indexes,
            });
        }
        let mut next = self.next_id;
        let in_scope = ScopeTable::stored(&stored, &shown, &mut next);
        self.next_id = next;
        check_unique(scope, &in_scope)?;
        block.tables.push(BoundTable {
            alias: shown,
            source: Source::Stored(stored),
            columns: in_scope.columns.iter().map(|c| c.id).collect(),
            row_id: in_scope.row_id,
            intent: ReadIntent::Plain,
            hints: parsed,
        });
        scope.tables.push(in_scope);
        Ok(From::Table(block.tables.len() - 1))
    }

    /// Adds a table that is not stored; every mention gets column ids of its own.
    #[allow(clippy::too_many_arguments)]
    fn add_table(
        &mut self,
        alias: Arc<str>,
        database: &str,
        org_name: &str,
        outputs: &[OutputColumn],
        source: Source,
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<From, SqlError> {
        let columns: Vec<ScopeColumn> =
            outputs.iter().map(|o| ScopeColumn { id: self.next_id(), ..scope_column(o) }).collect();
        let in_scope = ScopeTable {
            alias: alias.clone(),
            database: database.into(),
            org_name: org_name.into(),
            columns,
            table: None,
            row_id: None,
        };
        check_unique(scope, &in_scope)?;
        block.tables.push(BoundTable {
            alias,
            source,
            columns: in_scope.columns.iter().map(|c| c.id).collect(),
            row_id: None,
            intent: ReadIntent::Plain,
            hints: Vec::new(),
        });
        scope.tables.push(in_scope);
        Ok(From::Table(block.tables.len() - 1))
    }

    /// Binds the tables, condition, order and limit of UPDATE and DELETE as a SELECT of everything; the scope
    /// is for binding assignments.
    pub fn rows_of(
        &mut self,
        from: &[ast::TableWithJoins],
        selection: Option<&ast::Expr>,
        order_by: &[ast::OrderByExpr],
    ) -> Result<(Select, Scope<'static>), SqlError> {
        let mut block = Block::default();
        let mut scope = Scope::new(Vec::new(), None);
        let mut tree = None;
        for item in from {
            let joined = self.join_item(item, &mut block, &mut scope)?;
            tree = Some(match tree {
                None => joined,
                Some(left) => From::Join {
                    left_outer: false,
                    straight: false,
                    left: Box::new(left),
                    right: Box::new(joined),
                    on: Vec::new(),
                },
            });
        }
        let mut filter = Vec::new();
        if let Some(condition) = selection {
            let bound = self.expr(condition, Place::plain(&scope, "where clause"))?;
            split_and(bound, &mut filter);
        }
        let mut order = Vec::new();
        for key in order_by {
            let expr = self.expr(&key.expr, Place::plain(&scope, "order clause"))?;
            order.push(SortKey { expr, descending: key.options.asc == Some(false) });
        }
        let select = Select {
            tables: block.tables,
            from: tree,
            filter,
            grouping: None,
            having: Vec::new(),
            windows: Vec::new(),
            distinct: false,
            projection: Vec::new(),
            order,
            straight: false,
        };
        Ok((select, Scope { tables: scope.tables, star: scope.star, parent: None, values_table: None }))
    }
}

/// The tables gathered for one SELECT.
#[derive(Default)]
struct Block {
    tables: Vec<BoundTable>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Straight,
    Left,
    Right,
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
fn item_name(expr: &ast::Expr) -> Arc<str> {
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

fn unknown_table(name: &str) -> SqlError {
    SqlError::new(ErrorCode::UnknownTable, format!("Unknown table '{name}'"))
}

fn check_unique(scope: &Scope<'_>, table: &ScopeTable) -> Result<(), SqlError> {
    let taken = scope.tables.iter().any(|t| {
        t.alias == table.alias
            && (t.database == table.database || t.database.is_empty() || table.database.is_empty())
    });
    if taken {
        return Err(SqlError::new(
            ErrorCode::NonUniqueTable,
            format!("Not unique table/alias: '{}'", table.alias),
        ));
    }
    Ok(())
}

/// After a merge, tables of later FROM items follow.
fn complete_star(scope: &mut Scope<'_>) {
    let missing: Vec<ColumnId> = scope
        .all_columns()
        .filter(|(_, c)| !c.merged && !c.invisible && !scope.star.contains(&c.id))
        .map(|(_, c)| c.id)
        .collect();
    scope.star.extend(missing);
}

fn apply_locks(tables: &mut [BoundTable], locks: &[ast::LockClause]) -> Result<(), SqlError> {
    for lock in locks {
        let mode = match lock.nonblock {
            None => LockMode::Wait,
            Some(ast::NonBlock::Nowait) => LockMode::NoWait,
            Some(ast::NonBlock::SkipLocked) => LockMode::SkipLocked,
        };
        let intent = match lock.lock_type {
            ast::LockType::Share => ReadIntent::Share(mode),
            ast::LockType::Update => ReadIntent::Update(mode),
        };
        match &lock.of {
            None => tables.iter_mut().for_each(|t| t.intent = intent),
            Some(name) => {
                let wanted = object_parts(name).last().copied().unwrap_or("").to_string();
                let table = tables.iter_mut().find(|t| *t.alias == *wanted).ok_or_else(|| {
                    SqlError::new(
                        ErrorCode::UnresolvedTableLock,
                        format!("Unresolved table name `{wanted}` in locking clause."),
                    )
                })?;
                table.intent = intent;
            }
        }
    }
    Ok(())
}

/// The select item that a bare name means: an alias, or a column by its own name. Error 1052 if there are
/// several that differ.
fn selected(items: &[(Expr, Arc<str>, bool)], name: &str, clause: &str) -> Result<Option<Expr>, SqlError> {
    let mut found: Option<&Expr> = None;
    for (expr, own, named) in items {
        if !own.eq_ignore_ascii_case(name) || !(*named || expr.as_column().is_some()) {
            continue;
        }
        if found.is_some_and(|known| known != expr) {
            return Err(SqlError::new(
                ErrorCode::AmbiguousColumn,
                format!("Column '{name}' in {clause} is ambiguous"),
            ));
        }
        found = Some(expr);
    }
    Ok(found.cloned())
}

/// Replaces parts that are group expressions by the columns of their values.
fn substitute_groups(expr: &mut Expr, keys: &[(Expr, ColumnId)], rollup: bool) {
    if let Some((group, id)) = keys.iter().find(|(group, _)| group == expr) {
        let mut column = Expr::column(*id, group.sql_type.clone(), group.nullable || rollup);
        column.coercibility = group.coercibility;
        *expr = column;
        return;
    }
    expr.children_mut(&mut |child| substitute_groups(child, keys, rollup));
}

/// How many of the groups before the `at`-th are gathered already.
fn groups_before(gather: &RefCell<Gather>, at: usize) -> usize {
    at.min(gather.borrow().groups.len())
}

fn window_exprs(window: &mut WindowCall) -> Vec<&mut Expr> {
    let mut all: Vec<&mut Expr> = Vec::new();
    all.extend(window.args.iter_mut());
    all.extend(window.partition.iter_mut());
    all.extend(window.order.iter_mut().map(|k| &mut k.expr));
    if let super::WindowFunction::Aggregate(aggregate) = &mut window.function {
        all.extend(aggregate.args.iter_mut());
    }
    for bound in [&mut window.frame.start, &mut window.frame.end] {
        if let super::FrameBound::Moved(e)
        | super::FrameBound::Preceding(e)
        | super::FrameBound::Following(e) = bound
        {
            all.push(e);
        }
    }
    all
}

/// Columns that follow from the groups: the group columns, columns equal to them or to constants, and all
/// columns of a table whose primary or not-null unique key follows.
fn dependent_columns(
    keys: &[(Expr, ColumnId)],
    block: &Block,
    filter: &[Expr],
    rollup: bool,
) -> BTreeSet<ColumnId> {
    let mut known: BTreeSet<ColumnId> = BTreeSet::new();
    if !rollup {
        known.extend(keys.iter().filter_map(|(e, _)| e.as_column()));
    }
    loop {
        let before = known.len();
        for condition in filter {
            let ExprKind::Compare(CompareOp::Eq, _, a, b) = &condition.kind else { continue };
            for (one, other) in [(a, b), (b, a)] {
                let Some(id) = one.as_column() else { continue };
                let mut used = Vec::new();
                other.columns(&mut used);
                if used.iter().all(|u| known.contains(u)) && !other.waits() {
                    known.insert(id);
                }
            }
        }
        for table in &block.tables {
            match &table.source {
                Source::Stored(stored) => {
                    let column = |id: u32| stored.ordinal_by_id(id).map(|o| table.columns[o]);
                    let follows = stored.readable_indexes().filter(|i| i.unique).any(|index| {
                        index.parts.iter().all(|p| {
                            p.prefix.is_none()
                                && stored.column_by_id(p.column).is_some_and(|c| !c.nullable)
                                && column(p.column).is_some_and(|id| known.contains(&id))
                        })
                    });
                    if follows {
                        known.extend(table.columns.iter().copied());
                    }
                }
                Source::Derived { query, .. } => {
                    // A derived table's columns follow as they do inside it: its groups determine the rest.
                    if let Body::Select(select) = &query.body
                        && let Some(grouping) = &select.grouping
                    {
                        let inner: Vec<Option<usize>> = grouping
                            .keys
                            .iter()
                            .map(|(_, id)| {
                                select.projection.iter().position(|(e, _)| e.as_column() == Some(*id))
                            })
                            .collect();
                        if inner.iter().all(|at| at.is_some_and(|at| known.contains(&table.columns[at]))) {
                            known.extend(table.columns.iter().copied());
                        }
                    }
                }
                _ => {}
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

fn full_name(table: &ScopeTable, column: &ScopeColumn) -> String {
    if table.database.is_empty() {
        format!("{}.{}", table.alias, column.name)
    } else {
        format!("{}.{}.{}", table.database, table.alias, column.name)
    }
}

/// Errors 1055 and 1140.
fn not_grouped(at: usize, place: &str, name: &str, implicit: bool) -> SqlError {
    if implicit {
        SqlError::new(
            ErrorCode::MixOfGroupFuncAndFields,
            format!(
                "In aggregated query without GROUP BY, expression #{at} of {place} contains nonaggregated \
                 column '{name}'; this is incompatible with sql_mode=only_full_group_by"
            ),
        )
    } else {
        SqlError::new(
            ErrorCode::WrongFieldWithGroup,
            format!(
                "Expression #{at} of {place} is not in GROUP BY clause and contains nonaggregated column \
                 '{name}' which is not functionally dependent on columns in GROUP BY clause; this is \
                 incompatible with sql_mode=only_full_group_by"
            ),
        )
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
