//! Expressions of table definitions, and queries of views, as MySQL keeps and prints them: names in backticks,
//! operators in parentheses, functions in lower case, in tables strings with their character set. What is printed
//! here parses to the same under every SQL mode, which is why the catalog keeps this text and not the one written.

mod query;

use crate::show::quote::{escape_text, quote_name, quote_text};
use assize_model::SqlError;
use sqlparser::ast::{
    BinaryOperator, CastFormat, DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, NullTreatment, UnaryOperator, Value, Visit, Visitor,
    WindowType,
};
use std::fmt::Write;
use std::ops::ControlFlow;

/// How column names are printed.
pub enum Names {
    /// The column alone: an expression within its table.
    Unqualified,
}

/// The canonical text of an expression.
pub fn expression(expr: &Expr, _names: &Names) -> Result<String, SqlError> {
    let mut out = Out { text: String::new(), view: false };
    print(expr, &mut out)?;
    Ok(out.text)
}

/// The canonical text of a view's query.
pub fn query(query: &sqlparser::ast::Query) -> Result<String, SqlError> {
    let mut out = Out { text: String::new(), view: true };
    query::print_query(query, &mut out)?;
    Ok(out.text)
}

/// What is printed so far.
struct Out {
    text: String,
    /// A view's query: names keep what qualifies them, strings have the collation of the view's session.
    view: bool,
}

