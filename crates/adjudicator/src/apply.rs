//! One log entry: what is decided, and what changes.

use crate::RECOVERS_SINCE;
use crate::applied::{Applied, Reply};
use crate::command::{Batch, Bootstrap, Command, Recovery};
use crate::decisions::Decisions;
use crate::footprint_view::FootprintView;
use crate::options::Rule;
use crate::outcomes::{Known, Outcomes, PageAt};
use crate::page::PackedPage;
use crate::placement::{Shards, without};
use crate::ranges::Ranges;
use crate::state::{Adjudicator, FormerCluster, Identity};
use crate::streamed::{News, ShardNews, Streamed};
use crate::timeline::SnapshotMemo;
use crate::window::{LastCommit, Window};
use assize_model::*;
use std::time::Duration;

/// How many transactions ahead memory is fetched.
const PREFETCH_AHEAD: usize = 8;

/// An id may be so much ahead of the adjudicator's time: frontends count elapsed time on clocks of their own.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(5);

/// An id further ahead than this is nonsense; it is refused without a record, which would stay for as long.
const FUTURE_RECORDED: Duration = Duration::from_secs(3600);

/// What the decisions of one batch share.
struct AtBatch {
    number: BatchNumber,
    base: Timestamp,
    /// An id that began later than this is from the future.
    begun_max: Timestamp,
    memo: SnapshotMemo,
}

/// Why a footprint does not commit.
struct Objection {
    reason: AbortReason,
    /// Whether the refusal becomes the transaction's outcome.
    is_recorded: bool,
}

impl Objection {
    fn unrecorded(reason: AbortReason) -> Self {
        Objection { reason, is_recorded: false }
    }

    /// Somebody else committed this key, or something in this range, in `batch`.
    #[cold]
    fn lost(key: Option<KeyHash>, range: Option<(u32, u32)>, batch: BatchNumber) -> Self {
        let conflict = Conflict { key, range, batch, winner: None };
        Objection { reason: AbortReason::Conflict(conflict), is_recorded: true }
    }
}

/// A look at the state as it is, for many footprints in a row: their snapshots are few.
pub struct Early<'a> {
    state: &'a Adjudicator,
    memo: SnapshotMemo,
}

impl Early<'_> {
    /// As [`Adjudicator::refuse_early`].
    pub fn refuse(&mut self, footprint: &FootprintView<'_>) -> Option<Decision> {
        self.state.refuse_from(&mut self.memo, footprint)
    }
}

