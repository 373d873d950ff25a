//! SHOW and DESCRIBE: short questions about what exists and what runs.
//!
//! Every SHOW makes a [`Listing`], columns and rows, and the filter behind LIKE or WHERE runs over it like over a
//! table. Column names are MySQL's: clients read them.

pub(crate) mod cluster;
pub(crate) mod columns;
pub mod create_table;
pub mod quote;

use crate::dml::writer::bind_over;
use crate::dml::{database_of, meant_table};
use crate::expr::{Row, Runtime, eval_async, truth};
use crate::infoschema::{self, server, shown_indexes, table_columns, text, yes_no};
use assize_catalog::{Catalog, Column, Table, View};
use assize_model::{ErrorCode, SqlError, Warning, WarningLevel};
use assize_ports::{ColumnFlags, Executed, ResultColumn, ResultSink, StatementContext};
use assize_sql::{Show, ShowFilter, ShowWhat, TableName};
use assize_values::collation::{COLLATIONS, Charset};
use assize_values::format::type_name;
use assize_values::{BlobSize, Collation, SqlType, Value};
use std::sync::Arc;

/// Columns and rows of an answer.
pub(crate) struct Listing {
    columns: Vec<(String, SqlType)>,
    rows: Vec<Row>,
    /// The column that LIKE looks at.
    like: usize,
}

/// The columns of a listing: `Name` (text), `Name:i`, `Name:u`, `Name:l`, `Name:d`, `Name:m` (DATETIME(6)); `~` stands for
/// a space.
fn listing(notation: &str) -> Listing {
    let collation = Collation::UTF8MB3_GENERAL_CI;
    let column = |word: &str| {
        let (name, kind) = word.split_once(':').unwrap_or((word, "t"));
        let sql_type = match kind {
            "i" => SqlType::BIGINT,
            "u" => SqlType::BIGINT_UNSIGNED,
            "l" => SqlType::Text { size: BlobSize::Long, collation },
            "d" => SqlType::DateTime { fsp: 0 },
            "m" => SqlType::DateTime { fsp: 6 },
            _ => SqlType::VarChar { length: 256, collation },
        };
        (name.replace('~', " "), sql_type)
    };
    Listing { columns: notation.split_whitespace().map(column).collect(), rows: Vec::new(), like: 0 }
}

impl Listing {
    pub(crate) fn result_columns(&self) -> Vec<ResultColumn> {
        self.columns
            .iter()
            .map(|(name, sql_type)| ResultColumn {
                database: "".into(),
                table: "".into(),
                org_table: "".into(),
                name: name.as_str().into(),
                org_name: "".into(),
                sql_type: sql_type.clone(),
                nullable: true,
                flags: ColumnFlags::default(),
            })
            .collect()
    }

    /// Keeps the rows that the filter lets through.
    async fn filter(
        &mut self,
        filter: Option<&ShowFilter>,
        context: &mut dyn StatementContext,
    ) -> Result<(), SqlError> {
        match filter {
            None => Ok(()),
            Some(ShowFilter::Like(pattern)) => {
                let like = self.like;
                let pattern = pattern.to_lowercase();
                self.rows.retain(|row| match row.get(like) {
                    Some(Value::Text(text)) => assize_catalog::like(&pattern, &text.to_lowercase()),
                    _ => false,
                });
                Ok(())
            }
            Some(ShowFilter::Where(condition)) => {
                let table = Arc::new(self.as_table());
                let bound = bind_over(condition, &table, "where clause", context)?;
                let mut rt = Runtime::new(context, &[]);
                let mut kept = Vec::new();
                for row in std::mem::take(&mut self.rows) {
                    let value = eval_async(&bound, &row, &mut rt).await?;
                    if truth(&value, &mut rt)? == Some(true) {
                        kept.push(row);
                    }
                }
                self.rows = kept;
                Ok(())
            }
        }
    }

    fn as_table(&self) -> Table {
        let mut table = crate::ddl::define::empty("", "", Collation::UTF8MB3_GENERAL_CI, 0).table;
        table.columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (name, sql_type))| Column::plain(i as u32, name, sql_type.clone(), true))
            .collect();
        table
    }

    /// Sends it.
    pub(crate) async fn send(self, sink: &mut dyn ResultSink) -> Result<Executed, SqlError> {
        sink.columns(&self.result_columns())?;
        for (i, row) in self.rows.iter().enumerate() {
            sink.row(row)?;
            if i % 256 == 255 {
                sink.ready().await?;
            }
        }
        let count = self.rows.len() as u64;
        Ok(Executed::Rows { count, found: count })
    }
}

