//! Long work that statements do on data (an index is built, a table copied), kept for a while so that operators can look at it.
//!
//! A job is named when it is told, because only whoever asks knows the node's number: `index-1.1795168740123456` is one of node 1.
//! Numbers begin with the time, in microseconds, so that those of a node that has started again are other ones.
//!
//! Invariants:
//! - Jobs are bounded; what goes on is forgotten last, and what has ended is forgotten after a day.
//! - A job whose statement was dropped before its end counts as failed.
//! - What a statement begins again because it is run again goes on as the job that it was.

use assize_model::SqlError;
use assize_ports::{Clock, JobInfo, StatementJob};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Jobs that are remembered.
const JOBS_MAX: usize = 256;
/// How long a job is remembered after its end.
const KEPT_MICROS: u64 = 24 * 3600 * 1_000_000;

/// The jobs of a frontend's statements.
pub struct JobLog {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    bell: OnceLock<JobBell>,
}

/// Told when a job has moved on. Must be short.
pub type JobBell = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Kept {
    /// The number drawn last.
    drawn: u64,
    /// Newest first.
    jobs: VecDeque<Arc<Job>>,
}

/// The jobs of a statement, which may be run again.
#[derive(Default)]
pub(crate) struct StatementJobs {
    /// Of this attempt.
    begun: Vec<Arc<Job>>,
    /// Of attempts before, not begun again yet.
    before: Vec<Arc<Job>>,
}

impl StatementJobs {
    /// The statement is run again.
    pub(crate) fn run_again(&mut self) {
        self.before.append(&mut self.begun);
    }

    /// Takes out what was begun in an attempt before.
    fn take(&mut self, kind: &str, what: &str) -> Option<Arc<Job>> {
        let at = self.before.iter().position(|job| job.kind == kind && job.what == what)?;
        Some(self.before.swap_remove(at))
    }
}

struct Job {
    kind: &'static str,
    number: u64,
    what: String,
    began_micros: i64,
    /// By the monotonic clock.
    began: u64,
    now: Mutex<Now>,
}

/// How a job stands.
#[derive(Default)]
struct Now {
    step: String,
    rows: u64,
    /// When it ended, by the monotonic clock, and how.
    ended: Option<(u64, Result<(), String>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can leave its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JobLog {
    /// Knows of nothing yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        JobLog { clock, kept: Mutex::default(), bell: OnceLock::new() }
    }

    /// A statement begins work of this kind, or begins it again.
    pub(crate) fn begin(
        self: &Arc<Self>,
        kind: &'static str,
        what: String,
        of: &mut StatementJobs,
    ) -> Box<dyn StatementJob> {
        let job = match of.take(kind, &what) {
            Some(job) => {
                *lock(&job.now) = Now::default();
                job
            }
            None => self.begin_new(kind, what),
        };
        of.begun.push(job.clone());
        self.ring();
        Box::new(Running { job, log: self.clone() })
    }

    fn begin_new(&self, kind: &'static str, what: String) -> Arc<Job> {
        let (began, began_micros) = (self.clock.monotonic_micros(), self.clock.now_micros());
        let time = u64::try_from(began_micros).unwrap_or_default();
        let mut kept = lock(&self.kept);
        kept.drawn = time.max(kept.drawn + 1);
        let job = Job { kind, number: kept.drawn, what, began_micros, began, now: Mutex::default() };
        let job = Arc::new(job);
        kept.jobs.push_front(job.clone());
        if kept.jobs.len() > JOBS_MAX {
            let oldest = kept.jobs.iter().rposition(|job| lock(&job.now).ended.is_some());
            kept.jobs.remove(oldest.unwrap_or(JOBS_MAX));
        }
        job
    }

    /// Somebody wants to know when a job has moved on. Only the first one is told.
    pub fn rings(&self, bell: JobBell) {
        // A frontend has one node, and starts once.
        let _ = self.bell.set(bell);
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }

    /// What is remembered, newest first, as told by this node.
    pub fn list(&self, node: u64) -> Vec<JobInfo> {
        let now = self.clock.monotonic_micros();
        let mut kept = lock(&self.kept);
        let is_old = |ended: u64| now.saturating_sub(ended) > KEPT_MICROS;
        kept.jobs.retain(|job| !lock(&job.now).ended.as_ref().is_some_and(|(ended, _)| is_old(*ended)));
        kept.jobs.iter().map(|job| job.told(node, now)).collect()
    }
}

impl Job {
    fn told(&self, node: u64, now: u64) -> JobInfo {
        let Now { step, rows, ended } = &*lock(&self.now);
        let state = match ended {
            None => "running".to_owned(),
            Some((_, Ok(()))) => "done".to_owned(),
            Some((_, Err(why))) => format!("failed: {why}"),
        };
        let until = ended.as_ref().map_or(now, |(ended, _)| *ended);
        JobInfo {
            id: format!("{}-{node}.{}", self.kind, self.number),
            what: self.what.clone(),
            state,
            step: format!("{step}: {rows} rows"),
            began_micros: self.began_micros,
            micros: until.saturating_sub(self.began),
            longest_stall_micros: 0,
            rows: Some(*rows),
        }
    }
}

/// A job that goes on.
struct Running {
    job: Arc<Job>,
    log: Arc<JobLog>,
}

impl Running {
    fn end_as(&self, how: Result<(), String>) {
        let at = self.log.clock.monotonic_micros();
        let mut now = lock(&self.job.now);
        if now.ended.is_some() {
            return;
        }
        now.ended = Some((at, how));
        drop(now);
        self.log.ring();
    }
}

impl StatementJob for Running {
    fn step(&self, step: &str) {
        let mut now = lock(&self.job.now);
        now.step = step.to_owned();
        now.rows = 0;
        drop(now);
        self.log.ring();
    }

