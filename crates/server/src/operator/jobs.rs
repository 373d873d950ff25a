//! Long work on shards: begun by an operator, carried on in the background, looked at as jobs.

use super::bells::Bells;
use super::diary::{Author, Diary};
use crate::metrics;
use assize_admin::Noted;
use assize_model::{NodeId, ShardId, Slot};
use assize_ports::{Action, ActionDone, BoxFuture, ClusterError, JobInfo, Watched};
use assize_shards::{MoveError, Mover, Progress, Task, Why, Worker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Jobs that are remembered.
const JOBS_MAX: usize = 256;
/// How long a job is remembered after its beginning, once it has ended.
const JOBS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The long work of one node. Only one piece runs at a time: two that move the same shard would meet half-way.
pub struct Jobs {
    mover: Arc<Mover>,
    known: Mutex<Known>,
    turn: tokio::sync::Mutex<()>,
    bells: Arc<Bells>,
    /// What nobody asked for is noted there, and how all of it ends.
    diary: Diary,
}

#[derive(Default)]
struct Known {
    /// The number drawn last.
    drawn: u64,
    jobs: VecDeque<Arc<Job>>,
}

/// One piece of work.
struct Job {
    began: Instant,
    info: Mutex<JobInfo>,
    bells: Arc<Bells>,
}

impl Job {
    fn info(&self) -> MutexGuard<'_, JobInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_forgotten(&self) -> bool {
        let goes_on = matches!(self.info().state.as_str(), "running" | "waiting");
        !goes_on && self.began.elapsed() > JOBS_KEPT
    }

    /// It is over, and has come to this.
    fn end(&self, outcome: &Result<String, MoveError>) {
        let mut info = self.info();
        info.micros = micros(self.began.elapsed());
        match outcome {
            Ok(text) => {
                tracing::info!(job = info.id, text, "a job is done");
                info.state = "done".into();
                info.step.clone_from(text);
            }
            Err(error) => {
                tracing::warn!(job = info.id, %error, "a job failed");
                info.state = format!("failed: {error}");
            }
        }
        drop(info);
        self.ring();
    }

    /// It stands otherwise than before, and so may what it works on.
    fn ring(&self) {
        self.bells.ring(Watched::Jobs);
        self.bells.ring(Watched::Shards);
    }
}

impl Progress for Job {
    fn step(&self, step: &str) {
        let mut info = self.info();
        tracing::info!(job = info.id, step, "a job goes on");
        info.step = step.to_owned();
        drop(info);
        self.ring();
    }

    fn stalled(&self, time: Duration) {
        let mut info = self.info();
        info.longest_stall_micros = info.longest_stall_micros.max(micros(time));
    }
}

impl Jobs {
    /// Has a mover work, and rings when something comes of it.
    pub fn new(mover: Arc<Mover>, bells: Arc<Bells>, diary: Diary) -> Arc<Jobs> {
        Arc::new(Jobs { mover, known: Mutex::default(), turn: tokio::sync::Mutex::default(), bells, diary })
    }

