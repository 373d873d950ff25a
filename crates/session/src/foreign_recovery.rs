//! What becomes of branches that nobody follows up: their session, its node or the foreign server has died in between.
//!
//! ```text
//!   every frontend, every few seconds:
//!     records ──▶ XA RECOVER of each server ──▶ a branch of ours ──▶ its record? ── committed ───▶ XA COMMIT
//!        │                                                              │ none       rolled back ─▶ XA ROLLBACK
//!        │                                                              ▼
//!        │                                          seen for long, or its frontend's life is over?
//!        │                                            write rolled back; if that commits ─────────▶ XA ROLLBACK
//!        └──▶ not one server that a record names has its branch any more ─▶ the record goes
//! ```
//!
//! Records are read before the servers are asked: a branch that is missing then has been seen without after its decision. Whoever
//! writes *rolled back* has read that there was nothing, as the session had that writes *committed*: one of the two loses.

use crate::branches::{ClusterMark, Xid, address_of, name_of, place_of};
use crate::services::{Services, adjudicator_error};
use crate::txn::{Txn, TxnOptions};
use assize_catalog::{BranchOutcome, BranchPlace, FOREIGN_BRANCHES, ForeignBranch, Server};
use assize_model::{Mutation, SqlError, TxnId};
use assize_ports::{
    Direction, ForeignConnection, ForeignError, ForeignTroubles, ReadIntent, ScanRequest, ScanShards,
    StuckBranch, Transaction,
};
use assize_values::{IntType, IntWidth, SqlType, Value};
use futures_util::future::{Either, join_all, select};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A branch without a record is left to its session for so long: longer than a commit may take, unless it is a large one, which
/// then loses.
const PATIENCE_MICROS: u64 = 15_000_000;
/// How long a server may take for one answer.
const ANSWER_WITHIN_MICROS: u64 = 5_000_000;
/// Records read, and removed, at a time.
const RECORDS_AT_A_TIME: usize = 256;

/// What is to be done with a branch that was found prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextStep {
    /// XA COMMIT.
    Commit,
    /// XA ROLLBACK.
    RollBack,
    /// Nothing yet: its session is about to decide.
    Wait,
    /// Its session has had its time: write that it is rolled back, and if that commits, roll it back.
    Overtake,
}

/// What is to be done with a branch that was found prepared: by its record, by how long it has been seen, and by whether the life
/// of the frontend that began it is over.
pub fn next_step(record: Option<BranchOutcome>, seen_for_micros: u64, is_life_over: bool) -> NextStep {
    match record {
        Some(BranchOutcome::Committed) => NextStep::Commit,
        Some(BranchOutcome::RolledBack) => NextStep::RollBack,
        None if is_life_over || seen_for_micros >= PATIENCE_MICROS => NextStep::Overtake,
        None => NextStep::Wait,
    }
}

/// What a frontend knows of branches that are, or have been, in doubt.
#[derive(Default)]
pub(crate) struct ForeignBranches {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Records that have done their duty.
    done: BTreeSet<TxnId>,
    /// When a branch was first found, by the server's name.
    seen: BTreeMap<(Arc<str>, Xid), u64>,
    /// What the last look came to.
    latest: Arc<ForeignTended>,
}

impl ForeignBranches {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds this lock can leave its value half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every branch of this number has been committed: its record may go.
    pub(crate) fn done(&self, number: TxnId) {
        self.known().done.insert(number);
    }
}

/// What one look at the foreign servers came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ForeignTended {
    /// Branches that were found prepared and carried out, with what.
    pub resolved: Vec<(Arc<str>, String, BranchOutcome)>,
    /// Branches that were found prepared and still are.
    pub in_doubt: Vec<BranchInDoubt>,
    /// Servers that could not be asked, and why.
    pub away: Vec<(Arc<str>, String)>,
    /// Records that name a server which could not be asked, or that no catalog knows any more.
    pub records_waiting: usize,
    /// Records that were removed.
    pub records_removed: usize,
}

