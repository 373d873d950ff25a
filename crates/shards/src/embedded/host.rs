//! The replicas of one node: opened, made, moved in and moved out while the node runs.
//!
//! ```text
//!   placement ──follow──▶ ShardHost ──┬── replica of shard 1 ── families versions-1, intents-1
//!   Mover ────Request────▶            ├── replica of shard 2 ── …
//!                                     ├── learner of shard 5   (registered, copying, not in the placement yet)
//!                                     └── fledgling of shard 9 (follows shard 2 until it is split)
//! ```
//!
//! Invariants:
//!
//! - A node has at most one replica of a shard.
//! - A replica that finds its directory empty begins at the stream's beginning only if the log still reaches back to it and
//!   waits for this replica, and only after the shard's epoch was raised; otherwise it copies a sibling.
//! - A learner or fledgling of which nobody asks how it is any more was left by a task that ended half-way, and goes.
//! - What has left is gone from the disk, durably, before a new replica of the same shard begins.

use super::damage::{self, Tallies, Tally};
use super::engine::RocksEngine;
use super::registry::{Record, Registry};
use super::replica::{self, Surroundings};
use super::shard::Embedded;
use super::siblings::{Residents, Siblings};
use super::{OpenError, Options, blocking, copy};
use crate::wire::{Phase, ReplicaStatus};
use assize_model::{Epoch, NodeId, Placement, PlacementCommand, ReplicaId, ShardId, Slot};
use assize_ports::{
    DecisionSource, Peers, PlacementError, Replica, ReplicaStanding, ShardAdministration, StreamError,
};
use assize_rocks::{Backlog, RocksError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long the contents of a replica that leaves may wait for a quiet disk.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);
/// How often a node looks whether the placement still says the same of its replicas.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a look at the standings may lag behind an entry before the attempt is given up.
const STANDINGS_TRIES: u32 = 20;
/// The pause between two such looks.
const STANDINGS_PAUSE: Duration = Duration::from_millis(250);
/// Why damaged contents are not given up.
const ALONE: &str = "nothing is given up, as no sibling has said that it has everything";

/// What a node's replicas need of it.
pub struct Around {
    /// The node.
    pub node: NodeId,
    /// Where decision streams come from.
    pub source: Arc<dyn DecisionSource>,
    /// Whoever can change the placement.
    pub administration: Arc<dyn ShardAdministration>,
    /// The other nodes; `None`: there are none.
    pub peers: Option<Arc<dyn Peers>>,
}

/// Why a replica is not where the placement wants it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk refuses.
    #[error(transparent)]
    Store(#[from] RocksError),
    /// The adjudicator cannot be asked, or refuses. Asked again with the next look at the placement.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The standings cannot be had. Likewise.
    #[error(transparent)]
    Standings(#[from] StreamError),
    /// The directory is empty, the shard had contents, and nobody else has them.
    #[error("the contents of {shard} are gone, and it has no other replica")]
    Lost {
        /// Which shard.
        shard: ShardId,
    },
    /// The standings do not mention the replica, or are older than they may be.
    #[error("{shard} {replica} is not in the standings yet")]
    Unknown {
        /// Which shard.
        shard: ShardId,
        /// Which replica.
        replica: ReplicaId,
    },
}

/// The replicas of one node. Clones are handles to the same.
#[derive(Clone)]
pub struct ShardHost {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    around: Surroundings,
    residents: Arc<Residents>,
    placement: watch::Sender<Arc<Placement>>,
    /// When somebody last asked how a replica is that the placement does not know.
    asked: Mutex<BTreeMap<ShardId, Instant>>,
    /// Held while a replica comes or goes.
    moving: tokio::sync::Mutex<()>,
    /// Why a replica has failed, once one has.
    failure: watch::Sender<Option<String>>,
}

impl Inner {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<ShardId, Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A replica can go on no more; the first one is told.
    fn fail(&self, shard: ShardId, why: &str) {
        self.failure.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| format!("{shard} has stopped: {why}"));
            is_first
        });
    }
}

