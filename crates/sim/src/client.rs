//! A client: one plan, run through a real `session::Txn`.
//!
//! What it does is noted on its frontend's desk as it happens. What it thinks of a row (what it has written, what it holds
//! reserved) is worked out here, from the outside, and compared with what the session shows.

use crate::desk::{Desk, Note};
use crate::history::{Observed, Told};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::workload::{
    How, Kind, NOTES, Plan, REGISTERS, Read, What, schema_change, schema_version, slot_of, table_of,
};
use assize_model::*;
use assize_ports::{Direction, ScanRequest, ScanShards, Transaction};
use assize_session::{CommitMode, Committed, Isolation, Services, Txn, TxnOptions};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a client goes about its plan.
#[derive(Clone, Debug)]
pub struct Style {
    commit_mode: CommitMode,
    /// Rows that it wants at a time.
    page: usize,
    direction: Direction,
    /// Whether keys of one statement are read together.
    gathers: bool,
    /// Whether it first writes something else, and undoes that.
    undoes: bool,
    /// Whether it first writes something else, and writes over that.
    rewrites: bool,
    /// Whether it scans what it has written before it commits.
    looks_again: bool,
}

impl Style {
    /// Draws one.
    pub fn draw(random: &mut Random, scenario: &Scenario) -> Style {
        let is_prepared = random.chance(scenario.prepared);
        let is_short = is_prepared && random.chance(scenario.short_deadline);
        let class = if is_short { DeadlineClass::Xa } else { DeadlineClass::Normal };
        Style {
            commit_mode: if is_prepared { CommitMode::Prepared(class) } else { CommitMode::Inline },
            page: *random.pick(&[1, 2, 3, 1000, 1000]),
            direction: *random.pick(&[Direction::Forward, Direction::Forward, Direction::Reverse]),
            gathers: random.chance(600),
            undoes: random.chance(150),
            rewrites: random.chance(150),
            looks_again: random.chance(100),
        }
    }
}

struct Client {
    desk: Arc<Desk>,
    txn: Txn,
    id: u64,
    plan: Plan,
    style: Style,
    /// What each statement has read.
    rows: Vec<BTreeMap<Key, Bytes>>,
    /// Rows that it has reserved: as they were, and at which snapshot that was.
    held: BTreeMap<Key, (Timestamp, Option<Bytes>)>,
    written: BTreeMap<Key, Option<Bytes>>,
}

/// Runs a plan to its end; what its client was told of the commit, if there was one. A statement that fails ends the
/// transaction: its client rolls back, nothing was sent, and there is nothing to find out.
pub async fn run(
    services: Arc<Services>,
    desk: Arc<Desk>,
    id: u64,
    plan: Plan,
    style: Style,
) -> Option<Told> {
    let options =
        TxnOptions { isolation: plan.isolation(), commit_mode: style.commit_mode, ..TxnOptions::default() };
    let txn = Txn::begin(services, options).await.ok()?;
    let rows = vec![BTreeMap::new(); plan.statements.len()];
    let (held, written) = (BTreeMap::new(), BTreeMap::new());
    let mut client = Client { desk, txn, id, plan, style, rows, held, written };
    client.run_statements().await.ok()?;
    Some(client.commit().await)
}

impl Client {
    async fn run_statements(&mut self) -> Result<(), SqlError> {
        for statement in 0..self.plan.statements.len() {
            self.txn.begin_statement(statement == 0).await?;
            if self.written.is_empty() && self.held.is_empty() {
                // At READ COMMITTED nothing that was read before matters any more.
                self.desk.note(Note::Holds(self.txn.snapshot_ts()));
            }
            self.plan_with_tables(statement);
            self.read(statement).await?;
            self.write(statement)?;
        }
        if self.style.looks_again && self.plan.isolation() != Isolation::ReadCommitted {
            self.look_again().await?;
        }
        Ok(())
    }

    fn plan_with_tables(&mut self, statement: usize) {
        let mut tables: BTreeSet<TableId> = self.plan.statements[statement].iter().map(Read::table).collect();
        if self.plan.uses_registers() {
            tables.insert(REGISTERS);
            let version = schema_version(self.txn.catalog(), REGISTERS);
            self.desk.note(Note::Planned(REGISTERS, version));
        }
        for table in tables {
            let version = schema_version(self.txn.catalog(), table);
            self.txn.use_table(table, version);
        }
    }

    async fn read(&mut self, statement: usize) -> Result<(), SqlError> {
        let reads = self.plan.statements[statement].clone();
        let mut together: Vec<Key> = Vec::new();
        for (n, Read { what, how }) in reads.iter().enumerate() {
            match what {
                What::Key(key) => {
                    together.push(key.clone());
                    let next_joins = self.style.gathers
                        && reads
                            .get(n + 1)
                            .is_some_and(|next| next.how == *how && matches!(next.what, What::Key(_)));
                    if !next_joins {
                        self.read_keys(statement, std::mem::take(&mut together), *how).await?;
                    }
                }
                What::Range(range) => {
                    let rows = self.read_range(range.clone(), *how).await?;
                    self.rows[statement].extend(rows);
                }
            }
        }
        Ok(())
    }

