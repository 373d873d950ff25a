//! `assize.admin.v1.Transactions`.

use super::{Services, listed, total};
use crate::error::Reason;
use crate::pb::transactions_server::Transactions;
use crate::{convert, pb, watch};
use assize_model::{InvalidTxnId, TxnId};
use assize_ports::{NodeReport, ReportParts, TransactionInfo, hot_keys};
use futures_util::stream::BoxStream;
use std::time::Duration;
use tonic::{Request, Response, Status};

impl Services {
    /// Open transactions, and the nodes that did not answer.
    async fn transactions(&self) -> Result<(Vec<TransactionInfo>, Vec<u64>), Status> {
        let parts = ReportParts { transactions: true, ..ReportParts::default() };
        let NodeReport { mut transactions, silent, .. } = self.report(parts).await?;
        transactions.sort_by_key(|t| (std::cmp::Reverse(t.age_micros), t.node, t.connection));
        Ok((transactions, silent))
    }
}

#[tonic::async_trait]
impl Transactions for Services {
    async fn list(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Result<Response<pb::ListTransactionsResponse>, Status> {
        self.admit(&request, "Transactions.List")?;
        let asked = request.into_inner();
        let age_min = asked.age_min.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
        let (mut transactions, silent) = self.transactions().await?;
        transactions.retain(|t| {
            (asked.node == 0 || t.node == asked.node) && Duration::from_micros(t.age_micros) >= age_min
        });
        Ok(Response::new(pb::ListTransactionsResponse {
            total: total(&transactions),
            transactions: listed(transactions, asked.limit),
            silent_nodes: silent,
        }))
    }

    async fn get(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::Transaction>, Status> {
        self.admit(&request, "Transactions.Get")?;
        let pb::GetTransactionRequest { node, connection } = request.into_inner();
        let (transactions, silent) = self.transactions().await?;
        let found = transactions.into_iter().find(|t| t.node == node && t.connection == connection);
        if silent.contains(&node) {
            let text = format!("node {node} does not answer: what it runs is not known");
            return Err(Reason::Unavailable.status(text, &[]));
        }
        let text = || format!("no open transaction on connection {connection} of node {node}");
        found.map(|t| Response::new(t.into())).ok_or_else(|| Reason::NotFound.status(text(), &[]))
    }

    async fn kill(&self, request: Request<pb::KillTransactionRequest>) -> Result<Response<pb::Done>, Status> {
        self.mutate(request).await
    }

    async fn get_outcome(
        &self,
        request: Request<pb::GetOutcomeRequest>,
    ) -> Result<Response<pb::GetOutcomeResponse>, Status> {
        self.admit(&request, "Transactions.GetOutcome")?;
        let txn: TxnId = request
            .get_ref()
            .txn_id
            .parse()
            .map_err(|e: InvalidTxnId| Reason::InvalidArgument.status(e.to_string(), &[]))?;
        let outcome = self.ask(self.view.outcome(txn)).await?;
        Ok(Response::new(convert::outcome(txn, outcome)))
    }

    async fn list_conflicts(
        &self,
        request: Request<pb::ListConflictsRequest>,
    ) -> Result<Response<pb::ListConflictsResponse>, Status> {
        self.admit(&request, "Transactions.ListConflicts")?;
        let asked = request.into_inner();
        let NodeReport { mut conflicts, silent, .. } = self.report(watch::conflicts_only()).await?;
        conflicts.retain(|c| {
            (asked.table.is_empty() || c.table == asked.table) && (asked.id.is_empty() || c.id == asked.id)
        });
        conflicts.sort_by_key(|c| std::cmp::Reverse(c.at_micros));
        Ok(Response::new(pb::ListConflictsResponse {
            total: total(&conflicts),
            conflicts: listed(conflicts, asked.limit),
            silent_nodes: silent,
        }))
    }

    type WatchConflictsStream = BoxStream<'static, Result<pb::Conflict, Status>>;

    async fn watch_conflicts(
        &self,
        request: Request<pb::WatchConflictsRequest>,
    ) -> Result<Response<Self::WatchConflictsStream>, Status> {
        self.admit(&request, "Transactions.WatchConflicts")?;
        watch::conflicts(self.clone(), request.into_inner().table).await.map(Response::new)
    }

    async fn list_hot_keys(
        &self,
        request: Request<pb::ListHotKeysRequest>,
    ) -> Result<Response<pb::ListHotKeysResponse>, Status> {
        self.admit(&request, "Transactions.ListHotKeys")?;
        let NodeReport { conflicts, silent, .. } = self.report(watch::conflicts_only()).await?;
        let hot_keys = listed(hot_keys(&conflicts), request.get_ref().limit);
        Ok(Response::new(pb::ListHotKeysResponse { hot_keys, silent_nodes: silent }))
    }
}
