//! What can be said about conflicts once the reports of several nodes lie side by side: pure functions.
//!
//! A node keeps the aborts of its own sessions and knows who won by the decision; whose statements the winner ran is known
//! to the node that ran it. Whoever gathers reports asks twice: first for conflicts, then for [`unknown_winners`], and
//! puts the two together with [`complete_winners`].

use crate::{ConflictRecord, ConflictSide, HotKey, NodeReport};
use assize_model::AbortReason;
use std::collections::BTreeMap;

/// Why a transaction was aborted, in words.
pub fn abort_words(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Conflict(conflict) => match &conflict.winner {
            Some(winner) => format!("lost a conflict to transaction {}", winner.txn),
            None => "lost a conflict".to_owned(),
        },
        AbortReason::NeedRefresh { .. } => "its snapshot was older than the conflict window".to_owned(),
        AbortReason::DeadlinePassed => "its deadline had passed".to_owned(),
        AbortReason::FromTheFuture => "its id was from the future".to_owned(),
        AbortReason::FrontendFenced { .. } => "its frontend had been replaced".to_owned(),
        AbortReason::SnapshotTooOld => "its snapshot was below the low-water mark".to_owned(),
        AbortReason::StaleEpoch { shard, .. } => {
            format!("shard {} had been moved since it was prepared", shard.0)
        }
        AbortReason::SchemaChanged { table } => format!("the definition of table {} had changed", table.0),
        AbortReason::CatalogChanged { .. } => "another change of the schema came first".to_owned(),
        AbortReason::RangeKeysMissing { table } => {
            format!("ranges of table {} were tracked, and it did not say which it had read", table.0)
        }
        AbortReason::OutcomesFull => "too many outcomes were held".to_owned(),
        AbortReason::ShardUnavailable { shard } => format!("too few replicas of shard {} counted", shard.0),
        AbortReason::Resolved => {
            "somebody needed to know what had become of it, and nobody had committed it".to_owned()
        }
    }
}

/// Winners that are asked for at a time.
const WINNERS_MAX: usize = 4096;

/// The transactions that won conflicts and of which nothing but their id is known, each once.
pub fn unknown_winners(conflicts: &[ConflictRecord]) -> Vec<String> {
    let mut ids: Vec<String> =
        conflicts.iter().map(|c| &c.winner).filter(|w| is_unknown(w)).map(|w| w.txn.clone()).collect();
    ids.sort();
    ids.dedup();
    ids.truncate(WINNERS_MAX);
    ids
}

/// A winner of which only the id is known. Nodes are numbered from 1.
fn is_unknown(side: &ConflictSide) -> bool {
    !side.txn.is_empty() && side.node == 0
}

/// Fills in who the winners were. What is known already stays.
pub fn complete_winners(conflicts: &mut [ConflictRecord], winners: &[ConflictSide]) {
    let by_txn: BTreeMap<&str, &ConflictSide> = winners.iter().map(|w| (w.txn.as_str(), w)).collect();
    for winner in conflicts.iter_mut().map(|c| &mut c.winner).filter(|w| is_unknown(w)) {
        if let Some(known) = by_txn.get(winner.txn.as_str()) {
            *winner = (*known).clone();
        }
    }
}

/// The kind of a deadlock among those that reserve rows.
pub const DEADLOCK: &str = "deadlock";
/// The kind of a wait for a reserved row that took too long.
pub const LOCK_WAIT_TIMEOUT: &str = "lock wait timeout";
/// The kind of an abort because a table was changed by DDL.
pub const SCHEMA_CHANGED: &str = "schema changed";

/// The keys on which these conflicts were, most conflicts first, then the latest. Aborts that are not about a key are left
/// out.
pub fn hot_keys(conflicts: &[ConflictRecord]) -> Vec<HotKey> {
    let mut by_key: BTreeMap<(&str, &str, &str), (u64, i64)> = BTreeMap::new();
    let is_about_a_key =
        |c: &&ConflictRecord| !c.table.is_empty() && !c.key.is_empty() && c.kind != SCHEMA_CHANGED;
    for conflict in conflicts.iter().filter(is_about_a_key) {
        let key = (conflict.table.as_str(), conflict.index.as_str(), conflict.key.as_str());
        let (count, last) = by_key.entry(key).or_insert((0, i64::MIN));
        *count += 1;
        *last = (*last).max(conflict.at_micros);
    }
    let mut hot: Vec<HotKey> = by_key
        .into_iter()
        .map(|((table, index, key), (conflicts, last_micros))| HotKey {
            table: table.to_owned(),
            index: index.to_owned(),
            key: key.to_owned(),
            conflicts,
            last_micros,
        })
        .collect();
    hot.sort_by(|a, b| b.conflicts.cmp(&a.conflicts).then(b.last_micros.cmp(&a.last_micros)));
    hot
}

