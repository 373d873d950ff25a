//! The hands of every shard replica: a disk, messages, a clock that ticks.

use crate::adjudicators::EPOCH_MILLIS;
use crate::history::History;
use crate::net::{Actor, Asked, Asker, Event, Message, Net, Shown};
use crate::scenario::Scenario;
use crate::workload::NOTE;
use assize_model::*;
use assize_mvcc::{
    Damage, Direction, Engine, Gain, MemoryCheckpoint, MemoryEngine, MvccStore, Reader, Slots,
};
use assize_ports::{NewestCommits, ScanPage};
use assize_replica::{
    Difference, Effect, Event as Heard, IntentAnswer, Options, ReadRefusal, Replica, RequestId,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Places a shard: three replicas to begin with, and room for those that come after them.
const PLACES: usize = 6;
/// Replicas of every shard in the beginning.
const REPLICAS: u8 = 3;
/// What was sent before it was rebuilt may come so many milliseconds later.
const STRAGGLERS: u64 = 15_000;

/// What a replica shows, or why it shows nothing.
pub type Content = Result<Vec<(Key, Bytes)>, String>;

/// Which replica of which shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub replica: ReplicaId,
}

impl Place {
    /// The place of a replica among all.
    pub fn of(at: usize) -> Place {
        Place { shard: ShardId((at / PLACES) as u32 + 1), replica: ReplicaId((at % PLACES) as u8 + 1) }
    }

    /// The other way round.
    pub fn at(shard: ShardId, replica: ReplicaId) -> usize {
        (shard.0 as usize - 1) * PLACES + usize::from(replica.0) - 1
    }
}

/// Somebody outside who waits for a replica.
enum Waiting {
    Prepare(Asker),
    Read { asker: Asker, asked: Asked, snapshot_ts: Timestamp, epoch: Epoch },
    Newest { asker: Asker, asked: Asked },
}

/// What becomes of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// No replica has been here.
    Unborn,
    /// A replica lives here, running or not.
    Born,
    /// One lived here; its number is never used again.
    Retired,
}

struct Host {
    disk: MemoryEngine,
    replica: Option<Replica<MemoryEngine>>,
    subscription: u64,
    /// To the stream of a shard whose slots it stages; 0: none.
    giver_subscription: u64,
    /// The node of the adjudicator that it asks.
    node: usize,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Whether its disk was lost and it is not whole again.
    is_bereft: bool,
    /// As of which entry it has asked for a copy since it registered last; that is on its disk.
    registered: Option<LogIndex>,
    /// Whether a row of it was damaged and it has not been rebuilt since.
    is_damaged: bool,
    /// When a damaged one was rebuilt.
    healed_at: Option<u64>,
    /// Replicas of a shard that splits off are born when their elder siblings pass the split; others when they are wanted.
    life: Life,
}

impl Host {
    fn unborn() -> Self {
        Host {
            disk: MemoryEngine::new(),
            replica: None,
            subscription: 0,
            giver_subscription: 0,
            node: 0,
            waiting: BTreeMap::new(),
            is_bereft: false,
            registered: None,
            is_damaged: false,
            healed_at: None,
            life: Life::Unborn,
        }
    }
}

/// All replicas of all shards.
pub struct Shards {
    hosts: Vec<Host>,
    shards: u32,
    /// The placement that the hands know: they stop what is no longer part of it.
    placement: Placement,
    /// Makes replicas of different runs collect at different paces.
    seed: u64,
    without_in_store: std::collections::BTreeSet<assize_mvcc::Rule>,
    without_in_replica: std::collections::BTreeSet<assize_replica::Rule>,
    next_subscription: u64,
}

fn clock(net: &Net) -> Timestamp {
    Timestamp::from_millis(EPOCH_MILLIS + net.now)
}

