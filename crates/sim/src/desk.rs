//! Between a frontend's sessions, which wait for answers, and its hands, which carry questions over the network.
//!
//! A session's port puts a question on the desk and waits; the hands take it, send messages until there is an answer, or
//! nobody gave one in time, and lay the answer there. Each question has a number and one answer. Each waiting question keeps
//! the waker of whoever polled it, because a commit waits for several at once and polls only what was woken.
//!
//! What a client reads, holds and writes is noted here as well, before its next question is sent: its frontend may die at
//! any moment.

use crate::history::Observed;
use crate::net::{Asked, Shown};
use assize_adjudicator::EncodedFootprint;
use assize_model::*;
use assize_mvcc::Prepare;
use assize_ports::*;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

/// What a session asks of its ports.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A snapshot.
    Begin,
    /// A decision.
    Commit(EncodedFootprint),
    /// What became of a transaction.
    Outcome(TxnId, bool),
    /// Where everything lies.
    Placement,
    /// What has changed in the catalog.
    Catalog(CatalogVersion),
    /// That a table's ranges are tracked.
    TrackRanges(TableId),
    /// A reservation.
    Reserve(Vec<KeyHash>),
    /// What a shard shows.
    Read(ShardId, Asked, ReadView),
    /// When something was last committed on a shard.
    Newest(ShardId, Asked, Timestamp),
    /// A replica's promise.
    Prepare(ShardId, ReplicaId, Prepare),
    /// To be woken after so many microseconds.
    Sleep(u64),
}

/// The one answer to a question.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are named after what was asked for")]
pub enum Answer {
    Begun(Begun),
    Decided(Decision),
    Outcome(Outcome),
    Placement(Arc<Placement>),
    Catalog(CatalogObjects),
    Tracked,
    Reserved(Reserved),
    Shown(Shown),
    Newest(NewestCommits),
    Vote(Vote),
    Slept,
    /// The adjudicator could not be asked.
    Failed(AdjudicatorError),
    /// A shard could not be asked, or refused.
    Refused(ShardError),
}

/// What a session says without waiting for an answer.
#[derive(Clone, Debug)]
pub enum Said {
    /// It has heard these outcomes.
    Acknowledge(Vec<TxnRun>),
    /// This one will never commit.
    Forget(ShardId, TxnId),
}

/// What a client did, for the history.
#[derive(Clone, Debug)]
pub enum Note {
    /// From now on it needs no older snapshot than this.
    Holds(Timestamp),
    /// It read.
    Read(Observed),
    /// It wrote, at this snapshot.
    Wrote(Timestamp, Mutation),
    /// It planned with this version of a table whose schema changes.
    Planned(TableId, SchemaVersion),
    /// It saw something impossible.
    Wrong(&'static str, String),
}

enum Place {
    Waiting(Option<Waker>),
    Answered(Answer),
}

#[derive(Default)]
struct Papers {
    now_micros: u64,
    random: u64,
    /// The client that runs.
    client: usize,
    last: u64,
    asked: Vec<(u64, Ask)>,
    said: Vec<Said>,
    notes: Vec<Note>,
    places: BTreeMap<u64, Place>,
    /// The snapshot that each client was given last.
    begun: BTreeMap<usize, Timestamp>,
    /// The placement by which ways to shards are known.
    ways: Arc<Placement>,
}

/// The desk of one life of a frontend.
pub struct Desk {
    papers: Mutex<Papers>,
    rung: Arc<Rung>,
}

/// Clients that are to be polled.
#[derive(Default)]
struct Rung(Mutex<BTreeSet<usize>>);

struct Bell {
    client: usize,
    rung: Arc<Rung>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.0.lock().expect("nobody panics here").insert(self.client);
    }
}

impl Desk {
    /// A desk with nothing on it.
    pub fn new(random: u64, ways: Arc<Placement>) -> Arc<Desk> {
        let papers = Papers { random, ways, ..Papers::default() };
        Arc::new(Desk { papers: Mutex::new(papers), rung: Arc::default() })
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().expect("nobody panics with the papers in hand")
    }

    // For sessions.

    /// Puts a question on the desk.
    pub fn ask(self: &Arc<Self>, ask: Ask) -> Call {
        let mut papers = self.papers();
        papers.last += 1;
        let number = papers.last;
        papers.asked.push((number, ask));
        papers.places.insert(number, Place::Waiting(None));
        Call { desk: self.clone(), number }
    }

    /// Says something that needs no answer.
    pub fn say(&self, said: Said) {
        self.papers().said.push(said);
    }

