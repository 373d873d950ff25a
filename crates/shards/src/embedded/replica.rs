//! The hands of a replica: one task that feeds its mind and carries out what it asks for.
//!
//! The mind (`assize-replica`) decides everything; it was simulated before it met a disk. What takes long (a sibling, the
//! adjudicator's leader, a copy) goes on beside the task and comes back as an event; the task itself waits for its disk
//! and for nothing else.
//!
//! A **fledgling** is a replica of a shard that does not exist yet. It follows the parent's stream as a learner. The entry
//! that splits the parent is where it leaves: everything before it belongs to both shards, and from it on there is a
//! stream of its own.
//!
//! ```text
//!   parent's stream   … 41 ── 42 ── 43 (split) ── 44 …
//!   fledgling            └──▶ 42 ─┐
//!   its own stream                └──▶ 43 ── 44 …
//! ```

use super::copy::{Purpose, Throttle};
use super::damage::{self, Tally};
use super::engine::{Generation, RocksEngine};
use super::giver::{self, Giver};
use super::registry::{Begun, Record, Registry};
use super::siblings::Siblings;
use super::{OpenError, Options, RESUBSCRIBE, blocking, copy};
use crate::wire::Phase;
use assize_model::{
    Epoch, LogIndex, PlacementCommand, Position, ReplicaId, ShardId, Slot, StreamEntry, Timestamp, TxnId,
    Vote,
};
use assize_mvcc::{ContentHash, Engine, EngineError, Gain, MvccStore, Prepare, Reader, Slots, StoreError};
use assize_ports::{
    BoxFuture, DecisionSource, DecisionStream, PeerError, PlacementError, ShardAdministration,
    ShardStandings, StreamError,
};
use assize_replica::{
    Alarm, ContentPage, Effect, IntentAnswer, ReadRefusal, RequestId, Staging, Standing, Standings,
};
use assize_rocks::{Image, RocksError};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

mod slots;

/// Prepares that share one sync.
const PREPARES_PER_WRITE: usize = 64;
/// How often the mind is told that time has passed.
const TICK: Duration = Duration::from_millis(250);
/// And how often while it takes slots in.
const STEP: Duration = Duration::from_millis(5);
/// And how often while it looks for what can be dropped.
const WALK: Duration = Duration::from_millis(25);
/// A replica that a full disk has held up for so long stops: RocksDB does not always go on by itself when there
/// is room again, and after a restart it does.
const FULL_MAX: Duration = Duration::from_secs(30);
/// Questions to the adjudicator that are not answered within this time are asked again.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How often the log is told that a learner is gone, and the pause between.
const RELEASES_MAX: usize = 100;
const RELEASE_AGAIN: Duration = Duration::from_secs(3);
/// Requests for a shard that is about to be there; more are turned away.
const HELD_MAX: usize = 1024;
/// While a copy comes it is looked this often whether the disk has room for it.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(250);

type Mind = assize_replica::Replica<RocksEngine>;
type MindEvent = assize_replica::Event<RocksEngine>;

/// What reaches the task, besides the stream.
pub enum Event {
    /// Vote. Silence is an answer too: the replica cannot tell.
    Prepare(Prepare, oneshot::Sender<Vote>),
    /// A hint that a transaction will never commit.
    Forget(TxnId),
    /// Say when a read may go ahead.
    Admit(Timestamp, Option<Epoch>, oneshot::Sender<Result<(), ReadRefusal>>),
    /// A sibling lacks an intent.
    IntentAsked(ReplicaId, TxnId, oneshot::Sender<IntentAnswer>),
    /// A learner wants a checkpoint at or after an entry.
    CheckpointAsked(ReplicaId, LogIndex, oneshot::Sender<Image>),
    /// Another shard gains slots, perhaps from this one.
    SlotsAsked(Gain, oneshot::Sender<Image>),
    /// Slots of that shard are about to be moved to this one: stage them, or go on with it, and say how far that is.
    Stage(ShardId, Slots, oneshot::Sender<Staging>),
    /// A sibling compares.
    ContentAsked(ReplicaId, ContentPage, oneshot::Sender<Option<ContentHash>>),
    /// The contents are not those of the siblings, as they were in this epoch (`None`: now).
    ContentDiffers(Option<Epoch>),
    /// Begin to make durable what has been applied.
    Flush,
    /// A reader of these contents met an error that ends the replica.
    ReadFailed(Generation, StoreError),
    /// Flush and end.
    Stop,
}

/// The contents that can be read now.
#[derive(Clone)]
pub struct View {
    /// Which they are.
    pub generation: Generation,
    /// Reads them.
    pub reader: Reader<RocksEngine>,
}

/// How the replica is, for those who read and those who watch.
#[derive(Clone)]
pub struct Progress {
    /// What can be read; nothing while it is being rebuilt.
    pub view: Option<View>,
    /// What it does.
    pub phase: Phase,
}

/// Numbers that change too often to be watched.
#[derive(Default)]
pub struct Gauges {
    /// The last entry applied.
    pub index: AtomicU64,
    /// The last entry applied durably.
    pub durable: AtomicU64,
    /// Bytes of the copy that is being made.
    pub copied: Arc<AtomicU64>,
    /// Bytes on disk, roughly.
    pub files: AtomicU64,
    /// Intents that are not decided.
    pub undecided: AtomicU64,
    /// Whether it has stopped because its stored bytes are not those that were written.
    pub is_damaged: AtomicBool,
}

