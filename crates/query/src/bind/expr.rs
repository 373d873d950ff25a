//! Expressions: names to columns, operators and functions to kernels, a type for everything.

use super::{Binder, Scope, scope};
use crate::expr::*;
use assize_model::{ErrorCode, SqlError};
use assize_values::{SqlType, Value};
use sqlparser::ast::{self, BinaryOperator, DataType, UnaryOperator};
use std::cell::RefCell;
use std::sync::Arc;

/// Where an expression stands, and what it may use there.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The names in sight.
    pub scope: &'a Scope<'a>,
    /// How error 1054 calls this place: `field list`, `where clause`, …
    pub clause: &'static str,
    /// Where aggregates and window functions are gathered; `None`: they are errors here.
    pub gather: Option<&'a RefCell<Gather>>,
    /// Whether window functions are allowed.
    pub windows: bool,
    /// Aliases of the select list, where they are in sight.
    pub aliases: &'a [(Arc<str>, Expr)],
    /// Aliases win over columns (HAVING), instead of standing in for missing ones.
    pub aliases_first: bool,
}

impl<'a> Place<'a> {
    /// A place without aggregates and aliases.
    pub fn plain(scope: &'a Scope<'a>, clause: &'static str) -> Self {
        Place { scope, clause, gather: None, windows: false, aliases: &[], aliases_first: false }
    }
}

/// Aggregates and window functions found while binding one query block; the expressions that hold them refer
/// to their results as columns.
#[derive(Debug, Default)]
pub struct Gather {
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// Window functions.
    pub windows: Vec<WindowCall>,
    /// Windows of the WINDOW clause.
    pub named_windows: Vec<(String, ast::NamedWindowExpr)>,
    /// Whether the argument of an aggregate is being bound.
    pub in_aggregate: bool,
    /// Expressions of GROUP BY with the columns of their values, for GROUPING().
    pub groups: Vec<(Expr, ColumnId)>,
    /// Columns that stand for GROUPING() of the group at this place.
    pub grouping: Vec<(usize, ColumnId)>,
}

/// One aggregate of a query block.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which function.
    pub function: AggregateFunction,
    /// DISTINCT.
    pub distinct: bool,
    /// Arguments.
    pub args: Vec<Expr>,
    /// ORDER BY of GROUP_CONCAT and JSON_ARRAYAGG.
    pub order: Vec<SortKey>,
    /// SEPARATOR of GROUP_CONCAT.
    pub separator: Arc<str>,
    /// Type of the result.
    pub sql_type: SqlType,
    /// Whether the result can be NULL.
    pub nullable: bool,
    /// The column that holds the result.
    pub id: ColumnId,
}

/// The aggregate functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum AggregateFunction {
    /// COUNT(*).
    CountRows,
    /// COUNT(expr, …).
    Count,
    /// SUM.
    Sum,
    /// AVG.
    Avg,
    /// MIN.
    Min,
    /// MAX.
    Max,
    /// GROUP_CONCAT.
    GroupConcat,
    /// BIT_AND.
    BitAnd,
    /// BIT_OR.
    BitOr,
    /// BIT_XOR.
    BitXor,
    /// STD, STDDEV, STDDEV_POP.
    StdDevPop,
    /// STDDEV_SAMP.
    StdDevSamp,
    /// VARIANCE, VAR_POP.
    VarPop,
    /// VAR_SAMP.
    VarSamp,
    /// JSON_ARRAYAGG.
    JsonArray,
    /// JSON_OBJECTAGG.
    JsonObject,
    /// ANY_VALUE.
    AnyValue,
}

impl AggregateFunction {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "COUNT" => AggregateFunction::Count,
            "SUM" => AggregateFunction::Sum,
            "AVG" => AggregateFunction::Avg,
            "MIN" => AggregateFunction::Min,
            "MAX" => AggregateFunction::Max,
            "GROUP_CONCAT" => AggregateFunction::GroupConcat,
            "BIT_AND" => AggregateFunction::BitAnd,
            "BIT_OR" => AggregateFunction::BitOr,
            "BIT_XOR" => AggregateFunction::BitXor,
            "STD" | "STDDEV" | "STDDEV_POP" => AggregateFunction::StdDevPop,
            "STDDEV_SAMP" => AggregateFunction::StdDevSamp,
            "VARIANCE" | "VAR_POP" => AggregateFunction::VarPop,
            "VAR_SAMP" => AggregateFunction::VarSamp,
            "JSON_ARRAYAGG" => AggregateFunction::JsonArray,
            "JSON_OBJECTAGG" => AggregateFunction::JsonObject,
            _ => return None,
        })
    }
}

/// One key of an ordering. NULLs are lowest.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// By what.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
}

/// One window function call of a query block.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCall {
    /// Which function.
    pub function: WindowFunction,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// PARTITION BY.
    pub partition: Vec<Expr>,
    /// ORDER BY.
    pub order: Vec<SortKey>,
    /// The frame.
    pub frame: Frame,
    /// Type of the result.
    pub sql_type: SqlType,
    /// Whether the result can be NULL.
    pub nullable: bool,
    /// The column that holds the result.
    pub id: ColumnId,
}

/// The window functions.
#[derive(Clone, PartialEq, Debug)]
pub enum WindowFunction {
    /// ROW_NUMBER().
    RowNumber,
    /// RANK().
    Rank,
    /// DENSE_RANK().
    DenseRank,
    /// PERCENT_RANK().
    PercentRank,
    /// CUME_DIST().
    CumeDist,
    /// NTILE(n).
    Ntile,
    /// LAG(expr, n, default).
    Lag,
    /// LEAD(expr, n, default).
    Lead,
    /// FIRST_VALUE.
    FirstValue,
    /// LAST_VALUE.
    LastValue,
    /// NTH_VALUE.
    NthValue,
    /// An aggregate over the frame.
    Aggregate(Box<Aggregate>),
}

