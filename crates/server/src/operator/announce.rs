//! A node tells its cluster that it is there, and where.

use super::local::Local;
use super::words::{self, Answer, Question};
use assize_consensus::Adjudicator;
use assize_model::NodeId;
use assize_ports::{ClusterError, PeerError, Service};
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds of greetings that were of no use.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Greets until the log has this node as it is. `joined` is told the cluster's id as soon as it is known.
pub async fn greet(local: Arc<Local>, seeds: Vec<NodeId>, joined: impl Fn(u128)) {
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
                return;
            }
            Err(error) => {
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
