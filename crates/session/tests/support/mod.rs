//! Ports in memory: a cluster that is one map, an adjudicator that checks naively, an engine that knows one table.

#![allow(dead_code)] // Each test binary uses its own part.

pub mod foreign;
pub mod others;

use assize_catalog::{
    Catalog, ChangeBuilder, Column, Database, ForeignBranch, Index, IndexPart, IndexState, Table, bootstrap,
    key, row,
};
use assize_model::*;
use assize_ports::*;
use assize_session::{GlobalVariables, KillSwitch, Limits, Login, Services, Session, Shared};
use assize_sql::sqlparser::ast::{self, Expr};
use assize_sql::{InsertSource, Statement, ValueExpr};
use assize_values::{Collation, SqlType, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// Runs a future whose ports are always ready, or become so when polled again.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("nothing moves");
}

/// Time that passes when somebody sleeps.
#[derive(Default)]
pub struct TestClock {
    micros: Arc<AtomicU64>,
    seed: AtomicU64,
}

struct Sleep {
    micros: Arc<AtomicU64>,
    left: u32,
    by: u64,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.left == 0 {
            self.micros.fetch_add(self.by, Ordering::Relaxed);
            return Poll::Ready(());
        }
        self.left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Clock for TestClock {
    fn now_micros(&self) -> i64 {
        1_790_000_000_000_000 + self.micros.load(Ordering::Relaxed) as i64
    }
    fn monotonic_micros(&self) -> u64 {
        self.micros.fetch_add(1, Ordering::Relaxed)
    }
    fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        // Other work goes first for a while, so that time-outs are the last thing to happen.
        Box::pin(Sleep { micros: self.micros.clone(), left: 20, by: micros })
    }
    fn random(&self) -> u64 {
        self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

type Versions = BTreeMap<Timestamp, Option<Bytes>>;

/// What the next commit meets.
#[derive(Clone, Debug, PartialEq)]
pub enum Mishap {
    /// It is decided, but the reply is lost.
    ReplyLost,
    /// It is refused with this reason.
    Abort(AbortReason),
    /// Nobody can be asked.
    Unreachable,
    /// It is turned away at the door.
    TurnedAway(AdjudicatorError),
}

#[derive(Default)]
pub struct World {
    pub now: Timestamp,
    pub rows: BTreeMap<Key, Versions>,
    pub commits: BTreeMap<Key, Timestamp>,
    pub decisions: BTreeMap<TxnId, Decision>,
    pub intents: BTreeMap<TxnId, Vec<Mutation>>,
    pub footprints: Vec<Footprint>,
    pub mishaps: VecDeque<Mishap>,
    /// Thrown when a commit is turned away.
    pub kills: Option<Arc<KillSwitch>>,
    pub catalog_version: u64,
    pub objects: BTreeMap<Bytes, (u64, Option<Bytes>)>,
    pub tracked: BTreeSet<TableId>,
    pub reserved: BTreeMap<KeyHash, TxnId>,
    pub released: Vec<TxnId>,
    pub begins: u64,
    /// So many questions for a snapshot meet no leader.
    pub begins_fail: u64,
    pub acknowledged: Vec<TxnRun>,
    pub ids: u64,
    /// Commits are sent, and nothing comes of them.
    pub commits_hang: bool,
    /// Reservations wait for ever.
    pub reservations_hang: bool,
    /// Conflicts name the transaction that committed, rather than one of a frontend that is not there.
    pub names_winners: bool,
    pub committers: BTreeMap<Timestamp, TxnId>,
    /// Whose change fenced the table last.
    pub fenced_by: Option<Winner>,
    /// Reservations end in a deadlock.
    pub deadlocks: bool,
    /// What the placement's next epochs are, as whoever asks is told.
    pub placement_epochs: VecDeque<u64>,
    /// How often shards were asked when keys were last committed.
    pub newest_asked: u32,
    /// How often it was asked who stood in the way.
    pub who_asked: u32,
    /// Before every decision, somebody else commits a lock marker on this key.
    pub rival: Option<(Key, u32)>,
    /// Keys that the conflict window has forgotten: the shards know when they were last committed.
    pub window_forgets: Vec<KeyHash>,
    /// Where the next commits stop, before and after they are decided.
    pub gate: Option<foreign::Gate>,
    /// The lives that frontends live, where that is not the first.
    pub epochs: BTreeMap<FrontendId, FrontendEpoch>,
}

pub const SEED: u64 = 42;

impl World {
    fn epoch(&self, frontend: FrontendId) -> FrontendEpoch {
        self.epochs.get(&frontend).copied().unwrap_or(registered().epoch)
    }

    fn tick(&mut self) -> Timestamp {
        self.now = self.now.next();
        self.now
    }

    pub fn read(&self, key: &Key, ts: Timestamp) -> Option<Bytes> {
        self.rows.get(key)?.range(..=ts).next_back()?.1.clone()
    }

    fn apply(&mut self, mutations: &[Mutation], ts: Timestamp) {
        for mutation in mutations {
            self.commits.insert(mutation.key.clone(), ts);
            let value = match &mutation.op {
                MutationOp::Put(value) => Some(value.clone()),
                MutationOp::Delete => None,
                MutationOp::Lock => continue,
            };
            self.rows.entry(mutation.key.clone()).or_default().insert(ts, value);
        }
    }

    pub fn decide(&mut self, footprint: &Footprint) -> Decision {
        let current = self.epoch(footprint.txn.frontend());
        if footprint.txn.frontend_epoch() < current {
            return Decision::Abort { reason: AbortReason::FrontendFenced { current } };
        }
        if let Some((key, times)) = self.rival.clone()
            && times > 0
        {
            self.rival = Some((key.clone(), times - 1));
            let ts = self.tick();
            self.apply(&[Mutation::lock(key, Slot(0))], ts);
        }
        for group in &footprint.groups {
            let lost = self.commits.iter().find(|(key, ts)| {
                **ts > group.snapshot_ts
                    && (group.checked.contains(&key.hash(SEED))
                        || group.ranges.iter().any(|range| range.range.contains(key)))
            });
            if let Some((key, ts)) = lost {
                let stranger = TxnId::new(*ts, DeadlineClass::Normal, FrontendId(9), FrontendEpoch(1), 17);
                let known = self.committers.get(ts).filter(|_| self.names_winners);
                let winner = Winner { txn: known.copied().unwrap_or(stranger), commit_ts: *ts };
                let conflict = Conflict {
                    key: Some(key.hash(SEED)),
                    range: None,
                    batch: BatchNumber(1),
                    winner: Some(winner),
                };
                return Decision::Abort { reason: AbortReason::Conflict(conflict) };
            }
        }
        let commit_ts = self.tick();
        self.committers.insert(commit_ts, footprint.txn);
        match &footprint.body {
            CommitBody::Inline { mutations, .. } => self.apply(&mutations.clone(), commit_ts),
            CommitBody::Prepared { .. } => {
                let mutations = self.intents.remove(&footprint.txn).unwrap_or_default();
                self.apply(&mutations, commit_ts);
            }
        }
        if let Some(change) = &footprint.catalog_change {
            self.change(change);
        }
        Decision::Commit { commit_ts }
    }

    pub fn change(&mut self, change: &CatalogChange) {
        self.catalog_version += 1;
        for (key, value) in &change.objects {
            self.objects.insert(key.clone(), (self.catalog_version, value.clone()));
        }
    }
}

/// The cluster: adjudicator, both shards and the rest of the process.
#[derive(Default)]
pub struct Cluster {
    pub world: Mutex<World>,
    pub killed: Mutex<Vec<(u32, bool)>>,
    /// Servers outside of it.
    pub outside: foreign::Outside,
    /// The other nodes, if there are any.
    pub others: Mutex<Option<Arc<others::Others>>>,
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Cluster {
    fn commit_at_once(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        let mut world = self.world.lock().unwrap();
        world.footprints.push(footprint.clone());
        if let Some(decision) = world.decisions.get(&footprint.txn) {
            return ready(Ok(decision.clone()));
        }
        if world.commits_hang {
            return Box::pin(std::future::pending());
        }
        let checked = footprint.groups.iter().flat_map(|group| &group.checked);
        let keys: Vec<KeyHash> = checked.filter(|key| world.window_forgets.contains(key)).copied().collect();
        if !keys.is_empty() {
            world.window_forgets.clear();
            let reason = AbortReason::NeedRefresh { keys, ranges: Vec::new() };
            return ready(Ok(Decision::Abort { reason }));
        }
        let mishap = world.mishaps.pop_front();
        let decision = match &mishap {
            Some(Mishap::Unreachable) => {
                return ready(Err(AdjudicatorError::Unreachable("no leader".into())));
            }
            Some(Mishap::TurnedAway(error)) => {
                if let Some(kill) = &world.kills {
                    kill.kill_query();
                }
                return ready(Err(error.clone()));
            }
            Some(Mishap::Abort(reason)) => Decision::Abort { reason: reason.clone() },
            _ => world.decide(&footprint),
        };
        let is_kept = !matches!(decision, Decision::Abort { reason: AbortReason::NeedRefresh { .. } });
        if is_kept {
            world.decisions.insert(footprint.txn, decision.clone());
        }
        ready(if mishap == Some(Mishap::ReplyLost) { Err(AdjudicatorError::ReplyLost) } else { Ok(decision) })
    }
}

impl AdjudicatorClient for Cluster {
    fn register<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<Registered, AdjudicatorError>> {
        ready(Ok(registered()))
    }
    fn begin(&self) -> BoxFuture<'_, Result<Begun, AdjudicatorError>> {
        let mut world = self.world.lock().unwrap();
        world.begins += 1;
        if world.begins_fail > 0 {
            world.begins_fail -= 1;
            return ready(Err(AdjudicatorError::Unreachable("no leader".into())));
        }
        ready(Ok(Begun {
            snapshot_ts: world.now,
            catalog_version: CatalogVersion(world.catalog_version),
            placement_epoch: Epoch(1),
        }))
    }
    fn commit(&self, footprint: Footprint) -> BoxFuture<'_, Result<Decision, AdjudicatorError>> {
        let gate = self.world.lock().unwrap().gate.clone();
        if let Some(gate) = gate {
            return Box::pin(async move {
                gate.pass().await;
                let decided = self.commit_at_once(footprint).await;
                gate.pass().await;
                decided
            });
        }
        self.commit_at_once(footprint)
    }
    fn commit_many(&self, footprints: Footprints) -> BoxFuture<'_, FrameDecisions> {
        let never = Err(AdjudicatorError::Unreachable("sessions commit one".into()));
        ready(FrameDecisions::all(footprints.count, never))
    }
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, AdjudicatorError>> {
        ready(Ok(Vec::new()))
    }
    fn outcome(&self, txn: TxnId, _: bool) -> BoxFuture<'_, Result<Outcome, AdjudicatorError>> {
        let world = self.world.lock().unwrap();
        ready(Ok(world.decisions.get(&txn).cloned().map_or(Outcome::Undecided, Outcome::from)))
    }
    fn acknowledge(&self, txns: Vec<TxnRun>) {
        self.world.lock().unwrap().acknowledged.extend(txns);
    }
    fn report_oldest_snapshot(&self, _: FrontendId, _: FrontendEpoch, _: Option<Timestamp>) {}
    fn frontend_epoch(&self, frontend: FrontendId) -> BoxFuture<'_, Result<FrontendEpoch, AdjudicatorError>> {
        ready(Ok(self.world.lock().unwrap().epoch(frontend)))
    }
    fn placement(&self) -> BoxFuture<'_, Result<Arc<Placement>, AdjudicatorError>> {
        let mut placement = Placement::even(2, NodeId(1));
        if let Some(epoch) = self.world.lock().unwrap().placement_epochs.pop_front() {
            placement.epoch = Epoch(epoch);
        }
        ready(Ok(Arc::new(placement)))
    }
    fn catalog(
        &self,
        since: CatalogVersion,
        _: CatalogVersion,
    ) -> BoxFuture<'_, Result<CatalogObjects, AdjudicatorError>> {
        let world = self.world.lock().unwrap();
        let changed = world.objects.iter().filter(|(_, (version, _))| *version > since.0);
        ready(Ok(CatalogObjects {
            version: CatalogVersion(world.catalog_version),
            complete: since.0 == 0,
            objects: changed.map(|(key, (version, value))| (key.clone(), *version, value.clone())).collect(),
        }))
    }
    fn allocate_ids(
        &self,
        _: TableId,
        count: u64,
        at_least: u64,
        increment: u64,
        _: u64,
    ) -> BoxFuture<'_, Result<IdRange, AdjudicatorError>> {
        let mut world = self.world.lock().unwrap();
        let first = (world.ids + 1).max(at_least);
        world.ids = first + (count - 1) * increment;
        ready(Ok(IdRange { first, count, increment }))
    }
    fn next_id(&self, _: TableId) -> BoxFuture<'_, Result<u64, AdjudicatorError>> {
        ready(Ok(self.world.lock().unwrap().ids + 1))
    }
    fn track_ranges(&self, table: TableId) -> BoxFuture<'_, Result<(), AdjudicatorError>> {
        self.world.lock().unwrap().tracked.insert(table);
        ready(Ok(()))
    }
    fn reserve<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        _: LockStrength,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<Reserved, AdjudicatorError>> {
        let mut world = self.world.lock().unwrap();
        if world.deadlocks {
            return ready(Ok(Reserved::Deadlock));
        }
        if world.reservations_hang {
            return Box::pin(std::future::pending());
        }
        let busy = keys.iter().any(|key| world.reserved.get(key).is_some_and(|held| *held != owner));
        if busy {
            return ready(Ok(if wait == LockWait::NoWait { Reserved::Busy } else { Reserved::TimedOut }));
        }
        for key in keys {
            world.reserved.insert(*key, owner);
        }
        let begun = Begun {
            snapshot_ts: world.now,
            catalog_version: CatalogVersion(world.catalog_version),
            placement_epoch: Epoch(1),
        };
        ready(Ok(Reserved::Granted { keys: keys.to_vec(), begun }))
    }
    fn release(&self, owner: TxnId) {
        let mut world = self.world.lock().unwrap();
        world.reserved.retain(|_, held| *held != owner);
        world.released.push(owner);
    }
    fn who(&self, obstacle: Obstacle) -> BoxFuture<'_, Result<Option<Winner>, AdjudicatorError>> {
        let mut world = self.world.lock().unwrap();
        world.who_asked += 1;
        ready(Ok(match obstacle {
            Obstacle::Held { keys, .. } => {
                let holder = keys.iter().find_map(|key| world.reserved.get(key));
                holder.map(|txn| Winner { txn: *txn, commit_ts: Timestamp::ZERO })
            }
            Obstacle::CommittedAt(commit_ts) => {
                world.committers.get(&commit_ts).map(|txn| Winner { txn: *txn, commit_ts })
            }
            Obstacle::Fence(_) | Obstacle::Object(_) => world.fenced_by,
        }))
    }
}