/// A window frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// ROWS; otherwise RANGE.
    pub rows: bool,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends.
    pub end: FrameBound,
}

/// An end of a window frame.
#[derive(Clone, PartialEq, Debug)]
pub enum FrameBound {
    /// UNBOUNDED PRECEDING or FOLLOWING.
    Unbounded,
    /// CURRENT ROW (with RANGE: its peers).
    CurrentRow,
    /// `n PRECEDING`.
    Preceding(Expr),
    /// `n FOLLOWING`.
    Following(Expr),
    /// RANGE `interval PRECEDING` (true) or FOLLOWING: the order key moved by the interval.
    Moved(Expr),
}

/// A name of an identifier, whatever its quotes.
pub(crate) fn idents(parts: &[ast::Ident]) -> Vec<&str> {
    parts.iter().map(|p| p.value.as_str()).collect()
}

/// The parts of an object name.
pub(crate) fn object_parts(name: &ast::ObjectName) -> Vec<&str> {
    name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.as_str()).collect()
}

impl Binder<'_> {
    /// Binds an expression.
    pub fn expr(&mut self, expr: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        let bound = self.expr_or_row(expr, place)?;
        if let ExprKind::Row(parts) = &bound.kind {
            return Err(operand_columns(1, Some(parts.len())));
        }
        Ok(bound)
    }

    /// Binds an expression that may be a row constructor.
    fn expr_or_row(&mut self, expr: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        self.depth += 1;
        if self.depth > super::MAX_DEPTH {
            self.depth = 0;
            return Err(SqlError::new(
                ErrorCode::OutOfMemory,
                format!("expression nests more than {} levels deep", super::MAX_DEPTH),
            ));
        }
        let bound = crate::deep::grow(|| self.expr_inner(expr, place));
        self.depth = self.depth.saturating_sub(1);
        bound
    }

    fn expr_inner(&mut self, expr: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        use ast::Expr as E;
        Ok(match expr {
            E::Nested(inner) => self.expr_or_row(inner, place)?,
            E::Identifier(ident) if ident.quote_style.is_none() && ident.value.starts_with("@@") => {
                self.system_variable(&ident.value[2..])?
            }
            E::Identifier(ident) if ident.quote_style.is_none() && ident.value.starts_with('@') => {
                self.user_variable(&ident.value[1..])
            }
            E::Identifier(ident) => self.column(&[&ident.value], place)?,
            E::CompoundIdentifier(parts) => self.column(&idents(parts), place)?,
            E::Value(value) => self.value(&value.value)?,
            E::Prefixed { prefix, value } => {
                let value = self.expr(value, place)?;
                introduce(&prefix.value, value)?
            }
            E::TypedString(typed) => typed_literal(self, typed)?,
            E::IsNull(inner) => self.is_null(inner, false, place)?,
            E::IsNotNull(inner) => self.is_null(inner, true, place)?,
            E::IsTrue(inner) => self.is_truth(inner, true, false, place)?,
            E::IsNotTrue(inner) => self.is_truth(inner, true, true, place)?,
            E::IsFalse(inner) => self.is_truth(inner, false, false, place)?,
            E::IsNotFalse(inner) => self.is_truth(inner, false, true, place)?,
            E::IsUnknown(inner) => self.is_null(inner, false, place)?,
            E::IsNotUnknown(inner) => self.is_null(inner, true, place)?,
            E::InList { expr, list, negated } => self.in_list(expr, list, *negated, place)?,
            E::InSubquery { expr, subquery, negated } => {
                let left = self.expr_or_row(expr, place)?;
                self.in_subquery(left, subquery, *negated, place)?
            }
            E::Between { expr, negated, low, high } => {
                let expr = self.expr(expr, place)?;
                let low = self.expr(low, place)?;
                let high = self.expr(high, place)?;
                between(expr, low, high, *negated, self.context.eval())?
            }
            E::BinaryOp { left, op, right } => self.binary(left, op, right, place)?,
            E::UnaryOp { op, expr } => self.unary(*op, expr, place)?,
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                let value = self.expr(expr, place)?;
                let pattern = self.expr(pattern, place)?;
                let escape = match escape_char {
                    None => {
                        (!self.modes().contains(assize_values::SqlMode::NO_BACKSLASH_ESCAPES)).then_some('\\')
                    }
                    Some(text) => {
                        let text = text.value.clone().into_string().unwrap_or_default();
                        let mut chars = text.chars();
                        let first = chars.next();
                        if chars.next().is_some() {
                            return Err(SqlError::new(
                                ErrorCode::WrongArguments,
                                "Incorrect arguments to ESCAPE",
                            ));
                        }
                        first
                    }
                };
                like(value, pattern, escape, *negated)?
            }
            E::RLike { negated, expr, pattern, .. } => {
                let value = self.expr(expr, place)?;
                let pattern = self.expr(pattern, place)?;
                let matched = function("REGEXP_LIKE", vec![value, pattern], self.context.eval())?;
                if *negated { negate(matched) } else { matched }
            }
            E::AnyOp { left, compare_op, right, .. } => {
                self.quantified(left, compare_op, right, false, place)?
            }
            E::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true, place)?,
            E::Convert { expr, charset: Some(charset), .. } => {
                let inner = self.expr(expr, place)?;
                convert_using(inner, &charset.to_string())?
            }
            E::Convert { expr, data_type: Some(data_type), .. } => {
                let inner = self.expr(expr, place)?;
                cast(inner, data_type, None, self.context.eval())?
            }
            E::Cast { expr, data_type, array, format, .. } => {
                if *array {
                    return Err(unsupported("CAST(... AS ... ARRAY)"));
                }
                let inner = self.expr(expr, place)?;
                let charset = match format {
                    Some(ast::CastFormat::Value(value)) => value.value.clone().into_string(),
                    _ => None,
                };
                cast(inner, data_type, charset.as_deref(), self.context.eval())?
            }
            E::Extract { field, expr, .. } => {
                let inner = self.expr(expr, place)?;
                extract(&unit_name(field), inner, self.context.eval())?
            }
            E::Ceil { expr, .. } => {
                let inner = self.expr(expr, place)?;
                function("CEILING", vec![inner], self.context.eval())?
            }
            E::Floor { expr, .. } => {
                let inner = self.expr(expr, place)?;
                function("FLOOR", vec![inner], self.context.eval())?
            }
            E::Position { expr, r#in } => {
                let args = vec![self.expr(expr, place)?, self.expr(r#in, place)?];
                function("LOCATE", args, self.context.eval())?
            }
            E::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(expr, place)?];
                if let Some(from) = substring_from {
                    args.push(self.expr(from, place)?);
                }
                if let Some(length) = substring_for {
                    args.push(self.expr(length, place)?);
                }
                function("SUBSTRING", args, self.context.eval())?
            }
            E::Trim { trim_where, trim_what, expr, .. } => {
                let inner = self.expr(expr, place)?;
                let what = trim_what.as_ref().map(|w| self.expr(w, place)).transpose()?;
                let side = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "LEADING",
                    Some(ast::TrimWhereField::Trailing) => "TRAILING",
                    _ => "BOTH",
                };
                trim(side, what, inner, self.context.eval())?
            }
            E::Collate { expr, collation } => {
                let inner = self.expr(expr, place)?;
                collate(inner, &collation.to_string(), self.context.eval())?
            }
            E::Function(call) => self.call(call, place)?,
            E::Case { operand, conditions, else_result, .. } => {
                let mut branches = Vec::with_capacity(conditions.len());
                let operand = operand.as_ref().map(|o| self.expr(o, place)).transpose()?;
                for branch in conditions {
                    let when = self.expr(&branch.condition, place)?;
                    let when = match &operand {
                        Some(operand) => compare(CompareOp::Eq, operand.clone(), when, self.context.eval())?,
                        None => when,
                    };
                    branches.push((when, self.expr(&branch.result, place)?));
                }
                let otherwise = else_result.as_ref().map(|e| self.expr(e, place)).transpose()?;
                case(branches, otherwise)?
            }
            E::Exists { subquery, negated } => {
                let (plan, args) = self.subquery(subquery, place, true)?;
                let exists = Expr::boolean(
                    ExprKind::Subquery(Box::new(Subquery { plan, args, usage: SubqueryUse::Exists })),
                    false,
                );
                if *negated { negate(exists) } else { exists }
            }
            E::Subquery(query) => self.scalar_subquery(query, place)?,
            E::Tuple(parts) => {
                let parts = parts.iter().map(|p| self.expr(p, place)).collect::<Result<Vec<_>, _>>()?;
                if parts.len() == 1 {
                    return Ok(parts.into_iter().next().expect("one"));
                }
                Expr::new(ExprKind::Row(parts), SqlType::Null, true)
            }
            E::Interval(_) => {
                return Err(SqlError::new(
                    ErrorCode::ParseError,
                    "You have an error in your SQL syntax; INTERVAL stands only beside + and - of a date",
                ));
            }
            E::MatchAgainst { .. } => return Err(unsupported("FULLTEXT search (MATCH ... AGAINST)")),
            E::MemberOf(member) => {
                let value = self.expr(&member.value, place)?;
                let array = self.expr(&member.array, place)?;
                function("MEMBER OF", vec![value, array], self.context.eval())?
            }
            E::IsDistinctFrom(a, b) => {
                let (a, b) = (self.expr(a, place)?, self.expr(b, place)?);
                negate(compare(CompareOp::NullSafeEq, a, b, self.context.eval())?)
            }
            E::IsNotDistinctFrom(a, b) => {
                let (a, b) = (self.expr(a, place)?, self.expr(b, place)?);
                compare(CompareOp::NullSafeEq, a, b, self.context.eval())?
            }
            E::AtTimeZone { .. } => return Err(unsupported("AT TIME ZONE")),
            other => {
                let text = other.to_string();
                let short: String = text.chars().take(80).collect();
                return Err(unsupported(short));
            }
        })
    }

    /// Names of a column: in the tables, or an alias where aliases are in sight.
    fn column(&mut self, parts: &[&str], place: Place<'_>) -> Result<Expr, SqlError> {
        let alias = || match parts {
            [name] => place.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)),
            _ => None,
        };
        if place.aliases_first
            && let Some((_, expr)) = alias()
        {
            return Ok(expr.clone());
        }
        match place.scope.column(parts, place.clause) {
            Err(error) if error.code == ErrorCode::UnknownColumn => match alias() {
                Some((_, expr)) => Ok(expr.clone()),
                None => Err(error),
            },
            found => found,
        }
    }

    fn value(&mut self, value: &ast::Value) -> Result<Expr, SqlError> {
        if let ast::Value::Placeholder(name) = value {
            let at: usize = name
                .trim_start_matches('?')
                .parse()
                .map_err(|_| SqlError::internal(format!("a placeholder named {name}")))?;
            return self.param(at);
        }
        literal(value, self.context.eval())
    }

    fn param(&mut self, at: usize) -> Result<Expr, SqlError> {
        let connection = self.context.eval().connection_collation;
        let sql_type = match self.params {
            Some(params) => match params.get(at) {
                Some(value) => param_type(value, connection),
                None => {
                    return Err(SqlError::new(
                        ErrorCode::WrongArguments,
                        "Incorrect arguments to mysqld_stmt_execute",
                    ));
                }
            },
            None => SqlType::VarChar { length: 16_383, collation: connection },
        };
        let mut expr = Expr::new(ExprKind::Param(at), sql_type, true);
        if matches!(expr.sql_type, SqlType::Null) {
            expr.coercibility = Coercibility::Ignorable;
        }
        Ok(expr)
    }

    fn user_variable(&mut self, name: &str) -> Expr {
        let name: Arc<str> = name.to_ascii_lowercase().into();
        let value = self.context.user_variable(&name);
        let connection = self.context.eval().connection_collation;
        let sql_type = match &value {
            Value::Null => SqlType::VarChar { length: 16_383, collation: connection },
            value => param_type(value, connection),
        };
        self.uses_variables = true;
        let mut expr = Expr::new(ExprKind::UserVariable(name), sql_type, true);
        expr.coercibility = if is_text(&expr.sql_type) { Coercibility::Implicit } else { expr.coercibility };
        expr
    }

    fn system_variable(&mut self, name: &str) -> Result<Expr, SqlError> {
        let lower = name.to_ascii_lowercase();
        let (scope, name) = match lower.split_once('.') {
            Some(("session" | "local", name)) => (Some(false), name),
            Some(("global", name)) => (Some(true), name),
            _ => (None, lower.as_str()),
        };
        let name = name.trim_matches('`');
        let value = self.context.system_variable(name, scope)?;
        let connection = self.context.eval().connection_collation;
        let sql_type = match &value {
            Value::Null => SqlType::VarChar { length: 1024, collation: connection },
            Value::Text(text) => {
                SqlType::VarChar { length: text.chars().count().max(1) as u32, collation: connection }
            }
            value => param_type(value, connection),
        };
        let nullable = value.is_null();
        let mut expr = Expr::new(ExprKind::SystemVariable(name.into(), scope), sql_type, nullable);
        if is_text(&expr.sql_type) {
            expr.coercibility = Coercibility::SystemConstant;
        }
        Ok(expr)
    }

    fn is_null(&mut self, inner: &ast::Expr, negated: bool, place: Place<'_>) -> Result<Expr, SqlError> {
        let inner = self.expr(inner, place)?;
        Ok(Expr::boolean(ExprKind::IsNull(Box::new(inner), negated), false))
    }

    fn is_truth(
        &mut self,
        inner: &ast::Expr,
        want: bool,
        negated: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let inner = self.expr(inner, place)?;
        Ok(Expr::boolean(ExprKind::IsTruth(Box::new(inner), want, negated), false))
    }

    fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr, place: Place<'_>) -> Result<Expr, SqlError> {
        // A sign belongs to its number: -9223372036854775808 is a BIGINT.
        if let (UnaryOperator::Minus, ast::Expr::Value(value)) = (op, inner)
            && let ast::Value::Number(digits, _) = &value.value
        {
            return literal(&ast::Value::Number(format!("-{digits}"), false), self.context.eval());
        }
        let inner = self.expr(inner, place)?;
        Ok(match op {
            UnaryOperator::Plus => inner,
            UnaryOperator::Minus => negative(inner, self.context.eval())?,
            UnaryOperator::Not | UnaryOperator::BangNot => negate(inner),
            UnaryOperator::BitwiseNot => bit_not(inner)?,
            other => return Err(unsupported(other)),
        })
    }

    fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        use BinaryOperator as B;
        let arith = match op {
            B::Plus => Some(ArithOp::Add),
            B::Minus => Some(ArithOp::Sub),
            B::Multiply => Some(ArithOp::Mul),
            B::Divide => Some(ArithOp::Div),
            B::MyIntegerDivide | B::DuckIntegerDivide => Some(ArithOp::IntDiv),
            B::Modulo => Some(ArithOp::Mod),
            B::BitwiseOr => Some(ArithOp::BitOr),
            B::BitwiseAnd => Some(ArithOp::BitAnd),
            B::BitwiseXor | B::PGBitwiseXor => Some(ArithOp::BitXor),
            B::PGBitwiseShiftLeft => Some(ArithOp::ShiftLeft),
            B::PGBitwiseShiftRight => Some(ArithOp::ShiftRight),
            _ => None,
        };
        if let Some(op) = arith {
            if matches!(op, ArithOp::Add | ArithOp::Sub) {
                if let ast::Expr::Interval(interval) = right {
                    let date = self.expr(left, place)?;
                    return self.date_add(date, interval, op == ArithOp::Sub, place);
                }
                if let (ArithOp::Add, ast::Expr::Interval(interval)) = (op, left) {
                    let date = self.expr(right, place)?;
                    return self.date_add(date, interval, false, place);
                }
            }
            let (left, right) = (self.expr(left, place)?, self.expr(right, place)?);
            return arithmetic(op, left, right, self.context.eval());
        }
        let compared = match op {
            B::Eq => Some(CompareOp::Eq),
            B::NotEq => Some(CompareOp::Ne),
            B::Lt => Some(CompareOp::Lt),
            B::LtEq => Some(CompareOp::Le),
            B::Gt => Some(CompareOp::Gt),
            B::GtEq => Some(CompareOp::Ge),
            B::Spaceship => Some(CompareOp::NullSafeEq),
            _ => None,
        };
        if let Some(op) = compared {
            return self.comparison(op, left, right, place);
        }
        Ok(match op {
            B::And | B::Or => {
                // Long chains are left-deep: walk them without recursion.
                let mut terms = vec![right];
                let mut rest = left;
                while let ast::Expr::BinaryOp { left, op: inner, right } = rest
                    && inner == op
                {
                    terms.push(right);
                    rest = left;
                }
                terms.push(rest);
                let mut parts = Vec::with_capacity(terms.len());
                for term in terms.into_iter().rev() {
                    parts.push(self.expr(term, place)?);
                }
                let nullable = parts.iter().any(|p| p.nullable);
                let kind = if *op == B::And { ExprKind::And(parts) } else { ExprKind::Or(parts) };
                Expr::boolean(kind, nullable)
            }
            B::Xor => {
                let (left, right) = (self.expr(left, place)?, self.expr(right, place)?);
                let nullable = left.nullable || right.nullable;
                Expr::boolean(ExprKind::Xor(Box::new(left), Box::new(right)), nullable)
            }
            B::StringConcat => {
                let args = vec![self.expr(left, place)?, self.expr(right, place)?];
                function("CONCAT", args, self.context.eval())?
            }
            B::Arrow => {
                let args = vec![self.expr(left, place)?, self.expr(right, place)?];
                function("JSON_EXTRACT", args, self.context.eval())?
            }
            B::LongArrow => {
                let args = vec![self.expr(left, place)?, self.expr(right, place)?];
                let extracted = function("JSON_EXTRACT", args, self.context.eval())?;
                function("JSON_UNQUOTE", vec![extracted], self.context.eval())?
            }
            B::Regexp => {
                let args = vec![self.expr(left, place)?, self.expr(right, place)?];
                function("REGEXP_LIKE", args, self.context.eval())?
            }
            B::Assignment => {
                let ast::Expr::Identifier(name) = left else {
                    return Err(SqlError::new(
                        ErrorCode::ParseError,
                        "the left side of := is a user variable",
                    ));
                };
                let value = self.expr(right, place)?;
                self.uses_variables = true;
                let name: Arc<str> = name.value.trim_start_matches('@').to_ascii_lowercase().into();
                let mut expr = Expr {
                    sql_type: value.sql_type.clone(),
                    nullable: value.nullable,
                    coercibility: value.coercibility,
                    kind: ExprKind::Assign(name, Box::new(value)),
                };
                if is_text(&expr.sql_type) {
                    expr.coercibility = Coercibility::Implicit;
                }
                expr
            }
            other => return Err(unsupported(format!("operator {other}"))),
        })
    }

    fn date_add(
        &mut self,
        date: Expr,
        interval: &ast::Interval,
        subtract: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let amount = self.expr(&interval.value, place)?;
        let unit = interval.leading_field.as_ref().map(unit_name).unwrap_or_else(|| "DAY".into());
        interval_add(date, amount, &unit, subtract, self.context.eval())
    }

    fn comparison(
        &mut self,
        op: CompareOp,
        left: &ast::Expr,
        right: &ast::Expr,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        // A row on one side and a subquery of as many columns on the other.
        for (row, query, op) in [(left, right, op), (right, left, op.flipped())] {
            if let (Some(_), Some(query)) = (tuple_of(row), subquery_of(query)) {
                let ExprKind::Row(left) = self.expr_or_row(row, place)?.kind else {
                    continue;
                };
                let (plan, args) = self.subquery(query, place, false)?;
                if plan.columns.len() != left.len() {
                    return Err(operand_columns(left.len(), Some(plan.columns.len())));
                }
                let compare = self.comparisons(&left, &plan.column_exprs())?;
                let usage = SubqueryUse::Row { left, op, compare };
                return Ok(Expr::boolean(
                    ExprKind::Subquery(Box::new(Subquery { plan, args, usage })),
                    op != CompareOp::NullSafeEq,
                ));
            }
        }
        let left = self.expr_or_row(left, place)?;
        let right = self.expr_or_row(right, place)?;
        match (left.kind, right.kind) {
            (ExprKind::Row(a), ExprKind::Row(b)) => {
                if a.len() != b.len() {
                    return Err(operand_columns(a.len(), Some(b.len())));
                }
                let how = self.comparisons(&a, &b)?;
                let nullable = op != CompareOp::NullSafeEq && a.iter().chain(&b).any(|e| e.nullable);
                Ok(Expr::boolean(ExprKind::RowCompare(op, how, a, b), nullable))
            }
            (ExprKind::Row(row), _) | (_, ExprKind::Row(row)) => Err(operand_columns(row.len(), None)),
            (a, b) => compare(op, Expr { kind: a, ..left }, Expr { kind: b, ..right }, self.context.eval()),
        }
    }

    fn comparisons(&mut self, left: &[Expr], right: &[Expr]) -> Result<Vec<Comparison>, SqlError> {
        left.iter().zip(right).map(|(a, b)| comparison_of(a, b, "=")).collect()
    }

    fn in_list(
        &mut self,
        value: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let value = self.expr_or_row(value, place)?;
        if let ExprKind::Row(left) = value.kind {
            let mut rows = Vec::with_capacity(list.len());
            let mut nullable = left.iter().any(|e| e.nullable);
            for item in list {
                let item = self.expr_or_row(item, place)?;
                let ExprKind::Row(row) = item.kind else {
                    return Err(operand_columns(left.len(), Some(1)));
                };
                if row.len() != left.len() {
                    return Err(operand_columns(left.len(), Some(row.len())));
                }
                nullable |= row.iter().any(|e| e.nullable);
                rows.push((self.comparisons(&left, &row)?, row));
            }
            return Ok(Expr::boolean(ExprKind::InRows(left, rows, negated), nullable));
        }
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, place)?);
        }
        in_values(value, items, negated, self.context.eval())
    }

    fn in_subquery(
        &mut self,
        left: Expr,
        query: &ast::Query,
        negated: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let left = match left.kind {
            ExprKind::Row(parts) => parts,
            kind => vec![Expr { kind, ..left }],
        };
        let (plan, args) = self.subquery(query, place, false)?;
        if plan.columns.len() != left.len() {
            return Err(operand_columns(left.len(), Some(plan.columns.len())));
        }
        let columns = plan.column_exprs();
        let nullable = left.iter().chain(&columns).any(|e| e.nullable);
        let compare = self.comparisons(&left, &columns)?;
        let usage = SubqueryUse::In { left, compare, negated };
        Ok(Expr::boolean(ExprKind::Subquery(Box::new(Subquery { plan, args, usage })), nullable))
    }

    fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let Some(query) = subquery_of(right) else {
            return Err(unsupported("ANY and ALL of something other than a subquery"));
        };
        let left = self.expr_or_row(left, place)?;
        let op = match op {
            BinaryOperator::Eq => CompareOp::Eq,
            BinaryOperator::NotEq => CompareOp::Ne,
            BinaryOperator::Lt => CompareOp::Lt,
            BinaryOperator::LtEq => CompareOp::Le,
            BinaryOperator::Gt => CompareOp::Gt,
            BinaryOperator::GtEq => CompareOp::Ge,
            other => return Err(unsupported(format!("{other} with ANY or ALL"))),
        };
        match (op, all) {
            (CompareOp::Eq, false) => return self.in_subquery(left, query, false, place),
            (CompareOp::Ne, true) => return self.in_subquery(left, query, true, place),
            _ => {}
        }
        if let ExprKind::Row(parts) = &left.kind {
            return Err(operand_columns(1, Some(parts.len())));
        }
        let (plan, args) = self.subquery(query, place, false)?;
        if plan.columns.len() != 1 {
            return Err(operand_columns(1, Some(plan.columns.len())));
        }
        let compare = comparison_of(&left, &plan.column_exprs()[0], op.symbol())?;
        let usage = SubqueryUse::Quantified { left: Box::new(left), op, compare, all };
        Ok(Expr::boolean(ExprKind::Subquery(Box::new(Subquery { plan, args, usage })), true))
    }

    fn scalar_subquery(&mut self, query: &ast::Query, place: Place<'_>) -> Result<Expr, SqlError> {
        let (plan, args) = self.subquery(query, place, false)?;
        let columns = plan.column_exprs();
        if columns.len() != 1 {
            return Err(operand_columns(1, Some(columns.len())));
        }
        let first = &columns[0];
        Ok(Expr {
            sql_type: first.sql_type.clone(),
            nullable: true,
            coercibility: Coercibility::Implicit,
            kind: ExprKind::Subquery(Box::new(Subquery { plan, args, usage: SubqueryUse::Scalar })),
        })
    }

    /// Binds and plans a subquery; the arguments are the outer columns that it mentions.
    fn subquery(
        &mut self,
        query: &ast::Query,
        place: Place<'_>,
        exists: bool,
    ) -> Result<(Arc<crate::plan::SubPlan>, Vec<Expr>), SqlError> {
        let bound = self.query(query, Some(place.scope))?;
        let plan = crate::plan::subquery(bound, exists, self)?;
        let args = plan
            .outer
            .iter()
            .map(|id| match place.scope.by_id_anywhere(*id) {
                Some((_, c)) => Expr::column(*id, c.sql_type.clone(), c.nullable),
                None => Expr::column(*id, SqlType::Null, true),
            })
            .collect();
        Ok((Arc::new(plan), args))
    }

    /// A function call: aggregate, window function, special form, or a function of `values`.
    fn call(&mut self, call: &ast::Function, place: Place<'_>) -> Result<Expr, SqlError> {
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
    fn grouping(&mut self, columns: &[&ast::Expr], place: Place<'_>) -> Result<Expr, SqlError> {
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
    fn gathered(&mut self, mut aggregate: Aggregate, gather: &RefCell<Gather>) -> Expr {
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
    fn aggregate(
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

    fn window_call(
        &mut self,
        name: &str,
        call: &ast::Function,
        over: &ast::WindowType,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let refused = || {
            SqlError::new(
                ErrorCode::WindowMisuse,
                format!(
                    "You cannot use the window function '{}' in this context.'",
                    name.to_ascii_lowercase()
                ),
            )
        };
        let gather = place.gather.filter(|_| place.windows).ok_or_else(refused)?;
        if gather.borrow().in_aggregate {
            return Err(refused());
        }
        let inner = Place { windows: false, ..place };
        let spec = self.window_spec(over, gather)?;
        let (function, args, sql_type, nullable) = match AggregateFunction::named(name) {
            Some(function) => {
                let aggregate = self.aggregate(function, name, call, inner)?;
                if aggregate.distinct {
                    return Err(unsupported("<window function>(DISTINCT ..)"));
                }
                if function == AggregateFunction::GroupConcat {
                    return Err(unsupported("group_concat as window function"));
                }
                let (sql_type, nullable) = (aggregate.sql_type.clone(), aggregate.nullable);
                (WindowFunction::Aggregate(Box::new(aggregate)), Vec::new(), sql_type, nullable)
            }
            None => {
                let Some(function) = window_function(name) else {
                    return Err(SqlError::new(
                        ErrorCode::ParseError,
                        format!("You have an error in your SQL syntax; {name} is no window function"),
                    ));
                };
                let mut args = Vec::new();
                for arg in raw_args(call)? {
                    args.push(self.expr(arg, inner)?);
                }
                let (sql_type, nullable) = window_type(&function, &mut args, name)?;
                (function, args, sql_type, nullable)
            }
        };
        let mut partition = Vec::new();
        for expr in &spec.partition_by {
            partition.push(self.expr(expr, Place { clause: "window partition by", ..inner })?);
        }
        let mut order = Vec::new();
        for key in &spec.order_by {
            let expr = self.expr(&key.expr, Place { clause: "window order by", ..inner })?;
            order.push(SortKey { expr, descending: key.options.asc == Some(false) });
        }
        let frame = self.frame(spec.window_frame.as_ref(), &order, inner)?;
        let mut window =
            WindowCall { function, args, partition, order, frame, sql_type, nullable, id: ColumnId(0) };
        let mut gathered = gather.borrow_mut();
        let known = gathered.windows.iter().find(|known| {
            window.id = known.id;
            **known == window
        });
        let (sql_type, nullable) = (window.sql_type.clone(), window.nullable);
        let id = match known {
            Some(known) => known.id,
            None => {
                let id = self.next_id();
                window.id = id;
                gathered.windows.push(window);
                id
            }
        };
        Ok(Expr::column(id, sql_type, nullable))
    }

    /// The window that OVER means, named windows filled in.
    fn window_spec(
        &self,
        over: &ast::WindowType,
        gather: &RefCell<Gather>,
    ) -> Result<ast::WindowSpec, SqlError> {
        let find = |name: &str| {
            gather
                .borrow()
                .named_windows
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, spec)| spec.clone())
                .ok_or_else(|| {
                    SqlError::new(ErrorCode::WindowNoSuch, format!("Window name '{name}' is not defined."))
                })
        };
        let mut spec = match over {
            ast::WindowType::WindowSpec(spec) => spec.clone(),
            ast::WindowType::NamedWindow(name) => ast::WindowSpec {
                window_name: Some(name.clone()),
                partition_by: Vec::new(),
                order_by: Vec::new(),
                window_frame: None,
            },
        };
        for _ in 0..super::MAX_DEPTH {
            let Some(name) = spec.window_name.take() else {
                return Ok(spec);
            };
            match find(&name.value)? {
                ast::NamedWindowExpr::NamedWindow(other) => spec.window_name = Some(other),
                ast::NamedWindowExpr::WindowSpec(base) => {
                    if spec.partition_by.is_empty() {
                        spec.partition_by = base.partition_by;
                    }
                    if spec.order_by.is_empty() {
                        spec.order_by = base.order_by;
                    }
                    if spec.window_frame.is_none() {
                        spec.window_frame = base.window_frame;
                    }
                    spec.window_name = base.window_name;
                }
            }
        }
        Err(SqlError::new(ErrorCode::WindowNoSuch, "There is a circularity in the window dependency graph."))
    }

    fn frame(
        &mut self,
        frame: Option<&ast::WindowFrame>,
        order: &[SortKey],
        place: Place<'_>,
    ) -> Result<Frame, SqlError> {
        let Some(frame) = frame else {
            // Without ORDER BY all rows are peers, so that the default frame is the whole partition.
            return Ok(Frame { rows: false, start: FrameBound::Unbounded, end: FrameBound::CurrentRow });
        };
        let rows = match frame.units {
            ast::WindowFrameUnits::Rows => true,
            ast::WindowFrameUnits::Range => false,
            ast::WindowFrameUnits::Groups => return Err(unsupported("GROUPS")),
        };
        let start = self.frame_bound(&frame.start_bound, rows, order, true, place)?;
        let end = match &frame.end_bound {
            Some(bound) => self.frame_bound(bound, rows, order, false, place)?,
            None => FrameBound::CurrentRow,
        };
        Ok(Frame { rows, start, end })
    }

    fn frame_bound(
        &mut self,
        bound: &ast::WindowFrameBound,
        rows: bool,
        order: &[SortKey],
        is_start: bool,
        place: Place<'_>,
    ) -> Result<FrameBound, SqlError> {
        let (amount, preceding) = match bound {
            ast::WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            ast::WindowFrameBound::Preceding(None) if is_start => return Ok(FrameBound::Unbounded),
            ast::WindowFrameBound::Following(None) if !is_start => return Ok(FrameBound::Unbounded),
            ast::WindowFrameBound::Preceding(None) | ast::WindowFrameBound::Following(None) => {
                return Err(SqlError::new(
                    ErrorCode::ParseError,
                    "Window '<unnamed window>': frame start cannot be UNBOUNDED FOLLOWING.",
                ));
            }
            ast::WindowFrameBound::Preceding(Some(amount)) => (amount, true),
            ast::WindowFrameBound::Following(Some(amount)) => (amount, false),
        };
        if rows {
            let amount = self.expr(amount, place)?;
            return Ok(if preceding { FrameBound::Preceding(amount) } else { FrameBound::Following(amount) });
        }
        let [key] = order else {
            return Err(SqlError::new(
                ErrorCode::WindowMisuse,
                "Window '<unnamed window>' with RANGE N PRECEDING/FOLLOWING frame requires exactly one ORDER BY expression, of numeric or temporal type",
            ));
        };
        // "n preceding" of a descending key adds.
        let subtract = preceding != key.descending;
        let moved = match &**amount {
            ast::Expr::Interval(interval) => self.date_add(key.expr.clone(), interval, subtract, place)?,
            amount => {
                let amount = self.expr(amount, place)?;
                let op = if subtract { ArithOp::Sub } else { ArithOp::Add };
                arithmetic(op, key.expr.clone(), amount, self.context.eval())?
            }
        };
        Ok(FrameBound::Moved(moved))
    }
}

fn window_function(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "ROW_NUMBER" => WindowFunction::RowNumber,
        "RANK" => WindowFunction::Rank,
        "DENSE_RANK" => WindowFunction::DenseRank,
        "PERCENT_RANK" => WindowFunction::PercentRank,
        "CUME_DIST" => WindowFunction::CumeDist,
        "NTILE" => WindowFunction::Ntile,
        "LAG" => WindowFunction::Lag,
        "LEAD" => WindowFunction::Lead,
        "FIRST_VALUE" => WindowFunction::FirstValue,
        "LAST_VALUE" => WindowFunction::LastValue,
        "NTH_VALUE" => WindowFunction::NthValue,
        _ => return None,
    })
}

