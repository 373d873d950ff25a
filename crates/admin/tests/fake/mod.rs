//! A cluster in memory: three nodes, four shards of three replicas, and an operator who may change them.
#![allow(dead_code)] // Several tests share it, and each uses a part.

use assize_model::{AbortReason, NodeId, Outcome, Timestamp, TxnId};
use assize_ports::{
    Action, ActionDone, BoxFuture, ClusterError, ClusterView, ColumnInfo, ConflictRecord, ConflictSide,
    DatabaseInfo, DigestInfo, IndexInfo, JobInfo, JobList, MemberInfo, MemberRole, Members, NodeReport,
    ReplicaInfo, ReportParts, SchemaInfo, SessionInfo, ShardInfo, SlowStatement, TableInfo, TableSize,
    TrafficInfo, TrafficList, TransactionInfo, Watched,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Everything about it, for tests to look at and to break.
#[derive(Clone)]
pub struct State {
    /// Its nodes.
    pub members: Members,
    /// Its shards.
    pub shards: Vec<ShardInfo>,
    /// What the nodes tell.
    pub report: NodeReport,
    /// Long work.
    pub jobs: Vec<JobInfo>,
    /// What was really done, and for whom.
    pub acts: Vec<(Action, String)>,
    /// What everything fails with.
    pub trouble: Option<ClusterError>,
    /// Conflicts of this node's own sessions, oldest first; told of when the bell is rung.
    pub own_conflicts: Vec<ConflictRecord>,
    /// Counts questions about traffic, so that rates come out.
    pub seconds: u64,
}

/// The cluster.
pub struct Fake {
    state: Mutex<State>,
    /// Whether there is nobody to ask besides this node, which rings when something changes.
    pub is_alone: AtomicBool,
    /// Rung for everything that can be watched.
    pub bell: watch::Sender<u64>,
}

/// The transaction whose outcome is known: it committed.
pub fn known_txn() -> TxnId {
    TxnId(1_790_000_000_123 << 82 | 7)
}

/// A transaction that nobody knows, and whose deadline has passed.
pub fn past_txn() -> TxnId {
    TxnId(1_790_000_000_123 << 82 | 8)
}

impl Fake {
    /// A healthy one.
    pub fn new() -> Self {
        let state = State {
            members: members(),
            shards: shards(),
            report: report(),
            jobs: Vec::new(),
            acts: Vec::new(),
            trouble: None,
            own_conflicts: Vec::new(),
            seconds: 0,
        };
        Fake { state: Mutex::new(state), is_alone: AtomicBool::new(false), bell: watch::Sender::default() }
    }

    /// To look and to break.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer<T: Send + 'static>(
        &self,
        of: impl FnOnce(&State) -> T,
    ) -> BoxFuture<'_, Result<T, ClusterError>> {
        let state = self.state();
        let answer = match &state.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(of(&state)),
        };
        Box::pin(async move { answer })
    }
}

impl ClusterView for Fake {
    fn node(&self) -> NodeId {
        NodeId(2)
    }

    fn members(&self) -> BoxFuture<'_, Result<Members, ClusterError>> {
        // Members are told even in trouble: everybody knows who they are.
        let members = self.state().members.clone();
        Box::pin(async move { Ok(members) })
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardInfo>, ClusterError>> {
        self.answer(|s| s.shards.clone())
    }

    fn report(&self, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        self.answer(|s| {
            let mut report = s.report.clone();
            if !parts.sessions {
                report.sessions.clear();
            }
            if !parts.transactions {
                report.transactions.clear();
            }
            if !parts.conflicts {
                report.conflicts.clear();
            }
            if !parts.digests {
                report.digests.clear();
            }
            if !parts.slow {
                report.slow.clear();
            }
            report
        })
    }

    fn has_others(&self) -> bool {
        !self.is_alone.load(Ordering::Relaxed)
    }

