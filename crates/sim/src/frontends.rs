//! The hands of frontends: clients that run transactions, and their coordinators.

use crate::adjudicators::HASH_SEED;
use crate::history::{History, Observed, Told, Transaction};
use crate::net::{Actor, Asked, Asker, Event, Message, Net};
use crate::scenario::Scenario;
use crate::shards::Place;
use crate::workload::{self, Plan, REGISTERS};
use crate::world::settles_at;
use assize_adjudicator::EncodedFootprint;
use assize_adjudicator::command::{Acknowledgement, SnapshotReport};
use assize_coordinator::{Answer, Coordinator, Effect, Event as Heard, Newest, Options, Request, Write};
use assize_model::*;
use assize_mvcc::Prepare;
use assize_replica::ReadRefusal;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long a client waits for an answer before it asks again.
const PATIENCE: u64 = 250;
/// How often it asks before it gives up.
const ATTEMPTS_MAX: usize = 25;
/// Transactions that every client must still finish after the world has healed.
pub const AFTER_HEALING: usize = 2;

/// A part of a statement: one key, or a range on one shard.
struct Part {
    read: usize,
    asked: Asked,
    shard: ShardId,
    rows: Option<Vec<(Key, Bytes)>>,
}

/// A question about what the conflict window has forgotten.
struct Doubt {
    about: About,
    asked: Asked,
    shard: ShardId,
    newest: Option<Newest>,
}

#[derive(Clone, Copy)]
enum About {
    Key(KeyHash),
    Range((u32, u32)),
}

enum Stage {
    Idle,
    Beginning {
        floor: Timestamp,
    },
    /// A statement reads, all of it by one placement.
    Reading {
        parts: Vec<Part>,
        routed_by: Arc<Placement>,
    },
    Committing {
        coordinator: Box<Coordinator>,
        doubts: Vec<Doubt>,
        footprint: Option<Box<Footprint>>,
    },
}

/// A transaction on its way.
struct Running {
    id: u64,
    plan: Plan,
    /// Its place in the history.
    record: usize,
    statement: usize,
    snapshots: Vec<Timestamp>,
    schema: SchemaVersion,
    catalog: CatalogVersion,
    rows: Vec<BTreeMap<Key, Bytes>>,
}

struct Client {
    question: u64,
    attempts: usize,
    stage: Stage,
    running: Option<Running>,
    begun: usize,
    finished: usize,
}

struct Frontend {
    is_up: bool,
    life: u64,
    nonce: u64,
    epoch: Option<FrontendEpoch>,
    /// A timestamp that it has seen, and when: what its own clock counts from.
    known: (Timestamp, u64),
    /// The newest timestamp that it has seen: no later begin gets an older one.
    seen: Timestamp,
    sequence: u64,
    /// Ids whose outcome may still be asked for.
    open: BTreeSet<u64>,
    /// The node of the adjudicator that it thinks leads.
    guess: usize,
    placement: Arc<Placement>,
    clients: Vec<Client>,
}

/// All frontends.
pub struct Frontends {
    frontends: Vec<Frontend>,
    scenario: Scenario,
    next_id: u64,
    is_healed: bool,
}

impl Frontends {
    /// Frontends that ask for their first life.
    pub fn new(scenario: &Scenario, placement: &Arc<Placement>, net: &mut Net) -> Self {
        let client =
            || Client { question: 0, attempts: 0, stage: Stage::Idle, running: None, begun: 0, finished: 0 };
        let mut all = Frontends {
            frontends: (0..scenario.frontends)
                .map(|_| Frontend {
                    is_up: false,
                    life: 0,
                    nonce: 0,
                    epoch: None,
                    known: (Timestamp::ZERO, 0),
                    seen: Timestamp::ZERO,
                    sequence: 0,
                    open: BTreeSet::new(),
                    guess: 0,
                    placement: placement.clone(),
                    clients: (0..scenario.clients).map(|_| client()).collect(),
                })
                .collect(),
            scenario: scenario.clone(),
            next_id: 0,
            is_healed: false,
        };
        for at in 0..scenario.frontends {
            net.after(3 + at as u64, Event::Tick(Actor::Frontend(at)));
            all.restart(at, net);
        }
        all
    }

