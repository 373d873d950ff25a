//! What time it is for whoever leads: the wall clock, as long as it goes forward.
//!
//! Timestamps never go back, so after a wall clock has been set back, or when the lead has passed to a node whose clock is behind,
//! they could only stand still until the clock has come to where they are. Deadlines would not pass meanwhile. So time goes on
//! from the latest that was known, with the monotonic clock:
//!
//! ```text
//!   wall   ───────▶ +1 h │ ─▶        │ back ──────────────────────────▶
//!   time   ───────▶ +1 h │ ─▶ ──────▶ goes on from there, a little slower, until the wall has caught up
//! ```
//!
//! Nothing here is replicated, and no safety depends on it.

use assize_model::Timestamp;
use std::time::Duration;

/// Of so much time that passes while it is ahead of the wall, a clock gives back one part. Frontends count on at full speed, from
/// what they heard last: much more, and the ids of transactions that take long would lie in the future.
const GIVES_BACK: u32 = 1000;

/// See the module's page. Both clocks are read by whoever has them, and given in.
#[derive(Clone, Debug)]
pub struct LeaderClock {
    /// The latest time that was known, in milliseconds since the Unix epoch…
    latest: u64,
    /// … and when that was by the monotonic clock.
    at: Duration,
}

impl LeaderClock {
    /// A clock that has seen this wall clock, and this reading of a monotonic clock whose origin does not matter.
    pub fn new(wall_millis: u64, monotonic: Duration) -> Self {
        LeaderClock { latest: wall_millis, at: monotonic }
    }

    /// The time, in milliseconds since the Unix epoch.
    pub fn read(&mut self, wall_millis: u64, monotonic: Duration) -> u64 {
        let going_on = self.going_on(monotonic);
        if wall_millis > going_on {
            // Taken only when the wall is ahead: what is below a millisecond would be lost each time.
            *self = LeaderClock { latest: wall_millis, at: monotonic };
        }
        wall_millis.max(going_on)
    }

    /// The log's time has come to this: it is not earlier from now on.
    pub fn observe(&mut self, closed: Timestamp, monotonic: Duration) {
        if closed.millis() > self.going_on(monotonic) {
            *self = LeaderClock { latest: closed.millis(), at: monotonic };
        }
    }

    /// How far the time is ahead of this wall clock.
    pub fn lead(&self, wall_millis: u64, monotonic: Duration) -> Duration {
        Duration::from_millis(self.going_on(monotonic).saturating_sub(wall_millis))
    }

    fn going_on(&self, monotonic: Duration) -> u64 {
        let elapsed = monotonic.saturating_sub(self.at);
        let elapsed = elapsed - elapsed / GIVES_BACK;
        self.latest.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_follows_a_wall_clock_that_goes_forward() {
        let mut clock = LeaderClock::new(1_000, ms(7));
        for n in 0..5_000 {
            // Several readings in each millisecond.
            let monotonic = Duration::from_micros(7_000 + 300 * n);
            let wall = 1_000 + 300 * n / 1_000;
            assert_eq!(clock.read(wall, monotonic), wall);
        }
        assert_eq!(clock.read(1_000 + HOUR, ms(7_000)), 1_000 + HOUR);
    }

    #[test]
    fn after_a_step_back_it_goes_on_as_fast_and_gives_back_what_it_is_ahead() {
        let mut clock = LeaderClock::new(HOUR, ms(0));
        assert_eq!(clock.read(2 * HOUR, ms(1_000)), 2 * HOUR);
        let mut before = 2 * HOUR;
        for second in 1..=100 {
            // Read often: nothing is lost by that.
            for n in 0..100 {
                let monotonic = ms(1_000 * second + 10 * n);
                let read = clock.read(HOUR + 1_000 * second + 10 * n, monotonic);
                assert!(read >= before);
                before = read;
            }
        }
        let passed = before - 2 * HOUR;
        assert!((99_800..100_000).contains(&passed), "{passed} ms of 99,990");
        // The wall catches up in the end.
        let (long, mut read) = (2_000 * HOUR, 0);
        for n in 0..=2_000 {
            read = clock.read(HOUR + n * HOUR, ms(n * HOUR));
        }
        assert_eq!(read, HOUR + long);
        assert_eq!(clock.lead(HOUR + long, ms(long)), Duration::ZERO);
    }

    #[test]
    fn it_is_never_behind_what_the_log_has_come_to() {
        let mut clock = LeaderClock::new(1_000, ms(0));
        clock.observe(Timestamp::from_millis(1_000 + HOUR), ms(500));
        assert_eq!(clock.lead(1_500, ms(500)), ms(HOUR - 500));
        assert_eq!(clock.read(2_500, ms(1_500)), 1_000 + HOUR + 999);
        // What is behind says nothing.
        clock.observe(Timestamp::from_millis(5_000), ms(1_500));
        assert_eq!(clock.read(2_500, ms(1_500)), 1_000 + HOUR + 999);
    }

    #[test]
    fn a_monotonic_clock_that_is_read_late_does_no_harm() {
        let mut clock = LeaderClock::new(1_000, ms(900));
        assert_eq!(clock.read(0, ms(100)), 1_000);
        assert_eq!(clock.read(u64::MAX, ms(1_000)), u64::MAX);
        assert_eq!(clock.read(0, ms(2_000)), u64::MAX);
    }
}
