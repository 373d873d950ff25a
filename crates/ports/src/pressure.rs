//! When a node is behind with its work, and new transactions had better wait: pure functions of figures.
//!
//! ```text
//!   figures ─▶ Gauge::step(figures, bounds) ─▶ strains ─┐  of this node
//!                                                       ├─▶ reasons_to_shed ─┬─▶ none: new transactions may write
//!   other nodes ───────────────────────────────strains ─┘                    └─▶ some: they are shed, and told why
//! ```
//!
//! These bounds are soft: who has begun goes on, commits included, and who only reads is not concerned. The hard bounds,
//! beyond which commits are refused, are the adjudicator's (`retained_bytes_max`, a full disk).
//!
//! A strain begins when a figure passes its bound and ends when it has come a good way back, so that a figure near its
//! bound does not shed every other transaction. That RocksDB holds writes up for a moment is how it works; that it goes on
//! doing so is a strain.

use assize_model::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// What a node is behind with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The log holds much that some replica has not persisted.
    Log,
    /// A replica has persisted much less of the stream than there is.
    DurableLag,
    /// A replica has applied much less of the stream than there is.
    StreamLag,
    /// The same, in bytes.
    StreamBytes,
    /// RocksDB holds writes up.
    WriteStall,
    /// RocksDB has many files that were flushed and not compacted.
    Level0,
    /// RocksDB has much to compact.
    Compaction,
    /// The disk is nearly full.
    Disk,
    /// What a later release may think of.
    #[serde(other)]
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 9] = [
        Cause::Log,
        Cause::DurableLag,
        Cause::StreamLag,
        Cause::StreamBytes,
        Cause::WriteStall,
        Cause::Level0,
        Cause::Compaction,
        Cause::Disk,
        Cause::Other,
    ];

    /// Its name as a label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Cause::Log => "log",
            Cause::DurableLag => "durable_lag",
            Cause::StreamLag => "stream_lag",
            Cause::StreamBytes => "stream_bytes",
            Cause::WriteStall => "write_stall",
            Cause::Level0 => "level0",
            Cause::Compaction => "compaction",
            Cause::Disk => "disk",
            Cause::Other => "other",
        }
    }

    /// Whether it is one node's own trouble: what the log waits for, everybody waits for.
    const fn is_of_one_node(self) -> bool {
        match self {
            Cause::Log | Cause::DurableLag | Cause::Other => false,
            Cause::StreamLag
            | Cause::StreamBytes
            | Cause::WriteStall
            | Cause::Level0
            | Cause::Compaction
            | Cause::Disk => true,
        }
    }

    /// What an operator should do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Cause::Log | Cause::DurableLag => {
                "see which replica is behind (assize shards list, metric shard_durable_lag_entries): start its node, or \
                 relieve its disk; a replica that stays away is given up after cluster.uncount_after_seconds"
            }
            Cause::StreamLag | Cause::StreamBytes => {
                "the replicas of this node apply more slowly than transactions commit: look at its disk and processor, \
                 move replicas to another node (assize shards move), or send fewer writes"
            }
            Cause::WriteStall | Cause::Level0 | Cause::Compaction => {
                "the disk of this node is too slow for the writes: wait until RocksDB has compacted, move replicas to \
                 another node (assize shards move), or send fewer writes"
            }
            Cause::Disk => {
                "enlarge the disk, purge the recycle bin (SHOW DROPPED), or move replicas to another node (assize \
                 shards move); if this node leads, others take writes again as soon as one with room does: assize \
                 members transfer N"
            }
            Cause::Other => "ask that node: it runs a later release than this one",
        }
    }
}

/// How a node is doing, as measured at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Bytes of log entries that cannot be forgotten, because a replica that counts has not persisted them.
    pub log_bytes: u64,
    /// Entries by which the replica that has persisted least of all that count is behind the log.
    pub durable_lag: u64,
    /// Entries by which the slowest replica of this node is behind the log in applying.
    pub stream_lag: u64,
    /// What those entries hold, in bytes of the log.
    pub stream_lag_bytes: u64,
    /// Whether RocksDB slows writes down or has stopped them.
    pub is_stalled: bool,
    /// Files in the first level of the fullest family.
    pub level0_files: u64,
    /// Bytes that RocksDB has to rewrite before it has caught up, by its own estimate.
    pub compaction_bytes: u64,
    /// Bytes free on the data disk; `None`: unknown, or there is no disk.
    pub disk_free_bytes: Option<u64>,
}