    fn changed(&self, _: Watched, seen: Option<u64>) -> BoxFuture<'_, u64> {
        let mut bell = self.bell.subscribe();
        Box::pin(async move { *bell.wait_for(|rung| Some(*rung) != seen).await.unwrap() })
    }

    fn conflicts_since(&self, seen: u64) -> Vec<ConflictRecord> {
        self.state().own_conflicts.iter().skip(seen as usize).cloned().collect()
    }

    fn outcome(&self, txn: TxnId) -> BoxFuture<'_, Result<Outcome, ClusterError>> {
        let commit_ts = Timestamp::from_millis(1_790_000_000_456);
        let outcome = match txn {
            txn if txn == known_txn() => Outcome::Committed(commit_ts),
            txn if txn == past_txn() => Outcome::Aborted(AbortReason::DeadlinePassed),
            _ => Outcome::Undecided,
        };
        self.answer(|_| outcome)
    }

    fn jobs(&self) -> BoxFuture<'_, Result<JobList, ClusterError>> {
        self.answer(|s| JobList { jobs: s.jobs.clone(), silent: s.report.silent.clone() })
    }

    fn schema(&self, with_sizes: bool) -> BoxFuture<'_, Result<SchemaInfo, ClusterError>> {
        self.answer(|_| schema(with_sizes))
    }

    fn traffic(&self) -> BoxFuture<'_, Result<TrafficList, ClusterError>> {
        let mut state = self.state();
        state.seconds += 1;
        let n = state.seconds;
        let of = |node: u64| TrafficInfo {
            node,
            at_micros: 1_790_000_000_000_000 + n as i64 * 1_000_000,
            commits: n * 1000 * node,
            aborts: n * 10,
            statements: n * 4000,
            connections: 2,
        };
        let traffic = TrafficList { frontends: vec![of(1), of(2), of(3)], silent: Vec::new() };
        Box::pin(async move { Ok(traffic) })
    }

    fn act<'a>(
        &'a self,
        action: Action,
        validate_only: bool,
        who: &'a str,
    ) -> BoxFuture<'a, Result<ActionDone, ClusterError>> {
        let mut state = self.state();
        let done = match &state.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => {
                let mut changed = state.clone();
                let done = changed.act(&action);
                if done.is_ok() && !validate_only {
                    changed.acts.push((action, who.to_owned()));
                    *state = changed;
                }
                done
            }
        };
        Box::pin(async move { done })
    }

    fn config(&self) -> Vec<(String, String, String)> {
        let setting =
            |key: &str, value: &str, origin: &str| (key.to_owned(), value.to_owned(), origin.to_owned());
        vec![
            setting("shard.count", "4", "node.toml"),
            setting("shard.balance", "true", "default"),
            setting("node.id", "2", "default"),
        ]
    }
}

impl State {
    fn act(&mut self, action: &Action) -> Result<ActionDone, ClusterError> {
        let said = |text: String| Ok(ActionDone { text, ..ActionDone::default() });
        match *action {
            Action::TransferLeadership { to } => {
                let to = to.unwrap_or(3);
                self.member(to)?;
                self.members.leader = Some(to);
                said(format!("node {to} leads"))
            }
            Action::AddLearner { node } => {
                if self.member(node).is_ok() {
                    return Err(ClusterError::Refused(format!("node {node} is a member already")));
                }
                self.members.members.push(member(node, MemberRole::Learner));
                said(format!("node {node} follows the log"))
            }
            Action::Promote { node } => {
                self.member(node)?.member_role = MemberRole::Voter;
                said(format!("node {node} votes"))
            }
            Action::RemoveMember { node, force } => {
                self.member(node)?;
                if !force && self.shards.iter().any(|s| s.replicas.iter().any(|r| r.node == node)) {
                    return Err(ClusterError::Refused(format!("node {node} holds replicas")));
                }
                self.members.members.retain(|m| m.node != node);
                said(format!("node {node} is no member any more"))
            }
            Action::Drain { node, .. } => {
                self.member(node)?.is_draining = true;
                said(format!("node {node} drains"))
            }
            Action::Undrain { node } => {
                self.member(node)?.is_draining = false;
                said(format!("node {node} drains no more"))
            }
            Action::MarkDraining { .. } => Err(ClusterError::Refused("only nodes ask for that".to_owned())),
            Action::VerifyReplicas => said("12 replicas hold the same".to_owned()),
            Action::Split { shard, at } => {
                let new = self.shards.iter().map(|s| s.shard).max().unwrap_or(0) + 1;
                let old = self.shard(shard)?;
                let (first, last) = old.slots[0];
                let at = at.unwrap_or(first + (last - first) / 2 + 1);
                if at <= first || at > last {
                    return Err(ClusterError::Refused(format!("slot {at} does not split shard {shard}")));
                }
                old.slots = vec![(first, at - 1)];
                let mut made = old.clone();
                (made.shard, made.slots) = (new, vec![(at, last)]);
                self.shards.push(made);
                Ok(self.begin(format!("split-{shard}"), format!("splits shard {shard} at slot {at}")))
            }
            Action::Merge { from, into } => {
                let slots = self.shard(from)?.slots.clone();
                self.shard(into)?.slots.extend(slots);
                self.shards.retain(|s| s.shard != from);
                Ok(self.begin(format!("merge-{from}"), format!("merges shard {from} into {into}")))
            }
            Action::MoveReplica { shard, from, to } => {
                self.member(to)?;
                self.replica(shard, from)?.node = to;
                Ok(self
                    .begin(format!("move-{shard}"), format!("moves shard {shard} from node {from} to {to}")))
            }
            Action::AddReplica { shard, node } => {
                self.member(node)?;
                let replicas = &mut self.shard(shard)?.replicas;
                replicas.push(replica(replicas.len() as u8, node));
                said(format!("shard {shard} gets a replica on node {node}"))
            }
            Action::RecoverShard { shard } => {
                let nobody = ClusterError::Refused(format!("shard {shard} has lost nothing"));
                self.shard(shard).and(Err(nobody))
            }
            Action::RemoveReplica { shard, node } => {
                self.replica(shard, node)?;
                self.shard(shard)?.replicas.retain(|r| r.node != node);
                said(format!("shard {shard} has no replica on node {node} any more"))
            }
            Action::KillSession { node, connection, query_only } => {
                let is_it = |n: u64, c: u32| n == node && c == connection;
                if !self.report.sessions.iter().any(|s| is_it(s.node, s.connection)) {
                    return Err(ClusterError::NotFound(format!("no connection {connection} on node {node}")));
                }
                self.report.transactions.retain(|t| !is_it(t.node, t.connection));
                if !query_only {
                    self.report.sessions.retain(|s| !is_it(s.node, s.connection));
                }
                said(format!("connection {connection} of node {node} is gone"))
            }
        }
    }

