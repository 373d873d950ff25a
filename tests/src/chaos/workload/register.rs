//! Single reads and writes of registers, one a transaction: linearizable at both levels, because a snapshot holds
//! everything that was acknowledged before BEGIN.

use super::super::check::Findings;
use super::super::check::cycles::{self, Step};
use super::super::check::linearizable::{self, Access};
use super::super::client::Client;
use super::super::elle;
use super::super::history::{self, Fate, Op, Recorder};
use super::super::random::Random;
use super::super::testimony::{Act, Change, Talk};
use super::{Level, Work, inserted};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const REGISTERS: u64 = 5;

/// A transaction: which register, and what was done to it.
type Deed = (u64, Access);

#[derive(Default)]
pub struct Register {
    next: AtomicU64,
    history: Recorder<Deed>,
}

impl Work for Register {
    fn tables(&self) -> &'static [&'static str] {
        &["register"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        connection.query_drop(format!(
            "CREATE TABLE {schema}.register (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)"
        ))?;
        let rows: Vec<String> = (0..REGISTERS).map(|id| format!("({id}, 0)")).collect();
        connection.query_drop(format!("INSERT INTO {schema}.register VALUES {}", rows.join(", ")))
    }

    fn opening(&self) -> Vec<Act> {
        (0..REGISTERS).map(|id| inserted("register", id, 0)).collect()
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        let id = random.below(REGISTERS);
        if random.percent(50) {
            if let Some(mut attempt) = client.transact(schema, |talk| read(talk, id))
                && let Some(value) = attempt.value.take()
            {
                self.history.record(attempt.op((id, Access::Read(value))));
            }
            return;
        }
        let value = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        let attempt = client.transact(schema, |talk| talk.write("register", id, Change::Set("value", value)));
        if let Some(attempt) = attempt {
            self.history.record(attempt.op((id, Access::Write(value))));
        }
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        for id in 0..REGISTERS {
            let invoked = history::now();
            let what = (id, Access::Read(read(talk, id)?));
            let (process, completed) = (history::new_process(), history::now());
            self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        }
        Ok(())
    }

    fn check(&self, level: Level) -> Findings {
        judge(&self.history.ops(), level)
    }

    fn for_elle(&self) -> Option<(elle::Model, Vec<Op<Vec<Step>>>)> {
        Some((elle::Model::RwRegister, self.history.ops().iter().map(as_steps).collect()))
    }
}

/// A register that is gone reads as a value that nobody wrote.
fn read(talk: &mut Talk<'_>, id: u64) -> mysql::Result<u64> {
    Ok(talk.read_one("register", id)?.unwrap_or(u64::MAX >> 1))
}

fn judge(ops: &[Op<Deed>], level: Level) -> Findings {
    let mut registers: BTreeMap<u64, Vec<Op<Access>>> = BTreeMap::new();
    for op in ops {
        let access = Op {
            process: op.process,
            invoked: op.invoked,
            completed: op.completed,
            fate: op.fate,
            what: op.what.1,
        };
        registers.entry(op.what.0).or_default().push(access);
    }
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    for (id, ops) in &registers {
        if let Some(violation) = linearizable::violation(ops) {
            findings.anomaly(format!("register {id} is not linearizable: {violation}"));
        }
    }
    let steps: Vec<_> = ops.iter().map(as_steps).collect();
    findings.absorb(cycles::check(&steps, cycles::Workload::RwRegister, level));
    findings
}

fn as_steps(op: &Op<Deed>) -> Op<Vec<Step>> {
    let step = match op.what {
        (key, Access::Write(value)) => Step::Write { key, value },
        (key, Access::Read(0)) => Step::ReadRegister { key, value: None },
        (key, Access::Read(value)) => Step::ReadRegister { key, value: Some(value) },
    };
    Op { process: op.process, invoked: op.invoked, completed: op.completed, fate: op.fate, what: vec![step] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_read_is_found() {
        let op = |invoked, what| Op {
            process: invoked,
            invoked,
            completed: invoked + 1,
            fate: Fate::Committed,
            what,
        };
        let write = op(1, (0, Access::Write(1)));
        let fresh = op(3, (0, Access::Read(1)));
        assert_eq!(judge(&[write.clone(), fresh], Level::Serializable).anomalies, [""; 0]);
        let stale = op(3, (0, Access::Read(0)));
        assert!(!judge(&[write, stale], Level::Serializable).anomalies.is_empty());
    }
}
