//! Who won: finds the transaction behind a conflict, in recent batches.
//!
//! The window remembers batches and 32 bits of a key, no transactions. A leader keeps the last batches beside
//! it (they are shared memory of the log) and looks the winner up when somebody lost. What is found is
//! verified against what the winner really wrote: tags may collide, and a collision is retried, not explained.
//! None of this is replicated and no decision depends on it.

use crate::applied::Applied;
use crate::command::{Batch, Command};
use crate::decisions::Decisions;
use crate::footprint_view::FootprintView;
use assize_model::*;
use std::collections::VecDeque;

/// What lies behind a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explanation {
    /// This transaction committed first.
    Winner(Winner),
    /// Nobody did: two keys share a tag. To be retried without a word.
    Collision,
    /// The batch is no longer at hand.
    Forgotten,
}

/// Recent batches and what became of them.
#[derive(Clone, Debug)]
pub struct Explainer {
    recent: VecDeque<Recent>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Recent {
    number: BatchNumber,
    batch: Batch,
    decisions: Decisions,
}

impl Explainer {
    /// Keeps about so many bytes of batches.
    pub fn new(bytes_max: usize) -> Self {
        Explainer { recent: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Takes note of an applied entry.
    pub fn observe(&mut self, command: &Command, applied: &Applied) {
        let Command::Batch(batch) = command else { return };
        self.bytes += batch.bytes().len();
        self.recent.push_back(Recent {
            number: applied.batch,
            batch: batch.clone(),
            decisions: applied.decisions.clone(),
        });
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.recent.pop_front()
        {
            self.bytes -= oldest.batch.bytes().len();
        }
    }

    /// Who won against `loser`.
    pub fn explain(&self, conflict: &Conflict, loser: &FootprintView<'_>) -> Explanation {
        let found = self.recent.binary_search_by_key(&conflict.batch, |recent| recent.number);
        let Ok(found) = found else { return Explanation::Forgotten };
        let recent = &self.recent[found];
        let range = conflict.range.and_then(|(group, range)| {
            let before: u32 = loser.groups().take(group as usize).map(|g| g.ranges).sum();
            loser.ranges().nth((before + range) as usize)
        });
        let wrote = |winner: &FootprintView<'_>| match (&conflict.key, &range) {
            (Some(key), _) => winner.written().any(|hash| hash == *key),
            (None, Some(range)) => winner.ordered().flatten().any(|(table, key)| {
                table == range.table && range.range.start.0[..] <= *key && *key < range.range.end.0[..]
            }),
            (None, None) => false,
        };
        recent
            .batch
            .views()
            .zip(recent.decisions.committed_here())
            .filter_map(|(winner, commit_ts)| Some((winner, commit_ts?)))
            .filter(|(winner, _)| winner.txn() != loser.txn() && wrote(winner))
            .last()
            .map_or(Explanation::Collision, |(winner, commit_ts)| {
                Explanation::Winner(Winner { txn: winner.txn(), commit_ts })
            })
    }

    /// Fills the winner into a decision that is a conflict, where it is known.
    pub fn complete(&self, decision: &mut Decision, loser: &FootprintView<'_>) {
        if let Decision::Abort { reason: AbortReason::Conflict(conflict) } = decision
            && let Explanation::Winner(winner) = self.explain(conflict, loser)
        {
            conflict.winner = Some(winner);
        }
    }
}
