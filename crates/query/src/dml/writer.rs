//! Writing rows of one table: generated columns, CHECKs, uniqueness, indexes; foreign keys are next door.
//!
//! ```text
//!   statement ──▶ Writer::insert / update / delete ──▶ constraints::foreign (parents, children)
//!                      │
//!                      └──▶ Transaction::write: row, index entries, existence key
//! ```
//!
//! Every write of every row goes through here, whichever statement asks for it, cascades included. Reads see
//! the transaction's own writes, so a duplicate within one statement is found like any other.

use crate::bind::{Binder, Place, Scope};
use crate::constraints::foreign::{ChildRule, ParentRule};
use crate::expr::{Expr, Layout, Row, Runtime, eval_async, truth};
use crate::infoschema::SystemTables;
use assize_catalog::key::Entry;
use assize_catalog::{Catalog, DefaultValue, Index, Table, key, row};
use assize_model::{ErrorCode, IndexId, Key, Mutation, Slot, SqlError, TableId, WarningLevel};
use assize_ports::{ReadIntent, StatementContext};
use assize_values::{EvalContext, SqlType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A row where it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its key.
    pub key: Key,
    /// Its values, in the order of the table's columns.
    pub row: Row,
}

/// A CHECK constraint ready to run.
#[derive(Clone, Debug)]
struct CompiledCheck {
    name: Arc<str>,
    expr: Expr,
}

/// What writing rows of one table takes, made once per statement.
#[derive(Debug)]
pub struct Writer {
    /// The table.
    pub table: Arc<Table>,
    checks: Vec<CompiledCheck>,
    generated: Vec<(usize, Expr)>,
    /// DEFAULT (expression) by column.
    default_exprs: BTreeMap<usize, Expr>,
    /// Its foreign keys.
    pub(crate) parents: Vec<ParentRule>,
    /// Foreign keys that refer to it.
    pub(crate) children: Vec<ChildRule>,
    /// Whether some foreign key refers to its primary key, so that existence keys are written.
    existence: bool,
}

/// A unique key that already holds the values of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Duplicate {
    /// Which index.
    pub index: IndexId,
    /// The row that has them.
    pub key: Key,
    /// Where that row lives.
    pub slot: Slot,
    /// Error 1062.
    pub error: SqlError,
}

/// The writers of a statement, by table: those of the tables it names and of those it cascades to.
#[derive(Debug, Default)]
pub struct Writers {
    by_table: BTreeMap<TableId, Arc<Writer>>,
    /// Parent keys known to exist, so that a thousand children of one parent ask once.
    pub(crate) known_parents: BTreeSet<Key>,
}

impl Writers {
    /// The writer of a table.
    pub fn of(&mut self, table: &Arc<Table>, rt: &mut Runtime<'_>) -> Result<Arc<Writer>, SqlError> {
        if let Some(writer) = self.by_table.get(&table.id) {
            return Ok(writer.clone());
        }
        let catalog = rt.context.catalog();
        let writer = Arc::new(Writer::new(table, &catalog, rt.context)?);
        self.by_table.insert(table.id, writer.clone());
        Ok(writer)
    }
}

/// Binds an expression over the columns of one table: its input row is a row of the table.
pub fn bind_over(
    ast: &sqlparser::ast::Expr,
    table: &Arc<Table>,
    clause: &'static str,
    context: &mut dyn StatementContext,
) -> Result<Expr, SqlError> {
    let scope = Scope::of_table(table, &table.name);
    let mut binder = Binder::new(context, &SystemTables, None);
    let mut bound = binder.expr(ast, Place::plain(&scope, clause))?;
    let ids: Vec<_> = scope.all_columns().map(|(_, c)| c.id).collect();
    let mut outer = Vec::new();
    bound.resolve(&Layout::of(&ids), &mut outer);
    if !outer.is_empty() {
        return Err(SqlError::internal("an expression of a table mentions something else"));
    }
    Ok(bound)
}

