//! Streams. The cluster is asked at intervals, and what is new is told. A stream ends with `UNAVAILABLE` when the node
//! stops, so that its reader knows to go to another node; nothing here outlives its reader.

use crate::error::Reason;
use crate::pb;
use crate::services::Services;
use assize_ports::{ConflictRecord, ReportParts, ShardInfo};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tonic::Status;

/// Between two questions to the cluster.
const INTERVAL: Duration = Duration::from_millis(500);
/// Conflicts that a stream remembers having told; older ones count as told.
const TOLD_MAX: usize = 16_384;

/// The part of a report that conflicts are in.
pub(crate) fn conflicts_only() -> ReportParts {
    ReportParts { conflicts: true, ..ReportParts::default() }
}

/// Waits for the next question; an error if the node stops.
async fn pause(services: &mut Services) -> Result<(), Status> {
    tokio::select! {
        () = tokio::time::sleep(INTERVAL) => Ok(()),
        _ = services.stopping.wait_for(|stopping| *stopping) => {
            Err(Reason::ShuttingDown.status("this node stops: ask another one", &[]))
        }
    }
}

/// Conflicts from now on, in their order; on one table, or on all if `table` is empty.
pub(crate) async fn conflicts(
    services: Services,
    table: String,
) -> Result<BoxStream<'static, Result<pb::Conflict, Status>>, Status> {
    let mut told = Told::default();
    told.fresh(services.ask(services.view.report(conflicts_only())).await?.conflicts);
    let state = (services, told, VecDeque::<ConflictRecord>::new(), table, false);
    let stream = stream::unfold(state, |(mut services, mut told, mut queue, table, has_ended)| async move {
        if has_ended {
            return None;
        }
        loop {
            if let Some(conflict) = queue.pop_front() {
                return Some((Ok(conflict.into()), (services, told, queue, table, false)));
            }
            let asked = match pause(&mut services).await {
                Ok(()) => services.ask(services.view.report(conflicts_only())).await,
                Err(status) => Err(status),
            };
            match asked {
                Ok(report) => queue.extend(
                    told.fresh(report.conflicts).into_iter().filter(|c| table.is_empty() || c.table == table),
                ),
                Err(status) => return Some((Err(status), (services, told, queue, table, true))),
            }
        }
    });
    Ok(stream.boxed())
}

/// Which conflicts were told. Reports overlap, and a node may be missing from one and back in the next.
#[derive(Default)]
struct Told {
    known: BTreeSet<(i64, u64, String)>,
    floor: i64,
}

impl Told {
    /// Those of a report that are new, the oldest first.
    fn fresh(&mut self, mut conflicts: Vec<ConflictRecord>) -> Vec<ConflictRecord> {
        conflicts.sort_by_key(|c| c.at_micros);
        conflicts.retain(|c| {
            c.at_micros >= self.floor && self.known.insert((c.at_micros, c.loser.node, c.id.clone()))
        });
        while self.known.len() > TOLD_MAX {
            if let Some((at_micros, _, _)) = self.known.pop_first() {
                self.floor = at_micros + 1;
            }
        }
        conflicts
    }
}

/// All shards now, and whenever something but their progress has changed.
pub(crate) fn shards(services: Services) -> BoxStream<'static, Result<pb::ListShardsResponse, Status>> {
    let message = |shards: Vec<ShardInfo>| pb::ListShardsResponse {
        shards: shards.into_iter().map(Into::into).collect(),
    };
    changes(services, move |services| async move {
        let shards = services.ask(services.view.shards()).await?;
        Ok(Seen {
            face: shards.iter().cloned().map(face).collect::<Vec<_>>(),
            message: message(shards),
            is_last: false,
        })
    })
}

/// A shard without the figures that change all the time.
fn face(mut shard: ShardInfo) -> ShardInfo {
    shard.bytes = 0;
    for replica in &mut shard.replicas {
        replica.durable_index = 0;
        replica.lag_millis = replica.lag_millis.map(|_| 0);
    }
    shard
}

/// A job now, and whenever it has moved on; ends when it does.
pub(crate) fn job(services: Services, id: String) -> BoxStream<'static, Result<pb::Job, Status>> {
    changes(services, move |services| {
        let id = id.clone();
        async move {
            let jobs = services.ask(services.view.jobs()).await?;
            let found = jobs.into_iter().find(|job| job.id == id);
            let job = found.ok_or_else(|| Reason::NotFound.status(format!("there is no job {id:?}"), &[]))?;
            let face = (job.state.clone(), job.step.clone());
            let message = pb::Job::from(job);
            let is_last = message.state() != pb::JobState::Running;
            Ok(Seen { face, message, is_last })
        }
    })
}

/// One look at something.
struct Seen<F, M> {
    /// What must differ from the last look to be told.
    face: F,
    message: M,
    /// Nothing comes after it.
    is_last: bool,
}

/// Looks again and again, and tells what differs from what it told last.
fn changes<F, M, Look, Answer>(services: Services, look: Look) -> BoxStream<'static, Result<M, Status>>
where
    F: PartialEq + Send + 'static,
    M: Send + 'static,
    Look: Fn(Services) -> Answer + Send + 'static,
    Answer: Future<Output = Result<Seen<F, M>, Status>> + Send,
{
    struct State<F, Look> {
        services: Services,
        look: Look,
        last: Option<F>,
        has_ended: bool,
    }
    let state = State { services, look, last: None, has_ended: false };
    stream::unfold(state, |mut state| async move {
        if state.has_ended {
            return None;
        }
        loop {
            let paused = match state.last {
                Some(_) => pause(&mut state.services).await,
                None => Ok(()),
            };
            let seen = match paused {
                Ok(()) => (state.look)(state.services.clone()).await,
                Err(status) => Err(status),
            };
            match seen {
                Ok(seen) if state.last.as_ref() == Some(&seen.face) => {}
                Ok(seen) => {
                    state.last = Some(seen.face);
                    state.has_ended = seen.is_last;
                    return Some((Ok(seen.message), state));
                }
                Err(status) => {
                    state.has_ended = true;
                    return Some((Err(status), state));
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_ports::ConflictSide;

    fn conflict(at_micros: i64) -> ConflictRecord {
        ConflictRecord {
            id: format!("c-{at_micros:04x}"),
            at_micros,
            kind: "conflict".to_owned(),
            table: String::new(),
            index: String::new(),
            key: String::new(),
            loser: ConflictSide::default(),
            winner: ConflictSide::default(),
            committed_before_micros: None,
            was_retried: false,
        }
    }

    #[test]
    fn a_conflict_is_told_once_although_reports_overlap_and_have_gaps() {
        let mut told = Told::default();
        let times = |fresh: Vec<ConflictRecord>| fresh.iter().map(|c| c.at_micros).collect::<Vec<_>>();
        assert_eq!(times(told.fresh(vec![conflict(2), conflict(1)])), [1, 2]);
        assert_eq!(times(told.fresh(vec![])), [] as [i64; 0]);
        assert_eq!(times(told.fresh(vec![conflict(3), conflict(2)])), [3]);

        let many = (10..10 + TOLD_MAX as i64).map(conflict).collect();
        assert_eq!(told.fresh(many).len(), TOLD_MAX);
        assert_eq!(told.known.len(), TOLD_MAX);
        assert_eq!(told.fresh(vec![conflict(1)]).len(), 0, "forgotten, but old");
    }
}