    /// Notes what the running client did.
    pub fn note(&self, note: Note) {
        self.papers().notes.push(note);
    }

    /// The snapshot that the running client was given last.
    pub fn last_begun(&self) -> Timestamp {
        let papers = self.papers();
        papers.begun.get(&papers.client).copied().unwrap_or_default()
    }

    /// Microseconds since the beginning.
    pub fn now_micros(&self) -> u64 {
        self.papers().now_micros
    }

    /// Some number.
    pub fn random(&self) -> u64 {
        let mut papers = self.papers();
        papers.random = papers.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        papers.random
    }

    /// The placement by which ways to shards are known.
    pub fn ways(&self) -> Arc<Placement> {
        self.papers().ways.clone()
    }

    /// Takes a newer placement in.
    pub fn learn(&self, placement: &Placement) {
        let mut papers = self.papers();
        if placement.epoch > papers.ways.epoch {
            papers.ways = Arc::new(placement.clone());
        }
    }

    // For the hands.

    /// What wakes a client.
    pub fn bell(&self, client: usize) -> Waker {
        Arc::new(Bell { client, rung: self.rung.clone() }).into()
    }

    /// The next client that is to be polled, in the order of their numbers.
    pub fn next_rung(&self) -> Option<usize> {
        self.rung.0.lock().expect("nobody panics here").pop_first()
    }

    /// A client is polled now.
    pub fn enter(&self, client: usize, now_micros: u64) {
        let mut papers = self.papers();
        papers.client = client;
        papers.now_micros = now_micros;
    }

    /// What it has noted, said and asked since.
    pub fn take(&self) -> (Vec<Note>, Vec<Said>, Vec<(u64, Ask)>) {
        let mut papers = self.papers();
        let papers = &mut *papers;
        (
            std::mem::take(&mut papers.notes),
            std::mem::take(&mut papers.said),
            std::mem::take(&mut papers.asked),
        )
    }

    /// Whether somebody still waits for the answer.
    pub fn is_waited_for(&self, number: u64) -> bool {
        matches!(self.papers().places.get(&number), Some(Place::Waiting(_)))
    }

    /// Answers a question of a client. Only the first answer counts, and only if somebody still waits.
    pub fn answer(&self, client: usize, number: u64, answer: Answer) {
        let mut papers = self.papers();
        let Some(place @ Place::Waiting(_)) = papers.places.get_mut(&number) else { return };
        let begun = match &answer {
            Answer::Begun(begun) => Some(begun.snapshot_ts),
            _ => None,
        };
        let waiting = std::mem::replace(place, Place::Answered(answer));
        if let Some(snapshot_ts) = begun {
            papers.begun.insert(client, snapshot_ts);
        }
        drop(papers);
        if let Place::Waiting(Some(waker)) = waiting {
            waker.wake();
        }
    }
}

/// A question that waits for its answer.
pub struct Call {
    desk: Arc<Desk>,
    number: u64,
}

impl Future for Call {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut papers = self.desk.papers();
        match papers.places.get_mut(&self.number) {
            Some(Place::Waiting(waker)) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(Place::Answered(answer)) => Poll::Ready(answer.clone()),
            None => unreachable!("a question keeps its place until it is dropped"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.desk.papers().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Arc<Desk> {
        Desk::new(1, Arc::default())
    }

    #[test]
    fn an_answer_counts_once_and_wakes_whoever_waits_for_it() {
        let desk = desk();
        let mut call = desk.ask(Ask::Placement);
        let bell = desk.bell(7);
        let mut context = Context::from_waker(&bell);
        assert!(Pin::new(&mut call).poll(&mut context).is_pending());
        let number = desk.take().2[0].0;
        desk.answer(7, number, Answer::Tracked);
        desk.answer(7, number, Answer::Slept);
        assert_eq!(desk.next_rung(), Some(7));
        assert_eq!(desk.next_rung(), None);
        assert!(matches!(Pin::new(&mut call).poll(&mut context), Poll::Ready(Answer::Tracked)));
    }

    #[test]
    fn a_question_that_was_given_up_is_not_waited_for() {
        let desk = desk();
        let call = desk.ask(Ask::Begin);
        let number = desk.take().2[0].0;
        assert!(desk.is_waited_for(number));
        drop(call);
        assert!(!desk.is_waited_for(number));
        desk.answer(0, number, Answer::Tracked);
        assert_eq!(desk.last_begun(), Timestamp::ZERO);
    }
}
