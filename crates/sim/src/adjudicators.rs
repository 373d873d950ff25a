//! Nodes of the adjudicator round a model of the replicated log: three to begin with, and others that join and leave.
//!
//! The model is what Raft promises, and no more: one sequence of committed entries, the same for everybody; a
//! proposal of a leader may be committed although that leader is told nothing; one of a replaced leader may be lost; a
//! replaced leader may believe for a while that it still leads. A node that joins begins with another one's checkpoint, to
//! which the streams' tails belong that replicas may still ask for; it becomes a member once it has applied what followed.

use crate::history::{History, Split};
use crate::net::{Actor, Asker, Event, Message, Net};
use crate::scenario::Scenario;
use crate::shards::Place;
use assize_adjudicator::command::*;
use assize_adjudicator::*;
use assize_model::*;
use assize_ports::CatalogObjects;
use assize_replica::{Standing, Standings};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The seed of key hashes.
pub const HASH_SEED: u64 = 77;
/// The wall clock at virtual time zero.
pub const EPOCH_MILLIS: u64 = 1_000_000;
/// Members in the beginning; there are never fewer.
const MEMBERS_MIN: usize = 3;
/// Members at most.
const MEMBERS_MAX: usize = 5;
/// A frontend that has said nothing for so long is fenced.
const LEASE_MILLIS: u64 = 4_000;
const SNAPSHOT_EVERY: u64 = 64;

/// Whom to answer once a proposal is applied.
#[derive(Clone, Debug)]
enum Waiting {
    Nobody,
    Batch(Vec<Asker>),
    Outcome(Asker, TxnId),
    Tracked(Asker),
    Grant { frontend: usize, nonce: u64 },
    EpochRaised { replica: usize },
    Registered { replica: usize },
}

struct Proposal {
    bytes: bytes::Bytes,
    waiting: Waiting,
}

/// What a node is only while it believes to lead.
struct Leading {
    term: u64,
    sequencer: Sequencer,
    /// Footprints for the next batch.
    queue: Vec<(Asker, EncodedFootprint)>,
    /// Proposed, not known to be committed.
    flight: VecDeque<Proposal>,
    /// When each frontend was last heard.
    heard: BTreeMap<FrontendId, u64>,
    reports: Vec<SnapshotReport>,
    acknowledged: Vec<Acknowledgement>,
    /// When it last proposed a batch, or began to lead.
    last_batch: u64,
}

struct Subscription {
    replica: usize,
    shard: ShardId,
    id: u64,
    /// Entries of the stream that were sent.
    sent: usize,
}

struct Node {
    state: Adjudicator,
    is_up: bool,
    /// Whether it is one of those of whom a majority decides.
    is_member: bool,
    /// What a restart begins with: a checkpoint, and the stream's tail that travels with it.
    checkpoint: (Vec<u8>, usize),
    streams: BTreeMap<ShardId, Vec<Arc<StreamEntry>>>,
    subscriptions: Vec<Subscription>,
    leading: Option<Leading>,
    /// Outcomes that left memory: the history on disk.
    past: BTreeMap<TxnId, Decision>,
    /// How wrong its wall clock is.
    skew: i64,
    /// By what it leads, of this life of its process.
    clock: LeaderClock,
}

/// The nodes and the log.
pub struct Adjudicators {
    nodes: Vec<Node>,
    options: Options,
    leader: usize,
    term: u64,
    /// Negative control: leaders go by their wall clocks alone.
    wall_clocks_alone: bool,
}