impl Shards {
    /// Empty replicas that begin to follow their streams.
    pub fn new(scenario: &Scenario, net: &mut Net, history: &mut History) -> Self {
        let count = scenario.shards as usize * PLACES;
        let mut all = Shards {
            hosts: (0..count).map(|_| Host::unborn()).collect(),
            shards: scenario.shards,
            placement: Placement::default(),
            seed: scenario.seed,
            without_in_store: scenario.without_in_store.clone(),
            without_in_replica: scenario.without_in_replica.clone(),
            next_subscription: 0,
        };
        for at in (0..count).filter(|at| Place::of(*at).replica.0 <= REPLICAS) {
            all.hosts[at].life = Life::Born;
            net.after(2 + at as u64, Event::Tick(Actor::Replica(at)));
            all.restart(at, net, history);
        }
        all
    }

    /// Takes a placement in: what it does not name any more stops for good.
    pub fn heed(&mut self, placement: &Placement) {
        if placement.epoch <= self.placement.epoch {
            return;
        }
        for (shard, part) in &self.placement.shards {
            let after = placement.shards.get(shard);
            for replica in part.replicas.keys() {
                if after.is_none_or(|after| !after.replicas.contains_key(replica)) {
                    let host = &mut self.hosts[Place::at(*shard, *replica)];
                    host.life = Life::Retired;
                    host.replica = None;
                    host.waiting.clear();
                }
            }
        }
        self.placement = placement.clone();
        for at in self.all_configured() {
            self.make_room(at);
        }
    }

    /// The places of a shard's configured replicas.
    pub fn configured(&self, shard: ShardId) -> Vec<usize> {
        let part = self.placement.shards.get(&shard);
        part.into_iter().flat_map(|part| part.replicas.keys()).map(|r| Place::at(shard, *r)).collect()
    }

    /// The places of all configured replicas.
    pub fn all_configured(&self) -> Vec<usize> {
        self.placement.shards.keys().flat_map(|shard| self.configured(*shard)).collect()
    }

    /// A place of this shard where no replica has been, if there is one.
    pub fn unborn(&self, shard: ShardId) -> Option<usize> {
        let first = Place::at(shard, ReplicaId(1));
        (first..first + PLACES).find(|at| self.hosts.get(*at).is_some_and(|host| host.life == Life::Unborn))
    }

    /// A new replica begins, by copying a sibling.
    pub fn bear(&mut self, at: usize, net: &mut Net, history: &mut History) {
        self.hosts[at].life = Life::Born;
        self.hosts[at].is_bereft = true;
        self.begin(at, false, net, history);
        net.after(1, Event::Tick(Actor::Replica(at)));
    }

    /// Whether this replica runs.
    pub fn is_up(&self, at: usize) -> bool {
        self.hosts[at].replica.is_some()
    }

    /// The replica, if it runs.
    pub fn replica(&self, at: usize) -> Option<&Replica<MemoryEngine>> {
        self.hosts[at].replica.as_ref()
    }

    /// Whether this shard could bear the loss of a disk: all replicas are born, none has lost its own, and none is damaged,
    /// which might be the one that is copied.
    pub fn is_whole(&self, shard: ShardId) -> bool {
        let is_whole = |at: usize| {
            let host = &self.hosts[at];
            host.life == Life::Born && !host.is_bereft && !host.is_damaged
        };
        self.configured(shard).into_iter().all(is_whole)
    }

    /// Whether every replica of this shard runs and follows its stream.
    pub fn all_follow(&self, shard: ShardId) -> bool {
        self.configured(shard).into_iter().all(|at| self.store(at).is_some())
    }

    /// The store of a replica that follows its stream.
    pub fn store(&self, at: usize) -> Option<&MvccStore<MemoryEngine>> {
        self.replica(at).and_then(Replica::store)
    }

    /// Damages a row that no client reads, if the shard can bear it and there is such a row.
    pub fn damage(&mut self, at: usize, net: &mut Net, history: &mut History) {
        let shard = Place::of(at).shard;
        if !self.is_whole(shard) || !self.all_follow(shard) {
            return;
        }
        let Some(store) = self.store(at) else { return };
        let closed_ts = store.position().closed_ts;
        let notes = KeyRange::prefix(&[NOTE]);
        let Ok(rows) = scan(&store.reader(), notes, closed_ts) else { return };
        if rows.is_empty() {
            return;
        }
        let (row, _) = net.random.pick(&rows);
        let damage = match net.random.chance(500) {
            true => Damage::Vanish,
            false => Damage::FlipBit(net.random.below(64) as usize),
        };
        if store.engine().damage(row, closed_ts, damage) {
            history.damages += 1;
            self.hosts[at].is_damaged = true;
        }
    }

