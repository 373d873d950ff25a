//! GET_LOCK and its family: named locks between the connections of one frontend.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Waiting for longer than this is waiting for ever.
const WAIT_MAX: Duration = Duration::from_secs(31_536_000);

/// Who holds which name, and who waits for it. Names compare case-insensitively.
#[derive(Default)]
pub struct UserLocks {
    held: Mutex<BTreeMap<String, Held>>,
}

struct Held {
    holder: u32,
    /// How often the holder has asked for it: it must be released as often.
    depth: u64,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    connection: u32,
    granted: oneshot::Sender<()>,
}

impl UserLocks {
    /// `Some(true)`: granted. `Some(false)`: the time passed. `None`: waiting would never end, because the holder
    /// waits for this connection. A negative timeout waits for ever.
    pub async fn get(self: &Arc<Self>, connection: u32, name: &str, timeout_micros: i64) -> Option<bool> {
        let name = name.to_lowercase();
        let granted = {
            let mut held = self.lock();
            let circle = closes_cycle(&held, connection, &name);
            match held.get_mut(&name) {
                None => {
                    held.insert(name, Held { holder: connection, depth: 1, waiting: VecDeque::new() });
                    return Some(true);
                }
                Some(lock) if lock.holder == connection => {
                    lock.depth += 1;
                    return Some(true);
                }
                Some(_) if timeout_micros == 0 => return Some(false),
                Some(_) if circle => return None,
                Some(_) => {}
            }
            let (sender, receiver) = oneshot::channel();
            if let Some(lock) = held.get_mut(&name) {
                lock.waiting.push_back(Waiter { connection, granted: sender });
            }
            receiver
        };
        // Dropped while it waits (the statement was killed), it leaves the queue, or gives back what it was
        // granted at the last moment.
        let mut place = Place { locks: self, connection, name: &name, taken: false };
        let limit = u64::try_from(timeout_micros).map_or(WAIT_MAX, Duration::from_micros).min(WAIT_MAX);
        place.taken = matches!(tokio::time::timeout(limit, granted).await, Ok(Ok(())));
        Some(place.taken)
    }

    /// `Some(true)`: released. `Some(false)`: another connection holds it. `None`: nobody does.
    pub fn release(&self, connection: u32, name: &str) -> Option<bool> {
        let name = name.to_lowercase();
        let mut held = self.lock();
        let lock = held.get_mut(&name)?;
        if lock.holder != connection {
            return Some(false);
        }
        lock.depth -= 1;
        if lock.depth == 0 {
            pass_on(&mut held, &name);
        }
        Some(true)
    }

    /// Releases everything that a connection holds, however often it asked for it. Answers how many holds.
    pub fn release_all(&self, connection: u32) -> u64 {
        let mut held = self.lock();
        let names: Vec<String> =
            held.iter().filter(|(_, lock)| lock.holder == connection).map(|(name, _)| name.clone()).collect();
        let mut holds = 0;
        for name in names {
            holds += held.get(&name).map_or(0, |lock| lock.depth);
            pass_on(&mut held, &name);
        }
        holds
    }

    /// Which connection holds a lock.
    pub fn holder(&self, name: &str) -> Option<u32> {
        self.lock().get(&name.to_lowercase()).map(|lock| lock.holder)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a lock to the first that still waits for it.
fn pass_on(held: &mut BTreeMap<String, Held>, name: &str) {
    let Some(lock) = held.get_mut(name) else { return };
    while let Some(next) = lock.waiting.pop_front() {
        if next.granted.send(()).is_ok() {
            lock.holder = next.connection;
            lock.depth = 1;
            return;
        }
    }
    held.remove(name);
}

/// Whether the holder of `name` waits, through however many others, for something that `connection` holds.
fn closes_cycle(held: &BTreeMap<String, Held>, connection: u32, name: &str) -> bool {
    let waits_for = |who: u32| {
        held.values().find(|lock| lock.waiting.iter().any(|w| w.connection == who)).map(|lock| lock.holder)
    };
    let mut at = held.get(name).map(|lock| lock.holder);
    // A chain is no longer than there are locks.
    for _ in 0..=held.len() {
        match at {
            Some(holder) if holder == connection => return true,
            Some(holder) => at = waits_for(holder),
            None => return false,
        }
    }
    false
}

/// A place in a queue.
struct Place<'a> {
    locks: &'a UserLocks,
    connection: u32,
    name: &'a str,
    taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut held = self.locks.lock();
        let Some(lock) = held.get_mut(self.name) else { return };
        let waited = lock.waiting.len();
        lock.waiting.retain(|waiter| waiter.connection != self.connection);
        if lock.waiting.len() == waited && lock.holder == self.connection {
            pass_on(&mut held, self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_held_by_one_connection_as_often_as_it_asks() {
        let locks = Arc::new(UserLocks::default());
        assert_eq!(locks.get(1, "Job", 0).await, Some(true));
        assert_eq!(locks.get(1, "job", 0).await, Some(true));
        assert_eq!(locks.get(2, "JOB", 0).await, Some(false));
        assert_eq!(locks.get(2, "job", 1_000_000).await, Some(false));
        assert_eq!(locks.holder("job"), Some(1));
        assert_eq!(locks.release(2, "job"), Some(false));
        assert_eq!(locks.release(1, "job"), Some(true));
        assert_eq!(locks.holder("job"), Some(1));
        assert_eq!(locks.release(1, "job"), Some(true));
        assert_eq!(locks.release(1, "job"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order_and_those_that_gave_up_are_skipped() {
        let locks = Arc::new(UserLocks::default());
        locks.get(1, "a", 0).await;
        let mut waiting: Vec<_> = [2, 3]
            .map(|who| {
                let locks = locks.clone();
                tokio::spawn(async move { locks.get(who, "a", -1).await })
            })
            .into();
        tokio::task::yield_now().await;
        waiting.remove(0).abort();
        tokio::task::yield_now().await;
        assert_eq!(locks.release_all(1), 1);
        assert_eq!(waiting.remove(0).await.unwrap(), Some(true));
        assert_eq!(locks.holder("a"), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_in_a_circle_is_refused() {
        let locks = Arc::new(UserLocks::default());
        locks.get(1, "a", 0).await;
        locks.get(2, "b", 0).await;
        let first = tokio::spawn({
            let locks = locks.clone();
            async move { locks.get(1, "b", -1).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(locks.get(2, "a", -1).await, None);
        assert_eq!(locks.release_all(2), 1);
        assert_eq!(first.await.unwrap(), Some(true));
    }
}
