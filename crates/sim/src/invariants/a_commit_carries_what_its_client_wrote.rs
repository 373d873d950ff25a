//! Protocol §6: a commit writes what its client last wrote to each key and had not undone, and nothing else; whether the
//! writes travelled in its footprint or were promised by participants.

use super::Evidence;
use crate::adjudicators::HASH_SEED;
use crate::history::Violation;
use assize_model::{CommitBody, Key, KeyHash, MutationOp};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let wrong = |what: String| Err(Violation::new("a_commit_carries_what_its_client_wrote", what));
    for commit in &evidence.commits {
        let transaction = evidence.transaction(commit);
        let wrote: BTreeMap<&Key, &MutationOp> =
            transaction.writes.iter().map(|(_, mutation)| (&mutation.key, &mutation.op)).collect();
        let (txn, kind) = (commit.txn, transaction.kind);
        match &commit.footprint.body {
            CommitBody::Inline { mutations, .. } => {
                let carried: BTreeMap<&Key, &MutationOp> =
                    mutations.iter().map(|mutation| (&mutation.key, &mutation.op)).collect();
                if carried != wrote {
                    return wrong(format!(
                        "{txn:?} ({kind}) carries {carried:?}, its client wrote {wrote:?}"
                    ));
                }
            }
            CommitBody::Prepared { written, .. } => {
                let promised: BTreeSet<KeyHash> = written.iter().map(|written| written.hash).collect();
                let hashes: BTreeSet<KeyHash> = wrote.keys().map(|key| key.hash(HASH_SEED)).collect();
                if promised != hashes {
                    return wrong(format!("{txn:?} ({kind}) has promises of other keys than {wrote:?}"));
                }
            }
        }
    }
    Ok(())
}
