//! What an operator has done, on the node that can do it.

use super::jobs::{self, Jobs};
use super::local::Local;
use super::membership_error;
use super::words::{self, Question};
use assize_consensus::Comparison;
use assize_model::{NodeId, ShardId};
use assize_ports::{Action, ActionDone, ClusterError, PlacementError, Service, Verified};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often a node looks whether it is to drain.
const HEED_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node may take to show that it is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a drained node's connections may take to finish their statements.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

impl Local {
    /// Does something on this node. What only the leader can do is refused by a node that does not lead.
    pub(super) async fn act(
        &self,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        if !validate_only {
            tracing::info!(?action, who, "an operator acts");
        }
        match action {
            Action::KillSession { connection, query_only, .. } => {
                self.kill_session(connection, query_only, validate_only)
            }
            Action::Drain { node, .. } => self.drain(node, validate_only).await,
            Action::Undrain { node } => self.undrain(node, validate_only).await,
            Action::TransferLeadership { .. }
            | Action::AddLearner { .. }
            | Action::Promote { .. }
            | Action::RemoveMember { .. }
            | Action::MarkDraining { .. }
            | Action::VerifyReplicas => self.change_members(action, validate_only).await,
            Action::Split { .. }
            | Action::Merge { .. }
            | Action::MoveReplica { .. }
            | Action::AddReplica { .. }
            | Action::RemoveReplica { .. } => self.change_shards(action, validate_only, who).await,
            Action::RecoverShard { shard } => self.recover_shard(ShardId(shard), validate_only).await,
        }
    }

    fn kill_session(
        &self,
        connection: u32,
        query_only: bool,
        validate_only: bool,
    ) -> Result<ActionDone, ClusterError> {
        let node = self.node.0;
        let missing =
            || ClusterError::NotFound(format!("there is no connection {connection} on node {node}"));
        let frontend = self.frontend.get().ok_or_else(missing)?;
        let found = if validate_only {
            frontend.has_connection(connection)
        } else {
            frontend.kill(connection, query_only)
        };
        if !found {
            return Err(missing());
        }
        let what = if query_only { "its statement ends" } else { "it ends" };
        Ok(done(format!("connection {connection}: {what}")))
    }

    async fn drain(&self, node: u64, validate_only: bool) -> Result<ActionDone, ClusterError> {
        let text = format!("node {node} takes no more connections and does not lead");
        if validate_only {
            return Ok(done(text));
        }
        self.draining.store(true, Ordering::Relaxed);
        if let Some(adjudicator) = self.adjudicator.get() {
            adjudicator.drain().await.map_err(membership_error)?;
        }
        if let Some(frontend) = self.frontend.get().cloned() {
            // Who asks may be one of its clients, and wants an answer before its connection ends.
            tokio::spawn(async move { frontend.close(DRAIN_LIMIT).await });
        }
        Ok(done(text))
    }

    async fn undrain(&self, node: u64, validate_only: bool) -> Result<ActionDone, ClusterError> {
        let text = format!("node {node} takes connections, and may hold replicas");
        if validate_only {
            return Ok(done(text));
        }
        if let Some(frontend) = self.frontend.get() {
            frontend.reopen().await.map_err(|error| {
                let why = format!("node {node} cannot take connections again: {error}; restart its process");
                ClusterError::Unavailable(why)
            })?;
        }
        self.draining.store(false, Ordering::Relaxed);
        Ok(done(text))
    }

