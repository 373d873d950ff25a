//! `assize.admin.v1.Cluster`.

use super::Services;
use crate::diagnose::raft_status;
use crate::pb;
use crate::pb::cluster_server::Cluster;
use assize_ports::diagnose;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Services {
    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        self.admit(&request, "Cluster.ListMembers")?;
        let members = self.ask(self.view.members()).await?;
        Ok(Response::new(pb::ListMembersResponse {
            cluster_id: format!("{:032x}", members.cluster),
            cluster_version: members.cluster_version,
            leader: members.leader.unwrap_or(0),
            members: members.members.into_iter().map(Into::into).collect(),
            answered_by: self.view.node().0,
            may_be_old: self.view.may_be_old(),
        }))
    }

    async fn get_raft_status(
        &self,
        request: Request<pb::GetRaftStatusRequest>,
    ) -> Result<Response<pb::GetRaftStatusResponse>, Status> {
        self.admit(&request, "Cluster.GetRaftStatus")?;
        let members = self.ask(self.view.members()).await?;
        Ok(Response::new(raft_status(&members)))
    }

    async fn diagnose(
        &self,
        request: Request<pb::DiagnoseRequest>,
    ) -> Result<Response<pb::DiagnoseResponse>, Status> {
        self.admit(&request, "Cluster.Diagnose")?;
        // What cannot be found out is a finding, not a failure: this call answers when little else does.
        let (members, shards, jobs) = tokio::join!(
            self.ask(self.view.members()),
            self.ask(self.view.shards()),
            self.ask(self.view.jobs()),
        );
        let words = |status: Status| status.message().to_owned();
        let jobs = jobs.unwrap_or_default().jobs;
        let mut told = diagnose(&members.map_err(words), &shards.map_err(words), &jobs, &self.view.foreign());
        if self.view.may_be_old() {
            told.is_out_of_touch(self.view.node());
        }
        Ok(Response::new(told.into()))
    }

    async fn get_traffic(
        &self,
        request: Request<pb::GetTrafficRequest>,
    ) -> Result<Response<pb::GetTrafficResponse>, Status> {
        self.admit(&request, "Cluster.GetTraffic")?;
        let traffic = self.ask(self.view.traffic()).await?.frontends;
        Ok(Response::new(pb::GetTrafficResponse { traffic: traffic.into_iter().map(Into::into).collect() }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn add_learner(
        &self,
        request: Request<pb::AddLearnerRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn promote_member(
        &self,
        request: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn verify_replicas(
        &self,
        request: Request<pb::VerifyReplicasRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn undrain_node(
        &self,
        request: Request<pb::UndrainNodeRequest>,
    ) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn drain_node(&self, request: Request<pb::DrainNodeRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }
}
