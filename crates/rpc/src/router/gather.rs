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

use super::answer::{Answer, Owed};
use assize_ports::{AdjudicatorError, Decided, Footprints, FrameDecisions, IndexedDecisions, TxnRun};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
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
    /// Frames that nobody has taken yet; all but the last are full.
    forming: VecDeque<Forming>,
    drivers: usize,
    acknowledged: Vec<TxnRun>,
    /// How long the last frame was: the next one will be about as long.
    last_bytes: usize,
}

/// A frame to which commits are added.
struct Forming {
    body: Body,
    count: u32,
    since: Instant,
    owed: Owed<IndexedDecisions>,
}

enum Body {
    /// As it came: most frames of a frontend with few sessions.
    One(Bytes),
    /// One behind the other. Each is copied when it comes, while the processor has it at hand.
    Many(Vec<u8>),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Body::One(bytes) => bytes.len(),
            Body::Many(bytes) => bytes.len(),
        }
    }

    /// Adds one; in the end there will be about so many bytes.
    fn push(&mut self, footprint: &Bytes, expected: usize) {
        if let Body::One(first) = self {
            let mut bytes = Vec::with_capacity(expected.max(first.len() + footprint.len()));
            bytes.extend_from_slice(first);
            *self = Body::Many(bytes);
        }
        if let Body::Many(bytes) = self {
            bytes.extend_from_slice(footprint);
        }
    }
}

impl From<Body> for Bytes {
    fn from(body: Body) -> Bytes {
        match body {
            Body::One(bytes) => bytes,
            Body::Many(bytes) => bytes.into(),
        }
    }
}

/// Where the decision about a commit will be.
pub struct Place {
    answer: Arc<Answer<IndexedDecisions>>,
    place: u32,
}

/// What a driver has in hand.
pub struct Gathered<'a> {
    /// What is to be acknowledged.
    pub acknowledged: Vec<TxnRun>,
    /// What is to be decided.
    pub frame: Option<Frame<'a>>,
}

/// Commits that are to be decided. A driver that drops them without their decisions, as by a panic, has ended.
pub struct Frame<'a> {
    /// All of them.
    pub footprints: Footprints,
    /// Since when the first of them waits.
    pub since: Instant,
    /// Until they are told.
    owed: Option<Owed<IndexedDecisions>>,
    gather: &'a Gather,
}

impl Gather {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Joins the queue. True: the caller must see to it that a driver calls [`Gather::next`] until it returns `None`.
    pub fn join(&self, footprint: Bytes) -> (Place, bool) {
        let mut state = self.state();
        let is_first = state.forming.is_empty();
        let place = state.add(footprint);
        let drives = is_first && state.drivers < DRIVERS_MAX;
        state.drivers += usize::from(drives);
        (place, drives)
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
    pub fn next(&self) -> Option<Gathered<'_>> {
        let mut state = self.state();
        if state.forming.is_empty() && state.acknowledged.is_empty() {
            state.drivers -= 1;
            return None;
        }
        let acknowledged = std::mem::take(&mut state.acknowledged);
        let forming = state.forming.pop_front();
        state.last_bytes = forming.as_ref().map_or(0, |forming| forming.body.len());
        drop(state);
        let frame = forming.map(|Forming { body, count, since, owed }| Frame {
            footprints: Footprints { bytes: body.into(), count },
            since,
            owed: Some(owed),
            gather: self,
        });
        Some(Gathered { acknowledged, frame })
    }

    /// A driver is gone. If it was the last one, those who wait are told that there is no answer: nobody would send them.
    fn abandon(&self) {
        let forming = {
            let mut state = self.state();
            state.drivers -= 1;
            if state.drivers == 0 { std::mem::take(&mut state.forming) } else { VecDeque::new() }
        };
        drop(forming);
    }
}

impl State {
    /// Adds a commit to the last frame, or to another behind it.
    fn add(&mut self, footprint: Bytes) -> Place {
        let has_room = |forming: &&mut Forming| {
            forming.count < FRAME_COMMITS_MAX && forming.body.len() + footprint.len() <= FRAME_BYTES_MAX
        };
        if let Some(forming) = self.forming.back_mut().filter(has_room) {
            forming.body.push(&footprint, self.last_bytes);
            forming.count += 1;
            return Place { answer: forming.owed.answer().clone(), place: forming.count - 1 };
        }
        let owed = Owed::default();
        let place = Place { answer: owed.answer().clone(), place: 0 };
        self.forming.push_back(Forming { body: Body::One(footprint), count: 1, since: Instant::now(), owed });
        place
    }
}

impl Place {
    /// Waits for the decision.
    pub async fn decided(&self) -> Decided {
        match self.answer.wait().await {
            Some(decisions) => decisions.get(self.place),
            None => Err(AdjudicatorError::ReplyLost),
        }
    }
}

