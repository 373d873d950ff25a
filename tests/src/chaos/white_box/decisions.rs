//! Every decision worked out anew by a judge that is obviously right: maps, and nothing forgotten.
//!
//! The adjudicator may refuse what this judge would let pass (its window knows keys by 32 bits of their hash, and forgets);
//! it may never let pass what this judge refuses.

use super::Report;
use assize_adjudicator::{Applied, Command, Known, Reply};
use assize_model::*;
use std::collections::{BTreeMap, HashMap};

/// What the decisions of one entry share.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// The entry.
    pub index: LogIndex,
    /// The first timestamp of its commits.
    pub base_ts: Timestamp,
    /// When this one committed, if it did.
    pub own_ts: Timestamp,
    /// The seed of key hashes.
    pub seed: u64,
}

/// See the module's page.
#[derive(Default)]
pub struct Naive {
    /// When each key was last committed.
    committed: HashMap<KeyHash, Timestamp>,
    /// Likewise, in order; only keys of commits that carry them so.
    ordered: BTreeMap<(TableId, Key), Timestamp>,
    /// What was decided and may never change.
    decided: HashMap<TxnId, Option<Timestamp>>,
    /// The oldest version of a table with which anybody may have planned.
    fences: HashMap<TableId, SchemaVersion>,
    /// The oldest life of a frontend that may commit.
    lives: HashMap<FrontendId, FrontendEpoch>,
    last_ts: Timestamp,
}

impl Naive {
    /// Takes in an entry that is no batch.
    pub fn observe(&mut self, command: &Command, applied: &Applied) {
        if let (Command::Resolve(txn), Reply::Outcome(Known::Decided(Decision::Abort { .. }))) =
            (command, &applied.reply)
        {
            self.decided.entry(*txn).or_insert(None);
        }
        let (frontend, epoch) = match (command, &applied.reply) {
            (Command::GrantFrontend { frontend, .. }, Reply::Granted(epoch)) => (*frontend, *epoch),
            (Command::FenceFrontend { frontend, epoch }, Reply::Fenced(true)) => {
                (*frontend, FrontendEpoch(epoch.0 + 1))
            }
            _ => return,
        };
        let life = self.lives.entry(frontend).or_default();
        *life = epoch.max(*life);
    }

    /// Judges a decision; says whether it was made here, and is not an old answer again.
    pub fn judge(
        &mut self,
        at: &Decided,
        footprint: &Footprint,
        decision: &Decision,
        report: &mut Report,
    ) -> bool {
        report.decisions += 1;
        let txn = footprint.txn;
        if let Some(before) = self.decided.get(&txn) {
            self.compare_with_before(txn, *before, decision, report);
            return false;
        }
        match decision {
            Decision::Commit { commit_ts } => {
                report.commits += 1;
                self.judge_commit(at, footprint, *commit_ts, report);
                self.take_in(footprint, *commit_ts);
                self.decided.insert(txn, Some(*commit_ts));
            }
            Decision::Abort { reason } => {
                if matches!(reason, AbortReason::Conflict(_)) {
                    report.conflicts += 1;
                    report.needless += u64::from(self.conflict(footprint).is_none());
                }
                if !matches!(reason, AbortReason::NeedRefresh { .. } | AbortReason::OutcomesFull) {
                    self.decided.insert(txn, None);
                }
            }
        }
        true
    }

    fn compare_with_before(
        &self,
        txn: TxnId,
        before: Option<Timestamp>,
        decision: &Decision,
        report: &mut Report,
    ) {
        let is_same = match (before, decision) {
            (Some(commit_ts), Decision::Commit { commit_ts: again }) => commit_ts == *again,
            // A refusal may be told with another reason; and of what was acknowledged long ago nobody asks any more.
            (_, Decision::Abort { reason }) => {
                before.is_none()
                    || matches!(reason, AbortReason::DeadlinePassed | AbortReason::FrontendFenced { .. })
            }
            (None, Decision::Commit { .. }) => false,
        };
        if !is_same {
            report.wrong("a_decision_never_changes", || {
                format!("{txn:?} was {before:?}, and then {decision:?}")
            });
        }
    }

