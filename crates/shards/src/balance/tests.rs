use super::*;
use crate::care::{Policy, next_task};
use crate::mover::Mover;
use assize_model::ReplicaId;
use std::collections::BTreeSet;

const GIB: u64 = 1 << 30;

fn nodes(zones: &[(u64, &str)]) -> BTreeMap<NodeId, NodeCondition> {
    let condition = |zone: &str| NodeCondition { zone: zone.into(), ..NodeCondition::default() };
    zones.iter().map(|(node, zone)| (NodeId(*node), condition(zone))).collect()
}

/// Shards with equally many slots, on these nodes.
fn placed(shards: &[&[u64]]) -> Placement {
    let mut placement = Placement::even(shards.len() as u32, NodeId(1));
    for (part, on) in placement.shards.values_mut().zip(shards) {
        part.replicas = (1u8..).map(ReplicaId).zip(on.iter().map(|node| NodeId(*node))).collect();
    }
    placement
}

/// Shards with these runs: each begins at a slot.
fn runs(beginnings: &[(u16, u32)]) -> Placement {
    let shards = beginnings.iter().map(|(_, shard)| *shard).max().unwrap();
    let mut placement = Placement::even(shards, NodeId(1));
    placement.ranges = beginnings.iter().map(|(slot, shard)| (Slot(*slot), ShardId(*shard))).collect();
    placement
}

/// All shards of a placement, equally large.
fn sizes(placement: &Placement, bytes: u64) -> BTreeMap<ShardId, u64> {
    placement.shards.keys().map(|shard| (*shard, bytes)).collect()
}