impl Adjudicator {
    /// Applies the log entry at `index`. A pure function of the state and the entry: every replica arrives at
    /// the same decisions and the same state.
    ///
    /// # Panics
    /// If `index` is not above the last applied one: a log is applied once, in order.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Applied {
        assert!(index > self.applied, "{index} applied after {}", self.applied);
        self.applied = index;
        let mut applied = Applied { index, ..Applied::default() };
        match command {
            Command::Batch(batch) => self.apply_batch(batch, &mut applied),
            Command::Bootstrap(bootstrap) => applied.reply = self.bootstrap(bootstrap, &mut applied),
            Command::RaiseCeiling { ceiling, close } => {
                self.ceiling = self.ceiling.max(*ceiling);
                if *close > self.last_ts {
                    self.last_ts = *close;
                    applied.retired = self.expire_outcomes();
                    self.stream(&mut applied, News::Nothing);
                }
            }
            Command::GrantFrontend { frontend, nonce } => {
                applied.reply = match self.frontends.grant(*frontend, *nonce, self.last_ts) {
                    Some(epoch) => Reply::Granted(epoch),
                    None => Reply::FrontendExhausted,
                };
                applied.retired = self.acknowledged(*frontend);
            }
            Command::FenceFrontend { frontend, epoch } => {
                applied.reply = Reply::Fenced(self.frontends.fence(*frontend, *epoch));
                applied.retired = self.acknowledged(*frontend);
            }
            Command::RaiseLowWater { reports } => {
                for report in reports {
                    self.frontends.report_oldest(report.frontend, report.epoch, report.oldest);
                }
                self.raise_low_water(&mut applied);
                applied.reply = Reply::LowWater(self.low_water);
            }
            Command::Resolve(txn) => applied.reply = self.resolve(*txn),
            Command::AllocateIds(wanted) => {
                applied.reply = match self.catalog.allocate(wanted) {
                    Some(first) => Reply::Ids { first },
                    None => Reply::IdsExhausted,
                };
            }
            Command::ChangePlacement(change) => {
                // A new shard's replicas need this very entry: it tells them their slots.
                let now = self.position();
                let at = Position { index, closed_ts: self.last_ts };
                let reroute = self.is_on(Rule::RouteAtEntry);
                match self.shards.change(change, now, at, reroute) {
                    Ok(changed) => {
                        applied.reply = Reply::Placement(self.placement().epoch);
                        self.stream_placement(&mut applied, &changed);
                    }
                    Err(refusal) => applied.reply = Reply::PlacementRefused(refusal),
                }
            }
            Command::RegisterReplica { shard, replica } => {
                let now = Position { index, closed_ts: self.last_ts };
                match self.shards.register(*shard, *replica, now) {
                    // Nothing is said but that this entry has passed: siblings give a checkpoint once it has.
                    Ok(()) => self.stream(&mut applied, News::Nothing),
                    Err(refusal) => applied.reply = Reply::PlacementRefused(refusal),
                }
            }
            Command::ReportDurable { reports } => {
                for report in reports {
                    self.shards.report(report.shard, report.replica, report.durable);
                }
            }
            Command::Uncount { shard, replica } => {
                if let Err(refusal) = self.shards.uncount(*shard, *replica, self.cluster_version) {
                    applied.reply = Reply::PlacementRefused(refusal);
                }
            }
            Command::TrackRanges(table) => self.ranges.track(*table, self.last_batch),
            Command::RaiseClusterVersion(version) => {
                self.cluster_version = self.cluster_version.max(*version);
                applied.reply = Reply::ClusterVersion(self.cluster_version);
            }
            Command::SetNode { node, entry } => self.nodes.set(*node, entry.as_ref()),
            // What it asks for happens beside the state.
            Command::NoteHash => {}
            Command::DrainNode { node, drains } => {
                if !self.nodes.drain(*node, *drains) {
                    applied.reply = Reply::NoSuchNode;
                }
            }
            Command::Recover(recovery) => self.recover(recovery, &mut applied),
            Command::RecoverShard { shard, expected, lost } => {
                applied.reply = match self.recover_shard(*shard, *expected, lost, &mut applied) {
                    Ok(()) => Reply::Placement(self.placement().epoch),
                    Err(refusal) => Reply::PlacementRefused(refusal),
                }
            }
            Command::AcknowledgeOutcomes { acknowledged } => {
                for part in acknowledged {
                    self.frontends.acknowledge(part.frontend, part.epoch, part.below);
                    applied.retired.extend(self.acknowledged(part.frontend));
                }
            }
        }
        applied.catalog_version = self.catalog.version();
        applied
    }

    /// Refuses at once, without the log, what can no longer commit because of what is already applied. The last
    /// commit of a key only grows, so no later entry could decide otherwise; and a transaction that has been, or may
    /// have been, decided is never refused here, lest a resent commit conflict with itself.
    pub fn refuse_early(&self, footprint: &FootprintView<'_>) -> Option<Decision> {
        self.early().refuse(footprint)
    }

    /// Refuses many as [`Adjudicator::refuse_early`] does.
    pub fn early(&self) -> Early<'_> {
        Early { state: self, memo: SnapshotMemo::new() }
    }

    fn refuse_from(&self, memo: &mut SnapshotMemo, footprint: &FootprintView<'_>) -> Option<Decision> {
        let mut range_number = 0;
        let mut ranges = footprint.ranges();
        for (group_number, group) in footprint.groups().enumerate() {
            let snapshot = memo.batch_at(&self.timeline, group.snapshot_ts);
            let conflict = group.checked().find_map(|hash| match self.window.last_commit(hash, snapshot) {
                LastCommit::After(batch) => {
                    Some(Conflict { key: Some(hash), range: None, batch, winner: None })
                }
                _ => None,
            });
            let mut in_range = ranges.by_ref().take(group.ranges as usize).enumerate();
            let conflict = conflict.or_else(|| {
                in_range.find_map(|(i, range)| {
                    match self.ranges.last_commit(range.table, &range.range, snapshot) {
                        LastCommit::After(batch) => Some(Conflict {
                            key: None,
                            range: Some((group_number as u32, i as u32)),
                            batch,
                            winner: None,
                        }),
                        _ => None,
                    }
                })
            });
            if let Some(conflict) = conflict {
                let refused = Decision::Abort { reason: AbortReason::Conflict(conflict) };
                return self.is_certainly_undecided(footprint.txn()).then_some(refused);
            }
            range_number += group.ranges;
        }
        debug_assert!(range_number as usize == footprint.ranges().count());
        None
    }

    /// Whether nothing was decided about this one. What is no longer in memory may have been committed: then only the log's
    /// answer and the history tell.
    fn is_certainly_undecided(&self, txn: TxnId) -> bool {
        if self.is_on(Rule::EarlyOnlyUndecided) {
            self.outcome(txn) == Known::Undecided
        } else {
            self.outcomes.get(txn).is_none()
        }
    }

    /// Goes on without the nodes that are lost, as another cluster.
    fn recover(&mut self, recovery: &Recovery, applied: &mut Applied) {
        let Some(identity) = self.identity.as_mut().filter(|identity| identity.cluster == recovery.former)
        else {
            return;
        };
        identity.cluster = recovery.cluster;
        self.former_clusters.push(FormerCluster { cluster: recovery.former, until: applied.index });
        // Whoever has read this entry understands that version.
        self.cluster_version = self.cluster_version.max(RECOVERS_SINCE);
        recovery.lost.iter().for_each(|node| self.nodes.set(*node, None));
        let change = without(self.placement(), &recovery.lost);
        let done = self.give_up(&change, applied);
        done.expect("it is made for this very placement and takes no last replica away");
    }

    /// Goes on with the replicas of a shard that are left.
    fn recover_shard(
        &mut self,
        shard: ShardId,
        expected: Epoch,
        lost: &[NodeId],
        applied: &mut Applied,
    ) -> Result<(), PlacementRefusal> {
        let part = self.placement().shards.get(&shard).ok_or(PlacementRefusal::NoSuchShard(shard))?;
        let mut left = part.replicas.clone();
        left.retain(|_, node| !lost.contains(node));
        // An empty rest is refused by the change itself.
        let change =
            PlacementChange { expected, shards: vec![(shard, Some(left))], ..PlacementChange::default() };
        self.give_up(&change, applied)
    }

    /// Takes replicas away whatever they were to their shards. Commits up to this entry whose writes only they had are given up
    /// with them.
    fn give_up(&mut self, change: &PlacementChange, applied: &mut Applied) -> Result<(), PlacementRefusal> {
        let now = self.position();
        let at = Position { index: applied.index, closed_ts: self.last_ts };
        let changed = self.shards.change(change, now, at, self.is_on(Rule::RouteAtEntry))?;
        self.shards.note_recovered(change.shards.iter().map(|(shard, _)| *shard), applied.index);
        self.stream_placement(applied, &changed);
        Ok(())
    }

    fn bootstrap(&mut self, bootstrap: &Bootstrap, applied: &mut Applied) -> Reply {
        if self.identity.is_some() {
            return Reply::AlreadyBootstrapped;
        }
        self.identity = Some(Identity { cluster: bootstrap.cluster, hash_seed: bootstrap.hash_seed });
        // Whoever copies the state of before is still waited for.
        self.complete_copies();
        self.window = Window::new(bootstrap.window_log2);
        self.ranges = Ranges::new(bootstrap.range_keys_max as usize);
        self.outcomes = Outcomes::new(bootstrap.outcomes_max as usize);
        self.shards = Shards::new(bootstrap.placement.clone());
        self.last_ts = bootstrap.now;
        self.ceiling = bootstrap.now;
        self.low_water = bootstrap.now;
        let shards: Vec<ShardId> = self.placement().shards.keys().copied().collect();
        self.stream_placement(applied, &shards);
        Reply::Done
    }

    fn apply_batch(&mut self, batch: &Batch, applied: &mut Applied) {
        // Above everything closed, whatever the leader's clock said.
        let base = if self.is_on(Rule::ClosedBound) {
            batch.base_ts.max(self.last_ts.next())
        } else {
            batch.base_ts
        };
        let number = BatchNumber(self.last_batch.0 + 1);
        self.window.make_room_for(number);
        let begun_max = base.later(FUTURE_TOLERANCE);
        let mut at = AtBatch { number, base, begun_max, memo: SnapshotMemo::new() };
        let mut others = Vec::new();

        // Footprints are looked at a few ahead of their turn, so that the memory they need is there by then.
        let mut ahead = batch.views();
        ahead.by_ref().take(PREFETCH_AHEAD).for_each(|view| self.prefetch(&view));
        for (i, view) in batch.views().enumerate() {
            if let Some(next) = ahead.next() {
                self.prefetch(&next);
            }
            // First of all: what has been decided stays decided, whatever has changed since.
            let page = self.outcomes.find(view.txn());
            if let Some(decision) = self.decided_before(page, view.txn()) {
                others.push((i as u32, decision));
                continue;
            }
            match self.objection(&mut at, &view) {
                None => self.commit(&at, &view, page, base.plus(i as u64)),
                Some(Objection { reason, is_recorded }) => {
                    if is_recorded {
                        self.remember_abort(view.txn(), &reason);
                    }
                    others.push((i as u32, Decision::Abort { reason }));
                }
            }
        }

        self.ranges.end_batch(number);
        let end = base.plus((batch.len() as u64).saturating_sub(1)).max(self.last_ts);
        if end > self.last_ts {
            self.timeline.record(end, number, self.applied);
        }
        self.last_ts = end;
        self.last_batch = number;
        self.ceiling = self.ceiling.max(batch.ceiling);
        applied.base_ts = base;
        applied.batch = number;
        applied.retired = self.expire_outcomes();
        applied.decisions = Decisions::new(base, batch.len(), others);
        self.stream(applied, News::Batch(batch.clone(), applied.decisions.clone()));
    }

    /// Asks for the memory that a decision, or [`Adjudicator::refuse_early`], will look at.
    #[inline]
    pub fn prefetch(&self, footprint: &FootprintView<'_>) {
        // Written keys are checked, too, nearly always.
        footprint.checked().for_each(|hash| self.window.prefetch(hash));
    }

    /// The decision that was made about this id, if one was.
    #[inline]
    fn decided_before(&self, page: Option<PageAt>, txn: TxnId) -> Option<Decision> {
        let page = page.filter(|page| !self.outcomes.has_place_in(*page, txn))?;
        if self.is_on(Rule::Deduplication) { self.outcomes.get_in(page, txn) } else { None }
    }

    /// The first reason why a footprint that has no decision yet cannot commit.
    #[inline]
    fn objection(&self, at: &mut AtBatch, footprint: &FootprintView<'_>) -> Option<Objection> {
        let txn = footprint.txn();
        let epoch = self.frontends.epoch(txn.frontend());
        if self.is_on(Rule::FrontendEpoch) && txn.frontend_epoch() != epoch {
            // Epochs only rise and deadlines only pass: these two answers repeat themselves without a record.
            return Some(Objection::unrecorded(AbortReason::FrontendFenced { current: epoch }));
        }
        if self.is_on(Rule::R1) && txn.deadline() < at.base {
            return Some(Objection::unrecorded(AbortReason::DeadlinePassed));
        }
        if self.outcomes.is_full() {
            return Some(Objection::unrecorded(AbortReason::OutcomesFull));
        }
        if self.is_on(Rule::Future) && txn.begun() > at.begun_max {
            let is_recorded = txn.begun() <= at.base.later(FUTURE_RECORDED);
            return Some(Objection { reason: AbortReason::FromTheFuture, is_recorded });
        }
        if let Some(reason) = self.object_to_circumstances(at, footprint) {
            return Some(Objection { reason, is_recorded: true });
        }
        self.conflict(at, footprint)
    }

    /// Snapshots, receipts, schemas, catalog: everything but conflicts.
    #[inline]
    fn object_to_circumstances(&self, at: &AtBatch, footprint: &FootprintView<'_>) -> Option<AbortReason> {
        for group in footprint.groups() {
            if group.snapshot_ts >= at.base {
                return Some(AbortReason::FromTheFuture);
            }
            if group.snapshot_ts < self.low_water && self.is_on(Rule::LowWater) {
                return Some(AbortReason::SnapshotTooOld);
            }
        }
        if footprint.is_prepared() {
            let routing = self.shards.routing();
            let is_current = |receipt: Receipt| routing.epoch_of(receipt.shard) == Some(receipt.epoch);
            if (self.shards.has_suspended() || !footprint.receipts().all(is_current))
                && let Some(reason) = self.object_to_receipts(footprint)
            {
                return Some(reason);
            }
        } else if self.shards.has_suspended()
            && let Some(shard) = footprint
                .slots()
                .map(|slot| self.placement().shard_of(slot))
                .find(|shard| self.shards.is_suspended(*shard))
        {
            return Some(AbortReason::ShardUnavailable { shard });
        }
        for (table, version) in footprint.schemas() {
            if self.catalog.is_fenced(table, version) && self.is_on(Rule::SchemaFence) {
                return Some(AbortReason::SchemaChanged { table });
            }
            // Whose key a bare hash is cannot be told, so one tracked table asks for all written keys.
            if !self.ranges.is_empty() && self.ranges.tracks(table) && !footprint.has_all_ordered() {
                return Some(AbortReason::RangeKeysMissing { table });
            }
        }
        if footprint.is_catalog_change()
            && let Some(change) = footprint.catalog_change()
            && let Some(object) = self.catalog.unexpected(&change)
        {
            return Some(AbortReason::CatalogChanged { object });
        }
        None
    }

    #[cold]
    fn object_to_receipts(&self, footprint: &FootprintView<'_>) -> Option<AbortReason> {
        footprint.receipts().find_map(|receipt| {
            let shard = receipt.shard;
            match self.shards.routing().epoch_of(shard) {
                None => Some(AbortReason::StaleEpoch { shard, current: Epoch(0) }),
                Some(current) if current != receipt.epoch && self.is_on(Rule::PlacementEpoch) => {
                    Some(AbortReason::StaleEpoch { shard, current })
                }
                Some(_) if self.shards.is_suspended(shard) => Some(AbortReason::ShardUnavailable { shard }),
                Some(_) => None,
            }
        })
    }

    /// First committer wins. A conflict is certain and comes before what the window no longer knows.
    #[inline]
    fn conflict(&self, at: &mut AtBatch, footprint: &FootprintView<'_>) -> Option<Objection> {
        let mut has_forgotten = false;
        for group in footprint.groups() {
            let window = self.window.seen_from(at.memo.batch_at(&self.timeline, group.snapshot_ts));
            for hash in group.checked() {
                match window.last_commit(hash) {
                    LastCommit::AtOrBefore => {}
                    LastCommit::After(batch) if self.is_on(Rule::FirstCommitterWins) => {
                        return Some(Objection::lost(Some(hash), None, batch));
                    }
                    LastCommit::After(_) => {}
                    LastCommit::Forgotten => has_forgotten |= self.is_on(Rule::WindowMarks),
                }
            }
        }
        if has_forgotten || footprint.has_ranges() {
            return self.conflict_in_ranges(at, footprint, has_forgotten);
        }
        None
    }

    /// As [`Adjudicator::conflict`], for what is not in every transaction's way.
    #[inline(never)]
    fn conflict_in_ranges(
        &self,
        at: &mut AtBatch,
        footprint: &FootprintView<'_>,
        has_forgotten_keys: bool,
    ) -> Option<Objection> {
        let mut forgotten = Vec::new();
        let mut ranges = footprint.ranges();
        for (group_number, group) in footprint.groups().enumerate() {
            let snapshot = at.memo.batch_at(&self.timeline, group.snapshot_ts);
            for (i, range) in ranges.by_ref().take(group.ranges as usize).enumerate() {
                let place = (group_number as u32, i as u32);
                match self.ranges.last_commit(range.table, &range.range, snapshot) {
                    _ if !self.is_on(Rule::Ranges) => {}
                    LastCommit::AtOrBefore => {}
                    LastCommit::After(batch) => {
                        return Some(Objection::lost(None, Some(place), batch.min(at.number)));
                    }
                    LastCommit::Forgotten => forgotten.push(place),
                }
            }
        }
        if !has_forgotten_keys && forgotten.is_empty() {
            return None;
        }
        let keys = if has_forgotten_keys { self.forgotten_keys(at, footprint) } else { Vec::new() };
        // Not recorded: the same id comes again when the shards have been asked.
        Some(Objection::unrecorded(AbortReason::NeedRefresh { keys, ranges: forgotten }))
    }

    /// The checked keys of which the window no longer knows, seen from their snapshots.
    #[cold]
    fn forgotten_keys(&self, at: &mut AtBatch, footprint: &FootprintView<'_>) -> Vec<KeyHash> {
        let mut forgotten = Vec::new();
        for group in footprint.groups() {
            let snapshot = at.memo.batch_at(&self.timeline, group.snapshot_ts);
            let is_forgotten =
                |hash: &KeyHash| self.window.last_commit(*hash, snapshot) == LastCommit::Forgotten;
            forgotten.extend(group.checked().filter(is_forgotten));
        }
        forgotten
    }

    /// Takes a commit into the state.
    #[inline]
    fn commit(
        &mut self,
        at: &AtBatch,
        footprint: &FootprintView<'_>,
        page: Option<PageAt>,
        commit_ts: Timestamp,
    ) {
        self.chain = mix(self.chain, footprint.txn(), commit_ts.0);
        if self.is_on(Rule::Deduplication) {
            self.outcomes.insert_commit(page, footprint.txn(), commit_ts);
        }
        for hash in footprint.written() {
            self.window.record(hash, at.number);
        }
        if !self.ranges.is_empty() {
            for (table, key) in footprint.ordered().flatten() {
                self.ranges.record(table, Key::new(bytes::Bytes::copy_from_slice(key)));
            }
        }
        for (table, value) in footprint.auto_increments() {
            self.catalog.advance_counter(table, value);
        }
        if footprint.is_catalog_change()
            && let Some(change) = footprint.catalog_change()
        {
            self.catalog.change(&change);
        }
    }

    fn remember_abort(&mut self, txn: TxnId, reason: &AbortReason) {
        self.chain = mix(self.chain, txn, u64::MAX);
        if self.is_on(Rule::Deduplication) {
            self.outcomes.insert_abort(txn, reason);
        }
    }

    fn expire_outcomes(&mut self) -> Vec<PackedPage> {
        let frontends = &self.frontends;
        self.outcomes.expire(self.last_ts, |frontend, epoch| frontends.needed_from(frontend, epoch))
    }

    fn acknowledged(&mut self, frontend: FrontendId) -> Vec<PackedPage> {
        let frontends = &self.frontends;
        let needed_from = |frontend, epoch| frontends.needed_from(frontend, epoch);
        self.outcomes.acknowledge(frontend, self.last_ts, needed_from)
    }

    fn resolve(&mut self, txn: TxnId) -> Reply {
        let known = self.outcome(txn);
        if known != Known::Undecided {
            return Reply::Outcome(known);
        }
        if self.outcomes.is_full() {
            return Reply::OutcomesFull;
        }
        self.remember_abort(txn, &AbortReason::Resolved);
        Reply::Outcome(Known::Decided(Decision::Abort { reason: AbortReason::Resolved }))
    }

    fn raise_low_water(&mut self, applied: &mut Applied) {
        let oldest = self.frontends.oldest_snapshot().unwrap_or(self.last_ts).min(self.last_ts);
        // Below it the former owner of slots keeps what the new one has yet to copy.
        let bound =
            self.shards.low_water_bound(self.cluster_version).filter(|_| self.is_on(Rule::SlotsArriveFirst));
        let oldest = bound.map_or(oldest, |bound| oldest.min(Timestamp(bound.0.saturating_sub(1))));
        if oldest <= self.low_water {
            return;
        }
        self.low_water = oldest;
        self.shards.forget_moves(oldest);
        self.ranges.forget(self.timeline.batch_at(oldest));
        self.timeline.forget(oldest);
        self.stream(applied, News::LowWater(oldest));
    }

    /// Tells these shards their epochs and slots, and the others that there is nothing to tell.
    fn stream_placement(&mut self, applied: &mut Applied, changed: &[ShardId]) {
        let placement = self.placement();
        let news = |shard: &ShardId| {
            let epoch = placement.shard_epoch(*shard).expect("a shard that changed is there");
            ShardNews { shard: *shard, epoch, slots: placement.slots_of(*shard) }
        };
        let news = News::Placement(changed.iter().map(news).collect());
        self.stream(applied, news);
    }

    /// Puts the entry at hand into the stream of every shard.
    fn stream(&mut self, applied: &mut Applied, news: News) {
        let after = std::mem::replace(&mut self.last_stream, self.applied);
        let position = Position { index: self.applied, closed_ts: self.last_ts };
        applied.stream = Some(Streamed { after, position, routing: self.shards.routing().clone(), news });
    }
}

/// One step of the chain over all decisions, by which replicas compare what they decided.
#[inline]
fn mix(chain: u64, txn: TxnId, decided: u64) -> u64 {
    let id = (txn.0 as u64) ^ ((txn.0 >> 64) as u64).rotate_left(32);
    (chain.rotate_left(5) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ decided.wrapping_mul(0xd6e8_feb8_6659_fd93)
}
