//! The white-box checker: what the nodes themselves have on their disks, judged after they were stopped, together with what
//! clients testify.
//!
//! ```text
//!   nodes, stopped ── gather ──▶ logs ────────▶ one log, or they do not agree           (log)
//!                                checkpoints ─▶ a replay says the same, byte by byte    (replay)
//!                                               a naive judge decides the same          (decisions)
//!                                versions ────▶ they are what the log says              (replicas)
//!   clients ───── Testimony ──────────────────▶ they were told what the log says, saw what it makes of the data,
//!                                               and it wrote what their statements say  (clients)
//! ```
//!
//! The rules have the names of the simulator's invariants where they are the same (`crates/sim/src/invariants`). What is
//! trusted: the formats (log, checkpoints, rows, keys), and what a node says of a transaction's id and timestamps when its
//! client asks; what it says is compared with the log.

mod clients;
mod decisions;
mod gather;
mod log;
mod replay;
mod replicas;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use gather::gather;

use super::testimony::Testimony;
use assize_consensus::evidence;
use assize_model::Timestamp;
use assize_shards::embedded::ReplicaRemains;
use std::collections::BTreeMap;

/// Violations of one rule that are written out; more are only counted.
const WRITTEN_OUT_MAX: usize = 3;

/// What one node has on its disk.
#[derive(Clone, Debug)]
pub struct NodeEvidence {
    /// Which node.
    pub node: u64,
    /// Its log and its checkpoints.
    pub log: evidence::Evidence,
    /// Its shard replicas.
    pub replicas: Vec<ReplicaRemains>,
}

/// Everything that is judged.
#[derive(Clone, Debug)]
pub struct Case {
    /// What every node has.
    pub nodes: Vec<NodeEvidence>,
    /// What clients testify.
    pub testimonies: Vec<Testimony>,
    /// Tables that only those clients write, as `schema.table`.
    pub tables: Vec<(String, String)>,
    /// The clients began after this: what was committed up to it made the tables.
    pub born: Timestamp,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Entries of the log that were replayed.
    pub entries: u64,
    /// Footprints whose decision was worked out anew.
    pub decisions: u64,
    /// Those of them that committed.
    pub commits: u64,
    /// Those that lost to another one, in the log; most losers are refused before they come there.
    pub conflicts: u64,
    /// Conflicts that the naive judge does not see: tags of the conflict window that collide, or keys that it has forgotten.
    pub needless: u64,
    /// Checkpoints that a replay agreed with.
    pub checkpoints: u64,
    /// Transactions of clients that were found in the log, or rightly not.
    pub testimonies: u64,
    /// Reads of clients that were compared with the data.
    pub reads: u64,
    /// Versions of shard replicas that were compared with the log.
    pub versions: u64,
    /// What must hold and does not: how often, and some of it in words, by rule.
    pub violations: BTreeMap<&'static str, (u64, Vec<String>)>,
    /// What could not be judged, in words.
    pub remarks: Vec<String>,
}

impl Report {
    /// Adds a violation of a rule.
    pub fn wrong(&mut self, rule: &'static str, what: impl FnOnce() -> String) {
        let (count, texts) = self.violations.entry(rule).or_default();
        *count += 1;
        if texts.len() < WRITTEN_OUT_MAX {
            texts.push(what());
        }
    }

    /// How many violations there are.
    pub fn violations(&self) -> u64 {
        self.violations.values().map(|(count, _)| count).sum()
    }
}

/// Judges.
pub fn judge(case: &Case) -> Report {
    let mut report = Report::default();
    let log = log::agree(&case.nodes, &mut report);
    let Some(mut replayed) = replay::replay(&log, case, &mut report) else { return report };
    replicas::check(case, &mut replayed, &mut report);
    clients::check(case, &replayed, &mut report);
    report
}