    /// How many frontends there are.
    pub fn len(&self) -> usize {
        self.frontends.len()
    }

    /// From now on clients finish a few more transactions, and stop.
    pub fn heal(&mut self) {
        self.is_healed = true;
        for client in self.frontends.iter_mut().flat_map(|frontend| &mut frontend.clients) {
            client.begun = 0;
            client.finished = 0;
        }
    }

    /// Whether every client has finished what it had to after healing.
    pub fn unfinished(&self) -> Vec<String> {
        let mut unfinished = Vec::new();
        for (f, frontend) in self.frontends.iter().enumerate() {
            for (c, client) in frontend.clients.iter().enumerate() {
                if client.finished < AFTER_HEALING {
                    let stage = match &client.stage {
                        Stage::Idle => "idle".to_string(),
                        Stage::Beginning { .. } => "beginning".to_string(),
                        Stage::Reading { .. } => "reading".to_string(),
                        Stage::Committing { coordinator, .. } => {
                            format!("committing {:?}", coordinator.txn())
                        }
                    };
                    unfinished.push(format!("client {f}.{c} is {stage}"));
                }
            }
        }
        unfinished
    }

    /// A frontend dies with all its sessions.
    pub fn crash(&mut self, at: usize, net: &mut Net, history: &mut History) {
        let frontend = &mut self.frontends[at];
        if !frontend.is_up {
            return;
        }
        frontend.is_up = false;
        frontend.life += 1;
        for client in &mut frontend.clients {
            client.stage = Stage::Idle;
            client.running = None;
            // What died with its frontend is begun again.
            client.begun = client.begun.min(client.finished);
        }
        history.live.retain(|(frontend, _), _| *frontend != at);
        let back = net.random.between(100, 2_500);
        net.after(back, Event::Restart(Actor::Frontend(at)));
    }

    /// A frontend begins a new life.
    pub fn restart(&mut self, at: usize, net: &mut Net) {
        let nonce = net.random.any();
        let frontend = &mut self.frontends[at];
        if frontend.is_up {
            return;
        }
        frontend.is_up = true;
        frontend.life += 1;
        frontend.nonce = nonce;
        frontend.epoch = None;
        frontend.sequence = 0;
        frontend.open.clear();
        self.ask_for_life(at, net);
        for client in 0..self.frontends[at].clients.len() {
            let wait = net.random.between(20, 200);
            self.due(at, client, wait, net);
        }
    }

    fn ask_for_life(&mut self, at: usize, net: &mut Net) {
        let frontend = &mut self.frontends[at];
        frontend.guess = net.some_node();
        let to = Actor::Adjudicator(frontend.guess);
        net.send(Actor::Frontend(at), to, Message::Grant { frontend: at, nonce: frontend.nonce });
    }

    /// The client's present question, and a moment at which it will have waited long enough.
    fn due(&mut self, at: usize, client: usize, millis: u64, net: &mut Net) -> Asker {
        let frontend = &mut self.frontends[at];
        let asker = Asker { frontend: at, client, question: frontend.clients[client].question };
        net.after(millis, Event::ClientDue { asker, life: frontend.life });
        asker
    }

    fn ask_leader(&mut self, at: usize, message: Message, net: &mut Net) {
        let to = Actor::Adjudicator(self.frontends[at].guess);
        net.send(Actor::Frontend(at), to, message);
    }

    /// The adjudicator's time as far as this frontend can tell.
    fn now(&self, at: usize, net: &Net) -> Timestamp {
        let (known, since) = self.frontends[at].known;
        known.later(std::time::Duration::from_millis(net.now - since))
    }

    fn learn(&mut self, at: usize, ts: Timestamp, net: &Net) {
        self.frontends[at].seen = self.frontends[at].seen.max(ts);
        if ts > self.now(at, net) {
            self.frontends[at].known = (ts, net.now);
        }
    }