/// What figures may be. 0 switches a bound off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// New transactions are shed while the log holds more bytes than this that some replica has not persisted. Below
    /// `adjudicator.retained_bytes_max`, beyond which commits are refused, too. 0: never.
    pub log_bytes_max: u64,
    /// … while a replica that counts is behind by more log entries than this in persisting. 0: never.
    pub durable_lag_entries_max: u64,
    /// … while a replica is behind by more log entries than this in applying. 0: never.
    pub stream_lag_entries_max: u64,
    /// … while a replica is behind by more bytes of the log than this in applying. 0: never.
    pub stream_lag_bytes_max: u64,
    /// … while a family of RocksDB has more flushed files than this that are not compacted. 0: never.
    pub level0_files_max: u64,
    /// … while RocksDB has more bytes than this to compact. 0: never.
    pub compaction_bytes_max: u64,
    /// … while RocksDB itself holds writes up, and has done so for ten looks in a row (five seconds).
    pub write_stall: bool,
    /// … while the data disk has fewer bytes free than this. 0: never.
    pub disk_free_bytes_min: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            log_bytes_max: 3 << 30,
            durable_lag_entries_max: 500_000,
            stream_lag_entries_max: 200_000,
            stream_lag_bytes_max: 256 << 20,
            level0_files_max: 32,
            compaction_bytes_max: 32 << 30,
            write_stall: true,
            disk_free_bytes_min: 256 << 20,
        }
    }
}

/// A figure that is beyond its bound, or was and has not come back far enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Strain {
    /// What is behind.
    pub cause: Cause,
    /// The figure.
    pub figure: u64,
    /// Its bound.
    pub bound: u64,
}

impl fmt::Display for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Strain { figure, bound, .. } = *self;
        let (size, limit) = (Bytes(figure), Bytes(bound));
        match self.cause {
            Cause::Log => {
                write!(f, "the log holds {size} that replicas have not persisted (soft bound {limit})")
            }
            Cause::DurableLag => write!(
                f,
                "a replica is {figure} log entries behind in persisting (soft bound {bound} entries)"
            ),
            Cause::StreamLag => {
                write!(f, "a replica is {figure} log entries behind in applying (soft bound {bound} entries)")
            }
            Cause::StreamBytes => {
                write!(f, "a replica is {size} of the log behind in applying (soft bound {limit})")
            }
            Cause::WriteStall => f.write_str("RocksDB holds writes up"),
            Cause::Level0 => {
                write!(f, "RocksDB has {figure} flushed files to compact (soft bound {bound} files)")
            }
            Cause::Compaction => write!(f, "RocksDB has {size} to compact (soft bound {limit})"),
            Cause::Disk => write!(f, "{size} are free on the data disk (soft bound {limit})"),
            Cause::Other => write!(f, "something is at {figure} (soft bound {bound})"),
        }
    }
}

/// Bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |shift: u32| self.0 as f64 / (1u64 << shift) as f64;
        match self.0 {
            0..0x400 => write!(f, "{} bytes", self.0),
            0x400..0x10_0000 => write!(f, "{:.1} KiB", unit(10)),
            0x10_0000..0x4000_0000 => write!(f, "{:.1} MiB", unit(20)),
            _ => write!(f, "{:.1} GiB", unit(30)),
        }
    }
}

/// Looks in a row at which RocksDB must hold writes up before that is a strain.
const STALLED_LOOKS: u32 = 10;

/// Decides whether a node asks for new transactions to be shed.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    /// The causes for which it asks now, in the order of [`Cause`].
    strained: Vec<Cause>,
    /// At how many looks in a row RocksDB has held writes up.
    stalled_looks: u32,
}

