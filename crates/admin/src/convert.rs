//! From the ports' words to the messages of `assize.admin.v1`.

use crate::pb;
use assize_model::{AbortReason, Outcome, Timestamp, TxnId};
use assize_ports::{
    ColumnInfo, ConflictRecord, ConflictSide, DatabaseInfo, DigestInfo, HotKey, IndexInfo, JobInfo,
    MemberInfo, MemberRole, ReplicaInfo, SessionInfo, ShardInfo, SlowStatement, TableInfo, TrafficInfo,
    TransactionInfo, abort_words,
};

/// A point in time from microseconds since the Unix epoch.
pub(crate) fn timestamp(micros: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).ok()?;
    Some(prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
}

/// A duration from microseconds.
pub(crate) fn duration(micros: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(std::time::Duration::from_micros(micros)).ok()
}

impl From<MemberRole> for pb::MemberRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Leader => pb::MemberRole::Leader,
            MemberRole::Voter => pb::MemberRole::Voter,
            MemberRole::Learner => pb::MemberRole::Learner,
            MemberRole::None => pb::MemberRole::None,
        }
    }
}

impl From<MemberInfo> for pb::Member {
    fn from(member: MemberInfo) -> Self {
        pb::Member {
            node: member.node,
            peer_address: member.peer_address,
            admin_address: member.admin_address,
            mysql_address: member.mysql_address,
            roles: member.roles,
            zone: member.zone,
            version: member.version,
            member_role: pb::MemberRole::from(member.member_role).into(),
            is_reachable: member.is_reachable,
            applied_index: member.applied_index,
            log_index: member.log_index,
            term: member.term,
            state_hash: format!("{:016x}", member.state_hash),
            hash_index: member.hash_index,
            uptime: duration(member.uptime_millis.saturating_mul(1000)),
            disk_free_bytes: member.disk_free_bytes,
            trouble: member.trouble,
            is_draining: member.is_draining,
            replicas: member.replicas,
            cluster_version_max: member.cluster_version_max,
        }
    }
}

impl From<TrafficInfo> for pb::Traffic {
    fn from(traffic: TrafficInfo) -> Self {
        pb::Traffic {
            node: traffic.node,
            at: timestamp(traffic.at_micros),
            commits: traffic.commits,
            aborts: traffic.aborts,
            statements: traffic.statements,
            connections: traffic.connections,
        }
    }
}

impl From<ReplicaInfo> for pb::Replica {
    fn from(replica: ReplicaInfo) -> Self {
        pb::Replica {
            replica: replica.replica.into(),
            node: replica.node,
            counts: replica.counts,
            is_learning: replica.is_learning,
            durable_index: replica.durable_index,
            lag: replica.lag_millis.and_then(|millis| duration(millis.saturating_mul(1000))),
            state: replica.state,
        }
    }
}

impl From<ShardInfo> for pb::Shard {
    fn from(shard: ShardInfo) -> Self {
        let run = |(first, last): (u16, u16)| pb::SlotRange { first: first.into(), last: last.into() };
        pb::Shard {
            shard: shard.shard,
            epoch: shard.epoch,
            slots: shard.slots.into_iter().map(run).collect(),
            replicas: shard.replicas.into_iter().map(Into::into).collect(),
            bytes: shard.bytes,
        }
    }
}

impl From<JobInfo> for pb::Job {
    fn from(job: JobInfo) -> Self {
        let (state, failure) = match job.state.split_once(':') {
            Some(("failed", why)) => (pb::JobState::Failed, why.trim().to_owned()),
            _ if job.state == "failed" => (pb::JobState::Failed, "no reason was given".to_owned()),
            _ if job.state == "done" => (pb::JobState::Done, String::new()),
            _ => (pb::JobState::Running, String::new()),
        };
        pb::Job {
            id: job.id,
            what: job.what,
            state: state.into(),
            failure,
            step: job.step,
            began_at: timestamp(job.began_micros),
            elapsed: duration(job.micros),
            longest_stall: duration(job.longest_stall_micros),
        }
    }
}

impl From<TransactionInfo> for pb::Transaction {
    fn from(txn: TransactionInfo) -> Self {
        pb::Transaction {
            node: txn.node,
            connection: txn.connection,
            user: txn.user,
            snapshot_ts: txn.snapshot_ts,
            isolation: txn.isolation,
            age: duration(txn.age_micros),
            writes: txn.writes,
            bytes: txn.bytes,
            statement: txn.statement,
            state: txn.state,
        }
    }
}

impl From<ConflictSide> for pb::ConflictSide {
    fn from(side: ConflictSide) -> Self {
        pb::ConflictSide {
            txn: side.txn,
            node: side.node,
            connection: side.connection,
            user: side.user,
            statements: side.statements,
            age: side.age_micros.and_then(duration),
        }
    }
}