impl Adjudicators {
    /// Three nodes that have applied the first entry; the first one leads.
    pub fn new(scenario: &Scenario, net: &mut Net, history: &mut History) -> Self {
        let options = Options { disabled_rules: scenario.without };
        let placement = Placement::even_replicated(scenario.shards, &[NodeId(1), NodeId(2), NodeId(3)]);
        let bootstrap = Bootstrap {
            window_log2: scenario.window_log2,
            outcomes_max: scenario.outcomes_max,
            range_keys_max: scenario.range_keys_max,
            ..Bootstrap::new(1, HASH_SEED, Timestamp::from_millis(EPOCH_MILLIS), placement)
        };
        history.log.push(Command::Bootstrap(bootstrap).encode().into());
        // Every node understands everything.
        history.log.push(Command::RaiseClusterVersion(CLUSTER_VERSION_MAX).encode().into());
        // Otherwise whoever is first to check a range has its table tracked, while others commit.
        for table in crate::workload::TRACKED.into_iter().filter(|_| scenario.tracks_from_the_start) {
            history.log.push(Command::TrackRanges(table).encode().into());
        }
        let nodes = (0..MEMBERS_MIN).map(|_| Node::empty(options, net)).collect();
        let wall_clocks_alone = scenario.wall_clocks_alone;
        let mut all = Adjudicators { nodes, options, leader: 0, term: 0, wall_clocks_alone };
        for node in 0..MEMBERS_MIN {
            all.nodes[node].is_up = true;
            all.nodes[node].is_member = true;
            net.nodes.push(node);
            net.after(1 + node as u64, Event::Tick(Actor::Adjudicator(node)));
            all.catch_up(node, net, history);
        }
        all.elect(0, net, history);
        all
    }

    /// The placement as the leader has it.
    pub fn placement(&self) -> Arc<Placement> {
        Arc::new(self.nodes[self.leader].state.placement().clone())
    }

    /// Who leads.
    pub fn leader(&self) -> usize {
        self.leader
    }

    /// The leader's state.
    pub fn state(&self) -> &Adjudicator {
        &self.nodes[self.leader].state
    }

    /// All states, for comparison.
    pub fn states(&self) -> impl Iterator<Item = &Adjudicator> {
        self.nodes.iter().filter(|node| node.is_up).map(|node| &node.state)
    }