    /// Replicas of a shard were found to differ. Only one that was damaged may.
    fn differ(&mut self, shard: ShardId, difference: &Difference, now: u64, history: &mut History) {
        history.differences += 1;
        // The answers were given a while ago; since then it may have been rebuilt.
        let is_damaged = |replica: &ReplicaId| {
            let host = &self.hosts[Place::at(shard, *replica)];
            host.is_damaged || host.healed_at.is_some_and(|healed| now < healed + STRAGGLERS)
        };
        let is_right = match &difference.odd {
            Some(odd) => odd.iter().all(is_damaged),
            None => difference.answers.keys().any(is_damaged),
        };
        if !is_right {
            let what = format!("{shard}: {difference:?}");
            history.wrong("replicas_agree_at_equal_snapshots", what);
        }
    }

    fn options(&self, at: usize) -> Options {
        let Place { shard, replica } = Place::of(at);
        let placement = Placement::even(self.shards, NodeId(1));
        let mut options = Options::new(shard, replica);
        options.store.slots = Slots::new(placement.slots_of(shard));
        options.store.disabled_rules = self.without_in_store.clone();
        options.disabled_rules = self.without_in_replica.clone();
        options.flush_after = Duration::from_millis(1_500);
        options.copy_retry_after = Duration::from_millis(2_000);
        options.stage_step.versions = 20;
        options.stage_kept = Duration::from_millis(2_000);
        options.stage_patience = Duration::from_millis(1_500);
        options.stage_tail_max = Duration::from_millis([50, 1_000][at % 2]);
        let pauses = [400, 3_000, 20_000];
        options.collect_pause = Duration::from_millis(pauses[(at + self.seed as usize) % pauses.len()]);
        options.compare_pause = Duration::from_millis(500);
        // A walk over everything must come round well within the quiet time.
        options.compare_step.versions = 200;
        // Longer than what a follower of the adjudicator takes to hear of time that its leader has closed.
        options.compare_retry_after = Duration::from_millis(4_000);
        options
    }

    /// A replica stops. What was not flushed or synced is gone.
    pub fn crash(&mut self, at: usize, net: &mut Net, down_for: u64) {
        let host = &mut self.hosts[at];
        if host.replica.take().is_none() {
            return;
        }
        host.waiting.clear();
        let kept = net.random.below(host.disk.unsynced_writes() as u64 + 1) as usize;
        host.disk = host.disk.crashed_keeping(kept);
        net.after(down_for, Event::Restart(Actor::Replica(at)));
    }

    /// A replica stops, and its disk with it.
    pub fn lose_disk(&mut self, at: usize, net: &mut Net, down_for: u64) {
        self.crash(at, net, down_for);
        self.hosts[at].is_bereft = true;
        self.hosts[at].registered = None;
    }

    /// A replica comes back.
    pub fn restart(&mut self, at: usize, net: &mut Net, history: &mut History) {
        if self.hosts[at].replica.is_none() && self.hosts[at].life == Life::Born {
            self.begin(at, true, net, history);
        }
    }

    /// `had_intents`: whether a replica of this number may have promised anything before.
    fn begin(&mut self, at: usize, had_intents: bool, net: &mut Net, history: &mut History) {
        let options = self.options(at);
        let mut effects = Vec::new();
        let host = &mut self.hosts[at];
        host.replica = Some(if host.is_bereft {
            host.disk = MemoryEngine::new();
            match host.registered {
                // A checkpoint that was sent to the life before may still arrive.
                Some(registered) => {
                    Replica::copy_on(clock(net), registered, had_intents, options, &mut effects)
                }
                None => Replica::copy(clock(net), had_intents, options, &mut effects),
            }
        } else {
            Replica::resume(clock(net), host.disk.clone(), options, &mut effects)
        });
        self.carry_out(at, effects, net, history);
    }

    /// A replica's clock strikes.
    pub fn tick(&mut self, at: usize, net: &mut Net, history: &mut History) {
        if self.hosts[at].life == Life::Retired {
            return;
        }
        net.after(150, Event::Tick(Actor::Replica(at)));
        self.step(at, Heard::Tick, net, history);
        self.bear_late(at, net, history);
        self.bear_orphans(at, net, history);
    }

