//! LOAD DATA LOCAL: a file of the client, record by record into a table.
//!
//! One statement, and so atomic: its rows are in the transaction's write buffer, with its limits, or none of them is. The file is
//! read as fast as rows are written, and never held as a whole.

use super::insert::{Inserter, assigned_column, refuse_generated};
use super::writer::{implicit_default, now_value};
use super::{Statement, WRITE, ignored, store_value, stored_table};
use crate::bind::{Binder, Place, Scope};
use crate::constraints::is_on;
use crate::expr::{ColumnId, Expr, Layout, Row, Runtime, eval_async};
use crate::infoschema::SystemTables;
use assize_catalog::{Column, DefaultValue, Table};
use assize_model::{ErrorCode, SqlError, WarningLevel};
use assize_ports::{Executed, ResultSink, StatementContext, local_files_disabled, server_files_forbidden};
use assize_sql::{Assignment, LoadData, LoadTarget, ValueExpr};
use assize_values::collation::{Charset, decode};
use assize_values::infile::{FileFormat, Record, RecordReader, Step};
use assize_values::{SqlMode, SqlType, Value};
use bytes::Bytes;
use std::sync::Arc;

/// Rows of so many bytes are written before more are read, however few they are.
const GATHERED_BYTES_MAX: usize = 1 << 20;

/// Runs LOAD DATA.
pub async fn load(
    load: &LoadData,
    params: &[Value],
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    if load.local && !is_on(context, "local_infile", true) {
        return Err(local_files_disabled());
    }
    let table = stored_table(&load.table, context)?;
    if table.view.is_some() {
        return Err(SqlError::not_supported("LOAD DATA into a view"));
    }
    crate::acl::require_table(context, "INSERT", &table)?;
    if load.replace {
        crate::acl::require_table(context, "DELETE", &table)?;
    }
    if !load.local {
        return Err(server_files_forbidden());
    }
    if !load.partitions.is_empty() {
        return Err(SqlError::not_supported("LOAD DATA … PARTITION"));
    }
    let ignore = load.lets_bad_values_pass();
    let mut rt = Runtime::new(context, params);
    let statement = Statement::begin(ignore, &mut rt);
    let result = run(load, ignore, &table, &statement, sink, &mut rt).await;
    statement.end(result, &mut rt)
}

async fn run(
    load: &LoadData,
    ignore: bool,
    table: &Arc<Table>,
    statement: &Statement,
    sink: &mut dyn ResultSink,
    rt: &mut Runtime<'_>,
) -> Result<Executed, SqlError> {
    let mut loader = Loader::new(load, ignore, table, rt)?;
    let format = file_format(load, rt)?;
    let record_bytes_max = usize::try_from(rt.context.eval().max_allowed_packet).unwrap_or(usize::MAX);
    let mut reader = RecordReader::new(format, loader.targets.len(), load.ignore_lines, record_bytes_max);
    sink.request_file(&load.file).await?;
    loop {
        let step = reader.step().map_err(|_| record_too_long(loader.inserter.row_number() + 1))?;
        match step {
            Step::Record => {
                rt.worked(WRITE).await?;
                loader.record(reader.record(), rt).await?;
            }
            Step::More => match sink.file_part().await? {
                Some(piece) => reader.feed(&piece),
                None => reader.end(),
            },
            Step::End => break,
        }
    }
    loader.inserter.flush(rt).await?;
    let warnings = statement.warnings(rt);
    Ok(loader.inserter.finish_file(warnings, rt))
}

/// Error 1153: a row has to fit into a packet, or nobody could read it back.
fn record_too_long(row: u64) -> SqlError {
    let text = format!(
        "Got a packet bigger than 'max_allowed_packet' bytes: row {row} of the file does not end before"
    );
    SqlError::new(ErrorCode::PacketTooLarge, text)
}

