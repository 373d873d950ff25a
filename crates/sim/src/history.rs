//! What happened, as clients saw it and as the world's own eye did.

use assize_model::*;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a statement read.
#[derive(Clone, Debug)]
pub struct Observed {
    /// At which snapshot.
    pub snapshot_ts: Timestamp,
    /// The keys that could have been seen.
    pub range: KeyRange,
    /// What was seen.
    pub rows: Vec<(Key, Bytes)>,
    /// What the transaction itself made of some of those keys: written, or held as they were at another snapshot.
    pub own: BTreeMap<Key, Option<Bytes>>,
    /// Whether it must not have changed by the commit.
    pub is_checked: bool,
}

/// What a client was told in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is committed.
    Committed(TxnId, Timestamp),
    /// It is not, and never will be.
    Aborted,
    /// Nobody could say in time.
    Unknown,
    /// There was nothing to decide.
    Ended,
}

/// A transaction from its client's side.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its kind, for messages.
    pub kind: &'static str,
    /// When its client asked for a snapshot.
    pub asked_at: u64,
    /// Ids under which it tried to commit.
    pub ids: Vec<TxnId>,
    /// Its statements' reads.
    pub reads: Vec<Observed>,
    /// Its writes, each with the snapshot at which it was first made.
    pub writes: Vec<(Timestamp, Mutation)>,
    /// The schema version that it planned with.
    pub schema: Option<(TableId, SchemaVersion)>,
    /// What the client was told, and when. `None`: its frontend died first.
    pub told: Option<(u64, Told)>,
}

/// A shard that split off from another one.
#[derive(Clone, Debug)]
pub struct Split {
    /// The elder.
    pub from: ShardId,
    /// The younger.
    pub to: ShardId,
    /// The numbers of its replicas, which are those of the elder's at that time.
    pub replicas: BTreeSet<ReplicaId>,
}

/// What happened in a run.
#[derive(Debug, Default)]
pub struct History {
    /// Every transaction that began.
    pub txns: Vec<Transaction>,
    /// The replicated log. Entry `i` has the index `i + 1`.
    pub log: Vec<Bytes>,
    /// Snapshots that were issued, with the length of the log then.
    pub issued: Vec<(usize, Timestamp)>,
    /// Who voted Yes.
    pub yes: BTreeMap<(TxnId, ShardId), BTreeSet<ReplicaId>>,
    /// Commits that a replica has heard of, with their entries.
    pub streamed: BTreeMap<TxnId, LogIndex>,
    /// The running hash of decisions after each entry, as the first node had it.
    pub chains: BTreeMap<LogIndex, u64>,
    /// The oldest snapshots that clients hold, with the life of their frontend.
    pub live: BTreeMap<(usize, usize), (FrontendEpoch, Timestamp)>,
    /// Entries that moved slots: from which shards to which.
    pub moves: BTreeMap<LogIndex, Vec<(ShardId, ShardId)>>,
    /// Those of them that split a shard.
    pub splits: BTreeMap<LogIndex, Split>,
    /// How often a replica gained slots that were staged there, without copying anything at the entry.
    pub staged: u64,
    /// How often an attempt to stage ended in another way.
    pub unstaged: u64,
    /// How many nodes joined the adjudicator's group.
    pub joins: u64,
    /// How many left it.
    pub leaves: u64,
    /// How often a wall clock was set.
    pub clock_steps: u64,
    /// How many replicas were replaced by others.
    pub replacements: u64,
    /// Entries that removed a shard after its slots had gone.
    pub removed: BTreeSet<LogIndex>,
    /// How many rows were damaged.
    pub damages: u64,
    /// How often replicas were found to differ.
    pub differences: u64,
    /// How often a shard said that a read had been routed by an old placement.
    pub reroutes: u64,
    /// How often shards were asked what the conflict window had forgotten.
    pub refreshes: u64,
    /// How often a frontend that had been fenced began another life, with all its sessions.
    pub second_lives: u64,
    /// How many transactions were left in the middle by their client.
    pub desertions: u64,
    /// How many messages had been sent when the first client was told something.
    pub effects_until_told: Option<u64>,
    /// What was seen to be wrong while it happened.
    pub seen: Vec<Violation>,
}

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{invariant}: {what}")]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A violation.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Violation { invariant, what: what.into() }
    }
}

impl History {
    /// Notes what was seen to be wrong.
    pub fn wrong(&mut self, invariant: &'static str, what: impl Into<String>) {
        self.seen.push(Violation::new(invariant, what));
    }
}
