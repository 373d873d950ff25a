//! What must hold, whatever goes wrong: one file for each invariant of the protocol, and for what clients were promised.
//!
//! The checkers share one thing: the commits as a fresh replay of the log decides them, in the order of their
//! timestamps. Everything else they work out for themselves.

mod a_commit_carries_what_its_client_wrote;
mod a_decision_never_changes;
mod a_snapshot_reads_the_same_until_gc;
mod acknowledged_writes_survive;
mod atomicity_across_participants;
mod commit_ts_unique_and_rising;
mod commits_respect_real_time;
mod equal_index_equal_state_hash;
mod every_prepare_past_its_deadline_is_refused;
mod isolation_keeps_its_promises;
mod low_water_at_most_oldest_live_snapshot;
mod no_commit_at_or_below_an_issued_snapshot;
mod no_commit_of_a_fenced_frontend;
mod no_commit_past_a_schema_fence;
mod no_commit_without_votes_or_inline_writes;
mod no_intent_deleted_before_its_version_is_durable_everywhere;
mod nothing_in_doubt_after_healing;
mod replicas_agree_at_equal_snapshots;
mod the_first_committer_wins;
mod unknown_is_never_reported_as_abort;

use crate::history::{Transaction, Violation};
use crate::world::Outcome;
use a_snapshot_reads_the_same_until_gc::apply;
use assize_adjudicator::{Adjudicator, Command, Options};
use assize_model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A commit, as the log has it.
pub(crate) struct Commit {
    /// The entry.
    pub index: LogIndex,
    /// Its timestamp.
    pub commit_ts: Timestamp,
    /// Whose.
    pub txn: TxnId,
    /// Its footprint.
    pub footprint: Footprint,
    /// All its writes, whichever way they travelled.
    pub writes: Vec<Mutation>,
    /// Its transaction's place in the history.
    pub record: usize,
    /// The epochs of all shards just before its entry.
    pub epochs: BTreeMap<ShardId, Epoch>,
    /// The configured replicas of all shards just before its entry.
    pub replicas: Arc<BTreeMap<ShardId, BTreeSet<ReplicaId>>>,
    /// The life that its frontend lived just before its entry.
    pub life: FrontendEpoch,
}

/// What the checkers look at.
pub(crate) struct Evidence<'a> {
    pub outcome: &'a Outcome,
    /// In the order of the log.
    pub commits: Vec<Commit>,
    /// Every decision, in the order of the log.
    pub decisions: Vec<(TxnId, Decision)>,
    /// Timestamps that were closed while nobody committed, with the length of the log then.
    pub closed: Vec<(usize, Timestamp)>,
    /// Where everything lies in the end.
    pub placement: Placement,
}

impl<'a> Evidence<'a> {
    fn gather(outcome: &'a Outcome) -> Self {
        let history = &outcome.history;
        let mut owners: BTreeMap<TxnId, usize> = BTreeMap::new();
        for (record, transaction) in history.txns.iter().enumerate() {
            owners.extend(transaction.ids.iter().map(|txn| (*txn, record)));
        }
        let options = Options { disabled_rules: outcome.scenario.without };
        let mut state = Adjudicator::new(options);
        let mut commits = Vec::new();
        let mut decisions = Vec::new();
        let mut closed = Vec::new();
        for (i, bytes) in history.log.iter().enumerate() {
            let index = LogIndex(i as u64 + 1);
            let command = Command::decode(bytes).expect("an entry of ours can be read");
            let epochs = state.placement().shards.iter().map(|(shard, part)| (*shard, part.epoch)).collect();
            let epochs: BTreeMap<ShardId, Epoch> = epochs;
            let configured = |(shard, part): (&ShardId, &ShardPlacement)| {
                (*shard, part.replicas.keys().copied().collect::<BTreeSet<ReplicaId>>())
            };
            let replicas =
                Arc::new(state.placement().shards.iter().map(configured).collect::<BTreeMap<_, _>>());
            let lives: BTreeMap<FrontendId, FrontendEpoch> =
                state.frontends().map(|(id, frontend)| (id, frontend.epoch)).collect();
            let applied = state.apply(index, &command);
            if let Command::RaiseCeiling { close, .. } = &command {
                closed.push((i + 1, *close));
            }
            let Command::Batch(batch) = &command else { continue };
            for (place, (view, decision)) in batch.views().zip(applied.decisions.iter()).enumerate() {
                decisions.push((view.txn(), decision.clone()));
                let Decision::Commit { commit_ts } = decision else { continue };
                if commit_ts != applied.base_ts.plus(place as u64) {
                    // A repeated answer.
                    continue;
                }
                let record = owners[&view.txn()];
                let footprint = view.to_footprint();
                let writes = match &footprint.body {
                    CommitBody::Inline { mutations, .. } => mutations.clone(),
                    CommitBody::Prepared { .. } => {
                        history.txns[record].writes.iter().map(|(_, mutation)| mutation.clone()).collect()
                    }
                };
                let txn = view.txn();
                let (epochs, replicas) = (epochs.clone(), replicas.clone());
                let life = lives.get(&txn.frontend()).copied().unwrap_or_default();
                commits.push(Commit {
                    index,
                    commit_ts,
                    txn,
                    footprint,
                    writes,
                    record,
                    epochs,
                    replicas,
                    life,
                });
            }
        }
        let placement = state.placement().clone();
        Evidence { outcome, commits, decisions, closed, placement }
    }

    /// The transaction of a commit.
    pub fn transaction(&self, commit: &Commit) -> &'a Transaction {
        &self.outcome.history.txns[commit.record]
    }

    /// The commits by timestamp.
    pub fn by_timestamp(&self) -> Vec<&Commit> {
        let mut commits: Vec<&Commit> = self.commits.iter().collect();
        commits.sort_by_key(|commit| commit.commit_ts);
        commits
    }
}

type Checker = fn(&Evidence<'_>) -> Result<(), Violation>;

/// The first invariant that does not hold.
pub fn check(outcome: &Outcome) -> Result<(), Violation> {
    if let Some(seen) = outcome.history.seen.first() {
        return Err(seen.clone());
    }
    let evidence = Evidence::gather(outcome);
    let checkers: [Checker; 20] = [
        a_decision_never_changes::check,
        commit_ts_unique_and_rising::check,
        no_commit_at_or_below_an_issued_snapshot::check,
        no_commit_without_votes_or_inline_writes::check,
        a_commit_carries_what_its_client_wrote::check,
        no_commit_of_a_fenced_frontend::check,
        no_commit_past_a_schema_fence::check,
        the_first_committer_wins::check,
        a_snapshot_reads_the_same_until_gc::check,
        isolation_keeps_its_promises::check,
        commits_respect_real_time::check,
        acknowledged_writes_survive::check,
        unknown_is_never_reported_as_abort::check,
        atomicity_across_participants::check,
        nothing_in_doubt_after_healing::check,
        equal_index_equal_state_hash::check,
        low_water_at_most_oldest_live_snapshot::check,
        no_intent_deleted_before_its_version_is_durable_everywhere::check,
        every_prepare_past_its_deadline_is_refused::check,
        replicas_agree_at_equal_snapshots::check,
    ];
    checkers.iter().try_for_each(|check| check(&evidence))
}