    fn did(&self, rows: u64) {
        lock(&self.job.now).rows += rows;
    }

    fn end(&self, outcome: Result<(), &SqlError>) {
        self.end_as(outcome.map_err(|error| error.message.clone()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_as(Err("its statement was given up".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::ErrorCode;
    use assize_ports::BoxFuture;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now_micros(&self) -> i64 {
            1_790_000_000_000_000
        }
        fn monotonic_micros(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
        fn sleep(&self, _: u64) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
        fn random(&self) -> u64 {
            0
        }
    }

    fn log() -> (Arc<Hands>, Arc<JobLog>) {
        let clock = Arc::new(Hands::default());
        (clock.clone(), Arc::new(JobLog::new(clock)))
    }

    /// Begins a job of a statement that begins nothing else.
    fn begin(log: &Arc<JobLog>, kind: &'static str, what: &str) -> Box<dyn StatementJob> {
        log.begin(kind, what.to_owned(), &mut StatementJobs::default())
    }

    fn told(log: &JobLog) -> Vec<(String, String, String)> {
        log.list(3).into_iter().map(|job| (job.id, job.state, job.step)).collect()
    }

    fn row(id: &str, state: &str, step: &str) -> (String, String, String) {
        (id.to_owned(), state.to_owned(), step.to_owned())
    }

    #[test]
    fn a_job_is_told_while_it_goes_on_and_for_a_day_after() {
        let (clock, log) = log();
        let index = begin(&log, "index", "builds index v of shop.stock");
        index.step("building v");
        index.did(500);
        index.did(20);
        assert_eq!(told(&log), [row("index-3.1790000000000000", "running", "building v: 520 rows")]);
        let copy = begin(&log, "alter", "copies shop.stock");
        copy.step("copying");
        clock.0.store(7, Ordering::Relaxed);
        index.end(Ok(()));
        copy.end(Err(&SqlError::new(ErrorCode::DuplicateEntry, "Duplicate entry '1' for key 'v'")));
        drop((index, copy));
        let ended = [
            row("alter-3.1790000000000001", "failed: Duplicate entry '1' for key 'v'", "copying: 0 rows"),
            row("index-3.1790000000000000", "done", "building v: 520 rows"),
        ];
        assert_eq!(told(&log), ended);
        assert_eq!(log.list(3)[1].micros, 7);
        clock.0.store(7 + KEPT_MICROS, Ordering::Relaxed);
        assert_eq!(told(&log), ended);
        clock.0.store(8 + KEPT_MICROS, Ordering::Relaxed);
        assert_eq!(told(&log), []);
    }

    #[test]
    fn what_a_statement_begins_again_is_the_same_job_whatever_became_of_it_before() {
        let (_, log) = log();
        let mut of = StatementJobs::default();
        let lost = SqlError::new(ErrorCode::TableDefinitionChanged, "another schema change came first");
        for outcome in [Err(&lost), Ok(()), Err(&lost)] {
            let index = log.begin("index", "builds v".to_owned(), &mut of);
            index.did(3);
            index.end(outcome);
            of.run_again();
        }
        assert_eq!(told(&log).len(), 1);
        let index = log.begin("index", "builds v".to_owned(), &mut of);
        // It has another one to do now, too, and the first one twice.
        let other = log.begin("index", "builds w".to_owned(), &mut of);
        let twice = log.begin("index", "builds v".to_owned(), &mut of);
        index.end(Ok(()));
        drop((index, other, twice));
        let given_up = "failed: its statement was given up";
        let expected = [
            row("index-3.1790000000000002", given_up, ": 0 rows"),
            row("index-3.1790000000000001", given_up, ": 0 rows"),
            row("index-3.1790000000000000", "done", ": 0 rows"),
        ];
        assert_eq!(told(&log), expected);
    }

    #[test]
    fn a_statement_that_is_dropped_has_failed_and_what_goes_on_is_forgotten_last() {
        let (_, log) = log();
        let first = begin(&log, "index", "builds");
        for _ in 0..JOBS_MAX + 10 {
            drop(begin(&log, "index", "builds"));
        }
        let list = told(&log);
        assert_eq!(list.len(), JOBS_MAX);
        assert_eq!(list[0].1, "failed: its statement was given up");
        assert_eq!(list.last(), Some(&row("index-3.1790000000000000", "running", ": 0 rows")));
        drop(first);
    }
}
