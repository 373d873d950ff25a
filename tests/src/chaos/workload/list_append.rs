//! Transactions append unique elements to lists and read lists whole; what they saw tells who came before whom.

use super::super::check::Findings;
use super::super::check::cycles::{self, Step};
use super::super::client::Client;
use super::super::elle;
use super::super::history::{self, Fate, Op, Recorder};
use super::super::random::Random;
use super::super::testimony::{self, Change, Scope, Talk};
use super::{Level, Work};
use mysql::Conn;
use mysql::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Lists in use at a time.
const LISTS: u64 = 6;
/// Elements after which a list is left and another one begun, so that lists stay short.
const APPENDS: u64 = 60;
/// Steps of a transaction at most.
const STEPS: u64 = 4;

#[derive(Default)]
pub struct ListAppend {
    next_element: AtomicU64,
    /// Appends tried so far, by place.
    tried: [AtomicU64; LISTS as usize],
    history: Recorder<Vec<Step>>,
}

impl ListAppend {
    /// What a transaction will do; reads are empty.
    fn plan(&self, random: &mut Random) -> Vec<Step> {
        (0..=random.below(STEPS))
            .map(|_| {
                let place = random.below(LISTS);
                let tried = &self.tried[place as usize];
                let key = |tried: u64| place + LISTS * (tried / APPENDS);
                if random.percent(50) {
                    let key = key(tried.fetch_add(1, Ordering::Relaxed));
                    Step::Append { key, element: self.next_element.fetch_add(1, Ordering::Relaxed) }
                } else {
                    Step::ReadList { key: key(tried.load(Ordering::Relaxed)), elements: None }
                }
            })
            .collect()
    }

    fn keys(&self) -> BTreeSet<u64> {
        (0..LISTS)
            .flat_map(|place| {
                let tried = self.tried[place as usize].load(Ordering::Relaxed);
                (0..=tried / APPENDS).map(move |generation| place + LISTS * generation)
            })
            .collect()
    }
}

impl Work for ListAppend {
    fn tables(&self) -> &'static [&'static str] {
        &["list"]
    }

    fn set_up(&self, connection: &mut Conn, schema: &str) -> mysql::Result<()> {
        connection
            .query_drop(format!("CREATE TABLE {schema}.list (id BIGINT PRIMARY KEY, elements TEXT NOT NULL)"))
    }

    fn step(&self, client: &mut Client, random: &mut Random, schema: &str) {
        let plan = self.plan(random);
        let attempt = client.transact(schema, |talk| {
            let mut done = plan.clone();
            done.iter_mut().try_for_each(|step| perform(talk, step))?;
            Ok(done)
        });
        if let Some(mut attempt) = attempt {
            let what = attempt.value.take().unwrap_or(plan);
            self.history.record(attempt.op(what));
        }
    }

    fn final_read(&self, talk: &mut Talk<'_>) -> mysql::Result<()> {
        let invoked = history::now();
        let rows = talk.read("list", Scope::All)?;
        let mut lists: BTreeMap<u64, Vec<u64>> =
            self.keys().into_iter().map(|key| (key, Vec::new())).collect();
        lists.extend(rows.iter().map(|row| (testimony::key(row), parse(&row[1]))));
        let what =
            lists.into_iter().map(|(key, list)| Step::ReadList { key, elements: Some(list) }).collect();
        let (process, completed) = (history::new_process(), history::now());
        self.history.record(Op { process, invoked, completed, fate: Fate::Committed, what });
        Ok(())
    }

    fn check(&self, level: Level) -> Findings {
        let mut ops = self.history.ops();
        settle(&mut ops);
        let mut findings = cycles::check(&ops, cycles::Workload::ListAppend, level);
        lost_appends(&ops, &mut findings);
        findings
    }

    fn for_elle(&self) -> Option<(elle::Model, Vec<Op<Vec<Step>>>)> {
        Some((elle::Model::ListAppend, self.history.ops()))
    }
}