/// How the file is laid out; error 1083 for signs of several bytes.
fn file_format(load: &LoadData, rt: &mut Runtime<'_>) -> Result<FileFormat, SqlError> {
    let sign = |bytes: &[u8]| match bytes {
        [] => Ok(None),
        [byte] => Ok(Some(*byte)),
        _ => Err(SqlError::new(
            ErrorCode::WrongFieldTerminators,
            "Field separator argument is not what is expected; check the manual",
        )),
    };
    let escape = match &load.fields_escaped {
        Some(escaped) => sign(escaped)?,
        None if rt.context.eval().sql_mode.contains(SqlMode::NO_BACKSLASH_ESCAPES) => None,
        None => Some(b'\\'),
    };
    let quote = sign(&load.fields_enclosed)?;
    if load.fields_terminated.is_empty() && quote.is_none() {
        return Err(SqlError::not_supported("LOAD DATA of fields without separators"));
    }
    Ok(FileFormat {
        field_end: load.fields_terminated.clone(),
        line_end: load.lines_terminated.clone(),
        line_start: load.lines_starting.clone(),
        quote,
        escape,
    })
}

/// Where a field goes.
enum Target {
    /// Its ordinal.
    Column(usize),
    Variable(String),
}

/// What becomes of the records.
struct Loader {
    table: Arc<Table>,
    inserter: Inserter,
    ignore: bool,
    charset: Charset,
    targets: Vec<Target>,
    /// SET; `None` is DEFAULT.
    assignments: Vec<(usize, Option<Expr>)>,
    /// Columns that nothing gives a value to and that have no default.
    bare: Vec<usize>,
    /// Bytes of the rows that wait to be written.
    gathered: usize,
}

impl Loader {
    fn new(
        load: &LoadData,
        ignore: bool,
        table: &Arc<Table>,
        rt: &mut Runtime<'_>,
    ) -> Result<Self, SqlError> {
        let charset = file_charset(load, rt)?;
        let targets = targets(load, table)?;
        for target in &targets {
            // What was in it decides no type: it will hold text.
            if let Target::Variable(name) = target {
                rt.assign(name, Value::Null);
            }
        }
        let assignments = bind_assignments(&load.assignments, table, rt)?;
        let bare = bare_columns(table, &targets, &assignments);
        if let Some(ordinal) = bare.first() {
            let text = format!("Field '{}' doesn't have a default value", table.columns[*ordinal].name);
            told(ErrorCode::NoDefaultForField, text, rt)?;
        }
        let inserter = Inserter::into_columns(table, Vec::new(), load.replace, ignore, rt)?;
        let table = table.clone();
        Ok(Loader { table, inserter, ignore, charset, targets, assignments, bare, gathered: 0 })
    }

    async fn record(&mut self, record: &Record, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let row = self.inserter.begin_file_row();
        let written = self.row(row, record, rt).await;
        if written.is_err() {
            // The rows before it have their say first.
            self.inserter.flush(rt).await?;
        }
        written?;
        self.gathered += record.bytes();
        if self.gathered > GATHERED_BYTES_MAX {
            self.inserter.flush(rt).await?;
            self.gathered = 0;
        }
        Ok(())
    }

    async fn row(&mut self, mut row: Row, record: &Record, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        let mut given = vec![false; row.len()];
        for ordinal in &self.bare {
            row[*ordinal] = implicit_default(&self.table.columns[*ordinal].sql_type);
            given[*ordinal] = true;
        }
        for at in 0..self.targets.len() {
            match &self.targets[at] {
                Target::Variable(name) => {
                    let value = record.field(at).flatten().map_or(Value::Null, |bytes| self.text(bytes));
                    rt.assign(name, value);
                }
                Target::Column(ordinal) => {
                    let ordinal = *ordinal;
                    // A generated column is computed, whatever the file says.
                    given[ordinal] = self.table.columns[ordinal].generated.is_none();
                    if given[ordinal] {
                        row[ordinal] = self.column(ordinal, record.field(at), &row, rt)?;
                    }
                }
            }
        }
        self.assign(&mut row, &mut given, rt).await?;
        if record.is_cut {
            let number = self.inserter.row_number();
            let text =
                format!("Row {number} was truncated; it contained more data than there were input columns");
            told(ErrorCode::TooManyRecords, text, rt)?;
        }
        self.inserter.complete_row(row, &given, rt).await
    }