/// Type of a window function's result; checks and completes its arguments.
fn window_type(
    function: &WindowFunction,
    args: &mut [Expr],
    name: &str,
) -> Result<(SqlType, bool), SqlError> {
    let wanted = match function {
        WindowFunction::RowNumber
        | WindowFunction::Rank
        | WindowFunction::DenseRank
        | WindowFunction::PercentRank
        | WindowFunction::CumeDist => 0..=0,
        WindowFunction::Ntile | WindowFunction::FirstValue | WindowFunction::LastValue => 1..=1,
        WindowFunction::NthValue => 2..=2,
        WindowFunction::Lag | WindowFunction::Lead => 1..=3,
        WindowFunction::Aggregate(_) => 0..=usize::MAX,
    };
    if !wanted.contains(&args.len()) {
        return Err(wrong_parameter_count(name));
    }
    Ok(match function {
        WindowFunction::RowNumber | WindowFunction::Rank | WindowFunction::DenseRank => {
            (SqlType::BIGINT_UNSIGNED, false)
        }
        WindowFunction::Ntile => (SqlType::BIGINT_UNSIGNED, true),
        WindowFunction::PercentRank | WindowFunction::CumeDist => (SqlType::DOUBLE, false),
        WindowFunction::Lag | WindowFunction::Lead if args.len() == 3 => {
            let common = common_type(&[&args[0], &args[2]], name)?;
            (common.0, true)
        }
        _ => (args[0].sql_type.clone(), true),
    })
}