    fn step(&mut self, at: usize, heard: Heard<MemoryEngine>, net: &mut Net, history: &mut History) {
        let mut effects = Vec::new();
        let Some(replica) = &mut self.hosts[at].replica else { return };
        let staged = staged_and_held(replica);
        replica.step(clock(net), heard, &mut effects);
        if let (Some(held), None) = (staged, staged_and_held(replica)) {
            let gains = replica.store().is_some_and(|store| !store.slots().minus(&held).is_empty());
            *(if gains { &mut history.staged } else { &mut history.unstaged }) += 1;
        }
        self.carry_out(at, effects, net, history);
    }

    /// Has a replica stage slots, or go on with it; whether they are here but for the last commits.
    pub fn stage(
        &mut self,
        at: usize,
        giver: ShardId,
        runs: &[(Slot, Slot)],
        net: &mut Net,
        history: &mut History,
    ) -> bool {
        self.step(at, Heard::StageAsked { giver, slots: Slots::new(runs.to_vec()) }, net, history);
        let staging = self.replica(at).and_then(Replica::staging);
        staging.is_some_and(|staging| staging.position.is_some())
    }

    /// A message for a replica.
    pub fn receive(&mut self, at: usize, message: Message, net: &mut Net, history: &mut History) {
        // Of a shard that splits off frontends may hear before its first replica is born.
        if self.hosts.get(at).is_none_or(|host| host.replica.is_none()) {
            return;
        }
        let subscribed = self.hosts[at].subscription;
        let staging = self.hosts[at].giver_subscription;
        let heard = match message {
            Message::Streamed { subscription, entry } if subscription == subscribed => {
                if !self.split_before(at, &entry, net, history) {
                    // Not yet: the stream is to come again from where the replica stands.
                    return self.step(at, Heard::StreamLost, net, history);
                }
                let commits = entry.commits.iter().map(|commit| (commit.txn, entry.position.index));
                history.streamed.extend(commits);
                Heard::Streamed(entry)
            }
            Message::StreamLost { subscription } if subscription == subscribed => Heard::StreamLost,
            Message::StreamForgotten { subscription } if subscription == subscribed => Heard::StreamForgotten,
            Message::Streamed { subscription, entry } if subscription == staging => {
                Heard::GiverStreamed(entry)
            }
            Message::StreamLost { subscription } if subscription == staging => Heard::GiverStreamLost,
            Message::StreamForgotten { subscription } if subscription == staging => {
                Heard::GiverStreamForgotten
            }
            Message::StandingsAre(standings) => Heard::StandingsReported(standings),
            Message::EpochRaised => Heard::EpochRaised,
            Message::Registered { index } => Heard::Registered { index },
            Message::Prepare(asker, prepare) => {
                let request = net.request();
                self.hosts[at].waiting.insert(request, Waiting::Prepare(asker));
                Heard::PreparesAsked(vec![(request, prepare)])
            }
            Message::HintAbort(txn) => Heard::ForgetAsked(txn),
            Message::Read { asker, asked, snapshot_ts, epoch } => {
                let request = net.request();
                let waiting = Waiting::Read { asker, asked, snapshot_ts, epoch };
                self.hosts[at].waiting.insert(request, waiting);
                Heard::ReadAsked { request, snapshot_ts, epoch: Some(epoch) }
            }
            Message::AskNewest { asker, asked, at_least } => {
                let request = net.request();
                self.hosts[at].waiting.insert(request, Waiting::Newest { asker, asked });
                Heard::ReadAsked { request, snapshot_ts: at_least, epoch: None }
            }
            Message::AskIntent { from, txn } => Heard::IntentAsked { from: Place::of(from).replica, txn },
            Message::IntentIs { from, txn, answer } => {
                Heard::IntentAnswered { from: Place::of(from).replica, txn, answer }
            }
            Message::AskContent { from, page } => Heard::ContentAsked { from: Place::of(from).replica, page },
            Message::ContentIs { from, page, answer } => {
                Heard::ContentAnswered { from: Place::of(from).replica, page, answer }
            }
            Message::ContentDiffers { epoch } => Heard::ContentDiffers { epoch },
            Message::AskCheckpoint { from, at_least } => {
                Heard::CheckpointAsked { from: Place::of(from).replica, at_least }
            }
            Message::AskGiver { from, txn } => {
                let intent = self.store(at).and_then(|store| store.intent(txn).ok().flatten());
                let answer = intent.map_or(IntentAnswer::CannotSay, IntentAnswer::Has);
                net.send(Actor::Replica(at), Actor::Replica(from), Message::GiverSays { txn, answer });
                return;
            }
            Message::GiverSays { txn, answer } => Heard::GiverAnswered { txn, answer },
            Message::AskSlots { from, after, stages } => {
                // Silence is no answer, and is asked again.
                if let Some(store) = self.store(at).filter(|store| store.position().index >= after)
                    && let Ok(checkpoint) = store.engine().checkpoint()
                {
                    net.send(
                        Actor::Replica(at),
                        Actor::Replica(from),
                        Message::SlotsAre { checkpoint, stages },
                    );
                }
                return;
            }
            Message::SlotsAre { checkpoint, stages } => {
                let engine = MemoryEngine::from_checkpoint(&checkpoint);
                if stages { Heard::GiverArrived(engine) } else { Heard::SlotsArrived(engine) }
            }
            Message::CheckpointIs { checkpoint } => return self.copied(at, &checkpoint, net, history),
            _ => return,
        };
        self.step(at, heard, net, history);
    }

