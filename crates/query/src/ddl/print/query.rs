//! Queries as MySQL prints them in views.

use super::{Out, literal, print};
use crate::show::quote::quote_name;
use assize_model::SqlError;
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, GroupByWithModifier, JoinConstraint, JoinOperator, LimitClause, LockType,
    NamedWindowExpr, NonBlock, ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor, TableIndexHintType, TableWithJoins,
    WindowFrameBound, WindowSpec,
};
use std::fmt::Write;

/// A query without parentheses round it.
pub(super) fn print_query(query: &Query, out: &mut Out) -> Result<(), SqlError> {
    if let Some(with) = &query.with {
        out.push_str(if with.recursive { "with recursive " } else { "with " });
        for (i, cte) in with.cte_tables.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            alias(&cte.alias, out);
            out.push_str(" as ");
            nested(&cte.query, out)?;
        }
        out.push(' ');
    }
    body(&query.body, out)?;
    if let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &query.order_by {
        out.push_str(" order by ");
        order_keys(keys, out)?;
    }
    match &query.limit_clause {
        None => {}
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => limits(Some(offset), Some(limit), out)?,
        Some(LimitClause::LimitOffset { limit, offset, .. }) => {
            limits(offset.as_ref().map(|o| &o.value), limit.as_ref(), out)?
        }
    }
    for lock in &query.locks {
        out.push_str(match lock.lock_type {
            LockType::Share => " for share",
            LockType::Update => " for update",
        });
        if let Some(of) = &lock.of {
            out.push_str(" of ");
            name(of, out);
        }
        match lock.nonblock {
            None => {}
            Some(NonBlock::Nowait) => out.push_str(" nowait"),
            Some(NonBlock::SkipLocked) => out.push_str(" skip locked"),
        }
    }
    Ok(())
}

/// A query in parentheses.
pub(super) fn nested(query: &Query, out: &mut Out) -> Result<(), SqlError> {
    out.push('(');
    crate::deep::grow(|| print_query(query, out))?;
    out.push(')');
    Ok(())
}

fn limits(offset: Option<&Expr>, limit: Option<&Expr>, out: &mut Out) -> Result<(), SqlError> {
    out.push_str(" limit ");
    if let Some(offset) = offset {
        print(offset, out)?;
        out.push(',');
    }
    limit.map_or(Ok(()), |limit| print(limit, out))
}

fn body(set: &SetExpr, out: &mut Out) -> Result<(), SqlError> {
    crate::deep::grow(|| match set {
        SetExpr::Select(inner) => select(inner, out),
        SetExpr::Query(query) => nested(query, out),
        SetExpr::SetOperation { left, op, set_quantifier, right } => {
            body(left, out)?;
            out.push_str(match op {
                SetOperator::Union => " union ",
                SetOperator::Intersect => " intersect ",
                SetOperator::Except | SetOperator::Minus => " except ",
            });
            if *set_quantifier == SetQuantifier::All {
                out.push_str("all ");
            }
            // The grammar leans to the left: what leans to the right was written in parentheses.
            match &**right {
                SetExpr::SetOperation { .. } => {
                    out.push('(');
                    body(right, out)?;
                    out.push(')');
                    Ok(())
                }
                right => body(right, out),
            }
        }
        SetExpr::Values(values) => {
            out.push_str("values ");
            for (i, row) in values.rows.iter().enumerate() {
                out.push_str(if i > 0 { ",row(" } else { "row(" });
                list(&row.content, out)?;
                out.push(')');
            }
            Ok(())
        }
        other => {
            let _ = write!(out, "{other}");
            Ok(())
        }
    })
}

fn list(exprs: &[Expr], out: &mut Out) -> Result<(), SqlError> {
    super::comma_list(exprs, out)
}

fn select(select: &Select, out: &mut Out) -> Result<(), SqlError> {
    out.push_str("select ");
    if matches!(select.distinct, Some(Distinct::Distinct)) {
        out.push_str("distinct ");
    }
    if select.select_modifiers.as_ref().is_some_and(|m| m.straight_join) {
        out.push_str("straight_join ");
    }
    for (i, item) in select.projection.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item {
            // What has no name but its text is nobody's to ask for.
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAliases { expr, .. } => print(expr, out)?,
            SelectItem::ExprWithAlias { expr, alias } => {
                print(expr, out)?;
                let _ = write!(out, " AS {}", quote_name(&alias.value));
            }
            other => {
                let _ = write!(out, "{other}");
            }
        }
    }
    if !select.from.is_empty() {
        out.push_str(" from ");
        tables(&select.from, out)?;
    }
    if let Some(condition) = &select.selection {
        out.push_str(" where ");
        print(condition, out)?;
    }
    if let GroupByExpr::Expressions(keys, modifiers) = &select.group_by
        && !keys.is_empty()
    {
        out.push_str(" group by ");
        list(keys, out)?;
        if modifiers.contains(&GroupByWithModifier::Rollup) {
            out.push_str(" with rollup");
        }
    }
    if let Some(condition) = &select.having {
        out.push_str(" having ");
        print(condition, out)?;
    }
    for (i, named) in select.named_window.iter().enumerate() {
        out.push_str(if i == 0 { " window " } else { "," });
        let _ = write!(out, "{} AS ", quote_name(&named.0.value));
        match &named.1 {
            NamedWindowExpr::WindowSpec(spec) => window(spec, out)?,
            NamedWindowExpr::NamedWindow(other) => out.push_str(&quote_name(&other.value)),
        }
    }
    Ok(())
}