/// Binds an expression that the catalog keeps as text.
pub fn bind_stored(
    text: &str,
    table: &Arc<Table>,
    context: &mut dyn StatementContext,
) -> Result<Expr, SqlError> {
    bind_over(&crate::ddl::parse_stored(text)?, table, "stored expression", context)
}

impl Writer {
    /// What writing this table takes, in this catalog.
    pub fn new(
        table: &Arc<Table>,
        catalog: &Catalog,
        context: &mut dyn StatementContext,
    ) -> Result<Self, SqlError> {
        context.transaction().use_table(table.id, table.version);
        let mut writer = Writer::compiled(table, context)?;
        if table.id.is_temporary() {
            // Foreign keys neither lead from it nor to it, whatever table of everybody has its name.
            return Ok(writer);
        }
        let fk_checks = crate::constraints::foreign_key_checks(context);
        if fk_checks {
            writer.parents = ParentRule::all(table, catalog);
            writer.children = ChildRule::all(table, catalog);
        }
        let elsewhere = |table: &Arc<Table>| table.foreign.is_some();
        if writer.parents.iter().any(|rule| elsewhere(table) || rule.parent.as_ref().is_some_and(elsewhere))
            || writer.children.iter().any(|rule| elsewhere(table) || elsewhere(&rule.child))
        {
            return Err(SqlError::not_supported("foreign keys of foreign tables"));
        }
        for parent in writer.parents.iter().filter_map(|rule| rule.parent.as_ref()) {
            context.transaction().use_table(parent.id, parent.version);
        }
        for rule in &writer.children {
            context.transaction().use_table(rule.child.id, rule.child.version);
        }
        writer.existence = catalog.children_of(&table.database, &table.name).next().is_some();
        Ok(writer)
    }

    /// The expressions of a table.
    fn compiled(table: &Arc<Table>, context: &mut dyn StatementContext) -> Result<Self, SqlError> {
        let mut checks = Vec::new();
        for check in table.checks.iter().filter(|c| c.enforced) {
            let expr = bind_stored(&check.expression, table, context)?;
            checks.push(CompiledCheck { name: check.name.clone(), expr });
        }
        let mut generated = Vec::new();
        let mut default_exprs = BTreeMap::new();
        for (ordinal, column) in table.columns.iter().enumerate() {
            if let Some(g) = &column.generated {
                generated.push((ordinal, bind_stored(&g.expression, table, context)?));
            }
            if let Some(DefaultValue::Expression(text)) = &column.default {
                default_exprs.insert(ordinal, bind_stored(text, table, context)?);
            }
        }
        Ok(Writer {
            table: table.clone(),
            checks,
            generated,
            default_exprs,
            parents: Vec::new(),
            children: Vec::new(),
            existence: false,
        })
    }

    /// A writer of a table that nobody knows yet: no foreign keys, and nothing is noted in the transaction.
    pub fn detached(table: &Arc<Table>, context: &mut dyn StatementContext) -> Result<Self, SqlError> {
        let mut writer = Writer::compiled(table, context)?;
        writer.existence = true;
        Ok(writer)
    }

    /// The value of a column that is given none: its default, or error 1364 (or its warning).
    pub async fn default_of(
        &self,
        ordinal: usize,
        row: &[Value],
        rt: &mut Runtime<'_>,
    ) -> Result<Value, SqlError> {
        let column = &self.table.columns[ordinal];
        match &column.default {
            Some(DefaultValue::Constant(value)) => Ok(value.clone()),
            Some(DefaultValue::Now(fsp)) => Ok(now_value(&column.sql_type, *fsp, rt.context.eval())),
            Some(DefaultValue::Expression(_)) => {
                let expr = &self.default_exprs[&ordinal];
                let value = eval_async(expr, row, rt).await?;
                self.store(ordinal, &value, &expr.sql_type, 1, rt)
            }
            None if column.nullable || column.auto_increment || column.generated.is_some() => Ok(Value::Null),
            None => {
                let text = format!("Field '{}' doesn't have a default value", column.name);
                // ENUM NOT NULL without a default begins with its first label, in every mode.
                if !matches!(column.sql_type, SqlType::Enum { .. }) {
                    if rt.context.eval().strict() {
                        return Err(SqlError::new(ErrorCode::NoDefaultForField, text));
                    }
                    let eval = rt.context.eval();
                    eval.push_warning(WarningLevel::Warning, ErrorCode::NoDefaultForField, text);
                }
                Ok(implicit_default(&column.sql_type))
            }
        }
    }

