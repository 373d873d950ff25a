//! The cluster as statements see it: what may be asked of it by whom, and ALTER CLUSTER.
//!
//! SHOW CONFLICTS and its like (`show/cluster.rs`) and `information_schema.assize_*` (`infoschema/cluster.rs`) are two faces
//! of the same [`Facts`]. Who lacks PROCESS sees only what is its own, as with SHOW PROCESSLIST; what belongs to nobody
//! needs PROCESS (error 1227). ALTER CLUSTER needs SUPER.

use crate::acl::require_global;
use assize_model::{ErrorCode, Outcome, SqlError, TxnId, WarningLevel};
use assize_ports::{
    Action, ActionDone, ClusterError, ClusterView, ConflictRecord, ConflictSide, Diagnosis, HotKey, JobInfo,
    Members, NodeReport, ReportParts, ShardInfo, StatementContext, TrafficInfo, Verified, diagnose, hot_keys,
};
use assize_sql::ClusterAction;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is asked of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    Conflicts,
    HotKeys,
    Transactions,
    Sessions,
    Digests,
    SlowStatements,
    Shards,
    Members,
    Jobs,
    Config,
    Diagnosis,
    Traffic,
}

/// What it answered; only the part that was wanted is filled.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) report: NodeReport,
    /// Conflicts whose winner belongs to somebody else and is not shown: their ids.
    pub(crate) withheld: BTreeSet<String>,
    pub(crate) hot_keys: Vec<HotKey>,
    pub(crate) shards: Vec<ShardInfo>,
    pub(crate) members: Option<Members>,
    pub(crate) jobs: Vec<JobInfo>,
    pub(crate) diagnosis: Option<Diagnosis>,
    pub(crate) traffic: Vec<TrafficInfo>,
    /// Of this node: key, value, origin.
    pub(crate) config: Vec<(String, String, String)>,
}

/// Asks the cluster, for this session's user.
pub(crate) async fn ask(wanted: Wanted, context: &mut dyn StatementContext) -> Result<Facts, SqlError> {
    let shows_own = matches!(
        wanted,
        Wanted::Conflicts | Wanted::Transactions | Wanted::Sessions | Wanted::SlowStatements
    );
    if !shows_own {
        require_global(context, "PROCESS")?;
    }
    let cluster = view(context)?;
    let mut facts = Facts::default();
    match wanted {
        Wanted::Shards => facts.shards = cluster.shards().await.map_err(error)?,
        Wanted::Members => facts.members = Some(cluster.members().await.map_err(error)?),
        Wanted::Jobs => {
            let list = cluster.jobs().await.map_err(error)?;
            (facts.jobs, facts.report.silent) = (list.jobs, list.silent);
        }
        Wanted::Config => facts.config = cluster.config(),
        Wanted::Diagnosis => facts.diagnosis = Some(diagnosis(&*cluster).await),
        Wanted::Traffic => {
            let list = cluster.traffic().await.map_err(error)?;
            (facts.traffic, facts.report.silent) = (list.frontends, list.silent);
        }
        _ => {
            let parts = ReportParts {
                conflicts: matches!(wanted, Wanted::Conflicts | Wanted::HotKeys),
                transactions: wanted == Wanted::Transactions,
                sessions: wanted == Wanted::Sessions,
                digests: wanted == Wanted::Digests,
                slow: wanted == Wanted::SlowStatements,
                winners: Vec::new(),
            };
            facts.report = cluster.report(parts).await.map_err(error)?;
        }
    }
    let is_of_the_leader = matches!(wanted, Wanted::Shards | Wanted::Members);
    warn_of_gaps(context, &facts.report.silent, is_of_the_leader && cluster.may_be_old());
    if wanted == Wanted::HotKeys {
        facts.hot_keys = hot_keys(&facts.report.conflicts);
    }
    if !has_process(context) {
        let name = context.user().name.clone();
        facts.withheld = keep_own(&mut facts.report, &name);
    }
    Ok(facts)
}

/// What is wrong, and what to do. What cannot be found out is a finding, not a failure.
async fn diagnosis(cluster: &dyn ClusterView) -> Diagnosis {
    let (members, shards, jobs) = futures_util::join!(cluster.members(), cluster.shards(), cluster.jobs());
    let words = |error: ClusterError| error.to_string();
    let jobs = jobs.unwrap_or_default().jobs;
    let mut told = diagnose(&members.map_err(words), &shards.map_err(words), &jobs, &cluster.foreign());
    if cluster.may_be_old() {
        told.is_out_of_touch(cluster.node());
    }
    told
}

/// What became of a transaction. Whoever knows its id may ask: the client that ran it was told the id with the error.
pub(crate) async fn outcome(
    id: &str,
    context: &mut dyn StatementContext,
) -> Result<(TxnId, Outcome), SqlError> {
    let txn: TxnId =
        id.parse().map_err(|error| SqlError::new(ErrorCode::WrongArguments, format!("{error}")))?;
    let outcome = view(context)?.outcome(txn).await.map_err(error)?;
    Ok((txn, outcome))
}