    /// The value of a column: of a field, NULL, or what MySQL makes of a field that the line does not have.
    fn column(
        &self,
        ordinal: usize,
        field: Option<Option<&[u8]>>,
        row: &[Value],
        rt: &mut Runtime<'_>,
    ) -> Result<Value, SqlError> {
        let column = &self.table.columns[ordinal];
        let number = self.inserter.row_number();
        match field {
            Some(Some(bytes)) => {
                let (value, from) = self.typed(bytes, &column.sql_type);
                store_value(&value, &from, &column.sql_type, &column.name, number, rt.context.eval())
            }
            Some(None) if column.nullable || column.auto_increment => Ok(Value::Null),
            Some(None) => {
                if !matches!(column.sql_type, SqlType::Timestamp { .. }) {
                    let name = &column.name;
                    let text = format!(
                        "Column set to default value; NULL supplied to NOT NULL column '{name}' at row {number}"
                    );
                    told(ErrorCode::WarnNullToNotNull, text, rt)?;
                }
                Ok(empty_value(column, rt))
            }
            None => {
                let text = format!("Row {number} doesn't contain data for all columns");
                told(ErrorCode::WarnTooFewRecords, text, rt)?;
                let is_null = row[ordinal].is_null() && (column.nullable || column.auto_increment);
                Ok(if is_null { Value::Null } else { empty_value(column, rt) })
            }
        }
    }

    /// A field as a value that a column of this type can make its own, and the value's type.
    fn typed(&self, bytes: &[u8], to: &SqlType) -> (Value, SqlType) {
        let raw = || (Value::Bytes(Bytes::copy_from_slice(bytes)), SqlType::VarBinary { length: u32::MAX });
        let charset = match (self.charset, to) {
            (
                _,
                SqlType::Binary { .. }
                | SqlType::VarBinary { .. }
                | SqlType::Blob { .. }
                | SqlType::Bit { .. },
            ) => return raw(),
            // Bytes are taken as the text that the column holds.
            (
                Charset::Binary,
                SqlType::Char { collation, .. }
                | SqlType::VarChar { collation, .. }
                | SqlType::Text { collation, .. },
            ) => collation.charset(),
            (Charset::Binary, _) => Charset::Utf8mb4,
            (charset, _) => charset,
        };
        match decode(bytes, charset) {
            Ok(text) => {
                let from = SqlType::VarChar { length: u32::MAX, collation: charset.default_collation() };
                (Value::text(&*text), from)
            }
            // Storing tells what is wrong with it, and keeps what lies before.
            Err(_) => raw(),
        }
    }

    /// A field as a user variable holds it.
    fn text(&self, bytes: &[u8]) -> Value {
        match self.charset {
            Charset::Binary => Value::Bytes(Bytes::copy_from_slice(bytes)),
            charset => match decode(bytes, charset) {
                Ok(text) => Value::text(&*text),
                Err(_) => Value::Bytes(Bytes::copy_from_slice(bytes)),
            },
        }
    }

    /// SET.
    async fn assign(&self, row: &mut Row, given: &mut [bool], rt: &mut Runtime<'_>) -> Result<(), SqlError> {
        for (ordinal, expr) in &self.assignments {
            let ordinal = *ordinal;
            let Some(expr) = expr else {
                given[ordinal] = false;
                continue;
            };
            if self.table.columns[ordinal].generated.is_some() {
                refuse_generated(&self.table, ordinal, rt)?;
                continue;
            }
            let value = eval_async(expr, row, rt).await?;
            match self.inserter.assign(ordinal, &value, &expr.sql_type, rt) {
                Ok(value) => row[ordinal] = value,
                Err(error) => {
                    ignored(error, self.ignore, rt)?;
                    row[ordinal] = implicit_default(&self.table.columns[ordinal].sql_type);
                }
            }
            given[ordinal] = true;
        }
        Ok(())
    }
}

