//! Commits of many sessions, gathered into frames before they look for the leader.
//!
//! ```text
//!   sessions ──▶ queue ──▶ driver 1 ──▶ a frame, with all the patience that a commit needs ──▶ sessions
//!                    └──▶ driver 2 …    at most DRIVERS_MAX under way
//! ```
//!
//! Whoever finds the queue empty sends at once, alone or with whoever comes in the same moment. When as many frames are
//! under way as may be, the others gather until one is answered: frames grow by themselves. What a commit costs its frontend
//! is a place in a queue and a wake-up; timers and retries are the frame's.

use assize_ports::{Decided, Footprints, FrameDecisions, TxnRun};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Frames under way.
const DRIVERS_MAX: usize = 8;
/// Footprints in a frame.
const FRAME_COMMITS_MAX: u32 = 4096;
/// Bytes in a frame, unless a single commit has more.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Acknowledgements that wait to be told; a lost one keeps an outcome longer than needed, no more.
const ACKNOWLEDGEMENTS_MAX: usize = 1 << 16;

/// Commits that wait for a frame, and what goes along with one.
#[derive(Default)]
pub struct Gather {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    drivers: usize,
    acknowledged: Vec<TxnRun>,
}

struct Waiting {
    footprint: Bytes,
    since: Instant,
    reply: oneshot::Sender<Decided>,
}

/// What a driver has in hand.
pub struct Gathered {
    /// What is to be decided; may be nothing.
    pub footprints: Footprints,
    /// Since when the first of them waits.
    pub since: Instant,
    /// What is to be acknowledged.
    pub acknowledged: Vec<TxnRun>,
    replies: Vec<oneshot::Sender<Decided>>,
}

impl Gather {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Joins the queue. True: the caller must see to it that a driver calls [`Gather::next`] until it returns `None`.
    pub fn join(&self, footprint: Bytes) -> (oneshot::Receiver<Decided>, bool) {
        let (reply, decided) = oneshot::channel();
        let mut state = self.state();
        let is_first = state.queue.is_empty();
        state.queue.push_back(Waiting { footprint, since: Instant::now(), reply });
        let drives = is_first && state.drivers < DRIVERS_MAX;
        state.drivers += usize::from(drives);
        (decided, drives)
    }

    /// Leaves acknowledgements with the drivers, if there are any; otherwise gives them back.
    pub fn acknowledge(&self, runs: Vec<TxnRun>) -> Option<Vec<TxnRun>> {
        let mut state = self.state();
        if state.drivers == 0 {
            return Some(runs);
        }
        if state.acknowledged.len() < ACKNOWLEDGEMENTS_MAX {
            runs.into_iter().for_each(|run| TxnRun::push_run(&mut state.acknowledged, run));
        }
        None
    }

    /// What a driver sends next; `None`: it has ended.
    pub fn next(&self) -> Option<Gathered> {
        let mut state = self.state();
        if state.queue.is_empty() && state.acknowledged.is_empty() {
            state.drivers -= 1;
            return None;
        }
        let acknowledged = std::mem::take(&mut state.acknowledged);
        let mut bytes = 0;
        let mut waiting = Vec::new();
        while let Some(next) = state.queue.front() {
            let is_full = waiting.len() == FRAME_COMMITS_MAX as usize
                || bytes + next.footprint.len() > FRAME_BYTES_MAX && !waiting.is_empty();
            if is_full {
                break;
            }
            bytes += next.footprint.len();
            waiting.extend(state.queue.pop_front());
        }
        drop(state);
        // Put together outside the lock.
        let footprints = match &waiting[..] {
            [one] => Footprints::one(one.footprint.clone()),
            many => Footprints::joined(bytes, many.iter().map(|waiting| &waiting.footprint)),
        };
        let since = waiting.first().map_or_else(Instant::now, |waiting| waiting.since);
        let replies = waiting.into_iter().map(|waiting| waiting.reply).collect();
        Some(Gathered { footprints, since, acknowledged, replies })
    }
}

impl Gathered {
    /// Tells everybody his own decision.
    pub fn tell(self, decisions: FrameDecisions) {
        let mut decisions = decisions.into_parts();
        for reply in self.replies {
            // Whoever has gone asks for the outcome if he cares.
            let _ = reply.send(decisions.take_one());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{Decision, FrontendEpoch, FrontendId, Timestamp};
    use assize_ports::AdjudicatorError;

    fn footprint(n: u8) -> Bytes {
        Bytes::from(vec![n])
    }

    fn commits(first: u64, count: u32) -> FrameDecisions {
        let mut decisions = FrameDecisions::default();
        decisions.push_run(assize_ports::DecisionRun::Commits { count, first: Timestamp(first) });
        decisions
    }

    #[test]
    fn the_first_sends_at_once_and_the_others_gather_while_as_many_as_may_be_are_under_way() {
        let gather = Gather::default();
        let mut under_way = Vec::new();
        let mut decided = Vec::new();
        for n in 0..DRIVERS_MAX as u8 {
            let (decision, drives) = gather.join(footprint(n));
            assert!(drives, "nobody else waits");
            under_way.push(gather.next().unwrap());
            decided.push(decision);
        }
        let (mut late, drives) = gather.join(footprint(100));
        assert!(!drives);
        let (mut later, drives) = gather.join(footprint(101));
        assert!(!drives);
        // A driver that is done takes all of them.
        under_way.remove(0).tell(commits(5, 1));
        assert_eq!(decided[0].try_recv().unwrap(), Ok(Decision::Commit { commit_ts: Timestamp(5) }));
        let both = gather.next().unwrap();
        assert_eq!((both.footprints.count, &both.footprints.bytes[..]), (2, &[100, 101][..]));
        both.tell(commits(7, 1));
        assert_eq!(late.try_recv().unwrap(), Ok(Decision::Commit { commit_ts: Timestamp(7) }));
        assert_eq!(later.try_recv().unwrap(), Err(AdjudicatorError::ReplyLost), "too few decisions");
        (0..DRIVERS_MAX).for_each(|_| assert!(gather.next().is_none()));
        assert!(gather.join(footprint(1)).1, "the next one drives again");
    }

    #[test]
    fn acknowledgements_go_along_with_a_frame_and_are_not_left_behind() {
        let gather = Gather::default();
        let run = |first| TxnRun { frontend: FrontendId(1), epoch: FrontendEpoch(1), first, count: 1 };
        assert_eq!(gather.acknowledge(vec![run(1)]), Some(vec![run(1)]), "nobody would take it along");
        let _decided = gather.join(footprint(1));
        assert_eq!(gather.acknowledge(vec![run(2)]), None);
        let frame = gather.next().unwrap();
        assert_eq!((frame.footprints.count, frame.acknowledged), (1, vec![run(2)]));
        assert_eq!(gather.acknowledge(vec![run(3)]), None);
        let rest = gather.next().unwrap();
        assert_eq!((rest.footprints.count, rest.acknowledged), (0, vec![run(3)]));
        assert!(gather.next().is_none());
    }
}