    /// The members, running or not.
    pub fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_member).collect()
    }

    /// Whether all members run.
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| node.is_up || !node.is_member)
    }

    /// Whether this node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].is_up
    }

    /// Another node leads from now on. Some of what the one before had proposed is committed, the rest is lost; it may not
    /// know for a while.
    pub fn elect(&mut self, node: usize, net: &mut Net, history: &mut History) {
        let before = self.leader;
        self.keep_some_in_flight(before, net, history);
        if let Some(old) = &self.nodes[before].leading {
            let term = old.term;
            let believes_for = net.random.between(0, 3_000);
            net.after(believes_for, Event::Deposed { node: before, term });
        }
        self.term += 1;
        self.leader = node;
        if node == before {
            self.nodes[node].leading = None;
        }
        self.nodes[node].leading = Some(Leading {
            term: self.term,
            sequencer: Sequencer::new(self.options),
            queue: Vec::new(),
            flight: VecDeque::new(),
            heard: BTreeMap::new(),
            reports: Vec::new(),
            acknowledged: Vec::new(),
            last_batch: net.now,
        });
        self.catch_up(node, net, history);
        let first = Sequencer::first_entry(self.time(node, net));
        self.propose(node, first, Waiting::Nobody, net);
    }

    /// The next leader finds some of what this one had proposed, and commits it.
    fn keep_some_in_flight(&mut self, node: usize, net: &mut Net, history: &mut History) {
        if node != self.leader {
            return;
        }
        let Some(leading) = &self.nodes[node].leading else { return };
        if leading.term != self.term {
            return;
        }
        let kept = net.random.below(leading.flight.len() as u64 + 1) as usize;
        for proposal in leading.flight.iter().take(kept) {
            history.log.push(proposal.bytes.clone());
            // A proposal that was repeated below our feet.
            if net.random.chance(net.faults.duplicate) {
                history.log.push(proposal.bytes.clone());
            }
        }
        // Nobody commits the others any more.
        self.term += 1;
    }

    /// Somebody who runs leads, if whoever led does not.
    pub fn elect_if_needed(&mut self, net: &mut Net, history: &mut History) {
        if self.nodes[self.leader].is_up
            && self.nodes[self.leader].leading.is_some()
            && self.has_majority(self.leader, net)
        {
            return;
        }
        let eligible = self.eligible(net);
        if eligible.is_empty() {
            return net.after(200, Event::Elect);
        }
        let node = *net.random.pick(&eligible);
        self.elect(node, net, history);
    }

    /// Who could lead.
    fn eligible(&self, net: &Net) -> Vec<usize> {
        let members = self.members().into_iter();
        members.filter(|node| self.nodes[*node].is_up && self.has_majority(*node, net)).collect()
    }

    /// Whether a majority of the members hears this one, itself included.
    fn has_majority(&self, node: usize, net: &Net) -> bool {
        let members = self.members();
        let hears = |other: &&usize| {
            **other == node
                || self.nodes[**other].is_up
                    && !net.is_cut(Actor::Adjudicator(node), Actor::Adjudicator(**other))
        };
        self.nodes[node].is_member && members.iter().filter(hears).count() * 2 > members.len()
    }

    /// A node joins: it begins with some member's checkpoint, an old one or one of this moment.
    pub fn join(&mut self, net: &mut Net, history: &mut History) {
        let running: Vec<usize> = self.members().into_iter().filter(|node| self.nodes[*node].is_up).collect();
        if self.members().len() >= MEMBERS_MAX || running.is_empty() {
            return;
        }
        let from = *net.random.pick(&running);
        let is_fresh = net.random.chance(500);
        let node =
            self.nodes.iter().position(|node| !node.is_member && !node.is_up).unwrap_or(self.nodes.len());
        let is_new = node == self.nodes.len();
        let mut joining = Node::empty(self.options, net);
        let source = &self.nodes[from];
        let bytes = if is_fresh { source.state.encode_checkpoint() } else { source.checkpoint.0.clone() };
        joining.state =
            Adjudicator::decode_checkpoint(self.options, &bytes).expect("a checkpoint of ours can be read");
        let applied = joining.state.applied();
        // Entries that no replica which counts can ask for do not travel.
        let retained = joining.state.retained_from().unwrap_or_default();
        for (shard, stream) in &source.streams {
            let is_tail = |entry: &&Arc<StreamEntry>| {
                entry.position.index > retained && entry.position.index <= applied
            };
            joining.streams.insert(*shard, stream.iter().filter(is_tail).cloned().collect());
        }
        joining.past = source.past.clone();
        joining.checkpoint = (bytes, applied.0 as usize);
        joining.is_up = true;
        if is_new {
            self.nodes.push(joining);
            net.after(100, Event::Tick(Actor::Adjudicator(node)));
        } else {
            self.nodes[node] = joining;
        }
        self.catch_up(node, net, history);
        self.nodes[node].is_member = true;
        net.nodes.push(node);
        history.joins += 1;
    }

    /// A member leaves for good, running or not; somebody else leads first if it was the leader.
    pub fn leave(&mut self, node: usize, net: &mut Net, history: &mut History) {
        let others: Vec<usize> = self.eligible(net).into_iter().filter(|other| *other != node).collect();
        if self.members().len() <= MEMBERS_MIN || others.is_empty() || !self.nodes[node].is_member {
            return;
        }
        if node == self.leader {
            let next = *net.random.pick(&others);
            self.elect(next, net, history);
        }
        let host = &mut self.nodes[node];
        host.is_member = false;
        host.is_up = false;
        host.leading = None;
        for subscription in host.subscriptions.drain(..) {
            net.break_stream(Actor::Replica(subscription.replica), subscription.id);
        }
        net.nodes.retain(|known| *known != node);
        // The others may have lost their majority with it.
        net.after(100, Event::Elect);
        history.leaves += 1;
    }

    /// What time it is for a node, should it lead.
    fn time(&mut self, node: usize, net: &Net) -> u64 {
        let node = &mut self.nodes[node];
        let wall = wall_millis(node.skew, net);
        if self.wall_clocks_alone {
            return wall;
        }
        node.clock.read(wall, monotonic(net))
    }

    /// Somebody sets a node's wall clock, by up to an hour.
    pub fn step_clock(&mut self, node: usize, net: &mut Net, history: &mut History) {
        let most = *net.random.pick(&[5_000, 60_000, 3_600_000]);
        let by = net.random.between(0, 2 * most) as i64 - most as i64;
        self.nodes[node].skew = (self.nodes[node].skew + by).clamp(-3_600_000, 3_600_000);
        history.clock_steps += 1;
    }

    /// A node stops; what it had in memory is gone.
    pub fn crash(&mut self, node: usize, net: &mut Net, history: &mut History) {
        self.keep_some_in_flight(node, net, history);
        let host = &mut self.nodes[node];
        host.is_up = false;
        host.leading = None;
        if node == self.leader {
            let unnoticed = net.random.between(100, 1_200);
            net.after(unnoticed, Event::Elect);
        }
        for subscription in host.subscriptions.drain(..) {
            net.break_stream(Actor::Replica(subscription.replica), subscription.id);
        }
        let back = net.random.between(300, 3_000);
        net.after(back, Event::Restart(Actor::Adjudicator(node)));
    }

    /// A node begins again with its checkpoint and the log.
    pub fn restart(&mut self, node: usize, net: &mut Net, history: &mut History) {
        let host = &mut self.nodes[node];
        if host.is_up || !host.is_member {
            return;
        }
        host.is_up = true;
        host.clock = LeaderClock::new(wall_millis(host.skew, net), monotonic(net));
        host.state = Adjudicator::decode_checkpoint(self.options, &host.checkpoint.0)
            .expect("a checkpoint of ours can be read");
        for stream in host.streams.values_mut() {
            let applied = host.state.applied();
            stream.retain(|entry| entry.position.index <= applied);
        }
        self.catch_up(node, net, history);
    }

    /// Applies what is committed.
    fn catch_up(&mut self, node: usize, net: &mut Net, history: &mut History) {
        while self.nodes[node].is_up && (self.nodes[node].state.applied().0 as usize) < history.log.len() {
            self.apply_next(node, Waiting::Nobody, net, history);
        }
    }

    fn apply_next(&mut self, node: usize, waiting: Waiting, net: &mut Net, history: &mut History) {
        let host = &mut self.nodes[node];
        let index = LogIndex(host.state.applied().0 + 1);
        let command =
            Command::decode(&history.log[index.0 as usize - 1]).expect("an entry of ours can be read");
        let before = host.state.low_water();
        let applied = host.state.apply(index, &command);
        note_moves(&host.state, &command, &applied, history);
        let chain = *history.chains.entry(index).or_insert(host.state.chain());
        if chain != host.state.chain() {
            history
                .wrong("equal_index_equal_state_hash", format!("node {node} decided differently at {index}"));
        }
        if host.state.low_water() > before && node == self.leader {
            let mark = host.state.low_water();
            let too_old = history.live.iter().find(|((frontend, _), (epoch, snapshot_ts))| {
                host.state.frontend_epoch(FrontendId(*frontend as u32 + 1)) == *epoch && *snapshot_ts < mark
            });
            if let Some(((frontend, client), (_, snapshot_ts))) = too_old {
                let what = format!("client {frontend}.{client} reads at {snapshot_ts}, the mark is {mark}");
                history.wrong("low_water_at_most_oldest_live_snapshot", what);
            }
        }
        host.past.extend(applied.retired_outcomes());
        for (shard, entry) in applied.stream_entries() {
            host.streams.entry(shard).or_default().push(Arc::new(entry));
        }
        if index.0.is_multiple_of(SNAPSHOT_EVERY) {
            host.checkpoint = (host.state.encode_checkpoint(), index.0 as usize);
        }
        self.answer(node, waiting, &applied, net);
        self.pump(node, net);
    }

    fn answer(&mut self, node: usize, waiting: Waiting, applied: &Applied, net: &mut Net) {
        let from = Actor::Adjudicator(node);
        match waiting {
            Waiting::Nobody => {}
            Waiting::Batch(askers) => {
                for (asker, decision) in askers.into_iter().zip(applied.decisions.iter()) {
                    let to = Actor::Frontend(asker.frontend);
                    net.send(from, to, Message::Decided(asker, decision));
                }
            }
            Waiting::Tracked(asker) => {
                net.send(from, Actor::Frontend(asker.frontend), Message::Tracked(asker));
            }
            Waiting::Outcome(asker, txn) => {
                if let Reply::Outcome(known) = &applied.reply {
                    let to = Actor::Frontend(asker.frontend);
                    let outcome = outcome(txn, known, &self.nodes[node].past);
                    net.send(from, to, Message::OutcomeIs(asker, outcome));
                }
            }
            Waiting::Grant { frontend, nonce } => {
                if let Reply::Granted(epoch) = applied.reply {
                    let placement = Arc::new(self.nodes[node].state.placement().clone());
                    let granted = Message::Granted { epoch, nonce, placement };
                    net.send(from, Actor::Frontend(frontend), granted);
                }
            }
            Waiting::EpochRaised { replica } => {
                if matches!(applied.reply, Reply::Placement(_)) {
                    net.send(from, Actor::Replica(replica), Message::EpochRaised);
                }
            }
            Waiting::Registered { replica } => {
                if applied.reply == Reply::Done {
                    net.send(from, Actor::Replica(replica), Message::Registered { index: applied.index });
                }
            }
        }
    }

    /// Sends subscribers what they have not been sent.
    fn pump(&mut self, node: usize, net: &mut Net) {
        let host = &mut self.nodes[node];
        for subscription in &mut host.subscriptions {
            let Some(stream) = host.streams.get(&subscription.shard) else { continue };
            for entry in &stream[subscription.sent..] {
                let to = Actor::Replica(subscription.replica);
                net.stream(Actor::Adjudicator(node), to, subscription.id, entry.clone());
            }
            subscription.sent = stream.len();
        }
    }

    fn propose(&mut self, node: usize, command: Command, waiting: Waiting, net: &mut Net) {
        let Some(leading) = &mut self.nodes[node].leading else { return };
        leading.flight.push_back(Proposal { bytes: command.encode().into(), waiting });
        let term = leading.term;
        let delay = net.random.between(2, 12);
        net.after(delay, Event::Flushed { node, term });
    }

    /// The oldest proposal of a leader is on a majority's disks, if it still leads.
    pub fn flushed(&mut self, node: usize, term: u64, net: &mut Net, history: &mut History) {
        if self.leader != node || self.term != term || !self.nodes[node].is_up {
            return;
        }
        if !self.has_majority(node, net) {
            // Without a majority nothing is committed; a follower takes over unless that passes soon.
            return net.after(100, Event::Flushed { node, term });
        }
        let Some(proposal) = self.nodes[node].leading.as_mut().and_then(|leading| leading.flight.pop_front())
        else {
            return;
        };
        history.log.push(proposal.bytes.clone());
        let is_batch = matches!(proposal.waiting, Waiting::Batch(_));
        let is_first = !self.nodes[node].leading.as_ref().is_some_and(|l| l.sequencer.is_ready());
        self.apply_next(node, proposal.waiting, net, history);
        let host = &mut self.nodes[node];
        if let Some(leading) = &mut host.leading {
            if is_first {
                leading.sequencer.took_over(&host.state);
                host.clock.observe(host.state.position().closed_ts, monotonic(net));
            }
            if is_batch {
                leading.sequencer.batch_closed(host.state.position().closed_ts);
            }
        }
        if net.random.chance(net.faults.duplicate) {
            // The same proposal again, by a layer that could not tell whether it had been accepted.
            history.log.push(proposal.bytes);
            self.apply_next(node, Waiting::Nobody, net, history);
        }
        self.batch(node, net);
    }

    /// Takes everything queued into a batch, unless two are on their way.
    fn batch(&mut self, node: usize, net: &mut Net) {
        let now = self.time(node, net);
        let Some(leading) = &mut self.nodes[node].leading else { return };
        if leading.queue.is_empty() || leading.sequencer.batches_in_flight() >= 2 {
            return;
        }
        let Some(base_ts) = leading.sequencer.next_base(now, leading.queue.len()) else { return };
        leading.last_batch = net.now;
        let queue = std::mem::take(&mut leading.queue);
        let batch = Batch::of_encoded(base_ts, Timestamp::ZERO, queue.iter().map(|(_, footprint)| footprint));
        let askers = queue.iter().map(|(asker, _)| *asker).collect();
        self.propose(node, Command::Batch(batch), Waiting::Batch(askers), net);
    }

    /// A leader that was replaced hears of it.
    pub fn deposed(&mut self, node: usize, term: u64) {
        let host = &mut self.nodes[node];
        if host.leading.as_ref().is_some_and(|leading| leading.term == term) && self.term != term {
            host.leading = None;
        }
    }

    /// Whether a node could confirm with a majority, now, that it leads: what a linearizable answer needs.
    fn is_confirmed(&self, node: usize, net: &Net) -> bool {
        self.leader == node
            && self.has_majority(node, net)
            && self.nodes[node].leading.as_ref().is_some_and(|leading| leading.sequencer.is_ready())
    }

    /// A message for a node.
    pub fn receive(&mut self, node: usize, message: Message, net: &mut Net, history: &mut History) {
        if !self.nodes[node].is_up {
            return;
        }
        let from = Actor::Adjudicator(node);
        match message {
            Message::Subscribe { replica, shard, subscription, after } => {
                return self.subscribe(node, (replica, shard), subscription, after, net);
            }
            Message::AskStandings { replica } => {
                let state = &self.nodes[node].state;
                let shard = Place::of(replica).shard;
                let of_shard = state.replicas().iter().filter(|((s, _), _)| *s == shard);
                let replicas = of_shard
                    .map(|((_, r), state)| {
                        (*r, Standing { durable: state.durable.index, counts: state.counts })
                    })
                    .collect();
                let recovered_at = state.recovered_at(shard);
                let standings = Standings { as_of: state.applied(), replicas, recovered_at };
                return net.send(from, Actor::Replica(replica), Message::StandingsAre(standings));
            }
            _ => {}
        }
        let is_confirmed = self.is_confirmed(node, net);
        let host = &mut self.nodes[node];
        let Some(leading) = &mut host.leading else {
            let refusal = match message {
                Message::Commit(asker, _) => Some((asker, Message::TurnedAway(asker))),
                Message::Begin(asker)
                | Message::AskPlacement(asker)
                | Message::AskOutcome(asker, ..)
                | Message::AskCatalog(asker, ..)
                | Message::TrackRanges(asker, ..)
                | Message::Reserve(asker, ..) => Some((asker, Message::NotLeader(asker))),
                _ => None,
            };
            if let Some((asker, refusal)) = refusal {
                net.send(from, Actor::Frontend(asker.frontend), refusal);
            }
            return;
        };
        match message {
            Message::Grant { frontend, nonce } => {
                let id = FrontendId(frontend as u32 + 1);
                leading.heard.insert(id, net.now);
                let grant = Command::GrantFrontend { frontend: id, nonce };
                self.propose(node, grant, Waiting::Grant { frontend, nonce }, net);
            }
            Message::Begin(asker) if is_confirmed => {
                let begin = host.state.begin();
                history.issued.push((history.log.len(), begin.snapshot_ts));
                net.send(from, Actor::Frontend(asker.frontend), Message::Begun(asker, begin));
            }
            Message::AskCatalog(asker, since) if is_confirmed => {
                let answer = Message::CatalogIs(asker, catalog_since(&host.state, since));
                net.send(from, Actor::Frontend(asker.frontend), answer);
            }
            Message::TrackRanges(asker, table) => {
                self.propose(node, Command::TrackRanges(table), Waiting::Tracked(asker), net);
            }
            // Advisory, so whoever asks may be granted everything.
            Message::Reserve(asker, keys) if is_confirmed => {
                let answer = Message::Reserved(asker, host.state.begin(), keys);
                net.send(from, Actor::Frontend(asker.frontend), answer);
            }
            Message::Commit(asker, footprint) => {
                if let Some(refused) = host.state.refuse_early(&footprint.view()) {
                    let to = Actor::Frontend(asker.frontend);
                    return net.send(from, to, Message::Decided(asker, refused));
                }
                leading.queue.push((asker, footprint));
                self.batch(node, net);
            }
            Message::AskOutcome(asker, txn, resolve) if is_confirmed => {
                let known = host.state.outcome(txn);
                if known == Known::Undecided && resolve {
                    self.propose(node, Command::Resolve(txn), Waiting::Outcome(asker, txn), net);
                } else {
                    let answer = Message::OutcomeIs(asker, outcome(txn, &known, &host.past));
                    net.send(from, Actor::Frontend(asker.frontend), answer);
                }
            }
            Message::AskPlacement(asker) if is_confirmed => {
                let placement = Arc::new(host.state.placement().clone());
                net.send(from, Actor::Frontend(asker.frontend), Message::PlacementIs(asker, placement));
            }
            Message::Report(report) => {
                leading.heard.insert(report.frontend, net.now);
                leading.reports.push(report);
            }
            Message::Acknowledge(acknowledgement) => leading.acknowledged.push(acknowledgement),
            Message::Durable { replica, durable } => {
                let Place { shard, replica } = Place::of(replica);
                let reports = vec![DurableReport { shard, replica, durable }];
                self.propose(node, Command::ReportDurable { reports }, Waiting::Nobody, net);
            }
            Message::RaiseEpoch { replica } => {
                let change = PlacementChange {
                    expected: host.state.placement().epoch,
                    raise: vec![Place::of(replica).shard],
                    ..PlacementChange::default()
                };
                self.propose(node, Command::ChangePlacement(change), Waiting::EpochRaised { replica }, net);
            }
            Message::Register { replica: at } => {
                let Place { shard, replica } = Place::of(at);
                let register = Command::RegisterReplica { shard, replica };
                self.propose(node, register, Waiting::Registered { replica: at }, net);
            }
            _ => {}
        }
    }

    /// `who`: a replica, and the shard whose stream it wants.
    fn subscribe(&mut self, node: usize, who: (usize, ShardId), id: u64, after: Position, net: &mut Net) {
        let host = &mut self.nodes[node];
        let (replica, shard) = who;
        let is_who = |known: &Subscription| (known.replica, known.shard) == who;
        if host.subscriptions.iter().any(|known| is_who(known) && known.id > id) {
            // A straggler: the replica has asked again since.
            return;
        }
        host.subscriptions.retain(|known| !is_who(known));
        let stream = host.streams.entry(shard).or_default();
        let sent = stream.partition_point(|entry| entry.position.index <= after.index);
        // The log is kept only for replicas that count; the others may find it gone.
        let retained = host.state.retained_from().unwrap_or_default();
        if after.index < retained {
            let message = Message::StreamForgotten { subscription: id };
            return net.send(Actor::Adjudicator(node), Actor::Replica(replica), message);
        }
        host.subscriptions.push(Subscription { replica, shard, id, sent });
        self.pump(node, net);
    }

    /// A node's clock strikes: followers catch up, a leader lets time pass and hands reports on.
    pub fn tick(&mut self, node: usize, net: &mut Net, history: &mut History) {
        net.after(100, Event::Tick(Actor::Adjudicator(node)));
        if !self.nodes[node].is_up {
            return;
        }
        // Whoever believes to lead hears of others' entries only when it is deposed.
        let leader = Actor::Adjudicator(self.leader);
        let follows = self.nodes[node].leading.is_none() && !net.is_cut(Actor::Adjudicator(node), leader);
        if node == self.leader || follows {
            self.catch_up(node, net, history);
        }
        let host = &mut self.nodes[node];
        // Whoever follows has its clock go on from there, should it lead.
        host.clock.observe(host.state.position().closed_ts, monotonic(net));
        let now = self.time(node, net);
        let host = &mut self.nodes[node];
        let Some(leading) = &mut host.leading else { return };
        let since_last_batch = Duration::from_millis(net.now - leading.last_batch);
        let mut proposals = Vec::new();
        proposals.extend(leading.sequencer.close(now, &host.state, since_last_batch));
        for (frontend, known) in host.state.frontends() {
            let heard = *leading.heard.entry(frontend).or_insert(net.now);
            if known.nonce.is_some() && net.now - heard > LEASE_MILLIS {
                leading.heard.insert(frontend, net.now);
                proposals.push(Command::FenceFrontend { frontend, epoch: known.epoch });
            }
        }
        if !leading.reports.is_empty() && net.random.chance(300) {
            proposals.push(Command::RaiseLowWater { reports: std::mem::take(&mut leading.reports) });
        }
        if !leading.acknowledged.is_empty() {
            let acknowledged = std::mem::take(&mut leading.acknowledged);
            proposals.push(Command::AcknowledgeOutcomes { acknowledged });
        }
        for proposal in proposals {
            self.propose(node, proposal, Waiting::Nobody, net);
        }
        self.batch(node, net);
    }

    /// The leader proposes something that nobody waits for.
    pub fn decree(&mut self, command: Command, net: &mut Net) {
        self.propose(self.leader, command, Waiting::Nobody, net);
    }
}

