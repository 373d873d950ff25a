//! The hands of frontends: lives, clients that run one plan after the other, and the carrying of their sessions' questions.
//!
//! A client is a future, polled when something it waits for has come. What its session asks for becomes messages; who gets no
//! answer asks the next node or replica, and in the end there is an answer, if only that nobody could be asked.

use crate::adjudicators::HASH_SEED;
use crate::client::{self, Style};
use crate::desk::{Answer, Ask, Desk, Note, Said};
use crate::history::{History, Told, Transaction};
use crate::net::{Actor, Asked, Asker, Event, Message, Net};
use crate::ports::Ports;
use crate::scenario::Scenario;
use crate::shards::Place;
use crate::workload::Plan;
use crate::world::settles_at;
use assize_adjudicator::command::{Acknowledgement, SnapshotReport};
use assize_model::*;
use assize_ports::{AdjudicatorError, Begun, BoxFuture, NoServer, Registered, Reserved, ShardError, TxnRun};
use assize_replica::ReadRefusal;
use assize_session::{Limits, Services};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How long a client without anything to do waits before it looks again.
const PAUSE: u64 = 250;
/// How long a node of the adjudicator may take to answer before another one is asked.
const NODE_PATIENCE: u64 = 250;
/// For how long they are asked in turn.
const HOLD: u64 = 6_000;
/// How long a replica may take to answer a read before a sibling is asked.
const REPLICA_PATIENCE: u64 = 300;
/// How long the last of them may take.
const LAST_PATIENCE: u64 = 1_500;
/// After this long without an answer a commit or a prepare may or may not have arrived.
const SILENCE: u64 = 2_500;
/// Transactions that every client must still finish after the world has healed.
pub const AFTER_HEALING: usize = 2;

/// A session's question on its way.
struct Call {
    client: usize,
    number: u64,
    ask: Ask,
    since: u64,
    /// Replicas that can still be asked.
    others: Vec<usize>,
}

/// What a frontend waits for.
enum Errand {
    /// A client begins its next transaction.
    Next(usize),
    /// The client of this transaction goes away in the middle of it.
    Desert { client: usize, record: usize },
    /// The ways to the shards are looked at.
    Follow,
    /// An answer.
    Call(Call),
    /// A moment, before it asks again.
    Again(Call),
}

/// A transaction on its way.
struct Running {
    /// Its place in the history.
    record: usize,
    /// The life in which it began: what it reads at is kept for it as long as that lasts.
    epoch: FrontendEpoch,
    task: BoxFuture<'static, Option<Told>>,
    waker: Waker,
}

#[derive(Default)]
struct Client {
    running: Option<Running>,
    begun: usize,
    finished: usize,
}

/// What a frontend has in memory.
struct Life {
    services: Arc<Services>,
    desk: Arc<Desk>,
    /// The newest snapshot that it was given.
    newest: Timestamp,
    /// One above the highest number that it has sent.
    next: u64,
    /// Numbers that were sent and whose outcome may still be asked for.
    open: BTreeSet<u64>,
}

struct Frontend {
    is_up: bool,
    nonce: u64,
    /// Whether it asks for another life while its sessions go on.
    is_fenced: bool,
    /// The node of the adjudicator that it thinks leads.
    guess: usize,
    life: Option<Life>,
    clients: Vec<Client>,
    errands: BTreeMap<u64, Errand>,
}

/// All frontends.
pub struct Frontends {
    frontends: Vec<Frontend>,
    scenario: Scenario,
    /// Numbers of plans.
    next_id: u64,
    /// Numbers of questions.
    next_question: u64,
    is_healed: bool,
}