    /// A frontend's clock strikes: it reports its oldest snapshot and acknowledges outcomes.
    pub fn tick(&mut self, at: usize, net: &mut Net) {
        net.after(400, Event::Tick(Actor::Frontend(at)));
        if !self.frontends[at].is_up {
            return;
        }
        let Some(epoch) = self.frontends[at].epoch else { return self.ask_for_life(at, net) };
        let id = FrontendId(at as u32 + 1);
        let frontend = &self.frontends[at];
        let held = frontend.clients.iter().filter_map(|client| match (&client.stage, &client.running) {
            // A begin on its way will get nothing older than what was known when it was sent.
            (Stage::Beginning { floor }, Some(running)) => {
                Some(running.snapshots.iter().copied().min().unwrap_or(*floor).min(*floor))
            }
            (Stage::Idle, _) | (_, None) => None,
            (_, Some(running)) => running.snapshots.iter().copied().min(),
        });
        // What it has seen, not what it thinks the time is: the next begin may be answered by a slower clock.
        let oldest = held.min().unwrap_or(frontend.seen);
        let is_idle = frontend.clients.iter().all(|client| client.running.is_none());
        let below = frontend.open.first().copied().unwrap_or(frontend.sequence + 1);
        let report = SnapshotReport { frontend: id, epoch, oldest };
        if is_idle {
            // Reports have no answer, so whoever asks nothing else would go on talking to a node that does not lead.
            self.frontends[at].guess = net.next_node(self.frontends[at].guess);
        }
        if net.now < settles_at(&self.scenario) {
            self.ask_leader(at, Message::Report(report), net);
        }
        self.ask_leader(at, Message::Acknowledge(Acknowledgement { frontend: id, epoch, below }), net);
    }

    /// A client has waited long enough, or may begin its next transaction.
    pub fn client_due(&mut self, asker: Asker, life: u64, net: &mut Net, history: &mut History) {
        let Asker { frontend: at, client: c, question } = asker;
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        if frontend.life != life || client.question != question {
            return;
        }
        client.attempts += 1;
        if !matches!(client.stage, Stage::Idle) && client.attempts > ATTEMPTS_MAX {
            // The client gives up and rolls back. Nothing was sent, so there is nothing to find out.
            return self.finish(at, c, None, net, history);
        }
        match &client.stage {
            Stage::Idle => {
                let most = if self.is_healed { AFTER_HEALING } else { self.scenario.txns_max };
                if client.begun >= most || frontend.epoch.is_none() {
                    self.due(at, c, PATIENCE, net);
                    return;
                }
                client.begun += 1;
                self.next_id += 1;
                let plan = Plan::draw(&mut net.random, &self.scenario.mix, self.next_id);
                let record = history.txns.len();
                history.txns.push(Transaction {
                    kind: plan.kind.name(),
                    asked_at: net.now,
                    ids: Vec::new(),
                    reads: Vec::new(),
                    writes: Vec::new(),
                    schema: None,
                    told: None,
                });
                client.running = Some(Running {
                    id: self.next_id,
                    rows: vec![BTreeMap::new(); plan.statements.len()],
                    plan,
                    record,
                    statement: 0,
                    snapshots: Vec::new(),
                    schema: SchemaVersion(0),
                    catalog: CatalogVersion(0),
                });
                self.begin(at, c, net);
            }
            Stage::Beginning { .. } => {
                self.frontends[at].guess = net.some_node();
                let asker = self.due(at, c, PATIENCE, net);
                self.ask_leader(at, Message::Begin(asker), net);
            }
            Stage::Reading { routed_by, .. } if routed_by.epoch < frontend.placement.epoch => {
                self.run_statement(at, c, net, history);
            }
            Stage::Reading { .. } => {
                // Some part was not answered: perhaps by another placement, or another replica.
                let asker = self.due(at, c, PATIENCE, net);
                self.ask_leader(at, Message::AskPlacement(asker), net);
                self.send_reads(at, c, net);
            }
            Stage::Committing { .. } => {}
        }
    }

    fn begin(&mut self, at: usize, c: usize, net: &mut Net) {
        let floor = self.frontends[at].seen;
        let client = &mut self.frontends[at].clients[c];
        client.question += 1;
        client.attempts = 0;
        client.stage = Stage::Beginning { floor };
        let asker = self.due(at, c, PATIENCE, net);
        self.ask_leader(at, Message::Begin(asker), net);
    }

