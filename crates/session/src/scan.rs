//! Scans over several shards: a k-way merge that remembers what it has fetched.
//!
//! A page takes rows from all shards in key order. What was fetched beyond the page is kept, so that the next page
//! does not fetch it again.

use crate::rules::Rule;
use crate::services::{Services, shard_error};
use assize_model::{Key, KeyRange, Placement, ShardId, SqlError, Timestamp};
use assize_ports::{Direction, ReadView, ScanShards, ShardError};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Rows fetched from one shard at a time, at least.
const FETCH_MIN: usize = 16;
/// And at most.
const FETCH_MAX: usize = 1024;

/// A scan in progress, at one snapshot.
pub(crate) struct Cursor {
    pub(crate) shards: ScanShards,
    pub(crate) direction: Direction,
    pub(crate) snapshot_ts: Timestamp,
    /// What is left to emit; the next page must ask for exactly this.
    pub(crate) next: KeyRange,
    /// The placement by which the range was divided. Every page is asked by it: by a newer one a shard that was split would
    /// hide rows that nobody else is asked for.
    pub(crate) placement: Arc<Placement>,
    parts: Vec<Part>,
}

/// One shard's part of a scan.
struct Part {
    shard: ShardId,
    fetched: VecDeque<(Key, Bytes)>,
    /// What has not been fetched; `None` if nothing is left.
    rest: Option<KeyRange>,
}

impl Cursor {
    /// A scan that has fetched nothing.
    pub(crate) fn new(
        placement: Arc<Placement>,
        shards: ScanShards,
        range: KeyRange,
        direction: Direction,
        snapshot_ts: Timestamp,
    ) -> Self {
        let ids: BTreeSet<ShardId> = match shards {
            // A shard that has given all of its slots away shows nothing to this placement, and may cease at any moment.
            ScanShards::All => placement.ranges.values().copied().collect(),
            ScanShards::Slot(slot) => BTreeSet::from([placement.shard_of(slot)]),
        };
        let part = |shard| Part {
            shard,
            fetched: VecDeque::new(),
            rest: (!range.is_empty()).then(|| range.clone()),
        };
        let parts = ids.into_iter().map(part).collect();
        Cursor { shards, direction, snapshot_ts, placement, parts, next: range }
    }

    /// Whether some shard has to be asked before the next row is known.
    pub(crate) fn needs_rows(&self) -> bool {
        self.parts.iter().any(|p| p.fetched.is_empty() && p.rest.is_some())
    }

    /// Asks every shard that has run dry for more rows, all at once.
    pub(crate) async fn fetch(&mut self, services: &Services, limit: usize) -> Result<(), FetchError> {
        let placement = self.placement.clone();
        let limit = limit.clamp(FETCH_MIN, FETCH_MAX);
        let (direction, snapshot_ts) = (self.direction, self.snapshot_ts);
        let fetches = self.parts.iter_mut().filter(|p| p.fetched.is_empty()).filter_map(|part| {
            let range = part.rest.clone()?;
            let placement = &placement;
            Some(async move {
                let (shard, mut epoch) = services.shard(placement, part.shard)?;
                if !services.keeps(Rule::DivideAgain) {
                    epoch = services.placement().shard_epoch(part.shard).unwrap_or(epoch);
                }
                let view = ReadView { snapshot_ts, epoch };
                let page = shard.scan(view, &range, direction, limit).await?;
                part.fetched.extend(page.rows);
                part.rest = page.rest;
                Ok(())
            })
        });
        let outcomes: Vec<Result<(), FetchError>> = futures_util::future::join_all(fetches).await;
        outcomes.into_iter().collect()
    }

    /// The next key in scan order among what is fetched.
    pub(crate) fn peek(&self) -> Option<&Key> {
        let heads = self.parts.iter().filter_map(|p| p.fetched.front().map(|(key, _)| key));
        match self.direction {
            Direction::Forward => heads.min(),
            Direction::Reverse => heads.max(),
        }
    }

    /// Takes the next row.
    pub(crate) fn pop(&mut self) -> Option<(Key, Bytes)> {
        let direction = self.direction;
        let part = self.parts.iter_mut().filter(|p| !p.fetched.is_empty()).min_by(|a, b| {
            let order = a.fetched[0].0.cmp(&b.fetched[0].0);
            if direction == Direction::Reverse { order.reverse() } else { order }
        })?;
        part.fetched.pop_front()
    }

    /// Notes that everything up to and including this key has been emitted.
    pub(crate) fn emitted(&mut self, key: &Key) {
        match self.direction {
            Direction::Forward => self.next.start = key.successor(),
            Direction::Reverse => self.next.end = key.clone(),
        }
    }
}

/// Why a fetch did not bring rows.
pub(crate) enum FetchError {
    /// The placement has changed: begin again with the new one (a scan from `next` on).
    Reroute,
    /// Nobody answers where the shard was. If it has moved, begin again; if not, tell the client.
    Silence(ShardError),
    /// Tell the client.
    Failed(SqlError),
}

impl From<ShardError> for FetchError {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::StaleEpoch { .. } => FetchError::Reroute,
            ShardError::Unreachable(..) | ShardError::Stopped(..) => FetchError::Silence(error),
            ShardError::SnapshotTooOld(_) => FetchError::Failed(shard_error(error)),
        }
    }
}

impl FetchError {
    /// The placement with which to begin again after this, if that helps; otherwise what the client is told.
    pub(crate) async fn placement_after(
        self,
        services: &Services,
        before: &Placement,
    ) -> Result<Arc<Placement>, SqlError> {
        match self {
            FetchError::Reroute => services.refresh_placement().await,
            FetchError::Silence(error) => {
                let newest = services.refresh_placement().await?;
                if newest.epoch > before.epoch { Ok(newest) } else { Err(shard_error(error)) }
            }
            FetchError::Failed(error) => Err(error),
        }
    }
}
