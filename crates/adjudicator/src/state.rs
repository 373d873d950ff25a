//! The replicated state, and what may be asked of it.

use crate::catalog::{Catalog, CatalogDelta, CatalogObject};
use crate::moves::SlotMove;
use crate::nodes::{NodeEntry, Nodes};
use crate::options::{Options, Rule};
use crate::outcomes::{Frontend, Frontends, Known, Outcomes};
use crate::placement::{ReplicaState, Shards};
use crate::ranges::Ranges;
use crate::timeline::Timeline;
use crate::window::Window;
use assize_model::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a cluster was born with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Nodes of different clusters refuse each other.
    pub cluster: u128,
    /// The seed of key hashes.
    pub hash_seed: u64,
}

/// What a cluster was before it lost its majority and was recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormerCluster {
    /// Its number.
    pub cluster: u128,
    /// The entry with which the present cluster, or the next former one, began.
    pub until: LogIndex,
}

/// What a transaction begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// The timestamp of the last applied batch.
    pub snapshot_ts: Timestamp,
    /// The catalog as of that snapshot.
    pub catalog_version: CatalogVersion,
    /// The placement as of that snapshot.
    pub placement_epoch: Epoch,
}

/// The replicated state machine. See the crate's page.
#[derive(Clone, Debug)]
pub struct Adjudicator {
    pub(crate) options: Options,
    pub(crate) identity: Option<Identity>,
    /// The oldest first.
    pub(crate) former_clusters: Vec<FormerCluster>,
    pub(crate) cluster_version: u32,
    /// The last applied entry.
    pub(crate) applied: LogIndex,
    /// The last entry that had something to say to shards.
    pub(crate) last_stream: LogIndex,
    /// The last timestamp of the last batch, or what was closed since.
    pub(crate) last_ts: Timestamp,
    pub(crate) last_batch: BatchNumber,
    pub(crate) ceiling: Timestamp,
    pub(crate) low_water: Timestamp,
    /// A running hash over all decisions.
    pub(crate) chain: u64,
    pub(crate) window: Window,
    pub(crate) ranges: Ranges,
    pub(crate) timeline: Timeline,
    pub(crate) outcomes: Outcomes,
    pub(crate) frontends: Frontends,
    pub(crate) catalog: Catalog,
    pub(crate) shards: Shards,
    pub(crate) nodes: Nodes,
}

impl Adjudicator {
    /// The state before the first entry.
    pub fn new(options: Options) -> Self {
        Adjudicator {
            options,
            identity: None,
            former_clusters: Vec::new(),
            cluster_version: 1,
            applied: LogIndex(0),
            last_stream: LogIndex(0),
            last_ts: Timestamp::ZERO,
            last_batch: BatchNumber(0),
            ceiling: Timestamp::ZERO,
            low_water: Timestamp::ZERO,
            chain: 0,
            window: Window::new(*crate::window::BUCKETS_LOG2.start()),
            ranges: Ranges::new(0),
            timeline: Timeline::default(),
            outcomes: Outcomes::new(0),
            frontends: Frontends::default(),
            catalog: Catalog::default(),
            shards: Shards::default(),
            nodes: Nodes::default(),
        }
    }

    #[inline]
    pub(crate) fn is_on(&self, rule: Rule) -> bool {
        !self.options.disabled_rules.contains(rule)
    }

    /// What a transaction that begins now begins with. The caller has made sure that this is the leader's state
    /// and not an old one.
    pub fn begin(&self) -> Begin {
        Begin {
            snapshot_ts: self.last_ts,
            catalog_version: self.catalog.version(),
            placement_epoch: self.placement().epoch,
        }
    }

    /// What became of a transaction. The caller has made sure that this is the leader's state and not an old one.
    pub fn outcome(&self, txn: TxnId) -> Known {
        if let Some(decision) = self.outcomes.get(txn) {
            return Known::Decided(decision);
        }
        // Every later batch has a base above `last_ts`, which R1 refuses.
        if self.last_ts >= txn.deadline() {
            return Known::Past;
        }
        let current = self.frontends.epoch(txn.frontend());
        if txn.frontend_epoch() < current {
            // What that life committed is in memory until its deadline, so this is none of it.
            let reason = AbortReason::FrontendFenced { current };
            return Known::Decided(Decision::Abort { reason });
        }
        Known::Undecided
    }

    /// What the cluster was born with; `None` before it was.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// What the cluster was before, the oldest first; empty unless it has lost its majority and was recovered.
    pub fn former_clusters(&self) -> &[FormerCluster] {
        &self.former_clusters
    }

