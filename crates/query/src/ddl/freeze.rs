//! Writes out what a view's query leaves to its surroundings: databases of tables, tables of columns, `*`, the
//! columns of NATURAL and USING, names of results. What is left means the same wherever it is read.
//!
//! The query was bound before, so what is not found here belongs to what needs no writing out: an alias in ORDER
//! BY, say. It stays as it is.

use crate::bind::{VirtualTables, item_name, object_parts};
use crate::infoschema::SystemTables;
use assize_catalog::Catalog;
use assize_model::{ErrorCode, SqlError};
use assize_sql::ParseOptions;
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut, WindowSpec,
};
use std::ops::ControlFlow;

/// Freezes a query; the names of its columns come back.
pub(crate) fn freeze(
    query: &mut Query,
    catalog: &Catalog,
    database: Option<&str>,
) -> Result<Vec<String>, SqlError> {
    Freezer { catalog, database, ctes: Vec::new(), nameless: false }.query(query, &[])
}

/// Leaves out the database where every table is of this one, as SHOW CREATE VIEW does.
pub(crate) fn compact(query: &mut Query, database: &str) {
    struct Foreign<'d>(&'d str);
    impl VisitorMut for Foreign<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
            match object_parts(name).as_slice() {
                [database, _] if *database != self.0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    struct Strip;
    impl VisitorMut for Strip {
        type Break = ();
        fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
            if name.0.len() == 2 {
                name.0.remove(0);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::CompoundIdentifier(parts) = expr
                && parts.len() == 3
            {
                parts.remove(0);
            }
            ControlFlow::Continue(())
        }
    }
    if query.visit(&mut Foreign(database)).is_continue() {
        let _ = query.visit(&mut Strip);
    }
}

/// A table of FROM: how its columns are written, and which there are.
#[derive(Clone)]
struct Named {
    prefix: Vec<String>,
    columns: Vec<NamedColumn>,
}

#[derive(Clone)]
struct NamedColumn {
    name: String,
    invisible: bool,
    /// USING or NATURAL made it one with another.
    merged: bool,
}

/// The tables of one SELECT, and the order of `*` where it is not table by table.
#[derive(Clone, Default)]
struct Names {
    tables: Vec<Named>,
    star: Option<Vec<(usize, usize)>>,
}

impl Named {
    fn column(&self, at: usize) -> Expr {
        let parts = self.prefix.iter().chain([&self.columns[at].name]);
        Expr::CompoundIdentifier(parts.map(|part| Ident::with_quote('`', part)).collect())
    }

    fn answers_to(&self, parts: &[&str]) -> bool {
        let own: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        match parts {
            [table] => own.last() == Some(table),
            _ => own == parts,
        }
    }
}

