//! SHOW CREATE TABLE. The layout is an interface: SQLAlchemy and the dump tools parse it.

use crate::ddl::charset;
use crate::show::quote::{quote_name, quote_text};
use assize_catalog::{Column, DefaultValue, ForeignKey, Index, IndexState, ReferentialAction, Table};
use assize_values::{Collation, SqlType, Value};
use std::fmt::Write;

/// The statement that would create this table. `next_id` is its next AUTO_INCREMENT value, if it has any.
pub fn create_table(table: &Table, next_id: Option<u64>) -> String {
    let mut lines: Vec<String> = table.shown_columns().map(|c| column_line(table, c)).collect();
    let shown =
        |index: &&Index| !(index.is_primary() && table.hidden_row_id) && index.state == IndexState::Public;
    lines.extend(table.indexes.iter().filter(shown).map(|index| index_line(table, index)));
    // By name, in whatever order they were added: clients that compare schemas compare them in this order.
    let mut keys: Vec<&ForeignKey> = table.foreign_keys.iter().collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    lines.extend(keys.into_iter().map(|key| foreign_key_line(table, key)));
    lines.extend(table.checks.iter().map(|check| {
        let not_enforced = if check.enforced { "" } else { " /*!80016 NOT ENFORCED */" };
        format!("CONSTRAINT {} CHECK ({}){not_enforced}", quote_name(&check.name), check.expression)
    }));
    let verb = if table.id.is_temporary() { "CREATE TEMPORARY TABLE" } else { "CREATE TABLE" };
    let mut out = format!("{verb} {} (\n  {}\n)", quote_name(&table.name), lines.join(",\n  "));
    let _ = write!(out, " ENGINE={}", crate::infoschema::objects::engine(table));
    if let Some(next) = next_id.filter(|n| *n > 1) {
        let _ = write!(out, " AUTO_INCREMENT={next}");
    }
    let _ = write!(out, " DEFAULT CHARSET={}", charset::charset_name(table.collation));
    if !charset::is_default(table.collation) || table.collation == Collation::UTF8MB4_0900_AI_CI {
        let _ = write!(out, " COLLATE={}", charset::name(table.collation));
    }
    for (name, value) in table.options.iter().filter(|(name, _)| !name.starts_with("PARTITION")) {
        let _ = write!(out, " {name}={value}");
    }
    if !table.comment.is_empty() {
        let _ = write!(out, " COMMENT={}", quote_text(&table.comment));
    }
    if let Some(foreign) = &table.foreign {
        let _ = write!(out, " CONNECTION={}", quote_text(&crate::ddl::foreign::connection(foreign)));
    }
    if let Some(partition) = table.option("PARTITION BY") {
        let _ = write!(out, "\n/*!50100 PARTITION BY {partition} */");
    }
    out
}

fn column_line(table: &Table, column: &Column) -> String {
    let mut out =
        format!("{} {}", quote_name(&column.name), assize_values::format::type_name(&column.sql_type));
    if let Some(collation) = charset::of_type(&column.sql_type) {
        let same = collation == table.collation;
        if !same {
            let _ = write!(out, " CHARACTER SET {}", charset::charset_name(collation));
        }
        if !charset::is_default(collation) || (!same && collation == Collation::UTF8MB4_0900_AI_CI) {
            let _ = write!(out, " COLLATE {}", charset::name(collation));
        }
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        let _ = write!(out, " GENERATED ALWAYS AS ({}) {kind}", generated.expression);
    }
    if !column.nullable {
        out.push_str(" NOT NULL");
    } else if matches!(column.sql_type, SqlType::Timestamp { .. }) {
        out.push_str(" NULL");
    }
    if let Some(default) = default_text(column) {
        let _ = write!(out, " DEFAULT {default}");
    }
    if let Some(fsp) = column.on_update_now {
        let _ = write!(out, " ON UPDATE {}", now_text(fsp));
    }
    if column.auto_increment {
        out.push_str(" AUTO_INCREMENT");
    }
    if column.invisible {
        out.push_str(" /*!80023 INVISIBLE */");
    }
    if !column.comment.is_empty() {
        let _ = write!(out, " COMMENT {}", quote_text(&column.comment));
    }
    out
}

/// What stands behind DEFAULT; `None` if nothing is printed.
fn default_text(column: &Column) -> Option<String> {
    match &column.default {
        Some(DefaultValue::Constant(Value::Null)) | None => {
            let printed = column.nullable
                && column.generated.is_none()
                && !column.auto_increment
                && !matches!(column.sql_type, SqlType::Text { .. } | SqlType::Blob { .. });
            printed.then(|| "NULL".to_string())
        }
        Some(DefaultValue::Constant(Value::Bit(bits))) => Some(format!("b'{bits:b}'")),
        Some(DefaultValue::Constant(value)) => {
            Some(quote_text(&assize_values::format::to_string(value, &column.sql_type)))
        }
        Some(DefaultValue::Now(fsp)) => Some(now_text(*fsp)),
        Some(DefaultValue::Expression(text)) => Some(format!("({text})")),
    }
}

/// `CURRENT_TIMESTAMP(fsp)`.
pub fn now_text(fsp: u8) -> String {
    match fsp {
        0 => "CURRENT_TIMESTAMP".into(),
        fsp => format!("CURRENT_TIMESTAMP({fsp})"),
    }
}

fn index_line(table: &Table, index: &Index) -> String {
    let mut out = if index.is_primary() {
        String::from("PRIMARY KEY")
    } else {
        format!("{} {}", if index.unique { "UNIQUE KEY" } else { "KEY" }, quote_name(&index.name))
    };
    let parts: Vec<String> = index
        .parts
        .iter()
        .map(|part| {
            let mut text = match table.key_expression(part) {
                Some(expression) => format!("({expression})"),
                None => quote_name(&table.indexed_column(part).name),
            };
            if let Some(prefix) = part.prefix {
                let _ = write!(text, "({prefix})");
            }
            if part.descending {
                text.push_str(" DESC");
            }
            text
        })
        .collect();
    let _ = write!(out, " ({})", parts.join(","));
    if !index.comment.is_empty() {
        let _ = write!(out, " COMMENT {}", quote_text(&index.comment));
    }
    if index.invisible {
        out.push_str(" /*!80000 INVISIBLE */");
    }
    out
}

fn foreign_key_line(table: &Table, key: &ForeignKey) -> String {
    let own: Vec<String> = key
        .columns
        .iter()
        .filter_map(|id| table.column_by_id(*id))
        .map(|column| quote_name(&column.name))
        .collect();
    let theirs: Vec<String> = key.parent_columns.iter().map(|name| quote_name(name)).collect();
    let mut parent = quote_name(&key.parent_table);
    if key.parent_database != table.database {
        parent = format!("{}.{parent}", quote_name(&key.parent_database));
    }
    let mut out = format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {parent} ({})",
        quote_name(&key.name),
        own.join(", "),
        theirs.join(", ")
    );
    for (when, action) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
        let action = match action {
            ReferentialAction::NoAction => continue,
            ReferentialAction::Restrict => "RESTRICT",
            ReferentialAction::Cascade => "CASCADE",
            ReferentialAction::SetNull => "SET NULL",
        };
        let _ = write!(out, " ON {when} {action}");
    }
    out
}
