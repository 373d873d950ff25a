//! Two doctors are on call; each may leave if the other stays. At SERIALIZABLE one always stays; snapshot isolation lets
//! both leave.

use super::super::check::Findings;
use super::super::client::Client;
use super::super::history::{Fate, Op, Recorder, new_process, now};
use super::super::random::Random;
use super::{Level, Work};
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

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        if random.percent(3) {
            if let Some(mut attempt) = client.transact(|connection| look(connection, schema))
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
        let attempt = client.transact(|connection| {
            if wants_to_leave { leave(connection, schema, id) } else { come_back(connection, schema, id) }
        });
        if let Some(attempt) = attempt {
            self.history.record(attempt.op(Deed::Turn));
        }
    }

    fn final_read(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        let invoked = now();
        let what = Deed::Look(look(connection, schema)?);
        let (process, completed) = (new_process(), now());
        self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        Ok(())
    }

    fn check(&self, level: Level) -> Findings {
        judge(&self.history.ops(), level)
    }
}

fn leave(connection: &mut Conn, schema: &str, id: u64) -> mysql::Result<()> {
    let mut on_call = 0;
    for doctor in [id, id ^ 1] {
        let one: Option<u64> =
            connection.query_first(format!("SELECT on_call FROM {schema}.doctor WHERE id = {doctor}"))?;
        on_call += one.unwrap_or_default();
    }
    if on_call == 2 {
        connection.query_drop(format!("UPDATE {schema}.doctor SET on_call = 0 WHERE id = {id}"))?;
    }
    Ok(())
}

fn come_back(connection: &mut Conn, schema: &str, id: u64) -> mysql::Result<()> {
    connection.query_drop(format!("UPDATE {schema}.doctor SET on_call = 1 WHERE id = {id}"))
}

fn look(connection: &mut Conn, schema: &str) -> mysql::Result<BTreeMap<u64, u64>> {
    let rows: Vec<(u64, u64)> = connection.query(format!("SELECT id, on_call FROM {schema}.doctor"))?;
    let mut pairs = BTreeMap::new();
    rows.into_iter().for_each(|(id, on_call)| *pairs.entry(id / 2).or_default() += on_call);
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
