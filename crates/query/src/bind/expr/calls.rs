//! Calls: scalar functions, aggregates, and what only looks like a call.

use super::windows::window_function;
use super::{Aggregate, AggregateFunction, Gather, Place, SortKey, object_parts, ordinal};
use crate::bind::{Binder, scope};
use crate::expr::*;
use assize_model::{ErrorCode, SqlError};
use assize_values::{SqlType, Value};
use sqlparser::ast;
use std::cell::RefCell;
use std::sync::Arc;

impl Binder<'_> {
    /// A function call: aggregate, window function, special form, or a function of `values`.
    pub(super) fn call(&mut self, call: &ast::Function, place: Place<'_>) -> Result<Expr, SqlError> {
        let parts = object_parts(&call.name);
        let [name] = parts.as_slice() else {
            let [database, name] = parts.as_slice() else {
                return Err(SqlError::internal(format!("function name {}", call.name)));
            };
            return Err(no_function(database, name));
        };
        let name = name.to_ascii_uppercase();
        if let Some(over) = &call.over {
            return self.window_call(&name, call, over, place);
        }
        if let Some(function) = AggregateFunction::named(&name) {
            return self.aggregate_call(function, &name, call, place);
        }
        if window_function(&name).is_some() {
            return Err(SqlError::new(
                ErrorCode::ParseError,
                format!("You have an error in your SQL syntax; {name} needs an OVER clause"),
            ));
        }
        let raw = raw_args(call)?;
        match (name.as_str(), raw.as_slice()) {
            ("DATE_ADD" | "ADDDATE" | "DATE_SUB" | "SUBDATE", [date, ast::Expr::Interval(interval)]) => {
                let date = self.expr(date, place)?;
                return self.date_add(date, interval, name.contains("SUB"), place);
            }
            ("ADDDATE" | "SUBDATE", [date, days]) => {
                let date = self.expr(date, place)?;
                let days = self.expr(days, place)?;
                return interval_add(date, days, "DAY", name == "SUBDATE", self.context.eval());
            }
            ("TIMESTAMPADD", [ast::Expr::Identifier(unit), amount, date]) => {
                let amount = self.expr(amount, place)?;
                let date = self.expr(date, place)?;
                let unit = unit.value.to_ascii_uppercase();
                let unit = unit.strip_prefix("SQL_TSI_").unwrap_or(&unit);
                return interval_add(date, amount, unit, false, self.context.eval());
            }
            ("TIMESTAMPDIFF", [ast::Expr::Identifier(unit), from, to]) => {
                let from = self.expr(from, place)?;
                let to = self.expr(to, place)?;
                let unit = unit.value.to_ascii_uppercase();
                let unit = unit.strip_prefix("SQL_TSI_").unwrap_or(&unit).to_string();
                return timestamp_diff(&unit, from, to, self.context.eval());
            }
            ("GET_FORMAT", [ast::Expr::Identifier(kind), format]) => {
                let kind = text_literal(&kind.value.to_ascii_uppercase(), self.context.eval());
                let format = self.expr(format, place)?;
                return function("GET_FORMAT", vec![kind, format], self.context.eval());
            }
            ("DEFAULT", [column]) => return self.default_of(column, place),
            ("VALUES", [column]) => return self.values_of(column, place),
            ("GROUPING", columns) => return self.grouping(columns, place),
            ("ANY_VALUE", [value]) => return self.any_value(value, place),
            ("IF", [condition, then, otherwise]) => {
                let condition = self.expr(condition, place)?;
                let then = self.expr(then, place)?;
                let otherwise = self.expr(otherwise, place)?;
                return case(vec![(condition, then)], Some(otherwise));
            }
            ("ROW", columns) => {
                let parts = columns.iter().map(|p| self.expr(p, place)).collect::<Result<Vec<_>, _>>()?;
                return Ok(Expr::new(ExprKind::Row(parts), SqlType::Null, true));
            }
            _ => {}
        }
        let mut args = Vec::with_capacity(raw.len());
        for arg in raw {
            args.push(self.expr(arg, place)?);
        }
        if let Some(session) = session_function(&name) {
            return self.session_call(session, &name, args);
        }
        if !function_exists(&name) {
            return match self.context.database() {
                Some(database) => Err(no_function(&database, parts[0])),
                None => Err(SqlError::new(ErrorCode::NoDatabase, "No database selected")),
            };
        }
        function(&name, args, self.context.eval())
    }

    fn session_call(
        &mut self,
        session: SessionFunction,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Expr, SqlError> {
        let wanted = match session {
            SessionFunction::GetLock | SessionFunction::Benchmark => 2,
            SessionFunction::ReleaseLock
            | SessionFunction::IsFreeLock
            | SessionFunction::IsUsedLock
            | SessionFunction::Sleep => 1,
            SessionFunction::ReleaseAllLocks => 0,
        };
        if args.len() != wanted {
            return Err(SqlError::new(
                ErrorCode::WrongParametersToNativeFunction,
                format!("Incorrect parameter count in the call to native function '{name}'"),
            ));
        }
        Ok(Expr::new(ExprKind::Session(session, args), SqlType::BIGINT, true))
    }

    /// `DEFAULT(column)`.
    fn default_of(&mut self, column: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        let bound = self.expr(column, place)?;
        let found = bound.as_column().and_then(|id| place.scope.by_id_anywhere(id));
        let Some((table, column)) = found else {
            return Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to DEFAULT"));
        };
        let stored = table
            .table
            .as_ref()
            .and_then(|t| t.columns.iter().find(|c| c.name.eq_ignore_ascii_case(&column.org_name)));
        match stored.map(|c| (&c.default, c.nullable)) {
            Some((Some(assize_catalog::DefaultValue::Constant(value)), _)) => {
                Ok(Expr::literal(value.clone(), column.sql_type.clone()))
            }
            Some((Some(assize_catalog::DefaultValue::Now(fsp)), _)) => {
                let fsp = Expr::literal(Value::Int(i64::from(*fsp)), SqlType::BIGINT);
                function("NOW", vec![fsp], self.context.eval())
            }
            Some((Some(assize_catalog::DefaultValue::Expression(_)), _)) => {
                Err(unsupported("DEFAULT() of a column whose default is an expression"))
            }
            Some((None, true)) => Ok(Expr::literal(Value::Null, column.sql_type.clone())),
            _ => Err(SqlError::new(
                ErrorCode::NoDefaultForField,
                format!("Field '{}' doesn't have a default value", column.name),
            )),
        }
    }

    /// `VALUES(column)` of ON DUPLICATE KEY UPDATE; NULL elsewhere, as MySQL has it.
    fn values_of(&mut self, column: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        let name = match column {
            ast::Expr::Identifier(ident) => ident.value.as_str(),
            ast::Expr::CompoundIdentifier(parts) => parts.last().map_or("", |p| p.value.as_str()),
            _ => return Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to VALUES")),
        };
        let Some(table) = &place.scope.values_table else {
            let bound = self.expr(column, place)?;
            return Ok(Expr::literal(Value::Null, bound.sql_type));
        };
        match table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)) {
            Some(c) => Ok(Expr::column(c.id, c.sql_type.clone(), true)),
            None => Err(scope::unknown_column(name, place.clause)),
        }
    }

    fn any_value(&mut self, value: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        let Some(gather) = place.gather else {
            return self.expr(value, place);
        };
        if gather.borrow().in_aggregate {
            return self.expr(value, place);
        }
        let arg = self.expr(value, Place { gather: None, windows: false, ..place })?;
        let aggregate = Aggregate {
            function: AggregateFunction::AnyValue,
            distinct: false,
            sql_type: arg.sql_type.clone(),
            nullable: arg.nullable,
            args: vec![arg],
            order: Vec::new(),
            separator: "".into(),
            id: ColumnId(0),
        };
        Ok(self.gathered(aggregate, gather))
    }

    /// GROUPING(expr, …).
    pub(super) fn grouping(&mut self, columns: &[&ast::Expr], place: Place<'_>) -> Result<Expr, SqlError> {
        let invalid = || SqlError::new(ErrorCode::InvalidGroupFuncUse, "Invalid use of group function");
        let gather = place.gather.ok_or_else(invalid)?;
        let mut bits = Vec::new();
        for column in columns {
            let bound = self.expr(column, place)?;
            let mut gathered = gather.borrow_mut();
            let at = gathered
                .groups
                .iter()
                .position(|(group, id)| *group == bound || bound.as_column() == Some(*id))
                .ok_or_else(|| {
                    SqlError::new(
                        ErrorCode::InvalidGroupFuncUse,
                        format!("Argument #{} of GROUPING function is not in GROUP BY", bits.len()),
                    )
                })?;
            let id = match gathered.grouping.iter().find(|(group, _)| *group == at) {
                Some((_, id)) => *id,
                None => {
                    let id = self.next_id();
                    gathered.grouping.push((at, id));
                    id
                }
            };
            bits.push(Expr::column(id, SqlType::BIGINT, false));
        }
        let mut total = bits.first().cloned().ok_or_else(invalid)?;
        for bit in bits.into_iter().skip(1) {
            let two = Expr::literal(Value::Int(2), SqlType::BIGINT);
            let doubled = arithmetic(ArithOp::Mul, total, two, self.context.eval())?;
            total = arithmetic(ArithOp::Add, doubled, bit, self.context.eval())?;
        }
        Ok(total)
    }

    fn aggregate_call(
        &mut self,
        function: AggregateFunction,
        name: &str,
        call: &ast::Function,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let Some(gather) = place.gather else {
            return Err(SqlError::new(ErrorCode::InvalidGroupFuncUse, "Invalid use of group function"));
        };
        if gather.borrow().in_aggregate {
            return Err(SqlError::new(ErrorCode::InvalidGroupFuncUse, "Invalid use of group function"));
        }
        gather.borrow_mut().in_aggregate = true;
        let aggregate = self.aggregate(function, name, call, Place { windows: false, ..place });
        gather.borrow_mut().in_aggregate = false;
        Ok(self.gathered(aggregate?, gather))
    }

    /// Puts an aggregate among the gathered ones, once, and refers to it.
    pub(super) fn gathered(&mut self, mut aggregate: Aggregate, gather: &RefCell<Gather>) -> Expr {
        let mut gathered = gather.borrow_mut();
        let (sql_type, nullable) = (aggregate.sql_type.clone(), aggregate.nullable);
        let known = gathered.aggregates.iter().find(|known| {
            aggregate.id = known.id;
            **known == aggregate
        });
        let id = match known {
            Some(known) => known.id,
            None => {
                let id = self.next_id();
                aggregate.id = id;
                gathered.aggregates.push(aggregate);
                id
            }
        };
        Expr::column(id, sql_type, nullable)
    }

    /// An aggregate's arguments and type.
    pub(super) fn aggregate(
        &mut self,
        function: AggregateFunction,
        name: &str,
        call: &ast::Function,
        place: Place<'_>,
    ) -> Result<Aggregate, SqlError> {
        let ast::FunctionArguments::List(list) = &call.args else {
            return Err(wrong_parameter_count(name));
        };
        let mut distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
        if matches!(function, AggregateFunction::Min | AggregateFunction::Max) {
            distinct = false;
        }
        let mut function = function;
        let mut args = Vec::new();
        for arg in &list.args {
            match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)
                    if function == AggregateFunction::Count && !distinct =>
                {
                    function = AggregateFunction::CountRows;
                }
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => {
                    args.push(self.expr(expr, place)?)
                }
                other => return Err(SqlError::new(ErrorCode::ParseError, format!("{other} as an argument"))),
            }
        }
        let wanted = match function {
            AggregateFunction::CountRows => 0..=0,
            AggregateFunction::Count if distinct => 1..=usize::MAX,
            AggregateFunction::GroupConcat => 1..=usize::MAX,
            AggregateFunction::JsonObject => 2..=2,
            _ => 1..=1,
        };
        if !wanted.contains(&args.len()) {
            return Err(wrong_parameter_count(name));
        }
        let mut order = Vec::new();
        let mut separator: Arc<str> = ",".into();
        for clause in &list.clauses {
            match clause {
                ast::FunctionArgumentClause::OrderBy(keys) => {
                    for key in keys {
                        let expr = match ordinal(&key.expr) {
                            Some(n) => args
                                .get(n.wrapping_sub(1))
                                .cloned()
                                .ok_or_else(|| scope::unknown_column(&n.to_string(), "order clause"))?,
                            None => self.expr(&key.expr, Place { clause: "order clause", ..place })?,
                        };
                        order.push(SortKey { expr, descending: key.options.asc == Some(false) });
                    }
                }
                ast::FunctionArgumentClause::Separator(value) => {
                    separator = value.value.clone().into_string().unwrap_or_default().into();
                }
                other => return Err(unsupported(other)),
            }
        }
        let (sql_type, nullable) = aggregate_type(function, &args, self.context.eval())?;
        Ok(Aggregate { function, distinct, args, order, separator, sql_type, nullable, id: ColumnId(0) })
    }
}