/// A branch that is in doubt for longer stands in the way of somebody.
const STUCK_MICROS: u64 = 30_000_000;

impl ForeignTended {
    /// What of it an operator has to know.
    pub fn troubles(&self) -> ForeignTroubles {
        let stuck = self.in_doubt.iter().filter(|branch| branch.is_stuck());
        ForeignTroubles {
            away: self.away.clone(),
            unheard: self.records_waiting,
            stuck: stuck
                .map(|found| StuckBranch {
                    server: found.server.clone(),
                    branch: found.branch.clone(),
                    seconds: found.seen_micros / 1_000_000,
                })
                .collect(),
        }
    }
}

/// A prepared branch that nothing could be done about yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BranchInDoubt {
    /// The server's name.
    pub server: Arc<str>,
    /// As XA statements name it.
    pub branch: String,
    /// For how long this frontend has seen it.
    pub seen_micros: u64,
    /// What its record says; `None` if there is none.
    pub outcome: Option<BranchOutcome>,
}

impl BranchInDoubt {
    /// Whether it should have been carried out by now.
    pub fn is_stuck(&self) -> bool {
        self.seen_micros > STUCK_MICROS
    }
}

/// One server's answer.
struct Asked {
    server: Arc<Server>,
    connection: Option<Box<dyn ForeignConnection>>,
    prepared: Result<Vec<Xid>, ForeignError>,
}

const BIGINT: SqlType =
    SqlType::Int(IntType { width: IntWidth::Big, unsigned: false, zerofill: false, display: None });

/// This cluster's branches that are prepared on a server.
pub(crate) async fn prepared_there(
    connection: &mut dyn ForeignConnection,
    cluster: ClusterMark,
) -> Result<Vec<Xid>, ForeignError> {
    let types = [BIGINT, BIGINT, BIGINT, SqlType::VarBinary { length: 255 }];
    let result = connection.run("XA RECOVER", &types).await?;
    let ours = result.rows.iter().filter_map(|row| match &row[..] {
        [Value::Int(format), Value::Int(global), Value::Int(branch), Value::Bytes(data)] => {
            Xid::read(cluster, *format, (*global, *branch), data)
        }
        _ => None,
    });
    Ok(ours.collect())
}

impl Services {
    /// What the last look at the foreign servers came to.
    pub fn foreign_tended(&self) -> Arc<ForeignTended> {
        self.foreign_branches.known().latest.clone()
    }

    /// Looks after branches on foreign servers: carries out what has been decided where nobody has, decides what nobody will, and
    /// removes records that have done their duty. While there are no foreign servers it costs a look at the catalog.
    ///
    /// # Errors
    /// The cluster cannot be asked. It is looked at again the next time.
    pub async fn tend_foreign_branches(self: &Arc<Self>) -> Result<Arc<ForeignTended>, SqlError> {
        let mut tended = ForeignTended::default();
        let done = std::mem::take(&mut self.foreign_branches.known().done);
        tended.records_removed += self.remove_records(done).await?;
        let mut txn = Txn::begin(self.clone(), TxnOptions::default()).await?;
        let servers: Vec<Arc<Server>> = txn.catalog().servers.values().cloned().collect();
        if !servers.is_empty() {
            let records = records(&mut txn).await?;
            drop(txn);
            let mut asked = join_all(servers.into_iter().map(|server| self.ask(server))).await;
            for asked in &mut asked {
                self.tend_server(asked, &mut tended).await?;
            }
            let done = finished(&records, &asked);
            tended.records_waiting = records.len() - done.len();
            tended.records_removed += self.remove_records(done).await?;
            for asked in asked {
                if let Some(connection) = asked.connection {
                    connection.give_back();
                }
            }
        }
        let tended = Arc::new(tended);
        self.foreign_branches.known().latest = tended.clone();
        Ok(tended)
    }