    fn copied(&mut self, at: usize, checkpoint: &MemoryCheckpoint, net: &mut Net, history: &mut History) {
        let host = &mut self.hosts[at];
        if !host.replica.as_ref().is_some_and(Replica::is_rebuilding) {
            return;
        }
        let engine = MemoryEngine::from_checkpoint(checkpoint);
        self.step(at, Heard::CheckpointArrived(engine.clone()), net, history);
        let host = &mut self.hosts[at];
        if host.replica.as_ref().is_some_and(|replica| replica.store().is_some()) {
            host.disk = engine;
            host.is_bereft = false;
            host.registered = None;
            if std::mem::take(&mut host.is_damaged) {
                host.healed_at = Some(net.now);
            }
        }
    }

    /// If this entry splits the replica's shard, the replica of the new shard beside it begins with its contents as they
    /// are just before. False if the replica does not stand there yet.
    fn split_before(&mut self, at: usize, entry: &StreamEntry, net: &mut Net, history: &mut History) -> bool {
        let Place { shard, replica } = Place::of(at);
        let split = history.splits.get(&entry.position.index).filter(|split| split.from == shard);
        let Some(new) = split.filter(|split| split.replicas.contains(&replica)).map(|split| split.to) else {
            return true;
        };
        let Some(position) = self.hosts[at].replica.as_ref().and_then(Replica::position) else { return true };
        if position.index >= entry.position.index {
            return true;
        }
        if position.index != entry.after {
            return false;
        }
        let child = self.make_room(Place::at(new, replica));
        if self.hosts[child].life == Life::Unborn {
            let store = self.hosts[at].replica.as_ref().and_then(Replica::store);
            let checkpoint = store.and_then(|store| store.engine().checkpoint().ok());
            let checkpoint = checkpoint.expect("a replica with a position has a store, in memory");
            self.hosts[child].life = Life::Born;
            self.hosts[child].is_damaged = self.hosts[at].is_damaged;
            self.hosts[child].disk = MemoryEngine::from_checkpoint(&checkpoint);
            self.restart(child, net, history);
            net.after(1, Event::Tick(Actor::Replica(child)));
        }
        true
    }

    /// A replica that was copied past a split never passed it: its counterpart in the new shard is copied, too.
    fn bear_late(&mut self, at: usize, net: &mut Net, history: &mut History) {
        let Place { shard, replica } = Place::of(at);
        let Some(position) = self.hosts[at].replica.as_ref().and_then(Replica::position) else { return };
        let passed = history.splits.range(..=position.index).map(|(_, split)| split);
        let children: Vec<ShardId> = passed
            .filter(|s| s.from == shard && s.replicas.contains(&replica))
            .map(|split| split.to)
            .collect();
        for new in children {
            let child = self.make_room(Place::at(new, replica));
            if self.hosts[child].life == Life::Unborn && self.configured(new).contains(&child) {
                self.bear_copying(child, net, history);
            }
        }
    }

