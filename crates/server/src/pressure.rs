//! Measures how far this node is behind with its work, hears it of the others, and turns the frontend's switch.
//!
//! ```text
//!   adjudicator, replicas, RocksDB, disk ─▶ Figures ─▶ Gauge ─▶ strains of this node ─┬─▶ Question::Pressure of others
//!   other nodes: Question::Pressure ─────────────────────────────────▶ their strains ─┴─▶ Shedding (frontend)
//! ```

use crate::metrics;
use crate::operator::Operator;
use assize_model::NodeId;
use assize_ports::{
    Bounds, Cause, Figures, Gauge, LogSizes, NodePressure, NodeRecord, Strain, reasons_to_shed,
};
use assize_shards::embedded::ShardHost;
use assize_shards::wire::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a node measures itself and asks the others.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks who the others are.
const NODES_INTERVAL: Duration = Duration::from_secs(10);
/// What a node has said counts for so long when it does not answer: one that is busy must not make the switch flap.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Between two times that its replicas are told to persist what they have applied, while the log waits for that.
const PERSIST_INTERVAL: Duration = Duration::from_secs(2);
/// Copies hurry once the log has this part of what it may hold before transactions are shed.
const HURRY_AT: u64 = 4;

/// What the node has measured last, for whoever asks.
#[derive(Default)]
pub struct Measured {
    pressure: Mutex<NodePressure>,
}

impl Measured {
    /// What the node tells of itself.
    pub fn get(&self) -> NodePressure {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, pressure: NodePressure) {
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = pressure;
    }
}

/// Measures and asks until the node stops.
pub async fn keep(operator: Operator, bounds: Bounds, stopped: impl Future<Output = ()>) {
    let keeper = Keeper::new(operator);
    tokio::select! {
        () = stopped => {}
        // Measuring does not wait for nodes that are silent.
        () = keeper.keep_measuring(&bounds) => {}
        () = keeper.keep_asking() => {}
    }
}

struct Keeper {
    operator: Operator,
    /// Until a while after this nobody has had to answer.
    began: Instant,
    /// What other nodes have said last, and when.
    others: Mutex<BTreeMap<NodeId, (NodePressure, Instant)>>,
    /// Nodes of which a majority is needed: the voters, and the replicas of each shard.
    groups: Mutex<Vec<BTreeSet<NodeId>>>,
    /// The log as a node's adjudicator has counted it: this one's own if it has one.
    log: Mutex<(Option<NodeId>, LogSizes)>,
}

impl Keeper {
    fn new(operator: Operator) -> Keeper {
        let (others, groups, log) = (Mutex::default(), Mutex::default(), Mutex::default());
        Keeper { operator, began: Instant::now(), others, groups, log }
    }