    fn judge_commit(
        &mut self,
        at: &Decided,
        footprint: &Footprint,
        commit_ts: Timestamp,
        report: &mut Report,
    ) {
        let txn = footprint.txn;
        if commit_ts != at.own_ts || commit_ts <= self.last_ts {
            report.wrong("commit_ts_unique_and_rising", || {
                format!("{txn:?} commits at {commit_ts} in {}, where it should be {}", at.index, at.own_ts)
            });
        }
        self.last_ts = self.last_ts.max(commit_ts);
        if let Some(conflict) = self.conflict(footprint) {
            report
                .wrong("the_first_committer_wins", || format!("{txn:?} commits at {commit_ts}, {conflict}"));
        }
        if let Some(unchecked) = unchecked(footprint, at.seed) {
            report
                .wrong("the_first_committer_wins", || format!("{txn:?} commits at {commit_ts}, {unchecked}"));
        }
        if txn.deadline() < at.base_ts {
            report.wrong("no_commit_past_its_deadline", || {
                format!("{txn:?} commits at {commit_ts}, its deadline was {}", txn.deadline())
            });
        }
        let life = self.lives.get(&txn.frontend()).copied().unwrap_or_default();
        if txn.frontend_epoch() < life {
            report.wrong("no_commit_of_a_fenced_frontend", || format!("{txn:?} commits, in life {life}"));
        }
        for (table, version) in &footprint.schemas {
            if let Some(fence) = self.fences.get(table).filter(|fence| version < *fence) {
                report.wrong("no_commit_past_a_schema_fence", || {
                    format!("{txn:?} planned with {version} of {table}, fenced at {fence}")
                });
            }
        }
        if footprint.groups.iter().any(|group| group.snapshot_ts >= commit_ts) {
            report.wrong("no_commit_at_or_below_an_issued_snapshot", || {
                format!("{txn:?} commits at {commit_ts}, not above its own snapshot")
            });
        }
    }

    /// What of a footprint was committed by another after its snapshot.
    fn conflict(&self, footprint: &Footprint) -> Option<String> {
        footprint.groups.iter().find_map(|group| {
            let snapshot_ts = group.snapshot_ts;
            let key = group.checked.iter().find_map(|hash| {
                let last = self.committed.get(hash).filter(|last| **last > snapshot_ts)?;
                Some(format!("but key {hash:?}, seen at {snapshot_ts}, was committed at {last}"))
            });
            let range = || {
                group.ranges.iter().find_map(|range| {
                    let bounds =
                        (range.table, range.range.start.clone())..(range.table, range.range.end.clone());
                    let mut inside = self.ordered.range(bounds);
                    let ((_, key), last) = inside.find(|(_, last)| **last > snapshot_ts)?;
                    Some(format!("but {key:?} of a range seen at {snapshot_ts} was committed at {last}"))
                })
            };
            key.or_else(range)
        })
    }

    fn take_in(&mut self, footprint: &Footprint, commit_ts: Timestamp) {
        for written in footprint.body.written() {
            self.committed.insert(written.hash, commit_ts);
            if let Some(ordered) = &written.ordered {
                self.ordered.insert(ordered.clone(), commit_ts);
            }
        }
        for fence in footprint.catalog_change.iter().flat_map(|change| &change.fences) {
            self.fences.insert(fence.table, fence.min_version);
        }
    }
}

