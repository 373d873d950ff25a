//! Unique elements are inserted; reads hold every element that was acknowledged before they began.

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

/// Of a thousand transactions so many read the whole set.
const READS_PER_MILLE: u64 = 15;

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Insert(u64),
    Read(BTreeSet<u64>),
}

#[derive(Default)]
pub struct Set {
    next: AtomicU64,
    history: Recorder<Deed>,
}

impl Work for Set {
    fn tables(&self) -> &'static [&'static str] {
        &["element"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        connection.query_drop(format!("CREATE TABLE {schema}.element (id BIGINT PRIMARY KEY)"))
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        if random.below(1000) < READS_PER_MILLE {
            if let Some(mut attempt) = client.transact(schema, read)
                && let Some(seen) = attempt.value.take()
            {
                self.history.record(attempt.op(seen));
            }
            return;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let attempt = client.transact(schema, |talk| talk.write("element", id, Change::Insert(Vec::new())));
        if let Some(attempt) = attempt {
            self.history.record(attempt.op(Deed::Insert(id)));
        }
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        let invoked = history::now();
        let what = read(talk)?;
        let (process, completed) = (history::new_process(), history::now());
        self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        Ok(())
    }

    fn check(&self, _: Level) -> Findings {
        judge(&self.history.ops())
    }
}

fn read(talk: &mut Talk<'_>) -> mysql::Result<Deed> {
    let rows = talk.read("element", Scope::All)?;
    Ok(Deed::Read(rows.iter().map(testimony::key).collect()))
}

fn judge(ops: &[Op<Deed>]) -> Findings {
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    let mut inserts = BTreeMap::new();
    for op in ops {
        if let Deed::Insert(id) = op.what {
            inserts.insert(id, op);
        }
    }
    let mut last = None;
    for op in ops.iter().filter(|op| op.fate == Fate::Committed) {
        let Deed::Read(seen) = &op.what else { continue };
        for id in seen {
            match inserts.get(id) {
                None => findings.anomaly(format!("element {id} came from nowhere")),
                Some(insert) if insert.fate == Fate::Aborted => {
                    findings.anomaly(format!("element {id} was refused and is there"));
                }
                Some(insert) if insert.invoked > op.completed => {
                    findings.anomaly(format!("element {id} was seen before its insert"));
                }
                Some(_) => {}
            }
        }
        let late = inserts.iter().find(|(id, insert)| {
            insert.fate == Fate::Committed && insert.completed < op.invoked && !seen.contains(id)
        });
        if let Some((id, _)) = late {
            findings
                .anomaly(format!("a read did not see element {id}, which was acknowledged before it began"));
        }
        last = Some(seen);
    }
    let Some(last) = last else {
        findings.anomaly("the set was never read".to_owned());
        return findings;
    };
    for (id, insert) in &inserts {
        if insert.fate == Fate::Committed && !last.contains(id) {
            findings.lose(format!("element {id} was acknowledged and is not there"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(invoked: u64, completed: u64, fate: Fate, what: Deed) -> Op<Deed> {
        Op { process: 0, invoked, completed, fate, what }
    }

    fn read(invoked: u64, completed: u64, ids: &[u64]) -> Op<Deed> {
        op(invoked, completed, Fate::Committed, Deed::Read(ids.iter().copied().collect()))
    }

    #[test]
    fn lost_late_refused_and_invented_elements_are_found() {
        let insert = |fate| op(1, 2, fate, Deed::Insert(5));
        assert_eq!(judge(&[insert(Fate::Committed), read(3, 4, &[5])]).anomalies, [""; 0]);
        assert_eq!(judge(&[insert(Fate::Unknown), read(3, 4, &[])]).anomalies, [""; 0]);
        assert_eq!(judge(&[insert(Fate::Committed), read(3, 4, &[])]).lost, 1);
        let late = judge(&[insert(Fate::Committed), read(3, 4, &[]), read(5, 6, &[5])]);
        assert_eq!((late.lost, late.anomalies.len()), (0, 1));
        assert!(!judge(&[insert(Fate::Aborted), read(3, 4, &[5])]).anomalies.is_empty());
        assert!(!judge(&[read(3, 4, &[5])]).anomalies.is_empty());
        assert!(
            !judge(&[op(6, 7, Fate::Committed, Deed::Insert(5)), read(3, 4, &[5]), read(8, 9, &[5])])
                .anomalies
                .is_empty()
        );
    }
}
