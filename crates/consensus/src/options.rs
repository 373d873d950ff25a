//! What an adjudicator node is started with.

use crate::founding::Founding;
use crate::meter::{Meter, Unmetered};
use crate::wal;
use assize_model::{FOOTPRINT_BYTES_MAX, NodeId, Placement};
use std::sync::Arc;
use std::time::Duration;

/// What an adjudicator node is started with. The defaults are right for a server; tests make things smaller.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// Where everything lies, should the cluster be new.
    pub placement: Placement,
    /// The conflict window of a new cluster has `1 << window_log2` buckets of 64 bytes.
    pub window_log2: u8,
    /// Sizes of the log.
    pub wal: wal::Options,
    /// A checkpoint is taken once so many bytes of commands have been applied since the one before.
    pub checkpoint_bytes: u64,
    /// Of a checkpoint that comes from another node, what has come is kept over a restart every so many bytes.
    pub keep_incoming_every: u64,
    /// Commits are refused while replicas that count lag so many bytes of commands behind in persisting.
    pub retained_bytes_max: u64,
    /// Commits are refused while the log can write less than this without new space from the disk…
    pub headroom_min: u64,
    /// … or while the disk has less than this left. Shards need space too.
    pub free_min: u64,
    /// At most so many commits wait for their place in an entry; more are told to come again.
    pub queue_max: usize,
    /// A footprint, or an entry of another kind, that has more bytes is refused.
    pub entry_bytes_max: usize,
    /// How this node begins if its disk is empty.
    pub founding: Founding,
    /// How often the leader says that it lives. A follower that hears nothing for 7 to 8 of these calls an election.
    pub heartbeat: Duration,
    /// How often the nodes compare the hashes of their states while transactions are decided.
    pub compare_every: Duration,
    /// A frontend of which nothing was heard for this long, since it registered or reported, is fenced.
    pub lease: Duration,
    /// The highest cluster version that this node may say it understands, at most what the program does. Lower in tests that
    /// stand for an older release.
    pub cluster_version_max: u32,
    /// Who keeps figures of this node's work.
    pub meter: Arc<dyn Meter>,
}

impl Options {
    /// Ordinary sizes.
    pub fn new(node: NodeId, placement: Placement) -> Self {
        Options {
            node,
            placement,
            window_log2: 18,
            wal: wal::Options::default(),
            checkpoint_bytes: 256 << 20,
            keep_incoming_every: 16 << 20,
            retained_bytes_max: 4 << 30,
            headroom_min: 1 << 20,
            free_min: 64 << 20,
            queue_max: 64 << 10,
            entry_bytes_max: FOOTPRINT_BYTES_MAX,
            founding: Founding::Alone,
            heartbeat: Duration::from_millis(100),
            compare_every: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            cluster_version_max: assize_adjudicator::CLUSTER_VERSION_MAX,
            meter: Arc::new(Unmetered),
        }
    }

    /// Sizes for a cluster in memory, which should not cost much of it.
    pub fn small(node: NodeId, placement: Placement) -> Self {
        Options {
            window_log2: 14,
            wal: wal::Options { segment_size: 2 << 20, cache_max: 4 << 20, ..wal::Options::default() },
            checkpoint_bytes: 8 << 20,
            keep_incoming_every: u64::MAX,
            headroom_min: 64 << 10,
            ..Options::new(node, placement)
        }
    }
}
