//! A cluster of three nodes that stands still, for tests of what statements show of it.

use assize_model::{
    AbortReason, DeadlineClass, FrontendEpoch, FrontendId, NodeId, Outcome, Timestamp, TxnId,
};
use assize_ports::*;
use std::sync::Mutex;

/// Three nodes, two shards, a few conflicts. Actions are refused on shards and nodes that are not there, and noted.
#[derive(Debug, Default)]
pub struct FakeCluster {
    /// What was asked for, and by whom; what was only to be validated is not among them.
    pub done: Mutex<Vec<(Action, String)>>,
    /// Nobody answers.
    pub is_unreachable: bool,
    /// Node 3 does not, and none leads.
    pub is_half_silent: bool,
    /// Node 3 is of a release that knows no views.
    pub is_half_upgraded: bool,
}

/// When everything happened, a minute before the tests' now.
const THEN: i64 = 1_795_168_740_000_000;

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

fn side(txn: &str, node: u64, connection: u32, user: &str, statements: &[&str], age: u64) -> ConflictSide {
    ConflictSide {
        txn: txn.to_owned(),
        node,
        connection,
        user: user.to_owned(),
        statements: statements.iter().map(|text| (*text).to_owned()).collect(),
        age_micros: Some(age),
    }
}

fn conflict(id: &str, seconds: i64, key: &str, loser: ConflictSide, winner: ConflictSide) -> ConflictRecord {
    ConflictRecord {
        id: id.to_owned(),
        at_micros: THEN + seconds * 1_000_000 + 250,
        kind: "conflict".to_owned(),
        table: "shop.stock".to_owned(),
        index: "PRIMARY".to_owned(),
        key: key.to_owned(),
        loser,
        committed_before_micros: (!winner.txn.is_empty()).then_some(3000),
        committed_before_at_most_micros: None,
        winner,
        was_retried: false,
    }
}

/// The printed id of a transaction in the first life of a frontend.
fn txn(frontend: u32, sequence: u64) -> String {
    let begun = Timestamp::from_millis(1_790_000_000_123);
    let id = TxnId::new(begun, DeadlineClass::Normal, FrontendId(frontend), FrontendEpoch(1), sequence);
    id.to_string()
}

/// Newest first.
fn conflicts() -> Vec<ConflictRecord> {
    let update = "UPDATE stock SET n = n - ? WHERE id = ?";
    let app = |n: u64, age| side(&txn(1, n), 1, 12, "app@10.0.0.7", &["SELECT ?", update], age);
    let batch = side(&txn(2, 9), 2, 7, "batch@10.0.0.9", &[update], 1_500);
    let stranger = ConflictSide { txn: txn(3, 4), ..ConflictSide::default() };
    let batch_lost = side(&txn(2, 8), 2, 7, "batch@10.0.0.9", &["DELETE FROM stock"], 100);
    let deadlock = ConflictRecord {
        kind: "deadlock".to_owned(),
        ..conflict("c-20002", 1, "(43)", batch_lost, ConflictSide::default())
    };
    let retried =
        ConflictRecord { was_retried: true, ..conflict("c-10001", 0, "(42)", app(16, 9_999), batch.clone()) };
    vec![
        conflict("c-10003", 3, "(42)", app(17, 350_000), batch),
        conflict("c-10002", 2, "(44)", app(18, 2_000_000), stranger),
        deadlock,
        retried,
    ]
}

fn member(node: u64, member_role: MemberRole) -> MemberInfo {
    MemberInfo {
        node,
        peer_address: format!("127.0.0.1:{}", 7407 + 10 * node),
        admin_address: String::new(),
        mysql_address: format!("127.0.0.1:{}", 3406 + 10 * node),
        roles: ["adjudicator", "shard", "frontend"].map(str::to_owned).into(),
        zone: format!("z{node}"),
        version: "0.1.0".to_owned(),
        member_role,
        is_reachable: node != 3,
        applied_index: 100,
        log_index: 100 + node,
        term: 2,
        state_hash: 0xabc,
        hash_index: 96,
        uptime_millis: 61_500,
        disk_free_bytes: (node < 3).then_some(1 << 30),
        trouble: if node == 3 { "does not answer".to_owned() } else { String::new() },
        is_draining: node == 2,
        replicas: 4,
        cluster_version_max: 6,
        strains: (node == 1)
            .then_some(Strain { cause: Cause::Log, figure: 900 << 20, bound: 768 << 20 })
            .into_iter()
            .collect(),
        is_in_memory: false,
        certificate: None,
        is_removed: false,
        rebuff: None,
        stalled_millis: 0,
    }
}

fn shard(shard: u32, slots: (u16, u16)) -> ShardInfo {
    let replica = |replica: u8, node| ReplicaInfo {
        replica,
        node,
        counts: node != 3,
        is_learning: false,
        durable_index: 90,
        lag_millis: (node != 3).then_some(4),
        state: if node == 3 { "unreachable" } else { "following" }.to_owned(),
    };
    ShardInfo {
        shard,
        epoch: 1,
        slots: vec![slots],
        replicas: (1..).zip([1, 2, 3]).map(|(r, node)| replica(r, node)).collect(),
        bytes: 4096,
    }
}

fn transaction(node: u64, connection: u32, user: &str, age_micros: u64) -> TransactionInfo {
    TransactionInfo {
        node,
        connection,
        user: user.to_owned(),
        snapshot_ts: 77,
        isolation: "REPEATABLE-READ".to_owned(),
        age_micros,
        writes: 2,
        bytes: 180,
        statement: "UPDATE stock SET n = ?".to_owned(),
        state: "idle".to_owned(),
    }
}

