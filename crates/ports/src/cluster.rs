//! The cluster, as an operator sees it: the admin API, the shell and the SQL twins all stand on these traits.

use crate::{BoxFuture, ForeignTroubles, Strain, TableSize};
use assize_model::{NodeId, Outcome, ReplicaId, Slot, TxnId};
use serde::{Deserialize, Serialize};

/// A node is given a shard replica only if its disk has this much more free than the replica needs.
pub const ROOM_MIN_BYTES: u64 = 512 << 20;

/// Seconds before its end at which a certificate has to be replaced.
pub const CERTIFICATE_SECONDS_LOW: i64 = 14 * 24 * 60 * 60;

/// Milliseconds for which a leader's entries may come through to no majority before it is said that something is wrong.
pub const STALLED_MILLIS_MAX: u64 = 10_000;

/// An operator's request could not be answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ClusterError {
    /// There is no such node, shard, session, …: the text names it.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense, or not in the present state.
    #[error("{0}")]
    Refused(String),
    /// Somebody who is needed does not answer: try again.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

/// What a node does in the adjudicator's group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemberRole {
    /// Leads it.
    Leader,
    /// Votes.
    Voter,
    /// Follows without a vote.
    Learner,
    /// Has no part in it (a node of shards or frontends only).
    None,
}

/// One node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its number.
    pub node: u64,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where its admin API is; empty if unknown.
    pub admin_address: String,
    /// Where MySQL clients connect; empty if it runs no frontend.
    pub mysql_address: String,
    /// `adjudicator`, `shard`, `frontend`.
    pub roles: Vec<String>,
    /// Failure domain; replicas of a shard are spread over zones.
    pub zone: String,
    /// Release of the binary; empty if the node does not answer.
    pub version: String,
    /// Its part in the adjudicator's group.
    pub member_role: MemberRole,
    /// Whether it answered when it was asked for this.
    pub is_reachable: bool,
    /// The last log entry it has applied.
    pub applied_index: u64,
    /// The last log entry it has on disk.
    pub log_index: u64,
    /// Its Raft term.
    pub term: u64,
    /// Hash of its state at `hash_index`; equal indexes must mean equal hashes.
    pub state_hash: u64,
    /// The entry at which the hash was taken.
    pub hash_index: u64,
    /// Milliseconds since it started.
    pub uptime_millis: u64,
    /// Bytes free on its data disk; `None`: it has not said so, or keeps its data in memory.
    pub disk_free_bytes: Option<u64>,
    /// Why it takes no writes, or empty.
    pub trouble: String,
    /// Whether it is draining: it is to give up its replicas and takes no connections.
    pub is_draining: bool,
    /// Shard replicas that the placement has on it.
    pub replicas: u32,
    /// The highest cluster version that its binary understands, as the log has it; 0 if it has not said so.
    pub cluster_version_max: u32,
    /// What it is behind with, so that it takes no new transactions that write; empty: nothing.
    pub strains: Vec<Strain>,
    /// Whether it keeps its data in memory, and nothing of it when it ends.
    pub is_in_memory: bool,
    /// Of its certificates the one that expires first; `None`: it has none, or has not said so.
    pub certificate: Option<CertificateInfo>,
    /// Whether it runs although the cluster has removed it, as it was told by the leader.
    pub is_removed: bool,
    /// Why the cluster has not let it in since it started; `None`: it has.
    pub rebuff: Option<Rebuff>,
    /// On the leader: for how many milliseconds entries of its log have come through to no majority, without any progress.
    pub stalled_millis: u64,
}

/// Why a node has not been let in by its cluster, as it has heard last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rebuff {
    /// What it is about.
    pub cause: RebuffCause,
    /// In words.
    pub what: String,
    /// For how many seconds it has been about that.
    pub seconds: u64,
}

/// What it is about that a node is not let in, in rising order of how much it says: of several the greatest is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RebuffCause {
    /// Nobody answers.
    Silence,
    /// Somebody does, and no node leads.
    Leaderless,
    /// Connections fail over certificates.
    Certificate,
    /// Somebody refuses it.
    Refusal,
    /// Its join token is not the cluster's.
    Token,
}

impl Rebuff {
    /// Whether waiting is of no use: something has to be put right.
    pub fn is_lasting(&self) -> bool {
        self.cause >= RebuffCause::Certificate
    }
}

/// A certificate that a node uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// The setting that names its file: `peers.tls_certificate`.
    pub setting: String,
    /// Seconds until it expires, by the node's clock; negative: since it has expired.
    pub seconds_left: i64,
}