    /// A statement begins at a snapshot.
    fn run_statement(&mut self, at: usize, c: usize, net: &mut Net, history: &mut History) {
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        let running = client.running.as_mut().expect("a statement runs in a transaction");
        let mut parts = Vec::new();
        for (i, read) in running.plan.statements[running.statement].iter().enumerate() {
            match &read.asked {
                Asked::Key(key) => parts.push(Part {
                    read: i,
                    asked: read.asked.clone(),
                    shard: frontend.placement.shard_of(workload::slot_of(key)),
                    rows: None,
                }),
                Asked::Range(_) => parts.extend(frontend.placement.shards.keys().map(|shard| Part {
                    read: i,
                    asked: read.asked.clone(),
                    shard: *shard,
                    rows: None,
                })),
            }
        }
        client.question += 1;
        client.attempts = 0;
        let is_empty = parts.is_empty();
        client.stage = Stage::Reading { parts, routed_by: frontend.placement.clone() };
        if is_empty {
            return self.statement_done(at, c, net, history);
        }
        self.due(at, c, PATIENCE, net);
        self.send_reads(at, c, net);
    }

    fn send_reads(&mut self, at: usize, c: usize, net: &mut Net) {
        let frontend = &self.frontends[at];
        let client = &frontend.clients[c];
        let (Stage::Reading { parts, routed_by }, Some(running)) = (&client.stage, &client.running) else {
            return;
        };
        let snapshot_ts = *running.snapshots.last().expect("a statement has a snapshot");
        let asker = Asker { frontend: at, client: c, question: client.question };
        for (i, part) in parts.iter().enumerate().filter(|(_, part)| part.rows.is_none()) {
            let Some(epoch) = routed_by.shard_epoch(part.shard) else { continue };
            let Some(replica) = some_replica(routed_by, part.shard, net) else { continue };
            let asked = part.asked.clone();
            let read = Message::Read { asker, part: i, asked, snapshot_ts, epoch };
            net.send(Actor::Frontend(at), Actor::Replica(replica), read);
        }
    }

