//! What a run is made of: how large, how hostile, which rules.

use crate::random::Random;
use std::collections::BTreeSet;

/// More events than any seed needs, many times over.
const EVENTS_MAX: u64 = 1_000_000;

/// How hostile the world is. Chances are per thousand.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A message is lost.
    pub loss: u64,
    /// A message arrives twice.
    pub duplicate: u64,
    /// A message takes up to `straggle_millis` instead of a few milliseconds.
    pub straggle: u64,
    /// How long a straggler may take.
    pub straggle_millis: u64,
    /// How long a copy of a replica or of slots may be on its way, beside what any message takes.
    pub copy_millis: u64,
    /// The time between two strokes of fate, at most; zero: none at all.
    pub stroke_millis: u64,
    /// Relative weights of the strokes.
    pub leader_change: u64,
    /// A node of the adjudicator crashes.
    pub adjudicator_crash: u64,
    /// A shard's replica crashes.
    pub replica_crash: u64,
    /// A shard's replica crashes and its disk is gone.
    pub disk_loss: u64,
    /// A frontend crashes.
    pub frontend_crash: u64,
    /// Two parts of the cluster do not hear each other for a while.
    pub partition: u64,
    /// A shard's epoch rises.
    pub epoch_raise: u64,
    /// A replica is un-counted while it is down.
    pub uncount: u64,
    /// A shard is split.
    pub split: u64,
    /// Some slots of a shard go to another one.
    pub move_slots: u64,
    /// All slots of a shard go to another one; an empty shard is removed as soon as that is allowed.
    pub merge: u64,
    /// A replica is replaced by a new one.
    pub replace: u64,
    /// A node joins the adjudicator's group, or leaves it.
    pub membership: u64,
    /// A row of one replica changes behind everybody's back.
    pub damage: u64,
    /// The wall clock of one node of the adjudicator is set, forward or back, and stays like that.
    pub clock_step: u64,
}

impl Faults {
    /// A world in which nothing goes wrong.
    pub fn none() -> Self {
        Faults {
            loss: 0,
            duplicate: 0,
            straggle: 0,
            straggle_millis: 1,
            copy_millis: 0,
            stroke_millis: 0,
            leader_change: 0,
            adjudicator_crash: 0,
            replica_crash: 0,
            disk_loss: 0,
            frontend_crash: 0,
            partition: 0,
            epoch_raise: 0,
            uncount: 0,
            split: 0,
            move_slots: 0,
            merge: 0,
            replace: 0,
            membership: 0,
            damage: 0,
            clock_step: 0,
        }
    }
}

/// How many transactions of each kind are drawn, relatively.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Moves money between accounts, at snapshot isolation.
    pub transfer: u64,
    /// Reads all accounts.
    pub audit: u64,
    /// Overwrites a register with and without reading it.
    pub register: u64,
    /// Switches one of a pair off if both are on, serializable.
    pub skew: u64,
    /// Locks a row and writes another one that depends on it.
    pub lock: u64,
    /// Inserts into a range that may hold three rows, serializable.
    pub phantom: u64,
    /// Inserts children and deletes parents.
    pub foreign_key: u64,
    /// Changes the table of the registers.
    pub schema_change: u64,
    /// A second statement at a fresh snapshot.
    pub read_committed: u64,
    /// Writes rows that nobody reads until the end.
    pub note: u64,
    /// Moves money between accounts that it has reserved, after it has read something else.
    pub locked_transfer: u64,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where everything that is drawn comes from.
    pub seed: u64,
    /// How many shards, of three replicas each.
    pub shards: u32,
    /// How many frontends.
    pub frontends: usize,
    /// How many clients at each frontend.
    pub clients: usize,
    /// How long faults go on, in virtual milliseconds.
    pub fault_millis: u64,
    /// How long the world is left alone after it has healed: longer than deadlines, bounded waits and stragglers.
    pub quiet_millis: u64,
    /// Each client runs at most so many transactions.
    pub txns_max: usize,
    /// A run in which more happens is running away: it fails instead of filling the memory.
    pub events_max: u64,
    /// Out of a thousand transactions with writes so many are prepared, the others inline.
    pub prepared: u64,
    /// Out of a thousand prepared ones so many have the short deadline.
    pub short_deadline: u64,
    /// The binary logarithm of the conflict window's buckets.
    pub window_log2: u8,
    /// How many outcomes are held at most.
    pub outcomes_max: u64,
    /// How many keys of a tracked table.
    pub range_keys_max: u64,
    /// Whether ranges are tracked from the start, or from when somebody first checks one.
    pub tracks_from_the_start: bool,
    /// Out of a thousand transactions so many are left in the middle by their client.
    pub desertion: u64,
    /// The faults.
    pub faults: Faults,
    /// The transactions.
    pub mix: Mix,
    /// Rules that the adjudicator ignores.
    pub without: assize_adjudicator::Rules,
    /// Rules that the replicas' stores ignore.
    pub without_in_store: BTreeSet<assize_mvcc::Rule>,
    /// Rules that the replicas ignore.
    pub without_in_replica: BTreeSet<assize_replica::Rule>,
    /// Rules that the coordinators ignore.
    pub without_in_coordinator: BTreeSet<assize_coordinator::Rule>,
    /// Rules that the sessions' transactions ignore.
    pub without_in_session: BTreeSet<assize_session::Rule>,
    /// Whether leaders go by their wall clocks alone, wherever the log's time is.
    pub wall_clocks_alone: bool,
    /// Crash somebody right after so many effects.
    pub crash_after: Option<(u64, Victim)>,
}

