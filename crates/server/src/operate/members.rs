//! `assize members`.

use super::{Connection, Mutating, call, output};
use crate::Failure;
use assize_admin::pb;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Options of `assize members`.
#[derive(Args, Debug)]
pub struct MembersOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do; without it the members are listed.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be done with members.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List the nodes
    List,
    /// A node that runs and knows the cluster follows the log without a vote
    Add {
        /// Its number
        node: u64,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// A learner gets a vote
    Promote {
        /// Its number
        node: u64,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// A node leaves the cluster and is forgotten
    Remove {
        /// Its number
        node: u64,
        /// It is lost for good: remove it although it holds replicas
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// Another voter should lead
    Transfer {
        /// Its number; without it any voter that is up to date
        node: Option<u64>,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// A node gives up leadership and its shard replicas, and takes no more connections
    Drain {
        /// Its number
        node: u64,
        /// Although no other frontend takes connections
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// A node that drains, or is drained, may have replicas again and takes connections
    Undrain {
        /// Its number
        node: u64,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// Compare the state of adjudicator replicas and the content of shard replicas; exits with 0 if all are equal, 1 if some
    /// differ, 2 if some could not be compared
    Verify {
        #[command(flatten)]
        mutating: Mutating,
    },
}

/// Runs `assize members`.
pub async fn run(options: MembersOptions) -> Result<ExitCode, Failure> {
    let printed = options.connection.output;
    let mut cluster = options.connection.open().await?.cluster();
    let done = match options.action.unwrap_or(Action::List) {
        Action::List => {
            let answer = call!(cluster, list_members, pb::ListMembersRequest {});
            output::list(printed, &answer.members, HEADER, row)?;
            output::age(answer.may_be_old);
            return Ok(ExitCode::SUCCESS);
        }
        Action::Add { node, mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, add_learner, pb::AddLearnerRequest { node, validate_only, request_id })
        }
        Action::Promote { node, mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, promote_member, pb::PromoteMemberRequest { node, validate_only, request_id })
        }
        Action::Remove { node, force, mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, remove_member, pb::RemoveMemberRequest { node, force, validate_only, request_id })
        }
        Action::Transfer { node, mutating: Mutating { validate_only, request_id } } => {
            let to = node.unwrap_or(0);
            let request = pb::TransferLeadershipRequest { to, validate_only, request_id };
            call!(cluster, transfer_leadership, request)
        }
        Action::Drain { node, force, mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, drain_node, pb::DrainNodeRequest { node, force, validate_only, request_id })
        }
        Action::Undrain { node, mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, undrain_node, pb::UndrainNodeRequest { node, validate_only, request_id })
        }
        Action::Verify { mutating: Mutating { validate_only, request_id } } => {
            call!(cluster, verify_replicas, pb::VerifyReplicasRequest { validate_only, request_id })
        }
    };
    output::done(printed, &done)?;
    Ok(ExitCode::from(code(done.verified())))
}

/// What was not compared is not known to be equal.
pub(super) fn code(verified: pb::Verified) -> u8 {
    match verified {
        pb::Verified::Unspecified | pb::Verified::Equal => 0,
        pb::Verified::Differ => 1,
        pb::Verified::Incomplete => 2,
    }
}

/// What `assize members` and `assize top` print of a node.
pub(super) const HEADER: &[&str] = &[
    "node",
    "group",
    "state",
    "roles",
    "zone",
    "mysql",
    "admin",
    "applied",
    "replicas",
    "version",
    "disk free",
];

/// A node's row.
pub(super) fn row(member: &pb::Member) -> Vec<String> {
    vec![
        member.node.to_string(),
        member.member_role().to_string(),
        state(member),
        member.roles.join(" "),
        member.zone.clone(),
        member.mysql_address.clone(),
        member.admin_address.clone(),
        member.applied_index.to_string(),
        member.replicas.to_string(),
        member.version.clone(),
        output::bytes_or_dash(member.disk_free_bytes),
    ]
}

/// How a node does, in a word or its trouble.
pub(super) fn state(member: &pb::Member) -> String {
    match member {
        m if !m.is_reachable => "unreachable".to_owned(),
        m if !m.trouble.is_empty() => m.trouble.clone(),
        m if m.is_draining && m.replicas == 0 => "drained".to_owned(),
        m if m.is_draining => "draining".to_owned(),
        _ => "up".to_owned(),
    }
}
