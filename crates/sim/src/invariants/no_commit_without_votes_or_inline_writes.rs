//! Protocol §6, §14: a commit either carries its writes, or a majority of each participant's configured replicas has
//! promised them, in the epoch that is current when the commit is decided.

use super::Evidence;
use crate::history::Violation;
use assize_model::{CommitBody, ReplicaId};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let wrong = |what: String| Err(Violation::new("no_commit_without_votes_or_inline_writes", what));
    for commit in &evidence.commits {
        let txn = commit.txn;
        match &commit.footprint.body {
            CommitBody::Inline { mutations, written } => {
                if mutations.len() != written.len() {
                    return wrong(format!("{txn:?} carries {} of {} writes", mutations.len(), written.len()));
                }
            }
            CommitBody::Prepared { receipts, written } => {
                let promised: u32 = receipts.iter().map(|receipt| receipt.digest.count).sum();
                if promised as usize != written.len() {
                    return wrong(format!("{txn:?} has receipts for {promised} of {} writes", written.len()));
                }
                for receipt in receipts {
                    let yes = evidence.outcome.history.yes.get(&(txn, receipt.shard));
                    let configured = commit.replicas.get(&receipt.shard);
                    let counts = |replica: &&ReplicaId| configured.is_some_and(|all| all.contains(*replica));
                    let votes = yes.map_or(0, |yes| yes.iter().filter(counts).count());
                    if votes * 2 <= configured.map_or(0, |all| all.len()) {
                        return wrong(format!("{txn:?} commits with {votes} votes of {}", receipt.shard));
                    }
                    if commit.epochs.get(&receipt.shard) != Some(&receipt.epoch) {
                        return wrong(format!(
                            "{txn:?} commits with a receipt of {} at {}, which is at {:?}",
                            receipt.shard,
                            receipt.epoch,
                            commit.epochs.get(&receipt.shard)
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}