    /// Who does the work.
    pub fn mover(&self) -> &Mover {
        &self.mover
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are remembered, newest first.
    pub fn list(&self) -> Vec<JobInfo> {
        let mut known = self.known();
        known.jobs.retain(|job| !job.is_forgotten());
        known
            .jobs
            .iter()
            .map(|job| {
                let mut info = job.info().clone();
                if info.state == "running" || info.state == "waiting" {
                    info.micros = micros(job.began.elapsed());
                }
                info
            })
            .collect()
    }

    /// Whether something runs or waits.
    pub fn is_busy(&self) -> bool {
        self.known().jobs.iter().any(|job| matches!(job.info().state.as_str(), "running" | "waiting"))
    }

    /// Begins what an action says, or only says whether it could be done.
    pub async fn act(
        self: &Arc<Self>,
        action: Action,
        validate_only: bool,
        who: &str,
    ) -> Result<ActionDone, ClusterError> {
        let rpc = action.rpc();
        let (name, task) = task_of(action)?;
        let placement = self.mover.placement().await.map_err(cluster_error)?;
        Mover::check(&placement, &task).map_err(cluster_error)?;
        if validate_only {
            return Ok(ActionDone { text: task.to_string(), ..ActionDone::default() });
        }
        let id = self.begin(name, task, rpc, Author::Somebody(who.to_owned()));
        Ok(ActionDone { text: task.to_string(), job: Some(id), verified: None })
    }

    /// Begins a task in the background; returns its job's name.
    fn begin(self: &Arc<Self>, name: &str, task: Task, rpc: &'static str, author: Author) -> String {
        let mut known = self.known();
        let job = new_job(&mut known, self.bells.clone(), self.diary.node, name, &task);
        drop(known);
        job.ring();
        let id = job.info().id.clone();
        tokio::spawn(self.clone().run(job, task, rpc, author));
        id
    }

    async fn run(self: Arc<Self>, job: Arc<Job>, task: Task, rpc: &'static str, author: Author) {
        // Whoever wants to know looks at the job, or reads the audit log.
        let outcome = self.run_to_its_end(&job, task).await;
        self.note_end(&job, &outcome, rpc, &author).await;
    }

    async fn note_end(
        &self,
        job: &Job,
        outcome: &Result<String, MoveError>,
        what: &'static str,
        author: &Author,
    ) {
        let id = job.info().id.clone();
        let (noted, text) = match outcome {
            Ok(text) => (Noted::Done, format!("{id}: {text}")),
            Err(error) => (Noted::Failed, format!("{id}: {error}")),
        };
        self.diary.work(author, what, noted, text).await;
    }

    async fn run_to_its_end(&self, job: &Job, task: Task) -> Result<String, MoveError> {
        let _turn = self.turn.lock().await;
        job.info().state = "running".into();
        job.ring();
        let outcome = self.mover.run(task, job).await;
        job.end(&outcome);
        outcome
    }

    /// Does what nobody asked for, as a job like any other, until it is abandoned.
    async fn do_by_itself(
        &self,
        why: Why,
        task: Task,
        abandoned: BoxFuture<'static, ()>,
    ) -> Result<Duration, String> {
        self.diary.work(&Author::Itself, why.label(), Noted::Asked, task.to_string()).await;
        let job = new_job(&mut self.known(), self.bells.clone(), self.diary.node, why.label(), &task);
        job.ring();
        let outcome = tokio::select! {
            outcome = self.run_to_its_end(&job, task) => outcome,
            () = abandoned => {
                let error = MoveError::Refused("another node leads, and looks after the shards now".into());
                job.end(&Err(error.clone()));
                Err(error)
            }
        };
        self.note_end(&job, &outcome, why.label(), &Author::Itself).await;
        let is_done = if outcome.is_ok() { "done" } else { "failed" };
        ::metrics::counter!(
            metrics::SHARD_CARE_TASKS_TOTAL,
            "reason" => why.label(), "task" => task.label(), "outcome" => is_done
        )
        .increment(1);
        let stall = Duration::from_micros(job.info().longest_stall_micros);
        outcome.map(|_| stall).map_err(|error| error.to_string())
    }
}

impl Worker for Jobs {
    fn carry_out(
        &self,
        why: Why,
        task: Task,
        abandoned: BoxFuture<'static, ()>,
    ) -> BoxFuture<'_, Result<Duration, String>> {
        Box::pin(self.do_by_itself(why, task, abandoned))
    }
}

/// Enters a job that has not begun. Each node counts its own, so its number is part of the name: the time in microseconds, or
/// more, so that what it does after it has started again has other names.
fn new_job(known: &mut Known, bells: Arc<Bells>, node: NodeId, name: &str, task: &Task) -> Arc<Job> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = now.as_micros() as u64;
    known.drawn = micros.max(known.drawn + 1);
    let info = JobInfo {
        id: format!("{name}-{}.{}", node.0, known.drawn),
        what: task.to_string(),
        state: "waiting".into(),
        step: String::new(),
        began_micros: i64::try_from(micros).unwrap_or(i64::MAX),
        micros: 0,
        longest_stall_micros: 0,
        rows: None,
    };
    let job = Arc::new(Job { began: Instant::now(), info: Mutex::new(info), bells });
    known.jobs.push_front(job.clone());
    known.jobs.truncate(JOBS_MAX);
    job
}

/// The name of a job and its task.
fn task_of(action: Action) -> Result<(&'static str, Task), ClusterError> {
    Ok(match action {
        Action::Split { shard, at } => ("split", Task::Split { shard: ShardId(shard), at: at.map(Slot) }),
        Action::MoveReplica { shard, from, to } => {
            ("move", Task::MoveReplica { shard: ShardId(shard), from: NodeId(from), to: NodeId(to) })
        }
        Action::AddReplica { shard, node } => {
            ("add-replica", Task::AddReplica { shard: ShardId(shard), node: NodeId(node) })
        }
        Action::RemoveReplica { shard, node } => {
            ("remove-replica", Task::RemoveReplica { shard: ShardId(shard), node: NodeId(node) })
        }
        Action::Merge { from, into } => ("merge", Task::Merge { from: ShardId(from), into: ShardId(into) }),
        other => return Err(ClusterError::Internal(format!("{other:?} is no work on shards"))),
    })
}