    async fn ask(&self, server: Arc<Server>) -> Asked {
        let asking = async {
            let mut connection = self.foreign.connect(server.clone()).await?;
            let prepared = prepared_there(&mut *connection, self.cluster_mark()).await?;
            Ok((connection, prepared))
        };
        match self.in_time(asking).await {
            Ok((connection, prepared)) => {
                Asked { server, connection: Some(connection), prepared: Ok(prepared) }
            }
            Err(error) => Asked { server, connection: None, prepared: Err(error) },
        }
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ForeignError>>,
    ) -> Result<T, ForeignError> {
        match select(Box::pin(work), self.clock.sleep(ANSWER_WITHIN_MICROS)).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(ForeignError::Away("it does not answer".to_owned())),
        }
    }

    /// Does what is to be done with every branch that a server has.
    async fn tend_server(
        self: &Arc<Self>,
        asked: &mut Asked,
        tended: &mut ForeignTended,
    ) -> Result<(), SqlError> {
        let prepared = match &asked.prepared {
            Ok(prepared) => prepared.clone(),
            Err(error) => {
                tended.away.push((asked.server.name.clone(), error.to_string()));
                return Ok(());
            }
        };
        let name = name_of(&asked.server);
        self.foreign_branches
            .known()
            .seen
            .retain(|(server, xid), _| *server != name || prepared.contains(xid));
        for xid in prepared {
            let now = self.clock.monotonic_micros();
            let since = *self.foreign_branches.known().seen.entry((name.clone(), xid.clone())).or_insert(now);
            let seen_micros = now.saturating_sub(since);
            let outcome = self.outcome_of(&xid, seen_micros, &asked.server).await?;
            let server = asked.server.name.clone();
            if let Some(outcome) = outcome
                && self.carry_out(asked, &xid, outcome).await
            {
                tended.resolved.push((server, xid.to_string(), outcome));
            } else {
                let branch = xid.to_string();
                tended.in_doubt.push(BranchInDoubt { server, branch, seen_micros, outcome });
            }
        }
        Ok(())
    }

    /// What is to become of a branch, as of now; `None` as long as its session may still have it commit.
    async fn outcome_of(
        self: &Arc<Self>,
        xid: &Xid,
        seen_micros: u64,
        server: &Server,
    ) -> Result<Option<BranchOutcome>, SqlError> {
        let mut txn = Txn::begin(self.clone(), TxnOptions::default()).await?;
        let record = record_of(&mut txn, xid.number).await?.map(|record| record.outcome);
        let is_life_over = record.is_none() && self.is_life_over(xid.number).await?;
        match next_step(record, seen_micros, is_life_over) {
            NextStep::Commit | NextStep::RollBack => Ok(record),
            NextStep::Wait => Ok(None),
            NextStep::Overtake => overtake(txn, xid.number, place_of(server)).await,
        }
    }

    /// Whether the log has ended the life in which a branch was begun: then its session is gone, mostly.
    async fn is_life_over(&self, number: TxnId) -> Result<bool, SqlError> {
        let living = self.adjudicator.frontend_epoch(number.frontend()).await.map_err(adjudicator_error)?;
        Ok(living > number.frontend_epoch())
    }

    /// Whether the server has done it.
    async fn carry_out(&self, asked: &mut Asked, xid: &Xid, outcome: BranchOutcome) -> bool {
        let Some(mut connection) = asked.connection.take() else { return false };
        let sql = match outcome {
            BranchOutcome::Committed => format!("XA COMMIT {xid}"),
            BranchOutcome::RolledBack => format!("XA ROLLBACK {xid}"),
        };
        let done = self.in_time(connection.run(&sql, &[])).await;
        if !matches!(done, Err(ForeignError::Away(_))) {
            asked.connection = Some(connection);
        }
        // Refused, because a connection still holds it or somebody else has done it: the next look tells.
        done.is_ok()
    }

    /// Removes records, some at a time, and says how many. What cannot be removed now is removed later.
    async fn remove_records(self: &Arc<Self>, numbers: BTreeSet<TxnId>) -> Result<usize, SqlError> {
        let all: Vec<TxnId> = numbers.into_iter().collect();
        let mut removed = 0;
        for numbers in all.chunks(RECORDS_AT_A_TIME) {
            match remove(self, numbers).await {
                Ok(()) => removed += numbers.len(),
                Err(error) => {
                    self.foreign_branches.known().done.extend(&all[removed..]);
                    return Err(error);
                }
            }
        }
        Ok(removed)
    }
}