impl MemberInfo {
    /// Whether it has a vote in the adjudicator's group.
    pub fn votes(&self) -> bool {
        matches!(self.member_role, MemberRole::Leader | MemberRole::Voter)
    }

    /// What is wrong with it, in words: why it takes no writes, or else what it is behind with; empty: nothing.
    pub fn trouble_words(&self) -> String {
        if !self.trouble.is_empty() || self.strains.is_empty() {
            return self.trouble.clone();
        }
        let strains: Vec<String> = self.strains.iter().map(ToString::to_string).collect();
        format!("new transactions are shed: {}", strains.join("; "))
    }
}

impl Members {
    /// Those that take part in the adjudicator's group.
    pub fn group(&self) -> Vec<&MemberInfo> {
        self.members.iter().filter(|member| member.member_role != MemberRole::None).collect()
    }

    /// Whether most of those that have a vote answer: without them nothing commits, and nobody can be added or removed.
    pub fn has_majority(&self) -> bool {
        let votes = || self.members.iter().filter(|member| member.votes());
        votes().next().is_some() && votes().filter(|m| m.is_reachable).count() >= majority(votes().count())
    }

    /// The last entry of the longest log in that group, as far as its members answer.
    pub fn longest_log(&self) -> u64 {
        let answering = self.group().into_iter().filter(|member| member.is_reachable);
        answering.map(|member| member.log_index).max().unwrap_or(0)
    }
}

/// How many of so many are most of them.
pub fn majority(of: usize) -> usize {
    of / 2 + 1
}

/// All nodes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Members {
    /// The cluster's id.
    pub cluster: u128,
    /// The version up to which every node understands the log.
    pub cluster_version: u32,
    /// The leader, if there is one.
    pub leader: Option<u64>,
    /// Every node, by number.
    pub members: Vec<MemberInfo>,
    /// So many replicas every shard is to have (`shard.replicas`); 0: nobody has said so.
    pub replicas_wanted: u32,
    /// So many of them the nodes that founded the cluster could hold: with fewer nodes something is missing.
    pub replicas_founded: u32,
}

/// One replica of a shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// Its number within the shard.
    pub replica: u8,
    /// Where it is.
    pub node: u64,
    /// Whether the log and intents wait for it.
    pub counts: bool,
    /// Whether it is still copying.
    pub is_learning: bool,
    /// How far it has persisted the decision stream.
    pub durable_index: u64,
    /// Milliseconds by which its applied closed timestamp is behind the leader's; `None` if it does not answer.
    pub lag_millis: Option<u64>,
    /// `following`, `copying`, `halted: …`, `unreachable`.
    pub state: String,
}

/// One shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Its number.
    pub shard: u32,
    /// Its placement epoch.
    pub epoch: u64,
    /// Its slots as inclusive runs.
    pub slots: Vec<(u16, u16)>,
    /// Its replicas.
    pub replicas: Vec<ReplicaInfo>,
    /// Estimated bytes on disk of one replica.
    pub bytes: u64,
}

/// A side of a conflict.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ConflictSide {
    /// The transaction, as `TxnId` prints and reads; empty if unknown.
    pub txn: String,
    /// The node that ran it.
    pub node: u64,
    /// Its connection; 0 if unknown.
    pub connection: u32,
    /// `user@host`; empty if unknown.
    pub user: String,
    /// Normalised texts of its last statements, oldest first.
    pub statements: Vec<String>,
    /// How long it had run when the conflict was decided, in microseconds; `None` if unknown.
    pub age_micros: Option<u64>,
}

/// One abort, explained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConflictRecord {
    /// As in the error text: `c-7f3a`.
    pub id: String,
    /// When, in microseconds since the Unix epoch.
    pub at_micros: i64,
    /// `conflict`, `deadlock`, `schema changed`, `lock wait timeout`, …
    pub kind: String,
    /// `shop.stock`; empty if unknown.
    pub table: String,
    /// `PRIMARY` or the index's name.
    pub index: String,
    /// The decoded key, as `(42, 'a')`.
    pub key: String,
    /// Who lost.
    pub loser: ConflictSide,
    /// Who won, as far as it is known.
    pub winner: ConflictSide,
    /// How long before the loser's decision the winner had committed, in microseconds; `None` if that is not known well enough.
    pub committed_before_micros: Option<u64>,
    /// If it is not: it was no longer than this.
    #[serde(default)]
    pub committed_before_at_most_micros: Option<u64>,
    /// Whether the server ran the statement again by itself.
    pub was_retried: bool,
}

