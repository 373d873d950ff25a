//! One answer that many wait for.
//!
//! Those who wait are sessions: thousands of tasks, which no processor's cache holds together. So nothing is allocated for
//! one of them, and what is needed to wake all of them lies in one piece.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

/// An answer that many wait for.
pub struct Answer<T> {
    /// `None` within: there will be no answer.
    given: OnceLock<Option<T>>,
    wakers: Mutex<Vec<Waker>>,
}

/// The duty to give an answer. Whoever drops it tells everybody that there will be none.
pub struct Owed<T> {
    answer: Arc<Answer<T>>,
}

impl<T> Answer<T> {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().expect("no panic happens under this lock")
    }

    /// Waits for it; `None`: there is none.
    pub async fn wait(&self) -> Option<&T> {
        let mut place = None;
        poll_fn(|context| self.poll(context, &mut place)).await
    }

    /// `place`: where the waker of this waiting is.
    fn poll(&self, context: &mut Context<'_>, place: &mut Option<usize>) -> Poll<Option<&T>> {
        if let Some(given) = self.given.get() {
            return Poll::Ready(given.as_ref());
        }
        let mut wakers = self.wakers();
        // It is given under this lock: from here on it comes after us.
        if let Some(given) = self.given.get() {
            return Poll::Ready(given.as_ref());
        }
        match place.and_then(|place| wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                *place = Some(wakers.len());
                wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }

    fn give(&self, answer: Option<T>) {
        let wakers = {
            let mut wakers = self.wakers();
            if self.given.set(answer).is_err() {
                return;
            }
            std::mem::take(&mut *wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Owed<T> {
    /// What can be waited for.
    pub fn answer(&self) -> &Arc<Answer<T>> {
        &self.answer
    }

    /// Tells everybody.
    pub fn give(self, answer: T) {
        self.answer.give(Some(answer));
    }
}

impl<T> Default for Owed<T> {
    fn default() -> Self {
        Owed { answer: Arc::new(Answer { given: OnceLock::new(), wakers: Mutex::default() }) }
    }
}

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        self.answer.give(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn everybody_gets_the_answer_whenever_he_asks() {
        let owed = Owed::default();
        let answer = owed.answer().clone();
        let early: Vec<_> = (0..100)
            .map(|_| {
                let answer = answer.clone();
                tokio::spawn(async move { answer.wait().await.copied() })
            })
            .collect();
        tokio::task::yield_now().await;
        owed.give(7);
        for waiting in early {
            assert_eq!(waiting.await.unwrap(), Some(7));
        }
        assert_eq!(answer.wait().now_or_never(), Some(Some(&7)), "he who comes late does not wait");
    }

    #[tokio::test]
    async fn whoever_leaves_keeps_nobody_waiting_and_whoever_moves_is_woken_where_he_is() {
        let owed = Owed::default();
        let answer = owed.answer().clone();
        assert_eq!(answer.wait().now_or_never(), None, "he waits no longer");
        let mut moved = Box::pin({
            let answer = answer.clone();
            async move { answer.wait().await.copied() }
        });
        assert_eq!(moved.as_mut().now_or_never(), None, "polled here first");
        let moved = tokio::spawn(moved);
        tokio::task::yield_now().await;
        owed.give(7);
        assert_eq!(moved.await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_given_any_more_is_none() {
        let owed = Owed::<u8>::default();
        let answer = owed.answer().clone();
        let waiting = tokio::spawn(async move { answer.wait().await.copied() });
        tokio::task::yield_now().await;
        drop(owed);
        assert_eq!(waiting.await.unwrap(), None);
    }
}