    async fn read_keys(&mut self, statement: usize, keys: Vec<Key>, how: How) -> Result<(), SqlError> {
        let table = table_of(&keys[0]);
        let values = match &keys[..] {
            [key] => vec![self.txn.get(table, slot_of(key), key, how.intent()).await?],
            keys => {
                let placed: Vec<(Slot, Key)> = keys.iter().map(|key| (slot_of(key), key.clone())).collect();
                self.txn.get_many(table, &placed, how.intent()).await?
            }
        };
        for (key, value) in keys.into_iter().zip(values) {
            if how.reserves() {
                // Whatever it reserves again it holds as it was the first time.
                let as_of = self.desk.last_begun();
                self.held.entry(key.clone()).or_insert((as_of, value.clone()));
            }
            let is_checked = self.is_checked(how) || self.held.contains_key(&key);
            let rows: Vec<(Key, Bytes)> = value.map(|value| (key.clone(), value)).into_iter().collect();
            self.rows[statement].extend(rows.iter().cloned());
            let snapshot_ts = self.seen_at(&key);
            let range = KeyRange::point(key);
            let own = BTreeMap::new();
            self.desk.note(Note::Read(Observed { snapshot_ts, range, rows, own, is_checked }));
        }
        Ok(())
    }

    fn is_checked(&self, how: How) -> bool {
        how != How::Plain || self.plan.isolation() == Isolation::Serializable
    }

    /// The snapshot at which the transaction sees a row.
    fn seen_at(&self, key: &Key) -> Timestamp {
        self.held.get(key).map_or(self.txn.snapshot_ts(), |(as_of, _)| *as_of)
    }

    async fn read_range(&mut self, range: KeyRange, how: How) -> Result<Vec<(Key, Bytes)>, SqlError> {
        let mut rows = Vec::new();
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let request = ScanRequest {
                table: table_of(&range.start),
                range,
                shards: ScanShards::All,
                direction: self.style.direction,
                limit: self.style.page,
                intent: how.intent(),
            };
            let page = self.txn.scan(request).await?;
            rows.extend(page.rows);
            rest = page.rest;
        }
        if self.style.direction == Direction::Reverse {
            rows.reverse();
        }
        let snapshot_ts = self.txn.snapshot_ts();
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let what = format!("at {snapshot_ts} a scan shows {:?} before {:?}", pair[0].0, pair[1].0);
            self.desk.note(Note::Wrong("a_snapshot_reads_the_same_until_gc", what));
        }
        let held = self.held.iter().map(|(key, (_, value))| (key.clone(), value.clone()));
        let mut own: BTreeMap<Key, Option<Bytes>> = held.collect();
        own.extend(self.written.clone());
        own.retain(|key, _| range.contains(key));
        let is_checked = self.is_checked(how);
        let observed = Observed { snapshot_ts, range, rows: rows.clone(), own, is_checked };
        self.desk.note(Note::Read(observed));
        Ok(rows)
    }

    fn write(&mut self, statement: usize) -> Result<(), SqlError> {
        let writes = self.plan.writes(self.id, &self.rows);
        for (_, mutation) in writes.into_iter().filter(|(at, _)| *at == statement) {
            self.desk.note(Note::Wrote(self.seen_at(&mutation.key), mutation.clone()));
            let table = table_of(&mutation.key);
            let version = schema_version(self.txn.catalog(), table);
            self.txn.use_table(table, version);
            let value = match &mutation.op {
                MutationOp::Put(value) => Some(value.clone()),
                MutationOp::Delete => None,
                // The session makes it of the reservation.
                MutationOp::Lock => continue,
            };
            let other = Mutation::put(mutation.key.clone(), mutation.slot, &b"100 other"[..]);
            if self.style.undoes {
                let mark = self.txn.mark();
                self.txn.write(table, other.clone())?;
                self.txn.undo_to(mark);
            }
            if self.style.rewrites {
                self.txn.write(table, other)?;
            }
            self.written.insert(mutation.key.clone(), value);
            self.txn.write(table, mutation)?;
        }
        Ok(())
    }

    /// Scans the table that it has written: it must find what is committed, and its own.
    async fn look_again(&mut self) -> Result<(), SqlError> {
        // Rows of notes may be damaged.
        let Some(first) = self.written.keys().next().filter(|key| table_of(key) != NOTES) else {
            return Ok(());
        };
        let range = KeyRange::prefix(&first.0[..1]);
        self.txn.begin_statement(false).await?;
        self.read_range(range, How::Plain).await.map(drop)
    }

    async fn commit(&mut self) -> Told {
        let change = matches!(self.plan.kind, Kind::ChangeSchema).then(|| schema_change(self.txn.catalog()));
        match self.txn.commit(change).await {
            Ok(Committed::Nothing) => Told::Ended,
            Ok(Committed::At(txn, commit_ts)) => Told::Committed(txn, commit_ts),
            Err(failure) if failure.error.code == ErrorCode::OutcomeUnknown => Told::Unknown,
            // Every other error says that the transaction was rolled back.
            Err(_) => Told::Aborted,
        }
    }
}
