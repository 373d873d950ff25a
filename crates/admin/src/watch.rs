//! Streams. What changes in this process is told at once; other nodes are asked at intervals, and what is new is told. A
//! stream ends with `UNAVAILABLE` when the node stops, so that its reader knows to go to another node; nothing here
//! outlives its reader.
//!
//! ```text
//!   this process:  ClusterView::changed ──▶ look ─┐
//!                                                 ├─▶ not told yet? ─▶ reader
//!   other nodes:   every INTERVAL ────────▶ look ─┘
//! ```
//!
//! A change's number is read before what has changed is looked at, so that a change in between is looked at again and
//! none is missed.

use crate::error::Reason;
use crate::pb;
use crate::services::Services;
use assize_ports::{ConflictRecord, ReportParts, ShardInfo, Watched, unknown_winners};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// Between two questions to other nodes.
const INTERVAL: Duration = Duration::from_millis(500);
/// Changes that come one after the other within this are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Conflicts that a stream remembers having told; older ones count as told.
const TOLD_MAX: usize = 16_384;

/// The part of a report that conflicts are in.
pub(crate) fn conflicts_only() -> ReportParts {
    ReportParts { conflicts: true, ..ReportParts::default() }
}

/// When a stream looks again.
struct Pace {
    what: Watched,
    /// The last change of this process that was looked at.
    seen: u64,
    /// When other nodes are asked again.
    due: Instant,
}

/// What a stream looks at next.
enum Look {
    /// Something has changed in this process.
    Changed,
    /// Other nodes may have something new.
    Due,
}

impl Pace {
    async fn begin(services: &Services, what: Watched) -> Pace {
        Pace { what, seen: services.view.changed(what, None).await, due: Instant::now() + INTERVAL }
    }

    /// Waits until there is something to look at; an error if the node stops.
    async fn pause(&mut self, services: &mut Services) -> Result<Look, Status> {
        let view = services.view.clone();
        let asking = async {
            match view.has_others() {
                true => tokio::time::sleep_until(self.due).await,
                false => std::future::pending().await,
            }
        };
        let changed = async {
            view.changed(self.what, Some(self.seen)).await;
            tokio::time::sleep(TOGETHER).await;
            view.changed(self.what, None).await
        };
        tokio::select! {
            // Others come to their turn although this process changes all the time.
            biased;
            _ = services.stopping.wait_for(|stopping| *stopping) => {
                Err(Reason::ShuttingDown.status("this node stops: ask another one", &[]))
            }
            () = asking => {
                self.due = Instant::now() + INTERVAL;
                Ok(Look::Due)
            }
            seen = changed => {
                self.seen = seen;
                Ok(Look::Changed)
            }
        }
    }
}

/// Conflicts from now on, in their order; on one table, or on all if `table` is empty.
pub(crate) async fn conflicts(
    services: Services,
    table: String,
) -> Result<BoxStream<'static, Result<pb::Conflict, Status>>, Status> {
    let pace = Pace::begin(&services, Watched::Conflicts).await;
    let mut told = Told::default();
    told.fresh(services.ask(services.view.report(conflicts_only())).await?.conflicts);
    let reader = Conflicts { services, pace, told, table, queue: VecDeque::new(), has_ended: false };
    let stream = stream::unfold(reader, |mut reader| async move {
        let next = reader.next().await?;
        Some((next.map(Into::into), reader))
    });
    Ok(stream.boxed())
}

/// What a reader of conflicts has heard.
struct Conflicts {
    services: Services,
    pace: Pace,
    told: Told,
    table: String,
    queue: VecDeque<ConflictRecord>,
    has_ended: bool,
}

impl Conflicts {
    async fn next(&mut self) -> Option<Result<ConflictRecord, Status>> {
        if self.has_ended {
            return None;
        }
        loop {
            if let Some(conflict) = self.queue.pop_front() {
                return Some(Ok(conflict));
            }
            match self.look().await {
                Ok(found) => {
                    let fresh = self.told.fresh(found).into_iter();
                    self.queue.extend(fresh.filter(|c| self.table.is_empty() || c.table == self.table));
                }
                Err(status) => {
                    self.has_ended = true;
                    return Some(Err(status));
                }
            }
        }
    }

    /// What may be new.
    async fn look(&mut self) -> Result<Vec<ConflictRecord>, Status> {
        let seen = self.pace.seen;
        match self.pace.pause(&mut self.services).await? {
            Look::Due => Ok(self.services.ask(self.services.view.report(conflicts_only())).await?.conflicts),
            Look::Changed => {
                let mut own = self.services.view.conflicts_since(seen);
                if self.services.view.has_others() {
                    // The report of all nodes, which comes next, says whose statements a winner of another node ran.
                    own.retain(|conflict| unknown_winners(std::slice::from_ref(conflict)).is_empty());
                }
                Ok(own)
            }
        }
    }
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
    changes(services, Watched::Shards, move |services| async move {
        let (shards, balance) = services.shards().await?;
        let face = (shards.iter().cloned().map(face).collect::<Vec<_>>(), balance.clone());
        let shards = shards.into_iter().map(Into::into).collect();
        let may_be_old = services.view.may_be_old();
        let message = pb::ListShardsResponse { shards, balance: Some(balance), may_be_old };
        Ok(Seen { face, message, is_last: false })
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
    changes(services, Watched::Jobs, move |services| {
        let id = id.clone();
        async move {
            let jobs = services.ask(services.view.jobs()).await?.jobs;
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

/// Looks whenever something may have changed, and tells what differs from what it told last.
fn changes<F, M, Ask, Answer>(
    services: Services,
    what: Watched,
    look: Ask,
) -> BoxStream<'static, Result<M, Status>>
where
    F: PartialEq + Send + 'static,
    M: Send + 'static,
    Ask: Fn(Services) -> Answer + Send + 'static,
    Answer: Future<Output = Result<Seen<F, M>, Status>> + Send,
{
    struct State<F, Ask> {
        services: Services,
        look: Ask,
        /// `None` before the first look.
        told: Option<(Pace, F)>,
        has_ended: bool,
    }
    let state = State { services, look, told: None, has_ended: false };
    stream::unfold(state, move |mut state| async move {
        if state.has_ended {
            return None;
        }
        loop {
            let (pace, last) = match state.told.take() {
                None => (Pace::begin(&state.services, what).await, None),
                Some((mut pace, last)) => {
                    if let Err(status) = pace.pause(&mut state.services).await {
                        state.has_ended = true;
                        return Some((Err(status), state));
                    }
                    (pace, Some(last))
                }
            };
            match (state.look)(state.services.clone()).await {
                Ok(seen) => {
                    let is_new = last.as_ref() != Some(&seen.face);
                    state.told = Some((pace, seen.face));
                    if is_new {
                        state.has_ended = seen.is_last;
                        return Some((Ok(seen.message), state));
                    }
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
            committed_before_at_most_micros: None,
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