impl ShardHost {
    /// Opens the node's directory (`None`: in memory, gone with the process) and every replica that it holds. Those that
    /// the placement wants besides are made by [`ShardHost::settle`].
    pub async fn open(
        directory: Option<PathBuf>,
        placement: Arc<Placement>,
        around: Around,
        options: Options,
    ) -> Result<ShardHost, OpenError> {
        let (tally, hurries) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let residents = Arc::<Residents>::default();
        let (placement, watched) = watch::channel(placement);
        let siblings = Siblings::new(around.node, around.peers, watched, &residents);
        let (source, administration) = (around.source, around.administration);
        let registry = match open_registry(directory.clone(), &options).await {
            Err(OpenError::Store(RocksError::Damaged { reason })) => {
                let here = damage::placed_on(&siblings.placement(), around.node);
                let wait_max = options.sibling_wait_max;
                put_store_aside(directory.as_deref(), &here, &siblings, &*source, wait_max, reason).await?;
                tally.count_damaged();
                open_registry(directory.clone(), &options).await?
            }
            opened => opened?,
        };
        let around_replicas =
            Surroundings { source, administration, siblings, registry, directory, options, tally, hurries };
        let inner = Inner {
            node: around.node,
            around: around_replicas,
            residents,
            placement,
            asked: Mutex::default(),
            moving: tokio::sync::Mutex::default(),
            failure: watch::Sender::new(None),
        };
        let host = ShardHost { inner: Arc::new(inner) };
        let (records, lingering) = host.without_marked().await?;
        for (shard, record) in records {
            match host.start(shard, record) {
                Err(OpenError::Damaged { shard, reason }) => {
                    host.rebuild_damaged(shard, &reason).await?;
                }
                started => drop(started?),
            }
        }
        for shard in lingering {
            tokio::spawn(give_up_when_others_have_it(Arc::downgrade(&host.inner), shard));
        }
        Ok(host)
    }

    /// The replica of a shard that is here, for the serving end of [`assize_ports::Service::Replica`]; `None` if another
    /// one or none is.
    pub fn replica(&self, shard: ShardId, replica: ReplicaId) -> Option<Arc<dyn Replica>> {
        let resident = self.inner.residents.get(shard)?;
        (resident.number() == replica).then_some(resident as Arc<dyn Replica>)
    }

    /// The replica of a shard that is here.
    pub fn resident(&self, shard: ShardId) -> Option<Arc<Embedded>> {
        self.inner.residents.get(shard)
    }