impl Names {
    fn find(&self, name: &str) -> Option<(usize, usize)> {
        let mut found = self.tables.iter().enumerate().flat_map(|(t, table)| {
            let columns = table.columns.iter().enumerate();
            columns.filter(|(_, c)| !c.merged && c.name.eq_ignore_ascii_case(name)).map(move |(c, _)| (t, c))
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn columns_from(&self, first: usize) -> Vec<(usize, usize)> {
        let tables = self.tables.iter().enumerate().skip(first);
        let visible = |(t, table): (usize, &Named)| {
            let columns = table.columns.iter().enumerate().filter(|(_, c)| !c.invisible && !c.merged);
            columns.map(|(c, _)| (t, c)).collect::<Vec<_>>()
        };
        tables.flat_map(visible).collect()
    }

    fn star(&self) -> Vec<(usize, usize)> {
        self.star.clone().unwrap_or_else(|| self.columns_from(0))
    }
}

struct Freezer<'c> {
    catalog: &'c Catalog,
    database: Option<&'c str>,
    ctes: Vec<(String, Vec<String>)>,
    /// What comes is a query within an expression: nobody asks for the names of its columns.
    nameless: bool,
}

impl Freezer<'_> {
    fn query(&mut self, query: &mut Query, outer: &[&Names]) -> Result<Vec<String>, SqlError> {
        crate::deep::grow(|| {
            let ctes = self.ctes.len();
            let names = self.query_with(query, outer);
            self.ctes.truncate(ctes);
            names
        })
    }

    fn query_with(&mut self, query: &mut Query, outer: &[&Names]) -> Result<Vec<String>, SqlError> {
        let nameless = std::mem::take(&mut self.nameless);
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let name = cte.alias.name.value.clone();
                let listed: Vec<String> = cte.alias.columns.iter().map(|c| c.name.value.clone()).collect();
                let known = self.ctes.len();
                let names = match (&mut *cte.query.body, with.recursive) {
                    (SetExpr::SetOperation { left, right, .. }, true) => {
                        let seed = self.set_expr(left, &mut [], outer)?;
                        let names = if listed.is_empty() { seed } else { listed };
                        self.ctes.push((name.clone(), names.clone()));
                        self.set_expr(right, &mut [], outer)?;
                        names
                    }
                    _ => {
                        let own = self.query(&mut cte.query, outer)?;
                        if listed.is_empty() { own } else { listed }
                    }
                };
                self.ctes.truncate(known);
                self.ctes.push((name, names));
            }
        }
        let mut none = Vec::new();
        let order = match &mut query.order_by {
            Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) => keys,
            _ => &mut none,
        };
        self.nameless = nameless;
        let names = self.set_expr(&mut query.body, order, outer);
        self.nameless = false;
        names
    }

    fn set_expr(
        &mut self,
        body: &mut SetExpr,
        order: &mut [OrderByExpr],
        outer: &[&Names],
    ) -> Result<Vec<String>, SqlError> {
        crate::deep::grow(|| {
            if let SetExpr::Table(table) = body {
                let mut parts: Vec<&str> = Vec::new();
                parts.extend(table.schema_name.as_deref());
                parts.extend(table.table_name.as_deref());
                let quoted: Vec<String> = parts.iter().map(|p| crate::show::quote::quote_name(p)).collect();
                let text = format!("SELECT * FROM {}", quoted.join("."));
                *body = *assize_sql::parse_query(&text, &ParseOptions::default())?.body;
            }
            match body {
                SetExpr::Select(select) => self.select(select, order, outer),
                SetExpr::Query(query) => self.query(query, outer),
                SetExpr::SetOperation { left, right, .. } => {
                    let nameless = self.nameless;
                    let names = self.set_expr(left, &mut [], outer)?;
                    self.nameless = nameless;
                    self.set_expr(right, &mut [], outer)?;
                    Ok(names)
                }
                SetExpr::Values(values) => {
                    let mut width = 0;
                    for row in &mut values.rows {
                        width = row.content.len();
                        for expr in &mut row.content {
                            self.expr(expr, outer, &[])?;
                        }
                    }
                    Ok((0..width).map(|i| format!("column_{i}")).collect())
                }
                _ => Ok(Vec::new()),
            }
        })
    }

    fn select(
        &mut self,
        select: &mut Select,
        order: &mut [OrderByExpr],
        outer: &[&Names],
    ) -> Result<Vec<String>, SqlError> {
        let nameless = std::mem::take(&mut self.nameless);
        let mut own = Names::default();
        for item in &mut select.from {
            let first = own.tables.len();
            self.item(item, &mut own, outer)?;
            if let Some(known) = own.star.clone() {
                // What nothing was merged with comes behind what was there.
                let missing = own.columns_from(first).into_iter().filter(|c| !known.contains(c));
                own.star = Some(known.iter().copied().chain(missing).collect());
            }
        }
        self.write_out_stars(select, &own)?;
        let aliases: Vec<String> = select.projection.iter().filter_map(explicit_alias).collect();
        let names: Vec<String> = select.projection.iter().map(name_of).collect();
        let mut scopes: Vec<&Names> = vec![&own];
        scopes.extend(outer);
        for (item, name) in select.projection.iter_mut().zip(&names) {
            let mut expr = match item {
                SelectItem::UnnamedExpr(expr)
                | SelectItem::ExprWithAlias { expr, .. }
                | SelectItem::ExprWithAliases { expr, .. } => expr.clone(),
                _ => continue,
            };
            self.expr(&mut expr, &scopes, &[])?;
            if nameless && !matches!(item, SelectItem::ExprWithAlias { .. }) {
                *item = SelectItem::UnnamedExpr(expr);
                continue;
            }
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('`', name) };
        }
        if let Some(condition) = &mut select.selection {
            self.expr(condition, &scopes, &[])?;
        }
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            for key in keys {
                // A bare name is a column of these tables, or else a result's.
                match key {
                    Expr::Identifier(ident) if own.find(&ident.value).is_none() => {}
                    _ => self.expr(key, &scopes, &[])?,
                }
            }
        }
        if let Some(condition) = &mut select.having {
            self.expr(condition, &scopes, &aliases)?;
        }
        for window in &mut select.named_window {
            if let sqlparser::ast::NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                self.window(spec, &scopes)?;
            }
        }
        for key in order {
            // A bare name is a result's before it is a column's.
            match &key.expr {
                Expr::Identifier(ident) if names.iter().any(|n| n.eq_ignore_ascii_case(&ident.value)) => {}
                _ => self.expr(&mut key.expr, &scopes, &[])?,
            }
        }
        Ok(names)
    }

    fn window(&mut self, spec: &mut WindowSpec, scopes: &[&Names]) -> Result<(), SqlError> {
        for expr in &mut spec.partition_by {
            self.expr(expr, scopes, &[])?;
        }
        for key in &mut spec.order_by {
            self.expr(&mut key.expr, scopes, &[])?;
        }
        Ok(())
    }

    fn write_out_stars(&self, select: &mut Select, own: &Names) -> Result<(), SqlError> {
        let mut out = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(_) => {
                    let columns = own.star().into_iter().map(|(t, c)| own.tables[t].column(c));
                    out.extend(columns.map(SelectItem::UnnamedExpr));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let parts = object_parts(&name);
                    let found = own.tables.iter().find(|t| t.answers_to(&parts));
                    let Some(table) = found else { continue };
                    let visible = (0..table.columns.len()).filter(|c| !table.columns[*c].invisible);
                    out.extend(visible.map(|c| SelectItem::UnnamedExpr(table.column(c))));
                }
                other => out.push(other),
            }
        }
        select.projection = out;
        Ok(())
    }

    fn item(&mut self, item: &mut TableWithJoins, own: &mut Names, outer: &[&Names]) -> Result<(), SqlError> {
        let first = own.tables.len();
        self.factor(&mut item.relation, own, outer)?;
        for join in &mut item.joins {
            let right_first = own.tables.len();
            self.factor(&mut join.relation, own, outer)?;
            self.constraint(join, own, first, right_first, outer)?;
        }
        Ok(())
    }

    /// ON; USING and NATURAL become one.
    fn constraint(
        &mut self,
        join: &mut Join,
        own: &mut Names,
        first: usize,
        right_first: usize,
        outer: &[&Names],
    ) -> Result<(), SqlError> {
        let right_join = matches!(join.join_operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_));
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(c)
            | JoinOperator::Inner(c)
            | JoinOperator::CrossJoin(c)
            | JoinOperator::StraightJoin(c)
            | JoinOperator::Left(c)
            | JoinOperator::LeftOuter(c)
            | JoinOperator::Right(c)
            | JoinOperator::RightOuter(c) => c,
            _ => return Ok(()),
        };
        let left = |own: &Names, name: &str| {
            let all = own.tables[first..right_first].iter().enumerate().flat_map(|(t, table)| {
                table.columns.iter().enumerate().map(move |(c, column)| (first + t, c, column))
            });
            let mut found = all.filter(|(_, _, c)| !c.merged && c.name.eq_ignore_ascii_case(name));
            found.next().map(|(t, c, _)| (t, c))
        };
        let right = |own: &Names, name: &str| {
            let all = own.tables[right_first..].iter().enumerate().flat_map(|(t, table)| {
                table.columns.iter().enumerate().map(move |(c, column)| (right_first + t, c, column))
            });
            let mut found = all.filter(|(_, _, c)| !c.merged && c.name.eq_ignore_ascii_case(name));
            found.next().map(|(t, c, _)| (t, c))
        };
        let shared: Vec<String> = match constraint {
            JoinConstraint::On(condition) => {
                let seen = Names { tables: own.tables[first..].to_vec(), star: None };
                let mut scopes = vec![&seen];
                scopes.extend(outer);
                return self.expr(condition, &scopes, &[]);
            }
            JoinConstraint::None => return Ok(()),
            JoinConstraint::Using(names) => {
                names.iter().filter_map(|n| object_parts(n).last().map(|n| (*n).to_owned())).collect()
            }
            JoinConstraint::Natural => own.tables[first..right_first]
                .iter()
                .flat_map(|t| t.columns.iter().filter(|c| !c.merged && !c.invisible))
                .map(|c| c.name.clone())
                .filter(|name| right(own, name).is_some())
                .collect(),
        };
        let mut condition: Option<Expr> = None;
        let mut merged = Vec::new();
        for name in &shared {
            let (Some(a), Some(b)) = (left(own, name), right(own, name)) else { continue };
            let equal = Expr::BinaryOp {
                left: Box::new(own.tables[a.0].column(a.1)),
                op: BinaryOperator::Eq,
                right: Box::new(own.tables[b.0].column(b.1)),
            };
            condition = Some(match condition {
                None => equal,
                Some(before) => {
                    Expr::BinaryOp { left: Box::new(before), op: BinaryOperator::And, right: Box::new(equal) }
                }
            });
            merged.push(if right_join { (b, a) } else { (a, b) });
        }
        *constraint = condition.map_or(JoinConstraint::None, JoinConstraint::On);
        let mut before: Vec<(usize, usize)> =
            own.star().into_iter().filter(|(t, _)| *t < right_first).collect();
        let missing: Vec<(usize, usize)> = own
            .columns_from(first)
            .into_iter()
            .filter(|c| c.0 < right_first && !before.contains(c))
            .collect();
        before.extend(missing);
        let theirs = own.columns_from(right_first);
        for (_, gone) in &merged {
            own.tables[gone.0].columns[gone.1].merged = true;
        }
        let is_merged = |c: &(usize, usize)| merged.iter().any(|(kept, gone)| kept == c || gone == c);
        let mut star: Vec<(usize, usize)> = before.iter().filter(|(t, _)| *t < first).copied().collect();
        star.extend(merged.iter().map(|(kept, _)| *kept));
        let from_left = before.iter().filter(|c| c.0 >= first && !is_merged(c)).copied();
        let from_right = theirs.iter().filter(|c| !is_merged(c)).copied();
        if right_join {
            star.extend(from_right);
            star.extend(from_left);
        } else {
            star.extend(from_left);
            star.extend(from_right);
        }
        own.star = Some(star);
        Ok(())
    }

    fn factor(
        &mut self,
        factor: &mut TableFactor,
        own: &mut Names,
        outer: &[&Names],
    ) -> Result<(), SqlError> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let alias = alias.as_ref().map(|a| a.name.value.clone());
                let named = self.table(name, alias);
                own.tables.push(named);
                Ok(())
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let mut names = if *lateral {
                    let before = own.clone();
                    let mut scopes = vec![&before];
                    scopes.extend(outer);
                    self.query(subquery, &scopes)?
                } else {
                    self.query(subquery, outer)?
                };
                let Some(alias) = alias else { return Ok(()) };
                if !alias.columns.is_empty() {
                    names = alias.columns.iter().map(|c| c.name.value.clone()).collect();
                }
                own.tables.push(Named { prefix: vec![alias.name.value.clone()], columns: visible(&names) });
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.item(table_with_joins, own, outer),
            _ => Ok(()),
        }
    }

    /// A table by name, which gets its database.
    fn table(&self, name: &mut ObjectName, alias: Option<String>) -> Named {
        let parts: Vec<String> = object_parts(name).iter().map(|p| (*p).to_owned()).collect();
        let (database, table) = match parts.as_slice() {
            [table] => (None, table.clone()),
            [database, table] => (Some(database.clone()), table.clone()),
            _ => return Named { prefix: parts, columns: Vec::new() },
        };
        if database.is_none()
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(&table))
        {
            return Named { prefix: vec![alias.unwrap_or(table)], columns: visible(columns) };
        }
        let Some(database) = database.or_else(|| self.database.map(str::to_owned)) else {
            return Named { prefix: vec![alias.unwrap_or(table)], columns: Vec::new() };
        };
        let columns = match self.catalog.table(&database, &table) {
            Some(stored) => stored
                .shown_columns()
                .map(|c| NamedColumn { name: c.name.to_string(), invisible: c.invisible, merged: false })
                .collect(),
            None => {
                let found = SystemTables.table(&database, &table);
                let names: Vec<String> =
                    found.iter().flat_map(|t| &t.columns).map(|c| c.name.to_string()).collect();
                visible(&names)
            }
        };
        *name = ObjectName(
            [&database, &table]
                .into_iter()
                .map(|part| ObjectNamePart::Identifier(Ident::with_quote('`', part)))
                .collect(),
        );
        let prefix = alias.map_or_else(|| vec![database, table], |alias| vec![alias]);
        Named { prefix, columns }
    }

    /// Writes out the names of an expression, and the queries within it.
    fn expr(&mut self, expr: &mut Expr, scopes: &[&Names], aliases: &[String]) -> Result<(), SqlError> {
        let mut walk = Walk { freezer: self, scopes, aliases, depth: 0, unit: false };
        match expr.visit(&mut walk) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

struct Walk<'w, 'f, 'c> {
    freezer: &'w mut Freezer<'f>,
    scopes: &'w [&'c Names],
    aliases: &'w [String],
    /// Queries are frozen as a whole where they begin; what the walk meets within them is done.
    depth: usize,
    /// The next expression is a unit of time, which looks like a column.
    unit: bool,
}

