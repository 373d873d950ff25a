//! The process's clock and randomness, for the floors that have none.

use assize_ports::{BoxFuture, Clock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The real clock.
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic_micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_micros(micros)))
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
