//! `assize.admin.v1.Sessions`.

use super::{Services, listed, total};
use crate::pb;
use crate::pb::sessions_server::Sessions;
use assize_ports::{NodeReport, ReportParts};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Sessions for Services {
    async fn list(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        self.admit(&request, "Sessions.List")?;
        let asked = request.into_inner();
        let parts = ReportParts { sessions: true, ..ReportParts::default() };
        let NodeReport { mut sessions, silent, .. } = self.report(parts).await?;
        sessions.retain(|s| {
            (asked.node == 0 || s.node == asked.node) && (asked.user.is_empty() || s.user == asked.user)
        });
        sessions.sort_by_key(|s| (s.node, s.connection));
        Ok(Response::new(pb::ListSessionsResponse {
            total: total(&sessions),
            sessions: listed(sessions, asked.limit),
            silent_nodes: silent,
        }))
    }

    async fn kill(&self, request: Request<pb::KillSessionRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn list_digests(
        &self,
        request: Request<pb::ListDigestsRequest>,
    ) -> Result<Response<pb::ListDigestsResponse>, Status> {
        self.admit(&request, "Sessions.ListDigests")?;
        let asked = request.into_inner();
        let parts = ReportParts { digests: true, ..ReportParts::default() };
        let NodeReport { mut digests, silent, .. } = self.report(parts).await?;
        digests.retain(|d| asked.node == 0 || d.node == asked.node);
        digests.sort_by_key(|d| std::cmp::Reverse(d.total_micros));
        Ok(Response::new(pb::ListDigestsResponse {
            digests: listed(digests, asked.limit),
            silent_nodes: silent,
        }))
    }

    async fn list_slow_statements(
        &self,
        request: Request<pb::ListSlowStatementsRequest>,
    ) -> Result<Response<pb::ListSlowStatementsResponse>, Status> {
        self.admit(&request, "Sessions.ListSlowStatements")?;
        let asked = request.into_inner();
        let parts = ReportParts { slow: true, ..ReportParts::default() };
        let NodeReport { mut slow, silent, .. } = self.report(parts).await?;
        slow.retain(|s| asked.node == 0 || s.node == asked.node);
        slow.sort_by_key(|s| std::cmp::Reverse(s.at_micros));
        Ok(Response::new(pb::ListSlowStatementsResponse {
            statements: listed(slow, asked.limit),
            silent_nodes: silent,
        }))
    }
}