impl Gauge {
    /// Looks at new figures: what is strained now. A strain ends once its figure is a quarter of the bound below it; the
    /// free disk, a quarter above.
    pub fn step(&mut self, figures: &Figures, bounds: &Bounds) -> Vec<Strain> {
        let most = [
            (Cause::Log, figures.log_bytes, bounds.log_bytes_max),
            (Cause::DurableLag, figures.durable_lag, bounds.durable_lag_entries_max),
            (Cause::StreamLag, figures.stream_lag, bounds.stream_lag_entries_max),
            (Cause::StreamBytes, figures.stream_lag_bytes, bounds.stream_lag_bytes_max),
            (Cause::Level0, figures.level0_files, bounds.level0_files_max),
            (Cause::Compaction, figures.compaction_bytes, bounds.compaction_bytes_max),
        ];
        let mut strains: Vec<Strain> = Vec::new();
        for (cause, figure, bound) in most {
            let back = bound - bound / 4;
            let limit = if self.strained.contains(&cause) { back } else { bound };
            if bound > 0 && figure > limit {
                strains.push(Strain { cause, figure, bound });
            }
        }
        self.stalled_looks = if figures.is_stalled { self.stalled_looks.saturating_add(1) } else { 0 };
        if bounds.write_stall && self.stalled_looks >= STALLED_LOOKS {
            let (figure, bound) = (self.stalled_looks.into(), STALLED_LOOKS.into());
            strains.push(Strain { cause: Cause::WriteStall, figure, bound });
        }
        if let Some(figure) = figures.disk_free_bytes {
            let (cause, bound) = (Cause::Disk, bounds.disk_free_bytes_min);
            let back = bound.saturating_add(bound / 4);
            let limit = if self.strained.contains(&cause) { back } else { bound };
            if figure < limit {
                strains.push(Strain { cause, figure, bound });
            }
        }
        strains.sort_by_key(|strain| strain.cause);
        self.strained = strains.iter().map(|strain| strain.cause).collect();
        strains
    }
}

/// What one node tells the others of its work.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodePressure {
    /// The last log entry that its adjudicator has applied; 0 if it has none.
    pub applied_index: u64,
    /// Bytes of the entries that its adjudicator has applied since its process began.
    pub applied_bytes: u64,
    /// Whether its adjudicator leads; `None` from a release that does not say.
    pub leads: Option<bool>,
    /// What it is behind with.
    pub strains: Vec<Strain>,
}

/// Of which strains a node takes account that has heard these of itself and of others: the first is the reason that clients
/// are told. `groups` are nodes of which a majority is needed: the voters, and the replicas of each shard.
///
/// A node that is strained itself takes no new writes, and nobody does while the leader is strained, or so many of a group
/// are strained or have not been heard that the others are no majority: then the strained ones are needed. A smaller part of
/// them must not hold the cluster up: it falls behind, or stops when its disk is full, and comes back. What then piles up in
/// the log has bounds of its own. A node that may be the leader counts as the leader.
pub fn reasons_to_shed(
    own: NodeId,
    told: &BTreeMap<NodeId, NodePressure>,
    groups: &[BTreeSet<NodeId>],
) -> Vec<(NodeId, Strain)> {
    let is_well = |node: &NodeId| {
        told.get(node).is_some_and(|p| !p.strains.iter().any(|strain| strain.cause.is_of_one_node()))
    };
    let lacks_majority = |group: &BTreeSet<NodeId>| {
        let well = group.iter().filter(|node| is_well(node)).count();
        well <= group.len() / 2
    };
    let decisive: BTreeSet<NodeId> = groups.iter().filter(|g| lacks_majority(g)).flatten().copied().collect();
    let counts = |node: NodeId, leads: bool, strain: &Strain| {
        !strain.cause.is_of_one_node() || node == own || leads || decisive.contains(&node)
    };
    let strains = told.iter().flat_map(|(node, pressure)| {
        pressure.strains.iter().map(move |strain| (*node, pressure.leads != Some(false), *strain))
    });
    let mut reasons: Vec<(NodeId, Strain)> = strains
        .filter(|(node, leads, strain)| counts(*node, *leads, strain))
        .map(|(node, _, strain)| (node, strain))
        .collect();
    reasons.sort_by_key(|(node, _)| *node != own);
    reasons
}

