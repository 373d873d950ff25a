//! Long work that was asked for, and how it went: what operators see as jobs.

use crate::mover::{MoveError, Mover, Progress, Task};
use assize_ports::JobInfo;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So many jobs are remembered; of more, those that have ended longest ago are forgotten.
const JOBS_MAX: usize = 200;

/// The jobs of one node. Clones are handles to the same.
#[derive(Clone)]
pub struct Jobs {
    mover: Mover,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    next: u64,
    /// The oldest first.
    jobs: VecDeque<Job>,
}

struct Job {
    info: JobInfo,
    began: Instant,
    is_over: bool,
}

impl Jobs {
    /// Jobs that this mover does.
    pub fn new(mover: Mover) -> Self {
        Jobs { mover, held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no panic happens under this lock")
    }

    /// Begins a task, beside everything else; answers the job's name. Refused at once if it makes no sense.
    pub async fn begin(&self, task: Task) -> Result<String, MoveError> {
        self.check(task).await?;
        let id = self.enter(&task);
        let (jobs, name) = (self.clone(), id.clone());
        tokio::spawn(async move {
            let progress = Reporting { jobs: jobs.clone(), id: name.clone() };
            let done = jobs.mover.run(task, &progress).await;
            jobs.end(&name, done.map_err(|error| error.to_string()));
        });
        Ok(id)
    }

    /// Says why a task makes no sense now, if so.
    pub async fn check(&self, task: Task) -> Result<(), MoveError> {
        Mover::check(&*self.mover.placement().await?, &task)
    }

    /// Notes a task that somebody else has done.
    pub fn note(&self, task: &Task, done: &Result<String, String>) {
        let id = self.enter(task);
        self.end(&id, done.clone());
    }

    /// All that are remembered, the newest first.
    pub fn list(&self) -> Vec<JobInfo> {
        let held = self.held();
        let info = |job: &Job| {
            let micros = if job.is_over { job.info.micros } else { micros(job.began.elapsed()) };
            JobInfo { micros, ..job.info.clone() }
        };
        held.jobs.iter().rev().map(info).collect()
    }

    fn enter(&self, task: &Task) -> String {
        let mut held = self.held();
        held.next += 1;
        let kind = match task {
            Task::AddReplica { .. } => "add",
            Task::RemoveReplica { .. } => "remove",
            Task::MoveReplica { .. } => "move",
            Task::Split { .. } => "split",
        };
        let id = format!("{kind}-{}", held.next);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let info = JobInfo {
            id: id.clone(),
            what: task.to_string(),
            state: "running".into(),
            step: String::new(),
            began_micros: since.as_micros() as i64,
            micros: 0,
            longest_stall_micros: 0,
        };
        held.jobs.push_back(Job { info, began: Instant::now(), is_over: false });
        if held.jobs.len() > JOBS_MAX
            && let Some(oldest) = held.jobs.iter().position(|job| job.is_over)
        {
            held.jobs.remove(oldest);
        }
        id
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.held().jobs.iter_mut().find(|job| job.info.id == id) {
            change(job);
        }
    }

    fn end(&self, id: &str, done: Result<String, String>) {
        self.change(id, |job| {
            job.is_over = true;
            job.info.micros = micros(job.began.elapsed());
            (job.info.state, job.info.step) = match done {
                Ok(text) => ("done".into(), text),
                Err(why) => (format!("failed: {why}"), std::mem::take(&mut job.info.step)),
            };
        });
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

struct Reporting {
    jobs: Jobs,
    id: String,
}

impl Progress for Reporting {
    fn step(&self, step: &str) {
        self.jobs.change(&self.id, |job| job.info.step = step.to_owned());
    }

    fn stalled(&self, time: Duration) {
        self.jobs.change(&self.id, |job| {
            job.info.longest_stall_micros = job.info.longest_stall_micros.max(micros(time));
        });
    }
}
