//! The operator's view of the cluster: what the admin API, the shell and the SQL twins show, and what they have done.
//!
//! ```text
//!   admin (gRPC) ─┐
//!   SHOW …, ALTER ├─▶ ClusterView ─▶ Operator ─┬─ this node: adjudicator, shard host, frontend
//!   CLUSTER …     ┘                            └─ other nodes: Question ─▶ their OperatorService
//! ```
//!
//! Every node can be asked about all of them. What only the leader can do is handed on to it.

pub mod announce;
pub mod bells;
mod deeds;
pub mod diary;
pub mod jobs;
mod local;
pub mod membership;
mod serve;
mod told;
pub mod words;

#[cfg(test)]
pub use local::tests as local_tests;

pub use local::{Facts, LEADERLESS_MAX, Local, Survey};
pub use serve::OperatorService;
pub use told::Told;

use assize_admin::Noted;
use assize_consensus::MembershipError;
use assize_model::{
    AbortReason, BatchNumber, Conflict, NodeId, Outcome, Placement, ShardId, Timestamp, TxnId, Winner,
};
use assize_ports::{
    Action, ActionDone, AdjudicatorClient, AdjudicatorError, BoxFuture, ClusterError, ClusterView,
    ConflictRecord, DecisionSource, ForeignTroubles, JobList, MemberInfo, MemberRole, Members, NodePressure,
    NodeRecord, NodeReport, PeerError, Peers, ReplicaInfo, ReplicaStanding, ReportParts, SchemaInfo, Service,
    ShardInfo, TrafficList, Watched, complete_winners, unknown_winners,
};
use diary::Diary;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use words::{Answer, NodeStatus, Question};

/// How long another node may take to answer a question.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// How long the leader may take to answer a question, before this node says what it knows itself.
const LEADER_LIMIT: Duration = Duration::from_millis(1500);
/// How long a deed may take that another node does.
const ACT_LIMIT: Duration = Duration::from_secs(60);

/// See the module's page.
#[derive(Clone)]
pub struct Operator {
    /// What this node knows and can do by itself.
    pub local: Arc<Local>,
    /// The way to the leader.
    pub adjudicator: Arc<dyn AdjudicatorClient>,
    /// How the leader sees the replicas.
    pub source: Arc<dyn DecisionSource>,
    /// The way to other nodes; `None` in a cluster of one.
    pub peers: Option<Arc<dyn Peers>>,
    /// Where it is noted what is done through it; `None`: whoever asks has noted that already.
    pub diary: Option<Diary>,
}

/// What the leader has told, or what this node knows itself while there is none.
struct Known<T> {
    what: T,
    /// No leader has said so: it may be old.
    may_be_old: bool,
}

