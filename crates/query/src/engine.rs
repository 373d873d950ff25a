//! The engine: statements in, rows out.

use crate::bind::{Binder, VirtualTables};
use crate::cache::{Cached, Fingerprint, Plans};
use crate::exec::{Looked, Operator, Point, open};
use crate::expr::{Row, Runtime, local};
use crate::plan::{Planned, explain, plan_query, tree};
use assize_catalog::Table;
use assize_model::{ErrorCode, SqlError};
use assize_ports::{
    BoxFuture, ColumnFlags, Described, Executed, QueryEngine, ResultColumn, ResultSink, StatementContext,
};
use assize_sql::{ExplainFormat, Query, SelectInto, Statement};
use assize_values::{Collation, SqlType, Value};
use std::sync::Arc;

/// Rows between two waits for a slow reader.
const ROWS_PER_WAIT: usize = 256;

/// Plans and runs statements. One per process; sessions share it.
pub struct Engine {
    plans: Plans,
    virtuals: Arc<dyn VirtualTables>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// An engine that finds its virtual tables there.
    pub fn with_virtual_tables(virtuals: Arc<dyn VirtualTables>) -> Self {
        Engine { plans: Plans::default(), virtuals }
    }

    /// The plan of a query, from the cache if it can be.
    fn plan(
        &self,
        query: &Query,
        digest: u64,
        params: &[Value],
        context: &mut dyn StatementContext,
    ) -> Result<Arc<Cached>, SqlError> {
        let database = context.database();
        let fingerprint = Fingerprint::of(context.eval(), database, params);
        let catalog = context.catalog();
        let temporary = context.temporary_tables();
        if let Some(found) = self.plans.find(digest, query, &fingerprint, &catalog, temporary) {
            return Ok(found);
        }
        let mut binder = Binder::new(context, &*self.virtuals, Some(params));
        let bound = binder.query(&query.node, None)?;
        let planned = plan_query(bound, &mut binder)?;
        // Plans are for all sessions, temporary tables are of one.
        let keep = !binder.uses_variables && !binder.tables.iter().any(|table| table.id.is_temporary());
        let cached = Arc::new(Cached::new(query.clone(), fingerprint, planned));
        if keep {
            self.plans.keep(digest, cached.clone());
        }
        Ok(cached)
    }

    async fn query(
        &self,
        query: &Query,
        digest: u64,
        params: &[Value],
        context: &mut dyn StatementContext,
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let cached = self.plan(query, digest, params, context)?;
        check_privileges(&cached.planned, context)?;
        use_views(&cached.planned.tables, context);
        match &query.into {
            None => run(&cached.planned, params, context, sink).await,
            Some(SelectInto::Variables(names)) => {
                into_variables(&cached.planned, names, params, context).await
            }
            Some(_) => Err(assize_ports::server_files_forbidden()),
        }
    }

    pub(crate) async fn explain(
        &self,
        format: ExplainFormat,
        query: &Query,
        params: &[Value],
        context: &mut dyn StatementContext,
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        let planned = {
            let mut binder = Binder::new(context, &*self.virtuals, Some(params));
            let bound = binder.query(&query.node, None)?;
            plan_query(bound, &mut binder)?
        };
        check_privileges(&planned, context)?;
        explain_plan(format, &planned, context, sink)
    }
}

/// Hands the lines of EXPLAIN to the sink.
pub(crate) fn explain_plan(
    format: ExplainFormat,
    planned: &Planned,
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    let rows: Vec<Row> = match format {
        ExplainFormat::Traditional => {
            sink.columns(&explain_columns())?;
            explain(planned, context).iter().map(crate::plan::ExplainRow::values).collect()
        }
        ExplainFormat::Tree => {
            sink.columns(&[text_column("EXPLAIN", 16_383)])?;
            vec![vec![Value::text(tree(planned))]]
        }
        ExplainFormat::Json => {
            sink.columns(&[text_column("EXPLAIN", 16_383)])?;
            vec![vec![Value::text(json(planned, context))]]
        }
    };
    for row in &rows {
        sink.row(row)?;
    }
    let count = rows.len() as u64;
    Ok(Executed::Rows { count, found: count })
}