    async fn keep_measuring(&self, bounds: &Bounds) {
        let (mut gauge, mut persisted) = (Gauge::default(), None::<Instant>);
        loop {
            self.measure(&mut gauge, bounds);
            if persisted.is_none_or(|persisted| persisted.elapsed() >= PERSIST_INTERVAL) && self.log_waits() {
                self.persist();
                persisted = Some(Instant::now());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Whether any node asks for new transactions to be shed because replicas have not persisted enough.
    fn log_waits(&self) -> bool {
        let waits = |pressure: &NodePressure| {
            pressure.strains.iter().any(|strain| matches!(strain.cause, Cause::Log | Cause::DurableLag))
        };
        waits(&self.measured()) || self.others().values().any(|(pressure, _)| waits(pressure))
    }

    /// Has this node's replicas persist what they have applied, though little of it may be worth it: a replica to which
    /// nothing new comes persists nothing by itself, and while transactions are shed nothing new comes.
    fn persist(&self) {
        for resident in self.operator.local.host.get().map(ShardHost::residents).unwrap_or_default() {
            resident.begin_flush();
        }
    }

    /// Who does not answer for long strains nobody, and is nobody to rely on: what is missing of it shows in the log of those
    /// who do.
    async fn keep_asking(&self) {
        if self.operator.peers.is_none() {
            return std::future::pending().await;
        }
        let (mut nodes, mut asked) = (Vec::new(), None::<Instant>);
        loop {
            if asked.is_none_or(|asked| asked.elapsed() >= NODES_INTERVAL) {
                let (known, is_new) = self.look_who_is_there().await;
                nodes = known;
                asked = is_new.then(Instant::now);
            }
            let heard = self.operator.pressures(&nodes).await;
            let now = Instant::now();
            {
                let mut others = self.others();
                others.extend(heard.into_iter().map(|(node, pressure)| (node, (pressure, now))));
                others.retain(|_, (_, heard)| now.duration_since(*heard) < REMEMBERED);
            }
            self.turn();
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The nodes, and whether a leader has told of them. Otherwise that is what this node knew last, which may be nobody, and
    /// it is worth looking again soon.
    async fn look_who_is_there(&self) -> (Vec<NodeRecord>, bool) {
        let is_new = !self.operator.local.is_cut_off();
        // It never fails: without a leader it says what is known.
        let nodes = self.operator.nodes().await.unwrap_or_default();
        self.learn_groups(&nodes).await;
        (nodes, is_new)
    }

    /// Learns of which nodes a majority is needed.
    async fn learn_groups(&self, nodes: &[NodeRecord]) {
        let Ok(placement) = self.operator.newest_placement().await else { return };
        let voters = match self.operator.local.adjudicator.get() {
            Some(adjudicator) => adjudicator.status().voters.into_iter().collect(),
            None => {
                let votes = |record: &&NodeRecord| record.roles.iter().any(|role| role == "adjudicator");
                nodes.iter().filter(votes).map(|record| record.node).collect()
            }
        };
        let mut groups: BTreeSet<BTreeSet<NodeId>> = BTreeSet::from([voters]);
        groups.extend(placement.shards.values().map(|part| part.replicas.values().copied().collect()));
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups.into_iter().collect();
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<NodeId, (NodePressure, Instant)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures this node, tells the gauges, and turns the switch.
    fn measure(&self, gauge: &mut Gauge, bounds: &Bounds) {
        let heard = self.others().values().map(|(pressure, _)| pressure.applied_index).max().unwrap_or(0);
        let (applied_index, applied_bytes) = self.look_at_the_log();
        let figures = self.figures(applied_index, heard);
        if let Some(host) = self.operator.local.host.get() {
            host.hurry(self.is_log_long(&figures, bounds));
        }
        let before: Vec<Cause> = self.measured().strains.iter().map(|strain| strain.cause).collect();
        let strains = gauge.step(&figures, bounds);
        for strain in strains.iter().filter(|strain| !before.contains(&strain.cause)) {
            tracing::warn!(%strain, advice = strain.cause.advice(), "the node takes no new transactions that write");
        }
        for cause in Cause::ALL {
            let is_strained = strains.iter().any(|strain| strain.cause == cause);
            if before.contains(&cause) && !is_strained {
                tracing::info!(cause = cause.label(), "this is no reason any more to shed transactions");
            }
            let told = ::metrics::gauge!(metrics::PROCESS_STRAINED, "reason" => cause.label());
            told.set(f64::from(u8::from(is_strained)));
        }
        let leads = self.operator.local.leader() == Some(self.operator.local.node);
        self.operator.local.pressure.set(NodePressure {
            applied_index,
            applied_bytes,
            leads: Some(leads),
            strains,
        });
        self.turn();
    }

    /// Whether the log gets so long that what is still being copied had better be done soon: the log is kept for it. Nodes
    /// without an adjudicator hear of it when others are strained.
    fn is_log_long(&self, figures: &Figures, bounds: &Bounds) -> bool {
        let is_long = |is: u64, most: u64| most > 0 && is > most / HURRY_AT;
        is_long(figures.log_bytes, bounds.log_bytes_max)
            || is_long(figures.durable_lag, bounds.durable_lag_entries_max)
            || self.log_waits()
    }

    fn measured(&self) -> NodePressure {
        self.operator.local.pressure.get()
    }

    /// Turns the frontend's switch: on, if this node is strained, or more nodes than the cluster can do without.
    fn turn(&self) {
        let Some(frontend) = self.operator.local.frontend.get() else { return };
        let own = self.operator.local.node;
        let mut told: BTreeMap<NodeId, NodePressure> =
            self.others().iter().map(|(node, (pressure, _))| (*node, pressure.clone())).collect();
        told.insert(own, self.measured());
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.began.elapsed() < REMEMBERED {
            // Who has not been heard yet has hardly been asked.
            for node in groups.iter().flatten() {
                told.entry(*node).or_default();
            }
        }
        let strained: Vec<(NodeId, Strain)> = reasons_to_shed(own, &told, &groups);
        let why = strained.first().map(|(node, strain)| {
            let others = match strained.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            (strain.cause, format!("node {}: {strain}{others}", node.0))
        });
        frontend.shedding().turn(why);
    }

    /// The last entry that this node's adjudicator has applied and the bytes up to it, both 0 if it has none. Then what
    /// another node has counted is looked at, the same one as long as it answers.
    fn look_at_the_log(&self) -> (u64, u64) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(adjudicator) = self.operator.local.adjudicator.get() {
            let stats = adjudicator.stats();
            log.1.look(stats.applied.0, stats.applied_bytes);
            return (stats.applied.0, stats.applied_bytes);
        }
        let others = self.others();
        let counted = others.iter().filter(|(_, (pressure, _))| pressure.applied_bytes > 0);
        let known = log.0;
        let source = counted.max_by_key(|(node, (p, _))| (Some(**node) == known, p.applied_index));
        if let Some((node, (pressure, _))) = source {
            if known != Some(*node) {
                *log = (Some(*node), LogSizes::default());
            }
            log.1.look(pressure.applied_index, pressure.applied_bytes);
        }
        (0, 0)
    }

    /// How the node is doing. `own` is the last entry that its adjudicator has applied, `heard` the last one that any other
    /// node has.
    fn figures(&self, own: u64, heard: u64) -> Figures {
        let local = &self.operator.local;
        let mut figures = Figures { disk_free_bytes: local.disk_free(), ..Figures::default() };
        let mut durable = BTreeMap::new();
        if let Some(adjudicator) = local.adjudicator.get() {
            let stats = adjudicator.stats();
            figures.log_bytes = stats.retained_bytes;
            for (shard, standing) in adjudicator.durable_positions() {
                if standing.counts {
                    figures.durable_lag = figures.durable_lag.max(own.saturating_sub(standing.durable.0));
                }
                durable.insert((shard, standing.replica), standing.durable);
            }
            ::metrics::gauge!(metrics::ADJUDICATOR_LOG_BYTES).set(stats.retained_bytes as f64);
            ::metrics::gauge!(metrics::ADJUDICATOR_LOG_ENTRIES).set(stats.log_entries as f64);
        }
        let newest = own.max(heard);
        let Some(host) = local.host.get() else { return figures };
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for resident in host.residents() {
            let (id, status) = (resident.id(), resident.status());
            let shard = id.0.to_string();
            let behind = newest.saturating_sub(status.position.index.0);
            ::metrics::gauge!(metrics::SHARD_STREAM_LAG_ENTRIES, "shard" => shard.clone()).set(behind as f64);
            let behind_bytes = log.1.bytes_after(status.position.index.0);
            ::metrics::gauge!(metrics::SHARD_STREAM_LAG_BYTES, "shard" => shard.clone())
                .set(behind_bytes as f64);
            let persisted = durable.get(&(id, status.replica)).copied().unwrap_or(status.durable);
            let unpersisted = newest.saturating_sub(persisted.0);
            ::metrics::gauge!(metrics::SHARD_DURABLE_LAG_ENTRIES, "shard" => shard.clone())
                .set(unpersisted as f64);
            let unpersisted_bytes = log.1.bytes_after(persisted.0);
            ::metrics::gauge!(metrics::SHARD_DURABLE_LAG_BYTES, "shard" => shard)
                .set(unpersisted_bytes as f64);
            // One that still copies is behind by its nature, and nobody waits for it.
            if status.phase == Phase::Following {
                figures.stream_lag = figures.stream_lag.max(behind);
                figures.stream_lag_bytes = figures.stream_lag_bytes.max(behind_bytes);
            }
        }
        let backlog = host.backlog();
        figures.compaction_bytes = backlog.compaction_bytes;
        figures.level0_files = backlog.level0_files;
        figures.is_stalled = backlog.is_stalled;
        ::metrics::gauge!(metrics::SHARD_COMPACTION_PENDING_BYTES).set(backlog.compaction_bytes as f64);
        ::metrics::gauge!(metrics::SHARD_LEVEL0_FILES).set(backlog.level0_files as f64);
        ::metrics::gauge!(metrics::SHARD_WRITES_STALLED).set(f64::from(u8::from(backlog.is_stalled)));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acquaintances::tests::record;
    use crate::operator::{Facts, LEADERLESS_MAX, Local};
    use assize_consensus::{Adjudicator, Options};
    use assize_model::Placement;
    use std::sync::Arc;

    /// A frontend whose leader has the placement, and no list of nodes yet.
    async fn keeper() -> Keeper {
        let facts = Facts {
            record: record(9, "", "frontend"),
            config: Vec::new(),
            founders: BTreeSet::new(),
            token: None,
            data: None,
            replicas_wanted: 3,
            replicas_founded: 1,
            started: Instant::now(),
        };
        let local = Local::new(facts, None);
        let options = Options::new(NodeId(1), Placement::even(1, NodeId(4)));
        let leader = Arc::new(Adjudicator::open(None, options, None).await.unwrap());
        let operator =
            Operator { local, adjudicator: leader.clone(), source: leader, peers: None, diary: None };
        Keeper::new(operator)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_without_a_leader_knows_whom_it_needs_and_looks_again_soon() {
        let keeper = keeper().await;
        let (nodes, is_new) = keeper.look_who_is_there().await;
        assert!(!is_new && nodes.len() == 1, "nobody has told it anything: {nodes:?}");
        let voter = record(1, "", "adjudicator");
        let leader = keeper.operator.adjudicator.clone();
        keeper.operator.local.told.keep_nodes(std::slice::from_ref(&voter));
        keeper.operator.local.told.keep_placement(&leader.placement().await.unwrap());
        keeper.operator.local.told.fall_silent(LEADERLESS_MAX * 2);
        let (nodes, is_new) = keeper.look_who_is_there().await;
        assert!(!is_new && nodes.contains(&voter), "{nodes:?}");
        let groups = keeper.groups.lock().unwrap().clone();
        assert_eq!(groups, [BTreeSet::from([NodeId(1)]), BTreeSet::from([NodeId(4)])]);
        keeper.operator.local.told.keep_nodes(&[voter]);
        assert!(keeper.look_who_is_there().await.1, "a leader answers");
    }
}
