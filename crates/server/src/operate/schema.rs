//! `assize schema`.

use super::{Connection, call, output};
use crate::Failure;
use assize_admin::pb;
use clap::{Args, Subcommand};

/// Options of `assize schema`.
#[derive(Args, Debug)]
pub struct SchemaOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to list; without it tables are.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be listed.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List databases
    Databases,
    /// List tables
    Tables {
        /// Only those of this database
        database: Option<String>,
    },
    /// List long work of the last day, the newest first
    Jobs {
        /// Only what still runs
        #[arg(long)]
        running: bool,
    },
}

/// Runs `assize schema`.
pub async fn run(options: SchemaOptions) -> Result<(), Failure> {
    let printed = options.connection.output;
    let mut schema = options.connection.open().await?.schema();
    match options.action.unwrap_or(Action::Tables { database: None }) {
        Action::Databases => {
            let databases = call!(schema, list_databases, pb::ListDatabasesRequest {}).databases;
            output::list(printed, &databases, &["database", "tables", "collation"], |d| {
                vec![d.name.clone(), d.tables.to_string(), d.collation.clone()]
            })
        }
        Action::Tables { database } => {
            let database = database.unwrap_or_default();
            let tables = call!(schema, list_tables, pb::ListTablesRequest { database }).tables;
            output::list(
                printed,
                &tables,
                &[
                    "table",
                    "id",
                    "version",
                    "rows",
                    "bytes",
                    "in indexes",
                    "sharded by",
                    "columns",
                    "indexes",
                ],
                table,
            )
        }
        Action::Jobs { running } => {
            let jobs = call!(schema, list_jobs, pb::ListJobsRequest { running_only: running }).jobs;
            output::list(
                printed,
                &jobs,
                &["job", "state", "what", "step", "began", "took", "longest stall"],
                job,
            )
        }
    }
}

fn table(table: &pb::Table) -> Vec<String> {
    let index = |index: &pb::Index| format!("{}({})", index.name, index.columns.join(","));
    let column = |column: &pb::Column| format!("{} {}", column.name, column.r#type);
    vec![
        format!("{}.{}", table.database, table.name),
        table.id.to_string(),
        table.version.to_string(),
        output::or_dash(table.rows),
        output::bytes_or_dash(table.row_bytes),
        output::bytes_or_dash(table.index_bytes),
        table.sharding_columns.join(","),
        table.columns.iter().map(column).collect::<Vec<_>>().join(", "),
        table.indexes.iter().map(index).collect::<Vec<_>>().join(" "),
    ]
}

fn job(job: &pb::Job) -> Vec<String> {
    let state = match job.state() {
        pb::JobState::Failed => format!("failed: {}", job.failure),
        state => state.to_string(),
    };
    vec![
        job.id.clone(),
        state,
        job.what.clone(),
        job.step.clone(),
        output::or_dash(job.began_at),
        output::or_dash(job.elapsed),
        output::or_dash(job.longest_stall),
    ]
}