impl VisitorMut for Walk<'_, '_, '_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.depth += 1;
        if self.depth > 1 {
            return ControlFlow::Continue(());
        }
        self.freezer.nameless = true;
        match self.freezer.query(query, self.scopes) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<SqlError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let is_unit = std::mem::take(&mut self.unit);
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.starts_with('@') => {
                return ControlFlow::Break(SqlError::new(
                    ErrorCode::ViewSelectVariable,
                    "View's SELECT contains a variable or parameter",
                ));
            }
            Expr::Identifier(ident) if !is_unit => {
                if self.aliases.iter().any(|a| a.eq_ignore_ascii_case(&ident.value)) {
                    return ControlFlow::Continue(());
                }
                let found = self.scopes.iter().find_map(|names| {
                    let (table, column) = names.find(&ident.value)?;
                    Some(names.tables[table].column(column))
                });
                if let Some(column) = found {
                    *expr = column;
                }
            }
            Expr::CompoundIdentifier(parts) if parts.len() == 2 => {
                let (table, column) = (parts[0].value.clone(), parts[1].value.clone());
                let found = self.scopes.iter().find_map(|names| {
                    let named = names.tables.iter().find(|t| t.answers_to(&[&table]))?;
                    let at = named.columns.iter().position(|c| c.name.eq_ignore_ascii_case(&column))?;
                    Some(named.column(at))
                });
                if let Some(column) = found {
                    *expr = column;
                }
            }
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                self.unit = matches!(name.as_str(), "timestampadd" | "timestampdiff" | "get_format")
                    && matches!(&function.args, FunctionArguments::List(list) if !list.args.is_empty());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn visible(names: &[String]) -> Vec<NamedColumn> {
    names.iter().map(|name| NamedColumn { name: name.clone(), invisible: false, merged: false }).collect()
}

fn explicit_alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

/// The name of a column of the result.
fn name_of(item: &SelectItem) -> String {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
        SelectItem::ExprWithAliases { expr, aliases } => {
            aliases.first().map_or_else(|| item_name(expr).to_string(), |alias| alias.value.clone())
        }
        SelectItem::UnnamedExpr(expr) => item_name(expr).to_string(),
        other => other.to_string(),
    }
}
