//! How much tables hold, roughly.

use crate::BoxFuture;
use assize_catalog::Table;
use assize_model::TableId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How much a table holds, over all shards, roughly: what its newest rows are, and nothing of what they replaced. Bytes are those
/// of keys and values before they are compressed, and before they are replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TableSize {
    /// Its rows.
    pub rows: u64,
    /// Bytes of its rows.
    pub row_bytes: u64,
    /// Bytes of the entries of its secondary indexes.
    pub index_bytes: u64,
    /// Whether all of it is as recent as was wanted.
    pub is_current: bool,
}

/// How recent sizes are to be, and what that may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freshness {
    /// What has been told within this time is good enough.
    pub max_age: Duration,
    /// Shards that have not answered within this time are not waited for: what they told last is taken.
    pub patience: Duration,
}

/// Tells how much tables hold.
pub trait TableSizes: Send + Sync {
    /// The sizes of these tables; without those of which some shard has never told. It waits no longer than it is told to, and
    /// a shard that cannot be asked holds nobody up.
    fn sizes(
        &self,
        tables: Vec<Arc<Table>>,
        freshness: Freshness,
    ) -> BoxFuture<'_, BTreeMap<TableId, TableSize>>;
}
