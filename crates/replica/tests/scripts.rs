//! Runs the golden scripts of `tests/scripts`. `UPDATE_GOLDENFILES=1` rewrites them; read the diff.

use assize_model::{
    DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, LogIndex, Mutation, Position, ReplicaId,
    ShardCommit, ShardId, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, Vote, WriteDigest,
};
use assize_mvcc::{
    ContentHash, Engine as _, EngineError, Intent, MemoryCheckpoint, MemoryEngine, MvccStore, Page, Prepare,
};
use assize_replica::{
    ContentPage, Difference, Effect, Event, IntentAnswer, Options, Replica, RequestId, Rule, Standing,
    Standings,
};
use goldenscript::{ArgumentConsumer, Command, Context};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let mut runner = Runner::default();
        goldenscript::run(&mut runner, &script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Replica 1 of a shard, seen by its effects. The words of the scripts:
///
/// ```text
///   resume [without=RULE]                   a fresh replica that follows; copy [promised=yes]: one that begins with nothing
///   entry N TS [tN@TS [k=v...] [prepared]]  one entry of the stream; `prepared` commits the writes as an intent
///   prepare REQ tN k=v... [epoch=N]         read REQ TS [epoch=N]
///   answer rN tN has k=v | has-not | cannot-say
///   standings N r1=DURABLE r2=uncounted     as of entry N
///   content-asked rN from..to AT            a page of keys at a snapshot; content-answered rN from..to AT COUNT/SUM
///   stage SLOTS                             somebody is about to move these slots here from shard 2
///   giver N TS …                            an entry of that shard's stream; giver-arrived, giver-says: what it answers
///   tick MS                                 moves the time there
/// ```
#[derive(Default)]
struct Runner {
    replica: Option<Replica<MemoryEngine>>,
    options: Option<Options>,
    now: Timestamp,
}

fn txn(text: &str) -> Result<TxnId> {
    let sequence: u64 = text.strip_prefix('t').ok_or("a transaction is tN")?.parse()?;
    Ok(TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), sequence))
}

fn ts(text: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(text.parse()?))
}

fn replica(text: &str) -> Result<ReplicaId> {
    Ok(ReplicaId(text.strip_prefix('r').ok_or("a replica is rN")?.parse()?))
}

/// `a-m`: the slots of these first letters.
fn run(text: &str) -> Result<(Slot, Slot)> {
    let (first, last) = text.split_once('-').ok_or("slots are a-m")?;
    let slot = |text: &str| text.bytes().next().map(|b| Slot(u16::from(b))).ok_or("a slot is a letter");
    Ok((slot(first)?, slot(last)?))
}

fn pos<'a>(args: &mut ArgumentConsumer<'a>, what: &'static str) -> Result<&'a str> {
    args.next_pos().ok_or_else(|| what.into())
}

fn mutations(args: &mut ArgumentConsumer<'_>) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    while let Some((key, value)) = args.next_key() {
        let slot = Slot(u16::from(key.bytes().next().unwrap_or(0)));
        mutations.push(Mutation::put(Key::new(key.as_bytes().to_vec()), slot, value.as_bytes().to_vec()));
    }
    mutations
}

fn entry(args: &mut ArgumentConsumer<'_>) -> Result<StreamEntry> {
    let index = LogIndex(pos(args, "index")?.parse()?);
    let closed_ts = ts(pos(args, "timestamp")?)?;
    let after = match args.take_key("after") {
        Some(after) => LogIndex(after.parse()?),
        None => LogIndex(index.0 - 1),
    };
    let epoch = args.take_key("epoch").map(|e| e.parse().map(Epoch)).transpose()?;
    let low_water = args.take_key("low-water").map(ts).transpose()?;
    let slots = args.take_key("slots").map(run).transpose()?.map(|run| vec![run]);
    let mut commits = Vec::new();
    if let Some(commit) = args.next_pos() {
        let (id, commit_ts) = commit.split_once('@').ok_or("a commit is tN@TS")?;
        let mutations = mutations(args);
        let writes = if args.next_pos() == Some("prepared") {
            ShardWrites::Prepared { epoch: Epoch(1), digest: WriteDigest::of(&mutations) }
        } else {
            ShardWrites::Inline(mutations)
        };
        commits.push(ShardCommit { txn: txn(id)?, commit_ts: ts(commit_ts)?, writes });
    }
    let position = Position { index, closed_ts };
    Ok(StreamEntry { after, position, commits, epoch, slots, low_water })
}