/// One shard: the keys whose slots it holds.
pub struct TestShard {
    id: ShardId,
    cluster: Arc<Cluster>,
}

impl TestShard {
    fn holds(&self, key: &Key, value: &Bytes) -> bool {
        if let Some(number) = ForeignBranch::number(key) {
            let (slot, _) = ForeignBranch::place(number);
            return Placement::even(2, NodeId(1)).shard_of(slot) == self.id;
        }
        let row = key::decode_row(&stock(), value).unwrap();
        Placement::even(2, NodeId(1)).shard_of(stock().row_slot(&row, key)) == self.id
    }
}

impl Shard for TestShard {
    fn id(&self) -> ShardId {
        self.id
    }
    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        ready(Ok(self.cluster.world.lock().unwrap().read(key, view.snapshot_ts)))
    }
    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        let world = self.cluster.world.lock().unwrap();
        ready(Ok(keys.iter().map(|key| world.read(key, view.snapshot_ts)).collect()))
    }
    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        let world = self.cluster.world.lock().unwrap();
        let mut rows: Vec<(Key, Bytes)> = world
            .rows
            .keys()
            .filter(|key| range.contains(key))
            .filter_map(|key| Some((key.clone(), world.read(key, view.snapshot_ts)?)))
            .filter(|(key, value)| self.holds(key, value))
            .collect();
        if direction == Direction::Reverse {
            rows.reverse();
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let rest = rows.last().filter(|_| more).map(|(last, _)| match direction {
            Direction::Forward => KeyRange::new(last.successor(), range.end.clone()),
            Direction::Reverse => KeyRange::new(range.start.clone(), last.clone()),
        });
        ready(Ok(ScanPage { rows, rest }))
    }
    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Vec<Option<Timestamp>>), ShardError>> {
        let mut world = self.cluster.world.lock().unwrap();
        world.newest_asked += 1;
        ready(Ok((world.now, keys.iter().map(|key| world.commits.get(key).copied()).collect())))
    }
    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        let world = self.cluster.world.lock().unwrap();
        let newest = world.commits.iter().filter(|(key, _)| range.contains(key)).map(|(_, ts)| *ts).max();
        ready(Ok((world.now, newest)))
    }
    fn prepare(
        &self,
        _: Option<ReplicaId>,
        txn: TxnId,
        _: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        let mutations = Arc::unwrap_or_clone(mutations);
        self.cluster.world.lock().unwrap().intents.entry(txn).or_default().extend(mutations);
        ready(Ok(Vote::Yes))
    }
    fn forget(&self, txn: TxnId) {
        self.cluster.world.lock().unwrap().intents.remove(&txn);
    }
}

