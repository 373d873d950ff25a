//! Statements other than queries: one line each, and where it is done.

use crate::engine::{Engine, explain_columns, explain_plan, text_column};
use crate::expr::Runtime;
use crate::plan::Planned;
use crate::{acl, check_table, cluster, ddl, dml, show};
use assize_model::SqlError;
use assize_ports::{Executed, ResultColumn, ResultSink, StatementContext};
use assize_sql::{ExplainFormat, Insert, Statement};
use assize_values::Value;

impl Engine {
    /// The result columns of a statement that is not a query; empty if it returns no rows.
    pub(crate) async fn describe_other(
        &self,
        statement: &Statement,
        context: &mut dyn StatementContext,
    ) -> Result<Vec<ResultColumn>, SqlError> {
        match statement {
            Statement::Show(what) => show::describe_show(what, context).await,
            Statement::Describe { table, .. } => show::describe_columns(table, context),
            Statement::TableMaintenance { verb, .. } => Ok(check_table::columns(*verb)),
            Statement::AlterCluster { .. } => Ok(show::cluster::done(None).result_columns()),
            _ => Ok(Vec::new()),
        }
    }

    /// Explains a statement that is not a query: how its rows are found.
    pub(crate) async fn explain_other(
        &self,
        format: ExplainFormat,
        statement: &Statement,
        params: &[Value],
        context: &mut dyn StatementContext,
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let planned = {
            let mut rt = Runtime::new(context, params);
            let rows = match statement {
                Statement::Update(update) => dml::update::plan_update(update, &mut rt)?,
                Statement::Delete(delete) => dml::delete::bind_delete(delete, &mut rt)?.0,
                Statement::Insert(insert) => match &insert.source {
                    assize_sql::InsertSource::Query(query) => {
                        let query = assize_sql::Query { node: (**query).clone(), into: None };
                        return self.explain(format, &query, params, rt.context, sink).await;
                    }
                    assize_sql::InsertSource::Values(_) => return explain_values(insert, format, sink),
                },
                _ => return Err(SqlError::not_supported("EXPLAIN of this statement")),
            };
            let tables = rows.tables.iter().filter_map(|t| t.table.clone()).collect();
            Planned {
                plan: rows.plan,
                limited: true,
                calc_found_rows: false,
                tables,
                reads: Vec::new(),
                results: Vec::new(),
            }
        };
        explain_plan(format, &planned, context, sink)
    }

