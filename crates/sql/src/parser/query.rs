//! Queries: SELECT, VALUES, TABLE, UNION, WITH; tables and joins.

use super::expr::object_name;
use super::{CHAIN_MAX, Parser, Result};
use crate::lexer::Kind;
use crate::{Query, SelectInto, Statement};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, GroupByWithModifier, Ident, Join, JoinConstraint, JoinOperator,
    JsonTableColumn, JsonTableColumnErrorHandling, JsonTableNamedColumn, JsonTableNestedColumn, LimitClause,
    LockClause, LockType, NamedWindowDefinition, NamedWindowExpr, NonBlock, ObjectName, Offset, OffsetRows,
    OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Parens, Query as QueryNode, Select, SelectFlavor,
    SelectItem, SelectItemQualifiedWildcardKind, SelectModifiers, SetExpr, SetOperator, SetQuantifier, Table,
    TableAlias, TableAliasColumnDef, TableFactor, TableIndexHintForClause, TableIndexHintType,
    TableIndexHints, TableIndexType, TableWithJoins, Values, WildcardAdditionalOptions, With,
};

impl Parser<'_> {
    pub(super) fn query_statement(&mut self) -> Result<Statement> {
        self.into = None;
        let node = self.query()?;
        let into = self.into.take();
        Ok(Statement::Query(Box::new(Query { node, into })))
    }

    /// WITH … SELECT, UPDATE or DELETE.
    pub(super) fn with_statement(&mut self) -> Result<Statement> {
        let with = self.with()?;
        if self.is_kw("UPDATE") {
            return self.update(Some(with));
        }
        if self.is_kw("DELETE") {
            return self.delete(Some(with));
        }
        self.into = None;
        let mut node = self.query_after_with()?;
        node.with = Some(with);
        let into = self.into.take();
        Ok(Statement::Query(Box::new(Query { node, into })))
    }

    /// A query with everything that may stand around it.
    pub(super) fn query(&mut self) -> Result<QueryNode> {
        self.nested(|p| {
            let with = if p.is_kw("WITH") { Some(p.with()?) } else { None };
            let mut node = p.query_after_with()?;
            node.with = with;
            Ok(node)
        })
    }

    fn with(&mut self) -> Result<With> {
        self.expect_kw("WITH")?;
        let recursive = self.eat_kw("RECURSIVE");
        let cte_tables = self.comma_list(|p| {
            let name = p.ident()?;
            let columns = p.optional_alias_columns()?;
            p.expect_kw("AS")?;
            p.expect("(")?;
            let query = Box::new(p.query()?);
            p.expect(")")?;
            Ok(Cte {
                alias: TableAlias { explicit: true, name, columns, at: None },
                query,
                from: None,
                materialized: None,
                closing_paren_token: AttachedToken::empty(),
            })
        })?;
        Ok(With { with_token: AttachedToken::empty(), recursive, cte_tables })
    }

    fn optional_alias_columns(&mut self) -> Result<Vec<TableAliasColumnDef>> {
        if !self.is_punct("(") {
            return Ok(Vec::new());
        }
        self.paren_list(|p| Ok(TableAliasColumnDef { name: p.ident()?, data_type: None }))
    }

    fn query_after_with(&mut self) -> Result<QueryNode> {
        let body = self.set_expr()?;
        let mut node = QueryNode {
            with: None,
            body: Box::new(body),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        };
        if self.eat_kws(&["ORDER", "BY"]) {
            let items = self.order_by_items()?;
            node.order_by = Some(OrderBy { kind: OrderByKind::Expressions(items), interpolate: None });
        }
        if self.eat_kw("LIMIT") {
            node.limit_clause = Some(self.limit()?);
        }
        // INTO and the locking clauses come in either order.
        loop {
            if self.is_kw("INTO") {
                self.select_into()?;
            } else if self.is_kws(&["PROCEDURE", "ANALYSE"]) {
                return Err(self.fail());
            } else if !self.lock_clause(&mut node.locks)? {
                return Ok(node);
            }
        }
    }

    fn select_into(&mut self) -> Result<()> {
        if self.into.is_some() || self.depth > 1 {
            return Err(self.fail());
        }
        self.expect_kw("INTO")?;
        let into = if self.eat_kw("OUTFILE") {
            let file = self.string()?;
            self.export_options()?;
            SelectInto::Outfile(file)
        } else if self.eat_kw("DUMPFILE") {
            SelectInto::Dumpfile(self.string()?)
        } else {
            SelectInto::Variables(self.comma_list(|p| {
                if p.kind() == Kind::UserVar { Ok(p.advance().text) } else { Err(p.fail()) }
            })?)
        };
        self.into = Some(into);
        Ok(())
    }

    /// The options of OUTFILE, which is refused later: only its syntax matters.
    fn export_options(&mut self) -> Result<()> {
        while !self.at_end() && !self.is_any_kw(&["FROM", "FOR", "LOCK"]) {
            self.skip(1);
        }
        Ok(())
    }

    fn lock_clause(&mut self, locks: &mut Vec<LockClause>) -> Result<bool> {
        if self.eat_kws(&["LOCK", "IN", "SHARE", "MODE"]) {
            locks.push(LockClause { lock_type: LockType::Share, of: None, nonblock: None });
            return Ok(true);
        }
        let lock_type = if self.eat_kws(&["FOR", "UPDATE"]) {
            LockType::Update
        } else if self.eat_kws(&["FOR", "SHARE"]) {
            LockType::Share
        } else {
            return Ok(false);
        };
        let of = if self.eat_kw("OF") {
            self.comma_list(|p| {
                let mut parts = vec![p.ident()?];
                if p.eat(".") {
                    parts.push(Ident::new(p.name_after_dot()?));
                }
                Ok(Some(object_name(parts)))
            })?
        } else {
            vec![None]
        };
        let nonblock = if self.eat_kw("NOWAIT") {
            Some(NonBlock::Nowait)
        } else if self.eat_kws(&["SKIP", "LOCKED"]) {
            Some(NonBlock::SkipLocked)
        } else {
            None
        };
        locks.extend(of.into_iter().map(|of| LockClause { lock_type, of, nonblock }));
        Ok(true)
    }

    fn limit(&mut self) -> Result<LimitClause> {
        let first = self.limit_value()?;
        if self.eat(",") {
            let limit = self.limit_value()?;
            return Ok(LimitClause::OffsetCommaLimit { offset: first, limit });
        }
        let offset = if self.eat_kw("OFFSET") {
            Some(Offset { value: self.limit_value()?, rows: OffsetRows::None })
        } else {
            None
        };
        Ok(LimitClause::LimitOffset { limit: Some(first), offset, limit_by: Vec::new() })
    }

    /// A number, a `?` or (within routines) a name.
    pub(super) fn limit_value(&mut self) -> Result<Expr> {
        match self.kind() {
            Kind::Int | Kind::Param | Kind::Hex => Ok(Expr::value(self.literal()?)),
            _ => Err(self.fail()),
        }
    }

    pub(super) fn order_by_items(&mut self) -> Result<Vec<OrderByExpr>> {
        self.comma_list(|p| {
            let expr = p.expr()?;
            let asc = match p.eat_one_of(&["ASC", "DESC"]) {
                Some("ASC") => Some(true),
                Some(_) => Some(false),
                None => None,
            };
            Ok(OrderByExpr { expr, options: OrderByOptions { asc, nulls_first: None }, with_fill: None })
        })
    }

    /// UNION and EXCEPT, left-associative, over INTERSECT.
    fn set_expr(&mut self) -> Result<SetExpr> {
        let mut left = self.intersect_expr()?;
        let mut length = 0;
        loop {
            let op = match self.eat_one_of(&["UNION", "EXCEPT", "MINUS"]) {
                Some("UNION") => SetOperator::Union,
                Some(_) => SetOperator::Except,
                None => return Ok(left),
            };
            let set_quantifier = self.set_quantifier();
            let right = self.intersect_expr()?;
            left = SetExpr::SetOperation { left: Box::new(left), op, set_quantifier, right: Box::new(right) };
            length += 1;
            if length > CHAIN_MAX {
                return Err(self.too_deep());
            }
        }
    }

    fn intersect_expr(&mut self) -> Result<SetExpr> {
        let mut left = self.query_primary()?;
        let mut length = 0;
        while self.eat_kw("INTERSECT") {
            let set_quantifier = self.set_quantifier();
            let right = Box::new(self.query_primary()?);
            left = SetExpr::SetOperation {
                left: Box::new(left),
                op: SetOperator::Intersect,
                set_quantifier,
                right,
            };
            length += 1;
            if length > CHAIN_MAX {
                return Err(self.too_deep());
            }
        }
        Ok(left)
    }

    fn set_quantifier(&mut self) -> SetQuantifier {
        match self.eat_one_of(&["ALL", "DISTINCT"]) {
            Some("ALL") => SetQuantifier::All,
            Some(_) => SetQuantifier::Distinct,
            None => SetQuantifier::None,
        }
    }

    fn query_primary(&mut self) -> Result<SetExpr> {
        if self.eat("(") {
            let query = self.query()?;
            self.expect(")")?;
            return Ok(SetExpr::Query(Box::new(query)));
        }
        if self.is_kw("SELECT") {
            return Ok(SetExpr::Select(Box::new(self.select()?)));
        }
        if self.eat_kw("VALUES") {
            let rows = self.comma_list(|p| {
                p.expect_kw("ROW")?;
                p.expect("(")?;
                let content = if p.is_punct(")") { Vec::new() } else { p.comma_list(|p| p.expr())? };
                p.expect(")")?;
                Ok(Parens {
                    opening_token: AttachedToken::empty(),
                    content,
                    closing_token: AttachedToken::empty(),
                })
            })?;
            return Ok(SetExpr::Values(Values { explicit_row: true, value_keyword: false, rows }));
        }
        if self.eat_kw("TABLE") {
            let table = self.table_name()?;
            return Ok(SetExpr::Table(Box::new(Table {
                table_name: Some(table.name),
                schema_name: table.database,
            })));
        }
        Err(self.fail())
    }

    fn select(&mut self) -> Result<Select> {
        self.expect_kw("SELECT")?;
        let mut distinct = None;
        let mut modifiers = SelectModifiers::default();
        loop {
            match self.eat_one_of(&[
                "ALL",
                "DISTINCT",
                "DISTINCTROW",
                "HIGH_PRIORITY",
                "STRAIGHT_JOIN",
                "SQL_SMALL_RESULT",
                "SQL_BIG_RESULT",
                "SQL_BUFFER_RESULT",
                "SQL_NO_CACHE",
                "SQL_CACHE",
                "SQL_CALC_FOUND_ROWS",
            ]) {
                Some("DISTINCT" | "DISTINCTROW") => distinct = Some(Distinct::Distinct),
                Some("HIGH_PRIORITY") => modifiers.high_priority = true,
                Some("STRAIGHT_JOIN") => modifiers.straight_join = true,
                Some("SQL_SMALL_RESULT") => modifiers.sql_small_result = true,
                Some("SQL_BIG_RESULT") => modifiers.sql_big_result = true,
                Some("SQL_BUFFER_RESULT") => modifiers.sql_buffer_result = true,
                Some("SQL_NO_CACHE") => modifiers.sql_no_cache = true,
                Some("SQL_CALC_FOUND_ROWS") => modifiers.sql_calc_found_rows = true,
                Some(_) => {}
                None => break,
            }
        }
        let projection = self.select_items()?;
        if self.is_kw("INTO") {
            self.select_into()?;
        }
        let mut select = Select {
            select_token: AttachedToken::empty(),
            optimizer_hints: Vec::new(),
            distinct,
            select_modifiers: modifiers.is_any_set().then_some(modifiers),
            top: None,
            top_before_distinct: false,
            projection,
            exclude: None,
            into: None,
            from: Vec::new(),
            lateral_views: Vec::new(),
            prewhere: None,
            selection: None,
            connect_by: Vec::new(),
            group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
            cluster_by: Vec::new(),
            distribute_by: Vec::new(),
            sort_by: Vec::new(),
            having: None,
            named_window: Vec::new(),
            qualify: None,
            window_before_qualify: false,
            value_table_mode: None,
            flavor: SelectFlavor::Standard,
        };
        if self.eat_kw("FROM") && !self.eat_kw("DUAL") {
            select.from = self.tables()?;
        }
        if self.eat_kw("WHERE") {
            select.selection = Some(self.expr()?);
        }
        if self.eat_kws(&["GROUP", "BY"]) {
            select.group_by = self.group_by()?;
        }
        if self.eat_kw("HAVING") {
            select.having = Some(self.expr()?);
        }
        if self.eat_kw("WINDOW") {
            select.named_window = self.comma_list(|p| {
                let name = p.ident()?;
                p.expect_kw("AS")?;
                Ok(NamedWindowDefinition(name, NamedWindowExpr::WindowSpec(p.window_spec()?)))
            })?;
        }
        Ok(select)
    }

    fn group_by(&mut self) -> Result<GroupByExpr> {
        if self.is_kw("ROLLUP") && self.is_punct_at(1, "(") {
            self.skip(1);
            let items = self.paren_list(|p| p.expr())?;
            return Ok(GroupByExpr::Expressions(items, vec![GroupByWithModifier::Rollup]));
        }
        // ASC and DESC after a group are an old form whose order nobody may rely on.
        let items = self.comma_list(|p| {
            let expr = p.expr()?;
            p.eat_one_of(&["ASC", "DESC"]);
            Ok(expr)
        })?;
        let modifiers =
            if self.eat_kws(&["WITH", "ROLLUP"]) { vec![GroupByWithModifier::Rollup] } else { Vec::new() };
        Ok(GroupByExpr::Expressions(items, modifiers))
    }

    fn select_items(&mut self) -> Result<Vec<SelectItem>> {
        self.comma_list(|p| p.select_item())
    }

    fn select_item(&mut self) -> Result<SelectItem> {
        if self.eat("*") {
            return Ok(SelectItem::Wildcard(WildcardAdditionalOptions::default()));
        }
        if let Some(name) = self.qualified_wildcard() {
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            return Ok(SelectItem::QualifiedWildcard(kind, WildcardAdditionalOptions::default()));
        }
        let start = self.tok().start;
        // A string names its column by its first part: `'a' 'b'` is called `a`.
        let literal = match (self.kind(), self.tok_at(1).kind) {
            (Kind::Str | Kind::NStr, _) => Some(self.tok().text.clone()),
            (Kind::Word, Kind::Str) if self.tok().text.starts_with('_') => Some(self.tok_at(1).text.clone()),
            _ => None,
        };
        let expr = self.select_expr()?;
        let text = self.source(start);
        if self.eat_kw("AS") {
            let alias = match self.kind() {
                Kind::Str => Ident::with_quote('`', self.string()?),
                _ => self.ident()?,
            };
            return Ok(SelectItem::ExprWithAlias { expr, alias });
        }
        if self.kind() == Kind::Str {
            let alias = Ident::with_quote('`', self.string()?);
            return Ok(SelectItem::ExprWithAlias { expr, alias });
        }
        if self.is_name_at(0) {
            let alias = self.ident()?;
            return Ok(SelectItem::ExprWithAlias { expr, alias });
        }
        Ok(match expr {
            Expr::Identifier(ref ident) if !ident.value.starts_with('@') => SelectItem::UnnamedExpr(expr),
            Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(expr),
            expr => SelectItem::ExprWithAliases {
                aliases: vec![Ident::new(implicit_name(&expr, literal, text))],
                expr,
            },
        })
    }

    /// `t.*`, `db.t.*`
    fn qualified_wildcard(&mut self) -> Option<ObjectName> {
        if !self.is_name_at(0) {
            return None;
        }
        let one = self.is_punct_at(1, ".") && self.is_punct_at(2, "*");
        let two = self.is_punct_at(1, ".") && self.is_punct_at(3, ".") && self.is_punct_at(4, "*");
        if !one && !two {
            return None;
        }
        let mut parts = vec![self.any_ident()];
        self.skip(1);
        if two {
            parts.push(self.any_ident());
            self.skip(1);
        }
        self.skip(1);
        Some(object_name(parts))
    }

    // -- tables and joins -------------------------------------------------------------------------------------

    pub(super) fn tables(&mut self) -> Result<Vec<TableWithJoins>> {
        self.comma_list(|p| p.table_with_joins())
    }

    pub(super) fn table_with_joins(&mut self) -> Result<TableWithJoins> {
        self.nested(|p| p.table_with_joins_nested())
    }

    fn table_with_joins_nested(&mut self) -> Result<TableWithJoins> {
        let relation = self.table_factor()?;
        let mut joins: Vec<Join> = Vec::new();
        loop {
            if self.is_kw("USING") || (self.is_kw("ON") && !self.is_kw_at(1, "DUPLICATE")) {
                // `a JOIN b JOIN c ON … ON …`: this condition belongs to the last join that has none, whose
                // right side is everything since.
                let Some(open) = joins.iter().rposition(|j| constraint_is_missing(&j.join_operator)) else {
                    return Err(self.fail());
                };
                let constraint = self.join_constraint()?;
                let inner = joins.split_off(open + 1);
                let join = &mut joins[open];
                if !inner.is_empty() {
                    let relation = std::mem::replace(&mut join.relation, placeholder_factor());
                    join.relation = TableFactor::NestedJoin {
                        table_with_joins: Box::new(TableWithJoins { relation, joins: inner }),
                        alias: None,
                    };
                }
                set_constraint(&mut join.join_operator, constraint);
                continue;
            }
            let Some(join_operator) = self.join_operator()? else { break };
            let relation = self.table_factor()?;
            joins.push(Join { relation, global: false, join_operator });
            if joins.len() > CHAIN_MAX as usize {
                return Err(self.too_deep());
            }
        }
        let incomplete = joins.iter().any(|j| {
            matches!(
                j.join_operator,
                JoinOperator::Left(JoinConstraint::None) | JoinOperator::Right(JoinConstraint::None)
            )
        });
        if incomplete { Err(self.fail()) } else { Ok(TableWithJoins { relation, joins }) }
    }

    fn join_constraint(&mut self) -> Result<JoinConstraint> {
        if self.eat_kw("ON") {
            return Ok(JoinConstraint::On(self.expr()?));
        }
        self.expect_kw("USING")?;
        let columns = self.paren_list(|p| Ok(object_name(vec![p.ident()?])))?;
        Ok(JoinConstraint::Using(columns))
    }

    fn join_operator(&mut self) -> Result<Option<JoinOperator>> {
        if self.eat_kw("JOIN") {
            return Ok(Some(JoinOperator::Join(JoinConstraint::None)));
        }
        if self.eat_kw("STRAIGHT_JOIN") {
            return Ok(Some(JoinOperator::StraightJoin(JoinConstraint::None)));
        }
        if self.eat_kws(&["INNER", "JOIN"]) {
            return Ok(Some(JoinOperator::Inner(JoinConstraint::None)));
        }
        if self.eat_kws(&["CROSS", "JOIN"]) {
            return Ok(Some(JoinOperator::CrossJoin(JoinConstraint::None)));
        }
        if self.eat_kw("NATURAL") {
            let natural = JoinConstraint::Natural;
            let operator = match self.eat_one_of(&["LEFT", "RIGHT", "INNER"]) {
                Some("LEFT") => JoinOperator::Left(natural),
                Some("RIGHT") => JoinOperator::Right(natural),
                _ => JoinOperator::Inner(natural),
            };
            self.eat_kw("OUTER");
            self.expect_kw("JOIN")?;
            return Ok(Some(operator));
        }
        let outer = [("LEFT", true), ("RIGHT", false)]
            .into_iter()
            .find(|(word, _)| self.is_kws(&[word, "JOIN"]) || self.is_kws(&[word, "OUTER", "JOIN"]));
        let Some((_, left)) = outer else { return Ok(None) };
        self.skip(1);
        self.eat_kw("OUTER");
        self.expect_kw("JOIN")?;
        let none = JoinConstraint::None;
        Ok(Some(if left { JoinOperator::Left(none) } else { JoinOperator::Right(none) }))
    }

    fn table_factor(&mut self) -> Result<TableFactor> {
        if self.eat_kw("LATERAL") {
            return self.derived(true);
        }
        if self.is_kw("JSON_TABLE") && self.is_punct_at(1, "(") {
            return self.json_table();
        }
        if self.is_punct("{") {
            // `{ OJ a LEFT JOIN b ON … }`
            self.skip(1);
            self.expect_kw("OJ")?;
            let table_with_joins = Box::new(self.table_with_joins()?);
            self.expect("}")?;
            return Ok(TableFactor::NestedJoin { table_with_joins, alias: None });
        }
        if self.is_punct("(") {
            if self.at_query() {
                return self.derived(false);
            }
            return self.nested(|p| {
                p.expect("(")?;
                let mut tables = p.tables()?;
                p.expect(")")?;
                let mut first = tables.remove(0);
                for table in tables {
                    let relation = if table.joins.is_empty() {
                        table.relation
                    } else {
                        TableFactor::NestedJoin { table_with_joins: Box::new(table), alias: None }
                    };
                    let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
                    first.joins.push(Join { relation, global: false, join_operator });
                }
                if first.joins.is_empty() {
                    return Ok(first.relation);
                }
                Ok(TableFactor::NestedJoin { table_with_joins: Box::new(first), alias: None })
            });
        }
        let mut parts = Vec::with_capacity(1);
        if self.eat(".") {
            parts.push(Ident::new(self.name_after_dot()?));
        } else {
            parts.push(self.ident()?);
            if self.eat(".") {
                if !matches!(self.kind(), Kind::Word | Kind::Quoted) {
                    return Err(self.fail());
                }
                parts.push(self.any_ident());
            }
        }
        let partitions = if self.eat_kw("PARTITION") { self.paren_list(|p| p.ident())? } else { Vec::new() };
        let alias = self.table_alias()?;
        let index_hints = self.index_hints()?;
        Ok(TableFactor::Table {
            name: object_name(parts),
            alias,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        })
    }

    fn derived(&mut self, lateral: bool) -> Result<TableFactor> {
        self.expect("(")?;
        let subquery = Box::new(self.query()?);
        self.expect(")")?;
        let mut alias = self.table_alias()?;
        if let Some(alias) = &mut alias {
            alias.columns = self.optional_alias_columns()?;
        }
        Ok(TableFactor::Derived { lateral, subquery, alias, sample: None })
    }

    fn table_alias(&mut self) -> Result<Option<TableAlias>> {
        let explicit = self.eat_kw("AS") || self.eat("=");
        if !explicit && !self.is_name_at(0) {
            return Ok(None);
        }
        let name = self.ident()?;
        Ok(Some(TableAlias { explicit, name, columns: Vec::new(), at: None }))
    }

    fn index_hints(&mut self) -> Result<Vec<TableIndexHints>> {
        let mut hints = Vec::new();
        loop {
            if !self.is_kw_at(1, "INDEX") && !self.is_kw_at(1, "KEY") {
                return Ok(hints);
            }
            let hint_type = match self.eat_one_of(&["USE", "FORCE", "IGNORE"]) {
                Some("USE") => TableIndexHintType::Use,
                Some("FORCE") => TableIndexHintType::Force,
                Some(_) => TableIndexHintType::Ignore,
                None => return Ok(hints),
            };
            let index_type = if self.eat_kw("INDEX") { TableIndexType::Index } else { TableIndexType::Key };
            self.eat_kw("KEY");
            let for_clause = if self.eat_kw("FOR") {
                if self.eat_kw("JOIN") {
                    Some(TableIndexHintForClause::Join)
                } else if self.eat_kws(&["ORDER", "BY"]) {
                    Some(TableIndexHintForClause::OrderBy)
                } else if self.eat_kws(&["GROUP", "BY"]) {
                    Some(TableIndexHintForClause::GroupBy)
                } else {
                    return Err(self.fail());
                }
            } else {
                None
            };
            self.expect("(")?;
            let index_names = if self.is_punct(")") {
                Vec::new()
            } else {
                self.comma_list(|p| if p.is_kw("PRIMARY") { Ok(p.any_ident()) } else { p.ident() })?
            };
            self.expect(")")?;
            hints.push(TableIndexHints { hint_type, index_type, for_clause, index_names });
        }
    }

    fn json_table(&mut self) -> Result<TableFactor> {
        self.skip(1);
        self.expect("(")?;
        let json_expr = self.expr()?;
        self.expect(",")?;
        let json_path = self.literal()?.into();
        let columns = self.json_table_columns()?;
        self.expect(")")?;
        let alias = self.table_alias()?;
        Ok(TableFactor::JsonTable { json_expr, json_path, columns, alias })
    }

    fn json_table_columns(&mut self) -> Result<Vec<JsonTableColumn>> {
        self.expect_kw("COLUMNS")?;
        self.nested(|p| p.paren_list(|p| p.json_table_column()))
    }

    fn json_table_column(&mut self) -> Result<JsonTableColumn> {
        if self.eat_kw("NESTED") {
            self.eat_kw("PATH");
            let path = self.literal()?.into();
            let columns = self.json_table_columns()?;
            return Ok(JsonTableColumn::Nested(JsonTableNestedColumn { path, columns }));
        }
        let name = self.ident()?;
        if self.eat_kws(&["FOR", "ORDINALITY"]) {
            return Ok(JsonTableColumn::ForOrdinality(name));
        }
        let data_type = self.data_type()?;
        let exists = self.eat_kw("EXISTS");
        self.expect_kw("PATH")?;
        let path = self.literal()?.into();
        let (mut on_empty, mut on_error) = (None, None);
        while let Some(word) = self.eat_one_of(&["NULL", "ERROR", "DEFAULT"]) {
            let handling = match word {
                "NULL" => JsonTableColumnErrorHandling::Null,
                "ERROR" => JsonTableColumnErrorHandling::Error,
                _ => JsonTableColumnErrorHandling::Default(self.literal()?.into()),
            };
            self.expect_kw("ON")?;
            match self.eat_one_of(&["EMPTY", "ERROR"]) {
                Some("EMPTY") => on_empty = Some(handling),
                Some(_) => on_error = Some(handling),
                None => return Err(self.fail()),
            }
        }
        Ok(JsonTableColumn::Named(JsonTableNamedColumn {
            name,
            r#type: data_type.to_node(),
            path,
            exists,
            on_empty,
            on_error,
        }))
    }
}

