//! INSERT and REPLACE.

use super::foreign::{Changes, NewRows};
use super::through::{self, Target, require_target};
use super::writer::{Stored, Writer, Writers, cannot_be_null, implicit_default};
use super::{Statement, WRITE, ignored, stored_table};
use crate::bind::{Binder, Place, Scope, ScopeTable};
use crate::constraints::foreign;
use crate::exec::{collect, open};
use crate::expr::{ColumnId, Expr, Layout, Row, Runtime, eval_async};
use crate::infoschema::SystemTables;
use crate::plan::plan_query;
use assize_catalog::key::{self, hidden_id_counter};
use assize_catalog::{Table, same_name};
use assize_model::{ErrorCode, Key, Slot, SqlError, TableId, WarningLevel};
use assize_ports::{Executed, ReadIntent, StatementContext};
use assize_sql::{Assignment, Insert, InsertSource, ValueExpr};
use assize_values::{IntType, IntWidth, SqlMode, SqlType, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Runs INSERT or REPLACE.
pub async fn insert(
    insert: &Insert,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let named = stored_table(&insert.table, context)?;
    let mut rt = Runtime::new(context, params);
    let target = match named.view {
        None => None,
        Some(_) => {
            let target = through::target_of(&named, &mut rt)?;
            Some(target.ok_or_else(|| not_insertable(&insert.table.name))?)
        }
    };
    let (table, via) = match &target {
        None => (&named, None),
        Some(target) => (&target.table, Some(&*target.via)),
    };
    require_target("INSERT", table, via, &rt)?;
    if insert.replace {
        require_target("DELETE", table, via, &rt)?;
    }
    if !insert.on_duplicate.is_empty() {
        require_target("UPDATE", table, via, &rt)?;
    }
    if !insert.partitions.is_empty() {
        return Err(SqlError::not_supported("INSERT … PARTITION"));
    }
    let statement = Statement::begin(insert.ignore, &mut rt);
    let table = table.clone();
    let result = run(insert, &table, target, &statement, &mut rt).await;
    statement.end(result, &mut rt)
}

/// Error 1471.
fn not_insertable(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::NonInsertableTable,
        format!("The target table {name} of the INSERT is not insertable-into"),
    )
}

async fn run(
    insert: &Insert,
    table: &Arc<Table>,
    target: Option<Target>,
    statement: &Statement,
    rt: &mut Runtime<'_>,
) -> Result<Executed, SqlError> {
    let mut inserter = Inserter::new(insert, table, target, rt)?;
    let multiple = match &insert.source {
        InsertSource::Values(rows) => {
            inserter.check_counts(rows)?;
            inserter.planned = rows.len() as u64;
            let compiled = inserter.bind_rows(rows, rt)?;
            for row in compiled {
                rt.worked(WRITE).await?;
                let written = inserter.values_row(row, rt).await;
                inserter.after(written, rt).await?;
            }
            rows.len() > 1
        }
        InsertSource::Query(query) => {
            let planned = {
                let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
                let bound = binder.query(query, None)?;
                let planned = plan_query(bound, &mut binder)?;
                binder.claim(|_| false)?;
                planned
            };
            if planned.plan.columns.len() != inserter.targets.len() {
                return Err(count_mismatch(1));
            }
            let types: Vec<SqlType> =
                planned.plan.columns.iter().map(|c| c.result.sql_type.clone()).collect();
            let mut operator = open(&planned.plan.root);
            // A statement that reads the table it fills must not meet its own rows.
            // Two foreign tables may be one on their server.
            let reads_itself = planned
                .tables
                .iter()
                .any(|t| t.id == table.id || (t.foreign.is_some() && table.foreign.is_some()));
            let mut kept = if reads_itself { Some(collect(&mut *operator, rt).await?) } else { None };
            loop {
                let page = match &mut kept {
                    Some(rows) if rows.is_empty() => break,
                    Some(rows) => std::mem::take(rows),
                    None => match operator.next(rt).await? {
                        Some(page) => page,
                        None => break,
                    },
                };
                inserter.planned = inserter.row_number + page.len() as u64;
                for values in page {
                    rt.worked(WRITE).await?;
                    let written = inserter.query_row(values, &types, rt).await;
                    inserter.after(written, rt).await?;
                }
            }
            true
        }
    };
    inserter.flush(rt).await?;
    let warnings = statement.warnings(rt);
    Ok(inserter.finish(multiple, warnings, rt))
}

/// One cell of a VALUES row, bound.
enum Cell {
    Default,
    Expr(Expr),
    /// `DEFAULT` within an expression is bound as a column's default.
    Missing,
}

