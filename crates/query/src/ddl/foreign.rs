//! Foreign tables: CREATE TABLE … ENGINE=FEDERATED CONNECTION='server/table'.
//!
//! The server is asked when the table is defined: whether it has such a table, and whether that is one whose XA can be
//! trusted. Columns that are not written are those that the server has; those that are written have to be there. Nothing of
//! this is looked at again: what becomes of the table there is its server's business.

use super::create;
use super::define::{Draft, NAME_MAX};
use crate::show::quote::{quote_name, quote_text};
use assize_catalog::{Catalog, ChangeBuilder, Foreign, Server, Table, same_name};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{ForeignStatement, StatementContext};
use assize_sql::{
    AlterAction, CharsetClause, ColumnDef, CreateTable, DataType, IndexDef, IndexKind, IndexPartKey,
    ParseOptions, Statement, TableConstraint, TableOptions, parse_one,
};
use assize_values::collation::Charset;
use assize_values::{BlobSize, Collation, SqlMode, SqlType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The only engine there whose branches outlive their connections.
const ENGINE: &str = "InnoDB";

/// Types that columns can have here, as `information_schema.COLUMNS` names them.
const TYPES: &[&str] = &[
    "tinyint",
    "smallint",
    "mediumint",
    "int",
    "bigint",
    "decimal",
    "float",
    "double",
    "bit",
    "char",
    "varchar",
    "binary",
    "varbinary",
    "tinytext",
    "text",
    "mediumtext",
    "longtext",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
    "date",
    "time",
    "datetime",
    "timestamp",
    "year",
    "enum",
    "set",
    "json",
];

/// The foreign table that a CREATE TABLE describes, or its server does.
pub(super) async fn draft(
    create: &CreateTable,
    database: &str,
    context: &mut dyn StatementContext,
) -> Result<Draft, SqlError> {
    refuse_parts(create)?;
    let foreign = parse_connection(create)?;
    let server = context.catalog().require_server(&foreign.server)?.clone();
    let source = Source { server, table: foreign.table.clone() };
    let facts = source.facts(context).await?;
    let columns = source.columns(context).await?;
    let written = CreateTable {
        options: TableOptions {
            comment: create.options.comment.clone(),
            charset: create.options.charset.clone(),
            ..TableOptions::default()
        },
        ..create.clone()
    };
    let mut draft = if create.columns.is_empty() {
        let discovered = source.discover(written, facts, &columns, context).await?;
        // What the server has as a default is one, whatever this session thinks of zeros in dates.
        let mode = context.eval().sql_mode;
        context.eval().sql_mode = mode.without(SqlMode::NO_ZERO_DATE).without(SqlMode::NO_ZERO_IN_DATE);
        let draft = create::draft(&discovered, database, context).await;
        context.eval().sql_mode = mode;
        draft?
    } else {
        let draft = create::draft(&written, database, context).await?;
        source.require_columns(&draft.table, &columns)?;
        source.require_keys(&draft.table, context).await?;
        draft
    };
    draft.table.foreign = Some(Arc::new(foreign));
    Ok(draft)
}

/// Makes the change that puts a foreign table into the catalog rely on what the table needs there.
pub(super) fn claim(
    table: &Table,
    foreign: &Foreign,
    catalog: &Catalog,
    change: &mut ChangeBuilder<'_>,
) -> Result<(), SqlError> {
    catalog.require_server(&foreign.server)?;
    change.expect_server(&foreign.server);
    refuse_children(table, &table.database, &table.name, catalog)
}

/// Refuses a foreign table under a name that foreign keys refer to.
pub(super) fn refuse_children(
    table: &Table,
    database: &str,
    name: &str,
    catalog: &Catalog,
) -> Result<(), SqlError> {
    if table.foreign.is_some() && catalog.children_of(database, name).next().is_some() {
        return Err(foreign_parent());
    }
    Ok(())
}

/// Foreign keys are looked after on shards, where rows of a foreign table are not.
pub(super) fn foreign_parent() -> SqlError {
    SqlError::not_supported("FOREIGN KEY that refers to a foreign table")
}

/// Of a foreign table ALTER TABLE changes what the catalog alone knows: its name and its comment.
pub(super) fn refuse_alter(table: &Table, actions: &[AlterAction]) -> Result<(), SqlError> {
    let is_ours = |action: &AlterAction| match action {
        AlterAction::RenameTable(_) | AlterAction::Hint(..) => true,
        AlterAction::Options(options) => {
            *options == TableOptions { comment: options.comment.clone(), ..TableOptions::default() }
        }
        _ => false,
    };
    if table.foreign.is_none() || actions.iter().all(is_ours) {
        return Ok(());
    }
    Err(no_such_option(&table.name))
}

/// Error 1031.
pub(crate) fn no_such_option(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::IllegalForEngine,
        format!("Table storage engine for '{name}' doesn't have this option"),
    )
}