/// Looks at the log that are remembered: ten minutes of them.
const LOOKS_MAX: usize = 1200;

/// How many bytes lie between two entries of the log, by looks at how many had been written when it had reached an entry.
#[derive(Clone, Debug, Default)]
pub struct LogSizes {
    /// Entries and bytes, both rising.
    looks: VecDeque<(u64, u64)>,
}

impl LogSizes {
    /// At this entry so many bytes had been written. Whoever counts them began anew if they are fewer than before.
    pub fn look(&mut self, index: u64, bytes: u64) {
        match self.looks.back() {
            Some((last, before)) if index < *last || bytes < *before => self.looks.clear(),
            Some((last, _)) if index == *last => return,
            _ => {}
        }
        self.looks.push_back((index, bytes));
        if self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
    }

    /// Bytes after an entry, up to the last look. What lies before the first look counts as what came after it on average.
    pub fn bytes_after(&self, index: u64) -> u64 {
        let (Some((first, first_bytes)), Some((last, last_bytes))) = (self.looks.front(), self.looks.back())
        else {
            return 0;
        };
        if index >= *last {
            return 0;
        }
        if index < *first {
            let each = (last_bytes - first_bytes).checked_div(last - first).unwrap_or(0);
            return (last_bytes - first_bytes).saturating_add(each.saturating_mul(first - index));
        }
        let next = self.looks.partition_point(|(seen, _)| *seen <= index);
        let ((low, low_bytes), (high, high_bytes)) = (self.looks[next - 1], self.looks[next]);
        let part = u128::from(high_bytes - low_bytes) * u128::from(index - low) / u128::from(high - low);
        last_bytes - low_bytes - part as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            log_bytes_max: 1000,
            durable_lag_entries_max: 100,
            stream_lag_entries_max: 100,
            stream_lag_bytes_max: 1 << 20,
            level0_files_max: 20,
            compaction_bytes_max: 1 << 20,
            write_stall: true,
            disk_free_bytes_min: 1000,
        }
    }

    fn causes(gauge: &mut Gauge, figures: Figures) -> Vec<Cause> {
        gauge.step(&figures, &bounds()).into_iter().map(|strain| strain.cause).collect()
    }

    #[test]
    fn every_figure_beyond_its_bound_is_a_strain_and_says_so() {
        let within = Figures {
            log_bytes: 1000,
            durable_lag: 100,
            stream_lag: 100,
            stream_lag_bytes: 1 << 20,
            is_stalled: false,
            level0_files: 20,
            compaction_bytes: 1 << 20,
            disk_free_bytes: Some(1000),
        };
        assert_eq!(causes(&mut Gauge::default(), within), []);
        let beyond = Figures {
            log_bytes: 1001,
            durable_lag: 101,
            stream_lag: 101,
            stream_lag_bytes: (1 << 20) + 1,
            is_stalled: true,
            level0_files: 21,
            compaction_bytes: (1 << 20) + 1,
            disk_free_bytes: Some(999),
        };
        let mut gauge = Gauge { stalled_looks: STALLED_LOOKS, ..Gauge::default() };
        assert_eq!(causes(&mut gauge, beyond), Cause::ALL[..8]);
        let texts: Vec<String> = gauge.step(&beyond, &bounds()).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "the log holds 1001 bytes that replicas have not persisted (soft bound 1000 bytes)",
                "a replica is 101 log entries behind in persisting (soft bound 100 entries)",
                "a replica is 101 log entries behind in applying (soft bound 100 entries)",
                "a replica is 1.0 MiB of the log behind in applying (soft bound 1.0 MiB)",
                "RocksDB holds writes up",
                "RocksDB has 21 flushed files to compact (soft bound 20 files)",
                "RocksDB has 1.0 MiB to compact (soft bound 1.0 MiB)",
                "999 bytes are free on the data disk (soft bound 1000 bytes)",
            ]
        );
    }

    #[test]
    fn a_strain_ends_only_when_its_figure_has_come_a_good_way_back() {
        let mut gauge = Gauge::default();
        let mut log = |log_bytes| !causes(&mut gauge, Figures { log_bytes, ..Figures::default() }).is_empty();
        // Up, down a little, and back: no flapping on either side.
        let told = [900, 1000, 1001, 1000, 999, 751, 1001, 751, 750, 751, 1000, 1001].map(&mut log);
        let expected = [false, false, true, true, true, true, true, true, false, false, false, true];
        assert_eq!(told, expected);

        let mut gauge = Gauge::default();
        let mut disk = |free| {
            let figures = Figures { disk_free_bytes: Some(free), ..Figures::default() };
            !causes(&mut gauge, figures).is_empty()
        };
        assert_eq!([1000, 999, 1249, 1250, 1000].map(&mut disk), [false, true, true, false, false]);
    }

    #[test]
    fn a_moment_in_which_writes_are_held_up_is_no_strain() {
        let mut gauge = Gauge::default();
        let mut look = |is_stalled| causes(&mut gauge, Figures { is_stalled, ..Figures::default() });
        for _ in 0..3 {
            assert!((1..STALLED_LOOKS).all(|_| look(true).is_empty()));
            assert_eq!(look(false), []);
        }
        assert!((1..STALLED_LOOKS).all(|_| look(true).is_empty()));
        assert_eq!(look(true), [Cause::WriteStall]);
        assert_eq!(look(false), []);
    }

    #[test]
    fn a_bound_that_is_switched_off_strains_nobody() {
        let off = Bounds {
            log_bytes_max: 0,
            durable_lag_entries_max: 0,
            stream_lag_entries_max: 0,
            stream_lag_bytes_max: 0,
            level0_files_max: 0,
            compaction_bytes_max: 0,
            write_stall: false,
            disk_free_bytes_min: 0,
        };
        let worst = Figures {
            log_bytes: u64::MAX,
            durable_lag: u64::MAX,
            stream_lag: u64::MAX,
            stream_lag_bytes: u64::MAX,
            is_stalled: true,
            level0_files: u64::MAX,
            compaction_bytes: u64::MAX,
            disk_free_bytes: Some(0),
        };
        let mut gauge = Gauge { stalled_looks: STALLED_LOOKS, ..Gauge::default() };
        assert!(gauge.step(&worst, &off).is_empty());
        assert_eq!(causes(&mut Gauge::default(), Figures::default()), [], "no disk is no full disk");
    }

    #[test]
    fn bytes_between_entries_are_known_as_exactly_as_it_was_looked() {
        let mut sizes = LogSizes::default();
        assert_eq!(sizes.bytes_after(0), 0);
        sizes.look(10, 1_000);
        assert_eq!((sizes.bytes_after(10), sizes.bytes_after(4)), (0, 0), "one look says nothing");
        sizes.look(10, 1_000);
        sizes.look(20, 2_000);
        sizes.look(30, 10_000);
        let after = |index| sizes.bytes_after(index);
        assert_eq!([30, 31].map(after), [0, 0]);
        assert_eq!([29, 20, 15, 10].map(after), [800, 8_000, 8_500, 9_000]);
        assert_eq!(after(0), 9_000 + 10 * 450, "on average");
        // The process that counts was started again.
        sizes.look(40, 50);
        assert_eq!(sizes.bytes_after(20), 0);
        sizes.look(41, 60);
        assert_eq!(sizes.bytes_after(40), 10);
        for index in 0..2 * LOOKS_MAX as u64 {
            sizes.look(100 + index, 1_000 + index);
        }
        assert_eq!(sizes.looks.len(), LOOKS_MAX);
    }

    /// Nodes 1 to 3 vote, and hold shard 1 with 3 replicas; shard 2 has one replica, on node 4; node 5 is a frontend.
    fn reasons(own: u64, leader: u64, strained: &[(u64, Cause)]) -> Vec<(u64, Cause)> {
        reasons_by(own, &told(leader, strained))
    }

    fn told(leader: u64, strained: &[(u64, Cause)]) -> BTreeMap<NodeId, NodePressure> {
        let calm = |leads| NodePressure { leads: Some(leads), ..NodePressure::default() };
        let mut told: BTreeMap<NodeId, NodePressure> =
            (1..=5).map(|node| (NodeId(node), calm(node == leader))).collect();
        for (node, cause) in strained {
            let strain = Strain { cause: *cause, figure: 2, bound: 1 };
            told.get_mut(&NodeId(*node)).unwrap().strains.push(strain);
        }
        told
    }

    fn reasons_by(own: u64, told: &BTreeMap<NodeId, NodePressure>) -> Vec<(u64, Cause)> {
        let group = |nodes: &[u64]| nodes.iter().map(|node| NodeId(*node)).collect();
        let groups = [group(&[1, 2, 3]), group(&[4])];
        let reasons = reasons_to_shed(NodeId(own), told, &groups);
        reasons.into_iter().map(|(node, strain)| (node.0, strain.cause)).collect()
    }

    #[test]
    fn nobody_relies_on_a_node_that_is_not_heard() {
        let full = [(3, Cause::Disk)];
        let mut told = told(1, &full);
        told.remove(&NodeId(2));
        assert_eq!(reasons_by(1, &told), full, "the leader needs it");
        assert_eq!(reasons_by(5, &told), full);
        told.get_mut(&NodeId(3)).unwrap().strains.clear();
        assert_eq!(reasons_by(1, &told), [], "silence alone is no strain");
        // Alone, before it has learnt of any other.
        let alone = BTreeMap::from([(NodeId(1), NodePressure::default())]);
        assert_eq!(reasons_by(1, &alone), []);
    }

    #[test]
    fn a_node_that_does_not_say_whether_it_leads_may_do_so() {
        let full = [(3, Cause::Disk)];
        let mut told = told(1, &full);
        assert_eq!(reasons_by(1, &told), []);
        let said = told.get_mut(&NodeId(3)).unwrap();
        let mut older = serde_json::to_value(&*said).unwrap();
        assert_eq!(older["leads"], false, "what older releases read");
        older.as_object_mut().unwrap().remove("leads");
        *said = serde_json::from_value(older).unwrap();
        assert_eq!(reasons_by(1, &told), full);
    }

    #[test]
    fn a_minority_that_is_strained_holds_up_nobody_but_itself() {
        let full = [(3, Cause::Disk)];
        assert_eq!(reasons(1, 1, &full), []);
        assert_eq!(reasons(5, 1, &full), []);
        assert_eq!(reasons(3, 1, &full), full, "it takes no new writes itself");
        assert_eq!(reasons(1, 3, &full), full, "who leads has to write everything");
        assert_eq!(reasons(2, 1, &[(3, Cause::Compaction)]), []);
        let two = [(2, Cause::StreamLag), (3, Cause::Disk)];
        assert_eq!(reasons(1, 1, &two), two, "the others are no majority");
        assert_eq!(reasons(5, 1, &[(4, Cause::Disk)]), [(4, Cause::Disk)], "nobody else has the shard");
        assert_eq!(reasons(3, 1, &two), [(3, Cause::Disk), (2, Cause::StreamLag)], "its own comes first");
    }

    #[test]
    fn what_the_log_waits_for_everybody_waits_for() {
        for cause in [Cause::Log, Cause::DurableLag, Cause::Other] {
            assert_eq!(reasons(1, 1, &[(3, cause)]), [(3, cause)]);
            assert_eq!(reasons(1, 1, &[(2, Cause::Disk), (3, cause)]), [(3, cause)]);
        }
    }

    #[test]
    fn a_cause_of_a_later_release_can_be_read() {
        let told: Strain = serde_json::from_str(r#"{"cause":"tides","figure":3,"bound":2}"#).unwrap();
        assert_eq!(told.to_string(), "something is at 3 (soft bound 2)");
        let own = Strain { cause: Cause::Level0, figure: 3, bound: 2 };
        assert_eq!(serde_json::from_str::<Strain>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
    }
}