    fn statement_done(&mut self, at: usize, c: usize, net: &mut Net, history: &mut History) {
        let client = &mut self.frontends[at].clients[c];
        let Some(running) = &mut client.running else { return };
        let Stage::Reading { parts, .. } = std::mem::replace(&mut client.stage, Stage::Idle) else { return };
        let snapshot_ts = *running.snapshots.last().expect("a statement has a snapshot");
        for (i, read) in running.plan.statements[running.statement].iter().enumerate() {
            let mut rows: Vec<(Key, Bytes)> = parts
                .iter()
                .filter(|part| part.read == i)
                .filter_map(|part| part.rows.clone())
                .flatten()
                .collect();
            rows.sort();
            if let Some(twice) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                let what = format!("at {snapshot_ts} two shards show {:?}", twice[0].0);
                history.wrong("a_snapshot_reads_the_same_until_gc", what);
            }
            running.rows[running.statement].extend(rows.iter().cloned());
            let range = match &read.asked {
                Asked::Key(key) => KeyRange::point(key.clone()),
                Asked::Range(range) => range.clone(),
            };
            let is_checked = read.is_checked;
            history.txns[running.record].reads.push(Observed { snapshot_ts, range, rows, is_checked });
        }
        running.statement += 1;
        if running.statement < running.plan.statements.len() {
            if running.plan.is_read_committed() {
                return self.begin(at, c, net);
            }
            return self.run_statement(at, c, net, history);
        }
        self.commit(at, c, net, history);
    }

    fn commit(&mut self, at: usize, c: usize, net: &mut Net, history: &mut History) {
        let now = self.now(at, net);
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        let running = client.running.as_ref().expect("a commit is of a transaction");
        let writes = running.plan.writes(running.id, &running.rows);
        let record = &mut history.txns[running.record];
        if writes.is_empty() {
            // Nothing to commit: a read-only transaction just ends.
            return self.finish(at, c, None, net, history);
        }
        let snapshot_of = |statement: usize| running.snapshots[statement.min(running.snapshots.len() - 1)];
        let mut groups: BTreeMap<Timestamp, AccessGroup> = BTreeMap::new();
        let mut request = Request::default();
        for (statement, mutation) in writes {
            let snapshot_ts = snapshot_of(statement);
            let hash = mutation.key.hash(HASH_SEED);
            groups.entry(snapshot_ts).or_default().checked.push(hash);
            record.writes.push((snapshot_ts, mutation.clone()));
            request.writes.push(Write { table: workload::table_of(&mutation.key), hash, mutation });
        }
        for (statement, reads) in running.plan.statements.iter().enumerate() {
            for read in reads.iter().filter(|read| read.is_checked) {
                let group = groups.entry(snapshot_of(statement)).or_default();
                match &read.asked {
                    Asked::Key(key) => group.checked.push(key.hash(HASH_SEED)),
                    Asked::Range(range) => {
                        let table = workload::table_of(&range.start);
                        group.ranges.push(TableRange { table, range: range.clone() });
                    }
                }
            }
        }
        request.groups = groups
            .into_iter()
            .map(|(snapshot_ts, mut group)| {
                group.snapshot_ts = snapshot_ts;
                group.checked.sort();
                group.checked.dedup();
                group
            })
            .collect();
        let tables: BTreeSet<TableId> = request.writes.iter().map(|write| write.table).collect();
        for table in tables {
            let version = if table == REGISTERS { running.schema } else { SchemaVersion(1) };
            request.schemas.push((table, version));
        }
        if running.plan.uses_registers() {
            record.schema = Some((REGISTERS, running.schema));
        }
        if matches!(running.plan.kind, workload::Kind::ChangeSchema) {
            let next = SchemaVersion(running.schema.0 + 1);
            let object = Bytes::from(next.0.to_string().into_bytes());
            // Its author saw the catalog at this version; version 1 is what there is without an object.
            let expected = if running.schema.0 == 1 { 0 } else { running.catalog.0 };
            request.catalog_change = Some(CatalogChange {
                expects: vec![(workload::REGISTERS_OBJECT.into(), expected)],
                objects: vec![(workload::REGISTERS_OBJECT.into(), Some(object))],
                fences: vec![Fence { table: REGISTERS, min_version: next }],
                counters: Vec::new(),
            });
        }
        let is_prepared = net.random.chance(self.scenario.prepared);
        let class = match is_prepared && net.random.chance(self.scenario.short_deadline) {
            true => DeadlineClass::Xa,
            false => DeadlineClass::Normal,
        };
        let at_record = running.record;
        let txn = frontend.draw(at, now, class);
        history.txns[at_record].ids.push(txn);
        client_question(&mut frontend.clients[c]);
        let options =
            Options { disabled_rules: self.scenario.without_in_coordinator.clone(), ..Options::default() };
        let mut effects = Vec::new();
        let coordinator = if is_prepared {
            let placement = frontend.placement.clone();
            Coordinator::commit_prepared(now, txn, request, &placement, options, &mut effects)
        } else {
            Coordinator::commit_inline(now, txn, request, options, &mut effects)
        };
        frontend.clients[c].stage =
            Stage::Committing { coordinator: Box::new(coordinator), doubts: Vec::new(), footprint: None };
        self.carry_out(at, c, effects, net, history);
    }

    /// Tells a coordinator something.
    fn tell(&mut self, at: usize, c: usize, heard: Heard, net: &mut Net, history: &mut History) {
        let now = self.now(at, net);
        let client = &mut self.frontends[at].clients[c];
        let Stage::Committing { coordinator, .. } = &mut client.stage else { return };
        let mut effects = Vec::new();
        coordinator.step(now, heard, &mut effects);
        self.carry_out(at, c, effects, net, history);
    }

    fn carry_out(&mut self, at: usize, c: usize, effects: Vec<Effect>, net: &mut Net, history: &mut History) {
        let from = Actor::Frontend(at);
        let mut effects: VecDeque<Effect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            let now = self.now(at, net);
            let frontend = &mut self.frontends[at];
            let life = frontend.life;
            let client = &mut frontend.clients[c];
            let asker = Asker { frontend: at, client: c, question: client.question };
            let Stage::Committing { coordinator, doubts, footprint: sent } = &mut client.stage else {
                return;
            };
            match effect {
                Effect::SendPrepare { to, txn, epoch, mutations } => {
                    let Some(replica) = to.replica else { continue };
                    let prepare = Prepare { txn, epoch, mutations: (*mutations).clone() };
                    let to = Actor::Replica(Place::at(to.shard, replica));
                    net.send(from, to, Message::Prepare(asker, prepare));
                }
                Effect::HintAbort { to, txn } => {
                    let Some(replica) = to.replica else { continue };
                    net.send(from, Actor::Replica(Place::at(to.shard, replica)), Message::HintAbort(txn));
                }
                Effect::SendCommit { footprint } => {
                    let encoded = EncodedFootprint::new(&footprint).expect("a footprint of ours makes sense");
                    *sent = Some(footprint);
                    self.ask_leader(at, Message::Commit(asker, encoded), net);
                    // Without an answer the next one tries another node.
                    if net.random.chance(300) {
                        self.frontends[at].guess = net.some_node();
                    }
                }
                Effect::AskOutcome { txn, resolve } => {
                    self.ask_leader(at, Message::AskOutcome(asker, txn, resolve), net);
                    self.frontends[at].guess = net.some_node();
                }
                Effect::DrawTxn => {
                    let class = coordinator.txn().class();
                    let record = client.running.as_ref().expect("a commit is of a transaction").record;
                    let txn = frontend.draw(at, now, class);
                    history.txns[record].ids.push(txn);
                    let mut more = Vec::new();
                    let Stage::Committing { coordinator, .. } = &mut frontend.clients[c].stage else {
                        return;
                    };
                    coordinator.step(now, Heard::TxnDrawn(txn), &mut more);
                    effects.extend(more);
                }
                Effect::AskPlacement => self.ask_leader(at, Message::AskPlacement(asker), net),
                Effect::AskNewest { keys, ranges, at_least, .. } => {
                    client.question += 1;
                    let question = client.question;
                    let running = client.running.as_ref().expect("a commit is of a transaction");
                    let Some(footprint) = sent else { continue };
                    *doubts = list_doubts(&keys, &ranges, footprint, running, &frontend.placement);
                    let asker = Asker { question, ..asker };
                    for (i, doubt) in doubts.iter().enumerate() {
                        let Some(epoch) = frontend.placement.shard_epoch(doubt.shard) else { continue };
                        let Some(some) = some_replica(&frontend.placement, doubt.shard, net) else {
                            continue;
                        };
                        let to = Actor::Replica(some);
                        let asked = doubt.asked.clone();
                        let ask = Message::AskNewest { asker, part: i, asked, at_least, epoch };
                        net.send(from, to, ask);
                    }
                    // The epochs may be old ones.
                    self.ask_leader(at, Message::AskPlacement(asker), net);
                }
                Effect::SetTimer { timer, after } => {
                    let after = after.as_millis() as u64;
                    net.after(after, Event::TimerFired { asker, life, timer });
                }
                Effect::Acknowledge { txn } => drop(frontend.open.remove(&txn.sequence())),
                Effect::Answer(answer) => {
                    let is_fenced = matches!(answer, Answer::Aborted(AbortReason::FrontendFenced { .. }));
                    let told = match answer {
                        Answer::Committed { txn, commit_ts } => {
                            self.learn(at, commit_ts, net);
                            Told::Committed(txn, commit_ts)
                        }
                        Answer::Aborted(_) | Answer::NotProposed(_) => Told::Aborted,
                        Answer::Unknown { .. } => Told::Unknown,
                    };
                    self.finish(at, c, Some(told), net, history);
                    if is_fenced {
                        // Somebody thinks this frontend dead: it begins again.
                        self.crash(at, net, history);
                    }
                    return;
                }
            }
        }
    }

    fn finish(&mut self, at: usize, c: usize, told: Option<Told>, net: &mut Net, history: &mut History) {
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        client.stage = Stage::Idle;
        client.question += 1;
        client.attempts = 0;
        client.finished += 1;
        if let Some(running) = client.running.take() {
            let record = &mut history.txns[running.record];
            for txn in &record.ids {
                frontend.open.remove(&txn.sequence());
            }
            record.told = told.map(|told| (net.now, told));
            if record.told.is_some() {
                history.effects_until_told.get_or_insert(net.effects);
            }
        }
        history.live.remove(&(at, c));
        let wait = net.random.between(5, 250);
        self.due(at, c, wait, net);
    }

    /// A coordinator's timer fires.
    pub fn timer_fired(
        &mut self,
        asker: Asker,
        life: u64,
        timer: assize_coordinator::Timer,
        net: &mut Net,
        history: &mut History,
    ) {
        let frontend = &self.frontends[asker.frontend];
        // Questions within one commit have rising numbers; a timer of an earlier commit names an earlier timer.
        let is_same = matches!(&frontend.clients[asker.client].stage, Stage::Committing { .. });
        if frontend.life == life && is_same && asker.question <= frontend.clients[asker.client].question {
            self.tell(asker.frontend, asker.client, Heard::TimerFired(timer), net, history);
        }
    }

    /// A message for a frontend.
    pub fn receive(&mut self, at: usize, message: Message, net: &mut Net, history: &mut History) {
        if !self.frontends[at].is_up {
            return;
        }
        match message {
            Message::Granted { epoch, nonce, now } => {
                let frontend = &mut self.frontends[at];
                if frontend.nonce == nonce && frontend.epoch.is_none() {
                    frontend.epoch = Some(epoch);
                    self.learn(at, now, net);
                }
            }
            Message::NotLeader(asker) => {
                self.frontends[at].guess = net.some_node();
                let client = &mut self.frontends[at].clients[asker.client];
                if client.question == asker.question && matches!(client.stage, Stage::Beginning { .. }) {
                    // Another question: were the same asked again, an answer that arrives twice would ask twice, and
                    // while nobody leads there would be ever more of them.
                    client.question += 1;
                    let asker = self.due(at, asker.client, PATIENCE, net);
                    self.ask_leader(at, Message::Begin(asker), net);
                }
            }
            Message::Begun(asker, begin, version, placement) => {
                let frontend = &mut self.frontends[at];
                let client = &mut frontend.clients[asker.client];
                let is_waiting =
                    client.question == asker.question && matches!(client.stage, Stage::Beginning { .. });
                let (true, Some(running)) = (is_waiting, &mut client.running) else { return };
                running.snapshots.push(begin.snapshot_ts);
                if running.snapshots.len() == 1 {
                    running.schema = version;
                    running.catalog = begin.catalog_version;
                }
                if placement.epoch > frontend.placement.epoch {
                    frontend.placement = placement;
                }
                let epoch = frontend.epoch.unwrap_or_default();
                let oldest = running.snapshots[0];
                history.live.insert((at, asker.client), (epoch, oldest));
                self.learn(at, begin.snapshot_ts, net);
                self.run_statement(at, asker.client, net, history);
            }
            Message::PlacementIs(asker, placement) => {
                let frontend = &mut self.frontends[at];
                if placement.epoch > frontend.placement.epoch {
                    frontend.placement = placement.clone();
                    let client = &frontend.clients[asker.client];
                    if matches!(client.stage, Stage::Reading { .. }) && client.question == asker.question {
                        return self.run_statement(at, asker.client, net, history);
                    }
                }
                if matches!(frontend.clients[asker.client].stage, Stage::Committing { .. })
                    && frontend.clients[asker.client].question >= asker.question
                {
                    let placement = frontend.placement.clone();
                    self.tell(at, asker.client, Heard::PlacementArrived(placement), net, history);
                }
            }
            Message::Rows { asker, part, rows } => {
                let client = &mut self.frontends[at].clients[asker.client];
                let Stage::Reading { parts, .. } = &mut client.stage else { return };
                if client.question != asker.question {
                    return;
                }
                match rows {
                    Ok(rows) => {
                        parts[part].rows.get_or_insert(rows);
                        if parts.iter().all(|part| part.rows.is_some()) {
                            self.statement_done(at, asker.client, net, history);
                        }
                    }
                    Err(ReadRefusal::SnapshotTooOld { .. }) => {
                        self.finish(at, asker.client, None, net, history)
                    }
                    // Asked again, with a newer placement or elsewhere, when the client has waited long enough.
                    Err(ReadRefusal::StaleEpoch { .. } | ReadRefusal::Unavailable) => {}
                }
            }
            Message::Vote(asker, txn, voter, vote) => {
                self.tell(at, asker.client, Heard::Voted { voter, txn, vote }, net, history);
            }
            Message::Decided(asker, txn, decision) => {
                self.tell(at, asker.client, Heard::Decided { txn, decision }, net, history);
            }
            Message::ReplyLost(asker, txn) => {
                self.tell(at, asker.client, Heard::ReplyLost { txn }, net, history);
            }
            Message::TurnedAway(asker, txn) => {
                self.frontends[at].guess = net.some_node();
                self.tell(at, asker.client, Heard::NotProposed { txn }, net, history);
            }
            Message::OutcomeIs(asker, txn, outcome) => {
                self.tell(at, asker.client, Heard::OutcomeAnswered { txn, outcome }, net, history);
            }
            Message::NewestIs { asker, part, newest } => {
                let client = &mut self.frontends[at].clients[asker.client];
                let Stage::Committing { coordinator, doubts, .. } = &mut client.stage else { return };
                if client.question != asker.question || part >= doubts.len() {
                    return;
                }
                doubts[part].newest = doubts[part].newest.or(newest);
                if doubts.iter().all(|doubt| doubt.newest.is_some()) {
                    let txn = coordinator.txn();
                    let heard = settle(txn, doubts);
                    self.tell(at, asker.client, heard, net, history);
                }
            }
            _ => {}
        }
    }
}

