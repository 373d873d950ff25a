//! Begins, many to a request: one request under way, one forming.
//!
//! Whoever begins while a request is under way joins the next one, because a snapshot must see everything that was
//! acknowledged before it was asked for.

use super::answer::{Answer, Owed};
use assize_ports::{AdjudicatorError, Begun};
use std::sync::{Arc, Mutex, MutexGuard};

/// What all who joined a request are told.
type Told = Result<Begun, AdjudicatorError>;

/// Those who wait for a snapshot.
#[derive(Default)]
pub struct Begins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: bool,
    forming: Option<Owed<Told>>,
}

impl Begins {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Joins the request that is forming. True: nobody has it in hand, and the caller must see to it that
    /// [`Begins::next`] is called until it returns `None`.
    pub fn join(&self) -> (Arc<Answer<Told>>, bool) {
        let mut state = self.state();
        let answer = state.forming.get_or_insert_default().answer().clone();
        let mine = !std::mem::replace(&mut state.under_way, true);
        (answer, mine)
    }

    /// The answer that is owed to those for whom the next request is made; `None`, and nothing is under way any more, if
    /// there are none.
    pub fn next(&self) -> Option<Owed<Told>> {
        let mut state = self.state();
        let forming = state.forming.take();
        state.under_way = forming.is_some();
        forming
    }
}