/// What a task that was done leaves behind.
fn done(placement: &mut Placement, task: &Task) {
    Mover::check(placement, task).unwrap_or_else(|error| panic!("{task}: {error}"));
    match *task {
        Task::AddReplica { shard, node } => {
            let replicas = &mut placement.shards.get_mut(&shard).unwrap().replicas;
            let number = replicas.keys().next_back().unwrap().0 + 1;
            replicas.insert(ReplicaId(number), node);
        }
        Task::MoveReplica { shard, from, to } => {
            let replicas = &mut placement.shards.get_mut(&shard).unwrap().replicas;
            replicas.values_mut().filter(|on| **on == from).for_each(|on| *on = to);
        }
        Task::MoveSlots { into, first, last, .. } => {
            let owner = |slot: u16| placement.shard_of(Slot(slot));
            let mut owners: Vec<ShardId> = (0..=u16::MAX).map(owner).collect();
            owners[usize::from(first.0)..=usize::from(last.0)].fill(into);
            placement.ranges.clear();
            let mut before = None;
            for (slot, owner) in (0..=u16::MAX).zip(owners) {
                if before.replace(owner) != Some(owner) {
                    placement.ranges.insert(Slot(slot), owner);
                }
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_new_node_gets_replicas_until_it_has_its_part() {
    let nodes = nodes(&[(1, ""), (2, ""), (3, ""), (4, "")]);
    let mut placement = placed(&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
    let mut moved = Vec::new();
    while let Some(task) = next_move(&placement, &nodes, &BTreeMap::new(), 0) {
        done(&mut placement, &task);
        moved.push(task.to_string());
    }
    assert_eq!(moved, ["move s1 from n3 to n4", "move s2 from n2 to n4", "move s3 from n1 to n4"]);
}

#[test]
fn nodes_are_evened_by_bytes_as_well_as_by_number() {
    let nodes = nodes(&[(1, ""), (2, "")]);
    // Two shards each; those of the first node are large.
    let placement = placed(&[&[1], &[1], &[2], &[2]]);
    let bytes = |of: [u64; 4]| (1..).map(ShardId).zip(of.map(|gib| gib * GIB)).collect();
    let next = |of| next_move(&placement, &nodes, &bytes(of), 0).map(|task| task.to_string());
    assert_eq!(next([1, 1, 1, 1]), None);
    // Nothing that could go from the first node would make it better.
    assert_eq!(next([60, 60, 1, 1]), Some("move s1 from n1 to n2".to_owned()));
    assert_eq!(
        next([100, 1, 1, 1]),
        Some("move s2 from n1 to n2".to_owned()),
        "not the one that weighs as much as all"
    );
    assert_eq!(next([100, 20, 1, 1]), Some("move s2 from n1 to n2".to_owned()));
    // Less than a tenth of what there is: sizes swing by so much.
    assert_eq!(next([100, 5, 95, 1]), None);
}

#[test]
fn a_replica_goes_where_there_is_room_and_nobody_else_of_its_shard_or_zone() {
    let mut known = nodes(&[(1, "a"), (2, "b"), (3, "c"), (4, "c")]);
    let placement = placed(&[&[1, 2, 3], &[1, 2, 3]]);
    let next =
        |nodes: &_| next_move(&placement, nodes, &sizes(&placement, GIB), 0).map(|task| task.to_string());
    assert_eq!(next(&known), Some("move s1 from n3 to n4".to_owned()), "n1 and n2 are alone in their zones");
    let free = |bytes| Some(GIB + ROOM_MIN_BYTES - 1 + bytes);
    known.get_mut(&NodeId(4)).unwrap().free_bytes = free(0);
    assert_eq!(next(&known), None);
    known.get_mut(&NodeId(4)).unwrap().free_bytes = free(1);
    assert!(next(&known).is_some());
    known.get_mut(&NodeId(4)).unwrap().is_draining = true;
    assert_eq!(next(&known), None);
}

#[test]
fn slots_go_from_whoever_has_most_to_whoever_has_fewest_beside_what_that_has() {
    // The second was split: 3 has the upper half of its slots.
    let mut placement = runs(&[(0, 1), (32_768, 2), (49_152, 3)]);
    let none = nodes(&[(1, "")]);
    let next = |placement: &Placement| {
        let small = sizes(placement, 1 << 20);
        next_move(placement, &none, &small, 64 << 20)
    };
    let mut moved = Vec::new();
    while let Some(task) = next(&placement) {
        done(&mut placement, &task);
        moved.push(task.to_string());
    }
    assert_eq!(moved, ["move slots 27307 to 32767 from s1 to s2", "move slots 21846 to 27306 from s1 to s3"]);
    let counts: Vec<u32> = (1..=3).map(|n| slots(&placement, ShardId(n))).collect();
    assert_eq!(counts, [21_846, 21_845, 21_845]);
}

#[test]
fn large_shards_and_those_of_unknown_size_neither_give_nor_take_slots() {
    let placement = runs(&[(0, 1), (60_000, 2)]);
    let none = nodes(&[(1, "")]);
    let mut bytes = sizes(&placement, 100);
    assert!(next_move(&placement, &none, &bytes, 100).is_some());
    bytes.insert(ShardId(2), 101);
    assert_eq!(next_move(&placement, &none, &bytes, 100), None);
    bytes.remove(&ShardId(2));
    assert_eq!(next_move(&placement, &none, &bytes, 100), None);
}

#[test]
fn a_shard_without_slots_is_left_to_whoever_merges_it() {
    let mut placement = runs(&[(0, 1)]);
    placement.shards.insert(ShardId(2), placement.shards[&ShardId(1)].clone());
    let none = nodes(&[(1, "")]);
    assert_eq!(next_move(&placement, &none, &sizes(&placement, 0), 1), None);
}

#[test]
fn slots_go_where_there_is_room_for_two_copies_of_them() {
    let placement = runs(&[(0, 1), (49_152, 2)]);
    let mut known = nodes(&[(1, "")]);
    let next = |nodes: &_| next_move(&placement, nodes, &sizes(&placement, 3 * GIB), 4 * GIB);
    // A third of what the first shard has.
    let needed = 2 * GIB + ROOM_MIN_BYTES;
    known.get_mut(&NodeId(1)).unwrap().free_bytes = Some(needed - 1);
    assert_eq!(next(&known), None);
    known.get_mut(&NodeId(1)).unwrap().free_bytes = Some(needed);
    assert_eq!(next(&known).unwrap().to_string(), "move slots 32768 to 49151 from s1 to s2");
}

/// Numbers that look drawn, and are the same every time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A cluster as it may have become: nodes in zones, shards of all sizes on some of them, slots in pieces.
    fn cluster(&mut self) -> (Placement, BTreeMap<NodeId, NodeCondition>, BTreeMap<ShardId, u64>) {
        let (count, zones) = (3 + self.below(6), ["", "a", "b", "c", "d"]);
        let mut known = BTreeMap::new();
        for node in 1..=count {
            let zone = if self.below(3) == 0 { "" } else { zones[self.below(5) as usize] };
            let is_draining = self.below(12) == 0;
            let condition = NodeCondition { zone: zone.into(), is_draining, ..NodeCondition::default() };
            known.insert(NodeId(node), condition);
        }
        let shards = 1 + self.below(9) as u32;
        let mut placement = Placement::even(shards, NodeId(1));
        for part in placement.shards.values_mut() {
            let wanted = 1 + self.below(3) as usize;
            let mut on = BTreeSet::new();
            while on.len() < wanted {
                on.insert(NodeId(1 + self.below(count)));
            }
            part.replicas = (1u8..).map(ReplicaId).zip(on).collect();
        }
        for _ in 0..self.below(12) {
            let shard = ShardId(1 + self.below(shards.into()) as u32);
            placement.ranges.insert(Slot(self.below(65_536) as u16), shard);
        }
        let of_size = |draws: &mut Draws| match draws.below(3) {
            0 => draws.below(100 << 20),
            1 => draws.below(4 * GIB),
            _ => draws.below(300 * GIB),
        };
        let bytes = placement.shards.keys().map(|shard| (*shard, of_size(self))).collect();
        (placement, known, bytes)
    }
}

/// Replicas that share a zone with another of their shard, or whose node is to be emptied.
fn misplaced(placement: &Placement, nodes: &BTreeMap<NodeId, NodeCondition>) -> usize {
    let mut found = 0;
    for part in placement.shards.values() {
        let on: Vec<NodeId> = part.replicas.values().copied().collect();
        assert_eq!(on.iter().collect::<BTreeSet<_>>().len(), on.len(), "two replicas on one node");
        for node in &on {
            let zone = |node: &NodeId| nodes[node].zone.clone();
            let shares = !zone(node).is_empty() && on.iter().any(|o| o != node && zone(o) == zone(node));
            found += usize::from(shares) + usize::from(nodes[node].is_draining);
        }
    }
    found
}

/// The sum of squares over nodes, and the same over small shards' slots: what moves lower.
fn unevenness(
    placement: &Placement,
    nodes: &BTreeMap<NodeId, NodeCondition>,
    bytes: &BTreeMap<ShardId, u64>,
) -> (u128, u128) {
    let load = |node: &NodeId| {
        let held = placement.shards.iter().filter(|(_, part)| part.replicas.values().any(|on| on == node));
        held.map(|(shard, _)| u128::from(bytes[shard] + REPLICA_WEIGHT)).sum::<u128>()
    };
    let takers = nodes.iter().filter(|(_, c)| c.takes());
    let squared = takers.map(|(node, _)| load(node).pow(2)).sum();
    let small = placement.shards.keys().filter(|shard| bytes[shard] <= 64 << 20);
    (squared, small.map(|shard| u128::from(slots(placement, *shard)).pow(2)).sum())
}

#[test]
fn from_wherever_it_starts_it_comes_to_rest_and_every_move_makes_it_better() {
    let mut draws = Draws(88_172_645_463_325_252);
    let mut moves = 0;
    for case in 0..250 {
        let (mut placement, nodes, bytes) = draws.cluster();
        let policy = Policy { replicas: 3, ..Policy::default() };
        for step in 0.. {
            assert!(step < 400, "case {case} goes on for ever");
            if let Some(task) = next_task(&placement, &nodes, &bytes, &policy, &BTreeSet::new()) {
                done(&mut placement, &task);
                continue;
            }
            let Some(task) = next_move(&placement, &nodes, &bytes, 64 << 20) else { break };
            let before = (misplaced(&placement, &nodes), unevenness(&placement, &nodes, &bytes));
            done(&mut placement, &task);
            let after = (misplaced(&placement, &nodes), unevenness(&placement, &nodes, &bytes));
            assert!(after.0 <= before.0, "case {case}: {task} puts a replica in the wrong place");
            assert!(after.1 < before.1, "case {case}: {task} makes nothing better");
            moves += 1;
        }
        let small: Vec<u32> = placement
            .shards
            .keys()
            .filter(|shard| bytes[shard] <= 64 << 20)
            .map(|shard| slots(&placement, *shard))
            .filter(|slots| *slots > 0)
            .collect();
        if let (Some(most), Some(fewest)) = (small.iter().max(), small.iter().min()) {
            let mean = small.iter().sum::<u32>() / small.len() as u32;
            let is_even = most - fewest <= (mean / SLOTS_TOLERANCE_DIVISOR).max(SLOTS_MOVED_MIN);
            assert!(is_even || mean == *fewest || mean == *most, "case {case}: {small:?}");
        }
    }
    assert!(moves > 300, "hardly anything was moved: {moves}");
}

#[test]
fn sizes_that_swing_move_nothing_once_it_is_at_rest() {
    let mut draws = Draws(4_101_842_887_655_102_017);
    for case in 0..40 {
        let (mut placement, nodes, bytes) = draws.cluster();
        let policy = Policy { replicas: 3, ..Policy::default() };
        let mut seen = Vec::new();
        for _ in 0..150 {
            // Two of a hundred up or down: what compaction and flushes make of it.
            let swing = |draws: &mut Draws, bytes: u64| bytes / 100 * (98 + draws.below(5));
            let swung: BTreeMap<ShardId, u64> =
                bytes.iter().map(|(shard, bytes)| (*shard, swing(&mut draws, *bytes))).collect();
            let task = next_task(&placement, &nodes, &swung, &policy, &BTreeSet::new())
                .or_else(|| next_move(&placement, &nodes, &swung, 64 << 20));
            let Some(task) = task else { continue };
            done(&mut placement, &task);
            let state = format!("{:?}", (&placement.ranges, &placement.shards));
            assert!(!seen.contains(&state), "case {case}: {task} goes back to where it was");
            seen.push(state);
        }
        let swung: BTreeMap<ShardId, u64> = bytes.iter().map(|(s, b)| (*s, *b / 100 * 99)).collect();
        let task = next_move(&placement, &nodes, &swung, 64 << 20);
        assert_eq!(task, None, "case {case}");
    }
}
