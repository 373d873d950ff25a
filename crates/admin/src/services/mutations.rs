//! What each mutating message asks for, and of whom.

use crate::auth::Role;
use crate::gate::Mutation;
use crate::pb;
use assize_ports::Action;

/// Who does it.
const BY_LEADER: bool = true;
const BY_NODE: bool = false;

/// What is said to whoever has not accepted that data are lost.
const UNACCEPTED: &str = "what only the lost replicas have will be gone: say --i-accept-data-loss (`accept_data_loss`) if that is \
                          meant, or --validate-only (`validate_only`) to see what would be done";

macro_rules! mutations {
    ($($message:ident: $rpc:literal, $role:ident, $by:ident, |$m:ident| $action:expr;)*) => { $(
        impl Mutation for pb::$message {
            const RPC: &'static str = $rpc;
            const ROLE: Role = Role::$role;
            const IS_LEADERS: bool = $by;

            fn action(&self) -> Result<Action, String> {
                let $m = self;
                Ok($action)
            }

            fn validate_only(&self) -> bool {
                self.validate_only
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }
        }
    )* };
}

mutations! {
    TransferLeadershipRequest: "Cluster.TransferLeadership", Operator, BY_LEADER, |m|
        Action::TransferLeadership { to: (m.to != 0).then_some(m.to) };
    AddLearnerRequest: "Cluster.AddLearner", Admin, BY_LEADER, |m|
        Action::AddLearner { node: node("node", m.node)? };
    PromoteMemberRequest: "Cluster.PromoteMember", Admin, BY_LEADER, |m|
        Action::Promote { node: node("node", m.node)? };
    RemoveMemberRequest: "Cluster.RemoveMember", Admin, BY_LEADER, |m|
        Action::RemoveMember { node: node("node", m.node)?, force: m.force };
    VerifyReplicasRequest: "Cluster.VerifyReplicas", Operator, BY_NODE, |_m| Action::VerifyReplicas;
    DrainNodeRequest: "Cluster.DrainNode", Operator, BY_NODE, |m| Action::Drain { node: node("node", m.node)?, force: m.force };
    UndrainNodeRequest: "Cluster.UndrainNode", Operator, BY_NODE, |m|
        Action::Undrain { node: node("node", m.node)? };
    KillTransactionRequest: "Transactions.Kill", Operator, BY_NODE, |m| Action::KillSession {
        node: node("node", m.node)?,
        connection: m.connection,
        query_only: false,
    };
    KillSessionRequest: "Sessions.Kill", Operator, BY_NODE, |m| Action::KillSession {
        node: node("node", m.node)?,
        connection: m.connection,
        query_only: m.query_only,
    };
    SplitRequest: "Shards.Split", Operator, BY_LEADER, |m|
        Action::Split { shard: m.shard, at: m.at.map(slot).transpose()? };
    MergeRequest: "Shards.Merge", Operator, BY_LEADER, |m| {
        different("from", "into", m.from != m.into)?;
        Action::Merge { from: m.from, into: m.into }
    };
    MoveReplicaRequest: "Shards.MoveReplica", Operator, BY_LEADER, |m| {
        different("from", "to", m.from != m.to)?;
        Action::MoveReplica { shard: m.shard, from: node("from", m.from)?, to: node("to", m.to)? }
    };
    AddReplicaRequest: "Shards.AddReplica", Operator, BY_LEADER, |m|
        Action::AddReplica { shard: m.shard, node: node("node", m.node)? };
    RemoveReplicaRequest: "Shards.RemoveReplica", Operator, BY_LEADER, |m|
        Action::RemoveReplica { shard: m.shard, node: node("node", m.node)? };
    RecoverShardRequest: "Shards.Recover", Admin, BY_LEADER, |m| {
        if !m.accept_data_loss && !m.validate_only {
            return Err(UNACCEPTED.to_owned());
        }
        Action::RecoverShard { shard: m.shard }
    };
}

fn node(field: &str, number: u64) -> Result<u64, String> {
    if number == 0 { Err(format!("{field} is missing: nodes are numbered from 1")) } else { Ok(number) }
}

fn slot(number: u32) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| format!("at is {number}, and slots go from 0 to 65535"))
}

fn different(one: &str, other: &str, are: bool) -> Result<(), String> {
    if are { Ok(()) } else { Err(format!("{one} and {other} are the same")) }
}
