//! One commit in a hostile world, thousands of times: lost, doubled and straggling messages, rivals that write the same
//! keys, a conflict window that forgets, placements that change. Whatever happens, what the client is told is true, also
//! after the last straggler has arrived; and the same writes never commit twice.
//!
//! The adjudicator and the shards here are naive on purpose: a list of commits and a map of outcomes.

use assize_coordinator::{
    Answer, Coordinator, Effect, Event, Newest, Options, Request, Rule, Timer, Voter, Write,
};
use assize_model::{
    AbortReason, AccessGroup, BatchNumber, CommitBody, Conflict, DeadlineClass, Decision, Epoch, Footprint,
    FrontendEpoch, FrontendId, Key, KeyHash, Mutation, NodeId, Outcome, Placement, ShardId, Slot, TableId,
    Timestamp, TxnId, Vote, VoteRefusal,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const BEGIN: u64 = 100_000;
/// When the faults end.
const FAULTS_UNTIL: u64 = BEGIN + 20_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, in_a_hundred: u64) -> bool {
        self.below(100) < in_a_hundred
    }
}

#[derive(Clone)]
enum Message {
    Prepare {
        to: Voter,
        txn: TxnId,
        epoch: Epoch,
    },
    Commit(Box<Footprint>),
    AskOutcome {
        txn: TxnId,
        resolve: bool,
    },
    AskNewest {
        txn: TxnId,
        keys: Vec<KeyHash>,
        at_least: Timestamp,
    },
    /// To the coordinator: replies, timers, and what its own node tells it.
    Hear(Event),
    Rival(KeyHash),
    Forget,
    ChangePlacement,
    TrackRanges,
    ChangeLeader,
}

/// How hostile the world of one seed is, in a hundred.
struct Faults {
    loss: u64,
    double: u64,
    straggle: u64,
    full: u64,
    /// Nothing at all gets through between these times.
    blackout: (u64, u64),
}

struct World {
    random: Random,
    faults: Faults,
    now: u64,
    queue: BTreeMap<(u64, u64), Message>,
    sent: u64,
    // The adjudicator.
    last: Timestamp,
    commits: Vec<(Timestamp, TxnId, Vec<KeyHash>)>,
    outcomes: BTreeMap<TxnId, Decision>,
    /// Commits at or below this are forgotten by the window.
    floor: Timestamp,
    placement: Placement,
    is_tracked: bool,
    // The replicas.
    promised: BTreeSet<(TxnId, Voter, Epoch)>,
    // The frontend.
    ids: Vec<TxnId>,
    answers: Vec<Answer>,
    wrongs: Vec<String>,
}

fn hash(n: u64) -> KeyHash {
    KeyHash(n)
}