/// Notes which slots an entry moved, and whether that split a shard.
fn note_moves(state: &Adjudicator, command: &Command, applied: &Applied, history: &mut History) {
    let (Command::ChangePlacement(change), Reply::Placement(_)) = (command, &applied.reply) else { return };
    let moves = state.slot_moves().filter(|moved| moved.at.index == applied.index);
    let moves: Vec<(ShardId, ShardId)> = moves.map(|moved| (moved.from, moved.to)).collect();
    let is_new = |to: &ShardId| change.shards.iter().any(|(shard, _)| shard == to);
    if let Some((from, to)) = moves.iter().find(|(_, to)| is_new(to)) {
        let replicas = state.placement().shards[to].replicas.keys().copied().collect();
        history.splits.insert(applied.index, Split { from: *from, to: *to, replicas });
    }
    history.moves.insert(applied.index, moves);
    if change.shards.iter().any(|(_, replicas)| replicas.is_none()) {
        history.removed.insert(applied.index);
    }
}

impl Node {
    fn empty(options: Options, net: &mut Net) -> Node {
        let skew = net.random.between(0, 600) as i64 - 300;
        Node {
            state: Adjudicator::new(options),
            is_up: false,
            is_member: false,
            checkpoint: (Adjudicator::new(options).encode_checkpoint(), 0),
            streams: BTreeMap::new(),
            subscriptions: Vec::new(),
            leading: None,
            past: BTreeMap::new(),
            skew,
            clock: LeaderClock::new(wall_millis(skew, net), monotonic(net)),
        }
    }
}

/// A wall clock that is wrong by this.
fn wall_millis(skew: i64, net: &Net) -> u64 {
    (EPOCH_MILLIS + net.now).saturating_add_signed(skew)
}

fn monotonic(net: &Net) -> Duration {
    Duration::from_millis(net.now)
}

/// What a frontend that knows the catalog at a version has missed.
fn catalog_since(state: &Adjudicator, since: CatalogVersion) -> CatalogObjects {
    let delta = state.catalog_since(since);
    let objects = delta.objects.into_iter().map(|object| (object.name, object.version.0, object.bytes));
    CatalogObjects { version: delta.to, complete: delta.is_everything, objects: objects.collect() }
}

fn outcome(txn: TxnId, known: &Known, past: &BTreeMap<TxnId, Decision>) -> Outcome {
    match known {
        Known::Decided(decision) => decision.clone().into(),
        Known::Undecided => Outcome::Undecided,
        Known::Past => match past.get(&txn) {
            Some(decision) => decision.clone().into(),
            // Nor was it ever decided, and now it cannot be.
            None => Outcome::Aborted(AbortReason::DeadlinePassed),
        },
    }
}