impl Operator {
    /// All nodes, this one among them even before the log knows it. Without a leader as this node knows them, which may be old.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, ClusterError> {
        let told = self.ask_leader(self.adjudicator.nodes()).await;
        let mut nodes = match told {
            Ok(nodes) => {
                self.local.told.keep_nodes(&nodes);
                nodes
            }
            Err(_) => self.local.known_nodes(),
        };
        if !nodes.iter().any(|record| record.node == self.local.node) {
            nodes.push(self.local.facts.record());
        }
        nodes.sort_by_key(|record| record.node);
        Ok(nodes)
    }

    /// The placement, soon: without a leader as this node knows it.
    pub async fn newest_placement(&self) -> Result<Arc<Placement>, ClusterError> {
        Ok(self.placement().await?.what)
    }

    /// The placement; without a leader as this node knows it, which may be old.
    async fn placement(&self) -> Result<Known<Arc<Placement>>, ClusterError> {
        match self.ask_leader(self.adjudicator.placement()).await {
            Ok(placement) => {
                self.local.told.keep_placement(&placement);
                Ok(Known { what: placement, may_be_old: false })
            }
            Err(error) => {
                let known = self.local.known_placement().ok_or(error)?;
                Ok(Known { what: known, may_be_old: true })
            }
        }
    }

    /// Asks the leader, for a short time: whoever asks wants to know above all when there is none.
    async fn ask_leader<T>(
        &self,
        answer: BoxFuture<'_, Result<T, AdjudicatorError>>,
    ) -> Result<T, ClusterError> {
        let silent = || ClusterError::Unavailable("no node leads the adjudicator's group".into());
        if self.local.is_cut_off() {
            return Err(silent());
        }
        match tokio::time::timeout(LEADER_LIMIT, answer).await {
            Ok(answer) => answer.map_err(cluster_error),
            Err(_) => Err(silent()),
        }
    }

    /// Refuses what is about a node that there is not.
    async fn check_known(&self, node: NodeId) -> Result<(), ClusterError> {
        match self.nodes().await?.iter().any(|record| record.node == node) {
            true => Ok(()),
            false => Err(ClusterError::NotFound(format!("there is no node {}", node.0))),
        }
    }

    /// Asks one node, this one included.
    async fn ask(&self, node: NodeId, question: &Question, limit: Duration) -> Result<Answer, ClusterError> {
        if node == self.local.node {
            return Ok(self.local.answer(question).await);
        }
        let Some(peers) = &self.peers else {
            return Err(ClusterError::NotFound(format!("there is no node {}", node.0)));
        };
        let bytes = peers.call(node, Service::Operator, words::encode(question), limit).await;
        let bytes = bytes.map_err(|error| match error {
            PeerError::Refused { .. } => ClusterError::Refused(error.to_string()),
            PeerError::Unreachable { .. } | PeerError::ReplyLost { .. } => {
                ClusterError::Unavailable(error.to_string())
            }
        })?;
        words::decode(&bytes).map_err(ClusterError::Internal)
    }

    /// The status of every node; `None` for those that do not answer.
    async fn statuses(&self, nodes: &[NodeRecord]) -> BTreeMap<NodeId, Option<NodeStatus>> {
        let asked = nodes.iter().map(|record| async move {
            let status = match self.ask(record.node, &Question::Status, ASK_LIMIT).await {
                Ok(Answer::Status(status)) => Some(*status),
                _ => None,
            };
            (record.node, status)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// The reports of all nodes that answer, put together, and who did not.
    async fn reports(&self, nodes: &[NodeRecord], parts: ReportParts) -> NodeReport {
        let question = Question::Report(parts);
        let asked = nodes.iter().map(|record| self.node_report(record.node, &question));
        NodeReport::put_together(join_all(asked).await)
    }

    /// What one node reports; silence if it does not.
    async fn node_report(&self, node: NodeId, question: &Question) -> NodeReport {
        match self.ask(node, question, ASK_LIMIT).await {
            Ok(Answer::Report(report)) => *report,
            _ => NodeReport { silent: vec![node.0], ..NodeReport::default() },
        }
    }

    /// Has a node do something.
    async fn have_done(
        &self,
        node: NodeId,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        // A connection ends at once or not at all.
        let limit = if matches!(action, Action::KillSession { .. }) { ASK_LIMIT } else { ACT_LIMIT };
        let question = Question::Act { action, validate_only, who: who.to_owned() };
        match self.ask(node, &question, limit).await? {
            Answer::Done(done) => Ok(done),
            Answer::Failed(error) => Err(error),
            other => Err(ClusterError::Internal(format!("node {} answered {other:?}", node.0))),
        }
    }

    /// Drains a node or calls that off: the log is told first, and then the node, so that it need not find out.
    async fn drain(
        &self,
        action: Action,
        node: NodeId,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        let drains = matches!(action, Action::Drain { .. });
        if let Action::Drain { force: false, .. } = action {
            self.check_others_serve(node).await?;
        }
        if self.peers.is_none() {
            // There is nowhere for replicas to go.
            return self.have_done(node, action, validate_only, who).await;
        }
        let mark = Action::MarkDraining { node: node.0, drains };
        let marked = self.have_done(self.leader().await?, mark, validate_only, who).await?;
        let text = match self.have_done(node, action, validate_only, who).await {
            Ok(done) => format!("{}; {}", marked.text, done.text),
            Err(ClusterError::Unavailable(why)) => {
                format!("{}; it does not answer now and does its part when it is back ({why})", marked.text)
            }
            Err(error) => return Err(error),
        };
        Ok(ActionDone { text, ..ActionDone::default() })
    }

    /// Refuses to drain the only frontend that serves clients.
    async fn check_others_serve(&self, node: NodeId) -> Result<(), ClusterError> {
        let nodes = self.nodes().await?;
        let is_frontend = |record: &NodeRecord| !record.mysql_address.is_empty();
        if !nodes.iter().any(|record| record.node == node && is_frontend(record)) {
            return Ok(());
        }
        let statuses = self.statuses(&nodes).await;
        let serves = |record: &NodeRecord| {
            let status = statuses.get(&record.node).and_then(Option::as_ref);
            is_frontend(record)
                && status.is_some_and(|s| !s.is_draining && !s.draining.contains(&record.node.0))
        };
        match nodes.iter().any(|record| record.node != node && serves(record)) {
            true => Ok(()),
            false => Err(ClusterError::Refused(format!(
                "node {} is the only one that takes connections of clients: undrain or start another frontend, or force it",
                node.0
            ))),
        }
    }

    /// Does something. See [`ClusterView::act`].
    async fn carry_out(
        &self,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        match action {
            Action::Drain { node, .. } | Action::Undrain { node } => {
                self.check_known(NodeId(node)).await?;
                self.drain(action, NodeId(node), validate_only, who).await
            }
            Action::KillSession { node, .. } => {
                self.check_known(NodeId(node)).await?;
                self.have_done(NodeId(node), action, validate_only, who).await
            }
            _ => self.have_done(self.leader().await?, action, validate_only, who).await,
        }
    }

    /// As [`Operator::carry_out`], with lines in the audit log: what statements ask for has passed no gate.
    async fn carry_out_noted(
        &self,
        diary: &Diary,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        if !validate_only {
            diary.statement(who, &action, Noted::Asked, "").await.map_err(|error| {
                let why = format!("nothing was done, because the audit log cannot be written: {error}");
                ClusterError::Internal(why)
            })?;
        }
        let answer = self.carry_out(action.clone(), validate_only, who).await;
        let (noted, text) = match &answer {
            Ok(done) if validate_only => (Noted::Validated, done.text.clone()),
            Err(error) if validate_only => (Noted::Validated, error.to_string()),
            Ok(ActionDone { text, job: Some(job), .. }) => (Noted::Begun, format!("{text} (job {job})")),
            Ok(done) => (Noted::Done, done.text.clone()),
            Err(error) => (Noted::Failed, error.to_string()),
        };
        // It comes too late to stop anything.
        if let Err(error) = diary.statement(who, &action, noted, &text).await {
            tracing::error!(%error, rpc = action.rpc(), "a line of the audit log is lost");
        }
        answer
    }

    /// How far each of the other nodes is behind; those that do not answer are left out.
    pub async fn pressures(&self, nodes: &[NodeRecord]) -> BTreeMap<NodeId, NodePressure> {
        let others = nodes.iter().filter(|record| record.node != self.local.node);
        let asked = others.map(|record| async move {
            match self.ask(record.node, &Question::Pressure, ASK_LIMIT).await {
                Ok(Answer::Pressure(pressure)) => Some((record.node, pressure)),
                _ => None,
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// How the replicas of every shard stand in the log: as the leader has it, or as this node does.
    async fn standings(
        &self,
        placement: &Placement,
        may_be_old: bool,
    ) -> BTreeMap<ShardId, Vec<ReplicaStanding>> {
        if may_be_old {
            let mut known: BTreeMap<ShardId, Vec<ReplicaStanding>> = BTreeMap::new();
            for (shard, standing) in self.local.adjudicator.get().iter().flat_map(|a| a.durable_positions()) {
                known.entry(shard).or_default().push(standing);
            }
            return known;
        }
        let asked = placement.shards.keys().map(|shard| async move {
            let standings = tokio::time::timeout(ASK_LIMIT, self.source.standings(*shard)).await;
            standings.ok()?.ok().map(|standings| (*shard, standings.replicas))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The leader, as this node or else any other knows it.
    async fn leader(&self) -> Result<NodeId, ClusterError> {
        if let Some(leader) = self.local.leader() {
            return Ok(leader);
        }
        let nodes = self.nodes().await?;
        let statuses = self.statuses(&nodes).await;
        let newest = statuses.values().flatten().filter(|s| s.leader.is_some()).max_by_key(|s| s.term);
        newest
            .and_then(|status| status.leader.map(NodeId))
            .ok_or_else(|| ClusterError::Unavailable("no node leads the adjudicator's group".into()))
    }
}

impl ClusterView for Operator {
    fn node(&self) -> NodeId {
        self.local.node
    }

    fn members(&self) -> BoxFuture<'_, Result<Members, ClusterError>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            let statuses = self.statuses(&nodes).await;
            // The one of the highest term knows best who leads and who votes.
            let best =
                statuses.values().flatten().filter(|s| s.is_adjudicator).max_by_key(|s| s.term).cloned();
            let best = best.unwrap_or_default();
            // The leader takes care of the shards, by its own settings.
            let leader = best.leader.and_then(|leader| statuses.get(&NodeId(leader)).cloned().flatten());
            let carer = leader.unwrap_or_else(|| best.clone());
            let placement = self.placement().await.ok().map(|known| known.what);
            let replicas_on = |node: NodeId| {
                let shards = placement.iter().flat_map(|placement| placement.shards.values());
                shards.flat_map(|at| at.replicas.values()).filter(|on| **on == node).count() as u32
            };
            let member = |record: NodeRecord| {
                let status = statuses.get(&record.node).cloned().flatten();
                let is_reachable = status.is_some();
                let status = status.unwrap_or_default();
                let number = record.node.0;
                let member_role = match number {
                    _ if best.leader == Some(number) => MemberRole::Leader,
                    _ if best.voters.contains(&number) => MemberRole::Voter,
                    _ if best.learners.contains(&number) => MemberRole::Learner,
                    _ => MemberRole::None,
                };
                let disk_free_bytes = status.disk_free();
                MemberInfo {
                    node: number,
                    peer_address: record.peer_address,
                    admin_address: record.admin_address,
                    mysql_address: record.mysql_address,
                    roles: record.roles,
                    zone: record.zone,
                    version: status.version,
                    member_role,
                    is_reachable,
                    applied_index: status.applied_index,
                    log_index: status.log_index,
                    term: status.term,
                    state_hash: status.state_hash,
                    hash_index: status.hash_index,
                    uptime_millis: status.uptime_millis,
                    disk_free_bytes,
                    trouble: status.trouble,
                    is_draining: status.is_draining || best.draining.contains(&number),
                    replicas: replicas_on(record.node),
                    cluster_version_max: record.cluster_version,
                    strains: status.strains,
                    is_in_memory: status.is_in_memory,
                    certificate: status.certificate,
                    is_removed: status.is_removed,
                    rebuff: status.rebuff,
                    stalled_millis: status.stalled_millis,
                }
            };
            Ok(Members {
                cluster: self.local.cluster(),
                cluster_version: best.cluster_version,
                leader: best.leader,
                members: nodes.into_iter().map(member).collect(),
                replicas_wanted: carer.replicas_wanted,
                replicas_founded: carer.replicas_founded,
            })
        })
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardInfo>, ClusterError>> {
        Box::pin(async move {
            let (placement, nodes) = tokio::join!(self.placement(), self.nodes());
            let (Known { what: placement, may_be_old }, nodes) = (placement?, nodes?);
            let (statuses, all_standings) =
                tokio::join!(self.statuses(&nodes), self.standings(&placement, may_be_old));
            let closed = statuses.values().flatten().map(|s| s.closed_millis).max().unwrap_or_default();
            let mut shards = Vec::with_capacity(placement.shards.len());
            for (shard, at) in &placement.shards {
                let standings = all_standings.get(shard);
                let mut bytes = 0;
                let replicas = at.replicas.iter().map(|(replica, node)| {
                    let standing = standings.and_then(|s| s.iter().find(|r| r.replica == *replica));
                    let status = statuses.get(node).and_then(Option::as_ref).and_then(|status| {
                        status.replicas.iter().find(|r| r.shard == shard.0 && r.replica == replica.0)
                    });
                    bytes = bytes.max(status.map_or(0, |s| s.bytes));
                    ReplicaInfo {
                        replica: replica.0,
                        node: node.0,
                        counts: standing.is_some_and(|s| s.counts),
                        is_learning: status.is_some_and(|s| s.state == "copying"),
                        durable_index: standing.map_or(0, |s| s.durable.0),
                        lag_millis: status.map(|s| closed.saturating_sub(s.closed_millis)),
                        state: status.map_or_else(|| "unreachable".to_owned(), |s| s.state.clone()),
                    }
                });
                let replicas = replicas.collect();
                shards.push(ShardInfo {
                    shard: shard.0,
                    epoch: at.epoch.0,
                    slots: placement.slots_of(*shard).into_iter().map(|(a, b)| (a.0, b.0)).collect(),
                    replicas,
                    bytes,
                });
            }
            Ok(shards)
        })
    }

    fn report(&self, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            let report = self.reports(&nodes, parts).await;
            let unknown = unknown_winners(&report.conflicts);
            if unknown.is_empty() {
                return Ok(report);
            }
            // Who won on another node is known there.
            let parts = ReportParts { winners: unknown, ..ReportParts::default() };
            let told = self.reports(&nodes, parts).await;
            let mut report = report;
            complete_winners(&mut report.conflicts, &told.winners);
            Ok(report)
        })
    }

    fn report_of(&self, node: NodeId, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        Box::pin(async move {
            self.check_known(node).await?;
            Ok(self.node_report(node, &Question::Report(parts)).await)
        })
    }

    fn outcome(&self, txn: TxnId) -> BoxFuture<'_, Result<Outcome, ClusterError>> {
        Box::pin(async move {
            if self.local.is_cut_off() {
                let why = "no node leads the adjudicator's group: what became of the transaction cannot be said now";
                return Err(ClusterError::Unavailable(why.into()));
            }
            let outcome = self.adjudicator.outcome(txn, false).await.map_err(cluster_error)?;
            if outcome != Outcome::Undecided {
                return Ok(outcome);
            }
            // What was refused before it came into the log is known to whoever ran it only.
            let nodes = self.nodes().await?;
            let parts = ReportParts { conflicts: true, ..ReportParts::default() };
            let report = self.reports(&nodes, parts).await;
            Ok(refused_early(txn, &report.conflicts).unwrap_or(outcome))
        })
    }

    fn jobs(&self) -> BoxFuture<'_, Result<JobList, ClusterError>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            let asked = nodes.iter().map(|record| async {
                (record.node.0, self.ask(record.node, &Question::Jobs, ASK_LIMIT).await)
            });
            let mut list = JobList::default();
            for (node, answer) in join_all(asked).await {
                match answer {
                    Ok(Answer::Jobs(jobs)) => list.jobs.extend(jobs),
                    _ => list.silent.push(node),
                }
            }
            list.jobs.sort_by_key(|job| std::cmp::Reverse(job.began_micros));
            Ok(list)
        })
    }

    fn act<'a>(
        &'a self,
        action: Action,
        validate_only: bool,
        who: &'a str,
    ) -> BoxFuture<'a, Result<ActionDone, ClusterError>> {
        Box::pin(async move {
            let Some(diary) = self.diary.clone() else {
                return self.carry_out(action, validate_only, who).await;
            };
            let (operator, who) = (self.clone(), who.to_owned());
            // Once begun it is finished and noted, although the client may be gone.
            let done =
                tokio::spawn(
                    async move { operator.carry_out_noted(&diary, action, validate_only, &who).await },
                );
            done.await.unwrap_or_else(|error| Err(ClusterError::Internal(error.to_string())))
        })
    }

    fn schema(&self, with_sizes: bool) -> BoxFuture<'_, Result<SchemaInfo, ClusterError>> {
        Box::pin(async move {
            let Some(frontend) = self.local.frontend.get() else {
                return Err(ClusterError::Refused("this node runs no frontend: ask one that does".into()));
            };
            if self.local.is_cut_off() {
                let none = || ClusterError::Unavailable("no node leads the adjudicator's group".into());
                return frontend.known_schema().ok_or_else(none);
            }
            frontend.schema(with_sizes).await.map_err(ClusterError::Unavailable)
        })
    }

    fn traffic(&self) -> BoxFuture<'_, Result<TrafficList, ClusterError>> {
        Box::pin(async move {
            let nodes = self.nodes().await?;
            let asked = nodes.iter().map(|record| self.ask(record.node, &Question::Traffic, ASK_LIMIT));
            let answers = join_all(asked).await;
            let mut list = TrafficList::default();
            for (record, answer) in nodes.iter().zip(answers) {
                match answer {
                    Ok(Answer::Traffic(traffic)) => list.frontends.extend(traffic),
                    _ => list.silent.push(record.node.0),
                }
            }
            Ok(list)
        })
    }

    fn config(&self) -> Vec<(String, String, String)> {
        self.local.facts.config.clone()
    }

    fn has_others(&self) -> bool {
        self.peers.is_some()
    }

    fn may_be_old(&self) -> bool {
        self.local.is_cut_off()
    }

    fn foreign(&self) -> ForeignTroubles {
        self.local.frontend.get().map(|frontend| frontend.foreign()).unwrap_or_default()
    }

    fn changed(&self, what: Watched, seen: Option<u64>) -> BoxFuture<'_, u64> {
        self.local.bells.changed(what, seen)
    }

    fn conflicts_since(&self, seen: u64) -> Vec<ConflictRecord> {
        self.local.frontend.get().map_or_else(Vec::new, |frontend| frontend.conflicts_since(seen))
    }
}