    /// The last applied entry.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Where a stream stands that has been sent everything.
    pub fn position(&self) -> Position {
        Position { index: self.last_stream, closed_ts: self.last_ts }
    }

    /// The number of the last batch.
    pub fn last_batch(&self) -> BatchNumber {
        self.last_batch
    }

    /// The log entry of a recent batch.
    pub fn index_of(&self, batch: BatchNumber) -> Option<LogIndex> {
        self.timeline.index_of(batch)
    }

    /// A leader may close timestamps up to this without the log; the next one starts above it.
    pub fn ceiling(&self) -> Timestamp {
        self.ceiling
    }

    /// No snapshot below this may read or commit.
    pub fn low_water(&self) -> Timestamp {
        self.low_water
    }

    /// The low-water mark for which shards wait that have given slots away; `None` if none does, or if it could not rise so
    /// high yet because the slots have not arrived.
    pub fn low_water_awaited(&self) -> Option<Timestamp> {
        self.shards.low_water_awaited(self.cluster_version)
    }

    /// Whether nothing was closed since slots moved: whoever reads at the newest snapshot may read them where they were.
    pub(crate) fn has_just_moved_slots(&self) -> bool {
        self.shards.may_read_where_it_was(self.begin().snapshot_ts)
    }

    /// The behaviour of `apply` that all nodes have agreed to use.
    pub fn cluster_version(&self) -> u32 {
        self.cluster_version
    }

    /// A running hash over all decisions: equal on every replica at an equal index.
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// The placement.
    pub fn placement(&self) -> &Placement {
        self.shards.placement()
    }

    /// Every node and what it is.
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeEntry> {
        self.nodes.entries()
    }

    /// The nodes that are to give up their shard replicas.
    pub fn draining(&self) -> &BTreeSet<NodeId> {
        self.nodes.draining()
    }

    /// The entry with which a shard was last recovered from the replicas that were left; 0 if it never was. Of commits that were
    /// decided up to it nobody may have the writes any more.
    pub fn recovered_at(&self, shard: ShardId) -> LogIndex {
        self.shards.recovered().get(&shard).copied().unwrap_or_default()
    }

    /// Every registered replica and how it stands.
    pub fn replicas(&self) -> &BTreeMap<(ShardId, ReplicaId), ReplicaState> {
        self.shards.replicas()
    }

    /// Slots that have moved and may still be read where they were, the oldest move first. A shard is not removed while
    /// one of its own is among them.
    pub fn slot_moves(&self) -> impl Iterator<Item = &SlotMove> {
        self.shards.moves().iter()
    }

    /// Log entries above this are still needed by some replica that counts; `None` if there are no replicas.
    pub fn retained_from(&self) -> Option<LogIndex> {
        self.shards.retained_from()
    }

    /// Every replica of the shard that counts is durable to here: intents decided at or before it may go.
    pub fn durable_everywhere(&self, shard: ShardId) -> Option<Position> {
        self.shards.durable_everywhere(shard)
    }

    /// All frontends that ever lived.
    pub fn frontends(&self) -> impl Iterator<Item = (FrontendId, &Frontend)> {
        self.frontends.iter()
    }

    /// The current life of a frontend; 0 if it never had one.
    pub fn frontend_epoch(&self, frontend: FrontendId) -> FrontendEpoch {
        self.frontends.epoch(frontend)
    }

    /// How many outcomes are held in memory.
    pub fn outcomes_held(&self) -> usize {
        self.outcomes.len()
    }

    /// The catalog's version.
    pub fn catalog_version(&self) -> CatalogVersion {
        self.catalog.version()
    }

    /// An object of the catalog.
    pub fn catalog_object(&self, name: &[u8]) -> Option<CatalogObject> {
        self.catalog.get(name)
    }

    /// What a frontend that knows the catalog at `version` has missed.
    pub fn catalog_since(&self, version: CatalogVersion) -> CatalogDelta {
        self.catalog.since(version)
    }

    /// The oldest version of a table with which a transaction may have planned.
    pub fn fence(&self, table: TableId) -> SchemaVersion {
        self.catalog.fence(table)
    }

    /// The next value of a table's AUTO_INCREMENT counter.
    pub fn counter(&self, table: TableId) -> u64 {
        self.catalog.counter(table)
    }

    /// Whether the table's ranges are tracked: footprints that name it must carry all their written keys in
    /// order, too.
    pub fn tracks_ranges(&self, table: TableId) -> bool {
        self.ranges.tracks(table)
    }

    /// All tables whose ranges are tracked.
    pub fn tracked_tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.ranges.tables()
    }
}