/// FORMAT=JSON: the same lines as objects.
fn json(planned: &Planned, context: &mut dyn StatementContext) -> String {
    use assize_values::Json;
    let string = |t: &str| Json::String(t.to_string());
    let tables: Vec<Json> = explain(planned, context)
        .into_iter()
        .map(|row| {
            let mut members = vec![("select_type".to_string(), string(row.select_type))];
            let mut add =
                |name: &str, value: Option<Json>| members.extend(value.map(|v| (name.to_string(), v)));
            add("id", row.id.map(|n| Json::Int(n as i64)));
            add("table_name", row.table.map(Json::String));
            add("shards", row.partitions.map(Json::String));
            add("access_type", row.access.map(string));
            add("possible_keys", row.possible_keys.map(Json::String));
            add("key", row.key.map(Json::String));
            add("key_length", row.key_len.map(Json::String));
            add("ref", row.refs.map(Json::String));
            add("rows_examined_per_scan", row.rows.map(|n| Json::Int(n as i64)));
            add("filtered", row.filtered.map(|f| Json::String(format!("{f:.2}"))));
            if !row.extra.is_empty() {
                let notes = row.extra.iter().map(|e| string(e)).collect();
                members.push(("notes".to_string(), Json::Array(notes)));
            }
            Json::object(members)
        })
        .collect();
    let block = Json::object([
        ("select_id".to_string(), Json::Int(1)),
        ("isolation".to_string(), string(context.isolation())),
        ("tables".to_string(), Json::Array(tables)),
    ]);
    let mut out = Vec::new();
    Json::object([("query_block".to_string(), block)]).write_pretty(0, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A plain text column of a result that no table holds.
pub(crate) fn text_column(name: &str, length: u32) -> ResultColumn {
    let sql_type = SqlType::VarChar { length, collation: Collation::UTF8MB4_0900_AI_CI };
    plain_column(name, sql_type, true)
}

/// A column of a result that no table holds.
pub(crate) fn plain_column(name: &str, sql_type: SqlType, nullable: bool) -> ResultColumn {
    ResultColumn {
        database: "".into(),
        table: "".into(),
        org_table: "".into(),
        name: name.into(),
        org_name: "".into(),
        sql_type,
        nullable,
        flags: ColumnFlags::default(),
    }
}

pub(crate) fn explain_columns() -> Vec<ResultColumn> {
    let uint = |name| plain_column(name, SqlType::BIGINT_UNSIGNED, true);
    vec![
        uint("id"),
        text_column("select_type", 19),
        text_column("table", 64),
        text_column("partitions", 512),
        text_column("type", 10),
        text_column("possible_keys", 4096),
        text_column("key", 64),
        text_column("key_len", 64),
        text_column("ref", 1024),
        uint("rows"),
        plain_column("filtered", SqlType::Double { unsigned: false, digits: Some((6, 2)) }, true),
        text_column("Extra", 255),
    ]
}

/// Whether every table of a plan may be read, by the user or by whom a view acts for.
fn check_privileges(planned: &Planned, context: &dyn StatementContext) -> Result<(), SqlError> {
    planned.reads.iter().try_for_each(|read| crate::acl::require_read(context, read))
}

/// A transaction that went through a view is refused if it commits after the view has changed.
pub(crate) fn use_views(tables: &[Arc<Table>], context: &mut dyn StatementContext) {
    for view in tables.iter().filter(|table| table.view.is_some()) {
        context.transaction().use_table(view.id, view.version);
    }
}

/// Runs a planned query into a sink.
pub(crate) async fn run(
    planned: &Planned,
    params: &[Value],
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    sink.columns(&planned.results)?;
    let most = if planned.limited {
        u64::MAX
    } else {
        match context.system_variable("sql_select_limit", None) {
            Ok(Value::UInt(n)) => n,
            Ok(Value::Int(n @ 0..)) => n as u64,
            _ => u64::MAX,
        }
    };
    let mut rt = Runtime::new(context, params);
    if most > 0
        && let Some(point) = Point::of(&planned.plan.root)
        && let Looked::Found(found) = point.look(&mut rt).await?
    {
        let count = u64::from(found.is_some());
        if let Some(mut row) = found {
            present(&mut row, &mut rt);
            sink.row(&row)?;
        }
        return Ok(Executed::Rows { count, found: count });
    }
    let mut operator = open(&planned.plan.root);
    let mut count = 0u64;
    'rows: while count < most
        && let Some(rows) = operator.next(&mut rt).await?
    {
        rt.context.check_killed()?;
        for mut row in rows {
            if count == most {
                break 'rows;
            }
            present(&mut row, &mut rt);
            sink.row(&row)?;
            count += 1;
            if count.is_multiple_of(ROWS_PER_WAIT as u64) {
                sink.ready().await?;
            }
        }
        sink.ready().await?;
    }
    let found = if planned.calc_found_rows { found(&*operator).unwrap_or(count) } else { count };
    Ok(Executed::Rows { count, found })
}

fn found(operator: &(dyn Operator + '_)) -> Option<u64> {
    operator.found()
}

/// Values as clients see them: timestamps in the session's time zone.
fn present(row: &mut Row, rt: &mut Runtime<'_>) {
    for value in row {
        if let Value::Timestamp(stored) = value {
            *value = local(Value::Timestamp(*stored), rt.context.eval());
        }
    }
}

/// SELECT … INTO @a, @b.
async fn into_variables(
    planned: &Planned,
    names: &[String],
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    if names.len() != planned.plan.columns.len() {
        return Err(SqlError::new(
            ErrorCode::WrongNumberOfColumnsInSelect,
            "The used SELECT statements have a different number of columns",
        ));
    }
    let mut rt = Runtime::new(context, params);
    let mut operator = open(&planned.plan.root);
    let mut only: Option<Row> = None;
    while let Some(rows) = operator.next(&mut rt).await? {
        for mut row in rows {
            if only.is_some() {
                return Err(SqlError::new(ErrorCode::TooManyRows, "Result consisted of more than one row"));
            }
            present(&mut row, &mut rt);
            only = Some(row);
        }
    }
    drop(operator);
    let count = u64::from(only.is_some());
    match only {
        Some(row) => {
            for (name, value) in names.iter().zip(row) {
                rt.context.set_user_variable(&name.to_ascii_lowercase(), value);
            }
        }
        None => {
            rt.context.eval().push_warning(
                assize_model::WarningLevel::Warning,
                ErrorCode::NoData,
                "No data - zero rows fetched, selected, or processed",
            );
        }
    }
    Ok(Executed::Affected { changed: count, matched: count, insert_id: 0, info: String::new() })
}

impl QueryEngine for Engine {
    fn describe<'a>(
        &'a self,
        statement: &'a Statement,
        context: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>> {
        Box::pin(async move {
            let columns = match statement {
                Statement::Query(query) if query.into.is_none() => {
                    let mut binder = Binder::new(context, &*self.virtuals, None);
                    let bound = binder.query(&query.node, None)?;
                    bound.columns.into_iter().map(|c| c.result).collect()
                }
                Statement::Explain { format: ExplainFormat::Traditional, .. } => explain_columns(),
                Statement::Explain { .. } => vec![text_column("EXPLAIN", 16_383)],
                other => self.describe_other(other, context).await?,
            };
            Ok(Described { columns })
        })
    }

    fn execute<'a>(
        &'a self,
        statement: &'a Statement,
        digest: u64,
        params: &'a [Value],
        context: &'a mut dyn StatementContext,
        sink: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(async move {
            match statement {
                Statement::Query(query) => self.query(query, digest, params, context, sink).await,
                Statement::Explain { format, statement, .. } => match &**statement {
                    Statement::Query(query) => self.explain(*format, query, params, context, sink).await,
                    other => self.explain_other(*format, other, params, context, sink).await,
                },
                Statement::Do(exprs) => do_exprs(exprs, &*self.virtuals, params, context).await,
                other => self.execute_other(other, params, context, sink).await,
            }
        })
    }
}

/// DO: evaluates and forgets.
async fn do_exprs(
    exprs: &[sqlparser::ast::Expr],
    virtuals: &dyn VirtualTables,
    params: &[Value],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    use crate::bind::{Place, Scope};
    let bound = {
        let mut binder = Binder::new(context, virtuals, Some(params));
        let scope = Scope::new(Vec::new(), None);
        let exprs = exprs.iter().map(|e| binder.expr(e, Place::plain(&scope, "field list")));
        let bound = exprs.collect::<Result<Vec<_>, _>>()?;
        binder.claim(|_| false)?;
        bound
    };
    let mut rt = Runtime::new(context, params);
    for expr in &bound {
        crate::expr::eval_async(expr, &[], &mut rt).await?;
    }
    Ok(Executed::Affected { changed: 0, matched: 0, insert_id: 0, info: String::new() })
}

impl Engine {
    /// An engine with the tables of the system's databases.
    pub fn new() -> Self {
        Engine::with_virtual_tables(Arc::new(crate::infoschema::SystemTables))
    }
}
