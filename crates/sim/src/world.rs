//! One run: everything wired together, strokes of fate, healing, and the look at what came of it.

use crate::adjudicators::Adjudicators;
use crate::frontends::Frontends;
use crate::history::{History, Violation};
use crate::invariants;
use crate::net::{Actor, Event, Net};
use crate::scenario::{Faults, Scenario, Victim};
use crate::shards::{Content, Place, REPLICAS, Shards};
use assize_adjudicator::{Command, PlacementChange};
use assize_model::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// At the end replicas are compared at a timestamp from so long ago.
const SETTLING_MILLIS: u64 = 6_000;

/// When the last marks are set: afterwards nothing happens but that everybody gets there.
pub(crate) fn settles_at(scenario: &Scenario) -> u64 {
    scenario.fault_millis + scenario.quiet_millis - SETTLING_MILLIS
}

/// What a run left behind.
pub struct Outcome {
    /// What happened.
    pub history: History,
    /// What each replica shows at the end, or why it shows nothing.
    pub contents: Vec<(Place, Content)>,
    /// The timestamp at which they were looked at.
    pub at: Timestamp,
    /// Intents that are still undecided at the end.
    pub undecided: Vec<(Place, TxnId)>,
    /// State hashes of the adjudicator's nodes at the end, with the entry they stand at.
    pub states: Vec<(LogIndex, u64)>,
    /// Clients that did not get on after the world had healed.
    pub unfinished: Vec<String>,
    /// The scenario.
    pub scenario: Scenario,
    /// How many messages were sent.
    pub effects: u64,
    /// A hash over everything that happened and everything that is left.
    pub fingerprint: u64,
}

struct World {
    net: Net,
    adjudicators: Adjudicators,
    shards: Shards,
    frontends: Frontends,
    history: History,
    scenario: Scenario,
    is_healed: bool,
    has_struck: bool,
}

/// Runs a scenario to its end and looks for broken invariants.
pub fn run(scenario: &Scenario) -> (Outcome, Result<(), Violation>) {
    let outcome = play(scenario);
    let result = invariants::check(&outcome);
    (outcome, result)
}

/// Runs a scenario to its end.
pub fn play(scenario: &Scenario) -> Outcome {
    let mut net = Net::new(scenario.seed, Faults::none());
    let mut history = History::default();
    let adjudicators = Adjudicators::new(scenario, &mut net, &mut history);
    let shards = Shards::new(scenario, &mut net, &mut history);
    let placement = adjudicators.placement();
    let frontends = Frontends::new(scenario, &placement, &mut net);
    net.faults = scenario.faults.clone();
    let mut world = World {
        net,
        adjudicators,
        shards,
        frontends,
        history,
        scenario: scenario.clone(),
        is_healed: false,
        has_struck: false,
    };
    if scenario.faults.stroke_millis > 0 {
        world.net.after(500, Event::Stroke);
    }
    world.net.after(scenario.fault_millis, Event::Heal);
    let end = scenario.fault_millis + scenario.quiet_millis;
    let mut at = None;
    while let Some(event) = world.net.next(end) {
        world.happen(event);
        if world.net.now >= settles_at(scenario) {
            at.get_or_insert(world.adjudicators.state().begin().snapshot_ts);
        }
        world.strike_as_planned();
        if !world.history.seen.is_empty() {
            // What is seen to be wrong stays wrong.
            break;
        }
    }
    let now = world.adjudicators.state().begin().snapshot_ts;
    world.finish(at.unwrap_or(now))
}

impl World {
    fn happen(&mut self, event: Event) {
        let World { net, adjudicators, shards, frontends, history, .. } = self;
        match event {
            Event::Delivered { to: Actor::Adjudicator(at), message } => {
                adjudicators.receive(at, message, net, history)
            }
            Event::Delivered { to: Actor::Frontend(at), message } => {
                frontends.receive(at, message, net, history)
            }
            Event::Delivered { to: Actor::Replica(at), message } => shards.receive(at, message, net, history),
            Event::Flushed { node, term } => adjudicators.flushed(node, term, net, history),
            Event::Tick(Actor::Adjudicator(at)) => adjudicators.tick(at, net, history),
            Event::Tick(Actor::Frontend(at)) => frontends.tick(at, net),
            Event::Tick(Actor::Replica(at)) => shards.tick(at, net, history),
            Event::TimerFired { asker, life, timer } => {
                frontends.timer_fired(asker, life, timer, net, history)
            }
            Event::ClientDue { asker, life } => frontends.client_due(asker, life, net, history),
            Event::Restart(Actor::Adjudicator(at)) => adjudicators.restart(at, net, history),
            Event::Restart(Actor::Frontend(at)) => frontends.restart(at, net),
            Event::Restart(Actor::Replica(at)) => shards.restart(at, net, history),
            Event::Elect => adjudicators.elect_if_needed(net, history),
            Event::Deposed { node, term } => adjudicators.deposed(node, term),
            Event::Rejoin(a, b) => net.rejoin(a, b),
            Event::Stroke => self.stroke(),
            Event::Heal => {
                self.is_healed = true;
                net.heal();
                frontends.heal();
                net.after(50, Event::Elect);
            }
        }
    }

    /// The crash that the matrix asked for.
    fn strike_as_planned(&mut self) {
        let Some((after, victim)) = self.scenario.crash_after else { return };
        if self.has_struck || self.net.effects < after {
            return;
        }
        self.has_struck = true;
        let World { net, adjudicators, shards, frontends, history, .. } = self;
        match victim {
            Victim::Frontend => frontends.crash(0, net, history),
            Victim::Leader => adjudicators.crash(adjudicators.leader(), net, history),
            Victim::Replica(at) => shards.crash(at, net, 700),
        }
    }