impl NodeReport {
    /// The reports of several nodes as one, each list in the order that its field promises.
    pub fn put_together(reports: Vec<NodeReport>) -> NodeReport {
        let mut all = NodeReport::default();
        for report in reports {
            all.sessions.extend(report.sessions);
            all.transactions.extend(report.transactions);
            all.conflicts.extend(report.conflicts);
            all.digests.extend(report.digests);
            all.slow.extend(report.slow);
            all.winners.extend(report.winners);
            all.silent.extend(report.silent);
        }
        all.silent.sort_unstable();
        all.sessions.sort_by_key(|s| (s.node, s.connection));
        all.transactions.sort_by_key(|t| std::cmp::Reverse(t.age_micros));
        all.conflicts.sort_by_key(|c| std::cmp::Reverse(c.at_micros));
        all.digests.sort_by_key(|d| std::cmp::Reverse(d.total_micros));
        all.slow.sort_by_key(|s| std::cmp::Reverse(s.at_micros));
        let NodeReport { conflicts, winners, .. } = &mut all;
        complete_winners(conflicts, winners);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(id: &str, at_micros: i64, key: &str, winner: ConflictSide) -> ConflictRecord {
        ConflictRecord {
            id: id.to_owned(),
            at_micros,
            kind: "conflict".to_owned(),
            table: if key.is_empty() { String::new() } else { "shop.stock".to_owned() },
            index: "PRIMARY".to_owned(),
            key: key.to_owned(),
            loser: ConflictSide::default(),
            winner,
            committed_before_micros: Some(3000),
            committed_before_at_most_micros: None,
            was_retried: false,
        }
    }

    fn side(txn: &str, node: u64, statement: &str) -> ConflictSide {
        let statements = if statement.is_empty() { Vec::new() } else { vec![statement.to_owned()] };
        ConflictSide { txn: txn.to_owned(), node, statements, ..ConflictSide::default() }
    }

    #[test]
    fn a_winner_of_another_node_is_completed_when_the_reports_meet() {
        let told = side("1.1.5", 1, "DELETE FROM stock");
        let first = NodeReport {
            conflicts: vec![
                conflict("c-1", 10, "(1)", side("2.1.9", 0, "")),
                conflict("c-2", 30, "(1)", told.clone()),
                conflict("c-3", 20, "(2)", side("3.1.1", 0, "")),
                conflict("c-4", 5, "", ConflictSide::default()),
            ],
            ..NodeReport::default()
        };
        assert_eq!(unknown_winners(&first.conflicts), ["2.1.9", "3.1.1"]);
        let winner = side("2.1.9", 2, "UPDATE stock SET n = ?");
        let impostor = side("1.1.5", 3, "SELECT ?");
        let second = NodeReport { winners: vec![winner.clone(), impostor], ..NodeReport::default() };
        let all = NodeReport::put_together(vec![first, second]);
        let ids: Vec<&str> = all.conflicts.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["c-2", "c-3", "c-1", "c-4"], "newest first");
        assert_eq!(all.conflicts[2].winner, winner);
        assert_eq!(all.conflicts[0].winner, told, "what is known stays");
        assert_eq!(unknown_winners(&all.conflicts), ["3.1.1"]);
    }

    #[test]
    fn hot_keys_are_counted_most_conflicts_first() {
        let conflicts: Vec<ConflictRecord> = [(1, "(7)"), (2, "(7)"), (9, "(8)"), (5, "(9)"), (6, "")]
            .map(|(at, key)| conflict("c-1", at, key, ConflictSide::default()))
            .into();
        let hot: Vec<(String, u64, i64)> =
            hot_keys(&conflicts).into_iter().map(|h| (h.key, h.conflicts, h.last_micros)).collect();
        assert_eq!(hot, [("(7)".to_owned(), 2, 2), ("(8)".to_owned(), 1, 9), ("(9)".to_owned(), 1, 5)]);
    }
}