    /// Does on this node what the log says about draining, also when it was down when an operator said so. Long-lived.
    pub async fn heed_draining(&self, stopped: impl Future<Output = ()>) {
        tokio::pin!(stopped);
        let mut was_marked = false;
        // At once for the first time: a node that starts may have been told to drain while it was down.
        let mut interval = tokio::time::interval(HEED_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = interval.tick() => {}
            }
            let is_marked = self.is_marked_draining();
            let leads = self.leader() == Some(self.node);
            let heeded = match (was_marked, is_marked) {
                (false, false) => continue,
                // A draining node may be elected all the same.
                (true, true) if !leads => continue,
                (_, true) => self.drain(self.node.0, false).await,
                (true, false) => self.undrain(self.node.0, false).await,
            };
            match heeded {
                Ok(done) => tracing::info!(what = done.text, "the log says so"),
                Err(error) => tracing::warn!(%error, "tried again"),
            }
            was_marked = is_marked;
        }
    }

    async fn change_members(&self, action: Action, validate_only: bool) -> Result<ActionDone, ClusterError> {
        let Some(adjudicator) = self.adjudicator.get() else {
            return Err(ClusterError::Refused("this node is no adjudicator".into()));
        };
        let status = adjudicator.status();
        if status.leader != Some(self.node) {
            return Err(ClusterError::Unavailable("the lead has moved meanwhile: try again".into()));
        }
        let known = |node: u64| {
            let mut records = adjudicator.known_nodes().into_iter();
            records
                .find(|record| record.node.0 == node)
                .ok_or_else(|| ClusterError::NotFound(format!("there is no node {node}")))
        };
        match action {
            Action::TransferLeadership { to } => {
                let to = to.map(|to| known(to).map(|record| record.node)).transpose()?;
                if to.is_some_and(|to| !status.voters.contains(&to)) || status.voters.len() == 1 {
                    return Err(ClusterError::Refused("only another voter can lead".into()));
                }
                if let Some(to) = to.filter(|to| *to != self.node) {
                    self.check_answers(to).await?;
                }
                if validate_only {
                    return Ok(done("the lead can be handed over".into()));
                }
                let leader = adjudicator.transfer_leadership(to).await.map_err(membership_error)?;
                match to.filter(|to| *to != leader) {
                    None => Ok(done(format!("node {} leads", leader.0))),
                    Some(to) => {
                        let why = format!("node {} has not taken the lead: node {} leads", to.0, leader.0);
                        Err(ClusterError::Unavailable(why))
                    }
                }
            }
            Action::AddLearner { node } => {
                let record = known(node)?;
                if status.voters.contains(&record.node) {
                    return Err(ClusterError::Refused(format!("node {node} votes already")));
                }
                if !validate_only {
                    let added = adjudicator.add_learner(record.node, record.peer_address).await;
                    added.map_err(membership_error)?;
                }
                Ok(done(format!("node {node} follows the log without a vote")))
            }
            Action::Promote { node } => {
                let record = known(node)?;
                if !status.learners.contains(&record.node) && !status.voters.contains(&record.node) {
                    return Err(ClusterError::Refused(format!("node {node} is no learner: add it first")));
                }
                if validate_only {
                    adjudicator.check_promotion(record.node).await.map_err(membership_error)?;
                } else {
                    adjudicator.promote(record.node).await.map_err(membership_error)?;
                }
                Ok(done(format!("node {node} votes")))
            }
            Action::RemoveMember { node, force } => {
                // A founder that never came up is a member without a record.
                let member = NodeId(node);
                if !status.voters.contains(&member) && !status.learners.contains(&member) {
                    known(node)?;
                }
                let held = self.replicas_on(member);
                if held > 0 && !force {
                    let text = format!(
                        "node {node} holds {held} replicas: move them first, or force it if the node is lost"
                    );
                    return Err(ClusterError::Refused(text));
                }
                if member == self.node {
                    let text = format!("node {node} leads: transfer leadership first");
                    return Err(ClusterError::Refused(text));
                }
                if validate_only {
                    adjudicator.check_removal(member).await.map_err(membership_error)?;
                } else {
                    adjudicator.remove(member).await.map_err(membership_error)?;
                }
                Ok(done(format!("node {node} is no longer a member")))
            }
            Action::MarkDraining { node, drains } => {
                let record = known(node)?;
                let held = self.replicas_on(record.node);
                if validate_only && adjudicator.cluster_version() < assize_adjudicator::DRAINS_SINCE {
                    let text = "not every node's release understands that yet: finish the upgrade first";
                    return Err(ClusterError::Refused(text.into()));
                }
                if !validate_only {
                    adjudicator.drain_node(record.node, drains).await.map_err(membership_error)?;
                }
                Ok(done(match (drains, held) {
                    (true, 0) => format!("node {node} holds no replicas and is given none"),
                    (true, held) => format!("node {node} gives up {held} replicas, one by one"),
                    (false, _) => format!("node {node} keeps the {held} replicas that it has"),
                }))
            }
            Action::VerifyReplicas => {
                if validate_only {
                    return Ok(done("the replicas can be compared".into()));
                }
                let comparison = adjudicator.verify_replicas().await.map_err(super::cluster_error)?;
                let (mut text, mut verified) = (comparison.to_string(), verified(&comparison));
                if let Some(jobs) = self.jobs.get() {
                    verified = verified.max(verify_shards(jobs, &mut text).await?);
                }
                if verified == Verified::Incomplete {
                    text.push_str("; nothing differs, but not everything was compared");
                }
                Ok(ActionDone { verified: Some(verified), ..done(text) })
            }
            other => Err(ClusterError::Internal(format!("{other:?} changes no members"))),
        }
    }

    /// Refuses what needs another node, if that does not answer.
    async fn check_answers(&self, node: NodeId) -> Result<(), ClusterError> {
        let Some(peers) = &self.peers else { return Ok(()) };
        let question = words::encode(&Question::Status);
        match peers.call(node, Service::Operator, question, ANSWER_LIMIT).await {
            Ok(_) => Ok(()),
            Err(error) => Err(ClusterError::Unavailable(format!("node {} does not answer: {error}", node.0))),
        }
    }

    /// Refuses work on shards and nodes that there are not, or with nodes that hold no shards.
    fn check_places(&self, action: &Action) -> Result<(), ClusterError> {
        let Some(adjudicator) = self.adjudicator.get() else { return Ok(()) };
        let (shards, onto) = match *action {
            Action::Split { shard, .. } | Action::RecoverShard { shard } => (vec![shard], None),
            Action::Merge { from, into } => (vec![from, into], None),
            Action::MoveReplica { shard, to, .. } => (vec![shard], Some(to)),
            Action::AddReplica { shard, node } => (vec![shard], Some(node)),
            Action::RemoveReplica { shard, .. } => (vec![shard], None),
            _ => return Ok(()),
        };
        let placement = adjudicator.known_placement();
        if let Some(shard) = shards.into_iter().find(|shard| !placement.shards.contains_key(&ShardId(*shard)))
        {
            return Err(ClusterError::NotFound(format!("there is no shard {shard}")));
        }
        let Some(onto) = onto else { return Ok(()) };
        let nodes = adjudicator.known_nodes();
        let Some(record) = nodes.iter().find(|record| record.node.0 == onto) else {
            return Err(ClusterError::NotFound(format!("there is no node {onto}")));
        };
        if !record.roles.iter().any(|role| role == "shard") {
            return Err(ClusterError::Refused(format!("node {onto} holds no shards: it has not that role")));
        }
        Ok(())
    }

    /// How many replicas the placement has on a node.
    fn replicas_on(&self, node: NodeId) -> usize {
        let Some(adjudicator) = self.adjudicator.get() else { return 0 };
        let placement = adjudicator.known_placement();
        placement.shards.values().flat_map(|at| at.replicas.values()).filter(|on| **on == node).count()
    }

    /// Gives up the replicas of a shard that do not answer, though they were most of them.
    async fn recover_shard(&self, shard: ShardId, validate_only: bool) -> Result<ActionDone, ClusterError> {
        let (Some(adjudicator), Some(jobs)) = (self.adjudicator.get(), self.jobs.get()) else {
            return Err(ClusterError::Refused("this node is no adjudicator".into()));
        };
        if adjudicator.cluster_version() < assize_adjudicator::DRAINS_SINCE {
            let text = "not every node's release understands that yet: finish the upgrade first";
            return Err(ClusterError::Refused(text.into()));
        }
        self.check_places(&Action::RecoverShard { shard: shard.0 })?;
        let (left, lost) = jobs.mover().left_and_lost(shard).await.map_err(jobs::cluster_error)?;
        let numbers = |nodes: &[NodeId]| {
            let numbers: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
            numbers.join(", ")
        };
        if left.is_empty() {
            let text = format!("no replica of shard {} answers: there is nothing to go on with", shard.0);
            return Err(ClusterError::Refused(text));
        }
        if left.len() > lost.len() {
            let text = format!(
                "{} of {} replicas of shard {} answer, and that is a majority: what is lost is replaced without that",
                left.len(),
                left.len() + lost.len(),
                shard.0
            );
            return Err(ClusterError::Refused(text));
        }
        let text = format!(
            "shard {} goes on with its replicas on nodes {}, without those on nodes {}",
            shard.0,
            numbers(&left),
            numbers(&lost)
        );
        if !validate_only {
            tracing::error!(%shard, left = numbers(&left), lost = numbers(&lost), "most replicas are given up");
            adjudicator.recover_shard(shard, lost).await.map_err(|error| match error {
                PlacementError::Refused(_) => ClusterError::Refused(error.to_string()),
                PlacementError::Adjudicator(_) => ClusterError::Unavailable(error.to_string()),
            })?;
        }
        Ok(done(text))
    }

    async fn change_shards(
        &self,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        let Some(jobs) = self.jobs.get() else {
            return Err(ClusterError::Refused("this node moves no shards: ask the leader".into()));
        };
        self.check_places(&action)?;
        jobs.act(action, validate_only, who).await
    }
}