impl From<ConflictRecord> for pb::Conflict {
    fn from(conflict: ConflictRecord) -> Self {
        pb::Conflict {
            id: conflict.id,
            at: timestamp(conflict.at_micros),
            kind: conflict.kind,
            table: conflict.table,
            index: conflict.index,
            key: conflict.key,
            loser: Some(conflict.loser.into()),
            winner: Some(conflict.winner.into()),
            committed_before: conflict.committed_before_micros.and_then(duration),
            committed_before_at_most: conflict.committed_before_at_most_micros.and_then(duration),
            was_retried: conflict.was_retried,
        }
    }
}

impl From<HotKey> for pb::HotKey {
    fn from(hot: HotKey) -> Self {
        pb::HotKey {
            table: hot.table,
            index: hot.index,
            key: hot.key,
            conflicts: hot.conflicts,
            last_at: timestamp(hot.last_micros),
        }
    }
}

/// Why a transaction that nobody remembers counts as aborted.
const NOT_KNOWN: &str = "no such transaction is known, and its deadline has passed, so it never can be";

/// What became of a transaction.
pub(crate) fn outcome(txn: TxnId, outcome: Outcome) -> pb::GetOutcomeResponse {
    let none = Timestamp::ZERO;
    // A deadline that passed is no decision that anybody keeps.
    let is_not_known = outcome == Outcome::Aborted(AbortReason::DeadlinePassed);
    let (kind, commit_ts, abort_reason) = match outcome {
        Outcome::Committed(commit_ts) => (pb::Outcome::Committed, commit_ts, String::new()),
        Outcome::Aborted(_) if is_not_known => (pb::Outcome::Aborted, none, NOT_KNOWN.to_owned()),
        Outcome::Aborted(reason) => (pb::Outcome::Aborted, none, abort_words(&reason)),
        Outcome::Undecided => (pb::Outcome::Undecided, none, String::new()),
        Outcome::Unknown => (pb::Outcome::Unknown, none, String::new()),
    };
    let committed_at = i64::try_from(commit_ts.millis()).ok().filter(|_| commit_ts != none);
    pb::GetOutcomeResponse {
        txn_id: txn.to_string(),
        outcome: kind.into(),
        commit_ts: commit_ts.0,
        committed_at: committed_at.and_then(|millis| timestamp(millis.saturating_mul(1000))),
        abort_reason,
        is_not_known,
    }
}

impl From<SessionInfo> for pb::Session {
    fn from(session: SessionInfo) -> Self {
        pb::Session {
            node: session.node,
            connection: session.connection,
            user: session.user,
            host: session.host,
            database: session.database,
            command: session.command,
            in_state: duration(session.seconds.saturating_mul(1_000_000)),
            statement: session.statement,
        }
    }
}

impl From<DigestInfo> for pb::Digest {
    fn from(digest: DigestInfo) -> Self {
        pb::Digest {
            node: digest.node,
            text: digest.text,
            count: digest.count,
            total: duration(digest.total_micros),
            rows: digest.rows,
            errors: digest.errors,
        }
    }
}

impl From<SlowStatement> for pb::SlowStatement {
    fn from(slow: SlowStatement) -> Self {
        pb::SlowStatement {
            node: slow.node,
            at: timestamp(slow.at_micros),
            took: duration(slow.micros),
            user: slow.user,
            text: slow.text,
        }
    }
}

impl From<DatabaseInfo> for pb::Database {
    fn from(database: DatabaseInfo) -> Self {
        pb::Database {
            id: database.id,
            name: database.name,
            tables: database.tables,
            collation: database.collation,
        }
    }
}

impl From<ColumnInfo> for pb::Column {
    fn from(column: ColumnInfo) -> Self {
        pb::Column { name: column.name, r#type: column.kind, is_nullable: column.is_nullable }
    }
}

impl From<IndexInfo> for pb::Index {
    fn from(index: IndexInfo) -> Self {
        pb::Index { name: index.name, columns: index.columns, is_unique: index.is_unique, state: index.state }
    }
}

impl From<TableInfo> for pb::Table {
    fn from(table: TableInfo) -> Self {
        pb::Table {
            database: table.database,
            name: table.name,
            id: table.id,
            version: table.version,
            sharding_columns: table.sharding_columns,
            columns: table.columns.into_iter().map(Into::into).collect(),
            indexes: table.indexes.into_iter().map(Into::into).collect(),
            rows: table.size.map(|size| size.rows),
            row_bytes: table.size.map(|size| size.row_bytes),
            index_bytes: table.size.map(|size| size.index_bytes),
        }
    }
}
