//! What clients testify, against the log: they were told what was decided, in an order that respects real time; every read
//! saw what the log makes of the data at its snapshot; every commit wrote what its statements make of them; and what
//! SERIALIZABLE transactions read was still so when they committed.
//!
//! The data are a map, and time is one pass over it: commits by their timestamps, between them whoever looks.

use super::replay::{Commit, Replayed};
use super::{Case, Report};
use crate::chaos::history::Fate;
use crate::chaos::testimony::{Act, Change, Row, Scope, Testimony, shown};
use crate::chaos::workload::Level;
use assize_catalog::{Column, Table, key, row};
use assize_model::*;
use assize_values::{SqlType, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const TOLD: &str = "acknowledged_writes_survive";
const REFUSED: &str = "unknown_is_never_reported_as_abort";
const NOWHERE: &str = "no_commit_from_nowhere";
const TIME: &str = "commits_respect_real_time";
const READS: &str = "a_snapshot_reads_the_same_until_gc";
const WRITES: &str = "a_commit_writes_what_its_statements_say";
const SERIALIZABLE: &str = "isolation_keeps_its_promises";

/// Rows of the workloads' tables.
type Data = BTreeMap<Key, Row>;
/// Rows that are left behind; `None` where one is gone.
type Rows = BTreeMap<Key, Option<Row>>;

/// The tables of the workloads.
struct Tables {
    by_name: HashMap<(String, String), Arc<Table>>,
    by_id: HashMap<TableId, Arc<Table>>,
}

impl Tables {
    fn find(case: &Case, replayed: &Replayed) -> Tables {
        let mut tables = Tables { by_name: HashMap::new(), by_id: HashMap::new() };
        for (schema, name) in &case.tables {
            if let Some(table) = replayed.catalog.table(schema, name) {
                tables.by_name.insert((schema.clone(), name.clone()), table.clone());
                tables.by_id.insert(table.id, table.clone());
            }
        }
        tables
    }

    fn named(&self, schema: &str, name: &str) -> Option<&Table> {
        self.by_name.get(&(schema.to_owned(), name.to_owned())).map(AsRef::as_ref)
    }

    /// The table of which this is a row's key.
    fn of_row(&self, key: &Key) -> Option<&Table> {
        let is_row = key::index_of(key) == Some(IndexId(0));
        key::table_of(key).filter(|_| is_row).and_then(|table| self.by_id.get(&table)).map(AsRef::as_ref)
    }

    /// The rows that a commit leaves behind, as far as they are the workloads'.
    fn rows_of(&self, commit: &Commit) -> Rows {
        let mut rows = BTreeMap::new();
        for write in &commit.writes {
            let mutation = &write.mutation;
            let Some(table) = self.of_row(&mutation.key) else { continue };
            match &mutation.op {
                MutationOp::Put(value) => {
                    let row = match key::decode_row(table, value) {
                        Ok(values) => values.iter().map(text).collect(),
                        Err(error) => vec![error.to_string()],
                    };
                    rows.insert(mutation.key.clone(), Some(row));
                }
                MutationOp::Delete => drop(rows.insert(mutation.key.clone(), None)),
                MutationOp::Lock => {}
            }
        }
        rows
    }

    /// The rows that a commit leaves behind, given what its statements make of the data. What no replica has whole is what the
    /// statements say, if that is what was promised; an error if it is not.
    fn completed(&self, commit: &Commit, made: &Data, data: &Data) -> Result<Rows, String> {
        let mut rows = self.rows_of(commit);
        for receipt in &commit.missing {
            let on_shard = |(key, row): &(&Key, &Row)| {
                self.mutation(key, row).filter(|m| commit.placement.shard_of(m.slot) == receipt.shard)
            };
            // A row that is written as it was may be left out.
            let all: Vec<Mutation> = made.iter().filter_map(|one| on_shard(&one)).collect();
            let changed = made.iter().filter(|(key, row)| data.get(*key) != Some(*row));
            let changed: Vec<Mutation> = changed.filter_map(|one| on_shard(&one)).collect();
            let is_promised = |mutations: &Vec<Mutation>| WriteDigest::of(mutations) == receipt.digest;
            let Some(mutations) = [all, changed].into_iter().find(is_promised) else {
                return Err(format!(
                    "{} promised {:?}, which is not {made:?}",
                    receipt.shard, receipt.digest
                ));
            };
            rows.extend(mutations.into_iter().map(|m| {
                let row = made.get(&m.key).cloned();
                (m.key, row)
            }));
        }
        Ok(rows)
    }

    /// A row as it is written.
    fn mutation(&self, key: &Key, row: &Row) -> Option<Mutation> {
        let table = self.of_row(key)?;
        let value = |(text, column): (&String, &Column)| match column.sql_type {
            SqlType::Int(_) => text.parse().map_or(Value::Null, Value::Int),
            _ => Value::text(text.clone()),
        };
        let values: Vec<Value> = row.iter().zip(&table.columns).map(value).collect();
        Some(Mutation::put(key.clone(), table.row_slot(&values, key), row::encode(table, &values)))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Text(text) => text.as_str().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Who looks at the data, and when: `at` with the commits up to it, or just before the commit at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Look {
    at: Timestamp,
    is_after: bool,
    who: Who,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    /// A testimony at its snapshot.
    Snapshot(usize),
    /// A testimony just before its commit.
    BeforeCommit(usize),
    /// A commit of which nobody was told, at its snapshot: somebody may have tried it.
    Stray(usize),
}

/// Compares all testimonies with the log.
pub fn check(case: &Case, replayed: &Replayed, report: &mut Report) {
    let tables = Tables::find(case, replayed);
    let mut claims = Claims::make(case, replayed, &tables, report);
    watch(case, replayed, &tables, &mut claims, report);
    claims.settle(case, report);
    respect_time(case, replayed, &claims, report);
}

/// Which testimony is whose commit.
struct Claims {
    /// By testimony: its commit, by place.
    of: Vec<Option<usize>>,
    /// Commits of the workloads that no client was told of, by place.
    strays: Vec<usize>,
    /// Testimonies of transactions that may have committed, and whose client was not told the id.
    unsure: Vec<usize>,
}

impl Claims {
    fn make(case: &Case, replayed: &Replayed, tables: &Tables, report: &mut Report) -> Claims {
        let commits = &replayed.commits;
        let by_txn: HashMap<TxnId, usize> =
            commits.iter().enumerate().map(|(place, commit)| (commit.txn, place)).collect();
        let mut claimed: HashMap<usize, usize> = HashMap::new();
        let mut claims =
            Claims { of: vec![None; case.testimonies.len()], strays: Vec::new(), unsure: Vec::new() };
        for (n, testimony) in case.testimonies.iter().enumerate() {
            let told = testimony.told.and_then(|told| Some((told.txn?, told)));
            let Some((txn, told)) = told else {
                let is_told = testimony.told.is_some();
                if testimony.fate == Fate::Unknown || testimony.fate == Fate::Committed && !is_told {
                    claims.unsure.push(n);
                }
                continue;
            };
            report.testimonies += 1;
            let found = by_txn.get(&txn).copied();
            match testimony.fate {
                Fate::Committed => {
                    let commit_ts = found.map(|place| commits[place].commit_ts);
                    if told.commit_ts.is_none() || commit_ts != told.commit_ts {
                        report.wrong(TOLD, || {
                            format!(
                                "{txn:?} was acknowledged at {:?}, and the log has {commit_ts:?}",
                                told.commit_ts
                            )
                        });
                    }
                }
                Fate::Aborted => {
                    if let Some(place) = found {
                        report.wrong(REFUSED, || {
                            format!("{txn:?} was refused, and the log has it at {}", commits[place].commit_ts)
                        });
                    }
                }
                Fate::Unknown => {}
            }
            if let Some(place) = found {
                if let Some(other) = claimed.insert(place, n) {
                    report.wrong(TOLD, || format!("two clients were told of {txn:?}: {other} and {n}"));
                }
                claims.of[n] = Some(place);
            }
        }
        let is_stray = |(place, commit): &(usize, &Commit)| {
            commit.commit_ts > case.born
                && !claimed.contains_key(place)
                && (!commit.missing.is_empty() || !tables.rows_of(commit).is_empty())
        };
        claims.strays = commits.iter().enumerate().filter(is_stray).map(|(place, _)| place).collect();
        claims
    }

    /// After all strays have looked for whoever tried them.
    fn settle(&self, case: &Case, report: &mut Report) {
        for n in &self.unsure {
            let testimony = &case.testimonies[*n];
            let is_acknowledged = testimony.fate == Fate::Committed && testimony.writes();
            // An update that changes nothing leaves no trace.
            let may_be_idle = testimony
                .acts
                .iter()
                .any(|act| matches!(act, Act::Write { change: Change::Set(..) | Change::Add(..), .. }));
            if is_acknowledged && self.of[*n].is_none() && !may_be_idle {
                report.wrong(TOLD, || {
                    format!("acknowledged, and the log does not have it: {:?}", testimony.acts)
                });
            }
        }
    }
}

/// One pass over time.
fn watch(case: &Case, replayed: &Replayed, tables: &Tables, claims: &mut Claims, report: &mut Report) {
    let commits = &replayed.commits;
    let mut looks = Vec::new();
    for (n, testimony) in case.testimonies.iter().enumerate() {
        if let Some(told) = testimony.told {
            looks.push(Look { at: told.snapshot_ts, is_after: true, who: Who::Snapshot(n) });
        }
        if testimony.level == Level::Serializable
            && let Some(place) = claims.of[n]
        {
            looks.push(Look { at: commits[place].commit_ts, is_after: false, who: Who::BeforeCommit(n) });
        }
    }
    for place in &claims.strays {
        let at = commits[*place].snapshots.first().copied().unwrap_or_default();
        looks.push(Look { at, is_after: true, who: Who::Stray(*place) });
    }
    looks.sort();
    let mut data = Data::new();
    // What commits left behind whose writes no replica has whole; known once their owner has looked.
    let mut completed: HashMap<Timestamp, Rows> = HashMap::new();
    let mut coming = commits.iter().peekable();
    for look in looks {
        let is_past = |commit: &&Commit| match look.is_after {
            true => commit.commit_ts <= look.at,
            false => commit.commit_ts < look.at,
        };
        while let Some(commit) = coming.next_if(is_past) {
            if commit.missing.is_empty() {
                take_in(&mut data, tables.rows_of(commit));
            } else if let Some(rows) = completed.remove(&commit.commit_ts) {
                take_in(&mut data, rows);
            } else {
                report.remarks.push(format!(
                    "nobody knows any more what {:?} wrote at {}: what clients read and wrote from there on was not compared",
                    commit.txn, commit.commit_ts
                ));
                return;
            }
        }
        match look.who {
            Who::Snapshot(n) => {
                let commit = claims.of[n].map(|place| &commits[place]);
                let rows = look_at_snapshot(&case.testimonies[n], commit, &data, tables, report);
                completed.extend(commit.zip(rows).map(|(commit, rows)| (commit.commit_ts, rows)));
            }
            Who::BeforeCommit(n) => {
                let testimony = &case.testimonies[n];
                if let Err(what) = perform(testimony, &data, tables, &mut 0) {
                    let txn = testimony.told.and_then(|told| told.txn);
                    report.wrong(SERIALIZABLE, || format!("{txn:?} commits at {}, when {what}", look.at));
                }
            }
            Who::Stray(place) => {
                let commit = &commits[place];
                let rows = find_owner(case, claims, (place, commit), &data, tables, report);
                completed.extend(rows.map(|rows| (commit.commit_ts, rows)));
            }
        }
    }
}

fn take_in(data: &mut Data, rows: Rows) {
    for (key, row) in rows {
        match row {
            Some(row) => drop(data.insert(key, row)),
            None => drop(data.remove(&key)),
        }
    }
}

/// A testimony against the data at its snapshot: what it read, and what its commit wrote. Gives what its commit leaves behind.
fn look_at_snapshot(
    testimony: &Testimony,
    commit: Option<&Commit>,
    data: &Data,
    tables: &Tables,
    report: &mut Report,
) -> Option<Rows> {
    let txn = testimony.told.and_then(|told| told.txn);
    let at = testimony.told.map(|told| told.snapshot_ts).unwrap_or_default();
    let made = match perform(testimony, data, tables, &mut report.reads) {
        Ok(made) => made,
        Err(what) => {
            report.wrong(READS, || format!("{txn:?} ({}) reads at {at}, when {what}", testimony.schema));
            return None;
        }
    };
    let Some(commit) = commit else {
        // It was told that there was nothing to decide.
        if testimony.fate == Fate::Committed
            && txn.is_none()
            && let Some(what) = difference(&made, &Rows::new(), data)
        {
            report.wrong(WRITES, || format!("acknowledged and never decided, at {at}: {what}"));
        }
        return None;
    };
    if let Some(other) = commit.snapshots.iter().find(|snapshot_ts| **snapshot_ts < at) {
        report.wrong(READS, || format!("{txn:?} was told to read at {at}, and its footprint says {other}"));
    }
    let rows = tables.completed(commit, &made, data);
    let wrong = match &rows {
        Ok(rows) => difference(&made, rows, data),
        Err(what) => Some(what.clone()),
    };
    if let Some(what) = wrong {
        report.wrong(WRITES, || format!("{txn:?} ({}) at {at}: {what}", testimony.schema));
    }
    rows.ok()
}

/// Looks for whoever tried a commit of which no client was told. Gives what it leaves behind.
fn find_owner(
    case: &Case,
    claims: &mut Claims,
    (place, commit): (usize, &Commit),
    data: &Data,
    tables: &Tables,
    report: &mut Report,
) -> Option<Rows> {
    let fit = |n: usize| {
        let made = perform(&case.testimonies[n], data, tables, &mut 0).ok()?;
        let rows = tables.completed(commit, &made, data).ok()?;
        difference(&made, &rows, data).is_none().then_some(rows)
    };
    let free = claims.unsure.iter().copied().filter(|n| claims.of[*n].is_none());
    if let Some((n, rows)) = free.into_iter().find_map(|n| Some((n, fit(n)?))) {
        claims.of[n] = Some(place);
        report.testimonies += 1;
        return Some(rows);
    }
    let is_refused = |n: &usize| case.testimonies[*n].fate == Fate::Aborted && fit(*n).is_some();
    let refused = (0..case.testimonies.len()).find(is_refused);
    let whose =
        refused.map_or("nobody tried it".to_owned(), |n| format!("refused: {:?}", case.testimonies[n].acts));
    let rows = tables.rows_of(commit);
    report.wrong(NOWHERE, || format!("{:?} commits {rows:?} at {}; {whose}", commit.txn, commit.commit_ts));
    None
}

/// What the statements of a testimony make of the data; an error if they would not see what they saw.
fn perform(testimony: &Testimony, data: &Data, tables: &Tables, reads: &mut u64) -> Result<Data, String> {
    let mut own = Data::new();
    for act in &testimony.acts {
        match act {
            Act::Read { table, scope, rows } => {
                let Some(definition) = tables.named(&testimony.schema, table) else { continue };
                *reads += 1;
                let seen = see(definition, *scope, data, &own);
                if seen != *rows {
                    return Err(format!(
                        "{table} {scope:?} was seen as {}, not as {}",
                        brief(rows),
                        brief(&seen)
                    ));
                }
            }
            Act::Write { table, id, change } => {
                let Some(definition) = tables.named(&testimony.schema, table) else { continue };
                let key = row_key(definition, *id);
                let before = own.get(&key).or_else(|| data.get(&key));
                if let Some(row) = changed(*id, change, before)? {
                    own.insert(key, row);
                }
            }
        }
    }
    Ok(own)
}

fn row_key(table: &Table, id: u64) -> Key {
    table.row_key_of(&[Value::Int(id as i64)])
}

fn see(table: &Table, scope: Scope, data: &Data, own: &Data) -> String {
    match scope {
        Scope::One(id) => {
            let key = row_key(table, id);
            shown(own.get(&key).or_else(|| data.get(&key)))
        }
        Scope::All => {
            let range = key::index_range(table.id, IndexId(0));
            let mut rows: BTreeMap<&Key, &Row> = data.range(range.start.clone()..range.end.clone()).collect();
            rows.extend(own.range(range.start..range.end));
            shown(rows.into_values())
        }
    }
}

/// A row after a change; `None` if there is nothing to change.
fn changed(id: u64, change: &Change, before: Option<&Row>) -> Result<Option<Row>, String> {
    let with = |value: String| before.map(|row| vec![row[0].clone(), value]);
    Ok(match (change, before) {
        (Change::Insert(_), Some(row)) => return Err(format!("it inserts {id}, and {row:?} is there")),
        (Change::Insert(values), None) => {
            Some(std::iter::once(&id).chain(values).map(u64::to_string).collect())
        }
        (Change::Set(_, value), _) => with(value.to_string()),
        (Change::Add(_, by), row) => {
            let number = row.map(|row| row[1].parse::<i64>().map_err(|_| format!("{row:?} has no number")));
            number.transpose()?.and_then(|number| with((number + by).to_string()))
        }
        (Change::Append(_, text), Some(row)) => with(row[1].clone() + text),
        (Change::Append(_, text), None) => Some(vec![id.to_string(), text.clone()]),
    })
}

/// How what was written differs from what should have been. A row that is written as it was may be left out.
fn difference(made: &Data, written: &Rows, data: &Data) -> Option<String> {
    let keys = made.keys().chain(written.keys());
    keys.into_iter().find_map(|key| {
        let before = data.get(key);
        let expected = made.get(key).or(before);
        let found = written.get(key).map_or(before, Option::as_ref);
        (expected != found).then(|| format!("{key:?} became {found:?} instead of {expected:?}"))
    })
}

/// The end of a long text.
fn brief(rows: &str) -> String {
    let rows = rows.replace('\n', " ");
    let from = rows.char_indices().rev().nth(200).map_or(0, |(at, _)| at);
    format!("{:?} ({} bytes)", &rows[from..], rows.len())
}

/// Whoever begins after somebody else was answered has a snapshot that holds what that one wrote, and what it saw.
fn respect_time(case: &Case, replayed: &Replayed, claims: &Claims, report: &mut Report) {
    let commits = &replayed.commits;
    let mut told: Vec<(u64, Timestamp)> = Vec::new();
    let mut begun: Vec<(u64, Timestamp)> = Vec::new();
    for (n, testimony) in case.testimonies.iter().enumerate() {
        let commit_ts = claims.of[n].map(|place| commits[place].commit_ts);
        if let Some(snapshot_ts) = testimony.told.map(|told| told.snapshot_ts) {
            begun.push((testimony.invoked, snapshot_ts));
            told.push((testimony.completed, snapshot_ts));
        }
        if let Some(commit_ts) = commit_ts.filter(|_| testimony.fate == Fate::Committed) {
            told.push((testimony.completed, commit_ts));
        }
    }
    told.sort_unstable();
    begun.sort_unstable();
    let mut told = told.into_iter().peekable();
    let mut newest = Timestamp::ZERO;
    for (invoked, snapshot_ts) in begun {
        while let Some((_, ts)) = told.next_if(|(completed, _)| *completed < invoked) {
            newest = newest.max(ts);
        }
        // Between two snapshots without a commit between them nobody can tell the difference.
        let first_missed = commits.partition_point(|commit| commit.commit_ts <= snapshot_ts);
        if let Some(missed) = commits.get(first_missed).filter(|commit| commit.commit_ts <= newest) {
            report.wrong(TIME, || {
                format!(
                    "a transaction that began after somebody was told of {newest} reads at {snapshot_ts}, without \
                     the commit at {}",
                    missed.commit_ts
                )
            });
        }
    }
}