    /// Something goes wrong.
    fn stroke(&mut self) {
        if self.is_healed {
            return;
        }
        let World { net, adjudicators, shards, frontends, history, scenario, .. } = self;
        let wait = net.random.between(1, scenario.faults.stroke_millis);
        net.after(wait, Event::Stroke);
        let f = &scenario.faults;
        let weights = [
            f.leader_change,
            f.adjudicator_crash,
            f.replica_crash,
            f.disk_loss,
            f.frontend_crash,
            f.partition,
            f.epoch_raise,
            f.uncount,
            f.split,
            f.damage,
        ];
        let sum: u64 = weights.iter().sum();
        if sum == 0 {
            return;
        }
        let mut at = net.random.below(sum);
        let drawn = weights.iter().position(|weight| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let replica = net.random.below(shards.len() as u64) as usize;
        let node = net.random.below(3) as usize;
        match drawn.expect("a number below the sum falls somewhere") {
            0 if adjudicators.is_up(node) => adjudicators.elect(node, net, history),
            1 if adjudicators.up() == 3 => adjudicators.crash(node, net, history),
            2 => {
                let down_for = net.random.between(50, 4_000);
                shards.crash(replica, net, down_for);
            }
            3 if shards.is_shard_whole(replica) => {
                let down_for = net.random.between(50, 2_000);
                shards.lose_disk(replica, net, down_for);
            }
            4 => {
                let frontend = net.random.below(frontends.len() as u64) as usize;
                frontends.crash(frontend, net, history);
            }
            5 => self.partition(),
            6 => {
                let state = adjudicators.state();
                let change = PlacementChange {
                    expected: state.placement().epoch,
                    raise: vec![Place::of(replica).shard],
                    ..PlacementChange::default()
                };
                adjudicators.decree(Command::ChangePlacement(change), net);
            }
            7 => {
                let is_down =
                    |at: &usize| shards.is_born(*at) && !shards.is_up(*at) && shards.is_shard_whole(*at);
                let down = (0..shards.len()).find(is_down);
                if let Some(at) = down {
                    let Place { shard, replica } = Place::of(at);
                    adjudicators.decree(Command::Uncount { shard, replica }, net);
                }
            }
            8 if adjudicators.placement().shards.len() == scenario.shards as usize => {
                let placement = adjudicators.placement();
                let old = Place::of(replica).shard;
                let (first, last) = placement.slots_of(old)[0];
                let middle = Slot(first.0 + (last.0 - first.0) / 2);
                let replicas = placement.shards[&old].replicas.clone();
                let new = ShardId(scenario.shards + 1);
                let change = PlacementChange {
                    expected: placement.epoch,
                    shards: vec![(new, Some(replicas))],
                    slots: vec![(middle, last, new)],
                    raise: Vec::new(),
                };
                adjudicators.decree(Command::ChangePlacement(change), net);
            }
            9 => {
                let shard = Place::of(replica).shard;
                let state = adjudicators.state();
                let all_count = state.replicas().iter().all(|((s, _), r)| *s != shard || r.counts);
                // One that is about to be rebuilt might copy the damage.
                if all_count {
                    shards.damage(replica, net, history);
                }
            }
            _ => {}
        }
    }

    /// Somebody does not hear some of the others for a while.
    fn partition(&mut self) {
        let World { net, adjudicators, shards, frontends, .. } = self;
        let mut everybody: Vec<Actor> = (0..3).map(Actor::Adjudicator).collect();
        everybody.extend((0..frontends.len()).map(Actor::Frontend));
        everybody.extend((0..shards.len()).map(Actor::Replica));
        let lonely = match net.random.below(3) {
            0 => Actor::Adjudicator(adjudicators.leader()),
            _ => *net.random.pick(&everybody),
        };
        let most = net.random.between(300, 1000);
        let lasts = net.random.between(200, 5_000);
        for other in everybody {
            if other != lonely && net.random.chance(most) {
                net.cut(lonely, other);
                net.after(lasts, Event::Rejoin(lonely, other));
            }
        }
        if lonely == Actor::Adjudicator(adjudicators.leader()) {
            let unnoticed = net.random.between(300, 1_500);
            net.after(unnoticed, Event::Elect);
        }
    }

    fn finish(self, at: Timestamp) -> Outcome {
        let World { net, adjudicators, shards, frontends, history, scenario, .. } = self;
        let at = at.max(adjudicators.state().low_water());
        let contents: Vec<_> = (0..shards.len()).map(|i| (Place::of(i), shards.everything(i, at))).collect();
        let undecided = (0..shards.len())
            .flat_map(|i| {
                let store = shards.replica(i).and_then(|replica| replica.store());
                let undecided =
                    store.into_iter().flat_map(|store| store.intents()).filter(|(_, decided)| !decided);
                undecided.map(move |(txn, _)| (Place::of(i), txn)).collect::<Vec<_>>()
            })
            .collect();
        let states: Vec<_> =
            adjudicators.states().map(|state| (state.applied(), state.state_hash())).collect();
        let mut fingerprint = net.trace;
        for entry in &history.log {
            fingerprint = xxh3_64_with_seed(entry, fingerprint);
        }
        for (_, content) in &contents {
            fingerprint = xxh3_64_with_seed(format!("{content:?}").as_bytes(), fingerprint);
        }
        debug_assert_eq!(shards.len() % REPLICAS, 0);
        Outcome {
            contents,
            at,
            undecided,
            states,
            unfinished: frontends.unfinished(),
            effects: net.effects,
            fingerprint,
            history,
            scenario,
        }
    }
}