/// Runs SHOW.
pub async fn show(
    show: &Show,
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    let mut answer = answer(&show.what, context).await?;
    answer.filter(show.filter.as_ref(), context).await?;
    // MySQL tells the pattern in the heading of lists of names.
    if let (ShowWhat::Databases | ShowWhat::Tables { .. }, Some(ShowFilter::Like(pattern))) =
        (&show.what, &show.filter)
        && let Some((heading, _)) = answer.columns.first_mut()
    {
        heading.push_str(&format!(" ({pattern})"));
    }
    answer.send(sink).await
}

/// The result columns of SHOW, for PREPARE.
pub async fn describe_show(
    show: &Show,
    context: &mut dyn StatementContext,
) -> Result<Vec<ResultColumn>, SqlError> {
    Ok(answer(&show.what, context).await?.result_columns())
}

/// Runs DESCRIBE table.
pub async fn describe(
    table: &TableName,
    column: Option<&str>,
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    let mut answer = columns_of(table, false, context)?;
    let filter = column.map(|c| ShowFilter::Like(c.to_string()));
    answer.filter(filter.as_ref(), context).await?;
    answer.send(sink).await
}

/// The result columns of DESCRIBE.
pub fn describe_columns(
    table: &TableName,
    context: &mut dyn StatementContext,
) -> Result<Vec<ResultColumn>, SqlError> {
    Ok(columns_of(table, false, context)?.result_columns())
}