fn answer(args: &mut ArgumentConsumer<'_>) -> Result<IntentAnswer> {
    Ok(match pos(args, "answer")? {
        "has" => IntentAnswer::Has(Intent { epoch: Epoch(1), mutations: mutations(args) }),
        "has-not" => {
            let as_of = LogIndex(args.take_key("as-of").unwrap_or("0").parse()?);
            IntentAnswer::HasNot { as_of }
        }
        "cannot-say" => IntentAnswer::CannotSay,
        other => return Err(format!("no answer {other}").into()),
    })
}

fn standings(args: &mut ArgumentConsumer<'_>) -> Result<Standings> {
    let mut standings = Standings { as_of: LogIndex(pos(args, "as of")?.parse()?), ..Standings::default() };
    if let Some(index) = args.take_key("recovered") {
        standings.recovered_at = LogIndex(index.parse()?);
    }
    while let Some((who, how)) = args.next_key() {
        let standing = match how {
            "uncounted" => Standing { durable: LogIndex(0), counts: false },
            durable => Standing { durable: LogIndex(durable.parse()?), counts: true },
        };
        standings.replicas.insert(replica(who)?, standing);
    }
    Ok(standings)
}

/// `from..to`, where `first` and `last` are the ends of all keys, and a snapshot.
fn page(args: &mut ArgumentConsumer<'_>) -> Result<ContentPage> {
    let (from, to) = pos(args, "keys")?.split_once("..").ok_or("keys are from..to")?;
    let key = |text: &str| Key::new(text.as_bytes().to_vec());
    let from = if from == "first" { Key::default() } else { key(from) };
    let keys = Page { from, to: (to != "last").then(|| key(to)) };
    let epoch = Epoch(args.take_key("epoch").unwrap_or("1").parse()?);
    Ok(ContentPage { keys, snapshot_ts: ts(pos(args, "snapshot")?)?, epoch })
}

fn show_page(page: &ContentPage) -> String {
    let text = |key: &Key| String::from_utf8_lossy(&key.0).into_owned();
    let from = if page.keys.from == Key::default() { "first".to_owned() } else { text(&page.keys.from) };
    let to = page.keys.to.as_ref().map_or("last".to_owned(), text);
    format!("{from}..{to} at {}", page.snapshot_ts.millis())
}

fn show_difference(difference: &Difference) -> String {
    let rows = difference.answers.iter().map(|(replica, hash)| format!("{replica} {}", hash.count));
    let rows: Vec<String> = rows.collect();
    let odd = match &difference.odd {
        Some(odd) => format!("{odd:?} differ from most"),
        None => "no majority".to_owned(),
    };
    format!("REPORT: {} differs ({} rows): {odd}", show_page(&difference.page), rows.join(", "))
}

/// An engine that a sibling at this position would have sent.
fn checkpoint(index: u64, mutations: Vec<Mutation>) -> Result<MemoryEngine> {
    let mut store = MvccStore::open(MemoryEngine::new(), assize_mvcc::Options::default())?;
    let at = Timestamp::from_millis(index * 10);
    let commit = ShardCommit { txn: txn("t99")?, commit_ts: at, writes: ShardWrites::Inline(mutations) };
    store.apply(&StreamEntry {
        after: LogIndex(0),
        position: Position { index: LogIndex(index), closed_ts: at },
        commits: vec![commit],
        epoch: None,
        slots: None,
        low_water: None,
    })?;
    Ok(MemoryEngine::from_checkpoint(&store.engine().checkpoint()?))
}

