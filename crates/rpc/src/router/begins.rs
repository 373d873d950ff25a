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

    /// The request that is to be made next; `None`, and nothing is under way any more, if nobody waits for one.
    pub fn next(&self) -> Option<Turn<'_>> {
        let mut state = self.state();
        let forming = state.forming.take();
        state.under_way = forming.is_some();
        forming.map(|owed| Turn { begins: self, owed: Some(owed) })
    }

    /// Whoever had the requests in hand is gone: those who wait are told that there is no answer, and the next one to join sees
    /// to it.
    fn abandon(&self) {
        let forming = {
            let mut state = self.state();
            state.under_way = false;
            state.forming.take()
        };
        drop(forming);
    }
}

/// A request that is under way. Whoever drops it without an answer, as by a panic, makes no more.
pub struct Turn<'a> {
    begins: &'a Begins,
    /// Until it is given.
    owed: Option<Owed<Told>>,
}

impl Turn<'_> {
    /// Tells everybody who joined.
    pub fn give(mut self, told: Told) {
        if let Some(owed) = self.owed.take() {
            owed.give(told);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.owed.is_some() {
            self.begins.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn none() -> Told {
        Err(AdjudicatorError::ReplyLost)
    }

    #[test]
    fn one_request_is_under_way_and_one_forms() {
        let begins = Begins::default();
        let (first, mine) = begins.join();
        assert!(mine);
        let turn = begins.next().unwrap();
        let (second, mine) = begins.join();
        assert!(!mine);
        turn.give(none());
        assert_eq!(first.wait().now_or_never(), Some(Some(&none())));
        assert_eq!(second.wait().now_or_never(), None);
        begins.next().unwrap().give(none());
        assert_eq!(second.wait().now_or_never(), Some(Some(&none())));
        assert!(begins.next().is_none());
        assert!(begins.join().1);
    }

    #[test]
    fn a_driver_that_is_gone_leaves_nobody_waiting_and_another_takes_over() {
        let begins = Begins::default();
        let (under_way, _) = begins.join();
        let turn = begins.next();
        let (forming, _) = begins.join();
        drop(turn);
        assert_eq!(under_way.wait().now_or_never(), Some(None));
        assert_eq!(forming.wait().now_or_never(), Some(None));
        assert!(begins.join().1, "the next one drives again");
    }
}
