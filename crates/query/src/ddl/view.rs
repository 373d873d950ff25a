//! CREATE, ALTER and DROP VIEW.
//!
//! ```text
//!   SELECT ──▶ bound, as who creates the view ──▶ frozen, printed ──▶ Table with a View, no rows
//! ```
//!
//! Nothing is kept of what a view is made of but its text: tables may go and come back, and whoever uses the view
//! finds out.

use super::define::{self, check_name};
use super::{commit_change, done, freeze, print, require_cluster_version, table_exists};
use crate::bind::{Binder, OutputColumn, Query, Source, mergeable, shows};
use crate::dml::database_of;
use crate::infoschema::SystemTables;
use assize_catalog::{
    Catalog, Column, DefaultValue, QualifiedName, Table, VIEWS_SINCE, View, ViewAlgorithm, ViewCheck,
    ViewSecurity, wrong_kind,
};
use assize_model::{ErrorCode, SchemaVersion, SqlError, WarningLevel};
use assize_ports::{Executed, StatementContext};
use assize_sql::{CreateView, TableName, ViewCheckOption};
use assize_values::{SqlType, Value};
use sqlparser::ast::visit_relations;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The longest name of a column; what is longer comes from an expression and gets another name.
const NAME_CHARS_MAX: usize = 64;

