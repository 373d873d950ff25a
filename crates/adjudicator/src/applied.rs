//! What came of a log entry.

use crate::decisions::Decisions;
use crate::outcomes::Known;
use crate::page::PackedPage;
use crate::streamed::Streamed;
use assize_model::*;

/// What came of a log entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The entry.
    pub index: LogIndex,
    /// Of a batch: what was decided about each footprint, in order.
    pub decisions: Decisions,
    /// Of a batch: the first timestamp of its commits, after apply moved it where it belongs.
    pub base_ts: Timestamp,
    /// Of a batch: its number.
    pub batch: BatchNumber,
    /// What the entry means to the shards; `None` if it means nothing to any. Aborts are not in it.
    pub stream: Option<Streamed>,
    /// The catalog's version after the entry.
    pub catalog_version: CatalogVersion,
    /// Outcomes that left memory with this entry and belong into the history on disk.
    pub retired: Vec<PackedPage>,
    /// The answer to whoever proposed it, if it was no batch.
    pub reply: Reply,
}

impl Applied {
    /// What the entry means to each shard, put together; see [`Streamed`].
    pub fn stream_entries(&self) -> Vec<(ShardId, StreamEntry)> {
        self.stream.as_ref().map(Streamed::entries).unwrap_or_default()
    }

    /// Each outcome that left memory.
    pub fn retired_outcomes(&self) -> impl Iterator<Item = (TxnId, Decision)> + '_ {
        self.retired.iter().flat_map(|page| page.outcomes())
    }
}

/// The answer to whoever proposed an entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Reply {
    /// It is done; there is nothing more to say.
    #[default]
    Done,
    /// The cluster had been bootstrapped before.
    AlreadyBootstrapped,
    /// A frontend's new life.
    Granted(FrontendEpoch),
    /// The frontend has had all lives that an id can name.
    FrontendExhausted,
    /// Whether this entry ended that life of the frontend.
    Fenced(bool),
    /// AUTO_INCREMENT values: the first; the others follow at the increment asked for.
    Ids {
        /// The first.
        first: u64,
    },
    /// There are no such AUTO_INCREMENT values left.
    IdsExhausted,
    /// The placement's epoch after the change.
    Placement(Epoch),
    /// The change of the placement, or of a replica's standing, was refused.
    PlacementRefused(PlacementRefusal),
    /// What is known of a transaction after a `Resolve`.
    Outcome(Known),
    /// A `Resolve` could not be recorded: too many outcomes are held.
    OutcomesFull,
    /// The low-water mark after the reports.
    LowWater(Timestamp),
    /// The cluster version after the entry.
    ClusterVersion(u32),
    /// The log knows no node of that number.
    NoSuchNode,
}
