//! Changes of the placement and of replicas' standing.

use crate::Adjudicator;
use assize_adjudicator::{Command, DRAINS_SINCE, Reply};
use assize_model::{LogIndex, NodeId, PlacementChange, PlacementCommand, PlacementRefusal, ShardId};
use assize_ports::{AdjudicatorError, BoxFuture, PlacementError, ShardAdministration};

/// How often a raise is tried again because somebody else changed the placement meanwhile.
const RAISES_MAX: usize = 16;

impl ShardAdministration for Adjudicator {
    fn administer(&self, command: PlacementCommand) -> BoxFuture<'_, Result<LogIndex, PlacementError>> {
        Box::pin(async move {
            match command {
                PlacementCommand::Raise(shard) => self.raise(shard).await,
                PlacementCommand::Register(shard, replica) => {
                    self.settle(Command::RegisterReplica { shard, replica }).await
                }
                PlacementCommand::Uncount(shard, replica) => {
                    self.settle(Command::Uncount { shard, replica }).await
                }
                PlacementCommand::Change(change) => self.settle(Command::ChangePlacement(change)).await,
            }
        })
    }
}

impl Adjudicator {
    /// Raises a shard's epoch, whatever else happens to the placement at the same time.
    async fn raise(&self, shard: ShardId) -> Result<LogIndex, PlacementError> {
        let mut refused = None;
        for _ in 0..RAISES_MAX {
            let expected = self.with_core(|core| core.placement().epoch);
            let change = PlacementChange { expected, raise: vec![shard], ..PlacementChange::default() };
            match self.settle(Command::ChangePlacement(change)).await {
                Err(PlacementError::Refused(PlacementRefusal::EpochMoved { current })) => {
                    refused = Some(PlacementRefusal::EpochMoved { current });
                }
                done => return done,
            }
        }
        Err(refused.expect("it was tried at least once").into())
    }

    /// Goes on with the replicas of a shard that are left, whatever majority is lost with those on these nodes; on the leader.
    /// Commits whose writes only those had are lost for this shard.
    pub async fn recover_shard(&self, shard: ShardId, lost: Vec<NodeId>) -> Result<LogIndex, PlacementError> {
        if self.cluster_version() < DRAINS_SINCE {
            let why = "shards are recovered from cluster version 2 on: finish the upgrade first";
            return Err(AdjudicatorError::Overloaded(why.into()).into());
        }
        let expected = self.with_core(|core| core.placement().epoch);
        self.settle(Command::RecoverShard { shard, expected, lost }).await
    }

    async fn settle(&self, command: Command) -> Result<LogIndex, PlacementError> {
        match self.call(command).await? {
            // It has been applied here, and its stream entry is no later than the last.
            Reply::Done | Reply::Placement(_) => Ok(self.with_core(|core| core.position().index)),
            Reply::PlacementRefused(refusal) => Err(refusal.into()),
            other => Err(AdjudicatorError::Stopped(format!("it answers {other:?} to a placement")).into()),
        }
    }
}
