//! The cluster, as tables: conflicts, hot keys, shards, members, and what runs.

use super::{Definition, Needs, Source, optional, text, yes_no};
use crate::cluster::Wanted;
use crate::expr::Row;
use assize_ports::{ConflictRecord, ConflictSide, MemberRole, ShardInfo};
use assize_values::Value;

pub(super) const TABLES: &[Definition] = &[
    Definition {
        database: "information_schema",
        name: "ASSIZE_CONFLICTS",
        columns: "ID:t32 OCCURRED_AT:m KIND:t64 TABLE_SCHEMA:t64? TABLE_NAME:t64? INDEX_NAME:t64? KEY_TEXT:t2048? \
                  LOSER_TXN:t64? LOSER_NODE:u? LOSER_CONNECTION:u? LOSER_USER:t288? LOSER_STATEMENTS:l? \
                  LOSER_AGE_MICROS:u? WINNER_TXN:t64? WINNER_NODE:u? WINNER_CONNECTION:u? WINNER_USER:t288? \
                  WINNER_STATEMENTS:l? WINNER_AGE_MICROS:u? COMMITTED_BEFORE_MICROS:u? WAS_RETRIED:t3 \
                  COMMITTED_BEFORE_AT_MOST_MICROS:u?",
        needs: Needs::Cluster(Wanted::Conflicts),
        rows: |s| s.cluster.report.conflicts.iter().map(|c| conflict(c, s)).collect(),
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_HOT_KEYS",
        columns: "TABLE_SCHEMA:t64? TABLE_NAME:t64? INDEX_NAME:t64? KEY_TEXT:t2048? CONFLICTS:u LAST_AT:m",
        needs: Needs::Cluster(Wanted::HotKeys),
        rows: |s| {
            let row = |hot: &assize_ports::HotKey| {
                let (database, table) = split_name(&hot.table);
                let (conflicts, last) = (Value::UInt(hot.conflicts), s.moment(hot.last_micros));
                vec![database, table, known(&hot.index), known(&hot.key), conflicts, last]
            };
            s.cluster.hot_keys.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_SHARDS",
        columns: "SHARD_ID:u EPOCH:u SLOTS:l SLOT_COUNT:u REPLICA_COUNT:u BYTES:u",
        needs: Needs::Cluster(Wanted::Shards),
        rows: |s| {
            let row = |shard: &ShardInfo| {
                vec![
                    Value::UInt(shard.shard.into()),
                    Value::UInt(shard.epoch),
                    text(&slots(shard)),
                    Value::UInt(slot_count(shard)),
                    Value::UInt(shard.replicas.len() as u64),
                    Value::UInt(shard.bytes),
                ]
            };
            s.cluster.shards.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_REPLICAS",
        columns: "SHARD_ID:u REPLICA_ID:u NODE_ID:u COUNTS:t3 IS_LEARNING:t3 DURABLE_INDEX:u LAG_MILLIS:u? STATE:t1024",
        needs: Needs::Cluster(Wanted::Shards),
        rows: |s| {
            let row = |shard: u32, replica: &assize_ports::ReplicaInfo| {
                vec![
                    Value::UInt(shard.into()),
                    Value::UInt(replica.replica.into()),
                    Value::UInt(replica.node),
                    yes_no(replica.counts),
                    yes_no(replica.is_learning),
                    Value::UInt(replica.durable_index),
                    replica.lag_millis.map_or(Value::Null, Value::UInt),
                    text(&replica.state),
                ]
            };
            let shards = s.cluster.shards.iter();
            shards.flat_map(|shard| shard.replicas.iter().map(|r| row(shard.shard, r))).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_MEMBERS",
        columns: "NODE_ID:u PEER_ADDRESS:t255 ADMIN_ADDRESS:t255 MYSQL_ADDRESS:t255 ROLES:t64 ZONE:t64 VERSION:t64 \
                  MEMBER_ROLE:t16 IS_REACHABLE:t3 APPLIED_INDEX:u LOG_INDEX:u TERM:u STATE_HASH:t16 HASH_INDEX:u \
                  UPTIME_MILLIS:u DISK_FREE_BYTES:u IS_DRAINING:t3 TROUBLE:t1024",
        needs: Needs::Cluster(Wanted::Members),
        rows: |s| s.cluster.members.iter().flat_map(|all| &all.members).map(member).collect(),
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_TRANSACTIONS",
        columns: "NODE_ID:u CONNECTION_ID:u USER_NAME:t288 STATE:t16 ISOLATION:t16 SNAPSHOT_TS:u AGE_MICROS:u ROW_WRITES:u \
                  BYTES:u STATEMENT:l",
        needs: Needs::Cluster(Wanted::Transactions),
        rows: |s| {
            let row = |t: &assize_ports::TransactionInfo| {
                vec![
                    Value::UInt(t.node),
                    Value::UInt(t.connection.into()),
                    text(&t.user),
                    text(&t.state),
                    text(&t.isolation),
                    Value::UInt(t.snapshot_ts),
                    Value::UInt(t.age_micros),
                    Value::UInt(t.writes),
                    Value::UInt(t.bytes),
                    text(&t.statement),
                ]
            };
            s.cluster.report.transactions.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_SESSIONS",
        columns: "NODE_ID:u CONNECTION_ID:u USER_NAME:t288 HOST:t261 DATABASE_NAME:t64? COMMAND:t16 SECONDS:u STATEMENT:l",
        needs: Needs::Cluster(Wanted::Sessions),
        rows: |s| {
            let row = |session: &assize_ports::SessionInfo| {
                vec![
                    Value::UInt(session.node),
                    Value::UInt(session.connection.into()),
                    text(&session.user),
                    text(&session.host),
                    known(&session.database),
                    text(&session.command),
                    Value::UInt(session.seconds),
                    text(&session.statement),
                ]
            };
            s.cluster.report.sessions.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_DIGESTS",
        columns: "NODE_ID:u DIGEST_TEXT:l RUNS:u TOTAL_MICROS:u AVERAGE_MICROS:u ROWS_TOTAL:u ERRORS:u",
        needs: Needs::Cluster(Wanted::Digests),
        rows: |s| {
            let row = |d: &assize_ports::DigestInfo| {
                vec![
                    Value::UInt(d.node),
                    text(&d.text),
                    Value::UInt(d.count),
                    Value::UInt(d.total_micros),
                    Value::UInt(d.total_micros / d.count.max(1)),
                    Value::UInt(d.rows),
                    Value::UInt(d.errors),
                ]
            };
            s.cluster.report.digests.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_SLOW_STATEMENTS",
        columns: "NODE_ID:u BEGAN_AT:m MICROS:u USER_NAME:t288 STATEMENT:l",
        needs: Needs::Cluster(Wanted::SlowStatements),
        rows: |s| {
            let row = |slow: &assize_ports::SlowStatement| {
                let (node, micros) = (Value::UInt(slow.node), Value::UInt(slow.micros));
                vec![node, s.moment(slow.at_micros), micros, text(&slow.user), text(&slow.text)]
            };
            s.cluster.report.slow.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_JOBS",
        columns: "ID:t64 DESCRIPTION:l STATE:l STEP:l BEGAN_AT:m MICROS:u LONGEST_STALL_MICROS:u",
        needs: Needs::Cluster(Wanted::Jobs),
        rows: |s| {
            let row = |job: &assize_ports::JobInfo| {
                vec![
                    text(&job.id),
                    text(&job.what),
                    text(&job.state),
                    text(&job.step),
                    s.moment(job.began_micros),
                    Value::UInt(job.micros),
                    Value::UInt(job.longest_stall_micros),
                ]
            };
            s.cluster.jobs.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_DIAGNOSIS",
        columns: "SEVERITY:t16 SUBJECT:t255 WHAT:l ADVICE:l",
        needs: Needs::Cluster(Wanted::Diagnosis),
        rows: |s| {
            let row = |f: &assize_ports::Finding| {
                [f.severity.name(), &f.subject, &f.what, &f.advice].map(text).into()
            };
            s.cluster.diagnosis.iter().flat_map(|told| &told.findings).map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_TRAFFIC",
        columns: "NODE_ID:u READ_AT:m COMMITS:u ABORTS:u STATEMENTS:u CONNECTIONS:u",
        needs: Needs::Cluster(Wanted::Traffic),
        rows: |s| {
            let row = |t: &assize_ports::TrafficInfo| {
                let counters = [t.commits, t.aborts, t.statements, t.connections].map(Value::UInt);
                [Value::UInt(t.node), s.moment(t.at_micros)].into_iter().chain(counters).collect()
            };
            s.cluster.traffic.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_CONFIG",
        columns: "SETTING_NAME:t128 SETTING_VALUE:l ORIGIN:t1024",
        needs: Needs::Cluster(Wanted::Config),
        rows: |s| {
            let row =
                |(key, value, origin): &(String, String, String)| vec![text(key), text(value), text(origin)];
            s.cluster.config.iter().map(row).collect()
        },
    },
];

fn conflict(c: &ConflictRecord, source: &Source) -> Row {
    let (database, table) = split_name(&c.table);
    let mut row = vec![
        text(&c.id),
        source.moment(c.at_micros),
        text(&c.kind),
        database,
        table,
        known(&c.index),
        known(&c.key),
    ];
    row.extend(side(&c.loser));
    row.extend(side(&c.winner));
    row.push(c.committed_before_micros.map_or(Value::Null, Value::UInt));
    row.push(yes_no(c.was_retried));
    row.push(c.committed_before_at_most_micros.map_or(Value::Null, Value::UInt));
    row
}

/// Txn, node, connection, user, statements, age; NULL where nothing is known.
fn side(side: &ConflictSide) -> [Value; 6] {
    let ran_somewhere = side.node != 0;
    let number = |n: u64| if ran_somewhere { Value::UInt(n) } else { Value::Null };
    [
        known(&side.txn),
        number(side.node),
        number(side.connection.into()),
        known(&side.user),
        known(&side.statements.join(";\n")),
        side.age_micros.map_or(Value::Null, Value::UInt),
    ]
}

fn member(m: &assize_ports::MemberInfo) -> Row {
    vec![
        Value::UInt(m.node),
        text(&m.peer_address),
        text(&m.admin_address),
        text(&m.mysql_address),
        text(&m.roles.join(",")),
        text(&m.zone),
        text(&m.version),
        text(role_name(m.member_role)),
        yes_no(m.is_reachable),
        Value::UInt(m.applied_index),
        Value::UInt(m.log_index),
        Value::UInt(m.term),
        text(&format!("{:016x}", m.state_hash)),
        Value::UInt(m.hash_index),
        Value::UInt(m.uptime_millis),
        m.disk_free_bytes.map_or(Value::Null, Value::UInt),
        yes_no(m.is_draining),
        text(&m.trouble_words()),
    ]
}

/// A node's part in the adjudicator's group, in a word.
pub(crate) fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Leader => "leader",
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::None => "none",
    }
}

/// Runs of slots, as `0-8191, 16384-16384`.
pub(crate) fn slots(shard: &ShardInfo) -> String {
    let runs: Vec<String> = shard.slots.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    runs.join(", ")
}

/// How many slots a shard holds.
pub(crate) fn slot_count(shard: &ShardInfo) -> u64 {
    shard.slots.iter().map(|(first, last)| u64::from(last.saturating_sub(*first)) + 1).sum()
}

/// NULL for what is not known.
fn known(value: &str) -> Value {
    optional(Some(value).filter(|value| !value.is_empty()))
}

/// `shop.stock` as database and table.
fn split_name(name: &str) -> (Value, Value) {
    match name.split_once('.') {
        Some((database, table)) => (known(database), known(table)),
        None => (Value::Null, known(name)),
    }
}
