//! A node tells its cluster that it is there, and where.

use super::local::{Local, NO_TOKEN, WRONG_TOKEN};
use super::words::{self, Answer, Question};
use crate::net::CLUSTER_VERSION;
use assize_consensus::Adjudicator;
use assize_model::NodeId;
use assize_ports::{ClusterError, PeerError, RebuffCause, Service};
use assize_rpc::is_about_certificates;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds of greetings that were of no use.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often the log says again that nothing has changed…
const SAY_EVERY: Duration = Duration::from_secs(60);
/// … and how often, at most, that the same is said in other words.
const WORDS_EVERY: Duration = Duration::from_secs(10);

/// Greets until the log has this node as it is; an error if it never will. `joined` is told the cluster's id as soon as it
/// is known.
pub async fn greet(local: Arc<Local>, seeds: Vec<NodeId>, joined: impl Fn(u128)) -> Result<(), String> {
    let mut log = Log::default();
    loop {
        // From the log of an earlier life, before anybody answers.
        if let Some(cluster) = local.adjudicator.get().and_then(Adjudicator::cluster) {
            joined(cluster);
        }
        match round(&local, &seeds).await {
            Ok(cluster) => {
                joined(cluster);
                local.is_rebuffed(None);
                tracing::info!(node = local.node.0, "the cluster knows this node");
                return Ok(());
            }
            Err(Failure { cause, words }) => {
                if cause >= RebuffCause::Refusal
                    && let Some(why) = outdated(newest_version(&local, &seeds).await, CLUSTER_VERSION)
                {
                    return Err(why);
                }
                let text = words.join("; ");
                log.say(cause, &text, Instant::now());
                local.is_rebuffed(Some((cause, text)));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was said last in the node's log of why it is not let in.
#[derive(Default)]
struct Log(Option<(RebuffCause, String, Instant)>);

impl Log {
    /// Says it when it has changed, and otherwise now and then. Words about one cause may change with every round: they are said no
    /// more often than every [`WORDS_EVERY`].
    fn say(&mut self, cause: RebuffCause, text: &str, now: Instant) {
        if !self.is_due(cause, text, now) {
            return;
        }
        match cause >= RebuffCause::Certificate {
            true => tracing::warn!(error = text, "the cluster does not know this node yet"),
            false => tracing::info!(error = text, "the cluster does not know this node yet"),
        }
        self.0 = Some((cause, text.to_owned(), now));
    }

    fn is_due(&self, cause: RebuffCause, text: &str, now: Instant) -> bool {
        let Some((said, words, when)) = &self.0 else { return true };
        let ago = now.saturating_duration_since(*when);
        cause != *said || ago >= SAY_EVERY || words != text && ago >= WORDS_EVERY
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

/// Why nobody has taken the node in: what says most, from all who say that.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    cause: RebuffCause,
    words: Vec<String>,
}

impl Failure {
    fn or(&mut self, cause: RebuffCause, words: String) {
        if cause > self.cause {
            *self = Failure { cause, words: vec![words] };
        } else if cause == self.cause && !self.words.contains(&words) {
            self.words.push(words);
        }
    }

    /// Somebody has answered, and does not take the node in.
    fn answered(&mut self, error: ClusterError) {
        let cause = match &error {
            ClusterError::Refused(why) if why == WRONG_TOKEN || why == NO_TOKEN => RebuffCause::Token,
            ClusterError::Refused(_) => RebuffCause::Refusal,
            _ => RebuffCause::Leaderless,
        };
        self.or(cause, error.to_string());
    }

    /// Somebody could not be asked.
    fn unasked(&mut self, error: &PeerError) {
        let cause = match error {
            // Such as one that belongs to another cluster.
            PeerError::Refused { .. } => RebuffCause::Refusal,
            PeerError::Unreachable { reason, .. } | PeerError::ReplyLost { reason, .. }
                if is_about_certificates(reason) =>
            {
                RebuffCause::Certificate
            }
            PeerError::Unreachable { .. } | PeerError::ReplyLost { .. } => RebuffCause::Silence,
        };
        self.or(cause, error.to_string());
    }
}

/// Greets whoever may know the leader, this node's own adjudicator first.
async fn round(local: &Arc<Local>, seeds: &[NodeId]) -> Result<u128, Failure> {
    let question = Question::Hello {
        record: local.facts.record().into(),
        token: local.facts.token.as_ref().map(|token| token.secret().to_owned()),
    };
    let mut failure = Failure { cause: RebuffCause::Silence, words: Vec::new() };
    if local.leader().is_some() {
        match local.answer(&question).await {
            Answer::Welcome { cluster } if cluster != 0 => return Ok(cluster),
            Answer::Failed(error) => failure.answered(error),
            _ => {}
        }
    }
    let Some(peers) = &local.peers else { return Err(failure) };
    for seed in seeds {
        let answer = peers.call(*seed, Service::Operator, words::encode(&question), ANSWER_MAX).await;
        match answer.map(|bytes| words::decode(&bytes)) {
            Ok(Ok(Answer::Welcome { cluster })) if cluster != 0 => return Ok(cluster),
            Ok(Ok(Answer::Failed(error))) => failure.answered(error),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => failure.answered(ClusterError::Internal(error)),
            Err(error) => failure.unasked(&error),
        }
    }
    if failure.words.is_empty() {
        failure.words.push("nobody could be asked".to_owned());
    }
    Err(failure)
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

    #[test]
    fn of_several_reasons_the_one_that_says_most_is_told() {
        let mut failure = Failure { cause: RebuffCause::Silence, words: Vec::new() };
        let unreachable = |node: u64, reason: &str| PeerError::Unreachable {
            node: NodeId(node),
            reason: reason.to_owned(),
        };
        failure.unasked(&unreachable(1, "10.0.0.1:7407: Connection refused"));
        failure.unasked(&unreachable(2, "not connected in time"));
        assert_eq!(failure.cause, RebuffCause::Silence);
        let words = failure.words.join("; ");
        assert_eq!(
            words,
            "n1 cannot be reached: 10.0.0.1:7407: Connection refused; n2 cannot be reached: not connected in time"
        );
        failure.answered(ClusterError::Unavailable("no node leads the adjudicator's group".into()));
        assert_eq!(failure.cause, RebuffCause::Leaderless);
        failure.unasked(&unreachable(3, "10.0.0.3:7407: invalid peer certificate: UnknownIssuer"));
        assert_eq!(failure.cause, RebuffCause::Certificate);
        failure
            .unasked(&PeerError::Refused { node: NodeId(1), reason: "it belongs to another cluster".into() });
        assert_eq!(failure.cause, RebuffCause::Refusal);
        failure.answered(ClusterError::Refused(WRONG_TOKEN.to_owned()));
        failure.unasked(&unreachable(2, "not connected in time"));
        assert_eq!(failure, Failure { cause: RebuffCause::Token, words: vec![WRONG_TOKEN.to_owned()] });
    }

    #[test]
    fn the_log_says_what_is_new_at_once_and_what_is_not_now_and_then() {
        let (mut log, begun) = (Log::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(log.is_due(RebuffCause::Silence, "refused", begun));
        log.say(RebuffCause::Silence, "refused", begun);
        assert!(!log.is_due(RebuffCause::Silence, "refused", at(59)));
        assert!(log.is_due(RebuffCause::Silence, "refused", at(60)));
        assert!(!log.is_due(RebuffCause::Silence, "too late", at(1)), "the same in other words");
        assert!(log.is_due(RebuffCause::Silence, "too late", at(10)));
        assert!(log.is_due(RebuffCause::Token, "the join token is wrong", at(1)));
        log.say(RebuffCause::Token, "the join token is wrong", at(1));
        assert!(!log.is_due(RebuffCause::Token, "the join token is wrong", at(2)));
    }
}