    /// A value as this column stores it. `row_number` is for the error texts.
    pub fn store(
        &self,
        ordinal: usize,
        value: &Value,
        from: &SqlType,
        row_number: u64,
        rt: &mut Runtime<'_>,
    ) -> Result<Value, SqlError> {
        let column = &self.table.columns[ordinal];
        let eval = rt.context.eval();
        let warned = eval.warnings.len();
        let stored = crate::dml::store_value(value, from, &column.sql_type, &column.name, row_number, eval);
        if !column.hidden {
            return stored;
        }
        let of_index = |code| crate::ddl::functional::of_index(&self.table, column, code, row_number);
        for warning in eval.warnings.iter_mut().skip(warned) {
            if let Some((code, message)) = of_index(warning.code) {
                (warning.code, warning.message) = (code, message);
            }
        }
        stored.map_err(|error| match of_index(error.code) {
            Some((code, message)) => SqlError::new(code, message),
            None => error,
        })
    }

    /// Computes the generated columns of a row.
    pub async fn generate(
        &self,
        row: &mut Row,
        row_number: u64,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        for computed in &self.generated {
            self.generate_one(computed, row, row_number, rt).await?;
        }
        Ok(())
    }

    /// Computes these columns of a row alone, by their ids: what others hold is as it was when the row was written.
    pub async fn generate_those(
        &self,
        columns: &[u32],
        row: &mut Row,
        row_number: u64,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        for computed in &self.generated {
            if columns.contains(&self.table.columns[computed.0].id) {
                self.generate_one(computed, row, row_number, rt).await?;
            }
        }
        Ok(())
    }

    async fn generate_one(
        &self,
        (ordinal, expr): &(usize, Expr),
        row: &mut Row,
        row_number: u64,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let value = eval_async(expr, row, rt).await?;
        let value = self.store(*ordinal, &value, &expr.sql_type, row_number, rt)?;
        let column = &self.table.columns[*ordinal];
        if value.is_null() && !column.nullable {
            return Err(cannot_be_null(&column.name));
        }
        row[*ordinal] = value;
        Ok(())
    }

    /// Checks the CHECK constraints of a row: error 3819 names the first that is false.
    pub async fn check(&self, row: &[Value], rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        for check in &self.checks {
            let value = eval_async(&check.expr, row, rt).await?;
            if truth(&value, rt)? == Some(false) {
                return Err(SqlError::new(
                    ErrorCode::CheckConstraintViolated,
                    format!("Check constraint '{}' is violated.", check.name),
                ));
            }
        }
        Ok(())
    }

    /// The keys of a new row that no other row may have, in the order of the indexes.
    pub fn exclusive_keys(&self, row: &[Value], key: &Key, slot: Slot) -> Vec<(Slot, Key)> {
        let mut out = Vec::new();
        if !self.table.hidden_row_id {
            out.push((slot, key.clone()));
        }
        for index in self.table.secondary_indexes().filter(|i| i.unique) {
            let entry = self.table.index_entry(index, row, key, slot);
            if entry.exclusive {
                out.push((entry.slot, entry.key));
            }
        }
        out
    }