/// A write that the footprint hides from the check: one that it does not check itself, or names by another hash.
fn unchecked(footprint: &Footprint, seed: u64) -> Option<String> {
    let is_checked = |hash: &KeyHash| footprint.groups.iter().any(|group| group.checked.contains(hash));
    let written = footprint.body.written();
    if let Some(written) = written.iter().find(|written| !is_checked(&written.hash)) {
        return Some(format!("but does not check {:?}, which it writes", written.hash));
    }
    let CommitBody::Inline { mutations, .. } = &footprint.body else { return None };
    let mut names: Vec<KeyHash> = written.iter().map(|written| written.hash).collect();
    let mut keys: Vec<KeyHash> = mutations.iter().map(|mutation| mutation.key.hash(seed)).collect();
    names.sort_unstable();
    keys.sort_unstable();
    (names != keys).then(|| "but the keys that it writes are not those that it names".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn txn(number: u64) -> TxnId {
        TxnId::new(NOW, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), number)
    }

    /// A footprint that reads at a snapshot and writes a key.
    fn footprint(number: u64, snapshot_ts: u64, key: &'static str) -> Footprint {
        let key = Key::from(key);
        let hash = key.hash(0);
        let ordered = Some((TableId(1), key.clone()));
        Footprint {
            txn: txn(number),
            groups: vec![AccessGroup {
                snapshot_ts: NOW.plus(snapshot_ts),
                checked: vec![hash],
                ranges: Vec::new(),
            }],
            schemas: vec![(TableId(1), SchemaVersion(1))],
            auto_increments: Vec::new(),
            body: CommitBody::Inline {
                mutations: vec![Mutation::put(key, Slot(1), "v")],
                written: vec![WrittenKey { hash, ordered }],
            },
            catalog_change: None,
        }
    }

    struct Court {
        naive: Naive,
        report: Report,
    }

    impl Court {
        fn new() -> Self {
            Court { naive: Naive::default(), report: Report::default() }
        }

        /// A footprint committed at this timestamp.
        fn commits(&mut self, footprint: &Footprint, ts: u64) -> &mut Self {
            self.decides(footprint, ts, Decision::Commit { commit_ts: NOW.plus(ts) })
        }

        fn decides(&mut self, footprint: &Footprint, ts: u64, decision: Decision) -> &mut Self {
            let (index, own_ts) = (LogIndex(ts), NOW.plus(ts));
            let at = Decided { index, base_ts: own_ts, own_ts, seed: 0 };
            self.naive.judge(&at, footprint, &decision, &mut self.report);
            self
        }

        fn broken(&self) -> Vec<&'static str> {
            self.report.violations.keys().copied().collect()
        }
    }

    #[test]
    fn what_follows_one_another_is_right() {
        let mut court = Court::new();
        court
            .commits(&footprint(1, 0, "a"), 1)
            .commits(&footprint(2, 1, "a"), 2)
            .commits(&footprint(3, 1, "b"), 3);
        assert_eq!((court.broken(), court.report.commits), (Vec::new(), 3));
    }

    #[test]
    fn a_commit_over_a_later_one_is_found() {
        let mut court = Court::new();
        court.commits(&footprint(1, 0, "a"), 1).commits(&footprint(2, 0, "a"), 2);
        assert_eq!(court.broken(), ["the_first_committer_wins"]);
        let mut court = Court::new();
        let conflict = Conflict { key: None, range: None, batch: BatchNumber(1), winner: None };
        let lost = || Decision::Abort { reason: AbortReason::Conflict(conflict.clone()) };
        court.commits(&footprint(1, 0, "a"), 1).decides(&footprint(2, 0, "a"), 2, lost());
        assert_eq!((court.broken(), court.report.conflicts, court.report.needless), (Vec::new(), 1, 0));
        court.decides(&footprint(3, 1, "a"), 3, lost());
        assert_eq!((court.report.conflicts, court.report.needless), (2, 1));
    }

    #[test]
    fn a_phantom_is_found() {
        let mut court = Court::new();
        let mut reader = footprint(2, 0, "z");
        let range = KeyRange::new(Key::from("a"), Key::from("c"));
        reader.groups[0].ranges.push(TableRange { table: TableId(1), range });
        court.commits(&footprint(1, 0, "b"), 1).commits(&reader, 2);
        assert_eq!(court.broken(), ["the_first_committer_wins"]);
        let mut court = Court::new();
        court.commits(&footprint(1, 0, "c"), 1).commits(&reader, 2);
        assert!(court.broken().is_empty());
    }

    #[test]
    fn a_write_that_is_not_checked_is_found() {
        let mut hidden = footprint(1, 0, "a");
        hidden.groups[0].checked.clear();
        assert_eq!(Court::new().commits(&hidden, 1).broken(), ["the_first_committer_wins"]);
        let mut other = footprint(1, 0, "a");
        let CommitBody::Inline { mutations, .. } = &mut other.body else { panic!("inline") };
        mutations[0].key = Key::from("b");
        assert_eq!(Court::new().commits(&other, 1).broken(), ["the_first_committer_wins"]);
    }

    #[test]
    fn timestamps_that_do_not_rise_are_found() {
        let mut court = Court::new();
        court.commits(&footprint(1, 0, "a"), 5).commits(&footprint(2, 0, "b"), 5);
        assert_eq!(court.broken(), ["commit_ts_unique_and_rising"]);
        let court = &mut Court::new();
        court.decides(&footprint(1, 0, "a"), 5, Decision::Commit { commit_ts: NOW.plus(6) });
        assert_eq!(court.broken(), ["commit_ts_unique_and_rising"]);
        let court = &mut Court::new();
        court.commits(&footprint(1, 7, "a"), 7);
        assert_eq!(court.broken(), ["no_commit_at_or_below_an_issued_snapshot"]);
    }

    #[test]
    fn a_decision_that_changes_is_found() {
        let refused = || Decision::Abort { reason: AbortReason::SnapshotTooOld };
        let one = footprint(1, 0, "a");
        let mut court = Court::new();
        court.commits(&one, 1).decides(&one, 2, Decision::Commit { commit_ts: NOW.plus(1) });
        assert_eq!((court.broken(), court.report.commits), (Vec::new(), 1), "the same answer again");
        court.decides(&one, 3, refused());
        assert_eq!(court.broken(), ["a_decision_never_changes"]);
        let mut court = Court::new();
        court.decides(&one, 1, refused()).commits(&one, 2);
        assert_eq!(court.broken(), ["a_decision_never_changes"]);
        // Not decisions: the same id comes again.
        let mut court = Court::new();
        court.decides(&one, 1, Decision::Abort { reason: AbortReason::OutcomesFull }).commits(&one, 2);
        assert!(court.broken().is_empty());
    }

    #[test]
    fn a_resolved_transaction_that_commits_is_found() {
        let (one, mut court) = (footprint(1, 0, "a"), Court::new());
        let reason = AbortReason::Resolved;
        let reply = Reply::Outcome(Known::Decided(Decision::Abort { reason }));
        court.naive.observe(&Command::Resolve(one.txn), &Applied { reply, ..Applied::default() });
        assert_eq!(court.commits(&one, 1).broken(), ["a_decision_never_changes"]);
    }

    #[test]
    fn a_commit_past_its_deadline_is_found() {
        let mut court = Court::new();
        let late = NOW.later(Duration::from_secs(11)).0 - NOW.0;
        assert_eq!(court.commits(&footprint(1, 0, "a"), late).broken(), ["no_commit_past_its_deadline"]);
    }

    #[test]
    fn a_commit_of_a_frontend_that_was_fenced_or_began_anew_is_found() {
        let (frontend, epoch) = (FrontendId(1), FrontendEpoch(1));
        let fence = (Command::FenceFrontend { frontend, epoch }, Reply::Fenced(true));
        let grant = (Command::GrantFrontend { frontend, nonce: 2 }, Reply::Granted(FrontendEpoch(2)));
        for (command, reply) in [fence, grant] {
            let mut court = Court::new();
            court.naive.observe(&command, &Applied { reply, ..Applied::default() });
            assert_eq!(court.commits(&footprint(1, 0, "a"), 1).broken(), ["no_commit_of_a_fenced_frontend"]);
        }
    }

    #[test]
    fn a_commit_past_a_schema_fence_is_found() {
        let mut change = footprint(1, 0, "a");
        let fence = Fence { table: TableId(1), min_version: SchemaVersion(2) };
        change.catalog_change = Some(CatalogChange { fences: vec![fence], ..CatalogChange::default() });
        let mut court = Court::new();
        court.commits(&change, 1).commits(&footprint(2, 1, "b"), 2);
        assert_eq!(court.broken(), ["no_commit_past_a_schema_fence"]);
    }
}
