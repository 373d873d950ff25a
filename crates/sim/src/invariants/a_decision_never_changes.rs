//! Protocol §2 (D1), §3: whatever is sent again, and whenever: what was decided stays decided.

use super::Evidence;
use crate::history::Violation;
use assize_model::{AbortReason, Decision, TxnId};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let mut decided: BTreeMap<TxnId, &Decision> = BTreeMap::new();
    for (txn, decision) in &evidence.decisions {
        if let Decision::Abort { reason } = decision
            && !is_lasting(reason)
        {
            continue;
        }
        match decided.get(txn) {
            None => drop(decided.insert(*txn, decision)),
            Some(before) if *before == decision => {}
            // Nobody asks any more: acknowledged, past its deadline, left to the history on disk.
            Some(_) if is_past(decision) => {}
            Some(before) => {
                let what = format!("{txn:?} was {before:?} and then {decision:?}");
                return Err(Violation::new("a_decision_never_changes", what));
            }
        }
    }
    Ok(())
}

/// Answers that are no decisions.
fn is_lasting(reason: &AbortReason) -> bool {
    !matches!(reason, AbortReason::NeedRefresh { .. } | AbortReason::OutcomesFull)
}

fn is_past(decision: &Decision) -> bool {
    let Decision::Abort { reason } = decision else { return false };
    matches!(reason, AbortReason::DeadlinePassed | AbortReason::FrontendFenced { .. })
}