/// A key on which transactions often conflict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HotKey {
    /// `shop.stock`.
    pub table: String,
    /// `PRIMARY` or the index's name.
    pub index: String,
    /// The decoded key.
    pub key: String,
    /// Conflicts on it that are remembered.
    pub conflicts: u64,
    /// The last of them, in microseconds since the Unix epoch.
    pub last_micros: i64,
}

/// An open transaction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TransactionInfo {
    /// Where it runs.
    pub node: u64,
    /// Its connection.
    pub connection: u32,
    /// `user@host`.
    pub user: String,
    /// Its snapshot's timestamp; 0 before its first statement.
    pub snapshot_ts: u64,
    /// Isolation level.
    pub isolation: String,
    /// Age in microseconds.
    pub age_micros: u64,
    /// Rows it has written so far.
    pub writes: u64,
    /// Bytes it has buffered.
    pub bytes: u64,
    /// The statement it runs or ran last, normalised.
    pub statement: String,
    /// `running`, `idle`, `committing`.
    pub state: String,
}

/// A client connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Where.
    pub node: u64,
    /// Its connection id, unique within the node, and within a cluster of nodes up to number 1023.
    pub connection: u32,
    /// User.
    pub user: String,
    /// Client's address.
    pub host: String,
    /// Selected database.
    pub database: String,
    /// `Query`, `Sleep`, …
    pub command: String,
    /// Seconds in this state.
    pub seconds: u64,
    /// Statement, if one runs.
    pub statement: String,
}

/// Bits of a connection's number below those of its node, if there are any of its node.
pub const CONNECTION_BITS: u32 = 22;

/// The node whose number is in the upper bits of its connections' numbers, so that no other node gives the same; `None` of a
/// number of a node that is alone, or is above 1023.
pub fn node_of_connection(connection: u32) -> Option<NodeId> {
    match connection >> CONNECTION_BITS {
        0 => None,
        node => Some(NodeId(node.into())),
    }
}

/// Statistics of one normalised statement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DigestInfo {
    /// Where.
    pub node: u64,
    /// The normalised text.
    pub text: String,
    /// Runs.
    pub count: u64,
    /// Microseconds in all.
    pub total_micros: u64,
    /// Rows in all.
    pub rows: u64,
    /// Runs that failed.
    pub errors: u64,
}

/// A statement that took long.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SlowStatement {
    /// Where.
    pub node: u64,
    /// When it began, in microseconds since the Unix epoch.
    pub at_micros: i64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Whose.
    pub user: String,
    /// The normalised text.
    pub text: String,
}

/// A piece of long work: a split, a move, an index build.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its name: kind, node and number, as in `split-1.3`. No other job has it, on whatever node.
    pub id: String,
    /// What it does, in words.
    pub what: String,
    /// `running`, `done`, `failed: …`.
    pub state: String,
    /// In words: which step it is at.
    pub step: String,
    /// When it began, in microseconds since the Unix epoch.
    pub began_micros: i64,
    /// Microseconds so far or in all.
    pub micros: u64,
    /// The longest time that writes were held up by it, in microseconds.
    pub longest_stall_micros: u64,
    /// Rows done at this step, if a statement does it; `None` of work on shards.
    #[serde(default)]
    pub rows: Option<u64>,
}

/// Long work, as the nodes that answer tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<JobInfo>,
    /// The nodes that did not answer: what they are at is missing.
    pub silent: Vec<u64>,
}

/// What frontends have done, as the nodes that answer tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrafficList {
    /// One for each frontend.
    pub frontends: Vec<TrafficInfo>,
    /// The nodes that did not answer: what they have done is missing.
    pub silent: Vec<u64>,
}

/// What one node tells an operator about itself: other nodes gather these.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    /// Connections.
    pub sessions: Vec<SessionInfo>,
    /// Open transactions.
    pub transactions: Vec<TransactionInfo>,
    /// Aborts, newest first.
    pub conflicts: Vec<ConflictRecord>,
    /// Statements, most time first.
    pub digests: Vec<DigestInfo>,
    /// Slow statements, newest first.
    pub slow: Vec<SlowStatement>,
    /// Those of the winners asked for that this node ran and still remembers.
    pub winners: Vec<ConflictSide>,
    /// The nodes that did not answer, by number: what they know is missing.
    pub silent: Vec<u64>,
}

/// Which parts of a [`NodeReport`] are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportParts {
    /// Connections.
    pub sessions: bool,
    /// Open transactions.
    pub transactions: bool,
    /// Aborts.
    pub conflicts: bool,
    /// Digests.
    pub digests: bool,
    /// Slow statements.
    pub slow: bool,
    /// Transactions that won conflicts elsewhere, as `TxnId` prints: who ran them, and what they did. See
    /// [`crate::unknown_winners`].
    pub winners: Vec<String>,
}