    fn begin(&mut self, id: String, what: String) -> ActionDone {
        self.jobs.insert(0, job(&id, &what, "running"));
        ActionDone { text: what, job: Some(id), verified: None }
    }

    /// A node.
    pub fn member(&mut self, node: u64) -> Result<&mut MemberInfo, ClusterError> {
        let found = self.members.members.iter_mut().find(|m| m.node == node);
        found.ok_or_else(|| ClusterError::NotFound(format!("there is no node {node}")))
    }

    /// A shard.
    pub fn shard(&mut self, shard: u32) -> Result<&mut ShardInfo, ClusterError> {
        let found = self.shards.iter_mut().find(|s| s.shard == shard);
        found.ok_or_else(|| ClusterError::NotFound(format!("there is no shard {shard}")))
    }

    /// A shard's replica on a node.
    pub fn replica(&mut self, shard: u32, node: u64) -> Result<&mut ReplicaInfo, ClusterError> {
        let found = self.shard(shard)?.replicas.iter_mut().find(|r| r.node == node);
        found.ok_or_else(|| ClusterError::NotFound(format!("shard {shard} has no replica on node {node}")))
    }
}

fn members() -> Members {
    let members =
        vec![member(1, MemberRole::Voter), member(2, MemberRole::Leader), member(3, MemberRole::Voter)];
    Members {
        cluster: 0xa55e,
        cluster_version: 1,
        leader: Some(2),
        members,
        replicas_wanted: 3,
        replicas_founded: 3,
    }
}

fn member(node: u64, member_role: MemberRole) -> MemberInfo {
    MemberInfo {
        node,
        peer_address: format!("127.0.0.1:{}", 7407 + 10 * node),
        admin_address: format!("127.0.0.1:{}", 7406 + 10 * node),
        mysql_address: format!("127.0.0.1:{}", 3406 + 10 * node),
        roles: vec!["adjudicator".to_owned(), "shard".to_owned(), "frontend".to_owned()],
        zone: format!("z{node}"),
        version: "0.1.0".to_owned(),
        member_role,
        is_reachable: true,
        applied_index: 4711,
        log_index: 4712,
        term: 3,
        state_hash: 0xfeed_beef,
        hash_index: 4700,
        uptime_millis: 90_061_000,
        disk_free_bytes: Some(100 << 30),
        trouble: String::new(),
        is_draining: false,
        replicas: 4,
        cluster_version_max: 1,
        strains: Vec::new(),
        is_in_memory: false,
        certificate: None,
        is_removed: false,
        rebuff: None,
        stalled_millis: 0,
    }
}

fn shards() -> Vec<ShardInfo> {
    (0..4u32)
        .map(|n| ShardInfo {
            shard: n + 1,
            epoch: 5,
            slots: vec![(n as u16 * 16_384, n as u16 * 16_384 + 16_383)],
            replicas: (0..3).map(|r| replica(r, u64::from(r) + 1)).collect(),
            bytes: 3 << 20,
        })
        .collect()
}