/// The arguments of a call as plain expressions.
pub(super) fn raw_args(call: &ast::Function) -> Result<Vec<&ast::Expr>, SqlError> {
    match &call.args {
        ast::FunctionArguments::None => Ok(Vec::new()),
        ast::FunctionArguments::Subquery(_) => Err(unsupported("a subquery as the arguments of a function")),
        ast::FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|arg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Ok(expr),
                other => Err(SqlError::new(ErrorCode::ParseError, format!("{other} as an argument"))),
            })
            .collect(),
    }
}

fn session_function(name: &str) -> Option<SessionFunction> {
    Some(match name {
        "GET_LOCK" => SessionFunction::GetLock,
        "RELEASE_LOCK" => SessionFunction::ReleaseLock,
        "RELEASE_ALL_LOCKS" => SessionFunction::ReleaseAllLocks,
        "IS_FREE_LOCK" => SessionFunction::IsFreeLock,
        "IS_USED_LOCK" => SessionFunction::IsUsedLock,
        "BENCHMARK" => SessionFunction::Benchmark,
        "SLEEP" => SessionFunction::Sleep,
        _ => return None,
    })
}

pub(super) fn wrong_parameter_count(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::WrongParametersToNativeFunction,
        format!("Incorrect parameter count in the call to native function '{name}'"),
    )
}

fn no_function(database: &str, name: &str) -> SqlError {
    SqlError::new(ErrorCode::SavepointDoesNotExist, format!("FUNCTION {database}.{name} does not exist"))
}
