//! When this node last heard of a leader. Raft goes on naming the last one for as long as nobody else is elected, and without a
//! majority nobody ever is.

use crate::Adjudicator;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When that was.
pub struct Heard {
    began: Instant,
    /// Microseconds after `began`, and one; 0: never.
    at: AtomicU64,
}

impl Heard {
    /// Nothing yet.
    pub fn new() -> Heard {
        Heard { began: Instant::now(), at: AtomicU64::new(0) }
    }

    /// Something was, now.
    pub fn note(&self) {
        let at = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.at.fetch_max(at + 1, Ordering::Relaxed);
    }

    /// How long ago something was; `None`: never.
    pub fn ago(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_micros(at)))
    }
}

impl Adjudicator {
    /// For how long nothing has been heard of a leader that this node follows; zero on the leader itself, and `None` if it has
    /// not heard of any since it started.
    pub fn leader_silence(&self) -> Option<Duration> {
        let heard = &self.inner.node.heard;
        if self.inner.shared.leadership.borrow().is_this {
            // Its own word counts: that it loses the lead is not yet silence.
            heard.note();
            return Some(Duration::ZERO);
        }
        heard.ago()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_last_word() {
        let heard = Heard { began: Instant::now() - Duration::from_secs(60), at: AtomicU64::new(0) };
        assert_eq!(heard.ago(), None);
        heard.at.store(1 + 20_000_000, Ordering::Relaxed);
        assert!(heard.ago().unwrap() >= Duration::from_secs(40));
        heard.note();
        assert!(heard.ago().unwrap() < Duration::from_secs(40));
    }
}