    /// An elder sibling that is gone, replaced or with its whole shard, will not pass the split any more: its counterpart in
    /// this shard is copied, as a node does that finds itself in the placement and nothing on its disk.
    fn bear_orphans(&mut self, at: usize, net: &mut Net, history: &mut History) {
        let shard = Place::of(at).shard;
        let is_orphan = |child: &usize| {
            let replica = Place::of(*child).replica;
            let mut splits = history.splits.values();
            let split = splits.find(|split| split.to == shard && split.replicas.contains(&replica));
            let elder = split.map(|split| Place::at(split.from, replica));
            self.hosts[*child].life == Life::Unborn
                && elder
                    .and_then(|elder| self.hosts.get(elder))
                    .is_some_and(|elder| elder.life == Life::Retired)
        };
        let orphans: Vec<usize> = self.configured(shard).into_iter().filter(is_orphan).collect();
        for child in orphans {
            self.bear_copying(child, net, history);
        }
    }

    /// A replica of the placement begins with nothing.
    fn bear_copying(&mut self, at: usize, net: &mut Net, history: &mut History) {
        self.hosts[at].life = Life::Born;
        self.hosts[at].is_bereft = true;
        self.restart(at, net, history);
        net.after(1, Event::Tick(Actor::Replica(at)));
    }

    /// Room for all replicas of a new shard.
    fn make_room(&mut self, child: usize) -> usize {
        let count = (child / PLACES + 1) * PLACES;
        while self.hosts.len() < count {
            self.hosts.push(Host::unborn());
        }
        child
    }

    fn carry_out(
        &mut self,
        at: usize,
        effects: Vec<Effect<MemoryCheckpoint>>,
        net: &mut Net,
        history: &mut History,
    ) {
        let Place { shard, .. } = Place::of(at);
        let from = Actor::Replica(at);
        for effect in effects {
            let is_for_leader = matches!(effect, Effect::RaiseEpoch | Effect::Register);
            if is_for_leader {
                self.hosts[at].registered = None;
                // Only the leader answers, and it is not long looked for: they are asked in turn.
                self.hosts[at].node = net.next_node(self.hosts[at].node);
            } else if net.random.chance(500) {
                // Half of the time another node: what got no answer may get one there.
                self.hosts[at].node = net.some_node();
            }
            let node = Actor::Adjudicator(self.hosts[at].node);
            match effect {
                Effect::Subscribe { after } => {
                    self.next_subscription += 1;
                    let subscription = self.next_subscription;
                    self.hosts[at].subscription = subscription;
                    net.send(from, node, Message::Subscribe { replica: at, shard, subscription, after });
                }
                Effect::FollowGiver { giver, after } => {
                    self.next_subscription += 1;
                    let subscription = self.next_subscription;
                    self.hosts[at].giver_subscription = subscription;
                    net.send(
                        from,
                        node,
                        Message::Subscribe { replica: at, shard: giver, subscription, after },
                    );
                }
                Effect::LeaveGiver => self.hosts[at].giver_subscription = 0,
                Effect::AskGiver { giver, gain } => {
                    if let Some(to) = self.some_replica_of(giver, net) {
                        net.send(from, to, Message::AskSlots { from: at, after: gain.after, stages: true });
                    }
                }
                Effect::FetchFromGiver { giver, txn } => {
                    if let Some(to) = self.some_replica_of(giver, net) {
                        net.send(from, to, Message::AskGiver { from: at, txn });
                    }
                }
                Effect::Vote { request, txn, vote } => self.vote(at, request, txn, vote, net, history),
                Effect::AdmitRead { request } => self.read(at, request, net),
                Effect::RefuseRead { request, refusal } => self.refuse(at, request, refusal, net),
                Effect::FetchIntent { from: sibling, txn } => {
                    let to = Actor::Replica(Place::at(shard, sibling));
                    net.send(from, to, Message::AskIntent { from: at, txn });
                }
                Effect::AnswerIntent { to, txn, answer } => {
                    let to = Actor::Replica(Place::at(shard, to));
                    net.send(from, to, Message::IntentIs { from: at, txn, answer });
                }
                Effect::AskStandings => net.send(from, node, Message::AskStandings { replica: at }),
                Effect::ReportDurable { durable } => {
                    net.send(from, node, Message::Durable { replica: at, durable });
                }
                Effect::RaiseEpoch => net.send(from, node, Message::RaiseEpoch { replica: at }),
                Effect::Register => net.send(from, node, Message::Register { replica: at }),
                Effect::AskCheckpoint { from: sibling, at_least } => {
                    self.hosts[at].registered = Some(at_least);
                    let to = Actor::Replica(Place::at(shard, sibling));
                    net.send(from, to, Message::AskCheckpoint { from: at, at_least });
                }
                Effect::SendCheckpoint { to, checkpoint } => {
                    let to = Actor::Replica(Place::at(shard, to));
                    net.send(from, to, Message::CheckpointIs { checkpoint });
                }
                Effect::AskSlots { gain } => self.ask_slots(at, &gain, net, history),
                Effect::AskContent { from: sibling, page } => {
                    let to = Actor::Replica(Place::at(shard, sibling));
                    net.send(from, to, Message::AskContent { from: at, page });
                }
                Effect::AnswerContent { to, page, answer } => {
                    let to = Actor::Replica(Place::at(shard, to));
                    net.send(from, to, Message::ContentIs { from: at, page, answer });
                }
                Effect::TellContentDiffers { to, epoch } => {
                    let to = Actor::Replica(Place::at(shard, to));
                    net.send(from, to, Message::ContentDiffers { epoch });
                }
                Effect::ReportLost { .. } => unreachable!("nothing is forgiven here"),
                Effect::ReportDifference(difference) => self.differ(shard, &difference, net.now, history),
                Effect::Halt(alarm) => {
                    let invariant = "no_intent_deleted_before_its_version_is_durable_everywhere";
                    history.wrong(invariant, format!("{:?} halted: {alarm}", Place::of(at)));
                }
            }
        }
    }

