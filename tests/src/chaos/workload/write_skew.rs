//! Two doctors are on call; each may leave if the other stays. At SERIALIZABLE one always stays; snapshot isolation lets
//! both leave.

use super::super::check::Findings;
use super::super::client::Client;
use super::super::history::{Fate, Op, Recorder, new_process, now};
use super::super::random::Random;
use super::super::testimony::{self, Act, Change, Scope, Talk};
use super::{Level, Work, inserted};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pairs of doctors; when they are used up the first ones come back on call.
const PAIRS: u64 = 200;

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// Wanted to leave, or to come back.
    Turn,
    /// Saw how many of each pair are on call.
    Look(BTreeMap<u64, u64>),
}

#[derive(Default)]
pub struct WriteSkew {
    next: AtomicU64,
    history: Recorder<Deed>,
}

impl Work for WriteSkew {
    fn tables(&self) -> &'static [&'static str] {
        &["doctor"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        connection.query_drop(format!(
            "CREATE TABLE {schema}.doctor (id BIGINT PRIMARY KEY, on_call INT NOT NULL)"
        ))?;
        let rows: Vec<String> = (0..2 * PAIRS).map(|id| format!("({id}, 1)")).collect();
        connection.query_drop(format!("INSERT INTO {schema}.doctor VALUES {}", rows.join(", ")))
    }

    fn opening(&self) -> Vec<Act> {
        (0..2 * PAIRS).map(|id| inserted("doctor", id, 1)).collect()
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        if random.percent(3) {
            if let Some(mut attempt) = client.transact(schema, look)
                && let Some(pairs) = attempt.value.take()
            {
                self.history.record(attempt.op(Deed::Look(pairs)));
            }
            return;
        }
        // Two clients in a row get the two doctors of one pair.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let id = turn % (2 * PAIRS);
        let wants_to_leave = (turn / (2 * PAIRS)).is_multiple_of(2);
        let attempt = client
            .transact(schema, |talk| if wants_to_leave { leave(talk, id) } else { come_back(talk, id) });
        if let Some(attempt) = attempt {
            self.history.record(attempt.op(Deed::Turn));
        }
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        let invoked = now();
        let what = Deed::Look(look(talk)?);
        let (process, completed) = (new_process(), now());
        self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        Ok(())
    }

    fn check(&self, level: Level) -> Findings {
        judge(&self.history.ops(), level)
    }
}

fn leave(talk: &mut Talk<'_>, id: u64) -> mysql::Result<()> {
    let mut on_call = 0;
    for doctor in [id, id ^ 1] {
        on_call += talk.read_one::<u64>("doctor", doctor)?.unwrap_or_default();
    }
    if on_call == 2 {
        talk.write("doctor", id, Change::Set("on_call", 0))?;
    }
    Ok(())
}

fn come_back(talk: &mut Talk<'_>, id: u64) -> mysql::Result<()> {
    talk.write("doctor", id, Change::Set("on_call", 1))
}

fn look(talk: &mut Talk<'_>) -> mysql::Result<BTreeMap<u64, u64>> {
    let mut pairs = BTreeMap::new();
    for row in talk.read("doctor", Scope::All)? {
        *pairs.entry(testimony::key(&row) / 2).or_default() += row[1].parse::<u64>().unwrap_or_default();
    }
    Ok(pairs)
}

fn judge(ops: &[Op<Deed>], level: Level) -> Findings {
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    let mut skewed = 0;
    for op in ops.iter().filter(|op| op.fate == Fate::Committed) {
        let Deed::Look(pairs) = &op.what else { continue };
        if pairs.len() as u64 != PAIRS {
            findings.anomaly(format!("{} pairs instead of {PAIRS} are there", pairs.len()));
        }
        let empty = pairs.iter().filter(|(_, on_call)| **on_call == 0);
        match level {
            Level::RepeatableRead => skewed = skewed.max(empty.count()),
            Level::Serializable => empty.for_each(|(pair, _)| {
                findings.anomaly(format!("nobody of pair {pair} is on call"));
            }),
        }
    }
    if skewed > 0 {
        findings.remark = format!("write skew in {skewed} pairs, which this level allows");
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pair_is_an_anomaly_only_at_serializable() {
        let mut pairs: BTreeMap<u64, u64> = (0..PAIRS).map(|pair| (pair, 1)).collect();
        let look = |pairs: &BTreeMap<u64, u64>| Op {
            process: 0,
            invoked: 1,
            completed: 2,
            fate: Fate::Committed,
            what: Deed::Look(pairs.clone()),
        };
        assert_eq!(judge(&[look(&pairs)], Level::Serializable).anomalies, [""; 0]);
        pairs.insert(3, 0);
        assert_eq!(judge(&[look(&pairs)], Level::Serializable).anomalies.len(), 1);
        let allowed = judge(&[look(&pairs)], Level::RepeatableRead);
        assert_eq!(allowed.anomalies, [""; 0]);
        assert!(allowed.remark.contains("1 pairs"));
    }
}
