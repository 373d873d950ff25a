//! The leader's own task: it turns what frontends ask for into log entries, and log entries into answers.
//!
//! ```text
//!   commits ──▶ queue ──▶ batch (everything queued) ──▶ entry ──▶ flushed, applied ──▶ answers
//!                             ▲                           │
//!                             └── at most 2 entries on their way, 8 of whole ones; no timer
//! ```
//!
//! A commit that finds fewer than two batches on their way is proposed at once, alone or with whatever arrived
//! with it. Under load commits gather while two batches are being flushed, so batches grow by themselves. Once they
//! would be large, more of them are on their way instead: while one is applied the log writes others, and yet others are
//! answered.
//!
//! Twice a second the leader does its housekeeping: it lets idle time pass in the log, moves the low-water mark,
//! reports durable positions, fences silent frontends, has the nodes compare their states.
//!
//! The task lives as long as its term. When that ends, what is queued is refused (nothing was proposed), and whoever
//! waits for an entry on its way is told that the reply was lost: the entry may yet be decided.

use crate::housekeeping::HOUSEKEEPING;
use crate::locks::LockTable;
use crate::meter::Tally;
use crate::node::{Node, Shared};
use crate::outstanding::Outstanding;
use crate::published::Published;
use crate::raft::Proposal;
use crate::state::Answer;
use crate::terms::{Leadership, ended};
use assize_adjudicator::command::{Acknowledgement, DurableReport, SnapshotReport};
use assize_adjudicator::{Batch, Command, Decisions, EncodedFootprint, FootprintView, Reply, Sequencer};
use assize_model::{
    BatchNumber, Decision, FrontendEpoch, FrontendId, LogIndex, NodeId, Position, ReplicaId, ShardId,
    Timestamp, TxnId,
};
use assize_ports::{AdjudicatorError, DecisionRun, FrameDecisions, TxnRun};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Batches on their way, however small…
const IN_FLIGHT_MAX: usize = 2;
/// … and so many while there are whole entries waiting.
const IN_FLIGHT_BUSY_MAX: usize = 8;
/// A whole entry of a busy leader. Entries follow one another from the log to `apply` to those who wait: in large ones each of
/// these would wait for the one before it, and the processors with them.
const ENTRY_FOOTPRINTS: usize = 4096;
/// Bytes of footprints in one entry, unless a single one is larger.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// The low-water mark moves in steps no smaller than this, because each is an entry.
const LOW_WATER_STEP: Duration = Duration::from_secs(5);
/// So many numbers of a frontend's life, back from the newest, may be unacknowledged; older ones are taken as acknowledged,
/// so that their outcomes leave memory at their deadline.
const UNACKNOWLEDGED_MAX: u64 = 1 << 20;

/// What a decision is awaited through.
pub type CommitReply = oneshot::Sender<Result<Verdict<EncodedFootprint>, AdjudicatorError>>;
/// What the decisions about a frame are awaited through.
pub type FrameReply = oneshot::Sender<Result<Verdict<Row>, AdjudicatorError>>;
/// What an answer to any other entry is awaited through.
pub type CommandReply = oneshot::Sender<Result<Reply, AdjudicatorError>>;

/// Footprints that came together, and who waits for what becomes of them. A frame goes into one entry.
pub enum Frame {
    /// A single one.
    One(EncodedFootprint, CommitReply),
    /// Several.
    Many(Row, FrameReply),
}

/// Well-formed footprints that go into one entry: at most [`assize_adjudicator::sequencer::BATCH_MAX`] of them, and not more
/// than [`BATCH_BYTES_MAX`] unless there is only one.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What came together, these footprints and others.
    pub frame: Bytes,
    /// Where in it each of these footprints begins.
    pub places: Vec<u32>,
    /// The footprints, one after the other.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts.
    pub bytes: usize,
    /// How many footprints.
    pub count: u32,
    /// Whose they are.
    pub txns: Vec<TxnRun>,
}

impl Frame {
    /// How many footprints.
    pub fn count(&self) -> usize {
        match self {
            Frame::One(..) => 1,
            Frame::Many(row, _) => row.count as usize,
        }
    }