/// The outcome of a transaction that lost a conflict, by what is kept of it: its client was told, and it is not sent again.
fn refused_early(txn: TxnId, conflicts: &[ConflictRecord]) -> Option<Outcome> {
    let name = txn.to_string();
    let lost = conflicts.iter().find(|conflict| conflict.kind == "conflict" && conflict.loser.txn == name)?;
    let winner = lost.winner.txn.parse().ok().map(|txn| Winner { txn, commit_ts: Timestamp::ZERO });
    let conflict = Conflict { key: None, range: None, batch: BatchNumber(0), winner };
    Some(Outcome::Aborted(AbortReason::Conflict(conflict)))
}

/// What an operator is told when the group's members could not be changed.
pub(crate) fn membership_error(error: MembershipError) -> ClusterError {
    match error {
        MembershipError::Unknown(_) => ClusterError::NotFound(error.to_string()),
        MembershipError::Behind(_) | MembershipError::Refused(_) => ClusterError::Refused(error.to_string()),
        MembershipError::NotLeader { .. } | MembershipError::Unfinished(_) | MembershipError::Stopped(_) => {
            ClusterError::Unavailable(error.to_string())
        }
    }
}

/// What an operator is told when the adjudicator could not be asked.
pub(crate) fn cluster_error(error: AdjudicatorError) -> ClusterError {
    ClusterError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId};
    use assize_ports::ConflictSide;

    #[test]
    fn what_was_refused_early_is_known_by_the_conflict_that_is_kept() {
        let txn = |n| {
            let begun = Timestamp::from_millis(1_790_000_000_000);
            TxnId::new(begun, DeadlineClass::Normal, FrontendId(3), FrontendEpoch(4), n)
        };
        let side = |n| ConflictSide { txn: txn(n).to_string(), ..ConflictSide::default() };
        let record = |kind: &str, loser, winner| ConflictRecord {
            id: "c-1".into(),
            at_micros: 1,
            kind: kind.into(),
            table: String::new(),
            index: String::new(),
            key: String::new(),
            loser,
            winner,
            committed_before_micros: None,
            committed_before_at_most_micros: None,
            was_retried: false,
        };
        let kept = [
            record("deadlock", side(1), ConflictSide::default()),
            record("conflict", side(2), side(9)),
            record("conflict", side(3), ConflictSide::default()),
        ];
        let winner = |n| match refused_early(txn(n), &kept) {
            Some(Outcome::Aborted(AbortReason::Conflict(conflict))) => Some(conflict.winner.map(|w| w.txn)),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(winner(2), Some(Some(txn(9))));
        assert_eq!(winner(3), Some(None));
        // In whose name somebody waited is not who was refused; and of others nothing is known.
        assert_eq!((winner(1), winner(4)), (None, None));
    }
}