/// FROM: everything that is joined is in parentheses, commas are joins.
fn tables(items: &[TableWithJoins], out: &mut Out) -> Result<(), SqlError> {
    let (last, before) = match items.split_last() {
        Some((last, before)) if !before.is_empty() => (last, before),
        Some((only, _)) => return joined(only, &only.joins, out),
        None => return Ok(()),
    };
    out.push('(');
    tables(before, out)?;
    out.push_str(" join ");
    joined(last, &last.joins, out)?;
    out.push(')');
    Ok(())
}

/// A table with the first of its joins.
fn joined(item: &TableWithJoins, joins: &[sqlparser::ast::Join], out: &mut Out) -> Result<(), SqlError> {
    let Some((last, before)) = joins.split_last() else {
        return factor(&item.relation, out);
    };
    let (word, swapped, constraint) = match &last.join_operator {
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (" left join ", false, on),
        // A right join is printed as the left join that it is.
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (" left join ", true, on),
        JoinOperator::StraightJoin(on) => (" straight_join ", false, on),
        JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
            (" join ", false, on)
        }
        other => {
            return Err(crate::expr::unsupported(format!("{other:?}").chars().take(40).collect::<String>()));
        }
    };
    out.push('(');
    if swapped {
        factor(&last.relation, out)?;
        out.push_str(word);
        joined(item, before, out)?;
    } else {
        joined(item, before, out)?;
        out.push_str(word);
        factor(&last.relation, out)?;
    }
    match constraint {
        JoinConstraint::On(condition) => {
            out.push_str(" on(");
            print(condition, out)?;
            out.push(')');
        }
        JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
    }
    out.push(')');
    Ok(())
}

fn factor(factor: &TableFactor, out: &mut Out) -> Result<(), SqlError> {
    match factor {
        TableFactor::Table { name: table, alias: other, index_hints, .. } => {
            name(table, out);
            if let Some(other) = other {
                out.push(' ');
                alias(other, out);
            }
            for hint in index_hints {
                out.push_str(match hint.hint_type {
                    TableIndexHintType::Use => " use index (",
                    TableIndexHintType::Ignore => " ignore index (",
                    TableIndexHintType::Force => " force index (",
                });
                let names: Vec<String> = hint.index_names.iter().map(|n| quote_name(&n.value)).collect();
                out.push_str(&names.join(","));
                out.push(')');
            }
            Ok(())
        }
        TableFactor::Derived { lateral, subquery, alias: named, .. } => {
            if *lateral {
                out.push_str("lateral ");
            }
            nested(subquery, out)?;
            if let Some(named) = named {
                out.push(' ');
                alias(named, out);
            }
            Ok(())
        }
        TableFactor::NestedJoin { table_with_joins, .. } => {
            joined(table_with_joins, &table_with_joins.joins, out)
        }
        other => Err(crate::expr::unsupported(other.to_string().chars().take(60).collect::<String>())),
    }
}

fn alias(alias: &TableAlias, out: &mut Out) {
    out.push_str(&quote_name(&alias.name.value));
    if !alias.columns.is_empty() {
        let names: Vec<String> = alias.columns.iter().map(|c| quote_name(&c.name.value)).collect();
        let _ = write!(out, " ({})", names.join(","));
    }
}

fn name(name: &ObjectName, out: &mut Out) {
    let parts: Vec<String> = crate::bind::object_parts(name).into_iter().map(quote_name).collect();
    out.push_str(&parts.join("."));
}

/// Keys of ORDER BY.
pub(super) fn order_keys(keys: &[OrderByExpr], out: &mut Out) -> Result<(), SqlError> {
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        print(&key.expr, out)?;
        if key.options.asc == Some(false) {
            out.push_str(" desc");
        }
    }
    Ok(())
}

/// `(PARTITION BY … ORDER BY … )`, with the blank that MySQL leaves at the end.
pub(super) fn window(spec: &WindowSpec, out: &mut Out) -> Result<(), SqlError> {
    out.push('(');
    if let Some(base) = &spec.window_name {
        let _ = write!(out, "{} ", quote_name(&base.value));
    }
    if !spec.partition_by.is_empty() {
        out.push_str("PARTITION BY ");
        list(&spec.partition_by, out)?;
        out.push(' ');
    }
    if !spec.order_by.is_empty() {
        out.push_str("ORDER BY ");
        order_keys(&spec.order_by, out)?;
        out.push(' ');
    }
    if let Some(frame) = &spec.window_frame {
        let _ = write!(out, "{} ", frame.units);
        match &frame.end_bound {
            None => frame_bound(&frame.start_bound, out)?,
            Some(end) => {
                out.push_str("BETWEEN ");
                frame_bound(&frame.start_bound, out)?;
                out.push_str(" AND ");
                frame_bound(end, out)?;
            }
        }
        out.push(' ');
    }
    out.push(')');
    Ok(())
}

fn frame_bound(bound: &WindowFrameBound, out: &mut Out) -> Result<(), SqlError> {
    let (amount, word) = match bound {
        WindowFrameBound::CurrentRow => {
            out.push_str("CURRENT ROW");
            return Ok(());
        }
        WindowFrameBound::Preceding(amount) => (amount, "PRECEDING"),
        WindowFrameBound::Following(amount) => (amount, "FOLLOWING"),
    };
    match amount {
        None => out.push_str("UNBOUNDED"),
        Some(amount) => match &**amount {
            Expr::Value(value) => literal(&value.value, out),
            other => print(other, out)?,
        },
    }
    let _ = write!(out, " {word}");
    Ok(())
}
