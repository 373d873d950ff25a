//! Whether what the leader has in its log comes through to a majority. Heartbeats travel by themselves: that they are answered
//! says nothing of a follower whose disk hangs, or that refuses an entry.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a leader sees of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// Its last entry.
    pub log: u64,
    /// The last one that most voters have.
    pub committed: u64,
    /// The last entries of the other voters, added up.
    pub matched: u64,
}

/// Since when nothing has come through. See the module's page.
#[derive(Default)]
pub struct Progress(Mutex<Option<(Sight, Instant)>>);

impl Progress {
    /// Looks at the log of a leader; `None`: this node does not lead. Once more entries are on more disks, or none waits, it is as
    /// if nothing had been seen before.
    pub fn look(&self, sight: Option<Sight>, now: Instant) {
        let mut seen = self.0.lock().expect("no panic happens under this lock");
        *seen = sight.filter(|sight| sight.log > sight.committed).map(|sight| match *seen {
            // What has been added since makes no difference to those that wait.
            Some((before, since))
                if before.committed == sight.committed && before.matched == sight.matched =>
            {
                (sight, since)
            }
            _ => (sight, now),
        });
    }

    /// For how long entries have waited without any progress, beyond the time that a slow link needs to carry what is on its way;
    /// zero if none waits.
    pub fn stalled_for(&self, carried: Duration, now: Instant) -> Duration {
        let seen = *self.0.lock().expect("no panic happens under this lock");
        seen.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since).saturating_sub(carried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Looks each second at the sight of that second, and says for how long the last one has stood still.
    fn stalled(sights: impl IntoIterator<Item = (u64, u64, u64)>) -> u64 {
        let (progress, begun) = (Progress::default(), Instant::now());
        let mut last = begun;
        for (second, (log, committed, matched)) in (0..).zip(sights) {
            last = begun + seconds(second);
            progress.look(Some(Sight { log, committed, matched }), last);
        }
        progress.stalled_for(Duration::ZERO, last).as_secs()
    }

    #[test]
    fn entries_that_nobody_takes_stand_still_however_many_come_behind_them() {
        assert_eq!(stalled([(5, 5, 10), (7, 5, 10), (7, 5, 10), (9, 5, 10)]), 2, "since the first waited");
        assert_eq!(stalled((0..20).map(|n| (5 + n, 5 + n, 10))), 0, "nothing waits");
        assert_eq!(stalled((0..20).map(|n| (9 + n, 5 + n, 10))), 0, "they come through");
    }

    #[test]
    fn a_voter_that_catches_up_is_progress_before_anything_commits() {
        assert_eq!(stalled((0..20).map(|n| (90, 5, 10 + n))), 0);
        assert_eq!(stalled([(90, 5, 10), (90, 5, 11), (90, 5, 11), (90, 6, 11)]), 0);
    }

    #[test]
    fn what_is_on_its_way_has_the_time_that_a_slow_link_needs() {
        let (progress, now) = (Progress::default(), Instant::now());
        progress.look(Some(Sight { log: 2, committed: 1, matched: 2 }), now);
        assert_eq!(progress.stalled_for(seconds(32), now + seconds(40)), seconds(8));
        assert_eq!(progress.stalled_for(seconds(32), now + seconds(30)), Duration::ZERO);
    }

    #[test]
    fn who_does_not_lead_has_nothing_that_waits() {
        let (progress, now) = (Progress::default(), Instant::now());
        let sight = Some(Sight { log: 2, committed: 1, matched: 2 });
        progress.look(sight, now);
        progress.look(None, now + seconds(1));
        assert_eq!(progress.stalled_for(Duration::ZERO, now + seconds(9)), Duration::ZERO);
        progress.look(sight, now + seconds(10));
        assert_eq!(progress.stalled_for(Duration::ZERO, now + seconds(12)), seconds(2));
    }
}