/// Everything around a replica.
#[derive(Clone)]
pub struct Surroundings {
    pub source: Arc<dyn DecisionSource>,
    pub administration: Arc<dyn ShardAdministration>,
    pub siblings: Siblings,
    pub registry: Registry,
    /// Where the node keeps its shards; `None`: in memory.
    pub directory: Option<PathBuf>,
    pub options: Options,
    pub tally: Arc<Tally>,
    /// Whether the log has grown so long that copies for which nobody waits otherwise are waited for.
    pub hurries: Arc<AtomicBool>,
}

impl Surroundings {
    /// How fast a copy goes for which nobody waits.
    pub(super) fn throttle(&self) -> Throttle {
        Throttle { bytes_per_second: giver::PACE, is_lifted: self.hurries.clone() }
    }

    /// Ends once the disk has too little room for a copy that can wait; never, for one that cannot.
    pub(super) fn until_no_room(&self, can_wait: bool) -> impl Future<Output = RocksError> + Send + use<> {
        let directory = self.directory.clone().filter(|_| can_wait);
        let room_min = self.options.room_min;
        async move {
            let Some(directory) = directory else { return std::future::pending().await };
            loop {
                // A disk that does not say how much it has left is not taken for a full one.
                let free = assize_rocks::free_bytes(&directory).unwrap_or(u64::MAX);
                if free < room_min {
                    let reason = format!("{free} bytes are left of it, and nobody waits for this copy");
                    return RocksError::Full { reason };
                }
                tokio::time::sleep(LOOK_FOR_ROOM).await;
            }
        }
    }
}

/// The task.
pub struct Replica {
    shard: ShardId,
    record: Record,
    mind: Mind,
    /// What the mind asked for and is not done yet.
    effects: Vec<Effect<Image>>,
    stream: Option<Box<dyn DecisionStream>>,
    /// The subscription that is on its way: its number, and after which entry.
    subscribing: Option<(u64, LogIndex)>,
    subscriptions: u64,
    /// Where the stream will go on, so that asking again for the same costs nothing.
    streamed: Position,
    has_ended: bool,
    /// Of a fledgling: entries from one on that may be the split.
    gate: VecDeque<Arc<StreamEntry>>,
    /// Of a fledgling: requests for the shard that it will be.
    held: Vec<Event>,
    around: Surroundings,
    events: mpsc::Receiver<Event>,
    progress: watch::Sender<Progress>,
    gauges: Arc<Gauges>,
    votes: BTreeMap<RequestId, oneshot::Sender<Vote>>,
    reads: BTreeMap<RequestId, oneshot::Sender<Result<(), ReadRefusal>>>,
    intents: BTreeMap<(ReplicaId, TxnId), Vec<oneshot::Sender<IntentAnswer>>>,
    learners: BTreeMap<ReplicaId, oneshot::Sender<Image>>,
    /// Siblings that compare: the last question of each.
    comparing: BTreeMap<ReplicaId, (ContentPage, oneshot::Sender<Option<ContentHash>>)>,
    /// What goes on beside the task.
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Of these questions one is on its way.
    asked: BTreeSet<Question>,
    copying: Option<BoxFuture<'static, Copied>>,
    /// Whether an earlier life has begun a copy that can be gone on with.
    goes_on: bool,
    /// Whose checkpoint the mind has asked for last, and how many bytes had been copied then.
    asked_for_copy: ReplicaId,
    copied_when_asked: u64,
    /// A copy of a shard whose slots this one gains, on its way.
    gaining: Option<BoxFuture<'static, (Generation, RocksEngine)>>,
    /// Such copies that are here, and the entry up to which they are needed.
    borrowed: Vec<(Generation, LogIndex)>,
    borrowed_until: LogIndex,
    /// The shard whose slots are being staged.
    giver: Giver,
    /// Since when its copies are of no use any more.
    useless_since: Option<Instant>,
    /// When it was last looked at whether compaction is behind, and whether it was.
    compaction: (Instant, bool),
    /// Whether its stream could not be followed when it was tried last.
    has_lost_giver: bool,
    /// Contents that the mind may still read, and that go when it follows again.
    outdated: Vec<Generation>,
    next_request: u64,
    /// Since when a full disk holds the stream up.
    full_since: Option<Instant>,
}

/// Why the task ends.
enum End {
    Stop,
    Failed(String),
    /// The store has found damage.
    Damaged(String),
}

/// What has come back.
enum Done {
    Subscribed(u64, Position, Result<Box<dyn DecisionStream>, StreamError>),
    SubscribeAgain,
    Intent(ReplicaId, TxnId, IntentAnswer),
    GiverIntent(TxnId, IntentAnswer),
    Answered(Question, Option<MindEvent>),
    CopyFailed(ReplicaId),
    Content(ReplicaId, ContentPage, Option<ContentHash>),
    Nothing,
}

/// What came of a copy.
type Copied = Result<(Generation, RocksEngine), copy::CopyError>;

/// A question to the adjudicator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Question {
    Standings,
    Raise,
    Register,
}