/// Runs CREATE VIEW and ALTER VIEW.
pub async fn create(create: &CreateView, context: &mut dyn StatementContext) -> Result<Executed, SqlError> {
    let database = database_of(&create.name, context)?;
    let name = create.name.name.as_str();
    check_name(name, ErrorCode::WrongTableName, "table")?;
    crate::acl::require_table_name(context, "CREATE VIEW", &database, name)?;
    if create.or_replace {
        crate::acl::require_table_name(context, "DROP", &database, name)?;
    }
    crate::system::refuse_new_table(&database, context)?;
    require_cluster_version(VIEWS_SINCE, "views", context).await?;
    let catalog = context.refresh_catalog().await?;
    catalog.require_database(&database)?;
    let old = replaced(create, &catalog, &database)?;
    if old.is_some() && create.if_not_exists {
        context.eval().note(ErrorCode::TableExists, format!("Table '{name}' already exists"));
        return Ok(done());
    }
    let table = described(create, &database, old.as_deref(), &catalog, context)?;
    super::charset::require_understood(super::charset::of_table(&table), context).await?;
    commit_change(context, |catalog, change| {
        catalog.require_database(&database)?;
        let table = match replaced(create, catalog, &database)? {
            Some(old) => Table { id: old.id, version: SchemaVersion(old.version.0 + 1), ..table.clone() },
            None => Table { id: change.take_table_id(), ..table.clone() },
        };
        change.expect_database(&database).put_table(&table).fence(&table);
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// The view whose place this one takes: error 1050, 1146 or 1347 if it cannot.
fn replaced(create: &CreateView, catalog: &Catalog, database: &str) -> Result<Option<Arc<Table>>, SqlError> {
    let name = create.name.name.as_str();
    if create.alter {
        catalog.require_table(database, name)?;
    }
    let Some(found) = catalog.table(database, name) else { return Ok(None) };
    match (&found.view, create.or_replace, create.if_not_exists) {
        (None, true, _) => Err(wrong_kind(database, name, "VIEW")),
        (_, true, _) | (_, _, true) => Ok(Some(found.clone())),
        _ => Err(table_exists(name)),
    }
}

/// The view that a statement describes, without its number.
fn described(
    create: &CreateView,
    database: &str,
    old: Option<&Table>,
    catalog: &Catalog,
    context: &mut dyn StatementContext,
) -> Result<Table, SqlError> {
    let name = create.name.name.as_str();
    let before = old.and_then(|t| t.view.as_deref()).filter(|_| create.alter);
    let definer = definer(create, before, catalog, context)?;
    let bound = bind(create, database, context)?;
    let mut query = (*create.query).clone();
    let selected = freeze::freeze(&mut query, catalog, context.database().as_deref())?;
    let names = names(create, &selected, &bound)?;
    let text = print::query(&query)?;
    let mut algorithm = match create.prelude.algorithm.as_deref() {
        Some("MERGE") => ViewAlgorithm::Merge,
        Some("TEMPTABLE") => ViewAlgorithm::TempTable,
        Some(_) => ViewAlgorithm::Undefined,
        None => before.map_or(ViewAlgorithm::Undefined, |b| b.algorithm),
    };
    let merged = mergeable(&bound, algorithm);
    if algorithm == ViewAlgorithm::Merge && merged.is_none() {
        algorithm = ViewAlgorithm::Undefined;
        context.eval().push_warning(
            WarningLevel::Warning,
            ErrorCode::ViewMergeAlgorithm,
            "View merge algorithm can't be used here for now (assumed undefined algorithm)",
        );
    }
    let one_table = |tables: &[crate::bind::BoundTable]| matches!(tables, [only] if matches!(only.source, Source::Stored(_)));
    let updatable = merged.is_some_and(|select| one_table(&select.tables));
    let check = match create.check {
        ViewCheckOption::None => ViewCheck::None,
        ViewCheckOption::Local => ViewCheck::Local,
        ViewCheckOption::Cascaded => ViewCheck::Cascaded,
    };
    if check != ViewCheck::None && !updatable {
        return Err(SqlError::new(
            ErrorCode::ViewNotUpdatableCheck,
            format!("CHECK OPTION on non-updatable view '{database}.{name}'"),
        ));
    }
    let security = match create.prelude.invoker {
        Some(true) => ViewSecurity::Invoker,
        Some(false) => ViewSecurity::Definer,
        None => before.map_or(ViewSecurity::Definer, |b| b.security),
    };
    let view = View {
        query: text.into(),
        columns_named: !create.columns.is_empty(),
        definer,
        security,
        algorithm,
        check,
        updatable,
        character_set_client: character_set_client(context),
        collation_connection: context.eval().connection_collation,
    };
    let collation = catalog.require_database(database)?.collation;
    let mut table = define::empty(database, name, collation, context.eval().now_micros).table;
    table.columns = columns(&names, &bound.columns, catalog);
    table.next_column_id = table.columns.len() as u32;
    table.view = Some(Arc::new(view));
    Ok(table)
}

fn character_set_client(context: &dyn StatementContext) -> Arc<str> {
    match context.system_variable("character_set_client", None) {
        Ok(Value::Text(name)) => name.to_string().into(),
        _ => "utf8mb4".into(),
    }
}

/// Who the view acts for: error 1227 unless that is whoever creates it, or an administrator does.
fn definer(
    create: &CreateView,
    before: Option<&View>,
    catalog: &Catalog,
    context: &mut dyn StatementContext,
) -> Result<QualifiedName, SqlError> {
    let user = context.user();
    let own = (user.name.clone(), user.host.clone());
    let definer = match (&create.prelude.definer, before) {
        (Some(account), _) if !account.is_current_user() => {
            (account.name.as_str().into(), account.host.as_str().into())
        }
        (None, Some(before)) => before.definer.clone(),
        _ => own.clone(),
    };
    if definer != own {
        crate::acl::require_global(context, "SUPER")?;
        if !catalog.users.contains_key(&definer) {
            let text =
                format!("The user specified as a definer ('{}'@'{}') does not exist", definer.0, definer.1);
            context.eval().note(ErrorCode::DefinerDoesNotExist, text);
        }
    }
    Ok(definer)
}

/// Binds the query as any other, so that its errors are those of a query.
fn bind(create: &CreateView, database: &str, context: &mut dyn StatementContext) -> Result<Query, SqlError> {
    let mut binder = Binder::new(context, &SystemTables, None);
    let bound = binder.query(&create.query, None)?;
    let name = create.name.name.as_str();
    if let Some(temporary) = binder.tables.iter().find(|t| t.id.is_temporary()) {
        return Err(SqlError::new(
            ErrorCode::ViewSelectTemporaryTable,
            format!("View's SELECT refers to a temporary table '{}'", temporary.name),
        ));
    }
    if binder.tables.iter().any(|t| *t.database == *database && *t.name == *name) {
        // The view is not there while it is being made.
        return Err(SqlError::new(
            ErrorCode::NoSuchTable,
            format!("Table '{database}.{name}' doesn't exist"),
        ));
    }
    let reads = std::mem::take(&mut binder.reads);
    reads.iter().try_for_each(|read| crate::acl::require_read(context, read))?;
    Ok(bound)
}

/// The names of the columns: those listed, or those of the query. Each may be there once.
fn names(create: &CreateView, selected: &[String], bound: &Query) -> Result<Vec<String>, SqlError> {
    let names: Vec<String> = if create.columns.is_empty() {
        let fits = |name: &String| name.chars().count() <= NAME_CHARS_MAX && !name.is_empty();
        selected
            .iter()
            .enumerate()
            .map(|(i, n)| if fits(n) { n.clone() } else { format!("Name_exp_{}", i + 1) })
            .collect()
    } else {
        create.columns.clone()
    };
    if names.len() != bound.columns.len() {
        return Err(SqlError::new(
            ErrorCode::ViewWrongList,
            "In definition of view, derived table or common table expression, SELECT list and column names list \
             have different column counts",
        ));
    }
    for (i, name) in names.iter().enumerate() {
        check_name(name, ErrorCode::WrongColumnName, "column")?;
        if names[..i].iter().any(|n| assize_catalog::same_name(n, name)) {
            return Err(SqlError::new(ErrorCode::DuplicateColumn, format!("Duplicate column name '{name}'")));
        }
    }
    Ok(names)
}

fn columns(names: &[String], outputs: &[OutputColumn], catalog: &Catalog) -> Vec<Column> {
    let column = |(id, (name, output)): (usize, (&String, &OutputColumn))| {
        let sql_type = super::create::stored_type(&output.result.sql_type);
        let default = default_of(output, &sql_type, catalog);
        Column { default, ..Column::plain(id as u32, name, sql_type, output.result.nullable) }
    };
    names.iter().zip(outputs).enumerate().map(column).collect()
}

/// The default that a view's column is shown with: that of the column it shows, or the zero of what is computed and
/// never NULL.
pub(crate) fn default_of(
    output: &OutputColumn,
    sql_type: &SqlType,
    catalog: &Catalog,
) -> Option<DefaultValue> {
    if let Some((database, table, column)) = shows(output) {
        return catalog.table(database, table)?.column(column)?.default.clone();
    }
    if output.result.nullable {
        return None;
    }
    let zero = match sql_type {
        SqlType::Int(_) | SqlType::Decimal { .. } | SqlType::Float { .. } | SqlType::Double { .. } => {
            crate::dml::writer::implicit_default(sql_type)
        }
        SqlType::Char { .. } | SqlType::VarChar { .. } => Value::text(""),
        _ => return None,
    };
    Some(DefaultValue::Constant(zero))
}

/// Runs DROP VIEW: all of the views or none.
pub async fn drop(
    names: &[TableName],
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let mut targets: Vec<(Arc<str>, &str)> = Vec::with_capacity(names.len());
    for name in names {
        let database = database_of(name, context)?;
        crate::acl::require_table_name(context, "DROP", &database, &name.name)?;
        if targets.iter().any(|(d, n)| *d == database && *n == name.name) {
            return Err(SqlError::new(
                ErrorCode::NonUniqueTable,
                format!("Not unique table/alias: '{}'", name.name),
            ));
        }
        targets.push((database, &name.name));
    }
    let mut unknown: Vec<String> = Vec::new();
    commit_change(context, |catalog, change| {
        unknown.clear();
        for (database, name) in &targets {
            match catalog.table(database, name) {
                None => unknown.push(format!("{database}.{name}")),
                Some(table) if table.view.is_none() => return Err(wrong_kind(database, name, "VIEW")),
                Some(view) => {
                    change.expect_database(database).remove_table(database, name).fence_dropped(view);
                }
            }
        }
        if !unknown.is_empty() && !if_exists {
            return Err(super::drop::unknown_error(&unknown));
        }
        Ok((unknown.len() < targets.len()).then_some(()))
    })
    .await?;
    super::drop::unknown_tables(&unknown, true, context)
}

/// The columns of a view as they are now: error 1356 if there are none any more.
pub(crate) fn columns_now(
    table: &Arc<Table>,
    view: &View,
    context: &mut dyn StatementContext,
) -> Result<Vec<Column>, SqlError> {
    let catalog = context.catalog();
    let bound = Binder::new(context, &SystemTables, None).view_query(table, view)?;
    let names: Vec<String> = table.columns.iter().map(|c| c.name.to_string()).collect();
    Ok(columns(&names, &bound.columns, &catalog))
}

/// CREATE VIEW as SHOW prints it; databases are left out where everything is in the selected one.
pub(crate) fn create_statement(
    table: &Table,
    view: &View,
    selected: Option<&str>,
) -> Result<String, SqlError> {
    use crate::show::quote::quote_name;
    let mut text = view.query.to_string();
    if selected == Some(&*table.database) {
        let mut query = assize_sql::parse_query(&text, &assize_sql::ParseOptions::default())?;
        freeze::compact(&mut query, &table.database);
        text = print::query(&query)?;
    }
    let algorithm = match view.algorithm {
        ViewAlgorithm::Undefined => "UNDEFINED",
        ViewAlgorithm::Merge => "MERGE",
        ViewAlgorithm::TempTable => "TEMPTABLE",
    };
    let name = match selected == Some(&*table.database) {
        true => quote_name(&table.name),
        false => format!("{}.{}", quote_name(&table.database), quote_name(&table.name)),
    };
    let columns = match view.columns_named {
        true => {
            let names: Vec<String> = table.columns.iter().map(|c| quote_name(&c.name)).collect();
            format!(" ({})", names.join(","))
        }
        false => String::new(),
    };
    let check = match view.check {
        ViewCheck::None => "",
        ViewCheck::Local => " WITH LOCAL CHECK OPTION",
        ViewCheck::Cascaded => " WITH CASCADED CHECK OPTION",
    };
    Ok(format!(
        "CREATE ALGORITHM={algorithm} DEFINER={}@{} SQL SECURITY {} VIEW {name}{columns} AS {text}{check}",
        quote_name(&view.definer.0),
        quote_name(&view.definer.1),
        security_name(view.security)
    ))
}

/// Database and name of each table that a view's text mentions, in their order.
pub(crate) fn tables_of(view: &View) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    if let Ok(query) = assize_sql::parse_query(&view.query, &assize_sql::ParseOptions::default()) {
        // The visitor never breaks.
        let _ = visit_relations(&query, |name| {
            if let [database, table] = crate::bind::object_parts(name).as_slice() {
                found.insert(((*database).to_owned(), (*table).to_owned()));
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}

/// DEFINER or INVOKER.
pub(crate) fn security_name(security: ViewSecurity) -> &'static str {
    match security {
        ViewSecurity::Definer => "DEFINER",
        ViewSecurity::Invoker => "INVOKER",
    }
}

/// NONE, LOCAL or CASCADED.
pub(crate) fn check_name_of(check: ViewCheck) -> &'static str {
    match check {
        ViewCheck::None => "NONE",
        ViewCheck::Local => "LOCAL",
        ViewCheck::Cascaded => "CASCADED",
    }
}