    /// How many bytes they have.
    fn bytes(&self) -> usize {
        match self {
            Frame::One(footprint, _) => footprint.bytes().len(),
            Frame::Many(row, _) => row.bytes,
        }
    }

    fn parts(&self) -> &[Bytes] {
        match self {
            Frame::One(footprint, _) => std::slice::from_ref(footprint.bytes()),
            Frame::Many(row, _) => &row.parts,
        }
    }

    /// Answers with the decisions of its entry from this place on; whoever has gone asks for the outcome if he cares.
    fn answer(self, decisions: &Decisions, first: u32) {
        let decisions = decisions.clone();
        match self {
            Frame::One(of, reply) => drop(reply.send(Ok(Verdict { of, decisions, first }))),
            Frame::Many(of, reply) => drop(reply.send(Ok(Verdict { of, decisions, first }))),
        }
    }

    /// Tells whoever waits that there will be no decision from here.
    fn refuse(self, error: AdjudicatorError) {
        match self {
            Frame::One(_, reply) => drop(reply.send(Err(error))),
            Frame::Many(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What was decided, together with other things, about what somebody waits for. He makes his answer of it himself: the
/// leader has the next entry to see to.
pub struct Verdict<T> {
    of: T,
    /// The decisions of the entry.
    decisions: Decisions,
    /// Where his begin.
    first: u32,
}

impl Verdict<EncodedFootprint> {
    /// The decision.
    pub fn decision(self, published: &Published) -> Decision {
        let mut decision = self.decisions.get(self.first as usize);
        // Only a loser has something to be told.
        if !decision.is_commit() {
            published.complete(&mut decision, &self.of.view());
        }
        decision
    }
}

impl Verdict<Row> {
    /// The decisions, one for each footprint, in order.
    pub fn decisions(self, published: &Published) -> FrameDecisions {
        let Verdict { of: row, decisions, first } = self;
        let end = first + row.count;
        let mut next = first;
        let mut frame = FrameDecisions::default();
        for (place, decision) in decisions.others_in(first..end) {
            let commits = DecisionRun::Commits { count: place - next, first: decisions.commit_ts(next) };
            frame.push_run(commits);
            let mut decision = decision.clone();
            if !decision.is_commit() {
                published.complete(&mut decision, &row.footprint((place - first) as usize));
            }
            frame.push(Ok(decision));
            next = place + 1;
        }
        frame.push_run(DecisionRun::Commits { count: end - next, first: decisions.commit_ts(next) });
        frame
    }
}

impl Row {
    /// Adds a footprint, which lies in the last part and begins at `place` in the frame.
    pub fn note(&mut self, footprint: &FootprintView<'_>, place: usize) {
        self.places.push(u32::try_from(place).expect("a frame is smaller than 4 GiB"));
        self.count += 1;
        self.bytes += footprint.len();
        TxnRun::push(&mut self.txns, footprint.txn());
    }

    /// One of the footprints.
    ///
    /// # Panics
    /// If there are fewer.
    fn footprint(&self, n: usize) -> FootprintView<'_> {
        let parsed = FootprintView::parse(&self.frame[self.places[n] as usize..]);
        parsed.expect("what is in a row is well formed").0
    }
}

/// What reaches the leader's task.
pub enum Event {
    /// Footprints to decide.
    Commit(Frame),
    /// An entry of another kind.
    Propose(Command, CommandReply),
    /// A replica has persisted the stream to here.
    Durable(ShardId, ReplicaId, Position),
    /// A frontend has heard these outcomes.
    Acknowledged(Vec<TxnRun>),
    /// A frontend's oldest snapshot.
    Oldest(FrontendId, FrontendEpoch, Timestamp),
    /// Answer what is on its way and end.
    Stop(oneshot::Sender<()>),
}

/// What came back from the log.
struct Landed {
    answer: Result<Answer, AdjudicatorError>,
    waiting: Waiting,
}

enum Waiting {
    /// Frames, and when their entry was proposed.
    Batch(Vec<Frame>, Instant),
    Command(CommandReply),
    /// The leader itself: nobody waits.
    Nobody,
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// What the leader knows of a frontend between two reports.
struct FrontendReport {
    epoch: FrontendEpoch,
    oldest: Timestamp,
    /// How long it has been silent, as far as this process was awake to hear it.
    silent: Duration,
}

/// Sequence numbers of one frontend's life: decided, and not yet acknowledged.
#[derive(Default)]
struct Unacknowledged {
    outstanding: Outstanding,
    /// What the log says already.
    below: u64,
}

/// The leader's task.
pub struct Leader {
    node: Arc<Node>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    sequencer: Sequencer,
    queue: VecDeque<Frame>,
    /// Footprints in the queue.
    queued: usize,
    flights: FuturesUnordered<Flight>,
    frontends: BTreeMap<FrontendId, FrontendReport>,
    unacknowledged: BTreeMap<(FrontendId, FrontendEpoch), Unacknowledged>,
    durable: BTreeMap<(ShardId, ReplicaId), Position>,
    last_batch: Instant,
    last_tick: Instant,
    /// When the nodes last compared their states, and what was decided by then.
    compared: (Instant, BatchNumber),
    stopping: Option<oneshot::Sender<()>>,
}

impl Leader {
    /// A leader whose term has begun: an entry of it has been applied.
    pub fn new(
        node: Arc<Node>,
        shared: Arc<Shared>,
        events: mpsc::Receiver<Event>,
        sequencer: Sequencer,
    ) -> Self {
        let now = Instant::now();
        // Frontends of an earlier term get a lease from now on; those that are gone are fenced when it ends.
        let frontends = living(&node.read().core).collect();
        let compared = (now, node.read().core.last_batch());
        // What an earlier term had under way is no longer counted.
        shared.under_way.store(0, Ordering::Relaxed);
        Leader {
            node,
            shared,
            events,
            sequencer,
            queue: VecDeque::new(),
            queued: 0,
            flights: FuturesUnordered::new(),
            frontends,
            unacknowledged: BTreeMap::new(),
            durable: BTreeMap::new(),
            last_batch: now,
            last_tick: now,
            compared,
            stopping: None,
        }
    }

    /// Runs until the term ends, or it is stopped.
    pub async fn run(mut self, mut leadership: watch::Receiver<Leadership>, term: u64) {
        let mut housekeeping = tokio::time::Instant::now();
        loop {
            tokio::select! {
                // Answers first: they make room for the next batch.
                biased;
                () = ended(&mut leadership, term) => return self.resign().await,
                Some(landed) = self.flights.next() => self.land(landed),
                event = self.events.recv(), if self.stopping.is_none() => match event {
                    Some(event) => self.take(event).await,
                    None => return,
                },
                () = tokio::time::sleep_until(housekeeping) => {}
            }
            // Looked at in every round: under load there is always an answer or an event that comes first.
            if tokio::time::Instant::now() >= housekeeping {
                self.keep_house().await;
                housekeeping = tokio::time::Instant::now() + HOUSEKEEPING;
            }
            // Take everything that has arrived: it goes into one entry.
            while self.stopping.is_none()
                && let Ok(event) = self.events.try_recv()
            {
                self.take(event).await;
            }
            self.propose_batches().await;
            if self.flights.is_empty()
                && self.queue.is_empty()
                && let Some(stopped) = self.stopping.take()
            {
                // Whoever asked may have gone.
                let _ = stopped.send(());
                return;
            }
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Commit(frame) => {
                self.queued += frame.count();
                self.queue.push_back(frame);
            }
            Event::Propose(command, reply) => self.propose(command, Waiting::Command(reply)).await,
            Event::Durable(shard, replica, position) => {
                let known = self.durable.entry((shard, replica)).or_default();
                *known = position.max(*known);
            }
            Event::Acknowledged(runs) => {
                for run in runs {
                    if let Some(unacknowledged) = self.unacknowledged.get_mut(&(run.frontend, run.epoch)) {
                        unacknowledged.outstanding.remove_run(run.first, run.count);
                    }
                }
            }
            Event::Oldest(frontend, epoch, oldest) => {
                // A life that is over may still have had something on its way.
                if self.node.read().core.frontend_epoch(frontend) == epoch {
                    self.frontends.insert(frontend, FrontendReport { epoch, oldest, silent: Duration::ZERO });
                }
            }
            Event::Stop(stopped) => self.stopping = Some(stopped),
        }
    }

    /// The lead is lost: nothing that waits will be proposed here.
    async fn resign(mut self) {
        self.events.close();
        let error = self.shared.not_leader();
        let mut frames: Vec<Frame> = self.queue.drain(..).collect();
        // Not only what is there: somebody may be about to send who has found the way open.
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Commit(frame) => frames.push(frame),
                Event::Propose(_, reply) => drop(reply.send(Err(error.clone()))),
                Event::Stop(stopped) => drop(stopped.send(())),
                // The next leader hears it again.
                Event::Durable(..) | Event::Acknowledged(_) | Event::Oldest(..) => {}
            }
        }
        let waited = frames.iter().map(Frame::count).sum();
        self.shared.waiting.fetch_sub(waited, Ordering::Relaxed);
        frames.into_iter().for_each(|frame| frame.refuse(error.clone()));
        // With `self` the entries on their way are let go; those who wait for them find their replies lost.
    }

    /// Turns what is queued into entries while fewer than two are on their way.
    async fn propose_batches(&mut self) {
        while self.may_propose() {
            let batch = self.next_batch();
            let count = batch.iter().map(Frame::count).sum();
            self.queued -= count;
            self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
            let Some(base) = self.sequencer.next_base(self.node.clock.millis(), count) else {
                let refused = self.shared.not_leader();
                batch.into_iter().for_each(|frame| frame.refuse(refused.clone()));
                continue;
            };
            batch.iter().for_each(|frame| self.note_unacknowledged(frame));
            let parts = batch.iter().flat_map(Frame::parts);
            let entry = Batch::entry_of_parts(base, Timestamp::ZERO, count as u32, parts);
            self.shared.under_way.fetch_add(count, Ordering::Relaxed);
            self.last_batch = Instant::now();
            self.propose_entry(entry, Waiting::Batch(batch, self.last_batch)).await;
        }
    }

    fn may_propose(&self) -> bool {
        let most = if self.queued >= ENTRY_FOOTPRINTS { IN_FLIGHT_BUSY_MAX } else { IN_FLIGHT_MAX };
        self.sequencer.batches_in_flight() < most && !self.queue.is_empty()
    }

    /// Takes from the queue what goes into one entry: whole frames, and at least one.
    fn next_batch(&mut self) -> Vec<Frame> {
        let mut batch: Vec<Frame> = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        while let Some(frame) = self.queue.front() {
            count += frame.count();
            bytes += frame.bytes();
            let is_full = count > ENTRY_FOOTPRINTS || bytes > BATCH_BYTES_MAX;
            if is_full && !batch.is_empty() {
                break;
            }
            batch.push(self.queue.pop_front().expect("it has a front"));
        }
        batch
    }

    fn note_unacknowledged(&mut self, frame: &Frame) {
        let mut note = |run: &TxnRun| {
            let unacknowledged = self.unacknowledged.entry((run.frontend, run.epoch)).or_default();
            unacknowledged.outstanding.insert_run(run.first, run.count, UNACKNOWLEDGED_MAX);
        };
        match frame {
            Frame::One(footprint, _) => note(&TxnRun::one(footprint.view().txn())),
            Frame::Many(row, _) => row.txns.iter().for_each(note),
        }
    }

    async fn propose(&mut self, command: Command, waiting: Waiting) {
        self.propose_entry(command.encode(), waiting).await;
    }

    /// Hands an entry to Raft; entries enter the log in the order of these calls.
    async fn propose_entry(&mut self, entry: Vec<u8>, waiting: Waiting) {
        let proposal = Proposal(entry.into());
        let (responder, receiver) = openraft::impls::ProgressResponder::complete_only();
        let handed_over = self.node.raft.client_write_ff(proposal, Some(responder)).await;
        let node = self.node.clone();
        self.flights.push(Box::pin(async move {
            let answer = match handed_over {
                Ok(()) => match receiver.await {
                    Ok(Ok(response)) => Ok(unwrap_answer(response.data)),
                    // Refused before it was appended.
                    Ok(Err(openraft::errors::ClientWriteError::ForwardToLeader(forward))) => {
                        Err(AdjudicatorError::NotLeader { leader: forward.leader_id.map(NodeId) })
                    }
                    // It may be in the log, or may yet be: only the outcome can tell.
                    Ok(Err(_)) | Err(_) => Err(AdjudicatorError::ReplyLost),
                },
                Err(fatal) => Err(AdjudicatorError::Stopped(node.describe(&fatal))),
            };
            Landed { answer, waiting }
        }));
    }

    /// Answers those who waited for an entry.
    fn land(&mut self, landed: Landed) {
        match landed.waiting {
            Waiting::Batch(batch, proposed) => {
                let count = batch.iter().map(Frame::count).sum();
                self.shared.under_way.fetch_sub(count, Ordering::Relaxed);
                // Of one whose reply was lost nothing is known but that later ones are above it.
                let closed = landed.answer.as_ref().map_or(Timestamp::ZERO, |answer| answer.closed);
                self.sequencer.batch_closed(closed);
                match landed.answer {
                    Ok(answer) => {
                        let decided = answer.decisions.len();
                        self.shared.losses.note(decided, decided - answer.decisions.commits());
                        let meter = &self.shared.options.meter;
                        meter.entry_decided(proposed.elapsed());
                        meter.decided(Tally::of(&answer.decisions));
                        let mut place = 0;
                        for frame in batch {
                            let count = frame.count() as u32;
                            frame.answer(&answer.decisions, place);
                            place += count;
                        }
                        assert_eq!(place as usize, answer.decisions.len(), "one decision for each footprint");
                    }
                    Err(error) => batch.into_iter().for_each(|frame| frame.refuse(error.clone())),
                }
            }
            Waiting::Command(reply) => {
                let _ = reply.send(landed.answer.map(|answer| answer.reply));
            }
            Waiting::Nobody => {}
        }
    }

    async fn keep_house(&mut self) {
        // A process that was stopped for a while has not listened for a while.
        let awake = self.last_tick.elapsed().min(2 * HOUSEKEEPING);
        self.last_tick = Instant::now();
        self.release_former_lives();
        if self.stopping.is_some() || !self.shared.may_free_the_log() {
            return;
        }
        let mut commands = Vec::new();
        if !self.shared.may_keep_house() {
            self.report_durable(&self.node.clone().read().core, &mut commands);
            for command in commands {
                self.propose(command, Waiting::Nobody).await;
            }
            return;
        }
        let node = self.node.clone();
        {
            let state = node.read();
            let since_last_batch = self.last_batch.elapsed();
            commands.extend(self.sequencer.close(node.clock.millis(), &state.core, since_last_batch));
            self.report_durable(&state.core, &mut commands);
            self.report_oldest(&state.core, awake, &mut commands);
            let (when, batch) = self.compared;
            let is_due = when.elapsed() >= self.shared.options.compare_every;
            if is_due && self.node.contacts.has_peers() && state.core.last_batch() > batch {
                self.compared = (Instant::now(), state.core.last_batch());
                commands.push(Command::NoteHash);
            }
        }
        self.acknowledge(&mut commands);
        for command in commands {
            self.propose(command, Waiting::Nobody).await;
        }
    }

    /// Gives back what lives that are over have reserved: fenced or begun anew, they can release nothing any more.
    fn release_former_lives(&self) {
        let frontends: BTreeMap<FrontendId, FrontendEpoch> =
            self.node.read().core.frontends().map(|(id, frontend)| (id, frontend.epoch)).collect();
        let is_over = |frontend, epoch| frontends.get(&frontend).is_some_and(|living| epoch < *living);
        self.shared.locks().release_lives(is_over);
    }

    fn report_durable(&mut self, core: &assize_adjudicator::Adjudicator, commands: &mut Vec<Command>) {
        let mut reports = Vec::new();
        for ((shard, replica), durable) in &self.durable {
            let known = core.replicas().get(&(*shard, *replica)).map_or(LogIndex(0), |r| r.durable.index);
            if durable.index > known {
                reports.push(DurableReport { shard: *shard, replica: *replica, durable: *durable });
            }
        }
        if !reports.is_empty() {
            commands.push(Command::ReportDurable { reports });
        }
    }

    fn report_oldest(
        &mut self,
        core: &assize_adjudicator::Adjudicator,
        awake: Duration,
        commands: &mut Vec<Command>,
    ) {
        self.frontends.retain(|frontend, report| core.frontend_epoch(*frontend) == report.epoch);
        for (frontend, report) in living(core) {
            // One that has not reported yet has its lease all the same: it may never come to it.
            self.frontends.entry(frontend).or_insert(report);
        }
        let mut fenced = Vec::new();
        for (frontend, report) in &mut self.frontends {
            report.silent += awake;
            if report.silent > self.shared.options.lease {
                fenced.push((*frontend, report.epoch));
            }
        }
        for (frontend, epoch) in fenced {
            self.frontends.remove(&frontend);
            tracing::warn!(%frontend, %epoch, "a frontend fell silent and is fenced");
            commands.push(Command::FenceFrontend { frontend, epoch });
        }
        let step = core.low_water().later(LOW_WATER_STEP);
        let due = core.low_water_awaited().map_or(step, |awaited| step.min(awaited));
        if !self.frontends.is_empty() && self.frontends.values().all(|report| report.oldest >= due) {
            let report = |(frontend, report): (&FrontendId, &FrontendReport)| SnapshotReport {
                frontend: *frontend,
                epoch: report.epoch,
                oldest: report.oldest,
            };
            let reports = self.frontends.iter().map(report).collect();
            commands.push(Command::RaiseLowWater { reports });
        }
    }

    fn acknowledge(&mut self, commands: &mut Vec<Command>) {
        let mut acknowledged = Vec::new();
        for ((frontend, epoch), numbers) in &mut self.unacknowledged {
            let below = numbers.outstanding.below();
            if below > numbers.below {
                numbers.below = below;
                acknowledged.push(Acknowledgement { frontend: *frontend, epoch: *epoch, below });
            }
        }
        if !acknowledged.is_empty() {
            commands.push(Command::AcknowledgeOutcomes { acknowledged });
        }
        let state = self.node.read();
        self.unacknowledged.retain(|(frontend, epoch), _| state.core.frontend_epoch(*frontend) == *epoch);
    }
}

/// The lives that the log has granted and not ended, each as if it had just reported.
fn living(core: &assize_adjudicator::Adjudicator) -> impl Iterator<Item = (FrontendId, FrontendReport)> + '_ {
    core.frontends().filter(|(_, frontend)| frontend.nonce.is_some()).map(|(id, frontend)| {
        let (epoch, oldest) = (frontend.epoch, frontend.oldest_snapshot);
        (id, FrontendReport { epoch, oldest, silent: Duration::ZERO })
    })
}

fn unwrap_answer(reply: crate::raft::AnyReply) -> Answer {
    let reply = reply.expect("commands are answered");
    *reply.downcast::<Answer>().expect("this node's mind answers with answers")
}

/// The advisory locks, and who is told when a wait ends.
#[derive(Default)]
pub struct Locks {
    pub table: LockTable,
    waiters: BTreeMap<crate::locks::Ticket, oneshot::Sender<crate::locks::Settled>>,
}

impl Locks {
    /// Somebody to tell about a ticket.
    pub fn wait(&mut self, ticket: crate::locks::Ticket) -> oneshot::Receiver<crate::locks::Settled> {
        let (tell, told) = oneshot::channel();
        self.waiters.insert(ticket, tell);
        told
    }

    /// Gives up a wait.
    pub fn cancel(&mut self, owner: TxnId, ticket: crate::locks::Ticket) -> bool {
        self.waiters.remove(&ticket);
        let waited = self.table.cancel(owner, ticket);
        self.settle();
        waited
    }

    /// Gives back everything of an owner.
    pub fn release(&mut self, owner: TxnId) {
        self.table.release(owner);
        self.settle();
    }

    /// Gives back everything of the lives of frontends that are over.
    pub fn release_lives(&mut self, is_over: impl Fn(FrontendId, FrontendEpoch) -> bool) {
        self.table.release_lives(is_over);
        self.settle();
    }

    fn settle(&mut self) {
        for (ticket, how) in self.table.take_settled() {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                // One that went away gives back what it got when its transaction ends.
                let _ = waiter.send(how);
            }
        }
    }
}