    /// Runs a statement that is not a query.
    pub(crate) async fn execute_other(
        &self,
        statement: &Statement,
        params: &[Value],
        context: &mut dyn StatementContext,
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        crate::system::refuse_rows(statement, context)?;
        match statement {
            Statement::Insert(insert) => dml::insert::insert(insert, params, context).await,
            Statement::Update(update) => dml::update::update(update, params, context).await,
            Statement::Delete(delete) => dml::delete::delete(delete, params, context).await,
            Statement::LoadData(load) => dml::load::load(load, params, context, sink).await,
            Statement::CreateDatabase(create) => ddl::database::create(create, context).await,
            Statement::AlterDatabase { name, charset } => {
                ddl::database::alter(name.as_deref(), charset, context).await
            }
            Statement::DropDatabase { name, if_exists, force } => {
                ddl::database::drop(name, *if_exists, *force, context).await
            }
            Statement::CreateTable(create) => ddl::create::create_table(create, params, context).await,
            Statement::AlterTable(alter) => ddl::alter::alter(alter, context).await,
            Statement::DropTable { tables, if_exists, temporary } => {
                ddl::drop::drop_tables(tables, *if_exists, *temporary, context).await
            }
            Statement::CreateIndex { table, index } => ddl::index::create_index(table, index, context).await,
            Statement::DropIndex { table, name } => ddl::index::drop_index(table, name, context).await,
            Statement::Truncate(table) => ddl::drop::truncate(table, context).await,
            Statement::RenameTable(renames) => ddl::drop::rename(renames, context).await,
            Statement::CreateView(create) => ddl::view::create(create, context).await,
            Statement::DropView { views, if_exists } => ddl::view::drop(views, *if_exists, context).await,
            Statement::DropProgram { kind, name, if_exists } => {
                ddl::drop::drop_program(*kind, name, *if_exists, context)
            }
            Statement::UndropTable { name, id, rename_to } => {
                ddl::recycle::undrop_table(name, *id, rename_to.as_ref(), context).await
            }
            Statement::UndropDatabase { name, id, rename_to } => {
                ddl::recycle::undrop_database(name, *id, rename_to.as_deref(), context).await
            }
            Statement::PurgeDropped { id } => ddl::recycle::purge(*id, context).await,
            Statement::AlterCluster { action, validate_only } => {
                let done = cluster::alter(action, *validate_only, context).await?;
                show::cluster::done(Some(&done)).send(sink).await
            }
            Statement::Show(what) => show::show(what, context, sink).await,
            Statement::Describe { table, column } => {
                show::describe(table, column.as_deref(), context, sink).await
            }
            Statement::TableMaintenance { verb, tables, .. } => {
                check_table::maintain(*verb, tables, context, sink).await
            }
            Statement::CreateServer { name, wrapper, options } => {
                ddl::server::create(name, wrapper, options, context).await
            }
            Statement::AlterServer { name, options } => ddl::server::alter(name, options, context).await,
            Statement::DropServer { name, if_exists } => ddl::server::drop(name, *if_exists, context).await,
            Statement::CreateUser { if_not_exists, users, options } => {
                let executed = acl::create_user(*if_not_exists, users, options, context).await?;
                acl::note_ignored(options, context);
                Ok(executed)
            }
            Statement::AlterUser { if_exists, users, options } => {
                let executed = acl::alter_user(*if_exists, users, options, context).await?;
                acl::note_ignored(options, context);
                Ok(executed)
            }
            Statement::DropUser { if_exists, users } => acl::drop_user(*if_exists, users, context).await,
            Statement::RenameUser(renames) => acl::rename_user(renames, context).await,
            Statement::Grant { privileges, level, users, with_grant_option } => {
                acl::grant(privileges, level, users, *with_grant_option, context).await
            }
            Statement::Revoke { privileges, level, users, if_exists } => {
                acl::revoke(privileges, level, users, *if_exists, context).await
            }
            Statement::Set(items) => match items.as_slice() {
                [assize_sql::SetItem::Password { account, password }] => {
                    acl::set_password(account.as_ref(), password, context).await
                }
                _ => Err(SqlError::internal("SET is the session's")),
            },
            Statement::Call { name, .. } => Err(SqlError::new(
                assize_model::ErrorCode::SavepointDoesNotExist,
                format!("PROCEDURE {name} does not exist"),
            )),
            Statement::ExplainConnection(_) => Err(SqlError::not_supported("EXPLAIN FOR CONNECTION")),
            Statement::Help(_) => Err(SqlError::not_supported("HELP")),
            Statement::Unsupported { feature, .. } => Err(SqlError::not_supported(feature)),
            other => Err(SqlError::internal(format!("a statement that is the session's: {other:?}"))),
        }
    }
}

/// EXPLAIN of an INSERT of values: nothing is looked for.
fn explain_values(
    insert: &Insert,
    format: ExplainFormat,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    let verb = if insert.replace { "REPLACE" } else { "INSERT" };
    match format {
        ExplainFormat::Traditional => {
            sink.columns(&explain_columns())?;
            let mut row = vec![Value::Null; explain_columns().len()];
            row[0] = Value::UInt(1);
            row[1] = Value::text(verb);
            row[2] = Value::text(insert.table.name.as_str());
            row[4] = Value::text("ALL");
            sink.row(&row)?;
        }
        _ => {
            sink.columns(&[text_column("EXPLAIN", 16_383)])?;
            sink.row(&[Value::text(format!("-> {verb} INTO {}", insert.table))])?;
        }
    }
    Ok(Executed::Rows { count: 1, found: 1 })
}