/// The arguments of a call as plain expressions.
fn raw_args(call: &ast::Function) -> Result<Vec<&ast::Expr>, SqlError> {
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

fn tuple_of(expr: &ast::Expr) -> Option<()> {
    match expr {
        ast::Expr::Tuple(parts) if parts.len() > 1 => Some(()),
        ast::Expr::Nested(inner) => tuple_of(inner),
        _ => None,
    }
}

fn subquery_of(expr: &ast::Expr) -> Option<&ast::Query> {
    match expr {
        ast::Expr::Subquery(query) => Some(query),
        ast::Expr::Nested(inner) => subquery_of(inner),
        _ => None,
    }
}

/// The position that a bare number means in GROUP BY and ORDER BY.
pub(crate) fn ordinal(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// NOT.
pub(crate) fn negate(expr: Expr) -> Expr {
    let nullable = expr.nullable;
    Expr::boolean(ExprKind::Not(Box::new(expr)), nullable)
}

/// The name of an interval's unit.
pub(crate) fn unit_name(field: &ast::DateTimeField) -> String {
    let name = field.to_string().to_ascii_uppercase();
    match name.as_str() {
        "YEARS" | "MONTHS" | "WEEKS" | "DAYS" | "HOURS" | "MINUTES" | "SECONDS" | "MICROSECONDS" => {
            name[..name.len() - 1].to_string()
        }
        _ => name,
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

/// Error 1241.
pub(crate) fn operand_columns(wanted: usize, _got: Option<usize>) -> SqlError {
    SqlError::new(ErrorCode::OperandColumns, format!("Operand should contain {wanted} column(s)"))
}

fn wrong_parameter_count(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::WrongParametersToNativeFunction,
        format!("Incorrect parameter count in the call to native function '{name}'"),
    )
}

fn no_function(database: &str, name: &str) -> SqlError {
    SqlError::new(ErrorCode::SavepointDoesNotExist, format!("FUNCTION {database}.{name} does not exist"))
}

/// Literals `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`.
fn typed_literal(binder: &mut Binder<'_>, typed: &ast::TypedString) -> Result<Expr, SqlError> {
    let text = typed.value.value.clone().into_string().unwrap_or_default();
    let kind = match &typed.data_type {
        DataType::Date => "DATE",
        DataType::Time(..) => "TIME",
        DataType::Timestamp(..) | DataType::Datetime(_) => "DATETIME",
        other => return Err(unsupported(format!("a literal of type {other}"))),
    };
    temporal_literal(kind, &text, binder.context.eval())
}