/// How CONNECTION names where the rows of a foreign table are.
pub(crate) fn connection(foreign: &Foreign) -> String {
    format!("{}/{}", foreign.server, foreign.table)
}

/// Refuses what only a table on shards can have.
fn refuse_parts(create: &CreateTable) -> Result<(), SqlError> {
    let has = |feature: &str| SqlError::not_supported(format_args!("{feature} of a foreign table"));
    if create.select.is_some() {
        return Err(SqlError::not_supported("CREATE TABLE … ENGINE=FEDERATED … SELECT"));
    }
    if create.partition_by.is_some() {
        return Err(has("PARTITION BY"));
    }
    if create.columns.iter().any(|column| column.generated.is_some()) {
        return Err(has("generated column"));
    }
    if create.columns.iter().any(|column| !column.checks.is_empty()) {
        return Err(has("CHECK"));
    }
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::ForeignKey(_) => return Err(has("FOREIGN KEY")),
            TableConstraint::Check(_) => return Err(has("CHECK")),
            TableConstraint::Index(index) if has_expressions(index) => {
                return Err(has("functional key part"));
            }
            TableConstraint::Index(_) => {}
        }
    }
    Ok(())
}

fn has_expressions(index: &IndexDef) -> bool {
    index.parts.iter().any(|part| matches!(part.key, IndexPartKey::Expr(_)))
}

/// `server` or `server/table`.
fn parse_connection(create: &CreateTable) -> Result<Foreign, SqlError> {
    let written = create.options.connection.as_deref().unwrap_or_default();
    let invalid = |shown: &str, hint: &str| {
        SqlError::new(
            ErrorCode::ForeignConnectionInvalid,
            format!(
                "Can't create federated table. The data source connection string '{shown}' is not in the correct \
                 format{hint}"
            ),
        )
    };
    if let Some((scheme, _)) = written.split_once("://") {
        // The rest of a URL has a password in it.
        let hint = "; say with CREATE SERVER where it is, and CONNECTION='server/table' here";
        return Err(invalid(&format!("{scheme}://…"), hint));
    }
    let (server, table) = written.split_once('/').unwrap_or((written, &create.name.name));
    let too_long = |name: &str| name.chars().count() > NAME_MAX;
    if server.is_empty() || table.is_empty() || table.contains('/') || too_long(server) || too_long(table) {
        return Err(invalid(written, ""));
    }
    Ok(Foreign { server: server.into(), table: table.into() })
}

/// A table on its server.
struct Source {
    server: Arc<Server>,
    table: Arc<str>,
}

/// What the server says of it as a whole.
struct Facts {
    collation: Option<String>,
    comment: String,
}

/// What the server says of one of its columns.
struct SourceColumn {
    name: String,
    data_type: String,
    nullable: bool,
    charset: Option<String>,
    collation: Option<String>,
    generated: bool,
}

/// A part of a key there: its column, if it is one, and how much of it.
type SourceKeyPart = (Option<String>, Option<u32>);

impl Source {
    /// Asks for rows of texts.
    async fn ask<const N: usize>(
        &self,
        sql: &str,
        context: &mut dyn StatementContext,
    ) -> Result<Vec<[Option<String>; N]>, SqlError> {
        let text = SqlType::Text { size: BlobSize::Long, collation: Collation::UTF8MB4_0900_AI_CI };
        let types = vec![text; N];
        let statement = ForeignStatement { sql, types: &types, writes: false };
        let answer = context.transaction().foreign(&self.server, statement).await?;
        answer
            .rows
            .iter()
            .map(|row| {
                let texts: Vec<Option<String>> = row
                    .iter()
                    .map(|v| (!matches!(v, Value::Null)).then(|| crate::expr::to_text(v)))
                    .collect();
                texts.try_into().map_err(|_| self.misfit("its description cannot be understood"))
            })
            .collect()
    }