fn has_process(context: &dyn StatementContext) -> bool {
    require_global(context, "PROCESS").is_ok()
}

/// Leaves what belongs to this user. Of a conflict that it lost to another, the other stays unnamed; the ids of those.
fn keep_own(report: &mut NodeReport, name: &str) -> BTreeSet<String> {
    let mut withheld = BTreeSet::new();
    report.conflicts.retain(|conflict| is_of(&conflict.loser.user, name));
    for ConflictRecord { id, winner, .. } in &mut report.conflicts {
        if !is_of(&winner.user, name) {
            if winner.node != 0 {
                withheld.insert(id.clone());
            }
            *winner = ConflictSide { txn: std::mem::take(&mut winner.txn), ..ConflictSide::default() };
        }
    }
    report.transactions.retain(|transaction| is_of(&transaction.user, name));
    report.sessions.retain(|session| session.user == name);
    report.slow.retain(|statement| is_of(&statement.user, name));
    withheld
}

/// Whether `user@host` is this user.
fn is_of(user_at_host: &str, name: &str) -> bool {
    user_at_host.rsplit_once('@').is_some_and(|(user, _)| user == name)
}

fn view(context: &dyn StatementContext) -> Result<Arc<dyn ClusterView>, SqlError> {
    context
        .server()
        .cluster()
        .ok_or_else(|| SqlError::new(ErrorCode::ClusterUnavailable, "this process has no view of a cluster"))
}

pub(crate) fn error(error: ClusterError) -> SqlError {
    let code = match error {
        ClusterError::NotFound(_) | ClusterError::Refused(_) => ErrorCode::WrongArguments,
        ClusterError::Unavailable(_) => ErrorCode::ClusterUnavailable,
        ClusterError::Internal(_) => return SqlError::internal(error),
    };
    SqlError::new(code, error.to_string())
}

/// Has an operator's action done; who asked goes into the audit log.
pub(crate) async fn alter(
    action: &ClusterAction,
    validate_only: bool,
    context: &mut dyn StatementContext,
) -> Result<ActionDone, SqlError> {
    require_global(context, "SUPER")?;
    if let ClusterAction::RecoverShard { accept_data_loss: false, shard } = action
        && !validate_only
    {
        let text = format!(
            "what only the lost replicas of shard {shard} have is gone for good: say ACCEPT DATA LOSS if that may be, or \
             VALIDATE ONLY to see what would be given up"
        );
        return Err(SqlError::new(ErrorCode::WrongArguments, text));
    }
    let cluster = view(context)?;
    let who = context.eval().environment.user.clone();
    let mut done = cluster.act(action_of(*action), validate_only, &who).await.map_err(error)?;
    if validate_only {
        done.text = format!("could be done: {}", done.text);
    }
    if done.verified == Some(Verified::Incomplete) {
        warn(context, "nothing differs, but not everything was compared");
    }
    Ok(done)
}

/// What SHOW WARNINGS tells of a statement that was answered all the same.
fn warn(context: &mut dyn StatementContext, text: &str) {
    context.eval().push_warning(WarningLevel::Warning, ErrorCode::ClusterUnavailable, text);
}

/// Warns that the answers of nodes are missing, and that no leader has confirmed what was told.
fn warn_of_gaps(context: &mut dyn StatementContext, silent: &[u64], may_be_old: bool) {
    if !silent.is_empty() {
        warn(context, &silence(silent));
    }
    if may_be_old {
        warn(context, "no leader is heard of: this is what the node knew last");
    }
}

/// Which nodes did not answer, in words.
pub(crate) fn silence(nodes: &[u64]) -> String {
    let numbers: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    match &numbers[..] {
        [node] => format!("node {node} did not answer: what it knows is missing"),
        nodes => format!("nodes {} did not answer: what they know is missing", nodes.join(", ")),
    }
}

fn action_of(action: ClusterAction) -> Action {
    match action {
        ClusterAction::TransferLeadership { to } => Action::TransferLeadership { to },
        ClusterAction::AddLearner { node } => Action::AddLearner { node },
        ClusterAction::Promote { node } => Action::Promote { node },
        ClusterAction::RemoveMember { node, force } => Action::RemoveMember { node, force },
        ClusterAction::Drain { node, force } => Action::Drain { node, force },
        ClusterAction::Undrain { node } => Action::Undrain { node },
        ClusterAction::VerifyReplicas => Action::VerifyReplicas,
        ClusterAction::RecoverShard { shard, .. } => Action::RecoverShard { shard },
        ClusterAction::Split { shard, at } => Action::Split { shard, at },
        ClusterAction::Merge { from, into } => Action::Merge { from, into },
        ClusterAction::MoveReplica { shard, from, to } => Action::MoveReplica { shard, from, to },
        ClusterAction::AddReplica { shard, node } => Action::AddReplica { shard, node },
        ClusterAction::RemoveReplica { shard, node } => Action::RemoveReplica { shard, node },
    }
}
