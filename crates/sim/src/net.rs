//! Virtual time, and messages that may be lost, late, doubled or out of order.

use crate::random::Random;
use crate::scenario::Faults;
use assize_adjudicator::command::{Acknowledgement, SnapshotReport};
use assize_adjudicator::{Begin, EncodedFootprint};
use assize_model::*;
use assize_mvcc::{ContentHash, MemoryCheckpoint, Prepare};
use assize_ports::{CatalogObjects, Direction, NewestCommits, ScanPage};
use assize_replica::{ContentPage, IntentAnswer, ReadRefusal, RequestId, Standings};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Actor {
    /// A node of the adjudicator.
    Adjudicator(usize),
    /// A frontend.
    Frontend(usize),
    /// A replica, by its place among all replicas of all shards.
    Replica(usize),
}

/// What a shard is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Some keys.
    Keys(Vec<Key>),
    /// A range: so many rows of it, in this direction.
    Range(KeyRange, Direction, usize),
}

/// What a snapshot shows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Each key's value.
    Values(Vec<Option<Bytes>>),
    /// Rows, and what is left of the range.
    Page(ScanPage),
}

/// Who waits for an answer: a frontend, and which of its questions this is. No number comes twice, in whatever life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Asker {
    /// The frontend.
    pub frontend: usize,
    /// Its question; what is no longer waited for is ignored.
    pub question: u64,
}

/// What one process says to another.
#[derive(Clone, Debug)]
pub enum Message {
    // To a node of the adjudicator.
    /// A frontend begins a life.
    Grant { frontend: usize, nonce: u64 },
    /// A snapshot, please.
    Begin(Asker),
    /// A footprint to decide.
    Commit(Asker, EncodedFootprint),
    /// What became of it?
    AskOutcome(Asker, TxnId, bool),
    /// Where does everything lie?
    AskPlacement(Asker),
    /// What has changed in the catalog since?
    AskCatalog(Asker, CatalogVersion),
    /// Ranges of this table are going to be checked.
    TrackRanges(Asker, TableId),
    /// A reservation of these keys.
    Reserve(Asker, Vec<KeyHash>),
    /// A frontend's oldest snapshot.
    Report(SnapshotReport),
    /// Outcomes that a frontend no longer asks for.
    Acknowledge(Acknowledgement),
    /// A replica wants the stream of its shard, or of one whose slots it stages; the number names the subscription.
    Subscribe { replica: usize, shard: ShardId, subscription: u64, after: Position },
    /// How do the replicas stand?
    AskStandings { replica: usize },
    /// How far a replica is durable.
    Durable { replica: usize, durable: Position },
    /// A replica is about to forget intents.
    RaiseEpoch { replica: usize },
    /// A replica is about to copy a checkpoint.
    Register { replica: usize },

    // From a node of the adjudicator.
    /// A frontend's new life.
    Granted { epoch: FrontendEpoch, nonce: u64, placement: Arc<Placement> },
    /// A snapshot.
    Begun(Asker, Begin),
    /// What has changed in the catalog.
    CatalogIs(Asker, CatalogObjects),
    /// The table's ranges are tracked.
    Tracked(Asker),
    /// All of them, and a snapshot after the grant.
    Reserved(Asker, Begin, Vec<KeyHash>),
    /// What was decided.
    Decided(Asker, Decision),
    /// The connection broke before an answer came.
    ReplyLost(Asker),
    /// It was not proposed.
    TurnedAway(Asker),
    /// This node does not lead.
    NotLeader(Asker),
    /// What became of it.
    OutcomeIs(Asker, Outcome),
    /// Where everything lies.
    PlacementIs(Asker, Arc<Placement>),
    /// An entry of a subscription.
    Streamed { subscription: u64, entry: Arc<StreamEntry> },
    /// The subscription broke.
    StreamLost { subscription: u64 },
    /// The log no longer goes back so far.
    StreamForgotten { subscription: u64 },
    /// How the replicas stand.
    StandingsAre(Standings),
    /// The shard's epoch has been raised, as asked.
    EpochRaised,
    /// The replica has been registered.
    Registered { index: LogIndex },

    // Between frontends and replicas.
    /// A promise, please.
    Prepare(Asker, Prepare),
    /// The vote.
    Vote(Asker, Vote),
    /// It will never commit.
    HintAbort(TxnId),
    /// A read.
    Read { asker: Asker, asked: Asked, snapshot_ts: Timestamp, epoch: Epoch },
    /// What the snapshot shows.
    Rows(Asker, Result<Shown, ReadRefusal>),
    /// When was it last committed?
    AskNewest { asker: Asker, asked: Asked, at_least: Timestamp },
    /// Then.
    NewestIs(Asker, Result<NewestCommits, ReadRefusal>),