/// A database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How many tables it has.
    pub tables: u32,
    /// Default collation.
    pub collation: String,
}

/// A column, as far as an operator cares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it: `decimal(10,2) unsigned`.
    pub kind: String,
    /// Whether it may be NULL.
    pub is_nullable: bool,
}

/// An index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexInfo {
    /// `PRIMARY` or its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Whether values are unique.
    pub is_unique: bool,
    /// `public`, or which step of its build it is at.
    pub state: String,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableInfo {
    /// Its database's name.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its number; never reused.
    pub id: u32,
    /// How often its definition has changed.
    pub version: u32,
    /// The columns whose values place a row on a shard.
    pub sharding_columns: Vec<String>,
    /// Its columns, in order.
    pub columns: Vec<ColumnInfo>,
    /// Its indexes, the primary key first.
    pub indexes: Vec<IndexInfo>,
    /// How much it holds, roughly; `None`: nobody has asked, or some shard has never told.
    pub size: Option<TableSize>,
}

/// Databases and tables, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SchemaInfo {
    /// How often the catalog as a whole has changed.
    pub version: u64,
    /// All databases.
    pub databases: Vec<DatabaseInfo>,
    /// All tables of all databases.
    pub tables: Vec<TableInfo>,
}

/// What a frontend has done since it started; two of these, a while apart, give rates.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrafficInfo {
    /// Where.
    pub node: u64,
    /// When the counters were read, in microseconds since the Unix epoch, by the node's own clock.
    pub at_micros: i64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions aborted by the system.
    pub aborts: u64,
    /// Statements run.
    pub statements: u64,
    /// Connections now.
    pub connections: u64,
}

/// What an operator can have done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Another voter should lead.
    TransferLeadership {
        /// Which node; `None`: any voter that is up to date.
        to: Option<u64>,
    },
    /// A node that has joined follows the log without a vote.
    AddLearner {
        /// Which.
        node: u64,
    },
    /// A learner gets a vote.
    Promote {
        /// Which.
        node: u64,
    },
    /// A node leaves the group and is forgotten. Refused while it holds replicas, unless forced.
    RemoveMember {
        /// Which.
        node: u64,
        /// It is lost for good.
        force: bool,
    },
    /// A node gives up leadership and its shard replicas, and takes no more connections, until it is undrained.
    Drain {
        /// Which.
        node: u64,
        /// Although no other frontend serves clients.
        #[serde(default)]
        force: bool,
    },
    /// A node that drains, or is drained, may have replicas again and takes connections.
    Undrain {
        /// Which.
        node: u64,
    },
    /// The part of the two above that is the leader's: the log says whether the node is to give up its shard replicas.
    MarkDraining {
        /// Which.
        node: u64,
        /// Whether it is to give them up.
        drains: bool,
    },
    /// Compares the state of adjudicator replicas and the content of shard replicas.
    VerifyReplicas,
    /// Half of a shard's slots, or those from a slot on, go to a new shard.
    Split {
        /// Which shard.
        shard: u32,
        /// The first slot that goes; `None`: the middle.
        at: Option<u16>,
    },
    /// All slots of a shard go to another one, and it ceases.
    Merge {
        /// Whose slots go.
        from: u32,
        /// Where they go.
        into: u32,
    },
    /// A replica goes from one node to another.
    MoveReplica {
        /// Which shard.
        shard: u32,
        /// Where it is.
        from: u64,
        /// Where it goes.
        to: u64,
    },
    /// A shard gets one more replica.
    AddReplica {
        /// Which shard.
        shard: u32,
        /// On which node.
        node: u64,
    },
    /// A shard gives one up.
    RemoveReplica {
        /// Which shard.
        shard: u32,
        /// Of which node.
        node: u64,
    },
    /// A shard that has lost most of its replicas for good goes on with those that are left: what only the others had is lost.
    RecoverShard {
        /// Which shard.
        shard: u32,
    },
    /// Ends a connection, or its statement.
    KillSession {
        /// Where.
        node: u64,
        /// Which.
        connection: u32,
        /// Only its statement.
        query_only: bool,
    },
}