/// What a line lacks or has too much is a warning, in strict modes the error that ends the statement.
fn told(code: ErrorCode, text: String, rt: &mut Runtime<'_>) -> Result<(), SqlError> {
    let eval = rt.context.eval();
    if eval.strict() {
        return Err(SqlError::new(code, text));
    }
    eval.push_warning(WarningLevel::Warning, code, text);
    Ok(())
}

/// What a column holds that has been given nothing: not its default, as in MySQL, but zero or the empty text; a TIMESTAMP the
/// current time.
fn empty_value(column: &Column, rt: &mut Runtime<'_>) -> Value {
    match &column.sql_type {
        SqlType::Timestamp { fsp } if !column.nullable => {
            now_value(&column.sql_type, *fsp, rt.context.eval())
        }
        SqlType::Enum { .. } => Value::Enum(0, "".into()),
        sql_type => implicit_default(sql_type),
    }
}

/// CHARACTER SET, or that of the selected database.
fn file_charset(load: &LoadData, rt: &mut Runtime<'_>) -> Result<Charset, SqlError> {
    if let Some(name) = &load.charset {
        return Charset::find(name);
    }
    let of_database = rt.context.system_variable("character_set_database", None);
    Ok(match of_database {
        Ok(Value::Text(name)) => Charset::find(&name).unwrap_or(Charset::Utf8mb4),
        _ => Charset::Utf8mb4,
    })
}

/// Where fields go; without a list, into all columns that are visible.
fn targets(load: &LoadData, table: &Table) -> Result<Vec<Target>, SqlError> {
    if load.targets.is_empty() {
        let visible = (0..table.columns.len()).filter(|at| !table.columns[*at].invisible);
        return Ok(visible.map(Target::Column).collect());
    }
    let target = |target: &LoadTarget| match target {
        LoadTarget::Variable(name) => Ok(Target::Variable(name.clone())),
        LoadTarget::Column(name) => assigned_column(table, &table.name, name).map(Target::Column),
    };
    load.targets.iter().map(target).collect()
}

/// Binds SET over the table's row.
fn bind_assignments(
    assignments: &[Assignment],
    table: &Arc<Table>,
    rt: &mut Runtime<'_>,
) -> Result<Vec<(usize, Option<Expr>)>, SqlError> {
    let scope = Scope::of_table(table, &table.name);
    let ids: Vec<ColumnId> = scope.all_columns().map(|(_, c)| c.id).collect();
    let layout = Layout::of(&ids);
    let mut binder = Binder::new(rt.context, &SystemTables, Some(rt.params));
    binder.next_id = ids.len() as u32;
    let mut bound = Vec::with_capacity(assignments.len());
    for Assignment { column, value } in assignments {
        let ordinal = assigned_column(table, &table.name, column)?;
        let expr = match value {
            ValueExpr::Default => None,
            ValueExpr::Expr(ast) => {
                let mut expr = binder.expr(ast, Place::plain(&scope, "field list"))?;
                let mut outer = Vec::new();
                expr.resolve(&layout, &mut outer);
                Some(expr)
            }
        };
        bound.push((ordinal, expr));
    }
    binder.claim(|_| false)?;
    Ok(bound)
}

/// Columns that nothing gives a value to and that have no default. An ENUM has one: its first label.
fn bare_columns(table: &Table, targets: &[Target], assignments: &[(usize, Option<Expr>)]) -> Vec<usize> {
    let is_given = |at: usize| {
        targets.iter().any(|target| matches!(target, Target::Column(ordinal) if *ordinal == at))
            || assignments.iter().any(|(ordinal, expr)| *ordinal == at && expr.is_some())
    };
    let is_bare = |at: &usize| {
        let column = &table.columns[*at];
        let filled = column.nullable || column.auto_increment || column.generated.is_some();
        let has_default = matches!(&column.default, Some(default) if !is_null(default));
        !filled && !has_default && !matches!(column.sql_type, SqlType::Enum { .. }) && !is_given(*at)
    };
    (0..table.columns.len()).filter(is_bare).collect()
}

fn is_null(default: &DefaultValue) -> bool {
    matches!(default, DefaultValue::Constant(Value::Null))
}