fn request(snapshot_ts: Timestamp) -> Request {
    let write = |n: u64, slot: u16| Write {
        mutation: Mutation::put(Key::new(vec![n as u8]), Slot(slot), "v"),
        hash: hash(n),
        table: TableId(1),
    };
    Request {
        // Key 3 is only read.
        groups: vec![AccessGroup {
            snapshot_ts,
            checked: vec![hash(1), hash(2), hash(3)],
            ranges: Vec::new(),
        }],
        writes: vec![write(1, 0), write(2, u16::MAX)],
        ..Request::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut some = |most: u64| if random.chance(60) { random.below(most) } else { 0 };
        let (loss, double, straggle, full) = (some(60), some(30), some(50), some(30));
        let from = BEGIN + some(200);
        let blackout = (from, from + some(25_000));
        let faults = Faults { loss, double, straggle, full, blackout };
        World {
            random,
            faults,
            now: BEGIN,
            queue: BTreeMap::new(),
            sent: 0,
            last: Timestamp::from_millis(BEGIN - 1),
            commits: Vec::new(),
            outcomes: BTreeMap::new(),
            floor: Timestamp::ZERO,
            placement: Placement::even_replicated(2, &[NodeId(1), NodeId(2), NodeId(3)]),
            is_tracked: false,
            promised: BTreeSet::new(),
            ids: Vec::new(),
            answers: Vec::new(),
            wrongs: Vec::new(),
        }
    }

    fn at(&mut self, time: u64, message: Message) {
        self.sent += 1;
        self.queue.insert((time, self.sent), message);
    }

    /// Sends over the network; tells whether at least one copy is on its way.
    fn send(&mut self, message: Message) -> bool {
        let is_hostile = self.now < FAULTS_UNTIL;
        let (from, until) = self.faults.blackout;
        let is_dark = (from..until).contains(&self.now);
        if is_dark || is_hostile && self.random.chance(self.faults.loss) {
            return false;
        }
        let copies = if is_hostile && self.random.chance(self.faults.double) { 2 } else { 1 };
        for _ in 0..copies {
            let straggles = is_hostile && self.random.chance(self.faults.straggle);
            let delay = 1 + self.random.below(if straggles { 20_000 } else { 40 });
            self.at(self.now + delay, message.clone());
        }
        true
    }

    fn draw(&mut self) -> TxnId {
        let begun = Timestamp::from_millis(self.now);
        let sequence = self.ids.len() as u64 + 1;
        let txn = TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), sequence);
        self.ids.push(txn);
        txn
    }

    // The adjudicator.

    fn next_base(&self) -> Timestamp {
        Timestamp::from_millis(self.now).max(self.last.next())
    }

    fn last_commit(&self, key: KeyHash, until: Timestamp) -> Option<Timestamp> {
        let mut of_key = self.commits.iter().filter(|(at, _, keys)| *at <= until && keys.contains(&key));
        of_key.next_back().map(|(at, ..)| *at)
    }

    fn adjudicate(&mut self, footprint: &Footprint) -> Decision {
        if let Some(known) = self.outcomes.get(&footprint.txn) {
            return known.clone();
        }
        if self.now < FAULTS_UNTIL && self.random.chance(self.faults.full) {
            return Decision::Abort { reason: AbortReason::OutcomesFull };
        }
        let base = self.next_base();
        let decision = match self.refusal(footprint, base) {
            Some(reason @ AbortReason::NeedRefresh { .. }) => return Decision::Abort { reason },
            Some(reason) => Decision::Abort { reason },
            None => {
                self.last = base;
                let keys = footprint.body.written().iter().map(|written| written.hash).collect();
                self.commits.push((base, footprint.txn, keys));
                Decision::Commit { commit_ts: base }
            }
        };
        self.outcomes.insert(footprint.txn, decision.clone());
        decision
    }

    fn refusal(&self, footprint: &Footprint, base: Timestamp) -> Option<AbortReason> {
        if base > footprint.txn.deadline() {
            return Some(AbortReason::DeadlinePassed);
        }
        if let CommitBody::Prepared { receipts, .. } = &footprint.body {
            for receipt in receipts {
                let current = self.placement.shards[&receipt.shard].epoch;
                if receipt.epoch != current {
                    return Some(AbortReason::StaleEpoch { shard: receipt.shard, current });
                }
            }
        }
        if self.is_tracked && footprint.body.written().iter().any(|written| written.ordered.is_none()) {
            return Some(AbortReason::RangeKeysMissing { table: TableId(1) });
        }
        let mut forgotten = Vec::new();
        for group in &footprint.groups {
            for key in &group.checked {
                let remembered = self.last_commit(*key, Timestamp::MAX).filter(|at| *at > self.floor);
                if remembered > Some(group.snapshot_ts) {
                    let conflict =
                        Conflict { key: Some(*key), range: None, batch: BatchNumber(0), winner: None };
                    return Some(AbortReason::Conflict(conflict));
                }
                if group.snapshot_ts < self.floor {
                    forgotten.push(*key);
                }
            }
        }
        let needs = !forgotten.is_empty();
        needs.then(|| AbortReason::NeedRefresh { keys: forgotten, ranges: Vec::new() })
    }

    fn outcome(&mut self, txn: TxnId, resolve: bool) -> Outcome {
        if resolve && !self.outcomes.contains_key(&txn) {
            self.outcomes.insert(txn, Decision::Abort { reason: AbortReason::Resolved });
        }
        self.outcomes.get(&txn).cloned().map_or(Outcome::Undecided, Outcome::from)
    }

    fn has_majority(&self, txn: TxnId, shard: ShardId, epoch: Epoch) -> bool {
        let yes = self.promised.iter().filter(|(t, v, e)| (*t, v.shard, *e) == (txn, shard, epoch)).count();
        yes > self.placement.shards[&shard].replicas.len() / 2
    }

    // The network's other ends.

    fn deliver(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Hear(event) => return Some(event),
            Message::Prepare { to, txn, epoch } => self.prepare(to, txn, epoch),
            Message::Commit(footprint) => {
                let txn = footprint.txn;
                let decision = self.adjudicate(&footprint);
                if decision.is_commit()
                    && let CommitBody::Prepared { receipts, .. } = &footprint.body
                    && let Some(receipt) = receipts.iter().find(|r| !self.has_majority(txn, r.shard, r.epoch))
                {
                    self.wrongs.push(format!("{txn} committed without a majority of {}", receipt.shard));
                }
                let is_on_its_way = self.send(Message::Hear(Event::Decided { txn, decision }));
                if !is_on_its_way && self.random.chance(50) {
                    self.at(self.now + 5, Message::Hear(Event::ReplyLost { txn }));
                }
            }
            Message::AskOutcome { txn, resolve } => {
                let outcome = self.outcome(txn, resolve);
                self.send(Message::Hear(Event::OutcomeAnswered { txn, outcome }));
            }
            Message::AskNewest { txn, keys, at_least } => {
                // A shard may be a little behind the log; what it vouches for is what it has applied.
                let behind = Timestamp(self.last.0.saturating_sub(self.random.below(100) << 18));
                let as_of = behind.max(at_least).min(self.last.max(at_least));
                let newest = |key: KeyHash| Newest { newest: self.last_commit(key, as_of), as_of };
                let keys = keys.into_iter().map(|key| (key, newest(key))).collect();
                self.send(Message::Hear(Event::NewestAnswered { txn, keys, ranges: Vec::new() }));
            }
            Message::Rival(key) => {
                self.last = self.next_base();
                let rival = TxnId::new(
                    Timestamp::from_millis(self.now),
                    DeadlineClass::Normal,
                    FrontendId(2),
                    FrontendEpoch(1),
                    self.sent,
                );
                self.commits.push((self.last, rival, vec![key]));
            }
            Message::Forget => self.floor = self.last,
            Message::ChangePlacement => {
                self.placement.epoch = Epoch(self.placement.epoch.0 + 1);
                let shard = ShardId(1 + self.random.below(2) as u32);
                let part = self.placement.shards.get_mut(&shard).expect("one of the two");
                part.epoch = self.placement.epoch;
            }
            Message::TrackRanges => self.is_tracked = true,
            Message::ChangeLeader => return Some(Event::LeaderChanged),
        }
        None
    }

    fn prepare(&mut self, to: Voter, txn: TxnId, epoch: Epoch) {
        let current = self.placement.shards[&to.shard].epoch;
        let vote = if epoch != current {
            Vote::No(VoteRefusal::StaleEpoch { current })
        } else if self.last > txn.deadline() {
            Vote::No(VoteRefusal::DeadlinePassed { closed_ts: self.last })
        } else if self.now < FAULTS_UNTIL && self.random.chance(1) {
            Vote::No(VoteRefusal::Overloaded)
        } else {
            self.promised.insert((txn, to, epoch));
            Vote::Yes
        };
        self.send(Message::Hear(Event::Voted { voter: to, txn, vote }));
    }

    // The hands.

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SendPrepare { to, txn, epoch, .. } => {
                self.send(Message::Prepare { to, txn, epoch });
            }
            Effect::HintAbort { .. } | Effect::Acknowledge { .. } => {}
            Effect::SendCommit { footprint } => {
                let txn = footprint.txn;
                if !self.send(Message::Commit(footprint)) {
                    let event = match self.random.below(3) {
                        0 => Event::NotProposed { txn },
                        1 => Event::ReplyLost { txn },
                        _ => return,
                    };
                    self.at(self.now + 5, Message::Hear(event));
                }
            }
            Effect::AskOutcome { txn, resolve } => drop(self.send(Message::AskOutcome { txn, resolve })),
            Effect::DrawTxn => {
                let txn = self.draw();
                self.send(Message::Hear(Event::TxnDrawn(txn)));
            }
            Effect::AskPlacement => {
                let placement = Arc::new(self.placement.clone());
                self.send(Message::Hear(Event::PlacementArrived(placement)));
            }
            Effect::AskNewest { txn, keys, at_least, .. } => {
                self.send(Message::AskNewest { txn, keys, at_least });
            }
            Effect::SetTimer { timer, after } => {
                self.at(self.now + after.as_millis() as u64, Message::Hear(Event::TimerFired(timer)));
            }
            Effect::Answer(answer) => self.answers.push(answer),
        }
    }

    fn is_committed(&self) -> Vec<(TxnId, Timestamp)> {
        let ours = self.commits.iter().filter(|(_, txn, _)| self.ids.contains(txn));
        ours.map(|(at, txn, _)| (*txn, *at)).collect()
    }
}

