//! Every metric of the process, declared once. Each has a line in `docs/metrics.md`; a test compares the two.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Statements by kind (`select`, `insert`, …) and outcome (`ok`, `error`).
pub const FRONTEND_STATEMENTS_TOTAL: &str = "frontend_statements_total";
/// Time from a statement's arrival to its last byte out.
pub const FRONTEND_STATEMENT_SECONDS: &str = "frontend_statement_seconds";
/// Connections now.
pub const FRONTEND_CONNECTIONS: &str = "frontend_connections";
/// Bytes that the temporary tables of sessions hold.
pub const FRONTEND_TEMPORARY_BYTES: &str = "frontend_temporary_bytes";
/// Connections refused, by reason.
pub const FRONTEND_REFUSED_CONNECTIONS_TOTAL: &str = "frontend_refused_connections_total";
/// Transactions by outcome: committed, aborted, unknown.
pub const FRONTEND_TRANSACTIONS_TOTAL: &str = "frontend_transactions_total";
/// Autocommit statements run again after a conflict.
pub const FRONTEND_RETRIES_TOTAL: &str = "frontend_retries_total";
/// Transactions that began while new ones were shed and were kept from writing, by reason.
pub const FRONTEND_SHED_TRANSACTIONS_TOTAL: &str = "frontend_shed_transactions_total";
/// Branches on foreign servers that were found prepared and still are.
pub const FOREIGN_BRANCHES_IN_DOUBT: &str = "foreign_branches_in_doubt";
/// Branches on foreign servers that were found prepared and were carried out, by outcome (`committed`, `rolled back`).
pub const FOREIGN_BRANCHES_RESOLVED_TOTAL: &str = "foreign_branches_resolved_total";
/// Records of branches that wait for a foreign server.
pub const FOREIGN_RECORDS: &str = "foreign_records";
/// Foreign servers that did not answer at the last look.
pub const FOREIGN_SERVERS_AWAY: &str = "foreign_servers_away";
/// Log entries applied by the adjudicator.
pub const ADJUDICATOR_APPLIED_INDEX: &str = "adjudicator_applied_index";
/// Closed timestamp, in milliseconds since the Unix epoch.
pub const ADJUDICATOR_CLOSED_MILLIS: &str = "adjudicator_closed_millis";
/// The low-water mark, in milliseconds since the Unix epoch.
pub const ADJUDICATOR_LOW_WATER_MILLIS: &str = "adjudicator_low_water_millis";
/// How far the cluster's time is ahead of this node's wall clock.
pub const ADJUDICATOR_CLOCK_LEAD_SECONDS: &str = "adjudicator_clock_lead_seconds";
/// Raft term of this node's adjudicator.
pub const ADJUDICATOR_TERM: &str = "adjudicator_term";
/// On the leader: for how long entries have come through to no majority.
pub const ADJUDICATOR_STALLED_SECONDS: &str = "adjudicator_stalled_seconds";
/// 1 if this node leads the adjudicator's group.
pub const ADJUDICATOR_IS_LEADER: &str = "adjudicator_is_leader";
/// 1 if this node's state differs from the leader's.
pub const ADJUDICATOR_STATE_DIVERGES: &str = "adjudicator_state_diverges";
/// Bytes free on the disk of the log.
pub const ADJUDICATOR_DISK_FREE_BYTES: &str = "adjudicator_disk_free_bytes";
/// Bytes of log entries that cannot be forgotten, because a replica has not persisted them.
pub const ADJUDICATOR_LOG_BYTES: &str = "adjudicator_log_bytes";
/// Entries in the log.
pub const ADJUDICATOR_LOG_ENTRIES: &str = "adjudicator_log_entries";
/// How long the log's writer takes to write and sync a group of records.
pub const ADJUDICATOR_LOG_SYNC_SECONDS: &str = "adjudicator_log_sync_seconds";
/// How long an entry of transactions takes from the leader's proposal until it is applied there.
pub const ADJUDICATOR_ENTRY_SECONDS: &str = "adjudicator_entry_seconds";
/// Transactions that the leader has decided or sent back, by outcome (`commit`, `conflict`, `again`, `refused`).
pub const ADJUDICATOR_TRANSACTIONS_TOTAL: &str = "adjudicator_transactions_total";
/// Position of a shard's replica, in milliseconds since the Unix epoch.
pub const SHARD_POSITION_MILLIS: &str = "shard_position_millis";
/// Intents of a replica that are not decided, by shard.
pub const SHARD_UNDECIDED_INTENTS: &str = "shard_undecided_intents";
/// Log entries that this node's replica of a shard has not applied yet.
pub const SHARD_STREAM_LAG_ENTRIES: &str = "shard_stream_lag_entries";
/// Log entries that this node's replica of a shard has not persisted yet.
pub const SHARD_DURABLE_LAG_ENTRIES: &str = "shard_durable_lag_entries";
/// The same in bytes of the log.
pub const SHARD_STREAM_LAG_BYTES: &str = "shard_stream_lag_bytes";
/// Bytes of the log that this node's replica of a shard has not persisted yet.
pub const SHARD_DURABLE_LAG_BYTES: &str = "shard_durable_lag_bytes";
/// Bytes that RocksDB has to compact.
pub const SHARD_COMPACTION_PENDING_BYTES: &str = "shard_compaction_pending_bytes";
/// Flushed files that are not compacted, of the family that has most.
pub const SHARD_LEVEL0_FILES: &str = "shard_level0_files";
/// 1 while RocksDB slows writes down or has stopped them.
pub const SHARD_WRITES_STALLED: &str = "shard_writes_stalled";
/// This node's replicas by state.
pub const SHARD_REPLICAS: &str = "shard_replicas";
/// Contents of replicas that were damaged on the disk and given up.
pub const SHARD_DAMAGED_TOTAL: &str = "shard_damaged_total";
/// Comparisons of replicas that found other rows.
pub const SHARD_DIFFERENCES_TOTAL: &str = "shard_differences_total";
/// Replicas of the placement that were rebuilt from a sibling.
pub const SHARD_REBUILT_TOTAL: &str = "shard_rebuilt_total";
/// Tasks that the leader did on shards by itself, by reason (`care`, `balance`), task and outcome.
pub const SHARD_CARE_TASKS_TOTAL: &str = "shard_care_tasks_total";
/// 1 while this node asks for new transactions to be shed, by reason.
pub const PROCESS_STRAINED: &str = "process_strained";
/// Bytes free on the disk of the node's data.
pub const PROCESS_DISK_FREE_BYTES: &str = "process_disk_free_bytes";
/// When a certificate of this node expires, in seconds since the Unix epoch, by setting.
pub const PROCESS_CERTIFICATE_EXPIRES: &str = "process_certificate_expires_timestamp_seconds";
/// Seconds since the process started.
pub const PROCESS_UPTIME_SECONDS: &str = "process_uptime_seconds";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(FRONTEND_STATEMENTS_TOTAL, Unit::Count, "statements, by kind and outcome");
    describe_histogram!(FRONTEND_STATEMENT_SECONDS, Unit::Seconds, "time of a statement");
    describe_gauge!(FRONTEND_CONNECTIONS, Unit::Count, "connections now");
    describe_gauge!(FRONTEND_TEMPORARY_BYTES, Unit::Bytes, "bytes held by temporary tables");
    describe_counter!(FRONTEND_REFUSED_CONNECTIONS_TOTAL, Unit::Count, "connections refused, by reason");
    describe_counter!(FRONTEND_TRANSACTIONS_TOTAL, Unit::Count, "transactions, by outcome");
    describe_counter!(
        FRONTEND_RETRIES_TOTAL,
        Unit::Count,
        "autocommit statements run again after a conflict"
    );
    describe_counter!(
        FRONTEND_SHED_TRANSACTIONS_TOTAL,
        Unit::Count,
        "transactions kept from writing, by reason"
    );
    describe_gauge!(FOREIGN_BRANCHES_IN_DOUBT, Unit::Count, "branches on foreign servers in doubt");
    describe_counter!(FOREIGN_BRANCHES_RESOLVED_TOTAL, Unit::Count, "branches found and carried out");
    describe_gauge!(FOREIGN_RECORDS, Unit::Count, "records of branches that wait for a server");
    describe_gauge!(FOREIGN_SERVERS_AWAY, Unit::Count, "foreign servers that did not answer");
    describe_gauge!(ADJUDICATOR_APPLIED_INDEX, Unit::Count, "log entries applied");
    describe_gauge!(ADJUDICATOR_CLOSED_MILLIS, Unit::Milliseconds, "closed timestamp");
    describe_gauge!(ADJUDICATOR_LOW_WATER_MILLIS, Unit::Milliseconds, "low-water mark");
    describe_gauge!(
        ADJUDICATOR_CLOCK_LEAD_SECONDS,
        Unit::Seconds,
        "how far the cluster's time is ahead of the wall clock"
    );
    describe_gauge!(ADJUDICATOR_TERM, Unit::Count, "Raft term");
    describe_gauge!(ADJUDICATOR_STALLED_SECONDS, Unit::Seconds, "time for which no entry came through");
    describe_gauge!(ADJUDICATOR_IS_LEADER, Unit::Count, "1 on the leader");
    describe_gauge!(ADJUDICATOR_STATE_DIVERGES, Unit::Count, "1 if the state differs from the leader's");
    describe_gauge!(ADJUDICATOR_DISK_FREE_BYTES, Unit::Bytes, "free on the disk of the log");
    describe_gauge!(ADJUDICATOR_LOG_BYTES, Unit::Bytes, "log that replicas have not persisted");
    describe_gauge!(ADJUDICATOR_LOG_ENTRIES, Unit::Count, "entries in the log");
    describe_histogram!(ADJUDICATOR_LOG_SYNC_SECONDS, Unit::Seconds, "time to write and sync log records");
    describe_histogram!(
        ADJUDICATOR_ENTRY_SECONDS,
        Unit::Seconds,
        "time from an entry's proposal until it is applied"
    );
    describe_counter!(ADJUDICATOR_TRANSACTIONS_TOTAL, Unit::Count, "transactions decided, by outcome");
    describe_gauge!(SHARD_POSITION_MILLIS, Unit::Milliseconds, "position of a shard's replica");
    describe_gauge!(SHARD_UNDECIDED_INTENTS, Unit::Count, "intents that are not decided, by shard");
    describe_gauge!(SHARD_STREAM_LAG_ENTRIES, Unit::Count, "log entries not applied yet");
    describe_gauge!(SHARD_DURABLE_LAG_ENTRIES, Unit::Count, "log entries not persisted yet");
    describe_gauge!(SHARD_STREAM_LAG_BYTES, Unit::Bytes, "log not applied yet");
    describe_gauge!(SHARD_DURABLE_LAG_BYTES, Unit::Bytes, "log not persisted yet");
    describe_gauge!(SHARD_COMPACTION_PENDING_BYTES, Unit::Bytes, "bytes that RocksDB has to compact");
    describe_gauge!(SHARD_LEVEL0_FILES, Unit::Count, "flushed files that are not compacted");
    describe_gauge!(SHARD_WRITES_STALLED, Unit::Count, "1 while RocksDB holds writes up");
    describe_counter!(SHARD_CARE_TASKS_TOTAL, Unit::Count, "tasks on shards that nobody asked for");
    describe_gauge!(PROCESS_STRAINED, Unit::Count, "1 while new transactions are to be shed, by reason");
    describe_gauge!(SHARD_REPLICAS, Unit::Count, "replicas here, by state");
    describe_counter!(SHARD_DAMAGED_TOTAL, Unit::Count, "damaged contents of replicas given up");
    describe_counter!(SHARD_DIFFERENCES_TOTAL, Unit::Count, "comparisons of replicas that found other rows");
    describe_counter!(SHARD_REBUILT_TOTAL, Unit::Count, "replicas rebuilt from a sibling");
    describe_gauge!(PROCESS_DISK_FREE_BYTES, Unit::Bytes, "free on the disk of the node's data");
    describe_gauge!(
        PROCESS_CERTIFICATE_EXPIRES,
        Unit::Seconds,
        "when a certificate expires, since the Unix epoch, by setting"
    );
    describe_gauge!(PROCESS_UPTIME_SECONDS, Unit::Seconds, "time since the process started");
}