async fn answer(what: &ShowWhat, context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    Ok(match what {
        ShowWhat::Databases => {
            let mut out = listing("Database");
            let user = context.user();
            let catalog = context.catalog();
            let names = catalog.databases.keys().filter(|name| user.sees_database(name));
            out.rows = names.map(|name| vec![text(name)]).collect();
            out
        }
        ShowWhat::Tables { full, database } => tables(database.as_deref(), *full, context)?,
        ShowWhat::OpenTables { .. } => listing("Database Table In_use:i Name_locked:i"),
        ShowWhat::TableStatus { database } => table_status(database.as_deref(), context).await?,
        ShowWhat::Columns { full, table, .. } => columns_of(table, *full, context)?,
        ShowWhat::Indexes { table } => indexes(table, context).await?,
        ShowWhat::CreateDatabase { name, if_not_exists } => create_database(name, *if_not_exists, context)?,
        ShowWhat::CreateTable(name) => show_create_table(name, context).await?,
        ShowWhat::CreateView(name) => {
            let database = database_of(name, context)?;
            let table = context.catalog().require_table(&database, &name.name)?.clone();
            let view = table.view.as_ref();
            let view = view.ok_or_else(|| assize_catalog::wrong_kind(&database, &name.name, "VIEW"))?;
            show_create_view(&table, view, context)?
        }
        ShowWhat::CreateUser(account) => {
            let (heading, line) = crate::acl::show_create_user(account, context)?;
            Listing { rows: vec![vec![text(&line)]], ..one_column(&heading) }
        }
        ShowWhat::CreateRoutine(kind, name) => {
            return Err(SqlError::new(
                ErrorCode::SavepointDoesNotExist,
                format!("{kind} {} does not exist", name.name),
            ));
        }
        ShowWhat::Variables { global } => {
            let mut out = listing("Variable_name Value:l");
            out.rows = context
                .system_variables(*global)
                .iter()
                .map(|(name, value)| vec![text(name), text(&variable_text(value))])
                .collect();
            out
        }
        ShowWhat::Status { .. } => {
            let mut out = listing("Variable_name Value");
            let connection = context.connection_id();
            let status = context.server().status(connection);
            out.rows = status.iter().map(|(n, v)| vec![text(n), text(v)]).collect();
            out
        }
        ShowWhat::Warnings { limit } => warnings(context.previous_warnings(), false, *limit),
        ShowWhat::Errors { limit } => warnings(context.previous_warnings(), true, *limit),
        ShowWhat::CountWarnings => count("@@session.warning_count", context.previous_warnings().len()),
        ShowWhat::CountErrors => {
            let errors = context.previous_warnings();
            let errors = errors.iter().filter(|w| w.level == WarningLevel::Error).count();
            count("@@session.error_count", errors)
        }
        ShowWhat::Engines => {
            let mut out = listing("Engine Support Comment Transactions XA Savepoints");
            out.rows = server::engine_rows();
            out
        }
        ShowWhat::Engine(name, what) => {
            let mut out = listing("Type Name Status:l");
            if name.eq_ignore_ascii_case("InnoDB") && what.eq_ignore_ascii_case("STATUS") {
                out.rows = vec![vec![text("InnoDB"), text(""), text("")]];
            }
            out
        }
        ShowWhat::CharacterSets => {
            let mut out = listing("Charset Description Default~collation Maxlen:i");
            out.rows = Charset::all()
                .iter()
                .map(|c| {
                    let default = c.charset.default_collation().name();
                    vec![text(c.name), text(c.description), text(default), Value::Int(c.max_length.into())]
                })
                .collect();
            out
        }
        ShowWhat::Collations => {
            let mut out = listing("Collation Charset Id:i Default Compiled Sortlen:i Pad_attribute");
            out.rows = COLLATIONS
                .iter()
                .map(|c| {
                    vec![
                        text(c.name),
                        text(c.charset.name()),
                        Value::Int(c.id.0.into()),
                        text(if c.default { "Yes" } else { "" }),
                        text("Yes"),
                        Value::Int(c.sort_length.into()),
                        text(if c.pad_space { "PAD SPACE" } else { "NO PAD" }),
                    ]
                })
                .collect();
            out
        }
        ShowWhat::ProcessList { full } => {
            let mut out = listing("Id:u User Host db Command Time:i State Info:l");
            let user = context.user();
            let all = user.may("PROCESS", None, None);
            let processes = context.server().processes();
            out.rows = processes
                .iter()
                .filter(|p| all || p.user == user.name)
                .map(|p| server::process_row(p, *full))
                .collect();
            out
        }
        ShowWhat::Grants(account) => {
            let (heading, lines) = crate::acl::show_grants(account.as_ref(), context)?;
            Listing { rows: lines.iter().map(|l| vec![text(l)]).collect(), ..one_column(&heading) }
        }
        ShowWhat::Privileges => {
            let mut out = listing("Privilege Context Comment");
            out.rows = assize_catalog::PRIVILEGES
                .iter()
                .map(|p| vec![text(p.name), text(p.context), text(p.comment)])
                .collect();
            out
        }
        ShowWhat::Plugins => {
            let mut out = listing("Name Status Type Library License");
            out.rows = server::PLUGINS
                .iter()
                .map(|(name, kind)| {
                    vec![text(name), text("ACTIVE"), text(kind), Value::Null, text("Apache-2.0")]
                })
                .collect();
            out
        }
        ShowWhat::Triggers { database } => {
            listing_database(database.as_deref(), context)?;
            listing(
                "Trigger Event Table Statement:l Timing Created:d sql_mode Definer character_set_client \
                 collation_connection Database~Collation",
            )
        }
        ShowWhat::Events { database } => {
            listing_database(database.as_deref(), context)?;
            listing(
                "Db Name Definer Time~zone Type Execute~at:d Interval~value Interval~field Starts:d Ends:d Status \
                 Originator:i character_set_client collation_connection Database~Collation",
            )
        }
        ShowWhat::ProcedureStatus | ShowWhat::FunctionStatus => listing(
            "Db Name Type Definer Modified:d Created:d Security_type Comment:l character_set_client \
             collation_connection Database~Collation",
        ),
        ShowWhat::RoutineCode => listing("Pos:i Instruction"),
        ShowWhat::MasterStatus => {
            listing("File Position:i Binlog_Do_DB Binlog_Ignore_DB Executed_Gtid_Set:l")
        }
        ShowWhat::BinaryLogs => {
            return Err(SqlError::new(ErrorCode::NotSupportedYet, "You are not using binary logging"));
        }
        ShowWhat::ReplicaStatus => listing("Replica_IO_State Source_Host Source_User Source_Port:i"),
        ShowWhat::Replicas => listing("Server_Id:i Host Port:i Source_Id:i Replica_UUID"),
        ShowWhat::BinlogEvents => listing("Log_name Pos:i Event_type Server_id:i End_log_pos:i Info:l"),
        ShowWhat::Profiles => listing("Query_ID:i Duration Query:l"),
        ShowWhat::Profile => listing("Status Duration"),
        ShowWhat::Conflicts { limit } => cluster::conflicts(*limit, context).await?,
        ShowWhat::Conflict(id) => cluster::conflict(id, context).await?,
        ShowWhat::HotKeys { limit } => cluster::hot_keys(*limit, context).await?,
        ShowWhat::Shards => cluster::shards(context).await?,
        ShowWhat::Members => cluster::members(context).await?,
        ShowWhat::Transactions => cluster::transactions(context).await?,
        ShowWhat::Jobs => cluster::jobs(context).await?,
        ShowWhat::Diagnosis => cluster::diagnosis(context).await?,
        ShowWhat::Outcome(id) => cluster::outcome(id, context).await?,
        ShowWhat::Dropped => {
            let mut out = listing("Id:u Database Table Cause Dropped_at:d Purged_after:d");
            out.like = 2;
            let catalog = context.catalog();
            let user = context.user();
            let zone = context.eval().time_zone;
            let time = |micros: i64| {
                let seconds = micros.div_euclid(1_000_000) * 1_000_000;
                Value::DateTime(assize_values::temporal::timestamp_to_local(seconds, &zone))
            };
            let rows = infoschema::objects::dropped_rows(&catalog, &time);
            out.rows = rows
                .into_iter()
                .filter(|row| matches!(&row[1], Value::Text(d) if user.sees_database(d)))
                .collect();
            out
        }
    })
}