/// Runs one seed; returns everything that was wrong.
fn run(seed: u64, options: Options) -> Vec<String> {
    let (wrongs, _) = run_and_tell(seed, options);
    wrongs
}

/// As [`run`], with what the client was told.
fn run_and_tell(seed: u64, options: Options) -> (Vec<String>, String) {
    let mut world = World::new(seed);
    let snapshot_ts = world.last;
    for _ in 0..world.random.below(4) {
        let time = BEGIN + world.random.below(2_000);
        let key = hash(1 + world.random.below(5));
        world.at(time, Message::Rival(key));
    }
    for message in [Message::Forget, Message::Forget, Message::ChangePlacement, Message::TrackRanges] {
        if world.random.chance(40) {
            let time = BEGIN + world.random.below(4_000);
            world.at(time, message);
        }
    }
    for _ in 0..world.random.below(3) {
        let time = BEGIN + world.random.below(12_000);
        world.at(time, Message::ChangeLeader);
    }
    // A rival that moves the window's floor and the clock on.
    world.at(BEGIN + 500, Message::Rival(hash(9)));
    world.at(BEGIN + 12_000, Message::Rival(hash(9)));

    let mut effects = Vec::new();
    let txn = world.draw();
    let now = Timestamp::from_millis(BEGIN);
    let mut coordinator = if world.random.chance(50) {
        Coordinator::commit_inline(now, txn, request(snapshot_ts), options, &mut effects)
    } else {
        let placement = world.placement.clone();
        Coordinator::commit_prepared(now, txn, request(snapshot_ts), &placement, options, &mut effects)
    };
    loop {
        for effect in effects.drain(..) {
            world.perform(effect);
        }
        // On until the last straggler has arrived, long after the answer.
        let Some(((time, _), message)) = world.queue.pop_first() else { break };
        world.now = time;
        if let Some(event) = world.deliver(message) {
            coordinator.step(Timestamp::from_millis(time), event, &mut effects);
        }
    }
    let told = match world.answers.first() {
        Some(Answer::Committed { .. }) if world.ids.len() > 1 => "committed under another id",
        Some(Answer::Committed { .. }) => "committed",
        Some(Answer::Aborted(AbortReason::Conflict(_))) => "lost to another",
        Some(Answer::Aborted(_)) => "aborted",
        Some(Answer::NotProposed(_)) => "not proposed",
        Some(Answer::Unknown { .. }) => "unknown",
        None => "nothing",
    };
    (judge(&world, snapshot_ts), told.to_owned())
}

