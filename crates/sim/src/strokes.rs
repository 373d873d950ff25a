//! Strokes of fate, and what operators do meanwhile: moves, splits, merges, replacements, members that come and go.

use crate::net::{Actor, Event};
use crate::shards::Place;
use crate::world::World;
use assize_adjudicator::{Command, PlacementChange};
use assize_model::*;

/// No shard has a higher number.
const SHARDS_MAX: u32 = 7;
/// After a replica was un-counted, or slots were moved, somebody is about to copy, and whom had better be whole.
const COPIES_SETTLE: u64 = 4_000;

/// A replica that takes another one's place.
pub(crate) struct Replacing {
    new: ReplicaId,
    old: ReplicaId,
    /// The entry before which the new one was seen to be configured, once it was.
    joined: Option<LogIndex>,
}

/// Slots that go to another shard once its replicas have staged them, or not.
pub(crate) struct Planned {
    from: ShardId,
    to: ShardId,
    runs: Vec<(Slot, Slot)>,
    /// When nobody waits for them any more.
    until: u64,
}

/// What a stroke does to the world.
type Blow = fn(&mut World);

impl World {
    /// Something goes wrong, or somebody does something.
    pub fn stroke(&mut self) {
        if self.is_healed {
            return;
        }
        let wait = self.net.random.between(1, self.scenario.faults.stroke_millis);
        self.net.after(wait, Event::Stroke);
        let f = &self.scenario.faults;
        let weights: [(u64, Blow); 15] = [
            (f.leader_change, World::change_leader),
            (f.adjudicator_crash, World::crash_node),
            (f.replica_crash, World::crash_replica),
            (f.disk_loss, World::lose_disk),
            (f.frontend_crash, World::crash_frontend),
            (f.partition, World::partition),
            (f.epoch_raise, World::raise_epoch),
            (f.uncount, World::uncount),
            (f.split, World::split),
            (f.move_slots, World::move_slots),
            (f.merge, World::merge),
            (f.replace, World::replace),
            (f.membership, World::change_members),
            (f.damage, World::damage),
            (f.clock_step, World::step_clock),
        ];
        let sum: u64 = weights.iter().map(|(weight, _)| weight).sum();
        if sum == 0 {
            return;
        }
        let mut at = self.net.random.below(sum);
        let drawn = weights.iter().find(|(weight, _)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        drawn.expect("a number below the sum falls somewhere").1(self);
    }

    // Processes.

    fn some_member(&mut self) -> usize {
        let members = self.adjudicators.members();
        *self.net.random.pick(&members)
    }

    /// The place of some configured replica.
    fn some_replica(&mut self) -> usize {
        let all = self.shards.all_configured();
        *self.net.random.pick(&all)
    }

    fn change_leader(&mut self) {
        let node = self.some_member();
        if self.adjudicators.is_up(node) {
            self.adjudicators.elect(node, &mut self.net, &mut self.history);
        }
    }

    fn crash_node(&mut self) {
        let node = self.some_member();
        if self.adjudicators.is_whole() {
            self.adjudicators.crash(node, &mut self.net, &mut self.history);
        }
    }

    fn step_clock(&mut self) {
        let node = self.some_member();
        self.adjudicators.step_clock(node, &mut self.net, &mut self.history);
    }

    fn crash_replica(&mut self) {
        let at = self.some_replica();
        let down_for = self.net.random.between(50, 4_000);
        self.shards.crash(at, &mut self.net, down_for);
    }

    fn lose_disk(&mut self) {
        let at = self.some_replica();
        if self.shards.is_whole(Place::of(at).shard) {
            let down_for = self.net.random.between(50, 2_000);
            self.shards.lose_disk(at, &mut self.net, down_for);
        }
    }

    fn crash_frontend(&mut self) {
        let frontend = self.net.random.below(self.frontends.len() as u64) as usize;
        self.frontends.crash(frontend, &mut self.net, &mut self.history);
    }

    /// Somebody does not hear some of the others for a while.
    fn partition(&mut self) {
        let World { net, adjudicators, shards, frontends, .. } = self;
        let mut everybody: Vec<Actor> = adjudicators.members().into_iter().map(Actor::Adjudicator).collect();
        everybody.extend((0..frontends.len()).map(Actor::Frontend));
        everybody.extend(shards.all_configured().into_iter().map(Actor::Replica));
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

    /// A node joins the adjudicator's group, or one leaves it.
    fn change_members(&mut self) {
        let node = self.some_member();
        if self.net.random.chance(500) {
            self.adjudicators.join(&mut self.net, &mut self.history);
        } else {
            self.adjudicators.leave(node, &mut self.net, &mut self.history);
        }
    }

    // The placement.

    fn decree(&mut self, command: Command) {
        self.adjudicators.decree(command, &mut self.net);
    }

    /// A change of the placement as it is now.
    fn change(&mut self, change: PlacementChange) {
        let expected = self.adjudicators.state().placement().epoch;
        self.decree(Command::ChangePlacement(PlacementChange { expected, ..change }));
    }

    fn raise_epoch(&mut self) {
        let raise = vec![Place::of(self.some_replica()).shard];
        self.change(PlacementChange { raise, ..PlacementChange::default() });
    }

    /// A replica that is down is no longer waited for.
    fn uncount(&mut self) {
        let is_down = |at: &usize| !self.shards.is_up(*at) && self.shards.is_whole(Place::of(*at).shard);
        if let Some(at) = self.shards.all_configured().into_iter().find(is_down) {
            let Place { shard, replica } = Place::of(at);
            self.copied_at = self.net.now;
            self.decree(Command::Uncount { shard, replica });
        }
    }

    /// The upper half of a shard's slots becomes a shard of its own, on the same nodes.
    fn split(&mut self) {
        let shard = Place::of(self.some_replica()).shard;
        let placement = self.adjudicators.placement();
        let newest = self.history.splits.values().map(|split| split.to.0).max();
        let new = ShardId(newest.unwrap_or(self.scenario.shards) + 1);
        let (Some(part), Some((first, last))) =
            (placement.shards.get(&shard), longest_run(&placement, shard))
        else {
            return;
        };
        // While a replica of the elder is being replaced, who is the younger's elder sibling would be in doubt.
        if new.0 > SHARDS_MAX || first == last || self.replacing.contains_key(&shard) {
            return;
        }
        let middle = Slot(first.0 + (last.0 - first.0).div_ceil(2));
        self.change(PlacementChange {
            shards: vec![(new, Some(part.replicas.clone()))],
            slots: vec![(middle, last, new)],
            ..PlacementChange::default()
        });
    }

    /// Two different shards, of which none is damaged: damage would travel with the slots.
    fn two_whole_shards(&mut self) -> Option<(ShardId, ShardId)> {
        let shards: Vec<ShardId> = self.adjudicators.state().placement().shards.keys().copied().collect();
        let (from, to) = (*self.net.random.pick(&shards), *self.net.random.pick(&shards));
        self.copied_at = self.net.now;
        (from != to && self.shards.is_whole(from) && self.shards.is_whole(to)).then_some((from, to))
    }

    fn move_slots(&mut self) {
        let Some((from, to)) = self.two_whole_shards() else { return };
        let Some((first, last)) = longest_run(&self.adjudicators.placement(), from) else { return };
        let middle = Slot(first.0 + (last.0 - first.0) / 2);
        self.give(from, to, vec![(middle, last)]);
    }

    /// Slots go to another shard: at once, or once they are staged there.
    fn give(&mut self, from: ShardId, to: ShardId, runs: Vec<(Slot, Slot)>) {
        if self.planned.is_none() && self.net.random.chance(700) {
            let until = self.net.now + self.net.random.between(200, 6_000);
            self.planned = Some(Planned { from, to, runs, until });
            self.net.after(1, Event::Stage);
        } else {
            let slots = runs.into_iter().map(|(first, last)| (first, last, to)).collect();
            self.change(PlacementChange { slots, ..PlacementChange::default() });
        }
    }

    /// Has slots staged, or goes on with it, and moves them when they are, or when somebody loses patience.
    pub fn stage_on(&mut self) {
        let Some(Planned { from, to, runs, until }) = self.planned.take() else { return };
        let placement = self.adjudicators.placement();
        let held = placement.slots_of(from);
        let is_held = |(first, last): &(Slot, Slot)| held.iter().any(|(f, l)| f <= first && last <= l);
        let is_sound = runs.iter().all(is_held)
            && placement.shards.contains_key(&to)
            && self.shards.is_whole(from)
            && self.shards.is_whole(to);
        if self.is_healed || !is_sound {
            return;
        }
        // Whoever copies might copy damage.
        self.copied_at = self.net.now;
        let mut are_staged = true;
        for at in self.shards.configured(to) {
            are_staged &= self.shards.stage(at, from, &runs, &mut self.net, &mut self.history);
        }
        if are_staged && self.net.random.chance(500) || self.net.now > until && self.net.random.chance(700) {
            let slots = runs.into_iter().map(|(first, last)| (first, last, to)).collect();
            self.change(PlacementChange { slots, ..PlacementChange::default() });
        } else if self.net.now <= until {
            self.planned = Some(Planned { from, to, runs, until });
            self.net.after(200, Event::Stage);
        }
    }

    /// All of a shard's slots go to another one; a shard without any is removed.
    fn merge(&mut self) {
        let placement = self.adjudicators.placement();
        if let Some(empty) = placement.shards.keys().find(|shard| placement.slots_of(**shard).is_empty()) {
            let shards = vec![(*empty, None)];
            return self.change(PlacementChange { shards, ..PlacementChange::default() });
        }
        let Some((from, to)) = self.two_whole_shards() else { return };
        self.give(from, to, placement.slots_of(from));
    }

    // Replicas that come and go.

    /// A new replica begins to copy, to take another one's place.
    fn replace(&mut self) {
        let old = Place::of(self.some_replica());
        let shard = old.shard;
        let Some(place) = self.shards.unborn(shard) else { return };
        if self.replacing.contains_key(&shard) || !self.shards.is_whole(shard) {
            return;
        }
        let new = Place::of(place).replica;
        self.replacing.insert(shard, Replacing { new, old: old.replica, joined: None });
        self.shards.bear(place, &mut self.net, &mut self.history);
        self.net.after(300, Event::Replace);
    }

    /// One step for each replacement: the new replica becomes one of the shard's once it follows the stream, and the old one
    /// goes once everybody is durable past that, so that no promise of its own is missed.
    pub fn replace_on(&mut self) {
        for shard in self.replacing.keys().copied().collect::<Vec<_>>() {
            self.replace_one(shard);
        }
        if !self.replacing.is_empty() {
            self.net.after(300, Event::Replace);
        }
    }

    fn replace_one(&mut self, shard: ShardId) {
        let state = self.adjudicators.state();
        let (applied, placement) = (state.applied(), state.placement());
        let Some(part) = placement.shards.get(&shard) else {
            self.replacing.remove(&shard);
            return;
        };
        let mut replicas = part.replicas.clone();
        let of_shard = state.replicas().iter().filter(|((s, _), _)| *s == shard).map(|(_, state)| state);
        let durable = of_shard.filter(|state| state.counts).map(|state| state.durable.index).min();
        let replacing = self.replacing.get_mut(&shard).expect("it is being looked at");
        let Replacing { new, old, joined } = replacing;
        if !replicas.contains_key(old) {
            self.replacing.remove(&shard);
            self.history.replacements += 1;
            return;
        }
        if !replicas.contains_key(new) {
            let node = NodeId(u64::from(new.0));
            let place = Place::at(shard, *new);
            replicas.insert(*new, node);
            if self.shards.store(place).is_none() {
                return;
            }
        } else {
            let joined = *joined.get_or_insert(applied);
            replicas.remove(old);
            let new = Place::at(shard, *new);
            let is_whole = self.shards.is_whole(shard) && self.shards.store(new).is_some();
            if durable.is_none_or(|durable| durable < joined) || !is_whole {
                return;
            }
        }
        let shards = vec![(shard, Some(replicas))];
        self.change(PlacementChange { shards, ..PlacementChange::default() });
    }

    /// A row of some replica changes behind everybody's back.
    fn damage(&mut self) {
        let at = self.some_replica();
        let shard = Place::of(at).shard;
        let state = self.adjudicators.state();
        let all_count = state.replicas().iter().all(|((s, _), r)| *s != shard || r.counts);
        let is_moving = state.slot_moves().any(|moved| moved.from == shard || moved.to == shard);
        let is_settled = self.copied_at == 0 || self.net.now > self.copied_at + COPIES_SETTLE;
        // Whoever is copying, or about to, might copy the damage.
        if all_count && is_settled && !is_moving && !self.replacing.contains_key(&shard) {
            self.shards.damage(at, &mut self.net, &mut self.history);
        }
    }
}

/// The longest of a shard's runs of slots.
fn longest_run(placement: &Placement, shard: ShardId) -> Option<(Slot, Slot)> {
    placement.slots_of(shard).into_iter().max_by_key(|(first, last)| last.0 - first.0)
}