impl Replica {
    /// Opens the mind on what the record says is there. `epoch` and `slots` are the shard's, should the contents be empty.
    pub fn open(
        shard: ShardId,
        record: Record,
        epoch: Epoch,
        slots: Vec<(Slot, Slot)>,
        events: mpsc::Receiver<Event>,
        around: Surroundings,
    ) -> Result<(Replica, watch::Receiver<Progress>, Arc<Gauges>), OpenError> {
        let mut effects = Vec::new();
        let store =
            assize_mvcc::Options { epoch, slots: Slots::new(slots), ..assize_mvcc::Options::default() };
        let options = mind_options(shard, &record, store, &around.options);
        let begun = around.registry.begun(shard);
        let goes_on = begun.is_some() && record.contents.is_none();
        let mind = match record.contents {
            None => match begun {
                Some(begun) => {
                    Mind::copy_on(now(), begun.registered, record.had_intents, options, &mut effects)
                }
                None => Mind::copy(now(), record.had_intents, options, &mut effects),
            },
            Some(generation) => {
                let engine = RocksEngine::open(around.registry.store(), shard, generation);
                let engine = engine.ok_or_else(|| OpenError::Shard {
                    shard,
                    reason: "the families that its record names are not there".into(),
                })?;
                // From here on it promises again, and what it promises a copy from before does not have.
                in_place(|| around.registry.forget_copy(shard)).map_err(OpenError::Store)?;
                in_place(|| Mind::resume(now(), engine, options, &mut effects))
            }
        };
        if let Some(alarm) = mind.alarm() {
            let reason = alarm.to_string();
            return Err(match is_damage(alarm) {
                true => OpenError::Damaged { shard, reason },
                false => OpenError::Shard { shard, reason },
            });
        }
        let progress = Progress { view: None, phase: Phase::Copying { bytes: 0 } };
        let (progress, watched) = watch::channel(progress);
        let gauges = Arc::new(Gauges::default());
        let mut replica = Replica {
            shard,
            record,
            mind,
            effects,
            stream: None,
            subscribing: None,
            subscriptions: 0,
            streamed: Position::default(),
            has_ended: false,
            gate: VecDeque::new(),
            held: Vec::new(),
            around,
            events,
            progress,
            gauges: gauges.clone(),
            votes: BTreeMap::new(),
            reads: BTreeMap::new(),
            intents: BTreeMap::new(),
            learners: BTreeMap::new(),
            pending: FuturesUnordered::new(),
            asked: BTreeSet::new(),
            comparing: BTreeMap::new(),
            copying: None,
            goes_on,
            asked_for_copy: record.replica,
            copied_when_asked: 0,
            gaining: None,
            borrowed: Vec::new(),
            borrowed_until: LogIndex(0),
            giver: Giver::default(),
            useless_since: None,
            compaction: (Instant::now(), false),
            has_lost_giver: false,
            outdated: Vec::new(),
            next_request: 0,
            full_since: None,
        };
        replica.publish();
        Ok((replica, watched, gauges))
    }

    /// As whom it follows a stream: itself, or a learner of its parent.
    fn me(&self) -> (ShardId, ReplicaId) {
        self.record.parent.unwrap_or((self.shard, self.record.replica))
    }

    /// Runs until it is stopped or fails.
    pub async fn run(mut self) {
        let shard = self.shard;
        let end = self.follow().await;
        self.gauges.is_damaged.store(matches!(end, End::Damaged(_)), Ordering::Relaxed);
        match end {
            End::Stop => {
                if let Some(store) = self.mind.store()
                    && let Err(error) = in_place(|| store.engine().flush())
                {
                    // Nothing is lost: the stream brings it again.
                    tracing::warn!(%shard, %error, "the last flush failed");
                }
                // The directory is free once nobody can read it any more.
                self.progress.send_modify(|progress| progress.view = None);
            }
            End::Failed(why) | End::Damaged(why) => {
                tracing::error!(%shard, replica = %self.record.replica, why, "the replica stops");
                self.progress.send_modify(|progress| {
                    progress.view = None;
                    progress.phase = Phase::Halted(why);
                });
                // Whoever waits learns of it by the end of the channels.
            }
        }
    }