    /// `FROM information_schema.… WHERE it is this table`.
    fn described_in(&self, table: &str) -> String {
        let name = quote_text(&self.table);
        format!("FROM information_schema.{table} WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {name}")
    }

    /// Error 1431 if it is not there, 1235 if its branches could not be trusted.
    async fn facts(&self, context: &mut dyn StatementContext) -> Result<Facts, SqlError> {
        let sql = format!(
            "SELECT TABLE_TYPE, ENGINE, TABLE_COLLATION, TABLE_COMMENT {}",
            self.described_in("TABLES")
        );
        let rows = self.ask::<4>(&sql, context).await?;
        let Some([kind, engine, collation, comment]) = rows.into_iter().next() else {
            return Err(SqlError::new(
                ErrorCode::ForeignSourceDoesNotExist,
                format!(
                    "The foreign data source you are trying to reference does not exist. Data source error:  {self} is \
                     not there"
                ),
            ));
        };
        let (kind, engine) = (kind.unwrap_or_default(), engine.unwrap_or_default());
        if kind != "BASE TABLE" {
            return Err(SqlError::not_supported(format_args!("foreign table over a {kind}: {self} is one")));
        }
        if !engine.eq_ignore_ascii_case(ENGINE) {
            return Err(SqlError::not_supported(format_args!(
                "foreign table of engine {engine}: {self} is one, and only prepared branches of {ENGINE} can be relied on"
            )));
        }
        Ok(Facts { collation, comment: comment.unwrap_or_default() })
    }

