//! What a replica is told when it starts.

use assize_model::{ReplicaId, ShardId};
use assize_mvcc::Step;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a replica is told when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Its shard.
    pub shard: ShardId,
    /// Its number within the shard.
    pub replica: ReplicaId,
    /// What its store is opened with.
    pub store: assize_mvcc::Options,
    /// The position is made durable at least this often, if commits were applied.
    pub flush_after: Duration,
    /// And whenever so many entries have been applied since.
    pub flush_after_entries: u64,
    /// What got no answer is asked again after this long.
    pub retry_after: Duration,
    /// A checkpoint that has not arrived after this long is asked of another sibling.
    pub copy_retry_after: Duration,
    /// What one tick looks at for what can be dropped: little, because whoever reads or writes may wait for it.
    pub collect_step: Step,
    /// The time between two steps of such a walk: a replica may be ticked more often than that.
    pub collect_step_pause: Duration,
    /// What one tick looks at of slots that an entry has given, and that all who use them wait for.
    pub gain_step: Step,
    /// The time between two walks over all versions for what can be dropped.
    pub collect_pause: Duration,
    /// The time between two pages that are compared with the siblings.
    pub compare_pause: Duration,
    /// What one page looks at.
    pub compare_step: Step,
    /// A page that not everybody has answered after this long is given up, and comes again.
    pub compare_retry_after: Duration,
    /// What one tick copies into slots that are being staged: little, because nobody waits for them, and for the other
    /// slots somebody may.
    pub stage_step: Step,
    /// Staged slots that nobody has asked for since this long are dropped.
    pub stage_kept: Duration,
    /// Writes of the giver that nobody gives for this long end an attempt to stage.
    pub stage_patience: Duration,
    /// An entry waits so long for slots that are staged but for the last commits; then they are copied anew.
    pub stage_tail_max: Duration,
    /// How many reads and how many prepares may wait.
    pub waiting_max: usize,
    /// How many stream entries are kept while an intent is being fetched.
    pub entries_max: usize,
    /// Rules that this replica ignores. Only negative controls name any.
    pub disabled_rules: BTreeSet<Rule>,
}

impl Options {
    /// The ordinary options of this replica.
    pub fn new(shard: ShardId, replica: ReplicaId) -> Self {
        Options {
            shard,
            replica,
            store: assize_mvcc::Options::default(),
            flush_after: Duration::from_secs(5),
            flush_after_entries: 50_000,
            retry_after: Duration::from_millis(500),
            copy_retry_after: Duration::from_secs(600),
            collect_step: Step { versions: 2_000, bytes: 256 << 10 },
            collect_step_pause: Duration::from_millis(25),
            gain_step: Step::of(10_000),
            collect_pause: Duration::from_secs(20),
            compare_pause: Duration::from_secs(1),
            compare_step: Step { versions: 4_000, bytes: 2 << 20 },
            compare_retry_after: Duration::from_secs(10),
            stage_step: Step { versions: 2_000, bytes: 128 << 10 },
            stage_kept: Duration::from_secs(60),
            stage_patience: Duration::from_secs(10),
            stage_tail_max: Duration::from_secs(2),
            waiting_max: 10_000,
            entries_max: 4_096,
            disabled_rules: BTreeSet::new(),
        }
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        !self.disabled_rules.contains(&rule)
    }
}

/// A rule whose absence a negative control can show. Those of the store are in [`assize_mvcc::Rule`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Before a replica forgets its intents, its shard's epoch is raised.
    EpochBeforeForgetting,
    /// A learner is registered before its checkpoint is taken.
    RegisterBeforeCheckpoint,
    /// A sibling that cannot be asked has not said no.
    UnreachableIsNotNo,
    /// Intents are deleted only up to the entry as of which the replicas' standings are known.
    StandingsAsOf,
    /// Siblings compare their content, and one that differs is rebuilt.
    CompareContent,
}
