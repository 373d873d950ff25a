//! Whether the cluster still has this node.
//!
//! A node that is removed while it runs is told nothing: no log comes any more, and everything looks as if it were cut off. So one
//! that hears of no leader asks the others whether one of them leads, and whether that one still knows it. A node that was removed
//! takes no more clients: the cluster does not count on it any more, and its operator thinks that it is gone.

use super::local::Local;
use super::words::{self, Answer, Question, Record};
use assize_model::NodeId;
use assize_ports::Service;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A leader that has only just been elected may not have applied yet that the node has joined.
const LOOKS_MIN: u32 = 2;
/// How long the clients of a node that was removed may take to finish.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Looks again and again, once the log has the node. Long-lived: the node spawns it.
pub async fn watch(local: Arc<Local>, stopped: impl Future<Output = ()>) {
    tokio::pin!(stopped);
    let mut looks = 0;
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            _ = interval.tick() => {}
        }
        match is_missing(&local).await {
            Some(true) => looks += 1,
            Some(false) => looks = 0,
            None => continue,
        }
        let is_removed = looks >= LOOKS_MIN;
        if local.removed.swap(is_removed, Ordering::Relaxed) != is_removed {
            heed(&local, is_removed).await;
        }
    }
}

/// Whether the leader's list of nodes lacks this one; `None`: no leader has said.
async fn is_missing(local: &Local) -> Option<bool> {
    if local.adjudicator.get().is_some() {
        if !local.is_cut_off() {
            return Some(false);
        }
        let nodes = leaders_list(local).await?;
        return (!nodes.is_empty()).then(|| nodes.iter().all(|record| record.node != local.node.0));
    }
    // It asks the leader each second anyway.
    let nodes = local.told.nodes();
    let is_told = !nodes.is_empty() && !local.is_cut_off();
    is_told.then(|| nodes.iter().all(|record| record.node != local.node))
}

/// The nodes of the cluster, as another node has them that leads.
async fn leaders_list(local: &Local) -> Option<Vec<Record>> {
    let mut known: BTreeSet<NodeId> = local.known_nodes().into_iter().map(|record| record.node).collect();
    known.extend(local.facts.founders.iter());
    known.remove(&local.node);
    let asked = known.into_iter().map(|node| async move {
        match ask(local, node, &Question::Status).await? {
            Answer::Status(status) => (status.leader == Some(node.0)).then_some(node),
            _ => None,
        }
    });
    let leader = join_all(asked).await.into_iter().flatten().next()?;
    match ask(local, leader, &Question::Nodes).await? {
        Answer::Nodes(nodes) => Some(nodes),
        _ => None,
    }
}

async fn ask(local: &Local, node: NodeId, question: &Question) -> Option<Answer> {
    let peers = local.peers.as_ref()?;
    let answer = peers.call(node, Service::Operator, words::encode(question), ANSWER_MAX).await.ok()?;
    words::decode(&answer).ok()
}

async fn heed(local: &Local, is_removed: bool) {
    let frontend = local.frontend.get();
    if is_removed {
        tracing::warn!(
            "the cluster has removed this node, and it still runs: it takes no more clients; stop it"
        );
        if let Some(frontend) = frontend {
            frontend.close(CLOSE_LIMIT).await;
        }
        return;
    }
    tracing::info!("the cluster has taken this node in again");
    if let Some(frontend) = frontend.filter(|_| !local.is_draining())
        && let Err(error) = frontend.reopen().await
    {
        tracing::error!(%error, "no connections can be taken again: restart this process");
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::tests::{facts, record};
    use super::super::local::{LEADERLESS_MAX, Local};
    use super::*;
    use assize_ports::{BoxFuture, Channel, NodeRecord, PeerError, Peers};
    use bytes::Bytes;

    /// Node 2 leads, and has this list of nodes.
    struct Leader(Vec<NodeRecord>);

    impl Peers for Leader {
        fn call(
            &self,
            node: NodeId,
            _: Service,
            request: Bytes,
            _: Duration,
        ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
            let status = words::NodeStatus { leader: Some(2), ..words::NodeStatus::default() };
            let answer = match words::decode(&request) {
                Ok(Question::Status) => Answer::Status(Box::new(status)),
                Ok(Question::Nodes) if node == NodeId(2) => {
                    Answer::Nodes(self.0.iter().cloned().map(Record::from).collect())
                }
                other => panic!("{other:?} of {node:?}"),
            };
            Box::pin(std::future::ready(Ok(words::encode(&answer))))
        }

        fn open(
            &self,
            _: NodeId,
            _: Service,
            _: Bytes,
            _: Duration,
        ) -> BoxFuture<'_, Result<Channel, PeerError>> {
            unreachable!("nobody opens a channel")
        }

        fn learn(&self, _: NodeId, _: Option<String>) {}

        fn belong(&self, _: u128) {}
    }

    #[tokio::test]
    async fn a_node_without_an_adjudicator_is_missing_when_the_leader_says_so() {
        let local = Local::new(facts(), None);
        assert_eq!(is_missing(&local).await, None, "nobody has told it anything");
        local.told.keep_nodes(&[record(1), record(2)]);
        assert_eq!(is_missing(&local).await, Some(false));
        local.told.keep_nodes(&[record(2)]);
        assert_eq!(is_missing(&local).await, Some(true));
        local.told.fall_silent(LEADERLESS_MAX * 2);
        assert_eq!(is_missing(&local).await, None, "that was long ago");
    }

    #[tokio::test]
    async fn whoever_leads_is_asked_for_the_list() {
        let list = |nodes: Option<Vec<Record>>| nodes.map(|n| n.iter().map(|r| r.node).collect::<Vec<u64>>());
        let local = Local::new(facts(), Some(Arc::new(Leader([2, 3].map(record).into()))));
        assert_eq!(list(leaders_list(&local).await), None, "it knows nobody to ask");
        local.told.keep_nodes(&[record(1), record(3)]);
        assert_eq!(list(leaders_list(&local).await), None, "node 3 says that another one leads");
        local.told.keep_nodes(&[record(1), record(2), record(3)]);
        assert_eq!(list(leaders_list(&local).await), Some(vec![2, 3]));
    }
}
