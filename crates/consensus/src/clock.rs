//! The clocks of this process, read for a [`LeaderClock`].

use assize_adjudicator::LeaderClock;
use assize_model::Timestamp;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What time it is on this node, should it lead. One for each node, and kept while it follows: whoever leads next goes on where
/// the time of the one before has come to by then.
pub struct Clock {
    origin: Instant,
    time: Mutex<LeaderClock>,
    /// By how much a test has set the wall clock.
    #[cfg(test)]
    wall_step: std::sync::atomic::AtomicI64,
}

impl Clock {
    /// A clock that shows the wall clock's time.
    pub fn new() -> Clock {
        Clock {
            origin: Instant::now(),
            time: Mutex::new(LeaderClock::new(wall_millis(), Duration::ZERO)),
            #[cfg(test)]
            wall_step: Default::default(),
        }
    }

    /// Milliseconds since the Unix epoch. Never less than before.
    pub fn millis(&self) -> u64 {
        let mut time = self.time();
        time.read(self.wall_millis(), self.origin.elapsed())
    }

    /// The log has closed this timestamp.
    pub fn observe(&self, closed: Timestamp) {
        let mut time = self.time();
        time.observe(closed, self.origin.elapsed());
    }

    /// How far the time is ahead of this node's wall clock.
    pub fn lead(&self) -> Duration {
        self.time().lead(self.wall_millis(), self.origin.elapsed())
    }

    fn time(&self) -> MutexGuard<'_, LeaderClock> {
        self.time.lock().expect("no panic happens under this lock")
    }

    fn wall_millis(&self) -> u64 {
        #[cfg(test)]
        let step = self.wall_step.load(std::sync::atomic::Ordering::Relaxed);
        #[cfg(not(test))]
        let step = 0;
        wall_millis().saturating_add_signed(step)
    }

    /// Sets the wall clock, by so much from where it really is.
    #[cfg(test)]
    pub fn step_wall(&self, millis: i64) {
        self.wall_step.store(millis, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The wall clock. Timestamps follow it when they can; no safety depends on it.
fn wall_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