fn judge(world: &World, snapshot_ts: Timestamp) -> Vec<String> {
    let mut wrongs = world.wrongs.clone();
    let committed = world.is_committed();
    if committed.len() > 1 {
        wrongs.push(format!("the same writes committed as {committed:?}"));
    }
    match world.answers.as_slice() {
        [Answer::Committed { txn, commit_ts }] if committed != [(*txn, *commit_ts)] => {
            wrongs.push(format!("told {txn} at {commit_ts}, but the log has {committed:?}"));
        }
        [answer @ (Answer::Aborted(_) | Answer::NotProposed(_))] if !committed.is_empty() => {
            wrongs.push(format!("told {answer:?}, but the log has {committed:?}"));
        }
        [_] => {}
        answers => wrongs.push(format!("{} answers", answers.len())),
    }
    for (txn, commit_ts) in committed {
        let between = |at: Timestamp| snapshot_ts < at && at < commit_ts;
        let checked = |keys: &[KeyHash]| keys.iter().any(|key| (1..=3).any(|n| hash(n) == *key));
        let lost =
            world.commits.iter().find(|(at, other, keys)| between(*at) && *other != txn && checked(keys));
        if let Some((at, other, _)) = lost {
            wrongs.push(format!("{txn} committed at {commit_ts} although {other} wrote at {at}"));
        }
    }
    wrongs
}