/// A system variable's value as SHOW VARIABLES prints it. The session hands booleans over as ON and OFF.
pub(crate) fn variable_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Double(n) => format!("{n:.6}"),
        Value::Decimal(n) => {
            let mut out = Vec::new();
            n.write(n.scale(), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
        other => assize_values::format::to_string(other, &SqlType::Null),
    }
}

fn one_column(heading: &str) -> Listing {
    let sql_type = SqlType::VarChar { length: 1024, collation: Collation::UTF8MB4_0900_AI_CI };
    Listing { columns: vec![(heading.to_string(), sql_type)], rows: Vec::new(), like: 0 }
}

fn count(heading: &str, n: usize) -> Listing {
    Listing {
        columns: vec![(heading.to_string(), SqlType::BIGINT)],
        rows: vec![vec![Value::Int(n as i64)]],
        like: 0,
    }
}

fn warnings(list: Vec<Warning>, errors_only: bool, limit: Option<(u64, u64)>) -> Listing {
    let mut out = listing("Level Code:i Message:l");
    let (skip, take) = limit.unwrap_or((0, u64::MAX));
    out.rows = list
        .iter()
        .filter(|w| !errors_only || w.level == WarningLevel::Error)
        .skip(usize::try_from(skip).unwrap_or(usize::MAX))
        .take(usize::try_from(take).unwrap_or(usize::MAX))
        .map(|w| {
            let level = match w.level {
                WarningLevel::Note => "Note",
                WarningLevel::Warning => "Warning",
                WarningLevel::Error => "Error",
            };
            vec![text(level), Value::Int(w.code.errno().into()), text(&w.message)]
        })
        .collect();
    out
}

/// The database that SHOW … FROM means.
fn listing_database(
    database: Option<&str>,
    context: &mut dyn StatementContext,
) -> Result<Arc<str>, SqlError> {
    let name: Arc<str> = match database {
        Some(database) => database.into(),
        None => {
            context.database().ok_or_else(|| SqlError::new(ErrorCode::NoDatabase, "No database selected"))?
        }
    };
    let catalog = context.catalog();
    let found = catalog.require_database(&name)?;
    Ok(found.name.clone())
}