fn perform(talk: &mut Talk<'_>, step: &mut Step) -> mysql::Result<()> {
    match step {
        Step::Append { key, element } => {
            talk.write("list", *key, Change::Append("elements", format!("{element},")))
        }
        Step::ReadList { key, elements } => {
            let text: Option<String> = talk.read_one("list", *key)?;
            *elements = Some(text.as_deref().map_or_else(Vec::new, parse));
            Ok(())
        }
        Step::Write { .. } | Step::ReadRegister { .. } => unreachable!("this workload has no registers"),
    }
}

/// `1,2,` as numbers. What is no number becomes an element that nobody appended, which the checker reports.
fn parse(text: &str) -> Vec<u64> {
    text.split_terminator(',').map(|element| element.parse().unwrap_or(u64::MAX >> 1)).collect()
}

/// A transaction of unknown outcome whose elements nobody ever saw, in the last reads neither, did not commit. The
/// checker would otherwise put its appends after everything that was seen, and what it read with them.
fn settle(ops: &mut [Op<Vec<Step>>]) {
    let seen: BTreeSet<u64> = ops
        .iter()
        .filter(|op| op.fate == Fate::Committed)
        .flat_map(|op| op.what.iter().flat_map(elements_read))
        .collect();
    for op in ops.iter_mut().filter(|op| op.fate == Fate::Unknown) {
        let was_seen = |step: &Step| matches!(step, Step::Append { element, .. } if seen.contains(element));
        if !op.what.iter().any(was_seen) {
            op.fate = Fate::Aborted;
        }
    }
}

fn elements_read(step: &Step) -> Vec<u64> {
    match step {
        Step::ReadList { elements: Some(elements), .. } => elements.clone(),
        _ => Vec::new(),
    }
}

/// Acknowledged elements that the last read does not show.
fn lost_appends(ops: &[Op<Vec<Step>>], findings: &mut Findings) {
    let Some(last) = ops.iter().filter(|op| op.fate == Fate::Committed).max_by_key(|op| op.completed) else {
        return;
    };
    let shown: BTreeSet<u64> = last.what.iter().flat_map(elements_read).collect();
    for op in ops.iter().filter(|op| op.fate == Fate::Committed) {
        for step in &op.what {
            if let Step::Append { key, element } = step
                && !shown.contains(element)
            {
                findings.lose(format!("element {element} of list {key} was acknowledged and is not there"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_transaction_is_settled_by_what_was_seen() {
        let op = |fate, what| Op { process: 0, invoked: 1, completed: 2, fate, what };
        let append = |element| op(Fate::Unknown, vec![Step::Append { key: 1, element }]);
        let read = op(Fate::Committed, vec![Step::ReadList { key: 1, elements: Some(vec![4]) }]);
        let mut ops = [append(4), append(5), read];
        settle(&mut ops);
        assert_eq!(ops.map(|op| op.fate), [Fate::Unknown, Fate::Aborted, Fate::Committed]);
    }

    #[test]
    fn an_acknowledged_element_that_is_gone_is_lost() {
        let op = |moment, what| Op {
            process: moment,
            invoked: moment,
            completed: moment + 1,
            fate: Fate::Committed,
            what,
        };
        let append = op(1, vec![Step::Append { key: 1, element: 4 }]);
        let read =
            |elements: &[u64]| op(5, vec![Step::ReadList { key: 1, elements: Some(elements.to_vec()) }]);
        let lost = |ops: &[Op<Vec<Step>>]| {
            let mut findings = Findings::default();
            lost_appends(ops, &mut findings);
            findings.lost
        };
        assert_eq!(lost(&[append.clone(), read(&[4])]), 0);
        assert_eq!(lost(&[append, read(&[])]), 1);
        assert_eq!(parse("3,14,"), [3, 14]);
        assert_eq!(parse(""), [0; 0]);
    }
}