impl ServerView for Cluster {
    fn processes(&self) -> Vec<ProcessInfo> {
        let process = |id| ProcessInfo {
            id,
            user: "root".into(),
            host: "127.0.0.1:1".into(),
            database: None,
            command: "Query",
            seconds: 0,
            state: "",
            statement: None,
        };
        vec![process(1), process(2)]
    }
    fn kill(&self, connection: u32, query_only: bool) -> bool {
        self.killed.lock().unwrap().push((connection, query_only));
        true
    }
    fn sleep(&self, _: u64) -> BoxFuture<'static, ()> {
        // Time stands still here.
        Box::pin(async {})
    }

    fn status(&self, _: u32) -> Vec<(String, String)> {
        Vec::new()
    }
    fn digests(&self) -> Vec<(String, u64, u64, u64, u64)> {
        Vec::new()
    }
    fn cluster(&self) -> Option<Arc<dyn ClusterView>> {
        Some(self.others.lock().unwrap().clone()?)
    }
}

pub const TABLE: TableId = TableId(7);

/// `shop.stock (id BIGINT PRIMARY KEY, v VARCHAR(20))`
pub fn stock() -> Table {
    let column = Column::plain;
    Table {
        id: TABLE,
        version: SchemaVersion(1),
        database: "shop".into(),
        name: "stock".into(),
        columns: vec![
            column(0, "id", SqlType::BIGINT, false),
            column(1, "v", SqlType::VarChar { length: 20, collation: Collation::UTF8MB4_0900_AI_CI }, true),
        ],
        next_column_id: 2,
        indexes: vec![Index {
            id: IndexId(0),
            name: "PRIMARY".into(),
            parts: vec![IndexPart { column: 0, prefix: None, descending: false }],
            unique: true,
            state: IndexState::Public,
            comment: "".into(),
            invisible: false,
        }],
        next_index_id: 1,
        hidden_row_id: false,
        sharding_column: Some(0),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        collation: Collation::UTF8MB4_0900_AI_CI,
        comment: "".into(),
        created_micros: 0,
        options: Vec::new(),
        view: None,
        foreign: None,
    }
}