impl Action {
    /// The call of the admin API that asks for it, whoever asks by which way.
    pub fn rpc(&self) -> &'static str {
        match self {
            Action::TransferLeadership { .. } => "Cluster.TransferLeadership",
            Action::AddLearner { .. } => "Cluster.AddLearner",
            Action::Promote { .. } => "Cluster.PromoteMember",
            Action::RemoveMember { .. } => "Cluster.RemoveMember",
            Action::Drain { .. } | Action::MarkDraining { drains: true, .. } => "Cluster.DrainNode",
            Action::Undrain { .. } | Action::MarkDraining { drains: false, .. } => "Cluster.UndrainNode",
            Action::VerifyReplicas => "Cluster.VerifyReplicas",
            Action::Split { .. } => "Shards.Split",
            Action::Merge { .. } => "Shards.Merge",
            Action::MoveReplica { .. } => "Shards.MoveReplica",
            Action::AddReplica { .. } => "Shards.AddReplica",
            Action::RemoveReplica { .. } => "Shards.RemoveReplica",
            Action::RecoverShard { .. } => "Shards.Recover",
            Action::KillSession { .. } => "Sessions.Kill",
        }
    }
}

/// What came of an [`Action`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ActionDone {
    /// In words.
    pub text: String,
    /// The job that goes on, for long work.
    pub job: Option<String>,
    /// What replicas were found to be, if they were compared.
    #[serde(default)]
    pub verified: Option<Verified>,
}

/// What a comparison of replicas has shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Verified {
    /// All were compared, and are equal.
    Equal,
    /// Those that were compared are equal, and some could not be compared.
    Incomplete,
    /// Some differ.
    Differ,
}

/// What can be watched as it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    /// Aborts of this node's sessions.
    Conflicts,
    /// The placement, and what is under way with it.
    Shards,
    /// Long work.
    Jobs,
}

/// The cluster, as an operator sees it.
pub trait ClusterView: Send + Sync {
    /// This node.
    fn node(&self) -> NodeId;
    /// All nodes, asked now.
    fn members(&self) -> BoxFuture<'_, Result<Members, ClusterError>>;
    /// All shards.
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardInfo>, ClusterError>>;
    /// The reports of all nodes that answer, put together ([`NodeReport::put_together`]), with the winners of conflicts
    /// completed as far as any node remembers them.
    fn report(&self, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>>;
    /// What one node reports, which is silent if it does not answer; an error if there is no such node. A view that cannot ask one
    /// alone asks all.
    fn report_of(&self, node: NodeId, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        let _ = node;
        self.report(parts)
    }
    /// What became of a transaction.
    fn outcome(&self, txn: TxnId) -> BoxFuture<'_, Result<Outcome, ClusterError>>;
    /// Long work of the last day.
    fn jobs(&self) -> BoxFuture<'_, Result<JobList, ClusterError>>;
    /// Databases and tables, as this node's catalog has them now; with what they hold, if that is wanted.
    fn schema(&self, with_sizes: bool) -> BoxFuture<'_, Result<SchemaInfo, ClusterError>>;
    /// The counters of every frontend that answers.
    fn traffic(&self) -> BoxFuture<'_, Result<TrafficList, ClusterError>>;
    /// Does something, or with `validate_only` says whether it could be done. `who` goes into the audit log.
    fn act<'a>(
        &'a self,
        action: Action,
        validate_only: bool,
        who: &'a str,
    ) -> BoxFuture<'a, Result<ActionDone, ClusterError>>;
    /// The effective configuration of this node: key, value, origin.
    fn config(&self) -> Vec<(String, String, String)>;
    /// Whether there are nodes besides this one. Nobody tells this node of their changes: they have to be asked.
    fn has_others(&self) -> bool {
        true
    }
    /// Whether no leader is heard of, so that members, shards and the schema are told as this node knew them last.
    fn may_be_old(&self) -> bool {
        false
    }
    /// What is in the way on foreign servers, as this node's frontend sees it; nothing if it has none.
    fn foreign(&self) -> ForeignTroubles {
        ForeignTroubles::default()
    }
    /// Completes once something in this process has changed since the change of this number, with the number of the last
    /// change; with `None` at once. What is looked at after a number was told contains that change. A view that cannot
    /// tell completes never.
    fn changed(&self, what: Watched, seen: Option<u64>) -> BoxFuture<'_, u64> {
        let _ = what;
        match seen {
            None => Box::pin(std::future::ready(0)),
            Some(_) => Box::pin(std::future::pending()),
        }
    }
    /// The aborts of this node's own sessions after so many of them, oldest first, as far as they are still kept. Their
    /// number is that of [`Watched::Conflicts`].
    fn conflicts_since(&self, seen: u64) -> Vec<ConflictRecord> {
        let _ = seen;
        Vec::new()
    }
}

impl ShardInfo {
    /// Its replica on a node.
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|r| r.node == node.0).map(|r| ReplicaId(r.replica))
    }

    /// Whether it holds a slot.
    pub fn holds(&self, slot: Slot) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot.0))
    }
}