impl Out {
    fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn push(&mut self, c: char) {
        self.text.push(c);
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

/// The columns that an expression mentions, in the order of the text, each once.
pub fn columns(expr: &Expr) -> Vec<String> {
    struct Columns(Vec<String>);
    impl Visitor for Columns {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let name = match expr {
                Expr::Identifier(ident) if !is_variable(ident) => Some(&ident.value),
                Expr::CompoundIdentifier(parts) => parts.last().map(|p| &p.value),
                _ => None,
            };
            if let Some(name) = name
                && !self.0.iter().any(|n| n.eq_ignore_ascii_case(name))
            {
                self.0.push(name.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Columns(Vec::new());
    // The visitor never breaks.
    let _ = expr.visit(&mut found);
    found.0
}

fn is_variable(ident: &sqlparser::ast::Ident) -> bool {
    ident.quote_style.is_none() && ident.value.starts_with('@')
}

fn print(expr: &Expr, out: &mut Out) -> Result<(), SqlError> {
    match expr {
        Expr::Identifier(ident) if is_variable(ident) => out.push_str(&ident.value),
        Expr::Identifier(ident) => out.push_str(&quote_name(&ident.value)),
        Expr::CompoundIdentifier(parts) if out.view => {
            let names: Vec<String> = parts.iter().map(|part| quote_name(&part.value)).collect();
            out.push_str(&names.join("."));
        }
        Expr::CompoundIdentifier(parts) => {
            out.push_str(&quote_name(parts.last().map_or("", |p| &p.value)));
        }
        Expr::Nested(inner) => print(inner, out)?,
        Expr::Value(value) => literal(&value.value, out),
        Expr::Prefixed { prefix, value } => {
            let _ = write!(out, "{}", prefix.value.to_lowercase());
            match &**value {
                Expr::Value(v) => match &v.value {
                    Value::SingleQuotedString(text) => out.push_str(&quote_text(text)),
                    other => literal(other, out),
                },
                other => print(other, out)?,
            }
        }
        Expr::TypedString(typed) => {
            let _ = write!(out, "{typed}");
        }
        Expr::BinaryOp { left, op, right } => {
            if matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow) {
                let unquote = *op == BinaryOperator::LongArrow;
                out.push_str(if unquote { "json_unquote(json_extract(" } else { "json_extract(" });
                print(left, out)?;
                out.push(',');
                print(right, out)?;
                out.push_str(if unquote { "))" } else { ")" });
                return Ok(());
            }
            if *op == BinaryOperator::StringConcat {
                out.push_str("concat(");
                print(left, out)?;
                out.push(',');
                print(right, out)?;
                out.push(')');
                return Ok(());
            }
            out.push('(');
            print(left, out)?;
            let _ = write!(out, " {} ", operator(op));
            print(right, out)?;
            out.push(')');
        }
        Expr::UnaryOp { op, expr } => match op {
            UnaryOperator::Not | UnaryOperator::BangNot => {
                out.push_str("(not(");
                print(expr, out)?;
                out.push_str("))");
            }
            UnaryOperator::Plus => print(expr, out)?,
            UnaryOperator::Minus if matches!(&**expr, Expr::Value(_)) => {
                out.push('-');
                print(expr, out)?;
            }
            other => {
                let sign = if *other == UnaryOperator::Minus { "-" } else { "~" };
                let _ = write!(out, "{sign}(");
                print(expr, out)?;
                out.push(')');
            }
        },
        Expr::IsNull(inner) => suffix(inner, "is null", out)?,
        Expr::IsNotNull(inner) => suffix(inner, "is not null", out)?,
        Expr::IsTrue(inner) => suffix(inner, "is true", out)?,
        Expr::IsNotTrue(inner) => suffix(inner, "is not true", out)?,
        Expr::IsFalse(inner) => suffix(inner, "is false", out)?,
        Expr::IsNotFalse(inner) => suffix(inner, "is not false", out)?,
        Expr::IsUnknown(inner) => suffix(inner, "is null", out)?,
        Expr::IsNotUnknown(inner) => suffix(inner, "is not null", out)?,
        Expr::InList { expr, list, negated } => {
            out.push('(');
            print(expr, out)?;
            out.push_str(if *negated { " not in (" } else { " in (" });
            comma_list(list, out)?;
            out.push_str("))");
        }
        Expr::Between { expr, negated, low, high } => {
            out.push('(');
            print(expr, out)?;
            out.push_str(if *negated { " not between " } else { " between " });
            print(low, out)?;
            out.push_str(" and ");
            print(high, out)?;
            out.push(')');
        }
        Expr::Like { negated, expr, pattern, escape_char, .. } => {
            out.push('(');
            print(expr, out)?;
            out.push_str(if *negated { " not like " } else { " like " });
            print(pattern, out)?;
            if let Some(escape) = escape_char {
                match &escape.value {
                    Value::SingleQuotedString(text) => {
                        let _ = write!(out, " escape {}", quote_text(text));
                    }
                    other => {
                        let _ = write!(out, " escape {other}");
                    }
                }
            }
            out.push(')');
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            if *negated {
                out.push_str("(not(");
            }
            out.push_str("regexp_like(");
            print(expr, out)?;
            out.push(',');
            print(pattern, out)?;
            out.push(')');
            if *negated {
                out.push_str("))");
            }
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            out.push_str("(case");
            if let Some(operand) = operand {
                out.push(' ');
                print(operand, out)?;
            }
            for when in conditions {
                out.push_str(" when ");
                print(&when.condition, out)?;
                out.push_str(" then ");
                print(&when.result, out)?;
            }
            if let Some(otherwise) = else_result {
                out.push_str(" else ");
                print(otherwise, out)?;
            }
            out.push_str(" end)");
        }
        Expr::Cast { expr, data_type, format, .. } => {
            out.push_str("cast(");
            print(expr, out)?;
            out.push_str(" as ");
            cast_type(data_type, format.as_ref(), out);
            out.push(')');
        }
        Expr::Convert { expr, charset: Some(charset), .. } => {
            out.push_str("convert(");
            print(expr, out)?;
            let _ = write!(out, " using {})", charset.to_string().to_lowercase());
        }
        Expr::Collate { expr, collation } => {
            out.push('(');
            print(expr, out)?;
            let _ = write!(out, " collate {collation})");
        }
        Expr::Interval(interval) => {
            out.push_str("interval ");
            print(&interval.value, out)?;
            if let Some(unit) = &interval.leading_field {
                let _ = write!(out, " {}", unit.to_string().to_lowercase());
            }
        }
        Expr::Extract { field, expr, .. } => {
            let _ = write!(out, "extract({} from ", field.to_string().to_lowercase());
            print(expr, out)?;
            out.push(')');
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            out.push_str("substr(");
            print(expr, out)?;
            for part in [substring_from, substring_for].into_iter().flatten() {
                out.push(',');
                print(part, out)?;
            }
            out.push(')');
        }
        Expr::Trim { expr, trim_where, trim_what, .. } => {
            out.push_str("trim(");
            if let Some(side) = trim_where {
                let _ = write!(out, "{} ", side.to_string().to_lowercase());
            }
            if let Some(what) = trim_what {
                print(what, out)?;
                out.push(' ');
            }
            if trim_where.is_some() || trim_what.is_some() {
                out.push_str("from ");
            }
            print(expr, out)?;
            out.push(')');
        }
        Expr::Floor { expr, .. } => {
            out.push_str("floor(");
            print(expr, out)?;
            out.push(')');
        }
        Expr::Ceil { expr, .. } => {
            out.push_str("ceiling(");
            print(expr, out)?;
            out.push(')');
        }
        Expr::Position { expr, r#in } => {
            out.push_str("locate(");
            print(expr, out)?;
            out.push(',');
            print(r#in, out)?;
            out.push(')');
        }
        Expr::Tuple(items) => {
            out.push('(');
            comma_list(items, out)?;
            out.push(')');
        }
        Expr::Function(function) => call(function, out)?,
        Expr::Subquery(inner) if out.view => query::nested(inner, out)?,
        Expr::Exists { subquery, negated } if out.view => {
            out.push_str(if *negated { "(not exists" } else { "exists" });
            query::nested(subquery, out)?;
            if *negated {
                out.push(')');
            }
        }
        Expr::InSubquery { expr, subquery, negated } if out.view => {
            out.push('(');
            print(expr, out)?;
            out.push_str(if *negated { " not in " } else { " in " });
            query::nested(subquery, out)?;
            out.push(')');
        }
        Expr::AnyOp { left, compare_op, right, .. } if out.view => {
            compared_with("any", left, compare_op, right, out)?
        }
        Expr::AllOp { left, compare_op, right } if out.view => {
            compared_with("all", left, compare_op, right, out)?
        }
        Expr::MemberOf(member) => {
            out.push('(');
            print(&member.value, out)?;
            out.push_str(" member of (");
            print(&member.array, out)?;
            out.push_str("))");
        }
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            return Err(SqlError::new(
                assize_model::ErrorCode::UnsupportedOnGeneratedColumn,
                "A subquery is not allowed in an expression of a table definition.",
            ));
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
    Ok(())
}

/// `(a = any (select …))`
fn compared_with(
    word: &str,
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    out: &mut Out,
) -> Result<(), SqlError> {
    out.push('(');
    print(left, out)?;
    let _ = write!(out, " {} {word} ", operator(op));
    print(right, out)?;
    out.push(')');
    Ok(())
}

fn suffix(inner: &Expr, text: &str, out: &mut Out) -> Result<(), SqlError> {
    out.push('(');
    print(inner, out)?;
    let _ = write!(out, " {text})");
    Ok(())
}

fn comma_list(list: &[Expr], out: &mut Out) -> Result<(), SqlError> {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        print(item, out)?;
    }
    Ok(())
}

fn literal(value: &Value, out: &mut Out) {
    match value {
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
            if out.view {
                out.push_str(&escape_text(text));
            } else {
                out.push_str("_utf8mb4");
                out.push_str(&quote_text(text));
            }
        }
        Value::NationalStringLiteral(text) => {
            out.push_str("_utf8mb3");
            out.push_str(&quote_text(text));
        }
        Value::HexStringLiteral(digits) => {
            let _ = write!(out, "0x{digits}");
        }
        Value::SingleQuotedByteStringLiteral(bits) => {
            let _ = write!(out, "b'{bits}'");
        }
        Value::Boolean(true) => out.push_str("true"),
        Value::Boolean(false) => out.push_str("false"),
        Value::Null => out.push_str("NULL"),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn operator(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::And => "and".into(),
        BinaryOperator::Or => "or".into(),
        BinaryOperator::Xor => "xor".into(),
        BinaryOperator::MyIntegerDivide => "DIV".into(),
        BinaryOperator::Modulo => "%".into(),
        BinaryOperator::PGBitwiseShiftLeft => "<<".into(),
        BinaryOperator::PGBitwiseShiftRight => ">>".into(),
        other => other.to_string(),
    }
}

fn cast_type(data_type: &DataType, format: Option<&CastFormat>, out: &mut Out) {
    let text = data_type.to_string();
    match text.to_ascii_uppercase().as_str() {
        "SIGNED" | "SIGNED INTEGER" => out.push_str("signed"),
        "UNSIGNED" | "UNSIGNED INTEGER" => out.push_str("unsigned"),
        _ => out.push_str(&text.to_lowercase()),
    }
    if let Some(CastFormat::Value(charset)) = format
        && let Value::SingleQuotedString(name) = &charset.value
    {
        let _ = write!(out, " charset {name}");
    } else if !out.view && text.to_ascii_uppercase().starts_with("CHAR") {
        out.push_str(" charset utf8mb4");
    }
}

fn call(function: &Function, out: &mut Out) -> Result<(), SqlError> {
    let name = function.name.to_string().replace('`', "").to_lowercase();
    // Words for the current time take no parentheses when written; printed, they are functions like others.
    out.push_str(match name.as_str() {
        "current_timestamp" | "localtime" | "localtimestamp" => "now",
        "current_date" => "curdate",
        "current_time" => "curtime",
        other => other,
    });
    out.push('(');
    if let FunctionArguments::List(list) = &function.args {
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            out.push_str("distinct ");
        }
        for (i, arg) in list.args.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(unit)))
                    if i == 0 && matches!(name.as_str(), "timestampadd" | "timestampdiff" | "get_format") =>
                {
                    out.push_str(&unit.value);
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => print(expr, out)?,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if out.view => out.push('0'),
                other => {
                    let _ = write!(out, "{other}");
                }
            }
        }
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => {
                    out.push_str(" order by ");
                    query::order_keys(keys, out)?;
                }
                FunctionArgumentClause::Limit(limit) => {
                    out.push_str(" limit ");
                    print(limit, out)?;
                }
                FunctionArgumentClause::Separator(separator) => match &separator.value {
                    Value::SingleQuotedString(text) => {
                        let _ = write!(out, " separator {}", escape_text(text));
                    }
                    other => {
                        out.push_str(" separator ");
                        literal(other, out);
                    }
                },
                other => {
                    let _ = write!(out, " {other}");
                }
            }
        }
    }
    out.push(')');
    match function.null_treatment {
        Some(NullTreatment::IgnoreNulls) => out.push_str(" ignore nulls"),
        Some(NullTreatment::RespectNulls) => out.push_str(" respect nulls"),
        None => {}
    }
    match &function.over {
        None => Ok(()),
        Some(WindowType::NamedWindow(name)) => {
            let _ = write!(out, " OVER {}", quote_name(&name.value));
            Ok(())
        }
        Some(WindowType::WindowSpec(spec)) => {
            out.push_str(" OVER ");
            query::window(spec, out)
        }
    }
}