/// Names of the tables of a database that the user may know of, with their kind.
fn names_in(
    catalog: &Catalog,
    database: &str,
    context: &dyn StatementContext,
) -> Vec<(String, &'static str)> {
    let user = context.user();
    let mut names: Vec<(String, &'static str)> = infoschema::table_names(database)
        .into_iter()
        .map(|n| (n.to_string(), if database == "mysql" { "BASE TABLE" } else { "SYSTEM VIEW" }))
        .collect();
    if let Some(database) = catalog.database(database) {
        let stored = database.tables.values().filter_map(|id| catalog.table_by_id(*id));
        let stored = stored.filter(|t| user.sees_table(&database.name, &t.name));
        let kind = |t: &Table| if t.view.is_some() { "VIEW" } else { "BASE TABLE" };
        names.extend(stored.map(|t| (t.name.to_string(), kind(t))));
    }
    names.sort();
    names
}

fn tables(
    database: Option<&str>,
    full: bool,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let database = listing_database(database, context)?;
    let mut out = one_column(&format!("Tables_in_{database}"));
    if full {
        let sql_type = SqlType::VarChar { length: 64, collation: Collation::UTF8MB3_GENERAL_CI };
        out.columns.push(("Table_type".into(), sql_type));
    }
    let catalog = context.catalog();
    out.rows = names_in(&catalog, &database, context)
        .into_iter()
        .map(|(name, kind)| if full { vec![text(&name), text(kind)] } else { vec![text(&name)] })
        .collect();
    Ok(out)
}

async fn table_status(
    database: Option<&str>,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let database = listing_database(database, context)?;
    let mut out = listing(
        "Name Engine Version:u Row_format Rows:u Avg_row_length:u Data_length:u Max_data_length:u Index_length:u \
         Data_free:u Auto_increment:u Create_time:d Update_time:d Check_time:d Collation Checksum:i Create_options \
         Comment:l",
    );
    let catalog = context.catalog();
    let user = context.user();
    let zone = context.eval().time_zone;
    let ids: Vec<_> =
        catalog.database(&database).map(|d| d.tables.values().copied().collect()).unwrap_or_default();
    let tables = ids.into_iter().filter_map(|id| catalog.table_by_id(id));
    let tables: Vec<_> = tables.filter(|t| user.sees_table(&t.database, &t.name)).cloned().collect();
    let sizes = crate::sizes::ask(tables.clone(), context).await;
    for table in tables {
        let next = match table.auto_increment() {
            Some(_) if table.is_on_shards() => Value::UInt(context.transaction().next_id(table.id).await?),
            _ => Value::Null,
        };
        let seconds = table.created_micros.div_euclid(1_000_000) * 1_000_000;
        let created = Value::DateTime(assize_values::temporal::timestamp_to_local(seconds, &zone));
        if table.view.is_some() {
            let mut row = vec![Value::Null; 18];
            (row[0], row[11], row[17]) = (text(&table.name), created, text("VIEW"));
            out.rows.push(row);
            continue;
        }
        let (engine, row_format) =
            (infoschema::objects::engine(&table), infoschema::objects::row_format(&table));
        let mut row = vec![text(&table.name), text(engine), Value::UInt(10), row_format];
        row.extend(crate::sizes::figures_of(&table, sizes.get(&table.id)));
        row.extend([
            next,
            created,
            Value::Null,
            Value::Null,
            text(table.collation.name()),
            Value::Null,
            text(&infoschema::objects::options_text(&table)),
            text(&table.comment),
        ]);
        out.rows.push(row);
    }
    Ok(out)
}

fn columns_of(name: &TableName, full: bool, context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let database = database_of(name, context)?;
    let mut out = if full {
        listing("Field Type:l Collation Null Key Default:l Extra Privileges Comment:l")
    } else {
        listing("Field Type:l Null Key Default:l Extra")
    };
    let catalog = context.catalog();
    if let Some(table) = &meant_table(&database, &name.name, context) {
        if !context.user().sees_table(&database, &name.name) {
            crate::acl::require_table(context, "SELECT", table)?;
        }
        let shown = match &table.view {
            None => table.shown_columns().cloned().collect(),
            Some(view) => crate::ddl::view::columns_now(table, view, context)?,
        };
        for column in &shown {
            let mut row = vec![text(&column.name), text(&type_name(&column.sql_type))];
            if full {
                row.push(columns::collation(&column.sql_type));
            }
            row.push(yes_no(column.nullable));
            row.push(text(columns::column_key(table, column)));
            row.push(columns::column_default(column));
            row.push(text(&columns::extra(column)));
            if full {
                row.push(text("select,insert,update,references"));
                row.push(text(&column.comment));
            }
            out.rows.push(row);
        }
        return Ok(out);
    }
    let Some(columns) = table_columns(&database, &name.name) else {
        catalog.require_database(&database)?;
        return Err(SqlError::new(
            ErrorCode::NoSuchTable,
            format!("Table '{database}.{}' doesn't exist", name.name),
        ));
    };
    for column in columns {
        let mut row = vec![text(&column.name), text(&type_name(&column.sql_type))];
        if full {
            row.push(columns::collation(&column.sql_type));
        }
        row.extend([yes_no(column.nullable), text(""), Value::Null, text("")]);
        if full {
            row.extend([text("select"), text("")]);
        }
        out.rows.push(row);
    }
    Ok(out)
}

async fn indexes(name: &TableName, context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let database = database_of(name, context)?;
    let mut out = listing(
        "Table Non_unique:i Key_name Seq_in_index:u Column_name Collation Cardinality:i Sub_part:i Packed Null \
         Index_type Comment Index_comment Visible Expression:l",
    );
    out.like = 2;
    let catalog = context.catalog();
    let meant = meant_table(&database, &name.name, context);
    if meant.is_none() && table_columns(&database, &name.name).is_some() {
        return Ok(out);
    }
    let table = match &meant {
        Some(table) => table,
        None => catalog.require_table(&database, &name.name)?,
    };
    let sizes = crate::sizes::ask(vec![table.clone()], context).await;
    for index in shown_indexes(table) {
        for (i, part) in index.parts.iter().enumerate() {
            let column = table.indexed_column(part);
            out.rows.push(vec![
                text(&table.name),
                Value::Int(i64::from(!index.unique)),
                text(&index.name),
                Value::UInt(i as u64 + 1),
                infoschema::objects::key_column(table, part),
                text(if part.descending { "D" } else { "A" }),
                crate::sizes::cardinality(sizes.get(&table.id), index, i),
                part.prefix.map_or(Value::Null, |n| Value::Int(n.into())),
                Value::Null,
                text(if column.nullable { "YES" } else { "" }),
                text("BTREE"),
                text(""),
                text(&index.comment),
                yes_no(!index.invisible),
                infoschema::objects::key_expression(table, part),
            ]);
        }
    }
    Ok(out)
}

fn create_database(
    name: &str,
    if_not_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let catalog = context.catalog();
    let database = catalog.require_database(name)?;
    let mut out = listing("Database Create~Database:l");
    let collation = database.collation;
    let mut line = String::from("CREATE DATABASE ");
    if if_not_exists {
        line.push_str("/*!32312 IF NOT EXISTS*/ ");
    }
    line.push_str(&quote::quote_name(&database.name));
    line.push_str(&format!(" /*!40100 DEFAULT CHARACTER SET {}", collation.charset().name()));
    if !crate::ddl::charset::is_default(collation) || collation == Collation::UTF8MB4_0900_AI_CI {
        line.push_str(&format!(" COLLATE {}", collation.name()));
    }
    line.push_str(" */ /*!80016 DEFAULT ENCRYPTION='N' */");
    out.rows = vec![vec![text(&database.name), text(&line)]];
    Ok(out)
}

/// CREATE VIEW of a view; that it cannot be used any more is a warning.
fn show_create_view(
    table: &Arc<Table>,
    view: &View,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    crate::acl::require_table(context, "SELECT", table)?;
    crate::acl::require_table(context, "SHOW VIEW", table)?;
    let mut out = listing("View Create~View:l character_set_client collation_connection");
    let selected = context.database();
    let statement = crate::ddl::view::create_statement(table, view, selected.as_deref())?;
    if let Err(error) = crate::ddl::view::columns_now(table, view, context) {
        context.eval().push_warning(WarningLevel::Warning, error.code, error.message);
    }
    out.rows = vec![vec![
        text(&table.name),
        text(&statement),
        text(&view.character_set_client),
        text(view.collation_connection.name()),
    ]];
    Ok(out)
}

async fn show_create_table(
    name: &TableName,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let database = database_of(name, context)?;
    let mut out = listing("Table Create~Table:l");
    let meant = meant_table(&database, &name.name, context);
    if meant.is_none()
        && let Some(columns) = table_columns(&database, &name.name)
    {
        let lines: Vec<String> = columns
            .iter()
            .map(|c| {
                let null = if c.nullable { "" } else { " NOT NULL" };
                format!("  {} {}{null}", quote::quote_name(&c.name), type_name(&c.sql_type))
            })
            .collect();
        let text_of = format!("CREATE TABLE {} (\n{}\n)", quote::quote_name(&name.name), lines.join(",\n"));
        out.rows = vec![vec![text(&name.name), text(&text_of)]];
        return Ok(out);
    }
    let table = match meant {
        Some(table) => table,
        None => context.catalog().require_table(&database, &name.name)?.clone(),
    };
    if let Some(view) = &table.view {
        return show_create_view(&table, view, context);
    }
    if !context.user().sees_table(&database, &name.name) {
        crate::acl::require_table(context, "SELECT", &table)?;
    }
    let next = match table.auto_increment() {
        Some(_) if table.is_on_shards() => Some(context.transaction().next_id(table.id).await?),
        _ => None,
    };
    out.rows = vec![vec![text(&table.name), text(&create_table::create_table(&table, next))]];
    Ok(out)
}
