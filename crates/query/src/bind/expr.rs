//! Expressions: names to columns, operators and functions to kernels, a type for everything.

mod calls;
mod comparisons;
mod windows;

use super::{Binder, Scope};
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
                        Some(operand) => {
                            let when = comparisons::beside_json(&operand.sql_type, when, &branch.condition);
                            case_equal(operand.clone(), when, self.context.eval())?
                        }
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
                if *op == B::Or {
                    parts = comparisons::lists_of(parts);
                }
                let nullable = parts.iter().any(|p| p.nullable);
                match parts.len() {
                    1 => parts.remove(0),
                    _ if *op == B::And => Expr::boolean(ExprKind::And(parts), nullable),
                    _ => Expr::boolean(ExprKind::Or(parts), nullable),
                }
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

/// Error 1241.
pub(crate) fn operand_columns(wanted: usize, _got: Option<usize>) -> SqlError {
    SqlError::new(ErrorCode::OperandColumns, format!("Operand should contain {wanted} column(s)"))
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