impl Frontends {
    /// Frontends that ask for their first life.
    pub fn new(scenario: &Scenario, net: &mut Net) -> Self {
        let frontend = |_| Frontend {
            is_up: false,
            nonce: 0,
            is_fenced: false,
            guess: 0,
            life: None,
            clients: (0..scenario.clients).map(|_| Client::default()).collect(),
            errands: BTreeMap::new(),
        };
        let mut all = Frontends {
            frontends: (0..scenario.frontends).map(frontend).collect(),
            scenario: scenario.clone(),
            next_id: 0,
            next_question: 0,
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

    /// Clients that have not finished what they had to after healing, and what they wait for.
    pub fn unfinished(&self) -> Vec<String> {
        let mut unfinished = Vec::new();
        for (f, frontend) in self.frontends.iter().enumerate() {
            for (c, client) in frontend.clients.iter().enumerate() {
                if client.finished < AFTER_HEALING {
                    let waits = frontend.errands.values().filter_map(|errand| match errand {
                        Errand::Call(call) | Errand::Again(call) if call.client == c => Some(&call.ask),
                        _ => None,
                    });
                    unfinished.push(format!("client {f}.{c} waits for {:?}", waits.collect::<Vec<_>>()));
                }
            }
        }
        unfinished
    }

    // Lives.

    /// A frontend dies with all its sessions.
    pub fn crash(&mut self, at: usize, net: &mut Net, history: &mut History) {
        let frontend = &mut self.frontends[at];
        if !frontend.is_up {
            return;
        }
        frontend.is_up = false;
        frontend.life = None;
        frontend.errands.clear();
        for client in &mut frontend.clients {
            client.running = None;
            // What died with its frontend is begun again.
            client.begun = client.begun.min(client.finished);
        }
        history.live.retain(|(frontend, _), _| *frontend != at);
        let back = net.random.between(100, 2_500);
        net.after(back, Event::Restart(Actor::Frontend(at)));
    }

    /// A frontend comes back, and asks for a new life.
    pub fn restart(&mut self, at: usize, net: &mut Net) {
        let nonce = net.random.any();
        let frontend = &mut self.frontends[at];
        if frontend.is_up {
            return;
        }
        frontend.is_up = true;
        frontend.nonce = nonce;
        frontend.is_fenced = false;
        self.ask_for_life(at, net);
        for client in 0..self.frontends[at].clients.len() {
            let wait = net.random.between(20, 200);
            self.wait(at, wait, Errand::Next(client), net);
        }
    }

    fn ask_for_life(&mut self, at: usize, net: &mut Net) {
        let frontend = &mut self.frontends[at];
        frontend.guess = net.some_node();
        let to = Actor::Adjudicator(frontend.guess);
        net.send(Actor::Frontend(at), to, Message::Grant { frontend: at, nonce: frontend.nonce });
    }

    /// A life is granted: everything its sessions share begins anew, the numbers of their transactions too.
    fn live(&mut self, at: usize, epoch: FrontendEpoch, placement: &Arc<Placement>, net: &mut Net) {
        let desk = Desk::new(net.random.any(), placement.clone());
        let ports = Arc::new(Ports(desk.clone()));
        let frontend = FrontendId(at as u32 + 1);
        let limits = Limits { ranges_max: *net.random.pick(&[1, 256]), ..Limits::default() };
        let mut services = Services::new(
            ports.clone(),
            ports.clone(),
            ports.clone(),
            ports,
            Arc::new(NoServer),
            Registered { frontend, epoch, hash_seed: HASH_SEED },
            placement.clone(),
            limits,
        );
        services.coordinator.disabled_rules = self.scenario.without_in_coordinator.clone();
        services.disabled_rules = self.scenario.without_in_session.clone();
        self.frontends[at].life = Some(Life {
            services: Arc::new(services),
            desk,
            newest: Timestamp::ZERO,
            next: 1,
            open: BTreeSet::new(),
        });
    }

    /// A frontend's clock strikes: it reports its oldest snapshot, acknowledges outcomes and looks at the placement.
    pub fn tick(&mut self, at: usize, net: &mut Net) {
        net.after(400, Event::Tick(Actor::Frontend(at)));
        if !self.frontends[at].is_up {
            return;
        }
        let Some(life) = &self.frontends[at].life else { return self.ask_for_life(at, net) };
        let (frontend, epoch) = (FrontendId(at as u32 + 1), life.services.epoch());
        // What it was given, not what it thinks the time is: the next begin may be answered by a slower clock.
        let oldest = life.services.snapshots.oldest().unwrap_or(life.newest);
        let below = life.open.first().copied().unwrap_or(life.next);
        let report = SnapshotReport { frontend, epoch, oldest };
        if life.services.is_fenced() {
            let nonce = net.random.any();
            let frontend = &mut self.frontends[at];
            if !std::mem::replace(&mut frontend.is_fenced, true) {
                frontend.nonce = nonce;
            }
            self.ask_for_life(at, net);
        }
        if self.frontends[at].clients.iter().all(|client| client.running.is_none()) {
            // Reports have no answer, so whoever asks nothing else would go on talking to a node that does not lead.
            self.frontends[at].guess = net.next_node(self.frontends[at].guess);
        }
        if net.now < settles_at(&self.scenario) {
            self.tell_leader(at, Message::Report(report), net);
        }
        self.tell_leader(at, Message::Acknowledge(Acknowledgement { frontend, epoch, below }), net);
        if net.random.chance(400) {
            let asker = self.wait(at, NODE_PATIENCE, Errand::Follow, net);
            self.tell_leader(at, Message::AskPlacement(asker), net);
        }
    }

    fn tell_leader(&mut self, at: usize, message: Message, net: &mut Net) {
        let to = Actor::Adjudicator(self.frontends[at].guess);
        net.send(Actor::Frontend(at), to, message);
    }

    /// Waits for so long; the number under which an answer may come earlier.
    fn wait(&mut self, at: usize, millis: u64, errand: Errand, net: &mut Net) -> Asker {
        self.next_question += 1;
        let asker = Asker { frontend: at, question: self.next_question };
        self.frontends[at].errands.insert(asker.question, errand);
        net.after(millis, Event::Due(asker));
        asker
    }

    // Clients.

    fn begin(&mut self, at: usize, c: usize, net: &mut Net, history: &mut History) {
        let most = if self.is_healed { AFTER_HEALING } else { self.scenario.txns_max };
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        let Some(life) = frontend.life.as_ref().filter(|_| client.begun < most) else {
            self.wait(at, PAUSE, Errand::Next(c), net);
            return;
        };
        client.begun += 1;
        self.next_id += 1;
        let plan = Plan::draw(&mut net.random, &self.scenario.mix, self.next_id);
        let style = Style::draw(&mut net.random, &self.scenario);
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
        let (waker, epoch) = (life.desk.bell(c), life.services.epoch());
        waker.wake_by_ref();
        let (services, desk) = (life.services.clone(), life.desk.clone());
        let task = Box::pin(client::run(services, desk, self.next_id, plan, style));
        client.running = Some(Running { record, epoch, task, waker });
        if !self.is_healed && net.random.chance(self.scenario.desertion) {
            let stays = net.random.between(1, 1_500);
            self.wait(at, stays, Errand::Desert { client: c, record }, net);
        }
        self.run(at, net, history);
    }

    /// Lets every client run that something has come for.
    fn run(&mut self, at: usize, net: &mut Net, history: &mut History) {
        while let Some(life) = &self.frontends[at].life
            && let Some(c) = life.desk.next_rung()
        {
            let desk = life.desk.clone();
            let Some(running) = &mut self.frontends[at].clients[c].running else { continue };
            desk.enter(c, net.now * 1_000);
            let polled = running.task.as_mut().poll(&mut Context::from_waker(&running.waker));
            let record = running.record;
            self.carry_out(at, c, record, &desk, net, history);
            if let Poll::Ready(told) = polled {
                self.finish(at, c, told, net, history);
            }
        }
    }

    /// Writes down what a client has done, and carries out what its session asks for.
    fn carry_out(
        &mut self,
        at: usize,
        c: usize,
        record: usize,
        desk: &Desk,
        net: &mut Net,
        history: &mut History,
    ) {
        let (notes, said, asked) = desk.take();
        for note in notes {
            self.note(at, c, record, note, history);
        }
        for said in said {
            self.say(at, said, net);
        }
        for (number, ask) in asked {
            if let Some(txn) = txn_of(&ask) {
                self.sent(at, record, txn, history);
            }
            history.refreshes += u64::from(matches!(ask, Ask::Newest(..)));
            let call = Call { client: c, number, ask, since: net.now, others: Vec::new() };
            self.take_on(at, call, net);
        }
    }

    fn note(&mut self, at: usize, c: usize, record: usize, note: Note, history: &mut History) {
        let record = &mut history.txns[record];
        match note {
            Note::Holds(snapshot_ts) => {
                let running = self.frontends[at].clients[c].running.as_ref();
                let epoch = running.map(|running| running.epoch).unwrap_or_default();
                history.live.insert((at, c), (epoch, snapshot_ts));
            }
            Note::Read(observed) => record.reads.push(observed),
            Note::Wrote(snapshot_ts, mutation) => record.writes.push((snapshot_ts, mutation)),
            Note::Planned(table, version) => {
                record.schema.get_or_insert((table, version));
            }
            Note::Wrong(invariant, what) => history.wrong(invariant, what),
        }
    }

    /// A transaction goes out under this id. The history hears of it before anybody else does.
    fn sent(&mut self, at: usize, record: usize, txn: TxnId, history: &mut History) {
        let ids = &mut history.txns[record].ids;
        if !ids.contains(&txn) {
            ids.push(txn);
            if let Some(life) = &mut self.frontends[at].life {
                life.next = life.next.max(txn.sequence() + 1);
                life.open.insert(txn.sequence());
            }
        }
    }

    fn finish(&mut self, at: usize, c: usize, told: Option<Told>, net: &mut Net, history: &mut History) {
        let frontend = &mut self.frontends[at];
        let client = &mut frontend.clients[c];
        client.finished += 1;
        if let Some(running) = client.running.take() {
            let record = &mut history.txns[running.record];
            if let Some(life) = &mut frontend.life {
                // Nobody asks for these any more.
                life.open.retain(|number| record.ids.iter().all(|txn| txn.sequence() != *number));
            }
            record.told = told.map(|told| (net.now, told));
            if matches!(record.told, Some((_, Told::Committed(..) | Told::Aborted | Told::Unknown))) {
                history.effects_until_told.get_or_insert(net.effects);
            }
        }
        history.live.remove(&(at, c));
        let wait = net.random.between(5, 250);
        self.wait(at, wait, Errand::Next(c), net);
    }

    // What sessions ask for.

    fn say(&mut self, at: usize, said: Said, net: &mut Net) {
        match said {
            Said::Acknowledge(runs) => {
                let Some(life) = &mut self.frontends[at].life else { return };
                for TxnRun { first, count, .. } in runs {
                    life.open.retain(|number| !(first..first + count).contains(number));
                }
            }
            Said::Forget(shard, txn) => {
                for replica in self.replicas(at, shard) {
                    net.send(Actor::Frontend(at), Actor::Replica(replica), Message::HintAbort(txn));
                }
            }
        }
    }

    /// The replicas of a shard, as far as they are known here.
    fn replicas(&self, at: usize, shard: ShardId) -> Vec<usize> {
        let Some(life) = &self.frontends[at].life else { return Vec::new() };
        let ways = life.desk.ways();
        let replicas = ways.shards.get(&shard).into_iter().flat_map(|part| part.replicas.keys());
        replicas.map(|replica| Place::at(shard, *replica)).collect()
    }

    /// A question is new.
    fn take_on(&mut self, at: usize, mut call: Call, net: &mut Net) {
        if let Ask::Read(shard, ..) | Ask::Newest(shard, ..) = &call.ask {
            call.others = shuffled(self.replicas(at, *shard), net);
        }
        if let Ask::Read(_, Asked::Range(_, _, limit), _) = &mut call.ask
            && net.random.chance(300)
        {
            // A shard may always show fewer rows than were asked for.
            *limit = net.random.between(1, 3).min(*limit as u64) as usize;
        }
        self.send(at, call, net);
    }

    /// Asks somebody, for the first time or again.
    fn send(&mut self, at: usize, mut call: Call, net: &mut Net) {
        let ask = call.ask.clone();
        let leader = Actor::Adjudicator(self.frontends[at].guess);
        let (to, patience) = match &ask {
            Ask::Sleep(micros) => {
                self.wait(at, micros.div_ceil(1_000), Errand::Call(call), net);
                return;
            }
            Ask::Read(shard, ..) | Ask::Newest(shard, ..) => {
                let Some(replica) = call.others.pop() else {
                    let error = ShardError::Unreachable(*shard, "none of its replicas answers".into());
                    return self.answer(at, &call, Answer::Refused(error));
                };
                let patience = if call.others.is_empty() { LAST_PATIENCE } else { REPLICA_PATIENCE };
                (Actor::Replica(replica), patience)
            }
            Ask::Prepare(shard, replica, _) => (Actor::Replica(Place::at(*shard, *replica)), SILENCE),
            Ask::Commit(_) => (leader, SILENCE),
            _ => (leader, NODE_PATIENCE),
        };
        let asker = self.wait(at, patience, Errand::Call(call), net);
        if let Some(message) = question(asker, ask) {
            net.send(Actor::Frontend(at), to, message);
        }
    }

    fn answer(&mut self, at: usize, call: &Call, answer: Answer) {
        if let Some(life) = &self.frontends[at].life {
            life.desk.answer(call.client, call.number, answer);
        }
    }

    /// A frontend has waited long enough for something.
    pub fn due(&mut self, asker: Asker, net: &mut Net, history: &mut History) {
        let at = asker.frontend;
        let Some(errand) = self.frontends[at].errands.remove(&asker.question) else { return };
        match errand {
            Errand::Next(client) => return self.begin(at, client, net, history),
            Errand::Desert { client, record } => {
                let running = &self.frontends[at].clients[client].running;
                if running.as_ref().is_some_and(|running| running.record == record) {
                    history.desertions += 1;
                    self.finish(at, client, None, net, history);
                }
            }
            Errand::Follow => {}
            Errand::Again(call) if self.is_waited_for(at, &call) => self.send(at, call, net),
            Errand::Call(call) if self.is_waited_for(at, &call) => self.gave_no_answer(at, call, net),
            Errand::Again(_) | Errand::Call(_) => {}
        }
        self.run(at, net, history);
    }

    fn is_waited_for(&self, at: usize, call: &Call) -> bool {
        self.frontends[at].life.as_ref().is_some_and(|life| life.desk.is_waited_for(call.number))
    }

    /// Whoever was asked has not answered in time.
    fn gave_no_answer(&mut self, at: usize, call: Call, net: &mut Net) {
        match &call.ask {
            Ask::Sleep(_) => self.answer(at, &call, Answer::Slept),
            Ask::Read(..) | Ask::Newest(..) => self.send(at, call, net),
            Ask::Prepare(shard, ..) => {
                let error = ShardError::Unreachable(*shard, "it does not vote".into());
                self.answer(at, &call, Answer::Refused(error));
            }
            Ask::Commit(_) => {
                self.frontends[at].guess = net.next_node(self.frontends[at].guess);
                self.answer(at, &call, Answer::Failed(AdjudicatorError::ReplyLost));
            }
            _ => self.ask_another_node(at, call, 0, net),
        }
    }

    /// The next node of the adjudicator is asked, after a while, unless they have been asked for long enough.
    fn ask_another_node(&mut self, at: usize, call: Call, pause: u64, net: &mut Net) {
        self.frontends[at].guess = net.next_node(self.frontends[at].guess);
        if net.now - call.since > HOLD {
            let error = AdjudicatorError::Unreachable("nobody leads".into());
            return self.answer(at, &call, Answer::Failed(error));
        }
        match pause {
            0 => self.send(at, call, net),
            pause => drop(self.wait(at, pause, Errand::Again(call), net)),
        }
    }

    // What comes back.

    /// A message for a frontend.
    pub fn receive(&mut self, at: usize, message: Message, net: &mut Net, history: &mut History) {
        if !self.frontends[at].is_up {
            return;
        }
        match message {
            Message::Granted { epoch, nonce, placement } => {
                let frontend = &mut self.frontends[at];
                match &frontend.life {
                    _ if frontend.nonce != nonce => {}
                    None => self.live(at, epoch, &placement, net),
                    Some(life) if frontend.is_fenced => {
                        life.services.begin_life(epoch);
                        frontend.is_fenced = false;
                        history.second_lives += 1;
                    }
                    // It has heard that before.
                    Some(_) => {}
                }
            }
            Message::NotLeader(asker) => {
                if let Some(Errand::Call(call)) = self.frontends[at].errands.remove(&asker.question) {
                    // Another question: were the same asked again, an answer that arrives twice would ask twice, and while
                    // nobody leads there would be ever more of them.
                    let pause = net.random.between(5, 60);
                    self.ask_another_node(at, call, pause, net);
                }
            }
            Message::Begun(asker, begin) => {
                if let Some(life) = &mut self.frontends[at].life {
                    life.newest = life.newest.max(begin.snapshot_ts);
                }
                self.came(asker, Answer::Begun(begun(begin)));
            }
            Message::PlacementIs(asker, placement) => {
                if let Some(Errand::Follow) = self.frontends[at].errands.get(&asker.question)
                    && let Some(life) = &self.frontends[at].life
                {
                    life.desk.learn(&placement);
                }
                self.came(asker, Answer::Placement(placement));
            }
            Message::CatalogIs(asker, objects) => self.came(asker, Answer::Catalog(objects)),
            Message::Tracked(asker) => self.came(asker, Answer::Tracked),
            Message::Reserved(asker, begin, keys) => {
                let granted = Reserved::Granted { keys, begun: begun(begin) };
                self.came(asker, Answer::Reserved(granted));
            }
            Message::Decided(asker, decision) => {
                let is_fenced =
                    matches!(decision, Decision::Abort { reason: AbortReason::FrontendFenced { .. } });
                self.came(asker, Answer::Decided(decision));
                self.run(at, net, history);
                if is_fenced && net.random.chance(300) {
                    // Somebody restarts it before it has found out what to do.
                    self.crash(at, net, history);
                }
            }
            Message::ReplyLost(asker) => self.came(asker, Answer::Failed(AdjudicatorError::ReplyLost)),
            Message::TurnedAway(asker) => {
                self.frontends[at].guess = net.some_node();
                self.came(asker, Answer::Failed(AdjudicatorError::NotLeader { leader: None }));
            }
            Message::OutcomeIs(asker, outcome) => self.came(asker, Answer::Outcome(outcome)),
            Message::Vote(asker, vote) => self.came(asker, Answer::Vote(vote)),
            Message::Rows(asker, Ok(shown)) => self.came(asker, Answer::Shown(shown)),
            Message::NewestIs(asker, Ok(newest)) => self.came(asker, Answer::Newest(newest)),
            Message::Rows(asker, Err(refusal)) | Message::NewestIs(asker, Err(refusal)) => {
                self.refused(asker, refusal, net, history);
            }
            _ => {}
        }
        self.run(at, net, history);
    }

    /// The answer to a question, if it is the first.
    fn came(&mut self, asker: Asker, answer: Answer) {
        if let Some(Errand::Call(call)) = self.frontends[asker.frontend].errands.remove(&asker.question) {
            self.answer(asker.frontend, &call, answer);
        }
    }

    /// A replica does not answer a read: what every replica would say is the answer, otherwise a sibling is asked.
    fn refused(&mut self, asker: Asker, refusal: ReadRefusal, net: &mut Net, history: &mut History) {
        let at = asker.frontend;
        let Some(Errand::Call(call)) = self.frontends[at].errands.remove(&asker.question) else { return };
        let (shard, view) = match &call.ask {
            Ask::Read(shard, _, view) => (*shard, Some(*view)),
            Ask::Newest(shard, ..) => (*shard, None),
            _ => return,
        };
        let error = match (refusal, view) {
            (ReadRefusal::StaleEpoch { current }, Some(view)) => {
                history.reroutes += 1;
                ShardError::StaleEpoch { shard, asked: view.epoch, current }
            }
            (ReadRefusal::SnapshotTooOld { low_water }, _) => {
                ShardError::SnapshotTooOld(view.map_or(low_water, |view| view.snapshot_ts))
            }
            _ => return self.send(at, call, net),
        };
        self.answer(at, &call, Answer::Refused(error));
    }
}

fn begun(begin: assize_adjudicator::Begin) -> Begun {
    Begun {
        snapshot_ts: begin.snapshot_ts,
        catalog_version: begin.catalog_version,
        placement_epoch: begin.placement_epoch,
    }
}

/// The transaction that goes out with this.
fn txn_of(ask: &Ask) -> Option<TxnId> {
    match ask {
        Ask::Commit(footprint) => Some(footprint.view().txn()),
        Ask::Prepare(_, _, prepare) => Some(prepare.txn),
        _ => None,
    }
}

/// As a message; `None`: nobody is asked.
fn question(asker: Asker, ask: Ask) -> Option<Message> {
    Some(match ask {
        Ask::Begin => Message::Begin(asker),
        Ask::Commit(footprint) => Message::Commit(asker, footprint),
        Ask::Outcome(txn, resolve) => Message::AskOutcome(asker, txn, resolve),
        Ask::Placement => Message::AskPlacement(asker),
        Ask::Catalog(since) => Message::AskCatalog(asker, since),
        Ask::TrackRanges(table) => Message::TrackRanges(asker, table),
        Ask::Reserve(keys) => Message::Reserve(asker, keys),
        Ask::Read(_, asked, view) => {
            Message::Read { asker, asked, snapshot_ts: view.snapshot_ts, epoch: view.epoch }
        }
        Ask::Newest(_, asked, at_least) => Message::AskNewest { asker, asked, at_least },
        Ask::Prepare(_, _, prepare) => Message::Prepare(asker, prepare),
        Ask::Sleep(_) => return None,
    })
}

fn shuffled(mut places: Vec<usize>, net: &mut Net) -> Vec<usize> {
    for n in (1..places.len()).rev() {
        places.swap(n, net.random.below(n as u64 + 1) as usize);
    }
    places
}