/// What ON DUPLICATE KEY UPDATE assigns: column and expression over (old row, new row).
struct OnDuplicate {
    assignments: Vec<(usize, Option<Expr>)>,
}

/// Inserts rows one after the other.
pub(crate) struct Inserter {
    writer: Arc<Writer>,
    writers: Writers,
    /// Rows that go to another server, if the table is there.
    there: Option<NewRows>,
    table: Arc<Table>,
    /// Ordinals of the columns that are given values.
    targets: Vec<usize>,
    /// The view through which it inserts.
    target: Option<Target>,
    replace: bool,
    ignore: bool,
    on_duplicate: Option<OnDuplicate>,
    /// How many rows will still come, as far as is known: ids are taken for all of them at once.
    pub(crate) planned: u64,
    ids: IdSource,
    /// Hidden row ids of a table without primary key.
    hidden_ids: IdSource,
    /// Rows whose unique keys are still to be looked up, all in one request.
    pending: Vec<PendingRow>,
    /// Rows wait for one another also where a taken key is no error.
    gathers: bool,
    row_number: u64,
    inserted: u64,
    replaced: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    insert_id: u64,
    /// The id of the last row that was given one, or was updated.
    explicit_id: u64,
}

/// A complete row that waits to be written.
struct PendingRow {
    row: Row,
    key: Key,
    slot: Slot,
    generated_id: Option<u64>,
    /// How many warnings were kept before those of writing it.
    warned: usize,
}

/// Rows whose unique keys are looked up together.
const PENDING_MAX: usize = 256;
/// Ids that are taken at once for rows of a file that may not come.
const FILE_IDS_MAX: u64 = 4096;

/// AUTO_INCREMENT values of one statement.
#[derive(Default)]
struct IdSource {
    next: u64,
    left: u64,
    step: u64,
    /// The greatest value given explicitly so far: generated ones go on behind it.
    floor: u64,
}

impl IdSource {
    async fn take(&mut self, table: TableId, wanted: u64, rt: &mut Runtime<'_>) -> Result<u64, SqlError> {
        loop {
            if self.left == 0 {
                let mut count = wanted.max(1);
                if self.floor >= self.next && self.step > 0 {
                    count = count.saturating_add((self.floor - self.next) / self.step + 1);
                }
                let range = rt.context.transaction().allocate_ids(table, count).await?;
                self.next = range.first;
                self.left = range.count;
                self.step = range.increment.max(1);
            }
            if self.next <= self.floor && self.floor != 0 {
                // Values up to the floor are taken; skip them, as far as this run of values goes.
                let skip = ((self.floor - self.next) / self.step + 1).min(self.left);
                self.next = self.next.saturating_add(skip * self.step);
                self.left -= skip;
                continue;
            }
            let id = self.next;
            self.next = self.next.saturating_add(self.step);
            self.left -= 1;
            return Ok(id);
        }
    }
}

impl Inserter {
    fn new(
        insert: &Insert,
        table: &Arc<Table>,
        target: Option<Target>,
        rt: &mut Runtime<'_>,
    ) -> Result<Self, SqlError> {
        let names = target.as_ref().map_or(table, |target| &target.names);
        let targets = match (&target, &insert.columns) {
            (Some(target), None) => target.shown.clone(),
            _ => target_columns(names, insert.columns.as_deref())?,
        };
        let mut inserter = Inserter::into_columns(table, targets, insert.replace, insert.ignore, rt)?;
        if !insert.on_duplicate.is_empty() {
            let targets = &inserter.targets;
            inserter.on_duplicate = Some(bind_on_duplicate(insert, names, targets, &inserter.writer, rt)?);
        }
        inserter.target = target;
        Ok(inserter)
    }

    /// An inserter of rows that have values for these columns.
    pub(crate) fn into_columns(
        table: &Arc<Table>,
        targets: Vec<usize>,
        replace: bool,
        ignore: bool,
        rt: &mut Runtime<'_>,
    ) -> Result<Self, SqlError> {
        let mut writers = Writers::default();
        let writer = writers.of(table, rt)?;
        let there = NewRows::of(table, replace, ignore, rt)?;
        Ok(Inserter {
            writer,
            writers,
            there,
            table: table.clone(),
            targets,
            target: None,
            replace,
            ignore,
            on_duplicate: None,
            planned: 0,
            ids: IdSource::default(),
            hidden_ids: IdSource::default(),
            pending: Vec::new(),
            gathers: !replace && !ignore,
            row_number: 0,
            inserted: 0,
            replaced: 0,
            updated: 0,
            unchanged: 0,
            skipped: 0,
            insert_id: 0,
            explicit_id: 0,
        })
    }

