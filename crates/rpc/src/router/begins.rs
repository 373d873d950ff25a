//! Begins, many to a request: one request under way, one forming.
//!
//! Whoever begins while a request is under way joins the next one, because a snapshot must see everything that was
//! acknowledged before it was asked for.

use assize_ports::{AdjudicatorError, Begun};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;

type Answer = Result<Begun, AdjudicatorError>;

/// Those who wait for a snapshot.
#[derive(Default)]
pub struct Begins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: bool,
    forming: Vec<oneshot::Sender<Answer>>,
}

impl Begins {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Joins the request that is forming. True: nobody has it in hand, and the caller must see to it that
    /// [`Begins::next`] is called until it returns `None`.
    pub fn join(&self) -> (oneshot::Receiver<Answer>, bool) {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        state.forming.push(reply);
        let mine = !std::mem::replace(&mut state.under_way, true);
        (answer, mine)
    }

    /// Those for whom the next request is made; `None`, and nothing is under way any more, if there are none.
    pub fn next(&self) -> Option<Vec<oneshot::Sender<Answer>>> {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.forming);
        state.under_way = !waiting.is_empty();
        Some(waiting).filter(|waiting| !waiting.is_empty())
    }
}

/// Tells everybody.
pub fn tell(waiting: Vec<oneshot::Sender<Answer>>, answer: &Answer) {
    for reply in waiting {
        // Whoever has gone needs no snapshot.
        let _ = reply.send(answer.clone());
    }
}
