//! Changes of who holds what, as those ask for them who move shards about.

use crate::{AdjudicatorError, BoxFuture};
use assize_model::{LogIndex, PlacementCommand, PlacementRefusal};

/// A [`PlacementCommand`] came to nothing, or nobody knows what it came to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlacementError {
    /// The log has it, and it changed nothing.
    #[error(transparent)]
    Refused(#[from] PlacementRefusal),
    /// It was not proposed, or (`ReplyLost`) may have been. Every command can be asked again: a raise and a registration
    /// do no harm twice, and a change expects an epoch.
    #[error(transparent)]
    Adjudicator(#[from] AdjudicatorError),
}

/// Whoever can put a [`PlacementCommand`] into the log.
pub trait ShardAdministration: Send + Sync {
    /// Does it. Answers an entry of the decision streams at or after the command's own: once a replica has reached it, it
    /// has heard of the command.
    fn administer(&self, command: PlacementCommand) -> BoxFuture<'_, Result<LogIndex, PlacementError>>;
}