const SEEDS: u64 = 20_000;

#[test]
fn what_the_client_is_told_is_true() {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let (wrongs, answer) = run_and_tell(seed, Options::default());
        assert!(wrongs.is_empty(), "seed {seed}: {wrongs:?}");
        *told.entry(answer).or_default() += 1;
    }
    // A world in which everything ends the same way would prove little.
    for answer in
        ["committed", "committed under another id", "lost to another", "aborted", "not proposed", "unknown"]
    {
        let times = told.get(answer).copied().unwrap_or(0);
        assert!(times >= SEEDS / 2_000, "{answer} only {times} times: {told:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..20 {
        let without = Options { disabled_rules: Rule::Majority.into_set(), ..Options::default() };
        assert_eq!(run(seed, without.clone()), run(seed, without));
    }
}

#[test]
fn every_rule_is_missed_when_it_is_off() {
    for (rule, sign) in [
        (Rule::Majority, "without a majority"),
        // The second id meets the first one's commit, and loses to it.
        (Rule::SameIdAfterLostReply, "told Aborted(Conflict"),
        (Rule::UnknownIsNotAbort, "told Aborted"),
    ] {
        let options = Options { disabled_rules: rule.into_set(), ..Options::default() };
        let is_missed =
            (0..SEEDS).any(|seed| run(seed, options.clone()).iter().any(|wrong| wrong.contains(sign)));
        assert!(is_missed, "nobody misses {rule:?}");
    }
}

trait IntoSet {
    fn into_set(self) -> BTreeSet<Rule>;
}

impl IntoSet for Rule {
    fn into_set(self) -> BTreeSet<Rule> {
        BTreeSet::from([self])
    }
}

/// Timers are drawn from a world of their own: one that fires twice, or late, changes nothing.
#[test]
fn stray_timers_change_nothing() {
    let mut effects = Vec::new();
    let now = Timestamp::from_millis(BEGIN);
    let txn = TxnId::new(now, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), 1);
    let mut coordinator =
        Coordinator::commit_inline(now, txn, request(now), Options::default(), &mut effects);
    effects.clear();
    for stray in [0, 2, u32::MAX] {
        coordinator.step(
            now.later(std::time::Duration::from_secs(60)),
            Event::TimerFired(Timer(stray)),
            &mut effects,
        );
    }
    assert_eq!(effects, []);
    assert_eq!(coordinator.answer(), None);
}