pub fn row_key(id: i64) -> (Slot, Key) {
    let table = stock();
    let row = vec![Value::Int(id), Value::Null];
    let key = table.row_key(&row).unwrap();
    (table.row_slot(&row, &key), key)
}

/// An engine that knows `stock` by its primary key: INSERT … VALUES (id, v), UPDATE … SET v WHERE id =, DELETE …
/// WHERE id =, SELECT … [WHERE id =] [FOR UPDATE | FOR SHARE], and SELECT of values. Inserting the value `'boom'`
/// fails, and `'long'` is long work; `'server: statement'` runs the statement on the foreign server first. Updating to `'got'`, `'waits'`, `'given back'` or `'all given back'` does that with the named lock `job`, and
/// stores the answer. Updating to `'drawn'` stores a new id of the table; to `'taken'` says that the id 100 was given explicitly.
pub struct TestEngine;

fn value(expr: &Expr, params: &[Value], context: &dyn StatementContext) -> Value {
    match expr {
        Expr::Value(v) => match &v.value {
            ast::Value::Number(n, _) => Value::Int(n.parse().unwrap()),
            ast::Value::SingleQuotedString(s) => Value::text(s.clone()),
            ast::Value::Placeholder(p) => params[p[1..].parse::<usize>().unwrap()].clone(),
            ast::Value::Null => Value::Null,
            other => panic!("{other:?}"),
        },
        Expr::Identifier(ident) if ident.value.starts_with("@@") => {
            context.system_variable(&ident.value[2..], None).unwrap()
        }
        Expr::Identifier(ident) if ident.value.starts_with('@') => context.user_variable(&ident.value[1..]),
        Expr::Subquery(query) => {
            let ast::SetExpr::Select(select) = query.body.as_ref() else { panic!("SELECT") };
            match &select.projection[0] {
                ast::SelectItem::ExprWithAliases { expr, .. } => value(expr, params, context),
                other => panic!("{other:?}"),
            }
        }
        Expr::Nested(inner) => value(inner, params, context),
        Expr::Function(f) => match (f.name.to_string().to_uppercase().as_str(), &f.args) {
            ("LAST_INSERT_ID", _) => Value::UInt(context.last_insert_id()),
            ("FOUND_ROWS", _) => Value::UInt(context.found_rows()),
            ("ROW_COUNT", _) => Value::Int(context.row_count()),
            ("CONCAT", ast::FunctionArguments::List(list)) => {
                let texts = list.args.iter().map(|arg| match arg {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => {
                        match value(e, params, context) {
                            Value::Text(text) => text.as_str().to_owned(),
                            other => format!("{other:?}"),
                        }
                    }
                    other => panic!("{other:?}"),
                });
                Value::text(texts.collect::<String>())
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn id_of(selection: &Option<Expr>, params: &[Value], context: &dyn StatementContext) -> Option<i64> {
    match selection {
        Some(Expr::BinaryOp { right, .. }) => match value(right, params, context) {
            Value::Int(id) => Some(id),
            other => panic!("{other:?}"),
        },
        _ => None,
    }
}

fn column(name: &str) -> ResultColumn {
    ResultColumn {
        database: "".into(),
        table: "".into(),
        org_table: "".into(),
        name: name.into(),
        org_name: "".into(),
        sql_type: SqlType::BIGINT,
        nullable: true,
        flags: ColumnFlags::default(),
    }
}

/// `SELECT @@x` and the like.
fn is_without_table(statement: &Statement) -> bool {
    let Statement::Query(query) = statement else { return false };
    matches!(query.node.body.as_ref(), ast::SetExpr::Select(select) if select.from.is_empty())
}

async fn execute(
    statement: &Statement,
    params: &[Value],
    context: &mut dyn StatementContext,
    sink: &mut dyn ResultSink,
) -> Result<Executed, SqlError> {
    context.check_killed()?;
    let table = stock();
    let affected = |n| Executed::Affected { changed: n, matched: n, insert_id: 0, info: String::new() };
    if !is_without_table(statement) {
        context.transaction().use_table(TABLE, table.version);
    }
    match statement {
        Statement::Insert(insert) => {
            let InsertSource::Values(rows) = &insert.source else { panic!("only VALUES") };
            let mut count = 0;
            for values in rows {
                let values: Vec<Value> = values
                    .iter()
                    .map(|v| match v {
                        ValueExpr::Expr(expr) => value(expr, params, context),
                        ValueExpr::Default => Value::Null,
                    })
                    .collect();
                let Value::Int(id) = values[0] else { panic!("id") };
                if values[1] == Value::text("boom") {
                    return Err(SqlError::new(ErrorCode::DataTooLong, "boom"));
                }
                if values[1] == Value::text("long") {
                    context.begin_job("insert", "fills stock".to_owned()).end(Ok(()));
                }
                if let Value::Text(text) = &values[1]
                    && let Some((server, sql)) = text.as_str().split_once(": ")
                {
                    let statement =
                        ForeignStatement { sql, types: &[SqlType::BIGINT], writes: sql.starts_with("PUT") };
                    context.transaction().foreign(&foreign::server(server), statement).await?;
                }
                let (slot, key) = row_key(id);
                let txn = context.transaction();
                if txn.get(TABLE, slot, &key, ReadIntent::Check).await?.is_some() {
                    return Err(SqlError::new(ErrorCode::DuplicateEntry, format!("Duplicate entry '{id}'")));
                }
                txn.write(TABLE, Mutation::put(key, slot, row::encode(&table, &values)))?;
                count += 1;
            }
            Ok(affected(count))
        }
        Statement::Update(update) => {
            let id = id_of(&update.selection, params, context).unwrap();
            let ValueExpr::Expr(expr) = &update.assignments[0].value else { panic!("value") };
            let mut new = value(expr, params, context);
            if new == Value::text("counted") {
                // `@n := @n + 1`
                let Value::Int(n) = context.user_variable("n") else { panic!("a number") };
                context.set_user_variable("n", Value::Int(n + 1));
                new = Value::text((n + 1).to_string());
            }
            let call = match &new {
                Value::Text(text) if text.as_str() == "got" => {
                    Some(LockCall::Get { name: "job", timeout_micros: Some(0) })
                }
                Value::Text(text) if text.as_str() == "waits" => {
                    Some(LockCall::Get { name: "job", timeout_micros: None })
                }
                Value::Text(text) if text.as_str() == "given back" => Some(LockCall::Release { name: "job" }),
                Value::Text(text) if text.as_str() == "all given back" => Some(LockCall::ReleaseAll),
                _ => None,
            };
            if let Some(call) = call {
                let answer = context.named_lock(call).await?;
                new = Value::text(answer.map_or("NULL".to_owned(), |n| n.to_string()));
            }
            let (slot, key) = row_key(id);
            let txn = context.transaction();
            if new == Value::text("drawn") {
                new = Value::text(txn.allocate_ids(TABLE, 1).await?.first.to_string());
            } else if new == Value::text("taken") {
                txn.note_explicit_id(TABLE, 100);
            }
            let intent = ReadIntent::Update(LockMode::Optimistic);
            if txn.get(TABLE, slot, &key, intent).await?.is_none() {
                return Ok(affected(0));
            }
            let row = row::encode(&table, &[Value::Int(id), new]);
            txn.write(TABLE, Mutation::put(key, slot, row))?;
            Ok(affected(1))
        }
        Statement::Delete(delete) => {
            let id = id_of(&delete.selection, params, context).unwrap();
            let (slot, key) = row_key(id);
            context.transaction().write(TABLE, Mutation::delete(key, slot))?;
            Ok(affected(1))
        }
        Statement::Query(query) => {
            let ast::SetExpr::Select(select) = query.node.body.as_ref() else { panic!("SELECT") };
            if is_without_table(statement) {
                let row: Vec<Value> = select
                    .projection
                    .iter()
                    .map(|item| match item {
                        ast::SelectItem::UnnamedExpr(expr)
                        | ast::SelectItem::ExprWithAlias { expr, .. }
                        | ast::SelectItem::ExprWithAliases { expr, .. } => value(expr, params, context),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                sink.columns(&vec![column("c"); row.len()])?;
                sink.row(&row)?;
                return Ok(Executed::Rows { count: 1, found: 1 });
            }
            let intent = match query.node.locks.first() {
                Some(lock) => {
                    let mode = match lock.nonblock {
                        Some(ast::NonBlock::Nowait) => LockMode::NoWait,
                        Some(ast::NonBlock::SkipLocked) => LockMode::SkipLocked,
                        None => LockMode::Wait,
                    };
                    match lock.lock_type {
                        ast::LockType::Update => ReadIntent::Update(mode),
                        ast::LockType::Share => ReadIntent::Share(mode),
                    }
                }
                None => ReadIntent::Plain,
            };
            let mut values = Vec::new();
            match id_of(&select.selection, params, context) {
                Some(id) => {
                    let (slot, key) = row_key(id);
                    values.extend(context.transaction().get(TABLE, slot, &key, intent).await?);
                }
                None => {
                    let mut rest = Some(key::index_range(TABLE, IndexId(0)));
                    while let Some(range) = rest {
                        let request = ScanRequest {
                            table: TABLE,
                            range,
                            shards: ScanShards::All,
                            direction: Direction::Forward,
                            limit: 3,
                            intent,
                        };
                        let page = context.transaction().scan(request).await?;
                        values.extend(page.rows.into_iter().map(|(_, value)| value));
                        rest = page.rest;
                    }
                }
            }
            sink.columns(&[column("id"), column("v")])?;
            for value in &values {
                sink.row(&key::decode_row(&table, value).unwrap())?;
            }
            let count = values.len() as u64;
            Ok(Executed::Rows { count, found: count })
        }
        Statement::Show(_) => {
            let warnings = context.previous_warnings();
            sink.columns(&[column("Code")])?;
            for warning in &warnings {
                sink.row(&[Value::Int(i64::from(warning.code.errno()))])?;
            }
            Ok(Executed::Rows { count: warnings.len() as u64, found: warnings.len() as u64 })
        }
        Statement::CreateDatabase(create) => {
            let internal = context.begin_internal().await?;
            let catalog = internal.catalog();
            let mut builder = ChangeBuilder::new(&catalog);
            let id = builder.take_database_id();
            builder.put_database(&database(id, &create.name));
            let change = builder.finish();
            internal.commit(Some(change)).await?;
            let catalog = context.refresh_catalog().await?;
            assert!(catalog.database(&create.name).is_some());
            Ok(affected(1))
        }
        // Each piece of the file is an id.
        Statement::LoadData(load) => {
            sink.request_file(&load.file).await?;
            let mut count = 0;
            while let Some(part) = sink.file_part().await? {
                let id = std::str::from_utf8(&part).unwrap().parse().unwrap();
                let (slot, key) = row_key(id);
                let row = row::encode(&table, &[Value::Int(id), Value::text("loaded")]);
                context.transaction().write(TABLE, Mutation::put(key, slot, row))?;
                count += 1;
            }
            Ok(affected(count))
        }
        other => Err(SqlError::not_supported(format!("{other:?}"))),
    }
}

fn database(id: DatabaseId, name: &str) -> Database {
    Database { id, name: name.into(), collation: Collation::UTF8MB4_0900_AI_CI, tables: BTreeMap::new() }
}

impl QueryEngine for TestEngine {
    fn describe<'a>(
        &'a self,
        _: &'a Statement,
        _: &'a mut dyn StatementContext,
    ) -> BoxFuture<'a, Result<Described, SqlError>> {
        ready(Ok(Described { columns: vec![column("id"), column("v")] }))
    }
    fn execute<'a>(
        &'a self,
        statement: &'a Statement,
        _: u64,
        params: &'a [Value],
        context: &'a mut dyn StatementContext,
        sink: &'a mut dyn ResultSink,
    ) -> BoxFuture<'a, Result<Executed, SqlError>> {
        Box::pin(execute(statement, params, context, sink))
    }
}

fn registered() -> Registered {
    Registered { frontend: FrontendId(1), epoch: FrontendEpoch(1), hash_seed: SEED }
}

fn services_over(
    cluster: &Arc<Cluster>,
    clock: &Arc<TestClock>,
    identity: Registered,
    limits: Limits,
) -> Services {
    let shard = |n| -> (ShardId, Arc<dyn Shard>) {
        (ShardId(n), Arc::new(TestShard { id: ShardId(n), cluster: cluster.clone() }))
    };
    let mut services = Services::new(
        cluster.clone(),
        Arc::new(BTreeMap::from([shard(1), shard(2)])),
        Arc::new(TestEngine),
        clock.clone(),
        cluster.clone(),
        identity,
        Arc::new(Placement::even(2, NodeId(1))),
        limits,
    );
    services.foreign = Arc::new(cluster.outside.clone());
    services
}

/// Another frontend of this house's cluster, which is told another seed of hashes.
pub fn services_of(house: &House, hash_seed: u64) -> Services {
    let identity = Registered { frontend: FrontendId(2), hash_seed, ..registered() };
    services_over(&house.cluster, &house.clock, identity, Limits::default())
}

/// A frontend over a cluster of its own.
pub struct House {
    pub cluster: Arc<Cluster>,
    pub services: Arc<Services>,
    pub shared: Arc<Shared>,
    clock: Arc<TestClock>,
}

impl House {
    /// So much time passes.
    pub fn pass_millis(&self, millis: u64) {
        self.clock.micros.fetch_add(millis * 1000, Ordering::Relaxed);
    }

    pub fn new() -> Self {
        House::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let cluster = Arc::new(Cluster::default());
        {
            let mut world = cluster.world.lock().unwrap();
            world.now = Timestamp::from_millis(1_790_000_000_000);
            world.change(&bootstrap());
            let nothing = Catalog::default();
            let mut builder = ChangeBuilder::new(&nothing);
            builder.put_database(&database(DatabaseId(50), "shop")).put_table(&stock());
            let change = builder.finish();
            world.change(&change);
        }
        House::over(cluster, registered(), limits)
    }

    /// Another frontend of the same cluster.
    pub fn neighbour(&self, frontend: u32) -> Self {
        let identity = Registered { frontend: FrontendId(frontend), ..registered() };
        House::over(self.cluster.clone(), identity, Limits::default())
    }

    fn over(cluster: Arc<Cluster>, identity: Registered, limits: Limits) -> Self {
        let clock = Arc::new(TestClock::default());
        let services = Arc::new(services_over(&cluster, &clock, identity, limits));
        let globals = Arc::new(GlobalVariables::new([("version", Value::text("8.4.6-assize-test"))]));
        House { cluster, services, shared: Arc::new(Shared::new(globals)), clock }
    }

    pub fn session(&self) -> Client {
        self.session_of(1, Arc::default())
    }

    pub fn session_of(&self, connection: u32, kill: Arc<KillSwitch>) -> Client {
        self.login(connection, self.root(), kill)
    }

    pub fn root(&self) -> Arc<assize_catalog::User> {
        run(async {
            let begun = self.cluster.begin().await.unwrap();
            let catalog = self.services.catalog(begun.catalog_version).await.unwrap();
            catalog.authenticate("root", "localhost").unwrap().clone()
        })
    }

    pub fn session_for(&self, user: Arc<assize_catalog::User>) -> Client {
        self.login(3, user, Arc::default())
    }

    fn login(&self, connection: u32, user: Arc<assize_catalog::User>, kill: Arc<KillSwitch>) -> Client {
        let login = Login {
            connection,
            client_name: user.name.clone(),
            user,
            client_host: "localhost".into(),
            database: Some("shop".into()),
            collation: Some(Collation::UTF8MB4_0900_AI_CI),
            kill,
        };
        Client { session: Session::new(self.services.clone(), self.shared.clone(), login) }
    }

    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.cluster.world.lock().unwrap())
    }
}

