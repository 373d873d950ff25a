//! The adjudicator role: the replicated log, `apply`, and the decision streams.

use crate::config::{CHECKPOINT_BYTES, CHECKPOINT_BYTES_IN_MEMORY, Config};
use crate::metrics;
use crate::node::DataDirError;
use ::metrics::{Counter, Histogram, counter, histogram};
use assize_consensus::{Adjudicator, Founding, Meter, OpenError, Options, Tally};
use assize_model::NodeId;
use assize_ports::Peers;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Keys per bucket of the conflict window.
const KEYS_PER_BUCKET: u64 = 7;

/// Opens the adjudicator in the node's data directory, or in memory, and recovers it. With peers it goes on as a member of
/// their group.
pub async fn open(config: &Config, peers: Option<Arc<dyn Peers>>) -> anyhow::Result<Adjudicator> {
    let node = NodeId(config.node.id);
    let placement = config.first_placement()?;
    let mut options = match &config.node.data {
        Some(_) => Options::new(node, placement),
        None => Options::small(node, placement),
    };
    options.window_log2 = window_log2(config.adjudicator.window_keys);
    options.retained_bytes_max = config.log_bounds().1;
    options.checkpoint_bytes = config.adjudicator.checkpoint_bytes.unwrap_or(match &config.node.data {
        Some(_) => CHECKPOINT_BYTES,
        None => CHECKPOINT_BYTES_IN_MEMORY,
    });
    options.meter = Arc::new(Metered::new());
    options.lease = Duration::from_secs(config.adjudicator.frontend_lease_seconds);
    let directory = config.node.data.as_ref().map(|data| data.join("adjudicator"));
    if directory.as_ref().is_none_or(|directory| !directory.exists()) {
        // Later the placement is the log's.
        config.check_founding()?;
    }
    let founders: BTreeMap<NodeId, String> = config.cluster.founders()?.into_iter().collect();
    options.founding = match (&peers, founders.is_empty()) {
        (None, _) => Founding::Alone,
        (Some(_), false) => Founding::Together(founders),
        (Some(_), true) => Founding::Join,
    };
    let adjudicator = Adjudicator::open(directory, options, peers).await.map_err(|e| match e {
        OpenError::InUse(text) => anyhow::Error::from(DataDirError::InUse(text)),
        OpenError::TooOld(text) => anyhow::anyhow!(text),
        OpenError::Failed(e) => anyhow::Error::from(DataDirError::Unusable(e.to_string())),
    })?;
    let stats = adjudicator.stats();
    tracing::info!(applied = %stats.applied, closed_ts = %stats.closed_ts, "the adjudicator is open");
    Ok(adjudicator)
}

/// Writes what the adjudicator measures of itself into the process's metrics.
struct Metered {
    log_sync: Histogram,
    entry: Histogram,
    commits: Counter,
    conflicts: Counter,
    again: Counter,
    refusals: Counter,
}

impl Metered {
    fn new() -> Metered {
        let of = |outcome: &'static str| {
            let counter = counter!(metrics::ADJUDICATOR_TRANSACTIONS_TOTAL, "outcome" => outcome);
            // So that it is there, and 0, before the first of its kind.
            counter.increment(0);
            counter
        };
        Metered {
            log_sync: histogram!(metrics::ADJUDICATOR_LOG_SYNC_SECONDS),
            entry: histogram!(metrics::ADJUDICATOR_ENTRY_SECONDS),
            commits: of("commit"),
            conflicts: of("conflict"),
            again: of("again"),
            refusals: of("refused"),
        }
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metered")
    }
}

impl Meter for Metered {
    fn log_synced(&self, took: Duration) {
        self.log_sync.record(took);
    }

    fn entry_decided(&self, took: Duration) {
        self.entry.record(took);
    }

    fn decided(&self, tally: Tally) {
        let Tally { commits, conflicts, again, refusals } = tally;
        self.commits.increment(commits);
        self.conflicts.increment(conflicts);
        self.again.increment(again);
        self.refusals.increment(refusals);
    }
}

/// The logarithm of the number of buckets that hold so many keys.
fn window_log2(keys: u64) -> u8 {
    let buckets = keys.div_ceil(KEYS_PER_BUCKET).next_power_of_two().clamp(1 << 8, 1 << 28);
    buckets.trailing_zeros() as u8
}

#[cfg(test)]
mod tests {
    use super::window_log2;

    #[test]
    fn a_window_has_room_for_its_keys() {
        for keys in [0, 1, 7 << 8, (7 << 8) + 1, 1 << 20, u64::MAX] {
            let log2 = window_log2(keys);
            assert!((8..=28).contains(&log2));
            assert!(log2 == 28 || capacity(log2) >= keys, "{keys} keys in 2^{log2} buckets");
        }
    }

    fn capacity(log2: u8) -> u64 {
        super::KEYS_PER_BUCKET << log2
    }
}
