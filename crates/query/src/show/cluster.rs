//! SHOW CONFLICTS, CONFLICT, HOT KEYS, SHARDS, MEMBERS, TRANSACTIONS, JOBS, DIAGNOSIS, OUTCOME; the answer of ALTER CLUSTER.

use super::{Listing, listing};
use crate::cluster::{self, Facts, Wanted, ask, silence};
use crate::infoschema::cluster::{role_name, slot_count, slots};
use crate::infoschema::{moment, text, yes_no};
use assize_model::{ErrorCode, Outcome, SqlError, Timestamp};
use assize_ports::{
    ActionDone, ConflictRecord, ConflictSide, DEADLOCK, Finding, LOCK_WAIT_TIMEOUT, ReplicaInfo,
    SCHEMA_CHANGED, StatementContext, abort_words,
};
use assize_values::{TimeZone, Value};

/// Milliseconds out of microseconds, with three decimals.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn optional_millis(micros: Option<u64>) -> Value {
    micros.map_or(Value::Null, |micros| text(&millis(micros)))
}

/// `app@10.0.0.7 (12 on n1)`, or the transaction's id if nothing else is known; empty if not even that is.
fn party(side: &ConflictSide) -> String {
    if side.node == 0 {
        return side.txn.clone();
    }
    let user = if side.user.is_empty() { "the server" } else { &side.user };
    format!("{user} ({} on n{})", side.connection, side.node)
}