fn session(node: u64, connection: u32, user: &str) -> SessionInfo {
    SessionInfo {
        node,
        connection,
        user: user.to_owned(),
        host: "10.0.0.7:4711".to_owned(),
        database: "shop".to_owned(),
        command: "Sleep".to_owned(),
        seconds: 3,
        statement: String::new(),
    }
}

impl FakeCluster {
    fn silent(&self) -> Vec<u64> {
        if self.is_half_silent { vec![3] } else { Vec::new() }
    }

    fn answer<'a, T: Send + 'a>(&self, value: T) -> BoxFuture<'a, Result<T, ClusterError>> {
        if self.is_unreachable {
            return ready(Err(ClusterError::Unavailable("no node answers".to_owned())));
        }
        ready(Ok(value))
    }
}

impl ClusterView for FakeCluster {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn members(&self) -> BoxFuture<'_, Result<Members, ClusterError>> {
        let roles = [MemberRole::Leader, MemberRole::Voter, MemberRole::Learner];
        self.answer(Members {
            cluster: 5,
            cluster_version: if self.is_half_upgraded { 4 } else { 6 },
            leader: Some(1),
            members: (1..)
                .zip(roles)
                .map(|(node, role)| member(node, role))
                .map(|member| MemberInfo {
                    cluster_version_max: if self.is_half_upgraded && member.node == 3 { 4 } else { 6 },
                    ..member
                })
                .collect(),
            replicas_wanted: 1,
            replicas_founded: 1,
        })
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardInfo>, ClusterError>> {
        self.answer(vec![shard(1, (0, 32_767)), shard(2, (32_768, 65_535))])
    }

    fn report(&self, parts: ReportParts) -> BoxFuture<'_, Result<NodeReport, ClusterError>> {
        let mut report = NodeReport { silent: self.silent(), ..NodeReport::default() };
        if parts.conflicts {
            report.conflicts = conflicts();
        }
        if parts.transactions {
            report.transactions = vec![
                transaction(2, 7, "batch@10.0.0.9", 61_000_000),
                transaction(1, 12, "app@10.0.0.7", 1_500),
            ];
        }
        if parts.sessions {
            report.sessions = vec![session(1, 12, "app"), session(2, 7, "batch")];
        }
        if parts.digests {
            report.digests = vec![DigestInfo {
                node: 1,
                text: "UPDATE stock SET n = ?".to_owned(),
                count: 4,
                total_micros: 10_000,
                rows: 4,
                errors: 1,
            }];
        }
        if parts.slow {
            report.slow = ["app@10.0.0.7", "batch@10.0.0.9"]
                .map(|user| SlowStatement {
                    node: 1,
                    at_micros: THEN,
                    micros: 2_500_000,
                    user: user.to_owned(),
                    text: "SELECT SLEEP (?)".to_owned(),
                })
                .into();
        }
        self.answer(report)
    }

    fn may_be_old(&self) -> bool {
        self.is_half_silent
    }

    fn outcome(&self, asked: TxnId) -> BoxFuture<'_, Result<Outcome, ClusterError>> {
        let is = |frontend, sequence| asked.to_string() == txn(frontend, sequence);
        self.answer(match () {
            () if is(2, 9) => Outcome::Committed(Timestamp::from_millis(1_795_168_740_000)),
            () if is(1, 17) => Outcome::Aborted(AbortReason::DeadlinePassed),
            () => Outcome::Unknown,
        })
    }

    fn jobs(&self) -> BoxFuture<'_, Result<JobList, ClusterError>> {
        let jobs = vec![JobInfo {
            id: "split-1".to_owned(),
            what: "split shard 1 at slot 16384".to_owned(),
            state: "running".to_owned(),
            step: "copies".to_owned(),
            began_micros: THEN,
            micros: 1_234_567,
            longest_stall_micros: 900,
            rows: None,
        }];
        self.answer(JobList { jobs, silent: self.silent() })
    }

    fn schema(&self, _: bool) -> BoxFuture<'_, Result<SchemaInfo, ClusterError>> {
        self.answer(SchemaInfo::default())
    }

    fn traffic(&self) -> BoxFuture<'_, Result<TrafficList, ClusterError>> {
        let traffic = |node| TrafficInfo {
            node,
            at_micros: THEN,
            commits: 100 * node,
            aborts: node,
            statements: 1000 * node,
            connections: 2,
        };
        self.answer(TrafficList { frontends: [1, 2].map(traffic).into(), silent: self.silent() })
    }

    fn act<'a>(
        &'a self,
        action: Action,
        validate_only: bool,
        who: &'a str,
    ) -> BoxFuture<'a, Result<ActionDone, ClusterError>> {
        let done = match &action {
            Action::Split { shard, .. } | Action::MoveReplica { shard, .. } if *shard > 2 => {
                return ready(Err(ClusterError::NotFound(format!("there is no shard {shard}"))));
            }
            Action::Split { shard, at } => ActionDone {
                text: format!(
                    "shard {shard} is split at {}",
                    at.map_or("its middle".into(), |at| at.to_string())
                ),
                job: Some(format!("split-{shard}")),
                verified: None,
            },
            other => ActionDone { text: format!("{other:?}"), ..ActionDone::default() },
        };
        if validate_only {
            return self.answer(ActionDone { text: done.text, ..ActionDone::default() });
        }
        self.done.lock().expect("no test panics while it holds this").push((action, who.to_owned()));
        self.answer(done)
    }

    fn config(&self) -> Vec<(String, String, String)> {
        vec![("shard.count".to_owned(), "4".to_owned(), "node.toml".to_owned())]
    }
}
