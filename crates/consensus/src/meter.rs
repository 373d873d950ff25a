//! What a node measures of its own work, for whoever keeps figures.

use assize_adjudicator::Decisions;
use assize_model::{AbortReason, Decision};
use std::fmt::Debug;
use std::time::Duration;

/// Is told what happens where it happens, by the threads that commits wait for: it must neither wait nor fail.
pub trait Meter: Debug + Send + Sync {
    /// The log's writer has written a group of records and synced them, which took so long.
    fn log_synced(&self, took: Duration);

    /// The leader has an entry of transactions applied, so long after it was proposed.
    fn entry_decided(&self, took: Duration);

    /// The leader has decided, or refused before they took a place in the log, so many transactions.
    fn decided(&self, tally: Tally);
}

/// Keeps no figures.
#[derive(Debug)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn log_synced(&self, _took: Duration) {}
    fn entry_decided(&self, _took: Duration) {}
    fn decided(&self, _tally: Tally) {}
}

/// How many transactions came to what.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// They committed. Answers to commits that are asked for again are among them.
    pub commits: u64,
    /// Another transaction had committed what they depend on.
    pub conflicts: u64,
    /// Nothing is decided: their frontend asks the shards, or prepares again, and comes again.
    pub again: u64,
    /// They were too late, too old, fenced, or planned with a schema that has changed.
    pub refusals: u64,
}

impl Tally {
    /// What an entry has decided.
    pub fn of(decisions: &Decisions) -> Tally {
        let commits = decisions.commits() as u64;
        let others = decisions.others_in(0..decisions.len() as u32);
        let tally = Tally { commits, ..Tally::default() };
        others.iter().fold(tally, |tally, (_, decision)| tally.and(decision))
    }

    /// With one more.
    pub fn and(mut self, decision: &Decision) -> Tally {
        let count = match decision {
            Decision::Commit { .. } => &mut self.commits,
            Decision::Abort { reason: AbortReason::Conflict(_) } => &mut self.conflicts,
            Decision::Abort { reason } if reason.is_recommittable() => &mut self.again,
            Decision::Abort { .. } => &mut self.refusals,
        };
        *count += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{BatchNumber, Conflict, Epoch, ShardId, Timestamp};

    #[test]
    fn every_decision_is_counted_once() {
        let conflict = Conflict { key: None, range: None, batch: BatchNumber(1), winner: None };
        let decisions = [
            Decision::Commit { commit_ts: Timestamp(1) },
            Decision::Abort { reason: AbortReason::Conflict(conflict) },
            Decision::Abort { reason: AbortReason::OutcomesFull },
            Decision::Abort { reason: AbortReason::StaleEpoch { shard: ShardId(1), current: Epoch(2) } },
            Decision::Abort { reason: AbortReason::DeadlinePassed },
        ];
        let tally = decisions.iter().fold(Tally::default(), Tally::and);
        assert_eq!(tally, Tally { commits: 1, conflicts: 1, again: 2, refusals: 1 });
    }
}