    async fn columns(&self, context: &mut dyn StatementContext) -> Result<Vec<SourceColumn>, SqlError> {
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, GENERATION_EXPRESSION {} \
             ORDER BY ORDINAL_POSITION",
            self.described_in("COLUMNS")
        );
        let rows = self.ask::<6>(&sql, context).await?;
        let column =
            |[name, data_type, nullable, charset, collation, generated]: [Option<String>; 6]| SourceColumn {
                name: name.unwrap_or_default(),
                data_type: data_type.unwrap_or_default(),
                nullable: nullable.is_none_or(|word| word != "NO"),
                charset,
                collation,
                generated: generated.is_some_and(|expression| !expression.is_empty()),
            };
        Ok(rows.into_iter().map(column).collect())
    }

    /// The definition that the server has, as far as it says how rows are read and written: foreign keys, CHECKs and
    /// partitions are looked after there.
    async fn discover(
        &self,
        written: CreateTable,
        facts: Facts,
        columns: &[SourceColumn],
        context: &mut dyn StatementContext,
    ) -> Result<CreateTable, SqlError> {
        for column in columns {
            self.require_known(column)?;
        }
        let sql = format!("SHOW CREATE TABLE {}", quote_name(&self.table));
        let shown = self.ask::<2>(&sql, context).await?.into_iter().next();
        let text = shown.and_then(|[_, text]| text).unwrap_or_default();
        let mut there = self.parse(&text)?;
        there.columns.iter_mut().try_for_each(|column| self.take_column(column, columns))?;
        there.constraints.retain(|constraint| match constraint {
            TableConstraint::Index(index) => {
                matches!(index.kind, IndexKind::Primary | IndexKind::Unique | IndexKind::Plain)
                    && !has_expressions(index)
            }
            TableConstraint::ForeignKey(_) | TableConstraint::Check(_) => false,
        });
        let mut options = written.options;
        if options.comment.is_none() && !facts.comment.is_empty() {
            options.comment = Some(facts.comment);
        }
        options.charset = CharsetClause { collation: facts.collation, ..CharsetClause::default() };
        Ok(CreateTable { columns: there.columns, constraints: there.constraints, options, ..written })
    }

    /// Error 1235 or 1115 for a column that this server could not have.
    fn require_known(&self, column: &SourceColumn) -> Result<(), SqlError> {
        let SourceColumn { name, data_type, charset, collation, generated, .. } = column;
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(data_type)) {
            return Err(SqlError::not_supported(format_args!(
                "type {data_type} of column '{name}' of {self}"
            )));
        }
        if *generated {
            return Err(SqlError::not_supported(format_args!(
                "generated column of a foreign table: '{name}' of {self}"
            )));
        }
        if let Some(charset) = charset {
            Charset::find(charset)?;
        }
        collation.as_deref().map(Collation::find).transpose()?;
        Ok(())
    }

    /// Reads what SHOW CREATE TABLE told. What stands behind the columns differs most between servers, and is told by
    /// `information_schema` too.
    fn parse(&self, text: &str) -> Result<CreateTable, SqlError> {
        let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with(')')).collect();
        let text = format!("{}\n)", lines.join("\n"));
        match parse_one(&text, &ParseOptions::default()) {
            Ok(parsed) => match parsed.statement {
                Statement::CreateTable(create) => Ok(*create),
                _ => Err(self.misfit("its definition is no CREATE TABLE")),
            },
            Err(error) => {
                let near = error.message.split_once(" near ").map_or("", |(_, near)| near);
                Err(SqlError::not_supported(format_args!("definition of {self}, near {near}")))
            }
        }
    }

    /// Takes the collation that the server says a column has, which its definition may leave out, and leaves to the server
    /// what it looks after.
    fn take_column(&self, column: &mut ColumnDef, columns: &[SourceColumn]) -> Result<(), SqlError> {
        let known = columns.iter().find(|known| same_name(&known.name, &column.name));
        let known = known.ok_or_else(|| self.misfit("its columns have changed meanwhile"))?;
        column.checks.clear();
        column.references = None;
        column.collation = None;
        if let DataType::Char(_, clause)
        | DataType::VarChar(_, clause)
        | DataType::Text(_, _, clause)
        | DataType::Enum(_, clause)
        | DataType::Set(_, clause) = &mut column.data_type
        {
            *clause = CharsetClause { collation: known.collation.clone(), ..CharsetClause::default() };
        }
        Ok(())
    }

    /// Every column that is declared has to be there, and to be NOT NULL there if it is declared so.
    fn require_columns(&self, table: &Table, columns: &[SourceColumn]) -> Result<(), SqlError> {
        for column in &table.columns {
            let Some(there) = columns.iter().find(|there| same_name(&there.name, &column.name)) else {
                return Err(self.misfit(&format!("Unknown column '{}'", column.name)));
            };
            if there.nullable && !column.nullable {
                return Err(self.misfit(&format!("column '{}' may be NULL", column.name)));
            }
        }
        Ok(())
    }

    /// What is declared to be unique has to be so there: rows are looked for by it, and one at most is expected.
    async fn require_keys(&self, table: &Table, context: &mut dyn StatementContext) -> Result<(), SqlError> {
        let is_declared =
            |index: &&assize_catalog::Index| index.unique && !(index.is_primary() && table.hidden_row_id);
        if table.indexes.iter().find(is_declared).is_none() {
            return Ok(());
        }
        let sql = format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART {} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
            self.described_in("STATISTICS")
        );
        let mut keys: BTreeMap<String, Vec<SourceKeyPart>> = BTreeMap::new();
        for [key, column, prefix] in self.ask::<3>(&sql, context).await? {
            let prefix = prefix.and_then(|prefix| prefix.parse().ok());
            keys.entry(key.unwrap_or_default()).or_default().push((column, prefix));
        }
        for index in table.indexes.iter().filter(is_declared) {
            // A key of fewer columns, or of shorter prefixes, is unique all the more.
            let has = |column: &Option<String>, prefix: Option<u32>| {
                let Some(column) = column else { return false };
                index.parts.iter().any(|part| {
                    let own = table.column_by_id(part.column);
                    let fits = match (prefix, part.prefix) {
                        (Some(there), Some(here)) => there <= here,
                        (None, Some(_)) => false,
                        (_, None) => true,
                    };
                    fits && own.is_some_and(|own| same_name(&own.name, column))
                })
            };
            if !keys.values().any(|parts| parts.iter().all(|(column, prefix)| has(column, *prefix))) {
                return Err(self.misfit(&format!("nothing makes key '{}' unique", index.name)));
            }
        }
        Ok(())
    }

    /// Error 1434.
    fn misfit(&self, why: &str) -> SqlError {
        SqlError::new(
            ErrorCode::CannotCreateForeignTable,
            format!("Can't create federated table. Foreign data src error:  {self}: {why}"),
        )
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table '{}' on server '{}'", self.table, self.server.name)
    }
}
