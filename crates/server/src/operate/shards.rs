//! `assize shards`.

use super::{Connection, Mutating, call, output, watch};
use crate::cli::Output;
use crate::{Failure, exit};
use assize_admin::{Client, ClientError, ErrorKind, pb};
use clap::{Args, Subcommand};

/// Options of `assize shards`.
#[derive(Args, Debug)]
pub struct ShardsOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do; without it the shards are listed.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be done with shards.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List the shards and their replicas
    List,
    /// Print the shards whenever something about them changes; or follow one job to its end
    Watch {
        /// The job: `split-1.3`
        job: Option<String>,
    },
    /// Half of a shard's slots, or those from a slot on, go to a new shard
    Split {
        /// Which shard
        shard: u32,
        /// The first slot that goes
        #[arg(long)]
        at: Option<u32>,
        #[command(flatten)]
        long: LongWork,
    },
    /// All slots of a shard go to another one, and it ceases
    Merge {
        /// The shard whose slots go
        from: u32,
        /// The shard that gets them
        into: u32,
        #[command(flatten)]
        long: LongWork,
    },
    /// A replica goes from one node to another
    Move {
        /// Which shard
        shard: u32,
        /// The node where the replica is
        #[arg(long)]
        from: u64,
        /// The node where it goes
        #[arg(long)]
        to: u64,
        #[command(flatten)]
        long: LongWork,
    },
    /// A shard gets one more replica
    AddReplica {
        /// Which shard
        shard: u32,
        /// On which node
        node: u64,
        #[command(flatten)]
        long: LongWork,
    },
    /// A shard that has lost most of its replicas for good goes on with those that answer; what only the others had is lost
    Recover {
        /// Which shard
        shard: u32,
        /// Do it: what only the lost replicas have is gone
        #[arg(long)]
        i_accept_data_loss: bool,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// A shard gives a replica up
    RemoveReplica {
        /// Which shard
        shard: u32,
        /// Of which node
        node: u64,
        #[command(flatten)]
        long: LongWork,
    },
}

/// Options of what may take long.
#[derive(Args, Debug)]
pub struct LongWork {
    #[command(flatten)]
    mutating: Mutating,
    /// Follow the job to its end
    #[arg(long)]
    wait: bool,
}

/// Runs `assize shards`.
pub async fn run(options: ShardsOptions) -> Result<(), Failure> {
    let connection = &options.connection;
    let client = connection.open().await?;
    match options.action.unwrap_or(Action::List) {
        Action::List => print(connection.output, &call!(client.shards(), list, pb::ListShardsRequest {})),
        Action::Watch { job: Some(job) } => follow(connection, client, job).await,
        Action::Watch { job: None } => watch_all(connection, client).await,
        action => change(connection, client, action).await,
    }
}

async fn change(connection: &Connection, client: Client, action: Action) -> Result<(), Failure> {
    let mut shards = client.shards();
    let (done, wait) = match action {
        Action::Split { shard, at, long: LongWork { mutating: m, wait } } => {
            let Mutating { validate_only, request_id } = m;
            (call!(shards, split, pb::SplitRequest { shard, at, validate_only, request_id }), wait)
        }
        Action::Merge { from, into, long: LongWork { mutating: m, wait } } => {
            let Mutating { validate_only, request_id } = m;
            (call!(shards, merge, pb::MergeRequest { from, into, validate_only, request_id }), wait)
        }
        Action::Move { shard, from, to, long: LongWork { mutating: m, wait } } => {
            let Mutating { validate_only, request_id } = m;
            let request = pb::MoveReplicaRequest { shard, from, to, validate_only, request_id };
            (call!(shards, move_replica, request), wait)
        }
        Action::AddReplica { shard, node, long: LongWork { mutating: m, wait } } => {
            let Mutating { validate_only, request_id } = m;
            let request = pb::AddReplicaRequest { shard, node, validate_only, request_id };
            (call!(shards, add_replica, request), wait)
        }
        Action::Recover { shard, i_accept_data_loss: accept_data_loss, mutating: m } => {
            let Mutating { validate_only, request_id } = m;
            let request = pb::RecoverShardRequest { shard, accept_data_loss, validate_only, request_id };
            (call!(shards, recover, request), false)
        }
        Action::RemoveReplica { shard, node, long: LongWork { mutating: m, wait } } => {
            let Mutating { validate_only, request_id } = m;
            let request = pb::RemoveReplicaRequest { shard, node, validate_only, request_id };
            (call!(shards, remove_replica, request), wait)
        }
        Action::List | Action::Watch { .. } => return Ok(()),
    };
    output::done(connection.output, &done)?;
    if wait && !done.job_id.is_empty() && !done.was_validate_only {
        return follow(connection, client, done.job_id).await;
    }
    Ok(())
}

