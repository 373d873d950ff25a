//! Asking the leader until it answers, for a bounded time.

use super::leaders::{Leader, Leaders};
use assize_ports::AdjudicatorError;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The first pause after an attempt that failed; doubles up to the next.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause between two attempts: so much later than it might, a session may find a new leader. However many sessions
/// wait, the nodes are asked for all of them at once.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// What is known of a request whose attempts have failed so far.
pub struct Held<'a> {
    leaders: &'a Leaders,
    deadline: Instant,
    attempt_max: Duration,
    failures: u32,
    /// An attempt may have been proposed: from then on "never proposed" is not ours to say.
    perhaps: bool,
    why: String,
}

/// What follows from a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask again.
    Again,
    /// This is the answer.
    Give(AdjudicatorError),
}

impl<'a> Held<'a> {
    /// A request that is held for at most `hold` from now on; an attempt that gets no answer is given up after `attempt_max`.
    pub fn new(leaders: &'a Leaders, hold: Duration, attempt_max: Duration) -> Held<'a> {
        Held::since(Instant::now(), leaders, hold, attempt_max)
    }

    /// A request that has been waiting since then already.
    pub fn since(since: Instant, leaders: &'a Leaders, hold: Duration, attempt_max: Duration) -> Held<'a> {
        Held { leaders, deadline: since + hold, attempt_max, failures: 0, perhaps: false, why: String::new() }
    }

    /// The leader to ask next; an error once the time is over.
    pub async fn leader(&mut self) -> Result<Leader, AdjudicatorError> {
        loop {
            match timeout_at(self.deadline, self.leaders.find()).await {
                Ok(Ok(leader)) => return Ok(leader),
                Ok(Err(why)) => self.why = why,
                Err(_) => return Err(self.over()),
            }
            self.pause().await?;
        }
    }

    /// When the attempt that begins now is given up.
    pub fn attempt_until(&self) -> Instant {
        self.deadline.min(Instant::now() + self.attempt_max)
    }

    /// Learns from a failed attempt, and waits as long as is right.
    pub async fn failed(&mut self, leader: &Leader, error: AdjudicatorError) -> Next {
        let redirected = match self.learn(leader, error) {
            Ok(redirected) => redirected,
            Err(error) => return Next::Give(error),
        };
        // The first hint is followed at once; from then on two nodes that point at each other must not make us spin.
        if redirected && self.failures == 0 {
            self.failures = 1;
            return Next::Again;
        }
        match self.pause().await {
            Ok(()) => Next::Again,
            Err(error) => Next::Give(error),
        }
    }

    /// Whether the leader is known now; an error if asking again is of no use.
    fn learn(&mut self, leader: &Leader, error: AdjudicatorError) -> Result<bool, AdjudicatorError> {
        match error {
            AdjudicatorError::NotLeader { leader: Some(other) } if other != leader.node => {
                self.leaders.follow(leader.term, other);
                self.why = format!("{} does not lead", leader.node);
                return Ok(true);
            }
            AdjudicatorError::NotLeader { .. } => self.why = format!("{} does not lead", leader.node),
            AdjudicatorError::Unreachable(why) => self.why = why,
            AdjudicatorError::Stopped(why) => self.why = format!("{} has stopped: {why}", leader.node),
            AdjudicatorError::ReplyLost => {
                self.perhaps = true;
                self.why = format!("{} has not answered", leader.node);
            }
            AdjudicatorError::Overloaded(_)
            | AdjudicatorError::DiskFull(_)
            | AdjudicatorError::TooLarge(_)
                if self.perhaps =>
            {
                // This attempt was not proposed, an earlier one may have been.
                return Err(AdjudicatorError::ReplyLost);
            }
            error @ (AdjudicatorError::Overloaded(_)
            | AdjudicatorError::DiskFull(_)
            | AdjudicatorError::TooLarge(_)) => return Err(error),
        }
        self.leaders.doubt(leader.term);
        Ok(false)
    }

    async fn pause(&mut self) -> Result<(), AdjudicatorError> {
        let longest = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        let pause = longest.mul_f64(rand::random_range(0.5..=1.0));
        if Instant::now() + pause >= self.deadline {
            return Err(self.over());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The time is over.
    fn over(&self) -> AdjudicatorError {
        match self.perhaps {
            true => AdjudicatorError::ReplyLost,
            false => AdjudicatorError::Unreachable(self.why.clone()),
        }
    }
}