/// Rows of a result.
#[derive(Default)]
pub struct Sink {
    pub columns: usize,
    pub rows: Vec<Vec<Value>>,
    /// What is left of the client's file.
    pub file: VecDeque<Bytes>,
    /// How often it has been asked for.
    pub asked: u32,
    /// The client sends nothing any more, and does not say that this was all.
    pub falls_silent: bool,
}

impl ResultSink for Sink {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.columns = columns.len();
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        self.rows.push(row.to_vec());
        Ok(())
    }
    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        ready(Ok(()))
    }
    fn request_file<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<(), SqlError>> {
        self.asked += 1;
        ready(Ok(()))
    }
    fn file_part(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        match self.file.pop_front() {
            None if self.falls_silent => Box::pin(std::future::pending()),
            part => ready(Ok(part)),
        }
    }
}

/// A session with a voice.
pub struct Client {
    pub session: Session,
}

impl Client {
    /// Runs a text; the rows of its last statement.
    pub fn try_sql(&mut self, text: &str) -> Result<Vec<Vec<Value>>, SqlError> {
        let mut sink = Sink::default();
        run(self.session.run_text(text, &mut sink))?;
        Ok(sink.rows)
    }

    pub fn sql(&mut self, text: &str) -> Vec<Vec<Value>> {
        self.try_sql(text).unwrap_or_else(|error| panic!("{text}: {} {error}", error.code.errno()))
    }

    pub fn fails(&mut self, text: &str) -> SqlError {
        self.try_sql(text).expect_err(text)
    }

    pub fn errno(&mut self, text: &str) -> u16 {
        self.fails(text).code.errno()
    }

    /// `id=v` of every row of the table, in order.
    pub fn table(&mut self) -> String {
        show(&self.sql("SELECT * FROM stock"))
    }
}

pub fn show(rows: &[Vec<Value>]) -> String {
    let shown: Vec<String> = rows
        .iter()
        .map(|row| match (&row[0], &row[1]) {
            (Value::Int(id), Value::Text(v)) => format!("{id}={}", v.as_str()),
            (id, v) => format!("{id:?}={v:?}"),
        })
        .collect();
    shown.join(" ")
}