/// Another shard's engine at this position, which holds these slots and rows.
fn former_owner(index: u64, held: (Slot, Slot), mutations: Vec<Mutation>) -> Result<MemoryEngine> {
    let slots = assize_mvcc::Slots::new(vec![held]);
    let options = assize_mvcc::Options { slots, ..assize_mvcc::Options::default() };
    let mut store = MvccStore::open(MemoryEngine::new(), options)?;
    let at = Timestamp::from_millis(index * 10);
    let commit = ShardCommit { txn: txn("t98")?, commit_ts: at, writes: ShardWrites::Inline(mutations) };
    let position = Position { index: LogIndex(index), closed_ts: at };
    let (after, commits) = (LogIndex(0), vec![commit]);
    store.apply(&StreamEntry { after, position, commits, epoch: None, slots: None, low_water: None })?;
    Ok(MemoryEngine::from_checkpoint(&store.engine().checkpoint()?))
}

fn show(effect: &Effect<MemoryCheckpoint>) -> String {
    let id = |txn: &TxnId| format!("t{}", txn.sequence());
    match effect {
        Effect::Subscribe { after } => format!("subscribe after {:?}", after.index),
        Effect::Vote { request, txn, vote: Vote::Yes } => format!("{} {}: yes", request.0, id(txn)),
        Effect::Vote { request, txn, vote: Vote::No(why) } => {
            format!("{} {}: no, {why}", request.0, id(txn))
        }
        Effect::AdmitRead { request } => format!("{}: admitted", request.0),
        Effect::RefuseRead { request, refusal } => format!("{}: refused, {refusal}", request.0),
        Effect::FetchIntent { from, txn } => format!("ask {from} for {}", id(txn)),
        Effect::AnswerIntent { to, txn, answer } => {
            let answer = match answer {
                IntentAnswer::Has(intent) => format!("has {} writes", intent.mutations.len()),
                IntentAnswer::HasNot { as_of } => format!("has not, as of {as_of:?}"),
                IntentAnswer::CannotSay => "cannot say".to_owned(),
            };
            format!("tell {to} about {}: {answer}", id(txn))
        }
        Effect::AskStandings => "ask for the standings".to_owned(),
        Effect::ReportDurable { durable } => format!("report durable {:?}", durable.index),
        Effect::RaiseEpoch => "raise the epoch".to_owned(),
        Effect::Register => "register".to_owned(),
        Effect::AskCheckpoint { from, at_least } => {
            format!("ask {from} for a checkpoint at or after {at_least:?}")
        }
        Effect::SendCheckpoint { to, .. } => format!("send {to} a checkpoint"),
        Effect::AskSlots { gain } => {
            let runs: Vec<String> = gain.slots.runs().iter().map(|(a, b)| format!("{a:?}..{b:?}")).collect();
            format!("ask for slots {}, as of {:?} or later", runs.join(" "), gain.after)
        }
        Effect::FollowGiver { giver, after } => format!("follow {giver} after {:?}", after.index),
        Effect::AskGiver { giver, gain } => {
            format!("ask {giver} for a checkpoint at or after {:?}", gain.after)
        }
        Effect::FetchFromGiver { giver, txn } => format!("fetch {} from {giver}", id(txn)),
        Effect::LeaveGiver => "leave the giver".to_owned(),
        Effect::AskContent { from, page } => format!("ask {from} for its hash of {}", show_page(page)),
        Effect::AnswerContent { to, page, answer } => {
            let answer = answer.map_or("cannot say".to_owned(), |hash| format!("{} rows", hash.count));
            format!("tell {to} about {}: {answer}", show_page(page))
        }
        Effect::TellContentDiffers { to, epoch } => format!("tell {to} that it differs in {epoch}"),
        Effect::ReportLost { txn, decided } => format!("LOST: {} decided at {decided}", id(txn)),
        Effect::ReportDifference(difference) => show_difference(difference),
        Effect::Halt(alarm) => format!("HALT: {}", alarm.to_string().replace("1.1.", "t")),
    }
}

