//! Rows of a group are inserted one by one; readers of the group must agree on the order in which they came.

use super::super::check::Findings;
use super::super::client::Client;
use super::super::history::{self, Fate, Op, Recorder};
use super::super::random::Random;
use super::super::testimony::{self, Change, Scope, Talk};
use super::{Level, Work};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of a group.
const ROWS: u64 = 6;
/// Of a hundred transactions so many read a group.
const READS: u64 = 60;

/// A group and its rows as one transaction saw them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    group: u64,
    rows: BTreeSet<u64>,
}

#[derive(Default)]
pub struct LongFork {
    next: AtomicU64,
    history: Recorder<Sight>,
}

impl Work for LongFork {
    fn tables(&self) -> &'static [&'static str] {
        &["fork"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        // Placed by `id`, so that the rows of a group lie on different shards.
        connection.query_drop(format!("CREATE TABLE {schema}.fork (id BIGINT PRIMARY KEY)"))
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        if random.percent(READS) {
            // The group that is being written, or the one before.
            let group = (self.next.load(Ordering::Relaxed) / ROWS).saturating_sub(random.below(2));
            if let Some(mut attempt) = client.transact(schema, |talk| see(talk, group))
                && let Some(sight) = attempt.value.take()
            {
                self.history.record(attempt.op(sight));
            }
            return;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Whether it commits does not matter here: nobody has to see it, but all have to agree.
        let _ = client.transact(schema, |talk| talk.write("fork", id, Change::Insert(Vec::new())));
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        let invoked = history::now();
        let rows = talk.read("fork", Scope::All)?;
        let mut groups: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for id in rows.iter().map(testimony::key) {
            groups.entry(id / ROWS).or_default().insert(id);
        }
        let (process, completed) = (history::new_process(), history::now());
        for (group, rows) in groups {
            let what = Sight { group, rows };
            self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        }
        Ok(())
    }

    fn check(&self, _: Level) -> Findings {
        judge(&self.history.ops())
    }
}

/// Reads a group's rows one by one, in one transaction.
fn see(talk: &mut Talk<'_>, group: u64) -> mysql::Result<Sight> {
    let mut rows = BTreeSet::new();
    for id in group * ROWS..(group + 1) * ROWS {
        let found: Option<u64> = talk.read_one("fork", id)?;
        rows.extend(found);
    }
    Ok(Sight { group, rows })
}

/// Rows are never deleted, so of two sights of a group one must hold the other.
fn judge(ops: &[Op<Sight>]) -> Findings {
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    let mut sights: BTreeMap<u64, BTreeSet<&BTreeSet<u64>>> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.fate == Fate::Committed) {
        sights.entry(op.what.group).or_default().insert(&op.what.rows);
    }
    for (group, sights) in sights {
        let mut sights: Vec<_> = sights.into_iter().collect();
        sights.sort_by_key(|rows| rows.len());
        for pair in sights.windows(2) {
            if !pair[0].is_subset(pair[1]) {
                findings.anomaly(format!("group {group} was seen as {:?} and as {:?}", pair[0], pair[1]));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(rows: &[u64]) -> Op<Sight> {
        let what = Sight { group: 0, rows: rows.iter().copied().collect() };
        Op { process: 0, invoked: 1, completed: 2, fate: Fate::Committed, what }
    }

    #[test]
    fn two_readers_that_disagree_are_found() {
        assert_eq!(judge(&[sight(&[1]), sight(&[1, 2]), sight(&[])]).anomalies, [""; 0]);
        assert_eq!(judge(&[sight(&[1]), sight(&[2])]).anomalies.len(), 1);
        assert_eq!(judge(&[sight(&[1]), sight(&[2, 3])]).anomalies.len(), 1);
    }
}
