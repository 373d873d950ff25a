//! ALTER CLUSTER: what an operator can have done, for whom a MySQL client is enough.

use super::{Parser, Result, syntax_error};
use crate::{ClusterAction, Statement};

impl Parser<'_> {
    /// What follows ALTER CLUSTER.
    pub(super) fn alter_cluster(&mut self) -> Result<Statement> {
        let verbs = [
            "TRANSFER", "SPLIT", "MERGE", "MOVE", "ADD", "DROP", "PROMOTE", "DRAIN", "UNDRAIN", "RECOVER",
            "VERIFY",
        ];
        let Some(verb) = self.eat_one_of(&verbs) else { return Err(self.fail()) };
        let action = match verb {
            "TRANSFER" => {
                self.expect_kw("LEADERSHIP")?;
                ClusterAction::TransferLeadership {
                    to: if self.eat_kw("TO") { Some(self.node()?) } else { None },
                }
            }
            "SPLIT" => {
                let shard = self.shard()?;
                ClusterAction::Split { shard, at: if self.eat_kw("AT") { Some(self.slot()?) } else { None } }
            }
            "MERGE" => {
                let from = self.shard()?;
                self.expect_kw("INTO")?;
                ClusterAction::Merge { from, into: self.shard()? }
            }
            "MOVE" => {
                let shard = self.shard()?;
                self.expect_kw("FROM")?;
                let from = self.node()?;
                self.expect_kw("TO")?;
                ClusterAction::MoveReplica { shard, from, to: self.node()? }
            }
            "ADD" if self.eat_kw("REPLICA") => {
                let (shard, node) = self.replica()?;
                ClusterAction::AddReplica { shard, node }
            }
            "ADD" => {
                self.expect_kw("LEARNER")?;
                ClusterAction::AddLearner { node: self.node()? }
            }
            "DROP" if self.eat_kw("REPLICA") => {
                let (shard, node) = self.replica()?;
                ClusterAction::RemoveReplica { shard, node }
            }
            "DROP" => {
                let node = self.node()?;
                ClusterAction::RemoveMember { node, force: self.eat_kw("FORCE") }
            }
            "PROMOTE" => ClusterAction::Promote { node: self.node()? },
            "DRAIN" => {
                let node = self.node()?;
                ClusterAction::Drain { node, force: self.eat_kw("FORCE") }
            }
            "UNDRAIN" => ClusterAction::Undrain { node: self.node()? },
            "RECOVER" => {
                let shard = self.shard()?;
                let accept_data_loss = self.eat_kws(&["ACCEPT", "DATA", "LOSS"]);
                ClusterAction::RecoverShard { shard, accept_data_loss }
            }
            _ => {
                self.expect_kw("REPLICAS")?;
                ClusterAction::VerifyReplicas
            }
        };
        let validate_only = self.eat_kws(&["VALIDATE", "ONLY"]);
        Ok(Statement::AlterCluster { action, validate_only })
    }

    /// `OF SHARD n ON NODE m`
    fn replica(&mut self) -> Result<(u32, u64)> {
        self.expect_kw("OF")?;
        let shard = self.shard()?;
        self.expect_kw("ON")?;
        Ok((shard, self.node()?))
    }

    fn shard(&mut self) -> Result<u32> {
        self.expect_kw("SHARD")?;
        self.u32()
    }

    fn node(&mut self) -> Result<u64> {
        self.expect_kw("NODE")?;
        self.u64()
    }

    fn slot(&mut self) -> Result<u16> {
        let at = self.tok().start;
        u16::try_from(self.u64()?).map_err(|_| syntax_error(self.text, at))
    }
}