fn print(printed: Output, answer: &pb::ListShardsResponse) -> Result<(), Failure> {
    output::list(printed, &answer.shards, HEADER, row)?;
    output::age(answer.may_be_old);
    if printed == Output::Table
        && let Some(line) = answer.balance.as_ref().and_then(balance_line)
    {
        eprintln!("{line}");
    }
    Ok(())
}

/// What is said of balancing, to people; nothing while it is on and at rest.
pub(super) fn balance_line(balance: &pb::Balance) -> Option<String> {
    match (balance.is_on, balance.r#move.as_str()) {
        (true, "") => None,
        (false, "") => Some("balancing is off (shard.balance)".to_owned()),
        // A node that is configured otherwise may lead.
        (_, going) => Some(format!("balancing: {going} ({})", balance.job_id)),
    }
}

async fn watch_all(connection: &Connection, client: Client) -> Result<(), Failure> {
    let open = async |client: &Client| Ok(call!(client.shards(), watch, pb::WatchShardsRequest {}));
    let told = |answer| print(connection.output, &answer);
    watch::follow(connection, client, open, told).await
}

/// Prints a job's steps until it ends; its failure is ours.
async fn follow(connection: &Connection, client: Client, job_id: String) -> Result<(), Failure> {
    let request = pb::WatchJobRequest { job_id };
    let open = async |client: &Client| Ok(call!(client.shards(), watch_job, request.clone()));
    let mut was_seen = false;
    let told = |job: pb::Job| {
        was_seen = true;
        output::one(connection.output, &job, job_line)?;
        if job.state() == pb::JobState::Failed {
            let error = anyhow::anyhow!("job {} has failed: {}", job.id, job.failure);
            return Err(Failure { code: exit::SOFTWARE, error });
        }
        Ok(())
    };
    match watch::follow(connection, client, open, told).await {
        Err(failure) if was_seen && is_missing(&failure) => Err(Failure {
            code: exit::UNAVAILABLE,
            error: failure
                .error
                .context("the node that did the work has gone; `assize shards` says how far it came"),
        }),
        ended => ended,
    }
}

fn is_missing(failure: &Failure) -> bool {
    let error = failure.error.downcast_ref::<ClientError>();
    error.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn job_line(job: &pb::Job) -> String {
    format!(
        "{} {}: {} ({}, longest stall {})",
        job.id,
        job.state(),
        job.step,
        output::or_dash(job.elapsed),
        output::or_dash(job.longest_stall)
    )
}

/// What `assize shards` prints of a shard.
pub(super) const HEADER: &[&str] = &["shard", "epoch", "slots", "replicas: node state lag", "size"];

/// A shard's row.
pub(super) fn row(shard: &pb::Shard) -> Vec<String> {
    vec![
        shard.shard.to_string(),
        shard.epoch.to_string(),
        slots(&shard.slots),
        shard.replicas.iter().map(replica).collect::<Vec<_>>().join(", "),
        output::bytes(shard.bytes),
    ]
}

/// Runs of slots: `0-16383`.
pub(super) fn slots(runs: &[pb::SlotRange]) -> String {
    runs.iter().map(|run| format!("{}-{}", run.first, run.last)).collect::<Vec<_>>().join(" ")
}

/// A replica: `n2 following 0.004s`.
pub(super) fn replica(replica: &pb::Replica) -> String {
    let learning = if replica.is_learning { " learning" } else { "" };
    format!("n{} {}{learning} {}", replica.node, replica.state, output::or_dash(replica.lag))
}
