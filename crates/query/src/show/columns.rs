//! What SHOW COLUMNS, DESCRIBE and INFORMATION_SCHEMA.COLUMNS say of a column.

use crate::show::create_table::now_text;
use assize_catalog::{Column, DefaultValue, Table};
use assize_values::format::to_string;
use assize_values::{SqlType, Value};

/// `Default`: the constant as text, or the expression.
pub(crate) fn column_default(column: &Column) -> Value {
    match &column.default {
        None | Some(DefaultValue::Constant(Value::Null)) => Value::Null,
        Some(DefaultValue::Constant(Value::Bit(bits))) => Value::text(format!("b'{bits:b}'")),
        Some(DefaultValue::Constant(value)) => Value::text(to_string(value, &column.sql_type)),
        Some(DefaultValue::Now(fsp)) => Value::text(now_text(*fsp)),
        Some(DefaultValue::Expression(text)) => Value::text(text.to_string()),
    }
}

/// `Key`: PRI, UNI, MUL or nothing. Without a primary key the first unique key of NOT NULL columns counts as it.
pub(crate) fn column_key(table: &Table, column: &Column) -> &'static str {
    let indexes: Vec<_> = crate::infoschema::shown_indexes(table).collect();
    let has = |index: &assize_catalog::Index| index.parts.iter().any(|p| p.column == column.id);
    if indexes.iter().any(|i| i.is_primary() && has(i)) {
        return "PRI";
    }
    if table.hidden_row_id {
        let promoted = indexes.iter().find(|i| {
            i.unique && i.parts.iter().all(|p| !table.indexed_column(p).nullable && p.prefix.is_none())
        });
        if promoted.is_some_and(|i| has(i)) {
            return "PRI";
        }
    }
    let leads = |i: &&&assize_catalog::Index| i.parts.first().is_some_and(|p| p.column == column.id);
    if indexes.iter().filter(leads).any(|i| i.unique && i.parts.len() == 1) {
        return "UNI";
    }
    if indexes.iter().any(|i| leads(&i)) { "MUL" } else { "" }
}

/// `Extra`: `auto_increment`, `DEFAULT_GENERATED on update CURRENT_TIMESTAMP`, `VIRTUAL GENERATED`, …
pub(crate) fn extra(column: &Column) -> String {
    let mut parts: Vec<String> = Vec::new();
    if column.auto_increment {
        parts.push("auto_increment".into());
    }
    if matches!(column.default, Some(DefaultValue::Now(_) | DefaultValue::Expression(_))) {
        parts.push("DEFAULT_GENERATED".into());
    }
    if let Some(fsp) = column.on_update_now {
        parts.push(format!("on update {}", now_text(fsp)));
    }
    if let Some(generated) = &column.generated {
        parts.push(if generated.stored { "STORED GENERATED".into() } else { "VIRTUAL GENERATED".into() });
    }
    if column.invisible {
        parts.push("INVISIBLE".into());
    }
    parts.join(" ")
}

/// The name of a column's collation, if its type has one.
pub(crate) fn collation(sql_type: &SqlType) -> Value {
    crate::ddl::charset::of_type(sql_type).map_or(Value::Null, |c| Value::text(c.name()))
}