pub(super) fn cluster_error(error: MoveError) -> ClusterError {
    match error {
        MoveError::Refused(why) => ClusterError::Refused(why),
        other => ClusterError::Unavailable(other.to_string()),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_consensus::Adjudicator;
    use assize_model::Placement;
    use assize_ports::{Channel, PeerError, Peers, Service};
    use assize_shards::Colleagues;
    use bytes::Bytes;
    use tokio::sync::{oneshot, watch};

    const MUTE: NodeId = NodeId(2);

    /// Another node that hears everything and answers nothing.
    #[derive(Default)]
    struct Mute {
        asked: watch::Sender<u64>,
    }

    impl Peers for Mute {
        fn call(
            &self,
            _to: NodeId,
            _service: Service,
            _request: Bytes,
            _limit: Duration,
        ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
            self.asked.send_modify(|asked| *asked += 1);
            Box::pin(std::future::pending())
        }

        fn open(
            &self,
            _to: NodeId,
            _service: Service,
            _hello: Bytes,
            _limit: Duration,
        ) -> BoxFuture<'_, Result<Channel, PeerError>> {
            Box::pin(std::future::pending())
        }

        fn learn(&self, _node: NodeId, _address: Option<String>) {}

        fn belong(&self, _cluster: u128) {}
    }

    async fn adjudicator() -> Adjudicator {
        let placement = Placement::even(2, NodeId(1));
        let options = assize_consensus::Options {
            window_log2: 10,
            ..assize_consensus::Options::new(NodeId(1), placement)
        };
        Adjudicator::open(None, options, None).await.unwrap()
    }

    fn jobs(adjudicator: &Adjudicator, mute: Arc<Mute>, diary: Diary) -> Arc<Jobs> {
        let colleagues = Colleagues::new(NodeId(1), Some(mute), None);
        let way = Arc::new(adjudicator.clone());
        let mover = Mover::new(way.clone(), way.clone(), way, colleagues, Duration::from_secs(60));
        Jobs::new(Arc::new(mover), Arc::default(), diary)
    }

    /// Begins what nobody asked for; whoever drops the other half abandons it.
    fn by_itself(
        jobs: &Arc<Jobs>,
        why: Why,
        shard: u32,
    ) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<Duration, String>>) {
        let (going_on, abandoned) = oneshot::channel::<()>();
        let (jobs, task) = (jobs.clone(), Task::AddReplica { shard: ShardId(shard), node: MUTE });
        let abandoned = Box::pin(async { drop(abandoned.await) });
        (going_on, tokio::spawn(async move { jobs.carry_out(why, task, abandoned).await }))
    }

    /// Waits until this many jobs are known, of which the newest is in this state.
    async fn newest_is(jobs: &Jobs, known: usize, state: &str) {
        let mut seen = None;
        loop {
            seen = Some(jobs.bells.changed(Watched::Jobs, seen).await);
            let list = jobs.list();
            if list.len() == known && list[0].state == state {
                return;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_node_does_by_itself_ends_with_its_lead_and_holds_up_nobody_after_that() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        let (adjudicator, mute) = (adjudicator().await, Arc::new(Mute::default()));
        let diary = Diary { node: NodeId(1), file: Some(file.clone()) };
        let jobs = jobs(&adjudicator, mute.clone(), diary);
        let mut asked = mute.asked.subscribe();

        let (first_goes_on, first) = by_itself(&jobs, Why::Care, 1);
        asked.wait_for(|asked| *asked == 1).await.unwrap();
        let (second_goes_on, second) = by_itself(&jobs, Why::Balance, 2);
        newest_is(&jobs, 2, "waiting").await;
        assert!(jobs.is_busy());

        // One that has not had its turn never begins, and one that is half-way goes no further.
        let why = "another node leads, and looks after the shards now";
        drop(second_goes_on);
        assert_eq!(second.await.unwrap().unwrap_err(), why);
        assert_eq!(*asked.borrow(), 1);
        drop(first_goes_on);
        assert_eq!(first.await.unwrap().unwrap_err(), why);
        assert!(!jobs.is_busy());
        let states: Vec<String> = jobs.list().into_iter().map(|job| job.state).collect();
        assert_eq!(states, [format!("failed: {why}"), format!("failed: {why}")]);

        // What an operator asks of this node has its turn at once.
        jobs.act(Action::AddReplica { shard: 1, node: MUTE.0 }, false, "local").await.unwrap();
        asked.wait_for(|asked| *asked == 2).await.unwrap();
        newest_is(&jobs, 3, "running").await;

        let lines = std::fs::read_to_string(&file).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let told: Vec<(String, String)> = lines
            .map(|line| (line["rpc"].as_str().unwrap().into(), line["outcome"].as_str().unwrap().into()))
            .collect();
        let expected = [("care", "asked"), ("balance", "asked"), ("balance", "failed"), ("care", "failed")];
        assert_eq!(told, expected.map(|(rpc, outcome)| (rpc.to_owned(), outcome.to_owned())));
        adjudicator.shutdown().await;
    }
}