fn replica(number: u8, node: u64) -> ReplicaInfo {
    ReplicaInfo {
        replica: number,
        node,
        counts: true,
        is_learning: false,
        durable_index: 4600,
        lag_millis: Some(4),
        state: "following".to_owned(),
    }
}

/// A job.
pub fn job(id: &str, what: &str, state: &str) -> JobInfo {
    JobInfo {
        id: id.to_owned(),
        what: what.to_owned(),
        state: state.to_owned(),
        step: "copying".to_owned(),
        began_micros: 1_790_000_000_000_000,
        micros: 1_500_000,
        longest_stall_micros: 12_000,
        rows: None,
    }
}

/// A conflict at a moment, on a key.
pub fn conflict(id: &str, at_micros: i64, key: &str) -> ConflictRecord {
    let side = |txn: &str, connection, statement: &str| ConflictSide {
        txn: txn.to_owned(),
        node: 1,
        connection,
        user: "app@10.0.0.7".to_owned(),
        statements: vec![statement.to_owned()],
        age_micros: Some(7_000),
    };
    ConflictRecord {
        id: id.to_owned(),
        at_micros,
        kind: "conflict".to_owned(),
        table: "shop.stock".to_owned(),
        index: "PRIMARY".to_owned(),
        key: key.to_owned(),
        loser: side(
            "06831141b1ec0000100000100000004d",
            17,
            "update `stock` set `n` = `n` - ? where `id` = ?",
        ),
        winner: side("06831141b1ec0000100000100000004c", 18, "delete from `stock` where `id` = ?"),
        committed_before_micros: Some(3_000),
        committed_before_at_most_micros: None,
        was_retried: false,
    }
}

fn report() -> NodeReport {
    let session = |node, connection, command: &str| SessionInfo {
        node,
        connection,
        user: "app".to_owned(),
        host: "10.0.0.7:50000".to_owned(),
        database: "shop".to_owned(),
        command: command.to_owned(),
        seconds: 2,
        statement: if command == "Query" { "select sleep ( ? )".to_owned() } else { String::new() },
    };
    NodeReport {
        sessions: vec![session(2, 9, "Sleep"), session(1, 17, "Query"), session(1, 18, "Sleep")],
        transactions: vec![TransactionInfo {
            node: 1,
            connection: 17,
            user: "app@10.0.0.7".to_owned(),
            snapshot_ts: 1_790_000_000_000 << 18,
            isolation: "REPEATABLE READ".to_owned(),
            age_micros: 2_500_000,
            writes: 3,
            bytes: 210,
            statement: "update `stock` set `n` = `n` - ? where `id` = ?".to_owned(),
            state: "idle".to_owned(),
        }],
        conflicts: vec![
            conflict("c-0003", 1_790_000_003_000_000, "(42)"),
            conflict("c-0002", 1_790_000_002_000_000, "(7)"),
            conflict("c-0001", 1_790_000_001_000_000, "(42)"),
        ],
        digests: vec![DigestInfo {
            node: 1,
            text: "select * from `stock` where `id` = ?".to_owned(),
            count: 1000,
            total_micros: 200_000,
            rows: 1000,
            errors: 1,
        }],
        slow: vec![SlowStatement {
            node: 3,
            at_micros: 1_790_000_000_500_000,
            micros: 2_000_000,
            user: "app@10.0.0.7".to_owned(),
            text: "select count ( * ) from `stock`".to_owned(),
        }],
        silent: Vec::new(),
        winners: Vec::new(),
    }
}

fn schema(with_sizes: bool) -> SchemaInfo {
    let column = |name: &str, kind: &str| ColumnInfo {
        name: name.to_owned(),
        kind: kind.to_owned(),
        is_nullable: name != "id",
    };
    let primary = IndexInfo {
        name: "PRIMARY".to_owned(),
        columns: vec!["id".to_owned()],
        is_unique: true,
        state: "public".to_owned(),
    };
    SchemaInfo {
        version: 12,
        databases: vec![DatabaseInfo {
            id: 1,
            name: "shop".to_owned(),
            tables: 1,
            collation: "utf8mb4_0900_ai_ci".to_owned(),
        }],
        tables: vec![TableInfo {
            database: "shop".to_owned(),
            name: "stock".to_owned(),
            id: 100,
            version: 2,
            sharding_columns: vec!["id".to_owned()],
            columns: vec![column("id", "bigint"), column("n", "int unsigned")],
            indexes: vec![primary],
            size: with_sizes.then_some(TableSize {
                rows: 3,
                row_bytes: 120,
                index_bytes: 0,
                is_current: true,
            }),
        }],
    }
}