/// Where two transactions met, as in the error's text.
fn place(conflict: &ConflictRecord) -> String {
    let parts = [&conflict.table, &conflict.index, &conflict.key].map(String::as_str);
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn last_statement(side: &ConflictSide) -> Value {
    side.statements.last().map_or(Value::Null, |statement| text(statement))
}

fn page<T>(list: Vec<T>, limit: Option<(u64, u64)>) -> impl Iterator<Item = T> {
    let (skip, take) = limit.unwrap_or((0, u64::MAX));
    let number = |n| usize::try_from(n).unwrap_or(usize::MAX);
    list.into_iter().skip(number(skip)).take(number(take))
}

/// Newest first.
pub(super) async fn conflicts(
    limit: Option<(u64, u64)>,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let Facts { report, .. } = ask(Wanted::Conflicts, context).await?;
    let zone = context.eval().time_zone;
    let mut out = listing(
        "Id Time:m Kind Row:l Loser Statement:l Winner Winner_statement:l Committed_before_ms Retried",
    );
    out.rows = page(report.conflicts, limit)
        .map(|c| {
            vec![
                text(&c.id),
                moment(c.at_micros, &zone),
                text(&c.kind),
                text(&place(&c)),
                text(&party(&c.loser)),
                last_statement(&c.loser),
                text(&party(&c.winner)),
                last_statement(&c.winner),
                optional_millis(c.committed_before_micros),
                yes_no(c.was_retried),
            ]
        })
        .collect();
    Ok(out)
}

/// One of them in words.
pub(super) async fn conflict(id: &str, context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { report, withheld, .. } = ask(Wanted::Conflicts, context).await?;
    let Some(found) = report.conflicts.iter().find(|c| c.id == id) else {
        // It is kept on the node whose session lost.
        let (code, why) = match &report.silent[..] {
            [] => {
                let why = "it is too long ago, or there never was one of this id".to_owned();
                (ErrorCode::WrongArguments, why)
            }
            nodes => (ErrorCode::ClusterUnavailable, silence(nodes)),
        };
        return Err(SqlError::new(code, format!("conflict '{id}' is not remembered: {why}")));
    };
    let mut out = listing("Question Answer:l");
    let (now, zone) = (context.eval().now_micros, context.eval().time_zone);
    out.rows = words(found, withheld.contains(id), now, &zone)
        .into_iter()
        .map(|(q, a)| vec![text(q), text(&a)])
        .collect();
    Ok(out)
}

fn words(
    conflict: &ConflictRecord,
    is_withheld: bool,
    now_micros: i64,
    zone: &TimeZone,
) -> Vec<(&'static str, String)> {
    let ago = u64::try_from(now_micros.saturating_sub(conflict.at_micros)).unwrap_or(0);
    let at = assize_values::format::to_string(
        &moment(conflict.at_micros, zone),
        &assize_values::SqlType::DateTime { fsp: 6 },
    );
    let mut out = vec![("what happened", format!("{}, {} ago ({at})", conflict.kind, span(ago)))];
    let place = place(conflict);
    if !place.is_empty() {
        out.push(("on which row", place));
    }
    out.push(("who lost", who(&conflict.loser, "after")));
    out.extend(ran("what it had run", &conflict.loser));
    let winner = &conflict.winner;
    if !winner.txn.is_empty() {
        let when = match (conflict.committed_before_micros, conflict.committed_before_at_most_micros) {
            (Some(micros), _) => format!("; it committed {} before", span(micros)),
            (None, Some(micros)) => format!("; it committed at most {} before", span(micros)),
            (None, None) => String::new(),
        };
        let (question, took, ran_what) = match conflict.kind.as_str() {
            DEADLOCK | LOCK_WAIT_TIMEOUT => ("who held it", "which locked last after", "what that had run"),
            SCHEMA_CHANGED => ("who changed it", "which took", "what that ran"),
            _ => ("who won", "which took", "what that ran"),
        };
        out.push((question, format!("{}{when}", who(winner, took))));
        let why = match is_withheld {
            true => "withheld: it belongs to another user, and to see that takes the privilege PROCESS",
            false => "not known any more",
        };
        let unknown = || (ran_what, why.to_owned());
        out.push(ran(ran_what, winner).unwrap_or_else(unknown));
    }
    let retried = if conflict.was_retried {
        "yes, by the server, at once"
    } else {
        "not by the server: the client got the error and may run the whole transaction again"
    };
    out.push(("was it run again", retried.to_owned()));
    out
}

/// `transaction 1.2.17 of app@10.0.0.7 (connection 12 of node 1), after 350.000 ms`
fn who(side: &ConflictSide, took: &str) -> String {
    let mut out = match side.txn.as_str() {
        "" => "a transaction".to_owned(),
        txn => format!("transaction {txn}"),
    };
    if side.node != 0 {
        let user = if side.user.is_empty() { "the server itself" } else { &side.user };
        out.push_str(&format!(" of {user} (connection {} of node {})", side.connection, side.node));
    }
    if let Some(age) = side.age_micros {
        out.push_str(&format!(", {took} {}", span(age)));
    }
    out
}

fn ran(question: &'static str, side: &ConflictSide) -> Option<(&'static str, String)> {
    (!side.statements.is_empty()).then(|| (question, side.statements.join(";\n")))
}

/// A length of time, as people say it.
fn span(micros: u64) -> String {
    match micros / 1_000_000 {
        0 => format!("{} ms", millis(micros)),
        seconds @ 1..120 => format!("{seconds}.{} s", micros / 100_000 % 10),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Most conflicts first.
pub(super) async fn hot_keys(
    limit: Option<(u64, u64)>,
    context: &mut dyn StatementContext,
) -> Result<Listing, SqlError> {
    let Facts { hot_keys, .. } = ask(Wanted::HotKeys, context).await?;
    let zone = context.eval().time_zone;
    let mut out = listing("Table Index Key:l Conflicts:u Last:m");
    out.rows = page(hot_keys, limit)
        .map(|hot| {
            let (conflicts, last) = (Value::UInt(hot.conflicts), moment(hot.last_micros, &zone));
            vec![text(&hot.table), text(&hot.index), text(&hot.key), conflicts, last]
        })
        .collect();
    Ok(out)
}

/// By number.
pub(super) async fn shards(context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { shards, .. } = ask(Wanted::Shards, context).await?;
    let mut out = listing("Shard:u Epoch:u Slots:l Slot_count:u Replicas:l Bytes:u");
    let replica = |r: &ReplicaInfo| {
        let lag = r.lag_millis.map_or_else(String::new, |lag| format!(", {lag} ms behind"));
        let counts = if r.counts { "" } else { ", does not count" };
        format!("r{} on n{}: {}{lag}{counts}", r.replica, r.node, r.state)
    };
    out.rows = shards
        .iter()
        .map(|shard| {
            let replicas: Vec<String> = shard.replicas.iter().map(replica).collect();
            vec![
                Value::UInt(shard.shard.into()),
                Value::UInt(shard.epoch),
                text(&slots(shard)),
                Value::UInt(slot_count(shard)),
                text(&replicas.join("; ")),
                Value::UInt(shard.bytes),
            ]
        })
        .collect();
    Ok(out)
}

/// By number.
pub(super) async fn members(context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { members, .. } = ask(Wanted::Members, context).await?;
    let mut out = listing(
        "Node:u Part Reachable Peer_address Mysql_address Roles Zone Version Term:u Log:u Applied:u \
         Uptime_seconds:u Disk_free_bytes:u Trouble:l",
    );
    let all = members.into_iter().flat_map(|members| members.members);
    out.rows = all
        .map(|m| {
            let mut trouble = m.trouble_words();
            if trouble.is_empty() && m.is_draining {
                trouble.push_str("draining");
            }
            vec![
                Value::UInt(m.node),
                text(role_name(m.member_role)),
                yes_no(m.is_reachable),
                text(&m.peer_address),
                text(&m.mysql_address),
                text(&m.roles.join(",")),
                text(&m.zone),
                text(&m.version),
                Value::UInt(m.term),
                Value::UInt(m.log_index),
                Value::UInt(m.applied_index),
                Value::UInt(m.uptime_millis / 1000),
                m.disk_free_bytes.map_or(Value::Null, Value::UInt),
                text(&trouble),
            ]
        })
        .collect();
    Ok(out)
}

/// Oldest first.
pub(super) async fn transactions(context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { report, .. } = ask(Wanted::Transactions, context).await?;
    let mut out =
        listing("Node:u Connection:u User State Isolation Snapshot:u Age_ms Writes:u Bytes:u Statement:l");
    out.like = 2;
    out.rows = report
        .transactions
        .iter()
        .map(|t| {
            vec![
                Value::UInt(t.node),
                Value::UInt(t.connection.into()),
                text(&t.user),
                text(&t.state),
                text(&t.isolation),
                Value::UInt(t.snapshot_ts),
                text(&millis(t.age_micros)),
                Value::UInt(t.writes),
                Value::UInt(t.bytes),
                text(&t.statement),
            ]
        })
        .collect();
    Ok(out)
}

/// Newest first.
pub(super) async fn jobs(context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { jobs, .. } = ask(Wanted::Jobs, context).await?;
    let zone = context.eval().time_zone;
    let mut out = listing("Id What:l State:l Step:l Began:m Ms Longest_stall_ms");
    out.rows = jobs
        .iter()
        .map(|job| {
            vec![
                text(&job.id),
                text(&job.what),
                text(&job.state),
                text(&job.step),
                moment(job.began_micros, &zone),
                text(&millis(job.micros)),
                text(&millis(job.longest_stall_micros)),
            ]
        })
        .collect();
    Ok(out)
}

/// How the cluster does, in a sentence, and then the findings, the worst first.
pub(super) async fn diagnosis(context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let Facts { diagnosis, .. } = ask(Wanted::Diagnosis, context).await?;
    let mut out = listing("Severity Subject:l What:l Advice:l");
    if let Some(told) = diagnosis {
        out.rows.push([told.health.name(), "cluster", &told.summary, ""].map(text).into());
        let finding = |f: &Finding| [f.severity.name(), &f.subject, &f.what, &f.advice].map(text).into();
        out.rows.extend(told.findings.iter().map(finding));
    }
    Ok(out)
}

/// What became of a transaction, in one row.
pub(super) async fn outcome(id: &str, context: &mut dyn StatementContext) -> Result<Listing, SqlError> {
    let (txn, outcome) = cluster::outcome(id, context).await?;
    let zone = context.eval().time_zone;
    let mut out = listing("Txn Outcome Commit_ts:u Committed_at:m Reason:l");
    let (name, commit_ts, reason) = match &outcome {
        Outcome::Committed(commit_ts) => ("committed", Some(*commit_ts), Value::Null),
        Outcome::Aborted(reason) => ("aborted", None, text(&abort_words(reason))),
        Outcome::Undecided => ("undecided", None, Value::Null),
        Outcome::Unknown => ("unknown", None, Value::Null),
    };
    let at = |commit_ts: Timestamp| {
        let micros = i64::try_from(commit_ts.millis()).ok()?.checked_mul(1000)?;
        Some(moment(micros, &zone))
    };
    out.rows.push(vec![
        text(&txn.to_string()),
        text(name),
        commit_ts.map_or(Value::Null, |commit_ts| Value::UInt(commit_ts.0)),
        commit_ts.and_then(at).unwrap_or(Value::Null),
        reason,
    ]);
    Ok(out)
}

/// What ALTER CLUSTER answers: in words, and the job that goes on.
pub(crate) fn done(done: Option<&ActionDone>) -> Listing {
    let mut out = listing("Answer:l Job");
    out.rows = done
        .iter()
        .map(|done| vec![text(&done.text), done.job.as_deref().map_or(Value::Null, Value::text)])
        .collect();
    out
}