async fn remove(services: &Arc<Services>, numbers: &[TxnId]) -> Result<(), SqlError> {
    let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await?;
    for number in numbers {
        let (slot, key) = ForeignBranch::place(*number);
        txn.write(FOREIGN_BRANCHES, Mutation::delete(key, slot))?;
    }
    // If another frontend was first with some of them, it is tried again with all.
    txn.commit(None).await.map(drop).map_err(|failure| failure.error)
}

/// All records.
async fn records(txn: &mut Txn) -> Result<BTreeMap<TxnId, ForeignBranch>, SqlError> {
    let mut records = BTreeMap::new();
    let mut rest = Some(ForeignBranch::range());
    while let Some(range) = rest {
        let request = ScanRequest {
            table: FOREIGN_BRANCHES,
            range,
            shards: ScanShards::All,
            direction: Direction::Forward,
            limit: RECORDS_AT_A_TIME,
            intent: ReadIntent::Plain,
        };
        let page = txn.scan(request).await?;
        for (key, value) in &page.rows {
            if let Some(number) = ForeignBranch::number(key) {
                records.insert(number, read(value)?);
            }
        }
        rest = page.rest;
    }
    Ok(records)
}

async fn record_of(txn: &mut Txn, number: TxnId) -> Result<Option<ForeignBranch>, SqlError> {
    let (slot, key) = ForeignBranch::place(number);
    let stored = txn.get(FOREIGN_BRANCHES, slot, &key, ReadIntent::Plain).await?;
    stored.map(|bytes| read(&bytes)).transpose()
}

fn read(bytes: &[u8]) -> Result<ForeignBranch, SqlError> {
    let unreadable =
        |error| SqlError::internal(format_args!("a record of foreign branches cannot be read: {error}"));
    ForeignBranch::decode(bytes).map_err(unreadable)
}

/// Writes *rolled back* where this transaction has read that there is nothing. `None` if somebody was faster.
async fn overtake(
    mut txn: Txn,
    number: TxnId,
    place: BranchPlace,
) -> Result<Option<BranchOutcome>, SqlError> {
    let at_micros = txn.services().clock.now_micros();
    let outcome = BranchOutcome::RolledBack;
    let record = ForeignBranch { outcome, at_micros, places: vec![place] };
    let (slot, key) = ForeignBranch::place(number);
    txn.write(FOREIGN_BRANCHES, Mutation::put(key, slot, record.encode()))?;
    match txn.commit(None).await {
        Ok(_) => Ok(Some(outcome)),
        Err(failure) if failure.is_retryable => Ok(None),
        Err(failure) => Err(failure.error),
    }
}

