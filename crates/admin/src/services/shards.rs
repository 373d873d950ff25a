//! `assize.admin.v1.Shards`.

use super::Services;
use crate::pb::shards_server::Shards;
use crate::{pb, watch};
use assize_ports::{JobInfo, ShardInfo};
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

/// The setting that switches balancing on and off.
const BALANCE: &str = "shard.balance";

impl Services {
    /// The shards, and how they are evened out.
    pub(crate) async fn shards(&self) -> Result<(Vec<ShardInfo>, pb::Balance), Status> {
        let shards = self.ask(self.view.shards()).await?;
        let jobs = self.ask(self.view.jobs()).await?.jobs;
        let is_on = self.view.config().iter().any(|(key, value, _)| key == BALANCE && value == "true");
        Ok((shards, balance(is_on, &jobs)))
    }
}

fn balance(is_on: bool, jobs: &[JobInfo]) -> pb::Balance {
    let goes_on = |job: &&JobInfo| {
        job.id.starts_with("balance-") && matches!(job.state.as_str(), "running" | "waiting")
    };
    let job = jobs.iter().find(goes_on);
    pb::Balance {
        is_on,
        r#move: job.map(|job| job.what.clone()).unwrap_or_default(),
        job_id: job.map(|job| job.id.clone()).unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Shards for Services {
    async fn list(
        &self,
        request: Request<pb::ListShardsRequest>,
    ) -> Result<Response<pb::ListShardsResponse>, Status> {
        self.admit(&request, "Shards.List")?;
        let (shards, balance) = self.shards().await?;
        let shards = shards.into_iter().map(Into::into).collect();
        let may_be_old = self.view.may_be_old();
        Ok(Response::new(pb::ListShardsResponse { shards, balance: Some(balance), may_be_old }))
    }

    type WatchStream = BoxStream<'static, Result<pb::ListShardsResponse, Status>>;

    async fn watch(
        &self,
        request: Request<pb::WatchShardsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.admit(&request, "Shards.Watch")?;
        Ok(Response::new(watch::shards(self.clone())))
    }

    type WatchJobStream = BoxStream<'static, Result<pb::Job, Status>>;

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        self.admit(&request, "Shards.WatchJob")?;
        Ok(Response::new(watch::job(self.clone(), request.into_inner().job_id)))
    }

    async fn split(&self, request: Request<pb::SplitRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn merge(&self, request: Request<pb::MergeRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn move_replica(
        &self,
        request: Request<pb::MoveReplicaRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn add_replica(
        &self,
        request: Request<pb::AddReplicaRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn recover(&self, request: Request<pb::RecoverShardRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn remove_replica(
        &self,
        request: Request<pb::RemoveReplicaRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }
}
