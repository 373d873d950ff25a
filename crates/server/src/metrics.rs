//! Every metric of the process, declared once. Each has a line in `docs/metrics.md`; a test compares the two.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Statements by kind (`select`, `insert`, …) and outcome (`ok`, `error`).
pub const FRONTEND_STATEMENTS_TOTAL: &str = "frontend_statements_total";
/// Time from a statement's arrival to its last byte out.
pub const FRONTEND_STATEMENT_SECONDS: &str = "frontend_statement_seconds";
/// Connections now.
pub const FRONTEND_CONNECTIONS: &str = "frontend_connections";
/// Connections refused, by reason.
pub const FRONTEND_REFUSED_CONNECTIONS_TOTAL: &str = "frontend_refused_connections_total";
/// Transactions by outcome: committed, aborted, unknown.
pub const FRONTEND_TRANSACTIONS_TOTAL: &str = "frontend_transactions_total";
/// Autocommit statements run again after a conflict.
pub const FRONTEND_RETRIES_TOTAL: &str = "frontend_retries_total";
/// Log entries applied by the adjudicator.
pub const ADJUDICATOR_APPLIED_INDEX: &str = "adjudicator_applied_index";
/// Closed timestamp, in milliseconds since the Unix epoch.
pub const ADJUDICATOR_CLOSED_MILLIS: &str = "adjudicator_closed_millis";
/// Raft term of this node's adjudicator.
pub const ADJUDICATOR_TERM: &str = "adjudicator_term";
/// 1 if this node leads the adjudicator's group.
pub const ADJUDICATOR_IS_LEADER: &str = "adjudicator_is_leader";
/// 1 if this node's state differs from the leader's.
pub const ADJUDICATOR_STATE_DIVERGES: &str = "adjudicator_state_diverges";
/// Bytes free on the disk of the log.
pub const ADJUDICATOR_DISK_FREE_BYTES: &str = "adjudicator_disk_free_bytes";
/// Position of a shard's replica, in milliseconds since the Unix epoch.
pub const SHARD_POSITION_MILLIS: &str = "shard_position_millis";
/// Seconds since the process started.
pub const PROCESS_UPTIME_SECONDS: &str = "process_uptime_seconds";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(FRONTEND_STATEMENTS_TOTAL, Unit::Count, "statements, by kind and outcome");
    describe_histogram!(FRONTEND_STATEMENT_SECONDS, Unit::Seconds, "time of a statement");
    describe_gauge!(FRONTEND_CONNECTIONS, Unit::Count, "connections now");
    describe_counter!(FRONTEND_REFUSED_CONNECTIONS_TOTAL, Unit::Count, "connections refused, by reason");
    describe_counter!(FRONTEND_TRANSACTIONS_TOTAL, Unit::Count, "transactions, by outcome");
    describe_counter!(
        FRONTEND_RETRIES_TOTAL,
        Unit::Count,
        "autocommit statements run again after a conflict"
    );
    describe_gauge!(ADJUDICATOR_APPLIED_INDEX, Unit::Count, "log entries applied");
    describe_gauge!(ADJUDICATOR_CLOSED_MILLIS, Unit::Milliseconds, "closed timestamp");
    describe_gauge!(ADJUDICATOR_TERM, Unit::Count, "Raft term");
    describe_gauge!(ADJUDICATOR_IS_LEADER, Unit::Count, "1 on the leader");
    describe_gauge!(ADJUDICATOR_STATE_DIVERGES, Unit::Count, "1 if the state differs from the leader's");
    describe_gauge!(ADJUDICATOR_DISK_FREE_BYTES, Unit::Bytes, "free on the disk of the log");
    describe_gauge!(SHARD_POSITION_MILLIS, Unit::Milliseconds, "position of a shard's replica");
    describe_gauge!(PROCESS_UPTIME_SECONDS, Unit::Seconds, "time since the process started");
}