    // Between replicas.
    /// A sibling's intent.
    AskIntent { from: usize, txn: TxnId },
    /// The answer.
    IntentIs { from: usize, txn: TxnId, answer: IntentAnswer },
    /// A sibling's checkpoint.
    AskCheckpoint { from: usize, at_least: LogIndex },
    /// A sibling's hash of a page.
    AskContent { from: usize, page: ContentPage },
    /// The hash.
    ContentIs { from: usize, page: ContentPage, answer: Option<ContentHash> },
    /// Most agree with each other, and not with this one.
    ContentDiffers { epoch: Epoch },
    /// An intent of another shard, whose slots are being staged.
    AskGiver { from: usize, txn: TxnId },
    /// The answer.
    GiverSays { txn: TxnId, answer: IntentAnswer },
    /// A checkpoint of another shard, at or after this entry: for an entry that gives its slots, or to stage them.
    AskSlots { from: usize, after: LogIndex, stages: bool },
    /// The copy of another shard has arrived.
    SlotsAre { checkpoint: MemoryCheckpoint, stages: bool },
    /// The copy has arrived.
    CheckpointIs { checkpoint: MemoryCheckpoint },
}

/// What happens at some moment.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrives.
    Delivered { to: Actor, message: Message },
    /// A node of the adjudicator has made its oldest proposal durable on a majority, if it still leads that term.
    Flushed { node: usize, term: u64 },
    /// A node's own clock strikes.
    Tick(Actor),
    /// A frontend has waited long enough for an answer, or for nothing but the time to pass.
    Due(Asker),
    /// Somebody comes back.
    Restart(Actor),
    /// The nodes of the adjudicator notice that nobody leads.
    Elect,
    /// A leader that was replaced hears of it.
    Deposed { node: usize, term: u64 },
    /// Two processes hear each other again.
    Rejoin(Actor, Actor),
    /// The next stroke of fate.
    Stroke,
    /// A look at replicas that are being replaced.
    Replace,
    /// A look at slots that are being staged.
    Stage,
    /// No more faults.
    Heal,
}

/// The time, what is going to happen, and how messages travel.
pub struct Net {
    /// Virtual milliseconds since the beginning.
    pub now: u64,
    /// All randomness of the run.
    pub random: Random,
    /// How hostile the network is, now.
    pub faults: Faults,
    /// The nodes of the adjudicator that everybody knows of.
    pub nodes: Vec<usize>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    cut: BTreeMap<(Actor, Actor), u32>,
    /// When the last message of a subscription arrives: those keep their order.
    arrivals: BTreeMap<u64, u64>,
    broken: BTreeSet<u64>,
    /// A hash over everything that happened.
    pub trace: u64,
    /// How many messages have been sent.
    pub effects: u64,
    /// How many events have happened.
    pub events: u64,
}