    async fn follow(&mut self) -> End {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut walks = tokio::time::interval(WALK);
        walks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Err(end) = self.carry_out() {
                return end;
            }
            if !self.gate.is_empty()
                && let Err(end) = self.pass_gate().await
            {
                return end;
            }
            self.publish();
            let listens = !self.has_ended && self.gate.is_empty();
            let step = tokio::select! {
                entries = next_entries(&mut self.stream), if listens && self.stream.is_some() => {
                    self.take_in(entries)
                }
                Some(done) = self.pending.next(), if !self.pending.is_empty() => self.done(done),
                copied = next_copy(&mut self.copying), if self.copying.is_some() => self.copied(copied),
                (generation, engine) = next_copy(&mut self.gaining), if self.gaining.is_some() => {
                    self.gaining = None;
                    self.borrow_slots(generation, engine)
                }
                arrival = self.giver.next(), if self.giver.is_there() => self.take_from_giver(arrival),
                event = self.events.recv() => match event {
                    Some(event) => self.take(event),
                    None => Err(End::Stop),
                },
                _ = ticks.tick() => self.tick(),
                // Slots are being taken in, a step a tick; the stream may wait for them.
                _ = steps.tick(), if self.mind.is_taking_in() => {
                    if !self.gives_way() {
                        in_place(|| self.step(MindEvent::Tick));
                    }
                    Ok(())
                }
                _ = walks.tick(), if self.mind.is_collecting() => {
                    if !self.is_compaction_behind() {
                        in_place(|| self.step(MindEvent::Tick));
                    }
                    Ok(())
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn step(&mut self, event: MindEvent) {
        self.mind.step(now(), event, &mut self.effects);
    }

    fn tick(&mut self) -> Result<(), End> {
        in_place(|| self.step(MindEvent::Tick));
        self.drop_those_who_left();
        let durable = self.mind.store().map(MvccStore::durable_position).and_then(Result::ok);
        self.gauges.durable.store(durable.unwrap_or_default().index.0, Ordering::Relaxed);
        let files = self.mind.store().map_or(0, |store| store.engine().file_bytes());
        self.gauges.files.store(files, Ordering::Relaxed);
        let undecided = self.mind.store().map_or(0, MvccStore::undecided);
        self.gauges.undecided.store(undecided as u64, Ordering::Relaxed);
        self.give_back()?;
        self.look_at_the_disk()
    }

    /// Shows what can be read, and what the replica does.
    fn publish(&mut self) {
        let position = self.mind.position();
        self.gauges.index.store(position.unwrap_or_default().index.0, Ordering::Relaxed);
        let generation = position.and(self.record.contents);
        let phase = match position {
            None => Phase::Copying { bytes: self.gauges.copied.load(Ordering::Relaxed) },
            Some(_) if self.record.parent.is_some() => Phase::Fledgling,
            Some(_) => Phase::Following,
        };
        {
            let shown = self.progress.borrow();
            if shown.view.as_ref().map(|view| view.generation) == generation && shown.phase == phase {
                return;
            }
        }
        let view = generation.zip(self.mind.reader()).map(|(generation, reader)| View { generation, reader });
        self.progress.send_replace(Progress { view, phase });
    }

    // The stream.

    fn take_in(&mut self, entries: Result<Vec<Arc<StreamEntry>>, StreamError>) -> Result<(), End> {
        match entries {
            Ok(entries) => {
                for entry in entries {
                    self.streamed = entry.position;
                    let may_be_the_split = self.record.parent.is_some() && entry.epoch.is_some();
                    if may_be_the_split || !self.gate.is_empty() {
                        self.gate.push_back(entry);
                    } else {
                        self.step(MindEvent::Streamed(entry));
                    }
                }
                Ok(())
            }
            Err(error) => self.stream_failed(error),
        }
    }

    fn stream_failed(&mut self, error: StreamError) -> Result<(), End> {
        let (shard, replica) = self.me();
        self.stream = None;
        match error {
            // The adjudicator of this process stops, and its reason is the better one.
            StreamError::Ended(why) => {
                tracing::debug!(%shard, why, "the stream has ended");
                self.has_ended = true;
            }
            StreamError::Forgotten { .. } if self.around.siblings.has_any(shard, replica) => {
                tracing::warn!(%shard, %replica, %error, "the replica is rebuilt from a sibling");
                self.step(MindEvent::StreamForgotten);
            }
            StreamError::Forgotten { .. } => return Err(End::Failed(error.to_string())),
            // A shard that the source does not know (yet, or any more) is waited for: who closes this replica is told
            // by the placement, not by a stream.
            StreamError::Unreachable(_) | StreamError::NoSuchShard(_) => {
                self.pending.push(Box::pin(async {
                    tokio::time::sleep(RESUBSCRIBE).await;
                    Done::SubscribeAgain
                }));
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, after: Position) {
        let is_subscribed = self.stream.is_some() && after.index == self.streamed.index;
        let is_subscribing = self.subscribing.is_some_and(|(_, index)| index == after.index);
        if is_subscribed || is_subscribing || self.has_ended {
            return;
        }
        self.stream = None;
        self.gate.clear();
        self.subscriptions += 1;
        let number = self.subscriptions;
        self.subscribing = Some((number, after.index));
        let (source, (shard, _)) = (self.around.source.clone(), self.me());
        self.pending.push(Box::pin(async move {
            let unreachable = Err(StreamError::Unreachable("no answer".into()));
            let subscribed = tokio::time::timeout(ASK_MAX, source.subscribe(shard, after)).await;
            Done::Subscribed(number, after, subscribed.unwrap_or(unreachable))
        }));
    }

    fn done(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Subscribed(number, after, subscribed) => {
                if self.subscribing.is_none_or(|(latest, _)| latest != number) {
                    return Ok(());
                }
                self.subscribing = None;
                match subscribed {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.streamed = after;
                    }
                    Err(error) => return self.stream_failed(error),
                }
            }
            Done::SubscribeAgain => {
                if self.stream.is_none() && self.subscribing.is_none() {
                    self.step(MindEvent::StreamLost);
                }
            }
            Done::Intent(from, txn, answer) => {
                self.step(MindEvent::IntentAnswered { from, txn, answer });
            }
            Done::GiverIntent(txn, answer) => self.step(MindEvent::GiverAnswered { txn, answer }),
            Done::Content(from, page, answer) => {
                self.step(MindEvent::ContentAnswered { from, page, answer });
            }
            Done::Nothing => {}
            Done::CopyFailed(from) => self.step(MindEvent::CheckpointFailed { from }),
            Done::Answered(question, event) => {
                self.asked.remove(&question);
                if let Some(event) = event {
                    self.step(event);
                }
            }
        }
        Ok(())
    }

    // The split.

    /// Of a fledgling: looks at each entry that may be the split once everything before it has been applied.
    async fn pass_gate(&mut self) -> Result<(), End> {
        while let Some(entry) = self.gate.front().cloned() {
            let Some(position) = self.mind.position() else {
                // What is copied now comes with a subscription of its own.
                self.gate.clear();
                return Ok(());
            };
            if entry.position.index > position.index {
                if entry.after != position.index {
                    // An intent is being fetched.
                    return Ok(());
                }
                let own = stream_from(self.around.source.clone(), self.shard, position);
                match own.await {
                    Ok(Some((stream, entries))) => return self.leave_parent(position, stream, entries),
                    Ok(None) => {}
                    // Asked again with the next tick.
                    Err(_) => return Ok(()),
                }
            }
            self.gate.pop_front();
            self.step(MindEvent::Streamed(entry));
            self.carry_out()?;
        }
        Ok(())
    }

    /// From here on it is a replica of its own shard.
    fn leave_parent(
        &mut self,
        position: Position,
        stream: Box<dyn DecisionStream>,
        entries: Vec<Arc<StreamEntry>>,
    ) -> Result<(), End> {
        let failed = |error: &dyn std::fmt::Display| End::Failed(error.to_string());
        let (Some(store), Some(generation), Some((parent, learner))) =
            (self.mind.store(), self.record.contents, self.record.parent)
        else {
            return Ok(());
        };
        // Its own stream does not go back behind the split, so nothing before it may be lost any more.
        in_place(|| store.engine().flush()).map_err(|error| failed(&error))?;
        // Whoever follows the placement says when it has heard of the shard.
        let record = Record { parent: None, is_learner: true, had_intents: true, ..self.record };
        in_place(|| self.around.registry.put(self.shard, record)).map_err(|error| failed(&error))?;
        let engine = RocksEngine::open(self.around.registry.store(), self.shard, generation);
        let engine = engine.expect("the families that the mind has just used");
        self.record = record;
        self.effects.clear();
        self.pending = FuturesUnordered::new();
        self.asked.clear();
        self.subscribing = None;
        self.gate.clear();
        let options =
            mind_options(self.shard, &record, assize_mvcc::Options::default(), &self.around.options);
        self.mind = in_place(|| Mind::resume(now(), engine, options, &mut self.effects));
        self.stream = Some(stream);
        self.streamed = position;
        tracing::info!(shard = %self.shard, replica = %record.replica, at = %position.index, "split off");
        self.release(parent, learner);
        self.take_in(Ok(entries))?;
        for event in std::mem::take(&mut self.held) {
            self.take(event)?;
        }
        Ok(())
    }

    /// The parent's log and intents need not be kept for this learner any more.
    fn release(&self, parent: ShardId, learner: ReplicaId) {
        let administration = self.around.administration.clone();
        self.pending.push(Box::pin(async move {
            release(administration, parent, learner).await;
            Done::Nothing
        }));
    }

    // Requests.

    fn take(&mut self, event: Event) -> Result<(), End> {
        let mut prepares = Vec::new();
        let mut end = Ok(());
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Event::Prepare(..) | Event::Admit(..) if self.record.parent.is_some() => {
                    // Whoever is turned away hears it by the end of its channel.
                    if self.held.len() < HELD_MAX {
                        self.held.push(event);
                    }
                }
                Event::Prepare(prepare, reply) => {
                    // Without a store it cannot tell, and silence is for the coordinator to count.
                    if self.mind.store().is_some() {
                        let request = self.draw();
                        self.votes.insert(request, reply);
                        prepares.push((request, prepare));
                    }
                }
                Event::Forget(txn) => self.step(MindEvent::ForgetAsked(txn)),
                Event::Admit(snapshot_ts, epoch, reply) => {
                    let request = self.draw();
                    self.reads.insert(request, reply);
                    self.step(MindEvent::ReadAsked { request, snapshot_ts, epoch });
                }
                Event::IntentAsked(from, txn, reply) => {
                    self.intents.entry((from, txn)).or_default().push(reply);
                    in_place(|| self.step(MindEvent::IntentAsked { from, txn }));
                }
                Event::CheckpointAsked(from, at_least, reply) => {
                    if self.mind.store().is_some() {
                        self.learners.insert(from, reply);
                        in_place(|| self.step(MindEvent::CheckpointAsked { from, at_least }));
                    }
                }
                Event::SlotsAsked(gain, reply) => self.give_slots(&gain, reply),
                Event::Stage(giver, slots, reply) => self.stage(giver, slots, reply),
                Event::ContentAsked(from, page, reply) => {
                    self.comparing.insert(from, (page.clone(), reply));
                    in_place(|| self.step(MindEvent::ContentAsked { from, page }));
                }
                Event::ContentDiffers(epoch) => {
                    if let Some(epoch) = epoch.or_else(|| self.mind.store().map(MvccStore::epoch)) {
                        self.step(MindEvent::ContentDiffers { epoch });
                    }
                }
                Event::Flush => self.begin_flush(),
                Event::ReadFailed(generation, error) => {
                    // Contents that have been replaced end nobody.
                    if self.record.contents == Some(generation) {
                        end = Err(end_of(&Alarm::Store(error)));
                    }
                }
                Event::Stop => end = Err(End::Stop),
            }
            // Prepares that have arrived together share one sync.
            let goes_on = end.is_ok() && prepares.len() < PREPARES_PER_WRITE;
            next = if goes_on { self.events.try_recv().ok() } else { None };
        }
        if !prepares.is_empty() {
            in_place(|| self.step(MindEvent::PreparesAsked(prepares)));
        }
        end
    }

    fn begin_flush(&self) {
        if let Some(store) = self.mind.store()
            && let Err(error) = store.engine().begin_flush()
        {
            // The mind flushes by itself and hears the error then.
            tracing::warn!(shard = %self.shard, %error, "a flush cannot begin");
        }
    }

    fn draw(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Tells the mind of requests for which nobody waits any more.
    fn drop_those_who_left(&mut self) {
        let mut gone: Vec<RequestId> = Vec::new();
        gone.extend(self.votes.extract_if(.., |_, reply| reply.is_closed()).map(|(request, _)| request));
        gone.extend(self.reads.extract_if(.., |_, reply| reply.is_closed()).map(|(request, _)| request));
        gone.into_iter().for_each(|request| self.step(MindEvent::Cancelled(request)));
        self.learners.retain(|_, reply| !reply.is_closed());
        self.comparing.retain(|_, (_, reply)| !reply.is_closed());
        self.intents.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });
        self.held.retain(|event| match event {
            Event::Prepare(_, reply) => !reply.is_closed(),
            Event::Admit(_, _, reply) => !reply.is_closed(),
            _ => true,
        });
    }