    /// The first unique key that another row already has, in the order of the indexes. `except` is the row
    /// that is being replaced.
    pub async fn duplicate_of(
        &self,
        row: &[Value],
        key: &Key,
        slot: Slot,
        except: Option<&Stored>,
        rt: &mut Runtime<'_>,
    ) -> Result<Option<Duplicate>, SqlError> {
        let table = &self.table;
        let mut places: Vec<(Slot, Key)> = Vec::new();
        let mut indexes: Vec<&Index> = Vec::new();
        if !table.hidden_row_id && except.is_none_or(|old| old.key != *key) {
            places.push((slot, key.clone()));
            indexes.push(&table.indexes[0]);
        }
        for index in table.secondary_indexes().filter(|i| i.unique) {
            let entry = table.index_entry(index, row, key, slot);
            let unchanged = except.is_some_and(|old| {
                let old_slot = table.row_slot(&old.row, &old.key);
                table.index_entry(index, &old.row, &old.key, old_slot).key == entry.key
            });
            if entry.exclusive && !unchanged {
                places.push((entry.slot, entry.key));
                indexes.push(index);
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let found = rt.context.transaction().get_many(table.id, &places, ReadIntent::Plain).await?;
        for (((slot, entry_key), index), value) in places.into_iter().zip(indexes).zip(found) {
            let Some(value) = value else { continue };
            let (slot, holder) =
                if index.is_primary() { (slot, entry_key) } else { key::row_of_entry(&entry_key, &value)? };
            return Ok(Some(Duplicate {
                index: index.id,
                key: holder,
                slot,
                error: duplicate_entry(table, index, row),
            }));
        }
        Ok(None)
    }

    /// Reads a row.
    pub async fn fetch(
        &self,
        key: &Key,
        slot: Slot,
        rt: &mut Runtime<'_>,
    ) -> Result<Option<Stored>, SqlError> {
        let value = rt.context.transaction().get(self.table.id, slot, key, ReadIntent::Plain).await?;
        match value {
            Some(bytes) => Ok(Some(Stored { key: key.clone(), row: key::decode_row(&self.table, &bytes)? })),
            None => Ok(None),
        }
    }

    /// Buffers a new row with its entries. Constraints have been checked.
    pub fn put_new(
        &self,
        row: &[Value],
        key: &Key,
        slot: Slot,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let txn = rt.context.transaction();
        let table = &self.table;
        txn.write(table.id, Mutation::put(key.clone(), slot, row::encode(table, row)))?;
        for index in table.secondary_indexes() {
            let Entry { key, slot, value, .. } = table.index_entry(index, row, key, slot);
            txn.write(table.id, Mutation::put(key, slot, value))?;
        }
        if self.existence {
            txn.write(table.id, Mutation::lock(key::existence_key(key), slot))?;
        }
        Ok(())
    }

    /// Buffers the removal of a row with its entries.
    pub fn put_gone(&self, old: &Stored, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let txn = rt.context.transaction();
        let table = &self.table;
        let slot = table.row_slot(&old.row, &old.key);
        txn.write(table.id, Mutation::delete(old.key.clone(), slot))?;
        for index in table.secondary_indexes() {
            let entry = table.index_entry(index, &old.row, &old.key, slot);
            txn.write(table.id, Mutation::delete(entry.key, entry.slot))?;
        }
        if self.existence {
            txn.write(table.id, Mutation::lock(key::existence_key(&old.key), slot))?;
        }
        Ok(())
    }

    /// Buffers a changed row: entries that stay the same are not touched.
    pub fn put_changed(
        &self,
        old: &Stored,
        row: &[Value],
        key: &Key,
        slot: Slot,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let old_slot = self.table.row_slot(&old.row, &old.key);
        if old.key != *key || old_slot != slot {
            self.put_gone(old, rt)?;
            return self.put_new(row, key, slot, rt);
        }
        let txn = rt.context.transaction();
        let table = &self.table;
        txn.write(table.id, Mutation::put(key.clone(), slot, row::encode(table, row)))?;
        for index in table.secondary_indexes() {
            let before = table.index_entry(index, &old.row, key, slot);
            let after = table.index_entry(index, row, key, slot);
            if before != after {
                if before.key != after.key || before.slot != after.slot {
                    txn.write(table.id, Mutation::delete(before.key, before.slot))?;
                }
                txn.write(table.id, Mutation::put(after.key, after.slot, after.value))?;
            }
        }
        Ok(())
    }
}

/// Error 1062 for these values.
pub fn duplicate_entry(table: &Table, index: &Index, row: &[Value]) -> SqlError {
    let parts: Vec<String> = index
        .parts
        .iter()
        .map(|part| {
            let column = table.indexed_column(part);
            let value = table.value_of(part, row);
            if value.is_null() {
                return "NULL".to_string();
            }
            let text = assize_values::format::to_string(value, &column.sql_type);
            match part.prefix {
                Some(n) => text.chars().take(n as usize).collect(),
                None => text,
            }
        })
        .collect();
    // MySQL cuts the values at 64 characters or so; a long key says enough by its beginning.
    let mut values = parts.join("-");
    if values.chars().count() > 192 {
        values = values.chars().take(192).collect::<String>() + "...";
    }
    SqlError::new(
        ErrorCode::DuplicateEntry,
        format!("Duplicate entry '{values}' for key '{}.{}'", table.name, index.name),
    )
}

/// Error 1048.
pub fn cannot_be_null(column: &str) -> SqlError {
    SqlError::new(ErrorCode::ColumnCannotBeNull, format!("Column '{column}' cannot be null"))
}

/// CURRENT_TIMESTAMP(fsp) as a column of this type stores it.
pub fn now_value(sql_type: &SqlType, fsp: u8, eval: &EvalContext) -> Value {
    let unit = 10_i64.pow(6 - u32::from(fsp.min(6)));
    let micros = eval.now_micros.div_euclid(unit) * unit;
    match sql_type {
        SqlType::Timestamp { .. } => Value::Timestamp(micros),
        _ => Value::DateTime(assize_values::temporal::timestamp_to_local(micros, &eval.time_zone)),
    }
}

/// What a NOT NULL column without default gets outside of strict modes: zero, empty, the first label.
pub fn implicit_default(sql_type: &SqlType) -> Value {
    use assize_values::{Date, DateTime, Decimal, Json, Text, Time};
    match sql_type {
        SqlType::Null => Value::Null,
        SqlType::Int(int) if int.unsigned => Value::UInt(0),
        SqlType::Int(_) => Value::Int(0),
        SqlType::Float { .. } => Value::Float(0.0),
        SqlType::Double { .. } => Value::Double(0.0),
        SqlType::Decimal { scale, .. } => Value::Decimal(Decimal::new(0, *scale)),
        SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::Text { .. } => Value::Text(Text::default()),
        SqlType::Binary { length } => Value::Bytes(vec![0; *length as usize].into()),
        SqlType::VarBinary { .. } | SqlType::Blob { .. } => Value::Bytes(bytes::Bytes::new()),
        SqlType::Date => Value::Date(Date::default()),
        SqlType::Time { .. } => Value::Time(Time::default()),
        SqlType::DateTime { .. } => Value::DateTime(DateTime::default()),
        SqlType::Timestamp { .. } => Value::Timestamp(assize_values::temporal::ZERO_TIMESTAMP),
        SqlType::Year => Value::UInt(0),
        SqlType::Bit { .. } => Value::Bit(0),
        SqlType::Enum { labels, .. } => match labels.first() {
            Some(label) => Value::Enum(1, label.clone()),
            None => Value::Enum(0, "".into()),
        },
        SqlType::Set { .. } => Value::Set(0, "".into()),
        SqlType::Json => Value::Json(Arc::new(Json::Null)),
    }
}