    /// All replicas that are here, by shard.
    pub fn residents(&self) -> Vec<Arc<Embedded>> {
        self.inner.residents.all()
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// How far the node's RocksDB is behind with its work.
    pub fn backlog(&self) -> Backlog {
        self.inner.around.registry.store().backlog()
    }

    /// Whether the log has grown so long that copies go on as fast as they can which otherwise leave disks and processors to
    /// others: what they are for keeps the log.
    pub fn hurry(&self, hurries: bool) {
        self.inner.around.hurries.store(hurries, Ordering::Relaxed);
    }

    /// For tests: the node is dead after so many more steps to the disk. See [`assize_rocks::Store::die_after`].
    pub fn die_after(&self, steps: u64) {
        self.inner.around.registry.store().die_after(steps);
    }

    /// Whether it is.
    pub fn is_dead(&self) -> bool {
        self.inner.around.registry.store().is_dead()
    }

    /// How its replica of a shard is, for a node that has begun something with it and waits.
    pub(crate) fn status_for_another(&self, shard: ShardId) -> Option<ReplicaStatus> {
        self.is_asked_for(shard);
        self.status(shard)
    }

    /// The learners that are here, whether or not anybody cares for them. One that registers is among them before that.
    pub(crate) fn learners(&self) -> BTreeSet<(ShardId, ReplicaId)> {
        let records = self.inner.around.registry.records().into_iter();
        let learners = records.filter(|(_, record)| record.is_learner && record.parent.is_none());
        learners.map(|(shard, record)| (shard, record.replica)).collect()
    }

    /// Whoever has begun a learner or fledgling still cares for it.
    fn is_asked_for(&self, shard: ShardId) {
        self.inner.asked().insert(shard, Instant::now());
    }

    /// Whether nobody has asked for a learner or fledgling for long, since this node was started or it began.
    fn is_left_alone(&self, shard: ShardId) -> bool {
        let asked = *self.inner.asked().entry(shard).or_insert_with(Instant::now);
        asked.elapsed() >= self.inner.around.options.alone_max
    }

    /// How its replica of a shard is.
    pub fn status(&self, shard: ShardId) -> Option<ReplicaStatus> {
        self.resident(shard).map(|resident| resident.status())
    }

    /// Completes with the reason when a replica can go on no more.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // Impossible while this handle lives.
            Err(_) => std::future::pending().await,
        }
    }

    /// Persists what was applied and ends all replicas.
    pub async fn shutdown(&self) {
        let residents = std::mem::take(&mut *self.inner.residents.lock());
        for resident in residents.values() {
            resident.shutdown().await;
        }
    }

    /// Looks at the placement again and again, and does what it says. Long-lived: the node spawns it. `newest` asks for the
    /// placement as the log has it.
    pub async fn follow<F>(
        self,
        mut newest: impl FnMut() -> F + Send,
        stopped: impl Future<Output = ()> + Send,
    ) where
        F: Future<Output = Option<Arc<Placement>>> + Send,
    {
        tokio::pin!(stopped);
        loop {
            if let Some(placement) = newest().await {
                for (shard, error) in self.settle(placement).await {
                    tracing::warn!(%shard, %error, "a replica is not in its place yet");
                }
            }
            tokio::select! {
                () = &mut stopped => return,
                () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    }

    /// Makes what the placement wants here and drops what it no longer does. What could not be done is said, and is done
    /// by a later call.
    pub async fn settle(&self, placement: Arc<Placement>) -> Vec<(ShardId, HostError)> {
        let _moving = self.inner.moving.lock().await;
        self.inner.placement.send_if_modified(|known| {
            let is_newer = placement.epoch > known.epoch;
            if is_newer {
                known.clone_from(&placement);
            }
            is_newer
        });
        let mut troubles = Vec::new();
        for (shard, record) in self.inner.around.registry.records() {
            if let Err(error) = self.leave_or_stay(&placement, shard, record).await {
                troubles.push((shard, error));
            }
        }
        for (shard, part) in &placement.shards {
            for (replica, _) in part.replicas.iter().filter(|(_, node)| **node == self.inner.node) {
                if self.resident(*shard).is_none()
                    && let Err(error) = self.enter(&placement, *shard, *replica).await
                {
                    troubles.push((*shard, error));
                }
            }
        }
        troubles
    }

    /// What becomes of a replica that is here under this placement.
    async fn leave_or_stay(
        &self,
        placement: &Placement,
        shard: ShardId,
        record: Record,
    ) -> Result<(), HostError> {
        // In this order: a fledgling that leaves its parent has the record changed first and shows itself changed then.
        let phase = self.status(shard).map(|status| status.phase);
        let record = self.inner.around.registry.get(shard).unwrap_or(record);
        let part = placement.shards.get(&shard);
        let configured = part.and_then(|part| part.replicas.get(&record.replica));
        match configured {
            Some(node) if *node == self.inner.node => {
                let is_late_fledgling = record.parent.is_some() && phase != Some(Phase::Fledgling);
                if is_late_fledgling {
                    // The split passed while it was still copying its parent; now it can copy its own siblings.
                    self.drop_replica(shard).await?;
                } else if record.is_learner && record.parent.is_none() {
                    // The choice of what a learner may do differently ends here.
                    let newest = self.inner.around.registry.get(shard).unwrap_or(record);
                    self.inner.around.registry.put(shard, Record { is_learner: false, ..newest })?;
                }
                Ok(())
            }
            // It is on its way into the placement.
            None if record.parent.is_some() || record.is_learner && part.is_some() => {
                if self.is_left_alone(shard) {
                    tracing::warn!(%shard, replica = %record.replica, "goes: whoever began it does not ask for it");
                    self.release(record.parent.unwrap_or((shard, record.replica)));
                    self.drop_replica(shard).await?;
                }
                Ok(())
            }
            // Its own stream has told it of a later placement than this one.
            _ if self.status(shard).is_some_and(|status| status.epoch > placement.epoch) => Ok(()),
            _ => {
                tracing::info!(%shard, replica = %record.replica, "leaves this node");
                self.drop_replica(shard).await
            }
        }
    }

    /// Makes the replica that the placement wants here.
    async fn enter(
        &self,
        placement: &Placement,
        shard: ShardId,
        replica: ReplicaId,
    ) -> Result<(), HostError> {
        let registry = &self.inner.around.registry;
        let record = match registry.get(shard) {
            Some(record) => record,
            None => {
                let record = self.beginning(placement, shard, replica).await?;
                registry.put(shard, record)?;
                record
            }
        };
        self.start(shard, record)?;
        Ok(())
    }

    // Damage.

    /// What has happened to contents of replicas here.
    pub fn tallies(&self) -> Tallies {
        self.inner.around.tally.get()
    }

    /// The replicas to start: without what an earlier life has found damaged, if a sibling still has everything. And those that
    /// start with it, because none is known to.
    async fn without_marked(&self) -> Result<(BTreeMap<ShardId, Record>, Vec<ShardId>), OpenError> {
        let mut records = self.inner.around.registry.records();
        let mut lingering = Vec::new();
        let Some(directory) = self.inner.around.directory.clone() else { return Ok((records, lingering)) };
        let store = self.inner.around.registry.store();
        for (shard, record) in &mut records {
            let Some(mark) = damage::marked(&directory, *shard) else { continue };
            // Otherwise it speaks of what has gone.
            let is_about = mark.is_about(record.contents);
            if let (true, false, Some(generation)) = (is_about, mark.is_numbered(), record.contents) {
                // Earlier releases did not say which contents a mark is about, so these do not rest yet.
                damage::mark(&directory, *shard, generation, &mark.reason);
                damage::let_rest(store, *shard, generation);
            }
            if is_about && self.others_have_everything(*shard, record.replica).await {
                *record = self.give_up(*shard, &mark.reason).map_err(OpenError::Store)?;
            } else if is_about && self.inner.around.siblings.has_any(*shard, record.replica) {
                // What can be read of it may be all that there is.
                let reason = mark.reason;
                tracing::error!(%shard, reason, "a replica is damaged, and no sibling is known to have everything");
                lingering.push(*shard);
            } else {
                damage::unmark(&directory, *shard);
                record.contents.iter().for_each(|generation| damage::wake(store, *shard, *generation));
            }
        }
        Ok((records, lingering))
    }

    /// Gives up what is damaged and serves all the same. What others have is for the caller to know.
    async fn give_up_lingering(&self, shard: ShardId) -> Result<(), OpenError> {
        let _moving = self.inner.moving.lock().await;
        let Surroundings { registry, directory, .. } = &self.inner.around;
        let contents = registry.get(shard).and_then(|record| record.contents);
        let mark = directory.as_ref().and_then(|directory| damage::marked(directory, shard));
        let Some(mark) = mark.filter(|mark| mark.is_about(contents)) else { return Ok(()) };
        let Some(resident) = self.inner.residents.lock().remove(&shard) else { return Ok(()) };
        resident.shutdown().await;
        let record = self.give_up(shard, &mark.reason).map_err(OpenError::Store)?;
        self.start(shard, record).map(drop)
    }

    /// Whether somebody else has what a replica of this node has, for certain and now.
    async fn others_have_everything(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let Surroundings { siblings, source, options, .. } = &self.inner.around;
        siblings.have_everything(&**source, shard, replica, options.sibling_wait_max).await
    }

    /// Goes on without the contents of a replica that are damaged: a sibling's are copied. An error says why that cannot be;
    /// nothing is lost then.
    async fn rebuild_damaged(&self, shard: ShardId, reason: &str) -> Result<Arc<Embedded>, OpenError> {
        let registry = &self.inner.around.registry;
        // A store that has found damage while it compacted says so to everybody who writes.
        let named = damage::culprit(registry.store(), reason);
        let culprit = named.map_or(shard, |(culprit, _)| culprit);
        let damaged = |reason: String| OpenError::Damaged { shard: culprit, reason };
        let Some(record) = registry.get(culprit) else { return Err(damaged(reason.to_owned())) };
        if !self.others_have_everything(culprit, record.replica).await {
            return Err(damaged(format!("{reason}; {ALONE}")));
        }
        let why_not = if culprit == shard {
            match self.give_up(shard, reason) {
                Ok(emptied) => return self.start(shard, emptied),
                Err(error) => error.to_string(),
            }
        } else {
            format!("{shard} has met it")
        };
        // The store takes no writes any more; another life can do it. Damage that names no file may be anybody's.
        let Some((_, generation)) = named else {
            return Err(damaged(format!("{reason}; nothing is given up: {why_not}")));
        };
        // What no record names goes at the next start by itself.
        if let Some(directory) = &self.inner.around.directory
            && record.contents == Some(generation)
        {
            damage::mark(directory, culprit, generation, reason);
        }
        Err(damaged(format!("{reason}; they are given up at the next start: {why_not}")))
    }

    /// Goes on without the contents of a replica. They stay until a copy has arrived, if there is room for both. What others
    /// have is for the caller to know.
    fn give_up(&self, shard: ShardId, reason: &str) -> Result<Record, RocksError> {
        let Surroundings { registry, directory, .. } = &self.inner.around;
        let store = registry.store();
        let record = registry.get(shard).ok_or_else(|| RocksError::Damaged { reason: reason.to_owned() })?;
        let staying = directory.as_ref().zip(record.contents);
        let staying = staying
            .filter(|(directory, contents)| damage::has_room_to_stay(store, directory, shard, *contents));
        let contents = staying.map(|(_, generation)| generation);
        // First: whatever is written next may be the last thing that this life does.
        if let Some((directory, generation)) = staying {
            damage::mark(directory, shard, generation, reason);
        }
        // A store that takes no writes any more says so here.
        registry.put(shard, Record { contents, had_intents: true, ..record })?;
        match (staying, record.contents) {
            (Some((_, generation)), _) => damage::let_rest(store, shard, generation),
            (None, Some(generation)) => {
                RocksEngine::drop_pair(store, shard, generation)?;
                directory.iter().for_each(|directory| damage::unmark(directory, shard));
            }
            (None, None) => {}
        }
        self.inner.around.tally.count_damaged();
        tracing::error!(
            %shard, replica = %record.replica, reason, stay = staying.is_some(),
            "the contents of a replica are damaged and given up: a sibling's are copied"
        );
        Ok(Record { contents: None, had_intents: true, ..record })
    }

    /// How a replica without contents begins.
    async fn beginning(
        &self,
        placement: &Placement,
        shard: ShardId,
        replica: ReplicaId,
    ) -> Result<Record, HostError> {
        let is_alone = placement.shards.get(&shard).is_none_or(|part| part.replicas.len() == 1);
        let standing = if is_alone {
            self.standing(shard, replica, None).await?
        } else {
            // A replica of this number may have voted before its directory was lost. No receipt from before counts from
            // here on, and what was decided with one the siblings keep until this replica is past it.
            let raised = self.inner.around.administration.administer(PlacementCommand::Raise(shard)).await?;
            self.standing(shard, replica, Some(raised)).await?
        };
        let is_at_the_beginning = standing.counts && standing.durable.0 == 0;
        let mut record =
            Record { replica, contents: None, had_intents: false, is_learner: false, parent: None };
        if is_at_the_beginning {
            let registry = self.inner.around.registry.clone();
            let generation = registry.draw_generation();
            blocking(move || RocksEngine::create(registry.store(), shard, generation).map(drop)).await?;
            record.contents = Some(generation);
        } else if is_alone {
            return Err(HostError::Lost { shard });
        }
        Ok(record)
    }

    async fn standing(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        at_least: Option<assize_model::LogIndex>,
    ) -> Result<ReplicaStanding, HostError> {
        for _ in 0..STANDINGS_TRIES {
            let standings = self.inner.around.source.standings(shard).await?;
            if at_least.is_none_or(|index| standings.as_of >= index)
                && let Some(standing) = standings.replicas.iter().find(|s| s.replica == replica)
            {
                return Ok(*standing);
            }
            tokio::time::sleep(STANDINGS_PAUSE).await;
        }
        Err(HostError::Unknown { shard, replica })
    }

    fn start(&self, shard: ShardId, record: Record) -> Result<Arc<Embedded>, OpenError> {
        let (epoch, slots) = self.configured(shard);
        let resident = Embedded::start(shard, record, epoch, slots, self.inner.around.clone())?;
        self.inner.residents.lock().insert(shard, resident.clone());
        tokio::spawn(watch_for_failure(
            resident.ended(),
            Arc::downgrade(&resident),
            Arc::downgrade(&self.inner),
        ));
        Ok(resident)
    }

    fn configured(&self, shard: ShardId) -> (Epoch, Vec<(Slot, Slot)>) {
        let placement = self.inner.placement.borrow();
        (placement.shard_epoch(shard).unwrap_or_default(), placement.slots_of(shard))
    }

    /// Has the log wait no longer for a learner that is dropped.
    fn release(&self, (shard, learner): (ShardId, ReplicaId)) {
        tokio::spawn(replica::release(self.inner.around.administration.clone(), shard, learner));
    }

    /// Ends a replica and drops its contents, durably.
    async fn drop_replica(&self, shard: ShardId) -> Result<(), HostError> {
        self.inner.asked().remove(&shard);
        let resident = self.inner.residents.lock().remove(&shard);
        if let Some(resident) = resident {
            resident.shutdown().await;
        }
        if let Some(directory) = &self.inner.around.directory {
            // It speaks of contents that go now.
            damage::unmark(directory, shard);
        }
        let registry = self.inner.around.registry.clone();
        copy::until_quiet(registry.store(), LEAVES_WITHIN).await;
        Ok(blocking(move || registry.remove(shard)).await?)
    }

    // What others ask for.

    /// Begins a learner of a shard, unless there is a replica of it here; answers its number. It registers itself, copies
    /// a sibling and follows the stream; the placement does not know it yet.
    pub async fn learn(&self, shard: ShardId, replica: ReplicaId) -> Result<ReplicaId, HostError> {
        let record = Record { replica, contents: None, had_intents: false, is_learner: true, parent: None };
        self.begin(shard, record).await
    }

    /// Begins a replica of a shard that does not exist yet, unless there is one here; answers its number.
    pub async fn fledge(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        parent: ShardId,
        learner: ReplicaId,
    ) -> Result<ReplicaId, HostError> {
        let parent = Some((parent, learner));
        let known = self.inner.around.registry.get(shard);
        if known.is_some_and(|known| known.parent.is_some() && known.parent != parent) {
            // Left over from a split that did not happen.
            self.discard(shard).await?;
        }
        let record = Record { replica, contents: None, had_intents: false, is_learner: true, parent };
        self.begin(shard, record).await
    }

    async fn begin(&self, shard: ShardId, record: Record) -> Result<ReplicaId, HostError> {
        let _moving = self.inner.moving.lock().await;
        self.is_asked_for(shard);
        if let Some(resident) = self.resident(shard) {
            return Ok(resident.number());
        }
        let record = self.inner.around.registry.get(shard).unwrap_or(record);
        self.inner.around.registry.put(shard, record)?;
        self.start(shard, record)?;
        Ok(record.replica)
    }

    /// Drops a replica that the placement does not know. One that it does is left alone.
    pub async fn discard(&self, shard: ShardId) -> Result<(), HostError> {
        let _moving = self.inner.moving.lock().await;
        match self.inner.around.registry.get(shard) {
            Some(record) if record.is_learner || record.parent.is_some() => {
                // Its number would stay with its parent; of others the number is known to whoever discards them.
                record.parent.iter().for_each(|parent| self.release(*parent));
                self.drop_replica(shard).await
            }
            _ => Ok(()),
        }
    }
}

async fn open_registry(directory: Option<PathBuf>, options: &Options) -> Result<Registry, OpenError> {
    let rocks = options.rocks.clone();
    Ok(blocking(move || damage::open_store(directory.as_deref(), &rocks)).await?)
}

/// Puts a store that does not open aside, if siblings of everything `here` have said that they have it.
async fn put_store_aside(
    directory: Option<&Path>,
    here: &[(ShardId, ReplicaId)],
    siblings: &Siblings,
    source: &dyn DecisionSource,
    wait_max: Duration,
    reason: String,
) -> Result<(), OpenError> {
    for (shard, replica) in here {
        if !siblings.have_everything(source, *shard, *replica, wait_max).await {
            let reason = format!("{reason}; {shard}: {ALONE}");
            return Err(OpenError::Store(RocksError::Damaged { reason }));
        }
    }
    let Some(directory) = directory.map(Path::to_owned) else {
        return Err(OpenError::Store(RocksError::Damaged { reason }));
    };
    let of = directory.clone();
    let aside = blocking(move || damage::put_store_aside(&of)).await.map_err(OpenError::Store)?;
    // They speak of contents that have gone with the store.
    damage::marked_shards(&directory).into_iter().for_each(|shard| damage::unmark(&directory, shard));
    tracing::error!(reason, kept = %aside.display(), "the store of all replicas is damaged: siblings are copied");
    Ok(())
}

/// Gives up the contents of a replica that are damaged and serve all the same, as soon as a sibling says that it has everything.
async fn give_up_when_others_have_it(host: Weak<Inner>, shard: ShardId) {
    loop {
        // Only what is asked with: the host may be closed meanwhile.
        let asking = host.upgrade().and_then(|inner| {
            let Surroundings { registry, siblings, source, options, .. } = &inner.around;
            let replica = registry.get(shard)?.replica;
            Some((replica, siblings.clone(), source.clone(), options.sibling_wait_max))
        });
        let Some((replica, siblings, source, wait_max)) = asking else { return };
        tokio::time::sleep(wait_max).await;
        if !siblings.have_everything(&*source, shard, replica, wait_max).await {
            continue;
        }
        let Some(inner) = host.upgrade() else { return };
        if let Err(error) = (ShardHost { inner: inner.clone() }).give_up_lingering(shard).await {
            inner.fail(shard, &error.to_string());
        }
        return;
    }
}

/// Tells the host when a replica on which somebody relies can go on no more.
async fn watch_for_failure(
    ended: impl Future<Output = Option<String>>,
    resident: Weak<Embedded>,
    host: Weak<Inner>,
) {
    let Some(mut why) = ended.await else { return };
    let (Some(resident), Some(host)) = (resident.upgrade(), host.upgrade()) else { return };
    let shard = resident.id();
    if host.around.registry.get(shard).is_none_or(|record| record.is_learner) {
        // Nobody relies on it yet; whoever asked for it sees how it is.
        return;
    }
    if resident.is_damaged() {
        let host = ShardHost { inner: host.clone() };
        let _moving = host.inner.moving.lock().await;
        if host.resident(shard).is_none_or(|now| !Arc::ptr_eq(&now, &resident)) {
            // It has left meanwhile, and took its damage along.
            return;
        }
        match host.rebuild_damaged(shard, &why).await {
            Ok(_) => return,
            Err(error) => why = error.to_string(),
        }
    }
    host.fail(shard, &why);
}
