//! [`DecisionSource`] that follows whichever adjudicator is at hand, and reports to the one that leads.

use super::leaders::Leaders;
use assize_model::{NodeId, Position, ReplicaId, ShardId, StreamEntry};
use assize_ports::{BoxFuture, DecisionSource, DecisionStream, ShardStandings, StreamError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// A request to the leader is held for so long while there is none.
const HOLD: Duration = Duration::from_secs(10);
/// A stream that has broken is looked for elsewhere for so long.
const SEARCH: Duration = Duration::from_secs(10);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(50);

/// The decision streams of the cluster: this node's own if it has an adjudicator, else any other's. All of them carry the
/// same entries, so a stream that breaks goes on elsewhere.
pub struct DecisionRouter {
    leaders: Arc<Leaders>,
}

impl DecisionRouter {
    /// A router among these adjudicators.
    pub fn new(leaders: Arc<Leaders>) -> DecisionRouter {
        DecisionRouter { leaders }
    }

    async fn ask_standings(&self, shard: ShardId) -> Result<ShardStandings, StreamError> {
        let deadline = Instant::now() + HOLD;
        let mut why = StreamError::Unreachable("the adjudicator's leader is not known".into());
        loop {
            match timeout_at(deadline, self.leaders.find()).await {
                Ok(Ok(leader)) => {
                    let source = self.leaders.decisions(leader.node);
                    match timeout_at(deadline, source.standings(shard)).await {
                        Ok(Err(error @ (StreamError::Unreachable(_) | StreamError::Ended(_)))) => {
                            self.leaders.doubt(leader.term);
                            why = error;
                        }
                        Ok(answer) => return answer,
                        Err(_) => return Err(why),
                    }
                }
                Ok(Err(reason)) => why = StreamError::Unreachable(reason),
                Err(_) => return Err(why),
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(why);
            }
            sleep(PAUSE).await;
        }
    }
}

impl DecisionSource for DecisionRouter {
    fn subscribe(
        &self,
        shard: ShardId,
        from: Position,
    ) -> BoxFuture<'_, Result<Box<dyn DecisionStream>, StreamError>> {
        Box::pin(async move {
            let (node, stream) = subscribe_somewhere(&self.leaders, shard, from, None).await?;
            let stream = RoutedStream {
                leaders: self.leaders.clone(),
                shard,
                from,
                at: Some((node, stream)),
                last: node,
            };
            Ok(Box::new(stream) as Box<dyn DecisionStream>)
        })
    }

    fn standings(&self, shard: ShardId) -> BoxFuture<'_, Result<ShardStandings, StreamError>> {
        Box::pin(self.ask_standings(shard))
    }

    fn report_durable(&self, shard: ShardId, replica: ReplicaId, durable: Position) {
        // The next report repeats one for which there was no leader.
        if let Some(leader) = self.leaders.leader() {
            self.leaders.decisions(leader).report_durable(shard, replica, durable);
        }
    }
}

/// Subscribes at the first adjudicator that can serve; the one that has just failed comes last. If none can, the error of
/// the most hopeful one: one that cannot be reached may still have what another has forgotten.
async fn subscribe_somewhere(
    leaders: &Leaders,
    shard: ShardId,
    from: Position,
    failed: Option<NodeId>,
) -> Result<(NodeId, Box<dyn DecisionStream>), StreamError> {
    let mut members = leaders.members();
    members.sort_by_key(|node| Some(*node) == failed);
    let mut hopeful = None;
    for node in members {
        match leaders.decisions(node).subscribe(shard, from).await {
            Ok(stream) => return Ok((node, stream)),
            Err(error) => match (&hopeful, &error) {
                (Some(StreamError::Unreachable(_)), _) | (Some(_), StreamError::Ended(_)) => {}
                _ => hopeful = Some(error),
            },
        }
    }
    Err(hopeful.unwrap_or_else(|| StreamError::Unreachable("no adjudicator is known".into())))
}

/// A subscription that moves on when it breaks.
struct RoutedStream {
    leaders: Arc<Leaders>,
    shard: ShardId,
    /// Everything up to here has been given out.
    from: Position,
    at: Option<(NodeId, Box<dyn DecisionStream>)>,
    last: NodeId,
}

impl RoutedStream {
    /// The stream, found again if it has broken. Dropping the future loses nothing.
    async fn stream(&mut self) -> Result<&mut Box<dyn DecisionStream>, StreamError> {
        let deadline = Instant::now() + SEARCH;
        while self.at.is_none() {
            match subscribe_somewhere(&self.leaders, self.shard, self.from, Some(self.last)).await {
                Ok(found) => self.at = Some(found),
                Err(error @ StreamError::Unreachable(_)) if Instant::now() < deadline => {
                    tracing::debug!(shard = %self.shard, %error, "no decision stream yet");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        match &mut self.at {
            Some((_, stream)) => Ok(stream),
            None => Err(StreamError::Unreachable("no stream".into())),
        }
    }

    async fn next_entries(&mut self) -> Result<Vec<Arc<StreamEntry>>, StreamError> {
        loop {
            match self.stream().await?.next().await {
                Ok(entries) => {
                    if let Some(entry) = entries.last() {
                        self.from = entry.position;
                    }
                    return Ok(entries);
                }
                Err(error @ (StreamError::Forgotten { .. } | StreamError::NoSuchShard(_))) => {
                    self.at = None;
                    return Err(error);
                }
                Err(error @ (StreamError::Unreachable(_) | StreamError::Ended(_))) => {
                    tracing::debug!(shard = %self.shard, node = %self.last, %error, "a decision stream has broken");
                    if let Some((node, _)) = self.at.take() {
                        self.last = node;
                    }
                }
            }
        }
    }
}

impl DecisionStream for RoutedStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>> {
        Box::pin(self.next_entries())
    }
}