/// What a comparison of adjudicators has shown.
fn verified(comparison: &Comparison) -> Verified {
    let others = || comparison.others.values();
    match () {
        () if others().flatten().any(|hash| *hash != comparison.hash) => Verified::Differ,
        () if others().any(Option::is_none) => Verified::Incomplete,
        () => Verified::Equal,
    }
}

/// Compares the content of every shard's replicas; those that differ from the majority are rebuilt. Says so in `text`.
async fn verify_shards(jobs: &Jobs, text: &mut String) -> Result<Verified, ClusterError> {
    let mover = jobs.mover();
    let placement = mover.placement().await.map_err(jobs::cluster_error)?;
    let mut all = Verified::Equal;
    let (mut equal, mut remarks) = (0, String::new());
    for shard in placement.shards.keys() {
        let comparison = mover.compare(*shard).await.map_err(jobs::cluster_error)?;
        let verified = match (comparison.agrees(), comparison.missing.is_empty()) {
            (false, _) => Verified::Differ,
            (true, false) => Verified::Incomplete,
            (true, true) => {
                equal += 1;
                continue;
            }
        };
        all = all.max(verified);
        remarks.push_str(&format!("; {comparison}"));
        for (replica, node) in comparison.outliers() {
            tracing::error!(%shard, %replica, %node, "a replica differs from its siblings: it is rebuilt");
            mover.rebuild(*shard, node).await.map_err(jobs::cluster_error)?;
            remarks.push_str(&format!("; {replica} on {node} is rebuilt"));
        }
    }
    text.push_str(&format!("; {equal} of {} shards have equal replicas{remarks}", placement.shards.len()));
    Ok(all)
}

fn done(text: String) -> ActionDone {
    ActionDone { text, ..ActionDone::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::LogIndex;

    #[test]
    fn adjudicators_that_did_not_answer_are_not_called_equal() {
        let verified = |others: &[Option<u64>]| {
            let others = others.iter().zip(2..).map(|(hash, node)| (NodeId(node), *hash)).collect();
            verified(&Comparison { index: LogIndex(9), hash: 5, others })
        };
        assert_eq!(verified(&[Some(5), Some(5)]), Verified::Equal);
        assert_eq!(verified(&[Some(5), None]), Verified::Incomplete);
        assert_eq!(verified(&[Some(6), None]), Verified::Differ);
    }
}
