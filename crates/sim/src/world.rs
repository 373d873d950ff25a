//! One run: everything wired together, strokes of fate, healing, and the look at what came of it.

use crate::adjudicators::Adjudicators;
use crate::frontends::Frontends;
use crate::history::{History, Violation};
use crate::invariants;
use crate::net::{Actor, Event, Net};
use crate::scenario::{Faults, Scenario, Victim};
use crate::shards::{Content, Place, Shards};
use crate::strokes::{Planned, Replacing};
use assize_model::*;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// At the end replicas are compared at a timestamp from so long ago.
const SETTLING_MILLIS: u64 = 6_000;

/// A damaged row may be found at any time, and whoever holds it is rebuilt then: the end waits so long for a rebuild that has
/// begun, and for the deadlines of intents that it holds up. What is not done by then never will be.
const PATIENCE_MILLIS: u64 = 60_000;

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
    /// How many events happened.
    pub events: u64,
    /// A hash over everything that happened and everything that is left.
    pub fingerprint: u64,
}

pub(crate) struct World {
    pub net: Net,
    pub adjudicators: Adjudicators,
    pub shards: Shards,
    pub frontends: Frontends,
    pub history: History,
    pub scenario: Scenario,
    pub is_healed: bool,
    pub replacing: BTreeMap<ShardId, Replacing>,
    /// Slots that somebody is about to move, and has staged first.
    pub planned: Option<Planned>,
    /// When somebody was last given a reason to copy somebody else.
    pub copied_at: u64,
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
    let mut shards = Shards::new(scenario, &mut net, &mut history);
    shards.heed(adjudicators.state().placement());
    let frontends = Frontends::new(scenario, &mut net);
    net.faults = scenario.faults.clone();
    let mut world = World {
        net,
        adjudicators,
        shards,
        frontends,
        history,
        scenario: scenario.clone(),
        is_healed: false,
        replacing: BTreeMap::new(),
        planned: None,
        copied_at: 0,
        has_struck: false,
    };
    if scenario.faults.stroke_millis > 0 {
        world.net.after(500, Event::Stroke);
    }
    world.net.after(scenario.fault_millis, Event::Heal);
    let quiet_ends = scenario.fault_millis + scenario.quiet_millis;
    let mut end = quiet_ends;
    let mut at = None;
    loop {
        let Some(event) = world.net.next(end) else {
            if end >= quiet_ends + PATIENCE_MILLIS || world.is_settled() {
                break;
            }
            end += SETTLING_MILLIS;
            continue;
        };
        world.happen(event);
        if world.net.now >= settles_at(scenario) {
            at.get_or_insert(world.adjudicators.state().begin().snapshot_ts);
        }
        world.strike_as_planned();
        if world.net.events > scenario.events_max {
            let what = format!("{} events in {} virtual milliseconds", world.net.events, world.net.now);
            world.history.wrong("every_run_ends", what);
        }
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
            Event::Tick(Actor::Replica(at)) => {
                shards.heed(adjudicators.state().placement());
                shards.tick(at, net, history);
            }
            Event::Due(asker) => frontends.due(asker, net, history),
            Event::Restart(Actor::Adjudicator(at)) => adjudicators.restart(at, net, history),
            Event::Restart(Actor::Frontend(at)) => frontends.restart(at, net),
            Event::Restart(Actor::Replica(at)) => shards.restart(at, net, history),
            Event::Elect => adjudicators.elect_if_needed(net, history),
            Event::Deposed { node, term } => adjudicators.deposed(node, term),
            Event::Rejoin(a, b) => net.rejoin(a, b),
            Event::Stroke => self.stroke(),
            Event::Replace => self.replace_on(),
            Event::Stage => self.stage_on(),
            Event::Heal => {
                self.is_healed = true;
                net.heal();
                frontends.heal();
                net.after(50, Event::Elect);
            }
        }
    }

    /// Whether every replica follows its stream, and nothing is in doubt.
    fn is_settled(&mut self) -> bool {
        self.shards.heed(self.adjudicators.state().placement());
        let shards = &self.shards;
        shards.all_configured().into_iter().all(|place| {
            shards.store(place).is_some_and(|store| store.intents().all(|(_, is_decided)| is_decided))
        })
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

    fn finish(self, at: Timestamp) -> Outcome {
        let World { net, adjudicators, mut shards, frontends, history, scenario, .. } = self;
        shards.heed(adjudicators.state().placement());
        let at = at.max(adjudicators.state().low_water());
        let places = shards.all_configured();
        let contents: Vec<_> = places.iter().map(|i| (Place::of(*i), shards.everything(*i, at))).collect();
        let undecided = places
            .iter()
            .flat_map(|&i| {
                let store = shards.store(i);
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
        Outcome {
            contents,
            at,
            undecided,
            states,
            unfinished: frontends.unfinished(),
            effects: net.effects,
            events: net.events,
            fingerprint,
            history,
            scenario,
        }
    }
}
