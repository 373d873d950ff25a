//! Protocol §4: whoever begins after a client was told of a commit sees that commit.

use super::Evidence;
use crate::history::{Told, Violation};
use assize_model::Timestamp;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let txns = &evidence.outcome.history.txns;
    let mut told: Vec<(u64, Timestamp)> = txns
        .iter()
        .filter_map(|txn| match &txn.told {
            Some((at, Told::Committed(_, commit_ts))) => Some((*at, *commit_ts)),
            _ => None,
        })
        .collect();
    told.sort();
    let mut begun: Vec<_> =
        txns.iter().filter_map(|txn| Some((txn.asked_at, txn.reads.first()?.snapshot_ts, txn))).collect();
    begun.sort_by_key(|(at, ..)| *at);
    let mut told = told.into_iter().peekable();
    let mut newest = Timestamp::ZERO;
    for (at, snapshot_ts, txn) in begun {
        while let Some((_, commit_ts)) = told.next_if(|(when, _)| *when < at) {
            newest = newest.max(commit_ts);
        }
        if snapshot_ts < newest {
            let what = format!(
                "a {} that began at {at} reads at {snapshot_ts}, below {newest}, which was acknowledged before",
                txn.kind
            );
            return Err(Violation::new("commits_respect_real_time", what));
        }
    }
    Ok(())
}
