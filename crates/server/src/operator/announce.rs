//! A node tells its cluster that it is there, and where.

use super::local::Local;
use super::words::{self, Answer, Question};
use crate::net::CLUSTER_VERSION;
use assize_consensus::Adjudicator;
use assize_model::NodeId;
use assize_ports::{ClusterError, PeerError, Service};
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds of greetings that were of no use.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Greets until the log has this node as it is; an error if it never will. `joined` is told the cluster's id as soon as it
/// is known.
pub async fn greet(local: Arc<Local>, seeds: Vec<NodeId>, joined: impl Fn(u128)) -> Result<(), String> {
    let mut last_told = String::new();
    loop {
        // From the log of an earlier life, before anybody answers.
        if let Some(cluster) = local.adjudicator.get().and_then(Adjudicator::cluster) {
            joined(cluster);
        }
        match round(&local, &seeds).await {
            Ok(cluster) => {
                joined(cluster);
                tracing::info!(node = local.node.0, "the cluster knows this node");
                return Ok(());
            }
            Err(error) => {
                if matches!(error, ClusterError::Refused(_))
                    && let Some(why) = outdated(newest_version(&local, &seeds).await, CLUSTER_VERSION)
                {
                    return Err(why);
                }
                let text = error.to_string();
                if text != last_told {
                    tracing::info!(error = text, "the cluster does not know this node yet");
                    last_told = text;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why a node never will be taken in, if its release does not understand the cluster's version.
fn outdated(cluster: u32, understood: u32) -> Option<String> {
    (cluster > understood).then(|| {
        format!(
            "the cluster is at version {cluster}, and this node's release understands versions up to {understood}: start \
             a newer release"
        )
    })
}

/// The cluster's version, as the nodes say that answer; 0 if none does.
async fn newest_version(local: &Local, seeds: &[NodeId]) -> u32 {
    let Some(peers) = &local.peers else { return 0 };
    let mut newest = 0;
    for seed in seeds {
        let question = words::encode(&Question::Status);
        if let Ok(answer) = peers.call(*seed, Service::Operator, question, ANSWER_MAX).await
            && let Ok(Answer::Status(status)) = words::decode(&answer)
        {
            newest = newest.max(status.cluster_version);
        }
    }
    newest
}

/// Why nobody has taken the node in: a refusal says more than that somebody else could not be asked.
struct Failure(ClusterError);

impl Failure {
    fn or(&mut self, error: ClusterError) {
        if !matches!(self.0, ClusterError::Refused(_)) {
            self.0 = error;
        }
    }
}

/// Greets whoever may know the leader, this node's own adjudicator first.
async fn round(local: &Arc<Local>, seeds: &[NodeId]) -> Result<u128, ClusterError> {
    let question = Question::Hello {
        record: local.facts.record().into(),
        token: local.facts.token.as_ref().map(|token| token.secret().to_owned()),
    };
    let mut failure = Failure(ClusterError::Unavailable("nobody could be asked".into()));
    if local.leader().is_some() {
        match local.answer(&question).await {
            Answer::Welcome { cluster } if cluster != 0 => return Ok(cluster),
            Answer::Failed(error) => failure.or(error),
            _ => {}
        }
    }
    let Some(peers) = &local.peers else { return Err(failure.0) };
    for seed in seeds {
        let answer = peers.call(*seed, Service::Operator, words::encode(&question), ANSWER_MAX).await;
        match answer.map(|bytes| words::decode(&bytes)) {
            Ok(Ok(Answer::Welcome { cluster })) if cluster != 0 => return Ok(cluster),
            Ok(Ok(Answer::Failed(error))) => failure.or(error),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => failure.or(ClusterError::Internal(error)),
            // Such as one that belongs to another cluster.
            Err(error @ PeerError::Refused { .. }) => failure.or(ClusterError::Refused(error.to_string())),
            Err(error) => failure.or(ClusterError::Unavailable(error.to_string())),
        }
    }
    Err(failure.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cluster_that_is_ahead_turns_a_release_away_for_good() {
        assert_eq!(outdated(0, 2), None, "nobody has said");
        assert_eq!(outdated(2, 2), None);
        let why = outdated(3, 2).unwrap();
        assert!(
            why.contains("at version 3") && why.contains("up to 2") && why.contains("newer release"),
            "{why}"
        );
    }
}
