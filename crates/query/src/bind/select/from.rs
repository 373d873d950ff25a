//! FROM: joins, tables by name, derived tables and common table expressions, what `*` shows of them.

use super::{
    BoundTable, CteBody, From, IndexHint, OutputColumn, Select, Source, result_column, scope_column,
    split_and,
};
use crate::bind::expr::{Place, SortKey};
use crate::bind::{Binder, Scope, ScopeColumn, ScopeTable, object_parts, scope};
use crate::expr::*;
use crate::plan::{Computed, is_indexed};
use assize_catalog::{Column, Table};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{LockMode, ReadIntent};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};
use std::sync::Arc;

/// The tables gathered for one SELECT.
#[derive(Default)]
pub(super) struct Block {
    pub(super) tables: Vec<BoundTable>,
    /// Conditions of merged views that no ON has taken: they belong to WHERE.
    pub(super) pending: Vec<Expr>,
    /// The order of the view that was merged last.
    pub(super) order: Vec<SortKey>,
    /// An outer join may replace the rows of what is bound now by NULLs.
    pub(super) extended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Straight,
    Left,
    Right,
}

impl Binder<'_> {
    /// What stands in FROM, with commas between.
    pub(super) fn join_items(
        &mut self,
        items: &[ast::TableWithJoins],
        block: &mut Block,
        scope: &mut Scope<'_>,
    ) -> Result<Option<From>, SqlError> {
        let mut tree = None;
        for item in items {
            let joined = self.join_item(item, block, scope)?;
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
        Ok(tree)
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
        let pending_first = block.pending.len();
        let extended = block.extended;
        let is_right_joined = |rest: &[ast::Join]| rest.iter().any(|j| is_outer(j) == Some(Kind::Right));
        block.extended = extended || is_right_joined(&item.joins);
        let mut left = self.factor(&item.relation, block, scope)?;
        for (at, join) in item.joins.iter().enumerate() {
            let right_first = scope.tables.len();
            let pending_right = block.pending.len();
            block.extended =
                extended || is_outer(join) == Some(Kind::Left) || is_right_joined(&item.joins[at + 1..]);
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
            // What a view on the inner side leaves out is as if it did not match.
            match kind {
                Kind::Left => on.extend(block.pending.drain(pending_right..)),
                Kind::Right => on.extend(block.pending.drain(pending_first..pending_right)),
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
        block.extended = extended;
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
            let (left, right) = (a.expr(), b.expr());
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
    pub(super) fn factor(
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
        // A view never means a temporary table.
        let temporary = || self.context.temporary_tables().find(&database, table);
        let temporary = if self.open_views.is_empty() { temporary().cloned() } else { None };
        let Some(stored) = temporary.or_else(|| self.catalog.table(&database, table).cloned()) else {
            if self.catalog.database(&database).is_none() && !self.virtuals.has_database(&database) {
                return Err(SqlError::new(
                    ErrorCode::UnknownDatabase,
                    format!("Unknown database '{database}'"),
                ));
            }
            return Err(no_table(&database, table));
        };
        if let Some(view) = &stored.view {
            if let Some(index) = hints.iter().find_map(|hint| hint.index_names.first()) {
                return Err(no_key(&index.value, &shown));
            }
            return self.view(&stored, view, shown, block, scope);
        }
        self.mention(&stored)?;
        let mut parsed = Vec::new();
        for hint in hints {
            let mut indexes = Vec::new();
            for index in &hint.index_names {
                let found = stored.index(&index.value).ok_or_else(|| no_key(&index.value, &shown))?;
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
        let mut in_scope = ScopeTable::stored(&stored, &shown, &mut next);
        in_scope.place = Some(block.tables.len());
        self.next_id = next;
        check_unique(scope, &in_scope)?;
        let computed = self.computed(&stored, &in_scope);
        block.tables.push(BoundTable {
            alias: shown,
            source: Source::Stored(stored),
            columns: in_scope.columns.iter().map(|c| c.id).collect(),
            row_id: in_scope.row_id,
            intent: ReadIntent::Plain,
            hints: parsed,
            view: None,
            computed,
        });
        scope.tables.push(in_scope);
        Ok(From::Table(block.tables.len() - 1))
    }

    /// The indexed columns of a table that are computed from others. One whose expression this session cannot bind is none.
    fn computed(&mut self, table: &Table, in_scope: &ScopeTable) -> Vec<Computed> {
        let indexed = |column: &Column| column.generated.is_some() && is_indexed(table, column);
        if !table.columns.iter().any(indexed) {
            return Vec::new();
        }
        let scope = Scope::new(vec![in_scope.clone()], None);
        let mut found = Vec::new();
        for (column, named) in table.columns.iter().zip(&in_scope.columns).filter(|(c, _)| indexed(c)) {
            let text = column.generated.as_ref().map_or("", |g| &*g.expression);
            let bound = crate::ddl::parse_stored(text)
                .and_then(|ast| self.expr(&ast, Place::plain(&scope, "stored expression")));
            found.extend(bound.ok().and_then(|expr| Computed::new(named.id, column, expr)));
        }
        found
    }

    /// Adds a table that is not stored; every mention gets column ids of its own.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn add_table(
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
            place: Some(block.tables.len()),
        };
        check_unique(scope, &in_scope)?;
        block.tables.push(BoundTable {
            alias,
            source,
            columns: in_scope.columns.iter().map(|c| c.id).collect(),
            row_id: None,
            intent: ReadIntent::Plain,
            hints: Vec::new(),
            view: None,
            computed: Vec::new(),
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
        let tree = self.join_items(from, &mut block, &mut scope)?;
        let mut filter = std::mem::take(&mut block.pending);
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

pub(super) fn unknown_table(name: &str) -> SqlError {
    SqlError::new(ErrorCode::UnknownTable, format!("Unknown table '{name}'"))
}

/// Error 1176.
fn no_key(index: &str, table: &str) -> SqlError {
    SqlError::new(ErrorCode::KeyDoesNotExist, format!("Key '{index}' doesn't exist in table '{table}'"))
}

/// Which outer join it is, if it is one.
fn is_outer(join: &ast::Join) -> Option<Kind> {
    match &join.join_operator {
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Some(Kind::Left),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Some(Kind::Right),
        _ => None,
    }
}

pub(super) fn check_unique(scope: &Scope<'_>, table: &ScopeTable) -> Result<(), SqlError> {
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
pub(super) fn complete_star(scope: &mut Scope<'_>) {
    let missing: Vec<ColumnId> = scope
        .all_columns()
        .filter(|(_, c)| !c.merged && !c.invisible && !scope.star.contains(&c.id))
        .map(|(_, c)| c.id)
        .collect();
    scope.star.extend(missing);
}

pub(super) fn apply_locks(tables: &mut [BoundTable], locks: &[ast::LockClause]) -> Result<(), SqlError> {
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
                let mut found = false;
                for table in tables.iter_mut() {
                    if **table.view.as_ref().map_or(&table.alias, |via| &via.alias) == *wanted {
                        table.intent = intent;
                        found = true;
                    }
                }
                if !found {
                    return Err(SqlError::new(
                        ErrorCode::UnresolvedTableLock,
                        format!("Unresolved table name `{wanted}` in locking clause."),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Error 1146; of information_schema, whose tables are not looked for in the same way, 1109.
fn no_table(database: &str, table: &str) -> SqlError {
    if database.eq_ignore_ascii_case("information_schema") {
        let text = format!("Unknown table '{}' in information_schema", table.to_uppercase());
        return SqlError::new(ErrorCode::UnknownTableReference, text);
    }
    SqlError::new(ErrorCode::NoSuchTable, format!("Table '{database}.{table}' doesn't exist"))
}