/// Who crashes in the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The first frontend.
    Frontend,
    /// Whoever leads the adjudicator.
    Leader,
    /// A replica, by its place among all.
    Replica(usize),
}

impl Scenario {
    /// What CI runs: everything at once, in a mixture that depends on the seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5ce0);
        let mut some = |most: u64| if random.chance(700) { random.below(most + 1) } else { 0 };
        let mut faults = Faults {
            loss: some(40),
            duplicate: some(40),
            straggle: some(30),
            straggle_millis: 1 + some(12_000),
            copy_millis: *Random::new(seed ^ 0xc09e).pick(&[0, 0, 500, 4_000]),
            stroke_millis: 500 + some(2_500),
            leader_change: some(10),
            adjudicator_crash: some(6),
            replica_crash: some(10),
            disk_loss: some(4),
            frontend_crash: some(5),
            partition: some(10),
            epoch_raise: some(4),
            uncount: some(3),
            split: some(4),
            move_slots: some(4),
            merge: some(4),
            replace: some(4),
            membership: some(6),
            damage: some(4),
            clock_step: *Random::new(seed ^ 0xc10c).pick(&[0, 0, 0, 3]),
        };
        // Every eighth world is one in which nearly nothing works for long.
        let mut rough = Random::new(seed ^ 0x0d15);
        if rough.chance(125) {
            faults.loss = rough.between(60, 250);
            faults.partition = rough.between(20, 120);
            faults.stroke_millis = rough.between(300, 900);
        }
        let mix = Mix {
            transfer: 1 + some(10),
            audit: some(5),
            register: some(8),
            skew: some(6),
            lock: some(4),
            phantom: some(6),
            foreign_key: some(6),
            schema_change: some(1),
            read_committed: some(4),
            note: some(4),
            locked_transfer: some(4),
        };
        let desertion = some(40);
        Scenario {
            seed,
            shards: random.between(1, 3) as u32,
            frontends: random.between(1, 3) as usize,
            clients: random.between(2, 6) as usize,
            fault_millis: random.between(8_000, 20_000),
            quiet_millis: 36_000,
            txns_max: 150,
            events_max: EVENTS_MAX,
            prepared: *random.pick(&[0, 300, 500, 800, 1000]),
            short_deadline: *random.pick(&[0, 300, 800]),
            window_log2: *random.pick(&[1, 2, 8]),
            outcomes_max: *random.pick(&[40, 10_000, 10_000]),
            range_keys_max: *random.pick(&[6, 1000]),
            tracks_from_the_start: random.chance(500),
            desertion,
            faults,
            mix,
            without: assize_adjudicator::Rules::NONE,
            without_in_store: BTreeSet::new(),
            without_in_replica: BTreeSet::new(),
            without_in_coordinator: BTreeSet::new(),
            without_in_session: BTreeSet::new(),
            wall_clocks_alone: false,
            crash_after: None,
        }
    }

    /// One client that moves money once between two shards, in a world where nothing goes wrong.
    pub fn one_transfer(prepared: bool) -> Self {
        Scenario {
            shards: 2,
            frontends: 1,
            clients: 1,
            fault_millis: 1_500,
            quiet_millis: 22_000,
            txns_max: 1,
            prepared: if prepared { 1000 } else { 0 },
            short_deadline: 0,
            window_log2: 8,
            outcomes_max: 1000,
            range_keys_max: 1000,
            desertion: 0,
            faults: Faults::none(),
            mix: Mix {
                transfer: 1,
                audit: 0,
                register: 0,
                skew: 0,
                lock: 0,
                phantom: 0,
                foreign_key: 0,
                schema_change: 0,
                read_committed: 0,
                note: 0,
                locked_transfer: 0,
            },
            ..Scenario::of_seed(1)
        }
    }
}