    /// If a row failed, the rows before it that still wait are written first: their errors come first.
    async fn after(&mut self, written: Result<(), SqlError>, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        if written.is_err() {
            self.flush(rt).await?;
        }
        written
    }

    fn check_counts(&self, rows: &[Vec<ValueExpr>]) -> Result<(), SqlError> {
        for (i, row) in rows.iter().enumerate() {
            // An empty row stands for all defaults, but only beside an empty or absent column list.
            let all_defaults = row.is_empty() && (rows.len() == 1 || rows.iter().all(Vec::is_empty));
            if row.len() != self.targets.len() && !all_defaults {
                return Err(count_mismatch(i + 1));
            }
        }
        Ok(())
    }

    fn bind_rows(&self, rows: &[Vec<ValueExpr>], rt: &mut Runtime<'_>) -> Result<Vec<Vec<Cell>>, SqlError> {
        // Columns named before may be mentioned: INSERT INTO t SET a = 1, b = a + 1.
        let names = self.target.as_ref().map_or(&self.table, |target| &target.names);
        let scope = Scope::of_table(names, &names.name);
        let ids: Vec<ColumnId> = scope.all_columns().map(|(_, c)| c.id).collect();
        let layout = Layout::of(&ids);
        let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
        // Columns of subqueries are others than the table's.
        binder.next_id = ids.len() as u32;
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cells = Vec::with_capacity(self.targets.len());
            for value in row {
                cells.push(match value {
                    ValueExpr::Default => Cell::Default,
                    ValueExpr::Expr(ast) => {
                        let mut bound = binder.expr(ast, Place::plain(&scope, "field list"))?;
                        let mut outer = Vec::new();
                        bound.resolve(&layout, &mut outer);
                        Cell::Expr(bound)
                    }
                });
            }
            if row.is_empty() {
                cells.resize_with(self.targets.len(), || Cell::Missing);
            }
            out.push(cells);
        }
        binder.claim(|_| false)?;
        Ok(out)
    }

    async fn values_row(&mut self, cells: Vec<Cell>, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        self.row_number += 1;
        let mut row: Row = self.blank_row();
        let mut given = vec![false; self.table.columns.len()];
        let targets = self.targets.clone();
        // Constant defaults first, so that an expression that mentions a column not yet assigned sees them.
        for (ordinal, cell) in row.iter_mut().enumerate() {
            if let Some(assize_catalog::DefaultValue::Constant(value)) = &self.table.columns[ordinal].default
            {
                *cell = value.clone();
            }
        }
        for (ordinal, cell) in targets.into_iter().zip(cells) {
            match cell {
                Cell::Default | Cell::Missing => {}
                Cell::Expr(expr) => {
                    if self.table.columns[ordinal].generated.is_some() {
                        refuse_generated(&self.table, ordinal, rt)?;
                        continue;
                    }
                    let value = eval_async(&expr, &row, rt).await?;
                    let from = expr.sql_type;
                    match self.assign(ordinal, &value, &from, rt) {
                        Ok(value) => row[ordinal] = value,
                        Err(error) => {
                            ignored(error, self.ignore, rt)?;
                            row[ordinal] = implicit_default(&self.table.columns[ordinal].sql_type);
                        }
                    }
                    given[ordinal] = true;
                }
            }
        }
        self.complete_row(row, &given, rt).await
    }

    /// Inserts a row whose values come from a query or a file.
    pub(crate) async fn query_row(
        &mut self,
        values: Row,
        types: &[SqlType],
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        self.row_number += 1;
        let mut row = self.blank_row();
        let mut given = vec![false; self.table.columns.len()];
        for ((ordinal, value), from) in self.targets.clone().into_iter().zip(values).zip(types) {
            if self.table.columns[ordinal].generated.is_some() {
                refuse_generated(&self.table, ordinal, rt)?;
                continue;
            }
            match self.assign(ordinal, &value, from, rt) {
                Ok(value) => row[ordinal] = value,
                Err(error) => {
                    ignored(error, self.ignore, rt)?;
                    row[ordinal] = implicit_default(&self.table.columns[ordinal].sql_type);
                }
            }
            given[ordinal] = true;
        }
        self.complete_row(row, &given, rt).await
    }

    /// Begins a row of a file of unknown length: its values so far, which are the constant defaults. Ids are taken for more and
    /// more rows at once.
    pub(super) fn begin_file_row(&mut self) -> Row {
        self.gathers = true;
        self.planned = self.row_number + 1 + self.row_number.min(FILE_IDS_MAX);
        self.row_number += 1;
        let default = |column: &assize_catalog::Column| match &column.default {
            Some(assize_catalog::DefaultValue::Constant(value)) => value.clone(),
            _ => Value::Null,
        };
        self.table.columns.iter().map(default).collect()
    }

    /// The number of the row that is being inserted, from 1.
    pub(super) fn row_number(&self) -> u64 {
        self.row_number
    }

    fn blank_row(&self) -> Row {
        vec![Value::Null; self.table.columns.len()]
    }

    /// A value for a column. NULL stays NULL here for AUTO_INCREMENT, which makes an id of it.
    pub(super) fn assign(
        &self,
        ordinal: usize,
        value: &Value,
        from: &SqlType,
        rt: &mut Runtime<'_>,
    ) -> Result<Value, SqlError> {
        let column = &self.table.columns[ordinal];
        if value.is_null() {
            if column.nullable || column.auto_increment {
                return Ok(Value::Null);
            }
            // Several rows outside of strict modes: NULL becomes the implicit default.
            let lenient = self.ignore || (self.planned > 1 && !rt.context.eval().strict());
            if lenient {
                let error = cannot_be_null(&column.name);
                rt.context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
                return Ok(implicit_default(&column.sql_type));
            }
            return Err(cannot_be_null(&column.name));
        }
        self.writer.store(ordinal, value, from, self.row_number, rt)
    }

    /// Fills in what was not given, checks, and writes.
    pub(super) async fn complete_row(
        &mut self,
        mut row: Row,
        given: &[bool],
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        let table = self.table.clone();
        for ordinal in 0..table.columns.len() {
            if !given[ordinal] && table.columns[ordinal].generated.is_none() {
                let value = self.writer.default_of(ordinal, &row, rt).await;
                row[ordinal] = value.map_err(|error| self.not_shown(ordinal, error))?;
            }
        }
        let mut generated_id = None;
        if let Some(ordinal) = table.auto_increment() {
            generated_id = self.auto_increment(ordinal, &mut row, rt).await?;
        }
        if let Err(error) = self.writer.generate(&mut row, self.row_number, rt).await {
            self.skipped += 1;
            return ignored(error, self.ignore, rt);
        }
        let mut checked = self.writer.check(&row, rt).await;
        if let (Ok(()), Some(target)) = (&checked, &self.target) {
            checked = target.guard.check(&row, rt).await;
        }
        if let Err(error) = checked {
            self.skipped += 1;
            return ignored(error, self.ignore, rt);
        }
        self.write(row, generated_id, rt).await
    }

    /// A column without default that the view does not even show is told of as the view's.
    fn not_shown(&self, ordinal: usize, error: SqlError) -> SqlError {
        match &self.target {
            Some(target)
                if error.code == ErrorCode::NoDefaultForField && !target.shown.contains(&ordinal) =>
            {
                SqlError::new(
                    ErrorCode::NoDefaultForViewField,
                    format!(
                        "Field of view '{}.{}' underlying table doesn't have a default value",
                        target.view.database, target.view.name
                    ),
                )
            }
            _ => error,
        }
    }

    /// Gives the AUTO_INCREMENT column its value; returns it if it was generated.
    async fn auto_increment(
        &mut self,
        ordinal: usize,
        row: &mut Row,
        rt: &mut Runtime<'_>,
    ) -> Result<Option<u64>, SqlError> {
        let zero_too = !rt.context.eval().sql_mode.contains(SqlMode::NO_AUTO_VALUE_ON_ZERO);
        let explicit = match &row[ordinal] {
            Value::Null => None,
            Value::Int(n) => Some(*n as i128),
            Value::UInt(n) => Some(*n as i128),
            Value::Float(n) => Some(*n as i128),
            Value::Double(n) => Some(*n as i128),
            _ => Some(1),
        };
        if let Some(n) = explicit
            && !(n == 0 && zero_too)
        {
            // Clients are told all 64 bits, as by MySQL; ids go on behind positive ones.
            self.explicit_id = n as u64;
            if let Ok(id) = u64::try_from(n) {
                self.ids.floor = self.ids.floor.max(id);
                if self.there.is_none() {
                    rt.context.transaction().note_explicit_id(self.table.id, id);
                }
            }
            return Ok(None);
        }
        if self.there.is_some() {
            // Its server makes one.
            row[ordinal] = Value::Null;
            return Ok(None);
        }
        let wanted = self.planned.saturating_sub(self.row_number - 1);
        let id = self.ids.take(self.table.id, wanted, rt).await?;
        row[ordinal] = id_value(&self.table.columns[ordinal].sql_type, id)?;
        Ok(Some(id))
    }

    /// The key and slot of a new row.
    async fn place(&mut self, row: &[Value], rt: &mut Runtime<'_>) -> Result<(Key, Slot), SqlError> {
        let key = match self.table.row_key(row) {
            Some(key) => key,
            None => {
                let wanted = (self.planned + 1).saturating_sub(self.row_number);
                let id = self.hidden_ids.take(hidden_id_counter(self.table.id), wanted, rt).await?;
                key::hidden_row_key(self.table.id, id)
            }
        };
        let slot = self.table.row_slot(row, &key);
        Ok((key, slot))
    }

    /// Writes a complete row, or keeps it until enough have come together.
    async fn write(
        &mut self,
        row: Row,
        generated_id: Option<u64>,
        rt: &mut Runtime<'_>,
    ) -> Result<(), SqlError> {
        if let Some(there) = &mut self.there {
            if self.on_duplicate.is_some() {
                return self.write_or_update_there(row, rt).await;
            }
            return if there.add(&row) { self.send(rt).await } else { Ok(()) };
        }
        let (key, slot) = self.place(&row, rt).await?;
        let warned = rt.context.eval().warnings.len();
        let pending = PendingRow { row, key, slot, generated_id, warned };
        if !self.gathers || self.on_duplicate.is_some() {
            return self.write_alone(pending, rt).await;
        }
        self.pending.push(pending);
        if self.pending.len() >= PENDING_MAX { self.flush(rt).await } else { Ok(()) }
    }

    /// Sends rows to the server that has the table.
    async fn send(&mut self, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let Some(there) = &mut self.there else { return Ok(()) };
        let sent = there.send(rt).await?;
        if self.replace {
            self.inserted += sent.rows;
            self.replaced += sent.affected.saturating_sub(sent.rows);
        } else {
            self.inserted += sent.affected.min(sent.rows);
            self.skipped += sent.rows.saturating_sub(sent.affected);
        }
        if self.insert_id == 0 {
            self.insert_id = sent.insert_id;
        }
        Ok(())
    }

    /// ON DUPLICATE KEY UPDATE of a row of another server: which row is in the way, the server tells by refusing.
    async fn write_or_update_there(&mut self, row: Row, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let Some(there) = &mut self.there else { return Ok(()) };
        there.add(&row);
        let refused = match there.send_one(rt).await {
            Ok(sent) => {
                self.inserted += 1;
                if self.insert_id == 0 {
                    self.insert_id = sent.insert_id;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if refused.code != ErrorCode::DuplicateEntry {
            self.skipped += 1;
            return ignored(refused, self.ignore, rt);
        }
        match there.holder(&row, rt).await? {
            Some(old) => self.update_instead(old, row, rt).await,
            None => Err(refused),
        }
    }

    /// Writes the rows that wait, with one look at all of their unique keys.
    pub(super) async fn flush(&mut self, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        if self.there.is_some() {
            return self.send(rt).await;
        }
        let rows = std::mem::take(&mut self.pending);
        let mut places = Vec::new();
        let mut of_row = Vec::with_capacity(rows.len());
        for pending in &rows {
            let keys = self.writer.exclusive_keys(&pending.row, &pending.key, pending.slot);
            of_row.push(keys.len());
            places.extend(keys);
        }
        let found = if places.is_empty() {
            Vec::new()
        } else {
            rt.context.transaction().get_many(self.table.id, &places, ReadIntent::Plain).await?
        };
        let mut taken: BTreeSet<Key> = BTreeSet::new();
        let mut at = 0;
        let mut moved = 0;
        for (pending, count) in rows.into_iter().zip(of_row) {
            let mine = at..at + count;
            at += count;
            let (warned, kept) = (pending.warned + moved, rt.context.eval().warnings.len());
            let clash = found[mine.clone()].iter().any(Option::is_some)
                || places[mine.clone()].iter().any(|(_, key)| taken.contains(key));
            taken.extend(places[mine].iter().map(|(_, key)| key.clone()));
            if clash {
                // Looked at again alone: the error names the key, a generated id is drawn again.
                self.write_alone(pending, rt).await?;
            } else {
                self.write_checked(pending, rt).await?;
            }
            // Warnings are told in the order of the rows, and later rows have been read already.
            let warnings = &mut rt.context.eval().warnings;
            let own = warnings.split_off(kept);
            moved += own.len();
            warnings.splice(warned..warned, own);
        }
        Ok(())
    }

    /// Writes a complete row, or does what is to be done instead if a unique key is taken.
    async fn write_alone(&mut self, pending: PendingRow, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let PendingRow { mut row, mut key, mut slot, mut generated_id, warned } = pending;
        loop {
            let Some(duplicate) = self.writer.duplicate_of(&row, &key, slot, None, rt).await? else {
                break;
            };
            // A generated id that somebody has stored explicitly meanwhile is drawn again.
            if generated_id.is_some()
                && let Some(ordinal) = self.table.auto_increment()
                && self.is_key_of(duplicate.index, ordinal)
            {
                let id = self.ids.take(self.table.id, 1, rt).await?;
                row[ordinal] = id_value(&self.table.columns[ordinal].sql_type, id)?;
                generated_id = Some(id);
                (key, slot) = self.place(&row, rt).await?;
                continue;
            }
            if self.replace {
                let old = self.holder(&duplicate.key, duplicate.slot, rt).await?;
                let writer = self.writer.clone();
                foreign::delete_row(&writer, &old, 0, &mut self.writers, rt).await?;
                self.replaced += 1;
                continue;
            }
            if self.on_duplicate.is_some() {
                let old = self.holder(&duplicate.key, duplicate.slot, rt).await?;
                return self.update_instead(old, row, rt).await;
            }
            self.skipped += 1;
            return ignored(duplicate.error, self.ignore, rt);
        }
        self.write_checked(PendingRow { row, key, slot, generated_id, warned }, rt).await
    }

    /// Writes a row whose unique keys are free.
    async fn write_checked(&mut self, pending: PendingRow, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let PendingRow { row, key, slot, generated_id, .. } = pending;
        let writer = self.writer.clone();
        if let Err(error) = foreign::check_parents(&writer, &row, None, &mut self.writers, rt).await {
            self.skipped += 1;
            return ignored(error, self.ignore, rt);
        }
        self.writer.put_new(&row, &key, slot, rt)?;
        self.inserted += 1;
        if let Some(id) = generated_id
            && self.insert_id == 0
        {
            self.insert_id = id;
        }
        Ok(())
    }

    /// Whether an index consists of the AUTO_INCREMENT column alone: then a taken value is a taken id.
    fn is_key_of(&self, index: assize_model::IndexId, ordinal: usize) -> bool {
        let column = self.table.columns[ordinal].id;
        self.table.indexes.iter().any(|i| i.id == index && i.parts.len() == 1 && i.parts[0].column == column)
    }

    async fn holder(&self, key: &Key, slot: Slot, rt: &mut Runtime<'_>) -> Result<Stored, SqlError> {
        self.writer
            .fetch(key, slot, rt)
            .await?
            .ok_or_else(|| foreign::dangling(&self.table, &self.table.indexes[0]))
    }

    /// ON DUPLICATE KEY UPDATE.
    async fn update_instead(&mut self, old: Stored, new: Row, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let writer = self.writer.clone();
        let mut row = old.row.clone();
        let mut explicit = vec![false; row.len()];
        let width = row.len();
        let assignments = self.on_duplicate.as_ref().map_or(0, |o| o.assignments.len());
        for at in 0..assignments {
            let Some(on_duplicate) = &self.on_duplicate else { break };
            let (ordinal, expr) = &on_duplicate.assignments[at];
            let ordinal = *ordinal;
            let value = match expr {
                Some(expr) => {
                    let mut input = Vec::with_capacity(2 * width);
                    input.extend_from_slice(&row);
                    input.extend_from_slice(&new);
                    let value = eval_async(expr, &input, rt).await?;
                    assign_update(&writer, ordinal, &value, &expr.sql_type, self.row_number, rt)?
                }
                None => writer.default_of(ordinal, &row, rt).await?,
            };
            row[ordinal] = value;
            explicit[ordinal] = true;
        }
        let updated = finish_update(&writer, &old, &mut row, &explicit, self.row_number, rt).await?;
        if !updated {
            self.unchanged += 1;
            return Ok(());
        }
        let mark = rt.context.transaction().mark();
        let mut there = Changes::of(&self.table, true, rt)?;
        let guard = self.target.as_ref().map(|target| &target.guard);
        let checked = async {
            writer.check(&row, rt).await?;
            if let Some(guard) = guard {
                guard.check(&row, rt).await?;
            }
            if let Some(there) = &mut there {
                return there.update(&old.row, &row, rt).await;
            }
            foreign::check_parents(&writer, &row, Some(&old.row), &mut self.writers, rt).await?;
            foreign::update_row(&writer, &old, &row, 0, &mut self.writers, rt).await.map(|_| ())
        };
        if let Err(error) = checked.await {
            self.skipped += 1;
            ignored(error, self.ignore, rt)?;
            rt.context.transaction().undo_to(mark);
            return Ok(());
        }
        self.updated += 1;
        if let Some(ordinal) = self.table.auto_increment() {
            let id = match &row[ordinal] {
                Value::Int(n) => i128::from(*n),
                Value::UInt(n) => i128::from(*n),
                _ => 0,
            };
            self.explicit_id = id as u64;
            if self.there.is_none()
                && row[ordinal] != old.row[ordinal]
                && let Ok(id @ 1..) = u64::try_from(id)
            {
                rt.context.transaction().note_explicit_id(self.table.id, id);
            }
        }
        Ok(())
    }

    /// What LOAD DATA did. Its OK packet tells no id, as in MySQL.
    pub(super) fn finish_file(self, warnings: u64, rt: &mut Runtime<'_>) -> Executed {
        if self.insert_id != 0 {
            rt.context.set_last_insert_id(self.insert_id);
        }
        let (records, deleted, skipped) = (self.row_number, self.replaced, self.skipped);
        let changed = self.inserted + deleted;
        let info =
            format!("Records: {records}  Deleted: {deleted}  Skipped: {skipped}  Warnings: {warnings}");
        Executed::Affected { changed, matched: changed, insert_id: 0, info }
    }

    /// What the statement did.
    pub(crate) fn finish(self, multiple: bool, warnings: u64, rt: &mut Runtime<'_>) -> Executed {
        if self.insert_id != 0 {
            rt.context.set_last_insert_id(self.insert_id);
        }
        let changed = self.inserted + self.replaced + 2 * self.updated;
        let matched = changed + self.unchanged;
        let info = if multiple {
            let duplicates =
                if self.ignore { self.skipped } else { self.replaced + self.updated + self.unchanged };
            format!("Records: {}  Duplicates: {duplicates}  Warnings: {warnings}", self.row_number)
        } else {
            String::new()
        };
        let set = rt.context.eval().environment.last_insert_id_set;
        let insert_id = match (self.insert_id, set) {
            (0, Some(id)) => id,
            (0, None) => self.explicit_id,
            (id, _) => id,
        };
        Executed::Affected { changed, matched, insert_id, info }
    }
}

/// The columns that an INSERT gives values to; without a list, all that are visible.
pub(crate) fn target_columns(table: &Table, named: Option<&[String]>) -> Result<Vec<usize>, SqlError> {
    match named {
        None => Ok((0..table.columns.len()).filter(|i| !table.columns[*i].invisible).collect()),
        Some(names) => {
            let mut out = Vec::with_capacity(names.len());
            for name in names {
                let ordinal =
                    table.ordinal(name).ok_or_else(|| crate::bind::unknown_column(name, "field list"))?;
                if out.contains(&ordinal) {
                    return Err(SqlError::new(
                        ErrorCode::FieldSpecifiedTwice,
                        format!("Column '{name}' specified twice"),
                    ));
                }
                out.push(ordinal);
            }
            Ok(out)
        }
    }
}

/// Binds ON DUPLICATE KEY UPDATE over a row of the stored values followed by the values that were to be
/// inserted: `VALUES(c)` and the row alias mean the latter.
fn bind_on_duplicate(
    insert: &Insert,
    table: &Arc<Table>,
    targets: &[usize],
    writer: &Writer,
    rt: &mut Runtime<'_>,
) -> Result<OnDuplicate, SqlError> {
    let mut next = 0;
    let stored = ScopeTable::stored(table, &table.name, &mut next);
    let alias = insert.row_alias.as_ref();
    let mut fresh = ScopeTable::stored(table, alias.map_or("VALUES", |a| a.name.as_str()), &mut next);
    if let Some(alias) = alias.filter(|a| !a.columns.is_empty()) {
        if alias.columns.len() != targets.len() {
            return Err(SqlError::new(
                ErrorCode::ColumnCountMismatch,
                "Column count doesn't match value count at row 1",
            ));
        }
        for (name, ordinal) in alias.columns.iter().zip(targets) {
            fresh.columns[*ordinal].name = name.as_str().into();
        }
    }
    let ids: Vec<ColumnId> =
        stored.columns.iter().map(|c| c.id).chain(fresh.columns.iter().map(|c| c.id)).collect();
    let mut scope = Scope::new(vec![stored], None);
    scope.values_table = Some(fresh.clone());
    if let Some(alias) = alias {
        // Names without a table mean the stored row; the alias' own column names are added where they differ.
        if alias.columns.is_empty() {
            for column in &mut fresh.columns {
                column.merged = true;
            }
        }
        scope.tables.push(fresh);
    }
    let layout = Layout::of(&ids);
    let mut assignments = Vec::with_capacity(insert.on_duplicate.len());
    let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
    binder.next_id = next;
    for Assignment { column, value } in &insert.on_duplicate {
        let ordinal = assigned_column(table, &table.name, column)?;
        if writer.table.columns[ordinal].generated.is_some() && !matches!(value, ValueExpr::Default) {
            return Err(generated_value(table, ordinal));
        }
        let expr = match value {
            ValueExpr::Default => None,
            ValueExpr::Expr(ast) => {
                let mut bound = binder.expr(ast, Place::plain(&scope, "field list"))?;
                let mut outer = Vec::new();
                bound.resolve(&layout, &mut outer);
                Some(bound)
            }
        };
        assignments.push((ordinal, expr));
    }
    binder.claim(|_| false)?;
    Ok(OnDuplicate { assignments })
}

/// The column that an assignment means.
pub(crate) fn assigned_column(
    table: &Table,
    alias: &str,
    column: &assize_sql::ColumnName,
) -> Result<usize, SqlError> {
    let unknown = || {
        let mut name = column.name.clone();
        if let Some(table) = &column.table {
            name = format!("{table}.{name}");
        }
        crate::bind::unknown_column(&name, "field list")
    };
    if column.table.as_deref().is_some_and(|t| t != alias && !same_name(t, alias)) {
        return Err(unknown());
    }
    table.ordinal(&column.name).ok_or_else(unknown)
}

/// A value that UPDATE assigns to a column.
pub(crate) fn assign_update(
    writer: &Writer,
    ordinal: usize,
    value: &Value,
    from: &SqlType,
    row_number: u64,
    rt: &mut Runtime<'_>,
) -> Result<Value, SqlError> {
    let column = &writer.table.columns[ordinal];
    if value.is_null() && !column.nullable {
        let error = cannot_be_null(&column.name);
        if rt.context.eval().strict() {
            return Err(error);
        }
        rt.context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
        return Ok(implicit_default(&column.sql_type));
    }
    writer.store(ordinal, value, from, row_number, rt)
}

/// Completes an updated row: whether anything changed, ON UPDATE CURRENT_TIMESTAMP, generated columns.
pub(crate) async fn finish_update(
    writer: &Writer,
    old: &Stored,
    row: &mut Row,
    explicit: &[bool],
    row_number: u64,
    rt: &mut Runtime<'_>,
) -> Result<bool, SqlError> {
    writer.generate(row, row_number, rt).await?;
    if *row == old.row {
        return Ok(false);
    }
    let mut touched = false;
    for (ordinal, column) in writer.table.columns.iter().enumerate() {
        if let Some(fsp) = column.on_update_now
            && !explicit[ordinal]
        {
            row[ordinal] = super::writer::now_value(&column.sql_type, fsp, rt.context.eval());
            touched = true;
        }
    }
    if touched {
        writer.generate(row, row_number, rt).await?;
    }
    Ok(true)
}

/// Refuses a value for a generated column in strict modes. Outside of them it is left out with a warning: dump
/// tools of MariaDB write such values, and switch strict modes off before they load them.
pub(super) fn refuse_generated(table: &Table, ordinal: usize, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
    let error = generated_value(table, ordinal);
    if rt.context.eval().strict() {
        return Err(error);
    }
    rt.context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
    Ok(())
}

/// Error 3105.
pub(crate) fn generated_value(table: &Table, ordinal: usize) -> SqlError {
    SqlError::new(
        ErrorCode::GeneratedColumnValue,
        format!(
            "The value specified for generated column '{}' in table '{}' is not allowed.",
            table.columns[ordinal].name, table.name
        ),
    )
}

fn count_mismatch(row: usize) -> SqlError {
    SqlError::new(
        ErrorCode::ColumnCountMismatch,
        format!("Column count doesn't match value count at row {row}"),
    )
}

/// A generated id as a value of its column; error 1467 if it does not fit.
pub(crate) fn id_value(sql_type: &SqlType, id: u64) -> Result<Value, SqlError> {
    let used_up = || {
        SqlError::new(
            ErrorCode::AutoIncrementReadFailed,
            "Failed to read auto-increment value from storage engine",
        )
    };
    match sql_type {
        SqlType::Int(IntType { width, unsigned, .. }) => {
            let bits = match width {
                IntWidth::Tiny => 8,
                IntWidth::Small => 16,
                IntWidth::Medium => 24,
                IntWidth::Int => 32,
                IntWidth::Big => 64,
            };
            let max = if *unsigned { u64::MAX >> (64 - bits) } else { (u64::MAX >> (64 - bits)) >> 1 };
            if id > max {
                return Err(used_up());
            }
            Ok(if *unsigned { Value::UInt(id) } else { Value::Int(id as i64) })
        }
        SqlType::Float { .. } => Ok(Value::Float(id as f32)),
        SqlType::Double { .. } => Ok(Value::Double(id as f64)),
        _ => Err(used_up()),
    }
}
