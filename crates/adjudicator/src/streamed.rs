//! What a log entry means to the shards, put together only when a shard asks.
//!
//! Between the log and a shard's replicas stands a stream; apply fills it a million times a second. So an entry of the
//! stream is the log entry itself (shared memory), what was decided, and where slots lay at that moment. A
//! shard's part, a [`StreamEntry`], is made from these when somebody reads it.

use crate::command::Batch;
use crate::decisions::Decisions;
use crate::placement::Routing;
use assize_model::*;
use std::sync::Arc;

/// One log entry, for all shards. Clones share memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Streamed {
    pub(crate) after: LogIndex,
    pub(crate) position: Position,
    pub(crate) routing: Arc<Routing>,
    pub(crate) news: News,
}

/// What an entry tells shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// That it has passed, and time with it.
    Nothing,
    /// Commits.
    Batch(Batch, Decisions),
    /// These shards have new epochs and slots.
    Placement(Vec<ShardNews>),
    /// The low-water mark has risen.
    LowWater(Timestamp),
}

/// What a placement says of one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ShardNews {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) slots: Vec<(Slot, Slot)>,
}

impl Streamed {
    /// An entry that tells these shards no more than that it has passed.
    pub fn quiet(after: LogIndex, position: Position, shards: impl IntoIterator<Item = ShardId>) -> Self {
        Streamed { after, position, routing: Arc::new(Routing::of_shards(shards)), news: News::Nothing }
    }

    /// Where a replica stands once it has taken this in.
    pub fn position(&self) -> Position {
        self.position
    }

    /// How many bytes of the log it keeps in memory, about.
    pub fn bytes(&self) -> usize {
        match &self.news {
            News::Batch(batch, _) => batch.bytes().len(),
            News::Nothing | News::Placement(_) | News::LowWater(_) => 0,
        }
    }

    /// Whether the placement at this entry has this shard.
    pub fn concerns(&self, shard: ShardId) -> bool {
        self.routing.place_of(shard).is_some()
    }

    /// This shard's part; `None` if the placement at this entry has no such shard.
    pub fn entry(&self, shard: ShardId) -> Option<StreamEntry> {
        let place = self.routing.place_of(shard)?;
        let mut entry = StreamEntry {
            after: self.after,
            position: self.position,
            commits: Vec::new(),
            epoch: None,
            slots: None,
            low_water: None,
        };
        match &self.news {
            News::Nothing => {}
            News::Batch(batch, decisions) => entry.commits = self.commits(place, shard, batch, decisions),
            News::Placement(changed) => {
                if let Some(news) = changed.iter().find(|news| news.shard == shard) {
                    entry.epoch = Some(news.epoch);
                    entry.slots = Some(news.slots.clone());
                }
            }
            News::LowWater(low_water) => entry.low_water = Some(*low_water),
        }
        Some(entry)
    }

    /// All shards' parts, in the shards' order.
    pub fn entries(&self) -> Vec<(ShardId, StreamEntry)> {
        self.routing.shards().filter_map(|shard| Some((shard, self.entry(shard)?))).collect()
    }

    /// The commits that touch a shard: writes go to the shards that held their slots at this entry.
    fn commits(
        &self,
        place: usize,
        shard: ShardId,
        batch: &Batch,
        decisions: &Decisions,
    ) -> Vec<ShardCommit> {
        let mut commits = Vec::new();
        for (view, commit_ts) in batch.views().zip(decisions.committed_here()) {
            let Some(commit_ts) = commit_ts else { continue };
            let mut commit = |writes| commits.push(ShardCommit { txn: view.txn(), commit_ts, writes });
            for receipt in view.receipts().filter(|receipt| receipt.shard == shard) {
                commit(ShardWrites::Prepared { epoch: receipt.epoch, digest: receipt.digest });
            }
            let is_here = |slot| self.routing.route(slot) == place;
            let inline: Vec<Mutation> = view.mutations(batch.bytes(), is_here).collect();
            if !inline.is_empty() {
                commit(ShardWrites::Inline(inline));
            }
        }
        commits
    }
}
