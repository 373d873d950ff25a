//! `assize.admin.v1.Schema`.

use super::Services;
use crate::error::Reason;
use crate::pb;
use crate::pb::schema_server::Schema;
use assize_ports::JobList;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Schema for Services {
    async fn list_databases(
        &self,
        request: Request<pb::ListDatabasesRequest>,
    ) -> Result<Response<pb::ListDatabasesResponse>, Status> {
        self.admit(&request, "Schema.ListDatabases")?;
        let schema = self.ask(self.view.schema(false)).await?;
        Ok(Response::new(pb::ListDatabasesResponse {
            databases: schema.databases.into_iter().map(Into::into).collect(),
            catalog_version: schema.version,
        }))
    }

    async fn list_tables(
        &self,
        request: Request<pb::ListTablesRequest>,
    ) -> Result<Response<pb::ListTablesResponse>, Status> {
        self.admit(&request, "Schema.ListTables")?;
        let database = request.into_inner().database;
        let schema = self.ask(self.view.schema(true)).await?;
        if !database.is_empty() && !schema.databases.iter().any(|d| d.name == database) {
            return Err(Reason::NotFound.status(format!("there is no database {database:?}"), &[]));
        }
        let wanted = schema.tables.into_iter().filter(|t| database.is_empty() || t.database == database);
        Ok(Response::new(pb::ListTablesResponse { tables: wanted.map(Into::into).collect() }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        self.admit(&request, "Schema.ListJobs")?;
        let running_only = request.get_ref().running_only;
        let JobList { jobs, silent } = self.ask(self.view.jobs()).await?;
        let jobs = jobs.into_iter().map(pb::Job::from);
        let jobs = jobs.filter(|job| !running_only || job.state() == pb::JobState::Running).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, silent_nodes: silent }))
    }
}
