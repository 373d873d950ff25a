//! Confirming the lead before an answer that must not be an old one: one round of the group serves everybody who
//! waits.
//!
//! ```text
//!   callers ──▶ forming ──(the running round ends)──▶ running: ReadIndex, wait until applied ──▶ all of them answered
//! ```
//!
//! Whoever comes while a round runs cannot be served by it, because it may have been confirmed before the caller
//! came; so he joins the round that forms behind it.

use assize_ports::AdjudicatorError;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Confirmed = Result<(), AdjudicatorError>;
type Round = Shared<BoxFuture<'static, Confirmed>>;

/// The rounds.
#[derive(Default)]
pub struct Rounds {
    newest: Mutex<Option<Newest>>,
}

struct Newest {
    round: Round,
    has_begun: Arc<AtomicBool>,
}

impl Rounds {
    /// A round that begins after this call, shared with whoever else waits. `confirm` is called when it begins.
    pub fn join<F>(&self, confirm: impl FnOnce() -> F + Send + 'static) -> Round
    where
        F: Future<Output = Confirmed> + Send + 'static,
    {
        let mut newest = self.newest.lock().expect("no panic happens under this lock");
        if let Some(forming) = newest.as_ref().filter(|newest| !newest.has_begun.load(Ordering::SeqCst)) {
            return forming.round.clone();
        }
        let running = newest.take().map(|newest| newest.round);
        let has_begun = Arc::new(AtomicBool::new(false));
        let begins = has_begun.clone();
        let round = async move {
            if let Some(running) = running {
                // How it ended concerns those who joined it.
                let _ = running.await;
            }
            begins.store(true, Ordering::SeqCst);
            confirm().await
        };
        let round = round.boxed().shared();
        *newest = Some(Newest { round: round.clone(), has_begun });
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn whoever_waits_shares_a_round_that_begins_after_he_came() {
        let rounds = Arc::new(Rounds::default());
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let join = || {
            let (begun, gate) = (begun.clone(), gate.clone());
            rounds.join(move || async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.expect("it is never closed").forget();
                Ok(())
            })
        };
        let first = tokio::spawn(join());
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let waiting: Vec<_> = (0..1000).map(|_| tokio::spawn(join())).collect();
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::SeqCst), 1, "the second round waits for the first");
        gate.add_permits(1);
        first.await.unwrap().unwrap();
        gate.add_permits(1);
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2, "all who came meanwhile share one round");
    }
}