impl Net {
    /// A network at time zero.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Net {
            now: 0,
            random: Random::new(seed),
            faults,
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            cut: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            broken: BTreeSet::new(),
            trace: seed,
            effects: 0,
            events: 0,
        }
    }

    /// Lets something happen after so many milliseconds.
    pub fn after(&mut self, millis: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + millis, self.sequence), event);
    }

    /// What happens next, at its time.
    pub fn next(&mut self, until: u64) -> Option<Event> {
        let first = self.queue.first_entry()?;
        if first.key().0 > until {
            return None;
        }
        let ((at, sequence), event) = first.remove_entry();
        self.now = at;
        self.events += 1;
        let mut hasher = DefaultHasher::new();
        (self.trace, at, sequence, discriminant(&event)).hash(&mut hasher);
        if let Event::Delivered { to, message } = &event {
            (to, discriminant(message)).hash(&mut hasher);
        }
        self.trace = hasher.finish();
        Some(event)
    }

    /// Sends a message, which may be lost, doubled or late.
    pub fn send(&mut self, from: Actor, to: Actor, message: Message) {
        self.effects += 1;
        if self.is_cut(from, to) || self.random.chance(self.faults.loss) {
            return self.notice_loss(from, to, &message);
        }
        // A connection does not double a commit, and a coordinator may rely on that when it was turned away; that it
        // sends one twice itself is another matter.
        let is_copy = matches!(message, Message::CheckpointIs { .. } | Message::SlotsAre { .. });
        let may_double = !is_copy && !matches!(message, Message::Commit(..) | Message::Subscribe { .. });
        if may_double && self.random.chance(self.faults.duplicate) {
            let delay = self.delay();
            self.after(delay, Event::Delivered { to, message: message.clone() });
        }
        let mut delay = self.delay();
        if is_copy && self.faults.copy_millis > 0 {
            delay += self.random.below(self.faults.copy_millis + 1);
        }
        self.after(delay, Event::Delivered { to, message });
    }

    /// A frontend notices that the connection broke over which a commit or its answer was on its way; which of the two it
    /// was it cannot tell. A replica notices that a sibling cannot be asked.
    fn notice_loss(&mut self, from: Actor, to: Actor, message: &Message) {
        let (whom, lost) = match message {
            Message::Commit(asker, _) => (from, Message::ReplyLost(*asker)),
            Message::Decided(asker, ..) => (to, Message::ReplyLost(*asker)),
            Message::AskIntent { txn, .. } => {
                let Actor::Replica(sibling) = to else { return };
                let answer = IntentAnswer::CannotSay;
                (from, Message::IntentIs { from: sibling, txn: *txn, answer })
            }
            // It would have come over the stream's own connection, whose end is noticed.
            Message::StreamForgotten { subscription } => {
                (to, Message::StreamLost { subscription: *subscription })
            }
            _ => return,
        };
        let delay = self.random.between(20, 400);
        self.after(delay, Event::Delivered { to: whom, message: lost });
    }

    /// Sends an entry of a subscription: in order, or the subscription breaks.
    pub fn stream(&mut self, from: Actor, to: Actor, subscription: u64, entry: Arc<StreamEntry>) {
        self.effects += 1;
        if self.broken.contains(&subscription) {
            return;
        }
        if self.is_cut(from, to) || self.random.chance(self.faults.loss / 8) {
            return self.break_stream(to, subscription);
        }
        let delay = self.delay();
        let arrival = self.arrivals.get(&subscription).copied().unwrap_or(0).max(self.now + delay);
        self.arrivals.insert(subscription, arrival);
        self.after(
            arrival - self.now,
            Event::Delivered { to, message: Message::Streamed { subscription, entry } },
        );
    }

    /// A subscription ends; the subscriber hears of it in a while.
    pub fn break_stream(&mut self, to: Actor, subscription: u64) {
        if self.broken.insert(subscription) {
            let delay = self.random.between(50, 600);
            self.after(delay, Event::Delivered { to, message: Message::StreamLost { subscription } });
        }
    }

    fn delay(&mut self) -> u64 {
        if self.random.chance(self.faults.straggle) {
            self.random.between(1, self.faults.straggle_millis)
        } else {
            self.random.between(1, 8)
        }
    }

    /// Whether messages between the two are lost.
    pub fn is_cut(&self, a: Actor, b: Actor) -> bool {
        self.cut.contains_key(&(a.min(b), a.max(b)))
    }

    /// From now on messages between the two are lost, until as many rejoins.
    pub fn cut(&mut self, a: Actor, b: Actor) {
        *self.cut.entry((a.min(b), a.max(b))).or_default() += 1;
    }

    /// Undoes one cut.
    pub fn rejoin(&mut self, a: Actor, b: Actor) {
        if let Some(count) = self.cut.get_mut(&(a.min(b), a.max(b))) {
            *count -= 1;
            if *count == 0 {
                self.cut.remove(&(a.min(b), a.max(b)));
            }
        }
    }

    /// Everybody hears everybody, and nothing is lost any more.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.faults = Faults::none();
    }

    /// Some node of the adjudicator.
    pub fn some_node(&mut self) -> usize {
        *self.random.pick(&self.nodes)
    }

    /// The node after this one: who gets no answer asks them in turn, and so the leader before long.
    pub fn next_node(&self, node: usize) -> usize {
        let place = self.nodes.iter().position(|known| *known == node);
        self.nodes[place.map_or(0, |place| (place + 1) % self.nodes.len())]
    }

    /// A request's number for a replica.
    pub fn request(&mut self) -> RequestId {
        self.sequence += 1;
        RequestId(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_in_turn_has_asked_everybody_even_when_a_node_has_left_meanwhile() {
        let mut net = Net::new(1, Faults::none());
        net.nodes = vec![0, 2, 3];
        let asked: Vec<usize> =
            std::iter::successors(Some(0), |node| Some(net.next_node(*node))).take(4).collect();
        assert_eq!(asked, [0, 2, 3, 0]);
        // It was about to ask the next node after one that is gone.
        assert_eq!(net.next_node(1), 0);
    }
}