/// The records whose branch is gone from every place that they name.
fn finished(records: &BTreeMap<TxnId, ForeignBranch>, asked: &[Asked]) -> BTreeSet<TxnId> {
    let is_without = |place: &BranchPlace, number: TxnId| {
        let mut there = asked.iter().filter(|asked| address_of(&asked.server) == place.address).peekable();
        there.peek().is_some()
            && there.all(|asked| {
                asked.prepared.as_ref().is_ok_and(|found| found.iter().all(|xid| xid.number != number))
            })
    };
    let finished = records
        .iter()
        .filter(|(number, record)| record.places.iter().all(|place| is_without(place, **number)));
    finished.map(|(number, _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Timestamp};

    #[test]
    fn what_is_done_with_a_branch_follows_from_its_record_and_its_age() {
        use BranchOutcome::{Committed, RolledBack};
        for (seen, is_over) in [(0, false), (0, true), (PATIENCE_MICROS, false), (u64::MAX, true)] {
            assert_eq!(next_step(Some(Committed), seen, is_over), NextStep::Commit);
            assert_eq!(next_step(Some(RolledBack), seen, is_over), NextStep::RollBack);
        }
        assert_eq!(next_step(None, 0, false), NextStep::Wait);
        assert_eq!(next_step(None, PATIENCE_MICROS - 1, false), NextStep::Wait);
        assert_eq!(next_step(None, PATIENCE_MICROS, false), NextStep::Overtake);
        assert_eq!(next_step(None, 0, true), NextStep::Overtake);
    }

    fn server(name: &str, host: &str) -> Arc<Server> {
        Arc::new(Server {
            name: name.into(),
            wrapper: "mysql".into(),
            host: host.into(),
            port: 3306,
            database: "d".into(),
            user: "u".into(),
            password: "".into(),
            owner: "".into(),
        })
    }

    fn number(sequence: u64) -> TxnId {
        TxnId::new(Timestamp::from_millis(5), DeadlineClass::Xa, FrontendId(1), FrontendEpoch(1), sequence)
    }

    #[test]
    fn an_operator_hears_of_what_stays_and_of_who_is_away() {
        let in_doubt = |branch: &str, seen_micros| BranchInDoubt {
            server: "s".into(),
            branch: branch.to_owned(),
            seen_micros,
            outcome: None,
        };
        let tended = ForeignTended {
            in_doubt: vec![in_doubt("new", STUCK_MICROS), in_doubt("old", STUCK_MICROS + 2_000_000)],
            away: vec![("t".into(), "gone".to_owned())],
            records_waiting: 3,
            ..ForeignTended::default()
        };
        let troubles = tended.troubles();
        assert_eq!((troubles.unheard, &troubles.away), (3, &tended.away));
        let old = StuckBranch { server: "s".into(), branch: "old".to_owned(), seconds: 32 };
        assert_eq!(troubles.stuck, [old]);
        assert_eq!(ForeignTended::default().troubles(), ForeignTroubles::default());
    }

    #[test]
    fn a_record_goes_once_every_place_has_been_seen_without_its_branch() {
        let cluster = ClusterMark::of_seed(1);
        let asked = |name: &str, host: &str, prepared: Result<Vec<u64>, ()>| Asked {
            server: server(name, host),
            connection: None,
            prepared: prepared
                .map(|found| found.into_iter().map(|n| Xid::new(cluster, number(n), name)).collect())
                .map_err(|()| ForeignError::Away("gone".to_owned())),
        };
        let record = |places: &[(&str, &str)]| ForeignBranch {
            outcome: BranchOutcome::Committed,
            at_micros: 0,
            places: places.iter().map(|(name, host)| place_of(&server(name, host))).collect(),
        };
        let records = BTreeMap::from([
            (number(1), record(&[("a", "db1"), ("b", "db2")])),
            (number(2), record(&[("a", "db1")])),
            // Its definition was altered meanwhile.
            (number(3), record(&[("a", "db0")])),
        ]);
        let all = |asked: &[Asked]| finished(&records, asked).into_iter().collect::<Vec<_>>();
        let both = [asked("A", "db1", Ok(vec![])), asked("B", "db2", Ok(vec![]))];
        assert_eq!(all(&both), [number(1), number(2)]);
        let one_away = [asked("A", "db1", Ok(vec![])), asked("B", "db2", Err(()))];
        assert_eq!(all(&one_away), [number(2)]);
        let one_left = [asked("A", "db1", Ok(vec![2])), asked("B", "db2", Ok(vec![]))];
        assert_eq!(all(&one_left), [number(1)]);
        let twice_defined = [asked("A", "db1", Ok(vec![])), asked("C", "db1", Ok(vec![2]))];
        assert_eq!(all(&twice_defined), [], "one server under two names");
    }
}