impl Frame<'_> {
    /// Tells everybody his own decision.
    pub fn tell(mut self, decisions: FrameDecisions) {
        if let Some(owed) = self.owed.take() {
            owed.give(decisions.into());
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if self.owed.is_some() {
            self.gather.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{Decision, FrontendEpoch, FrontendId, Timestamp};
    use futures_util::FutureExt;

    fn told(place: &Place) -> Option<Decided> {
        place.decided().now_or_never()
    }

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
            under_way.push(gather.next().unwrap().frame.unwrap());
            decided.push(decision);
        }
        let (late, drives) = gather.join(footprint(100));
        assert!(!drives);
        let (later, drives) = gather.join(footprint(101));
        assert!(!drives);
        // A driver that is done takes all of them.
        under_way.remove(0).tell(commits(5, 1));
        assert_eq!(told(&decided[0]), Some(Ok(Decision::Commit { commit_ts: Timestamp(5) })));
        assert_eq!(told(&late), None);
        let both = gather.next().unwrap().frame.unwrap();
        assert_eq!((both.footprints.count, &both.footprints.bytes[..]), (2, &[100, 101][..]));
        both.tell(commits(7, 1));
        assert_eq!(told(&late), Some(Ok(Decision::Commit { commit_ts: Timestamp(7) })));
        assert_eq!(told(&later), Some(Err(AdjudicatorError::ReplyLost)), "too few decisions");
        under_way.into_iter().for_each(|frame| frame.tell(commits(9, 1)));
        (0..DRIVERS_MAX).for_each(|_| assert!(gather.next().is_none()));
        assert!(gather.join(footprint(1)).1, "the next one drives again");
    }

    #[test]
    fn a_frame_has_room_for_so_many_commits_and_bytes_and_for_any_single_one() {
        let gather = Gather::default();
        let huge = Bytes::from(vec![1; FRAME_BYTES_MAX + 1]);
        let _places: Vec<Place> = std::iter::repeat_n(footprint(1), FRAME_COMMITS_MAX as usize + 1)
            .chain([huge.clone(), footprint(2), footprint(3)])
            .map(|footprint| gather.join(footprint).0)
            .collect();
        let frames = std::iter::from_fn(|| gather.next()?.frame);
        let shape = |frame: Frame<'_>| {
            let shape = (frame.footprints.count, frame.footprints.bytes.len());
            frame.tell(FrameDecisions::default());
            shape
        };
        let shapes: Vec<(u32, usize)> = frames.take(4).map(shape).collect();
        assert_eq!(shapes, [(4096, 4096), (1, 1), (1, huge.len()), (2, 2)]);
    }

    #[test]
    fn a_driver_that_ends_without_a_word_leaves_nobody_waiting_and_another_takes_over() {
        let gather = Gather::default();
        let (place, _) = gather.join(footprint(1));
        let gathered = gather.next();
        let (other, drives) = gather.join(footprint(2));
        assert!(drives);
        drop(gathered);
        assert_eq!(told(&place), Some(Err(AdjudicatorError::ReplyLost)));
        assert_eq!(told(&other), None, "its own driver sends it");
        let gathered = gather.next();
        let (late, _) = gather.join(footprint(3));
        let (later, drives) = gather.join(footprint(4));
        assert!(!drives);
        let second = gather.next();
        drop(gathered);
        drop(second);
        for place in [other, late, later] {
            assert_eq!(told(&place), Some(Err(AdjudicatorError::ReplyLost)));
        }
        assert!(gather.join(footprint(5)).1, "the next one drives again");
    }

    #[test]
    fn when_the_last_driver_is_gone_nobody_waits_for_it() {
        let gather = Gather::default();
        let mut under_way: Vec<_> = (0..DRIVERS_MAX as u8)
            .map(|n| {
                gather.join(footprint(n));
                gather.next().unwrap()
            })
            .collect();
        let (late, drives) = gather.join(footprint(100));
        assert!(!drives);
        under_way.truncate(1);
        assert_eq!(told(&late), None, "there is another driver");
        under_way.clear();
        assert_eq!(told(&late), Some(Err(AdjudicatorError::ReplyLost)));
    }

    #[test]
    fn acknowledgements_go_along_with_a_frame_and_are_not_left_behind() {
        let gather = Gather::default();
        let run = |first| TxnRun { frontend: FrontendId(1), epoch: FrontendEpoch(1), first, count: 1 };
        assert_eq!(gather.acknowledge(vec![run(1)]), Some(vec![run(1)]), "nobody would take it along");
        let _decided = gather.join(footprint(1));
        assert_eq!(gather.acknowledge(vec![run(2)]), None);
        let Gathered { acknowledged, frame } = gather.next().unwrap();
        let frame = frame.unwrap();
        assert_eq!((frame.footprints.count, acknowledged), (1, vec![run(2)]));
        frame.tell(commits(5, 1));
        assert_eq!(gather.acknowledge(vec![run(3)]), None);
        let rest = gather.next().unwrap();
        assert!(rest.frame.is_none());
        assert_eq!(rest.acknowledged, [run(3)]);
        assert!(gather.next().is_none());
    }
}
