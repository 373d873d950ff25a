//! The `adya` crate: infers who came before whom from what transactions read, and looks for cycles that an isolation
//! level forbids.

use super::super::history::{Fate, Op};
use super::super::workload::Level;
use super::Findings;
use adya::history::{Interner, Mop, Op as AdyaOp, OpType, ReadValue, Scalar};
use adya::{History, Opts, Valid};

pub use adya::Workload;

/// One step of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Appended an element to a list.
    Append {
        /// The list.
        key: u64,
        /// The element; unique within the list.
        element: u64,
    },
    /// Read a whole list; `None` if what it saw is not known.
    ReadList {
        /// The list.
        key: u64,
        /// Its elements.
        elements: Option<Vec<u64>>,
    },
    /// Wrote a register.
    Write {
        /// The register.
        key: u64,
        /// Unique within the register.
        value: u64,
    },
    /// Read a register; `None` if what it saw is not known, or if nothing was ever written.
    ReadRegister {
        /// The register.
        key: u64,
        /// What was in it.
        value: Option<u64>,
    },
}

/// Judges a history. Both levels are judged with real time: a snapshot holds everything acknowledged before BEGIN.
pub fn check(ops: &[Op<Vec<Step>>], workload: Workload, level: Level) -> Findings {
    let model = match level {
        Level::RepeatableRead => "strong-snapshot-isolation",
        Level::Serializable => "strict-serializable",
    };
    let opts = Opts {
        models: vec![model.to_owned()],
        timeout: std::time::Duration::from_secs(10),
        ..Opts::default()
    };
    let report = adya::check(&history(ops), workload, &opts);
    let mut findings = Findings { checked: ops.len() as u64, ..Findings::default() };
    match report.valid {
        Valid::True => {}
        Valid::Unknown => {
            findings.anomaly(format!("adya has no verdict: {}", report.anomaly_types.join(", ")));
        }
        Valid::False => {
            for (kind, anomalies) in &report.anomalies {
                let explanation = anomalies.first().map_or("", |a| a.explanation.as_str());
                findings.anomaly(format!("{} × {kind}, not {model}:\n{explanation}", anomalies.len()));
            }
        }
    }
    findings
}

fn history(ops: &[Op<Vec<Step>>]) -> History {
    let mut interner = Interner::default();
    let mut events: Vec<(u64, AdyaOp)> = Vec::new();
    for op in ops {
        let value: Vec<Mop> = op.what.iter().map(|step| mop(step, &mut interner)).collect();
        let kind = match op.fate {
            Fate::Committed => OpType::Ok,
            Fate::Aborted => OpType::Fail,
            Fate::Unknown => OpType::Info,
        };
        let event = |kind, moment: u64| AdyaOp {
            index: moment,
            kind,
            process: Some(op.process as i64),
            value: value.clone(),
            time: None,
        };
        events.push((op.invoked, event(OpType::Invoke, op.invoked)));
        events.push((op.completed, event(kind, op.completed)));
    }
    events.sort_by_key(|(moment, _)| *moment);
    History::from_ops(events.into_iter().map(|(_, op)| op).collect(), interner)
}

fn mop(step: &Step, interner: &mut Interner) -> Mop {
    let mut intern = |number: &u64| interner.intern(Scalar::Int(*number as i64));
    match step {
        Step::Append { key, element } => Mop::Append { key: intern(key), value: intern(element) },
        Step::ReadList { key, elements } => Mop::Read {
            key: intern(key),
            value: match elements {
                Some(elements) => ReadValue::List(elements.iter().map(&mut intern).collect()),
                None => ReadValue::Nil,
            },
        },
        Step::Write { key, value } => Mop::Write { key: intern(key), value: intern(value) },
        Step::ReadRegister { key, value } => Mop::Read {
            key: intern(key),
            value: value.as_ref().map_or(ReadValue::Nil, |value| ReadValue::Scalar(intern(value))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(process: u64, invoked: u64, completed: u64, what: Vec<Step>) -> Op<Vec<Step>> {
        Op { process, invoked, completed, fate: Fate::Committed, what }
    }

    fn append(key: u64, element: u64) -> Step {
        Step::Append { key, element }
    }

    fn read(key: u64, elements: &[u64]) -> Step {
        Step::ReadList { key, elements: Some(elements.to_vec()) }
    }

    #[test]
    fn write_skew_is_an_anomaly_only_at_serializable() {
        let history = [
            txn(1, 1, 3, vec![read(1, &[]), read(2, &[]), append(1, 10)]),
            txn(2, 2, 4, vec![read(1, &[]), read(2, &[]), append(2, 20)]),
            txn(3, 5, 6, vec![read(1, &[10]), read(2, &[20])]),
        ];
        assert_eq!(check(&history, Workload::ListAppend, Level::RepeatableRead).anomalies, [""; 0]);
        assert!(!check(&history, Workload::ListAppend, Level::Serializable).anomalies.is_empty());
    }

    #[test]
    fn a_lost_append_and_a_stale_read_are_anomalies_at_both_levels() {
        let lost = [
            txn(1, 1, 3, vec![read(1, &[]), append(1, 10)]),
            txn(2, 2, 4, vec![read(1, &[]), append(1, 20)]),
            txn(3, 5, 6, vec![read(1, &[10, 20])]),
        ];
        let stale = [
            txn(1, 1, 2, vec![append(1, 10)]),
            txn(2, 3, 4, vec![read(1, &[])]),
            txn(3, 5, 6, vec![read(1, &[10])]),
        ];
        for level in [Level::RepeatableRead, Level::Serializable] {
            assert!(!check(&lost, Workload::ListAppend, level).anomalies.is_empty(), "{level:?}");
            assert!(!check(&stale, Workload::ListAppend, level).anomalies.is_empty(), "{level:?}");
        }
    }

    #[test]
    fn an_unknown_append_may_be_seen_or_not() {
        let unknown = Op { fate: Fate::Unknown, ..txn(1, 1, 2, vec![append(1, 10)]) };
        for seen in [&[][..], &[10][..]] {
            let history = [
                unknown.clone(),
                txn(2, 3, 4, vec![read(1, seen), append(2, 1)]),
                txn(3, 5, 6, vec![read(2, &[1])]),
            ];
            let found = check(&history, Workload::ListAppend, Level::Serializable);
            assert_eq!(found.anomalies, [""; 0]);
        }
    }
}