fn client_question(client: &mut Client) {
    client.question += 1;
    client.attempts = 0;
}

impl Frontend {
    fn draw(&mut self, at: usize, now: Timestamp, class: DeadlineClass) -> TxnId {
        self.sequence += 1;
        self.open.insert(self.sequence);
        let epoch = self.epoch.expect("a frontend commits only in a life");
        TxnId::new(now, class, FrontendId(at as u32 + 1), epoch, self.sequence)
    }
}

/// One of a shard's replicas.
fn some_replica(placement: &Placement, shard: ShardId, net: &mut Net) -> Option<usize> {
    let replicas: Vec<ReplicaId> = placement.shards.get(&shard)?.replicas.keys().copied().collect();
    Some(Place::at(shard, *net.random.pick(&replicas)))
}

/// What is to be asked of which shard.
fn list_doubts(
    keys: &[KeyHash],
    ranges: &[(u32, u32)],
    footprint: &Footprint,
    running: &Running,
    placement: &Placement,
) -> Vec<Doubt> {
    let mut known: BTreeMap<KeyHash, Key> = BTreeMap::new();
    for read in running.plan.statements.iter().flatten() {
        if let Asked::Key(key) = &read.asked {
            known.insert(key.hash(HASH_SEED), key.clone());
        }
    }
    for (_, mutation) in running.plan.writes(running.id, &running.rows) {
        known.insert(mutation.key.hash(HASH_SEED), mutation.key);
    }
    let mut doubts = Vec::new();
    for hash in keys {
        let Some(key) = known.get(hash) else { continue };
        doubts.push(Doubt {
            about: About::Key(*hash),
            asked: Asked::Key(key.clone()),
            shard: placement.shard_of(workload::slot_of(key)),
            newest: None,
        });
    }
    for (group, range) in ranges {
        let range_of = footprint.groups.get(*group as usize).and_then(|g| g.ranges.get(*range as usize));
        let Some(range_of) = range_of else { continue };
        doubts.extend(placement.shards.keys().map(|shard| Doubt {
            about: About::Range((*group, *range)),
            asked: Asked::Range(range_of.range.clone()),
            shard: *shard,
            newest: None,
        }));
    }
    doubts
}

/// Puts the shards' answers together: a range's newest commit is the newest on any shard, and it is vouched for only as far
/// as the slowest shard goes.
fn settle(txn: TxnId, doubts: &[Doubt]) -> Heard {
    let mut keys = Vec::new();
    let mut ranges: BTreeMap<(u32, u32), Newest> = BTreeMap::new();
    for doubt in doubts {
        let Some(newest) = doubt.newest else { continue };
        match doubt.about {
            About::Key(hash) => keys.push((hash, newest)),
            About::Range(place) => {
                let all = ranges.entry(place).or_insert(newest);
                all.newest = all.newest.max(newest.newest);
                all.as_of = all.as_of.min(newest.as_of);
            }
        }
    }
    Heard::NewestAnswered { txn, keys, ranges: ranges.into_iter().collect() }
}