    fn look_at_the_disk(&mut self) -> Result<(), End> {
        if !self.mind.is_full() {
            self.full_since = None;
            return Ok(());
        }
        let shard = self.shard;
        if self.full_since.is_none() {
            tracing::error!(%shard, "the disk is full: waiting for space");
        }
        let since = self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > FULL_MAX {
            return Err(End::Failed(format!("the disk has been full for {} s", FULL_MAX.as_secs())));
        }
        Ok(())
    }

    // Effects.

    fn carry_out(&mut self) -> Result<(), End> {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out_one(effect)?;
            }
        }
        Ok(())
    }

    fn carry_out_one(&mut self, effect: Effect<Image>) -> Result<(), End> {
        let (shard, replica) = self.me();
        match effect {
            Effect::Subscribe { after } => self.subscribe(after),
            Effect::Vote { request, vote, .. } => {
                if let Some(reply) = self.votes.remove(&request) {
                    // A coordinator that went away is done with the transaction.
                    let _ = reply.send(vote);
                }
            }
            Effect::AdmitRead { request } => {
                if let Some(reply) = self.reads.remove(&request) {
                    let _ = reply.send(Ok(()));
                }
            }
            Effect::RefuseRead { request, refusal } => {
                if let Some(reply) = self.reads.remove(&request) {
                    let _ = reply.send(Err(refusal));
                }
            }
            Effect::ReportDurable { durable } => {
                self.around.source.report_durable(shard, replica, durable);
            }
            Effect::FetchIntent { from, txn } => {
                let siblings = self.around.siblings.clone();
                self.pending.push(Box::pin(async move {
                    Done::Intent(from, txn, siblings.intent(shard, replica, from, txn).await)
                }));
            }
            Effect::AnswerIntent { to, txn, answer } => {
                for reply in self.intents.remove(&(to, txn)).into_iter().flatten() {
                    let _ = reply.send(answer.clone());
                }
            }
            Effect::SendCheckpoint { to, checkpoint } => {
                if let Some(reply) = self.learners.remove(&to) {
                    // A learner that went away asks somebody else.
                    let _ = reply.send(checkpoint);
                }
            }
            Effect::AskStandings => self.ask_standings(),
            Effect::RaiseEpoch | Effect::Register if !self.around.siblings.has_any(shard, replica) => {
                // A learner may have come here before the news of its shard, and is asked for again.
                if !self.record.is_learner {
                    return Err(End::Failed("it must be rebuilt from a sibling, and there is none".into()));
                }
            }
            Effect::RaiseEpoch => {
                self.forget_copy()?;
                self.administer(Question::Raise, PlacementCommand::Raise(shard), |_| MindEvent::EpochRaised);
            }
            Effect::Register => {
                self.forget_copy()?;
                let command = PlacementCommand::Register(shard, replica);
                self.administer(Question::Register, command, |index| MindEvent::Registered { index });
            }
            Effect::AskCheckpoint { from, at_least } => self.copy(from, at_least)?,
            Effect::Halt(alarm) => return Err(end_of(&alarm)),
            Effect::AskSlots { gain } => self.ask_slots(gain),
            Effect::FollowGiver { giver, after } => {
                let pauses = self.has_lost_giver;
                self.giver.follow(self.around.source.clone(), giver, after, pauses);
            }
            Effect::AskGiver { gain, .. } => {
                self.giver.copy(self.around.clone(), shard, gain);
            }
            Effect::FetchFromGiver { giver, txn } => {
                let siblings = self.around.siblings.clone();
                self.pending.push(Box::pin(async move {
                    Done::GiverIntent(txn, siblings.intent_of_any(giver, replica, txn).await)
                }));
            }
            Effect::LeaveGiver => self.giver.leave(),
            Effect::AskContent { from, page } => {
                let siblings = self.around.siblings.clone();
                self.pending.push(Box::pin(async move {
                    match siblings.content(shard, replica, from, page.clone()).await {
                        Some(answer) => Done::Content(from, page, answer),
                        None => Done::Nothing,
                    }
                }));
            }
            Effect::AnswerContent { to, page, answer } => {
                if let Some((asked, reply)) = self.comparing.remove(&to)
                    && asked == page
                {
                    // One that went away asks again.
                    let _ = reply.send(answer);
                }
            }
            Effect::TellContentDiffers { to, epoch } => {
                let siblings = self.around.siblings.clone();
                self.pending.push(Box::pin(async move {
                    siblings.tell_differs(shard, to, epoch).await;
                    Done::Nothing
                }));
            }
            Effect::ReportLost { txn, decided } => {
                tracing::error!(
                    %shard, %txn, %decided,
                    "the writes of this commit are lost with the replicas that were given up"
                );
            }
            Effect::ReportDifference(difference) => {
                self.around.tally.count_difference();
                tracing::error!(%shard, ?difference, "replicas do not hold the same rows");
            }
        }
        Ok(())
    }

    fn ask_standings(&mut self) {
        if !self.asked.insert(Question::Standings) {
            return;
        }
        let (source, (shard, _)) = (self.around.source.clone(), self.me());
        self.pending.push(Box::pin(async move {
            let standings = tokio::time::timeout(ASK_MAX, source.standings(shard)).await;
            let standings = standings.ok().and_then(Result::ok).map(standings_of);
            Done::Answered(Question::Standings, standings.map(MindEvent::StandingsReported))
        }));
    }

    fn administer(
        &mut self,
        question: Question,
        command: PlacementCommand,
        event: impl FnOnce(LogIndex) -> MindEvent + Send + 'static,
    ) {
        if !self.asked.insert(question) {
            return;
        }
        let (administration, shard) = (self.around.administration.clone(), self.shard);
        self.pending.push(Box::pin(async move {
            let done = tokio::time::timeout(ASK_MAX, administration.administer(command)).await;
            let index = match done {
                Ok(Ok(index)) => Some(index),
                Ok(Err(error)) => {
                    tracing::debug!(%shard, ?question, %error, "asked again later");
                    None
                }
                Err(_) => None,
            };
            Done::Answered(question, index.map(event))
        }));
    }

    // Rebuilding.

    /// What has come of a copy is of no use any more: its replica registers anew, or another sibling is copied.
    fn forget_copy(&mut self) -> Result<(), End> {
        self.goes_on = false;
        let forgotten = in_place(|| self.around.registry.forget_copy(self.shard));
        forgotten.map_err(|error| End::Failed(error.to_string()))
    }

    /// Begins to copy a sibling, or goes on with what an earlier life has begun. One that is being copied and goes on is left to it, however long it takes; one that stands
    /// still is given up.
    fn copy(&mut self, from: ReplicaId, at_least: LogIndex) -> Result<(), End> {
        let (shard, me) = self.me();
        self.asked_for_copy = from;
        let so_far = self.gauges.copied.load(Ordering::Relaxed);
        if self.copying.is_some() && so_far > std::mem::replace(&mut self.copied_when_asked, so_far) {
            return Ok(());
        }
        self.copied_when_asked = 0;
        self.copying = None;
        let registered = |begun: &Begun| begun.registered == at_least;
        let begun = self.around.registry.begun(self.shard).filter(registered).filter(|_| self.goes_on);
        if begun.is_none() {
            self.forget_copy()?;
        }
        self.goes_on = false;
        let (into, siblings) = (self.shard, self.around.siblings.clone());
        let (registry, copied) = (self.around.registry.clone(), self.gauges.copied.clone());
        copied.store(begun.as_ref().map_or(0, |begun| begun.bytes), Ordering::Relaxed);
        // For a shard that does not exist yet nobody waits, nor for a replica that is only being added.
        let is_learner = registry.get(into).unwrap_or(self.record).is_learner;
        let throttle = is_learner.then(|| self.around.throttle());
        let purpose = Purpose::Replica { throttle };
        tracing::info!(%shard, replica = %me, %from, goes_on = begun.is_some(), "copying a sibling");
        let (room, no_room) = (self.keep_room(), self.around.until_no_room(is_learner));
        let noted_bytes = self.around.options.noted_bytes;
        self.copying = Some(Box::pin(async move {
            let receive = |source, way| {
                copy::receive(registry.clone(), into, purpose.clone(), source, copied.clone(), way)
            };
            let in_parts = async {
                let (source, way) = siblings.checkpoint(shard, me, from, at_least, noted_bytes).await?;
                receive(source, way).await
            };
            let rest_of = |begun: Begun| {
                let way = siblings.way(shard, me, (begun.from, begun.name), at_least, noted_bytes);
                copy::go_on(registry.clone(), into, purpose.clone(), begun, copied.clone(), way)
            };
            let arrived = async {
                if let Some(begun) = begun {
                    match rest_of(begun).await {
                        Err(error @ (copy::CopyError::Gone | copy::CopyError::NotThere)) => {
                            tracing::info!(%shard, replica = %me, %error, "the copy begins anew");
                            copied.store(0, Ordering::Relaxed);
                            let (registry, into) = (registry.clone(), into);
                            blocking(move || registry.forget_copy(into)).await?;
                        }
                        arrived => return arrived,
                    }
                }
                match in_parts.await {
                    Err(copy::CopyError::Peer(PeerError::Refused { .. })) => {
                        let source = siblings.checkpoint_in_one_piece(shard, me, from, at_least).await?;
                        receive(source, None).await
                    }
                    arrived => arrived,
                }
            };
            tokio::select! {
                arrived = arrived => arrived,
                Err(error) = room => Err(error.into()),
                error = no_room => Err(error.into()),
            }
        }));
        Ok(())
    }

    /// Has damaged contents go that wait for the copy which is coming, if the disk gets too full for both. Ends well when
    /// nothing waits.
    fn keep_room(&self) -> impl Future<Output = Result<(), RocksError>> + use<> {
        let (shard, registry, room_min) =
            (self.shard, self.around.registry.clone(), self.around.options.room_min);
        let (directory, copied) = (self.around.directory.clone(), self.gauges.copied.clone());
        async move {
            let Some(directory) = directory else { return Ok(()) };
            loop {
                tokio::time::sleep(LOOK_FOR_ROOM).await;
                // Nothing goes for a sibling that has given nothing. On this task, which is the only one to say where the
                // contents of its replica are.
                let is_coming = copied.load(Ordering::Relaxed) > 0;
                if is_coming && in_place(|| damage::make_room(&registry, &directory, shard, room_min))? {
                    return Ok(());
                }
            }
        }
    }

    fn copied(&mut self, copied: Copied) -> Result<(), End> {
        self.copying = None;
        let (shard, from) = (self.shard, self.asked_for_copy);
        let (generation, engine) = match copied {
            Ok(copied) => copied,
            Err(copy::CopyError::Store(RocksError::Damaged { reason })) if self.is_named(&reason) => {
                // Compaction had begun before they were let rest, and the store takes no writes any more.
                return Err(End::Damaged(reason));
            }
            Err(error) => {
                tracing::warn!(%shard, %from, %error, "a sibling could not be copied");
                self.forget_copy()?;
                // Not at once: siblings that are all away would be asked in a circle without a pause.
                let failed = async move {
                    tokio::time::sleep(RESUBSCRIBE).await;
                    Done::CopyFailed(from)
                };
                self.pending.push(Box::pin(failed));
                return Ok(());
            }
        };
        let record = Record { contents: Some(generation), had_intents: true, ..self.record };
        let replaced = self.around.registry.get(shard).and_then(|known| known.contents);
        in_place(|| self.keep_damaged(replaced));
        in_place(|| self.around.registry.put(shard, record)).map_err(|e| End::Failed(e.to_string()))?;
        // Another one, that was given up while it was being noted.
        self.forget_copy()?;
        self.outdated.extend(replaced);
        self.record = record;
        in_place(|| self.step(MindEvent::CheckpointArrived(engine)));
        if self.mind.position().is_some() {
            tracing::info!(%shard, replica = %record.replica, "follows its stream");
            if !record.is_learner {
                self.around.tally.count_rebuilt();
            }
            // Readers get the new contents before the old ones go.
            self.publish();
            for outdated in std::mem::take(&mut self.outdated) {
                let store = self.around.registry.store();
                in_place(|| RocksEngine::drop_pair(store, shard, outdated))
                    .map_err(|error| End::Failed(error.to_string()))?;
            }
            if let Some(directory) = &self.around.directory {
                // What it speaks of has gone.
                in_place(|| damage::unmark(directory, shard));
            }
        }
        Ok(())
    }

    /// Whether a report of damage speaks of the contents that a record names.
    fn is_named(&self, reason: &str) -> bool {
        let registry = &self.around.registry;
        damage::culprit(registry.store(), reason).is_some_and(|(shard, generation)| {
            registry.get(shard).is_some_and(|record| record.contents == Some(generation))
        })
    }

    /// Keeps the files of contents that a copy replaces, if they go because they are damaged.
    fn keep_damaged(&self, replaced: Option<Generation>) {
        let (shard, store) = (self.shard, self.around.registry.store());
        if let (Some(directory), Some(generation)) = (&self.around.directory, replaced)
            && damage::marked(directory, shard).is_some_and(|mark| mark.is_about(replaced))
        {
            let kept = damage::put_aside(store, directory, shard, generation);
            let kept = kept.map(|path| path.display().to_string());
            tracing::info!(%shard, kept, "damaged contents go, as their copy is here");
        }
    }
}