impl Runner {
    fn begin(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Options> {
        let mut options = Options::new(ShardId(1), ReplicaId(1));
        options.entries_max = 3;
        // Only the scripts about comparing compare.
        if let Some(slots) = args.take_key("slots") {
            options.store.slots = assize_mvcc::Slots::new(vec![run(slots)?]);
        }
        let pause = args.take_key("compare").map_or(Ok(u64::MAX >> 20), str::parse)?;
        options.compare_pause = Duration::from_millis(pause);
        options.compare_step = assize_mvcc::Step::of(2);
        if let Some(millis) = args.take_key("retry") {
            options.retry_after = Duration::from_millis(millis.parse()?);
        }
        if let Some(rule) = args.take_key("without") {
            options.disabled_rules.insert(match rule {
                "epoch-before-forgetting" => Rule::EpochBeforeForgetting,
                "register-before-checkpoint" => Rule::RegisterBeforeCheckpoint,
                "unreachable-is-not-no" => Rule::UnreachableIsNotNo,
                "standings-as-of" => Rule::StandingsAsOf,
                "compare-content" => Rule::CompareContent,
                other => return Err(format!("no rule {other}").into()),
            });
        }
        self.now = Timestamp::ZERO;
        self.options = Some(options.clone());
        Ok(options)
    }

    fn event(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Event<MemoryEngine>> {
        Ok(match name {
            "entry" => Event::Streamed(Arc::new(entry(args)?)),
            "stream-lost" => Event::StreamLost,
            "stream-forgotten" => Event::StreamForgotten,
            "prepare" => {
                let request = RequestId(pos(args, "request")?.parse()?);
                let txn = txn(pos(args, "transaction")?)?;
                let epoch = Epoch(args.take_key("epoch").unwrap_or("1").parse()?);
                let mutations = mutations(args);
                Event::PreparesAsked(vec![(request, Prepare { txn, epoch, mutations })])
            }
            "forget" => Event::ForgetAsked(txn(pos(args, "transaction")?)?),
            "read" => Event::ReadAsked {
                request: RequestId(pos(args, "request")?.parse()?),
                snapshot_ts: ts(pos(args, "snapshot")?)?,
                epoch: args.take_key("epoch").map(|e| e.parse().map(Epoch)).transpose()?,
            },
            "cancel" => Event::Cancelled(RequestId(pos(args, "request")?.parse()?)),
            "asked" => Event::IntentAsked {
                from: replica(pos(args, "replica")?)?,
                txn: txn(pos(args, "transaction")?)?,
            },
            "answer" => Event::IntentAnswered {
                from: replica(pos(args, "replica")?)?,
                txn: txn(pos(args, "transaction")?)?,
                answer: answer(args)?,
            },
            "standings" => Event::StandingsReported(standings(args)?),
            "epoch-raised" => Event::EpochRaised,
            "registered" => Event::Registered { index: LogIndex(pos(args, "index")?.parse()?) },
            "checkpoint-asked" => Event::CheckpointAsked {
                from: replica(pos(args, "replica")?)?,
                at_least: LogIndex(pos(args, "index")?.parse()?),
            },
            "checkpoint-arrived" => {
                let index = pos(args, "index")?.parse()?;
                Event::CheckpointArrived(checkpoint(index, mutations(args))?)
            }
            "checkpoint-failed" => Event::CheckpointFailed { from: replica(pos(args, "replica")?)? },
            "slots-arrived" => {
                let index = pos(args, "index")?.parse()?;
                let held = args.take_key("held").ok_or("held=slots")?;
                let held = run(held)?;
                Event::SlotsArrived(former_owner(index, held, mutations(args))?)
            }
            "stage" => Event::StageAsked {
                giver: ShardId(2),
                slots: assize_mvcc::Slots::new(vec![run(pos(args, "slots")?)?]),
            },
            "giver" => Event::GiverStreamed(Arc::new(entry(args)?)),
            "giver-lost" => Event::GiverStreamLost,
            "giver-forgotten" => Event::GiverStreamForgotten,
            "giver-arrived" => {
                let index = pos(args, "index")?.parse()?;
                let held = run(args.take_key("held").ok_or("held=slots")?)?;
                Event::GiverArrived(former_owner(index, held, mutations(args))?)
            }
            "giver-says" => {
                Event::GiverAnswered { txn: txn(pos(args, "transaction")?)?, answer: answer(args)? }
            }
            "content-asked" => {
                Event::ContentAsked { from: replica(pos(args, "replica")?)?, page: page(args)? }
            }
            "content-answered" => {
                let from = replica(pos(args, "replica")?)?;
                let page = page(args)?;
                let answer = self.hash(pos(args, "hash")?, &page)?;
                Event::ContentAnswered { from, page, answer }
            }
            "content-differs" => {
                Event::ContentDiffers { epoch: Epoch(args.take_key("epoch").unwrap_or("1").parse()?) }
            }
            "tick" => {
                self.now = ts(pos(args, "time")?)?;
                Event::Tick
            }
            name => return Err(format!("no command {name}").into()),
        })
    }

    /// `same` as this replica's, `cannot-say`, or any other word for a hash that nobody else has.
    fn hash(&self, text: &str, page: &ContentPage) -> Result<Option<ContentHash>> {
        let store = self.replica.as_ref().and_then(Replica::store).ok_or("no store")?;
        let reader = store.reader();
        let mine =
            reader.hash_content(store.slots(), page.snapshot_ts, &page.keys, assize_mvcc::Step::ALL)?.0;
        Ok(match text {
            "same" => Some(mine),
            "cannot-say" => None,
            other => Some(mine.and(ContentHash { count: 1, sum: other.len() as u64 })),
        })
    }

    fn engine(&self) -> Result<&MemoryEngine> {
        Ok(self.replica.as_ref().and_then(Replica::store).ok_or("no store")?.engine())
    }

    /// What the scripts look at beside effects.
    fn look(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Option<String>> {
        let Some(store) = self.replica.as_ref().and_then(Replica::store) else { return Ok(None) };
        Ok(Some(match name {
            "get" => {
                let key = Key::new(pos(args, "key")?.as_bytes().to_vec());
                let at = store.position().closed_ts;
                match store.get(&key, at)? {
                    Some(value) => format!("{key:?}={}", String::from_utf8_lossy(&value)),
                    None => format!("{key:?} is not there"),
                }
            }
            "intents" => {
                let held: Vec<_> = store
                    .intents()
                    .map(|(id, is_decided)| {
                        format!("t{} {}", id.sequence(), if is_decided { "decided" } else { "undecided" })
                    })
                    .collect();
                if held.is_empty() { "none".to_owned() } else { held.join(", ") }
            }
            "position" => format!("{:?}", store.position().index),
            "staged" => match self.replica.as_ref().and_then(Replica::staging) {
                None => "nothing".to_owned(),
                Some(staging) => match staging.position {
                    None => "on its way".to_owned(),
                    Some(position) => format!("up to {:?}", position.index),
                },
            },
            _ => return Ok(None),
        }))
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        let mut args = command.consume_args();
        let mut effects = Vec::new();
        match command.name.as_str() {
            "resume" => {
                let options = self.begin(&mut args)?;
                self.replica = Some(Replica::resume(self.now, MemoryEngine::new(), options, &mut effects));
            }
            "copy" => {
                let had_intents = args.take_key("promised") == Some("yes");
                let options = self.begin(&mut args)?;
                self.replica = Some(Replica::copy(self.now, had_intents, options, &mut effects));
            }
            "copy-on" => {
                let registered = LogIndex(pos(&mut args, "index")?.parse()?);
                let had_intents = args.take_key("promised") == Some("yes");
                let options = self.begin(&mut args)?;
                self.replica =
                    Some(Replica::copy_on(self.now, registered, had_intents, options, &mut effects));
            }
            "crash" => {
                let replica = self.replica.take().ok_or("no replica")?;
                let engine = replica.store().ok_or("no store")?.engine().crashed();
                let options = self.options.clone().ok_or("no options")?;
                self.replica = Some(Replica::resume(self.now, engine, options, &mut effects));
            }
            "disk-full" => self.engine()?.set_full(true),
            "disk-has-room" => self.engine()?.set_full(false),
            "disk-breaks" => {
                let reason = "told to break".to_owned();
                self.engine()?.set_failure(Some(EngineError::Io { doing: "write", reason }));
            }
            name => {
                if let Some(out) = self.look(name, &mut args)? {
                    args.reject_next()?;
                    return Ok(out);
                }
                let event = self.event(name, &mut args)?;
                let replica = self.replica.as_mut().ok_or("no replica: resume or copy first")?;
                replica.step(self.now, event, &mut effects);
            }
        }
        args.reject_next()?;
        let mut out = String::new();
        for effect in &effects {
            writeln!(out, "{}", show(effect))?;
        }
        Ok(out)
    }
}