    /// Asks some replica of some shard that lost slots to this one by that entry.
    fn ask_slots(&mut self, at: usize, gain: &Gain, net: &mut Net, history: &History) {
        let shard = Place::of(at).shard;
        let moves = history.moves.get(&gain.at).map(Vec::as_slice).unwrap_or_default();
        let former: Vec<ShardId> =
            moves.iter().filter(|(_, to)| *to == shard).map(|(from, _)| *from).collect();
        if former.is_empty() {
            return;
        }
        let giver = *net.random.pick(&former);
        if let Some(to) = self.some_replica_of(giver, net) {
            let ask = Message::AskSlots { from: at, after: gain.after, stages: false };
            net.send(Actor::Replica(at), to, ask);
        }
    }

    fn some_replica_of(&self, shard: ShardId, net: &mut Net) -> Option<Actor> {
        let replicas = self.configured(shard);
        (!replicas.is_empty()).then(|| Actor::Replica(*net.random.pick(&replicas)))
    }

    fn vote(
        &mut self,
        at: usize,
        request: RequestId,
        txn: TxnId,
        vote: Vote,
        net: &mut Net,
        history: &mut History,
    ) {
        let Place { shard, replica } = Place::of(at);
        if vote.is_yes() {
            // A promise that was given in time may be repeated.
            let is_new = history.yes.entry((txn, shard)).or_default().insert(replica);
            let Position { index, closed_ts } =
                self.hosts[at].replica.as_ref().and_then(Replica::position).unwrap_or_default();
            // It may have decided this one, promised it once more and deleted its intent in one step.
            let is_decided = history.streamed.get(&txn).is_some_and(|decided| *decided <= index);
            if is_new && !is_decided && closed_ts > txn.deadline() {
                let what =
                    format!("{shard}/{replica} promised {txn} at {closed_ts}, past {}", txn.deadline());
                history.wrong("every_prepare_past_its_deadline_is_refused", what);
            }
        }
        if let Some(Waiting::Prepare(asker)) = self.hosts[at].waiting.remove(&request) {
            let to = Actor::Frontend(asker.frontend);
            net.send(Actor::Replica(at), to, Message::Vote(asker, vote));
        }
    }