/// How MySQL names a column that has no alias: by its text, but a string literal by its value.
fn implicit_name(expr: &Expr, literal: Option<String>, text: String) -> String {
    use sqlparser::ast::Value;
    match (expr, literal) {
        (Expr::Value(value), _) if value.value == Value::Null => "NULL".to_owned(),
        (Expr::Value(_) | Expr::Prefixed { .. }, Some(literal)) => literal.trim_start().to_owned(),
        _ => text,
    }
}

fn constraint_is_missing(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Join(JoinConstraint::None)
            | JoinOperator::Inner(JoinConstraint::None)
            | JoinOperator::CrossJoin(JoinConstraint::None)
            | JoinOperator::StraightJoin(JoinConstraint::None)
            | JoinOperator::Left(JoinConstraint::None)
            | JoinOperator::Right(JoinConstraint::None)
    )
}

fn set_constraint(operator: &mut JoinOperator, constraint: JoinConstraint) {
    match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::CrossJoin(c)
        | JoinOperator::StraightJoin(c)
        | JoinOperator::Left(c)
        | JoinOperator::Right(c) => *c = constraint,
        _ => {}
    }
}

fn placeholder_factor() -> TableFactor {
    TableFactor::TableFunction { expr: Expr::value(sqlparser::ast::Value::Null), alias: None }
}
