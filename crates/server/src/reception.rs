//! What MySQL clients hear of a node that does not serve them yet: nothing for a while, because a moment later it may, and then
//! what it waits for.

use crate::config::Config;
use crate::metrics;
use crate::operator::Local;
use assize_model::{ErrorCode, NodeId, SqlError};
use assize_ports::Rebuff;
use assize_wire::{Anteroom, Patience};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a client waits for the node to serve: less than the ten seconds that drivers give a connection, so that it hears why.
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Takes clients in before there is a frontend.
pub fn open(config: &Config, local: &Arc<Local>, socket: TcpListener) -> io::Result<Anteroom> {
    // As many as the frontend would serve, the administrator among them.
    let patience = Patience { clients_max: config.mysql.max_connections as usize + 1, wait_max: WAIT_MAX };
    let local = local.clone();
    Anteroom::open(socket, patience, move || {
        ::metrics::counter!(metrics::FRONTEND_REFUSED_CONNECTIONS_TOTAL, "reason" => "starting").increment(1);
        not_serving(&local)
    })
}

/// What a client is told that has waited in vain.
fn not_serving(local: &Local) -> SqlError {
    let text =
        format!("node {} does not serve yet: {}; assize status says more", local.node.0, obstacle(local));
    SqlError::new(ErrorCode::ClusterUnavailable, text)
}

/// What is in the way.
fn obstacle(local: &Local) -> String {
    let has_log = local.facts.record.roles.iter().any(|role| role == "adjudicator");
    if local.peers.is_none() || has_log && local.adjudicator.get().is_none() {
        return "it is reading what is on its disk".to_owned();
    }
    if let Some(rebuff) = local.rebuff().filter(Rebuff::is_lasting) {
        return format!("its cluster has not let it in: {}", rebuff.what);
    }
    if local.cluster() == 0 {
        let founders = &local.facts.founders;
        return match founders.contains(&local.node) {
            true => format!(
                "its cluster is not founded yet, for which all its founders have to run: assize start on {}",
                nodes(founders.iter().filter(|founder| **founder != local.node))
            ),
            false => "no cluster has taken it in yet".to_owned(),
        };
    }
    let voters: BTreeSet<NodeId> =
        local.adjudicator.get().map(|adjudicator| adjudicator.status().voters).unwrap_or_default();
    match local.is_cut_off() {
        true if voters.is_empty() => {
            "no node leads the cluster: most of its voters have to run and to reach each other".to_owned()
        }
        true => format!(
            "no node leads the cluster: {} of {} have to run and to reach each other",
            assize_ports::majority(voters.len()),
            nodes(&voters)
        ),
        false => "its cluster has not let it in yet".to_owned(),
    }
}

/// `node 2`, `nodes 2, 3`.
fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let numbers: Vec<String> = nodes.into_iter().map(|node| node.0.to_string()).collect();
    format!("node{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Facts;
    use crate::operator::local_tests::{facts, record};
    use assize_consensus::{Adjudicator, Options};
    use assize_model::Placement;
    use assize_ports::{BoxFuture, Channel, NodeRecord, PeerError, Peers, RebuffCause, Service};
    use bytes::Bytes;

    /// Nobody answers.
    struct Nobody;

    impl Peers for Nobody {
        fn call(
            &self,
            to: NodeId,
            _service: Service,
            _request: Bytes,
            _limit: Duration,
        ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
            Box::pin(
                async move { Err(PeerError::Unreachable { node: to, reason: "nobody is there".into() }) },
            )
        }

        fn open(
            &self,
            to: NodeId,
            _service: Service,
            _hello: Bytes,
            _limit: Duration,
        ) -> BoxFuture<'_, Result<Channel, PeerError>> {
            Box::pin(
                async move { Err(PeerError::Unreachable { node: to, reason: "nobody is there".into() }) },
            )
        }

        fn learn(&self, _node: NodeId, _address: Option<String>) {}

        fn belong(&self, _cluster: u128) {}
    }

    fn told(local: &Local) -> String {
        let error = not_serving(local);
        assert_eq!(error.code.errno(), 1429);
        error.message.to_string()
    }

    #[test]
    fn a_client_hears_what_the_node_waits_for() {
        let founders = BTreeSet::from([1, 2, 3].map(NodeId));
        let founder = Local::new(Facts { founders, ..facts() }, Some(Arc::new(Nobody)));
        let text = told(&founder);
        assert!(text.starts_with("node 1 does not serve yet: its cluster is not founded yet"), "{text}");
        assert!(text.contains("assize start on nodes 2, 3"), "{text}");
        let joiner = Local::new(facts(), Some(Arc::new(Nobody)));
        assert!(told(&joiner).contains("no cluster has taken it in yet"));
        joiner.is_rebuffed(Some((RebuffCause::Token, "the join token is wrong".into())));
        assert!(told(&joiner).contains("its cluster has not let it in: the join token is wrong"));
        joiner.is_rebuffed(None);
        let _ = joiner.joined.set(7);
        assert!(told(&joiner).contains("no node leads the cluster: most of its voters"));
        joiner.told.keep_nodes(&[record(1)]);
        assert!(told(&joiner).contains("has not let it in yet"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_has_a_log_reads_it_first_and_then_says_who_has_to_run() {
        let record = NodeRecord { roles: vec!["adjudicator".into()], ..record(1) };
        let local = Local::new(Facts { record, ..facts() }, Some(Arc::new(Nobody)));
        assert!(told(&local).contains("it is reading what is on its disk"));
        let options = Options::new(NodeId(1), Placement::even(1, NodeId(1)));
        let adjudicator = Adjudicator::open(None, options, None).await.unwrap();
        assert!(local.adjudicator.set(adjudicator).is_ok());
        assert!(told(&local).contains("has not let it in yet"), "it leads itself");
    }
}