/// Tells the log that it need not be kept for a learner any more, as often as it takes.
pub(super) async fn release(
    administration: Arc<dyn ShardAdministration>,
    shard: ShardId,
    learner: ReplicaId,
) {
    for _ in 0..RELEASES_MAX {
        let command = PlacementCommand::Uncount(shard, learner);
        match tokio::time::timeout(ASK_MAX, administration.administer(command)).await {
            Ok(Ok(_) | Err(PlacementError::Refused(_))) => return,
            Ok(Err(_)) | Err(_) => tokio::time::sleep(RELEASE_AGAIN).await,
        }
    }
    tracing::warn!(%shard, %learner, "the log is still kept for a learner that is gone");
}

/// The stream of a shard and its first entries, if it begins right after this position.
async fn stream_from(
    source: Arc<dyn DecisionSource>,
    shard: ShardId,
    position: Position,
) -> Result<Option<(Box<dyn DecisionStream>, Vec<Arc<StreamEntry>>)>, StreamError> {
    let unreachable = |_| StreamError::Unreachable("no answer".into());
    let subscribing = source.subscribe(shard, position);
    let mut stream = match tokio::time::timeout(ASK_MAX, subscribing).await.map_err(unreachable)? {
        Ok(stream) => stream,
        Err(StreamError::NoSuchShard(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The shard is there, and with it the entry that made it.
    let entries = tokio::time::timeout(ASK_MAX, stream.next()).await.map_err(unreachable)??;
    let begins_here = entries.first().is_some_and(|entry| entry.after == position.index);
    Ok(begins_here.then_some((stream, entries)))
}

pub(super) async fn next_entries(
    stream: &mut Option<Box<dyn DecisionStream>>,
) -> Result<Vec<Arc<StreamEntry>>, StreamError> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn next_copy<T>(copying: &mut Option<BoxFuture<'static, T>>) -> T {
    match copying {
        Some(copying) => copying.await,
        None => std::future::pending().await,
    }
}

fn is_damage(alarm: &Alarm) -> bool {
    matches!(alarm, Alarm::Store(StoreError::Engine(EngineError::Damaged { .. })))
}

fn end_of(alarm: &Alarm) -> End {
    let why = alarm.to_string();
    if is_damage(alarm) { End::Damaged(why) } else { End::Failed(why) }
}

fn mind_options(
    shard: ShardId,
    record: &Record,
    store: assize_mvcc::Options,
    options: &Options,
) -> assize_replica::Options {
    let (shard, replica) = record.parent.unwrap_or((shard, record.replica));
    assize_replica::Options {
        store,
        flush_after: options.flush_interval,
        ..assize_replica::Options::new(shard, replica)
    }
}

fn standings_of(standings: ShardStandings) -> Standings {
    let standing =
        |s: assize_ports::ReplicaStanding| (s.replica, Standing { durable: s.durable, counts: s.counts });
    Standings {
        as_of: standings.as_of,
        replicas: standings.replicas.into_iter().map(standing).collect(),
        recovered_at: standings.recovered_at,
    }
}

/// When the process is said to have begun: what was never done was done long before.
const BEGUN_MILLIS: u64 = 24 * 3_600_000;

/// The mind's time: only differences matter to it. The wall clock would hold everything up that is done after a while, whenever
/// it is set back.
fn now() -> Timestamp {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Timestamp::from_millis(BEGUN_MILLIS + BEGUN.elapsed().as_millis() as u64)
}

/// Runs something that may wait for the disk without holding up other tasks of this thread.
fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minds_time_is_not_the_wall_clocks() {
        let (first, begun) = (now(), Timestamp::from_millis(BEGUN_MILLIS));
        assert!(first >= begun && first < begun.later(Duration::from_secs(24 * 3600)), "{first}");
        std::thread::sleep(Duration::from_millis(2));
        assert!(now() > first);
    }
}