    fn read(&mut self, at: usize, request: RequestId, net: &mut Net) {
        let host = &mut self.hosts[at];
        let Some(waiting) = host.waiting.remove(&request) else { return };
        let Some(reader) = host.replica.as_ref().and_then(Replica::reader) else { return };
        let (asker, answer) = match waiting {
            Waiting::Prepare(_) => return,
            Waiting::Read { asker, asked, snapshot_ts, epoch } => {
                let shown = show(&reader.routed_by(epoch), asked, snapshot_ts);
                (asker, Message::Rows(asker, shown.map_err(|_| ReadRefusal::Unavailable)))
            }
            Waiting::Newest { asker, asked } => {
                let newest = newest_commits(&reader, &asked);
                (asker, Message::NewestIs(asker, newest.map_err(|_| ReadRefusal::Unavailable)))
            }
        };
        net.send(Actor::Replica(at), Actor::Frontend(asker.frontend), answer);
    }

    fn refuse(&mut self, at: usize, request: RequestId, refusal: ReadRefusal, net: &mut Net) {
        let (asker, answer) = match self.hosts[at].waiting.remove(&request) {
            Some(Waiting::Read { asker, .. }) => (asker, Message::Rows(asker, Err(refusal))),
            Some(Waiting::Newest { asker, .. }) => (asker, Message::NewestIs(asker, Err(refusal))),
            Some(Waiting::Prepare(_)) | None => return,
        };
        net.send(Actor::Replica(at), Actor::Frontend(asker.frontend), answer);
    }

    /// Everything that a replica shows at a snapshot.
    pub fn everything(&self, at: usize, snapshot_ts: Timestamp) -> Content {
        let reader = self.replica(at).and_then(Replica::reader).ok_or("it does not follow its stream")?;
        let range = KeyRange::new(Key::default(), Key::new(vec![0xff; 8]));
        scan(&reader, range, snapshot_ts).map_err(|error| error.to_string())
    }
}

/// The slots that a replica holds, if it has others staged.
fn staged_and_held(replica: &Replica<MemoryEngine>) -> Option<Slots> {
    replica.staging().filter(|staging| staging.position.is_some())?;
    replica.store().map(|store| store.slots().clone())
}

fn show(
    reader: &Reader<MemoryEngine>,
    asked: Asked,
    snapshot_ts: Timestamp,
) -> Result<Shown, assize_mvcc::ReadError> {
    Ok(match asked {
        Asked::Keys(keys) => {
            let values = keys.iter().map(|key| reader.get(key, snapshot_ts));
            Shown::Values(values.collect::<Result<_, _>>()?)
        }
        Asked::Range(range, direction, limit) => {
            let direction = match direction {
                assize_ports::Direction::Forward => Direction::Forward,
                assize_ports::Direction::Reverse => Direction::Reverse,
            };
            let batch = reader.scan(&range, snapshot_ts, direction, limit)?;
            Shown::Page(ScanPage { rows: batch.rows, rest: batch.rest })
        }
    })
}

/// When these were last committed, and as of when that is so.
fn newest_commits(
    reader: &Reader<MemoryEngine>,
    asked: &Asked,
) -> Result<NewestCommits, assize_mvcc::StoreError> {
    let newest = match asked {
        Asked::Keys(keys) => keys.iter().map(|key| reader.newest_commit(key)).collect::<Result<_, _>>()?,
        Asked::Range(range, ..) => vec![reader.newest_commit_in(range)?],
    };
    Ok((reader.closed_ts(), newest))
}

fn scan(
    reader: &Reader<MemoryEngine>,
    range: KeyRange,
    snapshot_ts: Timestamp,
) -> Result<Vec<(Key, Bytes)>, assize_mvcc::ReadError> {
    let mut rows = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest {
        let batch = reader.scan(&range, snapshot_ts, Direction::Forward, 7)?;
        rows.extend(batch.rows);
        rest = batch.rest;
    }
    Ok(rows)
}
